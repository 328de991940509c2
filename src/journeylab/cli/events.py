"""The commands that import events from other systems."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from journeylab.display import counted

from .options import AsJson, Columns, Contacts, Event, Memory, Query, RejectsFile, Timezone
from .screen import show_json, step, table_lines
from .source import write_rejects

if TYPE_CHECKING:
    from journeylab.importers.events import ImportedEvents

__all__ = ["events"]

events = typer.Typer(help="Events from the exports and databases of other systems.", no_args_is_help=True)


def _list(text: str) -> str:
    return ",".join(part.strip() for part in text.split(",") if part.strip())


@events.command("import")
def import_(
    system: Annotated[str, typer.Argument(metavar="SYSTEM", help="Which one; `journeylab events systems` lists them.")],
    sources: Annotated[
        list[str],
        typer.Argument(
            metavar="SOURCE",
            help="Files, folders, archives, or a database's URL; TABLE=SOURCE where its columns do not tell the table.",
        ),
    ],
    log: Annotated[Path, typer.Option("--log", metavar="LOG.parquet", help="The log, which is made or added to.")],
    contacts: Annotated[
        Path | None, typer.Option("--contacts", metavar="CONTACTS.parquet", help="The same for contacts.")
    ] = None,
    timezone: Timezone = None,
    purpose: Annotated[
        str, typer.Option("--purpose", metavar="NAME", help="The purpose of what the exports say of consent.")
    ] = "marketing",
    name: Annotated[
        str | None,
        typer.Option("--name", metavar="NAME", help="The source's name, where there are two of one system."),
    ] = None,
    numbers: Annotated[
        str,
        typer.Option(
            "--numbers", parser=_list, metavar="NAME,...", help="Properties that are numbers, in text exports."
        ),
    ] = "",
    messages: Annotated[
        Path | None,
        typer.Option(
            "--messages",
            metavar="FILE",
            help="A CSV that says what messages are called in journeys, as `convert --messages` writes it.",
        ),
    ] = None,
    query: Query = None,
    rejects: RejectsFile = None,
    as_json: AsJson = False,
) -> None:
    """Add to a log what is new in the exports of another system. Run it again whenever there are more.

    What is in the log already is known by the source's ids: exports may overlap and come in any order. Databases are
    asked for new rows only. The log is replaced as a whole, or not at all.

    \b
    Examples:
      journeylab events import salesforce extract.zip --log events.parquet --contacts contacts.parquet
      journeylab events import salesforce extract.zip --log events.parquet --messages welcome.csv
      journeylab events import eloqua activities.json --timezone UTC --log events.parquet
      journeylab events import mautic mysql+pymysql://reader@db.example/mautic --log events.parquet
      journeylab events import warehouse adbc+postgresql://db.example/shop --log events.parquet \\
          --query "SELECT customer_id AS contact, 'purchase' AS event, paid_at AS occurred_at, id, amount FROM orders"
    """
    from journeylab.importers.events import import_events

    with step(f"importing from {system}") as importing:
        got = import_events(
            system, sources, log, contacts=contacts, timezone=timezone, purpose=purpose, query=query, name=name,
            rejects="error" if rejects is None else "set_aside", numbers=numbers.split(",") if numbers else (),
            messages=messages,
        )  # fmt: skip
        importing.done = f"imported {counted(got.n_rows, 'row')} from {system}: {counted(got.n_new, 'new event')}"
    if rejects is not None:
        rejects.parent.mkdir(parents=True, exist_ok=True)
        got.rejects.to_pandas().to_csv(rejects, index=False)
    if as_json:
        show_json(got.summary())
        return
    for line in _lines(got, log, contacts, rejects):
        typer.echo(line)


def _lines(got: ImportedEvents, log: Path, contacts: Path | None, rejects: Path | None) -> Iterator[str]:
    """What an import brought, for people."""
    yield (
        f"{counted(got.n_rows, 'row')}: {got.n_new:,} new, {got.n_repeated:,} repeated, {got.n_set_aside:,} set aside"
        + (f" ({rejects})" if got.n_set_aside and rejects else "")
    )
    if got.n_changed:
        yield f"{got.n_changed:,} came again with other values; the first are kept"
    for (table, why), n in sorted(got.left_out.items()):
        yield f"left out, {counted(n, 'row')} of {table}: {why}"
    for table, names in got.unnamed.items():
        yield f"kept as they are, of {table}: {', '.join(names)}"
    yield from got.clocks
    yield from (f"asked for {said}" for said in got.asked)
    if len(got.by_event):
        rows = [
            (
                one.event,
                f"{one.n_events:,}",
                f"{one.n_new:,}",
                f"{one.first_at:%Y-%m-%d %H:%M}",
                f"{one.last_at:%Y-%m-%d %H:%M}",
            )
            for one in got.by_event.itertuples()
        ]
        yield ""
        yield from table_lines(("event", "came", "new", "first (UTC)", "last (UTC)"), rows, right="came new")
        yield ""
    n_contacts = 0 if got.contacts is None else len(got.contacts)
    if n_contacts and contacts is None:
        yield f"{counted(n_contacts, 'contact')} came and were not kept; --contacts FILE.parquet keeps them"
    kept = f" and {counted(n_contacts, 'contact')}: {contacts}" if contacts is not None else ""
    yield f"the log has {counted(len(got.events), 'event')}: {log}{kept}"


@events.command("bucket")
def bucket(
    source: Annotated[str, typer.Argument(metavar="FILE|URL", help="The event log, of any size.")],
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="Where the log in buckets goes; not there yet.")],
    contacts: Contacts = None,
    columns: Columns = None,
    event: Event = None,
    timezone: Timezone = None,
    query: Query = None,
    rejects: RejectsFile = None,
    n_buckets: Annotated[
        int | None, typer.Option("--buckets", min=1, max=512, metavar="N", help="How many; by default by the memory.")
    ] = None,
    memory: Memory = None,
    as_json: AsJson = False,
) -> None:
    """Write an event log that is larger than memory into buckets of contacts, as Parquet.

    `replay`, `simulate`, `backtest` and `experiment` take the folder as --events and work on as many buckets at once as
    --memory holds. Whatever the buckets, the results are those of the log in memory.

    \b
    Examples:
      journeylab events bucket events.parquet events.buckets --contacts contacts.parquet --memory 4GiB
      journeylab events bucket exports/ log --columns customer_id=contact,date=occurred_at --timezone UTC
    """
    from journeylab.bucketed import bucket_log

    with step("writing the log into buckets") as writing:
        log = bucket_log(
            source, folder, contacts=contacts, columns=columns, event=event, timezone=timezone, query=query,
            rejects="error" if rejects is None else "set_aside", n_buckets=n_buckets, memory=memory,
            progress=writing.progress,
        )  # fmt: skip
        writing.done = f"wrote {counted(log.n_events, 'event')} into {counted(log.n_buckets, 'bucket')}"
    write_rejects(log, rejects)
    if as_json:
        span = {"start_at": log.start_at.isoformat(), "end_at": log.end_at.isoformat()}
        show_json({"folder": str(folder), "n_events": log.n_events, "n_contacts": log.n_contacts,
                   "n_buckets": log.n_buckets, "n_by_event": log.n_by_event, **span})  # fmt: skip
        return
    typer.echo(
        f"{folder}: {counted(log.n_events, 'event')} of {counted(log.n_contacts, 'contact')} in "
        f"{counted(log.n_buckets, 'bucket')}, {log.start_at:%Y-%m-%d} to {log.end_at:%Y-%m-%d}"
    )
    typer.echo(f"next: journeylab replay JOURNEY.yaml --events {folder}")


@events.command("systems")
def systems(
    system: Annotated[str | None, typer.Argument(metavar="SYSTEM", help="One, with its whole map.")] = None,
    as_json: AsJson = False,
) -> None:
    """Show which systems' exports are known, and what becomes of each of their columns.

    \b
    Examples:
      journeylab events systems
      journeylab events systems hubspot
    """
    from journeylab.importers.events import adapter_of, section, system_names

    if system is not None:
        adapter = adapter_of(system)
        if as_json:
            tables = [{"table": one.name, "columns": list(one.known_columns)} for one in adapter.tables]
            show_json({"system": adapter.name, "title": adapter.title, "clock": adapter.clock.told, "tables": tables})
            return
        typer.echo(section(adapter))
        return
    adapters = [adapter_of(name) for name in system_names()]
    if as_json:
        show_json(
            [{"system": one.name, "title": one.title, "tables": [t.name for t in one.tables]} for one in adapters]
        )
        return
    rows = [(one.name, one.title, ", ".join(table.name for table in one.tables)) for one in adapters]
    for line in table_lines(("system", "is", "tables"), rows):
        typer.echo(line)
