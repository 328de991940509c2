"""Plans, against statsmodels, tea-tasting, and experiments that are run many times."""

from __future__ import annotations

import json
import math
from datetime import timedelta
from fractions import Fraction

import numpy as np
import pandas as pd
import pytest
import tea_tasting as tt
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from statsmodels.stats.power import NormalIndPower, normal_power_het
from statsmodels.stats.proportion import proportion_effectsize

from journeylab.errors import DataError
from journeylab.experiments.looks.spending import boundaries
from journeylab.experiments.sizing.power import (
    Baseline,
    Design,
    Rule,
    errors_needed,
    minimum_effect,
    power_of,
    units_needed,
)
from journeylab.experiments.sizing.recruiting import duration
from journeylab.intervals import anytime_interval

FIVE = Rule("group_sequential", (0.2, 0.4, 0.6, 0.8, 1.0))
THREE_ARMS = {"control": 0.5, "plain": 0.3, "discount": 0.2}


def halves(ratio: float) -> Design:
    """Two arms, the treatment so many times the control."""
    return Design({"control": 1 / (1 + ratio), "treatment": ratio / (1 + ratio)})


# Against libraries


@pytest.mark.parametrize("ratio", [1.0, 3.0])
def test_power_for_means_is_statsmodels(ratio: float) -> None:
    n_control, deviation, effect = 900, 4.0, 0.5
    expected = NormalIndPower().power(effect / deviation, n_control, 0.05, ratio=ratio)
    total = round(n_control * (1 + ratio))
    found = power_of(Baseline.of_mean(10.0, deviation), effect, total, halves(ratio))
    assert found.power == pytest.approx(expected, abs=1e-9)
    needed = units_needed(Baseline.of_mean(10.0, deviation), effect, halves(ratio), power=expected).n_units
    assert needed == pytest.approx(total, abs=1)
    least = minimum_effect(Baseline.of_mean(10.0, deviation), total, halves(ratio), power=expected)
    assert least.effect == pytest.approx(effect, rel=1e-6)
    assert least.relative_effect == pytest.approx(effect / 10, rel=1e-6)


def test_power_for_proportions_is_statsmodels_with_each_arms_own_variance() -> None:
    rate, effect, n = 0.1, 0.02, 3000
    deviation = math.sqrt(rate * (1 - rate) + 0.12 * 0.88)
    expected = normal_power_het(effect, n / 2, 0.05, std_null=deviation, std_alternative=deviation)
    found = power_of(Baseline.of_proportion(rate), effect, n)
    assert found.power == pytest.approx(expected, abs=1e-9)
    cohen = NormalIndPower().power(proportion_effectsize(0.12, 0.1), n / 2, 0.05)
    assert found.power == pytest.approx(cohen, abs=0.01)


@pytest.mark.parametrize("alpha", [0.05, 0.01])
def test_means_and_ratios_are_tea_tastings(alpha: float) -> None:
    data = tt.make_users_data(rng=42, n_users=2000)
    frame = data.to_pandas()
    for metric, baseline in (
        (tt.Mean("orders", use_t=False, alpha=alpha, n_obs=10_000), Baseline.of_values(frame["orders"])),
        (
            tt.RatioOfMeans("orders", "sessions", use_t=False, alpha=alpha, n_obs=10_000),
            Baseline.of_values(frame["orders"], frame["sessions"]),
        ),
    ):
        design = Design(alpha=alpha)
        [expected] = metric.solve_power(data, "effect_size")
        assert minimum_effect(baseline, 10_000, design).effect == pytest.approx(expected.effect_size, rel=1e-6)
    [expected] = tt.Mean("orders", use_t=False, alpha=alpha, effect_size=0.05).solve_power(data, "n_obs")
    needed = units_needed(Baseline.of_values(frame["orders"]), 0.05, Design(alpha=alpha)).n_units
    assert needed == math.ceil(expected.n_obs)


# What changes it


def test_a_covariate_saves_what_it_explains_and_clusters_cost_what_they_repeat() -> None:
    plain = Baseline.of_mean(5.0, 2.0)
    n = units_needed(plain, 0.1).n_units
    assert units_needed(plain.with_covariate(0.3), 0.1).n_units == pytest.approx(0.7 * n, abs=2)
    assert units_needed(plain.clustered(3.0, 0.1), 0.1).n_units == pytest.approx(1.2 * n, abs=2)
    uneven = plain.clustered(3.0, 0.1, size_cv=1.0)
    assert uneven.factor == pytest.approx(1 + (2 * 3 - 1) * 0.1)
    assert units_needed(uneven, 0.1).n_clusters == math.ceil(units_needed(uneven, 0.1).n_units / 3)
    assert "clusters)" in units_needed(uneven, 0.1).sentence


