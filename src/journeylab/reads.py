"""What a journey reads of a contact: attributes, and properties of events, each with the place where it is read.

It is derived from the definition alone, with the parts that the journey runs and the segments that it uses. Whoever
keeps or fetches no more than this gives the journey all that it asks for.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final, NamedTuple

from .conditions import (
    Aggregate,
    Attribute,
    AwaitedEvent,
    EntryProperty,
    LocalHour,
    MessageEvent,
    Property,
    Tree,
    WeekdayOf,
    parse_awaited,
    segment_texts,
    segments_named,
    texts_in,
    tree_of,
)
from .expressions import children, walk
from .journey import CONTACT, Journey, Send, WaitFor, WaitUntil
from .yamlsource import Path

__all__ = ["TIMEZONE", "Read", "events_read", "reads_of", "reads_of_segment"]

TIMEZONE: Final = "timezone"
"""The attribute that local time is that of (rule 3)."""
_ALWAYS: Final = ("consent_given", "consent_withdrawn", "erased", "complained", "bounced")
"""The events that gates and leaving look at in every journey (rules 11, 14 and 17)."""


class Read(NamedTuple):
    """One thing that is read.

    Attributes:
        path: where, from the top of the journey; what a part reads is below `parts`.
        name: the attribute, or the property.
        event: the event whose property it is; missing (None) for an attribute.
        or_attribute: whether it is the contact's attribute of that name where the event has no such property (rule 7).
    """

    path: Path
    name: str
    event: str | None = None
    or_attribute: bool = False

    def __str__(self) -> str:
        return f"attribute {self.name!r}" if self.event is None else f"property {self.name!r} of {self.event!r}"


def reads_of(journey: Journey) -> tuple[Read, ...]:
    """All that a journey reads, in the order of its definition; what is read twice at one place is there once.

    An attribute that the journey sets itself, and a property of an event that it makes, are read like any other: the
    contact may have had them before. Models and messages are not part of the definition, and what they read is not
    among it.

    Args:
        journey: the journey, its `parts` and `shared` segments at hand.

    Raises:
        ConditionError: when a condition does not parse.

    >>> from journeylab.journey import Exit, Trigger
    >>> trigger = Trigger(event="signup", where='plan == "trial" and sum("purchase.amount", "90d") > 5')
    >>> journey = Journey(journey="hello", trigger=trigger, nodes={"done": Exit(exit="seen")})
    >>> for one in reads_of(journey):
    ...     print(one)
    property 'plan' of 'signup'
    property 'amount' of 'purchase'
    """
    trigger = journey.trigger
    found = [*_of_journey(journey, trigger.event)]
    if trigger.date is not None:
        found.append(Read(("trigger", "date"), trigger.date))
        found.append(Read(("trigger",), TIMEZONE))
    if journey.unit != CONTACT:
        found.append(Read(("unit",), journey.unit))
    if journey.quiet_hours is not None:
        found.append(Read(("quiet_hours",), TIMEZONE))
    return tuple(dict.fromkeys(found))


def reads_of_segment(journey: Journey, name: str) -> Iterator[Read]:
    """What a segment that a journey knows reads, with the segments that it rests on.

    Raises:
        ConditionError: when a condition does not parse.
    """
    for path, tree in _of_segments(journey, [name]):
        yield from _of_tree(tree, path, None, None)


def events_read(journey: Journey) -> frozenset[str]:
    """The names of all events that a journey asks for: what makes, moves and ends its entries, sends and responses.

    Raises:
        ConditionError: when a condition does not parse.

    >>> from journeylab.journey import Exit, Trigger
    >>> journey = Journey(journey="hello", trigger=Trigger(event="signup"), nodes={"done": Exit(exit="seen")})
    >>> sorted(events_read(journey))
    ['bounced', 'complained', 'consent_given', 'consent_withdrawn', 'erased', 'signup']
    """
    found = {*_ALWAYS, *(cause.event for cause in journey.exit_when)}
    if journey.trigger.event is not None:
        found.add(journey.trigger.event)
    if any(one.event is None or one.or_attribute for one in reads_of(journey)):
        found.add("attribute_changed")
    return frozenset(found.union(*_events(journey)))


def _events(journey: Journey, *, is_part: bool = False) -> Iterator[set[str]]:
    """The events that conditions and waits ask for."""
    for _, tree, _ in _trees(journey, is_part=is_part):
        yield {part.event for part in walk(tree) if isinstance(part, Aggregate)}
        yield {part.kind for part in walk(tree) if isinstance(part, MessageEvent)}
    for node in journey.nodes.values():
        if isinstance(node, WaitFor):
            awaited = map(parse_awaited, node.awaited)
            yield {one.event if isinstance(one, AwaitedEvent) else one.kind for one in awaited}
        elif isinstance(node, Send):
            yield {"sent"}
    for part in journey.parts.values():
        yield from _events(part, is_part=True)


def _of_journey(journey: Journey, entered_by: str | None, *, is_part: bool = False) -> Iterator[Read]:
    """What conditions, waits and sends read; of a part its nodes alone are used (rule 25)."""
    for path, tree, event in _trees(journey, is_part=is_part):
        yield from _of_tree(tree, path, event, entered_by)
    for name, node in journey.nodes.items():
        path = ("nodes", name)
        if isinstance(node, WaitUntil):
            if node.wait_until.date is not None:
                yield Read((*path, "wait_until", "date"), node.wait_until.date)
            yield Read((*path, "wait_until"), TIMEZONE)
        elif isinstance(node, Send) and node.at is not None:
            yield Read((*path, "at"), TIMEZONE)
    for name, part in journey.parts.items():
        for one in _of_journey(part, entered_by, is_part=True):
            yield one._replace(path=("parts", name, *one.path))


def _trees(journey: Journey, *, is_part: bool) -> Iterator[tuple[Path, Tree, str | None]]:
    """The conditions that are used, each with its place and, where it is about an event at hand, that event."""
    used = [one for one in texts_in(journey) if one.role != "segment" and (one.path[0] == "nodes" or not is_part)]
    for text in used:
        tree, event = tree_of(text), None
        if text.role == "trigger":
            event = journey.trigger.event
        elif text.role == "event":
            event = journey.exit_when[int(text.path[1])].event
        elif text.role == "awaited":
            awaited = parse_awaited(text.text)
            event = awaited.event if isinstance(awaited, AwaitedEvent) else None
        if tree is not None:
            yield text.path, tree, event
    waiting = [name for text in used for name in segments_named(text)]
    if journey.trigger.segment is not None and not is_part:
        waiting.append(journey.trigger.segment)
    for path, tree in _of_segments(journey, waiting):
        yield path, tree, None


def _of_segments(journey: Journey, names: Iterable[str]) -> Iterator[tuple[Path, Tree]]:
    """The conditions of segments, and of those that they rest on, each once."""
    waiting, known = [*names], dict(journey.known_segments)
    while waiting:
        name = waiting.pop(0)
        segment = known.pop(name, None)
        for text in segment_texts(segment, ("segments", name)) if segment is not None else ():
            waiting += segments_named(text)
            if (tree := tree_of(text)) is not None:
                yield text.path, tree


def _of_tree(
    tree: Tree, path: Path, event: str | None, entered_by: str | None, *, is_past: bool = False
) -> Iterator[Read]:  # fmt: skip
    """What a condition reads; `event` is what its bare properties are of."""
    match tree:
        case Attribute(name):
            yield Read(path, name)
        case Property(name):
            yield Read(path, name, event, or_attribute=not is_past)
        case EntryProperty(name) if entered_by is not None:
            yield Read(path, name, entered_by)
        case LocalHour() | WeekdayOf():
            yield Read(path, TIMEZONE)
        case Aggregate(event=of, property=name, where=where):
            if name is not None:
                yield Read(path, name, of)
            if where is not None:
                yield from _of_tree(where, path, of, entered_by, is_past=True)
        case _:
            for child in children(tree):
                yield from _of_tree(child, path, event, entered_by, is_past=is_past)
