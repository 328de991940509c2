"""Where contacts come from: segments and forms, as one trigger."""

from __future__ import annotations

from typing import Any, Final

from journeylab.expressions import Aggregate, Tree
from journeylab.importers.draft import Draft
from journeylab.importers.export import Part

from .comparisons import any_of
from .conditions import one_of
from .entities import Entities
from .segments import Segments

__all__ = ["sources_of", "trigger_of"]

_SOURCES: Final = ("lists", "forms")


def sources_of(top: Part, campaign: Part) -> dict[str, list[str]]:
    """The ids of the segments and forms that bring contacts into a campaign, by kind."""
    identity = campaign.text("id")
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


def trigger_of(
    draft: Draft, campaign: Part, entities: Entities, segments: Segments, sources: dict[str, list[str]]
) -> dict[str, Any]:
    """The trigger: the submission of a form, or membership of a segment, or of any of them."""
    forms, lists = sources["forms"], sources["lists"]
    restarts = campaign.flag("allow_restart", default=False) or campaign.flag("allowRestart", default=False)
    where = one_of("form", forms)
    for kind, ids in sources.items():
        for identity in ids:
            but = "who submits it is taken at the next look, within the hour" if kind == "forms" and lists else ""
            place = entities.part(kind, identity) or campaign
            draft.did(place, kind, entities.label(kind, identity), "trigger", but=but)
    if not lists:
        filtered = {} if where is None else {"where": draft.condition(where, campaign)}
        return {"event": "form_submitted", **filtered, **({"reentry": "after_exit"} if restarts else {})}
    if restarts:
        note = (
            "who leaves the segment and joins it again begins again there; here, membership alone would begin anew "
            "every hour (rule 11), so that each contact enters once: see `reentry`"
        )
        draft.left_out(campaign, "restart", note)
    name = segments.name(draft, lists[0], campaign)
    if len(lists) > 1 or where is not None:
        trees: list[Tree] = [segments.member(draft, one, campaign) for one in lists]
        if where is not None:
            trees.append(Aggregate("did", "form_submitted", where=where))
        name = draft.segment("anybody in", draft.condition(any_of(trees), campaign))
    return {"segment": name, "every": "1h"}
