"""Boundaries for looks planned beforehand, which spend alpha by information, and what they cost in units.

The chance to cross a boundary at each look is found by the recursive numerical integration of Armitage, McPherson and
Rowe (1969), Journal of the Royal Statistical Society A 132, 235-244, as in Jennison, C. and Turnbull, B. W. (2000),
Group Sequential Methods with Applications to Clinical Trials, chapter 19. Scores at successive looks have independent
increments; that holds for means, proportions and their like of units that are added from look to look.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, NamedTuple, TypeAlias, get_args

import numpy as np

from journeylab.errors import DataError, listed

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats: TypeAlias = NDArray[np.float64]

__all__ = ["Crossing", "Spending", "boundaries", "crossing_probabilities", "drift_for", "inflation", "spent_alpha"]

Spending: TypeAlias = Literal["obrien_fleming", "pocock"]
"""How alpha is spent: hardly any early on, or about evenly."""

_LEAST_STEP = 0.001
_TAIL = 9.0  # a score beyond so many standard deviations is left out
_LEAST_SPENT = 1e-16
_NODES, _WEIGHTS = np.polynomial.legendre.leggauss(16)


class Crossing(NamedTuple):
    """The chances to leave at each look, first above and first below: two arrays by look."""

    above: Floats
    below: Floats


@dataclass(frozen=True, slots=True)
class _Scores:
    """The density of the score among those that have gone on so far, as masses at points."""

    points: Floats
    masses: Floats
    information: float
    drift: float

    def beyond(self, low: float, high: float, information: float) -> tuple[float, float]:
        """The chances to lie above `high` and below `low` (z values) once there is so much information."""
        from scipy.special import ndtr

        root, step = math.sqrt(information), information - self.information
        centre = self.points + self.drift * step
        above = self.masses @ ndtr((centre - high * root) / math.sqrt(step))
        below = self.masses @ ndtr((low * root - centre) / math.sqrt(step))
        return float(above), float(below)

    def within(self, low: float, high: float, information: float, next_step: float) -> _Scores:
        """Those who go on from a look with these bounds (z values); the points are as dense as the next look needs."""
        root, step = math.sqrt(information), information - self.information
        start = max(low * root, self.drift * information - _TAIL * root)
        end = max(min(high * root, self.drift * information + _TAIL * root), start)
        n_panels = max(4, math.ceil((end - start) / (3 * math.sqrt(min(step, next_step)))))
        edges = np.linspace(start, end, n_panels + 1)
        half = (edges[1] - edges[0]) / 2
        points = (edges[:-1, None] + half * (1 + _NODES)).ravel()
        weights = np.tile(half * _WEIGHTS, n_panels)
        away = (points[:, None] - self.points - self.drift * step) / math.sqrt(step)
        density = np.exp(-0.5 * away**2) @ self.masses / math.sqrt(2 * math.pi * step)
        return _Scores(points, weights * density, information, self.drift)


def _started(drift: float) -> _Scores:
    return _Scores(np.zeros(1), np.ones(1), 0.0, drift)


def crossing_probabilities(
    bounds: Sequence[float], information: Sequence[float], drift: float = 0.0, sides: int = 2
) -> Crossing:
    """The chance that each look is the first to leave the bounds, above and below.

    Args:
        bounds: the z boundary of each look, greater than zero; infinite where a look cannot stop.
        information: of each look, increasing; any unit.
        drift: the mean of z at information 1; that at information t is drift · sqrt(t).
        sides: 2 for bounds on both sides, 1 for one above only.

    Raises:
        DataError: when information does not increase, or there are not as many bounds as looks.

    >>> found = crossing_probabilities([2.178, 2.178], [0.5, 1.0])  # Pocock's bounds of two looks
    >>> round(float(found.above.sum() + found.below.sum()), 4)
    0.05
    """
    information = _checked_information(information, scale=max(information, default=1.0))
    if len(bounds) != len(information):
        raise DataError(f"there are {len(bounds)} bounds for {len(information)} looks; each look has one")
    lows = [-one if sides == 2 else -math.inf for one in bounds]
    scores, left = _started(drift), []
    for place, (low, high, now) in enumerate(zip(lows, bounds, information, strict=True)):
        left.append(scores.beyond(low, high, now))
        if place + 1 < len(information):
            scores = scores.within(low, high, now, information[place + 1] - now)
    above, below = np.array(left).T
    return Crossing(above, below)


def boundaries(
    information: Sequence[float],
    alpha: float = 0.05,
    spending: Spending = "obrien_fleming",
    sides: int = 2,
    *,
    is_end: bool = False,
) -> list[float]:
    """The z boundary of each look, so that all of them together raise a false alarm with a chance of alpha.

    Lan, K. K. G. and DeMets, D. L. (1983). Discrete sequential boundaries for clinical trials. Biometrika 70, 659-663.
    Spent by information t, with a = alpha / sides on each side: 2 (1 - Phi(z(a / 2) / sqrt t)) for O'Brien-Fleming
    type, a ln(1 + (e - 1) t) for Pocock type. The looks need not be evenly spaced, nor be those that were planned, as
    long as when to look does not hang on what was seen. A look that was not taken is left out; what it would
    have spent goes to the next one.

    Args:
        information: of each look, as a share of that planned for the last: units with a full window over those planned.
            The last may be greater than 1 (more came than was planned): it spends what is left, its bound being that of
            the information it truly has.
        alpha: the chance of a false alarm over all looks, within 0..1.
        spending: "obrien_fleming" or "pocock".
        sides: 2 for a difference in either direction (alpha / 2 each), 1 for one above only.
        is_end: whether the last look is the end although less information came than was planned: it then spends all.

    Returns:
        A bound for each look; infinite where so little is to be spent (under 1e-16) that the look cannot stop.

    Raises:
        DataError: when information does not increase by at least 0.001 of what was planned, a look comes after
            alpha was spent, or an option is none.

    >>> [round(one, 3) for one in boundaries([0.2, 0.4, 0.6, 0.8, 1.0])]
    [4.877, 3.357, 2.68, 2.29, 2.031]
    """
    _check_options(alpha, spending, sides)
    information = _checked_information(information)
    late = [one for one in information[:-1] if one >= 1]
    if late:
        raise DataError(
            f"all of alpha is spent at a look with information {late[0]:g}, so that nothing is left for those after "
            "it; leave the earlier or the later ones out, as was planned before the results were seen"
        )
    shares = [*information[:-1], 1.0] if is_end else list(information)
    scores, found, gone = _started(0.0), [], 0.0
    for place, (share, now) in enumerate(zip(shares, information, strict=True)):
        bound = _bound(scores, now, spent_alpha(share, alpha, spending, sides) - gone, sides)
        low = -bound if sides == 2 else -math.inf
        found.append(bound)
        gone += sum(scores.beyond(low, bound, now))
        if place + 1 < len(information):
            scores = scores.within(low, bound, now, information[place + 1] - now)
    return found


def _bound(scores: _Scores, now: float, spent: float, sides: int) -> float:
    from scipy.optimize import brentq

    if spent < _LEAST_SPENT:
        return math.inf

    def excess(bound: float) -> float:
        above, below = scores.beyond(-bound, bound, now)
        return math.log(max(above + (below if sides == 2 else 0.0), 1e-300) / spent)

    return float(brentq(excess, -_TAIL if sides == 1 else 0.0, _TAIL, xtol=1e-10))


def spent_alpha(
    information: float, alpha: float = 0.05, spending: Spending = "obrien_fleming", sides: int = 2
) -> float:
    """What of alpha has been spent, on all sides together, with this share of the planned information.

    Args:
        information: as a share of that planned; from 1 on all of alpha is spent.
        alpha: the chance of a false alarm over all looks, within 0..1.
        spending: "obrien_fleming" or "pocock".
        sides: 2 or 1.

    Raises:
        DataError: when an option is none.

    >>> [round(spent_alpha(share), 5) for share in (0.2, 0.6, 1.0)]
    [0.0, 0.00762, 0.05]
    """
    from scipy.special import ndtr, ndtri

    _check_options(alpha, spending, sides)
    share = min(information, 1.0)
    if spending == "pocock":
        return alpha * math.log(1 + (math.e - 1) * share)
    return float(2 * sides * ndtr(ndtri(alpha / sides / 2) / math.sqrt(share)))


def drift_for(power: float, bounds: Sequence[float], information: Sequence[float], sides: int = 2) -> float:
    """The mean of z at information 1 with which these bounds are crossed with this power.

    Args:
        power: the wanted chance, more than that of a false alarm and less than 1.
        bounds: as `boundaries` gives them.
        information: of each look.
        sides: 2 or 1.

    Raises:
        DataError: when the power is not within those limits, or as `crossing_probabilities`.

    >>> round(drift_for(0.8, [1.959964], [1.0]), 3)
    2.802
    """
    from scipy.optimize import brentq

    def shortfall(drift: float) -> float:
        return sum(float(one.sum()) for one in crossing_probabilities(bounds, information, drift, sides)) - power

    if not -shortfall(0.0) > 0 or not power < 1:
        raise DataError(f"a power lies between the chance of a false alarm and 1; got {power!r}")
    return float(brentq(shortfall, 0.0, 2 * _TAIL / math.sqrt(information[-1]), xtol=1e-9))


def inflation(
    information: Sequence[float],
    alpha: float = 0.05,
    spending: Spending = "obrien_fleming",
    sides: int = 2,
    *,
    power: float = 0.8,
) -> float:
    """How many times the units of a fixed design the last look needs for the same power.

    Args:
        information: of each look, the last being 1.
        alpha: the chance of a false alarm.
        spending: "obrien_fleming" or "pocock".
        sides: 2 or 1.
        power: the wanted power.

    Raises:
        DataError: as `boundaries` and `drift`, or when the last information is not 1.

    >>> round(inflation([0.2, 0.4, 0.6, 0.8, 1.0], spending="pocock"), 3)
    1.212
    """
    bounds = boundaries(information, alpha, spending, sides)
    if information[-1] != 1:
        raise DataError(f"a plan ends with information 1, got {list(information)}")
    fixed = boundaries([1.0], alpha, spending, sides)
    return (drift_for(power, bounds, information, sides) / drift_for(power, fixed, [1.0], sides)) ** 2


def _checked_information(information: Sequence[float], scale: float = 1.0) -> list[float]:
    found = [float(one) for one in information]
    steps = np.diff([0.0, *found])
    if not len(steps) or not np.isfinite(steps).all() or (steps < _LEAST_STEP * float(scale)).any():
        raise DataError(
            f"information grows from look to look, by at least {_LEAST_STEP:g} of what was planned and from more than "
            f"zero, got {found}; leave out looks at which nothing was added"
        )
    return found


def _check_options(alpha: float, spending: str, sides: int) -> None:
    if not 0 < alpha < 1:
        raise DataError(f"alpha lies between 0 and 1, such as 0.05; got {alpha!r}")
    if spending not in get_args(Spending):
        raise DataError(f"spending is one of {listed(get_args(Spending))}; got {spending!r}")
    if sides not in (1, 2):
        raise DataError(f"sides is 2, or 1 for an effect above zero only; got {sides!r}")
