"""Consent as another system has it: taken where it is newer than what is known here, and no echo of what it was told.

A system that is pulled says how things stand, again and again, and it is told what is decided here. Without a rule it
would bring back what it was told, or what was true before: somebody withdraws here, the other system has not heard of
it, and its next page would give the consent back. So an event of a connector changes nothing where the contact's
consent for the purpose

- is already what it says,
- has changed since the instant at which it says so (of two at one instant, the withdrawal counts), or
- is given by it, while the connector has still to be told what was decided here, or was told while it was asked.

What is pulled is told to nobody: neither to the connector that it came from nor to others.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Any, Final, NamedTuple

from sqlalchemy import Connection, or_, select

from journeylab.sender.live.intake import Incoming
from journeylab.sender.store import lock_contacts
from journeylab.sender.store import tables as t
from journeylab.sender.store.lookup import Lookup

from .requests import webhook_id_of
from .standing import EVENTS

__all__ = ["is_news"]

_SAID: Final = {"consent_given": "given", "consent_withdrawn": "withdrawn"}


class _Known(NamedTuple):
    """The latest that is known of a purpose: what, and as of when."""

    event: str
    at: datetime


def is_news(
    connection: Connection, incoming: Sequence[Incoming], connector: str, as_of: datetime, now: datetime
) -> list[bool]:
    """Which events of a connector are to be taken: all but consent that is no news; see the module's text.

    The contacts' rows are locked, so that nothing changes before the events are taken in the same transaction.

    Args:
        connection: a writing transaction.
        incoming: the events, in their order.
        connector: its name in the settings.
        as_of: an instant before the connector was asked.
        now: the store's instant.
    """
    contacts = {one.contact for one in incoming if one.event in _SAID}
    if not contacts:
        return [True] * len(incoming)
    locked = sorted(lock_contacts(connection, contacts, now))
    known: dict[str, dict[str | None, _Known]] = defaultdict(dict)
    decided: dict[str, list[str]] = defaultdict(list)
    for row in _CONSENT.rows(connection, locked):
        purpose = row.properties.get("purpose")
        if purpose is None:
            known[row.contact] = {}
        known[row.contact][purpose] = _Known(row.event, row.occurred_at)
        what = EVENTS[row.event]
        if what in _SAID.values():
            decided[row.contact].append(webhook_id_of(row.contact, what, purpose, row.received_at))
    untold = _untold(connection, {one for ids in decided.values() for one in ids}, connector, as_of)
    found = []
    for one in incoming:
        takes = one.event not in _SAID
        if not takes:
            waits = not untold.isdisjoint(decided[one.contact])
            takes = _changes(one, known[one.contact], now, waits=waits)
            if takes:
                purpose = one.properties.get("purpose")
                known[one.contact][purpose] = _Known(one.event, one.occurred_at or now)
        found.append(takes)
    return found


def _changes(one: Incoming, known: dict[str | None, _Known], now: datetime, *, waits: bool) -> bool:
    """Whether an event changes what is known of its contact's consent."""
    last = known.get(one.properties.get("purpose")) or known.get(None)
    if last is None:
        return True
    at, is_given = one.occurred_at or now, one.event == "consent_given"
    if last.event == one.event or at < last.at:
        return False
    return not (is_given and (waits or at == last.at))


def _untold(connection: Connection, ids: Collection[str], connector: str, as_of: datetime) -> set[str]:
    """Those of some facts that a connector has not been told, or only after an instant."""
    o, name = t.outbox.c, f"connectors/{connector}"
    is_late = (o.target == name) & or_(o.delivered_at.is_(None), o.delivered_at >= as_of)
    is_unspread = (o.target == "crm") & o.spread_at.is_(None)
    wanted: list[Any] = sorted(ids)
    return set(connection.scalars(select(o.webhook_id).where(o.webhook_id.in_(wanted), is_late | is_unspread)))


_CONSENT: Final = Lookup(
    lambda among: (
        select(*(t.events.c[name] for name in ("contact", "event", "occurred_at", "received_at", "properties")))
        .where(among(t.events.c.contact), t.events.c.event.in_(EVENTS))
        .order_by(t.events.c.received_at, t.events.c.event_id)
    )
)
