"""What many draws of a simulation add up to: branches and outcomes with prediction intervals, and single draws."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

import numpy as np
import pandas as pd

from . import layout as o
from .answering import Answering, silence
from .conditions import AwaitedMessage, parse_awaited
from .display import MOST_DRAWINGS, block, counted, plain, rest
from .drawing import svg
from .errors import DataError, known
from .execution import Answers, Asked, in_rounds, offsets_of, run
from .journey import Journey, WaitFor
from .language import formatted, plural, say
from .machine import Out
from .program import Compiled
from .progress import Progress, shown
from .records import Tally, counts_table, tables, tally
from .resulttables import Tables
from .worlds import Ready

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from .eventlog import EventLog

__all__ = ["Simulation"]

AT_ONCE = 1 << 20
"""How many contacts, each in its draw, are advanced together."""


class _Silent(NamedTuple):
    """The sends that contacts come to who respond to none: by contact, with what is predicted of them."""

    sends: Asked
    offsets: NDArray[np.int64]
    chances: NDArray[np.float32]
    slots: NDArray[np.int64]


def _ranges(start: NDArray[np.int64], end: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """All numbers from each start up to its end, after the place of the range that each belongs to."""
    lengths = end - start
    place = np.repeat(np.arange(len(start)), lengths)
    return place, np.arange(len(place)) + np.repeat(start - (np.cumsum(lengths) - lengths), lengths)


def _by_draw(compiled: Compiled, outs: list[tuple[int, Out]], n_draws: int) -> Tally:
    """The counts of chunks, each of a draw, added up by draw."""
    draws: list[list[Out]] = [[] for _ in range(n_draws)]
    for draw, out in outs:
        draws[draw].append(out)
    return Tally(*(np.stack(parts) for parts in zip(*(tally(compiled, one) for one in draws), strict=True)))


@dataclass(eq=False, repr=False)
class Simulation(Tables):
    """What journeys would have done, in many draws of a response model.

    `branches` and `outcomes` have the figures with their prediction intervals; `visits(draw)` and `entries(draw)` are
    the tables of one draw. Everything is determined by the definition, the log, the model and `rng`.

    `diverged` are the contacts that the model speaks for, `draws` is the number of draws, `level` that of the
    intervals, `notes` what was overridden or assumed.
    """

    _table_names: ClassVar = ("branches", "outcomes", "visits", "entries")

    ready: Ready
    log: EventLog
    diverged: NDArray[np.int64]
    answering: Answering
    base: Tally
    naive: Tally
    draws: int
    level: float
    given_notes: tuple[str, ...]
    progress: Progress

    def __post_init__(self) -> None:
        self._units = self.log.unit_hashes[self.diverged]
        silent = self._follow_silence()
        stirred: list[tuple[int, Out]] = []
        replaced: list[tuple[int, Out]] = []
        with shown(self.progress, "drawing responses") as tell:
            for who, draws, first in self._batches():
                more, less = self._stirred(who, draws, first)
                stirred += more
                replaced += less
                tell(int(draws[-1]) + 1, self.draws)
        parts = (
            _by_draw(self.ready.compiled, stirred, self.draws),
            _by_draw(self.ready.compiled, replaced, self.draws),
        )
        self.tally = Tally(
            *(more - less + quiet + rest for more, less, quiet, rest in zip(*parts, silent, self.base, strict=True))
        )

    def _run(
        self,
        contacts: NDArray[np.int64],
        draws: NDArray[np.int64],
        answer: Callable[[Asked], Answers],
        known: Answers | None = None,
        *,
        record: bool = False,
    ) -> list[tuple[int, Out]]:
        compiled = self.ready.compiled
        return in_rounds(
            compiled.program, self.ready.world, len(compiled.exits), contacts, draws, answer, known=known, record=record
        )

    def _follow_silence(self) -> Tally:
        """The counts of all contacts if nothing came of any send; keeps the sends that they then come to.

        Most sends are not responded to. So this is worked out once, and a draw has to follow only those contacts in
        whom it stirs something, from their first response on.
        """
        contacts, found = self.diverged, []

        def answer(asked: Asked) -> Answers:
            found.append(asked)
            return silence(asked)

        outs = self._run(contacts, np.zeros(len(contacts), np.int64), answer)
        place = np.concatenate([one.place for one in found] or [np.empty(0, np.int64)])
        order = np.argsort(place, kind="stable")
        sends = Asked(
            place[order],
            np.concatenate([one.rows for one in found] or [np.empty((0, 5), np.int64)])[order],
            np.concatenate([one.features for one in found] or [np.empty((0, 1))])[order],
        )
        chances = self.answering.chances(contacts[sends.place], sends)
        slots = self.answering.slots(sends, self.log.first_at[contacts[sends.place]])
        self._silent = _Silent(sends, offsets_of(sends.place, len(contacts)), chances, slots)
        return tally(self.ready.compiled, [out for _, out in outs])

    def _batches(self) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]]:
        """Who is stirred in which draw, and the place of the first send that is responded to, some draws at a time."""
        batch: list[tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]] = []
        n = 0
        for draw in range(self.draws):
            first = self.answering.stirred(self._units, draw, *self._silent)
            who = np.flatnonzero(first >= 0)
            batch.append((who, np.full(len(who), draw), first[who]))
            n += len(who)
            if n and (n >= AT_ONCE or draw == self.draws - 1):
                who, draws, first = (np.concatenate(parts) for parts in zip(*batch, strict=True))
                yield who, draws, first
                batch, n = [], 0

    def _stirred(
        self, who: NDArray[np.int64], draws: NDArray[np.int64], first: NDArray[np.int64]
    ) -> tuple[list[tuple[int, Out]], list[tuple[int, Out]]]:
        """What happens to contacts who respond, each in its draw; and what would have happened if all stayed silent."""
        contacts, offsets = self.diverged[who], self._silent.offsets
        place, send = _ranges(offsets[who], first + 1)
        sends = Asked(place, self._silent.sends.rows[send], np.empty((len(place), 0)))
        silent = self._silent
        known_answers = self.answering.answers(
            self._units[who[place]], draws[place], sends, silent.chances[send], silent.slots[send]
        )
        more = self._run(contacts, draws, self._answerer(contacts, self._units[who], draws), known_answers)
        place, send = _ranges(offsets[who], offsets[who + 1])
        quiet = silence(Asked(place, self._silent.sends.rows[send], np.empty((len(place), 0))))
        return more, self._run(contacts, draws, silence, quiet)

    def _answerer(
        self, contacts: NDArray[np.int64], units: NDArray[np.uint64], draws: NDArray[np.int64]
    ) -> Callable[[Asked], Answers]:
        def answer(asked: Asked) -> Answers:
            chances = self.answering.chances(contacts[asked.place], asked)
            slots = self.answering.slots(asked, self.log.first_at[contacts[asked.place]])
            return self.answering.answers(units[asked.place], draws[asked.place], asked, chances, slots)

        return answer

    def __repr__(self) -> str:
        names = ", ".join(self.ready.compiled.groups)
        return (
            f"Simulation({names}: {counted(self.draws, 'draw')} of {counted(self.n_entries, 'entry')}, "
            f"{self.observed_share:.0%} of the decisions on record)"
        )

    @property
    def journeys(self) -> list[Journey]:
        """The journeys, by descending priority and then by name."""
        return [release.journey for release in self.ready.compiled.releases]

    @property
    def until(self) -> datetime:
        """The horizon (aware UTC)."""
        return self.ready.until

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
        compiled, counts = self.ready.compiled, self.tally
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
        compiled = self.ready.compiled
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
                sends=plural("{n} send", "{n} sends", self.answering.n_asked),
                draws=plural("{n} draw", "{n} draws", self.draws),
                predictions=plural("{n} prediction", "{n} predictions", self.answering.n_predicted),
            ),
        ]
        if by[o.ASSUMED]:
            n = formatted(by[o.ASSUMED] / self.draws, ",.0f")
            notes.append(say("{n} decisions are assumed (rules 33 and 35).", n=n))
        linked = [one.name for one in self.ready.compiled.nodes if _awaits_a_link(one.node)]
        if linked:
            notes.append(
                say(
                    "The model does not say which link is clicked: {nodes} never see a predicted click of one.",
                    nodes=", ".join(linked),
                )
            )
        return notes

    def _tables(self, draw: int) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
        if not 0 <= draw < self.draws:
            raise DataError(f"draw {draw} does not exist; draws count from 0 to {self.draws - 1}")
        compiled, n_contacts = self.ready.compiled, self.log.n_contacts
        contacts, draws = self.diverged, np.full(len(self.diverged), draw)
        made = self._run(contacts, draws, self._answerer(contacts, self._units, draws), record=True)
        outs = [out for _, out in made]
        rest = np.setdiff1d(np.arange(n_contacts), contacts)
        if len(rest):
            outs += run(compiled.program, self.ready.world, len(compiled.exits), n_contacts, record=True, contacts=rest)
        return tables(compiled, self.ready.log, outs, self.ready.advice)

    def visits(self, draw: int = 0) -> pd.DataFrame:
        """Every visit of one draw; the columns are those of `replay.Replay.visits`."""
        return self._tables(draw)[0]

    def entries(self, draw: int = 0) -> pd.DataFrame:
        """Every entry of one draw; the columns are those of `replay.Replay.entries`."""
        return self._tables(draw)[1]

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
        release = next(one for one in reversed(self.ready.compiled.releases) if one.journey.journey == name)
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
        groups = self.ready.compiled.groups
        if journey is None and len(groups) == 1:
            return groups[0]
        if journey not in groups:
            raise DataError(f"no journey {journey!r} in this simulation; {known(str(journey), groups, 'journeys')}")
        return str(journey)

    def draw(self, journey: str | None = None) -> str:
        """The journey drawn with the mean counts of the draws on its edges, as SVG."""
        name = self._name(journey)
        mean = Tally(*(np.round(part.mean(axis=0)).astype(np.int64) for part in self.tally))
        counts = counts_table(self.ready.compiled, mean.n_by_edge, mean.n_by_node)
        drawn = next(one for one in self.journeys if one.journey == name)
        return svg(drawn, counts[counts["journey"] == name])

    def _repr_html_(self) -> str:
        names = self.ready.compiled.groups
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
