"""What HubSpot's events are called here.

Source: "Workflow actions and enrollment types" (event type ids). Those of e-mails sent and bounced, of meetings,
sequences, pages, objects and changed properties are from workflows that others have published, and not verified
otherwise.
"""

from __future__ import annotations

from typing import Final

__all__ = ["EVENT_TYPES", "PROPERTIES", "PROPERTY_CHANGED", "event_name", "event_type_of"]

PROPERTY_CHANGED: Final = "4-655002"
EVENT_TYPES: Final = {
    "4-667638": "sent", "4-665536": "delivered", "4-666440": "opened", "4-666288": "clicked", "4-5470331": "bounced",
    "4-665538": "replied", "4-666289": "subscription_updated", "4-1639801": "form_submitted",
    "4-1639799": "form_interaction", "4-1639797": "form_view", "4-96000": "page_view", "4-1553675": "ad_interaction",
    "4-68559": "marketing_event_registration", "4-69072": "marketing_event_cancellation", "4-1733817": "call_started",
    "4-1741072": "call_ended", "4-1719453": "sms_sent", "4-1721168": "sms_delivered", "4-1722276": "sms_link_clicked",
    "4-1555804": "cta_view", "4-1555805": "cta_click", "4-675783": "media_played", "4-1720599": "meeting_booked",
    "4-1724222": "meeting_outcome_changed", "4-1463224": "contact_created", "4-675777": "sequence_enrolled",
    "4-675778": "sequence_finished", "4-675776": "sequence_unenrolled", "4-1753168": "workflow_goal_achieved",
    PROPERTY_CHANGED: "attribute_changed",
}  # fmt: skip
"""Our events by HubSpot's event type ids; e-mails' and forms' are called as where HubSpot's events are imported."""
PROPERTIES: Final = {"hs_form_id": "form", "hs_url": "url", "hs_email_id": "message"}
"""What properties of events are called here, where that is not as in HubSpot."""


def event_name(identity: str) -> str:
    """The event that an event type is; of one that is not known, it is called after the id.

    >>> event_name("4-1639801"), event_name("6-1234567")
    ('form_submitted', 'event_6_1234567')
    """
    return EVENT_TYPES.get(identity, f"event_{identity.replace('-', '_')}")


def event_type_of(event: str) -> str | None:
    """The event type id of an event of ours, None where there is none.

    >>> event_type_of("form_submitted"), event_type_of("event_6_1234567"), event_type_of("purchase")
    ('4-1639801', '6-1234567', None)
    """
    for identity, name in EVENT_TYPES.items():
        if name == event:
            return identity
    pieces = event.split("_")
    is_id = len(pieces) == 3 and pieces[0] == "event" and all(one.isdigit() for one in pieces[1:])
    return "-".join(pieces[1:]) if is_id else None
