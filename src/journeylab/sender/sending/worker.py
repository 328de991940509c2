"""A worker: it claims messages, carries them to a relay over some lanes, and writes what became of them.

Three threads share the work. The worker's own is the only one that writes to the database: it claims messages and
freezes their bytes, lets them pass the gate and settles them, all that came meanwhile in one transaction, so that one
write to disk serves many. Another makes the bytes. The third is that of the lanes, each of which carries one message at
a time, up to the dot. Of a lane's messages the outcome of one is in the journal before the next one passes the gate: a
crash leaves at most one of each lane ambiguous.
"""

from __future__ import annotations

import logging
import math
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from queue import Empty, Queue
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from sqlalchemy.exc import DBAPIError, OperationalError, StatementError

from journeylab.errors import DataError
from journeylab.language import say
from journeylab.sender.logs import logger
from journeylab.sender.store import Store, insert_missing
from journeylab.sender.store import tables as t

from .alerts import raise_alert
from .channels import way_to
from .claims import reap, release, renew
from .gate import let_pass
from .journal import Journal, Receipt, newest, refuse_older_copy, replay
from .lanes import Asked, Carried, Lane, Lanes
from .preparing import Claimed, Making, Renders, claimed, frozen, made
from .settling import Settled, settle

if TYPE_CHECKING:
    from types import FrameType

    from journeylab.sender.settings import Settings

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
        store: the database, opened with its keys.
        settings: the sender's settings.
        worker: its name, which no other process uses at the same time: letters, digits, dots and dashes.
        render: makes messages.
        observe: is told of each step, for tests; by default a line for debugging.

    Raises:
        DataError: when the receipts cannot be written, or the database was restored from an older copy.
    """

    def __init__(
        self, store: Store, settings: Settings, worker: str, render: Renders, observe: Observe | None = None
    ) -> None:
        self._store, self._settings, self._name, self._render = store, settings, worker, render
        self._observe = observe or _logged(worker)
        self._log = logger("worker").bind(worker=worker)
        self._told: Queue[Sequence[_Told]] = Queue()  # a signal in `SimpleQueue.get` may make it wait for ever
        self._to_make: Queue[Claimed | None] = Queue()
        self._made: list[Making] = []
        self._n_to_make = 0
        self._held: dict[str, int] = {}
        self._claims_at = self._looks_at = -math.inf
        self._stopping = threading.Event()
        self._aborting = threading.Event()
        self._n_signals = self._n_heeded = 0
        self._trouble: Exception | None = None
        self._now: datetime | None = None
        self._n: Counter[str] = Counter()
        receipts = settings.path(settings.state) / "receipts"
        known = newest(receipts)
        refuse_older_copy(store, known)
        replay(store, known, settings)
        self._journal = Journal(receipts, worker)
        ways = {relay.name: way_to(relay, settings) for relay in settings.relays}
        n_lanes = max(relay.connections for relay in settings.relays)
        lanes = [
            Lane({relay.name: relay for relay in settings.relays if index < relay.connections}, self._observe)
            for index in range(n_lanes)
        ]
        self._lanes = Lanes(lanes, self._told, ways)
        self._ahead = max(_AHEAD * n_lanes, _LEAST_AHEAD)

    def stop(self) -> None:
        """Claims nothing more, finishes what is on its way, and gives the rest back."""
        self._stopping.set()

    def abort(self) -> None:
        """Stops, and ends the connections of messages that have not passed the gate; they are given back."""
        self.stop()
        self._aborting.set()
        self._lanes.cut()

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
        making = threading.Thread(target=self._make, name="making", daemon=True)
        for thread in (making, self._lanes):
            thread.start()
        unsettled: list[Carried] = []
        while not (self._stopping.is_set() and self._is_done()):
            self._heed_signals()
            told = self._told_so_far(until_idle or bool(unsettled))
            for one in told:
                if isinstance(one, (Making, _Unmade)):
                    self._take(one, until_idle)
            unsettled = self._serve([one for one in told if isinstance(one, (Asked, Carried))], unsettled)
            if unsettled and self._aborting.is_set():
                break  # the receipts are on disk, and settled at the next start
            if self._stopping.is_set():
                self._give_back_the_rest()
            elif not self._supply(until_idle) and until_idle and not self._held:
                break
        self._to_make.put(None)
        self._lanes.close()
        while self._lanes.is_alive():
            self._wind_up()
        making.join()
        self._wind_up()
        self._journal.close()
        self._note_worker(started=False)
        if self._trouble is not None:
            raise DataError(f"sending has stopped: {_plainly(self._trouble)}") from None
        return self._n

    def _wind_up(self) -> None:
        """Lets lanes come to their end without a database: nothing more passes, and what relays say is on disk."""
        self._lanes.join(0.01)
        told = self._drained()
        self._lanes.answer([(one.lane, None) for one in told if isinstance(one, Asked)])
        self._write_receipts([one for one in told if isinstance(one, Carried)])

    def _is_done(self) -> bool:
        return not self._held and not self._n_to_make and self._told.empty()

    def _told_so_far(self, is_impatient: bool) -> list[_Told]:
        """All that other threads have told, as soon as there is anything, or when it is time to look around.

        Receipts of it are on disk. While they are written lanes ask for the next messages, which then go with it into
        one transaction.
        """
        try:
            told = [*self._told.get(timeout=0.05 if is_impatient else 0.2), *self._drained()]
        except Empty:
            return []
        carried = [one for one in told if isinstance(one, Carried)]
        if not carried:
            return told
        self._write_receipts(carried)
        since = self._drained()
        self._write_receipts([one for one in since if isinstance(one, Carried)])
        return told + since

    def _drained(self) -> list[_Told]:
        found: list[_Told] = []
        with suppress(Empty):
            while True:
                found.extend(self._told.get_nowait())
        return found

    def _stop_for(self, what: str, problem: Exception) -> None:
        self._trouble = problem
        self._log.critical(what, problem=_plainly(problem))
        self.stop()

    # The gate and what became of messages

    def _serve(self, told: Sequence[Asked | Carried], unsettled: Sequence[Carried]) -> list[Carried]:
        """Lets messages pass and settles others, whose receipts are on disk, in one transaction; what it could not."""
        asked = [one for one in told if isinstance(one, Asked)]
        fresh = [one for one in told if isinstance(one, Carried)]
        carried = [*unsettled, *fresh]
        if not asked and not carried:
            return []
        for done in fresh:
            self._observe("after_journal_before_commit", done.message.key)
        try:
            passed = self._committed([one.settled for one in carried], asked)
        except Exception as problem:
            self._log.error(
                "a transaction failed", problem=_plainly(problem), n_asked=len(asked), n_settled=len(carried)
            )
            self._lanes.answer([(one.lane, None) for one in asked])
            if not isinstance(problem, DBAPIError):
                return self._one_by_one(carried)
            if not asked or unsettled:
                time.sleep(_RETRY if unsettled else 0.05)
            return carried
        self._lanes.answer([(one.lane, passed[one.request.message_key]) for one in asked])
        self._forget(one.settled for one in carried)
        return []

    def _committed(self, settled: Sequence[Settled], asked: Sequence[Asked]) -> dict[str, Any]:
        with self._store.writing() as connection:
            now = self._now = self._store.now(connection)
            settle(connection, settled, now, self._settings)
            passed = let_pass(connection, [one.request for one in asked], now, self._settings)
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
            self._forget([one.settled])
        return []

    def _forget(self, settled: Iterable[Settled]) -> None:
        for one in settled:
            self._held.pop(one.message_key, None)
            self._n[one.outcome.kind] += 1
            self._observe("after_settle", one.message_key)

    def _write_receipts(self, carried: Sequence[Carried]) -> None:
        receipts = [_receipt(one, self._now) for one in carried if _is_reply(one.settled)]
        try:
            self._journal.write(receipts)
        except OSError as problem:
            # What is on its way is still settled; but without receipts nothing new may be sent.
            self._stop_for("receipts cannot be written", problem)

    # What lanes can take

    def _make(self) -> None:
        """The making thread: bytes of claimed messages."""
        while (group := self._to_make.get()) is not None:
            try:
                self._told.put([made(self._store, group, self._render, self._settings)])
            except Exception as problem:
                self._told.put([_Unmade(group, problem)])

    def _take(self, told: Making | _Unmade, until_idle: bool) -> None:
        self._n_to_make -= len(told.claim.rows)
        if isinstance(told, Making):
            self._made.append(told)
            return
        self._give_back({row.message_key: row.fence for row in told.claim.rows})
        self._claims_at = time.monotonic() + _RETRY
        if until_idle or not isinstance(told.problem, OperationalError):
            self._stop_for("preparing has failed", told.problem)
        else:
            self._log.error("the database cannot be reached", problem=_plainly(told.problem))

    def _supply(self, until_idle: bool) -> bool:
        """Freezes what was made, and claims more where lanes will soon need it; False where there was none to claim."""
        now = time.monotonic()
        n_ahead = self._lanes.n_waiting + self._n_to_make + sum(len(one.ready) for one in self._made)
        n_wanted = self._ahead - n_ahead if now >= self._claims_at and 2 * n_ahead <= self._ahead else 0
        try:
            if now >= self._looks_at:
                self._look_after()
                self._looks_at = now + min(self._settings.lease.total_seconds() / 4, 30.0)
            n = self._frozen_and_claimed(n_wanted) if self._made or n_wanted else 0
        except OperationalError as problem:
            if until_idle:
                self._stop_for("the database cannot be reached", problem)
            else:
                self._log.error("the database cannot be reached", problem=_plainly(problem))
                self._claims_at = self._looks_at = now + _RETRY
            return True
        except Exception as problem:
            self._stop_for("preparing has failed", problem)
            return True
        if n_wanted and not n:
            self._claims_at = now + (0.05 if until_idle else _POLL)
        return n > 0 or n_wanted == 0

    def _frozen_and_claimed(self, n_wanted: int) -> int:
        unsendable = [one for making in self._made for one in making.unsendable]
        aged = [one for making in self._made for one in making.aged]
        if aged:
            with self._store.writing() as connection:
                let_pass(connection, aged, self._store.now(connection), self._settings)
            for one in aged:
                self._held.pop(one.message_key, None)
        with self._store.writing() as connection:
            now = self._store.now(connection)
            ready = [one for making in self._made for one in frozen(connection, making, now)]
            if unsendable:
                settle(connection, unsendable, now, self._settings)
            claim = claimed(connection, self._settings, self._name, n_wanted, now) if n_wanted else Claimed()
        kept = {message.key for message in ready}
        for gone in (one.key for making in self._made for one in making.ready if one.key not in kept):
            self._held.pop(gone, None)
        self._made = []
        self._forget(unsendable)
        for message in ready:
            self._observe("after_render", message.key)
        self._lanes.add(ready)
        self._held.update({row.message_key: row.fence for row in claim.rows})
        for row in claim.rows:
            self._observe("after_claim", row.message_key)
        if claim.rows:
            self._n_to_make += len(claim.rows)
            self._to_make.put(claim)
        return len(claim.rows)

    def _look_after(self) -> None:
        """Takes over what others left behind, and prolongs what is this worker's."""
        with self._store.writing() as connection:
            now = self._store.now(connection)
            n_ready, n_ambiguous = reap(connection, now, self._observe)
            renew(connection, self._name, self._held, now + self._settings.lease)
            connection.execute(t.workers.update().where(t.workers.c.worker == self._name).values(seen_at=now))
        if n_ready or n_ambiguous:
            self._log.warning("leases were over", n_ready=n_ready, n_ambiguous=n_ambiguous)

    def _give_back_the_rest(self) -> None:
        """Gives back what no lane has taken."""
        rest = [row for making in self._made for row in making.claim.rows]
        rest += [message.row for message in self._lanes.close()]
        self._made = []
        self._give_back({row.message_key: row.fence for row in rest})

    def _give_back(self, fences: Mapping[str, int]) -> None:
        if not fences:
            return
        try:
            with self._store.writing() as connection:
                release(connection, fences)
        except DBAPIError as problem:
            self._log.error("claims could not be given back; their leases will end", problem=_plainly(problem))
        for key in fences:
            self._held.pop(key, None)

    def _note_worker(self, *, started: bool) -> None:
        try:
            with self._store.writing() as connection:
                now = self._store.now(connection)
                row = {"worker": self._name, "host": socket.gethostname(), "started_at": now, "seen_at": now}
                insert_missing(connection, t.workers, [row], ["worker"])
                values = row | {"stopped_at": None} if started else {"seen_at": now, "stopped_at": now}
                connection.execute(t.workers.update().where(t.workers.c.worker == self._name).values(values))
                if self._trouble is not None:
                    text = say("the worker {worker} has stopped: {why}", worker=self._name, why=_plainly(self._trouble))
                    raise_alert(connection, f"workers/{self._name}", "critical", text, now)
        except DBAPIError as problem:
            if started:
                raise DataError(f"the store cannot be reached: {_plainly(problem)}") from None
            self._log.error("the database cannot be reached", problem=_plainly(problem))


class _Unmade(NamedTuple):
    """Claimed messages whose bytes could not be made."""

    claim: Claimed
    problem: Exception


_Told = Asked | Carried | Making | _Unmade


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
