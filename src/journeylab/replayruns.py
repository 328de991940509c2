"""What a replay runs over: a log in memory, or one in buckets, each by itself; both give the same counts and tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import pandas as pd

from . import layout as o
from .bucketed.merging import Part, gathered, merged, part_file, write_part
from .bucketed.running import each_bucket, kept
from .execution import rooms, run
from .machine import O_BY_FALLBACK, O_CONTACTS, O_FALLBACK_CONTACTS, Out
from .progress import Progress, shown
from .records import (
    Ordered,
    Tally,
    added,
    assignments,
    drawn,
    entries_table,
    in_order,
    plain_counts,
    sends_table,
    tables,
    tally,
    tally_of,
    visits_table,
)
from .resulttables import write_frame
from .worlds import Journeys, Ready, key_of, prepared

if TYPE_CHECKING:
    import pyarrow as pa

    from .bucketed import BucketedLog
    from .draws import Drawn as DrawnInAll
    from .draws import Question
    from .eventlog import EventLog
    from .logfacts import LogFacts
    from .program import Compiled

__all__ = ["TABLES", "Counted", "DrawsElsewhere", "LogElsewhere", "OverBuckets", "OverLog", "Runs", "Told"]

TABLES = ("visits", "entries", "sends", "assignments")


class Counted(NamedTuple):
    """What a replay counts: the machine's tally, who entered at least once, and the sends and contacts of fallbacks."""

    tally: Tally
    n_contacts: int
    by_fallback: tuple[int, int]


class Told(NamedTuple):
    """What a replay's notes tell of how it was asked."""

    events: Sequence[str]
    match: timedelta
    has_send_times: bool
    calls: Sequence[str]

    @classmethod
    def of(cls, ready: Ready) -> Told:
        """What is told of a portfolio that is ready."""
        asked = ready.world.asked_calls
        return cls(
            ready.names.event_names,
            timedelta(microseconds=int(ready.world.limits[o.L_MATCH])),
            len(ready.advice.times) > 0,
            [name for name, is_asked in zip(ready.compiled.calls, asked, strict=True) if is_asked],
        )


class Runs(Protocol):
    """What a replay runs over."""

    told: Told

    def counted(self) -> Counted:
        """The counts of all contacts."""

    def table(self, name: str) -> pd.DataFrame:
        """One of `TABLES`, of all contacts."""

    def entrants(self) -> pa.Array:
        """The contacts who entered, ascending."""

    def write(self, name: str, path: Path) -> int:
        """Writes one of `TABLES` to a Parquet or CSV file; how many rows it has."""


class DrawsElsewhere(Protocol):
    """The draws of a response model over a log elsewhere, and what its parts say of the whole."""

    facts: LogFacts
    compiled: Compiled
    until: datetime

    def drawn(self) -> DrawnInAll:
        """The counts of all contacts in all draws."""

    def table(self, name: str, draw: int) -> pd.DataFrame:
        """The `visits` or `entries` of one draw."""


class LogElsewhere(Protocol):
    """A log that another engine has and works on, as Spark does (see `spark`)."""

    name: str
    end_us: int

    @property
    def known_events(self) -> list[str]:
        """The kinds of events, sorted."""

    @property
    def n_events(self) -> int:
        """How many events there are."""

    @property
    def n_contacts(self) -> int:
        """How many contacts there are, those without events included."""

    def nobody(self) -> EventLog:
        """The log of no contact: what events, properties and attributes there are, and the span."""

    def replayed(self, ready: Ready, journeys: Journeys, given: Mapping[str, Any], progress: Progress) -> Runs:
        """A replay over it; `ready` is the portfolio over `nobody`."""

    def drawn(self, question: Question, progress: Progress) -> DrawsElsewhere:
        """The draws of a question over it."""


class OverLog:
    """A portfolio over a log in memory."""

    def __init__(self, ready: Ready, progress: Progress) -> None:
        self.told = Told.of(ready)
        self._ready, self._progress = ready, progress
        self._rooms: Sequence[tuple[int, int]] | None = None

    def _run(self, *, record: bool) -> list[Out]:
        ready = self._ready
        with shown(self._progress, "listing visits" if record else "replaying") as tell:
            return run(
                ready.compiled.program, ready.world, len(ready.compiled.exits), ready.log.n_contacts, record=record,
                rooms=self._rooms, progress=tell,
            )  # fmt: skip

    def counted(self) -> Counted:
        outs = self._run(record=False)
        self._rooms = rooms(outs)
        n_sends, n_contacts = (int(sum(out.used[of] for out in outs)) for of in (O_BY_FALLBACK, O_FALLBACK_CONTACTS))
        n_entered = int(sum(out.used[O_CONTACTS] for out in outs))
        return Counted(tally(self._ready.compiled, outs), n_entered, (n_sends, n_contacts))

    @cached_property
    def _recorded(self) -> tuple[list[Out], Ordered]:
        """What the machine recorded: as it did, and in the order of the tables."""
        outs = self._run(record=True)
        return outs, in_order(self._ready.log, outs)

    @cached_property
    def _visits(self) -> pd.DataFrame:
        return visits_table(self._ready.compiled, self._ready.log, self._recorded[1])

    @cached_property
    def _entries(self) -> pd.DataFrame:
        return entries_table(self._ready.compiled, self._ready.log, self._recorded[1])

    @cached_property
    def _sends(self) -> pd.DataFrame:
        outs, ordered = self._recorded
        return sends_table(self._ready.compiled, self._visits, ordered, outs, self._ready.advice)

    @cached_property
    def _assignments(self) -> pd.DataFrame:
        chance = drawn(self._recorded[1])
        return assignments(self._ready.compiled, self._visits, self._entries, chance, self._ready.names.unit_texts)

    def table(self, name: str) -> pd.DataFrame:
        found: pd.DataFrame = getattr(self, f"_{name}")
        return found

    def entrants(self) -> pa.Array:
        import pyarrow as pa

        return pa.array(self.table("entries")["contact"].unique())

    def write(self, name: str, path: Path) -> int:
        frame = self.table(name)
        write_frame(frame, path)
        return len(frame)


