"""Running a compiled program over all contacts: threads, room, and the rounds of requests and answers.

Contacts are independent (rule 27), so they are advanced in chunks, on as many threads as there are processors. A
world that is asked answers a round of requests at once; the contacts that asked are then advanced again from their
beginning, until none asks. The machine itself knows nothing of this.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, NamedTuple, TypeVar

import numpy as np

from . import layout as o
from .machine import O_REQUESTS, Out, State, advance, new_out, new_state
from .progress import Tell

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = [
    "Answer", "Answers", "Asked", "Request", "answered", "asked", "chunks", "due", "in_parts", "in_rounds",
    "no_answers_yet", "offsets_of", "run", "use_processors", "with_answers",
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


def _grown(program: o.Program, n_exits: int, state: State, out: Out, more: int) -> tuple[State, Out]:
    room = len(state.running) * more
    rooms = len(out.visits) * more, len(out.requests) * more, len(out.next_at)
    return new_state(program, room), new_out(program, n_exits, *rooms)


def _chunk(
    program: o.Program, world: o.World, n_exits: int, record: bool, contacts: NDArray[np.int64], bounds: tuple[int, int]
) -> Out:
    """What happens to one chunk of contacts, given all the room that they need."""
    start, end = bounds
    n_visits, is_live = (end - start) * 2 if record else 0, int(world.limits[o.L_LIVE])
    n_requests, n_next = (end - start) * max(int(world.limits[o.L_ASK_SENDS]), is_live), (end - start) * is_live
    state, out = new_state(program, 8), new_out(program, n_exits, max(64, n_visits), max(64, n_requests), n_next)
    while not advance(program, world, state, out, record=record, contacts=contacts, start=start, end=end):
        state, out = _grown(program, n_exits, state, out, 2)
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


def in_parts(work: Callable[[int, int], T], n: int) -> list[T]:
    """What compiled work makes of each part of 0..n, in order, on as many threads as there are processors."""
    bounds = chunks(n)
    if len(bounds) <= 1:
        return [work(*one) for one in bounds]
    with ThreadPoolExecutor(n_processors()) as pool:
        return list(pool.map(lambda one: work(*one), bounds))


def chunks(group: NDArray[np.int64] | int) -> list[tuple[int, int]]:
    """The chunks in which contacts are advanced, none across two groups: so many contacts, or the group of each."""
    edges = [0, group] if isinstance(group, int) else [0, *(np.flatnonzero(np.diff(group)) + 1).tolist(), len(group)]
    return [
        (first, min(first + CHUNK, end))
        for start, end in itertools.pairwise(edges)
        for first in range(start, end, CHUNK)
    ]


def run(
    program: o.Program,
    world: o.World,
    n_exits: int,
    n_contacts: int,
    *,
    record: bool,
    contacts: NDArray[np.int64] | None = None,
    bounds: Sequence[tuple[int, int]] | None = None,
    progress: Tell | None = None,
) -> list[Out]:
    """What happens to all contacts (or those given by index), in the order of the chunks (or those given)."""
    listed = np.empty(0, np.int64) if contacts is None else contacts
    total = n_contacts if contacts is None else len(contacts)
    bounds = chunks(total) if bounds is None else bounds

    def work(one: tuple[int, int]) -> Out:
        return _chunk(program, world, n_exits, record, listed, one)

    # Handing few contacts to threads takes longer than advancing them.
    n_threads = min(len(bounds), n_processors(), 1 + total // CHUNK)
    if n_threads <= 1:
        return _collect(map(work, bounds), bounds, total, progress)
    with ThreadPoolExecutor(n_threads) as pool:
        return _collect(pool.map(work, bounds), bounds, total, progress)


def _collect(results: Iterable[Out], bounds: Sequence[tuple[int, int]], total: int, progress: Tell | None) -> list[Out]:
    done = []
    for out, (_, end) in zip(results, bounds, strict=True):
        done.append(out)
        if progress is not None:
            progress(end, total)
    return done


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
    group: NDArray[np.int64],
    answer: Callable[[Asked], Answers],
    *,
    record: bool = False,
    known: Answers | None = None,
) -> list[tuple[int, Out]]:
    """What happens to contacts whose every request is answered, as (group, `Out`) of each chunk.

    A contact may stand in the list several times, once in each group; groups ascend. `answer` is asked a round at a
    time, for contacts by their place in the list, and may be given `known` answers beforehand.
    """
    done: list[tuple[int, Out]] = []
    answers = no_answers_yet() if known is None else known
    pending = np.arange(len(contacts))
    while len(pending):
        now = with_answers(world, answers, len(pending))
        bounds = chunks(group[pending])
        outs = run(
            program, now, n_exits, len(pending), record=record, contacts=contacts[pending], bounds=bounds
        )  # fmt: skip
        done += [(int(group[pending[start]]), out) for (start, _), out in zip(bounds, outs, strict=True)]
        found = asked(program, outs)
        pending, answers = pending[found.place], answers.of(found.place)
        more = answer(found._replace(place=pending))
        answers = answers.and_of(more._replace(place=np.searchsorted(pending, more.place)))
    return done
