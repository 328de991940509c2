"""The nine-node journey of `benchmarks.replay` as one compiled function: the least that its counts can cost.

Everything that the machine reads from a program is a constant here, everything that the journey does not use is left
out, and a contact's place in time is kept in local variables. It walks the same streams of the same prepared log, on
as many threads, in the same chunks.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

import journeylab as jl
from journeylab.binding import LogNames
from journeylab.conditions import parse
from journeylab.execution import in_parts

DAY = 86_400_000_000
BRANCHES = (
    "hello_next", "read_then", "read_else", "offer_deal", "offer_plain", "nudge_next", "bought_then", "bought_else",
)  # fmt: skip
STREAMS = (
    ("signup", 'plan == "trial"'), ("opened", 'message == "welcome_1"'), ("visit", None), ("purchase", None),
)  # fmt: skip


@njit(nogil=True, error_model="numpy", cache=True)
def _first_within(at, place, end, t, within):  # type: ignore[no-untyped-def]
    """The instant of the first event in (t, t + within], or -1."""
    while place < end and at[place] <= t:
        place += 1
    return at[place] if place < end and at[place] <= t + within else -1


@njit(nogil=True, error_model="numpy", cache=True)
def _walk(signups, signup_at, opens, open_at, visits, visit_at, purchases, purchase_at, until, start, end):  # type: ignore[no-untyped-def]
    hello = then = other = deal = plain = nudge = bought = not_bought = 0
    for c in range(start, end):
        if signups[c] == signups[c + 1]:
            continue
        entered_at = signup_at[signups[c]]
        hello += 1
        t = _first_within(open_at, opens[c], opens[c + 1], entered_at, 3 * DAY)
        if t >= 0:
            then += 1
            n = 0
            for i in range(visits[c], visits[c + 1]):
                n += t - 30 * DAY < visit_at[i] <= t
            if n >= 3:
                deal += 1
            else:
                plain += 1
        else:
            if entered_at + 3 * DAY > until:
                continue
            other += 1
            t = entered_at + 5 * DAY
            if t > until:
                continue
            nudge += 1
        if _first_within(purchase_at, purchases[c], purchases[c + 1], t, 7 * DAY) >= 0:
            bought += 1
        elif t + 7 * DAY <= until:
            not_bought += 1
    return hello, then, other, deal, plain, nudge, bought, not_bought


def streams(log: jl.EventLog) -> list[Any]:
    """The offsets and instants of the journey's streams, as the machine walks them."""
    names = LogNames(log)
    for event, where in STREAMS:
        names.stream(event, None if where is None else parse(where, scope="event").tree)
    return [array for one in names.stream_arrays for array in (one.offsets, one.at)]


def counts(streams: list[Any], log: jl.EventLog) -> dict[str, int]:
    """The counts of the journey's branches over a log, given its streams."""
    parts = in_parts(lambda start, end: _walk(*streams, log.end_us, start, end), log.n_contacts)
    return dict(zip(BRANCHES, np.sum(parts, axis=0).tolist(), strict=True))
