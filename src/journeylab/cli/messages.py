"""The commands on messages: check, preview and dkim."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from journeylab.display import counted
from journeylab.errors import DataError, DefinitionError, JourneyLabError, known

from .options import AsJson
from .screen import show_json
from .sender import SETTINGS, SettingsFile

if TYPE_CHECKING:
    from journeylab.sender.mail.messages import Messages
    from journeylab.sender.mail.rendering import Rendered
    from journeylab.sender.settings import Settings

__all__ = ["AskDns", "messages"]

messages = typer.Typer(
    help="Check and preview messages, and publish the key that signs them.", no_args_is_help=True, rich_markup_mode=None
)
AskDns = Annotated[bool, typer.Option("--dns", help="Look up SPF, the DKIM record, DMARC and MX, too.")]
_CONTACT = "contact"


@dataclass(frozen=True)
class _Found:
    """Something about one or several messages."""

    severity: str
    messages: tuple[str, ...]
    rule: str
    sentence: str
    source: str

    def __str__(self) -> str:
        return f"{self.severity}: {', '.join(self.messages)}: {self.rule}: {self.sentence} ({self.source})"


@messages.command("check")
def check(
    folder: Annotated[
        Path | None, typer.Argument(metavar="[FOLDER]", help="The messages; by default the settings' folder.")
    ] = None,
    settings: SettingsFile = SETTINGS,
    ask_dns: AskDns = False,
    as_json: AsJson = False,
) -> None:
    """Say whether messages are sound: templates, what they may know, and the rules of those who take bulk mail.

    Each message is made from its example and looked at as a receiver does. Exit status 1 when anything is at fault.

    \b
    Examples:
      journeylab messages check
      journeylab messages check messages --dns --json
    """
    from journeylab.sender.settings import Settings

    read = Settings.read(settings)
    faults: list[str] = []
    all_messages: Messages | None = None
    try:
        all_messages = _messages(folder, read)
    except DefinitionError as error:
        faults = [str(fault) for fault in error.faults]
    found = [] if all_messages is None else _linted(all_messages, read, ask_dns=ask_dns)
    errors = [one for one in found if one.severity == "error"]
    names = [*(all_messages or ())]
    if as_json:
        data = [{**vars(one), "messages": list(one.messages)} for one in found]
        show_json({"sound": not (faults or errors), "messages": names, "faults": faults, "findings": data})
    else:
        for fault in faults:
            typer.echo(fault, err=True)
        for one in found:
            typer.echo(str(one), err=one.severity == "error")
        n_faults = len(faults) + len(errors)
        if n_faults:
            typer.echo(counted(n_faults, "fault"), err=True)
        else:
            typer.echo(f"{counted(len(names), 'message')} {'is' if len(names) == 1 else 'are'} sound")
    if faults or errors:
        raise typer.Exit(1)


def _messages(folder: Path | None, settings: Settings) -> Messages:
    from journeylab.sender.mail.messages import Messages

    return Messages.read(folder if folder is not None else settings.path(settings.messages))


def _linted(all_messages: Messages, settings: Settings, *, ask_dns: bool) -> list[_Found]:
    """What is found of all messages, errors first; the same of several messages is said once."""
    from journeylab.sender.mail.dkim import DkimKey
    from journeylab.sender.mail.lint import lint
    from journeylab.sender.mail.lookup import lookup
    from journeylab.sender.mail.previews import sample
    from journeylab.sender.mail.rendering import Renderer

    of: dict[tuple[str, str, str, str], list[str]] = {}
    key, dns = DkimKey.read(settings), lookup() if ask_dns else None
    with Renderer(all_messages) as renderer:
        for name, message in all_messages.items():
            try:
                data = sample(renderer, name, settings, key, datetime.now(UTC))
            except JourneyLabError as error:
                of.setdefault(("error", "example", f"It cannot be sent: {error}", "its own file"), []).append(name)
                continue
            for one in lint(message, data, settings, dns=dns):
                of.setdefault((one.severity, one.rule, one.sentence, one.source), []).append(name)
    found = [_Found(severity, tuple(names), *rest) for (severity, *rest), names in of.items()]
    return sorted(found, key=lambda one: one.severity)


@messages.command("preview")
def preview(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Which message.")],
    settings: SettingsFile = SETTINGS,
    folder: Annotated[
        Path | None, typer.Option("--messages", metavar="FOLDER", help="The messages, instead of the settings' folder.")
    ] = None,
    contacts: Annotated[
        str | None,
        typer.Option("--contacts", metavar="FILE|URL", help="Contacts and attributes; without them, the example."),
    ] = None,
    contact: Annotated[
        list[str] | None, typer.Option("--contact", metavar="ID", help="Only these contacts, once for each.")
    ] = None,
    html: Annotated[
        Path | None, typer.Option("--html", metavar="OUT.html", help="Write a page that shows all of them.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Show a message as contacts would get it; nothing is sent, and its links lead nowhere.

    Without --html, subject and text part are printed.

    \b
    Examples:
      journeylab messages preview welcome_1
      journeylab messages preview welcome_1 --contacts contacts.csv --contact ada --contact bo --html welcome.html
    """
    from journeylab.sender.mail.previews import example_context, save_page
    from journeylab.sender.mail.previews import preview as previewed
    from journeylab.sender.settings import Settings

    if contact and contacts is None:
        raise typer.BadParameter("say where the contacts are: --contacts FILE", param_hint="--contact")
    read = Settings.read(settings)
    all_messages = _messages(folder, read)
    message = all_messages[name]
    context = example_context(message, public_url=read.public_url, postal_address=read.postal_address)
    chosen: Mapping[str, Mapping[str, Any]] = {"the example": context.attributes}
    if contacts is not None:
        chosen = _contacts(contacts, message.attributes, contact)
    made = list(zip(chosen, previewed(all_messages, name, chosen.values(), context=context), strict=True))
    if html is not None:
        html.parent.mkdir(parents=True, exist_ok=True)
        save_page(made, name, html)
    if as_json:
        show_json({"message": name, "previews": [{"for": one, **vars(rendered)} for one, rendered in made]})
    elif html is not None:
        typer.echo(f"{counted(len(made), 'preview')} of {name}: {html}")
    else:
        _show(made)


