"""Who is in a segment, as of when: audiences, memberships, sizes over time, and overlaps.

Every function evaluates segments by the machine's own conditions (rules 3, 6 and 7), so that an audience seen here is
the one that a journey's trigger takes. Only contacts that exist by then count: from their first event on, and those
without any event from the log's first instant on (rule 11).

Where segments are asked for, one may give a `Journey` or a `Portfolio` (all segments it knows), a mapping of names to
segments, one `Segment`, or the text of a condition.

>>> from journeylab import EventLog
>>> log = EventLog.from_rows(
...     [
...         {"contact": "ada", "event": "visit", "occurred_at": "2026-03-01T09:00:00Z"},
...         {"contact": "bo", "event": "visit", "occurred_at": "2026-03-20T18:30:00Z"},
...     ]
... )
>>> audience(log, 'since("visit") > "7d"')
  contact  membership
0     ada         1.0
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import pandas as pd
from pydantic import ValidationError

from .binding import LogNames, bare_program
from .bucketed import BucketedLog
from .bucketed.running import each_bucket, kept
from .check import segment_faults
from .clock import instant, microseconds
from .conditions import Condition
from .durations import parse_duration
from .errors import DataError, DefinitionError, Fault
from .journey import Journey, Portfolio, Segment
from .machine import evaluate, new_out, new_state
from .postfix import Postfix
from .progress import Progress, shown

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from .eventlog import EventLog

__all__ = ["Evaluator", "Segments", "audience", "instant_in", "membership", "overlap", "sizes"]

Segments: TypeAlias = Journey | Portfolio | Mapping[str, Segment | Condition | str] | Segment | Condition | str
"""Where segments come from; see the module."""

_MONDAY_US = microseconds(datetime.fromisoformat("1970-01-05T00:00:00+00:00"))
_ONLY = "segment"


class Evaluator:
    """Evaluates segments for every contact of a log; what they need of the log is prepared once.

    Raises:
        DefinitionError: when a segment is at fault or does not fit the log, with all faults.
    """

    def __init__(self, log: EventLog, segments: Mapping[str, Segment], timezone: str = "UTC") -> None:
        if faults := segment_faults(segments, segments):
            raise DefinitionError(faults)
        names = LogNames(log)
        postfix = Postfix(names)
        self.conditions = {name: postfix.membership(name, ("segments", name), segments) for name in segments}
        faults = [*postfix.faults, *(_score_fault(name) for name in names.score_names)]
        if faults:
            raise DefinitionError(faults)
        self._first_at = log.first_at
        self._program = bare_program(postfix, names.zone(timezone))
        self._world, self._kept = names.world(
            self._program.code,
            until_us=log.end_us,
            match_us=0,
            scores={},
            units=np.empty(0, np.uint64),
            first_at=self._first_at,
            asked_calls=np.empty(0, np.uint8),
        )
        self._state, self._out = new_state(self._program, 1), new_out(self._program, 0)

    def membership(self, name: str, at_us: int) -> NDArray[np.float64]:
        """The membership of every contact in a segment as of an instant: 0..1 by code."""
        n_contacts = len(self._first_at)
        contacts, at, values = np.arange(n_contacts), np.full(n_contacts, at_us), np.empty(n_contacts, np.float64)
        evaluate(self._program, self._world, self._state, self._out, self.conditions[name], contacts, at, values)
        return values

    def exists(self, at_us: int) -> NDArray[np.bool_]:
        """Which contacts exist by an instant, by code (rule 11)."""
        exists: NDArray[np.bool_] = self._first_at <= at_us
        return exists


def audience(
    log: EventLog | BucketedLog,
    segment: Segment | Condition | str,
    as_of: datetime | str | None = None,
    *,
    at_least: float = 0.5,
) -> pd.DataFrame:
    """The contacts who are in a segment as of an instant: `contact`, `membership` (float, 0..1), sorted by contact.

    Args:
        log: the event log.
        segment: the segment, or the text of a condition.
        as_of: an aware instant or ISO text within the log; by default the log's end.
        at_least: the least membership that counts as being in it, as for a trigger (rule 11).

    Raises:
        DefinitionError: when the segment is at fault or does not fit the log.
        DataError: when `as_of` lies outside the log, or `at_least` outside 0..1.
    """
    if isinstance(segment, Journey | Portfolio | Mapping):
        raise DataError("an audience is that of one segment; for those of a journey ask for their membership")
    _check_at_least(at_least)
    table = membership(log, segment, as_of)
    name = table.columns[1]
    kept = table[table[name] >= at_least].rename(columns={name: "membership"})
    return kept.reset_index(drop=True)


def membership(log: EventLog | BucketedLog, segments: Segments, as_of: datetime | str | None = None) -> pd.DataFrame:
    """The membership of every contact in each segment: `contact`, and a column for each segment (float, 0..1).

    One segment without a name has the column `segment`. Sorted by contact; contacts who do not exist yet are left out.

    Raises:
        DefinitionError: when a segment is at fault or does not fit the log.
        DataError: when `as_of` lies outside the log, or there are no segments.
    """
    at_us = instant_in(log, as_of, "as_of")
    if isinstance(log, BucketedLog):
        found = pd.concat(_in_buckets(log, _Membership(segments, at_us), None), ignore_index=True)
        return found.sort_values("contact", kind="stable", ignore_index=True)
    return _membership(log, segments, at_us)


def _membership(log: EventLog, segments: Segments, at_us: int) -> pd.DataFrame:
    evaluator = _evaluator(log, segments)
    order = np.argsort(log.rank)
    order = order[evaluator.exists(at_us)[order]]
    columns = {name: evaluator.membership(name, at_us)[order] for name in evaluator.conditions}
    return pd.DataFrame({"contact": log.contact_ids.take(order).to_pandas(), **columns})


def sizes(
    log: EventLog | BucketedLog,
    segments: Segments,
    every: str = "7d",
    *,
    start: datetime | str | None = None,
    until: datetime | str | None = None,
    at_least: float = 0.5,
    progress: Progress = None,
) -> pd.DataFrame:
    """How many contacts are in each segment over time, at the instants at which a trigger with `every` looks.

    Args:
        log: the event log.
        segments: the segments.
        every: how often, such as "1d"; counted from a Monday, 00:00 UTC (rule 11).
        start: the first instant to look at; by default the log's.
        until: the last; by default the log's.
        at_least: the least membership that counts.
        progress: `True` for a bar, or what to call with the instants done and in all; see `progress`.

    Returns:
        A frame sorted by segment as given, then time: `segment` (text), `as_of` (UTC), `n_contacts` in the segment,
        `n_known` who exist by then (int), `audience_share` (0..1, missing while nobody exists).

    Raises:
        DefinitionError: when a segment is at fault or does not fit the log.
        DataError: when an instant lies outside the log, or no instant of the schedule lies between them.
    """
    _check_at_least(at_least)
    instants = _schedule(log, every, start, until)
    if isinstance(log, BucketedLog):
        table = pd.concat(_in_buckets(log, _Sizes(segments, instants, at_least), progress))
        table = table.groupby(["segment", "as_of"], sort=False, as_index=False).sum()
    else:
        table = _sizes(log, segments, instants, at_least, progress)
    table["audience_share"] = (table["n_contacts"] / table["n_known"]).where(table["n_known"] > 0)
    return table


def _sizes(log: EventLog, segments: Segments, instants: range, at_least: float, progress: Progress) -> pd.DataFrame:
    evaluator = _evaluator(log, segments)
    n_in = {name: list[int]() for name in evaluator.conditions}
    n_known = []
    with shown(progress, "counting segments") as tell:
        for done, at_us in enumerate(instants):
            exists = evaluator.exists(at_us)
            n_known.append(int(exists.sum()))
            for name, counts in n_in.items():
                counts.append(int(((evaluator.membership(name, at_us) >= at_least) & exists).sum()))
            tell(done + 1, len(instants))
    n = len(instants)
    return pd.DataFrame(
        {
            "segment": pd.Series(np.repeat(np.array([*n_in], object), n), dtype="str"),
            "as_of": pd.DatetimeIndex(np.tile(np.array(instants, "datetime64[us]"), len(n_in)), tz="UTC"),
            "n_contacts": np.concatenate([*n_in.values()]),
            "n_known": np.tile(n_known, len(n_in)),
        }
    )


@dataclass(frozen=True)
class _Membership:
    segments: Segments
    at_us: int

    def __call__(self, log: EventLog, k: int, folder: Path) -> pd.DataFrame:  # noqa: ARG002
        return _membership(log, self.segments, self.at_us)


@dataclass(frozen=True)
class _Sizes:
    segments: Segments
    instants: range
    at_least: float

    def __call__(self, log: EventLog, k: int, folder: Path) -> pd.DataFrame:  # noqa: ARG002
        return _sizes(log, self.segments, self.instants, self.at_least, None)


def _in_buckets(log: BucketedLog, work: Any, progress: Progress) -> list[pd.DataFrame]:
    """What is found in each bucket; whoever is stopped begins anew, since looking takes little."""
    with kept(log, None) as folder, shown(progress, "counting segments") as tell:
        return each_bucket(log, work, folder, tell)


def overlap(
    log: EventLog | BucketedLog, segments: Segments, as_of: datetime | str | None = None, *, at_least: float = 0.5
) -> pd.DataFrame:
    """How many contacts are in exactly each combination of segments, most first.

    Columns: one boolean for each segment, and `n_contacts` (int); the combinations that somebody is in, that of none
    of the segments included. They add up to all contacts who exist by then.

    Raises:
        DefinitionError: when a segment is at fault or does not fit the log.
        DataError: when `as_of` lies outside the log, or there are no segments.
    """
    _check_at_least(at_least)
    is_in = membership(log, segments, as_of).set_index("contact") >= at_least
    counts = is_in.groupby(list(is_in.columns)).size().reset_index(name="n_contacts")
    order = ["n_contacts", *is_in.columns]
    return counts.sort_values(order, ascending=False, ignore_index=True)


def instant_in(log: EventLog | BucketedLog, when: datetime | str | None, what: str) -> int:
    """The microseconds of an instant within the log; the log's end when there is none.

    Raises:
        DataError: for what is naive, no instant, or outside the log.
    """
    if when is None:
        return log.end_us
    try:
        at_us = microseconds(datetime.fromisoformat(when) if isinstance(when, str) else when)
    except ValueError as problem:
        raise DataError(f"{what}: {problem}; write it as 2026-03-29T12:00:00+00:00") from None
    if not log.start_us <= at_us <= log.end_us:
        span = f"from {log.start_at.isoformat()} to {log.end_at.isoformat()}"
        raise DataError(f"{what} {instant(at_us).isoformat()} lies outside the log, which is {span}")
    return at_us


def _schedule(
    log: EventLog | BucketedLog, every: str, start: datetime | str | None, until: datetime | str | None
) -> range:
    """The instants of rule 11 that lie between two, in microseconds."""
    try:
        step = parse_duration(every)
    except ValueError as problem:
        raise DataError(f"every: {problem}") from None
    step_us = microseconds(instant(0) + step)
    if step_us <= 0:
        raise DataError(f"every must be longer than zero, got {every!r}")
    first = log.start_us if start is None else instant_in(log, start, "start")
    last = instant_in(log, until, "until")
    instants = range(first + (_MONDAY_US - first) % step_us, last + 1, step_us)
    if not instants:
        between = f"{instant(first).isoformat()} and {instant(last).isoformat()}"
        raise DataError(f"no instant of every {every} lies between {between}; choose a shorter `every`")
    return instants


def _check_at_least(at_least: float) -> None:
    if not 0 <= at_least <= 1:
        raise DataError(f"at_least is a membership in 0..1, got {at_least!r}")


def _score_fault(name: str) -> Fault:
    return Fault((), f'score("{name}") has no value here: scores are given to a replay')


def _evaluator(log: EventLog, segments: Segments) -> Evaluator:
    match segments:
        case Journey():
            found, zones = dict(segments.known_segments), {segments.timezone}
        case Portfolio():
            found, zones = _of_portfolio(segments), {journey.timezone for journey in segments.journeys}
        case Mapping():
            found, zones = _of_mapping(segments), set()
        case _:
            found, zones = _of_mapping({_ONLY: segments}), set()
    if not found:
        raise DataError("there are no segments here")
    taken = sorted({"contact", "n_contacts"} & set(found))
    if taken:
        raise DataError(f"a segment cannot be called {' or '.join(taken)} here: a column of the table has that name")
    # Journeys in several zones share their segments; only contacts without a zone of their own are in doubt.
    return Evaluator(log, found, zones.pop() if len(zones) == 1 else "UTC")


def _of_mapping(segments: Mapping[str, Segment | Condition | str]) -> dict[str, Segment]:
    found, faults = {}, []
    for name, one in segments.items():
        try:
            found[name] = Segment.model_validate(one.text if isinstance(one, Condition) else one)
        except ValidationError as error:
            remedy = "write the text of a condition, or a Segment"
            faults += [
                Fault(("segments", name, *fault["loc"]), f"{fault['msg']}; {remedy}") for fault in error.errors()
            ]
    if faults:
        raise DefinitionError(faults)
    return found


def _of_portfolio(portfolio: Portfolio) -> dict[str, Segment]:
    found: dict[str, Segment] = {}
    for journey in portfolio.journeys:
        for name, segment in journey.known_segments.items():
            if found.setdefault(name, segment) != segment:
                raise DefinitionError(
                    [Fault((journey.journey, "segments", name), "another journey means something else by this name; "
                           "ask for the segments of one journey")]
                )  # fmt: skip
    return found
