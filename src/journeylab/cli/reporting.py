"""The commands that write reports for readers, whose numbers all go through the gate: report replay and the others."""

from __future__ import annotations

import os
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .definitions import read_portfolio
from .experiments import ExperimentFile, LogEvents, Table, analyzed, read_experiment, source_of
from .options import (
    AsJson,
    CapOption,
    Columns,
    Contacts,
    Event,
    Events,
    Files,
    JourneyName,
    Language,
    Match,
    Query,
    RejectsFile,
    SendTimesFiles,
    Timezone,
    Until,
    send_times_of,
    until_of,
)  # fmt: skip
from .predicting import (
    Converts,
    Draws,
    Level,
    Like,
    Model,
    Override,
    Replaces,
    Seed,
    Within,
    backtested,
    fitted,
    policy_of,
    simulated,
)  # fmt: skip
from .promotion import OfJourney
from .replaying import Question
from .screen import announce_compiling, show_json, step
from .sender import SETTINGS, SettingsFile, opened
from .sendtimes import ContactTimezone, Outcome, sends_of
from .source import Source

if TYPE_CHECKING:
    from journeylab.disclosure import Ledger

__all__ = ["Data", "LedgerFile", "LedgerKeyFile", "ledger_of", "report"]

report = typer.Typer(
    help="Write reports for readers: nobody is named, and every number is held to the rules for what may leave.",
    no_args_is_help=True,
    rich_markup_mode=None,
)

Out = Annotated[Path, typer.Option("--out", metavar="OUT.html|.pdf", help="The file to write.")]
OUT = Path("reports/report.html")
Title = Annotated[str | None, typer.Option("--title", metavar="TEXT", help="The heading.")]
Data = Annotated[str, typer.Option("--data", metavar="TEXT", help="What the data is, said beside the heading.")]
Since = Annotated[
    datetime | None,
    typer.Option("--since", parser=until_of, metavar="INSTANT", help="Where the period begins, a midnight."),
]
LedgerFile = Annotated[
    Path | None,
    typer.Option("--ledger", metavar="FILE", help="The ledger of the report's readers; by default one of your own."),
]
LedgerKeyFile = Annotated[
    Path | None, typer.Option("--ledger-key", metavar="FILE", help="The ledger's key, kept apart from it.")
]
Templates = Annotated[
    Path | None, typer.Option("--templates", metavar="FOLDER", help="Templates that take the place of ours.")
]
Tables = Annotated[
    Path | None, typer.Option("--tables", metavar="FOLDER", help="Write the tables behind the report there, as CSV.")
]


@report.command("replay")
def replay(
    files: Files, events: Events, contacts: Contacts = None, columns: Columns = None, event: Event = None,
    timezone: Timezone = None, query: Query = None, rejects: RejectsFile = None, since: Since = None,
    until: Until = None, match: Match = "1d", cap: CapOption = None, journey: JourneyName = None,
    send_times: SendTimesFiles = None, out: Out = OUT, title: Title = None, data: Data = "", ledger: LedgerFile = None,
    ledger_key: LedgerKeyFile = None, templates: Templates = None, tables: Tables = None, language: Language = "en",
    as_json: AsJson = False,
) -> None:  # fmt: skip
    """Report what would have happened to contacts if a journey had run over an event log.

    \b
    Examples:
      journeylab report replay trial_welcome.yaml --events events.parquet --contacts contacts.parquet
      journeylab report replay winback.yaml --events events.parquet --out reports/winback.pdf --language pl
    """
    source = Source(events, contacts, columns, event, timezone, query, rejects)
    # One journey is reported, but those of the files run together: a cap holds over all of them.
    found = Question(files, None, until, match, cap, send_times).replayed(source)
    _write(found, out, ledger_of(ledger, ledger_key), templates, tables, journey=journey, since=since, title=title,
           data=data, language=language, as_json=as_json)  # fmt: skip


@report.command("simulation")
def simulation(
    files: Files, events: Events, contacts: Contacts = None, columns: Columns = None, event: Event = None,
    timezone: Timezone = None, query: Query = None, rejects: RejectsFile = None, since: Since = None,
    until: Until = None, match: Match = "1h", cap: CapOption = None, journey: JourneyName = None,
    send_times: SendTimesFiles = None, draws: Draws = 200, level: Level = 0.9, seed: Seed = 0,
    converts: Converts = None, within: Within = "7d", replaces: Replaces = None, like: Like = None,
    override: Override = None, model: Model = None, out: Out = OUT, title: Title = None, data: Data = "",
    ledger: LedgerFile = None, ledger_key: LedgerKeyFile = None, templates: Templates = None, tables: Tables = None,
    language: Language = "en", as_json: AsJson = False,
) -> None:  # fmt: skip
    """Report what a journey would do, with a model answering the sends that the log does not have.

    \b
    Examples:
      journeylab report simulation trial_welcome.yaml --events events.parquet --contacts contacts.parquet
    """
    portfolio = read_portfolio(files, None)
    hours, policy = send_times_of(send_times), policy_of(portfolio, cap)
    log = Source(events, contacts, columns, event, timezone, query, rejects).opened()
    announce_compiling()
    from journeylab.worlds import goal_of

    answers = fitted(log, converts or goal_of(portfolio.journeys), within, seed, model)
    found = simulated(
        portfolio, log, responses=answers, draws=draws, level=level, rng=seed, until=until, match=match, policy=policy,
        replaces=replaces, like=like, override=override, send_times=hours,
    )  # fmt: skip
    _write(found, out, ledger_of(ledger, ledger_key), templates, tables, journey=journey, since=since, title=title,
           data=data, language=language, as_json=as_json)  # fmt: skip


