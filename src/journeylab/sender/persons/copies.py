"""A copy of all that is known of a person, for that person (GDPR Art. 15 and 20), as plain data."""

from __future__ import annotations

from email import message_from_bytes
from email.policy import SMTP
from typing import Any

from sqlalchemy import Connection, select

from journeylab.errors import DataError
from journeylab.sender.live.inspection import known_of
from journeylab.sender.live.intake import properties_of
from journeylab.sender.sending.claims import rows_of
from journeylab.sender.store import tables as t

__all__ = ["copy_of"]


def copy_of(connection: Connection, contact: str) -> dict[str, Any]:
    """All that is known of a contact: as `known_of` reveals it, with `events` and the `body` of kept messages.

    `events` has `event`, `occurred_at`, `received_at` (ISO 8601, UTC) and `properties`, in the order of receipt. Where
    a message's bytes are still kept, `messages` has its `subject` and its `body` as text.

    Args:
        connection: any transaction of a store that was opened with its keys.
        contact: its id.

    Raises:
        DataError: when there is no such contact, or it was erased.
    """
    e = t.events.c
    key = connection.scalar(select(t.contacts.c.sealed_key).where(t.contacts.c.contact == contact))
    found = known_of(connection, contact, reveal=True) if key is not None else None
    if found is None:
        raise DataError(f"there is no contact {contact!r} of whom anything is known")
    events = connection.execute(select(t.events).where(e.contact == contact).order_by(e.event_id)).all()
    bodies = {
        row.message_key: row.body for row in rows_of(connection, [one["message_key"] for one in found["messages"]])
    }
    for one in found["messages"]:
        body = bodies.get(one["message_key"])
        if body:
            mail = message_from_bytes(body, policy=SMTP)
            text = mail.get_body(("plain", "html"))
            one |= {"subject": str(mail["Subject"] or ""), "body": "" if text is None else text.get_content()}
    return found | {
        "events": [
            {
                "event": row.event, "occurred_at": row.occurred_at.isoformat(),
                "received_at": row.received_at.isoformat(), "properties": properties,
            }
            for row, properties in zip(events, properties_of(connection, events), strict=True)
        ],
    }  # fmt: skip
