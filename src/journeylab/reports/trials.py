"""The report of an experiment: which arm did better, by how much at least, and what may be decided on it."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

import pandas as pd

from journeylab.disclosure import Cells, cells, coarse
from journeylab.errors import DataError
from journeylab.experimentplots import number_text as effect_number
from journeylab.experiments.metrics import Proportion
from journeylab.language import duration_words, later, say, share_text

from .asking import Asking, joined, reading
from .flows import HIDDEN, number_text, percent, share_of
from .page import Figure, Part, Report, Row

if TYPE_CHECKING:
    from journeylab.disclosure import Disclosed
    from journeylab.experiments.analysis import Analysis
    from journeylab.experiments.effect import Effect
    from journeylab.experiments.unittable import UnitTable

__all__ = ["trial_report"]

_DECISIONS = {
    "ship": later("better than {control}: it may be shipped"),
    "keep control": later("no better than {control}: keep that"),
    "go on": later("not over yet: go on"), "undecided": later("over without an answer"),
    "blocked": later("nothing can be said: the arms do not have the units that they should"),
}  # fmt: skip
_ROLES = {"primary": later("decides"), "secondary": later("besides")}


def trial_report(analysis: Analysis, asking: Asking) -> Report:
    """The report of an analysed experiment, by the units that matured."""
    experiment, units = analysis.experiment, analysis.units
    who = _who(units, experiment.experiment)
    flags = [one.name for one in experiment.metrics if isinstance(one, Proportion)]
    amounts = [one.name for one in experiment.metrics if one.name not in flags and one.name in units.columns]
    frame = units.frame([who, "arm", *dict.fromkeys((*flags, *amounts)), *_at(units)])
    since, until = _period(frame, asking)
    if "exposed_at" in frame:
        frame = frame[(frame["exposed_at"] >= since) & (frame["exposed_at"] < until)]
    shown = asking.disclosed(
        [*_tables(frame, who, units.arms, flags, amounts)],
        f"experiment {experiment.experiment} {experiment.version}", (since, until), "UTC", until,
    )  # fmt: skip
    told = _told(shown, units.arms)
    effects = pd.DataFrame(
        [
            (role, one.metric, one.arm, one.control, *_rounded(one, flags))
            for role, comparison in (("primary", analysis.primary), ("secondary", analysis.secondary))
            for one in ([] if comparison is None else comparison.effects)
            if {one.arm, one.control} <= told and one.kind != "winsorised" and _may_be_told(shown, one, flags)
        ],
        columns=["role", "metric", "arm", "control", "effect", "low", "high"],
    )
    tables = {**shown.tables, "effects": effects}
    maturity = analysis.maturity
    others = ", ".join(arm for arm in units.arms if arm != experiment.control)
    return Report(
        of="experiment",
        title=asking.title or experiment.experiment,
        language=asking.language,
        data=asking.data,
        asked=[experiment.question or say("{arm} against {control}: which does better?", arm=others,
                                          control=experiment.control)],
        answer=joined(_answer(analysis, effects, told, flags)),
        figures=[
            *(Figure(number_text(n), say("in {arm}", arm=arm)) for arm, n in _people(shown)),
            Figure(say("yes") if maturity.is_over else say("no"), say("is it over?")),
        ],
        drawing="",
        parts=[*_parts(shown, effects, flags)],
        basis=[
            say("Observed: who was in which arm, and what they did within {length}.",
                length=duration_words(experiment.window)) if experiment.window is not None
            else say("Observed: who was in which arm, and what they did."),
            say("Predicted: nothing."),
            say("Assumed: that arms differ in nothing but what they were sent; they were drawn by chance."),
        ],
        unknown=[
            say("Whether the effect lasts: it was seen for the time that the experiment ran."),
            say("Whether it is the same for every kind of contact; small groups tell little and are not shown."),
            *([] if maturity.is_over else [say("What the units say that have not matured yet.")]),
        ],
        next_steps=[*_next_steps(analysis)],
        reading=reading(
            shown,
            say("An effect is the arm less {control}; its interval holds the truth in {level} of such experiments. "
                "Both are rounded as counts are.", control=experiment.control, level=percent(1 - experiment.alpha)),
        ),
        definition="",
        disclosed=shown,
        tables=tables,
    )  # fmt: skip


def _who(units: UnitTable, name: str) -> str:
    for column in ("contact", "unit", "cluster"):
        if units.has(column):
            return column
    raise DataError(
        f"{name}: nothing names the units of this table, so nobody can tell who is behind a number, and no report can "
        "be made; name the column of units (`cluster:` in the experiment's file)"
    )


def _at(units: UnitTable) -> list[str]:
    return ["exposed_at"] if units.has("exposed_at") else []


def _period(frame: pd.DataFrame, asking: Asking) -> tuple[datetime, datetime]:
    """From the midnight before the first exposure up to the one after the last, which is over as units have matured."""
    if "exposed_at" in frame and len(frame):
        first, last = frame["exposed_at"].min().to_pydatetime(), frame["exposed_at"].max().to_pydatetime()
        return asking.period(first, asking.until or last + timedelta(days=1), "UTC")
    if asking.since is None or asking.until is None:
        raise DataError("this experiment does not know when its units were exposed; say the period, by since and until")
    return asking.period(asking.since, asking.until, "UTC")


def _tables(
    frame: pd.DataFrame, who: str, arms: Sequence[str], flags: Sequence[str], amounts: Sequence[str]
) -> Iterator[Cells]:
    """`arms`, with the sums of amounts that are never negative, and for each flag a table of who has it."""
    frame = frame.assign(**{who: frame[who].astype(str)})
    summed = {f"total {name}": name for name in amounts if (frame[name].fillna(0) >= 0).all()}
    filled = frame.fillna(dict.fromkeys(summed.values(), 0))
    yield cells(filled, table="arms", by=["arm"], contact=who, levels={"arm": list(arms)}, sums=summed)
    for name in flags:
        has = frame[name].map(lambda one: "yes" if one else "no", na_action="ignore")
        rows = frame.assign(**{name: has}).dropna(subset=[name])
        yield cells(rows, table=_of_arms(name), by=["arm", name], within=["arm"], contact=who,
                    levels={"arm": list(arms), name: ["yes", "no"]})  # fmt: skip


def _of_arms(flag: str) -> str:
    """The table of who has a flag; no metric's name takes that of another table."""
    return f"{flag} by arm"


