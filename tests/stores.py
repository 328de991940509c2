"""Stores for the sender's tests, on a clock that the test moves, and what stands in them."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from sqlalchemy import Connection, insert, select, text

from journeylab.sender.consent.evidence import opened_evidence
from journeylab.sender.keys import Keys
from journeylab.sender.live.intake import Person, addresses_of, properties_of, receive_people
from journeylab.sender.sending import preparing
from journeylab.sender.sending.preparing import Made
from journeylab.sender.store import Store
from journeylab.sender.store import tables as t
from journeylab.sender.store.seals import seal_of, seals_by_contact, seals_of

KEYS = Keys(bytes(range(32)))
START = datetime(2026, 3, 2, 9, tzinfo=UTC)


@dataclass
class MovedClock:
    """A clock that shows what the test sets; a microsecond more at each look, as no clock shows an instant twice."""

    at: datetime = START
    step: timedelta = field(default=timedelta(microseconds=1))

    def __call__(self, connection: Connection) -> datetime:
        self.at += self.step
        return self.at

    def move(self, **by: float) -> None:
        self.at += timedelta(**by)


def empty(connection: Connection) -> None:
    """Empties all tables of PostgreSQL, the audit log's too, which no sender could."""
    connection.execute(text("set local session_replication_role = replica"))
    connection.execute(text(f"truncate {', '.join(t.metadata.tables)} restart identity cascade"))


def opened_on(request: pytest.FixtureRequest, folder: Path, clock: Callable[[Connection], datetime]) -> Iterator[Store]:
    """An empty store on the database that a fixture's parameter names."""
    if request.param == "sqlite":
        file = folder / "sender.db"
        shutil.copy(request.getfixturevalue("sqlite_store_file"), file)
        store = Store.open(f"sqlite:///{file}", KEYS, clock=clock)
    else:
        store = Store.open(request.getfixturevalue("postgres_store_url"), KEYS, clock=clock)
        with store.writing() as connection:
            empty(connection)
    yield store
    store.close()


def people(store: Store, *contacts: str, **attributes: Any) -> None:
    """Contacts with addresses of their own."""
    with store.writing() as connection:
        got = receive_people(
            connection, [Person(one, f"{one}@rcpt.test", attributes) for one in contacts], store.now(connection)
        )
        assert not got.refused


def send_row(contact: str, node: str, now: datetime, **values: Any) -> dict[str, Any]:
    """A row of `sends`: a message of the journey `welcome` that is ready to go, or what else `values` make of it."""
    row = {
        "journey": "welcome",
        "contact": contact,
        "entry": 1,
        "node": node,
        "visit": 1,
        "message": f"{node}_mail",
        "purpose": "marketing",
        "transactional": False,
        "state": "ready",
        "planned_at": now,
        "not_before": now,
        "not_after": now + timedelta(days=2),
        "attempts": 0,
        "fence": 0,
    } | values
    if row["state"] in ("transmitting", "ambiguous", "accepted"):
        row = {"gated_at": now} | row | {"attempts": 1, "fence": 1}
    key = KEYS.message_key(row["journey"], contact, row["entry"], row["node"], row["visit"])
    return row | {"message_key": key}


def a_send(store: Store, contact: str, node: str = "hello", **values: Any) -> str:
    """The key of a message that is there now; see `send_row`."""
    with store.writing() as connection:
        row = send_row(contact, node, store.now(connection), **values)
        connection.execute(insert(t.sends), row)
    return str(row["message_key"])


def freeze(connection: Connection, fresh: Sequence[tuple[Any, Made]], now: datetime) -> None:
    """Freezes what was made of messages, given rows with `message_key` and `contact`."""
    seals, keys = seals_by_contact(connection, {row.contact for row, _ in fresh}), seals_of(connection).keys
    made = [
        preparing.sealed(seals[row.contact], row.message_key, one, keys.address_digest(one.address))
        for row, one in fresh
    ]
    preparing.freeze(connection, made, now)


def rows_of(store: Store, table: Any, **values: Any) -> list[Any]:
    """The rows of a table with these values, in the order of their keys; what is sealed in them is opened."""
    found = select(table).order_by(*table.primary_key)
    with store.reading() as connection:
        rows = connection.execute(found.filter_by(**values)).all()
        return rows if table not in (t.contacts, t.events, t.consents) else [_opened(connection, one) for one in rows]


def _opened(connection: Connection, row: Any) -> SimpleNamespace:
    found, contacts = dict(row._mapping), [row.contact]
    if "sealed" in found:
        found["properties"] = properties_of(connection, [row])[0]
    elif "evidence" in found:
        found["evidence"] = opened_evidence(seal_of(connection, row.contact), row.evidence)
    elif row.sealed_key is not None:
        found["address"] = addresses_of(connection, contacts)[row.contact]
        first = seals_by_contact(connection, contacts)[row.contact]
        found["attributes"] = first.open_json("contacts.attributes", row.attributes)
    return SimpleNamespace(**found)


def events_of(store: Store, contact: str, *names: str) -> list[tuple[str, dict[str, Any]]]:
    """The events of a contact in the order of receipt: name and properties."""
    return [(one.event, one.properties) for one in rows_of(store, t.events, contact=contact)
            if not names or one.event in names]  # fmt: skip
