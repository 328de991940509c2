"""Conditions and memberships as of an instant, and what only the world can answer: requests and their answers."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from journeylab.clock import DAY, NEVER, local
from journeylab.layout import *
from journeylab.layout import Program, World
from journeylab.memory import addresses, opened

from .past import aggregate, as_of, latest_event, next_instant, property_of, zone_of
from .state import *

if TYPE_CHECKING:
    from numpy.typing import NDArray

# Conditions.


@inlined
def _true(value):  # type: ignore[no-untyped-def]
    return value == value and value != 0.0


@jit
def _find_answer(w, place, kind, name, entry, visit, t):  # type: ignore[no-untyped-def]
    rare()
    for i in range(w.answer_offsets[place], w.answer_offsets[place + 1]):
        if (
            w.answers[i, K_KIND] == kind
            and w.answers[i, K_ID] == name
            and w.answers[i, K_ENTRY] == entry
            and w.answers[i, K_VISIT] == visit
            and (t == NEVER or w.answers[i, K_AT] == t)
        ):
            return np.int64(i)
    return NONE


@inlined
def answer_to(w, s, kind, name, entry, visit, t):  # type: ignore[no-untyped-def]
    """The place of the world's answer, -1 where there is none; `t` of NEVER fits any instant."""
    return _find_answer(w, s.used[N_PLACE], kind, name, entry, visit, t) if w.limits[L_HAS_ANSWERS] == 1 else NONE


@jit
def ask(s, out, kind, name, entry, visit, t):  # type: ignore[no-untyped-def]
    """Records a request; the contact is advanced again when the world has answered."""
    rare()
    s.used[N_STATUS] = ASKED
    i = out.used[O_REQUESTS]
    if i >= out.room[ROOM_REQUESTS]:
        s.used[N_STATUS] = TOO_SMALL
        return
    out.requests[i, 0] = s.used[N_PLACE]
    out.requests[i, 1 + K_KIND] = kind
    out.requests[i, 1 + K_ID] = name
    out.requests[i, 1 + K_ENTRY] = entry
    out.requests[i, 1 + K_VISIT] = visit
    out.requests[i, 1 + K_AT] = t
    out.used[O_REQUESTS] = i + 1


@inlined
def rests_on(s, evidence):  # type: ignore[no-untyped-def]
    s.used[N_EVIDENCE] = max(s.used[N_EVIDENCE], evidence)


@inlined
def first_evidence(s):  # type: ignore[no-untyped-def]
    """What a step rests on before it looks at anything: once a model has answered, all that follows is predicted."""
    return PREDICTED if s.used[N_PREDICTED] == 1 else OBSERVED


@inlined
def sent_at(p, s, e, node):  # type: ignore[no-untyped-def]
    """When the node last sent its message in the entry; NEVER if it did not."""
    memory = e * p.sizes[N_NODES] + node
    return s.memory[memory, M_SENT] if s.memory[memory, M_VISITS] > 0 else NEVER


@inlined
def rests_on_silence(p, s, e, node):  # type: ignore[no-untyped-def]
    """That a message was not responded to is assumed where the log has no such send (rule 33)."""
    if sent_at(p, s, e, node) != NEVER and s.memory[e * p.sizes[N_NODES] + node, M_MATCHED] == 0:
        rests_on(s, ASSUMED)


@jit
def responded(p, w, s, e, node, stream, c, t):  # type: ignore[no-untyped-def]
    """Whether the node's message had that response by t (rule 9); silence on an unmatched send is assumed (rule 33)."""
    apart()
    sent = sent_at(p, s, e, node)
    if sent == NEVER:
        return False
    if next_instant(w, s, stream, c, sent) <= t:
        return True
    rests_on_silence(p, s, e, node)
    return False


@in_place
def _score(w, s, out, name, c, t):  # type: ignore[no-untyped-def]
    """A score as of t: given as a table, or asked of the world."""
    rests_on(s, PREDICTED)
    if w.scores[name, 0] != 0:
        return as_of(w.scores, s, name, NONE, c, t)
    found = answer_to(w, s, ASK_SCORE, name, NONE, NONE, t)
    if found >= 0:
        return w.answers_x[found]
    ask(s, out, ASK_SCORE, name, NONE, NONE, t)
    return np.nan


