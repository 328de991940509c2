"""What each node does when it is due: the gates of a send, waits, choices, and all else that has a verb."""

from __future__ import annotations

import numpy as np

from journeylab.clock import DAY, NEVER, from_local, quiet_until, time_at, window_at
from journeylab.keyedhash import mix, uniform
from journeylab.layout import *

from .besthours import best_at, note_advice, rank_row
from .entries import close_visit, consent_stands, end_entry, find_leave, find_trigger, unit_of
from .evaluation import (
    answer_to,
    ask,
    holds,
    responded,
    rests_on,
    rests_on_silence,
    sent_at,
    value_of,
)
from .past import as_of, is_clear, is_logged, latest_event, next_event, next_instant, zone_of
from .state import *

# The nodes.


@inlined
def _wait_opens(p, s, e, k):  # type: ignore[no-untyped-def]
    """The instant after which an await of a wait_for looks for its event (rules 8 and 9); NEVER if in vain."""
    of = p.awaits[k, W_NODE]
    if of >= 0:
        return sent_at(p, s, e, of)
    since = p.nodes[s.entries[e, E_NODE], D]
    if since == SINCE_ENTRY:
        return s.entries[e, E_STARTED]
    if since >= 0 and s.memory[e * p.sizes[N_NODES] + since, M_VISITS] > 0:
        return s.memory[e * p.sizes[N_NODES] + since, M_ARRIVED]
    return s.entries[e, E_ARRIVED]


@inlined
def _awaited_at(p, w, s, e, k, c, after):  # type: ignore[no-untyped-def]
    """When the await's next event later than an instant comes; NEVER without one."""
    opens = _wait_opens(p, s, e, k)
    return next_instant(w, s, p.awaits[k, W_STREAM], c, max(opens, after)) if opens != NEVER else NEVER


@jit
def _first_of_several(p, w, s, e, node, c, after):  # type: ignore[no-untyped-def]
    """The same for a node with several awaits; of one instant the one listed first (rule 10)."""
    apart()
    first, first_at = NONE, NEVER
    for k in range(p.nodes[node, B], p.nodes[node, C]):
        at = _awaited_at(p, w, s, e, k, c, after)
        if at < first_at:
            first, first_at = k, at
    return first, first_at


@inlined
def next_awaited(p, w, s, e, node, c, after):  # type: ignore[no-untyped-def]
    """The await whose next event later than an instant comes first, and when; NEVER without one."""
    only = p.nodes[node, B]
    if only + 1 < p.nodes[node, C]:
        return _first_of_several(p, w, s, e, node, c, after)
    return only, _awaited_at(p, w, s, e, only, c, after)


@inlined
def note_wait(p, s, e, node, seen_at, seen_own, awaited, awaited_at):  # type: ignore[no-untyped-def]
    """Notes up to when awaited events are judged, and the next one.

    Where no await has a guard, that is the one to go on with, unless a journey makes an event meanwhile.
    """
    s.entries[e, E_SEEN_AT], s.entries[e, E_SEEN_OWN] = seen_at, seen_own
    s.entries[e, E_AWAITED], s.entries[e, E_AWAITED_AT] = awaited, awaited_at
    s.entries[e, E_KNOWN] = s.used[N_OWN] if p.nodes[node, E] == 0 else NONE


@inlined
def wait(p, w, s, e, c, t, seen_at, seen_own):  # type: ignore[no-untyped-def]
    """Waits; when a wait_for has to be looked at again: at the next awaited event not yet seen, or the deadline."""
    node = s.entries[e, E_NODE]
    awaited, awaited_at = next_awaited(p, w, s, e, node, c, seen_at)
    note_wait(p, s, e, node, seen_at, seen_own, awaited, awaited_at)
    return max(min(s.entries[e, E_ARRIVED] + p.nodes[node, A], awaited_at), t)


