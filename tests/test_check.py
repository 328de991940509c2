"""Which journeys are refused, with which faults, and what is said of those that are sound (rules 24 and 25)."""

from typing import Any

import pytest

from journeylab.check import faults_of, notes_of
from journeylab.journey import Journey

SOUND: dict[str, Any] = {
    "hello": {"send": "welcome", "next": "read"},
    "read": {"wait_for": "opened(hello)", "within": "3d", "then": "done", "else": "done"},
    "done": {"exit": "finished"},
}


def journey(nodes: dict[str, Any] | None = None, **others: Any) -> Journey:
    parts = others.pop("parts", {})
    definition = {"journey": "trial", "trigger": {"event": "signup"}, "nodes": nodes or SOUND, **others}
    return Journey.from_data(definition).model_copy(update={"parts": parts})


def said(one: Journey) -> str:
    return "\n".join(map(str, faults_of(one)))


def decide(condition: str) -> dict[str, Any]:
    clause = {"if": condition, "go": "done"}
    return {**SOUND, "read": {"decide": [clause], "else": "done"}}


def test_a_sound_journey_has_no_fault() -> None:
    assert faults_of(journey()) == []


@pytest.mark.parametrize(
    ("node", "path"),
    [
        ({"send": "x", "next": "don"}, "read.next"),
        ({"send": "x", "next": "done", "skipped": "don"}, "read.skipped"),
        ({"call": "x", "next": "done", "failed": "don"}, "read.failed"),
        ({"wait_for": "x", "within": "1d", "then": "don", "else": "done"}, "read.then"),
        ({"wait_for": [{"await": "x", "go": "done"}, {"await": "y1", "go": "don"}], "within": "1d", "else": "done"},
         "read.wait_for.1.go"),
        ({"decide": [{"if": "a", "go": "done"}, {"if": "b", "go": "don"}], "else": "done"}, "read.decide.1.go"),
        ({"split": {"done": "50%", "don": "50%"}}, "read.split.don"),
        ({"wait_until": {"date": "expiry"}, "next": "done", "else": "don"}, "read.else"),
    ],
)  # fmt: skip
def test_every_target_must_be_a_node(node: dict[str, Any], path: str) -> None:
    known = "did you mean 'done'? Known nodes: done, hello, read."
    assert said(journey({**SOUND, "read": node})) == f"nodes.{path}: no node 'don'; {known}"


def test_a_target_is_named_once_though_two_branches_lead_there() -> None:
    assert len(faults_of(journey({"hello": {"send": "x", "next": "nowhere"}}))) == 1


def test_a_node_that_nothing_leads_to_is_refused() -> None:
    assert said(journey({**SOUND, "lost": {"wait": "1d", "next": "done"}})).startswith("nodes.lost: nothing leads here")


def test_start_must_be_a_node_and_decides_what_is_reached() -> None:
    assert "no node 'hallo'; did you mean 'hello'?" in said(journey(start="hallo"))
    assert "nodes.hello: nothing leads here from 'read'" in said(
        journey({**SOUND, "read": {"wait": "1d", "next": "done"}}, start="read")
    )


def test_a_loop_must_take_time() -> None:
    nodes = {
        "a": {"send": "x", "next": "b"},
        "b": {"decide": [{"if": "paid", "go": "done"}], "else": "c"},
        "c": {"set": {"seen": True}, "next": "a"},
        "done": {"exit": "finished"},
    }
    assert "the loop a -> b -> c -> a takes no time" in said(journey(nodes))
    assert said(journey({**nodes, "c": {"wait": "1d", "next": "a"}})) == ""


@pytest.mark.parametrize(
    ("inner", "n_faults"), [({"emit": "seen", "next": "end"}, 1), ({"wait": "1d", "next": "end"}, 0)]
)
def test_a_loop_through_a_part_takes_the_time_that_the_part_takes(inner: dict[str, Any], n_faults: int) -> None:
    part = journey({"in": inner, "end": {"exit": "out"}}, journey="care")
    nodes = {
        "a": {"run": "care", "next": "b"},
        "b": {"decide": [{"if": "paid", "go": "done"}], "else": "a"},
        "done": {"exit": "finished"},
    }
    assert len(faults_of(journey(nodes, parts={"care": part}))) == n_faults


@pytest.mark.parametrize(
    ("condition", "message"),
    [
        ("plan = 1", "equality is written =="),
        ("opened(helo)", "no node 'helo' that sends; did you mean 'hello'?"),
        ("opened(done)", "'done' sends nothing"),
        ('segment("keen") > 0.5', "There are no segments."),
    ],
)
def test_conditions_are_checked_in_their_place(condition: str, message: str) -> None:
    text = said(journey(decide(condition)))
    assert text.startswith("nodes.read.decide.0.if: ")
    assert message in text


def test_a_trigger_knows_neither_messages_nor_the_entry() -> None:
    trigger = {"event": "signup", "where": "opened(hello) and entry.plan == 1"}
    assert "before an entry none of its messages was sent" in said(journey(trigger=trigger))
    assert "entry.plan: write plan" in said(journey(trigger=trigger))


def test_an_exit_may_ask_for_messages() -> None:
    assert said(journey(exit_when=[{"event": "purchase", "where": "opened(hello) and entry.plan == plan"}])) == ""


