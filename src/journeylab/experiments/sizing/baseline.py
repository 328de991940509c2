"""A metric as it is without a treatment: what planning an experiment has to know of it."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

from journeylab.display import Shown
from journeylab.errors import DataError

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

__all__ = ["Baseline"]


@dataclass(frozen=True, slots=True)
class Baseline(Shown):
    """A metric as it is without the treatment: its value, and the variance of one unit.

    Attributes:
        kind: "proportion", "mean" or "ratio".
        value: of the control.
        variance: of one unit, so that an arm of n has a squared error of variance · factor / n.
        factor: what covariates and clusters multiply it by.
        cluster_size: units to a cluster on average; 1 without clusters.
    """

    kind: Literal["proportion", "mean", "ratio"]
    value: float
    variance: float
    factor: float = 1.0
    cluster_size: float = 1.0

    @classmethod
    def of_proportion(cls, rate: float) -> Baseline:
        """A share of units to whom something happens, within 0..1.

        >>> Baseline.of_proportion(0.1).variance
        0.09...
        """
        if not 0 < rate < 1:
            raise DataError(f"a proportion lies between 0 and 1; got {rate!r}")
        return cls("proportion", rate, rate * (1 - rate))

    @classmethod
    def of_mean(cls, mean: float, standard_deviation: float) -> Baseline:
        """A mean over units of values with this standard deviation, in the metric's unit."""
        return cls("mean", _finite(mean, "mean"), _positive(standard_deviation, "standard_deviation") ** 2)

    @classmethod
    def of_ratio(
        cls,
        mean_numerator: float,
        mean_denominator: float,
        variance_numerator: float,
        variance_denominator: float,
        covariance: float,
    ) -> Baseline:
        """A ratio of two means over units, such as revenue to visits.

        Its variance is that of the delta method, (s_y² - 2 R s_xy + R² s_x²) / m_x² with R = m_y / m_x: Deng, A.,
        Knoblich, U. and Lu, J. (2018). Applying the delta method in metric analytics. KDD 2018.

        >>> Baseline.of_ratio(2.0, 4.0, 1.0, 4.0, 1.0)
        Baseline(kind='ratio', value=0.5, variance=0.0625, factor=1.0, cluster_size=1.0)
        """
        if mean_denominator == 0:
            raise DataError("a ratio has a mean denominator other than 0")
        ratio = _finite(mean_numerator, "mean_numerator") / _finite(mean_denominator, "mean_denominator")
        spread = variance_numerator - 2 * ratio * covariance + ratio**2 * variance_denominator
        return cls("ratio", ratio, _positive(spread, "the variance of the ratio") / mean_denominator**2)

    @classmethod
    def of_values(cls, numerators: ArrayLike, denominators: ArrayLike | None = None) -> Baseline:
        """The mean, or the ratio of means, of values by unit, as history has them.

        >>> Baseline.of_values([0.0, 0.0, 3.0])
        Baseline(kind='mean', value=1.0, variance=3.0, factor=1.0, cluster_size=1.0)
        """
        import numpy as np

        y = np.asarray(numerators, dtype=float)
        if y.size < 2:
            raise DataError(f"a variance takes two values or more; there are {y.size}")
        if denominators is None:
            return cls("mean", _finite(float(y.mean()), "the mean"), _positive(float(y.var(ddof=1)), "the variance"))
        x = np.asarray(denominators, dtype=float)
        (s_yy, s_xy), (_, s_xx) = np.cov(y, x)
        return cls.of_ratio(float(y.mean()), float(x.mean()), float(s_yy), float(s_xx), float(s_xy))

    def with_covariate(self, variance_reduction_share: float) -> Baseline:
        """The same with a covariate that saves this share of the variance: its squared correlation, within 0..1."""
        if not 0 <= variance_reduction_share < 1:
            raise DataError(f"a share of variance saved lies within 0..1, below 1; got {variance_reduction_share!r}")
        return replace(self, factor=self.factor * (1 - variance_reduction_share))

    def clustered(self, cluster_size: float, correlation: float, size_cv: float = 0.0) -> Baseline:
        """The same where all units of a cluster (household, account) get one arm.

        The variance grows by the design effect 1 + ((1 + cv²) m - 1) rho: Eldridge, S. M., Ashby, D. and Kerry, S.
        (2006). Sample size for cluster randomized trials. International Journal of Epidemiology 35, 1292-1300.

        Args:
            cluster_size: units to a cluster on average, m, 1 or more.
            correlation: of two units of one cluster, rho, within 0..1.
            size_cv: standard deviation of the sizes over their mean; 0 when all are alike.

        >>> Baseline.of_proportion(0.1).clustered(3, 0.1).factor
        1.2
        """
        if not (cluster_size >= 1 and 0 <= correlation <= 1 and size_cv >= 0):
            raise DataError(
                f"clusters have 1 unit or more, a correlation within 0..1 and a cv of 0 or more; got {cluster_size!r}, "
                f"{correlation!r} and {size_cv!r}"
            )
        effect = 1 + ((1 + size_cv**2) * cluster_size - 1) * correlation
        return replace(self, factor=self.factor * effect, cluster_size=float(cluster_size))

    def variance_with(self, effect: float) -> float:
        """The variance of one unit of an arm whose value is higher by `effect`, all factors counted in.

        Raises:
            DataError: when a proportion would leave 0..1.
        """
        if self.kind != "proportion":
            return self.variance * self.factor
        rate = self.value + effect
        if not 0 < rate < 1:
            raise DataError(f"a proportion of {self.value:g} cannot change by {effect:g}: it stays within 0..1")
        return rate * (1 - rate) * self.factor


def _finite(value: float, what: str) -> float:
    if not math.isfinite(value):
        raise DataError(f"{what} is a number; got {value!r}")
    return float(value)


def _positive(value: float, what: str) -> float:
    if not 0 < value < math.inf:
        raise DataError(f"{what} is more than 0; got {value!r}: values that are all alike leave nothing to plan on")
    return float(value)
