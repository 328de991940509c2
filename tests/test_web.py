"""What `journeylab serve` answers: only a POST acts, links keep working, and nothing but signed events comes in."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from html.parser import HTMLParser
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as some
from sqlalchemy import select

from journeylab.errors import DataError
from journeylab.sender.consent.requests import ask, give
from journeylab.sender.consent.standing import state_of
from journeylab.sender.mail.bounces import return_path
from journeylab.sender.mail.links import Links, Urls
from journeylab.sender.sending.preparing import Made
from journeylab.sender.store import Store
from journeylab.sender.store import tables as t
from journeylab.sender.web.app import application
from journeylab.sender.web.hits import settle_hits
from stores import KEYS, START, a_send, events_of, freeze, people, rows_of
from webclient import SECRET, Client, app_for, served, settings_for, signature

URLS = Urls(KEYS, "https://mail.shop.example")
LINKS = {
    "help": "mailto:help@shop.example",
    "offer": "https://shop.example/offer?a=1&b=2",
    "terms": "https://shop.example/terms",
}
ELSEWHERE = ["//evil.example", "\\evil", "%2f%2fevil.example", "a@evil.example", "%0d%0aLocation:x", ".."]
FIREFOX = "Mozilla/5.0 (Windows NT 10.0; Win64; x64; rv:140.0) Gecko/20100101 Firefox/140.0"
ONE_CLICK = {"List-Unsubscribe": "One-Click"}


on_one_database = pytest.mark.parametrize("store", ["sqlite"], indirect=True)
"""For what does not hang on the database."""


@pytest.fixture
def client(store: Store, tmp_path: Path) -> Client:
    return Client(app_for(store, tmp_path))


def path(url: str) -> str:
    return url.removeprefix("https://mail.shop.example")


def a_message(store: Store, contact: str = "ada", node: str = "hello", **values: Any) -> bytes:
    """The key of a message that a relay took an hour ago, with its rendering."""
    settled = {"state": "accepted", "settled_at": START - timedelta(hours=1)} | values
    key = a_send(store, contact, node, **settled)
    body = f"Subject: Hello, {contact}!\r\n\r\nHi".encode()
    with store.writing() as connection:
        made = Made(f"{contact}@rcpt.test", body, LINKS)
        freeze(connection, [(SimpleNamespace(message_key=key, contact=contact), made)], START)
    return bytes.fromhex(key)


def links_of(key: bytes) -> dict[str, str]:
    """Every address in a message that this server answers."""
    links = Links({"hello_mail": LINKS})
    tracked = {name: path(URLS.tracked(key, links, "hello_mail", name)) for name in ("offer", "terms")}
    pages = {"unsubscribe": URLS.unsubscribe(key), "preferences": URLS.preferences(key), "picture": URLS.picture(key)}
    return tracked | {name: path(url) for name, url in pages.items()}


def gave(store: Store, purpose: str = "marketing", contact: str = "ada") -> None:
    with store.writing() as connection:
        give(connection, contact, purpose, "Yes", "en", "form", {}, store.now(connection))


def stands(store: Store, purpose: str = "marketing", contact: str = "ada") -> bool:
    with store.reading() as connection:
        return state_of(connection, contact, [purpose], ["orders"])[purpose].stands


def snapshot(store: Store) -> dict[str, list[Any]]:
    return {name: rows_of(store, table) for name, table in t.metadata.tables.items() if name != "hits"}


class Page(HTMLParser):
    """What a page has: its elements with their attributes, and its text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        if self.elements and self.elements[-1][0] != "style":
            self.words.append(data)

    def all(self, tag: str, **values: str) -> list[dict[str, str | None]]:
        return [has for name, has in self.elements if name == tag and values.items() <= has.items()]

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())


# Unsubscribing


def test_one_click_acts_at_once_without_cookies_or_redirects(store: Store, client: Client) -> None:
    people(store, "ada", language="pl-PL")
    gave(store)
    waiting = a_send(store, "ada", "next")
    receipt_mail = a_send(store, "ada", "receipt", purpose="orders", transactional=True)
    key = a_message(store)
    answer = client("POST", links_of(key)["unsubscribe"], data=ONE_CLICK, headers={"User-Agent": "Provider/1"})
    assert answer.status_code == 200
    assert "set-cookie" not in answer.headers
    assert "Rezygnacja przyjęta" in answer.text
    assert "Nowości i oferty" in answer.text
    assert not stands(store)
    states = {row.message_key: row.state for row in rows_of(store, t.sends)}
    assert (states[waiting], states[receipt_mail]) == ("cancelled", "ready")
    proof = rows_of(store, t.consents, what="withdrawn")[0]
    assert (proof.route, proof.message_key) == ("one_click", key.hex())
    assert proof.evidence == {"network": "192.0.2.0/24", "agent": "Provider/1"}
    assert rows_of(store, t.outbox)[-1].body["type"] == "consent.withdrawn"


