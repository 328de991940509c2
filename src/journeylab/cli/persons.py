"""What a person may ask for (`contacts copy`, `contacts erase`), and a log in which nobody is named."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Annotated

import typer

from journeylab.display import counted

from .contacts import OneContact
from .options import AsJson
from .screen import show_json
from .sender import SETTINGS, Actor, SettingsFile, opened, who_acts

__all__ = ["copy", "erase", "pseudonymise"]


def copy(
    contact: OneContact,
    out: Annotated[Path, typer.Option("--out", metavar="FILE", help="Where the copy goes, as JSON.")],
    settings: SettingsFile = SETTINGS,
    actor: Actor = None,
) -> None:
    """Write down all that is known of a contact, for that person (GDPR Art. 15 and 20); that it was done is kept.

    \b
    Examples:
      journeylab contacts copy crm-17 --out crm-17.json
    """
    from journeylab.sender.persons.copies import copy_of
    from journeylab.sender.store import act

    who = who_acts(actor)
    with opened(settings, personal=True) as store:
        with store.reading() as connection:
            found = copy_of(connection, contact)
        with store.writing() as connection:
            act(connection, store.now(connection), who, "contact_copied", "contact", contact=contact)
    with os.fdopen(os.open(out, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8") as file:
        json.dump(found, file, ensure_ascii=False, indent=2)
        file.write("\n")
    typer.echo(f"{out}: {counted(len(found['events']), 'event')} and {counted(len(found['messages']), 'message')}")


def erase(
    contact: OneContact,
    reason: Annotated[str, typer.Option("--reason", metavar="TEXT", help="Why, in words that name nobody.")],
    settings: SettingsFile = SETTINGS,
    actor: Actor = None,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    as_json: AsJson = False,
) -> None:
    """Erase a person: destroy the data key, delete what is known, write to nobody under that address any more.

    Journeys end at once. What is left are numbers under a stand-in, and the audit log, which still verifies. What goes
    cannot be had back.

    \b
    Examples:
      journeylab contacts erase crm-17 --reason "asked for, ticket 4711"
    """
    from journeylab.sender.persons import erasure
    from journeylab.sender.process import WhatRuns
    from journeylab.sender.settings import Settings

    who = who_acts(actor)
    if not yes:
        typer.confirm(f"erase all that is known of {contact}?", abort=True)
    read = Settings.read(settings)
    with opened(settings, personal=True) as store:
        done = erasure.erase(store, read, store.keys, WhatRuns(read), contact, reason=reason, actor=who)
    if as_json:
        show_json(done.to_dict())
        return
    rows = sum(done.n_deleted.values())
    typer.echo(f"erased; {counted(rows, 'row')} deleted, what is left belongs to {done.stand_in}")
    typer.echo(f"{counted(done.n_suppressed, 'address')} to which nothing is sent any more")
    if not done.is_finished:
        typer.echo(
            f"{counted(done.n_on_their_way, 'message')} on the way, whose outcome needs the id; then it goes, too"
        )
    typer.echo(f"receipts on this machine name the id until {done.receipts_until:%Y-%m-%d}")
    typer.echo(f"backups can hold the key until {done.backups_until:%Y-%m-%d}")
    for file in done.files:
        typer.echo(f"delete {file}: it names the contact")


def pseudonymise(
    events: Annotated[Path, typer.Option("--events", metavar="OUT", help="The events, as Parquet.")],
    contacts_file: Annotated[Path, typer.Option("--contacts", metavar="OUT", help="The contacts, as Parquet.")],
    purpose: Annotated[str, typer.Option("--purpose", metavar="TEXT", help="What the copy is for.")],
    keep: Annotated[
        str, typer.Option("--keep", metavar="LENGTH", help="How long the pseudonyms' key is kept, at most.")
    ] = "30d",
    attribute: Annotated[
        list[str] | None, typer.Option("--attribute", metavar="NAME", help="An attribute that may leave; repeatable.")
    ] = None,
    property_: Annotated[
        list[str] | None, typer.Option("--property", metavar="NAME", help="A property that may leave; repeatable.")
    ] = None,
    settings: SettingsFile = SETTINGS,
    actor: Actor = None,
) -> None:
    """Write a copy of the log for analysts: contacts under pseudonyms, and nothing of them but what is named.

    The key of the pseudonyms is destroyed when the copy expires. A copy is still data about people: what is named may
    tell who they are, so name little.

    \b
    Examples:
      journeylab contacts pseudonymise --events log.parquet --contacts people.parquet \\
        --purpose "send times, spring" --attribute plan --attribute timezone --property amount
    """
    from journeylab.durations import parse_duration
    from journeylab.sender.persons.pseudonymising import pseudonymised_log
    from journeylab.sender.settings import Settings
    from journeylab.sender.store import act

    who, read = who_acts(actor), Settings.read(settings)
    with opened(settings, personal=True) as store:
        with store.reading() as connection:
            now = store.now(connection)
        done = pseudonymised_log(
            store, read, events, contacts_file, purpose=purpose, actor=who, expires_at=now + parse_duration(keep),
            now=now, attributes=attribute or (), properties=property_ or (),
        )  # fmt: skip
        with store.writing() as connection:
            columns = ", ".join(done.columns)
            act(connection, store.now(connection), who, "log_pseudonymised", "log", purpose=purpose, columns=columns)
    typer.echo(f"{counted(done.n_events, 'event')}: {events}")
    typer.echo(f"{counted(done.n_contacts, 'contact')}: {contacts_file}")
    typer.echo(f"with {', '.join(done.columns)}")