@jit
def _first_awaited(p, w, s, out, e, c, t, k):  # type: ignore[no-untyped-def]
    """The instant of the await's first event up to t that was not judged before and holds; NEVER if none."""
    opens, seen_at, seen_own = _wait_opens(p, s, e, k), s.entries[e, E_SEEN_AT], s.entries[e, E_SEEN_OWN]
    if opens == NEVER:
        return NEVER
    guard, journey = p.awaits[k, W_GUARD], s.entries[e, E_JOURNEY]
    at, row = next_event(w, s, p.awaits[k, W_STREAM], c, opens, LAST)
    while at <= t:
        seen = at <= seen_at and (row < OWN_ROW or row - OWN_ROW < seen_own)
        if not seen and holds(p, w, s, out, guard, journey, e, c, at, row):
            return at
        at, row = next_event(w, s, p.awaits[k, W_STREAM], c, at, row)
    return NEVER


@jit
def _n_own(s, t):  # type: ignore[no-untyped-def]
    """How many events journeys have made up to t."""
    n = s.used[N_OWN]
    while n > 0 and s.own[n - 1, 0] > t:
        n -= 1
    return n


@jit
def _find_awaited(p, w, s, out, e, c, until):  # type: ignore[no-untyped-def]
    """The await whose event up to an instant is the earliest of those that were not judged before; NONE without one."""
    rare()
    node = s.entries[e, E_NODE]
    best, best_at = NONE, NEVER
    for k in range(p.nodes[node, B], p.nodes[node, C]):
        at = _first_awaited(p, w, s, out, e, c, until, k)
        if at < best_at:
            best, best_at = k, at
    return best


@inlined
def awaited_edge(p, w, s, e, node, c, until, best, is_known):  # type: ignore[no-untyped-def]
    """The branch of an await that came first up to an instant, or of none, and what that rests on (rule 33)."""
    if p.nodes[node, F] == 1:
        for k in range(p.nodes[node, B], p.nodes[node, C]):
            of = p.awaits[k, W_NODE]
            if k != best and of >= 0:
                if is_known and best < 0:
                    rests_on_silence(p, s, e, of)
                else:
                    responded(p, w, s, e, of, p.awaits[k, W_STREAM], c, until)
    return p.awaits[best, W_EDGE] if best >= 0 else p.nodes[node, N_OTHER_EDGE]


@in_place
def step_wait_for(p, w, s, out, e, c, t):  # type: ignore[no-untyped-def]
    """Goes on with the earliest awaited event, or at the deadline (rules 8 to 10)."""
    node = s.entries[e, E_NODE]
    deadline = s.entries[e, E_ARRIVED] + p.nodes[node, A]
    until, is_known = min(t, deadline), s.entries[e, E_KNOWN] == s.used[N_OWN]
    if is_known:
        best = s.entries[e, E_AWAITED] if s.entries[e, E_AWAITED_AT] <= until else NONE
    else:
        best = _find_awaited(p, w, s, out, e, c, until)
    if best < 0 and t < deadline:
        s.entries[e, E_DUE] = wait(p, w, s, e, c, until + 1, until, _n_own(s, until))
        return NONE
    return awaited_edge(p, w, s, e, node, c, until, best, is_known)


@jit
def until_due(p, w, s, node, c, t):  # type: ignore[no-untyped-def]
    """When a wait_until ends, which may have passed; NEVER when its date is missing."""
    apart()
    n = p.nodes[node]
    zone = zone_of(p, w, s, n[N_JOURNEY], c, t)
    if n[A] == UNTIL_WINDOW:
        return window_at(w.zones, zone, t, n[B], n[C], n[D])
    if n[A] == UNTIL_TIME:
        return time_at(w.zones, zone, t, n[B], n[D])
    value = as_of(w.attributes, s, n[E], n[E], c, t)
    if value != value:
        return NEVER
    if n[A] == UNTIL_INSTANT:
        return np.int64(value) + n[F]
    return from_local(w.zones, zone, np.int64(value) * DAY + n[B]) + n[F]


@jit
def _cap_free(s, t, sends, within, group):  # type: ignore[no-untyped-def]
    """The first instant from t on at which fewer than `sends` were made in the window before it (rule 18)."""
    left = sends
    for i in range(s.used[N_SENDS] - 1, -1, -1):
        if s.sends[i, 0] <= t - within:
            break
        if group < 0 or s.sends[i, 1] == group:
            left -= 1
            if left == 0:
                return s.sends[i, 0] + within
    return t


