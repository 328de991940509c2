"""What somebody outside has to be told: put down in the transaction in which it is decided, delivered by `outbox`."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

from sqlalchemy import Connection

from journeylab.sender.store import tables as t
from journeylab.sender.store.bulk import insert_into

__all__ = ["SPREAD", "tell"]

SPREAD: Final = ("alerts", "crm")
"""The targets whose facts the outbox spreads to whoever else the settings name for them."""


def tell(
    connection: Connection,
    target: str,
    webhook_id: str,
    kind: str,
    data: Mapping[str, Any],
    now: datetime,
    *,
    about: str | None = None,
) -> bool:
    """Whether something is to be told that was not yet: of one webhook_id and target, the first row stays as it is.

    Args:
        connection: a writing transaction; without its commit nobody is told.
        target: who is told: `alerts`, `crm` or `audit`, as in the settings, or a name with the kind of its entry there
            before it, such as `incidents/pager` or `connectors/hubspot`.
        webhook_id: the id under which it is told, however often (Standard Webhooks, `webhook-id`).
        kind: what it is, such as `consent.withdrawn` (`type` of the body).
        data: the facts, plain data with instants as ISO 8601 text; nothing personal but a contact's id.
        now: the store's instant.
        about: the thing that it is of; the rows of one thing are told to a target one after the other. By default
            connectors are told what has a `contact` one after the other for each contact.
    """
    row = {
        "target": target,
        "webhook_id": webhook_id,
        "about": about or thing_of(target, data),
        "body": {"type": kind, "timestamp": now.isoformat(), "data": dict(data)},
        "created_at": now,
        "spread_at": None if target in SPREAD else now,
        "attempts": 0,
        "next_attempt_at": now,
    }
    wanted = insert_into(connection, t.outbox).values(row)
    wanted = wanted.on_conflict_do_nothing(index_elements=["target", "webhook_id"])
    return connection.execute(wanted.returning(t.outbox.c.outbox_id)).one_or_none() is not None


def thing_of(target: str, data: Mapping[str, Any]) -> str | None:
    """The thing that facts for a target are of by themselves: for connectors their contact."""
    is_ordered = target.startswith("connectors/") and "contact" in data
    return f"contact/{data['contact']}" if is_ordered else None
