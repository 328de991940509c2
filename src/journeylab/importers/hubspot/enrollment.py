"""Whom a workflow of HubSpot enrolls, and who leaves it before its end."""

from __future__ import annotations

from typing import Any, Final

from journeylab.importers.export import Part
from journeylab.importers.outcomes import Verdict
from journeylab.importers.spans import span

from .filters import Moment, Said
from .flow import DAYS, Flow, time_of_day

__all__ = ["Enrolling"]

_SCHEDULES: Final = {
    "DAILY": "1d", "WEEKLY": "1w", "MONTHLY_SPECIFIC_DAYS": "30d", "MONTHLY_RELATIVE_DAYS": "30d", "YEARLY": "365d",
}  # fmt: skip


class Enrolling:
    """The trigger, re-enrollment, goal and suppression of a workflow."""

    def __init__(self, flow: Flow) -> None:
        self.flow, self.draft = flow, flow.draft
        self.where: list[str] = []
        self._suppression()
        with flow.export.noting():
            self._goal()
        trigger = self._trigger()
        if self.where and "where" in trigger:
            self.where.insert(0, f"({trigger['where']})")
        if self.where:
            trigger["where"] = " and ".join(self.where)
        self.draft.fields["trigger"] = trigger

    def _trigger(self) -> dict[str, Any]:
        part, draft = self.flow.part, self.draft
        criteria, schedule = part.optional_part("enrollmentCriteria"), part.optional_part("enrollmentSchedule")
        kind = (
            "MANUAL"
            if criteria is None
            else criteria.choice("type", ("LIST_BASED", "EVENT_BASED", "MANUAL"), "criteria")
        )
        again = criteria is not None and criteria.flag("shouldReEnroll", default=False)
        reentry = {"reentry": "after_exit"} if again else {}
        if schedule is not None:
            return self._scheduled(schedule, criteria if kind == "LIST_BASED" else None, reentry)
        if criteria is None or kind == "MANUAL":
            draft.did(criteria or part, "MANUAL", "", "trigger", but=f"the event is {self.flow.enrolled}")
            return {"event": self.flow.enrolled, **reentry}
        return (self._on_event if kind == "EVENT_BASED" else self._on_criteria)(criteria, reentry)

    def _on_event(self, criteria: Part, reentry: dict[str, str]) -> dict[str, Any]:
        draft, filters = self.draft, self.flow.filters
        refinement = criteria.optional_part("refinementCriteria")
        if refinement is not None:
            self.where.append(filters.said(refinement).text)
        moments: list[Moment] = [filters.event(one) for one in criteria.parts("eventFilterBranches")]
        lists: list[Said] = [filters.said(one) for one in criteria.parts("listMembershipFilterBranches")]
        if not moments and not lists:
            raise criteria.malformed("there is no event that enrolls", "eventFilterBranches")
        moments += [moment for said in lists for moment in said.moments(said.text)]
        events, trigger, but = self._on_any(moments)
        draft.did(criteria, "EVENT_BASED", ", ".join(events), "trigger", but=but)
        return trigger | reentry

    def _on_any(self, moments: list[Moment]) -> tuple[list[str], dict[str, str], str]:
        """The events of some moments, the trigger for them, and what differs: a journey has one event as its trigger.

        Where they are several, each has a journey of its own, which enrolls by emitting an event at the same instant.
        """
        asked: dict[str, list[str]] = {}
        for one in moments:
            asked.setdefault(one.event, []).append(one.where)
        triggers = [{"event": event, **_any_of(wheres)} for event, wheres in asked.items()]
        if len(triggers) == 1:
            return [*asked], triggers[0], ""
        event = self.flow.enrolled
        feeders = [self.flow.feeder(trigger) for trigger in triggers]
        but = f"a journey has one trigger: {', '.join(feeders)} enroll by the event {event}, at the same instant"
        return [*asked], {"event": event}, but

    def _on_criteria(self, criteria: Part, reentry: dict[str, str]) -> dict[str, Any]:
        draft, filters = self.draft, self.flow.filters
        said = filters.said(criteria.part("listFilterBranch"))
        again = [filters.said(one) for one in criteria.parts("reEnrollmentTriggersFilterBranches")]
        if criteria.flag("unEnrollObjectsNotMeetingCriteria", default=False):
            self._leaving(said.moments(f"not ({said.text})"), goal=False)
            note = "it is looked at whenever something changes that the criteria speak of"
            draft.note(criteria, "leaving when the criteria are not met", Verdict.approximated, "exit_when", note=note)
        if not reentry:
            name = draft.segment(f"{draft.fields['journey']} criteria", said.text)
            draft.did(criteria, "LIST_BASED", "", "trigger", name)
            return {"segment": name, "every": "1h"}
        # An entry that is over would begin again at once, if it were enough that the criteria hold.
        watched = Said(said.text, *_watched([said, *again]))
        moments = list(watched.moments(said.text))
        if not moments:
            raise criteria.malformed("nothing can happen that makes these criteria hold", "listFilterBranch")
        _, trigger, but = self._on_any(moments)
        buts = ["who meets them from the start, unchanged, does not enter", *([but] if but else [])]
        draft.did(criteria, "LIST_BASED", "", "trigger", but="; ".join(buts))
        return trigger | reentry

    def _scheduled(self, schedule: Part, criteria: Part | None, reentry: dict[str, str]) -> dict[str, Any]:
        draft = self.draft
        kind = schedule.choice("type", (*_SCHEDULES, "PROPERTY_BASED"), "schedules")
        said = None if criteria is None else self.flow.filters.said(criteria.part("listFilterBranch"))
        if criteria is not None:
            for one in criteria.parts("reEnrollmentTriggersFilterBranches"):
                one.skip(*one.data)
            criteria.skip("unEnrollObjectsNotMeetingCriteria")
        clock = schedule.optional_part("timeOfDay")
        if kind == "PROPERTY_BASED":
            attribute = draft.attribute(schedule.text("dateProperty"), schedule)
            delta = schedule.whole("daysDelta", 0)
            yearly = schedule.flag("yearly", default=False)
            if said is not None:
                self.where.append(said.text)
            draft.did(schedule, kind, attribute, "trigger")
            return {
                "date": attribute, **({"offset": span(schedule, "daysDelta", delta, "days")} if delta else {}),
                **({} if clock is None else {"time": time_of_day(clock)}),
                **({"reentry": "after_exit"} if yearly else reentry),
            }  # fmt: skip
        minutes = 0
        if clock is not None:
            hour, minute = time_of_day(clock).split(":")
            minutes = int(hour) * 60 + int(minute)
        days = [str(one) for one in schedule.values("daysOfWeek")] or (
            [schedule.text("dayOfWeek")] if "dayOfWeek" in schedule else []
        )
        unknown = [one for one in days if one not in DAYS]
        if unknown:
            raise schedule.malformed(f"{unknown[0]!r} is no day of the week", "daysOfWeek")
        buts = []
        every = _SCHEDULES[kind]
        if kind == "WEEKLY" and days:
            if len(days) == 1:
                minutes += DAYS.index(days[0]) * 1440
            else:
                every = "1d"
                listed = ", ".join(f'"{one[:3].lower()}"' for one in DAYS if one in days)
                self.where.append(f"weekday() in [{listed}]")
                buts.append("the days are the contact's own")
        schedule.skip(*schedule.data)
        name = draft.segment(f"{draft.fields['journey']} criteria", "true" if said is None else said.text)
        draft.did(schedule, kind, "", "trigger", name, but="; ".join(buts))
        offset = {"offset": span(schedule, "timeOfDay", minutes, "minutes")} if minutes else {}
        return {"segment": name, "every": every, **offset, **(reentry or {"reentry": "after_exit"})}

    def _goal(self) -> None:
        goal = self.flow.part.optional_part("goalFilterBranch")
        if goal is None:
            return
        said = self.flow.filters.said(goal)
        self._leaving(said.moments(said.text), goal=True)
        note = (
            "it is looked at whenever something happens that it speaks of; who meets it at first, is not enrolled there"
        )
        self.draft.note(goal, "goal", Verdict.approximated, "exit_when", note=note)

    def _suppression(self) -> None:
        for identity in self.flow.part.values("suppressionListIds"):
            flag = self.flow.filters.member(str(identity))
            self.where.append(f"not {flag}")
            self._leaving(Said(flag, {flag}).moments(flag), goal=False)
            note = f"who is on it neither enters nor stays: the flag attribute {flag}, which contacts have to have"
            self.draft.note(
                self.flow.part, f"suppression list {identity}", Verdict.approximated, "exit_when", note=note
            )

    def _leaving(self, moments: Any, *, goal: bool) -> None:
        for one in moments:
            said = {
                "event": one.event,
                **({"where": one.where} if one.where else {}),
                **({"goal": True} if goal else {}),
            }
            self.draft.fields.setdefault("exit_when", []).append(said)


def _any_of(wheres: list[str]) -> dict[str, str]:
    """The `where` of a trigger whose event is asked about in several ways, one of which is enough."""
    if not all(wheres):
        return {}
    return {"where": wheres[0] if len(wheres) == 1 else " or ".join(f"({one})" for one in wheres)}


def _watched(said: list[Said]) -> tuple[set[str], set[str]]:
    """The attributes and events that some conditions speak of."""
    attributes = {name for one in said for name in one.attributes}
    return attributes, {name for one in said for name in one.events}
