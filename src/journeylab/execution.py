"""Running a compiled program over all contacts: threads, room, and the rounds of requests and answers.

Contacts are independent (rule 27), so they are advanced in chunks, on as many threads as there are processors. A
world that is asked answers a round of requests at once; the contacts that asked are then advanced again from their
beginning, until none asks. The machine itself knows nothing of this.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from . import layout as o
from .machine import Out, State, advance, new_out, new_state

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["Answer", "Request", "answered", "run"]

CHUNK = 1 << 15
Progress = Callable[[int, int], None]
"""Called with the contacts done so far and in all."""


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
    return new_state(program, room), new_out(program, n_exits, max(64, len(out.visits) * more))


def _chunk(
    program: o.Program, world: o.World, n_exits: int, record: bool, contacts: NDArray[np.int64], bounds: tuple[int, int]
) -> Out:
    """What happens to one chunk of contacts, given all the room that they need."""
    start, end = bounds
    room = (end - start) * 2 if record else 0
    state, out = new_state(program, 8), new_out(program, n_exits, max(64, room))
    while not advance(program, world, state, out, record=record, contacts=contacts, start=start, end=end):
        state, out = _grown(program, n_exits, state, out, 2)
    return out


def run(
    program: o.Program,
    world: o.World,
    n_exits: int,
    n_contacts: int,
    *,
    record: bool,
    contacts: NDArray[np.int64] | None = None,
    progress: Progress | None = None,
) -> list[Out]:
    """What happens to all contacts (or those given by index), in the order of the chunks."""
    listed = np.empty(0, np.int64) if contacts is None else contacts
    total = n_contacts if contacts is None else len(contacts)
    bounds = [(start, min(start + CHUNK, total)) for start in range(0, total, CHUNK)]
    done: list[Out] = []

    def work(one: tuple[int, int]) -> Out:
        return _chunk(program, world, n_exits, record, listed, one)

    n_threads = min(len(bounds), os.process_cpu_count() if hasattr(os, "process_cpu_count") else os.cpu_count() or 1)
    if n_threads <= 1:
        results: Iterable[Out] = map(work, bounds)
        done = _collect(results, bounds, total, progress)
    else:
        with ThreadPoolExecutor(n_threads) as pool:
            done = _collect(pool.map(work, bounds), bounds, total, progress)
    return done


def _collect(
    results: Iterable[Out], bounds: Sequence[tuple[int, int]], total: int, progress: Progress | None
) -> list[Out]:
    done = []
    for out, (_, end) in zip(results, bounds, strict=True):
        done.append(out)
        if progress is not None:
            progress(end, total)
    return done


def _requests(outs: Sequence[Out]) -> list[Request]:
    rows = np.concatenate([out.requests[: out.used[2]] for out in outs]) if outs else np.empty((0, 6), np.int64)
    return [Request(*(int(value) for value in row)) for row in np.unique(rows, axis=0)]


def _with(world: o.World, answers: Sequence[Answer], n_contacts: int) -> o.World:
    """The world with those answers."""
    if not answers:
        return world
    ordered = sorted(answers, key=lambda one: one.request.contact)
    contact = np.array([one.request.contact for one in ordered])
    limits = world.limits.copy()
    limits[o.L_HAS_ANSWERS] = 1
    return world._replace(
        answer_offsets=np.searchsorted(contact, np.arange(n_contacts + 1)).astype(np.int64),
        answers=np.array([[*one.request[1:5], one.at] for one in ordered], np.int64),
        answers_x=np.array([one.value for one in ordered], np.float64),
        limits=limits,
    )


def answered(
    program: o.Program,
    world: o.World,
    n_exits: int,
    n_contacts: int,
    answer: Callable[[Sequence[Request]], Iterable[Answer]],
    known: Sequence[Answer] = (),
) -> o.World:
    """The world with an answer to everything that its contacts ask."""
    answers = list(known)
    world = _with(world, answers, n_contacts)
    pending: NDArray[np.int64] | None = None
    while requests := _requests(run(program, world, n_exits, n_contacts, record=False, contacts=pending)):
        answers += answer(requests)
        world = _with(world, answers, n_contacts)
        pending = np.unique(np.array([one.contact for one in requests], np.int64))
    return world
