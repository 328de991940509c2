"""Send times as static SVG: no scripts, no fonts of their own, readable in print and on dark pages."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from html import escape
from typing import TYPE_CHECKING, Any

import numpy as np

from .durations import length_text, parse_duration
from .language import date_text, formatted, later, say, share_text, weekday_text
from .sendtimeplots import DAYS, are_chances, hour_text, score_text
from .svgaxes import BLUE, ORANGE, Axes, Tick, drawn, head, ticks
from .visits import require_columns

if TYPE_CHECKING:
    import pandas as pd

__all__ = [
    "LEVEL_WORDS", "calibration_svg", "calibration_words", "gain_svg", "gain_words", "hour_words", "level_svg",
    "level_words", "reliability_svg", "reliability_words", "shade", "week_svg", "week_words",
]  # fmt: skip

LEVEL_WORDS = {
    "person": later("person"), "segment": later("segment"), "everyone": later("everyone"),
    "fallback": later("fallback"),
}  # fmt: skip
"""What is said for each level of `sendtimes.LEVELS`."""

_PALE, _DEEP = (0xE4, 0xEF, 0xF8), (0x0B, 0x3D, 0x70)
_CELL_WIDTH, _CELL_HEIGHT = 24, 22
_LEVEL_STYLE = {
    "person": 'fill="#0b3d70"', "segment": 'fill="#1f6fb2"', "everyone": 'fill="#9cc3e4"',
    "fallback": 'fill="none" stroke="currentColor" stroke-opacity=".5"',
}  # fmt: skip


def shade(part: float) -> str:
    """The colour of a part (0..1) of the way from the least to the greatest: one blue, lighter to darker.

    >>> shade(0), shade(1)
    ('#e4eff8', '#0b3d70')
    """
    mixed = (round(pale + (deep - pale) * part) for pale, deep in zip(_PALE, _DEEP, strict=True))
    return "#" + "".join(f"{one:02x}" for one in mixed)


def week_words(week: pd.DataFrame, who: str, about: dict[str, Any]) -> tuple[str, str]:
    """The title and the subtitle of the hours of the week: the best hour, and what is shown of how many sends.

    Args:
        week: a `sendtimeplots.week_table`.
        who: whose hours they are, such as "everyone".
        about: as send times have it.
    """
    chance = week["chance"]
    who = say("everyone") if who == "everyone" else who
    if chance.isna().all():
        title = say("{who}: no hour is ever chosen", who=who)
    elif chance.notna().all() and chance.nunique() == 1:
        title = say("{who}: all hours are alike", who=who)
    else:
        title = say("{who}: best at {hour}", who=who, hour=hour_text(int(chance.idxmax())))
    if not are_chances(about):
        subtitle = say("score, which only orders hours, by local hour")
    elif about.get("within"):
        within = length_text(parse_duration(about["within"]))
        subtitle = say(
            "chance that a send is {outcome} within {within}, by local hour", outcome=about["outcome"], within=within
        )
    else:
        subtitle = say("chance that a send is {outcome}, by local hour", outcome=about["outcome"])
    if "n_sends" in about:
        n, drawn_hours = formatted(about["n_sends"]), formatted(about["n_random"])
        subtitle += say("; n = {n} sends, {random} at drawn hours", n=n, random=drawn_hours)
    return title, subtitle


def week_svg(week: pd.DataFrame, who: str, about: dict[str, Any]) -> str:
    """The hours of the week as a heat map: days down, hours across, darker is better, + and - beyond noise.

    Every cell says its numbers when it is pointed at.

    Raises:
        DataError: when a column is missing.
    """
    require_columns(week, ["hour_of_week", "chance", "low", "high", "mark"], "week")
    title, subtitle = week_words(week, who, about)
    chance = week["chance"].to_numpy(float)
    known = chance[~np.isnan(chance)]
    low, high = (float(known.min()), float(known.max())) if len(known) else (0.0, 0.0)
    left = 48
    width = left + 24 * _CELL_WIDTH + 12
    titles, down = head(width, title, subtitle)
    top = round(down) + 18
    parts = [titles]
    parts += [
        f'<text x="{left + hour * _CELL_WIDTH}" y="{top - 6}">{hour:02d}</text>' for hour in range(0, 24, 3)
    ]  # fmt: skip
    parts += [f'<text x="{left - 8}" y="{top + day * _CELL_HEIGHT + 15}" text-anchor="end">{weekday_text(day)}</text>'
              for day in range(len(DAYS))]  # fmt: skip
    is_flat = len(known) == len(chance) and low == high
    for row in week.itertuples():
        x, y = left + row.hour_of_week % 24 * _CELL_WIDTH, top + row.hour_of_week // 24 * _CELL_HEIGHT
        parts.append(_cell(row, x, y, low, high, about))
    if len(known) and not is_flat:
        best = int(np.nanargmax(chance))
        x, y = left + best % 24 * _CELL_WIDTH, top + best // 24 * _CELL_HEIGHT
        parts.append(f'<rect x="{x}" y="{y}" width="{_CELL_WIDTH - 1}" height="{_CELL_HEIGHT - 1}" fill="none" '
                     f'stroke="{ORANGE}" stroke-width="3"/>')  # fmt: skip
    ends = score_text(low, about), score_text(high, about)
    parts.extend(_week_legend(week, ends, left, top + 7 * _CELL_HEIGHT + 14, is_flat=is_flat))
    return drawn(width, top + 7 * _CELL_HEIGHT + 42, title, parts)


def hour_words(row: Any, about: dict[str, Any]) -> str:
    """An hour of a `week_table` with its score, and its interval where there is one."""
    words = f"{hour_text(row.hour_of_week)}: {score_text(row.chance, about)}"
    if row.low != row.low:
        return words
    interval = say("{low} to {high}", low=share_text(row.low), high=share_text(row.high))
    return f"{words} ({interval})"


def _cell(row: Any, x: int, y: int, low: float, high: float, about: dict[str, Any]) -> str:
    box = f'<rect x="{x}" y="{y}" width="{_CELL_WIDTH - 1}" height="{_CELL_HEIGHT - 1}" '
    if row.chance != row.chance:
        words = say("{hour}: never chosen", hour=hour_text(row.hour_of_week))
        return f'<g>{box} fill="none" stroke="currentColor" stroke-opacity=".25"/><title>{words}</title></g>'
    part = (row.chance - low) / (high - low) if high > low else 0.5
    mark = ""
    if row.mark in ("+", "-"):
        sign = "+" if row.mark == "+" else "\N{MINUS SIGN}"
        mark = (f'<text x="{x + (_CELL_WIDTH - 1) / 2}" y="{y + 15}" text-anchor="middle" '
                f'fill="{"#fff" if part > 0.45 else "#0b3d70"}">{sign}</text>')  # fmt: skip
    noise = {"+": say(", above the mean beyond noise"), "-": say(", below the mean beyond noise")}.get(row.mark, "")
    words = f"{hour_words(row, about)}{noise}"
    return f'<g>{box}fill="{shade(part)}"/>{mark}<title>{words}</title></g>'


def _week_legend(week: pd.DataFrame, ends: tuple[str, str], x: int, y: int, *, is_flat: bool) -> Iterator[str]:
    if is_flat:
        text = say("{chance} at every hour: a send goes at once", chance=ends[0])
        if week["mark"].isin(["+", "-"]).any():
            text = say(
                "{chance} at every hour: no curve is borne out; + \N{MINUS SIGN}: more, fewer answers here",
                chance=ends[0],
            )
        yield f'<text x="{x}" y="{y + 11}">{text}</text>'
        return
    yield f'<text x="{x}" y="{y + 11}">{ends[0]}</text>'
    at = x + 44
    for step in range(8):
        yield f'<rect x="{at + 14 * step}" y="{y + 1}" width="14" height="12" fill="{shade(step / 7)}"/>'
    at += 14 * 8 + 6
    words = [ends[1], say("framed: best")]
    if week["mark"].isin(["+", "-"]).any():
        words.append(say("+ \N{MINUS SIGN}: above, below the mean beyond noise"))
    elif (week["mark"] == ".").any():
        words.append(say("no hour differs from the mean beyond noise"))
    if week["chance"].isna().any():
        words.append(say("empty: never chosen"))
    yield f'<text x="{at}" y="{y + 11}">{escape("; ".join(words))}</text>'


_WIDTH = 642


def _framed(
    titles: tuple[str, str], x: tuple[float, float], y: tuple[float, float], across: str, x_ticks: Sequence[Tick],
    y_ticks: Sequence[Tick], width: int = 560, height: int = 220,
) -> tuple[Axes, list[str]]:  # fmt: skip
    """The axes of a chart, and its titles and grid; `across` names the horizontal axis."""
    words, top = head(_WIDTH, *titles)
    axes = Axes(x, y, 58, top + 10, width, height)
    return axes, [words, *axes.grid(across, x_ticks, y_ticks)]


def _closed(axes: Axes, title: str, parts: Sequence[str]) -> str:
    return drawn(_WIDTH, axes.top + axes.height + 46, title, parts)


def gain_svg(gains: pd.DataFrame) -> str:
    """The expected gain of contacts, the greatest first, with the band of its interval; from `gain_table`.

    Raises:
        DataError: when a column is missing.
    """
    require_columns(gains, ["contact_share", "n_contacts", "n_above", "gain", "low", "high"], "gains")
    if gains.empty:
        return ""
    title, subtitle = gain_words(gains)
    # A group holds from where the one before ends.
    share = np.concatenate([[0.0], gains["contact_share"]])
    gain, low, high = (np.concatenate([gains[name].iloc[:1], gains[name]]) for name in ("gain", "low", "high"))
    up = ticks(min(0.0, float(low.min())), max(0.0, float(high.max())))
    axes, parts = _framed(
        (title, subtitle), (0, 1), (up[0], up[-1]), say("share of contacts, those with the greatest gain first"),
        [Tick(one / 4, formatted(one / 4, ".0%")) for one in range(5)],
        [Tick(one, _signed(100 * one)) for one in up],
    )  # fmt: skip
    parts += [
        f'<path d="{axes.band(share, low, high)}" fill="{BLUE}" fill-opacity=".2"/>',
        f'<path d="{axes.line(share, gain)}" fill="none" stroke="{BLUE}" stroke-width="2.5"/>',
    ]
    return _closed(axes, title, parts)


def _signed(value: float) -> str:
    return "0" if value == 0 else formatted(value, "+.3g").replace("-", "\N{MINUS SIGN}")


def gain_words(gains: pd.DataFrame) -> tuple[str, str]:
    """The title and the subtitle of a `gain_table`."""
    n = gains["n_contacts"]
    if not (gains["gain"].abs() > 1e-12).any():
        title = say("No contact is expected to gain by an hour of their own")
    else:
        mean = float((gains["gain"] * n).sum() / n.sum())
        above = share_text(float(gains["n_above"].sum() / n.sum()))
        title = say(
            "Hours of their own gain {points} points on average; beyond noise for {above}",
            points=formatted(100 * mean, ".2g"),
            above=above,
        )
    return title, say(
        "points over the hour best for everyone, 90% intervals; n = {n} contacts", n=formatted(int(n.sum()))
    )


def level_svg(levels: pd.DataFrame) -> str:
    """The share of contacts with advice of each level, as one bar; from `level_table`.

    Raises:
        DataError: when a column is missing.
    """
    require_columns(levels, ["level", "n_contacts", "contact_share"], "levels")
    shown = levels[levels["n_contacts"] > 0]
    width, x = 618.0, 0.0
    title, subtitle = level_words(levels)
    words, top = head(_WIDTH, title, subtitle)
    parts = [words]
    for place, row in enumerate(shown.itertuples()):
        style = _LEVEL_STYLE[row.level]
        parts.append(f'<rect x="{x:.1f}" y="{top:.0f}" width="{width * row.contact_share:.1f}" height="22" {style}/>')
        x += width * row.contact_share
        y = round(top) + 44 + 20 * place
        parts.append(f'<rect x="0.5" y="{y - 10}" width="12" height="12" {style}/><text x="20" y="{y}">'
                     f"{say(LEVEL_WORDS[row.level])}: {share_text(row.contact_share)} "
                     f"({formatted(row.n_contacts)})</text>")  # fmt: skip
    return drawn(_WIDTH, top + 32 + 20 * len(shown), title, parts)


def level_words(levels: pd.DataFrame) -> tuple[str, str]:
    """The title and the subtitle of a `level_table`."""
    n = formatted(int(levels["n_contacts"].sum()))
    subtitle = say("share of contacts by the finest level that the log bears out; n = {n}", n=n)
    return _level_title(levels), subtitle


def _level_title(levels: pd.DataFrame) -> str:
    share = dict(zip(levels["level"], levels["contact_share"], strict=True))
    if share.get("person"):
        return say("{share} of contacts have hours of their own", share=share_text(share["person"]))
    if share.get("segment"):
        return say("{share} of contacts have the hours of their segment", share=share_text(share["segment"]))
    if share.get("everyone"):
        return say("All contacts have the hours of everyone")
    return say("No model says when to send to anybody")


def calibration_svg(table: pd.DataFrame) -> str:
    """What was predicted against what came, with the interval of each group; from `calibration_table`.

    Raises:
        DataError: when a column is missing.
    """
    require_columns(table, ["predicted", "observed", "low", "high", "n_sends"], "calibration")
    if table.empty:
        return ""
    title, subtitle = calibration_words(table)
    up = ticks(0.0, float(max(table["predicted"].max(), table["high"].max())))
    ends, shown = (0, up[-1]), [Tick(one, f"{formatted(100 * one, '.3g')}%") for one in up]
    across = say("across: predicted chance; up: observed share")
    axes, parts = _framed((title, subtitle), ends, ends, across, shown, shown, 300, 300)
    parts.append(f'<path d="{axes.line([0, up[-1]], [0, up[-1]])}" stroke="currentColor" stroke-opacity=".5" '
                 'stroke-dasharray="5 4" fill="none"/>')  # fmt: skip
    for row in table.itertuples():
        path = axes.line([row.predicted, row.predicted], [row.low, row.high])
        (x,), (y,) = axes.places([row.predicted], [row.observed])
        words = say(
            "predicted {predicted}, observed {observed} of {n} sends", predicted=share_text(row.predicted),
            observed=share_text(row.observed), n=formatted(row.n_sends),
        )  # fmt: skip
        parts.append(f'<path d="{path}" stroke="{BLUE}" stroke-width="1.6"/><g><circle cx="{x:.1f}" cy="{y:.1f}" '
                     f'r="4" fill="{BLUE}"/><title>{words}</title></g>')  # fmt: skip
    return _closed(axes, title, parts)


def calibration_words(table: pd.DataFrame) -> tuple[str, str]:
    """The title and the subtitle of a `calibration_table`."""
    n = int(table["n_sends"].sum())
    held = int(((table["low"] <= table["predicted"]) & (table["predicted"] <= table["high"])).sum())
    return (
        say("{n} of {of} groups came as predicted", n=held, of=len(table)),
        say(
            "groups of sends by predicted chance, 95% Wilson intervals; dashed: as predicted; n = {n} sends",
            n=formatted(n),
        ),
    )


def reliability_svg(table: pd.DataFrame) -> str:
    """What was predicted and what came by week, with the interval of what came; from `Watch.reliability`.

    Raises:
        DataError: when a column is missing.
    """
    require_columns(table, ["week", "n_sends", "predicted_rate", "observed_rate", "low", "high"], "reliability")
    if table.empty:
        return ""
    title, subtitle = reliability_words(table)
    up = ticks(0.0, float(max(table["predicted_rate"].max(), table["high"].max())))
    place = np.arange(len(table))
    shown = sorted({0, len(table) // 2, len(table) - 1})
    axes, parts = _framed(
        (title, subtitle), (-0.5, len(table) - 0.5), (0, up[-1]), say("week from"),
        [Tick(float(one), date_text(table["week"].iloc[one])) for one in shown],
        [Tick(one, f"{formatted(100 * one, '.3g')}%") for one in up],
    )  # fmt: skip
    parts += [
        f'<path d="{axes.line(place, table["predicted_rate"])}" stroke="{ORANGE}" stroke-width="2" '
        'stroke-dasharray="6 4" fill="none"/>',
        f'<path d="{axes.line(place, table["observed_rate"])}" stroke="{BLUE}" stroke-width="2" fill="none"/>',
    ]
    for at, row in zip(place, table.itertuples(), strict=True):
        (x,), (y,) = axes.places([at], [row.observed_rate])
        words = say(
            "{week}: {observed} of {n}, predicted {predicted}", week=date_text(row.week),
            observed=share_text(row.observed_rate), n=formatted(row.n_sends), predicted=share_text(row.predicted_rate),
        )  # fmt: skip
        parts.append(
            f'<path d="{axes.line([at, at], [row.low, row.high])}" stroke="{BLUE}" stroke-width="1.6"/>'
            f'<g><circle cx="{x:.1f}" cy="{y:.1f}" r="3.5" fill="{BLUE}"/><title>{words}</title></g>'
        )
    return _closed(axes, title, parts)


def reliability_words(table: pd.DataFrame) -> tuple[str, str]:
    """The title and the subtitle of a `Watch.reliability`."""
    within = (table["low"] <= table["predicted_rate"]) & (table["predicted_rate"] <= table["high"])
    return (
        say("In {n} of {of} weeks answers came as predicted", n=int(within.sum()), of=len(table)),
        say(
            "share of sends answered with its interval; dashed: predicted; n = {n} sends",
            n=formatted(int(table["n_sends"].sum())),
        ),
    )
