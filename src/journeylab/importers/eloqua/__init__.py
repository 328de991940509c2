"""Oracle Eloqua: a campaign with its steps, as the Application API 2.0 gives it."""

from __future__ import annotations

from typing import Final

from journeylab.importers.draft import Draft
from journeylab.importers.export import Export

from .reading import journeys_of
from .steptypes import NODE_TYPES

__all__ = ["SYSTEM"]


class _Eloqua:
    name: Final = "eloqua"
    title: Final = "Oracle Eloqua, campaigns of the Application API 2.0"
    documented: Final = (
        "Oracle Eloqua, “Campaign element reference”, “Creating campaigns with steps using the application API”, "
        "“Retrieve a campaign”, “Configuring campaign canvas elements”"
    )
    node_types: Final = NODE_TYPES
    ignored: Final = frozenset({
        "id", "type", "depth", "permissions", "folderId", "createdAt", "createdBy", "createdByName", "updatedAt",
        "updatedBy", "updatedByName", "currentStatus", "description", "position", "memberCount", "memberErrorCount",
        "connectedType", "budgetedCost", "actualCost", "campaignType", "campaignCategory", "campaignClassification",
        "product", "region", "crmId", "crmIds", "isSyncedWithCRM", "isIncludedInROI", "isReadOnly", "runAsUserId",
        "fieldValues", "badgeId", "clrEndDate", "sourceTemplateId", "firstActivation", "scheduledFor",
        "isEmailMarketingCampaign", "isFinished", "includeListUnsubscribeHeader", "total", "page", "pageSize",
        "isExitHistoryDisabled", "isBypassHistoryDisabled", "adCampaignId", "referenceProduct",
    })  # fmt: skip

    def read(self, export: Export) -> list[Draft]:
        return journeys_of(export)


SYSTEM: Final = _Eloqua()
