"""The index of an event log that the machine walks: occurrences by kind of event, then by contact, then in time.

Occurrences are bucketed by kind in one pass over the log, and a kind is grouped by contact with a counting sort when it
is first asked for. Logs mostly come in order of time already, so the small sorts inside a contact seldom have anything
to do.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numba import njit

if TYPE_CHECKING:
    import pyarrow as pa
    from numpy.typing import NDArray

__all__ = ["Occurrences", "Stream", "group_by_contact", "group_by_kind"]

_THREADS = 2
_SHORT_RUN = 32


class Stream(NamedTuple):
    """The occurrences of one kind of event, contact by contact, each contact's sorted by instant and then by row.

    Contact c's are those from `offsets[c]` up to `offsets[c + 1]`.

    Attributes:
        offsets: int64, one more than there are contacts.
        at: int64, microseconds since 1970-01-01T00:00Z.
        row: int64, the row in the log, to look up properties with.
    """

    offsets: NDArray[np.int64]
    at: NDArray[np.int64]
    row: NDArray[np.int64]

    def where(self, keep: NDArray[np.bool_]) -> Stream:
        """The occurrences for which `keep` is true, in the same order."""
        before = np.concatenate(([0], np.cumsum(keep, dtype=np.int64)))
        return Stream(before[self.offsets], self.at[keep], self.row[keep])


class Occurrences(NamedTuple):
    """All occurrences, kind by kind: kind k's are those from `offsets[k]` up to `offsets[k + 1]`, in order of row.

    Attributes:
        offsets: int64, one more than there are kinds.
        contact: int32, codes of contacts.
        at: int64, microseconds since 1970-01-01T00:00Z.
        row: int32 or int64, the row in the log.
    """

    offsets: NDArray[np.int64]
    contact: NDArray[np.int32]
    at: NDArray[np.int64]
    row: NDArray[np.integer[Any]]

    def where(self, keep: NDArray[np.bool_]) -> Occurrences:
        """The occurrences for which `keep` is true, in the same order."""
        before = np.concatenate(([0], np.cumsum(keep, dtype=np.int64)))
        return Occurrences(before[self.offsets], self.contact[keep], self.at[keep], self.row[keep])


def _jit(function: Any) -> Any:
    return njit(nogil=True, cache=True, error_model="numpy")(function)


@_jit
def _counted(codes, shift, n):  # type: ignore[no-untyped-def]
    """How often each code occurs, its last bits left out: numpy's bincount would let no other thread run."""
    counts = np.zeros(n, np.int64)
    for i in range(codes.shape[0]):
        counts[codes[i] >> shift] += 1
    return counts


@_jit
def _place(kind, contact, at, row, next_place, to_contact, to_at, to_row):  # type: ignore[no-untyped-def]
    next_place = next_place.copy()  # in this thread's own memory: two threads writing to one cache line crawl
    for i in range(kind.shape[0]):
        place = next_place[kind[i]]
        next_place[kind[i]] = place + 1
        to_contact[place] = contact[i]
        to_at[place] = at[i]
        to_row[place] = row + i
    return next_place


def group_by_kind(
    kind: NDArray[np.int32], n_kinds: int, contact: NDArray[np.int32], at: pa.ChunkedArray
) -> Occurrences:
    """The occurrences of a log bucketed by kind, in order of row within a kind.

    `kind` and `contact` are codes by row without missing ones, `at` int64 microseconds.
    """
    row_type: type[np.signedinteger[Any]] = np.int32 if len(kind) < 2**31 else np.int64
    starts = np.linspace(0, len(kind), 4 * _THREADS + 1).astype(np.int64)
    spans = [slice(begin, end) for begin, end in pairwise(starts.tolist())]
    with ThreadPoolExecutor(_THREADS) as threads:
        counts = np.array(list(threads.map(lambda span: _counted(kind[span], 0, n_kinds), spans)), np.int64)
        offsets = np.concatenate(([0], np.cumsum(counts.sum(axis=0)))).astype(np.int64)
        places = offsets[:-1] + np.cumsum(counts, axis=0) - counts
        found = Occurrences(
            offsets, np.empty(len(kind), np.int32), np.empty(len(kind), np.int64), np.empty(len(kind), row_type)
        )

        def place(block: int) -> None:
            span, row = spans[block], spans[block].start
            for chunk in at.slice(row, span.stop - row).chunks:
                mine = slice(row, row + len(chunk))
                places[block] = _place(kind[mine], contact[mine], chunk.to_numpy(), row, places[block], *found[1:])
                row = mine.stop

        list(threads.map(place, range(len(spans))))
    return found


