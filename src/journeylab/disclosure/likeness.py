"""The fourth rule: whether two numbers are of the same people but for a few, of whom their difference would tell."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from .thresholds import FEWEST

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from .people import Codes

__all__ = ["differs_by_few", "n_apart", "tokens"]


def n_apart(one: NDArray[np.uint64], other: NDArray[np.uint64], enough: int = FEWEST) -> int:
    """How many are in one set only, of two sets of ids; `enough` where it is so many or more.

    >>> n_apart(np.array([1, 2, 3], dtype=np.uint64), np.array([2, 3, 4], dtype=np.uint64))
    2
    """
    if abs(len(one) - len(other)) >= enough:
        return enough
    return min(len(np.setxor1d(one, other, assume_unique=True)), enough)


def differs_by_few(people: Codes, others: Sequence[Codes], n_people: int) -> bool:
    """Whether 1 to 9 people are in these or in some other set, and not in both.

    >>> differs_by_few(np.arange(20), [np.arange(20), np.arange(21)], 30)
    True
    """
    close = [other for other in others if abs(len(other) - len(people)) < FEWEST]
    if not close:
        return False
    is_in = np.zeros(n_people, dtype=bool)
    is_in[people] = True
    return any(0 < len(people) + len(other) - 2 * int(is_in[other].sum()) < FEWEST for other in close)


def tokens(ids: NDArray[np.uint64], contributions: NDArray[np.float64]) -> NDArray[np.uint64]:
    """A number for each person and what they contribute, which is another when either is.

    The ids are secret, so that mixing them (splitmix64; Steele, G. L. et al. (2014), OOPSLA) is enough.
    """
    mixed = ids * np.uint64(0x9E3779B97F4A7C15) + contributions.astype(np.float64).view(np.uint64)
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        mixed = (mixed ^ (mixed >> np.uint64(shift))) * np.uint64(factor)
    found: NDArray[np.uint64] = mixed ^ (mixed >> np.uint64(31))
    return found
