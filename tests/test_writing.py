"""A message's bytes: made from its release and its contact, the same however often they are made."""

from __future__ import annotations

from datetime import timedelta
from email import message_from_bytes, policy
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import insert

from installed import install
from journeylab import datasets
from journeylab.errors import DataError
from journeylab.journey import Journey
from journeylab.program import Release
from journeylab.sender.consent.requests import ask
from journeylab.sender.live.catalogue import take_products
from journeylab.sender.live.intake import Incoming, receive
from journeylab.sender.live.running import Running, Version
from journeylab.sender.mail.links import Urls
from journeylab.sender.mail.messages import Message, Messages
from journeylab.sender.sending.claims import rows_of
from journeylab.sender.sending.preparing import Fault, Made
from journeylab.sender.settings import Settings
from journeylab.sender.store import Store
from journeylab.sender.store import tables as t
from journeylab.sender.writing import Writer
from stores import KEYS, START, a_send, people

HELLO = Message(
    message="hello_mail",
    subject="Hello {{ first_name|default('there') }}",
    attributes=["first_name", "plan"],
    entry=["coupon"],
    recommend=2,
    templates={
        "hello_mail.html": "<p>{{ plan }}, {{ entry.coupon|default('no coupon') }}</p>"
        "<a href=\"{{ link('shop', 'https://shop.example/') }}\">shop</a>"
        "{% for one in recommend(2) %}<p>{{ one }}</p>{% endfor %}"
        '<p><a href="{{ unsubscribe_url }}">unsubscribe</a> {{ postal_address }}</p>'
    },
)
JOURNEY = Journey.model_validate(
    {
        "journey": "welcome",
        "trigger": {"event": "signup"},
        "nodes": {"mark": {"set": {"plan": "pro"}, "next": "hello"}, "hello": {"send": "hello_mail", "next": "done"},
                  "done": {"exit": "finished"}},
    }
)  # fmt: skip
RUNNING = Running((Version(1, (Release(journey=JOURNEY),)),))


def settings_of(folder: Path, **more: Any) -> Settings:
    given = {
        "sender": "shop", "domain": "shop.example", "from": {"name": "Our Shop", "address": "hello@shop.example"},
        "list_id": "news.shop.example", "bounces": "bounces.shop.example", "unsubscribe": "leave@shop.example",
        "public_url": "https://mail.shop.example", "postal_address": "Our Shop, 1 Road",
        "relays": [{"host": "127.0.0.1", "tls": "none"}], "messages": str(datasets.fixtures() / "messages"),
    }  # fmt: skip
    return Settings.model_validate(given | more).model_copy(update={"folder": folder})


@pytest.fixture
def one(store: Store) -> Store:
    """A store with a release and a contact who has bought a thing."""
    people(store, "ada", first_name="Ada", plan="trial")
    with store.writing() as connection:
        connection.execute(
            insert(t.releases),
            {"journey": "welcome", "version": JOURNEY.version, "definition": {}, "policy": {},
             "messages": Messages({"hello_mail": HELLO}).to_dict(), "models": [], "hash": "h", "created_at": START,
             "created_by": "a test"},
        )  # fmt: skip
    return store


def made(store: Store, settings: Settings, key: str, **more: Any) -> Made | Fault:
    with Writer(store, settings, lambda _: RUNNING, **more) as writer, store.reading() as connection:
        return writer(connection, rows_of(connection, [key]))[0]


def parsed(found: Made | Fault) -> Any:
    assert isinstance(found, Made), found
    return message_from_bytes(found.body, policy=policy.default)


def test_a_message_is_made_from_what_its_contact_is_and_its_key_names_it(one: Store, tmp_path: Path) -> None:
    key = a_send(one, "ada", release_id=1)
    mail = parsed(made(one, settings_of(tmp_path), key))
    urls, raw = Urls(KEYS, "https://mail.shop.example"), bytes.fromhex(key)
    assert mail["To"] == "ada@rcpt.test"
    assert mail["Subject"] == "Hello Ada"
    assert mail["X-JourneyLab-Message"] == key
    assert urls.unsubscribe(raw) in mail["List-Unsubscribe"]
    assert KEYS.token("unsubscribe", raw) in mail["List-Unsubscribe"].partition("mailto:leave@shop.example?subject=")[2]
    assert "trial, no coupon" in mail.get_body(("html",)).get_content()
    assert "https://shop.example/" in mail.get_body(("plain",)).get_content()


def test_the_message_id_is_the_same_however_often_it_is_made(one: Store, tmp_path: Path) -> None:  # 30
    key = a_send(one, "ada", release_id=1)
    first, second = (parsed(made(one, settings_of(tmp_path), key)) for _ in range(2))
    assert first["Message-ID"] == second["Message-ID"]
    other = parsed(
        made(one, settings_of(tmp_path), a_send(one, "ada", node="again", message="hello_mail", release_id=1))
    )
    assert other["Message-ID"] != first["Message-ID"]


