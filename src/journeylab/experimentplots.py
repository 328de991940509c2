"""What pictures of effects show and say: rows of effects, guardrails and segments in panels, and the words above.

`experimentdrawing` draws them as static SVG, `experimentcharts` with plotly. Every picture has a table behind it that
says the same; what is beyond chance is decided by the corrected p value where there is one.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Final, Literal, NamedTuple, TypeAlias

import pandas as pd

from .language import formatted, later, list_text, plural, say
from .visits import require_columns

__all__ = [
    "GUARDRAIL_KEYS", "KEYS", "Better", "Finding", "Mark", "Panel", "Row", "Words", "effect_text", "forest_panels",
    "forest_words", "guardrail_panels", "guardrail_words", "is_beyond_chance", "number_text", "segment_panels",
    "segment_words", "shortened",
]  # fmt: skip

Better: TypeAlias = Mapping[str, Literal["higher", "lower"]]
"""For each metric whether more or less of it is what one wants; of one left out it is not known."""

Finding: TypeAlias = Literal["better", "worse", "above", "below", "none", "raw", "shrunken"]
"""What a mark stands for: an effect beyond chance and its direction, none such, or an estimate and its correction."""

KEYS: Final[dict[Finding, str]] = {
    "better": later("better, beyond chance"), "worse": later("worse, beyond chance"),
    "above": later("above the control, beyond chance"), "below": later("below the control, beyond chance"),
    "none": later("not beyond chance"), "shrunken": later("shrunken"), "raw": later("raw"),
}  # fmt: skip
"""What a legend says of each kind of mark."""

GUARDRAIL_KEYS: Final[dict[Finding, str]] = {
    "better": later("held"), "worse": later("violated"), "none": later("undecided"),
}  # fmt: skip
"""What a legend says of marks that are guardrails."""

_INTERVALS: Final = {
    "fixed": later("{level} % intervals for one look"),
    "always-valid": later("{level} % intervals that hold whenever one looks"),
    "group-sequential": later("{level} % intervals over all planned looks"),
}
_UNITS: Final = {
    "proportion": later("difference of shares (0.01 is one percentage point)"),
    "count": later("difference of counts per unit"), "time_to": later("difference of days"),
    "ratio": later("difference of ratios"),
}  # fmt: skip
_ONE_EFFECT: Final[dict[Finding, str]] = {
    "above": later("{metric}: {arm} lies above {control}"), "below": later("{metric}: {arm} lies below {control}"),
    "none": later("{metric}: {arm} is not shown to differ from {control}"),
    "better": later("{metric}: {arm} is better than {control}"),
    "worse": later("{metric}: {arm} is worse than {control}"),
}  # fmt: skip
_SO_MANY: Final[dict[Finding, str]] = {
    "above": later("{n} above"), "below": later("{n} below"), "better": later("{n} better"),
    "worse": later("{n} worse"),
}  # fmt: skip
_MOST_LABEL: Final = 32


class Mark(NamedTuple):
    """A point with its interval (missing where it cannot be told) and what it stands for."""

    value: float
    low: float
    high: float
    finding: Finding


class Row(NamedTuple):
    """One line of a panel: who, its marks, its numbers as text, and more words for whoever points at it."""

    label: str
    marks: tuple[Mark, ...]
    says: str
    more: str


class Panel(NamedTuple):
    """Rows on one scale: its heading, what the scale is, and a line of its own such as a margin (missing: None).

    `has_shares` is whether the scale is one of shares, to be shown as percentages.
    """

    heading: str
    across: str
    rows: tuple[Row, ...]
    margin: float | None = None
    has_shares: bool = False

    @property
    def span(self) -> tuple[float, float]:
        """From the least to the greatest of what is on the scale, 0 and the margin among it."""
        ends = [one for row in self.rows for mark in row.marks for one in mark[:3]]
        known = [one for one in (0.0, *ends, 0.0 if self.margin is None else self.margin) if math.isfinite(one)]
        return min(known), max(known)


class Words(NamedTuple):
    """What a picture says above itself."""

    title: str
    subtitle: str


def number_text(value: float, form: str = "+.4g") -> str:
    """A number as pages show it; an en dash where it is missing.

    >>> number_text(0.01234567), number_text(0.0)
    ('+0.01235', '0')
    """
    if math.isnan(value):
        return "\N{EN DASH}"
    return "0" if value == 0 else formatted(value, form).replace("-", "\N{MINUS SIGN}", int(value < 0))


def effect_text(effect: float, low: float, high: float, form: str = "+.4g") -> str:
    """An effect and its interval as text.

    >>> effect_text(0.02, 0.01, 0.05)
    '+0.02 (+0.01 to +0.05)'
    """
    if math.isnan(low) or math.isnan(high):
        return say("{effect} (no interval)", effect=number_text(effect, form))
    return say(
        "{effect} ({low} to {high})", effect=number_text(effect, form), low=number_text(low, form),
        high=number_text(high, form),
    )  # fmt: skip


def shortened(label: str) -> str:
    """A label that leaves room for what it is beside; whoever points at it is told the whole.

    >>> shortened("a message with a name that goes on and on")
    'a message with a name that goes…'
    """
    return label if len(label) <= _MOST_LABEL else label[: _MOST_LABEL - 1].rstrip() + "\N{HORIZONTAL ELLIPSIS}"


def _p_text(p_value: float) -> str:
    return say("p not yet known") if math.isnan(p_value) else f"p = {formatted(p_value, '.3g')}"


# Effects ------------------------------------------------------------------------------------------------------------


def is_beyond_chance(p_value: float, low: float, high: float, level: float) -> bool:
    """Whether an effect is: by its corrected p value where there is one, otherwise by its interval.

    >>> is_beyond_chance(0.04, 0.01, 0.03, 0.95), is_beyond_chance(0.08, 0.01, 0.03, 0.95)
    (True, False)
    """
    return (low > 0 or high < 0) if math.isnan(p_value) else p_value < 1 - level


def _finding(row: Any, better: Better) -> Finding:
    """What an effect is, by what one wants of its metric."""
    if not is_beyond_chance(getattr(row, "p_value_corrected", row.p_value), row.low, row.high, row.level):
        return "none"
    wanted = better.get(row.metric)
    if wanted is None:
        return "above" if row.effect > 0 else "below"
    return "better" if (row.effect > 0) == (wanted == "higher") else "worse"


def _forest_columns(table: pd.DataFrame) -> None:
    require_columns(
        table,
        ["metric", "kind", "arm", "control", "group", "n_arm", "n_control", "mean_arm", "mean_control", "effect", "low",
         "high", "p_value", "level", "interval"],
        "effects",
    )  # fmt: skip


def forest_panels(table: pd.DataFrame, better: Better | None = None, *, relative: bool = False) -> list[Panel]:
    """The rows of a forest plot, each metric on a scale of its own, or all as shares of the control's mean.

    Args:
        table: as `Comparison.table` and `experiments.effect.effects_table` have it.
        better: what one wants of each metric; without it effects are above or below the control.
        relative: as shares of the control's mean, whose own error is left out; missing where that is 0.

    Raises:
        DataError: when a column is missing.
    """
    _forest_columns(table)
    one_control = table["control"].nunique() <= 1
    form = "+.2%" if relative else "+.4g"
    panels: dict[str, list[Row]] = {}
    across: dict[str, str] = {}
    for row in table.itertuples():
        metric = str(row.metric)
        heading = "" if relative else metric
        label = f"{metric}: {row.arm}" if relative else str(row.arm)
        label = label if one_control else say("{arm} against {control}", arm=label, control=row.control)
        label = say("{metric}, winsorised", metric=label) if row.kind == "winsorised" else label
        label += "" if pd.isna(row.group) else f", {row.group}"
        effect, low, high = row.effect, row.low, row.high
        if relative:
            scale = row.mean_control if row.mean_control != 0 else math.nan
            effect, (low, high) = effect / scale, sorted((low / scale, high / scale))
        says = f"{effect_text(effect, low, high, form)}; {_p_text(getattr(row, 'p_value_corrected', row.p_value))}"
        more = say(
            "{metric}: {arm} {mean_arm} of {n_arm} units, {control} {mean_control} of {n_control}", metric=metric,
            arm=row.arm, mean_arm=formatted(row.mean_arm, ".4g"), n_arm=formatted(row.n_arm), control=row.control,
            mean_control=formatted(row.mean_control, ".4g"), n_control=formatted(row.n_control),
        )  # fmt: skip
        marks = (Mark(effect, low, high, _finding(row, better or {})),)
        panels.setdefault(heading, []).append(Row(label, marks, says, more))
        if relative:
            unit = say("difference as a share of the control's mean")
        elif row.kind in _UNITS:
            unit = say(_UNITS[row.kind])
        else:
            unit = say("difference in the unit of {metric}", metric=metric)
        across.setdefault(heading, unit)
    return [Panel(heading, across[heading], tuple(rows), has_shares=relative) for heading, rows in panels.items()]


def forest_words(table: pd.DataFrame, better: Better | None = None, *, relative: bool = False) -> Words:
    """What a forest plot says: which effects are beyond chance, and what its intervals hold for."""
    _forest_columns(table)
    if table.empty:
        return Words(
            say("No effect is given"), say("the arms do not have the units that they should, or there is no look yet")
        )
    found = [_finding(row, better or {}) for row in table.itertuples()]
    first = table.iloc[0]
    if len(table) == 1:
        title = say(_ONE_EFFECT[found[0]], metric=first["metric"], arm=first["arm"], control=first["control"])
    else:
        kinds = {kind: found.count(kind) for kind in dict.fromkeys(found) if kind != "none"}
        which = ", ".join(say(_SO_MANY[kind], n=n) for kind, n in kinds.items())
        title = say("None of {n} effects is beyond chance", n=len(table))
        if which:
            title = say(
                "{n} of {of} effects are beyond chance: {which}", n=sum(kinds.values()), of=len(table), which=which
            )
    parts = [
        say("arm less {controls}", controls=", ".join(map(str, table["control"].unique()))),
        list_text([
            say(_INTERVALS[kind], level=formatted(level, ".12g"))
            for kind, level in dict.fromkeys(zip(table["interval"], 100 * table["level"], strict=True))
        ]),
    ]  # fmt: skip
    parts += [say("p corrected for each other")] if "p_value_corrected" in table and len(table) > 1 else []
    parts += [say("the error of the control's mean is left out")] if relative else []
    alike = table[(table["metric"] == first["metric"]) & (table["kind"] == first["kind"])]
    n = int(alike.drop_duplicates("arm")["n_arm"].sum() + first["n_control"]) if alike["group"].isna().all() else 0
    parts += [plural("n = {n} unit", "n = {n} units", n)] if n else []
    return Words(title, "; ".join(parts))


def guardrail_panels(table: pd.DataFrame) -> list[Panel]:
    """The harm that each arm does by each guardrail, with the margin that it has to keep; one scale a guardrail.

    Raises:
        DataError: when a column is missing.
    """
    require_columns(table, ["metric", "arm", "harm", "low", "high", "margin", "verdict"], "guardrails")
    findings: dict[str, Finding] = {"held": "better", "violated": "worse"}
    panels = []
    for (metric, margin), rows in table.groupby(["metric", "margin"], sort=False):
        lines = tuple(
            Row(
                str(row.arm), (Mark(row.harm, row.low, row.high, findings.get(row.verdict, "none")),),
                f"{effect_text(row.harm, row.low, row.high)}; {say(row.verdict)}",
                say("{metric}: {arm} may be worse by {margin}: {verdict}", metric=metric, arm=row.arm,
                    margin=formatted(margin, ".4g"), verdict=say(row.verdict)),
            )
            for row in rows.itertuples()
        )  # fmt: skip
        panels.append(Panel(str(metric), say("harm: to the right is worse"), lines, float(margin)))
    return panels


def guardrail_words(table: pd.DataFrame) -> Words:
    """What the picture of guardrails says."""
    n = table["verdict"].value_counts()
    if n.get("violated"):
        broken = table[table["verdict"] == "violated"].iloc[0]
        title = say(
            "{n} of {of} guardrails are violated, such as {metric} by {arm}", n=n["violated"], of=len(table),
            metric=broken["metric"], arm=broken["arm"],
        )  # fmt: skip
    elif n.get("undecided"):
        title = say("{n} of {of} guardrails are undecided: harm is not ruled out", n=n["undecided"], of=len(table))
    else:
        title = say("All guardrails hold")
    return Words(
        title, say("harm with its one-sided bounds; dashed: the margin, beyond which nothing of the interval may lie")
    )


def segment_panels(table: pd.DataFrame) -> list[Panel]:
    """The effect in each segment: raw, and drawn to the others as far as segments do not differ beyond chance.

    Args:
        table: `segment`, `effect`, `low`, `high`, and `shrunken_effect`, `shrunken_low`, `shrunken_high`.

    Raises:
        DataError: when a column is missing.
    """
    require_columns(
        table, ["segment", "effect", "low", "high", "shrunken_effect", "shrunken_low", "shrunken_high"], "segments"
    )
    rows = tuple(
        Row(
            str(row.segment),
            (Mark(row.effect, row.low, row.high, "raw"),
             Mark(row.shrunken_effect, row.shrunken_low, row.shrunken_high, "shrunken")),
            effect_text(row.shrunken_effect, row.shrunken_low, row.shrunken_high),
            say("{segment}: raw {effect}", segment=row.segment, effect=effect_text(row.effect, row.low, row.high)),
        )
        for row in table.itertuples()
    )  # fmt: skip
    return [Panel("", say("effect, in the metric's unit"), rows)]


def segment_words(table: pd.DataFrame, *, differs: bool) -> Words:
    """What the picture of segments says; `differs` is whether they do beyond chance, as `SubgroupEffects` has it."""
    if table.empty:
        title = say("Too few segments can be estimated for any to be shown")
    elif not differs:
        title = say("Nothing says that the effect differs between segments")
    else:
        most, least = table["shrunken_effect"].idxmax(), table["shrunken_effect"].idxmin()
        low, high = (number_text(table.loc[one, "shrunken_effect"]) for one in (least, most))
        title = say(
            "Shrunken, the effect lies between {low} ({least}) and {high} ({most})", low=low, high=high,
            least=table.loc[least, "segment"], most=table.loc[most, "segment"],
        )  # fmt: skip
    return Words(
        title, say("the numbers are the shrunken ones; raw effects of the best segments are too good to be true")
    )
