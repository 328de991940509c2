"""What the machine recorded, as tables with names: visits, entries, sends and assignments."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pandas as pd

from . import layout as o
from .advice import Advice, advised
from .clock import NEVER
from .journey import Send
from .machine import O_ENTRIES, O_VISITS, Out, new_out
from .program import Compiled

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from .eventlog import EventLog

__all__ = [
    "Drawn",
    "Tally",
    "added",
    "assignments",
    "counts_table",
    "drawn",
    "plain_counts",
    "tables",
    "tally",
    "tally_of",
]


def _instants(at: NDArray[np.int64]) -> pd.DatetimeIndex:
    """Aware UTC instants; NEVER is missing."""
    missing = np.datetime64("NaT", "us")
    return pd.DatetimeIndex(np.where(at == NEVER, missing, at.astype("datetime64[us]")), tz="UTC")


def _named(codes: NDArray[Any], names: Sequence[str]) -> pd.Categorical:
    """Names by code, -1 missing; equal names are one category."""
    categories = sorted(set(names))
    place = {name: i for i, name in enumerate(categories)}
    table = np.array([place[name] for name in names] + [-1], np.int64)
    return pd.Categorical.from_codes(table[codes], categories)


def _recorded(outs: Sequence[Out]) -> NDArray[np.int64]:
    """The rows of all entries."""
    return np.concatenate([out.entries[: out.used[O_ENTRIES]] for out in outs] or [np.empty((0, o.R_COLUMNS), int)])


def _by_contact(log: EventLog, entries: NDArray[np.int64]) -> NDArray[np.int64]:
    """The rows of entries, sorted by contact, entry."""
    order = np.lexsort((entries[:, o.R_JOURNEY], entries[:, o.R_ENTRY], log.rank[entries[:, o.R_CONTACT]]))
    return entries[order]


class Drawn(NamedTuple):
    """What chance went by in each entry, in the order of the table of entries.

    `release` is the journey's version by its place in `Compiled.releases`, `held` by whom the entry is held out (bits),
    `unit` the code of its unit's text, NONE where the unit is the contact.
    """

    release: NDArray[np.int64]
    held: NDArray[np.int64]
    unit: NDArray[np.int64]


def drawn(log: EventLog, outs: Sequence[Out]) -> Drawn:
    """What chance went by in the entries of all chunks."""
    entries = _by_contact(log, _recorded(outs))
    return Drawn(entries[:, o.R_JOURNEY], entries[:, o.R_HELD], entries[:, o.R_UNIT])


def tables(
    compiled: Compiled, log: EventLog, outs: Sequence[Out], advice: Advice
) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    """The visits, entries and sends of all chunks; see `replay.Replay` for their columns."""
    first_entry = np.cumsum([0, *(out.used[O_ENTRIES] for out in outs)])
    entries = _recorded(outs)
    visits = np.concatenate(
        [out.visits[: out.used[O_VISITS]] for out in outs] or [np.empty((0, o.V_COLUMNS), np.int32)]
    )
    times = np.concatenate([out.times[: out.used[O_VISITS]] for out in outs] or [np.empty((0, 2), int)])
    n_visits = [int(out.used[O_VISITS]) for out in outs]
    record = visits[:, o.V_ENTRY].astype(np.int64) + np.repeat(first_entry[:-1], n_visits)
    rank = log.rank
    order = np.lexsort((entries[record, o.R_JOURNEY], times[:, 0], entries[record, o.R_ENTRY], rank[visits[:, 0]]))
    visits, times, of = visits[order], times[order], entries[record[order]]
    journeys = [release.journey for release in compiled.releases]
    names, versions = [one.journey for one in journeys], [one.version for one in journeys]
    contact = log.contact_ids.take(visits[:, o.V_CONTACT]).to_pandas()
    node = _named(visits[:, o.V_NODE], [info.name for info in compiled.nodes])
    visit_table = pd.DataFrame(
        {
            "contact": contact,
            "journey": _named(of[:, o.R_JOURNEY], names),
            "version": _named(of[:, o.R_JOURNEY], versions),
            "entry": of[:, o.R_ENTRY].astype(np.int32),
            "node": node,
            "visit": visits[:, o.V_VISIT],
            "arrived_at": _instants(times[:, 0]),
            "left_at": _instants(times[:, 1]),
            "branch": _named(visits[:, o.V_EDGE], [edge.branch for edge in compiled.edges]),
            "evidence": _named(visits[:, o.V_EVIDENCE], o.EVIDENCE),
        }
    )
    decided, sends = _sends(compiled, visit_table, visits, times)
    sends = sends.assign(**advised(compiled, advice, outs).columns(order[decided]))
    sends = sends.sort_values(["contact", "entry", "decided_at"], kind="stable", ignore_index=True)
    return visit_table, _entries(compiled, log, entries, names, versions), sends


def _sends(
    compiled: Compiled, table: pd.DataFrame, visits: NDArray[np.int32], times: NDArray[np.int64]
) -> tuple[NDArray[np.int64], pd.DataFrame]:
    """The visits in which a send was decided, and what was."""
    messages = [info.node.send if isinstance(info.node, Send) else "" for info in compiled.nodes]
    is_send = np.array([isinstance(info.node, Send) for info in compiled.nodes], bool)[visits[:, o.V_NODE]]
    decided = np.flatnonzero(is_send & (visits[:, o.V_EDGE] >= 0))
    reason = visits[decided, o.V_REASON]
    rows = table.loc[decided, ["contact", "journey", "entry", "node", "visit"]].reset_index(drop=True)
    rows["message"] = _named(visits[decided, o.V_NODE], messages)
    rows["decided_at"] = _instants(times[decided, 1])
    rows["is_sent"] = reason == o.BECAUSE_NOT
    rows["reason"] = _named(reason - 1, [str(one) for one in o.REASONS[1:]])
    rows["evidence"] = pd.array(table.loc[decided, "evidence"].to_numpy(object), dtype="str")
    return decided, rows


def _entries(
    compiled: Compiled, log: EventLog, entries: NDArray[np.int64], names: Sequence[str], versions: Sequence[str]
) -> pd.DataFrame:
    entries = _by_contact(log, entries)
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
    empty = new_out(compiled.program, len(compiled.exits), 0)
    return Tally(*(sum((getattr(out, name) for out in outs), getattr(empty, name)) for name in Tally._fields))


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
