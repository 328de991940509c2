"""What is in a store before a case: one journey of two messages, and contacts who have just come in."""

from __future__ import annotations

from threading import Lock
from typing import Any, Final

from journeylab.journey import Journey, Policy
from journeylab.sender.keys import Keys
from journeylab.sender.live.intake import Incoming, Person, receive, receive_people
from journeylab.sender.mail.messages import Message, Messages
from journeylab.sender.promotion.frozen import Frozen
from journeylab.sender.promotion.releases import promote
from journeylab.sender.settings import Settings
from journeylab.sender.store import Store

KEYS: Final = Keys(bytes(range(32)))
NODES: Final = ("hello", "again")
"""Each contact gets two messages, the second one as soon as the first one is settled."""
_HTML: Final = """\
<!doctype html><html lang="en"><head><title>{{ subject }}</title></head><body><p>Hello from the shop.</p>
<p>{{ postal_address }} <a href="{{ unsubscribe_url }}">Unsubscribe</a></p></body></html>
"""
GIVEN: Final[dict[str, Any]] = {
    "sender": "shop",
    "domain": "shop.example",
    "from": {"address": "hello@shop.example"},
    "list_id": "news.shop.example",
    "bounces": "bounces.shop.example",
    "public_url": "https://mail.shop.example",
    "postal_address": "Shop, ul. Prosta 1, 00-001 Warszawa",
    "relays": [{"name": "main", "host": "127.0.0.1", "port": 25, "tls": "none"}],
    "lease": "4s",
}
_MIGRATING: Final = Lock()  # Alembic's context is one for all threads
SETTINGS: Final = Settings.model_validate(GIVEN)


def promoted(url: str) -> Store:
    """A new store with the release."""
    messages = {
        name: Message(message=name, subject=f"News: {name}", attributes=[], templates={f"{name}.html": _HTML})
        for name in NODES
    }
    journey = Journey.model_validate(
        {
            "journey": "welcome",
            "purpose": "marketing",
            "timezone": "Europe/Warsaw",
            "trigger": {"event": "signup"},
            "nodes": {
                "hello": {"send": "hello", "next": "again"},
                "again": {"send": "again", "next": "done"},
                "done": {"exit": "finished"},
            },
        }
    )
    with _MIGRATING:
        store = Store.open(url, KEYS, create=True)
    frozen = Frozen(journey, Policy(), Messages(messages), forecast={"without": "a test"})
    promote(store, frozen, actor="kim")
    return store


def feed(store: Store, n: int, domain: str = "rcpt.test") -> list[str]:
    """The contacts, who consent and sign up now."""
    contacts = [f"c{number:02}" for number in range(n)]
    with store.writing() as connection:
        now = store.now(connection)
        receive_people(connection, [Person(one, f"{one}@{domain}") for one in contacts], now)
        events = [Incoming(one, "consent_given", None, {"purpose": "marketing"}) for one in contacts]
        got = receive(connection, events + [Incoming(one, "signup") for one in contacts], now)
    assert not got.refused, got.refused
    return contacts


def expected(keys: Keys, contacts: list[str]) -> dict[str, list[str]]:
    """The keys of the messages that each contact is to get, in their order."""
    return {one: [keys.message_key("welcome", one, 1, node, 1) for node in NODES] for one in contacts}
