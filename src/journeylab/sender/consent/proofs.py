"""What can be shown of a contact's consent (GDPR Art. 7(1)): who was asked what, when, in which words, and answered."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import Connection, select

from journeylab.sender.live.intake import properties_of
from journeylab.sender.store import tables as t
from journeylab.sender.store.seals import seal_of

from .evidence import opened_evidence
from .standing import EVENTS

__all__ = ["proofs_of"]


def proofs_of(connection: Connection, contact: str) -> list[dict[str, Any]]:
    """All that is known of a contact's consent, in order of time, as plain data for an audit.

    Each has `at` (ISO 8601, UTC), `what` (`requested`, `given`, `withdrawn`, `erased`), `purpose` (None for all),
    `route` and `evidence`; and where there are such, `wording` (its SHA-256), `text` and `language`, `expires_at`,
    `request_key`, and `message_key` with `message_state` and `message_gated_at`: the message that asked to confirm, or
    whose link was used. What another system told (an event that came in) has the route `event` and the event's
    own id and time as its evidence.
    """
    rows = connection.execute(
        select(t.consents, t.wordings.c.text, t.wordings.c.language, t.sends.c.state, t.sends.c.gated_at)
        .outerjoin(t.wordings, t.wordings.c.wording == t.consents.c.wording)
        .outerjoin(t.sends, t.sends.c.message_key == t.consents.c.message_key)
        .where(t.consents.c.contact == contact)
        .order_by(t.consents.c.consent_id)
    ).all()
    seal = seal_of(connection, contact) if rows else None
    found = [
        {
            "at": one.at,
            "what": one.what,
            "purpose": one.purpose,
            "route": one.route,
            "evidence": {} if seal is None else opened_evidence(seal, one.evidence),
            "wording": one.wording,
            "text": one.text,
            "language": one.language,
            "expires_at": one.expires_at,
            "request_key": one.request_key,
            "message_key": one.message_key,
            "message_state": one.state,
            "message_gated_at": one.gated_at,
        }
        for one in rows
    ]
    own = {(one.at, f"consent_{one.what}", one.purpose) for one in rows}
    events = connection.execute(
        select(t.events)
        .where(t.events.c.contact == contact, t.events.c.event.in_(EVENTS))
        .order_by(t.events.c.event_id)
    ).all()
    for one, properties in zip(events, properties_of(connection, events), strict=True):
        purpose = properties.get("purpose")
        if (one.received_at, one.event, purpose) not in own:
            evidence = {"source_id": one.source_id, "occurred_at": one.occurred_at.isoformat(), **properties}
            found.append(
                {
                    "at": one.received_at,
                    "what": EVENTS[one.event],
                    "purpose": purpose,
                    "route": "event",
                    "evidence": {name: value for name, value in evidence.items() if value is not None},
                }
            )
    found.sort(key=lambda one: one["at"])
    return [{name: _plain(value) for name, value in one.items() if value is not None or name == "purpose"}
            for one in found]  # fmt: skip


def _plain(value: Any) -> Any:
    return value.isoformat() if isinstance(value, datetime) else value
