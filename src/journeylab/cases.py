"""Cases kept beside a journey: one contact's events, and what is expected of the journey, in NAME.tests.yaml.

A case runs through `replay` on a log of its one contact, so that it means what a replay means.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal
from xml.etree import ElementTree

from pydantic import BaseModel, ConfigDict, Field, StrictBool, StrictInt

from .conditions import conditions_in, properties_in
from .durations import parse_duration
from .errors import DefinitionError, Fault, JourneyLabError, known
from .expressions import Attribute, Score, Tree, walk
from .journey import CONTACT, Call, Journey, Portfolio, Scalar, WaitUntil
from .journeyfile import read
from .journeyform import part_of
from .yamlsource import Document, documents

if TYPE_CHECKING:
    import pandas as pd

    from .replay import Replay

__all__ = ["Case", "CaseResult", "Suite", "junit_xml", "read_cases", "run_case"]

# Without `until`, a case runs this long after its last event: time for any journey to end.
_AFTERWARDS = timedelta(days=365)


class _Form(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class ExpectedSend(_Form):
    """A message that is sent, and when: an instant, or a duration after the first event such as `+3d`."""

    message: str
    at: str | None = None


class Expected(_Form):
    """What is expected; what is not named is not checked, but for the number of entries."""

    path: tuple[str, ...] | None = None
    sends: tuple[str | ExpectedSend, ...] | None = None
    exit: str | None = None
    still_inside: StrictBool | None = None
    converted: StrictBool | None = None
    entries: StrictInt = Field(default=1, ge=0)
    entry: StrictInt = Field(default=1, ge=1)


class CaseForm(_Form):
    """A case as it is written; `contact` decides splits and holdouts, as it does everywhere (rule 22)."""

    case: str
    journey: str | None = None
    contact: str = "ada"
    attributes: dict[str, Scalar] = Field(default_factory=dict)
    events: tuple[dict[str, Scalar], ...] = Field(min_length=1)
    calls: dict[str, Literal["succeeds", "fails"]] = Field(default_factory=dict)
    scores: dict[str, float] = Field(default_factory=dict)
    until: str | None = None
    expect: Expected


@dataclass(frozen=True)
class Case:
    """A case that was read and checked: what happens, in instants, and what is `expected`.

    `sends_at` are the instants of the expected sends, None where no instant is expected.
    """

    text: str
    journey: Journey
    contact: str
    attributes: Mapping[str, Scalar]
    events: Sequence[Mapping[str, Any]]
    calls: Mapping[str, bool]
    scores: Mapping[str, float]
    until: datetime
    expected: Expected
    sends_at: Sequence[datetime | None]
    line: int | None


@dataclass(frozen=True)
class Suite:
    """The cases of one file, and the journeys they are about, which run together."""

    path: Path
    portfolio: Portfolio
    cases: Sequence[Case]


@dataclass(frozen=True)
class CaseResult:
    """A case that was run: `problems` is what differs from what is expected, empty when nothing does."""

    case: Case
    problems: Sequence[str]


def read_cases(path: str | Path) -> Suite:
    """The checked cases beside a journey file: those of NAME.tests.yaml for NAME.yaml.

    Raises:
        DefinitionError: with every fault of the journeys; or of the cases, each with its line and column; or when
            there is no file of cases.
    """
    path = Path(path)
    if path.name.endswith(".tests.yaml"):
        path = path.with_name(path.name.removesuffix(".tests.yaml") + ".yaml")
    portfolio = read(path)
    beside = path.with_name(path.stem + ".tests.yaml")
    try:
        text = beside.read_text(encoding="utf-8")
    except FileNotFoundError:
        message = f"there are no cases beside {path.name}; write some: `journeylab test --help` shows one"
        raise DefinitionError([Fault((), message, str(beside))]) from None
    except (OSError, UnicodeDecodeError) as error:
        raise DefinitionError([Fault((), f"cannot be read: {error}", str(beside))]) from None
    faults: list[Fault] = []
    cases: list[Case] = []
    for document in documents(text, source=str(beside)):
        faults += document.faults
        if not isinstance(document.data, list) or not document.data:
            if not document.faults:
                faults.append(document.fault((), "a file of cases is a list, each beginning with `- case: TEXT`"))
            continue
        for i, data in enumerate(document.data):
            form, found = part_of(CaseForm, data, document, (i,), "a case")
            case, wrong = (None, []) if form is None else _checked(form, portfolio, document, i)
            faults += [*(one for one in found if one not in faults), *wrong]
            cases += [] if case is None else [case]
    if faults:
        raise DefinitionError(faults)
    return Suite(beside, portfolio, cases)


class _Times:
    """The instants of a case, counted from its first event, and the faults of those that cannot be read."""

    def __init__(self, document: Document, i: int) -> None:
        self.faults: list[Fault] = []
        self._document, self._case = document, i
        self.first: datetime | None = None

    def instant(self, value: object, *place: str | int) -> datetime:
        """The instant that a text means; some instant where it is at fault."""
        path = (self._case, *place)
        text = str(value)
        try:
            if text.startswith("+") and self.first is not None:
                return self.first + parse_duration(text[1:])
            when = datetime.fromisoformat(text)
        except ValueError as error:
            after = "; or a time after the first event, such as +3d" if self.first is not None else ""
            reason = str(error) if text.startswith("+") else f"{text!r} is no instant"
            return self._refuse(path, f"{reason}; write it as 2026-03-02T10:00+01:00{after}")
        if when.tzinfo is None:
            return self._refuse(path, f"{text!r} does not say its time zone; write it as {text}+01:00")
        return when.astimezone(UTC)

    def _refuse(self, path: tuple[str | int, ...], message: str) -> datetime:
        self.faults.append(self._document.fault(path, message))
        return self.first or datetime(1970, 1, 1, tzinfo=UTC)


def _checked(form: CaseForm, portfolio: Portfolio, document: Document, i: int) -> tuple[Case | None, list[Fault]]:
    """The case of a form, or the faults of its times and names."""
    times = _Times(document, i)
    events: list[dict[str, Any]] = []
    for k, written in enumerate(form.events):
        missing = [key for key in ("event", "at") if key not in written]
        if missing:
            times.faults.append(document.fault((i, "events", k), f"an event needs `{'` and `'.join(missing)}`"))
            continue
        at = times.instant(written["at"], "events", k, "at")
        times.first = times.first or at
        rest = {key: value for key, value in written.items() if key != "at"}
        events.append({"contact": form.contact, "occurred_at": at, **rest})
    last = max((event["occurred_at"] for event in events), default=datetime(1970, 1, 1, tzinfo=UTC))
    until = last + _AFTERWARDS if form.until is None else times.instant(form.until, "until")
    sends_at = [
        None if isinstance(one, str) or one.at is None else times.instant(one.at, "expect", "sends", k, "at")
        for k, one in enumerate(form.expect.sends or ())
    ]
    names = [one.journey for one in portfolio.journeys]
    name = names[0] if form.journey is None and len(names) == 1 else form.journey
    if name not in names:
        problem = "the file has several journeys; say which" if name is None else f"no journey {name!r}"
        return None, [
            *times.faults,
            document.fault((i, "journey"), f"{problem}; {known(str(name), names, 'journeys')}"),
        ]
    journey = portfolio.one(name)
    faults = [*times.faults, *_unknown_names(form, journey, portfolio, document, i)]
    calls = {service: outcome == "succeeds" for service, outcome in form.calls.items()}
    line = document.values[i,][0]
    case = Case(
        form.case,
        journey,
        form.contact,
        form.attributes,
        events,
        calls,
        form.scores,
        until,
        form.expect,
        sends_at,
        line,
    )
    return (None if faults else case), faults


def _unknown_names(
    form: CaseForm, journey: Journey, portfolio: Portfolio, document: Document, i: int
) -> Iterator[Fault]:
    """Nodes, services and scores that a case names and no journey has."""
    nodes = set(_node_names(journey))
    for k, node in enumerate(form.expect.path or ()):
        if node not in nodes:
            message = f"{journey.journey!r} has no node {node!r}; {known(node, nodes, 'nodes')}"
            yield document.fault((i, "expect", "path", k), message)
    together = [one for whole in portfolio.journeys for one in _with_parts(whole)]
    services = {node.call for one in together for node in one.nodes.values() if isinstance(node, Call)}
    asked = (part for one in portfolio.journeys for part in _parts_of_conditions(one))
    scores = {part.name for part in asked if isinstance(part, Score)}
    for key, given, there in (("calls", form.calls, services), ("scores", form.scores, scores)):
        for name in given:
            if name not in there:
                yield document.fault((i, key, name), f"no journey here asks for {name!r}; {known(name, there, key)}")


def _with_parts(journey: Journey) -> Iterator[Journey]:
    yield journey
    for part in journey.parts.values():
        yield from _with_parts(part)


def _node_names(journey: Journey) -> Iterator[str]:
    """The names of a journey's nodes as visits have them, those of parts after the node that runs them (rule 25)."""
    for name, node in journey.nodes.items():
        yield name
        part = journey.parts.get(getattr(node, "run", ""))
        if part is not None:
            yield from (f"{name}.{inner}" for inner in _node_names(part))


