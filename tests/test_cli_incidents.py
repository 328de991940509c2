"""`journeylab incidents`: what needs a person, who looks after it, and whether the systems that are told take it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from journeylab.sender.sending.alerts import raise_alert
from journeylab.sender.store import Store
from journeylab.sender.store import tables as t
from promotable import SETTINGS
from stores import rows_of
from vendors.pagerduty import ROUTING_KEY, PagerDuty

Run = Callable[..., str]


@pytest.fixture
def pagerduty() -> Iterator[PagerDuty]:
    with PagerDuty() as there:
        yield there


@pytest.fixture
def store(tmp_path: Path, pagerduty: PagerDuty, monkeypatch: pytest.MonkeyPatch) -> Iterator[Store]:
    """A store in whose folder the command runs, with one alert."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ROUTING_KEY", ROUTING_KEY)
    more = f"incidents:\n  - {{name: pager, kind: pagerduty, url: {pagerduty.url}, routing_key: 'env:ROUTING_KEY'}}\n"
    (tmp_path / "sender.yaml").write_text(SETTINGS + more)
    opened = Store.open("sqlite:///journeylab.db", create=True)
    with opened.writing() as connection:
        raise_alert(connection, "relay/main", "critical", "it cannot be reached", opened.now(connection))
    yield opened
    opened.close()


def test_what_needs_a_person_is_listed_with_who_looks_after_it(store: Store, run: Run) -> None:
    shown = run("incidents", "list")
    assert "critical  relay/main  since " in shown
    assert "it cannot be reached" in shown
    assert "looks after it" not in shown
    assert shown.splitlines()[-1].split() == ["pager", "pagerduty", "error", "0", "0", "0"]
    assert run("incidents", "acknowledge", "relay/main").strip() == "relay/main is acknowledged"
    assert "already" in run("incidents", "acknowledge", "relay/main")
    listed = json.loads(run("incidents", "list", "--json"))
    assert listed["alerts"][0]["acknowledged_by"]
    assert listed["systems"] == [
        {"name": "pager", "kind": "pagerduty", "at_least": "error", "n_waiting": 0, "n_failing": 0, "n_dead": 0}
    ]
    assert "looks after it since" in run("incidents", "list")
    (done,) = rows_of(store, t.audit, action="acknowledge")
    assert done.object == "alert/relay/main"


def test_a_cause_that_is_not_open_is_named(store: Store, run: Run) -> None:
    assert "did you mean 'relay/main'" in run("incidents", "acknowledge", "relay/mian", status=1)


def test_a_system_is_tried_by_an_incident_that_is_over_at_once(store: Store, run: Run, pagerduty: PagerDuty) -> None:
    assert run("incidents", "test", "pager").splitlines() == ["alert.raised: 202", "alert.resolved: 202"]
    (incident,) = pagerduty.incidents
    assert incident.status == "resolved"
    assert incident.dedup_key.startswith("akacja/test/pager/")
    assert json.loads(run("incidents", "test", "pager", "--json"))["replies"]["alert.raised"] == "202"


def test_a_system_that_does_not_take_it_is_a_failure_in_words(
    store: Store, run: Run, pagerduty: PagerDuty, monkeypatch: pytest.MonkeyPatch
) -> None:
    pagerduty.fail(None, "broken")
    assert "may be open there, so resolve it" in run("incidents", "test", "pager", status=1)
    monkeypatch.setenv("ROUTING_KEY", "x")
    said = run("incidents", "test", "pager", status=1)
    assert "pager did not take alert.raised: 400" in said
    assert "did you mean 'pager'" in run("incidents", "test", "pagr", status=1)


def test_what_was_given_up_is_told_again_to_whom_the_settings_name(store: Store, run: Run) -> None:
    assert run("sends", "retry", "incidents/pager").strip() == "0 things will be told to incidents/pager again"
    assert "did you mean 'incidents/pager'" in run("sends", "retry", "incidents/pagr", status=1)


def test_staging_tries_nothing(store: Store, run: Run, pagerduty: PagerDuty) -> None:
    with Path("sender.yaml").open("a") as settings:
        settings.write("staging: {domains: [staging.example]}\n")
    assert "this is staging" in run("incidents", "test", "pager", status=1)
    assert pagerduty.calls == []
