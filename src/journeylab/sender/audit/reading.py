"""The audit log as the database has it: entries, checkpoints, the tree; and what is erased of a contact."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any, Final, NamedTuple

from sqlalchemy import Connection, Text, func, select, text, type_coerce, update

from journeylab.sender.store import tables as t
from journeylab.sender.store.recording import frontier_of, note_erased

from .entries import Entry
from .tree import Frontier

__all__ = [
    "Kept", "Unreadable", "count_of", "entries_of", "erase", "kept_checkpoints", "leaves_of", "read_frontier",
    "size_of",
]  # fmt: skip

_CHUNK: Final = 5000


class Unreadable(NamedTuple):
    """A row that is no entry: its number, and why."""

    seq: int
    why: str


class Kept(NamedTuple):
    """A checkpoint as the database keeps it: the row's own facts beside the note; `at` is None where it is none."""

    checkpoint_id: int
    at: datetime | None
    size: int
    root: str
    note: str


def entries_of(
    connection: Connection, *conditions: Any, after: int = 0, most: int | None = None
) -> Iterator[Entry | Unreadable]:
    """The entries in their order, some at a time, whatever anybody has made of their rows.

    Args:
        connection: any transaction.
        conditions: on `audit`, for some of them.
        after: only those with a greater number.
        most: at most so many.
    """
    a = t.audit.c
    plain = [type_coerce(column, Text) if column.name == "details" else column for column in a if column.name != "at"]
    n_left = most
    while n_left is None or n_left > 0:
        n = _CHUNK if n_left is None else min(n_left, _CHUNK)
        wanted = (
            select(*plain, _plain(connection, a.at).label("at"))
            .where(a.seq > after, *conditions)
            .order_by(a.seq)
            .limit(n)
        )
        rows = connection.execute(wanted).all()
        for row in rows:
            yield _entry(row)
        if len(rows) < n:
            return
        after = rows[-1].seq
        n_left = None if n_left is None else n_left - n


def _plain(connection: Connection, at: Any) -> Any:
    """A column of instants as SQLite holds it: whatever text somebody has put there."""
    return type_coerce(at, Text) if connection.dialect.name == "sqlite" else at


def _instant(at: Any) -> datetime | None:
    try:
        return (at if isinstance(at, datetime) else datetime.fromisoformat(at + "+00:00")).astimezone(UTC)
    except (TypeError, ValueError):
        return None


def _entry(row: Any) -> Entry | Unreadable:
    try:
        at = _instant(row.at)
        details = None if row.details is None else json.loads(row.details)
        if not (details is None or isinstance(details, dict)):
            return Unreadable(row.seq, "its details are no details")
        texts = (row.actor, row.action, row.object, row.contact or "")
        if at is None or not all(isinstance(one, str) for one in texts):
            return Unreadable(row.seq, "its instant or its texts are none")
        return Entry(
            row.seq, at, row.actor, row.action, row.object, row.contact, details,
            None if row.salt is None else bytes.fromhex(row.salt), bytes.fromhex(row.commitment),
            bytes.fromhex(row.leaf_hash),
        )  # fmt: skip
    except (TypeError, ValueError, AttributeError) as problem:
        return Unreadable(row.seq, f"its row cannot be read: {type(problem).__name__}")


def leaves_of(connection: Connection, after: int = 0, until: int | None = None) -> list[bytes]:
    """The hashes of the leaves, of entries above `after` and up to `until`, as the rows have them."""
    a = t.audit.c
    wanted = select(a.leaf_hash).where(a.seq > after).order_by(a.seq)
    if until is not None:
        wanted = wanted.where(a.seq <= until)
    return [bytes.fromhex(one) for one in connection.scalars(wanted)]


def size_of(connection: Connection) -> int:
    """How many entries there are, by the tree's row."""
    return connection.scalar(select(t.audit_tree.c.size)) or 0


def read_frontier(connection: Connection) -> Frontier | None:
    """The tree as its row has it; None where that cannot be read."""
    row = connection.execute(select(t.audit_tree)).one_or_none()
    try:
        return Frontier() if row is None else frontier_of(row.size, row.frontier)
    except (TypeError, ValueError):
        return None


def kept_checkpoints(connection: Connection) -> list[Kept]:
    """The checkpoints that were made, in their order."""
    c = t.checkpoints.c
    rows = connection.execute(
        select(c.checkpoint_id, _plain(connection, c.at), c.size, c.root, c.note).order_by(c.checkpoint_id)
    )
    return [Kept(number, _instant(at), size, root, str(note)) for number, at, size, root, note in rows]


def erase(connection: Connection, contact: str) -> int:
    """How many entries a contact was erased from, with their details; the tree stays what it was.

    The transaction has to say so by an entry `erased` without the contact (`act`), which is given their numbers, so
    that what was erased without anybody's order shows.
    """
    if connection.dialect.name == "postgresql":
        numbers = [*connection.scalars(text("select audit_erase(:contact)"), {"contact": contact})]
    else:
        gone = update(t.audit).where(t.audit.c.contact == contact).values(contact=None, details=None, salt=None)
        numbers = [*connection.scalars(gone.returning(t.audit.c.seq))]
    note_erased(connection, numbers)
    return len(numbers)


def count_of(connection: Connection, *conditions: Any) -> int:
    """How many entries there are under conditions on `audit`."""
    return connection.scalar(select(func.count()).select_from(t.audit).where(*conditions)) or 0
