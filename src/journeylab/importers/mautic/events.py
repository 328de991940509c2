"""The events of a campaign as a tree: actions, decisions and conditions, each on a path of its parent."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from journeylab.importers.export import Export, Part
from journeylab.importers.outcomes import node_type

from .nodetypes import NODE_TYPES
from .timing import Timing, timing_of

__all__ = ["ENDINGS", "Event", "EventTree", "events_of"]

KINDS: Final = ("action", "decision", "condition")
ENDINGS: Final = ("campaign.jump_to_event", "campaign.addremovelead", "lead.deletecontact")
"""What may end the entry, or lead elsewhere."""
_SOURCES: Final = ("lists", "forms")
_OF_THE_EDITOR: Final = frozenset({
    "canvasSettings", "name", "description", "anchor", "type", "eventType", "anchorEventType", "campaignId", "_token",
    "buttons", "triggerDate", "triggerMode", "triggerInterval", "triggerIntervalUnit", "triggerHour",
    "triggerRestrictedStartHour", "triggerRestrictedStopHour", "triggerRestrictedDaysOfWeek", "triggerWindow",
    "settings", "tempId", "id", "parent", "children", "order", "failedCount", "decisionPath", "properties",
})  # fmt: skip


@dataclass
class Event:
    """One event of a campaign.

    Attributes:
        part: it in the export.
        id: its id.
        type: such as `email.send`.
        kind: action, decision or condition.
        label: its name.
        config: what it is configured with.
        parent: the id of the event that it follows, None for those that follow the sources.
        path: the path of its parent, `yes` or `no`, None where the parent has one path.
        timing: when it is due.
        children: the events that follow it, by path.
    """

    part: Part
    id: str
    type: str
    kind: str
    label: str
    config: Part
    parent: str | None
    path: str | None = None
    timing: Timing = field(default_factory=Timing)
    children: dict[str | None, list[Event]] = field(default_factory=dict)

    @property
    def is_leaf(self) -> bool:
        """Whether it is an action after which nothing comes, so that it can stand before others."""
        return self.kind == "action" and not self.children and self.type not in ENDINGS and self.timing.is_plain


@dataclass
class EventTree:
    """The events of a campaign: `roots` follow its sources."""

    by_id: dict[str, Event]
    roots: list[Event]


def events_of(export: Export, parts: Sequence[Part], anchors: dict[str, str], zone: str | None) -> EventTree:
    """The events of a campaign.

    Args:
        export: the export, which notes the faults.
        parts: the events in it.
        anchors: on which path of its parent an event stands by the canvas, for exports whose events do not say it.
        zone: the zone of dates that do not say their own.
    """
    by_id: dict[str, Event] = {}
    for part in parts:
        with export.noting():
            event = _event(part)
            if event.id in by_id:
                raise part.malformed(f"there are two events with the id {event.id}", "id")
            by_id[event.id] = event
    roots: list[Event] = []
    for event in by_id.values():
        with export.noting():
            _place(event, by_id, anchors, roots)
            if event.kind != "decision":
                parent = by_id.get(event.parent or "")
                is_red = parent is not None and parent.kind == "decision" and event.path == "no"
                event.timing = timing_of(event.part, zone, is_on_red=is_red and event.kind == "action")
            else:
                event.part.skip(
                    "trigger_mode", "trigger_interval", "trigger_interval_unit", "trigger_date", "triggerDate",
                    "trigger_hour", "triggerRestrictedStartHour", "triggerRestrictedStopHour",
                    "triggerRestrictedDaysOfWeek", "triggerWindow",
                )  # fmt: skip
    return EventTree(by_id, roots)


def _event(part: Part) -> Event:
    kind = part.choice("event_type", KINDS, "kinds of events")
    names = [one.name for one in NODE_TYPES if one.name not in _SOURCES]
    named = part.choice("type", names, "types of events")
    shown = node_type(NODE_TYPES, named)
    label = part.optional("name") or (shown.title if shown else named)
    return Event(part, part.text("id"), named, kind, label, _config(part), part.optional("parent_id"))


def _config(part: Part) -> Part:
    """What an event is configured with: beside it, the export keeps what its form in the editor was filled with."""
    properties: Any = part.raw("properties") or {}
    if not isinstance(properties, dict):
        raise part.malformed("there must be an object here", "properties")
    inner = properties.get("properties")
    if isinstance(inner, dict) and inner:
        said = {key: properties.get(key, value) for key, value in inner.items()}
        return part.export.part_of(said, (*part.place, "properties", "properties"))
    said = {key: value for key, value in properties.items() if key not in _OF_THE_EDITOR}
    return part.export.part_of(said, (*part.place, "properties"))


def _place(event: Event, by_id: dict[str, Event], anchors: dict[str, str], roots: list[Event]) -> None:
    part = event.part
    path = part.optional("decisionPath") or anchors.get(event.id)
    if event.parent is None:
        roots.append(event)
        return
    parent = by_id.get(event.parent)
    if parent is None:
        raise part.malformed(f"there is no event {event.parent!r} that it could follow", "parent_id")
    seen = {event.id}
    above: Event | None = parent
    while above is not None:
        if above.id in seen:
            raise part.malformed(f"the events follow each other in a circle: {', '.join(sorted(seen))}", "parent_id")
        seen.add(above.id)
        above = by_id.get(above.parent or "")
    if parent.kind != "action":
        if path not in ("yes", "no"):
            raise part.malformed(
                f"it follows a {parent.kind}, on its path yes or no, not {path or 'neither'}", "decisionPath"
            )
        event.path = path
    elif parent.type in ("campaign.jump_to_event", "lead.deletecontact"):
        raise part.malformed(f"nothing follows a {parent.type}", "parent_id")
    parent.children.setdefault(event.path, []).append(event)
