"""Pictures of send times and the tables behind them, on worlds whose truth can be seen through."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from typing import Any
from xml.etree import ElementTree as ET

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from journeylab.errors import DataError
from journeylab.eventlog import EventLog
from journeylab.sendtime.evidence import answered_hours
from journeylab.sendtime.habit import HabitModel
from journeylab.sendtime.sends import SendTable, send_table
from journeylab.sendtimecharts import calibration_chart, gain_chart, level_chart, reliability_chart, week_chart
from journeylab.sendtimedrawing import calibration_svg, gain_svg, level_svg, reliability_svg, week_svg
from journeylab.sendtimepage import write_page
from journeylab.sendtimeplots import (
    calibration_table,
    gain_table,
    hour_text,
    level_table,
    pseudonym,
    score_text,
    week_table,
)
from journeylab.sendtimes import LEVELS, WEEK, SendTimes
from words import english_in

N = 20_000


def log_of(chance: Callable[[Any], Any], seed: int = 1, n_contacts: int = 500) -> EventLog:
    """Sends at hours of the week drawn uniformly, answered within minutes, with a chance by hour of the week."""
    rng = np.random.default_rng(seed)
    at = pd.Timestamp("2026-03-02", tz="UTC") + pd.to_timedelta(rng.integers(0, 8 * WEEK, N), unit="h")
    sent = pd.DataFrame(
        {
            "contact": [f"c-{one}" for one in rng.integers(0, n_contacts, N)], "event": "sent", "occurred_at": at,
            "message": [f"m{one}" for one in range(N)], "slot_propensity": 1 / WEEK,
        }
    )  # fmt: skip
    hours = (at.day_of_week * 24 + at.hour).to_numpy()
    opened = sent[rng.random(N) < chance(hours)].assign(event="opened", slot_propensity=np.nan)
    opened["occurred_at"] += pd.Timedelta(minutes=10)
    tail = pd.DataFrame({"contact": ["c-0"], "event": "visit", "occurred_at": pd.Timestamp("2026-06-01", tz="UTC")})
    return EventLog.read(pd.concat([sent, opened, tail]))


def evening(hours: Any) -> Any:
    return np.where((hours % 24 >= 18) & (hours % 24 <= 20), 0.4, 0.15)


@pytest.fixture(scope="module")
def sends() -> SendTable:
    return send_table(log_of(evening))


@pytest.fixture(scope="module")
def model(sends: SendTable) -> HabitModel:
    fitted = HabitModel(n_steps=6).fit(sends)
    assert isinstance(fitted, HabitModel)
    return fitted


@pytest.fixture(scope="module")
def times(model: HabitModel) -> SendTimes:
    return model.send_times()


def of_gains(gain: list[float], half: float = 0.01) -> SendTimes:
    n = len(gain)
    mean = np.array(gain, np.float32)
    scores = np.tile(np.linspace(0.1, 0.2, WEEK, dtype=np.float32), (2, 1))
    levels = np.where(mean > 0, LEVELS.index("person"), LEVELS.index("everyone")).astype(np.int8)
    return SendTimes(
        pa.array([f"c-{one}" for one in range(n)]), np.zeros(n, np.int32), scores, 0, levels,
        np.column_stack([mean, mean - half, mean + half]), {"model": "made up", "levels": ["everyone", "person"]},
    )  # fmt: skip


# Tables -------------------------------------------------------------------------------------------------------------


def test_marks_are_where_answers_are_more_or_fewer_than_by_chance(sends: SendTable) -> None:
    found = answered_hours(sends)
    assert found["hour_of_week"].tolist() == list(range(WEEK))
    hour = found["hour_of_week"] % 24
    assert set(found.loc[hour == 19, "mark"]) == {"+"}
    assert set(found.loc[(hour >= 1) & (hour <= 14), "mark"]) <= {"-", "."}
    assert (found["n_expected"] > 20).all()
    # An hour's answers are counted with the two beside it: 3 hours of 168, on 5 of 7 days.
    n_answers = int(sends.answered.sum())
    assert found.loc[0, "n_expected"] == pytest.approx(n_answers * 15 / WEEK)
    assert found.loc[19, "ratio"] == pytest.approx(0.4 / (0.4 * 3 / 24 + 0.15 * 21 / 24), rel=0.1)


def test_hours_that_do_not_matter_are_marked_no_more_often_than_promised() -> None:
    n_marked = sum(
        (answered_hours(send_table(log_of(lambda hours: np.full(len(hours), 0.2), seed)))["mark"] != ".").any()
        for seed in range(12)
    )
    assert n_marked <= 2  # of 12, each with 5 % at the most


def test_sends_at_hours_nobody_drew_have_no_marks(sends: SendTable) -> None:
    none = replace(sends, slot_set=np.full(len(sends), -1))
    assert set(answered_hours(none)["mark"]) == {"."}
    assert answered_hours(none)["n_answers"].sum() == 0


def test_the_week_of_everyone_has_the_marks_of_the_log(times: SendTimes) -> None:
    week = week_table(times)
    assert len(week) == WEEK
    assert week["chance"].tolist() == pytest.approx(times.scores[0].tolist())
    assert set(week.loc[week["hour"] == 19, "mark"]) == {"+"}
    assert int(week["chance"].idxmax()) % 24 in (18, 19, 20)
    assert week.loc[24, "day"] == "Tue"


def test_the_week_of_a_contact_has_intervals_by_the_model_only(times: SendTimes, model: HabitModel) -> None:
    contact = times.contacts[0].as_py()
    from_file, from_model = week_table(times, contact=contact), week_table(model, contact=contact)
    assert from_file["low"].isna().all()
    assert set(from_file["mark"]) == {""}
    assert (from_model["low"] <= from_model["chance"]).all()
    assert (from_model["chance"] <= from_model["high"]).all()
    mean = from_model["chance"].mean()
    assert (from_model["low"][from_model["mark"] == "+"] > mean).all()
    assert (from_model["high"][from_model["mark"] == "-"] < mean).all()


def test_unknown_names_are_answered_with_the_nearest(times: SendTimes) -> None:
    with pytest.raises(DataError, match="did you mean 'c-1"):
        week_table(times, contact="c-1x")
    with pytest.raises(DataError, match="no hours of segments"):
        week_table(times, segment="PL")
    with pytest.raises(DataError, match="not both"):
        week_table(times, segment="PL", contact="c-1")
    hours = SendTimes.of_hours(pd.DataFrame({"contact": ["ada"], "hour_of_week": [3]}))
    with pytest.raises(DataError, match="nothing for everyone"):
        week_table(hours)


def test_segments_are_found_by_their_names() -> None:
    scores = np.tile(np.full(WEEK, 0.1, np.float32), (3, 1))
    scores[2, 40] = 0.3
    about = {"levels": ["everyone", "segment"], "segments": ["DE", "PL"], "marks": {"PL": "+" * WEEK}}
    times = replace(of_gains([0.0]), scores=scores, about=about)
    week = week_table(times, segment="PL")
    assert int(week["chance"].idxmax()) == 40
    assert set(week["mark"]) == {"+"}
    assert set(week_table(times, segment="DE")["mark"]) == {""}
    with pytest.raises(DataError, match="did you mean 'PL'"):
        week_table(times, segment="PLL")


def test_gains_are_sorted_grouped_and_counted() -> None:
    table = gain_table(of_gains([0.0] * 500 + [0.05] * 300 + [0.2] * 200))
    assert len(table) == 100
    assert table["gain"].is_monotonic_decreasing
    assert table["n_contacts"].sum() == 1_000
    assert table["n_above"].sum() == 500
    assert table["contact_share"].iloc[-1] == pytest.approx(1)
    assert table["gain"].iloc[0] == pytest.approx(0.2)
    assert table["high"].iloc[0] - table["gain"].iloc[0] == pytest.approx(0.01, abs=1e-6)


def test_no_group_of_gains_is_of_fewer_than_five() -> None:
    for n in (5, 7, 23, 104):
        assert gain_table(of_gains([one / n for one in range(n)]))["n_contacts"].min() >= 5
    nothing = gain_table(of_gains([float("nan")] * 3))
    assert nothing.empty
    assert list(nothing) == ["contact_share", "n_contacts", "n_above", "gain", "low", "high"]


def test_levels_add_up() -> None:
    table = level_table(of_gains([0.0, 0.1, 0.1, 0.1]))
    assert dict(zip(table["level"], table["n_contacts"], strict=True)) == {
        "person": 3, "segment": 0, "everyone": 1, "fallback": 0,
    }  # fmt: skip
    assert table["contact_share"].sum() == 1


def test_calibration_holds_for_true_chances_and_not_for_others(sends: SendTable) -> None:
    hours = np.arange(WEEK)
    truth = replace(of_gains([]), contacts=pa.array([], pa.string()), scores=evening(hours)[None].astype(np.float32))
    table = calibration_table(truth, sends)
    assert len(table) == 2  # of two chances only
    assert table["n_sends"].sum() == len(sends)
    assert ((table["low"] < table["predicted"]) & (table["predicted"] < table["high"])).all()
    assert table["observed"].tolist() == pytest.approx([0.15, 0.4], abs=0.02)
    wrong = calibration_table(replace(truth, scores=truth.scores / 2), sends)
    assert not ((wrong["low"] < wrong["predicted"]) & (wrong["predicted"] < wrong["high"])).any()


def test_a_contacts_own_curve_predicts_their_sends(sends: SendTable) -> None:
    scores = np.stack([np.full(WEEK, 0.1), np.full(WEEK, 0.9)]).astype(np.float32)
    mine = sends.contacts.take(np.arange(0, len(sends.contacts), 2))
    times = replace(
        of_gains([0.0] * len(mine)), contacts=mine, profile=np.ones(len(mine), np.int32), scores=scores
    )  # the others have the fallback's
    table = calibration_table(times, sends)
    assert table["predicted"].tolist() == pytest.approx([0.1, 0.9])
    assert table["n_sends"].iloc[1] == (sends.contact % 2 == 0).sum()


def test_pseudonyms_do_not_show_the_name() -> None:
    assert pseudonym("ada") == pseudonym("ada") != pseudonym("jan")
    assert "ada" not in pseudonym("ada")


# Pictures -----------------------------------------------------------------------------------------------------------


def parsed(text: str) -> ET.Element:
    return ET.fromstring(text)


def test_the_drawn_week_has_every_hour_its_marks_and_the_best_one_framed(times: SendTimes) -> None:
    week = week_table(times)
    text = week_svg(week, "everyone", times.about)
    titles = [one.text or "" for one in parsed(text).iter("{http://www.w3.org/2000/svg}title")]
    best = hour_text(int(week["chance"].idxmax()))
    assert titles[0] == f"everyone: best at {best}"
    assert len(titles) == 1 + WEEK
    n_marks = int(week["mark"].isin(["+", "-"]).sum())
    assert sum("beyond noise" in one for one in titles) == n_marks > 0
    assert text.count('stroke-width="3"') == 1
    assert "n = 20,000 sends, 20,000 at drawn hours" in re.sub("</text><text[^>]*>", " ", text)  # titles are wrapped


def test_flat_and_unknown_hours_are_drawn_as_such() -> None:
    flat = replace(of_gains([0.0]), scores=np.full((1, WEEK), 0.2, np.float32))
    text = week_svg(week_table(flat), "everyone", {})
    assert "all hours are alike" in text
    assert 'stroke-width="3"' not in text
    hours = SendTimes.of_hours(pd.DataFrame({"contact": ["ada"], "hour_of_week": [3]}))
    text = week_svg(week_table(hours, contact="ada"), "a < b", {})
    assert text.count("never chosen</title>") == WEEK - 1
    assert "a &lt; b: best at Mon 03:00" in text
    parsed(text)


def test_gains_and_levels_say_what_is_seen() -> None:
    times = of_gains([0.0] * 500 + [0.1] * 500)
    text = gain_svg(gain_table(times))
    parsed(text)
    assert "Hours of their own gain 5 points on average; beyond noise for 50.0%" in text
    assert "n = 1,000 contacts" in text
    text = level_svg(level_table(times))
    parsed(text)
    assert "50.0% of contacts have hours of their own" in text
    assert "No contact is expected to gain" in gain_svg(gain_table(of_gains([0.0] * 10, half=0)))
    assert gain_svg(gain_table(of_gains([]))) == ""


def test_calibration_is_drawn_with_its_intervals(sends: SendTable, times: SendTimes) -> None:
    table = calibration_table(times, sends)
    text = calibration_svg(table)
    parsed(text)
    assert text.count("<circle") == len(table)
    assert f"of {len(table)} groups came as predicted" in text


def test_charts_show_the_numbers_of_their_tables(sends: SendTable, times: SendTimes) -> None:
    week = week_table(times)
    figure = week_chart(week, about=times.about)
    assert np.asarray(figure.data[0].z, float).ravel().tolist() == pytest.approx(week["chance"].tolist())
    assert figure.layout.title.text.startswith("everyone: best at ")
    gains = gain_table(of_gains([0.0] * 50 + [0.1] * 50))
    assert list(gain_chart(gains).data[2].y) == pytest.approx((100 * gains["gain"]).tolist())
    levels = level_table(of_gains([0.0, 0.1]))
    assert [bar.x[0] for bar in level_chart(levels).data] == [0.5, 0.5]
    table = calibration_table(times, sends)
    assert list(calibration_chart(table).data[1].y) == pytest.approx(table["observed"].tolist())
    assert all("n = " in chart.layout.title.subtitle.text for chart in (gain_chart(gains), calibration_chart(table)))


@pytest.mark.parametrize("draw", [week_chart, gain_chart, level_chart, calibration_chart, gain_svg, level_svg])
def test_a_table_without_its_columns_is_refused(draw: Callable[[pd.DataFrame], Any]) -> None:
    with pytest.raises(DataError, match="without "):
        draw(pd.DataFrame({"x": [1]}))


def test_send_times_show_themselves_without_scripts_or_names(times: SendTimes) -> None:
    text = times._repr_html_()
    assert text.startswith('<div class="jl-display">')
    assert "<script" not in text
    assert not re.search(r"c-\d", text)
    assert "<svg" in SendTimes.of_hours(pd.DataFrame({"contact": ["ada"], "hour_of_week": [3]}))._repr_html_()


def test_the_page_holds_what_was_predicted_against_what_came(times: SendTimes, sends: SendTable, tmp_path: Any) -> None:
    early = replace(times, about={**times.about, "until": "2026-03-20T00:00:00+00:00", "notes": ["a < b"]})
    text = write_page(early, tmp_path / "page.html", sends=sends, reliability=reliability()).read_text()
    assert "Predicted and observed over time" in text
    assert "a &lt; b" in text
    assert "<script" not in text
    assert len(text) < 400_000
    with pytest.raises(DataError, match="is a folder"):
        write_page(times, tmp_path)


def test_the_polish_page_has_the_pictures_of_the_english_one_and_none_of_its_words(
    times: SendTimes, sends: SendTable, tmp_path: Any
) -> None:
    notes = ["Machines opened or clicked 1,200 of 4,000 sends (rules/1); they do not count."]
    early = replace(times, about={**times.about, "until": "2026-03-20T00:00:00+00:00", "notes": notes})
    english = write_page(early, tmp_path / "en.html", sends=sends, reliability=reliability()).read_text()
    polish = write_page(early, tmp_path / "pl.html", sends=sends, reliability=reliability(), language="pl").read_text()
    assert '<html lang="pl">' in polish
    assert not english_in(polish)
    assert english_in(english)
    assert polish.count("<svg") == english.count("<svg")
    assert polish.count("<td") == english.count("<td")
    assert "Automaty otworzyły lub kliknęły 1\N{NO-BREAK SPACE}200 z 4\N{NO-BREAK SPACE}000 wysyłek" in polish


def test_a_file_knows_what_its_pictures_need(times: SendTimes, model: HabitModel, sends: SendTable) -> None:
    assert times.about["notes"] == model.notes_
    assert [row["level"] for row in times.about["evidence"]] == ["everyone", "segment", "person"]
    assert times.about["marks"]["everyone"] == "".join(answered_hours(sends)["mark"])


def test_scores_of_rules_are_no_chances() -> None:
    rule = {"outcome": "opened", "levels": ["person"], "is_causal": False}
    assert score_text(0.25, rule) == "0.25"
    assert score_text(0.25, {**rule, "assumed": "so"}) == score_text(0.25, {**rule, "is_causal": True}) == "25.0%"
    times = replace(of_gains([0.0]), about=rule)
    text = week_svg(week_table(times), "everyone", times.about)
    assert "score, which only orders hours" in text
    assert "%" not in text.partition("<text")[2]


def test_gains_that_a_model_cannot_tell_leave_no_picture() -> None:
    times = of_gains([float("nan")] * 10)
    assert gain_table(times).empty
    assert "expected" not in times._repr_html_()
    assert "gain" not in times._repr_html_()
    assert gain_chart(gain_table(times)).layout.title.text == "No gain can be said"


# Over time ----------------------------------------------------------------------------------------------------------


def reliability() -> pd.DataFrame:
    weeks = pd.date_range("2026-03-02", periods=4, freq="7D", tz="UTC")
    return pd.DataFrame(
        {
            "week": weeks, "n_sends": [100, 200, 300, 400], "predicted_rate": [0.2, 0.2, 0.2, 0.2],
            "observed_rate": [0.21, 0.19, 0.2, 0.1], "low": [0.15, 0.15, 0.16, 0.07], "high": [0.3, 0.25, 0.24, 0.13],
        }
    )  # fmt: skip


def test_reliability_says_in_how_many_weeks_answers_came_as_predicted() -> None:
    text = reliability_svg(reliability())
    parsed(text)
    assert "In 3 of 4 weeks answers came as predicted" in text
    assert "n = 1,000 sends" in text
    assert text.count("<circle") == 4
    assert reliability_svg(reliability().iloc[:0]) == ""
    figure = reliability_chart(reliability())
    assert list(figure.data[1].y) == [0.21, 0.19, 0.2, 0.1]
    with pytest.raises(DataError, match="without "):
        reliability_chart(pd.DataFrame({"week": []}))
