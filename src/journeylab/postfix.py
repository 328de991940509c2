"""Conditions and segments lowered to postfix operations, with their names resolved and their types checked.

The machine evaluates the result on a stack of float64: flags are 0 and 1, texts are codes, durations and instants are
microseconds, dates are days since 1970-01-01, and what is missing is NaN.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import UTC, date, datetime
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

import numpy as np

from . import conditions as c
from . import layout as o
from .clock import microseconds
from .errors import Fault, known
from .journey import Segment

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["Names", "Nodes", "Postfix", "TypeFault", "literal", "message_stream"]

_COMPARE = {"==": o.EQ, "!=": o.NE, "<": o.LT, "<=": o.LE, ">": o.GT, ">=": o.GE}
_ARITHMETIC = {"+": o.ADD, "-": o.SUBTRACT, "*": o.MULTIPLY, "/": o.DIVIDE}
_AGGREGATE = {
    "count": o.COUNT, "did": o.DID, "sum": o.SUM, "mean": o.MEAN, "min": o.MIN, "max": o.MAX, "last": o.LAST_VALUE,
    "since": o.SINCE, "since_first": o.SINCE_FIRST,
}  # fmt: skip
_MIRRORED = {"==": "==", "!=": "!=", "<": ">", "<=": ">=", ">": "<", ">=": "<="}
_MISSING_ATTRIBUTE = (o.NONE, "unknown")


class Names(Protocol):
    """What a program needs to know of the log, or the store, that it will run on."""

    @property
    def attribute_names(self) -> Sequence[str]:
        """The attributes that exist."""

    @property
    def property_names(self) -> Sequence[str]:
        """The properties of events that exist."""

    def declare(
        self, attributes: Mapping[str, bool | float | str], properties: Mapping[str, bool | float | str]
    ) -> None:
        """Makes known the attributes and properties, with a value each, that the program itself will make."""

    def expect(self, properties: Collection[str]) -> None:
        """Makes known which properties will be asked for, so that they can be brought at once."""

    def stream(self, event: str, where: c.Tree | None = None) -> int:
        """The index of the events of a name that meet a condition on their properties."""

    def attribute(self, name: str) -> tuple[int, str]:
        """The index of an attribute and its kind (number, flag, text, instant, date)."""

    def event_property(self, name: str) -> tuple[int, str]:
        """The index of a property and its kind."""

    def text(self, value: str) -> float:
        """The code of a text, the same in every attribute and property."""

    def score(self, name: str) -> int:
        """The index of a score."""

    def own_event(self, event: str, properties: Mapping[str, bool | float | str]) -> int:
        """The index of a kind of event that the program itself makes."""

    def zone(self, name: str) -> int:
        """The index of a time zone."""

    def zone_attribute(self) -> int:
        """The index of the attribute in which the machine finds a contact's time zone."""

    def unit_attribute(self, name: str) -> int:
        """The index of the attribute in which the machine finds an attribute's value as the code of a text.

        Raises:
            TypeFault: when its values are no texts and no whole numbers.
        """


Nodes: TypeAlias = Mapping[str, tuple[int, str]]
"""The send nodes that a condition may name: their index in the program and their message."""


class TypeFault(Exception):
    """A condition that is well formed and does not fit this log; the message says why."""


def literal(value: bool | float | str, kind: str, names: Names, what: str) -> float:
    """The number that stands for a literal beside, or as, a value of that kind.

    Raises:
        TypeFault: when the literal is no such value.
    """
    if isinstance(value, bool):
        fits = kind in ("flag", "unknown")
    elif isinstance(value, int | float):
        fits = kind in ("number", "unknown")
    else:
        if kind in ("text", "unknown"):
            return names.text(value)
        try:
            if kind == "date":
                return float((date.fromisoformat(value) - date(1970, 1, 1)).days)
            if kind == "instant":
                moment = datetime.fromisoformat(value)
                return float(microseconds(moment if moment.tzinfo else moment.replace(tzinfo=UTC)))
        except ValueError:
            raise TypeFault(f"{what} is a {kind}, and {value!r} is none; write it as 2026-03-29") from None
        fits = False
    if not fits:
        raise TypeFault(f"{what} is a {kind} in this log, not {value!r}")
    return float(value)


