"""What send times are worth: against a truth one can see through, SQL, power formulas, and what must not fool it."""

from __future__ import annotations

import json
import math
from datetime import timedelta
from typing import Any

import duckdb
import numpy as np
import pandas as pd
import pytest
from scipy.stats import binomtest, norm

from drawnsends import BEGINS, daily, drawn_sends, log_of_sends, times_of
from journeylab.clock import instant
from journeylab.errors import DataError
from journeylab.sendtime.arms import day_choices, hours_chosen
from journeylab.sendtime.evaluation import SendTimeValue, evaluate, evaluate_out_of_time, sends_needed
from journeylab.sendtime.habit import HabitModel
from journeylab.sendtime.sends import HOUR_US, SendTable
from journeylab.sendtimes import WEEK

pytestmark = pytest.mark.long

FOUR_HOURLY = np.arange(WEEK)[None] % 4 == 2
AT_10, AT_17, AT_18 = times_of(daily(10)), times_of(daily(17)), times_of(daily(18))


def by_hour(contact: Any, hour: Any) -> Any:
    return 0.12 + 0.10 * np.cos(2 * np.pi * (hour % 24 - 10) / 24)


def flat(contact: Any, hour: Any) -> Any:
    return np.full(len(hour), 0.1)


def figures(value: SendTimeValue, arm: str) -> Any:
    return value.values.set_index("arm").loc[arm]


# Against the truth --------------------------------------------------------------------------------------------------


def test_values_and_gains_are_unbiased_and_their_intervals_hold_the_truth() -> None:
    """200 logs: both errors within 4 standard errors of 0, and 85 to 95 % of the intervals hold the truth."""
    at_10, at_18 = (float(by_hour(None, hour)) for hour in (10, 18))
    errors, holds = [], []
    for seed in range(200):
        sends = drawn_sends(seed, by_hour, 1200, slots=FOUR_HOURLY)
        value = evaluate(sends, {"best": AT_10, "late": AT_18}, baseline="late")
        best, gain = figures(value, "best"), value.gain_of("best")
        truth = at_10, at_10 - at_18
        errors.append((best["value"] - truth[0], gain["gain"] - truth[1]))
        holds.append((best["low"] <= truth[0] <= best["high"], gain["low"] <= truth[1] <= gain["high"]))
    error = np.array(errors)
    assert (np.abs(error.mean(axis=0)) < 4 * error.std(axis=0) / math.sqrt(len(error))).all()
    assert ((np.mean(holds, axis=0) >= 0.85) & (np.mean(holds, axis=0) <= 0.95)).all(), np.mean(holds, axis=0)


def test_the_logged_policy_is_worth_what_was_observed() -> None:
    sends = drawn_sends(1, by_hour, 4000)
    drawn = figures(evaluate(sends, {"best": AT_10}), "drawn")
    assert drawn["value"] == pytest.approx(sends.answered.mean(), abs=1e-12)
    assert drawn["n_matched"] == drawn["n_random"] == len(sends)


def test_where_answers_have_nothing_to_do_with_hours_intervals_of_gains_hold_zero() -> None:
    n_held = 0
    for seed in range(40):
        value = evaluate(
            drawn_sends(seed, flat, 1200, slots=FOUR_HOURLY), {"best": AT_10, "late": AT_18}, baseline="late"
        )
        gain = value.gain_of("best")
        n_held += gain["low"] <= 0 <= gain["high"]
    assert binomtest(n_held, 40, 0.9).pvalue > 0.001


def test_days_that_answer_more_gain_nothing_for_an_arm_that_prefers_them() -> None:
    """People answer three times as often on weekends, at any hour; by matched hours of the week an arm would gain."""

    def by_day(contact: Any, hour: Any) -> Any:
        return np.where(hour >= 120, 0.24, 0.08)

    on_weekends = times_of(daily(10) * (1 + (np.arange(WEEK) >= 120)))
    n_told, gains = 0, []
    for seed in range(30):
        sends = drawn_sends(seed, by_day, 1200, slots=FOUR_HOURLY)
        value = evaluate(sends, {"weekend": on_weekends, "late": AT_18}, baseline="late")
        n_told += value.gain_of("weekend")["is_told"]
        gains.append(value.gain_of("weekend", "drawn")["gain"])
    assert n_told <= 8
    assert abs(np.mean(gains)) < 4 * np.std(gains) / math.sqrt(30)


