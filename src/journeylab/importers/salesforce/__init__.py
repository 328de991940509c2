"""Salesforce Marketing Cloud Engagement: the journey specification of Journey Builder, version 1.0.

Sources: "Get Started with the Journey Specification" and the pages on each activity in the vendor's developer guide,
the help on Journey Builder, and exports in public tools for what no page shows.
"""

from __future__ import annotations

from typing import Any, Final

from journeylab.importers.draft import Draft
from journeylab.importers.export import Export
from journeylab.importers.outcomes import Outcome
from journeylab.journey import Journey

from .activitytypes import NODE_TYPES
from .reading import journeys_of
from .writing import written

__all__ = ["SYSTEM"]


class _Salesforce:
    name: Final = "salesforce"
    title: Final = "Salesforce Marketing Cloud Engagement, journey specification 1.0"
    documented: Final = "Get Started with the Journey Specification, and its pages on each activity"
    node_types: Final = NODE_TYPES
    ignored: Final = frozenset({
        "id", "key", "definitionId", "originalDefinitionId", "createdDate", "modifiedDate", "lastPublishedDate",
        "version", "workflowApiVersion", "categoryId", "stats", "healthStats", "notifiers", "tags", "executionMode",
        "scheduledStatus", "channel", "definitionType", "metaData", "transactionKeys", "applicationExtensionKey",
        "isModified", "isSimulation", "useLLTS", "fuelAgentRequested", "autoAddSubscribers", "autoUpdateSubscribers",
        "created", "modified", "isMultipart", "isSendLogging", "isStoppedOnJobError", "isSalesforceTracking",
        "isTrackingClicks", "googleAnalyticsCampaignName", "deliveryProfileId", "senderProfileId", "campaigns",
        "keyword", "suppressTracking", "activity", "defaults", "status", "priority",
    })  # fmt: skip

    def read(self, export: Export) -> list[Draft]:
        return journeys_of(export)

    def write(self, journey: Journey) -> tuple[Any, list[Outcome]]:
        return written(journey)


SYSTEM: Final = _Salesforce()
