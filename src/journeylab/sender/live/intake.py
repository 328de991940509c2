"""Intake: events and contacts as they are received, each after all that was decided for its contact (rule 29).

An event counts from the instant at which it was received; `occurred_at` is kept beside. It is received in a
transaction that holds its contact's row, at an instant later than the last one that was used for this contact, so that
the machine, which has advanced the contact up to there, never learns of something that had already happened.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import Any, Final, NamedTuple

from sqlalchemy import Connection, bindparam, insert, select, update

from journeylab.errors import DataError, listed
from journeylab.sender.store import TICK, insert_missing, lock_contacts
from journeylab.sender.store import tables as t
from journeylab.sender.store.bulk import Bulk, held

__all__ = [
    "OWN", "Incoming", "OwnEvent", "Person", "Received", "Refused", "attributes_of", "declare", "known_names",
    "receive", "receive_people", "record", "record_all",
]  # fmt: skip

OWN: Final = ("sent", "not_sent", "postponed", "called")
"""The events that the sender itself makes: what became of its sends and calls (rule 29)."""
_OWN_KINDS: Final = {
    "journey": "text", "entry": "number", "node": "text", "visit": "number", "message": "text", "reason": "text",
    "actual_at": "instant", "succeeded": "flag", "purpose": "text", "bounce_type": "text", "link": "text",
    "is_machine": "flag", "actor": "text", "rule": "text", "name": "text", "value": "text",
}  # fmt: skip
"""The kinds of properties that the sender's own events have, whoever is the first to write them."""
_KINDS: Final = {bool: "flag", int: "number", float: "number", str: "text", datetime: "instant", date: "date"}
_CHUNK: Final = 500
_LONGEST: Final = 10_000
_LONGEST_ID: Final = 200


@dataclass(frozen=True, slots=True)
class Incoming:
    """An event from outside.

    Attributes:
        contact: whose it is.
        event: its name.
        occurred_at: when it occurred, aware; missing: when it is received.
        properties: by name: texts, numbers, flags, or None; dates and instants as ISO 8601 text, or as such.
        source_id: the source's own id of the event; a second one with the same id is the same event.
    """

    contact: str
    event: str
    occurred_at: datetime | None = None
    properties: Mapping[str, Any] = field(default_factory=dict)
    source_id: str | None = None


@dataclass(frozen=True, slots=True)
class Person:
    """A contact from outside: where mail goes, and attributes; None leaves the address as it is."""

    contact: str
    address: str | None = None
    attributes: Mapping[str, Any] = field(default_factory=dict)


class Refused(NamedTuple):
    """A row that was not taken: its place among those given, from 0, and why."""

    place: int
    reason: str


@dataclass(frozen=True, slots=True)
class Received:
    """What became of rows: how many were new, how many were there already, and those refused, with reasons."""

    n_new: int
    n_repeated: int
    refused: tuple[Refused, ...] = ()


def known_names(connection: Connection, scope: str) -> dict[str, str]:
    """The kinds of all properties (`event`) or attributes (`contact`), by name."""
    rows = connection.execute(select(t.names.c.name, t.names.c.kind).where(t.names.c.scope == scope))
    return {row.name: row.kind for row in rows}


def _kind(value: Any) -> str | None:
    return _KINDS.get(type(value))


def _held(value: Any, kind: str) -> tuple[Any, bool]:
    """The value as JSON holds it, and whether it is of the kind."""
    if kind in ("date", "instant") and isinstance(value, str):
        try:
            if kind == "date":
                return date.fromisoformat(value).isoformat(), True
            return value, datetime.fromisoformat(value).tzinfo is not None
        except ValueError:
            return value, False
    found = _kind(value)
    if found == "instant":
        return value.isoformat(), kind == "instant" and value.tzinfo is not None
    if found == "date":
        return value.isoformat(), kind == "date"
    return value, found == kind


