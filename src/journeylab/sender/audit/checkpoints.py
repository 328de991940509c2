"""Checkpoints: signed statements of how many entries the log has, and what is in them.

A checkpoint is a C2SP signed note (c2sp.org/signed-note, c2sp.org/tlog-checkpoint): the log's name, its size, its root
in base 64, here also the instant on a line of its own, an empty line, and the signature, Ed25519 by the sender's key:

```
shop
1234
3yEzV3zBGs1zXBjVjOAs8OMGYbqLNqEBQ6Dy1bbFgAk=
time 2026-03-02T09:05:00.000000Z

— shop 5f0a…
```

>>> signer = Signer("shop", bytes(32))
>>> made = Checkpoint("shop", 0, EMPTY, datetime(2026, 3, 2, 9, 5, tzinfo=UTC))
>>> opened(made.signed(signer), signer.key) == made
True
"""

from __future__ import annotations

import base64
import binascii
import re
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from hashlib import sha256
from typing import Any, Final
from urllib.parse import quote

from journeylab.errors import DataError

from .entries import instant_of
from .tree import EMPTY, SIZE

__all__ = ["EMPTY", "Checkpoint", "PublicKey", "Signer", "name_of", "notes_in", "opened"]

_ED25519: Final = b"\x01"
_TIME: Final = "time "
_NOTE: Final = re.compile(
    r"^(?P<text>[^\s]+\n[0-9]{1,18}\n[A-Za-z0-9+/]{43}=\n(?:(?!— ).+\n)*)\n"
    r"(?P<signatures>(?:— [^\s+]+ [A-Za-z0-9+/=]+\n)*— [^\s+]+ [A-Za-z0-9+/=]+\n?)",
    re.MULTILINE,
)
_ENCODED: Final = re.compile(r"[A-Za-z0-9+/]{120,}={0,2}")


def name_of(sender: str) -> str:
    """The name under which a sender's log is signed: the sender's, without blanks and plus signs.

    >>> name_of("Our shop")
    'Our%20shop'
    """
    return quote(sender, safe="/:")


@dataclass(frozen=True)
class PublicKey:
    """The key by which checkpoints are checked; as text `NAME+HASH+KEY`, as C2SP writes verifier keys."""

    name: str
    data: bytes

    @property
    def hash(self) -> bytes:
        """The four bytes by which signatures name the key."""
        return sha256(self.name.encode() + b"\n" + _ED25519 + self.data).digest()[:4]

    def __str__(self) -> str:
        """The key as text."""
        return f"{self.name}+{self.hash.hex()}+{base64.b64encode(_ED25519 + self.data).decode()}"

    @classmethod
    def parsed(cls, text: str) -> PublicKey:
        """The key that a text has.

        Raises:
            DataError: when it has none.
        """
        name, _, rest = text.strip().partition("+")
        hash_, _, encoded = rest.partition("+")
        try:
            data = base64.b64decode(encoded, validate=True)
            name.encode()
        except ValueError:
            data = b""
        key = cls(name if data else "", data[1:])
        if data[:1] != _ED25519 or len(data) != SIZE + 1 or key.hash.hex() != hash_:
            said = "`journeylab audit key` shows the sender's: NAME+HASH+KEY"
            raise DataError(f"{text[:200]!r} is no public key; {said}")
        return key

    def has_signed(self, text: str, signature: bytes) -> bool:
        """Whether a signature over a text is this key's."""
        from cryptography.exceptions import InvalidSignature
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

        try:
            Ed25519PublicKey.from_public_bytes(self.data).verify(signature, text.encode())
        except (InvalidSignature, ValueError):
            return False
        return True


@dataclass(frozen=True)
class Signer:
    """Signs checkpoints under a name.

    Args:
        name: the log's; see `name_of`.
        seed: 32 bytes, the key of the use `audit` (`Keys.of`).
    """

    name: str
    seed: bytes

    def __repr__(self) -> str:
        """The name alone."""
        return f"Signer({self.name!r})"

    @cached_property
    def _private(self) -> Any:
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

        return Ed25519PrivateKey.from_private_bytes(self.seed)

    @property
    def key(self) -> PublicKey:
        """The public key."""
        return PublicKey(self.name, self._private.public_key().public_bytes_raw())

    def note(self, text: str) -> str:
        """A text, which ends with a line break, as a signed note."""
        signature = base64.b64encode(self.key.hash + self._private.sign(text.encode())).decode()
        return f"{text}\n— {self.name} {signature}\n"


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A statement of a log.

    Attributes:
        name: the log's.
        size: how many entries it has.
        root: the root of their tree.
        at: when that was stated.
    """

    name: str
    size: int
    root: bytes
    at: datetime

    @property
    def text(self) -> str:
        """What is signed."""
        root = base64.b64encode(self.root).decode()
        return f"{self.name}\n{self.size}\n{root}\n{_TIME}{instant_of(self.at)}\n"

    def signed(self, signer: Signer) -> str:
        """The signed note."""
        return signer.note(self.text)


def opened(note: str, key: PublicKey) -> Checkpoint:
    """The checkpoint that a note has and the key has signed.

    Raises:
        DataError: when the note is none, is another log's, or is not signed by the key.
    """
    match = _NOTE.fullmatch(note)
    if match is None:
        raise DataError("it is no checkpoint")
    text = match["text"]
    name, size, root, *more = text.split("\n")
    for line in match["signatures"].rstrip("\n").split("\n"):
        _, who, encoded = line.split(" ")
        try:
            data = base64.b64decode(encoded + "=" * (-len(encoded) % 4), validate=True)
        except binascii.Error:
            raise DataError("it has a signature that is none") from None
        if who == key.name and data[:4] == key.hash:
            if not key.has_signed(text, data[4:]):
                raise DataError("its signature is not of what it says")
            break
    else:
        raise DataError(f"it is not signed by the key {key}")
    times = [line.removeprefix(_TIME) for line in more if line.startswith(_TIME)]
    if name != key.name or len(times) != 1:
        raise DataError(f"it is no checkpoint of the log {key.name}")
    try:
        at = datetime.fromisoformat(times[0]).astimezone(UTC)
    except (ValueError, OverflowError):
        raise DataError("its instant is none") from None
    return Checkpoint(name, int(size), base64.b64decode(root), at)


def notes_in(text: str) -> list[str]:
    """The notes in a text: as they are, one after the other, or as base 64 in the lines of a log.

    >>> notes_in("nothing here")
    []
    """
    found = [match.group() for match in _NOTE.finditer(text)]
    for match in _ENCODED.finditer(text):
        try:
            inner = base64.b64decode(match.group(), validate=True).decode()
        except ValueError:
            continue
        found += [one.group() for one in _NOTE.finditer(inner)]
    return found
