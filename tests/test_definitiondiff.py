"""What a reviewer reads about the differences of two definitions."""

from typing import Any

import pytest

from journeylab.definitiondiff import Change, as_markdown, as_text, diff
from journeylab.journey import Journey, Segment

NODES: dict[str, Any] = {
    "hello": {"send": "welcome", "next": "read"},
    "read": {"wait_for": "opened(hello)", "within": "3d", "then": "share", "else": "pause"},
    "share": {"split": {"gift": "40%", "plain": "60%"}},
    "gift": {"send": "gift", "next": "ask"},
    "plain": {"send": "plain", "next": "ask"},
    "ask": {"decide": [{"if": "paid", "go": "done"}, {"if": 'plan == "x"', "go": "pause"}], "else": "done"},
    "pause": {"wait": "4d", "next": "done"},
    "done": {"exit": "finished"},
}


def journey(nodes: dict[str, Any] | None = None, **others: Any) -> Journey:
    definition = {"journey": "trial", "trigger": {"event": "signup"}, "exit_when": [{"event": "purchase"}]}
    return Journey.from_data({**definition, "nodes": {**NODES, **(nodes or {})}, **others})


def without(*names: str, **nodes: Any) -> dict[str, Any]:
    return {name: node for name, node in {**NODES, **nodes}.items() if name not in names}


def lines(after: Journey, before: Journey | None = None) -> list[str]:
    """What the text says, the line on the version left out."""
    return [line for line in as_text(diff(before or journey(), after)).splitlines() if "version" not in line]


@pytest.mark.parametrize(
    ("after", "said"),
    [
        (journey({"read": {**NODES["read"], "within": "5d"}}), "node 'read': within: 3d -> 5d"),
        (journey({"share": {"split": {"gift": "60%", "plain": "40%"}}}), "node 'share': split: gift: 40% -> 60%"),
        (journey({"pause": {"emit": "tired", "next": "done"}}),
         "node 'pause': {wait: 4d, next: done} -> {emit: tired, next: done}"),
        (journey({"gift": {**NODES["gift"], "at": "best"}}), "node 'gift': at added: best"),
        (journey({"gift": {**NODES["gift"], "at": {"best": "opens", "within": "1d"}}}),
         "node 'gift': at added: {best: opens, within: 1d}"),
        (journey({"gift": {**NODES["gift"], "when_capped": "skip"}}), "node 'gift': when_capped: wait -> skip"),
        (journey(trigger={"event": "signup", "reentry": "after_exit"}), "trigger: reentry: never -> after_exit"),
        (journey(timezone="Europe/Warsaw"), "timezone: UTC -> Europe/Warsaw"),
        (journey(holdout=0.05), "holdout: 0% -> 5%"),
        (journey(unit="household"), "unit: contact -> household"),
        (journey(cap={"sends": 1, "within": "1d"}), "cap added: {sends: 1, within: 1d}"),
        (journey(exit_when=[{"event": "purchase", "goal": True}]), "exit_when 1: goal: false -> true"),
        (journey(exit_when=[{"event": "left"}, {"event": "purchase"}]), "exit_when 1 added: {event: left}"),
        (journey(exit_when=[]), "exit_when removed: [{event: purchase}]"),
        (journey(segments={"keen": "paid"}), "segment 'keen' added: paid"),
        (journey(title="Trials"), "title added: Trials"),
        (journey(layout={"hello": [0, 1]}), "layout added, which does nothing to what the journey does"),
    ],
)  # fmt: skip
def test_a_change_is_said_in_one_line(after: Journey, said: str) -> None:
    assert said in lines(after)


def test_equal_definitions_have_no_difference() -> None:
    assert diff(journey(), journey()) == []
    assert as_text([]) == "no difference"
    assert as_markdown([]) == "- no difference"


def test_a_default_that_is_written_out_is_no_difference() -> None:
    assert diff(journey(), journey(timezone="UTC", priority=0, unit="contact")) == []


