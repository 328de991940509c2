"""Effects drawn towards each other, or towards none, by as much as they are alike: against the winner's curse.

The model has two levels: true effects are normal around a mean with a standard deviation between them, and measured
ones are normal around the true. How far apart true effects are is not known; everything here is averaged over what the
measured ones say of it, so that intervals keep that uncertainty, too. Its prior is a half-Cauchy distribution, scaled
by the errors (Gelman, A. (2006), Prior distributions for variance parameters in hierarchical models, Bayesian Analysis
1, 515-534). The sums over it are by numbers, without draws (Gelman, A. et al. (2013), Bayesian Data Analysis, 5.4).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pandas as pd
from scipy.special import ndtr

from journeylab.display import Shown, plain
from journeylab.errors import DataError
from journeylab.intervals import normal_interval
from journeylab.language import formatted, plural, say
from journeylab.policy.decisions import Faults, frame_of, numbers, require
from journeylab.tablesource import Table

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

    from journeylab.offpolicy import Floats

__all__ = ["ShrunkenEffect", "ShrunkenEffects", "read_effects", "shrink", "shrunken"]

_N_GRID = 300
_BISECTIONS = 45


@dataclass(frozen=True, slots=True, eq=False)
class ShrunkenEffects:
    """Effects as they are likely to be, given all that were measured.

    Attributes:
        effect, standard_error, low, high: float64, one for each effect.
        mean: the mean that effects are drawn to; 0 where it was fixed there.
        mean_error: its standard error; 0 where it was fixed.
        between: the standard deviation between true effects: its posterior median.
        between_low, between_high: its interval.
    """

    effect: Floats
    standard_error: Floats
    low: Floats
    high: Floats
    mean: float
    mean_error: float
    between: float
    between_low: float
    between_high: float


def shrink(
    effect: ArrayLike,
    standard_error: ArrayLike,
    *,
    mean: Literal["estimated", "zero"] = "estimated",
    scale: float = 4.0,
    level: float = 0.95,
) -> ShrunkenEffects:
    """The effects drawn towards their mean, or towards 0, as `ShrunkenEffects`.

    Args:
        effect: measured effects, normal around the true ones.
        standard_error: theirs, above 0.
        mean: "estimated" draws them to a common mean, of which nothing is known before; "zero" to no effect.
        scale: the median of what is expected, before any is measured, of the deviation between true effects, in
            errors. It is wide, so that intervals hold the truth however unlike effects are.
        level: of the intervals.

    Raises:
        DataError: when the level lies outside of (0, 1).

    >>> found = shrink([0.05, 0.01, 0.03], [0.02, 0.02, 0.02])
    >>> found.effect.round(3)
    array([0.04, 0.02, 0.03])
    """
    if not 0 < level < 1:
        raise DataError(f"level={level!r}: it lies between 0 and 1")
    y, s = np.asarray(effect, dtype=float), np.asarray(standard_error, dtype=float)
    # By the prior's own quantiles, in errors' harmonic mean.
    quantiles = np.tan(np.pi / 2 * (np.arange(_N_GRID) + 0.5) / _N_GRID)
    between = scale / np.sqrt((1 / s**2).mean()) * quantiles
    total = s[:, None] ** 2 + between**2  # (effect, place in the grid)
    weight = 1 / total
    if mean == "estimated":
        precision = weight.sum(axis=0)
        centre, centre_variance = (weight * y[:, None]).sum(axis=0) / precision, 1 / precision
        log_likelihood = -0.5 * np.log(precision)
    else:
        centre = centre_variance = log_likelihood = np.zeros(_N_GRID)
    log_likelihood = log_likelihood - 0.5 * (np.log(total) + weight * (y[:, None] - centre) ** 2).sum(axis=0)
    posterior = np.exp(log_likelihood - log_likelihood.max())
    posterior /= posterior.sum()

    own = between**2 / total  # the weight of an effect's own measurement
    means = own * y[:, None] + (1 - own) * centre
    variances = own * s[:, None] ** 2 + (1 - own) ** 2 * centre_variance
    expected = means @ posterior
    error = np.sqrt((variances + (means - expected[:, None]) ** 2) @ posterior)
    tail = (1 - level) / 2
    overall = float(centre @ posterior)
    spread = np.interp([tail, 0.5, 1 - tail], np.cumsum(posterior) - posterior / 2, between)
    return ShrunkenEffects(
        effect=expected,
        standard_error=error,
        low=_quantile(means, np.sqrt(variances), posterior, tail),
        high=_quantile(means, np.sqrt(variances), posterior, 1 - tail),
        mean=overall,
        mean_error=float(np.sqrt((centre_variance + (centre - overall) ** 2) @ posterior)),
        between=float(spread[1]),
        between_low=float(spread[0]),
        between_high=float(spread[2]),
    )


def _quantile(means: Floats, errors: Floats, posterior: Floats, share: float) -> Floats:
    """The quantile of each effect's mixture of normals, by bisection."""
    low, high = (means - 10 * errors).min(axis=1), (means + 10 * errors).max(axis=1)
    for _ in range(_BISECTIONS):
        middle = (low + high) / 2
        with np.errstate(divide="ignore", invalid="ignore"):
            below = ndtr((middle[:, None] - means) / errors) @ posterior
        low, high = np.where(below < share, middle, low), np.where(below < share, high, middle)
    found: Floats = (low + high) / 2
    return found


