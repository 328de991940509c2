"""The errors of JourneyLab: each says who can mend it, and lists all faults it knows of at once.

`DefinitionError` is for whoever wrote the journey, `DataError` for whoever brought the data. Both are
`JourneyLabError`, which the command line prints without a traceback. This module knows nothing of the rest.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

__all__ = ["DataError", "DefinitionError", "Fault", "JourneyLabError", "known", "listed", "nearest"]


def listed(names: Iterable[object], most: int = 12) -> str:
    """The names in one line, sorted, the rest counted when there are more than `most`.

    >>> listed(["b", "a"])
    'a, b'
    """
    all_names = sorted({str(name) for name in names})
    rest = len(all_names) - most
    return ", ".join(all_names[:most]) + (f" and {rest} more" if rest > 0 else "")


def nearest(name: str, names: Iterable[object]) -> str | None:
    """The known name that is most like another; None when none is.

    >>> nearest("helo", ["hello", "read"]), nearest("x", ["hello"])
    ('hello', None)
    """
    near = difflib.get_close_matches(name, sorted({str(other) for other in names}), n=1, cutoff=0.6)
    return near[0] if near else None


def known(name: str, names: Iterable[object], what: str) -> str:
    """The ending of a message on an unknown name: the nearest known name, then what exists.

    >>> known("helo", ["hello", "read"], "nodes")
    "did you mean 'hello'? Known nodes: hello, read."
    >>> known("x", [], "nodes")
    'There are no nodes.'
    """
    all_names = sorted({str(other) for other in names})
    if not all_names:
        return f"There are no {what}."
    near = nearest(name, all_names)
    guess = "" if near is None else f"did you mean {near!r}? "
    return f"{guess}Known {what}: {listed(all_names)}."


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault of a definition: where it is, and what to do about it.

    `path` leads to the fault from the top of the file (`("nodes", "hello", "next")`); `line` and `column` count
    from 1 and are missing for definitions that were built in Python.
    """

    path: tuple[str | int, ...]
    message: str
    source: str | None = None
    line: int | None = None
    column: int | None = None

    def __str__(self) -> str:
        place = ":".join(str(part) for part in (self.source, self.line, self.column) if part is not None)
        inside = ".".join(str(part) for part in self.path)
        return ": ".join(part for part in (place, inside, self.message) if part)


class JourneyLabError(Exception):
    """Something a person can mend; the message says what, where and how."""


@dataclass
class DefinitionError(JourneyLabError):
    """The journey's author must act: `faults` holds every fault of the definition."""

    faults: Sequence[Fault] = field(default_factory=list)

    def __str__(self) -> str:
        return "\n".join(str(fault) for fault in self.faults)


class DataError(JourneyLabError):
    """Whoever brought the event log, the contacts or an answer must act.

    `rejects` is a table of the bad rows when the fault lies in rows, otherwise `None`.
    """

    def __init__(self, message: str, rejects: Any = None) -> None:
        super().__init__(message)
        self.rejects = rejects
