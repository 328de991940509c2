"""Pictures and pages of experiments: what they say is what their tables have, and nothing leaves its drawing."""

from __future__ import annotations

import math
import re
import shutil
import subprocess
from collections.abc import Callable
from functools import cache
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from markupsafe import escape

from journeylab.errors import DataError
from journeylab.experimentcharts import (
    forest_chart,
    guardrail_chart,
    novelty_chart,
    overlap_chart,
    power_chart,
    ratio_chart,
    segment_chart,
    shares_chart,
    uplift_chart,
    watch_chart,
)
from journeylab.experimentdrawing import forest_svg, guardrail_svg, overlap_svg, segment_svg
from journeylab.experimentlines import novelty_svg, power_svg, ratio_svg, shares_svg, uplift_svg, watch_svg
from journeylab.experimentpage import analysis_page, comparison_page, plan_page, watch_page
from journeylab.experimentplots import effect_text, forest_panels, guardrail_panels, number_text
from journeylab.experiments import Experiment, Guardrail, Proportion, Revenue, Stopping
from journeylab.experiments.analysis import Analysis, analyze_units
from journeylab.experiments.comparison import Comparison, compare
from journeylab.experiments.effect import Effect, effects_table
from journeylab.experiments.heterogeneity.forwhom import ForWhom
from journeylab.experiments.heterogeneity.ranking import JudgedRanking, judge_ranking
from journeylab.experiments.heterogeneity.targeting import Recommendation
from journeylab.experiments.planning import Plan
from journeylab.experiments.ratio.sampleratio import SampleRatio, sample_ratio
from journeylab.experiments.sizing.recruiting import duration
from journeylab.experiments.unittable import UnitTable
from journeylab.experiments.watching import watch
from journeylab.language import using
from journeylab.svgaxes import Axes, head, ticks
from words import english_in

pytestmark = pytest.mark.long

NAN = math.nan
SVG = "{http://www.w3.org/2000/svg}"
SHARES = {"plain": 0.45, "discount": 0.45, "holdout": 0.1}


def effect(metric: str, arm: str, value: float, error: float, p_value: float, **more: Any) -> Effect:
    fields = {
        "kind": "proportion", "control": "nothing", "n_arm": 2000, "n_control": 1000, "mean_arm": 0.1 + value,
        "mean_control": 0.1, "relative_effect": value / 0.1, "unadjusted_effect": value,
        "unadjusted_standard_error": error, "low": value - 2 * error, "high": value + 2 * error, **more,
    }  # fmt: skip
    return Effect(metric=metric, arm=arm, effect=value, standard_error=error, p_value=p_value, **fields)


def table_of(*effects: Effect) -> pd.DataFrame:
    return effects_table(effects).assign(p_value_corrected=[one.p_value for one in effects])


@cache
def effects_seen() -> pd.DataFrame:
    return table_of(
        effect("bought", "plain", 0.03, 0.005, 1e-6), effect("bought", "discount", 0.001, 0.005, 0.8),
        effect("left", "plain", 0.02, 0.005, 1e-4), effect("left", "discount", -0.02, 0.005, 1e-4),
    )  # fmt: skip


@cache
def guardrails_seen() -> pd.DataFrame:
    return pd.DataFrame(
        {
            "metric": ["unsubscribed", "unsubscribed", "mails"], "arm": ["plain", "discount", "plain"],
            "harm": [0.0001, 0.0016, 0.9], "low": [-0.0005, 0.001, 0.7], "high": [0.0007, 0.0023, 1.1],
            "margin": [0.002, 0.002, 0.5], "verdict": ["held", "undecided", "violated"],
        }
    )  # fmt: skip


@cache
def segments_seen() -> pd.DataFrame:
    return pd.DataFrame(
        {
            "segment": ["DE", "PL"], "effect": [0.02, 0.08], "low": [0.0, 0.01], "high": [0.04, 0.15],
            "shrunken_effect": [0.021, 0.04], "shrunken_low": [0.002, 0.005], "shrunken_high": [0.04, 0.075],
        }
    )  # fmt: skip


@cache
def path_seen() -> pd.DataFrame:
    n = np.arange(500, 5001, 500)
    frames = []
    for arm, value in (("plain", 0.05), ("discount", 0.0)):
        error = 0.9 / np.sqrt(n)
        frames.append(
            pd.DataFrame(
                {
                    "looked_at": pd.Timestamp("2026-03-02", tz="UTC") + pd.to_timedelta(n, unit="min"),
                    "n_units": n,
                    "metric": "bought",
                    "arm": arm,
                    "effect": value,
                    "low": value - 3 * error,
                    "high": value + 3 * error,
                    "fixed_low": value - 2 * error,
                    "fixed_high": value + 2 * error,
                    "p_value": 0.5,
                }
            )
        )
    return pd.concat(frames, ignore_index=True)


