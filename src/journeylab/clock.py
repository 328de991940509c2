"""Local time, exactly (rules 3 and 4): zones as tables of transitions, and the functions the machine asks of them.

Everything is in integer microseconds: instants since 1970-01-01T00:00Z, local wall times since 1970-01-01T00:00 local.
No function here reads a clock.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta, tzinfo
from typing import TYPE_CHECKING, Any, NamedTuple
from zoneinfo import ZoneInfo

import numpy as np
from numba import njit, types

from .memory import group_type

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["DAY", "NEVER", "ZONES", "Zones", "from_local", "instant", "local", "microseconds", "zones"]

DAY = 86_400_000_000
NEVER: int = np.int64(2**62)  # type: ignore[assignment]
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_PROBE = timedelta(days=7)


class Zones(NamedTuple):
    """Time zones as arrays: zone z's offsets hold from `at[first[z]]` on, up to `first[z + 1]`.

    Attributes:
        first: int64, one more than there are zones.
        at: int64 instants of transitions, the first of each zone in the infinite past.
        offset: int64 microseconds that local time is ahead of UTC from that instant on.
    """

    first: NDArray[np.int64]
    at: NDArray[np.int64]
    offset: NDArray[np.int64]


ZONES = group_type("Zones", constant=True, first=(types.int64, 1), at=(types.int64, 1), offset=(types.int64, 1))


def microseconds(when: datetime) -> int:
    """The instant as microseconds since 1970-01-01T00:00Z.

    Raises:
        ValueError: for a naive datetime.

    >>> microseconds(datetime(2026, 3, 29, 1, tzinfo=UTC))
    1774746000000000
    """
    if when.tzinfo is None:
        raise ValueError(f"{when.isoformat()} has no time zone; say which instant is meant, such as with +00:00")
    return (when - _EPOCH) // timedelta(microseconds=1)


def instant(at: int) -> datetime:
    """The aware UTC datetime of microseconds since 1970-01-01T00:00Z."""
    return _EPOCH + timedelta(microseconds=int(at))


def _offset(zone: tzinfo, when: datetime) -> int:
    offset = when.astimezone(zone).utcoffset()
    assert offset is not None  # an aware datetime in a zone has an offset
    return offset // timedelta(microseconds=1)


def _transitions(zone: tzinfo, start: datetime, end: datetime) -> list[tuple[int, int]]:
    """The (instant, offset) pairs of a zone from start to end, found by probing weekly and bisecting to the second."""
    found = [(-int(NEVER), _offset(zone, start))]
    low = start
    while low < end:
        high = low + _PROBE
        if _offset(zone, high) != found[-1][1]:
            left, right = low, high
            while right - left > timedelta(seconds=1):
                middle = left + (right - left) // 2
                middle -= timedelta(microseconds=middle.microsecond)
                left, right = (middle, right) if _offset(zone, middle) == found[-1][1] else (left, middle)
            found.append((microseconds(right), _offset(zone, right)))
            low = right
        else:
            low = high
    return found


def zones(names: Sequence[str], start: datetime, end: datetime) -> Zones:
    """The transition tables of the named zones, exact between two instants and constant outside of them.

    >>> table = zones(["Europe/Warsaw"], datetime(2026, 1, 1, tzinfo=UTC), datetime(2027, 1, 1, tzinfo=UTC))
    >>> [(instant(at).isoformat(), int(offset) // 3_600_000_000) for at, offset in zip(table.at[1:], table.offset[1:])]
    [('2026-03-29T01:00:00+00:00', 2), ('2026-10-25T01:00:00+00:00', 1)]
    """
    start = start.replace(microsecond=0)
    tables = [_transitions(ZoneInfo(name), start, end) for name in names]
    pairs = [pair for table in tables for pair in table]
    return Zones(
        np.cumsum([0, *(len(table) for table in tables)], dtype=np.int64),
        np.array([at for at, _ in pairs], np.int64),
        np.array([offset for _, offset in pairs], np.int64),
    )


# For functions that only compiled code calls: without the means to be called from Python.
COMPILED: dict[str, Any] = {"nogil": True, "error_model": "numpy", "no_cpython_wrapper": True, "no_cfunc_wrapper": True}


def _jit(function: Any) -> Any:
    return njit(**COMPILED)(function)


@_jit
def local(zones: Zones, zone: int, t: int) -> int:
    """The local wall time of an instant in a zone."""
    i = zones.first[zone + 1] - 1
    while zones.at[i] > t:
        i -= 1
    return t + zones.offset[i]


@_jit
def from_local(zones: Zones, zone: int, wall: int) -> int:
    """The first instant at which the zone's clock shows `wall` or later (rule 3: after a gap, first of two)."""
    last = zones.first[zone + 1] - 1
    i = zones.first[zone]
    while i < last and zones.at[i + 1] + zones.offset[i] <= wall:
        i += 1
    return max(zones.at[i], wall - zones.offset[i])


@_jit
def on_weekday(day: int, days: int) -> bool:
    """Whether the local date `day` (days since 1970-01-01, a Thursday) is among `days` (bit 0 is Monday)."""
    return (days >> ((day + 3) % 7)) & 1 == 1


@_jit
def window_at(zones: Zones, zone: int, t: int, start: int, end: int, days: int) -> int:
    """The first instant from t on that lies in the local window (rule 4)."""
    today = local(zones, zone, t) // DAY
    for day in range(today - 2, today + 370):
        if on_weekday(day, days):
            close = from_local(zones, zone, (day + 1 if end < start else day) * DAY + end)
            if t < close:
                opened = from_local(zones, zone, day * DAY + start)
                if opened < close:
                    return max(t, opened)
    return NEVER


@_jit
def time_at(zones: Zones, zone: int, t: int, time: int, days: int) -> int:
    """The first instant from t on at which it is the local `time` on one of `days`."""
    today = local(zones, zone, t) // DAY
    for day in range(today - 2, today + 370):
        if on_weekday(day, days):
            found = from_local(zones, zone, day * DAY + time)
            if found >= t:
                return found
    return NEVER


@_jit
def quiet_until(zones: Zones, zone: int, t: int, start: int, end: int) -> int:
    """The end of the quiet hours in which t lies, or t itself outside of them (rule 18)."""
    today = local(zones, zone, t) // DAY
    for day in range(today - 2, today + 2):
        opened = from_local(zones, zone, day * DAY + start)
        close = from_local(zones, zone, (day + 1 if end < start else day) * DAY + end)
        if opened <= t < close:
            return close
    return t
