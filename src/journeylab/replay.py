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
from typing import TYPE_CHECKING, Any, ClassVar

import pandas as pd

from . import layout as o
from .advice import SendTimesGiven
from .bucketed import BucketedLog
from .clock import microseconds
from .display import MOST_DRAWINGS, block, counted, rest
from .drawing import svg
from .errors import DataError, known
from .eventlog import EventLog
from .journey import Journey, Policy
from .language import plural, say
from .notes import notes_on
from .program import Compiled
from .progress import Progress
from .records import Tally, counts_table
from .replayruns import TABLES, LogElsewhere, OverBuckets, OverLog, Runs
from .resulttables import Tables
from .tablesource import Table
from .timetoevent import time_to_exit
from .visits import branch_table, exits_table, flow, funnel, paths, waiting_times
from .worlds import Call, Journeys, Score, horizon_of, prepared

if TYPE_CHECKING:
    import pyarrow as pa
    from plotly.graph_objects import Figure

__all__ = ["Replay", "replay"]


def replay(
    journeys: Journeys,
    log: EventLog | BucketedLog | LogElsewhere,
    *,
    until: datetime | str | None = None,
    match: timedelta | str = "1d",
    policy: Policy | None = None,
    scores: Mapping[str, Table | Score] | None = None,
    send_times: SendTimesGiven | None = None,
    calls: Mapping[str, Call] | None = None,
    assumed_consent: Collection[str] | None = None,
    live: bool = False,
    progress: Progress = None,
) -> Replay:
    """What the journeys would have seen and done over the log, as a `Replay`.

    Args:
        journeys: one journey, a portfolio, journeys that run together, or releases of them (rules 26 and 28).
        log: the event log, in memory, in buckets or in Spark. Buckets are worked on in processes, within the log's
            budget of memory, and whoever is stopped finds again what is done when it is asked for again; of Spark see
            `spark`.
        until: the horizon, an aware instant or ISO text; by default the log's last instant (rule 35).
        match: how far a logged `sent` may lie from the replayed send to answer for it (rule 33).
        policy: what holds over all journeys; by default the portfolio's.
        scores: for each `score("name")`, a table (pandas, polars, Arrow, DuckDB) with `contact`, `score` and optionally
            `as_of` (aware), or a function of contacts and instants; what rests on them is `predicted`.
        send_times: for `at: best`, a `SendTimes`, the path of its file, or a table with `contact` and `hour_of_week`
            (0 is Monday 00:00 local, to 167); or several of these by the names that the journeys have for them.
        calls: for each service, a function of contact and instant that says whether the call succeeds; a service
            without one is assumed to succeed.
        assumed_consent: the purposes for which consent is assumed; by default those for which the log has no consent
            event (rule 34). For a part of a log, pass what the whole log's replay has.
        live: whether the log is a release's own: its sends answer for themselves (rule 29).
        progress: `True` for a bar, or what to call with the contacts done and in all; see `progress`.

    Raises:
        DefinitionError: when a journey is unsound or names what the log does not have, with all faults.
        DataError: when a score, a send time or the horizon does not fit.
    """
    given: dict[str, Any] = {
        "until": until, "match": match, "policy": policy, "scores": scores, "send_times": send_times, "calls": calls,
        "assumed_consent": assumed_consent, "live": live,
    }  # fmt: skip
    ready = prepared(journeys, log if isinstance(log, EventLog) else log.nobody(), **given)

    def again(horizon: datetime) -> Replay:
        return replay(
            journeys, log, progress=progress, **given | {"until": horizon, "assumed_consent": ready.assumed_consent}
        )

    runs: Runs
    if isinstance(log, BucketedLog):
        runs = OverBuckets(ready, journeys, log, given, progress)
    elif isinstance(log, EventLog):
        runs = OverLog(ready, progress)
    else:
        runs = log.replayed(ready, journeys, given, progress)
    return Replay(ready.compiled, log, ready.until, ready.policy, ready.assumed_consent, runs, again)


