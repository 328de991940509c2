"""Replays and simulations over a log in Spark: the machine inside `applyInArrow`, counts added up on the cluster."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cached_property, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import cloudpickle
import numpy as np

from journeylab.draws import Drawn, Draws, Question
from journeylab.errors import DataError, JourneyLabError, known
from journeylab.execution import use_processors
from journeylab.logfacts import LogFacts, facts_of
from journeylab.progress import Progress, shown
from journeylab.records import Tally, tally
from journeylab.replay import Replay
from journeylab.replayruns import TABLES, Counted, OverLog, Told
from journeylab.resulttables import write_frame
from journeylab.simulation import Simulation
from journeylab.worlds import Journeys, Ready, prepared

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa
    from numpy.typing import NDArray

    from journeylab.eventlog import EventLog

    from .log import DataFrame, Meaning, SparkLog

__all__ = ["DrawsOverSpark", "OverSpark", "frame"]

_COUNTS: Final = "place bigint, n bigint, problem string"
_FACTS: Final = "facts binary, problem string"
_BAD_VALUE, _FAULT = -1, -2
"""The places of what is no count: why values are bad, and what else went wrong."""
_SHOWN: Final = 5
_SPARK: Final = {
    "int8": "tinyint", "int16": "smallint", "int32": "int", "int64": "bigint", "float": "float", "double": "double",
    "bool": "boolean", "string": "string", "timestamp[us, tz=UTC]": "timestamp",
}  # fmt: skip


def frame(result: Replay | Simulation, table: str = "visits", draw: int = 0) -> DataFrame:
    """A table of every contact as a DataFrame of Spark, made on the executors when it is written or looked at.

    Args:
        result: a replay or a simulation over a `SparkLog`.
        table: `visits`, `entries`, `sends` or `assignments`; of a simulation, `visits` or `entries`.
        draw: which draw of a simulation.

    Raises:
        DataError: when there is no such table or draw, or the result is not over a log in Spark.
    """
    runs = result._runs
    if isinstance(runs, OverSpark):
        _check_table(table, TABLES)
        return runs.frame(table)
    if isinstance(runs, DrawsOverSpark):
        _check_table(table, TABLES[:2])
        return runs.frame(table, draw)
    raise DataError("a DataFrame of Spark is made of results over a SparkLog; this one has pandas tables")


def _check_table(table: str, tables: Sequence[str]) -> None:
    if table not in tables:
        raise DataError(f"no table {table!r}; {known(table, tables, 'tables')}")


# On the executors


Work = Callable[["EventLog"], Any]


@lru_cache(1)
def _loaded(pickled: bytes) -> Any:
    """What a task was sent, kept for the tasks after it in the same process."""
    return cloudpickle.loads(pickled)


def _sent(session: Any, value: object) -> Callable[[], Any]:
    """A value that executors have by a broadcast; where a session has none to give, it goes with the function."""
    pickled = cloudpickle.dumps(value)
    context = getattr(session, "_sc", None)
    if context is None:
        return lambda: _loaded(pickled)
    broadcast = context.broadcast(pickled)
    return lambda: _loaded(broadcast.value)


def _log_of(meaning: Meaning, events: pa.Table, contacts: pa.Table) -> EventLog:
    """A bucket's log, worked on by as many threads as its task has processors."""
    import pyarrow as pa
    from pyspark import TaskContext

    context = TaskContext.get()
    n = 1 if context is None else int(context.cpus())
    use_processors(n)
    pa.set_cpu_count(n)
    return meaning.log(events.combine_chunks(), contacts.combine_chunks())


def _problems(problem: JourneyLabError) -> Counter[tuple[int, str]]:
    """What is wrong with a bucket, in words that do not depend on the bucket."""
    rejects = getattr(problem, "rejects", None)
    if rejects is None:
        return Counter({(_FAULT, str(problem)): 1})
    found: Counter[tuple[int, str]] = Counter()
    for one in rejects.to_pylist():
        reason = re.sub(r"is also on row \d+$", "is there more than once", one["reason"])
        value = "" if one["value"] is None else f"{one['value']!r} "
        found[_BAD_VALUE, f"{one['source']}, column {one['column']}: {value}{reason}"] += 1
    return Counter(dict(found.most_common(_SHOWN)))


def _counting(sent: Callable[[], tuple[Meaning, Work]]) -> Callable[[Any, pa.Table, pa.Table], pa.Table]:
    """What counts a bucket: the work's numbers by place where they are not 0, or what is wrong with it."""

    def count(key: Any, events: pa.Table, contacts: pa.Table) -> pa.Table:  # noqa: ARG001
        import pyarrow as pa

        meaning, work = sent()
        try:
            numbers = work(_log_of(meaning, events, contacts))
            place = np.flatnonzero(numbers)
            n, said = numbers[place], pa.nulls(len(place), pa.string())
        except JourneyLabError as problem:
            found = _problems(problem)
            place, n = np.array([one for one, _ in found], np.int64), np.array([*found.values()], np.int64)
            said = pa.array([text for _, text in found], pa.string())
        return pa.table({"place": pa.array(place), "n": pa.array(n), "problem": said})

    return count


