"""Random worlds (strategies) run through the machine, in the form in which the oracle gives its results."""

from __future__ import annotations

from datetime import date, datetime
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from journeylab.eventlog import EventLog
from journeylab.journey import Journey, Policy, Run, Segment
from journeylab.program import Release
from journeylab.replay import Replay, replay
from journeylab.sendtimes import WEEK, SendTimes
from strategies import ATTRIBUTE_KINDS, PROPERTY_KINDS, World

_ARROW = {
    str: pa.string(), float: pa.float64(), bool: pa.bool_(), date: pa.date32(), datetime: pa.timestamp("us", "UTC"),
}  # fmt: skip


def log_of(world: World) -> EventLog:
    """The world's log; every column is there, whether or not the world uses it."""
    events, contacts = tables_of(world)
    return EventLog.read(events, contacts=contacts)


def tables_of(world: World) -> tuple[pa.Table, pa.Table]:
    """The world's events and contacts."""
    columns: dict[str, Any] = {
        "contact": pa.array([one["contact"] for one in world.events], pa.string()),
        "event": pa.array([one["event"] for one in world.events], pa.string()),
        "occurred_at": pa.array([one["occurred_at"] for one in world.events], _ARROW[datetime]),
    }
    for name, kind in PROPERTY_KINDS.items():
        columns[name] = pa.array([one["properties"].get(name) for one in world.events], _ARROW[kind])
    contacts: dict[str, Any] = {
        "contact": pa.array([one["contact"] for one in world.contacts], pa.string()),
        "timezone": pa.array([one["timezone"] for one in world.contacts], pa.string()),
    }
    for name, kind in ATTRIBUTE_KINDS.items():
        contacts[name] = pa.array([one["attributes"].get(name) for one in world.contacts], _ARROW[kind])
    return pa.table(columns), pa.table(contacts)


def journey_of(world: World, data: dict[str, Any]) -> Journey:
    """A journey of the world with its parts and the shared segments."""
    journey = Journey.model_validate(data)
    runs = {node.run for node in journey.nodes.values() if isinstance(node, Run)}
    shared = {name: Segment.model_validate(one) for name, one in world.segments.items()}
    parts = {name: journey_of(world, world.parts[name]) for name in runs}
    return journey.model_copy(update={"shared": shared, "parts": parts})


def replay_of(
    world: World,
    log: EventLog | None = None,
    *,
    until: datetime | None = None,
    assumed_consent: frozenset[str] | None = None,
) -> Replay:
    """The world replayed by the machine."""
    return replay(
        [
            Release(journey=journey_of(world, data), pauses=tuple(world.pauses.get(data["journey"], ())))
            for data in world.journeys
        ],
        log if log is not None else log_of(world),
        until=until if until is not None else world.until,
        match=world.match,
        policy=Policy.model_validate(world.policy or {}),
        scores={name: _table(one, "score") for name, one in world.scores.items()},
        send_times=None if world.best is None else {name: send_times_of(one) for name, one in world.best.items()},
        assumed_consent=assumed_consent,
        calls={name: lambda contact, _at, fails=fails: contact not in fails for name, fails in world.calls.items()},
    )


def send_times_of(scores: dict[Any, dict[int, float]]) -> SendTimes:
    """Scores of hours by contact, those of `None` as the fallback, as a model gives them."""
    table = np.full((len(scores), WEEK), np.nan, np.float32)
    for row, by_hour in enumerate(scores.values()):
        table[row, list(by_hour)] = list(by_hour.values())
    known = [(contact, row) for row, contact in enumerate(scores) if contact is not None]
    n, fallback = len(known), list(scores).index(None) if None in scores else -1
    return SendTimes(
        pa.array([contact for contact, _ in known], pa.string()), np.array([row for _, row in known], np.int32), table,
        fallback, np.zeros(n, np.int8), np.full((n, 3), np.nan, np.float32),
    )  # fmt: skip


def _table(values: dict[str, float], name: str) -> pd.DataFrame:
    contact, value = pd.Series(list(values), dtype="str"), pd.Series(list(values.values()), dtype=float)
    return pd.DataFrame({"contact": contact, name: value})


def _plain(table: pd.DataFrame, instants: tuple[str, ...]) -> list[tuple[Any, ...]]:
    """The rows with None for what is missing and plain datetimes for instants."""
    columns = []
    for name in table.columns:
        if name in instants:
            columns.append([None if at is pd.NaT else at.to_pydatetime() for at in table[name]])
        else:
            columns.append(
                [None if missing else one for one, missing in zip(table[name], table[name].isna(), strict=True)]
            )
    return list(zip(*columns, strict=True))


def visits_of(result: Replay) -> list[tuple[Any, ...]]:
    """The visits as the oracle gives them."""
    return _plain(result.visits.drop(columns="version"), ("arrived_at", "left_at"))


def entries_of(result: Replay) -> list[tuple[Any, ...]]:
    """The entries as the oracle gives them."""
    return _plain(result.entries.drop(columns="version"), ("entered_at", "left_at"))


def sends_of(result: Replay) -> list[tuple[Any, ...]]:
    """The decided sends as the oracle gives them: the instant is missing where the send was skipped."""
    columns = ["contact", "journey", "entry", "node", "visit", "message", "decided_at", "is_sent", "reason"]
    rows = _plain(result.sends[[*columns, "advice", "slot_propensity", "slots"]], ("decided_at",))
    return [(*row[:6], row[6] if row[7] else None, *row[8:]) for row in rows]


def arms_of(result: Replay) -> list[tuple[Any, ...]]:
    """The assignments as the oracle gives them."""
    return _plain(result.assignments, ("assigned_at",))
