"""Retention: what nobody needs any more goes by itself, each kind after the time that the settings give it.

| what | after | by default |
|---|---|---|
| a person of whom nothing was heard and to whom nothing was sent | `inactive` | never: say how long |
| loads of pictures and followed links, which are events since | `hits` | 30 days |
| what outside systems were told | `told` | 30 days |
| files that were taken from the inbox | `files` | 7 days |

The bytes of messages and rows of the table `inbox` go after seven days in any case. A person who goes is erased
(`erasure`): figures stay, under a stand-in. Whoever is inside of a journey is not inactive. Single events of those who
stay are kept, as their past decides what a journey does with them.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import TYPE_CHECKING, NamedTuple

from sqlalchemy import Connection, delete, select

from journeylab.sender.live.drops import taken_files
from journeylab.sender.store import Store
from journeylab.sender.store import tables as t

from .erasure import erase

if TYPE_CHECKING:
    from journeylab.sender.live.running import Running
    from journeylab.sender.settings import Settings

__all__ = ["Retained", "retain"]


class Retained(NamedTuple):
    """How many persons were erased, and how many hits, told things and files were deleted."""

    n_erased: int
    n_hits: int
    n_told: int
    n_files: int


def retain(
    store: Store,
    settings: Settings,
    running: Callable[[Connection], Running],
    now: datetime,
    *,
    most: int = 100,
) -> Retained:
    """What went, as its time was over; see the module's text.

    Args:
        store: the sender's database, opened with its keys.
        settings: the sender's, whose `retention` says how long.
        running: gives what runs.
        now: the store's instant.
        most: how many persons are erased at once.
    """
    kept = settings.retention
    with store.writing() as connection:
        hits = delete(t.hits).where(t.hits.c.settled_at < now - kept.hits)
        n_hits = connection.execute(hits).rowcount
        told = delete(t.outbox).where(t.outbox.c.delivered_at < now - kept.told)
        n_told = connection.execute(told).rowcount
        inactive = [] if kept.inactive is None else _inactive(connection, now - kept.inactive, most)
    for contact in inactive:
        erase(store, settings, running, contact, reason="inactive", actor="retention")
    n_files = 0
    for path in taken_files(settings):
        if path.stat().st_mtime < (now - kept.files).timestamp():
            path.unlink(missing_ok=True)
            n_files += 1
    return Retained(len(inactive), n_hits, n_told, n_files)


def _inactive(connection: Connection, since: datetime, most: int) -> list[str]:
    c, n = t.contacts.c, t.entries.c
    is_inside = select(n.contact).where(n.contact == c.contact, n.left_at.is_(None)).exists()
    found = (
        select(c.contact)
        .where(c.last_at < since, c.next_at.is_(None), c.sealed_key.is_not(None), ~is_inside)
        .order_by(c.last_at)
        .limit(most)
    )
    return [*connection.scalars(found)]
