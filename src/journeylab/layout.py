"""The shape of a compiled program: the columns of its tables and the codes of its operations.

`program` fills these tables and `machine` reads them; this is all the two share. Every table is an int64 or float64
array with one row for each thing; every duration and instant is in microseconds.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numba import types

from .clock import ZONES, Zones
from .memory import group_type

if TYPE_CHECKING:
    from numpy.typing import NDArray

# Numbers that functions of compiled code pass to each other are int64: a Python literal would be a type of its own.
ZERO: int = np.int64(0)  # type: ignore[assignment]
NONE: int = np.int64(-1)  # type: ignore[assignment]
# A contact's events are ordered by (instant, row): logged rows first, then emitted events, then schedules and dates.
OWN_ROW: int = np.int64(2**60)  # type: ignore[assignment]
LAST_ROW: int = np.int64(2**61)  # type: ignore[assignment]

# Journeys: one row for each version of each journey, by priority and name. J_GATED: it has quiet hours or a cap.
# J_OPEN: nothing but what a contact does can hold up its sends, no gate, no pause, and no cap that counts them.
(
    J_TRIGGER, J_STREAM, J_WHERE, J_EVERY, J_OFFSET, J_TIME, J_DATE, J_DATE_IS_INSTANT, J_MEMBERSHIP,
    J_REENTRY, J_COOLDOWN, J_CONSENT, J_CONSENT_ASSUMED, J_FIRST_NODE, J_QUIET_START, J_QUIET_END,
    J_CAP_SENDS, J_CAP_WITHIN, J_MAX_VISITS, J_ZONE, J_CAUSES, J_CAUSES_END, J_HOLDOUT_KEY, J_GROUP,
    J_FROM, J_UNTIL, J_MAX_VISITS_EXIT, J_PAUSES, J_PAUSES_END, J_ORDER,
    J_NODES, J_NODES_END, J_UNIT, J_POLICY_HOLDOUT_KEY, J_SHARE_KEY, J_POLICY_SENDS, J_POLICY_WITHIN, J_GATED,
    J_OPEN, J_COLUMNS,
) = range(40)  # fmt: skip
X_HOLDOUT, X_AT_LEAST, X_POLICY_HOLDOUT, X_SHARE_FROM, X_SHARE_TO, JX_COLUMNS = range(6)
TRIGGER_EVENT, TRIGGER_SEGMENT, TRIGGER_DATE = range(3)
REENTRY_NEVER, REENTRY_AFTER_EXIT, REENTRY_ALWAYS, REENTRY_COOLDOWN = range(4)
# The three streams of consent: given, withdrawn, erased, in this order in a row of `consents`.
GIVEN, WITHDRAWN, ERASED = range(3)

# Nodes: what each operation keeps in the columns A to H. N_PLAIN: all that it does in a journey that is open is to look
# at what is on record, without a guard.
N_OP, N_JOURNEY, N_EDGE, N_OTHER_EDGE, N_RUN, A, B, C, D, E, F, G, H, N_PLAIN, N_COLUMNS = range(15)
(
    OP_SEND,  # A expires, B skip when capped, C kind of `at`, D start or best, E end, F days, G logged, H responses
    OP_WAIT,  # A duration
    OP_WAIT_UNTIL,  # A kind of target, B start or time, C end, D days, E date attribute, F offset
    OP_WAIT_FOR,  # A within, B first await, C end of awaits, D since, E has a guard, F is of a message (any)
    OP_DECIDE,  # A first clause, B end of clauses
    OP_SPLIT,  # A first arm, B end of arms, C per entry
    OP_RUN,  # A first node of the part
    OP_SET,  # A first assignment, B end of assignments
    OP_EMIT,  # A kind of own event
    OP_CALL,  # A call
    OP_EXIT,  # A exit, or NONE in a part
) = range(11)
AT_ANY, AT_WINDOW, AT_BEST = range(3)
# The terms of `at: best`: the model, how far ahead, the window (NONE without one), the keys of what is left to chance.
(BEST_MODEL, BEST_WITHIN, BEST_START, BEST_END, BEST_DAYS, BEST_EXPLORE_KEY, BEST_SLOT_KEY,
 BEST_COLUMNS) = range(8)  # fmt: skip
WEEK: int = np.int64(168)  # type: ignore[assignment]
NOT_SCORED: int = np.int64(255)  # type: ignore[assignment]
UNTIL_WINDOW, UNTIL_TIME, UNTIL_DATE, UNTIL_INSTANT = range(4)
SINCE_ARRIVAL, SINCE_ENTRY = -1, -2

# Awaits of a wait_for: a stream, a guard, the node whose message it is (or NONE), the edge to take.
W_STREAM, W_GUARD, W_NODE, W_EDGE = range(4)
# Causes to leave: a stream, a guard, the exit. A journey's first ones are that consent is withdrawn, and erasure.
C_STREAM, C_GUARD, C_EXIT = range(3)
REFUSALS = 2

# Conditions in postfix, on a stack of float64 in which NaN is a missing value.
# Those up to WEEKDAY push a value, those up to DIVIDE and WEIGH combine two, the others change one.
(
    PUSH, ATTRIBUTE, EVENT_PROPERTY, ENTRY_PROPERTY, COUNT, DID, SUM, MEAN, MIN, MAX, LAST_VALUE, SINCE, SINCE_FIRST,
    SENT, RESPONSE, SCORE, LOCAL_HOUR, WEEKDAY,
    EQ, NE, LT, LE, GT, GE, AND, OR, ADD, SUBTRACT, MULTIPLY, DIVIDE, WEIGH,
    NOT, MISSING, NEGATE, IN, NOT_IN, LOGISTIC, TRUTH,
) = range(38)  # fmt: skip
STACK = 64

# What outcomes rest on (rule 31), from the strongest to the weakest; a visit has the weakest of all it rests on.
OBSERVED, PREDICTED, ASSUMED = np.arange(3)
EVIDENCE = ("observed", "predicted", "assumed")
# Why a send was skipped.
(
    BECAUSE_NOT, BECAUSE_CONSENT, BECAUSE_SUPPRESSION, BECAUSE_AT, BECAUSE_QUIET, BECAUSE_CAP, BECAUSE_POLICY_CAP,
    BECAUSE_HOLDOUT, BECAUSE_PAUSE, BECAUSE_LATE, BECAUSE_STALE, BECAUSE_FAILED, BECAUSE_REJECTED, BECAUSE_ABANDONED,
) = np.arange(14)  # fmt: skip
REASONS = (None, "consent", "suppression", "at", "quiet_hours", "cap", "policy_cap", "holdout", "pause", "late",
           "stale", "failed", "rejected", "abandoned")  # fmt: skip
# What a world answers to a send, as the kinds of own events from a node's H on (see `program.ANSWERS`).
(DELIVERED, OPENED, CLICKED, BOUNCED, COMPLAINED, UNSUBSCRIBED, SENT_EVENT, WITHDRAWN_EVENT, SOFT_BOUNCED,
 CONVERTED) = range(10)  # fmt: skip
# What the machine may ask of its world. The others are of a release's own sends and calls (rule 29) and not asked:
# ACTUAL is what became of one and when, its value a reason, ON_ITS_WAY, or whether a call succeeded; AGAIN is when a
# send that was let pass was held back after all; and the machine says with DUE when it waits to make one, or may.
ASK_SEND, ASK_SCORE, ASK_CALL, ACTUAL, AGAIN, DUE = np.arange(6)
ON_ITS_WAY: int = np.int64(-1)  # type: ignore[assignment]


class Program(NamedTuple):
    """A portfolio compiled against the names of one log: what the machine runs, and nothing of what it runs on.

    Attributes:
        journeys, journeys_x: int64 and float64, a row for each journey version.
        nodes: int64, a row for each node of each journey, parts unfolded.
        edges: int64, the target node of each branch.
        awaits, clauses, causes, assigned, pauses: int64 tables that nodes and journeys point into; `clauses` has a
            condition and an edge, `assigned` an attribute, `pauses` a start and an end.
        assigned_x: float64, the value of each assignment.
        arms, arms_x: int64 key and edge, float64 share, of each arm.
        bests, bests_x: int64 terms, float64 explored share, of each node with `at: best`.
        consents: int64, the streams given, withdrawn and erased of each purpose.
        suppressions: int64, the streams of complaints and hard bounces.
        conditions: int64, the first operation of each condition and the one after its last.
        code, code_x: int64 operation with two arguments, float64 argument.
        options: float64, the literals of all `in` lists.
        features: int64, the conditions whose values go with the request of a send.
        sizes: int64, how many journeys, nodes, edges, exits and features there are; the kind of own event that is a
            conversion, or NONE; how many purposes and caps there are.
    """

    journeys: NDArray[np.int64]
    journeys_x: NDArray[np.float64]
    nodes: NDArray[np.int64]
    edges: NDArray[np.int64]
    awaits: NDArray[np.int64]
    clauses: NDArray[np.int64]
    causes: NDArray[np.int64]
    assigned: NDArray[np.int64]
    assigned_x: NDArray[np.float64]
    arms: NDArray[np.int64]
    arms_x: NDArray[np.float64]
    bests: NDArray[np.int64]
    bests_x: NDArray[np.float64]
    consents: NDArray[np.int64]
    suppressions: NDArray[np.int64]
    conditions: NDArray[np.int64]
    code: NDArray[np.int64]
    code_x: NDArray[np.float64]
    options: NDArray[np.float64]
    pauses: NDArray[np.int64]
    features: NDArray[np.int64]
    sizes: NDArray[np.int64]


_INT, _FLOAT = types.int64, types.float64
N_JOURNEYS, N_NODES, N_EDGES, N_EXITS, N_FEATURES, N_CONVERTED, N_PURPOSES, N_CAPS, N_SIZES = range(9)
PROGRAM = group_type(
    "Program", constant=True, within={"sizes": N_SIZES}, journeys=(_INT, J_COLUMNS), journeys_x=(_FLOAT, JX_COLUMNS),
    nodes=(_INT, N_COLUMNS), edges=(_INT, 1), awaits=(_INT, 4), clauses=(_INT, 2), causes=(_INT, 3),
    assigned=(_INT, 1), assigned_x=(_FLOAT, 1), arms=(_INT, 2), arms_x=(_FLOAT, 1), bests=(_INT, BEST_COLUMNS),
    bests_x=(_FLOAT, 1), consents=(_INT, 3), suppressions=(_INT, 1), conditions=(_INT, 2),
    code=(_INT, 3), code_x=(_FLOAT, 1), options=(_FLOAT, 1), pauses=(_INT, 2),
    features=(_INT, 1), sizes=(_INT, 1),
)  # fmt: skip


class World(NamedTuple):
    """What a program runs on: the prepared log as addresses of arrays, answers, and the bounds of time.

    Addresses are those of C-contiguous arrays that the caller keeps alive; `memory` reads through them.

    Attributes:
        streams: int64 (stream, 3), addresses of offsets (int64, by contact), instants (int64) and rows (int64); 0 for
            a stream without events.
        attributes: int64 (attribute, 5), addresses of base values (float64, by contact), and of offsets, instants,
            rows (int64) and values (float64) of changes.
        scores: int64 (score, 5), the same for scores that are given; an address of 0 means that the score is asked for.
        properties: int64, addresses of values (float64, by row).
        own_streams: uint8, for each kind of own event and then each stream whether the event belongs to the stream.
        own_values: float64, for each kind of own event and then each property its value.
        zones: the time zones.
        units: uint64, the unit hash of each contact, empty when nothing asks for it.
        unit_values: uint64, the unit hash of each text that an attribute which is a journey's unit may have.
        first_at: int64, the instant from which each contact exists; empty when nothing asks for it.
        ranks: uint8 (row, 168), the place of each hour of the week (0 is Monday 00:00 local) by its score, 0 the best,
            equal scores at equal places, 255 without a score; the rows of fallbacks come last.
        rank_rows: int64, for each model and then each contact the row that holds for it, or NONE; empty without models.
        asked_calls: uint8, whether the world answers each call.
        answer_offsets, answers, answers_x: int64 by contact (by its place among the contacts to be advanced, where
            only some are), int64 (answer, 5: kind, id, entry, visit, instant), float64; what the world has answered.
        limits: int64, see the L_ columns.
    """

    streams: NDArray[np.int64]
    attributes: NDArray[np.int64]
    scores: NDArray[np.int64]
    properties: NDArray[np.int64]
    own_streams: NDArray[np.uint8]
    own_values: NDArray[np.float64]
    zones: Zones
    units: NDArray[np.uint64]
    unit_values: NDArray[np.uint64]
    first_at: NDArray[np.int64]
    ranks: NDArray[np.uint8]
    rank_rows: NDArray[np.int64]
    asked_calls: NDArray[np.uint8]
    answer_offsets: NDArray[np.int64]
    answers: NDArray[np.int64]
    answers_x: NDArray[np.float64]
    limits: NDArray[np.int64]


# L_BEFORE and L_MATCH: how much earlier and later than a send the log's `sent` may lie that answers for it.
# L_ASK_FROM: the instant from which sends are asked for even where the log has an answer.
# L_RANKED: how many contacts each model has a row of ranks for, 0 without models; L_FALLBACKS: the first fallback's.
# L_LIVE: whether sends and calls are made by somebody else, and are waited for.
(L_START, L_LOG_END, L_UNTIL, L_BEFORE, L_MATCH, L_ZONE_ATTRIBUTE, L_ASK_SENDS, L_ASK_FROM, L_HAS_ANSWERS, L_RANKED,
 L_FALLBACKS, L_STREAMS, L_PROPERTIES, L_LIVE, L_COLUMNS) = range(15)  # fmt: skip
WORLD = group_type(
    "World", constant=True, within={"limits": L_COLUMNS}, streams=(_INT, 3), attributes=(_INT, 5), scores=(_INT, 5),
    properties=(_INT, 1),
    own_streams=(types.uint8, 1), own_values=(_FLOAT, 1), zones=ZONES, units=(types.uint64, 1),
    unit_values=(types.uint64, 1), first_at=(_INT, 1), ranks=(types.uint8, 168), rank_rows=(_INT, 1),
    asked_calls=(types.uint8, 1), answer_offsets=(_INT, 1), answers=(_INT, 5), answers_x=(_FLOAT, 1), limits=(_INT, 1),
)  # fmt: skip
K_KIND, K_ID, K_ENTRY, K_VISIT, K_AT = range(5)

# A visit as the machine records it: int64 arrival and leaving, these int32 columns, and int8 marks.
V_ENTRY, V_NODE, V_VISIT, V_EDGE, V_COLUMNS = range(5)
V_EVIDENCE, V_REASON, MARKS = range(3)
# An entry: int64 columns; its unit is a text's code, NONE for the contact; by whom it is held out are bits.
R_CONTACT, R_JOURNEY, R_ENTRY, R_STARTED, R_LEFT, R_EXIT, R_HELD, R_UNIT, R_COLUMNS = range(9)
HELD_BY_JOURNEY, HELD_BY_POLICY = 1, 2
# What chance chose for an explored send: the visit's row, how many hours there were, whether it went in the one chosen,
# and the hours of the week as bits, 56 in each of three columns.
Q_VISIT, Q_OPTIONS, Q_IN_TIME, Q_LOW, Q_COLUMNS = 0, 1, 2, 3, 6
# Visits that did not leave by a branch, by node; and what became of triggers, by journey.
ENDED, INSIDE = range(2)
T_ENTERED, T_CONTACTS, T_INSIDE, T_HELD, T_NO_CONSENT, T_ENDLESS, T_COLUMNS = range(7)
