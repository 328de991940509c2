"""The commands on journey files alone: check, draw, diff and test."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from journeylab.display import counted
from journeylab.errors import DefinitionError, Fault, known

from .options import AsJson, Files, JourneyName, Language
from .screen import announce_compiling, show_json, table_lines

if TYPE_CHECKING:
    from journeylab.cases import CaseResult
    from journeylab.definitiondiff import Change
    from journeylab.experiments import Experiment
    from journeylab.journey import Journey, Portfolio
    from journeylab.sender.promotion.purposes import Processing

__all__ = ["check", "diff", "draw", "read_portfolio", "run_tests"]


class Format(StrEnum):
    """What a journey is drawn as."""

    mermaid = "mermaid"
    svg = "svg"


def read_portfolio(files: Sequence[Path], journey: str | None = None) -> Portfolio:
    """The journeys of some files, run together, or the one called `journey`; the policy is that of the file with one.

    Raises:
        DefinitionError: with the faults of all files; when two files have a journey of one name, or a policy each.
    """
    from journeylab.journey import Policy, Portfolio
    from journeylab.journeyfile import read

    faults: list[Fault] = []
    found: dict[str, tuple[Path, Journey]] = {}
    policies: dict[Path, Policy] = {}
    for path in dict.fromkeys(files):
        try:
            portfolio = read(path)
        except DefinitionError as error:
            faults += error.faults
            continue
        if portfolio.policy != Policy():
            policies[path] = portfolio.policy
        for one in portfolio.journeys:
            if one.journey in found:
                message = f"a journey {one.journey!r} is in {found[one.journey][0]} as well; name one of the files"
                faults.append(Fault((), message, str(path)))
            found.setdefault(one.journey, (path, one))
    if len(policies) > 1:
        faults.append(Fault((), f"{', '.join(map(str, policies))} each have a policy; only one can hold over all"))
    if faults:
        raise DefinitionError(faults)
    policy = next(iter(policies.values()), Policy())
    whole = Portfolio(journeys=tuple(one for _, one in found.values()), policy=policy)
    return whole if journey is None else Portfolio(journeys=(whole.one(journey),), policy=policy)


def check(
    files: Files,
    settings: Annotated[
        Path | None,
        typer.Option(
            "--settings",
            metavar="FILE",
            help="The sender's settings: hold what is read of contacts against what its purposes declare.",
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Say whether journeys and experiments are sound, with every fault and its place.

    Exit status 1 when anything is at fault, so that it stands well before a merge. With --settings a journey is at
    fault, too, that reads what its purpose does not declare, and what each journey uses of contacts is listed, with its
    purpose and legal basis: the record of processing activities (GDPR Art. 30).

    \b
    Examples:
      journeylab check trial_welcome.yaml
      journeylab check journeys/*.yaml experiments/*.yaml --json
      journeylab check journeys/*.yaml --settings sender.yaml
    """
    from journeylab.check import notes_of
    from journeylab.experiments import Experiment
    from journeylab.journeyfile import read

    faults: list[Fault] = []
    sound: list[tuple[Path, Journey]] = []
    experiments: list[tuple[Path, Experiment]] = []
    for path in dict.fromkeys(files):
        try:
            if Experiment.is_in(path):
                experiments.append((path, Experiment.read(path)))
                continue
            sound += [(path, journey) for journey in read(path).journeys]
        except DefinitionError as error:
            faults += [fault for fault in error.faults if fault not in faults]
    used = None if settings is None else _used(settings, sound, experiments)
    if used is not None:
        faults += used.faults
        sound = [one for one in sound if one[1].journey not in used.at_fault]
    notes = [(path, journey, note) for path, journey in sound for note in notes_of(journey)]
    if as_json:
        journeys = [{"file": str(path), "journey": one.journey, "version": one.version} for path, one in sound]
        show_json(
            {
                "sound": not faults,
                "journeys": journeys,
                "experiments": [
                    {"file": str(path), "experiment": one.experiment, "version": one.version}
                    for path, one in experiments
                ],
                "faults": list(map(_fault_data, faults)),
                "notes": [{"file": str(path), "journey": one.journey, "message": note} for path, one, note in notes],
                **({} if used is None else used.to_dict()),
            }
        )
    else:
        for path, journey, note in notes:
            typer.echo(f"{path}: {journey.journey}: note: {note}")
        for line in () if used is None else used.lines():
            typer.echo(line)
        for fault in faults:
            typer.echo(str(fault), err=True)
        for n, what in ((len(sound), "journey"), (len(experiments), "experiment")):
            if n:
                typer.echo(f"{counted(n, what)} {'is' if n == 1 else 'are'} sound")
        if faults:
            typer.echo(f"{counted(len(faults), 'fault')}", err=True)
    if faults:
        raise typer.Exit(1)


