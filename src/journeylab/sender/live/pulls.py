"""What is pulled from other systems: page by page, each taken together with how far it goes, in one transaction.

A crash therefore repeats nothing and loses nothing: what was taken is noted as taken, and a page that was asked for and
not taken is asked for again. Repeated events are known by `CONNECTOR/STREAM/ID`; of a contact or a product that comes
out of order the newest counts, where the source says when it changed. A row that cannot be taken is kept with its
reason (`pulled`), and an alert stands until it is taken: by a later version of it, or after a reset.

A stream belongs to one process for the time of a page, by a lease that is fenced: whose lease has lapsed takes nothing.
Faults are waited out, longer each time, and at least as long as the other side asks.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta
from pathlib import Path
from traceback import extract_tb
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from sqlalchemy import Connection, Row, delete, func, select, true, update

from journeylab.connectors.connector import Broken, Connector, Later, Page, Source
from journeylab.connectors.http import wait_after
from journeylab.errors import DataError, known
from journeylab.language import say
from journeylab.sender.connecting import Connections
from journeylab.sender.dependences import CATALOGUE
from journeylab.sender.logs import logger
from journeylab.sender.sending.alerts import raise_alert, resolve
from journeylab.sender.store import Store, act, insert_missing
from journeylab.sender.store import tables as t

from .ownership import wake
from .pulledrows import Stream, Taking, refusals

if TYPE_CHECKING:
    from journeylab.sender.settings import Settings

__all__ = ["Puller", "Standing", "reset", "standing"]

LEASE: Final = timedelta(minutes=10)
"""How long a stream belongs to who asks for a page of it: longer than the calls for one take."""
MOST_PAGES: Final = 100
"""How many pages of a stream are taken before another is looked at."""
WORRYING: Final = 4
"""After how many faults in a row somebody is told."""
_LONGEST_WAIT: Final = timedelta(hours=1)


class Standing(NamedTuple):
    """How far a stream is pulled; instants are aware UTC.

    Attributes:
        connector, stream: which.
        every: how often, as the settings say.
        complete_at: since when it is known as a whole: when the last complete pull began. None before the first one.
        started_at: when the one at hand began; None where there is none.
        next_at: when it is asked for again.
        n_rows: how many rows came since it was begun anew.
        n_refused: how many of its rows are refused.
        attempts: how many faults there were since the last page.
        reply: the last fault.
    """

    connector: str
    stream: str
    every: timedelta
    complete_at: datetime | None
    started_at: datetime | None
    next_at: datetime | None
    n_rows: int
    n_refused: int
    attempts: int
    reply: str | None


def standing(connection: Connection, settings: Settings) -> list[Standing]:
    """How far each stream of the settings is pulled, in their order."""
    p, q = t.pulls.c, t.pulled.c
    rows = {(one.connector, one.stream): one for one in connection.execute(select(t.pulls))}
    asked = select(q.connector, q.stream, func.count().label("n")).where(q.refused_because.is_not(None))
    refused = {(one.connector, one.stream): one.n for one in connection.execute(asked.group_by(q.connector, q.stream))}
    names = (p.complete_at, p.started_at, p.next_at)
    found = []
    for name, stream, every in _streams(settings):
        row = rows.get((name, stream))
        at = (None, None, None) if row is None else tuple(row._mapping[one] for one in names)
        n_refused = refused.get((name, stream), 0)
        rest = (0, n_refused, 0, None) if row is None else (row.n_rows, n_refused, row.attempts, row.reply)
        found.append(Standing(name, stream, every, *at, *rest))
    return found


def _streams(settings: Settings) -> Iterator[tuple[str, str, timedelta]]:
    for name, connector in settings.connectors.items():
        for stream, one in connector.pull.items():
            yield name, stream, one.every


def reset(connection: Connection, settings: Settings, name: str, stream: str, actor: str, now: datetime) -> None:
    """Lets a stream be pulled from its beginning again; what comes again is known.

    Until that is complete nothing is known to be as its owner has it: messages that depend on it may wait.

    Args:
        connection: of `Store.writing`.
        settings: the sender's.
        name: the connector.
        stream: its stream.
        actor: who does it.
        now: the store's instant.

    Raises:
        DataError: when the settings have no such stream.
    """
    _refuse_unknown(settings, name, stream)
    p, q = t.pulls.c, t.pulled.c
    mine = (p.connector == name) & (p.stream == stream)
    gone = {"cursor": None, "started_at": None, "complete_at": None, "completed_at": None, "reply": None}
    anew = {"next_at": now, "attempts": 0, "n_rows": 0, "worker": None, "lease_until": None, "fence": p.fence + 1}
    connection.execute(update(t.pulls).where(mine).values(**gone, **anew))
    connection.execute(delete(t.pulled).where(q.connector == name, q.stream == stream, q.refused_because.is_not(None)))
    resolve(connection, refusals((name, stream)), now)
    act(connection, now, actor, "pull_reset", f"connector/{name}/{stream}")


def _refuse_unknown(settings: Settings, name: str, stream: str | None = None) -> None:
    if name not in settings.connectors:
        raise DataError(f"the settings have no connector {name!r}; {known(name, settings.connectors, 'connectors')}")
    streams = settings.connectors[name].pull
    if stream is not None and stream not in streams:
        raise DataError(f"nothing named {stream!r} is pulled from {name}; {known(stream, streams, 'streams')}")


class _Claim(NamedTuple):
    """A page that may be asked for: from where, under which fence, since when, and after how many faults."""

    cursor: Mapping[str, Any] | None
    fence: int
    at: datetime
    attempts: int


class Puller:
    """Pulls what is due.

    Args:
        store: the sender's database, opened with its keys.
        settings: the sender's.
        worker: the process's name, which no other uses at the same time.
        stopping: set when nothing more is to be begun.
    """

    def __init__(self, store: Store, settings: Settings, worker: str, stopping: threading.Event | None = None) -> None:
        self.store, self.settings, self.worker = store, settings, worker
        self._stopping = stopping or threading.Event()
        self._connections = Connections(store, settings, self._stopping.wait)
        self._sources: dict[str, Source] = {}
        self._log = logger("pulls")

    def pull_due(self) -> int:
        """How many pages were taken of all streams that are due."""
        return sum(self._pull((name, stream), is_forced=False) for name, stream, _ in _streams(self.settings))

    def pull(self, name: str) -> int:
        """How many pages of a connector's streams were taken, which are asked for now, due or not.

        Raises:
            DataError: when the settings have no such connector.
        """
        _refuse_unknown(self.settings, name)
        return sum(self._pull((name, stream), is_forced=True) for stream in self.settings.connectors[name].pull)

    def _pull(self, of: Stream, *, is_forced: bool) -> int:
        n = 0
        while n < MOST_PAGES and not self._stopping.is_set():
            claim = self._claimed(of, is_forced=is_forced and n == 0)
            if claim is None:
                break
            try:
                page = self._page(of, claim.cursor)
            except (Later, Broken) as problem:
                self._put_off(of, claim, problem)
                break
            if not self._take(of, claim, page):
                break
            n += 1
            if page.is_last:
                break
        return n

    def _page(self, of: Stream, cursor: Mapping[str, Any] | None) -> Page:
        """The next page.

        Raises:
            Later, Broken: when it cannot be had, whatever goes wrong.
        """
        name, stream = of
        try:
            if name not in self._sources:
                connector: Connector = self.settings.connectors[name]
                self._sources[name] = connector.source()
            page = self._sources[name].pull(stream, cursor, self._connections.reach(name))
        except (Later, Broken):
            raise
        except DataError as problem:
            raise Broken(str(problem)) from None
        except Exception as problem:
            place = extract_tb(problem.__traceback__)[-1]
            # Where it went wrong, not the text of it, which may have what is known of persons.
            where = f"{type(problem).__name__} at {Path(place.filename).name}:{place.lineno}"
            raise Broken(f"what it says is not understood ({where})") from problem
        if not page.is_last and page.cursor == cursor:
            raise Broken("the page after a page is the same page, for ever")
        if not all(isinstance(row, Mapping) for rows in (page.products, page.contacts, page.events) for row in rows):
            raise Broken("what it lists are no objects")
        try:
            json.dumps(page.cursor, allow_nan=False)
        except (TypeError, ValueError) as problem:
            raise Broken(f"where it goes on cannot be kept: {problem}") from None
        return page

    # What is written down

    def _claimed(self, of: Stream, *, is_forced: bool) -> _Claim | None:
        """The claim to a stream's next page; None where it is not due, or another process is at the connector."""
        p, (name, stream) = t.pulls.c, of
        with self.store.reading() as connection:
            now = self.store.now(connection)
            due = select(p.next_at, p.attempts).where(p.connector == name, p.stream == stream)
            row = connection.execute(due).one_or_none()
        if row is not None and row.next_at > now and not is_forced:
            return None
        covers = sorted(
            attribute for attribute, one in self.settings.limited.items()
            if (one.source, self.settings.stream_of(one)) == of
        )  # fmt: skip
        with self.store.writing() as connection:
            now = self.store.now(connection)
            first = {"connector": name, "covers": [], "next_at": now, "attempts": 0, "n_rows": 0, "fence": 0}
            streams = self.settings.connectors[name].pull
            insert_missing(connection, t.pulls, [first | {"stream": one} for one in streams], ["connector", "stream"])
            rows = connection.execute(
                select(t.pulls).where(p.connector == name).order_by(p.stream).with_for_update()
            ).all()
            if any(_is_anothers(one, self.worker, now) for one in rows):
                return None
            row = next(one for one in rows if one.stream == stream)
            if row.next_at > now and not is_forced:
                return None
            values: dict[str, Any] = {
                "worker": self.worker, "lease_until": now + LEASE, "fence": row.fence + 1,
                "started_at": row.started_at or now,
            }  # fmt: skip
            if not {*covers} <= {*row.covers}:  # what it said before of these was not noted
                values |= {"cursor": None, "started_at": now, "covers": covers}
            connection.execute(update(t.pulls).where(_is(of)).values(**values))
            return _Claim(values.get("cursor", row.cursor), row.fence + 1, now, row.attempts)

    def _held(self, connection: Connection, of: Stream, claim: _Claim) -> Row[Any] | None:
        """The stream's row, locked, where the claim still holds."""
        row = connection.execute(select(t.pulls).where(_is(of)).with_for_update()).one_or_none()
        return row if row is not None and (row.worker, row.fence) == (self.worker, claim.fence) else None

    def _take(self, of: Stream, claim: _Claim, page: Page) -> bool:
        """Whether a page was taken: all of it, with where to go on."""
        name, stream = of
        with self.store.writing() as connection:
            row = self._held(connection, of, claim)
            if row is None:
                return False
            now = self.store.now(connection)
            taking = Taking(connection, self.settings, of, self.store.keys, claim.at, now)
            taking.products(page.products)
            taking.contacts(page.contacts)
            taking.events(page.events)
            taking.finish()
            n = len(page.products) + len(page.contacts) + len(page.events)
            values: dict[str, Any] = {
                "cursor": page.cursor, "attempts": 0, "reply": None,
                "worker": None, "lease_until": None, "n_rows": row.n_rows + n,
            }  # fmt: skip
            if page.is_last:
                every = self.settings.connectors[name].pull[stream].every
                values |= {"started_at": None, "complete_at": row.started_at, "completed_at": now}
                values |= {"next_at": max(row.started_at + every, now + timedelta(seconds=1))}
                _wake(connection, self.settings, of, now)
            else:
                values["next_at"] = now
            connection.execute(update(t.pulls).where(_is(of)).values(**values))
            if claim.attempts:
                resolve(connection, _cause(of), now)
        self._log.info("page", connector=name, stream=stream, n_rows=n, n_refused=taking.n_refused)
        return True

    def _put_off(self, of: Stream, claim: _Claim, problem: Later | Broken) -> None:
        """Notes why a page cannot be had, and when it is asked for again."""
        attempts = claim.attempts + 1
        wait = min(wait_after(attempts, "/".join(of)), _LONGEST_WAIT)
        asked = problem.retry_after if isinstance(problem, Later) else None
        with self.store.writing() as connection:
            if self._held(connection, of, claim) is None:
                return
            now = self.store.now(connection)
            again = {"attempts": attempts, "reply": problem.text, "worker": None, "lease_until": None}
            connection.execute(
                update(t.pulls).where(_is(of)).values(**again, next_at=now + max(wait, asked or timedelta(0)))
            )
            if asked is not None:  # the other side is one, whatever it was asked for
                others = (t.pulls.c.connector == of[0]) & (t.pulls.c.next_at < now + asked)
                connection.execute(update(t.pulls).where(others).values(next_at=now + asked))
            if isinstance(problem, Broken) or attempts >= WORRYING:
                said = say(
                    "{stream} of {connector} cannot be pulled, and is tried again by itself: {problem}",
                    stream=of[1],
                    connector=of[0],
                    problem=problem.text,
                )
                raise_alert(connection, _cause(of), "error", said, now)
        self._log.warning("not pulled", connector=of[0], stream=of[1], problem=problem.text, attempts=attempts)


def _is_anothers(row: Row[Any], worker: str, now: datetime) -> bool:
    return row.worker not in (None, worker) and row.lease_until is not None and bool(row.lease_until > now)


def _is(of: Stream) -> Any:
    return (t.pulls.c.connector == of[0]) & (t.pulls.c.stream == of[1])


def _cause(of: Stream) -> str:
    return f"connector/{of[0]}/{of[1]}"


def _wake(connection: Connection, settings: Settings, of: Stream, now: datetime) -> None:
    """Lets messages be asked again that wait for what a stream says, of contacts of whom it has ever said it."""
    for name, one in settings.attributes.items():
        if (one.source, settings.stream_of(one)) == of:
            known = select(t.said.c.contact).where(t.said.c.name == name, t.said.c.source == of[0])
            wake(connection, name, now, t.sends.c.contact.in_(known))
    catalogue = settings.catalogue
    if catalogue is not None and (catalogue.source, settings.stream_of(catalogue)) == of:
        wake(connection, CATALOGUE, now, true())