@dataclass(frozen=True, slots=True, repr=False)
class ShrunkenEffect(Shown):
    """One effect as it was measured, and as it is likely to be.

    Attributes:
        effect, standard_error, low, high: as measured, normal interval.
        shrunken_effect, shrunken_standard_error, shrunken_low, shrunken_high: as it is likely to be.
        n_past: how many past effects it was held against.
        level: of both intervals.
    """

    effect: float
    standard_error: float
    low: float
    high: float
    shrunken_effect: float
    shrunken_standard_error: float
    shrunken_low: float
    shrunken_high: float
    n_past: int
    level: float

    @property
    def sentence(self) -> str:
        """Both figures in words."""
        what = say("no past effects, by a default that expects small ones")
        if self.n_past:
            what = plural("{n} past effect", "{n} past effects", self.n_past)
        return say(
            "Measured: {effect} ({low} to {high}, {level}). As effects that are picked for being large are rarely so "
            "large: {likely} ({likely_low} to {likely_high}), held against {what}.",
            effect=formatted(self.effect, ".4g"),
            low=formatted(self.low, ".4g"),
            high=formatted(self.high, ".4g"),
            level=formatted(self.level, ".0%"),
            likely=formatted(self.shrunken_effect, ".4g"),
            likely_low=formatted(self.shrunken_low, ".4g"),
            likely_high=formatted(self.shrunken_high, ".4g"),
            what=what,
        )

    def __repr__(self) -> str:
        return f"ShrunkenEffect({self.effect:.4g} measured, {self.shrunken_effect:.4g} likely)"

    def to_dict(self) -> dict[str, Any]:
        """The figures as plain data."""
        figures = {name: getattr(self, name) for name in self.__slots__}
        return {name: plain(value) if isinstance(value, float) else value for name, value in figures.items()}


def shrunken(
    effect: float,
    standard_error: float,
    past: Table | None = None,
    *,
    mean: Literal["estimated", "zero"] = "zero",
    level: float = 0.95,
) -> ShrunkenEffect:
    """An effect beside what is likely of it, given what effects of its kind have been, as a `ShrunkenEffect`.

    It is drawn towards 0, or towards the mean of past effects, by as much as those, and itself, say that effects are
    alike. Without past effects, an effect of one or two errors is drawn to about half of itself, of three to three
    quarters, and of eight hardly at all.

    Args:
        effect: as measured.
        standard_error: of it, above 0.
        past: effects of past experiments on the same metric in the same unit, all and not only those that were
            significant: columns `effect` and `standard_error`.
        mean: "zero" draws to no effect; "estimated" to the mean of past ones, of which there must be one or more.
        level: of both intervals.

    Raises:
        DataError: for numbers that are not finite, errors that are not above 0, or no past to estimate a mean from.

    >>> shrunken(0.04, 0.02)
    ShrunkenEffect(0.04 measured, 0.02125 likely)
    >>> shrunken(0.04, 0.02, pd.DataFrame({"effect": [0.004, -0.002, 0.006, 0.0], "standard_error": 0.004}))
    ShrunkenEffect(0.04 measured, 0.001051 likely)
    """
    if mean not in ("estimated", "zero"):
        raise DataError(f"mean={mean!r}: it is 'estimated' or 'zero'")
    effects, errors = read_effects(pd.DataFrame({"effect": [effect], "standard_error": [standard_error]}))
    n_past = 0
    if past is not None:
        past_effects, past_errors = read_effects(past)
        n_past = len(past_effects)
        effects, errors = np.append(past_effects, effects), np.append(past_errors, errors)
    if mean == "estimated" and not n_past:
        raise DataError("mean='estimated' needs past effects; give past, or mean='zero'")
    found = shrink(effects, errors, mean=mean, scale=1.0, level=level)
    low, high = normal_interval(effect, standard_error, level)
    return ShrunkenEffect(
        float(effect), float(standard_error), low, high, float(found.effect[-1]), float(found.standard_error[-1]),
        float(found.low[-1]), float(found.high[-1]), n_past, level,
    )  # fmt: skip


def read_effects(table: Table) -> tuple[Floats, Floats]:
    """The columns `effect` and `standard_error` of a table, float64.

    Raises:
        DataError: with every fault: missing columns, numbers that are missing or not finite, errors that are not above
            0.
    """
    frame = frame_of(table)
    require(frame, [("effects", "effect"), ("effects", "standard_error")])
    faults = Faults(frame)
    effect = numbers(frame, "effect", faults, missing="must give an effect in every row")
    error = numbers(frame, "standard_error", faults, missing="must give a standard error in every row")
    faults.rows("standard_error", error <= 0, error, "must lie above 0")
    faults.raise_if_any()
    return effect, error