def test_blocks_of_hours_tell_of_sends_evenly_over_the_block() -> None:
    values = [
        figures(evaluate(drawn_sends(seed, by_hour, 1600), {"best": AT_10}, slot_hours=3), "best")["value"]
        for seed in range(25)
    ]
    truth = by_hour(None, np.array([9, 10, 11])).mean()
    assert abs(np.mean(values) - truth) < 4 * np.std(values) / math.sqrt(25)
    one, three = (evaluate(drawn_sends(1, by_hour, 9000), {"best": AT_10}, slot_hours=hours) for hours in (1, 3))
    assert figures(three, "best")["n_matched"] > 2.5 * figures(one, "best")["n_matched"]
    assert "blocks of 3" in " ".join(three.notes)


@pytest.mark.parametrize("estimator", ["snips", "dr"])
def test_contacts_are_told_apart(estimator: Any) -> None:
    """Half of the contacts answer at 9 and half at 20, so that one hour for everyone gains nothing."""

    def by_contact(contact: Any, hour: Any) -> Any:
        return np.where(hour % 24 == np.where(contact % 2, 9, 20), 0.5, 0.1)

    own = times_of(np.array([daily(9), daily(20)]), range(400), np.arange(400) % 2 == 0)
    value = evaluate(
        drawn_sends(3, by_contact, 9000), {"own": own, "everyone": times_of(daily(9))}, estimator=estimator
    )
    gain = value.gain_of("own")
    assert gain["is_told"]
    assert gain["low"] <= 0.2 <= gain["high"]
    assert "more answers per 1,000" in value.verdict


# What counts --------------------------------------------------------------------------------------------------------


def test_the_weighted_mean_is_that_of_sql() -> None:
    rng = np.random.default_rng(5)
    slots = rng.random((6, WEEK)) < 0.3
    scores = rng.random((40, WEEK))
    sends = drawn_sends(7, by_hour, 6000, n_contacts=60, slots=slots)
    times = times_of(scores, range(50), rng.integers(0, 40, 50))  # ten contacts are not known
    value = evaluate(sends, {"some": times, "late": AT_17}, baseline="late")
    send = pd.DataFrame(
        {
            "contact": sends.contact,
            "hour": sends.hour.astype(int),
            "slot_set": sends.slot_set,
            "answered": sends.answered,
        }
    )
    row = np.append(times.profile, np.zeros(10, np.int32))
    hours = pd.DataFrame(np.argwhere(slots), columns=["slot_set", "hour"])
    score = pd.DataFrame(
        {"contact": np.repeat(np.arange(60), WEEK), "hour": np.tile(np.arange(WEEK), 60),
         "score": times.scores[row].ravel()}
    )  # fmt: skip
    con = duckdb.connect()
    for name, table in (("send", send), ("hours", hours), ("score", score)):
        con.register(name, table)
    found = con.execute("""
        WITH choice AS (
            SELECT s.contact, s.hour AS went_at, s.answered, count(*) AS n,
                   arg_max(h.hour, (score, -h.hour)) AS best
            FROM (SELECT *, row_number() OVER () AS id FROM send) AS s
            JOIN hours AS h ON h.slot_set = s.slot_set AND h.hour // 24 = s.hour // 24
            JOIN score AS p ON p.contact = s.contact AND p.hour = h.hour
            GROUP BY s.id, s.contact, s.hour, s.answered)
        SELECT sum(n * answered::INT) FILTER (best = went_at) / sum(n) FILTER (best = went_at), count(*)
        FROM choice WHERE n > 1""").fetchone()
    assert found is not None
    assert found[1] == value.n_random
    assert figures(value, "some")["value"] == pytest.approx(found[0], rel=1e-12)


def test_the_hour_taken_is_the_best_of_the_sends_own_day_and_the_earliest_of_equals() -> None:
    slots = np.zeros((1, WEEK), np.bool_)
    slots[0, [8, 9, 10, 30, 40, 50]] = True  # three on Monday, two on Tuesday, one on Wednesday
    sends = drawn_sends(1, flat, 400, slots=slots)
    choices = day_choices(sends)
    assert choices.n_certain == (sends.hour >= 48).sum() > 0
    scores = np.zeros(WEEK)
    scores[[9, 10, 50]] = 1, 1, 7
    chosen, leaves = hours_chosen(times_of(scores), choices)
    monday = choices.sends.hour < 24
    assert set(chosen[monday]) == {9}
    assert (leaves == ~monday).all()
    assert np.allclose(choices.propensity, np.where(monday, 1 / 3, 1 / 2))
    scores[40] = np.nan
    chosen, leaves = hours_chosen(times_of(scores), choices)
    assert not leaves.any()  # of two hours one has a score
    assert set(chosen[~monday]) == {6}
    assert hours_chosen(times_of(np.full(WEEK, np.nan)), choices)[1].all()


