"""Mautic's segments as conditions: their filters, as far as a condition says them."""

from __future__ import annotations

from typing import Any, Final

from journeylab.expressions import And, Attribute, Compare, Not, Number, Or, SegmentMembership, Tree
from journeylab.importers.draft import Draft
from journeylab.importers.export import Part

from .comparisons import OPERATORS, any_of, compared
from .entities import Entities

__all__ = ["Segments"]

_DEEPEST: Final = 10
_RELATIVE: Final = ("today", "yesterday", "tomorrow", "birthday", "anniversary", "this_", "last_", "next_", "+", "-")


class Segments:
    """The segments of a campaign.

    Args:
        main: the draft that names attributes and notes what became of filters.
        entities: what came along.
        changed: the ids of segments whose members the campaign itself changes.
    """

    def __init__(self, main: Draft, entities: Entities, changed: set[str]) -> None:
        self._main, self._entities, self._changed = main, entities, changed
        self._trees: dict[str, Tree] = {}

    def flag(self, label: str, part: Part, what: str, why: str, of: str = "") -> Tree:
        """A flag attribute for something that no condition says, another one for each label, or what it is of."""
        return Attribute(self._main.flag_of(label, part, what, why, of or None))

    def filter(self, label: str, part: Part) -> Tree:
        """A flag attribute for a comparison that conditions do not have."""
        return self.flag(label, part, "filter", "no condition compares so")

    def member_flag(self, identity: str) -> str:
        """The flag attribute that says that a contact was added to a segment."""
        of = f"segment {identity}"
        return self._main.attribute_for(("flag", "in", of), f"in {self._entities.label('lists', identity)}")

    def name(self, draft: Draft, identity: str, user: Part) -> str:
        """The name of a segment, which is defined in the draft."""
        text = draft.condition(self._tree(identity, user, 0), user)
        return draft.segment(self._entities.label("lists", identity), text)

    def member(self, draft: Draft, identity: str, user: Part) -> Tree:
        """Whether a contact is in a segment."""
        return Compare(">=", SegmentMembership(self.name(draft, identity, user)), Number(0.5))

    def _tree(self, identity: str, user: Part, depth: int) -> Tree:
        if depth > _DEEPEST:
            raise user.malformed(f"the segment {identity} is among its own filters, or nested too deep")
        if identity not in self._trees:
            part = self._entities.part("lists", identity)
            filters = [] if part is None else _filters(part)
            if not filters:
                label = self._entities.label("lists", identity)
                why = "who is in the segment is not in the export"
                self._trees[identity] = self.flag(label, part or user, "in", why, f"segment {identity}")
            else:
                said = self._filtered(filters, depth)
                if identity in self._changed:
                    said = Or((said, Attribute(self.member_flag(identity))))
                self._trees[identity] = said
        return self._trees[identity]

    def _filtered(self, filters: list[Part], depth: int) -> Tree:
        """Filters that are joined by `and` are together; each `or` begins anew."""
        groups: list[list[Tree]] = []
        for one in filters:
            joined = one.choice("glue", ("and", "or"), "ways to join filters", "and")
            if joined == "or" or not groups:
                groups.append([])
            groups[-1].append(self._filter(one, depth))
        return any_of([And(tuple(group)) if len(group) > 1 else group[0] for group in groups])

    def _filter(self, part: Part, depth: int) -> Tree:
        field, kind = part.text("field"), part.text("type", "")
        operator = part.choice("operator", OPERATORS, "operators")
        inner = part.optional_part("properties")
        given: Any = part.raw("filter")
        if inner is not None:
            inner.skip("display")
            given = inner.raw("filter", given)
        part.skip("display", "object", "merged_property")
        label = f"{field} {operator} {given}"
        negated = operator.startswith("!")
        if kind == "leadlist" and operator in ("in", "!in") and isinstance(given, list):
            member = any_of([self._tree(str(one), part, depth + 1) for one in given])
            return Not(member) if negated else member
        if kind == "tags" and operator in ("in", "!in") and isinstance(given, list):
            tagged = any_of([Attribute(self._main.attribute(f"tag_{one}", part)) for one in given])
            return Not(tagged) if negated else tagged
        is_relative = kind in ("date", "datetime") and str(given).startswith(_RELATIVE)
        if part.text("object", "lead") == "behaviors" or kind == "multiselect" or is_relative:
            return self.filter(label, part)
        said = compared(Attribute(self._main.attribute(field, part)), operator, given, kind, part)
        return self.filter(label, part) if said is None else said


def _filters(part: Part) -> list[Part]:
    """The filters of a segment; PHP writes a list whose numbers have gaps as an object."""
    found = part.raw("filters", [])
    if isinstance(found, dict):
        found = [*found.values()]
    if not isinstance(found, list):
        raise part.malformed("there must be a list of filters here", "filters")
    return [part.export.part_of(one, (*part.place, "filters", i)) for i, one in enumerate(found)]
