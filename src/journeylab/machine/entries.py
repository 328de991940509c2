"""How an entry begins and ends, and the recording of its visits."""

from __future__ import annotations

import numpy as np

from journeylab.clock import DAY, NEVER, from_local
from journeylab.keyedhash import uniform
from journeylab.layout import *
from journeylab.memory import float_at, int_at

from .evaluation import first_evidence, holds, value_of
from .past import as_of, is_clear, latest_event, next_event, zone_of
from .state import *

# Recording.


@in_place
def open_visit(p, w, s, out, record, e, node, t):  # type: ignore[no-untyped-def]
    if not record:
        return
    memory = e * p.sizes[N_NODES] + node
    i = out.used[O_VISITS]
    if i >= out.room[ROOM_VISITS]:
        s.used[N_STATUS] = TOO_SMALL
        return
    out.used[O_VISITS] = i + 1
    out.times[i, 0], out.times[i, 1] = t, NEVER
    out.visits[i, V_ENTRY] = s.entries[e, E_RECORD]
    out.visits[i, V_NODE] = node
    out.visits[i, V_VISIT] = s.memory[memory, M_VISITS]
    out.visits[i, V_EDGE] = NONE
    out.marks[i, V_REASON] = BECAUSE_NOT
    out.marks[i, V_EVIDENCE] = ASSUMED if w.limits[L_UNTIL] > w.limits[L_LOG_END] else first_evidence(s)
    s.memory[memory, M_RECORD] = i


@inlined
def close_visit(p, w, s, out, record, e, node, t, edge, reason):  # type: ignore[no-untyped-def]
    """Closes the visit with the evidence that its step has gathered; what ends after the log is assumed (rule 35)."""
    evidence = ASSUMED if t > w.limits[L_LOG_END] else s.used[N_EVIDENCE]
    if not record:
        if edge >= 0:
            out.n_by_edge[edge, evidence] += 1
        else:
            out.n_by_node[node, ENDED] += 1
        return
    i = s.memory[e * p.sizes[N_NODES] + node, M_RECORD]
    out.times[i, 1] = t
    out.visits[i, V_EDGE] = edge
    out.marks[i, V_EVIDENCE] = evidence
    out.marks[i, V_REASON] = reason


# Leaving (rules 14 to 16).


@jit
def find_leave(p, w, s, e, c, t, row, cause):  # type: ignore[no-untyped-def]
    """Notes the entry's next cause to leave: after (t, row), or that very event by a cause listed after `cause`."""
    apart()
    journey = s.entries[e, E_JOURNEY]
    first, end = p.journeys[journey, J_CAUSES], p.journeys[journey, J_CAUSES_END]
    if is_clear(s):
        first += REFUSALS
    best_at, best_row, best_cause = NEVER, LAST, NONE
    for k in range(first, end):
        at, at_row = next_event(w, s, p.causes[k, C_STREAM], c, t, row - 1 if 0 <= cause < k else row)
        if at < best_at or (at == best_at and at_row < best_row):
            best_at, best_row, best_cause = at, at_row, k
    s.entries[e, E_LEAVE_AT], s.entries[e, E_LEAVE_ROW], s.entries[e, E_CAUSE] = best_at, best_row, best_cause


@jit
def end_entry(p, w, s, out, record, e, t, exit_):  # type: ignore[no-untyped-def]
    """Ends an entry whose last node's visit is closed: the parts around it, its record, its place among the running."""
    run = p.nodes[s.entries[e, E_NODE], N_RUN]
    if run >= 0:
        s.used[N_EVIDENCE] = first_evidence(s)
    while run >= 0:
        close_visit(p, w, s, out, record, e, run, t, NONE, BECAUSE_NOT)
        run = p.nodes[run, N_RUN]
    out.n_by_exit[exit_] += 1
    if record:
        i = s.entries[e, E_RECORD]
        out.entries[i, R_LEFT], out.entries[i, R_EXIT] = t, exit_
    s.groups[p.journeys[s.entries[e, E_JOURNEY], J_GROUP], H_RUNNING] -= 1
    last = s.used[N_RUNNING] - 1
    k = 0
    while s.running[k] != e:
        k += 1
    while k < last:
        s.running[k] = s.running[k + 1]
        k += 1
    s.running[last] = e
    s.used[N_RUNNING] = last


