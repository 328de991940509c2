"""What an explorer answers: a finding in a sentence, pictures with their tables, notes, and code.

Pictures are static SVG; each has a table that says the same. What people read of a table leaves out what could single
somebody out: a count of fewer than ten people is "<10", and the shares that were made of it are left out. That holds
for the page and for what is exported; frames in Python are whole, as whoever has them has the log.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from importlib.resources import files
from typing import TYPE_CHECKING, Any

from markupsafe import Markup

from journeylab.language import count_text, formatted, instant_text, say, share_text
from journeylab.pages import template

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["SMALLEST", "STATIC", "Picture", "View", "page_of"]

STATIC = files("journeylab.explorers") / "static"
"""Where the bundle is."""
SMALLEST = 10
"""Counts of people below this are not given."""


@dataclass(frozen=True, kw_only=True)
class Picture:
    """A drawing and its table.

    Attributes:
        name: of the table among `explorer.tables`.
        title: what is drawn, in a few words.
        svg: the drawing; static, without scripts.
        table: the frame.
        heads: what people read above each column; columns without are not shown to them.
        hides: the counts of people, by column, and the columns that are left out with each that is too small.
        shares: the columns that are shares in 0..1.
        signed: the shares that are differences.
        texts: how the values of a column are said, where not as they are.
        notes: what it does not show.
    """

    name: str
    title: str
    svg: str
    table: pd.DataFrame
    heads: Mapping[str, str]
    hides: Mapping[str, Sequence[str]] = field(default_factory=dict)
    shares: Sequence[str] = ()
    signed: Sequence[str] = ()
    texts: Mapping[str, Callable[[Any], str]] = field(default_factory=dict)
    notes: Sequence[str] = ()

    def cells(self) -> list[list[str]]:
        """The rows as people read them."""
        rows = []
        for row in self.table.to_dict("records"):
            hidden = self._hidden(row)
            rows.append(["" if name in hidden else self._text(str(name), row[name]) for name in self.heads])
        return rows

    def csv(self) -> str:
        """The rows for other programs, numbers in full, with what is too small left out as people see it."""
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(self.heads)
        for row in self.table.to_dict("records"):
            hidden = self._hidden(row)
            writer.writerow("" if name in hidden else self._raw(str(name), row[name]) for name in self.heads)
        return text.getvalue()

    def _raw(self, name: str, value: Any) -> Any:
        if value is None or value != value:
            return ""
        if name in self.hides and 0 < value < SMALLEST:
            return f"<{SMALLEST}"
        return value.isoformat() if isinstance(value, datetime) else value

    def _hidden(self, row: Mapping[Any, Any]) -> set[str]:
        return {name for count, names in self.hides.items() if 0 < row[count] < SMALLEST for name in names}

    def _text(self, name: str, value: Any) -> str:
        if value is None or value != value:
            return "\N{EN DASH}"
        if name in self.texts:
            return self.texts[name](value)
        if name in self.hides:
            return count_text(int(value), SMALLEST)
        if name in self.signed:
            return formatted(100 * value, "+.1f")
        if name in self.shares:
            return share_text(float(value))
        if isinstance(value, bool):
            return say("yes") if value else say("no")
        if isinstance(value, datetime):
            return instant_text(value)
        if isinstance(value, int):
            return formatted(value)
        return formatted(value, ",.4g") if isinstance(value, float) else str(value)

    def sent(self) -> dict[str, Any]:
        """The picture as the browser takes it; frames of tens of thousands of cells are no tables to read."""
        numeric = [name not in self.texts and self.table[name].dtype.kind in "iuf" for name in self.heads]
        return {
            "name": self.name, "title": str(self.title), "svg": self.svg, "head": list(self.heads.values()),
            "numeric": numeric, "rows": self.cells(), "csv": self.csv(), "notes": list(self.notes),
        }  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class View:
    """What an explorer answers to the values of its controls.

    Attributes:
        finding: what is found, in one sentence.
        pictures: what is drawn of it.
        notes: what all of it does not show.
        code: what gives the same tables in Python, each under its name.
    """

    finding: str
    pictures: Sequence[Picture]
    notes: Sequence[str] = ()
    code: str = ""

    def sent(self) -> dict[str, Any]:
        """The view as the browser takes it."""
        pictures = [one.sent() for one in self.pictures]
        return {"finding": str(self.finding), "pictures": pictures, "notes": list(self.notes), "code": self.code}


def page_of(view: View, title: str, chosen: Sequence[tuple[str, str]]) -> str:
    """A view as one HTML page that opens without a network and has no scripts; `chosen` says what was asked."""
    pictures = [{**one.sent(), "drawing": Markup(one.svg)} for one in view.pictures]
    return template("explorer.html.j2").render(title=title, view=view, pictures=pictures, chosen=chosen)
