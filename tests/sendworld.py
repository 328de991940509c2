"""A store with messages that are about to be sent, for tests of sending: contacts with consent, entries, renderings."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from shutil import copy
from tempfile import mkdtemp
from types import SimpleNamespace
from typing import Any

from sqlalchemy import Connection, Row, insert, select, update

from journeylab.sender.keys import Keys
from journeylab.sender.live.intake import Incoming, Person, receive, receive_people
from journeylab.sender.sending.gate import Request
from journeylab.sender.sending.preparing import Fault, Made
from journeylab.sender.settings import Relay, Settings
from journeylab.sender.store import Store
from journeylab.sender.store import tables as t
from stores import empty, freeze

KEYS = Keys(bytes(range(32)))
START = datetime(2026, 3, 2, 9, tzinfo=UTC)
MINUTE = timedelta(minutes=1)


class Clock:
    """A clock that stands until it is moved."""

    def __init__(self, now: datetime = START) -> None:
        self.now = now

    def __call__(self, connection: Connection) -> datetime:
        return self.now

    def pass_by(self, time: timedelta) -> None:
        self.now += time


def make_settings(folder: Path, *relays: Relay, **changed: Any) -> Settings:
    given = {
        "sender": "shop",
        "domain": "shop.example",
        "from": {"address": "hello@shop.example"},
        "list_id": "news.shop.example",
        "bounces": "bounces.shop.example",
        "public_url": "https://mail.shop.example",
        "relays": list(relays) or [Relay(name="main", host="127.0.0.1", tls="none")],
    }
    return Settings.model_validate(given | changed).model_copy(update={"folder": folder})


def rendered(connection: Connection, rows: Sequence[Row[Any]]) -> list[Made | Fault]:
    """What a message is like in these tests."""
    return [Made(row.address, body_of(row.message_key), {}) for row in rows]


def body_of(key: str) -> bytes:
    text = f"Message-ID: <{key}@shop.example>\nX-JourneyLab-Message: {key}\nSubject: Hello\n\n.Hello\n"
    return text.replace("\n", "\r\n").encode()


@cache
def _template() -> Path:
    """A SQLite file with all tables, which is copied: migrations take their time."""
    path = Path(mkdtemp()) / "template.db"
    Store.open(f"sqlite:///{path}", create=True).close()
    return path


def opened(url: str, clock: Clock) -> Store:
    """The store at a URL, with all tables and nothing in them."""
    if url.startswith("sqlite:///"):
        path = Path(url.removeprefix("sqlite:///"))
        if not path.exists():
            copy(_template(), path)
        return Store.open(url, KEYS, clock=clock)
    store = Store.open(url, KEYS, clock=clock, create=True)
    if store.is_sqlite:
        return store
    with store.writing() as connection:
        empty(connection)
    return store


class World:
    """A store on one database, with what a test puts into it."""

    def __init__(self, url: str, folder: Path, *relays: Relay, **settings: Any) -> None:
        self.clock = Clock()
        self.url = url
        self.store = opened(url, self.clock)
        self.settings = make_settings(folder, *relays, **settings)
        self.keys = KEYS

    def add(self, contact: str = "ada", node: str = "hello", entry: int = 1, **columns: Any) -> str:
        """A message that is ready, of a contact who consents and is in an entry; its key."""
        journey = columns.pop("journey", "welcome")
        key = KEYS.message_key(journey, contact, entry, node, 1)
        with self.store.writing() as connection:
            if self._first(connection, select(t.contacts.c.contact).where(t.contacts.c.contact == contact)) is None:
                person = Person(contact, f"{contact}@mail.example")
                receive_people(connection, [person], self.clock.now - timedelta(days=1))
                consent = Incoming(contact, "consent_given", None, {"purpose": "marketing"})
                receive(connection, [consent], self.clock.now - timedelta(days=1))
                self._advanced(connection, contact)
            is_entered = (
                (t.entries.c.contact == contact) & (t.entries.c.journey == journey) & (t.entries.c.entry == entry)
            )
            if journey != "(consent)" and self._first(connection, select(t.entries).where(is_entered)) is None:
                entered = {"contact": contact, "journey": journey, "entry": entry, "version": "v1", "converted": False}
                connection.execute(insert(t.entries), entered | {"entered_at": self.clock.now, "held_out": False})
            row = {
                "message_key": key, "journey": journey, "contact": contact, "entry": entry, "node": node, "visit": 1,
                "message": "hello", "purpose": "marketing", "transactional": False, "state": "ready",
                "planned_at": self.clock.now, "not_before": self.clock.now, "attempts": 0, "fence": 0,
                "not_after": self.clock.now + timedelta(days=2),
            }  # fmt: skip
            connection.execute(insert(t.sends), row | columns)
        return key

    def claimed(self, contact: str = "ada", node: str = "hello", entry: int = 1, **columns: Any) -> Request:
        """A message as it stands before the gate; the request for it."""
        mine = {"state": "claimed", "fence": 1, "worker": "w", "lease_until": self.clock.now + MINUTE}
        key = self.add(contact, node, entry, **(mine | columns))
        with self.store.writing() as connection:
            row = SimpleNamespace(message_key=key, contact=contact)
            freeze(connection, [(row, Made(f"{contact}@mail.example", body_of(key), {}))], self.clock.now)
        return Request(key, 1, contact, "main")

    @staticmethod
    def _first(connection: Connection, statement: Any) -> Any:
        return connection.execute(statement).first()

    def _advanced(self, connection: Connection, contact: str) -> None:
        connection.execute(update(t.contacts).where(t.contacts.c.contact == contact).values(next_at=None))

    def advanced(self, contact: str = "ada") -> None:
        """As if the machine had advanced the contact, and nothing more were due."""
        with self.store.writing() as connection:
            self._advanced(connection, contact)

    def receive(self, event: str, contact: str = "ada", *, is_advanced: bool = True, **properties: Any) -> None:
        with self.store.writing() as connection:
            receive(connection, [Incoming(contact, event, None, properties)], self.clock.now)
            if is_advanced:
                self._advanced(connection, contact)

    def moves(self, contact: str, address: str) -> None:
        """The contact has another address from now on."""
        with self.store.writing() as connection:
            receive_people(connection, [Person(contact, address)], self.clock.now)

    def set(self, table: Any, where: Any, **values: Any) -> None:
        with self.store.writing() as connection:
            connection.execute(update(table).where(where).values(**values))

    def insert(self, table: Any, **values: Any) -> None:
        with self.store.writing() as connection:
            connection.execute(insert(table), values)

    def row(self, key: str) -> Any:
        with self.store.reading() as connection:
            return connection.execute(select(t.sends).where(t.sends.c.message_key == key)).one()

    def states(self) -> dict[str, str]:
        with self.store.reading() as connection:
            rows = connection.execute(select(t.sends.c.message_key, t.sends.c.state)).all()
            return {row.message_key: row.state for row in rows}

    def events(self, *names: str) -> list[Any]:
        with self.store.reading() as connection:
            wanted = select(t.events).where(t.events.c.event.in_(names)).order_by(t.events.c.event_id)
            return [*connection.execute(wanted)]

    def alerts(self) -> list[str]:
        with self.store.reading() as connection:
            return [*connection.scalars(select(t.alerts.c.cause).where(t.alerts.c.resolved_at.is_(None)))]


@contextmanager
def world(url: str, folder: Path, *relays: Relay, **settings: Any) -> Iterator[World]:
    made = World(url, folder, *relays, **settings)
    try:
        yield made
    finally:
        made.store.close()
