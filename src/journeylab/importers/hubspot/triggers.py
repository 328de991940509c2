"""Our triggers and exits as whom a workflow of HubSpot enrolls, and its goal."""

from __future__ import annotations

from datetime import timedelta
from typing import Any, Final

from journeylab.conditions import parse
from journeylab.expressions import (
    Aggregate,
    And,
    Compare,
    In,
    Or,
    Property,
    SegmentMembership,
    Text,
    Tree,
    expression_text,
    walk,
)
from journeylab.importers.outcomes import Outcome, Verdict
from journeylab.importers.unsaid import Unsaid
from journeylab.journey import Journey

from .branches import all_of, branch_of, event_branch, is_known_or
from .eventtypes import PROPERTY_CHANGED
from .flow import DAYS

__all__ = ["ENROLLED", "Enrolling", "clock_of", "ending_of"]

ENROLLED: Final = "enrolled_in_workflow_"
"""What the event that enrolls in a workflow is called, before the workflow's id."""


class Enrolling:
    """Whom a workflow enrolls.

    Attributes:
        criteria: its enrollment criteria.
        schedule: its enrollment schedule, None where it has none.
        outcomes: what became of the trigger.

    Raises:
        Unsaid: when HubSpot has no such trigger.
    """

    def __init__(self, journey: Journey) -> None:
        self._journey = journey
        self.outcomes: list[Outcome] = []
        self.criteria, self.schedule = self._enrollment()

    @classmethod
    def nobody(cls, journey: Journey) -> Enrolling:
        """Nobody, where the trigger cannot be said."""
        made = cls.__new__(cls)
        made._journey, made.outcomes, made.criteria, made.schedule = journey, [], {}, None
        return made

    def _enrollment(self) -> tuple[dict[str, Any], dict[str, Any] | None]:
        trigger = self._journey.trigger
        again, notes = trigger.reentry != "never", []
        if isinstance(trigger.reentry, timedelta) or trigger.reentry == "always":
            notes.append("there a contact is enrolled again once the last enrollment is over, whenever that was")
        where = (
            None if trigger.where is None else parse(trigger.where, scope="event" if trigger.event else "contact").tree
        )
        schedule: dict[str, Any] | None = None
        manual = {"type": "MANUAL", "shouldReEnroll": again}
        if trigger.date is not None:
            criteria = manual if where is None else self._list_based(where, again=again)
            schedule = self._schedule()
            becomes, kind = "PROPERTY_BASED", f"trigger on {trigger.date}"
            notes.append("the hour is the account's")
        elif trigger.segment is not None:
            tree = parse(f'segment("{trigger.segment}") >= {trigger.at_least}').tree
            criteria = self._list_based(tree if where is None else And((tree, where)), again=again)
            becomes, kind = "LIST_BASED", f"trigger on {trigger.segment}"
            schedule = self._regular() if again else None
            if schedule is not None:
                becomes = str(schedule["type"])
                notes.append("the hour is the account's, here UTC's")
            else:
                notes.append("it is looked at all the time there, and not on a schedule")
                if again:
                    notes.append("whoever is through is enrolled again when something changes that makes it hold")
        else:
            event = str(trigger.event)
            kind = f"trigger on {event}"
            if event.startswith(ENROLLED) and where is None:
                criteria, becomes = manual, "MANUAL"
                notes.append("who enrolls is the other workflow, or a person")
            else:
                criteria, becomes = self._event_based(event, where, again=again), "EVENT_BASED"
                if where is not None and event != "attribute_changed":
                    notes.append("bare names in `where` are taken for properties of the event")
        verdict = Verdict.approximated if notes else Verdict.mapped
        self.outcomes.append(Outcome(("trigger",), kind, verdict, (becomes,), "; ".join(notes)))
        return criteria, schedule

    def _list_based(self, tree: Tree, *, again: bool) -> dict[str, Any]:
        return {
            "type": "LIST_BASED", "shouldReEnroll": again, "listFilterBranch": branch_of(tree, self._journey),
            "reEnrollmentTriggersFilterBranches": [], "unEnrollObjectsNotMeetingCriteria": False,
        }  # fmt: skip

    def _event_based(self, event: str, where: Tree | None, *, again: bool) -> dict[str, Any]:
        """The criteria of an event: what is asked of it, and of the contact beside."""
        parts = () if where is None else where.parts if isinstance(where, And) else (where,)
        of_contact = [
            one for one in parts if any(isinstance(part, Aggregate | SegmentMembership) for part in walk(one))
        ]
        of_event = [one for one in parts if one not in of_contact]
        if event == "attribute_changed":
            branch, others = self._changed(of_event)
            branches = [branch]
            of_contact += others
        elif len(of_event) == 1 and isinstance(of_event[0], Or) and not is_known_or(of_event[0]):
            branches = [event_branch(event, one) for one in of_event[0].parts]
        else:
            branches = [event_branch(event, And(tuple(of_event)) if of_event else None)]
        made = {
            "type": "EVENT_BASED", "shouldReEnroll": again, "eventFilterBranches": branches,
            "listMembershipFilterBranches": [],
        }  # fmt: skip
        if of_contact:
            asked = And(tuple(of_contact)) if len(of_contact) > 1 else of_contact[0]
            made["refinementCriteria"] = branch_of(_as_attributes(asked), self._journey)
        return made

    def _changed(self, parts: list[Tree]) -> tuple[dict[str, Any], list[Tree]]:
        """A changed property as a branch of events, and what is asked beside."""
        for one in parts:
            match one:
                case Compare("==", Property("name"), Text(name)) | In(Property("name"), (str(name),), False):
                    asked = [part for part in parts if part is not one]
                    about = [
                        part for part in asked if {p.name for p in walk(part) if isinstance(p, Property)} == {name}
                    ]
                    made = event_branch("attribute_changed", And(tuple(about)) if about else None)
                    for part in made["filters"]:
                        part["property"] = "hs_value"
                    named = {"operationType": "STRING", "operator": "IS_EQUAL_TO", "value": name}
                    made["filters"].insert(0, {"property": "hs_name", "operation": named, "filterType": "PROPERTY"})
                    return made, [part for part in asked if part not in about]
        raise Unsaid(f"a change ({PROPERTY_CHANGED}) is of one property; ask for its name first")

    def _regular(self) -> dict[str, Any] | None:
        """A daily or weekly schedule, None where a segment is looked at at other times."""
        trigger = self._journey.trigger
        if trigger.every not in (timedelta(days=1), timedelta(weeks=1)):
            return None
        assert trigger.every is not None
        days, within = divmod(trigger.offset % trigger.every, timedelta(days=1))
        hour, rest = divmod(within, timedelta(hours=1))
        minute, rest = divmod(rest, timedelta(minutes=1))
        if rest:
            return None
        at = {"timeOfDay": {"hour": hour, "minute": minute}}
        if trigger.every == timedelta(days=1):
            return {"type": "DAILY", **at}
        return {"type": "WEEKLY", "daysOfWeek": [DAYS[days]], **at}

    def _schedule(self) -> dict[str, Any]:
        trigger = self._journey.trigger
        days, rest = divmod(trigger.offset, timedelta(days=1))
        if rest:
            raise Unsaid("a schedule is a whole number of days from the date; use a delay for the rest")
        return {
            "type": "PROPERTY_BASED", "dateProperty": trigger.date, "daysDelta": days, "yearly": False,
            "timeOfDay": clock_of(trigger.time),
        }  # fmt: skip


