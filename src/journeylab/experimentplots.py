"""What pictures of effects show and say: rows of effects, guardrails and segments in panels, and the words above.

`experimentdrawing` draws them as static SVG, `experimentcharts` with plotly. Every picture has a table behind it that
says the same; what is beyond chance is decided by the corrected p value where there is one.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Final, Literal, NamedTuple, TypeAlias

import pandas as pd

from .display import counted
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
    "better": "better, beyond chance", "worse": "worse, beyond chance", "above": "above the control, beyond chance",
    "below": "below the control, beyond chance", "none": "not beyond chance", "shrunken": "shrunken", "raw": "raw",
}  # fmt: skip
"""What a legend says of each kind of mark."""

GUARDRAIL_KEYS: Final[dict[Finding, str]] = {"better": "held", "worse": "violated", "none": "undecided"}
"""What a legend says of marks that are guardrails."""

_INTERVALS: Final = {
    "fixed": "for one look", "always-valid": "that hold whenever one looks",
    "group-sequential": "over all planned looks",
}  # fmt: skip
_UNITS: Final = {
    "proportion": "difference of shares (0.01 is one percentage point)", "count": "difference of counts per unit",
    "time_to": "difference of days", "ratio": "difference of ratios",
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
    """Rows on one scale: its heading, what the scale is, and a line of its own such as a margin (missing: None)."""

    heading: str
    across: str
    rows: tuple[Row, ...]
    margin: float | None = None

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
    return "0" if value == 0 else format(value, form).replace("-", "\N{MINUS SIGN}", int(value < 0))


def effect_text(effect: float, low: float, high: float, form: str = "+.4g") -> str:
    """An effect and its interval as text.

    >>> effect_text(0.02, 0.01, 0.05)
    '+0.02 (+0.01 to +0.05)'
    """
    if math.isnan(low) or math.isnan(high):
        return f"{number_text(effect, form)} (no interval)"
    return f"{number_text(effect, form)} ({number_text(low, form)} to {number_text(high, form)})"


def shortened(label: str) -> str:
    """A label that leaves room for what it is beside; whoever points at it is told the whole.

    >>> shortened("a message with a name that goes on and on")
    'a message with a name that goes…'
    """
    return label if len(label) <= _MOST_LABEL else label[: _MOST_LABEL - 1].rstrip() + "\N{HORIZONTAL ELLIPSIS}"


def _p_text(p_value: float) -> str:
    return "p not yet known" if math.isnan(p_value) else f"p = {p_value:.3g}"


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
        label += "" if one_control else f" against {row.control}"
        label += ", winsorised" if row.kind == "winsorised" else ""
        label += "" if pd.isna(row.group) else f", {row.group}"
        effect, low, high = row.effect, row.low, row.high
        if relative:
            scale = row.mean_control if row.mean_control != 0 else math.nan
            effect, (low, high) = effect / scale, sorted((low / scale, high / scale))
        says = f"{effect_text(effect, low, high, form)}; {_p_text(getattr(row, 'p_value_corrected', row.p_value))}"
        more = (
            f"{metric}: {row.arm} {row.mean_arm:.4g} of {row.n_arm:,} units, {row.control} {row.mean_control:.4g} of "
            f"{row.n_control:,}"
        )
        marks = (Mark(effect, low, high, _finding(row, better or {})),)
        panels.setdefault(heading, []).append(Row(label, marks, says, more))
        unit = _UNITS.get(str(row.kind), f"difference in the unit of {metric}")
        across.setdefault(heading, "difference as a share of the control's mean" if relative else unit)
    return [Panel(heading, across[heading], tuple(rows)) for heading, rows in panels.items()]


def forest_words(table: pd.DataFrame, better: Better | None = None, *, relative: bool = False) -> Words:
    """What a forest plot says: which effects are beyond chance, and what its intervals hold for."""
    _forest_columns(table)
    if table.empty:
        return Words("No effect is given", "the arms do not have the units that they should, or there is no look yet")
    found = [_finding(row, better or {}) for row in table.itertuples()]
    first = table.iloc[0]
    if len(table) == 1:
        where = {"above": "lies above", "below": "lies below", "none": "is not shown to differ from"}
        says = where.get(found[0], f"is {found[0]} than")
        title = f"{first['metric']}: {first['arm']} {says} {first['control']}"
    else:
        kinds = {kind: found.count(kind) for kind in dict.fromkeys(found) if kind != "none"}
        which = ", ".join(f"{n} {kind}" for kind, n in kinds.items())
        title = f"None of {len(table)} effects is beyond chance"
        if which:
            title = f"{sum(kinds.values())} of {len(table)} effects are beyond chance: {which}"
    controls = ", ".join(map(str, table["control"].unique()))
    intervals = " and ".join(
        f"{level:.12g} % intervals {_INTERVALS.get(kind, kind)}"
        for kind, level in dict.fromkeys(zip(table["interval"], 100 * table["level"], strict=True))
    )
    corrected = "; p corrected for each other" if "p_value_corrected" in table and len(table) > 1 else ""
    share = "; the error of the control's mean is left out" if relative else ""
    alike = table[(table["metric"] == first["metric"]) & (table["kind"] == first["kind"])]
    n = int(alike.drop_duplicates("arm")["n_arm"].sum() + first["n_control"]) if alike["group"].isna().all() else 0
    return Words(
        title, f"arm less {controls}; {intervals}{corrected}{share}" + (f"; n = {counted(n, 'unit')}" if n else "")
    )


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
                f"{effect_text(row.harm, row.low, row.high)}; {row.verdict}",
                f"{metric}: {row.arm} may be worse by {margin:.4g}: {row.verdict}",
            )
            for row in rows.itertuples()
        )  # fmt: skip
        panels.append(Panel(str(metric), "harm: to the right is worse", lines, float(margin)))
    return panels


def guardrail_words(table: pd.DataFrame) -> Words:
    """What the picture of guardrails says."""
    n = table["verdict"].value_counts()
    if n.get("violated"):
        broken = table[table["verdict"] == "violated"].iloc[0]
        title = (
            f"{n['violated']} of {len(table)} guardrails are violated, such as {broken['metric']} by {broken['arm']}"
        )
    elif n.get("undecided"):
        title = f"{n['undecided']} of {len(table)} guardrails are undecided: harm is not ruled out"
    else:
        title = "All guardrails hold"
    return Words(
        title, "harm with its one-sided bounds; dashed: the margin, beyond which nothing of the interval may lie"
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
            f"{row.segment}: raw {effect_text(row.effect, row.low, row.high)}",
        )
        for row in table.itertuples()
    )  # fmt: skip
    return [Panel("", "effect, in the metric's unit", rows)]


def segment_words(table: pd.DataFrame, *, differs: bool) -> Words:
    """What the picture of segments says; `differs` is whether they do beyond chance, as `SubgroupEffects` has it."""
    most, least = table["shrunken_effect"].idxmax(), table["shrunken_effect"].idxmin()
    if not differs:
        title = "Nothing says that the effect differs between segments"
    else:
        low, high = (number_text(table.loc[one, "shrunken_effect"]) for one in (least, most))
        title = (
            f"Shrunken, the effect lies between {low} ({table.loc[least, 'segment']}) and {high} "
            f"({table.loc[most, 'segment']})"
        )
    return Words(title, "the numbers are the shrunken ones; raw effects of the best segments are too good to be true")
