"""The commands over the audit log: list, verify, prove, verify-proof, export, key and grants."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any
from urllib.parse import urlsplit

import typer

from journeylab.display import counted
from journeylab.errors import DataError, known

from .options import AsJson, until_of
from .screen import show_json, table_lines
from .sender import SETTINGS, Actor, SettingsFile, opened, who_acts

if TYPE_CHECKING:
    from journeylab.sender.audit.checkpoints import PublicKey
    from journeylab.sender.audit.entries import Entry
    from journeylab.sender.settings import Settings, Syslog

__all__ = ["audit"]

audit = typer.Typer(
    help="See what was done to the sender, and prove that the log of it is what it was.",
    no_args_is_help=True,
    rich_markup_mode=None,
)
Key = Annotated[
    str | None, typer.Option("--key", metavar="NAME+HASH+KEY", help="The public key, as `audit key` shows it.")
]
_SHOWN = 20


def _read(settings: Path) -> Settings:
    from journeylab.sender.settings import Settings

    return Settings.read(settings)


def _key(settings: Path, given: str | None) -> PublicKey:
    """The public key that is given, or that of the sender's key file."""
    from journeylab.sender.audit.checkpoints import PublicKey
    from journeylab.sender.audit.keeping import signer_of
    from journeylab.sender.keys import key_ring

    if given is not None:
        return PublicKey.parsed(given)
    read = _read(settings)
    return signer_of(read, key_ring(read)).key


@audit.command("list")
def list_entries(
    settings: SettingsFile = SETTINGS,
    who: Annotated[str | None, typer.Option("--by", metavar="NAME", help="Only what this actor did.")] = None,
    action: Annotated[str | None, typer.Option("--action", metavar="NAME", help="Only this action.")] = None,
    what: Annotated[
        str | None, typer.Option("--object", metavar="NAME", help="Only on this object, or what begins with it and /.")
    ] = None,
    contact: Annotated[
        str | None, typer.Option("--contact", metavar="ID", help="Only what concerns a contact.")
    ] = None,
    since: Annotated[
        datetime | None, typer.Option("--since", parser=until_of, metavar="INSTANT", help="Only from then on.")
    ] = None,
    most: Annotated[int, typer.Option("--most", metavar="N", min=1, help="How many to show, the latest ones.")] = 50,
    as_json: AsJson = False,
) -> None:
    """List who did what, and when, in the order in which it was done.

    \b
    Examples:
      journeylab audit list --action promote
      journeylab audit list --by eve --since 2026-03-01T00:00:00+00:00 --json
    """
    from sqlalchemy import select

    from journeylab.sender.audit.reading import count_of, entries_of
    from journeylab.sender.store import tables as t

    a = t.audit.c
    wanted: list[Any] = [
        column == value
        for column, value in ((a.actor, who), (a.action, action), (a.contact, contact))
        if value is not None
    ]
    if what is not None:
        wanted.append((a.object == what) | a.object.startswith(f"{what}/", autoescape=True))
    if since is not None:
        wanted.append(a.at >= since)
    with opened(settings) as store, store.snapshot() as connection:
        if action is not None:
            actions = {*connection.scalars(select(a.action).distinct())}
            if action not in actions:
                raise DataError(f"no action {action!r} is in the audit log; {known(action, actions, 'actions')}")
        n = count_of(connection, *wanted)
        latest = select(a.seq).where(*wanted).order_by(a.seq.desc()).offset(most).limit(1)
        found = [*entries_of(connection, *wanted, after=connection.scalar(latest) or 0)]
    plain = [_plain(one) for one in found]
    if as_json:
        show_json({"n_entries": n, "entries": plain})
        return
    typer.echo(counted(n, "entry") + (f", the latest {len(found):,}:" if n > len(found) else ""))
    cells = [
        (
            str(one["seq"]), one.get("at", "")[:19].replace("T", " "), one.get("actor", "?"), one.get("action", "?"),
            one.get("object", "?"), one.get("contact") or "", _details(one),
        )
        for one in plain
    ]  # fmt: skip
    if cells:
        for line in table_lines(("seq", "at (UTC)", "actor", "action", "object", "contact", "details"), cells, "seq"):
            typer.echo(line)


def _plain(entry: Any) -> dict[str, Any]:
    from journeylab.sender.audit.entries import instant_of
    from journeylab.sender.audit.reading import Unreadable

    if isinstance(entry, Unreadable):
        return {"seq": entry.seq, "fault": entry.why}
    return {
        "seq": entry.seq, "at": instant_of(entry.at), "actor": entry.actor, "action": entry.action,
        "object": entry.object, "contact": entry.contact, "details": entry.details, "erased": entry.is_erased,
        "leaf_hash": entry.leaf_hash.hex(),
    }  # fmt: skip


