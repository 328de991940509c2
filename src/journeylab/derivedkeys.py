"""Keys for one use each, derived from a root key."""

from __future__ import annotations

from typing import Final

__all__ = ["LENGTH", "derived"]

LENGTH: Final = 32
"""The bytes of a key."""


def derived(root: bytes, use: bytes) -> bytes:
    """The key of a use, 32 bytes, from a root key of as many (HKDF with SHA-256 and no salt, RFC 5869).

    >>> derived(bytes(32), b"seal") == derived(bytes(32), b"noise")
    False
    """
    from cryptography.hazmat.primitives.hashes import SHA256
    from cryptography.hazmat.primitives.kdf.hkdf import HKDF

    return HKDF(SHA256(), LENGTH, salt=None, info=use).derive(root)
