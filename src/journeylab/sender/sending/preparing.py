"""Preparing: messages are claimed, and their bytes made and frozen, before a lane takes them to a relay.

A message is rendered once: whatever is tried later sends the same bytes. Only where the contact's address changed
since, and nothing can have arrived at the old one, it is rendered anew.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import cache
from hashlib import sha256
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Protocol

from sqlalchemy import Connection, bindparam, delete, select

from journeylab.sender.mail.bounces import return_path
from journeylab.sender.store import tables as t
from journeylab.sender.store.bulk import Bulk, held

from . import breaker
from .claims import claim, claim_repeated, rows_of
from .settling import Settled
from .transport import Outcome

if TYPE_CHECKING:
    from journeylab.sender.keys import Keys
    from journeylab.sender.settings import Settings
    from journeylab.sender.store import Store

__all__ = ["Claimed", "Fault", "Made", "Prepared", "Renders", "claimed", "prepared"]


class Made(NamedTuple):
    """A message's bytes, for one address, and where its links lead, as they are frozen."""

    address: str
    body: bytes
    links: Any


class Fault(NamedTuple):
    """Why a message cannot be made; the text is for whoever mends it, and names no address."""

    reason: str


class Renders(Protocol):
    """Makes messages."""

    def __call__(self, connection: Connection, rows: Sequence[Any]) -> Sequence[Made | Fault]:
        """Of each row of `sends` (with the contact's `address` beside) its bytes, in the same order.

        The connection is of a reading transaction, as of which attributes are taken.
        """
        ...


@dataclass(frozen=True, slots=True)
class Prepared:
    """A message that a lane can take: its row as it was claimed, its bytes, and the relays that may have it."""

    row: Any
    address: str
    body: bytes
    return_path: str
    relays: tuple[str, ...]

    @property
    def key(self) -> str:
        """The message's key."""
        return str(self.row.message_key)


@dataclass(frozen=True, slots=True)
class Claimed:
    """Messages that were claimed together: their rows, and the relays that may have them, in the order to try."""

    rows: list[Any] = field(default_factory=list)
    relays: tuple[str, ...] = ()


def claimed(
    connection: Connection, settings: Settings, worker: str, most: int, now: datetime
) -> Claimed:  # fmt: skip
    """Claims up to `most` messages for the relays that take any now; one alone where a relay is being tried again."""
    relays, tried = _open(connection, settings, now)
    if not relays:
        return Claimed()
    until = now + settings.lease
    most = 1 if tried else most
    for relay in settings.relays:
        if relay.name in relays:
            keys = claim_repeated(connection, worker, relay, settings.attempts, most, until, now)
            if keys:
                return Claimed(rows_of(connection, keys), (relay.name,))
    keys = claim(connection, worker, most, until, now)
    if not keys:
        for relay_name in tried:
            breaker.note(connection, relay_name, "unused", now)
        return Claimed()
    return Claimed(rows_of(connection, keys), relays)


def _open(connection: Connection, settings: Settings, now: datetime) -> tuple[tuple[str, ...], list[str]]:
    """The relays that take messages, and those among them to which one message may go as a trial."""
    names = [relay.name for relay in settings.relays]
    states = {row.relay: row.state for row in connection.execute(_BREAKERS, {"of": names})}
    relays: list[str] = []
    tried: list[str] = []
    for name in names:
        if states.get(name, "closed") == "closed":
            relays.append(name)
        elif not relays and breaker.allows(connection, name, now):
            relays.append(name)
            tried.append(name)
    return tuple(relays), tried


