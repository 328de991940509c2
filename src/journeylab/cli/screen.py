"""What commands share on the screen: JSON, aligned tables, and what is being done, on stderr."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from time import perf_counter
from typing import Any

import typer
from tqdm import tqdm

__all__ = ["Step", "announce_compiling", "show_json", "step", "table_lines"]


def show_json(data: Any) -> None:
    """Prints plain data as JSON."""
    typer.echo(json.dumps(data, indent=2, ensure_ascii=False, allow_nan=False))


def table_lines(head: Sequence[str], rows: Sequence[Sequence[str]], right: str = "") -> Iterator[str]:
    """The lines of an aligned table, indented by two; `right` names the columns whose cells stand on the right.

    >>> for line in table_lines(["node", "visits"], [["hello", "1,713"], ["read", "98"]], right="visits"):
    ...     print(line)
      node   visits
      hello   1,713
      read       98
    """
    widths = [max(len(row[i]) for row in (head, *rows)) for i in range(len(head))]
    for row in (head, *rows):
        cells = (
            cell.rjust(width) if name in right.split() else cell.ljust(width)
            for name, cell, width in zip(head, row, widths, strict=True)
        )
        yield "  " + "  ".join(cells).rstrip()


class Step:
    """One piece of long work: `progress` moves its bar, `done` says what came of it."""

    def __init__(self, doing: str) -> None:
        self.done = doing
        self._bar = tqdm(
            desc=doing, leave=False, disable=None, delay=0.2, bar_format="{desc} {percentage:3.0f}% |{bar}|"
        )

    def progress(self, n_done: int, n_all: int) -> None:
        """Says how much is done."""
        self._bar.total = n_all
        self._bar.update(n_done - self._bar.n)

    def close(self) -> None:
        """Takes the bar away."""
        self._bar.close()


@contextmanager
def step(doing: str) -> Iterator[Step]:
    """Shows on stderr what is being done: a bar on a terminal, and one line with the time it took when it is done."""
    start = perf_counter()
    current = Step(doing)
    try:
        yield current
    finally:
        current.close()
    typer.echo(f"{current.done} ({perf_counter() - start:.1f} s)", err=True)


def announce_compiling() -> None:
    """Says on stderr that the machine will be compiled first, if it is not yet."""
    from journeylab.machine import is_compiled

    if not is_compiled():
        typer.echo("compiling the machine, once on this computer: about half a minute", err=True)
        sys.stderr.flush()