@in_place
def _push(p, w, s, out, i, journey, e, c, t, row):  # type: ignore[no-untyped-def]
    """The value of an operation that takes nothing from the stack."""
    operation, a, b = p.code[i, 0], p.code[i, 1], p.code[i, 2]
    if operation == PUSH:
        return p.code_x[i]
    if operation == ATTRIBUTE:
        return as_of(w.attributes, s, a, a, c, t)
    if operation == EVENT_PROPERTY:
        value = property_of(w, s, a, row)
        if value != value and b >= 0:
            value = as_of(w.attributes, s, b, b, c, t)
        return value
    if operation == ENTRY_PROPERTY:
        return property_of(w, s, a, row if e < 0 else s.entries[e, E_TRIGGER_ROW])
    if operation <= MAX:
        return aggregate(w, s, operation, a, b, p.code_x[i], c, t)
    if operation == SINCE_FIRST:
        at = next_instant(w, s, a, c, -NEVER)
        return float(t - at) if at <= t else np.nan
    if operation <= SINCE:
        at, at_row = latest_event(w, s, a, c, t)
        if at == -NEVER or (p.code_x[i] != np.inf and at <= t - np.int64(p.code_x[i])):
            return np.nan
        return float(t - at) if operation == SINCE else property_of(w, s, b, at_row)
    if operation == SENT:
        return 1.0 if sent_at(p, s, e, a) != NEVER else 0.0
    if operation == RESPONSE:
        return 1.0 if responded(p, w, s, e, a, b, c, t) else 0.0
    if operation == SCORE:
        return _score(w, s, out, a, c, t)
    wall = local(w.zones, zone_of(p, w, s, journey, c, t), t)
    if operation == LOCAL_HOUR:
        return float(wall // HOUR % 24)
    return float((wall // DAY + 3) % 7)


@in_place
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


@in_place
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


@jit
def value_of(p, w, s, out, condition, journey, e, c, t, row):  # type: ignore[no-untyped-def]
    """The value of a condition or a membership as of t; `e` and `row` are -1 where there is no entry or event."""
    apart()
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


@jit
def holds(p, w, s, out, condition, journey, e, c, t, row):  # type: ignore[no-untyped-def]
    return condition < 0 or value_of(p, w, s, out, condition, journey, e, c, t, row) != 0.0


@entry_point
def _select(program, world, state, output, condition, rows, keep):  # type: ignore[no-untyped-def]
    p, w, s, out = open_program(program, 0), open_world(world, 0), open_state(state, 0), open_out(output, 0)
    for i in range(rows.shape[0]):
        keep[i] = value_of(p, w, s, out, condition, ZERO, NONE, ZERO, ZERO, rows[i]) != 0.0


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
    groups = addresses(program, PROGRAM), addresses(world, WORLD), addresses(state, STATE), addresses(out, OUT)
    _select(*map(opened, groups), condition, rows, keep)


@entry_point
def _evaluate(program, world, state, output, condition, contacts, at, values):  # type: ignore[no-untyped-def]
    p, w, s, out = open_program(program, 0), open_world(world, 0), open_state(state, 0), open_out(output, 0)
    for i in range(values.shape[0]):
        values[i] = value_of(p, w, s, out, condition, ZERO, NONE, contacts[i], at[i], NONE)


def evaluate(
    program: Program,
    world: World,
    state: State,
    out: Out,
    condition: int,
    contacts: NDArray[np.int64],
    at: NDArray[np.int64],
    values: NDArray[np.float64],
) -> None:
    """Writes into `values` what a condition, a membership or a value is for contacts, each as of an instant."""
    groups = addresses(program, PROGRAM), addresses(world, WORLD), addresses(state, STATE), addresses(out, OUT)
    _evaluate(*map(opened, groups), condition, contacts, at, values)
