"""The tables of a report on a journey: which way people went, how they left, how soon they converted, when they came.

The same for a replay, for one draw of a simulation, for what came after a backtest's cutoff, and for a release.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

import pandas as pd

from journeylab.disclosure import Cells, cells, coarse
from journeylab.drawing.svg import EdgeText, svg
from journeylab.graph import places, reachable
from journeylab.journey import Exit, Journey
from journeylab.language import date_text, duration_words, formatted, later, say, share_text
from journeylab.visits import wilson_interval

from .page import Basis, Figure, Part, Row

if TYPE_CHECKING:
    from journeylab.disclosure import Disclosed

__all__ = [
    "HIDDEN", "INSIDE", "Flow", "branch_part", "choices", "conversion_part", "counts_text", "drawn", "entered",
    "entered_figure", "number_text", "of_version", "outcome_part", "percent", "share_of", "share_told", "way_text",
    "week_part", "zone_of",
]  # fmt: skip

INSIDE = "(inside)"
"""Stands for an exit of those who are still inside."""
HIDDEN = "\N{EN DASH}"
"""Stands for a number that is hidden."""
_MAX_VISITS = "max_visits"
_BUILT_IN = ("consent_withdrawn", "erased")
_WITHINS = tuple(timedelta(days=days) for days in (1, 3, 7, 14, 30, 60, 90, 180, 365))
_LEFT = {
    "consent_withdrawn": later("withdrew consent"), "erased": later("was erased"), INSIDE: later("still inside"),
}  # fmt: skip


@dataclass(frozen=True)
class Flow:
    """What happened to those who entered a journey within a closed period, up to its end.

    Attributes:
        journey: the journey.
        visits, entries: frames of a replay, of this journey.
        from_at, until_at: the period; who entered before is left out.
    """

    journey: Journey
    visits: pd.DataFrame
    entries: pd.DataFrame
    from_at: datetime
    until_at: datetime

    @property
    def zone(self) -> str:
        """Whose midnights periods and weeks begin at."""
        return zone_of(self.journey)

    def tables(self) -> list[Cells]:
        """The tables, those that matter most first: `branches`, `exits`, `conversions`, `weeks`.

        `branches` has the nodes from which ways part, by `node` and `branch`; `exits` by `exit`; `conversions` by
        `within` (text, such as "7d"; each counts those before it too), of all who entered, for a journey with a goal;
        `weeks` by `week` of entry (its first day, local).
        """
        entries = self._own(self.entries, "entered_at")
        visits = self.visits.merge(entries[["contact", "entry"]], on=["contact", "entry"])
        return [
            table
            for table in (
                self._branches(visits), self._exits(entries), self._conversions(entries), self._weeks(entries),
            )
            if table is not None
        ]  # fmt: skip

    def _own(self, frame: pd.DataFrame, at: str) -> pd.DataFrame:
        return frame[(frame[at] >= self.from_at) & (frame[at] < self.until_at)]

    def _closed(self, left_at: pd.Series) -> pd.Series:
        return left_at.notna() & (left_at < self.until_at)

    def _branches(self, visits: pd.DataFrame) -> Cells | None:
        levels = choices(self.journey)
        closed = visits[self._closed(visits["left_at"]) & visits["branch"].notna()]
        closed = closed.astype({"node": object, "branch": object}).merge(levels, on=["node", "branch"])
        if closed.empty:
            return None
        return cells(closed, table="branches", by=["node", "branch"], within=["node"], levels=levels)

    def _exits(self, entries: pd.DataFrame) -> Cells:
        exit_ = entries["exit"].astype(object).where(self._closed(entries["left_at"]), INSIDE)
        return cells(entries.assign(exit=exit_), table="exits", by=["exit"], levels={"exit": exits_of(self.journey)})

    def _conversions(self, entries: pd.DataFrame) -> Cells | None:
        if not any(one.goal for one in self.journey.exit_when):
            return None
        has = entries["converted"].astype(bool) & self._closed(entries["left_at"])
        took = (entries["left_at"] - entries["entered_at"])[has]
        span = self.until_at - self.from_at
        # Later ones would be of the few who came early.
        withins = [one for one in _WITHINS if one <= span / 4] or [_WITHINS[0]]
        rows = pd.concat(
            [
                pd.DataFrame({"contact": entries.loc[took.index[took <= one], "contact"], "within": f"{one.days}d"})
                for one in withins
            ]
        )
        levels = {"within": [f"{one.days}d" for one in withins]}
        everyone = entries["contact"].unique().tolist()
        return cells(rows, table="conversions", by=["within"], population=everyone, levels=levels)

    def _weeks(self, entries: pd.DataFrame) -> Cells:
        local = entries["entered_at"].dt.tz_convert(ZoneInfo(self.zone)).dt.tz_localize(None).dt.normalize()
        week = (local - pd.to_timedelta(local.dt.day_of_week, unit="D")).dt.strftime("%Y-%m-%d")
        first, last = (at.astimezone(ZoneInfo(self.zone)).date() for at in (self.from_at, self.until_at))
        monday = first - timedelta(days=first.weekday())
        weeks = [str(monday + timedelta(days=7 * number)) for number in range((last - monday).days // 7 + 1)]
        weeks = [one for one in weeks if one < str(last)]
        return cells(entries.assign(week=week), table="weeks", by=["week"], levels={"week": weeks})


def zone_of(journey: Journey) -> str:
    """The time zone of a journey, in which its reports' days are."""
    return str(journey.timezone or "UTC")