def test_an_arm_that_prefers_no_hour_is_worth_what_was_drawn() -> None:
    sends = drawn_sends(3, by_hour, 5000)
    mixed = times_of(np.array([daily(10), np.full(WEEK, 0.3)]), range(200), np.ones(200))
    value = evaluate(sends, {"flat": times_of(np.full(WEEK, 0.3)), "mixed": mixed, "best": AT_10}, baseline="flat")
    assert figures(value, "flat")["value"] == sends.answered.mean()
    assert "flat prefers no hour for 5,000 sends" in " ".join(value.notes)
    half, whole = value.gain_of("mixed"), value.gain_of("best")
    assert half["low"] <= 0.05 <= half["high"]
    assert whole["low"] <= 0.1 <= whole["high"]


def test_only_sends_from_then_on_that_were_looked_at_for_long_enough_count() -> None:
    sends = drawn_sends(2, by_hour, 8000, random_share=0.8, own=np.full(8000, 10))
    since = instant(BEGINS + 3 * WEEK * HOUR_US)
    young = SendTable(**{**vars(sends), "looked": sends.looked - 2 * WEEK * HOUR_US})
    value = evaluate(young, {"best": AT_10}, since=since)
    at = BEGINS + np.array([3, 8]) * WEEK * HOUR_US
    assert value.n_random == (sends.is_random & (sends.at >= at[0]) & (young.looked >= 2 * WEEK * HOUR_US)).sum()
    assert value.since == since
    assert "can still be answered" in " ".join(value.notes)
    later = sends.at >= at[0]
    assert value.sends_per_contact == later.sum() / len(np.unique(sends.contact[later]))
    gain = value.gain_of("best", "drawn")
    assert gain["per_contact"] == pytest.approx(gain["gain"] * value.sends_per_contact)


def test_an_arm_that_has_seen_its_sends_is_said_to_have() -> None:
    sends = drawn_sends(2, by_hour, 4000)
    seen = times_of(daily(10), until=sends.until.isoformat())
    value = evaluate(sends, {"best": seen, "late": AT_17})
    assert value.seen == ("everyone", "best")
    assert "optimistic" in " ".join(value.notes)
    assert "judged on what they were fitted to" in repr(value)
    assert evaluate(sends, {"best": times_of(daily(10), until=instant(BEGINS).isoformat())}, baseline="best").seen == ()


def test_without_a_send_at_a_drawn_hour_nothing_causal_is_learned() -> None:
    sends = drawn_sends(1, by_hour, 500, random_share=0.0, own=np.full(500, 9))
    value = evaluate(sends, {"best": AT_10})
    assert value.verdict.startswith("Nothing causal can be learned")
    assert not len(value.values) and not len(value.gains) and not len(value.needed)  # noqa: PT018
    assert "nothing causal can be learned" in repr(value)
    json.dumps(value.to_dict(), allow_nan=False)
    young = SendTable(**{**vars(drawn_sends(1, by_hour, 500)), "looked": np.zeros(500, np.int64)})
    assert "Nothing causal" in evaluate(young, {"best": AT_10}).verdict


def test_too_few_sends_are_refused_and_told_how_many_it_takes() -> None:
    value = evaluate(drawn_sends(1, by_hour, 900), {"best": AT_10, "late": AT_17}, baseline="late")
    assert "cannot be told from this log" in value.verdict
    assert "takes about" in value.verdict
    assert "tell only as much as" in figures(value, "best")["refused"]
    assert math.isnan(value.gain_of("best")["gain"])
    assert not value.gains["is_told"].any()
    assert value.needed["n_paired"].isna().all()
    assert (value.needed["n_needed"] == value.needed["n_two_proportions"]).all()


def test_probabilities_that_are_not_those_of_the_draw_are_refused() -> None:
    sends = drawn_sends(1, by_hour, 6000)
    hour = np.where(sends.at % 3 > 0, np.floor(sends.hour / 24) * 24 + 10.5, sends.hour)
    value = evaluate(SendTable(**{**vars(sends), "hour": hour}), {"best": AT_10})
    assert "mean weight" in figures(value, "best")["refused"]


# How many it takes --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("rate", [0.02, 0.1, 0.4])
@pytest.mark.parametrize("lift", [0.02, 0.1])
def test_the_number_needed_reaches_the_power(rate: float, lift: float) -> None:
    n, better = sends_needed(rate, lift), rate * (1 + lift)
    error = math.sqrt((rate * (1 - rate) + better * (1 - better)) / n)
    assert norm.sf(norm.isf(0.025) - (better - rate) / error) == pytest.approx(0.8)
    # With arcsines in place of variances, as statsmodels' NormalIndPower takes them.
    arcsine = 2 * (math.asin(math.sqrt(better)) - math.asin(math.sqrt(rate)))
    assert n == pytest.approx(2 * ((norm.isf(0.025) + norm.isf(0.2)) / arcsine) ** 2, rel=0.01)
    assert sends_needed(rate, lift, 1 / 24) == pytest.approx(24 * n)


