"""A journey while it is drawn: data that may be at fault, its YAML text with the comments kept, and its faults.

A draft has the drawn journey under the empty name and the parts that it runs under theirs. What a person does on the
canvas arrives as one JSON text; nothing of it is repaired: a draft at fault has faults, and its YAML text all the same.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from journeylab.check import faults_of
from journeylab.drawing.facts import node_facts, trigger_facts
from journeylab.errors import DataError, DefinitionError, Fault, known
from journeylab.journey import Journey, Run
from journeylab.journeyform import Form, form_of
from journeylab.journeytext import read_text, rewritten, text_of_journey, with_text
from journeylab.jsontext import data_of
from journeylab.yamlsource import Document
from journeylab.yamltext import yaml_text

__all__ = ["MAIN", "Draft", "blank", "draft_of"]

MAIN = ""
"""The name of the drawn journey among the journeys of a draft; parts have their own."""
_EXACT = 2**53
"""Whole numbers beyond this one are not exact in a browser."""


@dataclass(frozen=True, eq=False)
class Draft:
    """A journey and its parts as they are drawn now.

    `texts` are the YAML texts that drawing began with, `journeys` the plain data as drawn, `names` for each journey the
    nodes that are called otherwise now (new name to the one in its text), `sources` the journeys that texts belong to.
    """

    texts: Mapping[str, str]
    journeys: Mapping[str, Mapping[str, Any]]
    names: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    sources: Mapping[str, Journey] = field(default_factory=dict)

    def document(self) -> str:
        """The draft as the canvas takes it: a JSON text whose keys are in the order of the definition."""
        return json.dumps({"journeys": self.journeys, "names": self.names}, ensure_ascii=False, separators=(",", ":"))

    def drawn(self, document: str) -> Draft:
        """The draft with another document, as the canvas gives it.

        Raises:
            DataError: when the text is no such document.
        """
        try:
            data = data_of(document)
            journeys, names = data["journeys"], data["names"]
            is_sound = all(
                isinstance(one, dict) and isinstance(one.get("nodes", {}), dict) for one in journeys.values()
            ) and all(isinstance(old, str) for one in names.values() for old in one.values())
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise DataError(f"what the canvas holds cannot be read: {error}") from None
        if not is_sound or MAIN not in journeys:
            raise DataError("what the canvas holds is no journey: it needs `journeys` with mappings of nodes")
        return Draft(self.texts, journeys, names, self.sources)

    @cached_property
    def forms(self) -> dict[str, Form]:
        """The form of each journey, with stand-ins for what is at fault."""
        return {name: form_of(data, Document()) for name, data in self.journeys.items()}

    @cached_property
    def faults(self) -> list[tuple[str, Fault]]:
        """Every fault of form and meaning, with the journey in which it lies."""
        found = [(name, fault) for name, form in self.forms.items() for fault in form.faults]
        told = {(name, fault.path) for name, fault in found}
        journey = self.stand_in
        if journey is not None:
            for fault in faults_of(journey, unclear=self.forms[MAIN].unclear):
                name, path = _place(fault.path)
                if (name, path) not in told:
                    found.append((name, Fault(path, fault.message)))
        return found

    @cached_property
    def stand_in(self) -> Journey | None:
        """The journey with its parts as far as they can be read; None where too little is left."""
        return self._whole(MAIN, ())

    def _whole(self, name: str, around: tuple[str, ...]) -> Journey | None:
        journey = self.forms[name].journey
        if journey is None:
            return None
        within = (*around, name or journey.journey)
        runs = {node.run for node in journey.nodes.values() if isinstance(node, Run)}
        parts = {
            run: part for run in runs if run in self.forms and run not in within and (part := self._whole(run, within))
        }
        shared = self.sources[name].shared if name in self.sources else {}
        return journey.model_copy(update={"parts": parts, "shared": shared})

    def journey(self) -> Journey:
        """The journey as drawn, with its parts; its `to_yaml` is the draft's.

        Raises:
            DefinitionError: with every fault that it has.
        """
        if self.faults or self.stand_in is None:
            raise DefinitionError(
                [Fault((*((name,) if name else ()), *one.path), one.message) for name, one in self.faults]
            )
        return self._with_text(self.stand_in, MAIN)

    def _with_text(self, journey: Journey, name: str) -> Journey:
        parts = {run: self._with_text(part, run) for run, part in journey.parts.items()}
        return with_text(journey.model_copy(update={"parts": parts}), self.to_yaml(name))

    def to_yaml(self, name: str = MAIN) -> str:
        """The YAML text of the drawn journey, or of a part: that of the file, changed where the drawing differs.

        Raises:
            DefinitionError: when the text cannot be changed in place.
            DataError: when there is no such part.
        """
        if name not in self.journeys:
            raise DataError(
                f"no part {name!r} in this drawing; {known(name, [n for n in self.journeys if n], 'parts')}"
            )
        after = self.journeys[name]
        text = self.texts.get(name)
        if text is None:
            return yaml_text(after)
        before = read_text(text).data
        if before == after and list(before.get("nodes", {})) == list(after.get("nodes", {})):
            return text
        names = {old: new for new, old in self.names.get(name, {}).items() if old in before.get("nodes", {})}
        new = rewritten(
            text, lambda one: read_text(one).node, before, {**after, "nodes": after.get("nodes", {})}, names
        )
        if read_text(new).data != after:
            raise DefinitionError([Fault((), "its text cannot be changed in place; write the journey to a new file")])
        return new

    def changed_parts(self) -> Iterator[tuple[str, Journey]]:
        """The parts whose text is another than drawing began with, by name."""
        for name, part in _with_parts(self.journey(), MAIN):
            if name != MAIN and self.to_yaml(name) != self.texts.get(name):
                yield name, part

    def facts(self) -> dict[str, dict[str, list[str]]]:
        """For each journey what its nodes do, in short lines; nodes at fault show their options as they are."""
        shown = {}
        for name, form in self.forms.items():
            nodes = form.journey.nodes if form.journey is not None else {}
            shown[name] = {
                node: _options(data) if node in form.unclear or node not in nodes else node_facts(nodes[node])
                for node, data in self.journeys[name].get("nodes", {}).items()
            }
        return shown

    def triggers(self) -> dict[str, list[str]]:
        """For each journey what makes its entries, in short lines; of a part nothing, as its parent makes them."""
        form = self.forms[MAIN]
        is_clear = form.journey is not None and not any(fault.path[:1] == ("trigger",) for fault in form.faults)
        lines = trigger_facts(form.journey.trigger) if form.journey is not None and is_clear else []
        return {name: lines if name == MAIN else [] for name in self.journeys}


def draft_of(journey: Journey) -> Draft:
    """The draft that a journey and its parts make, as they are.

    Raises:
        DataError: when a number in it is too large to be exact in a browser.
    """
    sources = dict(_with_parts(journey, MAIN))
    texts = {name: text_of_journey(one) for name, one in sources.items()}
    journeys = {name: read_text(text).data for name, text in texts.items()}
    for name, data in journeys.items():
        for path, number in _large(data, ()):
            place = ".".join(map(str, path))
            raise DataError(
                f"{name or journey.journey}: {place}: {number} is not exact in a browser; write it as a text"
            )
    return Draft(texts, journeys, {}, sources)


def blank(name: str, events: Sequence[str] = ()) -> Journey:
    """The journey that a drawing from nothing begins with: a sign-up, or the first event there is, leads to an exit."""
    event = "signup" if "signup" in events or not events else events[0]
    return Journey.from_data({"journey": name, "trigger": {"event": event}, "nodes": {"done": {"exit": "finished"}}})


def _with_parts(journey: Journey, name: str) -> Iterator[tuple[str, Journey]]:
    yield name, journey
    for run, part in journey.parts.items():
        yield from _with_parts(part, run)


def _large(value: Any, path: tuple[str | int, ...]) -> Iterator[tuple[tuple[str | int, ...], int]]:
    if isinstance(value, Mapping):
        for key, part in value.items():
            yield from _large(part, (*path, key))
    elif isinstance(value, list):
        for i, part in enumerate(value):
            yield from _large(part, (*path, i))
    elif isinstance(value, int) and abs(value) > _EXACT:
        yield path, value


def _place(path: tuple[str | int, ...]) -> tuple[str, tuple[str | int, ...]]:
    """The journey in which a fault lies, and its place there."""
    name = MAIN
    while len(path) > 1 and path[0] == "parts":
        name, path = str(path[1]), path[2:]
    return name, path


def _options(data: Any) -> list[str]:
    if not isinstance(data, Mapping):
        return [str(data)]
    return [f"{key} {value}" if isinstance(value, str | int | float) else f"{key} …" for key, value in data.items()]
