"""The commands that send: run, serve, and sends with list, show, resolve, log and adopt."""

from __future__ import annotations

import os
import re
import signal
import socket
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from journeylab.display import counted
from journeylab.errors import DataError, known

from .options import AsJson
from .screen import announce_compiling, show_json, table_lines
from .sender import SETTINGS, Actor, SettingsFile, opened, who_acts

if TYPE_CHECKING:
    from journeylab.sender.settings import Settings
    from journeylab.sender.store import Store

__all__ = ["run", "sends", "serve"]

sends = typer.Typer(
    help="See what became of messages, and decide on those of which nobody knows.",
    no_args_is_help=True,
    rich_markup_mode=None,
)
OneMessage = Annotated[str, typer.Argument(metavar="KEY", help="The message's key, or enough of its beginning.")]


def run(
    settings: SettingsFile = SETTINGS,
    once: Annotated[bool, typer.Option("--once", help="Do what is due now and end, as cron wants it.")] = False,
    worker: Annotated[
        str | None,
        typer.Option("--worker", metavar="NAME", help="This process's name; by default its host and number."),
    ] = None,
    adopt: Annotated[
        bool, typer.Option("--adopt", help="First tell a restored database what this machine has sent.")
    ] = False,
    verbose: Annotated[bool, typer.Option("--verbose", help="Log every step of every message.")] = False,
    actor: Actor = None,
    as_json: AsJson = False,
) -> None:
    """Send: advance contacts, call services, carry messages, until it is stopped (SIGTERM, Ctrl-C).

    A first signal lets what is on its way end; a second one cuts it before the last byte. Several processes may run on
    one PostgreSQL, on several hosts. Logs are lines of JSON on stderr.

    \b
    Examples:
      journeylab run
      journeylab run --once --json
      journeylab run --adopt            after the database was restored from a copy
    """
    import gc
    import logging

    from journeylab.reports.scheduled import Reporting
    from journeylab.sender.logs import export_traces, log_to
    from journeylab.sender.process import Sender
    from journeylab.sender.settings import Settings

    announce_compiling()
    name = worker or f"{socket.gethostname()}-{os.getpid()}"
    read = Settings.read(settings)
    with opened(settings, personal=True) as store:
        if adopt:
            _adopt(store, read, who_acts(actor))
        log_to(level=logging.DEBUG if verbose else logging.INFO)
        export_traces(read.sender)
        with Sender(store, read, name, report=Reporting(store, read, name) if read.reports else None) as sender:
            for number in (signal.SIGTERM, signal.SIGINT):
                signal.signal(number, sender.on_signal)
            gc.freeze()  # what is loaded by now stays, and need not be looked through for rubbish
            done = sender.run_once() if once else sender.run()
    if as_json:
        show_json({"worker": name, "messages": dict(sorted(done.items()))})
    else:
        what = ", ".join(f"{n:,} {kind}" for kind, n in sorted(done.items())) or "nothing was to be sent"
        typer.echo(what)


def serve(
    settings: SettingsFile = SETTINGS,
    host: Annotated[str, typer.Option("--host", metavar="ADDRESS", help="Where to listen.")] = "127.0.0.1",
    port: Annotated[int, typer.Option("--port", metavar="N", min=1, max=65535, help="The port.")] = 8008,
    proxies: Annotated[
        str | None,
        typer.Option("--proxies", metavar="ADDRESSES", help="Proxies whose X-Forwarded-For is believed."),
    ] = None,
) -> None:
    """Answer webhooks, the pages to confirm and unsubscribe, tracked links, the dashboard and metrics.

    TLS is the business of the proxy in front of it, which is where `public_url` leads.

    \b
    Examples:
      journeylab serve --port 8008
      journeylab serve --host 0.0.0.0 --proxies 10.0.0.1
    """
    from journeylab.sender.logs import log_to
    from journeylab.sender.settings import Settings
    from journeylab.sender.web.serving import serve as serve_forever

    read = Settings.read(settings)
    with opened(settings, personal=True) as store:
        log_to()
        typer.echo(f"listening on http://{host}:{port}, to be reached as {read.public_url}", err=True)
        serve_forever(store, read, host=host, port=port, proxies=proxies)


