"""Erasure: a person's data key is destroyed and all that tells of them goes, but nobody writes to them again.

| what | becomes |
|---|---|
| the data key, and with it every sealed value | destroyed |
| address, attributes, events, renderings, opens and clicks, what others put into `inbox` or was pulled | deleted |
| entries, visits, sends, calls, the dates of consent | kept, of a stand-in that nothing leads back from |
| contact and details in the audit log | erased; its tree still verifies |
| the addresses' digests | kept in `suppressions`: a re-import does not mail (Art. 17(3)(b), 21(3)) |
| a keyed digest of the contact's id | kept in `forgotten`: no pull brings the person back |
| files in the inbox's folder `taken` that name the contact | deleted; those in `refused` are named in the receipt |

The erasure is the event `erased` at its instant (rule 14): journeys end there, and the gate lets nothing pass after it.
While a message is on its way its outcome needs the contact's id, and the stand-in comes once that is known. With it
messages and calls get names of their own: those that they had are made of the contact's id, so that whoever holds the
ring and guesses the id would find them, and the same id brought in again would want the same names.

What was erased is also written down beside the database, in `erasures.jsonl` of the state folder, by keyed digests
alone. A database that is restored from an older copy has the person again; `repeat` erases them anew.
"""

from __future__ import annotations

import json
import os
import secrets
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import Connection, Table, Text, delete, func, insert, select, text, update

from journeylab.connectors.pushed import facts_of
from journeylab.errors import DataError
from journeylab.jsontext import data_of
from journeylab.sender.audit import reading as audit
from journeylab.sender.live.drops import files_naming
from journeylab.sender.live.intake import record
from journeylab.sender.live.ticks import advance
from journeylab.sender.logs import logger
from journeylab.sender.sending.journal import KEPT_FOR
from journeylab.sender.sending.notices import tell
from journeylab.sender.sending.states import IN_FLIGHT, WAITING, move
from journeylab.sender.store import Store, act, insert_missing, lock_contacts
from journeylab.sender.store import tables as t
from journeylab.sender.store.bulk import among

if TYPE_CHECKING:
    from journeylab.sender.keys import Keys
    from journeylab.sender.live.running import Running
    from journeylab.sender.settings import Settings

__all__ = ["Erased", "erase", "forgotten_of", "repeat", "stand_in"]

_FILE: Final = "erasures.jsonl"
_KEPT_OF: Final[tuple[Table, ...]] = (t.entries, t.visits, t.sends, t.calls, t.consents)
_STAND_IN: Final = "erased-"


@dataclass(frozen=True, slots=True)
class Erased:
    """The receipt of an erasure; it names nobody.

    Attributes:
        stand_in: the id of what is left.
        erased_at: the instant of the erasure, aware UTC.
        n_deleted: how many rows went, by table.
        n_suppressed: to how many addresses nothing is sent any more.
        n_on_their_way: how many messages were on their way; when their outcome is known the contact's id goes, too.
        is_finished: whether that has happened.
        receipts_until: when the last receipt of a relay that names the contact's id is gone from this machine's disk.
        backups_until: when the last backup that holds the data key is gone, as the settings say.
        files: files that were refused on coming in and name the contact; delete them.
    """

    stand_in: str
    erased_at: datetime
    n_deleted: dict[str, int]
    n_suppressed: int
    n_on_their_way: int
    is_finished: bool
    receipts_until: datetime
    backups_until: datetime
    files: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """The receipt as plain data, instants in ISO 8601."""
        return {
            "stand_in": self.stand_in, "erased_at": self.erased_at.isoformat(), "n_deleted": self.n_deleted,
            "n_suppressed": self.n_suppressed, "n_on_their_way": self.n_on_their_way, "is_finished": self.is_finished,
            "receipts_until": self.receipts_until.isoformat(),
            "backups_until": self.backups_until.isoformat(), "files": list(self.files),
        }  # fmt: skip


