"""Braze: the skeleton of a Canvas, as its details are exported: steps and ways, and neither criteria nor lengths.

Source: "Export Canvas details" of its API reference, which says that a step has the `type` of its component and not how
these are written; so types are told by their letters alone (`Audience Paths`, `audience_paths`).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from fractions import Fraction
from typing import Final, NamedTuple

from journeylab.expressions import Compare, Property, Text

from .draft import ANY_TIME, Draft, name_of
from .export import Export, Part
from .outcomes import NodeType, Verdict

__all__ = ["SYSTEM"]

_FLAGS: Final = "who goes which way is not in the export: a flag attribute for each says it, the first that is true"
NODE_TYPES: Final = (
    NodeType(
        "Message", "Message", "send, call",
        Verdict.approximated, "e-mail is a send; delivery settings (Intelligent Timing, quiet hours, validations) are "
        "not in the export, and each other channel is an outside call",
    ),
    NodeType(
        "Full Step", "Full step (before Canvas Flow)", "send, call",
        Verdict.approximated, "its delay and audience are not in the export; of several next steps, flags say which",
    ),
    NodeType(
        "Delay", "Delay", "wait_until",
        Verdict.approximated, "its length is not in the export: it waits for nothing until you write it",
    ),
    NodeType("Decision Split", "Decision split", "decide", Verdict.approximated, _FLAGS),
    NodeType("Audience Paths", "Audience paths", "decide", Verdict.approximated, _FLAGS),
    NodeType(
        "Action Paths", "Action paths", "decide",
        Verdict.approximated, f"{_FLAGS}; actions and their time are not in it: make it a `wait_for` (rules 8 and 10)",
    ),
    NodeType(
        "Experiment Paths", "Experiment paths", "split",
        Verdict.approximated, "shares are not in the export: all are equal until you write them (rule 22); winners are "
        "not looked for",
    ),
    NodeType("User Update", "User update", "call", Verdict.approximated, "what it updates is not in the export"),
    NodeType("Audience Sync", "Audience sync", "call", Verdict.approximated, "it is made by an outside call"),
    NodeType(
        "Feature Flag", "Feature flag", "", Verdict.left_out, "what contacts see in an app is no part of a journey here"
    ),
    NodeType("Context", "Context", "", Verdict.left_out, "which variables it makes is not in the export"),
    NodeType("Agent", "Agent", "call", Verdict.approximated, "it is made by an outside call"),
    NodeType(
        "Send to Destination", "Send to destination", "emit",
        Verdict.approximated, "the other Canvas is not in the export; the event `canvas_entered` names it",
    ),
    NodeType("Exit", "Exit", "exit"),
    NodeType(
        "other", "a component that is not known here", "decide",
        Verdict.approximated, "it leads on; where it leads several ways, flag attributes say which",
    ),
    NodeType(
        "variants", "Canvas variants", "split",
        Verdict.approximated, "shares are not in the export: all are equal until you write them (rule 22)",
    ),
)  # fmt: skip
_EVERYONE_ELSE: Final = ("everyone else", "no")
_CALLS: Final = {"Audience Sync": "audience_sync", "User Update": "user_update", "Agent": "agent"}


def _letters(text: str) -> str:
    """The letters of a type, without a plural's s."""
    return re.sub(r"[^a-z]", "", text.lower()).removesuffix("step").rstrip("s")


_KINDS: Final = {_letters(one.name): one.name for one in NODE_TYPES[:-2]} | {"full": "Full Step"}


class _Way(NamedTuple):
    """A way that leads on from a step: its name, and the next step, None at the end."""

    name: str
    target: str | None


def _ways(step: Part) -> list[_Way]:
    ways = [_Way(one.optional("name") or "", one.optional("next_step_id")) for one in step.parts("next_paths")]
    further = [str(one) for one in step.values("next_step_ids")]
    return ways or [_Way("", one) for one in further]


