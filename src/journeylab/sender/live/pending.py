"""Until when a send that may go now may still go: the end of its window, the next quiet hours (rules 17 and 18)."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import TYPE_CHECKING, Final
from zoneinfo import ZoneInfo

from journeylab.durations import parse_time_of_day
from journeylab.journey import WEEKDAYS, Best, Send, Window

if TYPE_CHECKING:
    from journeylab.journey import Journey

__all__ = ["first_instant", "open_until"]

_DAY: Final = timedelta(days=1)
_US: Final = timedelta(microseconds=1)


def first_instant(wall: datetime, zone: ZoneInfo) -> datetime:
    """The first instant at which the local clock shows a time or a later one (rule 3).

    >>> first_instant(datetime(2026, 3, 29, 2, 30), ZoneInfo("Europe/Warsaw")).isoformat()
    '2026-03-29T01:00:00+00:00'
    >>> first_instant(datetime(2026, 10, 25, 2, 30), ZoneInfo("Europe/Warsaw")).isoformat()
    '2026-10-25T00:30:00+00:00'
    """
    found = wall.replace(tzinfo=zone, fold=0).astimezone(UTC)
    if found.astimezone(zone).replace(tzinfo=None) == wall:
        return found
    # Within a gap: what the clock showed before it (fold 0) and will show after it (fold 1) differ by its length.
    before, after = (wall.replace(tzinfo=zone, fold=fold).utcoffset() or timedelta(0) for fold in (0, 1))
    low, high = (wall - max(before, after)).replace(tzinfo=UTC), (wall - min(before, after)).replace(tzinfo=UTC)
    while high - low > _US:
        middle = low + (high - low) // 2
        low, high = (low, middle) if middle.astimezone(zone).replace(tzinfo=None) >= wall else (middle, high)
    return high


@lru_cache(maxsize=4096)
def _at(day: datetime, microseconds: int, zone: ZoneInfo) -> datetime:
    return first_instant(day + timedelta(microseconds=microseconds), zone)


def open_until(journey: Journey, node: Send, at: datetime, zone: str) -> datetime | None:
    """The first instant after `at` at which a gate of local time closes that is open at `at`; None where none does.

    Args:
        journey: the journey, for its quiet hours.
        node: the send.
        at: an instant at which the gates let it pass.
        zone: the contact's time zone as of that instant.
    """
    place = ZoneInfo(zone)
    local = at.astimezone(place)
    today = datetime(local.year, local.month, local.day)  # noqa: DTZ001 - a local date, given its zone below
    ends: list[datetime] = []
    quiet = journey.quiet_hours
    if quiet is not None:
        start = parse_time_of_day(quiet.start)
        ends.append(next(one for day in range(3) if (one := _at(today + day * _DAY, start, place)) > at))
    if isinstance(node.at, Window):
        ends += _window_end(node.at, at, today, place)
    elif isinstance(node.at, Best):
        ends.append(first_instant(local.replace(tzinfo=None, minute=0, second=0, microsecond=0) + _DAY / 24, place))
    return min((end for end in ends if end > at), default=None)


def _window_end(window: Window, at: datetime, today: datetime, place: ZoneInfo) -> list[datetime]:
    """The end of the window in which an instant lies, if it lies in one."""
    start, end = (parse_time_of_day(one, end=True) for one in window.between)
    for day in (today - _DAY, today, today + _DAY):
        last = _at(day + (_DAY if end < start else timedelta(0)), end, place)
        if WEEKDAYS[day.weekday()] in window.days and _at(day, start, place) <= at < last:
            return [last]
    return []
