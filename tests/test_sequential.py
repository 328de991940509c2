"""Looks at a running experiment, against published tables, scipy's multivariate normal, and simulations."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from journeylab.errors import DataError
from journeylab.experiments.looks.sequential import group_sequential
from journeylab.experiments.looks.spending import (
    boundaries,
    crossing_probabilities,
    drift_for,
    inflation,
    spent_alpha,
)
from journeylab.intervals import always_valid_p, anytime_interval

FIVE = [0.2, 0.4, 0.6, 0.8, 1.0]


def joint_chance(lows: list[float], highs: list[float], information: list[float], drift: float) -> float:
    """The chance that the z values of the looks all lie between these, by their joint distribution."""
    t = np.array(information)
    ratio = np.sqrt(np.minimum.outer(t, t) / np.maximum.outer(t, t))
    joint = stats.multivariate_normal(drift * np.sqrt(t), ratio, seed=1, maxpts=10**6, abseps=1e-8, releps=1e-8)
    return float(joint.cdf(highs, lower_limit=lows))


@pytest.mark.parametrize(
    ("spending", "published"),
    [
        ("obrien_fleming", [4.8769, 3.3569, 2.6803, 2.2898, 2.0310]),
        ("pocock", [2.4380, 2.4268, 2.4102, 2.3966, 2.3860]),
    ],
)
def test_boundaries_are_the_published_ones(spending: str, published: list[float]) -> None:
    assert boundaries(FIVE, 0.05, spending) == pytest.approx(published, abs=5e-4)
    one_sided = boundaries(FIVE, 0.025, spending, sides=1)
    assert one_sided == pytest.approx(published, abs=5e-4)


# Jennison & Turnbull (2000), tables 2.1 to 2.4: two-sided 5 %, looks evenly spaced.
@pytest.mark.parametrize(("n", "c", "r80", "r90"), [(2, 2.178, 1.110, 1.100), (5, 2.413, 1.229, 1.207)])
def test_pococks_own_test_has_its_published_level_and_size(n: int, c: float, r80: float, r90: float) -> None:
    information = [k / n for k in range(1, n + 1)]
    bounds = [c] * n
    assert sum(map(sum, crossing_probabilities(bounds, information))) == pytest.approx(0.05, abs=1e-4)
    for power, ratio in ((0.8, r80), (0.9, r90)):
        found = (drift_for(power, bounds, information) / drift_for(power, [stats.norm.isf(0.025)], [1.0])) ** 2
        assert found == pytest.approx(ratio, abs=1.1e-3)


@pytest.mark.parametrize(("n", "c", "r80", "r90"), [(2, 1.977, 1.008, 1.007), (5, 2.040, 1.028, 1.026)])
def test_obrien_and_flemings_own_test_has_its_published_level_and_size(
    n: int, c: float, r80: float, r90: float
) -> None:
    information = [k / n for k in range(1, n + 1)]
    bounds = [c / math.sqrt(one) for one in information]
    assert sum(map(sum, crossing_probabilities(bounds, information))) == pytest.approx(0.05, abs=1e-4)
    for power, ratio in ((0.8, r80), (0.9, r90)):
        found = (drift_for(power, bounds, information) / drift_for(power, [stats.norm.isf(0.025)], [1.0])) ** 2
        assert found == pytest.approx(ratio, abs=1.1e-3)


@pytest.mark.parametrize("information", [[0.15, 0.5, 0.55, 1.0], [0.3, 0.301, 1.0], [0.002, 0.1, 0.9, 0.903]])
@pytest.mark.parametrize("drift", [0.0, 2.5])
def test_chances_to_cross_are_those_of_the_joint_distribution(drift: float, information: list[float]) -> None:
    bounds = [2.9, 2.4, 2.3, 2.05][: len(information)]
    found = crossing_probabilities(bounds, information, drift)
    for k in range(1, len(information) + 1):
        inside, before = [-one for one in bounds[: k - 1]], bounds[: k - 1]
        above = joint_chance([*inside, bounds[k - 1]], [*before, 12.0], information[:k], drift)
        below = joint_chance([*inside, -12.0], [*before, -bounds[k - 1]], information[:k], drift)
        assert (found.above[k - 1], found.below[k - 1]) == pytest.approx((above, below), abs=2e-6)


looks = st.lists(st.integers(1, 200), min_size=1, max_size=6, unique=True).map(
    lambda them: [n / 200 for n in sorted(them)]
)


@settings(max_examples=30)
@given(
    looks, st.sampled_from(["obrien_fleming", "pocock"]), st.sampled_from([0.01, 0.05, 0.2]), st.sampled_from([1, 2])
)
def test_whatever_the_looks_no_more_than_the_spent_alpha_is_spent(
    information: list[float], spending: str, alpha: float, sides: int
) -> None:
    bounds = boundaries(information, alpha, spending, sides)
    above, below = crossing_probabilities(bounds, information, 0.0, sides)
    by_look = np.cumsum(above + (below if sides == 2 else 0))
    expected = [spent_alpha(one, alpha, spending, sides) for one in information]
    assert by_look == pytest.approx(expected, rel=1e-6, abs=1e-12)
    assert spent_alpha(1.0, alpha, spending, sides) == pytest.approx(alpha)


def test_two_looks_that_are_close_are_nearly_one() -> None:
    apart = boundaries([0.5, 0.502, 1.0])
    assert apart[0] == boundaries([0.5, 1.0])[0]
    assert apart[2] == pytest.approx(boundaries([0.5, 1.0])[1], abs=1e-2)


def test_a_look_at_next_to_nothing_cannot_stop() -> None:
    assert boundaries([0.01, 1.0]) == pytest.approx([math.inf, stats.norm.isf(0.025)])


def test_the_last_look_may_come_late_or_early() -> None:
    late = boundaries([0.5, 1.2])
    assert sum(map(sum, crossing_probabilities(late, [0.5, 1.2]))) == pytest.approx(0.05)
    early = boundaries([0.5, 0.8], is_end=True)
    assert sum(map(sum, crossing_probabilities(early, [0.5, 0.8]))) == pytest.approx(0.05)
    assert early[1] < boundaries([0.5, 0.8])[1]


@pytest.mark.parametrize(
    ("information", "options", "message"),
    [
        ([], {}, "information grows from look to look"),
        ([0.5, 0.5], {}, "information grows"),
        ([0.0, 1.0], {}, "information grows"),
        ([0.5, 0.5004], {}, "leave out looks at which nothing was added"),
        ([0.5, math.nan], {}, "information grows"),
        ([0.5, 1.0, 1.1], {}, "nothing is left for those after"),
        ([1.0], {"alpha": 5}, "alpha lies between 0 and 1"),
        ([1.0], {"spending": "obf"}, "spending is one of obrien_fleming, pocock"),
        ([1.0], {"sides": 3}, "sides is 2"),
    ],
)
def test_looks_that_make_no_design_are_refused(information: list[float], options: dict, message: str) -> None:
    with pytest.raises(DataError, match=message):
        boundaries(information, **options)


def test_helpers_refuse_what_makes_no_sense() -> None:
    with pytest.raises(DataError, match="2 bounds for 1 looks"):
        crossing_probabilities([2.0, 2.0], [1.0])
    with pytest.raises(DataError, match="a power lies between"):
        drift_for(0.01, [1.96], [1.0])
    with pytest.raises(DataError, match="a plan ends with information 1"):
        inflation([0.5, 0.9])


def test_one_look_costs_nothing_and_more_looks_cost_a_little() -> None:
    assert inflation([1.0]) == pytest.approx(1)
    assert 1 < inflation(FIVE) < 1.03 < inflation(FIVE, spending="pocock") < 1.25


# What the looks say


def test_a_difference_is_found_at_the_first_bound_reached_and_stands() -> None:
    found = group_sequential(FIVE[:3], [0.01, -0.03, -0.001], [0.01, 0.008, 0.006])
    assert [one.decision for one in found.looks] == ["go on", "stop: difference", "stop: difference"]
    assert found.stopped_at == 2
    assert "Look 2 found a difference" in found.sentences()[0]
    first = found.looks[0]
    assert (first.low, first.high) == pytest.approx((0.01 - first.bound * 0.01, 0.01 + first.bound * 0.01))
    assert list(found.table["look"]) == [1, 2, 3]


def test_without_a_difference_it_goes_on_until_the_end() -> None:
    running = group_sequential([0.4], [0.001], [0.01])
    assert (running.decision, running.adjusted) == ("go on", None)
    ended = group_sequential([0.4, 1.0], [0.001, 0.002], [0.01, 0.006])
    assert ended.decision == "end"
    assert group_sequential([0.4], [0.001], [0.01], is_end=True).decision == "end"
    assert group_sequential([0.4, 1.0], [0.0, -0.1], [0.01, 0.006], sides=1).decision == "end"


def test_one_look_at_the_end_is_the_fixed_test() -> None:
    found = group_sequential([1.0], [2.2], [1.0])
    assert found.adjusted is not None
    assert found.adjusted == pytest.approx((2.2, 2.2 - 1.959964, 2.2 + 1.959964, 2 * stats.norm.sf(2.2)), abs=1e-6)
    assert found.looks[0].spent_alpha == 0.05


def test_the_adjusted_p_value_is_at_most_alpha_exactly_at_a_stop() -> None:
    bounds = boundaries(FIVE)
    for look in (2, 5):
        z = [0.0] * (look - 1)
        for shift, is_stop in ((1e-3, True), (-1e-3, False)):
            found = group_sequential(FIVE[:look], [*z, bounds[look - 1] + shift], [1.0] * look, is_end=look == 5)
            assert (found.stopped_at == look) is is_stop
            if look == 5:
                assert found.adjusted is not None
                assert (found.adjusted.p_value <= 0.05) is is_stop


def test_signs_only_turn_the_result() -> None:
    above = group_sequential(FIVE[:3], [0.01, 0.02, 0.03], [0.012, 0.009, 0.007])
    below = group_sequential(FIVE[:3], [-0.01, -0.02, -0.03], [0.012, 0.009, 0.007])
    assert above.adjusted is not None
    assert below.adjusted is not None
    assert below.adjusted.p_value == pytest.approx(above.adjusted.p_value)
    assert below.adjusted.estimate == pytest.approx(-above.adjusted.estimate)
    assert (below.adjusted.low, below.adjusted.high) == pytest.approx((-above.adjusted.high, -above.adjusted.low))


def test_bad_looks_are_refused_by_number() -> None:
    with pytest.raises(DataError, match="look 2 has no effect with an error"):
        group_sequential([0.5, 1.0], [0.1, 0.1], [0.1, 0.0])
    with pytest.raises(DataError, match="each look has an information"):
        group_sequential([0.5, 1.0], [0.1], [0.1])


def test_results_show_themselves_and_are_plain_data() -> None:
    import json

    found = group_sequential([0.01, 1.0], [0.1, 0.3], [1.0, 0.1], sides=1)
    data = json.loads(json.dumps(found.to_dict(), allow_nan=False))
    assert data["looks"][0]["bound"] is None  # without end
    assert data["adjusted"]["high"] is None
    assert repr(found).startswith("GroupSequential(Look 2 found")
    assert "<table>" in found._repr_html_()


def simulated(drift: float, n_runs: int, seed: int) -> np.ndarray:
    """z values by run and look, five evenly spaced looks."""
    steps = np.random.default_rng(seed).normal(drift * 0.2, math.sqrt(0.2), (n_runs, 5))
    return np.cumsum(steps, axis=1) / np.sqrt(FIVE)


def held_and_below(spending: str, truth: float, n_runs: int) -> tuple[float, int]:
    """The share of runs whose adjusted interval holds the effect, and the runs whose estimate lies below it."""
    bounds, held, below = boundaries(FIVE, spending=spending), 0, 0
    for z in simulated(truth, n_runs, 11):
        stop = next((k for k in range(5) if abs(z[k]) >= bounds[k]), 4)
        errors = [1 / math.sqrt(one) for one in FIVE[: stop + 1]]
        effects = [float(one * error) for one, error in zip(z, errors, strict=False)]
        found = group_sequential(FIVE[: stop + 1], effects, errors, spending=spending).adjusted
        assert found is not None
        held += found.low <= truth <= found.high
        below += found.estimate < truth
    return held / n_runs, below


def test_adjusted_intervals_hold_the_effect_and_its_median_is_the_truth() -> None:
    held, below = held_and_below("pocock", 2.0, 50)
    assert held > 0.86
    assert stats.binomtest(below, 50, 0.5).pvalue > 0.01


@pytest.mark.nightly
@pytest.mark.parametrize("spending", ["obrien_fleming", "pocock"])
def test_adjusted_intervals_hold_as_often_as_they_say(spending: str) -> None:
    held, below = held_and_below(spending, 2.5, 600)
    assert held == pytest.approx(0.95, abs=0.025)
    assert below / 600 == pytest.approx(0.5, abs=0.06)


def test_repeated_intervals_hold_the_effect_at_every_look() -> None:
    z, bounds = simulated(2.0, 40_000, 12), np.array(boundaries(FIVE))
    missed = (np.abs(z - 2.0 * np.sqrt(FIVE)) > bounds).any(axis=1)
    assert missed.mean() == pytest.approx(0.05, abs=0.005)


# Always-valid p values


@given(
    st.floats(-5, 5),
    st.integers(1, 10**6),
    st.integers(1, 10**6),
    st.sampled_from([0.001, 0.05, 0.2]),
    st.floats(0.01, 2),
)
def test_always_valid_p_agrees_with_its_interval(z: float, n: int, planned: int, alpha: float, error: float) -> None:
    p = always_valid_p(z * error, error, n, alpha=alpha, planned_n=planned)
    low, high = anytime_interval(z * error, error, n, 1 - alpha, planned)
    assert 0 <= p <= 1
    if abs(p - alpha) > 1e-9:
        assert (p < alpha) == (low > 0 or high < 0)


def test_always_valid_p_at_its_ends() -> None:
    assert always_valid_p(0.0, 0.0, 5, alpha=0.05, planned_n=10) == 1
    assert always_valid_p(0.1, 0.0, 5, alpha=0.05, planned_n=10) == 0
    assert math.isnan(always_valid_p(0.1, math.nan, 5, alpha=0.05, planned_n=10))
    with pytest.raises(ValueError, match="alpha lies between 0 and 1"):
        always_valid_p(0.1, 1.0, 5, alpha=1.0, planned_n=10)
    with pytest.raises(ValueError, match="at least one value"):
        always_valid_p(0.1, 1.0, 5, alpha=0.05, planned_n=0)


# False alarms


def a_and_a(n_runs: int, n: int, n_looks: int, rate: float, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Effects and errors of two alike arms by run and look, and how many units of both arms there were."""
    rng = np.random.default_rng(seed)
    step = n // 2 // n_looks
    arms = [np.cumsum(rng.binomial(step, rate, (n_runs, n_looks)), axis=1) for _ in range(2)]
    per_arm = step * np.arange(1, n_looks + 1)
    rates = [one / per_arm for one in arms]
    errors = np.sqrt(sum(one * (1 - one) / per_arm for one in rates))
    return rates[1] - rates[0], errors, 2 * per_arm


