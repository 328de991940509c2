"""The state of a contact that is being advanced, what is recorded of it, and how the machine is compiled."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple
from zlib import crc32

import numba
import numpy as np
from numba import njit, types
from numba.core.typing.templates import signature
from numba.extending import intrinsic

from journeylab import clock, keyedhash, layout
from journeylab import memory as tables
from journeylab.clock import COMPILED, DAY, NEVER
from journeylab.layout import (
    MARKS,
    N_EXITS,
    N_FEATURES,
    PROGRAM,
    Q_COLUMNS,
    R_COLUMNS,
    STACK,
    T_COLUMNS,
    V_COLUMNS,
    WORLD,
    Program,
)
from journeylab.memory import group_type, opener

if TYPE_CHECKING:
    from numpy.typing import NDArray

# A running entry; and what is remembered of each of its nodes.
(
    E_JOURNEY, E_ENTRY, E_STARTED, E_TRIGGER_ROW, E_NODE, E_ARRIVED, E_DUE, E_LEAVE_AT, E_LEAVE_ROW, E_CAUSE,
    E_HELD, E_UNIT, E_SEEN_AT, E_SEEN_OWN, E_AWAITED, E_AWAITED_AT, E_KNOWN, E_MISSING, E_RECORD, E_COLUMNS,
) = range(20)  # fmt: skip
M_VISITS, M_ARRIVED, M_SENT, M_MATCHED, M_RECORD, M_COLUMNS = range(6)
# A journey's next trigger; and what is remembered of all entries of one journey, whatever their version.
G_AT, G_ROW, G_COLUMNS = range(3)
H_ENTRIES, H_RUNNING, H_LAST, H_AT_ONCE, H_COLUMNS = range(5)
# How many rows of each table are in use; what the present step rests on, and why it skips a send; whether the contact
# could be advanced; whether a model has answered for it; its place among the contacts that are advanced; how many of
# its sends went at the hour that a model's fallback advised; whether the log has nothing by which it may refuse mail.
(
    N_RUNNING, N_OWN, N_SENDS, N_SET, N_EVIDENCE, N_REASON, N_STATUS, N_PREDICTED, N_PLACE, N_BY_FALLBACK, N_CLEAR,
    N_USED,
) = range(12)  # fmt: skip
DONE, TOO_SMALL, ASKED = range(3)
# What is recorded so far.
O_VISITS, O_ENTRIES, O_REQUESTS, O_CONTACTS, O_CHOICES, O_BY_FALLBACK, O_FALLBACK_CONTACTS, O_USED = range(8)
ROOM_RUNNING, ROOM_EVENTS, N_ROOM = range(3)
ROOM_VISITS, ROOM_ENTRIES, ROOM_REQUESTS, ROOM_NEXT, O_ROOM = range(5)

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
    kept: NDArray[np.int64]
    used: NDArray[np.int64]
    room: NDArray[np.int64]


class Out(NamedTuple):
    """What happened: visits, entries and requests as rows where `record` is on, else counts alone.

    Attributes:
        times: int64 (visit, 2), arrival and leaving (NEVER while open).
        visits: int32 (visit, V_COLUMNS).
        marks: int8 (visit, MARKS).
        entries: int64 (entry, R_COLUMNS).
        choices: int64 (choice, Q_COLUMNS), what chance chose for explored sends.
        requests: int64 (request, 6): the contact's place and the K_ columns.
        asked: float64 (request x features), what a send's request tells of the contact.
        n_by_edge: int64 (edge, 3), closed visits by branch and evidence.
        n_by_node: int64 (node, 2), visits ended without a branch, and visits still open.
        n_by_exit: int64, entries by exit.
        n_by_journey: int64 (journey, T_COLUMNS), entries and what became of triggers; this and the three before have
            the rows of each group of contacts one behind the other, where contacts are counted in groups.
        next_at: int64, of each contact in turn the next instant at which something is due without any further event,
            NEVER where nothing is; empty where nobody asks.
        used: int64, the rows in use.
        room: int64, the rows that there are.
    """

    times: NDArray[np.int64]
    visits: NDArray[np.int32]
    marks: NDArray[np.int8]
    entries: NDArray[np.int64]
    choices: NDArray[np.int64]
    requests: NDArray[np.int64]
    asked: NDArray[np.float64]
    n_by_edge: NDArray[np.int64]
    n_by_node: NDArray[np.int64]
    n_by_exit: NDArray[np.int64]
    n_by_journey: NDArray[np.int64]
    next_at: NDArray[np.int64]
    used: NDArray[np.int64]
    room: NDArray[np.int64]


_INT = types.int64
STATE = group_type(
    "State", constant=False, within={"used": N_USED, "room": N_ROOM},
    entries=(_INT, E_COLUMNS), running=(_INT, 1), memory=(_INT, M_COLUMNS),
    triggers=(_INT, G_COLUMNS), groups=(_INT, H_COLUMNS), own=(_INT, 2), sends=(_INT, 2), assigned=(_INT, 2),
    assigned_x=(types.float64, 1),
    stack=(types.float64, 1), kept=(_INT, 1), used=(_INT, 1), room=(_INT, 1),
)  # fmt: skip
OUT = group_type(
    "Out", constant=False, within={"room": O_ROOM},
    times=(_INT, 2), visits=(types.int32, V_COLUMNS), marks=(types.int8, MARKS),
    entries=(_INT, R_COLUMNS),
    choices=(_INT, Q_COLUMNS), requests=(_INT, 6), asked=(types.float64, 1), n_by_edge=(_INT, 3), n_by_node=(_INT, 2),
    n_by_exit=(_INT, 1), n_by_journey=(_INT, T_COLUMNS), next_at=(_INT, 1), used=(_INT, 1), room=(_INT, 1),
)  # fmt: skip
BY_GROUP = ("n_by_edge", "n_by_node", "n_by_exit", "n_by_journey")
open_program, open_world, open_state, open_out = opener(PROGRAM), opener(WORLD), opener(STATE), opener(OUT)


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
        kept=np.zeros(
            3 * len(program.edges) + 2 * n_nodes + int(program.sizes[N_EXITS]) + T_COLUMNS * n_journeys, np.int64
        ),
        used=np.zeros(N_USED, np.int64),
        room=np.array([room, room * 8], np.int64),
    )


class Rows(NamedTuple):
    """Room for what is recorded; see `Out` for the columns."""

    times: NDArray[np.int64]
    visits: NDArray[np.int32]
    marks: NDArray[np.int8]
    entries: NDArray[np.int64]
    choices: NDArray[np.int64]

    def part(self, visits: slice, entries: slice) -> Rows:
        """The part for some visits, with their choices, and entries."""
        return Rows(
            self.times[visits], self.visits[visits], self.marks[visits], self.entries[entries], self.choices[visits]
        )


def new_rows(program: Program, n_visits: int, n_entries: int) -> Rows:
    """Room for so many visits and entries."""
    is_explored = bool((program.bests_x > 0).any())
    return Rows(
        times=np.empty((n_visits, 2), np.int64),
        visits=np.empty((n_visits, V_COLUMNS), np.int32),
        marks=np.empty((n_visits, MARKS), np.int8),
        entries=np.empty((n_entries, R_COLUMNS), np.int64),
        choices=np.empty((n_visits if is_explored else 0, Q_COLUMNS), np.int64),
    )


def new_out(
    program: Program, n_exits: int, rows: Rows | None = None, n_requests: int = 64, n_next: int = 0, n_groups: int = 1
) -> Out:
    """Counts at zero, and room for the rows given, for requests and for instants."""
    rows = new_rows(program, 0, 0) if rows is None else rows
    return Out(
        **rows._asdict(),
        requests=np.empty((n_requests, 6), np.int64),
        asked=np.empty(n_requests * int(program.sizes[N_FEATURES]), np.float64),
        n_by_edge=np.zeros((n_groups * len(program.edges), 3), np.int64),
        n_by_node=np.zeros((n_groups * len(program.nodes), 2), np.int64),
        n_by_exit=np.zeros(n_groups * n_exits, np.int64),
        n_by_journey=np.zeros((n_groups * len(program.journeys), T_COLUMNS), np.int64),
        next_at=np.full(n_next, NEVER, np.int64),
        used=np.zeros(O_USED, np.int64),
        room=np.array([len(rows.visits), len(rows.entries), n_requests, n_next], np.int64),
    )


def jit(function: Any) -> Any:
    """What is called where it is needed; numba would hand on `forceinline` to it from whoever calls it first."""
    return njit(forceinline=False, **COMPILED)(function)


def inlined(function: Any) -> Any:
    """For what is small or at the heart: the optimiser puts it in place of every call."""
    return njit(forceinline=True, **COMPILED)(function)


def in_place(function: Any) -> Any:
    """For what is called in one place: it becomes a part of its caller, which compiles and runs faster."""
    return njit(inline="always", forceinline=False, **COMPILED)(function)


def _set_apart(*attributes: str) -> Any:
    def generate(_context: Any, builder: Any, _made: Any, _arguments: Any) -> Any:
        for attribute in ("noinline", *attributes):
            builder.function.attributes.add(attribute)
        return _context.get_dummy_value()

    def set_apart(_typing_context: Any) -> Any:
        return signature(types.none), generate

    is_compiled = not numba.config.DISABLE_JIT  # type: ignore[attr-defined]
    return intrinsic(set_apart) if is_compiled else lambda: None


apart = _set_apart()
"""Called first in a function that is large beside its callers: it stays one of its own, and they stay in registers."""
rare = _set_apart("cold")
"""The same for what seldom happens: the optimiser arranges its callers as if it never did."""


def _fingerprint() -> str:
    """A text that differs when any source differs that goes into the compiled machine."""
    stamp = 0
    own = sorted(Path(__file__).parent.glob("*.py"))
    for path in (*own, *(Path(str(one.__file__)) for one in (clock, keyedhash, layout, tables))):
        stamp = crc32(path.read_bytes(), stamp)
    return f"{stamp:08x}"


FINGERPRINT = _fingerprint()


def entry_point(function: Any) -> Any:
    """Compiled at most once on a machine: the result is kept on disk, with all that it calls.

    Numba would take a kept result as long as this file alone is unchanged; so the sources are part of its name.
    """
    function.__qualname__ = f"{function.__name__}-{FINGERPRINT}"
    return njit(nogil=True, error_model="numpy", cache=True)(function)
