"""Dittofeed's journeys as ours."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from typing import Any, Final

from journeylab.importers.draft import Draft, name_of
from journeylab.importers.export import Export, Part
from journeylab.importers.outcomes import NodeType, Verdict
from journeylab.importers.spans import clock_time, span

from .segments import Segments

__all__ = ["NODE_TYPES", "journeys_of"]

NODE_TYPES: Final = (
    NodeType(
        "EntryNode", "Segment entry", "trigger",
        Verdict.approximated, "a segment that one event brings about becomes that event, any other is looked at every "
        "hour (rule 11); who is in it when the journey starts enters there at once",
    ),
    NodeType("EventEntryNode", "Event entry", "trigger"),
    NodeType(
        "EventEntryNode/key", "Event entry with a key", "trigger",
        Verdict.approximated, "entries run side by side, also those of one key (rule 12); there, one of each key",
    ),
    NodeType("DelayNode/Second", "Delay of seconds", "wait"),
    NodeType(
        "DelayNode/LocalTime", "Delay until a local time", "wait_until",
        Verdict.approximated, "the clock and the weekday are the contact's, also when clocks change (rule 3); there, "
        "the offset is today's and the weekday is that of UTC",
    ),
    NodeType("DelayNode/UserProperty", "Delay until a date of the user", "wait_until"),
    NodeType(
        "WaitForNode", "Wait for", "decide, wait_for",
        Verdict.approximated, "who is in a segment goes on at once; one that a single event brings about is awaited as "
        "this event (rule 8), any other is asked for once more at the time-out",
    ),
    NodeType("SegmentSplitNode", "Segment split", "decide"),
    NodeType(
        "RandomCohortNode", "Random cohort", "split",
        Verdict.approximated, "the arm is a keyed hash of the contact, the same at every re-entry (rule 22); there, "
        "chance is drawn anew",
    ),
    NodeType(
        "MessageNode/Email", "E-mail", "send",
        Verdict.approximated, "a withdrawal ends the entry at once (rule 14); there, the next message is skipped",
    ),
    NodeType("MessageNode/Sms", "SMS", "call", Verdict.approximated, "it is sent by an outside call"),
    NodeType("MessageNode/MobilePush", "Push", "call", Verdict.approximated, "it is sent by an outside call"),
    NodeType(
        "MessageNode/Webhook", "Webhook", "call", Verdict.approximated, "the call has our body, not the template's"
    ),
    NodeType(
        "RateLimitNode", "Rate limit", "exit",
        Verdict.approximated, "its schema has no limit, and its executor ends the run here; write a `cap` (rule 18)",
    ),
    NodeType(
        "ExperimentSplitNode", "Experiment split", "exit",
        Verdict.approximated, "its schema has no arms, and its executor ends the run here; write a `split`",
    ),
    NodeType("ExitNode", "Exit", "exit"),
)  # fmt: skip
_DAYS: Final = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")
_NODES: Final = {
    "DelayNode": "_delay", "WaitForNode": "_wait_for", "SegmentSplitNode": "_segment_split",
    "RandomCohortNode": "_cohort", "MessageNode": "_message", "RateLimitNode": "_ends", "ExperimentSplitNode": "_ends",
}  # fmt: skip
_LABELS: Final = {
    "DelayNode": "wait", "RandomCohortNode": "cohort", "RateLimitNode": "limit", "ExperimentSplitNode": "experiment",
}  # fmt: skip
_EXIT: Final = "ExitNode"
_SKIPPED: Final = "message skipped"


def journeys_of(export: Export) -> list[Draft]:
    """The journeys of an export: what the API lists (`journeys`), one resource, or one definition."""
    top = export.top
    others = [export.part_of(data, (name,)) for name, data in export.files.items() if isinstance(data, dict)]
    everything = [top, *others]

    def listed(*keys: str) -> list[Part]:
        return [one for part in everything for key in keys if key in part for one in part.parts(key)]

    def names(*keys: str) -> dict[str, str]:
        found = {}
        for one in listed(*keys):
            found[one.text("id")] = one.text("name")
            one.skip(*one.data)  # what is in a template is no part of a journey
        return found

    templates = names("templates", "messageTemplates")
    groups = names("subscriptionGroups")
    properties = names("userProperties")
    segments = Segments(listed("segments"), templates, groups)
    if "journeys" in top or any("journeys" in one for one in others):
        resources = listed("journeys")
    elif "definition" in top or "draft" in top:
        resources = [top]
    else:
        resources = []
        if "entryNode" in top:
            return [_Reading(export, top, top, segments, templates, groups, properties).draft]
        raise top.malformed("there is neither `journeys` nor a `definition` with an `entryNode`")
    drafts = []
    for one in resources:
        with export.noting():
            definition = _definition(one)
            drafts.append(_Reading(export, one, definition, segments, templates, groups, properties).draft)
    return drafts


def _definition(resource: Part) -> Part:
    """What runs of a journey; of one that never ran, its draft."""
    found = resource.optional_part("definition") or resource.optional_part("draft")
    if found is None:
        raise resource.malformed("this journey has neither a `definition` nor a `draft`")
    return found


class _Reading:
    """One journey that is being read."""

    def __init__(
        self,
        export: Export,
        resource: Part,
        definition: Part,
        segments: Segments,
        templates: dict[str, str],
        groups: dict[str, str],
        properties: dict[str, str],
    ) -> None:
        self._export, self._segments = export, segments
        self._templates, self._groups, self._properties = templates, groups, properties
        self._resource = resource
        self.draft = draft = Draft(export, NODE_TYPES, resource.text("name", "journey"), resource)
        status = resource.text("status", "Running")
        if status == "Broadcast":
            draft.left_out(
                resource, "broadcast", "it goes to everybody of a segment once, and no journey here does that"
            )
        nodes = definition.parts("nodes", needed=True)
        for node in nodes:
            with export.noting():
                draft.name(node.text("id"), self._label(node))
        self._known = {node.text("id"): node for node in nodes if "id" in node}
        self._purposes: set[str] = set()
        if (ending := definition.optional_part("exitNode")) is not None:
            ending.choice("type", (_EXIT,), "exit nodes")
            draft.did(ending, _EXIT, "", draft.exit())
        for node in nodes:
            with export.noting():
                self._node(node)
        with export.noting():
            entry = definition.part("entryNode")
            draft.fields["trigger"] = self._trigger(entry)
            draft.first = self._goes(entry, "child")
        self._purpose()
        if export.timezone is not None:
            draft.fields["timezone"] = export.timezone

    def _trigger(self, entry: Part) -> dict[str, Any]:
        kind = entry.choice("type", ("EntryNode", "EventEntryNode"), "entry nodes")
        again = self._resource.flag("canRunMultiple", default=False)
        if kind == "EventEntryNode":
            event, key = entry.text("event"), entry.optional("key")
            reentry = "never" if not again else "always" if key else "after_exit"
            self.draft.did(entry, f"{kind}/key" if key else kind, event, "trigger")
            return {"event": event, "reentry": reentry}
        identity = entry.text("segment")
        reentry = "after_exit" if again and entry.flag("reEnter", default=False) else "never"
        self.draft.did(entry, kind, self._segments.title(identity), "trigger")
        found = self._segments.event(self.draft, identity)
        if found is not None:
            event, where = found
            filtered = {} if where is None else {"where": self.draft.condition(where, entry)}
            return {"event": event, **filtered, "reentry": reentry}
        return {"segment": self._segments.name(self.draft, identity, entry), "every": "1h", "reentry": reentry}

    def _goes(self, part: Part, key: str) -> str:
        """The node that a child is; a journey ends at the exit node."""
        target = part.text(key)
        if target == _EXIT:
            return self.draft.exit()
        if target not in self._known:
            raise part.malformed(f"there is no node {target!r}", key)
        return self.draft.name(target)

    def _is_in(self, identity: str, user: Part) -> str:
        return f'segment("{self._segments.name(self.draft, identity, user)}") >= 0.5'

    def _node(self, node: Part) -> None:
        kind = node.choice("type", _NODES, "nodes")
        do: Callable[[Part, str], None] = getattr(self, _NODES[kind])
        do(node, self.draft.name(node.text("id")))

    def _delay(self, node: Part, name: str) -> None:
        variant = node.part("variant")
        kind = variant.choice("type", ("Second", "LocalTime", "UserProperty"), "variants of a delay")
        onward = self._goes(node, "child")
        but = ""
        if kind == "Second":
            seconds = variant.number("seconds")
            if seconds <= 0:
                self.draft.passes(name, onward)
                self.draft.did(node, "DelayNode/Second", "", but="it waits for nothing, and has no node here")
                return
            self.draft.node(name, node, wait=span(variant, "seconds", seconds, "second"), next=onward)
        elif kind == "LocalTime":
            hour, minute = variant.whole("hour"), variant.whole("minute", 0)
            until: dict[str, Any] = {"time": clock_time(variant, hour, minute)}
            days = [int(one) for one in variant.values("allowedDaysOfWeek")]
            if any(not 0 <= one <= 6 for one in days):
                raise variant.malformed("days of the week are 0 (Sunday) to 6 (Saturday)", "allowedDaysOfWeek")
            if days and len({*days}) < 7:
                until["days"] = [_DAYS[one] for one in sorted({*days}, key=lambda day: (day - 1) % 7)]
            zone = variant.optional("defaultTimezone")
            if zone is not None:
                self.draft.fields["timezone"] = zone
            elif self._export.timezone is None:
                but = "the zone of contacts without one is UTC; convert with --timezone for another"
            self.draft.node(name, node, wait_until=until, next=onward)
        else:
            identity = variant.text("userProperty")
            until = {"date": self.draft.attribute(self._properties.get(identity, identity), variant)}
            offset = variant.number("offsetSeconds", 0)
            if offset:
                before = variant.choice("offsetDirection", ("before", "after"), "directions", "after") == "before"
                until["offset"] = span(variant, "offsetSeconds", -offset if before else offset, "second")
            self.draft.node(name, node, wait_until=until, next=onward)
        self.draft.did(node, f"DelayNode/{kind}", "", name, but=but)

    def _wait_for(self, node: Part, name: str) -> None:
        draft = self.draft
        children = [
            (child.text("segmentId"), self._goes(child, "id"), child) for child in node.parts("segmentChildren")
        ]
        late = self._goes(node, "timeoutChild")
        within = node.number("timeoutSeconds")
        if within <= 0 or not children:
            draft.passes(name, late)
            draft.did(node, "WaitForNode", "", but="it waits for nothing, and has no node here")
            return
        lasts = span(node, "timeoutSeconds", within, "second")
        # Who is in a segment already goes on at once.
        clauses = [{"if": self._is_in(one, child), "go": to} for one, to, child in children]
        wait = draft.free(f"{name}_waits")
        draft.node(name, node, decide=clauses, otherwise=wait)
        awaited = [(self._segments.awaited(draft, one), to) for one, to, _ in children]
        events = [{"await": event, "go": to} for event, to in awaited if event is not None]
        asked = [clause for clause, (event, _) in zip(clauses, awaited, strict=True) if event is None]
        but = ""
        if asked:
            again = draft.free(f"{name}_again")
            draft.node(again, node, decide=asked, otherwise=late)
            late = again
            but = f"{len(asked)} of {len(children)} segments are not brought about by one event"
        if events:
            draft.node(wait, node, wait_for=events, within=lasts, otherwise=late)
        else:
            draft.node(wait, node, wait=lasts, next=late)
        draft.did(node, "WaitForNode", "", name, wait, but=but)

    def _segment_split(self, node: Part, name: str) -> None:
        variant = node.part("variant")
        variant.choice("type", ("Boolean",), "variants of a split")
        identity = variant.text("segment")
        clause = {"if": self._is_in(identity, variant), "go": self._goes(variant, "trueChild")}
        self.draft.node(name, node, decide=[clause], otherwise=self._goes(variant, "falseChild"))
        self.draft.did(node, "SegmentSplitNode", self._segments.title(identity), name)

    def _cohort(self, node: Part, name: str) -> None:
        arms = [
            (
                child.text("name", f"{name} {i + 1}"),
                Fraction(str(child.number("percent"))) / 100,
                self._goes(child, "id"),
            )
            for i, child in enumerate(node.parts("children", needed=True))
        ]
        self.draft.arms(name, node, arms)
        self.draft.did(node, "RandomCohortNode", "", name)

    def _message(self, node: Part, name: str) -> None:
        variant = node.part("variant")
        channel = variant.choice("type", ("Email", "Sms", "MobilePush", "Webhook"), "channels")
        template = variant.text("templateId")
        title, onward = self._templates.get(template, template), self._goes(node, "child")
        variant.skip("providerOverride", "senderOverride")
        goes_on = node.flag("skipOnFailure", default=False)
        failed = None if goes_on else self.draft.exit(_SKIPPED)
        but = []
        if channel == "Email":
            message = self.draft.message(title, template)
            self.draft.node(name, node, send=message, next=onward, skipped=failed)
            group = node.optional("subscriptionGroupId")
            if group is not None:
                self._purposes.add(self._groups.get(group, group))
        else:
            service = name_of(f"{channel} {title}", "service")
            self.draft.node(name, node, call=service, next=onward, failed=failed)
            but.append(f"its name is {service}")
            node.skip("subscriptionGroupId")
        if node.raw("syncProperties"):
            but.append("properties are always those of the instant of the send (rule 6)")
        if node.raw("retryCount") is not None:
            but.append("how often a message is tried is a setting of the sender")
        self.draft.did(node, f"MessageNode/{channel}", self._label(node), name, but="; ".join(but))

    def _ends(self, node: Part, name: str) -> None:
        kind = node.text("type")
        self.draft.node(name, node, exit="rate limit" if kind == "RateLimitNode" else "experiment")
        self.draft.did(node, kind, "", name)
        node.skip("child")

    def _purpose(self) -> None:
        draft = self.draft
        if len(self._purposes) == 1:
            draft.fields["purpose"] = name_of(next(iter(self._purposes)), "marketing")
            note = "consent to it is asked for by the purpose of the whole journey (rule 34)"
            group = next(iter(self._purposes))
            draft.note(self._resource, f"subscription group {group!r}", Verdict.mapped, "purpose", note=note)
        elif self._purposes:
            groups = ", ".join(sorted(map(repr, self._purposes)))
            note = f"messages are of the groups {groups}, and a journey has one purpose here: marketing (rule 34)"
            draft.note(self._resource, "subscription groups", Verdict.approximated, "purpose", note=note)
        elif any("send" in node for node in draft.nodes.values()):
            note = "no message has one, so that nobody's consent was asked; here the purpose is marketing (rule 34)"
            draft.note(self._resource, "subscription group", Verdict.approximated, "purpose", note=note)

    def _label(self, node: Part) -> str:
        """What people call a node."""
        named, kind = node.optional("name"), node.text("type")
        if named is not None:
            return named
        match kind:
            case "MessageNode":
                template = node.part("variant").text("templateId")
                return self._templates.get(template, template)
            case "SegmentSplitNode":
                return f"is {self._segments.title(node.part('variant').text('segment'))}"
            case "WaitForNode":
                titles = [self._segments.title(one.text("segmentId")) for one in node.parts("segmentChildren")]
                return f"for {' or '.join(titles)}"
        return _LABELS.get(kind, kind)
