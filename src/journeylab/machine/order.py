"""The order of time: what comes next for a contact, and the contacts one after the other."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from journeylab.clock import NEVER
from journeylab.layout import *
from journeylab.layout import Program, World
from journeylab.memory import addresses, opened

from .entries import enter, find_trigger, leave, may_enter
from .past import first_event, has_refused
from .state import *
from .steps import arrive, say_due, step

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

# The order of time: at one instant leaving comes first, then entering, then everything else, one step at a time by
# the order of the running entries (rules 13 and 21). Whatever is due is due now or later, so that the least instant of
# all is the next.


@in_place
def _come_and_go(p, w, s, out, record, c, t):  # type: ignore[no-untyped-def]
    """Everybody who leaves at t, then every trigger at t, each once, in the contact's order."""
    k = 0
    while k < s.used[N_RUNNING]:
        if not leave(p, w, s, out, record, s.running[k], c, t):
            k += 1
    for journey in range(p.sizes[N_JOURNEYS]):
        while s.triggers[journey, G_AT] == t and s.used[N_STATUS] == DONE:
            row = s.triggers[journey, G_ROW]
            if may_enter(p, w, s, out, journey, c, t, row):
                e = enter(p, w, s, out, record, journey, c, t, row)
                if e >= 0:
                    arrive(p, w, s, out, record, e, p.journeys[journey, J_FIRST_NODE], c, t)
            spent = p.journeys[journey, J_REENTRY] == REENTRY_NEVER
            if spent and s.groups[p.journeys[journey, J_GROUP], H_ENTRIES] > 0:
                s.triggers[journey, G_AT] = NEVER
            else:
                find_trigger(p, w, s, journey, c, t, row)


@inlined
def _begin(p, w, s, c):  # type: ignore[no-untyped-def]
    """Notes that no journey has had an entry, and each one's first trigger; whether there may be any."""
    s.used[N_OWN] = s.used[N_SET] = 0
    found = False
    for journey in range(p.sizes[N_JOURNEYS]):
        for k in range(H_COLUMNS):
            s.groups[journey, k] = 0
        if p.journeys[journey, J_TRIGGER] == TRIGGER_EVENT:
            at, row = first_event(w, p.journeys[journey, J_STREAM], c)
            s.triggers[journey, G_AT], s.triggers[journey, G_ROW] = at, row
            found |= at != NEVER
        else:
            find_trigger(p, w, s, journey, c, -NEVER, LAST)
            found = True
    return found


@in_place
def _advance_contact(p, w, s, out, record, c, place, first):  # type: ignore[no-untyped-def]
    """Advances one that has begun, `place - first` of the chunk, to the horizon, which still happens (rule 35)."""
    for k in range(N_USED):
        s.used[k] = 0
    s.used[N_PLACE] = place
    s.used[N_CLEAR] = int(not has_refused(p, w, c))
    while s.used[N_STATUS] == DONE:
        change_at, due_at, due, next_at = NEVER, NEVER, NONE, w.limits[L_UNTIL] + 1
        for journey in range(p.sizes[N_JOURNEYS]):
            change_at = min(change_at, s.triggers[journey, G_AT])
        for k in range(s.used[N_RUNNING]):
            e = s.running[k]
            change_at = min(change_at, s.entries[e, E_LEAVE_AT])
            if s.entries[e, E_DUE] < due_at:
                next_at = min(next_at, due_at)
                due_at, due = s.entries[e, E_DUE], e
            else:
                next_at = min(next_at, s.entries[e, E_DUE])
        if min(change_at, due_at) > w.limits[L_UNTIL]:
            if place - first < out.room[ROOM_NEXT]:
                out.next_at[place - first] = min(change_at, due_at)
            break
        if change_at <= due_at:
            _come_and_go(p, w, s, out, record, c, change_at)
        else:
            step(p, w, s, out, record, due, c, due_at, min(change_at, next_at))
    if s.used[N_STATUS] != DONE:
        return
    for k in range(s.used[N_RUNNING]):
        e = s.running[k]
        if w.limits[L_LIVE] == 1:
            say_due(p, s, out, e)
        out.n_by_journey[s.entries[e, E_JOURNEY], T_INSIDE] += 1
        node = s.entries[e, E_NODE]
        while node >= 0:
            out.n_by_node[node, INSIDE] += 1
            node = p.nodes[node, N_RUN]
    for journey in range(p.sizes[N_JOURNEYS]):
        if s.groups[journey, H_ENTRIES] > 0:
            out.used[O_CONTACTS] += 1
            break
    out.used[O_BY_FALLBACK] += s.used[N_BY_FALLBACK]
    out.used[O_FALLBACK_CONTACTS] += int(s.used[N_BY_FALLBACK] > 0)