class _Names:
    """The names known so far, and the new ones of a batch; a name keeps its first kind for ever."""

    def __init__(self, connection: Connection, scope: str) -> None:
        self.connection, self.scope = connection, scope
        self.known = known_names(connection, scope)
        self.new: dict[str, str] = {}

    def checked(self, values: Mapping[str, Any]) -> tuple[dict[str, Any], str | None]:
        """The values as they are stored, or why they cannot be."""
        stored: dict[str, Any] = {}
        for name, value in values.items():
            if value is None:
                continue
            if not _is_name(name):
                return {}, f"{name!r} is no name: letters, digits and underscores"
            kind = self.known.get(name) or self.new.get(name) or _OWN_KINDS.get(name) or _kind(value)
            if kind is None:
                return {}, f"{name}: {type(value).__name__} is neither a text, a number nor a flag"
            held, fits = _held(value, kind)
            if not fits:
                return {}, f"{name} is a {kind}, got {str(value)[:40]!r}"
            if isinstance(held, float) and not math.isfinite(held):
                return {}, f"{name}: {value} is no number"
            if isinstance(held, str) and len(held) > _LONGEST:
                return {}, f"{name} is longer than {_LONGEST:,} characters"
            if name not in self.known:
                self.new.setdefault(name, kind)
            stored[name] = held
        return stored, None

    def save(self) -> None:
        if self.new:
            rows = [{"scope": self.scope, "name": name, "kind": kind} for name, kind in sorted(self.new.items())]
            insert_missing(self.connection, t.names, rows, ["scope", "name"])


def declare(connection: Connection, scope: str, kinds: Mapping[str, str]) -> None:
    """Makes kinds of properties or attributes known before any value comes.

    Raises:
        DataError: when one is known as another kind.
    """
    known = known_names(connection, scope)
    clashes = [f"{name} ({known[name]}, not {kind})" for name, kind in kinds.items() if known.get(name, kind) != kind]
    if clashes:
        raise DataError(f"these are of another kind in the store: {listed(clashes)}")
    rows = [{"scope": scope, "name": name, "kind": kind} for name, kind in kinds.items() if name not in known]
    if rows:
        insert_missing(connection, t.names, rows, ["scope", "name"])


def receive(connection: Connection, incoming: Sequence[Incoming], now: datetime) -> Received:
    """Takes events in, in their order, and makes their contacts due.

    A contact that is new is made. An event that cannot be taken is refused with its reason, and the others are taken.

    Args:
        connection: a writing transaction.
        incoming: the events.
        now: the store's instant.
    """
    names, refused = _Names(connection, "event"), []
    rows: list[dict[str, Any]] = []
    known_ids = _known_ids(connection, [one.source_id for one in incoming if one.source_id is not None])
    n_repeated = 0
    for place, one in enumerate(incoming):
        if one.source_id is not None and one.source_id in known_ids:
            n_repeated += 1
            continue
        fault = _fault(one)
        properties, problem = ({}, fault) if fault else names.checked(one.properties)
        if problem:
            refused.append(Refused(place, problem))
            continue
        if one.source_id is not None:
            known_ids.add(one.source_id)
        rows.append(
            {
                "source_id": one.source_id,
                "contact": one.contact,
                "event": one.event,
                "occurred_at": one.occurred_at,
                "properties": properties,
            }
        )
    names.save()
    _make_missing(connection, {row["contact"] for row in rows}, now)
    at = lock_contacts(connection, (row["contact"] for row in rows), now)
    for row in rows:
        row["received_at"] = at[row["contact"]]
        row["occurred_at"] = row["occurred_at"] or row["received_at"]
    _store(connection, rows, at)
    return Received(len(rows), n_repeated, tuple(refused))


def _is_name(name: object) -> bool:
    return isinstance(name, str) and name.isidentifier()


def _is_contact(contact: object) -> bool:
    return isinstance(contact, str) and bool(contact.strip()) and len(contact) <= _LONGEST_ID


