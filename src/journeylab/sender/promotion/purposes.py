"""What each journey reads for its purpose, held against what the settings declare for that purpose.

A journey reads by its definition (`reads_of`), by the attributes and properties that its messages declare, by the
recommender where a message recommends products, and by the experiments that are run on it. Send times of `at: best`
were learned from sends and answers to them, which the log's contract names. What a table of scores was made of is not
known here.

All of it, journey by journey, with purpose and legal basis, is the record of processing activities that Art. 30 of the
GDPR asks for.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from journeylab.conditions import EntryProperty, Property, parse, walk
from journeylab.errors import Fault, JourneyLabError, known, listed
from journeylab.journeyfile import SUFFIXES, fault_at, text_of
from journeylab.reads import Read, reads_of, reads_of_segment
from journeylab.sender.declarations import Declarations
from journeylab.yamlsource import documents

from .frozen import sends_of
from .standing import frozen_release, running

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from journeylab.experiments import Experiment
    from journeylab.journey import Journey
    from journeylab.sender.mail.messages import Message
    from journeylab.sender.settings import Settings

__all__ = [
    "Processing", "Use", "undeclared", "undeclared_by_releases", "unused", "use_of", "use_of_experiment",
]  # fmt: skip


@dataclass(frozen=True)
class Use:
    """What a journey, or an experiment on it, reads for a purpose.

    Attributes:
        name: the journey's, or the experiment's.
        purpose: whose data it uses.
        reads: all that it reads; what a message reads has a path that begins with `messages` and its name.
        at: gives the fault at one of these paths, with its file and line where there is one.
    """

    name: str
    purpose: str
    reads: tuple[Read, ...]
    at: Callable[[tuple[str | int, ...], str], Fault]


class Processing(NamedTuple):
    """What is processed for a journey: an entry of the record of processing activities.

    Attributes:
        journey, version: the journey.
        purpose: its purpose, and `title` what contacts are told it is.
        basis: the legal basis: `consent`, or what the settings say.
        attributes: the attributes that it reads, sorted.
        properties: by event, the properties.
    """

    journey: str
    version: str
    purpose: str
    title: str
    basis: str
    attributes: tuple[str, ...]
    properties: Mapping[str, tuple[str, ...]]

    def to_dict(self) -> dict[str, Any]:
        """The entry as plain data."""
        properties = {event: list(names) for event, names in self.properties.items()}
        return self._asdict() | {"attributes": list(self.attributes), "properties": properties}

    @classmethod
    def of(cls, journey: Journey, use: Use, settings: Settings) -> Processing:
        """What is processed for a journey.

        What is a property where the event has it, and else an attribute, is listed as what the purpose declares, and
        as both where it declares neither.
        """
        declared, own = Declarations.of(settings), settings.purposes.get(journey.purpose)
        attributes: set[str] = set()
        properties: dict[str, set[str]] = {}
        for read in use.reads:
            either = read._replace(event=None), read._replace(or_attribute=False)
            ways = [*either] if read.or_attribute else [read]
            allowed = [] if declared is None else [one for one in ways if declared.allows(journey.purpose, one)]
            for one in allowed or ways:
                (attributes if one.event is None else properties.setdefault(one.event, set())).add(one.name)
        title = "" if own is None else own.title.get(settings.language) or next(iter(own.title.values()))
        return cls(
            journey.journey, journey.version, journey.purpose, title, settings.basis.get(journey.purpose, "consent"),
            tuple(sorted(attributes)), {event: tuple(sorted(names)) for event, names in sorted(properties.items())},
        )  # fmt: skip


def use_of(
    journey: Journey,
    messages: Mapping[str, Message],
    settings: Settings,
    *,
    file: Path | None = None,
    folder: Path | None = None,
) -> Use:
    """What a journey reads, its messages and their recommender among it; nothing of a definition that does not parse.

    Args:
        journey: the journey.
        messages: all messages there are; one that is not there is told elsewhere.
        settings: the sender's.
        file: the journey's file, for lines.
        folder: the messages' folder, for lines.
    """
    reads: list[Read] = []
    with suppress(JourneyLabError):  # what does not parse is told already
        reads += reads_of(journey)
    for name in (name for name in sends_of(journey) if name in messages):
        reads += _of_message(messages[name], journey, settings)

    def at(path: tuple[str | int, ...], message: str) -> Fault:
        if path[:1] == ("messages",):
            return _in_message(folder, str(path[1]), path[2:], message)
        return Fault(path, message, journey.journey) if file is None else fault_at(file, journey.journey, path, message)

    return Use(journey.journey, journey.purpose, tuple(reads), at)


def _of_message(message: Message, journey: Journey, settings: Settings) -> Iterator[Read]:
    path = ("messages", message.message)
    for i, name in enumerate(message.attributes):
        yield Read((*path, "attributes", i), name)
    for i, name in enumerate(message.entry):
        if journey.trigger.event is not None:
            yield Read((*path, "entry", i), name, journey.trigger.event)
    if message.recommend:
        yield Read((*path, "recommend"), settings.recommend.item, settings.recommend.event)


def _in_message(folder: Path | None, name: str, path: tuple[str | int, ...], message: str) -> Fault:
    file = next((one for suffix in SUFFIXES if folder and (one := folder / (name + suffix)).is_file()), None)
    if file is None:
        return Fault(path, message, f"message {name}")
    document, *_ = documents(text_of(file).text, source=str(file), is_json=file.suffix == ".json")
    return document.fault(path, message)


def use_of_experiment(experiment: Experiment, file: Path) -> Iterator[Use]:
    """What an experiment reads of a log, once for each purpose of its journeys; nothing for one on a plain table."""
    by_purpose = {one.purpose: one for one in experiment.definitions.values()}

    def at(path: tuple[str | int, ...], message: str) -> Fault:
        document, *_ = documents(text_of(file).text, source=str(file), is_json=file.suffix == ".json")
        return document.fault(path, message)

    for purpose, journey in by_purpose.items():
        yield Use(experiment.experiment, purpose, tuple(_of_experiment(experiment, journey)), at)


def _of_experiment(experiment: Experiment, journey: Journey) -> Iterator[Read]:
    metrics: list[tuple[tuple[str | int, ...], Any]] = [(("primary",), experiment.primary)]
    metrics += [(("secondary", i), one) for i, one in enumerate(experiment.secondary)]
    metrics += [(("guardrails", i), one.metric) for i, one in enumerate(experiment.guardrails)]
    for path, metric in metrics:
        for value in metric.columns():
            event, _, name = value.source.rpartition(".")
            if event:
                yield Read(path, name, event)
            tree = None if metric.where is None else parse(metric.where, scope="past").tree
            for part in walk(tree) if tree is not None else ():
                if isinstance(part, Property | EntryProperty):
                    yield Read((*path, "where"), part.name, event or name)
    for what, names in (("segments", experiment.segments), ("features", experiment.features)):
        for i, name in enumerate(names):
            if name in journey.known_segments:
                yield from (one._replace(path=(what, i)) for one in reads_of_segment(journey, name))
            else:
                yield Read((what, i), name)


# Against the declarations


def undeclared(use: Use, declared: Declarations, settings: Settings) -> Iterator[Fault]:
    """What is read and not declared for the purpose: where, what, who declares it, and the nearest name."""
    if not use.reads and use.purpose in settings.purposes:
        return
    if use.purpose not in declared.attributes:
        message = (
            f"the purpose {use.purpose!r} declares nothing, and others do; say under `purposes: {use.purpose}:` of the "
            f"settings which `attributes` and `properties` it may use. Read is: {_names(use.reads)}. "
            + known(use.purpose, declared.attributes, "purposes that declare")
        )
        yield use.at(("purpose",), message)
        return
    for read in use.reads:
        if not declared.allows(use.purpose, read):
            yield use.at(read.path, _refusal(read, use.purpose, declared))


def undeclared_by_releases(connection: Connection, settings: Settings) -> list[str]:
    """What releases that take entries read and their purposes do not declare, as `JOURNEY VERSION: what`.

    Settings may declare less than they did when a release was promoted; then what it reads is not kept any more.
    """
    declared = Declarations.of(settings)
    if declared is None:
        return []
    found = []
    for one in running(connection):
        frozen = frozen_release(connection, one.release_id)
        use = use_of(frozen.journey, frozen.messages, settings)
        reads = use.reads if use.purpose not in declared.attributes else [
            read for read in use.reads if not declared.allows(use.purpose, read)
        ]  # fmt: skip
        if reads:
            found.append(f"{one.journey} {one.version}: {_names(reads)}")
    return found


def _names(reads: Iterable[Read]) -> str:
    return (
        listed(dict.fromkeys(one.name if one.event is None else f"{one.event}.{one.name}" for one in reads)) or "none"
    )


def _refusal(read: Read, purpose: str, declared: Declarations) -> str:
    others = [one for one in declared.declaring(read) if one != purpose]
    elsewhere = f"{listed(others)} may" if others else "no purpose may"
    if read.event is None:
        ending = known(read.name, declared.attributes[purpose], f"attributes of {purpose}")
    else:
        of = declared.properties[purpose]
        ending = known(read.name, of.get(read.event, ()), f"properties of {read.event} for {purpose}")
        if read.event not in of:
            ending = known(read.event, of, f"events whose properties {purpose} may use")
    either = " (nor the attribute of that name)" if read.or_attribute else ""
    return f"the purpose {purpose!r} may not use the {read}{either}, and {elsewhere}; {ending}"


def unused(uses: Collection[Use], settings: Settings) -> Iterator[tuple[tuple[str, ...], str]]:
    """What purposes declare and none of the given reads, as its place in the settings and a sentence."""
    declared = Declarations.of(settings)
    if declared is None:
        return
    for purpose in sorted(declared.attributes):
        mine = [read for one in uses if one.purpose == purpose for read in one.reads]
        read = {one.name for one in mine if one.event is None or one.or_attribute}
        properties = {(one.event, one.name) for one in mine if one.event is not None}
        for name in sorted(declared.attributes[purpose] - read):
            yield (
                ("purposes", purpose, "attributes"),
                f"attribute {name!r}: nothing for {purpose} reads it; take it out",
            )
        for event, names in sorted(declared.properties[purpose].items()):
            for name in sorted(names):
                if (event, name) not in properties:
                    what = f"property {name!r} of {event!r}: nothing for {purpose} reads it; take it out"
                    yield ("purposes", purpose, "properties", event), what
