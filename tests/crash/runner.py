"""A sender as a process of its own that strikes itself at a point: by its orders it kills or stops itself there.

The matrix forks it from a process that has everything imported (see `warm`); by hand,
`python -m crash.runner ORDERS.json` in `tests` does the same from nothing. It ends by itself at its deadline, and with
its parent.
"""

from __future__ import annotations

import ctypes
import dataclasses
import faulthandler
import json
import logging
import os
import resource
import signal
import struct
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from multiprocessing import forkserver
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, Row, event, select, update

from journeylab.errors import DataError
from journeylab.sender import process
from journeylab.sender.consent.withdrawals import withdraw
from journeylab.sender.keys import Keys
from journeylab.sender.live.intake import Incoming, receive
from journeylab.sender.logs import log_to
from journeylab.sender.process import Sender
from journeylab.sender.sending import worker
from journeylab.sender.sending.journal import adopt
from journeylab.sender.sending.preparing import Fault, Made
from journeylab.sender.settings import Settings
from journeylab.sender.store import Store, bulk
from journeylab.sender.store import store as store_module
from journeylab.sender.store import tables as t

from .mutants import MUTANTS

REFUSED = 3
"""The status with which a sender ends that refuses to start or to go on."""
_DIES_WITH_PARENT = 1  # PR_SET_PDEATHSIG
_POLLS = 0.5, 0.25
_MESSAGE = "Message-ID: <{key}@shop.example>\r\nX-JourneyLab-Message: {key}\r\nSubject: Hello\r\n\r\nHello\r\n"


@dataclass(frozen=True)
class Strike:
    """What a sender does to itself at a point.

    Attributes:
        point: one of POINTS.
        deed: `kill`, `stop`, `full` (nothing can be written to files for a while), `withdraw` (consent, as a page
            does it), `said` (the same, as an event from elsewhere), `unheard` (the same, of which the machine is not
            told, so that the gate alone stands against the message).
        nth: at which time that this process comes there.
        most: how many processes of a case do so.
    """

    point: str
    deed: str = "kill"
    nth: int = 1
    most: int = 1


@dataclass(frozen=True)
class Orders:
    """What a runner is told: its store, settings, key and strikes, and what is taken away from it.

    Attributes:
        folder, notes: the settings' folder, and that of what it tells the matrix.
        mutant: the guard that it does without; see `mutants`.
        creates: makes the tables, and ends.
        adopts: adopts the database before it runs.
        renders: has messages made as they are, and not in the process itself, which starts more quickly.
        zone: the time zone of the process.
        wait_ms: how long SQLite waits for a lock.
        deadline: after how many seconds it ends in any case.
    """

    url: str
    folder: str
    notes: str
    worker: str
    key: str
    settings: dict[str, Any]
    strikes: tuple[Strike, ...] = ()
    mutant: str = ""
    creates: bool = False
    adopts: bool = False
    renders: bool = False
    zone: str = "UTC"
    wait_ms: int = 30_000
    deadline: int = 900