@on_one_database
def test_a_form_of_several_parts_is_one_click_too(store: Store, client: Client) -> None:
    people(store, "ada")
    gave(store)
    answer = client("POST", links_of(a_message(store))["unsubscribe"], files={"List-Unsubscribe": (None, "One-Click")})
    assert answer.status_code == 200
    assert not stands(store)


def test_the_page_has_a_button_and_the_answer_says_what_ended_and_what_still_comes(
    store: Store, client: Client
) -> None:
    people(store, "ada")
    gave(store)
    on_its_way = a_message(store, node="second", state="ambiguous", settled_at=None)
    link = links_of(a_message(store))["unsubscribe"]
    asked = Page(client("GET", link).text)
    assert asked.all("form", method="post")
    assert asked.all("button", type="submit")
    assert stands(store)
    answer = client("POST", link, data={"by": "page"})
    assert answer.status_code == 200
    page = Page(answer.text)
    assert "no more messages of this kind: News and offers." in page.text
    assert "may still arrive: Hello, ada! (sent 2 March 2026, 09:00 UTC)" in page.text
    assert page.all("a", href=URLS.preferences(bytes.fromhex(a_send_key(store, "hello"))))
    assert on_its_way.hex() not in answer.text
    assert rows_of(store, t.consents, what="withdrawn")[0].route == "page"
    again = client("POST", link, data={"by": "page"})
    assert again.status_code == 200
    assert len(events_of(store, "ada", "consent_withdrawn")) == 1


def a_send_key(store: Store, node: str) -> str:
    return str(rows_of(store, t.sends, node=node)[0].message_key)


def test_links_work_for_ever_and_from_any_step(store: Store, client: Client) -> None:
    people(store, "ada")
    gave(store)
    old = a_message(store, node="first", release_id=None)
    store.clock.move(days=4000)
    a_message(store, node="tenth")
    link = links_of(old)["unsubscribe"]
    assert client("POST", link.upper().replace("/U/", "/u/"), data=ONE_CLICK).status_code == 200
    assert not stands(store)


def test_programs_that_follow_every_link_change_nothing_but_hits(store: Store, client: Client) -> None:
    people(store, "ada")
    gave(store)
    key = a_message(store)
    with store.writing() as connection:
        request = ask(connection, "ada", "surveys", "Yes?", "en", "form", {}, store.now(connection))
    before = snapshot(store)
    for link in [*links_of(key).values(), path(URLS.confirm(request.request_key))]:
        for method in ("HEAD", "GET", "OPTIONS", "PUT", "DELETE", "PATCH"):
            answer = client(method, link, headers={"User-Agent": "Barracuda"})
            assert answer.status_code in (200, 302, 405), (method, link)
    assert snapshot(store) == before
    kinds = sorted((row.kind, row.method, row.link) for row in rows_of(store, t.hits))
    assert kinds == sorted(
        [("open", method, None) for method in ("GET", "HEAD")]
        + [("click", method, name) for method in ("GET", "HEAD") for name in ("offer", "terms")]
    )
    store.clock.move(seconds=11)
    with store.writing() as connection:
        assert settle_hits(connection, store.now(connection)) == 6
    assert {event for event, _ in events_of(store, "ada")} == {"contact_added", "consent_given", "opened", "clicked"}
    assert all(found["is_machine"] for _, found in events_of(store, "ada", "opened", "clicked"))
    after = snapshot(store)
    assert {name for name in before if after[name] != before[name]} == {"contacts", "events", "names"}


# No oracle


def test_an_unknown_link_looks_like_a_known_one_and_says_so_when_it_is_used(store: Store, client: Client) -> None:
    people(store, "ada")
    gave(store)
    known = links_of(a_message(store))["unsubscribe"]
    unknown = [
        "/u/" + "a" * 52,
        known[:-1] + ("a" if known[-1] != "a" else "b"),
        known[:-3],
        known + "/x",
        "/u/",
        "/u/%00",
    ]
    unknown += [path(URLS.unsubscribe(bytes(range(50, 66))))]  # ours, of a message that is not there any more
    expected = client("GET", known)
    for link in unknown:
        answer = client("GET", link)
        assert (answer.status_code, answer.text) == (200, expected.text), link
        assert {*answer.headers} == {*expected.headers}
        used = client("POST", link, data=ONE_CLICK)
        assert used.status_code == 404
        assert "Nothing was changed" in used.text
    assert stands(store)


