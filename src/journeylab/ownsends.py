"""A release's own sends and calls: what became of each and when, from its log to the machine (rule 29).

A production log has them as events with `journey`, `entry`, `node` and `visit`:

| event | says | other properties |
|---|---|---|
| `sent` | the message was sent | `message`, `actual_at`: the actual instant, where it is not the event's own |
| `not_sent` | it was not, and never will be | `reason` (rule 29), `actual_at` |
| `postponed` | a gate refused after all, at this instant, at which all gates are asked again | |
| `called` | an outside call was answered | `succeeded` |
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pandas as pd

from . import layout as o
from .errors import DataError
from .execution import Answers
from .program import Compiled

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from .eventlog import EventLog

__all__ = ["IDENTITY", "OWN_EVENTS", "answers_of", "own_of", "reason_code"]

OWN_EVENTS: Final = ("sent", "not_sent", "postponed", "called")
IDENTITY: Final = ("journey", "entry", "node", "visit")
"""What tells a contact's messages apart (rule 30)."""


def reason_code(reason: str) -> int:
    """The number of a reason why a send was skipped or failed; what follows a colon says more of it.

    >>> reason_code("cap"), reason_code("stale:plan") == reason_code("stale")
    (5, True)
    """
    return o.REASONS.index(reason.partition(":")[0])


def own_of(log: EventLog) -> pd.DataFrame:
    """What a production log says of its own sends and calls, in the order of the log.

    Columns: `contact` (int, the code), `journey`, `node` (text), `entry`, `visit` (int), `kind` (layout.ACTUAL or
    AGAIN), `value` (float: a reason's code, 0 for sent, or whether a call succeeded), `at` (microseconds).

    Raises:
        DataError: when its `sent` events do not say which node of which entry they are.
    """
    own = [event for event in OWN_EVENTS if event in log.event_names]
    if not own:
        return pd.DataFrame([], columns=["contact", *IDENTITY, "kind", "value", "at"])
    missing = [name for name in IDENTITY if name not in log.property_names]
    if missing:
        raise DataError(
            f"a release's own log has {', '.join(IDENTITY)} on its sent events; missing: {', '.join(missing)}"
        )
    return pd.concat([_of_kind(log, event) for event in own], ignore_index=True)


def _of_kind(log: EventLog, event: str) -> pd.DataFrame:
    stream = log.stream(event)
    contact = np.repeat(np.arange(log.n_contacts), np.diff(stream.offsets))
    found = pd.DataFrame({"contact": contact, **{name: _values(log, name, stream.row) for name in IDENTITY}})
    found["kind"], found["value"], found["at"] = int(o.ACTUAL), 0.0, stream.at
    if event == "postponed":
        found["kind"] = int(o.AGAIN)
    elif event == "called":
        found["value"] = _values(log, "succeeded", stream.row).astype(float)
    elif "actual_at" in log.property_names:
        actual = _values(log, "actual_at", stream.row)
        found["at"] = np.where(np.isnan(actual), stream.at, np.nan_to_num(actual)).astype(np.int64)
    if event == "not_sent":
        found["value"] = [float(reason_code(one)) for one in _values(log, "reason", stream.row)]
    return found[~found[list(IDENTITY)].isna().any(axis=1)].astype({"entry": "int64", "visit": "int64"})


def _values(log: EventLog, name: str, rows: NDArray[np.integer[Any]]) -> NDArray[Any]:
    """A property of some rows: texts as objects, None where missing; anything else as float, NaN where missing."""
    column = log.property(name)
    if column.categories is None:
        return np.asarray(column.values[rows], float)
    texts = np.array([*column.categories, None], object)
    found: NDArray[Any] = texts[column.held[rows].astype(np.int64)]
    return found


def answers_of(own: pd.DataFrame, compiled: Compiled) -> Answers:
    """The same as answers, of every version of the journey that has the node; of several the latest holds."""
    nodes = pd.DataFrame(
        [
            (compiled.releases[info.journey].journey.journey, info.name, index)
            for index, info in enumerate(compiled.nodes)
        ],
        columns=["journey", "node", "index"],
    )
    found = own.drop_duplicates(["contact", *IDENTITY, "kind"], keep="last").astype({"journey": object, "node": object})
    found = found.merge(nodes.astype({"journey": object, "node": object}), on=["journey", "node"])
    found = found.sort_values("contact", kind="stable")
    rows = found[["kind", "index", "entry", "visit", "at"]].to_numpy(np.int64).reshape(len(found), 5)
    return Answers(found["contact"].to_numpy(np.int64), rows, found["value"].to_numpy(np.float64))
