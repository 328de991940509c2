"""The log that imports fill, as a Parquet file: rows in one order, each id once, and how far each source was read.

What two imports bring is the same in whatever order they came: rows are sorted, columns too, and properties have the
kind that all their values have (`values`). A log is replaced as a whole or not at all.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from journeylab.errors import DataError

from .values import stacked

if TYPE_CHECKING:
    import pyarrow as pa
    from numpy.typing import NDArray

__all__ = ["Added", "Log", "People"]

_KEY: Final = b"journeylab.import"
_FORMAT: Final = 1
_NEVER: Final = -(2**62)
_FIXED: Final = ("contact", "event", "occurred_at", "received_at", "source_id", "message", "message_id")
_TRIGGERED: Final = ("triggered_send",)
"""Properties by which journeys know a message where events have another id of it."""
_ORDER: Final = (
    "attribute_changed", "consent_given", "", "sent", "delivered", "opened", "clicked", "bounced", "complained",
    "unsubscribed", "consent_withdrawn",
)  # fmt: skip
"""How events of a contact at one instant follow each other, as systems note them to the second; "" is any other."""


def _read(path: Path, what: str) -> tuple[pa.Table, dict[str, Any]]:
    """A file that an import has written, and what it has noted in it.

    Raises:
        DataError: when it is another file, or cannot be read.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        table = pq.read_table(path)
        table.validate(full=True)
    except (pa.ArrowException, OSError) as problem:
        raise DataError(f"{path} cannot be read as Parquet: {str(problem).splitlines()[0]}") from None
    try:
        noted = json.loads((table.schema.metadata or {})[_KEY])
    except (KeyError, ValueError):
        noted = None
    if not isinstance(noted, dict) or not _is_ours(table, noted, what):
        raise DataError(f"{path} holds no {what} that an import has written; name another file to import into")
    return table.replace_schema_metadata(None), noted


def _is_ours(table: pa.Table, noted: Mapping[str, Any], what: str) -> bool:
    """Whether a file is what an import writes."""
    needed = Log.empty().events.schema if what == "log" else People.nobody().table.schema
    kinds: dict[str, type] = {"marks": int, "names": str, "called": str} if what == "log" else {}
    return (
        (noted.get("format"), noted.get("what")) == (_FORMAT, what)
        and all(
            table.column_names.count(one.name) == 1 and table.schema.field(one.name).type == one.type for one in needed
        )
        and all(
            isinstance(noted.get(name), dict) and all(isinstance(value, kind) for value in noted[name].values())
            for name, kind in kinds.items()
        )
    )


def _write(path: Path, table: pa.Table, noted: Mapping[str, Any], before: tuple[int, int] | None) -> None:
    """Writes a file as a whole or not at all.

    Raises:
        DataError: when somebody else has written it since it was read, or it cannot be written.
    """
    import pyarrow.parquet as pq

    metadata = {_KEY: json.dumps({"format": _FORMAT, **noted}, sort_keys=True).encode()}
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
        try:
            with os.fdopen(handle, "wb") as file:
                pq.write_table(table.replace_schema_metadata(metadata), file, compression="zstd")
                file.flush()
                os.fsync(file.fileno())
            if _state(path) != before:
                raise DataError(f"{path} was written by somebody else meanwhile; import again")
            os.chmod(name, 0o600 if before is None else path.stat().st_mode & 0o777)
            os.replace(name, path)
        finally:
            Path(name).unlink(missing_ok=True)
    except OSError as problem:
        raise DataError(f"{path} cannot be written: {problem.strerror or problem}") from None


def _state(path: Path) -> tuple[int, int] | None:
    return (path.stat().st_size, path.stat().st_mtime_ns) if path.exists() else None


def _ordered(columns: Mapping[str, pa.ChunkedArray], fixed: Sequence[str]) -> pa.Table:
    """The columns, the fixed ones first and then by name."""
    import pyarrow as pa

    names = [name for name in fixed if name in columns] + sorted(name for name in columns if name not in fixed)
    return pa.table({name: columns[name].combine_chunks() for name in names})


def _full(columns: Mapping[str, pa.ChunkedArray]) -> dict[str, pa.ChunkedArray]:
    """The columns of events that have any value."""
    needed = ["contact", "event", "occurred_at", "source_id"]
    if "name" in columns and columns["name"].null_count < len(columns["name"]):
        needed += ["name", "value"]  # a changed attribute may have no value any more
    return {name: column for name, column in columns.items() if name in needed or column.null_count < len(column)}


@dataclass(frozen=True)
class Added:
    """What became of rows that were added to a log.

    Attributes:
        n_new: how many were not there.
        n_repeated: how many were, by their ids.
        n_changed: how many of these came with other values than the log has, which it keeps.
    """

    n_new: int = 0
    n_repeated: int = 0
    n_changed: int = 0


