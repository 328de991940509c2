"""From a source of any size to a log in buckets, in bounded memory: seen once, then written, a part at a time."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

import numpy as np

from journeylab.attributes import CHANGED, reject_bad_changes, reject_bad_zones
from journeylab.columnvalues import TextsSeen, is_text_type, marked_texts
from journeylab.errors import DataError
from journeylab.execution import n_processors
from journeylab.instants import check_zone, instants
from journeylab.interning import intern
from journeylab.keyedhash import unit_hashes
from journeylab.logparts import open_in_parts
from journeylab.logreading import FIXED, are_numbers, check_columns, ids_of, mapped, reject_missing
from journeylab.progress import Progress, Tell, shown
from journeylab.rejects import Rejects, check_choice
from journeylab.tablesource import of_table

from .budget import PROCESS, budget_of, needed
from .kinds import ColumnsSeen, Written, attribute_kinds, changes_in, plain, with_kinds
from .log import CONTACTS, EVENTS, FORMAT, META, REJECTS, BucketedLog, bucket_file
from .whole import WholeSeen

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.parquet as pq

    from journeylab.tablesource import Source

__all__ = ["bucket_log"]

_ROWS: Final = 1 << 18
_EVENTS_A_BUCKET: Final = 2_000_000
_MOST_BUCKETS: Final = 512
"""Each has a file open while a log is written."""
_BUFFERED: Final = 256 << 20
SPILL: Final = "spill"
"""The folder for what a database gave, until it is in buckets."""
_ROW: Final = "(row)"
"""The column of contacts that has their rows in the source, until it is known that none is there twice."""


def bucket_log(
    source: Any,
    folder: str | Path,
    *,
    contacts: Any = None,
    columns: Mapping[str, str] | None = None,
    event: str | None = None,
    timezone: str | None = None,
    rejects: Literal["error", "set_aside"] = "error",
    query: str | None = None,
    n_buckets: int | None = None,
    memory: str | int | None = None,
    progress: Progress = None,
) -> BucketedLog:
    """The event log of a source of any size, written to a folder as Parquet in buckets of contacts.

    The source is read twice, a part at a time: first for what its columns are, then for its rows; a database is asked
    once. Files of Parquet, CSV and JSON Lines on this machine, folders of Parquet, and databases are never in memory as
    a whole, but JSON or a database in which a column has values of several types is, and so is what comes from a URL.

    Args:
        source: as for `EventLog.read`, as are `contacts`, `columns`, `event`, `timezone`, `rejects` and `query`.
        folder: where the log goes; it must not be there yet.
        contacts: the contacts and their attributes.
        columns: their names there to names here.
        event: the name of the one kind of event.
        timezone: the zone of times that do not say theirs.
        rejects: `"error"` or `"set_aside"`, into `BucketedLog.rejects`.
        query: the SQL query that gives the events of a database.
        n_buckets: how many; by default as many as give each two million events at the most, and every processor one
            within the budget of memory.
        memory: how much work on the log may take, such as "4GiB"; by default half of the machine's memory.
        progress: `True` for a bar, or what to call with the rows done and in all; see `progress`.

    Raises:
        DataError: as `EventLog.read`; and when the folder is there already.

    >>> import tempfile
    >>> rows = [{"contact": n, "event": "visit", "occurred_at": "2026-03-01T00:00:00Z"} for n in range(5)]
    >>> with tempfile.TemporaryDirectory() as here:
    ...     log = bucket_log(rows, f"{here}/log", n_buckets=2)
    ...     print(log, [one.contact_ids.to_pylist() for one in log.buckets()])
    BucketedLog(5 events of 5 contacts in 2 buckets, 1 kind, 2026-03-01 to 2026-03-01) [[0, 1, 3, 4], [2]]
    """
    if timezone is not None:
        check_zone(timezone)
    check_choice(rejects)
    if n_buckets is not None and not 1 <= n_buckets <= _MOST_BUCKETS:
        raise DataError(f"n_buckets={n_buckets}: there are 1 to {_MOST_BUCKETS:,} buckets")
    folder, budget = Path(folder), budget_of(memory)
    if folder.exists():
        raise DataError(f"{folder} is there already; name a folder that is not")
    new = folder.with_name(f".{folder.name}.new")
    shutil.rmtree(new, ignore_errors=True)
    with shown(progress, "bucketing the event log") as tell:
        try:
            people = open_in_parts(contacts, new / SPILL, what="contacts") if contacts is not None else None
            events, people = mapped(open_in_parts(source, new / SPILL, query), people, dict(columns or {}))
            check_columns(events, people, event)
            seen = _Seen.of(events, people, event, timezone, tell)
            n = n_buckets or _n_buckets(seen.n_rows, len(seen.properties), budget)
            made = _Made(new, n, seen, timezone)
            bad = [*made.events(events, event, tell), *made.contacts(people)]
            if rejects == "error" and bad:
                raise DataError("\n".join(str(one.error(n_rows)) for one, n_rows in bad))
            if made.whole.span is None:
                error = events.rejects.error(seen.n_rows)
                raise DataError(f"{events.name}: there are no events left, all rows are bad: {error}", error.rejects)
            made.finish([one for one, _ in bad], events.name)
            shutil.rmtree(new / SPILL, ignore_errors=True)
            new.rename(folder)
        finally:
            shutil.rmtree(new, ignore_errors=True)
    return BucketedLog.open(folder, memory=budget)


def _n_buckets(n_rows: int, n_properties: int, budget: int) -> int:
    """How many buckets let every processor work on one within the budget, none of them large."""
    room = max(1, (budget - PROCESS) // n_processors() - PROCESS)
    a_row = needed(1, n_properties) - PROCESS
    return max(1, min(_MOST_BUCKETS, -(-n_rows // min(_EVENTS_A_BUCKET, max(1, room // (a_row + a_row // 4))))))


@dataclass
class _Numbers:
    """Whether the contacts of a source are whole numbers, as far as its parts were seen."""

    are_numbers: bool = True
    n_seen: int = 0

    def add(self, column: pa.ChunkedArray, source: Source) -> None:
        """Looks at a part; one without any contact tells nothing."""
        if column.null_count < len(column):
            self.n_seen += 1
            self.are_numbers = are_numbers(source, column) and self.are_numbers

    def join(self, given: _Numbers, events: Source, people: Source) -> None:
        """Makes the contacts of both tables alike, where a file of texts does not say what they are.

        Raises:
            DataError: when both say it, and differ.
        """
        if self.are_numbers != given.are_numbers and given.n_seen:
            if not (events.is_text or people.is_text):
                what = ["whole numbers" if one.are_numbers else "texts" for one in (self, given)]
                raise DataError(
                    f"contacts are {what[0]} in the events, but {what[1]} in the contacts table; make them alike"
                )
            self.are_numbers = False


@dataclass
class _Seen:
    """What a source is, seen as a whole.

    Attributes:
        n_rows: how many rows the events have.
        ids_are_numbers: whether contacts are whole numbers.
        properties: how each property of events is written.
        attributes: how each attribute of contacts is written.
        kinds: a contacts table without rows, whose columns say what attributes are, also those known from changes only.
    """

    n_rows: int
    ids_are_numbers: bool
    properties: list[Written]
    attributes: list[Written]
    kinds: pa.Table

    @classmethod
    def of(cls, events: Source, people: Source | None, event: str | None, zone: str | None, tell: Tell) -> _Seen:
        """Looks at all parts of the events and of the contacts."""
        names = [name for name in events.columns if name not in FIXED]
        properties = ColumnsSeen(names, zone, knows_only_texts=events.is_text)
        changes: dict[str, TextsSeen] = {}
        n_rows, numbers, given = 0, _Numbers(), _Numbers()
        for part in events.parts(events.columns, _ROWS):
            n_rows += len(part)
            tell(n_rows, 0)
            properties.add(part)
            numbers.add(part["contact"], events)
            for name, texts in changes_in(part, event):
                changes.setdefault(name, TextsSeen()).add(texts)
        attributes: list[Written] = []
        types: dict[str, Any] = {}
        if people is not None:
            seen = ColumnsSeen(
                [one for one in people.columns if one != "contact"], zone, knows_only_texts=people.is_text
            )
            for part in people.parts(people.columns, _ROWS):
                seen.add(part)
                given.add(part["contact"], people)
                types = {name: plain(part[name]).type for name in people.columns}
            attributes = seen.written()
            numbers.join(given, events, people)
        return cls(
            n_rows,
            numbers.are_numbers and numbers.n_seen > 0,
            properties.written(("name", "value") if changes else ()),
            attributes,
            attribute_kinds(attributes, types, changes),
        )


@dataclass
class _Made:
    """A log in buckets that is being written to a folder."""

    folder: Path
    n_buckets: int
    seen: _Seen
    zone: str | None
    whole: WholeSeen = field(default_factory=WholeSeen)

    def events(self, source: Source, event: str | None, tell: Tell) -> Iterator[tuple[Rejects, int]]:
        """Writes the good rows of the events, and gives what was wrong with the others."""
        import pyarrow as pa

        n_rows = 0
        with _Writer(self.folder / EVENTS, self.n_buckets) as writer:
            for table in source.parts(source.columns, _ROWS):
                rejects = _rejects_of_part(source, n_rows, len(table))
                part = of_table(source.name, table, rejects, is_text=source.is_text)
                made = self._event_rows(part, event, rejects)
                kept = rejects.kept(len(table))
                made = made.filter(pa.array(kept))
                self.whole.add(made)
                writer.add(made)
                source.rejects.absorb(rejects, np.arange(n_rows, n_rows + len(table)))
                n_rows += len(table)
                tell(n_rows, self.seen.n_rows)
        if not n_rows and not source.rejects:
            raise DataError(f"{source.name}: there are no events")
        if source.rejects:
            yield source.rejects, n_rows

    def _event_rows(self, part: Source, event: str | None, rejects: Rejects) -> pa.Table:
        import pyarrow as pa
        import pyarrow.compute as pc

        table = part.read(part.columns)
        n_rows = len(table)
        columns = {"contact": ids_of(part, rejects, table["contact"], as_numbers=self.seen.ids_are_numbers)}
        if event is None:
            kind = plain(table["event"])
            if not (is_text_type(kind.type) or pa.types.is_null(kind.type)):
                raise DataError(f"{part.name}: column 'event' is of type {kind.type}; events are named by texts")
            reject_missing(kind, "event", rejects)
            columns["event"] = kind.cast(pa.string())
        else:
            columns["event"] = pa.chunked_array([pa.repeat(pa.scalar(event), n_rows)])
        for name in ("occurred_at", "received_at"):
            if name in part.columns:
                columns[name] = instants(table[name], name, self.zone, rejects).cast(pa.timestamp("us", "UTC"))
        reject_missing(table["occurred_at"], "occurred_at", rejects)
        for one in self.seen.properties:
            columns[one.name] = one.column(table[one.name], self.zone, rejects)
        changed = np.flatnonzero(pc.fill_null(pc.equal(columns["event"], CHANGED), fill_value=False).to_numpy())
        if len(changed):
            reject_bad_changes(part, changed, self.seen.kinds, self.zone, rejects)
        return marked_texts(pa.table(columns), [one.name for one in self.seen.properties if one.is_marked])

    def contacts(self, source: Source | None) -> Iterator[tuple[Rejects, int]]:
        """Writes the good rows of the contacts, and gives what was wrong with the others."""
        import pyarrow as pa

        if source is None:
            return
        n_rows = 0
        with _Writer(self.folder / CONTACTS, self.n_buckets) as writer:
            for table in source.parts(source.columns, _ROWS):
                rejects = _rejects_of_part(source, n_rows, len(table))
                ids = ids_of(source, rejects, table["contact"], as_numbers=self.seen.ids_are_numbers)
                columns = {"contact": ids, _ROW: pa.array(np.arange(n_rows, n_rows + len(table)))}
                for one in self.seen.attributes:
                    columns[one.name] = one.column(table[one.name], self.zone, rejects)
                if "timezone" in columns:
                    reject_bad_zones(columns["timezone"], "timezone", rejects)
                made = marked_texts(pa.table(columns), [one.name for one in self.seen.attributes if one.is_marked])
                writer.add(made.filter(ids.is_valid()))
                source.rejects.absorb(rejects, np.arange(n_rows, n_rows + len(table)))
                n_rows += len(table)
        self._once(source, n_rows)
        if source.rejects:
            yield source.rejects, n_rows

    def _once(self, source: Source, n_rows: int) -> None:
        """Rejects contacts that are there again, and leaves bad rows out."""
        import pyarrow as pa
        import pyarrow.compute as pc
        import pyarrow.parquet as pq

        for k in range(self.n_buckets):
            path = bucket_file(self.folder / CONTACTS, k)
            if not path.exists():
                continue
            found = pq.read_table(path, columns=["contact", _ROW])
            codes, _ = intern(found["contact"])
            _, first = np.unique(codes, return_index=True)
            again = np.setdiff1d(np.arange(len(codes)), first)
            rows = found[_ROW].to_numpy()
            earlier = dict(zip(codes[first].tolist(), source.rejects.number(rows[first]).tolist(), strict=True))
            place = source.rejects.place
            reasons = pa.array([f"is also on {place} {earlier[code]}" for code in codes[again].tolist()], pa.string())
            source.rejects.add(rows[again], "contact", pc.take(found["contact"], pa.array(again)), reasons)
        keep = source.rejects.kept(n_rows)
        for k in range(self.n_buckets):
            path = bucket_file(self.folder / CONTACTS, k)
            if path.exists():
                table = pq.read_table(path)
                kept = table.filter(pa.array(keep[table[_ROW].to_numpy()])).drop_columns(_ROW)
                pq.write_table(with_kinds(kept, self.seen.kinds), path)

    def finish(self, bad: Sequence[Rejects], source: str) -> None:
        """Writes what the log is as a whole."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        ids = pa.int64() if self.seen.ids_are_numbers else pa.string()
        nobody = with_kinds(pa.schema([("contact", ids)]).empty_table(), self.seen.kinds)
        counts, n_events = [], []
        for k in range(self.n_buckets):
            path = bucket_file(self.folder / CONTACTS, k)
            if not path.exists():
                path.parent.mkdir(exist_ok=True)
                pq.write_table(nobody, path)
            people = pq.read_table(path, columns=["contact"])["contact"]
            there = pq.read_table(bucket_file(self.folder / EVENTS, k), columns=["contact"])["contact"]
            n_events.append(len(there))
            counts.append(len(pa.chunked_array([*people.chunks, *there.chunks], ids).unique()))
        meta = {
            "format": FORMAT, "source": source, "timezone": self.zone, "n_buckets": self.n_buckets,
            "span": self.whole.span, "n_contacts": counts, "n_events": n_events,
            "properties": sorted(one.name for one in self.seen.properties),
            "n_by_event": dict(sorted(self.whole.n_by_event.items())), "consent": sorted(self.whole.consent, key=str),
        }  # fmt: skip
        if bad:
            pq.write_table(pa.concat_tables([one.table for one in bad]), self.folder / REJECTS)
        (self.folder / META).write_text(json.dumps(meta, indent=1) + "\n", encoding="utf-8")


