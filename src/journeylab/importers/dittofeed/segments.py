"""Dittofeed's segments as conditions, and what a journey awaits when it waits for one.

Sources: the types `SegmentDefinition` and `SegmentOperator` of its open source (isomorphic-lib), and "Segments" in its
documentation.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from journeylab.expressions import (
    Aggregate,
    And,
    Attribute,
    Compare,
    ComparisonOperator,
    Flag,
    Missing,
    Not,
    Number,
    Or,
    Property,
    Text,
    Tree,
    expression_text,
    literal_text,
)
from journeylab.importers.draft import Draft, name_of
from journeylab.importers.export import Part
from journeylab.importers.outcomes import Verdict
from journeylab.importers.unsaid import Unsaid

__all__ = ["EVENTS", "Segments"]

EVENTS: Final = {
    "DFInternalMessageSent": "sent",
    "DFEmailDelivered": "delivered",
    "DFEmailOpened": "opened",
    "DFEmailClicked": "clicked",
    "DFEmailBounced": "bounced",
    "DFEmailMarkedSpam": "complained",
    "DFEmailDropped": "dropped",
}
"""What events of messages are called here, by what Dittofeed calls them."""
_TIMES: Final[dict[str, ComparisonOperator]] = {"=": "==", ">=": ">=", "<": "<"}
_UNSAID: Final = {
    "Broadcast": "who was sent a broadcast is known to Dittofeed alone",
    "Manual": "who is in it was said by hand",
    "RandomBucket": "chance is no condition here, but a split",
    "KeyedPerformed": "it is about the events of the key with which the journey was entered",
}


class Segments:
    """The segments that came with journeys, by id.

    Args:
        parts: their resources in the export.
        templates: the names of message templates, by id.
        groups: the names of subscription groups, by id.
    """

    def __init__(self, parts: list[Part], templates: Mapping[str, str], groups: Mapping[str, str]) -> None:
        self._by_id = {part.text("id"): part for part in parts}
        self._templates, self._groups = templates, groups

    def title(self, identity: str) -> str:
        """What a segment is called, its id where the export does not have it."""
        part = self._by_id.get(identity)
        return identity if part is None else part.text("name", identity)

    def name(self, draft: Draft, identity: str, user: Part) -> str:
        """The name of a segment of the journey that says who is in it.

        Where the segment did not come along, or says what no condition says, a flag attribute says it.
        """
        title, part = self.title(identity), self._by_id.get(identity)
        if part is None:
            return draft.segment(title, draft.flag_of(title, user, "segment", of=identity))
        definition = part.part("definition")
        try:
            text = draft.condition(self._said(draft, definition, definition.part("entryNode")), part)
        except Unsaid as why:
            return draft.segment(title, draft.flag_of(title, part, "segment", str(why), of=identity))
        name = draft.segment(title, text)
        note = "asked when a contact comes to it, not recomputed in the background"
        draft.note(part, f"segment {title!r}", Verdict.mapped, name, note=note)
        return name

    def event(self, draft: Draft, identity: str) -> tuple[str, Tree | None] | None:
        """The one event that brings a contact into a segment, and its `where`; None where it is not one event."""
        part = self._by_id.get(identity)
        if part is None:
            return None
        node = part.part("definition").part("entryNode")
        kind = node.text("type")
        once = not node.raw("withinSeconds") and node.raw("times", 1) == 1 and node.raw("timesOperator", ">=") == ">="
        try:
            if kind == "Performed" and once:
                return node.text("event"), _filter(node.parts("properties"))
            if kind == "Email" and once:
                return EVENTS.get(node.text("event"), node.text("event")), self._of_template(draft, node)
            if kind == "Trait" and node.part("operator").text("type") == "Equals":
                is_it = Compare("==", Property("name"), Text(_field(draft, node)))
                return "attribute_changed", And(
                    (is_it, Compare("==", Property("value"), _value(node.part("operator"))))
                )
        except Unsaid:
            pass
        return None

    def awaited(self, draft: Draft, identity: str) -> str | None:
        """The same as a `wait_for` awaits it."""
        found = self.event(draft, identity)
        if found is None:
            return None
        event, where = found
        if where is None:
            return f"event({literal_text(event)})"
        return f"event({literal_text(event)}, where={literal_text(expression_text(where))})"

    # The parts of a definition

    def _said(self, draft: Draft, definition: Part, node: Part) -> Tree:
        match node.text("type"):
            case "And" | "Or" as kind:
                nodes = {one.text("id"): one for one in definition.parts("nodes")}
                trees: list[Tree] = []
                for child in node.values("children"):
                    if str(child) not in nodes:
                        raise node.malformed(f"there is no node {child!r} in this segment", "children")
                    if nodes[str(child)].place == node.place:
                        raise node.malformed("this node is among its own children", "children")
                    trees.append(self._said(draft, definition, nodes[str(child)]))
                if len(trees) < 2:
                    return trees[0] if trees else Flag(kind == "And")
                return (And if kind == "And" else Or)(tuple(trees))
            case "Trait":
                return _compared(Attribute(_field(draft, node)), node.part("operator"))
            case "Performed":
                return _performed(node)
            case "LastPerformed":
                event, where = node.text("event"), _filter(node.parts("whereProperties"))
                has: list[Tree] = [
                    _compared(Aggregate("last", event, _property(one), where=where), one.part("operator"))
                    for one in node.parts("hasProperties")
                ]
                return And(tuple(has)) if len(has) > 1 else has[0] if has else Aggregate("did", event, where=where)
            case "Email":
                event = EVENTS.get(node.text("event"), node.text("event"))
                of = Aggregate("count", event, where=self._of_template(draft, node))
                return Compare(">=", of, Number(node.whole("times", 1)))
            case "SubscriptionGroup":
                return self._subscribed(node)
            case "Everyone":
                return Flag(value=True)
            case kind:
                raise Unsaid(f"{kind}: {_UNSAID.get(kind, 'a kind of condition that is not known here')}")

    def _subscribed(self, node: Part) -> Tree:
        """Whether consent stands: the later of giving and withdrawing counts."""
        identity = node.text("subscriptionGroupId")
        purpose = name_of(self._groups.get(identity, identity), "purpose")
        where = Compare("==", Property("purpose"), Text(purpose))
        given, withdrawn = (Aggregate("since", f"consent_{one}", where=where) for one in ("given", "withdrawn"))
        if node.choice("subscriptionGroupType", ("OptIn", "OptOut"), "types", "OptIn") == "OptIn":
            return And((Aggregate("did", "consent_given", where=where), Not(Compare("<=", withdrawn, given))))
        return Or((Not(Aggregate("did", "consent_withdrawn", where=where)), Compare("<", given, withdrawn)))

    def _of_template(self, draft: Draft, node: Part) -> Tree:
        identity = node.text("templateId")
        message = draft.message(self._templates.get(identity, identity), identity)
        return Compare("==", Property("message"), Text(message))


def _performed(node: Part) -> Tree:
    event, where = node.text("event"), _filter(node.parts("properties"))
    window = round(node.number("withinSeconds", 0) * 1_000_000) or None
    times, op = node.whole("times", 1), node.choice("timesOperator", _TIMES, "operators", ">=")
    if times == 1 and op == ">=":
        return Aggregate("did", event, window_us=window, where=where)
    return Compare(_TIMES[op], Aggregate("count", event, window_us=window, where=where), Number(times))


def _field(draft: Draft, node: Part) -> str:
    """The attribute of a trait's path, such as `plan` or `$.plan`."""
    return draft.attribute(node.text("path").removeprefix("$").removeprefix("."), node)


