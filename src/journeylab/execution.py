"""Running a compiled program over all contacts: threads, room, and the rounds of requests and answers.

Contacts are independent (rule 27), so they are advanced in chunks, on as many threads as there are processors. A
world that is asked answers a round of requests at once; the contacts that asked are then advanced again from their
beginning, until none asks. The machine itself knows nothing of this.
"""

from __future__ import annotations

import itertools
import os
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import numpy as np

from . import layout as o
from .machine import (
    O_ENTRIES,
    O_REQUESTS,
    O_VISITS,
    Given,
    Out,
    Rows,
    State,
    advance,
    given,
    new_out,
    new_rows,
    new_state,
)
from .progress import Tell

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = [
    "Answer", "Answers", "Asked", "Recorded", "Request", "answered", "asked", "chunks", "due", "in_parts", "in_rounds",
    "n_processors", "no_answers_yet", "offsets_of", "on_threads", "recorded", "rooms", "rows_of", "run",
    "use_processors", "with_answers",
]  # fmt: skip

CHUNK = 1 << 15
T = TypeVar("T")


class Request(NamedTuple):
    """What the machine asks of its world: a `kind` of layout.ASK_*, for a contact at an instant.

    `name` is the node (sends, calls) or the score; `entry` and `visit` are -1 for scores.
    """

    contact: int
    kind: int
    name: int
    entry: int
    visit: int
    at: int


class Answer(NamedTuple):
    """An answer to a request: a value, and for each response to a send its kind and the instant at which it comes."""

    request: Request
    value: float
    at: int


class _Run(NamedTuple):
    """What all chunks of a run share; `states` are those that no thread uses at the moment."""

    program: o.Program
    n_exits: int
    given: Given
    n_requests: int
    n_next: int
    contacts: NDArray[np.int64]
    group: NDArray[np.int64]
    n_groups: int
    states: deque[State]


def _chunk(of: _Run, bounds: tuple[int, int], rows: Rows | None, record: bool) -> Out:
    """What happens to one chunk of contacts, given all the room that they need: of rows, that which is given first."""
    n, program = bounds[1] - bounds[0], of.program
    state = of.states.pop() if of.states else new_state(program, 8)
    if record and rows is None:
        rows = new_rows(program, max(64, 4 * n), max(64, 2 * n))
    out = new_out(program, of.n_exits, rows, max(64, n * of.n_requests), n * of.n_next, of.n_groups)
    while not advance(
        of.given, state, out, record=record, contacts=of.contacts, bounds=bounds, group=of.group, n_groups=of.n_groups
    ):
        state = new_state(program, 2 * len(state.running))
        rows = new_rows(program, 64 + 2 * len(out.visits), 64 + 2 * len(out.entries))
        out = new_out(program, of.n_exits, rows, 2 * len(out.requests), len(out.next_at), of.n_groups)
    of.states.append(state)
    return out


_allotted: int | None = None


def use_processors(n: int) -> None:
    """Lets this process run so many threads at once: where it shares its machine with others like it."""
    global _allotted
    _allotted = n


def n_processors() -> int:
    """How many threads can run at once."""
    if _allotted is not None:
        return _allotted
    return (os.process_cpu_count() if hasattr(os, "process_cpu_count") else os.cpu_count()) or 1


def in_parts(work: Callable[[int, int], T], n: int, least: int | None = None) -> list[T]:
    """What compiled work makes of each part of 0..n, in order, on as many threads as there are processors.

    A part has `least` at the least, else as many as a chunk of contacts.
    """
    return on_threads(lambda bounds: work(*bounds), chunks(n, CHUNK if least is None else least))


def on_threads(work: Callable[[Any], T], parts: Sequence[Any]) -> list[T]:
    """What compiled work makes of each part, in order, on as many threads as there are processors; one part on this."""
    if len(parts) <= 1:
        return [work(one) for one in parts]
    with ThreadPoolExecutor(n_processors()) as pool:
        return list(pool.map(work, parts))