def _rejects_of_part(source: Source, start: int, n_rows: int) -> Rejects:
    """Empty rejects for rows from one on, which are numbered as in the whole."""
    return source.rejects.of(np.arange(start, start + n_rows))


class _Writer:
    """Files of buckets to which tables are added; their rows go on in their order."""

    def __init__(self, folder: Path, n_buckets: int) -> None:
        self._folder, self._n = folder, n_buckets
        self._files: dict[int, pq.ParquetWriter] = {}
        self._waiting: list[list[pa.Table]] = [[] for _ in range(n_buckets)]
        self._n_bytes = 0

    def __enter__(self) -> _Writer:
        self._folder.mkdir(parents=True)
        return self

    def __exit__(self, *problem: object) -> None:
        import pyarrow.parquet as pq

        self._flush()
        for file in self._files.values():
            file.close()
        for k in {*range(self._n)} - {*self._files} if self._files else ():
            nothing = next(iter(self._files.values())).schema.empty_table()
            pq.write_table(nothing, bucket_file(self._folder, k))

    def add(self, table: pa.Table) -> None:
        """Adds the rows of a table, each to the bucket of its contact."""
        import pyarrow as pa

        codes, ids = intern(table["contact"])
        bucket = (unit_hashes(ids) % np.uint64(self._n)).astype(np.int64)[codes]
        order = np.argsort(bucket, kind="stable")
        sorted_rows = table.take(pa.array(order))
        ends = np.searchsorted(bucket[order], np.arange(self._n + 1))
        for k in np.flatnonzero(np.diff(ends)).tolist():
            self._waiting[k].append(sorted_rows.slice(ends[k], ends[k + 1] - ends[k]))
        self._n_bytes += table.nbytes
        if self._n_bytes > _BUFFERED:
            self._flush()

    def _flush(self) -> None:
        import pyarrow as pa
        import pyarrow.parquet as pq

        for k, tables in enumerate(self._waiting):
            if tables:
                whole = pa.concat_tables(tables)
                if k not in self._files:
                    self._files[k] = pq.ParquetWriter(bucket_file(self._folder, k), whole.schema)
                self._files[k].write_table(whole)
                tables.clear()
        self._n_bytes = 0
