"""Dittofeed: what its API gives of journeys, segments, templates and the like, and takes."""

from __future__ import annotations

from typing import Any, Final

from journeylab.importers.draft import Draft
from journeylab.importers.export import Export
from journeylab.importers.outcomes import Outcome
from journeylab.journey import Journey

from .reading import NODE_TYPES, journeys_of
from .writing import written

__all__ = ["SYSTEM"]


class _Dittofeed:
    name: Final = "dittofeed"
    title: Final = "Dittofeed, journey definitions"
    documented: Final = "Dittofeed API reference, and the types of its open source"
    node_types: Final = NODE_TYPES
    ignored: Final = frozenset({
        "id", "workspaceId", "createdAt", "updatedAt", "definitionUpdatedAt", "lastRecomputed", "status",
        "statusUpdatedAt", "resourceType", "draft", "subscriptionGroupId", "name", "type",
    })  # fmt: skip

    def read(self, export: Export) -> list[Draft]:
        return journeys_of(export)

    def write(self, journey: Journey) -> tuple[Any, list[Outcome]]:
        return written(journey)


SYSTEM: Final = _Dittofeed()
