"""Seals: what is known of a person is kept encrypted, under a key of that person's own.

Each contact has a data key of 256 bits, made when the contact is. Addresses, attributes, what outside events say,
messages, proofs of consent and user agents are encrypted with it (AES-256-GCM, NIST SP 800-38D, a random nonce for
each value), and bound to their table, column and contact: moved anywhere else, they cannot be opened. The data key is
itself encrypted under the newest key of the sender's ring, which is not in the database. So a copy of the database
tells nothing of a person, and whoever destroys a contact's data key has erased all of it at once, in every copy that is
made from then on.

| a value | is bound to |
|---|---|
| `contacts.sealed_key` | the contact, and the ring's key by its number |
| any sealed column | its table and column, and the contact |

Nobody opens a seal without the ring: a store that was opened without it reads everything but these columns.
"""

from __future__ import annotations

import json
import os
from collections.abc import Collection
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import Connection, Engine, bindparam, func, select, update

from journeylab.errors import DataError

from . import tables as t
from .lookup import Lookup

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

    from journeylab.sender.keys import Keys

    from .store import Store

__all__ = ["Seal", "Seals", "joined", "rewrap", "seal_of", "sealed_by", "seals_by_contact", "seals_of", "with_seals"]

_NONCE: Final = 12
_NUMBER: Final = 4
_AS_JSON: Final = json.JSONEncoder(ensure_ascii=False, sort_keys=True, allow_nan=False).encode


@lru_cache(10_000)
def _cipher(key: bytes) -> AESGCM:
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

    return AESGCM(key)


def _invalid_tag() -> type[Exception]:
    """What AES-GCM raises for what it does not open; asked for then alone, as an import takes its time."""
    from cryptography.exceptions import InvalidTag

    return InvalidTag


def _closed(key: bytes, data: bytes, bound_to: bytes) -> bytes:
    nonce = os.urandom(_NONCE)
    return nonce + _cipher(key).encrypt(nonce, data, bound_to)


def _opened(key: bytes, sealed: bytes, bound_to: bytes) -> bytes:
    return _cipher(key).decrypt(sealed[:_NONCE], sealed[_NONCE:], bound_to)


@dataclass(frozen=True, slots=True)
class Seal:
    """A contact's seal: closes and opens what is known of that contact.

    >>> from journeylab.sender.keys import Keys
    >>> seals = Seals(Keys(bytes(32)))
    >>> ada = seals.of("ada", seals.new_key("ada"))
    >>> ada.open("contacts.address", ada.seal("contacts.address", "ada@mail.example"))
    'ada@mail.example'
    """

    contact: str
    key: bytes = field(repr=False)

    def seal(self, column: str, text: str) -> bytes:
        """A text, encrypted for a column, which is written `table.column`."""
        return self.seal_bytes(column, text.encode())

    def open(self, column: str, sealed: bytes) -> str:
        """The text that was sealed for a column.

        Raises:
            DataError: when it was not sealed for this contact and column, or was changed.
        """
        return self.open_bytes(column, sealed).decode()

    def seal_bytes(self, column: str, data: bytes) -> bytes:
        """As `seal`, for bytes."""
        return _closed(self.key, data, self._bound_to(column))

    def open_bytes(self, column: str, sealed: bytes) -> bytes:
        """As `open`, for bytes."""
        try:
            return _opened(self.key, bytes(sealed), self._bound_to(column))
        except _invalid_tag():
            raise DataError(
                f"{column} of the contact {self.contact!r} was changed, or sealed for another place: the database was "
                "altered by something else than the sender"
            ) from None

    def seal_json(self, column: str, value: Any) -> bytes:
        """As `seal`, for plain data."""
        return self.seal(column, _AS_JSON(value))

    def open_json(self, column: str, sealed: bytes) -> Any:
        """As `open`, for plain data."""
        return json.loads(self.open(column, sealed))

    def _bound_to(self, column: str) -> bytes:
        return f"{column}\0{self.contact}".encode()