def _details(one: dict[str, Any]) -> str:
    if "fault" in one:
        return str(one["fault"])
    if one["erased"]:
        return "(erased)"
    return ", ".join(f"{name}: {value}" for name, value in (one["details"] or {}).items() if value is not None)


@audit.command("verify")
def verify(
    against: Annotated[
        list[Path] | None,
        typer.Option(
            "--against", metavar="FILE|FOLDER", help="Checkpoints that have left: a folder, a note, a syslog file."
        ),
    ] = None,
    key: Key = None,
    settings: SettingsFile = SETTINGS,
    as_json: AsJson = False,
) -> None:
    """Hold the audit log against its tree and its checkpoints; exit status 1 when anything is not as it was.

    Without a checkpoint from outside it cannot be seen that entries were cut off at the end.

    \b
    Examples:
      journeylab audit verify --against /mnt/checkpoints
      journeylab audit verify --against /var/log/siem.log --key 'shop+5f0a1b2c+AbCd...'
    """
    from journeylab.sender.audit.folder import outside
    from journeylab.sender.audit.reading import entries_of, kept_checkpoints, read_frontier
    from journeylab.sender.audit.verifying import verified

    public = _key(settings, key)
    theirs = [one for path in against or [] for one in outside(path, public)]
    with opened(settings) as store, store.snapshot() as connection:
        found = verified(
            entries_of(connection), read_frontier(connection), kept_checkpoints(connection), theirs, public
        )
    if as_json:
        show_json(found.to_dict())
    else:
        erased = f", the details of {found.n_erased:,} erased" if found.n_erased else ""
        kept = f"{counted(found.n_kept, 'checkpoint')} in the database, {found.n_outside:,} from outside"
        typer.echo(f"{counted(found.n_entries, 'entry')}{erased}; {kept}")
        for one in found.faults[:_SHOWN]:
            typer.echo(f"FAULT {one.text}")
        if len(found.faults) > _SHOWN:
            typer.echo(f"and {counted(len(found.faults) - _SHOWN, 'more fault')}; --json has them all")
        if found.is_well:
            typer.echo("the log is what it was, as far as can be seen")
        for line in found.limits:
            typer.echo(f"not seen: {line}")
    if not found.is_well:
        raise typer.Exit(1)


@audit.command("prove")
def prove(
    out: Annotated[Path, typer.Argument(metavar="OUT", help="The file to write; it is as personal as the entries.")],
    contact: Annotated[str | None, typer.Option("--contact", metavar="ID", help="All entries of a contact.")] = None,
    seq: Annotated[int | None, typer.Option("--seq", metavar="N", min=1, help="The entry with this number.")] = None,
    settings: SettingsFile = SETTINGS,
    actor: Actor = None,
    as_json: AsJson = False,
) -> None:
    """Write the proof that entries are in the log, for somebody who has the public key alone.

    That a proof was made is an entry itself.

    \b
    Examples:
      journeylab audit prove ada.json --contact ada
      journeylab audit verify-proof ada.json --key 'shop+5f0a1b2c+AbCd...'
    """
    import json

    from journeylab.sender.audit.proofs import proof_of
    from journeylab.sender.store import act

    if (contact is None) == (seq is None):
        raise typer.BadParameter("say one of --contact and --seq", param_hint="--contact")
    who = who_acts(actor)
    with opened(settings) as store:
        with store.snapshot() as connection:
            proof, n_later = proof_of(connection, _key(settings, None), contact=contact, seq=seq)
        with store.writing() as connection:
            of = next(one["contact"] for one in proof["entries"])
            n = len(proof["entries"])
            act(connection, store.now(connection), who, "entries_proved", "audit", contact=of, n_entries=n)
    out.write_text(json.dumps(proof, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
    if as_json:
        show_json({"n_entries": n, "n_later": n_later, "file": str(out)})
        return
    typer.echo(f"{counted(n, 'entry')}: {out}")
    if n_later:
        typer.echo(f"left out, as the last checkpoint is older: {counted(n_later, 'entry')}", err=True)


@audit.command("verify-proof")
def verify_proof(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="What `audit prove` has written.")],
    key: Annotated[str, typer.Option("--key", metavar="NAME+HASH+KEY", help="The sender's public key.")],
    as_json: AsJson = False,
) -> None:
    """Check a proof with the public key alone: no settings, no database, no network.

    \b
    Examples:
      journeylab audit verify-proof ada.json --key 'shop+5f0a1b2c+AbCd...'
    """
    from journeylab.sender.audit.checkpoints import PublicKey
    from journeylab.sender.audit.proofs import proven

    public = PublicKey.parsed(key)
    try:
        found = proven(file.read_text(encoding="utf-8"), public)
    except (DataError, UnicodeDecodeError) as problem:
        raise DataError(f"{file}: {problem}") from None
    when = f"{found.checkpoint.at:%Y-%m-%d %H:%M:%S} UTC"
    if as_json:
        show_json({"checkpoint": {"at": found.checkpoint.at.isoformat(), "size": found.checkpoint.size},
                   "entries": [_plain(one) for one in found.entries]})  # fmt: skip
        return
    n = len(found.entries)
    typer.echo(f"{counted(n, 'entry')} {'is' if n == 1 else 'are'} in the log that {public.name} signed at {when}")
    for one in found.entries:
        typer.echo(f"  {one.seq}  {one.at:%Y-%m-%d %H:%M:%S}  {_sentence(one)}")


