"""A journey specification that is being made: its activities, and what became of each part of our journey."""

from __future__ import annotations

from typing import Any

from journeylab.expressions import Tree
from journeylab.importers.writing import Writing
from journeylab.journey import Journey

from .criteria import criteria_of
from .keys import Keys

__all__ = ["Specification"]


class Specification(Writing):
    """The specification of a journey.

    Attributes:
        keys: the keys of its activities.
        activities: they, so far.
    """

    system = "Journey Builder"

    def __init__(self, journey: Journey) -> None:
        super().__init__(journey)
        self.keys = Keys(journey)
        self.activities: list[dict[str, Any]] = []

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
            Unsaid: when no filter says it.
        """
        return criteria_of(tree, event, self.source.known_segments, notes.append)