@on_one_database
def test_a_token_of_one_use_is_none_of_another(store: Store, client: Client) -> None:
    people(store, "ada")
    gave(store)
    links = links_of(a_message(store))
    for of in ("preferences", "picture"):
        token = links[of].split("/")[2].removesuffix(".gif")
        assert client("POST", f"/u/{token}", data=ONE_CLICK).status_code == 404
    assert client("POST", links["unsubscribe"].replace("/u/", "/p/"), data={"shown": "marketing"}).status_code == 404
    assert client("POST", links["unsubscribe"].replace("/u/", "/confirm/")).status_code == 404
    assert stands(store)


# Preferences


def test_preferences_show_what_stands_and_save_what_was_chosen(store: Store, client: Client) -> None:
    people(store, "ada", language="en")
    gave(store)
    key = a_message(store)
    link = links_of(key)["preferences"]
    page = Page(client("GET", link, headers={"Accept-Language": "pl"}).text)
    boxes = {box["value"]: "checked" in box for box in page.all("input", type="checkbox")}
    assert boxes == {"marketing": True, "surveys": False}
    assert "You get these because you need them: Your orders" in page.text
    labels = {label["for"] for label in page.all("label")}
    assert {box["id"] for box in page.all("input", type="checkbox")} == labels
    saved = client("POST", link, data={"shown": ["marketing", "surveys"], "wanted": "surveys", "by": "page"})
    assert saved.status_code == 200
    assert "Your choice is saved." in Page(saved.text).text
    assert (stands(store), stands(store, "surveys"), stands(store, "orders")) == (False, True, True)
    withdrawn, given = rows_of(store, t.consents)[-2:]
    assert (withdrawn.what, withdrawn.purpose, withdrawn.route) == ("withdrawn", "marketing", "preferences")
    assert (given.what, given.purpose, given.message_key) == ("given", "surveys", key.hex())
    with store.reading() as connection:
        text = connection.scalar(select(t.wordings.c.text).where(t.wordings.c.wording == given.wording))
    assert text == "You may ask me what I think."
    events = len(rows_of(store, t.events))
    client("POST", link, data={"shown": ["marketing", "surveys"], "wanted": "surveys", "by": "page"})
    assert len(rows_of(store, t.events)) == events


@pytest.mark.parametrize(
    "form", [{}, {"wanted": "orders"}, {"shown": ["orders", "nothing"]}, {"wanted": "marketing"}, {"by": "page"}]
)
def test_only_what_was_shown_and_may_be_chosen_changes(store: Store, client: Client, form: dict[str, Any]) -> None:
    people(store, "ada")
    gave(store)
    link = links_of(a_message(store))["preferences"]
    before = snapshot(store)
    assert client("POST", link, data=form).status_code == 200
    assert snapshot(store) == before


@on_one_database
def test_a_form_that_is_none_changes_nothing(store: Store, client: Client) -> None:
    people(store, "ada")
    gave(store)
    link = links_of(a_message(store))["preferences"]
    before = snapshot(store)
    for body in (b"\xff\xfe=1", b"&".join([b"shown=marketing"] * 501)):
        assert client("POST", link, content=body).status_code == 200
    assert client("POST", link, content=b"x" * 70_000).status_code == 413
    assert snapshot(store) == before


# Confirming


def test_confirming_shows_the_wording_and_only_the_button_gives(store: Store, client: Client) -> None:
    people(store, "ada")
    wording = "Tak, <b>chcę</b> nowości & ofert."
    with store.writing() as connection:
        request = ask(connection, "ada", "marketing", wording, "pl", "form", {}, store.now(connection))
    link = path(URLS.confirm(request.request_key))
    shown = client("GET", link, headers={"Accept-Language": "en"})
    assert wording in Page(shown.text).text
    assert "<b>" not in shown.text
    assert '<html lang="pl">' in shown.text
    assert not stands(store)
    for _ in range(2):
        done = client("POST", link, data={"by": "page"})
        assert done.status_code == 200
        assert "Dziękujemy, potwierdzone" in done.text
    assert stands(store)
    assert len(events_of(store, "ada", "consent_given")) == 1
    client("POST", links_of(a_message(store))["unsubscribe"], data=ONE_CLICK)
    assert "Ten link nie jest już ważny" in client("POST", link, data={"by": "page"}).text
    assert not stands(store)


