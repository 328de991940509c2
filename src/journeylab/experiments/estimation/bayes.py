"""How likely each arm is to be the best, and what is lost by choosing it: a view beside the decision, never instead."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import numpy as np
import pandas as pd

from journeylab.errors import DataError, known
from journeylab.tablesource import Table, as_frame

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats: TypeAlias = NDArray[np.float64]

__all__ = ["Better", "bayesian_view"]

Better: TypeAlias = Literal["higher", "lower"]
"""Which values of a metric are wanted."""

_NODES, _WEIGHTS = np.polynomial.legendre.leggauss(12)
_TAILS = np.array([1e-16, 1e-12, 1e-9, 1e-6, 1e-4, 1e-3, 0.01, 0.05, 0.1, 0.2, 0.3, 0.4])


def bayesian_view(arms: Table, better: Better = "higher", *, level: float = 0.95) -> pd.DataFrame:
    """How likely each arm is to be the best, and the expected loss of choosing it.

    This stands beside the decision, never instead of it: it has no rate of false alarms that would hold under
    looking again and again, and it knows of no other metric. The posteriors are independent: normal with the mean and
    the error of the arm (a flat prior, many units), or with counts of successes beta with the uniform prior Beta(1, 1).
    Both figures are one-dimensional integrals of the arms' densities f and distributions F, had by Gauss-Legendre
    quadrature without draws: the chance to be best is that of f_i times all other F, the loss E[max - value_i] that
    of F_i (1 - the product of all other F).

    Args:
        arms: a row for each arm, two at least: `arm` (text), and either `mean` and `standard_error` (greater than 0),
            or `n` and `n_successes` (whole numbers, at most n); where both are there, counts are taken.
        better: whether a higher or a lower value is wanted.
        level: of the credible intervals, within 0..1.

    Returns:
        A frame with a row for each arm, in the given order: `arm`, `posterior_mean`, `low`, `high` (equal tails),
        `best_probability` (0..1, over all arms 1), `expected_loss` (in the metric's unit: how much more, or less where
        lower is better, the best arm has on average than this one).

    Raises:
        DataError: when a column, a value or a second arm is missing, or an option is none.

    >>> arms = pd.DataFrame({"arm": ["plain", "discount"], "n": [1000, 1000], "n_successes": [100, 125]})
    >>> bayesian_view(arms).round(4)[["arm", "best_probability", "expected_loss"]]
            arm  best_probability  expected_loss
    0     plain            0.0386         0.0252
    1  discount            0.9614         0.0002
    """
    if better not in ("higher", "lower"):
        raise DataError(f"better is 'higher' or 'lower'; got {better!r}")
    if not 0 < level < 1:
        raise DataError(f"a level lies between 0 and 1, such as 0.95; got {level!r}")
    arms = as_frame(arms, "arms")
    posteriors = _posteriors(arms, mirrored=better == "lower")
    points, weights = _quadrature(posteriors)
    below = np.array([one.cdf(points) for one in posteriors])
    chances, losses = [], []
    for place, one in enumerate(posteriors):
        others = np.delete(below, place, axis=0).prod(axis=0)
        # 1 - others, without losing what is left of it near 1.
        any_above = -np.expm1(
            np.sum([other.logcdf(points) for k, other in enumerate(posteriors) if k != place], axis=0)
        )
        chances.append(float(weights @ (one.pdf(points) * others)))
        losses.append(float(weights @ (below[place] * any_above)))
    shown = _posteriors(arms, mirrored=False)
    tails = (1 - level) / 2
    return pd.DataFrame(
        {
            "arm": arms["arm"].to_numpy(),
            "posterior_mean": [float(one.mean()) for one in shown],
            "low": [float(one.ppf(tails)) for one in shown],
            "high": [float(one.isf(tails)) for one in shown],
            "best_probability": np.array(chances) / sum(chances),
            "expected_loss": losses,
        }
    )


def _posteriors(arms: pd.DataFrame, *, mirrored: bool) -> list[Any]:
    """The posterior of each arm; mirrored, so that higher is better: -value, or 1 - share."""
    from scipy.stats import beta, norm

    has_counts = {"n", "n_successes"} <= set(arms.columns)
    needed = ["arm", "n", "n_successes"] if has_counts else ["arm", "mean", "standard_error"]
    for column in needed:
        if column not in arms.columns:
            raise DataError(f"arms: no column {column!r}; {known(column, arms.columns, 'columns')}")
    if len(arms) < 2:
        raise DataError(f"which arm is best takes at least two arms; there are {len(arms)}")
    found = []
    for row in arms[needed].itertuples(index=False):
        if has_counts:
            arm, n, n_successes = row
            if not 0 <= n_successes <= n or n_successes != int(n_successes) or n != int(n):
                raise DataError(
                    f"arm {arm!r} has {n_successes!r} successes among {n!r}; both are whole numbers, at most n"
                )
            won, lost = 1 + n_successes, 1 + n - n_successes
            found.append(beta(lost, won) if mirrored else beta(won, lost))
        else:
            arm, mean, error = row
            if not (np.isfinite(mean) and 0 < error < np.inf):
                raise DataError(f"arm {arm!r} has mean {mean!r} and standard error {error!r}; the error is more than 0")
            found.append(norm(-mean if mirrored else mean, error))
    return found


def _quadrature(posteriors: list[Any]) -> tuple[Floats, Floats]:
    """Points and weights that are dense wherever an arm's posterior is, however unlike their scales."""
    marks = [mark for one in posteriors for mark in (*one.ppf(_TAILS), one.median(), *one.isf(_TAILS))]
    edges = np.unique(marks)
    half = np.diff(edges) / 2
    points = (edges[:-1] + half)[:, None] + half[:, None] * _NODES
    return points.ravel(), (half[:, None] * _WEIGHTS).ravel()
