"""What journeys need of a log, pushed down into the database that has it: which events, properties, contacts, dates.

A journey is compiled against the names alone that the database knows, and says then by itself which streams of events
it looks at, under which conditions, and what it reads of them. What is pushed down is never narrower than that: the
machine judges again whatever comes. What only the whole log tells (its span, its kinds of events, for which purposes
there is consent) is asked of the database in a query of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias

from . import conditions as c
from . import layout as o
from .attributes import CHANGED
from .binding import LogNames
from .durations import parse_duration
from .errors import DataError
from .eventlog import EventLog, WholeLog
from .instants import check_zone, instants
from .journey import Policy, Portfolio
from .logreading import check_columns, mapped, renamed
from .logsource import database_parts, open_source
from .program import compile_portfolio
from .progress import Progress, shown
from .rejects import Rejects, check_choice
from .tablesource import Source, of_table
from .worlds import Journeys, releases_of

if TYPE_CHECKING:
    import pyarrow as pa
    import sqlalchemy as sa

    from .program import Compiled

__all__ = ["Needs", "needs_of", "read_for"]

Stream: TypeAlias = tuple[str, c.Tree | None]
"""The events of a name, and the condition on their properties under which one is looked at."""
_CONSENT: Final = ("consent_given", "consent_withdrawn")


@dataclass(frozen=True)
class Needs:
    """What journeys need of a log.

    Attributes:
        streams: the events by their names, each with the conditions on its properties under which one is looked at;
            None for any.
        properties: the properties that are read.
        attributes: the attributes that are read, whose changes are needed.
        triggers: the streams of which a contact needs one to enter at all; None where contacts enter without an event.
        needs_first: whether it matters since when a contact exists (rule 11).
    """

    streams: Mapping[str, tuple[c.Tree | None, ...]]
    properties: frozenset[str]
    attributes: frozenset[str]
    triggers: tuple[Stream, ...] | None
    needs_first: bool


def needs_of(journeys: Journeys, log: EventLog, policy: Policy | None = None) -> Needs:
    """What journeys need, by the program that they are with the names of a log; of its rows none is looked at.

    >>> from journeylab import EventLog, Journey
    >>> log = EventLog.from_rows([{"contact": 1, "event": "signup", "occurred_at": "2026-03-01T00:00Z", "plan": "x"}])
    >>> hello = Journey.from_data({"journey": "hello", "trigger": {"event": "signup", "where": "plan == 'trial'"},
    ...                            "nodes": {"pause": {"wait_for": "purchase", "within": "7d", "then": "done",
    ...                                                "else": "done"}, "done": {"exit": "seen"}}})
    >>> needs = needs_of(hello, log)
    >>> sorted({*needs.streams} - {"bounced", "complained", "consent_given", "consent_withdrawn", "erased"})
    ['purchase', 'signup']
    >>> sorted(needs.properties)
    ['plan']

    Raises:
        DefinitionError: when a journey is unsound or names what the log does not have.
    """
    releases, names = releases_of(journeys), LogNames(log)
    own = journeys.policy if isinstance(journeys, Portfolio) else None
    compiled = compile_portfolio(releases, policy or own or Policy(), names)
    streams: dict[str, list[c.Tree | None]] = {}
    for event, where in names.streams:
        streams.setdefault(event, []).append(where)
    trees = [where for wheres in streams.values() for where in wheres if where is not None]
    read = {part.name for tree in trees for part in c.walk(tree) if isinstance(part, c.Property)}
    kinds = compiled.program.journeys[:, o.J_TRIGGER]
    return Needs(
        {event: tuple(dict.fromkeys(wheres)) for event, wheres in streams.items()},
        frozenset({*names.properties, *read} & {*log.property_names}),
        frozenset({*names.attributes, "timezone"}),
        _triggers(compiled, names.streams) if (kinds == o.TRIGGER_EVENT).all() else None,
        bool((kinds == o.TRIGGER_SEGMENT).any()),
    )


def _triggers(
    compiled: Compiled, streams: Sequence[tuple[str, c.Tree | None]]
) -> tuple[tuple[str, c.Tree | None], ...]:
    return tuple(dict.fromkeys(streams[int(one)] for one in compiled.program.journeys[:, o.J_STREAM]))


def read_for(
    journeys: Journeys,
    database: Any,
    query: str,
    *,
    contacts: Any = None,
    columns: Mapping[str, str] | None = None,
    event: str | None = None,
    timezone: str | None = None,
    rejects: Literal["error", "set_aside"] = "error",
    until: datetime | None = None,
    match: timedelta | str = "1d",
    policy: Policy | None = None,
    progress: Progress = None,
) -> EventLog:
    """As much of a log in a database as journeys need for a replay, which is then that over the whole log.

    It is no log for anything else: other journeys, audiences or fits need other rows. Bad rows that no journey needs
    are not seen.

    Args:
        journeys: as for `replay`, like `until`, `match` and `policy`.
        database: an SQLAlchemy engine, connection or URL, or a DuckDB connection.
        query: the SELECT that gives the events.
        contacts: the contacts and their attributes, as for `EventLog.read`, like the following.
        columns: names there to names here.
        event: the name of the one kind of event.
        timezone: the zone of times that do not say theirs.
        rejects: what to do with bad rows.
        until: the horizon, where one is asked for: what happens later is left where it is.
        match: how far a logged `sent` may lie from the send that it answers for.
        policy: what holds over all journeys.
        progress: `True` for a bar, or what to call with the queries done and in all.

    Raises:
        DataError: when the query fails, or what comes does not fit.
        DefinitionError: when a journey is unsound or names what the log does not have.

    >>> import duckdb
    >>> from journeylab import Journey
    >>> db = duckdb.connect()
    >>> _ = db.execute("CREATE TABLE e AS SELECT n AS contact, if(n < 3, 'signup', 'visit') AS event, "
    ...                "TIMESTAMPTZ '2026-03-01 00:00+00' AS occurred_at FROM range(1000) AS r(n)")
    >>> hello = Journey.from_data({"journey": "hello", "trigger": {"event": "signup"},
    ...                            "nodes": {"done": {"exit": "seen"}}})
    >>> read_for(hello, db, "SELECT * FROM e")
    EventLog(3 events of 3 contacts, 1 kind, 2026-03-01 to 2026-03-01)
    """
    if timezone is not None:
        check_zone(timezone)
    check_choice(rejects)
    asked = _Asked(database, query, dict(columns or {}), event)
    with shown(progress, "reading what the journeys need") as tell:
        people = open_source(contacts, what="contacts") if contacts is not None else None
        empty, people = mapped(asked.empty, people, asked.columns)
        check_columns(empty, people, event)
        whole = asked.whole(timezone)
        tell(1, 2)
        names = EventLog.part_in(empty, _kinds(people, asked.changed(), empty), whole, timezone=timezone, event=event)
        needs = needs_of(journeys, names, policy)
        later = None if until is None else until + parse_duration(match)
        rows = renamed(asked.source(asked.needed(needs, empty.columns, later)), asked.columns)
        log = EventLog.part_in(rows, people, whole, timezone=timezone, event=event, rejects=rejects)
        tell(2, 2)
    return log


def _kinds(people: Source | None, changed: Iterable[str], events: Source) -> pa.Table:
    """A contacts table without rows, with the attributes that are known from changes only."""
    import pyarrow as pa

    if people is None:
        made = events.read(["contact"])
    else:
        some = next(people.parts(people.columns, 1), None)
        made = (people.read(people.columns) if some is None else some).slice(0, 0)
    for name in changed:
        if name not in made.column_names:
            made = made.append_column(name, pa.nulls(0))
    return made


class _Asked:
    """A query in a database, and what is asked of it; `columns` are names there to names here."""

    def __init__(self, database: Any, query: str, columns: Mapping[str, str], event: str | None) -> None:
        self.columns, self.event = columns, event
        self._database, self._query = database, query.strip().rstrip(";")
        self._is_duckdb = type(database).__name__ == "DuckDBPyConnection"

    @cached_property
    def empty(self) -> Source:
        """The query's columns, without rows."""
        sql = f"SELECT * FROM ({self._query}) AS events WHERE 1 = 0"
        parts = database_parts(self._database, sql, "events")
        if parts is None:
            raise DataError("the events come from a database: an SQLAlchemy or DuckDB one, or its URL")
        table = next(iter(parts))
        assert table is not None
        return of_table("the query for events", table, Rejects("the query for events"))

    def source(self, statement: Any) -> Source:
        """What a statement gives."""
        return open_source(self._database, self._as_text(statement) if self._is_duckdb else statement)

    def _as_text(self, statement: Any) -> str:
        """A statement in DuckDB's SQL, its values written in."""
        from sqlalchemy.dialects import postgresql

        # By names, because other styles of parameters double each percent sign.
        dialect = postgresql.dialect(paramstyle="named")  # type: ignore[no-untyped-call]
        return str(statement.compile(dialect=dialect, compile_kwargs={"literal_binds": True}))

    def _run(self, statement: Any) -> pa.Table:
        source = self.source(statement)
        return source.read(source.columns)

    @cached_property
    def _events(self) -> sa.Subquery:
        """The query as a table of SQL."""
        import sqlalchemy as sa

        query = self._query.replace(":", r"\:") if self._is_duckdb else self._query
        return sa.text(query).columns(*map(sa.column, self.empty.columns)).subquery("events")

    def _column(self, name: str) -> sa.ColumnElement[Any] | None:
        """A column by its name here; None where there is none."""
        theirs = {ours: theirs for theirs, ours in self.columns.items()}.get(name, name)
        return self._events.c.get(theirs)

    @cached_property
    def _at(self) -> sa.ColumnElement[Any]:
        at = self._column("occurred_at")
        assert at is not None
        return at

    @cached_property
    def _kind(self) -> sa.ColumnElement[str] | None:
        return None if self.event is not None else self._column("event")

    @cached_property
    def _ends(self) -> dict[str, Any]:
        """The least and the greatest `occurred_at` as the database has them, and how many rows there are."""
        import sqlalchemy as sa

        asked = sa.select(
            sa.func.min(self._at).label("first"), sa.func.max(self._at).label("last"), sa.func.count().label("n")
        )
        row: dict[str, Any] = self._run(asked.select_from(self._events)).to_pylist()[0]
        return row

    @property
    def _are_texts(self) -> bool:
        """Whether instants are texts, which the database cannot compare as instants."""
        return isinstance(self._ends["first"], str)

    def whole(self, zone: str | None) -> WholeLog:
        """What only the whole log tells.

        Raises:
            DataError: when there are no events, or no instant of them can be read.
        """
        import pyarrow.compute as pc
        import sqlalchemy as sa

        if not self._ends["n"]:
            raise DataError("the query for events: there are no events")
        names, consent = {str(self.event)}, set[str | None]()
        if self._kind is not None:
            asked = sa.select(self._kind.label("event")).distinct()
            names = {one for one in self._run(asked)["event"].to_pylist() if one}
            if names & {*_CONSENT}:
                about = self._column("purpose")
                consent = {None}
                if about is not None:
                    asked = sa.select(about.label("purpose")).distinct().where(self._kind.in_(_CONSENT))
                    consent = {*pc.unique(self._run(asked)["purpose"]).to_pylist()}
        return WholeLog(self._span(zone), frozenset(names), frozenset(consent))

    def _span(self, zone: str | None) -> tuple[int, int]:
        import pyarrow as pa
        import pyarrow.compute as pc
        import sqlalchemy as sa

        if self._are_texts:
            found = self._run(sa.select(self._at.label("at")))["at"]
        else:
            found = pa.chunked_array([pa.array([self._ends["first"], self._ends["last"]])])
        rejects = Rejects("the query for events")
        ends = pc.min_max(
            instants(found, "occurred_at", zone, rejects).cast(pa.timestamp("us", "UTC")).cast(pa.int64())
        )
        if ends["min"].as_py() is None:
            raise rejects.error(len(found))
        return ends["min"].as_py(), ends["max"].as_py()

    def changed(self) -> list[str]:
        """The attributes that change."""
        import sqlalchemy as sa

        name = self._column("name")
        if self._kind is None or name is None:
            return []
        asked = sa.select(name.label("name")).distinct().where(self._kind == CHANGED)
        return sorted(str(one) for one in self._run(asked)["name"].to_pylist() if one is not None)

    def needed(self, needs: Needs, columns: Sequence[str], until: datetime | None) -> sa.Select[Any]:
        """The statement that gives the rows, and of the columns (by their names here) those that journeys need."""
        import sqlalchemy as sa

        always = ("contact", "event", "occurred_at", "received_at", "name", "value")
        kept = [name for name in columns if name in always or name in needs.properties]
        wanted = [column for name in kept if (column := self._column(name)) is not None]
        contact = self._column("contact")
        assert contact is not None
        row = self._row(needs)
        if needs.needs_first:
            if self._are_texts:
                return sa.select(*wanted)
            # A contact's first event says since when it exists.
            since = sa.func.min(self._at).over(partition_by=contact).label("journeylab_first_at")
            inner = sa.select(*wanted, since, row.label("journeylab_is_needed")).subquery("dated")
            is_first = inner.c[self._at.name] == inner.c.journeylab_first_at
            return sa.select(*(inner.c[one.name] for one in wanted)).where(
                sa.or_(inner.c.journeylab_is_needed, is_first)
            )
        statement = sa.select(*wanted).where(row)
        if needs.triggers is not None:
            entered = sa.or_(*(self._meets(event, where) for event, where in needs.triggers))
            statement = statement.where(contact.in_(sa.select(contact).where(entered)))
        first = self._ends["first"]
        is_aware = isinstance(first, datetime) and first.tzinfo is not None
        return statement.where(self._at <= until) if until is not None and is_aware else statement

    def _row(self, needs: Needs) -> sa.ColumnElement[bool]:
        """Which rows are looked at at all."""
        import sqlalchemy as sa

        parts = [self._meets(event, where) for event, wheres in needs.streams.items() for where in wheres]
        name = self._column("name")
        if self._kind is not None and name is not None:
            parts.append(sa.and_(self._kind == CHANGED, name.in_(sorted(needs.attributes))))
        return sa.or_(*parts)

    def _meets(self, event: str, where: c.Tree | None) -> sa.ColumnElement[bool]:
        """Which rows are of a kind of event and may meet a condition."""
        import sqlalchemy as sa

        is_kind = sa.literal(event == self.event) if self._kind is None else self._kind == event
        told = None if where is None else _sql(where, self._column)
        return is_kind if told is None else sa.and_(is_kind, told)


def _sql(tree: c.Tree, column: Callable[[str], Any]) -> sa.ColumnElement[bool] | None:
    """A condition in SQL that holds wherever the tree does; None where SQL might say otherwise.

    Texts are compared as texts. Whatever turns a missing value into true stays with the machine.
    """
    import sqlalchemy as sa

    match tree:
        case c.And(parts):
            told = [one for one in (_sql(part, column) for part in parts) if one is not None]
            return sa.and_(*told) if told else None
        case c.Or(parts):
            each = [_sql(part, column) for part in parts]
            told = [one for one in each if one is not None]
            return sa.or_(*told) if len(told) == len(each) else None
        case c.Compare("==", c.Property(name), c.Text(value)) if column(name) is not None:
            return sa.cast(column(name), sa.String) == value
        case c.In(c.Property(name), options, False) if column(name) is not None and _are_texts(options):
            return sa.cast(column(name), sa.String).in_(options)
        case c.Missing(c.Property(name)) if column(name) is not None:
            return sa.or_(column(name).is_(None), sa.cast(column(name), sa.String) == "")
    return None


def _are_texts(options: Sequence[object]) -> bool:
    return all(isinstance(one, str) for one in options)