def of_version(frame: pd.DataFrame, journey: Journey) -> pd.DataFrame:
    """The rows of a journey in its latest version: others may have other nodes and exits."""
    return frame[(frame["journey"] == journey.journey) & (frame["version"] == journey.version)]


def choices(journey: Journey) -> pd.DataFrame:
    """The branches of the nodes from which ways part: `node`, `branch`, `target`."""
    rows = [
        (place.name, branch, target)
        for place in places(journey)
        if len({target for _, target in place.branches}) > 1
        for branch, target in dict(place.branches).items()
    ]
    return pd.DataFrame(rows, columns=["node", "branch", "target"])


def exits_of(journey: Journey) -> list[str]:
    """Every way to leave the journey, and `INSIDE` last."""
    own = [node.exit for node in journey.nodes.values() if isinstance(node, Exit)]
    loops = [_MAX_VISITS] if _has_loops(journey) else []
    return [*dict.fromkeys([*(one.text for one in journey.exit_when), *own, *loops, *_BUILT_IN]), INSIDE]


def _has_loops(journey: Journey) -> bool:
    """Whether a node can come again, in the journey or a part, so that an entry may end by its visits (rule 24)."""
    edges: dict[str, list[str]] = {one.name: [target for _, target in one.branches] for one in places(journey)}
    return any(name in reachable(following, edges) for name, following in edges.items())


# What is said of them


def number_text(value: object) -> str:
    """A number of people as it is shown, or a dash where it is hidden."""
    return HIDDEN if pd.isna(value) else say("about {n}", n=formatted(int(value)))  # type: ignore[call-overload]


def share_of(n: object, of: object) -> tuple[str, str, tuple[float, float, float] | None]:
    """A share as text, its 95 % Wilson interval as text, and both for a bar; dashes where it is hidden."""
    if pd.isna(n) or pd.isna(of):
        return HIDDEN, "", None
    count, total = float(n), float(of)  # type: ignore[arg-type]
    share = min(1.0, count / total)
    low, high = (float(end[0]) for end in wilson_interval([min(count, total)], [total]))
    return _percent(share), say("{low} to {high}", low=_percent(low), high=_percent(high)), (share, low, high)


def _percent(share: float) -> str:
    return share_text(round(share, 3))


def percent(share: object) -> str:
    """A share as a whole percentage, or a dash where there is none.

    >>> percent(0.542), percent(float("nan")) == HIDDEN
    ('54%', True)
    """
    return HIDDEN if pd.isna(share) else formatted(float(share), ".0%")  # type: ignore[arg-type]


def way_text(exit_: str) -> str:
    """How somebody left, in words.

    >>> way_text("goal:purchase"), way_text("erased"), way_text("finished")
    ('purchase (goal)', 'was erased', 'finished')
    """
    if exit_ in _LEFT:
        return say(_LEFT[exit_])
    kind, _, event = exit_.partition(":")
    return say("{event} (goal)", event=event) if kind == "goal" and event else exit_


def entered(shown: Disclosed) -> object:
    """How many people entered, as shown; missing where that is hidden."""
    for name in ("exits", "weeks"):
        if name in shown.tables and len(shown.tables[name]):
            return shown.tables[name]["n_within"].iloc[0]
    return pd.NA


def share_told(share: float | None, shown: Disclosed) -> float | None:
    """A share over all who entered as precisely as it may be said: rounded to what five of them are of it.

    None where there is none, or where it may not be told how many entered: it would be of few, and tell of them.
    """
    n = entered(shown)
    return None if share is None or pd.isna(n) else float(coarse(share, int(n)))  # type: ignore[call-overload]


def entered_figure(shown: Disclosed) -> Figure:
    """The number of those who entered."""
    return Figure(number_text(entered(shown)), say("contacts entered"))


