"""The only source of chance: keyed hashes that give the same number everywhere and at every time (rule 22).

A contact's *unit hash* is the SipHash-2-4 (Aumasson and Bernstein, 2012) of its id's UTF-8 text under a fixed key. A
number in (0, 1) for a purpose is the unit hash mixed with a key made from the purpose's text. An arm is chosen by
weighted rendezvous (Highest Random Weight; Thaler and Ravishankar, 1998): the arm with the least `-ln(u) / share`
wins, so an arm has its share, and raising one while the others shrink in proportion moves contacts only into it.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping
from fractions import Fraction
from typing import TYPE_CHECKING

import numpy as np
from numba import njit

if TYPE_CHECKING:
    import pyarrow as pa
    from numpy.typing import NDArray

__all__ = ["arm_of", "purpose_key", "siphash", "uniform", "unit_hash", "unit_hashes"]

UNIT_KEY = b"journeylab/units"
_K0 = np.uint64(int.from_bytes(UNIT_KEY[:8], "little"))
_K1 = np.uint64(int.from_bytes(UNIT_KEY[8:], "little"))


@njit(nogil=True)
def _rotate(x, bits):  # type: ignore[no-untyped-def]
    return (x << np.uint64(bits)) | (x >> np.uint64(64 - bits))


@njit(nogil=True)
def siphash(key0, key1, data, start, stop):  # type: ignore[no-untyped-def]
    """The SipHash-2-4 of `data[start:stop]` (uint8) under the key (key0, key1), as uint64."""
    v0 = key0 ^ np.uint64(0x736F6D6570736575)
    v1 = key1 ^ np.uint64(0x646F72616E646F6D)
    v2 = key0 ^ np.uint64(0x6C7967656E657261)
    v3 = key1 ^ np.uint64(0x7465646279746573)
    length = stop - start
    n_words = length // 8 + 1
    for word in range(n_words + 1):
        rounds = 2
        m = np.uint64(0)
        if word < n_words:
            first = start + word * 8
            for i in range(min(8, stop - first)):
                m |= np.uint64(data[first + i]) << np.uint64(8 * i)
            if word == n_words - 1:
                m |= np.uint64(length & 0xFF) << np.uint64(56)
        else:
            v2 ^= np.uint64(0xFF)
            rounds = 4
        v3 ^= m
        for _ in range(rounds):
            v0 += v1
            v1 = _rotate(v1, 13) ^ v0
            v0 = _rotate(v0, 32)
            v2 += v3
            v3 = _rotate(v3, 16) ^ v2
            v0 += v3
            v3 = _rotate(v3, 21) ^ v0
            v2 += v1
            v1 = _rotate(v1, 17) ^ v2
            v2 = _rotate(v2, 32)
        v0 ^= m
    return v0 ^ v1 ^ v2 ^ v3


@njit(nogil=True)
def mix(x):  # type: ignore[no-untyped-def]
    """The splitmix64 finaliser (Steele, Lea and Flood, 2014) of a uint64."""
    z = x + np.uint64(0x9E3779B97F4A7C15)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


@njit(nogil=True)
def uniform(unit, key):  # type: ignore[no-untyped-def]
    """A number in the open interval (0, 1) for a unit hash and a purpose's key, both uint64."""
    return (float(mix(unit ^ key) >> np.uint64(11)) + 0.5) * 2.0**-53


@njit(nogil=True, cache=True)
def _hash_texts(data, offsets, out):  # type: ignore[no-untyped-def]
    for i in range(out.shape[0]):
        out[i] = siphash(_K0, _K1, data, offsets[i], offsets[i + 1])


def unit_hashes(contact_ids: pa.Array) -> NDArray[np.uint64]:
    """The unit hash of every contact id, uint64; an integer id is hashed as its decimal text.

    >>> import pyarrow as pa
    >>> bool(unit_hashes(pa.array(["17"]))[0] == unit_hashes(pa.array([17]))[0] == unit_hash("17"))
    True
    """
    import pyarrow as pa

    texts = contact_ids.cast(pa.large_string())
    out = np.empty(len(texts), np.uint64)
    if len(texts):
        _, offset_buffer, data_buffer = texts.buffers()
        offsets = np.frombuffer(offset_buffer, np.int64)[texts.offset : texts.offset + len(texts) + 1]
        data = np.frombuffer(data_buffer, np.uint8) if data_buffer is not None else np.empty(0, np.uint8)
        _hash_texts(data, offsets, out)
    return out


def unit_hash(contact: object) -> int:
    """The unit hash of one contact id."""
    data = np.frombuffer(str(contact).encode(), np.uint8)
    return int(siphash(_K0, _K1, data, 0, len(data)))


def purpose_key(text: str) -> int:
    """The key of a purpose: the first eight bytes, little endian, of the SHA-256 of its text."""
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "little")


def arm_of(contact: object, salt: str, shares: Mapping[str, Fraction], entry: int | None = None) -> str:
    """The arm of a contact in a split; `entry` is given when the split is `per: entry` (rule 22).

    >>> arms = [arm_of(n, "welcome/offer", {"a": Fraction(1, 4), "b": Fraction(3, 4)}) for n in range(1000)]
    >>> arms.count("a")
    240
    """
    unit = np.uint64(unit_hash(contact))
    if entry is not None:
        unit = mix(np.uint64((int(unit) + entry) % 2**64))
    best = {
        arm: -math.log(uniform(unit, np.uint64(purpose_key(f"{salt}/{arm}")))) / float(share)
        for arm, share in shares.items()
        if share > 0
    }
    return min(sorted(best), key=best.__getitem__)
