"""The sender's key ring, and what is made from it: one key for each use, and the tokens in links and return paths.

A ring has one key at first and one more with each rotation. What is made anew is made with the newest; what was made
before is still understood, until its key is destroyed. The first key also gives messages and addresses their keys
(rule 30), which have to stay the same for ever, so it stays.

A token names a message (or a request) and proves that this sender wrote it: 128 bits that identify it, and 128 bits of
HMAC-SHA256 under the key of its use, in base 32 letters without padding, so that it survives mail systems that change
case. Nothing about a person can be read from it, none is stored, and it stays valid as long as the key is kept.
"""

from __future__ import annotations

import base64
import hmac
import json
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Final

from journeylab.derivedkeys import LENGTH, derived
from journeylab.errors import DataError
from journeylab.jsontext import data_of
from journeylab.keyfiles import read_private

if TYPE_CHECKING:
    from journeylab.sender.settings import Settings

__all__ = ["USES", "Keys", "key_ring"]

USES: Final = (
    "message", "address", "person", "unsubscribe", "preferences", "confirm", "click", "open", "bounce", "render",
    "audit", "erasure", "file", "report", "pulled",
)  # fmt: skip
"""What keys are made for; a token of one use is no token of another."""
_HALF: Final = 16
_LENGTH: Final = 52
_AS_JSON: Final = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode


def _text(data: bytes) -> str:
    return base64.b32encode(data).decode().rstrip("=").lower()


@cache
def _derived(root: bytes, use: str) -> bytes:
    return derived(root, f"journeylab/{use}/v1".encode())


