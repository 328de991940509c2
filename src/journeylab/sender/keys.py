"""The sender's key, and what is made from it: one key for each use, and the tokens in links and return paths.

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
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import Final

from journeylab.errors import DataError

__all__ = ["USES", "Keys"]

USES: Final = ("message", "unsubscribe", "preferences", "confirm", "click", "open", "bounce", "render", "audit")
"""What keys are made for; a token of one use is no token of another."""
_HALF: Final = 16
_LENGTH: Final = 52
_AS_JSON: Final = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode


def _text(data: bytes) -> str:
    return base64.b32encode(data).decode().rstrip("=").lower()


@cache
def _derived(root: bytes, use: str) -> bytes:
    from cryptography.hazmat.primitives.hashes import SHA256
    from cryptography.hazmat.primitives.kdf.hkdf import HKDF

    return HKDF(SHA256(), 32, salt=None, info=f"journeylab/{use}/v1".encode()).derive(root)


@dataclass(frozen=True)
class Keys:
    """Keys by use, all from one root of 256 bits (HKDF, RFC 5869).

    >>> keys = Keys(bytes(32))
    >>> token = keys.token("unsubscribe", bytes(range(16)))
    >>> len(token), keys.named_by("unsubscribe", token.upper()) == bytes(range(16))
    (52, True)
    >>> keys.named_by("click", token) is None
    True
    """

    root: bytes = field(repr=False)

    def of(self, use: str) -> bytes:
        """The key of a use, 32 bytes."""
        if use not in USES:
            raise ValueError(f"no key is made for {use!r}")
        return _derived(self.root, use)

    def digest(self, use: str, data: bytes) -> bytes:
        """The first 128 bits of the HMAC-SHA256 of some data under the key of a use."""
        return hmac.digest(self.of(use), data, sha256)[:_HALF]

    def token(self, use: str, identity: bytes, detail: bytes = b"") -> str:
        """The token of an identity (16 bytes) for a use: 52 letters and digits.

        It proves `detail` too, which it does not hold: who reads the token must be given the same.
        """
        if len(identity) != _HALF:
            raise ValueError(f"an identity has {_HALF} bytes, not {len(identity)}")
        return _text(identity + self.digest(use, identity + detail))

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
        is_proven = hmac.compare_digest(self.digest(use, identity + detail), proof)
        return identity if is_proven and _text(data) == token.lower() else None

    def message_key(self, journey: str, contact: str, entry: int, node: str, visit: int) -> str:
        """The key of a message, or of a call, by its identity (rule 30): 32 hexadecimal digits.

        >>> Keys(bytes(32)).message_key("welcome", "ada", 1, "hello", 1)
        '...'
        """
        identity = _AS_JSON([journey, contact, entry, node, visit])
        return self.digest("message", identity.encode()).hex()

    @classmethod
    def read(cls, path: Path) -> Keys:
        """The keys in a file that only its owner may read.

        Raises:
            DataError: when there is none, it is no key file, or others may read it.
        """
        try:
            if path.stat().st_mode & 0o077:
                raise DataError(f"{path}: others may read the key; chmod 600 {path}")
            root = bytes.fromhex(json.loads(path.read_text(encoding="utf-8"))["root"])
        except FileNotFoundError:
            raise DataError(f"{path}: there is no key; `journeylab promote` makes one at the first release") from None
        except OSError as problem:
            raise DataError(f"{path}: the key cannot be read: {problem.strerror}") from None
        except (json.JSONDecodeError, KeyError, TypeError, ValueError):
            raise DataError(f"{path}: no key file; take it from where keys are kept") from None
        if len(root) != 32:
            raise DataError(f"{path}: the key has {8 * len(root)} bits, not 256")
        return cls(root)

    @classmethod
    def made(cls, path: Path) -> Keys:
        """The keys in a file, which is made where there is none; of several that make it at once, one wins.

        Once this returns, the file outlives a crash of the machine: a key that is lost would orphan every link.

        Raises:
            DataError: when it cannot be made, or cannot be read; see `read`.
        """
        if path.exists():
            return cls.read(path)
        beside = path.with_name(f"{path.name}.{secrets.token_hex(8)}")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with os.fdopen(os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
                json.dump({"root": secrets.token_hex(32)}, file)
                file.flush()
                os.fsync(file.fileno())
            with suppress(FileExistsError):
                os.link(beside, path)
            beside.unlink()
            folder = os.open(path.parent, os.O_RDONLY)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)
        except OSError as problem:
            raise DataError(f"{path}: no key can be made there: {problem.strerror}") from None
        return cls.read(path)
