"""Other faults than a kill: processes that sleep, databases that go away, full disks, clocks, copies, relays, consent.

A fault strikes where a process has stopped itself, so that nothing hangs on how fast a machine is.
"""

from __future__ import annotations

import sqlite3
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Final
from zoneinfo import ZoneInfo

import psycopg
from sqlalchemy import func, select

from journeylab.sender.store import tables as t
from servers.smtp import Rule

from .bench import ONE_AT_A_TIME, Bench, Mailbox, Oracle
from .matrix import BEYOND, Case, Database, Outcome, Run, killed, kills
from .points import AMBIGUOUS, IN_TRANSACTION
from .runner import REFUSED, Strike

HOUR: Final = timedelta(hours=1)
_FELT: Final = 1.5
"""For how many seconds something is gone, so that it is missed; nothing hangs on it but what the case is about."""


@dataclass(frozen=True)
class Fault:
    """A fault at a place, on one database: `run` tries it."""

    name: str
    place: str
    database: Database
    run: Callable[[Bench], Outcome]

    @property
    def id(self) -> str:
        return f"{self.name}-{self.place}-{self.database}"


def _stopping(database: Database, point: str, n_workers: int = 1, **more: object) -> Case:
    return Case(database, (Strike(point, "stop"),), n_workers, **more)  # type: ignore[arg-type]


@contextmanager
def _stopped(bench: Bench, case: Case) -> Iterator[tuple[Run, list[int]]]:
    """A run in which a process has stopped itself; afterwards it goes on to its end."""
    with Run(bench, case) as run:
        run.feed()
        run.start_all()
        pids = run.wait_stopped()
        yield run, pids


def asleep(bench: Bench, database: Database, point: str) -> Outcome:
    """A process sleeps beyond its lease while another one goes on, and then wakes up."""
    with _stopped(bench, _stopping(database, point, 2)) as (run, pids):
        run.pass_by(BEYOND)
        # In its sleep it may hold SQLite's only lock, so that the other one can do nothing.
        run.drain(at_most=_FELT if point in IN_TRANSACTION or database == "sqlite" else 4 * _FELT)
        run.go_on(pids)
        run.wait_until(lambda: not run.found().ambiguous, "a reply that came late was not heeded")
        run.drain()
        return run.judged()


def overtaken(bench: Bench, mutant: str = "") -> Outcome:
    """A process sleeps before the gate beyond its lease; when it wakes up, another has just sent its message."""
    with Run(bench, Case("postgresql", n_contacts=1, mutant=mutant)) as run:
        run.feed()
        run.start("w0", strikes=(Strike("before_gate", "stop"),))
        first = run.wait_stopped()
        run.pass_by(BEYOND)
        run.start("w1", strikes=(Strike("after_dot", "stop"),))
        run.wait_until(lambda: len(run.stopped()) == 2, "the other one did not take it over")
        second = [pid for pid in run.stopped() if pid not in first]
        run.go_on(first)
        run.drain(at_most=2 * _FELT)
        run.go_on(second)
        run.wait_until(lambda: not run.found().ambiguous, "a reply that came late was not heeded")
        run.drain()
        return run.judged()


def terminated(bench: Bench, database: Database, point: str) -> Outcome:
    """A process is told to end with a message on its way; it finishes it, and gives the others back."""
    with _stopped(bench, _stopping(database, point)) as (run, pids):
        for process in run.processes.values():
            process.terminate()
        run.go_on(pids)
        _ends(run)
        return _started_again(run)


def aborted(bench: Bench, database: Database, point: str) -> Outcome:
    """A process that is told to end a second time does not wait for the relay."""
    oracle = Oracle(bench.case_folder() / "ledger", (Rule(at="data", nth=(1,), delay=60),))
    try:
        with Run(bench, Case(database), oracle) as run:
            run.feed()
            run.start_all()
            trace = run.notes / "trace"
            run.wait_until(lambda: trace.exists() and f" {point} " in trace.read_text(), f"it did not come to {point}")
            began = time.monotonic()
            while any(process.exitcode is None for process in run.processes.values()):
                for process in run.processes.values():
                    process.terminate()
                time.sleep(0.2)
                if time.monotonic() - began > 50:
                    run.fault("it waited for the relay")
                    break
            _ends(run)
            return _started_again(run)
    finally:
        oracle.close()


