"""The production log: all that a store has received and made, as the event log by which it can be replayed (rule 29).

Replayed by the instants of receipt it reproduces every decision:

>>> log = EventLog.read("events.parquet", contacts="contacts.parquet").by_received()     # doctest: +SKIP
>>> replay(releases, log, live=True, assumed_consent=basis)                              # doctest: +SKIP
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pandas as pd
from sqlalchemy import Connection, Text, func, select, type_coerce

from journeylab.errors import DataError
from journeylab.eventlog import EventLog
from journeylab.records import entries_table, in_order, visits_table
from journeylab.sender.sending.states import IN_FLIGHT
from journeylab.sender.store import Store
from journeylab.sender.store import tables as t
from journeylab.sender.store.bulk import among
from journeylab.sender.store.seals import seals_by_contact

from .decisions import entries_of, plain_rows
from .kinds import known_names
from .running import Running
from .storelog import arrow_instants, as_arrow_wants, opened_attributes, opened_properties, opening, typed
from .ticks import advanced

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["Exported", "Verified", "export", "production_log", "verify"]

_EVENTS: Final = 200_000
_CONTACTS: Final = 5000
_COLUMNS: Final = ("contact", "journey", "entry", "node", "visit", "what", "recorded", "replayed")


@dataclass(frozen=True, slots=True)
class Exported:
    """What an export has: how many events and contacts, and how many messages whose outcome nobody knew then.

    A decision that rests on one of those (a cap that counts it) is reproduced by a later export, which has its `sent`.
    """

    n_events: int
    n_contacts: int
    n_on_their_way: int


@dataclass(frozen=True, slots=True, eq=False)
class Verified:
    """What holding the store against its own replay came to.

    Attributes:
        differences: a row for each value that is not what replay gives: `contact, journey, entry, node, visit` (the
            last two missing where it is of the entry), `what` (the column, or `row` for one that only one side has),
            `recorded`, `replayed` (texts; missing where there is none).
        n_contacts: how many contacts were replayed.
        n_due: those who were left out, as something is due for them that is not yet decided.
        n_held: those who were left out, as they are held.
    """

    differences: pd.DataFrame
    n_contacts: int
    n_due: int
    n_held: int


def production_log(store: Store, until: datetime | None = None) -> EventLog:
    """The event log of all contacts by the instants at which events were received, the sender's own included.

    Its end is `until`. Contacts have the attributes with which they came; changes are events (rule 7).

    Args:
        store: the sender's database.
        until: the last instant, aware; by default the store's.

    Raises:
        DataError: when nothing was received until then.
    """
    import pyarrow as pa

    with store.snapshot() as connection:
        until = until or store.now(connection)
        events, people = pa.concat_tables(_events(connection, until)), _people(connection, until)
    if not len(events):
        raise DataError(f"nothing was received until {until:%Y-%m-%d %H:%M:%S} UTC")
    log = EventLog.read(events, contacts=people, cache=False).by_received()
    return log.known_between(log.start_at, until)


def export(store: Store, events_path: str | Path, contacts_path: str | Path, until: datetime | None = None) -> Exported:
    """Writes the production log as two Parquet files; the module's text says how they are read.

    Events have `contact`, `event` (text), `occurred_at`, `received_at` (UTC, microseconds) and every property, typed,
    in the order of receipt; contacts have `contact` and the attributes with which they came. Addresses are left out.

    Args:
        store: the sender's database.
        events_path: where the events go.
        contacts_path: where the contacts go.
        until: the last instant, aware; by default the store's.
    """
    import pyarrow.parquet as pq

    with store.snapshot() as connection:
        until = until or store.now(connection)
        parts = _events(connection, until)
        first = next(parts)
        n_events = len(first)
        with pq.ParquetWriter(events_path, first.schema) as writer:
            writer.write_table(first)
            for part in parts:
                writer.write_table(part)
                n_events += len(part)
        people = _people(connection, until)
        pq.write_table(people, contacts_path)
        s = t.sends.c
        is_open = s.state.in_(IN_FLIGHT) | (s.settled_at > until)
        on_their_way = select(func.count()).where(s.gated_at <= until, is_open)
        return Exported(n_events, len(people), connection.scalar(on_their_way) or 0)


def _events(connection: Connection, until: datetime) -> Iterator[pa.Table]:
    """The events received up to an instant in their order, in parts; at least one, which may be empty."""
    import pyarrow as pa

    e, kinds = t.events.c, known_names(connection, "event")
    instants = (as_arrow_wants(connection, one) for one in (e.occurred_at, e.received_at))
    asked = select(e.contact, e.event, *instants, type_coerce(e.properties, Text), e.sealed)
    asked = asked.where(e.received_at <= until)
    result = connection.execute(
        asked.order_by(e.received_at, e.event_id), execution_options={"yield_per": _EVENTS, "stream_results": True}
    )

    def part(rows: Sequence[Any]) -> pa.Table:
        contact, event, occurred, received, plain, sealed = zip(*rows, strict=True) if rows else ((),) * 6
        texts = opened_properties(seals_by_contact(connection, {*contact}), contact, plain, sealed)
        fixed = {
            "contact": pa.array(contact, pa.string()),
            "event": pa.array(event, pa.string()),
            "occurred_at": arrow_instants(occurred),
            "received_at": arrow_instants(received),
        }
        return typed(fixed, texts, kinds)

    n_parts = 0
    for rows in result.partitions():
        yield part(rows)
        n_parts += 1
    if not n_parts:
        yield part([])


def _people(connection: Connection, until: datetime) -> pa.Table:
    """The contacts that were there at an instant, with the attributes with which they came; no erased ones."""
    import pyarrow as pa

    c = t.contacts.c
    asked = select(c.contact, c.sealed_key, c.attributes).where(c.created_at <= until, c.sealed_key.is_not(None))
    rows = connection.execute(asked.order_by(c.contact)).all()
    seals = opening(connection, ((one.contact, one.sealed_key) for one in rows))
    contacts = [one.contact for one in rows]
    texts = opened_attributes(seals, contacts, [one.attributes for one in rows])
    return typed({"contact": pa.array(contacts, pa.string())}, texts, known_names(connection, "contact"))


def verify(store: Store, running: Callable[[Connection], Running], *, most: int = _CONTACTS) -> Verified:
    """What of the recorded entries and visits is not what replaying the store's own past gives: nothing, as it should.

    Contacts for whom something is due are left out: what is due is not recorded yet.

    Args:
        store: the sender's database.
        running: gives what runs, read in the connection's own transaction.
        most: how many contacts are replayed at once.
    """
    with store.snapshot() as connection:
        return _verified(connection, running(connection), store.now(connection), most)


def _verified(connection: Connection, running: Running, now: datetime, most: int) -> Verified:
    c = t.contacts.c
    asked = select(c.contact, c.next_at, c.last_at, c.held_because).where(c.sealed_key.is_not(None))
    rows = connection.execute(asked.order_by(c.contact)).all()
    n_held = sum(one.held_because is not None for one in rows)
    settled = [
        one.contact
        for one in rows
        if one.held_because is None and one.last_at <= now and (one.next_at is None or one.next_at > now)
    ]
    found: list[tuple[Any, ...]] = []
    for start in range(0, len(settled), most):
        found += _differences(connection, running, sorted(settled[start : start + most]), now)
    differences = pd.DataFrame(found, columns=list(_COLUMNS)).astype({"visit": "Int64"})
    return Verified(differences, len(settled), len(rows) - len(settled) - n_held, n_held)


def _differences(
    connection: Connection, running: Running, contacts: Sequence[str], now: datetime
) -> Iterator[tuple[Any, ...]]:
    result = advanced(connection, running, contacts, now, entries_of(connection, contacts))
    replayed: list[Any] = [[], []]
    if result is not None:
        ready, outs = result
        ordered = in_order(ready.log, outs)
        visits = visits_table(ready.compiled, ready.log, ordered)
        entries = entries_table(ready.compiled, ready.log, ordered)
        replayed = [plain_rows(entries), plain_rows(visits)]
    for table, ours in zip((t.entries, t.visits), replayed, strict=True):
        key = [column.name for column in table.primary_key]
        asked = select(table).where(among(connection, table.c.contact, contacts))
        recorded = {tuple(one[name] for name in key): one for one in connection.execute(asked).mappings()}
        again = {tuple(one[name] for name in key): one for one in ours}
        for identity in sorted(recorded.keys() | again.keys()):
            was, is_now = recorded.get(identity), again.get(identity)
            of = (*identity, None, None)[:5]
            if was is None or is_now is None:
                yield *of, "row", _shown(was and "there"), _shown(is_now and "there")
                continue
            for name in (column.name for column in table.c if column.name not in key):
                if was[name] != is_now[name]:
                    yield *of, name, _shown(was[name]), _shown(is_now[name])


def _shown(value: Any) -> str | None:
    return None if value is None else value.isoformat() if isinstance(value, datetime) else str(value)
