"""The names that conditions and options may use: of a log, and of the journey itself."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from zoneinfo import available_timezones

import numpy as np

from journeylab.conditionparser import MESSAGES
from journeylab.disclosure.thresholds import FEWEST
from journeylab.journey import Journey, Run, Send
from journeylab.language import count_text, say

if TYPE_CHECKING:
    from collections.abc import Iterator

    from journeylab.attributes import Attribute
    from journeylab.eventlog import EventLog

__all__ = ["of_journey", "of_log"]

_MOST_VALUES = 20


def of_log(log: EventLog | None) -> dict[str, Any]:
    """What a log knows.

    `events` (name to how many, as text), `properties` by event, `attributes` (kind, few values, of those that ten
    contacts have or more: a widget is saved with its notebook), and the `messages` that it was sent, all empty without
    a log; and the `timezones` that there are.
    """
    timezones = sorted(available_timezones())
    if log is None:
        return {"events": {}, "properties": {}, "attributes": {}, "messages": [], "timezones": timezones}
    summary = log.summary()
    events = {str(one.event): count_text(int(one.n_events)) for one in summary.itertuples()}
    attributes = {}
    for name in log.attribute_names:
        column = log.attribute(name)
        values = _shared(column) if column.kind == "text" else []
        attributes[name] = {"kind": column.kind, **({"values": values} if 0 < len(values) <= _MOST_VALUES else {})}
    has_messages = "sent" in events and "message" in log.property_names
    messages = list(log.property("message").categories or ()) if has_messages else []
    return {
        "events": events,
        "properties": {event: _properties(log, event) for event in events},
        "attributes": attributes,
        "messages": sorted(messages),
        "timezones": timezones,
    }


def _shared(column: Attribute) -> list[str]:
    """The values that enough contacts have had."""
    categories = column.categories or []
    changed = np.repeat(np.arange(len(column.base)), np.diff(column.offsets))
    had = np.column_stack([np.append(np.arange(len(column.base)), changed), np.append(column.base, column.value)])
    codes = np.unique(had[~np.isnan(had[:, 1])], axis=0)[:, 1].astype(np.int64)
    n = np.bincount(codes, minlength=len(categories))
    return [value for value, n_contacts in zip(categories, n, strict=True) if n_contacts >= FEWEST]


def _properties(log: EventLog, event: str) -> list[str]:
    """The properties that some event of that name has."""
    rows = log.stream(event).row
    names = []
    for name in log.property_names:
        column = log.property(name)
        held = column.held[rows]
        is_there = held >= 0 if column.categories is not None else held == held
        if bool(is_there.any()):
            names.append(name)
    return names


def of_journey(journey: Journey | None, known: dict[str, Any]) -> dict[str, Any]:
    """The names of a log with those of the journey as it is drawn, and the functions of conditions."""
    segments = list(journey.known_segments) if journey is not None else []
    sends = list(_sends(journey)) if journey is not None else []
    own = [node.send for node in journey.nodes.values() if isinstance(node, Send)] if journey is not None else []
    event = journey.trigger.event if journey is not None else None
    return {
        **known,
        "messages": sorted({*known["messages"], *own}),
        "segments": segments,
        "sends": sends,
        "entry": known["properties"].get(event, []),
        "scores": [],
        "journeys": sorted(journey.parts) if journey is not None else [],
        "purposes": ["marketing", "service"],
        "functions": _functions(),
        "said": {"segment": say("segment"), "score": say("score"), "send": say("a send"), "entry": say("of the entry"),
                 "window": say("until now")},
    }  # fmt: skip


def _sends(journey: Journey) -> Iterator[str]:
    for name, node in journey.nodes.items():
        if isinstance(node, Send):
            yield name
        elif isinstance(node, Run) and node.run in journey.parts:
            yield from (f"{name}.{inner}" for inner in _sends(journey.parts[node.run]))


def _functions() -> list[dict[str, Any]]:
    """The functions of conditions, the way each is written and what it says (DESIGN: conditions)."""
    forms = [
        ("count", 'count("event", "30d")', say("how many events")),
        ("did", 'did("event", "30d")', say("whether there was one")),
        ("since", 'since("event")', say("time since the last one")),
        ("since_first", 'since_first("event")', say("time since the first one")),
        *((name, f'{name}("event.property", "30d")', say("of a property")) for name in ("sum", "mean", "min", "max")),
        ("last", 'last("event.property")', say("its latest value")),
        *((name, f"{name}(node)", say("whether this came of a send")) for name in MESSAGES),
        ("segment", 'segment("name")', say("membership, 0 to 1")),
        ("score", 'score("name")', say("the value of a model")),
        ("missing", "missing(attribute)", say("whether it has no value")),
        ("local_hour", "local_hour()", say("the hour, 0 to 23")),
        ("weekday", "weekday()", say("the day, mon to sun")),
        ("event", 'event("event", where="")', say("an awaited event, filtered")),
    ]
    return [
        {"name": name, "form": form, "says": says, "awaited": name in (*MESSAGES, "event")}
        for name, form, says in forms
    ]
