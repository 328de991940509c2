"""What a journey must have before it is released: all that is at fault, at once, with its place and its remedy.

An error blocks the release; a warning is printed.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from journeylab.cases import read_cases, run_case
from journeylab.check import notes_of
from journeylab.conditions import AwaitedMessage, conditions_in, parse_awaited, properties_in
from journeylab.errors import DefinitionError, Fault, JourneyLabError, known
from journeylab.expressions import Attribute, walk
from journeylab.journey import CONTACT, Call, Emit, Journey, Policy, WaitFor, WaitUntil
from journeylab.journeyfile import fault_at
from journeylab.sender.declarations import Declarations
from journeylab.sender.dependences import dependences, owned_sets

from .frozen import Frozen, Model, needed_models, sends_of, with_parts
from .purposes import undeclared, unused, use_of

if TYPE_CHECKING:
    from journeylab.experiments.record import DecisionRecord
    from journeylab.sender.mail.lint import Dns
    from journeylab.sender.mail.messages import Messages
    from journeylab.sender.settings import Settings

    from .forecast import Forecast

__all__ = ["Candidate", "Finding", "Findings", "Known", "checked", "names_needed"]


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is at fault, or worth knowing.

    Attributes:
        check: which check found it: `definition`, `tests`, `messages`, `names`, `consent`, `calls`, `models`, `record`,
            `forecast`, `policy`, `tracking`, `purposes`, `attributes` or `ages`.
        severity: `error` or `warning`.
        place: where it is.
        message: what it is, and what to do about it.
    """

    check: str
    severity: Literal["error", "warning"]
    place: str
    message: str

    def __str__(self) -> str:
        return ": ".join(part for part in (self.severity, self.check, self.place, self.message) if part)


@dataclass(frozen=True)
class Findings:
    """What was found, errors first."""

    found: tuple[Finding, ...]

    @property
    def errors(self) -> list[Finding]:
        """Those that block the release."""
        return [one for one in self.found if one.severity == "error"]

    @property
    def warnings(self) -> list[Finding]:
        """The others."""
        return [one for one in self.found if one.severity == "warning"]

    def require(self) -> None:
        """Refuses what has errors.

        Raises:
            DefinitionError: with all of them.
        """
        if self.errors:
            faults = [Fault((), f"{one.check}: {one.message}", one.place or None) for one in self.errors]
            raise DefinitionError(faults)


@dataclass(frozen=True)
class Known:
    """What a store and a log know: attributes of contacts, properties of events, purposes consented to.

    Attributes:
        attributes, properties: names, each with its kind.
        purposes: those for which there is consent; None stands for consent without a purpose.
        policies: of the releases of other journeys that take entries, by journey.
        released: the releases that take entries, of this journey and of others.
    """

    attributes: Mapping[str, str] = field(default_factory=dict)
    properties: Mapping[str, str] = field(default_factory=dict)
    purposes: frozenset[str | None] = frozenset()
    policies: Mapping[str, Policy] | None = None
    released: Sequence[Frozen] = ()


@dataclass(frozen=True)
class Candidate:
    """What is to be released, as far as it could be read; `frozen` makes the release's content of it.

    Attributes:
        file: the journey's file; None for one built in Python, which has no tests.
        journey: the journey.
        policy: what holds over all journeys.
        messages: all messages there are.
        models: the models that were given.
        record: the decision record, where the release comes from an experiment.
        forecast: the forecast.
        without_forecast: why there is none.
    """

    journey: Journey
    policy: Policy
    messages: Messages
    models: Sequence[Model] = ()
    record: DecisionRecord | None = None
    forecast: Forecast | None = None
    without_forecast: str | None = None
    file: Path | None = None

    def frozen(self) -> Frozen:
        """The content of the release: of messages and models what the journey uses."""
        from journeylab.sender.mail.messages import Messages

        needed = needed_models(self.journey)
        record = None if self.record is None else self.record.to_dict()
        return Frozen(
            self.journey,
            self.policy,
            Messages({name: self.messages[name] for name in sends_of(self.journey)}),
            tuple(one for one in self.models if (one.kind, one.name) in needed),
            record,
            self.forecast.to_dict() if self.forecast is not None else {"without": self.without_forecast},
        )


