"""Segments as static SVG: sizes over time, combinations, what distinguishes one, and paths of some members."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from html import escape
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from journeylab.language import count_text, date_text, formatted, instant_text, list_text, say, share_text
from journeylab.svgaxes import BLUE, ORANGE, Axes, Tick, drawn, hovers, pointed_at, ticks

from .views import SMALLEST

if TYPE_CHECKING:
    from datetime import datetime

__all__ = ["MOST_COMBINATIONS", "MOST_CONTRASTS", "contrasts_svg", "overlap_svg", "paths_svg", "sizes_svg"]

MOST_COMBINATIONS = 15
MOST_CONTRASTS = 14
_WIDTH = 720
_COLOURS = (BLUE, ORANGE, "#2a8f5b", "#a64ac9", "#8a6d00", "#c2334d", "#0f8b8d", "#77818c")
_DASHES = ("", "7 4", "2 4", "9 3 2 3")
_ROW = 24


def _micros(at: Any) -> float:
    return float(pd.Timestamp(at).value // 1000)


def _day_ticks(low: float, high: float, n: int = 5) -> list[Tick]:
    """Days at even distances, each under its date."""
    days = np.unique(np.linspace(low, high, n) // 86_400_000_000).tolist()
    kept = [day for day in days if low <= day * 86_400_000_000 <= high]
    return [Tick(day * 86_400_000_000, date_text(pd.Timestamp(int(day), unit="D").to_pydatetime())) for day in kept]


def _legend(names: Sequence[tuple[str, str]], top: float, left: float = 0.0) -> tuple[list[str], float]:
    """Shapes with their names, in lines, and how far down they reach; a shape is drawn around (8, 0)."""
    parts, x, y = [], left, top + 8
    for name, shape in names:
        width = 34 + 7.2 * len(name)
        if x + width > _WIDTH and x > left:
            x, y = left, y + 20
        parts.append(f'<g transform="translate({x:.0f} {y:.0f})">{shape}<text x="26" y="4">{escape(name)}</text></g>')
        x += width
    return parts, y + 14


def sizes_svg(sizes: pd.DataFrame, title: str, as_of: datetime) -> str:
    """Sizes over time, a line for each segment; counts below ten are left out."""
    names = list(dict.fromkeys(sizes["segment"]))
    styles = {name: (_COLOURS[i % len(_COLOURS)], _DASHES[i % len(_DASHES)]) for i, name in enumerate(names)}
    parts, top = _legend(
        [(name, f'<path d="M0 0h20" stroke="{colour}" stroke-width="2.5" stroke-dasharray="{dash}"/>')
         for name, (colour, dash) in styles.items()], 0)  # fmt: skip
    at = sizes["as_of"].map(_micros).to_numpy(float)
    low, high = at.min(), max(at.max(), _micros(as_of))
    levels = ticks(0, max(1.0, float(sizes["n_contacts"].max())))
    axes = Axes((low, high if high > low else low + 1), (0, levels[-1]), 62, top + 8, _WIDTH - 104, 220)
    parts += axes.grid(say("as of (UTC)"), _day_ticks(low, high), [Tick(one, formatted(one, ",.0f")) for one in levels])
    parts.append(axes.upright(_micros(as_of), date_text(as_of)))
    for name, (colour, dash) in styles.items():
        mine = sizes["segment"] == name
        n = sizes.loc[mine, "n_contacts"].to_numpy(float)
        shown = np.where((n > 0) & (n < SMALLEST), np.nan, n)
        line = axes.line(at[mine], shown)
        parts.append(f'<path d="{line}" fill="none" stroke="{colour}" stroke-width="2.5" stroke-dasharray="{dash}"/>')
        words = [
            f"{name}, {instant_text(row.as_of)}: {count_text(int(row.n_contacts), SMALLEST)}"
            for row in sizes[mine].itertuples()
        ]
        parts += hovers(axes, at[mine], shown, words)
    return drawn(_WIDTH, top + 8 + 220 + 44, title, parts)


def overlap_svg(overlap: pd.DataFrame, title: str) -> str:
    """How many are in exactly each combination: a row of dots that says which, and a bar; after UpSet (Lex 2014)."""
    names = [one for one in overlap.columns if one != "n_contacts"]
    rows = overlap.head(MOST_COMBINATIONS)
    parts, left = [], 10.0
    top = 20.0 * len(names) + 10
    for i, name in enumerate(names):  # names stand as stairs above the columns of dots
        x, y = left + 22 * i, 14.0 + 20 * i
        parts.append(f'<text x="{x + 9:.0f}" y="{y}">{escape(name)}</text>'
                     f'<path d="M{x:.0f} {y - 4}V{top:.0f}" stroke="currentColor" stroke-opacity=".35"/>')  # fmt: skip
    start = left + 22 * len(names) + 14
    widest = max(1, int(rows["n_contacts"].max()))
    room = _WIDTH - start - 80
    for place, row in enumerate(rows.to_dict("records")):
        y = top + _ROW * place + _ROW / 2
        is_in = [bool(row[name]) for name in names]
        n = int(row["n_contacts"])
        there = list_text([name for name, one in zip(names, is_in, strict=True) if one])
        words = f"{there or say('none of them')}: {count_text(n, SMALLEST)}"
        dots = "".join(
            f'<circle cx="{left + 22 * i:.0f}" cy="{y:.0f}" r="6" '
            + (f'fill="{BLUE}"/>' if one else 'fill="none" stroke="currentColor" stroke-opacity=".35"/>')
            for i, one in enumerate(is_in)
        )
        length = 3.0 if n < SMALLEST else max(3.0, room * n / widest)
        bar = f'<rect x="{start:.0f}" y="{y - 8:.0f}" width="{length:.1f}" height="16" fill="{BLUE}"/>'
        parts.append(pointed_at(dots + bar, words))
        parts.append(f'<text x="{start + length + 7:.1f}" y="{y + 4:.0f}">{escape(count_text(n, SMALLEST))}</text>')
    return drawn(_WIDTH, top + _ROW * len(rows) + 6, title, parts)


def contrasts_svg(contrasts: pd.DataFrame, title: str, name: str) -> str:
    """The share of each value inside (dot) and outside (ring), each with its interval, greatest difference first."""
    inside_mark = f'<circle cx="10" cy="0" r="5" fill="{BLUE}"/>'
    outside_mark = f'<circle cx="10" cy="0" r="5" fill="none" stroke="{ORANGE}" stroke-width="2.5"/>'
    parts, top = _legend([(say("inside {name}", name=name), inside_mark), (say("all others"), outside_mark)], 0)
    rows = [
        row
        for row in contrasts.itertuples()
        if not (0 < row.n_inside < SMALLEST or 0 < row.n_outside < SMALLEST) and row.difference == row.difference
    ][:MOST_CONTRASTS]
    labels = [f"{row.attribute}: {row.value}" for row in rows]
    left = min(330.0, 16 + 7 * max((len(one) for one in labels), default=10))
    height = _ROW * max(1, len(rows))
    axes = Axes((0, 1), (0, 1), left, top + 6, _WIDTH - left - 30, height)
    parts += axes.grid(say("share of those inside, and of all others"),
                       [Tick(one, share_text(one)) for one in (0, 0.25, 0.5, 0.75, 1)], [])  # fmt: skip
    for place, (row, label) in enumerate(zip(rows, labels, strict=True)):
        y = axes.top + _ROW * place + _ROW / 2
        cut = label if 7 * len(label) < left else label[: int(left / 7) - 1] + "…"
        marks = "".join(_mark(axes, row, side, y + shift) for side, shift in (("outside", 4), ("inside", -4)))
        words = say(
            "{label}: {inside} inside, {outside} of all others; {difference} points ({low} to {high})",
            label=label, inside=share_text(row.inside_share), outside=share_text(row.outside_share),
            difference=formatted(100 * row.difference, "+.1f"), low=formatted(100 * row.low, "+.1f"),
            high=formatted(100 * row.high, "+.1f"),
        )  # fmt: skip
        parts.append(f'<text x="{left - 10:.0f}" y="{y + 4:.0f}" text-anchor="end">{escape(cut)}</text>')
        parts.append(pointed_at(marks, words))
    return drawn(_WIDTH, axes.top + height + 44, title, parts)


def _mark(axes: Axes, row: Any, side: str, y: float) -> str:
    low, share, high = (getattr(row, f"{side}_{one}") for one in ("low", "share", "high"))
    a, x, b = axes.places([low, share, high], [0, 0, 0])[0]
    is_inside = side == "inside"
    colour = BLUE if is_inside else ORANGE
    dot = f'fill="{BLUE}"' if is_inside else f'fill="none" stroke="{ORANGE}" stroke-width="2.5"'
    return (
        f'<path d="M{a:.1f} {y:.1f}H{b:.1f}" stroke="{colour}" stroke-width="2"/>'
        f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{4.5 if is_inside else 4}" {dot}/>'
    )


def paths_svg(paths: pd.DataFrame, title: str) -> str:
    """The last events of some contacts along one line of time, a row for each."""
    kinds = paths["event"].value_counts().index.tolist()
    styles = dict(zip(kinds, _shapes(), strict=False))
    other = '<circle r="3" fill="currentColor" fill-opacity=".5"/>'
    named = [(name, f'<g transform="translate(10 0)">{shape}</g>') for name, shape in styles.items()]
    if len(kinds) > len(styles):
        named.append((say("others"), f'<g transform="translate(10 0)">{other}</g>'))
    parts, top = _legend(named, 0)
    contacts = list(dict.fromkeys(paths["contact"]))
    at = paths["occurred_at"].map(_micros).to_numpy(float)
    low, high = at.min(), at.max()
    height = 34.0 * len(contacts)
    axes = Axes((low, high if high > low else low + 1), (0, 1), 92, top + 4, _WIDTH - 130, height)
    parts += axes.grid(say("time (UTC)"), _day_ticks(low, high), [])
    across, events, instants = (
        axes.places(at, np.zeros(len(at)))[0],
        paths["event"].tolist(),
        paths["occurred_at"].tolist(),
    )
    for place, contact in enumerate(contacts):
        y = axes.top + 34 * place + 17
        parts.append(f'<text x="0" y="{y + 4:.0f}">{escape(contact)}</text>')
        parts.append(f'<path d="M{axes.left} {y:.0f}h{axes.width}" stroke="currentColor" stroke-opacity=".2"/>')
        for k in np.flatnonzero(paths["contact"] == contact):
            shape = f'<g transform="translate({across[k]:.1f} {y:.1f})">{styles.get(events[k], other)}</g>'
            parts.append(pointed_at(shape, f"{events[k]}, {instant_text(instants[k])}"))
    return drawn(_WIDTH, axes.top + height + 44, title, parts)


def _shapes() -> Iterator[str]:
    """Marks that differ by shape as well as by colour."""
    forms = (
        '<circle r="5" {}/>', '<rect x="-4.5" y="-4.5" width="9" height="9" {}/>', '<path d="M0-6L6 5H-6z" {}/>',
        '<path d="M0-6L6 0L0 6L-6 0z" {}/>', '<path d="M0 6L6-5H-6z" {}/>',
    )  # fmt: skip
    for i, colour in enumerate(_COLOURS):
        yield forms[i % len(forms)].format(f'fill="{colour}" fill-opacity=".85"')
