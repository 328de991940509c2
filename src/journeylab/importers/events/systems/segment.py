"""Segment and what speaks like it (RudderStack, and others): calls as JSON Lines, and the tables of a warehouse."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from journeylab.importers.events.adapter import Adapter, Clock, Event, Table, opted_out
from journeylab.importers.events.unfolding import TABLE, flat, records

__all__ = ["ADAPTER"]

_AT: Final = "timestamp"
_NUMBERS: Final = "numbers of the system's own"
_CLOCKS: Final = {
    **dict.fromkeys(("original_timestamp", "sent_at"), "the clock of a device, which may be wrong"),
    **dict.fromkeys(("uuid_ts", "loaded_at"), "when the warehouse took it up"),
}
_LEFT_OUT: Final = {
    **_CLOCKS,
    "context_*": "with what it was done, in too many ways to be of use",
    **dict.fromkeys(("anonymous_id", "uuid", "integrations", "channel", "version", "write_key", "project_id", "type",
                     "metadata_*", "integrations_*", "previous_id", "__*"), _NUMBERS),
}  # fmt: skip
_NOBODY: Final = "nobody is identified (no user_id)"
_TABLES: Final = {"track": "tracks", "identify": "identifies", "page": "pages", "screen": "screens", "group": "groups",
                  "alias": "aliases"}  # fmt: skip
_NAMES: Final = {
    "messageId": "id", "userId": "user_id", "anonymousId": "anonymous_id", "receivedAt": "received_at",
    "sentAt": "sent_at",
    "originalTimestamp": "original_timestamp", "event": "event_text", "groupId": "group_id",
    "previousId": "previous_id",
    "writeKey": "write_key", "projectId": "project_id",
}  # fmt: skip
_STEPS = """
```
journeylab events import segment calls.jsonl --log events.parquet
journeylab events import segment tracks=snowflake_tracks.csv --log events.parquet
journeylab events import segment postgresql://reader@db.example/warehouse --log events.parquet \\
    --query "SELECT * FROM shop.order_completed"
```
"""


def _unfold(data: Any) -> Iterator[dict[str, Any]]:
    """Calls, each under the name of the table that a warehouse would have it in."""
    batch = data.get("batch") if isinstance(data, Mapping) else None
    for row in batch if isinstance(batch, list) else records(data, "type"):
        if not isinstance(row, Mapping) or row.get("type") not in _TABLES:
            raise ValueError(f"is no call; a call's `type` is {', '.join(_TABLES)}")
        inside = {name: row[name] for name in ("properties", "traits") if isinstance(row.get(name), Mapping)}
        plain = {_NAMES.get(name, name): value for name, value in row.items() if name not in ("properties", "traits")}
        context = plain.pop("context", None)
        yield (
            {TABLE: _TABLES[row["type"]]}
            | flat(plain)
            | flat(inside)
            | (flat(context, "context_") if isinstance(context, Mapping) else {})
        )


def _is(*names: str) -> dict[str, tuple[str, ...]]:
    return {"event_text": names}


ADAPTER = Adapter(
    name="segment",
    title="Segment-style customer data platforms",
    documented=(
        "Spec: Common Fields; Spec: Track, Identify, Page, Screen, Group, Alias; Email Events (Segment)",
        "Warehouse Schemas (Segment); Warehouse Schema (RudderStack)",
    ),
    clock=Clock(
        "text",
        "UTC",
        "`timestamp`, which the platform has corrected by the difference between the device's clock and its own; ISO "
        "8601, "
        "and UTC in warehouses",
    ),
    tables=(
        Table(
            name="tracks",
            needs=("id", "event_text", "timestamp", "user_id"),
            words=("tracks", "track"),
            contact=("user_id",),
            key=("id",),
            named_by="event_text",
            received_at="received_at",
            since=("received_at",),
            events=(
                Event("delivered", _AT, _is("Email Delivered")),
                Event("opened", _AT, _is("Email Opened")),
                Event("clicked", _AT, _is("Email Link Clicked")),
                Event("bounced", _AT, _is("Email Bounced"), said={"bounce_type": "hard"}),
                Event("complained", _AT, _is("Email Marked as Spam")),
                *opted_out(_AT, _is("Unsubscribed")),
                Event("", _AT, of_message=False),
            ),
            message=("properties.campaign_name", "properties.email_id"),
            inside=("properties.",),
            properties={"properties.link_url": "link"},
            left_out=_LEFT_OUT | {"event": "says what `event_text` says"},
            anonymous=_NOBODY,
            differs="a bounce is `hard`, as the specification does not say which it is",
        ),
        Table(
            name="identifies",
            needs=("id", "timestamp", "user_id"),
            words=("identifies", "identify"),
            contact=("user_id",),
            key=("id", "trait"),
            received_at="received_at",
            since=("received_at",),
            events=(Event("attribute_changed", _AT),),
            has_traits=True,
            inside=("traits.",),
            properties={"trait": "name", "trait_value": "value"},
            left_out=_LEFT_OUT
            | dict.fromkeys(
                (
                    f"{before}{name}"
                    for before in ("", "traits.")
                    for name in (
                        "email",
                        "phone",
                        "first_name",
                        "last_name",
                        "firstName",
                        "lastName",
                        "address",
                        "avatar",
                        "birthday",
                        "username",
                        "address.street",
                        "address.city",
                        "address.postalCode",
                        "address.state",
                    )
                ),
                "personal data that no journey needs",
            )
            | dict.fromkeys(("traits.website", "website"), "the account's page"),
            anonymous=_NOBODY,
        ),
        Table(
            name="pages",
            needs=("id", "timestamp", "user_id"),
            words=("pages", "page"),
            contact=("user_id",),
            key=("id",),
            received_at="received_at",
            since=("received_at",),
            events=(Event("page_viewed", _AT),),
            inside=("properties.",),
            properties={
                "properties.url": "url",
                "url": "url",
                "properties.path": "path",
                "path": "path",
                "properties.title": "page_title",
                "title": "page_title",
                "properties.referrer": "referrer",
                "referrer": "referrer",
                "name": "page",
                "category": "page_category",
            },
            left_out=_LEFT_OUT,
            anonymous=_NOBODY,
        ),
        Table(
            name="screens",
            needs=("id", "timestamp", "user_id"),
            words=("screens", "screen"),
            contact=("user_id",),
            key=("id",),
            received_at="received_at",
            since=("received_at",),
            events=(Event("screen_viewed", _AT),),
            inside=("properties.",),
            properties={"name": "screen", "category": "screen_category"},
            left_out=_LEFT_OUT,
            anonymous=_NOBODY,
        ),
        Table(
            name="groups",
            needs=("id", "timestamp", "user_id", "group_id"),
            words=("groups", "group"),
            contact=("user_id",),
            key=("id",),
            received_at="received_at",
            since=("received_at",),
            events=(Event("group_joined", _AT),),
            inside=("traits.",),
            properties={"group_id": "group"},
            left_out=_LEFT_OUT,
            anonymous=_NOBODY,
        ),
        Table(
            name="aliases",
            needs=("id", "timestamp", "user_id", "previous_id"),
            words=("aliases", "alias"),
            skipped="which ids are one person is not merged here; bring one id for each",
        ),
    ),
    unfold=_unfold,
    steps=_STEPS,
    limits=(
        "Of the five instants of a call `timestamp` is when it happened and `received_at` when the platform had it; "
        "new rows "
        "are asked of a warehouse by `received_at`, as the platform advises.",
        "In a warehouse, `tracks` has no properties: the tables of single events have them, and are read with "
        "`--query`. "
        "Import those, or `tracks`, not both: an event is known by its id, and the first that comes is kept.",
        "What is done before somebody is identified is left out and counted: ids are not stitched.",
    ),
)
