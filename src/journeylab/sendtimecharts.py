"""Figures of send times for notebooks: every chart takes the table of `sendtimeplots` whose numbers it shows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import plotly.graph_objects as go

from .charts import titled
from .language import formatted, say, weekday_text
from .sendtimedrawing import (
    LEVEL_WORDS,
    calibration_words,
    gain_words,
    hour_words,
    level_words,
    reliability_words,
    shade,
    week_words,
)
from .sendtimeplots import DAYS, are_chances
from .visits import require_columns

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["calibration_chart", "gain_chart", "level_chart", "reliability_chart", "week_chart"]

_BLUE, _ORANGE, _BAND = "#1f6fb2", "#d97a00", "rgba(31, 111, 178, 0.2)"
_SCALE = [[step / 4, shade(step / 4)] for step in range(5)]
_LEVEL_COLOURS = {"person": "#0b3d70", "segment": "#1f6fb2", "everyone": "#9cc3e4", "fallback": "#d5d9de"}


def week_chart(week: pd.DataFrame, who: str = "everyone", about: dict[str, Any] | None = None) -> go.Figure:
    """The hours of the week as a heat map, from `week_table`: darker is better, + and - differ beyond noise.

    Args:
        week: the table.
        who: whose hours they are.
        about: `SendTimes.about`, for the subtitle.

    Raises:
        DataError: when a column is missing.
    """
    require_columns(week, ["hour_of_week", "chance", "low", "high", "mark"], "week")
    title, subtitle = week_words(week, who, about or {})
    signs = week["mark"].map({"+": "+", "-": "\N{MINUS SIGN}"}).fillna("").to_numpy(object).reshape(7, 24)
    words = [hour_words(row, about or {}) for row in week.itertuples()]
    figure = go.Figure(
        go.Heatmap(
            z=week["chance"].to_numpy(float).reshape(7, 24), x=[f"{hour:02d}" for hour in range(24)],
            y=[weekday_text(day) for day in range(len(DAYS))], colorscale=_SCALE, text=signs,
            texttemplate="%{text}", xgap=1, ygap=1, hoverongaps=False,
            customdata=np.array(words, object).reshape(7, 24), hovertemplate="%{customdata}<extra></extra>",
            colorbar={"tickformat": ".1%" if are_chances(about or {}) else ".3g", "thickness": 12, "outlinewidth": 0},
        )
    )  # fmt: skip
    chance = week["chance"]
    if chance.nunique() > 1 or (chance.notna().any() and chance.isna().any()):
        best = int(chance.idxmax())
        x, y = best % 24, best // 24
        figure.add_shape(
            type="rect", x0=x - 0.5, x1=x + 0.5, y0=y - 0.5, y1=y + 0.5, line={"color": _ORANGE, "width": 3}
        )
    figure.update_yaxes(autorange="reversed", showgrid=False, type="category")
    figure.update_xaxes(title_text=say("local hour (framed: best)"), showgrid=False, type="category")
    figure.update_layout(height=380)
    return titled(figure, title, subtitle, legend=False)


def gain_chart(gains: pd.DataFrame) -> go.Figure:
    """The expected gain of contacts, the greatest first, with its interval, from `gain_table`.

    Raises:
        DataError: when a column is missing.
    """
    require_columns(gains, ["contact_share", "n_contacts", "n_above", "gain", "low", "high"], "gains")
    figure = go.Figure()
    for column, fill in (("low", None), ("high", "tonexty")):
        figure.add_scatter(
            x=gains["contact_share"], y=100 * gains[column], mode="lines", line={"width": 0}, hoverinfo="skip",
            fill=fill, fillcolor=_BAND,
        )  # fmt: skip
    figure.add_scatter(
        x=gains["contact_share"], y=100 * gains["gain"], mode="lines", line={"color": _BLUE, "width": 2.5},
        customdata=gains["n_contacts"],
        hovertemplate=say("{gain} points, {n} contacts", gain="%{y:+.2f}", n="%{customdata:,}") + "<extra></extra>",
    )  # fmt: skip
    figure.update_xaxes(tickformat=".0%", title_text=say("share of contacts, those with the greatest gain first"))
    figure.update_yaxes(title_text=say("points"), zeroline=True, zerolinecolor="rgba(128,128,128,0.7)")
    nothing = say("No gain can be said"), say("n = {n} contacts", n=0)
    return titled(figure, *(gain_words(gains) if len(gains) else nothing), legend=False)


def level_chart(levels: pd.DataFrame) -> go.Figure:
    """The share of contacts with advice of each level, as one bar, from `level_table`.

    Raises:
        DataError: when a column is missing.
    """
    require_columns(levels, ["level", "n_contacts", "contact_share"], "levels")
    figure = go.Figure()
    for row in levels[levels["n_contacts"] > 0].itertuples():
        figure.add_bar(
            x=[row.contact_share], y=[""], orientation="h",
            name=f"{say(LEVEL_WORDS[row.level])}: {formatted(row.n_contacts)}",
            marker={"color": _LEVEL_COLOURS[row.level], "line": {"color": "#3d4b5c", "width": 1}},
            hovertemplate="%{x:.1%}",
        )  # fmt: skip
    figure.update_layout(barmode="stack", height=220, legend={"y": -0.6})
    figure.update_xaxes(tickformat=".0%", range=[0, 1])
    return titled(figure, *level_words(levels))


def calibration_chart(table: pd.DataFrame) -> go.Figure:
    """What was predicted against what came, with 95 % Wilson intervals, from `calibration_table`.

    Raises:
        DataError: when a column is missing.
    """
    require_columns(table, ["predicted", "observed", "low", "high", "n_sends"], "calibration")
    figure = go.Figure()
    most = float(max(table["predicted"].max(), table["high"].max())) if len(table) else 1.0
    figure.add_scatter(
        x=[0, most], y=[0, most], mode="lines", hoverinfo="skip", line={"dash": "dash", "color": "#7c8792"}
    )
    figure.add_scatter(
        x=table["predicted"], y=table["observed"], mode="markers", marker={"color": _BLUE, "size": 8},
        error_y={"array": table["high"] - table["observed"], "arrayminus": table["observed"] - table["low"]},
        customdata=table["n_sends"],
        hovertemplate=say(
            "predicted {predicted}, observed {observed} of {n} sends", predicted="%{x:.1%}", observed="%{y:.1%}",
            n="%{customdata:,}",
        ) + "<extra></extra>",
    )  # fmt: skip
    figure.update_xaxes(tickformat=".1%", rangemode="tozero", title_text=say("predicted chance"))
    figure.update_yaxes(tickformat=".1%", rangemode="tozero", title_text=say("observed share"))
    return titled(figure, *calibration_words(table), legend=False)


def reliability_chart(table: pd.DataFrame) -> go.Figure:
    """What was predicted and what came by week, with the interval of what came, from `Watch.reliability`.

    Raises:
        DataError: when a column is missing.
    """
    require_columns(table, ["week", "n_sends", "predicted_rate", "observed_rate", "low", "high"], "reliability")
    figure = go.Figure()
    figure.add_scatter(
        x=table["week"], y=table["predicted_rate"], mode="lines", name=say("predicted"),
        line={"color": _ORANGE, "dash": "dash"},
    )  # fmt: skip
    figure.add_scatter(
        x=table["week"], y=table["observed_rate"], mode="lines+markers", name=say("observed"), line={"color": _BLUE},
        error_y={
            "array": table["high"] - table["observed_rate"], "arrayminus": table["observed_rate"] - table["low"],
        },
        customdata=table["n_sends"],
        hovertemplate=say("{share} of {n} sends", share="%{y:.2%}", n="%{customdata:,}"),
    )  # fmt: skip
    figure.update_yaxes(tickformat=".1%", rangemode="tozero")
    figure.update_xaxes(title_text=say("week from"))
    return titled(figure, *reliability_words(table), over_time=True)
