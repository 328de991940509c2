"""Instants out of columns of any type: aware and naive timestamps, dates, and texts in ISO 8601 (rules 1 and 3)."""

from __future__ import annotations

import functools
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Any
from zoneinfo import available_timezones

import numpy as np
from numba import njit

from .clock import from_local, instant, microseconds, zones
from .errors import DataError, known

if TYPE_CHECKING:
    import pyarrow as pa
    from numpy.typing import NDArray

    from .clock import Zones
    from .rejects import Rejects

__all__ = ["DATE", "INSTANT", "check_zone", "instants", "no_such_day", "without_zone", "zone_names"]

_TIME = r"([01]\d|2[0-3]):[0-5]\d(:[0-5]\d([.]\d{1,9})?)?"
DATE = r"\d{4}-(0[1-9]|1[0-2])-(0[1-9]|[12]\d|3[01])"
_COMPACT_DATE = r"\d{4}(0[1-9]|1[0-2])(0[1-9]|[12]\d|3[01])"
_ZONED = rf"^{DATE}[T ]{_TIME}(Z| ?UTC|[+-]([01]\d|2[0-3])(:?[0-5]\d)?)$"
_NAIVE = rf"^({DATE}([T ]{_TIME})?|{_COMPACT_DATE})$"
INSTANT = rf"^{DATE}[T ]{_TIME}(Z| ?UTC|[+-]([01]\d|2[0-3])(:?[0-5]\d)?)?$"
_PER_SECOND = {"s": 1, "ms": 1_000, "us": 1_000_000, "ns": 1_000_000_000}
_FIRST, _LAST = datetime(1900, 1, 1, tzinfo=UTC), datetime(2200, 1, 1, tzinfo=UTC)
_OUT_OF_RANGE = "lies outside of the years 1900 to 2199"
_AROUND = timedelta(days=400)


@njit(nogil=True, cache=True)
def _to_utc(zones: Zones, wall: Any, at: Any) -> None:
    for i in range(wall.shape[0]):
        at[i] = from_local(zones, 0, wall[i])


@functools.cache
def zone_names() -> frozenset[str]:
    """The names of all time zones."""
    return frozenset(available_timezones())


def check_zone(name: object) -> None:
    """Accepts the name of a time zone.

    Raises:
        DataError: with the nearest name, when there is no such zone.
    """
    if name not in zone_names():
        raise DataError(f"timezone={name!r} is no time zone; {known(str(name), zone_names(), 'time zones')}")


def without_zone(place: str) -> DataError:
    """The error on naive times."""
    return DataError(
        f'{place} has times without a time zone; say which zone they are in with timezone="UTC" or another, such as '
        '"Europe/Warsaw" (a date without a time is its midnight there)'
    )


def _localised(wall: NDArray[np.int64], zone: str | None, place: str) -> NDArray[np.int64]:
    """The instants of local wall times (rule 3: the first at which the clock shows that time or a later one)."""
    if zone is None:
        raise without_zone(place)
    if zone == "UTC" or not len(wall):
        return wall
    low, high = instant(int(wall.min())), instant(int(wall.max()))
    at = np.empty_like(wall)
    _to_utc(zones([zone], low - _AROUND, high + _AROUND), wall, at)
    return at


def instants(
    column: pa.ChunkedArray, name: str, zone: str | None, rejects: Rejects, *, bounded: bool = True
) -> pa.ChunkedArray:
    """The column's instants: int64 microseconds since 1970-01-01T00:00Z, missing where it is missing or bad.

    Digits beyond the microsecond are cut off. Values that are no time, and with `bounded` those outside of the years
    1900 to 2199, go to `rejects`.

    Raises:
        DataError: when the column holds something else than times, or naive ones and `zone` is not given.
    """
    import pyarrow as pa

    place = f"{rejects.source}: column {name!r}"
    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    kind = column.type
    if pa.types.is_null(kind):
        return column.cast(pa.int64())
    if pa.types.is_date(kind):
        column, kind = column.cast(pa.timestamp("s")), pa.timestamp("s")
    if pa.types.is_timestamp(kind):
        return _from_timestamps(column, name, zone, rejects, bounded=bounded)
    if pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind):
        return _from_texts(column, name, zone, rejects, bounded=bounded)
    if pa.types.is_integer(kind) or pa.types.is_floating(kind):
        raise _epoch(place, column.drop_null()[0].as_py() if column.null_count < len(column) else 0)
    raise DataError(f"{place} is of type {kind}, not times; times are timestamps or ISO 8601 texts")


def _epoch(place: str, example: object) -> DataError:
    return DataError(
        f"{place} holds numbers such as {example}, which do not say what they count; if they are seconds or "
        'milliseconds since 1970, make times of them first, such as with pandas.to_datetime(..., unit="ms", utc=True)'
    )


