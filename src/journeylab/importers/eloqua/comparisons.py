"""Eloqua's comparisons of contact fields as conditions.

Sources: "Configuring campaign canvas elements: Decisions", and the conditions of filters in the Application API. That a
field without a value is unlike any value is as the canvas has it; a missing value here is unlike none (rule 7), so that
it is asked for beside.
"""

from __future__ import annotations

import re
from typing import Final

from journeylab.conditionparser import is_iso_date
from journeylab.expressions import Compare, ComparisonOperator, In, Missing, Not, Number, Or, Text, Tree
from journeylab.importers.export import Part
from journeylab.importers.unsaid import Unsaid

__all__ = ["compared"]

_ORDERS: Final[dict[str, ComparisonOperator]] = {
    "greater": ">", "notLess": ">=", "less": "<", "notGreater": "<=", "after": ">", "before": "<", "onOrAfter": ">=",
    "onOrBefore": "<=",
}  # fmt: skip
_NUMBER: Final = re.compile(r"-?(0|[1-9]\d{0,14})(\.\d{1,9})?")


def compared(value: Tree, condition: Part) -> Tree:
    """A value compared as a condition of Eloqua says.

    Raises:
        Unsaid: when no condition of ours says it.
        Malformed: when it lacks what it is compared with.
    """
    kind, operator = condition.text("type", "TextValueCondition"), condition.text("operator")
    if operator in ("blank", "isBlank"):
        return Missing(value)
    if operator in ("notBlank", "isNotBlank"):
        return Not(Missing(value))
    if operator in ("in", "notIn") and "quickListString" in condition:
        options = [one.strip() for one in condition.text("quickListString").split(",") if one.strip()]
        if not options:
            raise condition.malformed("the list is empty", "quickListString")
        is_in = In(value, tuple(options), operator == "notIn")
        return is_in if operator == "in" else Or((Missing(value), is_in))
    if operator in ("equal", "notEqual"):
        literal = _literal(condition, kind)
        if operator == "equal":
            return Compare("==", value, literal)
        return Or((Missing(value), Compare("!=", value, literal)))
    if operator in _ORDERS:
        end = _literal(condition, kind)
        if isinstance(end, Number) or is_iso_date(end.value):
            return Compare(_ORDERS[operator], value, end)
    raise Unsaid(f"no condition says {operator} of {kind}")


def _literal(condition: Part, kind: str) -> Number | Text:
    text = condition.text("value")
    if kind.startswith("Numeric"):
        if not _NUMBER.fullmatch(text):
            raise condition.malformed(f"{text!r} is no number", "value")
        return Number(float(text) if "." in text else int(text))
    if any(sign in text for sign in "*?") and kind.startswith("Text"):
        raise Unsaid("conditions compare whole texts (rule 7), and this has wildcards")
    return Text(text)
