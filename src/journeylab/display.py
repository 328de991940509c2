"""How objects show themselves in marimo, JupyterLab and the report: static HTML without scripts, alike in all three.

It sets no colours but translucent greys, so that it is read on light and on dark.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import fields, is_dataclass
from datetime import datetime, timedelta
from fractions import Fraction
from html import escape
from typing import Any

from .durations import duration_text

__all__ = [
    "MOST_DRAWINGS",
    "Shown",
    "block",
    "counted",
    "facts",
    "figure",
    "frame",
    "plain",
    "plain_rows",
    "rest",
    "said",
    "table",
]

_STYLE = (
    ".jl-display{font:13px system-ui,sans-serif;max-width:100%;overflow-x:auto}.jl-display p{margin:.4em 0}"
    ".jl-display table{border-collapse:collapse;margin:.4em 0}"
    ".jl-display th,.jl-display td{padding:2px 10px;text-align:right;border-bottom:1px solid #8884}"
    ".jl-display th:first-child,.jl-display td:first-child{text-align:left}"
    ".jl-display .jl-facts td{text-align:left}"
    ".jl-display .jl-code{font-family:ui-monospace,monospace;white-space:pre-wrap}"
)
MOST_DRAWINGS = 3
"""Journeys that are drawn where many are shown."""
_MOST_ROWS, _MOST_SENTENCES, _MOST_LETTERS = 12, 30, 160


def block(line: str, *parts: str) -> str:
    """One object as HTML: its line as text, then its parts, which are HTML already.

    >>> block("a < b").partition("</style>")[2]
    '<p>a &lt; b</p></div>'
    """
    return f'<div class="jl-display"><style>{_STYLE}</style><p>{escape(line)}</p>{"".join(parts)}</div>'


def table(head: Sequence[str], rows: Iterable[Sequence[object]], most: int | None = None) -> str:
    """A table as HTML: every cell is shown as text, numbers as they are formatted by the caller.

    Rows beyond `most` are counted.

    >>> table(["a", "b"], [[1, "<2>"]])
    '<table><thead><tr><th>a</th><th>b</th></tr></thead><tbody><tr><td>1</td><td>&lt;2&gt;</td></tr></tbody></table>'
    """
    rows = list(rows)
    more = 0 if most is None else max(0, len(rows) - most)
    cells = "".join(f"<th>{escape(one)}</th>" for one in head)
    body = "".join(
        "<tr>" + "".join(f"<td>{escape(str(one))}</td>" for one in row) + "</tr>" for row in rows[: len(rows) - more]
    )
    return f"<table><thead><tr>{cells}</tr></thead><tbody>{body}</tbody></table>{rest(more)}"


def rest(n: int, what: str = "") -> str:
    """How many more there are than are shown, as HTML; nothing where there are none.

    >>> rest(2, "journeys"), rest(0)
    ('<p>and 2 more journeys</p>', '')
    """
    return f"<p>{escape(f'and {n:,} more {what}'.strip())}</p>" if n > 0 else ""


def said(sentences: Iterable[str]) -> str:
    """Sentences as HTML, a paragraph each; those beyond the first thirty are counted.

    >>> said(["It is so.", "It is <not>."])
    '<p>It is so.</p><p>It is &lt;not&gt;.</p>'
    """
    all_of_them = list(sentences)
    more = len(all_of_them) - _MOST_SENTENCES
    shown = "".join(f"<p>{escape(one)}</p>" for one in all_of_them[:_MOST_SENTENCES])
    return shown + rest(more)


def figure(value: object) -> str:
    """A value as people read it: four digits, instants to the minute, a dash for what is missing, long texts cut.

    >>> [figure(one) for one in (0.123456, 12_345, True, timedelta(days=3), ["a", 1])]
    ['0.1235', '12,345', 'yes', '3d', 'a, 1']
    """
    if value is None or (isinstance(value, float) and math.isnan(value)) or str(value) in ("NaT", "<NA>", "nan"):
        return "\N{EN DASH}"
    if isinstance(value, bool) or type(value).__name__ == "bool":
        return "yes" if value else "no"
    if isinstance(value, Fraction) or hasattr(value, "dtype") or isinstance(value, float | int):
        number = float(value)  # type: ignore[arg-type]
        return f"{number:,.0f}" if number.is_integer() and abs(number) < 1e15 else f"{number:.4g}"
    if isinstance(value, datetime):
        return f"{value:%Y-%m-%d}" if (value.hour, value.minute) == (0, 0) else f"{value:%Y-%m-%d %H:%M}"
    if isinstance(value, timedelta):
        return duration_text(timedelta(seconds=round(value.total_seconds())))
    if isinstance(value, Mapping):
        text = ", ".join(f"{name} {figure(one)}" for name, one in value.items())
    elif isinstance(value, list | tuple | set | frozenset):
        text = ", ".join(figure(one) for one in value)
    else:
        text = " ".join(str(value).split())
    return text if len(text) <= _MOST_LETTERS else f"{text[:_MOST_LETTERS]}…"


def facts(pairs: Iterable[tuple[str, object]]) -> str:
    """What is said of one thing, as a table of names and values.

    >>> facts([("n_units", 1200)])
    '<table class="jl-facts"><tbody><tr><th>n units</th><td>1,200</td></tr></tbody></table>'
    """
    rows = "".join(
        f"<tr><th>{escape(name.replace('_', ' '))}</th><td>{escape(figure(value))}</td></tr>" for name, value in pairs
    )
    return f'<table class="jl-facts"><tbody>{rows}</tbody></table>'


def frame(one: Any, name: str = "", most: int = _MOST_ROWS) -> str:
    """The first rows of a data frame as a table under its name; the others are counted.

    >>> import pandas as pd
    >>> frame(pd.DataFrame({"n_units": [1, 2]}), most=1).partition("<tbody>")[2]
    '<tr><td>1</td></tr></tbody></table><p>and 1 more row</p>'
    """
    shown = table([str(column).replace("_", " ") for column in one.columns],
                  ([figure(cell) for cell in row] for row in one.head(most).itertuples(index=False)))  # fmt: skip
    more = len(one) - most
    return (
        (f"<p>{escape(name.replace('_', ' '))}</p>" if name else "")
        + shown
        + rest(more, "row" if more == 1 else "rows")
    )


class Shown:
    """What shows itself as HTML: its line, what it says in sentences, its plain attributes, then its tables."""

    __slots__ = ()

    def _repr_html_(self) -> str:
        line, sentences = repr(self), _sentences(self)
        told = [one for one in sentences if one not in line]
        frames, others = [], []
        for name, value in _attributes(self):
            if hasattr(value, "itertuples"):
                frames += [frame(value, name)] if len(value) else []
            elif name != "notes" or not sentences:
                others.append((name, value))
        return block(line, said(told), facts(others) if others else "", *frames)


def _attributes(one: object) -> Iterator[tuple[str, Any]]:
    """The public attributes of a dataclass that are figures, texts, or tables."""
    plain = (str, int, float, bool, Fraction, datetime, timedelta, Mapping, list, tuple, type(None))
    for field in fields(one) if is_dataclass(one) else ():
        value = getattr(one, field.name)
        is_plain = isinstance(value, plain) and not (isinstance(value, list | tuple | Mapping) and not value)
        if field.repr and not field.name.startswith("_") and (is_plain or hasattr(value, "itertuples")):
            yield field.name, value


def _sentences(one: object) -> list[str]:
    found = getattr(one, "sentences", None)
    if callable(found):
        return list(found())
    sentence = getattr(one, "sentence", None)
    return [sentence] if isinstance(sentence, str) else []


def counted(n: int, what: str) -> str:
    """A count with its noun.

    >>> counted(1, "case"), counted(1200, "case"), counted(2, "entry")
    ('1 case', '1,200 cases', '2 entries')
    """
    plural = f"{what[:-1]}ies" if what.endswith("y") and what[-2] not in "aeiou" else f"{what}s"
    return f"{n:,} {what if n == 1 else plural}"


def plain(value: float) -> float | None:
    """A number for JSON, which knows neither NaN nor infinity: they are `None`.

    >>> plain(0.5), plain(float("nan")), plain(float("inf"))
    (0.5, None, None)
    """
    return float(value) if math.isfinite(value) else None


def plain_rows(table: Any) -> list[dict[str, Any]]:
    """The rows of a data frame for JSON, numbers as by `plain`.

    >>> import pandas as pd
    >>> plain_rows(pd.DataFrame({"arm": ["a", "b"], "effect": [0.5, float("nan")]}))
    [{'arm': 'a', 'effect': 0.5}, {'arm': 'b', 'effect': None}]
    """
    return [
        {str(name): plain(value) if isinstance(value, float) else value for name, value in row.items()}
        for row in table.to_dict("records")
    ]