def _people(shown: Disclosed) -> Iterator[tuple[str, object]]:
    for _, row in shown.tables.get("arms", pd.DataFrame()).iterrows():
        yield row["arm"], row["n_contacts"]


def _told(shown: Disclosed, arms: Sequence[str]) -> set[str]:
    """The arms whose people may be told of."""
    return {arm for arm, n in _people(shown) if not pd.isna(n)} & {*arms}


def _may_be_told(shown: Disclosed, effect: Effect, flags: Sequence[str]) -> bool:
    """Whether an effect tells of no hidden number: a share's of those who have it, an amount's of one or two people."""
    if effect.metric in flags:
        table = shown.tables.get(_of_arms(effect.metric))
        if table is None:
            return False
        of_arms = table[table["arm"].isin([effect.arm, effect.control])]
        return bool(of_arms["n_contacts"].notna().all())
    total = f"total {effect.metric}"
    return total in shown.tables.get("arms", pd.DataFrame()) and total not in shown.withheld


def _rounded(effect: Effect, flags: Sequence[str]) -> tuple[float, float, float]:
    """The effect and its interval, as coarse as the counts."""
    size = 1.0 if effect.metric in flags else max(abs(effect.mean_arm), abs(effect.mean_control))
    n = min(effect.n_arm, effect.n_control)
    found = [
        float(coarse(one, n, size)) if math.isfinite(one) else one for one in (effect.effect, effect.low, effect.high)
    ]
    return found[0], found[1], found[2]


