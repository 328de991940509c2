"""A log in Spark: its DataFrames, what they mean, and its buckets."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from datetime import datetime
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final

from journeylab.clock import instant
from journeylab.columnvalues import is_text_type
from journeylab.display import block, counted, table
from journeylab.errors import DataError
from journeylab.instants import check_zone
from journeylab.logreading import FIXED, check_columns, mapped
from journeylab.rejects import Rejects
from journeylab.tablesource import of_table

from .meaning import BUCKET, CONTACTS, EVENTS, Meaning, texts_of
from .seen import SEEN, Seen, looking, read_seen

if TYPE_CHECKING:
    import pyarrow as pa

    from journeylab.draws import Question
    from journeylab.eventlog import EventLog
    from journeylab.progress import Progress
    from journeylab.tablesource import Source
    from journeylab.worlds import Journeys, Ready

    from .runs import DrawsOverSpark, OverSpark

__all__ = ["DataFrame", "SparkLog"]

DataFrame = Any
"""A DataFrame of Spark, which has one class for a cluster and one for a connection to one."""
_EVENTS_A_BUCKET: Final = 1_000_000
_CHECKED: Final = (*FIXED, "name", "value", "timezone")
"""The columns that are looked at when a log is prepared, whatever is asked of it."""
_WHOLE: Final = ("tinyint", "smallint", "int", "bigint")


class _NotInSpark(DataError, AttributeError):
    """What only a log in memory or in buckets has; whoever tries whether it is there is told that it is not."""


class SparkLog:
    """An event log in Spark, with the facts of the whole; each bucket of its contacts is an event log of its own.

    Made by `of`. `replay` and `simulate` take it in place of an `EventLog`, with equal results.

    Attributes:
        name: what messages call it.
        n_buckets: how many buckets its contacts are brought into.
        n_by_event: how many events there are of each kind.
        start_us, end_us: the first and the last event's instant, microseconds since 1970-01-01T00:00Z.
        meaning: what its columns are.
    """

    def __init__(
        self, events: DataFrame, contacts: DataFrame, schemas: tuple[pa.Schema, pa.Schema], meaning: Meaning,
        n_by_event: Mapping[str, int], n_buckets: int,
    ) -> None:  # fmt: skip
        self.name = "the log in Spark"
        self.meaning, self.n_buckets = meaning, n_buckets
        self.n_by_event: dict[str, int] = dict(sorted(n_by_event.items()))
        self.start_us, self.end_us = meaning.whole.span
        self._events, self._contacts, self._schemas = events, contacts, schemas

    @classmethod
    def of(
        cls,
        events: DataFrame,
        contacts: DataFrame | None = None,
        *,
        columns: Mapping[str, str] | None = None,
        event: str | None = None,
        timezone: str | None = None,
        n_buckets: int | None = None,
    ) -> SparkLog:
        """The log of some DataFrames, which are looked at once: at their kinds of events, their span and their texts.

        Args:
            events: the events; columns as for `EventLog.read`.
            contacts: the contacts and their attributes.
            columns: their names there to names here.
            event: the name of the one kind of event.
            timezone: the zone of times that do not say theirs.
            n_buckets: how many buckets contacts are brought into; a task works on one at a time, in memory. By default
                as many as give each a million events, and every task of the cluster four of them.

        Raises:
            DataError: when something is missing, of a wrong type, naive, unreadable or empty. Rows that are bad for
                another reason are named by the first work on them.
        """
        if timezone is not None:
            check_zone(timezone)
        if n_buckets is not None and n_buckets < 1:
            raise DataError(f"n_buckets={n_buckets}: there is at least one bucket")
        events, contacts = _named(events, contacts, dict(columns or {}), event)
        schemas = events.limit(0).toArrow().schema, contacts.limit(0).toArrow().schema
        seen = _looked_at(events, schemas[0], EVENTS, timezone)
        people = _looked_at(contacts, schemas[1], CONTACTS, timezone)
        meaning = Meaning.of(schemas, seen, people, timezone)
        if n_buckets is None:
            n_buckets = max(4 * _n_tasks(events.sparkSession), -(-seen.whole.n_by_event.total() // _EVENTS_A_BUCKET))
        log = cls(events, contacts, schemas, meaning, seen.whole.n_by_event, n_buckets)
        log.nobody()
        return log

    if not TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any:
            if name.startswith("_"):
                raise AttributeError(name)
            raise _NotInSpark(
                f"{name}: a log in Spark is replayed and simulated; everything else takes those whom it is about as a "
                "log in memory, such as jl.EventLog.read(events.where(\"country = 'PL'\").toArrow())"
            )

    @property
    def known_events(self) -> list[str]:
        """The kinds of events, sorted."""
        return list(self.n_by_event)

    @property
    def n_events(self) -> int:
        """How many events there are."""
        return sum(self.n_by_event.values())

    @cached_property
    def n_contacts(self) -> int:
        """How many contacts there are, those without events included; counted when it is first asked for."""
        ids = self._events.select("contact").unionByName(self._contacts.select("contact"))
        return int(ids.distinct().count())

    @property
    def start_at(self) -> datetime:
        """The instant of the first event."""
        return instant(self.start_us)

    @property
    def end_at(self) -> datetime:
        """The instant of the last event."""
        return instant(self.end_us)

    def nobody(self) -> EventLog:
        """The log of no contact: what events, properties and attributes there are, and the span."""
        return self.meaning.log(*(one.empty_table() for one in self._schemas))

    def in_buckets(self, used: tuple[Collection[str], Collection[str]] | None = None) -> Any:
        """The events and contacts of each bucket side by side, as Spark groups them.

        Args:
            used: the properties and attributes that are needed; all where it is None.
        """
        from pyspark.sql import functions as f

        bucket = f.pmod(f.xxhash64("contact"), f.lit(self.n_buckets)).cast("int")
        grouped = []
        for frame, names in zip((self._events, self._contacts), used or (None, None), strict=True):
            wanted = [one for one in frame.columns if names is None or one in names or one in _CHECKED]
            kept = frame.select(*map(_quoted, wanted))
            grouped.append(kept.withColumn(BUCKET, bucket).repartition(self.n_buckets, _quoted(BUCKET)))
        return grouped[0].groupBy(_quoted(BUCKET)).cogroup(grouped[1].groupBy(_quoted(BUCKET)))

    def replayed(self, ready: Ready, journeys: Journeys, given: Mapping[str, Any], progress: Progress) -> OverSpark:
        """A replay over it; `ready` is the portfolio over `nobody`."""
        from .runs import OverSpark

        return OverSpark(self, ready, journeys, given, progress)

    def drawn(self, question: Question, progress: Progress) -> DrawsOverSpark:
        """The draws of a question over it."""
        from .runs import DrawsOverSpark

        return DrawsOverSpark(self, question, progress)

    def __repr__(self) -> str:
        return (
            f"SparkLog({counted(self.n_events, 'event')} in {counted(self.n_buckets, 'bucket')}, "
            f"{counted(len(self.n_by_event), 'kind')}, {self.start_at:%Y-%m-%d} to {self.end_at:%Y-%m-%d})"
        )

    def _repr_html_(self) -> str:
        return block(repr(self), table(("event", "events"), [(name, f"{n:,}") for name, n in self.n_by_event.items()]))


def _quoted(name: str) -> str:
    return "`" + name.replace("`", "``") + "`"


def _named(
    events: DataFrame, contacts: DataFrame | None, columns: Mapping[str, str], event: str | None
) -> tuple[DataFrame, DataFrame]:
    """The DataFrames under JourneyLab's names, contacts in both as whole numbers of 64 bits, or as texts.

    Raises:
        DataError: as when a table is read.
    """
    import pyarrow as pa
    from pyspark.sql import functions as f

    def source(frame: DataFrame, what: str) -> Source:
        if BUCKET in frame.columns:
            raise DataError(f"{what}: a column {BUCKET!r} would be hidden by JourneyLab's own; rename it")
        return of_table(what, pa.Table.from_arrays([pa.nulls(0)] * len(frame.columns), frame.columns), Rejects(what))

    given = None if contacts is None else source(contacts, CONTACTS)
    mine, people = mapped(source(events, EVENTS), given, columns)
    check_columns(mine, people, event)
    events = events.toDF(*mine.columns)
    if event is not None:
        events = events.withColumn("event", f.lit(event))
    events = _with_ids(events)
    if contacts is None or people is None:
        return events, events.select("contact").limit(0)
    return events, _with_ids(contacts.toDF(*people.columns))


def _with_ids(frame: DataFrame) -> DataFrame:
    """Contacts that are whole numbers as those of 64 bits: the same number is in the same bucket, whatever its type."""
    from pyspark.sql import functions as f

    kind = dict(frame.dtypes)["contact"]
    return frame.withColumn("contact", f.col("contact").cast("bigint")) if kind in _WHOLE else frame


def _looked_at(frame: DataFrame, schema: pa.Schema, what: str, zone: str | None) -> Seen:
    """What the events, or the contacts, say of the whole.

    Raises:
        DataError: when kinds of events are no texts, or instants cannot be understood.
    """
    texts = texts_of(schema, what)
    wanted = {*texts}
    if what == EVENTS:
        kind = schema.field("event").type
        if not is_text_type(kind):
            raise DataError(f"{EVENTS}: column 'event' is of type {kind}; events are named by texts")
        wanted |= {"event", "occurred_at", *({"name", "value", "purpose"} & {*schema.names})}
    if not wanted:
        return read_seen([], texts, zone)
    looked = frame.select(*(_quoted(one) for one in schema.names if one in wanted))
    return read_seen(looked.mapInArrow(looking(texts, zone, what), SEEN).collect(), texts, zone)


def _n_tasks(session: Any) -> int:
    """How many tasks the cluster works on at once, where it says so."""
    context = getattr(session, "_sc", None)
    return 8 if context is None else int(context.defaultParallelism)
