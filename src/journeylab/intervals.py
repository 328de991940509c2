"""Intervals for a mean: by the normal distribution, by the empirical Bernstein bound, and at every look at once.

Which to take: the normal interval when it is looked at once and the values are many and tame; the empirical Bernstein
interval when a few large values may still be missing, as it holds for every sample size; the anytime interval when
results are looked at while they come in.
"""

from __future__ import annotations

import math
from statistics import NormalDist
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

__all__ = [
    "Interval",
    "always_valid_p",
    "anytime_interval",
    "empirical_bernstein",
    "mean_and_error",
    "normal_interval",
    "widest_error",
]


class Interval(NamedTuple):
    """Where a figure lies, from `low` to `high`."""

    low: float
    high: float


def mean_and_error(values: ArrayLike) -> tuple[float, float]:
    """The mean of the values and its standard error, which is missing (NaN) for fewer than two values.

    Raises:
        ValueError: when there are no values.

    >>> mean_and_error([0.0, 1.0, 1.0, 0.0])
    (0.5, 0.28867...)
    """
    array = np.asarray(values, dtype=float)
    if not array.size:
        raise ValueError("there is no mean of no values")
    error = float(array.std(ddof=1)) / math.sqrt(array.size) if array.size > 1 else math.nan
    return float(array.mean()), error


def normal_interval(mean: float, standard_error: float, level: float = 0.9) -> Interval:
    """The interval mean ± z · standard error: what holds for many values, looked at once.

    Args:
        mean: an estimate that is a mean, or behaves like one.
        standard_error: its standard error, zero or more; missing (NaN) makes the interval missing.
        level: the share of such intervals that are to hold the truth, within 0..1.

    Raises:
        ValueError: when `level` lies outside 0..1.

    >>> normal_interval(10.0, 1.0, level=0.95)
    Interval(low=8.04..., high=11.95...)
    """
    half = NormalDist().inv_cdf(0.5 + _checked(level) / 2) * standard_error
    return Interval(mean - half, mean + half)


def empirical_bernstein(values: ArrayLike, width: float, level: float = 0.9) -> Interval:
    """The interval that holds the mean of bounded values at every sample size, whatever their distribution.

    Maurer, A. and Pontil, M. (2009). Empirical Bernstein bounds and sample-variance penalization. COLT, theorem 4; it
    is two-sided here: half = sqrt(2 var ln(4/d) / n) + 7 b ln(4/d) / (3 (n - 1)) with d = 1 - level.

    Args:
        values: independent values of which each lies in a range known beforehand.
        width: the width b of that range: the largest value that could have come minus the smallest.
        level: the least share of such intervals that hold the truth, within 0..1.

    Returns:
        The interval; without end for fewer than two values.

    Raises:
        ValueError: when `level` lies outside 0..1, there are no values, or they are spread wider than `width`.

    >>> empirical_bernstein([0.0, 1.0] * 500, width=1.0)
    Interval(low=0.44..., high=0.55...)
    """
    array = np.asarray(values, dtype=float)
    log = math.log(4 / (1 - _checked(level)))
    mean, _ = mean_and_error(array)
    if np.ptp(array) > width * (1 + 1e-9):
        raise ValueError(f"the values are spread over {np.ptp(array):g}, more than the width of {width:g}")
    n = array.size
    if n < 2:
        return Interval(-math.inf, math.inf)
    half = math.sqrt(2 * float(array.var(ddof=1)) * log / n) + 7 * width * log / (3 * (n - 1))
    return Interval(mean - half, mean + half)


