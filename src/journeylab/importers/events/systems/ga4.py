"""Google Analytics 4: the tables of its BigQuery export, as JSON Lines or Parquet, or asked of BigQuery."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from journeylab.importers.events.adapter import Adapter, Clock, Event, Table
from journeylab.importers.events.unfolding import flat, records

__all__ = ["ADAPTER"]

_STEPS = """
```
bq extract --destination_format NEWLINE_DELIMITED_JSON shop:analytics_1234.events_20260301 gs://shop/events.jsonl
journeylab events import ga4 events.jsonl --log events.parquet
journeylab events import ga4 adbc+bigquery://shop/analytics_1234 --log events.parquet \\
    --query "SELECT * FROM analytics_1234.events_20260301"
```
"""


def _parameters(pairs: Any) -> dict[str, Any]:
    """The values of repeated records of a key and a value of one of several types."""
    found = {}
    for pair in pairs if isinstance(pairs, list) else ():
        if isinstance(pair, Mapping) and isinstance(pair.get("value"), Mapping):
            said = [
                _number(kind, value)
                for kind, value in pair["value"].items()
                if kind.endswith("_value") and value is not None
            ]
            found[str(pair.get("key"))] = said[0] if said else None
    return found


def _number(kind: str, value: Any) -> Any:
    """A parameter's value; BigQuery writes whole numbers as texts in JSON."""
    if kind == "int_value" and isinstance(value, str) and value.lstrip("-").isdecimal() and len(value) < 20:
        return int(value)
    return value


def _unfold(data: Any) -> Iterator[dict[str, Any]]:
    for row in records(data, "event_name"):
        plain = {name: value for name, value in row.items() if name not in ("event_params", "user_properties")}
        yield flat(plain) | flat(_parameters(row.get("event_params")), "params.")


ADAPTER = Adapter(
    name="ga4",
    title="Google Analytics 4",
    documented=("BigQuery Export schema (Google Analytics help)",),
    clock=Clock("us", "UTC", "microseconds since 1970, UTC, by the clock of the client (`event_timestamp`)"),
    tables=(
        Table(
            name="events",
            needs=("event_name", "event_timestamp", "user_pseudo_id"),
            contact=("user_id",),
            key=(
                "user_pseudo_id",
                "event_timestamp",
                "event_name",
                "event_bundle_sequence_id",
                "batch_page_id",
                "batch_ordering_id",
                "batch_event_index",
            ),
            named_by="event_name",
            events=(Event("", "event_timestamp", of_message=False),),
            inside=("params.",),
            properties={
                "params.page_location": "url",
                "params.page_title": "page_title",
                "params.page_referrer": "referrer",
                "params.value": "amount",
                "ecommerce.purchase_revenue": "revenue",
                "platform": "platform",
                "ecommerce.transaction_id": "transaction",
            },
            numbers=frozenset({"amount", "revenue"}),
            left_out={
                "event_date": "the day in the property's zone, which the instant says",
                **dict.fromkeys(
                    (
                        "event_previous_timestamp",
                        "event_server_timestamp_offset",
                        "event_value_in_usd",
                        "user_first_touch_timestamp",
                        "stream_id",
                        "is_active_user",
                        "event_dimensions.*",
                        "params.ga_session_id",
                        "params.ga_session_number",
                        "params.engaged_session_event",
                        "params.session_engaged",
                        "params.engagement_time_msec",
                        "params.entrances",
                        "params.batch_*",
                        "user_ltv.*",
                        "privacy_info.*",
                        "publisher.*",
                        "app_info.*",
                    ),
                    "numbers of the system's own",
                ),
                **dict.fromkeys(("device.*", "geo.*"), "personal data that no journey needs"),
                **dict.fromkeys(
                    ("traffic_source.*", "collected_traffic_source.*", "session_traffic_source_last_click.*"),
                    "where a session came from, in too many ways to be of use",
                ),
                "items": "lists of goods, which come better from where they are sold",
            },
            anonymous="nobody is signed in (no user_id)",
        ),
    ),
    unfold=_unfold,
    overlap=4,
    steps=_STEPS,
    limits=(
        "Events have no id: they are known by client, instant, name and place in the batch. A day's table changes for "
        "up to "
        "three days, and the export within the day (`events_intraday_…`) has other batches: import finished days only.",
        "What is done by those who are not signed in is left out and counted: ids are not stitched.",
    ),
)
