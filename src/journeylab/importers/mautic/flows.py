"""One campaign as journeys: its main one, and one for each branch that goes on side by side.

A branch of its own begins by an event that the journey before it emits (rule 13), at the same instant. What ends the
campaign for a contact ends all of them, by an event, too.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from datetime import timedelta
from typing import Any, Final

from journeylab.durations import duration_text
from journeylab.expressions import (
    Attribute,
    MessageEvent,
    Tree,
)
from journeylab.importers.draft import Draft, name_of
from journeylab.importers.export import Export, Part
from journeylab.importers.moments import wait_until_instant
from journeylab.importers.outcomes import Verdict

from .actions import Actions, do_not_contact
from .branches import branches, members
from .comparisons import any_of
from .conditions import Asking
from .entities import Entities
from .events import Event, EventTree
from .nodetypes import NODE_TYPES
from .responses import Responses
from .segments import Segments
from .sources import trigger_of

__all__ = ["Campaign"]

_LONG: Final = timedelta(days=365)
_SOON: Final = timedelta(minutes=15)
_LEFT: Final = "left"


class _Flow:
    """One of the journeys that a campaign becomes."""

    def __init__(self, draft: Draft, roots: Sequence[Event]) -> None:
        self.draft, self.roots = draft, tuple(roots)
        self.members = members(roots)
        self.names: dict[tuple[str, str | None], str] = {}
        self.arrivals: dict[tuple[str, str | None, timedelta], str] = {}
        self.guards: dict[str, str] = {}


class Campaign:
    """A campaign that is being read.

    Attributes:
        drafts: the journeys that it becomes, its main one first.
    """

    def __init__(
        self,
        export: Export,
        part: Part,
        entities: Entities,
        tree: EventTree,
        sources: dict[str, list[str]],
        prefix: str,
    ) -> None:
        self._export, self._part, self._tree, self._prefix = export, part, tree, prefix
        title = part.text("name")
        self._main = Draft(export, NODE_TYPES, title, part)
        self.drafts = [self._main]
        events = tree.by_id.values()
        self._segments = Segments(self._main, entities, _changed_lists(events))
        self._asking = Asking(self._main, entities, self._segments)
        self._actions = Actions(self._main, entities, self._segments)
        self._responses = Responses(self._asking, self._actions)
        siblings = [tree.roots, *(one for event in events for one in event.children.values())]
        self._has_branches = any(branches(one).aside for one in siblings)
        self._asks_do_not_contact = any(
            one.type in ("lead.adddnc", "lead.removednc") and "email" in (one.config.data.get("channels") or ())
            for one in events
        )
        self._repeated = _repeated_emails(events)
        self._begun: dict[tuple[tuple[str, ...], timedelta], str] = {}
        self._left = self._named("left")
        self._events = {self._left}
        self._ends: set[str] = set()
        self._noted: set[str] = set()
        self._guarded: list[tuple[_Flow, Event, str, str]] = []
        self._jobs: deque[tuple[_Flow, Event, str | None]] = deque()
        flow = self._flow(self._main, tree.roots)
        with export.noting():
            self._main.fields["trigger"] = trigger_of(self._main, part, entities, self._segments, sources)
        self._main.first = self._start(flow, tree.roots, timedelta(0))
        while self._jobs:
            flow, event, after = self._jobs.popleft()
            with export.noting():
                self._event(flow, event, after)
        for flow, event, name, onward in self._guarded:
            self._guard(flow, event, name, onward)
        self._finish()

    # Beginning and end

    def _flow(self, draft: Draft, roots: Sequence[Event]) -> _Flow:
        if self._export.timezone is not None:
            draft.fields["timezone"] = self._export.timezone
        return _Flow(draft, roots)

    def _finish(self) -> None:
        main = self._main
        timings = [one.timing for one in self._tree.by_id.values()]
        if self._export.timezone is None and any(one.window or one.best for one in timings):
            note = (
                "hours are the contact's own; of contacts without a zone they are those of UTC here (rule 3), there "
                "those of the instance's default zone: convert with --timezone to say which"
            )
            main.note(self._part, "time zone", Verdict.approximated, "timezone", note=note)
        if any("send" in node for draft in self.drafts for node in draft.nodes.values()):
            note = (
                "who unsubscribes stays in the campaign there and is sent nothing; here the entry ends with the exit "
                "consent_withdrawn (rule 14)"
            )
            main.note(self._part, "unsubscribing", Verdict.approximated, note=note)
        for draft in self.drafts:
            draft.outcomes.sort(key=lambda one: [f"{key:06d}" if isinstance(key, int) else key for key in one.place])
            if self._ends:
                draft.fields["exit_when"] = [{"event": one} for one in sorted(self._ends)]

    # Branches

    def _start(self, flow: _Flow, siblings: Sequence[Event], waited: timedelta) -> str:
        """The node at which what follows an event begins; `waited` is how long was waited already."""
        if not siblings:
            return flow.draft.exit()
        planned = branches(siblings)
        before = [waited, *(max(waited, one.timing.delay) for one in planned.chain)]
        target: str | None = None
        for event, begun in reversed([*zip(planned.chain, before, strict=False)]):
            target = self._arrive(flow, event, begun, target)
        first = str(target)
        for group in reversed(planned.aside):
            name = flow.draft.free(name_of(f"begin {group[0].label}"))
            known = set(self._events)
            begins = self._begin(group, waited)
            flow.draft.node(name, group[0].part, emit=begins, next=first)
            first = name
            if begins in known:
                continue
            note = (
                f"what goes on side by side there is a journey of its own here, which begins by the event {begins} at "
                "the same instant (rule 13)"
            )
            flow.draft.note(group[0].part, f"branch {group[0].label!r}", Verdict.mapped, name, note=note)
        return first

    def _begin(self, roots: Sequence[Event], waited: timedelta, label: str = "") -> str:
        """The event that begins a journey of its own, which is made when it is first asked for."""
        key = (tuple(one.id for one in roots), waited)
        if key not in self._begun:
            label = label or roots[0].label
            event, n = self._named(label), 2
            while event in self._events:
                event, n = f"{self._named(label)}_{n}", n + 1
            self._events.add(event)
            self._begun[key] = event
            draft = Draft(self._export, NODE_TYPES, f"{self._main.fields['title']}: {label}", roots[0].part)
            draft.fields["trigger"] = {"event": event, "reentry": "always"}
            self.drafts.append(draft)
            flow = self._flow(draft, roots)
            draft.first = self._start(flow, roots, waited)
        return self._begun[key]

    def _named(self, label: str) -> str:
        return name_of(f"{self._prefix} {label}")

    # Arriving

    def _arrive(self, flow: _Flow, event: Event, waited: timedelta, after: str | None) -> str:
        """The node at which an event begins: a wait before it, or it itself; `after` is where a leaf leads."""
        key = (event.id, after, waited)
        if key in flow.arrivals:
            return flow.arrivals[key]
        draft, timing = flow.draft, event.timing
        name = self._name(flow, event, after)
        entry = flow.guards.get(name, name)
        if timing.window is not None:
            window = draft.free(f"hours_of_{name}")
            entry = draft.node(window, event.part, wait_until=dict(timing.window), next=entry)
        if timing.date is not None:
            entry = wait_until_instant(draft, draft.free(f"until_{name}"), event.part, timing.date, entry)
        if timing.delay > waited:
            wait = draft.free(f"before_{name}")
            entry = draft.node(wait, event.part, wait=duration_text(timing.delay - waited), next=entry)
        flow.arrivals[key] = entry
        return entry

    def _name(self, flow: _Flow, event: Event, after: str | None) -> str:
        """The name of an event's node, which is put on the list of what is to be made when it is first asked for."""
        key = (event.id, after)
        if key not in flow.names:
            flow.names[key] = flow.draft.free(name_of(event.label))
            if self._is_guarded(event):
                flow.guards[flow.names[key]] = flow.draft.free(f"may_{flow.names[key]}")
            self._jobs.append((flow, event, after))
        return flow.names[key]

    def _is_guarded(self, event: Event) -> bool:
        """Whether an e-mail may not be sent although its turn has come."""
        if event.type != "email.send":
            return False
        return self._asks_do_not_contact or (_is_marketing(event) and event.config.text("email") in self._repeated)

    def _guard(self, flow: _Flow, event: Event, name: str, onward: str) -> None:
        """Writes the node that passes over an e-mail: to those not to be contacted, and a marketing e-mail again."""
        guards: list[Tree] = []
        if _is_marketing(event) and self._has_branches:
            guards.append(Attribute(self._had(event)))
        elif _is_marketing(event):
            same = [
                other
                for (identity, _), other in flow.names.items()
                if self._tree.by_id[identity].type == "email.send"
                and self._tree.by_id[identity].config.text("email") == event.config.text("email")
            ]
            guards += [MessageEvent("sent", other) for other in same]
        if self._asks_do_not_contact:
            guards.append(Attribute(do_not_contact("email")))
        clause = {"if": flow.draft.condition(any_of(guards), event.part), "go": onward}
        flow.draft.node(flow.guards[name], event.part, decide=[clause], otherwise=name)

    def _had(self, event: Event) -> str:
        """The flag attribute that says that an e-mail was sent, in whichever of the journeys."""
        return name_of(f"had_{self._actions.message(event)}")

    # Events

    def _event(self, flow: _Flow, event: Event, after: str | None) -> None:
        name = flow.names[event.id, after]
        {"action": self._action, "decision": self._decision, "condition": self._condition}[event.kind](
            flow, event, name, after
        )

    def _did(self, flow: _Flow, event: Event, *becomes: str, but: Sequence[str] = (), without: str = "") -> None:
        if event.id not in self._noted:
            self._noted.add(event.id)
            differs = "; ".join([*but, *event.timing.notes])
            flow.draft.did(event.part, event.type, event.label, *becomes, but=differs, without=without)

    def _action(self, flow: _Flow, event: Event, name: str, after: str | None) -> None:
        draft = flow.draft
        onward = after or self._start(flow, event.children.get(None, []), timedelta(0))
        if event.type == "campaign.jump_to_event":
            target = self._jump(flow, event)
            draft.passes(name, target)
            self._did(flow, event, target)
            return
        if event.type == "campaign.addremovelead":
            self._membership(flow, event, name, onward)
            return
        said, but = self._actions.said(event)
        if event.type == "lead.deletecontact":
            onward = self._leave(flow, event, "deleted")
        if not said:
            draft.passes(name, onward)
            self._did(flow, event, without="it changes nothing")
            return
        if "send" in said:
            draft.messages[said["send"]] = self._main.messages[said["send"]]
        sent = onward
        if name in flow.guards and self._has_branches and _is_marketing(event):
            sent = draft.node(draft.free(f"had_{name}"), event.part, set={self._had(event): True}, next=onward)
        draft.node(name, event.part, **said, next=sent)
        if name in flow.guards:
            self._guarded.append((flow, event, name, onward))
        self._did(flow, event, *([flow.guards[name]] if name in flow.guards else []), name, but=but)

    def _jump(self, flow: _Flow, event: Event) -> str:
        identity = event.config.text("jumpToEvent")
        target = self._tree.by_id.get(identity)
        if target is None:
            raise event.config.malformed(f"there is no event {identity!r} to jump to", "jumpToEvent")
        if target.id in flow.members:
            return self._arrive(flow, target, timedelta(0), None)
        name = flow.draft.free(name_of(f"begin {target.label}"))
        begins = self._begin([target], timedelta(0))
        return flow.draft.node(name, event.part, emit=begins, next=flow.draft.exit())

    def _leave(self, flow: _Flow, event: Event, text: str = _LEFT) -> str:
        """The node that ends the campaign for a contact, its branches included."""
        if not self._has_branches:
            return flow.draft.exit(text)
        self._ends.add(self._left)
        name = flow.draft.free("leave")
        return flow.draft.node(name, event.part, emit=self._left, next=flow.draft.exit(text))

    def _membership(self, flow: _Flow, event: Event, name: str, onward: str) -> None:
        config, draft = event.config, flow.draft
        joins, leaves = (
            [str(one) for one in config.values(key)] if config.raw(key) else [] for key in ("addTo", "removeFrom")
        )
        if "this" in leaves and "this" in joins:
            onward = self._again(flow, event)
        elif "this" in leaves:
            onward = self._leave(flow, event)
        told = [("campaign_left", one) for one in leaves if one != "this"]
        told += [("campaign_joined", one) for one in joins if one != "this"]
        nodes = [name, *(draft.free(name) for _ in told[1:])] if told else []
        for node, (said, campaign), following in zip(nodes, told, [*nodes[1:], onward], strict=False):
            draft.node(node, event.part, emit={"event": said, "with": {"campaign": campaign}}, next=following)
        if not told:
            draft.passes(name, onward)
        self._did(flow, event, *(nodes or [onward]))

    def _again(self, flow: _Flow, event: Event) -> str:
        """Where a contact begins anew."""
        if flow.draft is self._main and not self._has_branches:
            return self._start(flow, self._tree.roots, timedelta(0))
        name = flow.draft.free("begin_again")
        begins = self._begin(self._tree.roots, timedelta(0), "again")
        self._ends.add(begins)
        return flow.draft.node(name, event.part, emit=begins, next=flow.draft.exit(_LEFT))

    def _condition(self, flow: _Flow, event: Event, name: str, _: str | None) -> None:
        asked, but = self._asking.condition(event, flow.draft)
        yes, no = (self._start(flow, event.children.get(path, []), timedelta(0)) for path in ("yes", "no"))
        clause = {"if": flow.draft.condition(asked, event.part), "go": yes}
        flow.draft.node(name, event.part, decide=[clause], otherwise=no)
        self._did(flow, event, name, but=but)

    def _decision(self, flow: _Flow, event: Event, name: str, _: str | None) -> None:
        draft, but = flow.draft, []
        red = event.children.get("no", [])
        yes = self._start(flow, event.children.get("yes", []), timedelta(0))
        parent = self._tree.by_id.get(event.parent or "")
        is_here = parent is not None and parent.type == "email.send" and parent.id in flow.members
        node = self._name(flow, parent, None) if parent is not None and is_here else None
        awaited, asked = self._responses.said(event, parent, node, draft)
        if red and all(one.timing.date is not None for one in red):
            ask = draft.free(f"{name}_then")
            no = self._start(flow, red, timedelta(0))
            draft.node(ask, event.part, decide=[{"if": one, "go": yes} for one in asked], otherwise=no)
            at = min(one.timing.date for one in red if one.timing.date is not None)
            wait_until_instant(draft, name, event.part, at, ask)
            self._did(flow, event, name, ask, but=["the red path has a date, and until then nothing is asked here"])
            return
        delays = [one.timing.delay for one in red if one.timing.date is None]
        if len(delays) < len(red):
            but.append("the date on the red path does not end the wait here, the delays on it do")
        within = min(delays, default=_LONG)
        if not red:
            but.append("there it waits without an end, here for 365 days (rule 8)")
        elif not within:
            within = _SOON
            but.append(
                "the red path has no delay: there it is taken by the next run of the cron job, here in 15 minutes"
            )
        no = self._start(flow, red, within)
        if len(awaited) == 1:
            draft.node(name, event.part, wait_for=awaited[0], within=duration_text(within), then=yes, otherwise=no)
        else:
            lines = [{"await": one, "go": yes} for one in awaited]
            draft.node(name, event.part, wait_for=lines, within=duration_text(within), otherwise=no)
        self._did(flow, event, name, but=but)


def _is_marketing(event: Event) -> bool:
    return event.config.text("email_type", "transactional") == "marketing"


def _changed_lists(events: Any) -> set[str]:
    """The ids of segments to which the campaign itself adds contacts."""
    found: set[str] = set()
    for event in events:
        if event.type == "lead.changelist":
            added = event.config.data.get("addToLists")
            found |= {str(one) for one in added} if isinstance(added, list) else {str(added)}
    return found


def _repeated_emails(events: Any) -> set[str]:
    """The ids of e-mails that one contact may come to twice."""
    sent = [str(one.config.data.get("email")) for one in events if one.type == "email.send"]
    if any(one.type in ("campaign.jump_to_event", "campaign.addremovelead") for one in events):
        return {*sent}
    return {one for one in sent if sent.count(one) > 1}
