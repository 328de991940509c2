"""The activities of a journey by their keys, and the ways that lead on from them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from journeylab.errors import known
from journeylab.expressions import Tree
from journeylab.importers.draft import Draft
from journeylab.importers.export import Part

from .activitytypes import NODE_TYPES, type_named
from .filters import Filters
from .waits import Waits

__all__ = ["Step", "Steps"]


@dataclass(frozen=True)
class Step:
    """An activity: its part of the export, its type, the name of its node, and what people call it."""

    part: Part
    kind: str
    name: str
    label: str

    @property
    def settings(self) -> Part:
        """Its `configurationArguments`, empty where it has none."""
        key = "configurationArguments"
        return self.part.optional_part(key) or self.part.export.part_of({}, (*self.part.place, key))


class Steps:
    """The activities of one journey.

    Args:
        draft: the journey.
        journey: its part of the export.
        filters: reads its filters.

    Attributes:
        by_key: the activities.
        waits: its waits, and what is asked at their end.
        root: the key of the activity that nothing leads to; of several, of the first in the list.

    Raises:
        Malformed: when it has no activities.
    """

    def __init__(self, draft: Draft, journey: Part, filters: Filters) -> None:
        self.draft, self.filters, self.waits = draft, filters, Waits(draft, journey, filters)
        self.by_key: dict[str, Step] = {}
        for part in journey.parts("activities"):
            with journey.export.noting():
                self._add(part)
        if not self.by_key:
            raise journey.malformed("there is no activity in this journey", "activities")
        self._before: dict[str, list[str]] = {}
        for key, step in self.by_key.items():
            for target in _targets(step.part):
                self._before.setdefault(target, []).append(key)
        self.root = next((key for key in self.by_key if key not in self._before), next(iter(self.by_key)))

    def _add(self, part: Part) -> None:
        key, written = part.text("key"), part.text("type")
        found = type_named(written)
        if found is None:
            names = [one.name for one in NODE_TYPES]
            raise part.malformed(f"{written!r} is no activity that is known; {known(written, names, 'types')}", "type")
        if key in self.by_key:
            raise part.malformed(f"two activities have the key {key!r}", "key")
        about = part.data.get("metaData")
        label = part.text("name", "") or (str(about.get("flowDisplayName") or "") if isinstance(about, Mapping) else "")
        called = f"wait {label}" if label[:1].isdigit() and "WAIT" in found.name else label
        self.by_key[key] = Step(part, found.name, self.draft.name(key, called or key), label)
        part.skip("description", "schema", "metaData", "arguments", "editable", "errors")

    def before(self, key: str) -> list[str]:
        """The keys of the activities that lead to another."""
        return self._before.get(key, [])

    def after(self, key: str) -> str:
        """The key of the activity that follows one with one way, an empty text at the end."""
        return next(iter(_targets(self.by_key[key].part)), "")

    # Ways

    def ways(self, step: Step) -> list[tuple[Part, str]]:
        """The outcomes of an activity, and the node that each leads to.

        Raises:
            Malformed: when one leads to an activity that does not exist.
        """
        ways = []
        for outcome in step.part.parts("outcomes"):
            outcome.skip("metaData", "arguments")
            key = outcome.optional("next")
            if key is not None and key not in self.by_key:
                there = known(key, list(self.by_key), "activities")
                raise outcome.malformed(f"it leads to {key!r}, and there is no such activity; {there}", "next")
            ways.append((outcome, self.draft.goes(key)))
        return ways

    def next(self, step: Step) -> str:
        """Where an activity with one way leads; without an outcome the journey ends.

        Raises:
            Malformed: when it has several.
        """
        ways = self.ways(step)
        if len(ways) > 1:
            raise step.part.malformed(f"this activity leads on in one way, not in {len(ways)}", "outcomes")
        return ways[0][1] if ways else self.draft.exit()

    def argument(self, outcome: Part, key: str) -> Any:
        """An argument of an outcome, None where there is none."""
        found = outcome.optional_part("arguments")
        return None if found is None else found.raw(key)

    def label(self, outcome: Part) -> str:
        """What people call an outcome."""
        about = outcome.optional_part("metaData")
        found = None if about is None else about.optional("label") or about.optional("pathName")
        if about is not None:
            about.skip(*about.data)
        return found or outcome.text("key", "path")

    def yes_and_no(self, step: Step) -> tuple[str, str]:
        """Where contacts go who did what is asked or awaited, and where the others go.

        Raises:
            Malformed: when that cannot be told.
        """
        yes: list[str] = []
        no: list[str] = []
        for outcome, target in self.ways(step):
            when, label = self.argument(outcome, "when"), self.label(outcome).lower()
            if when is None:
                when = not label.startswith("no")
            (yes if str(when).lower() == "true" else no).append(target)
        if len(yes) > 1 or len(no) > 1:
            message = "it cannot be told which outcome is that of contacts who did it; give their arguments a `when`"
            raise step.part.malformed(message, "outcomes")
        return yes[0] if yes else self.draft.exit(), no[0] if no else self.draft.exit()

    # Nodes

    def clause(self, condition: str | Tree, target: str, part: Part) -> dict[str, str]:
        """A clause of a `decide`."""
        return {"if": self.draft.condition(condition, part), "go": target}

    def decide(self, step: Step, clauses: Sequence[dict[str, str]], otherwise: str | None) -> None:
        """Writes a `decide`; without a clause it only leads on."""
        end = otherwise or self.draft.exit()
        if clauses:
            self.draft.node(step.name, step.part, decide=list(clauses), otherwise=end)
        else:
            self.draft.passes(step.name, end)

    def did(self, step: Step, *becomes: str, but: str | Sequence[str] = "", without: str = "") -> None:
        """Notes what became of an activity; see `Draft.did`."""
        differs = but if isinstance(but, str) else "; ".join(one for one in but if one)
        self.draft.did(step.part, step.kind, step.label, *becomes, but=differs, without=without)


def _targets(part: Part) -> list[str]:
    outcomes = part.data.get("outcomes")
    listed = outcomes if isinstance(outcomes, list) else []
    return [str(one["next"]) for one in listed if isinstance(one, Mapping) and one.get("next")]
