"""Axes of static SVG charts: where values are, round ticks, titles that wrap, and words on what is pointed at.

Text has the colour of the page that a chart stands on, so that it reads on light and on dark ones. No scripts.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from html import escape
from math import ceil, floor, log10
from textwrap import wrap
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["BLUE", "ORANGE", "Axes", "Tick", "drawn", "head", "hovers", "pointed_at", "text_width", "ticks"]

BLUE: Final = "#1f6fb2"
ORANGE: Final = "#d97a00"

_FONT = 'font-family="system-ui,-apple-system,Segoe UI,Roboto,sans-serif" font-size="12" fill="currentColor"'
_LETTER: Final = 7.0
"""Pixels of a letter of 12 px in a wide font, so that text is broken before it leaves the drawing."""
_BOLD_LETTER: Final = 10.4
_MOST_HOVERS: Final = 60


class Tick(NamedTuple):
    """A value on an axis and its label."""

    value: float
    text: str


def text_width(text: str) -> float:
    """About how many pixels a text of 12 px takes."""
    return _LETTER * len(text)


def head(width: float, title: str, subtitle: str) -> tuple[str, float]:
    """The titles of a drawing, broken into lines, and how far down they reach (pixels)."""
    parts, y = [], 0.0
    bold, pale = 'font-size="15" font-weight="600"', 'fill-opacity=".75"'
    for text, size, letter, style in ((title, 15, _BOLD_LETTER, bold), (subtitle, 12, _LETTER, pale)):
        for line in wrap(text, max(20, int(width / letter))):
            y += size + 4
            parts.append(f'<text x="0" y="{y - 3:.0f}" {style}>{escape(line)}</text>')
    return "".join(parts), y + 8


def drawn(width: float, height: float, title: str, parts: Sequence[str]) -> str:
    """The whole drawing, named by its title."""
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" role="img" width="{width:.0f}" height="{height:.0f}" '
        f'viewBox="0 0 {width:.0f} {height:.0f}" style="max-width:100%;height:auto" {_FONT}>'
        f"<title>{escape(title)}</title>{''.join(parts)}</svg>"
    )


def ticks(low: float, high: float, n: int = 4) -> list[float]:
    """About `n` round steps from a number that is not above `low` to one that is not below `high`.

    >>> ticks(-0.02, 0.11)
    [-0.05, 0.0, 0.05, 0.1, 0.15]
    """
    if not high > low:
        low, high = low - (abs(low) or 1) / 10, high + (abs(high) or 1) / 10
    magnitude = 10.0 ** floor(log10((high - low) / n))
    step = next(magnitude * one for one in (1, 2, 2.5, 5, 10) if magnitude * one >= (high - low) / n * (1 - 1e-9))
    places = max(0, 2 - floor(log10(step)))
    return [round(step * k, places) + 0.0 for k in range(floor(low / step + 1e-9), ceil(high / step - 1e-9) + 1)]


class Axes(NamedTuple):
    """Where a chart's axes are (pixels) and what they span."""

    x: tuple[float, float]
    y: tuple[float, float]
    left: float
    top: float
    width: float
    height: float

    def places(self, x: Any, y: Any) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Values as pixels; those beyond the axes are at their ends."""
        inside = np.clip(np.asarray(x, float), *self.x), np.clip(np.asarray(y, float), *self.y)
        across = self.left + self.width * (inside[0] - self.x[0]) / (self.x[1] - self.x[0])
        down = self.top + self.height * (1 - (inside[1] - self.y[0]) / (self.y[1] - self.y[0]))
        return across, down

    def line(self, x: Any, y: Any) -> str:
        """The path of a line; missing values are left out."""
        points = [(a, b) for a, b in zip(*self.places(x, y), strict=True) if a == a and b == b]
        return "M" + "L".join(f"{a:.1f} {b:.1f}" for a, b in points) if points else ""

    def steps(self, x: Any, y: Any) -> str:
        """The path of a line that keeps each value until the next."""
        x, y = np.repeat(np.asarray(x, float), 2)[1:], np.repeat(np.asarray(y, float), 2)[:-1]
        return self.line(x, y)

    def band(self, x: Any, low: Any, high: Any) -> str:
        """The path of an area between two lines."""
        x, low, high = (np.asarray(one, float) for one in (x, low, high))
        known = ~(np.isnan(low) | np.isnan(high))
        if not known.any():
            return ""
        back = self.line(x[known][::-1], low[known][::-1])
        return f"{self.line(x[known], high[known])}L{back[1:]}z"

    def grid(self, across: str, x_ticks: Sequence[Tick], y_ticks: Sequence[Tick]) -> Iterator[str]:
        """Grid lines, tick labels and the name of the horizontal axis; the line at 0 is the stronger one."""
        bottom = self.top + self.height
        for value, text in y_ticks:
            y = float(self.places(self.x[0], value)[1])
            yield (
                f'<path d="M{self.left:.1f} {y:.1f}h{self.width:.1f}" stroke="currentColor" '
                f'stroke-opacity="{".55" if value == 0 else ".16"}"/>'
                f'<text x="{self.left - 8:.1f}" y="{y + 4:.1f}" text-anchor="end">{escape(text)}</text>'
            )
        for value, text in x_ticks:
            x = float(self.places(value, self.y[0])[0])
            yield f'<text x="{x:.1f}" y="{bottom + 17:.1f}" text-anchor="middle">{escape(text)}</text>'
        yield (f'<text x="{self.left + self.width / 2:.1f}" y="{bottom + 35:.1f}" text-anchor="middle" '
               f'fill-opacity=".75">{escape(across)}</text>')  # fmt: skip

    def upright(self, value: float, text: str, *, colour: str = "currentColor") -> str:
        """A dashed line at a value of the horizontal axis with its label, which stays within the axes."""
        x = float(self.places(value, self.y[0])[0])
        is_right = x - self.left > self.width / 2
        return (
            f'<path d="M{x:.1f} {self.top:.1f}v{self.height:.1f}" stroke="{colour}" stroke-dasharray="5 4"/>'
            f'<text x="{x + (-5 if is_right else 5):.1f}" y="{self.top + 12:.1f}" '
            f'text-anchor="{"end" if is_right else "start"}">{escape(text)}</text>'
        )

    def level(self, value: float, text: str, *, colour: str = "currentColor") -> str:
        """A dashed line at a value of the vertical axis with its label at the right."""
        y = float(self.places(self.x[0], value)[1])
        return (
            f'<path d="M{self.left:.1f} {y:.1f}h{self.width:.1f}" stroke="{colour}" stroke-width="1.5" '
            f'stroke-dasharray="5 4"/><text x="{self.left + self.width:.1f}" y="{y - 5:.1f}" text-anchor="end">'
            f"{escape(text)}</text>"
        )


def pointed_at(shape: str, words: str) -> str:
    """A shape that says something when it is pointed at."""
    return f"<g>{shape}<title>{escape(words)}</title></g>"


def hovers(axes: Axes, x: Any, y: Any, words: Sequence[str]) -> Iterator[str]:
    """Places along a line that say their numbers when they are pointed at, about 60 of them at the most."""
    across, down = axes.places(x, y)
    for place in dict.fromkeys(np.linspace(0, len(words) - 1, min(len(words), _MOST_HOVERS)).astype(int).tolist()):
        if down[place] == down[place]:
            circle = f'<circle cx="{across[place]:.1f}" cy="{down[place]:.1f}" r="6" fill="transparent"/>'
            yield pointed_at(circle, words[place])