def test_a_confirmation_that_is_too_late_is_told_so(store: Store, client: Client) -> None:
    people(store, "ada")
    with store.writing() as connection:
        request = ask(connection, "ada", "marketing", "Yes!", "en", "form", {}, store.now(connection))
    store.clock.move(days=8)
    link = path(URLS.confirm(request.request_key))
    assert "This link has expired" in client("GET", link).text
    assert "It could be used until 9 March 2026, 09:00 UTC" in client("POST", link).text
    assert not stands(store)
    assert client("GET", path(URLS.confirm(bytes(range(16))))).status_code == 404


# Languages


@on_one_database
@pytest.mark.parametrize(
    ("attribute", "accepted", "setting", "language"),
    [
        ("pl", "en", "en", "pl"),
        ("en-GB", "pl", "pl", "en"),
        ("de", "pl,en;q=0.5", "en", "pl"),
        (None, "de-DE, en;q=0.1", "pl", "en"),
        (None, "fr", "pl", "pl"),
        (None, "q;;=,,", "en", "en"),
    ],
)
def test_the_language_is_the_contacts_then_the_browsers_then_the_settings(
    store: Store, tmp_path: Path, attribute: str | None, accepted: str, setting: str, language: str
) -> None:
    people(store, "ada", language=attribute)
    client = Client(app_for(store, tmp_path, language=setting))
    link = links_of(a_message(store))["unsubscribe"]
    answer = client("GET", link, headers={"Accept-Language": accepted})
    assert answer.headers["content-language"] == language
    assert f'<html lang="{language}">' in answer.text


def test_a_language_that_changed_counts(store: Store, client: Client) -> None:
    people(store, "ada", language="en")
    people(store, "ada", language="pl")
    assert '<html lang="pl">' in client("GET", links_of(a_message(store))["unsubscribe"]).text


# Headers and the form of pages


@on_one_database
def test_every_answer_has_the_security_headers(store: Store, client: Client) -> None:
    people(store, "ada")
    answers = [client("GET", link) for link in links_of(a_message(store)).values()]
    answers += [client("GET", "/health"), client("GET", "/nothing"), client("POST", "/events"), client("PUT", "/u/x")]
    for answer in answers:
        policy = answer.headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "script-src" not in policy
        assert "unsafe" not in policy
        assert answer.headers["referrer-policy"] == "no-referrer"
        assert answer.headers["cache-control"] == "no-store"
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["strict-transport-security"]
        assert "set-cookie" not in answer.headers
        assert "<script" not in answer.text


@on_one_database
def test_pages_are_well_formed(store: Store, client: Client) -> None:
    people(store, "ada")
    key = a_message(store)
    links = links_of(key)
    asked = [("GET", "unsubscribe"), ("GET", "preferences"), ("POST", "preferences"), ("POST", "unsubscribe")]
    for method, link in [*((how, links[name]) for how, name in asked), ("GET", "/c/x")]:
        page = Page(client(method, link).text)
        assert len(page.all("h1")) == 1
        assert page.all("html")[0]["lang"] in ("en", "pl")
        assert page.all("title")
        assert page.all("meta", name="viewport")
        identifiers = [has["id"] for _, has in page.elements if "id" in has]
        assert len(identifiers) == len({*identifiers})


@on_one_database
def test_a_prefix_of_the_public_url_leads_to_the_same_pages(store: Store, tmp_path: Path) -> None:
    people(store, "ada")
    gave(store)
    client = Client(app_for(store, tmp_path, public_url="https://shop.example/mail"))
    link = links_of(a_message(store))["unsubscribe"]
    assert client("POST", "/mail" + link, data=ONE_CLICK).status_code == 200
    assert not stands(store)
    assert client("GET", "/mail/health").status_code == 200


# Clicks and opens


def test_a_click_leads_where_the_release_says_and_nowhere_else(store: Store, client: Client) -> None:
    people(store, "ada")
    key = a_message(store)
    offer = links_of(key)["offer"]
    answer = client("GET", offer + "?url=https://evil.example&next=//evil.example", headers={"User-Agent": FIREFOX})
    assert (answer.status_code, answer.headers["location"]) == (302, LINKS["offer"])
    for bad in (
        offer[:-1] + "0",
        offer[:-1] + "2",
        offer + "0",
        offer + "//evil.example",
        offer.replace("/c/", "/c//"),
    ):
        refused = client("GET", bad)
        assert refused.status_code == 404, bad
        assert "location" not in refused.headers
    picture = client("GET", links_of(key)["picture"])
    assert (picture.headers["content-type"], picture.content[:6]) == ("image/gif", b"GIF89a")
    assert client("GET", "/o/" + "a" * 52 + ".gif").content == picture.content


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(some.text(max_size=40), some.sampled_from(ELSEWHERE))
def test_no_address_that_was_not_written_leads_anywhere(tmp_path_factory: Any, text: str, bad: str) -> None:
    client = _client_without_messages(tmp_path_factory)
    for link in (f"/c/{text}{bad}", f"/c/{bad}/{text}", f"/{bad}", f"/c/{'a' * 52}/{text}"):
        try:
            answer = client("GET", httpx.URL("https://mail.shop.example").copy_with(path=link))
        except httpx.InvalidURL:
            continue
        assert "location" not in answer.headers


