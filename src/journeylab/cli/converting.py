"""The command that brings journeys from other systems, and takes them there."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from journeylab.display import counted
from journeylab.errors import DataError

from .options import AsJson, JourneyName
from .screen import show_json

if TYPE_CHECKING:
    from journeylab.importers import Losses

__all__ = ["convert"]

_OURS = "journeylab"


def convert(
    system: Annotated[
        str,
        typer.Argument(
            metavar="SYSTEM",
            help="Where it comes from: salesforce, eloqua, hubspot, mautic, klaviyo, dittofeed, braze, an installed "
            "importer, or journeylab for a journey file.",
        ),
    ],
    export: Annotated[Path, typer.Argument(metavar="EXPORT", help="What it has exported: JSON, or a ZIP with JSON.")],
    out: Annotated[
        Path | None, typer.Option("--out", "-o", metavar="FILE", help="Write here; without it, to the screen.")
    ] = None,
    to: Annotated[
        str, typer.Option("--to", metavar="SYSTEM", help="Where it goes: journeylab, salesforce, hubspot or dittofeed.")
    ] = _OURS,
    journey: JourneyName = None,
    timezone: Annotated[
        str | None,
        typer.Option("--timezone", metavar="ZONE", help="The zone of local times, where the export does not say it."),
    ] = None,
    messages: Annotated[
        Path | None,
        typer.Option(
            "--messages",
            metavar="FILE",
            help="Write a CSV of messages, what they are called here and there, for `events import --messages`.",
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Make journeys of another system's export, or the other way round, and say what became of each part.

    Each part of the export is mapped, approximated (with what differs, and by which rule of docs/semantics.md) or left
    out; what is not the same stands as comments in the file, too. docs/importing-journeys.md lists what becomes of each
    type of node. Events are imported by `journeylab events import`.

    \b
    Examples:
      journeylab convert hubspot flow.json -o nurture.yaml
      journeylab convert salesforce welcome.json -o welcome.yaml --timezone Europe/Warsaw --messages welcome.csv
      journeylab convert mautic campaign.zip -o campaign.yaml && journeylab check campaign.yaml
      journeylab convert journeylab welcome.yaml --to dittofeed -o welcome.json
    """
    from journeylab.importers import Losses, export_journey, import_journeys
    from journeylab.journey import Portfolio
    from journeylab.journeyfile import read

    if system == to:
        raise typer.BadParameter(f"it comes from {system} and goes there; say another one", param_hint="--to")
    made = None if system == _OURS else import_journeys(export, system, timezone=timezone)
    if made is None and messages is not None:
        raise typer.BadParameter("a journey file has no messages of another system", param_hint="--messages")
    whole = read(export) if made is None else Portfolio(journeys=made.journeys)
    journeys = whole.journeys if journey is None else (whole.one(journey),)
    if made is not None:
        made = made.only(journeys)
    taken = None if to == _OURS else export_journey(Portfolio(journeys=journeys).one(), to)
    if messages is not None and made is not None:
        _write(messages, _csv(made.called()))
    losses = Losses(tuple(outcome for one in (made, taken) if one is not None for outcome in one.losses.outcomes))
    text = taken.text() if taken is not None else made.text() if made is not None else ""
    if out is not None and taken is None and made is not None:
        made.save(out)
    elif out is not None:
        _write(out, text)
    if as_json:
        show_json(
            {
                "from": system,
                "to": to,
                "journeys": [one.journey for one in journeys],
                "messages": {} if made is None else dict(made.messages),
                **({"text": text} if out is None else {"written": str(out)}),
                "losses": losses.data(),
            }
        )
        return
    if out is None:
        typer.echo(text, nl=False)
    _say(losses, err=out is None)
    if out is not None:
        typer.echo(f"{counted(len(journeys), 'journey')} written to {out}")


def _write(path: Path, text: str) -> None:
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as problem:
        raise DataError(f"{path} cannot be written: {problem.strerror}") from None


def _csv(called: Sequence[tuple[str, str]]) -> str:
    """The table of messages, as `journeylab events import --messages` takes it: what they are called here and there."""
    text = StringIO()
    rows = csv.writer(text, lineterminator="\n")
    rows.writerows([("message", "called"), *called])
    return text.getvalue()


def _say(losses: Losses, *, err: bool) -> None:
    """Says what became of each part; on stderr where the journey itself is on the screen."""
    from journeylab.importers import Verdict

    for verdict in Verdict:
        found = losses.of(verdict)
        if not found:
            continue
        typer.echo(f"{verdict}: {len(found)}", err=err)
        for note, alike in losses.by_note(verdict).items():
            if note:
                typer.echo(f"  {note}", err=err)
            for one in alike if note else ():
                becomes = f" -> {', '.join(one.becomes)}" if one.becomes else ""
                typer.echo(f"    {'.'.join(map(str, one.place)) or 'whole'}: {one.element}{becomes}", err=err)
