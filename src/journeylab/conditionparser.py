"""The parser of conditions: a text to a typed tree, or all its faults."""

from __future__ import annotations

import ast
import math
import re
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from itertools import pairwise
from typing import Literal, TypeAlias, TypeVar, get_args

from .conditionsyntax import ConditionError, ConditionSource, RefusedError
from .durations import parse_duration
from .errors import known
from .expressions import (
    Aggregate,
    AggregateFunction,
    And,
    Arithmetic,
    ArithmeticOperator,
    Attribute,
    Compare,
    ComparisonOperator,
    DurationValue,
    EntryProperty,
    Flag,
    In,
    Kind,
    LiteralValue,
    LocalHour,
    MessageEvent,
    MessageKind,
    Missing,
    Negate,
    Not,
    Number,
    Or,
    Property,
    Score,
    SegmentMembership,
    Text,
    Tree,
    WeekdayOf,
    kind_of,
    literal_text,
)
from .journey import WEEKDAYS

__all__ = ["MESSAGES", "Parser", "Scope", "is_iso_date"]

Scope: TypeAlias = Literal["contact", "event", "past"]
T = TypeVar("T")

DEEPEST = 60
LARGEST_INTEGER = 2**53
AGGREGATES: tuple[AggregateFunction, ...] = get_args(AggregateFunction)
MESSAGES: tuple[MessageKind, ...] = get_args(MessageKind)
FUNCTIONS = (*AGGREGATES, *MESSAGES, "segment", "score", "missing", "local_hour", "weekday")
_OF_A_PROPERTY = ("sum", "mean", "min", "max", "last")
_WITH_A_WINDOW = ("count", "did", "sum", "mean", "min", "max")
_NEVER_MISSING = ("count", "did", "sum")
_COMPARISONS: dict[type[ast.cmpop], ComparisonOperator] = {
    ast.Eq: "==", ast.NotEq: "!=", ast.Lt: "<", ast.LtE: "<=", ast.Gt: ">", ast.GtE: ">=",
}  # fmt: skip
_ARITHMETIC: dict[type[ast.operator], ArithmeticOperator] = {ast.Add: "+", ast.Sub: "-", ast.Mult: "*", ast.Div: "/"}
_FLAGS = {"True": True, "true": True, "False": False, "false": False}


def is_iso_date(text: str) -> bool:
    """Whether a text is an ISO 8601 date or instant such as `2026-03-29` or `2026-03-29T09:00Z`."""
    if not re.match(r"\d{4}-\d{2}-\d{2}", text):
        return False
    try:
        datetime.fromisoformat(text)
    except ValueError:
        return False
    return True


