"""What the machine recorded, as tables with names: visits, entries, sends and assignments."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pandas as pd

from . import layout as o
from .advice import Advice, advised
from .execution import on_threads, rows_of
from .journey import Send
from .machine import O_ENTRIES, O_VISITS, Out, count_rows, new_out, put_rows
from .program import Compiled

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from .eventlog import EventLog

__all__ = [
    "Drawn", "Ordered", "Tally", "added", "assignments", "counts_table", "drawn", "entries_table", "in_order",
    "plain_counts", "sends_table", "tables", "tally", "tally_by_group", "tally_of", "visits_table",
]  # fmt: skip


def _instants(at: NDArray[np.int64]) -> pd.DatetimeIndex:
    """Aware UTC instants of microseconds, in which a missing one is as numpy has it."""
    return pd.DatetimeIndex(np.ascontiguousarray(at).view("datetime64[us]"), tz="UTC")


def _named(codes: NDArray[Any], names: Sequence[str]) -> pd.Categorical:
    """Names by code, -1 missing; equal names are one category."""
    categories = sorted(set(names))
    place = {name: i for i, name in enumerate(categories)}
    table = np.array([place[name] for name in names] + [-1], np.min_scalar_type(-1 - len(categories)))
    return pd.Categorical.from_codes(table[codes], categories, validate=False)


class Ordered(NamedTuple):
    """All visits by column, sorted by contact, entry, arrived_at; `entries` are all entries' rows by contact, entry.

    Instants are in microseconds, left_at the missing one while open. `record` is the visit's place in `Recorded`.
    """

    contact: NDArray[np.int32]
    entry: NDArray[np.int32]
    node: NDArray[np.int32]
    visit: NDArray[np.int32]
    edge: NDArray[np.int32]
    evidence: NDArray[np.int8]
    reason: NDArray[np.int8]
    arrived_at: NDArray[np.int64]
    left_at: NDArray[np.int64]
    record: NDArray[np.int64]
    entries: NDArray[np.int64]


def _room_for(n_visits: int, n_entries: int) -> Ordered:
    def numbers() -> NDArray[np.int32]:
        return np.empty(n_visits, np.int32)

    def codes() -> NDArray[np.int8]:
        return np.empty(n_visits, np.int8)

    def instants() -> NDArray[np.int64]:
        return np.empty(n_visits, np.int64)

    return Ordered(
        contact=numbers(), entry=numbers(), node=numbers(), visit=numbers(), edge=numbers(), evidence=codes(),
        reason=codes(), arrived_at=instants(), left_at=instants(), record=instants(),
        entries=np.empty((n_entries, o.R_COLUMNS), np.int64),
    )  # fmt: skip


def in_order(log: EventLog, outs: Sequence[Out]) -> Ordered:
    """What was recorded, in the order of the tables.

    Rows are counted by contact and the counts added up in the order of contacts' ids: that is where each begins. Then
    every chunk is written to its place by a thread of its own.
    """
    rank, entries = log.rank, rows_of(outs, "entries", O_ENTRIES)
    times, visits, marks = (rows_of(outs, name, O_VISITS) for name in ("times", "visits", "marks"))
    entry_starts, visit_starts = np.zeros(len(rank) + 1, np.int64), np.zeros(len(rank) + 1, np.int64)
    counted = list(zip(entries, visits, strict=True))
    most = on_threads(lambda of: count_rows(rank, *of, entry_starts, visit_starts), counted)
    np.cumsum(entry_starts, out=entry_starts)
    np.cumsum(visit_starts, out=visit_starts)
    ordered = _room_for(int(visit_starts[-1]), int(entry_starts[-1]))
    first = np.cumsum([0, *map(len, visits)])[:-1].tolist()
    of_chunks = list(zip(entries, times, visits, marks, first, most, strict=True))
    on_threads(lambda of: put_rows(rank, entry_starts, visit_starts, *of, *ordered), of_chunks)
    return ordered


class Drawn(NamedTuple):
    """What chance went by in each entry, in the order of the table of entries.

    `release` is the journey's version by its place in `Compiled.releases`, `held` by whom the entry is held out (bits),
    `unit` the code of its unit's text, NONE where the unit is the contact.
    """

    release: NDArray[np.int64]
    held: NDArray[np.int64]
    unit: NDArray[np.int64]


def drawn(ordered: Ordered) -> Drawn:
    """What chance went by in the entries."""
    return Drawn(*(ordered.entries[:, column] for column in (o.R_JOURNEY, o.R_HELD, o.R_UNIT)))


def tables(
    compiled: Compiled, log: EventLog, ordered: Ordered, outs: Sequence[Out], advice: Advice
) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    """The visits, entries and sends of all chunks; see `replay.Replay` for their columns."""
    visits = visits_table(compiled, log, ordered)
    return visits, entries_table(compiled, log, ordered), sends_table(compiled, visits, ordered, outs, advice)


def _journeys(compiled: Compiled) -> tuple[list[str], list[str]]:
    """The names and versions of the journeys."""
    journeys = [release.journey for release in compiled.releases]
    return [one.journey for one in journeys], [one.version for one in journeys]


def visits_table(compiled: Compiled, log: EventLog, ordered: Ordered) -> pd.DataFrame:
    """The table of visits."""
    names, versions = _journeys(compiled)
    return pd.DataFrame(
        {
            "contact": log.contact_ids.take(ordered.contact).to_pandas(),
            "journey": _named(ordered.node, [names[info.journey] for info in compiled.nodes]),
            "version": _named(ordered.node, [versions[info.journey] for info in compiled.nodes]),
            "entry": ordered.entry,
            "node": _named(ordered.node, [info.name for info in compiled.nodes]),
            "visit": ordered.visit,
            "arrived_at": _instants(ordered.arrived_at),
            "left_at": _instants(ordered.left_at),
            "branch": _named(ordered.edge, [edge.branch for edge in compiled.edges]),
            "evidence": _named(ordered.evidence, o.EVIDENCE),
        },
        copy=False,
    )


def sends_table(
    compiled: Compiled, visits: pd.DataFrame, ordered: Ordered, outs: Sequence[Out], advice: Advice
) -> pd.DataFrame:
    """The table of sends: the visits in which one was decided, and what was."""
    messages = [info.node.send if isinstance(info.node, Send) else "" for info in compiled.nodes]
    is_send = np.array([isinstance(info.node, Send) for info in compiled.nodes], bool)[ordered.node]
    decided = np.flatnonzero(is_send & (ordered.edge >= 0))
    reason = ordered.reason[decided]
    rows = visits.loc[decided, ["contact", "journey", "entry", "node", "visit"]].reset_index(drop=True)
    rows["message"] = _named(ordered.node[decided], messages)
    rows["decided_at"] = _instants(ordered.left_at[decided])
    rows["is_sent"] = reason == o.BECAUSE_NOT
    rows["reason"] = _named(reason - 1, [str(one) for one in o.REASONS[1:]])
    rows["evidence"] = pd.array(visits.loc[decided, "evidence"].to_numpy(object), dtype="str")
    rows = rows.assign(**advised(compiled, advice, outs).columns(ordered.record[decided]))
    return rows.sort_values(["contact", "entry", "decided_at"], kind="stable", ignore_index=True)


def entries_table(compiled: Compiled, log: EventLog, ordered: Ordered) -> pd.DataFrame:
    """The table of entries."""
    (names, versions), entries = _journeys(compiled), ordered.entries
    goals = np.array([goal for _, _, goal in compiled.exits] + [False], bool)
    return pd.DataFrame(
        {
            "contact": log.contact_ids.take(entries[:, o.R_CONTACT]).to_pandas(),
            "journey": _named(entries[:, o.R_JOURNEY], names),
            "version": _named(entries[:, o.R_JOURNEY], versions),
            "entry": entries[:, o.R_ENTRY].astype(np.int32),
            "entered_at": _instants(entries[:, o.R_STARTED]),
            "left_at": _instants(entries[:, o.R_LEFT]),
            "exit": _named(entries[:, o.R_EXIT], [text for _, text, _ in compiled.exits]),
            "converted": goals[entries[:, o.R_EXIT]],
            "held_out": entries[:, o.R_HELD] > 0,
        }
    )


class Tally(NamedTuple):
    """The machine's counts, added up over contacts, or for each of several draws; see `machine.Out`."""

    n_by_edge: NDArray[np.int64]
    n_by_node: NDArray[np.int64]
    n_by_exit: NDArray[np.int64]
    n_by_journey: NDArray[np.int64]


