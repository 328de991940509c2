"""Salesforce Marketing Cloud Engagement: tracking extracts of Automation Studio, and data views."""

from __future__ import annotations

from typing import Final

from journeylab.importers.events.adapter import Clock, Event, Names, Table, opted_out

__all__ = ["CLOCK", "DOCUMENTED", "LIMITS", "TABLES"]

_ALIASES: Final = {
    "JobID": "SendID", "AccountID": "ClientID", "TriggeredSendCustomerKey": "TriggeredSendExternalKey",
    "LinkName": "Alias",
    "SMTPBounceReason": "BounceReason",
}  # fmt: skip
_LEFT_OUT: Final = {
    **dict.fromkeys(("EmailAddress", "IpAddress", "Latitude", "Longitude"), "personal data that no journey needs"),
    **dict.fromkeys(
        ("ClientID", "OYBAccountID", "SubscriberID", "ListID", "BatchID", "TriggererSendDefinitionObjectID",
        "CampaignID",
         "SendURLID", "URLID", "BounceCategoryID", "BounceSubcategoryID", "BounceTypeID", "LinkContent"),
        "numbers of the system's own",
    ),
    "EventType": "says what the table says",
    "IsUnique": "says that it is the first of its kind, which the log shows",
    "SMTPMessage": "free text of another server, which may have addresses in it",
}  # fmt: skip
_READ_WITH: Final = {
    **dict.fromkeys(("Country", "Region", "City", "MetroCode", "AreaCode"), "personal data that no journey needs"),
    **dict.fromkeys(
        ("Browser", "EmailClient", "OperatingSystem"), "with what it was read, in too many ways to be of use"
    ),
}
_SENT: Final = ("SubscriberKey", "SendID", "EventDate")
_KEY: Final = ("SubscriberKey", "SendID", "BatchID", "ListID", "EventDate")
_HARD: Final = ("hard bounce", "hard", "hardbounce")


def _tracking(name: str, words: tuple[str, ...], events: tuple[Event, ...], **more: object) -> Table:
    given: dict[str, object] = {
        "needs": _SENT, "contact": ("SubscriberKey",), "key": _KEY, "message": ("SendID",), "aliases": _ALIASES,
        "left_out": _LEFT_OUT | _READ_WITH,
        "properties": {"TriggeredSendExternalKey": "triggered_send", "Device": "device"},
    } | more  # fmt: skip
    return Table(name=name, words=words, events=events, **given)  # type: ignore[arg-type]


