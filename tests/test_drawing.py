"""The drawing: everything of the journey is in it, nothing overlaps, nothing runs."""

from __future__ import annotations

import itertools
import re
from typing import Any
from xml.etree import ElementTree

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from journeylab.drawing import count_text, draw_table, mermaid, share_text, svg
from journeylab.drawing.facts import _send_terms
from journeylab.drawing.layers import Box, place
from journeylab.errors import DataError
from journeylab.journey import Journey, Send

WELCOME: dict[str, Any] = {
    "journey": "welcome",
    "title": "Welcome",
    "trigger": {"event": "signup", "where": 'plan == "trial"'},
    "exit_when": [{"event": "purchase", "goal": True}],
    "quiet_hours": {"from": "21:00", "to": "08:00"},
    "nodes": {
        "hello": {"send": "welcome_1", "at": "best", "next": "read"},
        "read": {"wait_for": "opened(hello)", "within": "3d", "then": "offer", "else": "pause"},
        "offer": {"split": {"discount": "40%", "plain": "60%"}},
        "discount": {"send": "offer_discount", "next": "done", "skipped": "plain"},
        "plain": {"send": "offer_plain", "next": "done"},
        "pause": {"wait": "4d", "next": "hello"},
        "done": {"exit": "finished"},
    },
}


def journey(**changes: Any) -> Journey:
    return Journey(**WELCOME | changes)


def counts(*rows: tuple[str, str | None, int, int]) -> pd.DataFrame:
    columns = ["journey", "node", "branch", "n_visits", "n_assumed", "n_predicted"]
    return pd.DataFrame([("welcome", *row, 0) for row in rows], columns=columns)


def texts(drawing: str) -> list[str]:
    root = ElementTree.fromstring(drawing)
    return [element.text or "" for element in root.iter("{http://www.w3.org/2000/svg}text")]


def chain(n: int) -> Journey:
    nodes: dict[str, Any] = {
        f"n{i}": {"decide": [{"if": "a > 1", "go": f"n{i + 1}"}], "else": f"n{min(n - 1, i + 7)}"} for i in range(n - 1)
    }
    return Journey(journey="long", trigger={"event": "x"}, nodes={**nodes, f"n{n - 1}": {"exit": "end"}})


@pytest.mark.parametrize(
    ("at", "terms"),
    [
        ("best", ["at the contact's best time"]),
        ({"best": "opens", "explore": "10%"}, ["at the contact's best time by opens", "10% explored"]),
        (
            {"best": "best", "between": ["09:00", "20:00"], "days": ["mon", "tue", "wed"], "within": "1d"},
            ["at the contact's best time", "09:00 to 20:00, mon to wed", "within 1d"],
        ),
        ({"best": "opens", "days": ["sat", "sun"]}, ["at the contact's best time by opens", "sat sun"]),
    ],
)
def test_the_terms_of_a_best_hour_are_among_the_facts(at: Any, terms: list[str]) -> None:
    assert _send_terms(Send(send="welcome_1", at=at, next="done")) == terms


def test_a_drawing_names_every_node_its_facts_and_what_holds_everywhere() -> None:
    words = " ".join(texts(svg(journey())))
    facts = ["send welcome_1", "wait for opened(hello)", "within 3d", "40%", "on event signup", 'plan == "trial"']
    for expected in (*WELCOME["nodes"], *facts, "purchase (goal)", "quiet hours 21:00 to 08:00"):
        assert expected in words


def test_a_drawing_is_one_accessible_script_free_element() -> None:
    drawing = svg(journey())
    assert drawing.startswith("<svg ")
    assert 'role="img"' in drawing
    assert 'aria-label="Journey welcome: Welcome"' in drawing
    assert not re.search(r"<script|href=|url\(|\bon\w+=|\bid=", drawing)


def test_text_of_a_journey_is_escaped() -> None:
    evil = journey(
        title="<script>alert(1)</script>",
        nodes={"a": {"send": '"><script>', "next": "b"}, "b": {"exit": "<img src=x onerror=alert(1)>"}},
    )
    for picture in (svg(evil), mermaid(evil)):
        assert "<script" not in picture
        assert "<img" not in picture
    ElementTree.fromstring(svg(evil))


def test_a_drawing_is_the_same_each_time() -> None:
    assert svg(journey()) == svg(journey())


def test_numbers_are_written_on_edges_and_unsure_ones_are_marked() -> None:
    drawing = svg(journey(), counts(("read", "then", 1200, 0), ("read", "else", 800, 500), ("read", None, 400, 0)))
    words = texts(drawing)
    assert "1,200 · 50.0%" in words
    assert "62.5% assumed" in words
    assert "left the journey here: 400" in words
    assert drawing.count("stroke-dasharray") == 1


