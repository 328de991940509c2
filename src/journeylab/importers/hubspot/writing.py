"""Our journeys as HubSpot's workflows, as far as its automation API can say them."""

from __future__ import annotations

from datetime import timedelta
from functools import partial
from typing import Any, Final

from journeylab.conditions import AwaitedEvent, parse, parse_awaited
from journeylab.expressions import Compare, Property, Text
from journeylab.importers.outcomes import Outcome, Verdict
from journeylab.importers.unsaid import Unsaid
from journeylab.importers.writing import Writing
from journeylab.journey import (
    WEEKDAYS,
    Call,
    Decide,
    Emit,
    Exit,
    Journey,
    Node,
    Run,
    Send,
    Set,
    Split,
    Wait,
    WaitFor,
    WaitUntil,
    Window,
)

from .branches import any_of, branch_of, content_of, event_branch, list_of
from .flow import DAYS
from .triggers import ENROLLED, Enrolling, clock_of, ending_of

__all__ = ["written"]

_DAYS: Final = dict(zip(WEEKDAYS, DAYS, strict=True))
_WHOLE: Final = {
    "cap": "a workflow has none; HubSpot has one for all marketing e-mails",
    "holdout": "a workflow has none; put a random split first",
    "unit": "its splits are of contacts",
    "priority": "its workflows do not wait for each other",
    "max_visits": "it counts no visits",
    "purpose": "the subscription type is a setting of each e-mail",
    "timezone": "its hours are the account's",
}
_MINUTE: Final = timedelta(minutes=1)


def written(journey: Journey) -> tuple[dict[str, Any], list[Outcome]]:
    """A journey as the body with which a workflow is created, turned off, and what became of each part.

    Raises:
        DefinitionError: with every part that a workflow cannot have in any way.
    """
    writing = _Writing(journey)
    return writing.done(writing.workflow())


