"""What was recorded in a chunk, put into the order of the tables without a sort over all of it.

Tables are sorted by contact, entry and instant. A contact is advanced at a time, in the order of time: so its rows lie
together, and all that is to be found is where they go. Only the rows of a contact with several entries are sorted,
among themselves.
"""

from __future__ import annotations

import numpy as np

from journeylab.clock import NEVER
from journeylab.layout import *

from .state import *

NOT_YET = np.iinfo(np.int64).min
"""How numpy writes a missing instant."""


@entry_point
def count_rows(rank, entries, visits, n_entries, n_visits):  # type: ignore[no-untyped-def]
    """Adds to each contact's counts, one place further on; the most rows that one contact has."""
    most = 0
    for i in range(entries.shape[0]):
        n_entries[rank[entries[i, R_CONTACT]] + 1] += 1
    for i in range(visits.shape[0]):
        place = rank[entries[visits[i, V_ENTRY], R_CONTACT]] + 1
        n_visits[place] += 1
        most = max(most, n_visits[place])
    return most


@jit
def _is_before(keys, i, j):  # type: ignore[no-untyped-def]
    for k in range(keys.shape[1]):
        if keys[i, k] != keys[j, k]:
            return keys[i, k] < keys[j, k]
    return i < j


@jit
def _sort(keys, order, n):  # type: ignore[no-untyped-def]
    """Fills order[:n] with the rows of keys[:n] in their order, equal ones as they were; by Shell's sort."""
    for i in range(n):
        order[i] = i
    gap = n // 2
    while gap > 0:
        for i in range(gap, n):
            this, j = order[i], i
            while j >= gap and _is_before(keys, this, order[j - gap]):
                order[j] = order[j - gap]
                j -= gap
            order[j] = this
        gap //= 2


@entry_point
def put_rows(  # type: ignore[no-untyped-def]
    rank, entry_starts, visit_starts, entries, times, visits, marks, first, most, to_contact, to_entry, to_node,
    to_visit, to_edge, to_evidence, to_reason, to_arrived, to_left, to_record, to_entries,
):  # fmt: skip
    """Writes the rows of a chunk to their places among all."""
    order, keys = np.empty(most, np.int64), np.empty((most, 3), np.int64)
    begin, begin_entries, n = 0, 0, visits.shape[0]
    while begin < n:
        contact = entries[visits[begin, V_ENTRY], R_CONTACT]
        end, end_entries = begin, begin_entries
        while end < n and entries[visits[end, V_ENTRY], R_CONTACT] == contact:
            end += 1
        while end_entries < entries.shape[0] and entries[end_entries, R_CONTACT] == contact:
            end_entries += 1
        is_sorted, to = end_entries == begin_entries + 1, entry_starts[rank[contact]]
        if not is_sorted:
            for i in range(begin_entries, end_entries):
                keys[i - begin_entries, 0] = entries[i, R_ENTRY]
                keys[i - begin_entries, 1] = entries[i, R_JOURNEY]
                keys[i - begin_entries, 2] = 0
            _sort(keys, order, end_entries - begin_entries)
        for i in range(begin_entries, end_entries):
            row = i if is_sorted else begin_entries + order[i - begin_entries]
            for k in range(R_COLUMNS):
                to_entries[to, k] = entries[row, k]
            if entries[row, R_LEFT] == NEVER:
                to_entries[to, R_LEFT] = NOT_YET
            to += 1
        to = visit_starts[rank[contact]]
        if not is_sorted:
            for i in range(begin, end):
                keys[i - begin, 0] = entries[visits[i, V_ENTRY], R_ENTRY]
                keys[i - begin, 1] = times[i, 0]
                keys[i - begin, 2] = entries[visits[i, V_ENTRY], R_JOURNEY]
            _sort(keys, order, end - begin)
        for i in range(begin, end):
            row = i if is_sorted else begin + order[i - begin]
            to_contact[to], to_entry[to] = contact, entries[visits[row, V_ENTRY], R_ENTRY]
            to_node[to], to_visit[to] = visits[row, V_NODE], visits[row, V_VISIT]
            to_edge[to] = visits[row, V_EDGE]
            to_evidence[to], to_reason[to] = marks[row, V_EVIDENCE], marks[row, V_REASON]
            to_arrived[to] = times[row, 0]
            to_left[to] = times[row, 1] if times[row, 1] != NEVER else NOT_YET
            to_record[to] = first + row
            to += 1
        begin, begin_entries = end, end_entries