@in_place
def leave(p, w, s, out, record, e, c, t):  # type: ignore[no-untyped-def]
    """Ends the entry if one of its causes at t holds; whether it ended."""
    while s.entries[e, E_LEAVE_AT] == t:
        row, cause = s.entries[e, E_LEAVE_ROW], s.entries[e, E_CAUSE]
        journey = s.entries[e, E_JOURNEY]
        if holds(p, w, s, out, p.causes[cause, C_GUARD], journey, e, c, t, row):
            s.used[N_EVIDENCE] = first_evidence(s)
            close_visit(p, w, s, out, record, e, s.entries[e, E_NODE], t, NONE, BECAUSE_NOT)
            end_entry(p, w, s, out, record, e, t, p.causes[cause, C_EXIT])
            return True
        find_leave(p, w, s, e, c, t, row, cause)
    return False


# Entering (rules 11 to 13).


@jit
def _date_at(p, w, journey, value, zone):  # type: ignore[no-untyped-def]
    """The instant of a date trigger for a value of its attribute in a zone."""
    if p.journeys[journey, J_DATE_IS_INSTANT] == 1:
        return np.int64(value) + p.journeys[journey, J_OFFSET]
    wall = np.int64(value) * DAY + p.journeys[journey, J_TIME]
    return from_local(w.zones, zone, wall) + p.journeys[journey, J_OFFSET]


@jit
def _n_values(w, s, name, c):  # type: ignore[no-untyped-def]
    """How many values the attribute takes: its first, its changes, what programs have set."""
    offsets = w.attributes[name, 1]
    return 1 + (int_at(offsets, c + 1) - int_at(offsets, c) if offsets != 0 else 0) + s.used[N_SET]


@jit
def _nth_value(w, s, name, c, k):  # type: ignore[no-untyped-def]
    if k == 0:
        return float_at(w.attributes[name, 0], c)
    offsets = w.attributes[name, 1]
    changes = int_at(offsets, c + 1) - int_at(offsets, c) if offsets != 0 else 0
    if k <= changes:
        return float_at(w.attributes[name, 4], int_at(offsets, c) + k - 1)
    i = k - 1 - changes
    return s.assigned_x[i] if s.assigned[i, 1] == name else np.nan


@jit
def _next_date(p, w, s, journey, c, t):  # type: ignore[no-untyped-def]
    """The first instant after t at which any value of the date in any zone of the contact falls due."""
    rare()
    name, zone_name, best = p.journeys[journey, J_DATE], w.limits[L_ZONE_ATTRIBUTE], NEVER
    n_zones = 1 + (_n_values(w, s, zone_name, c) if zone_name >= 0 else 0)
    for k in range(_n_values(w, s, name, c)):
        value = _nth_value(w, s, name, c, k)
        if value == value:
            for z in range(n_zones):
                zone = p.journeys[journey, J_ZONE]
                if z > 0:
                    zone_value = _nth_value(w, s, zone_name, c, z - 1)
                    if zone_value == zone_value:
                        zone = np.int64(zone_value)
                at = _date_at(p, w, journey, value, zone)
                if at > t and at >= w.limits[L_START]:
                    best = min(best, at)
    return best


@jit
def find_trigger(p, w, s, journey, c, t, row):  # type: ignore[no-untyped-def]
    """Notes the journey's next trigger after (t, row)."""
    kind = p.journeys[journey, J_TRIGGER]
    if kind == TRIGGER_EVENT:
        at, at_row = next_event(w, s, p.journeys[journey, J_STREAM], c, t, row)
    elif kind == TRIGGER_SEGMENT:
        every = p.journeys[journey, J_EVERY]
        origin = 4 * DAY + p.journeys[journey, J_OFFSET]
        earliest = max(t + 1, w.first_at[c])
        at, at_row = origin - (origin - earliest) // every * every, LAST_ROW
    else:
        at, at_row = _next_date(p, w, s, journey, c, t), LAST_ROW
    s.triggers[journey, G_AT], s.triggers[journey, G_ROW] = at, at_row


@jit
def _after_pauses(p, journey, t):  # type: ignore[no-untyped-def]
    rare()
    for k in range(p.journeys[journey, J_PAUSES], p.journeys[journey, J_PAUSES_END]):
        if p.pauses[k, 0] <= t < p.pauses[k, 1]:
            t = p.pauses[k, 1]
    return t


