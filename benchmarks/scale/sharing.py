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

__all__ = ["Second", "Shared", "drain", "soak", "working"]

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
            _wait(lambda: _is_done(place, since, n))
            seconds = time.perf_counter() - began
    return Shared(n, seconds, Spent(*(value / n for value in (spent.wall, spent.python, spent.postgres))))


def _is_done(place: Place, since: datetime, n: int) -> bool:
    done = _count(place, f"sends where gated_at >= '{since}' and state = 'accepted'")
    return done >= n and not _count(place, "contacts where next_at <= now()")


@dataclass(frozen=True)
class Second:
    """A look at a store while events come: how far behind ticks and sends are, and what there is of dead rows."""

    at: float
    n_due: int
    due_seconds: float
    n_ready: int
    ready_seconds: float
    n_received: int


def soak(
    place: Place, store: Store, n_contacts: int, n_workers: int, rate: float, seconds: float, asks: float = 0.05
) -> tuple[list[Second], dict[str, tuple[Any, ...]], dict[str, tuple[Any, ...]], Spent, int]:
    """Events at a rate for a while, a share of which ask for a message: looks, counts before and after, bytes of WAL.

    Events come in requests of a fifth of a second's worth, by this process.
    """
    of, found, n = max(1, round(rate / 5)), [], 0
    with working(place, n_workers) as processes:
        before, wal = _counted(place), place.execute("select pg_current_wal_lsn()")[0][0]
        with spending(place, processes) as spent:
            began = time.monotonic()
            while (now := time.monotonic() - began) < seconds:
                if n > now * rate:
                    time.sleep(0.01)
                    if len(found) <= now:
                        found.append(_looked(place, now, n))
                    continue
                n_asks = round(of * asks)
                some = visits_of(of - n_asks, n_contacts) + visits_of(n_asks, n_contacts, "ask")
                with store.writing() as connection:
                    receive(connection, some, store.now(connection))
                n += of
            found.append(_looked(place, seconds, n))
        written = place.execute(f"select pg_wal_lsn_diff(pg_current_wal_lsn(), '{wal}')::bigint")[0][0]
        after = _counted(place)
    return found, before, after, spent, written


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
