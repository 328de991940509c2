"""What is known of persons, opened by whoever may: each look is an entry of the audit log, and may take four eyes."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import Connection

from journeylab.sender.acting import acting
from journeylab.sender.approvals import NEEDED, Approval, Kind, Wanted, approved_or_asked
from journeylab.sender.live.inspection import known_of
from journeylab.sender.live.productionlog import Exported, export
from journeylab.sender.store import Store, act

from .copies import copy_of

if TYPE_CHECKING:
    from journeylab.sender.acting import Acting
    from journeylab.sender.settings import Settings

__all__ = ["copied", "exported", "revealed"]

_DONE: Final[dict[Kind, str]] = {"reveal": "contact_revealed", "copy": "contact_copied"}


def revealed(
    store: Store, settings: Settings, contact: str, *, purpose: str | None = None, actor: str | None = None
) -> dict[str, Any] | Approval:
    """All that `contacts show` knows of a contact, with its personal data.

    Where the settings' `four_eyes` want a second person and none has approved it, one is asked: that request is what
    comes back, and nothing is shown.

    Args:
        store: the sender's database, opened with its keys.
        settings: the sender's.
        contact: its id.
        purpose: what for; who approves reads it.
        actor: as whom; by default who acts in this process.

    Raises:
        DataError: when who acts may not, there is no such contact, or a purpose is wanted.
    """
    return _opened(store, settings, "reveal", contact, purpose, actor, lambda by: known_of(by, contact, reveal=True))


def copied(
    store: Store, settings: Settings, contact: str, *, purpose: str | None = None, actor: str | None = None
) -> dict[str, Any] | Approval:
    """A copy of all that is known of a contact (`copies.copy_of`), or the request for it; as `revealed`."""
    return _opened(store, settings, "copy", contact, purpose, actor, lambda by: copy_of(by, contact))


def exported(
    store: Store, settings: Settings, events: Path, contacts: Path, *, purpose: str | None = None,
    actor: str | None = None,
) -> Exported | Approval:  # fmt: skip
    """What an export of the production log has (`productionlog.export`), or the request for it; as `revealed`.

    Args:
        store: the sender's database, opened with its keys.
        settings: the sender's.
        events: where the events go.
        contacts: where the contacts go.
        purpose: what for; who approves reads it.
        actor: as whom; by default who acts in this process.

    Raises:
        DataError: when who acts may not, or a purpose is wanted.
    """
    who = acting(settings)
    by = who.named(actor)
    who.require(NEEDED["export"])
    with store.writing() as connection:
        wanted = Wanted("export", "production log", purpose)
        details = _cleared(connection, settings, who, wanted, store.now(connection), by)
    if not isinstance(details, dict):
        return details
    done = export(store, events, contacts)
    with store.writing() as connection:
        n: dict[str, Any] = {"n_events": done.n_events, "n_contacts": done.n_contacts}
        act(connection, store.now(connection), by, "log_exported", "production log", **details, **n)
    return done


def _cleared(
    connection: Connection, settings: Settings, who: Acting, wanted: Wanted, now: datetime, actor: str
) -> dict[str, Any] | Approval:
    """What the audit log is to say of it, where it may be done; else the request, which waits for a second person."""
    if settings.four_eyes is None or not settings.four_eyes.reveals:
        return {} if wanted.purpose is None else {"purpose": wanted.purpose}
    one = approved_or_asked(connection, settings, who, wanted, now, actor=actor)
    if not one.holds(settings):
        return one
    return {"purpose": one.purpose, "approval": one.approval_id, "approved_by": one.approved_by}


def _opened(
    store: Store, settings: Settings, kind: Kind, contact: str, purpose: str | None, actor: str | None,
    look: Callable[[Connection], dict[str, Any]],
) -> dict[str, Any] | Approval:  # fmt: skip
    who = acting(settings)
    who.require(NEEDED[kind])
    by = who.named(actor)
    with store.writing() as connection:
        now, found = store.now(connection), look(connection)
        wanted = Wanted(kind, "contact", purpose, contact=contact)
        details = _cleared(connection, settings, who, wanted, now, by)
        if not isinstance(details, dict):
            return details
        act(connection, now, by, _DONE[kind], "contact", contact=contact, **details)
    return found
