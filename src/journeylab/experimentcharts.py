"""Figures of experiments for notebooks: every chart takes the table whose numbers it shows, as `experimentdrawing`."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from textwrap import wrap
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from . import charts as _charts  # noqa: F401 (which has the template "journeylab")
from .experimentplots import (
    GUARDRAIL_KEYS,
    KEYS,
    Better,
    Finding,
    Panel,
    Words,
    forest_panels,
    forest_words,
    guardrail_panels,
    guardrail_words,
    segment_panels,
    segment_words,
    shortened,
)
from .experimentwords import (
    clear_part,
    novelty_words,
    overlap_words,
    power_words,
    ratio_words,
    settled_part,
    shares_words,
    uplift_words,
    watch_words,
)
from .language import formatted, say, separators
from .sendtimedrawing import shade
from .svgaxes import BLUE, ORANGE
from .visits import require_columns

if TYPE_CHECKING:
    import pandas as pd

    from .experiments.heterogeneity.ranking import Rate

__all__ = [
    "forest_chart", "guardrail_chart", "novelty_chart", "overlap_chart", "power_chart", "ratio_chart", "segment_chart",
    "shares_chart", "uplift_chart", "watch_chart",
]  # fmt: skip

_BAND: Final = "rgba(31, 111, 178, 0.2)"
_GREY: Final = "#7c8792"
_ZERO: Final = "rgba(128,128,128,0.7)"
_LINE: Final = 100
_ROW: Final = 38
_BETWEEN: Final = 84
_HEIGHT: Final = 280
_MARKERS: Final[dict[Finding, dict[str, Any]]] = {
    "better": {"color": BLUE}, "above": {"color": BLUE}, "shrunken": {"color": BLUE},
    "worse": {"color": ORANGE, "symbol": "square"}, "below": {"color": ORANGE, "symbol": "square"},
    "none": {"color": _GREY, "symbol": "circle-open", "line": {"width": 2}},
    "raw": {"color": _GREY, "symbol": "circle-open", "line": {"width": 2}},
}  # fmt: skip


def forest_chart(table: pd.DataFrame, better: Better | None = None, *, relative: bool = False) -> go.Figure:
    """Effects with their intervals, each metric on a scale of its own, or all relative to the control.

    Args:
        table: as `Comparison.table` and `experiments.effect.effects_table` have it.
        better: what one wants of each metric; without it effects are above or below the control.
        relative: as shares of the control's mean; see `experimentplots.forest_panels`.

    Raises:
        DataError: when a column is missing.
    """
    panels = forest_panels(table, better, relative=relative)
    return _rows(forest_words(table, better, relative=relative), panels, form=".0%" if relative else "")


def guardrail_chart(table: pd.DataFrame) -> go.Figure:
    """The harm that arms do by each guardrail, with its margin; as `guardrails.guardrails_table`.

    Raises:
        DataError: when a column is missing.
    """
    panels = guardrail_panels(table)
    return _rows(guardrail_words(table), panels, GUARDRAIL_KEYS)


def segment_chart(table: pd.DataFrame, *, differs: bool) -> go.Figure:
    """The effect in each segment, raw and shrunken side by side; from `SubgroupEffects.table`.

    Args:
        table: the table; see `experimentplots.segment_panels`.
        differs: whether the effect does beyond chance, as `SubgroupEffects.differs`.

    Raises:
        DataError: when a column is missing.
    """
    panels = segment_panels(table)
    return _rows(segment_words(table, differs=differs), panels)


def _rows(words: Words, panels: Sequence[Panel], keys: Mapping[Finding, str] = KEYS, form: str = "") -> go.Figure:
    n_rows = [max(len(panel.rows), 1) for panel in panels] or [1]
    height = _ROW * sum(n_rows) + _BETWEEN * (len(n_rows) - 1)
    figure = make_subplots(
        rows=len(n_rows), row_heights=n_rows, vertical_spacing=_BETWEEN / height if len(n_rows) > 1 else 0,
        subplot_titles=[panel.heading for panel in panels],
    )  # fmt: skip
    named: set[Finding] = set()
    for place, panel in enumerate(panels, 1):
        for finding in KEYS:
            marks = [
                (y + (k - (len(row.marks) - 1) / 2) * 0.3, row, mark)
                for y, row in enumerate(panel.rows)
                for k, mark in enumerate(row.marks)
                if mark.finding == finding
            ]
            if not marks:
                continue
            figure.add_scatter(
                x=[mark.value for _, _, mark in marks], y=[y for y, _, _ in marks], mode="markers",
                name=say(keys[finding]), legendgroup=finding, showlegend=finding not in named,
                marker={"size": 10, **_MARKERS[finding]},
                error_x={"array": [mark.high - mark.value for _, _, mark in marks],
                         "arrayminus": [mark.value - mark.low for _, _, mark in marks]},
                customdata=[f"{row.label}: {row.says}. {row.more}" for _, row, _ in marks],
                hovertemplate="%{customdata}<extra></extra>", row=place, col=1,
            )  # fmt: skip
            named.add(finding)
        figure.update_yaxes(
            tickvals=list(range(len(panel.rows))), ticktext=[shortened(row.label) for row in panel.rows],
            range=[len(panel.rows) - 0.5, -0.5], showgrid=False, row=place, col=1,
        )  # fmt: skip
        low, high = panel.span
        room = 0.05 * (high - low or 1)
        figure.update_xaxes(
            title_text=panel.across, zeroline=True, zerolinecolor=_ZERO, tickformat=form,
            range=[low - room, high + room], row=place, col=1,
        )  # fmt: skip
        if panel.margin is not None:
            figure.add_vline(x=panel.margin, line={"color": ORANGE, "dash": "dash", "width": 2}, row=place, col=1)
    return _titled(figure, words, height, legend=True)


def overlap_chart(matrix: pd.DataFrame) -> go.Figure:
    """The share of each arm's units that were in each other journey; from `experiments.checks.overlap.Overlap.matrix`.

    Raises:
        DataError: when a column is missing.
    """
    require_columns(matrix, ["journey", "arm", "n_units", "n_inside", "inside_share", "p_value"], "matrix")
    wide = matrix.pivot(index="journey", columns="arm", values="inside_share")
    wide = wide.loc[matrix["journey"].unique(), matrix["arm"].unique()]
    figure = go.Figure(
        go.Heatmap(
            z=wide.to_numpy(float), x=[str(arm) for arm in wide.columns], y=[str(one) for one in wide.index],
            zmin=0, zmax=1, colorscale=[[step / 4, shade(step / 4)] for step in range(5)], texttemplate="%{z:.1%}",
            xgap=2, ygap=2, hovertemplate="%{y}, %{x}: %{z:.1%}<extra></extra>",
            colorbar={"tickformat": ".0%", "thickness": 12, "outlinewidth": 0},
        )
    )  # fmt: skip
    figure.update_xaxes(type="category", title_text=say("arm"), showgrid=False)
    figure.update_yaxes(type="category", autorange="reversed", showgrid=False)
    return _titled(figure, overlap_words(matrix), _ROW * len(wide))


def watch_chart(path: pd.DataFrame, planned_n: int | None = None) -> go.Figure:
    """The effect as units came in with the interval that holds whenever one looks; from `Watch.path`.

    Args:
        path: the table; each metric and arm has a scale of its own.
        planned_n: the units with which the experiment is over.

    Raises:
        DataError: when a column is missing.
    """
    names = ["looked_at", "n_units", "metric", "arm", "effect", "low", "high", "fixed_low", "fixed_high"]
    require_columns(path, names, "path")
    parts = list(path.groupby(["metric", "arm"], sort=False))
    figure = _stacked([f"{metric}: {arm}" for (metric, arm), _ in parts])
    for place, (_, one) in enumerate(parts, 1):
        figure.add_traces(_band(one["n_units"], one["low"], one["high"]), rows=place, cols=1)
        for name in ("fixed_low", "fixed_high"):
            figure.add_scatter(
                x=one["n_units"], y=one[name], mode="lines", line={"color": _GREY, "width": 1, "dash": "dot"},
                hoverinfo="skip", row=place, col=1,
            )  # fmt: skip
        figure.add_scatter(
            x=one["n_units"], y=one["effect"], mode="lines", line={"color": BLUE, "width": 2.5},
            customdata=one[["low", "high", "looked_at"]],
            hovertemplate=_hover(say("{n} units: {effect}", n="%{x:,}", effect=_interval())), row=place, col=1,
        )  # fmt: skip
        beyond = one[(one["low"] > 0) | (one["high"] < 0)].head(1)
        figure.add_scatter(
            x=beyond["n_units"], y=beyond["effect"], mode="markers", hoverinfo="skip",
            marker={"symbol": "circle-open", "size": 14, "color": ORANGE, "line": {"width": 2.5}}, row=place, col=1,
        )  # fmt: skip
        low, high = clear_part(one)
        figure.update_yaxes(range=[low, high], zeroline=True, zerolinecolor=_ZERO, row=place, col=1)
        if planned_n is not None:
            figure.add_vline(
                x=planned_n, line={"dash": "dash", "color": _GREY}, annotation_text=say("planned end"),
                annotation_position="top left", row=place, col=1,
            )  # fmt: skip
    figure.update_xaxes(rangemode="tozero")
    return _titled(figure, watch_words(path, planned_n), 190 * len(parts))


def ratio_chart(path: pd.DataFrame, alpha: float) -> go.Figure:
    """The sequential check of the arms' shares as units came in, on a log scale; from `SampleRatio.path`.

    Args:
        path: the table.
        alpha: below it the check fails.

    Raises:
        DataError: when a column is missing.
    """
    require_columns(path, ["exposed_at", "n_units", "p_value"], "path")
    figure = go.Figure()
    figure.add_scatter(
        x=path["n_units"], y=path["p_value"], mode="lines", line={"color": BLUE, "width": 2.5, "shape": "hv"},
        customdata=path["exposed_at"],
        hovertemplate=_hover(say("{n} units: {effect}", n="%{x:,}", effect="p = %{y:.3g}, %{customdata}")),
    )  # fmt: skip
    figure.add_scatter(
        x=[0, path["n_units"].max()], y=[alpha, alpha], mode="lines+text", text=["", f"alpha {formatted(alpha, 'g')}"],
        textposition="top left", line={"color": ORANGE, "dash": "dash"}, hoverinfo="skip",
    )  # fmt: skip
    failed = path[path["p_value"] < alpha].head(1)
    for first in failed["n_units"]:
        figure.add_vline(x=first, line={"color": ORANGE, "dash": "dash"})
    figure.update_yaxes(type="log", title_text=say("p value"), exponentformat="power")
    figure.update_xaxes(title_text=_in_order())
    return _titled(figure, ratio_words(path, alpha))


def shares_chart(shares: pd.DataFrame) -> go.Figure:
    """How far each arm's share lies from what it should be as units came in; from `SampleRatio.shares`.

    Raises:
        DataError: when a column is missing.
    """
    require_columns(shares, ["n_units", "arm", "n_assigned", "share", "expected_share"], "shares")
    parts = list(shares.groupby("arm", sort=False))
    figure = _stacked([str(arm) for arm, _ in parts])
    for place, (_, one) in enumerate(parts, 1):
        figure.add_scatter(
            x=one["n_units"], y=100 * (one["share"] - one["expected_share"]), mode="lines", line={"color": BLUE},
            customdata=one[["share", "expected_share"]],
            hovertemplate=_hover(say("{n} units: {effect}", n="%{x:,}", effect=say(
                "{share}, should be {expected}", share="%{customdata[0]:.2%}", expected="%{customdata[1]:.2%}"))),
            row=place, col=1,
        )  # fmt: skip
    most = settled_part(shares)
    figure.update_yaxes(zeroline=True, zerolinecolor=_ZERO, range=[-most, most], title_text=say("points"))
    return _titled(figure, shares_words(shares), 120 * len(parts))


def uplift_chart(curve: pd.DataFrame, autoc: Rate, qini: Rate) -> go.Figure:
    """The effect on the first contacts of a ranking, by how many there are, with its band.

    Args:
        curve: as `experiments.heterogeneity.ranking.uplift_curve` has it.
        autoc: the ranking's rate, by which the title goes.
        qini: the Qini-weighted one.

    Raises:
        DataError: when a column is missing.
    """
    require_columns(curve, ["share", "uplift", "low", "high", "random", "random_low", "random_high"], "curve")
    figure = go.Figure(_band(curve["share"], curve["low"], curve["high"]))
    for name, line in (
        ("random_low", {"width": 1, "dash": "dot"}), ("random_high", {"width": 1, "dash": "dot"}),
        ("random", {"width": 2, "dash": "dash"}),
    ):  # fmt: skip
        figure.add_scatter(
            x=curve["share"], y=curve[name], mode="lines", line={"color": ORANGE, **line}, hoverinfo="skip",
            name=say("at random (dots: by chance)"), showlegend=name == "random",
        )  # fmt: skip
    figure.add_scatter(
        x=curve["share"], y=curve["uplift"], mode="lines", line={"color": BLUE, "width": 2.5}, showlegend=True,
        name=say("effect on them, with the band of the whole curve"), customdata=curve[["low", "high"]],
        hovertemplate=_hover(say("first {share}: {effect}", share="%{x:.0%}", effect=_interval())),
    )  # fmt: skip
    figure.update_xaxes(tickformat=".0%", range=[0, 1], title_text=say("share of contacts, those ranked first"))
    figure.update_yaxes(zeroline=True, zerolinecolor=_ZERO, title_text=say("effect"))
    return _titled(figure, uplift_words(autoc, qini), legend=True)


def power_chart(table: pd.DataFrame, metric: str, planned_weeks: int, minimum_effect: float | None = None) -> go.Figure:
    """The least effect that is found, by how many weeks one plans; from `experimentplots.power_table`.

    Args:
        table: the table.
        metric: whose effect it is.
        planned_weeks: the weeks that are planned.
        minimum_effect: the least effect that is worth having, where it was said.

    Raises:
        DataError: when a column is missing.
    """
    require_columns(table, ["week", "n_units", "minimum_effect"], "power")
    figure = go.Figure()
    figure.add_scatter(
        x=table["week"], y=table["minimum_effect"], mode="lines", line={"color": BLUE, "width": 2.5},
        customdata=table["n_units"],
        hovertemplate=_hover(
            say("{n} weeks, {units} units: {effect}", n="%{x}", units="%{customdata:,.0f}", effect="%{y:.3g}")
        ),
    )  # fmt: skip
    figure.add_vline(x=planned_weeks, line={"dash": "dash", "color": _GREY}, annotation_text=say("planned"))
    if minimum_effect is not None:
        wanted = say("wanted: {effect}", effect=formatted(minimum_effect, ".4g"))
        figure.add_hline(y=minimum_effect, line={"color": ORANGE, "dash": "dash"}, annotation_text=wanted)
    figure.update_xaxes(title_text=say("weeks of exposures, the window to mature not counted"), rangemode="tozero")
    figure.update_yaxes(title_text=say("least effect"), rangemode="tozero")
    return _titled(figure, power_words(table, metric, planned_weeks, minimum_effect))


def novelty_chart(table: pd.DataFrame, trend: pd.DataFrame, alpha: float = 0.05) -> go.Figure:
    """The effect by days since the exposure, with intervals that hold the truth together; from `Novelty`.

    Args:
        table: `Novelty.table`; each metric and arm has a scale of its own.
        trend: `Novelty.trend`, by which the title goes.
        alpha: the error of all trends together.

    Raises:
        DataError: when a column is missing.
    """
    require_columns(table, ["metric", "arm", "from_day", "to_day", "effect", "low", "high"], "novelty")
    require_columns(trend, ["metric", "arm", "p_value"], "trend")
    parts = list(table.groupby(["metric", "arm"], sort=False))
    figure = _stacked([f"{metric}: {arm}" for (metric, arm), _ in parts], say("days since the exposure"))
    for place, (_, one) in enumerate(parts, 1):
        days = one[["from_day", "to_day"]].to_numpy(float).ravel()
        effect, low, high = (np.repeat(one[name].to_numpy(float), 2) for name in ("effect", "low", "high"))
        figure.add_traces(_band(days, low, high), rows=place, cols=1)
        figure.add_scatter(
            x=days, y=effect, mode="lines", line={"color": BLUE, "width": 2.5}, customdata=np.column_stack([low, high]),
            hovertemplate=_hover(say("day {day}: {effect}", day="%{x:.3g}", effect=_interval())),
            row=place, col=1,
        )  # fmt: skip
    figure.update_yaxes(zeroline=True, zerolinecolor=_ZERO)
    return _titled(figure, novelty_words(table, trend, alpha), 190 * len(parts))


def _in_order() -> str:
    return say("units, in the order of their exposure")


def _hover(words: str) -> str:
    return f"{words}<extra></extra>"


def _interval() -> str:
    return say(
        "{effect} ({low} to {high})", effect="%{y:+.4g}", low="%{customdata[0]:+.4g}", high="%{customdata[1]:+.4g}"
    )


def _stacked(headings: Sequence[str], across: str | None = None) -> go.Figure:
    """Charts below each other with one horizontal axis."""
    n = max(len(headings), 1)
    figure = make_subplots(rows=n, shared_xaxes=True, subplot_titles=headings, vertical_spacing=0.3 / n)
    figure.update_xaxes(title_text=across or _in_order(), row=n, col=1)
    return figure


def _band(x: Any, low: Any, high: Any) -> list[go.Scatter]:
    """The area between two lines, in two traces without names; where an end is infinite there is none."""
    ends: Iterable[tuple[Any, str | None]] = ((low, None), (high, "tonexty"))
    return [
        go.Scatter(
            x=x, y=[one if math.isfinite(one) else None for one in y], mode="lines", line={"width": 0},
            hoverinfo="skip", fill=fill, fillcolor=_BAND, showlegend=False,
        )
        for y, fill in ends
    ]  # fmt: skip


def _titled(figure: go.Figure, words: Words, height: float = _HEIGHT, *, legend: bool = False) -> go.Figure:
    """The figure with its words; `height` is that of the plot between them and what stands below."""
    height = max(height, _ROW)
    lines = wrap(words.subtitle, _LINE)
    above, below = 86 + 17 * len(lines), 100 if legend else 60
    figure.update_layout(
        template="journeylab", separators=separators(), showlegend=legend, height=above + height + below,
        margin={"t": above, "b": below}, legend={"y": -64 / height},
        title={"text": words.title, "xref": "container", "x": 0.02,
               "subtitle": {"text": "<br>".join(lines), "font": {"size": 13}}},
    )  # fmt: skip
    return figure
