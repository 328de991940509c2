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
from dataclasses import dataclass, field
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import Final

from journeylab.errors import DataError

__all__ = ["USES", "Keys"]

USES: Final = ("message", "unsubscribe", "preferences", "confirm", "click", "open", "bounce", "render")
"""What keys are made for; a token of one use is no token of another."""
_HALF: Final = 16


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

    def token(self, use: str, identity: bytes) -> str:
        """The token of an identity (16 bytes) for a use: 52 letters and digits."""
        return _text(identity + self.digest(use, identity))

    def named_by(self, use: str, token: str) -> bytes | None:
        """The identity that a token names, or None where it is no token of that use; in constant time."""
        padded = token.strip().upper()
        try:
            data = base64.b32decode(padded + "=" * (-len(padded) % 8))
        except ValueError:
            return None
        if len(data) != 2 * _HALF or not hmac.compare_digest(self.digest(use, data[:_HALF]), data[_HALF:]):
            return None
        return data[:_HALF]

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
        except (json.JSONDecodeError, KeyError, TypeError, ValueError):
            raise DataError(f"{path}: no key file; take it from where keys are kept") from None
        if len(root) != 32:
            raise DataError(f"{path}: the key has {8 * len(root)} bits, not 256")
        return cls(root)

    @classmethod
    def made(cls, path: Path) -> Keys:
        """The keys in a file, which is made where there is none."""
        if path.exists():
            return cls.read(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
            json.dump({"root": secrets.token_hex(32)}, file)
            file.flush()
            os.fsync(file.fileno())
        return cls.read(path)
