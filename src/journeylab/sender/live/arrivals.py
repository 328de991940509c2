"""Events and contacts that come as a table: a file, a data frame, an Arrow table, rows in Python.

Columns of events are `contact`, `event`, and where they are known `occurred_at` and `id`, the source's own id of the
event: what comes twice with one id is taken once. All others are properties; they may stand in one object,
`properties`, too. Columns of contacts are `contact`, `address`, and attributes (or an object `attributes`). A row that
is no event or no contact is refused with its number and the reason, and the others are taken.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeAlias

import numpy as np

from journeylab.clock import instant
from journeylab.columnvalues import kind_of_texts, parsed
from journeylab.errors import DataError, known
from journeylab.instants import instants
from journeylab.logsource import open_source

from .intake import Incoming, Person, Received, Refused, receive, receive_people
from .kinds import known_names, property_kinds

if TYPE_CHECKING:
    import pyarrow as pa
    from numpy.typing import NDArray

    from journeylab.sender.declarations import Declarations
    from journeylab.sender.settings import Settings
    from journeylab.sender.store import Store
    from journeylab.tablesource import Source

    from .ownership import Owners

__all__ = ["AT_ONCE", "Arrived", "Reading", "read_contacts", "read_events", "receive_tables", "take"]

AT_ONCE: Final = 5000
"""How many rows are received in one transaction."""
Row: TypeAlias = Incoming | Person
_Columns: TypeAlias = Mapping[str, Sequence[Any]]


class Arrived(NamedTuple):
    """What became of tables of events and of contacts."""

    events: Received
    contacts: Received


@dataclass(frozen=True, eq=False)
class Reading:
    """A table of events or of contacts that was read.

    Attributes:
        source: the table.
        refused: what cannot be read, by the number that people give to its row, from 0, or its line in a file.
        numbers: the numbers of the other rows, int64.
        table: the other rows, as values that intake takes.
        make: makes an event or a contact of the columns, an index into them, and the row's number.
        left_out: how many values there are in columns that nobody may use, by name; they were not looked at.
    """

    source: Source
    refused: tuple[Refused, ...]
    numbers: NDArray[np.int64]
    table: pa.Table
    make: Callable[[_Columns, int, int], Row]
    left_out: Mapping[str, int] = field(default_factory=dict)

    def parts(self) -> Iterator[tuple[list[int], list[Row]]]:
        """The rows in their order with their numbers, `AT_ONCE` at a time."""
        for start in range(0, len(self.table), AT_ONCE):
            part = self.table.slice(start, AT_ONCE)
            columns = {name: part[name].to_pylist() for name in part.column_names}
            numbers = self.numbers[start : start + AT_ONCE].tolist()
            yield numbers, [self.make(columns, i, number) for i, number in enumerate(numbers)]

    def rows_of(self, refused: Collection[Refused]) -> pa.Table:
        """The rows that were refused as they came, after the columns `row` and `reason`; of lost lines these alone."""
        import pyarrow as pa

        given = self.source.read(self.source.columns)
        place = {number: i for i, number in enumerate(self.source.rejects.number(np.arange(len(given))).tolist())}
        ordered = sorted(refused)
        cells = given.take(pa.array([place.get(one.place) for one in ordered], pa.int64()))
        columns = {name: cells[name] for name in given.column_names if name not in ("row", "reason")}
        said = {"row": [one.place for one in ordered], "reason": [one.reason for one in ordered]}
        return pa.table({**said, **columns})


def read_events(
    source: Source,
    kinds: Mapping[str, str],
    zone: str | None = None,
    id_of: Callable[[int], str] | None = None,
    declared: Declarations | None = None,
) -> Reading:
    """A table of events.

    Args:
        source: the table.
        kinds: the kinds of properties by name, as far as they are known.
        zone: of times that do not say theirs.
        id_of: the id of the event in a row, by its number, where there is no column `id`.
        declared: what is kept of events; by default everything.

    Raises:
        DataError: when a column is missing or of a type that nothing can have, or times are naive.
    """
    table = _unfolded(source, ("contact", "event"), "properties")
    if "received_at" in table.column_names:
        raise DataError(
            f"{source.name}: there is a column 'received_at', which the sender notes itself; leave it out, "
            "or give it another name"
        )
    names = [name for name in table.column_names if name not in ("contact", "event", "occurred_at", "id")]
    left_out: Counter[str] = Counter()
    if declared is not None:
        for name in (name for name in names if name not in declared.kept_anywhere):
            left_out.update(_n_by_event(table["event"], table[name], name))
        names = [name for name in names if name in declared.kept_anywhere]
    columns = {name: _texts(source, table, name) for name in ("contact", "event", "id") if name in table.column_names}
    if "occurred_at" in table.column_names:
        columns["occurred_at"] = instants(table["occurred_at"], "occurred_at", zone, source.rejects)
    columns |= {name: _values(source, table[name], name, kinds, zone) for name in names}

    def make(of: _Columns, i: int, number: int) -> Incoming:
        at = of["occurred_at"][i] if "occurred_at" in of else None
        source_id = of["id"][i] if "id" in of else None
        if source_id is None and id_of is not None:
            source_id = id_of(number)
        properties = {name: value for name in names if (value := of[name][i]) is not None}
        return Incoming(of["contact"][i], of["event"][i], None if at is None else instant(at), properties, source_id)

    return _reading(source, columns, len(table), make, left_out)


def read_contacts(
    source: Source, kinds: Mapping[str, str], zone: str | None = None, declared: Declarations | None = None
) -> Reading:
    """A table of contacts; see `read_events`."""
    from journeylab.sender.declarations import named

    table = _unfolded(source, ("contact",), "attributes")
    names = [name for name in table.column_names if name not in ("contact", "address")]
    left_out: Counter[str] = Counter()
    if declared is not None:
        for name in (name for name in names if name not in declared.kept):
            left_out[named(name)] += len(table) - table[name].null_count
        names = [name for name in names if name in declared.kept]
    columns = {name: _texts(source, table, name) for name in ("contact", "address") if name in table.column_names}
    columns |= {name: _values(source, table[name], name, kinds, zone) for name in names}

    def make(of: _Columns, i: int, _: int) -> Person:
        attributes = {name: value for name in names if (value := of[name][i]) is not None}
        return Person(of["contact"][i], of["address"][i] if "address" in of else None, attributes)

    return _reading(source, columns, len(table), make, +left_out)


def take(
    store: Store,
    reading: Reading,
    is_stopping: Callable[[], bool] = lambda: False,
    declared: Declarations | None = None,
    owners: Owners | None = None,
) -> Received | None:
    """What became of the rows of a table, each part of which is received in a transaction of its own.

    Refused rows have the numbers that people give them. None when it was stopped before the last part.
    """
    n_new, n_repeated, refused, left_out = 0, 0, [*reading.refused], Counter(reading.left_out)
    conflicts: Counter[str] = Counter()
    if declared is not None:
        with store.writing() as connection:
            declared.note(connection, reading.left_out, store.now(connection))
    for numbers, rows in reading.parts():
        if is_stopping():
            return None
        with store.writing() as connection:
            now = store.now(connection)
            if isinstance(rows[0], Incoming):
                got = receive(connection, rows, now, declared, owners)  # type: ignore[arg-type]
            else:
                got = receive_people(connection, rows, now, declared, owners)  # type: ignore[arg-type]
        n_new, n_repeated = n_new + got.n_new, n_repeated + got.n_repeated
        refused += [Refused(numbers[one.place], one.reason) for one in got.refused]
        left_out.update(got.left_out)
        conflicts.update(got.conflicts)
    return Received(n_new, n_repeated, tuple(sorted(refused)), left_out, conflicts)


def receive_tables(
    store: Store,
    events: Any = None,
    contacts: Any = None,
    *,
    timezone: str | None = None,
    settings: Settings | None = None,
) -> Arrived:
    """What became of events and contacts that Python has; contacts are taken first.

    Args:
        store: the sender's database.
        events: a pandas or polars DataFrame, an Arrow table, a list of dicts, or a file's path; see the module's text.
        contacts: the same.
        timezone: the zone of times that do not say theirs.
        settings: the sender's: where their purposes declare what they may use, nothing else is kept, and of attributes
            with an owner only what `import` may say; without them everything is.

    Returns:
        How many were new and how many were there already; what was refused, by its row from 0, or its line in a file;
        and how many values were left out, by name.

    Raises:
        DataError: when a column is missing or of a type that nothing can have, or times are naive.

    Example:
        >>> from tempfile import TemporaryDirectory
        >>> from journeylab.sender.keys import Keys
        >>> from journeylab.sender.store import Store
        >>> with TemporaryDirectory() as folder:
        ...     store = Store.open(f"sqlite:///{folder}/sender.db", Keys(bytes(32)), create=True)
        ...     signup = {"contact": "ada", "event": "signup", "occurred_at": "2026-03-01T09:00:00Z", "id": "crm-1"}
        ...     got = receive_tables(store, [signup, {**signup, "contact": None, "id": "crm-2"}])
        ...     again = receive_tables(store, [signup])
        ...     store.close()
        >>> got.events.n_new, got.events.refused, again.events.n_repeated
        (1, (Refused(place=1, reason='contact is missing'),), 1)
    """
    from journeylab.sender.declarations import Declarations

    from .ownership import Owners

    came = [Received(0, 0), Received(0, 0)]
    declared = None if settings is None else Declarations.of(settings)
    owners = None if settings is None else Owners.of(settings, "import")
    for place, given, what in ((1, contacts, "contacts"), (0, events, "events")):
        if given is not None:
            source = open_source(given, what=what)
            with store.reading() as connection:
                kinds = known_names(connection, "contact") if place else property_kinds(connection)
            if place:
                reading = read_contacts(source, kinds, timezone, declared)
            else:
                reading = read_events(source, kinds, timezone, None, declared)
            came[place] = take(store, reading, declared=declared, owners=owners) or came[place]
    return Arrived(*came)


def _n_by_event(event: pa.ChunkedArray, column: pa.ChunkedArray, name: str) -> Counter[str]:
    """How many values a column has, by `event.name`."""
    import pyarrow as pa

    from journeylab.sender.declarations import named

    table = pa.table({"event": _decoded(event).cast(pa.large_string()), "there": column.is_valid()})
    counted = table.group_by("event").aggregate([("there", "sum")]).to_pylist()
    return Counter({named(one["event"], name): one["there_sum"] for one in counted if one["there_sum"]})


def _unfolded(source: Source, needed: Sequence[str], inner: str) -> pa.Table:
    """The table; where it has a column of objects for the further values, with their columns instead of it."""
    import pyarrow as pa
    import pyarrow.compute as pc

    for name in needed:
        if name not in source.columns:
            raise DataError(f"{source.name}: there is no column {name!r}; {known(name, source.columns, 'columns')}")
    table = source.read(source.columns)
    if inner not in table.column_names or not pa.types.is_struct(table[inner].type):
        return table
    column = table[inner]
    names = [field.name for field in column.type]
    twice = sorted({*names} & {*table.column_names})
    if twice:
        raise DataError(f"{source.name}: {', '.join(twice)} stands in {inner!r} and beside it; leave one out")
    table = table.drop_columns([inner])
    for name in names:
        table = table.append_column(name, pc.struct_field(column, name))
    return table


def _texts(source: Source, table: pa.Table, name: str) -> pa.ChunkedArray:
    """A column of ids or names as texts; where a contact or an event is missing, its row is refused."""
    import pyarrow as pa

    column = _decoded(table[name])
    kind = column.type
    if not (_is_text(kind) or pa.types.is_integer(kind) or pa.types.is_null(kind)):
        raise DataError(f"{source.name}: column {name!r} is of type {kind}; it has texts or whole numbers")
    if name in ("contact", "event") and column.null_count:
        rows = np.flatnonzero(column.is_null().to_numpy())
        source.rejects.add(rows, name, pa.nulls(len(rows), pa.string()), "is missing")
    return column.cast(pa.large_string())


def _values(
    source: Source, column: pa.ChunkedArray, name: str, kinds: Mapping[str, str], zone: str | None
) -> pa.ChunkedArray:
    """A column of properties or attributes as what they are, by the known kind or by what the values look like."""
    import pyarrow as pa
    import pyarrow.compute as pc

    column = _decoded(column)
    kind, wanted = column.type, kinds.get(name)
    if _is_text(kind):
        if source.is_text and wanted is None:
            wanted = kind_of_texts(column, most=True)
        if wanted in (None, "text", "unknown") or not (source.is_text or wanted in ("date", "instant")):
            return column
        found = parsed(column, wanted, name, zone, source.rejects)  # type: ignore[arg-type]
        return found.cast(pa.timestamp("us", "UTC")) if wanted == "instant" else found
    if pa.types.is_timestamp(kind):
        return instants(column, name, zone, source.rejects, bounded=False).cast(pa.timestamp("us", "UTC"))
    if pa.types.is_floating(kind) or pa.types.is_decimal(kind):
        column = column.cast(pa.float64())
        return pc.if_else(pc.is_nan(column), pa.scalar(None, pa.float64()), column)
    if pa.types.is_date(kind):
        return column.cast(pa.date32())
    if pa.types.is_boolean(kind) or pa.types.is_integer(kind) or pa.types.is_null(kind):
        return column
    raise DataError(
        f"{source.name}: column {name!r} is of type {kind}; a value is a number, flag, text, date or time: "
        "unfold it into such columns, or leave it out"
    )


def _decoded(column: pa.ChunkedArray) -> pa.ChunkedArray:
    import pyarrow as pa

    return column.cast(column.type.value_type) if pa.types.is_dictionary(column.type) else column


def _is_text(kind: pa.DataType) -> bool:
    import pyarrow as pa

    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind))


def _reading(
    source: Source,
    columns: Mapping[str, pa.ChunkedArray],
    n_rows: int,
    make: Callable[[_Columns, int, int], Row],
    left_out: Mapping[str, int],
) -> Reading:
    """The rows that can be read, and why the others cannot."""
    import pyarrow as pa

    kept = np.flatnonzero(source.rejects.kept(n_rows))
    reasons: dict[int, list[str]] = {}
    for one in source.rejects.table.to_pylist():
        said = "" if one["value"] is None else f" {one['value'][:40]!r}"
        reasons.setdefault(one["row"], []).append(f"{one['column']}{said} {one['reason']}")
    table = pa.table(dict(columns)).take(pa.array(kept))
    refused = tuple(Refused(number, "; ".join(said)) for number, said in reasons.items())
    return Reading(source, refused, source.rejects.number(kept), table, make, left_out)