def erase(
    store: Store,
    settings: Settings,
    running: Callable[[Connection], Running],
    contact: str,
    *,
    reason: str,
    actor: str,
) -> Erased:
    """The receipt of an erasure, which is done when this returns; see the module's text.

    Args:
        store: the sender's database, opened with its keys.
        settings: the sender's.
        running: gives what runs, so that journeys end by the machine's own rules.
        contact: whose data go.
        reason: why, in a few words that name nobody: "asked for, ticket 17".
        actor: who does it.

    Raises:
        DataError: when there is no such contact, or it is erased already.
    """
    with store.writing() as connection:
        now = store.now(connection)
        at = lock_contacts(connection, [contact], now).get(contact)
        row = connection.execute(select(t.contacts).where(t.contacts.c.contact == contact)).one_or_none()
        if at is None or row is None:
            raise DataError(f"there is no contact {contact!r}")
        if row.sealed_key is None:
            raise DataError(f"the contact {contact!r} is erased already")
        record(connection, contact, "erased", at)
        connection.execute(
            update(t.contacts).where(t.contacts.c.contact == contact).values(held_because=None, last_at=at)
        )
        try:
            with connection.begin_nested():
                advance(connection, running(connection), [contact], max(at, now))
        except Exception as problem:
            # Whom the machine cannot advance is erased all the same.
            logger("erasure").warning("not advanced", problem=type(problem).__name__)
            _ended(connection, contact, at)
        digests = _digests(connection, contact)
        rows = [{"address_digest": one, "reason": "erased", "at": at, "message_key": None} for one in digests]
        insert_missing(connection, t.suppressions, rows, ["address_digest"])
        name = _STAND_IN + secrets.token_hex(16)
        n_deleted = _deleted(connection, contact)
        insert_missing(connection, t.forgotten, [{"digest": _digest(store.keys, contact)}], ["digest"])
        erasure = {"stand_in": name, "contact": contact, "erased_at": at, "reason": reason}
        connection.execute(insert(t.erasures), erasure)
        connectors = settings.connectors.values()
        if settings.crm is not None or any("contact.erased" in facts_of(one.push) for one in connectors):
            tell(connection, "crm", f"erased_{name}", "contact.erased", {"contact": contact}, at)
        n_left = _on_their_way(connection, contact)
        if not n_left:
            _rename(connection, contact, name, at)
        act(connection, at, actor, "erased", name, reason=reason, n_suppressed=len(digests))
    _note(settings, store.keys, contact, name, at, digests)
    _clean(store)
    return Erased(
        name, at, n_deleted, len(digests), n_left, not n_left, at + KEPT_FOR, at + settings.backups,
        _files(settings, contact),
    )  # fmt: skip


def _ended(connection: Connection, contact: str, at: datetime) -> None:
    """Ends what a contact is inside of as rule 14 does, without the machine."""
    for table, ended in ((t.entries, {"left_at": at, "exit": "erased"}), (t.visits, {"left_at": at})):
        is_open = (table.c.contact == contact) & table.c.left_at.is_(None)
        connection.execute(update(table).where(is_open).values(**ended))
    waiting = select(t.sends.c.message_key).where(t.sends.c.contact == contact, t.sends.c.state.in_(WAITING))
    for key in connection.scalars(waiting).all():
        move(connection, key, WAITING, "cancelled", reason="left", settled_at=at)


def _digests(connection: Connection, contact: str) -> list[str]:
    """The digests of all addresses that a contact was written to at, or has."""
    found = {connection.scalar(select(t.contacts.c.address_digest).where(t.contacts.c.contact == contact))}
    written = select(t.renderings.c.address_digest).join(t.sends).where(t.sends.c.contact == contact)
    return sorted({one for one in (*found, *connection.scalars(written)) if one})


