"""Mautic's campaigns as journeys."""

from __future__ import annotations

from typing import Any, Final

from journeylab.importers.draft import Draft, name_of
from journeylab.importers.export import Export, Part

from .entities import Entities
from .events import events_of
from .flows import Campaign

__all__ = ["journeys_of"]

_MOST_EVENTS: Final = 2000
_SOURCES: Final = ("lists", "forms")


def journeys_of(export: Export) -> list[Draft]:
    """The journeys of an export: one campaign, or several, each with what it needs."""
    data = export.data if isinstance(export.data, list) else [export.data]
    tops = [export.part_of(one, (i,) if isinstance(export.data, list) else ()) for i, one in enumerate(data)]
    drafts: list[Draft] = []
    taken: set[str] = set()
    for top in tops:
        with export.noting():
            campaigns = top.parts("campaign", needed=True)
            top.skip("dependencies")
            entities, events = Entities(top), top.parts("campaign_event")
            known = {one.text("id") for one in campaigns}
            for event in events:
                with export.noting():
                    if event.text("campaign_id") not in known:
                        raise event.malformed(f"there is no campaign {event.text('campaign_id')}", "campaign_id")
            for campaign in campaigns:
                with export.noting():
                    drafts += _read(export, top, campaign, entities, events, taken)
    return drafts


def _read(
    export: Export, top: Part, campaign: Part, entities: Entities, events: list[Part], taken: set[str]
) -> list[Draft]:
    """The journeys of one campaign; `taken` are the names of those before it, whose events are not its own."""
    identity, name = campaign.text("id"), name_of(campaign.text("name"), "journey")
    prefix = f"{name} {identity}" if name in taken else name
    taken.add(name)
    own = [one for one in events if str(one.data.get("campaign_id")) == identity]
    if len(own) > _MOST_EVENTS:
        raise campaign.malformed(f"it has {len(own)} events, and no campaign needs more than {_MOST_EVENTS}")
    n_faults = len(export.faults)
    tree = events_of(export, own, _anchors(campaign), export.timezone)
    if len(export.faults) > n_faults:
        return []
    if not tree.roots:
        raise campaign.malformed("no event follows its sources, so that nothing would happen to anybody")
    return Campaign(export, campaign, entities, tree, _sources(top, identity, campaign), prefix).drafts


def _anchors(campaign: Part) -> dict[str, str]:
    """On which path of what it follows each event stands, by the canvas."""
    canvas: Any = campaign.raw("canvas_settings") or {}
    found: dict[str, str] = {}
    if not isinstance(canvas, dict):
        return found
    connections = canvas.get("connections")
    for one in connections if isinstance(connections, list) else []:
        anchors = one.get("anchors") if isinstance(one, dict) else None
        if isinstance(anchors, dict) and anchors.get("source") in ("yes", "no"):
            found[str(one.get("targetId"))] = str(anchors["source"])
    return found


def _sources(top: Part, identity: str, campaign: Part) -> dict[str, list[str]]:
    """The ids of the segments and forms that bring contacts into a campaign."""
    found: dict[str, list[str]] = {kind: [] for kind in _SOURCES}
    listed = top.raw("dependencies", [])
    if not isinstance(listed, list):
        raise top.malformed("there must be a list here", "dependencies")
    for of_kinds in listed:
        for kind in _SOURCES:
            entries = of_kinds.get(kind) if isinstance(of_kinds, dict) else None
            for one in entries if isinstance(entries, list) else []:
                if isinstance(one, dict) and str(one.get("campaign")) == identity and set(one) == {"campaign", kind}:
                    found[kind].append(str(one[kind]))
    if not any(found.values()):
        raise campaign.malformed("no segment and no form brings contacts into it; the dependencies name none")
    return {kind: list(dict.fromkeys(ids)) for kind, ids in found.items()}
