"""The faults of meaning of a journey: unknown names, broken graphs, conditions that cannot be read (rules 24 and 25).

`faults_of` says why a journey is refused, `notes_of` what is legal and worth knowing.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING
from zoneinfo import available_timezones

from .conditions import (
    ConditionError,
    ConditionText,
    EntryProperty,
    MessageEvent,
    SegmentMembership,
    Tree,
    attribute_kinds,
    segment_texts,
    segments_in,
    segments_named,
    texts_in,
    tree_of,
    value_kind,
    walk,
)
from .errors import Fault, known
from .graph import edges_of, instant_cycles, leading_to, reachable, targets
from .journey import CONTACT, Exit, Journey, Run, Segment, Send, Set, Split, WaitFor, WaitUntil

if TYPE_CHECKING:
    from .yamlsource import Path

__all__ = ["faults_of", "notes_of", "segment_faults"]

# Words that mean something else where a node may be named: `since: entry`, and the branch of a timeout.
_RESERVED = {"entry": "`since: entry` means the entry's start", "else": "it is a branch's name"}
_NOT_USED_OF_A_PART = ("exit_when", "quiet_hours", "cap", "holdout", "unit", "timezone", "max_visits")


def faults_of(journey: Journey, *, unclear: frozenset[str] = frozenset(), around: tuple[str, ...] = ()) -> list[Fault]:
    """Every fault of meaning of a journey and its parts; empty when it is sound.

    Args:
        journey: the journey, its `parts` and `shared` segments at hand.
        unclear: nodes whose form is at fault already; what depends on them is left out.
        around: the journeys that it is a part of, the outermost first.

    >>> from journeylab.journey import Exit, Journey, Trigger, Wait
    >>> nodes = {"pause": Wait(wait="1d", next="don"), "done": Exit(exit="finished")}
    >>> for fault in faults_of(Journey(journey="hello", trigger=Trigger(event="signup"), nodes=nodes)):
    ...     print(fault)
    nodes.pause.next: no node 'don'; did you mean 'done'? Known nodes: done, pause.
    """
    faults = [*_name_faults(journey), *_target_faults(journey)]
    if not unclear:
        faults += _graph_faults(journey, is_whole=not faults)
    faults += _condition_faults(journey, unclear)
    faults += segment_faults(journey.segments, journey.known_segments)
    faults += _kind_faults(journey)
    faults += _unit_faults(journey)
    faults += _part_faults(journey, (*around, journey.journey))
    return faults


def _name_faults(journey: Journey) -> Iterator[Fault]:
    for name, node in journey.nodes.items():
        if name in _RESERVED:
            yield Fault(("nodes", name), f"no node can be called {name!r}: {_RESERVED[name]}")
        if isinstance(node, WaitFor) and node.since not in (None, "entry", *journey.nodes):
            ending = known(str(node.since), ["entry", *journey.nodes], "places to wait since")
            yield Fault(("nodes", name, "since"), f"since is entry or a node, not {node.since!r}; {ending}")
        if isinstance(node, Set) and "timezone" in node.set and node.set["timezone"] not in available_timezones():
            yield Fault(("nodes", name, "set", "timezone"), f"{node.set['timezone']!r} is no time zone")
    segment = journey.trigger.segment
    if segment is not None and segment not in journey.known_segments:
        yield Fault(
            ("trigger", "segment"), f"no segment {segment!r}; {known(segment, journey.known_segments, 'segments')}"
        )


def _target_faults(journey: Journey) -> Iterator[Fault]:
    if journey.start is not None and journey.start not in journey.nodes:
        yield Fault(("start",), f"no node {journey.start!r}; {known(journey.start, journey.nodes, 'nodes')}")
    for _, path, target in targets(journey):
        if target not in journey.nodes:
            yield Fault(path, f"no node {target!r}; {known(target, journey.nodes, 'nodes')}")


def _graph_faults(journey: Journey, *, is_whole: bool) -> Iterator[Fault]:
    """Nodes that nothing leads to, unless a branch leads nowhere that may be meant to; and loops that take no time."""
    reached = reachable([journey.first], edges_of(journey)) if is_whole else journey.nodes
    for name in journey.nodes:
        if name not in reached:
            yield Fault(
                ("nodes", name), f"nothing leads here from {journey.first!r}; remove the node or go to it (rule 24)"
            )
    for cycle in instant_cycles(journey):
        way = " -> ".join(cycle)
        yield Fault(("nodes", cycle[0]), f"the loop {way} takes no time; put a wait into it (rule 24)")


def _condition_faults(journey: Journey, unclear: frozenset[str]) -> Iterator[Fault]:
    for one in texts_in(journey):
        if one.role == "segment":
            continue
        try:
            tree = tree_of(one)
        except ConditionError as error:
            yield from _faults_of_text(one, error)
            continue
        for part in walk(tree) if tree is not None else ():
            yield from _reference_faults(journey, one.path, part, unclear)


def _faults_of_text(text: ConditionText, error: ConditionError) -> Iterator[Fault]:
    for message, offset in error.faults:
        yield Fault(text.path, f"{message} (at character {offset + 1})")


def _reference_faults(journey: Journey, path: Path, part: Tree, unclear: frozenset[str]) -> Iterator[Fault]:
    """The faults of one part of a condition that names a node, a segment, or the entry."""
    if isinstance(part, MessageEvent):
        if path[0] == "trigger":
            yield Fault(path, f"{part.kind}({part.node}): before an entry none of its messages was sent")
        elif part.node.partition(".")[0] not in unclear:
            yield from _message_faults(journey, path, part)
    elif isinstance(part, EntryProperty) and path[0] == "trigger":
        remedy = f"write {part.name}" if journey.trigger.event is not None else "this trigger is no event"
        yield Fault(path, f"entry.{part.name}: {remedy}")
    elif isinstance(part, SegmentMembership) and part.name not in journey.known_segments:
        yield Fault(path, f"no segment {part.name!r}; {known(part.name, journey.known_segments, 'segments')}")


def _message_faults(journey: Journey, path: Path, event: MessageEvent) -> Iterator[Fault]:
    sends = _sends(journey)
    if event.node not in sends:
        *runs, last = event.node.split(".")
        is_other = not runs and last in journey.nodes
        what = f"{event.node!r} sends nothing" if is_other else f"no node {event.node!r} that sends"
        yield Fault(path, f"{event.kind}({event.node}): {what}; {known(event.node, sends, 'sends')}")


def _sends(journey: Journey, around: tuple[str, ...] = ()) -> list[str]:
    """The names of the nodes that send, those of parts named after their `run` node (rule 25)."""
    names = [name for name, node in journey.nodes.items() if isinstance(node, Send)]
    for name, node in journey.nodes.items():
        if isinstance(node, Run) and node.run in journey.parts and node.run not in around:
            names += [f"{name}.{inner}" for inner in _sends(journey.parts[node.run], (*around, node.run))]
    return names


def segment_faults(segments: Mapping[str, Segment], known_segments: Mapping[str, Segment]) -> list[Fault]:
    """The faults of `segments`: conditions, unknown names, and segments that rest on themselves."""
    faults: list[Fault] = []
    named = {
        name: {other for one in segment_texts(segment, ()) for other in segments_named(one)}
        for name, segment in known_segments.items()
    }
    for name, segment in segments.items():
        for one in segment_texts(segment, ("segments", name)):
            try:
                tree = tree_of(one)
            except ConditionError as error:
                faults += _faults_of_text(one, error)
                continue
            for part in walk(tree) if tree is not None else ():
                if isinstance(part, SegmentMembership) and part.name not in known_segments:
                    ending = known(part.name, known_segments, "segments")
                    faults.append(Fault(one.path, f"no segment {part.name!r}; {ending}"))
        if name in reachable(named.get(name, ()), named):
            faults.append(Fault(("segments", name), "this segment rests on itself"))
    return faults


def _kind_faults(journey: Journey) -> Iterator[Fault]:
    """An attribute that is one kind of value here and another there."""
    first: dict[str, tuple[str, Path]] = {}
    for name, kind, path in _kinds(journey):
        before, where = first.setdefault(name, (kind, path))
        if before != kind:
            place = ".".join(map(str, where))
            yield Fault(path, f"attribute {name!r} is used as a {kind} here and as a {before} in {place}")


def _kinds(journey: Journey) -> Iterator[tuple[str, str, Path]]:
    """Each use of an attribute that shows its kind, as (attribute, kind, path)."""
    if journey.trigger.date is not None:
        yield journey.trigger.date, "date", ("trigger", "date")
    for one in texts_in(journey):
        try:
            tree = tree_of(one)
        except ConditionError:
            continue
        for name, kind in attribute_kinds(tree) if tree is not None else ():
            yield name, kind, one.path
    for node_name, node in journey.nodes.items():
        path: Path = ("nodes", node_name)
        if isinstance(node, WaitUntil) and node.wait_until.date is not None:
            yield node.wait_until.date, "date", (*path, "wait_until", "date")
        if isinstance(node, Set):
            for name, value in node.set.items():
                if (shown := value_kind(value)) is not None:
                    yield name, shown, (*path, "set", name)


def _unit_faults(journey: Journey) -> Iterator[Fault]:
    """Uses of the attribute that is the unit which show that it is neither a text nor a whole number."""
    if journey.unit == CONTACT:
        return
    for name, kind, path in _kinds(journey):
        if name == journey.unit and kind not in ("text", "number"):
            place = ".".join(map(str, path))
            what = f"attribute {name!r} is used as a {kind} in {place}"
            yield Fault(("unit",), f"{what}; a unit is a text or a whole number (rule 22)")


def _part_faults(journey: Journey, around: tuple[str, ...]) -> Iterator[Fault]:
    seen: set[str] = set()
    for name, node in journey.nodes.items():
        if not isinstance(node, Run):
            continue
        path = ("nodes", name, "run")
        if node.run in around:
            way = " -> ".join([*around[around.index(node.run) :], node.run])
            yield Fault(path, f"a journey cannot be a part of itself: {way}")
        elif node.run not in journey.parts:
            yield Fault(path, f"no journey {node.run!r} among the parts; {known(node.run, journey.parts, 'parts')}")
        else:
            part = journey.parts[node.run]
            if part.purpose != journey.purpose:
                purposes = f"its purpose is {part.purpose!r}, this journey's is {journey.purpose!r}"
                yield Fault(path, f"{node.run!r} cannot be a part: {purposes} (rule 25)")
            if node.run not in seen:
                seen.add(node.run)
                for fault in faults_of(part, around=around):
                    yield Fault(("parts", node.run, *fault.path), fault.message)


def notes_of(journey: Journey) -> list[str]:
    """What is legal in a sound journey and worth knowing, one sentence each."""
    return [
        *_part_notes(journey),
        *_hour_notes(journey),
        *_end_notes(journey),
        *_entry_notes(journey),
        *_segment_notes(journey),
        *_unit_notes(journey),
    ]


def _part_notes(journey: Journey) -> Iterator[str]:
    for name, node in journey.nodes.items():
        part = journey.parts.get(node.run) if isinstance(node, Run) else None
        if part is not None:
            written = [key for key in _NOT_USED_OF_A_PART if key in part.data()]
            unused = ", ".join(["trigger", *written])
            yield f"node {name!r}: of {part.journey!r} only the nodes are used, not its {unused} (rule 25)"


def _hour_notes(journey: Journey) -> Iterator[str]:
    anytime = [name for name, node in journey.nodes.items() if isinstance(node, Send) and node.at is None]
    if anytime and journey.quiet_hours is None:
        yield f"sends at any hour of the day, as there are no quiet_hours: {', '.join(anytime)}"


def _end_notes(journey: Journey) -> Iterator[str]:
    endless = [name for name in journey.nodes if name not in leading_to(_exits(journey), journey)]
    if endless:
        yield f"no exit can be reached from {', '.join(endless)}: only leaving and max_visits end the entry there"


def _exits(journey: Journey) -> list[str]:
    return [name for name, node in journey.nodes.items() if isinstance(node, Exit)]


def _entry_notes(journey: Journey) -> Iterator[str]:
    for one in texts_in(journey):
        tree = tree_of(one)
        for part in walk(tree) if tree is not None else ():
            place = ".".join(map(str, one.path))
            if isinstance(part, EntryProperty) and journey.trigger.event is None:
                yield f"{place}: entry.{part.name} is missing unless a parent's event made the entry"
            if isinstance(part, MessageEvent) and one.path[0] == "nodes" and part.node in journey.nodes:
                asking = str(one.path[1])
                if part.node not in leading_to([asking], journey):
                    yield f"{place}: {part.node!r} cannot have been sent before {asking!r}"


def _segment_notes(journey: Journey) -> Iterator[str]:
    unused = sorted(set(journey.segments) - set(segments_in(journey)))
    if unused:
        yield f"segments that nothing here uses: {', '.join(unused)}"


def _unit_notes(journey: Journey) -> Iterator[str]:
    if journey.unit != CONTACT and not journey.holdout and not _has_split(journey):
        yield f"unit {journey.unit!r} decides nothing: there is no split and no holdout"


def _has_split(journey: Journey) -> bool:
    parts = (journey.parts[node.run] for node in journey.nodes.values() if isinstance(node, Run))
    return any(isinstance(node, Split) for node in journey.nodes.values()) or any(map(_has_split, parts))