@jit
def _is_suppressed(p, w, s, c, t):  # type: ignore[no-untyped-def]
    """Whether the contact has complained, or mail to it has bounced, by t."""
    rare()
    complained, _ = latest_event(w, s, p.suppressions[0], c, t)
    bounced, _ = latest_event(w, s, p.suppressions[1], c, t)
    return complained != -NEVER or bounced != -NEVER


@jit
def _timed_gates(p, w, s, e, c, t):  # type: ignore[no-untyped-def]
    """The first gate of those that open and close by time and by number."""
    apart()
    n, journey = p.nodes[s.entries[e, E_NODE]], s.entries[e, E_JOURNEY]
    j = p.journeys[journey]
    if n[C] != AT_ANY:
        if n[C] == AT_WINDOW:
            answer = window_at(w.zones, zone_of(p, w, s, journey, c, t), t, n[D], n[E], n[F])
        else:
            answer = best_at(p, w, s, e, c, t)
        if answer > t:
            return BECAUSE_AT, answer
    if j[J_QUIET_START] >= 0:
        answer = quiet_until(w.zones, zone_of(p, w, s, journey, c, t), t, j[J_QUIET_START], j[J_QUIET_END])
        if answer > t:
            return BECAUSE_QUIET, answer
    if j[J_CAP_SENDS] >= 0:
        answer = _cap_free(s, t, j[J_CAP_SENDS], j[J_CAP_WITHIN], j[J_GROUP])
        if answer > t:
            return BECAUSE_CAP, answer
    if j[J_POLICY_SENDS] >= 0:
        answer = _cap_free(s, t, j[J_POLICY_SENDS], j[J_POLICY_WITHIN], NONE)
        if answer > t:
            return BECAUSE_POLICY_CAP, answer
    return BECAUSE_NOT, t


@in_place
def _gates(p, w, s, e, c, t):  # type: ignore[no-untyped-def]
    """The first gate that does not let the send pass at t, and the instant that it answers with (rule 17)."""
    journey = s.entries[e, E_JOURNEY]
    if not consent_stands(p, w, s, journey, c, t):
        return BECAUSE_CONSENT, NEVER
    if not is_clear(s) and _is_suppressed(p, w, s, c, t):
        return BECAUSE_SUPPRESSION, NEVER
    if p.nodes[s.entries[e, E_NODE], C] == AT_ANY and p.journeys[journey, J_GATED] == 0:
        return BECAUSE_NOT, t
    return _timed_gates(p, w, s, e, c, t)


@jit
def _paused_since(p, journey, arrived, t):  # type: ignore[no-untyped-def]
    """Whether a pause lay between the arrival and now, or held the send until now."""
    rare()
    for k in range(p.journeys[journey, J_PAUSES], p.journeys[journey, J_PAUSES_END]):
        if p.pauses[k, 0] <= t and p.pauses[k, 1] > arrived:
            return True
    return False


@jit
def _count_send(p, s, e, t):  # type: ignore[no-untyped-def]
    """Counts a send for the caps."""
    rare()
    i = s.used[N_SENDS]
    if i >= s.room[ROOM_EVENTS]:
        s.used[N_STATUS] = TOO_SMALL
        return
    s.sends[i, 0], s.sends[i, 1] = t, p.journeys[s.entries[e, E_JOURNEY], J_GROUP]
    s.used[N_SENDS] = i + 1


