"""What a response model answers to sends: predicted once for each contact, instant and message, then drawn.

A draw shifts the model's log-odds by how sure the model is of its level, and then decides each response of each send
by a keyed hash of the draw, the contact, the node, the entry and the visit: the same draw of the same question is the
same on every machine, in whatever order the contacts come.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from . import layout as o
from .clock import NEVER
from .errors import DataError, known
from .execution import CHUNK, Answers, Asked, in_parts
from .journey import Send
from .keyedhash import mix, purpose_key, uniform
from .layout import (
    BOUNCED,
    CLICKED,
    CONVERTED,
    K_AT,
    K_ENTRY,
    K_ID,
    K_VISIT,
    OPENED,
    SOFT_BOUNCED,
    UNSUBSCRIBED,
    WITHDRAWN_EVENT,
)
from .machine.state import entry_point, jit
from .program import RESPONSES, Compiled

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from .responses import Responses

__all__ = ["LOCAL_HOUR", "Answering", "silence"]

KINDS = (*RESPONSES, "sent", "consent_withdrawn", "bounced softly", "converted")
"""What a send is answered with, by the codes of layout.DELIVERED to layout.CONVERTED."""
LOCAL_HOUR = "local_hour()"
N_SLOTS, N_QUANTILES = 6, 256
ALIKE = 1 / 3
"""The share of a message's sends that is taken to be like those of a journey, which makes one choice of several."""
REPEAT_SD, TRANSPORT_SD = 0.05, 0.2
"""By how much, in log-odds, a level may be off beside: for the log's own sends made again, and for whom another journey
reaches. Found in worlds whose truth is known (tests/test_coverage.py), so that intervals hold it as often as they say.
"""
UNHEARD, UNTOLD, HEARD = range(3)
SILENCE = -1
ORDER = (o.BOUNCED, o.DELIVERED, o.OPENED, o.CLICKED, o.COMPLAINED, o.UNSUBSCRIBED, o.CONVERTED)


@entry_point
def _keys(contacts, nodes, at, features, keys):  # type: ignore[no-untyped-def]
    """One number for each question: the contact, the message's node, the instant, and the bits of all that is known."""
    for i in range(keys.shape[0]):
        key = mix(mix(np.uint64(contacts[i]) ^ mix(np.uint64(at[i]))) + np.uint64(nodes[i]))
        for k in range(features.shape[1]):
            key = mix(key ^ features[i, k])
        keys[i] = key | np.uint64(1)


@entry_point
def _rows_of(keys, table, table_rows, n_known, rows, first):  # type: ignore[no-untyped-def]
    """The row of each question's prediction; a new question gets the next row. How many are new, by their `first`."""
    last, n_new = np.uint64(table.shape[0] - 1), 0
    for i in range(keys.shape[0]):
        place = mix(keys[i]) & last
        while table[place] != 0 and table[place] != keys[i]:
            place = (place + np.uint64(1)) & last
        if table[place] == 0:
            table[place], table_rows[place], first[n_new] = keys[i], n_known + n_new, i
            n_new += 1
        rows[i] = table_rows[place]
    return n_new


@jit
def _delay(quantiles, kind, node, slot, u):  # type: ignore[no-untyped-def]
    """The quantile u of a delay in microseconds: between two of the table's it is linear in the logarithm."""
    at = u * (quantiles.shape[3] - 1)
    low = min(np.int64(at), quantiles.shape[3] - 2)
    before, after = float(quantiles[kind, node, slot, low]), float(quantiles[kind, node, slot, low + 1])
    return np.int64(np.exp(np.log(before) + (at - low) * (np.log(after) - np.log(before))))


@jit
def _happens(chances, factors, edges, columns, i, message, kind, u):  # type: ignore[no-untyped-def]
    column = columns[kind]
    odds, cell = chances[i, column] / (1.0 - chances[i, column]), 0
    while cell < edges.shape[1] and odds >= edges[column, cell]:
        cell += 1
    odds *= factors[message, cell, column]
    return u * (1.0 + odds) < odds


