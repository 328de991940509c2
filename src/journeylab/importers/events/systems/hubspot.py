"""HubSpot: e-mail events, contacts and their histories, submissions of forms, by its APIs or as exported files."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from journeylab.importers.events.adapter import Adapter, Clock, Event, Names, Table, opted_out
from journeylab.importers.events.unfolding import flat, records

__all__ = ["ADAPTER"]

_AT: Final = "created"
_SOFT: Final = ("mailbox_full", "temporary_problem", "greylisting", "throttled", "timeout", "ip_reputation",
"dns_failure",
                "dmarc", "content", "spam", "policy", "general")  # fmt: skip
_ISO: Final = Clock("text", "UTC", "ISO 8601 in UTC, as the API writes it")
_STEPS = """
Save the pages of `GET /email/public/v1/events`, `GET /crm/v3/objects/contacts?propertiesWithHistory=hs_email_optout`
and `GET /form-integrations/v1/submissions/forms/{formGuid}` as JSON, one file for each page.

```
journeylab events import hubspot email-events/ contacts/ --log events.parquet --contacts contacts.parquet
```

`GET /email/public/v1/campaigns/{campaignId}` gives messages their names. A contact export of the user interface is CSV,
with times in the zone of whoever exported: `--timezone Europe/Warsaw`.
"""


def _submission(row: Mapping[str, Any]) -> dict[str, Any]:
    """A submission of a form; what was typed in only as far as it says whose it is."""
    values = {str(one.get("name")): one.get("value") for one in row["values"] if isinstance(one, Mapping)}
    return flat({name: value for name, value in row.items() if name != "values"}) | {"email": values.get("email")}


def _histories(row: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Each change of the opt-out as a row; `false` is a change only after `true`."""
    changes = row["propertiesWithHistory"].get("hs_email_optout")
    inside = row.get("properties")
    address = inside.get("email") if isinstance(inside, Mapping) else None
    known = [one for one in changes if isinstance(one, Mapping)] if isinstance(changes, list) else []
    was_out = False
    for one in sorted(known, key=lambda one: str(one.get("timestamp"))):
        value = one.get("value")
        said = "back" if value == "false" and was_out else value
        was_out = value == "true"
        yield {"optout.contact": address, "optout.value": said, "optout.at": one.get("timestamp")}


def _unfold(data: Any) -> Iterator[dict[str, Any]]:
    for row in records(data, "id", "submittedAt"):
        if isinstance(row.get("values"), list) and "submittedAt" in row:
            yield _submission(row)
            continue
        if isinstance(row.get("propertiesWithHistory"), Mapping):
            yield from _histories(row)
            row = {name: value for name, value in row.items() if name != "propertiesWithHistory"}
        yield flat(row)


def _is(*types: str) -> dict[str, tuple[str, ...]]:
    return {"type": types}


_PERSONAL: Final = dict.fromkeys(
    (
        "email",
        "firstname",
        "lastname",
        "phone",
        "mobilephone",
        "address",
        "properties.email",
        "properties.firstname",
        "properties.lastname",
        "properties.phone",
        "properties.mobilephone",
        "properties.address",
        "First Name",
        "Last Name",
        "Phone Number",
        "Mobile Phone Number",
        "Street Address",
    ),
    "personal data that no journey needs",
)

