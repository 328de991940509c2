"""Statistics on schedule: once for each period, of ten people or none, to those whom the settings name."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as some
from pytest_httpserver import HTTPServer
from sqlalchemy import insert

from journeylab.connectors.chat import statistics_text
from journeylab.sender.sending.alerts import raise_alert, resolve
from journeylab.sender.sending.outbox import deliver
from journeylab.sender.sending.statistics import counted, period_end, tell_statistics
from journeylab.sender.settings import Settings
from journeylab.sender.store import Store
from journeylab.sender.store import tables as t
from outside import SECRET, at, settings, told
from stores import START, people, rows_of, send_row
from vendors.servicenow import USER, ServiceNow

DAY = timedelta(days=1)
MIDNIGHT = datetime(2026, 3, 2, tzinfo=UTC)
ON_SQLITE = pytest.mark.parametrize("store", ["sqlite"], indirect=True)


@pytest.fixture(autouse=True)
def _secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OUTSIDE_SECRET", SECRET)
    monkeypatch.setenv("SNOW_PASSWORD", USER[1])


@pytest.fixture
def servicenow() -> Iterator[ServiceNow]:
    with ServiceNow() as there:
        yield there


def telling(server: HTTPServer, *to: str, **more: Any) -> Settings:
    server.expect_request("/crm").respond_with_data("", 204)
    return settings(crm=at(server, "/crm"), statistics={"every": "1d", "to": to or ("crm",)}, **more)


def fill(store: Store, n: int, state: str = "accepted", at: datetime = START, journey: str = "welcome") -> None:
    """Messages of so many contacts that came to their ends."""
    names = [f"{state}-{journey}-{i}" for i in range(n)]
    people(store, *names)
    rows = [send_row(one, "hello", at, state=state, settled_at=at, journey=journey) for one in names]
    entries = [
        {"contact": one, "journey": journey, "entry": 1, "version": "v1", "entered_at": at, "converted": False,
         "held_out": False}
        for one in names
    ]  # fmt: skip
    with store.writing() as connection:
        for row in rows:
            connection.execute(insert(t.sends), row)
        connection.execute(insert(t.entries), entries)


def returned(store: Store, n: int, event: str = "bounced", at: datetime = START, **more: Any) -> None:
    about = {"journey": "welcome", "bounce_type": "hard"} | more
    rows = [
        {"contact": f"accepted-welcome-{i}", "event": event, "occurred_at": at, "received_at": at, "properties": about}
        for i in range(n)
    ]
    with store.writing() as connection:
        connection.execute(insert(t.events), rows)


def of(store: Store, since: datetime = MIDNIGHT, until: datetime = MIDNIGHT + DAY) -> dict[str, Any]:
    with store.reading() as connection:
        return counted(connection, since, until)


def test_counts_are_of_the_period_and_of_ten_people_or_none(store: Store) -> None:
    fill(store, 100)
    fill(store, 9, "rejected")
    fill(store, 10, "failed")
    fill(store, 50, "expired", START + DAY)
    returned(store, 12)
    returned(store, 40, bounce_type="soft")
    returned(store, 9, "complained")
    found = of(store)
    welcome = found["journeys"]["welcome"]
    assert (welcome["n_accepted"], welcome["n_rejected"], welcome["n_failed"]) == (100, None, 10)
    assert welcome["n_expired"] is welcome["n_suppressed"] is None
    assert welcome["n_entries"] == 119
    assert (welcome["n_bounced"], welcome["n_complained"]) == (12, None)
    assert (welcome["bounce_rate"], welcome["complaint_rate"]) == (0.12, None)
    assert of(store, MIDNIGHT + DAY, MIDNIGHT + 2 * DAY)["journeys"]["welcome"]["n_expired"] == 50
    assert of(store, MIDNIGHT - DAY, MIDNIGHT)["journeys"] == {}


@ON_SQLITE
def test_many_messages_to_few_people_are_no_count(store: Store) -> None:
    people(store, "ada")
    with store.writing() as connection:
        for visit in range(1, 31):
            row = send_row("ada", "hello", START, state="accepted", settled_at=START, visit=visit)
            connection.execute(insert(t.sends), row)
    assert of(store)["journeys"]["welcome"]["n_accepted"] is None
    assert "ada" not in str(of(store))


@ON_SQLITE
def test_no_more_journeys_are_told_than_a_webhook_has_room_for(store: Store) -> None:
    for n in range(45):
        fill(store, 10 + n, journey=f"a_journey_with_a_long_name_{n}")
    found = of(store)
    assert len(found["journeys"]) == 40
    assert found["n_journeys_left_out"] == 5
    assert "a_journey_with_a_long_name_44" in found["journeys"]
    assert len(str(found)) < 18_000


def test_each_period_is_told_once_whoever_is_first(store: Store, httpserver: HTTPServer) -> None:
    to = telling(httpserver)
    fill(store, 20)
    now = MIDNIGHT + DAY + timedelta(hours=9)
    with ThreadPoolExecutor(4) as threads:
        assert sorted(threads.map(lambda _: tell_statistics(store, to, now), range(4))) == [False] * 3 + [True]
    assert not tell_statistics(store, to, now + timedelta(hours=14))
    assert tell_statistics(store, to, now + 3 * DAY)
    first, second = rows_of(store, t.outbox)
    assert first.body["data"]["journeys"]["welcome"]["n_accepted"] == 20
    assert first.body["data"]["until_at"] == second.body["data"]["from_at"]  # what was missed is told together
    assert second.body["data"]["until_at"] == (MIDNIGHT + 4 * DAY).isoformat()
    assert len({first.webhook_id, second.webhook_id}) == 2


@ON_SQLITE
def test_without_the_setting_nothing_is_told(store: Store) -> None:
    assert not tell_statistics(store, settings(), START)
    assert not rows_of(store, t.statistics)


@ON_SQLITE
def test_they_go_to_whom_the_settings_name(store: Store, httpserver: HTTPServer, servicenow: ServiceNow) -> None:
    events = {
        "name": "events", "kind": "servicenow_event", "url": servicenow.url, "user": USER[0],
        "password": "env:SNOW_PASSWORD",
    }  # fmt: skip
    to = telling(httpserver, "crm", "events", incidents=[events])
    fill(store, 20)
    with store.writing() as connection:
        raise_alert(connection, "x", "info", "x", START)
        resolve(connection, "x", START + timedelta(hours=1))
    assert tell_statistics(store, to, MIDNIGHT + DAY)
    deliver(store, to, MIDNIGHT + DAY)
    ((_, body),) = told(httpserver, "/crm")
    assert body["type"] == "statistics"
    assert body["data"]["alerts"] == {"n_opened": 1, "n_resolved": 1, "n_open": 0}
    ((key, alert),) = servicenow.alerts.items()
    assert key == "shop/statistics"
    assert '"journeys/welcome/n_accepted": "20"' in alert["events"][0]["additional_info"]
    assert alert["events"][0]["severity"] == "5"


def test_they_can_be_read(store: Store) -> None:
    fill(store, 1200)
    fill(store, 5, journey="small")
    text = statistics_text(of(store))
    assert "welcome: entries 1,200, accepted 1,200" in text
    assert "small: of too few people" in text
    assert "alerts: opened 0, resolved 0, open 0" in text


@pytest.mark.parametrize(
    ("to", "why"), [("pagr", "did you mean 'pager'"), ("alerts", "Known names: chat, crm"), ("desk", "Known names")]
)
def test_who_cannot_be_told_is_named(to: str, why: str, httpserver: HTTPServer) -> None:
    systems = [
        {"name": "chat", "kind": "apprise", "service": "env:X"},
        {"name": "desk", "kind": "pagerduty", "routing_key": "env:X"},
    ]
    if to == "pagr":
        systems[0]["name"] = "pager"
    with pytest.raises(ValueError, match=why):
        telling(httpserver, to, incidents=systems)


@given(some.integers(10**8, 4 * 10**9), some.integers(1, 10**7))
def test_periods_follow_each_other(at: int, seconds: int) -> None:
    every, now = timedelta(seconds=seconds), datetime.fromtimestamp(at, UTC)
    end = period_end(now, every)
    assert end <= now < end + every
    assert period_end(end, every) == end
    assert period_end(end - timedelta(microseconds=1), every) == end - every