@jit
def _swap_table(kept, counts, n, columns, first, restore):  # type: ignore[no-untyped-def]
    for i in range(n):
        for k in range(columns):
            if restore == 1:
                counts[i, k] = kept[first + i * columns + k]
            else:
                kept[first + i * columns + k] = counts[i, k]
    return first + n * columns


@jit
def _keep_counts(p, s, out, restore):  # type: ignore[no-untyped-def]
    """Keeps the counts before a contact that may ask, or brings them back after it has: it will be advanced again."""
    rare()
    n = _swap_table(s.kept, out.n_by_edge, p.sizes[N_EDGES], 3, 0, restore)
    n = _swap_table(s.kept, out.n_by_node, p.sizes[N_NODES], 2, n, restore)
    n = _swap_table(s.kept, out.n_by_journey, p.sizes[N_JOURNEYS], T_COLUMNS, n, restore)
    for i in range(p.sizes[N_EXITS]):
        if restore == 1:
            out.n_by_exit[i] = s.kept[n + i]
        else:
            s.kept[n + i] = out.n_by_exit[i]


@entry_point
def _advance(program, world, state, output, record, contacts, group, start, end):  # type: ignore[no-untyped-def]
    p, w, s, out = open_program(program, 0), open_world(world, 0), open_state(state, 0), open_out(output, 0)
    for i in range(start, end):
        c = contacts[i] if contacts.shape[0] > 0 else i
        if not _begin(p, w, s, c):
            continue
        if group.shape[0] > 0:
            out = open_out(output, group[i])
        n_visits, n_entries, n_choices = out.used[O_VISITS], out.used[O_ENTRIES], out.used[O_CHOICES]
        if w.limits[L_ASK_SENDS] == 1:
            _keep_counts(p, s, out, ZERO)
        _advance_contact(p, w, s, out, record, c, i, start)
        if s.used[N_STATUS] == TOO_SMALL:
            return False
        if s.used[N_STATUS] == ASKED:
            out.used[O_VISITS], out.used[O_ENTRIES], out.used[O_CHOICES] = n_visits, n_entries, n_choices
            if w.limits[L_ASK_SENDS] == 1:
                _keep_counts(p, s, out, -NONE)
    return True


Given = tuple[Any, Any]
"""A program and the world that it runs on, as the compiled machine takes them."""


def given(program: Program, world: World) -> Given:
    """What `advance` takes for a program and a world, for any number of calls."""
    return addresses(program, PROGRAM), addresses(world, WORLD)


def advance(
    given: Given,
    state: State,
    out: Out,
    *,
    record: bool,
    contacts: NDArray[np.int64],
    bounds: tuple[int, int],
    group: NDArray[np.int64],
    n_groups: int,
) -> bool:
    """Advances the contacts in `bounds` (of those listed, of all where none are listed); whether there was room.

    `group` says in which group each is counted; where it is empty there is one.

    A contact with an unanswered request leaves nothing but the request behind. Where False is returned, nothing in
    `out` counts: the caller makes more room in `state` and `out` and advances the same contacts again.
    """
    tables = *given, addresses(state, STATE), addresses(out, OUT, n=n_groups, shared_out=BY_GROUP)
    return bool(_advance(*map(opened, tables), record, contacts, group, *bounds))


def is_compiled() -> bool:
    """Whether this version of the machine is compiled, by this process or by an earlier one, whose work is on disk."""
    if _advance.signatures:
        return True
    return any(Path(_advance.stats.cache_path).glob(f"order._advance-{FINGERPRINT}-*.nbi"))
