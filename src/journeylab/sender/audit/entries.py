"""An entry of the audit log: what it says, what its leaf commits to, and what of it can be erased.

A leaf is the canonical JSON (RFC 8785) of all that stays for ever: the number, the instant, who did what to which
object, and a commitment to the rest. The rest, whom it concerns and the details, may be about a person: the commitment
is its HMAC-SHA256 under a random key of its own, the salt. Where contact, details and salt are erased, the tree is what
it was, and nobody can find out by trying what they were.

>>> entry = sealed(1, datetime(2026, 3, 2, 9, tzinfo=UTC), "kim", "contact_revealed", "contact", "ada", {}, bytes(32))
>>> entry.fault is None, entry.without_person().fault is None, entry.without_person().contact is None
(True, True, True)
>>> entry.leaf_hash == entry.without_person().leaf_hash
True
>>> dataclasses.replace(entry, contact="zofia").fault
'its contact or its details are not those to which it commits'
"""

from __future__ import annotations

import dataclasses
import hmac
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import sha256
from typing import Any, Final

from .tree import leaf_hash

__all__ = ["ERASED", "SALT", "Entry", "canonical", "instant_of", "sealed"]

ERASED: Final = "erased"
"""The action of an entry that says of which entries contact and details were erased: `entries` of its details."""
SALT: Final = 32
"""The bytes of a salt."""
_LARGEST: Final = 2**53 - 1
_encoded: Final = json.JSONEncoder(ensure_ascii=False, sort_keys=True, separators=(",", ":"), allow_nan=False).encode


def canonical(data: Any) -> bytes:
    r"""The canonical JSON of plain data (RFC 8785), UTF-8.

    Numbers are whole and below 2^53, and names are ASCII: for these Python's order and form are the RFC's.

    >>> canonical({"b": [1, True, None], "a": 'x\n"'})
    b'{"a":"x\\n\\"","b":[1,true,null]}'

    Raises:
        ValueError: for anything else: a fault of the program.
    """
    _check(data)
    return _encoded(data).encode()


def _check(data: Any) -> None:
    if data is None or isinstance(data, str):
        return
    if isinstance(data, dict):
        if not all(isinstance(name, str) and name.isascii() for name in data):
            raise ValueError("names in an entry's details are ASCII text")
        for value in data.values():
            _check(value)
    elif isinstance(data, (list, tuple)):
        for value in data:
            _check(value)
    elif isinstance(data, int):
        if not -_LARGEST <= data <= _LARGEST:
            raise ValueError(f"{data} is too large for an entry's details")
    else:
        raise ValueError(f"an entry's details have no {type(data).__name__}: {data!r}")


def instant_of(at: datetime) -> str:
    """An instant as leaves and records have it: UTC, to the microsecond.

    >>> instant_of(datetime(2026, 3, 2, 9, tzinfo=UTC))
    '2026-03-02T09:00:00.000000Z'
    """
    return at.astimezone(UTC).replace(tzinfo=None).isoformat(timespec="microseconds") + "Z"


@dataclass(frozen=True, slots=True)
class Entry:
    """An entry, as a row of `audit` has it.

    Attributes:
        seq: its number, from 1, without gaps, in the order of commits.
        at: when it was done.
        actor: who did it: a person, a process, an automaton, or `contact` for those to whom mail goes.
        action: what was done.
        object: to what.
        contact: whom it concerns, if anybody; None also once that is erased.
        details: what else there is to know; None once they are erased.
        salt: the key of the commitment; None once it is erased.
        commitment: to contact and details.
        leaf_hash: the leaf's in the tree.
    """

    seq: int
    at: datetime
    actor: str
    action: str
    object: str
    contact: str | None
    details: Mapping[str, Any] | None
    salt: bytes | None
    commitment: bytes
    leaf_hash: bytes

    @property
    def is_erased(self) -> bool:
        """Whether nothing is left of whom it concerns and of its details."""
        return self.contact is None and self.details is None and self.salt is None

    @property
    def erases(self) -> list[int]:
        """The numbers of the entries that it says were erased."""
        numbers = (self.details or {}).get("entries") if self.action == ERASED and self.contact is None else None
        return [one for one in numbers if isinstance(one, int)] if isinstance(numbers, list) else []

    @property
    def fault(self) -> str | None:
        """What of it is not as it was written, or None."""
        if not self.is_erased:
            if self.salt is None or self.details is None:
                return "a part of its details is missing, and they are not erased either"
            if not _is(self.commitment, lambda: _commitment(self.salt or b"", self.contact, self.details or {})):
                return "its contact or its details are not those to which it commits"
        if not _is(self.leaf_hash, lambda: _leaf(self)):
            return "it is not what its leaf says"
        return None

    def without_person(self) -> Entry:
        """What is left of it after an erasure."""
        return dataclasses.replace(self, contact=None, details=None, salt=None)


def sealed(
    seq: int, at: datetime, actor: str, action: str, what: str, contact: str | None, details: Mapping[str, Any],
    salt: bytes,
) -> Entry:  # fmt: skip
    """An entry with its commitment and its leaf.

    Raises:
        ValueError: for details that are no plain data; see `canonical`.
    """
    commitment = _commitment(salt, contact, details)
    entry = Entry(seq, at, actor, action, what, contact, details, salt, commitment, b"")
    return dataclasses.replace(entry, leaf_hash=_leaf(entry))


def _commitment(salt: bytes, contact: str | None, details: Mapping[str, Any]) -> bytes:
    return hmac.digest(salt, canonical({"contact": contact, "details": details}), sha256)


def _leaf(entry: Entry) -> bytes:
    said = {
        "seq": entry.seq,
        "at": instant_of(entry.at),
        "actor": entry.actor,
        "action": entry.action,
        "object": entry.object,
        "commitment": entry.commitment.hex(),
    }
    return leaf_hash(canonical(said))


def _is(hash_: bytes, made: Callable[[], bytes]) -> bool:
    """Whether a hash is what is made; what cannot be written canonically was never written."""
    try:
        return hmac.compare_digest(made(), hash_)
    except ValueError:
        return False
