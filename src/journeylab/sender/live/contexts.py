"""Contexts: what a message's template may know of its contact, as of the send, and nothing beyond it.

Attributes are those of the contacts table with their changes up to now, and what the entry's own `set` nodes have set;
`entry` has the properties of the event that made the entry. Only what the message declares is taken.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, select

from journeylab.journey import Set
from journeylab.sender.store import tables as t

from .intake import addresses_of, attributes_of, properties_of
from .running import Running

__all__ = ["Context", "contexts_of"]


@dataclass(frozen=True)
class Context:
    """What a message is made from: the address (missing where the contact has none), attributes, trigger properties."""

    address: str | None
    attributes: dict[str, Any]
    entry: dict[str, Any]


def contexts_of(connection: Connection, rows: Sequence[Any], running: Running, now: datetime) -> list[Context]:
    """The context of each message, as of now.

    Args:
        connection: any transaction.
        rows: rows of `sends`.
        running: what runs, for the definitions of the messages' journeys.
        now: the store's instant.
    """
    contacts = sorted({row.contact for row in rows})
    known = attributes_of(connection, contacts, now)
    addresses = addresses_of(connection, contacts)
    found = []
    for row in rows:
        attributes, entry = dict(known.get(row.contact, {})), {}
        if row.release_id is not None:
            journey = next(one.spans[0].journey for one in running.versions if one.release_id == row.release_id)
            sets = {name: node.set for name, node in journey.nodes.items() if isinstance(node, Set)}
            if sets:
                attributes |= _set_by(connection, row, sets)
            entry = _trigger_of(connection, row, journey.trigger.event)
        found.append(Context(addresses.get(row.contact), attributes, entry))
    return found


def _set_by(connection: Connection, row: Any, sets: dict[str, Any]) -> dict[str, Any]:
    """What the contact's entries in this journey have set so far, the latest last."""
    v = t.visits.c
    passed = connection.scalars(
        select(v.node)
        .where(v.contact == row.contact, v.journey == row.journey, v.node.in_([*sets]), v.left_at.is_not(None))
        .order_by(v.left_at)
    )
    found: dict[str, Any] = {}
    for node in passed:
        found |= sets[node]
    return found


def _trigger_of(connection: Connection, row: Any, event: str | None) -> dict[str, Any]:
    """The properties of the event that made the entry; none where no event did."""
    if event is None:
        return {}
    e, n = t.events.c, t.entries.c
    entered_at = connection.scalar(
        select(n.entered_at).where(n.contact == row.contact, n.journey == row.journey, n.entry == row.entry)
    )
    given = connection.execute(
        select(e.contact, e.properties, e.sealed)
        .where(e.contact == row.contact, e.event == event, e.received_at == entered_at)
        .order_by(e.event_id)
        .limit(1)
    ).one_or_none()
    return {} if given is None else properties_of(connection, [given])[0]
