"""What is known of contacts, for the people who look after a sender."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Final

from sqlalchemy import Connection, func, select, update

from journeylab.errors import DataError, known
from journeylab.sender.consent.proofs import proofs_of
from journeylab.sender.logs import without_addresses
from journeylab.sender.sending.alerts import resolve
from journeylab.sender.store import act, lock_contacts
from journeylab.sender.store import tables as t
from journeylab.sender.store.bulk import among

from .intake import addresses_of, attributes_of

__all__ = ["known_of", "listed_contacts", "resumed"]

_OPEN: Final = ("at", "what", "purpose", "route", "wording", "text", "language", "expires_at", "message_key")
"""What is shown of a proof without the evidence, which may tell where somebody was."""


def listed_contacts(
    connection: Connection, *, held: bool = False, journey: str | None = None, most: int = 100
) -> tuple[int, list[dict[str, Any]]]:
    """How many contacts there are, but for erased ones, and the first by id.

    Each has `contact, created_at, next_at, held_because, inside`.

    Args:
        connection: any transaction.
        held: only those who cannot be advanced.
        journey: only those who are inside of it.
        most: how many are given.

    Raises:
        DataError: when there is no such journey.
    """
    c, n = t.contacts.c, t.entries.c
    wanted = select(c.contact, c.created_at, c.next_at, c.held_because).where(c.sealed_key.is_not(None))
    if held:
        wanted = wanted.where(c.held_because.is_not(None))
    if journey is not None:
        names = {*connection.scalars(select(t.releases.c.journey).distinct())}
        if journey not in names:
            raise DataError(f"no journey {journey!r} was ever promoted; {known(journey, names, 'journeys')}")
        inside = select(n.contact).where(n.journey == journey, n.left_at.is_(None), n.held_out.is_(False))
        wanted = wanted.where(c.contact.in_(inside))
    n_all = connection.scalar(select(func.count()).select_from(wanted.subquery())) or 0
    rows = connection.execute(wanted.order_by(c.contact).limit(most)).all()
    inside_of: dict[str, list[str]] = {row.contact: [] for row in rows}
    entries = select(n.contact, n.journey).where(
        among(connection, n.contact, [*inside_of]), n.left_at.is_(None), n.held_out.is_(False)
    )
    for contact, name in connection.execute(entries.order_by(n.journey)):
        inside_of[contact].append(name)
    return n_all, [
        {
            "contact": row.contact,
            "created_at": _plain(row.created_at),
            "next_at": _plain(row.next_at),
            "held_because": row.held_because and without_addresses(row.held_because),
            "inside": inside_of[row.contact],
        }
        for row in rows
    ]


def known_of(connection: Connection, contact: str, *, reveal: bool = False) -> dict[str, Any]:
    """What is known of a contact, as plain data.

    `attributes` are their names, or with `reveal` their values; `address` and the evidence of `consent` are there with
    `reveal` alone. `entries` have `at`, the nodes at which they stand.

    Args:
        connection: any transaction.
        contact: its id.
        reveal: whether personal data are wanted; whoever asks notes that they were.

    Raises:
        DataError: when there is no such contact.
    """
    row = connection.execute(select(t.contacts).where(t.contacts.c.contact == contact)).one_or_none()
    if row is None:
        raise DataError(f"there is no contact {contact!r}")
    attributes = attributes_of(connection, [contact])[contact]
    proofs = proofs_of(connection, contact)
    v, s = t.visits.c, t.sends.c
    stands: dict[tuple[str, int], list[str]] = {}
    for one in connection.execute(select(t.visits).where(v.contact == contact, v.left_at.is_(None)).order_by(v.node)):
        stands.setdefault((one.journey, one.entry), []).append(one.node)
    entries = select(t.entries).where(t.entries.c.contact == contact).order_by(t.entries.c.entered_at)
    sends = select(
        s.message_key, s.message, s.journey, s.entry, s.node, s.visit, s.state, s.reason, s.not_before, s.gated_at
    ).where(s.contact == contact)
    found: dict[str, Any] = {
        "contact": contact,
        "created_at": _plain(row.created_at),
        "next_at": _plain(row.next_at),
        "held_because": row.held_because and without_addresses(row.held_because),
        "has_address": row.address is not None,
        "attributes": attributes if reveal else sorted(attributes),
        "entries": [
            {
                **{name: _plain(value) for name, value in one._mapping.items() if name != "contact"},
                "at": stands.get((one.journey, one.entry), []),
            }
            for one in connection.execute(entries)
        ],
        "messages": [
            {name: _plain(value) for name, value in one.items()}
            for one in connection.execute(sends.order_by(s.planned_at, s.message_key)).mappings()
        ],
        "consent": proofs if reveal else [{name: one[name] for name in _OPEN if name in one} for one in proofs],
    }
    return found | ({"address": addresses_of(connection, [contact])[contact]} if reveal else {})


def resumed(connection: Connection, contact: str, actor: str, now: datetime) -> str | None:
    """Why a contact was held, which is tried again from now on; None when it was not.

    Raises:
        DataError: when there is no such contact.
    """
    if contact not in lock_contacts(connection, [contact], now):
        raise DataError(f"there is no contact {contact!r}")
    c = t.contacts.c
    because: str | None = connection.scalar(select(c.held_because).where(c.contact == contact))
    if because is None:
        return None
    due = func.coalesce(c.next_at, now)
    connection.execute(update(t.contacts).where(c.contact == contact).values(held_because=None, next_at=due))
    act(connection, now, actor, "contact_resumed", "contact", contact=contact, held_because=without_addresses(because))
    if connection.scalar(select(c.contact).where(c.held_because.is_not(None)).limit(1)) is None:
        resolve(connection, "contacts/held", now)
    return without_addresses(because)


def _plain(value: Any) -> Any:
    return value.isoformat() if isinstance(value, datetime) else value
