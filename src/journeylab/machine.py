"""The machine: advances contacts through a program up to an instant, and stops at what only a world can answer.

Every rule of docs/semantics.md about what happens to a contact is in this file and nowhere else; its numbers stand
beside the code. The machine does no input or output, reads no clock and draws no random number. It knows nothing of
who runs it: replay, simulation and the live sender differ only in the `World` that they bring.

One contact is advanced at a time. Its state is rebuilt from its events and never stored, so that advancing to t1 and
then to t2 cannot differ from advancing to t2 (rule 27). In the names of arguments `p` is the program, `w` the world,
`s` the state of the contact, `out` what is recorded; `c` is the contact, `e` the entry, `t` the instant.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple
from zlib import crc32

import numpy as np
from numba import njit, types

from . import clock, keyedhash, layout
from . import memory as tables
from .clock import COMPILED, DAY, NEVER, from_local, local, quiet_until, time_at, window_at
from .keyedhash import mix, uniform
from .layout import *
from .layout import PROGRAM, WORLD, Program, World
from .memory import addresses, float_at, group_type, int_at, opened, opener

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["Out", "State", "advance", "evaluate", "new_out", "new_state", "select_events"]

# A running entry; and what is remembered of each of its nodes.
(
    E_JOURNEY, E_ENTRY, E_STARTED, E_TRIGGER_ROW, E_NODE, E_ARRIVED, E_DUE, E_LEAVE_AT, E_LEAVE_ROW, E_CAUSE, E_VISIT,
    E_HELD, E_SEEN_AT, E_SEEN_OWN, E_MISSING, E_RECORD, E_COLUMNS,
) = range(17)  # fmt: skip
M_VISITS, M_ARRIVED, M_SENT, M_MATCHED, M_RECORD, M_COLUMNS = range(6)
# A journey's next trigger; and what is remembered of all entries of one journey, whatever their version.
G_AT, G_ROW, G_COLUMNS = range(3)
H_ENTRIES, H_RUNNING, H_LAST, H_AT_ONCE, H_COLUMNS = range(5)
# How many rows of each table are in use; what the present step rests on, and why it skips a send; whether the contact
# could be advanced.
N_RUNNING, N_OWN, N_SENDS, N_SET, N_EVIDENCE, N_REASON, N_STATUS, N_USED = range(8)
DONE, TOO_SMALL, ASKED = range(3)
# What is recorded so far.
O_VISITS, O_ENTRIES, O_REQUESTS, O_CONTACTS, O_USED = range(5)
ROOM_RUNNING, ROOM_EVENTS = range(2)
ROOM_VISITS, ROOM_ENTRIES, ROOM_REQUESTS = range(3)

HOUR = DAY // 24
LAST = NEVER


class State(NamedTuple):
    """The state of the one contact that is being advanced; `new_state` makes room for it, once for each thread."""

    entries: NDArray[np.int64]
    running: NDArray[np.int64]
    memory: NDArray[np.int64]
    triggers: NDArray[np.int64]
    groups: NDArray[np.int64]
    own: NDArray[np.int64]
    sends: NDArray[np.int64]
    assigned: NDArray[np.int64]
    assigned_x: NDArray[np.float64]
    stack: NDArray[np.float64]
    used: NDArray[np.int64]
    room: NDArray[np.int64]


class Out(NamedTuple):
    """What happened: visits, entries and requests as rows where `record` is on, else counts alone.

    Attributes:
        times: int64 (visit, 2), arrival and leaving (NEVER while open).
        visits: int32 (visit, V_COLUMNS).
        entries: int64 (entry, R_COLUMNS).
        requests: int64 (request, 6): contact and the K_ columns.
        n_by_edge: int64 (edge, 3), closed visits by branch and evidence.
        n_by_node: int64 (node, 2), visits ended without a branch, and visits still open.
        n_by_exit: int64, entries by exit.
        n_by_journey: int64 (journey, T_COLUMNS), entries and what became of triggers.
        used: int64, the rows in use.
        room: int64, the rows that there are.
    """

    times: NDArray[np.int64]
    visits: NDArray[np.int32]
    entries: NDArray[np.int64]
    requests: NDArray[np.int64]
    n_by_edge: NDArray[np.int64]
    n_by_node: NDArray[np.int64]
    n_by_exit: NDArray[np.int64]
    n_by_journey: NDArray[np.int64]
    used: NDArray[np.int64]
    room: NDArray[np.int64]


_INT = types.int64
STATE = group_type(
    "State", constant=False, entries=(_INT, E_COLUMNS), running=(_INT, 1), memory=(_INT, M_COLUMNS),
    triggers=(_INT, G_COLUMNS), groups=(_INT, H_COLUMNS), own=(_INT, 2), sends=(_INT, 2), assigned=(_INT, 2),
    assigned_x=(types.float64, 1),
    stack=(types.float64, 1), used=(_INT, 1), room=(_INT, 1),
)  # fmt: skip
OUT = group_type(
    "Out", constant=False, times=(_INT, 2), visits=(types.int32, V_COLUMNS), entries=(_INT, R_COLUMNS),
    requests=(_INT, 6), n_by_edge=(_INT, 3), n_by_node=(_INT, 2), n_by_exit=(_INT, 1),
    n_by_journey=(_INT, T_COLUMNS), used=(_INT, 1),
    room=(_INT, 1),
)  # fmt: skip
_program, _world, _state, _out = opener(PROGRAM), opener(WORLD), opener(STATE), opener(OUT)


def new_state(program: Program, room: int) -> State:
    """Room for `room` entries, emitted events, sends and assignments of one contact."""
    n_journeys, n_nodes = len(program.journeys), len(program.nodes)
    return State(
        entries=np.zeros((room, E_COLUMNS), np.int64),
        running=np.arange(room, dtype=np.int64),
        memory=np.zeros((room * n_nodes, M_COLUMNS), np.int64),
        triggers=np.zeros((n_journeys, G_COLUMNS), np.int64),
        groups=np.zeros((n_journeys, H_COLUMNS), np.int64),
        own=np.zeros((room * 8, 2), np.int64),
        sends=np.zeros((room * 8, 2), np.int64),
        assigned=np.zeros((room * 8, 2), np.int64),
        assigned_x=np.zeros(room * 8, np.float64),
        stack=np.zeros(STACK + 2, np.float64),
        used=np.zeros(N_USED, np.int64),
        room=np.array([room, room * 8], np.int64),
    )


def new_out(program: Program, n_exits: int, n_visits: int) -> Out:
    """Room for `n_visits` visits, entries and requests, with all counts at zero."""
    return Out(
        times=np.empty((n_visits, 2), np.int64),
        visits=np.empty((n_visits, V_COLUMNS), np.int32),
        entries=np.empty((n_visits, R_COLUMNS), np.int64),
        requests=np.empty((n_visits, 6), np.int64),
        n_by_edge=np.zeros((len(program.edges), 3), np.int64),
        n_by_node=np.zeros((len(program.nodes), 2), np.int64),
        n_by_exit=np.zeros(n_exits, np.int64),
        n_by_journey=np.zeros((len(program.journeys), T_COLUMNS), np.int64),
        used=np.zeros(O_USED, np.int64),
        room=np.full(3, n_visits, np.int64),
    )


def _jit(function: Any) -> Any:
    return njit(**COMPILED)(function)


def _inlined(function: Any) -> Any:
    """For what is small or at the heart: the optimiser puts it in place of every call."""
    return njit(forceinline=True, **COMPILED)(function)


def _in_place(function: Any) -> Any:
    """For what is called in one place: it becomes a part of its caller, which compiles and runs faster."""
    return njit(inline="always", **COMPILED)(function)


def _fingerprint() -> str:
    """A text that differs when any source differs that goes into the compiled machine."""
    stamp = 0
    for path in (__file__, clock.__file__, keyedhash.__file__, layout.__file__, tables.__file__):
        stamp = crc32(Path(path).read_bytes(), stamp)
    return f"{stamp:08x}"


FINGERPRINT = _fingerprint()


def _entry_point(function: Any) -> Any:
    """Compiled at most once on a machine: the result is kept on disk, with all that it calls.

    Numba would take a kept result as long as this file alone is unchanged; so the sources are part of its name.
    """
    function.__qualname__ = f"{function.__name__}-{FINGERPRINT}"
    return njit(nogil=True, error_model="numpy", cache=True)(function)


# Events: the log's, in streams by contact, then those that journeys made (rule 1).


@_jit
def _narrowed(at, low, high, t):  # type: ignore[no-untyped-def]
    """The few places of a long span among which its first event later than t is."""
    while high - low > 8:
        middle = (low + high) // 2
        if int_at(at, middle) > t:
            high = middle
        else:
            low = middle + 1
    return low, high


@_inlined
def _first_beyond(w, stream, low, high, t):  # type: ignore[no-untyped-def]
    """The first of a stream's places low..high whose event is later than t."""
    at = w.streams[stream, 1]
    if high - low > 8:
        low, high = _narrowed(at, low, high, t)
    while low < high and int_at(at, low) <= t:
        low += 1
    return low


