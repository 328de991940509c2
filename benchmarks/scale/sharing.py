"""Real processes of `journeylab run` over one store: how they share the work, and how they keep up with what comes."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

import psutil

from benchmarks.sender import sink
from journeylab.sender.live.intake import receive
from journeylab.sender.store import Store

from .measuring import Spent, spending, visits_of
from .place import Place

__all__ = ["COUNTED", "Shared", "Soaked", "drain", "idle", "soak", "working"]

_COUNTS: Final = (
    "select relname, n_live_tup, n_dead_tup, n_tup_ins, n_tup_upd, n_tup_hot_upd, n_tup_newpage_upd, n_tup_del, "
    "autovacuum_count + vacuum_count, pg_table_size(relid), pg_indexes_size(relid) from pg_stat_user_tables "
    "where relname in ('contacts', 'events', 'entries', 'visits', 'sends', 'renderings', 'audit')"
)
_RUN: Final = "from journeylab.cli import main; main()"
COUNTED: Final = ("live", "dead", "inserted", "updated", "hot", "moved", "deleted", "vacuums", "table", "indexes")


@contextmanager
def working(place: Place, n: int, connections: int = 20) -> Iterator[list[psutil.Process]]:
    """So many workers over a store, each with a state folder of its own, and a relay that takes all mail."""
    with ExitStack() as stack:
        port = stack.enter_context(sink())
        processes = []
        for i in range(n):
            settings = place.settings(f"w{i + 1}", port, connections)
            log = stack.enter_context((settings.parent / "log").open("w"))
            command = [sys.executable, "-c", _RUN, "run", "--settings", str(settings), "--worker", f"w{i + 1}"]
            processes.append(stack.enter_context(subprocess.Popen(command, stdout=log, stderr=log)))
        try:
            _wait(lambda: _count(place, "workers where stopped_at is null and seen_at > now() - interval '1 min'") >= n)
            time.sleep(5)  # the first tick compiles
            yield [psutil.Process(one.pid) for one in processes]
        finally:
            for one in processes:
                one.send_signal(signal.SIGTERM)
    assert all(one.returncode == 0 for one in processes), [one.returncode for one in processes]


def _wait(is_so: Any, seconds: float = 600) -> None:
    until = time.monotonic() + seconds
    while not is_so():
        if time.monotonic() > until:
            raise TimeoutError
        time.sleep(0.2)


def _count(place: Place, what: str) -> int:
    return int(place.execute(f"select count(*) from {what}")[0][0])


def idle(place: Place, n_workers: int, seconds: float) -> Spent:
    """What a worker spends in a second in which there is nothing to do but to look."""
    with working(place, n_workers) as processes, spending(place, processes) as spent:
        time.sleep(seconds)
    return Spent(*(value / (n_workers * seconds) for value in (spent.wall, spent.python, spent.postgres)))


@dataclass
class Shared:
    """What workers did of a backlog: how many messages, in how many seconds, and what each message cost."""

    n: int
    seconds: float
    spent: Spent


def drain(place: Place, store: Store, n_contacts: int, n_workers: int, n: int) -> Shared:
    """Lets contacts ask for a message at once, and workers advance them, send, and advance them to the end."""
    with working(place, n_workers) as processes:
        given = visits_of(n, n_contacts, "ask")
        since = place.execute("select clock_timestamp()")[0][0]
        with spending(place, processes) as spent:
            for start in range(0, n, 5000):
                with store.writing() as connection:
                    receive(connection, given[start : start + 5000], store.now(connection))
            began = time.perf_counter()
            _wait(lambda: _is_done(place))
            seconds = time.perf_counter() - began
    done = _count(place, f"sends where gated_at >= '{since}' and state = 'accepted'")
    if not done:
        raise SystemExit(f"{n_contacts:,} contacts are too few: those who ask have all been sent to; see --contacts")
    return Shared(done, seconds, Spent(*(value / done for value in (spent.wall, spent.python, spent.postgres))))


def _is_done(place: Place) -> bool:
    found = place.execute(
        "select not exists (select from contacts where next_at <= now()) and not exists "
        "(select from sends where state in ('planned', 'ready', 'claimed', 'transmitting'))"  # as of one instant
    )
    return bool(found[0][0])


@dataclass(frozen=True)
class Second:
    """A look at a store while events come: how far behind ticks and sends are, and what there is of dead rows."""

    at: float
    n_due: int
    due_seconds: float
    n_ready: int
    ready_seconds: float
    n_received: int


@dataclass(frozen=True)
class Soaked:
    """What came of events at a rate: looks at each second, counts before and after, what was spent, bytes of WAL.

    `lags` are, for those who asked, the seconds until their tick began and until their message was accepted.
    """

    looks: list[Second]
    before: dict[str, tuple[Any, ...]]
    after: dict[str, tuple[Any, ...]]
    spent: Spent
    wal: int
    lags: list[tuple[float, float]]


def soak(
    place: Place, store: Store, n_contacts: int, n_workers: int, rate: float, seconds: float, asks: float
) -> Soaked:
    """Events at a rate for a while, a share of which ask for a message, in requests of a fifth of a second's worth."""
    of, found, n = max(1, round(rate / 5)), [], 0
    with working(place, n_workers) as processes:
        before, wal = _counted(place), place.execute("select pg_current_wal_lsn()")[0][0]
        since = place.execute("select clock_timestamp()")[0][0]
        with spending(place, processes) as spent:
            began = time.monotonic()
            while (now := time.monotonic() - began) < seconds:
                if n > now * rate:
                    time.sleep(0.01)
                    if len(found) <= now:
                        found.append(_looked(place, now, n))
                    continue
                n_asks = int((n + of) * asks) - int(n * asks)
                some = visits_of(of - n_asks, n_contacts) + visits_of(n_asks, n_contacts, "ask")
                with store.writing() as connection:
                    receive(connection, some, store.now(connection))
                n += of
            found.append(_looked(place, seconds, n))
        written = place.execute(f"select pg_wal_lsn_diff(pg_current_wal_lsn(), '{wal}')::bigint")[0][0]
        time.sleep(10)  # what was asked for last arrives, and counts get to where they are read
        after = _counted(place)
    return Soaked(found, before, after, spent, written, _lags(place, since))


def _lags(place: Place, since: datetime) -> list[tuple[float, float]]:
    rows = place.execute(
        "select extract(epoch from planned_at - received_at), extract(epoch from settled_at - received_at) "
        "from sends join events using (contact) "
        f"where event = 'ask' and received_at >= '{since}' and gated_at >= received_at and state = 'accepted'"
    )
    return [(float(advanced), float(accepted)) for advanced, accepted in rows]


def _counted(place: Place) -> dict[str, tuple[Any, ...]]:
    return {row[0]: row[1:] for row in place.execute(_COUNTS)}


def _looked(place: Place, at: float, n: int) -> Second:
    due = place.execute(
        "select count(*), coalesce(extract(epoch from now() - min(next_at)), 0) from contacts where next_at <= now()"
    )[0]
    ready = place.execute(
        "select count(*), coalesce(extract(epoch from now() - min(not_before)), 0) from sends "
        "where state in ('ready', 'claimed', 'transmitting')"
    )[0]
    return Second(at, due[0], float(due[1]), ready[0], float(ready[1]), n)
