"""How objects show themselves in marimo, JupyterLab and the report: static HTML without scripts, alike in all three."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from html import escape
from typing import Any

__all__ = ["block", "counted", "plain", "plain_rows", "table"]

_STYLE = (
    ".jl-display{font:13px system-ui,sans-serif}.jl-display p{margin:.4em 0}"
    ".jl-display table{border-collapse:collapse;margin:.4em 0}"
    ".jl-display th,.jl-display td{padding:2px 10px;text-align:right;border-bottom:1px solid #8884}"
    ".jl-display th:first-child,.jl-display td:first-child{text-align:left}"
    ".jl-display .jl-code{font-family:ui-monospace,monospace;white-space:pre-wrap}"
)


def block(line: str, *parts: str) -> str:
    """One object as HTML: its line as text, then its parts, which are HTML already.

    >>> block("a < b").partition("</style>")[2]
    '<p>a &lt; b</p></div>'
    """
    return f'<div class="jl-display"><style>{_STYLE}</style><p>{escape(line)}</p>{"".join(parts)}</div>'


def table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A table as HTML: every cell is shown as text, numbers as they are formatted by the caller.

    >>> table(["a", "b"], [[1, "<2>"]])
    '<table><thead><tr><th>a</th><th>b</th></tr></thead><tbody><tr><td>1</td><td>&lt;2&gt;</td></tr></tbody></table>'
    """
    cells = "".join(f"<th>{escape(one)}</th>" for one in head)
    body = "".join("<tr>" + "".join(f"<td>{escape(str(one))}</td>" for one in row) + "</tr>" for row in rows)
    return f"<table><thead><tr>{cells}</tr></thead><tbody>{body}</tbody></table>"


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
