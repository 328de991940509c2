"""What the columns of a table are, seen in all of its parts before any of them is written.

A bucket has only some of a column's values. So that a column means the same in each, it is written as what the values
of all of them are: numbers, flags, dates and instants by Arrow's types, texts marked as such.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from journeylab.attributes import CHANGED, as_texts
from journeylab.columnvalues import Kind, TextsSeen, fitting, is_marked_text, is_text_type, marked_texts, parsed
from journeylab.errors import DataError
from journeylab.rejects import Rejects

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["ColumnsSeen", "Written", "attribute_kinds", "changes_in", "plain", "with_kinds"]

_UTC: Final = "UTC"


def _arrow(name: str) -> Callable[[], pa.DataType]:
    def made() -> pa.DataType:
        import pyarrow as pa

        return pa.timestamp("us", _UTC) if name == "timestamp" else getattr(pa, name)()

    return made


_TYPES: Final[dict[Kind, Callable[[], pa.DataType]]] = {
    "number": _arrow("float64"), "flag": _arrow("bool_"), "date": _arrow("date32"), "instant": _arrow("timestamp"),
    "text": _arrow("string"), "unknown": _arrow("null"),
}  # fmt: skip
"""Arrow's type of a column of each kind."""


@dataclass(frozen=True)
class Written:
    """How a column is written.

    Attributes:
        name: the column's.
        kind: what its texts are read as; None where its values are no texts, or stay as they are.
        is_marked: whether it is marked as texts.
        stays: whether it stays a text, although its texts are read, to find bad ones.
    """

    name: str
    kind: Kind | None
    is_marked: bool = False
    stays: bool = False

    def column(self, column: pa.ChunkedArray, zone: str | None, rejects: Rejects) -> pa.ChunkedArray:
        """A part of the column as it is written; bad texts go to `rejects`."""
        import pyarrow as pa

        column = plain(column)
        if self.kind is None:
            return column
        if self.kind == "unknown":
            return pa.chunked_array([pa.nulls(len(column))])
        if self.kind == "text":
            return column.cast(pa.string())
        found = parsed(column, self.kind, self.name, _UTC if self.stays else zone, rejects)
        if self.stays:
            return column.cast(pa.string())
        return found.cast(pa.timestamp("us", _UTC)) if self.kind == "instant" else found


def plain(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """A column without dictionaries, which differ from part to part."""
    import pyarrow as pa

    return column.cast(column.type.value_type) if pa.types.is_dictionary(column.type) else column


class ColumnsSeen:
    """What some columns of a source are, as far as its parts were seen.

    Args:
        names: the columns.
        zone: of times that do not say theirs.
        knows_only_texts: whether the source does, as a CSV file: then what most values of a column are counts.
    """

    def __init__(self, names: Iterable[str], zone: str | None, *, knows_only_texts: bool = False) -> None:
        self._names, self._zone, self._only_texts = list(names), zone, knows_only_texts
        self._seen: dict[str, TextsSeen] = {}
        self._unreadable: set[tuple[str, Kind]] = set()
        self._naive: set[str] = set()
        self._marked: set[str] = set()

    def add(self, table: pa.Table) -> None:
        """Looks at a part."""
        for name in self._names:
            column = plain(table[name])
            if not is_text_type(column.type):
                continue
            if is_marked_text(table, name):
                self._marked.add(name)
            distinct = column.unique()
            # Only `most` of a column asks how often each text is there.
            self._seen.setdefault(name, TextsSeen()).add(column if self._only_texts else distinct)
            self._read(name, distinct)

    def plain(self) -> Any:
        """What was seen, as JSON for `join`."""
        seen = {name: one.plain() for name, one in self._seen.items()}
        return [seen, sorted(self._unreadable), sorted(self._naive), sorted(self._marked)]

    def join(self, plain: Any) -> None:
        """Takes in what was seen of the same columns elsewhere."""
        seen, unreadable, naive, marked = plain
        for name, texts in seen.items():
            self._seen.setdefault(name, TextsSeen()).join(texts)
        self._unreadable.update((name, kind) for name, kind in unreadable)
        self._naive.update(naive)
        self._marked.update(marked)

    def _read(self, name: str, distinct: pa.Array) -> None:
        """Notes whether texts of a part that look like dates or instants are none, or do not say their zone."""
        import pyarrow as pa

        for kind in ("date", "instant"):
            likely = pa.chunked_array([fitting(distinct, kind)])
            rejects = Rejects("a part")
            try:
                parsed(likely, kind, name, self._zone, rejects)
            except DataError:
                self._naive.add(name)
            if rejects:
                self._unreadable.add((name, kind))

    def written(self, as_texts: Sequence[str] = ()) -> list[Written]:
        """How each column is written; those `as_texts` as texts, whatever they look like."""
        return [self._written(name, as_text=name in as_texts) for name in self._names]

    def _written(self, name: str, *, as_text: bool) -> Written:
        if name not in self._seen:
            return Written(name, None)
        kind = "text" if name in self._marked else self._seen[name].kind(most=self._only_texts and not as_text)
        if as_text:
            return Written(name, "text", is_marked=kind not in ("date", "instant"))
        if self._only_texts:  # whether instants have zones, and which, matters only to those who use them
            return Written(name, kind, is_marked=kind == "text", stays=kind == "instant" and name in self._naive)
        if kind in ("date", "instant"):
            if name in self._naive:
                return Written(name, None)
            return Written(name, "text", is_marked=True) if (name, kind) in self._unreadable else Written(name, kind)
        return Written(name, "unknown" if kind == "unknown" else "text", is_marked=kind != "unknown")


def changes_in(part: pa.Table, event: str | None) -> Iterator[tuple[str, pa.ChunkedArray]]:
    """The texts of the new values in a part of the events, for each attribute that changes."""
    import pyarrow.compute as pc

    if event is not None or not {"event", "name", "value"} <= {*part.column_names}:
        return
    mine = part.select(["name", "value"]).filter(pc.equal(plain(part["event"]), CHANGED))
    names = plain(mine["name"])
    for name in names.unique().drop_null().to_pylist():
        yield str(name), as_texts(mine["value"].filter(pc.equal(names, name)))


def attribute_kinds(
    attributes: Sequence[Written], types: Mapping[str, pa.DataType], changes: Mapping[str, TextsSeen]
) -> pa.Table:
    """A contacts table without rows that says what each attribute is, also those known from changes only.

    `types` are those of the attributes' columns, `changes` what the texts of each attribute's changes are.
    """
    import pyarrow as pa

    nothing: dict[str, Any] = {
        one.name: one.column(pa.chunked_array([], types[one.name]), None, Rejects("")) for one in attributes
    }
    marked = [one.name for one in attributes if one.is_marked]
    for name, seen in changes.items():
        if name not in nothing or pa.types.is_null(nothing[name].type):
            kind = seen.kind()
            nothing[name] = pa.chunked_array([], _TYPES[kind]())
            marked += [name] if kind == "text" else []
    return marked_texts(pa.table(nothing), marked)


def with_kinds(contacts: pa.Table, kinds: pa.Table) -> pa.Table:
    """Contacts with a column for each attribute that `attribute_kinds` knows, so that it means what it does there."""
    import pyarrow as pa

    for name in kinds.column_names:
        one = kinds.schema.field(name)
        if name not in contacts.column_names:
            contacts = contacts.append_column(one, pa.nulls(len(contacts), one.type))
        elif pa.types.is_null(contacts.schema.field(name).type):
            place = contacts.column_names.index(name)
            contacts = contacts.set_column(place, one, pa.nulls(len(contacts), one.type))
    return contacts