@pytest.mark.nightly
def test_always_valid_intervals_may_be_looked_at_a_hundred_times() -> None:
    effects, errors, n = a_and_a(2000, 10_000, 100, 0.1, 1)
    with np.errstate(divide="ignore", invalid="ignore"):
        naive = np.abs(effects / errors) > stats.norm.isf(0.025)
    half = errors * np.array([anytime_interval(0.0, 1.0, int(one), 0.95, 10_000).high for one in n])
    assert (np.abs(effects) > half).any(axis=1).mean() <= 0.05
    assert naive.any(axis=1).mean() > 0.3
    p = np.array([[always_valid_p(d, s, int(m), alpha=0.05, planned_n=10_000) for d, s, m in zip(*run, n, strict=True)]
                  for run in zip(effects[:300], errors[:300], strict=True)])  # fmt: skip
    assert (p.min(axis=1) <= 0.05).mean() <= 0.05


@pytest.mark.nightly
@pytest.mark.parametrize("spending", ["obrien_fleming", "pocock"])
def test_planned_looks_raise_as_many_false_alarms_as_they_say(spending: str) -> None:
    effects, errors, _ = a_and_a(20_000, 10_000, 5, 0.1, 2)
    crossed = np.abs(effects / errors) >= boundaries(FIVE, spending=spending)
    assert crossed.any(axis=1).mean() == pytest.approx(0.05, abs=0.01)