def _finding(sent: Callable[[], tuple[Meaning, Work]]) -> Callable[[Any, pa.Table, pa.Table], pa.Table]:
    """What finds the facts of a bucket, or what is wrong with it."""

    def find(key: Any, events: pa.Table, contacts: pa.Table) -> pa.Table:  # noqa: ARG001
        import pyarrow as pa

        meaning, work = sent()
        facts, said = None, None
        try:
            facts = cloudpickle.dumps(work(_log_of(meaning, events, contacts)))
        except JourneyLabError as problem:
            said = str(problem)
        return pa.table({"facts": pa.array([facts], pa.binary()), "problem": pa.array([said], pa.string())})

    return find


def _listing(
    sent: Callable[[], tuple[Meaning, Work]], schema: pa.Schema
) -> Callable[[Any, pa.Table, pa.Table], pa.Table]:
    """What makes a bucket's part of a table."""

    def listed(key: Any, events: pa.Table, contacts: pa.Table) -> pa.Table:  # noqa: ARG001
        meaning, work = sent()
        return _plainly(work(_log_of(meaning, events, contacts))).cast(schema)

    return listed


def _plainly(table: pd.DataFrame) -> pa.Table:
    """A table in Arrow, names as texts rather than as categories, whose codes would be each bucket's own."""
    import pyarrow as pa

    made = pa.Table.from_pandas(table, preserve_index=False).replace_schema_metadata(None)
    fields = [one.with_type(one.type.value_type) if pa.types.is_dictionary(one.type) else one for one in made.schema]
    return made.cast(pa.schema([pa.field(one.name, _narrow(one.type)) for one in fields]))


def _narrow(kind: pa.DataType) -> pa.DataType:
    """A type as Spark has it; names of which there are none are texts, too."""
    import pyarrow as pa

    if pa.types.is_timestamp(kind):
        return pa.timestamp("us", "UTC")
    return pa.string() if pa.types.is_large_string(kind) or pa.types.is_null(kind) else kind


# On the driver


def _columns(schema: pa.Schema) -> str:
    """The columns of a table in Spark's words."""
    return ", ".join(f"{one.name} {_SPARK[str(one.type)]}" for one in schema)


@contextmanager
def _told(progress: Progress, doing: str, n: int) -> Iterator[None]:
    """Tells the beginning and the end; of what lies between, Spark's own pages tell."""
    with shown(progress, doing) as tell:
        tell(0, n)
        yield
        tell(n, n)


class _OverSpark:
    """Work over the buckets of a log in Spark."""

    def __init__(self, log: SparkLog, used: Any, progress: Progress) -> None:
        self._log, self._used, self._progress = log, used, progress

    def _applied(self, work: Work, made: Callable[[Any], Any], schema: str) -> DataFrame:
        sent = _sent(self._log.session, (self._log.meaning, work))
        return self._log.in_buckets(self._used).applyInArrow(made(sent), schema)

    def _added_up(self, work: Work, like: NDArray[np.int64], doing: str) -> NDArray[np.int64]:
        """The numbers of all buckets, added up on the cluster.

        Raises:
            DataError: when something is wrong with a bucket.
        """
        from pyspark.sql import functions as f

        by_bucket = self._applied(work, _counting, _COUNTS)
        with _told(self._progress, doing, self._log.n_buckets):
            found = by_bucket.groupBy("place", "problem").agg(f.sum("n").alias("n")).toArrow()
        place, n = (found[name].to_numpy() for name in ("place", "n"))
        if (place < 0).any():
            _refuse([one for one in found.to_pylist() if one["place"] < 0])
        total = np.zeros_like(like)
        total[place] = n
        return total

    def _listed(self, work: Work, like: pd.DataFrame) -> DataFrame:
        schema = _plainly(like).schema
        return self._applied(work, lambda sent: _listing(sent, schema), _columns(schema))

    def _gathered(self, made: DataFrame, like: pd.DataFrame, name: str) -> pd.DataFrame:
        """A DataFrame in memory, contacts ascending, each contact's rows as its bucket has them."""
        with _told(self._progress, f"listing {name}", self._log.n_buckets):
            table = made.toArrow().to_pandas().astype(like.dtypes)
        return table.sort_values("contact", kind="stable", ignore_index=True)


def _refuse(problems: Sequence[Mapping[str, Any]]) -> None:
    """Raises what is wrong with the buckets.

    Raises:
        DataError: in any case.
    """
    faults = sorted(one["problem"] for one in problems if one["place"] == _FAULT)
    if faults:
        raise DataError(faults[0])
    bad = sorted(problems, key=lambda one: (-one["n"], one["problem"]))
    shown = [f"  {one['problem']}" + (f" ({one['n']:,} times)" if one["n"] > 1 else "") for one in bad[:_SHOWN]]
    more = ["  and others"] if len(bad) > _SHOWN else []
    raise DataError("\n".join(["the log in Spark has bad rows:", *shown, *more, "Correct them, or leave them out."]))


def _flat(tallies: Sequence[Tally], numbers: Sequence[int]) -> NDArray[np.int64]:
    return np.concatenate([*(part.ravel() for one in tallies for part in one), np.array(numbers, np.int64)])


