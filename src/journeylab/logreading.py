"""From sources to a prepared log: columns found and understood, bad rows named or set aside, events indexed."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Literal

import numpy as np

from .attributes import CHANGED, reject_bad_changes, reject_bad_zones
from .columnvalues import is_marked_text, is_text_type, marked_texts, understood
from .errors import DataError, known, listed
from .eventindex import Occurrences, group_by_kind
from .instants import instants
from .interning import intern
from .rejects import Rejects, no_rejects
from .tablesource import repeated

if TYPE_CHECKING:
    import pyarrow as pa
    from numpy.typing import NDArray

    from .tablesource import Source

__all__ = [
    "FIXED", "Prepared", "Properties", "are_numbers", "check_columns", "ids_of", "mapped", "prepare", "properties_of",
    "reject_missing", "renamed",
]  # fmt: skip

FIXED = ("contact", "event", "occurred_at", "received_at")
# What other systems call these columns, to suggest a mapping.
_SYNONYMS = {
    "contact": ("customer_id", "contact_id", "user_id", "person_id", "customer", "user", "distinct_id", "email"),
    "event": ("event_name", "event_type", "type", "action", "activity"),
    "occurred_at": ("timestamp", "time", "date", "event_time", "datetime", "ts", "created_at"),
}
_WHOLE = r"^(0|-?[1-9][0-9]{0,17})$"


@dataclass
class Properties:
    """The columns beside the fixed ones, by row of the log, read when they are asked for.

    Attributes:
        names: the properties, in the order of the source's columns.
        read_table: reads some columns at once, rows that were set aside left out.
        source: what messages call the events.
    """

    names: list[str]
    read_table: Callable[[list[str]], pa.Table]
    source: str

    def read(self, name: str) -> pa.ChunkedArray:
        """One column, rows that were set aside left out."""
        return self.read_table([name])[name]


@dataclass
class Prepared:
    """What is read of a log at once.

    Attributes:
        event_names: the kinds of events, sorted.
        contact_ids: by code: those with events, then those of the contacts table only.
        occurrences: all events, by kind.
        attributes: the contacts table by code, without ids.
        span: the first and the last instant, microseconds since 1970-01-01T00:00Z.
        rejects: what was set aside.
        has_received: whether events say when they were received.
        keep: which rows of the events' source are in the log, `None` when all are.
    """

    event_names: list[str]
    contact_ids: pa.Array
    occurrences: Occurrences
    attributes: pa.Table
    span: tuple[int, int]
    rejects: pa.Table = field(default_factory=no_rejects)
    has_received: bool = False
    keep: NDArray[np.bool_] | None = None

    @property
    def n_events(self) -> int:
        """How many events there are."""
        return len(self.occurrences.at)


def mapped(events: Source, contacts: Source | None, columns: Mapping[str, str]) -> tuple[Source, Source | None]:
    """Both sources under JourneyLab's names.

    Raises:
        DataError: when `columns` names what neither has, or two columns would have one name.
    """
    has = {*events.columns, *(contacts.columns if contacts is not None else ())}
    unknown = [foreign for foreign in columns if foreign not in has]
    if unknown:
        faults = [f"columns= names {one!r}, which is not there; {known(one, has, 'columns')}" for one in unknown]
        raise DataError("\n".join(f"{events.name}: {fault}" for fault in faults))
    return renamed(events, columns), renamed(contacts, columns) if contacts is not None else None


def renamed(source: Source, columns: Mapping[str, str]) -> Source:
    """The source under JourneyLab's names: those columns that `columns` maps and the source has.

    Raises:
        DataError: when two columns would have one name.
    """
    names = [columns.get(name, name) for name in source.columns]
    twice = repeated(names)
    if twice:
        raise DataError(f"{source.name}: with columns={dict(columns)!r} two columns would be named {listed(twice)}")
    own = dict(zip(names, source.columns, strict=True))

    def read(names: Iterable[str]) -> pa.Table:
        wanted = list(names)
        return source.read([own[name] for name in wanted]).rename_columns(wanted)

    def stream(names: Sequence[str], n_rows: int) -> Iterator[pa.Table]:
        wanted = list(names)
        return (part.rename_columns(wanted) for part in source.parts([own[name] for name in wanted], n_rows))

    return replace(source, columns=list(own), read=read, stream=stream)


def _missing(source: Source, name: str) -> str:
    """What to say when a column is missing: the likeliest column to map to it."""
    likely = [column for column in source.columns if column.lower() in _SYNONYMS[name]]
    guess = f'map it with columns={{"{likely[0] if likely else "its name here"}": "{name}"}}'
    event = ', or name the one kind of event with event="purchase"' if name == "event" else ""
    return f"{source.name}: there is no column {name!r}; {guess}{event}. {known(name, source.columns, 'columns')}"


def are_numbers(source: Source, column: pa.ChunkedArray) -> bool:
    """Whether the contacts of a source are whole numbers: by their type, or in a file of texts as all of them are.

    Raises:
        DataError: when they are neither whole numbers nor texts.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    kind = column.type.value_type if pa.types.is_dictionary(column.type) else column.type
    if not (is_text_type(kind) or pa.types.is_integer(kind) or pa.types.is_null(kind)):
        raise DataError(
            f"{source.name}: column 'contact' is of type {kind}; contacts are whole numbers or texts"
            + (
                "; where some are missing, pandas makes fractions of whole numbers"
                if pa.types.is_floating(kind)
                else ""
            )
        )
    if is_text_type(kind) and source.is_text:
        return bool(pc.all(pc.match_substring_regex(column, _WHOLE)).as_py())
    return bool(pa.types.is_integer(kind))