_CLIENTS: list[Client] = []


def _client_without_messages(factory: Any) -> Client:
    if not _CLIENTS:
        folder = factory.mktemp("web")
        _CLIENTS.append(Client(app_for(Store.open(f"sqlite:///{folder / 'a.db'}", create=True), folder)))
    return _CLIENTS[0]


def test_hits_become_events_when_it_is_known_who_made_them(store: Store, client: Client) -> None:
    people(store, "ada", "bob")
    key, other = a_message(store), a_message(store, "bob")
    client("GET", links_of(key)["picture"], headers={"User-Agent": FIREFOX})
    hit_at = store.clock.at
    store.clock.move(seconds=5)
    client("GET", links_of(key)["offer"], headers={"User-Agent": FIREFOX})
    client("GET", links_of(other)["offer"], headers={"User-Agent": FIREFOX})
    client("GET", links_of(other)["terms"], headers={"User-Agent": FIREFOX})
    with store.writing() as connection:
        assert settle_hits(connection, store.now(connection)) == 0
    store.clock.move(seconds=11)
    with store.writing() as connection:
        assert settle_hits(connection, store.now(connection)) == 4
        assert settle_hits(connection, store.now(connection)) == 0
    about = {"message": "hello_mail", "journey": "welcome", "entry": 1, "node": "hello", "visit": 1}
    person = {"is_machine": False, "actor": "human_likely", "rule": "browser", "rules": "sender-hits/1"}
    assert events_of(store, "ada", "opened", "clicked") == [
        ("opened", about | person), ("clicked", about | person | {"link": "offer"}),
    ]  # fmt: skip
    assert [found["rule"] for _, found in events_of(store, "bob", "clicked")] == ["burst", "burst"]
    opened = next(row for row in rows_of(store, t.events) if row.event == "opened")
    assert opened.occurred_at <= hit_at < opened.received_at
    (contact,) = rows_of(store, t.contacts, contact="ada")
    assert contact.next_at == contact.last_at  # due


@on_one_database
def test_without_tracking_links_lead_on_and_nothing_is_noted(store: Store, tmp_path: Path) -> None:
    people(store, "ada")
    client = Client(app_for(store, tmp_path, tracking={}))
    links = links_of(a_message(store))
    assert client("GET", links["offer"]).headers["location"] == LINKS["offer"]
    assert client("GET", links["picture"]).status_code == 200
    assert rows_of(store, t.hits) == []


@on_one_database
def test_nobody_fills_the_store_with_hits(store: Store, client: Client) -> None:
    people(store, "ada")
    link = links_of(a_message(store))["offer"]
    assert {client("GET", link).status_code for _ in range(40)} == {302}
    assert len(rows_of(store, t.hits)) == 30


# Webhooks


def test_events_are_taken_once_and_refused_with_place_and_reason(store: Store, client: Client) -> None:
    body = [
        {
            "contact": "ada", "event": "purchase", "occurred_at": "2026-03-01T10:00:00+01:00",
            "properties": {"amount": 9.5},
        },
        {"contact": "ada", "event": "signup", "id": "crm-7"},
        {"contact": "", "event": "purchase"},
        {"contact": "bob", "event": "purchase", "properties": {"amount": "much"}},
        {"contact": "bob", "event": "purchase", "amount": 3},
        {"contact": "bob", "event": "sent"},
        {"contact": "bob", "event": "visit", "occurred_at": "yesterday"},
        {"contact": "bob", "event": "visit", "occurred_at": "2026-03-01T10:00:00"},
        {"contact": "b\x00b", "event": "visit"},
        {"contact": "bob", "event": "visit", "properties": {"page": "\ud800"}},
        {"contact": "bob", "event": "visit", "occurred_at": "0001-01-01T00:00:00+14:00"},
        {"contact": "bob", "event": "visit", "properties": ["page"]},
        {"contact": 7, "event": "visit"},
        "visit",
    ]  # fmt: skip
    first = client.signed("/events", body, "msg_9")
    assert first.status_code == 200
    said = first.json()
    assert (said["n_new"], said["n_repeated"]) == (2, 0)
    reasons = {one["place"]: one["reason"] for one in said["refused"]}
    assert [*reasons] == [*range(2, 14)]
    assert "`contact` is missing" in reasons[2]
    assert "amount is a number, got 'much'" in reasons[3]
    assert "unknown key 'amount'" in reasons[4]
    assert "the sender's own" in reasons[5]
    assert "ISO 8601" in reasons[6]
    assert "no time zone" in reasons[7]
    assert "NUL" in reasons[8]
    assert "surrogate" in reasons[9]
    assert "between 1900 and 2200" in reasons[10]
    assert [row.source_id for row in rows_of(store, t.events)] == ["msg_9/0", "crm-7"]
    assert rows_of(store, t.events)[0].occurred_at == datetime(2026, 3, 1, 9, tzinfo=UTC)
    again = client.signed("/events", body[:2], "msg_9")
    assert (again.status_code, again.json()) == (200, {"n_new": 0, "n_repeated": 2, "refused": []})
    third = client.signed("/events", body[1], "msg_10")
    assert third.json()["n_repeated"] == 1


