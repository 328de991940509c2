"""Salesforce: the tracking of Marketing Cloud, and contacts of the CRM with their histories.

The CRM's are exported by Data Loader, the weekly export, or the API.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from journeylab.importers.events.adapter import Adapter, Clock, Event, Table
from journeylab.importers.events.unfolding import flat, records

from . import marketingcloud

__all__ = ["ADAPTER"]

_PERSONAL: Final = "personal data that no journey needs"
_NUMBERS: Final = "numbers of the system's own"
_STEPS = """
Of Marketing Cloud: in Automation Studio make a data extract activity *Tracking Extract* with a `.zip` output, or query
the data views into a data extension and export that as CSV.

```
journeylab events import salesforce extract_20260301.zip --log events.parquet --contacts contacts.parquet
```

`SendJobs.csv` (or `_Job`) gives messages the names of their e-mails; without it they are called by their job numbers.

Of the CRM: export `Contact` and `ContactHistory` (with field history tracking of *Email Opt Out* switched on) as CSV.

```
journeylab events import salesforce Contact.csv ContactHistory.csv --log events.parquet --contacts contacts.parquet
```
"""


def _unfold(data: Any) -> Iterator[dict[str, Any]]:
    for row in records(data, "Id", "SubscriberKey", "SubscriberID", "SendID", "JobID"):
        yield flat(
            {name: value for name, value in row.items() if name != "attributes" or not isinstance(value, Mapping)}
        )


_OPT_OUT: Final = {"Field": ("HasOptedOutOfEmail",)}
_NO_CHANGE: Final = ("created", "contactMerged", "contactCreatedFromLead", "contactConvertedFromLead", "locked",
"unlocked",
                     "ownerAccepted", "ownerAssignment")  # fmt: skip

_CLOCK: Final = Clock(
    "text", "UTC", "ISO 8601 with an offset from the API and Data Loader, GMT without one in the weekly export"
)

ADAPTER = Adapter(
    name="salesforce",
    title="Salesforce (Marketing Cloud and CRM)",
    documented=(
        *marketingcloud.DOCUMENTED,
        "Contact; ContactHistory; ContactPointTypeConsent (Object Reference for the Salesforce Platform)",
    ),
    clock=marketingcloud.CLOCK,
    tables=(
        *marketingcloud.TABLES,
        Table(
            name="ContactHistory",
            clock=_CLOCK,
            needs=("Id", "ContactId", "Field", "NewValue", "CreatedDate"),
            words=("contacthistory",),
            contact=("ContactId",),
            key=("Id",),
            sorted_by="Field",
            events=(
                Event("consent_withdrawn", "CreatedDate", _OPT_OUT | {"NewValue": ("true", "1")}, is_consent=True),
                Event(
                    "consent_given",
                    "CreatedDate",
                    _OPT_OUT | {"NewValue": ("false", "0"), "OldValue": ("true", "1")},
                    is_consent=True,
                ),
                Event(
                    "attribute_changed",
                    "CreatedDate",
                    unless={
                        "Field": (
                            "HasOptedOutOfEmail",
                            *_NO_CHANGE,
                            "",
                            "Email",
                            "Phone",
                            "FirstName",
                            "LastName",
                            "Name",
                            "MobilePhone",
                            "HomePhone",
                        )
                    },
                ),
            ),
            passed_over={
                "HasOptedOutOfEmail": "not to have opted out is no consent",
                **dict.fromkeys(_NO_CHANGE, "no attribute was changed"),
                **dict.fromkeys(
                    ("Email", "Phone", "FirstName", "LastName", "Name", "MobilePhone", "HomePhone"), _PERSONAL
                ),
            },
            properties={"Field": "name", "NewValue": "value"},
            left_out={"OldValue": "the value before, which the log has"}
            | dict.fromkeys(("CreatedById", "CreatedBy.Name", "IsDeleted", "DataType"), _NUMBERS),
            differs="`false` after `true` is taken for a new consent",
        ),
        Table(
            name="ContactPointTypeConsent",
            clock=_CLOCK,
            needs=("Id", "PartyId", "PrivacyConsentStatus"),
            words=("contactpointtypeconsent",),
            skipped="it speaks of Individuals: join them with Contact.IndividualId in a query, and import that as "
            "`warehouse`",
        ),
        Table(
            name="Contact",
            clock=_CLOCK,
            needs=("Id", "AccountId", "Email", "LastModifiedDate"),
            words=("contact", "contacts"),
            contact=("Id",),
            is_contacts=True,
            key=("Id", "EmailBouncedDate"),
            modified_at="LastModifiedDate",
            events=(
                Event("bounced", "EmailBouncedDate", unless={"EmailBouncedDate": ("",)}, said={"bounce_type": "hard"}),
            ),
            properties={
                "HasOptedOutOfEmail": "HasOptedOutOfEmail",
                "LeadSource": "lead_source",
                "MailingCountry": "country",
                "DoNotCall": "DoNotCall",
            },
            flags=frozenset({"HasOptedOutOfEmail", "DoNotCall", "is_machine"}),
            left_out={
                **dict.fromkeys(
                    (
                        "LastName",
                        "FirstName",
                        "Salutation",
                        "MiddleName",
                        "Suffix",
                        "Name",
                        "Email",
                        "Phone",
                        "Fax",
                        "MobilePhone",
                        "HomePhone",
                        "OtherPhone",
                        "AssistantPhone",
                        "AssistantName",
                        "Birthdate",
                        "Description",
                        "Title",
                        "Department",
                        "PhotoUrl",
                        "MailingStreet",
                        "MailingCity",
                        "MailingPostalCode",
                        "MailingState",
                        "MailingLatitude",
                        "MailingLongitude",
                        "Mailing*",
                        "Other*",
                    ),
                    _PERSONAL,
                ),
                **dict.fromkeys(
                    (
                        "AccountId",
                        "OwnerId",
                        "ReportsToId",
                        "MasterRecordId",
                        "IndividualId",
                        "CreatedById",
                        "LastModifiedById",
                        "CreatedDate",
                        "SystemModstamp",
                        "LastActivityDate",
                        "LastCURequestDate",
                        "LastCUUpdateDate",
                        "LastViewedDate",
                        "LastReferencedDate",
                        "IsDeleted",
                        "IsEmailBounced",
                        "Jigsaw",
                        "JigsawContactId",
                        "CleanStatus",
                        "GeocodeAccuracy",
                    ),
                    _NUMBERS,
                ),
                "EmailBouncedReason": "free text of another server, which may have addresses in it",
            },
        ),
    ),
    unfold=_unfold,
    steps=_STEPS,
    limits=(
        *marketingcloud.LIMITS,
        "`HasOptedOutOfEmail` of a contact says that it opted out, not when: no event is made of it. `ContactHistory` "
        "says "
        "when, from the day on which its tracking was switched on.",
        "Attributes of contacts are as of the export: a replay over the past sees them as if they had always been so, "
        "but for "
        "those that `ContactHistory` has changes of.",
    ),
)