def _show(made: Sequence[tuple[str, Rendered]]) -> None:
    for i, (one, rendered) in enumerate(made):
        typer.echo(("\n" if i else "") + f"for {one}\nSubject: {rendered.subject}\n\n{rendered.text}")


def _contacts(source: str, names: Sequence[str], wanted: Sequence[str] | None) -> dict[str, dict[str, Any]]:
    """The attributes of contacts in a file by contact, as far as they are asked for."""
    from journeylab.logsource import open_source

    table = open_source(source, what="contacts")
    if _CONTACT not in table.columns:
        near = known(_CONTACT, table.columns, "columns")
        raise DataError(f"{source}: there is no column 'contact'; rename the one that names contacts. {near}")
    rows = table.read([_CONTACT, *(name for name in names if name in table.columns)]).to_pylist()
    found = {str(row.pop(_CONTACT)): row for row in rows}
    for one in wanted or ():
        if one not in found:
            raise DataError(f"{source}: there is no contact {one!r}; {known(one, found, 'contacts')}")
    return {one: found[one] for one in (wanted or found)}


@messages.command("dkim")
def dkim(
    settings: SettingsFile = SETTINGS,
    make_key: Annotated[
        bool, typer.Option("--make-key", help="First make the key that the settings name: RSA of 2048 bits.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Print the DNS record to publish, so that others can verify signatures.

    A key is never overwritten: who changes it publishes the new one under another selector first.

    \b
    Examples:
      journeylab messages dkim --make-key
      journeylab messages dkim >> shop.example.zone
    """
    from journeylab.sender.mail.dkim import DkimKey, dns_record, write_key
    from journeylab.sender.settings import Settings

    read = Settings.read(settings)
    if read.dkim is None:
        remedy = f"write dkim: {{domain: {read.from_.address.rpartition('@')[2]}, selector: s1, key: dkim.pem}}"
        raise DataError(f"{settings}: the settings name no key; {remedy}")
    path = read.path(read.dkim.key)
    if make_key:
        write_key(path)
        typer.echo(f"made {path}; keep it secret, and a copy of it", err=True)
    elif not path.exists():
        raise DataError(f"{path}: there is no key yet; make it with --make-key")
    key = DkimKey.read(read)
    assert key is not None, "the settings name it"
    record = dns_record(key)
    if as_json:
        show_json({"name": key.record_name, "record": record, "algorithm": key.algorithm, "made": make_key})
    else:
        typer.echo(record)
