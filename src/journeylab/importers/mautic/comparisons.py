"""Mautic's operators as conditions, of contact fields, form fields and the filters of segments.

Sources: "Using the Campaign Builder" and "Manage Segments" in Mautic's user documentation. That a field without a value
is unlike any value is so in its open source (LeadBundle, `LeadFieldRepository`); a missing value here is unlike none
(rule 7), so that it is asked for beside.
"""

from __future__ import annotations

import re
from typing import Any, Final

from journeylab.conditionparser import is_iso_date
from journeylab.expressions import And, Compare, ComparisonOperator, Flag, In, Missing, Not, Number, Or, Text, Tree
from journeylab.importers.export import Part

__all__ = ["OPERATORS", "any_of", "compared", "literal_of"]

_ORDERS: Final[dict[str, ComparisonOperator]] = {"gt": ">", "gte": ">=", "lt": "<", "lte": "<="}
OPERATORS: Final = (
    "=", "!=", *_ORDERS, "empty", "!empty", "in", "!in", "between", "!between", "like", "!like", "regexp", "!regexp",
    "startsWith", "endsWith", "contains", "!contains", "multiselect", "!multiselect", "date", "inLast", "inNext",
    "including", "excluding",
)  # fmt: skip
_NUMBERS: Final = ("number",)
_NUMBER: Final = re.compile(r"-?(0|[1-9]\d{0,14})(\.\d{1,9})?")


def any_of(trees: list[Tree]) -> Tree:
    """Whether any of some conditions holds."""
    return Or(tuple(trees)) if len(trees) > 1 else trees[0] if trees else Flag(value=False)


def literal_of(value: object, kind: str) -> Number | Text | Flag:
    """A value of an export as one of a condition; `kind` is the field's type, empty where it is not known.

    Of a field whose type is not known, a text that is written like a number is one.
    """
    if isinstance(value, bool) or (kind == "boolean" and str(value) in ("0", "1")):
        return Flag(str(value) in ("1", "True"))
    if isinstance(value, int | float) and kind in ("", *_NUMBERS):
        return Number(value)
    text = str(value)
    if kind in ("", *_NUMBERS) and _NUMBER.fullmatch(text):
        return Number(float(text) if "." in text else int(text))
    return Text(text)


def compared(value: Tree, operator: str, given: Any, kind: str, part: Part) -> Tree | None:
    """A value compared as an operator says; None where no condition says it.

    Raises:
        Malformed: when what it is compared with is not of the form that the operator has.
    """
    match operator:
        case "empty":
            return Missing(value)
        case "!empty":
            return Not(Missing(value))
        case "=" | "!=" if not isinstance(given, list | dict) and given is not None:
            literal = literal_of(given, kind)
            if operator == "=":
                return Compare("==", value, literal)
            return Or((Missing(value), Compare("!=", value, literal)))
        case "in" | "!in":
            listed = _listed(given, part)
            literals = [literal_of(one, kind) for one in listed]
            if len({type(one) for one in literals}) > 1:
                literals = [Text(str(one)) for one in listed]
            is_in = In(value, tuple(one.value for one in literals), operator == "!in")
            return is_in if operator == "in" else Or((Missing(value), is_in))
        case "between" | "!between":
            ends = _listed(given, part)
            if len(ends) != 2:
                raise part.malformed(f"a value lies between two others, and there are {len(ends)}")
            low, high = (_ordered(one, kind) for one in ends)
            if low is None or high is None:
                return None
            lies = And((Compare(">=", value, low), Compare("<=", value, high)))
            return lies if operator == "between" else Or((Missing(value), Not(lies)))
        case "gt" | "gte" | "lt" | "lte" if not isinstance(given, list | dict):
            end = _ordered(given, kind)
            return None if end is None else Compare(_ORDERS[operator], value, end)
    return None


def _ordered(given: object, kind: str) -> Number | Text | None:
    """What has an order: a number or a date."""
    literal = literal_of(given, kind)
    if isinstance(literal, Number) or (isinstance(literal, Text) and is_iso_date(literal.value)):
        return literal
    return None


def _listed(given: Any, part: Part) -> list[Any]:
    found = [*given.values()] if isinstance(given, dict) else given if isinstance(given, list) else [given]
    if not found or not all(isinstance(one, str | int | float) for one in found):
        raise part.malformed("there must be a list of texts and numbers to compare with")
    return found
