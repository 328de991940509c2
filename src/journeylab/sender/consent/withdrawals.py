"""Withdrawing consent: from its instant on nothing passes the gate, and what is on its way already is named.

Everything happens in one transaction that holds the contact's row, as the gate does: a message passes before the
withdrawal, and then it stands in the receipt, or never.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, insert, select

from journeylab.errors import DataError
from journeylab.sender.live.intake import OwnEvent, record_all
from journeylab.sender.sending.notices import tell
from journeylab.sender.sending.states import IN_FLIGHT, WAITING, move
from journeylab.sender.store import act, lock_contacts
from journeylab.sender.store import tables as t

from .evidence import sealed_evidence
from .requests import webhook_id_of
from .standing import ConsentEvent, consent_events

__all__ = ["OnItsWay", "Receipt", "withdraw"]


@dataclass(frozen=True, slots=True)
class OnItsWay:
    """A message that had passed the gate before the withdrawal and may still arrive."""

    message_key: str
    message: str
    state: str
    gated_at: datetime


@dataclass(frozen=True, slots=True)
class Receipt:
    """What a withdrawal came to.

    Attributes:
        contact, purpose: whose it is, and for what; None for every purpose.
        at: its instant: no message of the purpose has passed the gate after it, nor will.
        is_repeated: whether nothing stood that could have been withdrawn; `at` is the first withdrawal's then.
        cancelled: the keys of messages that were taken back.
        on_its_way: the messages that were past the gate already.
        webhook_id: the id under which the CRM is told; None where another system had told of the withdrawal.
    """

    contact: str
    purpose: str | None
    at: datetime
    is_repeated: bool = False
    cancelled: tuple[str, ...] = ()
    on_its_way: tuple[OnItsWay, ...] = ()
    webhook_id: str | None = None


def withdraw(
    connection: Connection, contact: str, purpose: str | None, route: str, evidence: Mapping[str, Any],
    now: datetime, *, message_key: str | None = None, actor: str = "contact",
) -> Receipt:  # fmt: skip
    """The receipt of a withdrawal: the event, its proof, what was taken back, and the notice to the CRM, all at once.

    Messages of other purposes stay. The entries end by the event (rule 14), when the contact is advanced. A second
    withdrawal changes nothing and says when the first one was.

    Args:
        connection: a writing transaction.
        contact: a contact that is known.
        purpose: what for; None for every purpose, those with another legal basis than consent among them.
        route: how it came: `one_click`, `page`, `preferences`, `mail`, `crm`, a person's name.
        evidence: see `evidence_of`.
        now: the store's instant.
        message_key: of the message whose link led there; it is `unsubscribed`, too, where it was for the purpose.
        actor: who withdraws it, for the audit log: the contact, or somebody in its name.

    Raises:
        DataError: when there is no such contact.
    """
    at = lock_contacts(connection, [contact], now).get(contact)
    if at is None:
        raise DataError(f"there is no contact {contact!r}, so it has no consent that could be withdrawn")
    first = _withdrawal(consent_events(connection, contact), purpose)
    webhook_id: str | None
    if first is None:
        row = {
            "contact": contact,
            "purpose": purpose,
            "what": "withdrawn",
            "at": at,
            "route": route,
            "message_key": message_key,
            "evidence": sealed_evidence(connection, contact, evidence),
        }
        connection.execute(insert(t.consents), row)
        withdrawn = OwnEvent(contact, "consent_withdrawn", at, {"purpose": purpose})
        record_all(connection, [*_unsubscribed(connection, contact, purpose, message_key, at), withdrawn])
        webhook_id = webhook_id_of(contact, "withdrawn", purpose, at)
        data = {"contact": contact, "purpose": purpose, "route": route}
        tell(connection, "crm", webhook_id, "consent.withdrawn", data, at)
        act(connection, at, actor, "consent_withdrawn", "consent", contact=contact, purpose=purpose, route=route)
    else:
        told = webhook_id_of(contact, "withdrawn", first.purpose, first.received_at)
        of_crm = select(t.outbox.c.webhook_id).where(t.outbox.c.target == "crm", t.outbox.c.webhook_id == told)
        webhook_id = connection.scalar(of_crm)
    rows = connection.execute(_sends(contact, purpose).order_by(t.sends.c.planned_at, t.sends.c.message_key)).all()
    cancelled = tuple(
        one.message_key
        for one in rows
        if one.state in WAITING
        and move(connection, one.message_key, WAITING, "cancelled", reason="consent", settled_at=at)
    )
    on_its_way = tuple(
        OnItsWay(one.message_key, one.message, one.state, one.gated_at) for one in rows if one.state in IN_FLIGHT
    )
    since = at if first is None else first.received_at
    return Receipt(contact, purpose, since, first is not None, cancelled, on_its_way, webhook_id)


def _unsubscribed(
    connection: Connection, contact: str, purpose: str | None, message_key: str | None, at: datetime
) -> list[OwnEvent]:  # fmt: skip
    """The response to the message whose link led there (rule 9), where that message was for the purpose."""
    send = connection.execute(select(t.sends).where(t.sends.c.message_key == message_key)).one_or_none()
    if send is None or send.contact != contact or purpose not in (None, send.purpose):
        return []
    about = {name: getattr(send, name) for name in ("message", "journey", "entry", "node", "visit")}
    return [OwnEvent(contact, "unsubscribed", at, about)]


def _sends(contact: str, purpose: str | None) -> Any:
    """The contact's messages of a purpose, or of all, that have not come to their end."""
    found = select(t.sends).where(t.sends.c.contact == contact, t.sends.c.state.in_((*WAITING, *IN_FLIGHT)))
    return found if purpose is None else found.where(t.sends.c.purpose == purpose)


def _withdrawal(events: list[ConsentEvent], purpose: str | None) -> ConsentEvent | None:
    """The withdrawal or erasure since which nothing of the purpose stands, or None.

    For every purpose at once that takes one of all, after which nothing was given.
    """
    found: ConsentEvent | None = None
    for one in sorted(events):
        if purpose is not None and one.purpose not in (None, purpose):
            continue
        if one.event == "consent_given":
            found = None
        elif purpose is not None or one.purpose is None:
            found = found or one
    return found
