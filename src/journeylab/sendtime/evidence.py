"""Whether hours matter: tests that rest on nothing but that hours were drawn at random.

Of an answered send one asks at which of the hours it could have had it went. Under a curve of chances that is true,
that hour is drawn in proportion to the curve; if another curve is truer, answered sends sit where that one is higher.
The score of this is the logarithm of the other curve over the first, centred by its mean under the first: its sum over
answered sends is 0 in expectation, with a variance that is known, whatever model the curves come from (the score test
of conditional logistic regression; Cox, Biometrika 57, 1970, and of randomisation inference, Fisher 1935).
"""

from __future__ import annotations

from statistics import NormalDist
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pandas as pd

from journeylab.errors import DataError, known
from journeylab.sendtimes import WEEK

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from .sends import SendTable

__all__ = ["FALSE_ALARM", "Evidence", "answered_hours", "evidence_of", "marks_of"]

FALSE_ALARM = 0.03
"""How often at the most a gain is claimed where there is none, over all levels together."""
_LEAST = 30  # answers without which nothing is claimed
_CELLS = 48  # hours of the day, on weekdays and at weekends: so many are looked at for a mark
_BEYOND_NOISE = NormalDist().inv_cdf(1 - 0.05 / 2 / _CELLS)
_LEAST_DUE = 5.0  # answers expected in an hour, without which it has no mark
_MARKS = "-.+"
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
        hour = sends.hour_of_week[some]
        score += float((ratio[np.arange(len(some)), hour] - mean).sum())
        variance += float((weight * (ratio - mean[:, None]) ** 2).sum())
    if len(mine) < _LEAST or variance <= _FLAT * len(mine):
        return Evidence(len(mine), float("nan"), float("nan"))
    return Evidence(len(mine), score / variance**0.5, score / variance)


def answered_hours(sends: SendTable, segment: str | None = None) -> pd.DataFrame:
    """Which hours answered sends went at, and at which they would have if hours did not matter.

    It rests on nothing but that hours were drawn: if they do not matter, an answered send went at each of the hours it
    could have had with the same probability. Neighbouring hours are added up, Monday to Friday as one and the weekend
    as one, as single hours of the week have few answers.

    Args:
        sends: the sends.
        segment: of contacts of one segment only.

    Returns:
        A row for each hour of the week: `hour_of_week` (int), `n_answers` (int, within an hour of it on days of its
        kind), `n_expected` (float), `ratio` (of both, missing without any expected), `z`, `mark` ("+" more, "-" fewer
        beyond noise over all hours together, else ".").

    Raises:
        DataError: for an unknown segment.
    """
    mine = sends.is_random & sends.answered
    if segment is not None:
        if segment not in sends.segments:
            raise DataError(f"segment {segment!r}: {known(segment, sends.segments, 'segments')}")
        mine &= sends.segment[sends.contact] == sends.segments.index(segment)
    near = _near()
    hours = sends.hour_of_week[mine]
    used, n_of = np.unique(sends.slot_set[mine], return_counts=True)
    expected, variance = np.zeros(WEEK), np.zeros(WEEK)
    for first in range(0, len(used), 20_000):
        some = slice(first, first + 20_000)
        slots = sends.slot_sets[used[some]].astype(float)
        due = (slots / slots.sum(axis=1, keepdims=True)) @ near
        expected += n_of[some] @ due
        variance += n_of[some] @ (due * (1 - due))
    seen = np.bincount(hours, minlength=WEEK) @ near
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = np.where(expected > 0, seen / expected, np.nan)
        z = np.where(variance > 1e-9, (seen - expected) / np.sqrt(variance), 0.0)
    sign = np.where((np.abs(z) > _BEYOND_NOISE) & (expected >= _LEAST_DUE), np.sign(z), 0).astype(int)
    return pd.DataFrame(
        {
            "hour_of_week": np.arange(WEEK), "n_answers": seen.astype(np.int64), "n_expected": expected,
            "ratio": ratio, "z": z, "mark": [_MARKS[one + 1] for one in sign],
        }
    )  # fmt: skip


def marks_of(sends: SendTable) -> dict[str, str]:
    """The marks of `answered_hours` as 168 characters, for "everyone" and for each segment of another name."""
    marks = {"everyone": "".join(answered_hours(sends)["mark"])}
    return marks | {name: "".join(answered_hours(sends, name)["mark"]) for name in sends.segments if name != "everyone"}


def _near() -> NDArray[np.float64]:
    """Which hours of the week are added up: float64 (168, 168), 1 within an hour on days of one kind."""
    hour, weekend = np.arange(WEEK) % 24, np.arange(WEEK) // 24 >= 5
    apart = np.abs(hour[:, None] - hour[None])
    return np.asarray((np.minimum(apart, 24 - apart) <= 1) & (weekend[:, None] == weekend[None]), np.float64)
