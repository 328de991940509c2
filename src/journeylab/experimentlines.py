"""Experiments over time, weeks and contacts as static SVG: no scripts, readable in print and on dark pages.

Each drawing takes the table whose numbers it shows, and says them where it is pointed at.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from .experimentplots import Words, effect_text, number_text
from .experimentwords import (
    clear_part,
    novelty_words,
    power_words,
    ratio_words,
    settled_part,
    shares_words,
    uplift_words,
    watch_words,
)
from .language import formatted, instant_text, plural, say
from .svgaxes import BLUE, ORANGE, Axes, Tick, drawn, head, hovers, pointed_at, text_width, ticks
from .visits import require_columns

if TYPE_CHECKING:
    import pandas as pd

    from .experiments.heterogeneity.ranking import Rate

__all__ = ["novelty_svg", "power_svg", "ratio_svg", "shares_svg", "uplift_svg", "watch_svg"]

_LEFT: Final = 70
_WIDTH: Final = 640
_LEAST_P: Final = 1e-12


def watch_svg(path: pd.DataFrame, planned_n: int | None = None) -> str:
    """The effect as units came in with the interval that holds whenever one looks; from `Watch.path`.

    Args:
        path: the table; each metric and arm has a scale of its own.
        planned_n: the units with which the experiment is over.

    Raises:
        DataError: when a column is missing.
    """
    names = ["looked_at", "n_units", "metric", "arm", "effect", "low", "high", "fixed_low", "fixed_high"]
    require_columns(path, names, "path")
    words = watch_words(path, planned_n)
    top, down = head(_LEFT + _WIDTH, *words)
    parts = [top]
    for (metric, arm), one in path.groupby(["metric", "arm"], sort=False):
        body, down = _watched(one, f"{metric}: {arm}", planned_n, down)
        parts += body
    return drawn(_LEFT + _WIDTH + 24, down, words.title, parts)


def _watched(path: pd.DataFrame, heading: str, planned_n: int | None, down: float) -> tuple[list[str], float]:
    low, high = clear_part(path)
    up = ticks(low, high)
    n = path["n_units"].to_numpy(float)
    most = max(float(n[-1]), float(planned_n or 0))
    right = ticks(0, most)
    axes = Axes((0, max(right[-1] if right[-1] <= 1.1 * most else most * 1.02, 1)), (up[0], up[-1]), _LEFT, down + 24,
                _WIDTH, 200)  # fmt: skip
    words = [
        say(
            "{n} units, {at}: {effect}; a single look: {low} to {high}", n=formatted(row.n_units),
            at=instant_text(row.looked_at), effect=effect_text(row.effect, row.low, row.high),
            low=number_text(row.fixed_low), high=number_text(row.fixed_high),
        )
        for row in path.itertuples()
    ]  # fmt: skip
    parts = [
        f'<text x="0" y="{down + 14:.1f}" font-weight="600">{escape(heading)}</text>',
        *axes.grid(_in_order(), _unit_ticks(axes), [Tick(one, number_text(one, "+.3g")) for one in up]),
        f'<path d="{axes.band(n, path["low"], path["high"])}" fill="{BLUE}" fill-opacity=".2"/>',
    ]  # fmt: skip
    thin = 'fill="none" stroke="currentColor" stroke-opacity=".6" stroke-dasharray="3 3"'
    parts += [f'<path d="{axes.line(n, path[name])}" {thin}/>' for name in ("fixed_low", "fixed_high")]
    parts.append(f'<path d="{axes.line(n, path["effect"])}" fill="none" stroke="{BLUE}" stroke-width="2.5"/>')
    if planned_n is not None:
        parts.append(axes.upright(planned_n, say("planned end")))
    beyond = path[(path["low"] > 0) | (path["high"] < 0)]
    if len(beyond):
        x, y = axes.places(beyond["n_units"].iloc[0], beyond["effect"].iloc[0])
        circle = (
            f'<circle cx="{float(x):.1f}" cy="{float(y):.1f}" r="6" fill="none" stroke="{ORANGE}" stroke-width="2.5"/>'
        )
        parts.append(circle)
    parts += hovers(axes, n, path["effect"], words)
    return parts, down + 24 + 200 + 56


def ratio_svg(path: pd.DataFrame, alpha: float) -> str:
    """The sequential check of the arms' shares as units came in, on a log scale; from `SampleRatio.path`.

    Args:
        path: the table.
        alpha: below it the check fails.

    Raises:
        DataError: when a column is missing.
    """
    require_columns(path, ["exposed_at", "n_units", "p_value"], "path")
    if path.empty:
        return ""
    words = ratio_words(path, alpha)
    p_values = np.log10(np.maximum(path["p_value"].to_numpy(float), _LEAST_P))
    bottom = min(float(math.floor(p_values.min())), math.floor(math.log10(alpha)) - 1)
    axes, parts, down = _over_units(path, words, (bottom, 0.0), 220)
    step = max(1, round(-bottom / 5))
    powers = range(0, int(bottom) - 1, -step)
    n = path["n_units"].to_numpy(float)
    parts += axes.grid(_in_order(), _unit_ticks(axes), [Tick(one, _p_tick(one)) for one in powers])
    parts.append(axes.level(math.log10(alpha), f"alpha {formatted(alpha, 'g')}", colour=ORANGE))
    parts.append(f'<path d="{axes.steps(n, p_values)}" fill="none" stroke="{BLUE}" stroke-width="2.5"/>')
    failed = path[path["p_value"] < alpha]
    if len(failed):
        first = failed.iloc[0]
        is_timed = not failed["exposed_at"].isna().any()
        # The title says that it is UTC.
        at = instant_text(first["exposed_at"]).removesuffix(" UTC") if is_timed else _units(first["n_units"])
        parts.append(axes.upright(float(first["n_units"]), say("failed: {at}", at=at), colour=ORANGE))
    parts += hovers(axes, n, p_values, [_ratio_words(row) for row in path.itertuples()])
    return drawn(_LEFT + _WIDTH + 24, down, words.title, parts)


def _in_order() -> str:
    return say("units, in the order of their exposure")


def _units(n: float) -> str:
    return plural("{n} unit", "{n} units", int(n))


def _ratio_words(row: Any) -> str:
    words = f"{_units(row.n_units)}: p = {formatted(row.p_value, '.3g')}"
    return words if row.exposed_at != row.exposed_at else f"{words}, {instant_text(row.exposed_at)}"


def _p_tick(power: int) -> str:
    text = "1" if power == 0 else formatted(10.0**power, "g")
    return f"\N{LESS-THAN OR EQUAL TO}{text}" if 10.0**power <= _LEAST_P else text


def _over_units(
    table: pd.DataFrame, words: Words, y: tuple[float, float], height: float
) -> tuple[Axes, list[str], float]:
    """Axes over the units that came in, below the words."""
    top, down = head(_LEFT + _WIDTH, *words)
    axes = Axes((0, max(float(table["n_units"].max()), 1)), y, _LEFT, down + 6, _WIDTH, height)
    return axes, [top], down + height + 56


def _unit_ticks(axes: Axes) -> list[Tick]:
    return [Tick(one, formatted(one, ",.0f")) for one in ticks(0, axes.x[1]) if one <= axes.x[1]]


def shares_svg(shares: pd.DataFrame) -> str:
    """How far each arm's share lies from what it should be as units came in; from `SampleRatio.shares`.

    Raises:
        DataError: when a column is missing.
    """
    require_columns(shares, ["n_units", "arm", "n_assigned", "share", "expected_share"], "shares")
    if shares.empty:
        return ""
    words = shares_words(shares)
    away = 100 * (shares["share"] - shares["expected_share"])
    most = settled_part(shares)
    up = ticks(-most, most)
    arms = shares["arm"].unique()
    height = 90.0
    top, down = head(_LEFT + _WIDTH, *words)
    parts = [top]
    for arm in arms:
        one = shares[shares["arm"] == arm]
        n, here = one["n_units"].to_numpy(float), away[one.index].to_numpy(float)
        axes = Axes((0, max(float(n[-1]), 1)), (up[0], up[-1]), _LEFT, down + 28, _WIDTH, height)
        last = one.iloc[-1]
        parts.append(
            f'<text x="0" y="{down + 14:.1f}"><tspan font-weight="600">{escape(str(arm))}</tspan>: '
            f"{_share_words(last['share'], last['expected_share'])}</text>"
        )
        is_last = arm == arms[-1]
        beside = [Tick(one, number_text(one, "+.3g")) for one in up if one in (up[0], 0.0, up[-1])]
        parts += axes.grid(_in_order() if is_last else "", _unit_ticks(axes) if is_last else [], beside)
        parts.append(f'<path d="{axes.line(n, here)}" fill="none" stroke="{BLUE}" stroke-width="2"/>')
        parts += hovers(axes, n, here, [
            f"{_units(row.n_units)}: {formatted(row.n_assigned)}, {_share_words(row.share, row.expected_share)}"
            for row in one.itertuples()
        ])  # fmt: skip
        down += 28 + height + 12
    return drawn(_LEFT + _WIDTH + 24, down + 36, words.title, parts)


def _share_words(share: float, expected: float) -> str:
    return say("{share}, should be {expected}", share=formatted(share, ".2%"), expected=formatted(expected, ".2%"))


def uplift_svg(curve: pd.DataFrame, autoc: Rate, qini: Rate) -> str:
    """The effect on the first contacts of a ranking, by how many there are, with its band.

    Args:
        curve: as `experiments.heterogeneity.ranking.uplift_curve` has it.
        autoc: the ranking's rate, by which the title goes.
        qini: the Qini-weighted one.

    Raises:
        DataError: when a column is missing.
    """
    require_columns(curve, ["share", "uplift", "low", "high", "random", "random_low", "random_high"], "curve")
    words = uplift_words(autoc, qini)
    top, down = head(_LEFT + _WIDTH, *words)
    widest = curve[curve["high"] - curve["low"] <= 4 * float((curve["high"] - curve["low"]).iloc[-1])]
    ends = curve if widest.empty else widest
    up = ticks(min(0.0, float(ends["low"].min())), max(0.0, float(ends["high"].max())))
    axes = Axes((0, 1), (up[0], up[-1]), _LEFT, down + 6, _WIDTH, 240)
    share = curve["share"].to_numpy(float)
    parts = [
        top,
        *axes.grid(say("share of contacts, those ranked first"),
                   [Tick(one / 4, formatted(one / 4, ".0%")) for one in range(5)],
                   [Tick(one, number_text(one, "+.3g")) for one in up]),
        f'<path d="{axes.band(share, curve["low"], curve["high"])}" fill="{BLUE}" fill-opacity=".2"/>',
    ]  # fmt: skip
    for name, dash in (("random_low", "2 4"), ("random_high", "2 4"), ("random", "6 4")):
        parts.append(f'<path d="{axes.line(share, curve[name])}" fill="none" stroke="{ORANGE}" '
                     f'stroke-width="{2 if name == "random" else 1.2}" stroke-dasharray="{dash}"/>')  # fmt: skip
    parts.append(f'<path d="{axes.line(share, curve["uplift"])}" fill="none" stroke="{BLUE}" stroke-width="2.5"/>')
    parts += hovers(axes, share, curve["uplift"], [
        say("first {share}: {effect}; at random {random}", share=formatted(row.share, ".0%"),
            effect=effect_text(row.uplift, row.low, row.high), random=number_text(row.random))
        for row in curve.itertuples()
    ])  # fmt: skip
    y = down + 6 + 240 + 58
    parts.append(_line_legend([
        (f'stroke="{BLUE}" stroke-width="2.5"', say("effect on them, with the band of the whole curve")),
        (f'stroke="{ORANGE}" stroke-width="2" stroke-dasharray="6 4"', say("at random (dots: by chance)")),
    ], y))  # fmt: skip
    return drawn(_LEFT + _WIDTH + 24, y + 10, words.title, parts)


def _line_legend(lines: Sequence[tuple[str, str]], y: float) -> str:
    parts, x = [], float(_LEFT)
    for style, text in lines:
        parts.append(
            f'<path d="M{x:.1f} {y - 4:.1f}h26" fill="none" {style}/><text x="{x + 33:.1f}" y="{y:.1f}">{text}</text>'
        )
        x += 56 + text_width(text)
    return "".join(parts)


def power_svg(table: pd.DataFrame, metric: str, planned_weeks: int, minimum_effect: float | None = None) -> str:
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
    if table.empty:
        return ""
    words = power_words(table, metric, planned_weeks, minimum_effect)
    top, down = head(_LEFT + _WIDTH, *words)
    effect = table["minimum_effect"].to_numpy(float)
    up = ticks(0.0, max(float(effect.max()), minimum_effect or 0.0))
    weeks = table["week"].to_numpy(float)
    axes = Axes((0, float(weeks[-1])), (0, up[-1]), _LEFT, down + 6, _WIDTH, 220)
    parts = [
        top,
        *axes.grid(say("weeks of exposures, the window to mature not counted"),
                   [Tick(one, f"{one:.0f}") for one in ticks(0, weeks[-1]) if one == round(one) and one <= weeks[-1]],
                   [Tick(one, formatted(one, ".3g")) for one in up]),
        f'<path d="{axes.line(weeks, effect)}" fill="none" stroke="{BLUE}" stroke-width="2.5"/>',
        axes.upright(planned_weeks, say("planned")),
    ]  # fmt: skip
    if minimum_effect is not None:
        wanted = say("wanted: {effect}", effect=formatted(minimum_effect, ".4g"))
        parts.append(axes.level(minimum_effect, wanted, colour=ORANGE))
    parts += hovers(axes, weeks, effect, [
        plural("{n} week, {units} units: {effect}", "{n} weeks, {units} units: {effect}", row.week,
               units=formatted(row.n_units, ",.0f"), effect=formatted(row.minimum_effect, ".3g"))
        for row in table.itertuples()
    ])  # fmt: skip
    return drawn(_LEFT + _WIDTH + 24, down + 6 + 220 + 50, words.title, parts)


def novelty_svg(table: pd.DataFrame, trend: pd.DataFrame, alpha: float = 0.05) -> str:
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
    if table.empty:
        return ""
    words = novelty_words(table, trend, alpha)
    top, down = head(_LEFT + _WIDTH, *words)
    parts = [top]
    for (metric, arm), one in table.groupby(["metric", "arm"], sort=False):
        up = ticks(float(np.nanmin([0.0, one["low"].min()])), float(np.nanmax([0.0, one["high"].max()])))
        last = float(one["to_day"].iloc[-1])
        axes = Axes((0, last), (up[0], up[-1]), _LEFT, down + 24, _WIDTH, 160)
        days = [Tick(day, formatted(day, ".3g")) for day in ticks(0, last) if day <= last]
        parts.append(f'<text x="0" y="{down + 14:.1f}" font-weight="600">{escape(f"{metric}: {arm}")}</text>')
        parts += axes.grid(
            say("days since the exposure"), days, [Tick(value, number_text(value, "+.3g")) for value in up]
        )
        for row in one.itertuples():
            ends = [row.from_day, row.to_day]
            shapes = (
                f'<path d="{axes.band(ends, [row.low] * 2, [row.high] * 2)}" fill="{BLUE}" fill-opacity=".2"/>'
                f'<path d="{axes.line(ends, [row.effect] * 2)}" stroke="{BLUE}" stroke-width="2.5"/>'
            )
            said = say(
                "days {start} to {end}: {effect}", start=formatted(row.from_day, ".3g"),
                end=formatted(row.to_day, ".3g"), effect=effect_text(row.effect, row.low, row.high),
            )  # fmt: skip
            parts.append(pointed_at(shapes, said))
        down += 24 + 160 + 52
    return drawn(_LEFT + _WIDTH + 24, down, words.title, parts)
