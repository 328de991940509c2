"""The replay explorer without a browser: sliders write the definition, and the answers are those of the library."""

from __future__ import annotations

import json
import re

import pytest

import journeylab as jl
from constantmodel import ConstantModel
from journeylab import datasets
from journeylab.canvas.dials import dials_of
from journeylab.explorers import ReplayExplorer
from journeylab.visits import wilson_interval


@pytest.fixture(scope="module")
def trial() -> jl.Journey:
    return jl.Journey.read(datasets.journey_file("trial_welcome"))


@pytest.fixture(scope="module")
def explorer(trial: jl.Journey) -> ReplayExplorer:
    return ReplayExplorer(trial, datasets.shop())


def turned(explorer: ReplayExplorer, path: list[str | int], number: float, nth: int = 0) -> None:
    """Moves a slider as the browser does: the nth number of the text at a path becomes another."""
    document = json.loads(explorer.document)
    part = document["journeys"][""]
    for key in path[:-1]:
        part = part[key]
    places = iter(range(99))
    part[path[-1]] = re.sub(
        r"\d+(\.\d+)?", lambda one: f"{number:g}" if next(places) == nth else one[0], str(part[path[-1]])
    )
    explorer.document = json.dumps(document)


def test_every_wait_window_cap_hour_and_threshold_has_a_slider(explorer: ReplayExplorer) -> None:
    found = {(one["group"], one["label"]): (one["value"], one["unit"]) for one in explorer.dials}
    assert found == {
        ("", "cap: sends"): (3.0, ""),
        ("", "cap: within"): (7.0, "d"),
        ("", "quiet hours: from"): (21.0, "h"),
        ("", "quiet hours: to"): (8.0, "h"),
        ("", "held out"): (5.0, "%"),
        ("read", "within"): (3.0, "d"),
        ("discount", "from"): (9.0, "h"),
        ("discount", "to"): (17.0, "h"),
        ("consider", "wait"): (5.0, "d"),
        ("value", "if 1: count('visit') >="): (2.0, ""),
        ("value", "if 1: count('visit') window"): (7.0, "d"),
        ("value", "if 2: segment('dormant') >="): (0.6, ""),
        ("pause", "wait"): (4.0, "d"),
        ("last_chance", "within"): (7.0, "d"),
    }


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('sum("purchase.amount", "90d") >= 500', [("if: sum('purchase.amount') window", 0, 90.0),
                                                ("if: sum('purchase.amount') >=", 1, 500.0)]),
        ('since("visit") > "30d"', [("if: since('visit') >", 0, 30.0)]),
        ('plan == "trial"', []),
        ('count("visit', []),
        ("zażółć >= 3 and b2 < 4", [("if: zażółć >=", 0, 3.0), ("if: b2 <", 2, 4.0)]),
    ],
)  # fmt: skip
def test_numbers_of_a_condition_are_told_apart(text: str, expected: list[tuple[str, int, float]]) -> None:
    dials = dials_of({"nodes": {"value": {"decide": [{"if": text, "go": "done"}], "else": "done"}}})
    assert sorted((one["label"], one["nth"], one["value"]) for one in dials) == sorted(expected)


def test_a_slider_answers_as_the_library_would(explorer: ReplayExplorer, trial: jl.Journey) -> None:
    turned(explorer, ["nodes", "pause", "wait"], 9)
    nodes = {**trial.nodes, "pause": jl.Wait(wait="9d", next="nudge")}
    expected = jl.replay(trial.model_copy(update={"nodes": nodes}), datasets.shop()).summary()
    assert explorer.journey.version == expected["version"]
    table = explorer.outcomes.set_index("outcome")
    before = jl.replay(trial, datasets.shop()).summary()
    for name, n in expected["exits"].items():
        assert table.loc[name, "n"] == n
        assert table.loc[name, "n_before"] == before["exits"][name]
        low, high = wilson_interval(n, expected["n_entries"])
        assert (table.loc[name, "low"], table.loc[name, "high"]) == (float(low), float(high))
    assert "of the entries leave by the goal purchase" in explorer.outcome["sentence"]
    assert "wait: 9d, next: nudge" in explorer.to_yaml()


def test_a_threshold_is_moved_inside_its_condition(explorer: ReplayExplorer) -> None:
    turned(explorer, ["nodes", "value", "decide", 0, "if"], 4, nth=1)
    assert """count("visit", "7d", where="page == 'pricing' or page == 'basket'") >= 4""" in explorer.to_yaml()


def test_the_code_gives_the_same(explorer: ReplayExplorer) -> None:
    names: dict[str, object] = {"log": datasets.shop()}
    exec(explorer.code(), names)
    assert names["result"].summary() == explorer.replay.summary()  # type: ignore[attr-defined,union-attr]


def test_a_forecast_is_of_a_sample_at_first_and_of_all_when_the_hand_rests(trial: jl.Journey) -> None:
    log = datasets.shop()
    messages = ("welcome_1", "offer_discount", "offer_free_month", "offer_plain", "reminder")
    model = ConstantModel(messages, delivered=1.0, opened=0.9)
    explorer = ReplayExplorer(trial, log, responses=model, draws=4)
    assert explorer.forecast is not None
    assert list(explorer.layers) == ["forecast", "counts"]
    explorer._asked(explorer, {"ask": "refine"}, [])
    whole = jl.simulate(trial, log, responses=model, draws=4, rng=0)
    assert "partial" not in explorer.layers["forecast"]
    row = whole.branches.query("node == 'read' and branch == 'then'").iloc[0]
    text = explorer.layers["forecast"]["edges"]["read|then"]["text"]
    assert text.startswith(f"{round(row.n_visits):,} · {row.branch_share:.1%}")
    goal = next(one for one in explorer.outcome["rows"] if one["label"] == "goal:purchase")
    expected = whole.outcomes.query("exit == 'goal:purchase'").iloc[0]
    assert goal["forecast"]["share"] == expected.entry_share


def test_a_message_that_the_model_does_not_know_leaves_the_counts(trial: jl.Journey) -> None:
    explorer = ReplayExplorer(trial, datasets.shop(), responses=ConstantModel(["welcome_1"]), draws=2)
    assert explorer.forecast is None
    assert explorer.layers["counts"]["edges"]
    assert "offer_discount" in explorer.layers["forecast"]["summary"]


def test_files_are_taken_along(explorer: ReplayExplorer, monkeypatch: pytest.MonkeyPatch) -> None:
    sent: list[dict[str, dict[str, str]]] = []
    monkeypatch.setattr(explorer, "send", sent.append)
    for kind in ("yaml", "html", "png", "csv", "code", "xls"):
        explorer._asked(explorer, {"ask": "file", "kind": kind}, [])
    assert [one["file"]["name"] for one in sent[:-1]] == [
        f"trial_welcome.{one}" for one in ("yaml", "html", "png", "csv", "py")
    ]
    assert sent[2]["file"]["text"].startswith("<svg")
    assert "did you mean" not in sent[-1]["fault"]
    assert "no file of kind 'xls'" in sent[-1]["fault"]
