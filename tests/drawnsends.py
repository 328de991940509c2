"""Sends at hours that were drawn evenly from sets of hours, in a world whose truth a test can see through."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray

from journeylab.clock import NEVER, instant
from journeylab.eventlog import EventLog
from journeylab.sendtime.sends import HOUR_US, SendTable
from journeylab.sendtimes import WEEK, SendTimes

BEGINS = 1_772_409_600_000_000  # 2026-03-02T00:00Z, a Monday
Chance = Callable[[NDArray[np.int64], NDArray[np.int64]], NDArray[np.float64]]
"""The chance that a send is answered, by contact and hour of the week."""


def drawn_sends(
    seed: int, chance: Chance, n: int = 3000, *, n_contacts: int = 400, weeks: int = 10, slots: Any = None,
    random_share: float = 1.0, own: Any = None,
) -> SendTable:  # fmt: skip
    """Sends over some weeks, at UTC hours that are local; all are matured but those of the last two weeks.

    Args:
        slots: bool (set, 168), from which each send has one; by default all hours.
        random_share: of the sends, at drawn hours; the others go at the hour of the week that `own` says.
    """
    rng = np.random.default_rng(seed)
    sets = np.ones((1, WEEK), np.bool_) if slots is None else np.asarray(slots, np.bool_)
    slot_set = rng.integers(0, len(sets), n)
    place = (rng.random(n) * sets.sum(axis=1)[slot_set]).astype(np.int64)
    hour = np.argsort(~sets, axis=1, kind="stable")[slot_set, place]
    is_random = rng.random(n) < random_share
    if own is not None:
        hour = np.where(is_random, hour, own)
    contact = np.sort(rng.integers(0, n_contacts, n))
    at = BEGINS + (rng.integers(0, weeks, n) * WEEK + hour) * HOUR_US + rng.integers(0, HOUR_US, n)
    order = np.lexsort((at, contact))
    at, hour, slot_set, is_random = at[order], hour[order], slot_set[order], is_random[order]
    answered = rng.random(n) < chance(contact, hour)
    after = np.where(answered, rng.integers(1, 20, n) * HOUR_US // 60, NEVER)
    until = BEGINS + (weeks + 2) * WEEK * HOUR_US
    return SendTable(
        pa.array(np.arange(n_contacts)), contact, at, hour + (at % HOUR_US) / HOUR_US, np.zeros(n, np.int64), ("m",),
        {"opened": after}, np.zeros(n, np.bool_), until - at, timedelta(days=14),
        np.where(is_random, 1 / sets.sum(axis=1)[slot_set], np.nan), np.where(is_random, slot_set, -1), sets, "opened",
        np.full(n_contacts, -1), (), instant(until),
    )  # fmt: skip


def log_of_sends(sends: SendTable) -> EventLog:
    """The event log that says the same."""
    at = pd.to_datetime(sends.at, unit="us", utc=True)
    sent = pd.DataFrame(
        {"contact": sends.contact, "event": "sent", "occurred_at": at, "message": [f"m{i}" for i in range(len(at))],
         "slot_propensity": sends.propensity}
    )  # fmt: skip
    opened = sent[sends.answered].assign(event="opened", slot_propensity=np.nan)
    opened["occurred_at"] += pd.to_timedelta(sends.after["opened"][sends.answered], unit="us")
    ends = pd.DataFrame({"contact": [0], "event": "end", "occurred_at": [sends.until]})
    return EventLog.read(pd.concat([sent, opened, ends], ignore_index=True), cache=False)


def times_of(scores: Any, contacts: Sequence[int] = (), profile: Sequence[int] = (), **about: Any) -> SendTimes:
    """Send times of some rows of scores, the first of which is everyone else's."""
    rows = np.atleast_2d(np.asarray(scores, np.float32))
    n = len(contacts)
    return SendTimes(
        pa.array(list(contacts), pa.int64()), np.asarray(profile, np.int32), rows, 0, np.zeros(n, np.int8),
        np.full((n, 3), np.nan, np.float32), {"model": "made by hand", **about},
    )  # fmt: skip


def daily(hour: int) -> NDArray[np.float32]:
    """Scores of one hour of every day."""
    return (np.arange(WEEK) % 24 == hour).astype(np.float32)
