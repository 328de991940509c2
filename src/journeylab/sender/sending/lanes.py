"""Lanes: each carries one message at a time to a relay, up to the dot and, if the gate says so, beyond.

All lanes of a worker share one thread, which never waits for a relay: what a lane does is a generator that gives way
where it would. Only connecting, with all that TLS and passwords ask, and a channel's sending have a thread of their own
for as long as it takes.
"""

from __future__ import annotations

import selectors
import socket
import threading
import time
from collections import deque
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from queue import Queue
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from .channels import Handover, Letter
from .gate import Passed, Refused, Request
from .settling import Settled
from .transport import Connection, Outcome, Unreached

if TYPE_CHECKING:
    from journeylab.sender.settings import Relay

    from .preparing import Prepared

__all__ = ["Asked", "Carried", "Lane", "Lanes"]

_AWAKE: Final = b"\0"


class Asked(NamedTuple):
    """A lane's question whether its message may be ended; `Lanes.answer` answers it."""

    request: Request
    lane: Lane


class Carried(NamedTuple):
    """What became of a message that a lane has taken."""

    message: Prepared
    settled: Settled


class Lane:
    """A lane, with its connections, and what it is doing.

    Args:
        relays: those that it may connect to.
        observe: is told of each step and message.
    """

    def __init__(self, relays: Mapping[str, Relay], observe: Callable[[str, str], None]) -> None:
        self.relays, self._observe = relays, observe
        self.connections: dict[str, Connection | Handover] = {}
        self.message: Prepared
        self.work: Generator[Any, Any, Settled]
        self.until = 0.0
        self.awaits: socket.socket | None = None
        self.is_past_the_gate = False
        self.is_cut = False

    def begin(self, message: Prepared) -> None:
        """Has something to do: to carry a message."""
        self.message, self.is_past_the_gate = message, False
        self.work = self._carried(message)

    def given_up(self, problem: Exception) -> Settled:
        """What has become of the message when the lane's work has failed."""
        for connection in self.connections.values():
            connection.withdraw()
        kind = "unknown" if self.is_past_the_gate else "withdrawn"
        return self._settled(self.message, Outcome(kind, "body", text=repr(problem)))  # type: ignore[arg-type]

    def cut(self) -> None:
        """Ends its connections at once, unless the gate has let its message pass already."""
        self.is_cut = True
        if not self.is_past_the_gate:
            for connection in self.connections.values():
                connection.cut()

    def _settled(
        self, message: Prepared, outcome: Outcome, relay: str | None = None, noted: Iterable[tuple[str, str]] = (),
        passed: Passed | None = None,
    ) -> Settled:  # fmt: skip
        row = message.row
        gated_at = None if passed is None else passed.gated_at
        return Settled(message.key, row.fence, row.contact, outcome, relay, gated_at, tuple(noted))

    # The work. It gives way with what it waits for: a relay to connect to, the gate's answer to a request, a connection
    # to be read or written, or a channel to send.

    def _carried(self, message: Prepared) -> Generator[Any, Any, Settled]:
        noted: list[tuple[str, str]] = []
        text = "no relay takes messages"
        for name in message.relays:
            if name not in self.relays:
                continue
            try:
                connection, refusal = yield from self._offered(self.relays[name], message)
            except Unreached as problem:
                noted.append((name, problem.trouble))
                text = str(problem)
                continue
            if refusal is not None:
                return self._settled(message, refusal, name, noted)
            return (yield from self._ended(connection, name, message, noted))
        return self._settled(message, Outcome("unreached", "connect", text=text), noted=noted)

    def _offered(
        self, relay: Relay, message: Prepared
    ) -> Generator[Any, Any, tuple[Connection | Handover, Outcome | None]]:  # fmt: skip
        """A connection over which the relay has the message but for its end, or else with its refusal."""
        used = self.connections.get(relay.name)
        if used is not None and used.is_open:
            refusal = yield from self._offer(used, message)
            # A relay may end a connection over which nothing came for a while; the message did not get anywhere.
            is_stale = refusal is not None and refusal.stage == "mail" and refusal.code in (None, 421)
            if not is_stale:
                return used, refusal
        fresh = self.connections[relay.name] = yield relay
        if self.is_cut:
            fresh.cut()
        return fresh, (yield from self._offer(fresh, message))

    def _offer(self, connection: Connection | Handover, message: Prepared) -> Generator[Any, Any, Outcome | None]:
        key = message.key
        self._observe("after_connect", key)
        if isinstance(connection, Handover):
            connection.hold(Letter(key, message.address, message.return_path, message.body))
            return None
        return (
            yield from connection.offering(
                message.return_path, message.address, message.body, lambda step: self._observe(step, key)
            )
        )

    def _ended(
        self, connection: Connection | Handover, name: str, message: Prepared, noted: list[tuple[str, str]]
    ) -> Generator[Any, Any, Settled]:
        key, row = message.key, message.row
        self._observe("before_gate", key)
        passed = yield Request(key, row.fence, row.contact, name)
        self.is_past_the_gate = isinstance(passed, Passed) and not self.is_cut
        if not isinstance(passed, Passed) or not self.is_past_the_gate:
            return self._settled(message, connection.withdraw(), name, noted)
        self._observe("after_gate_before_dot", key)
        if isinstance(connection, Handover):
            outcome = yield from connection.finishing()
        else:
            outcome = yield from connection.finishing(lambda step: self._observe(step, key))
        self._observe("after_reply_before_journal", key)
        return self._settled(message, outcome, name, noted, passed)


