"""Lanes: threads that each carry one message at a time to a relay, up to the dot and, if the gate says so, beyond."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Collection, Iterable
from queue import Queue, SimpleQueue
from typing import TYPE_CHECKING, NamedTuple

from .gate import Passed, Refused, Request
from .settling import Settled
from .transport import Connection, Outcome, Unreached

if TYPE_CHECKING:
    from collections.abc import Mapping

    from journeylab.sender.settings import Relay

    from .preparing import Prepared

__all__ = ["Asked", "Carried", "Lane", "Waiting"]


class Asked(NamedTuple):
    """A lane's question whether its message may be ended; None as an answer takes it back."""

    request: Request
    answer: SimpleQueue[Passed | Refused | None]


class Carried(NamedTuple):
    """What became of a message that a lane has taken."""

    message: Prepared
    settled: Settled


class Waiting:
    """Prepared messages that no lane has taken yet, the oldest first."""

    def __init__(self) -> None:
        self._messages: deque[Prepared] = deque()
        self._changed = threading.Condition()
        self._is_closed = False

    def __len__(self) -> int:
        return len(self._messages)

    def add(self, messages: Iterable[Prepared]) -> None:
        """Puts messages behind those that wait."""
        with self._changed:
            self._messages.extend(messages)
            self._changed.notify_all()

    def take(self, relays: Collection[str]) -> Prepared | None:
        """The first message that one of these relays may have, as soon as there is one; None when it is over."""
        with self._changed:
            while not self._is_closed:
                for place, message in enumerate(self._messages):
                    if not relays.isdisjoint(message.relays):  # type: ignore[attr-defined]
                        del self._messages[place]
                        return message
                self._changed.wait()
        return None

    def close(self) -> list[Prepared]:
        """Lets no lane take anything more; what nobody took."""
        with self._changed:
            self._is_closed = True
            rest = [*self._messages]
            self._messages.clear()
            self._changed.notify_all()
        return rest


class Lane(threading.Thread):
    """A thread with at most one message on its way.

    Args:
        waiting: where messages come from.
        told: where questions and outcomes go.
        relays: those that the lane may connect to, in the order in which they are tried.
        connect: opens a connection to a relay.
        observe: is told of each step and message.
    """

    def __init__(
        self, name: str, waiting: Waiting, told: Queue[Asked | Carried], relays: Mapping[str, Relay],
        connect: Callable[[Relay], Connection], observe: Callable[[str, str], None],
    ) -> None:  # fmt: skip
        super().__init__(name=name, daemon=True)
        self._waiting, self._told, self._relays, self._connect, self._observe = waiting, told, relays, connect, observe
        self._answer: SimpleQueue[Passed | Refused | None] = SimpleQueue()
        self._connections: dict[str, Connection] = {}
        self._lock = threading.Lock()
        self._is_cut = False
        self._is_past_the_gate = False

    def run(self) -> None:
        """Carries messages until there will be no more."""
        names = frozenset(self._relays)
        while (message := self._waiting.take(names)) is not None:
            try:
                settled = self._carried(message)
            except Exception as problem:
                for connection in self._connections.values():
                    connection.withdraw()
                kind = "unknown" if self._is_past_the_gate else "withdrawn"
                settled = self._settled(message, Outcome(kind, "body", text=repr(problem)))  # type: ignore[arg-type]
            self._is_past_the_gate = False
            self._told.put(Carried(message, settled))
        for connection in self._connections.values():
            connection.leave()

    def cut(self) -> None:
        """Ends the lane's connections at once, unless the gate has let its message pass already."""
        with self._lock:
            self._is_cut = True
            if not self._is_past_the_gate:
                for connection in [*self._connections.values()]:
                    connection.cut()

    def _settled(
        self, message: Prepared, outcome: Outcome, relay: str | None = None, noted: Iterable[tuple[str, str]] = (),
        passed: Passed | None = None,
    ) -> Settled:  # fmt: skip
        row = message.row
        gated_at = None if passed is None else passed.gated_at
        return Settled(message.key, row.fence, row.contact, outcome, relay, gated_at, tuple(noted))

    def _carried(self, message: Prepared) -> Settled:
        noted: list[tuple[str, str]] = []
        text = "no relay takes messages"
        for name in message.relays:
            if name not in self._relays:
                continue
            try:
                connection, refusal = self._offered(self._relays[name], message)
            except Unreached as problem:
                noted.append((name, problem.trouble))
                text = str(problem)
                continue
            if refusal is not None:
                return self._settled(message, refusal, name, noted)
            return self._ended(connection, name, message, noted)
        return self._settled(message, Outcome("unreached", "connect", text=text), noted=noted)

    def _offered(self, relay: Relay, message: Prepared) -> tuple[Connection, Outcome | None]:
        """A connection over which the relay has the message but for its end, or else with its refusal."""
        used = self._connections.get(relay.name)
        if used is not None and used.is_open:
            refusal = self._offer(used, message)
            # A relay may end a connection over which nothing came for a while; the message did not get anywhere.
            is_stale = refusal is not None and refusal.stage == "mail" and refusal.code in (None, 421)
            if not is_stale:
                return used, refusal
        fresh = self._connections[relay.name] = self._connect(relay)
        if self._is_cut:
            fresh.cut()
        return fresh, self._offer(fresh, message)

    def _offer(self, connection: Connection, message: Prepared) -> Outcome | None:
        key = message.key
        self._observe("after_connect", key)
        return connection.offer(
            message.return_path, message.address, message.body, lambda step: self._observe(step, key)
        )

    def _ended(self, connection: Connection, name: str, message: Prepared, noted: list[tuple[str, str]]) -> Settled:
        key, row = message.key, message.row
        self._observe("before_gate", key)
        self._told.put(Asked(Request(key, row.fence, row.contact, name), self._answer))
        passed = self._answer.get()
        with self._lock:
            self._is_past_the_gate = isinstance(passed, Passed) and not self._is_cut
        if not isinstance(passed, Passed) or not self._is_past_the_gate:
            return self._settled(message, connection.withdraw(), name, noted)
        self._observe("after_gate_before_dot", key)
        outcome = connection.finish(lambda step: self._observe(step, key))
        self._observe("after_reply_before_journal", key)
        return self._settled(message, outcome, name, noted, passed)