@inlined
def resumed_at(p, journey, t):  # type: ignore[no-untyped-def]
    """The end of the pause in which t lies, or t (rule 28)."""
    return _after_pauses(p, journey, t) if p.journeys[journey, J_PAUSES] < p.journeys[journey, J_PAUSES_END] else t


@jit
def _weighed(w, s, streams, assumed, c, t):  # type: ignore[no-untyped-def]
    """Whether the latest of giving, withdrawing and erasing as of t is a giving, or is assumed to be (rules 11, 34)."""
    rare()
    ended_at, ended_row = latest_event(w, s, streams[WITHDRAWN], c, t)
    at, row = latest_event(w, s, streams[ERASED], c, t)
    if at > ended_at or (at == ended_at and row > ended_row):
        ended_at, ended_row = at, row
    given_at, given_row = latest_event(w, s, streams[GIVEN], c, t)
    if given_at == -NEVER:
        return assumed and ended_at == -NEVER
    return given_at > ended_at or (given_at == ended_at and given_row > ended_row)


@inlined
def consent_stands(p, w, s, journey, c, t):  # type: ignore[no-untyped-def]
    """Whether consent for the journey's purpose stands as of t (rules 11 and 34)."""
    streams, assumed = p.consents[p.journeys[journey, J_CONSENT]], p.journeys[journey, J_CONSENT_ASSUMED] == 1
    return (assumed and is_clear(s)) or _weighed(w, s, streams, assumed, c, t)


@inlined
def _is_emitted(row):  # type: ignore[no-untyped-def]
    """Whether an event is one that a journey made."""
    return OWN_ROW <= row < LAST_ROW


@inlined
def _is_in_share(p, w, journey, c):  # type: ignore[no-untyped-def]
    """Whether the contact is one of those of whom this version takes entries (rule 26)."""
    start, end = p.journeys_x[journey, X_SHARE_FROM], p.journeys_x[journey, X_SHARE_TO]
    if start <= 0 and end >= 1:
        return True
    drawn = uniform(w.units[c], np.uint64(p.journeys[journey, J_SHARE_KEY]))
    return start <= drawn < end


@in_place
def may_enter(p, w, s, out, journey, c, t, row):  # type: ignore[no-untyped-def]
    """Whether a trigger makes an entry; those that lack nothing but consent, or an end, are counted."""
    kind = p.journeys[journey, J_TRIGGER]
    if not p.journeys[journey, J_FROM] <= t < p.journeys[journey, J_UNTIL] or resumed_at(p, journey, t) != t:
        return False
    if not _is_in_share(p, w, journey, c):
        return False
    if kind == TRIGGER_SEGMENT:
        member = value_of(p, w, s, out, p.journeys[journey, J_MEMBERSHIP], journey, NONE, c, t, NONE)
        if not member >= p.journeys_x[journey, X_AT_LEAST]:
            return False
    elif kind == TRIGGER_DATE:
        name = p.journeys[journey, J_DATE]
        value = as_of(w.attributes, s, name, name, c, t)
        if value != value or _date_at(p, w, journey, value, zone_of(p, w, s, journey, c, t)) != t:
            return False
    if not holds(p, w, s, out, p.journeys[journey, J_WHERE], journey, NONE, c, t, row):
        return False
    group, reentry = s.groups[p.journeys[journey, J_GROUP]], p.journeys[journey, J_REENTRY]
    allowed = group[H_ENTRIES] == 0 or reentry == REENTRY_ALWAYS
    if not allowed and reentry != REENTRY_NEVER and group[H_RUNNING] == 0:
        allowed = reentry == REENTRY_AFTER_EXIT or t >= group[H_LAST] + p.journeys[journey, J_COOLDOWN]
    if allowed and not consent_stands(p, w, s, journey, c, t):
        out.n_by_journey[journey, T_NO_CONSENT] += 1
        return False
    if allowed and _is_emitted(row) and group[H_LAST] == t and group[H_AT_ONCE] >= p.journeys[journey, J_MAX_VISITS]:
        out.n_by_journey[journey, T_ENDLESS] += 1  # rule 24
        return False
    return allowed


