"""How contacts come into an imported journey: its entry source, and how often they may."""

from __future__ import annotations

from typing import Any, Final

from journeylab.errors import known
from journeylab.expressions import And, Compare, Or, Property, Tree
from journeylab.importers.draft import Draft, name_of
from journeylab.importers.export import Part
from journeylab.importers.outcomes import Verdict
from journeylab.jsontext import data_of

from .activitytypes import ENTRY_TYPES, type_named
from .filters import Filters, value_of

__all__ = ["Entry", "REENTRY"]

REENTRY: Final = {"OnceAndDone": "never", "MultipleEntries": "always", "SingleEntryAcrossAllVersions": "after_exit"}
"""How often contacts may enter, by the entry mode."""
_AUDIENCES: Final = ("ContactAudience", "Audience")
_ROWS: Final = ("EmailAudience", "AutomationAudience")
_RECORDS: Final = "SalesforceObjectTriggerV2"
_CRITERIA: Final = {"Created": "created", "Updated": "updated", "CreatedUpdated": "created or updated"}
_UNNAMED: Final = ("", "TRIGGER", "TRIGGER-1", "EVENT")


class Entry:
    """The entry source of a journey.

    Args:
        draft: the journey.
        journey: its part of the export.
        definitions: the event definitions that came with it, by key.

    Attributes:
        key: the key of its event definition, None where no event makes entries.
        first: the key of the activity that it leads to, None where it does not say.
    """

    def __init__(self, draft: Draft, journey: Part, definitions: dict[str, Part]) -> None:
        self._draft, self._journey = draft, journey
        triggers = journey.parts("triggers")
        if not triggers:
            raise journey.malformed(
                "there is no entry source yet, so that nobody would enter; choose one in Journey Builder", "triggers"
            )
        if len(triggers) > 1:
            raise journey.malformed(f"a journey has one entry source, and here are {len(triggers)}", "triggers")
        self._part = part = triggers[0]
        found, names = type_named(part.text("type")), [one.name for one in ENTRY_TYPES]
        if found is None or found not in ENTRY_TYPES:
            what = part.text("type")
            raise part.malformed(f"{what!r} is no entry source that is known; {known(what, names, 'types')}", "type")
        self._type = found.name
        part.skip("description", "schema")
        identity = part.optional("eventDefinitionKey")
        for key in ("metaData", "arguments"):
            if (said := part.optional_part(key)) is not None:
                identity = identity or said.optional("eventDefinitionKey")
                said.skip(*said.data)
        self._identity = identity or ""
        self._definition = definitions.get(self._identity)
        self.key = None if self._type in _AUDIENCES else self._identity
        outcomes = part.parts("outcomes")
        self.first = outcomes[0].optional("next") if outcomes else None
        for one in outcomes:
            one.skip("key", "arguments", "metaData")

    def write(self, filters: Filters) -> None:
        """Writes the journey's trigger."""
        part, draft = self._part, self._draft
        label = self._label()
        settings = part.optional_part("configurationArguments")
        trigger: dict[str, Any]
        if self._type in _AUDIENCES:
            flag = draft.flag_of(label, part, "audience")
            trigger = {"segment": draft.segment(f"in {label}", flag), "every": "1d"}
        else:
            event = self._event(label, settings)
            trigger = {"event": event}
            if event != self._identity:
                by = f"by the event definition {self._identity!r}" if self._identity else "into this journey"
                note = f"the event {event} stands for entries {by}"
                draft.note(part, f"event {self._identity or label}", Verdict.mapped, event, note=note)
        trigger |= self._where(settings, filters)
        trigger["reentry"] = self._reentry()
        draft.fields["trigger"] = trigger
        draft.did(part, self._type, label, "trigger")

    def _label(self) -> str:
        """What people call the entry source."""
        if self._definition is not None:
            for key in ("dataExtensionName", "name"):
                if isinstance(self._definition.data.get(key), str) and self._definition.data[key]:
                    return str(self._definition.data[key])
        name = self._part.text("name", "")
        return (self._identity or self._journey.text("name")) if name.upper() in _UNNAMED else name

    def _event(self, label: str, settings: Part | None) -> str:
        """The event that makes entries; of records, what happens to them."""
        if self._type != _RECORDS or settings is None:
            return name_of(label, "entered")
        made = settings.choice("salesforceTriggerCriteria", _CRITERIA, "criteria", "CreatedUpdated")
        of = settings.optional("objectAPIName") or settings.optional("objectApiName") or label
        return name_of(f"{of} {_CRITERIA[made]}", "entered")

    def _where(self, settings: Part | None, filters: Filters) -> dict[str, str]:
        """The filter of the entry source, as a `where`."""
        part, criteria = self._part, ""
        if settings is not None:
            criteria = settings.text("criteria", "")
            settings.skip("schemaVersionId", "filterDefinitionId", "applicationExtensionKey", "version", "unconfigured")
            part = settings
        if self._definition is not None:
            if self._definition.raw("schedule"):
                note = "how often contacts are taken in there; here they enter at once (rule 11)"
                self._draft.left_out(self._definition, "schedule of the entry source", note)
            inside = self._definition.optional_part("arguments")
            if inside is not None and not criteria:
                part, criteria = inside, inside.text("criteria", "")
        if self._type in _AUDIENCES:
            said = filters.condition(criteria, part, "criteria")
        else:
            columns = self._type in (*_ROWS, _RECORDS)
            said = filters.where(criteria, part, "criteria", self._identity, columns=columns)
        if self._type == _RECORDS and settings is not None:
            said = self._of_records(settings, filters, said)
        return {} if said is None else {"where": said}

    def _of_records(self, settings: Part, filters: Filters, said: str | None) -> str | None:
        """The filters of a Salesforce record, which are JSON."""
        settings.skip(
            "eventDataConfig", "eventDataSummary", "primaryObjectFilterSummary", "relatedObjectFilterSummary",
            "evaluationCriteriaSummary", "passThroughArgument", "contactKey", "contactPersonType", "whoToInject",
            "objectAPIName", "objectApiName",
        )  # fmt: skip
        trees = []
        for key in ("primaryObjectFilterCriteria", "relatedObjectFilterCriteria"):
            found = settings.raw(key)
            if isinstance(found, str) and found.strip():
                try:
                    found = data_of(found)
                except ValueError as problem:
                    raise settings.malformed(f"this filter is no JSON: {str(problem)[:100]}", key) from None
            if found:
                of = settings.text("objectAPIName", "") or settings.text("objectApiName", "")
                tree = self._records(settings.export.part_of(found, (*settings.place, key)), of, filters, 0)
                trees += [] if tree is None else [tree]
        if not trees:
            return said
        both = [one for tree in trees for one in (tree.parts if isinstance(tree, And) else (tree,))]
        text = self._draft.condition(And(tuple(both)) if len(both) > 1 else both[0], settings)
        return text if said is None else f"({said}) and ({text})"

    def _records(self, part: Part, of: str, filters: Filters, depth: int) -> Tree | None:
        if depth > 20:
            raise part.malformed("this filter is nested more than 20 deep")
        kind = And if part.choice("operand", ("AND", "OR", "and", "or"), "operands", "AND").upper() == "AND" else Or
        trees: list[Tree] = []
        for one in part.parts("conditions"):
            tree = self._records(one, of, filters, depth + 1) if "conditions" in one else self._record(one, of, filters)
            if tree is not None:
                trees += tree.parts if isinstance(tree, kind) else (tree,)
        return kind(tuple(trees)) if len(trees) > 1 else trees[0] if trees else None

    def _record(self, one: Part, of: str, filters: Filters) -> Tree:
        field, operator = one.text("fieldName"), one.text("operator").lower()
        one.skip(*(one.data.keys() - {"fieldName", "operator", "value", "referenceObjectName"}))
        of = one.optional("referenceObjectName") or of
        found = one.raw("value", "")
        if isinstance(found, list | dict):
            raise one.malformed("there must be a text, a number or a flag here", "value")
        value = str(found)
        what: Tree = Property(filters.property(f"{of}:{field}" if of else field))
        if operator in ("equals", "equal", "notequals", "notequal"):
            filters.looks()
            return Compare("!=" if operator.startswith("not") else "==", what, value_of(value))
        label = f"{of} {field} {one.text('operator')} {value}".strip()
        return Property(filters.draft.flag_of_filter(label, one, "no condition asks this of a record"))

    def _reentry(self) -> str:
        """How often contacts may enter."""
        journey = self._journey
        mode = journey.text("entryMode", "NotSet")
        if mode == "NotSet":
            note = "it is not set; new journeys take in a contact once they are out (rule 12)"
            self._draft.note(journey, "entryMode 'NotSet'", Verdict.approximated, "trigger", note=note)
            return "after_exit"
        return REENTRY[journey.choice("entryMode", [*REENTRY, "NotSet"], "entry modes")]
