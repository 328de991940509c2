"""What a contact's past holds as of an instant: events of the log and of journeys, attributes, the time zone."""

from __future__ import annotations

import numpy as np

from journeylab.clock import NEVER
from journeylab.layout import *
from journeylab.memory import float_at, int_at

from .state import *

# Events: the log's, in streams by contact, then those that journeys made (rule 1).


@jit
def _narrowed(at, low, high, t):  # type: ignore[no-untyped-def]
    """The few places of a long span among which its first event later than t is."""
    apart()
    while high - low > 8:
        middle = (low + high) // 2
        if int_at(at, middle) > t:
            high = middle
        else:
            low = middle + 1
    return low, high


@inlined
def _first_beyond(w, stream, low, high, t):  # type: ignore[no-untyped-def]
    """The first of a stream's places low..high whose event is later than t."""
    at = w.streams[stream, 1]
    if high - low > 8:
        low, high = _narrowed(at, low, high, t)
    while low < high and int_at(at, low) <= t:
        low += 1
    return low


@inlined
def _places(w, stream, c):  # type: ignore[no-untyped-def]
    """Where the contact's events of a stream lie, from the first to beyond the last."""
    offsets = w.streams[stream, 0]
    if offsets == 0:
        return ZERO, ZERO
    return int_at(offsets, c), int_at(offsets, c + 1)


@inlined
def has_any(w, stream, c):  # type: ignore[no-untyped-def]
    """Whether the log has any event of a stream of the contact."""
    start, end = _places(w, stream, c)
    return start < end


@inlined
def has_refused(p, w, c):  # type: ignore[no-untyped-def]
    """Whether the log has anything by which the contact may refuse mail: most have nothing of the kind."""
    found = has_any(w, p.suppressions[0], c) or has_any(w, p.suppressions[1], c)
    for purpose in range(p.sizes[N_PURPOSES]):
        found |= has_any(w, p.consents[purpose, WITHDRAWN], c) or has_any(w, p.consents[purpose, ERASED], c)
    return found


@inlined
def is_clear(s):  # type: ignore[no-untyped-def]
    """Whether neither the log nor a journey has made anything by which the contact may refuse mail."""
    return s.used[N_CLEAR] == 1 and s.used[N_OWN] == 0


@inlined
def _belongs(w, s, i, stream):  # type: ignore[no-untyped-def]
    """Whether an event that a journey made belongs to a stream."""
    return w.own_streams[s.own[i, 1] * w.limits[L_STREAMS] + stream] != 0


@jit
def _next_own(w, s, stream, t, row, at, at_row):  # type: ignore[no-untyped-def]
    """The first event after (t, row) that a journey made, or else the (at, at_row) that the log has."""
    rare()
    for i in range(s.used[N_OWN]):
        own_at = s.own[i, 0]
        if own_at >= at:
            break
        if (own_at > t or (own_at == t and OWN_ROW + i > row)) and _belongs(w, s, i, stream):
            return own_at, OWN_ROW + i
    return at, at_row


@inlined
def next_event(w, s, stream, c, t, row):  # type: ignore[no-untyped-def]
    """The first event of a stream after (t, row) in the contact's order, as (instant, row); (NEVER, LAST) if none."""
    place, end = _places(w, stream, c)
    found_at, found_row = NEVER, LAST
    if place < end:
        at, rows = w.streams[stream, 1], w.streams[stream, 2]
        place = _first_beyond(w, stream, place, end, t - 1)
        while place < end and int_at(at, place) == t and int_at(rows, place) <= row:
            place += 1
        if place < end:
            found_at, found_row = int_at(at, place), int_at(rows, place)
    if s.used[N_OWN] > 0:
        return _next_own(w, s, stream, t, row, found_at, found_row)
    return found_at, found_row


@inlined
def next_instant(w, s, stream, c, t):  # type: ignore[no-untyped-def]
    """The instant of the first event of a stream later than t; NEVER without one."""
    place, end = _places(w, stream, c)
    found_at = NEVER
    if place < end:
        place = _first_beyond(w, stream, place, end, t)
        if place < end:
            found_at = int_at(w.streams[stream, 1], place)
    if s.used[N_OWN] > 0:
        found_at, _ = _next_own(w, s, stream, t, LAST, found_at, LAST)
    return found_at


@inlined
def first_event(w, stream, c):  # type: ignore[no-untyped-def]
    """The first event of a stream that the log has, as (instant, row); (NEVER, LAST) if none."""
    place, end = _places(w, stream, c)
    if place == end:
        return NEVER, LAST
    return int_at(w.streams[stream, 1], place), int_at(w.streams[stream, 2], place)


