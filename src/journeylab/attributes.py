"""Attributes of contacts as of any instant: the contacts table, then what `attribute_changed` events say (rule 7)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from .columnvalues import Column, Kind, column_floats, column_of, is_marked_text, kind_of_texts, parsed
from .errors import DataError, known
from .eventindex import Stream
from .instants import zone_names
from .interning import intern
from .rejects import Rejects

if TYPE_CHECKING:
    import pyarrow as pa
    from numpy.typing import NDArray

    from .tablesource import Source

__all__ = ["CHANGED", "Attribute", "Changes", "as_texts", "attribute_of", "reject_bad_changes", "reject_bad_zones"]

CHANGED = "attribute_changed"
_NEEDED = ("name", "value")


@dataclass(frozen=True, eq=False)
class Attribute:
    """One attribute of all contacts, with its changes.

    Contact c's changes are those from `offsets[c]` up to `offsets[c + 1]`, by instant and then by row. A value is
    encoded as in `Column`, NaN where it is missing.

    Attributes:
        kind: what the values are.
        categories: the texts by code, `None` unless the kind is `text`.
        base: float64 by contact, the value before the first change.
        offsets: int64, one more than there are contacts.
        at: int64, microseconds since 1970-01-01T00:00Z of each change.
        row: int64, the change's row in the log.
        value: float64, the value from that change on.
    """

    kind: Kind
    categories: list[str] | None
    base: NDArray[np.float64]
    offsets: NDArray[np.int64]
    at: NDArray[np.int64]
    row: NDArray[np.int64]
    value: NDArray[np.float64]

    def part(self, stream: Stream, codes: NDArray[np.int64] | None) -> Attribute:
        """The attribute in a part of the log: `stream` has its changes, `codes` its contacts' codes here (or all)."""
        base = self.base if codes is None else self.base[codes]
        by_row = np.argsort(self.row)
        rows = self.row[by_row]
        place = np.searchsorted(rows, stream.row)
        mine = np.append(rows, -1)[place] == stream.row
        value = self.value[by_row[place[mine]]]
        return Attribute(self.kind, self.categories, base, *stream.where(mine), value)


@dataclass(frozen=True, eq=False)
class Changes:
    """All changes of a log: its `attribute_changed` stream, with the attribute's name and the value's text of each."""

    stream: Stream
    codes: NDArray[np.int32]
    names: list[str]
    values: pa.ChunkedArray

    @classmethod
    def of(cls, stream: Stream, names: pa.ChunkedArray, values: pa.ChunkedArray) -> Changes:
        """The changes of a stream; `names` and `values` are columns by row of the log."""
        import pyarrow as pa

        rows = pa.array(stream.row)
        codes, distinct = intern(names.take(rows))
        return cls(stream, codes, distinct.to_pylist(), as_texts(values.take(rows)))

    def where(self, name: str) -> tuple[Stream, pa.ChunkedArray]:
        """The changes of one attribute and the texts of their values."""
        import pyarrow as pa

        mine = self.codes == (self.names.index(name) if name in self.names else -2)
        return self.stream.where(mine), self.values.filter(pa.array(mine))


def as_texts(values: pa.ChunkedArray) -> pa.ChunkedArray:
    """Values as texts, without dictionaries."""
    import pyarrow as pa

    if pa.types.is_dictionary(values.type):
        values = values.cast(values.type.value_type)
    return values.cast(pa.large_string())


def attribute_of(
    name: str, base: Column | None, changes: Changes | None, zone: str | None, n_contacts: int
) -> Attribute:
    """One attribute: the contacts table's column, where it has one, and its changes.

    The changes are read as what the column is; without one, as what all of them can be read as.
    """
    before = base.values if base is not None else np.full(n_contacts, np.nan)
    kind: Kind = base.kind if base is not None else "unknown"
    categories = base.categories if base is not None else None
    if changes is None:
        nothing = np.empty(0, np.int64)
        no_changes = Stream(np.zeros(n_contacts + 1, np.int64), nothing, nothing)
        return Attribute(kind, categories, before, *no_changes, np.empty(0))
    stream, texts = changes.where(name)
    kind = kind if kind != "unknown" else kind_of_texts(texts)
    if kind not in ("text", "unknown"):
        value = column_floats(parsed(texts, kind, "value", zone, Rejects(f"the changes of {name!r}")))
        return Attribute(kind, None, before, *stream, value)
    codes, distinct = intern(texts)
    code_of = {text: code for code, text in enumerate(categories or [])}
    codes_of_base = [code_of.setdefault(text, len(code_of)) for text in distinct.to_pylist()]
    value = np.array([*codes_of_base, np.nan])[codes]
    return Attribute(kind, list(code_of) if kind == "text" else None, before, *stream, value)


def reject_bad_zones(column: pa.ChunkedArray, name: str, rejects: Rejects) -> None:
    """Rejects rows whose value is no time zone, with the nearest zone's name."""
    import pyarrow as pa

    codes, distinct = intern(as_texts(column))
    texts = distinct.to_pylist()
    wrong = {code: text for code, text in enumerate(texts) if text not in zone_names()}
    rows = np.flatnonzero(np.isin(codes, list(wrong)))
    if len(rows):
        hint = {code: known(text, zone_names(), "time zones").partition(" Known ")[0] for code, text in wrong.items()}
        reasons = [
            f"is no time zone{'; ' + hint[code] if hint[code].startswith('did') else ''}" for code in codes[rows]
        ]
        rejects.add(rows, name, pa.array([texts[code] for code in codes[rows]]), pa.array(reasons))


def reject_bad_changes(
    events: Source, rows: NDArray[np.int64], contacts: pa.Table | None, zone: str | None, rejects: Rejects
) -> None:
    """Rejects `attribute_changed` rows without a name, or with a value that is not of the attribute's kind.

    Raises:
        DataError: when the events have no `name` or no `value`.
    """
    import pyarrow as pa

    lacking = [name for name in _NEEDED if name not in events.columns]
    if lacking:
        raise DataError(
            f"{events.name}: {CHANGED} events need the columns 'name' and 'value'; there is no "
            f"{' and no '.join(map(repr, lacking))}. {known(lacking[0], events.columns, 'columns')}"
        )
    table = events.read(list(_NEEDED)).take(pa.array(rows))
    some = rejects.of(rows)
    codes, distinct = intern(as_texts(table["name"]))
    names, values = distinct.to_pylist(), as_texts(table["value"])
    nameless = np.flatnonzero(codes < 0)
    some.add(nameless, "name", pa.nulls(len(nameless), pa.string()), "is missing")
    base: dict[str, Kind] = {}
    for name in names:
        if contacts is not None and name in contacts.column_names and name != "contact":
            is_text = is_marked_text(contacts, name)
            base[name] = column_of(contacts[name], name, zone, "the contacts", is_text=is_text).kind
    for code, name in enumerate(names):
        mine = np.flatnonzero(codes == code)
        texts = values.take(pa.array(mine))
        here = some.of(mine)
        kind = base.get(name, "unknown")
        parsed(texts, kind if kind != "unknown" else kind_of_texts(texts), "value", zone, here)
        if name == "timezone":
            reject_bad_zones(texts, "value", here)
        some.absorb(here, mine)
    rejects.absorb(some, rows)
