"""Our journeys as the journey specification of Journey Builder, as far as it can say them."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from functools import partial
from math import ceil
from typing import Any, Final

from journeylab.conditions import AwaitedEvent, parse, parse_awaited
from journeylab.expressions import And, Attribute, MessageEvent, Missing
from journeylab.importers.outcomes import Outcome, Verdict
from journeylab.importers.unsaid import Unsaid
from journeylab.journey import (
    MARKETING,
    WEEKDAYS,
    Call,
    Decide,
    Emit,
    Exit,
    Journey,
    Node,
    Send,
    Set,
    Split,
    Wait,
    WaitFor,
    WaitUntil,
    Window,
)

from .entry import REENTRY
from .keys import asked_message, channel_of, is_open
from .specification import Specification
from .splits import STATISTICS
from .values import awake, clock_text, percent, span_settings, value_text, zone_text

__all__ = ["written"]

_MODES: Final = {ours: theirs for theirs, ours in REENTRY.items()}
_STATISTICS: Final = {what: number for number, what in STATISTICS.items()}
_WHOLE: Final = {
    "cap": "a journey has no cap; ask with a split by frequency",
    "priority": "journeys do not wait for each other",
    "unit": "chance is drawn for contacts",
    "max_visits": "there are no loops",
}
_EXECUTED: Final = {"execute": {"url": ""}}
"""The arguments of a custom activity, which is where somebody has to answer."""
_OPENED: Final = "a click counts as an open there"
_DRAWN: Final = "chance is drawn anew at each entry there, and is nowhere written down (rule 22)"


def written(journey: Journey) -> tuple[dict[str, Any], list[Outcome]]:
    """A journey as the API takes it to make a new one.

    E-mails, events and fields have our names; they have to be there, or be put in.

    Raises:
        DefinitionError: with every part that it cannot have in any way.
    """
    writing = _Writing(journey)
    return writing.done(writing.journey())


class _Writing(Specification):
    def journey(self) -> dict[str, Any]:
        journey = self.source
        self.leaves_out(_WHOLE)
        for name, target in self.keys.backwards():
            self.cannot(("nodes", name), f"a way back, to {target}")
        if journey.quiet_hours is not None:
            note = "they are the delivery window of each e-mail without one of its own, by the clock of the account"
            self.did(("quiet_hours",), "quiet_hours", Verdict.approximated, "throttleOpens, throttleCloses", note=note)
        if journey.timezone != "UTC":
            note = "it is that of waits for a time of day; a journey has none"
            self.did(("timezone",), f"timezone {journey.timezone}", Verdict.approximated, "timeZone", note=note)
        for name in journey.segments:
            note = "it is written out in each filter that names it"
            self.did(("segments", name), f"segment {name}", Verdict.mapped, "criteria", note=note)
        first = self._holdout()
        if first is None:
            self.cannot(("nodes",), "a journey that ends where it begins")
        trigger = self.within(("trigger",), self._trigger) or {}
        for name, node in journey.nodes.items():
            self.within(("nodes", name), partial(self._node, name, node))
        goals, exits = self._exits()
        if journey.purpose != MARKETING:
            note = "choose a send classification for it: who gets its messages rests on that"
            self.did(("purpose",), "purpose", Verdict.approximated, "triggeredSend", note=note)
        event = trigger.get("eventDefinitionKey", "")
        return {
            "key": journey.journey,
            "name": journey.title or journey.journey,
            "description": journey.description,
            "workflowApiVersion": 1.0,
            "entryMode": self._mode(),
            "definitionType": "Multistep",
            "triggers": [trigger | {"outcomes": [{"key": "start", "next": first}]}],
            "activities": self.activities,
            "goals": goals,
            "exits": exits,
            "defaults": {"email": [f'{{{{Event.{event}."EmailAddress"}}}}']},
            "metaData": {"dataSource": "ContactsModel"},
        }

    # Entering and leaving

    def _mode(self) -> str:
        reentry = self.source.trigger.reentry
        if isinstance(reentry, timedelta):
            note = "a contact may enter again once the last entry is over, however long that is ago"
            self.did(("trigger", "reentry"), "reentry", Verdict.approximated, "entryMode", note=note)
            return "SingleEntryAcrossAllVersions"
        return _MODES[reentry]

    def _trigger(self) -> dict[str, Any]:
        trigger, notes = self.source.trigger, []
        if trigger.date is not None:
            raise Unsaid("a journey that begins at a date; let an automation fill a data extension on that day")
        if trigger.event is not None:
            kind, key = "APIEvent", trigger.event
            if "." in key:
                raise Unsaid(f"the key of an event has no period, and this is {key!r}")
            tree = None if trigger.where is None else parse(trigger.where, scope="event").tree
        else:
            kind, key = "ContactAudience", f"ContactAudience-{trigger.segment}"
            segment = self.source.known_segments[str(trigger.segment)]
            if segment.condition is None:
                raise Unsaid(f"the segment {trigger.segment} has weights")
            tree = parse(segment.condition, in_segment=True).tree
            if trigger.where is not None:
                tree = And((tree, parse(trigger.where).tree))
            notes.append("set the schedule of the entry source; the audience is who is in the segment")
        settings = {} if tree is None else {"criteria": self.criteria(tree, key, notes)}
        self.noted(("trigger",), f"trigger on {trigger.event or trigger.segment}", notes, kind)
        return {
            "key": "TRIGGER", "name": trigger.event or str(trigger.segment), "type": kind, "eventDefinitionKey": key,
            "arguments": {}, "configurationArguments": settings, "metaData": {"eventDefinitionKey": key},
        }  # fmt: skip

    def _holdout(self) -> str | None:
        """The key of the first activity; a holdout is a split before it."""
        first, share = self.keys.to(self.source.first), self.source.holdout
        if not share or first is None:
            return first
        key = self.keys.new("RANDOMSPLITV2")
        held = self.within(("holdout",), partial(percent, share))
        ways = [
            self.way_to(first, "Treated", percentage=100 - (held or 0)),
            self.way_to(None, "Held out", percentage=held),
        ]
        self.add(key, "Holdout", "RANDOMSPLIT", ways)
        note = f"who is held out leaves at once there, instead of going on without messages; {_DRAWN}"
        self.did(("holdout",), "holdout", Verdict.approximated, key, note=note)
        return key

    def _exits(self) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
        """Goals and exit criteria, which ask fields there, after each wait."""
        goals: list[dict[str, Any]] = []
        exits: list[dict[str, Any]] = []
        for i, one in enumerate(self.source.exit_when):
            settings = {"criteria": self.criteria(Attribute(one.event), None, [])}
            note = (
                f"it is asked after each wait there: whether the field {one.event} is true, which somebody has to set "
                "at the event; here the event ends the entry at once (rule 14)"
            )
            is_goal = one.goal and not goals
            if one.goal and not is_goal:
                note = f"there is one goal, and this is an exit; {note}"
            made = {"key": "GOAL" if is_goal else f"EXIT-{i + 1}", "name": one.event, "type": "ContactDecision"}
            made_of = goals if is_goal else exits
            made_of.append(made | {"configurationArguments": settings, "metaData": {"isExitCriteria": True}})
            what = f"{'goal' if one.goal else 'exit'} {one.event}"
            self.did(("exit_when", i), what, Verdict.approximated, "goals" if is_goal else "exits", note=note)
        return goals, exits

    # Nodes

    def _node(self, name: str, node: Node) -> None:
        place = ("nodes", name)
        if isinstance(node, Exit):
            note = "" if node.exit == "finished" else "the end of a path has no text there"
            self.noted(place, f"exit {node.exit!r}", [note])
            return
        if is_open(node):
            self.did(place, "wait_until", Verdict.mapped, note="a window that is always open only leads on")
            return
        if name in self.keys.extends.values():
            return
        match node:
            case Send():
                self._send(place, name, node)
            case Wait():
                self._wait(place, name, node)
            case WaitUntil():
                self._wait_until(place, name, node)
            case WaitFor():
                self._wait_for(place, name, node)
            case Decide():
                self._decide(place, name, node)
            case Split():
                ways = [self.way(arm, arm, percentage=percent(share)) for arm, share in node.split.items()]
                self.add(self.keys.heads[name], name, "RANDOMSPLIT", ways)
                self.did(place, "split", Verdict.approximated, self.keys.heads[name], note=_DRAWN)
            case Set():
                notes: list[str] = ["put the ids of the data extension and of its fields in"]
                fields = [
                    {"dataExtensionId": "", "field": field, "value": value_text(value, notes.append)}
                    for field, value in node.set.items()
                ]
                self.add(
                    self.keys.heads[name], name, "UPDATECONTACTDATA", [self.way(node.next)],
                    arguments={"activityData": {"updateContactFields": fields}},
                )  # fmt: skip
                self.noted(place, "set", notes, self.keys.heads[name])
            case Emit():
                what, key = f"emit {node.emitted.event}", self.keys.heads[name]
                self.add(key, what, "REST", [self.way(node.next)], arguments=_EXECUTED)
                note = "a custom activity that somebody has to write, which fires the event"
                self.did(place, what, Verdict.approximated, key, note=note)
            case Call():
                self._call(place, name, node)
            case _:
                raise Unsaid("a journey inside of another one; write its nodes out")

    def _send(self, place: tuple[str, ...], name: str, node: Send) -> None:
        notes, becomes = [], [self.keys.heads[name]]
        key = self.keys.heads[name]
        if node.best is not None:
            within = min(node.best.within or node.expires, timedelta(days=7))
            hours = max(1, ceil(within / timedelta(hours=1)))
            key = self.keys.emails[name]
            becomes.append(key)
            settings = {"params": {"slidingWindowHours": hours, "enableRandomTime": False}}
            self.add(
                self.keys.heads[name], f"Send time of {name}", "STOWAIT", [self.way_to(key)],
                configurationArguments=settings,
            )  # fmt: skip
            notes.append("the hour is Einstein's, and none is explored (rule 17)")
        opens, closes = self._delivery(node, notes)
        send = {"emailId": "", "emailSubject": "", "throttleOpens": opens, "throttleCloses": closes}
        ways = [self.way(node.next)]
        self.add(
            key, node.send, "EMAILV2", ways,
            configurationArguments={"triggeredSend": send, "triggeredSendKey": node.send},
        )  # fmt: skip
        if node.skipped not in (None, node.next):
            notes.append("a message that is skipped leads on like one that is sent")
        if node.expires != Send.model_fields["expires"].get_default():
            notes.append("messages do not expire")
        self.noted(place, f"send {node.send}", notes, *becomes)

    def _delivery(self, node: Send, notes: list[str]) -> tuple[str, str]:
        """The delivery window of an e-mail, which also stands for quiet hours."""
        best, at = node.best, node.at
        window = best.window if best is not None else at if isinstance(at, Window) else None
        quiet = self.source.quiet_hours
        if window is not None and {*window.days} != {*WEEKDAYS}:
            notes.append("it is sent on all days of the week")
        between = window.between if window is not None else awake(quiet)
        if window is not None and quiet is not None:
            notes.append("quiet hours are left out, as it has a window of its own")
        if between is None or between == ("00:00", "24:00"):
            return clock_text("00:00"), clock_text("00:00")
        notes.append("its window is by the clock of the account, not by the contact's (rule 3)")
        return clock_text(between[0]), clock_text(between[1])

    def _wait(self, place: tuple[str, ...], name: str, node: Wait) -> None:
        minutes = node.wait / timedelta(minutes=1)
        if minutes != int(minutes):
            raise Unsaid("a wait of less than whole minutes")
        notes: list[str] = []
        after = self.keys.extends.get(name)
        until = None if after is None else self.source.nodes[after]
        target = node.next if not isinstance(until, WaitUntil) else until.next
        settings = span_settings(int(minutes))
        if isinstance(until, WaitUntil):
            self._clocked(until, settings, notes)
            self.noted(("nodes", str(after)), "wait_until", notes, self.keys.heads[name])
        self._waits(self.keys.heads[name], name, target, settings, extended=until is not None)
        self.did(place, "wait", Verdict.mapped, self.keys.heads[name])

    def _waits(self, key: str, name: str, target: str, settings: dict[str, Any], *, extended: bool = False) -> None:
        about = {"isConfigured": True, "isExtended": extended}
        self.add(key, name, "WAIT", [self.way(target)], configurationArguments=settings, metaData=about)

    def _clocked(self, node: WaitUntil, settings: dict[str, Any], notes: list[str]) -> None:
        """Puts a time of day, and the zone whose clock shows it, into the settings of a wait."""
        until, zone = node.wait_until, zone_text(self.source.timezone)
        if until.time is not None and until.time.count(":") > 1:
            raise Unsaid(f"a time of day with seconds, {until.time}")
        if until.date is None and {*until.days} != {*WEEKDAYS}:
            raise Unsaid("a wait until a day of the week")
        settings |= {"specifiedTime": until.time or "00:00", "timeZone": zone}
        notes.append(f"the clock is that of {zone}, and not the contact's (rule 3)")

    def _wait_until(self, place: tuple[str, ...], name: str, node: WaitUntil) -> None:
        until = node.wait_until
        notes: list[str] = []
        key = self.keys.heads[name]
        if until.date is None:
            if until.time is None:
                raise Unsaid("a wait until a window opens")
            settings = span_settings(1)
            self._clocked(node, settings, notes)
            self._waits(key, name, node.next, settings, extended=True)
            self.noted(place, "wait_until", [*notes, "it begins with a wait of one minute"], key)
            return
        if node.otherwise not in (None, node.next):
            criteria = {"path_1": self.criteria(Missing(Attribute(until.date)), None, notes)}
            asked, key = key, self.keys.new("WAITBYATTRIBUTE")
            ways = [
                {"key": "path_1", **self.way(str(node.otherwise), "No date")},
                {"key": "remainder_path", **self.way_to(key, "Remainder")},
            ]
            self.add(
                asked, f"{name} known", "MULTICRITERIADECISION", ways, configurationArguments={"criteria": criteria}
            )
        minutes = until.offset / timedelta(minutes=1)
        if minutes != int(minutes):
            raise Unsaid("an offset of less than whole minutes")
        settings = span_settings(int(minutes)) if minutes else {}
        settings["waitEndDateAttributeExpression"] = f"{{{{Contact.Attribute.{until.date}}}}}"
        self._clocked(node, settings, notes)
        if minutes:
            notes.append("look whether its offset is before or after the date")
        self._waits(key, name, node.next, settings)
        self.noted(place, "wait_until", notes, key)

    def _wait_for(self, place: tuple[str, ...], name: str, node: WaitFor) -> None:
        branches, key = node.branches(), self.keys.heads[name]
        notes: list[str] = []
        if len(node.awaited) > 1:
            raise Unsaid("a wait for several events; wait for one after the other")
        if node.since is not None:
            raise Unsaid("a wait that counts events from before it (`since`)")
        minutes = node.within / timedelta(minutes=1)
        if minutes != int(minutes):
            raise Unsaid("a time-out of less than whole minutes")
        found, target = parse_awaited(node.awaited[0]), branches[0][1]
        if isinstance(found, AwaitedEvent):
            settings = span_settings(int(minutes)) | {"waitForEventKey": found.event}
            if found.where is not None:
                settings["criteria"] = self.criteria(found.where, found.event, notes)
            ways = [self.way(target, "Event", when=True), self.way(node.otherwise, "No event", when=False)]
            self.add(key, name, "WAITUNTILAPI", ways, configurationArguments=settings)
            notes.append("no public page shows how this activity is written; look at it in the editor")
            self.noted(place, "wait_for", notes, key)
            return
        asked = self.keys.new("ENGAGEMENTSPLITV2")
        settings = span_settings(int(minutes))
        self.add(key, f"{name} wait", "WAIT", [self.way_to(asked)], configurationArguments=settings)
        event = MessageEvent(found.kind, found.node, found.link)
        self._engagement(asked, name, event, [found.link] if found.link else [], target, node.otherwise)
        notes.append("contacts wait for all of the time there, and are then asked; here they go on at once (rule 9)")
        self.noted(place, "wait_for", [*notes, _OPENED if found.kind == "opened" else ""], key, asked)

    def _engagement(self, key: str, name: str, of: MessageEvent, links: Sequence[str], yes: str, no: str) -> None:
        if of.kind not in _STATISTICS:
            raise Unsaid("a split by other than opens, clicks and bounces")
        if of.node not in self.keys.emails:
            raise Unsaid(f"a split by a message of another journey, {of.node}")
        settings = {
            "refActivityCustomerKey": self.keys.emails[of.node],
            "statsTypeId": _STATISTICS[of.kind],
            "engagementUrls": {"urls": list(links)},
        }
        ways = [self.way(yes, "Yes", when=True), self.way(no, "No", when=False)]
        self.add(key, name, "ENGAGEMENTDECISION", ways, configurationArguments=settings)

    def _decide(self, place: tuple[str, ...], name: str, node: Decide) -> None:
        key, asked, notes = self.keys.heads[name], asked_message(node), list[str]()
        if asked is not None:
            of, links = asked
            self._engagement(key, name, of, links, node.decide[0].go, node.otherwise)
            alone = isinstance(parse(node.decide[0].condition).tree, MessageEvent)
            self.noted(place, "decide", [_OPENED] if alone and of.kind == "opened" else [], key)
            return
        event, criteria, ways = self.source.trigger.event, {}, []
        for i, clause in enumerate(node.decide):
            criteria[f"path_{i + 1}"] = self.criteria(parse(clause.condition).tree, event, notes)
            ways.append({"key": f"path_{i + 1}", **self.way(clause.go, clause.go)})
        ways.append({"key": "remainder_path", **self.way(node.otherwise, "Remainder")})
        notes.append("fields have the names of our attributes; put those of their data extensions before them")
        self.add(key, name, "MULTICRITERIADECISION", ways, configurationArguments={"criteria": criteria})
        self.noted(place, "decide", notes, key)

    def _call(self, place: tuple[str, ...], name: str, node: Call) -> None:
        key, (kind, label) = self.keys.heads[name], channel_of(node.call)
        notes = ["put in what is sent, or where to"]
        if node.failed not in (None, node.next):
            notes.append("what fails leads on like what does not")
        said = {"arguments": _EXECUTED} if kind == "REST" else {}
        self.add(key, label, kind, [self.way(node.next)], **said)
        self.noted(place, f"call {node.call}", notes, key)