def ids_of(
    source: Source, rejects: Rejects, column: pa.ChunkedArray, *, as_numbers: bool | None = None
) -> pa.ChunkedArray:
    """The contact column as int64 or text, by itself or as it is said; missing ones are rejected.

    Raises:
        DataError: when they are neither whole numbers nor texts, or numbers that are too large.
    """
    import pyarrow as pa

    are = are_numbers(source, column)
    if are if as_numbers is None else as_numbers:
        try:
            column = column.cast(pa.int64())
        except pa.ArrowInvalid:
            raise DataError(f"{source.name}: column 'contact' has numbers beyond 2**63; make texts of them") from None
    elif pa.types.is_null(column.type) or as_numbers is not None:
        column = column.cast(pa.string())
    reject_missing(column, "contact", rejects)
    return column


def reject_missing(column: pa.ChunkedArray, name: str, rejects: Rejects) -> None:
    import pyarrow as pa

    if column.null_count:
        rows = np.flatnonzero(column.is_null().to_numpy())
        rejects.add(rows, name, pa.nulls(len(rows), pa.string()), "is missing")


def _kinds(
    source: Source, rejects: Rejects, column: pa.ChunkedArray | None, event: str | None, n_rows: int
) -> tuple[NDArray[np.int32], list[str]]:
    """The code of every row's kind of event, and the kinds, sorted."""
    import pyarrow as pa

    if column is None:
        return np.zeros(n_rows, np.int32), [str(event)]
    kind = column.type.value_type if pa.types.is_dictionary(column.type) else column.type
    if pa.types.is_null(kind):
        column, kind = column.cast(pa.string()), pa.string()
    if not is_text_type(kind):
        raise DataError(f"{source.name}: column 'event' is of type {kind}; events are named by texts")
    reject_missing(column, "event", rejects)
    codes, values = intern(column)
    names = values.to_pylist()
    order = sorted(range(len(names)), key=lambda code: names[code] or "")
    rank = np.empty(len(names) + 1, np.int32)
    rank[order] = np.arange(len(names))
    rank[-1] = -1
    return rank[codes], [names[code] for code in order]


