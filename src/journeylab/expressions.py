"""Conditions as trees: the values, functions and operators that a condition is made of, and their canonical text.

`conditions` parses texts into these trees, `postfix` lowers them for the machine. Trees are data: frozen, hashable,
equal when they mean the same.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Literal, TypeAlias

from .durations import duration_text

__all__ = [
    "Aggregate", "And", "Arithmetic", "Attribute", "Compare", "DurationValue", "EntryProperty", "Flag", "In", "Kind",
    "LiteralValue", "LocalHour", "MessageEvent", "Missing", "Negate", "Not", "Number", "Or", "Property", "Score",
    "SegmentMembership", "Text", "Tree", "WeekdayOf", "children", "expression_text", "kind_of", "walk",
]  # fmt: skip

LiteralValue: TypeAlias = bool | int | float | str
AggregateFunction: TypeAlias = Literal["count", "did", "sum", "mean", "min", "max", "last", "since", "since_first"]
MessageKind: TypeAlias = Literal["sent", "delivered", "opened", "clicked", "bounced", "complained", "unsubscribed"]
ComparisonOperator: TypeAlias = Literal["==", "!=", "<", "<=", ">", ">="]
ArithmeticOperator: TypeAlias = Literal["+", "-", "*", "/"]
Kind: TypeAlias = Literal["number", "text", "flag", "duration", "weekday", "unknown"]


@dataclass(frozen=True, slots=True)
class Number:
    """A number that is written in the condition."""

    value: int | float


@dataclass(frozen=True, slots=True)
class Text:
    """A text that is written in the condition; compared with a date or an instant it is an ISO 8601 date."""

    value: str


@dataclass(frozen=True, slots=True)
class Flag:
    """True or false, written in the condition."""

    value: bool


@dataclass(frozen=True, slots=True)
class DurationValue:
    """A duration that is written in the condition."""

    microseconds: int


@dataclass(frozen=True, slots=True)
class Attribute:
    """An attribute of the contact, as of the instant (rule 7)."""

    name: str


@dataclass(frozen=True, slots=True)
class Property:
    """A bare name in the `where` of an event: its property, else the contact's attribute (rule 7)."""

    name: str


@dataclass(frozen=True, slots=True)
class EntryProperty:
    """A property of the event that made the entry: `entry.NAME`."""

    name: str


@dataclass(frozen=True, slots=True)
class Aggregate:
    """A function over the contact's past events of one name, in (t - window, t] or all history (rules 6 and 7)."""

    fn: AggregateFunction
    event: str
    property: str | None = None
    window_us: int | None = None
    where: Tree | None = None


@dataclass(frozen=True, slots=True)
class MessageEvent:
    """Whether a node's message was sent in this entry, or met with this response (rule 9)."""

    kind: MessageKind
    node: str
    link: str | None = None


@dataclass(frozen=True, slots=True)
class SegmentMembership:
    """The contact's membership of a segment, in 0..1."""

    name: str


@dataclass(frozen=True, slots=True)
class Score:
    """A model's score of the contact."""

    name: str


@dataclass(frozen=True, slots=True)
class Missing:
    """Whether a value is missing."""

    of: Tree


@dataclass(frozen=True, slots=True)
class LocalHour:
    """The contact's local hour, 0 to 23 (rule 3)."""


@dataclass(frozen=True, slots=True)
class WeekdayOf:
    """The contact's local weekday, Monday 0 to Sunday 6 (rule 3)."""


@dataclass(frozen=True, slots=True)
class Not:
    """The opposite of a flag."""

    of: Tree


@dataclass(frozen=True, slots=True)
class And:
    """Whether all parts hold; no part is itself an `And`."""

    parts: tuple[Tree, ...]


@dataclass(frozen=True, slots=True)
class Or:
    """Whether any part holds; no part is itself an `Or`."""

    parts: tuple[Tree, ...]


@dataclass(frozen=True, slots=True)
class Compare:
    """A comparison of two values; false where one is missing (rule 7)."""

    op: ComparisonOperator
    left: Tree
    right: Tree


@dataclass(frozen=True, slots=True)
class In:
    """Whether a value is one of the options (or none of them, where `negated`); false where it is missing (rule 7)."""

    of: Tree
    options: tuple[LiteralValue, ...]
    negated: bool = False


@dataclass(frozen=True, slots=True)
class Arithmetic:
    """A number made of two; missing where one is missing, and for a division by zero (rule 7)."""

    op: ArithmeticOperator
    left: Tree
    right: Tree


@dataclass(frozen=True, slots=True)
class Negate:
    """A number with the opposite sign."""

    of: Tree