class Lanes(threading.Thread):
    """The thread of some lanes, and the prepared messages that none of them has taken yet, the oldest first.

    Args:
        lanes: the lanes.
        told: where questions and outcomes go, those of one instant together.
        ways: what opens each relay, by its name.
    """

    def __init__(
        self, lanes: Sequence[Lane], told: Queue[Any], ways: Mapping[str, Callable[[], Connection | Handover]]
    ) -> None:
        super().__init__(name="lanes", daemon=True)
        self._lanes, self._told, self._ways = lanes, told, ways
        self._idle = [*reversed(lanes)]  # the last one goes first, so that no more connect than are needed
        self._lock = threading.Lock()
        self._messages: deque[Prepared] = deque()
        self._to_tell: list[Asked | Carried] = []
        self._said: deque[tuple[Lane, Any]] = deque()
        self._is_closed = self._is_cut = False

    # What other threads ask for

    def start(self) -> None:
        """Begins to carry messages."""
        self._selector = selectors.DefaultSelector()
        self._bell, self._ears = socket.socketpair()
        for one in (self._bell, self._ears):
            one.settimeout(0)
        self._selector.register(self._ears, selectors.EVENT_READ)
        super().start()

    @property
    def n_waiting(self) -> int:
        """How many messages no lane has taken."""
        return len(self._messages)

    def add(self, messages: Iterable[Prepared]) -> None:
        """Puts messages behind those that wait."""
        with self._lock:
            self._messages.extend(messages)
        self._wake()

    def answer(self, answers: Iterable[tuple[Lane, Passed | Refused | None]]) -> None:
        """Answers lanes' questions; None takes the message back."""
        self._said.extend(answers)
        self._wake()

    def cut(self) -> None:
        """Ends the connections of messages that have not passed the gate."""
        self._is_cut = True
        self._wake()

    def close(self) -> list[Prepared]:
        """Lets no lane take anything more; what nobody took."""
        with self._lock:
            self._is_closed = True
            rest = [*self._messages]
            self._messages.clear()
        self._wake()
        return rest

    def _wake(self) -> None:
        with suppress(OSError):  # it is about to wake anyway, or has ended
            self._bell.send(_AWAKE)

    # The thread

    def run(self) -> None:
        """Carries messages until there will be no more."""
        while True:
            self._hand_out()
            if self._to_tell:
                self._told.put(self._to_tell)
                self._to_tell = []
            if self._is_closed and len(self._idle) == len(self._lanes):
                break
            for key, _ in self._selector.select(self._patience()):
                if key.data is None:
                    self._ears.recv(4096)
                else:
                    self._advance(key.data)
            while self._said:
                lane, what = self._said.popleft()
                self._advance(lane, what)
            if self._is_cut:
                self._is_cut = False
                for lane in self._lanes:
                    lane.cut()
            now = time.monotonic()
            for lane in self._lanes:
                if lane.awaits is not None and lane.until <= now:
                    self._advance(lane, TimeoutError("timed out"))
        for lane in self._lanes:
            for connection in lane.connections.values():
                connection.leave()
        self._selector.close()
        self._bell.close()
        self._ears.close()

    def _patience(self) -> float | None:
        ends = [lane.until for lane in self._lanes if lane.awaits is not None]
        return max(min(ends) - time.monotonic(), 0.0) if ends else None

    def _hand_out(self) -> None:
        begun: list[Lane] = []
        with self._lock:
            passed_by: list[Prepared] = []
            while self._messages and self._idle:
                message = self._messages.popleft()
                fit = (lane for lane in reversed(self._idle) if any(name in lane.relays for name in message.relays))
                lane = next(fit, None)
                if lane is None:
                    passed_by.append(message)
                    continue
                self._idle.remove(lane)
                lane.begin(message)
                begun.append(lane)
            self._messages.extendleft(reversed(passed_by))
        for lane in begun:
            self._advance(lane)

    def _advance(self, lane: Lane, what: Any = None) -> None:
        """Lets a lane go on with what it has waited for, or with what went wrong, up to where it waits again."""
        if lane.awaits is not None:
            self._selector.unregister(lane.awaits)
            lane.awaits = None
        try:
            wanted = lane.work.throw(what) if isinstance(what, Exception) else lane.work.send(what)
        except StopIteration as end:
            settled = end.value
        except Exception as problem:
            settled = lane.given_up(problem)
        else:
            if isinstance(wanted, Request):
                self._to_tell.append(Asked(wanted, lane))
            elif isinstance(wanted, tuple):
                connection, event = wanted
                lane.awaits, lane.until = connection.sock, time.monotonic() + connection.patience
                self._selector.register(connection.sock, event, lane)
            else:
                work = wanted.deliver if isinstance(wanted, Handover) else partial(self._connected, wanted)
                threading.Thread(target=self._done, args=(lane, work), daemon=True).start()
            return
        self._idle.append(lane)
        self._to_tell.append(Carried(lane.message, settled))

    def _connected(self, relay: Relay) -> Connection | Handover:
        connection = self._ways[relay.name]()
        connection.unblock()
        return connection

    def _done(self, lane: Lane, work: Callable[[], Any]) -> None:
        """In a thread of its own: tells the lane what its work has come to, or why to nothing."""
        try:
            done = work()
        except Exception as problem:
            self.answer([(lane, problem)])  # type: ignore[list-item]
        else:
            self.answer([(lane, done)])
