"""Claims: which worker a message belongs to, and until when; no other touches it before the lease is over.

Each claim raises the message's fence, so that a worker that slept beyond its lease can change nothing any more. What
a worker left behind goes back to `ready` when its lease is over, as long as nothing of it can have been sent; what was
on its way becomes `ambiguous`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any, Final

from sqlalchemy import Connection, Select, and_, bindparam, or_, select, update

from journeylab.sender.settings import Relay
from journeylab.sender.store import tables as t
from journeylab.sender.store.bulk import Bulk, Given
from journeylab.sender.store.lookup import Lookup
from journeylab.sender.store.seals import seals_of

from .gate import repeated_until
from .settling import alert_ambiguous
from .states import move_all

__all__ = ["claim", "claim_repeated", "reap", "release", "renew", "rows_of"]


def claim(connection: Connection, worker: str, most: int, lease_until: datetime, now: datetime) -> list[str]:
    """Claims up to `most` messages that may go, the one that waits longest first, and gives their keys.

    Messages of contacts who are due are left until the machine has advanced them: the gate would refuse them.
    """
    keys = connection.scalars(_READY, {"now": now, "most": most}).all()
    if not keys:
        return []
    _CLAIMING.run(connection, [(key, worker, lease_until) for key in keys])
    return list(keys)


def claim_repeated(
    connection: Connection, worker: str, relay: Relay, attempts: int, most: int, lease_until: datetime, now: datetime
) -> list[str]:
    """Claims ambiguous messages that a relay drops if it has seen them, and gives their keys; they stay ambiguous."""
    if not relay.drops_repeats:
        return []
    since = now - (repeated_until(now, relay) - now)
    given = {"now": now, "most": most, "relay": relay.name, "since": since, "attempts": attempts}
    keys = connection.scalars(_REPEATABLE, given).all()
    _REPEATING.run(connection, [(key, worker, lease_until) for key in keys])
    return list(keys)


def rows_of(connection: Connection, keys: Sequence[str]) -> list[Any]:
    """What makes and sends messages asks of them: who, what and which release, the fence, and what is opened.

    Their contact's `address`, with `address_digest` and `sealed_key`; where they are rendered, `written_to` and `body`.
    """
    seals, found = seals_of(connection), []
    for row in _WHOLE.rows(connection, keys):
        seal = None if row.sealed_key is None else seals.of(row.contact, row.sealed_key)
        opened: dict[str, Any] = {"address": None, "written_to": None, "body": None}
        if seal is not None:
            if row.address is not None:
                opened["address"] = seal.open("contacts.address", row.address)
            if row.body:  # empty once it was forgotten
                opened["written_to"] = seal.open("renderings.address", row.written_to)
                opened["body"] = seal.open_bytes("renderings.body", row.body)
        found.append(row._replace(**opened))
    return found


def renew(connection: Connection, worker: str, fences: Mapping[str, int], lease_until: datetime) -> None:
    """Prolongs the leases of messages that a worker has claimed under some fences, where they are still its own."""
    rows = [{"of_key": key, "of_fence": fence} for key, fence in sorted(fences.items())]
    if rows:
        connection.execute(_RENEWING, [row | {"of_worker": worker, "to_lease": lease_until} for row in rows])


def release(connection: Connection, fences: Mapping[str, int]) -> int:
    """How many messages were given back, that were claimed under some fences and of which nothing was offered."""
    rows = [
        {"message_key": key, "fence": fence, "worker": None, "lease_until": None}
        for key, fence in sorted(fences.items())
    ]
    given = [{"of_key": row["message_key"], "of_fence": row["fence"]} for row in rows]
    if given:
        connection.execute(_UNCLAIMING, given)
    return move_all(connection, "claimed", "ready", rows)


def reap(connection: Connection, now: datetime, observe: Callable[[str, str], None]) -> tuple[int, int]:
    """How many messages went back to `ready`, and how many became ambiguous, as their leases were over.

    Args:
        connection: a writing transaction.
        now: the store's instant.
        observe: is told `in_reaper` of each, before the commit.
    """
    ready = [*connection.scalars(_LAPSED_CLAIMS, {"now": now})]
    ambiguous = [*connection.scalars(_LAPSED_SENDS, {"now": now})]
    for key in (*ready, *ambiguous):
        observe("in_reaper", key)
    if ambiguous:
        alert_ambiguous(connection, len(ambiguous), now)
    return len(ready), len(ambiguous)


def _instant(name: str) -> Any:
    return bindparam(name, type_=t.sends.c.lease_until.type)


def _locked(where: Select[Any]) -> Select[Any]:
    """Up to `most` of the rows, those apart that another worker is just claiming."""
    ordered = where.order_by(t.sends.c.not_before).limit(bindparam("most"))  # of equals any: sorting them takes time
    return ordered.with_for_update(of=t.sends, skip_locked=True)


_MAY_GO: Final = and_(
    t.contacts.c.contact == t.sends.c.contact,
    t.contacts.c.held_because.is_(None),
    or_(t.contacts.c.next_at.is_(None), t.contacts.c.next_at > _instant("now")),
)
_NOT_EARLY: Final = or_(t.sends.c.not_before.is_(None), t.sends.c.not_before <= _instant("now"))
_READY: Final = _locked(
    select(t.sends.c.message_key).join(t.contacts, _MAY_GO).where(t.sends.c.state == "ready", _NOT_EARLY)
)


def _claiming(state: str, to: str) -> Bulk:
    """Takes rows that were just locked."""

    def claiming(given: Given) -> Any:
        taken = {"worker": given("worker"), "lease_until": given("lease"), "fence": t.sends.c.fence + 1}
        is_there = (t.sends.c.message_key == given("key")) & (t.state_beside == state)
        return update(t.sends).where(is_there).values(state=to, **taken)

    return Bulk(claiming, "key", "worker", "lease")


_CLAIMING: Final = _claiming("ready", "claimed")
_REPEATING: Final = _claiming("ambiguous", "ambiguous")
_REPEATABLE: Final = _locked(
    select(t.sends.c.message_key).where(
        t.sends.c.state == "ambiguous",
        t.sends.c.relay == bindparam("relay"),
        t.sends.c.gated_at > _instant("since"),
        t.sends.c.attempts < bindparam("attempts"),
        or_(t.sends.c.lease_until.is_(None), t.sends.c.lease_until <= _instant("now")),
        _NOT_EARLY,
    )
)
_OF_SEND: Final = (
    "message_key", "journey", "contact", "entry", "node", "visit", "message", "purpose", "transactional", "release_id",
    "state", "fence", "gated_at", "relay",
)  # fmt: skip
_WHOLE: Final = Lookup(
    lambda among: (
        select(
            *(t.sends.c[name] for name in _OF_SEND),
            t.contacts.c.sealed_key,
            t.contacts.c.address,
            t.contacts.c.address_digest,
            t.renderings.c.address.label("written_to"),
            t.renderings.c.body,
            t.renderings.c.n_changes,
            t.renderings.c.catalogue_at,
        )
        .join(t.contacts, t.contacts.c.contact == t.sends.c.contact)
        .outerjoin(t.renderings, t.renderings.c.message_key == t.sends.c.message_key)
        .where(among(t.sends.c.message_key))
        .order_by(t.sends.c.not_before, t.sends.c.message_key)
    )
)
_OWN: Final = (
    (t.sends.c.message_key == bindparam("of_key"))
    & (t.sends.c.fence == bindparam("of_fence"))
)  # fmt: skip
_RENEWING: Final = (
    update(t.sends)
    .where(
        _OWN,
        t.sends.c.worker == bindparam("of_worker"),
        or_(t.sends.c.state == "claimed", t.sends.c.state == "ambiguous"),  # IN cannot be executed for many rows
    )
    .values(lease_until=_instant("to_lease"))
)
_UNCLAIMING: Final = (
    update(t.sends).where(_OWN, t.sends.c.state == "ambiguous").values(worker=None, lease_until=None)
)  # fmt: skip
_LAPSED_CLAIMS: Final = (
    update(t.sends)
    .where(t.sends.c.state == "claimed", t.sends.c.lease_until <= _instant("now"))
    .values(state="ready", worker=None, lease_until=None, fence=t.sends.c.fence + 1)
    .returning(t.sends.c.message_key)
)
_LAPSED_SENDS: Final = (
    update(t.sends)
    .where(t.sends.c.state == "transmitting", t.sends.c.lease_until <= _instant("now"))
    .values(state="ambiguous", worker=None, lease_until=None)
    .returning(t.sends.c.message_key)
)
