"""What an import does: reads exports, makes events and contacts of them, and adds to a log what is new."""

from __future__ import annotations

import csv
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Final, Literal

from journeylab.display import block, counted, frame
from journeylab.errors import DataError
from journeylab.instants import check_zone
from journeylab.rejects import check_choice, no_rejects
from journeylab.resulttables import Tables

from .adapter import MARKETING, Adapter
from .catalogue import adapter_of
from .databases import database_of
from .exports import Export, exports_in
from .logfile import Added, Log, People
from .mapping import Mapped, Told, map_rows
from .values import stacked
from .warehouse import Asked, exports_of

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

__all__ = ["ImportedEvents", "import_events"]

_NAME: Final = re.compile(r"[A-Za-z][A-Za-z0-9_.-]*")
_WITH_TABLE: Final = re.compile(r"(\w+)=(.+)", re.DOTALL)


@dataclass(frozen=True, eq=False)
class ImportedEvents(Tables):
    """What an import brought.

    Attributes:
        system: the name of the system.
        events: Arrow table of the whole log: `contact`, `event` (text), `occurred_at` (UTC), `source_id` (text),
            `received_at` and `message` where they are known, `message_id` where messages have names beside, and
            properties: numbers as float64, flags as bool, all else as text. Sorted by instant, then contact.
        contacts: Arrow table of all contacts: `contact`, `modified_at` where it is known, attributes; None where the
            exports have none.
        rejects: Arrow table of what was set aside: source, row, column, value, reason.
        by_event: of what came: `event`, `n_events`, `n_new`, `first_at`, `last_at` (UTC).
        n_rows: how many rows the exports have.
        n_new: how many events were new.
        n_repeated: how many were in the log already, or came twice, by their ids.
        n_changed: how many of these came with other values; the first are kept.
        n_set_aside: how many rows were set aside.
        left_out: how many rows were left out as the map says, by table and reason.
        unnamed: columns that the map does not name, by table: they are kept as properties.
        clocks: how the instants of each table were understood, in sentences.
        asked: what databases were asked for, in sentences.
    """

    _table_names: ClassVar = ("by_event",)

    system: str
    events: pa.Table
    contacts: pa.Table | None
    rejects: pa.Table
    by_event: pd.DataFrame
    n_rows: int
    n_new: int
    n_repeated: int
    n_changed: int
    n_set_aside: int
    left_out: Mapping[tuple[str, str], int]
    unnamed: Mapping[str, Sequence[str]]
    clocks: Sequence[str]
    asked: Sequence[str]

    def __repr__(self) -> str:
        return (
            f"ImportedEvents({self.system}: {counted(self.n_rows, 'row')}, {self.n_new:,} new, {self.n_repeated:,} "
            f"repeated, {self.n_set_aside:,} set aside)"
        )

    def _repr_html_(self) -> str:
        return block(repr(self), frame(self.by_event))

    def summary(self) -> dict[str, Any]:
        """All figures as plain data, for JSON."""
        return {
            "system": self.system,
            "n_rows": self.n_rows,
            "n_new": self.n_new,
            "n_repeated": self.n_repeated,
            "n_changed": self.n_changed,
            "n_set_aside": self.n_set_aside,
            "n_events": len(self.events),
            "n_contacts": 0 if self.contacts is None else len(self.contacts),
            "left_out": [{"table": table, "reason": why, "n_rows": n} for (table, why), n in self.left_out.items()],
            "unnamed": {table: list(names) for table, names in self.unnamed.items()},
            "clocks": list(self.clocks),
            "asked": list(self.asked),
            "by_event": [
                {**row, "first_at": row["first_at"].isoformat(), "last_at": row["last_at"].isoformat()}
                for row in self.by_event.to_dict("records")
            ],
        }


