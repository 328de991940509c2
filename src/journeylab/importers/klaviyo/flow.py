"""One flow of Klaviyo that is being read, and what holds for all of it."""

from __future__ import annotations

from typing import Final

from journeylab.importers.draft import Draft
from journeylab.importers.export import Export, Part
from journeylab.importers.outcomes import Verdict
from journeylab.importers.spans import clock_time
from journeylab.importers.unsaid import target_of

from .actiontypes import NODE_TYPES
from .filters import Filters

__all__ = ["QUALIFIES", "Flow", "label_of", "time_of"]

QUALIFIES: Final = "qualifies"
"""The segment of those who pass the profile filter."""
_SMART: Final = "16h"
_DAYS: Final = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
_TURNED_OFF: Final = ("draft", "disabled")


class Flow:
    """A flow that is being read.

    Attributes:
        export: the export that it is in.
        part: its attributes in the export.
        definition: its definition.
        draft: the journey that is being made of it.
        filters: its filters.
        live: whether it is live there.
        date: the attribute whose date it is about, empty where it is about none.
        zones: the zones of its delays.
        smart, transactional: for each of its e-mails, whether it is sent smartly, and whether it is transactional.
        qualifying: what is asked of profiles at the entry and before each action.
        actions: its actions by id.
        gates: by an action's id, the node before it that asks whether the profile still qualifies.
    """

    def __init__(self, export: Export, part: Part, titles: dict[str, str], definition: Part) -> None:
        self.export, self.part, self.definition = export, part, definition
        self.draft = Draft(export, NODE_TYPES, part.text("name", "") or "flow", part)
        self.filters = Filters(self.draft, titles)
        self.live = part.text("status", "") == "live"
        self.date = ""
        self.zones: set[str] = set()
        self.smart: list[bool] = []
        self.transactional: list[bool] = []
        self.qualifying: list[str] = []
        self.actions = self._known(definition)
        self.gates: dict[str, str] = {}

    def _known(self, definition: Part) -> dict[str, Part]:
        """The actions by id, each with its name."""
        found: dict[str, Part] = {}
        for action in definition.parts("actions", needed=True):
            with self.export.noting():
                identity = action.text("id" if "id" in action else "temporary_id")
                if identity in found:
                    raise action.malformed(f"another action has the id {identity!r}, too", "id")
                action.text("type")
                found[identity] = action
                self.draft.name(identity, label_of(action))
        return found

    def goes(self, part: Part, key: str, target: str | None) -> str:
        name = target_of(part, key, target, self.actions, self.draft)
        return name if target is None else self.gates.get(target, name)

    def next_of(self, action: Part) -> str:
        links = action.optional_part("links")
        return self.draft.exit() if links is None else self.goes(links, "next", links.optional("next"))

    def marked(self, first: str) -> str:
        """The first node: the one that marks the flow's start, where a filter asks what happened since."""
        marker = self.filters.marker
        if not marker:
            return first
        name = self.draft.free("start")
        note = (
            f"what happened since the flow's start is what happened after the event {marker}, which the journey emits; "
            "of entries that run side by side the last one's counts"
        )
        self.draft.note(self.part, "since the flow's start", Verdict.approximated, name, note=note)
        return self.draft.node(name, self.definition, emit=marker, next=first)

    def zone(self, part: Part) -> None:
        zone = part.text("timezone", "profile")
        if zone != "profile":
            self.zones.add(zone)

    def weekdays(self, part: Part, key: str) -> list[str]:
        """The days of the week that are allowed, in order; none where all are."""
        days = [str(one).lower() for one in part.values(key)]
        unknown = [one for one in days if one not in _DAYS]
        if unknown:
            raise part.malformed(f"{unknown[0]!r} is no day of the week", key)
        return [] if len({*days}) == len(_DAYS) else [one[:3] for one in _DAYS if one in days]

    def settings(self) -> None:
        """The zone, smart sending and purpose: settings of single actions there, of the journey here."""
        draft, flow = self.draft, self.part
        if len(self.zones) == 1:
            draft.fields["timezone"] = next(iter(self.zones))
            note = "it holds for contacts without a timezone of their own (rule 3)"
            draft.note(flow, "time zone", Verdict.approximated, "timezone", note=note)
        elif self.zones:
            note = f"delays are in {', '.join(sorted(self.zones))}, and a journey has one zone (rule 3)"
            draft.left_out(flow, "time zones", note)
        if self.export.timezone is not None and "timezone" not in draft.fields:
            draft.fields["timezone"] = self.export.timezone
        if self.smart and all(self.smart):
            draft.fields["cap"] = {"sends": 1, "within": _SMART}
            note = (
                f"an e-mail within {_SMART} of another is skipped; the account may have another time, and counts all "
                "flows and campaigns, for which a policy's cap is (rule 18)"
            )
            draft.note(flow, "smart sending", Verdict.approximated, "cap", note=note)
        elif any(self.smart):
            note = "some e-mails have it and some have not, and a journey's cap is of all of them (rule 18)"
            draft.left_out(flow, "smart sending", note)
            for node in draft.nodes.values():
                node.pop("when_capped", None)
        if self.transactional and all(self.transactional):
            draft.fields["purpose"] = "transactional"
            note = "its e-mails are transactional: say in the sender's settings what the purpose rests on (rule 34)"
            draft.note(flow, "transactional", Verdict.approximated, "purpose", note=note)
        elif any(self.transactional):
            note = "some e-mails are transactional, and a journey has one purpose: marketing (rule 34)"
            draft.left_out(flow, "transactional", note)
        if not self.live and any("send" in node for node in draft.nodes.values()):
            note = "the flow is not live there, or the export does not say it; here every action is done"
            draft.note(flow, "status", Verdict.approximated, note=note)

    def runs(self, action: Part) -> bool:
        """Whether an action is done: in a live flow, what is a draft is passed by."""
        data = action.data.get("data")
        status = data.get("status") if isinstance(data, dict) else None
        return not (self.live and status in _TURNED_OFF)


def time_of(part: Part, key: str) -> str:
    """A time of day of an export, such as `09:30:00`, to the minute."""
    text = part.text(key)
    pieces = text.split(":")
    if len(pieces) not in (2, 3) or not all(one[:2].isdigit() for one in pieces):
        raise part.malformed(f"{text!r} is no time of day", key)
    return clock_time(part, int(pieces[0]), int(pieces[1]), key)


def label_of(action: Part) -> str:
    """What people call an action."""
    data = action.data.get("data")
    message = data.get("message") if isinstance(data, dict) else None
    for one in (message, data):
        title = one.get("name") if isinstance(one, dict) else None
        if isinstance(title, str) and title:
            return title
    if action.data.get("type") == "time-delay" and isinstance(data, dict):
        if not data.get("value"):
            return "wait until"
        return " ".join(
            ["wait", *(str(data[key]) for key in ("value", "unit") if isinstance(data.get(key), int | str))]
        )
    return {
        "conditional-split": "split", "trigger-split": "split", "multi-branch-split": "split",
        "action-output-split": "split", "target-date": "wait for the date", "countdown-delay": "wait for the countdown",
        "back-in-stock-delay": "wait for stock", "ab-test": "test", "content-experiment": "test",
        "update-profile": "update profile", "list-update": "update list", "internal-service": "service",
    }.get(action.text("type", "action"), action.text("type", "action"))  # fmt: skip
