"""Dittofeed: user events, as its ClickHouse keeps them, as JSON Lines or CSV."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from journeylab.importers.events.adapter import Adapter, Clock, Event, Table, opted_out
from journeylab.importers.events.unfolding import TABLE, flat, records
from journeylab.jsontext import data_of

__all__ = ["ADAPTER"]

_AT: Final = "event_time"
_STEPS = """
```
clickhouse-client --query "SELECT event_type, event, event_time, message_id, user_id, properties, processing_time
    FROM user_events_v2 WHERE workspace_id = '…' FORMAT JSONEachRow" > user_events.jsonl
journeylab events import dittofeed user_events.jsonl --log events.parquet
```
"""


def _unfold(data: Any) -> Iterator[dict[str, Any]]:
    """Events with their properties, and identify calls with their traits, beside."""
    for row in records(data, "event_type"):
        said = row.get("properties")
        if isinstance(said, str):
            said = data_of(said) if said else {}
        inside = said if isinstance(said, Mapping) else {}
        plain = flat({name: value for name, value in row.items() if name != "properties"})
        if row.get("event_type") == "identify":
            yield {TABLE: "traits"} | plain | flat(inside, "traits.")
        else:
            yield plain | flat(inside, "properties.")


def _is(*names: str) -> dict[str, tuple[str, ...]]:
    return {"event_type": ("track",), "event": names}


ADAPTER = Adapter(
    name="dittofeed",
    title="Dittofeed",
    documented=("user_events_v2 and the kinds of internal events (source of Dittofeed)",),
    clock=Clock("text", "UTC", "ClickHouse's DateTime64 of the server, which is UTC"),
    tables=(
        Table(
            name="user_events",
            needs=("event_type", "event", "event_time", "message_id", "user_id"),
            contact=("user_id",),
            key=("message_id",),
            sorted_by="event",
            named_by="event",
            received_at="processing_time",
            events=(
                Event("sent", _AT, _is("DFInternalMessageSent")),
                Event("delivered", _AT, _is("DFEmailDelivered")),
                Event("opened", _AT, _is("DFEmailOpened")),
                Event("clicked", _AT, _is("DFEmailClicked")),
                Event("bounced", _AT, _is("DFEmailBounced"), said={"bounce_type": "hard"}),
                Event("complained", _AT, _is("DFEmailMarkedSpam")),
                *opted_out(
                    _AT, _is("DFSubscriptionChange") | {"properties.action": ("Unsubscribe",)}, of_message=False
                ),
                Event(
                    "consent_given",
                    _AT,
                    _is("DFSubscriptionChange") | {"properties.action": ("Subscribe",)},
                    is_consent=True,
                ),
                Event("page_viewed", _AT, {"event_type": ("page",)}),
                Event("screen_viewed", _AT, {"event_type": ("screen",)}),
                Event("", _AT, {"event_type": ("track",)}),
            ),
            passed_over=dict.fromkeys(
                ("DFEmailDropped", "DFMessageFailure", "DFMessageSkipped", "DFBadWorkspaceConfiguration"),
                "it was not sent",
            )
            | dict.fromkeys(
                (
                    "DFJourneyNodeProcessed",
                    "DFSegmentBroadcast",
                    "DFManualSegmentUpdate",
                    "DFAttachedFiles",
                    "DFUserTrackSignal",
                    "DFGroupUserAssignment",
                    "DFUserGroupAssignment",
                ),
                "what Dittofeed did, not what a contact did",
            )
            | {"": "groups and aliases are no events of a contact"},
            message=("properties.templateId",),
            inside=("properties.",),
            properties={
                "properties.templateId": "template",
                "properties.journeyId": "journey_id",
                "properties.nodeId": "node_id",
                "properties.subscriptionGroupId": "subscription_group",
                "properties.variant.type": "channel",
                "properties.link": "link",
            },
            left_out={
                **dict.fromkeys(
                    (
                        "workspace_id",
                        "anonymous_id",
                        "user_or_anonymous_id",
                        "hidden",
                        "message_raw",
                        "server_time",
                        "properties.workspaceId",
                        "properties.runId",
                        "properties.userId",
                        "properties.messageId",
                        "properties.triggeringMessageId",
                    ),
                    "numbers of the system's own",
                ),
                **dict.fromkeys(
                    (
                        "properties.email",
                        "properties.variant.to",
                        "properties.variant.from",
                        "properties.variant.body",
                        "properties.variant.replyTo",
                        "properties.variant.subject",
                    ),
                    "personal data that no journey needs",
                ),
            },
            anonymous="nobody is identified (no user_id)",
            differs="a bounce is `hard`, as Dittofeed does not say; messages of all channels are `sent`, with their "
            "`channel`; "
            "a change of a subscription group is taken for the purpose of the import, whichever group it is",
        ),
        Table(
            name="traits",
            needs=("event_type", "event_time", "message_id", "user_id"),
            contact=("user_id",),
            key=("message_id", "trait"),
            events=(Event("attribute_changed", _AT),),
            received_at="processing_time",
            properties={"trait": "name", "trait_value": "value"},
            has_traits=True,
            inside=("traits.",),
            left_out=dict.fromkeys(
                ("event", "workspace_id", "anonymous_id", "user_or_anonymous_id", "event_type", "hidden"),
                "numbers of the system's own",
            ),
            anonymous="nobody is identified (no user_id)",
        ),
    ),
    unfold=_unfold,
    steps=_STEPS,
    limits=(
        "A message is called by its template's id. Whether a machine opened is not kept: `is_machine` stays missing.",
    ),
)
