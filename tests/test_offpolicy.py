"""Intervals and off-policy estimators, against scipy, hand-written SQL, and simulations whose truth is known."""

from __future__ import annotations

import math

import duckdb
import numpy as np
import pandas as pd
import pytest
from scipy import stats

from journeylab.intervals import anytime_interval, empirical_bernstein, mean_and_error, normal_interval
from journeylab.offpolicy import (
    Trajectories,
    by_unit,
    cross_fitted,
    diagnose,
    doubly_robust,
    fitted_values,
    folds,
    ips,
    observed,
    per_decision,
    sequential_doubly_robust,
    snips,
    trajectory_weights,
    unsupported_mass,
    weighted_per_decision,
)

# The two-step toy: subject A or B opens .30 or .25; who did not open is reminded or not; .10 buy after opening, .03
# reminded, .01 not. Logged half and half; the policy sends A and always reminds.
TOY_TRUTH = 0.0510


def toy(rng: np.random.Generator, n: int, *, knows_targets: bool = True) -> Trajectories:
    is_a, is_reminded = rng.random(n) < 0.5, rng.random(n) < 0.5
    opened = rng.random(n) < np.where(is_a, 0.30, 0.25)
    bought = rng.random(n) < np.where(opened, 0.10, np.where(is_reminded, 0.03, 0.01))
    is_made = np.column_stack([np.ones(n, bool), ~opened])
    actions = np.column_stack([is_a, is_reminded]).astype(np.int64)
    rewards = np.zeros((n, 2))
    rewards[np.arange(n), np.where(opened, 0, 1)] = bought
    return Trajectories(
        is_made=is_made,
        ratios=np.where(is_made, actions * 2.0, 1.0),
        rewards=rewards,
        unsupported=np.zeros((n, 2)),
        cells=np.tile(np.arange(2), (n, 1)),
        actions=actions,
        targets=np.ones((n, 2), np.int64) if knows_targets else None,
    )


def test_normal_interval_is_scipys() -> None:
    values = np.random.default_rng(1).normal(3, 2, 50)
    mean, error = mean_and_error(values)
    assert error == pytest.approx(stats.sem(values))
    assert normal_interval(mean, error, 0.8) == pytest.approx(stats.norm.interval(0.8, mean, error))


def test_anytime_interval_is_its_formula() -> None:
    n, planned, alpha, error = 400, 1000, 0.05, 0.7
    rho2 = (-2 * math.log(alpha) + math.log(-2 * math.log(alpha) + 1)) / planned
    root = math.sqrt(2 * (n * rho2 + 1) / (n**2 * rho2) * math.log(math.sqrt(n * rho2 + 1) / alpha))
    half = error * math.sqrt(n) * root
    assert anytime_interval(5.0, error, n, 0.95, planned) == pytest.approx((5 - half, 5 + half))


@pytest.mark.parametrize("level", [0, 1, -0.5, 90])
def test_level_outside_0_to_1_is_refused(level: float) -> None:
    for interval in (
        lambda: normal_interval(0, 1, level),
        lambda: empirical_bernstein([0, 1], 1, level),
        lambda: anytime_interval(0, 1, 10, level),
    ):
        with pytest.raises(ValueError, match="a level lies between 0 and 1"):
            interval()


def test_values_beyond_their_range_are_refused() -> None:
    with pytest.raises(ValueError, match="spread over 3"):
        empirical_bernstein([0.0, 3.0], width=1.0)
    with pytest.raises(ValueError, match="no mean of no values"):
        empirical_bernstein([], width=1.0)
    assert empirical_bernstein([1.0], width=1.0) == (-math.inf, math.inf)


def test_intervals_hold_the_mean_as_often_as_they_say() -> None:
    rng, n, p, n_runs = np.random.default_rng(2), 400, 0.2, 3000
    n_held = {"normal": 0, "empirical_bernstein": 0}
    for _ in range(n_runs):
        values = (rng.random(n) < p).astype(float)
        low, high = normal_interval(*mean_and_error(values))
        n_held["normal"] += low <= p <= high
        low, high = empirical_bernstein(values, 1.0)
        n_held["empirical_bernstein"] += low <= p <= high
    assert 0.88 < n_held["normal"] / n_runs < 0.92
    assert n_held["empirical_bernstein"] / n_runs > 0.97


