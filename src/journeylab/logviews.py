"""An event log as people look at it: one line, small tables, data frames."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from .clock import instant
from .display import block, counted, table

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import NDArray

    from .columnvalues import Kind
    from .eventlog import EventLog

__all__ = ["contacts_of", "events_of", "html_of", "line_of", "summary_of"]

_MOST_ROWS = 20


def line_of(log: EventLog) -> str:
    """The log in one line."""
    aside = f", {counted(len(set(_rejected(log))), 'row')} set aside" if len(log.rejects) else ""
    return (
        f"EventLog({counted(log.n_events, 'event')} of {counted(log.n_contacts, 'contact')}, "
        f"{counted(len(log.event_names), 'kind')}, {log.start_at:%Y-%m-%d} to {log.end_at:%Y-%m-%d}{aside})"
    )


def _rejected(log: EventLog) -> list[tuple[str, int]]:
    return list(zip(log.rejects["source"].to_pylist(), log.rejects["row"].to_pylist(), strict=True))


def summary_of(log: EventLog) -> pd.DataFrame:
    """The kinds of events with their counts and spans."""
    import pandas as pd

    rows = []
    for name in log.event_names:
        stream = log.stream(name)
        ends = (instant(int(stream.at.min())), instant(int(stream.at.max()))) if len(stream.at) else (None, None)
        rows.append((name, len(stream.at), int(np.count_nonzero(np.diff(stream.offsets))), *ends))
    frame = pd.DataFrame(rows, columns=["event", "n_events", "n_contacts", "first_at", "last_at"])
    return frame.astype({"first_at": "datetime64[us, UTC]", "last_at": "datetime64[us, UTC]"})


def _series(values: NDArray[np.float64], kind: Kind, categories: list[str] | None) -> Any:
    """Encoded values as people read them."""
    import pandas as pd

    missing = np.isnan(values)
    if kind == "number":
        return values
    whole = np.where(missing, 0, values).astype(np.int64)
    if kind == "flag":
        return pd.arrays.BooleanArray(whole == 1, missing)
    if kind == "text":
        texts = np.array([*(categories or []), None], object)
        return pd.array(texts[np.where(missing, -1, whole)], dtype="str")
    unit = {"instant": "us", "date": "D"}.get(kind)
    if unit is None:
        return np.full(len(values), None, object)
    times = whole.astype(f"datetime64[{unit}]")
    if kind == "date":
        dates = times.astype(object)
        dates[missing] = None
        return dates
    times[missing] = np.datetime64("NaT")
    return pd.Series(times).dt.tz_localize("UTC")


def contacts_of(log: EventLog, as_of_us: int) -> pd.DataFrame:
    """The contacts with their attributes as of an instant, sorted by id."""
    import pandas as pd

    columns: dict[str, Any] = {"contact": log.contact_ids.to_pandas()}
    for name in log.attribute_names:
        found = log.attribute(name)
        value = found.base.copy()
        n_known = np.add.reduceat(np.append(found.at <= as_of_us, False), found.offsets[:-1]) if len(found.at) else None
        if n_known is not None:
            n_known = np.where(np.diff(found.offsets) > 0, n_known, 0).astype(np.int64)
            changed = np.flatnonzero(n_known)
            value[changed] = found.value[found.offsets[changed] + n_known[changed] - 1]
        columns[name] = _series(value, found.kind, found.categories)
    frame = pd.DataFrame(columns)
    return frame.iloc[np.argsort(log.rank)].reset_index(drop=True)


def events_of(log: EventLog) -> pd.DataFrame:
    """All events, sorted by contact, instant and row."""
    import pandas as pd
    import pyarrow as pa

    offsets, contact, at, row = log._prepared.occurrences
    order = np.lexsort((row, at, log.rank[contact]))
    kinds = np.repeat(np.arange(len(log.event_names)), np.diff(offsets))
    columns: dict[str, Any] = {
        "contact": log.contact_ids.take(pa.array(contact[order])).to_pandas(),
        "event": pd.array(np.array(log.event_names, object)[kinds[order]], dtype="str"),
        "occurred_at": _series(at[order].astype(np.float64), "instant", None),
    }
    if log._prepared.has_received:
        columns["received_at"] = _series(log._received_us[row[order]], "instant", None)
    for name in log.property_names:
        column = log.property(name)
        columns[name] = _series(column.values[row[order]], column.kind, column.categories)
    return pd.DataFrame(columns)


def html_of(log: EventLog) -> str:
    """The log as small static tables: kinds of events, and attributes with the share of contacts that have them."""
    kinds = [
        (one.event, f"{one.n_events:,}", f"{one.n_contacts:,}", f"{one.first_at:%Y-%m-%d}", f"{one.last_at:%Y-%m-%d}")
        for one in log.summary().itertuples()
        if one.n_events
    ]
    parts = [_table(("event", "events", "contacts", "first", "last"), kinds, "kind")]
    if log.attribute_names:
        attributes = []
        for name in log.attribute_names:
            found = log.attribute(name)
            has = ~np.isnan(found.base) | (np.diff(found.offsets) > 0)
            attributes.append((name, found.kind, f"{has.mean():.0%}"))
        parts.append(_table(("attribute", "kind", "contacts with it"), attributes, "attribute"))
    return block(line_of(log), *parts)


def _table(head: tuple[str, ...], rows: Sequence[tuple[str, ...]], what: str) -> str:
    """The first rows as a table, the others counted."""
    more = len(rows) - _MOST_ROWS
    return table(head, rows[:_MOST_ROWS]) + (f"<p>and {counted(more, f'more {what}')}</p>" if more > 0 else "")
