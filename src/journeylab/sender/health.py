"""Whether a sender is well: its settings' secrets, keys, database, receipts and relays; nothing is sent or changed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Final, NamedTuple

from sqlalchemy import Connection

from journeylab.connectors.connector import Connector
from journeylab.connectors.http import Call, Reply
from journeylab.connectors.incidents import CalledSystem, IncidentSystem
from journeylab.durations import duration_text
from journeylab.errors import JourneyLabError
from journeylab.extensions import made
from journeylab.language import plural
from journeylab.sender.audit.keeping import why_unheld
from journeylab.sender.dependences import dependences
from journeylab.sender.keys import key_ring
from journeylab.sender.live.pulls import standing
from journeylab.sender.mail.dkim import DkimKey
from journeylab.sender.mail.messages import Messages
from journeylab.sender.ownstore import own_store
from journeylab.sender.permissions import Permission, allowed
from journeylab.sender.promotion.foureyes import unapproved
from journeylab.sender.promotion.purposes import undeclared_by_releases
from journeylab.sender.promotion.standing import frozen_release, pauses, running
from journeylab.sender.sending.alerts import open_alerts
from journeylab.sender.sending.channels import Handover, way_to
from journeylab.sender.sending.journal import newest, refuse_older_copy
from journeylab.sender.sending.recipients import origin_of
from journeylab.sender.sending.transport import Unreached
from journeylab.sender.settings import Relay, Settings
from journeylab.sender.store import Store
from journeylab.sender.tokens import lamed, soon_over
from journeylab.sender.web.figures import spoken_of

__all__ = ["Health", "health_of"]

_APART: Final = 5.0


class Health(NamedTuple):
    """One thing that was looked at: what it is, whether it is well, and what to know or do."""

    what: str
    text: str
    is_well: bool = True


def health_of(file: str | Path, clock: Callable[[], datetime]) -> list[Health]:
    """What there is to know about a sender, in the order in which things need each other.

    Args:
        file: the settings' file.
        clock: this machine's clock, which is held against the database's.

    Raises:
        DefinitionError: when the settings are at fault.
    """
    settings = Settings.read(file)
    return [
        *_secrets(settings),
        _of("keys", lambda: _keys(settings)),
        Health("access", _access(settings)),
        _four_eyes(settings),
        _of("DKIM", lambda: _dkim(settings)),
        _of("messages", lambda: f"{len(Messages.read(settings.path(settings.messages)))} in {settings.messages}"),
        *_store(settings, clock),
        *([] if settings.recommend.hook is None else [_of("recommender", lambda: _recommender(settings))]),
        *(_of(f"relay {relay.name}", partial(_relay, relay, settings)) for relay in settings.relays),
        *(_of(f"incidents {one.name}", partial(_told, one, settings)) for one in settings.incidents),
        *(_of(f"connector {name}", partial(_connected, one, settings)) for name, one in settings.connectors.items()),
    ]


def _of(what: str, look: Callable[[], str]) -> Health:
    try:
        return Health(what, look())
    except (JourneyLabError, OSError) as problem:
        return Health(what, str(problem), is_well=False)


def _secrets(settings: Settings) -> Iterator[Health]:
    """Each secret that the settings name."""
    named = [settings.webhook_secret, settings.dashboard, *(relay.password for relay in settings.relays)]
    outgoing = (*settings.calls.values(), settings.crm, settings.alerts, settings.audit.webhook)
    named += [one.secret for one in outgoing if one is not None]
    named += [one for relay in settings.relays for one in relay.secrets.values()]
    missing = []
    for reference in (str(one) for one in named if one is not None):
        try:
            settings.secret(reference)
        except JourneyLabError as problem:
            missing.append(str(problem))
    n = len([one for one in named if one is not None])
    yield Health("secrets", "; ".join(missing) or f"all {n} are set", not missing)


def _told(system: IncidentSystem, settings: Settings) -> str:
    """What a system for incidents hears of, once its secret and what it takes are found to be there."""
    system.target(origin_of(settings), settings.secret)
    if isinstance(system, CalledSystem):
        system.with_credentials(lambda _: Reply(None, "nothing is called here"), settings.secret)
    return f"{system.kind}, hears of {system.at_least} and worse; `journeylab incidents test {system.name}` tries it"


def _connected(connector: Connector, settings: Settings) -> str:
    """What a connector pulls and is told, once its secrets are found to be there."""
    connector.with_credentials(lambda _: Reply(None, "nothing is called here"), settings.secret)(Call("GET"))
    pulled = ", ".join(f"{name} every {duration_text(one.every)}" for name, one in connector.pull.items())
    told = ", ".join(connector.push)
    parts = [f"pulls {pulled}" if pulled else "", f"is told {told}" if told else ""]
    return f"{connector.kind}, {' and '.join(part for part in parts if part) or 'does nothing'}"


def _sources(connection: Connection, settings: Settings, now: datetime) -> Iterator[Health]:
    """What is pulled and of when it is, what depends on how old that is, and who speaks of what others own."""
    for one in standing(connection, settings):
        known = f"known as of {one.complete_at:%Y-%m-%d %H:%M:%S} UTC" if one.complete_at else "not known as a whole"
        refused = plural("{n} row refused", "{n} rows refused", one.n_refused)
        said = ", ".join([known, *([refused] if one.n_refused else []), *([one.reply] if one.reply else [])])
        is_well = one.complete_at is not None and not one.n_refused and not one.attempts
        yield Health(f"pulled {one.connector}/{one.stream}", said, is_well)
    spoken = spoken_of(connection, settings)
    for release in running(connection):
        frozen = frozen_release(connection, release.release_id)
        for depends in dependences(frozen.journey, frozen.messages, settings):
            at = spoken.get((depends.on, depends.source))
            is_old = at is None or now - at > depends.max_age
            said = f"{depends}; {'never said' if at is None else f'last said {at:%Y-%m-%d %H:%M:%S} UTC'}"
            yield Health(f"age {release.journey}", said, not is_old)


def _keys(settings: Settings) -> str:
    ring = key_ring(settings)
    n = plural("{n} key", "{n} keys", ring.newest)
    return f"{settings.key_ring}, {n}"


def _access(settings: Settings) -> str:
    if settings.access is None:
        return "not restricted: whoever can read settings and key ring may do everything; `access` says who may what"
    n = plural("{n} person has roles", "{n} people have roles", len(settings.access.people))
    return f"{n}; all others may nothing"


def _four_eyes(settings: Settings) -> Health:
    """What takes a second person, and whether there are two for it."""
    four = settings.four_eyes
    if four is None or (four.promotions_over is None and not four.reveals):
        said = "nothing takes a second person: one can promote to everybody and see anybody; `four_eyes` changes that"
        return Health("four eyes", said)
    kinds: list[tuple[str, Permission]] = []
    if four.promotions_over is not None:
        kinds.append((f"to promote to more than {four.promotions_over:,} contacts", "promote"))
    if four.reveals:
        kinds += [
            ("to see what is known of a contact", "reveal"),
            ("to copy it", "copy_person"),
            ("to export the log", "export_log"),
        ]
    people = settings.access.people if settings.access is not None else {}
    lone = [what for what, one in kinds if sum(one in allowed(settings, person) for person in people) < 2]
    if lone:
        return Health("four eyes", f"nobody could approve: {', '.join(lone)}; give another one the role", is_well=False)
    return Health("four eyes", f"two are wanted {', '.join(what for what, _ in kinds)}")


def _dkim(settings: Settings) -> str:
    key = DkimKey.read(settings)
    if key is None:
        return "none: only transactional mail is promoted"
    return f"{key.algorithm}, to be published as {key.record_name}"


def _store(settings: Settings, clock: Callable[[], datetime]) -> Iterator[Health]:
    """The database: whether it is there and forgets nothing, its time, what it waits for."""
    try:
        store = own_store(settings)
    except JourneyLabError as problem:
        yield Health("store", str(problem), is_well=False)
        return
    try:
        yield Health("store", f"{_kind(store)}; it forgets nothing that it has confirmed")
        yield _of("receipts", lambda: _receipts(store, settings))
        with store.reading() as connection:
            apart = abs((store.now(connection) - clock()).total_seconds())
            text = f"{apart:.1f} s apart from this machine's; the database's counts"
            yield Health("clock", text, apart <= _APART)
            takes = ", ".join(f"{one.journey} {one.version} ({one.shown_share})" for one in running(connection))
            yield Health("releases", takes or "none takes entries")
            if beyond := undeclared_by_releases(connection, settings):
                yield Health("purposes", f"releases read what is not kept any more: {'; '.join(beyond)}", is_well=False)
            if large := unapproved(connection, settings):
                said = f"reach more contacts than one person may promote to, and nobody approved: {', '.join(large)}"
                yield Health("four eyes", said, is_well=False)
            stopped = ", ".join(f"{one.journey} ({one.reason})" for one in pauses(connection))
            yield Health("pauses", stopped or "none", not stopped)
            yield from _sources(connection, settings, store.now(connection))
            alerts = "; ".join(row.text for row in open_alerts(connection))
            yield Health("alerts", alerts or "none", not alerts)
            ending = soon_over(connection, store.now(connection))
            yield Health("tokens", ending or "none is over within 14 days", ending is None)
            if lame := ", ".join(lamed(connection, settings, store.now(connection))):
                yield Health("tokens", f"made by people who may less by now, and so do they: {lame}", is_well=False)
            unheld = why_unheld(connection, settings, store.now(connection))
            yield Health("audit log", unheld or "its checkpoints leave this machine", unheld is None)
    finally:
        store.close()


def _kind(store: Store) -> str:
    if not store.is_sqlite:
        return "PostgreSQL"
    version = store.cipher_version
    return "SQLite, its file in clear but for what is sealed" if version is None else f"SQLCipher {version}, encrypted"


def _receipts(store: Store, settings: Settings) -> str:
    receipts = newest(settings.path(settings.state) / "receipts")
    refuse_older_copy(store, receipts)
    return f"{len(receipts):,} on this machine, all known to the database"


def _recommender(settings: Settings) -> str:
    name = str(settings.recommend.hook)
    made("recommenders", name, methods=["recommend"])
    return f"{name} is ready"


def _relay(relay: Relay, settings: Settings) -> str:
    """Connects as a worker does, and goes again."""
    where = f"{relay.host}:{relay.port}" if relay.channel is None else f"the channel {relay.channel}"
    try:
        connection = way_to(relay, settings)()
    except Unreached as problem:
        raise JourneyLabError(f"{where} does not take messages ({problem.trouble}): {problem}") from None
    if isinstance(connection, Handover):
        connection.leave()
        return f"{where} is ready; its provider was not asked"
    sock = connection.sock
    version = sock.version() if hasattr(sock, "version") else "no TLS"
    connection.close()
    return f"{where} answers, {version}"
