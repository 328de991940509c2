"""From the rows of a system's table to events, contacts and names of messages, as the table's map says."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from journeylab.attributes import reject_bad_zones
from journeylab.errors import DataError

from .adapter import MARKETING, Adapter, Event, Table
from .clocks import instants_by
from .values import as_flags, as_numbers, as_texts, kept, stacked

if TYPE_CHECKING:
    import pyarrow as pa
    from numpy.typing import NDArray

    from journeylab.rejects import Rejects

__all__ = ["OWN", "Mapped", "Told", "map_rows"]

OWN: Final = (
    "contact", "event", "occurred_at", "received_at", "source_id", "message", "message_id", "link", "purpose",
    "bounce_type", "is_machine", "name", "value",
)  # fmt: skip
"""Names that mean something here: a column of theirs that has one of them stands under another."""
_OF_CHANGES: Final = ("name", "value")
_SEPARATOR: Final = "\x1f"


@dataclass(frozen=True)
class Told:
    """What whoever imports says beside the export.

    Attributes:
        name: of the source, before every id, so that two instances of one system are kept apart.
        zone: of times that do not say theirs.
        purpose: of what is said of consent.
        numbers: properties that are numbers, where the export has texts.
    """

    name: str
    zone: str | None = None
    purpose: str = MARKETING
    numbers: frozenset[str] = frozenset()


@dataclass
class Mapped:
    """What rows are here.

    Attributes:
        events: with all fixed columns and properties, None where there are none.
        contacts: with `contact`, `modified_at` where it is known, and attributes; None where there are none.
        names: names of messages by their ids.
        left_out: how many rows were left out, by table and reason.
        unnamed: columns that the map does not name and that were kept, by table.
        high: the latest instant of the columns by which new rows are asked, in microseconds; None where there is none.
        n_rows: how many rows came.
    """

    events: pa.Table | None = None
    contacts: pa.Table | None = None
    names: dict[str, str] = field(default_factory=dict)
    left_out: Counter[tuple[str, str]] = field(default_factory=Counter)
    unnamed: dict[str, set[str]] = field(default_factory=dict)
    high: int | None = None
    n_rows: int = 0


def map_rows(adapter: Adapter, table: Table, rows: pa.Table, rejects: Rejects, told: Told) -> Mapped:
    """What the rows of a table are; what is wrong with them goes to `rejects`, by row.

    Args:
        adapter: the system's.
        table: which of its tables.
        rows: under the system's own names, as the map has them.
        rejects: of these rows.
        told: what whoever imports says.

    Raises:
        DataError: when columns are missing, two would be one, or times do not say their zone.
    """
    if not table.has_traits:
        return _Rows(adapter, table, rows, rejects, told).mapped()
    whole = _Rows(adapter, table, rows, rejects, told)
    usable = np.flatnonzero(whole.with_contact(whole.first(table.contact)))
    long, place = _each_trait(table, rows.take(usable))
    source = usable[place]
    some = rejects.of(source)
    found = _Rows(adapter, table, long, some, told).mapped()
    rejects.absorb(some, source)
    found.left_out += whole.result.left_out
    found.n_rows = len(rows)
    return found


def _each_trait(table: Table, rows: pa.Table) -> tuple[pa.Table, NDArray[np.int64]]:
    """A row for each attribute that a row sets, as `trait` and `trait_value`, and which row each is of."""
    import pyarrow as pa

    known = [name for name in rows.column_names if _is_spoken_of(table, name)]
    parts, sources = [], []
    for name in rows.column_names:
        if name in known:
            continue
        texts = as_texts(rows[name])
        there = np.flatnonzero(texts.is_valid().to_numpy())
        some = rows.select(known).take(pa.array(there))
        trait = _same(_name(_without(table, name)), len(there))
        parts.append(some.append_column("trait", trait).append_column("trait_value", texts.take(pa.array(there))))
        sources.append(there)
    if not parts:
        nothing = pa.chunked_array([pa.array([], pa.string())])
        return rows.select(known).slice(0, 0).append_column("trait", nothing), np.empty(0, np.int64)
    return pa.concat_tables(parts), np.concatenate(sources)


def _is_spoken_of(table: Table, name: str) -> bool:
    """Whether the table's map says what becomes of a column."""
    beginnings = tuple(one[:-1] for one in table.left_out if one.endswith("*"))
    return name in table.known_columns or name.startswith(beginnings)