letters = some.text(some.characters(codec=None), max_size=8) | some.sampled_from(["ada", "a\x00b", "\ud800", "x" * 300])
values = some.recursive(
    some.none() | some.booleans() | some.integers() | some.floats() | letters,
    lambda inner: some.lists(inner, max_size=2) | some.dictionaries(letters, inner, max_size=2),
    max_leaves=4,
)
keys = some.sampled_from(["contact", "event", "occurred_at", "properties", "id", "address", "attributes"])
bodies = some.lists(some.dictionaries(keys, values, max_size=5) | values, max_size=4) | values


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(bodies, some.sampled_from(["/events", "/contacts"]))
def test_no_body_makes_it_fall_over(store: Store, client: Client, body: Any, path_: str) -> None:
    answer = client.signed(path_, json.dumps(body).encode())
    assert answer.status_code in (200, 400), answer.text
    said = answer.json()
    if answer.status_code == 400:
        assert said["error"]
    elif path_ == "/events":
        assert said["n_new"] + said["n_repeated"] + len(said["refused"]) == (len(body) if isinstance(body, list) else 1)


def test_contacts_come_in(store: Store, client: Client) -> None:
    body = [
        {"contact": "ada", "address": "Ada@RCPT.test", "attributes": {"language": "pl", "first_name": "Ada"}},
        {"contact": "bob", "address": "nobody"},
        {"contact": "eve", "address": 3},
    ]
    said = client.signed("/contacts", body).json()
    assert (said["n_new"], [one["place"] for one in said["refused"]]) == (1, [1, 2])
    assert "nobody" not in str(said)
    (row,) = rows_of(store, t.contacts)
    assert (row.address, row.attributes) == ("Ada@rcpt.test", {"language": "pl", "first_name": "Ada"})
    again = client.signed("/contacts", body[0], "msg_2")
    assert (again.status_code, again.json()["n_repeated"]) == (200, 1)


@on_one_database
def test_nothing_unsigned_stale_or_forged_is_taken(store: Store, client: Client) -> None:
    raw = json.dumps({"contact": "ada", "event": "signup"}).encode()
    now = datetime.now(UTC)
    bad = [
        {},
        signature(raw) | {"webhook-signature": "v1,AAAA"},
        signature(raw) | {"webhook-signature": "nonsense"},
        signature(raw) | {"webhook-timestamp": "x"},
        signature(raw) | {"webhook-id": "msg_2"},
        signature(raw + b" "),
        signature(raw, at=now - timedelta(seconds=310)),
        signature(raw, at=now + timedelta(seconds=310)),
    ]
    for headers in bad:
        answer = client("POST", "/events", content=raw, headers=headers)
        assert answer.status_code == 401
        assert "signature does not hold" in answer.json()["error"]
    assert (
        client("POST", "/events", content=raw, headers=signature(raw, at=now - timedelta(seconds=280))).status_code
        == 200
    )
    assert len(rows_of(store, t.events)) == 1


@on_one_database
@pytest.mark.parametrize(
    ("raw", "status"),
    [
        (b"", 400), (b"{", 400), (b"3", 400), (b"null", 400), (b"[" * 100_000, 400), (b'{"contact": NaN}', 400),
        (b'{"contact": "ada", "event": "e", "properties": {"a": 1e999}}', 400), (b"[]", 200),
        (b'{"contact": "ada", "event": "no name"}', 400), (b'"' + b"x" * 1_100_000 + b'"', 413),
        (b'{"contact": "ada", "event": ' + b"9" * 5000 + b"}", 400),
    ],
)  # fmt: skip
def test_what_is_no_event_is_told_in_a_sentence(store: Store, client: Client, raw: bytes, status: int) -> None:
    answer = client.signed("/events", raw)
    assert answer.status_code == status, answer.text
    if status != 200:
        assert answer.json()["error"]
    assert rows_of(store, t.events) == []