@dataclass(frozen=True)
class Log:
    """The events that imports have brought, and how far each source was read.

    Attributes:
        events: sorted by instant, contact, kind and id; no id twice.
        marks: for each table and query of a database, the latest instant up to which it was read, microseconds.
        names: names of messages by source and id.
        called: what somebody has said that messages are called, by source and by an id or a name of theirs.
    """

    events: pa.Table
    marks: Mapping[str, int] = field(default_factory=dict)
    names: Mapping[str, str] = field(default_factory=dict)
    called: Mapping[str, str] = field(default_factory=dict)
    _state: tuple[int, int] | None = None

    @classmethod
    def empty(cls) -> Log:
        """A log without events."""
        import pyarrow as pa

        text, micros = pa.string(), pa.timestamp("us", "UTC")
        fields = [("contact", text), ("event", text), ("occurred_at", micros), ("source_id", text)]
        return cls(pa.schema(fields).empty_table())

    @classmethod
    def read(cls, path: Path) -> Log:
        """The log in a file; an empty one where there is none yet.

        Raises:
            DataError: when the file is no log of imports, or cannot be read.
        """
        if path.suffix != ".parquet":
            raise DataError(f"{path} does not end in .parquet; a log that imports fill is Parquet")
        state = _state(path)
        if state is None:
            return cls.empty()
        events, noted = _read(path, "log")
        return cls(events, noted["marks"], noted["names"], noted["called"], state)

    def with_rows(
        self,
        rows: pa.Table | None,
        marks: Mapping[str, int],
        names: Mapping[str, str],
        called: Mapping[str, str] | None = None,
    ) -> tuple[Log, Added]:
        """The log with more rows, which may be there already, and may be there more than once."""
        marks = {**self.marks, **{one: max(at, self.marks.get(one, at)) for one, at in marks.items()}}
        names, called = {**self.names, **names}, {**self.called, **(called or {})}
        log = replace(self, events=_by_id(self.events)) if called else self
        events, added = log.events, Added()
        if rows is not None and len(rows):
            events, added = log._joined(_by_id(rows) if called else rows)
        made = replace(self, events=_named(events, names, called), marks=marks, names=names, called=called)
        return made, added

    def _joined(self, rows: pa.Table) -> tuple[pa.Table, Added]:
        import pyarrow as pa
        import pyarrow.compute as pc

        before = self.events
        both = stacked([_unnamed(before), rows])
        ids = both["source_id"].combine_chunks()
        first = np.unique(pc.index_in(ids, ids.unique()).to_numpy(zero_copy_only=False), return_index=True)[1]
        n_before = len(before)
        again = np.setdiff1d(np.arange(n_before, len(both)), first)
        earlier = pc.index_in(ids.take(pa.array(again)), ids).to_numpy(zero_copy_only=False)
        changed = _differ(both, again, earlier)
        kept = both.take(pa.array(np.sort(first)))
        added = Added(len(first) - n_before, len(again), changed)
        return _sorted_events(kept), added

    def is_as(self, other: Log) -> bool:
        """Whether another log says the same."""
        return (
            self.events.equals(other.events) and dict(self.marks) == dict(other.marks)
            and dict(self.names) == dict(other.names) and dict(self.called) == dict(other.called)
        )  # fmt: skip

    def write(self, path: Path) -> None:
        """Writes the log in the place of the one that was read.

        Raises:
            DataError: when somebody else has written there meanwhile, or it cannot be written.
        """
        noted = {"marks": dict(self.marks), "names": dict(self.names), "called": dict(self.called)}
        _write(path, self.events, {"what": "log", **noted}, self._state)


def _differ(both: pa.Table, rows: NDArray[np.int64], earlier: NDArray[np.int64]) -> int:
    """How many rows differ from earlier ones with the same ids."""
    import pyarrow as pa
    import pyarrow.compute as pc

    different = np.zeros(len(rows), np.bool_)
    for name in both.column_names:
        new, old = (both[name].take(pa.array(which)) for which in (rows, earlier))
        same = pc.or_kleene(pc.equal(new, old), pc.and_(pc.is_null(new), pc.is_null(old)))
        different |= ~pc.fill_null(same, fill_value=False).to_numpy()
    return int(different.sum())


def _sorted_events(events: pa.Table) -> pa.Table:
    import pyarrow as pa
    import pyarrow.compute as pc

    kinds = pa.array(_ORDER)
    rank = pc.fill_null(pc.index_in(events["event"], kinds), _ORDER.index(""))
    keys = pa.table(
        {
            "at": events["occurred_at"], "contact": events["contact"], "rank": rank, "event": events["event"],
            "id": events["source_id"],
        }
    )  # fmt: skip
    order = pc.sort_indices(keys, [(name, "ascending") for name in keys.column_names])
    return _ordered(_full({name: events[name].take(order) for name in events.column_names}), _FIXED)


