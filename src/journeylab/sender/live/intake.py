"""Intake: events and contacts as they are received, each after all that was decided for its contact (rule 29).

An event counts from the instant at which it was received; `occurred_at` is kept beside. It is received in a
transaction that holds its contact's row, at an instant later than the last one that was used for this contact, so that
the machine, which has advanced the contact up to there, never learns of something that had already happened.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from sqlalchemy import Connection, bindparam, select, text, update

from journeylab.sender.store import TICK, act, lock_contacts
from journeylab.sender.store import tables as t
from journeylab.sender.store.bulk import Bulk, among
from journeylab.sender.store.lookup import Lookup
from journeylab.sender.store.seals import Seal, Seals, seals_by_contact, seals_of

from .addresses import normal_address
from .kinds import LONGEST_ID, Names, declare, is_name, known_names, not_a_text

if TYPE_CHECKING:
    from journeylab.sender.declarations import Declarations

    from .ownership import Owners

__all__ = [
    "OWN", "SEALED", "Incoming", "OwnEvent", "Person", "Received", "Refused", "addresses_of", "attributes_of",
    "contract_properties", "declare", "known_names", "make_contacts", "plain_properties", "properties_of", "receive",
    "receive_people", "record", "record_all",
]  # fmt: skip

OWN: Final = ("sent", "not_sent", "postponed", "called")
"""The events that the sender itself makes: what became of its sends and calls (rule 29)."""
SEALED: Final = "events.sealed"
_CHANGED: Final = "attribute_changed"
_CONSENT: Final = ("consent_given", "consent_withdrawn", "erased")
"""The events by which consent changes (rule 11), each an entry of the audit log."""
_text: Final = json.JSONEncoder(ensure_ascii=False, sort_keys=True).encode
_FIRST, _LAST = datetime(1900, 1, 1, tzinfo=UTC), datetime(2200, 1, 1, tzinfo=UTC)


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
    """A contact from outside: where mail goes, and attributes; None leaves the address as it is.

    Attributes of which the source says that it has no value are in `cleared`; of others it says nothing.
    """

    contact: str
    address: str | None = None
    attributes: Mapping[str, Any] = field(default_factory=dict)
    cleared: tuple[str, ...] = ()


class Refused(NamedTuple):
    """A row that was not taken: its place among those given, from 0, and why."""

    place: int
    reason: str


@dataclass(frozen=True, slots=True)
class Received:
    """What became of rows: how many were new, how many were there already, and those refused, with reasons.

    `left_out` counts values by name that were not kept, as no purpose declares them (see `Declarations`), and
    `conflicts` those of attributes that are true by another source (see `Owners`).
    """

    n_new: int
    n_repeated: int
    refused: tuple[Refused, ...] = ()
    left_out: Mapping[str, int] = field(default_factory=dict)
    conflicts: Mapping[str, int] = field(default_factory=dict)


def receive(
    connection: Connection,
    incoming: Sequence[Incoming],
    now: datetime,
    declared: Declarations | None = None,
    owners: Owners | None = None,
) -> Received:
    """Takes events in, in their order, and makes their contacts due.

    A contact that is new is made. An event that cannot be taken is refused with its reason, and the others are taken.

    Args:
        connection: a writing transaction.
        incoming: the events.
        now: the store's instant.
        declared: what is kept of them; by default everything.
        owners: of which attributes their source may speak; by default of all.
    """
    kept, left_out = ([*enumerate(incoming)], {}) if declared is None else declared.of_events(incoming)
    kept, conflicts = (kept, Counter[str]()) if owners is None else owners.of_events(kept)
    n_repeated, rows, refused = _taken(connection, kept)
    at = _locked(connection, {row["contact"] for row in rows}, now)
    erased = _erased(connection, at)
    refused += [Refused(row["place"], _BEING_ERASED) for row in rows if row["contact"] in erased]
    rows = [row for row in rows if row["contact"] not in erased]
    at = {contact: instant for contact, instant in at.items() if contact not in erased}
    if connection.dialect.name != "sqlite":  # another transaction may have received the same until now
        known_ids = _known_ids(connection, (row["source_id"] for row in rows))
        n_repeated += sum(row["source_id"] in known_ids for row in rows)
        rows = [row for row in rows if row["source_id"] not in known_ids]
        at = {contact: at[contact] for contact in {row["contact"] for row in rows}}
    if owners is not None:
        rows = _filled(connection, rows, owners, conflicts)
        at = {contact: at[contact] for contact in {row["contact"] for row in rows}}
    for row in rows:
        row["received_at"] = at[row["contact"]]
        row["occurred_at"] = row["occurred_at"] or row["received_at"]
    if owners is not None:
        _note_said(connection, rows, owners, now)
        owners.note_left(connection, conflicts, now)
    _store(connection, rows, at)
    for row in rows:
        if row["event"] in _CONSENT:
            purpose = row["properties"].get("purpose")
            act(
                connection, row["received_at"], "intake", row["event"], "consent", contact=row["contact"],
                purpose=purpose, source_id=row["source_id"],
            )  # fmt: skip
    if declared is not None:
        declared.note(connection, left_out, now)
    return Received(len(rows), n_repeated, tuple(sorted(refused)), left_out, conflicts)


def _note_said(connection: Connection, rows: Sequence[Mapping[str, Any]], owners: Owners, now: datetime) -> None:
    """Notes what changes say of attributes that may not be of any age; of several the latest counts."""
    limits = owners.settings.limited
    said = {
        (row["contact"], name): row
        for row in rows
        if row["event"] == _CHANGED and (name := row["properties"]["name"]) in limits
    }
    known = attributes_of(connection, sorted({contact for contact, _ in said}))
    changed = {
        (contact, name): row["received_at"]
        for (contact, name), row in said.items()
        if row["personal"].get("value") != _as_text(known[contact].get(name))
    }
    as_of = {key: min(row["occurred_at"], row["received_at"]) for key, row in said.items()}
    owners.note_said(connection, as_of, changed, now)


def _filled(
    connection: Connection, rows: Sequence[dict[str, Any]], owners: Owners, conflicts: Counter[str]
) -> list[dict[str, Any]]:
    """Rows but for changes of attributes which are known already, where the source may only fill gaps."""
    filling = owners.filling

    def fills(row: Mapping[str, Any]) -> bool:
        return row["event"] == _CHANGED and row["properties"]["name"] in filling

    wanted = sorted({row["contact"] for row in rows if fills(row)})
    if not wanted:
        return [*rows]
    known = attributes_of(connection, wanted)
    kept = []
    for row in rows:
        if fills(row):
            name, value = row["properties"]["name"], row["personal"].get("value")
            if not owners.fills(name, known[row["contact"]], value):
                conflicts[name] += 1
                continue
            known[row["contact"]][name] = value
        kept.append(row)
    return kept


def _erased(connection: Connection, contacts: Iterable[str]) -> set[str]:
    """Those whose data key was destroyed and whose id is still needed, as a message is on its way."""
    c = t.contacts.c
    return {
        *connection.scalars(select(c.contact).where(among(connection, c.contact, [*contacts]), c.sealed_key.is_(None)))
    }


_BEING_ERASED: Final = "the person is being erased and a message is on its way; bring it again once that has arrived"


def _taken(
    connection: Connection, incoming: Sequence[tuple[int, Incoming]]
) -> tuple[int, list[dict[str, Any]], list[Refused]]:
    """How many events were there already, the rows of new ones without their instants, and what is refused."""
    known_ids = _known_ids(connection, (one.source_id for _, one in incoming))
    names, attributes = Names(connection, "event"), Names(connection, "contact")
    while True:
        n_repeated, ids, rows, refused = 0, {*known_ids}, [], []
        for place, one in incoming:
            if one.source_id is not None and one.source_id in ids:
                n_repeated += 1
                continue
            properties, problem = _properties(one, names, attributes)
            if problem:
                refused.append(Refused(place, problem))
                continue
            if one.source_id is not None:
                ids.add(one.source_id)
            rows.append(
                {
                    "place": place,
                    "source_id": one.source_id,
                    "contact": one.contact,
                    "event": one.event,
                    "occurred_at": one.occurred_at,
                    **_parts(one.event, properties),
                }
            )
        if names.saved() and attributes.saved():
            return n_repeated, rows, refused


def _properties(one: Incoming, names: Names, attributes: Names) -> tuple[dict[str, Any], str | None]:
    """The properties of an event as they are stored, or why it cannot be taken."""
    problem = _fault(one)
    if problem:
        return {}, problem
    if one.event != _CHANGED:
        return names.checked(one.properties)
    value, problem = attributes.changed(one.properties.get("name"), one.properties.get("value"))
    return ({}, problem) if problem else names.checked({**one.properties, "value": value})


_OF_CONTRACT: Final = {
    **dict.fromkeys(("sent", "delivered", "opened", "clicked", "bounced", "complained", "unsubscribed"), frozenset(
        ("message", "journey", "entry", "node", "visit", "link", "is_machine", "bounce_type", "purpose", "propensity")
    )),
    **dict.fromkeys(("consent_given", "consent_withdrawn"), frozenset(("purpose",))),
    _CHANGED: frozenset(("name",)),
}  # fmt: skip
"""The properties that an event of the log's contract has, by its name: all that does not tell of a person."""