@cache
def ratio_seen(lacking: float = 0.0) -> SampleRatio:
    rng = np.random.default_rng(3)
    arm = rng.choice(list(SHARES), 6000, p=[0.45 - lacking, 0.45 + lacking, 0.1])
    at = pd.Timestamp("2026-03-02T08:00Z") + pd.to_timedelta(np.arange(6000), "min")
    return sample_ratio(pd.DataFrame({"arm": arm, "exposed_at": at}), SHARES)


@cache
def ranking_seen(strength: float) -> JudgedRanking:
    rng = np.random.default_rng(4)
    first = rng.random(2000)
    return judge_ranking(0.05 + strength * first + rng.normal(size=2000), first)


@cache
def novelty_seen() -> tuple[pd.DataFrame, pd.DataFrame]:
    value = 0.03 * np.exp(-np.arange(5) / 2)
    table = pd.DataFrame(
        {
            "metric": "bought", "arm": "plain", "from_day": 2.0 * np.arange(5), "to_day": 2.0 * np.arange(1, 6),
            "effect": value, "low": value - 0.01, "high": value + 0.01,
        }
    )  # fmt: skip
    return table, pd.DataFrame({"metric": ["bought"], "arm": ["plain"], "p_value": [0.001]})


@cache
def overlap_seen() -> pd.DataFrame:
    rows = [
        (journey, arm, 1000, int(1000 * share), share, p_value)
        for journey, shares, p_value in (("winback", (0.12, 0.13), 0.4), ("newsletter", (0.8, 0.5), 1e-9))
        for arm, share in zip(("plain", "discount"), shares, strict=True)
    ]
    return pd.DataFrame(rows, columns=["journey", "arm", "n_units", "n_inside", "inside_share", "p_value"])


@cache
def power_seen() -> pd.DataFrame:
    week = np.arange(1, 13)
    return pd.DataFrame({"week": week, "n_units": 1500.0 * week, "minimum_effect": 0.05 / np.sqrt(week)})


@cache
def all_drawings() -> list[str]:
    strong, weak = ranking_seen(0.4), ranking_seen(0.0)
    return [
        forest_svg(effects_seen()), forest_svg(effects_seen(), {"bought": "higher", "left": "lower"}, relative=True),
        guardrail_svg(guardrails_seen()), segment_svg(segments_seen(), differs=True), watch_svg(path_seen(), 8000),
        ratio_svg(ratio_seen().path, 0.001), ratio_svg(ratio_seen(0.06).path, 0.001), shares_svg(ratio_seen().shares),
        uplift_svg(strong.curve, strong.autoc, strong.qini), uplift_svg(weak.curve, weak.autoc, weak.qini),
        novelty_svg(*novelty_seen()), overlap_svg(overlap_seen()), power_svg(power_seen(), "bought", 6, 0.018),
    ]  # fmt: skip


def hovers(text: str) -> list[str]:
    return [one.text or "" for one in ET.fromstring(text).iter(f"{SVG}title")][1:]


# Axes ---------------------------------------------------------------------------------------------------------------


@given(st.floats(-1e9, 1e9), st.floats(1e-9, 1e9))
def test_ticks_are_round_evenly_spaced_and_hold_what_is_shown(low: float, span: float) -> None:
    high = low + span
    if not high > low or span < 1e-6 * abs(low):
        return
    found = ticks(low, high)
    step = found[1] - found[0]
    assert found[0] <= low + step * 1e-6
    assert found[-1] >= high - step * 1e-6
    assert 2 <= len(found) <= 12
    assert all(b - a == pytest.approx(step, rel=1e-6) for a, b in pairwise(found))


def test_ticks_of_one_value_lie_around_it() -> None:
    for value in (0.0, 3.0, -0.02):
        found = ticks(value, value)
        assert found[0] <= value <= found[-1]
        assert found[0] < found[-1]


def test_what_lies_beyond_the_axes_stays_at_their_ends() -> None:
    axes = Axes((0, 10), (-1, 1), 50, 20, 100, 40)
    x, y = axes.places([-5, 5, 20], [math.inf, 0, -math.inf])
    assert x.tolist() == [50, 100, 150]
    assert y.tolist() == [20, 40, 60]
    assert axes.line([0, 1, 2], [NAN, NAN, NAN]) == ""
    assert axes.line([0, 5, 10], [0, NAN, 1]).count("L") == 1
    assert axes.steps([0, 10], [1, -1]) == "M50.0 20.0L150.0 20.0L150.0 60.0"