@inlined
def is_logged(w, stream, c, first, last):  # type: ignore[no-untyped-def]
    """1 where the log itself has an event of the stream from one instant to another, else 0."""
    start, end = _places(w, stream, c)
    if start < end:
        start = _first_beyond(w, stream, start, end, first - 1)
    return int(start < end and int_at(w.streams[stream, 1], start) <= last)


@jit
def latest_event(w, s, stream, c, t):  # type: ignore[no-untyped-def]
    """The last event of a stream up to t, as (instant, row); (-NEVER, -1) if none."""
    start, end = _places(w, stream, c)
    place = _first_beyond(w, stream, start, end, t) if start < end else start
    found_at, found_row = -NEVER, NONE
    if place > start:
        found_at, found_row = int_at(w.streams[stream, 1], place - 1), int_at(w.streams[stream, 2], place - 1)
    for i in range(s.used[N_OWN]):
        if found_at <= s.own[i, 0] <= t and _belongs(w, s, i, stream):
            found_at, found_row = s.own[i, 0], OWN_ROW + i
    return found_at, found_row


@jit
def property_of(w, s, name, row):  # type: ignore[no-untyped-def]
    """The property of an event, missing where the event has none."""
    if name < 0 or row < 0 or row >= LAST_ROW:
        return np.nan
    if row >= OWN_ROW:
        return w.own_values[s.own[row - OWN_ROW, 1] * w.limits[L_PROPERTIES] + name]
    address = w.properties[name]
    return float_at(address, row) if address != 0 else np.nan


@jit
def aggregate(w, s, operation, stream, name, window, c, t):  # type: ignore[no-untyped-def]
    """The count, sum, mean, least or greatest over the events of (t - window, t] (rules 6 and 7)."""
    apart()
    start, end = _places(w, stream, c)
    high = _first_beyond(w, stream, start, end, t)
    since = -NEVER if window == np.inf else t - np.int64(window)
    low = start if window == np.inf else _first_beyond(w, stream, start, high, since)
    count, total, least, greatest = np.int64(0), 0.0, np.nan, np.nan
    if operation <= DID:
        count = high - low
    elif w.properties[name] != 0:
        rows = w.streams[stream, 2]
        for place in range(low, high):
            value = float_at(w.properties[name], int_at(rows, place))
            if value == value:
                count += 1
                total += value
                least = value if not least <= value else least
                greatest = value if not greatest >= value else greatest
    for i in range(s.used[N_OWN]):
        if since < s.own[i, 0] <= t and _belongs(w, s, i, stream):
            value = 0.0 if operation <= DID else w.own_values[s.own[i, 1] * w.limits[L_PROPERTIES] + name]
            if value == value:
                count += 1
                total += value
                least = value if not least <= value else least
                greatest = value if not greatest >= value else greatest
    if operation == COUNT:
        return float(count)
    if operation == DID:
        return 1.0 if count > 0 else 0.0
    if operation == SUM:
        return total
    if operation == MEAN:
        return total / count if count > 0 else np.nan
    return least if operation == MIN else greatest


# Attributes as of an instant (rule 7), and local time (rule 3).


@jit
def as_of(table, s, name, own_name, c, t):  # type: ignore[no-untyped-def]
    """The value of an attribute (`own_name` as programs set it) or a score as of t."""
    apart()
    value, since = float_at(table[name, 0], c), -NEVER
    offsets = table[name, 1]
    if offsets != 0:
        place = int_at(offsets, c + 1) - 1
        first = int_at(offsets, c)
        while place >= first and int_at(table[name, 2], place) > t:
            place -= 1
        if place >= first:
            value, since = float_at(table[name, 4], place), int_at(table[name, 2], place)
    for i in range(s.used[N_SET]):
        if s.assigned[i, 1] == own_name and since <= s.assigned[i, 0] <= t:
            value, since = s.assigned_x[i], s.assigned[i, 0]
    return value


@jit
def zone_of(p, w, s, journey, c, t):  # type: ignore[no-untyped-def]
    """The contact's time zone as of t, else the journey's."""
    name = w.limits[L_ZONE_ATTRIBUTE]
    if name >= 0:
        value = as_of(w.attributes, s, name, name, c, t)
        if value == value:
            return np.int64(value)
    return p.journeys[journey, J_ZONE]
