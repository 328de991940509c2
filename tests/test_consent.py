"""Consent: asked for once, given once, with a proof that shows what was shown (GDPR Art. 7(1))."""

from __future__ import annotations

import itertools
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from hashlib import sha256
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as some

from journeylab.errors import DataError
from journeylab.journey import Journey
from journeylab.program import Release
from journeylab.sender.consent.evidence import evidence_of
from journeylab.sender.consent.proofs import proofs_of
from journeylab.sender.consent.requests import Confirmed, Request, ask, confirm, give, request_of
from journeylab.sender.consent.standing import ConsentEvent, State, folded, state_of
from journeylab.sender.consent.withdrawals import withdraw
from journeylab.sender.live.intake import Incoming, receive
from journeylab.sender.live.running import Running, Version
from journeylab.sender.live.ticks import tick
from journeylab.sender.store import Store
from journeylab.sender.store import tables as t
from stores import START, a_send, events_of, people, rows_of

WORDING = "Tak, chcę dostawać nowości."


def asked(store: Store, contact: str = "ada", purpose: str = "marketing", **more: Any) -> Request:
    with store.writing() as connection:
        evidence = evidence_of("192.0.2.77", "Mozilla/5.0 " + "x" * 500)
        now = store.now(connection)
        return ask(connection, contact, purpose, WORDING, "pl", "footer form", evidence, now, **more)


def confirmed(store: Store, request_key: bytes) -> Confirmed:
    with store.writing() as connection:
        return confirm(connection, request_key, evidence_of("2001:db8::9", "Firefox"), store.now(connection))


def state(store: Store, contact: str = "ada", purpose: str = "marketing", **more: Any) -> State:
    with store.reading() as connection:
        return state_of(connection, contact, [purpose], **more)[purpose]


def withdrawn(store: Store, contact: str = "ada", purpose: str | None = "marketing") -> Any:
    with store.writing() as connection:
        return withdraw(connection, contact, purpose, "page", evidence_of(), store.now(connection))


def test_a_request_plans_the_message_that_asks_and_gives_nothing(store: Store) -> None:
    people(store, "ada")
    request = asked(store, message="please_confirm")
    assert request.is_new
    assert request.expires_at - request.asked_at == timedelta(days=7)
    (send,) = rows_of(store, t.sends)
    assert (send.message_key, send.journey, send.node, send.visit) == (request.message_key, "(consent)", "confirm", 1)
    assert (send.state, send.message, send.transactional, send.release_id) == ("ready", "please_confirm", True, None)
    assert send.not_after == request.expires_at
    assert state(store).what == "missing"
    assert events_of(store, "ada", "consent_given") == []
    with store.reading() as connection:
        found = request_of(connection, request.request_key)
    assert found == Request(
        request.request_key, "ada", "marketing", WORDING, "pl", request.asked_at, request.expires_at
    )


def test_what_happens_to_a_contact_meanwhile_leaves_the_message_that_asks(store: Store) -> None:
    people(store, "ada")
    asked(store)
    nodes = {"done": {"exit": "finished"}}
    journey = Journey.model_validate({"journey": "welcome", "trigger": {"event": "signup"}, "nodes": nodes})
    running = Running((Version(1, (Release(journey=journey),)),))
    with store.writing() as connection:
        receive(connection, [Incoming("ada", "visit")], store.now(connection))
    assert tick(store, lambda _: running).n_contacts == 1
    (send,) = rows_of(store, t.sends)
    assert send.state == "ready"


def test_a_confirmation_gives_consent_once_with_its_proof(store: Store) -> None:
    people(store, "ada")
    request = asked(store)
    store.clock.move(hours=3)
    first = confirmed(store, request.request_key)
    assert first.outcome == "given"
    assert first.at is not None
    assert first.at >= START + timedelta(hours=3)
    assert state(store) == State("marketing", "given", first.at)
    store.clock.move(hours=1)
    again = confirmed(store, request.request_key)
    assert (again.outcome, again.at) == ("repeated", first.at)
    assert events_of(store, "ada", "consent_given") == [("consent_given", {"purpose": "marketing"})]
    (contact,) = rows_of(store, t.contacts)
    assert contact.next_at == contact.last_at == first.at  # due

    with store.reading() as connection:
        requested, proof = proofs_of(connection, "ada")
    assert requested["evidence"] == {"network": "192.0.2.0/24", "agent": ("Mozilla/5.0 " + "x" * 500)[:200]}
    assert (requested["what"], requested["route"]) == ("requested", "footer form")
    assert proof["what"] == "given"
    assert proof["at"] == first.at.isoformat()
    assert (proof["text"], proof["language"], proof["purpose"]) == (WORDING, "pl", "marketing")
    assert proof["wording"] == sha256(f"pl\n{WORDING}".encode()).hexdigest()
    assert proof["evidence"] == {"network": "2001:db8::/48", "agent": "Firefox"}
    assert proof["message_key"] == requested["message_key"] == request.message_key
    assert proof["message_state"] == "ready"

    (told,) = rows_of(store, t.outbox)
    assert (told.target, told.body["type"]) == ("crm", "consent.given")
    assert told.body["data"] == {"contact": "ada", "purpose": "marketing", "route": "confirmation"}


def test_a_request_that_expired_gives_nothing(store: Store) -> None:
    people(store, "ada")
    request = asked(store)
    store.clock.at = request.expires_at
    assert confirmed(store, request.request_key).outcome == "expired"
    assert not state(store).stands
    assert confirmed(store, bytes(16)) == Confirmed("unknown")