@jit
def _respond(  # type: ignore[no-untyped-def]
    chances, factors, edges, columns, wanted, quantiles, shares, kind_keys, unit, i, node, message, slots, t, kinds,
    instants,
):  # fmt: skip
    """Decides the responses to one send: their kinds and instants, those alone that the program hears; how many."""
    n, bounces, opened_at = 0, False, NEVER
    for kind in ORDER:
        if wanted[node, kind] == UNHEARD or (bounces and kind != CONVERTED) or (kind == CLICKED and opened_at == NEVER):
            continue
        if not _happens(chances, factors, edges, columns, i, message, kind, uniform(unit, kind_keys[kind])):
            continue
        at = opened_at if kind == CLICKED else t
        slot = slots[i, 1 if kind == CONVERTED else 0]
        at += max(_delay(quantiles, kind, node, slot, uniform(unit, kind_keys[CONVERTED + 1 + kind])), 1)
        code = kind
        if kind == OPENED:
            opened_at = at
        elif kind == BOUNCED:
            bounces = True
            code = SOFT_BOUNCED if uniform(unit, kind_keys[SOFT_BOUNCED]) < shares[0] else BOUNCED
        if wanted[node, code] == HEARD:
            kinds[n], instants[n] = code, at
            n += 1
        if kind == UNSUBSCRIBED and shares[1] == 1.0 and wanted[node, WITHDRAWN_EVENT] == HEARD:
            kinds[n], instants[n] = WITHDRAWN_EVENT, at
            n += 1
    return n


@jit
def _fate(unit, node_key, draw_key, entry, visit):  # type: ignore[no-untyped-def]
    """The number that decides everything about one send to one contact in one draw."""
    return mix(mix(unit ^ node_key) ^ (draw_key + np.uint64(entry * 4096 + visit)))


@entry_point
def _draw(  # type: ignore[no-untyped-def]
    chances, factors, edges, columns, wanted, quantiles, shares, kind_keys, node_keys, draw_keys, levels, units, draws,
    rows, slots, start, end, out, x,
):  # fmt: skip
    """Writes the answers to sends into `out` (place and K_ columns) and their kinds into `x`; how many there are."""
    n, kinds, instants = 0, np.empty(len(ORDER) + 1, np.int64), np.empty(len(ORDER) + 1, np.int64)
    for i in range(start, end):
        node = rows[i, K_ID]
        unit = _fate(units[i], node_keys[node], draw_keys[draws[i]], rows[i, K_ENTRY], rows[i, K_VISIT])
        n_heard = _respond(
            chances, factors[draws[i]], edges, columns, wanted, quantiles, shares, kind_keys, unit, i, node,
            levels[node], slots, rows[i, K_AT], kinds, instants,
        )  # fmt: skip
        if n_heard == 0:
            kinds[0], instants[0], n_heard = SILENCE, rows[i, K_AT], 1
        for j in range(n_heard):
            for k in range(K_AT):
                out[n, 1 + k] = rows[i, k]
            out[n, 0], out[n, 1 + K_AT], x[n] = i, instants[j], kinds[j]
            n += 1
    return n


@entry_point
def _stir(  # type: ignore[no-untyped-def]
    chances, factors, edges, columns, wanted, quantiles, shares, kind_keys, node_keys, draw_keys, levels, units, draws,
    rows, slots, offsets, start, end, found,
):  # fmt: skip
    """Writes the contact, the draw and the place of the first send that is responded to into `found`; how many."""
    kinds, instants, n = np.empty(len(ORDER) + 1, np.int64), np.empty(len(ORDER) + 1, np.int64), 0
    for c in range(start, end):
        for draw in range(draws[0], draws[1]):
            for i in range(offsets[c], offsets[c + 1]):
                node = rows[i, K_ID]
                unit = _fate(units[c], node_keys[node], draw_keys[draw], rows[i, K_ENTRY], rows[i, K_VISIT])
                if _respond(
                    chances, factors[draw], edges, columns, wanted, quantiles, shares, kind_keys, unit, i, node,
                    levels[node], slots, rows[i, K_AT], kinds, instants,
                ):  # fmt: skip
                    found[n, 0], found[n, 1], found[n, 2] = c, draw, i
                    n += 1
                    break
    return n


