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
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from pathlib import Path
from traceback import extract_tb
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from sqlalchemy import Connection, Row, delete, func, select, true, update

from journeylab.connectors.connector import Broken, Connector, Later, Page, Source
from journeylab.connectors.http import wait_after
from journeylab.errors import DataError, known
from journeylab.language import plural, say
from journeylab.sender.connecting import Connections
from journeylab.sender.consent.pulled import is_news
from journeylab.sender.declarations import Declarations
from journeylab.sender.logs import logger
from journeylab.sender.persons.erasure import forgotten_of
from journeylab.sender.sending.alerts import raise_alert, resolve
from journeylab.sender.store import Store, act, insert_missing
from journeylab.sender.store import tables as t
from journeylab.sender.store.bulk import Bulk, Given, among

from .catalogue import take_products
from .intake import Incoming, Person, receive, receive_people
from .kinds import LONGEST_ID, is_name
from .ownership import Owners, limited, wake

if TYPE_CHECKING:
    from journeylab.sender.keys import Keys
    from journeylab.sender.settings import Settings

__all__ = ["Puller", "Standing", "reset", "standing"]

LEASE: Final = timedelta(minutes=10)
"""How long a stream belongs to who asks for a page of it: longer than the calls for one take."""
MOST_PAGES: Final = 100
"""How many pages of a stream are taken before another is looked at."""
WORRYING: Final = 4
"""After how many faults in a row somebody is told."""
_LONGEST_WAIT: Final = timedelta(hours=1)
Stream = tuple[str, str]


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
    resolve(connection, _refusals((name, stream)), now)
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
            attribute for attribute, one in limited(self.settings).items()
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
            taking = _Taking(connection, self.settings, of, self.store.keys, claim.at, now)
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


def _refusals(of: Stream) -> str:
    return f"connector/{of[0]}/{of[1]}/rows"


def _wake(connection: Connection, settings: Settings, of: Stream, now: datetime) -> None:
    """Lets messages be asked again that wait for what a stream says, of contacts of whom it has ever said it."""
    for name, one in settings.attributes.items():
        if (one.source, settings.stream_of(one)) == of:
            known = select(t.said.c.contact).where(t.said.c.name == name, t.said.c.source == of[0])
            wake(connection, name, now, t.sends.c.contact.in_(known))
    catalogue = settings.catalogue
    if catalogue is not None and (catalogue.source, settings.stream_of(catalogue)) == of:
        wake(connection, "catalogue", now, true())


class _Version(NamedTuple):
    """Which version of an item a row is: when it changed, if the source says so, and a keyed digest of all of it."""

    changed_at: datetime | None = None
    digest: str | None = None


_UNKNOWN: Final = _Version()