def _ends(run: Run) -> None:
    """All processes end by themselves, and have given back what they had claimed."""
    for worker, process in [*run.processes.items()]:
        process.join(100)
        if process.exitcode != 0:
            run.fault(f"{worker} ended with {process.exitcode} when it was told to")
            process.kill()
        del run.processes[worker]
    left = [row.state for row in run.found().rows.values() if row.state in ("claimed", "transmitting")]
    if left:
        run.fault(f"it left {len(left)} messages claimed")


def _started_again(run: Run) -> Outcome:
    run.start_all()
    run.drain()
    return run.judged()


def server_killed(bench: Bench, point: str) -> Outcome:
    """PostgreSQL and all its processes die and come back, while a message is at a point."""
    with bench.crashing() as (own, server), _stopped(own, _stopping("postgresql", point)) as (run, pids):
        server.crash()
        run.go_on(pids)
        time.sleep(_FELT)
        with ONE_AT_A_TIME:
            server.start()
        run.drain()
        return run.judged()


def locked(bench: Bench, database: Database, point: str) -> Outcome:
    """Somebody else holds the database for longer than SQLite waits."""
    with _stopped(bench, _stopping(database, point, wait_ms=1000, may_refuse=True)) as (run, pids):
        held = _hold(run.url, 0.2)
        run.go_on(pids)
        held = held or _hold(run.url, 60)  # the process that slept had it itself
        if held is None:
            run.fault("the database could not be locked")
        else:
            time.sleep(2 * _FELT)
            held.rollback()
            held.close()
        run.drain()
        return run.judged()


def _hold(url: str, timeout: float) -> sqlite3.Connection | psycopg.Connection | None:
    """A connection that keeps all others from the database, if it could be locked in time."""
    try:
        if url.startswith("sqlite"):
            connection = sqlite3.connect(url.removeprefix("sqlite:///"), isolation_level=None, timeout=timeout)
            connection.execute("begin immediate")
            return connection
        held = psycopg.connect(url.replace("postgresql+psycopg://", "postgresql://"))
        held.execute(f"set lock_timeout = {int(timeout * 1000)}".encode())
        held.execute("lock table sends, contacts in access exclusive mode")
    except (sqlite3.OperationalError, psycopg.errors.LockNotAvailable):
        return None
    return held


def no_writes(bench: Bench, database: Database, point: str) -> Outcome:
    """For a while no file takes a byte: receipts cannot be written, and in SQLite nothing at all."""
    case = Case(database, (Strike(point, "full"),), may_refuse=True)
    with Run(bench, case) as run:
        run.feed()
        run.start_all()
        run.drain()
        return run.judged()


def can_mount() -> bool:
    """Whether a small disk of one's own can be made here."""
    probe = Path("/proc/self/status").read_text()
    return "CapEff:\t0000000000000000" not in probe and subprocess.run(
        ["unshare", "--mount", "true"], capture_output=True, check=False
    ).returncode == 0  # fmt: skip


def disk_full(bench: Bench, database: Database, point: str) -> Outcome:
    """The disk of the database, or of the receipts alone, is full for a while."""
    with Run(bench, replace(_stopping(database, point), may_refuse=True), is_on_small_disk=True) as run:
        run.feed()
        run.start_all()
        pids = run.wait_stopped()
        filler = run.folder / "filler"
        with filler.open("wb", buffering=0) as file, suppress(OSError):
            while True:
                file.write(bytes(2**16))
        with filler.open("ab", buffering=0) as file, suppress(OSError):
            while True:
                file.write(b"0")
        run.go_on(pids)
        time.sleep(_FELT)
        filler.unlink()
        run.drain()
        return run.judged()


def clock_moved(bench: Bench, database: Database, point: str, by: timedelta) -> Outcome:
    """The clock is set to another hour, and if that was back, later put right again."""
    with _stopped(bench, _stopping(database, point)) as (run, pids):
        run.pass_by(by)
        run.go_on(pids)
        if by < timedelta():
            time.sleep(_FELT)
            run.pass_by(-by)
        run.drain()
        return run.judged()


def summer_time(bench: Bench, database: Database, point: str, *, is_spring: bool) -> Outcome:
    """A process is killed just before its clocks change, and started again after."""
    case = replace(kills(point, database, 1), zone="Europe/Warsaw")
    with Run(bench, case) as run:
        store = run.open()
        with store.reading() as connection:
            now = store.now(connection)
        run.pass_by(_change(now, is_spring=is_spring) - now - timedelta(seconds=5))
        run.feed()
        run.start_all()
        run.drain()
        return run.judged()


