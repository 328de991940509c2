"""What is shown: tables of rounded counts, with what is hidden in words, and a mark that it came through the gate."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from html import escape
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

import pandas as pd

from journeylab.display import block, counted, plain_rows, said
from journeylab.display import table as html_table
from journeylab.language import date_text, list_text, plural, say

from .marks import marked
from .perturbation import BASE, MOST_NOISE
from .thresholds import FEWEST

if TYPE_CHECKING:
    from .audit import Number
    from .people import Cells, Floats
    from .perturbation import Perturbation
    from .windows import Period

__all__ = ["Disclosed", "frame_of"]

_WORDS = {"shown": "shown", "few": "hidden: few people", "protects": "hidden: protects another"}


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Disclosed:
    """What may be shown of some tables of people; `disclose` makes it.

    Attributes:
        of: what the tables are about.
        period: the span that they cover.
        perturbation: "rounded" or "noisy".
        timezone: whose midnights the span has.
        tables: by name, a row for each cell with the columns of its key; `n_contacts` (Int64) and `n_within`, the
            people of its group, both rounded to five or noisy; `contact_share`, the one over the other (0..1); the
            table's further columns; and `status`: "shown", "hidden: few people" (on one side of the number) or
            "hidden: protects another". What is hidden is missing.
        refused: the names of tables of which nothing may be shown.
        withheld: further columns that may not be shown.
        unlisted: names of tables whose cells of few people are not listed, as nobody named them beforehand.
    """

    of: str
    period: Period
    perturbation: Perturbation
    tables: Mapping[str, pd.DataFrame]
    timezone: str = "UTC"
    refused: tuple[str, ...] = ()
    withheld: tuple[str, ...] = ()
    unlisted: tuple[str, ...] = ()

    @property
    def days(self) -> tuple[date, date]:
        """The first day of the period, and the day after its last, in its time zone."""
        first, last = (at.astimezone(ZoneInfo(self.timezone)).date() for at in self.period)
        return first, last

    @property
    def n_shown(self) -> int:
        """How many cells are shown."""
        return sum(int((one["status"] == _WORDS["shown"]).sum()) for one in self.tables.values())

    @property
    def n_hidden(self) -> int:
        """How many cells are listed as hidden."""
        return sum(len(one) for one in self.tables.values()) - self.n_shown

    def sentences(self) -> list[str]:
        """What a reader should know of the numbers, in the current language."""
        first, last = (date_text(day) for day in self.days)
        told = [say("The numbers are of {first} up to {last}, the end not included.", first=first, last=last)]
        told.append(
            say(
                "Each is of at least {fewest} different people and, where they had a choice, leaves out {fewest} or "
                "more of their group; counts are rounded to {base}.",
                fewest=FEWEST,
                base=BASE,
            )
            if self.perturbation == "rounded"
            else say(
                "Each is of at least {fewest} different people and, where they had a choice, leaves out {fewest} or "
                "more of their group; counts have noise of up to {most} either way, always the same for the same "
                "people.",
                fewest=FEWEST,
                most=MOST_NOISE,
            )
        )
        told.append(
            say(
                "A number that was shown before stays as it was until at least {fewest} of its people are others.",
                fewest=FEWEST,
            )
        )
        if self.n_hidden:
            told.append(
                plural(
                    "{n} number is hidden: few people are behind it, or it would tell of few.",
                    "{n} numbers are hidden: few people are behind them, or they would tell of few.",
                    self.n_hidden,
                )
            )
        if self.unlisted:
            told.append(
                say(
                    "In {tables} what fewer than {fewest} people have or lack may not be listed at all.",
                    tables=list_text(self.unlisted),
                    fewest=FEWEST,
                )
            )
        if self.withheld:
            told.append(
                say(
                    "Not shown, because one or a few people would stand out: {columns}.",
                    columns=list_text(self.withheld),
                )
            )
        if self.refused:
            told.append(
                say(
                    "Nothing can be shown of {tables}: too few people, or what is left would tell of few.",
                    tables=list_text(self.refused),
                )
            )
        return told

    def to_dict(self) -> dict[str, Any]:
        """The result as plain data for JSON, with None for what is hidden."""
        return {
            "of": self.of,
            "from": self.period.from_at.isoformat(),
            "until": self.period.until_at.isoformat(),
            "perturbation": self.perturbation,
            "tables": {
                name: plain_rows(one.astype(object).where(one.notna(), None)) for name, one in self.tables.items()
            },
            "refused": list(self.refused),
            "withheld": list(self.withheld),
            "unlisted": list(self.unlisted),
        }

    def __repr__(self) -> str:
        hidden = f", {self.n_hidden} hidden" if self.n_hidden else ""
        refused = f", {counted(len(self.refused), 'table')} refused" if self.refused else ""
        return f"Disclosed({self.of}: {counted(self.n_shown, 'number')} shown{hidden}{refused})"

    def _repr_html_(self) -> str:
        parts = [
            f"<p>{escape(name)}</p>" + html_table([str(column) for column in one.columns], _rows(one))
            for name, one in self.tables.items()
        ]
        return marked(block(repr(self), said(self.sentences()), *parts))


def _rows(one: pd.DataFrame) -> list[list[str]]:
    """The rows as text, a dash where a number is hidden."""
    return [["\N{EN DASH}" if pd.isna(cell) else str(cell) for cell in row] for row in one.itertuples(index=False)]


def frame_of(
    table: Cells, cells: Sequence[Number], groups: Sequence[Number], figures: Mapping[str, Floats]
) -> pd.DataFrame:
    """The frame of a table, in which hidden numbers are missing."""
    within = [groups[place] for place in table.group_of]
    n = pd.array([one.value if one.state == "shown" else None for one in cells], dtype="Int64")
    of = pd.array([one.value if one.state == "shown" else None for one in within], dtype="Int64")
    frame = table.keys.copy().infer_objects()
    frame["n_contacts"], frame["n_within"] = n, of
    frame["contact_share"] = (n.astype("Float64") / of.astype("Float64")).round(4)
    for name, values in figures.items():
        frame[name] = values
    frame["status"] = [_WORDS[one.state] for one in cells]
    is_named = table.is_listed | (frame["status"] != _WORDS["few"])
    return frame[is_named].reset_index(drop=True)
