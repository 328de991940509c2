"""What is costly to find out is kept for a while, so that who looks often costs little."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from threading import Lock
from typing import Any, Final, TypeVar

__all__ = ["Kept"]

Found = TypeVar("Found")
_TIMES: Final = 20


class Kept:
    """Answers by key, each kept for twenty times as long as it took: a twentieth of the time at most goes into it.

    >>> seconds = iter([0.0, 2.0, 41.0, 43.0, 43.0, 44.0])
    >>> kept, answers = Kept(lambda: next(seconds)), iter("abc")
    >>> [kept.get("key", lambda: next(answers)) for _ in range(3)]
    ['a', 'a', 'b']

    Args:
        clock: seconds that only ever grow, such as `time.monotonic`.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._found: dict[Hashable, tuple[float, Any]] = {}
        self._lock = Lock()

    def get(self, key: Hashable, find: Callable[[], Found]) -> Found:
        """The answer for a key, found now or kept; an exception is nobody's answer."""
        with self._lock:
            known = self._found.get(key)
            if known is not None and self._clock() < known[0]:
                kept: Found = known[1]
                return kept
            start = self._clock()
            answer = find()
            end = self._clock()
            self._found[key] = end + _TIMES * (end - start), answer
            return answer
