"""Advancing contacts: `python -m benchmarks.ticks`.

The ticks of a journey in which contacts are sent a message, wait two days and are sent another, in contacts a second of
processor time, and against the driver's own INSERT and UPDATE of the same rows with nothing decided. Then a tick of
some contacts among many who wait, against the same tick alone.
"""

from __future__ import annotations

import argparse
import gc
import sqlite3
import tempfile
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from statistics import median
from typing import Any

from sqlalchemy import insert, select, update

import journeylab as jl
from journeylab.program import Release
from journeylab.sender.keys import Keys
from journeylab.sender.live.intake import (
    Incoming,
    OwnEvent,
    Person,
    declare,
    make_contacts,
    receive,
    receive_people,
    record_all,
)  # fmt: skip
from journeylab.sender.live.running import Running, Version
from journeylab.sender.live.ticks import tick
from journeylab.sender.store import Store
from journeylab.sender.store import tables as t

from .compared import Compared
from .scale.place import Clock

LEAST = 10_000
START = datetime(2026, 3, 2, 10, tzinfo=UTC)
KEYS = Keys(bytes(32))
JOURNEY = jl.Journey.from_data(
    {
        "journey": "welcome", "trigger": {"event": "signup"}, "quiet_hours": {"from": "21:00", "to": "08:00"},
        "cap": {"sends": 3, "within": "7d"},
        "nodes": {
            "hello": {"send": "welcome", "next": "pause"},
            "pause": {"wait": "2d", "next": "keen"},
            "keen": {"decide": [{"if": 'count("visit", "7d") > 3', "go": "done"}], "else": "nudge"},
            "nudge": {"send": "reminder", "next": "done"},
            "done": {"exit": "finished"},
        },
    }
)  # fmt: skip


class Shop:
    """A store with contacts who consented, in a folder of its own."""

    def __init__(self, folder: Path) -> None:
        self.clock = Clock(START)
        self.path = folder / "sender.db"
        self.store = Store.open(f"sqlite:///{self.path}", KEYS, clock=self.clock, create=True)
        self.running = Running((Version(1, (Release(journey=JOURNEY),)),))
        with self.store.writing() as connection:
            declare(connection, "event", {"purpose": "text", "page": "text", "plan": "text"})
            declare(connection, "contact", {"plan": "text", "country": "text", "timezone": "text"})
            row = {"journey": "welcome", "version": JOURNEY.version, "definition": {}, "policy": {}, "messages": {}}
            connection.execute(
                insert(t.releases).values(**row, models={}, hash="0", created_at=START, created_by="benchmark")
            )

    def add(self, first: int, n: int) -> None:
        """Adds contacts with three attributes and their consent."""
        attributes = {"plan": "trial", "country": "PL", "timezone": "Europe/Warsaw"}
        for start in range(first, first + n, 5000):
            names = _names(start, min(first + n - start, 5000))
            with self.store.writing() as connection:
                people = [Person(one, f"{one}@mail.example", attributes) for one in names]
                receive_people(connection, people, self.clock.at)
        self.receive(first, n, "consent_given", {"purpose": "marketing"})

    def receive(self, first: int, n: int, event: str, properties: dict[str, Any]) -> None:
        """Lets an event come of each of some contacts, an instant later."""
        self.clock.at += timedelta(milliseconds=1)
        for start in range(first, first + n, 5000):
            with self.store.writing() as connection:
                given = [Incoming(one, event, None, properties) for one in _names(start, min(first + n - start, 5000))]
                receive(connection, given, self.clock.at)
        self.clock.at += timedelta(milliseconds=1)

    def advance(self) -> tuple[int, float]:
        """How many contacts were advanced, and in how many seconds of processor time."""
        n, before = 0, time.process_time()
        while (done := tick(self.store, lambda _: self.running)).n_contacts:
            n += done.n_contacts
        return n, time.process_time() - before

    def settle(self) -> None:
        """Lets every message that is ready be accepted, as a worker would write it."""
        s = t.sends.c
        with self.store.writing() as connection:
            rows = connection.execute(select(s.contact, s.entry, s.node, s.visit, s.message).where(s.state == "ready"))
            own = [
                OwnEvent(
                    one.contact, "sent", self.clock.at,
                    {"journey": "welcome", "entry": one.entry, "node": one.node, "visit": one.visit,
                     "message": one.message, "actual_at": self.clock.at},
                )
                for one in rows
            ]  # fmt: skip
            accepted = {"state": "accepted", "gated_at": self.clock.at, "settled_at": self.clock.at}
            connection.execute(update(t.sends).where(s.state == "ready").values(**accepted))
            record_all(connection, own)
        self.clock.at += timedelta(milliseconds=1)


def _names(first: int, n: int) -> list[str]:
    return [f"c{i:07d}" for i in range(first, first + n)]


