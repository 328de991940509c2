"""The commands over connectors: list, pull and reset."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from journeylab.display import counted
from journeylab.durations import duration_text

from .options import AsJson
from .screen import show_json, step, table_lines
from .sender import SETTINGS, Actor, SettingsFile, made, opened, who_acts

if TYPE_CHECKING:
    from datetime import datetime

__all__ = ["connectors"]

connectors = typer.Typer(
    help="See what is pulled from other systems, pull it now, or from its beginning again.",
    no_args_is_help=True,
    rich_markup_mode=None,
)
OneConnector = Annotated[str, typer.Argument(metavar="NAME", help="The connector's name in the settings.")]


@connectors.command("list")
def list_connectors(settings: SettingsFile = SETTINGS, as_json: AsJson = False) -> None:
    """List the streams that are pulled: of when what is known of each is, what was refused, and what went wrong.

    Below them stand the attributes that are true by one source, and how old each may be.

    \b
    Examples:
      journeylab connectors list
      journeylab connectors list --json
    """
    from journeylab.sender.live.pulls import standing
    from journeylab.sender.settings import Settings

    read = Settings.read(settings)
    with opened(settings) as store, store.reading() as connection:
        streams = standing(connection, read)
    owned = [
        {
            "attribute": name,
            "source": one.source,
            "stream": read.stream_of(one),
            "conflict": one.conflict,
            "max_age": None if one.max_age is None else duration_text(one.max_age),
            "stale": one.stale,
        }
        for name, one in read.attributes.items()
    ]
    if as_json:
        plain = [
            {name: _plain(value) for name, value in one._asdict().items()} | {"every": duration_text(one.every)}
            for one in streams
        ]
        show_json({"streams": plain, "attributes": owned})
        return
    head = ("connector", "stream", "every", "known as of", "rows", "refused", "faults", "last fault")
    cells = [
        (one.connector, one.stream, duration_text(one.every), _at(one.complete_at), f"{one.n_rows:,}",
         f"{one.n_refused:,}", f"{one.attempts:,}", one.reply or "")
        for one in streams
    ]  # fmt: skip
    for line in table_lines(head, cells, right="rows refused faults"):
        typer.echo(line)
    if not streams:
        typer.echo("nothing is pulled; `connectors` in the settings says what is")
    for one in owned:
        stream = f" ({one['stream']})" if one["stream"] else ""
        age = f", at most {one['max_age']} old, else {one['stale']}" if one["max_age"] else ""
        typer.echo(f"{one['attribute']} is true by {one['source']}{stream}, others: {one['conflict']}{age}")


def _plain(value: object) -> object:
    return value.isoformat() if hasattr(value, "isoformat") else value


def _at(instant: datetime | None) -> str:
    return "" if instant is None else f"{instant:%Y-%m-%d %H:%M:%S} UTC"


@connectors.command("pull")
def pull(name: OneConnector, settings: SettingsFile = SETTINGS) -> None:
    """Pull all streams of a connector now, due or not, and say what came.

    Another process that is just pulling it goes first: then nothing is done here. Before the first release this makes
    the store, so that what a journey asks for is known when it is promoted.

    \b
    Examples:
      journeylab connectors pull crm
    """
    from journeylab.sender.acting import account
    from journeylab.sender.live.pulls import Puller, standing
    from journeylab.sender.settings import Settings

    read = Settings.read(settings)
    with made(settings, personal=True) as store:
        with step(f"pulling {name}") as pulling:
            n = Puller(store, read, f"{account()} by hand").pull(name)
            pulling.done = f"pulled {counted(n, 'page')} of {name}"
        with store.reading() as connection:
            streams = [one for one in standing(connection, read) if one.connector == name]
    for one in streams:
        known = f"known as of {_at(one.complete_at)}" if one.complete_at else "not known as a whole yet"
        more = f", {counted(one.n_refused, 'row')} refused" if one.n_refused else ""
        typer.echo(f"{one.stream}: {known}{more}{f'; {one.reply}' if one.reply else ''}")
    if any(one.attempts for one in streams):
        raise typer.Exit(1)


@connectors.command("reset")
def reset(
    name: OneConnector,
    stream: Annotated[str, typer.Argument(metavar="STREAM", help="The stream, as the settings name it.")],
    settings: SettingsFile = SETTINGS,
    actor: Actor = None,
) -> None:
    """Let a stream be pulled from its beginning again; what was taken is known and not taken twice.

    Until that is complete, attributes that are true by it are as old as when they were last said of each contact, and
    messages that depend on them may wait.

    \b
    Examples:
      journeylab connectors reset crm contacts
    """
    from journeylab.sender.live.pulls import reset as begun_anew
    from journeylab.sender.settings import Settings

    who = who_acts(actor)
    with opened(settings) as store, store.writing() as connection:
        begun_anew(connection, Settings.read(settings), name, stream, who, store.now(connection))
    typer.echo(f"{stream} of {name} is pulled from its beginning again")
