"""What the messages of a release depend on: attributes of contacts by templates and conditions, and the catalogue.

A message depends on the attributes that it declares, and on those that the journey reads on the way to it: what its
trigger reads, and each node that the entry has come to. What conditions of `exit_when` and quiet hours read is read
throughout.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Final, NamedTuple

from journeylab.conditions import segments_named, texts_in
from journeylab.durations import duration_text
from journeylab.graph import leading_to, places
from journeylab.journey import Journey, Run, Send, Set
from journeylab.reads import Read, reads_of, reads_of_segment

if TYPE_CHECKING:
    from journeylab.sender.mail.messages import Message
    from journeylab.sender.settings import Settings
    from journeylab.yamlsource import Path

__all__ = ["CATALOGUE", "Dependence", "Dependences", "dependences", "owned_sets", "stale_reason"]

CATALOGUE: Final = "catalogue"
"""What stands for the products in reasons and lists; no attribute's name, where a catalogue is set."""


def stale_reason(name: str) -> str:
    """The reason of a message that waits or is skipped, as the attribute or `CATALOGUE` it depends on is too old."""
    return f"stale:{name}"


@dataclass(frozen=True)
class Dependences:
    """What the messages of a release depend on.

    Attributes:
        messages: by message, the attributes that its templates use.
        recommending: the messages that recommend products.
        nodes: by node, the attributes that are read there; nodes of parts are named as in visits.
        beginning: the attributes that are read when an entry begins.
        throughout: the attributes that are read at any time.
    """

    messages: Mapping[str, frozenset[str]]
    recommending: frozenset[str]
    nodes: Mapping[str, frozenset[str]]
    beginning: frozenset[str]
    throughout: frozenset[str]

    @classmethod
    def of(cls, journey: Journey, messages: Mapping[str, Message]) -> Dependences:
        """Those of a journey with its messages.

        Raises:
            ConditionError: when a condition does not parse.
        """
        nodes: dict[str, set[str]] = defaultdict(set)
        around: dict[str, set[str]] = {"beginning": set(), "throughout": set()}
        for node, path, read in _reads(journey, ""):
            if read.event is None or read.or_attribute:
                place = "beginning" if path[0] in ("trigger", "unit") else "throughout"
                (around[place] if node is None else nodes[node]).add(read.name)
        return cls(
            {name: frozenset(one.attributes) for name, one in messages.items()},
            frozenset(name for name, one in messages.items() if one.recommend),
            {name: frozenset(found) for name, found in nodes.items()},
            frozenset(around["beginning"]),
            frozenset(around["throughout"]),
        )

    def on_the_way(self, nodes: Collection[str]) -> frozenset[str]:
        """The attributes that an entry has read that came to some nodes."""
        read = (self.nodes.get(node, frozenset()) for node in nodes)
        return self.beginning.union(self.throughout, *read)


def _reads(journey: Journey, prefix: str, *, is_part: bool = False) -> Iterator[tuple[str | None, Path, Read]]:
    """What is read, each with its node, or None where it is read outside of nodes; of a part its nodes alone."""
    found = [(one.path, one) for one in reads_of(journey) if one.path[0] not in ("parts", "segments")]
    for text in texts_in(journey):
        if text.role != "segment":
            found += [(text.path, read) for name in segments_named(text) for read in reads_of_segment(journey, name)]
    if journey.trigger.segment is not None:
        found += [(("trigger", "segment"), read) for read in reads_of_segment(journey, journey.trigger.segment)]
    for path, read in found:
        if path[0] == "nodes":
            yield f"{prefix}{path[1]}", path, read
        elif not is_part:
            yield None, path, read
    for name, node in journey.nodes.items():
        if isinstance(node, Run) and node.run in journey.parts:
            yield from _reads(journey.parts[node.run], f"{prefix}{name}.", is_part=True)


class Dependence(NamedTuple):
    """A message that depends on something that may be too old.

    Attributes:
        message: its name.
        on: the attribute, or `CATALOGUE`.
        source: who that is true by.
        max_age: how old it may be.
        stale: what becomes of the message where it is older: `hold` or `skip`.
    """

    message: str
    on: str
    source: str
    max_age: timedelta
    stale: str

    def __str__(self) -> str:
        then = "waits" if self.stale == "hold" else "is skipped"
        return f"{self.message} {then} where {self.on} of {self.source} is older than {duration_text(self.max_age)}"


def dependences(journey: Journey, messages: Mapping[str, Message], settings: Settings) -> list[Dependence]:
    """The messages of a journey that depend on something that may be too old, in the order of nodes.

    Raises:
        ConditionError: when a condition does not parse.
    """
    limits = settings.limited
    catalogue = settings.catalogue
    most = None if catalogue is None else catalogue.max_age
    if not limits and most is None:
        return []
    of = Dependences.of(journey, messages)
    found: dict[Dependence, None] = {}
    for message, before in _sends(journey, "", frozenset()):
        names = of.on_the_way(before) | of.messages.get(message, frozenset())
        for name in sorted(names & limits.keys()):
            one = limits[name]
            assert one.max_age is not None, name  # it has a limit
            found[Dependence(message, name, one.source, one.max_age, one.stale)] = None
        if catalogue is not None and most is not None and message in of.recommending:
            found[Dependence(message, CATALOGUE, catalogue.source, most, catalogue.stale)] = None
    return [*found]


def owned_sets(journey: Journey, settings: Settings) -> Iterator[tuple[Path, str]]:
    """Where a journey, or a part of it, sets an attribute that is true by another source: the place, and why not."""
    for name, node in journey.nodes.items():
        for attribute in node.set if isinstance(node, Set) else ():
            owner = settings.attributes.get(attribute)
            if owner is not None:
                message = (
                    f"{attribute!r} is true by {owner.source}, as `attributes` in the settings says, and no journey "
                    "sets it; set an attribute of another name, or have it changed there by a `call`"
                )
                yield ("nodes", name, "set", attribute), message
    for name, part in journey.parts.items():
        for path, message in owned_sets(part, settings):
            yield ("parts", name, *path), message


def _sends(journey: Journey, prefix: str, before: frozenset[str]) -> Iterator[tuple[str, frozenset[str]]]:
    """Each send's message, with the nodes that an entry may have come to by then, itself included."""
    for name, node in journey.nodes.items():
        leading = leading_to([name], journey)
        inside = {f"{prefix}{one.name}" for one in places(journey) if one.name.partition(".")[0] in leading - {name}}
        mine = before | inside | {prefix + name}
        if isinstance(node, Send):
            yield node.send, mine
        elif isinstance(node, Run) and node.run in journey.parts:
            yield from _sends(journey.parts[node.run], f"{prefix}{name}.", mine)