def test_anytime_interval_holds_at_every_look() -> None:
    rng, n, n_runs = np.random.default_rng(3), 2000, 400
    values = rng.exponential(1.0, (n_runs, n))
    looks = np.arange(50, n + 1, 50)
    all_held = {"anytime": np.ones(n_runs, bool), "normal": np.ones(n_runs, bool)}
    for look in looks:
        means, errors = values[:, :look].mean(axis=1), values[:, :look].std(axis=1, ddof=1) / math.sqrt(look)
        for run, (mean, error) in enumerate(zip(means, errors, strict=True)):
            low, high = anytime_interval(mean, error, int(look), 0.9, planned_n=n)
            all_held["anytime"][run] &= low <= 1 <= high
            low, high = normal_interval(mean, error, 0.9)
            all_held["normal"][run] &= low <= 1 <= high
    assert all_held["anytime"].mean() > 0.9
    assert all_held["normal"].mean() < 0.75  # what looking again and again costs


@pytest.fixture
def log() -> pd.DataFrame:
    rng = np.random.default_rng(4)
    n = 700
    p = rng.choice([0.2, 0.5, 0.8], n)
    return pd.DataFrame(
        {
            "w": np.where(rng.random(n) < p, rng.choice([0.0, 0.5, 1.0], n) / p, 0.0),
            "r": rng.gamma(1.0, 2.0, n),
            "q": rng.normal(2, 0.3, n),
            "v": rng.normal(2, 0.3, n),
        }
    )


def test_estimators_are_those_written_in_sql(log: pd.DataFrame) -> None:
    columns = log["w"].to_numpy(), log["r"].to_numpy()
    found = [ips(*columns), snips(*columns), doubly_robust(*columns, log["q"].to_numpy(), log["v"].to_numpy())]
    sql = """
    WITH one AS (SELECT sum(w * r) / sum(w) AS value FROM log)
    SELECT
      avg(w * r), stddev_samp(w * r) / sqrt(count(*)),
      any_value(value), sqrt(sum(w * w * (r - value) ** 2)) / sum(w),
      avg(v + w * (r - q)), stddev_samp(v + w * (r - q)) / sqrt(count(*))
    FROM log, one
    """
    (expected,) = duckdb.sql(sql).fetchall()
    assert [x for one in found for x in (one.value, one.standard_error)] == pytest.approx(expected)
    for one in found:
        assert one.influence.mean() == pytest.approx(one.value)


def test_diagnostics_are_those_written_in_sql(log: pd.DataFrame) -> None:
    found = diagnose(log["w"].to_numpy())
    sql = """
    WITH top AS (SELECT w FROM log ORDER BY w DESC LIMIT 7)
    SELECT count(*), count(*) FILTER (w > 0), sum(w) ** 2 / sum(w * w), avg(w), stddev_samp(w) / sqrt(count(*)),
      max(w) / sum(w), (SELECT sum(w) FROM top) / sum(w)
    FROM log
    """
    (expected,) = duckdb.sql(sql).fetchall()
    names = ["n", "n_matched", "effective_n", "mean_weight", "mean_weight_standard_error", "max_weight_share"]
    assert [getattr(found, name) for name in (*names, "top_1_percent_share")] == pytest.approx(expected)


def test_rows_of_a_unit_are_taken_together() -> None:
    rng = np.random.default_rng(5)
    of_unit = rng.normal(size=60)
    twice = by_unit(observed(np.repeat(of_unit, 2)), np.repeat(np.arange(60), 2))
    assert twice.value == pytest.approx(of_unit.mean())
    assert twice.standard_error == pytest.approx(stats.sem(of_unit))


def test_what_is_unsupported_is_left_out() -> None:
    weights, rewards = np.array([2.0, 0.0, 2.0, 0.0, 0.0]), np.array([1.0, 0.0, 0.0, 1.0, 9.0])
    supported = np.array([1.0, 1.0, 1.0, 1.0, 0.0])
    assert ips(weights, rewards, supported).value == 0.5
    assert observed(rewards, supported).value == 0.5
    zeros = np.zeros(5)
    assert doubly_robust(weights, rewards, zeros, zeros, supported).value == 0.5


def test_folds_keep_units_together_and_are_repeatable() -> None:
    units = np.random.default_rng(6).integers(0, 50, 400)
    units = np.unique(units, return_inverse=True)[1]
    fold = folds(units, 5, np.random.default_rng(7))
    assert (pd.Series(fold).groupby(units).nunique() == 1).all()
    assert set(fold) == set(range(5))
    assert (fold == folds(units, 5, np.random.default_rng(7))).all()