def _unnamed(events: pa.Table) -> pa.Table:
    """The events without the names of messages that were put in for ids."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if "message_id" not in events.column_names:
        return events
    own = pc.if_else(pc.is_valid(events["message_id"]), pa.scalar(None, pa.string()), events["message"])
    return events.set_column(events.column_names.index("message"), "message", own)


def _by_id(events: pa.Table) -> pa.Table:
    """The events whose messages all have an id: what they were called, where they had none."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if "message" not in events.column_names:
        return events
    columns = {name: events[name] for name in events.column_names}
    none = pa.chunked_array([pa.nulls(len(events), pa.string())])
    columns |= {"message_id": pc.coalesce(columns.get("message_id", none), events["message"]), "message": none}
    return _ordered(columns, _FIXED)


def _named(events: pa.Table, names: Mapping[str, str], called: Mapping[str, str]) -> pa.Table:
    """The events with the names of their messages; where a message has no name its id is one.

    What somebody has said that messages are called goes before: by id, by name, or by the send that triggered them.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    if "message_id" not in events.column_names:
        return events
    own = (
        events["message"]
        if "message" in events.column_names
        else pa.chunked_array([pa.nulls(len(events), pa.string())])
    )
    ids = events["message_id"]
    sources = pc.replace_substring_regex(events["source_id"], "/.*", "")

    def said(of: Mapping[str, str], column: pa.ChunkedArray) -> pa.ChunkedArray:
        known, texts = pa.array(list(of), pa.string()), pa.array(list(of.values()), pa.string())
        keys = pc.binary_join_element_wise(sources, column, "/")
        return pa.chunked_array([texts.take(pc.index_in(keys, known).combine_chunks())])

    columns = {name: events[name] for name in events.column_names}
    message = pc.coalesce(said(names, ids), ids, own)
    ways = [ids, message, *(columns[name] for name in _TRIGGERED if name in columns)]
    told = [said(called, pc.cast(way, pa.string())) for way in ways] if called else []
    return _ordered(_full(columns | {"message": pc.coalesce(*told, message)}), _FIXED)


@dataclass(frozen=True)
class People:
    """The contacts that imports have brought, each once, with the attributes of its latest row.

    Attributes:
        table: `contact`, `modified_at` where it is known, attributes; sorted by contact.
    """

    table: pa.Table
    _state: tuple[int, int] | None = None

    @classmethod
    def read(cls, path: Path) -> People:
        """The contacts in a file; none where there is none yet.

        Raises:
            DataError: when the file has no contacts of imports, or cannot be read.
        """
        if path.suffix != ".parquet":
            raise DataError(f"{path} does not end in .parquet; contacts that imports fill are Parquet")
        state = _state(path)
        return cls.nobody() if state is None else cls(_read(path, "contacts")[0], state)

    @classmethod
    def nobody(cls) -> People:
        """No contacts."""
        import pyarrow as pa

        return cls(pa.table({"contact": pa.array([], pa.string())}))

    def with_rows(self, parts: Sequence[pa.Table]) -> People:
        """The contacts with more rows: of a contact's rows the one with the latest `modified_at`, else the last."""
        import pyarrow as pa
        import pyarrow.compute as pc

        tables = [self.table, *parts]
        both = stacked(tables)
        n = len(both)
        at = both["modified_at"] if "modified_at" in both.column_names else pa.chunked_array([pa.nulls(n, pa.int64())])
        keys = pa.table(
            {"contact": both["contact"], "at": pc.fill_null(at.cast(pa.int64()), _NEVER), "row": np.arange(n)}
        )
        order = pc.sort_indices(keys, [(name, "ascending") for name in keys.column_names]).to_numpy()
        codes = both["contact"].combine_chunks().dictionary_encode().indices.to_numpy(zero_copy_only=False)[order]
        is_first = np.append([True] * min(n, 1), codes[1:] != codes[:-1])
        start = np.maximum.accumulate(np.where(is_first, np.arange(n), 0)) if n else np.arange(n)
        is_last = np.append(is_first[1:], [True] * min(n, 1))
        columns = {}
        for name in both.column_names:
            # Of an attribute that a row's table does not have, an earlier row of the contact speaks.
            has = np.concatenate([np.full(len(table), name in table.column_names) for table in tables])[order]
            said = np.maximum.accumulate(np.where(has, np.arange(n), -1)) if n else np.arange(n)
            place = pa.array(np.where(said < start, 0, order[said]), mask=said < start)
            columns[name] = both[name].take(place)
        made = {name: column.filter(pa.array(is_last)) for name, column in columns.items()}
        return replace(self, table=_ordered(made, ("contact", "modified_at")))

    def write(self, path: Path) -> None:
        """Writes the contacts in the place of those that were read.

        Raises:
            DataError: when somebody else has written there meanwhile, or it cannot be written.
        """
        _write(path, self.table, {"what": "contacts"}, self._state)