def _from_timestamps(
    column: pa.ChunkedArray, name: str, zone: str | None, rejects: Rejects, *, bounded: bool
) -> pa.ChunkedArray:
    import pyarrow as pa
    import pyarrow.compute as pc

    naive, per_second = column.type.tz is None, _PER_SECOND[column.type.unit]
    counts = column.cast(pa.int64())
    low, high = (microseconds(end) // 1_000_000 * per_second for end in (_FIRST, _LAST))
    ends = pc.min_max(counts)
    if ends["min"].as_py() is not None and not (low <= ends["min"].as_py() and ends["max"].as_py() < high):
        outside = pc.fill_null(pc.or_(pc.less(counts, low), pc.greater_equal(counts, high)), fill_value=False)
        if bounded:
            rejects.add(_rows(outside), name, counts.filter(outside).cast(column.type), _OUT_OF_RANGE)
        limit = 2**62 // 1_000_000 * per_second
        beyond = pc.or_(pc.less(counts, -limit), pc.greater(counts, limit)) if not bounded else outside
        counts = pc.if_else(pc.fill_null(beyond, fill_value=False), pa.scalar(None, pa.int64()), counts)
    if per_second == 1_000_000 and not (naive and zone != "UTC"):
        return counts
    place = f"{rejects.source}: column {name!r}"
    chunks = []
    for chunk in counts.chunks:
        missing = chunk.is_null().to_numpy(zero_copy_only=False) if chunk.null_count else None
        values = chunk.fill_null(0).to_numpy()
        at = values // (per_second // 1_000_000) if per_second > 1_000_000 else values * (1_000_000 // per_second)
        chunks.append(pa.array(_localised(at, zone, place) if naive else at, mask=missing))
    if naive and zone is None:
        raise without_zone(place)
    return pa.chunked_array(chunks, pa.int64())


def _rows(mask: pa.ChunkedArray) -> NDArray[np.int64]:
    return np.flatnonzero(mask.to_numpy())


def _from_texts(
    column: pa.ChunkedArray, name: str, zone: str | None, rejects: Rejects, *, bounded: bool
) -> pa.ChunkedArray:
    import pyarrow as pa
    import pyarrow.compute as pc

    place = f"{rejects.source}: column {name!r}"
    column = column.cast(pa.large_string())
    try:
        aware = column.cast(pa.timestamp("us", "UTC"))
    except pa.ArrowInvalid:
        pass  # not all have a zone, or not all are times
    else:
        return _from_timestamps(aware, name, zone, rejects, bounded=bounded)
    zoned, naive = (pc.match_substring_regex(column, pattern) for pattern in (_ZONED, _NAIVE))
    bad = pc.invert(pc.or_(zoned, naive))
    if pc.any(bad).as_py():
        digits = pc.match_substring_regex(column, r"^[0-9]{9,}([.][0-9]+)?$")
        if 2 * pc.sum(digits).as_py() > len(column) - column.null_count:
            raise _epoch(place, column.filter(digits)[0].as_py())
    if zone is None and pc.any(naive).as_py():
        raise without_zone(place)
    cut = pc.replace_substring_regex(column, r"([.]\d{6})\d+", r"\1")
    cut = pc.replace_substring_regex(cut, r" ?UTC$", "Z")
    cut = pc.replace_substring_regex(cut, r"^(\d{4})(\d{2})(\d{2})$", r"\1-\2-\3")
    nothing = pa.scalar(None, pa.large_string())
    bad = pc.or_(bad, no_such_day(pc.if_else(bad, nothing, cut)))
    rejects.add(_rows(pc.fill_null(bad, fill_value=False)), name, column.filter(bad), "is no time in ISO 8601")
    good = pc.if_else(bad, nothing, cut)
    aware = pc.if_else(zoned, good, nothing).cast(pa.timestamp("us", "UTC"))
    found = _from_timestamps(aware, name, zone, rejects, bounded=bounded)
    if pc.any(naive).as_py():
        local = pc.if_else(naive, good, nothing).cast(pa.timestamp("us"))
        found = pc.coalesce(found, _from_timestamps(local, name, zone, rejects, bounded=bounded))
    return found


def no_such_day(texts: pa.ChunkedArray) -> pa.ChunkedArray:
    """Which ISO 8601 texts have a day that their month lacks, such as 2026-02-30; missing ones are missing here."""
    import pyarrow as pa
    import pyarrow.compute as pc

    days = pc.utf8_slice_codeunits(texts, 0, 10)
    late = pc.unique(days.filter(pc.match_substring_regex(days, "(29|30|31)$")))
    return pc.is_in(days, pa.array([day for day in late.to_pylist() if not _is_day(day)], texts.type))


def _is_day(text: str) -> bool:
    try:
        date.fromisoformat(text)
    except ValueError:
        return False
    return True