def _sentence(entry: Entry) -> str:
    about = f" ({entry.contact})" if entry.contact is not None else ""
    details = _details(_plain(entry))
    return f"{entry.actor}: {entry.action} {entry.object}{about}" + (f": {details}" if details else "")


@audit.command("export")
def export(
    form: Annotated[str, typer.Option("--format", metavar="rfc5424|ecs|cef|ocsf", help="How records are written.")],
    start: Annotated[
        int | None, typer.Option("--from", metavar="SEQ", min=1, help="From this entry on; with --to, tell it again.")
    ] = None,
    to: Annotated[
        str | None, typer.Option("--to", metavar="tls://HOST:PORT", help="Tell a SIEM, by syslog over TLS (RFC 5425).")
    ] = None,
    ca: Annotated[
        Path | None, typer.Option("--ca", metavar="FILE", help="With --to: authorities, instead of the system's.")
    ] = None,
    settings: SettingsFile = SETTINGS,
    as_json: AsJson = False,
) -> None:
    """Write entries as a SIEM reads them, a record a line, or tell a SIEM what it was not told yet.

    Contacts, and details where an entry concerns a contact, stay at home: what has left cannot be erased.

    \b
    Examples:
      journeylab audit export --format ecs > audit.ndjson
      journeylab audit export --format rfc5424 --to tls://siem.example:6514
    """
    from journeylab.sender.audit.formats import FORMATS, record
    from journeylab.sender.audit.shipping import events_after, ship, source_of

    if form not in FORMATS:
        raise typer.BadParameter(f"no format {form!r}; {known(form, FORMATS, 'formats')}", param_hint="--format")
    if to is None and (as_json or ca is not None):
        raise typer.BadParameter("--json and --ca go with --to", param_hint="--to")
    read = _read(settings)
    after = None if start is None else start - 1
    with opened(settings) as store:
        if to is None:
            source = source_of(read)
            with store.snapshot() as connection:
                for event in events_after(connection, after or 0):
                    typer.echo(record(event, source, form))
            return
        n = ship(store, read, _siem(to, form, ca, read), after)
    if as_json:
        show_json({"to": to, "n_entries": n})
    else:
        typer.echo(f"{counted(n, 'entry')} told to {to}")


def _siem(to: str, form: str, ca: Path | None, settings: Settings) -> Syslog:
    """The SIEM of an address; one that the settings have is reached as they say."""
    from journeylab.sender.settings import Syslog

    parts = urlsplit(to)
    try:
        port = parts.port or 6514
    except ValueError:
        port = 0
    if parts.scheme != "tls" or not parts.hostname or not port or parts.path.strip("/"):
        raise typer.BadParameter(f"{to!r} is no SIEM; write tls://HOST:PORT", param_hint="--to")
    there = settings.audit.syslog
    if there is not None and (there.host, there.port) == (parts.hostname, port):
        changed: dict[str, Any] = {"format": form} | ({} if ca is None else {"ca": str(ca.resolve())})
        return there.model_copy(update=changed)
    given = {"host": parts.hostname, "port": port, "format": form, "ca": None if ca is None else str(ca.resolve())}
    return Syslog.model_validate(given)


@audit.command("key")
def key_(settings: SettingsFile = SETTINGS) -> None:
    """Show the public key by which checkpoints and proofs are checked: NAME+HASH+KEY.

    \b
    Examples:
      journeylab audit key
    """
    typer.echo(str(_key(settings, None)))


@audit.command("grants")
def grants(
    role: Annotated[str, typer.Argument(metavar="ROLE", help="The role as which the sender connects.")],
) -> None:
    """Show the SQL by which PostgreSQL lets a role send, and add to the audit log, but change nothing in it.

    The tables belong to another role then, as which `promote --upgrade` is run, and this SQL.

    \b
    Examples:
      journeylab audit grants sender | psql --username owner journeylab
    """
    from journeylab.sender.audit.roles import grants_for

    for line in grants_for(role):
        typer.echo(line)