def test_the_terms_of_the_best_hour_are_compared_with_their_defaults() -> None:
    before, after = (
        journey({"gift": {**NODES["gift"], "at": {"best": "opens", **more}}})
        for more in ({"within": "1d"}, {"explore": "10%", "between": ["09:00", "20:00"]})
    )
    assert lines(after, before) == [
        'node \'gift\': at: between added: ["09:00", "20:00"]',
        "node 'gift': at: explore: 5% -> 10%",
        "node 'gift': at: within removed: 1d",
    ]


def test_a_node_that_goes_is_one_line() -> None:
    after = journey().model_copy(update={"nodes": {k: v for k, v in journey().nodes.items() if k != "pause"}})
    assert lines(after) == ["node 'pause' removed"]


def test_a_line_of_a_list_that_goes_is_one_line() -> None:
    after = journey({"ask": {"decide": NODES["ask"]["decide"][1:], "else": "done"}})
    assert lines(after) == ["node 'ask': decide 1 removed: {if: paid, go: done}"]


def test_weights_of_segments_are_compared() -> None:
    def weighted(weight: float) -> Journey:
        return journey(segments={"keen": {"weights": [{"when": "paid", "weight": weight}]}})

    assert lines(weighted(2.5), weighted(2)) == ["segment 'keen': weights 1: weight: 2.0 -> 2.5"]


def test_shared_segments_count_where_they_are_used() -> None:
    asks = journey({"ask": {"decide": [{"if": 'segment("keen") > 0.5', "go": "pause"}], "else": "done"}})
    before, after = (asks.model_copy(update={"shared": {"keen": Segment(condition=one)}}) for one in ("paid", "owes"))
    assert lines(after, before) == ["segment 'keen': paid -> owes"]


def test_a_renamed_node_is_one_change_with_all_that_leads_to_it() -> None:
    nodes = without(
        "hello", "pause", "gift",
        hi={"send": "welcome", "next": "read"},
        rest=NODES["pause"],
        present=NODES["gift"],
        read={**NODES["read"], "wait_for": "opened(hi)", "else": "rest"},
        share={"split": {"present": "40%", "plain": "60%"}},
        ask={**NODES["ask"], "decide": [NODES["ask"]["decide"][0], {"if": 'plan == "x"', "go": "rest"}]},
    )  # fmt: skip
    after = Journey.from_data({**journey().data(), "nodes": nodes, "start": "hi"})
    assert sorted(lines(after)) == [
        "node 'gift' renamed to 'present'",
        "node 'hello' renamed to 'hi'",
        "node 'pause' renamed to 'rest'",
    ]


def test_another_first_node_is_said() -> None:
    assert lines(journey(start="read")) == ["start: hello -> read"]


def test_another_spelling_of_a_condition_is_marked_as_such() -> None:
    clauses = [{"if": "(paid)", "go": "done"}, NODES["ask"]["decide"][1]]
    after = journey({"ask": {"decide": clauses, "else": "done"}})
    assert as_text(diff(journey(), after)).splitlines() == [
        "node 'ask': decide 1: if: paid -> (paid) (the same meaning)",
        "the version stays: the journey does the same as before",
    ]


def test_the_version_comes_last_when_it_changes() -> None:
    before, after = journey(), journey(max_visits=3)
    assert as_text(diff(before, after)).splitlines()[-1] == f"version: {before.version} -> {after.version}"


def test_changes_of_parts_are_among_the_changes() -> None:
    runs = journey({"pause": {"run": "care", "next": "done"}})
    before, after = (runs.model_copy(update={"parts": {"care": journey(max_visits=n)}}) for n in (3, 4))
    assert lines(after, before) == ["part 'care': max_visits: 3 -> 4"]


def test_markdown_holds_names_and_values_as_code() -> None:
    changes = [
        Change(("nodes", "read", "within"), "3d", "5d", "changed"),
        Change(("nodes", "hi"), "hello", "hi", "renamed"),
        Change(("title",), None, "a `b`", "added"),
    ]
    assert as_markdown(changes).splitlines() == [
        "- node `read`: within: `3d` → `5d`",
        "- node `hello` renamed to `hi`",
        "- title added: `` a `b` ``",
        "- the version stays: the journey does the same as before",
    ]
