"""A whole run with a CRM: who comes from it, is written to, and leaves; and consent that is pulled, in its races."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from journeylab.journey import Journey
from journeylab.program import Release
from journeylab.sender.consent.evidence import evidence_of
from journeylab.sender.consent.pulled import is_news
from journeylab.sender.consent.requests import give
from journeylab.sender.consent.standing import state_of
from journeylab.sender.consent.withdrawals import withdraw
from journeylab.sender.keys import key_ring
from journeylab.sender.live.intake import Incoming, declare, receive
from journeylab.sender.live.pulls import Puller
from journeylab.sender.process import Sender
from journeylab.sender.promotion.promoting import promote
from journeylab.sender.sending.outbox import deliver
from journeylab.sender.sending.timeline import Timeline
from journeylab.sender.sending.transport import Outcome
from journeylab.sender.store import Store
from journeylab.sender.store import tables as t
from liverun import SETTINGS as SHOP
from liverun import LiveRun, StillClock
from outside import settings
from promotable import write_key, write_messages
from servers.smtp import SmtpOracle
from stores import KEYS, START, MovedClock, events_of, people, rows_of
from vendors.hubspot import TOKEN, HubSpot
from webclient import settings_for

ADDRESS = "ada@rcpt.test"
CONNECTOR: dict[str, Any] = {
    "kind": "hubspot",
    "token": "env:HUBSPOT",
    "contact": "customer_id",
    "attributes": {"plan": "plan"},
    "subscriptions": {"marketing": 71},
    "events": {"pe1_signup": "signup"},
    "timeline": dict.fromkeys(["message.sent", "journey.entered", "journey.left"], "pe1_journey"),
    "at_most": "1000/s",
    "pull": {"contacts": {"every": "1s"}, "consent": {"every": "1s"}, "events": {"every": "1s"}},
    "push": ["consent", "timeline"],
}


def _portal() -> HubSpot:
    portal = HubSpot()
    portal.now = datetime.now(UTC) - timedelta(minutes=1)
    portal.unique.add("customer_id")
    portal.subscriptions = {71: "News"}
    properties = {"journeylab_id", "journey", "version", "message", "exit"}
    portal.event_types = {"pe1_signup": set(), "pe1_journey": properties}
    return portal


@pytest.fixture
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Store, Any, HubSpot, SmtpOracle]]:
    monkeypatch.setenv("HUBSPOT", TOKEN)
    write_messages(tmp_path / "messages", "welcome_1")
    write_key(tmp_path / "dkim.pem")
    with _portal() as portal, SmtpOracle(tmp_path / "ledger", keep=True) as relay:
        made = settings_for(
            tmp_path, relays=[{"host": relay.host, "port": relay.port, "tls": "none"}],
            dkim={"domain": "shop.example", "selector": "s1", "key": "dkim.pem"}, unsubscribe="leave@shop.example",
            store=f"sqlite:///{tmp_path}/sender.db", postal_address="ul. Prosta 1, 00-001 Warszawa",
            connectors={"hubspot": {**CONNECTOR, "url": portal.url}},
        )  # fmt: skip
        store = Store.open(made.store, key_ring(made, create=True), create=True)
        with store.writing() as connection:
            declare(connection, "contact", {"plan": "text"})
        yield store, made, portal, relay
        store.close()


def test_who_comes_from_hubspot_is_written_to_and_opts_out_there_once(
    shop: tuple[Store, Any, HubSpot, SmtpOracle],
) -> None:
    store, made, portal, relay = shop
    nodes = {
        "hello": {"send": "welcome_1", "next": "rest"},
        "rest": {"wait": "7d", "next": "end"},
        "end": {"exit": "done"},
    }
    journey = {"journey": "letters", "trigger": {"event": "signup"}, "purpose": "marketing", "nodes": nodes}
    promote(Journey.model_validate(journey), settings=made, without_forecast="only the CRM is looked at")

    record = portal.put(customer_id="ada", email=ADDRESS, plan="trial")
    portal.subscribe(ADDRESS, 71, "SUBSCRIBED")
    at = portal.now.isoformat()
    portal.events.append({"eventName": "pe1_signup", "objectId": record, "occurredAt": at, "properties": {}})
    pull, run = _pulling(store, made), _running(store, made)
    portal.fail("cut", None, "half", "busy")
    for _ in range(4):
        pull()
    run()
    assert len(relay.records()) == 1
    assert [event for event, _ in events_of(store, "ada")].count("consent_given") == 1
    told = [one["properties"] for one in portal.events if one["eventName"] == "pe1_journey"]
    assert [(one["journey"], one.get("message")) for one in told] == [("letters", None), ("letters", "welcome_1")]

    with store.writing() as connection:
        (send,) = connection.execute(t.sends.select()).all()
        now = store.now(connection)
        receipt = withdraw(
            connection, "ada", "marketing", "one_click", evidence_of(), now, message_key=send.message_key
        )
    assert receipt.webhook_id is not None
    portal.fail("cut", None, "cut")
    written = portal.n_written
    for _ in range(4):
        run()
        with store.writing() as connection:  # what failed need not wait in a test
            waiting = t.outbox.c.delivered_at.is_(None) & t.outbox.c.next_attempt_at.is_not(None)
            connection.execute(t.outbox.update().where(waiting).values(next_attempt_at=store.now(connection)))
    assert portal.state(ADDRESS, 71) == "UNSUBSCRIBED"
    told = [one["properties"] for one in portal.events if one["eventName"] == "pe1_journey"]
    assert [one.get("exit") for one in told[2:]] == ["consent_withdrawn"]
    assert portal.n_written == written + 2  # the opt-out and the end of the journey, each once

    for _ in range(2):
        pull()
    run()
    assert len([event for event, _ in events_of(store, "ada", "consent_withdrawn")]) == 1
    assert all(row.delivered_at is not None for row in rows_of(store, t.outbox, target="connectors/hubspot"))
    assert portal.n_written == written + 2
    assert len(relay.records()) == 1


def _pulling(store: Store, made: Any) -> Any:
    def pull() -> None:
        puller = Puller(store, made, "worker")
        with store.writing() as connection:  # nor what is pulled, nor what waits after a fault
            connection.execute(t.pulls.update().values(next_at=store.now(connection)))
        puller.pull_due()

    return pull


def _running(store: Store, made: Any) -> Any:
    def run() -> None:
        with Sender(store, made, "worker") as sender:
            sender.run_once()

    return run


def test_the_settings_of_the_guide_are_settings() -> None:
    text = (Path(__file__).parents[1] / "docs" / "crm.md").read_text()
    found = [yaml for yaml in re.findall(r"```yaml\n(.*?)```", text, re.DOTALL) if yaml.startswith("connectors:")]
    names = [name for yaml in found for name in settings(**YAML(typ="safe").load(yaml)).connectors]
    assert names == ["hubspot", "salesforce", "cdp"]


# Consent that is pulled

CRM = settings(connectors={"crm": {**CONNECTOR, "url": "https://api.hubapi.com"}})
HOUR = timedelta(hours=1)


def _says(store: Store, event: str, at: datetime, as_of: datetime | None = None, purpose: str = "marketing") -> bool:
    """Whether what a CRM says of consent is taken, and then it is."""
    one = Incoming("ada", event, at, {"purpose": purpose}, f"crm/{event}/{at}")
    with store.writing() as connection:
        now = store.now(connection)
        (taken,) = is_news(connection, [one], "crm", as_of or now, now)
        if taken:
            receive(connection, [one], now)
    return taken


def _decides(store: Store, event: str, purpose: str = "marketing") -> datetime:
    """The contact gives or withdraws consent here."""
    with store.writing() as connection:
        now = store.now(connection)
        if event == "consent_given":
            return give(connection, "ada", purpose, "Yes.", "en", "form", evidence_of(), now).at
        return withdraw(connection, "ada", purpose, "page", evidence_of(), now).at


def _stands(store: Store) -> bool:
    with store.reading() as connection:
        return state_of(connection, "ada", ["marketing"])["marketing"].stands


def _tell_all(store: Store) -> None:
    with store.writing() as connection:
        at = store.now(connection)
        connection.execute(t.outbox.update().values(delivered_at=at, spread_at=at, target="connectors/crm"))


def test_a_crm_says_the_first_and_each_later_word(store: Store) -> None:
    people(store, "ada")
    assert _says(store, "consent_given", START - HOUR)
    assert not _says(store, "consent_given", START)  # it is so already
    assert not _says(store, "consent_withdrawn", START - 2 * HOUR)  # before it was given
    assert _stands(store)
    assert _says(store, "consent_withdrawn", START)
    assert not _says(store, "consent_given", START)  # of two at one instant the withdrawal counts
    assert not _stands(store)
    assert _says(store, "consent_given", START + HOUR)
    assert _says(store, "consent_withdrawn", START, purpose="tips")


def test_what_was_true_before_a_withdrawal_here_does_not_come_back(store: Store) -> None:
    people(store, "ada")
    _decides(store, "consent_given")
    _decides(store, "consent_withdrawn")
    _tell_all(store)
    assert not _says(store, "consent_given", START - HOUR)
    assert not _stands(store)


def test_a_consent_that_is_an_echo_does_not_come_back_while_the_withdrawal_is_on_its_way(store: Store) -> None:
    people(store, "ada")
    _decides(store, "consent_given")
    withdrawn_at = _decides(store, "consent_withdrawn")
    # The CRM was told of the consent late, so that its own instant of it is after the withdrawal.
    echo = withdrawn_at + timedelta(minutes=1)
    assert not _says(store, "consent_given", echo)
    asked_at = withdrawn_at + timedelta(microseconds=1)
    _tell_all(store)
    assert not _says(store, "consent_given", echo, as_of=asked_at)  # asked before it was told
    assert not _stands(store)
    assert _says(store, "consent_given", echo + HOUR)  # given there, after all
    assert _stands(store)


def test_a_withdrawal_is_taken_though_something_is_on_its_way(store: Store) -> None:
    people(store, "ada")
    given_at = _decides(store, "consent_given")
    assert not _says(store, "consent_withdrawn", given_at - HOUR)
    assert _says(store, "consent_withdrawn", given_at + HOUR)
    assert not _stands(store)


def test_what_is_pulled_is_told_to_nobody(store: Store) -> None:
    people(store, "ada")
    assert _says(store, "consent_given", START)
    assert not rows_of(store, t.outbox)


def test_other_events_and_unknown_contacts_are_news(store: Store) -> None:
    several = [
        Incoming("nobody", "consent_given", START, {"purpose": "marketing"}, "1"),
        Incoming("nobody", "consent_given", START + HOUR, {"purpose": "marketing"}, "2"),
        Incoming("ada", "signup", START, {}, "3"),
    ]
    with store.writing() as connection:
        assert is_news(connection, several, "crm", START, START) == [True, False, True]


def test_a_timeline_is_written_for_those_alone_who_ask(store: Store) -> None:
    assert isinstance(store.clock, MovedClock)
    quiet = settings(connectors={"crm": {**CONNECTOR, "url": "https://api.hubapi.com", "push": ["consent"]}})
    assert not Timeline.of(quiet).targets
    asking = Timeline.of(CRM)
    assert [*asking.targets["journey.entered"]] == ["connectors/crm"]
    with store.writing() as connection:
        now = store.now(connection)
        for timeline in (Timeline.of(quiet), asking, asking):
            timeline.tell(connection, "journey.entered", "k", {"contact": "ada", "journey": "letters"}, now)
    (row,) = rows_of(store, t.outbox)
    assert (row.target, row.about, row.webhook_id) == ("connectors/crm", "contact/ada", "journey.entered_k")
    staging = CRM.model_copy(update={"staging": {"domains": ["shop.example"]}})
    assert deliver(store, staging, now).n_delivered == 1


def test_what_becomes_of_entries_and_messages_is_told_but_of_those_held_out(tmp_path: Path) -> None:
    journey = Journey.model_validate(
        {
            "journey": "letters", "trigger": {"event": "signup"}, "holdout": "40%",
            "exit_when": [{"event": "purchase", "goal": True}],
            "nodes": {"hello": {"send": "welcome_1", "next": "rest"}, "rest": {"wait": "2d", "next": "end"},
                      "end": {"exit": "done"}},
        }
    )  # fmt: skip
    store = Store.open(f"sqlite:///{tmp_path}/live.db", KEYS, create=True, clock=StillClock(START))
    bounce = Outcome("rejected", "rcpt", 550, enhanced="5.1.1", text="no such user")
    run = LiveRun(
        store, [Release(journey=journey)], settings=SHOP.model_copy(update={"connectors": CRM.connectors}),
        relay=lambda row: bounce if row.contact == "c3" else Outcome("accepted", "dot", 250, text="ok"),
        timeline=Timeline.of(CRM), basis=["marketing"],
    )  # fmt: skip
    contacts = [f"c{n}" for n in range(12)]
    run.people({"contact": one} for one in contacts)
    events = [{"contact": one, "event": "signup", "occurred_at": START} for one in contacts]
    events.append({"contact": "c3", "event": "purchase", "occurred_at": START + timedelta(days=1)})
    run.run(events, START + timedelta(days=3))
    entries = rows_of(store, t.entries)
    held_out = {row.contact for row in entries if row.held_out}
    assert 0 < len(held_out) < len(contacts)
    told = [(row.body["type"], row.body["data"]) for row in rows_of(store, t.outbox, target="connectors/crm")]
    assert not held_out & {data["contact"] for _, data in told}
    kinds = Counter(kind for kind, _ in told if kind != "contact.suppressed")
    n = len(contacts) - len(held_out)
    assert kinds == {
        "journey.entered": n,
        "journey.left": n,
        "message.sent": n - 1,
        "message.bounced": 1,
        "journey.converted": 1,
    }
    (returned,) = (data for kind, data in told if kind == "message.bounced")
    assert returned == {
        "contact": "c3", "journey": "letters", "message": "welcome_1", "bounce_type": "hard", "status": "5.1.1"
    }  # fmt: skip
    assert {data["exit"] for kind, data in told if kind == "journey.left"} == {"done", "goal:purchase"}
    store.close()