def test_links_lead_through_the_sender_only_where_clicks_are_noted(one: Store, tmp_path: Path) -> None:
    key = a_send(one, "ada", release_id=1)
    found = made(one, settings_of(tmp_path, tracking={"clicks": True, "opens": True}), key)
    html = parsed(found).get_body(("html",)).get_content()
    assert "https://mail.shop.example/c/" in html
    assert "https://mail.shop.example/o/" in html
    assert "https://shop.example/" not in html
    assert isinstance(found, Made)
    assert found.links == {"shop": "https://shop.example/"}


def test_what_the_entry_brought_and_the_journey_has_set_is_there(one: Store, tmp_path: Path) -> None:
    at = START + timedelta(hours=1)
    with one.writing() as connection:
        signup = Incoming("ada", "signup", None, {"coupon": "SPRING"})
        receive(connection, [signup], at)
        entry = {"contact": "ada", "journey": "welcome", "entry": 1, "version": JOURNEY.version}
        connection.execute(insert(t.entries), entry | {"entered_at": at, "converted": False, "held_out": False})
        connection.execute(
            insert(t.visits),
            entry
            | {"node": "mark", "visit": 1, "arrived_at": at, "left_at": at, "branch": "next", "evidence": "observed"},
        )
    html = parsed(made(one, settings_of(tmp_path), a_send(one, "ada", release_id=1))).get_body(("html",)).get_content()
    assert "pro, SPRING" in html


def test_products_are_those_bought_together_up_to_now(one: Store, tmp_path: Path) -> None:
    with one.writing() as connection:
        bought = [("bo", "tea"), ("bo", "cup"), ("cy", "tea"), ("cy", "cup"), ("di", "jam"), ("ada", "tea")]
        receive(connection, [Incoming(who, "purchase", None, {"product": what}) for who, what in bought], START)
    key = a_send(one, "ada", release_id=1)
    html = parsed(made(one, settings_of(tmp_path), key)).get_body(("html",)).get_content()
    assert "<p>cup</p>" in html
    assert "<p>tea</p>" not in html


def test_products_that_the_catalogue_does_not_sell_are_not_recommended(one: Store, tmp_path: Path) -> None:
    with one.writing() as connection:
        bought = [("bo", "tea"), ("bo", "cup"), ("bo", "hat"), ("bo", "jam"), ("ada", "tea")]
        receive(connection, [Incoming(who, "purchase", None, {"product": what}) for who, what in bought], START)
        known = [("tea", {}, False, None), ("cup", {}, True, None), ("jam", {"price": 3}, False, None)]
        take_products(connection, known, START)
    connectors = {"cms": {"kind": "rest", "url": "https://cms.example"}}
    settings = settings_of(tmp_path, connectors=connectors, catalogue={"source": "cms"})
    key = a_send(one, "ada", release_id=1)
    html = parsed(made(one, settings, key)).get_body(("html",)).get_content()
    assert "<p>{'product': 'jam', 'price': 3}</p>" in html
    assert "hat" not in html
    assert "cup" not in html


OWN = """
class Own:
    def recommend(self, contact, bought, as_of, n):
        return [f"for {contact}", "and more", "too many"][:n]

ready = Own()
"""


@pytest.mark.parametrize("kind", ["Own", "ready"])
def test_an_installed_recommender_is_named_in_the_settings(
    one: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    point = f"[journeylab.recommenders]\nacme = acme_{kind}:{kind}\n"
    monkeypatch.syspath_prepend(str(install(tmp_path / "packages", "acme", {f"acme_{kind}.py": OWN}, point)))
    key = a_send(one, "ada", release_id=1)
    settings = settings_of(tmp_path, recommend={"hook": "acme"})
    html = parsed(made(one, settings, key)).get_body(("html",)).get_content()
    assert "for ada" in html
    with pytest.raises(DataError, match="brings the recommender 'acmee'; did you mean 'acme'"):
        made(one, settings_of(tmp_path, recommend={"hook": "acmee"}), key)


def test_what_cannot_be_made_says_why_and_names_nobody(one: Store, tmp_path: Path) -> None:
    people(one, "bo", first_name="Bo")  # has no plan, which the template writes
    found = made(one, settings_of(tmp_path), a_send(one, "bo", release_id=1))
    assert isinstance(found, Fault)
    assert "plan" in found.reason
    assert "rcpt.test" not in found.reason
    with one.writing() as connection:
        receive(connection, [Incoming("cy", "signup")], START)
    assert made(one, settings_of(tmp_path), a_send(one, "cy", release_id=1)) == Fault("the contact has no address")


def test_confirmation_mail_leads_to_its_page_and_to_no_other(one: Store, tmp_path: Path) -> None:
    with one.writing() as connection:
        asked = ask(
            connection, "ada", "marketing", "I agree", "en", "form", {}, one.now(connection),
            message="confirm_subscription",
        )  # fmt: skip
    mail = parsed(made(one, settings_of(tmp_path), asked.message_key))
    text = mail.get_body(("plain",)).get_content().replace("\n", "")
    assert Urls(KEYS, "https://mail.shop.example").confirm(asked.request_key) in text
    assert mail["List-Unsubscribe"] is None
