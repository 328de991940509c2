"""Replays and simulations over a log in Spark: the machine inside `applyInArrow`, counts added up on the cluster."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from journeylab.draws import Drawn, Draws, Question
from journeylab.errors import DataError, known
from journeylab.execution import use_processors
from journeylab.logfacts import LogFacts, facts_of
from journeylab.progress import Progress, shown
from journeylab.records import Tally, tally
from journeylab.replay import Replay
from journeylab.replayruns import TABLES, Counted, OverLog, Told
from journeylab.resulttables import write_frame
from journeylab.simulation import Simulation
from journeylab.worlds import Journeys, Ready, prepared

from .parts import COUNTS, FACTS, Made, Work, columns_of, counts_of, facts_in, plainly, refuse, rows_of

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa
    from numpy.typing import NDArray

    from journeylab.eventlog import EventLog

    from .log import DataFrame, SparkLog

__all__ = ["DrawsOverSpark", "OverSpark", "frame"]


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


def _take_processors() -> None:
    """Lets this process run as many threads as its task has processors."""
    import pyarrow as pa
    from pyspark import TaskContext

    context = TaskContext.get()
    n = 1 if context is None else int(context.cpus())
    use_processors(n)
    pa.set_cpu_count(n)


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

    def _applied(self, made: Made, work: Work, schema: str) -> DataFrame:
        """What is made of each bucket, in a DataFrame."""
        meaning = self._log.meaning

        def on_executor(key: Any, events: pa.Table, contacts: pa.Table) -> pa.Table:  # noqa: ARG001
            _take_processors()
            return made(meaning, work, events.combine_chunks(), contacts.combine_chunks())

        return self._log.in_buckets(self._used).applyInArrow(on_executor, schema)

    def _added_up(self, work: Work, like: NDArray[np.int64], doing: str) -> NDArray[np.int64]:
        """The numbers of all buckets, added up on the cluster.

        Raises:
            DataError: when something is wrong with a bucket.
        """
        import pyarrow.compute as pc
        from pyspark.sql import functions as f

        by_bucket = self._applied(counts_of, work, COUNTS)
        with _told(self._progress, doing, self._log.n_buckets):
            sums = by_bucket.groupBy("place", "problem").agg(f.sum("n").alias("n"), f.min("contact").alias("contact"))
            found = sums.toArrow()
        refuse(found.filter(pc.less(found["place"], 0)))
        total = np.zeros_like(like)
        total[found["place"].to_numpy()] = found["n"].to_numpy()
        return total

    def _listed(self, work: Work, like: pd.DataFrame) -> DataFrame:
        schema = plainly(like).schema
        return self._applied(partial(rows_of, schema), work, columns_of(schema))

    def _gathered(self, made: DataFrame, like: pd.DataFrame, name: str) -> pd.DataFrame:
        """A DataFrame in memory, contacts ascending, each contact's rows as its bucket has them."""
        with _told(self._progress, f"listing {name}", self._log.n_buckets):
            table = made.toArrow().to_pandas().astype(like.dtypes)
        return table.sort_values("contact", kind="stable", ignore_index=True)


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
        by_bucket = self._applied(facts_in, lambda log: facts_of(log, converts, before), FACTS)
        with _told(self._progress, "looking at the log", self._log.n_buckets):
            found = by_bucket.toArrow()
        refuse(found.filter(found["place"].is_valid()))
        return LogFacts.sum(LogFacts.made(json.loads(one)) for one in found["facts"].to_pylist())

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