def ending_of(journey: Journey, event: str, where: str | None) -> dict[str, Any]:
    """An event that ends an entry, as the branch of a goal.

    Raises:
        Unsaid: when no filter says it.
    """
    tree = None if where is None else parse(where, scope="event").tree
    if event != "attribute_changed":
        return all_of([], [event_branch(event, tree)])
    parts = tree.parts if isinstance(tree, And) else ()
    asked = [one for one in parts if not _names(one)]
    if not asked or len(asked) == len(parts):
        raise Unsaid("a goal is a condition: ask for the attribute's name, and for its value")
    return branch_of(_as_attributes(And(tuple(asked)) if len(asked) > 1 else asked[0]), journey)


def clock_of(text: str) -> dict[str, int]:
    """A time of day.

    Raises:
        Unsaid: when it has seconds.
    """
    pieces = [int(one) for one in text.split(":")]
    if any(pieces[2:]):
        raise Unsaid("its times of day are of whole minutes")
    return {"hour": pieces[0], "minute": pieces[1]}


def _names(tree: Tree) -> bool:
    """Whether a part of a `where` asks which attribute has changed."""
    asked = [one.name for one in walk(tree) if isinstance(one, Property)]
    return isinstance(tree, Compare | In) and asked == ["name"]


def _as_attributes(tree: Tree) -> Tree:
    """The condition of a `where` with bare names that are attributes."""
    return parse(expression_text(tree)).tree
