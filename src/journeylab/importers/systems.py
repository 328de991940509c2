"""The systems whose journeys are imported, and to which journeys are exported."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from importlib import import_module
from typing import Any, Final, Protocol, runtime_checkable

from journeylab.errors import DataError, known
from journeylab.extensions import found, made
from journeylab.journey import Journey

from .draft import Draft
from .export import Export
from .outcomes import NodeType, Outcome

__all__ = ["BUILT_IN", "System", "Writes", "node_table", "system_of", "system_names"]

BUILT_IN: Final = ("salesforce", "eloqua", "hubspot", "mautic", "klaviyo", "dittofeed", "braze")
"""The systems that come with JourneyLab, each a module of this package with a `SYSTEM`."""


class System(Protocol):
    """A system whose journeys are imported; one's own is an entry point of `journeylab.importers`.

    Attributes:
        name: by which it is asked for.
        title: the system and its format, for people.
        documented: the title of the public documentation that it is written from.
        node_types: each documented node type, and what becomes of it.
        ignored: keys of the export that say nothing about what a journey does, wherever they stand.
    """

    @property
    def name(self) -> str: ...
    @property
    def title(self) -> str: ...
    @property
    def documented(self) -> str: ...
    @property
    def node_types(self) -> Sequence[NodeType]: ...
    @property
    def ignored(self) -> Collection[str]: ...

    def read(self, export: Export) -> Sequence[Draft]:
        """The journeys of an export, each with its outcomes and where it begins.

        Raises:
            Malformed: for what is wrong with the export as a whole; what is wrong in parts is noted (`Export.noting`).
        """
        ...


@runtime_checkable
class Writes(Protocol):
    """A system to which journeys are exported, too."""

    def write(self, journey: Journey) -> tuple[Any, Sequence[Outcome]]:
        """The export as plain data, and what became of each part of the journey, by its place in the journey."""
        ...


def system_names() -> list[str]:
    """The names of all systems, built in and installed."""
    return sorted({*BUILT_IN, *found("importers", BUILT_IN)})


def system_of(name: str) -> System:
    """The system of a name.

    Raises:
        DataError: when there is none, with those that there are; or when the package that brings it is broken.
    """
    if name in BUILT_IN:
        built_in: System = import_module(f"{__package__}.{name}").SYSTEM
        return built_in
    if name not in system_names():
        raise DataError(f"no system {name!r}; {known(name, system_names(), 'systems')}")
    own: System = made("importers", name, BUILT_IN, ["read"])
    return own


def node_table(system: System) -> Iterator[str]:
    """The lines of the Markdown table of a system's node types, as docs/importing-journeys.md has it."""
    yield "| node type | in its editor | here | verdict | what differs |"
    yield "|---|---|---|---|---|"
    for one in system.node_types:
        becomes = ", ".join(f"`{verb}`" for verb in one.becomes.split(", ")) if one.becomes else "nothing"
        yield f"| `{one.name}` | {one.title} | {becomes} | {one.verdict} | {one.note} |"
