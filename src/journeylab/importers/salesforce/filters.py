"""The filters of Journey Builder, which are XML, as conditions.

A filter is a `FilterDefinition` of nested `ConditionSet`s (and, or) of `Condition`s, each with a `Key`, an `Operator`
and a `Value`. Its form follows "Goals" and "Contact Event" in the vendor's guide and the filters in public exports.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import date
from typing import Final
from xml.etree import ElementTree

from journeylab.errors import known
from journeylab.expressions import (
    And,
    Attribute,
    Compare,
    ComparisonOperator,
    EntryProperty,
    Flag,
    In,
    Missing,
    Not,
    Number,
    Or,
    Property,
    Text,
    Tree,
)
from journeylab.importers.draft import Draft, name_of
from journeylab.importers.export import Malformed, Part
from journeylab.importers.outcomes import Verdict

__all__ = ["Filters", "scalar_of", "value_of"]

_COMPARISONS: Final[dict[str, ComparisonOperator]] = {
    "equal": "==", "equals": "==", "is": "==", "notequal": "!=", "notequals": "!=", "isnot": "!=",
    "greaterthan": ">", "greaterthanorequal": ">=", "lessthan": "<", "lessthanorequal": "<=",
    "after": ">", "atorafter": ">=", "before": "<", "atorbefore": "<=",
}  # fmt: skip
_LISTS: Final = {"in": False, "notin": True, "existsinwholeword": False}
_UNSAID: Final = (
    "contains", "notcontains", "doesnotcontain", "beginswith", "endswith", "existsinstring", "notexistsinstring",
    "notexistsinwholeword", "matches", "isanniversary", "isnotanniversary", "between", "notbetween",
)  # fmt: skip
_OPERATORS: Final = [*_COMPARISONS, *_LISTS, *_UNSAID, "isnull", "isnotnull"]
_OF_SETS: Final = {"Operator", "ConditionSetName"}
_OF_CONDITIONS: Final = {
    "Key", "ID", "Operator", "IsEphemeralAttribute", "ValueIsReference", "ValueParameterName", "UiMetaData", "isParam",
    "operatorTemplate", "operatorEditable", "valueEditable", "conditionValid", "annotation",
}  # fmt: skip
_DEEPEST: Final = 40
_LONGEST: Final = 200_000
_TODAY: Final = re.compile(r";\s*[+-]\s*;\s*\d+\s*;\s*\w+")
"""A date that is counted from today, such as `;-;14;days`."""
_AMERICAN: Final = re.compile(r"(\d{1,2})/(\d{1,2})/(\d{4})(?: 12:00:00 AM)?")


def scalar_of(text: str) -> bool | int | float | str:
    """What a text of an export looks like: a flag, a number, a date, or a text.

    >>> [scalar_of(one) for one in ("True", "12", "-1.5", "007", "5/31/2026", "gold")]
    [True, 12, -1.5, '007', '2026-05-31', 'gold']
    """
    text = text.strip()
    if text.lower() in ("true", "false"):
        return text.lower() == "true"
    if re.fullmatch(r"-?(0|[1-9]\d{0,14})", text):
        return int(text)
    if re.fullmatch(r"-?(0|[1-9]\d{0,14})\.\d{1,15}", text):
        return float(text)
    if found := _AMERICAN.fullmatch(text):
        month, day, year = map(int, found.groups())
        try:
            return date(year, month, day).isoformat()
        except ValueError:
            return text
    return text


class Filters:
    """Reads filters for one journey.

    Args:
        draft: the journey.
        journey: its part of the export, where notes go that are about all of its filters.
        entry: the key of the event that makes entries, None where no event does.
    """

    def __init__(self, draft: Draft, journey: Part, entry: str | None) -> None:
        self.draft, self._journey, self._entry = draft, journey, entry

    def condition(self, xml: str, part: Part, key: str) -> str | None:
        """The condition that a filter says of a contact; None where it says nothing.

        Raises:
            Malformed: when it is no filter, or says what no condition takes.
        """
        return self._text(_Reading(self, part, key, None, columns=False), xml)

    def where(self, xml: str, part: Part, key: str, event: str, *, columns: bool) -> str | None:
        """The same as the `where` of an event, of its key; with `columns` all fields are the event's own.

        Raises:
            Malformed: as in `condition`.
        """
        return self._text(_Reading(self, part, key, event, columns=columns), xml)

    def value(self, path: str, event: str | None = None, *, columns: bool = False) -> Tree:
        """What a path such as `Event.KEY.Field`, `Contact.Attribute.Set.Field` or `Set.Field` stands for."""
        path = path.strip().strip("{}").replace('"', "").replace("[", "").replace("]", "")
        scope, _, rest = path.partition(".")
        if scope == "Event" and "." in rest:
            of, _, column = rest.partition(".")
            if event is not None and (columns or of == event):
                return Property(self.property(column))
            if event is None and of == self._entry:
                return EntryProperty(self.property(column))
            label = rest
        elif columns:
            return Property(self.property(path.rpartition(".")[2]))
        elif scope == "Interaction":
            label = rest
        else:
            label = path.removeprefix("Contact.Attribute.").removeprefix("Contact.")
        name = self.draft.attribute(label, self._journey)
        return Attribute(name) if event is None else Property(name)

    def property(self, label: str) -> str:
        """The name of the event's property that stands for a column; noted where it is another name."""
        name = name_of(label, "property")
        if name != label:
            note = f"the property {name} of the event stands for the column {label!r}; name it so where events are read"
            self.draft.note(self._journey, f"column {label!r}", Verdict.mapped, name, note=note)
        return name

    def looks(self) -> None:
        """Says once how values are taken, of which exports do not say what kind they are."""
        note = "they have no kind there; what looks like `true`, `12` or `5/31/2026` is a flag, a number or a date here"
        self.draft.note(self._journey, "values", Verdict.approximated, note=note)

    def _text(self, reading: _Reading, xml: str) -> str | None:
        root = _parsed(xml, reading.part, reading.key)
        if root is None:
            return None
        sets = list(root) if root.tag == "FilterDefinition" else [root]
        tree = _joined("AND", [tree for one in sets for tree in reading.said(one, 0)])
        return None if tree is None else self.draft.condition(tree, reading.part, reading.key)