def message_stream(names: Names, kind: str, message: str, link: str | None = None) -> int:
    """The index of a message's own events of a kind (`sent`, `opened`, …), of one link where it is given (rule 9)."""
    where: c.Tree = c.Compare("==", c.Property("message"), c.Text(message))
    if link is not None:
        where = c.And((where, c.Compare("==", c.Property("link"), c.Text(link))))
    return names.stream(kind, where)


class Postfix:
    """The growing tables of operations of one program."""

    def __init__(self, names: Names, *, past: bool = False) -> None:
        """Empty tables; with `past`, a bare name is a property of past events only (rule 7)."""
        self.names = names
        self._past = past
        self.code: list[tuple[int, int, int]] = []
        self.code_x: list[float] = []
        self.options: list[float] = []
        self.conditions: list[tuple[int, int]] = []
        self.faults: list[Fault] = []
        self.scores: Mapping[str, str] = {}
        """Under which name a score is given, where it is not its own."""

    def condition(
        self,
        tree: c.Tree,
        path: tuple[str | int, ...],
        nodes: Nodes,
        segments: Mapping[str, Segment],
    ) -> int:
        """The index of a condition, NONE (and a fault in `faults`) where it does not fit the log."""
        start = len(self.code)
        try:
            self._walk(tree, nodes, segments)
            self._add(o.TRUTH)
        except TypeFault as problem:
            self.faults.append(Fault(path, str(problem)))
            return o.NONE
        return self._close(start, path)

    def value(self, tree: c.Tree, path: tuple[str | int, ...]) -> int:
        """The index of a condition whose value is what the tree says: a number, a duration in microseconds, 0 or 1."""
        start = len(self.code)
        try:
            self._walk(tree, {}, {})
        except TypeFault as problem:
            self.faults.append(Fault(path, str(problem)))
            return o.NONE
        return self._close(start, path)

    def membership(self, name: str, path: tuple[str | int, ...], segments: Mapping[str, Segment]) -> int:
        """The index of a condition whose value is the membership of a segment in 0..1."""
        start = len(self.code)
        try:
            self._segment(name, segments)
        except TypeFault as problem:
            self.faults.append(Fault(path, str(problem)))
            return o.NONE
        return self._close(start, path)

    def tables(self) -> dict[str, NDArray[Any]]:
        """The tables of `layout.Program` that hold conditions."""
        return {
            "conditions": np.array(self.conditions, np.int64).reshape(len(self.conditions), 2),
            "code": np.array(self.code, np.int64).reshape(len(self.code), 3),
            "code_x": np.array(self.code_x, np.float64),
            "options": np.array(self.options, np.float64),
        }

    def _close(self, start: int, path: tuple[str | int, ...]) -> int:
        depth = most = 0
        for operation, _, _ in self.code[start:]:
            depth += _EFFECT.get(operation, 1)
            most = max(most, depth)
        if most >= o.STACK:
            self.faults.append(Fault(path, f"the condition nests more than {o.STACK} values; name a part as a segment"))
        self.conditions.append((start, len(self.code)))
        return len(self.conditions) - 1

    def _add(self, operation: int, a: int = o.NONE, b: int = o.NONE, x: float = 0.0) -> None:
        self.code.append((operation, a, b))
        self.code_x.append(x)

    def _segment(self, name: str, segments: Mapping[str, Segment]) -> None:
        if name not in segments:
            raise TypeFault(f"no segment {name!r}; {known(name, segments, 'segments')}")
        segment = segments[name]
        if segment.condition is not None:
            self._walk(c.parse(segment.condition, in_segment=True).tree, {}, segments)
            self._add(o.TRUTH)
            return
        self._add(o.PUSH, x=segment.bias)
        for one in segment.weights:
            self._walk(c.parse(one.when, in_segment=True).tree, {}, segments)
            self._add(o.WEIGH, x=one.weight)
        self._add(o.LOGISTIC)

    def _value(self, tree: c.Tree, other_kind: str, other: str, nodes: Nodes, segments: Mapping[str, Segment]) -> None:
        """Pushes a side of a comparison; a literal takes the kind of the other side."""
        if isinstance(tree, c.Text):
            self._add(o.PUSH, x=literal(tree.value, other_kind, self.names, other))
        elif isinstance(tree, c.Number | c.Flag):
            if other_kind not in ("weekday", "duration"):
                literal(tree.value, other_kind, self.names, other)
            self._add(o.PUSH, x=float(tree.value))
        else:
            self._walk(tree, nodes, segments)

    def _compare(self, tree: c.Compare, nodes: Nodes, segments: Mapping[str, Segment]) -> None:
        left, right = self._kind(tree.left), self._kind(tree.right)
        is_left, is_right = (isinstance(side, c.Text | c.Number | c.Flag) for side in (tree.left, tree.right))
        if not is_left and not is_right and "unknown" not in (left, right) and left != right:
            raise TypeFault(f"{_said(tree.left)} is a {left} and {_said(tree.right)} a {right} in this log")
        if tree.op not in ("==", "!=") and "text" in (left, right) and not {"date", "instant"} & {left, right}:
            raise TypeFault(f"texts have no order: {_said(tree.left)} {tree.op} {_said(tree.right)}")
        self._value(tree.left, right, _said(tree.right), nodes, segments)
        self._value(tree.right, left, _said(tree.left), nodes, segments)
        self._add(_COMPARE[tree.op])

    def _walk(self, tree: c.Tree, nodes: Nodes, segments: Mapping[str, Segment]) -> None:
        match tree:
            case c.Number(value) | c.Flag(value):
                self._add(o.PUSH, x=float(value))
            case c.DurationValue(value):
                self._add(o.PUSH, x=float(value))
            case c.Text(value):
                self._add(o.PUSH, x=self.names.text(value))
            case c.Attribute(name):
                self._add(o.ATTRIBUTE, self._attribute(name)[0])
            case c.Property(name):
                self._property(name)
            case c.EntryProperty(name):
                self._add(o.ENTRY_PROPERTY, self._known_property(name)[0])
            case c.Aggregate():
                self._aggregate(tree)
            case c.MessageEvent(event, node, link):
                index, message = nodes[node]
                if event == "sent":
                    self._add(o.SENT, index)
                else:
                    self._add(o.RESPONSE, index, message_stream(self.names, event, message, link))
            case c.SegmentMembership(name):
                self._segment(name, segments)
            case c.Score(name):
                self._add(o.SCORE, self.names.score(self.scores.get(name, name)))
            case c.Missing(of):
                self._walk(of, nodes, segments)
                self._add(o.MISSING)
            case c.LocalHour():
                self._add(o.LOCAL_HOUR)
            case c.WeekdayOf():
                self._add(o.WEEKDAY)
            case c.Not(of):
                self._walk(of, nodes, segments)
                self._add(o.NOT)
            case c.And(parts) | c.Or(parts):
                for i, part in enumerate(parts):
                    self._walk(part, nodes, segments)
                    if i:
                        self._add(o.AND if isinstance(tree, c.And) else o.OR)
            case c.Compare():
                self._compare(tree, nodes, segments)
            case c.In(left, options, negated):
                self._walk(left, nodes, segments)
                start = len(self.options)
                kind = self._kind(left)
                self.options += [
                    float(one) if kind == "weekday" else literal(one, kind, self.names, _said(left)) for one in options
                ]
                self._add(o.NOT_IN if negated else o.IN, start, len(self.options))
            case c.Arithmetic(op, left, right):
                self._walk(left, nodes, segments)
                self._walk(right, nodes, segments)
                self._add(_ARITHMETIC[op])
            case c.Negate(of):
                self._walk(of, nodes, segments)
                self._add(o.NEGATE)

    def _attribute(self, name: str) -> tuple[int, str]:
        if name not in self.names.attribute_names:
            hint = (
                f" A property of the trigger event is written entry.{name}."
                if name in self.names.property_names
                else ""
            )
            raise TypeFault(f"no attribute {name!r}; {known(name, self.names.attribute_names, 'attributes')}{hint}")
        return self.names.attribute(name)

    def _known_property(self, name: str) -> tuple[int, str]:
        if name not in self.names.property_names:
            raise TypeFault(f"no event has {name!r}; {known(name, self.names.property_names, 'properties')}")
        return self.names.event_property(name)

    def _property(self, name: str) -> None:
        properties = self.names.property_names
        attributes = () if self._past else self.names.attribute_names
        if name not in properties and name not in attributes:
            raise TypeFault(f"no event has {name!r} and no contact; {known(name, [*properties, *attributes], 'names')}")
        prop, kind = self.names.event_property(name) if name in properties else _MISSING_ATTRIBUTE
        attribute, other = self.names.attribute(name) if name in attributes else _MISSING_ATTRIBUTE
        if prop != o.NONE and attribute != o.NONE and kind != other and "unknown" not in (kind, other):
            raise TypeFault(f"{name!r} is a {kind} on events and a {other} on contacts; rename one of them")
        self._add(o.EVENT_PROPERTY, prop, attribute)

    def _aggregate(self, tree: c.Aggregate) -> None:
        prop = o.NONE
        if tree.property is not None:
            prop, kind = self._known_property(tree.property)
            if tree.fn != "last" and kind not in ("number", "unknown"):
                raise TypeFault(f"{tree.fn} needs numbers, and {tree.event}.{tree.property} is a {kind} in this log")
        for part in () if tree.where is None else c.walk(tree.where):
            if isinstance(part, c.Property):
                self._known_property(part.name)
        stream = self.names.stream(tree.event, tree.where)
        window = np.inf if tree.window_us is None else float(tree.window_us)
        self._add(_AGGREGATE[tree.fn], stream, prop, window)

    def _kind(self, tree: c.Tree) -> str:
        match tree:
            case c.Attribute(name):
                return self._attribute(name)[1]
            case c.EntryProperty(name):
                return self._known_property(name)[1]
            case c.Property(name):
                if name in self.names.property_names:
                    return self.names.event_property(name)[1]
                return self._attribute(name)[1] if name in self.names.attribute_names else "unknown"
            case c.Aggregate(fn="last", property=str(name)):
                return self._known_property(name)[1]
            case c.Aggregate(fn="since" | "since_first") | c.DurationValue():
                return "duration"
            case c.Aggregate(fn="did") | c.MessageEvent() | c.Flag():
                return "flag"
            case c.Not() | c.And() | c.Or() | c.Compare() | c.In() | c.Missing():
                return "flag"
            case c.WeekdayOf():
                return "weekday"
            case c.Text():
                return "text"
            case _:
                return "number"


_EFFECT = {
    **dict.fromkeys((o.MISSING, o.NOT, o.NEGATE, o.IN, o.NOT_IN, o.LOGISTIC, o.TRUTH), 0),
    **dict.fromkeys(
        (o.EQ, o.NE, o.LT, o.LE, o.GT, o.GE, o.AND, o.OR, o.ADD, o.SUBTRACT, o.MULTIPLY, o.DIVIDE, o.WEIGH), -1
    ),
}


def _said(tree: c.Tree) -> str:
    """How a tree is named in a message."""
    match tree:
        case c.Attribute(name):
            return f"attribute {name!r}"
        case c.Property(name):
            return repr(name)
        case c.EntryProperty(name):
            return f"entry.{name}"
        case c.Aggregate(fn, event, name):
            return f'{fn}("{event}{"." + name if name else ""}")'
        case c.Text(value) | c.Number(value) | c.Flag(value):
            return repr(value)
        case _:
            return "this value"