def contract_properties(event: str) -> frozenset[str]:
    """The properties that the log's contract names of an event."""
    return _OF_CONTRACT.get(event, frozenset()) | ({"value"} if event == _CHANGED else frozenset())


def plain_properties() -> list[str]:
    """The properties of the contract's own events, which tell of messages and consent and of nobody, sorted."""
    return sorted({name for names in _OF_CONTRACT.values() for name in names} - {"name"})


def _parts(event: str, properties: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """What of an event's properties its contract names, and what is sealed as it may be personal."""
    plain = _OF_CONTRACT.get(event, frozenset())
    return {
        "properties": {name: value for name, value in properties.items() if name in plain},
        "personal": {name: value for name, value in properties.items() if name not in plain},
    }


def _no_contact(contact: object) -> str | None:
    if not isinstance(contact, str) or not contact.strip() or len(contact) > LONGEST_ID:
        return f"`contact` is missing, or longer than {LONGEST_ID} characters"
    problem = not_a_text(contact)
    return problem and f"`contact` {problem}"


def _fault(one: Incoming) -> str | None:
    problem = _no_contact(one.contact)
    if problem:
        return problem
    if not is_name(one.event):
        return f"{one.event!r} is no event's name: letters, digits and underscores"
    if one.event in OWN:
        return f"the event {one.event!r} is the sender's own; events of another system need another name"
    if one.occurred_at is not None:
        if one.occurred_at.tzinfo is None:
            return "`occurred_at` has no time zone"
        if not _FIRST <= one.occurred_at < _LAST:
            return "`occurred_at` is outside of the years 1900 to 2199"
    if one.source_id is not None:
        if len(one.source_id) > LONGEST_ID:
            return f"`source_id` is longer than {LONGEST_ID} characters"
        problem = not_a_text(one.source_id)
        return problem and f"`source_id` {problem}"
    return None


def _known_ids(connection: Connection, ids: Iterable[str | None]) -> set[str | None]:
    wanted = [one for one in ids if one is not None]
    found = select(t.events.c.source_id).where(among(connection, t.events.c.source_id, wanted))
    return {*connection.scalars(found)} if wanted else set()


def _locked(connection: Connection, contacts: set[str], now: datetime) -> dict[str, datetime]:
    """The instants at which contacts may receive something, whose rows are locked; those that are new are made."""
    at = lock_contacts(connection, contacts, now)
    missing = sorted(contacts - at.keys())
    if missing:
        make_contacts(connection, [(one, None, {}) for one in missing], now, now - TICK)
        at |= lock_contacts(connection, missing, now)
    return at


def make_contacts(
    connection: Connection,
    people: Iterable[tuple[str, str | None, Mapping[str, Any]]],
    now: datetime,
    last_at: datetime,
) -> None:
    """Makes contacts that are not there: id, address and attributes, sealed with data keys of their own."""
    seals = seals_of(connection)
    rows = []
    for contact, address, attributes in people:
        key = seals.new_key(contact)
        one = seals.of(contact, key)
        sealed = one.seal_json("contacts.attributes", attributes)
        rows.append((contact, key, *_address(seals, one, address), sealed, now, last_at))
    _MAKING.run(connection, rows)


def _address(seals: Seals, seal: Seal, address: str | None) -> tuple[bytes | None, str | None]:
    """An address, sealed, and what it is found by."""
    if address is None:
        return None, None
    return seal.seal("contacts.address", address), seals.keys.address_digest(address)


_CONTACT: Final = ("contact", "sealed_key", "address", "address_digest", "attributes", "created_at", "last_at")
_MAKING: Final = Bulk(lambda given: given.into(t.contacts, *_CONTACT).on_conflict_do_nothing(), *_CONTACT)


def _store(connection: Connection, rows: Sequence[Mapping[str, Any]], at: Mapping[str, datetime]) -> None:
    """Stores events, and makes their contacts due at the instant at which these were received."""
    people = seals_by_contact(connection, {row["contact"] for row in rows if row.get("personal")})
    _EVENTS.run(
        connection,
        [
            (
                row.get("source_id"), row["contact"], row["event"], row["occurred_at"], row["received_at"],
                _text(row["properties"]),
                people[row["contact"]].seal_json(SEALED, row["personal"]) if row.get("personal") else None,
            )
            for row in rows
        ],
    )  # fmt: skip
    if connection.dialect.name == "postgresql" and len(at) > _MANY:
        connection.execute(_DUE_AT_ONCE, {"of": [*at], "at": [*at.values()]})
    else:
        _DUE.run(connection, [*at.items()])


_EVENT: Final = ("source_id", "contact", "event", "occurred_at", "received_at", "properties", "sealed")
_EVENTS: Final = Bulk(lambda given: given.into(t.events, *_EVENT), *_EVENT)
_DUE: Final = Bulk(
    lambda given: (
        update(t.contacts).where(t.contacts.c.contact == given("of")).values(last_at=given("at"), next_at=given("at"))
    ),
    *("of", "at"),
)


_DUE_AT_ONCE: Final = text(
    "update contacts set last_at = due.at, next_at = due.at "
    "from unnest(cast(:of as text[]), cast(:at as timestamptz[])) as due (contact, at) "
    "where contacts.contact = due.contact"
)
_MANY: Final = 100
"""From how many contacts on one statement for all is faster, on PostgreSQL, than one for each."""


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
    names = Names(connection, "event")
    rows: list[dict[str, Any]] = []
    at: dict[str, datetime] = {}
    for one in own:
        rows.append(
            {
                "contact": one.contact,
                "event": one.event,
                "occurred_at": one.occurred_at or one.received_at,
                "received_at": one.received_at,
                "properties": names.own(one.properties),
            }
        )
        at[one.contact] = max(one.received_at, at.get(one.contact, one.received_at))
    names.saved()
    _store(connection, rows, at)


def receive_people(
    connection: Connection,
    people: Sequence[Person],
    now: datetime,
    declared: Declarations | None = None,
    owners: Owners | None = None,
) -> Received:
    """Takes contacts in: new ones with their attributes, and of known ones what has changed, as events.

    A contact's first attributes hold from its beginning; later values are `attribute_changed` events, as in a log
    (rule 7). A contact that comes in without any event begins with the event `contact_added`. The arguments are those
    of `receive`.
    """
    people, left_out = (people, {}) if declared is None else declared.of_people(people)
    people, conflicts = (people, Counter[str]()) if owners is None else owners.of_people(people)
    good, refused = _sound(connection, people)
    erased = _erased(connection, good)
    # By a list: what is no text may be nothing that a set can be asked for.
    refused += [Refused(place, _BEING_ERASED) for place, one in enumerate(people) if one.contact in [*erased]]
    ids = sorted(good.keys() - erased)
    at = lock_contacts(connection, ids, now)
    fresh = [one for one in ids if one not in at]
    if fresh:
        make_contacts(connection, ((one, good[one][0], _valued(good[one][1])) for one in fresh), now, now)
        lock_contacts(connection, fresh, now)
    old = _known(connection, [*at])
    seals, held = seals_of(connection), _attributes(connection, old)
    rows, moved, n_repeated = [_row(one, "contact_added", now, {}) for one in fresh], [], 0
    said = {(one, name): now for one in fresh for name in good[one][1]}
    wrong: dict[tuple[str, str], datetime] = {}
    filled = set() if owners is None else owners.filled(connection, [*old])
    for one, known in old.items():
        address, attributes = good[one]
        if owners is not None:
            kept = {name: value for name, value in attributes.items() if owners.fills(name, held[one], value)}
            conflicts.update(attributes.keys() - kept.keys())
            attributes = {name: value for name, value in kept.items() if value is not None or (one, name) not in filled}
        changed = {name: value for name, value in attributes.items() if held[one].get(name) != value}
        said |= dict.fromkeys(((one, name) for name in attributes), at[one])
        wrong |= dict.fromkeys(((one, name) for name in changed), at[one])
        if address is not None and address != known.opened_address():
            new, digest = _address(seals, known.seal, address)
            moved.append({"of": one, "sealed": new, "digest": digest})
        elif not changed:
            n_repeated += 1
        rows += [_row(one, _CHANGED, at[one], _valued({"name": name, "value": _as_text(value)}))
                 for name, value in changed.items()]  # fmt: skip
    if moved:
        connection.execute(_MOVED, moved)
    if len(rows) > len(fresh):
        declare(connection, "event", {"name": "text", "value": "text"})
    if owners is not None:
        as_of = owners.as_of
        owners.note_said(connection, said if as_of is None else dict.fromkeys(said, as_of), wrong, now)
        owners.note_left(connection, conflicts, now)
    _store(connection, rows, {row["contact"]: row["received_at"] for row in rows})
    if declared is not None:
        declared.note(connection, left_out, now)
    return Received(len(ids) - n_repeated, n_repeated, tuple(sorted(refused)), left_out, conflicts)


def _valued(said: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in said.items() if value is not None}


def _sound(
    connection: Connection, people: Sequence[Person]
) -> tuple[dict[str, tuple[str | None, dict[str, Any]]], list[Refused]]:
    """The address and attributes of each contact that can be taken, None where they are cleared; what is refused."""
    names = Names(connection, "contact")
    while True:
        good: dict[str, tuple[str | None, dict[str, Any]]] = {}
        refused = []
        for place, one in enumerate(people):
            problem = _no_contact(one.contact)
            address = None if one.address is None or problem else normal_address(one.address)
            attributes: dict[str, Any] = {}
            if problem is None and address is None and one.address is not None:
                problem = "`address` is no e-mail address"
            if problem is None:
                attributes, problem = names.checked(one.attributes)
                attributes |= dict.fromkeys(one.cleared)
            if problem:
                refused.append(Refused(place, problem))
                continue
            before = good.get(one.contact)
            good[one.contact] = (address, attributes) if before is None else (
                address or before[0], before[1] | attributes
            )  # fmt: skip
        if names.saved():
            return good, refused


_MOVED: Final = (
    update(t.contacts)
    .where(t.contacts.c.contact == bindparam("of"))
    .values(address=bindparam("sealed"), address_digest=bindparam("digest"))
)


def _row(contact: str, event: str, at: datetime, properties: dict[str, Any]) -> dict[str, Any]:
    return {
        "contact": contact, "event": event, "occurred_at": at, "received_at": at, **_parts(event, properties)
    }  # fmt: skip


def _as_text(value: Any) -> str | None:
    return value if isinstance(value, str | None) else json.dumps(value)


def properties_of(connection: Connection, rows: Sequence[Any]) -> list[dict[str, Any]]:
    """All properties of events, given rows with `contact`, `properties` and `sealed`."""
    seals = seals_by_contact(connection, {row.contact for row in rows if row.sealed is not None})
    return [
        {**row.properties, **({} if row.sealed is None else seals[row.contact].open_json(SEALED, row.sealed))}
        for row in rows
    ]


@dataclass(frozen=True, slots=True)
class _Known:
    """What the row of a contact says; without a seal the person was erased."""

    contact: str
    held_by: Seals
    sealed_key: bytes | None
    address: bytes | None
    attributes: bytes | None

    @property
    def seal(self) -> Seal:
        return self.held_by.of(self.contact, self.sealed_key)

    def opened_address(self) -> str | None:
        return None if self.address is None else self.seal.open("contacts.address", self.address)

    def opened_attributes(self) -> dict[str, Any]:
        return {} if self.attributes is None else self.seal.open_json("contacts.attributes", self.attributes)


def _known(connection: Connection, contacts: Sequence[str]) -> dict[str, _Known]:
    """What the rows of contacts say."""
    seals = seals_of(connection)
    return {row.contact: _Known(row.contact, seals, *row[1:]) for row in _PEOPLE.rows(connection, contacts)}


_PEOPLE: Final = Lookup(
    lambda among: select(*(t.contacts.c[name] for name in ("contact", "sealed_key", "address", "attributes"))).where(
        among(t.contacts.c.contact)
    )
)


def addresses_of(connection: Connection, contacts: Sequence[str]) -> dict[str, str | None]:
    """The addresses of contacts; None for one that has none."""
    return {contact: known.opened_address() for contact, known in _known(connection, contacts).items()}


def attributes_of(
    connection: Connection, contacts: Sequence[str], until: datetime | None = None
) -> dict[str, dict[str, Any]]:
    """The attributes of contacts, with all changes received, or those up to an instant."""
    return _attributes(connection, _known(connection, contacts), until)


def _attributes(
    connection: Connection, people: Mapping[str, _Known], until: datetime | None = None
) -> dict[str, dict[str, Any]]:
    kinds, e = known_names(connection, "contact"), t.events.c
    found = {contact: known.opened_attributes() for contact, known in people.items()}
    changes = (
        select(e.contact, e.properties, e.sealed)
        .where(among(connection, e.contact, [*people]), e.event == _CHANGED)
        .order_by(e.received_at, e.event_id)
    )
    if until is not None:
        changes = changes.where(e.received_at <= until)
    for contact, properties, sealed in connection.execute(changes).all():
        value = None if sealed is None else people[contact].seal.open_json(SEALED, sealed).get("value")
        name = properties.get("name")
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