ADAPTER = Adapter(
    name="hubspot",
    title="HubSpot",
    documented=(
        "Email Events API (legacy email analytics v1)",
        "CRM API: contacts, properties with history",
        "Form submissions API",
        "How should timestamps be formatted for HubSpot's APIs?",
    ),
    clock=Clock("ms", "UTC", "milliseconds since 1970, UTC, as the APIs say"),
    tables=(
        Table(
            name="email_events",
            needs=("id", "created", "type", "recipient"),
            contact=("recipient",),
            key=("id",),
            sorted_by="type",
            events=(
                Event("sent", _AT, _is("SENT")),
                Event("delivered", _AT, _is("DELIVERED")),
                Event("opened", _AT, _is("OPEN")),
                Event("clicked", _AT, _is("CLICK")),
                Event("bounced", _AT, _is("BOUNCE"), {"category": _SOFT, "status": ("4*",)}, {"bounce_type": "hard"}),
                Event(
                    "bounced", _AT, _is("BOUNCE") | {"category": _SOFT}, {"status": ("4*",)}, {"bounce_type": "soft"}
                ),
                Event("bounced", _AT, _is("BOUNCE") | {"status": ("4*",)}, said={"bounce_type": "soft"}),
                Event("complained", _AT, _is("SPAMREPORT")),
                *opted_out(_AT, _is("STATUSCHANGE") | {"portalSubscriptionStatus": ("UNSUBSCRIBED",)}),
                Event(
                    "consent_given",
                    _AT,
                    _is("STATUSCHANGE") | {"portalSubscriptionStatus": ("SUBSCRIBED",)},
                    is_consent=True,
                ),
                Event(
                    "subscription_changed",
                    _AT,
                    _is("STATUSCHANGE"),
                    {"portalSubscriptionStatus": ("UNSUBSCRIBED", "SUBSCRIBED")},
                ),
                Event("forwarded", _AT, _is("FORWARD"), of_message=True),
                Event("printed", _AT, _is("PRINT"), of_message=True),
                Event("dropped", _AT, _is("DROPPED"), of_message=True),
            ),
            passed_over={
                "PROCESSED": "only that HubSpot has taken it up; SENT is the sending",
                "QUEUED": "only that HubSpot has taken it up; SENT is the sending",
                "DEFERRED": "it is tried again, and DELIVERED or BOUNCE says what came of it",
                "UNBOUNCE": "the address may be written to again, which no event here says",
                "SUPPRESSED": "it was not sent",
            },
            message=("emailCampaignId",),
            properties={
                "url": "link",
                "category": "bounce_category",
                "status": "status",
                "subject": "subject",
                "deviceType": "device",
                "filteredEvent": "is_filtered",
                "subscriptions": "subscriptions",
                "dropReason": "drop_reason",
                "duration": "duration",
            },
            flags=frozenset({"is_filtered"}),
            numbers=frozenset({"duration"}),
            left_out={
                **dict.fromkeys(
                    (
                        "from",
                        "replyTo",
                        "cc",
                        "bcc",
                        "ipAddress",
                        "location.city",
                        "location.state",
                        "location.zipcode",
                        "location.latitude",
                        "location.longitude",
                        "userAgent",
                        "location.country",
                        "referer",
                    ),
                    "personal data that no journey needs",
                ),
                **dict.fromkeys(
                    (
                        "portalId",
                        "appId",
                        "appName",
                        "emailCampaignGroupId",
                        "smtpId",
                        "sentBy.id",
                        "sentBy.created",
                        "causedBy.id",
                        "causedBy.created",
                        "obsoletedBy.id",
                        "obsoletedBy.created",
                        "linkId",
                        "attempt",
                        "source",
                        "sourceId",
                        "requestedBy",
                        "hmid",
                        "bounced",
                    ),
                    "numbers of the system's own",
                ),
                **dict.fromkeys(
                    ("response", "dropMessage", "suppressedMessage", "suppressedReason"),
                    "free text of another server, which may have addresses in it",
                ),
                **{
                    f"browser.{part}": "says with what it was read, in too many ways to be of use"
                    for part in ("name", "family", "producer", "producerUrl", "type", "url", "version")
                },
            },
            differs="`SENT` is when HubSpot sent; a bounce is `soft` whose `status` begins with 4 or whose `category` "
            "does "
            "not say that the address is gone; a change of single subscriptions is `subscription_changed`, as "
            "HubSpot's "
            "subscriptions are no purposes here",
        ),
        Table(
            name="contact_opt_outs",
            needs=("optout.contact", "optout.value", "optout.at"),
            clock=_ISO,
            contact=("optout.contact",),
            key=("optout.contact", "optout.at", "optout.value"),
            sorted_by="optout.value",
            events=(
                Event("consent_withdrawn", "optout.at", {"optout.value": ("true",)}, is_consent=True),
                Event("consent_given", "optout.at", {"optout.value": ("back",)}, is_consent=True),
            ),
            passed_over={"": "nothing was known then", "false": "not to have opted out is no consent"},
            differs="`false` after `true` (called `back` here) is taken for a new consent",
        ),
        Table(
            name="form_submissions",
            needs=("submittedAt", "email"),
            contact=("email",),
            key=("conversionId", "submittedAt", "email"),
            events=(Event("form_submitted", "submittedAt"),),
            properties={"pageUrl": "url", "formId": "form"},
            anonymous="the form asks for no address",
            left_out={"values": "personal data that no journey needs"},
            differs="of what was typed in only the address is looked at, which is the contact",
        ),
        Table(
            name="campaigns",
            needs=("id", "appId", "name", "subject"),
            names=Names("id", "name"),
        ),
        Table(
            name="contacts",
            needs=("id", "properties.email"),
            clock=_ISO,
            contact=("properties.email",),
            is_contacts=True,
            modified_at="properties.lastmodifieddate",
            inside=("properties.",),
            properties={
                "properties.hs_timezone": "hs_timezone",
                "properties.hs_email_optout": "hs_email_optout",
                "properties.lifecyclestage": "lifecyclestage",
                "properties.country": "country",
            },
            flags=frozenset({"hs_email_optout"}),
            left_out={
                **_PERSONAL,
                **dict.fromkeys(
                    ("id", "properties.hs_object_id", "archived", "archivedAt", "url", "createdAt", "updatedAt"),
                    "numbers of the system's own",
                ),
            },
        ),
        Table(
            name="contacts_export",
            needs=("Record ID", "Email"),
            contact=("Email",),
            is_contacts=True,
            modified_at="Last Modified Date",
            words=("contacts", "export"),
            clock=Clock("text", None, "an export of the user interface is in the zone of whoever exported it"),
            properties={
                "Lifecycle Stage": "lifecyclestage",
                "Country/Region": "country",
                "Unsubscribed from all email": "hs_email_optout",
            },
            flags=frozenset({"hs_email_optout"}),
            left_out={
                **{name: why for name, why in _PERSONAL.items() if name != "email"},
                "Record ID": "numbers of the system's own",
            },
        ),
    ),
    unfold=_unfold,
    steps=_STEPS,
    limits=(
        "A contact is its address, as e-mail events know nothing else.",
        "`hs_email_optout` of a contact says that it opted out, not when: no event is made of it. The e-mail events, "
        "or the "
        "property's history, say when.",
        "`is_filtered` is HubSpot's `filteredEvent`: left out of its reports, for bots or by your own settings. As it "
        "does "
        "not say which, `is_machine` stays missing.",
        "Attributes of contacts are as of the export: a replay over the past sees them as if they had always been so.",
    ),
)