class _Writing(Writing):
    system = "HubSpot"

    def __init__(self, journey: Journey) -> None:
        super().__init__(journey)
        self._actions: list[dict[str, Any]] = []
        self._ids: dict[str, str] = {}
        self._last = 0
        for name in self._reached():
            if not isinstance(self._node(name), Exit):
                self._ids[name] = self._new()
        self._led: set[str] = set()

    def workflow(self) -> dict[str, Any]:
        journey = self.source
        self.leaves_out(_WHOLE)
        enrolling = self.within(("trigger",), lambda: Enrolling(journey)) or Enrolling.nobody(journey)
        self.outcomes += enrolling.outcomes
        goal = self._goal()
        first = self._connection(journey.first)
        for name in self._reached():
            node = self._node(name)
            self.within(("nodes", name), partial(self._write, name, node))
        return {
            "name": journey.title or journey.journey,
            **({"description": journey.description} if journey.description else {}),
            "type": "CONTACT_FLOW", "objectTypeId": "0-1", "flowType": "WORKFLOW", "isEnabled": False,
            **({"startActionId": first["nextActionId"]} if first else {}),
            "nextAvailableActionId": str(self._last + 1), "actions": self._actions,
            "enrollmentCriteria": enrolling.criteria,
            **({} if enrolling.schedule is None else {"enrollmentSchedule": enrolling.schedule}),
            **({} if goal is None else {"goalFilterBranch": goal}),
            "timeWindows": self._windows(), "blockedDates": [], "customProperties": {}, "dataSources": [],
            "suppressionListIds": [], "canEnrollFromSalesforce": False,
        }  # fmt: skip

    def _new(self) -> str:
        self._last += 1
        return str(self._last)

    def _node(self, name: str) -> Node:
        return self.source.nodes[name]

    def _reached(self) -> list[str]:
        """The nodes from the first on, in the order in which a reader meets them."""
        waiting, found = [self.source.first], dict[str, None]()
        while waiting:
            name = waiting.pop(0)
            if name not in found:
                found[name] = None
                waiting = [*(target for _, target, _ in self._node(name).branches()), *waiting]
        return [*found]

    def _goal(self) -> dict[str, Any] | None:
        journey, branches = self.source, []
        for i, one in enumerate(journey.exit_when):
            place = ("exit_when", i)
            made = self.within(place, partial(ending_of, journey, one.event, one.where))
            if made is None:
                continue
            branches.append(made)
            note = "" if one.goal else "it counts as the goal there"
            verdict = Verdict.approximated if note else Verdict.mapped
            self.did(place, f"exit_when {one.event}", verdict, "goalFilterBranch", note=note)
        return any_of(branches) if branches else None

    # Nodes

    def _connection(self, target: str) -> dict[str, str]:
        """How one gets to a node: on, or to one that another action leads to already; nothing leads to an exit."""
        while target in self.source.nodes and self._leads_on(self._node(target)):
            target = getattr(self._node(target), "next", "")
        if target not in self._ids:
            return {}
        edge = "GOTO" if target in self._led else "STANDARD"
        self._led.add(target)
        return {"edgeType": edge, "nextActionId": self._ids[target]}

    def _leads_on(self, node: Node) -> bool:
        """Whether a node waits for a window that is always open, and so has no action."""
        if not isinstance(node, WaitUntil) or node.wait_until.between is None:
            return False
        return node.wait_until.between == ("00:00", "24:00") and {*node.wait_until.days} == {*WEEKDAYS}

    def _add(self, name: str, kind: str, fields: dict[str, Any], onward: dict[str, str]) -> None:
        self._actions.append({
            "type": "SINGLE_CONNECTION", "actionId": self._ids[name], "actionTypeVersion": 0, "actionTypeId": kind,
            **({"connection": onward} if onward else {}), "fields": fields,
        })  # fmt: skip

    def _write(self, name: str, node: Node) -> None:
        place, notes, kind = ("nodes", name), list[str](), ""
        match node:
            case Exit():
                verdict = Verdict.mapped if node.exit == "finished" else Verdict.approximated
                note = "" if node.exit == "finished" else "a workflow ends without a text"
                self.did(place, f"exit {node.exit!r}", verdict, note=note)
                return
            case Send():
                kind, notes = "0-4", self._send(name, node)
            case Wait():
                kind = "0-1"
                days, rest = divmod(node.wait, timedelta(days=1))
                delta, unit = (_minutes(node.wait), "MINUTES") if rest else (str(days), "DAYS")
                self._add(name, kind, {"delta": delta, "time_unit": unit}, self._connection(node.next))
            case WaitUntil():
                kind, notes = self._wait_until(name, node)
            case WaitFor():
                kind, notes = "0-29", self._wait_for(name, node)
            case Decide():
                kind = "LIST_BRANCH"
                branches = [
                    {
                        "branchName": one.go, "filterBranch": branch_of(parse(one.condition).tree, self.source),
                        **_led(self._connection(one.go)),
                    }
                    for one in node.decide
                ]  # fmt: skip
                self._branch(name, kind, node.otherwise, listBranches=branches)
            case Split():
                kind, notes = "AB_TEST_BRANCH", self._split(name, node)
            case Set():
                kind, notes = "0-5", self._set(name, node)
            case Emit():
                kind, notes = "0-15", self._emit(name, node)
            case Call():
                kind, notes = "WEBHOOK", self._call(name, node)
            case Run():
                raise Unsaid("a journey inside of another one; write its nodes out")
            case _:
                raise Unsaid(f"the verb {node.verb}")
        verdict = Verdict.approximated if notes else Verdict.mapped
        self.did(place, f"{node.verb} {name}", verdict, *([kind] if kind else []), note="; ".join(notes))

    def _branch(self, name: str, kind: str, otherwise: str, **said: Any) -> None:
        default = self._connection(otherwise)
        self._actions.append({
            "actionId": self._ids[name], "type": kind, **said, "defaultBranchName": otherwise,
            **({"defaultBranch": default} if default else {}),
        })  # fmt: skip

    def _send(self, name: str, node: Send) -> list[str]:
        content, notes = content_of(node.send), []
        if not content.isdigit():
            notes.append("content_id wants the number of the e-mail in HubSpot")
        if node.skipped not in (None, node.next):
            raise Unsaid("an e-mail that is not sent leads on like one that is")
        if node.at is not None and not isinstance(node.at, Window):
            notes.append("it is sent at once: an e-mail has no best time")
        self._add(name, "0-4", {"content_id": content}, self._connection(node.next))
        return notes

    def _wait_until(self, name: str, node: WaitUntil) -> tuple[str, list[str]]:
        until, onward = node.wait_until, self._connection(node.next)
        if node.otherwise not in (None, node.next):
            raise Unsaid("who has no date leads on like who has one; ask for it with a decide first")
        if until.date is not None:
            fields: dict[str, Any] = {"date": {"type": "OBJECT_PROPERTY", "propertyName": until.date}}
            fields |= {"delta": _minutes(until.offset), "time_unit": "MINUTES"}
            if until.time is not None:
                fields["time_of_day"] = clock_of(until.time)
            self._add(name, "0-35", fields, onward)
            return "0-35", ["the hour is the account's"]
        if self._leads_on(node):
            return "", []
        if until.between is not None and until.between != ("00:00", "24:00"):
            raise Unsaid("it waits for days and times of day, and not for a window of hours")
        fields = {"delta": "0", "time_unit": "MINUTES"}
        if until.time is not None:
            fields["time_of_day"] = clock_of(until.time)
        if {*until.days} != {*WEEKDAYS}:
            fields["days_of_week"] = [_DAYS[day] for day in WEEKDAYS if day in until.days]
        self._add(name, "0-1", fields, onward)
        return "0-1", ["hours and weekdays are the account's"]

    def _wait_for(self, name: str, node: WaitFor) -> list[str]:
        """A wait for events, and a branch by whether one came."""
        if node.since is not None:
            raise Unsaid("it waits for what comes after the arrival")
        targets = {target for branch, target, _ in node.branches() if branch != "else"}
        if len(targets) > 1:
            raise Unsaid("whichever event comes, it goes on to one action")
        notes, events = list[str](), []
        for one in map(parse_awaited, node.awaited):
            if isinstance(one, AwaitedEvent):
                events.append(event_branch(one.event, one.where))
                continue
            sends = self.source.nodes.get(one.node)
            if one.link is not None or not isinstance(sends, Send):
                raise Unsaid("which link is clicked is not asked for by a name")
            events.append(event_branch(one.kind, Compare("==", Property("message"), Text(content_of(sends.send)))))
            notes.append("it awaits what comes after the arrival, not what came since the message was sent (rule 9)")
        came, missed = next(iter(targets)), node.otherwise
        fields = {"event_filter_branches": events, "expiration_minutes": _minutes(node.within)}
        if came == missed:
            self._add(name, "0-29", fields, self._connection(came))
            return notes
        branch = self._new()
        self._add(name, "0-29", fields, {"edgeType": "STANDARD", "nextActionId": branch})
        default = self._connection(missed)
        asked = {"type": "FIELD_DATA", "actionId": self._ids[name], "dataKey": "hs_event_criteria_met"}
        self._actions.append({
            "actionId": branch, "type": "STATIC_BRANCH", "inputValue": asked,
            "staticBranches": [{"branchValue": "true", **_led(self._connection(came))}],
            "defaultBranchName": "No event", **({"defaultBranch": default} if default else {}),
        })  # fmt: skip
        return notes

    def _split(self, name: str, node: Split) -> list[str]:
        connections = [self._connection(arm) for arm in node.split]
        if not all(connections):
            raise Unsaid("an arm that is an exit: a random split leads to actions")
        shares = [*node.split.values()]
        notes = ["chance is drawn anew at each enrollment there, and is nowhere written down (rule 22)"]
        even = len({*shares}) == 1
        branches: list[Any] = connections if even else [
            {"branchName": arm, "percentage": float(share * 100), "connection": connection}
            for (arm, share), connection in zip(node.split.items(), connections, strict=True)
        ]  # fmt: skip
        if not even:
            notes.append("older accounts have even splits only, without `percentage`")
        self._actions.append({"actionId": self._ids[name], "type": "AB_TEST_BRANCH", "testBranches": branches})
        return notes

    def _set(self, name: str, node: Set) -> list[str]:
        """One action for each attribute, the first under the node's own id."""
        onward = self._connection(node.next)
        items = [*node.set.items()]
        ids = [self._ids[name], *(self._new() for _ in items[1:])]
        for i, ((attribute, value), identity) in enumerate(zip(items, ids, strict=True)):
            after = onward if i + 1 == len(ids) else {"edgeType": "STANDARD", "nextActionId": ids[i + 1]}
            number = list_of(attribute)
            if number is not None and isinstance(value, bool):
                kind, fields = "0-63809083" if value else "0-63863438", {"listId": number}
            else:
                text = str(value).lower() if isinstance(value, bool) else str(value)
                kind = "0-5"
                fields = {"property_name": attribute, "value": {"type": "STATIC_VALUE", "staticValue": text}}  # type: ignore[dict-item]
            self._actions.append({
                "type": "SINGLE_CONNECTION", "actionId": identity, "actionTypeVersion": 0, "actionTypeId": kind,
                **({"connection": after} if after else {}), "fields": fields,
            })  # fmt: skip
        return []

    def _emit(self, name: str, node: Emit) -> list[str]:
        event = node.emitted.event
        if not event.startswith(ENROLLED) or node.emitted.properties:
            raise Unsaid(f"a workflow makes no event {event!r}; it enrolls in other ones, by {ENROLLED}ID")
        self._add(name, "0-15", {"flow_id": event.removeprefix(ENROLLED)}, self._connection(node.next))
        return []

    def _call(self, name: str, node: Call) -> list[str]:
        if node.failed not in (None, node.next):
            raise Unsaid("a webhook that fails leads on like one that is answered")
        onward = self._connection(node.next)
        self._actions.append({
            "actionId": self._ids[name], "type": "WEBHOOK", "method": "POST", "queryParams": [],
            "webhookUrl": f"https://hooks.example.com/{node.call}", **({"connection": onward} if onward else {}),
        })  # fmt: skip
        return ["a webhook, of which the address has to be written into webhookUrl"]

    # What holds for all

    def _windows(self) -> list[dict[str, Any]]:
        """The hours in which actions are done: the window that all sends have, or what the quiet hours leave."""
        journey, sends = self.source, [one for one in self.source.nodes.values() if isinstance(one, Send)]
        windows = {one.at if isinstance(one.at, Window) else None for one in sends}
        quiet = journey.quiet_hours
        if quiet is not None:
            start, end = quiet.end, quiet.start
            if start != "24:00" and (end == "00:00" or start < end):
                window = Window(between=(start, "24:00" if end == "00:00" else end))
                note = "it has time windows: nothing at all is done in between, and hours are the account's"
                self.did(("quiet_hours",), "quiet_hours", Verdict.approximated, "timeWindows", note=note)
                if windows - {None}:
                    self.did(("nodes",), "windows of sends", Verdict.left_out, note="the quiet hours take their place")
                return _hours(window)
            self.did(("quiet_hours",), "quiet_hours", Verdict.left_out, note="a time window does not go over midnight")
        if len(windows) == 1 and None not in windows:
            (only,) = windows
            assert only is not None
            if only.between[0] < only.between[1]:
                note = "it has time windows: all actions keep to them, and hours are the account's"
                self.did(("nodes",), "windows of sends", Verdict.approximated, "timeWindows", note=note)
                return _hours(only)
        if windows - {None}:
            note = "a workflow has time windows that all its actions keep to, within one day"
            self.did(("nodes",), "windows of sends", Verdict.left_out, note=note)
        return []


def _hours(window: Window) -> list[dict[str, Any]]:
    start, end = window.between
    last = {"hour": 23, "minute": 59} if end == "24:00" else clock_of(end)
    return [
        {"day": _DAYS[day], "startTime": clock_of(start), "endTime": last} for day in WEEKDAYS if day in window.days
    ]


def _led(connection: dict[str, str]) -> dict[str, Any]:
    return {"connection": connection} if connection else {}


def _minutes(length: timedelta) -> str:
    minutes, rest = divmod(length, _MINUTE)
    if rest:
        raise Unsaid("its delays are of whole minutes")
    return str(minutes)
