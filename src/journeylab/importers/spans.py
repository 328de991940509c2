"""Lengths of time in exports, as durations (rule 2)."""

from __future__ import annotations

from datetime import timedelta
from typing import Final

from journeylab.durations import duration_text

from .export import Part

__all__ = ["MONTH", "clock_time", "span"]

_LENGTHS: Final = {
    "second": timedelta(seconds=1), "minute": timedelta(minutes=1), "hour": timedelta(hours=1),
    "day": timedelta(days=1), "week": timedelta(weeks=1), "month": timedelta(days=30),
}  # fmt: skip
MONTH: Final = "a month is 30 days here (rule 2)"
"""What is said of months."""
_LONGEST: Final = timedelta(days=36_525)


def span(part: Part, key: str, number: float, unit: str) -> str:
    """A number of seconds, minutes, hours, days, weeks or months (of 30 days) as a duration; it may be negative.

    Raises:
        Malformed: when it is longer than a hundred years.
    """
    length = _LENGTHS[unit.lower().removesuffix("s")]
    if not abs(number) <= _LONGEST / length:
        raise part.malformed(f"{number:g} {unit.lower()} is longer than a hundred years (rule 2)", key)
    whole = timedelta(microseconds=round(number * (length / timedelta(microseconds=1))))
    return ("-" if whole < timedelta(0) else "") + duration_text(abs(whole))


def clock_time(part: Part, hour: int, minute: int, key: str | None = None) -> str:
    """A time of day, such as `09:30`.

    Raises:
        Malformed: when no clock shows it.
    """
    if not (0 <= hour < 24 and 0 <= minute < 60):
        raise part.malformed(f"{hour}:{minute:02d} is no time of day", key)
    return f"{hour:02d}:{minute:02d}"