def run_case(case: Case, portfolio: Portfolio) -> CaseResult:
    """A case run through `replay`, all journeys of its file together; what cannot be replayed is a problem, too."""
    from .eventlog import EventLog
    from .replay import replay

    # A log of one contact lacks what most logs have: what the journeys ask for is there, and missing.
    properties: dict[str, Any] = dict.fromkeys(name for one in portfolio.journeys for name in properties_in(one))
    attributes: dict[str, Any] = dict.fromkeys(name for one in portfolio.journeys for name in _attributes_asked(one))
    events = [{**properties, **case.events[0]}, *case.events[1:]]
    contact = {**attributes, "contact": case.contact, **case.attributes}
    try:
        result = replay(
            portfolio,
            EventLog.from_rows(events, [contact], cache=False),
            until=case.until,
            scores={name: _constant_score(value) for name, value in case.scores.items()},
            calls={service: _constant_call(succeeds=succeeds) for service, succeeds in case.calls.items()},
        )
        return CaseResult(case, list(_problems(case, result)))
    except JourneyLabError as error:
        return CaseResult(case, [f"it cannot be replayed: {error}"])


def _attributes_asked(journey: Journey) -> Iterator[str]:
    yield from (part.name for part in _parts_of_conditions(journey) if isinstance(part, Attribute))
    for one in _with_parts(journey):
        waits = (node.wait_until.date for node in one.nodes.values() if isinstance(node, WaitUntil))
        yield from (date for date in (one.trigger.date, *waits) if date is not None)
    if journey.unit != CONTACT:
        yield journey.unit


