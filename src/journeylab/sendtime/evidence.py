"""Whether hours matter: tests that rest on nothing but that hours were drawn at random.

Of an answered send one asks at which of the hours it could have had it went. Under a curve of chances that is true,
that hour is drawn in proportion to the curve; if another curve is truer, answered sends sit where that one is higher.
The score of this is the logarithm of the other curve over the first, centred by its mean under the first: its sum over
answered sends is 0 in expectation, with a variance that is known, whatever model the curves come from (the score test
of conditional logistic regression; Cox, Biometrika 57, 1970, and of randomisation inference, Fisher 1935).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from journeylab.sendtimes import WEEK

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from .sends import SendTable

__all__ = ["FALSE_ALARM", "Evidence", "evidence_of"]

FALSE_ALARM = 0.03
"""How often at the most a gain is claimed where there is none, over all levels together."""
_LEAST = 30  # answers without which nothing is claimed
_FLAT = 1e-6  # mean squared logarithm of a ratio that nobody would notice: a tenth of a per cent


class Evidence(NamedTuple):
    """The score of a level's curves over those of the level below, on sends that the curves were not learned from.

    `z` is NaN, and nothing is claimed, with under 30 answers at drawn hours or curves that are as good as the same.
    `lift` is the factor on the exponent of the curves' ratio that fits best to first order: 1 where the curves promise
    what they keep.
    """

    n_answers: int
    z: float
    lift: float


def evidence_of(
    sends: SendTable, over: NDArray[np.float32], curve: NDArray[np.float32], row: NDArray[np.int64]
) -> Evidence:
    """Whether `over` fits answered sends at drawn hours better than `curve`.

    Args:
        sends: sends that none of the curves was learned from.
        over: float32 (row, 168), chances, above 0.
        curve: float32 (row, 168), the chances that it is held against.
        row: int64 by send, the row of both; -1 for a send that is left out.
    """
    mine = np.flatnonzero(sends.is_random & sends.answered & (row >= 0))
    score = variance = 0.0
    for first in range(0, len(mine), 20_000):
        some = mine[first : first + 20_000]
        ratio = np.log(over[row[some]].astype(float)) - np.log(curve[row[some]].astype(float))
        weight = np.where(sends.slot_sets[sends.slot_set[some]], curve[row[some]], 0.0)
        weight /= weight.sum(axis=1, keepdims=True)
        mean = (weight * ratio).sum(axis=1)
        hour = np.minimum(sends.hour[some].astype(np.int64), WEEK - 1)
        score += float((ratio[np.arange(len(some)), hour] - mean).sum())
        variance += float((weight * (ratio - mean[:, None]) ** 2).sum())
    if len(mine) < _LEAST or variance <= _FLAT * len(mine):
        return Evidence(len(mine), float("nan"), float("nan"))
    return Evidence(len(mine), score / variance**0.5, score / variance)