class Answering:
    """Answers the sends of a compiled portfolio by a response model, in any number of draws.

    Args:
        compiled: the portfolio, compiled with a `program.Model` whose features are the model's and the local hour.
        world: what it runs on; responses that none of its streams hears are not made.
        responses: the response model.
        like: for messages that the model does not know, one that it does; the level of theirs is as unsure as that of
            any message never sent.
        n_draws: how many draws there are.
        rng: decides the draws.
        soft_share: the share of bounces that are soft.
        withdraws: whether who unsubscribes withdraws the consent for the journey's purpose.
        is_as_logged: whether the sends are those of the log, to the contacts of the log, at its instants.

    Raises:
        DataError: when the model does not know a message, with all of them.
    """

    def __init__(
        self,
        compiled: Compiled,
        world: o.World,
        responses: Responses,
        *,
        like: Mapping[str, str],
        n_draws: int,
        rng: np.random.Generator,
        soft_share: float,
        withdraws: bool,
        is_as_logged: bool,
    ) -> None:
        self._responses = responses
        self._messages, self._levels = _messages(compiled, responses, like)
        self._columns = np.array(
            [responses.responses.index(kind) if kind in responses.responses else -1 for kind in KINDS], np.int64
        )
        self._factors, self._edges = (
            _levels(responses, len(like), n_draws, rng, is_as_logged=is_as_logged),
            np.exp(responses.cell_edges),
        )
        self._draw_keys = rng.integers(2**64, size=n_draws, dtype=np.uint64)
        self._node_keys = np.array(
            [purpose_key(f"{compiled.releases[one.journey].journey.journey}/{one.name}") for one in compiled.nodes],
            np.uint64,
        )
        self._kind_keys = np.array([purpose_key(f"response/{i}") for i in range(2 * len(KINDS))], np.uint64)
        self._quantiles = _quantiles(responses, self._messages)
        self._shares = np.array([soft_share, float(withdraws)])
        self._wanted = _wanted(compiled, world, self._columns)
        self._table, self._table_rows = np.zeros(2, np.uint64), np.zeros(2, np.int64)
        self._known_keys = np.empty(0, np.uint64)
        self._chances = np.empty((0, len(responses.responses)), np.float32)
        self.n_predicted = self.n_asked = 0

    def chances(self, contacts: NDArray[np.int64], asked: Asked) -> NDArray[np.float32]:
        """The probability of each response to each send; predicted once for each contact, instant and message."""
        n, features = len(contacts), np.ascontiguousarray(asked.features[:, :-1])
        keys, rows, first = np.empty(n, np.uint64), np.empty(n, np.int64), np.empty(n, np.int64)
        nodes, at = asked.rows[:, o.K_ID].copy(), asked.rows[:, o.K_AT].copy()
        _keys(contacts, nodes, at, features.view(np.uint64), keys)
        self._make_room(n)
        n_new = _rows_of(keys, self._table, self._table_rows, self.n_predicted, rows, first)
        if n_new:
            new = first[:n_new]
            predicted = self._responses.predict(features[new], self._messages[nodes[new]])
            if self.n_predicted + n_new > len(self._chances):
                more = max(n_new, len(self._chances))
                self._chances = np.concatenate([self._chances, np.empty((more, predicted.shape[1]), np.float32)])
                self._known_keys = np.concatenate([self._known_keys, np.empty(more, np.uint64)])
            into = slice(self.n_predicted, self.n_predicted + n_new)
            self._chances[into] = np.clip(predicted, 1e-7, 1 - 1e-7)
            self._known_keys[into] = keys[new]
            self.n_predicted += n_new
        self.n_asked += n
        return self._chances[rows]

    def _make_room(self, n: int) -> None:
        """Keeps the table of questions at most half full."""
        size = len(self._table)
        while size < 2 * (self.n_predicted + n):
            size *= 2
        if size > len(self._table):
            self._table, self._table_rows = np.zeros(size, np.uint64), np.zeros(size, np.int64)
            keys = self._known_keys[: self.n_predicted]
            again = np.empty(len(keys), np.int64)
            _rows_of(keys, self._table, self._table_rows, 0, again, again.copy())

    def answers(
        self,
        units: NDArray[np.uint64],
        draws: NDArray[np.int64],
        asked: Asked,
        chances: NDArray[np.float32],
        slots: NDArray[np.int64],
    ) -> Answers:
        """The answers to sends, each in its draw; `units` are the contacts' unit hashes, `slots` those of `slots`."""
        rows = np.ascontiguousarray(asked.rows)

        def work(start: int, end: int) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
            room = (end - start) * (len(ORDER) + 1)
            out, x = np.empty((room, 6), np.int64), np.empty(room, np.float64)
            used = _draw(*self._tables(chances), units, draws, rows, slots, start, end, out, x)
            return out[:used], x[:used]

        parts = in_parts(work, len(rows))
        out = np.concatenate([np.empty((0, 6), np.int64), *(part[0] for part in parts)])
        x = np.concatenate([np.empty(0, np.float64), *(part[1] for part in parts)])
        return Answers(asked.place[out[:, 0]], out[:, 1:], x)

    def stirred(
        self,
        units: NDArray[np.uint64],
        draws: tuple[int, int],
        asked: Asked,
        offsets: NDArray[np.int64],
        chances: NDArray[np.float32],
        slots: NDArray[np.int64],
    ) -> NDArray[np.int64]:
        """Who responds in which of some draws: int64 (contact, draw, first send that is responded to), by contact.

        `draws` are the first and the one behind the last; `asked` are the sends in the order of the contacts, whose
        first ones `offsets` tells.
        """
        n_draws = draws[1] - draws[0]

        def work(start: int, end: int) -> NDArray[np.int64]:
            found = np.empty(((end - start) * n_draws, 3), np.int64)
            n = _stir(*self._tables(chances), units, draws, asked.rows, slots, offsets, start, end, found)
            return found[:n].copy()

        parts = in_parts(work, len(units), 1 + CHUNK // n_draws)
        return np.concatenate([np.empty((0, 3), np.int64), *parts])

    def slots(self, asked: Asked, first_at: NDArray[np.int64]) -> NDArray[np.int64]:
        """The slots of each send, int64 (send, 2): of its local hour, and of how long its contact was known."""
        known_us = asked.rows[:, o.K_AT] - first_at
        hours = self._responses.slot_of(asked.features[:, -1])
        return np.column_stack([hours, self._responses.tenure_slot_of(known_us)])

    def _tables(self, chances: NDArray[np.float32]) -> tuple[NDArray[Any], ...]:
        return (
            chances, self._factors, self._edges, self._columns, self._wanted, self._quantiles, self._shares,
            self._kind_keys, self._node_keys, self._draw_keys, self._levels,
        )  # fmt: skip


def _levels(
    responses: Responses, n_unseen: int, n_draws: int, rng: np.random.Generator, *, is_as_logged: bool
) -> NDArray[np.float64]:
    """By how much the odds are off in each draw: float64 (draw, message, cell, response), unknown messages last.

    A level is surest where the log's own sends are made again. Another journey makes only some of them, to some of
    those contacts.
    """
    _, n_cells, n_responses = responses.cell_sd.shape
    allowance = REPEAT_SD if is_as_logged else TRANSPORT_SD
    of_message = np.sqrt(responses.shift_sd**2 / ALIKE + allowance**2)
    of_cell = np.zeros_like(responses.cell_sd) if is_as_logged else responses.cell_sd
    of_cell = np.concatenate([of_cell, np.zeros((n_unseen, n_cells, n_responses))])
    of_message = np.vstack([of_message, *[responses.unseen_sd] * n_unseen])
    cells = rng.standard_normal((n_draws, *of_cell.shape)) * of_cell
    messages = rng.standard_normal((n_draws, *of_message.shape)) * of_message
    return np.asarray(np.exp(cells + messages[:, :, None]), np.float64)


def silence(asked: Asked) -> Answers:
    """To every send the answer that nothing comes of it."""
    return Answers(asked.place, asked.rows, np.full(len(asked.place), float(SILENCE)))


def _wanted(compiled: Compiled, world: o.World, columns: NDArray[np.int64]) -> NDArray[np.int64]:
    """Which responses to each node's message the program hears, and which are decided because others rest on them."""
    n_streams = int(world.limits[o.L_STREAMS])
    hears = np.asarray(world.own_streams.reshape(-1, max(1, n_streams)).any(axis=1), np.bool_)
    wanted = np.full((len(compiled.nodes), len(KINDS)), UNHEARD)
    program = compiled.program
    for node in np.flatnonzero(program.nodes[:, o.N_OP] == o.OP_SEND):
        first, converted = int(program.nodes[node, o.H]), int(program.sizes[o.N_CONVERTED])
        mine = np.zeros(len(KINDS), np.bool_)
        mine[:CONVERTED] = hears[first : first + CONVERTED]
        mine[CONVERTED] = converted >= 0 and hears[converted]
        wanted[node, mine] = HEARD
        rests_on = {OPENED: CLICKED, UNSUBSCRIBED: WITHDRAWN_EVENT}
        for kind, other in rests_on.items():
            if mine[other] and not mine[kind]:
                wanted[node, kind] = UNTOLD
        if not mine[BOUNCED]:
            wanted[node, BOUNCED] = UNTOLD
    wanted[:, [kind for kind in ORDER if columns[kind] < 0]] = UNHEARD
    return wanted


def _messages(
    compiled: Compiled, responses: Responses, like: Mapping[str, str]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """For each node the index of the message that it is predicted as, and of its level; -1 for nodes that do not send.

    The levels of messages that are only like another come behind those of the model's.
    """
    place = {message: i for i, message in enumerate(responses.messages)}
    faults = [
        f"like: {ours!r} is to be like {theirs!r}, which the model does not know; "
        f"{known(theirs, responses.messages, 'messages')}"
        for ours, theirs in like.items()
        if theirs not in place
    ]
    sent = {info.node.send for info in compiled.nodes if isinstance(info.node, Send)}
    faults += [
        f"the message {message!r} was never sent in the log that the model learned from, so nothing is known of "
        f"its responses (rule 32); {known(message, responses.messages, 'messages')}, or say which it is assumed "
        f'to be like: like={{"{message}": "{responses.messages[0]}"}}'
        for message in sorted(sent - {*place} - {*like})
    ]
    if faults:
        raise DataError("\n".join(faults))
    texts = [info.node.send if isinstance(info.node, Send) else None for info in compiled.nodes]
    levels = place | {message: len(place) + i for i, message in enumerate(like) if message not in place}
    predicted = [-1 if text is None else place[like.get(text, text)] for text in texts]
    level = [-1 if text is None else levels[text] for text in texts]
    return np.array(predicted, np.int64), np.array(level, np.int64)


def _quantiles(responses: Responses, predicted: NDArray[np.int64]) -> NDArray[np.int64]:
    """The delays by kind, node and slot, int64 (kind, node, slot, quantile); 1 microsecond where nothing is told."""
    made = np.ones((len(KINDS), len(predicted), N_SLOTS, N_QUANTILES), np.int64)
    slot, u = np.repeat(np.arange(N_SLOTS), N_QUANTILES), np.tile(np.linspace(0, 1, N_QUANTILES), N_SLOTS)
    for kind in responses.responses:
        for message in np.unique(predicted[predicted >= 0]):
            delays = responses.draw_delays(kind, np.full(len(u), message), slot, u)
            made[KINDS.index(kind), predicted == message] = delays.reshape(N_SLOTS, N_QUANTILES)
    return np.maximum(made, 1)
