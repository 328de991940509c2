"""Reconciling: what is known of ambiguous messages by evidence, and what a person decides of them.

| evidence | then |
|---|---|
| a bounce, complaint, open, click or unsubscription of the message | `accepted` |
| the relay's log: the queue file made for its Message-ID became active, or has a status | `accepted` |
| the relay drops what it has seen (`Relay.drops_repeats`), within its time | it is offered again: see `claims` |
| it is mail that asks for consent, of which a second one harms nobody | `ready` |
| a person knows: delivered, resend, abandon | `accepted`, `ready`, `failed` |

Nothing else is ever sent again. What a log does not say proves nothing: a log may be cut, and Postfix writes a
message's `message-id=` also when the message was never ended.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from email.parser import BytesHeaderParser
from typing import Any, Final, Literal, NamedTuple

from sqlalchemy import Connection, Row, func, select, update

from journeylab.errors import DataError
from journeylab.sender.live.intake import OwnEvent, record_all
from journeylab.sender.store import Store, act, lock_contacts
from journeylab.sender.store import tables as t

from .alerts import resolve as resolve_alert
from .claims import rows_of
from .gate import CONFIRMATION, identity
from .settling import AMBIGUOUS, later
from .states import move
from .timeline import NOBODY, Timeline

__all__ = ["ARRIVED", "Reconciled", "accepted_in_log", "reconcile", "resolve", "take_log"]

ARRIVED: Final = ("bounced", "complained", "opened", "clicked", "unsubscribed", "delivered")
"""The events of a message that only happen when a relay has taken it."""
_MOST_CONFIRMATIONS: Final = 3
_IDENTITY: Final = ("journey", "entry", "node", "visit")


class Reconciled(NamedTuple):
    """How many ambiguous messages were found to have been accepted, are sent again, and are left."""

    n_accepted: int
    n_again: int
    n_left: int


def reconcile(connection: Connection, now: datetime, timeline: Timeline = NOBODY) -> Reconciled:
    """Looks for evidence on ambiguous messages in the database, and resolves the alert when none is left.

    Args:
        connection: a writing transaction.
        now: the store's instant.
        timeline: who is told of messages that were sent.
    """
    n_accepted = n_again = 0
    rows = connection.execute(select(t.sends).where(t.sends.c.state == "ambiguous")).all()
    at = lock_contacts(connection, (row.contact for row in rows), now)
    heard = _heard(connection, [*at])
    for row in rows:
        if row.contact not in at:
            continue
        about = heard[(row.contact, *(getattr(row, name) for name in _IDENTITY))]
        if any(one.received_at > row.gated_at for one in about):
            n_accepted += _accept(connection, row, at, f"evidence: {about[0].event}", timeline)
        elif row.journey == CONFIRMATION and row.attempts < _MOST_CONFIRMATIONS:
            wait = later(row.message_key, row.attempts + 1)
            values = {"not_before": now + wait, "attempts": row.attempts + 1}
            n_again += _again(connection, row, **values)
    return Reconciled(n_accepted, n_again, _left(connection, now))


def _heard(connection: Connection, contacts: Sequence[str]) -> dict[tuple[Any, ...], list[Any]]:
    """The events that prove an arrival, by the identity of their message."""
    found: dict[tuple[Any, ...], list[Any]] = defaultdict(list)
    asked = select(t.events.c.contact, t.events.c.event, t.events.c.received_at, t.events.c.properties)
    wanted = asked.where(t.events.c.contact.in_(contacts), t.events.c.event.in_(ARRIVED))
    for row in connection.execute(wanted.order_by(t.events.c.event_id)).all():
        found[(row.contact, *(row.properties.get(name) for name in _IDENTITY))].append(row)
    return found


def _accept(
    connection: Connection, row: Row[Any], at: dict[str, datetime], reply: str, timeline: Timeline, **values: Any
) -> bool:
    instant = at[row.contact]
    settled = {"settled_at": instant, "reply": reply, "reason": None, "worker": None, "lease_until": None}
    if not move(connection, row.message_key, "ambiguous", "accepted", fence=row.fence, **settled, **values):
        return False
    said = identity(row) | {"message": row.message, "actual_at": row.gated_at}
    record_all(connection, [OwnEvent(row.contact, "sent", instant, said, row.gated_at)])
    timeline.tell_sent(connection, row, row.gated_at)
    at[row.contact] = instant + timedelta(microseconds=1)
    return True


def _again(connection: Connection, row: Row[Any], **values: Any) -> bool:
    """Whether an ambiguous message is `ready` again; under a new fence, so that what was on its way ends there."""
    gone = {"gated_at": None, "worker": None, "lease_until": None, "reason": None, "relay": None}
    if not move(connection, row.message_key, "ambiguous", "ready", fence=row.fence, **gone, **values):
        return False
    raised = update(t.sends).where(t.sends.c.message_key == row.message_key).values(fence=t.sends.c.fence + 1)
    connection.execute(raised)
    return True


def _left(connection: Connection, now: datetime) -> int:
    n = connection.execute(select(func.count()).where(t.sends.c.state == "ambiguous")).scalar_one()
    if not n:
        resolve_alert(connection, AMBIGUOUS, now)
    return n


_CLEANUP: Final = re.compile(r"/cleanup\[\d+\]: ([0-9A-Za-z]+): message-id=(<[^>]*>)")
_TAKEN: Final = re.compile(
    r"/(?:qmgr\[\d+\]: ([0-9A-Za-z]+): from=<[^>]*>, .*\(queue active\)"
    r"|[a-z/-]+\[\d+\]: ([0-9A-Za-z]+): to=<.*\bstatus=(?:sent|deferred|bounced|expired|undeliverable)\b)"
)


def accepted_in_log(lines: Iterable[str]) -> dict[str, str]:
    """The queue ids of messages that a Postfix has taken, by their Message-IDs, from the lines of its log.

    A queue id alone is not enough: Postfix writes the Message-ID as the headers come in, before the message is ended.

    >>> lines = ["mail postfix/cleanup[7]: 4F1: message-id=<a@shop.example>",
    ...          "mail postfix/cleanup[7]: 4F2: message-id=<b@shop.example>",
    ...          "mail postfix/qmgr[9]: 4F1: from=<x@shop.example>, size=1, nrcpt=1 (queue active)"]
    >>> accepted_in_log(lines)
    {'<a@shop.example>': '4F1'}
    """
    named: dict[str, str] = {}
    found: dict[str, str] = {}
    for line in lines:
        if (cleanup := _CLEANUP.search(line)) is not None:
            named[cleanup[1]] = cleanup[2]
        elif (taken := _TAKEN.search(line)) is not None:
            queue_id = taken[1] or taken[2]
            if queue_id in named:
                found[named[queue_id]] = queue_id
    return found


def take_log(
    connection: Connection, lines: Iterable[str], now: datetime, actor: str, timeline: Timeline = NOBODY
) -> Reconciled:
    """Settles the ambiguous messages that a relay's log shows to have been taken; audited.

    Args:
        connection: a writing transaction.
        lines: of the log of a Postfix.
        now: the store's instant.
        actor: who brings it.
        timeline: who is told of messages that were sent.
    """
    taken = accepted_in_log(lines)
    asked = select(t.sends.c.message_key).join(t.renderings).where(t.sends.c.state == "ambiguous")
    rows = [row for row in rows_of(connection, connection.scalars(asked).all()) if row.body]
    at = lock_contacts(connection, (row.contact for row in rows), now)
    n = 0
    for row in rows:
        queue_id = taken.get(str(BytesHeaderParser().parsebytes(row.body)["Message-ID"]).strip())
        if queue_id is not None and row.contact in at:
            n += _accept(connection, row, at, "the relay's log", timeline, queue_id=queue_id)
            act(connection, now, actor, "reconcile", row.message_key, contact=row.contact, queue_id=queue_id)
    return Reconciled(n, 0, _left(connection, now))


def resolve(
    store: Store,
    message_key: str,
    how: Literal["delivered", "resend", "abandon"],
    actor: str,
    timeline: Timeline = NOBODY,
) -> None:
    """Settles an ambiguous message by a person's decision; audited.

    Args:
        store: the database.
        message_key: the message.
        how: `delivered`, it was sent; `resend`, it was not, or may be sent twice; `abandon`, it is not sent any more.
        actor: who decides.
        timeline: who is told of messages that were sent.

    Raises:
        DataError: when there is no such message, or it is not ambiguous.
    """
    with store.writing() as connection:
        now = store.now(connection)
        row = connection.execute(select(t.sends).where(t.sends.c.message_key == message_key)).one_or_none()
        if row is None:
            raise DataError(f"there is no message {message_key!r}; `journeylab sends --state ambiguous` lists them")
        at = lock_contacts(connection, [row.contact], now)
        if row.state != "ambiguous" or row.contact not in at:
            raise DataError(f"the message {message_key} is {row.state}; only what is ambiguous is resolved")
        if how == "delivered":
            is_done = _accept(connection, row, at, f"resolved by {actor}", timeline)
        elif how == "resend":
            is_done = _again(connection, row, not_before=now, attempts=0)
        else:
            is_done = _abandon(connection, row, at[row.contact])
        if not is_done:
            raise DataError(f"the message {message_key} is being settled just now; look at it again")
        act(connection, now, actor, "resolve", message_key, contact=row.contact, how=how)
        _left(connection, now)


def _abandon(connection: Connection, row: Row[Any], at: datetime) -> bool:
    values = {"settled_at": at, "reason": "abandoned", "worker": None, "lease_until": None}
    if not move(connection, row.message_key, "ambiguous", "failed", fence=row.fence, **values):
        return False
    said = identity(row) | {"message": row.message, "reason": "abandoned", "actual_at": row.gated_at}
    record_all(connection, [OwnEvent(row.contact, "not_sent", at, said)])
    return True
