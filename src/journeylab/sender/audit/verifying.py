"""Verifying the audit log: whether it is what it was, and where it is not.

Three things are held against each other: the entries, the tree's row and the checkpoints that the database keeps, and
the checkpoints that have left the machine. Who may write to the database can change all of the first two but sign
nothing; who has the key, too, cannot change what has left. So what is before the newest checkpoint from outside is
found in any case; the entries after it, and a log without any, rest on the database alone.

A fault is located to the entry where the row itself does not fit, or where the leaves beside checkpoints are known;
else to the entries between two checkpoints.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Final, NamedTuple

from journeylab.display import counted
from journeylab.errors import DataError

from .checkpoints import Checkpoint, PublicKey, opened
from .entries import Entry
from .folder import Outside
from .reading import Kept, Unreadable
from .tree import Frontier

__all__ = ["Fault", "Verification", "verified"]

_MINUTE: Final = "%Y-%m-%d %H:%M:%S UTC"
_MOST_MISSING: Final = 10_000_000


class Fault(NamedTuple):
    """Something that is not as it was.

    Attributes:
        what: `edited`, `erased`, `missing`, `rewritten`, `cut_off`, `rolled_back`, `forked`, `tree` or `checkpoint`.
        text: what it is, in a sentence.
        first, last: the numbers of the first and the last entry that it is of; None where it is of none.
    """

    what: str
    text: str
    first: int | None = None
    last: int | None = None


@dataclass(frozen=True)
class Verification:
    """What verifying found.

    Attributes:
        n_entries, n_erased: how many entries there are, and of how many contact and details are erased.
        root: the tree's.
        n_kept, n_outside: how many checkpoints the database keeps, and how many are from outside.
        newest: the newest from outside that is one, or None.
        faults: what is wrong, in the order of the entries.
    """

    n_entries: int
    n_erased: int
    root: bytes
    n_kept: int
    n_outside: int
    newest: Checkpoint | None
    faults: tuple[Fault, ...]

    @property
    def is_well(self) -> bool:
        """Whether nothing is wrong."""
        return not self.faults

    @property
    def limits(self) -> list[str]:
        """What could not be seen, in sentences."""
        if self.newest is None:
            return [
                "no checkpoint from outside was given (--against): that entries were cut off at the end, or that the "
                "whole log was written anew by somebody who has the key, cannot be seen"
            ]
        n = max(0, self.n_entries - self.newest.size)
        since = f"the newest checkpoint from outside is of {self.newest.at:{_MINUTE}}, with "
        since += counted(self.newest.size, "entry")
        if n:
            since += f"; the {counted(n, 'entry')} after it rest on the database alone"
        return [since + "; that there was no later one is for whoever keeps them to say"]

    def to_dict(self) -> dict[str, Any]:
        """All of it as plain data."""
        newest = self.newest
        return {
            "n_entries": self.n_entries, "n_erased": self.n_erased, "root": self.root.hex(), "n_kept": self.n_kept,
            "n_outside": self.n_outside,
            "newest": newest and {"at": newest.at.isoformat(), "size": newest.size, "root": newest.root.hex()},
            "faults": [one._asdict() for one in self.faults], "limits": self.limits,
        }  # fmt: skip


def verified(
    entries: Iterable[Entry | Unreadable],
    frontier: Frontier | None,
    kept: Sequence[Kept],
    outside: Sequence[Outside],
    key: PublicKey,
) -> Verification:
    """What a log comes to.

    Args:
        entries: as `reading.entries_of` gives them.
        frontier: the tree's row; see `reading.read_frontier`.
        kept: the database's checkpoints.
        outside: those from outside; see `folder.outside`.
        key: by which checkpoints are signed.
    """
    faults: list[Fault] = []
    leaves, n, n_erased = _leaves(entries, faults)
    own = [*_own(kept, key, faults)]
    theirs = [one.checkpoint for one in outside if one.checkpoint is not None and one.fault is None]
    faults += [Fault("checkpoint", f"{one.source}: {one.fault}") for one in outside if one.fault]
    faults += _not_kept(own, theirs)
    known = _known_leaves(outside, faults)
    faults += _against(leaves, known)
    stated = sorted({*own, *theirs}, key=lambda one: (one.size, one.at))
    grown, roots = _roots(leaves, {one.size for one in stated})
    faults += _against_tree(frontier, grown, len(leaves), faults)
    faults += _against_checkpoints(stated, roots, len(leaves), max(known, default=0), faults)
    faults += _rolled_back(stated)
    newest = max(theirs, key=lambda one: (one.at, one.size), default=None)
    ordered = sorted(faults, key=lambda one: (one.first is None, one.first or 0))
    return Verification(n, n_erased, grown.root, len(kept), len(outside), newest, tuple(ordered))


def _leaves(entries: Iterable[Entry | Unreadable], faults: list[Fault]) -> tuple[list[bytes | None], int, int]:
    """The leaves by number, None where there is none, and how many entries there are and are erased."""
    leaves: list[bytes | None] = []
    erased, named = list[int](), set[int]()
    n = 0
    for one in entries:
        n += 1
        if one.seq <= len(leaves):
            faults.append(Fault("edited", f"entry {one.seq} is there more than once", one.seq, one.seq))
            continue
        if one.seq > len(leaves) + _MOST_MISSING:
            faults.append(Fault("edited", f"entry {one.seq} has a number that no entry had", one.seq, one.seq))
            continue
        if one.seq > len(leaves) + 1:
            first, last = len(leaves) + 1, one.seq - 1
            faults.append(Fault("missing", f"{_entries(first, last)} not there", first, last))
            leaves += [None] * (last - first + 1)
        problem = one.why if isinstance(one, Unreadable) else one.fault
        if problem:
            faults.append(Fault("edited", f"entry {one.seq} was changed: {problem}", one.seq, one.seq))
        if isinstance(one, Unreadable):
            leaves.append(None)
        else:
            leaves.append(one.leaf_hash)
            if one.is_erased:
                erased.append(one.seq)
            elif not problem:
                named.update(one.erases)
    for first, last in _runs([seq for seq in erased if seq not in named]):
        what = f"entry {first}" if first == last else f"entries {first} to {last}"
        text = f"contact and details of {what} are gone, and no entry says who erased them"
        faults.append(Fault("erased", text, first, last))
    return leaves, n, len(erased)


def _entries(first: int, last: int) -> str:
    return f"entry {first} is" if first == last else f"entries {first} to {last} are"


def _own(kept: Sequence[Kept], key: PublicKey, faults: list[Fault]) -> Iterator[Checkpoint]:
    """The checkpoints that the database keeps, and are ones."""
    last: Checkpoint | None = None
    for row in kept:
        place = f"checkpoint {row.checkpoint_id} in the database"
        try:
            found = opened(row.note, key)
        except DataError as problem:
            faults.append(Fault("checkpoint", f"{place}: {problem}"))
            continue
        if (found.at, found.size, found.root.hex()) != (row.at, row.size, row.root):
            faults.append(Fault("checkpoint", f"{place}: its note is another's, of {found.at:{_MINUTE}}"))
            continue
        if last is not None and found.at <= last.at:
            faults.append(Fault("checkpoint", f"{place}: it is not later than the one before it"))
        last = found
        yield found


def _not_kept(own: Sequence[Checkpoint], theirs: Sequence[Checkpoint]) -> Iterator[Fault]:
    """A checkpoint that has left and that the database does not keep: its own were cut, or it signed another log."""
    there = {*own}
    gone = sorted({one for one in theirs if one not in there}, key=lambda one: one.at)
    if gone:
        text = f"{counted(len(gone), 'checkpoint')} that left the machine, the first of {gone[0].at:{_MINUTE}}, "
        yield Fault("checkpoint", text + f"{'is' if len(gone) == 1 else 'are'} not in the database")


def _known_leaves(outside: Sequence[Outside], faults: list[Fault]) -> dict[int, bytes]:
    """The leaves that are known from outside, as far as signed roots confirm them."""
    known: dict[int, bytes] = {}
    frontier = Frontier()
    parts = [one for one in outside if one.checkpoint is not None and one.fault is None and one.leaves]
    for one in sorted(parts, key=lambda part: (part.checkpoint.size, part.checkpoint.at) if part.checkpoint else (0,)):
        if one.checkpoint is None or one.first > frontier.size + 1:
            break  # a part is missing; what follows cannot be confirmed
        grown = frontier.grown(one.leaves[frontier.size + 1 - one.first :])
        if grown.size == one.checkpoint.size and grown.root == one.checkpoint.root:
            known |= dict(enumerate(one.leaves, one.first))
            frontier = grown
        elif one.first == frontier.size + 1:
            faults.append(Fault("checkpoint", f"{one.source}: the leaves beside it are not those that it has signed"))
    return known


def _against(leaves: Sequence[bytes | None], known: dict[int, bytes]) -> Iterator[Fault]:
    """Entries whose leaves are others than those that have left."""
    n = len(leaves)
    differ = [seq for seq, leaf in sorted(known.items()) if seq <= n and leaves[seq - 1] not in (None, leaf)]
    for first, last in _runs(differ):
        what = f"entry {first} is" if first == last else f"entries {first} to {last} are"
        yield Fault("rewritten", f"{what} not what had left the machine", first, last)


def _runs(numbers: Sequence[int]) -> list[tuple[int, int]]:
    if not numbers:
        return []
    breaks = [(one, other) for one, other in pairwise(numbers) if other != one + 1]
    starts = [numbers[0], *(other for _, other in breaks)]
    return [*zip(starts, [*(one for one, _ in breaks), numbers[-1]], strict=True)]


def _roots(leaves: Sequence[bytes | None], sizes: set[int]) -> tuple[Frontier, dict[int, bytes]]:
    """The tree as far as all leaves are there, and its roots at some sizes."""
    frontier, roots = Frontier(), {}
    whole = next((at for at, leaf in enumerate(leaves) if leaf is None), len(leaves))
    start = 0
    for size in [*sorted(one for one in sizes if one <= whole), whole]:
        frontier = frontier.grown(leaf for leaf in leaves[start:size] if leaf is not None)
        start = size
        roots[size] = frontier.root
    return frontier, roots


def _against_tree(frontier: Frontier | None, grown: Frontier, n: int, faults: Sequence[Fault]) -> Iterator[Fault]:
    if frontier is None:
        yield Fault("tree", "the row of the tree cannot be read")
    elif frontier.size > n:
        yield Fault("cut_off", f"{_entries(n + 1, frontier.size)} not there, by the tree's row", n + 1, frontier.size)
    elif frontier != grown and not _explained(faults, n):
        first = frontier.size + 1 if frontier.size < n else None
        yield Fault("tree", f"the row of the tree is not of these {n} entries", first, None if first is None else n)


def _explained(faults: Sequence[Fault], size: int) -> bool:
    """Whether a fault is known already because of which the tree of a size must differ."""
    return any(
        one.what in ("missing", "rewritten", "edited") and one.first is not None and one.first <= size for one in faults
    )


def _against_checkpoints(
    stated: Sequence[Checkpoint], roots: dict[int, bytes], n: int, n_known: int, faults: Sequence[Fault]
) -> Iterator[Fault]:
    """What checkpoints say otherwise, where nothing else says why; the leaves of `n_known` entries are known."""
    longest = max((one.size for one in stated), default=0)
    if longest > n and not any(one.what == "cut_off" and one.last == longest for one in faults):
        first = min((one for one in stated if one.size > n), key=lambda one: one.at)
        text = f"{_entries(n + 1, longest)} not there; the checkpoint of {first.at:{_MINUTE}} had seen more than {n}"
        sure = max(min(n_known, n), *(one.size for one in stated if roots.get(one.size) == one.root), 0)
        if sure < n:
            text += f"; nothing shows that the entries {sure + 1} to {n} are what they were"
        yield Fault("cut_off", text, sure + 1, longest)
    seen = [one for one in stated if one.size <= n]
    bad = [one for one in seen if roots.get(one.size) != one.root]
    if bad and not _explained(faults, bad[0].size):
        fits = [one.size for one in seen if one not in bad]
        start, last = max((size for size in fits if size < bad[0].size), default=0) + 1, bad[0].size
        what = f"the checkpoint of {bad[0].at:{_MINUTE}}"
        if any(size >= last for size in fits):
            text = f"{what} is of another log: there are two, which part among the entries {start} to {last}"
            yield Fault("forked", text, start, last)
        else:
            text = f"among the entries {start} to {last} is one that is not what {what} has seen"
            yield Fault("rewritten", text, start, last)


def _rolled_back(stated: Sequence[Checkpoint]) -> Iterator[Fault]:
    """A later checkpoint of fewer entries than an earlier one: the log was shorter for a time, and then grew anew."""
    longest: Checkpoint | None = None
    for one in sorted(stated, key=lambda one: one.at):
        if longest is not None and one.size < longest.size:
            text = f"at {one.at:{_MINUTE}} there were {one.size} entries, but {longest.size} at {longest.at:{_MINUTE}}"
            yield Fault("rolled_back", f"the log was set back: {text}", one.size + 1, longest.size)
        if longest is None or one.size >= longest.size:
            longest = one