@dataclass(frozen=True)
class _Used:
    """What journeys use of contacts, what of it is at fault, and what is declared and used by none."""

    processing: list[Processing]
    faults: list[Fault]
    unused: list[tuple[str, str]]
    at_fault: frozenset[str]

    def to_dict(self) -> dict[str, Any]:
        unused = [{"place": place, "message": message} for place, message in self.unused]
        return {"processing": [one.to_dict() for one in self.processing], "unused": unused}

    def lines(self) -> Iterator[str]:
        rows = [
            [
                one.journey, one.purpose, one.basis, ", ".join(one.attributes) or "-",
                ", ".join(f"{event}: {' '.join(names)}" for event, names in one.properties.items()) or "-",
            ]
            for one in self.processing
        ]  # fmt: skip
        yield from table_lines(["journey", "purpose", "basis", "attributes", "properties of events"], rows)
        yield from (f"{place}: note: {message}" for place, message in self.unused)


def _used(
    settings: Path, journeys: Sequence[tuple[Path, Journey]], experiments: Sequence[tuple[Path, Experiment]]
) -> _Used:
    """What journeys and experiments use, against the settings.

    Raises:
        DefinitionError: when the settings are at fault.
    """
    from journeylab.sender.declarations import Declarations
    from journeylab.sender.dependences import owned_sets
    from journeylab.sender.mail.messages import Message, Messages
    from journeylab.sender.promotion.frozen import sends_of
    from journeylab.sender.promotion.purposes import Processing, undeclared, unused, use_of, use_of_experiment
    from journeylab.sender.settings import Settings

    read = Settings.read(settings)
    folder = read.path(read.messages)
    faults: list[Fault] = []
    messages: Mapping[str, Message] = {}
    try:
        messages = Messages.read(folder) if any(sends_of(one) for _, one in journeys) else {}
    except DefinitionError as error:
        faults += error.faults
    uses = [use_of(one, messages, read, file=path, folder=folder) for path, one in journeys]
    if not faults:  # what cannot be read says nothing of what is missing
        for use, (_, one) in zip(uses, journeys, strict=True):
            for name, (node, *_) in sends_of(one).items():
                if name not in messages:
                    ending = known(name, messages, "messages")
                    faults.append(use.at(("nodes", node, "send"), f"there is no message {name!r}; {ending}"))
    processing = [Processing.of(one, use, read) for (_, one), use in zip(journeys, uses, strict=True)]
    uses += [use for path, one in experiments for use in use_of_experiment(one, path)]
    declared, at_fault = Declarations.of(read), set[str]()
    for use, (_, one) in zip(uses, journeys, strict=False):
        owned = [use.at(path, message) for path, message in owned_sets(one, read)]
        faults += [fault for fault in owned if fault not in faults]
        at_fault |= {use.name} if owned else set()
    for use in uses:
        found = [] if declared is None else [one for one in undeclared(use, declared, read) if one not in faults]
        faults += found
        at_fault |= {use.name} if found else set()
    return _Used(
        processing, faults, [(f"{settings}: {'.'.join(path)}", said) for path, said in unused(uses, read)],
        frozenset(at_fault),
    )  # fmt: skip


def _fault_data(fault: Fault) -> dict[str, Any]:
    return {
        "file": fault.source,
        "path": list(fault.path),
        "line": fault.line,
        "column": fault.column,
        "message": fault.message,
    }


def draw(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A journey file, YAML or JSON.")],
    form: Annotated[
        Format | None, typer.Option("--format", help="What to draw; by default what --out ends in, or mermaid.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", metavar="FILE", help="Write it there, not on the screen.")
    ] = None,
    journey: JourneyName = None,
    language: Language = "en",
) -> None:
    """Draw a journey, as Mermaid text (which GitHub and GitLab render) or as an SVG picture.

    \b
    Examples:
      journeylab draw trial_welcome.yaml
      journeylab draw trial_welcome.yaml --out trial_welcome.svg
      journeylab draw shop_portfolio.yaml --journey winback
    """
    from journeylab.drawing import mermaid, svg
    from journeylab.journeyfile import read
    from journeylab.language import using

    one = read(file).one(journey)
    is_svg = form is Format.svg or (form is None and out is not None and out.suffix == ".svg")
    with using(language):
        drawn = svg(one) if is_svg else mermaid(one)
    if out is None:
        typer.echo(drawn)
        return
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(drawn + "\n", encoding="utf-8")
    typer.echo(f"drew {one.journey} to {out}")


