"""What commands share on the screen: JSON, aligned tables, and what is being done, on stderr."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from time import perf_counter
from typing import Any

import typer

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


@dataclass
class Step:
    """One piece of long work: `progress` is for the function that does it, `done` says what came of it."""

    done: str
    progress: bool


@contextmanager
def step(doing: str) -> Iterator[Step]:
    """Shows on stderr what is being done: bars on a terminal, and one line with the time it took when it is done."""
    start = perf_counter()
    current = Step(doing, progress=sys.stderr.isatty())
    yield current
    typer.echo(f"{current.done} ({perf_counter() - start:.1f} s)", err=True)


def announce_compiling() -> None:
    """Says on stderr that the machine will be compiled first, if it is not yet."""
    from journeylab.machine import is_compiled

    if not is_compiled():
        typer.echo("compiling the machine, once on this computer: less than a minute", err=True)
        sys.stderr.flush()
