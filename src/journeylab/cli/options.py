"""The options that several commands have, and how their values are read."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from journeylab.durations import duration_text, parse_duration
from journeylab.errors import DataError

if TYPE_CHECKING:
    from journeylab.advice import SendTimesGiven
    from journeylab.journey import Cap

__all__ = [
    "AsJson", "CapOption", "Columns", "Contacts", "Event", "Events", "Files", "JourneyName", "Language", "Match",
    "Memory",
    "Query", "RejectsFile", "SendTimesFiles", "Timezone", "Until", "cap_of", "send_times_of",
    "until_of",
]  # fmt: skip


def _columns(text: str) -> dict[str, str]:
    """The mapping that `customer_id=contact,date=occurred_at` says."""
    mapping: dict[str, str] = {}
    for part in text.split(","):
        theirs, equals, ours = part.rpartition("=")
        if not (theirs.strip() and equals and ours.strip()):
            raise typer.BadParameter(f"{part!r} maps nothing; write customer_id=contact,date=occurred_at")
        mapping[theirs.strip()] = ours.strip()
    return mapping


def _match(text: str) -> str:
    try:
        return duration_text(parse_duration(text))
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None


def _memory(text: str) -> str:
    from journeylab.bucketed.budget import budget_of

    try:
        budget_of(text)
    except DataError as error:
        raise typer.BadParameter(str(error)) from None
    return text


def until_of(text: str) -> datetime:
    """The instant that a text says.

    >>> until_of("2026-03-29T12:00:00+00:00")
    datetime.datetime(2026, 3, 29, 12, 0, tzinfo=datetime.timezone.utc)
    """
    try:
        when = datetime.fromisoformat(text)
    except ValueError:
        raise typer.BadParameter(f"{text!r} is no instant; write it as 2026-03-29T12:00:00+00:00") from None
    if when.tzinfo is None:
        raise typer.BadParameter(f"{text!r} does not say its time zone; write it as {when.isoformat()}+00:00 for UTC")
    return when


def cap_of(text: str | None) -> Cap | None:
    """The cap that `3/7d` says: at most three sends in any seven days.

    >>> cap_of("3/7d")
    Cap(sends=3, within='7d')
    """
    from journeylab.journey import Cap

    if text is None:
        return None
    sends, _, within = text.partition("/")
    try:
        return Cap(sends=int(sends), within=parse_duration(within))
    except ValueError:
        raise typer.BadParameter(f"{text!r} is no cap; write SENDS/WITHIN, such as 3/7d", param_hint="--cap") from None


def send_times_of(texts: Sequence[str] | None) -> SendTimesGiven | None:
    """The send times that `FILE` says for every `at: best`, or that `NAME=FILE` say each for one.

    Raises:
        DataError: when a file has none.
    """
    if not texts:
        return None
    from journeylab.advice import read

    named: dict[str, str] = {}
    for text in texts:
        name, equals, path = text.partition("=")
        is_named = bool(equals) and name.isidentifier()
        if len(texts) == 1 and not is_named:
            return read(text)
        if not (is_named and path) or name in named:
            raise typer.BadParameter(
                f"{text!r} is one of {len(texts)}; write each once as NAME=FILE, or one FILE for every `at: best`",
                param_hint="--send-times",
            )
        named[name] = path
    return {name: read(path) for name, path in named.items()}


def _language(text: str) -> str:
    from journeylab.language import checked

    try:
        return checked(text)
    except DataError as error:
        raise typer.BadParameter(str(error)) from None


Files = Annotated[list[Path], typer.Argument(metavar="FILE", help="Journey files, YAML or JSON.")]
JourneyName = Annotated[
    str | None, typer.Option("--journey", metavar="NAME", help="Which journey, where there are several.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON, for machines.")]

Events = Annotated[
    str,
    typer.Option(
        "--events",
        metavar="FILE|URL",
        help="The event log: Parquet, CSV, JSON Lines, Arrow, a database's URL, or a folder of `events bucket`.",
    ),
]
Contacts = Annotated[
    str | None, typer.Option("--contacts", metavar="FILE|URL", help="The contacts and their attributes.")
]
Columns = Annotated[
    dict[str, str] | None,
    typer.Option(
        "--columns",
        parser=_columns,
        metavar="THEIRS=OURS,...",
        help="Columns under other names: customer_id=contact,date=occurred_at.",
    ),
]
Event = Annotated[
    str | None,
    typer.Option("--event", metavar="NAME", help="The one kind of event in a table without a column `event`."),
]
Timezone = Annotated[
    str | None, typer.Option("--timezone", metavar="ZONE", help="The zone of times that do not say theirs: UTC.")
]
Memory = Annotated[
    str | None,
    typer.Option(
        "--memory", parser=_memory, metavar="SIZE",
        help="How much memory work on a log in buckets may take: 4GiB; by default half of the machine's.",
    ),
]  # fmt: skip
Query = Annotated[
    str | None, typer.Option("--query", metavar="SQL", help="The query that gives the events of a database.")
]
RejectsFile = Annotated[
    Path | None,
    typer.Option("--rejects", metavar="OUT.csv", help="Set bad rows aside there; without it they are an error."),
]
Until = Annotated[
    datetime | None,
    typer.Option("--until", parser=until_of, metavar="INSTANT", help="The horizon; by default the log's last instant."),
]
Match = Annotated[
    str,
    typer.Option(
        parser=_match,
        metavar="DURATION",
        help="How far a logged `sent` may lie from the replayed send to answer for it.",
    ),
]
SendTimesFiles = Annotated[
    list[str] | None,
    typer.Option(
        "--send-times",
        metavar="FILE|NAME=FILE",
        help="For `at: best`: send times, or a table of contact and hour_of_week; by the name that the journey has.",
    ),
]
Language = Annotated[
    str,
    typer.Option(
        "--language",
        parser=_language,
        envvar="JOURNEYLAB_LANGUAGE",
        metavar="en|pl",
        help="The language of what is written: pages and drawings.",
    ),
]
CapOption = Annotated[
    str | None,
    typer.Option("--cap", metavar="SENDS/WITHIN", help="At most so many sends over all journeys, such as 3/7d."),
]