def _without(table: Table, name: str) -> str:
    for beginning in table.inside:
        if name.startswith(beginning):
            return name.removeprefix(beginning)
    return name


class _Rows:
    """Some rows of a table, on their way."""

    def __init__(self, adapter: Adapter, table: Table, rows: pa.Table, rejects: Rejects, told: Told) -> None:
        self.adapter, self.table, self.rows, self.rejects, self.told = adapter, table, rows, rejects, told
        self.result = Mapped(n_rows=len(rows))
        self._texts: dict[str, pa.ChunkedArray] = {}
        self._looked_at: dict[str, NDArray[np.bool_]] = {}

    def mapped(self) -> Mapped:
        import pyarrow as pa

        table, result = self.table, self.result
        if table.skipped:
            self._leave_out(np.ones(len(self.rows), np.bool_), table.skipped)
            return result
        if table.names:
            keys, names = (self.texts(one).to_pylist() for one in (table.names.key, table.names.name))
            result.names = {key: name for key, name in zip(keys, names, strict=True) if key and name}
        if not table.contact:
            return result
        contact = self.first(table.contact)
        usable = self.with_contact(contact)
        if not usable.any():
            return result
        properties = self._properties()
        if table.is_contacts:
            result.contacts = self._contacts(contact, usable, properties)
        parts = [
            (where, self._events(one, where, contact, properties)) for one, where in self._sorted(usable) if where.any()
        ]
        good = self.rejects.kept(len(self.rows))
        made = [part.filter(pa.array(good[where])) for where, part in parts]
        result.events = stacked(made) if made else None
        if result.contacts is not None:
            result.contacts = result.contacts.filter(pa.array(good[usable]))
        return result

    # Columns

    def column(self, name: str) -> pa.ChunkedArray:
        """A column; missing everywhere where the export does not have it."""
        import pyarrow as pa

        if name in self.rows.column_names:
            return self.rows[name]
        return pa.chunked_array([pa.nulls(len(self.rows), pa.string())])

    def texts(self, name: str) -> pa.ChunkedArray:
        if name not in self._texts:
            self._texts[name] = as_texts(self.column(name))
        return self._texts[name]

    def first(self, names: tuple[str, ...]) -> pa.ChunkedArray:
        """The first value of several columns, as texts."""
        import pyarrow.compute as pc

        columns = [self.texts(name) for name in names]
        return pc.coalesce(*columns) if len(columns) > 1 else columns[0]

    def _are(self, tests: Mapping[str, tuple[str, ...]], combine: Callable[[Any, Any], Any], start: Any) -> Any:
        import pyarrow as pa
        import pyarrow.compute as pc

        found = start
        for name, values in tests.items():
            texts = pc.fill_null(pc.utf8_lower(self.texts(name)), "")
            wanted = [value.lower() for value in values]
            among = pc.is_in(texts, pa.array([one for one in wanted if not one.endswith("*")], pa.string())).to_numpy()
            for one in wanted:
                if one.endswith("*"):
                    among = among | pc.starts_with(texts, one[:-1]).to_numpy()
            found = combine(found, among)
        return found

    def instants(self, name: str, where: NDArray[np.bool_]) -> pa.ChunkedArray:
        """The instants of a column in some rows, microseconds."""
        import pyarrow as pa

        rows = np.flatnonzero(where)
        some = self.rejects.of(rows)
        clock = self.adapter.clock_of(self.table)
        found = instants_by(clock, self.column(name).filter(pa.array(where)), name, self.told.zone, some)
        if self._newly(name, where).any():  # two events of one row say once what is wrong with its instant
            self.rejects.absorb(some, rows)
        return found

    def _newly(self, what: str, where: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """Those of the rows that were not looked at for this before."""
        before = self._looked_at.setdefault(what, np.zeros(len(where), np.bool_))
        newly = where & ~before
        self._looked_at[what] = before | where
        return newly

    # Rows

    def _leave_out(self, where: NDArray[np.bool_], reason: str) -> None:
        if where.any():
            self.result.left_out[self.table.name, reason] += int(where.sum())

    def with_contact(self, contact: pa.ChunkedArray) -> NDArray[np.bool_]:
        """The rows that have a contact; the others are left out where that is usual, else at fault."""
        nobody: NDArray[np.bool_] = contact.is_null().to_numpy()
        if self.table.anonymous:
            self._leave_out(nobody, self.table.anonymous)
        else:
            self._missing(nobody, self.table.contact[0])
        return ~nobody

    def _missing(self, where: NDArray[np.bool_], name: str) -> None:
        import pyarrow as pa

        rows = np.flatnonzero(self._newly(f"{name} is missing", where))
        self.rejects.add(rows, name, pa.nulls(len(rows), pa.string()), "is missing")

    def _sorted(self, usable: NDArray[np.bool_]) -> list[tuple[Event, NDArray[np.bool_]]]:
        """What the rows are, each with which ones; rows that are nothing known are at fault, or left out."""
        import pyarrow as pa

        table = self.table
        found = []
        rest = usable.copy()
        for event in table.events:
            if not event.name:
                continue
            where = self._are(event.when, np.logical_and, usable.copy())
            where &= ~self._are(event.unless, np.logical_or, np.zeros(len(usable), np.bool_))
            rest &= ~where
            found.append((event, where))
        rest = self._pass_over(rest, exactly=True)
        if table.named_by:
            own = next(event for event in table.events if not event.name)
            where = rest & self._are(own.when, np.logical_and, usable.copy())
            rest &= ~where
            found.append((own, where))
        rest = self._pass_over(rest, exactly=False)
        if table.sorted_by:
            rows = np.flatnonzero(rest)
            values = self.texts(table.sorted_by).take(pa.array(rows))
            self.rejects.add(rows, table.sorted_by, values, f"is no kind of {table.name} that is documented")
        return found

    def _pass_over(self, rest: NDArray[np.bool_], *, exactly: bool) -> NDArray[np.bool_]:
        """What is left of some rows without those that the map leaves out, by exact values or by beginnings."""
        for value, reason in self.table.passed_over.items():
            if value.endswith("*") != exactly:
                among = rest & self._are({self.table.sorted_by: (value,)}, np.logical_and, rest.copy())
                self._leave_out(among, reason)
                rest = rest & ~among
        return rest

    def _events(
        self, event: Event, where: NDArray[np.bool_], contact: pa.ChunkedArray, properties: Mapping[str, Any]
    ) -> pa.Table:
        import pyarrow as pa

        table, chosen = self.table, pa.array(where)
        n = int(where.sum())
        at = self.instants(event.at, where)
        self._missing_where(where, self.column(event.at), event.at)
        names = self.texts(table.named_by).filter(chosen) if not event.name else _same(event.name, n)
        if not event.name:
            self._missing_where(where, self.texts(table.named_by), table.named_by)
        micros = pa.timestamp("us", "UTC")
        columns = {
            "contact": contact.filter(chosen),
            "event": names,
            "occurred_at": at.cast(micros),
            "source_id": self._ids(names, at, event, where),
        }
        if table.received_at:
            columns["received_at"] = self.instants(table.received_at, where).cast(micros)
        if table.message and (event.has_message or not event.name):
            has_names = any(one.names for one in self.adapter.tables)
            columns["message_id" if has_names else "message"] = self.first(table.message).filter(chosen)
        for name, column in () if table.is_contacts else properties.items():
            if name not in _OF_CHANGES or event.name in ("", "attribute_changed"):
                columns[name] = column.filter(chosen)
        for name, text in event.said.items():
            columns[name] = _same(text, n)
        if event.is_consent:
            columns["purpose"] = _same(self.told.purpose, n)
        self._note_high(where, at)
        return pa.table(columns)

    def _missing_where(self, where: NDArray[np.bool_], column: pa.ChunkedArray, name: str) -> None:
        self._missing(where & column.is_null().to_numpy(), name)

    def _note_high(self, where: NDArray[np.bool_], at: pa.ChunkedArray) -> None:
        """Remembers the latest instant of the columns by which a database is asked for new rows."""
        import pyarrow.compute as pc

        columns = [self.instants(one, where) for one in self.table.since] or [at]
        latest = [value for one in columns if (value := pc.max(one).as_py()) is not None]
        if latest:
            self.result.high = max(latest[0] if self.result.high is None else self.result.high, *latest)

    def _ids(
        self, names: pa.ChunkedArray, at: pa.ChunkedArray, event: Event, where: NDArray[np.bool_]
    ) -> pa.ChunkedArray:
        """The ids of events: the source, its table, what tells the row from others there, and the event."""
        import pyarrow as pa
        import pyarrow.compute as pc

        parts = [
            at.cast(pa.string()) if name == event.at else self.texts(name).filter(pa.array(where))
            for name in self.table.key
        ]
        if len(parts) == 1:
            self._missing_where(where, self.texts(self.table.key[0]), self.table.key[0])
            own = parts[0]
        else:
            joined = pc.binary_join_element_wise(*parts, _SEPARATOR, null_handling="replace", null_replacement="")
            own = pa.chunked_array([pa.array([_digest(one) for one in joined.to_pylist()], pa.string())])
        before = f"{self.told.name}/{self.table.name}/"
        return pc.binary_join_element_wise(before, own, "/", names, "", null_handling="replace", null_replacement="")

    # What is kept beside

    def _properties(self) -> dict[str, pa.ChunkedArray]:
        """The properties of all rows, by our names."""
        import pyarrow.compute as pc

        table = self.table
        found: dict[str, list[pa.ChunkedArray]] = {}
        for theirs, ours in table.properties.items():
            if theirs in self.rows.column_names:
                found.setdefault(ours, []).append(self._typed(ours, theirs))
        for theirs in self.rows.column_names:
            if not _is_spoken_of(table, theirs):
                ours = self._own_name(theirs, found)
                found[ours] = [self._typed(ours, theirs)]
                if found[ours][0].null_count < len(self.rows):
                    self.result.unnamed.setdefault(table.name, set()).add(ours)
        return {ours: pc.coalesce(*ones) if len(ones) > 1 else ones[0] for ours, ones in found.items()}

    def _own_name(self, theirs: str, taken: Mapping[str, Any]) -> str:
        """The name that a column has here which no map names."""
        candidates = [_name(_without(self.table, theirs)), _name(theirs), f"properties_{_name(theirs)}"]
        for one in candidates:
            if one not in taken and one not in OWN and one != "modified_at":
                return one
        raise DataError(
            f"{self.rejects.source}: column {theirs!r} would have a name here that another has, too; rename it there, "
            "or leave it out"
        )

    def _typed(self, ours: str, theirs: str) -> pa.ChunkedArray:
        column = self.column(theirs)
        if ours in self.table.flags:
            return as_flags(column, theirs, self.rejects)
        if ours in self.table.numbers or ours in self.told.numbers:
            return as_numbers(column, theirs, self.rejects)
        if ours in OWN:
            return as_texts(column)
        return kept(column)

    def _contacts(
        self, contact: pa.ChunkedArray, usable: NDArray[np.bool_], attributes: Mapping[str, pa.ChunkedArray]
    ) -> pa.Table:
        import pyarrow as pa

        chosen = pa.array(usable)
        columns = {"contact": contact.filter(chosen)}
        if self.table.modified_at and self.table.modified_at in self.rows.column_names:
            at = self.instants(self.table.modified_at, usable)
            columns["modified_at"] = at.cast(pa.timestamp("us", "UTC"))
            if not self.table.events:
                self._note_high(usable, at)
        if "timezone" in attributes:
            reject_bad_zones(attributes["timezone"], "timezone", self.rejects)
        columns |= {name: column.filter(chosen) for name, column in attributes.items()}
        return pa.table(columns)


def _same(text: str, n: int) -> pa.ChunkedArray:
    import pyarrow as pa

    return pa.chunked_array([pa.repeat(pa.scalar(text), n)])


def _digest(text: str) -> str:
    return sha256(text.encode()).hexdigest()[:32]


def _name(text: str) -> str:
    """A name that conditions can say: letters, digits and underscores.

    >>> _name("Campaign Name"), _name("$value"), _name("3d")
    ('Campaign_Name', 'value', '_3d')
    """
    made = re.sub(r"\W+", "_", text.removeprefix("$")) or "_"
    return f"_{made}" if made[0].isdigit() else made
