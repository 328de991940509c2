"""Preparing: messages are claimed, and their bytes made and frozen, before a lane takes them to a relay.

A message is rendered once: whatever is tried later sends the same bytes. Only where the contact's address changed
since, and nothing can have arrived at the old one, it is rendered anew.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from hashlib import sha256
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Protocol

from sqlalchemy import Connection, bindparam, delete, select

from journeylab.sender.mail.bounces import return_path
from journeylab.sender.store import tables as t
from journeylab.sender.store.bulk import Bulk
from journeylab.sender.store.lookup import Lookup

from . import breaker
from .claims import claim, claim_repeated, rows_of
from .freshness import catalogue_as_of, changes_of, freshness, may_be_too_old
from .gate import Request
from .settling import Settled
from .transport import Outcome

if TYPE_CHECKING:
    from journeylab.sender.keys import Keys
    from journeylab.sender.settings import Settings
    from journeylab.sender.store import Store
    from journeylab.sender.store.seals import Seal

__all__ = [
    "Claimed", "Fault", "Made", "Making", "Prepared", "Renders", "Sealed", "claimed", "freeze", "frozen", "made",
    "sealed",
]  # fmt: skip


class Made(NamedTuple):
    """A message's bytes, for one address, and where its links lead, as they are frozen."""

    address: str
    body: bytes
    links: Any


class Sealed(NamedTuple):
    """A message as it is frozen: sealed with its contact's data key."""

    message_key: str
    address: bytes
    address_digest: str
    body: bytes
    hash: str
    links: bytes
    n_changes: int | None = None
    catalogue_at: datetime | None = None


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


@dataclass(frozen=True, slots=True)
class Making:
    """Claimed messages with their bytes; `frozen` freezes those that are not yet.

    Attributes:
        claim: the messages as they were claimed.
        ready: those that can be sent.
        unsendable: those that cannot, with why.
        fresh: what was just made of messages, to be frozen.
        moved: keys and address digests of renderings for an address which is not the contact's any more.
        aged: those that were not made, as what they depend on is too old; the gate decides on them.
    """

    claim: Claimed
    ready: list[Prepared] = field(default_factory=list)
    unsendable: list[Settled] = field(default_factory=list)
    fresh: list[Sealed] = field(default_factory=list)
    moved: list[tuple[str, str]] = field(default_factory=list)
    aged: list[Request] = field(default_factory=list)


def made(store: Store, claim: Claimed, render: Renders, settings: Settings) -> Making:
    """The messages with their bytes: those that are frozen, or new ones, which are sealed here."""
    making, keys = Making(claim), store.keys
    wanted: list[Any] = []
    for row in claim.rows:
        is_frozen = row.body is not None and (row.written_to == row.address or row.state == "ambiguous")
        address = row.written_to if is_frozen else row.address
        if address is None:
            making.unsendable.append(_unsendable(row, "render", "the contact has no address"))
        elif not settings.may_reach(address):
            making.unsendable.append(_outside(row))
        elif is_frozen:
            making.ready.append(_prepared(row, address, row.body, claim, settings, keys))
        else:
            wanted.append(row)
    if wanted:
        n_changes: dict[str, int] | None = None
        with store.reading() as connection:
            shelf = catalogue_as_of(connection, settings)
            if may_be_too_old(settings):
                # Before anything is read for them: what changes meanwhile is not taken for known.
                now = store.now(connection)
                n_changes = changes_of(connection, sorted({row.contact for row in wanted}), now)
                ages = freshness(connection, wanted, settings)
                aged = {key for key, one in ages.items() if one.too_old(now) or one.decided_wrongly}
                making.aged.extend(
                    Request(row.message_key, row.fence, row.contact, "", has_bytes=False)
                    for row in wanted
                    if row.message_key in aged
                )
                wanted = [row for row in wanted if row.message_key not in aged]
            found = render(connection, wanted) if wanted else []
        for row, one in zip(wanted, found, strict=True):
            if isinstance(one, Fault):
                making.unsendable.append(_unsendable(row, "render", one.reason))
            elif not settings.may_reach(one.address):
                making.unsendable.append(_outside(row))
            else:
                making.ready.append(_prepared(row, one.address, one.body, claim, settings, keys))
                digest = row.address_digest if one.address == row.address else keys.address_digest(one.address)
                seal = store.seals.of(row.contact, row.sealed_key)
                fresh = sealed(seal, row.message_key, one, digest)
                known = None if n_changes is None else n_changes.get(row.contact, 0)
                making.fresh.append(fresh._replace(n_changes=known, catalogue_at=shelf))
                if row.body is not None:
                    making.moved.append((row.message_key, keys.address_digest(row.written_to)))
    return making


