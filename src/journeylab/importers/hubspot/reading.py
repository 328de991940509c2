"""HubSpot's workflows as journeys."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from journeylab.importers.draft import Draft
from journeylab.importers.export import Export, Part

from .actions import Doing
from .enrollment import Enrolling
from .flow import Flow

__all__ = ["journeys_of"]

_IDS: Final = ("id", "listId", "guid")


def journeys_of(export: Export) -> list[Draft]:
    """The journeys of an export: one workflow, or the `results` that the API lists or reads in a batch.

    Further files of an archive are the API's answers on e-mails, lists and forms; of these, the names are read.
    """
    top = export.top
    titles = dict(_titles(list(export.files.values())))
    flows = [top] if "actions" in top else top.parts("results") if "results" in top else None
    if flows is None:
        raise top.malformed("there are neither `actions`, as a workflow has, nor `results`, as the API lists them")
    drafts = []
    for part in flows:
        with export.noting():
            drafts += _read(export, part, titles)
    return drafts


def _read(export: Export, part: Part, titles: dict[str, str]) -> list[Draft]:
    if "actions" not in part:
        raise part.malformed("the list of workflows has no actions; read each by its id, or all as a batch", "actions")
    flow = Flow(export, part, titles)
    with export.noting():
        Enrolling(flow)
    Doing(flow)
    with export.noting():
        start = part.optional("startActionId")
        if start is not None and start not in flow.actions:
            raise part.malformed(f"there is no action {start!r}", "startActionId")
        flow.draft.first = flow.draft.exit() if start is None else flow.draft.name(start)
    flow.settings()
    return [flow.draft, *flow.feeders]


def _titles(answers: list[Any]) -> Iterator[tuple[str, str]]:
    """What the API calls e-mails, lists and forms, by id."""
    for answer in answers:
        listed = answer.get("results", answer.get("lists")) if isinstance(answer, dict) else answer
        for one in listed if isinstance(listed, list) else ():
            name = one.get("name") if isinstance(one, dict) else None
            if isinstance(name, str) and name:
                yield from ((str(one[key]), name) for key in _IDS if isinstance(one.get(key), str | int))