def test_numbers_below_the_smallest_are_not_shown() -> None:
    words = texts(
        svg(journey(), counts(("read", "then", 3, 3), ("read", "else", 97, 4), ("read", None, 2, 0)), smallest=5)
    )
    assert "<5" in words
    assert "<5 assumed" in words
    assert "left the journey here: <5" in words
    assert not any(word.startswith("3") for word in words)


def test_branches_to_the_same_target_are_one_edge() -> None:
    words = texts(svg(journey(), counts(("hello", "next", 90, 0), ("hello", "skipped", 10, 0))))
    assert "100" in words
    assert "next" not in words[: words.index("100")]


def test_counts_of_another_journey_are_refused_by_name() -> None:
    with pytest.raises(DataError, match=r"no counts of journey 'welcome'; these are of other"):
        svg(journey(), counts(("read", "then", 1, 0)).assign(journey="other"))
    with pytest.raises(DataError, match="counts without n_visits"):
        draw_table(journey(), counts(("read", "then", 1, 0)).drop(columns="n_visits"))


def test_a_target_that_is_not_defined_is_drawn_as_such() -> None:
    draft = journey(nodes={"a": {"wait": "1d", "next": "later"}})
    assert "is not defined" in texts(svg(draft))
    assert "is not defined" in mermaid(draft)


def test_a_journey_of_200_nodes_is_drawn_in_less_than_100_kilobytes() -> None:
    drawing = svg(chain(200))
    assert {f"n{i}" for i in range(200)} <= set(texts(drawing))
    assert len(drawing.encode()) < 100_000


def test_the_table_has_a_row_for_each_branch_and_each_exit() -> None:
    table = draw_table(journey(), counts(("read", "then", 30, 0), ("read", "else", 60, 0), ("read", None, 10, 0)))
    assert table.groupby("node")["branch"].apply(list)["read"] == ["then", "else"]
    assert table.set_index(["node", "branch"])["branch_share"]["read", "then"] == 0.3
    assert table[table["node"] == "done"]["target"].isna().all()


def test_mermaid_links_every_node_and_escapes_its_own_signs() -> None:
    text = mermaid(journey(), counts(("read", "else", 80, 50), ("read", "then", 20, 0)))
    assert text.startswith("flowchart TD\n")
    assert "where plan == #34;trial#34;" in text
    assert '-.->|"else<br/>80 · 80.0%"|' in text
    assert '-->|"then<br/>20 · 20.0%"|' in text


@pytest.mark.parametrize(
    ("share", "text"), [(0, "0%"), (0.0001, "<0.1%"), (0.5, "50.0%"), (0.9999, ">99.9%"), (1, "100%")]
)
def test_a_share_is_never_rounded_to_none_or_all(share: float, text: str) -> None:
    assert share_text(share) == text


def test_a_count_too_small_to_show_is_not_shown_but_none_is() -> None:
    assert [count_text(n, 5) for n in (0, 1, 4, 5, 1234)] == ["0", "<5", "<5", "5", "1,234"]


@st.composite
def graphs(draw: st.DrawFn) -> tuple[dict[str, Box], list[tuple[str, str]]]:
    names = [f"n{number}" for number in range(draw(st.integers(1, 12)))]
    sizes = st.builds(Box, st.floats(20, 300), st.floats(20, 120), st.floats(0, 40))
    pairs = st.tuples(st.sampled_from(names), st.sampled_from(names))
    return {name: draw(sizes) for name in names}, draw(st.lists(pairs, max_size=30, unique=True))


@given(graphs())
def test_no_boxes_overlap_and_no_edge_passes_through_a_box(graph: tuple[dict[str, Box], list[tuple[str, str]]]) -> None:
    boxes, edges = graph
    placement = place(boxes, edges)
    areas = {}
    for name, (x, top) in placement.boxes.items():
        box = boxes[name]
        areas[name] = (x - box.width / 2, top, x + box.width / 2, top + box.height + box.below)
        assert areas[name][0] >= 0
        assert areas[name][2] <= placement.width
        assert areas[name][3] <= placement.height
    for one, other in itertools.combinations(areas.values(), 2):
        assert one[2] <= other[0] or other[2] <= one[0] or one[3] <= other[1] or other[3] <= one[1]
    for x, start, end in itertools.chain.from_iterable(placement.lanes):
        low, high = min(start, end), max(start, end)
        assert not any(left < x < right and low < bottom and top < high for left, top, right, bottom in areas.values())


@given(graphs())
def test_edges_lead_downwards_unless_they_close_a_cycle(graph: tuple[dict[str, Box], list[tuple[str, str]]]) -> None:
    boxes, edges = graph
    ranks = place(boxes, edges).ranks
    down = [(node, target) for node, target in edges if ranks[node] < ranks[target]]
    others = set(edges) - set(down)
    reach = {name: {name} for name in boxes}
    for _ in boxes:
        for node, target in edges:
            reach[node] |= reach[target]
    assert all(node in reach[target] for node, target in others)  # each of them closes a cycle
