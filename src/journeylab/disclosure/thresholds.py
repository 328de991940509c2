"""The first rule: too few people on one side of a number, or one or two who make up most of a sum."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from .people import Floats

__all__ = ["FEWEST", "dominated", "few", "few_beside"]

FEWEST: Final = 10
"""The least number of distinct people on each side of a number."""
_MOST_OF_TWO: Final = 0.9
_LEAST_OF_OTHERS: Final = 0.1


def few(n: NDArray[np.int64], of: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Whether fewer than ten people have it, do not have it, or could have it.

    None and all are few, too: who knows that somebody is of the group then knows it of that person (class disclosure).

    >>> few(np.array([0, 9, 10, 90, 91, 9]), np.array([100, 100, 100, 100, 100, 9]))
    array([ True,  True, False, False,  True,  True])
    """
    return (n < FEWEST) | (of - n < FEWEST)


def few_beside(n: int, at: float) -> bool:
    """Whether fewer than ten of `n` people lie on one side of a quantile: of the median, with fewer than twenty.

    >>> few_beside(19, 0.5), few_beside(20, 0.5), few_beside(199, 0.95), few_beside(200, 0.95)
    (True, False, True, False)
    """
    return round(n * min(at, 1 - at), 9) < FEWEST


def dominated(contributions: Floats) -> bool:
    """Whether one or two people make up so much of a sum that it says what they contribute.

    The two greatest contributions are more than 90 % of the sum, or all others together less than 10 % of the
    greatest: who is the second could tell the first to that percentage. Hundepool, A. et al. (2012). Statistical
    Disclosure Control, section 4.2 (dominance and p % rules); the limits are those of ACRO 1.0.

    >>> dominated(np.array([50.0, 45.0, 3.0, 2.0])), dominated(np.full(10, 5.0)), dominated(np.zeros(10))
    (True, False, True)
    """
    total = contributions.sum()
    greatest = np.sort(contributions)[::-1][:2]
    if total <= 0:
        return True
    return bool(greatest.sum() > _MOST_OF_TWO * total or total - greatest.sum() < _LEAST_OF_OTHERS * greatest[0])