class ShiftedClock:
    """The database's clock and a shift, which a file holds so that all processes of a case see it move."""

    def __init__(self, real: Callable[[Connection], datetime], path: Path) -> None:
        self._real = real
        self._file = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        if not os.fstat(self._file).st_size:
            self.shift = timedelta()

    def __call__(self, connection: Connection) -> datetime:
        return self._real(connection) + self.shift

    @property
    def shift(self) -> timedelta:
        return timedelta(microseconds=struct.unpack("q", os.pread(self._file, 8, 0))[0])

    @shift.setter
    def shift(self, value: timedelta) -> None:
        os.pwrite(self._file, struct.pack("q", value // timedelta(microseconds=1)), 0)

    def close(self) -> None:
        os.close(self._file)


def opened(orders: Orders) -> Store:
    """The store on the shifted clock."""
    store = Store.open(orders.url, Keys(bytes.fromhex(orders.key)), create=orders.creates)
    return Store(store.engine, ShiftedClock(store.clock, Path(orders.notes) / "clock"))


class Observer:
    """Writes down each step and strikes where it was told to."""

    def __init__(self, orders: Orders) -> None:
        self.orders, self.notes = orders, Path(orders.notes)
        self.store: Store | None = None
        self._trace = os.open(self.notes / "trace", os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        self._n: Counter[Strike] = Counter()
        self._lock = threading.Lock()

    def __call__(self, step: str, key: str) -> None:
        with suppress(OSError):  # where nothing can be written, the sender must not hear of it from here
            os.write(self._trace, f"{os.getpid()} {step} {key}\n".encode())
        for strike in self.orders.strikes:
            if strike.point == step and self._is_next(strike):
                getattr(self, strike.deed)(key)

    def _is_next(self, strike: Strike) -> bool:
        with self._lock:
            self._n[strike] += 1
            return self._n[strike] == strike.nth and self._takes(strike)

    def _takes(self, strike: Strike) -> bool:
        """Whether fewer processes than may have struck so far."""
        for number in range(strike.most):
            try:
                os.close(os.open(self.notes / f"struck-{strike.point}-{strike.deed}-{number}", os.O_CREAT | os.O_EXCL))
            except FileExistsError:
                continue
            return True
        return False

    def kill(self, key: str) -> None:
        os.kill(os.getpid(), signal.SIGKILL)
        time.sleep(60)

    def stop(self, key: str) -> None:
        os.kill(os.getpid(), signal.SIGSTOP)

    def full(self, key: str) -> None:
        _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (0, hard))
        release = threading.Timer(2.0, resource.setrlimit, (resource.RLIMIT_FSIZE, (hard, hard)))
        release.daemon = True
        release.start()

    def withdraw(self, key: str) -> None:
        self._withdraw(key, "page")

    def said(self, key: str) -> None:
        self._withdraw(key, "event")

    def unheard(self, key: str) -> None:
        self._withdraw(key, "unheard event")

    def _withdraw(self, key: str, route: str) -> None:
        assert self.store is not None
        with self.store.writing() as connection:
            now = self.store.now(connection)
            contact = connection.execute(select(t.sends.c.contact).where(t.sends.c.message_key == key)).scalar_one()
            named: list[str] | None = None
            if route == "page":
                receipt = withdraw(connection, contact, "marketing", "one_click", {}, now)
                named = [one.message_key for one in receipt.on_its_way]
            else:
                receive(connection, [Incoming(contact, "consent_withdrawn", None, {"purpose": "marketing"})], now)
            if route == "unheard event":
                connection.execute(update(t.contacts).where(t.contacts.c.contact == contact).values(next_at=None))
            mine = select(t.contacts.c.last_at).where(t.contacts.c.contact == contact)
            at = connection.execute(mine).scalar_one()
        said = {"contact": contact, "at": at.isoformat(), "named": named}
        (self.notes / f"withdrawn-{contact}.json").write_text(json.dumps(said))


def _watch_statements(observe: Observer) -> None:
    """Points in transactions of which nobody is told: they are seen by their statements and commits."""
    planned: set[int] = set()
    migrating: set[int] = set()

    @event.listens_for(Engine, "after_cursor_execute")
    def _executed(connection: Connection, cursor: Any, statement: str, *rest: Any) -> None:
        if statement.lstrip().startswith("CREATE TABLE sends"):
            migrating.add(id(connection))
            observe("in_migration", "")

    driven = bulk.driven

    def seen(connection: Connection, text: str, *given: Any, **more: Any) -> Any:
        cursor = driven(connection, text, *given, **more)
        if text.startswith("INSERT INTO sends"):
            planned.add(id(connection))
            observe("after_plan_insert", "")
        return cursor

    bulk.driven = seen

    @event.listens_for(Engine, "commit")
    def _commits(connection: Connection) -> None:
        for of, step in ((planned, "plan_before_commit"), (migrating, "migration_before_commit")):
            if id(connection) in of:
                of.discard(id(connection))
                observe(step, "")

    @event.listens_for(Engine, "rollback")
    def _rolled_back(connection: Connection) -> None:
        planned.discard(id(connection))

    real = process.tick

    def tick(*given: Any, **more: Any) -> Any:
        done = real(*given, **more)
        if done.n_contacts:
            observe("after_plan_commit", "")
        return done

    process.tick = tick


def plainly(connection: Connection, rows: Sequence[Row[Any]]) -> list[Made | Fault]:
    """Messages of one line, with the headers by which they are told apart."""
    return [Made(row.address, _MESSAGE.format(key=row.message_key).encode(), {}) for row in rows]


plainly.close = lambda: None  # type: ignore[attr-defined]


def run(orders: Orders) -> None:
    """Runs a sender by its orders, until it is stopped or struck."""
    ctypes.CDLL(None).prctl(_DIES_WITH_PARENT, signal.SIGKILL)
    if (alive := forkserver._forkserver._forkserver_alive_fd) is not None:
        os.close(alive)  # the parent is to end when nobody but runners holds it
    signal.alarm(orders.deadline)
    folder, notes = Path(orders.folder), Path(orders.notes)
    log = os.open(notes / f"{orders.worker}.log", os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    os.dup2(log, 1)
    os.dup2(log, 2)
    faulthandler.register(signal.SIGUSR1)
    log_to(level=logging.WARNING)
    os.environ["TZ"] = orders.zone
    time.tzset()
    store_module._WAIT_MS = orders.wait_ms
    process._POLL, worker._POLL = _POLLS
    if orders.mutant:
        MUTANTS[orders.mutant]()
    observe = Observer(orders)
    _watch_statements(observe)
    settings = Settings.model_validate(orders.settings).model_copy(update={"folder": folder})
    try:
        observe.store = store = opened(orders)
        if orders.creates:
            observe("after_migration", "")
            return
        if orders.adopts:
            adopt(store, settings.path(settings.state) / "receipts", "kim")
        with Sender(store, settings, orders.worker, observe=observe) as sender:
            signal.signal(signal.SIGTERM, sender.on_signal)
            if not orders.renders:
                sender.writer.close()
                sender.writer = plainly  # type: ignore[assignment]
            sender.run()
    except DataError as problem:
        with suppress(OSError):  # there may be no room for it
            (notes / f"{orders.worker}.refused").write_text(str(problem))
        os._exit(REFUSED)


def main() -> None:
    given = json.loads(Path(sys.argv[1]).read_text())
    given["strikes"] = tuple(Strike(**one) for one in given.get("strikes", ()))
    run(Orders(**given))


def written(orders: Orders) -> str:
    """The orders as `main` reads them."""
    return json.dumps(dataclasses.asdict(orders))


if __name__ == "__main__":
    main()
