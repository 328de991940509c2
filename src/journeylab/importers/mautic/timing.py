"""When an event of a campaign is due, counted from its parent.

Sources: "Using the Campaign Builder" in Mautic's user documentation; for hours, days and windows whose ends are
swapped, the schedulers of its open source (CampaignBundle, `Scheduler/Mode`).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from journeylab.importers.export import Part
from journeylab.importers.moments import instant_in
from journeylab.journey import WEEKDAYS

__all__ = ["Timing", "timing_of"]

_UNITS: Final = {"s": 1, "i": 60, "h": 3600, "d": 86400, "w": 7 * 86400, "m": 30 * 86400, "y": 365 * 86400}
_LONGEST: Final = timedelta(days=36500)
_KEYS: Final = (
    "trigger_mode", "trigger_interval", "trigger_interval_unit", "trigger_date", "triggerDate", "trigger_hour",
    "triggerRestrictedStartHour", "triggerRestrictedStopHour", "triggerRestrictedDaysOfWeek", "triggerWindow",
)  # fmt: skip


@dataclass(frozen=True)
class Timing:
    """When an event is due.

    Attributes:
        delay: how long after its parent.
        window: the local window in which it happens, as `wait_until` has it; None at any hour.
        date: the instant at which it happens instead; None where there is none.
        best: the terms of `at: best`; None where its hour is not chosen.
        notes: what differs.
    """

    delay: timedelta = timedelta(0)
    window: dict[str, Any] | None = None
    date: datetime | None = None
    best: dict[str, Any] | None = None
    notes: tuple[str, ...] = ()

    @property
    def is_plain(self) -> bool:
        """Whether it is a delay and nothing else."""
        return self.window is None and self.date is None and self.best is None


def timing_of(part: Part, zone: str | None, *, is_on_red: bool) -> Timing:
    """When an action or a condition is due.

    Args:
        part: the event.
        zone: the zone of a date that does not say its own.
        is_on_red: whether it is on the red path of a decision, where its delay is how long the decision waits.
    """
    part.skip(*_KEYS)
    mode = (
        part.choice("trigger_mode", ("immediate", "interval", "date", "optimized"), "trigger modes", "") or "immediate"
    )
    if mode == "date":
        return Timing(date=instant_in(part, "trigger_date" if "trigger_date" in part else "triggerDate", zone))
    if mode == "optimized":
        return _optimized(part)
    if mode == "immediate":
        return Timing()
    delay, notes = _delay(part)
    window, more = _window(part)
    notes += more
    if window is not None and is_on_red:
        notes.append("Mautic's scheduler passes over hours and days on the red path of a decision; here they hold")
    return Timing(delay, window, notes=tuple(notes))


def _delay(part: Part) -> tuple[timedelta, list[str]]:
    number = part.whole("trigger_interval", 0)
    unit = part.choice("trigger_interval_unit", _UNITS, "units of time", "d") or "d"
    seconds = number * _UNITS[unit]
    if not 0 <= seconds <= _LONGEST.total_seconds():
        raise part.malformed(f"{number} is no delay from none to a hundred years", "trigger_interval")
    notes = []
    if unit in "my" and number:
        length = {"m": "a month is 30", "y": "a year is 365"}[unit]
        notes.append(f"{length} days here, as durations are exact (rule 2)")
    return timedelta(seconds=seconds), notes


def _optimized(part: Part) -> Timing:
    days = 7 if part.whole("triggerWindow", 0) == 1 else 1
    return Timing(best={"best": "best", "within": f"{days}d"})


def _window(part: Part) -> tuple[dict[str, Any] | None, list[str]]:
    """The local window of an interval, None where there is none, and what differs."""
    hour, start, stop = (
        _hour(part, key) for key in ("trigger_hour", "triggerRestrictedStartHour", "triggerRestrictedStopHour")
    )
    days = _days(part)
    notes: list[str] = []
    window: dict[str, Any] | None = None
    if hour is not None:
        window = {"between": [hour, "24:00"]}
    elif start is not None and stop is not None:
        if stop < start:
            start, stop = stop, start
            notes.append(f"Mautic swaps ends that cross midnight: the window is from {start} to {stop} there, and here")
        window = {"time": start} if start == stop else {"between": [start, stop]}
    elif start is not None or stop is not None:
        notes.append("an hour to begin without one to end, or the reverse, is passed over there, and here")
    if days:
        window = {**(window or {"between": ["00:00", "24:00"]}), "days": days}
        if "time" in window or window["between"] != ["00:00", "24:00"]:
            notes.append(
                "where it has to wait for another day it is due when the window begins; there at the hour at which the "
                "delay ended"
            )
        else:
            notes.append("weekdays are the contact's own (rule 3), there those of the server's time")
    return window, notes


def _hour(part: Part, key: str) -> str | None:
    text = part.optional(key)
    if text is None:
        return None
    found = re.fullmatch(r"([01]\d|2[0-3]):([0-5]\d)(:[0-5]\d)?", text)
    if found is None:
        raise part.malformed(f"{text!r} is no time of day such as 09:00:00", key)
    return f"{found[1]}:{found[2]}"


def _days(part: Part) -> list[str]:
    """The weekdays allowed, none where all are; 0 is Sunday."""
    found = part.values("triggerRestrictedDaysOfWeek") if part.raw("triggerRestrictedDaysOfWeek") else []
    numbers = {str(one) for one in found}
    if not numbers <= {str(day) for day in range(7)}:
        raise part.malformed("days of the week are 0 (Sunday) to 6 (Saturday)", "triggerRestrictedDaysOfWeek")
    return [day for i, day in enumerate(WEEKDAYS) if str((i + 1) % 7) in numbers] if len(numbers) < 7 else []
