"""How an entry goes from node to node: arriving, doing what the node does, leaving by a branch."""

from __future__ import annotations

from journeylab.clock import NEVER
from journeylab.layout import *

from .entries import close_visit, end_entry, open_visit, resumed_at
from .evaluation import ask, first_evidence
from .nodes import (
    awaited_edge,
    is_sent_in_log,
    look_again,
    make_event,
    next_awaited,
    note_send,
    note_wait,
    step_call,
    step_decide,
    step_exit,
    step_send,
    step_set,
    step_split,
    step_wait_for,
    until_due,
    wait,
)
from .past import is_clear
from .state import *


@inlined
def _note_arrival(p, w, s, out, record, e, node, t, visits):  # type: ignore[no-untyped-def]
    """Notes that the entry is at a node, which it has visited so often before."""
    memory = e * p.sizes[N_NODES] + node
    if visits == 0:
        s.memory[memory, M_SENT] = NEVER
    s.memory[memory, M_VISITS], s.memory[memory, M_ARRIVED] = visits + 1, t
    s.entries[e, E_NODE], s.entries[e, E_ARRIVED] = node, t
    open_visit(p, w, s, out, record, e, node, t)


@inlined
def arrive(p, w, s, out, record, e, node, c, t):  # type: ignore[no-untyped-def]
    """Arrives at a node and notes when it has to be looked at; one visit too many ends the entry (rule 24).

    That instant, NEVER where the entry has ended.
    """
    journey, operation = s.entries[e, E_JOURNEY], p.nodes[node, N_OP]
    visits = s.memory[e * p.sizes[N_NODES] + node, M_VISITS]
    if visits >= p.journeys[journey, J_MAX_VISITS]:
        s.entries[e, E_NODE] = node
        end_entry(p, w, s, out, record, e, t, p.journeys[journey, J_MAX_VISITS_EXIT])
        return NEVER
    _note_arrival(p, w, s, out, record, e, node, t, visits)
    due = t
    if operation == OP_WAIT:
        due = t + p.nodes[node, A]
    elif operation == OP_WAIT_UNTIL:
        due = until_due(p, w, s, node, c, t)
        s.entries[e, E_MISSING] = int(due == NEVER)
        due = t if due == NEVER else max(due, t)  # rule 5
    elif operation == OP_WAIT_FOR:
        due = wait(p, w, s, e, c, t, -NEVER, ZERO)
    elif w.limits[L_LIVE] == 1:
        s.entries[e, E_SEEN_AT] = NEVER
    s.entries[e, E_DUE] = due
    return due


@jit
def _arrive_apart(p, w, s, out, record, e, node, c, t):  # type: ignore[no-untyped-def]
    """The same as a function of its own, for where it is rare."""
    rare()
    return arrive(p, w, s, out, record, e, node, c, t)


@jit
def say_due(p, s, out, e):  # type: ignore[no-untyped-def]
    """Says of an entry at a send or a call when it is due, or since when it waits for somebody to make it."""
    rare()
    node = s.entries[e, E_NODE]
    operation, at = p.nodes[node, N_OP], s.entries[e, E_DUE]
    if at == NEVER:
        at = s.entries[e, E_SEEN_AT]
    if operation == OP_CALL or (operation == OP_SEND and s.entries[e, E_HELD] == 0):
        visit = s.memory[e * p.sizes[N_NODES] + node, M_VISITS]
        ask(s, out, DUE, node, s.entries[e, E_ENTRY], visit, at)
        if s.used[N_STATUS] == ASKED:
            s.used[N_STATUS] = DONE


@inlined
def _is_free(p, w, s, e):  # type: ignore[no-untyped-def]
    """Whether nothing can hold the entry up, whatever the time: no gate, no pause, and nobody who is asked."""
    is_alone = w.limits[L_HAS_ANSWERS] == 0 and w.limits[L_ASK_SENDS] == 0 and w.limits[L_LIVE] == 0
    is_open = p.journeys[s.entries[e, E_JOURNEY], J_OPEN] == 1
    return is_alone and is_open and is_clear(s) and s.entries[e, E_HELD] == 0