def anytime_interval(
    mean: float, standard_error: float, n: int, level: float = 0.9, planned_n: int | None = None
) -> Interval:
    """The interval that may be looked at after every value, as long as one likes: all looks together hold the truth.

    Waudby-Smith, I., Arbour, D., Sinha, R., Kennedy, E. H. and Ramdas, A. (2024). Time-uniform central limit theory
    and asymptotic confidence sequences. Annals of Statistics 52, 2613-2640. With s = standard_error · sqrt(n):
    half = s sqrt(2 (n r + 1) / (n² r) · ln(sqrt(n r + 1) / a)), a = 1 - level and
    r = (-2 ln a + ln(-2 ln a + 1)) / planned_n.

    Args:
        mean: the estimate after n values.
        standard_error: its standard error, zero or more; missing (NaN) makes the interval missing.
        n: how many values it rests on, one or more.
        level: the least share of such sequences that hold the truth at every look, within 0..1; it is asymptotic.
        planned_n: the number of values at which the interval is to be narrowest; by default n. Where it is looked at
            several times it must be the same each time.

    Raises:
        ValueError: when `level` lies outside 0..1, or a number of values is less than one.

    >>> anytime_interval(10.0, 1.0, n=1000, level=0.95)
    Interval(low=6.9..., high=13.0...)
    """
    alpha = 1 - _checked(level)
    n_r = _tuned(n, n if planned_n is None else planned_n, alpha)
    half = standard_error * math.sqrt(2 * (n_r + 1) / n_r * math.log(math.sqrt(n_r + 1) / alpha))
    return Interval(mean - half, mean + half)


def always_valid_p(effect: float, standard_error: float, n: int, *, alpha: float, planned_n: int) -> float:
    """The p value that may be looked at as often as one likes: the least a at which an anytime interval leaves out 0.

    It inverts `anytime_interval`, whose tuning r stays that of alpha, so that it is at most alpha exactly when the
    interval of level 1 - alpha leaves out 0: p = min(1, sqrt(n r + 1) · exp(-z² n r / (2 (n r + 1)))), z being effect
    over error. The chance that it ever falls to a or below without an effect is at most a, for any a and all looks
    together, asymptotically; so the least p so far may be kept.

    Args:
        effect: the estimate after n units.
        standard_error: its error, zero or more; missing (NaN) makes the p value missing.
        n: how many units it rests on, those of all arms together.
        alpha: what the interval was tuned to, within 0..1.
        planned_n: the number of units, of all arms together, at which the interval is to be narrowest; the same each
            time.

    Raises:
        ValueError: when `alpha` lies outside 0..1, or a number of units is less than one.

    >>> round(always_valid_p(3.1, 1.0, 1000, alpha=0.05, planned_n=1000), 3)
    0.042
    """
    if not 0 < alpha < 1:
        raise ValueError(f"alpha lies between 0 and 1, such as 0.05; got {alpha!r}")
    n_r = _tuned(n, planned_n, alpha)
    if standard_error == 0:
        return 0.0 if effect else 1.0
    z = effect / standard_error
    if math.isnan(z):
        return math.nan
    return min(1.0, math.sqrt(n_r + 1) * math.exp(-(z**2) / 2 * n_r / (n_r + 1)))


def widest_error(value: float, low: float, high: float, standard_error: float, level: float) -> float:
    """The standard error of a normal interval that reaches as far as a given one, or the given error where it is more.

    Exact and score intervals of few events reach further than their normal error says, and of no events at all they
    have ends where there is no normal error.

    Args:
        value: the estimate.
        low: the start of its interval.
        high: the end.
        standard_error: zero or more; where it is missing (NaN) the interval alone tells, and without its ends nothing.
        level: of the interval, within 0..1.

    >>> round(widest_error(0.0, -0.01, 0.0196, 0.005, 0.95), 4)
    0.01
    """
    reach = max(high - value, value - low) / NormalDist().inv_cdf(0.5 + level / 2)
    return reach if math.isnan(standard_error) else max(standard_error, reach)


def _tuned(n: int, planned_n: int, alpha: float) -> float:
    """The n r of `anytime_interval`."""
    if n < 1 or planned_n < 1:
        raise ValueError(f"an interval needs at least one value, got n={n} and planned_n={planned_n}")
    minus_two_log = -2 * math.log(alpha)
    return n * (minus_two_log + math.log(minus_two_log + 1)) / planned_n


def _checked(level: float) -> float:
    if not 0 < level < 1:
        raise ValueError(f"a level lies between 0 and 1, such as 0.9; got {level!r}")
    return level
