"""Which opens and clicks machines made: mail programs that fetch everything, and scanners that follow every link.

The rules have a name and a version, so that a figure can say by which of them it was counted. They only tell machines
from people; every event stays in the log as it was.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import NDArray

    from journeylab.eventindex import Stream
    from journeylab.eventlog import EventLog

__all__ = ["MACHINE_RULES", "is_by_machine", "machine_responses"]

MACHINE_RULES = "flag-instant-burst/1"
"""Name and version of the rules, in the order in which they are asked.

- `flag`: the event's `is_machine` is true.
- `instant`: it came within a second of a send of the same message to the same contact.
- `burst`: a click on one of several links of a message within two seconds: people do not click that fast.
"""
_RULES = ("flag", "instant", "burst")
_SECOND = 1_000_000


def is_by_machine(log: EventLog, event: str) -> NDArray[np.int8]:
    """The rule by which each event of a stream was a machine's: int8, its place in the rules' order, -1 for people's.

    `event` is `opened` or `clicked`; in the order of `log.stream(event)`.
    """
    stream = log.stream(event)
    found = np.full(len(stream.at), -1, np.int8)
    if not len(found):
        return found
    contact = np.repeat(np.arange(log.n_contacts), np.diff(stream.offsets))
    if event == "clicked" and {"link", "message"} <= set(log.property_names):
        found[_bursts(log, stream, contact)] = _RULES.index("burst")
    if "message" in log.property_names:
        found[_instants(log, stream, contact)] = _RULES.index("instant")
    if "is_machine" in log.property_names:
        found[log.property("is_machine").values[stream.row] == 1] = _RULES.index("flag")
    return found


def _instants(log: EventLog, stream: Stream, contact: NDArray[np.int64]) -> NDArray[np.bool_]:
    sent, held = log.stream("sent"), log.property("message").values
    n = int(np.nanmax(held, initial=0)) + 2
    whom = np.repeat(np.arange(log.n_contacts), np.diff(sent.offsets))
    sent_key = whom * n + np.nan_to_num(held[sent.row], nan=n - 1).astype(np.int64)
    key = contact * n + np.nan_to_num(held[stream.row], nan=n - 1).astype(np.int64)
    order = np.lexsort((sent.at, sent_key))
    sent_key, sent_at = sent_key[order], sent.at[order]
    # The last send of the same message to the same contact, no later than the event.
    both = np.lexsort((np.append(np.zeros(len(sent_at)), np.ones(len(key))), np.append(sent_at, stream.at),
                       np.append(sent_key, key)))  # fmt: skip
    last = np.maximum.accumulate(np.where(both < len(sent_at), both, -1))
    before = np.empty(len(key), np.int64)
    mine = both >= len(sent_at)
    before[both[mine] - len(sent_at)] = last[mine]
    is_there = (before >= 0) & (sent_key[before] == key)
    return np.asarray(is_there & (stream.at - sent_at[before] <= _SECOND))


def _bursts(log: EventLog, stream: Stream, contact: NDArray[np.int64]) -> NDArray[np.bool_]:
    message, link = (log.property(name).values[stream.row] for name in ("message", "link"))
    order = np.lexsort((stream.at, np.nan_to_num(message, nan=-1), contact))
    at, key, which = stream.at[order], np.column_stack([contact, np.nan_to_num(message, nan=-1)])[order], link[order]
    is_next = (key[1:] == key[:-1]).all(axis=1) & (at[1:] - at[:-1] <= 2 * _SECOND) & (which[1:] != which[:-1])
    found = np.zeros(len(at), np.bool_)
    found[order[1:]] |= is_next
    found[order[:-1]] |= is_next
    return found


def machine_responses(log: EventLog) -> pd.DataFrame:
    """The opens and clicks that machines made, with the rule that says so.

    Columns: `contact`, `event`, `message`, `occurred_at` (UTC), `rule` (`flag`, `instant` or `burst`), `rules`
    (`MACHINE_RULES`).

    >>> from journeylab import datasets
    >>> machine_responses(datasets.shop())["rule"].unique().tolist()
    ['flag']
    """
    import pandas as pd

    tables = []
    for event in ("opened", "clicked"):
        stream, rule = log.stream(event), is_by_machine(log, event)
        mine = np.flatnonzero(rule >= 0)
        contact = np.repeat(np.arange(log.n_contacts), np.diff(stream.offsets))[mine]
        messages = log.property("message") if "message" in log.property_names else None
        texts = np.array([*(messages.categories or []), None], object) if messages else np.array([None], object)
        held = messages.held[stream.row[mine]] if messages else np.full(len(mine), -1)
        tables.append(
            pd.DataFrame(
                {
                    "contact": log.contact_ids.take(contact).to_pandas(),
                    "event": event,
                    "message": texts[held.astype(np.int64)],
                    "occurred_at": stream.at[mine].astype("datetime64[us]"),
                    "rule": np.array(_RULES, object)[rule[mine]],
                    "rules": MACHINE_RULES,
                }
            )
        )
    found = pd.concat(tables, ignore_index=True)
    found["occurred_at"] = found["occurred_at"].dt.tz_localize("UTC")
    return found
