"""The commands that change what runs: promote, and release with list, show, watch, full, pause and the others."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from journeylab.display import counted
from journeylab.errors import DataError

from .messages import AskDns
from .options import AsJson, Columns, Contacts, Event, JourneyName, Query, RejectsFile, Timezone
from .screen import announce_compiling, show_json, step, table_lines
from .sender import SETTINGS, Actor, SettingsFile, opened, who_acts
from .source import Source

if TYPE_CHECKING:
    from journeylab.eventlog import EventLog
    from journeylab.sender.promotion.promoting import Prepared
    from journeylab.sender.promotion.releases import Done

__all__ = ["promote", "release"]

release = typer.Typer(
    help="See and change which release of a journey takes entries; pause and resume journeys.",
    no_args_is_help=True,
    rich_markup_mode=None,
)

Reason = Annotated[str, typer.Option("--reason", metavar="WHY", help="Why, for those who come later.")]
OfJourney = Annotated[str, typer.Argument(metavar="JOURNEY", help="The journey's name.")]


def _share(text: str) -> float:
    """The share that `5%` says."""
    try:
        share = float(text.strip().removesuffix("%")) / (100 if text.strip().endswith("%") else 1)
    except ValueError:
        share = -1.0
    if not 0 < share < 1:
        raise typer.BadParameter(f"{text!r} is no share of contacts below all; write 5%")
    return share


def _models(texts: Sequence[str] | None) -> dict[str, str]:
    found: dict[str, str] = {}
    for text in texts or ():
        name, equals, path = text.partition("=")
        if not (name.isidentifier() and equals and path) or name in found:
            raise typer.BadParameter(f"{text!r} is no model; write each once as NAME=FILE", param_hint="--models")
        found[name] = path
    return found


def promote(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="The journey's file, YAML or JSON.")],
    settings: SettingsFile = SETTINGS,
    journey: JourneyName = None,
    canary: Annotated[
        float | None,
        typer.Option(parser=_share, metavar="SHARE", help="Take entries of this share of contacts only: 5%."),
    ] = None,
    full: Annotated[bool, typer.Option("--full", help="Take all entries; this is the default.")] = False,
    messages: Annotated[
        Path | None, typer.Option("--messages", metavar="FOLDER", help="The messages, instead of the settings' folder.")
    ] = None,
    models: Annotated[
        list[str] | None,
        typer.Option("--models", metavar="NAME=FILE", help="Send times of `at: best`, or a table of `score()`."),
    ] = None,
    record: Annotated[
        Path | None,
        typer.Option("--record", metavar="FILE", help="The decision record, if it comes from an experiment."),
    ] = None,
    forecast: Annotated[
        Path | None, typer.Option("--forecast", metavar="FILE", help="What `journeylab simulate --json` printed.")
    ] = None,
    without_forecast: Annotated[
        str | None, typer.Option("--without-forecast", metavar="WHY", help="Release it without a forecast.")
    ] = None,
    events: Annotated[
        str | None,
        typer.Option("--events", metavar="FILE|URL", help="The event log; without --forecast, simulate over it."),
    ] = None,
    contacts: Contacts = None,
    columns: Columns = None,
    event: Event = None,
    timezone: Timezone = None,
    query: Query = None,
    rejects: RejectsFile = None,
    override: Annotated[
        str | None,
        typer.Option("--override", metavar="WHY", help="Use a model that does not reproduce the log's own rates."),
    ] = None,
    ask_dns: AskDns = False,
    check_only: Annotated[
        bool, typer.Option("--check-only", help="Say what is at fault, and release nothing.")
    ] = False,
    again: Annotated[bool, typer.Option("--again", help="Promote a release that was rolled back.")] = False,
    upgrade: Annotated[bool, typer.Option("--upgrade", help="Bring the store's tables up to date.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    actor: Actor = None,
    as_json: AsJson = False,
) -> None:
    """Check a journey with all that it needs, show what would change, and release it.

    Nothing is released while anything is at fault (exit status 1). Promoting what runs already changes nothing. What
    takes a second person by the settings is asked for (exit status 1), and is to be promoted again once approved.

    \b
    Examples:
      journeylab promote welcome.yaml --forecast forecast.json --check-only
      journeylab promote welcome.yaml --forecast forecast.json --canary 5% --yes
      journeylab promote welcome.yaml --events events.parquet --contacts contacts.parquet --models best=hours.parquet
    """
    if canary is not None and full:
        raise typer.BadParameter("a release is a canary or full, not both", param_hint="--full")
    if forecast is not None and without_forecast is not None:
        raise typer.BadParameter("there is a forecast; leave the reason out", param_hint="--without-forecast")
    if not (yes or check_only or sys.stdin.isatty()):
        raise typer.BadParameter("nobody can be asked here; say --yes, or --check-only", param_hint="--yes")
    who = who_acts(actor)
    named = _models(models)
    log = _log(events, Source(events or "", contacts, columns, event, timezone, query, rejects))
    announce_compiling()
    from journeylab.sender.mail.lookup import lookup
    from journeylab.sender.promotion.promoting import prepare

    with step("checking") as checking:
        made = prepare(
            file, settings=settings, name=journey, messages=messages, forecast=forecast,
            without_forecast=without_forecast, log=log, models=named, record=record, override=override,
            upgrade=upgrade, dns=lookup() if ask_dns else None,
        )  # fmt: skip
        checking.done = f"checked {made.candidate.journey.journey} {made.candidate.journey.version}"
    if not as_json:
        _show(made)
    if made.findings.errors or check_only:
        if as_json:
            show_json(_data(made, None))
        raise typer.Exit(1 if made.findings.errors else 0)
    share = 1.0 if canary is None else canary
    if not yes and not typer.confirm(f"Release it for {share:.12g} of contacts?" if canary else "Release it for all?"):
        raise typer.Exit(1)
    done = made.open(share=share, actor=who, again=again)
    if as_json:
        show_json(_data(made, done))
    else:
        typer.echo(done.sentence)
    if done.action == "ask":
        raise typer.Exit(1)


def _log(events: str | None, source: Source) -> EventLog | None:
    if events is not None:
        return source.read()
    return None


def _show(made: Prepared) -> None:
    """What was found, and what would change."""
    journey = made.candidate.journey
    for one in made.findings.found:
        typer.echo(str(one), err=one.severity == "error")
    if made.former is None:
        typer.echo(f"{journey.journey} {journey.version}: no release of it takes entries yet")
    else:
        typer.echo(f"{journey.journey} {journey.version} against {made.former}, which runs:")
        for line in made.changes or ("no difference",):
            typer.echo(f"  {line}")
    if made.findings.errors:
        typer.echo(f"{counted(len(made.findings.errors), 'fault')}; nothing is released", err=True)


def _data(made: Prepared, done: Done | None) -> dict[str, Any]:
    journey = made.candidate.journey
    return {
        "journey": journey.journey,
        "version": journey.version,
        "hash": made.candidate.frozen().hash if not made.findings.errors else None,
        "sound": not made.findings.errors,
        "findings": [
            {"check": one.check, "severity": one.severity, "place": one.place, "message": one.message}
            for one in made.findings.found
        ],
        "former": made.former,
        "changes": [*made.changes],
        "done": None if done is None else done.to_dict(),
    }


def _said(done: Done, *, as_json: bool) -> None:
    if as_json:
        show_json(done.to_dict())
    else:
        typer.echo(done.sentence)
    if done.action == "ask":
        raise typer.Exit(1)


@release.command("list")
def list_releases(settings: SettingsFile = SETTINGS, as_json: AsJson = False) -> None:
    """List what takes entries, what is paused, what waits for approval, and all releases, the newest first."""
    from journeylab.sender.approvals import waiting
    from journeylab.sender.promotion.standing import pauses, releases, running

    with opened(settings) as store, store.reading() as connection:
        taking, stopped, all_ = running(connection), pauses(connection), releases(connection)
        wait = waiting(connection, store.now(connection), ["promotion"])
    if as_json:
        show_json(
            {
                "running": [
                    {
                        "journey": one.journey, "version": one.version, "release": one.release_id, "hash": one.hash,
                        "share": one.share[1] - one.share[0], "canary": one.is_canary, "since": one.from_at.isoformat(),
                        "forecast": one.has_forecast,
                    }
                    for one in taking
                ],
                "paused": [
                    {"journey": one.journey, "since": one.started_at.isoformat(), "reason": one.reason}
                    for one in stopped
                ],
                "releases": [
                    {
                        "release": row.release_id, "journey": row.journey, "version": row.version, "hash": row.hash,
                        "at": row.created_at.isoformat(), "by": row.created_by,
                    }
                    for row in all_
                ],
                "waiting": [
                    {
                        "release": one.object, "share": one.share, "asked_by": one.asked_by,
                        "asked_at": one.asked_at.isoformat(), "until": one.expires_at.isoformat(),
                    }
                    for one in wait
                ],
            }
        )  # fmt: skip
        return
    now = {one.release_id: one for one in taking}
    rows = [
        (
            row.journey, str(row.release_id), row.version,
            "" if row.release_id not in now else now[row.release_id].shown_share,
            f"{row.created_at:%Y-%m-%d %H:%M}", row.created_by,
        )
        for row in all_
    ]  # fmt: skip
    for line in table_lines(
        ("journey", "release", "version", "takes", "made at (UTC)", "by"), rows, right="release takes"
    ):
        typer.echo(line)
    for one in stopped:
        typer.echo(f"{one.journey} is paused since {one.started_at:%Y-%m-%d %H:%M} UTC ({one.reason})")
    for request in wait:
        name = request.object[: request.object.index("/") + 13]
        typer.echo(f"{name} waits for approval, asked for by {request.asked_by}: {request.purpose}")


@release.command("show")
def show(journey: OfJourney, settings: SettingsFile = SETTINGS, as_json: AsJson = False) -> None:
    """Show what the newest release of a journey is made of: definition, messages, models, record and forecast."""
    from journeylab.journeytext import plain_text
    from journeylab.sender.promotion.forecast import Forecast
    from journeylab.sender.promotion.standing import frozen_release

    with opened(settings) as store, store.reading() as connection:
        frozen = frozen_release(connection, _newest(connection, journey))
    if as_json:
        data = {key: value for key, value in frozen.row().items() if key != "models"}
        models = [{"kind": one.kind, "name": one.name, "hash": one.hash} for one in frozen.models]
        show_json({**data, "models": models})
        return
    typer.echo(plain_text(frozen.journey))
    typer.echo(f"messages: {', '.join(f'{name} {one.hash}' for name, one in frozen.messages.items()) or 'none'}")
    typer.echo(f"models: {', '.join(f'{one.name} {one.hash[:12]}' for one in frozen.models) or 'none'}")
    if frozen.record is not None:
        typer.echo(f"decision record: {frozen.record['hash'][:12]}")
    without = frozen.forecast.get("without")
    typer.echo(f"forecast: {Forecast.from_dict(frozen.forecast)!r}" if without is None else f"no forecast: {without}")


def _newest(connection: Any, journey: str) -> int:
    from journeylab.errors import known
    from journeylab.sender.promotion.standing import releases, running

    taking = [one.release_id for one in running(connection) if one.journey == journey]
    found = taking or [row.release_id for row in releases(connection, journey)]
    if not found:
        names = {row.journey for row in releases(connection)}
        raise DataError(f"no journey {journey!r} was ever promoted; {known(journey, names, 'journeys')}")
    return int(found[0])


@release.command("watch")
def watch(journey: OfJourney, settings: SettingsFile = SETTINGS, as_json: AsJson = False) -> None:
    """Hold what the newest release's contacts did against its forecast; exit status 1 when it is outside.

    It may be asked at any time, as often as one likes: at most 5 % of releases are ever said to be outside although
    they are not. Where a node is outside an alert is raised.
    """
    from journeylab.display import plain_rows
    from journeylab.sender.promotion.deviation import compare

    with opened(settings) as store, store.writing() as connection:
        release_id = _newest(connection, journey)
        table = compare(connection, release_id, store.now(connection))
    outside = table[table["verdict"] == "outside"]
    if as_json:
        show_json({"journey": journey, "release": release_id, "outside": len(outside), "shares": plain_rows(table)})
    elif table.empty:
        typer.echo(f"{journey}: the release has no forecast; there is nothing to hold it against")
    else:
        for row in table.itertuples():
            typer.echo(f"{row.verdict:8} {row.sentence}")
    if len(outside):
        raise typer.Exit(1)


@release.command("full")
def full_(journey: OfJourney, settings: SettingsFile = SETTINGS, actor: Actor = None, as_json: AsJson = False) -> None:
    """Open the canary of a journey for all contacts; where that takes a second person, one is asked (status 1)."""
    from journeylab.sender.promotion.foureyes import open_in_full
    from journeylab.sender.settings import Settings

    with opened(settings) as store:
        _said(open_in_full(store, Settings.read(settings), journey, actor=who_acts(actor)), as_json=as_json)


@release.command("approve")
def approve(
    name: Annotated[str, typer.Argument(metavar="JOURNEY/HASH", help="The release, as who asks for it was told.")],
    settings: SettingsFile = SETTINGS,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    as_json: AsJson = False,
) -> None:
    """Approve a large release that somebody else wants to promote, after a look at what changes.

    Who approves is the account under which this runs; nobody approves what they asked for themselves.

    \b
    Examples:
      journeylab release approve welcome/5f3a9c01d2e4
    """
    from journeylab.sender.promotion.foureyes import approve_release, changes_of, request_of
    from journeylab.sender.settings import Settings

    if not (yes or sys.stdin.isatty()):
        raise typer.BadParameter("nobody can be asked here; say --yes", param_hint="--yes")
    with opened(settings) as store:
        with store.reading() as connection:
            request, frozen = request_of(connection, name, store.now(connection))
            changes = changes_of(connection, frozen)
        if not as_json:
            typer.echo(f"{frozen.journey.journey} {frozen.journey.version} {request.purpose}")
            typer.echo(f"asked for by {request.asked_by} at {request.asked_at:%Y-%m-%d %H:%M} UTC; what changes:")
            for line in changes:
                typer.echo(f"  {line}")
        if not yes:
            typer.confirm("Approve it?", abort=True)
        done = approve_release(store, Settings.read(settings), name)
    if as_json:
        show_json(
            {"release": done.object, "share": done.share, "asked_by": done.asked_by, "approved_by": done.approved_by,
             "until": done.expires_at.isoformat(), "changes": changes}
        )  # fmt: skip
    else:
        typer.echo(f"approved; {done.asked_by} can promote it until {done.expires_at:%Y-%m-%d %H:%M} UTC")


@release.command("pause")
def pause(
    journey: OfJourney, reason: Reason, settings: SettingsFile = SETTINGS, actor: Actor = None, as_json: AsJson = False
) -> None:
    """Stop a journey: nobody enters or goes on, and nothing of it is sent (rule 28)."""
    from journeylab.sender.promotion.releases import pause as stopped

    with opened(settings) as store:
        _said(stopped(store, journey, reason=reason, actor=who_acts(actor)), as_json=as_json)


@release.command("resume")
def resume(journey: OfJourney, settings: SettingsFile = SETTINGS, actor: Actor = None, as_json: AsJson = False) -> None:
    """Let a paused journey go on."""
    from journeylab.sender.promotion.releases import resume as gone_on

    with opened(settings) as store:
        _said(gone_on(store, journey, actor=who_acts(actor)), as_json=as_json)


@release.command("rollback")
def rollback(
    journey: OfJourney,
    reason: Reason,
    version: Annotated[
        str | None, typer.Option("--version", metavar="VERSION", help="What is taken back, so that it happens once.")
    ] = None,
    settings: SettingsFile = SETTINGS,
    actor: Actor = None,
    as_json: AsJson = False,
) -> None:
    """Take the newest release of a journey back: the former one takes entries again.

    Entries that there are stay on their version.
    """
    from journeylab.sender.promotion.releases import roll_back

    with opened(settings) as store:
        done = roll_back(store, journey, reason=reason, actor=who_acts(actor), version=version)
        _said(done, as_json=as_json)


@release.command("withdraw")
def withdraw(
    journey: OfJourney, reason: Reason, settings: SettingsFile = SETTINGS, actor: Actor = None, as_json: AsJson = False
) -> None:
    """Take no more entries into a journey; those that there are go on."""
    from journeylab.sender.promotion.releases import withdraw as ended

    with opened(settings) as store:
        _said(ended(store, journey, reason=reason, actor=who_acts(actor)), as_json=as_json)
