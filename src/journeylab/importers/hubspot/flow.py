"""One workflow of HubSpot that is being read, and what holds for all of it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from journeylab.importers.draft import Draft
from journeylab.importers.export import Export, Part
from journeylab.importers.outcomes import Verdict
from journeylab.importers.spans import clock_time
from journeylab.importers.unsaid import target_of

from .actiontypes import NODE_TYPES
from .filters import Filters, email_title

__all__ = ["DAYS", "Flow", "enrolled_in", "time_of_day"]

DAYS: Final = ("MONDAY", "TUESDAY", "WEDNESDAY", "THURSDAY", "FRIDAY", "SATURDAY", "SUNDAY")
_EXPIRES: Final = "7d"
_BRANCHES: Final = ("LIST_BRANCH", "STATIC_BRANCH", "AB_TEST_BRANCH", "CUSTOM_CODE", "WEBHOOK")


class Flow:
    """A workflow that is being read.

    Attributes:
        part: it in the export.
        export: the export.
        draft: the journey that is being made of it.
        filters: its filters.
        titles: what lists, forms, e-mails and workflows are called, by id, as far as the export says it.
        actions: its actions by id.
        kinds: by property, whether filters compare it with numbers or flags.
        asked: the actions of which a branch asks what came of them.
        enrolled: the event by which other journeys enroll in it.
        feeders: the journeys that do nothing but enroll in it, one for each of several events.
    """

    def __init__(self, export: Export, part: Part, titles: Mapping[str, str]) -> None:
        self.export, self.part, self.titles = export, part, titles
        self.draft = Draft(export, NODE_TYPES, part.text("name", "") or "workflow", part)
        if part.text("type", "CONTACT_FLOW") != "CONTACT_FLOW" and part.text("objectTypeId", "0-1") != "0-1":
            raise part.malformed(
                f"this workflow is of records of the type {part.text('objectTypeId')}, and journeys are of contacts",
                "objectTypeId",
            )
        self.enrolled = enrolled_in(part.text("id", "") or self.draft.fields["journey"])
        self.feeders: list[Draft] = []
        self.kinds = dict(_kinds(part.data))
        self.actions: dict[str, Part] = {}
        sends: dict[str, list[str]] = {}
        self.asked: set[str] = set()
        for action in part.parts("actions", needed=True):
            with export.noting():
                identity = action.text("actionId")
                if identity in self.actions:
                    raise action.malformed(f"another action has the id {identity!r}, too", "actionId")
                kind_of(action)
                self.actions[identity] = action
                name = self.draft.name(identity, self._label(action))
                fields = action.data.get("fields")
                if kind_of(action) == "0-4" and isinstance(fields, dict):
                    sends.setdefault(str(fields.get("content_id")), []).append(name)
                asks = action.data.get("inputValue")
                if isinstance(asks, dict) and asks.get("type") == "FIELD_DATA":
                    self.asked.add(str(asks.get("actionId")))
        self.filters = Filters(self.draft, titles, sends)

    def _label(self, action: Part) -> str:
        """What people would call an action: HubSpot's export has no names of them."""
        kind, fields = kind_of(action), action.data.get("fields")
        said = fields if isinstance(fields, dict) else {}
        if kind == "0-4":
            return email_title(self.titles, str(said.get("content_id", "")))
        if kind == "0-1" and str(said.get("delta", "0")) != "0":
            return f"wait {said['delta']} {said.get('time_unit', '')}"
        if kind == "0-5":
            return f"set {said.get('property_name', '')}"
        return {
            "0-1": "wait until", "0-29": "wait for event", "0-35": "wait until date",
            "0-13": "list", "0-63809083": "add to list", "0-63863438": "remove from list", "0-15": "enroll",
            "0-3": "task", "0-8": "notify", "0-9": "notify", "0-14": "create record", "LIST_BRANCH": "branch",
            "STATIC_BRANCH": "branch", "AB_TEST_BRANCH": "test", "WEBHOOK": "webhook", "CUSTOM_CODE": "code",
        }.get(kind, f"action {action.text('actionId')}")  # fmt: skip

    def goes(self, part: Part, key: str) -> str:
        """The node that a connection leads to, the exit where there is none."""
        connection = part.optional_part(key)
        return self.draft.exit() if connection is None else self.led(connection)

    def led(self, connection: Part) -> str:
        """The node that a connection leads to."""
        connection.choice("edgeType", ("STANDARD", "GO_TO", "GOTO", "GO-TO"), "kinds of edges", "STANDARD")
        return target_of(connection, "nextActionId", connection.optional("nextActionId"), self.actions, self.draft)

    def feeder(self, trigger: Mapping[str, str]) -> str:
        """The name of a journey that enrolls in this one whenever an event happens."""
        draft = Draft(self.export, NODE_TYPES, f"{self.draft.fields['title']}: on {trigger['event']}", self.part)
        draft.fields["trigger"] = {**trigger, "reentry": "after_exit"}
        draft.first = draft.node(draft.free("enroll"), emit=self.enrolled, next=draft.exit())
        self.feeders.append(draft)
        return str(draft.fields["journey"])

    def settings(self) -> None:
        """The windows, blocked dates, suppression and the like, which hold for all of a workflow."""
        draft, part = self.draft, self.part
        if self.export.timezone is not None:
            draft.fields["timezone"] = self.export.timezone
        elif any("wait_until" in node for node in draft.nodes.values()) or part.data.get("timeWindows"):
            note = (
                "the export does not say the account's; give it as the time zone, which holds for contacts without one"
            )
            draft.note(part, "time zone", Verdict.approximated, "timezone", note=note)
        self._windows()
        if part.parts("blockedDates"):
            for one in part.parts("blockedDates"):
                one.skip("dayOfMonth", "month", "year")
            draft.left_out(part, "blocked dates", "a window here has weekdays and hours, and no dates")
        anchor = part.optional_part("eventAnchor")
        if anchor is not None:
            anchor.skip(*anchor.data)
            note = "delays are counted from the step before, not from the date that the workflow is centred on"
            draft.left_out(anchor, "centre date", note)
        others = part.optional_part("unEnrollmentSetting")
        if others is not None:
            ids = ", ".join(str(one) for one in others.values("flowIds")) or "all others"
            others.skip("type")
            draft.left_out(
                others, f"leaving other workflows ({ids})", "a journey ends no other one; write an exit_when there"
            )
        for source in part.parts("dataSources"):
            source.skip(*source.data)
            draft.left_out(source, "data source", "contacts have attributes and events here, and no other records")

    def _windows(self) -> None:
        """The hours in which actions are done: those of sends, where all days have the same ones."""
        draft, part = self.draft, self.part
        hours: dict[str, tuple[str, str]] = {}
        for one in part.parts("timeWindows"):
            day = one.choice("day", DAYS, "days")
            start, end = one.optional_part("startTime"), one.optional_part("endTime")
            hours[day] = (
                "00:00" if start is None else time_of_day(start), "24:00" if end is None else time_of_day(end, end=True)
            )  # fmt: skip
        if not hours:
            return
        days = [day[:3].lower() for day in DAYS if day in hours]
        opens, closes = max(one for one, _ in hours.values()), min(one for _, one in hours.values())
        if opens >= closes:
            draft.left_out(part, "time windows", "no hour is in all of them, and a send has one window here (rule 4)")
            return
        window: dict[str, Any] = {"between": [opens, closes], **({} if len(days) == len(DAYS) else {"days": days})}
        sends = [name for name, node in draft.nodes.items() if "send" in node]
        for name in sends:
            draft.nodes[name] |= {"at": window, "expires": _EXPIRES}
        same = "" if len({*hours.values()}) == 1 else "; the hours are those that all days share"
        note = (
            "e-mails keep to them, in the contact's hours (rule 3), and wait a week at most (rule 19); there, every "
            f"action does, in the account's hours, and waits as long as it takes{same}"
        )
        draft.note(part, "time windows", Verdict.approximated, *sends, note=note)


def kind_of(action: Part) -> str:
    """The type of an action: of branches and the like their own, of others the action type id."""
    kind = action.choice("type", (*_BRANCHES, "SINGLE_CONNECTION"), "types of actions")
    return action.text("actionTypeId") if kind == "SINGLE_CONNECTION" else kind


def enrolled_in(identity: str) -> str:
    """The event that enrolls in a workflow."""
    return f"enrolled_in_workflow_{identity}"


def time_of_day(part: Part, *, end: bool = False) -> str:
    """A time of day such as `09:30`; as an end, midnight is `24:00`."""
    found = clock_time(part, part.whole("hour"), part.whole("minute", 0), "hour")
    return "24:00" if end and found in ("00:00", "23:59") else found


def _kinds(data: Any) -> Iterator[tuple[str, str]]:
    """The properties that filters, anywhere, compare with numbers or flags."""
    waiting = [data]
    while waiting:
        one = waiting.pop()
        if isinstance(one, dict):
            operation = one.get("operation")
            kind = operation.get("operationType") if isinstance(operation, dict) else None
            if kind in ("NUMBER", "BOOL") and isinstance(one.get("property"), str):
                yield one["property"], kind
            waiting += one.values()
        elif isinstance(one, list):
            waiting += one
