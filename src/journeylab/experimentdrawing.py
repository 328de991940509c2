"""Effects, guardrails, segments and overlaps as static SVG: no scripts, readable in print and on dark pages.

Each drawing takes the table whose numbers it shows, and says them where it is pointed at; `experimentlines` has those
over time.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence, Set
from html import escape
from typing import TYPE_CHECKING, Final

from .experimentplots import (
    GUARDRAIL_KEYS,
    KEYS,
    Better,
    Finding,
    Mark,
    Panel,
    Words,
    forest_panels,
    forest_words,
    guardrail_panels,
    guardrail_words,
    number_text,
    segment_panels,
    segment_words,
    shortened,
)
from .experimentwords import overlap_words
from .language import formatted, say, share_text
from .sendtimedrawing import shade
from .svgaxes import BLUE, ORANGE, Axes, Tick, drawn, head, pointed_at, text_width, ticks
from .visits import require_columns

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["forest_svg", "guardrail_svg", "overlap_svg", "segment_svg"]

_ROW: Final = 24
_CELL: Final = 28
_SCALE_WIDTH: Final = 280


def forest_svg(table: pd.DataFrame, better: Better | None = None, *, relative: bool = False) -> str:
    """Effects with their intervals, each metric on a scale of its own, or all relative to the control.

    Args:
        table: as `Comparison.table` and `experiments.effect.effects_table` have it.
        better: what one wants of each metric; without it effects are above or below the control.
        relative: as shares of the control's mean; see `experimentplots.forest_panels`.

    Raises:
        DataError: when a column is missing.

    >>> from journeylab.experiments.effect import effects_table
    >>> forest_svg(effects_table([])).count("No effect is given")
    2
    """
    panels = forest_panels(table, better, relative=relative)
    return _rows(forest_words(table, better, relative=relative), panels)


def guardrail_svg(table: pd.DataFrame) -> str:
    """The harm that arms do by each guardrail, with its margin; as `guardrails.guardrails_table`.

    Raises:
        DataError: when a column is missing.
    """
    panels = guardrail_panels(table)
    return "" if table.empty else _rows(guardrail_words(table), panels, GUARDRAIL_KEYS)


def segment_svg(table: pd.DataFrame, *, differs: bool) -> str:
    """The effect in each segment, raw and shrunken side by side; from `SubgroupEffects.table`.

    Args:
        table: the table; see `experimentplots.segment_panels`.
        differs: whether the effect does beyond chance, as `SubgroupEffects.differs`.

    Raises:
        DataError: when a column is missing.
    """
    panels = segment_panels(table)
    return "" if table.empty else _rows(segment_words(table, differs=differs), panels)


def _rows(words: Words, panels: Sequence[Panel], keys: Mapping[Finding, str] = KEYS) -> str:
    """Panels of rows below each other: labels at the left, the scale, the numbers at the right."""
    rows = [row for panel in panels for row in panel.rows]
    left = max(80.0, 24 + max((text_width(shortened(row.label)) for row in rows), default=0.0))
    width = max(640.0, left + _SCALE_WIDTH + 20 + max((text_width(row.says) for row in rows), default=0.0))
    top, down = head(width, *words)
    parts = [top]
    for panel in panels:
        body, down = _panel(panel, left, width, down)
        parts += body
    legend, down = _legend({mark.finding for row in rows for mark in row.marks}, keys, width, down)
    return drawn(width, down + 4, words.title, [*parts, *legend])


def _panel(panel: Panel, left: float, width: float, down: float) -> tuple[list[str], float]:
    across = ticks(*panel.span, 3)
    labels = [
        Tick(one, f"{number_text(100 * one, '+.3g')}%" if panel.has_shares else number_text(one, "+.3g"))
        for one in across
    ]
    parts = []
    if panel.heading:
        parts.append(f'<text x="0" y="{down + 18:.1f}" font-weight="600">{escape(panel.heading)}</text>')
        down += 22
    heights = [_ROW if len(row.marks) == 1 else 1.5 * _ROW for row in panel.rows]
    axes = Axes((across[0], across[-1]), (0, 1), left, down, _SCALE_WIDTH, sum(heights))
    parts += _scale(axes, labels, panel.across)
    if panel.margin is not None:
        x = float(axes.places(panel.margin, 0)[0])
        parts.append(
            pointed_at(f'<path d="M{x:.1f} {down:.1f}v{axes.height:.1f}" stroke="{ORANGE}" stroke-width="2" '
                       'stroke-dasharray="5 4"/>', say("margin {margin}", margin=formatted(panel.margin, ".4g")))
        )  # fmt: skip
    for row, height in zip(panel.rows, heights, strict=True):
        middle = down + height / 2
        drawings = []
        for place, mark in enumerate(row.marks):
            y = middle + (place - (len(row.marks) - 1) / 2) * 13
            drawings.append(_mark(axes, mark, y))
        back = f'<rect x="0" y="{down:.1f}" width="{width:.0f}" height="{height:.0f}" fill="transparent"/>'
        text = (
            f'<text x="{left - 12:.1f}" y="{middle + 4:.1f}" text-anchor="end">{escape(shortened(row.label))}</text>'
            f'<text x="{left + _SCALE_WIDTH + 14:.1f}" y="{middle + 4:.1f}">{escape(row.says)}</text>'
        )
        parts.append(pointed_at(back + text + "".join(drawings), f"{row.label}: {row.says}. {row.more}"))
        down += height
    return parts, down + 46


def _scale(axes: Axes, labels: Sequence[Tick], across: str) -> list[str]:
    """Upright grid lines with labels below; the one at 0 is the stronger one."""
    parts = []
    for value, text in labels:
        x = float(axes.places(value, 0)[0])
        parts.append(
            f'<path d="M{x:.1f} {axes.top:.1f}v{axes.height:.1f}" stroke="currentColor" '
            f'stroke-opacity="{".6" if value == 0 else ".16"}"/>'
            f'<text x="{x:.1f}" y="{axes.top + axes.height + 15:.1f}" text-anchor="middle">{text}</text>'
        )
    middle = axes.left + axes.width / 2
    parts.append(f'<text x="{middle:.1f}" y="{axes.top + axes.height + 32:.1f}" text-anchor="middle" '
                 f'fill-opacity=".75">{escape(across)}</text>')  # fmt: skip
    return parts


_COLOURS: Final[dict[Finding, str]] = {
    "better": BLUE, "above": BLUE, "shrunken": BLUE, "worse": ORANGE, "below": ORANGE, "none": "currentColor",
    "raw": "currentColor",
}  # fmt: skip


def _mark(axes: Axes, mark: Mark, y: float) -> str:
    """A point with its whisker: filled beyond chance, a square for what is worse, hollow otherwise."""
    if math.isnan(mark.value):
        return ""
    colour = _COLOURS[mark.finding]
    whisker = ""
    if not math.isnan(mark.low + mark.high):
        start, end = axes.places([mark.low, mark.high], [0, 0])[0]
        whisker = f'<path d="M{start:.1f} {y:.1f}H{end:.1f}" stroke="{colour}" stroke-width="2"/>'
    return whisker + _sign(mark.finding, float(axes.places(mark.value, 0)[0]), y)


def _sign(finding: Finding, x: float, y: float) -> str:
    colour = _COLOURS[finding]
    if finding in ("worse", "below"):
        return f'<rect x="{x - 5:.1f}" y="{y - 5:.1f}" width="10" height="10" fill="{colour}"/>'
    style = f'fill="{colour}"'
    if finding in ("none", "raw"):
        style = f'fill="#8a939c" stroke="{colour}" stroke-width="1.5"'
    return f'<circle cx="{x:.1f}" cy="{y:.1f}" r="5" {style}/>'


def _legend(findings: Set[Finding], keys: Mapping[Finding, str], width: float, down: float) -> tuple[list[str], float]:
    parts, x = [], 6.0
    for finding in (one for one in KEYS if one in findings):
        key = say(keys[finding])
        if x > 6 and x + 20 + text_width(key) > width:
            x, down = 6.0, down + 20
        parts.append(f'{_sign(finding, x, down + 6)}<text x="{x + 11:.1f}" y="{down + 10:.1f}">{key}</text>')
        x += 34 + text_width(key)
    return parts, down + (20 if parts else 0)


def overlap_svg(matrix: pd.DataFrame) -> str:
    """The share of each arm's units that were in each other journey; from `experiments.checks.overlap.Overlap.matrix`.

    Raises:
        DataError: when a column is missing.
    """
    require_columns(matrix, ["journey", "arm", "n_units", "n_inside", "inside_share", "p_value"], "matrix")
    if matrix.empty:
        return ""
    words = overlap_words(matrix)
    arms, journeys = [*matrix["arm"].unique()], [*matrix["journey"].unique()]
    left = 24 + max(text_width(shortened(str(one))) for one in journeys)
    cell = max(90.0, *(text_width(shortened(str(arm))) + 16 for arm in arms))
    width = max(640.0, left + cell * len(arms) + 110)
    top, down = head(width, *words)
    down += 24
    parts = [top]
    parts += [f'<text x="{left + cell * (place + 0.5):.1f}" y="{down - 7:.1f}" text-anchor="middle">'
              f"{escape(shortened(str(arm)))}</text>" for place, arm in enumerate(arms)]  # fmt: skip
    for row in matrix.itertuples():
        x, y = left + cell * arms.index(row.arm), down + _CELL * journeys.index(row.journey)
        style = f'fill="{shade(row.inside_share)}"'
        if math.isnan(row.inside_share):
            style = 'fill="none" stroke="currentColor" stroke-opacity=".25"'
        box = f'<rect x="{x:.1f}" y="{y:.1f}" width="{cell - 2:.1f}" height="{_CELL - 2}" {style}/>'
        text = (
            f'<text x="{x + cell / 2 - 1:.1f}" y="{y + 17:.1f}" text-anchor="middle" '
            f'fill="{"#fff" if row.inside_share > 0.45 else "#0b3d70"}">{share_text(row.inside_share)}</text>'
        )
        said = say(
            "{journey}, {arm}: {n} of {of} units within the window", journey=row.journey, arm=row.arm,
            n=formatted(row.n_inside), of=formatted(row.n_units),
        )  # fmt: skip
        parts.append(pointed_at(box + text, said))
    for place, journey in enumerate(journeys):
        y = down + _CELL * place + 19
        p_value = float(matrix.loc[matrix["journey"] == journey, "p_value"].iloc[0])
        says = "" if math.isnan(p_value) else f"p = {formatted(p_value, '.3g')}"
        parts.append(f'<text x="{left - 12:.1f}" y="{y:.1f}" text-anchor="end">{escape(shortened(str(journey)))}</text>'
                     f'<text x="{left + cell * len(arms) + 12:.1f}" y="{y:.1f}">{says}</text>')  # fmt: skip
    return drawn(width, down + _CELL * len(journeys) + 8, words.title, parts)
