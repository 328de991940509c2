"""Values to dense codes: ids of contacts, names of events, texts of properties.

Integers that lie close together are looked up in a table over their range; everything else goes through a hash table.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import numpy as np
from numba import njit

from .keyedhash import mix

if TYPE_CHECKING:
    import pyarrow as pa
    from numpy.typing import NDArray

__all__ = ["intern"]

_BLOCK = 1 << 20
_SECOND_LANE = np.uint64(0xD6E8FEB86659FD93)
_TAG = np.uint64(0xFFFFFFFF00000000)
_CODE = np.uint64(0x00000000FFFFFFFF)
_ONE = np.uint64(1)
_LARGEST = 2**63 - 1


def _jit(function: Any) -> Any:
    return njit(nogil=True, cache=True, error_model="numpy")(function)


@_jit
def _word(data: Any, i: int, size: int) -> Any:
    """Up to eight bytes from `i` on as one number."""
    word = np.uint64(0)
    if size >= 8:
        for k in range(8):
            word |= np.uint64(data[i + k]) << np.uint64(8 * k)
    else:
        for k in range(size):
            word |= np.uint64(data[i + k]) << np.uint64(8 * k)
    return word


@_jit
def _hash_texts(data: Any, offsets: Any, lane1: Any, lane2: Any) -> None:
    """Two independent 64-bit hashes of each text `data[offsets[i]:offsets[i + 1]]`."""
    for i in range(lane1.shape[0]):
        size = np.int64(offsets[i + 1] - offsets[i])
        one = np.uint64(size)
        two = one ^ _SECOND_LANE
        for j in range(0, size, 8):
            word = _word(data, offsets[i] + j, size - j)
            one = mix(one ^ word)
            two = mix(two + (word ^ _SECOND_LANE))
        lane1[i] = one
        lane2[i] = two


@_jit
def _hash_integers(values: Any, lane1: Any, lane2: Any) -> None:
    for i in range(values.shape[0]):
        lane1[i] = mix(np.uint64(values[i]))
        lane2[i] = np.uint64(values[i])


@_jit
def _probe(lane1, lane2, valid, i, first_row, codes, slots, known1, known2, first, n):  # type: ignore[no-untyped-def]
    """Gives codes to values from i on, -1 to missing ones; returns early, with where it stopped, when half full."""
    mask = np.uint64(slots.shape[0] - 1)
    while i < lane1.shape[0]:
        if valid.shape[0] > 0 and not valid[i]:
            codes[i] = -1
            i += 1
            continue
        tag = lane1[i] & _TAG
        slot = lane1[i] & mask
        while True:
            held = slots[slot, 0]
            if held == 0:
                if n == known1.shape[0]:
                    return i, n
                slots[slot, 0] = tag | np.uint64(n + 1)
                slots[slot, 1] = lane2[i]
                known1[n], known2[n], first[n] = lane1[i], lane2[i], first_row + i
                codes[i] = n
                n += 1
                break
            if held & _TAG == tag and slots[slot, 1] == lane2[i]:
                codes[i] = np.int64(held & _CODE) - 1
                break
            slot = (slot + _ONE) & mask
        i += 1
    return i, n


@_jit
def _rehash(known1: Any, known2: Any, slots: Any) -> None:
    mask = np.uint64(slots.shape[0] - 1)
    for code in range(known1.shape[0]):
        slot = known1[code] & mask
        while slots[slot, 0] != 0:
            slot = (slot + _ONE) & mask
        slots[slot, 0] = (known1[code] & _TAG) | np.uint64(code + 1)
        slots[slot, 1] = known2[code]


class _Interner:
    """An open-addressing table from 128-bit hashes to codes in order of first appearance.

    Two values are taken for the same when 96 to 128 bits of hash agree; among 10 million ids the chance that any two
    differ nevertheless is below 1e-14. Integers, and texts of up to 8 bytes and equal length, can never collide.
    The arrays come from numpy, which asks for huge pages: a random access is several times faster for it.
    """

    def __init__(self) -> None:
        self._size = 1 << 17
        self._slots = np.zeros((self._size, 2), np.uint64)
        self._known1 = np.empty(self._size // 2, np.uint64)
        self._known2 = np.empty(self._size // 2, np.uint64)
        self._first = np.empty(self._size // 2, np.int64)
        self._n = 0

    @property
    def first_rows(self) -> NDArray[np.int64]:
        """The row in which each code appeared first."""
        return self._first[: self._n]

    def add(self, lanes: tuple[Any, Any], valid: Any, first_row: int, codes: NDArray[np.int32]) -> None:
        """Writes the codes of one block of hashed values."""
        i = 0
        while i < len(codes):
            i, self._n = _probe(
                *lanes, valid, i, first_row, codes, self._slots, self._known1, self._known2, self._first, self._n
            )
            if i < len(codes):
                self._grow()

    def _grow(self) -> None:
        self._size *= 4
        self._slots = np.zeros((self._size, 2), np.uint64)
        _rehash(self._known1, self._known2, self._slots)
        for name in ("_known1", "_known2", "_first"):
            old = getattr(self, name)
            setattr(self, name, np.concatenate((old, np.empty(self._size // 2 - len(old), old.dtype))))


def _blocks(column: pa.ChunkedArray) -> Iterator[tuple[int, pa.Array]]:
    """The column's parts of at most `_BLOCK` rows, each with its first row."""
    row = 0
    for chunk in column.chunks:
        for start in range(0, len(chunk), _BLOCK):
            part = chunk.slice(start, _BLOCK)
            yield row, part
            row += len(part)


