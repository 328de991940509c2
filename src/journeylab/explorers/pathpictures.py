"""One path as static SVG: a row for each visit with its reason, and lines of sends and events below."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

import numpy as np
import pandas as pd

from journeylab.language import date_text, say
from journeylab.svgaxes import BLUE, ORANGE, Axes, Tick, drawn, pointed_at

if TYPE_CHECKING:
    from .steps import EntryPath

__all__ = ["path_svg"]

_WIDTH, _ROW, _MOST_ROWS = 760, 26, 40
_LETTER = 6.6


def path_svg(path: EntryPath, title: str) -> str:
    """Visits as bars from when they began to when they ended, and the contact's events, along one line of time."""
    zone = ZoneInfo(path.timezone)
    steps = path.steps.head(_MOST_ROWS)
    kinds = list(dict.fromkeys(path.events["event"]))
    labels = [*steps["node"], *kinds]
    left = min(190.0, 24 + 7 * max(len(one) for one in labels))
    begun = [one.timestamp() for one in steps["arrived_at"]]
    ended = [one.timestamp() if one == one else np.nan for one in steps["left_at"]]
    instants = [one.timestamp() for one in path.events["occurred_at"]]
    low = min([*begun, *instants])
    high = max([*begun, *instants, *(one for one in ended if one == one)])
    high = high if high > low else low + 1
    n_rows = len(steps) + len(kinds)
    axes = Axes((low, high), (0, 1), left, 6, _WIDTH - left - 50, _ROW * n_rows + 4.0)
    days = [Tick(one, date_text(pd.Timestamp(one, unit="s", tz=zone).date())) for one in np.linspace(low, high, 5)]
    parts = list(axes.grid(say("local time, {timezone}", timezone=path.timezone), days, []))
    for place, (row, start, end) in enumerate(zip(steps.itertuples(), begun, ended, strict=True)):
        y = axes.top + _ROW * place + _ROW / 2
        a, b = axes.places([start, end if end == end else high], [0, 0])[0]
        style = f'fill="{BLUE}"' if end == end else f'fill="{BLUE}" fill-opacity=".45"'
        bar = f'<rect x="{a:.1f}" y="{y - 6:.1f}" width="{max(4.0, b - a):.1f}" height="12" rx="3" {style}/>'
        parts.append(_label(left, y, row.node))
        parts.append(pointed_at(bar, f"{row.node}, {row.arrived_local}: {row.why}"))
        parts.append(_reason(row.why, a, max(b, a + 4), y, left))
    for place, kind in enumerate(kinds, len(steps)):
        y = axes.top + _ROW * place + _ROW / 2
        parts.append(_label(left, y, kind))
        parts.append(f'<path d="M{left:.0f} {y:.0f}h{axes.width:.0f}" stroke="currentColor" stroke-opacity=".16"/>')
        for at, one, local in zip(instants, path.events["event"], path.events["occurred_local"], strict=True):
            if one == kind:
                x = float(axes.places(at, 0)[0])
                dot = f'<circle cx="{x:.1f}" cy="{y:.0f}" r="4.5" fill="{ORANGE}" fill-opacity=".9"/>'
                parts.append(pointed_at(dot, f"{kind}, {local}"))
    return drawn(_WIDTH, axes.top + axes.height + 44, title, parts)


def _label(left: float, y: float, text: str) -> str:
    return f'<text x="{left - 8:.0f}" y="{y + 4:.0f}" text-anchor="end">{escape(text)}</text>'


def _reason(why: str, start: float, end: float, y: float, left: float) -> str:
    """The reason beside its bar, on the side with more room, cut to it."""
    is_right = _WIDTH - end >= start - left
    room = int((_WIDTH - end - 8 if is_right else start - left - 8) / _LETTER)
    if room < 8:
        return ""
    text = why if len(why) <= room else why[: room - 1] + "…"
    x, anchor = (end + 6, "start") if is_right else (start - 6, "end")
    return f'<text x="{x:.1f}" y="{y + 4:.0f}" text-anchor="{anchor}" font-size="11.5">{escape(text)}</text>'
