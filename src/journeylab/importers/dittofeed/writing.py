"""Our journeys as Dittofeed's, as far as its format can say them."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from functools import partial
from typing import Any, Final

from journeylab.conditions import AwaitedEvent, parse, parse_awaited
from journeylab.expressions import (
    Aggregate,
    And,
    Attribute,
    Compare,
    Flag,
    In,
    MessageEvent,
    Missing,
    Not,
    Number,
    Or,
    Property,
    SegmentMembership,
    Text,
    Tree,
    expression_text,
)
from journeylab.importers.outcomes import Outcome, Verdict
from journeylab.importers.unsaid import Unsaid
from journeylab.importers.writing import Writing
from journeylab.journey import (
    WEEKDAYS,
    Call,
    Decide,
    Emit,
    Exit,
    Journey,
    Node,
    Run,
    Segment,
    Send,
    Set,
    Split,
    Wait,
    WaitFor,
    WaitUntil,
)

from .segments import EVENTS

__all__ = ["written"]

_EXIT: Final = "ExitNode"
_EVENTS: Final = {ours: theirs for theirs, ours in EVENTS.items()}
_DAYS: Final = {day: (i + 1) % 7 for i, day in enumerate(WEEKDAYS)}
_WHOLE: Final = {
    "exit_when": "Dittofeed journeys end at their exit node alone; ask with a segment before each message",
    "quiet_hours": "it has none; put a local-time delay before each message",
    "cap": "it has none",
    "holdout": "it has none; put a random cohort first",
    "max_visits": "its journeys have no loops",
    "priority": "its journeys do not wait for each other",
    "unit": "its cohorts are of contacts",
}


def written(journey: Journey) -> tuple[dict[str, Any], list[Outcome]]:
    """A journey as what Dittofeed's API gives and takes: its resource, and the segments that it asks.

    Ids are the names here; the API wants its own, so look up templates and segments and put them in.

    Raises:
        DefinitionError: with every part that it cannot have in any way.
    """
    writing = _Writing(journey)
    return writing.done(writing.journey())


class _Writing(Writing):
    system = "Dittofeed"

    def __init__(self, journey: Journey) -> None:
        super().__init__(journey)
        self._segments: dict[str, dict[str, Any]] = {}
        self._nodes: list[dict[str, Any]] = []

    def journey(self) -> dict[str, Any]:
        journey = self.source
        self.leaves_out(_WHOLE)
        entry = self._entry()
        for name, node in journey.nodes.items():
            self.within(("nodes", name), partial(self._node, name, node))
        groups: list[dict[str, Any]] = []
        if any(isinstance(node, Send) for node in journey.nodes.values()):
            groups.append({"id": journey.purpose, "name": journey.purpose, "channel": "Email", "type": "OptIn"})
            note = "a subscription group; without consent messages are skipped there, here the entry ends (rule 14)"
            self.did(("purpose",), "purpose", Verdict.approximated, journey.purpose, note=note)
        messages = dict.fromkeys(node.send for node in journey.nodes.values() if isinstance(node, Send))
        definition = {"entryNode": entry, "exitNode": {"type": _EXIT}, "nodes": self._nodes}
        again = journey.trigger.reentry != "never"
        resource = {
            "id": journey.journey, "name": journey.title or journey.journey, "status": "NotStarted",
            "canRunMultiple": again, "definition": definition,
        }  # fmt: skip
        return {
            "journeys": [resource],
            "segments": [*self._segments.values()],
            "templates": [{"id": name, "name": name} for name in messages],
            "subscriptionGroups": groups,
        }

    # Entering

    def _entry(self) -> dict[str, Any]:
        trigger, first = self.source.trigger, self._goes(self.source.first)
        reentry = trigger.reentry
        note = ""
        if isinstance(reentry, timedelta) or reentry == "always":
            note = "there a contact may enter again once the last entry is over, whenever that was"
        if trigger.event is not None:
            if trigger.where is not None:
                first = self._entry_filter(trigger.event, trigger.where, first)
                if reentry == "never":
                    note = "who is turned away does not enter again there"
                note = "; ".join(
                    one
                    for one in (note, "everybody with this event enters, and a split lets go on whom `where` lets")
                    if one
                )
            verdict = Verdict.approximated if note else Verdict.mapped
            self.did(("trigger",), f"trigger on {trigger.event}", verdict, "EventEntryNode", note=note)
            return {"type": "EventEntryNode", "event": trigger.event, "child": first}
        if trigger.segment is not None:
            said = self._segment_id(trigger.segment, self.source.known_segments[trigger.segment], ("trigger",))
            more = "it is looked at all the time there, and not on a schedule"
            note = "; ".join(one for one in (note, more) if one)
            self.did(("trigger",), f"trigger on {trigger.segment}", Verdict.approximated, "EntryNode", note=note)
            return {"type": "EntryNode", "segment": said, "child": first, "reEnter": reentry != "never"}
        self.cannot(("trigger", "date"), "a journey that begins at a date")
        return {}

    def _entry_filter(self, event: str, where: str, first: str) -> str:
        """A split behind the entry that lets those go on whose event meets the `where`."""
        try:
            properties = _alternatives(parse(where, scope="event").tree)
        except Unsaid as why:
            self.cannot(("trigger", "where"), why)
            return first
        leaves = [{"type": "LastPerformed", "event": event, "hasProperties": one} for one in properties]
        segment = self._made("entered", _any_of(leaves))
        variant = {"type": "Boolean", "segment": segment, "trueChild": first, "falseChild": _EXIT}
        self._nodes.append({"id": "entered_where", "type": "SegmentSplitNode", "variant": variant})
        return "entered_where"

    # Nodes

    def _goes(self, target: str) -> str:
        return _EXIT if isinstance(self.source.nodes.get(target), Exit) else target

    def _node(self, name: str, node: Node) -> None:
        place = ("nodes", name)
        match node:
            case Exit():
                note = "" if node.exit == "finished" else "there is one exit, and it has no text"
                verdict = Verdict.approximated if note else Verdict.mapped
                self.did(place, f"exit {node.exit!r}", verdict, _EXIT, note=note)
            case Send():
                self._send(place, name, node)
            case Wait():
                variant = {"type": "Second", "seconds": node.wait.total_seconds()}
                self._add(name, "DelayNode", variant=variant, child=self._goes(node.next))
                self.did(place, "wait", Verdict.mapped, name)
            case WaitUntil():
                self._wait_until(place, name, node)
            case WaitFor():
                self._wait_for(place, name, node)
            case Decide():
                self._decide(place, name, node)
            case Split():
                children = [
                    {"id": self._goes(arm), "name": arm, "percent": float(share * 100)}
                    for arm, share in node.split.items()
                ]
                self._add(name, "RandomCohortNode", children=children)
                note = "chance is drawn anew at each entry there, and is nowhere written down (rule 22)"
                self.did(place, "split", Verdict.approximated, name, note=note)
            case Set() | Emit() | Call():
                what = node.call if isinstance(node, Call) else f"{node.verb}_{name}"
                variant = {"type": "Webhook", "templateId": what}
                goes_on = not isinstance(node, Call) or node.failed is None
                self._add(
                    name, "MessageNode", name=name, variant=variant, child=self._goes(node.next), skipOnFailure=goes_on
                )
                note = f"a webhook that somebody has to answer: {what}"
                if not goes_on:
                    note += "; a failure ends the journey there"
                self.did(place, node.verb, Verdict.approximated, name, note=note)
            case Run():
                raise Unsaid("a journey inside of another one; write its nodes out")
            case _:
                raise Unsaid(f"the verb {node.verb}")

    def _add(self, identity: str, kind: str, **said: Any) -> None:
        self._nodes.append({"id": identity, "type": kind, **said})

    def _send(self, place: tuple[str, ...], name: str, node: Send) -> None:
        notes = []
        if node.at is not None:
            notes.append("it is sent at once: there is no best time and no window of a message")
        goes_on = node.skipped in (None, node.next)
        if not goes_on and not isinstance(self.source.nodes.get(str(node.skipped)), Exit):
            notes.append("a message that is skipped ends the journey there")
        if node.expires != Send.model_fields["expires"].get_default():
            notes.append("messages do not expire")
        self._add(
            name, "MessageNode", name=name, subscriptionGroupId=self.source.purpose,
            variant={"type": "Email", "templateId": node.send}, child=self._goes(node.next), skipOnFailure=goes_on,
        )  # fmt: skip
        verdict = Verdict.approximated if notes else Verdict.mapped
        self.did(place, f"send {node.send}", verdict, name, note="; ".join(notes))

    def _wait_until(self, place: tuple[str, ...], name: str, node: WaitUntil) -> None:
        until, notes = node.wait_until, []
        variant: dict[str, Any]
        if until.date is not None:
            seconds = until.offset.total_seconds()
            variant = {"type": "UserProperty", "userProperty": until.date}
            if seconds:
                variant |= {"offsetSeconds": abs(seconds), "offsetDirection": "before" if seconds < 0 else "after"}
            if until.time is not None:
                notes.append("the time of day is that of the date itself")
            if node.otherwise is not None:
                notes.append("contacts without the date go on like the others")
        else:
            at = until.time or (until.between[0] if until.between is not None else "00:00")
            hour, minute = (int(one) for one in at.split(":")[:2])
            variant = {
                "type": "LocalTime", "hour": hour, "minute": minute, "defaultTimezone": self.source.timezone,
            }  # fmt: skip
            if {*until.days} != {*WEEKDAYS}:
                variant["allowedDaysOfWeek"] = sorted(_DAYS[day] for day in until.days)
            if until.between is not None:
                notes.append("a contact who comes inside of the window waits for its next beginning")
        notes.append("on days on which clocks change it is off by an hour, and weekdays are those of UTC (rule 3)")
        self._add(name, "DelayNode", variant=variant, child=self._goes(node.next))
        self.did(place, "wait_until", Verdict.approximated, name, note="; ".join(notes))

    def _wait_for(self, place: tuple[str, ...], name: str, node: WaitFor) -> None:
        children = []
        branches = node.branches()
        for i, (awaited, (_, target, _)) in enumerate(zip(node.awaited, branches, strict=False)):
            found = parse_awaited(awaited)
            if isinstance(found, AwaitedEvent):
                any_of = [{"type": "Performed", "event": found.event, **one} for one in _filters(found.where)]
            else:
                any_of = [self._message(MessageEvent(found.kind, found.node, found.link))]
            segment = self._made(f"{name}_{i + 1}", _any_of(any_of))
            children.append({"id": self._goes(target), "segmentId": segment})
        self._add(
            name, "WaitForNode", timeoutSeconds=node.within.total_seconds(), timeoutChild=self._goes(node.otherwise),
            segmentChildren=children,
        )  # fmt: skip
        note = "whoever has done it before, at any time, goes on at once (rules 8 and 9)"
        self.did(place, "wait_for", Verdict.approximated, name, note=note)

    def _decide(self, place: tuple[str, ...], name: str, node: Decide) -> None:
        """One split for each clause, in their order."""
        names = [name, *(f"{name}_{i + 1}" for i in range(1, len(node.decide)))]
        for i, (clause, this) in enumerate(zip(node.decide, names, strict=True)):
            tree = parse(clause.condition).tree
            otherwise = names[i + 1] if i + 1 < len(names) else self._goes(node.otherwise)
            variant = {
                "type": "Boolean", "segment": self._asked(tree, this), "trueChild": self._goes(clause.go),
                "falseChild": otherwise,
            }  # fmt: skip
            self._add(this, "SegmentSplitNode", variant=variant)
        note = "segments are recomputed in the background there, and may be a minute old (rule 6)"
        self.did(place, "decide", Verdict.approximated, *names, note=note)

    # Segments

    def _asked(self, tree: Tree, name: str) -> str:
        """The id of a segment that says a condition."""
        match tree:
            case Compare(">=", SegmentMembership(of), Number(value)) if value == 0.5:
                return self._segment_id(of, self.source.known_segments[of], ("segments", of))
        return self._made(name, self._definition(tree))

    def _segment_id(self, name: str, segment: Segment, place: tuple[str, ...]) -> str:
        if segment.condition is None:
            raise Unsaid(f"the segment {name} has weights")
        found = self._made(name, self._definition(parse(segment.condition, in_segment=True).tree))
        outcome = Outcome(place, f"segment {name}", Verdict.mapped, (found,))
        if outcome not in self.outcomes:
            self.outcomes.append(outcome)
        return found

    def _made(self, name: str, definition: dict[str, Any]) -> str:
        self._segments[name] = {"id": name, "name": name, "definition": definition}
        return name

    def _definition(self, tree: Tree) -> dict[str, Any]:
        nodes: list[dict[str, Any]] = []

        def made(one: Tree) -> dict[str, Any]:
            identity = str(len(nodes) + 1)
            if isinstance(one, In) and not one.negated:
                one = Or(tuple(Compare("==", one.of, _literal(option)) for option in one.options))
            if isinstance(one, Aggregate) and one.fn == "did" and len(_filters(one.where)) > 1:
                any_of = [{"id": f"{identity}_{i}", **leaf} for i, leaf in enumerate(_performed(one, 1, ">="))]
                nodes.append({"type": "Or", "id": identity, "children": [leaf["id"] for leaf in any_of]})
                nodes.extend(any_of)
                return next(node for node in nodes if node["id"] == identity)
            if isinstance(one, And | Or):
                node: dict[str, Any] = {"type": "And" if isinstance(one, And) else "Or", "id": identity}
                nodes.append(node)
                node["children"] = [made(part)["id"] for part in one.parts]
                return node
            node = {"id": identity, **self._leaf(one)}
            nodes.append(node)
            return node

        entry = made(tree)
        return {"entryNode": entry, "nodes": [one for one in nodes if one is not entry]}

    def _leaf(self, tree: Tree) -> dict[str, Any]:
        match tree:
            case Flag(True):
                return {"type": "Everyone"}
            case Attribute(name):
                return {"type": "Trait", "path": name, "operator": {"type": "Equals", "value": "true"}}
            case Compare(_, Attribute(name), _) | Missing(Attribute(name)) | Not(Missing(Attribute(name))):
                return {"type": "Trait", "path": name, "operator": _operator(tree)}
            case Aggregate(fn="did"):
                return _one(_performed(tree, 1, ">="), tree)
            case Not(Aggregate(fn="did") as of):
                return _one(_performed(of, 1, "<"), tree)
            case Compare("==" | ">=" | "<" as op, Aggregate(fn="count") as of, Number(value)):
                return _one(_performed(of, int(value), "=" if op == "==" else op), tree)
            case Compare(_, Aggregate(fn="last", property=name) as of, _) if name is not None and of.window_us is None:
                where = _one(_filters(of.where), tree)
                said = {"whereProperties": where["properties"]} if where else {}
                has = [{"path": name, "operator": _operator(tree)}]
                return {"type": "LastPerformed", "event": of.event, **said, "hasProperties": has}
            case MessageEvent():
                return self._message(tree)
            case _:
                raise Unsaid(f"no segment of it asks this: {expression_text(tree)}")

    def _message(self, event: MessageEvent) -> dict[str, Any]:
        node = self.source.nodes.get(event.node)
        if event.link is not None or event.kind not in _EVENTS or not isinstance(node, Send):
            raise Unsaid(f"no segment of it asks this: {expression_text(event)}")
        return {"type": "Email", "event": _EVENTS[event.kind], "templateId": node.send}


def _any_of(leaves: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The definition of a segment of those to whom any of some leaves applies."""
    numbered = [{"id": str(i + 1), **one} for i, one in enumerate(leaves)]
    if len(numbered) == 1:
        return {"entryNode": numbered[0], "nodes": []}
    return {"entryNode": {"type": "Or", "id": "0", "children": [one["id"] for one in numbered]}, "nodes": numbered}