def bare(shop: Shop, folder: Path) -> float:
    """How many seconds of processor time the driver alone takes for the rows that ticks have written so far.

    They are written into a copy of the store, in `folder`, and nothing is decided.
    """
    copy = folder / "copy.db"
    with sqlite3.connect(shop.path) as original:
        original.execute("vacuum into ?", (str(copy),))
    connection = sqlite3.connect(copy, isolation_level=None)
    connection.execute("pragma journal_mode = wal")
    connection.execute("pragma synchronous = full")
    written = {}
    for table in ("entries", "visits", "sends"):
        written[table] = connection.execute(f"select * from {table}").fetchall()
        connection.execute(f"delete from {table}")
    due = connection.execute("select next_at, last_at, contact from contacts").fetchall()
    began = time.process_time()
    connection.execute("begin immediate")
    for table, rows in written.items():
        marks = ", ".join("?" * len(rows[0]))
        connection.executemany(f"insert into {table} values ({marks})", rows)
    connection.executemany("update contacts set next_at = ?, last_at = ? where contact = ?", due)
    connection.execute("commit")
    took = time.process_time() - began
    connection.close()
    return took


def kinds(n: int) -> tuple[list[tuple[str, int, float]], float]:
    """How many contacts each kind of tick advanced, and in how many seconds; and how much longer than the bare rows."""
    with tempfile.TemporaryDirectory() as name:
        shop = Shop(Path(name))
        shop.add(0, n)
        shop.advance()
        gc.freeze()  # as `journeylab run` does
        shop.receive(0, n, "signup", {"plan": "trial"})
        found = [("they enter, and a message is planned", *shop.advance())]
        ratio = found[0][2] / bare(shop, Path(name))
        shop.settle()
        found.append(("the message was sent, and a wait begins", *shop.advance()))
        shop.receive(0, n, "visit", {"page": "home"})
        found.append(("an event came that changes nothing", *shop.advance()))
        shop.clock.at += timedelta(days=2)
        found.append(("the wait is over, and a message is planned", *shop.advance()))
        shop.store.close()
    return found, ratio


def among(n_waiting: int, n_due: int, n_runs: int) -> tuple[float, float]:
    """The milliseconds of a tick with nothing due, and of one with some contacts due, among many who wait."""
    with tempfile.TemporaryDirectory() as name:
        shop = Shop(Path(name))
        shop.add(0, n_due)
        shop.advance()
        if n_waiting:
            with shop.store.writing() as connection:
                due = update(t.contacts).where(t.contacts.c.next_at.is_(None))
                for start in range(n_due, n_due + n_waiting, 10_000):
                    make_contacts(connection, ((one, None, {}) for one in _names(start, 10_000)), START, START)
                connection.execute(due.values(next_at=START + timedelta(days=36500)))
        idle, busy = [], []
        for _ in range(n_runs):
            began = time.perf_counter()
            shop.advance()
            idle.append(time.perf_counter() - began)
            shop.receive(0, n_due, "visit", {"page": "home"})
            began = time.perf_counter()
            assert tick(shop.store, lambda _: shop.running).n_contacts == n_due
            busy.append(time.perf_counter() - began)
        shop.store.close()
    return median(idle) * 1000, median(busy) * 1000


def compared(n_contacts: int, n_runs: int) -> list[Compared]:
    """Entering by ticks against the driver's writing of the same rows with nothing decided, in processor time."""
    runs = [kinds(n_contacts) for _ in range(n_runs)]
    ours = [found[0][2] for found, _ in runs]
    ratios = [1 / ratio for _, ratio in runs]
    return [
        Compared("ticks, contacts enter", f"{n_contacts:,} contacts", median(ours), "SQLite driver, rows alone", ratios)
    ]


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--contacts", type=int, default=20_000)
    parser.add_argument("--waiting", type=int, default=1_000_000)
    parser.add_argument("--runs", type=int, default=5)
    options = parser.parse_args()
    found, ratio = kinds(options.contacts)
    for what, n, took in found:
        print(f"{what}: {n / took:,.0f} contacts a second of processor time")
    print(f"to enter takes {ratio:.1f} times what the driver takes to write the same rows")
    rate = sum(n for _, n, _ in found) / sum(took for *_, took in found)
    print(f"together: {rate:,.0f} contacts a second")
    alone, waiting = among(0, 100, options.runs), among(options.waiting, 100, options.runs)
    for what, few, many in zip(("nothing due", "100 contacts due"), alone, waiting, strict=True):
        print(f"a tick with {what}: {few:.1f} ms alone, {many:.1f} ms among {options.waiting:,} who wait")
    if rate < LEAST:
        print(f"short of {LEAST:,} contacts a second")


if __name__ == "__main__":
    main()