class Seals:
    """Makes and opens the data keys of contacts.

    Args:
        keys: the sender's ring; its newest key closes, any that is not destroyed opens.
    """

    def __init__(self, keys: Keys) -> None:
        self.keys = keys
        self._unwrapped = lru_cache(100_000)(self._unwrap)

    def new_key(self, contact: str) -> bytes:
        """A new data key for a contact, encrypted under the ring's newest key: `contacts.sealed_key`."""
        return self._wrapped(contact, os.urandom(32))

    def rewrapped(self, contact: str, sealed_key: bytes) -> bytes | None:
        """A contact's data key, encrypted under the newest key; None where it is already."""
        if _number_of(sealed_key) == self.keys.newest:
            return None
        return self._wrapped(contact, self._unwrapped(contact, bytes(sealed_key)))

    def of(self, contact: str, sealed_key: bytes | None) -> Seal:
        """A contact's seal.

        Raises:
            DataError: when the data key was destroyed, or cannot be opened by this ring.
        """
        if sealed_key is None:
            raise DataError(f"the personal data of the contact {contact!r} were erased")
        return Seal(contact, self._unwrapped(contact, bytes(sealed_key)))

    def _wrapped(self, contact: str, key: bytes) -> bytes:
        number = self.keys.newest
        sealed = _closed(self.keys.of("person", number), key, _bound_to(contact, number))
        return number.to_bytes(_NUMBER, "big") + sealed

    def _unwrap(self, contact: str, sealed_key: bytes) -> bytes:
        number = _number_of(sealed_key)
        try:
            return _opened(self.keys.of("person", number), sealed_key[_NUMBER:], _bound_to(contact, number))
        except _invalid_tag():
            raise DataError(
                f"the data key of the contact {contact!r} cannot be opened: these are not the keys of this store"
            ) from None


def _number_of(sealed_key: bytes) -> int:
    return int.from_bytes(sealed_key[:_NUMBER], "big")


def _bound_to(contact: str, number: int) -> bytes:
    return f"contacts.sealed_key\0{number}\0{contact}".encode()


def with_seals(engine: Engine, keys: Keys | None) -> Engine:
    """The engine whose connections can open seals, where there are keys."""
    return engine if keys is None else engine.execution_options(seals=Seals(keys))


def seals_of(connection: Connection | Engine) -> Seals:
    """What opens the seals of a connection's store.

    Raises:
        DataError: when the store was opened without the keys.
    """
    found: Seals | None = connection.get_execution_options().get("seals")
    if found is None:
        raise DataError("personal data are sealed here; open the store with the sender's keys")
    return found


def seals_by_contact(connection: Connection, contacts: Collection[str]) -> dict[str, Seal]:
    """The seals of contacts, without those whose data keys were destroyed."""
    if not contacts:
        return {}
    seals = seals_of(connection)
    rows = _KEYS.rows(connection, [*contacts])
    return {contact: seals.of(contact, key) for contact, key in rows if key is not None}


def seal_of(connection: Connection, contact: str) -> Seal:
    """A contact's seal.

    Raises:
        DataError: when there is no such contact, or its data key was destroyed.
    """
    key = connection.scalar(select(t.contacts.c.sealed_key).where(t.contacts.c.contact == contact))
    return seals_of(connection).of(contact, key)


_KEYS: Final = Lookup(
    lambda among: select(t.contacts.c.contact, t.contacts.c.sealed_key).where(among(t.contacts.c.contact))
)


def joined(plain: str, sealed: str | None) -> str:
    """Two JSON objects, which share no name, as one.

    >>> joined('{"a": 1}', '{"b": 2}'), joined("{}", '{"b": 2}'), joined('{"a": 1}', None)
    ('{"a": 1, "b": 2}', '{"b": 2}', '{"a": 1}')
    """
    if sealed is None or sealed == "{}":
        return plain
    return sealed if plain == "{}" else f"{plain[:-1]}, {sealed[1:]}"


def rewrap(store: Store, *, most: int = 1000) -> int:
    """How many data keys were encrypted anew, under the ring's newest key; values stay as they are.

    Args:
        store: the sender's database, opened with its ring.
        most: how many are done in one transaction.
    """
    total, after = 0, ""
    while True:
        with store.writing() as connection:
            seals = seals_of(connection)
            some = select(t.contacts.c.contact, t.contacts.c.sealed_key).where(t.contacts.c.contact > after)
            rows = connection.execute(some.order_by(t.contacts.c.contact).limit(most).with_for_update()).all()
            fresh = [
                {"of": contact, "key": key}
                for contact, sealed in rows
                if sealed is not None and (key := seals.rewrapped(contact, sealed)) is not None
            ]
            if fresh:
                connection.execute(_REWRAPPING, fresh)
        if not rows:
            return total
        total, after = total + len(fresh), rows[-1].contact


def sealed_by(connection: Connection) -> dict[int, int]:
    """How many contacts' data keys each key of the ring has encrypted, by its number; zero ones are left out."""
    n = func.substr(t.contacts.c.sealed_key, 1, _NUMBER)
    rows = connection.execute(select(n, func.count()).where(t.contacts.c.sealed_key.is_not(None)).group_by(n))
    return {_number_of(bytes(number)): count for number, count in rows}


_REWRAPPING: Final = (
    update(t.contacts).where(t.contacts.c.contact == bindparam("of")).values(sealed_key=bindparam("key"))
)
