"""The event log: what contacts did, read from anywhere, checked, and prepared once for the machine.

>>> log = EventLog.from_rows(
...     [
...         {"contact": "ada", "event": "signup", "occurred_at": "2026-03-01T09:00:00Z", "plan": "trial"},
...         {"contact": "ada", "event": "purchase", "occurred_at": "2026-03-04T18:30:00Z", "amount": 30},
...     ],
...     [{"contact": "ada", "country": "PL"}, {"contact": "bo", "country": "DE"}],
... )
>>> log
EventLog(2 events of 2 contacts, 2 kinds, 2026-03-01 to 2026-03-04)
>>> log.stream("purchase").offsets.tolist(), log.property("amount").values.tolist()
([0, 1, 1], [nan, 30.0])
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, NamedTuple

import numpy as np

from . import logcache, logviews
from .attributes import CHANGED, Attribute, Changes, attribute_of
from .clock import NEVER, instant, microseconds
from .columnvalues import Column, column_floats, column_of, is_marked_text
from .errors import DataError, known
from .eventindex import Stream, group_by_contact
from .instants import check_zone, instants
from .logreading import Prepared, Properties, mapped, prepare, properties_of, renamed
from .logsource import open_source
from .progress import Progress, shown
from .rejects import Rejects, check_choice
from .resulttables import Tables
from .tablesource import Source

if TYPE_CHECKING:
    from collections.abc import Callable

    import pandas as pd
    import pyarrow as pa
    from numpy.typing import NDArray

__all__ = ["EventLog", "WholeLog"]

_WORTH_CACHING = 100_000
_WORTH_THREADS = 10_000
_STEPS = ("read", "check", "index")


class WholeLog(NamedTuple):
    """What a part of a log that was read by itself has to know of the whole.

    Attributes:
        span: the first and the last event's instant, microseconds since 1970-01-01T00:00Z.
        events: the kinds of events.
        consent: the purposes of all events that give or withdraw consent, None where one names no purpose.
    """

    span: tuple[int, int]
    events: frozenset[str]
    consent: frozenset[str | None]

    def has_consent(self, purpose: str) -> bool:
        """Whether any event gives or withdraws consent for a purpose, or for all (rule 34)."""
        return not {None, purpose}.isdisjoint(self.consent)


class EventLog(Tables):
    """The events of contacts over a span of time, with their properties, and the contacts' attributes.

    Made by `read` or `from_rows`; it never changes. Contacts have codes from 0 on, which index every array by contact;
    events have rows, their positions in the order of reading, which index the values of properties.

    Attributes:
        contact_ids: Arrow array of int64 or text by code, contacts without events included.
        event_names: the kinds of events, sorted.
        start_us: the first event's instant, microseconds since 1970-01-01T00:00Z.
        end_us: the last event's.
        rejects: Arrow table of what was set aside: source, row, column, value, reason.
        part_of: what is known of the log of which it is a part that was read by itself, else None.
    """

    _table_names: ClassVar = ("summary", "contacts", "events", "rejects")

    def __init__(
        self,
        prepared: Prepared,
        properties: Properties,
        *,
        timezone: str | None = None,
        entry: logcache.Entry | None = None,
        whole: EventLog | None = None,
        codes: NDArray[np.int64] | None = None,
        first_at: NDArray[np.int64] | None = None,
        part_of: WholeLog | None = None,
    ) -> None:
        self.contact_ids: pa.Array = prepared.contact_ids
        self.event_names: list[str] = prepared.event_names
        self.start_us, self.end_us = prepared.span
        self.rejects: pa.Table = prepared.rejects
        self._prepared = prepared
        self._properties = properties
        self._timezone = timezone
        self._entry = entry
        # A part of a log takes the meaning of columns from the whole, where its contacts have these codes.
        self._whole, self._codes = whole, codes
        self._first_at = first_at
        self.part_of = part_of
        self._streams: dict[str, Stream] = {}
        self._columns: dict[str, Column] = whole._columns if whole is not None else {}
        self._attributes: dict[str, Attribute] = {}

    @classmethod
    def read(
        cls,
        source: Any,
        *,
        contacts: Any = None,
        columns: Mapping[str, str] | None = None,
        event: str | None = None,
        timezone: str | None = None,
        rejects: Literal["error", "set_aside"] = "error",
        query: str | None = None,
        cache: bool | str | Path | None = None,
        progress: Progress = None,
    ) -> EventLog:
        """The event log in a file, at a URL, in a data frame or in a database.

        The table has `contact` (whole numbers or texts), `event` (text) and `occurred_at`; it may have `received_at`,
        and every further column is a property. `attribute_changed` events have the attribute's name in `name` and its
        new value in `value`.

        Args:
            source: path or URL of a Parquet, CSV, JSON Lines or Arrow (Feather) file, the texts also with `.gz`; a
                folder of Parquet files; a pandas or polars DataFrame; an Arrow table or reader; a DuckDB relation; or,
                with `query`, a DuckDB connection, an SQLAlchemy engine, connection or URL.
            contacts: the same for a table with one row for each contact: `contact`, and attributes.
            columns: their names there to names here, such as `{"customer_id": "contact", "date": "occurred_at"}`.
            event: the name of the one kind of event, for a table without a column `event`.
            timezone: the zone of times that do not say theirs, and of dates (midnight, by rule 3).
            rejects: what to do with bad rows: one `"error"` that names them, or `"set_aside"` into `rejects`.
            query: the SQL query that gives the events of a database.
            cache: `False` to leave nothing on disk, a folder to use it; by default logs of 100,000 events and more
                that come from files are kept prepared in the user's cache folder (or `JOURNEYLAB_CACHE`).
            progress: `True` for a bar, or what to call with the steps done and in all; see `progress`.

        Raises:
            DataError: when something is missing, of a wrong type, naive, unreadable, empty, or has bad rows.
        """
        if timezone is not None:
            check_zone(timezone)
        check_choice(rejects)
        mapping = dict(columns or {})
        arguments = {"columns": mapping, "event": event, "timezone": timezone, "rejects": rejects}
        entry = logcache.entry_for([source, contacts], arguments, cache) if query is None else None
        if entry is not None and entry.is_there:
            prepared, properties = logcache.load(entry)
            if properties is None:
                properties = properties_of(renamed(open_source(source), mapping), prepared.keep)
            return cls(prepared, properties, timezone=timezone, entry=entry)
        with shown(progress, "reading the event log") as tell:
            people = open_source(contacts, what="contacts") if contacts is not None else None
            events, people = mapped(open_source(source, query), people, mapping)
            prepared, properties = prepare(
                events, people, event=event, zone=timezone, rejects=rejects,
                step=lambda name: tell(_STEPS.index(name), len(_STEPS)),
            )  # fmt: skip
            tell(len(_STEPS), len(_STEPS))
        if entry is not None and (cache is not None or prepared.n_events >= _WORTH_CACHING):
            logcache.save(entry, prepared, None if events.is_lazy else properties)
        else:
            entry = None
        return cls(prepared, properties, timezone=timezone, entry=entry)

    @classmethod
    def part_in(
        cls,
        events: Any,
        contacts: Any,
        whole: WholeLog,
        *,
        timezone: str | None,
        event: str | None = None,
        rejects: Literal["error", "set_aside"] = "error",
    ) -> EventLog:
        """A part of a log, in tables (or sources) whose columns are what they are in the whole; it may have no events.

        `event`, `timezone` and `rejects` are as for `read`.
        """
        prepared, properties = prepare(
            events if isinstance(events, Source) else open_source(events),
            contacts if isinstance(contacts, Source | None) else open_source(contacts, what="contacts"),
            event=event, zone=timezone, rejects=rejects, step=lambda _: None, span=whole.span,
        )  # fmt: skip
        return cls(prepared, properties, timezone=timezone, part_of=whole)

    @classmethod
    def from_rows(
        cls, events: Iterable[Mapping[str, Any]], contacts: Iterable[Mapping[str, Any]] = (), **options: Any
    ) -> EventLog:
        """The event log of rows in Python, in their order; `options` as for `read`."""
        people = [dict(row) for row in contacts]
        return cls.read([dict(row) for row in events], contacts=people or None, **options)

    @property
    def n_contacts(self) -> int:
        """How many contacts there are, those without events included."""
        return len(self.contact_ids)

    @property
    def n_events(self) -> int:
        """How many events there are."""
        return self._prepared.n_events

    @property
    def start_at(self) -> datetime:
        """The instant of the first event of the log that was read."""
        return instant(self.start_us)

    @property
    def end_at(self) -> datetime:
        """The instant of the last event, or that up to which the log is known."""
        return instant(self.end_us)

    @property
    def property_names(self) -> list[str]:
        """The properties that events may have, sorted."""
        return sorted(self._properties.names)

    @cached_property
    def attribute_names(self) -> list[str]:
        """The attributes of contacts, those known from changes only included, sorted."""
        if self._whole is not None:
            return self._whole.attribute_names
        changed = [] if self._changes is None else self._changes.names
        return sorted({*self._prepared.attributes.column_names, *changed})

    @cached_property
    def unit_hashes(self) -> NDArray[np.uint64]:
        """The unit hash of every contact, uint64 by code (rule 22)."""
        from .keyedhash import unit_hashes

        return unit_hashes(self.contact_ids)

    @cached_property
    def rank(self) -> NDArray[np.int64]:
        """The position of every contact among all, sorted by id: int64 by code."""
        import pyarrow.compute as pc

        rank = np.empty(self.n_contacts, np.int64)
        rank[pc.sort_indices(self.contact_ids).to_numpy()] = np.arange(self.n_contacts)
        return rank

    @property
    def first_at(self) -> NDArray[np.int64]:
        """The instant from which every contact exists (rule 11): int64 by code, microseconds since 1970-01-01T00:00Z.

        That of the contact's first event; of a contact without any event, the log's first instant.
        """
        if self._first_at is None:
            events = self._prepared.occurrences
            first_at = np.full(self.n_contacts, NEVER, np.int64)
            np.minimum.at(first_at, events.contact, events.at)
            self._first_at = np.where(first_at == NEVER, self.start_us, first_at)
        return self._first_at

    @cached_property
    def _received_us(self) -> NDArray[np.float64]:
        """When each row's event was received, NaN where that is unknown; exact for times in bounds."""
        rejects = Rejects(self._properties.source)
        return column_floats(instants(self._properties.read("received_at"), "received_at", self._timezone, rejects))

    @property
    def names_read(self) -> tuple[frozenset[str], frozenset[str]]:
        """The properties and the attributes that were asked for so far."""
        return frozenset(self._columns), frozenset(self._attributes)

    def stream(self, event_name: str) -> Stream:
        """The occurrences of one kind of event by contact, by instant and row; none of an unknown kind."""
        if event_name not in self._streams:
            self._streams[event_name] = self._stream(event_name)
        return self._streams[event_name]

    def _stream(self, event_name: str) -> Stream:
        if self._entry is None or event_name not in self.event_names:
            return self.stream_where(event_name, None)
        name = f"stream-{self.event_names.index(event_name)}"
        kept = self._entry.arrays(name)
        if kept is not None:
            return Stream(*kept)
        stream = self.stream_where(event_name, None)
        self._entry.add(name, stream)
        return stream

    @property
    def known_events(self) -> list[str]:
        """The kinds of events of the log, or of the one that it is a part of, sorted."""
        return self.event_names if self.part_of is None else sorted(self.part_of.events)

    def occurs(self, event_name: str) -> bool:
        """Whether the log has any event of a kind, or the log in buckets has of which it is a part."""
        return (self.part_of is not None and event_name in self.part_of.events) or len(self.stream(event_name).at) > 0

    def stream_where(
        self, event_name: str, keep: Callable[[NDArray[np.integer[Any]]], NDArray[np.bool_]] | None
    ) -> Stream:
        """The occurrences of one kind of event for whose rows `keep` is true, by contact, by instant and row."""
        events = self._prepared.occurrences
        mine = slice(0, 0)
        if event_name in self.event_names:
            kind = self.event_names.index(event_name)
            mine = slice(int(events.offsets[kind]), int(events.offsets[kind + 1]))
        found = events.contact[mine], events.at[mine], events.row[mine]
        if keep is not None:
            kept = keep(found[2])
            found = found[0][kept], found[1][kept], found[2][kept]
        return group_by_contact(*found, self.n_contacts)

    def property(self, name: str) -> Column:
        """One property of all events: its kind, and its values by row of the log that was read.

        Raises:
            DataError: when there is no such property, or it cannot be one.
        """
        if name not in self._columns:
            if name not in self._properties.names:
                raise DataError(
                    f"events have no property {name!r}; {known(name, self._properties.names, 'properties')}"
                )
            self._columns[name] = self._column(name, self._properties.read_table([name]))
        return self._columns[name]

    def _column(self, name: str, table: pa.Table) -> Column:
        is_text = is_marked_text(table, name)
        return column_of(table[name], name, self._timezone, self._properties.source, is_text=is_text)

    def load(self, names: Iterable[str]) -> None:
        """Reads some properties at once, which is faster than when each is first asked for.

        Names that no property has, and properties that cannot be one, are left to `property`.
        """
        asked = {*names} - {*self._columns}
        wanted = [name for name in self._properties.names if name in asked]
        if not wanted:  # as for every further replay over the log
            return
        table = self._properties.read_table(wanted)

        def load(name: str) -> None:
            with suppress(DataError):
                self._columns[name] = self._column(name, table)

        if table.num_rows < _WORTH_THREADS:
            for name in wanted:
                load(name)
            return
        with ThreadPoolExecutor() as threads:
            list(threads.map(load, wanted))

    @cached_property
    def _changes(self) -> Changes | None:
        if CHANGED not in self.event_names:
            return None
        read = self._properties.read
        return Changes.of(self.stream(CHANGED), read("name"), read("value"))

    def attribute(self, name: str) -> Attribute:
        """One attribute of all contacts: the contacts table's value, then every change of it (rule 7).

        >>> at = "2026-03-01T00:00:00Z"
        >>> change = {"contact": 1, "event": "attribute_changed", "occurred_at": at, "name": "age", "value": "31"}
        >>> age = EventLog.from_rows([change], [{"contact": 1, "age": 30}]).attribute("age")
        >>> age.kind, age.base.tolist(), age.value.tolist()
        ('number', [30.0], [31.0])

        Raises:
            DataError: when there is no such attribute, or it cannot be one.
        """
        if name not in self._attributes:
            if name not in self.attribute_names:
                raise DataError(
                    f"contacts have no attribute {name!r}; {known(name, self.attribute_names, 'attributes')}"
                )
            self._attributes[name] = self._attribute(name)
        return self._attributes[name]

    def _attribute(self, name: str) -> Attribute:
        if self._whole is not None:
            return self._whole.attribute(name).part(self.stream(CHANGED), self._codes)
        base = None
        if name in self._prepared.attributes.column_names:
            table = self._prepared.attributes
            is_text = is_marked_text(table, name)
            base = column_of(table[name], name, self._timezone, "the contacts", is_text=is_text)
        return attribute_of(name, base, self._changes, self._timezone, self.n_contacts)

    def partition(self, k: int, n: int) -> EventLog:
        """The log of the contacts that belong to part k of n, by a hash of their ids; the span is the whole log's.

        Rows, and with them the values of properties, are those of the whole log.

        >>> rows = [{"contact": n, "event": "visit", "occurred_at": "2026-03-01T00:00:00Z"} for n in range(5)]
        >>> log = EventLog.from_rows(rows)
        >>> [log.partition(k, 2).contact_ids.to_pylist() for k in range(2)]
        [[0, 1, 3, 4], [2]]
        """
        if not 0 <= k < n:
            raise ValueError(f"part {k} of {n} does not exist; parts count from 0")
        mine = self.unit_hashes % np.uint64(n) == k
        import pyarrow as pa

        events = self._prepared.occurrences
        events = events.where(mine[events.contact])
        code = (np.cumsum(mine, dtype=np.int32) - 1).astype(np.int32)
        prepared = replace(
            self._prepared,
            contact_ids=self.contact_ids.filter(pa.array(mine)),
            occurrences=events._replace(contact=code[events.contact]),
        )
        return self._part(prepared, codes=np.flatnonzero(mine), first_at=self.first_at[mine])

    def truncated(self, until: datetime) -> EventLog:
        """The log as it was known at an instant: without later events, with all contacts and their table.

        Raises:
            ValueError: for a naive datetime.
        """
        until_us = microseconds(until)
        events = self._prepared.occurrences
        span = self.start_us, until_us
        prepared = replace(self._prepared, occurrences=events.where(events.at <= until_us), span=span)
        return self._part(prepared, first_at=self.first_at)

    def known_between(self, start: datetime, end: datetime) -> EventLog:
        """The log as a part of what is known from one instant to another: both are later or earlier than its events.

        Raises:
            ValueError: for a naive datetime.
        """
        prepared = replace(self._prepared, span=(microseconds(start), microseconds(end)))
        return self._part(prepared, first_at=self.first_at)

    def hiding(
        self, hidden: Callable[[str, NDArray[np.int32], NDArray[np.int64], NDArray[np.integer[Any]]], NDArray[np.bool_]]
    ) -> EventLog:
        """The log as somebody knows it who does not see some events; `hidden` picks them of each kind.

        It is called with the kind's name, and the contacts' codes, instants (microseconds) and rows of its events.
        """
        events = self._prepared.occurrences
        seen = np.ones(len(events.at), np.bool_)
        for kind, name in enumerate(self._prepared.event_names):
            mine = slice(int(events.offsets[kind]), int(events.offsets[kind + 1]))
            seen[mine] = ~hidden(name, events.contact[mine], events.at[mine], events.row[mine])
        return self._part(replace(self._prepared, occurrences=events.where(seen)), first_at=self.first_at)

    def by_received(self) -> EventLog:
        """The log whose events happen when they were received, where that is known (rule 29).

        Raises:
            DataError: when the log has no `received_at`.
        """
        if not self._prepared.has_received:
            raise DataError(f"{self._properties.source}: there is no column 'received_at'; map one with columns=")
        events = self._prepared.occurrences
        received = self._received_us[events.row]
        at = np.where(np.isnan(received), events.at, received).astype(np.int64)
        span = (int(at.min()), int(at.max())) if len(at) else self._prepared.span
        return self._part(replace(self._prepared, occurrences=events._replace(at=at), span=span))

    def _part(
        self,
        prepared: Prepared,
        *,
        codes: NDArray[np.int64] | None = None,
        first_at: NDArray[np.int64] | None = None,
    ) -> EventLog:
        whole = self._whole or self
        if self._codes is not None:
            codes = self._codes if codes is None else self._codes[codes]
        return EventLog(
            prepared, self._properties, timezone=self._timezone, whole=whole, codes=codes, first_at=first_at
        )

    def contacts(self, as_of: datetime | None = None) -> pd.DataFrame:
        """The contacts with their attributes as of an instant (default: the log's end), sorted by id.

        Columns: `contact`, and every attribute: numbers as float64, flags as nullable booleans, texts, dates, and
        instants as UTC timestamps; missing where unknown.
        """
        return logviews.contacts_of(self, self.end_us if as_of is None else microseconds(as_of))

    def events(self) -> pd.DataFrame:
        """All events with their properties: `contact`, `event`, `occurred_at` (UTC), and each property; for people.

        Sorted by contact, then instant, then row in the log.
        """
        return logviews.events_of(self)

    def summary(self) -> pd.DataFrame:
        """The kinds of events: `event`, `n_events`, `n_contacts`, `first_at` and `last_at` (UTC)."""
        return logviews.summary_of(self)

    def __repr__(self) -> str:
        return logviews.line_of(self)

    def _repr_html_(self) -> str:
        return logviews.html_of(self)