class _Reading:
    """One filter that is being read: of contacts, or of an event where it has a key."""

    def __init__(self, filters: Filters, part: Part, key: str, event: str | None, *, columns: bool) -> None:
        self._filters, self.part, self.key = filters, part, key
        self._event, self._columns = event, columns

    def said(self, element: ElementTree.Element, depth: int) -> list[Tree]:
        """The condition of an element; none where it is empty."""
        if depth > _DEEPEST:
            raise self._malformed(f"this filter is nested more than {_DEEPEST} deep")
        if element.tag == "Condition":
            self._knows(element, _OF_CONDITIONS)
            return [self._compared(element)]
        if element.tag != "ConditionSet":
            raise self._malformed(f"a filter has no element {element.tag!r} here")
        self._knows(element, _OF_SETS)
        joined = element.get("Operator", "AND").upper()
        if joined not in ("AND", "OR"):
            raise self._malformed(f"conditions are joined by AND or OR, not by {joined!r}")
        tree = _joined(joined, [tree for child in element for tree in self.said(child, depth + 1)])
        return [] if tree is None else [tree]

    def _knows(self, element: ElementTree.Element, names: set[str]) -> None:
        for name in sorted(element.attrib.keys() - names):
            what = f"attribute {name!r} of a {element.tag}"
            self._filters.draft.left_out(self.part, what, "it is not known what it says")

    def _compared(self, element: ElementTree.Element) -> Tree:
        path = element.get("Key") or (f"attribute {element.get('ID')}" if element.get("ID") else "")
        if not path:
            raise self._malformed("a condition of this filter has no Key")
        written = element.get("Operator", "")
        operator = written.lower()
        if operator not in _OPERATORS:
            raise self._malformed(
                f"{written!r} is no operator that is known; {known(written, _OPERATORS, 'operators')}"
            )
        if element.find(".//AttributePath") is not None:
            self._differs(path, "there any row of a related table may do; here a contact has one value")
        value = "".join(one.text or "" for one in element.iter("Value")).strip()
        if operator in _UNSAID or _TODAY.fullmatch(value):
            return self._flag(f"{path} {written} {value}".strip())
        of = self._filters.value(path, self._event, columns=self._columns)
        if operator in ("isnull", "isnotnull"):
            return Missing(of) if operator == "isnull" else Not(Missing(of))
        if element.get("ValueIsReference", "").lower() == "true" and operator in _COMPARISONS:
            return Compare(_COMPARISONS[operator], of, self._filters.value(value, self._event))
        if not value:
            raise self._malformed(f"the condition on {path!r} has no value")
        self._filters.looks()
        if operator in _LISTS:
            if operator == "existsinwholeword":
                self._differs(path, "it is taken for the value being one of the words")
            options = tuple(scalar_of(one) for one in re.split(r"[,;|]", value) if one.strip())
            return In(of, options, _LISTS[operator])
        return Compare(_COMPARISONS[operator], of, value_of(value))

    def _flag(self, label: str) -> Tree:
        """A flag attribute for what no condition says."""
        name = self._filters.draft.flag_of_filter(label, self.part, "no condition asks this of a text or a date")
        return Attribute(name) if self._event is None else Property(name)

    def _differs(self, path: str, note: str) -> None:
        self._filters.draft.note(self.part, f"filter on {path!r}", Verdict.approximated, note=note)

    def _malformed(self, message: str) -> Malformed:
        return self.part.malformed(message, self.key)


def _joined(joined: str, trees: Sequence[Tree]) -> Tree | None:
    """Conditions joined by AND or OR; None where there are none."""
    kind = And if joined == "AND" else Or
    flat = [inner for tree in trees for inner in (tree.parts if isinstance(tree, kind) else (tree,))]
    return kind(tuple(flat)) if len(flat) > 1 else flat[0] if flat else None


def value_of(text: str) -> Tree:
    """A value of an export as one that is written in a condition."""
    found = scalar_of(text)
    if isinstance(found, bool):
        return Flag(found)
    return Text(found) if isinstance(found, str) else Number(found)


def _parsed(xml: str, part: Part, key: str) -> ElementTree.Element | None:
    """The root of a filter, None where it is empty; entities and other documents are refused unread."""
    if not xml.strip() or xml.strip().lower() == "null":
        return None
    if len(xml) > _LONGEST:
        raise part.malformed(f"this filter has {len(xml)} characters, and no filter has more than {_LONGEST}", key)
    if "<!DOCTYPE" in xml or "<!ENTITY" in xml:
        raise part.malformed("a filter declares no document type and no entities", key)
    try:
        root = ElementTree.fromstring(xml)
    except (ElementTree.ParseError, ValueError) as problem:
        raise part.malformed(f"this filter is no XML: {str(problem)[:100]}", key) from None
    if root.tag not in ("FilterDefinition", "ConditionSet"):
        raise part.malformed(f"a filter is a FilterDefinition, not {root.tag!r}", key)
    for child in root if root.tag == "FilterDefinition" else ():
        if child.tag != "ConditionSet":
            raise part.malformed(f"a FilterDefinition has ConditionSets, not {child.tag!r}", key)
    return root
