"""What many draws of a simulation add up to: branches and outcomes with prediction intervals, and single draws."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

import numpy as np
import pandas as pd

from . import layout as o
from .conditions import AwaitedMessage, parse_awaited
from .display import MOST_DRAWINGS, block, counted, plain, rest
from .drawing import svg
from .errors import DataError, known
from .journey import Journey, WaitFor
from .language import formatted, plural, say
from .program import Compiled
from .records import Tally, counts_table
from .resulttables import Tables

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from .bucketed import BucketedLog
    from .draws import Drawn
    from .eventlog import EventLog
    from .replayruns import LogElsewhere

__all__ = ["Runs", "Simulation"]


class Runs(Protocol):
    """What a simulation runs over."""

    def drawn(self) -> Drawn:
        """The counts of all contacts in all draws."""

    def table(self, name: str, draw: int) -> pd.DataFrame:
        """The `visits` or `entries` of one draw."""


@dataclass(eq=False, repr=False)
class Simulation(Tables):
    """What journeys would have done, in many draws of a response model.

    `branches` and `outcomes` have the figures with their prediction intervals; `visits(draw)` and `entries(draw)` are
    the tables of one draw. Everything is determined by the definition, the log, the model and `rng`.

    `until` is the horizon (aware UTC), `draws` the number of draws, `level` that of the intervals, `notes` what was
    overridden or assumed.
    """

    _table_names: ClassVar = ("branches", "outcomes", "visits", "entries")

    compiled: Compiled
    log: EventLog | BucketedLog | LogElsewhere
    until: datetime
    _runs: Runs
    draws: int
    level: float
    given_notes: tuple[str, ...]

    def __post_init__(self) -> None:
        self.tally, self.base, self.naive, self.n_asked, self.n_predicted = self._runs.drawn()

    def __repr__(self) -> str:
        names = ", ".join(self.compiled.groups)
        return (
            f"Simulation({names}: {counted(self.draws, 'draw')} of {counted(self.n_entries, 'entry')}, "
            f"{self.observed_share:.0%} of the decisions on record)"
        )

    @property
    def journeys(self) -> list[Journey]:
        """The journeys, by descending priority and then by name."""
        return [release.journey for release in self.compiled.releases]

    @cached_property
    def n_entries(self) -> int:
        """How many entries there were, the mean over the draws, rounded."""
        return round(float(self.tally.n_by_journey[:, :, o.T_ENTERED].sum(axis=1).mean()))

    @property
    def observed_share(self) -> float:
        """The share of all decisions, closed visits of nodes with a branch, that the log itself answers."""
        by = self.tally.n_by_edge.sum(axis=(0, 1))
        return float(by[o.OBSERVED] / max(1, by.sum()))

    # What the draws add up to

    def _by(self, rows: pd.DataFrame, n: NDArray[np.int64], keys: list[str]) -> tuple[pd.DataFrame, NDArray[np.int64]]:
        """The rows with equal keys as one, and the counts (draw, row) added up with them."""
        group = rows.groupby(keys, sort=False, observed=True, dropna=False).ngroup().to_numpy()
        of = np.zeros((n.shape[0], int(group.max()) + 1 if len(group) else 0), np.int64)
        for i, into in enumerate(group):
            of[:, into] += n[:, i]
        return rows.drop_duplicates(keys).reset_index(drop=True), of

    def _spread(self, frame: pd.DataFrame, name: str, values: NDArray[np.float64]) -> None:
        """Adds the mean of a figure over the draws, and the ends of its prediction interval."""
        tail = (1 - self.level) / 2
        missing = np.isnan(values).any(axis=0)
        low, high = np.quantile(np.nan_to_num(values), [tail, 1 - tail], axis=0, method="weibull")
        frame[name] = np.where(missing, np.nan, np.nan_to_num(values).mean(axis=0))
        frame[f"{name}_low"], frame[f"{name}_high"] = np.where(missing, np.nan, low), np.where(missing, np.nan, high)

    @cached_property
    def branches(self) -> pd.DataFrame:
        """The share of each branch with its prediction interval, and what it rests on.

        Columns: `journey, node, verb, branch, target` (text; branch and target missing for visits that left the journey
        there), `n_visits` and `branch_share` (means over the draws; the share is of the node's closed visits, 0..1),
        each with `_low` and `_high`; `observed_share` (of these decisions, how many the log answers),
        `n_naive` and `naive_share`: what the share would be among only those decisions of a plain replay that the log
        answers, whoever happened to be sent; missing where there are none. Shares are missing for nodes that in some
        draw nobody leaves.
        """
        compiled, counts = self.compiled, self.tally
        base = counts_table(compiled, counts.n_by_edge[0], np.ones_like(counts.n_by_node[0]))
        columns = ["journey", "node", "verb", "branch", "target"]
        places = _places(compiled)
        n = np.stack([counts.n_by_node[:, i, o.ENDED] if edge < 0 else counts.n_by_edge[:, edge].sum(axis=1)
                      for i, edge in places], axis=1)  # fmt: skip
        of_log = np.stack([counts.n_by_edge[:, edge, o.OBSERVED] if edge >= 0 else np.zeros(self.draws, np.int64)
                           for _, edge in places], axis=1)  # fmt: skip
        naive = np.array([[self.naive.n_by_edge[edge, o.OBSERVED] if edge >= 0 else 0 for _, edge in places]])
        shown = (base["verb"] != "exit").to_numpy()
        rows, by = self._by(base.loc[shown, columns], n[:, shown], columns)
        _, by_log = self._by(base.loc[shown, columns], of_log[:, shown], columns)
        _, by_naive = self._by(base.loc[shown, columns], naive[:, shown], columns)
        node = rows.groupby(["journey", "node"], sort=False, observed=True).ngroup().to_numpy()
        self._spread(rows, "n_visits", by.astype(float))
        self._spread(rows, "branch_share", _shares(by, node))
        with np.errstate(invalid="ignore"):
            rows["observed_share"] = np.where(rows["branch"].isna(), np.nan, by_log.sum(axis=0) / by.sum(axis=0))
        rows["n_naive"] = by_naive[0]
        rows["naive_share"] = np.where(rows["branch"].isna(), np.nan, _shares(by_naive, node)[0])
        return rows[rows["branch"].notna() | (rows["n_visits_high"] > 0)].reset_index(drop=True)

    @cached_property
    def outcomes(self) -> pd.DataFrame:
        """How many entries left by each exit, with prediction intervals.

        Columns: `journey, exit` (text; the exit is missing for entries still inside at the horizon), `is_goal` (bool),
        `n_entries` and `entry_share` (means over the draws, 0..1 of the journey's entries), each with `_low` and
        `_high`, and `naive_share`, the same among those entries whose contacts the log answers to the end.
        """
        compiled = self.compiled
        names = [one.journey.journey for one in compiled.releases]
        rows = pd.DataFrame(
            [(names[release], text, goal) for release, text, goal in compiled.exits]
            + [(name, None, False) for name in names],
            columns=["journey", "exit", "is_goal"],
        )
        n = np.concatenate([self.tally.n_by_exit, self.tally.n_by_journey[:, :, o.T_INSIDE]], axis=1)
        naive = np.concatenate([self.base.n_by_exit, self.base.n_by_journey[:, o.T_INSIDE]])[None]
        keys = ["journey", "exit", "is_goal"]
        frame, by = self._by(rows, n, keys)
        _, by_naive = self._by(rows, naive, keys)
        journey = frame.groupby("journey", sort=False).ngroup().to_numpy()
        self._spread(frame, "n_entries", by.astype(float))
        self._spread(frame, "entry_share", _shares(by, journey))
        frame["naive_share"] = _shares(by_naive, journey)[0]
        return frame[frame["n_entries_high"] > 0].reset_index(drop=True)

    @cached_property
    def notes(self) -> list[str]:
        """What the figures rest on, in sentences."""
        by = self.tally.n_by_edge.sum(axis=(0, 1))
        notes = [
            *self.given_notes,
            say(
                "{share} of these decisions are on record, the others are predicted by the model.",
                share=formatted(self.observed_share, ".0%"),
            ),
            say(
                "The model answered {sends} in {draws} from {predictions}.",
                sends=plural("{n} send", "{n} sends", self.n_asked),
                draws=plural("{n} draw", "{n} draws", self.draws),
                predictions=plural("{n} prediction", "{n} predictions", self.n_predicted),
            ),
        ]
        if by[o.ASSUMED]:
            n = formatted(by[o.ASSUMED] / self.draws, ",.0f")
            notes.append(say("{n} decisions are assumed (rules 33 and 35).", n=n))
        linked = [one.name for one in self.compiled.nodes if _awaits_a_link(one.node)]
        if linked:
            notes.append(
                say(
                    "The model does not say which link is clicked: {nodes} never see a predicted click of one.",
                    nodes=", ".join(linked),
                )
            )
        return notes

    def visits(self, draw: int = 0) -> pd.DataFrame:
        """Every visit of one draw; the columns are those of `replay.Replay.visits`."""
        return self._table("visits", draw)

    def entries(self, draw: int = 0) -> pd.DataFrame:
        """Every entry of one draw; the columns are those of `replay.Replay.entries`."""
        return self._table("entries", draw)

    def _table(self, name: str, draw: int) -> pd.DataFrame:
        if not 0 <= draw < self.draws:
            raise DataError(f"draw {draw} does not exist; draws count from 0 to {self.draws - 1}")
        return self._runs.table(name, draw)

    def summary(self, journey: str | None = None) -> dict[str, Any]:
        """The figures of one journey as plain data: what `journeylab simulate --json` prints."""
        name = self._name(journey)
        nodes: dict[str, Any] = {}
        for row in self.branches[self.branches["journey"] == name].itertuples():
            node = nodes.setdefault(str(row.node), {"n_visits": 0.0, "branches": {}})
            node["n_visits"] += row.n_visits
            if isinstance(row.branch, str):
                node["branches"][row.branch] = {
                    "n_visits": row.n_visits,
                    "share": plain(row.branch_share),
                    "interval": [plain(row.branch_share_low), plain(row.branch_share_high)],
                    "observed_share": plain(row.observed_share),
                    "naive_share": plain(row.naive_share),
                }
        exits = {
            ("still_inside" if not isinstance(row.exit, str) else row.exit): {
                "n_entries": row.n_entries,
                "interval": [row.n_entries_low, row.n_entries_high],
                "share": plain(row.entry_share),
                "share_interval": [plain(row.entry_share_low), plain(row.entry_share_high)],
                "is_goal": bool(row.is_goal),
            }
            for row in self.outcomes[self.outcomes["journey"] == name].itertuples()
        }
        release = next(one for one in reversed(self.compiled.releases) if one.journey.journey == name)
        return {
            "journey": name,
            "version": release.journey.version,
            "draws": self.draws,
            "level": self.level,
            "n_entries": self.n_entries,
            "observed_share": self.observed_share,
            "nodes": nodes,
            "exits": exits,
            "until": self.until.isoformat(),
            "notes": self.notes,
        }

    def _name(self, journey: str | None) -> str:
        groups = self.compiled.groups
        if journey is None and len(groups) == 1:
            return groups[0]
        if journey not in groups:
            raise DataError(f"no journey {journey!r} in this simulation; {known(str(journey), groups, 'journeys')}")
        return str(journey)

    def draw(self, journey: str | None = None) -> str:
        """The journey drawn with the mean counts of the draws on its edges, as SVG."""
        name = self._name(journey)
        mean = Tally(*(np.round(part.mean(axis=0)).astype(np.int64) for part in self.tally))
        counts = counts_table(self.compiled, mean.n_by_edge, mean.n_by_node)
        drawn = next(one for one in self.journeys if one.journey == name)
        return svg(drawn, counts[counts["journey"] == name])

    def _repr_html_(self) -> str:
        names = self.compiled.groups
        drawn = (self.draw(name) for name in names[:MOST_DRAWINGS])
        return block(repr(self), *drawn, rest(len(names) - MOST_DRAWINGS, "journeys"))


def _places(compiled: Compiled) -> list[tuple[int, int]]:
    """Node and edge of each row of a table of counts that has a row for ending at every node; no edge is -1."""
    places = []
    for i in range(len(compiled.nodes)):
        places += [(i, edge) for edge, info in enumerate(compiled.edges) if info.node == i]
        places.append((i, -1))
    return places


def _shares(n: NDArray[np.int64], group: NDArray[np.int64]) -> NDArray[np.float64]:
    """Each count's share of its group, draw by draw; missing for an empty group."""
    total = np.zeros((n.shape[0], int(group.max()) + 1 if len(group) else 0))
    for i, of in enumerate(group):
        total[:, of] += n[:, i]
    with np.errstate(invalid="ignore"):
        shares: NDArray[np.float64] = n / total[:, group]
    return shares


def _awaits_a_link(node: object) -> bool:
    if not isinstance(node, WaitFor):
        return False
    awaited = [parse_awaited(text) for text in node.awaited]
    return any(isinstance(one, AwaitedMessage) and one.link is not None for one in awaited)
