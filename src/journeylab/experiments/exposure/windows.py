"""Where instants fall among a contact's occurrences: what lies before them, and what held as of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from journeylab.eventindex import Stream

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import NDArray

    from journeylab.eventlog import EventLog

__all__ = ["DAY_US", "Bools", "Floats", "Ints", "attribute_as_of", "attribute_column", "microseconds_of", "upto"]

Bools = np.ndarray[tuple[int, ...], np.dtype[np.bool_]]
Ints = np.ndarray[tuple[int, ...], np.dtype[np.int64]]
Floats = np.ndarray[tuple[int, ...], np.dtype[np.float64]]
DAY_US = 86_400_000_000


class _Held(NamedTuple):
    """An attribute's values as of instants, encoded as in `columnvalues.Column`."""

    kind: str
    values: Floats
    categories: list[str] | None


def upto(stream: Stream, contact: Ints, at: Ints) -> Ints:
    """Where, in the stream, each contact's occurrences up to and including an instant end: int64 places.

    They begin at `stream.offsets[contact]`.

    >>> stream = Stream(np.array([0, 1, 3, 3]), np.array([20, 10, 30]), np.array([1, 2, 0]))
    >>> upto(stream, np.array([0, 0, 1, 1, 2]), np.array([19, 20, 10, 99, 99])).tolist()
    [0, 1, 2, 3, 3]
    """
    low, high = stream.offsets[contact], stream.offsets[contact + 1]
    while (is_open := low < high).any():
        middle = (low + high) >> 1
        is_by_then = is_open & (stream.at[np.where(is_open, middle, 0)] <= at)
        low = np.where(is_by_then, middle + 1, low)
        high = np.where(is_open & ~is_by_then, middle, high)
    return np.asarray(low)


def microseconds_of(instants: pd.Series) -> Ints:
    """Aware instants as int64 microseconds since 1970-01-01T00:00Z."""
    return np.asarray(instants.dt.as_unit("us").astype("int64"))


def attribute_as_of(log: EventLog, name: str, contact: Ints, at: Ints) -> _Held:
    """The values of an attribute that contacts had as of instants (rule 7): its kind, float64 values, and its texts.

    Raises:
        DataError: when there is no such attribute.
    """
    found = log.attribute(name)
    values = found.base[contact]
    if len(found.value):
        last = upto(Stream(found.offsets, found.at, found.row), contact, at) - 1
        values = np.where(last >= found.offsets[contact], found.value[np.maximum(last, 0)], values)
    return _Held(found.kind, values, found.categories)


def attribute_column(log: EventLog, name: str, contact: Ints, at: Ints) -> NDArray[np.generic] | pd.Categorical:
    """The values of an attribute as of instants, as a column: numbers float64, texts categorical, missing as NaN.

    Flags are 0 and 1, instants `datetime64[us]` in UTC and dates `datetime64[D]`.

    Raises:
        DataError: when there is no such attribute.
    """
    import pandas as pd

    kind, values, categories = attribute_as_of(log, name, contact, at)
    if categories is not None:
        return pd.Categorical.from_codes(np.where(np.isnan(values), -1, values).astype(np.int64), categories)
    if kind in ("instant", "date"):
        nothing = np.iinfo(np.int64).min  # NaT
        whole = np.where(np.isnan(values), nothing, np.nan_to_num(values).astype(np.int64))
        return whole.astype("datetime64[us]" if kind == "instant" else "datetime64[D]")
    return values