DOCUMENTED: Final = (
    "Tracking Extract; Bounces; NotSent (Marketing Cloud Engagement help)",
    "Data View: Sent, Open, Click, Bounce, Unsubscribe, Complaint, Subscribers, Job (Marketing Cloud Engagement help)",
)
CLOCK: Final = Clock(
    "text",
    "Etc/GMT+6",
    "Central Standard Time without daylight saving (UTC-6), as the help says of data views and as the system's "
    "server time is; `--timezone` says another, where a query has converted it. Dates are M/D/YYYY or ISO 8601",
)
TABLES: Final = (
    _tracking("Sent", ("sent",), (Event("sent", "EventDate"),)),
    _tracking("Opens", ("opens", "open"), (Event("opened", "EventDate"),)),
    _tracking(
        "Clicks",
        ("clicks", "click"),
        (Event("clicked", "EventDate"),),
        needs=(*_SENT, "URL"),
        key=(*_KEY, "URL"),
        properties={
            "TriggeredSendExternalKey": "triggered_send",
            "URL": "link",
            "Alias": "link_name",
            "Device": "device",
        },
    ),
    _tracking(
        "Bounces",
        ("bounces", "bounce"),
        (
            Event("bounced", "EventDate", {"BounceCategory": _HARD}, said={"bounce_type": "hard"}),
            Event("bounced", "EventDate", unless={"BounceCategory": _HARD}, said={"bounce_type": "soft"}),
        ),
        needs=(*_SENT, "BounceCategory"),
        properties={
            "TriggeredSendExternalKey": "triggered_send",
            "BounceCategory": "bounce_category",
            "SMTPCode": "status",
            "BounceSubcategory": "bounce_subcategory",
        },
        left_out={
            **_LEFT_OUT,
            "BounceReason": "free text of another server, which may have addresses in it",
            "BounceType": "says when it came back, not whether for good",
        },
        differs="block, technical and unknown bounces are `soft`, as they do not say that the address is gone",
    ),
    _tracking("Unsubs", ("unsubs", "unsub", "unsubscribe", "unsubscribes"), opted_out("EventDate")),
    _tracking("Complaints", ("complaints", "complaint", "spamcomplaints", "spam"), (Event("complained", "EventDate"),)),
    Table(
        name="NotSent",
        needs=_SENT,
        words=("notsent",),
        aliases=_ALIASES,
        skipped="what was never sent leaves no trace at a contact",
    ),
    Table(
        name="SendJobs",
        needs=("SendID", "EmailName"),
        words=("sendjobs", "sendjob", "job", "jobs"),
        aliases=_ALIASES,
        names=Names("SendID", "EmailName"),
    ),
    Table(
        name="StatusChanges",
        needs=("SubscriberKey", "OldStatus", "NewStatus", "DateChanged"),
        words=("statuschanges", "statuschange"),
        aliases=_ALIASES,
        contact=("SubscriberKey",),
        key=("SubscriberKey", "DateChanged", "NewStatus"),
        sorted_by="NewStatus",
        events=(
            Event("consent_withdrawn", "DateChanged", {"NewStatus": ("unsubscribed",)}, is_consent=True),
            Event(
                "consent_given",
                "DateChanged",
                {"NewStatus": ("active",), "OldStatus": ("unsubscribed",)},
                is_consent=True,
            ),
        ),
        passed_over={
            "active": "becoming active again after bounces says nothing of consent",
            "bounced": "bounces are in their own table",
            "held": "bounces are in their own table",
            "deleted": "the contact is gone there",
        },
        left_out=_LEFT_OUT | {"OldStatus": "says what was before"},
    ),
    Table(
        name="Subscribers",
        needs=("SubscriberKey", "Status"),
        words=("subscribers", "subscriber"),
        aliases=_ALIASES,
        contact=("SubscriberKey",),
        key=("SubscriberKey", "DateUnsubscribed"),
        is_contacts=True,
        events=(Event("consent_withdrawn", "DateUnsubscribed", unless={"DateUnsubscribed": ("",)}, is_consent=True),),
        properties={"Status": "subscriber_status", "SubscriberType": "subscriber_type", "Locale": "locale"},
        left_out={
            **_LEFT_OUT,
            "BounceCount": "bounces are in their own table",
            **dict.fromkeys(("DateJoined", "DateCreated", "DateUndeliverable", "DateHeld"), "no event that is known"),
        },
    ),
    Table(
        name="Attributes",
        needs=("SubscriberKey",),
        lacks=("SendID", "EventDate"),
        words=("attributes", "attribute"),
        aliases=_ALIASES,
        contact=("SubscriberKey",),
        is_contacts=True,
        left_out=_LEFT_OUT,
    ),
    Table(
        name="Lists",
        needs=("ListID",),
        words=("lists", "listmembership", "listmembershipchanges"),
        aliases=_ALIASES,
        skipped="lists are no journeys' concern",
    ),
    Table(
        name="Conversions",
        needs=_SENT,
        words=("conversions", "surveys", "sendjobimpression"),
        aliases=_ALIASES,
        skipped="what is bought and answered comes better from where it happens",
    ),
)
LIMITS: Final = (
    "An export has no ids: an event is known by who, job, batch, list, second and link, so two opens in one second "
    "are one. An extract and a data view of the same events differ in their fractions of a second; import one "
    "kind.",
    "Whether a machine opened is not in these exports: `is_machine` stays missing.",
    "Attributes of subscribers are as of the export: a replay over the past sees them as if they had always been so.",
)