@in_place
def step_send(p, w, s, out, record, e, c, t):  # type: ignore[no-untyped-def]
    """Sends, moves on to when a gate opens, or skips (rules 17 to 20 and 23)."""
    node = s.entries[e, E_NODE]
    n, arrived = p.nodes[node], s.entries[e, E_ARRIVED]
    visit = s.memory[e * p.sizes[N_NODES] + node, M_VISITS]
    reason, answer = BECAUSE_NOT, t
    s.used[N_REASON] = BECAUSE_NOT
    actual = answer_to(w, s, ACTUAL, node, s.entries[e, E_ENTRY], visit, NEVER)
    known = actual if actual >= 0 else answer_to(w, s, AGAIN, node, s.entries[e, E_ENTRY], visit, NEVER)
    if s.entries[e, E_HELD] > 0:
        reason, answer = BECAUSE_HOLDOUT, NEVER
    elif known >= 0 and w.answers[known, K_AT] > t:  # rule 29: a release's own send answers for itself
        s.entries[e, E_DUE] = w.answers[known, K_AT]
        return NONE
    elif actual >= 0:
        reason = np.int64(w.answers_x[actual])
        if reason == ON_ITS_WAY or reason >= BECAUSE_REJECTED:
            _count_send(p, s, e, t)
        if reason == ON_ITS_WAY:
            s.entries[e, E_DUE] = NEVER
            return NONE
        answer = t if reason == BECAUSE_NOT else NEVER
    else:
        reason, answer = _gates(p, w, s, e, c, t)
        if reason == BECAUSE_NOT and t > arrived + n[A]:
            paused = _paused_since(p, s.entries[e, E_JOURNEY], arrived, t)
            reason, answer = BECAUSE_PAUSE if paused else BECAUSE_LATE, NEVER
        elif reason == BECAUSE_NOT and w.limits[L_LIVE] == 1:
            s.entries[e, E_DUE], s.entries[e, E_SEEN_AT] = NEVER, t
            return NONE
    if reason == BECAUSE_NOT:
        return _send(p, w, s, out, record, e, node, visit, c, t)
    if answer <= arrived + n[A] and not (n[B] == 1 and reason >= BECAUSE_CAP):
        s.entries[e, E_DUE] = answer
        return NONE
    s.used[N_REASON] = reason
    return n[N_OTHER_EDGE]


@inlined
def is_sent_in_log(p, w, s, node, c, t):  # type: ignore[no-untyped-def]
    """1 where the log has a send of the node's message at t, and no model has answered before; else 0."""
    if s.used[N_PREDICTED] == 1 or t >= w.limits[L_ASK_FROM]:
        return 0
    return is_logged(w, p.nodes[node, G], c, t - w.limits[L_BEFORE], t + w.limits[L_MATCH])


@inlined
def note_send(p, s, first, node, t, matched):  # type: ignore[no-untyped-def]
    """Notes when a node has sent, and whether the log has that send; the branch that it leaves by (rule 33)."""
    if matched == 0:
        rests_on(s, ASSUMED)
    s.memory[first + node, M_SENT], s.memory[first + node, M_MATCHED] = t, matched
    return p.nodes[node, N_EDGE]


@in_place
def _send(p, w, s, out, record, e, node, visit, c, t):  # type: ignore[no-untyped-def]
    """Makes the send: its instant, its evidence (rule 33), its answers where a model gives them."""
    matched = is_sent_in_log(p, w, s, node, c, t)
    if matched == 0 and w.limits[L_ASK_SENDS] == 1:
        first = answer_to(w, s, ASK_SEND, node, s.entries[e, E_ENTRY], visit, NEVER)
        if first < 0:
            _ask_send(p, w, s, out, e, node, visit, c, t)
            return NONE
        s.used[N_PREDICTED] = matched = 1
        rests_on(s, PREDICTED)
        _take_responses(p, w, s, e, first, node, visit, c, t)
    if p.nodes[node, C] == AT_BEST:
        if rank_row(p, w, node, c) < 0:
            rests_on(s, ASSUMED)
        note_advice(p, w, s, out, record, e, node, c, t)
    if p.sizes[N_CAPS] > 0:
        _count_send(p, s, e, t)
    return note_send(p, s, e * p.sizes[N_NODES], node, t, matched)


