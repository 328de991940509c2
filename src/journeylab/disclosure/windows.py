"""The fifth rule: what is disclosed is of a closed span of whole days, so that no two spans differ by a few minutes."""

from __future__ import annotations

from datetime import UTC, date, datetime, time
from typing import NamedTuple
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from journeylab.errors import DataError

__all__ = ["Period", "closed"]

_MONDAY = date(1970, 1, 5)


class Period(NamedTuple):
    """A span of time: from an instant, included, until another, excluded; both in UTC."""

    from_at: datetime
    until_at: datetime

    def __str__(self) -> str:
        return f"{self.from_at.isoformat()}/{self.until_at.isoformat()}"


def closed(
    from_at: datetime, until_at: datetime, *, data_until: datetime, every_days: int = 1, timezone: str = "UTC"
) -> Period:
    """The span, when it is over in the data and begins and ends at midnights of the grid.

    Args:
        from_at: its first instant, aware.
        until_at: the instant after its last.
        data_until: up to when the data are complete; what happens at this instant may still be missing.
        every_days: the grid: midnights so many days apart, counted from a Monday, so that 7 means weeks.
        timezone: whose midnights.

    Raises:
        DataError: when an instant is naive or off the grid, the span is empty, or it is not over.

    >>> closed(datetime(2026, 3, 2, tzinfo=UTC), datetime(2026, 3, 9, tzinfo=UTC), every_days=7,
    ...        data_until=datetime(2026, 3, 9, 5, tzinfo=UTC)).until_at.isoformat()
    '2026-03-09T00:00:00+00:00'
    """
    try:
        zone = ZoneInfo(timezone)
    except (ZoneInfoNotFoundError, ValueError):
        raise DataError(f"no time zone {timezone!r}; say one such as Europe/Warsaw") from None
    if every_days < 1:
        raise DataError(f"the grid has a midnight every so many days, 1 or more; got {every_days}")
    for name, at in (("from", from_at), ("until", until_at), ("data_until", data_until)):
        if at.tzinfo is None:
            raise DataError(f"{name} {at.isoformat()} has no time zone; say it, as in {at.isoformat()}+00:00")
    for name, at in (("from", from_at), ("until", until_at)):
        local = at.astimezone(zone)
        if local.timetz().replace(tzinfo=None) != time() or (local.date() - _MONDAY).days % every_days:
            days = "day" if every_days == 1 else f"{every_days} days"
            raise DataError(
                f"the period's {name} is {local.isoformat()}, which is not on its grid of midnights every {days} in "
                f"{timezone}; spans that differ by less give away who came in between"
            )
    if not from_at < until_at:
        raise DataError(f"the period ends at {until_at.isoformat()}, not after it begins, {from_at.isoformat()}")
    if until_at > data_until:
        raise DataError(
            f"the period ends at {until_at.isoformat()}, later than the data, {data_until.isoformat()}; what is still "
            "to come would show as a difference: wait, or end it earlier"
        )
    return Period(from_at.astimezone(UTC), until_at.astimezone(UTC))
