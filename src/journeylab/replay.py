"""The history world: a journey replayed over an event log, answered by what the log says (rules 31 to 35).

`replay` compiles a portfolio against a log and runs the machine over all contacts. The `Replay` that it returns has
the counts at once; its visits and entries are made when they are first asked for.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pandas as pd

from . import layout as o
from .binding import AsOf, LogNames
from .clock import NEVER, instant, microseconds
from .display import counted
from .drawing import svg
from .durations import duration_text, parse_duration
from .errors import DataError, known
from .execution import Answer, Progress, Request, answered, run
from .journey import Journey, Policy, Portfolio
from .machine import O_CONTACTS, Out, new_out
from .notes import notes_on
from .program import Compiled, Release, compile_portfolio, for_purpose
from .records import assignments, tables
from .timetoevent import time_to_exit
from .visits import branch_table, exits_table, flow, funnel, paths, waiting_times

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from plotly.graph_objects import Figure

    from .eventlog import EventLog

__all__ = ["Replay", "replay"]

Call = Callable[[object, datetime], bool]
Score = Callable[[Sequence[object], Sequence[datetime]], Sequence[float]]


def replay(
    journeys: Journey | Portfolio | Sequence[Journey] | Sequence[Release],
    log: EventLog,
    *,
    until: datetime | str | None = None,
    match: timedelta | str = "1d",
    policy: Policy | None = None,
    scores: Mapping[str, pd.DataFrame | Score] | None = None,
    send_times: pd.DataFrame | None = None,
    calls: Mapping[str, Call] | None = None,
    assumed_consent: Collection[str] | None = None,
    live: bool = False,
    progress: Progress | None = None,
) -> Replay:
    """What the journeys would have seen and done over the log, as a `Replay`.

    Args:
        journeys: one journey, a portfolio, journeys that run together, or releases of them (rules 26 and 28).
        log: the prepared event log.
        until: the horizon, an aware instant or ISO text; by default the log's last instant (rule 35).
        match: how far a logged `sent` may lie from the replayed send to answer for it (rule 33).
        policy: what holds over all journeys; by default the portfolio's.
        scores: for each `score("name")`, a table with `contact`, `score` and optionally `as_of` (aware), or a function
            of contacts and instants; what rests on them is `predicted`.
        send_times: for `at: best`, a table with `contact` and `hour_of_week` (0 is Monday 00:00 local, to 167).
        calls: for each service, a function of contact and instant that says whether the call succeeds; a service
            without one is assumed to succeed.
        assumed_consent: the purposes for which consent is assumed; by default those for which the log has no consent
            event (rule 34). For a part of a log, pass what the whole log's replay has.
        live: whether the log is a release's own: its sends answer for themselves (rule 29).
        progress: called with the contacts done and in all.

    Raises:
        DefinitionError: when a journey is unsound or names what the log does not have, with all faults.
        DataError: when a score, a send time or the horizon does not fit.
    """
    portfolio = _portfolio(journeys)
    names = LogNames(log)
    if assumed_consent is None:
        purposes = {release.journey.purpose for release in portfolio}
        assumed_consent = {purpose for purpose in purposes if not _has_consent(names, purpose)}
    assumed = frozenset(assumed_consent)
    given_policy = journeys.policy if isinstance(journeys, Portfolio) else Policy()
    compiled = compile_portfolio(portfolio, policy or given_policy, names, assume_consent=assumed)
    horizon = _horizon(until, log)
    tables, asked = _scores(names, log, scores or {})
    world, kept = names.world(
        compiled.program.code,
        until_us=microseconds(horizon),
        match_us=parse_duration(match) // timedelta(microseconds=1),
        scores=tables,
        units=log.unit_hashes if _needs_units(compiled) else np.empty(0, np.uint64),
        first_at=log.first_at if _needs_first(compiled) else np.empty(0, np.int64),
        best=_best(log, send_times),
        asked_calls=np.array([name in (calls or {}) for name in compiled.calls], np.uint8),
    )
    if asked or calls or live:
        answer = _answerer(compiled, log, asked, calls or {}, names.score_names)
        own = _own_sends(compiled, log) if live else ()
        world = answered(compiled.program, world, len(compiled.exits), log.n_contacts, answer, own)

    def again(horizon: datetime) -> Replay:
        return replay(
            journeys, log, until=horizon, match=match, policy=policy, scores=scores, send_times=send_times, calls=calls,
            assumed_consent=assumed, live=live, progress=progress,
        )  # fmt: skip

    return Replay(compiled, log, horizon, policy or given_policy, assumed, names, world, kept, progress, again)


def _portfolio(journeys: Journey | Portfolio | Sequence[Journey] | Sequence[Release]) -> list[Release]:
    if isinstance(journeys, Journey):
        return [Release(journey=journeys)]
    several = journeys.journeys if isinstance(journeys, Portfolio) else journeys
    releases = [one if isinstance(one, Release) else Release(journey=one) for one in several]
    if not releases:
        raise DataError("there is no journey to replay")
    return releases


def _has_consent(names: LogNames, purpose: str) -> bool:
    """Whether the log has any event of giving or withdrawing consent for a purpose (rule 34)."""
    about = for_purpose(purpose, names)
    return any(names.has_events(event, about) for event in ("consent_given", "consent_withdrawn"))


def _horizon(until: datetime | str | None, log: EventLog) -> datetime:
    if until is None:
        return instant(log.end_us)
    try:
        when = datetime.fromisoformat(until) if isinstance(until, str) else until
        return instant(microseconds(when))
    except ValueError as problem:
        raise DataError(f"the horizon: {problem}; write it as 2026-03-29T12:00:00+00:00") from None


def _needs_units(compiled: Compiled) -> bool:
    return len(compiled.program.arms) > 0 or bool((compiled.program.journeys_x[:, o.X_HOLDOUT] > 0).any())


def _needs_first(compiled: Compiled) -> bool:
    return bool((compiled.program.journeys[:, o.J_TRIGGER] == o.TRIGGER_SEGMENT).any())


def _codes(log: EventLog, contacts: Any, what: str) -> NDArray[np.int64]:
    """The indices of contacts, -1 for those that the log does not have."""
    import pyarrow as pa
    import pyarrow.compute as pc

    try:
        ids = pa.array(contacts, log.contact_ids.type)
    except (pa.ArrowInvalid, pa.ArrowTypeError) as problem:
        raise DataError(f"{what}: the contacts are not like those of the log ({problem})") from None
    return np.asarray(pc.fill_null(pc.index_in(ids, log.contact_ids), -1), dtype=np.int64)


def _columns(table: pd.DataFrame, wanted: Sequence[str], what: str) -> None:
    for column in wanted:
        if column not in table.columns:
            raise DataError(f"{what} needs a column {column!r}; {known(column, table.columns, 'columns')}")


def _best(log: EventLog, send_times: pd.DataFrame | None) -> NDArray[np.float64]:
    if send_times is None:
        return np.empty(0, np.float64)
    _columns(send_times, ("contact", "hour_of_week"), "send_times")
    hours = np.asarray(send_times["hour_of_week"], np.float64)
    if not np.isin(hours, np.arange(168)).all():
        bad = hours[~np.isin(hours, np.arange(168))][0]
        raise DataError(f"send_times: hour_of_week is a whole number from 0 to 167, got {bad}")
    best, codes = np.full(log.n_contacts, np.nan), _codes(log, send_times["contact"], "send_times")
    best[codes[codes >= 0]] = hours[codes >= 0]
    return best


def _scores(
    names: LogNames, log: EventLog, scores: Mapping[str, pd.DataFrame | Score]
) -> tuple[dict[str, AsOf], dict[str, Score]]:
    """The scores that are tables, and those that are asked for."""
    tables, asked = {}, {}
    for name in names.score_names:
        if name not in scores:
            raise DataError(f"no score {name!r} was given; {known(name, scores, 'scores')}")
        score = scores[name]
        if not isinstance(score, pd.DataFrame):
            asked[name] = score
            continue
        _columns(score, ("contact", "score"), f"score {name!r}")
        code = _codes(log, score["contact"], f"score {name!r}")
        at = (
            score["as_of"].map(microseconds).to_numpy(np.int64)
            if "as_of" in score.columns
            else np.full(len(code), -NEVER)
        )
        order = np.lexsort((at, code))
        order = order[code[order] >= 0]
        code, at, value = code[order], at[order], score["score"].to_numpy(np.float64)[order]
        offsets = np.searchsorted(code, np.arange(log.n_contacts + 1)).astype(np.int64)
        base = np.full(log.n_contacts, np.nan)
        tables[name] = AsOf("number", base, offsets, at, np.arange(len(at)), value)
    return tables, asked


def _answerer(
    compiled: Compiled,
    log: EventLog,
    scores: Mapping[str, Score],
    calls: Mapping[str, Call],
    score_names: Sequence[str],
) -> Callable[[Sequence[Request]], list[Answer]]:
    """What answers requests for scores and calls, a round at a time."""

    def answer(requests: Sequence[Request]) -> list[Answer]:
        answers = []
        for name, index in ((name, i) for i, name in enumerate(score_names) if name in scores):
            mine = [one for one in requests if one.kind == o.ASK_SCORE and one.name == index]
            if mine:
                contacts = [log.contact_ids[one.contact].as_py() for one in mine]
                values = scores[name](contacts, [instant(one.at) for one in mine])
                answers += [Answer(one, float(value), one.at) for one, value in zip(mine, values, strict=True)]
        for one in requests:
            if one.kind == o.ASK_CALL:
                service = compiled.nodes[one.name].node.call  # type: ignore[attr-defined]
                succeeds = calls[service](log.contact_ids[one.contact].as_py(), instant(one.at))
                answers.append(Answer(one, float(bool(succeeds)), one.at))
        return answers

    return answer


def _own_sends(compiled: Compiled, log: EventLog) -> list[Answer]:
    """A release's own sends as answers that are already known (rule 29).

    Raises:
        DataError: when the log's `sent` events do not say which node of which entry they are.
    """
    wanted = ("journey", "entry", "node", "visit")
    missing = [name for name in wanted if name not in log.property_names]
    if missing:
        raise DataError(
            f"a release's own log has {', '.join(wanted)} on its sent events; missing: {', '.join(missing)}"
        )
    stream, columns = log.stream("sent"), {name: log.property(name) for name in wanted}
    contact = np.repeat(np.arange(log.n_contacts), np.diff(stream.offsets))
    own: list[Answer] = []
    for code, at, row in zip(contact, stream.at, stream.row, strict=True):
        journey, node = (
            (columns[name].categories or [])[int(columns[name].values[row])] if columns[name].values[row] >= 0 else None
            for name in ("journey", "node")
        )
        for index, info in enumerate(compiled.nodes):
            if info.name == node and compiled.releases[info.journey].journey.journey == journey:
                entry, visit = (int(columns[name].values[row]) for name in ("entry", "visit"))
                own.append(Answer(Request(int(code), int(o.ACTUAL), index, entry, visit, int(at)), 0.0, int(at)))
    return own


class _Counts(NamedTuple):
    """The machine's counts, summed over all contacts."""

    n_by_edge: NDArray[np.int64]
    n_by_node: NDArray[np.int64]
    n_by_exit: NDArray[np.int64]
    n_by_journey: NDArray[np.int64]
    n_contacts: int