@dataclass(frozen=True)
class _Replayed:
    """A bucket's replay."""

    journeys: Journeys
    given: Mapping[str, Any]

    def over(self, log: EventLog) -> OverLog:
        return OverLog(prepared(self.journeys, log, **self.given), None)


@dataclass(frozen=True)
class _Counts(_Replayed):
    def __call__(self, log: EventLog, k: int, folder: Path) -> Counted:  # noqa: ARG002
        return self.over(log).counted()

    def plain(self, result: Counted) -> Any:
        return [plain_counts(result.tally), result.n_contacts, result.by_fallback]

    def made(self, data: Any, k: int, folder: Path) -> Counted:  # noqa: ARG002
        return Counted(tally_of(data[0]), data[1], tuple(data[2]))


@dataclass(frozen=True)
class _Table(_Replayed):
    name: str
    like: pd.DataFrame

    def __call__(self, log: EventLog, k: int, folder: Path) -> Part:
        return write_part(self.over(log).table(self.name), folder, k)

    def plain(self, result: Part) -> int:
        return result.n_rows

    def made(self, data: int, k: int, folder: Path) -> Part:
        return Part(part_file(folder, k), data, self.like)


@dataclass(frozen=True)
class _Entrants(_Replayed):
    def __call__(self, log: EventLog, k: int, folder: Path) -> pa.Array:  # noqa: ARG002
        return self.over(log).entrants()


def _empty_tables(ready: Ready) -> dict[str, pd.DataFrame]:
    """The tables of a replay without rows, by name: what type each column is of."""
    ordered = in_order(ready.log, [])
    visits, entries, sends = tables(ready.compiled, ready.log, ordered, [], ready.advice)
    arms = assignments(ready.compiled, visits, entries, drawn(ordered), ready.names.unit_texts)
    return dict(zip(TABLES, (visits, entries, sends, arms), strict=True))


class OverBuckets:
    """A portfolio over a log in buckets: each bucket by itself, in processes, within the log's budget of memory.

    `ready` is it over nobody, `given` are the arguments of `worlds.prepared`.
    """

    def __init__(
        self, ready: Ready, journeys: Journeys, log: BucketedLog, given: Mapping[str, Any], progress: Progress
    ) -> None:
        self.told = Told.of(ready)
        self._journeys, self._given, self._log, self._progress = journeys, given, log, progress
        self._like = _empty_tables(ready)
        self._key = key_of(journeys, given)

    def _asked(self, what: str) -> Any:
        return None if self._key is None else ["replay", what, self._key]

    def counted(self) -> Counted:
        with kept(self._log, self._asked("counts")) as folder, shown(self._progress, "replaying") as tell:
            parts = each_bucket(self._log, _Counts(self._journeys, self._given), folder, tell)
        return Counted(
            added([one.tally for one in parts]),
            sum(one.n_contacts for one in parts),
            (sum(one.by_fallback[0] for one in parts), sum(one.by_fallback[1] for one in parts)),
        )

    def _parts(self, name: str, folder: Path) -> list[Part]:
        with shown(self._progress, f"listing {name}") as tell:
            return each_bucket(self._log, _Table(self._journeys, self._given, name, self._like[name]), folder, tell)

    def table(self, name: str) -> pd.DataFrame:
        with kept(self._log, self._asked(name)) as folder:
            return gathered(self._parts(name, folder))

    def write(self, name: str, path: Path) -> int:
        with kept(self._log, self._asked(name)) as folder:
            return merged(self._parts(name, folder), path, self._log.memory)

    def entrants(self) -> pa.Array:
        import pyarrow as pa
        import pyarrow.compute as pc

        with kept(self._log, self._asked("entrants")) as folder, shown(self._progress, "listing entrants") as tell:
            found = each_bucket(self._log, _Entrants(self._journeys, self._given), folder, tell)
        everybody = pa.concat_arrays(found)
        return everybody.take(pc.sort_indices(everybody))