@report.command("backtest")
def backtest(
    files: Files, events: Events,
    cutoff: Annotated[
        str, typer.Option("--cutoff", metavar="INSTANT", help="The model knows nothing later: 2026-03-01.")
    ],
    contacts: Contacts = None, columns: Columns = None, event: Event = None, timezone: Timezone = None,
    query: Query = None, rejects: RejectsFile = None, match: Match = "1d", cap: CapOption = None,
    journey: JourneyName = None, send_times: SendTimesFiles = None, draws: Draws = 200, level: Level = 0.9,
    seed: Seed = 0, converts: Converts = None, within: Within = "7d", model: Model = None, out: Out = OUT,
    title: Title = None, data: Data = "", ledger: LedgerFile = None, ledger_key: LedgerKeyFile = None,
    templates: Templates = None, tables: Tables = None, language: Language = "en", as_json: AsJson = False,
) -> None:  # fmt: skip
    """Report whether a model was right about a journey that really ran.

    \b
    Examples:
      journeylab report backtest trial_welcome.yaml --events events.parquet --contacts contacts.parquet \\
          --cutoff 2026-04-15
    """
    source = Source(events, contacts, columns, event, timezone, query, rejects)
    found = backtested(
        files, source, journey, cap, send_times, model, cutoff=cutoff, converts=converts, within=within, draws=draws,
        level=level, rng=seed, match=match,
    )  # fmt: skip
    _write(found, out, ledger_of(ledger, ledger_key), templates, tables, title=title, data=data, language=language,
           as_json=as_json)  # fmt: skip


@report.command("experiment")
def experiment(
    file: ExperimentFile, events: LogEvents = None, table: Table = None, contacts: Contacts = None,
    columns: Columns = None, event: Event = None, timezone: Timezone = None, query: Query = None,
    rejects: RejectsFile = None, since: Since = None, until: Until = None, send_times: SendTimesFiles = None,
    out: Out = OUT, title: Title = None, data: Data = "", ledger: LedgerFile = None, ledger_key: LedgerKeyFile = None,
    templates: Templates = None, tables: Tables = None, language: Language = "en", as_json: AsJson = False,
) -> None:  # fmt: skip
    """Report what an experiment found.

    \b
    Examples:
      journeylab report experiment offer_test.yaml --events events.parquet --contacts contacts.parquet
    """
    declared = read_experiment(file)
    source = source_of(declared, events, table, contacts, columns, event, timezone, query, rejects)
    found = analyzed(declared, source, until, send_times, query, [])
    _write(found, out, ledger_of(ledger, ledger_key), templates, tables, since=since, until=until, title=title,
           data=data, language=language, as_json=as_json)  # fmt: skip


@report.command("sendtime")
def sendtime(
    file: Annotated[Path, typer.Argument(metavar="TIMES.parquet", help="Send times, from `journeylab sendtime fit`.")],
    events: Events, contacts: Contacts = None, columns: Columns = None, event: Event = None, timezone: Timezone = None,
    query: Query = None, rejects: RejectsFile = None, since: Since = None, until: Until = None, outcome: Outcome = None,
    converts: Converts = None, within: Within = "14d", contact_timezone: ContactTimezone = "UTC", out: Out = OUT,
    title: Title = None, data: Data = "", ledger: LedgerFile = None, ledger_key: LedgerKeyFile = None,
    templates: Templates = None, tables: Tables = None, language: Language = "en", as_json: AsJson = False,
) -> None:  # fmt: skip
    """Report when contacts answer, by send times and the log that they were learned from, or a later one.

    \b
    Examples:
      journeylab report sendtime times.parquet --events events.parquet --contacts contacts.parquet
    """
    from journeylab.advice import read

    times = read(file)
    log = Source(events, contacts, columns, event, timezone, query, rejects).read()
    sends = sends_of(log, outcome or times.about.get("outcome"), converts, None, within, until, contact_timezone)
    _write(times, out, ledger_of(ledger, ledger_key), templates, tables, sends=sends, since=since, title=title,
           data=data, language=language, as_json=as_json)  # fmt: skip


