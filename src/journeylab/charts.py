"""Figures for notebooks, one for each kind of table: every chart takes the frame whose numbers it shows.

All use the plotly template `journeylab`: two colour-blind-safe colours first, the legend below, room for a title that
states the finding and a subtitle that says unit, period and number.
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import pandas as pd
import plotly.graph_objects as go
import plotly.io as pio
from plotly.subplots import make_subplots

from .language import count_text, current, date_text, formatted, say, separators, share_text
from .visits import require_columns

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = [
    "branch_chart", "flow_chart", "frequency_chart", "funnel_chart", "segment_overlap_chart", "segment_size_chart",
    "time_to_event_chart", "titled",
]  # fmt: skip

# Blue and orange first, then the rest of Okabe and Ito's colours, which people with any colour vision tell apart.
_COLOURS = ["#1f6fb2", "#d97a00", "#1a8a68", "#a062b4", "#b59b00", "#56b4e9", "#7c8792", "#c23b5a", "#3d4b5c"]
_BAND = "rgba({}, {}, {}, 0.18)"
_AXIS = {
    "gridcolor": "rgba(128,128,128,0.2)",
    "zeroline": False,
    "automargin": True,
    "title": {"font": {"size": 13}, "standoff": 8},
}

pio.templates["journeylab"] = go.layout.Template(
    layout={
        "colorway": _COLOURS,
        "font": {"family": "system-ui, -apple-system, Segoe UI, Roboto, sans-serif", "size": 13},
        "title": {
            "x": 0,
            "xref": "paper",
            "xanchor": "left",
            "y": 1,
            "yanchor": "top",
            "pad": {"t": 18},
            "font": {"size": 17},
        },
        "margin": {"l": 64, "r": 24, "t": 84, "b": 64},
        "legend": {"orientation": "h", "x": 0, "xanchor": "left", "y": -0.2, "yanchor": "top"},
        "paper_bgcolor": "rgba(0,0,0,0)",
        "plot_bgcolor": "rgba(0,0,0,0)",
        "xaxis": _AXIS,
        "yaxis": _AXIS,
        "hovermode": "closest",
    }
)


def branch_chart(branches: pd.DataFrame) -> go.Figure:
    """The share of each branch with its interval, from `visits.branch_table`.

    Raises:
        DataError: when a column is missing.
    """
    require_columns(branches, ["journey", "node", "branch", "n_visits", "branch_share", "low", "high"], "branches")
    branch = branches["branch"].fillna(say("left the journey"))
    labels = [f"{node} · {name}" for node, name in zip(_named(branches), branch, strict=True)]
    subtitle = say("share of the closed visits of each node, 95% intervals; {n} visits", n=_count(branches["n_visits"]))
    title = say("Which way visits left each node")
    return _share_bars(branches, labels, "branch_share", "n_visits", title, subtitle)


def funnel_chart(funnel: pd.DataFrame) -> go.Figure:
    """How far entries came, from `visits.funnel`.

    Raises:
        DataError: when a column is missing.
    """
    require_columns(funnel, ["journey", "step", "node", "n_entries", "reached_share", "low", "high"], "funnel")
    title = say("How far entries came")
    if funnel["journey"].nunique() == 1:
        last = funnel.iloc[-1]
        share = share_text(last["reached_share"])
        title = say("{share} of entries reached {node}", share=share, node=last["node"])
    subtitle = say("share of entries that visited all steps up to this one; {n} entries", n=_started(funnel))
    return _share_bars(funnel, _named(funnel), "reached_share", "n_entries", title, subtitle)


def time_to_event_chart(curve: pd.DataFrame) -> go.Figure:
    """The share that has had an event, by days since entering, with its interval, from `timetoevent`.

    Raises:
        DataError: when a column is missing.
    """
    columns = ["journey", "after", "n_at_risk", "n_events", "reached_share", "low", "high"]
    require_columns(curve, columns, "curve")
    figure = go.Figure()
    parts = [(str(journey), part) for journey, part in curve.groupby("journey", observed=True, sort=False)]
    for (journey, part), colour in zip(parts, _repeated(len(parts)), strict=True):
        days = part["after"] / timedelta(days=1)
        for column, fill in (("low", None), ("high", "tonexty")):
            figure.add_scatter(
                x=days, y=part[column].fillna(part["reached_share"]), mode="lines", hoverinfo="skip", showlegend=False,
                line={"width": 0, "shape": "hv"}, fill=fill, fillcolor=_translucent(colour),
            )  # fmt: skip
        figure.add_scatter(
            x=days, y=part["reached_share"], mode="lines", name=journey, line={"shape": "hv", "color": colour},
            customdata=part["n_at_risk"],
            hovertemplate=say(
                "{share} after {x} days, {n} still inside", share="%{y:.1%}", x="%{x:.1f}", n="%{customdata:,}"
            ),
        )  # fmt: skip
    title = say("Time to the event")
    if len(parts) == 1:
        last = parts[0][1].iloc[-1]
        share, days = share_text(last["reached_share"]), formatted(last["after"] / timedelta(days=1), ".0f")
        title = say("{share} within {days} days", share=share, days=days)
    n_entries = sum(int(part["n_at_risk"].iloc[0]) for _, part in parts)
    figure.update_yaxes(tickformat=".0%", rangemode="tozero")
    figure.update_xaxes(title_text=say("days since entering"))
    subtitle = say("share of entries with 95% interval; {n} entries", n=formatted(n_entries))
    return titled(figure, title, subtitle, legend=len(parts) > 1)


def flow_chart(flow: pd.DataFrame) -> go.Figure:
    """How many visits took each branch over time, from `visits.flow`.

    Raises:
        DataError: when a column is missing.
    """
    require_columns(flow, ["journey", "node", "branch", "period_at", "n_visits"], "flow")
    named = flow.assign(node=_named(flow))
    nodes = [str(node) for node in named["node"].unique()]
    colours = dict(zip(named["branch"].unique(), _repeated(named["branch"].nunique()), strict=True))
    figure = make_subplots(
        max(1, len(nodes)), 1, shared_xaxes=True, subplot_titles=nodes, vertical_spacing=0.24 / (len(nodes) or 1)
    )
    shown = set()
    for (node, branch), part in named.groupby(["node", "branch"], observed=True, sort=False):
        figure.add_scatter(
            x=part["period_at"], y=part["n_visits"], mode="lines+markers", name=branch, legendgroup=branch,
            showlegend=branch not in shown, line={"color": colours[branch]}, marker={"size": 5},
            row=nodes.index(node) + 1, col=1,
        )  # fmt: skip
        shown.add(branch)
    figure.update_yaxes(rangemode="tozero", nticks=4)
    figure.update_annotations(x=0, xanchor="left", font={"size": 13})
    figure.update_layout(height=170 + 110 * len(nodes), margin={"t": 104}, legend={"y": -0.35 / (len(nodes) or 1)})
    span, n = _span(flow["period_at"]), _count(flow["n_visits"])
    subtitle = say("visits by the period in which they left, {span}; {n} visits", span=span, n=n)
    return titled(figure, say("Which way visits went over time"), subtitle, over_time=True)


def segment_size_chart(sizes: pd.DataFrame) -> go.Figure:
    """How many contacts are in each segment over time, from a frame with `segment, as_of, n_contacts`.

    Raises:
        DataError: when a column is missing.
    """
    require_columns(sizes, ["segment", "as_of", "n_contacts"], "sizes")
    figure = go.Figure()
    parts = [(str(segment), part) for segment, part in sizes.groupby("segment", observed=True, sort=False)]
    for segment, part in parts:
        figure.add_scatter(x=part["as_of"], y=part["n_contacts"], mode="lines", name=segment)
    title = say("How segments grow")
    if len(parts) == 1:
        segment, part = parts[0]
        first, last = (count_text(int(part["n_contacts"].iloc[place])) for place in (0, -1))
        title = say("{segment}: from {first} to {last} contacts", segment=segment, first=first, last=last)
    figure.update_yaxes(title_text=say("contacts"), rangemode="tozero")
    subtitle = say("contacts in the segment, {span}", span=_span(sizes["as_of"]))
    return titled(figure, title, subtitle, legend=len(parts) > 1, over_time=True)


def segment_overlap_chart(overlaps: pd.DataFrame) -> go.Figure:
    """How many contacts are in exactly each combination of segments, most first, with a matrix that names them (UpSet).

    Lex, A. et al. (2014). UpSet: visualization of intersecting sets. IEEE TVCG 20, 1983-1992.

    Args:
        overlaps: a boolean column for each segment, and `n_contacts`, one row for each combination.

    Raises:
        DataError: when `n_contacts` is missing.
    """
    require_columns(overlaps, ["n_contacts"], "overlaps")
    ordered = overlaps.sort_values("n_contacts", ascending=False, kind="stable")
    segments = [str(column) for column in ordered.columns if column != "n_contacts"]
    places = list(range(len(ordered)))
    names = [
        say(" and ").join(name for name in segments if row[name]) or say("none of them")
        for _, row in ordered.iterrows()
    ]
    figure = go.Figure()
    figure.add_bar(x=places, y=ordered["n_contacts"], customdata=names, marker_color=_COLOURS[0],
                   hovertemplate="%{customdata}: %{y:,}<extra></extra>", showlegend=False)  # fmt: skip
    for is_in, colour in ((False, "rgba(128,128,128,0.25)"), (True, _COLOURS[0])):
        dots = [(place, name) for name in segments for place in places if bool(ordered[name].iloc[place]) is is_in]
        figure.add_scatter(x=[x for x, _ in dots], y=[y for _, y in dots], mode="markers", yaxis="y2", hoverinfo="skip",
                           marker={"size": 11, "color": colour}, showlegend=False)  # fmt: skip
    figure.update_layout(
        yaxis={"domain": [0.42, 1], "title": {"text": say("contacts")}, "rangemode": "tozero"},
        yaxis2={"domain": [0, 0.36], "type": "category", "categoryarray": segments[::-1], "showgrid": False},
        xaxis={"visible": False, "anchor": "y2"},
    )
    title = say("Most contacts are in {segments}", segments=names[0]) if names else say("No contacts")
    subtitle = say("contacts in exactly these segments; {n} contacts", n=_count(overlaps["n_contacts"]))
    return titled(figure, title, subtitle)


def frequency_chart(curve: pd.DataFrame, outcome: str, harm: str, level: float) -> go.Figure:
    """The rate of an outcome by mails a week with its band, the harm below, from `MailFrequency.curve`.

    Dashed are the rates on record, where who is sent how many is not adjusted for.

    Args:
        curve: the table.
        outcome: what the rate is of, such as "clicked".
        harm: what the harm is, such as "unsubscribed"; left out where its rate is missing.
        level: of the intervals, 0..1.

    Raises:
        DataError: when a column is missing.
    """
    shown = {outcome: ("outcome_rate", "low", "high", "naive_rate")}
    if "harm_rate" not in curve.columns or curve["harm_rate"].notna().any():
        shown[harm] = ("harm_rate", "harm_low", "harm_high", "naive_harm_rate")
    needed = [name for names in shown.values() for name in names]
    require_columns(curve, ["mails_per_week", "and_more", "mean_mails", "n_sends", *needed], "curve")
    figure = make_subplots(
        len(shown), 1, shared_xaxes=True, subplot_titles=[*shown] if len(shown) > 1 else None, vertical_spacing=0.14
    )
    for at, (rate, low, high, naive) in enumerate(shown.values(), start=1):
        for column, fill in ((low, None), (high, "tonexty")):
            figure.add_scatter(
                x=curve["mean_mails"], y=curve[column], mode="lines", hoverinfo="skip", showlegend=False, row=at, col=1,
                line={"width": 0}, fill=fill, fillcolor=_translucent(_COLOURS[0]),
            )  # fmt: skip
        for column, name, dash in ((naive, say("on record, not adjusted"), "dash"), (rate, say("adjusted"), "solid")):
            figure.add_scatter(
                x=curve["mean_mails"], y=curve[column], mode="lines+markers", name=name, legendgroup=name,
                showlegend=at == 1, line={"color": _COLOURS[column == naive], "dash": dash}, row=at, col=1,
                customdata=curve["n_sends"],
                hovertemplate=say(
                    "{share} at {x} a week, {n} sends", share="%{y:.2%}", x="%{x:.3g}", n="%{customdata:,}"
                ),
            )  # fmt: skip
    labels = [
        say("{n} or more", n=row.mails_per_week) if row.and_more else f"{row.mails_per_week}"
        for row in curve.itertuples()
    ]
    figure.update_yaxes(tickformat=".2~%", rangemode="tozero", nticks=5)
    figure.update_xaxes(tickmode="array", tickvals=curve["mean_mails"], ticktext=labels)
    figure.update_xaxes(title_text=say("mails a week"), row=len(shown), col=1)
    figure.update_annotations(x=0, xanchor="left", font={"size": 13})
    figure.update_layout(height=200 + 180 * len(shown), margin={"t": 104})
    first, last = (formatted(curve["outcome_rate"].iloc[place], ".2%") for place in (0, -1))
    title = say(
        "{outcome}: {first} at {few} a week, {last} at {many}", outcome=outcome, first=first, few=labels[0], last=last,
        many=labels[-1],
    )  # fmt: skip
    subtitle = say(
        "share of the mails to the average contact, {level} intervals; {n} sends", level=formatted(level, ".0%"),
        n=_count(curve["n_sends"]),
    )  # fmt: skip
    return titled(figure, title, subtitle)


def _share_bars(
    table: pd.DataFrame, labels: Sequence[str], share: str, count: str, title: str, subtitle: str
) -> go.Figure:
    """Horizontal bars of a share with its interval, the first row on top."""
    places = list(range(len(table)))
    figure = go.Figure()
    figure.add_bar(
        x=table[share], y=places, orientation="h", marker_color=_COLOURS[0], showlegend=False,
        customdata=table[count], text=[share_text(value) for value in table[share]], textposition="none",
        error_x={"array": table["high"] - table[share], "arrayminus": table[share] - table["low"], "thickness": 1.3},
        hovertemplate="%{text}, %{customdata:,}<extra></extra>",
    )  # fmt: skip
    figure.update_xaxes(tickformat=".0%", range=[0, 1.02])
    figure.update_yaxes(tickmode="array", tickvals=places, ticktext=list(labels), autorange="reversed", showgrid=False)
    figure.update_layout(height=150 + 28 * len(table))
    return titled(figure, title, subtitle)


def titled(figure: go.Figure, title: str, subtitle: str, *, legend: bool = True, over_time: bool = False) -> go.Figure:
    """The figure with its titles, and with numbers and dates as the current language has them.

    Args:
        figure: the figure.
        title: what was found.
        subtitle: unit, period and number.
        legend: whether it has one.
        over_time: whether the horizontal axis has dates.
    """
    figure.update_layout(
        template="journeylab",
        title={"text": title, "subtitle": {"text": subtitle, "font": {"size": 13}}},
        showlegend=legend,
        separators=separators(),
    )
    if over_time and current() != "en":
        figure.update_xaxes(tickformat="%-d.%m.%Y", hoverformat="%-d.%m.%Y")
    return figure


def _named(table: pd.DataFrame) -> list[str]:
    """The nodes, with their journey before them where there are several."""
    if table["journey"].nunique() <= 1:
        return [str(node) for node in table["node"]]
    return [f"{journey}: {node}" for journey, node in zip(table["journey"], table["node"], strict=True)]


def _started(funnel: pd.DataFrame) -> str:
    # A share of what began: the first step may already miss some entries.
    first = funnel[funnel["step"] == 1]
    return _count((first["n_entries"] / first["reached_share"]).round())


def _count(numbers: pd.Series) -> str:
    return count_text(int(numbers.sum()))


def _span(instants: pd.Series) -> str:
    if instants.empty:
        return say("no period")
    return say("{low} to {high}", low=date_text(instants.min()), high=date_text(instants.max()))


def _repeated(n: int) -> list[str]:
    return [_COLOURS[number % len(_COLOURS)] for number in range(n)]


def _translucent(colour: str) -> str:
    return _BAND.format(*(int(colour[place : place + 2], 16) for place in (1, 3, 5)))