@_inlined
def _places(w, stream, c):  # type: ignore[no-untyped-def]
    """Where the contact's events of a stream lie, from the first to beyond the last."""
    offsets = w.streams[stream, 0]
    if offsets == 0:
        return ZERO, ZERO
    return int_at(offsets, c), int_at(offsets, c + 1)


@_inlined
def _has_none(w, s, stream, c):  # type: ignore[no-untyped-def]
    """Whether the contact has no event of a stream at all, which is the most common case of the rare ones."""
    start, end = _places(w, stream, c)
    return start == end and s.used[N_OWN] == 0


@_inlined
def _belongs(w, s, i, stream):  # type: ignore[no-untyped-def]
    """Whether an event that a journey made belongs to a stream."""
    return w.own_streams[s.own[i, 1] * w.limits[L_STREAMS] + stream] != 0


@_jit
def _next_own(w, s, stream, t, row, at, at_row):  # type: ignore[no-untyped-def]
    """The first event after (t, row) that a journey made, or else the (at, at_row) that the log has."""
    for i in range(s.used[N_OWN]):
        own_at = s.own[i, 0]
        if own_at >= at:
            break
        if (own_at > t or (own_at == t and OWN_ROW + i > row)) and _belongs(w, s, i, stream):
            return own_at, OWN_ROW + i
    return at, at_row


@_inlined
def _next(w, s, stream, c, t, row):  # type: ignore[no-untyped-def]
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


@_inlined
def _first(w, stream, c):  # type: ignore[no-untyped-def]
    """The first event of a stream that the log has, as (instant, row); (NEVER, LAST) if none."""
    place, end = _places(w, stream, c)
    if place == end:
        return NEVER, LAST
    return int_at(w.streams[stream, 1], place), int_at(w.streams[stream, 2], place)


@_inlined
def _is_logged(w, stream, c, first, last):  # type: ignore[no-untyped-def]
    """1 where the log itself has an event of the stream from one instant to another, else 0."""
    start, end = _places(w, stream, c)
    if start < end:
        start = _first_beyond(w, stream, start, end, first - 1)
    return int(start < end and int_at(w.streams[stream, 1], start) <= last)


@_jit
def _latest(w, s, stream, c, t):  # type: ignore[no-untyped-def]
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


@_jit
def _property(w, s, name, row):  # type: ignore[no-untyped-def]
    """The property of an event, missing where the event has none."""
    if name < 0 or row < 0 or row >= LAST_ROW:
        return np.nan
    if row >= OWN_ROW:
        return w.own_values[s.own[row - OWN_ROW, 1] * w.limits[L_PROPERTIES] + name]
    address = w.properties[name]
    return float_at(address, row) if address != 0 else np.nan


@_jit
def _over(w, s, operation, stream, name, window, c, t):  # type: ignore[no-untyped-def]
    """The count, sum, mean, least or greatest over the events of (t - window, t] (rules 6 and 7)."""
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


@_jit
def _as_of(table, s, name, own_name, c, t):  # type: ignore[no-untyped-def]
    """The value of an attribute (`own_name` as programs set it) or a score as of t."""
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


@_jit
def _zone(p, w, s, journey, c, t):  # type: ignore[no-untyped-def]
    """The contact's time zone as of t, else the journey's."""
    name = w.limits[L_ZONE_ATTRIBUTE]
    if name >= 0:
        value = _as_of(w.attributes, s, name, name, c, t)
        if value == value:
            return np.int64(value)
    return p.journeys[journey, J_ZONE]


# Conditions.


@_inlined
def _true(value):  # type: ignore[no-untyped-def]
    return value == value and value != 0.0


@_jit
def _find_answer(w, c, kind, name, entry, visit, t):  # type: ignore[no-untyped-def]
    for i in range(w.answer_offsets[c], w.answer_offsets[c + 1]):
        if (
            w.answers[i, K_KIND] == kind
            and w.answers[i, K_ID] == name
            and w.answers[i, K_ENTRY] == entry
            and w.answers[i, K_VISIT] == visit
            and (t == NEVER or w.answers[i, K_AT] == t)
        ):
            return np.int64(i)
    return NONE


@_inlined
def _answer(w, c, kind, name, entry, visit, t):  # type: ignore[no-untyped-def]
    """The place of the world's answer, -1 where there is none; `t` of NEVER fits any instant."""
    return _find_answer(w, c, kind, name, entry, visit, t) if w.limits[L_HAS_ANSWERS] == 1 else NONE


@_jit
def _ask(s, out, c, kind, name, entry, visit, t):  # type: ignore[no-untyped-def]
    """Records a request; the contact is advanced again when the world has answered."""
    s.used[N_STATUS] = ASKED
    i = out.used[O_REQUESTS]
    if i >= out.room[ROOM_REQUESTS]:
        s.used[N_STATUS] = TOO_SMALL
        return
    out.requests[i, 0] = c
    out.requests[i, 1 + K_KIND] = kind
    out.requests[i, 1 + K_ID] = name
    out.requests[i, 1 + K_ENTRY] = entry
    out.requests[i, 1 + K_VISIT] = visit
    out.requests[i, 1 + K_AT] = t
    out.used[O_REQUESTS] = i + 1


