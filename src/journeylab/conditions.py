"""Conditions: a safe subset of Python expressions, parsed and type-checked before anything runs, never evaluated.

    plan == "trial" and count("visit", "30d") >= 3 and not opened(hello)

`parse` gives the tree of a condition, `parse_awaited` what a `wait_for` awaits. The types of trees are defined in
`expressions` and available here. What a tree means is said by rules 6, 7 and 9 of docs/semantics.md.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from keyword import iskeyword
from typing import TYPE_CHECKING, Literal, NamedTuple, TypeAlias

from .conditionparser import MESSAGES, Parser, Scope, is_iso_date
from .conditionsyntax import ConditionError, ConditionFault
from .errors import listed
from .expressions import (
    Aggregate,
    And,
    Arithmetic,
    Attribute,
    Compare,
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
    expression_text,
    kind_of,
    literal_text,
    walk,
)

if TYPE_CHECKING:
    from .journey import Journey, Segment

__all__ = [
    "Aggregate", "And", "Arithmetic", "Attribute", "Awaited", "AwaitedEvent", "AwaitedMessage", "Compare", "Condition",
    "ConditionError", "ConditionFault", "ConditionText", "DurationValue", "EntryProperty", "Flag", "In", "Kind",
    "LocalHour", "MessageEvent", "Missing", "Negate", "Not", "Number", "Or", "Property", "Scope", "Score",
    "SegmentMembership", "Text", "Tree", "WeekdayOf", "attribute_kinds", "canonical_text", "condition",
    "conditions_in", "expression_text", "kind_of", "parse", "parse_awaited", "parse_value", "properties_in",
    "segment_texts", "segments_in", "segments_named", "texts_in", "tree_of", "value_kind", "walk",
]  # fmt: skip


@dataclass(frozen=True)
class Condition:
    """A parsed condition: its `text` as written and its `tree`."""

    text: str
    tree: Tree

    @property
    def canonical(self) -> str:
        """The one spelling of all texts that mean the same tree."""
        return expression_text(self.tree)

    def __repr__(self) -> str:
        return f"Condition({self.text!r})"

    def _repr_html_(self) -> str:
        from .display import block

        return block(repr(self))

    def __str__(self) -> str:
        return self.text


@dataclass(frozen=True, slots=True)
class AwaitedEvent:
    """An event that a `wait_for` awaits, and the condition on it."""

    event: str
    where: Tree | None = None


@dataclass(frozen=True, slots=True)
class AwaitedMessage:
    """A response to a node's message that a `wait_for` awaits (rule 9)."""

    kind: MessageKind
    node: str
    link: str | None = None


Awaited: TypeAlias = AwaitedEvent | AwaitedMessage


@lru_cache(maxsize=4096)
def parse(text: str, *, scope: Scope = "contact", in_segment: bool = False) -> Condition:
    """The condition that a text means.

    Args:
        text: a condition, such as `plan == "trial"`.
        scope: what a bare name is: an attribute (`"contact"`), a property of the event at hand, else an attribute
            (`"event"`, the `where` of a trigger, an exit or an awaited event), or a property of past events only
            (`"past"`, the `where=` inside `count` and its like, where no function but `missing` is allowed).
        in_segment: refuse what only an entry has: `entry.PROP` and the messages of its nodes.

    Raises:
        ConditionError: with every fault of the text.

    >>> parse("orders >= 3").tree
    Compare(op='>=', left=Attribute(name='orders'), right=Number(value=3))
    >>> parse('since("visit") > 30')
    Traceback (most recent call last):
    ...
    journeylab.conditionsyntax.ConditionError: since(...) is a duration; write "30d", not 30 (at character 18 of ...
    """
    parser = Parser(text, scope, in_segment=in_segment)
    return Condition(text, parser.parsed(parser.whole))


def parse_value(text: str) -> Tree:
    """What a text is worth for a contact at an instant: a number, a duration, a weekday, or a flag.

    Raises:
        ConditionError: with every fault of the text.

    >>> parse_value('since("visit")')
    Aggregate(fn='since', event='visit', property=None, window_us=None, where=None)
    """
    parser = Parser(text, "contact", in_segment=True)
    return parser.parsed(parser.value)


def condition(text: str) -> Condition:
    """The condition that a text means for a contact at an instant; the same text is valid in journey files.

    Raises:
        ConditionError: with every fault of the text.

    >>> condition('plan == "trial" and count("visit", "30d") >= 3')
    Condition('plan == "trial" and count("visit", "30d") >= 3')
    """
    return parse(text)