def _fault(one: Incoming) -> str | None:
    if not _is_contact(one.contact):
        return f"`contact` is missing, or longer than {_LONGEST_ID} characters"
    if not _is_name(one.event):
        return f"{one.event!r} is no event's name: letters, digits and underscores"
    if one.event in OWN:
        return f"the event {one.event!r} is the sender's own; events of another system need another name"
    if one.occurred_at is not None and one.occurred_at.tzinfo is None:
        return "`occurred_at` has no time zone"
    return None


def _known_ids(connection: Connection, ids: Sequence[str]) -> set[str]:
    known: set[str] = set()
    for start in range(0, len(ids), _CHUNK):
        wanted = ids[start : start + _CHUNK]
        known |= {*connection.scalars(select(t.events.c.source_id).where(t.events.c.source_id.in_(wanted)))}
    return known


def _make_missing(connection: Connection, contacts: Iterable[str], now: datetime) -> None:
    rows = [{"contact": one, "attributes": {}, "created_at": now, "last_at": now - TICK} for one in sorted(contacts)]
    if rows:
        insert_missing(connection, t.contacts, rows, ["contact"])


def _store(connection: Connection, rows: Sequence[Mapping[str, Any]], at: Mapping[str, datetime]) -> None:
    """Stores events, and makes their contacts due at the instant at which these were received."""
    instants = {at: held(connection, at) for row in rows for at in (row["occurred_at"], row["received_at"])}
    _EVENTS.run(
        connection,
        [
            (
                row.get("source_id"), row["contact"], row["event"], instants[row["occurred_at"]],
                instants[row["received_at"]], json.dumps(row["properties"], ensure_ascii=False, sort_keys=True),
            )
            for row in rows
        ],
    )  # fmt: skip
    _DUE.run(connection, [(contact, held(connection, instant)) for contact, instant in at.items()])


_EVENTS: Final = Bulk(
    insert(t.events).values(
        {
            name: bindparam(name)
            for name in ("source_id", "contact", "event", "occurred_at", "received_at", "properties")
        }
    ),
    *("source_id", "contact", "event", "occurred_at", "received_at", "properties"),
)
_DUE: Final = Bulk(
    update(t.contacts)
    .where(t.contacts.c.contact == bindparam("of"))
    .values(last_at=bindparam("at"), next_at=bindparam("at")),
    *("of", "at"),
)


class OwnEvent(NamedTuple):
    """An event that the sender itself makes, at an instant that `lock_contacts` gave for its contact.

    `occurred_at` missing is `received_at`; None among the properties is left out.
    """

    contact: str
    event: str
    received_at: datetime
    properties: Mapping[str, Any]
    occurred_at: datetime | None = None


def record(
    connection: Connection, contact: str, event: str, received_at: datetime, *, occurred_at: datetime | None = None,
    **properties: Any,
) -> None:  # fmt: skip
    """Stores an event that the sender itself makes; see `OwnEvent`. The contact is due then."""
    record_all(connection, [OwnEvent(contact, event, received_at, properties, occurred_at)])


def record_all(connection: Connection, own: Sequence[OwnEvent]) -> None:
    """Stores events that the sender itself makes, in their order. Each contact is due at its latest one."""
    names = _Names(connection, "event")
    rows: list[dict[str, Any]] = []
    at: dict[str, datetime] = {}
    for one in own:
        given = {name: value for name, value in one.properties.items() if value is not None}
        stored, problem = names.checked(given)
        if problem:
            raise ValueError(problem)
        rows.append(
            {
                "contact": one.contact,
                "event": one.event,
                "occurred_at": one.occurred_at or one.received_at,
                "received_at": one.received_at,
                "properties": stored,
            }
        )
        at[one.contact] = max(one.received_at, at.get(one.contact, one.received_at))
    names.save()
    _store(connection, rows, at)


