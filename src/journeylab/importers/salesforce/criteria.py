"""Our conditions as the filters of Journey Builder."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final
from xml.etree import ElementTree

from journeylab.conditions import parse
from journeylab.expressions import (
    And,
    Attribute,
    Compare,
    EntryProperty,
    Flag,
    In,
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
from journeylab.importers.unsaid import Unsaid
from journeylab.journey import Segment

from .values import value_text

__all__ = ["criteria_of"]

_OPERATORS: Final = {
    "==": "Equal", "!=": "NotEqual", "<": "LessThan", "<=": "LessThanOrEqual", ">": "GreaterThan",
    ">=": "GreaterThanOrEqual",
}  # fmt: skip
_OPPOSITE: Final = {"==": "!=", "!=": "==", "<": ">=", "<=": ">", ">": "<=", ">=": "<"}
_TURNED: Final = {"==": "==", "!=": "!=", "<": ">", "<=": ">=", ">": "<", ">=": "<="}


def criteria_of(tree: Tree, event: str | None, segments: Mapping[str, Segment], notes: Callable[[str], None]) -> str:
    """The filter, as XML, that says a condition.

    Args:
        tree: the condition.
        event: the key of the event that its properties are of, None where there is none.
        segments: the segments that it may name.
        notes: is told what differs.

    Raises:
        Unsaid: when no filter says it.
    """
    root = ElementTree.Element("FilterDefinition")
    element = _Writing(event, segments, notes).said(tree)
    if element.tag == "Condition":
        element = _set("AND", [element])
    root.append(element)
    return ElementTree.tostring(root, encoding="unicode")


def _set(joined: str, elements: list[ElementTree.Element]) -> ElementTree.Element:
    made = ElementTree.Element("ConditionSet", Operator=joined, ConditionSetName="Individual Filter Grouping")
    made.extend(elements)
    return made


class _Writing:
    def __init__(self, event: str | None, segments: Mapping[str, Segment], notes: Callable[[str], None]) -> None:
        self._event, self._segments, self._notes = event, segments, notes

    def said(self, tree: Tree) -> ElementTree.Element:
        """The condition or set of conditions that says a tree."""
        match tree:
            case And(parts) | Or(parts):
                return _set("AND" if isinstance(tree, And) else "OR", [self.said(part) for part in parts])
            case Not(of):
                return self._negated(of)
            case Missing(of):
                return self._condition(of, "IsNull", "")
            case In(of, options, negated):
                each = tuple(Compare("!=" if negated else "==", of, _literal(option)) for option in options)
                return self.said((And if negated else Or)(each))
            case Compare(">=", SegmentMembership(name), Number(value)) if value == 0.5:
                return self.said(self._segment(name))
            case Compare(op, Text() | Number() | Flag() as left, right):
                return self.said(Compare(_TURNED[op], right, left))  # type: ignore[arg-type]
            case Compare(op, of, Text(value) | Number(value) | Flag(value)):
                operator = "Is" if isinstance(value, bool) and op == "==" else _OPERATORS[op]
                return self._condition(of, operator, value_text(value, self._notes))
            case Compare(op, of, Attribute() | EntryProperty() | Property() as other):
                element = self._condition(of, _OPERATORS[op], self._key(other, tree))
                element.set("ValueIsReference", "true")
                return element
            case Attribute() | EntryProperty() | Property():
                return self._condition(tree, "Is", "true")
        raise Unsaid(f"no filter of it asks this: {expression_text(tree)}")

    def _negated(self, of: Tree) -> ElementTree.Element:
        """The opposite, which also holds where the value is missing (rule 7)."""
        match of:
            case And(parts) | Or(parts):
                kind = Or if isinstance(of, And) else And
                return self.said(kind(tuple(Not(part) for part in parts)))
            case Not(inner):
                return self.said(inner)
            case Missing(inner):
                return self._condition(inner, "IsNotNull", "")
            case Compare(">=", SegmentMembership(name), Number(value)) if value == 0.5:
                return self._negated(self._segment(name))
            case Compare(op, Text() | Number() | Flag() as left, right):
                return self._negated(Compare(_TURNED[op], right, left))  # type: ignore[arg-type]
            case Compare(op, left, Text() | Number() | Flag() as right):
                return self.said(Or((Missing(left), Compare(_OPPOSITE[op], left, right))))  # type: ignore[arg-type]
            case Compare(op, left, Attribute() | EntryProperty() | Property() as other):
                either = (Missing(left), Missing(other), Compare(_OPPOSITE[op], left, other))  # type: ignore[arg-type]
                return self.said(Or(either))
            case In(inner, options, negated):
                return self.said(Or((Missing(inner), In(inner, options, not negated))))
            case Attribute() | EntryProperty() | Property():
                return self.said(Or((Missing(of), Compare("==", of, Flag(value=False)))))
        raise Unsaid(f"no filter of it asks this: not {expression_text(of)}")

    def _segment(self, name: str) -> Tree:
        segment = self._segments[name]
        if segment.condition is None:
            raise Unsaid(f"the segment {name} has weights")
        return parse(segment.condition, in_segment=True).tree

    def _key(self, of: Tree, tree: Tree) -> str:
        match of:
            case Attribute(name):
                return name
            case EntryProperty(name) | Property(name) if self._event is not None:
                return f"Event.{self._event}.{name}"
        raise Unsaid(f"no filter of it asks this: {expression_text(tree)}")

    def _condition(self, of: Tree, operator: str, value: str) -> ElementTree.Element:
        key = self._key(of, of)
        element = ElementTree.Element("Condition", Key=key, Operator=operator, UiMetaData="{}")
        if key.startswith("Event."):
            element.set("IsEphemeralAttribute", "true")
        ElementTree.SubElement(element, "Value").text = value
        return element


def _literal(value: bool | float | str) -> Tree:
    if isinstance(value, bool):
        return Flag(value)
    return Number(value) if isinstance(value, int | float) else Text(value)