def test_several_arms_share_alpha_and_the_least_of_them_decides() -> None:
    design = Design(THREE_ARMS)
    found = units_needed(Baseline.of_mean(5.0, 2.0), 0.1, design)
    z = stats.norm.isf(0.05 / 4) + stats.norm.isf(0.2)
    assert found.n_units == pytest.approx(z**2 * 4 * (1 / 0.5 + 1 / 0.2) / 0.01, abs=2)
    assert found.n_by_arm["control"] == math.ceil(found.n_units / 2)
    assert "alpha 0.05 shared by 2 comparisons" in found.sentence


def test_planned_looks_cost_a_little_and_any_look_costs_more() -> None:
    baseline, n = Baseline.of_proportion(0.1), {}
    for rule in (Rule(), FIVE, Rule("group_sequential", FIVE.looks, "pocock"), Rule("always_valid")):
        n[f"{rule.rule} {rule.spending}"] = units_needed(baseline, 0.01, Design(stopping=rule)).n_units
    fixed, obf, pocock, always = n.values()
    assert fixed < obf < 1.03 * fixed < pocock < 1.25 * fixed < always < 2.1 * fixed


def test_at_any_time_the_width_at_the_planned_units_takes_the_place_of_z() -> None:
    width = anytime_interval(0.0, 1.0, 500, 0.95, 500).high
    assert errors_needed(Rule("always_valid"), 0.05, 0.8) == pytest.approx(width + stats.norm.isf(0.2), abs=1e-6)


def test_one_look_at_the_end_is_a_plan_of_one_look() -> None:
    one = Rule("group_sequential", (1.0,))
    for sides in (1, 2):
        assert errors_needed(one, 0.05, 0.9, sides) == pytest.approx(errors_needed(Rule(), 0.05, 0.9, sides))


def test_looks_may_be_fractions() -> None:
    looks = tuple(Fraction(k, 5) for k in range(1, 6))
    assert errors_needed(Rule("group_sequential", looks), 0.05, 0.8) == errors_needed(FIVE, 0.05, 0.8)


def test_a_guardrail_is_one_sided_and_shares_no_alpha() -> None:
    design = Design(THREE_ARMS, test="non_inferiority")
    found = units_needed(Baseline.of_proportion(0.004), 0.002, design, power=0.9)
    z = stats.norm.isf(0.05) + stats.norm.isf(0.1)
    assert found.n_units == pytest.approx(z**2 * 0.004 * 0.996 * 7 / 0.002**2, abs=2)
    assert "rule out a harm of 0.002" in found.sentence
    least = minimum_effect(Baseline.of_proportion(0.004), found.n_units, design, power=0.9)
    assert least.effect == pytest.approx(0.002, rel=1e-3)


designs = st.builds(
    Design,
    shares=st.sampled_from([THREE_ARMS, {"control": 0.5, "b": 0.5}, {"control": 0.1, "b": 0.9}]),
    alpha=st.sampled_from([0.01, 0.05]),
    test=st.sampled_from(["difference", "non_inferiority"]),
    stopping=st.sampled_from([Rule(), FIVE, Rule("always_valid")]),
)
baselines = st.sampled_from(
    [
        Baseline.of_proportion(0.05),
        Baseline.of_mean(3.0, 9.0),
        Baseline.of_ratio(2.0, 4.0, 3.0, 5.0, 1.0).clustered(2, 0.2),
    ]
)


@settings(max_examples=40)
@given(baselines, designs, st.sampled_from([0.5, 0.8, 0.95]), st.floats(0.005, 0.05))
def test_units_effect_and_power_fit_together(baseline: Baseline, design: Design, power: float, effect: float) -> None:
    needed = units_needed(baseline, effect, design, power=power)
    assert needed.power >= power - 1e-9
    assert power_of(baseline, effect, max(2, needed.n_units - 1), design).power < power + 1e-9 or needed.n_units == 2
    least = minimum_effect(baseline, needed.n_units, design, power=power)
    assert least.effect <= effect * (1 + 1e-9)
    assert least.power == pytest.approx(power, abs=1e-6)
    json.dumps(needed.to_dict(), allow_nan=False)