def _deleted(connection: Connection, contact: str) -> dict[str, int]:
    """Deletes what tells of a contact; how many rows, by table."""
    mine = select(t.sends.c.message_key).where(t.sends.c.contact == contact)
    wanted = {
        "events": delete(t.events).where(t.events.c.contact == contact),
        "renderings": delete(t.renderings).where(t.renderings.c.message_key.in_(mine)),
        "hits": delete(t.hits).where(t.hits.c.message_key.in_(mine)),
        "approvals": delete(t.approvals).where(t.approvals.c.contact == contact),
        "inbox": delete(t.inbox).where(t.inbox.c.contact == contact),
        "pulled": delete(t.pulled).where(t.pulled.c.item == contact, t.pulled.c.kind == "contact"),
        "said": delete(t.said).where(t.said.c.contact == contact),
        "outdated": delete(t.outdated).where(t.outdated.c.contact == contact),
        "outbox": delete(t.outbox).where(t.outbox.c.body.cast(Text).contains(json.dumps(contact), autoescape=True)),
    }
    n = {name: connection.execute(statement).rowcount for name, statement in wanted.items()}
    connection.execute(update(t.consents).where(t.consents.c.contact == contact).values(evidence=b""))
    connection.execute(update(t.sends).where(t.sends.c.contact == contact).values(reply=None, choice=None))
    connection.execute(update(t.calls).where(t.calls.c.contact == contact).values(reply=None))
    gone = {"sealed_key": None, "address": None, "address_digest": None, "attributes": None, "next_at": None}
    connection.execute(update(t.contacts).where(t.contacts.c.contact == contact).values(**gone))
    n["audit"] = audit.erase(connection, contact)
    return n


def _on_their_way(connection: Connection, contact: str) -> int:
    waits = (t.sends.c.contact == contact) & t.sends.c.state.in_(IN_FLIGHT)
    return connection.scalar(select(func.count()).select_from(t.sends).where(waits)) or 0


def _rename(connection: Connection, contact: str, name: str, at: datetime) -> None:
    """Gives what is left of a contact to its stand-in."""
    keys = connection.scalars(select(t.sends.c.message_key).where(t.sends.c.contact == contact)).all()
    for key in keys:
        for of in (t.renderings, t.hits):
            connection.execute(delete(of).where(of.c.message_key == key))
        unknown = update(t.suppressions).where(t.suppressions.c.message_key == key)
        connection.execute(unknown.values(message_key=None))
    for column in (t.sends.c.message_key, t.calls.c.call_key):
        found = select(column).where(column.table.c.contact == contact)
        for key in connection.scalars(found).all():
            again = update(column.table).where(column == key).values({column.name: secrets.token_hex(16)})
            connection.execute(again)
    mine = update(t.consents).where(t.consents.c.contact == contact)
    connection.execute(mine.values(message_key=None, request_key=None))
    for table in (*_KEPT_OF, t.contacts):
        connection.execute(update(table).where(table.c.contact == contact).values(contact=name))
    connection.execute(delete(t.events).where(t.events.c.contact == contact))
    done = update(t.erasures).where(t.erasures.c.stand_in == name)
    connection.execute(done.values(contact=None, finished_at=at))


def stand_in(connection: Connection, now: datetime) -> int:
    """How many erasures were finished, whose last messages have come to their ends; a chore of the sender."""
    n = 0
    for one in connection.execute(select(t.erasures).where(t.erasures.c.contact.is_not(None))).all():
        if not _on_their_way(connection, one.contact):
            _rename(connection, one.contact, one.stand_in, now)
            n += 1
    return n


def forgotten_of(connection: Connection, keys: Keys, contacts: Collection[str]) -> set[str]:
    """Those of some ids whose person was erased and has not been brought in again."""
    digests = {_digest(keys, one): one for one in contacts}
    found = connection.scalars(select(t.forgotten.c.digest).where(among(connection, t.forgotten.c.digest, [*digests])))
    gone = {digests[one] for one in found}
    c = t.contacts.c
    there = select(c.contact).where(among(connection, c.contact, [*gone]), c.sealed_key.is_not(None))
    return gone - {*connection.scalars(there)} if gone else gone


