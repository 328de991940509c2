"""`at: best`: the hours of the local week that a send may take, the best of them, and now and then another (rule 17).

A local hour is counted from 1970-01-01T00:00 local. It lasts from the first instant at which the clock shows it to the
first one of the next, so that one which does not exist is empty and one that occurs twice is one.
"""

from __future__ import annotations

import numpy as np

from journeylab.clock import NEVER, from_local, local, quiet_until, window_at
from journeylab.keyedhash import mix, uniform
from journeylab.layout import *

from .past import zone_of
from .state import *

# 1970-01-01 is a Thursday.
_FIRST = 72
_BITS = 56


@inlined
def rank_row(p, w, node, c):  # type: ignore[no-untyped-def]
    """The row of ranks that holds for the contact at a node; NONE where no model knows it."""
    if w.limits[L_RANKED] == 0:
        return NONE
    return w.rank_rows[p.bests[p.nodes[node, D], BEST_MODEL] * w.limits[L_RANKED] + c]


@inlined
def _rank(w, row, hour):  # type: ignore[no-untyped-def]
    return np.int64(w.ranks[row, (hour + _FIRST) % WEEK])


@jit
def _hour_at(w, zone, t):  # type: ignore[no-untyped-def]
    """The local hour in which t lies."""
    hour = local(w.zones, zone, t) // HOUR
    while from_local(w.zones, zone, (hour + 1) * HOUR) <= t:
        hour += 1
    return hour


@jit
def _window_from(w, zone, best, t):  # type: ignore[no-untyped-def]
    """The first instant from t on that lies in the node's own window."""
    if best[BEST_START] < 0:
        return t
    return window_at(w.zones, zone, t, best[BEST_START], best[BEST_END], best[BEST_DAYS])


@jit
def _candidate(p, w, journey, zone, best, hour, t, until):  # type: ignore[no-untyped-def]
    """The instant for which a local hour stands from t on, where the send may take it; else NEVER."""
    at = max(t, from_local(w.zones, zone, hour * HOUR))
    if at > until or at >= from_local(w.zones, zone, (hour + 1) * HOUR) or _window_from(w, zone, best, at) != at:
        return NEVER
    quiet = p.journeys[journey, J_QUIET_START]
    if quiet >= 0 and quiet_until(w.zones, zone, at, quiet, p.journeys[journey, J_QUIET_END]) != at:
        return NEVER
    return at


@jit
def _best_candidate(p, w, journey, zone, best, row, t, until):  # type: ignore[no-untyped-def]
    """The instant of the candidate of the best rank, of equals the earliest; NEVER without one."""
    found, least = NEVER, NOT_SCORED
    for hour in range(_hour_at(w, zone, t), _hour_at(w, zone, until) + 1):
        rank = _rank(w, row, hour)
        if rank < least:
            at = _candidate(p, w, journey, zone, best, hour, t, until)
            if at != NEVER:
                found, least = at, rank
    return found


@jit
def _next_scored(w, zone, best, row, t):  # type: ignore[no-untyped-def]
    """The first instant from t on inside an hour with a score and the node's own window; NEVER where they never meet.

    What meets at all meets in every week but one in which the clocks change.
    """
    hour = _hour_at(w, zone, t)
    last = hour + 3 * WEEK
    while hour <= last:
        if _rank(w, row, hour) != NOT_SCORED:
            at = _window_from(w, zone, best, max(t, from_local(w.zones, zone, hour * HOUR)))
            if at == NEVER:
                return NEVER
            if at < from_local(w.zones, zone, (hour + 1) * HOUR):
                return at
            hour = max(hour, _hour_at(w, zone, at) - 1)
        hour += 1
    return NEVER


