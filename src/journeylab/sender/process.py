"""The sender as a process: ticks, outside calls, messages and chores, in one loop on the database's time.

Six threads share the work, and each does nothing but look for what is due and do it: one takes what other systems put
down, one pulls what they have, one advances contacts, one calls services outside and tells them what they have to know
(checkpoints of the audit log among it), one does the chores (opens and clicks, evidence, rates, the forecast), and the
worker sends. All that they know is in the database; any of them may end at any instant, in this process or in another.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from time import monotonic
from traceback import extract_tb
from typing import TYPE_CHECKING, Final, NamedTuple

from sqlalchemy import Connection, func, select, update
from sqlalchemy.exc import DBAPIError

from journeylab.errors import DataError, JourneyLabError
from journeylab.language import say
from journeylab.sender.acting import acting
from journeylab.sender.audit.keeping import Keeper, note_settings
from journeylab.sender.live.decisions import HELD
from journeylab.sender.live.drops import take_files, take_table
from journeylab.sender.live.ownership import forget_outdated, watch_conflicts
from journeylab.sender.live.pulls import Puller
from journeylab.sender.live.running import Running
from journeylab.sender.live.ticks import Ticked, tick
from journeylab.sender.logs import logger
from journeylab.sender.mail.recommend import Recommender
from journeylab.sender.persons.erasure import repeat, stand_in
from journeylab.sender.persons.retention import retain
from journeylab.sender.promotion.deviation import compare, counted_of
from journeylab.sender.promotion.purposes import undeclared_by_releases
from journeylab.sender.promotion.standing import running as running_releases
from journeylab.sender.promotion.standing import what_runs
from journeylab.sender.sending.alerts import raise_alert, resolve
from journeylab.sender.sending.breaker import watch_rates
from journeylab.sender.sending.calls import make_calls
from journeylab.sender.sending.forgetting import forget_bytes
from journeylab.sender.sending.freshness import watch_ages
from journeylab.sender.sending.outbox import deliver
from journeylab.sender.sending.recipients import Recipients
from journeylab.sender.sending.reconcile import reconcile
from journeylab.sender.sending.statistics import tell_statistics
from journeylab.sender.sending.timeline import Timeline
from journeylab.sender.sending.worker import Observe, Worker
from journeylab.sender.settings import Settings
from journeylab.sender.store import Store, act
from journeylab.sender.store import tables as t
from journeylab.sender.web.hits import settle_hits
from journeylab.sender.writing import Writer

if TYPE_CHECKING:
    from types import FrameType

__all__ = ["Sender", "WhatRuns"]

_POLL: Final = 1.0
_MOST: Final = 5000
_FAULTS: Final = 3
_LOOK: Final = timedelta(minutes=1)
_TIMES: Final = 20
"""A look that takes long is taken less often: a twentieth of the time at most goes into it."""
_RETAIN: Final = timedelta(hours=1)
_BEYOND: Final = "purposes/undeclared"


class _Stamp(NamedTuple):
    """What changes whenever releases do."""

    spans: int | None
    n_open: int
    pauses: int | None
    n_paused: int


class WhatRuns:
    """Gives what runs, as of the caller's transaction; read anew when releases or pauses have changed.

    Args:
        settings: the sender's, for the purposes whose basis is not consent.
    """

    def __init__(self, settings: Settings) -> None:
        self._basis, self._timeline = tuple(settings.basis), Timeline.of(settings)
        self._known: tuple[_Stamp, Running] | None = None

    def __call__(self, connection: Connection) -> Running:
        """What runs."""
        s, p = t.spans.c, t.pauses.c
        asked = select(
            select(func.max(s.span_id)).scalar_subquery(),
            select(func.count()).where(s.until_at.is_(None)).scalar_subquery(),
            select(func.max(p.pause_id)).scalar_subquery(),
            select(func.count()).where(p.ended_at.is_(None)).scalar_subquery(),
        )
        stamp = _Stamp(*connection.execute(asked).one())
        known = self._known
        if known is None or known[0] != stamp:
            known = self._known = stamp, replace(what_runs(connection, self._basis), timeline=self._timeline)
        return known[1]


class Sender:
    """A sender's process. Use it in `with`, or `close` it.

    Args:
        store: the sender's, opened with its keys.
        settings: the sender's.
        worker: the process's name, which no other uses at the same time.
        recommender: one's own, for messages that recommend products.
        observe: is told of each step of a message, for tests.
        report: writes the reports that are due at an instant; see `journeylab.reports.scheduled`.

    Raises:
        DataError: when who acts may not send, the database was restored from an older copy, or the journal of receipts
            cannot be written.

    Persons whom a restored database has again after they were erased are erased anew before anything is done.
    """

    def __init__(
        self,
        store: Store,
        settings: Settings,
        worker: str,
        *,
        recommender: Recommender | None = None,
        observe: Observe | None = None,
        report: Callable[[datetime], int] | None = None,
    ) -> None:
        acting(settings).require("send")
        self.store, self.settings, self.name, self.observe = store, settings, worker, observe
        self._report = report
        self.running = WhatRuns(settings)
        self._timeline = Timeline.of(settings)
        self.writer = Writer(store, settings, WhatRuns(settings), recommender)
        self._log = logger("process")
        self._stopping = threading.Event()
        self._recipients: tuple[datetime, Recipients] | None = None
        self._puller = Puller(store, settings, worker, self._stopping)
        self._worker: Worker | None = None
        self._trouble: BaseException | None = None
        self._n_faults = 0
        looks = (self._watch, self._watch_rates, self._watch_forecasts, self._forget)
        self._looks = dict.fromkeys(looks, datetime.min.replace(tzinfo=UTC))
        self._retained_at: datetime | None = None
        repeat(store, settings, self.running, actor=worker)
        self._keeper = Keeper(store, settings)

    def __enter__(self) -> Sender:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Ends the processes in which templates are rendered."""
        self.writer.close()

    def on_signal(self, number: int, frame: FrameType | None) -> None:
        """A signal's handler: the first stops once all that is on its way is settled, the next aborts."""
        self._stopping.set()
        if self._worker is not None:
            self._worker.on_signal(number, frame)

    def stop(self) -> None:
        """Stops once all that is on its way is settled."""
        self._stopping.set()
        if self._worker is not None:
            self._worker.stop()

    def run(self) -> Counter[str]:
        """Runs until it is stopped; how many messages came to each outcome.

        Raises:
            DataError: when it cannot go on: a release cannot be run, receipts cannot be written.
        """
        self._worker = self._made()
        self._note("worker_started")
        threads = [
            threading.Thread(target=self._forever, args=(work, every), name=name, daemon=True)
            for name, work, every in (
                ("intake", self._intake, _POLL),
                ("pulls", self._puller.pull_due, _POLL),
                ("ticks", self._tick, _POLL),
                ("outside", self._outside, _POLL),
                ("chores", self._chores, 2 * _POLL),
            )
        ]
        for thread in threads:
            thread.start()
        if self._stopping.is_set():
            self._worker.stop()
        done = self._worker.run()
        self._stopping.set()
        for thread in threads:
            thread.join()
        with suppress(DBAPIError):  # the worker has told that the database is gone
            self._note("worker_stopped")
        if self._trouble is not None:
            raise self._trouble
        return done

    def run_once(self) -> Counter[str]:
        """Does all that is due now, and returns; how many messages came to each outcome.

        Raises:
            DataError: as `run`, and when the database cannot be reached.
        """
        total: Counter[str] = Counter()
        while not self._stopping.is_set():
            n = self._intake() + self._puller.pull_due() + self._chores() + self._tick() + self._outside()
            self._worker = self._made()
            done = self._worker.run(until_idle=True)
            total += done
            if not n and not done:
                break
        return total

    def _made(self) -> Worker:
        """The next worker; before the first one it is noted with which settings and key, and whether these fit."""
        worker = Worker(self.store, self.settings, self.name, self.writer, self.observe)
        if self._worker is None:
            note_settings(self.store, self.settings, self.name)
            self._note_beyond()
        return worker

    def _note_beyond(self) -> None:
        """Raises an alert where settings declare less than releases read, whose contacts would lack what they ask."""
        with self.store.writing() as connection:
            now, beyond = self.store.now(connection), undeclared_by_releases(connection, self.settings)
            if beyond:
                said = say(
                    "releases read what the settings do not let their purposes use, and what comes in of it is not "
                    "kept: {reads}",
                    reads="; ".join(beyond),
                )
                raise_alert(connection, _BEYOND, "error", said, now)
            else:
                resolve(connection, _BEYOND, now)

    def _note(self, action: str) -> None:
        with self.store.writing() as connection:
            act(connection, self.store.now(connection), self.name, action, f"worker/{self.name}")

    # The threads

    def _forever(self, work: Callable[[], int], every: float) -> None:
        while not self._stopping.is_set():
            try:
                if not work():
                    self._stopping.wait(every)
            except DBAPIError as problem:
                self._log.warning("database", problem=type(problem.orig).__name__)
                self._stopping.wait(every)
            except Exception as problem:
                self._trouble = problem
                self.stop()

    def _intake(self) -> int:
        """Takes what other systems have put down; how many rows and files."""
        return take_table(self.store, self.settings) + take_files(self.store, self.settings, self._stopping.is_set)

    def _tick(self) -> int:
        """Advances all who are due; how many."""
        total, most = 0, _MOST
        while not self._stopping.is_set():
            try:
                done: Ticked = tick(self.store, self.running, most=most)
            except (DBAPIError, JourneyLabError):
                raise  # no contact's fault
            except Exception as problem:
                if most > 1:
                    most = max(1, most // 8)
                    continue
                self._hold(problem)
                continue
            if not done.n_contacts:
                break
            self._n_faults = 0
            self._log.info("advanced", n_contacts=done.n_contacts, n_ready=done.n_ready)
            total += done.n_contacts
            most = _MOST
        return total

    def _hold(self, problem: Exception) -> None:
        """Sets the contact aside whom the machine cannot advance; several in a row are no contact's fault.

        Raises:
            DataError: when it is the release that cannot be run.
        """
        self._n_faults += 1
        if self._n_faults > _FAULTS:
            raise DataError(f"contacts cannot be advanced: {problem}") from problem
        c = t.contacts.c
        with self.store.writing() as connection:
            now = self.store.now(connection)
            first = (
                select(c.contact)
                .where(c.next_at <= now, c.last_at <= now, c.held_because.is_(None))
                .order_by(c.next_at, c.contact)
                .limit(1)
            )
            contact = connection.scalar(first)
            place = extract_tb(problem.__traceback__)[-1]
            # Where it went wrong, not the text of it, which may have what is known of the person.
            reason = f"{type(problem).__name__} at {Path(place.filename).name}:{place.lineno}"
            connection.execute(update(t.contacts).where(c.contact == contact).values(held_because=reason))
            said = say("a contact cannot be advanced and is held; `journeylab contacts list --held` shows why")
            raise_alert(connection, HELD, "error", said, now)
        self._log.error("held", reason=reason)

    def _outside(self) -> int:
        """Makes outside calls, delivers webhooks, keeps the audit log; how many things that were, tried or done."""
        with self.store.reading() as connection:
            now = self.store.now(connection)
        if self._recipients is None or now - self._recipients[0] >= _LOOK:  # secrets may be others since
            self._recipients = now, Recipients(self.store, self.settings)
        n = sum(make_calls(self.store, self.settings, now))
        n += sum(deliver(self.store, self.settings, now, self._recipients[1]))
        return n + self._keeper.keep(now)

    def _chores(self) -> int:
        """Whatever else is due; how many things were done."""
        with self.store.writing() as connection:
            now = self.store.now(connection)
            n = settle_hits(connection, now) + stand_in(connection, now)
            found = reconcile(connection, now, self._timeline)
            n += found.n_accepted + found.n_again
        for look, at in self._looks.items():
            if at <= now and not self._stopping.is_set():
                began = monotonic()
                look(now)
                self._looks[look] = now + max(_LOOK, _TIMES * timedelta(seconds=monotonic() - began))
        return n

    def _watch(self, now: datetime) -> None:
        """Looks at what is short to tell: ages, conflicts, who is held, and which periods are over."""
        with self.store.writing() as connection:
            watch_ages(connection, self.settings, now)
            watch_conflicts(connection, now)
            forget_outdated(connection, now)
            held = select(t.contacts.c.contact).where(t.contacts.c.held_because.is_not(None)).limit(1)
            if connection.scalar(held) is None:
                resolve(connection, HELD, now)
        tell_statistics(self.store, self.settings, now)
        if self._report is not None and (n := self._report(now)):
            self._log.info("reports", n_written=n)

    def _watch_forecasts(self, now: datetime) -> None:
        """Holds what contacts did against forecasts; what takes long of it only reads."""
        with self.store.reading() as connection:
            watched = [one.release_id for one in running_releases(connection) if one.has_forecast]
        for release_id in watched:
            with self.store.reading() as connection:
                counts = counted_of(connection, release_id, now)
            with self.store.writing() as connection:
                compare(connection, release_id, now, counts)

    def _watch_rates(self, now: datetime) -> None:
        watch_rates(self.store, self.settings, now)

    def _forget(self, now: datetime) -> None:
        """Lets go what need not be kept: bytes of messages, and now and then all whose time is over."""
        forget_bytes(self.store, now)
        if self._retained_at is None or now - self._retained_at >= _RETAIN:
            self._retained_at = now
            gone = retain(self.store, self.settings, self.running, now)
            if any(gone):
                self._log.info("retention", **gone._asdict())