def chunks(n: int, least: int) -> list[tuple[int, int]]:
    """The chunks in which so many contacts are advanced, each of so many at the least.

    However many there are, each thread has some chunks, so that none waits long for another's last.
    """
    size = max(least, n // (8 * n_processors()) + 1)
    return [(first, min(first + size, n)) for first in range(0, n, size)]


def run(
    program: o.Program,
    world: o.World,
    n_exits: int,
    n_contacts: int,
    *,
    record: bool,
    contacts: NDArray[np.int64] | None = None,
    group: NDArray[np.int64] | None = None,
    n_groups: int = 1,
    rooms: Sequence[tuple[int, int]] | None = None,
    progress: Tell | None = None,
) -> list[Out]:
    """What happens to all contacts (or those given by index), in the order of the chunks.

    `group` says in which of `n_groups` groups each is counted, `rooms` how many visits and entries each chunk will
    have, where an earlier run has counted them.
    """
    is_live, none = int(world.limits[o.L_LIVE]), np.empty(0, np.int64)
    of = _Run(
        program, n_exits, given(program, world), max(int(world.limits[o.L_ASK_SENDS]), is_live), is_live,
        none if contacts is None else contacts, none if group is None else group, n_groups, deque(),
    )  # fmt: skip
    total = n_contacts if contacts is None else len(contacts)
    bounds = chunks(total, CHUNK)
    rows = _parts(program, rooms) if rooms else [None] * len(bounds)

    def work(one: tuple[int, int], rows: Rows | None) -> Out:
        return _chunk(of, one, rows, record)

    # Handing few contacts to threads takes longer than advancing them.
    n_threads = min(len(bounds), n_processors(), 1 + total // CHUNK)
    if n_threads <= 1:
        return _collect(map(work, bounds, rows), bounds, total, progress)
    with ThreadPoolExecutor(n_threads) as pool:
        return _collect(pool.map(work, bounds, rows), bounds, total, progress)


def _parts(program: o.Program, rooms: Sequence[tuple[int, int]]) -> Sequence[Rows]:
    """The part of each chunk of tables that just have room for all: large ones cost fewer page faults than many."""
    visits, entries = (np.cumsum([0, *one]).tolist() for one in zip(*rooms, strict=True))
    whole = new_rows(program, visits[-1], entries[-1])
    spans = zip(itertools.pairwise(visits), itertools.pairwise(entries), strict=True)
    return [whole.part(slice(*of_visits), slice(*of_entries)) for of_visits, of_entries in spans]


def _collect(results: Iterable[Out], bounds: Sequence[tuple[int, int]], total: int, progress: Tell | None) -> list[Out]:
    done = []
    for out, (_, end) in zip(results, bounds, strict=True):
        done.append(out)
        if progress is not None:
            progress(end, total)
    return done


def rooms(outs: Sequence[Out]) -> list[tuple[int, int]]:
    """How many visits and entries each chunk had that was counted without recording any."""
    counts = [(out.n_by_edge.sum() + out.n_by_node.sum(), out.n_by_journey[:, o.T_ENTERED].sum()) for out in outs]
    return [(int(n_visits), int(n_entries)) for n_visits, n_entries in counts]


class Recorded(NamedTuple):
    """The rows of all chunks in turn, as `machine.Out` has them; `entry` is the row of each visit's entry."""

    entries: NDArray[np.int64]
    entry: NDArray[np.int64]
    times: NDArray[np.int64]
    visits: NDArray[np.int32]
    marks: NDArray[np.int8]

    @property
    def contact(self) -> NDArray[np.int64]:
        """The contact of each visit."""
        found: NDArray[np.int64] = self.entries[self.entry, o.R_CONTACT]
        return found


def rows_of(outs: Sequence[Out], name: str, used: int) -> list[NDArray[Any]]:
    """The rows of each chunk's table that are in use."""
    return [getattr(out, name)[: out.used[used]] for out in outs]


def recorded(outs: Sequence[Out]) -> Recorded:
    """What was recorded, in the order of the chunks."""
    entries, visits = rows_of(outs, "entries", O_ENTRIES), rows_of(outs, "visits", O_VISITS)
    first = np.cumsum([0, *map(len, entries)])[:-1]
    of = [rows[:, o.V_ENTRY] + at for rows, at in zip(visits, first, strict=True)]
    return Recorded(
        np.concatenate([np.empty((0, o.R_COLUMNS), np.int64), *entries]),
        np.concatenate([np.empty(0, np.int64), *of]),
        np.concatenate([np.empty((0, 2), np.int64), *rows_of(outs, "times", O_VISITS)]),
        np.concatenate([np.empty((0, o.V_COLUMNS), np.int32), *visits]),
        np.concatenate([np.empty((0, o.MARKS), np.int8), *rows_of(outs, "marks", O_VISITS)]),
    )


class Asked(NamedTuple):
    """Requests as the machine records them, each of another contact, and the values that go with them.

    `place` is the contact's among those that were advanced, `rows` are the K_ columns, `features` float64 by column.
    """

    place: NDArray[np.int64]
    rows: NDArray[np.int64]
    features: NDArray[np.float64]


def asked(program: o.Program, outs: Sequence[Out]) -> Asked:
    """What was asked in a run."""
    n_features = int(program.sizes[o.N_FEATURES])
    n_requests = [int(out.used[O_REQUESTS]) for out in outs]
    rows = np.concatenate(
        [np.empty((0, 6), np.int64), *(o.requests[:n] for o, n in zip(outs, n_requests, strict=True))]
    )
    values = [out.asked[: n * n_features].reshape(n, n_features) for out, n in zip(outs, n_requests, strict=True)]
    is_asked = rows[:, 1 + o.K_KIND] != o.DUE
    rows, found = rows[is_asked], np.concatenate([np.empty((0, n_features)), *values])[is_asked]
    return Asked(rows[:, 0], rows[:, 1:], found)


def due(outs: Sequence[Out]) -> list[Request]:
    """The sends and calls for which entries wait, each with the instant from which on it may be made (rule 29).

    Where that lies beyond the horizon a gate holds it until then; NEVER where a pause does that has no end yet.
    """
    rows = [row for out in outs for row in out.requests[: out.used[O_REQUESTS]].tolist()]
    return [Request(row[0], *row[1:]) for row in rows if row[1 + o.K_KIND] == o.DUE]


class Answers(NamedTuple):
    """Answers in the order of their contacts' places: `rows` (the K_ columns) and `values`."""

    place: NDArray[np.int64]
    rows: NDArray[np.int64]
    values: NDArray[np.float64]

    def of(self, places: NDArray[np.int64]) -> Answers:
        """The answers of some contacts, whose places are now those in the (ascending) list."""
        most = int(self.place[-1]) + 1 if len(self.place) else 0
        new = np.full(most, -1)
        new[places[places < most]] = np.flatnonzero(places < most)
        place = new[self.place]
        mine = place >= 0
        return Answers(place[mine], self.rows[mine], self.values[mine])

    def and_of(self, other: Answers) -> Answers:
        """Both, in order; a contact's earlier answers come first."""
        place = np.concatenate([self.place, other.place])
        order = np.argsort(place, kind="stable")
        rows, values = np.concatenate([self.rows, other.rows]), np.concatenate([self.values, other.values])
        return Answers(place[order], rows[order], values[order])


def no_answers_yet() -> Answers:
    """No answers."""
    return Answers(np.empty(0, np.int64), np.empty((0, 5), np.int64), np.empty(0, np.float64))


def offsets_of(place: NDArray[np.int64], n_places: int) -> NDArray[np.int64]:
    """Where the rows of each place begin, and at the end where the last ones end."""
    offsets = np.zeros(n_places + 1, np.int64)
    np.cumsum(np.bincount(place, minlength=n_places), out=offsets[1:])
    return offsets


def with_answers(world: o.World, answers: Answers, n_places: int) -> o.World:
    """The world with those answers; the caller keeps them alive."""
    limits = world.limits.copy()
    limits[o.L_HAS_ANSWERS] = 1
    return world._replace(
        answer_offsets=np.concatenate([[0], np.cumsum(np.bincount(answers.place, minlength=n_places))]).astype(
            np.int64
        ),
        answers=np.ascontiguousarray(answers.rows),
        answers_x=np.ascontiguousarray(answers.values),
        limits=limits,
    )


def _table_of(answers: Sequence[Answer]) -> Answers:
    ordered = sorted(answers, key=lambda one: one.request.contact)
    return Answers(
        np.array([one.request.contact for one in ordered], np.int64),
        np.array([[*one.request[1:5], one.at] for one in ordered], np.int64).reshape(len(ordered), 5),
        np.array([one.value for one in ordered], np.float64),
    )


def answered(
    program: o.Program,
    world: o.World,
    n_exits: int,
    n_contacts: int,
    answer: Callable[[Sequence[Request]], Iterable[Answer]],
    known: Answers,
) -> o.World:
    """The world with an answer to everything that its contacts ask, and those known beforehand."""
    answers = known
    pending = np.arange(n_contacts)
    while True:
        now = with_answers(world, answers.of(pending), len(pending))
        found = asked(program, run(program, now, n_exits, n_contacts, record=False, contacts=pending))
        if not len(found.place):
            return with_answers(world, answers, n_contacts)
        rows = np.unique(np.column_stack([pending[found.place], found.rows]), axis=0)
        requests = [Request(*(int(value) for value in row)) for row in rows]
        answers = answers.and_of(_table_of(list(answer(requests))))
        pending = np.unique(rows[:, 0])


def in_rounds(
    program: o.Program,
    world: o.World,
    n_exits: int,
    contacts: NDArray[np.int64],
    answer: Callable[[Asked], Answers],
    *,
    group: NDArray[np.int64] | None = None,
    n_groups: int = 1,
    record: bool = False,
    known: Answers | None = None,
) -> list[Out]:
    """What happens to contacts whose every request is answered.

    A contact may stand in the list several times, once in each group that is counted. `answer` is asked a round at a
    time, for contacts by their place in the list, and may be given `known` answers beforehand.
    """
    done: list[Out] = []
    answers = no_answers_yet() if known is None else known
    pending = np.arange(len(contacts))
    while len(pending):
        now = with_answers(world, answers, len(pending))
        outs = run(
            program, now, n_exits, len(pending), record=record, contacts=contacts[pending],
            group=None if group is None else group[pending], n_groups=n_groups,
        )  # fmt: skip
        done += outs
        found = asked(program, outs)
        pending, answers = pending[found.place], answers.of(found.place)
        more = answer(found._replace(place=pending))
        answers = answers.and_of(more._replace(place=np.searchsorted(pending, more.place)))
    return done
