"""Proofs of entries: files by which whoever has the public key alone can see that an entry is in the log.

A contact can be given the proof of all that was recorded of its consent. It has the entries with contact, details and
salts, so it is as personal as they are.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from sqlalchemy import Connection, select

from journeylab.errors import DataError
from journeylab.jsontext import data_of
from journeylab.sender.store import tables as t

from .checkpoints import Checkpoint, PublicKey, opened
from .entries import Entry, instant_of
from .reading import Unreadable, entries_of, leaves_of
from .tree import Tree, is_included

__all__ = ["Proven", "proof_of", "proven"]

_FORMAT: Final = "journeylab audit proof 1"


@dataclass(frozen=True)
class Proven:
    """What a proof shows: the entries, and the checkpoint by which they were in the log."""

    checkpoint: Checkpoint
    entries: tuple[Entry, ...]


def proof_of(
    connection: Connection, key: PublicKey, *, contact: str | None = None, seq: int | None = None
) -> tuple[dict[str, Any], int]:
    """The proof of a contact's entries or of one entry, as plain data, and how many came after the last checkpoint.

    Args:
        connection: any transaction.
        key: by which checkpoints are signed.
        contact: whose entries.
        seq: or which entry.

    Raises:
        DataError: when there are none, no checkpoint yet, or the log is not what its last checkpoint says.
    """
    last = select(t.checkpoints.c.note).order_by(t.checkpoints.c.checkpoint_id.desc()).limit(1)
    note = connection.scalar(last)
    if note is None:
        raise DataError("there is no checkpoint yet; `journeylab run` makes one every 5 minutes")
    checkpoint = opened(note, key)
    wanted = t.audit.c.contact == contact if seq is None else t.audit.c.seq == seq
    whose = f"of {contact!r}" if seq is None else f"with the number {seq}"
    found = [*entries_of(connection, wanted)]
    if not found:
        raise DataError(f"there is no entry {whose} in the audit log")
    tree = Tree(leaves_of(connection, until=checkpoint.size))
    if len(tree) < checkpoint.size or tree.root(checkpoint.size) != checkpoint.root:
        raise DataError("the audit log is not what its last checkpoint says; `journeylab audit verify` shows where")
    ready = [one for one in found if one.seq <= checkpoint.size]
    if not ready:
        raise DataError(f"what there is {whose} came after the last checkpoint; ask again in 5 minutes")
    entries = []
    for one in ready:
        if isinstance(one, Unreadable) or one.fault:
            raise DataError(f"entry {one.seq} was changed; `journeylab audit verify` shows how")
        entries.append(_plain(one) | {"proof": [node.hex() for node in tree.inclusion(one.seq - 1, checkpoint.size)]})
    return {"format": _FORMAT, "checkpoint": note, "entries": entries}, len(found) - len(ready)


def _plain(entry: Entry) -> dict[str, Any]:
    return {
        "seq": entry.seq, "at": instant_of(entry.at), "actor": entry.actor, "action": entry.action,
        "object": entry.object, "contact": entry.contact, "details": entry.details,
        "salt": None if entry.salt is None else entry.salt.hex(), "commitment": entry.commitment.hex(),
        "leaf_hash": entry.leaf_hash.hex(),
    }  # fmt: skip


def proven(text: str, key: PublicKey) -> Proven:
    """What a proof shows; nothing but the text and the key is needed.

    Raises:
        DataError: when it shows nothing, saying which entry is at fault.
    """
    try:
        data = data_of(text)
        if data["format"] != _FORMAT:
            raise ValueError
        note, given = str(data["checkpoint"]), [(_entry(one), _hashes(one["proof"])) for one in data["entries"]]
    except (KeyError, TypeError, ValueError, OverflowError):
        raise DataError("it is no proof; `journeylab audit prove` writes one") from None
    checkpoint = opened(note, key)
    if not given:
        raise DataError("it proves nothing: there is no entry in it")
    for entry, hashes in given:
        if entry.fault:
            raise DataError(f"entry {entry.seq} is not as it was recorded: {entry.fault}")
        if not is_included(entry.leaf_hash, entry.seq - 1, checkpoint.size, hashes, checkpoint.root):
            raise DataError(f"entry {entry.seq} is not in the log that the checkpoint is of")
    return Proven(checkpoint, tuple(entry for entry, _ in given))


def _hashes(given: Sequence[str]) -> list[bytes]:
    return [bytes.fromhex(one) for one in given]


def _entry(given: Mapping[str, Any]) -> Entry:
    salt = given["salt"]
    return Entry(
        int(given["seq"]), datetime.fromisoformat(given["at"]).astimezone(UTC), str(given["actor"]),
        str(given["action"]), str(given["object"]), given["contact"], given["details"],
        None if salt is None else bytes.fromhex(salt), bytes.fromhex(given["commitment"]),
        bytes.fromhex(given["leaf_hash"]),
    )  # fmt: skip
