"""The commands about contacts: import, events, list, show, consent, resume, report, export and verify."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from journeylab.display import counted

from .options import AsJson, Columns, RejectsFile, Timezone
from .screen import announce_compiling, show_json, step, table_lines
from .sender import SETTINGS, Actor, SettingsFile, made, opened, who_acts

if TYPE_CHECKING:
    from journeylab.sender.approvals import Approval
    from journeylab.sender.live.intake import Received

__all__ = ["contacts"]

contacts = typer.Typer(
    help="Bring contacts and events in, see what is known of a contact, and take the whole log out again.",
    no_args_is_help=True,
    rich_markup_mode=None,
)
OneContact = Annotated[str, typer.Argument(metavar="CONTACT", help="The contact's id.")]
Reveal = Annotated[
    bool, typer.Option("--reveal", help="Show personal data, too; that it was looked at is kept in the audit log.")
]
TableFile = Annotated[Path, typer.Argument(metavar="FILE", help="Parquet, CSV, JSON Lines, JSON or Arrow.")]
Purpose = Annotated[
    str | None, typer.Option("--purpose", metavar="TEXT", help="What the data are for, in words that name nobody.")
]
Opened = TypeVar("Opened")
_SHOWN = 20
_TRY_AGAIN = 75


@contacts.command("import")
def import_(
    file: TableFile,
    settings: SettingsFile = SETTINGS,
    columns: Columns = None,
    timezone: Timezone = None,
    rejects: RejectsFile = None,
    as_json: AsJson = False,
) -> None:
    """Bring contacts in: `contact`, `address`, and attributes; of known ones, what has changed.

    Rows that are no contact are refused, with exit status 1 unless --rejects says where they are set aside; all others
    are taken.

    \b
    Examples:
      journeylab contacts import people.csv
      journeylab contacts import people.parquet --columns email=address,customer_id=contact
    """
    from journeylab.sender.live.arrivals import read_contacts
    from journeylab.sender.live.kinds import known_names

    def read(source: Any, connection: Any, declared: Any) -> Any:
        return read_contacts(source, known_names(connection, "contact"), timezone, declared)

    _bring(file, settings, columns, rejects, read, "contact", as_json=as_json)


@contacts.command("events")
def events(
    file: TableFile,
    settings: SettingsFile = SETTINGS,
    columns: Columns = None,
    timezone: Timezone = None,
    rejects: RejectsFile = None,
    as_json: AsJson = False,
) -> None:
    """Bring events in: `contact`, `event`, `occurred_at`, properties, and `id`, with which an event is taken once.

    They count from now on, when they are received, whenever they occurred. Without `id` an event is known by the file's
    content and its row: the same file again brings nothing twice.

    \b
    Examples:
      journeylab contacts events events.jsonl
      journeylab contacts events orders.csv --columns date=occurred_at --timezone Europe/Warsaw --rejects bad.csv
    """
    from hashlib import file_digest

    from journeylab.sender.live.arrivals import read_events
    from journeylab.sender.live.kinds import property_kinds

    def read(source: Any, connection: Any, declared: Any) -> Any:
        with file.open("rb") as content:
            digest = file_digest(content, "sha256").hexdigest()
        kinds = property_kinds(connection)
        return read_events(source, kinds, timezone, lambda row: f"file/{digest[:40]}/{row}", declared)

    _bring(file, settings, columns, rejects, read, "event", as_json=as_json)


def _bring(
    file: Path, settings: Path, columns: Mapping[str, str] | None, rejects: Path | None,
    read: Callable[[Any, Any, Any], Any], what: str, *, as_json: bool,
) -> None:  # fmt: skip
    """Takes a file in, and says what became of it."""
    from journeylab.logreading import mapped
    from journeylab.sender.declarations import Declarations
    from journeylab.sender.live.arrivals import take
    from journeylab.sender.live.drops import open_table, write_refused
    from journeylab.sender.live.ownership import Owners
    from journeylab.sender.settings import Settings

    source, _ = mapped(open_table(file), None, dict(columns or {}))
    read_settings = Settings.read(settings)
    declared, owners = Declarations.of(read_settings), Owners.of(read_settings, "import")
    with made(settings, personal=True) as store, step(f"reading {file}") as reading:
        with store.reading() as connection:
            found = read(source, connection, declared)
        got: Received | None = take(store, found, declared=declared, owners=owners)
        assert got is not None
        reading.done = f"read {file}"
    if rejects is not None:
        write_refused(rejects, found, got.refused)
    if as_json:
        refused = [{"row": one.place, "reason": one.reason} for one in got.refused]
        left_out = dict(sorted(got.left_out.items()))
        conflicts = {"conflicts": dict(sorted(got.conflicts.items()))} if got.conflicts else {}
        came = {"n_new": got.n_new, "n_repeated": got.n_repeated, "refused": refused, "left_out": left_out}
        show_json(came | conflicts)
    else:
        changed = "new or changed" if what == "contact" else "new"
        typer.echo(f"{counted(got.n_new, what)} {changed}, {got.n_repeated:,} known before")
        for name, n in sorted(got.left_out.items()):
            typer.echo(f"  {name}: {counted(n, 'value')} not kept, as no purpose in the settings declares it", err=True)
        for name, n in sorted(got.conflicts.items()):
            owner = read_settings.attributes[name].source
            typer.echo(f"  {name}: {counted(n, 'value')} not taken, as it is true by {owner}", err=True)
        for one in got.refused[:_SHOWN] if rejects is None else ():
            typer.echo(f"  {source.rejects.place} {one.place}: {one.reason}", err=True)
        if got.refused:
            more = f", {_SHOWN} of them shown" if rejects is None and len(got.refused) > _SHOWN else ""
            where = f": {rejects}" if rejects is not None else "; --rejects OUT.csv sets them aside"
            typer.echo(f"{counted(len(got.refused), 'row')} refused{more}{where}", err=True)
    if got.refused and rejects is None:
        raise typer.Exit(1)


@contacts.command("list")
def list_contacts(
    held: Annotated[bool, typer.Option("--held", help="Only those who cannot be advanced, and why.")] = False,
    journey: Annotated[str | None, typer.Option("--journey", metavar="NAME", help="Only those inside of it.")] = None,
    most: Annotated[int, typer.Option("--most", metavar="N", min=1, help="How many to show.")] = 100,
    settings: SettingsFile = SETTINGS,
    as_json: AsJson = False,
) -> None:
    """List contacts by id: when they came, when something is due next, the journeys they are inside of."""
    from journeylab.sender.live.inspection import listed_contacts

    with opened(settings) as store, store.reading() as connection:
        n, found = listed_contacts(connection, held=held, journey=journey, most=most)
    if as_json:
        show_json({"n_contacts": n, "contacts": found})
        return
    rows = [
        (one["contact"], _minute(one["created_at"]), _minute(one["next_at"]), ", ".join(one["inside"]))
        for one in found
    ]  # fmt: skip
    if rows:
        for line in table_lines(("contact", "came at (UTC)", "due at (UTC)", "inside"), rows):
            typer.echo(line)
    for one in found:
        if one["held_because"] is not None:
            typer.echo(f"{one['contact']} is held: {one['held_because']}")
    if n > len(found):
        typer.echo(f"{n - len(found):,} more; --most N shows more of them")
    elif not n:
        typer.echo("no contact")


def _minute(at: str | None) -> str:
    return "" if at is None else at[:16].replace("T", " ")


@contacts.command("show")
def show(
    contact: OneContact,
    reveal: Reveal = False,
    purpose: Purpose = None,
    settings: SettingsFile = SETTINGS,
    actor: Actor = None,
    as_json: AsJson = False,
) -> None:
    """Show what is known of a contact: attributes, entries, where it stands, messages, consent and its proof.

    Values of attributes, the address, and the evidence of consent are personal data; only --reveal shows them. Where
    the settings want a second person for that, one is asked first (exit status 1): see `contacts approve`.

    \b
    Examples:
      journeylab contacts show crm-17
      journeylab contacts show crm-17 --reveal --purpose "ticket 4711"
    """
    from journeylab.sender.live.inspection import known_of
    from journeylab.sender.persons.revealing import revealed
    from journeylab.sender.settings import Settings

    if purpose is not None and not reveal:
        raise typer.BadParameter("--purpose goes with --reveal", param_hint="--purpose")
    with opened(settings, personal=True) as store:
        if reveal:
            found = approved(revealed(store, Settings.read(settings), contact, purpose=purpose, actor=who_acts(actor)))
        else:
            with store.reading() as connection:
                found = known_of(connection, contact, reveal=False)
    if as_json:
        show_json(found)
        return
    for line in _lines(found):
        typer.echo(line)


def approved(found: Opened | Approval) -> Opened:
    """What was opened; where a second person is asked first, this says so and ends the command."""
    from journeylab.sender.approvals import Approval

    if not isinstance(found, Approval):
        return found
    typer.echo(
        f"this takes a second person, who is asked until {found.expires_at:%Y-%m-%d %H:%M} UTC; once somebody else has "
        f"given `journeylab contacts approve {found.approval_id}`, do this again",
        err=True,
    )
    raise typer.Exit(1)


def _lines(found: dict[str, Any]) -> Iterator[str]:
    due = f", due {_minute(found['next_at'])}" if found["next_at"] else ""
    yield f"{found['contact']}: came {_minute(found['created_at'])}{due} (UTC)"
    if found["held_because"] is not None:
        yield f"held: {found['held_because']}"
    has = {True: "known", False: "missing"}[found["has_address"]]
    yield f"address: {found.get('address') or has}"
    if isinstance(found["attributes"], dict):
        yield from (f"  {name} = {value}" for name, value in sorted(found["attributes"].items()))
    else:
        yield f"attributes: {', '.join(found['attributes']) or 'none'}"
    for title, head, rows in (
        ("entries", ("journey", "entry", "version", "entered at", "left at", "exit", "stands at"), [
            (one["journey"], str(one["entry"]), one["version"], _minute(one["entered_at"]), _minute(one["left_at"]),
             one["exit"] or "", ", ".join(one["at"])) for one in found["entries"]
        ]),
        ("messages", ("message", "journey", "entry", "node", "state", "reason", "sent at", "key"), [
            (one["message"], one["journey"], str(one["entry"]), one["node"], one["state"], one["reason"] or "",
             _minute(one["gated_at"]), one["message_key"][:8]) for one in found["messages"]
        ]),
        ("consent", ("purpose", "what", "at", "route", "wording"), [
            (one["purpose"] or "(all)", one["what"], _minute(one["at"]), one["route"], one.get("wording", "")[:8])
            for one in found["consent"]
        ]),
    ):  # fmt: skip
        yield f"{title}: none" if not rows else f"{title}:"
        if rows:
            yield from table_lines(head, rows)


@contacts.command("consent")
def consent(
    contact: OneContact,
    purpose: Annotated[
        str | None, typer.Option("--purpose", metavar="NAME", help="What for; --withdraw without it: for everything.")
    ] = None,
    ask: Annotated[
        Path | None, typer.Option("--ask", metavar="WORDING", help="Send a message that asks to confirm this wording.")
    ] = None,
    given: Annotated[
        Path | None, typer.Option("--given", metavar="WORDING", help="Put down that it was given to this wording.")
    ] = None,
    withdraw: Annotated[bool, typer.Option("--withdraw", help="Withdraw it.")] = False,
    evidence: Annotated[
        str | None, typer.Option("--evidence", metavar="TEXT", help="With --given: how it can be shown: letter no. 17.")
    ] = None,
    language: Annotated[str, typer.Option("--language", metavar="CODE", help="The wording's language.")] = "en",
    message: Annotated[
        str | None, typer.Option("--message", metavar="NAME", help="With --ask: which of several messages asks.")
    ] = None,
    settings: SettingsFile = SETTINGS,
    actor: Actor = None,
    as_json: AsJson = False,
) -> None:
    """Ask for consent, put down that it was given, or withdraw it, each with its proof.

    \b
    Examples:
      journeylab contacts consent ada --purpose marketing --ask wording.txt
      journeylab contacts consent ada --purpose marketing --given wording.txt --evidence "letter no. 17"
      journeylab contacts consent ada --withdraw
    """
    if sum((ask is not None, given is not None, withdraw)) != 1:
        raise typer.BadParameter("say one of --ask, --given and --withdraw", param_hint="--ask")
    if purpose is None and not withdraw:
        raise typer.BadParameter("consent is for a purpose; say which", param_hint="--purpose")
    if (evidence is None) == (given is not None):
        raise typer.BadParameter("--evidence goes with --given, which needs it", param_hint="--evidence")
    who = who_acts(actor)
    text = (ask or given or Path()).read_text(encoding="utf-8").strip() if not withdraw else ""
    with opened(settings, personal=True) as store, store.writing() as connection:
        now = store.now(connection)
        asking = None if ask is None else _asking(settings, message)
        said, data = _consent(connection, contact, purpose, text, language, who, now, asking=asking, evidence=evidence)
    if as_json:
        show_json(data)
    else:
        typer.echo(said)


def _consent(
    connection: Any, contact: str, purpose: str | None, wording: str, language: str, who: str, now: Any, *,
    asking: str | None, evidence: str | None,
) -> tuple[str, dict[str, Any]]:  # fmt: skip
    """What is asked, given or withdrawn, as a sentence and as plain data."""
    from journeylab.sender.consent.requests import ask, give
    from journeylab.sender.consent.withdrawals import withdraw

    by = {"by": who, "through": "command line"}
    if asking is not None and purpose is not None:
        request = ask(
            connection, contact, purpose, wording, language, f"person: {who}", by, now, message=asking, actor=who
        )  # fmt: skip
        asked = "is asked by a message" if request.is_new else "was asked within the last day already"
        said = f"{contact} {asked}; it can be confirmed until {request.expires_at:%Y-%m-%d %H:%M} UTC"
        return said, {"what": "requested", "message_key": request.message_key, "new": request.is_new}
    if evidence is not None and purpose is not None:
        proof = {**by, "evidence": evidence}
        done = give(connection, contact, purpose, wording, language, f"person: {who}", proof, now, actor=who)
        return f"{contact} has consented to {purpose}", {"what": "given", "at": done.at.isoformat()}
    receipt = withdraw(connection, contact, purpose, f"person: {who}", by, now, actor=who)
    since = f" since {receipt.at:%Y-%m-%d %H:%M} UTC" if receipt.is_repeated else ""
    said = f"{contact} gets nothing more {'at all' if purpose is None else f'for {purpose}'}{since}; "
    said += f"{counted(len(receipt.cancelled), 'message')} taken back"
    for one in receipt.on_its_way:
        said += f"\n{one.message} was on its way since {one.gated_at:%Y-%m-%d %H:%M:%S} UTC and may still arrive"
    return said, {
        "what": "withdrawn", "at": receipt.at.isoformat(), "repeated": receipt.is_repeated,
        "cancelled": [*receipt.cancelled], "on_its_way": [one.message_key for one in receipt.on_its_way],
    }  # fmt: skip


def _asking(settings: Path, message: str | None) -> str:
    """The message that asks to confirm: the one of that name, or the only one that there is."""
    from journeylab.errors import DataError, known, listed
    from journeylab.sender.mail.messages import Messages
    from journeylab.sender.settings import Settings

    read = Settings.read(settings)
    folder = read.path(read.messages)
    fit = [name for name, one in Messages.read(folder).items() if one.asks_to_confirm]
    if message in fit:
        return str(message)
    if message is not None:
        raise DataError(f"{folder}: {message!r} asks nobody to confirm; {known(message, fit, 'messages that do')}")
    if not fit:
        raise DataError(f"{folder}: no message asks to confirm; one that uses `confirm_url` does")
    if len(fit) > 1:
        raise DataError(f"{folder}: several messages ask to confirm ({listed(fit)}); say which by --message")
    return fit[0]


@contacts.command("resume")
def resume(
    contact: OneContact, settings: SettingsFile = SETTINGS, actor: Actor = None, as_json: AsJson = False
) -> None:
    """Let a contact that is held be tried again."""
    from journeylab.sender.live.inspection import resumed

    with opened(settings) as store, store.writing() as connection:
        was = resumed(connection, contact, who_acts(actor), store.now(connection))
    if as_json:
        show_json({"contact": contact, "changed": was is not None, "held_because": was})
    else:
        typer.echo(f"{contact} is tried again" if was is not None else f"{contact} is not held; nothing has changed")


@contacts.command("report")
def report(
    file: Annotated[str, typer.Argument(metavar="FILE|-", help="A mail as it came; - is the standard input.")],
    recipient: Annotated[
        str | None, typer.Option("--recipient", metavar="ADDRESS", help="To which it came, by the envelope.")
    ] = None,
    settings: SettingsFile = SETTINGS,
    as_json: AsJson = False,
) -> None:
    """Take in a mail that came back: a bounce, a complaint, or one that unsubscribes.

    It is made for the pipe of a mail server: exit status 75 asks the server to try again later (sysexits.h), where the
    database cannot be reached. A mail that says nothing of a message of ours is kept in the audit log, and taken.

    \b
    Examples:
      journeylab contacts report - --recipient "$ORIGINAL_RECIPIENT" --settings /etc/journeylab/sender.yaml
    """
    from sqlalchemy.exc import DBAPIError

    from journeylab.errors import JourneyLabError

    raw = sys.stdin.buffer.read() if file == "-" else Path(file).read_bytes()
    try:
        said = _taken(settings, raw, recipient)
    except (JourneyLabError, DBAPIError, OSError) as problem:
        typer.echo(str(problem), err=True)
        raise typer.Exit(_TRY_AGAIN) from None
    if as_json:
        show_json(said)
    else:
        repeated = ", which was known" if said["repeated"] else ""
        typer.echo(f"{said['kind']}: {said['reason']}{repeated}")


def _taken(settings: Path, raw: bytes, recipient: str | None) -> dict[str, Any]:
    from journeylab.sender.consent.mailed import take_unsubscription
    from journeylab.sender.consent.reports import take_report
    from journeylab.sender.sending.timeline import Timeline
    from journeylab.sender.settings import Settings

    with opened(settings, personal=True) as store, store.writing() as connection:
        now = store.now(connection)
        receipt = take_unsubscription(connection, raw, now)
        if receipt is not None:
            what = {"kind": "unsubscribed", "reason": f"from {receipt.purpose or 'everything'}", "taken": True}
            return {**what, "repeated": receipt.is_repeated, "contact": receipt.contact}
        timeline = Timeline.of(Settings.read(settings))
        found = take_report(connection, raw, now, recipient=recipient, timeline=timeline)
    what = {"kind": found.kind, "reason": found.reason, "taken": found.is_taken}
    return {**what, "repeated": found.is_repeated, "contact": found.contact}


@contacts.command("export")
def export(
    events: Annotated[Path, typer.Option("--events", metavar="OUT", help="The events, as Parquet.")],
    contacts_file: Annotated[Path, typer.Option("--contacts", metavar="OUT", help="The contacts, as Parquet.")],
    purpose: Purpose = None,
    settings: SettingsFile = SETTINGS,
    actor: Actor = None,
    as_json: AsJson = False,
) -> None:
    """Write the production log: what was received, when, and what became of each message; addresses are left out.

    `EventLog.read(events, contacts=contacts).by_received()` with `replay(..., live=True)` reproduces every decision.
    Attributes and properties are in it, so that the export is kept in the audit log, and takes a second person where a
    look at one contact does (exit status 1): see `contacts approve`.
    """
    from journeylab.sender.persons.revealing import exported
    from journeylab.sender.settings import Settings

    read = Settings.read(settings)
    with opened(settings, personal=True) as store, step("exporting") as exporting:
        done = approved(exported(store, read, events, contacts_file, purpose=purpose, actor=who_acts(actor)))
        exporting.done = f"exported {counted(done.n_events, 'event')} of {counted(done.n_contacts, 'contact')}"
    if as_json:
        show_json({"n_events": done.n_events, "n_contacts": done.n_contacts, "n_on_their_way": done.n_on_their_way})
        return
    typer.echo(f"{counted(done.n_events, 'event')}: {events}")
    typer.echo(f"{counted(done.n_contacts, 'contact')}: {contacts_file}")
    if done.n_on_their_way:
        typer.echo(f"of {counted(done.n_on_their_way, 'message')} the outcome is not known yet", err=True)


@contacts.command("verify")
def verify(settings: SettingsFile = SETTINGS, as_json: AsJson = False) -> None:
    """Replay what the store has received, and hold all recorded entries and visits against it.

    Exit status 1 when anything is not as replay gives it.
    """
    from journeylab.display import plain_rows
    from journeylab.sender.live.productionlog import verify as verified
    from journeylab.sender.process import WhatRuns
    from journeylab.sender.settings import Settings

    announce_compiling()
    with opened(settings, personal=True) as store, step("replaying") as replaying:
        found = verified(store, WhatRuns(Settings.read(settings)))
        replaying.done = f"replayed {counted(found.n_contacts, 'contact')}"
    n = len(found.differences)
    if as_json:
        show_json(
            {"n_contacts": found.n_contacts, "n_due": found.n_due, "n_held": found.n_held,
             "differences": plain_rows(found.differences)}
        )  # fmt: skip
    else:
        for one in found.differences.head(_SHOWN).itertuples():
            at = f"/{one.node}/{one.visit}" if isinstance(one.node, str) else ""
            typer.echo(f"{one.contact} {one.journey}/{one.entry}{at}: {one.what} is {one.recorded}, not {one.replayed}")
        left = f"; {found.n_due:,} left out, as something is due for them, {found.n_held:,} as they are held"
        what = "all is as replay gives it" if not n else f"{counted(n, 'difference')}"
        typer.echo(f"{counted(found.n_contacts, 'contact')}: {what}{left}")
    if n:
        raise typer.Exit(1)