@dataclass(frozen=True)
class Keys:
    """Keys by use, from one root of 256 bits for each key of the ring (HKDF, RFC 5869).

    Attributes:
        root: of the first key.
        later: the roots of later keys, oldest first; None where one was destroyed.

    >>> keys = Keys(bytes(32))
    >>> token = keys.token("unsubscribe", bytes(range(16)))
    >>> len(token), keys.named_by("unsubscribe", token.upper()) == bytes(range(16))
    (52, True)
    >>> keys.named_by("click", token) is None
    True
    >>> rotated = Keys(bytes(32), (b"1" * 32,))
    >>> rotated.newest, rotated.named_by("unsubscribe", token) == bytes(range(16))
    (2, True)
    """

    root: bytes = field(repr=False)
    later: tuple[bytes | None, ...] = field(default=(), repr=False)

    @property
    def newest(self) -> int:
        """The number of the key with which everything new is made; the first is 1."""
        return 1 + len(self.later)

    @property
    def destroyed(self) -> frozenset[int]:
        """The numbers of keys that were destroyed."""
        return frozenset(number for number, root in enumerate(self.later, 2) if root is None)

    def of(self, use: str, number: int = 1) -> bytes:
        """The key of a use, 32 bytes, from the ring's key of a number.

        Raises:
            DataError: when that key was destroyed, or the ring has none of that number.
        """
        if use not in USES:
            raise ValueError(f"no key is made for {use!r}")
        if not 1 <= number <= self.newest:
            raise DataError(f"the key ring has no key {number}; it is older than what it is to open")
        root = self.root if number == 1 else self.later[number - 2]
        if root is None:
            raise DataError(f"key {number} of the ring was destroyed; what it has sealed cannot be opened any more")
        return _derived(root, use)

    def digest(self, use: str, data: bytes, number: int = 1) -> bytes:
        """The first 128 bits of the HMAC-SHA256 of some data under the key of a use."""
        return hmac.digest(self.of(use, number), data, sha256)[:_HALF]

    def address_digest(self, address: str) -> str:
        """What an address is found by: 32 hexadecimal digits, alike for letters of either case.

        >>> Keys(bytes(32)).address_digest("Ada@mail.example") == Keys(bytes(32)).address_digest("ada@mail.example")
        True
        """
        return self.digest("address", address.lower().encode()).hex()

    def token(self, use: str, identity: bytes, detail: bytes = b"") -> str:
        """The token of an identity (16 bytes) for a use: 52 letters and digits.

        It proves `detail` too, which it does not hold: who reads the token must be given the same.
        """
        if len(identity) != _HALF:
            raise ValueError(f"an identity has {_HALF} bytes, not {len(identity)}")
        return _text(identity + self.digest(use, identity + detail, self.newest))

    def named_by(self, use: str, token: str, detail: bytes = b"") -> bytes | None:
        """The identity that a token names, or None where it is no token of that use and detail; in constant time.

        Letters may be of either case; nothing else that differs from the token as it was made is taken for it.
        """
        if len(token) != _LENGTH or not token.isascii():
            return None
        try:
            data = base64.b32decode(token.upper() + "====")
        except ValueError:
            return None
        identity, proof = data[:_HALF], data[_HALF:]
        kept = (1, *(number for number, root in enumerate(self.later, 2) if root is not None))
        proven = [hmac.compare_digest(self.digest(use, identity + detail, number), proof) for number in kept]
        return identity if any(proven) and _text(data) == token.lower() else None

    def message_key(self, journey: str, contact: str, entry: int, node: str, visit: int) -> str:
        """The key of a message, or of a call, by its identity (rule 30): 32 hexadecimal digits.

        >>> Keys(bytes(32)).message_key("welcome", "ada", 1, "hello", 1)
        '...'
        """
        identity = _AS_JSON([journey, contact, entry, node, visit])
        return self.digest("message", identity.encode()).hex()

    @classmethod
    def parsed(cls, text: str, place: str) -> Keys:
        """The keys that a text holds, as `text` gives it.

        Raises:
            DataError: when it holds none; the message names the place, and shows nothing of the text.
        """
        try:
            first, *later = (None if one is None else bytes.fromhex(one) for one in data_of(text)["roots"])
        except (KeyError, TypeError, ValueError):
            raise DataError(f"{place}: no key ring; take it from where keys are kept") from None
        if first is None:
            raise DataError(f"{place}: the first key is missing, which names all messages and addresses")
        for root in (first, *later):
            if root is not None and len(root) != LENGTH:
                raise DataError(f"{place}: a key has {8 * len(root)} bits, not 256")
        return cls(first, tuple(later))

    def text(self) -> str:
        """The ring as JSON: the secret itself, for where keys are kept."""
        return json.dumps({"roots": [None if one is None else one.hex() for one in (self.root, *self.later)]})

    def rotated(self) -> Keys:
        """The ring with a new key, made from the system's randomness."""
        return Keys(self.root, (*self.later, secrets.token_bytes(LENGTH)))

    def without(self, number: int) -> Keys:
        """The ring in which a key is destroyed.

        Raises:
            DataError: when it is the first, the newest, or there is none of that number.
        """
        if number == 1:
            raise DataError("the first key names all messages and addresses; it cannot be destroyed")
        if number == self.newest:
            raise DataError(f"key {number} is in use; rotate first")
        if not 1 < number < self.newest:
            raise DataError(f"the ring has no key {number}; it has 1 to {self.newest}")
        return Keys(self.root, tuple(None if n == number else one for n, one in enumerate(self.later, 2)))

    @classmethod
    def read(cls, path: Path) -> Keys:
        """The keys in a file that only its owner may read.

        Raises:
            DataError: when there is none, it is no key file, or others may read it.
        """
        held = read_private(path, "`journeylab promote` makes one at the first release")
        try:
            text = held.decode()
        except UnicodeDecodeError:
            raise DataError(f"{path}: no key ring; take it from where keys are kept") from None
        return cls.parsed(text, str(path))

    @classmethod
    def made(cls, path: Path) -> Keys:
        """The keys in a file, which is made where there is none; of several that make it at once, one wins.

        Once this returns, the file outlives a crash of the machine: a key that is lost would orphan every link.

        Raises:
            DataError: when it cannot be made, or cannot be read; see `read`.
        """
        if path.exists():
            return cls.read(path)
        with _written(path, cls(secrets.token_bytes(LENGTH))) as beside, suppress(FileExistsError):
            os.link(beside, path)
        return cls.read(path)

    def write(self, path: Path) -> None:
        """Puts the ring in the place of the one in a file, at once and for good.

        Raises:
            DataError: when it cannot be written.
        """
        with _written(path, self) as beside:
            beside.replace(path)


def key_ring(settings: Settings, *, create: bool = False) -> Keys:
    """The key ring of a sender, from where its settings say that it is.

    Args:
        settings: the sender's.
        create: whether to make one where it is to be in a file and there is none.

    Raises:
        DataError: when there is none, or it cannot be read.
    """
    kind, _, name = settings.key_ring.partition(":")
    if kind == "file":
        path = settings.path(name)
        return Keys.made(path) if create else Keys.read(path)
    return Keys.parsed(settings.secret(settings.key_ring), settings.key_ring)


@contextmanager
def _written(path: Path, keys: Keys) -> Iterator[Path]:
    """A file beside, for its owner alone, with the ring; its folder outlives a crash when the block is left."""
    beside = path.with_name(f"{path.name}.{secrets.token_hex(8)}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with os.fdopen(os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
            file.write(keys.text())
            file.flush()
            os.fsync(file.fileno())
        yield beside
        beside.unlink(missing_ok=True)
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
    except OSError as problem:
        raise DataError(f"{path}: no key can be made there: {problem.strerror}") from None
