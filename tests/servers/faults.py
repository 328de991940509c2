"""A TCP proxy on loopback whose network fails where it is told to.

with FaultProxy(oracle.port, [Fault("up", after=b"\\r\\n.\\r\\n")]) as proxy: ...  # the dot arrives, no reply does
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from . import LOOPBACK


@dataclass(frozen=True)
class Fault:
    """What befalls the bytes of one direction.

    Attributes:
        direction: `up` is from client to server, `down` back.
        effect: `cut` ends both connections (the client sees a reset), `half-close` ends this direction only,
            `black-hole` swallows what follows, `delay` holds each following piece back for `delay` seconds.
        after: it begins once this many bytes, or these bytes, have passed (and have been passed on).
        delay: seconds.
        connections: those that it befalls, counted from 1; None is all.
    """

    direction: Literal["up", "down"]
    effect: Literal["cut", "half-close", "black-hole", "delay"] = "cut"
    after: int | bytes = 0
    delay: float = 0.0
    connections: tuple[int, ...] | None = None

    def begins_at(self, passed: bytes) -> int | None:
        """The number of bytes after which it begins, if it is among those that have come by."""
        if isinstance(self.after, int):
            return self.after if len(passed) >= self.after else None
        found = passed.find(self.after)
        return found + len(self.after) if found >= 0 else None


class FaultProxy:
    """Passes connections on to `127.0.0.1:port`; `faults` may be set at any time, for connections from then on."""

    host = LOOPBACK

    def __init__(self, port: int, faults: Sequence[Fault] = ()) -> None:
        self._upstream = port
        self.faults = faults
        self.n_connections = 0
        self._tasks: set[asyncio.Task[None]] = set()

    def __enter__(self) -> FaultProxy:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="fault-proxy", daemon=True)
        self._thread.start()
        start = asyncio.start_server(self._connected, LOOPBACK, 0)
        self._listener = asyncio.run_coroutine_threadsafe(start, self._loop).result(10)
        self.port = int(self._listener.sockets[0].getsockname()[1])
        return self

    def __exit__(self, *exception: object) -> None:
        asyncio.run_coroutine_threadsafe(self._stop(), self._loop).result(10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    async def _stop(self) -> None:
        self._listener.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await asyncio.sleep(0)  # transports close in the loop's next round

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self.n_connections += 1
        faults = [one for one in self.faults if one.connections is None or self.n_connections in one.connections]
        writers = [writer]
        try:
            there, onward = await asyncio.open_connection(LOOPBACK, self._upstream)
            writers.append(onward)
            async with asyncio.TaskGroup() as both:
                both.create_task(self._pass_on(reader, onward, [one for one in faults if one.direction == "up"]))
                both.create_task(self._pass_on(there, writer, [one for one in faults if one.direction == "down"]))
        except* _Cut:
            writer.transport.abort()
        except* (OSError, asyncio.CancelledError):
            pass  # either side may go as it likes, and so may the test
        finally:
            for one in writers:
                one.close()
            self._tasks.discard(task)

    async def _pass_on(
        self, source: asyncio.StreamReader, target: asyncio.StreamWriter, faults: Sequence[Fault]
    ) -> None:
        passed, n_written = b"", 0
        held_back: float = 0.0
        while True:
            begun = [(at, one) for one in faults if (at := one.begins_at(passed)) is not None]
            stops = [(at, one.effect) for at, one in begun if one.effect != "delay"]
            end, effect = min(stops, default=(len(passed), None))
            if n_written < end:
                await asyncio.sleep(held_back)
                target.write(passed[n_written:end])
                await target.drain()
                n_written = end
            held_back = sum(one.delay for _, one in begun if one.effect == "delay")
            if effect == "cut":
                raise _Cut
            if effect == "half-close":
                target.write_eof()
                return
            chunk = await source.read(2**16)
            if not chunk:
                if effect is None:
                    target.write_eof()
                return
            passed += chunk


class _Cut(Exception):
    """The cable is out."""
