"""Cases: a fault, a point, a database and some workers; each is run to its end, and judged."""

from __future__ import annotations

import json
import multiprocessing.process
import os
import signal
import subprocess
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from hashlib import sha256
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any, Literal

import psutil
from sqlalchemy import Connection, func, or_, select
from sqlalchemy.exc import DBAPIError

from journeylab.sender.keys import Keys
from journeylab.sender.sending.gate import TRANSMITTING_LEASE
from journeylab.sender.sending.reconcile import resolve
from journeylab.sender.sending.worker import STEPS
from journeylab.sender.store import Store
from journeylab.sender.store import tables as t

from . import runner
from .bench import Bench, Truth
from .invariants import ENDED, Found, Violation, Withdrawal, violations
from .runner import Orders, Strike
from .world import GIVEN, expected, feed

Database = Literal["sqlite", "postgresql"]
BEYOND = TRANSMITTING_LEASE + timedelta(minutes=1)
"""How far the clock moves so that every lease of a process that is gone is over."""
_PATIENCE = 300.0
"""How many seconds anything may take on a machine with other work to do."""
_SMALL = 4 * 2**20
_ON_ITS_WAY = STEPS[STEPS.index("gate_before_commit") : STEPS.index("after_settle")]
_SOON = timedelta(minutes=1)
"""What is due within it is due now: what happens while one looks is dated a little later."""
_STANDSTILL = 2.0
"""After so many seconds in which nothing happens the clock moves, as messages may wait for their next try."""


@dataclass(frozen=True)
class Case:
    """What is done to whom.

    Attributes:
        strikes: what processes do to themselves; see `runner.Strike`.
        n_workers: processes on one database.
        n_lanes: how many messages each has on its way.
        mutant: what is taken away from the sender.
        zone: the time zone of the processes.
        is_migrated: whether the tables are made by a process that is struck, too.
        wait_ms: how long SQLite waits for a lock.
        may_end: states in which messages may end beside `accepted`.
        may_refuse: whether a process may end by itself, saying why.
        n_unanswered: how many messages the relay leaves without a reply to their end.
        renders: whether messages are made by the real writer.
    """

    database: Database
    strikes: tuple[Strike, ...] = ()
    n_workers: int = 1
    n_lanes: int = 1
    n_contacts: int = 0
    mutant: str = ""
    zone: str = "UTC"
    is_migrated: bool = False
    wait_ms: int = 30_000
    may_end: tuple[str, ...] = ()
    may_refuse: bool = False
    n_unanswered: int = 0
    renders: bool = False

    @property
    def n(self) -> int:
        """The number of contacts: enough for each worker to have some."""
        return self.n_contacts or 4 + 2 * self.n_workers


@dataclass
class Outcome:
    """What became of a case: the faults, the messages to send, those that were ambiguous, the processes killed."""

    violations: list[Violation]
    n_expected: int
    n_ambiguous: int
    n_crashes: int

    def n(self, kind: str) -> int:
        return sum(one.kind == kind for one in self.violations)