def test_long_titles_are_broken_into_lines() -> None:
    text, down = head(300, "word " * 30, "word " * 30)
    short, up = head(300, "word", "word")
    assert down > up
    assert text.count("<text") > short.count("<text") == 2


def test_numbers_have_a_sign_and_missing_ones_a_dash() -> None:
    assert number_text(-0.5) == "\N{MINUS SIGN}0.5"
    assert number_text(NAN) == "\N{EN DASH}"
    assert number_text(1e-7) == "+1e-07"
    assert effect_text(0.5, NAN, NAN) == "+0.5 (no interval)"


# Effects ------------------------------------------------------------------------------------------------------------


def test_every_drawing_is_well_formed_has_words_and_no_scripts() -> None:
    for text in all_drawings():
        tree = ET.fromstring(text)
        title = tree.find(f"{SVG}title")
        assert title is not None
        assert title.text
        assert hovers(text)
        assert "<script" not in text
        assert "nan" not in re.sub(r"<(title|text)[^>]*>[^<]*", "", text)


def test_a_forest_plot_counts_what_is_beyond_chance_and_in_which_direction() -> None:
    text = forest_svg(effects_seen(), {"bought": "higher", "left": "lower"})
    assert "3 of 4 effects are beyond chance: 2 better, 1 worse" in text
    assert "better, beyond chance" in text
    assert "not beyond chance" in text
    assert "n = 5,000 units" in text
    plain = forest_svg(effects_seen())
    assert "2 above, 1 below" in plain
    assert "better" not in plain


def test_a_forest_plot_of_one_effect_says_it() -> None:
    table = table_of(effect("bought", "plain", 0.03, 0.005, 1e-6))
    assert "bought: plain is better than nothing" in forest_svg(table, {"bought": "higher"})
    assert "bought: plain is worse than nothing" in forest_svg(table, {"bought": "lower"})
    assert "bought: plain lies above nothing" in forest_svg(table)
    none = table_of(effect("bought", "plain", 0.001, 0.005, 0.8))
    assert "bought: plain is not shown to differ from nothing" in forest_svg(none, {"bought": "higher"})


def test_what_is_beyond_chance_goes_by_the_corrected_p_value_and_otherwise_by_the_interval() -> None:
    table = table_of(effect("bought", "plain", 0.03, 0.01, 0.01), effect("bought", "discount", 0.03, 0.01, 0.01))
    corrected = table.assign(p_value_corrected=[0.2, NAN])
    findings = [row.marks[0].finding for panel in forest_panels(corrected) for row in panel.rows]
    assert findings == ["none", "above"]


def test_each_metric_has_its_scale_and_winsorised_revenue_stands_beside_the_raw() -> None:
    table = table_of(
        effect("spend", "plain", 5.0, 1.0, 0.01, kind="revenue"),
        effect("spend", "plain", 4.0, 1.0, 0.01, kind="winsorised"),
        effect("bought", "plain", 0.01, 0.001, 0.01),
    )
    panels = forest_panels(table)
    assert [(panel.heading, len(panel.rows)) for panel in panels] == [("spend", 2), ("bought", 1)]
    assert panels[0].rows[1].label == "plain, winsorised"
    assert panels[0].span == (0.0, 7.0)
    assert "percentage point" in panels[1].across


def test_relative_effects_are_shares_of_the_controls_mean_in_one_panel() -> None:
    [panel] = forest_panels(effects_seen(), relative=True)
    assert [row.marks[0].value for row in panel.rows] == pytest.approx([0.3, 0.01, 0.2, -0.2])
    assert panel.rows[0].says.startswith("+30.00% (+20.00% to +40.00%)")
    negative = table_of(effect("margin", "plain", 1.0, 0.1, 0.01, mean_control=-2.0))
    mark = forest_panels(negative, relative=True)[0].rows[0].marks[0]
    assert mark.low <= mark.value <= mark.high
    zero = table_of(effect("margin", "plain", 1.0, 0.1, 0.01, mean_control=0.0))
    assert "no interval" in forest_svg(zero, relative=True)
    assert "error of the control" in forest_svg(zero, relative=True).replace("&#x27;", "'")


def test_effects_without_an_error_or_of_groups_are_drawn_as_such() -> None:
    table = table_of(
        effect("bought", "plain", 0.03, NAN, NAN, group="DE"), effect("bought", "plain", 0.02, 0.01, 0.04, group=None)
    )
    text = forest_svg(table)
    assert "plain, DE" in text
    assert "no interval" in text
    assert "p not yet known" in text
    assert "No effect is given" in forest_svg(effects_table([]))