def prepared(
    store: Store, claim: Claimed, render: Renders, settings: Settings, keys: Keys, writing: Callable[[], Any]
) -> tuple[list[Prepared], list[Settled]]:
    """The messages with their bytes, frozen by now, and those that cannot be sent, with why.

    Args:
        store: the database.
        claim: the messages.
        render: makes their bytes.
        settings: the sender's settings.
        keys: the sender's keys.
        writing: begins a writing transaction.
    """
    unsendable: list[Settled] = []
    wanted: list[Any] = []
    bodies: dict[str, tuple[str, bytes]] = {}
    for row in claim.rows:
        is_frozen = row.body is not None and (row.written_to == row.address or row.state == "ambiguous")
        address = row.written_to if is_frozen else row.address
        if address is None:
            unsendable.append(_unsendable(row, "render", "the contact has no address"))
        elif not settings.may_reach(address):
            unsendable.append(_unsendable(row, "staging", "in staging nothing goes to this address's domain"))
        elif is_frozen:
            bodies[row.message_key] = address, row.body
        else:
            wanted.append(row)
    if wanted:
        with store.reading() as connection:
            made = render(connection, wanted)
        fine = []
        for row, one in zip(wanted, made, strict=True):
            if isinstance(one, Fault):
                unsendable.append(_unsendable(row, "render", one.reason))
            elif not settings.may_reach(one.address):
                unsendable.append(_unsendable(row, "staging", "in staging nothing goes to this address's domain"))
            else:
                fine.append((row, one))
        if fine:
            with writing() as connection:
                bodies |= _frozen(connection, fine, store.now(connection))
    ready = [
        Prepared(
            row, *bodies[row.message_key],
            return_path(bytes.fromhex(row.message_key), keys, settings.bounces), claim.relays,
        )
        for row in claim.rows
        if row.message_key in bodies
    ]  # fmt: skip
    return ready, unsendable


def _unsendable(row: Any, stage: str, reason: str) -> Settled:
    return Settled(row.message_key, row.fence, row.contact, Outcome("failed", stage, text=reason))


def _frozen(
    connection: Connection, made: Sequence[tuple[Any, Made]], now: datetime
) -> dict[str, tuple[str, bytes]]:  # fmt: skip
    """The addresses and bytes as they are frozen: those just made, unless another worker was first."""
    moved = [{"of": row.message_key, "written_to": row.written_to} for row, _ in made if row.body is not None]
    if moved:
        connection.execute(_UNFREEZING, moved)
    at = held(connection, now)
    rows = [
        (row.message_key, one.address, one.body, sha256(one.body).hexdigest(), json.dumps(one.links), at)
        for row, one in made
    ]
    _freezing(connection.dialect.name).run(connection, rows)
    kept = {row.message_key: row.hash for row in connection.execute(_HASHES, {"of": [key for key, *_ in rows]}).all()}
    bodies = {key: (address, body) for key, address, body, *_ in rows}
    others = [key for key, _, _, digest, *_ in rows if kept[key] != digest]
    if others:
        for row in connection.execute(_BODIES, {"of": others}):
            bodies[row.message_key] = row.address, row.body
    return bodies


@cache
def _freezing(dialect: str) -> Bulk:
    if dialect == "sqlite":
        from sqlalchemy.dialects.sqlite import insert
    else:
        from sqlalchemy.dialects.postgresql import insert  # type: ignore[assignment]
    names = ("message_key", "address", "body", "hash", "links", "rendered_at")
    made = insert(t.renderings).values({name: bindparam(name) for name in names})
    return Bulk(made.on_conflict_do_nothing(index_elements=["message_key"]), *names)


_MANY: Final[Any] = bindparam("of", expanding=True)
_BREAKERS: Final = select(t.relays.c.relay, t.relays.c.state).where(t.relays.c.relay.in_(_MANY))
_HASHES: Final = select(t.renderings.c.message_key, t.renderings.c.hash).where(t.renderings.c.message_key.in_(_MANY))
_BODIES: Final = select(t.renderings.c.message_key, t.renderings.c.address, t.renderings.c.body).where(
    t.renderings.c.message_key.in_(_MANY)
)
_UNFREEZING: Final = delete(t.renderings).where(
    t.renderings.c.message_key == bindparam("of"), t.renderings.c.address == bindparam("written_to")
)
