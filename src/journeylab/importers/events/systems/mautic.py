"""Mautic: the tables of its database, or exports of them."""

from __future__ import annotations

from typing import Final

from journeylab.importers.events.adapter import Adapter, Clock, Event, Names, Table, opted_out
from journeylab.importers.events.unfolding import unfolding

__all__ = ["ADAPTER"]

_NUMBERS: Final = "numbers of the system's own"
_PERSONAL: Final = "personal data that no journey needs"
_NOBODY: Final = "nobody is known to have done it (no lead_id)"
_STEPS = """
```
journeylab events import mautic mysql+pymysql://reader@db.example/mautic \\
    --log events.parquet --contacts contacts.parquet
```

All tables below are read, with or without a prefix such as `mautic_`; `page_hits=URL` reads one. Files are named after
their tables: `email_stats.csv`.
"""

ADAPTER = Adapter(
    name="mautic",
    title="Mautic",
    documented=(
        "The entities of Mautic 5: email_stats, page_hits, form_submissions, lead_donotcontact, lead_event_log, leads "
        "(source)",
    ),
    clock=Clock("text", "UTC", "Mautic keeps all times in UTC"),
    tables=(
        Table(
            name="email_stats",
            needs=("id", "email_id", "lead_id", "date_sent"),
            words=("emailstats",),
            contact=("lead_id",),
            key=("id",),
            events=(
                Event("sent", "date_sent"),
                Event("opened", "date_read", unless={"date_read": ("",)}),
            ),
            since=("date_sent", "date_read"),
            message=("email_id",),
            properties={"source": "source", "source_id": "source_number"},
            left_out={
                **dict.fromkeys(("email_address", "tokens"), _PERSONAL),
                **dict.fromkeys(
                    ("list_id", "ip_id", "copy_id", "tracking_hash", "retry_count", "generated_sent_date"), _NUMBERS
                ),
                **dict.fromkeys(
                    ("open_count", "last_opened", "open_details", "is_read", "viewed_in_browser"),
                    "changes with every open, of which only the first has an instant for good",
                ),
                "is_failed": "has no instant; `lead_donotcontact` says when an address bounced",
            },
            anonymous="the contact was deleted there, or never was one",
            differs="of opens only the first is known",
        ),
        Table(
            name="page_hits",
            needs=("id", "date_hit", "lead_id", "url"),
            words=("pagehits",),
            contact=("lead_id",),
            key=("id",),
            events=(
                Event("clicked", "date_hit", {"source": ("email",)}, {"redirect_id": ("",)}),
                Event("page_viewed", "date_hit", {"source": ("email",), "redirect_id": ("",)}),
                Event("page_viewed", "date_hit", unless={"source": ("email",)}),
            ),
            since=("date_hit",),
            message=("email_id",),
            properties={
                "url": "link",
                "url_title": "page_title",
                "referer": "referrer",
                "page_id": "page",
                "page_language": "language",
            },
            left_out={
                **dict.fromkeys(
                    (
                        "city",
                        "region",
                        "country",
                        "isp",
                        "organization",
                        "user_agent",
                        "remote_host",
                        "query",
                        "browser_languages",
                    ),
                    _PERSONAL,
                ),
                **dict.fromkeys(("ip_id", "device_id", "tracking_id", "code", "source_id", "leaddevice_id"), _NUMBERS),
                "date_left": "changes when the visit ends",
            },
            anonymous=_NOBODY,
            differs="a hit by a redirect of an e-mail is `clicked`, every other `page_viewed`; `link` is its address",
        ),
        Table(
            name="form_submissions",
            needs=("id", "form_id", "date_submitted"),
            words=("formsubmissions",),
            contact=("lead_id",),
            key=("id",),
            events=(Event("form_submitted", "date_submitted"),),
            properties={"form_id": "form", "page_id": "page", "referer": "referrer"},
            left_out=dict.fromkeys(("ip_id", "tracking_id"), _NUMBERS),
            anonymous=_NOBODY,
        ),
        Table(
            name="lead_donotcontact",
            needs=("id", "lead_id", "date_added", "reason", "channel"),
            words=("leaddonotcontact", "donotcontact"),
            contact=("lead_id",),
            key=("id",),
            sorted_by="reason",
            events=(
                *opted_out("date_added", {"reason": ("1",), "channel": ("email",)}),
                Event("bounced", "date_added", {"reason": ("2",), "channel": ("email",)}, said={"bounce_type": "hard"}),
                Event("consent_withdrawn", "date_added", {"reason": ("3",), "channel": ("email",)}, is_consent=True),
                Event("do_not_contact", "date_added", unless={"channel": ("email",)}),
            ),
            passed_over={"0": "it may be contacted"},
            message=("channel_id",),
            properties={"channel": "channel", "reason": "reason"},
            left_out={"comments": _PERSONAL},
            differs="what a person enters by hand (reason 3) is a withdrawal; an entry is deleted there when somebody "
            "opts in again, which leaves no instant: `lead_event_log` has none of it, and so no consent is given here",
        ),
        Table(
            name="lead_event_log",
            needs=("id", "lead_id", "bundle", "object", "action", "date_added"),
            words=("leadeventlog",),
            contact=("lead_id",),
            key=("id",),
            events=(
                Event("segment_changed", "date_added", {"object": ("segment",)}),
                Event("tag_changed", "date_added", {"object": ("tag",)}),
                Event("contact_logged", "date_added", unless={"object": ("segment", "tag")}),
            ),
            properties={"bundle": "bundle", "object": "object", "action": "action", "object_id": "object_number"},
            left_out={**dict.fromkeys(("user_id", "user_name", "properties"), _PERSONAL)},
            anonymous=_NOBODY,
        ),
        Table(name="emails", needs=("id", "name", "email_type"), words=("emails",), names=Names("id", "name")),
        Table(
            name="leads",
            needs=("id", "date_identified"),
            words=("leads", "contacts"),
            contact=("id",),
            is_contacts=True,
            modified_at="date_modified",
            properties={
                "timezone": "timezone",
                "preferred_locale": "locale",
                "country": "country",
                "points": "points",
                "stage_id": "stage",
            },
            numbers=frozenset({"points"}),
            left_out={
                **dict.fromkeys(
                    (
                        "email",
                        "firstname",
                        "lastname",
                        "phone",
                        "mobile",
                        "fax",
                        "address1",
                        "address2",
                        "city",
                        "zipcode",
                        "company",
                        "position",
                        "title",
                        "facebook",
                        "foursquare",
                        "instagram",
                        "linkedin",
                        "skype",
                        "twitter",
                        "website",
                        "social_cache",
                        "internal",
                    ),
                    _PERSONAL,
                ),
                **dict.fromkeys(
                    (
                        "owner_id",
                        "created_by",
                        "created_by_user",
                        "modified_by",
                        "modified_by_user",
                        "checked_out",
                        "checked_out_by",
                        "checked_out_by_user",
                        "is_published",
                        "color",
                        "date_identified",
                        "date_added",
                        "last_active",
                        "generated_email_domain",
                        "attribution",
                        "attribution_date",
                    ),
                    _NUMBERS,
                ),
            },
        ),
    ),
    unfold=unfolding("id"),
    steps=_STEPS,
    limits=(
        "`email_stats` is changed there after the sending: new rows are asked for by `date_sent` and `date_read`.",
        "Whether a machine opened is not kept there: `is_machine` stays missing.",
        "Attributes of contacts are as of the export: a replay over the past sees them as if they had always been so.",
    ),
)
