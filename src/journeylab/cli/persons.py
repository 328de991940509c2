"""What a person may ask for (`contacts copy`, `contacts erase`), its approval, and a log in which nobody is named."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Annotated

import typer

from journeylab.display import counted

from .contacts import OneContact, Purpose, approved
from .options import AsJson
from .screen import show_json, table_lines
from .sender import SETTINGS, Actor, SettingsFile, opened, who_acts

__all__ = ["approve", "copy", "erase", "pseudonymise", "requests"]


def copy(
    contact: OneContact,
    out: Annotated[Path, typer.Option("--out", metavar="FILE", help="Where the copy goes, as JSON.")],
    purpose: Purpose = None,
    settings: SettingsFile = SETTINGS,
    actor: Actor = None,
) -> None:
    """Write down all that is known of a contact, for that person (GDPR Art. 15 and 20); that it was done is kept.

    Where the settings want a second person for that, one is asked first (exit status 1): see `contacts approve`.

    \b
    Examples:
      journeylab contacts copy crm-17 --out crm-17.json
    """
    from journeylab.sender.persons.revealing import copied
    from journeylab.sender.settings import Settings

    with opened(settings, personal=True) as store:
        read = Settings.read(settings)
        found = approved(copied(store, read, contact, purpose=purpose, actor=who_acts(actor)))
    with os.fdopen(os.open(out, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8") as file:
        json.dump(found, file, ensure_ascii=False, indent=2)
        file.write("\n")
    typer.echo(f"{out}: {counted(len(found['events']), 'event')} and {counted(len(found['messages']), 'message')}")


def requests(settings: SettingsFile = SETTINGS, as_json: AsJson = False) -> None:
    """List who wants to see, copy or export what is known of whom, and what for, and waits for a second person.

    \b
    Examples:
      journeylab contacts requests
    """
    from journeylab.sender.approvals import waiting

    with opened(settings) as store, store.reading() as connection:
        found = waiting(connection, store.now(connection), ["reveal", "copy", "export"])
    if as_json:
        rows = [
            {
                "request": one.approval_id, "kind": one.kind, "contact": one.contact, "purpose": one.purpose,
                "asked_by": one.asked_by, "asked_at": one.asked_at.isoformat(), "until": one.expires_at.isoformat(),
            }
            for one in found
        ]  # fmt: skip
        show_json({"requests": rows})
        return
    cells = [
        (
            str(one.approval_id), one.kind, one.contact or "", one.asked_by, f"{one.expires_at:%Y-%m-%d %H:%M}",
            one.purpose,
        )
        for one in found
    ]  # fmt: skip
    head = ("request", "to", "contact", "asked by", "until (UTC)", "purpose")
    for line in table_lines(head, cells, right="request") if cells else ("nothing waits",):
        typer.echo(line)


def approve(
    number: Annotated[int, typer.Argument(metavar="REQUEST", help="The request's number; `contacts requests` has it.")],
    settings: SettingsFile = SETTINGS,
) -> None:
    """Approve that somebody else sees or copies what is known of a contact, or exports the log, for what they say.

    Who approves is the account under which this runs; nobody approves what they asked for themselves.

    \b
    Examples:
      journeylab contacts approve 12
    """
    from journeylab.errors import DataError
    from journeylab.sender.acting import acting
    from journeylab.sender.approvals import approve as approved_by
    from journeylab.sender.approvals import found
    from journeylab.sender.settings import Settings

    read = Settings.read(settings)
    with opened(settings) as store, store.writing() as connection:
        if found(connection, number).kind == "promotion":
            raise DataError(f"request {number} is to promote; `journeylab release approve` is for that")
        done = approved_by(connection, read, acting(read), number, store.now(connection))
    what = {
        "reveal": f"see what is known of {done.contact}",
        "copy": f"copy what is known of {done.contact}",
        "export": "export the log of all contacts",
    }[done.kind]
    typer.echo(f"{done.asked_by} may {what} for {done.purpose!r}, once until {done.expires_at:%Y-%m-%d %H:%M} UTC")


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
        done = erasure.erase(store, read, WhatRuns(read), contact, reason=reason, actor=who)
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