@_jit
def _sort_run(at, row):  # type: ignore[no-untyped-def]
    """Sorts one contact's occurrences by instant; those of one instant keep their order, which is that of rows.

    A merge sort on top of short insertion sorts: numpy's, compiled here, takes seconds to compile.
    """
    n = at.shape[0]
    for low in range(0, n, _SHORT_RUN):
        for i in range(low + 1, min(low + _SHORT_RUN, n)):
            this_at, this_row = at[i], row[i]
            j = i
            while j > low and at[j - 1] > this_at:
                at[j], row[j] = at[j - 1], row[j - 1]
                j -= 1
            at[j], row[j] = this_at, this_row
    width = _SHORT_RUN
    while width < n:
        from_at, from_row = at.copy(), row.copy()
        for low in range(0, n, 2 * width):
            middle, high = min(low + width, n), min(low + 2 * width, n)
            i, j = low, middle
            for k in range(low, high):
                if i < middle and (j >= high or from_at[i] <= from_at[j]):
                    at[k], row[k] = from_at[i], from_row[i]
                    i += 1
                else:
                    at[k], row[k] = from_at[j], from_row[j]
                    j += 1
        width *= 2


@_jit
def _spread(contact, at, row, shift, next_place, to_contact, to_at, to_row):  # type: ignore[no-untyped-def]
    """Puts occurrences next to those of contacts with like codes: a few hundred sequential writes instead of random."""
    for i in range(contact.shape[0]):
        part = contact[i] >> shift
        place = next_place[part]
        next_place[part] = place + 1
        to_contact[place], to_at[place], to_row[place] = contact[i], at[i], row[i]


@_jit
def _group_part(contact, at, row, first, begin, offsets, to_at, to_row):  # type: ignore[no-untyped-def]
    """A counting sort of one part's contacts, from `first` on, whose occurrences go to `begin` on; writes `offsets`."""
    n = offsets.shape[0]
    next_place = np.zeros(n + 1, np.int64)
    for i in range(contact.shape[0]):
        next_place[contact[i] - first + 1] += 1
    next_place[0] = begin
    for c in range(n):
        next_place[c + 1] += next_place[c]
        offsets[c] = next_place[c + 1]
    for i in range(contact.shape[0]):
        place = next_place[contact[i] - first]
        next_place[contact[i] - first] = place + 1
        to_at[place], to_row[place] = at[i], row[i]
    low = begin
    for c in range(n):
        for i in range(low + 1, offsets[c]):
            if to_at[i - 1] > to_at[i]:
                _sort_run(to_at[low : offsets[c]], to_row[low : offsets[c]])
                break
        low = offsets[c]


@_jit
def _group_parts(contact, at, row, edges, shift, part, last, offsets, to_at, to_row):  # type: ignore[no-untyped-def]
    """Groups parts up to `last`: their occurrences lie between `edges`."""
    while part < last:
        begin, end, first = edges[part], edges[part + 1], part << shift
        of_part = offsets[first + 1 : min((part + 1) << shift, offsets.shape[0] - 1) + 1]
        _group_part(contact[begin:end], at[begin:end], row[begin:end], first, begin, of_part, to_at, to_row)
        part += 1


def group_by_contact(
    contact: NDArray[np.int32], at: NDArray[np.int64], row: NDArray[np.integer[Any]], n_contacts: int
) -> Stream:
    """One kind's occurrences as a stream; they come in order of row.

    First they are spread over parts, ranges of contacts so small that the counting sort of each stays in the cache.

    >>> one = np.array([1, 0, 1], np.int32), np.array([30, 20, 10]), np.arange(3)
    >>> [part.tolist() for part in group_by_contact(*one, n_contacts=3)]
    [[0, 1, 3, 3], [20, 10, 30], [1, 2, 0]]
    """
    n = len(contact)
    stream = Stream(np.zeros(n_contacts + 1, np.int64), np.empty(n, np.int64), np.empty(n, np.int64))
    shift = max(12, (n_contacts >> 8).bit_length())
    n_parts = (max(n_contacts, 1) - 1 >> shift) + 1
    if n_parts == 1:
        _group_parts(contact, at, row, np.array([0, n], np.int64), shift, 0, 1, *stream)
        return stream
    halves = [slice(0, n // 2), slice(n // 2, n)]
    with ThreadPoolExecutor(_THREADS) as threads:
        counts = np.array(list(threads.map(lambda half: _counted(contact[half], shift, n_parts), halves)), np.int64)
        edges = np.concatenate(([0], np.cumsum(counts.sum(axis=0))))
        places = edges[:-1] + np.cumsum(counts, axis=0) - counts
        spread = np.empty(n, np.int32), np.empty(n, np.int64), np.empty(n, row.dtype)
        each = zip(halves, places, strict=True)
        list(
            threads.map(
                lambda one: _spread(*(part[one[0]] for part in (contact, at, row)), shift, one[1], *spread), each
            )
        )
        contact, at, row = spread
        middle = int(np.searchsorted(edges, n // 2))  # about as many occurrences for either thread
        list(
            threads.map(
                lambda parts: _group_parts(contact, at, row, edges, shift, *parts, *stream),
                ((0, middle), (middle, n_parts)),
            )
        )
    return stream
