"""How much memory work may take, and how much a bucket needs."""

from __future__ import annotations

import os
import re
from typing import Final

from journeylab.errors import DataError

__all__ = ["LEAST", "PROCESS", "budget_of", "needed", "said"]

_UNITS: Final = {"KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30, "TiB": 1 << 40,
                 "KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12}  # fmt: skip
LEAST: Final = 1 << 30
"""The least budget: below it the libraries alone leave no room."""
PROCESS: Final = 300 << 20
"""What a process takes that has everything loaded and no log."""
_ROW, _VALUE = 88, 20
"""What an event takes at the peak, while its bucket is prepared and replayed, and each of its properties beside."""


def budget_of(memory: str | int | None) -> int:
    """The bytes that a text such as "4GiB" says; without one, half of the machine's memory.

    Raises:
        DataError: when it is no size, or less than 1 GiB.

    >>> budget_of("4GiB"), budget_of("1.5GB")
    (4294967296, 1500000000)
    """
    if memory is None:
        return max(LEAST, _of_machine() // 2)
    found = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([KMGT]i?B)?\s*", str(memory))
    if found is None or (found[2] is None and not isinstance(memory, int)):
        raise DataError(f"memory: {memory!r} is no size; write it as 4GiB or 4GB")
    size = int(float(found[1]) * _UNITS.get(found[2] or "", 1))
    if size < LEAST:
        raise DataError(f"memory: {said(size)} is too little; give at least {said(LEAST)}")
    return size


def _of_machine() -> int:
    """The bytes of memory that the machine has; 8 GiB where it does not say."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, OSError, ValueError):  # Windows
        return 8 << 30


def needed(n_events: int, n_properties: int) -> int:
    """The bytes that a process needs at its peak for a bucket of so many events with so many properties."""
    return PROCESS + n_events * (_ROW + _VALUE * n_properties)


def said(size: int) -> str:
    """A size as people write it.

    >>> said(4294967296), said(900 << 20)
    ('4GiB', '900MiB')
    """
    if size < 1 << 20:
        return f"{size:,} bytes"
    whole = size / (1 << 30) if size >= 1 << 30 else size / (1 << 20)
    return f"{whole:.3g}{'GiB' if size >= 1 << 30 else 'MiB'}"