@inlined
def unit_of(w, s, e, c):  # type: ignore[no-untyped-def]
    """The hash of the entry's unit: of what its attribute was on entering, else of the contact (rule 22)."""
    unit = s.entries[e, E_UNIT]
    return w.units[c] if unit < 0 else w.unit_values[unit]


@jit
def _held(p, w, s, journey, e, c):  # type: ignore[no-untyped-def]
    """By whom the entry is held out, as bits (rule 23)."""
    apart()
    held = ZERO
    if p.journeys_x[journey, X_HOLDOUT] > 0:
        drawn = uniform(unit_of(w, s, e, c), np.uint64(p.journeys[journey, J_HOLDOUT_KEY]))
        held += HELD_BY_JOURNEY * int(drawn < p.journeys_x[journey, X_HOLDOUT])
    if p.journeys_x[journey, X_POLICY_HOLDOUT] > 0:
        drawn = uniform(w.units[c], np.uint64(p.journeys[journey, J_POLICY_HOLDOUT_KEY]))
        held += HELD_BY_POLICY * int(drawn < p.journeys_x[journey, X_POLICY_HOLDOUT])
    return held


@in_place
def enter(p, w, s, out, record, journey, c, t, row):  # type: ignore[no-untyped-def]
    """Makes an entry, which is still to arrive at its first node; its place, NONE where there is no room."""
    n = s.used[N_RUNNING]
    if n >= s.room[ROOM_RUNNING] or (record and out.used[O_ENTRIES] >= out.room[ROOM_ENTRIES]):
        s.used[N_STATUS] = TOO_SMALL
        return NONE
    e, group = s.running[n], s.groups[p.journeys[journey, J_GROUP]]
    group[H_ENTRIES] += 1
    group[H_RUNNING] += 1
    group[H_AT_ONCE] = (group[H_AT_ONCE] if group[H_LAST] == t else 0) + int(_is_emitted(row))
    group[H_LAST] = t
    place = n
    while place > 0 and p.journeys[s.entries[s.running[place - 1], E_JOURNEY], J_ORDER] > p.journeys[journey, J_ORDER]:
        s.running[place] = s.running[place - 1]
        place -= 1
    s.running[place] = e
    s.used[N_RUNNING] = n + 1
    entry, unit = s.entries[e], p.journeys[journey, J_UNIT]
    entry[E_JOURNEY], entry[E_ENTRY], entry[E_STARTED], entry[E_TRIGGER_ROW] = journey, group[H_ENTRIES], t, row
    entry[E_UNIT] = NONE
    if unit >= 0:
        value = as_of(w.attributes, s, unit, unit, c, t)
        if value == value:
            entry[E_UNIT] = np.int64(value)
    held = ZERO
    if p.journeys_x[journey, X_HOLDOUT] > 0 or p.journeys_x[journey, X_POLICY_HOLDOUT] > 0:
        held = _held(p, w, s, journey, e, c)
    entry[E_HELD] = held
    first = e * p.sizes[N_NODES]
    for memory in range(first + p.journeys[journey, J_NODES], first + p.journeys[journey, J_NODES_END]):
        s.memory[memory, M_VISITS] = 0
    out.n_by_journey[journey, T_ENTERED] += 1
    out.n_by_journey[journey, T_CONTACTS] += group[H_ENTRIES] == 1
    out.n_by_journey[journey, T_HELD] += int(held > 0)
    if record:
        i = out.used[O_ENTRIES]
        out.used[O_ENTRIES] = i + 1
        entry[E_RECORD] = i
        out.entries[i, R_CONTACT], out.entries[i, R_JOURNEY], out.entries[i, R_ENTRY] = c, journey, group[H_ENTRIES]
        out.entries[i, R_STARTED], out.entries[i, R_LEFT] = t, NEVER
        out.entries[i, R_EXIT], out.entries[i, R_HELD], out.entries[i, R_UNIT] = NONE, held, entry[E_UNIT]
    n_causes = p.journeys[journey, J_CAUSES_END] - p.journeys[journey, J_CAUSES]
    if n_causes == REFUSALS and is_clear(s):
        entry[E_LEAVE_AT], entry[E_LEAVE_ROW], entry[E_CAUSE] = NEVER, LAST, NONE
    else:
        find_leave(p, w, s, e, c, t, row, NONE)
    return e