@dataclass(eq=False, repr=False)
class Replay:
    """What journeys would have seen and done over a log.

    The counts (`branches`, `nodes`, `summary`) are there at once. `visits`, `entries`, `sends` and `assignments` are
    tables of every contact; they are made when one of them is first asked for. Everything is determined by the
    definition and the log, so making them later changes nothing.

    `until` is the horizon (aware UTC), `assumed_consent` the purposes whose consent was assumed (rule 34).
    """

    compiled: Compiled
    log: EventLog
    until: datetime
    policy: Policy
    assumed_consent: frozenset[str]
    _names: LogNames
    _world: o.World
    _kept: list[Any]
    _progress: Progress | None
    _again: Callable[[datetime], Replay]
    _counts: _Counts = field(init=False)

    def __post_init__(self) -> None:
        outs = self._run(record=False)
        names = ("n_by_edge", "n_by_node", "n_by_exit", "n_by_journey")
        empty = new_out(self.compiled.program, len(self.compiled.exits), 0)
        totals = {name: sum((getattr(out, name) for out in outs), getattr(empty, name)) for name in names}
        self._counts = _Counts(**totals, n_contacts=int(sum(out.used[O_CONTACTS] for out in outs)))

    def _run(self, *, record: bool) -> list[Out]:
        return run(
            self.compiled.program,
            self._world,
            len(self.compiled.exits),
            self.log.n_contacts,
            record=record,
            progress=self._progress,
        )

    @property
    def journeys(self) -> list[Journey]:
        """The journeys, by descending priority and then by name."""
        return [release.journey for release in self.compiled.releases]

    def __repr__(self) -> str:
        names = ", ".join(self.compiled.groups)
        return (
            f"Replay({names}: {counted(self.n_entries, 'entry')} of {counted(self.n_contacts, 'contact')} "
            f"until {self.until:%Y-%m-%d})"
        )

    @property
    def n_entries(self) -> int:
        """How many entries there were."""
        return int(self._counts.n_by_journey[:, o.T_ENTERED].sum())

    @property
    def n_contacts(self) -> int:
        """How many contacts entered at least once."""
        return self._counts.n_contacts

    @property
    def log_summary(self) -> str:
        """What the log is, in a few words."""
        return f"{counted(self.log.n_events, 'event')} of {counted(self.log.n_contacts, 'contact')}"

    @cached_property
    def counts(self) -> pd.DataFrame:
        """Closed visits by journey, node and branch.

        Columns: `journey, node, verb, branch, target` (text; branch and target missing for visits that ended without a
        branch), `n_visits`, `n_assumed`, `n_predicted` (int).
        """
        rows: list[tuple[Any, ...]] = []
        for i, info in enumerate(self.compiled.nodes):
            journey = self.compiled.releases[info.journey].journey.journey
            for edge, by in zip(self.compiled.edges, self._counts.n_by_edge, strict=True):
                if edge.node == i:
                    n = int(by.sum()), int(by[o.ASSUMED]), int(by[o.PREDICTED])
                    rows.append((journey, info.name, info.node.verb, edge.branch, edge.target, *n))
            ended = int(self._counts.n_by_node[i, o.ENDED])
            if ended:
                rows.append((journey, info.name, info.node.verb, None, None, ended, 0, 0))
        columns = ["journey", "node", "verb", "branch", "target", "n_visits", "n_assumed", "n_predicted"]
        return pd.DataFrame(rows, columns=columns)

    @cached_property
    def branches(self) -> pd.DataFrame:
        """The share of each branch with its 95 % interval, and how much of it is assumed; see `visits.branch_table`."""
        return branch_table(self.counts)

    @cached_property
    def nodes(self) -> pd.DataFrame:
        """The visits of each node: `journey, node, verb`, `n_visits`, `n_inside` (still open at the horizon)."""
        closed = self.counts.groupby(["journey", "node"], sort=False)["n_visits"].sum()
        rows = []
        for i, info in enumerate(self.compiled.nodes):
            journey, inside = (
                self.compiled.releases[info.journey].journey.journey,
                int(self._counts.n_by_node[i, o.INSIDE]),
            )
            left = int(closed.get((journey, info.name), 0))
            rows.append((journey, info.name, info.node.verb, left + inside, inside))
        return pd.DataFrame(rows, columns=["journey", "node", "verb", "n_visits", "n_inside"])

    def summary(self, journey: str | None = None) -> dict[str, Any]:
        """The counts of one journey as plain data: the contract of `journeylab replay --json`."""
        name = self._name(journey)
        releases = [i for i, one in enumerate(self.compiled.releases) if one.journey.journey == name]
        branches: dict[str, dict[str, int]] = {}
        for row in self.counts[self.counts["journey"] == name].itertuples():
            taken = branches.setdefault(row.node, {})
            if isinstance(row.branch, str):
                taken[row.branch] = taken.get(row.branch, 0) + row.n_visits
        n_visits = self.nodes[self.nodes["journey"] == name].groupby("node", sort=False)["n_visits"].sum()
        exits: dict[str, int] = {}
        for (release, text, _), n in zip(self.compiled.exits, self._counts.n_by_exit, strict=True):
            if release in releases and n:
                exits[text] = exits.get(text, 0) + int(n)
        by = self._counts.n_by_journey[releases].sum(axis=0)
        return {
            "journey": name,
            "version": self.compiled.releases[releases[-1]].journey.version,
            "n_entries": int(by[o.T_ENTERED]),
            "n_contacts": int(by[o.T_CONTACTS]),
            "nodes": {
                node: {"n_visits": int(n), "branches": branches.get(str(node), {})} for node, n in n_visits.items()
            },
            "exits": exits,
            "still_inside": int(by[o.T_INSIDE]),
            "n_held_out": int(by[o.T_HELD]),
            "until": self.until.isoformat(),
            "notes": self.notes,
        }

    def _name(self, journey: str | None) -> str:
        if journey is None and len(self.compiled.groups) == 1:
            return self.compiled.groups[0]
        if journey not in self.compiled.groups:
            raise DataError(
                f"no journey {journey!r} in this replay; {known(str(journey), self.compiled.groups, 'journeys')}"
            )
        return str(journey)

    @cached_property
    def notes(self) -> list[str]:
        """What the numbers rest on beside the log, in sentences (rules 31 to 35)."""
        return list(
            notes_on(
                self.compiled,
                self.log,
                until_us=microseconds(self.until),
                match=duration_text(timedelta(microseconds=int(self._world.limits[o.L_MATCH]))),
                assumed_consent=self.assumed_consent,
                events=self._names.event_names,
                has_send_times=len(self._world.best) > 0,
                calls=[
                    name
                    for name, is_asked in zip(self.compiled.calls, self._world.asked_calls, strict=True)
                    if is_asked
                ],
                by_edge=self._counts.n_by_edge,
                n_without_consent=int(self._counts.n_by_journey[:, o.T_NO_CONSENT].sum()),
                n_endless=int(self._counts.n_by_journey[:, o.T_ENDLESS].sum()),
            )
        )

    # Tables of every contact

    @cached_property
    def _records(self) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
        return tables(self.compiled, self.log, self._run(record=True))

    @property
    def visits(self) -> pd.DataFrame:
        """Every visit, sorted by contact, entry, arrived_at.

        Columns: `contact` (as in the log), `journey, version` (text), `entry` (int, from 1), `node` (text), `visit`
        (int, from 1 within the entry), `arrived_at`, `left_at` (UTC, microseconds; left_at missing while open),
        `branch` (text; missing for open visits, exits, and visits ended by leaving the journey), `evidence` (observed,
        predicted or assumed; rule 31).
        """
        return self._records[0]

    @property
    def entries(self) -> pd.DataFrame:
        """Every entry, sorted by contact, entry.

        Columns: `contact, journey, version, entry`, `entered_at`, `left_at` (missing while inside), `exit` (text;
        missing while inside), `converted` (bool, rule 15), `held_out` (bool, rule 23).
        """
        return self._records[1]

    @property
    def sends(self) -> pd.DataFrame:
        """Every send that was made or skipped, sorted by contact, entry, decided_at.

        Columns: `contact, journey, entry, node, visit`, `message` (text), `decided_at` (UTC), `is_sent` (bool),
        `reason` (text; why it was skipped, missing where it was sent), `evidence`.
        """
        return self._records[2]

    @cached_property
    def assignments(self) -> pd.DataFrame:
        """Every arm that was assigned, the holdout included, with its probability (rules 22 and 23).

        Columns: `contact, journey, entry`, `node` (`holdout` for the holdout), `arm` (text), `probability` (0..1),
        `assigned_at` (UTC).
        """
        return assignments(self.compiled, self.visits, self.entries)

    # What they add up to

    @cached_property
    def exits(self) -> pd.DataFrame:
        """Entries by exit, those still inside included; see `visits.exits_table`."""
        return exits_table(self.entries)

    def flow(self, every: str = "7d") -> pd.DataFrame:
        """Visits by branch and period; see `visits.flow`."""
        return flow(self.visits, every)

    def funnel(self, steps: Sequence[str] | None = None, journey: str | None = None) -> pd.DataFrame:
        """Entries that came as far as each step; see `visits.funnel`. A portfolio's steps need a journey."""
        visits = self.visits
        if journey is not None or steps is not None:
            visits = visits[visits["journey"] == self._name(journey)]
        return funnel(visits, steps)

    def waiting_times(self) -> pd.DataFrame:
        """How long visits lasted, by node and branch; see `visits.waiting_times`."""
        return waiting_times(self.visits)

    def paths(self, most: int = 10) -> pd.DataFrame:
        """The most common sequences of nodes; see `visits.paths`."""
        return paths(self.visits, most)

    def time_to_exit(self, exit: str | None = None) -> pd.DataFrame:  # noqa: A002
        """The share of entries that left by an exit (by default, that converted) over time; see `timetoevent`."""
        return time_to_exit(self.entries, self.until, exit)

    def advance(self, until: datetime | str) -> Replay:
        """The same replay up to another horizon: what `replay` with that horizon gives, exactly (rule 27)."""
        return self._again(_horizon(until, self.log))

    def draw(self, journey: str | None = None) -> str:
        """The journey drawn with counts and shares on its edges, as SVG."""
        name = self._name(journey)
        drawn = next(one for one in self.journeys if one.journey == name)
        return svg(drawn, self.counts[self.counts["journey"] == name])

    def chart(self, every: str = "7d") -> Figure:
        """The flow over time as a plotly figure; `flow` is its table, and `charts` has the other figures."""
        from .charts import flow_chart

        return flow_chart(self.flow(every))

    def report(self, path: str | Path, title: str | None = None) -> Path:
        """Writes the report, one HTML file without names of contacts; see `report.report`."""
        from .report import report

        return report(self, path, title=title)

    def _repr_html_(self) -> str:
        return "".join(self.draw(name) for name in self.compiled.groups)
