"""Mautic's campaigns as journeys."""

from __future__ import annotations

from typing import Any, Final

from journeylab.importers.draft import Draft, name_of
from journeylab.importers.export import Export, Part

from .entities import Entities
from .events import events_of
from .flows import Campaign
from .sources import sources_of

__all__ = ["journeys_of"]

_MOST_EVENTS: Final = 2000


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
    return Campaign(export, campaign, entities, tree, sources_of(top, campaign), prefix).drafts


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
