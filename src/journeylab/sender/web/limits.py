"""How much one network, or one link, may ask for."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable
from threading import Lock
from typing import Final

__all__ = ["Buckets"]

_MOST_KEYS: Final = 10_000


class Buckets:
    """Token buckets by key, in memory: `size` at once, and `per_second` more as time goes by.

    Of keys beyond ten thousand the one that asked least lately is forgotten.

    >>> time = iter([0.0, 0.0, 0.0, 1.0])
    >>> buckets = Buckets(2, 1.0, lambda: next(time))
    >>> [buckets.take("a") for _ in range(4)]
    [True, True, False, True]
    """

    def __init__(self, size: int, per_second: float, clock: Callable[[], float]) -> None:
        self.size, self.per_second, self.clock = size, per_second, clock
        self._held: OrderedDict[Hashable, tuple[float, float]] = OrderedDict()
        self._lock = Lock()

    def has(self, key: Hashable) -> bool:
        """Whether there is one left for the key; it is left there."""
        with self._lock:
            left, at = self._held.get(key, (float(self.size), 0.0))
            return left + (self.clock() - at) * self.per_second >= 1

    def take(self, key: Hashable) -> bool:
        """Whether there was one left for the key; it is taken."""
        with self._lock:
            now = self.clock()
            left, at = self._held.pop(key, (float(self.size), now))
            left = min(float(self.size), left + (now - at) * self.per_second)
            self._held[key] = (left - 1 if left >= 1 else left, now)
            if len(self._held) > _MOST_KEYS:
                self._held.popitem(last=False)
            return left >= 1