def diff(
    old: Annotated[Path, typer.Argument(metavar="OLD", help="The journey file before.")],
    new: Annotated[Path, typer.Argument(metavar="NEW", help="The journey file after.")],
    markdown: Annotated[bool, typer.Option("--markdown", help="As a Markdown list, for a merge request.")] = False,
    as_json: AsJson = False,
) -> None:
    """Say what differs between two versions of a journey file, in a reviewer's words.

    \b
    Examples:
      journeylab diff before.yaml after.yaml
      git show main:welcome.yaml > before.yaml; journeylab diff before.yaml welcome.yaml --markdown
    """
    from journeylab.definitiondiff import as_markdown, as_text, compared
    from journeylab.journeyfile import read

    parts = list(compared(read(old), read(new)))
    if as_json:
        show_json({"changes": [_change_data(name, change) for name, changes in parts for change in changes]})
        return
    for name, changes in parts:
        text = as_markdown(changes) if markdown else as_text(changes)
        if len(parts) > 1:
            typer.echo(f"### {name}\n\n{text}\n" if markdown else f"{name}:\n  " + text.replace("\n", "\n  "))
        else:
            typer.echo(text)


def _change_data(name: str, change: Change) -> dict[str, Any]:
    return {
        "journey": name,
        "path": list(change.path),
        "kind": change.kind,
        "before": change.before,
        "after": change.after,
        "text": change.text,
    }


def run_tests(
    files: Files,
    junit: Annotated[
        Path | None, typer.Option("--junit", metavar="OUT.xml", help="Write the results for a CI system there, too.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Run the cases kept beside journeys: NAME.tests.yaml for NAME.yaml.

    Exit status 1 when a case fails. A case gives one contact's attributes and events, and what is expected of it:

    \b
      - case: opens the welcome and is made an offer
        attributes: {timezone: Europe/Warsaw}
        events:
          - {event: signup, at: "2026-03-02T10:00+01:00", plan: trial, country: PL}
          - {event: opened, at: +3h, message: welcome_1}
        expect: {sends: [welcome_1, offer_plain], exit: finished}

    Times like +3h count from the first event. Also known: contact (its name, which decides splits), journey (in a file
    of several), calls ({crm: fails}), scores, until, and of what is expected: path, converted, still_inside, entries,
    entry (which one is meant, by default the first).

    \b
    Examples:
      journeylab test trial_welcome.yaml
      journeylab test journeys/*.yaml --junit results.xml
    """
    from journeylab.cases import junit_xml, read_cases, run_case

    faults: list[Fault] = []
    read = []
    for path in dict.fromkeys(files):
        try:
            read.append(read_cases(path))
        except DefinitionError as error:
            faults += error.faults
    if faults:
        raise DefinitionError(faults)
    announce_compiling()
    results = {suite.path: [run_case(case, suite.portfolio) for case in suite.cases] for suite in read}
    if junit is not None:
        junit.parent.mkdir(parents=True, exist_ok=True)
        junit.write_text(junit_xml(results), encoding="utf-8")
    _show_results(results, as_json=as_json)
    if any(result.problems for some in results.values() for result in some):
        raise typer.Exit(1)


def _show_results(results: dict[Path, list[CaseResult]], *, as_json: bool) -> None:
    n_cases = sum(map(len, results.values()))
    n_failed = sum(bool(result.problems) for some in results.values() for result in some)
    if as_json:
        cases = [
            {"file": str(path), "line": one.case.line, "case": one.case.text, "problems": one.problems}
            for path, some in results.items()
            for one in some
        ]
        show_json({"n_cases": n_cases, "n_failed": n_failed, "cases": cases})
        return
    for path, some in results.items():
        typer.echo(str(path))
        for one in some:
            typer.echo(f"  {'FAIL' if one.problems else 'ok  '}  {one.case.text}")
            for problem in one.problems:
                typer.echo("        " + problem.replace("\n", "\n        "))
    typer.echo(f"{counted(n_cases, 'case')}, {f'{n_failed} failed' if n_failed else 'all as expected'}")