@jit
def _ask_send(p, w, s, out, e, node, visit, c, t):  # type: ignore[no-untyped-def]
    """Asks what a send is answered with; with the request goes what the contact's past holds as of the send."""
    rare()
    i, n_features = out.used[O_REQUESTS], p.sizes[N_FEATURES]
    ask(s, out, ASK_SEND, node, s.entries[e, E_ENTRY], visit, t)
    if s.used[N_STATUS] == ASKED:
        for k in range(n_features):
            value = value_of(p, w, s, out, p.features[k], s.entries[e, E_JOURNEY], e, c, t, NONE)
            out.asked[i * n_features + k] = value


@jit
def _take_over(s, converted, t):  # type: ignore[no-untyped-def]
    """Takes back conversions still to come: from now on the new send answers for them. How many."""
    n = 0
    for i in range(s.used[N_OWN]):
        if s.own[i, 0] <= t or s.own[i, 1] != converted:
            s.own[n, 0], s.own[n, 1] = s.own[i, 0], s.own[i, 1]
            n += 1
    n_taken, s.used[N_OWN] = s.used[N_OWN] - n, n
    return n_taken


@jit
def _is_heard(w, kind):  # type: ignore[no-untyped-def]
    """Whether any stream has events of a kind that journeys make."""
    n_heard = 0
    for stream in range(w.limits[L_STREAMS]):
        n_heard += w.own_streams[kind * w.limits[L_STREAMS] + stream]
    return n_heard > 0


@jit
def _take_responses(p, w, s, e, first, node, visit, c, t):  # type: ignore[no-untyped-def]
    """Makes the answers to a send the contact's own events; an answer's value is the kind, its instant when."""
    rare()
    n = _take_over(s, p.sizes[N_CONVERTED], t)
    if _is_heard(w, p.nodes[node, H] + SENT_EVENT):
        make_event(s, p.nodes[node, H] + SENT_EVENT, t)
    for i in range(first, w.answer_offsets[s.used[N_PLACE] + 1]):
        same = w.answers[i, K_KIND] == ASK_SEND and w.answers[i, K_ID] == node
        same &= w.answers[i, K_ENTRY] == s.entries[e, E_ENTRY] and w.answers[i, K_VISIT] == visit
        if same and w.answers_x[i] >= 0:
            kind = np.int64(w.answers_x[i])
            kind = p.nodes[node, H] + kind if kind < CONVERTED else p.sizes[N_CONVERTED]
            make_event(s, kind, max(w.answers[i, K_AT], t + 1))
            n += 1
    if n > 0:
        look_again(p, w, s, c, t, LAST)


@jit
def make_event(s, kind, at):  # type: ignore[no-untyped-def]
    """Adds an event that the contact's log does not have, behind those of the same instant (rule 1); its place."""
    rare()
    n = s.used[N_OWN]
    if n >= s.room[ROOM_EVENTS]:
        s.used[N_STATUS] = TOO_SMALL
        return NONE
    place = n
    while place > 0 and s.own[place - 1, 0] > at:
        s.own[place, 0], s.own[place, 1] = s.own[place - 1, 0], s.own[place - 1, 1]
        place -= 1
    s.own[place, 0], s.own[place, 1] = at, kind
    s.used[N_OWN] = n + 1
    return place


@jit
def look_again(p, w, s, c, t, row):  # type: ignore[no-untyped-def]
    """After events were made at t, behind (t, row): what they trigger, end and are awaited by (rule 13)."""
    rare()
    for journey in range(p.sizes[N_JOURNEYS]):
        if p.journeys[journey, J_TRIGGER] == TRIGGER_EVENT and s.triggers[journey, G_AT] > t:
            find_trigger(p, w, s, journey, c, t, row)
    for k in range(s.used[N_RUNNING]):
        e = s.running[k]
        if s.entries[e, E_LEAVE_AT] > t:
            own = max(row, s.entries[e, E_TRIGGER_ROW]) if s.entries[e, E_STARTED] == t else row  # rule 14
            find_leave(p, w, s, e, c, t, own, NONE)
        if p.nodes[s.entries[e, E_NODE], N_OP] == OP_WAIT_FOR:
            s.entries[e, E_DUE], s.entries[e, E_KNOWN] = min(s.entries[e, E_DUE], t), NONE


