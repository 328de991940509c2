"""Amounts with a long tail: whether the normal distribution may be trusted with their mean, and what else may."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from journeylab.language import formatted, say

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from journeylab.experiments.unittable import UnitTable

    Floats = NDArray[np.float64]

__all__ = ["Resampled", "bootstrap_interval", "needed_for_normal", "resampled", "winsorising_cap"]

_N_SAMPLES = 2_000
_MOST_VALUES = 10_000
_FEWEST = 30
_BATCH = 100


def needed_for_normal(skewness: float) -> float:
    """How many units a mean needs until its 95 % interval may be taken from the normal distribution: 355 skewness².

    Kohavi, R., Deng, A., Longbotham, R. and Xu, Y. (2014). Seven rules of thumb for web site experimenters. KDD, rule
    7.

    >>> needed_for_normal(2.0)
    1420.0
    """
    return 355.0 * skewness**2


def winsorising_cap(units: UnitTable, value: str, at: float) -> tuple[float, str]:
    """The amount above which amounts count as that amount, and a note where it is not the plain quantile.

    It is the quantile over all units; where that is 0, as few of them spent anything, over those that did.
    """
    (cap,), *_ = units.rows(f"quantile_cont({value}, {at!r})")
    if cap is None or cap > 0:
        return math.inf if cap is None else float(cap), ""
    (cap,), *_ = units.rows(f"quantile_cont({value}, {at!r})", f"WHERE {value} > 0")
    if cap is None:
        return math.inf, ""
    return float(cap), say(
        "the {quantile} quantile of all units is 0; the cap {cap} is that of amounts above 0",
        quantile=formatted(at, ".0%"),
        cap=formatted(cap, ",.2f"),
    )


class Resampled(NamedTuple):
    """Means of samples drawn anew from one arm's values, and what they estimate."""

    mean: float
    variance: float
    means: Floats
    variances: Floats


def resampled(values: Floats, counts: NDArray[np.int64], rng: np.random.Generator) -> Resampled | None:
    """The mean, and those of 2,000 samples of the same size drawn with replacement, with the variances of the means.

    How often each distinct value is drawn is multinomial, so that a sample takes as long as there are distinct values.
    None when there are more than 10,000 of them, or fewer than 30 values.
    """
    n = int(counts.sum())
    if len(values) > _MOST_VALUES or n < _FEWEST:
        return None
    sums = []
    for start in range(0, _N_SAMPLES, _BATCH):
        drawn = rng.multinomial(n, counts / n, size=min(_BATCH, _N_SAMPLES - start))
        sums.append(drawn @ np.column_stack([values, values**2]))
    means, squares = (np.concatenate(sums) / n).T
    mean = float(values @ counts) / n
    variance = float((values - mean) ** 2 @ counts) / (n - 1) / n
    return Resampled(mean, variance, means, np.maximum(squares - means**2, 0) / (n - 1))


def bootstrap_interval(arm: Resampled, control: Resampled, alpha: float) -> tuple[float, float]:
    """The bootstrap-t interval of the difference of two means.

    Efron, B. and Tibshirani, R. J. (1993). An Introduction to the Bootstrap, section 12.5.

    >>> rng = np.random.default_rng(1)
    >>> one, other = (resampled(np.arange(5.0) + up, np.full(5, 40), rng) for up in (1, 0))
    >>> bootstrap_interval(one, other, 0.05)
    (0.7..., 1.2...)
    """
    effect = arm.mean - control.mean
    errors = np.sqrt(arm.variances + control.variances)
    varies = errors > 0
    statistics = (arm.means - control.means - effect)[varies] / errors[varies]
    low, high = np.quantile(statistics, [alpha / 2, 1 - alpha / 2])
    error = math.sqrt(arm.variance + control.variance)
    return effect - float(high) * error, effect - float(low) * error
