"""What pictures of experiments over time, of overlaps, rankings and plans say above themselves, and what they span."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np
import pandas as pd

from .experimentplots import Words, effect_text, number_text
from .language import formatted, instant_text, plural, say

if TYPE_CHECKING:
    from .experiments.heterogeneity.ranking import Rate
    from .experiments.planning import Plan

__all__ = [
    "clear_part", "novelty_words", "overlap_words", "power_table", "power_words", "ratio_words", "settled_part",
    "shares_words", "uplift_words", "watch_words",
]  # fmt: skip

_WIDEST: Final = 4.0
_BALANCED: Final = 0.001


def watch_words(path: pd.DataFrame, planned_n: int | None = None) -> Words:
    """What the picture of a `Watch.path` says: what is beyond chance, and since when."""
    n = int(path["n_units"].max()) if len(path) else 0
    beyond = path[(path["low"] > 0) | (path["high"] < 0)]
    first = beyond.groupby(["metric", "arm"], sort=False).head(1)
    n_lines = len(path[["metric", "arm"]].drop_duplicates())
    if first.empty:
        title = say("Nothing is beyond chance so far") if n else say("There is nothing to look at yet")
    elif len(first) == 1:
        one = first.iloc[0]
        title = say(
            "{metric}: {arm} is beyond chance, first at {n} units", metric=one["metric"], arm=one["arm"],
            n=formatted(one["n_units"]),
        )  # fmt: skip
        title += " " + plural("({n} other is not)", "({n} other are not)", n_lines - 1) if n_lines > 1 else ""
    else:
        title = say(
            "{n} of {of} effects are beyond chance, the first at {first} units", n=len(first), of=n_lines,
            first=formatted(first["n_units"].min()),
        )  # fmt: skip
    if planned_n is None:
        units = _n_units(n)
    else:
        units = say("n = {n} of {planned} planned units", n=formatted(n), planned=formatted(planned_n))
    band = say(
        "band: the interval that holds whenever one looks; dashed: what a single look would say, which misleads "
        "whoever looks again"
    )
    return Words(title, f"{band}; {units}")


def clear_part(path: pd.DataFrame) -> tuple[float, float]:
    """Between which effects a path is drawn: where its band is less than four times as wide as at its end, and 0."""
    width = path["high"] - path["low"]
    shown = path[width <= _WIDEST * float(width.iloc[-1])]
    shown = path.tail(1) if shown.empty else shown
    ends = shown[["low", "high", "fixed_low", "fixed_high"]].replace([np.inf, -np.inf], np.nan)
    low, high = float(np.nanmin([0.0, ends.min().min()])), float(np.nanmax([0.0, ends.max().max()]))
    return (low, high) if high > low else (low - 1, high + 1)


def ratio_words(path: pd.DataFrame, alpha: float) -> Words:
    """What the picture of a `SampleRatio.path` says: whether the check failed while units came in, and when."""
    n = int(path["n_units"].iloc[-1])
    failed = path[path["p_value"] < alpha]
    if failed.empty:
        title = say("While units came in the check did not fail: p stays above {alpha}", alpha=formatted(alpha, "g"))
    else:
        first = failed.iloc[0]
        units = formatted(first["n_units"])
        if pd.isna(first["exposed_at"]):
            title = say("While units came in the check failed, with {n} units", n=units)
        else:
            title = say(
                "While units came in the check failed at {at}, with {n} units", at=instant_text(first["exposed_at"]),
                n=units,
            )  # fmt: skip
    scale = say("sequential p value on a log scale, the least so far, which may be looked at as often as one likes")
    return Words(title, f"{scale}; {_n_units(n)}")


def _n_units(n: int) -> str:
    return say("n = {n} units", n=formatted(n))


def shares_words(shares: pd.DataFrame) -> Words:
    """What the picture of `SampleRatio.shares` says: which arm is farthest from its share at the end."""
    last = shares.groupby("arm", sort=False).tail(1)
    away = last["share"] - last["expected_share"]
    arm = last.loc[away.abs().idxmax()]
    title = say(
        "At the end {arm} has {share} of the units and should have {expected}", arm=arm["arm"],
        share=formatted(arm["share"], ".2%"), expected=formatted(arm["expected_share"], ".2%"),
    )  # fmt: skip
    points = say(
        "share of each arm so far, in percentage points from what it should have; it wanders while units are few"
    )
    return Words(title, f"{points}; {_n_units(int(last['n_units'].max()))}")


def settled_part(shares: pd.DataFrame) -> float:
    """How many points to both sides arms' shares are drawn: those of the last nine tenths of the units."""
    away = 100 * (shares["share"] - shares["expected_share"])
    return max(float(away[shares["n_units"] >= 0.1 * shares["n_units"].max()].abs().max()), 0.1)