def _unflat(flat: NDArray[np.int64], like: Sequence[Tally]) -> tuple[list[Tally], list[int]]:
    """The counts in the shapes that they have in `like`, and the numbers behind them."""
    tallies, start = [], 0
    for one in like:
        parts = []
        for part in one:
            parts.append(flat[start : start + part.size].reshape(part.shape))
            start += part.size
        tallies.append(Tally(*parts))
    return tallies, flat[start:].tolist()


class OverSpark(_OverSpark):
    """A portfolio over a log in Spark; `ready` is the one over nobody, and `given` the arguments of `prepared`."""

    def __init__(
        self, log: SparkLog, ready: Ready, journeys: Journeys, given: Mapping[str, Any], progress: Progress
    ) -> None:
        # A release's own log is asked for its own sends, too; else only for what the portfolio has asked already.
        super().__init__(log, None if given["live"] else ready.log.names_read, progress)
        self.told = Told.of(ready)
        self._ready, self._replayed = ready, _Replayed(journeys, dict(given))

    @cached_property
    def _nobody(self) -> OverLog:
        return OverLog(self._ready, None)

    def counted(self) -> Counted:
        like = tally(self._ready.compiled, [])
        found = self._added_up(self._replayed.counted, _flat([like], [0, 0, 0]), "replaying")
        (whole,), (n_contacts, n_sends, n_of_fallbacks) = _unflat(found, [like])
        return Counted(whole, n_contacts, (n_sends, n_of_fallbacks))

    def frame(self, name: str) -> DataFrame:
        """One of `TABLES` in Spark."""
        return self._listed(self._replayed.listing(name), self._nobody.table(name))

    def table(self, name: str) -> pd.DataFrame:
        return self._gathered(self.frame(name), self._nobody.table(name), name)

    def entrants(self) -> pa.Array:
        ids = self.frame("entries").select("contact").distinct().sort("contact").toArrow()["contact"].combine_chunks()
        return ids.cast(self._nobody.entrants().type)

    def write(self, name: str, path: Path) -> int:
        table = self.table(name)
        write_frame(table, path)
        return len(table)


class _Replayed:
    """A bucket's replay."""

    def __init__(self, journeys: Journeys, given: Mapping[str, Any]) -> None:
        self._journeys, self._given = journeys, given

    def _over(self, log: EventLog) -> OverLog:
        return OverLog(prepared(self._journeys, log, **self._given), None)

    def counted(self, log: EventLog) -> NDArray[np.int64]:
        found = self._over(log).counted()
        return _flat([found.tally], [found.n_contacts, *found.by_fallback])

    def listing(self, name: str) -> Work:
        return lambda log: self._over(log).table(name)


class DrawsOverSpark(_OverSpark):
    """The draws of a response model over a log in Spark; `question` has the horizon and the consent of the whole."""

    def __init__(self, log: SparkLog, question: Question, progress: Progress) -> None:
        super().__init__(log, None, progress)
        self._question = question
        self.facts = self._facts()
        ready = question.prepared(log.nobody(), self.facts)
        self.compiled, self.until = ready.compiled, ready.until

    def _facts(self) -> LogFacts:
        converts, before = self._question.responses.converts, self._question.forget_from
        by_bucket = self._applied(lambda log: facts_of(log, converts, before), _finding, _FACTS)
        with _told(self._progress, "looking at the log", self._log.n_buckets):
            found = by_bucket.collect()
        problems = sorted(one.problem for one in found if one.problem is not None)
        if problems:
            raise DataError(problems[0])
        return LogFacts.sum(cloudpickle.loads(bytes(one.facts)) for one in found)

    @cached_property
    def _nobody(self) -> Draws:
        return Draws(self._question, self._log.nobody(), self.facts, None)

    def drawn(self) -> Drawn:
        """The counts of all contacts in all draws."""
        question, facts, one = self._question, self.facts, tally(self.compiled, [])
        of_draws = Tally(*(np.zeros((question.draws, *part.shape), np.int64) for part in one))

        def work(log: EventLog) -> NDArray[np.int64]:
            found = Draws(question, log, facts, None).drawn()
            return _flat([found.tally, found.base, found.naive], [found.n_asked, found.n_predicted])

        like = [of_draws, one, one]
        found = self._added_up(work, _flat(like, [0, 0]), "drawing responses")
        (of_all, base, naive), (n_asked, n_predicted) = _unflat(found, like)
        return Drawn(of_all, base, naive, n_asked, n_predicted)

    def frame(self, name: str, draw: int) -> DataFrame:
        """The visits or entries of one draw in Spark."""
        question, facts = self._question, self.facts
        if not 0 <= draw < question.draws:
            raise DataError(f"draw {draw} does not exist; draws count from 0 to {question.draws - 1}")
        return self._listed(
            lambda log: Draws(question, log, facts, None).table(name, draw), self._nobody.table(name, draw)
        )

    def table(self, name: str, draw: int) -> pd.DataFrame:
        """The visits or entries of one draw in memory."""
        return self._gathered(self.frame(name, draw), self._nobody.table(name, draw), name)
