"""What somebody outside has to be told: put down in the transaction in which it is decided, delivered by `outbox`."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from sqlalchemy import Connection

from journeylab.sender.store import tables as t
from journeylab.sender.store.bulk import insert_into

__all__ = ["tell"]


def tell(
    connection: Connection, target: str, webhook_id: str, kind: str, data: Mapping[str, Any], now: datetime
) -> bool:
    """Whether something is to be told that was not yet: of one webhook_id, the first row stays as it is.

    Args:
        connection: a writing transaction; without its commit nobody is told.
        target: who is told: `alerts`, `crm` or `audit`, as in the settings.
        webhook_id: the id under which it is told, however often (Standard Webhooks, `webhook-id`).
        kind: what it is, such as `consent.withdrawn` (`type` of the body).
        data: the facts, plain data with instants as ISO 8601 text; nothing personal but a contact's id.
        now: the store's instant.
    """
    row = {
        "target": target,
        "webhook_id": webhook_id,
        "body": {"type": kind, "timestamp": now.isoformat(), "data": dict(data)},
        "created_at": now,
        "attempts": 0,
        "next_attempt_at": now,
    }
    wanted = insert_into(connection, t.outbox).values(row).on_conflict_do_nothing(index_elements=["target", "webhook_id"])
    return connection.execute(wanted.returning(t.outbox.c.outbox_id)).one_or_none() is not None