@jit
def _candidates(p, w, journey, zone, best, row, t, until, last):  # type: ignore[no-untyped-def]
    """The candidates at t up to the `last` (counted from 0): how many, their hours as bits, the last one's instant.

    An hour of the week that would be one twice is its first.
    """
    n, at, ends = ZERO, NEVER, NEVER
    low, middle, high = ZERO, ZERO, ZERO
    for hour in range(_hour_at(w, zone, t), _hour_at(w, zone, until) + 1):
        if _rank(w, row, hour) == NOT_SCORED:
            continue
        of_week = (hour + _FIRST) % WEEK
        part, bit = of_week // _BITS, 1 << (of_week % _BITS)
        if (low if part == 0 else middle if part == 1 else high) & bit:
            continue
        found = _candidate(p, w, journey, zone, best, hour, t, until)
        if found == NEVER:
            continue
        if part == 0:
            low |= bit
        elif part == 1:
            middle |= bit
        else:
            high |= bit
        n += 1
        at, ends = found, from_local(w.zones, zone, (hour + 1) * HOUR)
        if n > last:
            break
    return n, low, middle, high, at, ends


@jit
def explored(p, w, s, e, node, c):  # type: ignore[no-untyped-def]
    """What chance chooses for the entry's visit of a node, as of its arrival.

    How many candidates there are (0 where the visit is not explored), their hours as bits, and the chosen one's instant
    and end.
    """
    place, row = p.nodes[node, D], rank_row(p, w, node, c)
    nothing = (ZERO, ZERO, ZERO, ZERO, NEVER, NEVER)
    share = p.bests_x[place]
    if row < 0 or not share > 0:
        return nothing
    entry, visit = s.entries[e, E_ENTRY], s.memory[e * p.sizes[N_NODES] + node, M_VISITS]
    turn = uniform(w.units[c], np.uint64(p.bests[place, BEST_EXPLORE_KEY])) + (entry + visit) * share
    if not turn - np.floor(turn) < share:
        return nothing
    best, journey, arrived = p.bests[place], s.entries[e, E_JOURNEY], s.entries[e, E_ARRIVED]
    zone, until = zone_of(p, w, s, journey, c, arrived), arrived + best[BEST_WITHIN]
    n, low, middle, high, _, _ = _candidates(p, w, journey, zone, best, row, arrived, until, WEEK)
    if n < 2:
        return nothing
    unit = mix(mix(w.units[c] + np.uint64(entry)) + np.uint64(visit))
    chosen = min(np.int64(uniform(unit, np.uint64(best[BEST_SLOT_KEY])) * n), n - 1)
    _, _, _, _, at, ends = _candidates(p, w, journey, zone, best, row, arrived, until, chosen)
    return n, low, middle, high, at, ends


@jit
def best_at(p, w, s, e, c, t):  # type: ignore[no-untyped-def]
    """The instant with which `at: best` answers at t (rule 17)."""
    apart()
    node, journey = s.entries[e, E_NODE], s.entries[e, E_JOURNEY]
    best, row, zone = p.bests[p.nodes[node, D]], rank_row(p, w, node, c), zone_of(p, w, s, journey, c, t)
    until = s.entries[e, E_ARRIVED] + best[BEST_WITHIN]
    if row >= 0:
        n, _, _, _, chosen, _ = explored(p, w, s, e, node, c)
        if n > 0:
            return chosen if t < chosen else _window_from(w, zone, best, t)
        if t <= until:
            at = _best_candidate(p, w, journey, zone, best, row, t, until)
            return at if at != NEVER else _next_scored(w, zone, best, row, t)
    return _window_from(w, zone, best, t)


@jit
def note_advice(p, w, s, out, record, e, node, c, t):  # type: ignore[no-untyped-def]
    """Notes of a send that is made whether its hour was explored, with what chance chose from, or the fallback's."""
    apart()
    row = rank_row(p, w, node, c)
    if row < 0:
        return
    n, low, middle, high, at, ends = explored(p, w, s, e, node, c)
    if n == 0:
        s.used[N_BY_FALLBACK] += int(row >= w.limits[L_FALLBACKS])
    elif record:
        i = out.used[O_CHOICES]  # there is room: a choice is of a visit of its own
        out.used[O_CHOICES] = i + 1
        out.choices[i, Q_VISIT] = s.memory[e * p.sizes[N_NODES] + node, M_RECORD]
        out.choices[i, Q_OPTIONS], out.choices[i, Q_IN_TIME] = n, int(at <= t < ends)
        out.choices[i, Q_LOW], out.choices[i, Q_LOW + 1], out.choices[i, Q_LOW + 2] = low, middle, high