def test_less_of_a_proportion_is_found_sooner_than_more() -> None:
    more = minimum_effect(Baseline.of_proportion(0.1), 5000)
    less = minimum_effect(Baseline.of_proportion(0.1), 5000, direction="less")
    assert less.effect < 0 < more.effect
    assert abs(less.effect) < more.effect
    assert less.power == pytest.approx(0.8)


def test_few_units_are_said_to_be_few() -> None:
    assert "fewer than 10" in power_of(Baseline.of_proportion(0.001), 0.002, 4000).notes[0]
    assert "only 20 units" in power_of(Baseline.of_mean(1.0, 1.0), 0.5, 40).notes[0]
    assert power_of(Baseline.of_mean(1.0, 1.0), 0.5, 400).notes == []
    assert math.isnan(power_of(Baseline.of_mean(0.0, 1.0), 0.5, 400).relative_effect)
    assert "find a difference of 0.5 with" in power_of(Baseline.of_mean(0.0, 1.0), 0.5, 400).sentence


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (lambda: Baseline.of_proportion(1.0), "a proportion lies between 0 and 1"),
        (lambda: Baseline.of_mean(1.0, 0.0), "standard_deviation is more than 0"),
        (lambda: Baseline.of_mean(math.nan, 1.0), "mean is a number"),
        (lambda: Baseline.of_values([1.0]), "two values or more"),
        (lambda: Baseline.of_values([1.0, 1.0]), "values that are all alike"),
        (lambda: Baseline.of_ratio(1.0, 0.0, 1.0, 1.0, 0.0), "denominator other than 0"),
        (lambda: Baseline.of_mean(1.0, 1.0).with_covariate(1.0), "a share of variance saved"),
        (lambda: Baseline.of_mean(1.0, 1.0).clustered(0.5, 0.1), "clusters have 1 unit or more"),
        (lambda: power_of(Baseline.of_proportion(0.1), 0.95, 100), "it stays within 0..1"),
        (lambda: power_of(Baseline.of_proportion(0.1), 0.0, 100), "other than 0"),
        (lambda: power_of(Baseline.of_proportion(0.1), 0.1, 1), "2 units or more"),
        (lambda: power_of(Baseline.of_mean(1, 1), -0.1, 10, Design(test="non_inferiority")), "a margin is more than 0"),
        (lambda: units_needed(Baseline.of_proportion(0.1), 0.1, power=0.01), "a power lies between alpha"),
        (lambda: minimum_effect(Baseline.of_proportion(0.9), 20), "cannot find that a proportion is more than 0.9"),
        (lambda: minimum_effect(Baseline.of_proportion(0.9), 20, direction="up"), "'more' or 'less'"),  # type: ignore[arg-type]
        (lambda: Design({"a": 0.5, "b": 0.5}), "the control 'control' has no share"),
        (lambda: Design({"control": 0.5, "b": 0.6}), "add up to 1"),
        (lambda: Design(alpha=5), "alpha lies between 0 and 1"),
        (lambda: Design(test="equal"), "no test 'equal'"),  # type: ignore[arg-type]
        (lambda: Design(n_comparisons=0), "1 comparison or more"),
        (lambda: Rule("sometimes"), "no stopping rule 'sometimes'"),  # type: ignore[arg-type]
        (lambda: Rule("fixed", (1.0,)), "looks go with"),
        (lambda: Rule("group_sequential", (0.5,)), "end with 1"),
    ],
)
def test_what_is_wrong_is_said(wrong, message: str) -> None:
    with pytest.raises(DataError, match=message):
        wrong()


# The calendar


def test_weeks_are_whole_and_the_last_unit_is_watched() -> None:
    found = duration(25_000, 6_000, "14d")
    assert (found.n_weeks, found.n_recruited, found.takes) == (5, 30_000, timedelta(days=49))
    assert duration(12_000, 6_000, timedelta(days=3)).n_weeks == 2
    assert duration(1, 0.5, "1d").n_weeks == 2
    assert found.to_dict()["days"] == 49


