"""Braze: Currents, its stream of events, as JSON Lines (Avro is made into these first)."""

from __future__ import annotations

from typing import Final

from journeylab.importers.events.adapter import Adapter, Clock, Event, Table, opted_out
from journeylab.importers.events.unfolding import unfolding

__all__ = ["ADAPTER"]

_AT: Final = "time"
_STEPS = """
Currents writes Avro into a bucket, in folders such as `event_type=users.messages.email.Open`. Make JSON Lines of it,
each with the event's type, which the folder says, as `event_type`.

```
journeylab events import braze currents.jsonl --log events.parquet
```
"""


def _is(*kinds: str) -> dict[str, tuple[str, ...]]:
    return {"event_type": tuple(f"users.{kind}" for kind in kinds)}


_PERSONAL: Final = "personal data that no journey needs"
_NUMBERS: Final = "numbers of the system's own"

ADAPTER = Adapter(
    name="braze",
    title="Braze",
    documented=(
        "Message engagement events; Customer behavior events (Braze Currents event glossary)",
        "Bot filtering for emails",
    ),
    clock=Clock("s", "UTC", "seconds since 1970, UTC (`time`)"),
    tables=(
        Table(
            name="currents",
            needs=("id", "event_type", "time"),
            contact=("external_user_id",),
            key=("id",),
            sorted_by="event_type",
            events=(
                Event("sent", _AT, _is("messages.email.Send")),
                Event("delivered", _AT, _is("messages.email.Delivery")),
                Event("opened", _AT, _is("messages.email.Open")),
                Event("clicked", _AT, _is("messages.email.Click")),
                Event("bounced", _AT, _is("messages.email.Bounce"), said={"bounce_type": "hard"}),
                Event("bounced", _AT, _is("messages.email.SoftBounce"), said={"bounce_type": "soft"}),
                Event("complained", _AT, _is("messages.email.MarkAsSpam")),
                *opted_out(_AT, _is("messages.email.Unsubscribe")),
                Event(
                    "consent_withdrawn",
                    _AT,
                    _is("behaviors.subscription.GlobalStateChange")
                    | {"channel": ("email", ""), "subscription_status": ("unsubscribed",)},
                    is_consent=True,
                ),
                Event(
                    "consent_given",
                    _AT,
                    _is("behaviors.subscription.GlobalStateChange")
                    | {"channel": ("email", ""), "subscription_status": ("subscribed", "opted_in")},
                    is_consent=True,
                ),
                Event("subscription_changed", _AT, _is("behaviors.subscriptiongroup.StateChange")),
                Event("purchase", _AT, _is("behaviors.Purchase")),
                Event("session_started", _AT, _is("behaviors.app.SessionStart")),
                Event("journey_entered", _AT, _is("canvas.Entry")),
                Event("journey_converted", _AT, _is("canvas.Conversion", "campaigns.Conversion")),
                Event("", _AT, _is("behaviors.CustomEvent")),
            ),
            named_by="name",
            passed_over={
                "users.messages.email.Abort": "it was not sent",
                "users.messages.email.Deferral": "it is tried again, and Delivery or Bounce says what came of it",
                "users.behaviors.app.SessionEnd": "the start of a session is an event",
                "users.behaviors.subscription.GlobalStateChange": "it is of another channel",
                "users.messages.*": "it is of another channel",
                "users.canvas.*": "what Braze did, not what a contact did",
                "users.campaigns.*": "what Braze did, not what a contact did",
                "users.behaviors.*": "what a contact did in an app, which is no event here",
            },
            message=("canvas_step_name", "campaign_name"),
            inside=("properties.",),
            properties={
                "url": "link",
                "link_alias": "link_name",
                "machine_open": "is_machine",
                "is_suspected_bot_click": "is_machine",
                "is_amp": "is_amp",
                "campaign_name": "campaign",
                "canvas_name": "canvas",
                "canvas_step_name": "canvas_step",
                "subscription_group_id": "subscription_group",
                "subscription_status": "subscription_status",
                "product_id": "product",
                "price": "price",
                "currency": "currency",
                "timezone": "timezone_then",
                "channel": "channel",
            },
            flags=frozenset({"is_machine", "is_amp"}),
            numbers=frozenset({"price"}),
            left_out={
                **dict.fromkeys(
                    (
                        "email_address",
                        "user_agent",
                        "ip_address",
                        "ad_id",
                        "country",
                        "gender",
                        "language",
                        "device_id",
                        "device_model",
                        "device_os",
                    ),
                    _PERSONAL,
                ),
                **dict.fromkeys(
                    (
                        "user_id",
                        "app_group_id",
                        "app_group_api_id",
                        "app_id",
                        "campaign_id",
                        "canvas_id",
                        "canvas_variation_id",
                        "canvas_step_id",
                        "canvas_variation_name",
                        "dispatch_id",
                        "send_id",
                        "link_id",
                        "ip_pool",
                        "sending_ip",
                        "esp",
                        "from_domain",
                        "suspected_bot_click_reason",
                        "message_extras",
                        "conversion_behavior",
                        "conversion_behavior_index",
                        "mailbox_provider",
                        "bounce_code",
                        "ad_tracking_enabled",
                        "is_drop",
                        "sdk_version",
                        "platform",
                        "os_version",
                        "carrier",
                        "resolution",
                        "date",
                        "hour",
                    ),
                    _NUMBERS,
                ),
                "bounce_reason": "free text of another server, which may have addresses in it",
            },
            anonymous="the profile has no external id: nobody you know",
            differs="a custom event has the name that the app gave it; a change of a subscription group is "
            "`subscription_changed`, as Braze's groups are no purposes here",
        ),
    ),
    unfold=unfolding("event_type"),
    steps=_STEPS,
    limits=(
        "A contact is its `external_user_id`. A message is called by the Canvas step or the campaign that it is of.",
        "`machine_open` and `is_suspected_bot_click` are `is_machine`; where Braze says nothing it stays missing.",
    ),
)