def branch_part(
    shown: pd.DataFrame, basis: Basis = "observed", more: Mapping[str, Callable[[pd.Series], str]] | None = None
) -> Part:
    """Which way people went where ways part, with further columns by their head."""
    rows, before = [], None
    for _, row in shown.iterrows():
        share, interval, bar = share_of(row["n_contacts"], row["n_within"])
        first = row["node"] if row["node"] != before else ""
        before = row["node"]
        rows.append(
            Row((first, row["branch"], number_text(row["n_contacts"]), share, interval,
                 *(say_it(row) for say_it in (more or {}).values())), bar)
        )  # fmt: skip
    return Part(
        say("Which way contacts went"),
        basis,
        say("Contacts who took each way, as a share of those who came to the node and left it by a branch."),
        head=[say("node"), say("branch"), say("contacts"), say("share"), say("95% interval"), *(more or {})],
        rows=rows,
    )


def outcome_part(
    shown: pd.DataFrame,
    goals: Sequence[str],
    basis: Basis = "observed",
    more: Mapping[str, Callable[[pd.Series], str]] | None = None,
) -> Part:
    """How people left, with further columns by their head."""
    rows = []
    for _, row in shown.iterrows():
        share, interval, bar = share_of(row["n_contacts"], row["n_within"])
        cells_ = way_text(row["exit"]), number_text(row["n_contacts"]), share, interval
        rows.append(Row((*cells_, *(say_it(row) for say_it in (more or {}).values())), bar))
    note = say("A contact who entered several times may have left in several ways.")
    return Part(
        say("How contacts left"), basis, note if goals else "",
        head=[say("exit"), say("contacts"), say("share"), say("95% interval"), *(more or {})], rows=rows,
    )  # fmt: skip


def conversion_part(shown: pd.DataFrame, goals: Sequence[str], basis: Basis = "observed") -> Part:
    """How soon people converted."""
    rows = []
    for _, row in shown.iterrows():
        share, interval, bar = share_of(row["n_contacts"], row["n_within"])
        within = duration_words(timedelta(days=int(row["within"].removesuffix("d"))))
        rows.append(Row((within, number_text(row["n_contacts"]), share, interval), bar))
    return Part(
        say("How soon contacts converted"),
        basis,
        say("Contacts who reached {goals} within each time of entering, of all who entered, however long they could be "
            "followed.", goals=say(" or ").join(goals)),
        head=[say("within"), say("contacts"), say("share"), say("95% interval")],
        rows=rows,
    )  # fmt: skip


def week_part(shown: pd.DataFrame) -> Part:
    """When people entered."""
    rows = [
        Row((date_text(datetime.fromisoformat(row["week"])), number_text(row["n_contacts"])), _bar(row))
        for _, row in shown.iterrows()
    ]
    return Part(
        say("When contacts entered"), "observed", say("By week; the first and the last may be cut short."),
        head=[say("week from"), say("contacts")], rows=rows,
    )  # fmt: skip


def _bar(row: pd.Series) -> tuple[float, float, float] | None:
    bar = share_of(row["n_contacts"], row["n_within"])[2]
    return None if bar is None else (bar[0], float("nan"), float("nan"))


def counts_text(row: pd.Series) -> str:
    """What a way of a drawing says of those who took it."""
    if pd.isna(row["n_contacts"]):
        return HIDDEN
    share = share_of(row["n_contacts"], row["n_within"])[0]
    n = formatted(int(row["n_contacts"]))
    return n if share == HIDDEN else f"{n} · {share}"


def drawn(
    journey: Journey, branches: pd.DataFrame | None, text_of: Callable[[pd.Series], str], legend: str | None = None
) -> str:
    """The journey as SVG with a text on each way where ways part.

    Args:
        journey: the journey.
        branches: the table `branches` as it is shown; missing where nothing of it may be.
        text_of: what to write of a row.
        legend: what the texts are.
    """
    rows = {} if branches is None else {(row["node"], row["branch"]): row for _, row in branches.iterrows()}
    texts: dict[tuple[str, str], EdgeText] = {}
    for node, branch, target in _edges(journey):
        if (row := rows.get((node, branch))) is not None:
            before = texts.get((node, target), EdgeText(()))
            weight = 0 if pd.isna(row["n_contacts"]) else int(row["n_contacts"])
            texts[node, target] = EdgeText((*before.lines, text_of(row)), before.weight + weight)
    legend = legend or say("Numbers: contacts who took each way, and their share.")
    hidden = say("{dash}: hidden, as it would tell of few.", dash=HIDDEN)
    return svg(journey, texts=texts, legend=f"{legend} {hidden}")


def _edges(journey: Journey) -> Iterator[tuple[str, str, str]]:
    for place in places(journey):
        for branch, target in dict(place.branches).items():
            yield place.name, branch, target