def test_segments_must_exist_and_not_rest_on_themselves() -> None:
    circle = {"a": 'segment("b") > 0.5', "b": 'segment("a") > 0.5', "c": 'segment("d") > 0.5'}
    text = said(journey(segments=circle, trigger={"segment": "e", "every": "1d"}))
    assert text.splitlines() == [
        "trigger.segment: no segment 'e'; Known segments: a, b, c.",
        "segments.a: this segment rests on itself",
        "segments.b: this segment rests on itself",
        "segments.c: no segment 'd'; Known segments: a, b, c.",
    ]


def test_an_attribute_is_one_kind_of_value() -> None:
    one = journey(decide("plan > 3"), segments={"trial": 'plan == "trial"', "new": "missing(plan)"})
    assert said(one) == (
        "segments.trial: attribute 'plan' is used as a text here and as a number in nodes.read.decide.0.if"
    )


def test_a_wait_reaches_back_to_the_entry_or_to_a_node() -> None:
    waits = {**SOUND["read"], "since": "helo"}
    assert "since is entry or a node, not 'helo'; did you mean 'hello'?" in said(journey({**SOUND, "read": waits}))
    assert said(journey({**SOUND, "read": {**waits, "since": "entry"}})) == ""


def test_names_that_mean_something_else_are_refused() -> None:
    nodes = {"entry": {"wait": "1d", "next": "done"}, "done": {"exit": "finished"}}
    assert "no node can be called 'entry'" in said(journey(nodes))


RUNS = {"care": {"run": "vip_care", "next": "done"}, "done": {"exit": "finished"}}


def test_a_part_must_be_there() -> None:
    assert "no journey 'vip_care' among the parts" in said(journey(RUNS))


def test_a_part_has_the_same_purpose() -> None:
    part = journey(journey="vip_care", purpose="service")
    assert "its purpose is 'service', this journey's is 'marketing'" in said(journey(RUNS, parts={"vip_care": part}))


def test_a_journey_is_not_a_part_of_itself() -> None:
    assert "trial -> trial" in said(journey({**RUNS, "care": {"run": "trial", "next": "done"}}))


def test_the_faults_of_a_part_are_those_of_the_whole() -> None:
    part = journey({"end": {"wait": "1d", "next": "nowhere"}}, journey="vip_care")
    assert said(journey(RUNS, parts={"vip_care": part})).startswith("parts.vip_care.nodes.end.next: no node 'nowhere'")


def test_messages_of_a_part_are_named_after_the_node_that_runs_it() -> None:
    part = journey(journey="vip_care")
    nodes = {**RUNS, "care": {"run": "vip_care", "next": "ask"}, "ask": {"decide": [], "else": "done"}}
    for node, n_faults in (("care.hello", 0), ("care.read", 1)):
        nodes["ask"] = {"decide": [{"if": f"opened({node})", "go": "done"}], "else": "done"}
        assert len(faults_of(journey(nodes, parts={"vip_care": part}))) == n_faults


def test_a_zone_that_is_set_must_exist() -> None:
    nodes = {"move": {"set": {"timezone": "Europe/Warsav"}, "next": "done"}, "done": {"exit": "finished"}}
    assert "nodes.move.set.timezone: 'Europe/Warsav' is no time zone" in said(journey(nodes))


def test_notes_say_what_of_a_part_is_not_used() -> None:
    part = journey(journey="vip_care", cap={"sends": 1, "within": "1d"})
    assert "node 'care': of 'vip_care' only the nodes are used, not its trigger, cap (rule 25)" in notes_of(
        journey(RUNS, parts={"vip_care": part})
    )


def test_a_unit_that_is_used_as_a_date_or_a_flag_is_refused() -> None:
    used = "attribute 'born_on' is used as a date in trigger.date; a unit is a text or a whole number (rule 22)"
    assert said(journey(trigger={"date": "born_on"}, unit="born_on")) == f"unit: {used}"
    assert "unit: attribute 'paid' is used as a flag" in said(journey(decide("paid"), unit="paid"))
    assert faults_of(journey(decide('household == "h1"'), unit="household")) == []
    assert faults_of(journey(decide("household in [17, 18]"), unit="household")) == []


def test_notes_say_that_a_unit_decides_nothing_without_a_split_or_a_holdout() -> None:
    note = "unit 'household' decides nothing: there is no split and no holdout"
    halves = {**SOUND, "hello": {"split": {"read": "50%", "done": "50%"}}, "read": {"wait": "1d", "next": "done"}}
    assert note in notes_of(journey(unit="household"))
    assert note not in notes_of(journey(unit="household", holdout="5%"))
    assert note not in notes_of(journey(halves, unit="household"))
    assert note not in notes_of(journey(RUNS, parts={"vip_care": journey(halves)}, unit="household"))


def test_notes_name_sends_at_any_hour() -> None:
    assert notes_of(journey()) == ["sends at any hour of the day, as there are no quiet_hours: hello"]
    assert notes_of(journey(quiet_hours={"from": "21:00", "to": "08:00"})) == []


def test_notes_name_what_never_ends_and_what_comes_too_late() -> None:
    nodes = {
        "early": {"wait_for": "opened(hello)", "within": "1d", "then": "hello", "else": "hello"},
        "hello": {"send": "welcome", "next": "pause"},
        "pause": {"wait": "7d", "next": "hello"},
    }
    notes = "\n".join(notes_of(journey(nodes)))
    assert "no exit can be reached from early, hello, pause" in notes
    assert "nodes.early.wait_for: 'hello' cannot have been sent before 'early'" in notes


def test_notes_name_segments_that_nothing_uses() -> None:
    assert "segments that nothing here uses: keen" in notes_of(journey(segments={"keen": "paid"}))