def test_cross_fitting_never_predicts_a_row_from_itself() -> None:
    rewards = np.random.default_rng(8).random(30)
    fold = folds(np.arange(30), 3, np.random.default_rng(9))

    def fit(rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        mean = np.full(30, rewards[rows].mean())
        return mean, mean * 2

    first, second = cross_fitted(fit, fold)
    for one in range(3):
        assert first[fold == one] == pytest.approx(rewards[fold != one].mean())
    assert second == pytest.approx(first * 2)


@pytest.mark.long
def test_two_step_toy_is_estimated_without_bias() -> None:
    n, n_runs = 20_000, 400
    rng = np.random.default_rng(10)
    fold = folds(np.arange(n), 2, rng)
    values, errors = [], []
    for _ in range(n_runs):
        of = toy(rng, n)
        weights, total = trajectory_weights(of.ratios)[:, -1], of.rewards.sum(axis=1)
        estimates = [
            ips(weights, total),
            snips(weights, total),
            per_decision(of),
            weighted_per_decision(of),
            sequential_doubly_robust(of, *fitted_values(of, fold)),
        ]
        values.append([one.value for one in estimates])
        errors.append([one.standard_error for one in estimates])
    found = np.array(values)
    deviation = found.std(axis=0, ddof=1)
    assert (np.abs(found.mean(axis=0) - TOY_TRUTH) < 3 * deviation / math.sqrt(n_runs)).all()
    assert deviation == pytest.approx(0.0027, abs=0.0003)
    assert np.mean(errors, axis=0) == pytest.approx(deviation, rel=0.12)
    held = np.abs(found - TOY_TRUTH) <= stats.norm.ppf(0.95) * np.array(errors)
    assert ((held.mean(axis=0) > 0.86) & (held.mean(axis=0) < 0.94)).all()


def test_weighted_model_knows_the_policy_where_only_its_probabilities_are() -> None:
    rng = np.random.default_rng(11)
    values = []
    for _ in range(60):
        of = toy(rng, 20_000, knows_targets=False)
        fold = folds(np.arange(20_000), 2, rng)
        values.append(sequential_doubly_robust(of, *fitted_values(of, fold)).value)
    assert np.mean(values) == pytest.approx(TOY_TRUTH, abs=3 * np.std(values) / math.sqrt(60))


def test_sequential_estimators_of_one_decision_are_those_of_single_decisions() -> None:
    of = toy(np.random.default_rng(12), 500)
    column = {
        name: getattr(of, name)[:, :1]
        for name in ("is_made", "ratios", "rewards", "unsupported", "cells", "actions", "targets")
    }
    one = Trajectories(**column)
    weights, rewards = one.ratios[:, 0], one.rewards[:, 0]
    assert per_decision(one).value == pytest.approx(ips(weights, rewards).value)
    assert weighted_per_decision(one).value == pytest.approx(snips(weights, rewards).value)
    assert weighted_per_decision(one).standard_error == pytest.approx(snips(weights, rewards).standard_error)
    q, v = fitted_values(one, folds(np.arange(500), 5, np.random.default_rng(0)))
    expected = doubly_robust(weights, rewards, q[:, 0], v[:, 0])
    found = sequential_doubly_robust(one, q, v)
    assert (found.value, found.standard_error) == pytest.approx((expected.value, expected.standard_error))


def test_per_decision_weights_a_reward_by_the_decisions_before_it_only() -> None:
    ratios, rewards = np.array([[2.0, 0.0], [0.5, 4.0]]), np.array([[1.0, 5.0], [3.0, 1.0]])
    whole = np.ones((2, 2))
    of = Trajectories(whole > 0, ratios, rewards, whole * 0, np.zeros((2, 2), int), np.zeros((2, 2), int))
    assert per_decision(of).influence.tolist() == [2.0, 0.5 * 3 + 2.0 * 1]


def test_mass_is_lost_once_by_those_who_come_to_where_support_ends() -> None:
    rng = np.random.default_rng(13)
    of = toy(rng, 50_000)
    # The policy's second action is one the log could not take.
    is_second = of.is_made & (np.arange(2) == 1)
    lost = Trajectories(
        of.is_made,
        np.where(is_second, 0.0, of.ratios),
        of.rewards,
        is_second.astype(float),
        of.cells,
        of.actions,
        of.targets,
    )
    first, second = unsupported_mass(lost)
    assert first == 0
    assert second == pytest.approx(0.7, abs=0.02)
    assert trajectory_weights(lost.ratios)[:, -1].mean() == pytest.approx(0.3, abs=0.02)