def _change(now: datetime, *, is_spring: bool) -> datetime:
    """The next instant at which Warsaw's clocks go forward, or back."""
    at, zone = now.replace(minute=0, second=0, microsecond=0), ZoneInfo("Europe/Warsaw")
    while True:
        before, at = at, at + HOUR
        gained = at.astimezone(zone).utcoffset() - before.astimezone(zone).utcoffset()  # type: ignore[operator]
        if gained == (HOUR if is_spring else -HOUR):
            return at


def put_back(bench: Bench, database: Database, place: str) -> Outcome:
    """A copy of the database is put back after more was sent; nothing is, until the receipts are adopted."""
    with Run(bench, Case(database)) as run:
        run.feed()
        if place == "in_the_middle":
            run.start("w0")
            run.wait_until(lambda: _n_accepted(run) >= 2, "nothing was sent")
            run.stop()
        _dispose(run)
        run.provider.keep(run.url)
        run.start("w0")
        run.drain()
        run.stop()
        _dispose(run)
        run.provider.put_back(run.url)
        refused = run.start("w0")
        refused.join(100)
        text = run.notes / "w0.refused"
        if refused.exitcode != REFUSED or "older copy" not in text.read_text():
            run.fault(f"it did not refuse the copy, but ended with {refused.exitcode}")
        del run.processes["w0"]
        run.start("w0", adopts=True)
        run.drain()
        return run.judged()


def put_back_unguarded(bench: Bench, database: Database, mutant: str) -> Outcome:
    """The same with a sender that takes the copy for the newest."""
    with Run(bench, Case(database, mutant=mutant)) as run:
        run.feed()
        _dispose(run)
        run.provider.keep(run.url)
        run.start("w0")
        run.drain()
        run.stop()
        _dispose(run)
        run.provider.put_back(run.url)
        return _started_again(run)


def _n_accepted(run: Run) -> int:
    assert run.store is not None
    with run.store.reading() as connection:
        asked = select(func.count()).where(t.sends.c.state == "accepted")
        return int(connection.execute(asked).scalar_one())


def _dispose(run: Run) -> None:
    assert run.store is not None
    run.store.engine.dispose()


def errs(bench: Bench, database: Database, rules: Sequence[Rule], **more: object) -> Outcome:
    """A relay that does otherwise."""
    oracle = Oracle(bench.case_folder() / "ledger", tuple(rules))
    try:
        return killed(bench, Case(database, **more), oracle)  # type: ignore[arg-type]
    finally:
        oracle.close()


def late(bench: Bench, database: Database) -> Outcome:
    """A relay replies after the message's lease is over, and another worker has taken it for lost."""
    oracle = Oracle(bench.case_folder() / "ledger", (Rule(at="dot", nth=(1,), delay=6),))
    try:
        with Run(bench, Case(database, n_workers=2), oracle) as run:
            run.feed()
            run.start_all()
            run.wait_until(lambda: oracle.counts(), "nothing was sent")
            run.pass_by(BEYOND)
            run.wait_until(lambda: run.found().ambiguous, "what was late was not noticed")
            run.wait_until(lambda: not run.found().ambiguous, "a reply that came late was not heeded")
            run.drain()
            return run.judged()
    finally:
        oracle.close()


def withdrawn(bench: Bench, database: Database, point: str, deed: str, *, is_killed: bool, mutant: str = "") -> Outcome:
    """A contact withdraws consent when a message is at a point, where the process may be killed thereupon."""
    strikes = (Strike(point, deed), *([Strike(point)] if is_killed else []))
    return killed(bench, Case(database, strikes, mutant=mutant, may_end=("cancelled", "suppressed")))


def to_postfix(bench: Bench, database: Database, point: str, mailbox: Mailbox) -> Outcome:
    """Mail to a real Postfix, made by the real writer, from a process that is killed."""
    return killed(bench, replace(kills(point, database, 1), renders=True), mailbox)


