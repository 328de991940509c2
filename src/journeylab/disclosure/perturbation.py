"""The third rule: counts are shown rounded to five, or with noise that repeats do not average out."""

from __future__ import annotations

import hmac
import math
from hashlib import sha256
from typing import TYPE_CHECKING, Final, Literal, TypeAlias

import numpy as np

if TYPE_CHECKING:
    from .people import Floats

__all__ = [
    "BASE",
    "MOST_NOISE",
    "Perturbation",
    "noisy",
    "rounded",
    "shown_count",
    "shown_quantile",
    "shown_sum",
    "slack",
]

BASE: Final = 5
MOST_NOISE: Final = 5
Perturbation: TypeAlias = Literal["rounded", "noisy"]


def rounded(n: int) -> int:
    """The nearest multiple of five.

    >>> [rounded(n) for n in (10, 12, 13, 17)]
    [10, 10, 15, 15]
    """
    return (n + BASE // 2) // BASE * BASE


def noisy(n: int, key: bytes, whom: bytes) -> int:
    """The count and from -5 to 5, all alike, drawn by a keyed hash of who is counted.

    Who asks again, also under another name, is given the same draw; who lacks the key cannot tell it.

    >>> noisy(100, bytes(32), b"people"), noisy(100, bytes(32), b"people")
    (101, 101)
    """
    draw = int.from_bytes(hmac.digest(key, whom, sha256)[:8], "big")
    return n + draw % (2 * MOST_NOISE + 1) - MOST_NOISE


def shown_count(n: int, how: Perturbation, key: bytes, whom: bytes) -> int:
    """A count as it is shown."""
    return rounded(n) if how == "rounded" else noisy(n, key, whom)


def slack(how: Perturbation) -> int:
    """How far the true count may lie from the one shown, on either side.

    >>> slack("rounded"), slack("noisy")
    (2, 5)
    """
    return BASE // 2 if how == "rounded" else MOST_NOISE


def shown_sum(contributions: Floats) -> float:
    """A sum rounded to what five people contribute on average, and that to 1, 2 or 5 times a power of ten.

    >>> shown_sum(np.full(13, 1.0)), shown_sum(np.full(13, 0.3)), shown_sum(np.linspace(10, 90, 100))
    (15.0, 4.0, 5000.0)
    """
    step = _step(BASE * float(contributions.mean()))
    return float(np.round(contributions.sum() / step) * step)


def _step(least: float) -> float:
    """The least of 1, 2 or 5 times a power of ten that is not below."""
    power = 10.0 ** math.floor(math.log10(least))
    return float(next(one * power for one in (1, 2, 5, 10) if one * power >= least * (1 - 1e-9)))


def shown_quantile(values: Floats, at: float, fewest: int) -> float:
    """The mean of the values of the ten people nearest to the quantile by rank: nobody's own value, to three digits.

    >>> shown_quantile(np.arange(101.0), 0.5, 10)
    49.5
    """
    first = min(max(round(at * (len(values) - 1)) - fewest // 2, 0), len(values) - fewest)
    return float(f"{np.sort(values)[first : first + fewest].mean():.3g}")
