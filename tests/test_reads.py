"""What a journey reads: what else a log has makes no difference to it, and nothing that it reads can be left out."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import assume, given

from journeylab.binding import LogNames
from journeylab.journey import Journey, Segment
from journeylab.program import Policy, Release, compile_portfolio
from journeylab.reads import TIMEZONE, Read, events_read, reads_of
from oracle import interpret
from strategies import World, worlds
from test_properties import some
from worlds import journey_of, log_of

CONTRACT = ("message", "link", "bounce_type", "purpose", "name", "value")
"""What the log's contract names of events, which is there in any case."""


def journey(**given: Any) -> Journey:
    said = {"journey": "hello", "trigger": {"event": "signup"}, "nodes": {"done": {"exit": "seen"}}}
    return Journey.model_validate(said | given)


def said(one: Journey) -> list[str]:
    return [f"{'.'.join(map(str, read.path))}: {read}" for read in reads_of(one)]


def test_each_thing_is_named_with_its_place() -> None:
    part = journey(
        journey="care",
        trigger={"event": "never", "where": "unread == 1"},
        exit_when=[{"event": "gone", "where": "unread == 1"}],
        nodes={
            "ask": {"decide": [{"if": 'entry.plan == "x" and segment("loyal") > 0.5', "go": "done"}], "else": "done"},
            "done": {"exit": "cared"},
        },
        segments={"loyal": 'last("order.shop") == "a"', "idle": "unread == 2"},
    )
    whole = journey(
        trigger={"event": "signup", "where": 'plan == "trial" and count("visit", where="page == \'x\'") > 1'},
        exit_when=[{"event": "purchase", "where": "amount > 5"}],
        unit="household",
        quiet_hours={"from": "21:00", "to": "08:00"},
        nodes={
            "wait": {
                "wait_for": "event('click', where='button == 1')",
                "within": "1d",
                "then": "until",
                "else": "until",
            },
            "until": {"wait_until": {"date": "renewal"}, "next": "care"},
            "care": {"run": "care", "next": "tell"},
            "tell": {"send": "m", "at": "best", "next": "mark"},
            "mark": {"set": {"stage": 1}, "next": "ask"},
            "ask": {"decide": [{"if": "stage == 1 and segment('young') > 0.5", "go": "done"}], "else": "done"},
            "done": {"exit": "seen"},
        },
        segments={"young": "age < 30", "unused": "unread == 1"},
    ).model_copy(update={"parts": {"care": part}})
    assert said(whole) == [
        "trigger.where: property 'plan' of 'signup'",
        "trigger.where: property 'page' of 'visit'",
        "exit_when.0.where: property 'amount' of 'purchase'",
        "nodes.wait.wait_for: property 'button' of 'click'",
        "nodes.ask.decide.0.if: attribute 'stage'",
        "segments.young: attribute 'age'",
        "nodes.until.wait_until.date: attribute 'renewal'",
        "nodes.until.wait_until: attribute 'timezone'",
        "nodes.tell.at: attribute 'timezone'",
        "parts.care.nodes.ask.decide.0.if: property 'plan' of 'signup'",
        "parts.care.segments.loyal: property 'shop' of 'order'",
        "unit: attribute 'household'",
        "quiet_hours: attribute 'timezone'",
    ]
    assert [one.name for one in reads_of(whole) if one.or_attribute] == ["plan", "amount", "button"]
    assert events_read(whole) == {
        "signup", "visit", "purchase", "click", "order", "sent", "attribute_changed", "consent_given",
        "consent_withdrawn", "erased", "complained", "bounced",
    }  # fmt: skip


def test_segments_of_the_surrounding_file_are_read_where_they_are_used() -> None:
    shared = {"a": Segment(condition='segment("b") > 0'), "b": Segment(condition="x == 1"), "c": Segment(condition="y")}
    trigger = {"segment": "a", "every": "1d"}
    assert said(journey(trigger=trigger).model_copy(update={"shared": shared})) == ["segments.b: attribute 'x'"]


