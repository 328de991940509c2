"""Klaviyo: events of its API with their metrics and profiles, as JSON."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from journeylab.importers.events.adapter import Adapter, Clock, Event, Table, opted_out
from journeylab.importers.events.unfolding import flat, records

__all__ = ["ADAPTER"]

_AT: Final = "datetime"
_METRIC: Final = "metric"
_STEPS = """
Save the pages of `GET /api/events?include=metric,profile` as JSON, one file for each page.

```
journeylab events import klaviyo pages/ --log events.parquet --contacts contacts.parquet
```
"""


def _related(row: Mapping[str, Any], name: str) -> Any:
    inside = row.get("relationships")
    one = inside.get(name) if isinstance(inside, Mapping) else None
    data = one.get("data") if isinstance(one, Mapping) else None
    return data.get("id") if isinstance(data, Mapping) else None


def _unfold(data: Any) -> Iterator[dict[str, Any]]:
    """Events under the names of their metrics, and the profiles beside them."""
    included = data.get("included") if isinstance(data, Mapping) else None
    beside = [one for one in included if isinstance(one, Mapping)] if isinstance(included, list) else []
    metrics = {
        one.get("id"): attributes.get("name")
        for one in beside
        if one.get("type") == "metric" and isinstance(attributes := one.get("attributes"), Mapping)
    }
    for row in [*records(data, "type"), *(one for one in beside if one.get("type") == "profile")]:
        attributes = row.get("attributes")
        if row.get("type") not in ("event", "profile") or not isinstance(attributes, Mapping):
            yield flat(row)
        elif row["type"] == "profile":
            yield {"profile": row.get("id"), **flat(attributes, "profile.")}
        else:
            metric = _related(row, "metric")
            said = attributes.get("event_properties")
            properties = said if isinstance(said, Mapping) else {}
            yield {
                "id": row.get("id"), "profile_id": _related(row, "profile"), "metric": metrics.get(metric, metric),
                **flat({name: value for name, value in attributes.items() if name != "event_properties"}),
                **flat(properties, "event_properties."),
            }  # fmt: skip


def _is(*names: str) -> dict[str, tuple[str, ...]]:
    return {_METRIC: names}


_SOFT: Final = {"event_properties.Bounce Type": ("soft", "soft bounce")}

ADAPTER = Adapter(
    name="klaviyo",
    title="Klaviyo",
    documented=(
        "Get Events; Get Profiles (Klaviyo API reference)",
        "Understanding Apple Mail Privacy Protection opens (help)",
    ),
    clock=Clock("text", "UTC", "ISO 8601 with an offset (`datetime`); `timestamp` says the same in seconds"),
    tables=(
        Table(
            name="events",
            needs=("id", "metric", "datetime", "profile_id"),
            contact=("profile_id",),
            key=("id",),
            sorted_by=_METRIC,
            named_by=_METRIC,
            events=(
                Event("sent", _AT, _is("Received Email")),
                Event("delivered", _AT, _is("Received Email")),
                Event("opened", _AT, _is("Opened Email")),
                Event("clicked", _AT, _is("Clicked Email")),
                Event("bounced", _AT, _is("Bounced Email"), _SOFT, {"bounce_type": "hard"}),
                Event("bounced", _AT, _is("Bounced Email") | _SOFT, said={"bounce_type": "soft"}),
                Event("complained", _AT, _is("Marked Email as Spam")),
                *opted_out(_AT, _is("Unsubscribed from Email Marketing", "Unsubscribed")),
                Event("consent_given", _AT, _is("Subscribed to Email Marketing"), is_consent=True),
                Event("", _AT),
            ),
            passed_over={"Dropped Email": "it was not sent"},
            message=("event_properties.Campaign Name", "event_properties.$message"),
            inside=("event_properties.",),
            properties={
                "event_properties.URL": "link",
                "event_properties.machine_open": "is_machine",
                "event_properties.Apple Privacy Open": "is_machine",
                "event_properties.Bot Click": "is_machine",
                "event_properties.Campaign Name": "campaign",
                "event_properties.$flow": "flow",
                "event_properties.Subject": "subject",
                "event_properties.Bounce Type": "bounce_category",
                "event_properties.$value": "amount",
            },
            numbers=frozenset({"amount"}),
            left_out={
                **dict.fromkeys(
                    (
                        "event_properties.Email Domain",
                        "event_properties.$ESP",
                        "event_properties.Client Name",
                        "event_properties.Client Canonical",
                        "event_properties.Client Type",
                        "event_properties.Client OS",
                        "event_properties.Client OS Family",
                        "event_properties.$_cohort$message_send_cohort",
                        "event_properties.$_cohort$variation_send_cohort",
                        "event_properties.$event_id",
                    ),
                    "numbers of the system's own",
                ),
                "timestamp": "says what `datetime` says",
                "uuid": "says what `id` says",
            },
            anonymous="no profile is named",
            differs="Klaviyo notes a mail when it was received: `Received Email` is `sent` and `delivered` at once, "
            "and what "
            "bounced has no `sent`",
        ),
        Table(
            name="profiles",
            needs=("profile",),
            contact=("profile",),
            is_contacts=True,
            modified_at="profile.updated",
            inside=("profile.properties.", "profile.location.", "profile."),
            properties={
                "profile.location.timezone": "timezone",
                "profile.location.country": "country",
                "profile.locale": "locale",
            },
            left_out=dict.fromkeys(
                (
                    "profile.email",
                    "profile.phone_number",
                    "profile.external_id",
                    "profile.first_name",
                    "profile.last_name",
                    "profile.organization",
                    "profile.title",
                    "profile.image",
                    "profile.location.address1",
                    "profile.location.address2",
                    "profile.location.city",
                    "profile.location.zip",
                    "profile.location.region",
                    "profile.location.latitude",
                    "profile.location.longitude",
                    "profile.location.ip",
                    "profile.last_event_date",
                    "profile.created",
                    "profile.anonymous_id",
                ),
                "personal data that no journey needs",
            ),
        ),
    ),
    unfold=_unfold,
    steps=_STEPS,
    limits=(
        "A contact is its profile's id. Ask for `include=metric`: without it events are called by the ids of their "
        "metrics.",
        "Attributes of profiles are as of the export: a replay over the past sees them as if they had always been so.",
    ),
)