class Parser(ConditionSource):
    """The parse of one text, typed before anything runs."""

    def __init__(self, text: str, scope: Scope, *, in_segment: bool = False, base: int = 0) -> None:
        super().__init__(text, base)
        self.text = text
        self.scope = scope
        self.in_segment = in_segment
        self._depth = 0

    def parsed(self, rule: Callable[[ast.expr], T]) -> T:
        """What a rule makes of the text.

        Raises:
            ConditionError: with every fault of the text.
        """
        try:
            return rule(self.expression())
        except RefusedError:
            raise ConditionError(self.text, self.faults) from None

    def whole(self, node: ast.expr) -> Tree:
        """The tree of a whole condition, which must be a flag."""
        return self._flag(node)

    def value(self, node: ast.expr) -> Tree:
        """The tree of a value of any kind: a number, a duration, a weekday or a flag; a text alone says nothing."""
        tree = self._value(node)
        if isinstance(tree, Text):
            raise self.refused(f"{self.said(node)} alone is no value that differs; compare something with it", node)
        return tree

    def call_arguments(self, node: ast.Call, allowed: Sequence[str] = ()) -> dict[str, ast.expr]:
        """The keyword arguments of a call, none of them unknown."""
        for keyword in node.keywords:
            if keyword.arg not in allowed:
                name = "**" if keyword.arg is None else f"{keyword.arg}="
                raise self.refused(f"{self.said(node.func)} takes no {name}", keyword.value)
        return {keyword.arg: keyword.value for keyword in node.keywords if keyword.arg is not None}

    def text_of(self, node: ast.expr, hint: str) -> str:
        """The text literal that stands here."""
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and node.value:
            return node.value
        raise self.refused(hint, node)

    def where(self, node: ast.expr, scope: Scope) -> Tree:
        """The condition in a `where=` text; its faults count as this text's."""
        text = self.text_of(node, "where= is a condition in quotes, such as where=\"page == 'pricing'\"")
        inner = Parser(text, scope, in_segment=self.in_segment, base=self.place(node) + 1)
        try:
            return inner.whole(inner.expression())
        except RefusedError:
            self.faults += inner.faults
            raise

    def message_event(self, node: ast.Call, kind: MessageKind) -> MessageEvent:
        """A response to the message of a node: `opened(NODE)`, `clicked(NODE, "link")`."""
        self.call_arguments(node)
        most = 2 if kind == "clicked" else 1
        if not 1 <= len(node.args) <= most:
            shape = 'clicked(NODE) or clicked(NODE, "link")' if kind == "clicked" else f"{kind}(NODE)"
            raise self.refused(f"write {shape}, with the name of one node", node)
        target = node.args[0]
        name = self.said(target)
        if not isinstance(target, ast.Name | ast.Attribute) or not re.fullmatch(r"[^\W\d]\w*(\.[^\W\d]\w*)*", name):
            raise self.refused(f"{kind} takes the name of a node without quotes, such as {kind}(welcome)", target)
        link = self.text_of(node.args[1], "a link is a text in quotes") if len(node.args) == 2 else None
        return MessageEvent(kind, name, link)

    def _values(self, rule: Callable[[ast.expr], T], nodes: Sequence[ast.expr]) -> list[T]:
        """What a rule makes of each node; all are tried before any fault of them ends the parse."""
        results = []
        for node in nodes:
            try:
                results.append(rule(node))
            except RefusedError:
                continue
        if len(results) < len(nodes):
            raise RefusedError
        return results

    def _flag(self, node: ast.expr) -> Tree:
        tree = self._value(node)
        kind = kind_of(tree)
        if kind in ("flag", "unknown"):
            return tree
        said = self.said(node)
        example = {"number": f"{said} >= 1", "duration": f'{said} > "7d"', "weekday": f'{said} == "mon"'}
        if isinstance(tree, SegmentMembership):
            raise self.refused(f"{said} is a number in 0..1; compare it, such as {said} >= 0.5", node)
        if isinstance(tree, Text | Number):
            raise self.refused(f"{said} alone is no condition; compare something with it", node)
        raise self.refused(f"{said} is a {kind}, no condition; compare it, such as {example[kind]}", node)

    def _value(self, node: ast.expr) -> Tree:
        self._depth += 1
        try:
            if self._depth > DEEPEST:
                raise self.refused(f"nested more than {DEEPEST} deep; name a part of it as a segment", node)
            return self._shallow_value(node)
        finally:
            self._depth -= 1

    def _shallow_value(self, node: ast.expr) -> Tree:
        match node:
            case ast.Constant():
                return self._literal(node)
            case ast.Name():
                return self._name(node)
            case ast.Attribute():
                return self._entry_property(node)
            case ast.BoolOp():
                return self._junction(node)
            case ast.UnaryOp(op=ast.Not()):
                return Not(self._flag(node.operand))
            case ast.UnaryOp(op=ast.USub()):
                return self._negate(node)
            case ast.Compare():
                return self._compare(node)
            case ast.BinOp():
                return self._arithmetic(node)
            case ast.Call():
                return self._call(node)
            case ast.List() | ast.Tuple():
                raise self.refused("a list stands only after `in` and `not in`", node)
            case _:
                raise self.refused(f"{self.said(node)!r} is Python, but no part of conditions", node)

    def _literal(self, node: ast.Constant) -> Number | Text | Flag:
        value = node.value
        if isinstance(value, bool):
            return Flag(value)
        if isinstance(value, str):
            return Text(value)
        if value is None:
            raise self.refused("a missing value is asked for with missing(…), not compared with None", node)
        if not isinstance(value, int | float):
            raise self.refused(f"{self.said(node)} is neither a number nor a text", node)
        if isinstance(value, int) and abs(value) > LARGEST_INTEGER:
            raise self.refused(f"{self.said(node)} is too large to be compared exactly; keep it as a text", node)
        if not math.isfinite(value):
            raise self.refused(f"{self.said(node)} is too large", node)
        return Number(value)

    def _name(self, node: ast.Name) -> Tree:
        name = node.id
        if name in _FLAGS:
            return Flag(_FLAGS[name])
        if name in ("null", "none"):
            raise self.refused(f"a missing value is asked for with missing(…), not compared with {name}", node)
        if name == "entry":
            raise self.refused("entry is read by property, such as entry.plan", node)
        if name in ("local_hour", "weekday") and self.scope != "past":
            raise self.refused(f"{name} is a function; write {name}()", node)
        return Attribute(name) if self.scope == "contact" else Property(name)

    def _entry_property(self, node: ast.Attribute) -> EntryProperty:
        if not (isinstance(node.value, ast.Name) and node.value.id == "entry"):
            raise self.refused(
                f"only entry.PROP has a dot, not {self.said(node)}; an attribute is a bare name,"
                ' a past event\'s property is last("event.property")',
                node,
            )
        if self.in_segment or self.scope == "past":
            place = "a segment" if self.in_segment else "the where of past events"
            raise self.refused(f"{place} knows no entry: {self.said(node)}", node)
        return EntryProperty(node.attr)

    def _junction(self, node: ast.BoolOp) -> And | Or:
        kind = And if isinstance(node.op, ast.And) else Or
        parts: list[Tree] = []
        for part in self._values(self._flag, node.values):
            parts += part.parts if isinstance(part, kind) else [part]
        return kind(tuple(parts))

    def _number(self, node: ast.expr) -> Tree:
        tree = self._value(node)
        if kind_of(tree) not in ("number", "unknown"):
            raise self.refused(f"{self.said(node)} is a {kind_of(tree)}, and only numbers are calculated with", node)
        return tree

    def _negate(self, node: ast.UnaryOp) -> Number | Negate:
        tree = self._number(node.operand)
        return Number(-tree.value) if isinstance(tree, Number) else Negate(tree)

    def _arithmetic(self, node: ast.BinOp) -> Arithmetic:
        op = _ARITHMETIC.get(type(node.op))
        if op is None:
            raise self.refused(f"conditions calculate with + - * and / only: {self.said(node)}", node)
        left, right = self._values(self._number, [node.left, node.right])
        if op == "/" and isinstance(right, Number) and right.value == 0:
            raise self.refused("a division by zero is always missing", node.right)
        return Arithmetic(op, left, right)

    def _compare(self, node: ast.Compare) -> Tree:
        if len(node.ops) == 1 and isinstance(node.ops[0], ast.In | ast.NotIn):
            return self._in(node.left, node.comparators[0], negated=isinstance(node.ops[0], ast.NotIn))
        for op in node.ops:
            if type(op) not in _COMPARISONS:
                word = "is" if isinstance(op, ast.Is | ast.IsNot) else "in"
                remedy = "write == or missing(…)" if word == "is" else "put parentheses around the part with `in`"
                raise self.refused(f"`{word}` is not used here; {remedy}", node)
        sides = [node.left, *node.comparators]
        trees = self._values(self._value, sides)
        operators = [_COMPARISONS[type(op)] for op in node.ops]
        parts: list[Tree] = [
            self._comparison(op, left, right)
            for op, (left, right) in zip(operators, pairwise(zip(trees, sides, strict=True)), strict=True)
        ]
        return parts[0] if len(parts) == 1 else And(tuple(parts))

    def _comparison(
        self, op: ComparisonOperator, first: tuple[Tree, ast.expr], second: tuple[Tree, ast.expr]
    ) -> Compare:
        (left, left_node), (right, right_node) = first, second
        said = self.said(left_node), self.said(right_node)
        literals = [isinstance(side, Text | Number | Flag) for side in (left, right)]
        if all(literals):
            raise self.refused(
                f"{said[0]} {op} {said[1]} compares two constants; names stand without quotes", left_node
            )
        left, right = (
            self._beside(left, left_node, kind_of(right), said[1]),
            self._beside(right, right_node, kind_of(left), said[0]),
        )
        kinds = kind_of(left), kind_of(right)
        if not {"unknown", "weekday"} & set(kinds) and kinds[0] != kinds[1]:
            raise self.refused(f"{said[0]} is a {kinds[0]} and {said[1]} a {kinds[1]}", right_node)
        if op not in ("==", "!="):
            for side, name, node in ((left, said[0], left_node), (right, said[1], right_node)):
                if kind_of(side) == "flag":
                    raise self.refused(f"{name} is a flag and has no order; use == or !=", node)
                if isinstance(side, Text) and not is_iso_date(side.value):
                    raise self.refused(f'only a date such as "2026-03-29" has an order among texts, not {name}', node)
        return Compare(op, left, right)

    def _beside(self, tree: Tree, node: ast.expr, other: Kind, other_said: str) -> Tree:
        """A side of a comparison, as a value of the other side's kind where that is a duration or a weekday."""
        if other == "weekday":
            if not isinstance(tree, Text | Number):
                raise self.refused(
                    f'{other_said} is compared with a weekday such as "mon", not {self.said(node)}', node
                )
            return Number(self._weekday(tree.value, node))
        if other != "duration" or kind_of(tree) == "duration":
            return tree
        if isinstance(tree, Number):
            shown = literal_text(tree.value)
            raise self.refused(f'{_short(other_said)} is a duration; write "{shown}d", not {shown}', node)
        if not isinstance(tree, Text):
            raise self.refused(f'{_short(other_said)} is a duration; compare it with one such as "7d"', node)
        return DurationValue(self._duration(node, tree.value))

    def _weekday(self, value: LiteralValue, node: ast.expr) -> int:
        if isinstance(value, str) and value.lower() in WEEKDAYS:
            return WEEKDAYS.index(value.lower())
        if not isinstance(value, str | bool) and value in range(7):
            return int(value)
        raise self.refused(f"{value!r} is no weekday; write {', '.join(WEEKDAYS)}, or 0 (Monday) to 6 (Sunday)", node)

    def _duration(self, node: ast.expr, value: object) -> int:
        try:
            length = parse_duration(value)
        except ValueError as error:
            raise self.refused(str(error), node) from None
        return length // timedelta(microseconds=1)

    def _in(self, value: ast.expr, options: ast.expr, *, negated: bool) -> In:
        if not isinstance(options, ast.List | ast.Tuple):
            raise self.refused(f'after `in` stands a list, such as ["PL", "DE"], not {self.said(options)}', options)
        if not options.elts:
            raise self.refused("the list after `in` is empty", options)
        tree = self._value(value)
        kind = kind_of(tree)
        if isinstance(tree, Text | Number | Flag) or kind == "duration":
            raise self.refused(f"before `in` stands an attribute or another value, not {self.said(value)}", value)
        literals = self._values(self._option, options.elts)
        if kind == "weekday":
            days = [self._weekday(one.value, node) for one, node in zip(literals, options.elts, strict=True)]
            return In(tree, tuple(days), negated)
        kinds = {kind_of(one) for one in literals} | ({kind} - {"unknown"})
        if len(kinds) > 1:
            raise self.refused(f"{self.said(value)} and its list mix kinds: {', '.join(sorted(kinds))}", options)
        return In(tree, tuple(one.value for one in literals), negated)

    def _option(self, node: ast.expr) -> Number | Text | Flag:
        if isinstance(node, ast.Name) and node.id not in _FLAGS:
            raise self.refused(f'a list holds numbers and texts; write "{node.id}"', node)
        tree = self._value(node)
        if not isinstance(tree, Number | Text | Flag):
            raise self.refused(f"a list holds numbers and texts, not {self.said(node)}", node)
        return tree

    def _call(self, node: ast.Call) -> Tree:
        name = self.said(node.func)
        if name not in FUNCTIONS:
            hint = 'past events are asked for with did("…"); ' if name == "event" else ""
            raise self.refused(f"no function {name!r}; {hint}{known(name, FUNCTIONS, 'functions')}", node)
        for argument in node.args:
            if isinstance(argument, ast.Starred):
                raise self.refused(f"{name} takes no {self.said(argument)}", argument)
        if self.scope == "past" and name != "missing":
            raise self.refused(f"the where of past events sees their properties only, not {name}(…)", node)
        for kind in MESSAGES:
            if name == kind:
                if self.in_segment:
                    raise self.refused(f"a segment knows no nodes: {self.said(node)}", node)
                return self.message_event(node, kind)
        for fn in AGGREGATES:
            if name == fn:
                return self._aggregate(node, fn)
        return self._other_call(node, name)

    def _aggregate(self, node: ast.Call, fn: AggregateFunction) -> Aggregate:
        of_a_property, windowed = fn in _OF_A_PROPERTY, fn in _WITH_A_WINDOW
        subject = '"event.property"' if of_a_property else '"event"'
        shape = f'{fn}({subject}, "30d")' if windowed else f"{fn}({subject})"
        keywords = self.call_arguments(node, ("where",))
        if not 1 <= len(node.args) <= 1 + windowed:
            raise self.refused(f"write {shape}{' or without the window' if windowed else ''}", node)
        event = self.text_of(node.args[0], f"{fn} takes {subject} in quotes: {shape}")
        prop = None
        if of_a_property:
            event, _, prop = event.rpartition(".")
            if not event or not prop:
                raise self.refused(f"{fn} needs a property of the event, such as {shape}", node.args[0])
        window = self._window(node.args[1]) if len(node.args) > 1 else None
        where = self.where(keywords["where"], "past") if "where" in keywords else None
        return Aggregate(fn, event, prop, window, where)

    def _window(self, node: ast.expr) -> int:
        if not isinstance(node, ast.Constant):
            raise self.refused('a window is a duration in quotes, such as "30d"', node)
        window = self._duration(node, node.value)
        if window == 0:
            raise self.refused("a window must be longer than zero", node)
        return window

    def _other_call(self, node: ast.Call, name: str) -> Tree:
        self.call_arguments(node)
        wanted = 0 if name in ("local_hour", "weekday") else 1
        if len(node.args) != wanted:
            shape = {"segment": '"name"', "score": '"name"', "missing": "attribute"}.get(name, "")
            raise self.refused(f"write {name}({shape})", node)
        match name:
            case "local_hour":
                return LocalHour()
            case "weekday":
                return WeekdayOf()
            case "segment":
                return SegmentMembership(
                    self.text_of(node.args[0], 'a segment\'s name stands in quotes: segment("name")')
                )
            case "score":
                return Score(self.text_of(node.args[0], 'a score\'s name stands in quotes: score("name")'))
        of = self._value(node.args[0])
        asked = isinstance(of, Attribute | Property | EntryProperty | Score | Aggregate | Arithmetic | Negate)
        if not asked or (isinstance(of, Aggregate) and of.fn in _NEVER_MISSING):
            raise self.refused(f"{self.said(node.args[0])} is never missing", node.args[0])
        return Missing(of)


def _short(said: str) -> str:
    """A call without its arguments, as it is named in a message."""
    return re.sub(r"\(.*\)", "(...)", said, flags=re.DOTALL)
