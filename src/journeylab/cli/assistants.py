"""The command that answers assistants: mcp."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Annotated

import typer

from journeylab.display import counted
from journeylab.durations import parse_duration
from journeylab.errors import JourneyLabError

from .options import Columns, Contacts, Event, Query, RejectsFile, Timezone
from .reporting import Data, LedgerFile, LedgerKeyFile, ledger_of
from .source import Source

__all__ = ["mcp"]


def mcp(
    journeys: Annotated[
        Path, typer.Option("--journeys", metavar="FOLDER", help="The folder of the journeys that may be asked about.")
    ],
    events: Annotated[
        str | None,
        typer.Option("--events", metavar="FILE|URL", help="The event log; without one, only definitions are answered."),
    ] = None,
    contacts: Contacts = None,
    columns: Columns = None,
    event: Event = None,
    timezone: Timezone = None,
    query: Query = None,
    rejects: RejectsFile = None,
    readers: Annotated[
        str,
        typer.Option("--readers", metavar="NAME", help="Who reads the answers: each audience has a ledger of its own."),
    ] = "readers",
    ledger: LedgerFile = None,
    ledger_key: LedgerKeyFile = None,
    data: Data = "",
    longest: Annotated[
        str, typer.Option("--longest", metavar="DURATION", help="After how long a question is given up.")
    ] = "5m",
) -> None:
    """Answer an assistant's questions about journeys by the Model Context Protocol, on standard input and output.

    It checks, draws and compares journeys, and says what they would have done over the event log: every number of
    people goes through the gate that holds reports, and the same ledger. Nothing is sent, and nothing written but that
    ledger. An assistant is told this command; nobody calls it by hand. It takes pip install "journeylab[mcp]".

    \b
    Examples:
      journeylab mcp --journeys journeys --events events.parquet --contacts contacts.parquet
      journeylab mcp --journeys journeys --events events.parquet --readers marketing --data "Akacja, since January"
    """
    if find_spec("mcp") is None:
        raise JourneyLabError('assistants need the extra mcp: pip install "journeylab[mcp]"')
    from journeylab.assistants import JourneyFolder, Questions
    from journeylab.assistants.server import server_of

    if events is None and any((contacts, columns, event, timezone, query, rejects, ledger, ledger_key)):
        raise typer.BadParameter("what is said of a log or a ledger needs the log", param_hint="--events")
    try:
        seconds = parse_duration(longest).total_seconds()
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--longest") from None
    folder = JourneyFolder(journeys)
    log, readers_ledger = None, None
    if events is not None:
        log = Source(events, contacts, columns, event, timezone, query, rejects).read()
        readers_ledger = ledger_of(ledger, ledger_key, readers)
    questions = Questions(folder, log, readers_ledger, data)
    typer.echo(f"answering about {counted(len(folder.files()), 'file')} of journeys", err=True)
    server_of(questions, longest=seconds).run("stdio")
