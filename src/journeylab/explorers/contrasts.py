"""What distinguishes a segment: the share of each attribute's value inside it, against that among all others."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from journeylab.clock import instant
from journeylab.errors import DataError, known
from journeylab.language import date_text, formatted, say
from journeylab.segments import instant_in, membership
from journeylab.visits import wilson_interval

if TYPE_CHECKING:
    from datetime import datetime

    from numpy.typing import NDArray

    from journeylab.eventlog import EventLog
    from journeylab.segments import Segments

__all__ = ["attribute_contrasts", "contrasts_of", "members"]

_MOST_VALUES = 12
_N_BINS = 4
_COLUMNS = [
    "attribute", "value", "n_inside", "inside_share", "inside_low", "inside_high", "n_outside", "outside_share",
    "outside_low", "outside_high", "difference", "low", "high",
]  # fmt: skip


def attribute_contrasts(
    log: EventLog,
    segments: Segments,
    of: str | None = None,
    as_of: datetime | str | None = None,
    *,
    at_least: float = 0.5,
) -> pd.DataFrame:
    """How often each value of each attribute is found inside a segment and among all others, greatest difference first.

    This describes; it says nothing of causes. Texts count by value, those beyond the twelve most frequent together;
    numbers, dates and instants by quarters of all contacts who have one; what is missing is a value of its own.

    Args:
        log: the event log.
        segments: segments as for `journeylab.membership`.
        of: the name of the one that is looked at; it may be left out where there is only one.
        as_of: an aware instant or ISO text within the log; by default the log's end. Attributes are those of then.
        at_least: the least membership that counts as being inside.

    Returns:
        A frame: `attribute` and `value` (text); `n_inside`, `inside_share`, `inside_low`, `inside_high`: how many
        inside have it, their share of all inside and its 95 % interval (Wilson's); `n_outside` and so on likewise;
        `difference` of the two shares with `low` and `high`, its 95 % interval (Newcombe 1998, Statistics in Medicine
        17, 873-890, method 10). Shares of nobody are missing. Intervals hold for each row alone: of many rows, the
        first differ by chance as well.

    Raises:
        DefinitionError: when a segment is at fault or does not fit the log.
        DataError: when there is no such segment, or `as_of` lies outside the log.

    >>> from journeylab import EventLog
    >>> at = "2026-03-01T09:00:00Z"
    >>> rows = [{"contact": n, "event": "visit", "occurred_at": at} for n in range(6)]
    >>> people = [{"contact": n, "plan": "paid" if n < 2 else "trial"} for n in range(6)]
    >>> log = EventLog.from_rows(rows, people)
    >>> attribute_contrasts(log, 'plan == "paid"')[["value", "n_inside", "n_outside", "difference"]]
       value  n_inside  n_outside  difference
    0   paid         2          0         1.0
    1  trial         0          4        -1.0
    """
    inside, exists = members(log, segments, of, as_of, at_least)
    at_us = instant_in(log, as_of, "as_of")
    return contrasts_of(values_of(log, at_us), inside, exists)


def members(
    log: EventLog, segments: Segments, of: str | None, as_of: datetime | str | None, at_least: float = 0.5
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Who is inside a segment, and who exists, among all contacts sorted by id."""
    table = membership(log, segments, as_of)
    names = list(table.columns[1:])
    if of is None:
        if len(names) > 1:
            raise DataError(f"there are several segments; name one of them with of=: {', '.join(names)}")
        of = names[0]
    if of not in names:
        raise DataError(f"of={of!r}: {known(of, names, 'segments')}")
    exists = log.first_at[np.argsort(log.rank)] <= instant_in(log, as_of, "as_of")
    inside = np.zeros(len(exists), np.bool_)
    inside[np.flatnonzero(exists)] = table[of].to_numpy() >= at_least
    return inside, exists


def values_of(log: EventLog, at_us: int) -> dict[str, tuple[NDArray[np.int64], list[str]]]:
    """The attributes of all contacts, sorted by id, as of an instant: codes and the value of each code, as text."""
    table = log.contacts(instant(at_us))
    return {name: _coded(table[name]) for name in table.columns[1:]}


def contrasts_of(
    values: dict[str, tuple[NDArray[np.int64], list[str]]], inside: NDArray[np.bool_], exists: NDArray[np.bool_]
) -> pd.DataFrame:
    """As `attribute_contrasts`, of attributes that `values_of` has prepared."""
    n_in, n_out = int(inside.sum()), int((exists & ~inside).sum())
    parts = []
    for name, (codes, labels) in values.items():
        counts_in = np.bincount(codes[inside], minlength=len(labels))
        counts_out = np.bincount(codes[exists & ~inside], minlength=len(labels))
        seen = counts_in + counts_out > 0
        value = pd.array(np.array(labels, object)[seen], dtype="str")
        parts.append(
            pd.DataFrame(
                {"attribute": name, "value": value, "n_inside": counts_in[seen], "n_outside": counts_out[seen]}
            )
        )
    if not parts:
        return pd.DataFrame({name: pd.Series(dtype=_dtype(name)) for name in _COLUMNS})
    table = pd.concat(parts, ignore_index=True)
    for side, of in (("inside", n_in), ("outside", n_out)):
        n = table[f"n_{side}"].to_numpy()
        table[f"{side}_share"] = n / of if of else np.nan
        table[f"{side}_low"], table[f"{side}_high"] = wilson_interval(n, np.full(len(n), of))
    share, other = table["inside_share"], table["outside_share"]
    table["difference"] = share - other
    table["low"] = table["difference"] - np.hypot(share - table["inside_low"], table["outside_high"] - other)
    table["high"] = table["difference"] + np.hypot(table["inside_high"] - share, other - table["outside_low"])
    order = table["difference"].abs().sort_values(ascending=False, kind="stable").index
    return table.loc[order, _COLUMNS].reset_index(drop=True)


def _dtype(name: str) -> str:
    return "str" if name in ("attribute", "value") else "int64" if name.startswith("n_") else "float64"


def _coded(column: Any) -> tuple[NDArray[np.int64], list[str]]:
    missing = say("(missing)")
    if pd.api.types.is_bool_dtype(column) or isinstance(column.dropna().iloc[0] if column.notna().any() else "", str):
        codes, found = pd.factorize(column, sort=True)
        counts = np.bincount(codes[codes >= 0], minlength=len(found))
        kept = np.sort(np.argsort(-counts, kind="stable")[:_MOST_VALUES])
        place = np.full(len(found) + 1, len(kept), np.int64)
        place[kept] = np.arange(len(kept))
        place[-1] = len(kept) + 1
        labels = [_label(found[k]) for k in kept]
        return place[codes], [*labels, say("(other)"), missing]
    numbers = pd.to_datetime(column, utc=True) if not pd.api.types.is_numeric_dtype(column) else column
    values = numbers.to_numpy(dtype="float64", na_value=np.nan) if pd.api.types.is_numeric_dtype(numbers) else (
        numbers.astype("datetime64[us, UTC]").astype("int64").to_numpy().astype(np.float64)
    )  # fmt: skip
    values = np.where(column.isna(), np.nan, values)
    there = values[~np.isnan(values)]
    if not there.size:
        return np.zeros(len(values), np.int64), [missing]
    # Each bound is a value that somebody has, so that a bin says what is in it.
    bounds = np.unique(np.quantile(there, np.linspace(0, 1, _N_BINS + 1), method="closest_observation"))
    codes = np.clip(np.searchsorted(bounds, values, side="right") - 1, 0, max(0, len(bounds) - 2))
    words = _number if numbers is column else _day
    ends = [words(one) for one in bounds]
    labels = [say("{low} to below {high}", low=a, high=b) for a, b in pairwise(ends[:-1])]
    labels.append(say("{low} to {high}", low=ends[-2], high=ends[-1]) if len(ends) > 1 else ends[0])
    return np.where(np.isnan(values), len(labels), codes), [*labels, missing]


def _label(value: Any) -> str:
    return (say("yes") if value else say("no")) if isinstance(value, bool | np.bool_) else str(value)


def _number(value: float) -> str:
    return formatted(value, ",.4g")


def _day(at_us: float) -> str:
    return date_text(instant(int(at_us)))
