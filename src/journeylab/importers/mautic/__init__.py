"""Mautic 7: what `mautic:entity:export --entity=campaign`, its API and its page of campaigns export."""

from __future__ import annotations

from typing import Final

from journeylab.importers.draft import Draft
from journeylab.importers.export import Export

from .campaigns import journeys_of
from .nodetypes import NODE_TYPES

__all__ = ["SYSTEM"]


class _Mautic:
    name: Final = "mautic"
    title: Final = "Mautic 7, campaign export"
    documented: Final = (
        "Mautic user documentation, “Using the Campaign Builder”, “Exporting Campaigns” and its sample file, and the "
        "types of its open source"
    )
    node_types: Final = NODE_TYPES
    ignored: Final = frozenset({
        "id", "uuid", "campaign_id", "description", "is_published", "event_order", "channel", "channel_id",
        "created_by", "dependencies",
    })  # fmt: skip

    def read(self, export: Export) -> list[Draft]:
        return journeys_of(export)


SYSTEM: Final = _Mautic()
