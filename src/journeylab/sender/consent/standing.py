"""Whether consent stands, by purpose, as the gate and the machine see it (rules 11 and 34)."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Literal, NamedTuple, TypeAlias

from sqlalchemy import Connection, select

from journeylab.sender.store import tables as t

__all__ = ["EVENTS", "ConsentEvent", "State", "What", "consent_events", "folded", "state_of"]

What: TypeAlias = Literal["given", "withdrawn", "erased", "assumed", "missing"]
EVENTS: Final[dict[str, What]] = {"consent_given": "given", "consent_withdrawn": "withdrawn", "erased": "erased"}
"""The events that change whether consent stands, and what each makes of it."""


class ConsentEvent(NamedTuple):
    """A consent event of a contact, in the order of receipt; without a purpose it speaks for all."""

    received_at: datetime
    event_id: int
    event: str
    purpose: str | None


@dataclass(frozen=True, slots=True)
class State:
    """Whether a contact may be sent what serves a purpose.

    Attributes:
        purpose: the purpose.
        what: the latest that was said: `given`, `withdrawn` or `erased`; where nothing was, `assumed` for a purpose
            with another legal basis than consent, else `missing`.
        since: from when on; None where nothing was said.
    """

    purpose: str
    what: What
    since: datetime | None = None

    @property
    def stands(self) -> bool:
        """Whether messages may go."""
        return self.what in ("given", "assumed")


def consent_events(connection: Connection, contact: str) -> list[ConsentEvent]:
    """The consent events of a contact."""
    rows = connection.execute(
        select(t.events.c.received_at, t.events.c.event_id, t.events.c.event, t.events.c.properties).where(
            t.events.c.contact == contact, t.events.c.event.in_(EVENTS)
        )
    )
    return [ConsentEvent(at, number, event, properties.get("purpose")) for at, number, event, properties in rows]


def folded(
    events: Iterable[ConsentEvent], purposes: Collection[str] = (), basis: Collection[str] = ()
) -> dict[str, State]:
    """The states that events come to, whatever order they are given in.

    The latest counts; of those received at one instant, the later in the contact's order, as for the machine.

    Args:
        events: of one contact.
        purposes: those that are wanted beside the ones that the events name.
        basis: those with another legal basis than consent (`Settings.basis`).
    """
    ordered = sorted(events)
    wanted = {*purposes, *basis, *(one.purpose for one in ordered if one.purpose is not None)}
    states = {one: State(one, "assumed" if one in basis else "missing") for one in sorted(wanted)}
    for one in ordered:
        for purpose in wanted if one.purpose is None else (one.purpose,):
            states[purpose] = State(purpose, EVENTS[one.event], one.received_at)
    return states


def state_of(
    connection: Connection, contact: str, purposes: Collection[str] = (), basis: Collection[str] = ()
) -> dict[str, State]:
    """The state of a contact's consent by purpose; see `folded` for the arguments."""
    return folded(consent_events(connection, contact), purposes, basis)