def _clean(store: Store) -> None:
    """Takes what was deleted out of the database's files, as far as the database lets one."""
    if store.is_sqlite:
        with store.engine.connect() as connection:
            connection.exec_driver_sql("commit")  # a checkpoint is no part of a transaction
            connection.exec_driver_sql("pragma wal_checkpoint(truncate)")
        return
    with store.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        for table in (
            *_KEPT_OF,
            t.contacts,
            t.events,
            t.renderings,
            t.hits,
            t.inbox,
            t.pulled,
            t.said,
            t.outbox,
            t.audit,
        ):
            connection.execute(text(f"vacuum {table.name}"))


# Beside the database


def _file(settings: Settings) -> Path:
    return settings.path(settings.state) / _FILE


def _note(settings: Settings, keys: Keys, contact: str, name: str, at: datetime, digests: list[str]) -> None:
    line = {"contact": _digest(keys, contact), "stand_in": name, "erased_at": at.isoformat(), "addresses": digests}
    path = _file(settings)
    path.parent.mkdir(parents=True, exist_ok=True)
    with os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600), "ab+") as file:
        file.seek(0)
        file.truncate(file.read().rfind(b"\n") + 1)  # what a crash left half written, to which this must not be joined
        file.write(json.dumps(line).encode() + b"\n")
        file.flush()
        os.fsync(file.fileno())


def _digest(keys: Keys, contact: str) -> str:
    return keys.digest("erasure", contact.encode()).hex()


def _noted(settings: Settings) -> Iterator[dict[str, Any]]:
    """The notes of erasures; a last line without its end is none yet.

    Raises:
        DataError: when another line is none, naming it.
    """
    path = _file(settings)
    try:
        lines = path.read_bytes().split(b"\n")[:-1]
    except FileNotFoundError:
        return
    for number, line in enumerate(lines, 1):
        try:
            one = data_of(line)
            texts = [one[name] for name in ("contact", "stand_in", "erased_at")]
            is_one = (
                all(isinstance(text, str) for text in texts) and datetime.fromisoformat(texts[2]).tzinfo is not None
            )
        except (ValueError, TypeError, KeyError):
            is_one = False
        if not is_one:
            raise DataError(
                f"{path}:{number}: no note of an erasure; restore the file from its copy, or the person whom it was of "
                "comes back with a database that is restored"
            )
        yield one


def repeat(
    store: Store, settings: Settings, running: Callable[[Connection], Running], *, actor: str
) -> int:  # fmt: skip
    """How many erasures were done again, as the database was restored from a copy that does not know of them.

    The arguments are those of `erase`.
    """
    noted = {one["stand_in"]: one for one in _noted(settings)}
    with store.reading() as connection:
        missing = noted.keys() - {*connection.scalars(select(t.erasures.c.stand_in))}
        wanted = {noted[name]["contact"]: datetime.fromisoformat(noted[name]["erased_at"]) for name in missing}
        known = select(t.contacts.c.contact, t.contacts.c.created_at).where(t.contacts.c.sealed_key.is_not(None))
        again = [
            contact
            for contact, created_at in (connection.execute(known) if wanted else ())
            if (at := wanted.get(_digest(store.keys, contact))) is not None and created_at < at
        ]
    for contact in again:
        erase(store, settings, running, contact, reason="erased before the database was restored", actor=actor)
    return len(again)


def _files(settings: Settings, contact: str) -> tuple[str, ...]:
    """Deletes files that were taken and name a contact; which of the refused ones do."""
    left = []
    for path in files_naming(settings, contact):
        if path.parent.name == "taken":
            path.unlink(missing_ok=True)
        else:
            left.append(str(path))
    return tuple(left)