@dataclass(eq=False, repr=False)
class Replay(Tables):
    """What journeys would have seen and done over a log.

    The counts (`branches`, `nodes`, `summary`) are there at once. `visits`, `entries`, `sends` and `assignments` are
    tables of every contact; they are made when one of them is first asked for, and `write` puts one into a file, of a
    log in buckets without ever having it in memory. Everything is determined by the definition and the log, so making
    them later changes nothing.

    `until` is the horizon (aware UTC), `assumed_consent` the purposes whose consent was assumed (rule 34), `tally` has
    the machine's counts, `n_contacts` is how many contacts entered at least once.
    """

    _table_names: ClassVar = (
        "branches",
        "nodes",
        "exits",
        "visits",
        "entries",
        "sends",
        "assignments",
        "flow",
        "waiting_times",
        "paths",
    )

    compiled: Compiled
    log: EventLog | BucketedLog | LogElsewhere
    until: datetime
    policy: Policy
    assumed_consent: frozenset[str]
    _runs: Runs
    _again: Callable[[datetime], Replay]
    tally: Tally = field(init=False)
    n_contacts: int = field(init=False)

    def __post_init__(self) -> None:
        self.tally, self.n_contacts, self._by_fallback = self._runs.counted()

    @property
    def journeys(self) -> list[Journey]:
        """The journeys, by descending priority and then by name."""
        return [release.journey for release in self.compiled.releases]

    @property
    def log_in_memory(self) -> EventLog:
        """The log, for what looks at the events of contacts.

        Raises:
            DataError: when it is not in memory.
        """
        if isinstance(self.log, BucketedLog):
            raise DataError(
                f"{self.log.folder}: this looks at the events of contacts, and the log is in buckets; take those "
                "contacts whom it is about into memory: log.of(contacts)"
            )
        if not isinstance(self.log, EventLog):
            raise DataError(
                f"{self.log.name}: this looks at the events of contacts, and the log is in Spark; read those contacts "
                "whom it is about into memory: EventLog.read(events.where(…).toArrow())"
            )
        return self.log

    def __repr__(self) -> str:
        names = ", ".join(self.compiled.groups)
        return (
            f"Replay({names}: {counted(self.n_entries, 'entry')} of {counted(self.n_contacts, 'contact')} "
            f"until {self.until:%Y-%m-%d})"
        )

    @property
    def n_entries(self) -> int:
        """How many entries there were."""
        return int(self.tally.n_by_journey[:, o.T_ENTERED].sum())

    @property
    def log_summary(self) -> str:
        """What the log is, in a few words."""
        return say(
            "{events} of {contacts}",
            events=plural("{n} event", "{n} events", self.log.n_events),
            contacts=plural("{n} contact", "{n} contacts", self.log.n_contacts),
        )

    @cached_property
    def counts(self) -> pd.DataFrame:
        """Closed visits by journey, node and branch.

        Columns: `journey, node, verb, branch, target` (text; branch and target missing for visits that ended without a
        branch), `n_visits`, `n_assumed`, `n_predicted` (int).
        """
        return counts_table(self.compiled, self.tally.n_by_edge, self.tally.n_by_node)

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
                int(self.tally.n_by_node[i, o.INSIDE]),
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
        for (release, text, _), n in zip(self.compiled.exits, self.tally.n_by_exit, strict=True):
            if release in releases and n:
                exits[text] = exits.get(text, 0) + int(n)
        by = self.tally.n_by_journey[releases].sum(axis=0)
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
        return self._notes(with_counts=True)

    @property
    def assumptions(self) -> list[str]:
        """The notes without those that tell of how many something is true: what may be said to anybody."""
        return self._notes(with_counts=False)

    def _notes(self, *, with_counts: bool) -> list[str]:
        return list(
            notes_on(
                self.compiled,
                self.log,
                self.policy,
                until_us=microseconds(self.until),
                match=self._runs.told.match,
                assumed_consent=self.assumed_consent,
                events=self._runs.told.events,
                has_send_times=self._runs.told.has_send_times,
                by_fallback=self._by_fallback,
                calls=self._runs.told.calls,
                by_edge=self.tally.n_by_edge,
                n_without_consent=int(self.tally.n_by_journey[:, o.T_NO_CONSENT].sum()),
                n_endless=int(self.tally.n_by_journey[:, o.T_ENDLESS].sum()),
                with_counts=with_counts,
            )
        )

    # Tables of every contact

    @cached_property
    def visits(self) -> pd.DataFrame:
        """Every visit, sorted by contact, entry, arrived_at.

        Columns: `contact` (as in the log), `journey, version` (text), `entry` (int, from 1), `node` (text), `visit`
        (int, from 1 within the entry), `arrived_at`, `left_at` (UTC, microseconds; left_at missing while open),
        `branch` (text; missing for open visits, exits, and visits ended by leaving the journey), `evidence` (observed,
        predicted or assumed; rule 31).
        """
        return self._runs.table("visits")

    @cached_property
    def entries(self) -> pd.DataFrame:
        """Every entry, sorted by contact, entry.

        Columns: `contact, journey, version, entry`, `entered_at`, `left_at` (missing while inside), `exit` (text;
        missing while inside), `converted` (bool, rule 15), `held_out` (bool: by the journey or the policy, rule 23).
        """
        return self._runs.table("entries")

    @cached_property
    def sends(self) -> pd.DataFrame:
        """Every send that was made or skipped, sorted by contact, entry, decided_at.

        Columns: `contact, journey, entry, node, visit`, `message` (text), `decided_at` (UTC), `is_sent` (bool),
        `reason` (text; why it was skipped, missing where it was sent), `evidence`. Of sends with `at: best` that were
        made also `send_times` (text, the version of the send times) and `advice` (text: `known`, `fallback` or
        `explored`), both missing where no model was asked; of explored ones `slots` (text: 42 hexadecimal digits of a
        number whose bit h is set where hour h of the week could have been chosen) and `slot_propensity` (0..1, the
        probability of the hour; missing where the send went at another time than the chosen one).
        """
        return self._runs.table("sends")

    @cached_property
    def assignments(self) -> pd.DataFrame:
        """Every arm that was assigned, holdouts included, with its probability (rules 22 and 23).

        Columns: `contact, journey, entry`, `unit` (text: what was hashed, the value that the journey's `unit` had on
        entering, else the contact), `node` (`holdout` for the journey's holdout, `policy_holdout` for the policy's),
        `arm` (text; `holdout` or `treated` of a holdout), `probability` (0..1), `assigned_at` (UTC).
        """
        return self._runs.table("assignments")

    @cached_property
    def entrants(self) -> pa.Array:
        """The contacts who entered at least once: an Arrow array of their ids, ascending."""
        return self._runs.entrants()

    def write(self, path: str | Path, table: str = "visits") -> int:
        """Writes one of the tables of every contact to a Parquet or CSV file; how many rows it has.

        Of a log in buckets it is never in memory as a whole.

        Args:
            path: the file; its name ends in `.parquet` or `.csv`.
            table: `visits`, `entries`, `sends` or `assignments`.

        Raises:
            DataError: when there is no such table, or the file is of another kind.
        """
        if table not in TABLES:
            raise DataError(f"no table {table!r} to be written; {known(table, TABLES, 'tables')}")
        path = Path(path)
        if path.suffix not in (".parquet", ".csv"):
            raise DataError(f"{path}: a table is written as .parquet or .csv")
        return self._runs.write(table, path)

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
        return self._again(horizon_of(until, self.log))

    def draw(self, journey: str | None = None) -> str:
        """The journey drawn with counts and shares on its edges, as SVG."""
        name = self._name(journey)
        drawn = next(one for one in self.journeys if one.journey == name)
        return svg(drawn, self.counts[self.counts["journey"] == name])

    def chart(self, every: str = "7d") -> Figure:
        """The flow over time as a plotly figure; `flow` is its table, and `charts` has the other figures."""
        from .charts import flow_chart

        return flow_chart(self.flow(every))

    def page(self, path: str | Path, title: str | None = None, *, language: str | None = None) -> Path:
        """Writes the page of the replay for analysts, one HTML file in English or Polish; see `replaypage`."""
        from .replaypage import write_page

        return write_page(self, path, title=title, language=language)

    def _repr_html_(self) -> str:
        names = self.compiled.groups
        drawn = (self.draw(name) for name in names[:MOST_DRAWINGS])
        return block(repr(self), *drawn, rest(len(names) - MOST_DRAWINGS, "journeys"))
