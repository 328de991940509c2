"""An arm against the control by their moments: means and ratios of means, adjusted for what was known before.

Every estimate here is a mean of a linear combination of columns, up to terms that vanish with the number of units: of
a ratio y / d that is (y - R d) / mean(d) with R its value (the delta method), of clusters' sums the same over their
size. So one quadratic form of the covariances is the variance of all of them. tea-tasting's `Mean` and `RatioOfMeans`
give the same effects, intervals and p-values (the tests hold them against each other); they are not used here as they
tell no standard error, which the sequential intervals need, and fail where the control's mean is near 0.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from .moments import Moments

    Floats = NDArray[np.float64]

__all__ = ["Adjust", "Difference", "difference"]

Adjust = Literal["cuped", "regression", "none"]
_REPEATS = 1e-9


class Difference(NamedTuple):
    """An arm less the control: what both have, and the error of their difference."""

    mean_arm: float
    mean_control: float
    effect: float
    standard_error: float
    degrees_of_freedom: float


class _Side(NamedTuple):
    """One arm's value, the variance of that, and the degrees of freedom of the variance."""

    value: float
    variance: float
    degrees_of_freedom: int


def difference(arm: Moments, control: Moments, adjust: Adjust) -> Difference:
    """The difference of two arms' means, or ratios of means, with its standard error; missing (NaN) where unknown.

    - `none`: each arm's variance by itself, degrees of freedom after Welch (1947), Biometrika 34, 28-35; ratios, and
      clusters over their size, by the delta method (Deng, Knoblich and Lu 2018, KDD, section 3).
    - `cuped`: one coefficient of the covariates for both arms, from both together (Deng, Xu, Kohavi and Walker 2013,
      WSDM, section 3).
    - `regression`: coefficients of each arm's own, compared at the mean of both: the fully interacted regression of
      Lin (2013), Annals of Applied Statistics 7, 295-318. The variance is that of each arm's prediction there, and of
      the mean itself, which differs between samples of the same population (Negi and Wooldridge 2021, Econometric
      Reviews 40, 504-534, theorem 5.1).

    A covariate that does not vary, or repeats another, changes nothing.
    """
    both = arm + control
    if adjust == "none" or not arm.of.n_covariates:
        none = np.zeros(arm.of.n_covariates)
        return _welch(_adjusted(arm, both, none), _adjusted(control, both, none))
    if adjust == "cuped":
        common = _coefficients(both)
        return _welch(_adjusted(arm, both, common), _adjusted(control, both, common))
    apart = (_coefficients(arm) - _coefficients(control)) @ _covariates(both)[0]
    of_mean = float(apart @ both.covariance @ apart) / both.n
    return _welch(_predicted(arm, both), _predicted(control, both), of_mean)


def _denominator(moments: Moments) -> int | None:
    """The place of the column that the value is divided by: a ratio's denominator, or the clusters' size."""
    if len(moments.of.values) > 1:
        return 1
    return len(moments.mean) - 1 if moments.is_clustered else None


def _value(moments: Moments) -> float:
    place = _denominator(moments)
    below = 1.0 if place is None else float(moments.mean[place])
    return float(moments.mean[0]) / below if below else math.nan


def _weights(moments: Moments) -> Floats:
    """The value as a linear combination of the columns."""
    weights = np.zeros(len(moments.mean))
    place = _denominator(moments)
    below = 1.0 if place is None else float(moments.mean[place]) or math.nan
    weights[0] = 1 / below
    if place is not None:
        weights[place] -= _value(moments) / below
    return weights


def _covariates(moments: Moments) -> tuple[Floats, Floats]:
    """The covariates as linear combinations of the columns (covariate, column), and their means by unit."""
    first = len(moments.of.values)
    q = moments.of.n_covariates
    size = float(moments.mean[-1]) if moments.is_clustered else 1.0
    means = moments.mean[first : first + q] / size
    rows = np.zeros((q, len(moments.mean)))
    rows[np.arange(q), first + np.arange(q)] = 1 / size
    if moments.is_clustered:
        rows[:, -1] -= means / size
    return rows, means


def _inverse(moments: Moments) -> tuple[Floats, int]:
    """The inverse of the covariates' covariance, 0 for those that do not vary, and its rank."""
    rows, means = _covariates(moments)
    square = rows @ moments.covariance @ rows.T
    spread = np.sqrt(np.maximum(np.diag(square), 0))
    varies = spread > 1e-9 * np.abs(means)
    inverse = np.zeros_like(square)
    if moments.n < 2 or not varies.any():
        return inverse, 0
    scale = np.outer(spread[varies], spread[varies])
    matrix = square[np.ix_(varies, varies)] / scale
    inverse[np.ix_(varies, varies)] = np.linalg.pinv(matrix, rcond=_REPEATS, hermitian=True) / scale
    return inverse, int(np.linalg.matrix_rank(matrix, rtol=_REPEATS, hermitian=True))


def _coefficients(moments: Moments) -> Floats:
    """The least squares of the value on the covariates."""
    found: Floats = _inverse(moments)[0] @ _covariates(moments)[0] @ moments.covariance @ _weights(moments)
    return found


def _adjusted(moments: Moments, both: Moments, coefficients: Floats) -> _Side:
    rows, means = _covariates(moments)
    value = _value(moments) - float(coefficients @ (means - _covariates(both)[1]))
    weights = _weights(moments) - coefficients @ rows
    return _Side(value, float(weights @ moments.covariance @ weights) / moments.n, moments.n - 1)


def _predicted(moments: Moments, both: Moments) -> _Side:
    """What the arm's own regression says at the mean of both arms."""
    value, variance, free = _adjusted(moments, both, _coefficients(moments))
    inverse, rank = _inverse(moments)
    if free <= rank:
        return _Side(value, math.nan, 0)
    apart = _covariates(moments)[1] - _covariates(both)[1]
    leverage = float(apart @ inverse @ apart) * moments.n / free
    return _Side(value, variance * free / (free - rank) * (1 + leverage), free - rank)


def _welch(arm: _Side, control: _Side, of_mean: float = 0.0) -> Difference:
    total = arm.variance + control.variance
    effect = arm.value - control.value
    if not total > 0:
        return Difference(arm.value, control.value, effect, math.nan, math.nan)
    free = total**2 / sum(side.variance**2 / side.degrees_of_freedom for side in (arm, control))
    return Difference(arm.value, control.value, effect, math.sqrt(total + of_mean), free)