def receive_people(connection: Connection, people: Sequence[Person], now: datetime) -> Received:
    """Takes contacts in: new ones with their attributes, and of known ones what has changed, as events.

    A contact's first attributes hold from its beginning; later values are `attribute_changed` events, as in a log
    (rule 7). A contact that comes in without any event begins with the event `contact_added`.
    """
    names, refused, n_repeated = _Names(connection, "contact"), [], 0
    good: dict[str, tuple[str | None, dict[str, Any]]] = {}
    for place, one in enumerate(people):
        problem = None if _is_contact(one.contact) else f"`contact` is missing, or longer than {_LONGEST_ID} characters"
        address, fault = _address(one.address)
        problem = problem or fault
        attributes: dict[str, Any] = {}
        if problem is None:
            attributes, problem = names.checked(one.attributes)
        if problem:
            refused.append(Refused(place, problem))
        else:
            good[one.contact] = address, attributes
    names.save()
    ids = sorted(good)
    old = {row.contact: row for start in range(0, len(ids), _CHUNK) for row in connection.execute(
        select(t.contacts).where(t.contacts.c.contact.in_(ids[start : start + _CHUNK])).with_for_update()
    )}  # fmt: skip
    fresh = [one for one in ids if one not in old]
    if fresh:
        insert_missing(connection, t.contacts, [
            {"contact": one, "address": good[one][0], "attributes": good[one][1], "created_at": now, "last_at": now}
            for one in fresh
        ], ["contact"])  # fmt: skip
    at = lock_contacts(connection, ids, now)
    rows: list[dict[str, Any]] = [_row(one, "contact_added", now, {}) for one in fresh]
    known = attributes_of(connection, [*old])
    for one in old:
        address, attributes = good[one]
        changed = {name: value for name, value in attributes.items() if known[one].get(name) != value}
        if address is not None and address != old[one].address:
            connection.execute(update(t.contacts).where(t.contacts.c.contact == one).values(address=address))
        elif not changed:
            n_repeated += 1
        rows += [
            _row(one, "attribute_changed", at[one], {"name": name, "value": _as_text(value)})
            for name, value in changed.items()
        ]
    if any(row["event"] == "attribute_changed" for row in rows):
        declare(connection, "event", {"name": "text", "value": "text"})
    _store(connection, rows, {row["contact"]: row["received_at"] for row in rows})
    return Received(len(good) - n_repeated, n_repeated, tuple(refused))


def _row(contact: str, event: str, at: datetime, properties: dict[str, Any]) -> dict[str, Any]:
    return {"contact": contact, "event": event, "occurred_at": at, "received_at": at, "properties": properties}


def _as_text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _address(address: str | None) -> tuple[str | None, str | None]:
    """The address in its normal form, or why it is none; the message does not repeat it."""
    if address is None:
        return None, None
    from email_validator import EmailNotValidError, validate_email

    try:
        return validate_email(address, check_deliverability=False, test_environment=True).normalized, None
    except EmailNotValidError:
        return None, "`address` is no e-mail address"


def attributes_of(
    connection: Connection, contacts: Sequence[str], until: datetime | None = None
) -> dict[str, dict[str, Any]]:
    """The attributes of contacts, with all changes received, or those up to an instant."""
    found: dict[str, dict[str, Any]] = {}
    kinds = known_names(connection, "contact")
    for start in range(0, len(contacts), _CHUNK):
        ids = contacts[start : start + _CHUNK]
        for row in connection.execute(select(t.contacts).where(t.contacts.c.contact.in_(ids))):
            found[row.contact] = dict(row.attributes)
        changes = (
            select(t.events.c.contact, t.events.c.properties)
            .where(t.events.c.contact.in_(ids), t.events.c.event == "attribute_changed")
            .order_by(t.events.c.received_at, t.events.c.event_id)
        )
        if until is not None:
            changes = changes.where(t.events.c.received_at <= until)
        for contact, properties in connection.execute(changes):
            name, value = properties.get("name"), properties.get("value")
            found[contact][name] = _of_kind(value, kinds.get(name, "text"))
    return found


def _of_kind(value: Any, kind: str) -> Any:
    """The value of an attribute that a change tells as text."""
    if value is None or kind in ("text", "date", "instant"):
        return value
    try:
        return json.loads(value)
    except (TypeError, ValueError):
        return value
