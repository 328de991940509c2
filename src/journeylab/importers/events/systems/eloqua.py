"""Oracle Eloqua: activities that the Bulk API exports, as JSON or CSV."""

from __future__ import annotations

from typing import Final

from journeylab.importers.events.adapter import Adapter, Clock, Event, Table, opted_out
from journeylab.importers.events.unfolding import unfolding

__all__ = ["ADAPTER"]

_KIND: Final = "ActivityType"
_AT: Final = "ActivityDate"
_SOFT: Final = {"SmtpStatusCode": ("4*",)}
_STEPS = """
Make an activity export by the Bulk API with the fields of its documentation, `ContactId` among them, and
`areSystemTimestampsInUTC: true`; sync it, and save the pages of its data as JSON or CSV.

```
journeylab events import eloqua activities/ --timezone UTC --log events.parquet
```

Without `areSystemTimestampsInUTC` the times are those of the servers: `--timezone America/New_York`.
"""

ADAPTER = Adapter(
    name="eloqua",
    title="Oracle Eloqua",
    documented=(
        "Activity fields; Activities export definitions; Create an activity export definition (Eloqua Bulk API)",
        "Time zones across Eloqua (Eloqua user help)",
    ),
    clock=Clock(
        "text",
        None,
        "an export has its times in UTC (`areSystemTimestampsInUTC`) or in those of the servers (America/New_York, "
        "with "
        "daylight saving), and the file does not tell which",
    ),
    tables=(
        Table(
            name="activities",
            needs=("ActivityId", "ActivityType", "ActivityDate", "ContactId"),
            contact=("ContactId",),
            key=(_KIND, "ActivityId"),
            sorted_by=_KIND,
            events=(
                Event("sent", _AT, {_KIND: ("EmailSend",)}),
                Event("opened", _AT, {_KIND: ("EmailOpen",)}),
                Event("clicked", _AT, {_KIND: ("EmailClickthrough",)}),
                Event("bounced", _AT, {_KIND: ("Bounceback",)}, _SOFT, {"bounce_type": "hard"}),
                Event("bounced", _AT, {_KIND: ("Bounceback",), **_SOFT}, said={"bounce_type": "soft"}),
                Event("consent_given", _AT, {_KIND: ("Subscribe",)}, is_consent=True),
                *opted_out(_AT, {_KIND: ("Unsubscribe",)}, of_message=False),
                Event("form_submitted", _AT, {_KIND: ("FormSubmit",)}),
                Event("page_viewed", _AT, {_KIND: ("PageView",)}),
                Event("web_visited", _AT, {_KIND: ("WebVisit",)}),
            ),
            message=("AssetName",),
            properties={
                "EmailClickedThruLink": "link",
                "AssetName": "asset_name",
                "AssetType": "asset_type",
                "AssetId": "asset_id",
                "SubjectLine": "subject",
                "CampaignId": "campaign_id",
                "CampaignName": "campaign",
                "SmtpStatusCode": "status",
                "Url": "url",
                "ReferrerUrl": "referrer",
                "NumberOfPages": "n_pages",
                "Duration": "duration",
                "EmailSendType": "send_type",
            },
            numbers=frozenset({"n_pages"}),
            left_out={
                **dict.fromkeys(
                    ("EmailAddress", "IpAddress", "RawData", "EmailWebLink"), "personal data that no journey needs"
                ),
                **dict.fromkeys(
                    (
                        "ExternalId",
                        "DeploymentId",
                        "EmailRecipientId",
                        "VisitorId",
                        "VisitorExternalId",
                        "WebVisitId",
                        "CRMCampaignId",
                        "SmtpErrorCode",
                    ),
                    "numbers of the system's own",
                ),
                **dict.fromkeys(
                    ("CampaignResponseDate", "CampaignResponseMemberStatus"), "changes later, without an instant"
                ),
                "SmtpMessage": "free text of another server, which may have addresses in it",
            },
            anonymous="nobody is known to have done it (no ContactId)",
            differs="a bounce whose `SmtpStatusCode` does not begin with 4 is `hard`; Subscribe and Unsubscribe are "
            "taken "
            "for the purpose of the import, whatever e-mail group they name",
        ),
    ),
    unfold=unfolding("ActivityId"),
    steps=_STEPS,
    limits=(
        "Export `ContactId` with every activity: a contact is known by it alone, as an address changes.",
        "A message is called by the name that its e-mail had at the export.",
        "Whether a machine opened is not in the export: `is_machine` stays missing.",
    ),
)
