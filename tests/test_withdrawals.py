"""Withdrawals: nothing of the purpose leaves afterwards, the rest goes on, and what is on its way is named."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from journeylab.sender.consent.evidence import evidence_of
from journeylab.sender.consent.mailed import mailto, take_unsubscription
from journeylab.sender.consent.requests import give
from journeylab.sender.consent.standing import state_of
from journeylab.sender.consent.withdrawals import OnItsWay, Receipt, withdraw
from journeylab.sender.live.intake import Incoming, receive
from journeylab.sender.store import Store
from journeylab.sender.store import tables as t
from stores import KEYS, a_send, events_of, people, rows_of


def withdrawn(store: Store, contact: str = "ada", purpose: str | None = "marketing", route: str = "page") -> Receipt:
    with store.writing() as connection:
        return withdraw(connection, contact, purpose, route, evidence_of("192.0.2.1"), store.now(connection))


def gave(store: Store, contact: str = "ada", purpose: str = "marketing") -> None:
    with store.writing() as connection:
        give(connection, contact, purpose, "Yes", "en", "page", {}, store.now(connection))


def states(store: Store) -> dict[str, str]:
    return {row.node: row.state for row in rows_of(store, t.sends)}


def test_what_waits_is_cancelled_and_what_has_left_is_named(store: Store) -> None:
    people(store, "ada", "bob")
    gave(store)
    of_purpose = ("planned", "ready", "claimed", "transmitting", "ambiguous", "accepted", "rejected", "suppressed")
    keys = {state: a_send(store, "ada", f"n_{state}", state=state) for state in of_purpose}
    a_send(store, "ada", "receipt", purpose="orders", transactional=True)
    a_send(store, "bob", "other")
    store.clock.move(seconds=1)
    receipt = withdrawn(store)

    assert {*receipt.cancelled} == {keys["planned"], keys["ready"], keys["claimed"]}
    gated = {row.message_key: row.gated_at for row in rows_of(store, t.sends)}
    assert receipt.on_its_way == tuple(
        OnItsWay(keys[state], f"n_{state}_mail", state, gated[keys[state]]) for state in ("transmitting", "ambiguous")
    )
    assert all(one.gated_at < receipt.at for one in receipt.on_its_way)
    assert states(store) == {
        "n_planned": "cancelled", "n_ready": "cancelled", "n_claimed": "cancelled", "n_transmitting": "transmitting",
        "n_ambiguous": "ambiguous", "n_accepted": "accepted", "n_rejected": "rejected", "n_suppressed": "suppressed",
        "receipt": "ready", "other": "ready",
    }  # fmt: skip
    cancelled = rows_of(store, t.sends, state="cancelled")
    assert {(row.reason, row.settled_at) for row in cancelled} == {("consent", receipt.at)}
    assert events_of(store, "ada", "consent_withdrawn") == [("consent_withdrawn", {"purpose": "marketing"})]
    (contact,) = rows_of(store, t.contacts, contact="ada")
    assert contact.next_at == contact.last_at == receipt.at


def test_the_crm_is_told_once_under_one_id(store: Store) -> None:
    people(store, "ada")
    receipt = withdrawn(store, route="one_click")
    store.clock.move(hours=1)
    again = withdrawn(store)
    assert again == Receipt("ada", "marketing", receipt.at, is_repeated=True, webhook_id=receipt.webhook_id)
    (told,) = rows_of(store, t.outbox)
    assert (told.target, told.webhook_id, told.next_attempt_at) == ("crm", receipt.webhook_id, receipt.at)
    assert told.body == {
        "type": "consent.withdrawn",
        "timestamp": receipt.at.isoformat(),
        "data": {"contact": "ada", "purpose": "marketing", "route": "one_click"},
    }
    assert len(events_of(store, "ada", "consent_withdrawn")) == 1
    assert [(row.what, row.route, row.evidence) for row in rows_of(store, t.consents)] == [
        ("withdrawn", "one_click", {"network": "192.0.2.0/24"})
    ]


def test_after_a_new_consent_a_withdrawal_is_a_new_one(store: Store) -> None:
    people(store, "ada")
    first = withdrawn(store)
    gave(store)
    second = withdrawn(store)
    assert not second.is_repeated
    assert second.at > first.at
    assert second.webhook_id != first.webhook_id
    assert [row.body["type"] for row in rows_of(store, t.outbox)] == [
        "consent.withdrawn", "consent.given", "consent.withdrawn",
    ]  # fmt: skip


def test_a_repeated_withdrawal_still_takes_back_what_waits(store: Store) -> None:
    people(store, "ada")
    withdrawn(store)
    key = a_send(store, "ada")
    assert withdrawn(store).cancelled == (key,)


def test_a_withdrawal_of_everything_covers_every_purpose(store: Store) -> None:
    people(store, "ada")
    gave(store)
    gave(store, purpose="surveys")
    keys = {a_send(store, "ada"), a_send(store, "ada", "receipt", purpose="orders", transactional=True)}
    receipt = withdrawn(store, purpose=None)
    assert {*receipt.cancelled} == keys
    assert events_of(store, "ada", "consent_withdrawn") == [("consent_withdrawn", {})]
    with store.reading() as connection:
        found = state_of(connection, "ada", ["orders"], ["orders"])
    assert {name: one.what for name, one in found.items()} == {
        "marketing": "withdrawn", "surveys": "withdrawn", "orders": "withdrawn",
    }  # fmt: skip
    again = withdrawn(store)
    assert (again.is_repeated, again.at, again.webhook_id) == (True, receipt.at, receipt.webhook_id)
    assert withdrawn(store, purpose=None).is_repeated
    gave(store, purpose="surveys")
    assert not withdrawn(store, purpose=None).is_repeated


def test_what_another_system_withdrew_is_not_told_back_to_it(store: Store) -> None:
    people(store, "ada")
    with store.writing() as connection:
        receive(connection, [Incoming("ada", "consent_withdrawn")], store.now(connection))
    receipt = withdrawn(store)
    assert (receipt.is_repeated, receipt.webhook_id) == (True, None)
    assert rows_of(store, t.outbox) == []


def test_a_withdrawal_that_is_not_committed_never_was(store: Store) -> None:
    people(store, "ada")
    a_send(store, "ada")

    def failing(_: Any) -> None:
        with store.writing() as connection:
            withdraw(connection, "ada", "marketing", "page", {}, store.now(connection))
            raise RuntimeError("the process ends here")

    with pytest.raises(RuntimeError):
        failing(None)
    assert states(store) == {"hello": "ready"}
    assert [*rows_of(store, t.consents), *rows_of(store, t.outbox)] == []
    assert events_of(store, "ada", "consent_withdrawn") == []


def test_withdrawals_at_once_are_one(store: Store) -> None:
    people(store, "ada")
    a_send(store, "ada")
    with ThreadPoolExecutor(8) as pool:
        receipts = [*pool.map(lambda _: withdrawn(store), range(8))]
    assert sorted(one.is_repeated for one in receipts) == [False] + [True] * 7
    assert len({(one.at, one.webhook_id) for one in receipts}) == 1
    assert sum(len(one.cancelled) for one in receipts) == 1
    assert len(rows_of(store, t.outbox)) == 1


def test_the_message_whose_link_was_used_is_unsubscribed_from(store: Store) -> None:
    people(store, "ada")
    gave(store)
    gave(store, purpose="surveys")
    key = a_send(store, "ada", state="accepted")
    for purpose in ("surveys", "marketing", "marketing"):
        with store.writing() as connection:
            withdraw(connection, "ada", purpose, "page", {}, store.now(connection), message_key=key)
    about = {"message": "hello_mail", "journey": "welcome", "entry": 1, "node": "hello", "visit": 1}
    assert events_of(store, "ada", "unsubscribed", "consent_withdrawn") == [
        ("consent_withdrawn", {"purpose": "surveys"}),
        ("unsubscribed", about),
        ("consent_withdrawn", {"purpose": "marketing"}),
    ]


TOKEN = KEYS.token("unsubscribe", bytes.fromhex(KEYS.message_key("welcome", "ada", 1, "hello", 1)))


@pytest.mark.parametrize(
    ("mail", "is_taken"),
    [
        (f"From: ada@rcpt.test\nSubject: {TOKEN}\n\n", True),
        (f"From: ada@rcpt.test\nSubject: {TOKEN[:30]}\n {TOKEN[30:].upper()}\n\nPlease", True),
        (f"From: ada@rcpt.test\nAuto-Submitted: no\nSubject: {TOKEN}\n\n", True),
        (f"From: ada@rcpt.test\nSubject: Re: Hello\n\n> https://mail.shop.example/u/{TOKEN}", False),
        (f"From: ada@rcpt.test\nAuto-Submitted: auto-replied\nSubject: {TOKEN}\n\n", False),
        (f"From: ada@rcpt.test\nSubject: {TOKEN[::-1]}\n\n", False),
        (f"From: ada@rcpt.test\nSubject: {KEYS.token('unsubscribe', bytes(16))}\n\n", False),
        ("\x00\n\xff", False),
        ("", False),
    ],
)
@pytest.mark.parametrize("store", ["sqlite"], indirect=True)
def test_a_mail_unsubscribes_by_its_subject_alone(store: Store, mail: str, is_taken: bool) -> None:
    people(store, "ada")
    gave(store)
    key = a_send(store, "ada", state="accepted")
    assert mailto("u@shop.example", KEYS, bytes.fromhex(key)) == f"u@shop.example?subject={TOKEN}"
    with store.writing() as connection:
        receipt = take_unsubscription(connection, mail.encode(), store.now(connection))
    assert (receipt is not None) == is_taken
    with store.reading() as connection:
        assert state_of(connection, "ada")["marketing"].stands != is_taken