def _property(node: Part) -> str:
    path = node.text("path").removeprefix("$").removeprefix(".")
    if not path.isidentifier() or name_of(path) not in (path.lower(), path.lower().strip("_")):
        raise Unsaid(f"the property {path!r} has no name that a condition can have")
    return path


def _filter(properties: list[Part]) -> Tree | None:
    trees = tuple(_compared(Property(_property(one)), one.part("operator")) for one in properties)
    return And(trees) if len(trees) > 1 else trees[0] if trees else None


def _compared(value: Tree, operator: Part) -> Tree:
    match operator.text("type"):
        case "Equals" | "NotEquals" as kind:
            return Compare("==" if kind == "Equals" else "!=", value, _value(operator))
        case "GreaterThanOrEqual" | "LessThan" as kind:
            return Compare(">=" if kind == "GreaterThanOrEqual" else "<", value, Number(operator.number("value")))
        case "Exists":
            return Not(Missing(value))
        case "NotExists":
            return Missing(value)
        case "HasBeen" if isinstance(value, Attribute):
            window = round(operator.number("windowSeconds") * 1_000_000)
            named = Compare("==", Property("name"), Text(value.name))
            changed = Aggregate("did", "attribute_changed", window_us=window, where=named)
            longer = operator.choice("comparator", ("GTE", "LT"), "comparators") == "GTE"
            return And((Compare("==", value, _value(operator)), Not(changed) if longer else changed))
        case "Within" | "HasBeen":
            operator.skip("windowSeconds", "value", "comparator")
            raise Unsaid("conditions do not ask how near the date in a field is")
        case kind:
            raise operator.malformed(f"{kind!r} is no operator that is known", "type")


def _value(operator: Part) -> Tree:
    value = operator.raw("value")
    if isinstance(value, bool):
        return Flag(value)
    if isinstance(value, int | float):
        return Number(value)
    if not isinstance(value, str):
        raise operator.malformed("there must be a text or a number here", "value")
    return Text(value)
