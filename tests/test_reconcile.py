"""Ambiguous messages: evidence or a person settles them, nothing else; on both databases."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from databases import DATABASES
from journeylab.errors import DataError
from journeylab.sender.sending.reconcile import accepted_in_log, reconcile, resolve, take_log
from journeylab.sender.sending.settling import AMBIGUOUS, Settled, alert_ambiguous, settle
from journeylab.sender.sending.transport import Outcome
from journeylab.sender.store import tables as t
from sendworld import MINUTE, START, World, world


@pytest.fixture(scope="module")
def database(postgres_server: Any) -> Iterator[str]:
    name = postgres_server.create()
    yield postgres_server.url(name)
    postgres_server.drop(name)


@pytest.fixture(params=DATABASES)
def one(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[World]:
    url = f"sqlite:///{tmp_path / 'sender.db'}" if request.param == "sqlite" else request.getfixturevalue("database")
    with world(url, tmp_path) as made:
        yield made


def ambiguous(one: World, contact: str = "ada", **columns: Any) -> str:
    given = {"state": "ambiguous", "gated_at": START, "relay": "main", "worker": None, "lease_until": None}
    key = one.claimed(contact, **{**given, **columns}).message_key
    with one.store.writing() as connection:
        alert_ambiguous(connection, 1, START)
    one.clock.pass_by(MINUTE)
    return key


def look(one: World) -> tuple[int, int, int]:
    with one.store.writing() as connection:
        return reconcile(connection, one.store.now(connection))


@pytest.mark.parametrize("event", ["bounced", "complained", "opened", "clicked", "unsubscribed", "delivered"])
def test_what_comes_back_proves_that_it_went(one: World, event: str) -> None:
    key = ambiguous(one)
    one.receive(event, journey="welcome", entry=1, node="hello", visit=1)
    assert look(one) == (1, 0, 0)
    assert one.row(key).state == "accepted"
    (sent,) = one.events("sent")
    assert (sent.occurred_at, sent.properties["node"]) == (START, "hello")
    assert one.alerts() == []


def test_what_comes_back_of_another_message_proves_nothing(one: World) -> None:
    key = ambiguous(one)
    one.receive("opened", journey="welcome", entry=1, node="other", visit=1)
    one.receive("opened", journey="welcome", entry=2, node="hello", visit=1)
    one.receive("purchase", journey="welcome", entry=1, node="hello", visit=1)
    assert look(one) == (0, 0, 1)
    assert one.row(key).state == "ambiguous"
    assert one.alerts() == [AMBIGUOUS]


def test_a_request_for_consent_is_asked_again_a_few_times(one: World) -> None:
    key = ambiguous(one, journey="(consent)", node="confirm")
    assert look(one) == (0, 1, 0)
    row = one.row(key)
    assert (row.state, row.fence, row.attempts, row.gated_at) == ("ready", 2, 1, None)
    assert row.not_before > one.clock.now
    again = ambiguous(one, "bob", journey="(consent)", node="confirm", attempts=3)
    assert look(one) == (0, 0, 1)
    assert one.row(again).state == "ambiguous"


@pytest.mark.parametrize(
    ("how", "state", "event"),
    [("delivered", "accepted", "sent"), ("resend", "ready", None), ("abandon", "failed", "not_sent")],
)
def test_a_person_decides(one: World, how: Any, state: str, event: str | None) -> None:
    key = ambiguous(one)
    resolve(one.store, key, how, "grace")
    assert one.row(key).state == state
    assert [row.event for row in one.events("sent", "not_sent")] == ([] if event is None else [event])
    with one.store.reading() as connection:
        acts = connection.execute(select(t.audit).where(t.audit.c.actor == "grace")).all()
    assert [(row.actor, row.action, row.object, row.details) for row in acts] == [
        ("grace", "resolve", key, {"how": how})
    ]
    assert one.alerts() == []
    with pytest.raises(DataError, match=f"{key} is {state}"):
        resolve(one.store, key, how, "grace")


def test_only_messages_that_there_are_can_be_resolved(one: World) -> None:
    with pytest.raises(DataError, match="there is no message"):
        resolve(one.store, "ff" * 16, "resend", "grace")


def accepted(key: str, fence: int, gated_at: Any) -> Settled:
    return Settled(key, fence, "ada", Outcome("accepted", "dot", 250, None, "Ok", "4F1"), "main", gated_at)


def test_a_late_reply_holds_against_what_was_decided(one: World) -> None:
    key = ambiguous(one)
    resolve(one.store, key, "resend", "grace")
    with one.store.writing() as connection:
        settle(connection, [accepted(key, 1, START)], one.clock.now, one.settings)
    assert (one.row(key).state, one.row(key).gated_at) == ("accepted", START)
    assert one.alerts() == []


def test_a_second_acceptance_is_not_hidden(one: World) -> None:
    key = ambiguous(one)
    later = START + timedelta(hours=1)
    with one.store.writing() as connection:
        settle(connection, [accepted(key, 1, START)], one.clock.now, one.settings)
        settle(connection, [accepted(key, 1, START)], one.clock.now, one.settings)
    assert one.alerts() == [AMBIGUOUS]  # the same reply twice is one
    with one.store.writing() as connection:
        settle(connection, [accepted(key, 2, later), accepted(key, 2, later)], one.clock.now, one.settings)
    assert "sends/duplicate_detected" in one.alerts()
    assert len(one.events("sent")) == 1


def test_what_was_given_up_and_went_after_all_is_told(one: World) -> None:
    key = ambiguous(one)
    resolve(one.store, key, "abandon", "grace")
    with one.store.writing() as connection:
        settle(connection, [accepted(key, 1, START)], one.clock.now, one.settings)
    assert one.row(key).state == "failed"
    assert "sends/accepted_after_all" in one.alerts()


CLEANUP = "Mar  2 09:00:00 mail postfix/cleanup[7]: 4F1: message-id=<{key}@shop.example>"


@pytest.mark.parametrize(
    ("line", "is_taken"),
    [
        ("Mar  2 09:00:00 mail postfix/qmgr[9]: 4F1: from=<x@shop.example>, size=731, nrcpt=1 (queue active)", True),
        (
            "Mar  2 09:00:01 mail postfix/smtp[9]: 4F1: to=<a@b.example>, relay=b[::1]:25, status=sent (ok)",
            True,
        ),
        ("Mar  2 09:00:01 mail postfix/virtual[9]: 4F1: to=<a@b.example>, relay=virtual, status=deferred (no)", True),
        ("Mar  2 09:00:00 mail postfix/qmgr[9]: 4F2: from=<x@shop.example>, size=731, nrcpt=1 (queue active)", False),
        ("Mar  2 09:00:00 mail postfix/smtpd[9]: lost connection after DATA from shop.example[::1]", False),
        ("Mar  2 09:00:00 mail postfix/qmgr[9]: 4F1: removed", False),
    ],
)
def test_only_what_the_log_says_of_the_queue_file_counts(one: World, line: str, is_taken: bool) -> None:
    key = ambiguous(one)
    with one.store.writing() as connection:
        found = take_log(connection, [CLEANUP.format(key=key), line], one.clock.now, "grace")
    assert found == ((1, 0, 0) if is_taken else (0, 0, 1))
    assert (one.row(key).state, one.row(key).queue_id) == (("accepted", "4F1") if is_taken else ("ambiguous", None))


def test_a_number_of_an_earlier_message_is_not_this_one() -> None:
    active = "m postfix/qmgr[9]: 4F1: from=<x@shop.example>, size=731, nrcpt=1 (queue active)"
    aborted = "m postfix/cleanup[7]: 4F1: message-id=<new@shop.example>"
    assert accepted_in_log(["m postfix/cleanup[7]: 4F1: message-id=<old@shop.example>", active, aborted]) == {
        "<old@shop.example>": "4F1"
    }
