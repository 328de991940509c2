"""The geometry of the report's charts, in pixels: the time to convert, and which way visits went over time.

Templates draw them as SVG; each has its numbers beside it as a table.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from math import ceil, floor, log10
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pandas as pd

from .durations import duration_text, length_text
from .journey import Journey
from .language import count_text, date_text, formatted
from .visits import flow

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["FlowPlot", "curve_plot", "flow_plots"]

_DAY = timedelta(days=1)
_CURVE_POINTS = 160
_PERIODS = tuple(timedelta(days=days) for days in (1, 7, 28, 91, 364))
_MOST_PERIODS = 32


class Plot(NamedTuple):
    """Where a chart's axes are."""

    left: int = 52
    top: int = 12
    width: int = 640
    height: int = 220


class FlowPlot(NamedTuple):
    """Which way the visits of one node went over time.

    `lines` has the path of each branch; `rows` has the periods, each with the number of visits by branch as text.
    `across` and `up` are the ticks of the axes, as (text, place).
    """

    plot: Plot
    node: str
    every: str
    branches: list[str]
    lines: list[str]
    across: list[tuple[str, float]]
    up: list[tuple[str, float]]
    rows: list[tuple[str, list[str]]]


def curve_plot(curve: pd.DataFrame, smallest: int) -> dict[str, object] | None:
    """The time to convert as the geometry of a chart; without the end that few people make up."""
    plot = Plot()
    seen = curve[curve["n_at_risk"] >= smallest]
    if len(seen) < 2:
        return None
    days = (seen["after"] / _DAY).to_numpy()
    # A long curve is drawn at a grid of times; between two of them it moves less than a line is thick.
    places = np.unique(np.searchsorted(days, np.linspace(0, days[-1], _CURVE_POINTS)))
    share, low, high = (
        100 * seen[column].fillna(seen["reached_share"]).to_numpy()[places]
        for column in ("reached_share", "low", "high")
    )
    across, up = _ticks(float(days[-1])), _ticks(float(high.max()))
    x = plot.left + plot.width * days[places] / days[-1]
    line, bottom, top = (plot.top + plot.height * (1 - values / up[-1]) for values in (share, low, high))
    back = "".join(f"V{y:.1f}H{at:.1f}" for at, y in zip(x[::-1], bottom[::-1], strict=True))
    return {
        "plot": plot,
        "line": _steps_path(x, line),
        "band": f"{_steps_path(x, top)}{back}z",
        "across": [
            (formatted(tick, "g"), plot.left + plot.width * tick / days[-1]) for tick in across if tick <= days[-1]
        ],
        "up": [(f"{formatted(tick, 'g')}%", plot.top + plot.height * (1 - tick / up[-1])) for tick in up],
    }


def _steps_path(x: NDArray[np.float64], y: NDArray[np.float64]) -> str:
    """A line that keeps its height up to the next point and moves there at once."""
    return f"M{x[0]:.1f} {y[0]:.1f}" + "".join(f"H{at:.1f}V{to:.1f}" for at, to in zip(x[1:], y[1:], strict=True))


def _ticks(most: float) -> list[float]:
    """About five round numbers from 0 to the first that is not less than `most`.

    >>> _ticks(23.0)
    [0.0, 5.0, 10.0, 15.0, 20.0, 25.0]
    """
    if most <= 0:
        return [0.0, 1.0]
    magnitude = 10.0 ** floor(log10(most / 5))
    step = next(magnitude * factor for factor in (1, 2, 2.5, 5, 10) if magnitude * factor >= most / 5)
    return [round(step * number, 10) for number in range(ceil(most / step) + 1)]


def flow_plots(journey: Journey, visits: pd.DataFrame, smallest: int) -> list[FlowPlot]:
    """A chart for each node that visits left by more than one branch, in the order of the definition.

    A branch that fewer than `smallest` visits took is left out; a period with fewer is a gap in its line.
    """
    left_at = visits["left_at"].dropna()
    if left_at.empty:
        return []
    span = left_at.max() - left_at.min()
    every = next((one for one in _PERIODS if span <= one * _MOST_PERIODS), _PERIODS[-1])
    taken = flow(visits, duration_text(every))
    names = {str(node) for node in taken["node"].unique()}
    own = [name for name in journey.nodes if name in names]
    return [
        made
        for name in [*own, *sorted(names - {*own})]
        if (made := _flow_plot(name, taken[taken["node"] == name], every, smallest)) is not None
    ]


def _flow_plot(node: str, taken: pd.DataFrame, every: timedelta, smallest: int) -> FlowPlot | None:
    totals = taken.groupby("branch", observed=True, sort=False)["n_visits"].sum().sort_values(ascending=False)
    branches = [str(branch) for branch, n in totals.items() if n >= smallest]
    if len(branches) < 2:
        return None
    table = taken.pivot_table(index="period_at", columns="branch", values="n_visits", aggfunc="sum", observed=True)
    periods = pd.date_range(table.index.min(), table.index.max(), freq=every, unit="us")
    table = table.reindex(index=periods, columns=branches).fillna(0).astype(int)
    plot = Plot(height=130)
    up = _ticks(float(table.to_numpy().max()))
    x = plot.left + plot.width * (np.arange(len(periods)) + 0.5) / len(periods)
    dates = [date_text(at) for at in periods]
    shown = sorted({0, len(dates) // 2, len(dates) - 1})
    return FlowPlot(
        plot=plot,
        node=node,
        every=length_text(every),
        branches=branches,
        lines=["".join(_pieces(x, table[branch].to_numpy(), plot, up[-1], smallest)) for branch in branches],
        across=[(dates[place], float(x[place])) for place in shown],
        up=[(formatted(tick, ",g"), plot.top + plot.height * (1 - tick / up[-1])) for tick in up],
        rows=[
            (date, [count_text(int(n), smallest) for n in numbers])
            for date, numbers in zip(dates, table.to_numpy(), strict=True)
        ],
    )


def _pieces(x: NDArray[np.float64], n: NDArray[np.int64], plot: Plot, most: float, smallest: int) -> Iterator[str]:
    """A line through the numbers that may be shown, broken where one may not."""
    is_drawn = False
    for at, number in zip(x, n, strict=True):
        is_hidden = 0 < number < smallest
        if not is_hidden:
            y = plot.top + plot.height * (1 - number / most)
            yield f"L{at:.1f} {y:.1f}" if is_drawn else f"M{at:.1f} {y:.1f}h0"
        is_drawn = not is_hidden
