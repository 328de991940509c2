"""A worker: it claims messages, carries them to a relay over some lanes, and writes what became of them.

Three kinds of threads share the work. One prepares: it claims messages and makes their bytes. The lanes carry one
message each, up to the dot. The worker's own thread is the only one that lets messages pass the gate and settles
them, all that came meanwhile in one transaction, so that one write to disk serves many. Of a lane's messages the
outcome of one is in the journal before the next one passes the gate: a crash leaves at most one of each lane ambiguous.
"""

from __future__ import annotations

import logging
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from datetime import datetime
from queue import Empty, Queue
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy.exc import DBAPIError, OperationalError, StatementError

from journeylab.errors import DataError
from journeylab.sender.logs import logger
from journeylab.sender.store import Store
from journeylab.sender.store import tables as t

from .alerts import raise_alert
from .claims import reap, release, renew
from .gate import let_pass
from .journal import Journal, Receipt, newest, refuse_older_copy, replay
from .lanes import Asked, Carried, Lane, Waiting
from .preparing import Claimed, Prepared, Renders, claimed, prepared
from .settling import Settled, settle
from .transport import Connection, trusted

if TYPE_CHECKING:
    from types import FrameType

    from sqlalchemy import Connection as StoreConnection

    from journeylab.sender.keys import Keys
    from journeylab.sender.settings import Relay, Settings

__all__ = ["STEPS", "Observe", "Worker"]

Observe = Callable[[str, str], None]
"""Is told of each step of a message by the step's name and the message's key."""
STEPS: Final = (
    "after_claim", "after_render", "after_connect", "after_rcpt", "after_354", "mid_body", "before_gate",
    "gate_before_commit", "after_gate_before_dot", "after_dot", "after_reply_before_journal",
    "after_journal_before_commit", "settle_before_commit", "after_settle", "in_reaper",
)  # fmt: skip
"""The steps between plan and settle, in their order; `in_reaper` is of messages that another worker left behind."""
_POLL: Final = 1.0
_RETRY: Final = 1.0
_AHEAD: Final = 4
_LEAST_AHEAD: Final = 64
"""How many messages are claimed ahead, at most: so many for each lane, or so many in all if that is more."""
_REPLIES: Final = ("accepted", "rejected", "temporary")


def _logged(worker: str) -> Observe:
    log = logger("worker").bind(worker=worker)
    if not log.isEnabledFor(logging.DEBUG):
        return lambda step, message_key: None  # noqa: ARG005

    def observe(step: str, message_key: str) -> None:
        log.debug("step", step=step, message_key=message_key)

    return observe