def checked(
    candidate: Candidate, settings: Settings, there: Known, now: datetime, *, dns: Dns | None = None
) -> Findings:
    """What is at fault with a release, and what is worth knowing.

    Args:
        candidate: what is to be released.
        settings: the sender's.
        there: what the store and the log know.
        now: the store's instant, for the date of samples.
        dns: how the message rules look up domains; see `mail.lint.lint`.
    """
    found = [
        *_definition(candidate),
        *_tests(candidate),
        *_messages(candidate, settings, now, dns),
        *_names(candidate, there),
        *_consent(candidate.journey, settings, there),
        *_calls(candidate.journey, settings),
        *_models(candidate),
        *_record(candidate),
        *_forecast(candidate),
        *_policy(candidate, there),
        *_tracking(candidate.journey, settings),
        *_purposes(candidate, settings, there),
        *_ages(candidate, settings),
    ]
    return Findings(tuple(sorted(_together(found), key=lambda one: one.severity)))


def _together(found: Sequence[Finding]) -> Iterator[Finding]:
    """Findings that say the same of several places as one of all these places."""
    places: dict[tuple[str, Literal["error", "warning"], str], list[str]] = {}
    for one in found:
        places.setdefault((one.check, one.severity, one.message), []).append(one.place)
    for (check, severity, message), of in places.items():
        yield Finding(check, severity, ", ".join(dict.fromkeys(of)), message)


def _error(check: str, place: str, message: str) -> Finding:
    return Finding(check, "error", place, message)


def _warning(check: str, place: str, message: str) -> Finding:
    return Finding(check, "warning", place, message)


def _definition(candidate: Candidate) -> Iterator[Finding]:
    name = candidate.journey.journey
    for fault in candidate.journey.check():
        yield _error("definition", str(candidate.file or name), str(fault))
    for note in notes_of(candidate.journey):
        yield _warning("definition", name, note)


def _tests(candidate: Candidate) -> Iterator[Finding]:
    file = candidate.file
    if file is None:
        yield _warning("tests", candidate.journey.journey, "a journey without a file has no tests")
        return
    beside = file.with_name(file.stem + ".tests.yaml")
    if not beside.is_file():
        yield _warning("tests", str(beside), "there are no tests; `journeylab test --help` shows one")
        return
    try:
        suite = read_cases(file)
    except DefinitionError as error:
        yield from (_error("tests", fault.source or "", fault.message) for fault in error.faults)
        return
    for case in suite.cases:
        if case.journey.journey == candidate.journey.journey:
            for problem in run_case(case, suite.portfolio).problems:
                yield _error("tests", f"{suite.path}:{case.line}", f"{case.text}: {problem}")


def _messages(candidate: Candidate, settings: Settings, now: datetime, dns: Dns | None) -> Iterator[Finding]:
    from journeylab.sender.mail.dkim import DkimKey
    from journeylab.sender.mail.lint import lint
    from journeylab.sender.mail.previews import sample
    from journeylab.sender.mail.rendering import Renderer

    needed = sends_of(candidate.journey)
    for name, nodes in needed.items():
        if name not in candidate.messages:
            ending = known(name, candidate.messages, "messages")
            yield _error("messages", f"node {', '.join(nodes)}", f"there is no message {name!r}; {ending}")
    there = [name for name in needed if name in candidate.messages]
    if not there:
        return
    key = None
    try:
        key = DkimKey.read(settings)
    except JourneyLabError as error:
        yield _error("messages", "dkim", str(error))
    with Renderer(candidate.messages) as renderer:
        for name in there:
            try:
                data = sample(renderer, name, settings, key, now)
            except JourneyLabError as error:
                yield _error("messages", f"message {name}", f"its example cannot be sent: {error}")
                continue
            for one in lint(candidate.messages[name], data, settings, dns=dns):
                message = f"{one.rule}: {one.sentence} ({one.source})"
                yield Finding("messages", one.severity, f"message {name}", message)


