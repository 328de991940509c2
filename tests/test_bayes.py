"""The chance to be best and the expected loss, against closed forms, exact sums, scipy's quadrature and draws."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import integrate, stats

from journeylab.errors import DataError
from journeylab.experiments.estimation.bayes import bayesian_view


def normal_arms(*arms: tuple[float, float]) -> pd.DataFrame:
    means, errors = zip(*arms, strict=True)
    return pd.DataFrame({"arm": list("abcdefgh")[: len(arms)], "mean": means, "standard_error": errors})


def counted_arms(*arms: tuple[int, int]) -> pd.DataFrame:
    won, n = zip(*arms, strict=True)
    return pd.DataFrame({"arm": list("abcdefgh")[: len(arms)], "n": n, "n_successes": won})


@settings(max_examples=50)
@given(
    st.tuples(st.floats(-5, 5), st.floats(0.001, 10)),
    st.tuples(st.floats(-5, 5), st.floats(0.001, 10)),
    st.sampled_from(["higher", "lower"]),
)
def test_two_normals_have_closed_forms(a: tuple[float, float], b: tuple[float, float], better: str) -> None:
    sign = 1 if better == "higher" else -1
    error = math.hypot(a[1], b[1])
    z = sign * (a[0] - b[0]) / error
    best = stats.norm.cdf(z)
    loss_of_b = error * (stats.norm.pdf(z) + z * stats.norm.cdf(z))
    loss_of_a = error * (stats.norm.pdf(z) - z * stats.norm.cdf(-z))
    found = bayesian_view(normal_arms(a, b), better)
    assert found["best_probability"].to_numpy() == pytest.approx([best, 1 - best], abs=1e-9)
    assert found["expected_loss"].to_numpy() == pytest.approx([loss_of_a, loss_of_b], rel=1e-6, abs=1e-10)


def exact_chance(a: int, b: int, c: int, d: int) -> float:
    """P(Beta(c, d) > Beta(a, b)) for whole numbers, summed exactly (Miller 2015)."""

    def factor(x: int) -> int:
        return math.factorial(x - 1)

    total = Fraction(0)
    for i in range(c):
        # B(a + i, b + d) / ((d + i) B(1 + i, d) B(a, b))
        top = Fraction(factor(a + i) * factor(b + d), factor(a + i + b + d))
        under = (d + i) * Fraction(factor(1 + i) * factor(d), factor(1 + i + d))
        total += top / under / Fraction(factor(a) * factor(b), factor(a + b))
    return float(total)


@pytest.mark.parametrize(("first", "second"), [((12, 90), (20, 95)), ((0, 40), (1, 40)), ((30, 30), (58, 60))])
def test_two_proportions_agree_with_the_exact_sum(first: tuple[int, int], second: tuple[int, int]) -> None:
    found = bayesian_view(counted_arms(first, second))
    (won, n), (won_2, n_2) = first, second
    exact = exact_chance(1 + won, 1 + n - won, 1 + won_2, 1 + n_2 - won_2)
    assert found["best_probability"].to_numpy() == pytest.approx([1 - exact, exact], abs=1e-10)
    lower = bayesian_view(counted_arms(first, second), "lower")
    assert lower["best_probability"].to_numpy() == pytest.approx([exact, 1 - exact], abs=1e-10)
    # E[max(p_2 - p_1, 0)] over the square, by another quadrature.
    one, two = stats.beta(1 + won, 1 + n - won), stats.beta(1 + won_2, 1 + n_2 - won_2)
    loss, _ = integrate.quad(lambda x: one.cdf(x) * two.sf(x), 0, 1, limit=200, points=[one.mean(), two.mean()])
    assert found["expected_loss"].iloc[0] == pytest.approx(loss, rel=1e-7)
    assert lower["expected_loss"].iloc[1] == pytest.approx(loss, rel=1e-7)


def test_several_arms_agree_with_draws() -> None:
    rng = np.random.default_rng(1)
    arms = normal_arms((1.0, 0.5), (1.2, 0.1), (0.8, 2.0), (1.21, 0.001))
    drawn = rng.normal(arms["mean"], arms["standard_error"], (400_000, 4))
    found = bayesian_view(arms)
    best = np.bincount(drawn.argmax(axis=1), minlength=4) / len(drawn)
    loss = (drawn.max(axis=1, keepdims=True) - drawn).mean(axis=0)
    assert found["best_probability"].to_numpy() == pytest.approx(best, abs=0.004)
    assert found["expected_loss"].to_numpy() == pytest.approx(loss, abs=0.01)
    counts = counted_arms((3, 50), (5, 60), (2, 1000))
    drawn = np.column_stack([rng.beta(1 + s, 1 + n - s, 400_000) for s, n in ((3, 50), (5, 60), (2, 1000))])
    found = bayesian_view(counts, "lower")
    assert found["best_probability"].to_numpy() == pytest.approx(
        np.bincount(drawn.argmin(axis=1), minlength=3) / len(drawn), abs=0.004
    )
    assert found["expected_loss"].to_numpy() == pytest.approx(
        (drawn - drawn.min(axis=1)[:, None]).mean(axis=0), abs=5e-4
    )


@settings(max_examples=15)
@given(st.lists(st.tuples(st.integers(0, 10**6), st.integers(0, 10**6)), min_size=2, max_size=5))
def test_chances_add_up_and_the_likeliest_of_alike_arms_lose_least(pairs: list[tuple[int, int]]) -> None:
    found = bayesian_view(counted_arms(*((won, won + lost) for won, lost in pairs)))
    assert found["best_probability"].sum() == pytest.approx(1)
    assert (found["expected_loss"] >= 0).all()
    # Losses differ as the means do, whatever the rest.
    differences = found["expected_loss"] - found["expected_loss"].iloc[0]
    assert differences.to_numpy() == pytest.approx(
        (found["posterior_mean"].iloc[0] - found["posterior_mean"]).to_numpy(), abs=1e-8
    )


def test_alike_arms_are_alike_and_intervals_are_those_of_the_posterior() -> None:
    found = bayesian_view(normal_arms((2.0, 1.0), (2.0, 1.0), (2.0, 1.0)), level=0.9)
    assert found["best_probability"].to_numpy() == pytest.approx([1 / 3] * 3)
    assert found[["low", "high"]].iloc[0].to_list() == pytest.approx(stats.norm.interval(0.9, 2.0, 1.0))
    counts = bayesian_view(counted_arms((10, 50), (12, 50)), "lower")
    assert counts[["low", "high"]].iloc[0].to_list() == pytest.approx(stats.beta.interval(0.95, 11, 41))
    assert counts["posterior_mean"].iloc[0] == pytest.approx(11 / 52)


@pytest.mark.parametrize(
    ("arms", "options", "message"),
    [
        (normal_arms((1.0, 0.0), (1.0, 1.0)), {}, "arm 'a' has mean 1.0 and standard error 0.0"),
        (normal_arms((math.nan, 1.0), (1.0, 1.0)), {}, "arm 'a' has mean nan"),
        (normal_arms((1.0, 1.0)), {}, "at least two arms; there are 1"),
        (counted_arms((5, 4), (1, 4)), {}, "has 5 successes among 4"),
        (normal_arms((1.0, 1.0), (1.0, 1.0)).rename(columns={"mean": "means"}), {}, "no column 'mean'; did you mean"),
        (normal_arms((1.0, 1.0), (1.0, 1.0)), {"better": "more"}, "better is 'higher' or 'lower'"),
        (normal_arms((1.0, 1.0), (1.0, 1.0)), {"level": 95}, "a level lies between 0 and 1"),
    ],
)
def test_what_is_wrong_is_said(arms: pd.DataFrame, options: dict, message: str) -> None:
    with pytest.raises(DataError, match=message):
        bayesian_view(arms, **options)
