"""How long an experiment takes: whole weeks until all units are in, then the window that the last one is watched."""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import numpy as np

from journeylab.display import Shown, counted
from journeylab.durations import length_text, parse_duration
from journeylab.errors import DataError, known
from journeylab.language import plural, say
from journeylab.tablesource import Table, as_frame

if TYPE_CHECKING:
    pass

__all__ = ["Recruiting", "duration"]


@dataclass(frozen=True, slots=True)
class Recruiting(Shown):
    """How long an experiment takes.

    Attributes:
        n_units: units that are needed, of all arms together.
        n_weeks: whole weeks until they are in, so that every weekday counts alike.
        n_recruited: units that are in by then, as many as needed or more.
        window: how long each is watched.
    """

    n_units: int
    n_weeks: int
    n_recruited: int
    window: timedelta

    @property
    def takes(self) -> timedelta:
        """From the first exposure until the last unit has been watched."""
        return timedelta(weeks=self.n_weeks) + self.window

    @property
    def sentence(self) -> str:
        """The calendar in plain words."""
        days = math.ceil(self.takes / timedelta(days=1))
        return say(
            "{units} are in after {weeks}; with the window of {length} for the last of them the experiment takes "
            "{days}.",
            units=plural("{n} unit", "{n} units", self.n_units),
            weeks=plural("{n} whole week", "{n} whole weeks", self.n_weeks),
            length=length_text(self.window),
            days=plural("{n} day", "{n} days", days),
        )

    def to_dict(self) -> dict[str, Any]:
        """The calendar as plain data for JSON: durations in days."""
        return {
            "n_units": self.n_units,
            "n_weeks": self.n_weeks,
            "n_recruited": self.n_recruited,
            "window_days": self.window / timedelta(days=1),
            "days": self.takes / timedelta(days=1),
            "sentence": self.sentence,
        }

    def __repr__(self) -> str:
        return f"Recruiting({self.sentence})"


def duration(n_units: int, per_week: float | Table, window: str | timedelta) -> Recruiting:
    """How many whole weeks until so many units are in, and how long with the window of the last one.

    Args:
        n_units: units that are needed, of all arms together, 1 or more.
        per_week: how many new units are exposed in a week; or a table of the first weeks, in their order, with
            `n_units` (0 or more) each. The latter is nearer to the truth where the same contacts come back: each counts
            once, so that later weeks bring fewer.
        window: how long each unit is watched, such as "14d".

    Raises:
        DataError: when nobody comes, or a table ends before so many are in.

    >>> duration(25_000, 6_000, "14d").sentence
    '25,000 units are in after 5 whole weeks; with the window of 2w for the last of them the experiment takes 49 days.'
    """
    if n_units < 1:
        raise DataError(f"an experiment needs 1 unit or more; got {n_units!r}")
    try:
        watched = parse_duration(window)
    except ValueError as problem:
        raise DataError(f"window: {problem}") from problem
    if isinstance(per_week, int | float):
        if not 0 < per_week < math.inf:
            raise DataError(f"per_week={per_week!r}: nobody comes, so that no number of weeks is enough")
        n_weeks = math.ceil(n_units / per_week - 1e-9)
        return Recruiting(n_units, n_weeks, math.floor(n_weeks * per_week + 1e-9), watched)
    per_week = as_frame(per_week, "per_week")
    if "n_units" not in per_week.columns:
        raise DataError(f"per_week: no column 'n_units'; {known('n_units', per_week.columns, 'columns')}")
    arrivals = per_week["n_units"].to_numpy(dtype=float)
    if not (arrivals >= 0).all():
        raise DataError(f"per_week: week {int(np.argmin(arrivals >= 0)) + 1} has no number of units of 0 or more")
    in_by = np.cumsum(arrivals)
    n_weeks = int(np.searchsorted(in_by, n_units - 1e-9)) + 1
    if n_weeks > len(in_by):
        total = int(in_by[-1]) if len(in_by) else 0
        raise DataError(
            f"per_week: in its {counted(len(in_by), 'week')} {counted(total, 'unit')} come, {n_units:,} are needed; "
            "give more weeks, or a number per week if later ones bring as many"
        )
    return Recruiting(n_units, n_weeks, int(in_by[n_weeks - 1]), watched)
