"""How far long work is, shown where one looks: a bar in marimo, Jupyter, VS Code or a terminal, elsewhere lines.

Every long function takes `progress`: `True` for a bar, or what to call with how much is done and how much there is in
all. What has several stages begins anew with each. Without it nothing is shown.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any, Protocol, TypeAlias

__all__ = ["Progress", "Tell", "shown"]

Tell: TypeAlias = Callable[[int, int], None]
"""Is told how much is done and how much there is in all."""
Progress: TypeAlias = Tell | bool | None
"""What `progress=` may be."""

_UNSEEN_SECONDS = 0.2


class _Bar(Protocol):
    def __call__(self, n_done: int, n_all: int, /) -> None: ...

    def close(self) -> None: ...


@contextmanager
def shown(progress: Progress, doing: str) -> Iterator[Tell]:
    """What to tell how far one stage of work is: the caller's own function, a bar that says `doing`, or nothing.

    >>> told = []
    >>> with shown(lambda n_done, n_all: told.append((n_done, n_all)), "counting") as tell:
    ...     for n in (1, 2):
    ...         tell(n, 2)
    >>> told
    [(1, 2), (2, 2)]
    """
    if callable(progress):
        yield progress
        return
    if not progress:
        yield _nothing
        return
    bar = _bar(doing)
    try:
        yield bar
    finally:
        bar.close()


def _nothing(n_done: int, n_all: int, /) -> None:
    pass


def _bar(doing: str) -> _Bar:
    marimo = sys.modules.get("marimo")
    if marimo is not None and marimo.running_in_notebook():
        return _MarimoBar(marimo, doing)
    if "ipykernel.zmqshell" in sys.modules or sys.stderr.isatty():
        return _TqdmBar(doing)
    return _Lines(doing)


class _MarimoBar:
    """tqdm draws only text in marimo, which has a bar of its own."""

    def __init__(self, marimo: Any, doing: str) -> None:
        self._marimo, self._doing, self._n = marimo, doing, 0
        self._bar: Any = None
        self._open = ExitStack()

    def __call__(self, n_done: int, n_all: int, /) -> None:
        if self._bar is None:
            bar = self._marimo.status.progress_bar(total=n_all, title=self._doing, remove_on_exit=True)
            self._bar = self._open.enter_context(bar)
        self._bar.update(n_done - self._n)
        self._n = n_done

    def close(self) -> None:
        self._open.close()


class _TqdmBar:
    """tqdm's, which is a widget in Jupyter and VS Code, and text in a terminal."""

    def __init__(self, doing: str) -> None:
        self._doing = doing
        self._bar: Any = None

    def __call__(self, n_done: int, n_all: int, /) -> None:
        if self._bar is None:
            from tqdm.auto import tqdm

            self._bar = tqdm(
                total=n_all, initial=n_done, desc=self._doing, leave=False, delay=_UNSEEN_SECONDS, miniters=1,
                bar_format="{desc} {percentage:3.0f}% |{bar}|",
            )  # fmt: skip
        self._bar.update(n_done - self._bar.n)

    def close(self) -> None:
        if self._bar is not None:
            self._bar.close()


class _Lines:
    """A line for each step, where nobody sees a bar move: ten at the most."""

    def __init__(self, doing: str) -> None:
        self._doing, self._tenths = doing, 0

    def __call__(self, n_done: int, n_all: int, /) -> None:
        tenths = 10 * n_done // max(n_all, 1)
        if tenths > self._tenths:
            self._tenths = tenths
            sys.stderr.write(f"{self._doing}: {n_done:,} of {n_all:,}\n")
            sys.stderr.flush()

    def close(self) -> None:
        pass
