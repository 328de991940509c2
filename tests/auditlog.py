"""An audit log without a database, what has left of it, and what attackers make of it."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cache
from hashlib import sha256
from typing import Any

from journeylab.sender.audit.checkpoints import Checkpoint, Signer
from journeylab.sender.audit.entries import Entry, sealed
from journeylab.sender.audit.folder import Outside
from journeylab.sender.audit.reading import Kept
from journeylab.sender.audit.tree import Frontier
from journeylab.sender.audit.verifying import Verification, verified

START = datetime(2026, 3, 2, 9, tzinfo=UTC)
SIGNER = Signer("shop", bytes(range(32)))
"""The sender's."""
THIEF = Signer("shop", bytes(32))
"""Somebody else's."""


@cache
def entry(seq: int, text: str = "") -> Entry:
    """An entry that says its number, or something else."""
    given: dict[str, Any] = {
        "at": START + timedelta(minutes=seq), "actor": "kim", "action": "pause", "what": f"journey{seq}",
        "contact": f"c{seq}" if seq % 2 else None, "details": {"reason": text or f"reason {seq}"},
        "salt": sha256(f"{seq}{text}".encode()).digest(),
    }  # fmt: skip
    return sealed(seq, **given)


def numbered(entries: Sequence[Entry]) -> list[Entry]:
    """Entries numbered anew and sealed again, as somebody would who covers up a change."""
    return [
        sealed(
            seq, one.at, one.actor, one.action, one.object, one.contact, one.details or {}, one.salt or bytes(32)
        )
        if one.seq != seq or one.fault
        else one
        for seq, one in enumerate(entries, 1)
    ]  # fmt: skip


def frontier_of(entries: Sequence[Entry]) -> Frontier:
    return Frontier().grown(one.leaf_hash for one in entries)


@dataclass
class Log:
    """A log of n entries with checkpoints after some of them, in the database and outside."""

    entries: list[Entry]
    sizes: tuple[int, ...]
    tree: Frontier = field(default_factory=Frontier)
    kept: list[Kept] = field(default_factory=list)
    outside: list[Outside] = field(default_factory=list)

    @classmethod
    def of(cls, n: int, every: int = 16, signer: Signer = SIGNER, entries: list[Entry] | None = None) -> Log:
        log = cls(entries or [entry(seq) for seq in range(1, n + 1)], (*range(0, n, every), n))
        log.tree = frontier_of(log.entries)
        log.kept = log.signed(log.sizes, signer)
        log.outside = log.left(log.sizes, signer)
        return log

    def stated(self, size: int) -> Checkpoint:
        at = START + timedelta(minutes=size, seconds=30)
        return Checkpoint("shop", size, frontier_of(self.entries[:size]).root, at)

    def signed(self, sizes: Sequence[int], signer: Signer = SIGNER) -> list[Kept]:
        return [
            Kept(number, made.at, made.size, made.root.hex(), made.signed(signer))
            for number, made in enumerate((self.stated(size) for size in sizes), 1)
        ]

    def left(self, sizes: Sequence[int], signer: Signer = SIGNER) -> list[Outside]:
        found, last = [], 0
        for size in sizes:
            leaves = tuple(one.leaf_hash for one in self.entries[last:size])
            found.append(Outside(f"{size}.checkpoint", self.stated(size), None, last + 1, leaves))
            last = size
        return found

    def covered(self, entries: Sequence[Entry], *, key: bool = False) -> Log:
        """The log in which somebody has put other entries, with everything in the database that fits them."""
        made = Log(numbered(entries), self.sizes)
        made.tree = frontier_of(made.entries)
        made.kept = made.signed([size for size in self.sizes if size <= len(entries)]) if key else self.kept
        made.outside = self.outside
        return made

    def replaced(self, **changed: Any) -> Log:
        return dataclasses.replace(self, **changed)

    def verified(self, *, leaves: bool = True, outside: bool = True) -> Verification:
        theirs = self.outside if outside else []
        if not leaves:
            theirs = [one._replace(leaves=()) for one in theirs]
        return verified(self.entries, self.tree, self.kept, theirs, SIGNER.key)


def located(found: Verification) -> int | None:
    """The number of the first entry at which there is a fault."""
    return min((one.first for one in found.faults if one.first is not None), default=None)