def import_events(
    system: str,
    sources: Any,
    log: str | Path | None = None,
    *,
    contacts: str | Path | None = None,
    timezone: str | None = None,
    purpose: str = MARKETING,
    rejects: Literal["error", "set_aside"] = "error",
    query: str | None = None,
    name: str | None = None,
    numbers: Sequence[str] = (),
    messages: str | Path | Mapping[str, str] | None = None,
) -> ImportedEvents:
    """The events in exports of a system, added to a log where one is given.

    What is in the log already is known by the source's id and changes nothing, so exports may overlap, come in any
    order, and be imported again. docs/importing-events.md has the maps of all systems.

    Args:
        system: its name, such as `"salesforce"`; `journeylab events systems` lists them.
        sources: an export or several: a file or a folder (CSV, JSON, JSON Lines, Parquet, Arrow, `.gz`, `.zip`), a
            frame, a list of dicts, a database (URL, SQLAlchemy, DuckDB or ADBC connection); `TABLE=SOURCE`, or a
            mapping from tables to sources, where neither columns nor names tell which table it is.
        log: the Parquet file of the log, which is made or added to; nothing is written without it.
        contacts: the same for contacts.
        timezone: of times that do not say theirs; it goes before the zone that the format has.
        purpose: of what the exports say of consent.
        rejects: what to do with bad rows: one `"error"` that names them, or `"set_aside"` into `rejects`.
        query: the SQL query that gives the rows of a database; by default the tables that the map knows.
        name: of this source, which begins every id: two instances of one system need two. By default the system's.
        numbers: properties that are numbers where the export has texts; columns that the map names are known.
        messages: what messages are called in journeys, by what the export calls them: an id, a name, or the send that
            triggered them; or a CSV with the columns `message` and `called`, as `journeylab convert --messages` writes
            it. The log keeps it for later imports.

    Raises:
        DataError: when a system or file is not known, cannot be read or has bad rows, or times do not say their zone.

    Example:
        >>> rows = [
        ...     {"contact": "ada", "event": "signup", "occurred_at": "2026-03-01T09:00:00Z", "id": "s-1", "plan": "a"},
        ...     {"contact": "ada", "event": "purchase", "occurred_at": "2026-03-04T18:30:00Z", "id": "p-1"},
        ... ]
        >>> got = import_events("warehouse", [rows + rows[:1]])
        >>> got
        ImportedEvents(warehouse: 3 rows, 2 new, 1 repeated, 0 set aside)
        >>> from journeylab.eventlog import EventLog
        >>> EventLog.read(got.events)
        EventLog(2 events of 1 contact, 2 kinds, 2026-03-01 to 2026-03-04)
    """
    if timezone is not None:
        check_zone(timezone)
    check_choice(rejects)
    adapter = adapter_of(system)
    told = Told(_checked(name or adapter.name), timezone, purpose, frozenset(numbers))
    called = {f"{told.name}/{theirs}": ours for theirs, ours in _called(messages).items()}
    before = Log.empty() if log is None else Log.read(Path(log))
    people = None if contacts is None else People.read(Path(contacts))
    asked = Asked(before.marks)
    taken = _Taken()
    for table, source in _each(adapter, sources):
        for export in _exports(adapter, source, told, asked, query, table):
            taken.take(export, map_rows(adapter, export.table, export.rows, export.rejects, told))
    if rejects == "error":
        taken.refuse()
    after, added = before.with_rows(taken.events, taken.marks, taken.names(told.name), called)
    known = people or People.nobody()
    known_after = known.with_rows(taken.contacts) if taken.contacts else known
    if people is not None and contacts is not None and not known_after.table.equals(people.table):
        known_after.write(Path(contacts))
    if log is not None and not after.is_as(before):
        after.write(Path(log))
    return _result(adapter, told, taken, before, after, added, known_after, asked)


def _checked(name: str) -> str:
    if not _NAME.fullmatch(name):
        raise DataError(f"name={name!r} begins every id: letters, digits, dots, dashes and underscores")
    return name


def _called(messages: str | Path | Mapping[str, str] | None) -> dict[str, str]:
    """What messages are called in journeys, by what the export calls them.

    Raises:
        DataError: when the file cannot be read, or one is called in two ways.
    """
    if messages is None or isinstance(messages, Mapping):
        return dict(messages or {})
    try:
        with Path(messages).open(encoding="utf-8-sig", newline="") as file:
            rows = list(csv.DictReader(file))
    except OSError as problem:
        raise DataError(f"{messages} cannot be read: {problem.strerror}") from None
    except (ValueError, csv.Error) as problem:
        raise DataError(f"{messages} is no CSV: {problem}") from None
    found: dict[str, str] = {}
    for line, row in enumerate(rows, 2):
        ours, theirs = row.get("message"), row.get("called")
        if not ours or not theirs:
            raise DataError(
                f"{messages}, line {line}: a row has `message` and `called`; journeylab convert writes such"
            )
        if found.setdefault(theirs, ours) != ours:
            raise DataError(f"{messages}, line {line}: {theirs!r} is called {found[theirs]!r} and {ours!r}; keep one")
    return found


def _each(adapter: Adapter, sources: Any) -> Iterator[tuple[str | None, Any]]:
    """Each source with the name of its table, where that is said."""
    if isinstance(sources, Mapping):
        yield from sources.items()
        return
    several = isinstance(sources, list | tuple) and not (sources and isinstance(sources[0], Mapping))
    if several and not sources:
        raise DataError("there are no sources; give a file, a folder, a table or a database")
    for source in sources if several else [sources]:
        said = _WITH_TABLE.fullmatch(source) if isinstance(source, str) else None
        if said and said[1].lower() in {table.name.lower() for table in adapter.tables}:
            yield said[1], said[2]
        else:
            yield None, source


def _exports(
    adapter: Adapter, source: Any, told: Told, asked: Asked, query: str | None, table: str | None
) -> Iterator[Export]:
    database = database_of(source)
    if database is None:
        if query is not None:
            raise DataError("a query needs a database: a URL such as postgresql://HOST/NAME, or a connection")
        yield from exports_in(adapter, source, table)
        return
    try:
        yield from exports_of(adapter, database, told, asked, query, table)
    finally:
        database.close()


