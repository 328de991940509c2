"""What is known of a person, opened by whoever may: each look is an entry of the audit log, and may take four eyes."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import Connection

from journeylab.sender.acting import acting
from journeylab.sender.approvals import NEEDED, Approval, Kind, Wanted, approved_or_asked
from journeylab.sender.live.inspection import known_of
from journeylab.sender.store import Store, act

from .copies import copy_of

if TYPE_CHECKING:
    from journeylab.sender.settings import Settings

__all__ = ["copied", "revealed"]

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


def _opened(
    store: Store, settings: Settings, kind: Kind, contact: str, purpose: str | None, actor: str | None,
    look: Callable[[Connection], dict[str, Any]],
) -> dict[str, Any] | Approval:  # fmt: skip
    who = acting(settings)
    who.require(NEEDED[kind])
    by = actor or who.name
    details = {} if purpose is None else {"purpose": purpose}
    with store.writing() as connection:
        now, found = store.now(connection), look(connection)
        if settings.four_eyes is not None and settings.four_eyes.reveals:
            wanted = Wanted(kind, "contact", purpose, contact=contact)
            one = approved_or_asked(connection, settings, who, wanted, now, actor=by)
            if not one.holds(settings):
                return one
            details = {"purpose": one.purpose, "approval": str(one.approval_id), "approved_by": str(one.approved_by)}
        act(connection, now, by, _DONE[kind], "contact", contact=contact, **details)
    return found