@settings(max_examples=25, deadline=None)
@given(st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs", "Cn"]), min_size=1, max_size=60))
def test_any_name_can_be_drawn(name: str) -> None:
    table = table_of(effect(name, name, 0.03, 0.005, 1e-6))
    assert any(name in one for one in hovers(forest_svg(table)))


def test_numbers_that_are_missing_or_without_bounds_can_be_drawn() -> None:
    for value in (NAN, math.inf, -math.inf, 0.0, 1e-300, 1e12):
        for error in (NAN, math.inf, 0.0, 1.0):
            table = table_of(effect("bought", "plain", value, error, NAN))
            for text in (forest_svg(table), forest_svg(table, relative=True)):
                ET.fromstring(text)
                assert not re.search(r'="[^"]*(nan|inf)[^"]*"', text)
            assert forest_chart(table).to_json()


def test_guardrails_have_their_margin_and_say_what_is_violated() -> None:
    text = guardrail_svg(guardrails_seen())
    assert "1 of 3 guardrails are violated, such as mails by plain" in text
    assert text.count("margin 0.002</title>") == text.count("margin 0.5</title>") == 1
    assert [panel.span for panel in guardrail_panels(guardrails_seen())] == [(-0.0005, 0.0023), (0.0, 1.1)]
    assert "All guardrails hold" in guardrail_svg(guardrails_seen().head(1))
    assert "1 of 2 guardrails are undecided" in guardrail_svg(guardrails_seen().head(2))
    assert guardrail_svg(guardrails_seen().head(0)) == ""


def test_segments_are_drawn_raw_and_shrunken_and_claim_only_what_is_there() -> None:
    text = segment_svg(segments_seen(), differs=True)
    assert "between +0.021 (DE) and +0.04 (PL)" in text
    assert text.count("<circle") == 4 + 2  # and the legend's
    assert "PL: raw +0.08 (+0.01 to +0.15)" in text
    assert "Nothing says that the effect differs" in segment_svg(segments_seen(), differs=False)


# Over time ----------------------------------------------------------------------------------------------------------


def test_a_watched_effect_says_when_it_was_first_beyond_chance() -> None:
    text = watch_svg(path_seen(), 8000)
    assert "bought: plain is beyond chance, first at 3,000 units (1 other is not)" in text
    assert "n = 5,000 of 8,000 planned units" in text
    assert text.count("planned end</text>") == 2
    assert "Nothing is beyond chance so far" in watch_svg(path_seen()[path_seen()["arm"] == "discount"])
    assert "There is nothing to look at yet" in watch_svg(path_seen().head(0), 8000)
    assert text.count("; a single look: ") == len(path_seen())


def test_first_looks_of_infinite_width_do_not_squeeze_the_rest() -> None:
    path = path_seen().copy()
    path.loc[0, ["low", "high"]] = -math.inf, math.inf
    text = watch_svg(path)
    ET.fromstring(text)
    assert "inf" not in re.sub(r"<title>[^<]*", "", text)


def test_the_ratio_check_says_whether_and_when_it_failed() -> None:
    fine, broken = ratio_seen(), ratio_seen(0.06)
    assert "the check did not fail: p stays above 0.001" in ratio_svg(fine.path, 0.001)
    text = ratio_svg(broken.path, 0.001)
    assert broken.found_at is not None
    assert f"failed at {broken.found_at:%Y-%m-%d %H:%M} UTC" in text
    assert f"failed: {broken.found_at:%Y-%m-%d %H:%M}</text>" in text
    once = SampleRatio.from_counts({"a": 9000, "b": 8000}, {"a": 0.5, "b": 0.5})
    assert "with 17,000 units" in ratio_svg(once.path, 0.001)


def test_shares_are_held_against_what_they_should_be() -> None:
    ratio = ratio_seen(0.06)
    text = shares_svg(ratio.shares)
    n = sum(ratio.n.values())
    for arm in SHARES:
        assert f"</tspan>: {ratio.n[arm] / n:.2%}, should be {SHARES[arm]:.2%}" in text
    assert "At the end" in text


def test_a_ranking_without_worth_is_not_praised() -> None:
    strong, weak = ranking_seen(0.4), ranking_seen(0.0)
    assert "finds contacts" in uplift_svg(strong.curve, strong.autoc, strong.qini)
    text = uplift_svg(weak.curve, weak.autoc, weak.qini)
    assert "not shown to be better than a random one" in text
    assert f"AUTOC {number_text(weak.autoc.value, '.3g')}" in text
    assert "Qini-weighted RATE" in text
    assert "worse than a random one" in uplift_svg(strong.curve, judged_backwards().autoc, strong.qini)


@cache
def judged_backwards() -> JudgedRanking:
    rng = np.random.default_rng(4)
    first = rng.random(2000)
    return judge_ranking(first + rng.normal(size=2000), -first)


def test_wearing_off_overlap_and_power_say_what_is_seen() -> None:
    table, trend = novelty_seen()
    assert "the effect of plain goes from +0.03 to +0.00406" in novelty_svg(table, trend)
    assert "Nothing says" in novelty_svg(table, trend.assign(p_value=0.2))
    assert "Arms were not in newsletter alike" in overlap_svg(overlap_seen())
    assert "alike" in overlap_svg(overlap_seen().assign(p_value=NAN))
    assert "winback, plain: 120 of 1,000 units" in overlap_svg(overlap_seen())
    text = power_svg(power_seen(), "bought", 6, 0.018)
    assert "6 weeks of exposures find an effect of 0.0204 on bought; 0.018 needs 8 weeks" in text
    assert "needs more than 12" in power_svg(power_seen(), "bought", 6, 0.001)


def test_empty_tables_have_no_picture() -> None:
    table, trend = novelty_seen()
    assert not novelty_svg(table.head(0), trend)
    assert not overlap_svg(overlap_seen().head(0))
    assert not power_svg(power_seen().head(0), "bought", 0)
    assert not shares_svg(ratio_seen().shares.head(0))


DRAWN: list[Callable[[pd.DataFrame], Any]] = [
    forest_svg, forest_chart, guardrail_svg, guardrail_chart, watch_svg, watch_chart, shares_svg, shares_chart,
    overlap_svg, overlap_chart, lambda table: ratio_svg(table, 0.01), lambda table: ratio_chart(table, 0.01),
    lambda table: segment_svg(table, differs=True), lambda table: segment_chart(table, differs=True),
    lambda table: novelty_svg(table, table), lambda table: novelty_chart(table, table),
    lambda table: power_svg(table, "bought", 1), lambda table: power_chart(table, "bought", 1),
]  # fmt: skip


@pytest.mark.parametrize("draw", DRAWN)
def test_a_table_without_its_columns_is_refused(draw: Callable[[pd.DataFrame], Any]) -> None:
    with pytest.raises(DataError, match="without "):
        draw(pd.DataFrame({"x": [1]}))


# Charts -------------------------------------------------------------------------------------------------------------


def test_charts_show_the_numbers_of_their_tables_and_the_words_of_the_drawings() -> None:
    forest = forest_chart(effects_seen(), {"bought": "higher", "left": "lower"})
    shown = sorted(value for trace in forest.data for value in trace.x)
    assert shown == pytest.approx(sorted(effects_seen()["effect"]))
    assert forest.layout.title.text == "3 of 4 effects are beyond chance: 2 better, 1 worse"
    rails = guardrail_chart(guardrails_seen())
    assert {trace.name for trace in rails.data} == {"held", "undecided", "violated"}
    assert [shape.x0 for shape in rails.layout.shapes] == [0.002, 0.5]
    segments = segment_chart(segments_seen(), differs=True)
    assert list(segments.data[0].x) == [0.021, 0.04]
    watched = watch_chart(path_seen(), 8000)
    line = next(trace for trace in watched.data if trace.line.width == 2.5)
    assert list(line.y) == path_seen()["effect"].head(10).tolist()
    ratio = ratio_seen(0.06)
    assert list(ratio_chart(ratio.path, 0.001).data[0].y) == ratio.path["p_value"].tolist()
    assert ratio_chart(ratio.path, 0.001).data[1].y == (0.001, 0.001)
    assert len(shares_chart(ratio.shares).data) == 3
    judged = ranking_seen(0.4)
    uplift = uplift_chart(judged.curve, judged.autoc, judged.qini)
    assert list(uplift.data[-1].y) == judged.curve["uplift"].tolist()
    assert uplift.layout.title.subtitle.text.startswith("AUTOC ")
    table, trend = novelty_seen()
    assert list(novelty_chart(table, trend).data[2].y[::2]) == table["effect"].tolist()
    assert np.asarray(overlap_chart(overlap_seen()).data[0].z).tolist() == [[0.12, 0.13], [0.8, 0.5]]
    assert list(power_chart(power_seen(), "bought", 6, 0.018).data[0].y) == power_seen()["minimum_effect"].tolist()


def test_charts_of_nothing_are_empty_and_no_fault() -> None:
    assert forest_chart(effects_table([])).layout.title.text == "No effect is given"
    assert watch_chart(path_seen().head(0), 8000).layout.title.text == "There is nothing to look at yet"


# Pages --------------------------------------------------------------------------------------------------------------


class _Cells(HTMLParser):
    """The cells of every row of a page, and what it asks a browser for."""

    def __init__(self) -> None:
        super().__init__()
        self.rows: list[list[str]] = []
        self.asked: list[str] = []
        self._is_cell = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "tr":
            self.rows.append([])
        if tag == "td":
            self.rows[-1].append("")
            self._is_cell = True
        found = dict(attrs)
        if tag in ("script", "iframe", "object", "link", "img", "form") or {"src", "href"} & found.keys():
            self.asked.append(tag)

    def handle_endtag(self, tag: str) -> None:
        self._is_cell = self._is_cell and tag != "td"

    def handle_data(self, data: str) -> None:
        if self._is_cell:
            self.rows[-1][-1] += data


def cells(page: str) -> list[list[str]]:
    parser = _Cells()
    parser.feed(page)
    assert not parser.asked
    assert "default-src 'none'" in page
    return parser.rows


def number(text: str) -> float:
    return float(text.replace("\N{MINUS SIGN}", "-").replace(",", ""))


@cache
def units(lost: float = 0.0) -> UnitTable:
    rng = np.random.default_rng(8)
    n = 4000
    arm = rng.choice(list(SHARES), n, p=list(SHARES.values()))
    frame = pd.DataFrame(
        {
            "arm": arm, "exposed_at": pd.Timestamp("2026-03-02T08:00Z") + pd.to_timedelta(np.arange(n), "min"),
            "bought": (rng.random(n) < 0.1 + 0.1 * (arm == "discount")).astype(float),
            "spend": np.where(rng.random(n) < 0.2, rng.gamma(3, 10, n), 0.0),
            "left": (rng.random(n) < 0.02).astype(float), "country": rng.choice(["DE", "PL", "<b>"], n),
        }
    )  # fmt: skip
    frame = frame[(frame["arm"] != "plain") | (rng.random(n) >= lost)]
    metrics = [Proportion("bought"), Revenue("spend"), Proportion("left", better="lower")]
    return UnitTable.of_frame(frame, metrics, control="holdout", shares=SHARES)


@cache
class Calendar:
    """A check that passed."""

    passed = True

    def sentences(self) -> list[str]:
        return ["Arms share the calendar."]

    def to_dict(self) -> dict[str, object]:
        return {}


def experiment() -> Experiment:
    return Experiment.of_table(
        "arm", experiment="offer", question="Is <this> any good?", control="holdout",
        shares={"plain": "45%", "discount": "45%", "holdout": "10%"}, primary=Proportion("bought"),
        secondary=[Revenue("spend")], guardrails=[Guardrail(Proportion("left", better="lower"), margin=0.03)],
        segments=["country"], stopping=Stopping(planned_n=6000), minimum_effect=0.02,
    )  # fmt: skip


@cache
def analysis() -> Analysis:
    return analyze_units(experiment(), units(), checks={"calendar": Calendar()})


@cache
def comparison() -> Comparison:
    return compare(units())


@cache
def plan() -> Plan:
    names = ["metric", "role", "mean_control", "standard_error", "minimum_effect", "units_needed",
             "variance_reduction_share"]  # fmt: skip
    weekly = pd.DataFrame(
        {"week": pd.date_range("2026-03-02", periods=3, freq="7D", tz="UTC"), "n_units": [900, 1100, 1000]}
    )
    alarms = pd.DataFrame([("bought", 200, 9, 0.045, 0.024, 0.083)],
                          columns=["metric", "n_runs", "n_alarms", "alarm_share", "low", "high"])  # fmt: skip
    rows = [
        ("bought", "primary", 0.1, 0.006, 0.0241, 8712.0, 0.12),
        ("left", "guardrail", 0.02, 0.003, 0.01, 700.0, 0.0),
    ]
    return Plan(experiment(), 3000, weekly, pd.DataFrame(rows, columns=names), alarms, duration(6000, 1000.0, "14d"))


@cache
def all_pages() -> dict[str, str]:
    who = ForWhom(analysis().who.segments, {"discount": ranking_seen(0.4)}, recommendation_seen())
    return {
        "comparison": comparison_page(comparison(), who), "refused": comparison_page(compare(units(0.4))),
        "analysis": analysis_page(analysis()), "plan": plan_page(plan()),
        "watch": watch_page(watch(units(), stopping=experiment().stopping, looks=10)),
    }  # fmt: skip


@cache
def polish_pages() -> dict[str, str]:
    with using("pl"):
        return all_pages.__wrapped__()


@pytest.mark.parametrize("name", ["comparison", "refused", "analysis", "plan", "watch"])
def test_polish_pages_have_the_pictures_and_numbers_of_the_english_ones_and_none_of_their_words(name: str) -> None:
    english, polish = all_pages()[name], polish_pages()[name]
    assert '<html lang="pl">' in polish
    assert not english_in(polish)
    assert english_in(english)
    # Some texts of pictures break into more lines, or say other numbers of words; shapes and tables are the same.
    assert [len(row) for row in cells(polish)] == [len(row) for row in cells(english)]
    assert polish.count("<circle") == english.count("<circle")
    numbers = [re.findall(r"\d+(?:\.\d+)?%", one) for one in (polish.replace(",", "."), english)]
    assert set(numbers[1]) <= set(numbers[0])


def test_what_an_analysis_kept_in_english_is_said_in_polish() -> None:
    page = analysis_page(analysis(), language="pl")
    assert "Jest lepiej: bought: discount" in page
    assert not english_in(page)


def test_pages_ask_for_nothing_and_escape_what_they_are_given() -> None:
    for page in all_pages().values():
        assert cells(page)
        assert "<script" not in page
        assert len(page) < 400_000
    page = all_pages()["analysis"]
    assert "Is &lt;this&gt; any good?" in page
    assert "&lt;b&gt;" in page
    assert "<b>:" not in page


def test_the_page_of_a_comparison_has_the_numbers_of_its_table() -> None:
    rows = {(row[0], row[1]): row for row in cells(comparison_page(comparison())) if len(row) == 12}
    table = comparison().table
    assert len(rows) == len(table)
    for one in table.itertuples():
        row = rows[f"{one.metric}, winsorised" if one.kind == "winsorised" else one.metric, one.arm]
        shown = [number(text) for text in (*row[2:5], *row[6:8], row[10])]
        meant = [one.mean_arm, one.mean_control, one.effect, one.low, one.high, one.p_value_corrected]
        assert shown == pytest.approx(meant, rel=6e-3)
        assert number(row[5]) == pytest.approx(one.standard_error, rel=6e-3)


def test_a_refused_comparison_shows_why_and_no_effect() -> None:
    found = compare(units(0.4))
    page = comparison_page(found, ForWhom({}, {"discount": ranking_seen(0.4)}))
    assert "No effect is given" in page
    assert "effects are beyond chance" not in page
    assert "AUTOC" not in page
    counts = {row[0]: number(row[1]) for row in cells(page) if len(row) == 4}
    assert counts == found.ratio.n


def test_for_whom_it_works_is_on_the_page_with_its_pictures() -> None:
    segments = analysis().who.segments
    who = ForWhom(segments, {"discount": ranking_seen(0.4)}, recommendation_seen())
    page = comparison_page(comparison(), who)
    for sentence in who.sentences():
        assert escape(sentence.partition(": ")[2] if sentence.startswith("country") else "The ranking finds") in page
    curve = ranking_seen(0.4).curve
    rows = {row[0]: row for row in cells(page) if len(row) == 5}
    assert number(rows["50%"][1]) == pytest.approx(curve.set_index("share")["uplift"].loc[0.5], rel=1e-3)
    assert number(rows["the rule"][1]) == 0.3
    by_segment = segments["country", "discount"].table.set_index("segment")["shrunken_effect"]
    shown = [number(row[6]) for row in cells(page) if len(row) == 10 and row[0] == "DE"]
    assert pytest.approx(by_segment["DE"], rel=1e-3) in shown


@cache
def recommendation_seen() -> Recommendation:
    values = pd.DataFrame(
        {
            "policy": ["plain", "the rule"], "is_rule": [False, True], "value": [0.2, 0.3],
            "standard_error": [0.01, 0.01], "low": [0.18, 0.28], "high": [0.22, 0.32],
        }
    )  # fmt: skip
    contrasts = pd.DataFrame(
        {
            "policy": ["the rule"], "against": ["plain"], "difference": [0.1], "standard_error": [0.01],
            "low": [0.08], "high": [0.12],
        }
    )  # fmt: skip
    return Recommendation("the rule", True, values, contrasts, "plain", 2000, 0.95)


def test_planned_looks_are_on_the_page() -> None:
    found = compare(
        units(), [Proportion("bought")], stopping=Stopping(planned_n=4000, rule="group_sequential", looks=4)
    )
    rows = [row for row in cells(comparison_page(found)) if len(row) == 9]
    bounds = [one.bound for looked in found.sequential.values() for one in looked.looks]
    assert [number(row[6]) for row in rows] == pytest.approx(bounds, abs=1e-3)


def test_the_page_of_an_analysis_begins_with_its_verdicts_and_ends_with_what_is_not_known() -> None:
    found = analysis()
    page = analysis_page(found)
    places = [page.index(f"{verdict.arm}: <b>{verdict.decision}.</b>") for verdict in found.verdicts]
    order = [
        *places, page.index("What decides: bought"), page.index("What is looked at besides"),
        page.index("What may not get worse"), page.index("For whom: discount by country"),
        page.index("never instead"), page.index("Check: calendar"), page.index("What cannot be known"),
    ]  # fmt: skip
    assert order == sorted(order)
    assert "better, beyond chance" in page
    assert "That plain does nothing to bought is not shown" in page
    assert "That discount does nothing to bought" not in page
    assert found.bayesian is not None
    best = found.bayesian.set_index("arm")
    rows = {row[0]: row for row in cells(page) if len(row) == 6}
    assert number(rows["discount"][1]) == pytest.approx(best.loc["discount", "posterior_mean"], rel=1e-3)


def test_the_page_of_a_watched_experiment_has_its_path_and_its_alarms() -> None:
    found = watch(units(), stopping=experiment().stopping, looks=10)
    page = watch_page(found)
    rows = [row for row in cells(page) if len(row) == 10]
    assert [number(row[4]) for row in rows] == pytest.approx(found.path["effect"].tolist(), rel=1e-3)
    assert found.alarms
    assert all(alarm in page for alarm in found.alarms)
    calm = watch(units(), [Proportion("left", better="lower")], stopping=experiment().stopping, looks=5)
    assert "Nothing is beyond chance so far" in watch_page(calm)
    assert "Act:" in watch_page(watch(units(0.4), stopping=experiment().stopping, looks=5))


def test_the_page_of_a_plan_has_its_numbers_and_its_weeks() -> None:
    page = plan_page(plan())
    for text in ("0.0241", "8,712", "9 of 200 runs", "2026-03-09", "6 weeks of exposures", "Not declared yet"):
        assert text in page
    declared = plan().declared(pd.Timestamp("2026-05-01T10:00Z").to_pydatetime())
    assert "Declared 2026-05-01 10:00 UTC" in plan_page(declared)
    without = Plan(experiment(), 3000, plan().weekly.head(0), plan().metrics, plan().alarms.head(0), None)
    assert "Weeks against" not in plan_page(without)
    assert "\N{EN DASH}" in plan_page(without)


CHROMIUM = next(
    (found for name in ("chromium", "chromium-browser", "google-chrome") if (found := shutil.which(name))), None
)
_LOOK = """<script>
const out = [];
for (const svg of document.querySelectorAll('svg')) {
  const box = svg.viewBox.baseVal;
  for (const text of svg.querySelectorAll('text')) {
    const b = text.getBBox();
    if (b.x < -1 || b.y < -1 || b.x + b.width > box.width + 1 || b.y + b.height > box.height + 1)
      out.push('outside: ' + text.textContent);
  }
  const all = [...svg.querySelectorAll('text')].map(t => [t.textContent, t.getBBox()]).filter(t => t[0].trim());
  for (let i = 0; i < all.length; i++) for (let j = i + 1; j < all.length; j++) {
    const [s, a] = all[i], [t, b] = all[j];
    if (Math.min(a.x + a.width, b.x + b.width) - Math.max(a.x, b.x) > 2 &&
        Math.min(a.y + a.height, b.y + b.height) - Math.max(a.y, b.y) > 5) out.push(s + ' over ' + t);
  }
}
document.body.setAttribute('data-found', JSON.stringify([document.querySelectorAll('svg').length, out]));
</script>"""


@pytest.mark.browser
@pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium here")
def test_no_text_leaves_its_drawing_or_lies_on_another(tmp_path: Path) -> None:
    long = "an arm with a name that nobody would want to have on the page"
    wide = table_of(effect("a metric of which much could be said", long, 0.03, 0.005, 1e-6))
    drawings = [*all_drawings(), forest_svg(wide), forest_svg(wide, relative=True)]
    drawings += [part for page in all_pages().values() for part in re.findall(r"<svg.*?</svg>", page, re.S)]
    page = tmp_path / "page.html"
    page.write_text(f"<!DOCTYPE html><meta charset=utf-8><body>{''.join(drawings)}{_LOOK}", encoding="utf-8")
    done = subprocess.run(
        [str(CHROMIUM), "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path / 'profile'}",
         "--dump-dom", page.as_uri()],
        capture_output=True, text=True, timeout=60, check=True,
    )  # fmt: skip
    found = re.search(r'data-found="([^"]*)"', done.stdout)
    assert found is not None
    assert found[1].replace("&quot;", '"') == f"[{len(drawings)},[]]"