def tally(compiled: Compiled, outs: Sequence[Out]) -> Tally:
    """The counts of all chunks."""
    return Tally(*(one[0] for one in tally_by_group(compiled, outs, 1)))


def tally_by_group(compiled: Compiled, outs: Sequence[Out], n_groups: int) -> Tally:
    """The counts of all chunks, those of each group by themselves in a first dimension."""
    empty = new_out(compiled.program, len(compiled.exits), n_groups=n_groups)
    counts = (sum((getattr(out, name) for out in outs), getattr(empty, name)) for name in Tally._fields)
    return Tally(*(one.reshape(n_groups, len(one) // n_groups, *one.shape[1:]) for one in counts))


def plain_counts(counts: Tally) -> list[Any]:
    """Counts as JSON has them: the shape and the numbers of each table."""
    return [[one.shape, one.ravel().tolist()] for one in counts]


def tally_of(plain: Sequence[Any]) -> Tally:
    """The counts of `plain_counts`."""
    return Tally(*(np.array(numbers, np.int64).reshape(shape) for shape, numbers in plain))


def added(tallies: Sequence[Tally]) -> Tally:
    """The counts of all parts of a log."""
    return Tally(*(sum(of[1:], of[0]) for of in zip(*tallies, strict=True)))


def counts_table(compiled: Compiled, n_by_edge: NDArray[Any], n_by_node: NDArray[Any]) -> pd.DataFrame:
    """Closed visits by journey, node and branch, from the machine's counts; see `replay.Replay.counts`."""
    rows: list[tuple[Any, ...]] = []
    for i, info in enumerate(compiled.nodes):
        journey = compiled.releases[info.journey].journey.journey
        for edge, by in zip(compiled.edges, n_by_edge, strict=True):
            if edge.node == i:
                n = int(by.sum()), int(by[o.ASSUMED]), int(by[o.PREDICTED])
                rows.append((journey, info.name, info.node.verb, edge.branch, edge.target, *n))
        ended = int(n_by_node[i, o.ENDED])
        if ended:
            rows.append((journey, info.name, info.node.verb, None, None, ended, 0, 0))
    columns = ["journey", "node", "verb", "branch", "target", "n_visits", "n_assumed", "n_predicted"]
    return pd.DataFrame(rows, columns=columns)


def assignments(
    compiled: Compiled, visits: pd.DataFrame, entries: pd.DataFrame, drawn: Drawn, texts: Sequence[str]
) -> pd.DataFrame:
    """Every assigned arm with its probability, `texts` being those of units; see `replay.Replay.assignments`."""
    of = [(compiled.releases[compiled.nodes[edge.node].journey].journey, edge) for edge in compiled.edges]
    arms = pd.DataFrame(
        [
            (journey.journey, journey.version, compiled.nodes[edge.node].name, edge.branch, edge.probability)
            for journey, edge in of
            if edge.probability is not None
        ],
        columns=["journey", "version", "node", "branch", "probability"],
    ).drop_duplicates()
    arms["probability"] = arms["probability"].astype("float64")  # also where there are none
    keys, of_entry = ["journey", "version", "node", "branch"], ["contact", "journey", "entry"]
    itself = entries["contact"].astype("str")
    named = pd.Series(np.array([*texts, ""], object)[drawn.unit], entries.index, dtype="str")
    whole = entries[of_entry].astype({"journey": "str"}).assign(unit=named.where(drawn.unit >= 0, itself))
    taken = visits.astype(dict.fromkeys(keys, "str")).merge(arms.astype(dict.fromkeys(keys, "str")), on=keys)
    taken = taken.rename(columns={"branch": "arm", "arrived_at": "assigned_at"}).merge(whole, on=of_entry)

    def holdout(node: str, column: int, bit: int, units: pd.Series) -> pd.DataFrame:
        share, is_held = compiled.program.journeys_x[drawn.release, column], drawn.held & bit > 0
        rows = whole.assign(
            unit=units,
            node=node,
            arm=np.where(is_held, "holdout", "treated"),
            probability=np.where(is_held, share, 1 - share),
            assigned_at=entries["entered_at"],
        )
        return rows[share > 0]

    holdouts = [
        holdout("policy_holdout", o.X_POLICY_HOLDOUT, o.HELD_BY_POLICY, itself),
        holdout("holdout", o.X_HOLDOUT, o.HELD_BY_JOURNEY, whole["unit"]),
    ]
    columns = ["contact", "journey", "entry", "unit", "node", "arm", "probability", "assigned_at"]
    found = pd.concat([one[columns] for one in (taken, *holdouts)], ignore_index=True)
    return found.sort_values(["contact", "entry", "assigned_at"], kind="stable", ignore_index=True)