@on_one_database
def test_who_cannot_sign_is_stopped_and_nobody_else(store: Store, tmp_path: Path) -> None:
    time = [0.0]
    people(store, "ada")
    gave(store)
    app = app_for(store, tmp_path, clock=lambda: time[0])
    stranger, neighbour, other = (Client(app, ip) for ip in ("192.0.2.1", "192.0.2.200", "198.51.100.1"))
    codes = [stranger("POST", "/events", content=b"{}").status_code for _ in range(31)]
    assert codes == [401] * 30 + [429]
    assert neighbour("POST", "/u/" + "a" * 52).status_code == 429  # one network
    assert neighbour("POST", "/u/" + "a" * 52).headers["retry-after"] == "60"
    assert other("POST", "/events", content=b"{}").status_code == 401
    assert neighbour.signed("/events", {"contact": "ada", "event": "signup"}).status_code == 200
    assert neighbour("POST", links_of(a_message(store))["unsubscribe"], data=ONE_CLICK).status_code == 200
    assert not stands(store)
    time[0] = 60.0
    assert stranger("POST", "/events", content=b"{}").status_code == 401


@on_one_database
def test_the_secret_of_webhooks_is_checked_at_the_start(store: Store, tmp_path: Path) -> None:
    settings = settings_for(tmp_path)
    (tmp_path / "webhook.secret").write_text("hunter2")
    with pytest.raises(DataError, match="none for webhooks") as problem:
        application(store, settings)
    assert "hunter2" not in str(problem.value)
    client = Client(app_for(store, tmp_path, webhook_secret=None))
    answer = client.signed("/events", [])
    assert (answer.status_code, "webhook_secret" in answer.json()["error"]) == (404, True)
    assert SECRET not in answer.text


# Bounces and complaints


def bounce(key: bytes, status: str = "5.1.1", action: str = "failed") -> bytes:
    to = return_path(key, KEYS, "bounces.shop.example")
    return f"""\
From: MAILER-DAEMON@mx.example
To: {to}
Subject: Undelivered
MIME-Version: 1.0
Content-Type: multipart/report; report-type=delivery-status; boundary="AAA"

--AAA
Content-Type: text/plain

It did not arrive.
--AAA
Content-Type: message/delivery-status

Reporting-MTA: dns; mx.example

Final-Recipient: rfc822; ada@rcpt.test
Action: {action}
Status: {status}
--AAA--
""".encode()


def complaint(key: bytes) -> bytes:
    to = return_path(key, KEYS, "bounces.shop.example")
    return f"""\
From: fbl@mx.example
To: {to}
MIME-Version: 1.0
Content-Type: multipart/report; report-type=feedback-report; boundary="AAA"

--AAA
Content-Type: text/plain

Somebody complained.
--AAA
Content-Type: message/feedback-report

Feedback-Type: abuse
User-Agent: Some/1
Version: 1
--AAA--
""".encode()


def test_bounces_and_complaints_stop_everything(store: Store, client: Client) -> None:
    people(store, "ada")
    gave(store)
    key = a_message(store)
    soft = client.signed("/bounces", bounce(key, "4.2.2"), "b1")
    assert (soft.status_code, soft.json()["kind"]) == (200, "bounced")
    assert rows_of(store, t.suppressions) == []
    hard = client.signed("/bounces", bounce(key), "b2")
    assert (hard.json()["taken"], hard.json()["repeated"]) == (True, False)
    assert client.signed("/bounces", bounce(key), "b3").json()["repeated"]
    assert client.signed("/bounces", bounce(key, "4.2.2"), "b4").json()["repeated"]
    assert client.signed("/bounces", complaint(key), "b5").json()["kind"] == "complained"
    about = {"message": "hello_mail", "journey": "welcome", "entry": 1, "node": "hello", "visit": 1}
    assert events_of(store, "ada", "bounced", "complained") == [
        ("bounced", about | {"bounce_type": "soft", "status": "4.2.2"}),
        ("bounced", about | {"bounce_type": "hard", "status": "5.1.1"}),
        ("complained", about),
    ]
    (row,) = rows_of(store, t.suppressions)
    assert row.address_digest == KEYS.address_digest("ada@rcpt.test")
    assert (row.reason, row.message_key) == ("bounced", key.hex())
    told = [one.body for one in rows_of(store, t.outbox) if one.body["type"] == "contact.suppressed"]
    assert [one["data"]["reason"] for one in told] == ["bounced", "complained"]
    assert "rcpt.test" not in str(told)


