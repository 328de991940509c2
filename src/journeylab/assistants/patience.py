"""How long work may take: it is told to stop, and stops where it next says how far it is."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["Stopped", "Watch"]

_LOOK: float = 0.1


class Stopped(Exception):
    """Work was told to stop, and has."""


class Watch:
    """What long work is given as its `progress`: it knows how far the work is, and can stop it.

    Attributes:
        done: how many stages were done, and which part of the one that is being done; it only grows.
    """

    def __init__(self) -> None:
        self.done = 0.0
        self._n_stages, self._last = 0, (0, 0)
        self._stopping = threading.Event()

    def stop(self) -> None:
        """Has the work stop where it next says how far it is."""
        self._stopping.set()

    def __call__(self, n_done: int, n_all: int, /) -> None:
        """Notes how far the work is.

        Raises:
            Stopped: when it is to stop.
        """
        self.look()
        if n_all != self._last[1] or n_done < self._last[0]:
            self._n_stages += 1
        self._last = n_done, n_all
        self.done = max(self.done, self._n_stages - 1 + min(n_done / max(n_all, 1), 1.0))

    def look(self) -> None:
        """Nothing, unless the work is to stop.

        Raises:
            Stopped: when it is.
        """
        if self._stopping.is_set():
            raise Stopped

    @contextmanager
    def alone(self, lock: threading.Lock) -> Iterator[None]:
        """Waits until no other work holds a lock, and holds it.

        Raises:
            Stopped: when it is to stop meanwhile.
        """
        while not lock.acquire(timeout=_LOOK):
            self.look()
        try:
            self.look()
            yield
        finally:
            lock.release()