def _text(value: float, *, is_share: bool) -> str:
    """An effect; those of shares in percentage points."""
    return say("{n} points", n=effect_number(100 * value, "+.4g")) if is_share else effect_number(value, "+.4g")


def _interval(effect: pd.Series, *, is_share: bool) -> str:
    low, high = (effect_number((100 if is_share else 1) * effect[end], "+.4g") for end in ("low", "high"))
    return say("{low} to {high}", low=low, high=high)


def _answer(analysis: Analysis, effects: pd.DataFrame, told: set[str], flags: Sequence[str]) -> Iterator[str]:
    primary = effects[effects["role"] == "primary"]
    by_arm = {row["arm"]: row for _, row in primary.iterrows()}
    control = analysis.experiment.control
    for verdict in analysis.verdicts:
        if verdict.arm not in told and verdict.decision != "blocked":
            yield say("Of {arm} nothing may be said: too few were in it.", arm=verdict.arm)
            continue
        yield say("{arm}: {decision}.", arm=verdict.arm, decision=say(_DECISIONS[verdict.decision], control=control))
        if (effect := by_arm.get(verdict.arm)) is not None:
            yield say(
                "Its effect on {metric} is {effect} ({interval}).", metric=effect["metric"],
                effect=_text(effect["effect"], is_share=effect["metric"] in flags),
                interval=_interval(effect, is_share=effect["metric"] in flags),
            )  # fmt: skip


def _parts(shown: Disclosed, effects: pd.DataFrame, flags: Sequence[str]) -> Iterator[Part]:
    rows = [
        Row((row["metric"], say(_ROLES[row["role"]]), row["arm"],
             _text(row["effect"], is_share=row["metric"] in flags), _interval(row, is_share=row["metric"] in flags)))
        for _, row in effects.iterrows()
    ]  # fmt: skip
    if rows:
        yield Part(
            say("What difference the arms made"), "observed",
            say("The arm less the control, in the metric's own unit; shares in percentage points."),
            head=[say("metric"), say("role"), say("arm"), say("effect"), say("interval")], rows=rows,
        )  # fmt: skip
    for metric in flags:
        table = shown.tables.get(_of_arms(metric))
        if table is None:
            continue
        rows = []
        for _, row in table[table[metric] == "yes"].iterrows():
            share, interval, bar = share_of(row["n_contacts"], row["n_within"])
            rows.append(Row((row["arm"], number_text(row["n_contacts"]), share, interval), bar))
        yield Part(
            say("{metric} by arm", metric=metric), "observed", "",
            head=[say("arm"), say("units"), say("share"), say("95% interval")], rows=rows,
        )  # fmt: skip
    arms = shown.tables.get("arms")
    if arms is not None:
        yield Part(
            say("Who was in which arm"), "observed", "", head=[say("arm"), say("units"), say("share")],
            rows=[
                Row((row["arm"], number_text(row["n_contacts"]),
                     HIDDEN if pd.isna(row["contact_share"]) else share_text(round(float(row["contact_share"]), 3))))
                for _, row in arms.iterrows()
            ],
        )  # fmt: skip


def _next_steps(analysis: Analysis) -> Iterator[str]:
    decisions = {one.decision for one in analysis.verdicts}
    if "blocked" in decisions:
        yield say("Find out why the arms do not have the units that they should, before anything else.")
        return
    for verdict in analysis.verdicts:
        if verdict.decision == "ship":
            yield say("Promote {arm}, with this experiment's record (`journeylab promote --record`).", arm=verdict.arm)
    if "go on" in decisions:
        yield say("Let it run until the planned units are in; look at it by `journeylab experiment watch`.")
    if decisions <= {"undecided", "keep control"}:
        yield say("Keep {control}; a smaller difference takes more units (`journeylab experiment plan` says how many).",
                  control=analysis.experiment.control)  # fmt: skip
    yield say("Write the decision down with its reason (`journeylab experiment analyze --record`).")