Tree: TypeAlias = (
    Number | Text | Flag | DurationValue | Attribute | Property | EntryProperty | Aggregate | MessageEvent
    | SegmentMembership | Score | Missing | LocalHour | WeekdayOf | Not | And | Or | Compare | In | Arithmetic | Negate
)  # fmt: skip


def children(tree: Tree) -> tuple[Tree, ...]:
    """The direct parts of a tree, from left to right; the `where` of an aggregate is one."""
    match tree:
        case And(parts) | Or(parts):
            return parts
        case Compare(_, left, right) | Arithmetic(_, left, right):
            return left, right
        case Not(of) | Negate(of) | Missing(of) | In(of):
            return (of,)
        case Aggregate(where=where) if where is not None:
            return (where,)
        case _:
            return ()


def walk(tree: Tree) -> Iterator[Tree]:
    """The tree and all its parts, each before its own parts, from left to right."""
    yield tree
    for child in children(tree):
        yield from walk(child)


def kind_of(tree: Tree) -> Kind:
    """The kind of value a tree gives, `"unknown"` for attributes and properties, whose kind the log decides."""
    match tree:
        case Number() | Arithmetic() | Negate() | SegmentMembership() | Score() | LocalHour():
            return "number"
        case Text():
            return "text"
        case DurationValue() | Aggregate(fn="since" | "since_first"):
            return "duration"
        case WeekdayOf():
            return "weekday"
        case Attribute() | Property() | EntryProperty() | Aggregate(fn="last"):
            return "unknown"
        case Aggregate(fn="did"):
            return "flag"
        case Aggregate():
            return "number"
        case _:
            return "flag"


_OR, _AND, _NOT, _COMPARE, _SUM, _PRODUCT, _SIGN, _ATOM = range(8)


def expression_text(tree: Tree) -> str:
    """The canonical text of a tree: one spelling for all texts that mean the same tree.

    >>> expression_text(Not(Compare(">", Aggregate("since", "visit"), DurationValue(3_600_000_000))))
    'not since("visit") > "1h"'
    """
    return _text(tree)[0]


def _text(tree: Tree) -> tuple[str, int]:
    """The text of a tree, and how tightly its outermost operator binds."""
    match tree:
        case Or(parts):
            return " or ".join(_inside(part, _AND) for part in parts), _OR
        case And(parts):
            return " and ".join(_inside(part, _NOT) for part in parts), _AND
        case Not(of):
            return f"not {_inside(of, _NOT)}", _NOT
        case Compare(op, left, right):
            return f"{_inside(left, _SUM)} {op} {_inside(right, _SUM)}", _COMPARE
        case In(of, options, negated):
            listed = ", ".join(literal_text(option) for option in options)
            return f"{_inside(of, _SUM)} {'not in' if negated else 'in'} [{listed}]", _COMPARE
        case Arithmetic(op, left, right):
            binding = _SUM if op in "+-" else _PRODUCT
            return f"{_inside(left, binding)} {op} {_inside(right, binding + 1)}", binding
        case Negate(of):
            return f"-{_inside(of, _SIGN)}", _SIGN
        case _:
            return _atom_text(tree), _ATOM


def _inside(tree: Tree, binding: int) -> str:
    text, own = _text(tree)
    return text if own >= binding else f"({text})"


def _atom_text(tree: Tree) -> str:
    match tree:
        case Number(value) | Text(value) | Flag(value):
            return literal_text(value)
        case DurationValue(microseconds):
            return literal_text(_duration(microseconds))
        case Attribute(name) | Property(name):
            return name
        case EntryProperty(name):
            return f"entry.{name}"
        case Aggregate(fn, event, name, window_us, where):
            arguments = [literal_text(event if name is None else f"{event}.{name}")]
            arguments += [] if window_us is None else [literal_text(_duration(window_us))]
            arguments += [] if where is None else [f"where={literal_text(expression_text(where))}"]
            return f"{fn}({', '.join(arguments)})"
        case MessageEvent(kind, node, link):
            return f"{kind}({node})" if link is None else f"{kind}({node}, {literal_text(link)})"
        case SegmentMembership(name):
            return f"segment({literal_text(name)})"
        case Score(name):
            return f"score({literal_text(name)})"
        case Missing(of):
            return f"missing({expression_text(of)})"
        case LocalHour():
            return "local_hour()"
        case _:
            return "weekday()"


def literal_text(value: LiteralValue) -> str:
    """The canonical text of a literal: lower-case flags, the shortest number, a text in double quotes.

    >>> literal_text(True), literal_text(2.0), literal_text("trial")
    ('true', '2', '"trial"')
    """
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False)
    return str(int(value)) if value == int(value) and abs(value) < 1e16 else repr(value)


def _duration(microseconds: int) -> str:
    return duration_text(timedelta(microseconds=microseconds))
