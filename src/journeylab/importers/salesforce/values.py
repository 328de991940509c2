"""Durations, times, shares and values as Journey Builder's format writes them."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from typing import Any, Final

from journeylab.importers.unsaid import Unsaid
from journeylab.journey import QuietHours

from .filters import scalar_of

__all__ = ["awake", "clock_text", "percent", "span_settings", "value_text", "zone_text"]

_UNITS: Final = (("WEEKS", 10_080), ("DAYS", 1440), ("HOURS", 60), ("MINUTES", 1))


def value_text(value: bool | float | str, notes: Callable[[str], None]) -> str:
    """A value as the format has it, which knows no kinds."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str) and scalar_of(value) != value:
        notes(f"the text {value!r} looks like a number, a flag or a date, and values have no kind there")
    return str(value)


def percent(share: Fraction) -> int:
    """A share as a whole percentage.

    Raises:
        Unsaid: when it is none.
    """
    whole = share * 100
    if whole.denominator != 1 or not 0 < whole < 100:
        raise Unsaid(f"a share of {float(whole):g} %; shares are whole percentages from 1 to 99")
    return int(whole)


def span_settings(minutes: int) -> dict[str, Any]:
    """The settings of a wait for some minutes, in the largest unit that has them whole."""
    unit, length = next((unit, length) for unit, length in _UNITS if minutes % length == 0)
    return {"waitDuration": minutes // length, "waitUnit": unit}


def awake(quiet: QuietHours | None) -> tuple[str, str] | None:
    """The hours of a day that are not quiet."""
    return None if quiet is None else (quiet.end, quiet.start)


def clock_text(time: str) -> str:
    """A time of day as a delivery window has it.

    Raises:
        Unsaid: when it has seconds.
    """
    hour, minute = (int(one) for one in time.split(":")[:2])
    if time.count(":") > 1:
        raise Unsaid(f"a time of day with seconds, {time}")
    half = "PM" if hour % 24 >= 12 else "AM"
    return f"1/1/0001 {(hour % 12) or 12}:{minute:02d}:00 {half}"


def zone_text(zone: str) -> str:
    """What a zone is called there, where it is one of those that stand for others; else its own name."""
    from babel.core import get_global

    names = {str(ours): str(theirs) for theirs, ours in get_global("windows_zone_mapping").items()}
    return names.get("Etc/UTC" if zone == "UTC" else zone, zone)
