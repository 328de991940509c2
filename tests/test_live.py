"""The live world: what runs on a store is what replay says, on both databases, and a production log reproduces it."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from hypothesis import HealthCheck, assume, given, settings

from journeylab import datasets, journeyfile
from journeylab.eventlog import EventLog
from journeylab.journey import Journey, Policy
from journeylab.program import Release
from journeylab.replay import replay
from journeylab.sender.store import Store
from journeylab.sender.store import tables as t
from liverun import SETTINGS, VISIT, LiveRun, StillClock, events_of, plain
from stores import KEYS
from strategies import ATTRIBUTE_KINDS, PROPERTY_KINDS, World, worlds
from worlds import _table, journey_of, log_of, replay_of, send_times_of

START = datetime(2026, 3, 2, 9, tzinfo=UTC)
HOUR, DAY = timedelta(hours=1), timedelta(days=1)
SLOW = [HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much, HealthCheck.large_base_example,
        HealthCheck.function_scoped_fixture]  # fmt: skip
KINDS = {str: "text", float: "number", bool: "flag", datetime: "instant"}


@pytest.fixture
def live(store: Store) -> Store:
    """A store on a clock that stands."""
    return Store(store.engine, StillClock(START))


@contextmanager
def a_store(file: Path, folder: Path, at: datetime) -> Iterator[Store]:
    target = folder / "live.db"
    for one in folder.glob("live.db*"):
        one.unlink()
    shutil.copy(file, target)
    store = Store.open(f"sqlite:///{target}", KEYS, clock=StillClock(at))
    try:
        yield store
    finally:
        store.close()


def journey(nodes: dict[str, Any], **more: Any) -> Journey:
    return Journey.model_validate({"journey": "j", "trigger": {"event": "signup"}, "nodes": nodes, **more})


def event(contact: str, name: str, at: datetime, **properties: Any) -> dict[str, Any]:
    return {"contact": contact, "event": name, "occurred_at": at, "properties": properties}


def consent(contact: str, at: datetime = START) -> dict[str, Any]:
    return event(contact, "consent_given", at, purpose="marketing")


def assert_reproduced(run: LiveRun, **terms: Any) -> None:
    """The production log replayed by receipt makes the same visits (rule 29)."""
    terms = {"assumed_consent": frozenset(run.running.basis)} | terms
    again = replay(run.releases, run.log(), until=run.clock.at, live=True, **terms)
    pd.testing.assert_frame_equal(run.visits(), plain(again.visits), check_dtype=False)


# Live and replay


def shop_run(store: Store, file: str, n: int) -> None:
    portfolio, log = journeyfile.read(datasets.journey_file(file)), datasets.shop()
    clock = store.clock
    assert isinstance(clock, StillClock)
    clock.at = log.start_at
    releases = [Release(journey=one) for one in portfolio.journeys]
    run = LiveRun(store, releases, policy=portfolio.policy)
    entering = replay(portfolio, log, assumed_consent=()).entries["contact"].drop_duplicates().head(n).tolist()
    events = events_of(log, entering)
    kinds = {name: log.property(name).kind for name in log.property_names}
    run.declare("event", {name: kind for name, kind in kinds.items() if kind != "unknown"})
    people = log.contacts(log.start_at)
    people = people[people["contact"].isin(entering)]
    run.people({k: v for k, v in one.items() if not pd.isna(v)} for one in people.to_dict("records"))
    run.run(events, log.end_at)
    rows = [{k: v for k, v in one.items() if k != "properties"} | one["properties"] for one in events]
    alone = EventLog.read(pd.DataFrame(rows), contacts=people)
    expected = plain(replay(portfolio, alone, until=log.end_at, assumed_consent=()).visits)
    got = run.visits()
    assert len(got) > n
    pd.testing.assert_frame_equal(got[[*VISIT[:5], "branch"]], expected[[*VISIT[:5], "branch"]], check_dtype=False)
    for name in ("arrived_at", "left_at"):  # what two things at one instant shift by
        assert ((got[name] - expected[name]).abs().dropna() < timedelta(milliseconds=1)).all()
        assert (got[name].isna() == expected[name].isna()).all()
    assert_reproduced(run)


def test_journeys_run_live_over_a_log_give_the_visits_of_its_replay(live: Store) -> None:
    shop_run(live, "trial_welcome", 2)


@pytest.mark.nightly
def test_journeys_run_live_over_a_longer_log_give_the_visits_of_its_replay(live: Store) -> None:
    shop_run(live, "shop_portfolio", 20)


def live_run(store: Store, world: World) -> tuple[LiveRun, dict[str, Any]]:
    """What runs a world's journeys on a store, and the models that it has."""
    releases = [
        Release(journey=journey_of(world, data), pauses=tuple(world.pauses.get(data["journey"], ())))
        for data in world.journeys
    ]
    basis = replay_of(world).assumed_consent
    terms: dict[str, Any] = {
        "scores": {name: _table(one, "score") for name, one in world.scores.items()},
        "send_times": {name: send_times_of(one) for name, one in (world.best or {}).items()},
    }
    policy = Policy.model_validate(world.policy or {})
    calls = {name: lambda contact, _at, fails=fails: contact not in fails for name, fails in world.calls.items()}
    calls = {name: calls.get(name, lambda *_: True) for name in ("crm", "shop")}
    run = LiveRun(store, releases, calls=calls, policy=policy, basis=basis, **terms)
    run.declare(
        "contact", {name: KINDS.get(kind, "date") for name, kind in ATTRIBUTE_KINDS.items()} | {"timezone": "text"}
    )
    run.declare("event", {name: KINDS.get(kind, "date") for name, kind in PROPERTY_KINDS.items()})
    return run, terms


