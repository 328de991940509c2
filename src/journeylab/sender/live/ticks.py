"""Ticks: those for whom something is due are advanced to now, and what the machine decides is written down.

A tick is one transaction. It takes contacts who are due and locks their rows, replays all that was received of them up
to the store's instant, with what became of their own sends (rule 29), and writes entries, visits, the messages that
are planned or ready, the calls to make, and when each contact is due next. The machine is that of `replay`; nothing of
what a journey means is said here. Since a contact's past is computed anew each time, a tick that is cut off leaves
nothing behind, and one that runs twice writes the same.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any, Final, NamedTuple
from weakref import WeakKeyDictionary

import numpy as np
import pandas as pd
from sqlalchemy import Connection, select

from journeylab import layout as o
from journeylab.clock import NEVER, microseconds
from journeylab.eventlog import EventLog
from journeylab.execution import run
from journeylab.machine import Out
from journeylab.ownsends import reason_code
from journeylab.sender.sending.states import IN_FLIGHT
from journeylab.sender.store import Store
from journeylab.sender.store import tables as t
from journeylab.sender.store.lookup import Lookup
from journeylab.worlds import Ready, prepared

from .decisions import Decisions, entries_of
from .running import Running
from .storelog import log_of

__all__ = ["Ticked", "advance", "advanced", "log_of", "tick"]

_HEARD: WeakKeyDictionary[Running, frozenset[str]] = WeakKeyDictionary()
_OWN_COLUMNS: Final = ["contact", "journey", "entry", "node", "visit", "kind", "value", "at"]
_NO_OWN: Final = pd.DataFrame([], columns=_OWN_COLUMNS)


class Ticked(NamedTuple):
    """What a tick did: how many contacts it advanced, and how many messages became ready."""

    n_contacts: int
    n_ready: int


def tick(store: Store, running: Callable[[Connection], Running], *, most: int = 5000) -> Ticked:
    """Advances up to `most` contacts who are due; see the module's text.

    Args:
        store: the sender's database, opened with its keys.
        running: gives what runs, read in the connection's own transaction.
        most: how many contacts are advanced at once.
    """
    with store.writing() as connection:
        runs = running(connection)
        now = store.now(connection)
        wanted = (
            select(t.contacts.c.contact)
            .where(t.contacts.c.next_at <= now, t.contacts.c.last_at <= now, t.contacts.c.held_because.is_(None))
            .where(t.contacts.c.sealed_key.is_not(None))
            .order_by(t.contacts.c.next_at, t.contacts.c.contact)
            .limit(most)
            .with_for_update(skip_locked=True)
        )
        contacts = sorted(connection.scalars(wanted))
        return Ticked(len(contacts), advance(connection, runs, contacts, now))


def advance(connection: Connection, running: Running, contacts: Sequence[str], now: datetime) -> int:
    """How many messages became ready as contacts were advanced to an instant, and what was decided written down.

    Args:
        connection: a writing transaction that holds the contacts' rows.
        running: what runs.
        contacts: those who are advanced, sorted.
        now: the instant.
    """
    if not contacts:
        return 0
    decisions = Decisions(connection, running, now, contacts)
    entered = entries_of(connection, contacts)
    found = advanced(connection, running, contacts, now, entered)
    if found is None:
        decisions.note_next(np.full(len(contacts), NEVER))
        return 0
    return decisions.write(*found, entered)


def advanced(
    connection: Connection, running: Running, contacts: Sequence[str], now: datetime, entered: Sequence[Any]
) -> tuple[Ready, list[Out]] | None:
    """The machine run over all that the store knows of contacts up to an instant; None where no release matters.

    Args:
        connection: any transaction.
        running: what runs.
        contacts: those who are advanced, sorted.
        now: the instant.
        entered: with `journey` and `version`, the entries that they have.
    """
    versions = running.needed(now, {(one.journey, one.version) for one in entered})
    if not versions:
        return None
    releases = [span for version in versions for span in version.spans]
    log = log_of(connection, contacts, now, _heard(connection, running, contacts[0], now))
    own = _own(connection, contacts, log)
    ready = prepared(releases, log, until=now, live=True, own=own, **running.arguments())
    return ready, run(ready.compiled.program, ready.world, len(ready.compiled.exits), log.n_contacts, record=True)


def _own(connection: Connection, contacts: Sequence[str], log: EventLog) -> pd.DataFrame:
    """What became of the contacts' sends and calls so far, as `ownsends.own_of` gives it."""
    code = {contact: i for i, contact in enumerate(log.contact_ids.to_pylist())}
    rows = []
    for one in _SENT.rows(connection, contacts):
        at = one.gated_at or one.settled_at
        value = float(o.ON_ITS_WAY if one.state in IN_FLIGHT else 0)
        if one.state in ("rejected", "failed"):
            value = float(reason_code(one.reason or one.state))
        rows.append((code[one.contact], *one[1:5], int(o.ACTUAL), value, microseconds(at)))
    for contact, event, at, given in _REFUSED.rows(connection, contacts):
        kind, value = int(o.AGAIN), 0.0
        if event == "not_sent":
            reason = reason_code(given["reason"])
            if reason not in (o.BECAUSE_SUPPRESSION, o.BECAUSE_STALE):  # the others are among the sends
                continue
            kind, value = int(o.ACTUAL), float(reason)
        identity = given["journey"], given["entry"], given["node"], given["visit"]
        rows.append((code[contact], *identity, kind, value, microseconds(at)))
    for made in _CALLED.rows(connection, contacts):
        value = float(made.state == "succeeded")
        rows.append((code[made.contact], *made[1:5], int(o.ACTUAL), value, microseconds(made.settled_at)))
    return pd.DataFrame(rows, columns=_OWN_COLUMNS)


def _heard(connection: Connection, running: Running, contact: str, now: datetime) -> frozenset[str]:
    """The events that any of the journeys asks for, by their programs; looked up once for what runs."""
    if running not in _HEARD:
        releases = [span for version in running.versions for span in version.spans]
        log = log_of(connection, [contact], now)
        ready = prepared(releases, log, until=now, live=True, own=_NO_OWN, **running.arguments())
        _HEARD[running] = frozenset(ready.names.event_names) | {"attribute_changed"}
    return _HEARD[running]


_IDENTITY: Final = ("contact", "journey", "entry", "node", "visit")
_SENT: Final = Lookup(
    lambda among: select(
        *(t.sends.c[name] for name in (*_IDENTITY, "state", "gated_at", "settled_at", "reason"))
    ).where(among(t.sends.c.contact), t.sends.c.state.in_((*IN_FLIGHT, "accepted", "rejected", "failed")))
)
_REFUSED: Final = Lookup(
    lambda among: (
        select(t.events.c.contact, t.events.c.event, t.events.c.received_at, t.events.c.properties)
        .where(among(t.events.c.contact), t.events.c.event.in_(("postponed", "not_sent")))
        .order_by(t.events.c.event_id)
    )
)
"""What the gate refused. That a message is `suppressed` does not tell: the machine itself may have skipped it."""
_CALLED: Final = Lookup(
    lambda among: select(*(t.calls.c[name] for name in (*_IDENTITY, "state", "settled_at"))).where(
        among(t.calls.c.contact), t.calls.c.state.in_(("succeeded", "failed"))
    )
)