def sealed(seal: Seal, message_key: str, one: Made, address_digest: str) -> Sealed:
    """What was made of a message, sealed with its contact's seal."""
    return Sealed(
        message_key, seal.seal("renderings.address", one.address), address_digest,
        seal.seal_bytes("renderings.body", one.body), sha256(one.body).hexdigest(),
        seal.seal_json("renderings.links", one.links),
    )  # fmt: skip


def _prepared(row: Any, address: str, body: bytes, claim: Claimed, settings: Settings, keys: Keys) -> Prepared:
    path = return_path(bytes.fromhex(row.message_key), keys, settings.bounces)
    return Prepared(row, address, body, path, claim.relays)


def _outside(row: Any) -> Settled:
    return _unsendable(row, "staging", "in staging nothing goes to this address's domain")


def _unsendable(row: Any, stage: str, reason: str) -> Settled:
    return Settled(row.message_key, row.fence, row.contact, Outcome("failed", stage, text=reason))


def frozen(connection: Connection, making: Making, now: datetime) -> list[Prepared]:
    """The messages that can be sent, in the order claimed, frozen by now: as just made unless another worker was first.

    Those of contacts who were erased since they were claimed are left out.

    Args:
        connection: a writing transaction, from whose commit on they are frozen.
        making: what was made.
        now: the store's instant.
    """
    if not making.fresh:
        return making.ready
    _UNFREEZING.run(connection, making.moved)
    keys = {one.message_key for one in making.fresh}
    there = {row.message_key for row in _THERE.rows(connection, [*keys])}
    fresh = [one for one in making.fresh if one.message_key in there]
    ready = [one for one in making.ready if one.key in there or one.key not in keys]
    if freeze(connection, fresh, now) == len(fresh):
        return ready
    kept = {row.message_key: row for row in rows_of(connection, [*there])}
    return [
        one if one.key not in kept else replace(one, address=kept[one.key].written_to, body=kept[one.key].body)
        for one in ready
    ]


def freeze(connection: Connection, fresh: Sequence[Sealed], now: datetime) -> int:
    """How many messages were frozen: those that were not before.

    Args:
        connection: a writing transaction.
        fresh: what was made of messages.
        now: the store's instant.
    """
    return _FREEZING.run(connection, [(*one, now) for one in fresh])


_FROZEN: Final = (*Sealed._fields, "rendered_at")
_FREEZING: Final = Bulk(
    lambda given: given.into(t.renderings, *_FROZEN).on_conflict_do_nothing(index_elements=["message_key"]), *_FROZEN
)
# An erasure locks the contact's row first: what it has not deleted yet it will find.
_THERE: Final = Lookup(
    lambda among: (
        select(t.sends.c.message_key)
        .join(t.contacts, t.contacts.c.contact == t.sends.c.contact)
        .where(among(t.sends.c.message_key), t.contacts.c.sealed_key.is_not(None))
        .order_by(t.contacts.c.contact)
        .with_for_update(of=t.contacts, read=True)
    )
)
_MANY: Final[Any] = bindparam("of", expanding=True)
_BREAKERS: Final = select(t.relays.c.relay, t.relays.c.state).where(t.relays.c.relay.in_(_MANY))
_UNFREEZING: Final = Bulk(
    lambda given: delete(t.renderings).where(
        t.renderings.c.message_key == given("of"), t.renderings.c.address_digest == given("written_to")
    ),
    *("of", "written_to"),
)