def _adopt(store: Store, settings: Settings, actor: str) -> None:
    from journeylab.sender.sending.journal import adopt

    made = adopt(store, settings.path(settings.state) / "receipts", actor)
    typer.echo(
        f"the database knows of {counted(made.n_receipts, 'message')} that this machine has sent; "
        f"{made.n_written:,} of them were new to it",
        err=True,
    )
    if not made.is_complete:
        typer.echo(
            "the receipts do not reach back to the database's last event: messages sent in between may go out again; "
            "pause the journeys and look at the relay's log first",
            err=True,
        )


# sends


@sends.command("list")
def list_sends(
    settings: SettingsFile = SETTINGS,
    state: Annotated[str | None, typer.Option("--state", metavar="STATE", help="Only those in this state.")] = None,
    journey: Annotated[str | None, typer.Option("--journey", metavar="NAME", help="Only those of a journey.")] = None,
    contact: Annotated[str | None, typer.Option("--contact", metavar="ID", help="Only those to a contact.")] = None,
    most: Annotated[int, typer.Option("--most", metavar="N", min=1, help="How many to show, the latest first.")] = 50,
    as_json: AsJson = False,
) -> None:
    """List messages by state, journey and contact, and count them.

    \b
    Examples:
      journeylab sends list --state ambiguous
      journeylab sends list --contact ada --json
    """
    from sqlalchemy import func, select

    from journeylab.sender.store import tables as t

    if state is not None and state not in t.STATES:
        raise typer.BadParameter(f"no state {state!r}; {known(state, t.STATES, 'states')}", param_hint="--state")
    s = t.sends.c
    wanted = [
        column == value
        for column, value in ((s.state, state), (s.journey, journey), (s.contact, contact))
        if value is not None
    ]
    with opened(settings) as store, store.reading() as connection:
        counts = connection.execute(select(s.state, func.count()).where(*wanted).group_by(s.state)).all()
        latest = func.coalesce(s.settled_at, s.gated_at, s.planned_at).desc()
        rows = connection.execute(select(t.sends).where(*wanted).order_by(latest, s.message_key).limit(most)).all()
    by_state = {one: n for one in t.STATES for of, n in counts if of == one}
    if as_json:
        show_json({"counts": by_state, "messages": [_plain(row) for row in rows]})
        return
    typer.echo(", ".join(f"{n:,} {one}" for one, n in by_state.items()) or "there are no messages")
    if rows:
        head = ("key", "message", "contact", "journey", "entry", "node", "visit", "state", "since", "reason")
        cells = [
            (
                row.message_key[:12], row.message, row.contact, row.journey, str(row.entry), row.node, str(row.visit),
                row.state, f"{row.settled_at or row.gated_at or row.planned_at:%Y-%m-%d %H:%M:%S}", row.reason or "",
            )
            for row in rows
        ]  # fmt: skip
        for line in table_lines(head, cells, right="entry visit"):
            typer.echo(line)


_REPLY: Final = re.compile(r"\d{3}(?:[ -]\d\.\d{1,3}\.\d{1,3})?")


def _plain(row: Any) -> dict[str, Any]:
    """A row as plain data for JSON; of a relay's reply its codes alone, as the rest may name the person."""
    plain = {name: one.isoformat() if hasattr(one, "isoformat") else one for name, one in row._asdict().items()}
    if plain["reply"] is not None:
        found = _REPLY.match(plain["reply"])
        plain["reply"] = None if found is None else found[0]
    return plain


def _key_of(store: Store, beginning: str) -> str:
    """The key that begins so."""
    from sqlalchemy import select

    from journeylab.sender.store import tables as t

    if not beginning or not set(beginning.lower()) <= set("0123456789abcdef"):
        raise DataError(f"{beginning!r} is no message's key, which has digits and the letters a to f")
    with store.reading() as connection:
        found = [*connection.scalars(
            select(t.sends.c.message_key).where(t.sends.c.message_key.startswith(beginning.lower())).limit(2)
        )]  # fmt: skip
    if len(found) != 1:
        what = "no message's key begins" if not found else "several messages' keys begin"
        raise DataError(f"{what} with {beginning!r}; `journeylab sends list` shows them")
    return str(found[0])


@sends.command("show")
def show(
    key: OneMessage,
    settings: SettingsFile = SETTINGS,
    as_json: AsJson = False,
) -> None:
    """Show all that is known of a message but its content, its address, and what a relay said beside its codes.

    \b
    Examples:
      journeylab sends show 5f3a
    """
    from sqlalchemy import select

    from journeylab.sender.store import tables as t

    with opened(settings) as store:
        whole = _key_of(store, key)
        with store.reading() as connection:
            row = _plain(connection.execute(select(t.sends).where(t.sends.c.message_key == whole)).one())
    if as_json:
        show_json(row)
    else:
        for line in table_lines(("", ""), [(name, str(value)) for name, value in row.items() if value is not None]):
            typer.echo(line)


