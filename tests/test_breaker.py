"""Circuit breakers: when a relay is left alone and tried again, and when a journey's mail comes back too often."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from threading import Barrier
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as some
from sqlalchemy import insert, update

from journeylab.sender.live.intake import Incoming, receive
from journeylab.sender.sending.breaker import FAILURES, RATES, REJECTIONS, Rate, allows, note, watch_rates
from journeylab.sender.settings import Settings
from journeylab.sender.store import Store
from journeylab.sender.store import tables as t
from stores import KEYS, people, rows_of

SETTINGS = Settings.model_validate(
    {
        "sender": "shop",
        "domain": "shop.example",
        "from": {"address": "hello@shop.example"},
        "list_id": "news.shop.example",
        "bounces": "bounces.shop.example",
        "public_url": "https://mail.shop.example",
        "relays": [{"name": "main", "host": "smtp.example"}],
    }
)


def noted(store: Store, *outcomes: str, relay: str = "main") -> None:
    for outcome in outcomes:
        with store.writing() as connection:
            note(connection, relay, outcome, store.now(connection))


def allowed(store: Store, relay: str = "main") -> bool:
    with store.writing() as connection:
        return allows(connection, relay, store.now(connection))


def state(store: Store) -> str:
    return str(rows_of(store, t.relays, relay="main")[0].state)


def causes(store: Store) -> list[str]:
    return [one.cause for one in rows_of(store, t.alerts) if one.resolved_at is None]


def test_a_relay_without_trouble_needs_no_row(store: Store) -> None:
    assert allowed(store)
    noted(store, "accepted", "unused")
    assert rows_of(store, t.relays) == []


@pytest.mark.parametrize("outcome", ["connection", "temporary"])
def test_failures_in_a_row_open_it(store: Store, outcome: str) -> None:
    noted(store, *[outcome] * (FAILURES - 1), "accepted", *[outcome] * (FAILURES - 1))
    assert allowed(store)
    assert causes(store) == []
    noted(store, outcome)
    assert not allowed(store)
    assert causes(store) == ["relay/main"]
    assert allowed(store, "other")


@pytest.mark.parametrize("outcome", ["auth", "tls"])
def test_a_relay_that_does_not_let_us_in_or_cannot_be_trusted_opens_it_at_once(store: Store, outcome: str) -> None:
    noted(store, outcome)
    assert not allowed(store)
    (alert,) = rows_of(store, t.alerts)
    assert alert.severity == "critical"


def test_messages_that_are_all_refused_for_good_open_it_before_all_are_lost(store: Store) -> None:
    noted(store, *["permanent"] * (REJECTIONS - 1))
    assert allowed(store)
    noted(store, "permanent")
    assert not allowed(store)
    store.clock.move(minutes=2)  # type: ignore[attr-defined]
    assert allowed(store)
    noted(store, "permanent")
    assert state(store) == "open"


def test_one_message_is_tried_after_waits_that_double_and_closes_it(store: Store) -> None:
    noted(store, *["connection"] * FAILURES)
    waits = []
    for _ in range(8):
        (row,) = rows_of(store, t.relays)
        with store.writing() as connection:
            waits.append(round((row.try_at - store.now(connection)).total_seconds() / 60))
        store.clock.at = row.try_at  # type: ignore[attr-defined]
        assert allowed(store)
        assert not allowed(store)
        noted(store, "connection")
    assert waits == [1, 2, 4, 8, 16, 30, 30, 30]
    store.clock.move(minutes=31)  # type: ignore[attr-defined]
    assert allowed(store)
    noted(store, "accepted")
    assert allowed(store)
    assert allowed(store)
    assert causes(store) == []
    assert len(rows_of(store, t.alerts)) == 1
    assert [one.body["type"] for one in rows_of(store, t.outbox)] == ["alert.raised", "alert.resolved"]
    assert [(one.actor, one.action) for one in rows_of(store, t.audit)] == [("breaker", "open"), ("breaker", "close")]
    (row,) = rows_of(store, t.relays)
    assert (row.n_failures, row.n_openings, row.opened_at, row.try_at) == (0, 0, None, None)


def test_a_refusal_of_the_tried_message_alone_closes_it(store: Store) -> None:
    noted(store, *["connection"] * FAILURES)
    store.clock.move(minutes=2)  # type: ignore[attr-defined]
    assert allowed(store)
    noted(store, "permanent")
    assert state(store) == "closed"


def test_a_reply_to_what_was_sent_before_it_opened_does_not_close_it(store: Store) -> None:
    noted(store, "auth", "accepted")
    assert state(store) == "open"
    assert not allowed(store)


def test_a_tried_message_that_is_not_sent_after_all_lets_the_next_one_try(store: Store) -> None:
    noted(store, "auth")
    store.clock.move(minutes=2)  # type: ignore[attr-defined]
    assert allowed(store)
    noted(store, "unused")
    assert allowed(store)
    assert not allowed(store)


def test_a_tried_message_of_which_nothing_is_heard_is_followed_by_another(store: Store) -> None:
    noted(store, "auth")
    store.clock.move(minutes=2)  # type: ignore[attr-defined]
    assert allowed(store)
    store.clock.move(minutes=11)  # type: ignore[attr-defined]  # RFC 5321 gives the reply to its end 10 minutes
    assert not allowed(store)
    store.clock.move(minutes=5)  # type: ignore[attr-defined]
    assert allowed(store)


def test_of_many_workers_one_tries(store: Store) -> None:
    noted(store, "auth")
    store.clock.move(minutes=2)  # type: ignore[attr-defined]
    with ThreadPoolExecutor(6) as threads:
        assert sum(threads.map(lambda _: allowed(store), range(6))) == 1


def test_failures_that_race_are_all_counted(store: Store) -> None:
    with ThreadPoolExecutor(4) as threads:
        [*threads.map(lambda _: noted(store, "connection"), range(4))]
    assert rows_of(store, t.relays)[0].n_failures == 4


def test_too_many_messages_without_a_reply_open_it(store: Store) -> None:
    with store.writing() as connection:
        now = store.now(connection)
    sends(store, now, accepted=20, relay="main")
    sends(store, now - timedelta(hours=2), ambiguous=5, relay="main", first=100)
    sends(store, now, ambiguous=5, relay="other", first=200)
    sends(store, now, ambiguous=2, relay="main", first=300)
    noted(store, "ambiguous")
    assert allowed(store)
    sends(store, now, ambiguous=1, relay="main", first=400)
    noted(store, "ambiguous")
    assert not allowed(store)


def sends(
    store: Store, at: datetime, *, journey: str = "welcome", relay: str = "main", first: int = 0, **states: int
) -> list[str]:  # fmt: skip
    """Messages of contacts c0, c1, … that passed the gate at an instant, and ended in states; their keys."""
    rows: list[dict[str, Any]] = []
    for state_, n in states.items():
        for _ in range(n):
            contact = f"c{first + len(rows)}"
            rows.append(
                {
                    "message_key": KEYS.message_key(journey, contact, 1, "hello", 1),
                    "journey": journey,
                    "contact": contact,
                    "entry": 1,
                    "node": "hello",
                    "visit": 1,
                    "message": "hello_mail",
                    "purpose": "marketing",
                    "transactional": False,
                    "state": state_,
                    "planned_at": at,
                    "not_after": at + timedelta(days=2),
                    "gated_at": at,
                    "attempts": 1,
                    "fence": 1,
                    "relay": relay,
                }
            )
    with store.writing() as connection:
        connection.execute(insert(t.sends), rows)
    return [row["message_key"] for row in rows]


def released(store: Store, *journeys: str) -> datetime:
    with store.writing() as connection:
        now = store.now(connection)
        for journey in journeys:
            row = {"journey": journey, "version": "1", "definition": {}, "policy": {}, "messages": {}, "models": {}}
            connection.execute(insert(t.releases), row | {"hash": journey, "created_at": now, "created_by": "ada"})
    return now


def watched(store: Store) -> list[str]:
    with store.reading() as connection:
        now = store.now(connection)
    return watch_rates(store, SETTINGS, now)


def test_a_journey_whose_mail_is_refused_is_paused_once_and_only_by_hand_resumed(store: Store) -> None:
    now = released(store, "welcome", "winback")
    sends(store, now, accepted=90, rejected=12)
    sends(store, now, accepted=200, rejected=5, journey="winback", first=1000)
    assert watched(store) == ["welcome"]
    assert watched(store) == []
    (pause,) = rows_of(store, t.pauses)
    assert (pause.journey, pause.started_by, pause.ended_at) == ("welcome", "breaker", None)
    assert pause.reason == "bounces: 12 of 102 messages, more than 5.0%"
    assert causes(store) == ["journey/welcome/bounces"]
    (action,) = rows_of(store, t.audit)
    assert (action.actor, action.action, action.object) == ("breaker", "pause", "welcome")
    store.clock.move(days=3)  # type: ignore[attr-defined]
    assert watched(store) == []
    assert rows_of(store, t.pauses)[0].ended_at is None


def test_what_came_before_a_resumption_does_not_pause_it_again(store: Store) -> None:
    now = released(store, "welcome")
    sends(store, now, accepted=90, rejected=12)
    watched(store)
    with store.writing() as connection:
        resumed = store.now(connection)
        connection.execute(update(t.pauses).values(ended_at=resumed, ended_by="ada"))
    assert watched(store) == []
    assert causes(store) == []
    sends(store, resumed + timedelta(seconds=1), rejected=50, first=1000)
    store.clock.move(hours=1)  # type: ignore[attr-defined]
    assert watched(store) == ["welcome"]
    assert len(rows_of(store, t.pauses)) == 2


def test_bounces_and_complaints_that_come_later_count_for_the_journey_of_their_message(store: Store) -> None:
    now = released(store, "welcome", "winback")
    people(store, *(f"c{n}" for n in range(12)))
    sends(store, now, accepted=100)
    sends(store, now, accepted=100, journey="winback")
    store.clock.move(hours=1)  # type: ignore[attr-defined]
    with store.writing() as connection:
        hard = {"bounce_type": "hard", "journey": "welcome", "entry": 1, "node": "hello", "visit": 1}
        returned = [Incoming(f"c{n}", "bounced", properties=hard) for n in range(12)]
        # The same message twice is one; soft ones, and those of no message of ours, are none.
        returned += [Incoming("c0", "bounced", properties=hard)]
        returned += [
            Incoming(f"c{n}", "bounced", properties=hard | {"journey": "winback", "bounce_type": "soft"})
            for n in range(12)
        ]
        returned += [Incoming(f"c{n}", "bounced", properties={"message": "another"}) for n in range(12)]
        receive(connection, returned, store.now(connection))
    assert watched(store) == ["welcome"]
    assert rows_of(store, t.pauses)[0].reason == "bounces: 12 of 100 messages, more than 5.0%"


def test_a_few_complaints_are_enough_and_one_is_not(store: Store) -> None:
    now = released(store, "welcome")
    keys = sends(store, now, accepted=200)
    for n, expected in enumerate([[], ["welcome"]]):
        with store.writing() as connection:
            row = {"address_digest": str(n), "reason": "complained", "at": now, "message_key": keys[n]}
            connection.execute(insert(t.suppressions), row)
        assert watched(store) == expected


def test_old_messages_do_not_count(store: Store) -> None:
    now = released(store, "welcome")
    sends(store, now - timedelta(hours=25), rejected=200)
    assert watched(store) == []


def test_workers_that_watch_at_once_pause_once(store: Store) -> None:
    now = released(store, "welcome")
    sends(store, now, accepted=90, rejected=12, ambiguous=10)
    together = Barrier(4)

    def watch(_: int) -> int:
        together.wait()
        return len(watched(store))

    with ThreadPoolExecutor(4) as threads:
        assert sorted(threads.map(watch, range(4))) == [0, 0, 0, 1]
    assert len(rows_of(store, t.pauses)) == 1
    assert {*causes(store)} == {"journey/welcome/bounces", "journey/welcome/ambiguous"}


def test_relays_that_the_settings_name_no_more_are_forgotten(store: Store) -> None:
    noted(store, "auth", relay="former")
    noted(store, "auth")
    watched(store)
    assert causes(store) == ["relay/main"]
    assert [row.relay for row in rows_of(store, t.relays)] == ["main"]


@pytest.mark.parametrize(
    ("name", "n", "of", "is_exceeded"),
    [
        ("bounces", 5, 50, False),
        ("bounces", 6, 50, True),
        ("bounces", 49, 49, False),
        ("bounces", 55, 1000, False),
        ("bounces", 70, 1000, True),
        ("complaints", 1, 100, False),
        ("complaints", 2, 100, True),
        ("complaints", 4, 2000, False),
        ("complaints", 8, 2000, True),
        ("ambiguous", 2, 2, False),
        ("ambiguous", 3, 3, True),
        ("ambiguous", 3, 1000, False),
    ],
)
def test_a_rate_is_exceeded_where_chance_does_not_explain_it(name: str, n: int, of: int, *, is_exceeded: bool) -> None:
    assert RATES[name].is_exceeded(n, of) is is_exceeded


@given(some.integers(0, 400), some.integers(1, 400), some.floats(0.001, 0.5))
def test_a_rate_agrees_with_another_interval(n: int, of: int, most: float) -> None:
    from statsmodels.stats.proportion import proportion_confint

    n = min(n, of)
    low, _ = proportion_confint(n, of, alpha=0.05, method="wilson")
    if abs(low - most) > 1e-9:
        assert Rate(most, 0, 0).is_exceeded(n, of) is bool(low > most)


def test_an_unknown_outcome_is_the_programs_fault(store: Store) -> None:
    with pytest.raises(ValueError, match="did you mean 'accepted'"):
        noted(store, "acepted")