def _one(leaves: Sequence[dict[str, Any]], tree: Tree) -> dict[str, Any]:
    """The only leaf.

    Raises:
        Unsaid: when there are several, of which no operator says how they go together.
    """
    if len(leaves) != 1:
        raise Unsaid(f"no segment of it asks this: {expression_text(tree)}")
    return leaves[0]


def _performed(of: Aggregate, times: int, operator: str) -> list[dict[str, Any]]:
    said: dict[str, Any] = {"type": "Performed", "event": of.event, "times": times, "timesOperator": operator}
    if of.window_us is not None:
        said["withinSeconds"] = of.window_us / 1_000_000
    return [{**said, **one} for one in _filters(of.where)]


def _filters(where: Tree | None) -> list[dict[str, Any]]:
    """The properties of an event that a `where` asks for, for each way in which it can hold."""
    return [{}] if where is None else [{"properties": one} for one in _alternatives(where)]


def _alternatives(where: Tree) -> list[list[dict[str, Any]]]:
    """The ways in which a `where` holds, each as properties all of which are as they are said."""
    match where:
        case Or(parts):
            return [one for part in parts for one in _alternatives(part)]
        case In(of, options, False):
            return [one for option in options for one in _alternatives(Compare("==", of, _literal(option)))]
        case And(parts):
            ways: list[list[dict[str, Any]]] = [[]]
            for part in parts:
                ways = [[*way, *more] for way in ways for more in _alternatives(part)]
            return ways
    return [[{"path": _path(where), "operator": _operator(where)}]]


def _path(tree: Tree) -> str:
    match tree:
        case Compare(_, Property(name), _) | Missing(Property(name)) | Not(Missing(Property(name))):
            return name
    raise Unsaid(f"no property of an event is asked like this: {expression_text(tree)}")


def _operator(tree: Tree) -> dict[str, Any]:
    match tree:
        case Missing():
            return {"type": "NotExists"}
        case Not(Missing()):
            return {"type": "Exists"}
        case Compare("==" | "!=" as op, _, Text(value) | Number(value)):
            return {"type": "Equals" if op == "==" else "NotEquals", "value": value}
        case Compare("==" | "!=" as op, _, Flag(value)):
            return {"type": "Equals" if op == "==" else "NotEquals", "value": str(value).lower()}
        case Compare(">=" | "<" as op, _, Number(value)):
            return {"type": "GreaterThanOrEqual" if op == ">=" else "LessThan", "value": value}
    raise Unsaid(f"no operator of it says this: {expression_text(tree)}")


def _literal(value: object) -> Tree:
    if isinstance(value, bool):
        return Flag(value)
    return Number(value) if isinstance(value, int | float) else Text(str(value))
