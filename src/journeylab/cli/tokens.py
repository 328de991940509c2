"""The commands over tokens of services: create, list and revoke."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from .options import AsJson
from .screen import show_json, table_lines
from .sender import SETTINGS, SettingsFile, made

if TYPE_CHECKING:
    from journeylab.sender.acting import Acting
    from journeylab.sender.store import Store

__all__ = ["tokens"]

tokens = typer.Typer(
    help="Let services in, each with a token of its own that is for little and for a time.",
    no_args_is_help=True,
    rich_markup_mode=None,
)
Service = Annotated[str, typer.Argument(metavar="NAME", help="The service's name, such as crm.")]


@contextmanager
def _opened(settings: Path) -> Iterator[tuple[Store, Acting]]:
    """The store, which is made where there is none yet, as tokens may be wanted before anything runs; and who acts."""
    from journeylab.sender.acting import acting
    from journeylab.sender.settings import Settings

    with made(settings) as store:
        yield store, acting(Settings.read(settings))


@tokens.command("create")
def create(
    name: Service,
    may: Annotated[
        list[str], typer.Option("--may", metavar="PERMISSION", help="What it is for: see_figures; repeatable.")
    ],
    lifetime: Annotated[str, typer.Option("--for", metavar="LENGTH", help="How long: 90d, and 400d at most.")],
    settings: SettingsFile = SETTINGS,
    as_json: AsJson = False,
) -> None:
    """Make a token for a service and show it, this once.

    It may be for see_figures, check, bring_in_contacts, bring_in_events, bring_in_bounces, promote and stop, as far as
    you may that yourself. Services show it as `Authorization: Bearer TOKEN`, commands take it from JOURNEYLAB_TOKEN.

    \b
    Examples:
      journeylab tokens create crm --may bring_in_contacts --may bring_in_events --for 180d
      journeylab tokens create prometheus --may see_figures --for 365d
      journeylab tokens create ci --may promote --may check --for 90d
    """
    from journeylab.durations import parse_duration
    from journeylab.sender.tokens import create as created

    try:
        length = parse_duration(lifetime)
    except ValueError as problem:
        raise typer.BadParameter(str(problem), param_hint="--for") from None
    with _opened(settings) as (store, maker), store.writing() as connection:
        now = store.now(connection)
        text = created(connection, maker, name, may, length, now)
    if as_json:
        show_json({"name": name, "token": text, "may": sorted(may), "expires_at": (now + length).isoformat()})
        return
    typer.echo(text)
    typer.echo(f"{name} may {', '.join(sorted({*may}))} until {now + length:%Y-%m-%d %H:%M} UTC", err=True)
    typer.echo("it is kept nowhere here and not shown again; put it where the service keeps its secrets", err=True)


@tokens.command("list")
def list_tokens(settings: SettingsFile = SETTINGS, as_json: AsJson = False) -> None:
    """List tokens, the newest first: whose, what for, until when, and who made them.

    \b
    Examples:
      journeylab tokens list
    """
    from journeylab.sender.tokens import listed

    with _opened(settings) as (store, _), store.reading() as connection:
        now, found = store.now(connection), listed(connection)
    if as_json:
        rows = [
            {
                "name": one.name, "state": one.state(now), "may": sorted(one.scope), "created_by": one.created_by,
                "created_at": one.created_at.isoformat(), "expires_at": one.expires_at.isoformat(),
                "revoked_at": None if one.revoked_at is None else one.revoked_at.isoformat(),
                "revoked_by": one.revoked_by,
            }
            for one in found
        ]  # fmt: skip
        show_json({"tokens": rows})
        return
    cells = [
        (one.name, one.state(now), ", ".join(sorted(one.scope)), f"{one.expires_at:%Y-%m-%d %H:%M}", one.created_by)
        for one in found
    ]  # fmt: skip
    for line in table_lines(("name", "state", "may", "until (UTC)", "made by"), cells) if cells else ("no token",):
        typer.echo(line)


@tokens.command("revoke")
def revoke(name: Service, settings: SettingsFile = SETTINGS) -> None:
    """Take the token of a service back; it opens nothing any more from then on.

    \b
    Examples:
      journeylab tokens revoke crm
    """
    from journeylab.sender.tokens import revoke as revoked

    with _opened(settings) as (store, who), store.writing() as connection:
        revoked(connection, name, who.name, store.now(connection))
    typer.echo(f"the token of {name} opens nothing any more")
