"""HubSpot: workflows, as its automation API (v4) gives and takes them."""

from __future__ import annotations

from typing import Any, Final

from journeylab.importers.draft import Draft
from journeylab.importers.export import Export
from journeylab.importers.outcomes import Outcome
from journeylab.journey import Journey

from .actiontypes import NODE_TYPES
from .reading import journeys_of
from .writing import written

__all__ = ["SYSTEM"]


class _HubSpot:
    name: Final = "hubspot"
    title: Final = "HubSpot, workflows of the automation API v4"
    documented: Final = (
        "HubSpot automation v4 API: Workflows guide, Workflow actions and enrollment types, List (segment) filters "
        "overview, the API's published schema; knowledge base: Use delays in your workflows, Manage workflow settings, "
        "Add re-enrollment triggers to a workflow"
    )
    node_types: Final = NODE_TYPES
    ignored: Final = frozenset({
        "id", "isEnabled", "flowType", "revisionId", "createdAt", "updatedAt", "nextAvailableActionId", "uuid",
        "crmObjectCreationStatus", "customProperties", "canEnrollFromSalesforce", "actionTypeVersion", "description",
        "filterBranchOperator", "branchName", "defaultBranchName", "edgeType", "type", "paging", "propertyParser",
        "migrationStatus", "objectTypeId", "name", "appId", "level",
    })  # fmt: skip

    def read(self, export: Export) -> list[Draft]:
        return journeys_of(export)

    def write(self, journey: Journey) -> tuple[Any, list[Outcome]]:
        return written(journey)


SYSTEM: Final = _HubSpot()
