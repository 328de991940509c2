"""Instants as other systems write them: numbers since 1970, American dates, ISO 8601, timestamps of databases."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from journeylab.errors import DataError
from journeylab.instants import instants

from .adapter import Clock

if TYPE_CHECKING:
    import pyarrow as pa

    from journeylab.rejects import Rejects

__all__ = ["instants_by"]

_PER_UNIT: Final = {"s": 1_000_000, "ms": 1_000, "us": 1}
_WHOLE: Final = r"^-?[0-9]{1,17}$"
_DECIMAL: Final = r"^[0-9]{1,10}[.][0-9]{1,6}$"
_LARGEST: Final = 2**62
_AMERICAN: Final = r"^[0-9]{1,2}/[0-9]{1,2}/[0-9]{4} "
_PARTS: Final = re.compile(
    r"(\d{1,2})/(\d{1,2})/(\d{4}) (\d{1,2}):(\d{2})(?::(\d{2})([.]\d{1,6})?)?(?: ?([AaPp])[Mm])?"
)


def instants_by(
    clock: Clock, column: pa.ChunkedArray, name: str, zone: str | None, rejects: Rejects
) -> pa.ChunkedArray:
    """The column's instants: int64 microseconds since 1970-01-01T00:00Z, missing where it is missing or bad.

    Args:
        clock: how they are written.
        column: texts, numbers or timestamps.
        name: what messages call the column.
        zone: of times that do not say theirs, if whoever imports has said it.
        rejects: where values go that are no instants.

    Raises:
        DataError: when times do not say their zone, and neither the format nor anybody else does.

    >>> import pyarrow as pa
    >>> from journeylab.rejects import Rejects
    >>> texts = pa.chunked_array([["9/27/2026 10:15:17 AM", "2026-09-27 16:15:17Z"]])
    >>> instants_by(Clock("text", "Etc/GMT+6", ""), texts, "EventDate", None, Rejects("Opens.csv")).to_pylist()
    [1790525717000000, 1790525717000000]
    """
    import pyarrow as pa

    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    if pa.types.is_string_view(column.type):
        column = column.cast(pa.string())
    kind = column.type
    is_number = pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind)
    is_text = pa.types.is_string(kind) or pa.types.is_large_string(kind)
    if clock.form != "text" and (is_number or is_text):
        return _from_numbers(column, name, _PER_UNIT[clock.form], rejects)
    if is_number:
        column, is_text = column.cast(pa.string()), True
    if is_text:
        column = _in_iso(column)
    try:
        return instants(column, name, zone or clock.zone, rejects)
    except DataError as problem:
        if "without a time zone" not in str(problem):
            raise
        raise DataError(
            f"{rejects.source}: column {name!r} has times without a time zone, and {clock.told}; say which zone they "
            'are in with timezone="UTC" or another, such as "Europe/Warsaw"'
        ) from None


def _from_numbers(column: pa.ChunkedArray, name: str, unit: int, rejects: Rejects) -> pa.ChunkedArray:
    """Counts of some unit since 1970, as numbers or as texts of digits; seconds may have decimals."""
    import pyarrow as pa
    import pyarrow.compute as pc

    kind = column.type
    if pa.types.is_integer(kind):
        counts, bad = _filled(column), np.zeros(len(column), np.bool_)
        at = np.clip(counts, -_LARGEST // unit, _LARGEST // unit).astype(np.int64) * unit
    elif pa.types.is_floating(kind) or pa.types.is_decimal(kind):
        micros = _filled(column.cast(pa.float64(), safe=False)) * unit
        bad = ~(np.abs(micros) < _LARGEST)
        at = np.rint(np.where(bad, 0, micros)).astype(np.int64)
    else:
        texts = pc.fill_null(column, "0")
        whole, decimal = (pc.match_substring_regex(texts, pattern) for pattern in (_WHOLE, _DECIMAL))
        bad = ~pc.or_(whole, decimal).to_numpy()
        good = pc.if_else(pa.array(bad), "0", texts)
        counts = pc.replace_substring_regex(good, "[.].*$", "").cast(pa.int64()).to_numpy()
        fraction = pc.if_else(decimal, pc.replace_substring_regex(good, r"^[^.]*[.]", ""), "0")
        micros = pc.utf8_rpad(fraction, 6, "0").cast(pa.int64()).to_numpy() * unit // 1_000_000
        at = np.clip(counts, -_LARGEST // unit, _LARGEST // unit) * unit + micros
    missing = column.is_null().to_numpy()
    bad &= ~missing
    rejects.add(np.flatnonzero(bad), name, column.filter(pa.array(bad)), "is no number of time since 1970")
    found = pa.chunked_array([pa.array(at, mask=missing | bad)])
    return instants(found.cast(pa.timestamp("us", "UTC")), name, None, rejects)


def _filled(column: pa.ChunkedArray) -> Any:
    import pyarrow.compute as pc

    return pc.fill_null(column, 0).to_numpy()


def _in_iso(texts: pa.ChunkedArray) -> pa.ChunkedArray:
    """American dates as ISO 8601, and every other text as it is."""
    import pyarrow as pa
    import pyarrow.compute as pc

    american = pc.fill_null(pc.match_substring_regex(texts, _AMERICAN), fill_value=False)
    if not pc.any(american).as_py():
        return texts
    distinct = texts.filter(american).unique()
    made = pa.array([_iso(one) for one in distinct.to_pylist()], texts.type)
    return pc.coalesce(made.take(pc.index_in(texts, distinct)), texts)


def _iso(text: str) -> str:
    """An American date and time in ISO 8601; as it is where it is none.

    >>> _iso("9/7/2026 12:05:00 AM"), _iso("13/7/2026 1:00 PM")
    ('2026-09-07T00:05:00', '13/7/2026 1:00 PM')
    """
    parts = _PARTS.fullmatch(text)
    if parts is None:
        return text
    month, day, year, hour, minute = (int(part) for part in parts.groups()[:5])
    half = (parts[8] or "").lower()
    if not 1 <= month <= 12 or (half and not 1 <= hour <= 12):
        return text
    if half:
        hour = hour % 12 + (12 if half == "p" else 0)
    return f"{year}-{month:02}-{day:02}T{hour:02}:{minute:02}:{parts[6] or '00'}{parts[7] or ''}"