def _contact_table(source: Source | None) -> tuple[pa.Table | None, Rejects]:
    """The contacts with understood columns, and what is wrong with them."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if source is None:
        return None, Rejects("the contacts")
    rejects = source.rejects
    table = source.read(source.columns)
    ids = ids_of(source, rejects, table["contact"])
    columns = {"contact": ids}
    for name in source.columns:
        if name != "contact":
            columns[name] = understood(table[name], name, rejects) if source.is_text else table[name]
    codes, _ = intern(ids)
    _, first = np.unique(codes, return_index=True)
    again = np.setdiff1d(np.flatnonzero(codes >= 0), first)
    if len(again):
        earlier = dict(zip(codes[first].tolist(), rejects.number(first).tolist(), strict=True))
        reasons = pa.array([f"is also on {rejects.place} {earlier[code]}" for code in codes[again].tolist()])
        rejects.add(again, "contact", pc.take(ids, pa.array(again)), reasons)
    if "timezone" in columns:
        reject_bad_zones(columns["timezone"], "timezone", rejects)
    texts = [name for name in table.column_names if is_marked_text(table, name)]
    return marked_texts(pa.table(columns), texts), rejects


def _joined(
    ids: pa.Array, contacts: pa.Table | None, sources: tuple[Source, Source | None]
) -> tuple[pa.Array, pa.Table]:
    """All contact ids by code, and the contacts table in this order."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if contacts is None:
        return ids, pa.table({})
    given = contacts["contact"].combine_chunks()
    if pa.types.is_dictionary(given.type):
        given = given.dictionary_decode()
    if pa.types.is_integer(ids.type) != pa.types.is_integer(given.type):
        # A CSV file does not say whether its ids are numbers; the other table does.
        if not any(source is not None and source.is_text for source in sources):
            what = ["whole numbers" if pa.types.is_integer(kind) else "texts" for kind in (ids.type, given.type)]
            raise DataError(
                f"contacts are {what[0]} in the events, but {what[1]} in the contacts table; make them alike"
            )
        ids, given = ids.cast(pa.large_string()), given.cast(pa.large_string())
    given = given.cast(ids.type)
    position = pc.index_in(ids, given)
    only_given = np.setdiff1d(np.arange(len(given)), position.drop_null().to_numpy())
    rows = pa.concat_arrays([position.cast(pa.int64()), pa.array(only_given, pa.int64())])
    return pa.concat_arrays([ids, given.take(pa.array(only_given))]), contacts.drop_columns("contact").take(rows)


def check_columns(events: Source, contacts: Source | None, event: str | None) -> None:
    """Refuses what cannot be set aside: missing columns.

    Raises:
        DataError: with each that is missing, and the likeliest one to map to it.
    """
    needed = [name for name in ("contact", "event", "occurred_at") if name != "event" or event is None]
    faults = [_missing(events, name) for name in needed if name not in events.columns]
    if event is not None and "event" in events.columns:
        faults.append(f"{events.name}: there is a column 'event' already; leave out event={event!r}")
    if contacts is not None and "contact" not in contacts.columns:
        faults.append(_missing(contacts, "contact"))
    if faults:
        raise DataError("\n".join(faults))


@dataclass
class _Rows:
    """The fixed columns of all rows, as far as they could be read: -1 for a missing contact or kind of event."""

    contact: NDArray[np.int32]
    contact_ids: pa.Array
    kind: NDArray[np.int32]
    event_names: list[str]
    at: pa.ChunkedArray

    def where(self, keep: NDArray[np.bool_]) -> _Rows:
        """The rows for which `keep` is true, and only the contacts that they have."""
        import pyarrow as pa

        contact = self.contact[keep]
        used = np.bincount(contact, minlength=len(self.contact_ids)) > 0
        return _Rows(
            (np.cumsum(used, dtype=np.int32) - 1)[contact],
            self.contact_ids.filter(pa.array(used)),
            self.kind[keep],
            self.event_names,
            self.at.filter(pa.array(keep)),
        )


def _read_rows(
    events: Source, event: str | None, zone: str | None, step: Callable[[str], None], *, may_be_empty: bool
) -> _Rows:
    """Reads and checks the fixed columns; bad rows go to the source's rejects."""
    fixed = [name for name in FIXED if name in events.columns]
    step("read")
    table = events.read(fixed)
    if not len(table) and not events.rejects and not may_be_empty:
        raise DataError(f"{events.name}: there are no events")
    step("check")
    ids = ids_of(events, events.rejects, table["contact"])
    with ThreadPoolExecutor(1) as interning:
        interned = interning.submit(intern, ids)  # meanwhile the other columns are understood
        at = instants(table["occurred_at"], "occurred_at", zone, events.rejects)
        reject_missing(table["occurred_at"], "occurred_at", events.rejects)
        if "received_at" in fixed:
            instants(table["received_at"], "received_at", zone, events.rejects)
        column = table["event"] if "event" in fixed else None
        kind, event_names = _kinds(events, events.rejects, column, event, len(table))
        contact, contact_ids = interned.result()
    return _Rows(contact, contact_ids, kind, event_names, at)