class Worker:
    """A process's part in sending; see the module's text.

    Args:
        store: the database.
        settings: the sender's settings.
        keys: the sender's keys.
        worker: its name, which no other process uses at the same time: letters, digits, dots and dashes.
        render: makes messages.
        observe: is told of each step, for tests; by default a line for debugging.

    Raises:
        DataError: when the receipts cannot be written, or the database was restored from an older copy.
    """

    def __init__(
        self, store: Store, settings: Settings, keys: Keys, worker: str, render: Renders, observe: Observe | None = None
    ) -> None:
        self._store, self._settings, self._keys, self._name, self._render = store, settings, keys, worker, render
        self._observe = observe or _logged(worker)
        self._log = logger("worker").bind(worker=worker)
        self._told: Queue[Asked | Carried] = Queue()  # a signal in `SimpleQueue.get` may make it wait for ever
        self._waiting = Waiting()
        self._held: dict[str, int] = {}
        self._lock = threading.Lock()
        self._one_writer: Any = threading.Lock() if store.is_sqlite else nullcontext()
        self._stopping = threading.Event()
        self._aborting = threading.Event()
        self._prepared_all = threading.Event()
        self._needs_more = threading.Event()
        self._n_signals = self._n_heeded = 0
        self._trouble: Exception | None = None
        self._now: datetime | None = None
        self._n: Counter[str] = Counter()
        receipts = settings.path(settings.state) / "receipts"
        known = newest(receipts)
        refuse_older_copy(store, known)
        replay(store, known, settings, keys)
        self._journal = Journal(receipts, worker)
        self._trust = {relay.name: trusted(relay, settings) for relay in settings.relays}
        self._passwords = {
            relay.name: None if relay.password is None else settings.secret(relay.password) for relay in settings.relays
        }
        self._lanes = [self._lane(index) for index in range(max(relay.connections for relay in settings.relays))]

    def _lane(self, index: int) -> Lane:
        relays = {relay.name: relay for relay in self._settings.relays if index < relay.connections}
        return Lane(f"lane-{index}", self._waiting, self._told, relays, self._connect, self._observe)

    def _connect(self, relay: Relay) -> Connection:
        return Connection(relay, self._settings.domain, self._trust[relay.name], self._passwords[relay.name])

    def stop(self) -> None:
        """Claims nothing more, finishes what is on its way, and gives the rest back."""
        self._stopping.set()
        self._needs_more.set()

    def abort(self) -> None:
        """Stops, and ends the connections of messages that have not passed the gate; they are given back."""
        self.stop()
        self._aborting.set()
        for lane in self._lanes:
            lane.cut()

    def on_signal(self, number: int, frame: FrameType | None) -> None:  # noqa: ARG002
        """A signal's handler: the first one stops, the next one aborts. It takes no locks: `run` sees to the rest."""
        self._n_signals += 1

    def _heed_signals(self) -> None:
        while self._n_heeded < self._n_signals:
            self._n_heeded += 1
            if self._stopping.is_set():
                self.abort()
            else:
                self.stop()

    def run(self, *, until_idle: bool = False) -> Counter[str]:
        """Sends what may go, until it is stopped; how many messages came to each outcome (`Outcome.kind`).

        A worker runs once.

        Args:
            until_idle: whether to return once there is nothing more that may go now.

        Raises:
            DataError: when receipts cannot be written any more; with `until_idle`, also when the database cannot be
                reached.
        """
        self._note_worker(started=True)
        preparing = threading.Thread(target=self._prepare, args=(until_idle,), name="preparing", daemon=True)
        for thread in (preparing, *self._lanes):
            thread.start()
        unsettled: list[Carried] = []
        while not (self._prepared_all.is_set() and not self._held and self._told.empty()):
            self._heed_signals()
            unsettled = self._serve(self._collected(unsettled), unsettled)
            if unsettled and self._aborting.is_set():
                break  # the receipts are on disk, and settled at the next start
        self._waiting.close()
        for lane in self._lanes:
            lane.join()
        self._journal.close()
        self._note_worker(started=False)
        if self._trouble is not None:
            raise DataError(f"sending has stopped: {_plainly(self._trouble)}") from None
        return self._n

    # The worker's own thread

    def _collected(self, unsettled: Sequence[Carried]) -> list[Asked | Carried]:
        """All that lanes have told, as soon as there is anything."""
        found: list[Asked | Carried] = []
        try:
            found.append(self._told.get(timeout=0.05 if unsettled else 0.2))
            while True:
                found.append(self._told.get_nowait())
        except Empty:
            return found

    def _serve(self, told: Sequence[Asked | Carried], unsettled: Sequence[Carried]) -> list[Carried]:
        """Lets messages pass and settles others, in one transaction; what could not be settled for now."""
        asked = [one for one in told if isinstance(one, Asked)]
        fresh = [one for one in told if isinstance(one, Carried)]
        carried = [*unsettled, *fresh]
        if not asked and not carried:
            return []
        self._write_receipts(fresh)
        for done in fresh:
            self._observe("after_journal_before_commit", done.message.key)
        try:
            passed = self._committed([one.settled for one in carried], asked)
        except Exception as problem:
            self._log.error(
                "a transaction failed", problem=_plainly(problem), n_asked=len(asked), n_settled=len(carried)
            )
            for one in asked:
                one.answer.put(None)
            if not isinstance(problem, DBAPIError):
                return self._one_by_one(carried)
            if not asked or unsettled:
                time.sleep(_RETRY if unsettled else 0.05)
            return carried
        for one in asked:
            one.answer.put(passed[one.request.message_key])
        self._forget(carried)
        return []

    def _committed(self, settled: Sequence[Settled], asked: Sequence[Asked]) -> dict[str, Any]:
        with self._writing() as connection:
            now = self._now = self._store.now(connection)
            settle(connection, settled, now, self._settings, self._keys)
            passed = let_pass(connection, [one.request for one in asked], now, self._settings, self._keys)
            for one in settled:
                self._observe("settle_before_commit", one.message_key)
            for key in passed:
                self._observe("gate_before_commit", key)
        return passed

    def _one_by_one(self, carried: Sequence[Carried]) -> list[Carried]:
        """Settles each alone, so that one that cannot be settled harms no other; its lease will end."""
        for one in carried:
            try:
                self._committed([one.settled], [])
            except DBAPIError:
                return [*carried[carried.index(one) :]]
            except Exception as problem:
                key = one.message.key
                self._log.critical("a message cannot be settled", message_key=key, problem=_plainly(problem))
            self._forget([one])
        return []

    def _forget(self, carried: Sequence[Carried]) -> None:
        with self._lock:
            for one in carried:
                self._held.pop(one.message.key, None)
                self._n[one.settled.outcome.kind] += 1
        for one in carried:
            self._observe("after_settle", one.message.key)
        if 2 * len(self._waiting) < max(_AHEAD * len(self._lanes), _LEAST_AHEAD):
            self._needs_more.set()

    def _write_receipts(self, carried: Sequence[Carried]) -> None:
        receipts = [_receipt(one, self._now) for one in carried if _is_reply(one.settled)]
        try:
            self._journal.write(receipts)
        except OSError as problem:
            # What is on its way is still settled; but without receipts nothing new may be sent.
            self._trouble = problem
            self._log.critical("receipts cannot be written", problem=str(problem))
            self.stop()

    # The preparing thread

    def _prepare(self, until_idle: bool) -> None:
        looked_after = -1e9
        every = min(self._settings.lease.total_seconds() / 4, 30.0)
        while not self._stopping.is_set():
            try:
                if time.monotonic() - looked_after >= every:
                    self._look_after()
                    looked_after = time.monotonic()
                ahead = max(_AHEAD * len(self._lanes), _LEAST_AHEAD)
                room = ahead - len(self._waiting)
                is_enough = 2 * room < ahead
                n = 0 if is_enough else self._claim(room)
            except OperationalError as problem:
                self._log.error("the database cannot be reached", problem=_plainly(problem))
                if until_idle:
                    self._trouble = problem
                    break
                self._stopping.wait(_RETRY)
                continue
            except Exception as problem:
                self._log.critical("preparing has failed", problem=_plainly(problem))
                self._trouble = problem
                break
            if not n and until_idle and not is_enough and not self._held:
                break
            if not n:
                self._needs_more.wait(0.05 if until_idle and not is_enough else _POLL)
                self._needs_more.clear()
        rest = self._waiting.close()
        self._give_back(rest)
        self._prepared_all.set()

    def _claim(self, most: int) -> int:
        with self._writing() as connection:
            now = self._store.now(connection)
            found: Claimed = claimed(connection, self._settings, self._name, most, now)
        if not found.rows:
            return 0
        with self._lock:
            self._held.update({row.message_key: row.fence for row in found.rows})
        for row in found.rows:
            self._observe("after_claim", row.message_key)
        try:
            ready, unsendable = prepared(self._store, found, self._render, self._settings, self._keys, self._writing)
            if unsendable:
                with self._writing() as connection:
                    settle(connection, unsendable, self._store.now(connection), self._settings, self._keys)
        except Exception:
            with self._lock:  # the leases will end
                for row in found.rows:
                    self._held.pop(row.message_key, None)
            raise
        with self._lock:
            for one in unsendable:
                self._held.pop(one.message_key, None)
                self._n[one.outcome.kind] += 1
        for message in ready:
            self._observe("after_render", message.key)
        self._waiting.add(ready)
        return len(found.rows)

    def _look_after(self) -> None:
        """Takes over what others left behind, and prolongs what is this worker's."""
        with self._lock:
            held = dict(self._held)
        with self._writing() as connection:
            now = self._store.now(connection)
            n_ready, n_ambiguous = reap(connection, now, self._observe)
            renew(connection, self._name, held, now + self._settings.lease)
            connection.execute(t.workers.update().where(t.workers.c.worker == self._name).values(seen_at=now))
        if n_ready or n_ambiguous:
            self._log.warning("leases were over", n_ready=n_ready, n_ambiguous=n_ambiguous)

    def _give_back(self, rest: Sequence[Prepared]) -> None:
        fences = {message.key: int(message.row.fence) for message in rest}
        if fences:
            try:
                with self._writing() as connection:
                    release(connection, fences)
            except DBAPIError as problem:
                self._log.error("claims could not be given back; their leases will end", problem=_plainly(problem))
        with self._lock:
            for key in fences:
                self._held.pop(key, None)

    @contextmanager
    def _writing(self) -> Iterator[StoreConnection]:
        with self._one_writer, self._store.writing() as connection:
            yield connection

    def _note_worker(self, *, started: bool) -> None:
        from journeylab.sender.store import insert_missing

        try:
            with self._writing() as connection:
                now = self._store.now(connection)
                row = {"worker": self._name, "host": socket.gethostname(), "started_at": now, "seen_at": now}
                insert_missing(connection, t.workers, [row], ["worker"])
                values = row | {"stopped_at": None} if started else {"seen_at": now, "stopped_at": now}
                connection.execute(t.workers.update().where(t.workers.c.worker == self._name).values(values))
                if self._trouble is not None:
                    text = f"the worker {self._name} has stopped: {_plainly(self._trouble)}"
                    raise_alert(connection, f"workers/{self._name}", "critical", text, now)
        except DBAPIError as problem:
            if started:
                raise DataError(f"the store cannot be reached: {_plainly(problem)}") from None
            self._log.error("the database cannot be reached", problem=_plainly(problem))


def _is_reply(settled: Settled) -> bool:
    return settled.outcome.stage == "dot" and settled.outcome.kind in _REPLIES


def _receipt(carried: Carried, now: datetime | None) -> Receipt:
    row, settled = carried.message.row, carried.settled
    gated_at, relay, outcome = settled.gated_at, settled.relay, settled.outcome
    if gated_at is None or relay is None:
        raise ValueError("a reply to a message's end is of a message that passed the gate")
    return Receipt(
        row.message_key, row.journey, row.contact, row.entry, row.node, row.visit, row.message, row.purpose,
        row.transactional, row.release_id, settled.fence, gated_at, relay, outcome.kind, outcome.code,
        outcome.enhanced, outcome.text, outcome.queue_id, max(now or gated_at, gated_at),
    )  # fmt: skip


def _plainly(problem: BaseException) -> str:
    """What went wrong without the statement and its values, which may be personal."""
    inner = problem.orig if isinstance(problem, StatementError) and problem.orig is not None else problem
    return f"{type(inner).__name__}: {inner}".strip()
