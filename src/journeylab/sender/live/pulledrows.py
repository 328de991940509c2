"""Rows of a page that was pulled, as they are taken: each by itself, the newest version of each, or refused with why.

A contact and a product are known by their ids; of two versions the newer counts, where the source says when each
changed, and one that was taken says nothing new. An event is known by its id and taken once.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from hashlib import sha256
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeAlias

from sqlalchemy import Connection, delete, func, select

from journeylab.language import plural
from journeylab.sender.consent.pulled import is_news
from journeylab.sender.declarations import Declarations
from journeylab.sender.persons.erasure import forgotten_of
from journeylab.sender.sending.alerts import raise_alert, resolve
from journeylab.sender.store import tables as t
from journeylab.sender.store.bulk import Bulk, Given, among

from .catalogue import take_products
from .intake import Incoming, Person, receive, receive_people
from .kinds import LONGEST_ID, is_name
from .ownership import Owners

if TYPE_CHECKING:
    from journeylab.sender.keys import Keys
    from journeylab.sender.settings import Settings

__all__ = ["Stream", "Taking", "refusals"]

Stream: TypeAlias = tuple[str, str]
"""A connector's name, and its stream's."""


def refusals(of: Stream) -> str:
    """The alert's cause while rows of a stream are refused."""
    return f"connector/{of[0]}/{of[1]}/rows"


class _Version(NamedTuple):
    """Which version of an item a row is: when it changed, if the source says so, and a keyed digest of all of it."""

    changed_at: datetime | None = None
    digest: str | None = None


_UNKNOWN: Final = _Version()


@dataclass
class Taking:
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
            resolve(self.connection, refusals(self.of), self.now)
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
            raise_alert(self.connection, refusals(self.of), "warning", said, self.now)


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
