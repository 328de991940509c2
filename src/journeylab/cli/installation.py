"""The commands for somebody new: demo and doctor."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from shutil import which
from typing import TYPE_CHECKING, Annotated

import typer

from journeylab.display import counted

from .options import AsJson, Language
from .replaying import entered_text
from .screen import announce_compiling, show_json, step, table_lines

if TYPE_CHECKING:
    from journeylab.demo import Demo
    from journeylab.replay import Replay

__all__ = ["demo", "doctor"]


def demo(
    out: Annotated[
        Path,
        typer.Option("--out", metavar="OUT.html", help="The page to write; a report stands beside it."),
    ] = Path("reports/demo.html"),
    language: Language = "en",
    as_json: AsJson = False,
) -> None:
    """Replay the bundled journeys over real purchases and a simulated shop; write a page of all, and a report of one.

    \b
    Examples:
      journeylab demo
      journeylab demo --out demo.html --json
    """
    from journeylab.demo import DEMOS, write_demo_page, write_report

    announce_compiling()
    results = []
    for one in DEMOS:
        with step(f"replaying {one.journey_file}") as replaying:
            result = one.replay(replaying.progress)
            replaying.done = f"replayed {one.journey_file} over {result.log_summary}"
        results.append(result)
    with step("writing the page and the report") as writing:
        path = write_demo_page(results, out, language)
        report = write_report(results[1], out.with_name("trial_welcome.html"), language)
        writing.done = "wrote the page and the report"
    if as_json:
        journeys = [result.summary(one.journey) for result in results for one in result.journeys]
        show_json({"page": str(path), "n_bytes": path.stat().st_size, "report": str(report), "journeys": journeys})
        return
    typer.echo("")
    for line in _screen(DEMOS, results, path, report):
        typer.echo(line)


def _screen(demos: Sequence[Demo], results: Sequence[Replay], page: Path, report: Path) -> Iterator[str]:
    """What was found, the branches that say most, page and report, and what to do next, in about fifteen lines."""
    from journeylab.demo import next_commands
    from journeylab.drawing import share_text

    rows = []
    for one, result in zip(demos, results, strict=True):
        for journey in result.journeys:
            yield f"{one.data}; {journey.journey}: {entered_text(result.summary(journey.journey))}."
        taken = result.branches.set_index(["journey", "node", "branch"])
        for place in one.telling:
            row = taken.loc[place]
            interval = f"{share_text(row.low)} to {share_text(row.high)}"
            rows.append((*place, f"{row.n_visits:,}", share_text(row.branch_share), interval))
    yield "Nobody was sent anything: this is what people did anyway, not what the messages would have changed."
    yield from table_lines(("journey", "node", "branch", "visits", "share", "95% interval"), rows, right="visits share")
    yield f"The page: {page} ({page.stat().st_size / 1000:.0f} KB). The report for readers: {report}. Next:"
    program = "journeylab" if which("journeylab") else sys.argv[0]
    yield from (f"  {program} {command}" for command in next_commands())


def doctor(
    compile_now: Annotated[
        bool, typer.Option("--compile", help="Compile what is compiled at first use, so that nobody waits later.")
    ] = False,
    settings: Annotated[
        Path | None,
        typer.Option("--settings", metavar="FILE", help="Also look at a sender: secrets, keys, database, relays."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Say whether this installation is well: Python, packages, the compiled machine, the cache, the bundled data.

    With --settings, also whether a sender is: nothing is sent or changed. Exit status 1 when something that is needed
    is missing, or a person has to act.

    \b
    Examples:
      journeylab doctor
      journeylab doctor --compile
      journeylab doctor --settings sender.yaml
    """
    from journeylab.doctor import compile_all, examine, examine_sender

    if compile_now:
        announce_compiling()
        with step("compiling") as compiling:
            compile_all()
            compiling.done = "compiled"
    findings = examine()
    if settings is not None:
        findings += examine_sender(settings, lambda: datetime.now(UTC))
    n_faults = sum(one.state == "fault" for one in findings)
    if as_json:
        found = [{"what": one.what, "state": one.state, "text": one.text} for one in findings]
        show_json({"n_faults": n_faults, "findings": found})
    else:
        marks = {"well": "ok", "optional": "--", "fault": "NO"}
        for one in findings:
            typer.echo(f"{marks[one.state]}  {one.what + ':':16}{one.text}")
        typer.echo(counted(n_faults, "fault") if n_faults else "all is well")
    if n_faults:
        raise typer.Exit(1)