def _parts_of_conditions(journey: Journey) -> Iterator[Tree]:
    return (part for tree in conditions_in(journey) for part in walk(tree))


def _constant_score(value: float) -> Callable[[Sequence[object], Sequence[datetime]], list[float]]:
    return lambda contacts, _at: [value] * len(contacts)


def _constant_call(*, succeeds: bool) -> Callable[[object, datetime], bool]:
    return lambda _contact, _at: succeeds


def _problems(case: Case, result: Replay) -> Iterator[str]:
    expected = case.expected
    entries = _mine(case, result.entries)
    if len(entries) != expected.entries:
        exits = ", ".join("still inside" if not isinstance(text, str) else text for text in entries["exit"])
        ended = f" (ended by {exits})" if exits else ""
        yield f"entries: expected {expected.entries}, got {len(entries)}{ended}"
    one = entries[entries["entry"] == expected.entry]
    if one.empty:
        return
    entry = next(one.itertuples())
    visits, sends = (_mine(case, frame) for frame in (result.visits, result.sends))
    path = visits.loc[visits["entry"] == expected.entry, "node"].tolist()
    if expected.path is not None and list(expected.path) != path:
        yield _sequences("path", expected.path, path)
    sent = sends[(sends["entry"] == expected.entry) & sends["is_sent"]]
    yield from _send_problems(case, sent)
    exit_text = entry.exit if isinstance(entry.exit, str) else None
    if expected.exit is not None and expected.exit != exit_text:
        got = "none, it is still inside" if exit_text is None else repr(exit_text)
        yield f"exit: expected {expected.exit!r}, got {got}"
    if expected.still_inside is not None and expected.still_inside != (exit_text is None):
        inside = f"still inside, at {path[-1]!r}" if exit_text is None else f"the exit {exit_text!r}"
        yield f"still_inside: expected {str(expected.still_inside).lower()}, got {inside}"
    if expected.converted is not None and expected.converted != bool(entry.converted):
        yield f"converted: expected {str(expected.converted).lower()}, got {str(bool(entry.converted)).lower()}"


def _mine(case: Case, frame: pd.DataFrame) -> pd.DataFrame:
    return frame[frame["journey"] == case.journey.journey]


def _send_problems(case: Case, sent: pd.DataFrame) -> Iterator[str]:
    if case.expected.sends is None:
        return
    messages = [one if isinstance(one, str) else one.message for one in case.expected.sends]
    got, times = sent["message"].tolist(), [at.to_pydatetime() for at in sent["decided_at"]]
    if messages != got:
        yield _sequences("sends", messages, got)
        return
    for message, expected_at, at in zip(messages, case.sends_at, times, strict=True):
        if expected_at is not None and expected_at != at:
            yield f"sends: {message!r} was expected at {expected_at.isoformat()}, got {at.isoformat()}"


def _sequences(what: str, expected: Sequence[str], got: Sequence[str]) -> str:
    """Two sequences that differ, one above the other, with a mark below the first difference."""
    same = next(
        (i for i, (a, b) in enumerate(zip(expected, got, strict=False)) if a != b), min(len(expected), len(got))
    )
    before = sum(len(name) + 3 for name in expected[:same])
    lines = [" > ".join(names) or "(nothing)" for names in (expected, got)]
    return f"{what}: expected {lines[0]}\n{' ' * len(what)}  got      {lines[1]}\n{' ' * (len(what) + 11 + before)}^"


def junit_xml(results: Mapping[Path, Sequence[CaseResult]]) -> str:
    """The results of some files of cases as JUnit XML, which CI systems read."""
    root = ElementTree.Element("testsuites")
    for path, some in results.items():
        failures = sum(bool(one.problems) for one in some)
        suite = ElementTree.SubElement(
            root, "testsuite", name=str(path), tests=str(len(some)), failures=str(failures), errors="0"
        )
        for one in some:
            about = {"classname": one.case.journey.journey, "name": one.case.text, "file": str(path)}
            case = ElementTree.SubElement(suite, "testcase", about, line=str(one.case.line))
            if one.problems:
                failure = ElementTree.SubElement(case, "failure", message=one.problems[0].partition("\n")[0])
                failure.text = "\n".join(one.problems)
    ElementTree.indent(root)
    return '<?xml version="1.0" encoding="utf-8"?>\n' + ElementTree.tostring(root, encoding="unicode") + "\n"