def test_a_table_of_weeks_counts_those_who_come_for_the_first_time() -> None:
    weekly = pd.DataFrame({"n_units": [500, 0, 300, 100]})
    assert [duration(n, weekly, "7d").n_weeks for n in (1, 500, 501, 800, 900)] == [1, 1, 3, 3, 4]
    assert duration(501, weekly, "7d").n_recruited == 800
    with pytest.raises(DataError, match="in its 4 weeks 900 units come, 901 are needed"):
        duration(901, weekly, "7d")
    with pytest.raises(DataError, match="no column 'n_units'"):
        duration(1, weekly.rename(columns={"n_units": "units"}), "7d")
    with pytest.raises(DataError, match="week 2 has no number"):
        duration(1, pd.DataFrame({"n_units": [1.0, math.nan]}), "7d")


def test_a_calendar_that_cannot_be_is_refused() -> None:
    with pytest.raises(DataError, match="nobody comes"):
        duration(10, 0, "7d")
    with pytest.raises(DataError, match="window: a duration needs a unit"):
        duration(10, 5, "7")
    with pytest.raises(DataError, match="1 unit or more"):
        duration(0, 5, "7d")


# Against experiments that are run


@pytest.mark.nightly
@pytest.mark.parametrize(
    "rule", [Rule(), FIVE, Rule("group_sequential", (0.5, 0.7, 1.0), "pocock"), Rule("always_valid")]
)
def test_experiments_find_the_effect_as_often_as_planned(rule: Rule) -> None:
    plan = units_needed(Baseline.of_proportion(0.1), 0.02, Design(stopping=rule))
    looks = np.array(rule.looks or [1.0])
    per_arm = np.round(looks * plan.n_units / 2).astype(int)
    rng, n_runs = np.random.default_rng(1), 20_000
    steps = np.diff([0, *per_arm])
    rates = [np.cumsum(rng.binomial(steps, p, (n_runs, len(steps))), axis=1) / per_arm for p in (0.1, 0.12)]
    error = np.sqrt(sum(one * (1 - one) / per_arm for one in rates))
    z = np.abs(rates[1] - rates[0]) / error
    if rule.rule == "group_sequential":
        bounds = np.array(boundaries(list(rule.looks), 0.05, rule.spending))
    else:
        bounds = np.array([stats.norm.isf(0.025) if rule.rule == "fixed" else anytime_interval(0, 1, 9, 0.95).high])
    assert (z >= bounds).any(axis=1).mean() == pytest.approx(0.8, abs=0.015)


@pytest.mark.nightly
def test_clusters_and_ratios_have_the_power_that_is_planned() -> None:
    rng, n_runs = np.random.default_rng(2), 2000
    # Households of 1 to 4 contacts who share a leaning; what is counted is one value of each contact.
    sizes = rng.integers(1, 5, 1_000_000)
    size_cv = sizes.std() / sizes.mean()
    baseline = Baseline.of_mean(0.0, math.sqrt(1.25)).clustered(float(sizes.mean()), 0.25 / 1.25, float(size_cv))
    plan = units_needed(baseline, 0.15)
    n_found = 0
    for _ in range(n_runs):
        means, errors = [], []
        for shift in (0.0, 0.15):
            m = rng.integers(1, 5, round(plan.n_clusters / 2))
            sums = m * (shift + rng.normal(0, 0.5, len(m))) + rng.normal(0, np.sqrt(m))
            mean = sums.sum() / m.sum()
            means.append(mean)
            errors.append(((sums - mean * m) ** 2).sum() / m.sum() ** 2)
        n_found += abs(means[1] - means[0]) / math.sqrt(sum(errors)) > stats.norm.isf(0.025)
    assert n_found / n_runs == pytest.approx(0.8, abs=0.03)
    values = rng.gamma(2.0, 1.0, (1000, 2))
    values[:, 0] += 0.5 * values[:, 1]
    ratio = Baseline.of_values(values[:, 0], values[:, 1])
    n_found, plan = 0, units_needed(ratio, 0.15)
    for _ in range(n_runs):
        found, errors = [], []
        for shift in (0.0, 0.15):
            drawn = rng.gamma(2.0, 1.0, (plan.n_units // 2, 2))
            y, x = drawn[:, 0] + (0.5 + shift) * drawn[:, 1], drawn[:, 1]
            found.append(y.mean() / x.mean())
            errors.append(np.var(y - found[-1] * x) / len(y) / x.mean() ** 2)
        n_found += abs(found[1] - found[0]) / math.sqrt(sum(errors)) > stats.norm.isf(0.025)
    assert n_found / n_runs == pytest.approx(0.8, abs=0.05)  # the baseline was estimated from a thousand
