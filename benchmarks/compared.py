"""Works side by side, done in turn so that all meet one weather, and told as ratios with their spread."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

__all__ = ["Compared", "compare", "of_rates", "seconds", "shown"]


class Compared(NamedTuple):
    """A work of ours and an alternative that does the same.

    Attributes:
        what: the work.
        size: on how much.
        seconds: the median of ours.
        alternative: what else does it.
        ratios: of each turn, how many times as long as ours the alternative took.
    """

    what: str
    size: str
    seconds: float
    alternative: str
    ratios: Sequence[float]

    @property
    def ratio(self) -> float:
        """The median ratio."""
        return statistics.median(self.ratios)


def seconds(n_runs: int, *works: Callable[[], Any]) -> list[list[float]]:
    """The seconds of each work in each turn, after one turn that does not count."""
    taken: list[list[float]] = [[] for _ in works]
    for turn in range(n_runs + 1):
        for work, of in zip(works, taken, strict=True):
            start = time.perf_counter()
            work()
            if turn:
                of.append(time.perf_counter() - start)
    return taken


def compare(
    what: str, size: str, n_runs: int, ours: Callable[[], Any], others: Mapping[str, Callable[[], Any]]
) -> list[Compared]:
    """Our work against each of the others."""
    mine, *rest = seconds(n_runs, ours, *others.values())
    return [
        Compared(what, size, statistics.median(mine), name, [b / a for a, b in zip(mine, theirs, strict=True)])
        for name, theirs in zip(others, rest, strict=True)
    ]


def of_rates(
    what: str, size: str, n: int, ours: Sequence[float], others: Mapping[str, Sequence[float]]
) -> list[Compared]:
    """The same where rates of `n` were measured, in works a second."""
    return [
        Compared(what, size, n / statistics.median(ours), name, [a / b for a, b in zip(ours, theirs, strict=True)])
        for name, theirs in others.items()
    ]


def shown(rows: Sequence[Compared]) -> str:
    """The comparisons as a table of Markdown: how long an alternative takes, as a multiple of ours, with its spread."""
    head = "| what | on | takes | alternative | takes times as long | from .. to |\n|---|---|---|---|---|---|"
    body = [
        f"| {one.what} | {one.size} | {_time(one.seconds)} | {one.alternative} | {_times(one.ratio)} "
        f"| {_times(min(one.ratios))} .. {_times(max(one.ratios))} |"
        for one in rows
    ]
    return "\n".join([head, *body])


def _time(value: float) -> str:
    for unit, size in (("s", 1.0), ("ms", 1e-3)):
        if value >= size:
            return f"{value / size:.3g} {unit}"
    return f"{value * 1e6:.3g} us"


def _times(value: float) -> str:
    return f"{value:.2f}" if value < 10 else f"{value:,.0f}"