def _names(candidate: Candidate, there: Known) -> Iterator[Finding]:
    """Attributes and properties that nobody has: most likely written wrongly, or not imported yet."""
    remedy = "import contacts that have it, or give the log with --events and --contacts"
    for name in (name for name in sends_of(candidate.journey) if name in candidate.messages):
        message = candidate.messages[name]
        for one in message.attributes:
            if one not in there.attributes:
                ending = known(one, there.attributes, "attributes")
                yield _error("names", f"message {name}", f"no contact has the attribute {one!r}; {remedy}. {ending}")
        for one in message.entry:
            if one not in there.properties:
                ending = known(one, there.properties, "properties")
                yield _error("names", f"message {name}", f"no event has the property {one!r}; {remedy}. {ending}")
    journey = candidate.journey
    for one in sorted({*_attributes(journey)} - {*there.attributes, "timezone"}):
        ending = known(one, there.attributes, "attributes")
        yield _error("names", journey.journey, f"no contact has the attribute {one!r}; {remedy}. {ending}")
    for one in sorted({*_properties(journey)} - {*there.properties, *there.attributes}):
        ending = known(one, there.properties, "properties")
        yield _error("names", journey.journey, f"no event has the property {one!r}; {remedy}. {ending}")


def names_needed(candidate: Candidate) -> tuple[set[str], set[str]]:
    """The attributes and the properties that the journey's conditions and its messages ask for."""
    messages = [candidate.messages[name] for name in sends_of(candidate.journey) if name in candidate.messages]
    attributes = {*_attributes(candidate.journey)}.union(*(one.attributes for one in messages))
    properties = {*_properties(candidate.journey)}.union(*(one.entry for one in messages))
    return attributes | properties, properties


def _properties(journey: Journey) -> Iterator[str]:
    """The properties that a journey asks for and does not give to events itself."""
    given = {
        name
        for one in with_parts(journey)
        for node in one.nodes.values()
        if isinstance(node, Emit)
        for name in node.emitted.properties
    }
    try:
        yield from properties_in(journey) - given
    except JourneyLabError:
        return  # it does not parse, which is told already


def _attributes(journey: Journey) -> Iterator[str]:
    """The attributes that a journey asks for and does not set itself."""
    given = {name for one in with_parts(journey) for node in one.nodes.values() for name in getattr(node, "set", ())}
    try:
        trees = [*conditions_in(journey)]
    except JourneyLabError:
        return  # it does not parse, which is told already
    asked = {part.name for tree in trees for part in walk(tree) if isinstance(part, Attribute)}
    dates = {journey.trigger.date}
    for one in with_parts(journey):
        dates |= {node.wait_until.date for node in one.nodes.values() if isinstance(node, WaitUntil)}
    units = {journey.unit} - {CONTACT}
    asked |= units | {date for date in dates if date is not None}
    yield from asked - given


def _consent(journey: Journey, settings: Settings, there: Known) -> Iterator[Finding]:
    purpose = journey.purpose
    if purpose in settings.basis or {purpose, None} & there.purposes:
        return
    if not there.purposes:
        message = f"nobody has consented to the purpose {purpose!r} yet; nobody enters until somebody does (rule 11)"
        yield _warning("consent", journey.journey, message)
        return
    ending = known(purpose, [*there.purposes, *settings.basis], "purposes")
    message = f"nobody has consented to the purpose {purpose!r}, and `basis` does not name it; {ending}"
    yield _error("consent", journey.journey, message)


def _calls(journey: Journey, settings: Settings) -> Iterator[Finding]:
    for one in with_parts(journey):
        for name, node in one.nodes.items():
            if isinstance(node, Call) and node.call not in settings.calls:
                ending = known(node.call, settings.calls, "services")
                yield _error("calls", f"node {name}", f"`calls` of the settings has no service {node.call!r}; {ending}")


