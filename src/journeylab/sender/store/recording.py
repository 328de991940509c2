"""Recording what people and automata do: entries of the audit log, in the transaction of the change.

`act` only puts an entry down; `Store.writing` seals all of its transaction just before the commit. So the row of the
tree, which makes all writers wait for each other, is the last lock that is taken and the shortest one held: numbers are
without gaps, in the order of commits, and nothing can wait for another in a circle.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import Any, Final, NamedTuple

from sqlalchemy import Connection, select, update

from journeylab.errors import DataError
from journeylab.sender.audit.entries import ERASED, SALT, sealed
from journeylab.sender.audit.tree import SIZE, Frontier

from . import tables as t
from .bulk import Bulk, insert_into

__all__ = ["act", "frontier_of", "note_erased", "recorded"]

_WAITING: Final = "entries of the audit log"
_GONE: Final = "erased entries of the audit log"


class _Act(NamedTuple):
    at: datetime
    actor: str
    action: str
    what: str
    contact: str | None
    details: dict[str, Any]


def act(
    connection: Connection, at: datetime, actor: str, action: str, what: str, *, contact: str | None = None,
    **details: Any,
) -> None:  # fmt: skip
    """Notes what a person or an automaton did to the sender, in the transaction in which it is done.

    Args:
        connection: of `Store.writing`.
        at: the store's instant.
        actor: who does it; `contact` for those to whom mail goes.
        action: what is done.
        what: the object; nothing in it is a person's, as it stays for ever.
        contact: whom it concerns, if anybody.
        details: plain data, with whole numbers only; they can be erased with the contact.

    Raises:
        ValueError: at the commit, for details that are no plain data.
    """
    connection.info[_WAITING].append(_Act(at, actor, action, what, contact, details))


@contextmanager
def recorded(connection: Connection) -> Iterator[None]:
    """Seals what `act` puts down inside, at the end."""
    waiting: list[_Act] = []
    erased: list[int] = []
    connection.info[_WAITING], connection.info[_GONE] = waiting, erased
    try:
        yield
        if erased:
            _name(waiting, erased)
        if waiting:
            _seal(connection, waiting)
    finally:
        del connection.info[_WAITING], connection.info[_GONE]


def note_erased(connection: Connection, numbers: Sequence[int]) -> None:
    """Gives the numbers of entries that are erased in this transaction to its entry `erased`."""
    connection.info[_GONE].extend(numbers)


def _name(acts: list[_Act], erased: list[int]) -> None:
    for place, one in enumerate(acts):
        if one.action == ERASED and one.contact is None:
            acts[place] = one._replace(details={**one.details, "entries": sorted(erased)})
            return
    raise ValueError("entries of the audit log are erased by a transaction that says so, with the action `erased`")


def _seal(connection: Connection, acts: list[_Act]) -> None:
    row = connection.execute(_LOCKED).one_or_none()
    if row is None:
        first = insert_into(connection, t.audit_tree).values(tree=1, size=0, frontier="")
        connection.execute(first.on_conflict_do_nothing())
        row = connection.execute(_LOCKED).one()
    try:
        frontier = frontier_of(row.size, row.frontier)
    except ValueError:
        raise DataError(
            "the audit log is damaged, and nothing is done that is not recorded; see `journeylab audit verify`"
        ) from None
    entries = [
        sealed(seq, one.at, one.actor, one.action, one.what, one.contact, one.details, secrets.token_bytes(SALT))
        for seq, one in enumerate(acts, frontier.size + 1)
    ]
    _ENTRIES.run(
        connection,
        [
            (
                one.seq, one.at, one.actor, one.action, one.object, one.contact, _json(one.details),
                one.salt and one.salt.hex(), one.commitment.hex(), one.leaf_hash.hex(),
            )
            for one in entries
        ],
    )  # fmt: skip
    grown = frontier.grown(one.leaf_hash for one in entries)
    hashes = b"".join(grown.hashes).hex()
    connection.execute(update(t.audit_tree).values(size=grown.size, frontier=hashes))


_ENTRY: Final = (
    "seq", "at", "actor", "action", "object", "contact", "details", "salt", "commitment", "leaf_hash",
)  # fmt: skip
_ENTRIES: Final = Bulk(lambda given: given.into(t.audit, *_ENTRY), *_ENTRY)
_json: Final = json.JSONEncoder(ensure_ascii=False, sort_keys=True).encode
_LOCKED: Final = select(t.audit_tree).with_for_update()


def frontier_of(size: int, hashes: str) -> Frontier:
    """The tree's frontier as its row has it: all hashes in one hexadecimal text.

    Raises:
        ValueError: when it is no frontier of that size.
    """
    data = bytes.fromhex(hashes)
    if size < 0 or len(data) != SIZE * size.bit_count():
        raise ValueError(f"it is no frontier of {size} entries")
    return Frontier(size, tuple(data[at : at + SIZE] for at in range(0, len(data), SIZE)))
