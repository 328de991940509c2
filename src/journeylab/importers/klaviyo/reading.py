"""Klaviyo's flows as journeys."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from journeylab.importers.draft import Draft
from journeylab.importers.export import Export, Part

from .actions import DOERS, Doing
from .flow import Flow
from .triggers import Entering

__all__ = ["journeys_of"]


def journeys_of(export: Export) -> list[Draft]:
    """The journeys of an export: what the API answers (`data`, one flow or several), or one definition."""
    top = export.top
    titles = dict(_titles([top.raw("included"), *(_listed(data) for data in export.files.values())]))
    if "data" in top:
        resources = top.parts("data") if isinstance(top.data["data"], list) else [top.part("data")]
        drafts = []
        for one in resources:
            with export.noting():
                one.choice("type", ("flow",), "resources of an export of flows")
                drafts.append(_read(export, one.part("attributes"), titles))
        return drafts
    if "definition" in top:
        return [_read(export, top, titles)]
    if "actions" in top:
        return [_read(export, top, titles, top)]
    raise top.malformed("there is neither `data`, as the API answers, nor a `definition`")


def _listed(data: Any) -> Any:
    return data.get("data") if isinstance(data, dict) else None


def _titles(answers: list[Any]) -> Iterator[tuple[str, str]]:
    """What the API calls lists, segments and metrics, by id, where its answers to that came along."""
    for answer in answers:
        for one in answer if isinstance(answer, list) else ():
            attributes = one.get("attributes") if isinstance(one, dict) else None
            title = attributes.get("name") if isinstance(attributes, dict) else None
            if isinstance(title, str) and isinstance(one.get("id"), str) and one.get("type") != "flow":
                yield one["id"], title


def _read(export: Export, part: Part, titles: dict[str, str], definition: Part | None = None) -> Draft:
    """The journey of one flow."""
    if definition is None:
        if "definition" not in part:
            raise part.malformed(
                "there is none; ask the API for it with additional-fields[flow]=definition", "definition"
            )
        definition = part.part("definition")
    flow = Flow(export, part, titles, definition)
    Entering(flow)
    entry = definition.optional("entry_action_id")
    for identity, action in flow.actions.items():
        if flow.qualifying and identity != entry and action.text("type") in DOERS and flow.runs(action):
            flow.gates[identity] = flow.draft.free(f"{flow.draft.name(identity)}_check")
    Doing(flow)
    with export.noting():
        flow.draft.first = flow.marked(flow.goes(definition, "entry_action_id", entry))
    flow.settings()
    return flow.draft
