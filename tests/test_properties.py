"""The machine against the rules: equal to the oracle on random worlds, and free of look-ahead, order and partitions."""

from __future__ import annotations

from dataclasses import replace as changed
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from oracle import interpret
from strategies import World, worlds
from worlds import arms_of, entries_of, log_of, replay_of, sends_of, visits_of

SLOW = [HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much, HealthCheck.large_base_example]


def some(n: int) -> Any:
    return settings(max_examples=n, deadline=None, suppress_health_check=SLOW)


def agree(world: World) -> None:
    expected, got = interpret(**world.inputs()), replay_of(world)
    assert sorted(visits_of(got), key=repr) == sorted(map(tuple, expected.visits), key=repr)
    assert sorted(entries_of(got), key=repr) == sorted(map(tuple, expected.entries), key=repr)
    assert sorted(sends_of(got), key=repr) == sorted(map(tuple, expected.sends), key=repr)
    assert sorted(arms_of(got), key=repr) == sorted(map(tuple, expected.arms), key=repr)
    assert int(got.counts["n_visits"].sum() + got.nodes["n_inside"].sum()) == len(expected.visits)
    assert got.n_entries == len(expected.entries)


@some(100)
@given(worlds())
def test_the_machine_agrees_with_the_oracle_visit_for_visit(world: World) -> None:
    assume(world.events)
    agree(world)


@pytest.mark.nightly
@some(2500)
@given(worlds())
def test_the_machine_agrees_with_the_oracle_on_many_worlds(world: World) -> None:
    assume(world.events)
    agree(world)


def unhindered(world: World) -> World:
    """The world without what holds sends up: no quiet hours, caps, holdouts, pauses and refusals."""
    held = ("quiet_hours", "cap", "holdout")
    journeys = [{key: value for key, value in one.items() if key not in held} for one in world.journeys]
    refusals = ("consent_given", "consent_withdrawn", "unsubscribed", "erased", "complained", "bounced")
    events = [one for one in world.events if one["event"] not in refusals]
    return changed(world, journeys=journeys, events=events, policy=None, pauses={})


@some(100)
@given(worlds())
def test_the_machine_agrees_with_the_oracle_where_nothing_holds_sends_up(world: World) -> None:
    world = unhindered(world)
    assume(world.events)
    agree(world)


@some(60)
@given(worlds())
def test_a_journey_that_nobody_enters_changes_nothing_for_the_others(world: World) -> None:
    """Its cap counts the sends of its own entries alone, and yet has all others ask before they send."""
    world = unhindered(world)
    assume(world.events)
    nodes = {"hello": {"send": "m1", "next": "done"}, "done": {"exit": "finished"}}
    cap = {"sends": 1, "within": "1d"}
    idle = {"journey": "idle", "trigger": {"event": "nothing_of_the_kind"}, "nodes": nodes, "cap": cap}
    alone, beside = replay_of(world), replay_of(changed(world, journeys=[*world.journeys, idle]))
    for rows_of in (visits_of, entries_of, sends_of, arms_of):
        assert sorted(rows_of(beside), key=repr) == sorted(rows_of(alone), key=repr)


@some(30)
@given(worlds())
def test_contacts_who_move_between_units_have_the_one_of_the_entry(world: World) -> None:  # 22, 23
    """Every entry draws, and moves the contact to another household before it goes on."""
    assume(world.events)

    def moving(household: int, one: dict[str, Any]) -> dict[str, Any]:
        first = one.get("start") or next(iter(one["nodes"]))
        nodes = {**one["nodes"], "moves": {"set": {"household": household}, "next": first}}
        trigger = {**one["trigger"], "reentry": "always"}
        return {**one, "unit": "household", "holdout": "50%", "trigger": trigger, "start": "moves", "nodes": nodes}

    journeys = [moving(20 + i, one) for i, one in enumerate(world.journeys)]
    agree(changed(world, journeys=journeys, policy={"holdout": "30%"}))


@some(30)
@given(worlds(), st.integers(0, 96))
def test_advancing_in_two_steps_equals_advancing_at_once(world: World, hours: int) -> None:
    assume(world.events)
    log = log_of(world)
    until = max(log.end_at, world.until or log.end_at)
    earlier = until - timedelta(hours=hours)
    two_steps = replay_of(world, log, until=earlier).advance(until)
    assert visits_of(two_steps) == visits_of(replay_of(world, log, until=until))


@some(30)
@given(worlds(), st.integers(0, 96))
def test_nothing_later_than_the_horizon_moves_what_happens_before_it(world: World, hours: int) -> None:
    """A replay up to t of the whole log makes the visits that a replay of the log as it was at t makes."""
    assume(world.events)
    log = log_of(world)
    until = log.end_at - timedelta(hours=hours)
    assume(until >= log.start_at)
    whole = replay_of(world, log, until=until)
    then = replay_of(world, log.truncated(until), until=until, assumed_consent=whole.assumed_consent)
    # What a send is matched with may lie after it (rule 33), so evidence is left out.
    assert [row[:-1] for row in visits_of(whole)] == [row[:-1] for row in visits_of(then)]


@some(30)
@given(worlds(), st.integers(0, 96))
def test_a_visit_that_is_closed_stays_as_it_is_when_time_goes_on(world: World, hours: int) -> None:
    assume(world.events)
    log = log_of(world)
    until = max(log.end_at, world.until or log.end_at)
    earlier = replay_of(world, log, until=until - timedelta(hours=hours))
    later = {row[:6]: row for row in visits_of(replay_of(world, log, until=until))}
    for row in visits_of(earlier):
        closed = row[6] is not None
        assert later[row[:6]][:8] == row[:8] if closed else row[:6] in later


@some(30)
@given(st.data(), worlds())
def test_the_order_of_contacts_in_the_log_does_not_matter(data: st.DataObject, world: World) -> None:
    """Rows are shuffled so that each contact's rows keep their order, which is meaning (rule 1)."""
    assume(world.events)
    contacts = data.draw(st.permutations([one["contact"] for one in world.events]))
    rows = {contact: iter([one for one in world.events if one["contact"] == contact]) for contact in set(contacts)}
    shuffled = changed(world, events=[next(rows[contact]) for contact in contacts])
    assert visits_of(replay_of(shuffled)) == visits_of(replay_of(world))


@some(30)
@given(worlds(), st.integers(1, 3))
def test_partitions_by_contact_add_up_to_the_whole(world: World, n: int) -> None:
    assume(world.events)
    log = log_of(world)
    whole = replay_of(world, log)
    parts = [replay_of(world, log.partition(k, n), assumed_consent=whole.assumed_consent) for k in range(n)]
    assert sorted((row for part in parts for row in visits_of(part)), key=repr) == sorted(visits_of(whole), key=repr)


@some(25)
@given(worlds())
def test_a_replay_repeated_is_the_same(world: World) -> None:
    assume(world.events)
    log = log_of(world)
    assert visits_of(replay_of(world, log)) == visits_of(replay_of(world, log))