@sends.command("resolve")
def resolve(
    key: OneMessage,
    delivered: Annotated[bool, typer.Option("--delivered", help="It was sent.")] = False,
    resend: Annotated[bool, typer.Option("--resend", help="It was not sent, or may be sent twice.")] = False,
    abandon: Annotated[bool, typer.Option("--abandon", help="It is not sent any more.")] = False,
    settings: SettingsFile = SETTINGS,
    actor: Actor = None,
) -> None:
    """Decide on a message of which nobody knows whether the relay took it (`ambiguous`).

    \b
    Examples:
      journeylab sends resolve 5f3a --delivered
    """
    from journeylab.sender.sending.reconcile import resolve as resolve_message
    from journeylab.sender.sending.timeline import Timeline
    from journeylab.sender.settings import Settings

    chosen = [name for name, on in (("delivered", delivered), ("resend", resend), ("abandon", abandon)) if on]
    if len(chosen) != 1:
        raise typer.BadParameter("say one of --delivered, --resend and --abandon")
    who = who_acts(actor)
    with opened(settings) as store:
        whole = _key_of(store, key)
        timeline = Timeline.of(Settings.read(settings))
        resolve_message(store, whole, chosen[0], who, timeline)  # type: ignore[arg-type]
    said = {"delivered": "noted as sent", "resend": "it will be sent again", "abandon": "it is not sent any more"}
    typer.echo(said[chosen[0]])


@sends.command("log")
def log(
    file: Annotated[str, typer.Argument(metavar="FILE", help="The relay's log (Postfix), or - for stdin.")],
    settings: SettingsFile = SETTINGS,
    actor: Actor = None,
    as_json: AsJson = False,
) -> None:
    """Settle ambiguous messages by a relay's own log, which knows by its queue id what it took.

    \b
    Examples:
      journeylab sends log /var/log/mail.log
    """
    from journeylab.sender.sending.reconcile import take_log
    from journeylab.sender.sending.timeline import Timeline
    from journeylab.sender.settings import Settings

    who = who_acts(actor)
    with opened(settings, personal=True) as store:
        lines = sys.stdin.readlines() if file == "-" else Path(file).read_text("utf-8", "replace").splitlines()
        with store.writing() as connection:
            found = take_log(connection, lines, store.now(connection), who, Timeline.of(Settings.read(settings)))
    if as_json:
        show_json(found._asdict())
    else:
        typer.echo(
            f"{found.n_accepted:,} found to be sent, {found.n_again:,} to be sent again, "
            f"{found.n_left:,} still ambiguous"
        )


@sends.command("adopt")
def adopt_receipts(settings: SettingsFile = SETTINGS, actor: Actor = None) -> None:
    """Tell a database that was restored from a copy what this machine has sent since, so that nothing is sent again.

    \b
    Examples:
      journeylab sends adopt
    """
    from journeylab.sender.settings import Settings

    who = who_acts(actor)
    read = Settings.read(settings)
    with opened(settings, personal=True) as store:
        _adopt(store, read, who)


@sends.command("retry")
def retry(
    target: Annotated[str, typer.Argument(metavar="TARGET", help="Whom nobody could tell: crm, incidents/pager.")],
    settings: SettingsFile = SETTINGS,
    actor: Actor = None,
) -> None:
    """Tell somebody outside again what could not be told and was given up.

    It is the webhook crm, alerts or audit, or incidents/NAME or connectors/NAME.

    \b
    Examples:
      journeylab sends retry crm
      journeylab sends retry incidents/pager
    """
    from journeylab.sender.sending.outbox import try_again
    from journeylab.sender.sending.recipients import Recipients
    from journeylab.sender.settings import WEBHOOKS, Settings

    who, read = who_acts(actor), Settings.read(settings)
    with opened(settings) as store, store.writing() as connection:
        names = {*WEBHOOKS, *Recipients(store, read).names}
        if target not in names:
            raise DataError(f"nobody is told anything by the name {target!r}; {known(target, names, 'names')}")
        n = try_again(connection, target, who, store.now(connection))
    typer.echo(f"{counted(n, 'thing')} will be told to {target} again")