RELAYS: Final[dict[str, tuple[tuple[Rule, ...], dict[str, object]]]] = {
    "closes_in_the_body": (
        (Rule(at="body", nth=(2,), close=True, after=20),),
        {"n_unanswered": 1},
    ),  # seen in time, or not
    "closes_at_the_dot": ((Rule(at="dot", nth=(2,), close=True),), {"n_unanswered": 1}),
    "takes_and_closes": ((Rule(at="dot", nth=(2,), close=True, record=True),), {"n_unanswered": 1}),
    "half_a_reply": ((Rule(at="dot", nth=(2,), half=True, record=False),), {"n_unanswered": 1}),
    "takes_and_half_a_reply": ((Rule(at="dot", nth=(2,), half=True, record=True),), {"n_unanswered": 1}),
    **{
        f"{code}_at_{stage}": (
            (Rule(at=stage, nth=(1,) if stage in ("connect", "ehlo") else (2,), reply=reply),),
            {"may_end": ("rejected",)} if code == "5xx" and stage not in ("connect", "ehlo") else {},
        )
        for code, reply in (("4xx", "451 4.3.0 not now"), ("421", "421 4.3.2 closing"), ("5xx", "550 5.7.1 no"))
        for stage in ("connect", "ehlo", "mail", "rcpt", "data", "dot")
    },
}
SLEEPS: Final = ("after_claim", "mid_body", "before_gate", "gate_before_commit", "after_gate_before_dot", "after_dot",
                 "after_reply_before_journal", "after_journal_before_commit", "settle_before_commit")  # fmt: skip
STRUCK: Final = ("after_plan_insert", "after_claim", "before_gate", "gate_before_commit", "after_gate_before_dot",
                 "after_dot", "after_reply_before_journal", "settle_before_commit")  # fmt: skip
OUTSIDE: Final = tuple(point for point in STRUCK if point not in IN_TRANSACTION)
CONSENTS: Final = ("after_claim", "after_connect", "before_gate", "after_gate_before_dot", "after_dot",
                   "after_reply_before_journal", "after_settle")  # fmt: skip
DATABASES: Final[tuple[Database, ...]] = ("sqlite", "postgresql")


def faults() -> list[Fault]:
    """All faults but those of Postfix, in the order of the table."""
    made: list[Fault] = []

    def add(name: str, place: str, database: Database, run: Callable[..., Outcome], *given: Any, **more: Any) -> None:
        made.append(Fault(name, place, database, lambda bench: run(bench, *given, **more)))

    for database in DATABASES:
        for point in SLEEPS:
            add("stopped beyond the lease (SIGSTOP, SIGCONT)", point, database, asleep, database, point)
        for point in ("mid_body", "before_gate", "after_dot"):
            add("told to end (SIGTERM)", point, database, terminated, database, point)
        add("told to end twice", "after_rcpt", database, aborted, database, "after_rcpt")
        if database == "postgresql":
            for point in STRUCK:
                add("database server killed (SIGKILL), started again", point, database, server_killed, point)
        for point in OUTSIDE:
            add("database locked by others", point, database, locked, database, point)
        for point in STRUCK:
            add("no file can be written", point, database, no_writes, database, point)
        for point in STRUCK if can_mount() else ():
            add("disk full", point, database, disk_full, database, point)
        for point in OUTSIDE:
            add("clock an hour forward", point, database, clock_moved, database, point, HOUR)
            add("clock an hour back", point, database, clock_moved, database, point, -HOUR)
        for is_spring in (True, False):
            place = "spring" if is_spring else "autumn"
            add("over the change to or from summer time", place, database, summer_time, database, "before_gate",
                is_spring=is_spring)  # fmt: skip
        for place in ("before_the_first", "in_the_middle"):
            add("older copy of the database put back", place, database, put_back, database, place)
        for name, (rules, more) in RELAYS.items():
            add("relay that errs", name, database, errs, database, rules, **more)
        add("reply after the lease", "dot", database, late, database)
        for point in CONSENTS:
            for deed in ("withdraw", "said", *(("unheard",) if point == "before_gate" else ())):
                for is_killed in (False, True):
                    add(
                        "consent withdrawn" + (", then killed" if is_killed else ""), f"{point}-{deed}", database,
                        withdrawn, database, point, deed, is_killed=is_killed,
                    )  # fmt: skip
    return made


POSTFIX: Final = ("before_gate", *AMBIGUOUS, "after_journal_before_commit", "settle_before_commit")
"""The points that are tried with a real Postfix, too."""