@lru_cache(maxsize=4096)
def parse_awaited(text: str) -> Awaited:
    """What a `wait_for` awaits: an event by its bare name or as `event("visit", where="…")`, or `opened(NODE)`, ….

    Raises:
        ConditionError: with every fault of the text.

    >>> parse_awaited('clicked(offer, "pricing")')
    AwaitedMessage(kind='clicked', node='offer', link='pricing')
    """
    parser = Parser(text, "event")
    name_only = text.strip()
    if name_only and "(" not in name_only and (iskeyword(name_only) or not name_only.isidentifier()):
        remedy = f"an event whose name is no plain word is awaited as event({literal_text(name_only)})"
        raise ConditionError(text, [ConditionFault(remedy, 0)])

    def awaited(node: ast.expr) -> Awaited:
        if isinstance(node, ast.Name):
            return AwaitedEvent(node.id)
        name = parser.said(node.func) if isinstance(node, ast.Call) else ""
        if isinstance(node, ast.Call) and name == "event":
            return _awaited_event(parser, node)
        for kind in MESSAGES:
            if isinstance(node, ast.Call) and name == kind != "sent":
                found = parser.message_event(node, kind)
                return AwaitedMessage(found.kind, found.node, found.link)
        if name == "sent":
            raise parser.refused("whether a message was sent is known at once; ask sent(NODE) in a decide", node)
        responses = listed(f"{kind}(NODE)" for kind in MESSAGES if kind != "sent")
        raise parser.refused(
            f'this awaits nothing known; write the name of an event, event("name", where="…"), or one of {responses}',
            node,
        )

    return parser.parsed(awaited)


def _awaited_event(parser: Parser, node: ast.Call) -> AwaitedEvent:
    keywords = parser.call_arguments(node, ("where",))
    if len(node.args) != 1:
        raise parser.refused('write event("visit") or event("visit", where="page == \'pricing\'")', node)
    name = parser.text_of(node.args[0], 'the name of an event stands in quotes: event("visit")')
    return AwaitedEvent(name, parser.where(keywords["where"], "event") if "where" in keywords else None)


def canonical_text(text: str) -> str:
    """The one spelling of a condition or an awaited event; a text that is neither is returned as it is.

    >>> canonical_text("plan=='trial'   and (paid)")
    'plan == "trial" and paid'
    """
    try:
        return expression_text(parse(text, scope="event").tree)
    except ConditionError:
        pass
    try:
        awaited = parse_awaited(text)
    except ConditionError:
        return text
    if isinstance(awaited, AwaitedMessage):
        return expression_text(_message_event(awaited))
    name = literal_text(awaited.event)
    if awaited.where is not None:
        return f"event({name}, where={literal_text(expression_text(awaited.where))})"
    is_bare = awaited.event.isidentifier() and not iskeyword(awaited.event)
    return awaited.event if is_bare else f"event({name})"


class ConditionText(NamedTuple):
    """A condition as it stands in a journey: the path to it, its text, and what it may say there.

    The role is `"trigger"` (the `where` of an event that makes an entry), `"event"` (the `where` of one that ends it),
    `"contact"`, `"awaited"` or `"segment"`.
    """

    path: tuple[str | int, ...]
    text: str
    role: Literal["trigger", "event", "contact", "awaited", "segment"]


def texts_in(journey: Journey) -> Iterator[ConditionText]:
    """Every condition and awaited thing of a journey and its own segments; those of its parts are not among them."""
    from .journey import Decide, WaitFor

    if journey.trigger.where is not None:
        role: Literal["trigger", "contact"] = "contact" if journey.trigger.event is None else "trigger"
        yield ConditionText(("trigger", "where"), journey.trigger.where, role)
    for i, cause in enumerate(journey.exit_when):
        if cause.where is not None:
            yield ConditionText(("exit_when", i, "where"), cause.where, "event")
    for name, node in journey.nodes.items():
        if isinstance(node, Decide):
            for i, clause in enumerate(node.decide):
                yield ConditionText(("nodes", name, "decide", i, "if"), clause.condition, "contact")
        if isinstance(node, WaitFor):
            for i, awaited in enumerate(node.awaited):
                place = () if isinstance(node.wait_for, str) else (i, "await")
                yield ConditionText(("nodes", name, "wait_for", *place), awaited, "awaited")
    for name, segment in journey.segments.items():
        yield from segment_texts(segment, ("segments", name))


def segment_texts(segment: Segment, path: tuple[str | int, ...]) -> Iterator[ConditionText]:
    """The conditions of a segment, below the path that leads to it."""
    if segment.condition is not None:
        yield ConditionText(path, segment.condition, "segment")
    for i, evidence in enumerate(segment.weights):
        yield ConditionText((*path, "weights", i, "when"), evidence.when, "segment")


