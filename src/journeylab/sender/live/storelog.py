"""A store's events and contacts as tables and as an event log, typed as `names` says."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import Connection, CursorResult, Text, func, select, type_coerce

from journeylab.columnvalues import marked_texts
from journeylab.eventlog import EventLog
from journeylab.sender.store import tables as t
from journeylab.sender.store.bulk import among
from journeylab.sender.store.seals import Seal, joined, seals_of

from .intake import SEALED
from .kinds import known_names

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = [
    "arrow_instants", "as_arrow_wants", "log_of", "opened_attributes", "opened_properties", "opening", "typed",
]  # fmt: skip

_KNOWN: Final = "(known)"  # no event's name: the contact is there


def _columns(found: CursorResult[Any], n: int) -> list[list[Any]]:
    rows = found.cursor.fetchall()  # as the driver has them: nothing is to be converted
    return [list(column) for column in zip(*rows, strict=True)] or [[] for _ in range(n)]


def log_of(
    connection: Connection, contacts: Sequence[str] | None, until: datetime, heard: Collection[str] | None = None
) -> EventLog:
    """The event log of contacts (or of all) by the instants at which events were received, up to and including one.

    Args:
        connection: any transaction.
        contacts: those who are asked for.
        until: the last instant.
        heard: the events that are asked for; by default all, the sender's own included.
    """
    import pyarrow as pa

    def mine(column: Any) -> Any:
        return True if contacts is None else among(connection, column, contacts)

    e, c = t.events.c, t.contacts.c
    received_at, created_at = as_arrow_wants(connection, e.received_at), as_arrow_wants(connection, c.created_at)
    asked = select(e.contact, e.event, received_at, type_coerce(e.properties, Text), e.sealed)
    asked = asked.where(e.received_at <= until)
    if contacts is not None:
        asked = asked.where(mine(e.contact))
    if heard is not None:
        asked = asked.where(e.event.in_(sorted(heard)))
    contact, event, received, plain, sealed = _columns(connection.execute(asked.order_by(e.received_at, e.event_id)), 5)
    people = select(c.contact, created_at, c.sealed_key, c.attributes).where(
        c.created_at <= until, c.sealed_key.is_not(None)
    )
    if contacts is not None:
        people = people.where(mine(c.contact))
    known, created, data_keys, attributes = _columns(connection.execute(people.order_by(c.contact)), 4)
    seals = opening(connection, zip(known, data_keys, strict=True))
    fixed = {
        "contact": pa.array(known + contact, pa.string()),
        "event": pa.array([_KNOWN] * len(known) + event, pa.string()),
        "occurred_at": arrow_instants(created + received),
    }
    texts = opened_properties(seals, contact, plain, sealed)
    events = typed(fixed, ["{}"] * len(known) + texts, known_names(connection, "event"))
    ids = {"contact": pa.array(known, pa.string())}
    with_attributes = typed(ids, opened_attributes(seals, known, attributes), known_names(connection, "contact"))
    log = EventLog.read(events, contacts=with_attributes, cache=False)
    start = connection.execute(select(func.min(c.created_at))).scalar_one()
    return log.known_between(start, until)


def opening(connection: Connection, data_keys: Iterable[tuple[str, bytes | None]]) -> dict[str, Seal]:
    """The seals of contacts by their data keys, without those whose data were erased."""
    seals = seals_of(connection)
    return {contact: seals.of(contact, key) for contact, key in data_keys if key is not None}


def opened_properties(
    seals: Mapping[str, Seal], contacts: Sequence[str], plain: Sequence[str], sealed: Sequence[bytes | None]
) -> list[str]:
    """The properties of events as JSON, what was sealed of them opened."""
    return [
        text if one is None else joined(text, seals[contact].open(SEALED, one))
        for contact, text, one in zip(contacts, plain, sealed, strict=True)
    ]


def opened_attributes(
    seals: Mapping[str, Seal], contacts: Sequence[str], attributes: Sequence[bytes | None]
) -> list[str]:
    """The attributes of contacts as JSON; none of those whose data were erased."""
    return [
        "{}" if one is None else seals[contact].open("contacts.attributes", one)
        for contact, one in zip(contacts, attributes, strict=True)
    ]


def as_arrow_wants(connection: Connection, column: Any) -> Any:
    """A column of instants as `arrow_instants` takes them: on SQLite as the texts that they are there."""
    return type_coerce(column, Text) if connection.dialect.name == "sqlite" else column


def arrow_instants(values: Sequence[Any]) -> pa.Array:
    """Instants as an Arrow array, from the texts of SQLite or from datetimes."""
    import pyarrow as pa

    if values and isinstance(values[0], str):
        return pa.array(values, pa.string()).cast(pa.timestamp("us")).cast(pa.timestamp("us", "UTC"))
    return pa.array(values, pa.timestamp("us", "UTC"))


def typed(fixed: Mapping[str, pa.Array], texts: Sequence[str], kinds: Mapping[str, str]) -> pa.Table:
    """Some columns, and one of each name, from rows of JSON; texts are marked, so that nothing else is read in them."""
    import pyarrow as pa

    cells = _by_name(texts, kinds)
    types = {"number": pa.float64(), "flag": pa.bool_(), "date": pa.date32(), "instant": pa.timestamp("us", "UTC")}
    columns = dict(fixed)
    for name, kind in kinds.items():
        type_ = types.get(kind, pa.string())
        if name not in cells:
            columns[name] = pa.nulls(len(texts), type_)
        elif kind == "date":
            columns[name] = pa.array(cells[name], pa.string()).cast(type_)
        elif kind == "instant":
            found = [None if value is None else datetime.fromisoformat(value) for value in cells[name]]
            columns[name] = pa.array(found, type_)
        else:
            columns[name] = pa.array(cells[name], type_)
    return marked_texts(pa.table(columns), [name for name, kind in kinds.items() if kind == "text"])


def _by_name(texts: Sequence[str], names: Collection[str]) -> dict[str, list[Any]]:
    """The values of each of some names that any row of JSON has; None where a row has none."""
    rows = json.loads(f"[{','.join(texts)}]")
    found: dict[str, list[Any]] = {}
    for place, row in enumerate(rows):  # most rows have few of the names
        for name, value in row.items():
            if name in found:
                found[name][place] = value
            elif name in names:
                found[name] = [None] * len(rows)
                found[name][place] = value
    return found
