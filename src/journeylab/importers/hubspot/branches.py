"""Our conditions as HubSpot's filter branches, as far as they can say them.

Sources: as of `filters`, which reads what this writes.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import date
from typing import Any, Final

from journeylab.conditions import parse
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
from journeylab.importers.unsaid import Unsaid
from journeylab.journey import Journey, Send

from .eventtypes import PROPERTIES, event_type_of

__all__ = ["all_of", "any_of", "branch_of", "content_of", "event_branch", "is_known_or", "list_of"]

_OPERATORS: Final = {
    "==": "IS_EQUAL_TO", "!=": "IS_NOT_EQUAL_TO", ">": "IS_GREATER_THAN", ">=": "IS_GREATER_THAN_OR_EQUAL_TO",
    "<": "IS_LESS_THAN", "<=": "IS_LESS_THAN_OR_EQUAL_TO",
}  # fmt: skip
_TURNED: Final = {"<": ">", "<=": ">=", ">": "<", ">=": "<=", "==": "==", "!=": "!="}
_OF_EMAILS: Final = {
    "opened": "OPENED", "clicked": "LINK_CLICKED", "bounced": "BOUNCED", "complained": "MARKED_SPAM",
    "unsubscribed": "UNSUBSCRIBED", "delivered": "RECEIVED", "sent": "SENT",
}  # fmt: skip
_THEIRS: Final = {ours: theirs for theirs, ours in PROPERTIES.items()}


def list_of(name: str) -> str | None:
    """The id of the list that a flag attribute such as `list_178` is, None where it is none."""
    found = re.fullmatch(r"list_(\d+)", name)
    return None if found is None else found[1]


def content_of(message: str) -> str:
    """The id of the e-mail that a message such as `email_113001` is, its name where it is none."""
    found = re.fullmatch(r"email_(\d+)", message)
    return message if found is None else found[1]


def any_of(branches: list[dict[str, Any]]) -> dict[str, Any]:
    """A branch that holds where any of some holds."""
    return _branch("OR", [], [one if one["filterBranchType"] == "AND" else all_of([], [one]) for one in branches])


def all_of(filters: list[dict[str, Any]], branches: list[dict[str, Any]]) -> dict[str, Any]:
    """A branch that holds where all filters and branches hold."""
    return _branch("AND", filters, branches)


def branch_of(tree: Tree, journey: Journey) -> dict[str, Any]:
    """A condition as a filter branch: any of groups, as its editor has them.

    Raises:
        Unsaid: when no filter says it.
    """
    made = _made(tree, journey)
    return made if made["filterBranchType"] == "OR" else any_of([made])


def event_branch(event: str, where: Tree | None, *, happened: bool = True) -> dict[str, Any]:
    """That an event has happened, as a branch of events.

    Raises:
        Unsaid: when HubSpot has no such event, or no filter asks this of it.
    """
    kind = event_type_of(event)
    if kind is None:
        raise Unsaid(
            f"its events are known by the ids of their types, and {event!r} has none; call it by one, such as "
            "event_6_1234567"
        )
    parts = () if where is None else where.parts if isinstance(where, And) else (where,)
    return {
        "filterBranches": [], "filters": [_of_event(one) for one in parts], "eventTypeId": kind,
        "operator": "HAS_COMPLETED" if happened else "HAS_NOT_COMPLETED", "filterBranchType": "UNIFIED_EVENTS",
        "filterBranchOperator": "AND",
    }  # fmt: skip


def is_known_or(tree: Tree) -> bool:
    """Whether a condition is that a value is missing, or something about it: one filter says both."""
    match tree:
        case Or((Missing(Attribute() | Property() as one), Compare(_, two, _) | In(two))):
            return one == two
    return False


def _branch(kind: str, filters: list[dict[str, Any]], branches: list[dict[str, Any]]) -> dict[str, Any]:
    joined = "AND" if kind in ("AND", "NOT_ALL") else "OR"
    return {
        "filterBranchType": kind, "filterBranchOperator": joined, "filters": filters, "filterBranches": branches,
    }  # fmt: skip


def _made(tree: Tree, journey: Journey) -> dict[str, Any]:
    match tree:
        case Or((_, rest)) if is_known_or(tree):
            return all_of([_property(rest, {}, none=True)], [])
        case Or(parts):
            return any_of([_made(one, journey) for one in parts])
        case And(parts):
            made = [_made(one, journey) for one in parts]
            single = [one for one in made if one["filterBranchType"] == "AND" and not one["filterBranches"]]
            return all_of([of for one in single for of in one["filters"]], [one for one in made if one not in single])
        case Compare(">=", SegmentMembership(name), Number(value)) if value == 0.5:
            segment = journey.known_segments[name]
            if segment.condition is None:
                raise Unsaid(f"the segment {name} has weights")
            return _made(parse(segment.condition, in_segment=True).tree, journey)
        case Aggregate(fn="did"):
            return all_of([], [_happened(tree, 1)])
        case Not(Aggregate(fn="did") as of):
            return all_of([], [_happened(of, 1, happened=False)])
        case Compare(">=", Aggregate(fn="count", window_us=None) as of, Number(value)) if value == int(value) > 1:
            return all_of([], [_happened(of, int(value))])
        case Not(Missing()):
            return all_of([_property(tree, {})], [])
        case Not(Attribute(name)):
            if list_of(name) is not None:
                return all_of([{"listId": list_of(name), "operator": "NOT_IN_LIST", "filterType": "IN_LIST"}], [])
            return all_of([_property(Compare("==", Attribute(name), Flag(value=False)), {}, none=True)], [])
        case Not(of):
            inner = _made(of, journey)
            return all_of([], [_branch("NOT_ALL", inner["filters"], inner["filterBranches"])
                               if inner["filterBranchType"] == "AND" else _branch("NOT_ALL", [], [inner])])  # fmt: skip
        case Attribute(name) if list_of(name) is not None:
            return all_of([{"listId": list_of(name), "operator": "IN_LIST", "filterType": "IN_LIST"}], [])
        case Attribute(name):
            return all_of([_property(Compare("==", Attribute(name), Flag(value=True)), {})], [])
        case Flag(value):
            return all_of([{"filterType": "CONSTANT", "shouldAccept": value}], [])
        case MessageEvent(kind, node, None) if kind in _OF_EMAILS and isinstance(journey.nodes.get(node), Send):
            sends = journey.nodes[node]
            assert isinstance(sends, Send)
            said = {"emailId": content_of(sends.send), "operator": _OF_EMAILS[kind], "filterType": "EMAIL_EVENT"}
            return all_of([said | {"appId": "", "level": "EMAIL"}], [])
        case _:
            return all_of([_property(tree, {})], [])


def _happened(of: Aggregate, times: int, *, happened: bool = True) -> dict[str, Any]:
    made = event_branch(of.event, of.where, happened=happened)
    if of.window_us is not None:
        minutes, rest = divmod(of.window_us, 60_000_000)
        if rest:
            raise Unsaid("its windows are of whole minutes")
        offset = {"amount": minutes, "offsetDirection": "PAST", "timeUnit": "MINUTES"}
        made["coalescingRefineBy"] = {
            "type": "RELATIVE_COMPARATIVE",
            "comparison": "GREATER_THAN",
            "timeOffset": offset,
        }
    elif times > 1:
        made["coalescingRefineBy"] = {"type": "NUM_OCCURRENCES", "minOccurrences": times}
    return made


def _of_event(tree: Tree) -> dict[str, Any]:
    """A part of a `where` as a filter, where it asks for a property of the event."""
    match tree:
        case Compare(_, Property(), _) | In(Property()) | Missing(Property()) | Not(Missing(Property())):
            return _property(tree, _THEIRS)
        case Property():
            return _property(Compare("==", tree, Flag(value=True)), _THEIRS)
        case Not(Property() as of):
            return _property(Compare("==", of, Flag(value=False)), _THEIRS, none=True)
        case Or((_, rest)) if is_known_or(tree):
            return _property(rest, _THEIRS, none=True)
    raise Unsaid(f"no filter of an event says this: {expression_text(tree)}")


def _property(tree: Tree, names: Mapping[str, str], *, none: bool = False) -> dict[str, Any]:
    """A comparison as a filter of a property."""
    if isinstance(tree, Compare) and not isinstance(tree.left, Attribute | Property):
        tree = Compare(_TURNED[tree.op], tree.right, tree.left)  # type: ignore[arg-type]
    match tree:
        case Compare(op, Attribute(name) | Property(name), right):
            operation = _compared(op, right, tree)
        case In(Attribute(name) | Property(name), options, negated) if all(isinstance(one, str) for one in options):
            operation = _operation("ENUMERATION", "IS_NONE_OF" if negated else "IS_ANY_OF", values=[*options])
        case Missing(Attribute(name) | Property(name)):
            operation = _operation("ALL_PROPERTY", "IS_UNKNOWN")
        case Not(Missing(Attribute(name) | Property(name))):
            operation = _operation("ALL_PROPERTY", "IS_KNOWN")
        case _:
            raise Unsaid(f"no filter says this: {expression_text(tree)}")
    operation["includeObjectsWithNoValueSet"] = none
    return {"property": names.get(name, name), "operation": operation, "filterType": "PROPERTY"}


def _compared(op: str, value: Tree, tree: Tree) -> dict[str, Any]:
    match value:
        case Text(text) if op in ("==", "!="):
            return _operation("STRING", _OPERATORS[op], value=text)
        case Text(text) if op in ("<", ">") and re.fullmatch(r"\d{4}-\d\d-\d\d", text):
            day = date.fromisoformat(text)
            point = {"timeType": "DATE", "timezoneSource": "CUSTOM", "zoneId": "UTC"}
            point |= {"year": day.year, "month": day.month, "day": day.day}  # type: ignore[dict-item]
            return _operation("TIME_POINT", "IS_BEFORE" if op == "<" else "IS_AFTER", timePoint=point)
        case Number(number):
            return _operation("NUMBER", _OPERATORS[op], value=number)
        case Flag(flag) if op in ("==", "!="):
            return _operation("BOOL", _OPERATORS[op], value=flag)
    raise Unsaid(f"no filter says this: {expression_text(tree)}")


def _operation(kind: str, operator: str, **said: Any) -> dict[str, Any]:
    return {"operationType": kind, "operator": operator, "includeObjectsWithNoValueSet": False, **said}