@report.command("release")
def release(
    journey: OfJourney, settings: SettingsFile = SETTINGS, since: Since = None, until: Until = None, out: Out = OUT,
    title: Title = None, data: Data = "", ledger: LedgerFile = None, ledger_key: LedgerKeyFile = None,
    templates: Templates = None, tables: Tables = None, language: Language = "en", as_json: AsJson = False,
) -> None:  # fmt: skip
    """Report what has come of a journey's newest release, beside its forecast.

    Without --ledger what was shown is kept with the sender's own reports, which takes its key ring.

    \b
    Examples:
      journeylab report release trial_welcome --settings sender.yaml --out reports/welcome.html
    """
    from journeylab.reports import released
    from journeylab.reports.scheduled import sender_ledger
    from journeylab.sender.settings import Settings

    if ledger is not None:
        with opened(settings) as store:
            found, shown = released(store, journey), ledger_of(ledger, ledger_key)
    else:
        # What the sender reports on schedule and what is reported by hand is read by the same people.
        with opened(settings, personal=True) as store:
            found, shown = released(store, journey), sender_ledger(store, Settings.read(settings))
    _write(found, out, shown, templates, tables, since=since, until=until, title=title, data=data,
           language=language, as_json=as_json)  # fmt: skip


@report.command("check")
def check(
    files: Annotated[
        list[Path],
        typer.Argument(metavar="FILE", help="Saved notebooks (.ipynb, marimo's sessions) and pages (.html)."),
    ],
    canaries: Annotated[
        list[str] | None,
        typer.Option("--canary", metavar="TEXT", help="A text that must not be there in any encoding; several times."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Say what saved notebooks and pages tell of people; exit status 1 where that is anything, as a commit's check.

    Tables with ids, counts below ten that did not come through the gate, addresses, and canaries in any encoding, also
    in tracebacks, metadata and code. A person still has to look: counts in sentences and pictures are not found.

    \b
    Examples:
      journeylab report check explore.ipynb
      journeylab report check notebooks/*.ipynb --canary c0ffee1234
    """
    from journeylab.disclosure import check_notebook

    found = {str(file): check_notebook(file, canaries=canaries or ()) for file in files}
    if as_json:
        show_json({file: [asdict(one) for one in findings] for file, findings in found.items()})
    else:
        for file, findings in found.items():
            for one in findings:
                typer.echo(f"{file}: {one}")
            if not findings:
                typer.echo(f"{file}: tells of nobody that could be found")
    if any(found.values()):
        raise typer.Exit(1)


def _write(
    found: Any, out: Path, ledger: Ledger, templates: Path | None, tables: Path | None, *, as_json: bool, **given: Any
) -> None:
    from journeylab.reports import report as reported
    from journeylab.reports.page import file_of

    file_of(out)
    with step("holding the numbers to the rules for what may leave") as writing:
        made = reported(found, ledger=ledger, **given)
        made.write(out, templates=templates)
        n, hidden = made.disclosed.n_shown, made.disclosed.n_hidden
        writing.done = f"wrote the report: {n} numbers shown, {hidden} hidden"
    if tables is not None:
        tables.mkdir(parents=True, exist_ok=True)
        for name, table in made.tables.items():
            table.to_csv(tables / f"{name.replace('/', '_')}.csv", index=False)
    if as_json:
        show_json({"report": str(out), "n_bytes": out.stat().st_size, **made.to_dict()})
        return
    typer.echo(f"{made.title}: {made.answer}")
    typer.echo(f"the report: {out} ({out.stat().st_size / 1000:.0f} KB)")


def ledger_of(path: Path | None, key: Path | None, readers: str = "readers") -> Ledger:
    """The ledger of the readers; one of one's own, with its key elsewhere, where none is named."""
    from journeylab.disclosure import Ledger, LedgerKey

    if (path is None) != (key is None):
        raise typer.BadParameter("a ledger and its key go together", param_hint="--ledger, --ledger-key")
    if path is None or key is None:
        home = Path.home()
        if not readers.isidentifier():
            raise typer.BadParameter(f"{readers!r} is no name of letters, digits and _", param_hint="--readers")
        path = Path(os.environ.get("XDG_STATE_HOME", home / ".local" / "state")) / "journeylab" / f"{readers}.ledger"
        key = Path(os.environ.get("XDG_CONFIG_HOME", home / ".config")) / "journeylab" / f"{readers}.key"
    if not path.exists() and not key.exists():
        for folder in (path.parent, key.parent):
            folder.mkdir(parents=True, exist_ok=True)
        typer.echo(f"a new ledger of what was ever shown: {path}; keep its key apart from it: {key}", err=True)
        return Ledger(path, LedgerKey.make(key))
    return Ledger(path, LedgerKey.read(key))