@inlined
def step_decide(p, w, s, out, node, e, c, t):  # type: ignore[no-untyped-def]
    """Takes the first clause that holds."""
    for k in range(p.nodes[node, A], p.nodes[node, B]):
        if holds(p, w, s, out, p.clauses[k, 0], p.nodes[node, N_JOURNEY], e, c, t, NONE):
            return p.clauses[k, 1]
    return p.nodes[node, N_OTHER_EDGE]


@jit
def step_split(p, w, s, e, c):  # type: ignore[no-untyped-def]
    """Goes to the arm with the least -ln(u) / share (rule 22)."""
    apart()
    node = s.entries[e, E_NODE]
    unit, best, edge = unit_of(w, s, e, c), np.inf, np.int64(-1)
    if p.nodes[node, C] == 1:
        unit = mix(unit + np.uint64(s.entries[e, E_ENTRY]))
    for k in range(p.nodes[node, A], p.nodes[node, B]):
        if p.arms_x[k] > 0:
            score = -np.log(uniform(unit, np.uint64(p.arms[k, 0]))) / p.arms_x[k]
            if score < best:
                best, edge = score, p.arms[k, 1]
    return edge


@jit
def step_set(p, w, s, e, c, t):  # type: ignore[no-untyped-def]
    """Sets attributes, and looks where dates fall now."""
    rare()
    node = s.entries[e, E_NODE]
    for k in range(p.nodes[node, A], p.nodes[node, B]):
        i = s.used[N_SET]
        if i >= s.room[ROOM_EVENTS]:
            s.used[N_STATUS] = TOO_SMALL
            return NONE
        s.assigned[i, 0], s.assigned[i, 1], s.assigned_x[i] = t, p.assigned[k, 0], p.assigned_x[k]
        s.used[N_SET] = i + 1
    for journey in range(p.sizes[N_JOURNEYS]):
        if p.journeys[journey, J_TRIGGER] == TRIGGER_DATE and s.triggers[journey, G_AT] > t:
            find_trigger(p, w, s, journey, c, t, LAST_ROW)
    return p.nodes[node, N_EDGE]


@jit
def step_call(p, w, s, out, e, t):  # type: ignore[no-untyped-def]
    """Goes on as the world answers the call; a call that it does not answer is assumed to succeed (rule 33)."""
    rare()
    node = s.entries[e, E_NODE]
    n, edge = p.nodes[node], p.nodes[node, N_EDGE]
    visit = s.memory[e * p.sizes[N_NODES] + node, M_VISITS]
    actual = answer_to(w, s, ACTUAL, node, s.entries[e, E_ENTRY], visit, NEVER)
    if actual >= 0:  # rule 29
        if w.answers[actual, K_AT] > t:
            s.entries[e, E_DUE] = w.answers[actual, K_AT]
            return NONE
        return edge if w.answers_x[actual] != 0.0 else n[N_OTHER_EDGE]
    if w.limits[L_LIVE] == 1:
        s.entries[e, E_DUE], s.entries[e, E_SEEN_AT] = NEVER, t
        return NONE
    rests_on(s, ASSUMED)
    if w.asked_calls[n[A]] == 1:
        found = answer_to(w, s, ASK_CALL, node, s.entries[e, E_ENTRY], visit, t)
        if found < 0:
            ask(s, out, ASK_CALL, node, s.entries[e, E_ENTRY], visit, t)
            return NONE
        edge = edge if w.answers_x[found] != 0.0 else n[N_OTHER_EDGE]
    return edge


@jit
def step_exit(p, w, s, out, record, e, t):  # type: ignore[no-untyped-def]
    """Ends the entry, or the part that the exit belongs to, which leaves by the branch of its `run` (rule 25)."""
    node = s.entries[e, E_NODE]
    run = p.nodes[node, N_RUN]
    close_visit(p, w, s, out, record, e, node, t, NONE, BECAUSE_NOT)
    if run < 0:
        end_entry(p, w, s, out, record, e, t, p.nodes[node, A])
        return NONE
    s.entries[e, E_NODE] = run
    return p.nodes[run, N_EDGE]
