"""Alerts as incidents: one for each cause while it lasts, over when it is over, whatever befalls the calls."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import Any, ClassVar

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as run_settings
from hypothesis import strategies as some
from pytest_httpserver import HTTPServer
from ruamel.yaml import YAML

from journeylab.connectors import http
from journeylab.connectors.connector import Broken, Connector, Later, Reach
from journeylab.connectors.facts import Fact
from journeylab.connectors.http import Reply
from journeylab.connectors.incidents import SEVERITIES, Origin, incident_key, incident_system_of
from journeylab.errors import DataError, DefinitionError
from journeylab.sender.process import Sender
from journeylab.sender.sending import outbox
from journeylab.sender.sending.alerts import acknowledge, open_alerts, raise_alert, resolve
from journeylab.sender.sending.notices import tell
from journeylab.sender.sending.outbox import MOST_ATTEMPTS, Delivered, dead_letters, deliver, try_again
from journeylab.sender.settings import Settings
from journeylab.sender.store import Store
from journeylab.sender.store import tables as t
from outside import SECRET, at, settings, told
from stores import KEYS, MovedClock, rows_of
from vendors.pagerduty import ROUTING_KEY, PagerDuty
from vendors.servicenow import CLIENT, USER, ServiceNow
from vendors.system import FAULTS

CAUSE = "relay/main"
ON_SQLITE = pytest.mark.parametrize("store", ["sqlite"], indirect=True)


@pytest.fixture(autouse=True)
def _secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OUTSIDE_SECRET", SECRET)
    monkeypatch.setenv("ROUTING_KEY", ROUTING_KEY)
    monkeypatch.setenv("SNOW_PASSWORD", USER[1])
    monkeypatch.setenv("SNOW_SECRET", CLIENT[1])


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(http, "_READ_SECONDS", 0.1)
    http._pool.cache_clear()
    yield
    http._pool.cache_clear()


@pytest.fixture
def pagerduty() -> Iterator[PagerDuty]:
    with PagerDuty() as there:
        yield there


@pytest.fixture
def servicenow() -> Iterator[ServiceNow]:
    with ServiceNow() as there:
        yield there


def pager(there: PagerDuty, **more: Any) -> dict[str, Any]:
    return {"name": "pager", "kind": "pagerduty", "url": there.url, "routing_key": "env:ROUTING_KEY", **more}


def desk(there: ServiceNow, kind: str = "servicenow_incident", **more: Any) -> dict[str, Any]:
    by_user = {"user": USER[0], "password": "env:SNOW_PASSWORD"}
    return {"name": "desk", "kind": kind, "url": there.url, **by_user, **more}


def telling(*systems: dict[str, Any], **more: Any) -> Settings:
    return settings(incidents=[*systems], **more)


def raised(store: Store, cause: str = CAUSE, severity: str = "error", text: str = "it is gone") -> None:
    with store.writing() as connection:
        raise_alert(connection, cause, severity, text, store.now(connection))


def over(store: Store, cause: str = CAUSE) -> None:
    with store.writing() as connection:
        resolve(connection, cause, store.now(connection))


def acknowledged(store: Store, cause: str = CAUSE) -> bool:
    with store.writing() as connection:
        return acknowledge(connection, cause, "ada", store.now(connection))


def delivered(store: Store, to: Settings) -> Delivered:
    with store.reading() as connection:
        now = store.now(connection)
    return deliver(store, to, now)


def until_told(store: Store, to: Settings, most: int = 40) -> None:
    """Delivers until nothing waits, as the hours go by."""
    for _ in range(most):
        delivered(store, to)
        if not [one for one in rows_of(store, t.outbox) if one.delivered_at is None and one.dead_at is None]:
            return
        store.clock.move(hours=13)  # type: ignore[attr-defined]
    raise AssertionError([(one.target, one.reply, one.attempts) for one in rows_of(store, t.outbox)])


# PagerDuty


@ON_SQLITE
def test_an_alert_is_an_incident_of_pagerduty_until_it_is_over(store: Store, pagerduty: PagerDuty) -> None:
    to = telling(pager(pagerduty), dashboard="env:OUTSIDE_SECRET")
    raised(store)
    raised(store, text="still gone")
    until_told(store, to)
    (incident,) = pagerduty.incidents
    assert (incident.status, len(incident.events)) == ("triggered", 1)
    event = incident.events[0]
    assert event["payload"]["summary"] == "shop: it is gone"
    assert (event["payload"]["severity"], event["payload"]["source"]) == ("error", "mail.shop.example")
    assert event["links"] == [{"href": "https://mail.shop.example/dashboard", "text": "Dashboard"}]
    assert event["client_url"] == "https://mail.shop.example/dashboard"
    assert acknowledged(store)
    assert not acknowledged(store)
    until_told(store, to)
    assert incident.status == "acknowledged"
    over(store)
    until_told(store, to)
    assert incident.status == "resolved"
    raised(store)
    until_told(store, to)
    assert [one.status for one in pagerduty.incidents] == ["resolved", "triggered"]
    assert pagerduty.dropped == []
    assert all(ROUTING_KEY not in str(row) for row in rows_of(store, t.outbox))


def test_what_gets_worse_is_told_again_and_has_to_be_acknowledged_again(store: Store, pagerduty: PagerDuty) -> None:
    to = telling(pager(pagerduty))
    raised(store, severity="warning")
    until_told(store, to)
    assert pagerduty.calls == []  # not bad enough
    raised(store, severity="error")
    acknowledged(store)
    raised(store, severity="critical")
    raised(store, severity="warning")
    until_told(store, to)
    (incident,) = pagerduty.incidents
    assert [one["event_action"] for one in incident.events] == ["trigger", "acknowledge", "trigger"]
    assert incident.severity == "critical"
    (alert,) = rows_of(store, t.alerts)
    assert (alert.severity, alert.acknowledged_at, alert.acknowledged_by) == ("critical", None, None)
    over(store)
    until_told(store, to)
    assert incident.status == "resolved"


@ON_SQLITE
def test_each_hears_of_what_is_bad_enough_for_it(store: Store, pagerduty: PagerDuty, servicenow: ServiceNow) -> None:
    to = telling(pager(pagerduty, at_least="critical"), desk(servicenow, at_least="warning"))
    for severity in SEVERITIES:
        raised(store, f"x/{severity}", severity)
    until_told(store, to)
    for severity in SEVERITIES:
        over(store, f"x/{severity}")
    until_told(store, to)
    assert [one.severity for one in pagerduty.incidents] == ["critical"]
    weights = sorted((one["impact"], one["urgency"]) for one in servicenow.incidents)
    assert weights == [("1", "1"), ("2", "1"), ("3", "2")]
    assert pagerduty.open() == servicenow.open() == []


@pytest.mark.parametrize(
    ("fault", "n_before"), [(one, n) for one in FAULTS for n in (0, 1, 2) if n == 0 or one in ("cut", "half")]
)
@pytest.mark.parametrize("system", ["pagerduty", "servicenow_incident", "servicenow_event", "by token"])
def test_one_cause_is_one_incident_whatever_befalls_the_calls(
    system: str, fault: str, n_before: int, tmp_path: Path, sqlite_store_file: Path
) -> None:
    shutil.copy(sqlite_store_file, tmp_path / "a.db")
    store = Store.open(f"sqlite:///{tmp_path / 'a.db'}", KEYS, clock=MovedClock())
    there = PagerDuty() if system == "pagerduty" else ServiceNow()
    with there:
        if isinstance(there, PagerDuty):
            one = pager(there)
        elif system == "by token":
            one = desk(there) | {"client_id": CLIENT[0], "client_secret": "env:SNOW_SECRET"}
            del one["user"], one["password"]
        else:
            one = desk(there, system)
        to = telling(one)
        there.fail(*[None] * n_before, fault, fault)
        raised(store)
        until_told(store, to)
        there.fail(*[None] * n_before, fault)
        raised(store, severity="critical")
        over(store)
        until_told(store, to)
        if isinstance(there, PagerDuty):
            assert [one.status for one in there.incidents] == ["resolved"]
            assert there.incidents[0].severity == "critical"
            assert all(one["event_action"] == "resolve" for one in there.dropped)
        elif system == "servicenow_event":
            assert [one["is_open"] for one in there.alerts.values()] == [False]
        else:
            assert [one["state"] for one in there.incidents] == ["6"]
            assert (there.incidents[0]["impact"], there.incidents[0]["urgency"]) == ("1", "1")
        with store.reading() as connection:
            assert open_alerts(connection) == []
    store.close()


def test_an_end_is_told_after_its_beginning(store: Store, pagerduty: PagerDuty) -> None:
    to = telling(pager(pagerduty))
    pagerduty.fail("broken")
    raised(store)
    over(store)
    delivered(store, to)
    raised(store, "another")
    delivered(store, to)
    events = [(json.loads(one.body)["event_action"], json.loads(one.body)["dedup_key"]) for one in pagerduty.calls]
    assert [(action, key.split("/")[1]) for action, key in events] == [("trigger", "relay"), ("trigger", "another")]
    until_told(store, to)
    assert {one.dedup_key.split("/")[1]: one.status for one in pagerduty.incidents} == {
        "another": "triggered", "relay": "resolved",
    }  # fmt: skip


def test_what_is_over_is_told_where_its_beginning_was_given_up_and_not_the_other_way_round(
    store: Store, pagerduty: PagerDuty, monkeypatch: pytest.MonkeyPatch
) -> None:
    to = telling(pager(pagerduty))
    monkeypatch.setenv("ROUTING_KEY", "of something else")
    raised(store)
    over(store)
    assert delivered(store, to) == (0, 0, 1)
    with store.reading() as connection:
        (dead,) = dead_letters(connection, "incidents/pager")
        assert dead.reply.startswith("400: PagerDuty finds the event invalid")
        assert "outbox/incidents/pager/dead" in [one.cause for one in open_alerts(connection)]
    monkeypatch.setenv("ROUTING_KEY", ROUTING_KEY)
    until_told(store, to)
    assert [one["event_action"] for one in pagerduty.dropped] == ["resolve"]
    with store.writing() as connection:
        assert dead_letters(connection) == []
        assert try_again(connection, "incidents/pager", "ada", store.now(connection)) == 0
        assert [one.cause for one in open_alerts(connection)] == []
    until_told(store, to)
    assert pagerduty.open() == []


def test_who_crashes_between_call_and_commit_opens_no_second_incident(
    store: Store, pagerduty: PagerDuty, servicenow: ServiceNow, monkeypatch: pytest.MonkeyPatch
) -> None:
    to = telling(pager(pagerduty), desk(servicenow))

    for step in (raised, over):
        step(store)
        with monkeypatch.context() as patched:
            patched.setattr(outbox, "_settled", _crash)
            with pytest.raises(KeyboardInterrupt):
                delivered(store, to)
        until_told(store, to)
    assert [one.status for one in pagerduty.incidents] == ["resolved"]
    assert [one["state"] for one in servicenow.incidents] == ["6"]


@ON_SQLITE
def test_processes_at_once_keep_the_order_and_double_nothing(
    store: Store, pagerduty: PagerDuty, servicenow: ServiceNow
) -> None:
    to = telling(pager(pagerduty), desk(servicenow))
    causes = [f"x/{n}" for n in range(12)]
    for cause in causes:
        raised(store, cause)
    for cause in causes[:8]:
        over(store, cause)
    with ThreadPoolExecutor(4) as threads:
        [*threads.map(lambda _: delivered(store, to), range(4))]
    until_told(store, to)
    assert len(pagerduty.incidents) == len(servicenow.incidents) == 12
    assert len(pagerduty.open()) == len(servicenow.open()) == 4
    assert pagerduty.dropped == []


def test_a_sender_tells_of_alerts_and_of_statistics(
    store: Store, pagerduty: PagerDuty, servicenow: ServiceNow, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)  # where its receipts are
    events = desk(servicenow, "servicenow_event", at_least="critical")
    to = telling(pager(pagerduty), events, statistics={"every": "1h", "to": ["desk"]})
    raised(store)
    with Sender(store, to, "worker") as sender:
        sender.run_once()
        over(store)
        sender.run_once()
    assert [one.status for one in pagerduty.incidents] == ["resolved"]
    assert [*servicenow.alerts] == ["shop/statistics"]


def test_each_target_fails_by_itself(store: Store, pagerduty: PagerDuty, httpserver: HTTPServer) -> None:
    httpserver.expect_request("/alerts").respond_with_data("", 204)
    to = telling(pager(pagerduty), alerts=at(httpserver, "/alerts"))
    pagerduty.fail(*["broken"] * MOST_ATTEMPTS)
    raised(store)
    assert delivered(store, to) == (1, 1, 0)
    assert len(told(httpserver, "/alerts")) == 1
    assert {one.target: one.delivered_at is None for one in rows_of(store, t.outbox)} == {
        "alerts": False, "incidents/pager": True,
    }  # fmt: skip
    assert len({one.webhook_id for one in rows_of(store, t.outbox)}) == 1


@ON_SQLITE
def test_who_asks_for_quiet_gets_it(store: Store, pagerduty: PagerDuty) -> None:
    to = telling(pager(pagerduty))
    pagerduty.fail("busy")
    raised(store)
    delivered(store, to)
    store.clock.move(seconds=6)  # type: ignore[attr-defined]
    assert delivered(store, to) == (0, 0, 0)
    store.clock.move(seconds=2)  # type: ignore[attr-defined]
    assert delivered(store, to) == (1, 0, 0)


@ON_SQLITE
def test_a_reply_that_is_no_202_is_not_taken_for_one(store: Store, httpserver: HTTPServer) -> None:
    httpserver.expect_request("/v2/enqueue").respond_with_data("<p>Log in</p>", 200, content_type="text/html")
    one = {"name": "pager", "kind": "pagerduty", "url": httpserver.url_for("/"), "routing_key": "env:ROUTING_KEY"}
    raised(store)
    assert delivered(store, telling(one)) == (0, 1, 0)
    assert "202 alone" in rows_of(store, t.outbox)[-1].reply


@ON_SQLITE
def test_staging_opens_no_incidents(store: Store, pagerduty: PagerDuty) -> None:
    raised(store)
    delivered(store, telling(pager(pagerduty), staging={"domains": ["staging.example"]}))
    assert pagerduty.calls == []
    assert [one.reply for one in rows_of(store, t.outbox, target="incidents/pager")] == ["staging: recorded, not sent"]


@ON_SQLITE
def test_without_its_secret_nothing_is_sent_and_nothing_is_lost(
    store: Store, pagerduty: PagerDuty, monkeypatch: pytest.MonkeyPatch
) -> None:
    to = telling(pager(pagerduty))
    monkeypatch.delenv("ROUTING_KEY")
    raised(store)
    assert delivered(store, to) == (0, 1, 0)
    assert "env:ROUTING_KEY" in rows_of(store, t.outbox, target="incidents/pager")[0].reply
    monkeypatch.setenv("ROUTING_KEY", ROUTING_KEY)
    until_told(store, to)
    assert len(pagerduty.open()) == 1


# ServiceNow


@ON_SQLITE
def test_an_alert_is_an_incident_of_servicenow(store: Store, servicenow: ServiceNow) -> None:
    to = telling(desk(servicenow, fields={"assignment_group": "mail"}))
    servicenow.mandatory = ("assignment_group",)
    raised(store, text="x" * 900)
    until_told(store, to)
    (incident,) = servicenow.incidents
    assert (incident["state"], incident["impact"], incident["urgency"]) == ("1", "2", "1")
    assert len(incident["short_description"]) == 160
    assert "x" * 900 in incident["description"]
    assert incident["assignment_group"] == "mail"
    acknowledged(store)
    until_told(store, to)
    assert incident["state"] == "2"
    over(store)
    until_told(store, to)
    assert (incident["state"], incident["close_code"]) == ("6", "Solution provided")
    assert incident["close_notes"]


@ON_SQLITE
def test_what_somebody_has_closed_there_is_left_alone_until_it_gets_worse(store: Store, servicenow: ServiceNow) -> None:
    to = telling(desk(servicenow))
    raised(store)
    until_told(store, to)
    servicenow.incidents[0]["state"] = "7"
    acknowledged(store)
    until_told(store, to)
    assert servicenow.incidents[0]["state"] == "7"
    raised(store, severity="critical")
    until_told(store, to)
    assert [one["state"] for one in servicenow.incidents] == ["7", "1"]
    over(store)
    until_told(store, to)
    assert [one["state"] for one in servicenow.incidents] == ["7", "6"]


@ON_SQLITE
def test_an_incident_of_somebody_else_is_not_touched(store: Store, servicenow: ServiceNow) -> None:
    servicenow.incidents.append({"state": "1", "sys_id": "f" * 32, "correlation_id": "", "sys_created_on": ""})
    to = telling(desk(servicenow))
    raised(store, "relay/x^ORstate=1")
    over(store, "relay/x^ORstate=1")
    until_told(store, to)
    assert [one["state"] for one in servicenow.incidents] == ["1", "6"]


@ON_SQLITE
def test_a_token_that_has_ended_is_asked_for_anew(store: Store, servicenow: ServiceNow) -> None:
    by_token = desk(servicenow) | {"client_id": CLIENT[0], "client_secret": "env:SNOW_SECRET"}
    del by_token["user"], by_token["password"]
    to = telling(by_token)
    for n in range(20):
        raised(store, f"x/{n}")
    until_told(store, to)
    assert len(servicenow.open()) == 20
    assert servicenow.paths().count("/oauth_token.do") == 1
    servicenow.fail(None)
    really = servicenow.answer
    servicenow.answer = lambda request: (servicenow.revoke(), setattr(servicenow, "answer", really), really(request))[
        -1
    ]  # type: ignore[method-assign]
    over(store, "x/0")
    until_told(store, to)
    assert len(servicenow.open()) == 19


@ON_SQLITE
def test_a_wrong_secret_is_said_and_not_shown(
    store: Store, servicenow: ServiceNow, monkeypatch: pytest.MonkeyPatch
) -> None:
    by_token = desk(servicenow) | {"client_id": CLIENT[0], "client_secret": "env:SNOW_SECRET"}
    del by_token["user"], by_token["password"]
    monkeypatch.setenv("SNOW_SECRET", "wrong")
    monkeypatch.setenv("SNOW_PASSWORD", "wrong too")
    raised(store)
    for one, reply in ((by_token, "no token: 401"), (desk(servicenow), "401")):
        store.clock.move(hours=1)  # type: ignore[attr-defined]
        assert delivered(store, telling(one)) == (0, 1, 0)
        assert rows_of(store, t.outbox, target="incidents/desk")[0].reply == reply
    assert servicenow.incidents == []


@ON_SQLITE
def test_an_instance_that_sleeps_has_taken_nothing(store: Store, servicenow: ServiceNow) -> None:
    to = telling(desk(servicenow), desk(servicenow, "servicenow_event", name="events"))
    servicenow.is_asleep = True
    raised(store)
    assert delivered(store, to) == (0, 2, 0)
    servicenow.is_asleep = False
    until_told(store, to)
    assert len(servicenow.open()) == len(servicenow.alerts) == 1


@ON_SQLITE
def test_an_alert_is_events_of_event_management(store: Store, servicenow: ServiceNow) -> None:
    to = telling(desk(servicenow, "servicenow_event"))
    raised(store)
    raised(store, severity="critical")
    acknowledged(store)
    over(store)
    until_told(store, to)
    ((key, alert),) = servicenow.alerts.items()
    assert key.startswith("shop/relay/main/2026")
    assert [one["severity"] for one in alert["events"]] == ["2", "1", "0"]
    assert [one["resolution_state"] for one in alert["events"]] == ["New", "New", "Closing"]
    assert alert["events"][0]["time_of_event"] == "2026-03-02 09:00:00"
    assert json.loads(alert["events"][0]["additional_info"])["severity"] == "error"


# apprise

OLD_IMPORTS = pytest.mark.filterwarnings("ignore:'imghdr' is deprecated:DeprecationWarning")
"""A library that apprise imports."""


@OLD_IMPORTS
@ON_SQLITE
def test_an_alert_is_messages_by_apprise_whose_url_is_shown_nowhere(
    store: Store, httpserver: HTTPServer, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("CHAT", f"json://{httpserver.host}:{httpserver.port}/a-token-of-the-chat")
    httpserver.expect_ordered_request("/a-token-of-the-chat").respond_with_data("", 500)
    httpserver.expect_request("/a-token-of-the-chat").respond_with_data("", 200)
    chat = {"name": "chat", "kind": "apprise", "at_least": "warning", "service": "env:CHAT"}
    to = telling(chat, dashboard="env:OUTSIDE_SECRET")
    raised(store, severity="warning")
    assert delivered(store, to) == (0, 1, 0)
    until_told(store, to)
    acknowledged(store)
    over(store)
    until_told(store, to)
    titles = [body["title"] for _, body in told(httpserver)]
    assert titles == ["shop: warning", "shop: warning", "shop: somebody looks after it", "shop: over"]
    assert "relay/main" in told(httpserver)[0][1]["message"]
    assert "https://mail.shop.example/dashboard" in told(httpserver)[0][1]["message"]
    logged = [one.getMessage() for one in caplog.records if one.name != "werkzeug"]  # which is the chat
    assert "a-token" not in str(logged) + str(rows_of(store, t.outbox))


@OLD_IMPORTS
@pytest.mark.parametrize("url", ["nothing://at.all", "json://one.example json://two.example", "x"])
@ON_SQLITE
def test_a_url_that_apprise_does_not_know_is_a_secret_all_the_same(
    store: Store, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CHAT", url)
    raised(store)
    delivered(store, telling({"name": "chat", "kind": "apprise", "service": "env:CHAT"}))
    assert rows_of(store, t.outbox, target="incidents/chat")[0].reply == (
        "the secret env:CHAT is no URL of one service that apprise knows"
    )


# Whatever happens

CAUSES = ("relay/main", "calls/score", "journey/welcome/bounces")
_DONE = ["raise", "worse", "resolve", "acknowledge", "deliver", "crash", "later"]
STEPS = some.lists(
    some.tuples(some.sampled_from(_DONE), some.sampled_from(CAUSES))
    | some.tuples(some.just("fault"), some.sampled_from([one for one in FAULTS if one != "silent"])),
    max_size=25,
)  # fmt: skip


@pytest.fixture(scope="module")
def store_of_steps(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    opened = Store.open(f"sqlite:///{tmp_path_factory.mktemp('steps') / 'a.db'}", KEYS, clock=MovedClock(), create=True)
    yield opened
    opened.close()


@pytest.mark.parametrize("system", ["pagerduty", "servicenow_incident", "servicenow_event"])
@given(steps=STEPS)
@run_settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_in_the_end_an_incident_is_open_exactly_where_its_alert_is(
    store_of_steps: Store, system: str, steps: list[tuple[str, str]]
) -> None:
    _ends_well(store_of_steps, system, steps)


@pytest.mark.nightly
@pytest.mark.parametrize("system", ["pagerduty", "servicenow_incident", "servicenow_event"])
@given(steps=STEPS)
@run_settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_in_the_end_an_incident_is_open_exactly_where_its_alert_is_many_times(
    store_of_steps: Store, system: str, steps: list[tuple[str, str]]
) -> None:
    _ends_well(store_of_steps, system, steps)


def _ends_well(store: Store, system: str, steps: list[tuple[str, str]]) -> None:
    with store.writing() as connection:
        for table in (t.outbox, t.alerts):
            connection.execute(table.delete())
    there = PagerDuty() if system == "pagerduty" else ServiceNow()
    with there:
        to = telling(pager(there) if isinstance(there, PagerDuty) else desk(there, system))
        _take(store, to, there, steps)
        there.faults.clear()
        until_told(store, to)
        with store.reading() as connection:
            wanted = sorted(one.cause for one in open_alerts(connection))
        assert sorted(_open_causes(there, system)) == wanted
        n_alerts = sum(one.severity in ("critical", "error") for one in rows_of(store, t.alerts))
        n_there = len(there.incidents) if system != "servicenow_event" else len(there.alerts)  # type: ignore[union-attr]
        assert n_there == n_alerts  # none is doubled


def _take(store: Store, to: Settings, there: PagerDuty | ServiceNow, steps: list[tuple[str, str]]) -> None:
    for step, what in steps:
        if step == "fault":
            there.fail(what)
        elif step == "deliver":
            delivered(store, to)
        elif step == "crash":
            with pytest.MonkeyPatch.context() as patched:
                patched.setattr(outbox, "_settled", _crash)
                with suppress(KeyboardInterrupt):
                    delivered(store, to)
        elif step == "later":
            store.clock.move(minutes=3)  # type: ignore[attr-defined]
        elif step == "acknowledge":
            with store.reading() as connection:
                is_open = what in [one.cause for one in open_alerts(connection)]
            if is_open:
                acknowledged(store, what)
        elif step == "resolve":
            over(store, what)
        else:
            raised(store, what, "critical" if step == "worse" else "error")


def _crash(*_: Any) -> None:
    raise KeyboardInterrupt


def _open_causes(there: PagerDuty | ServiceNow, system: str) -> list[str]:
    if isinstance(there, PagerDuty):
        keys = [one.dedup_key for one in there.open()]
    elif system == "servicenow_event":
        keys = [key for key, one in there.alerts.items() if one["is_open"]]
    else:
        keys = [one["correlation_id"] for one in there.open()]
    return [key.removeprefix("shop/").rpartition("/")[0] for key in keys]


@given(
    some.text(min_size=1, max_size=200), some.text(min_size=1, max_size=200), some.datetimes(), some.integers(40, 255)
)
def test_keys_have_room_and_tell_causes_apart(one: str, other: str, begun: Any, longest: int) -> None:
    origin = Origin("shop", "mail.shop.example")
    first, second = (
        incident_key(origin, {"dedup_key": cause, "started_at": begun.isoformat() + "+00:00"}, longest)
        for cause in (one, other)
    )
    assert re.fullmatch(r"[A-Za-z0-9_./:-]+", first)
    assert len(first) <= longest
    assert (first == second) == (one == other)


def test_one_cause_on_another_day_or_of_another_sender_has_another_key() -> None:
    day, night = "2026-03-02T09:00:00+00:00", "2026-03-02T21:00:00.000001+00:00"
    keys = {
        incident_key(Origin(sender, "x.example"), {"dedup_key": CAUSE, "started_at": begun}, 100)
        for sender in ("shop", "shop2")
        for begun in (day, night)
    }
    assert len(keys) == 4


# Connectors


class Noting(Connector):
    """A connector that notes what it is told, and gives or raises what it is to."""

    _told: ClassVar[list[tuple[str, str]]] = []
    _next: ClassVar[list[Reply | Exception]] = []

    def target(self) -> Noting:  # type: ignore[override]
        return self

    def tell(self, fact: Fact, reach: Reach) -> Reply:
        self._told.append((fact.kind, fact.data["contact"]))
        reply = self._next.pop(0) if self._next else Reply(200, "200")
        if isinstance(reply, Exception):
            raise reply
        return reply


@pytest.fixture
def noting() -> Iterator[Noting]:
    yield Noting(kind="noting", url="http://127.0.0.1:1", push=("consent", "erasure"))
    Noting._told.clear()
    Noting._next.clear()


def consents(store: Store, *facts: tuple[str, str]) -> None:
    with store.writing() as connection:
        for n, (kind, contact) in enumerate(facts):
            data = {"contact": contact, "purpose": "news"}
            tell(connection, "crm", f"{kind}_{contact}_{n}", kind, data, store.now(connection))


def test_connectors_are_told_what_they_ask_for_in_order_for_each_contact(store: Store, noting: Noting) -> None:
    to = settings(connectors={"cdp": noting})
    facts = [("consent.given", "ada"), ("consent.withdrawn", "ada"), ("contact.suppressed", "ada")]
    consents(store, *facts, ("consent.given", "eve"), ("contact.erased", "eve"))
    noting._next.append(Reply(None, "it broke off"))
    until_told(store, to)
    of_ada = [kind for kind, contact in noting._told if contact == "ada"]
    of_eve = [kind for kind, contact in noting._told if contact == "eve"]
    assert list(dict.fromkeys(of_ada)) == ["consent.given", "consent.withdrawn"]
    assert list(dict.fromkeys(of_eve)) == ["consent.given", "contact.erased"]
    assert len(noting._told) == 5
    left = [one.reply for one in rows_of(store, t.outbox, target="crm") if one.delivered_at is None]
    assert left == ["the settings say no address for crm"]  # of the suppression, which nobody asks for
    assert not [one for one in rows_of(store, t.outbox) if one.delivered_at and (one.about or one.body)]


@pytest.mark.parametrize(
    ("raised_", "reply", "is_dead"),
    [
        (Later("it is busy", timedelta(hours=1)), "it is busy", False),
        (Broken("it has no such field"), "it has no such field", True),
        (KeyError("ada"), "telling it went wrong: KeyError at test_incidents.py:", False),
    ],
)
@ON_SQLITE
def test_whatever_telling_raises_is_a_reply(
    store: Store, noting: Noting, raised_: Exception, reply: str, *, is_dead: bool
) -> None:
    to = settings(connectors={"cdp": noting})
    consents(store, ("consent.given", "ada"))
    noting._next.append(raised_)
    assert delivered(store, to) == (0, int(not is_dead), int(is_dead))
    (row,) = rows_of(store, t.outbox, target="connectors/cdp")
    assert row.reply.startswith(reply)
    assert "ada" not in row.reply
    assert (row.dead_at is not None) is is_dead


@ON_SQLITE
def test_a_dead_letter_that_no_longer_holds_is_not_told_any_more(store: Store, noting: Noting) -> None:
    to = settings(connectors={"cdp": noting})
    consents(store, ("consent.given", "ada"), ("consent.withdrawn", "ada"))
    noting._next.append(Broken("no"))
    until_told(store, to)
    with store.writing() as connection:
        assert try_again(connection, "connectors/cdp", "ada", store.now(connection)) == 0
        assert not open_alerts(connection)
    assert rows_of(store, t.outbox, target="connectors/cdp")[0].reply == "what came after it says more"


@ON_SQLITE
def test_dead_letters_that_no_longer_hold_are_not_told_to_connectors(store: Store) -> None:
    later = {"type": "consent.withdrawn", "data": {"contact": "ada", "purpose": "news"}}
    given_ = {"type": "consent.given", "data": {"contact": "ada", "purpose": "news"}}
    other = {"type": "consent.given", "data": {"contact": "ada", "purpose": "offers"}}
    suppressed = {"type": "contact.suppressed", "data": {"contact": "ada"}}
    all_of_it = {"type": "consent.withdrawn", "data": {"contact": "ada", "purpose": None}}
    erased = {"type": "contact.erased", "data": {"contact": "ada"}}
    assert outbox._replaces(later, given_)
    assert not outbox._replaces(later, other)
    assert outbox._replaces(all_of_it, other)
    assert not outbox._replaces(later, suppressed)
    assert not outbox._replaces(suppressed, later)
    assert all(outbox._replaces(erased, one) for one in (later, given_, other, suppressed))


# Settings


@pytest.mark.parametrize(
    ("system", "why"),
    [
        ({"kind": "pagrduty"}, "did you mean 'pagerduty'"),
        ({"name": "x"}, "a system for incidents has its `kind`"),
        ({"kind": "pagerduty", "name": "x"}, "routing_key"),
        ({"kind": "pagerduty", "name": "x", "routing_key": "e93facc04764012d7bfb002500d5d1a6"}, "env:NAME"),
        ({"kind": "pagerduty", "name": "x", "routing_key": "env:X", "at_least": "eror"}, "critical"),
        ({"kind": "servicenow_incident", "name": "x", "url": "https://acme.example"}, "either `user` and `password`"),
        ({"kind": "servicenow_event", "name": "x", "url": "https://acme.example", "user": "x"}, "either `user`"),
        ({"kind": "servicenow_event", "name": "x", "user": "x", "password": "env:X"}, "url"),
        ({"kind": "apprise", "name": "x", "service": "env:X", "url": "https://chat.example"}, "incidents has no 'url'"),
    ],
)
def test_settings_of_incidents_that_are_wrong_say_why(system: dict[str, Any], why: str, tmp_path: Path) -> None:
    plain = settings().model_dump(mode="json", by_alias=True, exclude_defaults=True)
    (tmp_path / "sender.json").write_text(json.dumps(plain | {"incidents": [system]}))
    with pytest.raises(DefinitionError) as refused:
        Settings.read(tmp_path / "sender.json")
    assert why in str(refused.value)
    assert "e93facc" not in str(refused.value)


def test_the_settings_of_the_guide_are_settings(tmp_path: Path) -> None:
    guide = (Path(__file__).parent.parent / "docs" / "incidents.md").read_text()
    plain = settings().model_dump(mode="json", by_alias=True, exclude_defaults=True)
    found = YAML(typ="safe").load(guide.split("```yaml\n")[1].split("```")[0])
    (tmp_path / "sender.json").write_text(json.dumps(plain | found))
    read = Settings.read(tmp_path / "sender.json")
    assert [one.kind for one in read.incidents] == ["pagerduty", "servicenow_incident", "servicenow_event", "apprise"]
    assert read.told_statistics() == ["incidents/events", "incidents/chat"]


def test_incidents_have_names_of_their_own(pagerduty: PagerDuty) -> None:
    with pytest.raises(ValueError, match="two are named 'pager'"):
        telling(pager(pagerduty), pager(pagerduty))


def test_settings_are_written_as_they_were_read(pagerduty: PagerDuty) -> None:
    one = pager(pagerduty)
    again = Settings.model_validate(telling(one).model_dump(mode="json", by_alias=True, exclude_defaults=True))
    assert again.incidents == (incident_system_of(one),)


def test_who_acknowledges_what_is_not_open_is_told_what_is(store: Store) -> None:
    raised(store)
    with pytest.raises(DataError, match="did you mean 'relay/main'"):
        acknowledged(store, "relay/mian")


@ON_SQLITE
def test_a_contacts_facts_go_to_a_connector_one_after_the_other(store: Store) -> None:
    with store.writing() as connection:
        now = store.now(connection)
        tell(connection, "connectors/crm", "one", "consent.given", {"contact": "ada"}, now)
        tell(connection, "crm", "one", "consent.given", {"contact": "ada"}, now + timedelta(seconds=1))
    assert {one.target: one.about for one in rows_of(store, t.outbox)} == {
        "connectors/crm": "contact/ada", "crm": None,
    }  # fmt: skip