class _Canvas:
    """A Canvas that is being read."""

    def __init__(self, export: Export) -> None:
        self._top = top = export.top
        self._export = export
        self.draft = Draft(export, NODE_TYPES, top.text("name"), top)
        if export.timezone is not None:
            self.draft.fields["timezone"] = export.timezone
        steps = top.parts("steps", needed=True)
        for step in steps:
            with export.noting():
                self.draft.name(step.text("id"), step.text("name", "step"))
        self._known = {step.text("id") for step in steps if "id" in step}
        for step in steps:
            with export.noting():
                self._step(step)
        with export.noting():
            self._enter()

    def _enter(self) -> None:
        draft, top = self.draft, self._top
        title = top.text("name")
        where = draft.condition(Compare("==", Property("canvas"), Text(title)), top, "name")
        draft.fields["trigger"] = {"event": "canvas_entered", "where": where}
        note = (
            "who enters when is not in the export; the event `canvas_entered` with the Canvas' name does, which the "
            "exports of Currents have, once for each contact (rule 12)"
        )
        schedule = top.text("schedule_type", "unknown")
        draft.note(top, f"entry schedule {schedule!r}", Verdict.approximated, "trigger", note=note)
        if top.flag("draft", default=False) or top.flag("archived", default=False):
            draft.note(top, "draft or archived", Verdict.mapped, note="it does not run there at the moment")
        firsts: list[tuple[str, str]] = []
        for variant in top.parts("variants", needed=True):
            named = [str(one) for one in variant.values("first_step_ids")]
            first = named or [one for one in [variant.optional("first_step_id")] if one]
            variant.skip("first_step_id")
            for more in first[1:]:
                note = "a variant begins with one step here"
                draft.left_out(variant, f"first step {draft.name(more)}", note)
            target = self._target(variant, first[0] if first else None, "first_step_ids")
            firsts.append((variant.text("name", "variant"), target))
        if not firsts:
            raise top.malformed("a Canvas has at least one variant", "variants")
        if len(firsts) == 1:
            draft.first = firsts[0][1]
            return
        draft.first = draft.free("variants")
        draft.arms(draft.first, top, [(name, Fraction(1, len(firsts)), target) for name, target in firsts])
        draft.did(top, "variants", "", draft.first)

    def _target(self, part: Part, target: str | None, key: str) -> str:
        if target is not None and target not in self._known:
            raise part.malformed(f"there is no step {target!r}", key)
        return self.draft.goes(target)

    def _step(self, step: Part) -> None:
        draft, name = self.draft, self.draft.name(step.text("id"))
        kind = _KINDS.get(_letters(step.text("type", "other")), "other")
        title = step.text("name", "")
        ways = [(way.name, self._target(step, way.target, "next_paths")) for way in _ways(step)]
        onward = ways[0][1] if ways else draft.exit()
        step.values("channels")
        if kind == "Experiment Paths" and len(ways) > 1:
            draft.arms(name, step, [(way or title, Fraction(1, len(ways)), target) for way, target in ways])
        elif kind == "Exit":
            draft.passes(name, draft.exit())
        elif kind in ("Decision Split", "Audience Paths", "Action Paths", "other") or len(ways) > 1:
            self._flags(step, name, title, ways, onward)
        elif kind == "Delay":
            draft.node(name, step, wait_until=dict(ANY_TIME), next=onward)
        elif kind in _CALLS:
            draft.node(name, step, call=name_of(f"{_CALLS[kind]} {title}"), next=onward)
        elif kind == "Send to Destination":
            draft.node(name, step, emit={"event": "canvas_entered", "with": {"canvas": title}}, next=onward)
        elif kind in ("Feature Flag", "Context"):
            draft.passes(name, onward)
            draft.did(step, kind, title)
            return
        if kind in ("Message", "Full Step"):
            self._messages(step, name, title, kind, onward, branches=len(ways) > 1)
            return
        draft.did(step, kind, title, name, but=f"its type is {step.text('type', '')!r}" if kind == "other" else "")

    def _flags(self, step: Part, name: str, title: str, ways: Sequence[tuple[str, str]], onward: str) -> None:
        """Writes a decision by flags; the way of everybody else is the last, or the one that is called so."""
        draft = self.draft
        if len(ways) < 2:
            draft.passes(name, onward)
            return
        rest = next((one for one in ways if one[0].lower() in _EVERYONE_ELSE), None)
        asked = [one for one in ways if one is not rest]
        clauses = []
        for i, (way, target) in enumerate(asked):
            flag = draft.attribute_for(("way", *step.place, i), f"{title} {way or i + 1}")
            clauses.append({"if": flag, "go": target})
            note = f"the flag attribute {flag}, which the contacts have to have"
            draft.note(step, f"way {way or i + 1!r}", Verdict.approximated, flag, note=note)
        draft.node(name, step, decide=clauses, otherwise=draft.exit() if rest is None else rest[1])

    def _messages(self, step: Part, name: str, title: str, kind: str, onward: str, *, branches: bool) -> None:
        """Writes the messages of a step one after the other: its e-mail, then each other channel."""
        draft, messages = self.draft, step.optional_part("messages")
        found: list[tuple[str, str]] = []
        for key in [] if messages is None else messages.data:
            variation = messages.part(key)  # type: ignore[union-attr]
            found.append((variation.text("channel", "email"), key))
            variation.skip(*variation.data)  # what is in a message is no part of a journey
        channels: dict[str, str] = {}
        for channel, key in found or [(str(one), step.text("id")) for one in step.values("channels")]:
            channels.setdefault(channel, key)
        but = []
        if len(found) > len(channels):
            but.append("of several messages of one channel the first is sent; make them a split")
        ordered = sorted(channels, key=lambda channel: channel != "email")
        if branches:
            # The ways were written under the step's own name; its messages go before them.
            ways = draft.nodes.pop(name)
            onward = draft.free(f"{name}_leads")
            draft.nodes[onward] = ways
        if not ordered:
            draft.passes(name, onward)
            draft.did(step, kind, title, but="it has no message")
            return
        nodes = [name, *(draft.free(f"{name}_{name_of(channel)}") for channel in ordered[1:])]
        for i, (channel, node) in enumerate(zip(ordered, nodes, strict=True)):
            target = nodes[i + 1] if i + 1 < len(nodes) else onward
            if channel == "email":
                draft.node(node, step, send=draft.message(title, channels[channel]), next=target)
            else:
                draft.node(node, step, call=name_of(f"{channel} {title}"), next=target)
        draft.did(step, kind, title, *nodes, but="; ".join(but))


class _Braze:
    name: Final = "braze"
    title: Final = "Braze, Canvas details (skeleton)"
    documented: Final = 'Braze API reference, "Export Canvas details"'
    node_types: Final = NODE_TYPES
    ignored: Final = frozenset({
        "created_at", "updated_at", "first_entry", "last_entry", "channels", "tags", "message", "enabled", "id",
        "has_post_launch_draft", "description", "teams",
    })  # fmt: skip

    def read(self, export: Export) -> list[Draft]:
        return [_Canvas(export).draft]


SYSTEM: Final = _Braze()
