"""Sends at drawn hours as choices of an hour on their day, and which hour each advice would have taken there."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from journeylab.errors import DataError
from journeylab.sendtimes import LEVELS, SendTimes

if TYPE_CHECKING:
    import pyarrow as pa
    from numpy.typing import NDArray

    from .sends import SendTable

__all__ = ["BLOCKS", "DAY_HOURS", "DayChoices", "day_choices", "hours_chosen", "hours_for_everyone", "rows_of"]

DAY_HOURS = 24
BLOCKS = (1, 2, 3)
"""How many hours a block may have within which a send counts as one at the hour aimed at."""
_CHUNK = 20_000
_LEAST_ANSWERS = 100  # at drawn hours, below which the best hour for everyone is read off all sends
_SMOOTHING = 1.2  # hours, the standard deviation of the curve that neighbouring hours share by


@dataclass(frozen=True, eq=False)
class DayChoices:
    """Sends at drawn hours that had at least two blocks of hours to go in on their local calendar day.

    Given its day, a send's hour is drawn evenly from the hours of that day in its slot set, whatever the rest.

    Attributes:
        sends: the sends.
        hours: bool (send, 24), which hours of its day each could have had.
        block: int64, the block of hours of the day that each went in.
        propensity: float64, the probability of that block given the day.
        slot_hours: how many hours a block has.
        n_certain: how many sends at drawn hours were left out, as their day had no other block.
    """

    sends: SendTable
    hours: NDArray[np.bool_]
    block: NDArray[np.int64]
    propensity: NDArray[np.float64]
    slot_hours: int
    n_certain: int

    def __len__(self) -> int:
        return len(self.block)


def day_choices(sends: SendTable, slot_hours: int = 1) -> DayChoices:
    """The sends at drawn hours as choices among the blocks of hours of their local calendar days.

    Where hours were drawn from more than six days at once, the first and the last day may be the same day of the week;
    their hours then count as one day's.

    Raises:
        DataError: when a block has other than 1, 2 or 3 hours.
    """
    if slot_hours not in BLOCKS:
        raise DataError(f"slot_hours is 1, 2 or 3 hours within which a send counts; got {slot_hours!r}")
    drawn = sends.rows(sends.is_random)
    hour = drawn.hour_of_week
    rows = np.arange(len(drawn))
    hours = drawn.slot_sets.reshape(-1, 7, DAY_HOURS)[drawn.slot_set, hour // DAY_HOURS]
    by_block = hours.reshape(len(rows), DAY_HOURS // slot_hours, slot_hours).sum(axis=2)
    block = hour % DAY_HOURS // slot_hours
    open_days = (by_block > 0).sum(axis=1) > 1
    propensity = by_block[rows, block] / np.maximum(hours.sum(axis=1), 1)
    return DayChoices(
        drawn.rows(open_days), hours[open_days], block[open_days], propensity[open_days], slot_hours,
        int((~open_days).sum()),
    )  # fmt: skip


def rows_of(times: SendTimes, contacts: pa.Array) -> NDArray[np.int64]:
    """The row of scores that holds for each contact: its own, otherwise the fallback's, -1 without one.

    Raises:
        DataError: when the contacts are of another kind than those of the log.
    """
    return np.append(times.profile, times.fallback).astype(np.int64)[times.places_of(contacts)]


def hours_chosen(times: SendTimes, choices: DayChoices) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """The hour of the day that the send times take for each send, int64, and which sends they prefer no hour for, bool.

    It is the hour with the highest score of those that the send could have had on its day, of equals the earliest. None
    is preferred where no hour has a score, or all have the same.
    """
    sends = choices.sends
    row = rows_of(times, sends.contacts)[sends.contact]
    day = sends.hour_of_week // DAY_HOURS
    by_day = times.scores.reshape(-1, 7, DAY_HOURS)
    chosen, is_indifferent = choices.hours.argmax(axis=1).astype(np.int64), np.ones(len(row), np.bool_)
    for first in range(0, len(row), _CHUNK):
        known = first + np.flatnonzero(row[first : first + _CHUNK] >= 0)
        score, hours = by_day[row[known], day[known]], choices.hours[known]
        score = np.where(hours & ~np.isnan(score), score, -np.inf)
        best = score.argmax(axis=1)
        most = score[np.arange(len(known)), best]
        prefers = np.isfinite(most) & ((score < most[:, None]) & hours).any(axis=1)
        chosen[known[prefers]], is_indifferent[known[prefers]] = best[prefers], False
    return chosen, is_indifferent


def hours_for_everyone(sends: SendTable) -> SendTimes:
    """Send times that are the same for everyone: how often sends of each hour of the day are answered, smoothed.

    By sends at drawn hours where people answered at least 100 of them, otherwise by all.
    """
    import pyarrow as pa

    drawn = sends.is_random
    is_drawn = int((sends.answered & drawn).sum()) >= _LEAST_ANSWERS
    which = drawn if is_drawn else np.ones(len(sends), np.bool_)
    hour = sends.hour_of_week[which] % DAY_HOURS
    away = np.minimum(np.arange(DAY_HOURS), DAY_HOURS - np.arange(DAY_HOURS))
    kernel = np.exp(-0.5 * (away / _SMOOTHING) ** 2)
    turned = kernel[(np.arange(DAY_HOURS)[:, None] - np.arange(DAY_HOURS)) % DAY_HOURS]
    n = turned @ np.bincount(hour, minlength=DAY_HOURS)
    rate = float(sends.answered[which].mean()) if which.any() else 0.0
    # As much as ten sends of a mean hour draw hours of few sends to it.
    score = (turned @ np.bincount(hour, sends.answered[which], DAY_HOURS) + 10 * rate) / (n + 10)
    return SendTimes(
        pa.array([], sends.contacts.type), np.zeros(0, np.int32), np.tile(score, 7).astype(np.float32)[None], 0,
        np.full(0, LEVELS.index("everyone"), np.int8), np.zeros((0, 3), np.float32),
        {"model": "best hour for everyone", "is_causal": is_drawn},
    )  # fmt: skip