def _models(candidate: Candidate) -> Iterator[Finding]:
    given, needed = {(one.kind, one.name) for one in candidate.models}, needed_models(candidate.journey)
    for kind, name in needed:
        if (kind, name) not in given:
            what = f"send times {name!r} of `at: best`" if kind == "send_times" else f'the scores of score("{name}")'
            yield _error("models", candidate.journey.journey, f"{what} are missing; give --models {name}=FILE")
    for kind, name in sorted(given - {*needed}):
        yield _error("models", name, f"the journey asks no {kind.replace('_', ' ')} {name!r}; leave the model out")


def _record(candidate: Candidate) -> Iterator[Finding]:
    if candidate.record is not None:
        for reason in candidate.record.refusals(candidate.journey.version):
            yield _error("record", str(candidate.record.experiment.get("name")), f"{reason}; it may not be promoted")


def _forecast(candidate: Candidate) -> Iterator[Finding]:
    name = candidate.journey.journey
    if candidate.forecast is not None:
        yield from (_warning("forecast", name, f"not watched: {one}") for one in candidate.forecast.unwatched)
    elif candidate.without_forecast is None:
        message = (
            "there is no forecast to hold the release against; give --forecast with the output of `journeylab simulate "
            "--json`, or --events, or say why there is none: --without-forecast REASON"
        )
        yield _error("forecast", name, message)
    else:
        yield _warning("forecast", name, f"released without one: {candidate.without_forecast}")


def _policy(candidate: Candidate, there: Known) -> Iterator[Finding]:
    for journey, policy in sorted((there.policies or {}).items()):
        if policy != candidate.policy:
            message = (
                f"{journey} runs under another policy ({_shown(policy)}, here {_shown(candidate.policy)}), and its "
                f"entries keep it; if one is to hold over all, promote {journey} with the same policy too"
            )
            yield _warning("policy", candidate.journey.journey, message)


def _shown(policy: Policy) -> str:
    return ", ".join(f"{name}: {value}" for name, value in policy.data().items()) or "none"


def _tracking(journey: Journey, settings: Settings) -> Iterator[Finding]:
    for one in with_parts(journey):
        for name, node in one.nodes.items():
            for text in node.awaited if isinstance(node, WaitFor) else ():
                try:
                    awaited = parse_awaited(text)
                except JourneyLabError:
                    continue  # it does not parse, which is told already
                kind = awaited.kind if isinstance(awaited, AwaitedMessage) else ""
                if (kind == "opened" and not settings.tracking.opens) or (
                    kind == "clicked" and not settings.tracking.clicks
                ):
                    what = {"opened": "opens", "clicked": "clicks"}[kind]
                    message = (
                        f"it waits for {text}, and `tracking: {{{what}: true}}` is not set: unless somebody else tells "
                        "the sender of them, all go on by the time-out"
                    )
                    yield _warning("tracking", f"node {name}", message)


def _purposes(candidate: Candidate, settings: Settings, there: Known) -> Iterator[Finding]:
    declared = Declarations.of(settings)
    if declared is None:
        return
    folder = settings.path(settings.messages)
    use = use_of(candidate.journey, candidate.messages, settings, file=candidate.file, folder=folder)
    for fault in undeclared(use, declared, settings):
        yield _error("purposes", str(replace(fault, message="")), fault.message)
    others = [use_of(one.journey, one.messages, settings) for one in there.released]
    for path, message in unused([use, *others], settings):
        yield _warning("purposes", ".".join(path), f"{message}, or promote first what does")


def _ages(candidate: Candidate, settings: Settings) -> Iterator[Finding]:
    """Attributes that the journey sets and must not, and what its messages wait for, or are skipped for."""
    journey = candidate.journey
    for path, message in owned_sets(journey, settings):
        fault = Fault(path, "", journey.journey) if candidate.file is None else fault_at(
            candidate.file, journey.journey, path, ""
        )  # fmt: skip
        yield _error("attributes", str(fault), message)
    try:
        found = dependences(journey, candidate.messages, settings)
    except JourneyLabError:
        return  # it does not parse, which is told already
    for one in found:
        yield _warning("ages", journey.journey, str(one))