@dataclass
class _Taking:
    """A page as it is taken: what was taken of each row, and what was not.

    Attributes:
        connection: a writing transaction.
        settings: the sender's.
        of: the stream.
        keys: of the store, for digests.
        as_of: the instant before the page was asked for.
        now: the store's instant.
        good: the rows that were taken, by kind and item, with their versions.
        bad: why others were not, by the same.
    """

    connection: Connection
    settings: Settings
    of: Stream
    keys: Keys
    as_of: datetime
    now: datetime
    good: dict[tuple[str, str], _Version] = field(default_factory=dict)
    bad: dict[tuple[str, str], tuple[_Version, str]] = field(default_factory=dict)

    @property
    def n_refused(self) -> int:
        """How many rows were not taken."""
        return len(self.bad)

    def contacts(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Takes contacts: of each the newest of what is said here and was taken before."""
        found = self._newest("contact", self._but_forgotten(rows), _person)
        given, keys = [one for _, one in found.values()], [*found]
        declared, owners = self._terms()
        got = receive_people(self.connection, given, self.now, declared, owners)
        self._settle("contact", keys, {key: version for key, (version, _) in found.items()}, got.refused)

    def products(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Takes products in the same way."""
        found = self._newest("product", rows, _product)
        products = [(key, *one, version.changed_at) for key, (version, one) in found.items()]
        take_products(self.connection, products, self.now)
        self._settle("product", [*found], {key: version for key, (version, _) in found.items()}, ())

    def events(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Takes events, each once by its id; of consent what is news (`consent.pulled`)."""
        keys, given = [], []
        for row in self._but_forgotten(rows):
            key = _item(row, "id")
            try:
                given.append(_incoming(row, self.of))
            except ValueError as problem:
                self.bad["event", key] = _UNKNOWN, str(problem)
                continue
            keys.append(key)
        news = is_news(self.connection, given, self.of[0], self.as_of, self.now)
        self._settle("event", [key for key, one in zip(keys, news, strict=True) if not one], {}, ())
        keys = [key for key, one in zip(keys, news, strict=True) if one]
        declared, owners = self._terms()
        taken = [one for one, is_taken in zip(given, news, strict=True) if is_taken]
        got = receive(self.connection, taken, self.now, declared, owners)
        self._settle("event", keys, {}, got.refused)

    def _but_forgotten(self, rows: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
        """Rows but for those of persons who were erased: the source has still to be told, or to hear of it."""
        contacts = {one for row in rows if isinstance(one := row.get("contact"), str) and one.isprintable()}
        gone = forgotten_of(self.connection, self.keys, contacts)
        return [row for row in rows if row.get("contact") not in [*gone]] if gone else [*rows]

    def _terms(self) -> tuple[Declarations | None, Owners | None]:
        return Declarations.of(self.settings), Owners.of(self.settings, self.of[0], self.as_of)

    def _newest(
        self, kind: str, rows: Sequence[Mapping[str, Any]], made: Callable[[Mapping[str, Any]], Any]
    ) -> dict[str, tuple[_Version, Any]]:
        """What rows say of each item, by its id: the newest, of equals the last.

        What is older than what is known is left, and so is what was taken already: by it the source says nothing new.
        """
        before = self._before(kind, [_item(row, kind) for row in rows])
        found: dict[str, tuple[_Version, Any]] = {}
        for row in rows:
            key, digest = _item(row, kind), self._digest(row)
            try:
                at = _instant(row.get("changed_at"), "changed_at")
                version = _UNKNOWN if at is None else _Version(at, digest)
                known, is_taken = (found[key][0], False) if key in found else before.get(key, (_UNKNOWN, False))
                is_older = at is not None and known.changed_at is not None and at < known.changed_at
                if is_older or (is_taken and at is not None and known == version):
                    continue
                found[key] = version, made(row)
                self.bad.pop((kind, key), None)
            except ValueError as problem:
                found.pop(key, None)
                self.bad[kind, key] = _Version(_instant_or_none(row.get("changed_at"))), str(problem)
        return found

    def _before(self, kind: str, keys: Sequence[str]) -> dict[str, tuple[_Version, bool]]:
        """What is known of items: which version, and whether it was taken."""
        q = t.pulled.c
        mine = (q.connector == self.of[0]) & (q.stream == self.of[1]) & (q.kind == kind)
        asked = select(q.item, q.changed_at, q.digest, q.refused_because)
        rows = self.connection.execute(asked.where(mine, among(self.connection, q.item, keys)))
        return {one.item: (_Version(one.changed_at, one.digest), one.refused_because is None) for one in rows}

    def _digest(self, row: Mapping[str, Any]) -> str:
        text = json.dumps(row, sort_keys=True, default=str).encode()
        return self.keys.digest("pulled", text).hex()

    def _settle(
        self, kind: str, keys: Sequence[str], of: Mapping[str, _Version], refused: Iterable[tuple[int, str]]
    ) -> None:
        """Sorts what was given to intake into what it took and what not."""
        why = {keys[place]: reason for place, reason in refused}
        for key in keys:
            if key in why:
                self.bad[kind, key] = of.get(key, _UNKNOWN), why[key]
            else:
                self.good[kind, key] = of.get(key, _UNKNOWN)

    def finish(self) -> None:
        """Writes down what was taken and what not, and raises or resolves the alert."""
        name, stream = self.of
        q = t.pulled.c
        mine = (q.connector == name) & (q.stream == stream)
        _NOTING.run(self.connection, [
            *((name, stream, *key, *of, None, None) for key, of in self.good.items() if of.changed_at is not None),
            *((name, stream, *key, *of, self.now, why) for key, (of, why) in self.bad.items()),
        ])  # fmt: skip
        for kind in ("contact", "event", "product"):
            items = [item for (of, item), one in self.good.items() if of == kind and one.changed_at is None]
            if items:
                self.connection.execute(
                    delete(t.pulled).where(mine, q.kind == kind, among(self.connection, q.item, items))
                )
        n = self.connection.scalar(select(func.count()).where(mine, q.refused_because.is_not(None))) or 0
        if not n:
            resolve(self.connection, _refusals(self.of), self.now)
        elif self.bad:
            said = plural(
                "{n} row of {stream} of {connector} refused; `refused_because` in the table pulled says why. Mend it "
                "there, and it is taken when it comes again, or after `journeylab connectors reset`",
                "{n} rows of {stream} of {connector} refused; `refused_because` in the table pulled says why. Mend "
                "them there, and they are taken when they come again, or after `journeylab connectors reset`",
                n,
                stream=stream,
                connector=name,
            )
            raise_alert(self.connection, _refusals(self.of), "warning", said, self.now)


def _noting(given: Given) -> Any:
    made = given.into(t.pulled, *_NOTED)
    latest = {name: made.excluded[name] for name in _NOTED[4:]}
    return made.on_conflict_do_update(index_elements=["connector", "stream", "kind", "item"], set_=latest)


_NOTED: Final = ("connector", "stream", "kind", "item", "changed_at", "digest", "refused_at", "refused_because")
_NOTING: Final = Bulk(_noting, *_NOTED)


# Rows of a page


def _item(row: Mapping[str, Any], key: str) -> str:
    """What a row is known by: the source's id, or a hash of all of it where it has none."""
    found = row.get(key)
    if isinstance(found, str) and found.strip() and len(found) <= LONGEST_ID and found.isprintable():
        return found
    return f"without {key}: {sha256(repr(row).encode('utf-8', 'backslashreplace')).hexdigest()[:32]}"


def _person(row: Mapping[str, Any]) -> Person:
    attributes = _mapping(row, "attributes")
    address = row.get("address")
    if address is not None and not isinstance(address, str):
        raise ValueError("`address` is no text")
    cleared = tuple(name for name, value in attributes.items() if value is None and isinstance(name, str))
    return Person(
        row.get("contact", ""), address, {name: one for name, one in attributes.items() if one is not None}, cleared
    )


def _incoming(row: Mapping[str, Any], of: Stream) -> Incoming:
    given = row.get("id")
    if not isinstance(given, str) or not given.strip():
        raise ValueError("`id` is missing, by which it is taken once")
    occurred_at = _instant(row.get("occurred_at"), "occurred_at")
    if occurred_at is None:
        raise ValueError("`occurred_at` is missing")
    properties = _mapping(row, "properties")
    return Incoming(
        row.get("contact", ""), row.get("event", ""), occurred_at, properties, f"{of[0]}/{of[1]}/{given}"
    )  # fmt: skip


def _product(row: Mapping[str, Any]) -> tuple[dict[str, Any], bool]:
    product = row.get("product")
    if not isinstance(product, str) or not product.strip() or len(product) > LONGEST_ID:
        raise ValueError(f"`product` is missing, or longer than {LONGEST_ID} characters")
    properties = _mapping(row, "properties")
    for name, value in properties.items():
        if not is_name(name):
            raise ValueError(f"{str(name)[:40]!r} is no name: letters, digits and underscores")
        if not isinstance(value, str | int | float | bool | None):
            raise ValueError(f"{name}: {type(value).__name__} is neither a text, a number nor a flag")
    try:
        json.dumps(properties, ensure_ascii=False, allow_nan=False).encode()
    except ValueError:
        raise ValueError("a property has what no text or no number has") from None
    return dict(properties), bool(row.get("gone"))


def _mapping(row: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    found = row.get(key)
    if found is None:
        return {}
    if not isinstance(found, Mapping):
        raise ValueError(f"`{key}` is no object")
    return found


def _instant(value: Any, key: str) -> datetime | None:
    """The aware instant that a row says, as one or as ISO 8601 text."""
    if value is None:
        return None
    try:
        at = datetime.fromisoformat(value) if isinstance(value, str) else value
    except ValueError:
        at = None
    if not isinstance(at, datetime):
        raise ValueError(f"`{key}` {str(value)[:40]!r} is no instant as in ISO 8601, such as 2026-03-02T09:00:00Z")
    if at.tzinfo is None:
        raise ValueError(f"`{key}` has no time zone")
    return at.astimezone(UTC)


def _instant_or_none(value: Any) -> datetime | None:
    try:
        return _instant(value, "changed_at")
    except ValueError:
        return None