@_inlined
def _rests_on(s, evidence):  # type: ignore[no-untyped-def]
    s.used[N_EVIDENCE] = max(s.used[N_EVIDENCE], evidence)


@_jit
def _responded(p, w, s, e, node, stream, c, t):  # type: ignore[no-untyped-def]
    """Whether the node's message had that response by t (rule 9); silence on an unmatched send is assumed (rule 33)."""
    sent = s.memory[e * p.sizes[N_NODES] + node, M_SENT]
    if sent == NEVER:
        return False
    at, _ = _next(w, s, stream, c, sent, LAST)
    if at <= t:
        return True
    if s.memory[e * p.sizes[N_NODES] + node, M_MATCHED] == 0:
        _rests_on(s, ASSUMED)
    return False


@_in_place
def _score(w, s, out, name, c, t):  # type: ignore[no-untyped-def]
    """A score as of t: given as a table, or asked of the world."""
    _rests_on(s, PREDICTED)
    if w.scores[name, 0] != 0:
        return _as_of(w.scores, s, name, NONE, c, t)
    found = _answer(w, c, ASK_SCORE, name, NONE, NONE, t)
    if found >= 0:
        return w.answers_x[found]
    _ask(s, out, c, ASK_SCORE, name, NONE, NONE, t)
    return np.nan


