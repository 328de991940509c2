"""A report as Markdown: the same texts and numbers as its page, in the same order, without its pictures."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

from journeylab.language import date_text, say, using

from .quoting import quoted

if TYPE_CHECKING:
    from journeylab.reports import Report

__all__ = ["as_markdown"]

_LONGEST: Final = 2_000
_MEANS_SOMETHING: Final = re.compile(r"([\\`*_{}\[\]<>#|~])")


def as_markdown(report: Report) -> str:
    """A report as Markdown, in its own language; names in it are escaped, so that they are text and nothing else."""
    with using(report.language):
        return "\n".join(_lines(report)) + "\n"


def _lines(report: Report) -> Iterator[str]:
    first, last = (date_text(day) for day in report.disclosed.days)
    yield f"# {_plain(report.title)}"
    yield ""
    data = f"**{_plain(report.data)}.** " if report.data else ""
    yield data + _plain(say("{first} up to {last}", first=first, last=last))
    yield from _section(say("What was asked"), map(_plain, report.asked))
    yield from _section(say("The answer"), [_plain(report.answer)])
    yield from (f"- **{_plain(one.number)}** {_plain(one.what)} {_plain(one.note)}".rstrip() for one in report.figures)
    for part in report.parts:
        yield from _section(part.heading, [_plain(one) for one in (part.note, *part.sentences) if one])
        if part.rows:
            yield ""
            yield _row(part.head)
            yield "|" + "---|" * len(part.head)
            yield from (_row(row.cells) for row in part.rows)
    for heading, sentences in (
        (say("What is observed, predicted and assumed"), report.basis),
        (say("What cannot be known from this"), report.unknown),
        (say("What to do next"), report.next_steps),
        (say("How to read the numbers"), report.reading),
    ):
        yield from _section(heading, [f"- {_plain(one)}" for one in sentences])


def _section(heading: str, lines: Iterator[str] | list[str] | map[str]) -> Iterator[str]:
    yield ""
    yield f"## {_plain(heading)}"
    yield ""
    yield from lines


def _row(cells: object) -> str:
    return "| " + " | ".join(_plain(one) for one in cells) + " |"  # type: ignore[attr-defined]


def _plain(text: str) -> str:
    return _MEANS_SOMETHING.sub(r"\\\1", quoted(text, _LONGEST))
