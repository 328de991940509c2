"""Outside calls of `call` nodes: made under one id until there is an answer, of which the journey is told once."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import Any

import pytest
from pytest_httpserver import HTTPServer
from sqlalchemy import insert, update
from standardwebhooks import Webhook
from werkzeug import Request, Response

from journeylab.sender.sending import calls, webhooks
from journeylab.sender.sending.calls import Called, make_calls
from journeylab.sender.settings import Settings
from journeylab.sender.store import Store
from journeylab.sender.store import tables as t
from outside import SECRET, at, settings, told
from stores import events_of, people, rows_of

PATH = "/score"


@pytest.fixture(autouse=True)
def _secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OUTSIDE_SECRET", SECRET)


@pytest.fixture
def scoring(httpserver: HTTPServer) -> Settings:
    return settings(calls={"scoring": at(httpserver, PATH)}, attempts=3)


def calls_of(store: Store, *contacts: str, **values: Any) -> None:
    """Contacts, each with a call that is ready."""
    people(store, *contacts)
    with store.writing() as connection:
        now = store.now(connection)
        release = {"journey": "welcome", "version": "1", "definition": {}, "policy": {}, "messages": {}, "models": {}}
        release |= {"hash": str(now), "created_at": now, "created_by": "ada"}
        made = connection.execute(insert(t.releases).returning(t.releases.c.release_id), release).scalar_one()
        for contact in contacts:
            row = {"call_key": f"key-{contact}", "journey": "welcome", "contact": contact, "entry": 1, "node": "score"}
            row |= {"visit": 1, "release_id": made, "service": "scoring", "state": "ready", "planned_at": now}
            connection.execute(insert(t.calls), row | {"attempts": 0} | values)


def made(store: Store, to: Settings) -> Called:
    with store.reading() as connection:
        now = store.now(connection)
    return make_calls(store, to, now)


def later(store: Store, **by: float) -> None:
    store.clock.move(**by)  # type: ignore[attr-defined]


def replies(server: HTTPServer, *given: int | dict[str, Any]) -> None:
    """A service that replies these one after the other, and with an empty 200 from then on."""
    left = [*given]

    def reply(request: Request) -> Response:
        one = left.pop(0) if left else 200
        if isinstance(one, int):
            return Response(status=one)
        import json

        return Response(json.dumps(one), content_type="application/json; charset=utf-8")

    server.expect_request(PATH, method="POST").respond_with_handler(reply)


def causes(store: Store) -> list[str]:
    return [one.cause for one in rows_of(store, t.alerts) if one.resolved_at is None]


def test_a_call_says_who_it_is_about_and_nothing_else(store: Store, httpserver: HTTPServer, scoring: Settings) -> None:
    store.clock.at = datetime.now(UTC)  # type: ignore[attr-defined]  # the library that verifies looks at the clock
    replies(httpserver)
    calls_of(store, "ada")
    assert made(store, scoring) == (1, 0, 0)
    ((request, _),) = httpserver.log
    assert Webhook(SECRET).verify(request.data, dict(request.headers))["data"] == {
        "service": "scoring",
        "contact": "ada",
        "journey": "welcome",
        "entry": 1,
        "node": "score",
        "visit": 1,
    }
    assert request.headers["idempotency-key"] == request.headers["webhook-id"] == "key-ada"
    assert b"@" not in request.data
    (row,) = rows_of(store, t.calls)
    assert (row.state, row.reply, row.attempts) == ("succeeded", "200", 1)


@pytest.mark.parametrize(
    ("reply", "succeeded"),
    [
        (200, True),
        (202, True),
        ({}, True),
        ({"succeeded": True}, True),
        ({"succeeded": False, "why": "ada@rcpt.test"}, False),
        ({"succeeded": None}, True),
    ],
)
def test_the_journey_is_told_once_what_became_of_it(
    store: Store, httpserver: HTTPServer, scoring: Settings, reply: int | dict[str, Any], *, succeeded: bool
) -> None:
    replies(httpserver, reply)
    calls_of(store, "ada")
    before = rows_of(store, t.contacts)[0].last_at
    made(store, scoring)
    assert made(store, scoring) == (0, 0, 0)
    assert events_of(store, "ada", "called") == [
        ("called", {"journey": "welcome", "entry": 1, "node": "score", "visit": 1, "succeeded": succeeded})
    ]
    (contact,) = rows_of(store, t.contacts)
    event = rows_of(store, t.events, event="called")[0]
    assert before < contact.last_at == contact.next_at == event.received_at
    (row,) = rows_of(store, t.calls)
    assert row.state == ("succeeded" if succeeded else "failed")
    assert "ada" not in row.reply


def test_a_call_that_fails_is_repeated_under_its_id(store: Store, httpserver: HTTPServer, scoring: Settings) -> None:
    replies(httpserver, 500, 302)
    calls_of(store, "ada")
    for _ in range(2):
        assert made(store, scoring) == (0, 1, 0)
        assert made(store, scoring) == (0, 0, 0)
        assert events_of(store, "ada", "called") == []
        later(store, hours=1)
    assert made(store, scoring) == (1, 0, 0)
    assert [headers["idempotency-key"] for headers, _ in told(httpserver)] == ["key-ada"] * 3
    assert len({str(body) for _, body in told(httpserver)}) == 1


@pytest.mark.parametrize("statuses", [[500, 503, 400], [410]])
def test_after_its_attempts_it_has_failed_and_somebody_is_told(
    store: Store, httpserver: HTTPServer, scoring: Settings, statuses: list[int]
) -> None:
    replies(httpserver, *statuses)
    calls_of(store, "ada")
    for _ in statuses:
        made(store, scoring)
        later(store, hours=1)
    assert made(store, scoring) == (0, 0, 0)
    ((_, said),) = events_of(store, "ada", "called")
    assert said["succeeded"] is False
    assert rows_of(store, t.calls)[0].state == "failed"
    assert causes(store) == ["calls/scoring"]
    calls_of(store, "eve")
    assert made(store, scoring) == (1, 0, 0)
    assert causes(store) == []


def test_calls_wait_for_their_time_and_for_their_journey(
    store: Store, httpserver: HTTPServer, scoring: Settings
) -> None:
    replies(httpserver)
    calls_of(store, "ada")
    with store.writing() as connection:
        now = store.now(connection)
        pause = {"journey": "welcome", "started_at": now, "reason": "x", "started_by": "ada"}
        connection.execute(insert(t.pauses), pause)
    assert made(store, scoring) == (0, 0, 0)
    with store.writing() as connection:
        connection.execute(update(t.pauses).values(ended_at=store.now(connection)))
        connection.execute(update(t.calls).values(not_before=store.clock.at.replace(hour=12)))  # type: ignore[attr-defined]
    assert made(store, scoring) == (0, 0, 0)
    later(store, hours=4)
    assert made(store, scoring) == (1, 0, 0)


@pytest.mark.parametrize("state", ["planned", "succeeded", "failed", "cancelled"])
def test_only_what_is_ready_is_called(store: Store, httpserver: HTTPServer, scoring: Settings, state: str) -> None:
    calls_of(store, "ada", state=state)
    assert made(store, scoring) == (0, 0, 0)


def test_workers_at_once_call_everybody_once(store: Store, httpserver: HTTPServer, scoring: Settings) -> None:
    replies(httpserver)
    contacts = [f"c{n}" for n in range(60)]
    calls_of(store, *contacts)
    with ThreadPoolExecutor(4) as threads:
        got = [*threads.map(lambda _: made(store, scoring), range(4))]
    assert sum(one.n_succeeded for one in got) == 60
    assert sorted(body["data"]["contact"] for _, body in told(httpserver)) == sorted(contacts)
    assert len(rows_of(store, t.events, event="called")) == 60


def test_what_a_worker_took_with_it_is_called_again_under_its_id(
    store: Store, httpserver: HTTPServer, scoring: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    replies(httpserver)
    calls_of(store, "ada")

    def crash(*_: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(calls, "_settled", crash)
        with pytest.raises(KeyboardInterrupt):
            made(store, scoring)
    assert made(store, scoring) == (0, 0, 0)
    later(store, minutes=4)
    assert made(store, scoring) == (1, 0, 0)
    assert [headers["idempotency-key"] for headers, _ in told(httpserver)] == ["key-ada"] * 2
    assert len(events_of(store, "ada", "called")) == 1


@pytest.mark.parametrize("late", [200, 500])
def test_of_two_workers_that_both_called_one_tells_the_journey(
    store: Store, httpserver: HTTPServer, scoring: Settings, monkeypatch: pytest.MonkeyPatch, late: int
) -> None:
    replies(httpserver, late)
    calls_of(store, "ada")
    really = webhooks.post_all

    def slowly(*args: Any) -> Any:
        answers = really(*args)
        later(store, minutes=4)
        with monkeypatch.context() as patched:
            patched.setattr(calls, "post_all", really)
            assert made(store, scoring) == (1, 0, 0)
        return answers

    with monkeypatch.context() as patched:
        patched.setattr(calls, "post_all", slowly)
        made(store, scoring)
    assert [said["succeeded"] for _, said in events_of(store, "ada", "called")] == [True]
    assert rows_of(store, t.calls)[0].state == "succeeded"


def test_a_call_that_was_taken_back_meanwhile_tells_nobody(
    store: Store, httpserver: HTTPServer, scoring: Settings
) -> None:
    def take_back(request: Request) -> Response:
        with store.writing() as connection:
            connection.execute(update(t.calls).values(state="cancelled"))
        return Response(status=200)

    httpserver.expect_request(PATH).respond_with_handler(take_back)
    calls_of(store, "ada")
    made(store, scoring)
    assert events_of(store, "ada", "called") == []
    assert rows_of(store, t.calls)[0].state == "cancelled"


def test_two_calls_of_one_contact_that_are_answered_together_are_told_one_after_the_other(
    store: Store, httpserver: HTTPServer, scoring: Settings
) -> None:
    replies(httpserver)
    calls_of(store, "ada")
    with store.writing() as connection:
        row = dict(connection.execute(t.calls.select()).mappings().one())
        connection.execute(insert(t.calls), row | {"call_key": "another", "node": "tell"})
    assert made(store, scoring) == (2, 0, 0)
    first, second = rows_of(store, t.events, event="called")
    assert first.received_at < second.received_at == rows_of(store, t.contacts)[0].last_at


def test_staging_records_and_calls_nobody(store: Store, httpserver: HTTPServer) -> None:
    calls_of(store, "ada")
    staging = settings(calls={"scoring": at(httpserver, PATH)}, staging={"domains": ["staging.example"]})
    assert made(store, staging) == (1, 0, 0)
    assert httpserver.log == []
    assert rows_of(store, t.calls)[0].reply == "staging: recorded, not called"
    assert events_of(store, "ada", "called")[0][1]["succeeded"] is True


def test_a_service_without_an_address_is_told_to_somebody_at_once_and_tried_again(
    store: Store, httpserver: HTTPServer, scoring: Settings
) -> None:
    replies(httpserver)
    calls_of(store, "ada")
    assert made(store, settings()) == (0, 1, 0)
    assert causes(store) == ["calls/scoring"]
    later(store, hours=1)
    assert made(store, scoring) == (1, 0, 0)
