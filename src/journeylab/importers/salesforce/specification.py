"""A journey specification that is being made: its activities, and what became of each part of our journey."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from journeylab.errors import Fault
from journeylab.expressions import Tree
from journeylab.importers.outcomes import Outcome, Verdict
from journeylab.journey import Journey

from .criteria import criteria_of
from .keys import Keys
from .values import Unwritable

__all__ = ["Specification"]


class Specification:
    """The specification of a journey.

    Attributes:
        source: the journey.
        keys: the keys of its activities.
        activities: they, so far.
        outcomes: what became of its parts so far.
        faults: what the specification cannot have.
    """

    def __init__(self, journey: Journey) -> None:
        self.source = journey
        self.keys = Keys(journey)
        self.activities: list[dict[str, Any]] = []
        self.outcomes: list[Outcome] = []
        self.faults: list[Fault] = []

    def did(self, place: tuple[str | int, ...], what: str, verdict: Verdict, *becomes: str, note: str = "") -> None:
        """Notes what became of a part."""
        self.outcomes.append(Outcome(place, what, verdict, becomes, note))

    def noted(self, place: tuple[str | int, ...], what: str, notes: list[str], *becomes: str) -> None:
        """Notes what became of a part, which is approximated where there is anything to say of it."""
        said = dict.fromkeys(one for one in notes if one)
        self.did(place, what, Verdict.approximated if said else Verdict.mapped, *becomes, note="; ".join(said))

    def within(self, place: tuple[str | int, ...], do: Callable[[], Any]) -> Any:
        """Does something, and notes where the specification cannot have it; gives None then."""
        try:
            return do()
        except Unwritable as why:
            self.faults.append(Fault(place, f"Journey Builder cannot have this: {why}", self.source.journey))
            return None

    def add(self, key: str, name: str, kind: str, ways: list[dict[str, Any]], **said: Any) -> None:
        """Writes an activity."""
        outcomes = [{"key": f"{key}-path-{i + 1}", **way} for i, way in enumerate(ways)]
        self.activities.append({
            "key": key, "name": name, "type": kind, "outcomes": outcomes, "metaData": {"isConfigured": True}, **said,
        })  # fmt: skip

    def way(self, target: str, label: str = "", **arguments: Any) -> dict[str, Any]:
        """An outcome that leads to a node."""
        return self.way_to(self.keys.to(target), label, **arguments)

    @staticmethod
    def way_to(key: str | None, label: str = "", **arguments: Any) -> dict[str, Any]:
        """An outcome that leads to an activity, or ends the journey."""
        way: dict[str, Any] = {} if key is None else {"next": key}
        if arguments:
            way["arguments"] = arguments
        if label:
            way["metaData"] = {"label": label}
        return way

    def criteria(self, tree: Tree, event: str | None, notes: list[str]) -> str:
        """The filter that says a condition; what differs is added to the notes.

        Raises:
            Unwritable: when no filter says it.
        """
        return criteria_of(tree, event, self.source.known_segments, notes.append)