@dataclass
class _Taken:
    """What was read so far."""

    mapped: list[Mapped] = field(default_factory=list)
    exports: list[Export] = field(default_factory=list)
    kinds: dict[str, Any] = field(default_factory=dict)
    marks: dict[str, int] = field(default_factory=dict)

    def take(self, export: Export, mapped: Mapped) -> None:
        self.kinds.setdefault(export.table.name, export.table)
        if export.rejects:
            self.exports.append(export)
        self.mapped.append(mapped)
        if export.mark and mapped.high is not None:
            self.marks[export.mark] = max(mapped.high, self.marks.get(export.mark, mapped.high))

    def refuse(self) -> None:
        """Refuses all if any row is bad.

        Raises:
            DataError: that names them.
        """
        if self.exports:
            import pyarrow as pa

            errors = [one.rejects.error(len(one.rows)) for one in self.exports]
            raise DataError("\n".join(map(str, errors)), pa.concat_tables([error.rejects for error in errors]))

    @property
    def rejects(self) -> pa.Table:
        import pyarrow as pa

        return pa.concat_tables([one.rejects.table for one in self.exports]) if self.exports else no_rejects()

    @property
    def n_set_aside(self) -> int:
        rows = {
            (source, row)
            for one in self.exports
            for source, row in zip(*(one.rejects.table[name].to_pylist() for name in ("source", "row")), strict=True)
        }
        return len(rows)

    @property
    def events(self) -> pa.Table | None:
        parts = [one.events for one in self.mapped if one.events is not None and len(one.events)]
        return stacked(parts) if parts else None

    @property
    def contacts(self) -> list[pa.Table]:
        return [one.contacts for one in self.mapped if one.contacts is not None and len(one.contacts)]

    @property
    def n_rows(self) -> int:
        return sum(one.n_rows for one in self.mapped) + sum(one.rejects.n_lines_lost for one in self.exports)

    @property
    def left_out(self) -> Counter[tuple[str, str]]:
        return sum((one.left_out for one in self.mapped), Counter())

    def names(self, name: str) -> dict[str, str]:
        return {f"{name}/{key}": said for one in self.mapped for key, said in one.names.items()}

    def unnamed(self) -> dict[str, list[str]]:
        found: dict[str, set[str]] = {}
        for one in self.mapped:
            for table, names in one.unnamed.items():
                found.setdefault(table, set()).update(names)
        return {table: sorted(names) for table, names in sorted(found.items())}


def _clocks(adapter: Adapter, tables: Sequence[Any], zone: str | None) -> list[str]:
    """How the instants of tables were understood, in a sentence for each way."""
    by_text: dict[str, list[str]] = {}
    for table in tables:
        by_text.setdefault(_clock_text(adapter, table, zone), []).append(table.name)
    return [f"instants of {', '.join(names)}: {text}" for text, names in by_text.items()]


def _clock_text(adapter: Adapter, table: Any, zone: str | None) -> str:
    """How the instants of a table were understood."""
    clock = adapter.clock_of(table)
    if clock.form != "text":
        unit = {"s": "seconds", "ms": "milliseconds", "us": "microseconds"}[clock.form]
        return f"in {unit} since 1970, UTC"
    if zone is not None:
        return f"as they say, and where they say no zone in {zone}, as you say"
    if clock.zone is not None:
        return f"as they say, and where they say no zone in {clock.zone}: {clock.told}"
    return "as they say, each with its zone"


def _result(
    adapter: Adapter, told: Told, taken: _Taken, before: Log, after: Log, added: Added, people: People, asked: Asked
) -> ImportedEvents:
    dated = [table for table in taken.kinds.values() if table.cursors and not table.skipped]
    return ImportedEvents(
        system=adapter.name,
        events=after.events,
        contacts=people.table if len(people.table) or taken.contacts else None,
        rejects=taken.rejects,
        by_event=_by_event(taken.events, before.events),
        n_rows=taken.n_rows,
        n_new=added.n_new,
        n_repeated=added.n_repeated,
        n_changed=added.n_changed,
        n_set_aside=taken.n_set_aside,
        left_out=taken.left_out,
        unnamed=taken.unnamed(),
        clocks=_clocks(adapter, dated, told.zone),
        asked=asked.said,
    )


def _by_event(came: pa.Table | None, before: pa.Table) -> pd.DataFrame:
    """The kinds of events that came, each id once: how many, how many were new, the first and the last."""
    import pandas as pd
    import pyarrow.compute as pc

    columns = ["event", "n_events", "n_new", "first_at", "last_at"]
    if came is None:
        return pd.DataFrame({name: [] for name in columns})
    is_new = pc.invert(pc.is_in(came["source_id"], before["source_id"].combine_chunks()))
    rows = came.select(["event", "source_id", "occurred_at"]).append_column("is_new", is_new).to_pandas()
    groups = rows.drop_duplicates("source_id").groupby("event")
    found = groups.agg(
        n_events=("event", "size"),
        n_new=("is_new", "sum"),
        first_at=("occurred_at", "min"),
        last_at=("occurred_at", "max"),
    )
    return found.reset_index()[columns]
