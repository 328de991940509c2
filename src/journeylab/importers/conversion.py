"""From an export to journeys, from a journey to an export, each with a loss report."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from textwrap import wrap
from typing import Any

from journeylab.display import counted
from journeylab.errors import DataError, DefinitionError, Fault
from journeylab.instants import check_zone
from journeylab.journey import Journey
from journeylab.journeyfile import save
from journeylab.journeytext import plain_text

from .draft import Draft
from .export import Export, Malformed, read_export
from .outcomes import Losses, Outcome, Verdict
from .systems import BUILT_IN, System, Writes, system_of

__all__ = ["Exported", "Imported", "export_journey", "import_journeys"]


@dataclass(frozen=True)
class Imported:
    """Journeys that were made of another system's export.

    Attributes:
        system: the system's name.
        source: the file that they were in.
        journeys: they, checked.
        losses: what became of each part of the export.
        messages: for each message that they send, the id that the other system has for it.
        titles: for each, what it is called there.
    """

    system: str
    source: str
    journeys: tuple[Journey, ...]
    losses: Losses
    messages: Mapping[str, str]
    titles: Mapping[str, str]

    def called(self) -> list[tuple[str, str]]:
        """Each message with each of the ways in which the other system's events may speak of it: its id and title."""
        both = (self.messages, self.titles)
        return [*dict.fromkeys((name, of[name]) for name in self.messages for of in both if of.get(name))]

    def only(self, journeys: Sequence[Journey]) -> Imported:
        """Some of the journeys, with what became of their parts."""
        names = {one.journey for one in journeys}
        losses = Losses(tuple(one for one in self.losses.outcomes if one.journey in names))
        return replace(self, journeys=tuple(journeys), losses=losses)

    def text(self) -> str:
        """The journeys as YAML; what is not said as the other system meant it stands above each as comments."""
        return "---\n".join(self._comments(one) + plain_text(one) for one in self.journeys)

    def save(self, path: str | Path) -> None:
        """Writes the journeys to a file: YAML, or JSON where its name ends so (without the comments).

        Raises:
            DataError: when it cannot be written.
        """
        path = Path(path)
        if path.suffix == ".json":
            if len(self.journeys) != 1:
                raise DataError(f"{path}: a JSON file has one journey, and these are {len(self.journeys)}; write YAML")
            save(self.journeys[0], path)
            return
        try:
            path.write_text(self.text(), encoding="utf-8")
        except OSError as problem:
            raise DataError(f"{path} cannot be written: {problem.strerror}") from None

    def _comments(self, journey: Journey) -> str:
        of = self.only([journey]).losses
        lines = [f"Made of {Path(self.source).name} ({self.system}) by `journeylab convert`."]
        for verdict in (Verdict.approximated, Verdict.left_out):
            for note, found in of.by_note(verdict).items():
                parts = ", ".join(f"{one.element}{_becomes(one)}" for one in found)
                lines.append(f"{verdict}: {parts}: {note}")
        return "".join(f"# {row}\n" for line in lines for row in wrap(line, 116, subsequent_indent="  "))

    def __repr__(self) -> str:
        return f"Imported({self.system!r}, {counted(len(self.journeys), 'journey')}, {self.losses!r})"

    def _repr_html_(self) -> str:
        return self.losses._repr_html_()


@dataclass(frozen=True)
class Exported:
    """A journey in another system's format.

    Attributes:
        system: the system's name.
        data: what its API or its import takes, as plain data.
        losses: what became of each part of the journey.
    """

    system: str
    data: Any
    losses: Losses

    def text(self) -> str:
        """It as JSON."""
        return json.dumps(self.data, indent=2, ensure_ascii=False) + "\n"

    def __repr__(self) -> str:
        return f"Exported({self.system!r}, {self.losses!r})"

    def _repr_html_(self) -> str:
        return self.losses._repr_html_()