def live_people(world: World) -> list[dict[str, Any]]:
    """A world's contacts, as `LiveRun.people` takes them."""
    return [
        {"contact": one["contact"]}
        | {k: v for k, v in {**one["attributes"], "timezone": one["timezone"]}.items() if v is not None}
        for one in world.contacts
    ]


def live_events(world: World) -> list[dict[str, Any]]:
    """A world's events but for those that a sender makes itself, as `LiveRun.run` takes them."""
    return [
        one | {"properties": {k: v for k, v in one["properties"].items() if v is not None}}
        for one in world.events
        if one["event"] != "sent"
    ]


def run_world(store: Store, world: World) -> None:
    run, terms = live_run(store, world)
    run.people(live_people(world))
    end = log_of(world).end_at
    run.run(live_events(world), max(end, world.until or end))
    assert_reproduced(run, **{**terms, "send_times": terms["send_times"] or None})


@pytest.mark.long
@settings(max_examples=4, deadline=None, suppress_health_check=SLOW)
@given(world=worlds())
def test_a_production_log_reproduces_every_decision(world: World, sqlite_store_file: Path, tmp_path: Path) -> None:
    assume(world.events)
    with a_store(sqlite_store_file, tmp_path, min(one["occurred_at"] for one in world.events)) as store:
        run_world(store, world)


@pytest.mark.nightly
@settings(max_examples=200, deadline=None, suppress_health_check=SLOW)
@given(world=worlds())
def test_many_production_logs_reproduce_every_decision(world: World, sqlite_store_file: Path, tmp_path: Path) -> None:
    assume(world.events)
    with a_store(sqlite_store_file, tmp_path, min(one["occurred_at"] for one in world.events)) as store:
        run_world(store, world)


# Trouble


def test_a_contact_about_whom_gate_and_machine_do_not_agree_is_held(live: Store) -> None:
    hello = {"hello": {"send": "m1", "next": "done"}, "done": {"exit": "finished"}}
    run = LiveRun(live, [Release(journey=journey(hello))], basis=["marketing"])
    run.settings = SETTINGS  # the gate's: consent is needed
    run.run([event("ada", "signup", START)], START + HOUR)
    (held,) = run.table(t.contacts)["held_because"]
    assert "refused by the gate more than 20 times" in held
    assert run.table(t.alerts)["cause"].tolist() == ["contacts/held"]
