"""The report of a replay: what would have happened to whom the journey took in."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

import pandas as pd

from journeylab.disclosure import with_estimates
from journeylab.errors import DataError
from journeylab.findings import observed_share
from journeylab.journeytext import plain_text
from journeylab.language import again, duration_words, formatted, say

from .asking import Asking, joined, reading
from .flows import (
    INSIDE,
    Flow,
    branch_part,
    conversion_part,
    counts_text,
    drawn,
    entered,
    entered_figure,
    number_text,
    of_version,
    outcome_part,
    percent,
    share_of,
    share_told,
    way_text,
    week_part,
    zone_of,
)  # fmt: skip
from .page import Figure, Part, Report

if TYPE_CHECKING:
    from journeylab.disclosure import Disclosed
    from journeylab.journey import Journey
    from journeylab.replay import Replay

__all__ = ["replay_report"]


def replay_report(replayed: Replay, journey: Journey, asking: Asking) -> Report:
    """The report of one journey of a replay, up to the last midnight before its horizon."""
    zone = zone_of(journey)
    first = of_version(replayed.entries, journey)["entered_at"].min()
    if pd.isna(first):
        raise DataError(
            f"nobody entered {journey.journey}, so there is nothing to report; look at its trigger, its condition and "
            "consent (`journeylab replay`)"
        )
    since, until = asking.period(first.to_pydatetime(), replayed.until, zone)
    # The machine's own state at the end of the period, rather than a later one cut off there.
    upto = replayed if replayed.until == until else replayed.advance(until)
    visits, entries = (of_version(one, journey) for one in (upto.visits, upto.entries))
    flow = Flow(journey, visits, entries, since, until)
    shown = asking.disclosed(
        flow.tables(), f"replay of {journey.journey} {journey.version}", (since, until), zone, upto.until
    )
    counts = upto.counts[upto.counts["journey"] == journey.journey]
    goals = [one.event for one in journey.exit_when if one.goal]
    tables = dict(shown.tables)
    unsure = _unsure(counts)
    if "branches" in tables:
        tables["branches"] = with_estimates(tables["branches"], unsure, on=["node"], shares=["observed_share"])
    share = share_told(observed_share(counts), shown)
    return Report(
        of="replay",
        title=asking.title or journey.title or journey.journey,
        language=asking.language,
        data=asking.data,
        asked=[
            say("What would have happened to contacts if this journey had run over the events that came anyway?"),
            *([again(journey.description)] if journey.description else []),
        ],
        answer=joined(_answer(shown, goals, share)),
        figures=_figures(shown, share),
        drawing=drawn(journey, tables.get("branches"), counts_text),
        parts=[*_parts(tables, goals)],
        basis=_basis(share, [again(one) for one in upto.assumptions]),
        unknown=_unknown(shown, share),
        next_steps=_next_steps(shown, share),
        reading=reading(shown),
        definition=plain_text(journey),
        disclosed=shown,
        tables=tables,
    )


def _unsure(counts: pd.DataFrame) -> pd.DataFrame:
    """Of each node the share of its closed visits whose outcome is in the log."""
    sums = counts.groupby("node", observed=True, sort=False)[["n_visits", "n_assumed", "n_predicted"]].sum()
    sums = sums[sums["n_visits"] > 0].astype(float)
    share = 1 - (sums["n_assumed"] + sums["n_predicted"]) / sums["n_visits"]
    return pd.DataFrame({"node": sums.index.astype(object), "observed_share": share.to_numpy()})


def _parts(tables: Mapping[str, pd.DataFrame], goals: Sequence[str]) -> Iterator[Part]:
    if "branches" in tables:
        yield branch_part(
            tables["branches"],
            more={say("in the log"): lambda row: percent(row["observed_share"])},
        )
    if "exits" in tables:
        yield outcome_part(tables["exits"], goals)
    if "conversions" in tables:
        yield conversion_part(tables["conversions"], goals)
    if "weeks" in tables:
        yield week_part(tables["weeks"])


def _figures(shown: Disclosed, share: float | None) -> list[Figure]:
    figures = [entered_figure(shown)]
    if (row := _last_conversion(shown)) is not None:
        share_said = share_of(row["n_contacts"], row["n_within"])[0]
        figures.append(Figure(share_said, say("converted"), number_text(row["n_contacts"])))
    if share is not None:
        figures.append(Figure(percent(share), say("of the answers are in the log")))
    return figures


def _last_conversion(shown: Disclosed) -> pd.Series | None:
    """The row of those who converted in the longest time that is shown."""
    table = shown.tables.get("conversions")
    told = None if table is None else table[table["n_contacts"].notna() & table["n_within"].notna()]
    return None if told is None or told.empty else told.iloc[-1]


def _answer(shown: Disclosed, goals: Sequence[str], share: float | None) -> Iterator[str]:
    n = entered(shown)
    if pd.isna(n):
        yield say("How many contacts entered may not be shown: too few did.")
        return
    yield say("About {n} contacts would have entered.", n=formatted(int(n)))  # type: ignore[call-overload]
    if (row := _last_conversion(shown)) is not None:
        within = duration_words(pd.Timedelta(days=int(row["within"].removesuffix("d"))).to_pytimedelta())
        text, interval, _ = share_of(row["n_contacts"], row["n_within"])
        yield say(
            "{share} of them ({interval}) reached {goals} within {length} of entering.",
            share=text, interval=interval, goals=say(" or ").join(goals), length=within,
        )  # fmt: skip
    elif not goals:
        yield say("The journey names no goal, so nothing counts as converted.")
    ways = shown.tables.get("exits")
    left = None if ways is None else ways[ways["n_contacts"].notna() & (ways["exit"] != INSIDE)]
    if left is not None and len(left):
        row = left.loc[left["n_contacts"].astype(int).idxmax()]
        yield say(
            "Most left by “{exit}” ({share}).", exit=way_text(row["exit"]),
            share=share_of(row["n_contacts"], row["n_within"])[0],
        )  # fmt: skip
    if share is not None and round(share, 2) < 1:
        yield say(
            "{share} of what this rests on is in the log; the rest is assumed or predicted.",
            share=percent(share),
        )


def _basis(share: float | None, notes: list[str]) -> list[str]:
    said = [say("Observed: who entered and when, what they did, and every answer that the log has.")]
    if share is not None and round(share, 2) == 1:
        said.append(say("Nothing had to be predicted or assumed beyond what follows."))
    elif share is not None:
        said.append(say("Assumed: what came of sends that the log does not have. It is marked wherever it counts."))
    return [*said, *notes]


def _unknown(shown: Disclosed, share: float | None) -> list[str]:
    said = [
        say(
            "What the journey would have caused: the people in the log were not sent it. Conversions are what they did "
            "anyway; only an experiment with a holdout tells the difference."
        )
    ]
    if share is not None and round(share, 2) < 1:
        said.append(
            say("How contacts would have answered messages that they were never sent; a simulation predicts it.")
        )
    inside = shown.tables.get("exits")
    if inside is not None and (inside["exit"] == INSIDE).any():
        said.append(say("What becomes of those who are still inside."))
    if shown.n_hidden:
        said.append(say("What few did: such numbers are hidden here, and known to the analysts."))
    return said


def _next_steps(shown: Disclosed, share: float | None) -> list[str]:
    said = []
    if share is not None and round(share, 2) < 0.8:
        said.append(
            say("Have the answers that are not in the log predicted, with intervals (`journeylab report simulation`).")
        )
    table = shown.tables.get("branches")
    if table is not None:
        told = table[table["contact_share"].notna() & (table["n_within"].notna())]
        told = told[told["contact_share"].astype(float) >= 0.9]
        if len(told):
            row = told.iloc[told["n_contacts"].astype(int).argmax()]
            said.append(
                say("Look at “{node}”: nine of ten or more take “{branch}”, so the other ways may not be worth their "
                    "messages.", node=row["node"], branch=row["branch"])
            )  # fmt: skip
    said.append(
        say("Plan an experiment with a holdout to learn what the journey causes (`journeylab experiment plan`).")
    )
    said.append(say("Change the journey, replay it anew, and hold the two reports beside each other."))
    return said