@inlined
def _run_free(p, w, s, out, record, e, c, t, until):  # type: ignore[no-untyped-def]
    """Takes a free entry from node to node: `step` without all that cannot be, so that its state stays in registers.

    When it is due where it then stands: at `until` or later, or at a node that is not plain; NEVER where it has ended.
    """
    first, most = e * p.sizes[N_NODES], p.journeys[s.entries[e, E_JOURNEY], J_MAX_VISITS]
    node, awaited, awaited_at = s.entries[e, E_NODE], s.entries[e, E_AWAITED], s.entries[e, E_AWAITED_AT]
    operation = p.nodes[node, N_OP]
    while True:
        edge = p.nodes[node, N_EDGE]
        s.used[N_EVIDENCE] = OBSERVED
        if operation == OP_SEND:
            edge = note_send(p, s, first, node, t, is_sent_in_log(p, w, s, node, c, t))
        elif operation == OP_WAIT_FOR:
            edge = awaited_edge(p, w, s, e, node, c, t, awaited if awaited_at <= t else NONE, is_known=True)
        elif operation == OP_DECIDE:
            edge = step_decide(p, w, s, out, node, e, c, t)
            if s.used[N_STATUS] != DONE:
                return t
        elif operation == OP_SPLIT:
            edge = step_split(p, w, s, e, c)
        elif operation == OP_EXIT:
            step_exit(p, w, s, out, record, e, t)
            return NEVER
        close_visit(p, w, s, out, record, e, node, t, edge, BECAUSE_NOT)
        node = p.edges[edge]
        visits, operation = s.memory[first + node, M_VISITS], p.nodes[node, N_OP]
        if p.nodes[node, N_PLAIN] == 0 or visits >= most:
            return _arrive_apart(p, w, s, out, record, e, node, c, t)
        _note_arrival(p, w, s, out, record, e, node, t, visits)
        if operation == OP_WAIT:
            t += p.nodes[node, A]
        elif operation == OP_WAIT_FOR:
            awaited, awaited_at = next_awaited(p, w, s, e, node, c, -NEVER)
            t = max(min(t + p.nodes[node, A], awaited_at), t)
        if t >= until or s.used[N_STATUS] != DONE:
            if operation == OP_WAIT_FOR:
                note_wait(p, s, e, node, -NEVER, ZERO, awaited, awaited_at)
            s.entries[e, E_DUE] = t
            return t


@inlined
def _disturbs(w, operation):  # type: ignore[no-untyped-def]
    """Whether what a node does may change what is due for others: events made, attributes set."""
    return operation in (OP_EMIT, OP_SET) or (operation == OP_SEND and w.limits[L_ASK_SENDS] == 1)


@jit
def _run(p, w, s, out, record, e, c, t, until):  # type: ignore[no-untyped-def]
    """Takes an entry from node to node; it leaves one by a branch unless it stays, ends or asks."""
    apart()
    journey = s.entries[e, E_JOURNEY]
    has_pauses = p.journeys[journey, J_PAUSES] < p.journeys[journey, J_PAUSES_END]
    while True:
        node = s.entries[e, E_NODE]
        operation, edge, made = p.nodes[node, N_OP], p.nodes[node, N_EDGE], NONE
        s.used[N_EVIDENCE] = first_evidence(s)
        if has_pauses and resumed_at(p, journey, t) != t:
            s.entries[e, E_DUE], edge = resumed_at(p, journey, t), NONE
        elif operation == OP_SEND:
            edge = step_send(p, w, s, out, record, e, c, t)
        elif operation == OP_WAIT_FOR:
            edge = step_wait_for(p, w, s, out, e, c, t)
        elif operation == OP_DECIDE:
            edge = step_decide(p, w, s, out, node, e, c, t)
        elif operation == OP_SPLIT:
            edge = step_split(p, w, s, e, c)
        elif operation == OP_EXIT:
            edge = step_exit(p, w, s, out, record, e, t)
        elif operation == OP_SET:
            edge = step_set(p, w, s, e, c, t)
        elif operation == OP_CALL:
            edge = step_call(p, w, s, out, e, t)
        elif operation == OP_EMIT:
            made = make_event(s, p.nodes[node, A], t)
        elif operation == OP_WAIT_UNTIL and s.entries[e, E_MISSING] == 1 and p.nodes[node, N_OTHER_EDGE] >= 0:
            edge = p.nodes[node, N_OTHER_EDGE]
        if edge < 0 or s.used[N_STATUS] != DONE:
            return
        target = p.edges[edge]
        if operation == OP_RUN:
            target = p.nodes[node, A]  # into the part; its exit closes the visit
        else:
            reason = s.used[N_REASON] if operation == OP_SEND else BECAUSE_NOT
            close_visit(p, w, s, out, record, e, s.entries[e, E_NODE], t, edge, reason)
        due = arrive(p, w, s, out, record, e, target, c, t)
        if made >= 0:
            look_again(p, w, s, c, t, OWN_ROW + made - 1)
        if due >= until or _disturbs(w, operation):
            return
        t = due


@inlined
def step(p, w, s, out, record, e, c, t, until):  # type: ignore[no-untyped-def]
    """Does what the entry's node does at t, whatever `until`, and what the next ones do that are due before it."""
    if _is_free(p, w, s, e) and p.nodes[s.entries[e, E_NODE], N_PLAIN] == 1:
        t = _run_free(p, w, s, out, record, e, c, t, until)
        if t >= until or s.used[N_STATUS] != DONE:
            return
    _run(p, w, s, out, record, e, c, t, until)