def import_journeys(source: str | Path | Mapping[str, Any], system: str, *, timezone: str | None = None) -> Imported:
    """The journeys of another system's export, and what became of each of its parts.

    Args:
        source: the file (JSON, or a ZIP archive that has it), or the data in it.
        system: `salesforce`, `eloqua`, `hubspot`, `mautic`, `klaviyo`, `dittofeed`, `braze`, or an installed one.
        timezone: the zone of its local times, where the export does not say it.

    Raises:
        DefinitionError: with every fault of the export and its place.
        DataError: when there is no such system or zone.

    >>> export = {
    ...     "name": "Hello",
    ...     "definition": {
    ...         "entryNode": {"type": "EventEntryNode", "event": "signup", "child": "mail"},
    ...         "exitNode": {"type": "ExitNode"},
    ...         "nodes": [
    ...             {"id": "mail", "type": "MessageNode", "name": "Welcome", "child": "ExitNode",
    ...              "variant": {"type": "Email", "templateId": "t1"}},
    ...         ],
    ...     },
    ... }
    >>> made = import_journeys(export, "dittofeed")
    >>> made.journeys
    (Journey('hello', 3 nodes, on signup, version ...),)
    >>> print(made.losses.outcomes[2])
    mapped: EventEntryNode 'signup' -> trigger
    """
    if timezone is not None:
        check_zone(timezone)
    reads = system_of(system)
    if isinstance(source, Mapping):
        export = Export(dict(source), timezone=timezone)
    else:
        export = read_export(source, timezone=timezone)
    try:
        drafts = reads.read(export)
    except Malformed as problem:
        export.faults.append(problem.fault)
        drafts = ()
    export.check()
    if not drafts:
        raise DefinitionError([Fault((), "there is no journey in here", export.source)])
    journeys = _made(drafts, export)
    outcomes = [replace(one, journey=draft.fields["journey"]) for draft in drafts for one in draft.outcomes]
    outcomes += [replace(one, journey=journeys[0].journey) for one in _unread(export, reads)]
    messages = {name: identity for draft in drafts for name, identity in draft.messages.items()}
    titles = {name: title for draft in drafts for name, title in draft.titles.items()}
    return Imported(system, export.source, tuple(journeys), Losses(tuple(outcomes)), messages, titles)


def _becomes(outcome: Outcome) -> str:
    return f" -> {', '.join(outcome.becomes)}" if outcome.becomes else ""


def _made(drafts: Sequence[Draft], export: Export) -> list[Journey]:
    """The journeys of drafts, which get names of their own."""
    names: set[str] = set()
    journeys: list[Journey] = []
    for draft in drafts:
        wanted, n = draft.fields["journey"], 2
        while draft.fields["journey"] in names:
            draft.fields["journey"], n = f"{wanted}_{n}", n + 1
        names.add(draft.fields["journey"])
        try:
            with export.noting():
                journeys.append(draft.journey())
        except DefinitionError as problem:
            export.faults.extend(problem.faults)
    export.check()
    return journeys


def _unread(export: Export, system: System) -> Iterator[Outcome]:
    """What no importer looked at, but for what says nothing: each name once, with how often it is there."""
    places = defaultdict(list)
    for place, _ in export.unread():
        key = next((one for one in reversed(place) if isinstance(one, str)), "")
        if key not in system.ignored:
            places[key].append(place)
    for key, found in places.items():
        times = "" if len(found) == 1 else f" ({len(found)} times)"
        yield Outcome(found[0], f"setting {key!r}{times}", Verdict.left_out, note="nothing here stands for it")


def export_journey(journey: Journey, system: str) -> Exported:
    """A journey in another system's format, and what became of each of its parts.

    Args:
        journey: the journey.
        system: `salesforce`, `hubspot` or `dittofeed`.

    Raises:
        DefinitionError: with every part that the other system cannot have in any way.
        DataError: when there is no such system, or it takes no journeys.
    """
    writes = system_of(system)
    if not isinstance(writes, Writes):
        able = [name for name in BUILT_IN if isinstance(system_of(name), Writes)]
        raise DataError(f"journeys cannot be exported to {system!r}, only imported from it; choose {' or '.join(able)}")
    data, outcomes = writes.write(journey)
    return Exported(system, data, Losses(tuple(replace(one, journey=journey.journey) for one in outcomes)))