def novelty_words(table: pd.DataFrame, trend: pd.DataFrame, alpha: float = 0.05) -> Words:
    """What the picture of `Novelty.table` says; whether an effect changes goes by its trend."""
    changing = trend[trend["p_value"] < alpha / max(len(trend), 1)]
    if changing.empty:
        title = say("Nothing says that an effect changes with the days since the exposure")
    else:
        one = changing.iloc[0]
        mine = table[(table["metric"] == one["metric"]) & (table["arm"] == one["arm"])]
        first, last = (number_text(mine["effect"].iloc[place], "+.3g") for place in (0, -1))
        title = say(
            "{metric}: the effect of {arm} goes from {first} to {last}", metric=one["metric"], arm=one["arm"],
            first=first, last=last,
        )  # fmt: skip
    return Words(
        title, say("effect of what happened in each part of the window, with intervals that hold the truth together")
    )


def overlap_words(matrix: pd.DataFrame) -> Words:
    """What the picture of an `Overlap.matrix` says."""
    by_journey = matrix.groupby("journey", sort=False)["p_value"].first()
    unequal = by_journey[by_journey < _BALANCED / max(len(by_journey), 1)]
    if unequal.empty:
        title = say("Arms were in other journeys alike")
    elif len(unequal) == 1:
        title = say("Arms were not in {journey} alike", journey=unequal.index[0])
    else:
        title = plural(
            "Arms were not in {journey} alike, nor in {n} other journey",
            "Arms were not in {journey} alike, nor in {n} other journeys",
            len(unequal) - 1,
            journey=unequal.index[0],
        )
    return Words(
        title, say("share of each arm's units that were in another journey within their window; p of equal shares")
    )


def uplift_words(autoc: Rate, qini: Rate) -> Words:
    """What the picture of an `experiments.heterogeneity.ranking.uplift_curve` says; it goes by AUTOC alone."""
    rates = "; ".join(
        f"{name} {effect_text(one.value, one.low, one.high, '.3g')}"
        for name, one in (("AUTOC", autoc), (say("Qini-weighted RATE"), qini))
    )
    if autoc.low > 0:
        title = say("The ranking finds contacts to whom the treatment does more than to others")
    elif autoc.high < 0:
        title = say("The ranking is worse than a random one")
    else:
        title = say("The ranking is not shown to be better than a random one")
    subtitle = say(
        "{rates}, {level} intervals; n = {n} contacts that the ranking had not seen", rates=rates,
        level=formatted(autoc.level, ".0%"), n=formatted(autoc.n),
    )  # fmt: skip
    return Words(title, subtitle)


def power_table(plan: Plan) -> pd.DataFrame:
    """The least effect on the primary metric that is found with the wanted power, by how many weeks one plans.

    The plan's error shrinks with the root of the units; intervals are tuned to the weeks that are planned.

    Returns:
        One row for each week up to twice the planned ones: `week` (int, from 1), `n_units` (float), `minimum_effect`.
        Without rows where history has no whole week.
    """
    weeks = np.arange(1, 1 if plan.recruiting is None else 2 * plan.recruiting.n_weeks + 1)
    n_units = weeks * plan.per_week if len(weeks) else weeks.astype(float)
    least = float(plan.metrics["minimum_effect"].iloc[0])
    effect = least * np.sqrt(plan.experiment.stopping.planned_n / n_units)
    return pd.DataFrame({"week": weeks, "n_units": n_units, "minimum_effect": effect})


def power_words(table: pd.DataFrame, metric: str, planned_weeks: int, minimum_effect: float | None = None) -> Words:
    """What the picture of a `power_table` says: what the planned weeks find, and how many the wanted effect needs."""
    found = float(np.interp(planned_weeks, table["week"], table["minimum_effect"]))
    title = plural(
        "{n} week of exposures find an effect of {effect} on {metric}",
        "{n} weeks of exposures find an effect of {effect} on {metric}",
        planned_weeks,
        effect=formatted(found, ".3g"),
        metric=metric,
    )
    if minimum_effect is not None:
        enough, wanted = table[table["minimum_effect"] <= minimum_effect], formatted(minimum_effect, ".4g")
        if len(enough):
            weeks = int(enough["week"].iloc[0])
            needs = plural("{effect} needs {n} week", "{effect} needs {n} weeks", weeks, effect=wanted)
        else:
            needs = say("{effect} needs more than {n}", effect=wanted, n=len(table))
        title = f"{title}; {needs}"
    return Words(title, say("least effect that is found with the wanted power, by how many weeks are planned"))