@_in_place
def _push(p, w, s, out, i, journey, e, c, t, row):  # type: ignore[no-untyped-def]
    """The value of an operation that takes nothing from the stack."""
    operation, a, b = p.code[i, 0], p.code[i, 1], p.code[i, 2]
    if operation == PUSH:
        return p.code_x[i]
    if operation == ATTRIBUTE:
        return _as_of(w.attributes, s, a, a, c, t)
    if operation == EVENT_PROPERTY:
        value = _property(w, s, a, row)
        if value != value and b >= 0:
            value = _as_of(w.attributes, s, b, b, c, t)
        return value
    if operation == ENTRY_PROPERTY:
        return _property(w, s, a, row if e < 0 else s.entries[e, E_TRIGGER_ROW])
    if operation <= MAX:
        return _over(w, s, operation, a, b, p.code_x[i], c, t)
    if operation == SINCE_FIRST:
        at, _ = _next(w, s, a, c, -NEVER, LAST)
        return float(t - at) if at <= t else np.nan
    if operation <= SINCE:
        at, at_row = _latest(w, s, a, c, t)
        if at == -NEVER or (p.code_x[i] != np.inf and at <= t - np.int64(p.code_x[i])):
            return np.nan
        return float(t - at) if operation == SINCE else _property(w, s, b, at_row)
    if operation == SENT:
        return 1.0 if s.memory[e * p.sizes[N_NODES] + a, M_SENT] != NEVER else 0.0
    if operation == RESPONSE:
        return 1.0 if _responded(p, w, s, e, a, b, c, t) else 0.0
    if operation == SCORE:
        return _score(w, s, out, a, c, t)
    wall = local(w.zones, _zone(p, w, s, journey, c, t), t)
    if operation == LOCAL_HOUR:
        return float(wall // HOUR % 24)
    return float((wall // DAY + 3) % 7)


@_in_place
def _combine(operation, left, right):  # type: ignore[no-untyped-def]
    """The value of an operation on two; a comparison with a missing value is false (rule 7)."""
    if operation == AND:
        return 1.0 if _true(left) and _true(right) else 0.0
    if operation == OR:
        return 1.0 if _true(left) or _true(right) else 0.0
    if operation == ADD:
        return left + right
    if operation == SUBTRACT:
        return left - right
    if operation == MULTIPLY:
        return left * right
    if operation == DIVIDE:
        return left / right if right != 0.0 else np.nan
    if left != left or right != right:
        return 0.0
    holds = False
    if operation == EQ:
        holds = left == right
    elif operation == NE:
        holds = left != right
    elif operation == LT:
        holds = left < right
    elif operation == LE:
        holds = left <= right
    elif operation == GT:
        holds = left > right
    elif operation == GE:
        holds = left >= right
    return 1.0 if holds else 0.0


@_in_place
def _change(p, i, value):  # type: ignore[no-untyped-def]
    """The value of an operation on one."""
    operation = p.code[i, 0]
    if operation == NOT:
        return 0.0 if _true(value) else 1.0
    if operation == TRUTH:
        return 1.0 if _true(value) else 0.0
    if operation == MISSING:
        return 1.0 if value != value else 0.0
    if operation == NEGATE:
        return -value
    if operation == LOGISTIC:
        return 1.0 / (1.0 + np.exp(-value))
    if value != value:
        return 0.0
    for k in range(p.code[i, 1], p.code[i, 2]):
        if p.options[k] == value:
            return 1.0 if operation == IN else 0.0
    return 0.0 if operation == IN else 1.0


@_jit
def _value(p, w, s, out, condition, journey, e, c, t, row):  # type: ignore[no-untyped-def]
    """The value of a condition or a membership as of t; `e` and `row` are -1 where there is no entry or event."""
    stack, depth = s.stack, 0
    for i in range(p.conditions[condition, 0], p.conditions[condition, 1]):
        operation = p.code[i, 0]
        if operation <= WEEKDAY:
            stack[depth] = _push(p, w, s, out, i, journey, e, c, t, row)
            depth += 1
        elif operation <= DIVIDE:
            stack[depth - 2] = _combine(operation, stack[depth - 2], stack[depth - 1])
            depth -= 1
        elif operation == WEIGH:
            stack[depth - 2] += p.code_x[i] if _true(stack[depth - 1]) else 0.0
            depth -= 1
        else:
            stack[depth - 1] = _change(p, i, stack[depth - 1])
    return stack[0]


@_jit
def _holds(p, w, s, out, condition, journey, e, c, t, row):  # type: ignore[no-untyped-def]
    return condition < 0 or _value(p, w, s, out, condition, journey, e, c, t, row) != 0.0


@_entry_point
def _select(program, world, state, output, condition, rows, keep):  # type: ignore[no-untyped-def]
    p, w, s, out = _program(program), _world(world), _state(state), _out(output)
    for i in range(rows.shape[0]):
        keep[i] = _value(p, w, s, out, condition, ZERO, NONE, ZERO, ZERO, rows[i]) != 0.0


def select_events(
    program: Program,
    world: World,
    state: State,
    out: Out,
    condition: int,
    rows: NDArray[np.int64],
    keep: NDArray[np.bool_],
) -> None:
    """Marks in `keep` the events, given by their rows, for which a condition on their properties holds."""
    groups = [addresses(group) for group in (program, world, state, out)]
    _select(*map(opened, groups), condition, rows, keep)


@_entry_point
def _evaluate(program, world, state, output, condition, t, values):  # type: ignore[no-untyped-def]
    p, w, s, out = _program(program), _world(world), _state(state), _out(output)
    for c in range(values.shape[0]):
        values[c] = _value(p, w, s, out, condition, ZERO, NONE, c, t, NONE)


def evaluate(
    program: Program, world: World, state: State, out: Out, condition: int, t: int, values: NDArray[np.float64]
) -> None:
    """Writes into `values` what a condition or a membership is as of t, for every contact."""
    groups = [addresses(group) for group in (program, world, state, out)]
    _evaluate(*map(opened, groups), condition, t, values)


# Recording.


@_in_place
def _open_visit(p, w, s, out, record, e, node, c, t):  # type: ignore[no-untyped-def]
    if not record:
        return
    memory = e * p.sizes[N_NODES] + node
    i = out.used[O_VISITS]
    if i >= out.room[ROOM_VISITS]:
        s.used[N_STATUS] = TOO_SMALL
        return
    out.used[O_VISITS] = i + 1
    out.times[i, 0], out.times[i, 1] = t, NEVER
    out.visits[i, V_CONTACT] = c
    out.visits[i, V_ENTRY] = s.entries[e, E_RECORD]
    out.visits[i, V_NODE] = node
    out.visits[i, V_VISIT] = s.memory[memory, M_VISITS]
    out.visits[i, V_EDGE] = NONE
    out.visits[i, V_REASON] = BECAUSE_NOT
    out.visits[i, V_EVIDENCE] = ASSUMED if w.limits[L_UNTIL] > w.limits[L_LOG_END] else OBSERVED
    s.memory[memory, M_RECORD] = i


@_inlined
def _close_visit(p, w, s, out, record, e, node, t, edge, reason):  # type: ignore[no-untyped-def]
    """Closes the visit with the evidence gathered since; what ends after the log does is assumed (rule 35)."""
    evidence = ASSUMED if t > w.limits[L_LOG_END] else s.used[N_EVIDENCE]
    s.used[N_EVIDENCE] = OBSERVED
    if not record:
        if edge >= 0:
            out.n_by_edge[edge, evidence] += 1
        else:
            out.n_by_node[node, ENDED] += 1
        return
    i = s.memory[e * p.sizes[N_NODES] + node, M_RECORD]
    out.times[i, 1] = t
    out.visits[i, V_EDGE] = edge
    out.visits[i, V_EVIDENCE] = evidence
    out.visits[i, V_REASON] = reason


# Leaving (rules 14 to 16).


@_jit
def _find_leave(p, w, s, e, c, t, row, cause):  # type: ignore[no-untyped-def]
    """Notes the entry's next cause to leave: after (t, row), or that very event by a cause listed after `cause`."""
    journey = s.entries[e, E_JOURNEY]
    first, end = p.journeys[journey, J_CAUSES], p.journeys[journey, J_CAUSES_END]
    best_at, best_row, best_cause = NEVER, LAST, NONE
    for k in range(first, end):
        at, at_row = _next(w, s, p.causes[k, C_STREAM], c, t, row - 1 if 0 <= cause < k else row)
        if at < best_at or (at == best_at and at_row < best_row):
            best_at, best_row, best_cause = at, at_row, k
    s.entries[e, E_LEAVE_AT], s.entries[e, E_LEAVE_ROW], s.entries[e, E_CAUSE] = best_at, best_row, best_cause


@_jit
def _end_entry(p, w, s, out, record, e, t, exit_):  # type: ignore[no-untyped-def]
    """Ends an entry whose last node's visit is closed: the parts around it, its record, its place among the running."""
    run = p.nodes[s.entries[e, E_NODE], N_RUN]
    while run >= 0:
        _close_visit(p, w, s, out, record, e, run, t, NONE, BECAUSE_NOT)
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


@_in_place
def _leave(p, w, s, out, record, e, c, t):  # type: ignore[no-untyped-def]
    """Ends the entry if one of its causes at t holds; whether it ended."""
    while s.entries[e, E_LEAVE_AT] == t:
        row, cause = s.entries[e, E_LEAVE_ROW], s.entries[e, E_CAUSE]
        journey = s.entries[e, E_JOURNEY]
        if _holds(p, w, s, out, p.causes[cause, C_GUARD], journey, e, c, t, row):
            s.used[N_EVIDENCE] = OBSERVED
            _close_visit(p, w, s, out, record, e, s.entries[e, E_NODE], t, NONE, BECAUSE_NOT)
            _end_entry(p, w, s, out, record, e, t, p.causes[cause, C_EXIT])
            return True
        _find_leave(p, w, s, e, c, t, row, cause)
    return False


# Entering (rules 11 to 13).


@_jit
def _date_at(p, w, journey, value, zone):  # type: ignore[no-untyped-def]
    """The instant of a date trigger for a value of its attribute in a zone."""
    if p.journeys[journey, J_DATE_IS_INSTANT] == 1:
        return np.int64(value) + p.journeys[journey, J_OFFSET]
    wall = np.int64(value) * DAY + p.journeys[journey, J_TIME]
    return from_local(w.zones, zone, wall) + p.journeys[journey, J_OFFSET]


@_jit
def _n_values(w, s, name, c):  # type: ignore[no-untyped-def]
    """How many values the attribute takes: its first, its changes, what programs have set."""
    offsets = w.attributes[name, 1]
    return 1 + (int_at(offsets, c + 1) - int_at(offsets, c) if offsets != 0 else 0) + s.used[N_SET]


@_jit
def _nth_value(w, s, name, c, k):  # type: ignore[no-untyped-def]
    if k == 0:
        return float_at(w.attributes[name, 0], c)
    offsets = w.attributes[name, 1]
    changes = int_at(offsets, c + 1) - int_at(offsets, c) if offsets != 0 else 0
    if k <= changes:
        return float_at(w.attributes[name, 4], int_at(offsets, c) + k - 1)
    i = k - 1 - changes
    return s.assigned_x[i] if s.assigned[i, 1] == name else np.nan


@_jit
def _next_date(p, w, s, journey, c, t):  # type: ignore[no-untyped-def]
    """The first instant after t at which any value of the date in any zone of the contact falls due."""
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


@_jit
def _find_trigger(p, w, s, journey, c, t, row):  # type: ignore[no-untyped-def]
    """Notes the journey's next trigger after (t, row)."""
    kind = p.journeys[journey, J_TRIGGER]
    if kind == TRIGGER_EVENT:
        at, at_row = _next(w, s, p.journeys[journey, J_STREAM], c, t, row)
    elif kind == TRIGGER_SEGMENT:
        every = p.journeys[journey, J_EVERY]
        origin = 4 * DAY + p.journeys[journey, J_OFFSET]
        earliest = max(t + 1, w.first_at[c])
        at, at_row = origin - (origin - earliest) // every * every, LAST_ROW
    else:
        at, at_row = _next_date(p, w, s, journey, c, t), LAST_ROW
    s.triggers[journey, G_AT], s.triggers[journey, G_ROW] = at, at_row


@_jit
def _after_pauses(p, journey, t):  # type: ignore[no-untyped-def]
    for k in range(p.journeys[journey, J_PAUSES], p.journeys[journey, J_PAUSES_END]):
        if p.pauses[k, 0] <= t < p.pauses[k, 1]:
            t = p.pauses[k, 1]
    return t


@_inlined
def _resumes(p, journey, t):  # type: ignore[no-untyped-def]
    """The end of the pause in which t lies, or t (rule 28)."""
    return _after_pauses(p, journey, t) if p.journeys[journey, J_PAUSES] < p.journeys[journey, J_PAUSES_END] else t


@_jit
def _weighed(w, s, streams, assumed, c, t):  # type: ignore[no-untyped-def]
    """Whether the latest of giving, withdrawing and erasing as of t is a giving, or is assumed to be (rules 11, 34)."""
    ended_at, ended_row = _latest(w, s, streams[WITHDRAWN], c, t)
    at, row = _latest(w, s, streams[ERASED], c, t)
    if at > ended_at or (at == ended_at and row > ended_row):
        ended_at, ended_row = at, row
    given_at, given_row = _latest(w, s, streams[GIVEN], c, t)
    if given_at == -NEVER:
        return assumed and ended_at == -NEVER
    return given_at > ended_at or (given_at == ended_at and given_row > ended_row)


@_inlined
def _consents(p, w, s, journey, c, t):  # type: ignore[no-untyped-def]
    """Whether consent for the journey's purpose stands as of t (rules 11 and 34)."""
    streams, assumed = p.consents[p.journeys[journey, J_CONSENT]], p.journeys[journey, J_CONSENT_ASSUMED] == 1
    if assumed and _has_none(w, s, streams[WITHDRAWN], c) and _has_none(w, s, streams[ERASED], c):
        return True
    return _weighed(w, s, streams, assumed, c, t)


@_inlined
def _is_emitted(row):  # type: ignore[no-untyped-def]
    """Whether an event is one that a journey made."""
    return OWN_ROW <= row < LAST_ROW


@_in_place
def _may_enter(p, w, s, out, journey, c, t, row):  # type: ignore[no-untyped-def]
    """Whether a trigger makes an entry; those that lack nothing but consent, or an end, are counted."""
    kind = p.journeys[journey, J_TRIGGER]
    if not p.journeys[journey, J_FROM] <= t < p.journeys[journey, J_UNTIL] or _resumes(p, journey, t) != t:
        return False
    if kind == TRIGGER_SEGMENT:
        member = _value(p, w, s, out, p.journeys[journey, J_MEMBERSHIP], journey, NONE, c, t, NONE)
        if not member >= p.journeys_x[journey, X_AT_LEAST]:
            return False
    elif kind == TRIGGER_DATE:
        name = p.journeys[journey, J_DATE]
        value = _as_of(w.attributes, s, name, name, c, t)
        if value != value or _date_at(p, w, journey, value, _zone(p, w, s, journey, c, t)) != t:
            return False
    if not _holds(p, w, s, out, p.journeys[journey, J_WHERE], journey, NONE, c, t, row):
        return False
    group, reentry = s.groups[p.journeys[journey, J_GROUP]], p.journeys[journey, J_REENTRY]
    allowed = group[H_ENTRIES] == 0 or reentry == REENTRY_ALWAYS
    if not allowed and reentry != REENTRY_NEVER and group[H_RUNNING] == 0:
        allowed = reentry == REENTRY_AFTER_EXIT or t >= group[H_LAST] + p.journeys[journey, J_COOLDOWN]
    if allowed and not _consents(p, w, s, journey, c, t):
        out.n_by_journey[journey, T_NO_CONSENT] += 1
        return False
    if allowed and _is_emitted(row) and group[H_LAST] == t and group[H_AT_ONCE] >= p.journeys[journey, J_MAX_VISITS]:
        out.n_by_journey[journey, T_ENDLESS] += 1  # rule 24
        return False
    return allowed


@_in_place
def _enter(p, w, s, out, record, journey, c, t, row):  # type: ignore[no-untyped-def]
    """Makes an entry and arrives at the first node."""
    n = s.used[N_RUNNING]
    if n >= s.room[ROOM_RUNNING] or (record and out.used[O_ENTRIES] >= out.room[ROOM_ENTRIES]):
        s.used[N_STATUS] = TOO_SMALL
        return
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
    held = 0
    if p.journeys_x[journey, X_HOLDOUT] > 0:
        held = int(
            uniform(w.units[c], np.uint64(p.journeys[journey, J_HOLDOUT_KEY])) < p.journeys_x[journey, X_HOLDOUT]
        )
    entry = s.entries[e]
    entry[E_JOURNEY], entry[E_ENTRY], entry[E_STARTED], entry[E_TRIGGER_ROW] = journey, group[H_ENTRIES], t, row
    entry[E_HELD] = held
    first = e * p.sizes[N_NODES]
    for memory in range(first + p.journeys[journey, J_NODES], first + p.journeys[journey, J_NODES_END]):
        s.memory[memory, M_VISITS], s.memory[memory, M_ARRIVED], s.memory[memory, M_SENT] = 0, NEVER, NEVER
    out.n_by_journey[journey, T_ENTERED] += 1
    out.n_by_journey[journey, T_CONTACTS] += group[H_ENTRIES] == 1
    out.n_by_journey[journey, T_HELD] += held
    if record:
        i = out.used[O_ENTRIES]
        out.used[O_ENTRIES] = i + 1
        entry[E_RECORD] = i
        out.entries[i, R_CONTACT], out.entries[i, R_JOURNEY], out.entries[i, R_ENTRY] = c, journey, group[H_ENTRIES]
        out.entries[i, R_STARTED], out.entries[i, R_LEFT] = t, NEVER
        out.entries[i, R_EXIT], out.entries[i, R_HELD] = NONE, held
    _find_leave(p, w, s, e, c, t, row, NONE)
    _arrive(p, w, s, out, record, e, p.journeys[journey, J_FIRST_NODE], c, t)


# The nodes.


@_inlined
def _wait_opens(p, s, e, k):  # type: ignore[no-untyped-def]
    """The instant after which an await of a wait_for looks for its event (rules 8 and 9); NEVER if in vain."""
    of = p.awaits[k, W_NODE]
    if of >= 0:
        return s.memory[e * p.sizes[N_NODES] + of, M_SENT]
    since = p.nodes[s.entries[e, E_NODE], D]
    if since == SINCE_ENTRY:
        return s.entries[e, E_STARTED]
    if since >= 0 and s.memory[e * p.sizes[N_NODES] + since, M_ARRIVED] != NEVER:
        return s.memory[e * p.sizes[N_NODES] + since, M_ARRIVED]
    return s.entries[e, E_ARRIVED]


@_jit
def _wait_due(p, w, s, e, c, t):  # type: ignore[no-untyped-def]
    """When a wait_for has to be looked at again: at the next awaited event not yet seen, or the deadline."""
    node = s.entries[e, E_NODE]
    due = s.entries[e, E_ARRIVED] + p.nodes[node, A]
    for k in range(p.nodes[node, B], p.nodes[node, C]):
        opens = _wait_opens(p, s, e, k)
        if opens != NEVER:
            at, _ = _next(w, s, p.awaits[k, W_STREAM], c, max(opens, s.entries[e, E_SEEN_AT]), LAST)
            due = min(due, at)
    return max(due, t)


@_in_place
def _first_awaited(p, w, s, out, e, c, t, k):  # type: ignore[no-untyped-def]
    """The instant of the await's first event up to t that was not judged before and holds; NEVER if none."""
    opens, seen_at, seen_own = _wait_opens(p, s, e, k), s.entries[e, E_SEEN_AT], s.entries[e, E_SEEN_OWN]
    if opens == NEVER:
        return NEVER
    guard, journey = p.awaits[k, W_GUARD], s.entries[e, E_JOURNEY]
    at, row = _next(w, s, p.awaits[k, W_STREAM], c, opens, LAST)
    while at <= t:
        seen = at <= seen_at and (row < OWN_ROW or row - OWN_ROW < seen_own)
        if not seen and _holds(p, w, s, out, guard, journey, e, c, at, row):
            return at
        at, row = _next(w, s, p.awaits[k, W_STREAM], c, at, row)
    return NEVER


@_jit
def _n_own(s, t):  # type: ignore[no-untyped-def]
    """How many events journeys have made up to t."""
    n = s.used[N_OWN]
    while n > 0 and s.own[n - 1, 0] > t:
        n -= 1
    return n


@_in_place
def _step_wait_for(p, w, s, out, e, c, t):  # type: ignore[no-untyped-def]
    """Goes on with the earliest awaited event, or at the deadline (rules 8 to 10)."""
    node = s.entries[e, E_NODE]
    deadline = s.entries[e, E_ARRIVED] + p.nodes[node, A]
    until, best, best_at = min(t, deadline), -1, NEVER
    for k in range(p.nodes[node, B], p.nodes[node, C]):
        at = _first_awaited(p, w, s, out, e, c, until, k)
        if at < best_at:
            best, best_at = k, at
    s.entries[e, E_SEEN_AT], s.entries[e, E_SEEN_OWN] = until, _n_own(s, until)
    if best < 0 and t < deadline:
        s.entries[e, E_DUE] = _wait_due(p, w, s, e, c, t + 1)
        return NONE
    for k in range(p.nodes[node, B], p.nodes[node, C]):
        if k != best and p.awaits[k, W_NODE] >= 0:
            _responded(p, w, s, e, p.awaits[k, W_NODE], p.awaits[k, W_STREAM], c, until)
    return p.awaits[best, W_EDGE] if best >= 0 else p.nodes[node, N_OTHER_EDGE]


@_jit
def _until_due(p, w, s, node, c, t):  # type: ignore[no-untyped-def]
    """When a wait_until ends, which may have passed; NEVER when its date is missing."""
    n = p.nodes[node]
    zone = _zone(p, w, s, n[N_JOURNEY], c, t)
    if n[A] == UNTIL_WINDOW:
        return window_at(w.zones, zone, t, n[B], n[C], n[D])
    if n[A] == UNTIL_TIME:
        return time_at(w.zones, zone, t, n[B], n[D])
    value = _as_of(w.attributes, s, n[E], n[E], c, t)
    if value != value:
        return NEVER
    if n[A] == UNTIL_INSTANT:
        return np.int64(value) + n[F]
    return from_local(w.zones, zone, np.int64(value) * DAY + n[B]) + n[F]


@_jit
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


@_in_place
def _gates(p, w, s, e, c, t):  # type: ignore[no-untyped-def]
    """The first gate that does not let the send pass at t, and the instant that it answers with (rule 17)."""
    n, journey = p.nodes[s.entries[e, E_NODE]], s.entries[e, E_JOURNEY]
    j = p.journeys[journey]
    if not _consents(p, w, s, journey, c, t):
        return BECAUSE_CONSENT, NEVER
    for k in range(2):
        if not _has_none(w, s, p.suppressions[k], c) and _latest(w, s, p.suppressions[k], c, t)[0] != -NEVER:
            return BECAUSE_SUPPRESSION, NEVER
    if n[C] != AT_ANY:
        zone, answer = _zone(p, w, s, journey, c, t), t
        if n[C] == AT_WINDOW:
            answer = window_at(w.zones, zone, t, n[D], n[E], n[F])
        elif w.limits[L_HAS_BEST] == 1 and w.best[c] == w.best[c]:
            hour = np.int64(w.best[c])
            start = hour % 24 * HOUR
            answer = window_at(w.zones, zone, t, start, start + HOUR, 1 << (hour // 24))
        if answer > t:
            return BECAUSE_AT, answer
    if j[J_QUIET_START] >= 0:
        answer = quiet_until(w.zones, _zone(p, w, s, journey, c, t), t, j[J_QUIET_START], j[J_QUIET_END])
        if answer > t:
            return BECAUSE_QUIET, answer
    if j[J_CAP_SENDS] >= 0:
        answer = _cap_free(s, t, j[J_CAP_SENDS], j[J_CAP_WITHIN], j[J_GROUP])
        if answer > t:
            return BECAUSE_CAP, answer
    if p.policy_cap[0] >= 0:
        answer = _cap_free(s, t, p.policy_cap[0], p.policy_cap[1], NONE)
        if answer > t:
            return BECAUSE_POLICY_CAP, answer
    return BECAUSE_NOT, t


@_in_place
def _step_send(p, w, s, out, e, c, t):  # type: ignore[no-untyped-def]
    """Sends, moves on to when a gate opens, or skips (rules 17 to 20 and 23)."""
    node = s.entries[e, E_NODE]
    n, arrived = p.nodes[node], s.entries[e, E_ARRIVED]
    visit = s.memory[e * p.sizes[N_NODES] + node, M_VISITS]
    reason, answer = BECAUSE_NOT, t
    actual = _answer(w, c, ACTUAL, node, s.entries[e, E_ENTRY], visit, NEVER)
    if s.entries[e, E_HELD] == 1:
        reason, answer = BECAUSE_HOLDOUT, NEVER
    elif actual >= 0:  # rule 29: a release's own send answers for itself
        if w.answers[actual, K_AT] > t:
            s.entries[e, E_DUE] = w.answers[actual, K_AT]
            return NONE
    else:
        reason, answer = _gates(p, w, s, e, c, t)
        if reason == BECAUSE_NOT and t > arrived + n[A]:
            reason, answer = BECAUSE_PAUSE, NEVER
    if reason == BECAUSE_NOT:
        return _send(p, w, s, out, e, node, visit, c, t)
    if answer <= arrived + n[A] and not (n[B] == 1 and reason >= BECAUSE_CAP):
        s.entries[e, E_DUE] = answer
        return NONE
    s.used[N_REASON] = reason
    return n[N_OTHER_EDGE]


@_in_place
def _send(p, w, s, out, e, node, visit, c, t):  # type: ignore[no-untyped-def]
    """Makes the send: its instant, its evidence (rule 33), its answers where a model gives them."""
    i = s.used[N_SENDS]
    if i >= s.room[ROOM_EVENTS]:
        s.used[N_STATUS] = TOO_SMALL
        return NONE
    if w.limits[L_ASK_SENDS] == 1:
        first = _answer(w, c, ASK_SEND, node, s.entries[e, E_ENTRY], visit, NEVER)
        if first < 0:
            _ask(s, out, c, ASK_SEND, node, s.entries[e, E_ENTRY], visit, t)
            return NONE
        _take_responses(p, w, s, e, first, node, visit, c, t)
        _rests_on(s, PREDICTED)
        matched = 1
    else:
        matched = _is_logged(w, p.nodes[node, G], c, t - w.limits[L_MATCH], t + w.limits[L_MATCH])
        if matched == 0 or (p.nodes[node, C] == AT_BEST and not (w.limits[L_HAS_BEST] == 1 and w.best[c] == w.best[c])):
            _rests_on(s, ASSUMED)
    s.sends[i, 0], s.sends[i, 1] = t, p.journeys[s.entries[e, E_JOURNEY], J_GROUP]
    s.used[N_SENDS] = i + 1
    s.memory[e * p.sizes[N_NODES] + node, M_SENT], s.memory[e * p.sizes[N_NODES] + node, M_MATCHED] = t, matched
    return p.nodes[node, N_EDGE]


@_jit
def _take_responses(p, w, s, e, first, node, visit, c, t):  # type: ignore[no-untyped-def]
    """Makes the answers to a send the contact's own events; an answer's value is the kind, its instant when."""
    for i in range(first, w.answer_offsets[c + 1]):
        same = w.answers[i, K_KIND] == ASK_SEND and w.answers[i, K_ID] == node
        same &= w.answers[i, K_ENTRY] == s.entries[e, E_ENTRY] and w.answers[i, K_VISIT] == visit
        if same and w.answers_x[i] >= 0:
            _make_event(s, p.nodes[node, H] + np.int64(w.answers_x[i]), max(w.answers[i, K_AT], t + 1))
    _look_again(p, w, s, c, t, LAST)


@_jit
def _make_event(s, kind, at):  # type: ignore[no-untyped-def]
    """Adds an event that the contact's log does not have, behind those of the same instant (rule 1); its place."""
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


@_jit
def _look_again(p, w, s, c, t, row):  # type: ignore[no-untyped-def]
    """After events were made at t, behind (t, row): what they trigger, end and are awaited by (rule 13)."""
    for journey in range(p.sizes[N_JOURNEYS]):
        if p.journeys[journey, J_TRIGGER] == TRIGGER_EVENT and s.triggers[journey, G_AT] > t:
            _find_trigger(p, w, s, journey, c, t, row)
    for k in range(s.used[N_RUNNING]):
        e = s.running[k]
        if s.entries[e, E_LEAVE_AT] > t:
            own = max(row, s.entries[e, E_TRIGGER_ROW]) if s.entries[e, E_STARTED] == t else row  # rule 14
            _find_leave(p, w, s, e, c, t, own, NONE)
        if p.nodes[s.entries[e, E_NODE], N_OP] == OP_WAIT_FOR:
            s.entries[e, E_DUE] = min(s.entries[e, E_DUE], t)


@_in_place
def _step_decide(p, w, s, out, e, c, t):  # type: ignore[no-untyped-def]
    """Takes the first clause that holds."""
    node = s.entries[e, E_NODE]
    for k in range(p.nodes[node, A], p.nodes[node, B]):
        if _holds(p, w, s, out, p.clauses[k, 0], p.nodes[node, N_JOURNEY], e, c, t, NONE):
            return p.clauses[k, 1]
    return p.nodes[node, N_OTHER_EDGE]


@_jit
def _step_split(p, w, s, e, c):  # type: ignore[no-untyped-def]
    """Goes to the arm with the least -ln(u) / share (rule 22)."""
    node = s.entries[e, E_NODE]
    unit, best, edge = w.units[c], np.inf, np.int64(-1)
    if p.nodes[node, C] == 1:
        unit = mix(unit + np.uint64(s.entries[e, E_ENTRY]))
    for k in range(p.nodes[node, A], p.nodes[node, B]):
        if p.arms_x[k] > 0:
            score = -np.log(uniform(unit, np.uint64(p.arms[k, 0]))) / p.arms_x[k]
            if score < best:
                best, edge = score, p.arms[k, 1]
    return edge


@_jit
def _step_set(p, w, s, e, c, t):  # type: ignore[no-untyped-def]
    """Sets attributes, and looks where dates fall now."""
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
            _find_trigger(p, w, s, journey, c, t, LAST_ROW)
    return p.nodes[node, N_EDGE]


@_jit
def _step_call(p, w, s, out, e, c, t):  # type: ignore[no-untyped-def]
    """Goes on as the world answers the call; a call that it does not answer is assumed to succeed (rule 33)."""
    node = s.entries[e, E_NODE]
    n, edge = p.nodes[node], p.nodes[node, N_EDGE]
    _rests_on(s, ASSUMED)
    if w.asked_calls[n[A]] == 1:
        visit = s.memory[e * p.sizes[N_NODES] + node, M_VISITS]
        found = _answer(w, c, ASK_CALL, node, s.entries[e, E_ENTRY], visit, t)
        if found < 0:
            _ask(s, out, c, ASK_CALL, node, s.entries[e, E_ENTRY], visit, t)
            return NONE
        edge = edge if w.answers_x[found] != 0.0 else n[N_OTHER_EDGE]
    return edge


@_in_place
def _step_exit(p, w, s, out, record, e, t):  # type: ignore[no-untyped-def]
    """Ends the entry, or the part that the exit belongs to, which leaves by the branch of its `run` (rule 25)."""
    node = s.entries[e, E_NODE]
    run = p.nodes[node, N_RUN]
    _close_visit(p, w, s, out, record, e, node, t, NONE, BECAUSE_NOT)
    if run < 0:
        _end_entry(p, w, s, out, record, e, t, p.nodes[node, A])
        return NONE
    s.entries[e, E_NODE] = run
    return p.nodes[run, N_EDGE]


@_inlined
def _arrive(p, w, s, out, record, e, node, c, t):  # type: ignore[no-untyped-def]
    """Arrives at a node and notes when it has to be looked at; one visit too many ends the entry (rule 24)."""
    memory, operation = e * p.sizes[N_NODES] + node, p.nodes[node, N_OP]
    if s.memory[memory, M_VISITS] >= p.journeys[s.entries[e, E_JOURNEY], J_MAX_VISITS]:
        s.entries[e, E_NODE] = node
        _end_entry(p, w, s, out, record, e, t, p.journeys[s.entries[e, E_JOURNEY], J_MAX_VISITS_EXIT])
        return
    s.memory[memory, M_VISITS] += 1
    s.memory[memory, M_ARRIVED] = t
    s.entries[e, E_NODE], s.entries[e, E_ARRIVED] = node, t
    _open_visit(p, w, s, out, record, e, node, c, t)
    due = t
    if operation == OP_WAIT:
        due = t + p.nodes[node, A]
    elif operation == OP_WAIT_UNTIL:
        due = _until_due(p, w, s, node, c, t)
        s.entries[e, E_MISSING] = int(due == NEVER)
        due = t if due == NEVER else max(due, t)  # rule 5
    elif operation == OP_WAIT_FOR:
        s.entries[e, E_SEEN_AT], s.entries[e, E_SEEN_OWN] = -NEVER, 0
        due = _wait_due(p, w, s, e, c, t)
    s.entries[e, E_DUE] = due


@_in_place
def _step(p, w, s, out, record, e, c, t):  # type: ignore[no-untyped-def]
    """Does what the entry's node does at t, once; it leaves by a branch unless it stays, ends or asks."""
    s.used[N_EVIDENCE], s.used[N_REASON] = OBSERVED, BECAUSE_NOT
    node = s.entries[e, E_NODE]
    operation, edge, made = p.nodes[node, N_OP], p.nodes[node, N_EDGE], NONE
    resumes = _resumes(p, s.entries[e, E_JOURNEY], t)
    if resumes != t:
        s.entries[e, E_DUE], edge = resumes, NONE
    elif operation == OP_SEND:
        edge = _step_send(p, w, s, out, e, c, t)
    elif operation == OP_WAIT_FOR:
        edge = _step_wait_for(p, w, s, out, e, c, t)
    elif operation == OP_DECIDE:
        edge = _step_decide(p, w, s, out, e, c, t)
    elif operation == OP_SPLIT:
        edge = _step_split(p, w, s, e, c)
    elif operation == OP_EXIT:
        edge = _step_exit(p, w, s, out, record, e, t)
    elif operation == OP_SET:
        edge = _step_set(p, w, s, e, c, t)
    elif operation == OP_CALL:
        edge = _step_call(p, w, s, out, e, c, t)
    elif operation == OP_EMIT:
        made = _make_event(s, p.nodes[node, A], t)
    elif operation == OP_WAIT_UNTIL and s.entries[e, E_MISSING] == 1 and p.nodes[node, N_OTHER_EDGE] >= 0:
        edge = p.nodes[node, N_OTHER_EDGE]
    if edge < 0 or s.used[N_STATUS] != DONE:
        return
    target = p.edges[edge]
    if operation == OP_RUN and resumes == t:
        target = p.nodes[node, A]  # into the part; its exit closes the visit
    else:
        _close_visit(p, w, s, out, record, e, s.entries[e, E_NODE], t, edge, s.used[N_REASON])
    _arrive(p, w, s, out, record, e, target, c, t)
    if made >= 0:
        _look_again(p, w, s, c, t, OWN_ROW + made - 1)


# The order of time: at one instant leaving comes first, then entering, then everything else, one step at a time by
# the order of the running entries (rules 13 and 21). Whatever is due is due now or later, so that the least instant of
# all is the next.


@_jit
def _come_and_go(p, w, s, out, record, c, t):  # type: ignore[no-untyped-def]
    """Everybody who leaves at t, then every trigger at t, each once, in the contact's order."""
    k = 0
    while k < s.used[N_RUNNING]:
        if not _leave(p, w, s, out, record, s.running[k], c, t):
            k += 1
    for journey in range(p.sizes[N_JOURNEYS]):
        while s.triggers[journey, G_AT] == t and s.used[N_STATUS] == DONE:
            row = s.triggers[journey, G_ROW]
            if _may_enter(p, w, s, out, journey, c, t, row):
                _enter(p, w, s, out, record, journey, c, t, row)
            spent = p.journeys[journey, J_REENTRY] == REENTRY_NEVER
            if spent and s.groups[p.journeys[journey, J_GROUP], H_ENTRIES] > 0:
                s.triggers[journey, G_AT] = NEVER
            else:
                _find_trigger(p, w, s, journey, c, t, row)


@_inlined
def _is_triggered(p, w, s, c):  # type: ignore[no-untyped-def]
    """Notes each journey's first trigger; whether there is any."""
    first_at = NEVER
    s.used[N_OWN] = s.used[N_SET] = 0
    for journey in range(p.sizes[N_JOURNEYS]):
        if p.journeys[journey, J_TRIGGER] == TRIGGER_EVENT:
            s.triggers[journey, G_AT], s.triggers[journey, G_ROW] = _first(w, p.journeys[journey, J_STREAM], c)
        else:
            _find_trigger(p, w, s, journey, c, -NEVER, LAST)
        first_at = min(first_at, s.triggers[journey, G_AT])
    return first_at != NEVER


@_in_place
def _advance_contact(p, w, s, out, record, c):  # type: ignore[no-untyped-def]
    """Advances one contact from its beginning to the horizon, which still happens (rule 35)."""
    for k in range(N_USED):
        s.used[k] = 0
    for journey in range(p.sizes[N_JOURNEYS]):
        for k in range(H_COLUMNS):
            s.groups[journey, k] = 0
    while s.used[N_STATUS] == DONE:
        change_at, due_at, due = NEVER, NEVER, NONE
        for journey in range(p.sizes[N_JOURNEYS]):
            change_at = min(change_at, s.triggers[journey, G_AT])
        for k in range(s.used[N_RUNNING]):
            e = s.running[k]
            change_at = min(change_at, s.entries[e, E_LEAVE_AT])
            if s.entries[e, E_DUE] < due_at:
                due_at, due = s.entries[e, E_DUE], e
        if min(change_at, due_at) > w.limits[L_UNTIL]:
            break
        if change_at <= due_at:
            _come_and_go(p, w, s, out, record, c, change_at)
        else:
            _step(p, w, s, out, record, due, c, due_at)
    if s.used[N_STATUS] != DONE:
        return
    for k in range(s.used[N_RUNNING]):
        e = s.running[k]
        out.n_by_journey[s.entries[e, E_JOURNEY], T_INSIDE] += 1
        node = s.entries[e, E_NODE]
        while node >= 0:
            out.n_by_node[node, INSIDE] += 1
            node = p.nodes[node, N_RUN]
    for journey in range(p.sizes[N_JOURNEYS]):
        if s.groups[journey, H_ENTRIES] > 0:
            out.used[O_CONTACTS] += 1
            break


@_entry_point
def _advance(program, world, state, output, record, contacts, start, end):  # type: ignore[no-untyped-def]
    p, w, s, out = _program(program), _world(world), _state(state), _out(output)
    for i in range(start, end):
        c = contacts[i] if contacts.shape[0] > 0 else i
        if not _is_triggered(p, w, s, c):
            continue
        n_visits, n_entries = out.used[O_VISITS], out.used[O_ENTRIES]
        _advance_contact(p, w, s, out, record, c)
        if s.used[N_STATUS] == TOO_SMALL:
            return False
        if s.used[N_STATUS] == ASKED:
            out.used[O_VISITS], out.used[O_ENTRIES] = n_visits, n_entries
    return True


def advance(
    program: Program,
    world: World,
    state: State,
    out: Out,
    *,
    record: bool,
    contacts: NDArray[np.int64],
    start: int,
    end: int,
) -> bool:
    """Advances contacts[start:end] (contacts start to end where `contacts` is empty); whether there was room.

    A contact with an unanswered request leaves nothing but the request behind. Where False is returned, nothing in
    `out` counts: the caller makes more room in `state` and `out` and advances the same contacts again.
    """
    groups = [addresses(group) for group in (program, world, state, out)]
    return bool(_advance(*map(opened, groups), record, contacts, start, end))