def test_dates_and_local_hours_read_the_time_zone() -> None:
    asked = {"ask": {"decide": [{"if": "local_hour() > 9", "go": "done"}], "else": "done"}, "done": {"exit": "seen"}}
    assert said(journey(trigger={"date": "renewal"})) == [
        "trigger.date: attribute 'renewal'",
        "trigger: attribute 'timezone'",
    ]
    assert said(journey(nodes=asked)) == ["nodes.ask.decide.0.if: attribute 'timezone'"]
    assert said(journey()) == []


def kept(world: World, reads: set[Read], events: set[str]) -> World:
    """The world without all that is not read; what is no longer there still happens, under another name."""
    attributes = {one.name for one in reads if one.event is None or one.or_attribute}
    properties = {(one.event, one.name) for one in reads}

    def event(one: dict[str, Any]) -> dict[str, Any]:
        is_read = one["event"] in events
        if one["event"] == "attribute_changed":
            is_read = one["properties"].get("name") in attributes
        left = {
            name: value
            for name, value in one["properties"].items()
            if is_read and (name in CONTRACT or (one["event"], name) in properties)
        }
        return one | {"event": one["event"] if is_read else "noise", "properties": left}

    def contact(one: dict[str, Any]) -> dict[str, Any]:
        left = {name: value for name, value in one["attributes"].items() if name in attributes}
        return one | {"attributes": left, "timezone": one["timezone"] if TIMEZONE in attributes else None}

    return replace(world, events=[*map(event, world.events)], contacts=[*map(contact, world.contacts)])


def decided(world: World) -> list[Any]:
    found = interpret(**world.inputs())
    return [
        sorted(map(tuple, rows), key=repr) for rows in (found.visits, found.entries, found.sends, found.arms)
    ]  # fmt: skip


@some(60)
@given(worlds())
def test_what_is_not_read_makes_no_difference(world: World) -> None:
    assume(world.events)
    journeys = [journey_of(world, one) for one in world.journeys]
    reads, events = {read for one in journeys for read in reads_of(one)}, set[str]().union(*map(events_read, journeys))
    assert decided(kept(world, reads, events)) == decided(world)


@some(20)
@given(worlds())
def test_the_program_asks_for_no_event_that_is_not_among_them(world: World) -> None:
    assume(world.events)
    journeys, names = [journey_of(world, one) for one in world.journeys], LogNames(log_of(world))
    releases = [Release(journey=one) for one in journeys]
    compile_portfolio(releases, Policy(), names)
    assert {*names.event_names} <= frozenset().union(*map(events_read, journeys))


def test_what_is_left_out_of_what_is_read_does_make_a_difference() -> None:
    nodes = {
        "ask": {"decide": [{"if": "plan == 'pro'", "go": "here"}], "else": "there"},
        "here": {"exit": "a"},
        "there": {"exit": "b"},
    }
    at = datetime(2026, 3, 2, tzinfo=UTC)
    event = {"contact": "ada", "event": "signup", "occurred_at": at, "properties": {}}
    who = {"contact": "ada", "attributes": {"plan": "pro"}, "timezone": None}
    world = World([{"journey": "j", "trigger": {"event": "signup"}, "nodes": nodes}], [event], [who])
    (one,) = reads_of(journey_of(world, world.journeys[0]))
    assert decided(kept(world, {one}, {"signup"})) == decided(world)
    assert decided(kept(world, set(), {"signup"})) != decided(world)


@pytest.mark.nightly
@some(1500)
@given(worlds())
def test_what_is_not_read_makes_no_difference_in_many_worlds(world: World) -> None:
    assume(world.events)
    journeys = [journey_of(world, one) for one in world.journeys]
    reads, events = {read for one in journeys for read in reads_of(one)}, set[str]().union(*map(events_read, journeys))
    assert decided(kept(world, reads, events)) == decided(world)