class Run:
    """A case that is under way; use it in `with`."""

    def __init__(
        self, bench: Bench, case: Case, truth: Truth | None = None, *, is_on_small_disk: bool = False
    ) -> None:  # fmt: skip
        self.bench, self.case, self.truth = bench, case, truth or bench.oracle
        self.folder, self.notes = bench.case_folder(), bench.case_folder()
        self.is_on_small_disk = is_on_small_disk
        if is_on_small_disk:
            _mount(self.folder)
        self.provider = bench.files if case.database == "sqlite" else bench.databases
        self.key = sha256(f"{self.folder}".encode()).hexdigest()
        self.keys = Keys(bytes.fromhex(self.key))
        self.url = self.provider.create(self.folder, is_empty=case.is_migrated)
        self.processes: dict[str, BaseProcess] = {}
        self.killed: list[int] = []
        self.faults: list[Violation] = []
        self.contacts: list[str] = []
        self.store: Store | None = None

    def __enter__(self) -> Run:
        return self

    def __exit__(self, *exception: object) -> None:
        for process in self.processes.values():
            process.kill()
            process.join()
        if self.store is not None:
            self.store.close()
            self.clock.close()
        self.provider.drop(self.url)
        if self.is_on_small_disk:
            subprocess.run(["umount", str(self.folder)], check=True)

    # Processes

    def orders(self, worker: str, **changed: Any) -> Orders:
        relay = self.truth.relay() | {"connections": self.case.n_lanes}
        given = {
            "url": self.url, "folder": str(self.folder), "notes": str(self.notes), "worker": worker, "key": self.key,
            "settings": GIVEN | {"relays": [relay]}, "strikes": self.case.strikes, "mutant": self.case.mutant,
            "zone": self.case.zone, "wait_ms": self.case.wait_ms, "renders": self.case.renders,
        }  # fmt: skip
        return Orders(**given | changed)

    def start(self, worker: str, **changed: Any) -> BaseProcess:
        process = self.bench.context.Process(target=runner.run, args=(self.orders(worker, **changed),), name=worker)
        process.start()
        # Whoever starts a process asks after all of them; of two threads that read a status one would find none (255).
        multiprocessing.process._children.discard(process)
        self.processes[worker] = process
        return process

    def start_all(self, **changed: Any) -> None:
        for number in range(self.case.n_workers):
            self.start(f"w{number}", **changed)

    def ended(self) -> Iterator[tuple[str, int]]:
        """The processes that have ended since, with their statuses."""
        for worker, process in [*self.processes.items()]:
            if process.exitcode is not None:
                process.join()
                del self.processes[worker]
                yield worker, process.exitcode

    def stopped(self) -> list[int]:
        """The processes that have stopped themselves."""
        found = []
        for process in self.processes.values():
            with suppress(psutil.NoSuchProcess):
                if psutil.Process(process.pid).status() == psutil.STATUS_STOPPED:
                    found.append(process.pid)
        return [pid for pid in found if pid is not None]

    def wait_until(self, holds: Callable[[], Any], what: str) -> bool:
        """Whether something came true in time; it is noted as a fault if not."""
        deadline = time.monotonic() + _PATIENCE
        while time.monotonic() < deadline:
            if holds():
                return True
            time.sleep(0.05)
        self.fault(what)
        return False

    def fault(self, text: str) -> None:
        self.faults.append(Violation("run", text))

    def wait_stopped(self) -> list[int]:
        """The processes that have stopped themselves, once there is one."""

        def is_any() -> bool:
            self._start_again()
            return bool(self.stopped())

        self.wait_until(is_any, "none stopped")
        return self.stopped()

    def go_on(self, pids: Sequence[int]) -> None:
        for pid in pids:
            os.kill(pid, signal.SIGCONT)

    def pass_by(self, time: timedelta) -> None:
        """Moves the clock of all processes."""
        self.clock.shift += time

    @property
    def clock(self) -> runner.ShiftedClock:
        assert self.store is not None
        assert isinstance(self.store.clock, runner.ShiftedClock)
        return self.store.clock

    # The story

    def open(self) -> Store:
        """The store, as the case's own process sees it, on the shifted clock."""
        self.store = runner.opened(self.orders("matrix"))
        return self.store

    def feed(self) -> None:
        store = self.store or self.open()
        self.contacts = feed(store, self.case.n)

    def migrate(self) -> None:
        """Makes the tables in processes of which some are killed, until one is not."""
        for _ in range(5):
            process = self.start("migrating", creates=True)
            process.join(_PATIENCE)
            status = process.exitcode
            del self.processes["migrating"]
            if status == 0:
                break
            if status != -signal.SIGKILL:
                self.fault(f"the migration ended with {status}: {self._log('migrating')}")
                break
            self.killed.append(process.pid or 0)
        from .world import promoted

        promoted(self.url).close()

    def drain(self, at_most: float | None = None) -> None:
        """Lets all processes run until nothing is due; those that are killed are started again, and time passes.

        It takes `at_most` some seconds, or else it is a fault that it takes too long.
        """
        deadline = time.monotonic() + (at_most or _PATIENCE)
        last, since = None, time.monotonic()
        while time.monotonic() < deadline:
            self._start_again()
            try:
                state = self._state()
            except DBAPIError:
                state = None
            if state is not None and state[0] and not self._carried():
                return
            if state != last:
                last, since = state, time.monotonic()
            elif time.monotonic() - since > _STANDSTILL:
                self.pass_by(timedelta(minutes=3))
                since = time.monotonic()
            time.sleep(0.05)
        if at_most is None:
            self.fault("it was not drained in time")

    def _start_again(self) -> None:
        """Starts those processes again that have ended; a kill's leases are over by then."""
        for worker, status in self.ended():
            if status == -signal.SIGKILL:
                self.killed.append(status)
                self.pass_by(BEYOND)
            elif status != runner.REFUSED or not self.case.may_refuse:
                self.fault(f"{worker} ended with {status}: {self._log(worker)}")
            self.start(worker)

    @contextmanager
    def _snapshot(self) -> Iterator[Connection]:
        """A transaction that sees one instant, on either database."""
        assert self.store is not None
        engine = self.store.engine
        if not self.store.is_sqlite:
            engine = engine.execution_options(isolation_level="REPEATABLE READ")
        with engine.connect() as connection, connection.begin():
            yield connection

    def _state(self) -> tuple[bool, Any]:
        """Whether nothing is due, and where everything stands."""
        assert self.store is not None
        with self._snapshot() as connection:
            now = self.store.now(connection)
            due = select(func.count()).where(t.contacts.c.next_at <= now + _SOON)
            n_due = connection.execute(due).scalar_one()
            n_entered = connection.execute(select(func.count()).select_from(t.entries)).scalar_one()
            asked = select(t.sends.c.state, t.sends.c.fence, func.count()).group_by(t.sends.c.state, t.sends.c.fence)
            rows = sorted(tuple(row) for row in connection.execute(asked))
        is_over = not n_due and n_entered == len(self.contacts) and all(state in ENDED for state, *_ in rows)
        return is_over, (n_due, n_entered, rows)

    def _carried(self) -> bool:
        """Whether an ambiguous message is still on its way in a process that lives: its reply may come late."""
        assert self.store is not None
        with self.store.reading() as connection:
            asked = select(t.sends.c.message_key).where(t.sends.c.state == "ambiguous")
            ambiguous = {*connection.scalars(asked)}
        alive = {str(process.pid) for process in self.processes.values()}
        return any(
            pid in alive and key in ambiguous and step in _ON_ITS_WAY for (pid, key), step in self._last_steps().items()
        )

    def settle_ambiguous(self) -> int:
        """Decides on what is ambiguous as a person does who knows the truth; how many there were."""
        assert self.store is not None
        found = self.found()
        for key in found.ambiguous:
            resolve(self.store, key, "delivered" if found.counts[key] else "resend", "kim")
        return len(found.ambiguous)

    def stop(self) -> None:
        """Ends all processes by SIGTERM."""
        for process in self.processes.values():
            process.terminate()
        for worker, process in [*self.processes.items()]:
            process.join(_PATIENCE)
            if process.exitcode != 0:
                if process.exitcode is None and process.pid is not None:
                    os.kill(process.pid, signal.SIGUSR1)  # it says where it hangs
                    time.sleep(1)
                self.fault(f"{worker} ended with {process.exitcode} when it was told to: {self._log(worker)}")
                process.kill()
                process.join()
            del self.processes[worker]

    def _log(self, worker: str) -> str:
        path = self.notes / f"{worker}.log"
        return path.read_text()[-4000:] if path.exists() else ""

    # What there is

    def found(self) -> Found:
        assert self.store is not None
        mine = expected(self.keys, self.contacts)
        all_keys = {key for keys in mine.values() for key in keys}
        counts = Counter({key: n for key, n in self.truth.counts().items() if key in all_keys})
        with self._snapshot() as connection:
            now = self.store.now(connection)
            rows = {row.message_key: row for row in connection.execute(select(t.sends))}
            c = t.contacts.c
            waiting = [
                *connection.scalars(select(c.contact).where(or_(c.next_at <= now + _SOON, c.held_because.is_not(None))))
            ]
            sent = connection.execute(select(t.events).where(t.events.c.event == "sent"))
            n_sent = Counter(
                self.keys.message_key(*(one.properties["journey"], one.contact, int(one.properties["entry"])),
                                      one.properties["node"], int(one.properties["visit"]))
                for one in sent
            )  # fmt: skip
        return Found(
            mine, rows, counts, n_sent, self._traced(), len(self.killed), self.case.n_lanes, waiting,
            self._withdrawals(), self.case.may_end, self.case.n_unanswered,
        )  # fmt: skip

    def _last_steps(self) -> dict[tuple[str, str], str]:
        """The last step of each message in each process."""
        last: dict[tuple[str, str], str] = {}
        path = self.notes / "trace"
        for line in path.read_text().splitlines() if path.exists() else ():
            pid, step, *key = line.split(" ")
            if key and key[0] and step != "in_reaper":
                last[pid, key[0]] = step
        return last

    def _traced(self) -> dict[str, set[str]]:
        """The last steps of each message, one in each process."""
        found: dict[str, set[str]] = defaultdict(set)
        for (_, key), step in self._last_steps().items():
            found[key].add(step)
        return found

    def _withdrawals(self) -> list[Withdrawal]:
        return [
            Withdrawal(one["contact"], datetime.fromisoformat(one["at"]), one["named"] and tuple(one["named"]))
            for path in sorted(self.notes.glob("withdrawn-*.json"))
            for one in [json.loads(path.read_text())]
        ]

    def judged(self) -> Outcome:
        """Judges what there is, then lets a person decide on what is ambiguous, and judges the end."""
        found = self.found()
        faults = [*violations(found)]
        n_ambiguous = self.settle_ambiguous()
        if n_ambiguous:
            self.drain()
            after = self.found()
            after_all = violations(after)
            after_all += [Violation("stuck", f"{key} is ambiguous again") for key in after.ambiguous]
            faults += [one for one in after_all if one not in faults]
        self.stop()
        self._is_struck()
        n_expected = sum(map(len, found.expected.values()))
        return Outcome([*faults, *self.faults], n_expected, n_ambiguous, len(self.killed))

    def _is_struck(self) -> None:
        for strike in self.case.strikes:
            if not [*self.notes.glob(f"struck-{strike.point}-{strike.deed}-*")]:
                self.fault(f"nobody came to {strike.point}")


def _mount(folder: Path) -> None:
    command = ["mount", "-t", "tmpfs", "-o", f"size={_SMALL}", "tmpfs", str(folder)]
    subprocess.run(command, check=True)


# The cases


def killed(bench: Bench, case: Case, truth: Truth | None = None) -> Outcome:
    """Processes kill themselves; others go on; those that died are started again."""
    with Run(bench, case, truth) as run:
        if case.is_migrated:
            run.migrate()
        run.feed()
        run.start_all()
        run.drain()
        return run.judged()


def kills(point: str, database: Database, n_workers: int, **more: Any) -> Case:
    """The case of a point: one process is killed there, of four two are."""
    most = 2 if n_workers > 2 else 1
    strikes = [Strike(point, most=most)]
    if point == "in_reaper":  # there must be something to take over
        strikes.insert(0, Strike("before_gate"))
    is_migrated = "migration" in point
    if is_migrated or point == "in_reaper":
        strikes[-1] = Strike(point)
    return Case(database, tuple(strikes), n_workers, is_migrated=is_migrated, **more)
