"""The command line: `journeylab check`, `replay`, `demo` and the others.

Results go to stdout, everything else to stderr. The exit status is 0 when it is done, 1 when the input is at fault and
2 for wrong usage. What takes long to import is imported by the commands that need it.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from functools import cache
from typing import Annotated, Any

import typer
from typer.main import get_command

from journeylab.errors import JourneyLabError

from . import (
    assistants,
    audit,
    connectors,
    contacts,
    converting,
    definitions,
    events,
    experiments,
    grants,
    incidents,
    installation,
    keys,
    messages,
    notebooks,
    persons,
    policies,
    predicting,
    promotion,
    replaying,
    reporting,
    sending,
    sendtimes,
    tokens,
)
from .sender import permit

__all__ = ["main"]

app = typer.Typer(
    help="Replay e-mail journeys over the event log you already have, before anybody is sent anything.",
    epilog="Begin with `journeylab demo`. Each command's --help has examples.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command("demo")(installation.demo)
app.command("check")(definitions.check)
app.command("draw")(definitions.draw)
app.command("diff")(definitions.diff)
app.command("test")(definitions.run_tests)
app.command("convert")(converting.convert)
app.command("replay")(replaying.replay)
app.command("simulate")(predicting.simulate)
app.command("backtest")(predicting.backtest)
app.command("policy")(policies.policy)
app.add_typer(events.events, name="events")
app.add_typer(sendtimes.sendtime, name="sendtime")
app.add_typer(experiments.experiment, name="experiment")
app.add_typer(reporting.report, name="report")
app.command("mcp")(assistants.mcp)
app.add_typer(messages.messages, name="messages")
app.command("promote")(promotion.promote)
app.add_typer(promotion.release, name="release")
app.command("run")(sending.run)
app.command("serve")(sending.serve)
app.add_typer(sending.sends, name="sends")
app.add_typer(incidents.incidents, name="incidents")
app.add_typer(connectors.connectors, name="connectors")
app.add_typer(contacts.contacts, name="contacts")
contacts.contacts.command("copy")(persons.copy)
contacts.contacts.command("requests")(persons.requests)
contacts.contacts.command("approve")(persons.approve)
contacts.contacts.command("erase")(persons.erase)
contacts.contacts.command("pseudonymise")(persons.pseudonymise)
app.add_typer(keys.keys, name="keys")
app.add_typer(tokens.tokens, name="tokens")
app.command("grants")(grants.grants)
app.add_typer(audit.audit, name="audit")
app.command("lab")(notebooks.lab)
app.command("doctor")(installation.doctor)


def _version(*, wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        typer.echo(f"journeylab {version('journeylab')}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", help="Say which version this is.", callback=lambda on: _version(wanted=on))
    ] = False,
) -> None:
    pass


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the command in `arguments` (by default, those of the process) and exits with its status.

    Raises:
        SystemExit: always, with 0, 1 or 2.
    """
    try:
        _command()(args=arguments, prog_name="journeylab")
    except JourneyLabError as error:
        sys.exit(in_options(str(error)))
    except OSError as error:
        sys.exit(f"{error.filename}: {error.strerror}" if error.filename else str(error))


@cache
def _command() -> Any:
    """All commands, made once: that takes longer than most of them."""
    return guarded(get_command(app))


def guarded(command: Any, path: str = "") -> Any:
    """The command, whose leaves are given only by those who may."""
    for name, below in getattr(command, "commands", {}).items():
        guarded(below, f"{path} {name}".strip())
    if not hasattr(command, "commands"):
        inner = command.invoke

        def invoke(context: Any) -> Any:
            permit(path, context.params)
            return inner(context)

        command.invoke = invoke
    return command


def in_options(message: str) -> str:
    """A message of the library in the words of the command line: options for arguments.

    >>> in_options('map it with columns={"date": "occurred_at"}, or set bad rows aside with rejects="set_aside"')
    'map it with --columns date=occurred_at, or set bad rows aside with --rejects OUT.csv'
    >>> in_options("segment='countri': did you mean 'country'?")
    "--segment countri: did you mean 'country'?"
    """
    message = message.replace('rejects="set_aside"', "--rejects OUT.csv").replace('override="…"', "--override WHY")
    message = re.sub(r"""\blike=\{["'](.+?)["']: ["'](.+?)["']\}""", r"--like \1=\2", message)
    message = re.sub(r"""\bcolumns=\{["'](.+?)["']: ["'](.+?)["']\}""", r"--columns \1=\2", message)
    message = re.sub(r"""\b(event|timezone|outcome|segment|baseline)=["'](.+?)["']""", r"--\1 \2", message)
    message = re.sub(r"\bquery=(\"[^\"]*\")", r"--query \1", message)
    return re.sub(r"\bcolumns=(?=\s|$)", "--columns", message)
