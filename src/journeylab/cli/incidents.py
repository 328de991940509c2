"""The commands over incidents: list, acknowledge and test."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from journeylab.errors import DataError, known

from .options import AsJson
from .screen import show_json, table_lines
from .sender import SETTINGS, Actor, SettingsFile, opened, who_acts

if TYPE_CHECKING:
    from datetime import datetime

__all__ = ["incidents"]

incidents = typer.Typer(
    help="See what needs a person, say that somebody looks after it, and try the systems that are told.",
    no_args_is_help=True,
    rich_markup_mode=None,
)


@incidents.command("list")
def list_incidents(settings: SettingsFile = SETTINGS, as_json: AsJson = False) -> None:
    """List the open alerts, the worst first, and the systems that are told of them.

    \b
    Examples:
      journeylab incidents list
      journeylab incidents list --json
    """
    from journeylab.sender.sending.alerts import open_alerts
    from journeylab.sender.settings import Settings
    from journeylab.sender.web.figures import outbox_by_target

    systems = Settings.read(settings).incidents
    with opened(settings) as store, store.reading() as connection:
        alerts, waiting = open_alerts(connection), outbox_by_target(connection)
    told = [
        {"name": one.name, "kind": one.kind, "at_least": one.at_least, "n_waiting": 0, "n_failing": 0, "n_dead": 0}
        | ({name: n for name, n in at._asdict().items() if name != "oldest_at"} if at is not None else {})
        for one in systems
        for at in [waiting.get(f"incidents/{one.name}")]
    ]
    if as_json:
        names = ("cause", "severity", "text", "started_at", "n_seen", "acknowledged_at", "acknowledged_by")
        rows = [{name: row._mapping[name] for name in names} for row in alerts]
        plain = [{k: v.isoformat() if hasattr(v, "isoformat") else v for k, v in row.items()} for row in rows]
        show_json({"alerts": plain, "systems": told})
        return
    for row in alerts:
        after = (
            f"; {row.acknowledged_by} looks after it since {_at(row.acknowledged_at)}" if row.acknowledged_at else ""
        )
        typer.echo(f"{row.severity}  {row.cause}  since {_at(row.started_at)}, seen {row.n_seen:,} times{after}")
        typer.echo(f"    {row.text}")
    if not alerts:
        typer.echo("nothing needs a person")
    if told:
        typer.echo("")
        head = ("system", "kind", "hears of", "waiting", "failing", "dead")
        cells = [tuple(f"{value:,}" if isinstance(value, int) else value for value in one.values()) for one in told]
        for line in table_lines(head, cells, right="waiting failing dead"):
            typer.echo(line)


def _at(instant: datetime) -> str:
    return f"{instant:%Y-%m-%d %H:%M} UTC"


@incidents.command("acknowledge")
def acknowledge(
    cause: Annotated[str, typer.Argument(metavar="CAUSE", help="The alert's cause, such as relay/main.")],
    settings: SettingsFile = SETTINGS,
    actor: Actor = None,
) -> None:
    """Say that somebody looks after an alert; systems that know of that are told, without a name.

    It stays open until its cause is over. When it gets worse, it needs somebody again.

    \b
    Examples:
      journeylab incidents acknowledge relay/main
    """
    from journeylab.sender.sending.alerts import acknowledge as acknowledged

    who = who_acts(actor)
    with opened(settings) as store, store.writing() as connection:
        is_new = acknowledged(connection, cause, who, store.now(connection))
    typer.echo(f"{cause} is acknowledged" if is_new else f"somebody looks after {cause} already")


@incidents.command("test")
def run_test(
    name: Annotated[str, typer.Argument(metavar="NAME", help="The system's name in the settings.")],
    settings: SettingsFile = SETTINGS,
    as_json: AsJson = False,
) -> None:
    """Open an incident of the cause test/NAME in a system, resolve it, and say what was replied.

    \b
    Examples:
      journeylab incidents test pager
    """
    from journeylab.connectors.facts import Fact
    from journeylab.sender.sending.recipients import Recipients
    from journeylab.sender.settings import Settings

    read = Settings.read(settings)
    system = next((one for one in read.incidents if one.name == name), None)
    if system is None:
        names = [one.name for one in read.incidents]
        raise DataError(f"no system for incidents is named {name!r}; {known(name, names, 'systems')}")
    if read.is_staging:
        raise DataError("this is staging, which nothing leaves; try it with the settings of production")
    replies = {}
    with opened(settings) as store:
        recipients = Recipients(store, read)
        with store.reading() as connection:
            now = store.now(connection)
        data = {
            "dedup_key": f"test/{name}", "severity": system.at_least, "started_at": now.isoformat(),
            "summary": "This is a test by JourneyLab; nothing is wrong.",
        }  # fmt: skip
        for kind in ("alert.raised", "alert.resolved"):
            fact = Fact(kind, f"test_{name}_{now:%Y%m%dT%H%M%S%f}_{kind}", now, data)
            reply = recipients.told(f"incidents/{name}", fact, now)
            replies[kind] = reply.text
            if not reply.is_taken:
                left = "" if kind == "alert.raised" else f"; the incident test/{name} may be open there, so resolve it"
                raise DataError(f"{name} did not take {kind}: {reply.text}{left}")
    if as_json:
        show_json({"name": name, "replies": replies})
        return
    for kind, text in replies.items():
        typer.echo(f"{kind}: {text}")
