"""The reports of a simulation and of a backtest: what a model says, and whether it was right before."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import TYPE_CHECKING

import pandas as pd

from journeylab.disclosure import with_estimates
from journeylab.errors import DataError
from journeylab.journeytext import plain_text
from journeylab.language import date_text, formatted, later, plural, say

from .asking import Asking, joined, reading
from .flows import (
    HIDDEN,
    INSIDE,
    Flow,
    branch_part,
    drawn,
    entered,
    entered_figure,
    of_version,
    outcome_part,
    percent,
    share_told,
    way_text,
    week_part,
    zone_of,
)  # fmt: skip
from .page import Figure, Part, Report, Row

if TYPE_CHECKING:
    from journeylab.backtest import Backtest
    from journeylab.disclosure import Disclosed
    from journeylab.journey import Journey
    from journeylab.simulation import Simulation

__all__ = ["backtest_report", "simulation_report"]

_PREDICTED = ["predicted_share", "low", "high"]
_VERDICTS = {
    "calibrated": later("as predicted"), "biased": later("not as predicted"), "unknowable": later("cannot be told"),
}  # fmt: skip


def simulation_report(simulated: Simulation, journey: Journey, asking: Asking) -> Report:
    """The report of one journey of a simulation.

    Who is behind a predicted number is told by the first draw: what the gate shows of its people, is shown; the figures
    are those of all draws.
    """
    zone = zone_of(journey)
    visits, entries = (of_version(one, journey) for one in (simulated.visits(0), simulated.entries(0)))
    since, until = asking.period(_first(entries["entered_at"], journey), simulated.until, zone)
    flow = Flow(journey, visits, entries, since, until)
    cells = [one for one in flow.tables() if one.table != "conversions"]
    of = f"simulation of {journey.journey} {journey.version}"
    shown = asking.disclosed(cells, of, (since, until), zone, simulated.until)
    branches, exits = (one[one["journey"] == journey.journey] for one in (simulated.branches, simulated.outcomes))
    tables = {}
    if "branches" in shown.tables:
        said = branches[branches["branch"].notna()].rename(columns=_named("branch_share"))
        columns = [*_PREDICTED, "observed_share"]
        tables["branches"] = _predicted(shown.tables["branches"], said, ["node", "branch"], columns)
    if "exits" in shown.tables:
        said = exits.assign(exit=exits["exit"].where(exits["exit"].notna(), INSIDE)).rename(
            columns=_named("entry_share")
        )
        said = said.groupby("exit", sort=False, observed=True)[_PREDICTED].sum().reset_index()
        tables["exits"] = _predicted(shown.tables["exits"], said, ["exit"], _PREDICTED)
    tables |= {name: one for name, one in shown.tables.items() if name not in tables}
    goals = [one for one in journey.exit_when if one.goal]
    level = formatted(simulated.level, ".0%")
    share = share_told(float(simulated.observed_share), shown)
    parts = [*_simulated_parts(tables, level)]
    return Report(
        of="simulation",
        title=asking.title or journey.title or journey.journey,
        language=asking.language,
        data=asking.data,
        asked=[
            say("What would happen to contacts if they were sent this journey, with a model answering the sends that "
                "the log does not have?"),
        ],
        answer=joined(_simulated_answer(shown, tables, [one.text for one in goals], level, share)),
        figures=[entered_figure(shown), *_goal_figures(tables, [one.text for one in goals], level),
                 *([] if share is None else [Figure(percent(share), say("of the decisions are on record"))])],
        drawing=drawn(
            journey, tables.get("branches"), lambda row: percent(row["predicted_share"]),
            say("Numbers: the predicted share of contacts who take each way."),
        ),
        parts=parts,
        basis=[
            *([] if share is None else
              [say("Observed: who entered and when, and {share} of the decisions.", share=percent(share))]),
            say("Predicted: what contacts do after sends that the log does not have, by a model that was fitted to the "
                "log and drawn {draws}.", draws=plural("{n} time", "{n} times", simulated.draws)),
            say("Assumed: that contacts go on to answer as contacts like them did."),
        ],
        unknown=[
            say("Whether contacts will answer as they did before: prices, seasons and competitors change."),
            say("How messages are received that nobody was ever sent, unless the model was told which are like them."),
            say("What becomes of those who are still inside."),
        ],
        next_steps=[
            say("Hold the model against a journey that really ran before you rely on it (`report backtest`)."),
            say("Look at the ways with the widest intervals: an experiment there tells most."),
            say("Promote it to a small share of contacts with this as its forecast (`promote --canary 5%`)."),
        ],
        reading=reading(
            shown,
            say("The {level} intervals of predictions say where the share will lie in most draws, if the model is "
                "right; predicted shares are rounded to a percent, or more coarsely for few contacts.", level=level),
        ),
        definition=plain_text(journey),
        disclosed=shown,
        tables=tables,
    )  # fmt: skip


def backtest_report(tested: Backtest, asking: Asking) -> Report:
    """The report of a backtest: what came after the cutoff beside what was predicted from before it."""
    journey = tested.journey
    zone = zone_of(journey)
    mine = tested.came.entries[tested.came.entries["entered_at"] >= tested.cutoff]
    mine = mine[mine["journey"] == journey.journey]
    since, until = asking.period(tested.cutoff, tested.came.until, zone)
    visits = tested.came.visits[tested.came.visits["journey"] == journey.journey]
    cells = [one for one in Flow(journey, visits, mine, since, until).tables() if one.table != "conversions"]
    of = f"backtest of {journey.journey} {journey.version}"
    shown = asking.disclosed(cells, of, (since, until), zone, tested.came.until)
    verdicts = tested.nodes[["node", "verdict"]].astype(object)
    tables = {}
    if "branches" in shown.tables:
        said = tested.branches[tested.branches["branch"].notna()].merge(verdicts, on="node")
        tables["branches"] = _predicted(
            shown.tables["branches"], said, ["node", "branch"], _PREDICTED, words=["verdict"]
        )
    if "exits" in shown.tables:
        said = tested.outcomes.assign(exit=tested.outcomes["exit"].astype(object).fillna(INSIDE))
        said = said.drop_duplicates("exit")
        tables["exits"] = _predicted(shown.tables["exits"], said, ["exit"], _PREDICTED, words=["verdict"])
    tables |= {name: one for name, one in shown.tables.items() if name not in tables}
    level = formatted(tested.predicted.level, ".0%")
    wrong, right, open_ = _n_by_verdict(tables.get("branches"))
    return Report(
        of="backtest",
        title=asking.title or say("Was the model right? {journey}", journey=journey.title or journey.journey),
        language=asking.language,
        data=asking.data,
        asked=[
            say("A model that knew nothing later than {date} predicted what contacts would do. Was it right?",
                date=date_text(tested.cutoff)),
        ],
        answer=joined(_tested_answer(shown, wrong, right, open_)),
        figures=[
            entered_figure(shown), Figure(formatted(right), say("choices as predicted")),
            Figure(formatted(wrong), say("choices not as predicted")),
            Figure(formatted(open_), say("choices of which it cannot be told")),
        ],
        drawing=drawn(
            journey, tables.get("branches"), _came_text,
            say("Numbers: the share of contacts who took each way, and in brackets what was predicted."),
        ),
        parts=[*_tested_parts(tables, level)],
        basis=[
            say("Observed: who entered after {date}, and what they did.", date=date_text(tested.cutoff)),
            say("Predicted: what the model said of it, from before that day."),
            say("Assumed: nothing of the comparison; who entered is taken from the log."),
        ],
        unknown=[
            say("Whether the model stays right: it was held against one stretch of time."),
            *([say("Of some nodes neither the log nor the model can say: too few came, or what they wait for is not "
                   "predicted.")] if open_ else []),
        ],
        next_steps=[
            *([say("Do not plan by the nodes that came otherwise: fit the model anew, or learn them by an experiment.")]
              if wrong else [say("Rely on predictions of these nodes for journeys of this kind.")]),
            say("Hold the model against what comes once more in a month."),
        ],
        reading=reading(
            shown,
            say("A node is as predicted where what came lies within the intervals of all its ways, at a level of "
                "{level} together.", level=level),
        ),
        definition=plain_text(journey),
        disclosed=shown,
        tables=tables,
    )  # fmt: skip


def _n_by_verdict(branches: pd.DataFrame | None) -> tuple[int, int, int]:
    """How many nodes came otherwise than predicted, as predicted, and cannot be told; of those with a shown number."""
    if branches is None:
        return 0, 0, 0
    n = branches.dropna(subset="verdict").drop_duplicates("node")["verdict"].value_counts()
    return int(n.get("biased", 0)), int(n.get("calibrated", 0)), int(n.get("unknowable", 0))


def _first(entered_at: pd.Series, journey: Journey) -> datetime:
    if entered_at.empty:
        raise DataError(f"nobody entered {journey.journey}, so there is nothing to report")
    first: datetime = entered_at.min().to_pydatetime()
    return first


def _named(share: str) -> dict[str, str]:
    return {share: "predicted_share", f"{share}_low": "low", f"{share}_high": "high"}


def _predicted(
    shown: pd.DataFrame, said: pd.DataFrame, on: list[str], shares: Sequence[str], words: Sequence[str] = ()
) -> pd.DataFrame:
    return with_estimates(shown, said.astype(dict.fromkeys(on, object)), on=on, shares=shares, words=words)


def _interval(row: pd.Series) -> str:
    return "" if pd.isna(row["low"]) else say("{low} to {high}", low=percent(row["low"]), high=percent(row["high"]))


def _simulated_parts(tables: dict[str, pd.DataFrame], level: str) -> Iterator[Part]:
    if "branches" in tables:
        rows, before = [], None
        for _, row in tables["branches"].iterrows():
            rows.append(
                Row((row["node"] if row["node"] != before else "", row["branch"], percent(row["predicted_share"]),
                     _interval(row), percent(row["observed_share"])), _bar(row))
            )  # fmt: skip
            before = row["node"]
        yield Part(
            say("Which way contacts would go"), "predicted",
            say("The share of those who come to the node; on record is how much of it the log itself answers."),
            head=[say("node"), say("branch"), say("share"), say("{level} interval", level=level), say("on record")],
            rows=rows,
        )  # fmt: skip
    if "exits" in tables:
        yield Part(
            say("How contacts would leave"), "predicted", "",
            head=[say("exit"), say("share of entries"), say("{level} interval", level=level)],
            rows=[Row((way_text(row["exit"]), percent(row["predicted_share"]), _interval(row)), _bar(row))
                  for _, row in tables["exits"].iterrows()],
        )  # fmt: skip
    if "weeks" in tables:
        yield week_part(tables["weeks"])


def _bar(row: pd.Series) -> tuple[float, float, float] | None:
    share = row["predicted_share"]
    return None if pd.isna(share) else (float(share), float(row["low"]), float(row["high"]))


def _goal_rows(tables: dict[str, pd.DataFrame], goals: Sequence[str]) -> pd.DataFrame:
    exits = tables.get("exits")
    if exits is None:
        return pd.DataFrame()
    return exits[exits["exit"].isin(goals) & exits["predicted_share"].notna()]


def _goal_figures(tables: dict[str, pd.DataFrame], goals: Sequence[str], level: str) -> list[Figure]:
    return [
        Figure(percent(row["predicted_share"]), way_text(row["exit"]),
               say("{level} interval {interval}", level=level, interval=_interval(row)))
        for _, row in _goal_rows(tables, goals).iterrows()
    ]  # fmt: skip


def _simulated_answer(
    shown: Disclosed, tables: dict[str, pd.DataFrame], goals: Sequence[str], level: str, share: float | None
) -> Iterator[str]:
    n = entered(shown)
    if pd.isna(n) or share is None:
        yield say("How many contacts entered may not be shown: too few did.")
        return
    yield say("About {n} contacts would enter.", n=formatted(int(n)))  # type: ignore[call-overload]
    for _, row in _goal_rows(tables, goals).iterrows():
        yield say(
            "{share} of the entries would end with {goal} ({level} interval {interval}).",
            share=percent(row["predicted_share"]), goal=way_text(row["exit"]), level=level, interval=_interval(row),
        )  # fmt: skip
    yield say("{share} of the decisions are on record; the model speaks for the rest.", share=percent(share))


def _tested_answer(shown: Disclosed, wrong: int, right: int, open_: int) -> Iterator[str]:
    n = entered(shown)
    if not pd.isna(n):
        yield say("About {n} contacts entered after the cutoff.", n=formatted(int(n)))  # type: ignore[call-overload]
    if not wrong and right:
        yield plural(
            "The model was right: what came lies within the intervals of the {n} choice that can be told.",
            "The model was right: what came lies within the intervals of all {n} choices that can be told.", right,
        )  # fmt: skip
    elif wrong:
        yield plural(
            "The model was wrong at {n} choice and right at {right}.",
            "The model was wrong at {n} choices and right at {right}.", wrong, right=formatted(right),
        )  # fmt: skip
    if open_:
        yield plural("Of {n} choice it cannot be told.", "Of {n} choices it cannot be told.", open_)


def _came_text(row: pd.Series) -> str:
    came = percent(row["contact_share"])
    return came if came == HIDDEN or pd.isna(row["low"]) else f"{came} ({_interval(row)})"


def _verdict(row: pd.Series) -> str:
    return say(_VERDICTS[row["verdict"]]) if isinstance(row["verdict"], str) else HIDDEN


def _tested_parts(tables: dict[str, pd.DataFrame], level: str) -> Iterator[Part]:
    more = {
        say("predicted"): lambda row: percent(row["predicted_share"]),
        say("{level} interval", level=level): _interval,
        say("verdict"): _verdict,
    }
    if "branches" in tables:
        yield branch_part(tables["branches"], more=more)
    if "exits" in tables:
        yield outcome_part(tables["exits"], (), more=more)
    if "weeks" in tables:
        yield week_part(tables["weeks"])