def tree_of(condition_text: ConditionText) -> Tree | None:
    """The tree of a condition in its place; for an awaited event that of its `where`, None where it has none.

    Raises:
        ConditionError: with every fault of the text.
    """
    text, role = condition_text.text, condition_text.role
    if role == "awaited":
        awaited = parse_awaited(text)
        return awaited.where if isinstance(awaited, AwaitedEvent) else _message_event(awaited)
    return parse(text, scope="event" if role in ("event", "trigger") else "contact", in_segment=role == "segment").tree


def _message_event(awaited: AwaitedMessage) -> MessageEvent:
    return MessageEvent(awaited.kind, awaited.node, awaited.link)


def conditions_in(journey: Journey) -> Iterator[Tree]:
    """The tree of every condition of a journey, of its parts, and of the segments they know.

    Raises:
        ConditionError: when one does not parse.
    """
    shared = (text for name, one in journey.shared.items() for text in segment_texts(one, ("segments", name)))
    for text in (*texts_in(journey), *shared):
        if (tree := tree_of(text)) is not None:
            yield tree
    for part in journey.parts.values():
        yield from conditions_in(part)


def properties_in(journey: Journey) -> set[str]:
    """The properties of events that the conditions of a journey and its parts ask for.

    Raises:
        ConditionError: when a condition does not parse.
    """
    names: set[str] = set()
    for part in (part for tree in conditions_in(journey) for part in walk(tree)):
        if isinstance(part, Property | EntryProperty):
            names.add(part.name)
        elif isinstance(part, Aggregate) and part.property is not None:
            names.add(part.property)
    return names


def segments_in(journey: Journey) -> list[str]:
    """The sorted names of the segments that a journey uses: in its trigger, its conditions, and in those segments.

    The segments of its parts are not among them; a name may be unknown.
    """
    known_segments = journey.known_segments
    own = [one for one in texts_in(journey) if one.role != "segment"]
    waiting = {name for one in own for name in segments_named(one)}
    if journey.trigger.segment is not None:
        waiting.add(journey.trigger.segment)
    found: set[str] = set()
    while waiting:
        name = waiting.pop()
        found.add(name)
        if name in known_segments:
            texts = segment_texts(known_segments[name], ())
            waiting |= {other for one in texts for other in segments_named(one)} - found
    return sorted(found)


def segments_named(condition_text: ConditionText) -> set[str]:
    """The segments that one condition names; none where it does not parse."""
    try:
        tree = tree_of(condition_text)
    except ConditionError:
        return set()
    return {part.name for part in walk(tree) if isinstance(part, SegmentMembership)} if tree is not None else set()


def attribute_kinds(tree: Tree) -> Iterator[tuple[str, Kind | Literal["date"]]]:
    """The attributes of a tree whose use shows their kind, as (attribute, kind); what may be a date shows none."""
    for part in (tree, *(child for one in walk(tree) for child in _flags_of(one))):
        if isinstance(part, Attribute):
            yield part.name, "flag"
    for part in walk(tree):
        match part:
            case Compare(op, left, right):
                for side, other in ((left, right), (right, left)):
                    if isinstance(side, Attribute) and (kind := _shown_kind(op, other)) is not None:
                        yield side.name, kind
            case In(Attribute(name), options):
                shown = {value_kind(option) for option in options}
                if len(shown) == 1 and (kind := shown.pop()) is not None:
                    yield name, kind
            case Arithmetic(_, left, right):
                yield from ((side.name, "number") for side in (left, right) if isinstance(side, Attribute))
            case Negate(Attribute(name)):
                yield name, "number"
            case _:
                pass


def _flags_of(tree: Tree) -> tuple[Tree, ...]:
    """The parts of a tree that must be flags."""
    match tree:
        case And(parts) | Or(parts):
            return parts
        case Not(of):
            return (of,)
        case _:
            return ()


def _shown_kind(op: str, other: Tree) -> Kind | Literal["date"] | None:
    """The kind of an attribute that is compared with `other`."""
    if isinstance(other, Text) and is_iso_date(other.value):
        return None if op in ("==", "!=") else "date"
    kind = kind_of(other)
    return None if kind == "unknown" else kind


def value_kind(value: LiteralValue) -> Kind | None:
    """The kind of a written value; None for a text that may be a date."""
    if isinstance(value, bool):
        return "flag"
    if isinstance(value, str):
        return None if is_iso_date(value) else "text"
    return "number"
