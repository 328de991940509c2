"""What becomes of each part of an imported journey: mapped, approximated, or left out, with the reason."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any, ClassVar

from journeylab.display import block, counted, table
from journeylab.resulttables import Tables

from .export import Place

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Losses", "NodeType", "Outcome", "Verdict", "node_type"]


class Verdict(StrEnum):
    """How well a part can be said in our words."""

    mapped = "mapped"
    """It means the same here."""
    approximated = "approximated"
    """It means nearly the same; the text says what differs, and by which rule of ours."""
    left_out = "left out"
    """It is not in the journey."""


@dataclass(frozen=True)
class NodeType:
    """A node type of a system, and what becomes of it.

    Attributes:
        name: as the system's export writes it.
        title: as its users know it.
        becomes: our verbs that stand for it, such as `wait` or `send, wait_for`; empty where it is left out.
        verdict: what becomes of it at best.
        note: what differs, and by which rule of docs/semantics.md.
    """

    name: str
    title: str
    becomes: str
    verdict: Verdict = Verdict.mapped
    note: str = ""

    def __post_init__(self) -> None:
        if self.verdict is not Verdict.mapped and not self.note:
            raise ValueError(f"{self.name}: say what differs")
        if bool(self.becomes) == (self.verdict is Verdict.left_out):
            raise ValueError(f"{self.name}: what is left out becomes nothing, and nothing else does")


def node_type(types: Sequence[NodeType], name: str) -> NodeType | None:
    """The node type of a name, None where it is not known."""
    return next((one for one in types if one.name == name), None)


@dataclass(frozen=True)
class Outcome:
    """What became of one part of an export.

    Attributes:
        place: where it is in the export, such as `activities.3`.
        element: what it is there: its type and name.
        verdict: mapped, approximated or left out.
        becomes: the nodes or fields of the journey that stand for it, empty where none does.
        note: what differs and why, empty where nothing does.
        journey: the journey's name.
    """

    place: Place
    element: str
    verdict: Verdict
    becomes: tuple[str, ...] = ()
    note: str = ""
    journey: str = ""

    def data(self) -> dict[str, Any]:
        """It as plain data."""
        place = ".".join(map(str, self.place))
        return {
            "journey": self.journey, "place": place, "element": self.element, "verdict": str(self.verdict),
            "becomes": list(self.becomes), "note": self.note,
        }  # fmt: skip

    def __str__(self) -> str:
        becomes = f" -> {', '.join(self.becomes)}" if self.becomes else ""
        note = f": {self.note}" if self.note else ""
        return f"{self.verdict}: {self.element}{becomes}{note}"


@dataclass(frozen=True)
class Losses(Tables):
    """The loss report of a conversion: one outcome for each part of the export, in the order in which it was read.

    Attributes:
        outcomes: they.
    """

    outcomes: tuple[Outcome, ...]
    _table_names: ClassVar = ("parts",)

    @property
    def parts(self) -> pd.DataFrame:
        """The outcomes as a table: `journey`, `place`, `element`, `verdict`, `becomes`, `note`, all texts."""
        import pandas as pd

        rows = [{**one.data(), "becomes": ", ".join(one.becomes)} for one in self.outcomes]
        return pd.DataFrame(rows, columns=["journey", "place", "element", "verdict", "becomes", "note"], dtype="str")

    def of(self, verdict: Verdict) -> list[Outcome]:
        """The outcomes of one verdict."""
        return [one for one in self.outcomes if one.verdict is verdict]

    def by_note(self, verdict: Verdict) -> dict[str, list[Outcome]]:
        """The outcomes of one verdict by what they say, so that it is said once."""
        found: dict[str, list[Outcome]] = {}
        for one in self.of(verdict):
            found.setdefault(one.note, []).append(one)
        return found

    def data(self) -> list[dict[str, Any]]:
        """It as plain data."""
        return [one.data() for one in self.outcomes]

    def __repr__(self) -> str:
        said = (f"{len(self.of(one))} {one}" for one in Verdict)
        return f"Losses({counted(len(self.outcomes), 'part')}: {', '.join(said)})"

    def _repr_html_(self) -> str:
        names = ("place", "element", "verdict", "becomes", "note")
        rows = [tuple(one) for one in self.parts[list(names)].itertuples(index=False)]
        return block(repr(self), table(names, rows))