def _understood(events: Source, event_names: list[str]) -> Source:
    """Events of a file that knows only texts, with properties as what most of their values are."""
    names = [name for name in events.columns if name not in FIXED]
    if not events.is_text or not names:
        return events
    texts = events.read(names)
    as_texts = ("name", "value") if CHANGED in event_names else ()
    return _with_columns(
        events,
        {name: texts[name] if name in as_texts else understood(texts[name], name, events.rejects) for name in names},
    )


def prepare(
    events: Source,
    contacts: Source | None,
    *,
    event: str | None,
    zone: str | None,
    rejects: Literal["error", "set_aside"],
    step: Callable[[str], None],
    span: tuple[int, int] | None = None,
) -> tuple[Prepared, Properties]:
    """The prepared log of some events and contacts, which are `mapped` already; `step` hears what is being done.

    With a `span` they are a part of a log that has it, and may be of contacts alone.

    Raises:
        DataError: for everything that cannot be set aside, and for bad rows when `rejects` is `"error"`.
    """
    import pyarrow as pa

    check_columns(events, contacts, event)
    rows = _read_rows(events, event, zone, step, may_be_empty=span is not None)
    n_rows = len(rows.kind)
    events = _understood(events, rows.event_names)
    contact_table, bad_contacts = _contact_table(contacts)
    if CHANGED in rows.event_names:
        changed = np.flatnonzero(rows.kind == rows.event_names.index(CHANGED))
        reject_bad_changes(events, changed, contact_table, zone, events.rejects)
    bad = events.rejects
    if rejects == "error":
        _raise(bad, n_rows, bad_contacts, 0 if contact_table is None else len(contact_table))
    keep = bad.kept(n_rows)
    if not keep.any() and span is None:
        raise DataError(f"{events.name}: there are no events left, all rows are bad: {bad.error(n_rows)}", bad.table)
    if contact_table is not None and bad_contacts:
        contact_table = contact_table.filter(pa.array(bad_contacts.kept(len(contact_table))))
    all_kept = bool(keep.all())
    if not all_kept:
        rows = rows.where(keep)
    step("index")
    prepared = _indexed(rows, contact_table, (events, contacts), span)
    del rows
    pa.default_memory_pool().release_unused()  # what Arrow read into is not needed again, and is much
    found = [one.table for one in (bad, bad_contacts) if one]
    prepared = replace(
        prepared,
        rejects=pa.concat_tables(found) if found else no_rejects(),
        has_received="received_at" in events.columns,
        keep=None if all_kept else keep,
    )
    return prepared, properties_of(events, prepared.keep)


def _indexed(
    rows: _Rows, contacts: pa.Table | None, sources: tuple[Source, Source | None], span: tuple[int, int] | None
) -> Prepared:
    """The prepared log of good rows."""
    occurrences = group_by_kind(rows.kind, len(rows.event_names), rows.contact, rows.at)
    is_used = np.diff(occurrences.offsets) > 0
    occurrences = occurrences._replace(offsets=np.append(0, occurrences.offsets[1:][is_used]))
    contact_ids, attributes = _joined(rows.contact_ids, contacts, sources)
    return Prepared(
        event_names=[name for name, used in zip(rows.event_names, is_used, strict=True) if used],
        contact_ids=contact_ids,
        occurrences=occurrences,
        attributes=attributes,
        span=span or (int(occurrences.at.min()), int(occurrences.at.max())),
    )


def _with_columns(source: Source, columns: Mapping[str, pa.ChunkedArray]) -> Source:
    import pyarrow as pa

    def read(names: Iterable[str]) -> pa.Table:
        return pa.table({name: columns[name] if name in columns else source.read([name])[name] for name in names})

    return replace(source, read=read)


def properties_of(events: Source, keep: NDArray[np.bool_] | None) -> Properties:
    """The properties of a log whose rows are those of the source that were kept."""
    import pyarrow as pa

    def read(names: list[str]) -> pa.Table:
        table = events.read(names)
        return table if keep is None else table.filter(pa.array(keep))

    return Properties([name for name in events.columns if name not in FIXED], read, events.name)


def _raise(bad: Rejects, n_rows: int, bad_contacts: Rejects, n_contacts: int) -> None:
    errors = [one.error(n) for one, n in ((bad, n_rows), (bad_contacts, n_contacts)) if one]
    if errors:
        import pyarrow as pa

        raise DataError("\n".join(map(str, errors)), pa.concat_tables([error.rejects for error in errors]))