def test_the_number_needed_is_that_of_the_evaluations_own_variance() -> None:
    value = evaluate(drawn_sends(1, by_hour, 6000), {"best": AT_10, "late": AT_17}, baseline="late")
    row, gain = value.needed.iloc[1], value.gain_of("best")
    error = (gain["high"] - gain["low"]) / 2 / norm.isf(0.05)
    apart = 0.05 * figures(value, "late")["value"]
    assert row["n_needed"] == pytest.approx(6000 * ((norm.isf(0.025) + norm.isf(0.2)) * error / apart) ** 2)
    assert 0.5 < row["n_needed"] / row["n_two_proportions"] < 2.5


def test_arms_that_take_the_same_hours_differ_by_nothing() -> None:
    value = evaluate(drawn_sends(1, by_hour, 4000), {"best": AT_10, "twin": times_of(daily(10))}, baseline="twin")
    assert value.gain_of("best")["gain"] == 0
    assert not value.gain_of("best")["is_told"]
    assert "the same hours" in value.verdict


# Fitting and asking later -------------------------------------------------------------------------------------------


def test_models_are_fitted_to_the_first_part_and_asked_about_the_rest() -> None:
    def by_contact(contact: Any, hour: Any) -> Any:
        away = np.abs((hour % 24 - np.where(contact % 2, 9, 20) + 12) % 24 - 12)
        return 0.5 * np.exp(-away / 2)

    log = log_of_sends(drawn_sends(3, by_contact, 16_000, n_contacts=300, weeks=30))
    value = evaluate_out_of_time(log, {"habit": HabitModel(n_steps=6)}, slot_hours=2)
    assert value.seen == ()
    assert value.gain_of("habit")["low"] > 0
    assert value.n_random == pytest.approx(0.3 * 16_000, rel=0.05)
    assert value.outcome == "opened"


def test_a_table_and_its_log_are_judged_alike() -> None:
    sends = drawn_sends(4, by_hour, 3000)
    one, other = (
        evaluate(given, {"best": AT_10, "late": AT_17}, baseline="late") for given in (sends, log_of_sends(sends))
    )
    pd.testing.assert_frame_equal(one.gains, other.gains)


# How it shows itself ------------------------------------------------------------------------------------------------


def test_it_shows_itself_without_scripts_and_as_plain_data() -> None:
    value = evaluate(drawn_sends(1, by_hour, 6000), {"<best>": AT_10, "late": AT_17}, baseline="late")
    html = value._repr_html_()
    assert "<script" not in html and "&lt;best&gt;" in html  # noqa: PT018
    data = json.loads(json.dumps(value.to_dict(), allow_nan=False))
    assert data["gains"][0]["arm"] == "<best>"
    assert data["by_arm"]["<best>"]["estimates"][1]["estimator"] == "snips"
    assert "\n" not in repr(value)


@pytest.mark.parametrize(
    ("given", "fault"),
    [
        ({"baseline": "bets"}, "did you mean 'best'"),
        ({"slot_hours": 4}, "slot_hours is 1, 2 or 3"),
        ({"estimator": "ips"}, "'snips' or 'dr'"),
        ({"level": 90}, "level lies between"),
        ({"since": "2026-03-02"}, "no time zone"),
        ({"since": "then"}, "since: "),
    ],
)
def test_what_does_not_fit_is_refused_with_its_remedy(given: Any, fault: str) -> None:
    with pytest.raises(DataError, match=fault):
        evaluate(drawn_sends(1, by_hour, 300), {"best": AT_10}, **given)


def test_arms_without_names_that_can_be_used_are_refused() -> None:
    sends = drawn_sends(1, by_hour, 300)
    with pytest.raises(DataError, match="names no arm"):
        evaluate(sends, {})
    with pytest.raises(DataError, match="another name"):
        evaluate(sends, {"drawn": AT_10})
    with pytest.raises(DataError, match="share lies between"):
        evaluate_out_of_time(sends, {"best": AT_10}, share=7)
    with pytest.raises(DataError, match="a greater share"):
        evaluate_out_of_time(
            SendTable(
                **{
                    **vars(sends),
                    "after": {"opened": sends.after["opened"] + timedelta(days=90) // timedelta(microseconds=1)},
                }
            ),
            {"best": AT_10},
        )