def _valid(part: pa.Array) -> NDArray[np.bool_]:
    """Which values are there; empty when all are."""
    return part.is_valid().to_numpy(zero_copy_only=False) if part.null_count else np.empty(0, np.bool_)


def _integers(part: pa.Array) -> NDArray[np.int64]:
    values: NDArray[np.int64] = (part.fill_null(0) if part.null_count else part).to_numpy()
    return values


def _hashed(part: pa.Array) -> tuple[NDArray[np.uint64], NDArray[np.uint64]]:
    lanes = np.empty(len(part), np.uint64), np.empty(len(part), np.uint64)
    if part.type == "int64":
        _hash_integers(_integers(part), *lanes)
    else:
        _, offset_buffer, data_buffer = part.buffers()
        width: type[np.signedinteger[Any]] = np.int64 if part.type == "large_string" else np.int32
        offsets = np.frombuffer(offset_buffer, width)[part.offset : part.offset + len(part) + 1]
        data = np.frombuffer(data_buffer or b"", np.uint8)
        offsets.flags.writeable = data.flags.writeable = False  # one compiled version for all buffers
        _hash_texts(data, offsets, *lanes)
    return lanes


@_jit
def _mark(values: Any, low: Any, seen: Any) -> None:
    for i in range(values.shape[0]):
        seen[values[i] - low] = True


@_jit
def _look_up(values: Any, low: Any, code_of: Any, codes: Any) -> None:
    """The code of each value, counted from `low`."""
    for i in range(values.shape[0]):
        codes[i] = code_of[values[i] - low]


@_jit
def _map_indices(indices: Any, code_of: Any, codes: Any, used: Any) -> None:
    """The code of each index into a dictionary, and which codes there are; -1 is the last place of `used`."""
    for i in range(indices.shape[0]):
        code = code_of[indices[i]]
        codes[i] = code
        used[code] = True


def _intern_dense(column: pa.ChunkedArray, low: int, high: int) -> tuple[NDArray[np.int32], pa.Array]:
    """Codes of integers that lie close together: a table over their range, codes in order of the integers."""
    import pyarrow as pa

    seen = np.zeros(high - low + 2, np.bool_)
    filled = [
        (row, (part.fill_null(high + 1) if part.null_count else part).to_numpy()) for row, part in _blocks(column)
    ]
    for _, values in filled:
        _mark(values, low, seen)
    seen[-1] = False
    code_of = np.cumsum(seen, dtype=np.int32) - np.int32(1)
    code_of[-1] = -1
    codes = np.empty(len(column), np.int32)
    for row, values in filled:
        _look_up(values, low, code_of, codes[row : row + len(values)])
    return codes, pa.array(np.flatnonzero(seen[:-1]) + low)


def _intern_dictionary(column: pa.ChunkedArray) -> tuple[NDArray[np.int32], pa.Array]:
    """Codes of a dictionary-encoded column: the dictionaries of its chunks are interned, the indices only mapped."""
    import pyarrow as pa

    dictionaries = pa.chunked_array([chunk.dictionary for chunk in column.chunks], column.type.value_type)
    code_of, values = intern(dictionaries)
    codes, used = np.empty(len(column), np.int32), np.zeros(len(values) + 1, np.bool_)
    begin, row = 0, 0
    for chunk in column.chunks:
        end = begin + len(chunk.dictionary)
        own = np.append(code_of[begin:end], np.int32(-1))
        indices = chunk.indices.cast(pa.int32()).fill_null(len(own) - 1).to_numpy()
        _map_indices(indices, own, codes[row : row + len(chunk)], used)
        begin, row = end, row + len(chunk)
    if used[:-1].all():
        return codes, values
    codes = np.append(np.cumsum(used[:-1], dtype=np.int32) - np.int32(1), np.int32(-1))[codes]
    return codes, values.filter(pa.array(used[:-1]))


def intern(column: pa.ChunkedArray) -> tuple[NDArray[np.int32], pa.Array]:
    """The code of every value (int32, -1 for missing ones) and the values by code, each once.

    `column` is int64 or text, dictionary-encoded or not. Integers that lie close together get codes in their order,
    everything else in order of first appearance.

    >>> import pyarrow as pa
    >>> codes, values = intern(pa.chunked_array([["b", "a"], ["b", None]]))
    >>> codes.tolist(), values.to_pylist()
    ([0, 1, 0, -1], ['b', 'a'])
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    if pa.types.is_dictionary(column.type):
        return _intern_dictionary(column)
    if column.type == "string_view":
        column = column.cast(pa.large_string())
    if column.type == "int64" and len(column) > column.null_count:
        low, high = (pc.min_max(column)[end].as_py() for end in ("min", "max"))
        if high - low < max(4 * len(column), _BLOCK) and high < _LARGEST:
            return _intern_dense(column, low, high)
    interner, codes = _Interner(), np.empty(len(column), np.int32)
    blocks = list(_blocks(column))
    with ThreadPoolExecutor(1) as hashing:  # one block is hashed while the one before it is added
        ahead = (hashing.map if len(blocks) > 1 else map)(_hashed, [part for _, part in blocks])
        for (row, part), lanes in zip(blocks, ahead, strict=True):
            interner.add(lanes, _valid(part), row, codes[row : row + len(part)])
    values = column.take(pa.array(interner.first_rows))
    return codes, values.combine_chunks() if values.num_chunks != 1 else values.chunk(0)
