"""Which journeys an export has, and each of them as ours."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from journeylab.importers.draft import Draft, name_of
from journeylab.importers.export import Export, Malformed, Part
from journeylab.importers.outcomes import Verdict

from .activities import read_activities
from .activitytypes import NODE_TYPES
from .entry import Entry
from .filters import Filters
from .steps import Steps

__all__ = ["journeys_of"]

_RUNNING: Final = ("Published", "ScheduledToPublish", "Paused")
"""The states of a version that takes contacts in, or is to."""


def journeys_of(export: Export) -> list[Draft]:
    """The journeys of an export: one, a list of them, or a list of versions, of which the running or newest counts."""
    parts = list(_parts(export))
    definitions = {
        one.text("eventDefinitionKey"): one for one in parts if "eventDefinitionKey" in one and "activities" not in one
    }
    for one in definitions.values():
        one.skip(*one.data)
    found = [one for one in parts if "activities" in one or "triggers" in one]
    lacking = [one for one in parts if one not in found and one not in definitions.values()]
    if not found:
        raise (lacking or [export.top])[0].malformed(
            "there are no `activities` here; ask the API for them with `extras=activities`, or export the journey "
            "itself"
        )
    for one in lacking:
        export.faults.append(
            one.malformed("this journey has no `activities`; ask the API for them with `extras=activities`").fault
        )
    versions: dict[str, list[Part]] = {}
    for one in found:
        with export.noting():
            versions.setdefault(one.text("key", "") or one.text("name"), []).append(one)
    drafts = []
    for several in versions.values():
        with export.noting():
            drafts.append(_journey(export, several, definitions))
    return drafts


def _parts(export: Export) -> Iterator[Part]:
    """The objects of an export that may be journeys or event definitions."""
    for data, place in [(export.data, ()), *((one, (name,)) for name, one in export.files.items())]:
        if isinstance(data, list):
            yield from (export.part_of(one, (*place, i)) for i, one in enumerate(data))
            continue
        top = export.part_of(data, place)
        if "items" in top:
            top.skip("count", "page", "pageSize", "links")
            yield from top.parts("items")
        else:
            yield top


def _journey(export: Export, versions: list[Part], definitions: dict[str, Part]) -> Draft:
    """The journey of the version that runs, or of the newest."""

    def rank(one: Part) -> tuple[bool, float]:
        return one.text("status", "Draft") in _RUNNING, one.number("version", 0)

    chosen = max(versions, key=rank)
    draft = _read(export, chosen, definitions)
    for one in versions:
        if one is not chosen:
            one.skip(*one.data)
            status = one.text("status", "Draft")
            note = f"its state is {status}; version {chosen.whole('version', 1)} counts"
            draft.left_out(one, f"version {one.whole('version', 1)}", note)
    return draft


def _read(export: Export, part: Part, definitions: dict[str, Part]) -> Draft:
    draft = Draft(export, NODE_TYPES, part.text("name"), part, folds=True)
    version, state = part.number("workflowApiVersion", 1), part.text("status", "Draft")
    if version != 1:
        raise part.malformed(
            f"this is version {version:g} of the journey specification, and 1 is known", "workflowApiVersion"
        )
    if (about := part.optional("description")) is not None:
        draft.fields["description"] = about
    if state not in _RUNNING:
        draft.left_out(part, f"state {state!r}", "that it does not run there says nothing of it here")
    kind = part.text("definitionType", "Multistep")
    entry: Entry | None = None
    try:
        entry = Entry(draft, part, definitions)
    except Malformed as problem:
        export.faults.append(problem.fault)
    filters = Filters(draft, part, None if entry is None else entry.key)
    if entry is not None:
        with export.noting():
            entry.write(filters)
    steps = Steps(draft, part, filters)
    steps.waits.asks()
    read_activities(steps, part, None if entry is None else entry.first)
    if any("send" in node for node in draft.nodes.values()):
        _sends(draft, part, kind)
    return draft


def _sends(draft: Draft, part: Part, kind: str) -> None:
    """What holds for all messages of a journey: to whom they go, and who may be sent them."""
    defaults = part.optional_part("defaults")
    if defaults is not None:
        addresses = ", ".join(str(one) for one in defaults.values("email"))
        if addresses:
            note = "messages go to the address that the contact has in the sender"
            draft.left_out(part, f"address {addresses}", note)
        defaults.skip("mobileNumber", "properties", "transactionKeys")
    if kind == "Transactional":
        draft.fields["purpose"] = name_of(kind)
        note = "say on which basis it rests in the sender's settings; without one it asks for consent (rule 34)"
        draft.note(part, f"definition type {kind!r}", Verdict.approximated, "purpose", note=note)
        return
    note = (
        "there who has unsubscribed is passed over and goes on; here a withdrawal of consent ends the entry (rule 14)"
    )
    draft.note(part, "unsubscribing", Verdict.approximated, "purpose", note=note)