def test_a_request_can_be_confirmed_up_to_its_last_instant(store: Store) -> None:
    people(store, "ada")
    request = asked(store)
    store.clock.at = request.expires_at - store.clock.step
    assert confirmed(store, request.request_key).outcome == "given"


def test_a_withdrawal_makes_void_what_was_asked_before_it(store: Store) -> None:
    people(store, "ada")
    request = asked(store)
    receipt = withdrawn(store)
    assert receipt.cancelled == (request.message_key,)
    assert confirmed(store, request.request_key).outcome == "void"
    new = asked(store)
    assert new.is_new
    assert confirmed(store, new.request_key).outcome == "given"
    withdrawn(store)
    assert confirmed(store, new.request_key).outcome == "void"  # a link that was used gives nothing a second time
    assert not state(store).stands


def test_a_form_cannot_fill_a_mailbox(store: Store) -> None:
    people(store, "ada", "bob")
    first = asked(store)
    assert asked(store).request_key == first.request_key
    assert not asked(store).is_new
    assert asked(store, "bob").is_new
    assert asked(store, purpose="surveys").is_new
    assert len(rows_of(store, t.sends)) == 3
    store.clock.move(days=1, seconds=1)
    assert asked(store).is_new


def test_who_confirmed_or_whose_message_failed_is_asked_anew(store: Store) -> None:
    people(store, "ada")
    first = asked(store)
    confirmed(store, first.request_key)
    second = asked(store)
    assert second.is_new
    with store.writing() as connection:
        connection.execute(t.sends.update().values(state="rejected"))
    assert asked(store).is_new


def test_what_cannot_be_asked_says_why(store: Store) -> None:
    with pytest.raises(DataError, match="no contact 'ada'; bring it in first"):
        asked(store)
    with store.writing() as connection:
        receive(connection, [Incoming("ada", "signup")], store.now(connection))
    with pytest.raises(DataError, match="has no address"):
        asked(store)
    people(store, "ada")
    with pytest.raises(DataError, match="is empty"):
        asked(store, purpose=" ")
    with pytest.raises(DataError, match="no contact 'eve'"), store.writing() as connection:
        give(connection, "eve", "marketing", WORDING, "pl", "page", {}, store.now(connection))
    with pytest.raises(DataError, match="no contact 'eve'"):
        withdrawn(store, "eve")


def test_clicks_at_once_give_once(store: Store) -> None:
    people(store, "ada")
    request = asked(store)
    with ThreadPoolExecutor(8) as pool:
        outcomes = sorted(one.outcome for one in pool.map(lambda _: confirmed(store, request.request_key), range(8)))
    assert outcomes == ["given"] + ["repeated"] * 7
    assert len(events_of(store, "ada", "consent_given")) == 1


def test_one_wording_is_kept_once(store: Store) -> None:
    people(store, "ada", "bob")
    asked(store)
    asked(store, "bob")
    assert [row.text for row in rows_of(store, t.wordings)] == [WORDING]


def test_what_another_system_told_is_a_proof_too(store: Store) -> None:
    people(store, "ada")
    with store.writing() as connection:
        told = [Incoming("ada", "consent_given", START, {"purpose": "marketing"}, "crm-1")]
        receive(connection, told, store.now(connection))
    withdrawn(store)
    with store.reading() as connection:
        came, went = proofs_of(connection, "ada")
    assert (came["what"], came["route"]) == ("given", "event")
    assert came["evidence"] == {"source_id": "crm-1", "occurred_at": START.isoformat(), "purpose": "marketing"}
    assert (went["what"], went["route"]) == ("withdrawn", "page")
    assert [one["at"] for one in (came, went)] == sorted(one["at"] for one in (came, went))


def test_a_purpose_with_another_basis_stands_until_it_is_withdrawn(store: Store) -> None:
    people(store, "ada")
    a_send(store, "ada")
    assert state(store, purpose="orders", basis=["orders"]) == State("orders", "assumed")
    withdrawn(store)
    assert state(store, purpose="orders", basis=["orders"]).stands
    everything = withdrawn(store, purpose=None)
    assert state(store, purpose="orders", basis=["orders"]) == State("orders", "withdrawn", everything.at)


moments = some.integers(0, 3).map(lambda n: START + timedelta(hours=n))
consent_event = some.tuples(
    moments, some.sampled_from(["consent_given", "consent_withdrawn", "erased"]), some.sampled_from(["a", "b", None])
)


@given(some.lists(consent_event, max_size=7), some.randoms(use_true_random=False), some.booleans())
def test_the_fold_is_what_the_latest_event_of_each_purpose_says(rows: Any, random: Any, assumed: bool) -> None:
    events = [ConsentEvent(at, number, event, purpose) for number, (at, event, purpose) in enumerate(rows)]
    shuffled = random.sample(events, len(events))
    basis = ["a"] if assumed else []
    got = folded(shuffled, ["a", "b"], basis)
    assert got == folded(events, ["a", "b"], basis)
    for purpose in ("a", "b"):
        mine = [one for one in events if one.purpose in (None, purpose)]
        latest = max(mine, key=lambda one: (one.received_at, one.event_id), default=None)
        stands = latest.event == "consent_given" if latest else purpose in basis
        assert got[purpose].stands == stands
        assert got[purpose].since == (latest.received_at if latest else None)


def test_a_withdrawal_after_anything_ends_it() -> None:
    for before in itertools.product(["consent_given", "consent_withdrawn", "erased"], repeat=3):
        events = [ConsentEvent(START, number, event, "a") for number, event in enumerate(before)]
        assert not folded([*events, ConsentEvent(START, 9, "consent_withdrawn", None)])["a"].stands
