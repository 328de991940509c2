"""What intake, ticks, polls, looks and rows take beside so many who wait: time, processor time, and bytes."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from statistics import median
from typing import Any, Final

import numpy as np
import psutil
from sqlalchemy import Connection, text

from journeylab.sender.live.intake import Incoming, receive
from journeylab.sender.live.ownership import forget_outdated
from journeylab.sender.live.ticks import tick
from journeylab.sender.process import WhatRuns
from journeylab.sender.promotion.deviation import counted_of
from journeylab.sender.sending.breaker import watch_rates
from journeylab.sender.sending.claims import claim
from journeylab.sender.sending.forgetting import forget_bytes
from journeylab.sender.settings import Settings
from journeylab.sender.store import Store

from .filling import name_of
from .place import Place

__all__ = ["Spent", "batches", "looks", "pasts", "polls", "sizes", "spending", "ticks", "visits_of"]

_TABLES: Final = ("contacts", "events", "entries", "visits", "sends", "renderings", "audit")


@dataclass
class Spent:
    """Seconds that something took: by the clock, and of processors, in this process and in PostgreSQL."""

    wall: float = 0.0
    python: float = 0.0
    postgres: float = 0.0


def _postgres(place: Place) -> float:
    """The processor time of the server's processes so far, those that have ended among them."""
    postmaster = psutil.Process(int((place.folder / "data" / "postmaster.pid").read_text().split()[0]))
    own = postmaster.cpu_times()
    total: float = own.user + own.system + own.children_user + own.children_system
    for one in postmaster.children():
        try:
            spent = one.cpu_times()
        except psutil.NoSuchProcess:
            continue
        total += spent.user + spent.system
    return total


@contextmanager
def spending(place: Place, processes: Sequence[psutil.Process] = ()) -> Iterator[Spent]:
    """What is spent inside, by this process or by some others, and by PostgreSQL."""

    def python() -> float:
        if not processes:
            return time.process_time()
        spent = [one.cpu_times() for process in processes for one in (process, *process.children(recursive=True))]
        return sum(one.user + one.system for one in spent)

    found = Spent()
    began = time.perf_counter(), python(), _postgres(place)
    yield found
    ended = time.perf_counter(), python(), _postgres(place)
    found.wall, found.python, found.postgres = (end - begin for begin, end in zip(began, ended, strict=True))


def visits_of(n: int, n_contacts: int, event: str = "visit") -> list[Incoming]:
    """Events of contacts drawn from all who wait, each with the source's own id."""
    drawn = np.random.default_rng().choice(n_contacts, n, replace=n > n_contacts).tolist()
    return [Incoming(name_of(i), event, None, {"page": "home"}, secrets.token_hex(12)) for i in drawn]


def batches(place: Place, store: Store, n_contacts: int, of: int, n: int) -> Spent:
    """What intake spends on an event that comes with others in one request, as `serve` and the table take them."""
    given = [visits_of(of, n_contacts) for _ in range(n)]
    with spending(place) as spent:
        for some in given:
            with store.writing() as connection:
                receive(connection, some, store.now(connection))
    return Spent(*(value / (of * n) for value in (spent.wall, spent.python, spent.postgres)))


def ticks(place: Place, store: Store, n_contacts: int, n_due: int, n_runs: int) -> Spent:
    """What a tick spends that advances so many contacts among all who wait: medians."""
    runs = WhatRuns(Settings.read(place.settings()))
    drained(store, runs)
    found = []
    for _ in range(n_runs):
        if n_due:
            with store.writing() as connection:
                receive(connection, visits_of(n_due, n_contacts), store.now(connection))
        with spending(place) as spent:
            assert tick(store, runs).n_contacts == n_due
        found.append(spent)
    return Spent(*(median(getattr(one, name) for one in found) for name in ("wall", "python", "postgres")))


def pasts(store: Store, place: Place, n_contacts: int, n_events: int, of: int = 100) -> float:
    """The milliseconds of a tick for each of some contacts who have so many events that their journeys ask for."""
    runs = WhatRuns(Settings.read(place.settings()))
    names = [name_of(i) for i in range(n_contacts - of, n_contacts)]
    took = []
    for _ in range(n_events):
        with store.writing() as connection:
            receive(
                connection, [Incoming(one, "visit", None, {"page": "home"}) for one in names], store.now(connection)
            )
    for _ in range(5):
        with store.writing() as connection:
            receive(
                connection, [Incoming(one, "visit", None, {"page": "home"}) for one in names], store.now(connection)
            )
        began = time.perf_counter()
        assert tick(store, runs).n_contacts == of
        took.append(time.perf_counter() - began)
    return median(took) * 1000 / of


def drained(store: Store, runs: WhatRuns) -> None:
    """Advances whoever is due by now."""
    while tick(store, runs).n_contacts:
        pass


def polls(store: Store, n_runs: int) -> float:
    """The milliseconds of a worker's poll that finds nothing."""

    def poll(connection: Connection) -> None:
        now = store.now(connection)
        assert claim(connection, "nobody", 64, now, now) == []

    return _median(lambda: _written(store, poll), n_runs) * 1000


def _written(store: Store, work: Callable[[Connection], Any]) -> None:
    with store.writing() as connection:
        work(connection)


def _median(work: Callable[[], Any], n_runs: int) -> float:
    took = []
    for _ in range(n_runs):
        began = time.perf_counter()
        work()
        took.append(time.perf_counter() - began)
    return median(took)


def looks(place: Place, store: Store) -> dict[str, float]:
    """The milliseconds of what a process looks at each minute, once each."""
    settings = Settings.read(place.settings())
    with store.reading() as connection:
        now = store.now(connection)

    def held(connection: Connection) -> None:
        connection.execute(text("select contact from contacts where held_because is not null limit 1")).all()

    def start(connection: Connection) -> None:
        connection.execute(text("select min(created_at) from contacts")).all()

    works: dict[str, Callable[[], Any]] = {
        "who is held": lambda: _written(store, held),
        "the log's start": lambda: _written(store, start),
        "what was too old": lambda: _written(store, lambda connection: forget_outdated(connection, now)),
        "bytes to forget": lambda: forget_bytes(store, now),
        "rates of bounces": lambda: watch_rates(store, settings, now),
        "the forecast": lambda: _written(store, lambda connection: counted_of(connection, 1, now)),
    }
    return {name: _median(work, 1) * 1000 for name, work in works.items()}


def sizes(place: Place) -> dict[str, tuple[int, int, int]]:
    """By table how many rows it has, and the bytes of the table (TOAST among it) and of its indexes."""
    found = {}
    for name in _TABLES:
        rows = place.execute(
            f"select (select reltuples from pg_class where oid = '{name}'::regclass)::bigint, "
            f"pg_table_size('{name}'), pg_indexes_size('{name}')"
        )
        found[name] = rows[0]
    return found