@on_one_database
@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        (bounce(bytes(16)), "a message that this sender does not have"),
        (b"From: a@b.example\nSubject: Hi\n\nHello", "no report"),
        (b"", "empty"),
        (bounce(bytes(16), action="delayed", status="4.4.1"), "goes on trying"),
    ],
)
def test_what_is_of_no_message_is_counted_and_left(store: Store, client: Client, raw: bytes, reason: str) -> None:
    answer = client.signed("/bounces", raw)
    assert (answer.status_code, answer.json()["taken"]) == (202, False)
    assert reason in answer.json()["reason"]
    (left,) = rows_of(store, t.audit)
    assert (left.action, left.actor) == ("report_left", "reports")
    assert rows_of(store, t.alerts) == []


def test_a_mail_that_unsubscribes_is_taken(store: Store, client: Client) -> None:
    people(store, "ada")
    gave(store)
    token = links_of(a_message(store))["unsubscribe"].removeprefix("/u/")
    other = client.signed("/unsubscriptions", b"Subject: Hello\n\n", "u1")
    assert (other.status_code, other.json()["taken"], stands(store)) == (202, False, True)
    answer = client.signed("/unsubscriptions", f"Subject: {token}\n\n".encode(), "u2")
    assert (answer.status_code, answer.json()) == (200, {"taken": True, "repeated": False})
    assert not stands(store)


def test_a_report_by_message_id_alone_must_name_the_address(store: Store, client: Client) -> None:
    people(store, "ada")
    key = a_message(store)
    import base64

    message_id = base64.b32encode(key).decode().rstrip("=").lower()
    forged = bounce(key).replace(return_path(key, KEYS, "bounces.shop.example").encode(), b"bounces@shop.example")
    forged = forged.replace(b"Subject:", b"References: <" + message_id.encode() + b"@shop.example>\nSubject:")
    other = client.signed("/bounces", forged.replace(b"ada@rcpt.test", b"eve@rcpt.test"), "b1")
    assert (other.status_code, events_of(store, "ada", "bounced")) == (202, [])
    assert client.signed("/bounces", forged, "b2").status_code == 200
    assert len(events_of(store, "ada", "bounced")) == 1


# Faults


@on_one_database
def test_while_the_database_is_away_nothing_is_confirmed(store: Store, tmp_path: Path) -> None:
    from dataclasses import replace

    from sqlalchemy import create_engine

    people(store, "ada")
    links = links_of(a_message(store))
    nowhere = create_engine(f"sqlite:///{tmp_path / 'no' / 'such.db'}")
    client = Client(app_for(replace(store, engine=nowhere).with_keys(KEYS), tmp_path))
    answer = client("POST", links["unsubscribe"], data=ONE_CLICK)
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "60")
    assert "Nothing was changed" in answer.text
    assert client.signed("/events", {"contact": "ada", "event": "signup"}).status_code == 503
    health = client("GET", "/health")
    assert (health.status_code, health.json()["is_well"]) == (503, False)
    nowhere.dispose()


def test_health_says_that_the_database_answers(store: Store, client: Client) -> None:
    answer = client("GET", "/health")
    assert (answer.status_code, answer.json()) == (200, {"is_well": True, "database": "reachable and durable"})


@on_one_database
def test_a_fault_of_the_program_shows_nothing_of_itself(store: Store, tmp_path: Path) -> None:
    def broken(_: Any) -> datetime:
        raise RuntimeError("inside")

    from dataclasses import replace

    client = Client(app_for(replace(store, clock=broken), tmp_path))
    answer = client.signed("/events", {"contact": "ada", "event": "signup"})
    assert answer.status_code == 500
    assert "inside" not in answer.text
    assert answer.headers["content-security-policy"]


def test_a_real_server_answers_the_same(store: Store, tmp_path: Path) -> None:
    people(store, "ada")
    gave(store)
    links = links_of(a_message(store))
    raw = json.dumps({"contact": "ada", "event": "signup"}).encode()
    with served(app_for(store, tmp_path)) as url:
        assert httpx.head(url + links["unsubscribe"]).content == b""
        assert httpx.get(url + links["offer"]).headers["location"] == LINKS["offer"]
        assert httpx.get(url + links["offer"].replace("/c/", "/%63/")).status_code == 404
        assert httpx.post(url + "/events", content=raw, headers=signature(raw)).json()["n_new"] == 1
        answer = httpx.post(url + links["unsubscribe"], data=ONE_CLICK)
        assert (answer.status_code, answer.history) == (200, [])
    assert not stands(store)
