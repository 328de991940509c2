"""The Merkle tree of RFC 6962: the hash of a list that only grows, and proofs that something is in it, or was its past.

A leaf's hash is SHA-256(0x00 || data), a node's SHA-256(0x01 || left || right); the left half is the largest power of
two of leaves that leaves something for the right one (RFC 6962, 2.1). A tree of n leaves can be continued from its
frontier, the roots of the full trees that it is made of, at most one for each bit of n.

>>> leaves = [leaf_hash(str(n).encode()) for n in range(7)]
>>> tree = Tree(leaves)
>>> proof = tree.inclusion(4, 7)
>>> is_included(leaves[4], 4, 7, proof, tree.root(7)), is_included(leaves[3], 4, 7, proof, tree.root(7))
(True, False)
>>> is_consistent(3, 7, tree.root(3), tree.root(7), tree.consistency(3, 7))
True
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Final

__all__ = ["EMPTY", "SIZE", "Frontier", "Tree", "is_consistent", "is_included", "leaf_hash", "node_hash"]

SIZE: Final = 32
"""The bytes of a hash."""
EMPTY: Final = sha256().digest()
"""The root of a tree without leaves."""


def leaf_hash(data: bytes) -> bytes:
    """The hash of a leaf."""
    return sha256(b"\x00" + data).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """The hash of two subtrees beside each other."""
    return sha256(b"\x01" + left + right).digest()


@dataclass(frozen=True, slots=True)
class Frontier:
    """What has to be kept of a tree to let it grow: its size, and the roots of its full subtrees from the left.

    >>> frontier = Frontier().grown(leaf_hash(bytes([n])) for n in range(6))
    >>> frontier.size, len(frontier.hashes)
    (6, 2)
    """

    size: int = 0
    hashes: tuple[bytes, ...] = ()

    def grown(self, leaves: Iterable[bytes]) -> Frontier:
        """The frontier after more leaves."""
        size, hashes = self.size, [*self.hashes]
        for leaf in leaves:
            node, rest = leaf, size
            while rest & 1:
                node, rest = node_hash(hashes.pop(), node), rest >> 1
            hashes.append(node)
            size += 1
        return Frontier(size, tuple(hashes))

    @property
    def root(self) -> bytes:
        """The tree's root."""
        return _joined(self.hashes)


def _joined(hashes: Sequence[bytes]) -> bytes:
    if not hashes:
        return EMPTY
    node = hashes[-1]
    for left in reversed(hashes[:-1]):
        node = node_hash(left, node)
    return node


class Tree:
    """A tree with all of its hashes, for proofs.

    Args:
        leaves: the hashes of the leaves, in their order.
    """

    def __init__(self, leaves: Sequence[bytes]) -> None:
        self._levels: list[list[bytes]] = [[*leaves]]
        while len(self._levels[-1]) > 1:
            below = self._levels[-1]
            self._levels.append([node_hash(below[at], below[at + 1]) for at in range(0, len(below) - 1, 2)])

    def __len__(self) -> int:
        """How many leaves there are."""
        return len(self._levels[0])

    def root(self, size: int) -> bytes:
        """The root of the first `size` leaves."""
        self._check(0 <= size <= len(self))
        return self._of(0, size) if size else EMPTY

    def inclusion(self, index: int, size: int) -> list[bytes]:
        """The proof that the leaf at `index`, counted from 0, is among the first `size` (RFC 6962, 2.1.1)."""
        self._check(0 <= index < size <= len(self))
        proof, start, end = [], 0, size
        while end - start > 1:
            middle = start + _left(end - start)
            if index < middle:
                proof.append(self._of(middle, end))
                end = middle
            else:
                proof.append(self._of(start, middle))
                start = middle
        return proof[::-1]

    def consistency(self, old: int, new: int) -> list[bytes]:
        """The proof that the first `old` leaves are the beginning of the first `new` (RFC 6962, 2.1.2)."""
        self._check(0 <= old <= new <= len(self))
        if old in (0, new):
            return []
        proof, start, end, is_whole = [], 0, new, True
        while old != end:
            middle = start + _left(end - start)
            if old <= middle:
                proof.append(self._of(middle, end))
                end = middle
            else:
                proof.append(self._of(start, middle))
                start, is_whole = middle, False
        if not is_whole:
            proof.append(self._of(start, end))
        return proof[::-1]

    def _of(self, start: int, end: int) -> bytes:
        """The hash of the leaves from `start` up to `end`, where `start` is a multiple of the left half's size."""
        n = end - start
        if n & (n - 1) == 0:
            level = n.bit_length() - 1
            return self._levels[level][start >> level]
        middle = start + _left(n)
        return node_hash(self._of(start, middle), self._of(middle, end))

    @staticmethod
    def _check(is_there: bool) -> None:
        if not is_there:
            raise ValueError("the tree has no such leaves")


def _left(n: int) -> int:
    """The largest power of two below n."""
    return 1 << (n - 1).bit_length() - 1


def is_included(leaf: bytes, index: int, size: int, proof: Sequence[bytes], root: bytes) -> bool:
    """Whether a proof shows a leaf to be the one at `index`, from 0, of the tree of that size and root.

    After RFC 9162, 2.1.3.2.
    """
    if not 0 <= index < size:
        return False
    at, last, node = index, size - 1, leaf
    for beside in proof:
        if last == 0:
            return False
        if at & 1 or at == last:
            node = node_hash(beside, node)
            while not at & 1 and at:
                at, last = at >> 1, last >> 1
        else:
            node = node_hash(node, beside)
        at, last = at >> 1, last >> 1
    return last == 0 and node == root


def is_consistent(old: int, new: int, old_root: bytes, new_root: bytes, proof: Sequence[bytes]) -> bool:
    """Whether a proof shows the tree of the size and root `old` to be the beginning of that of `new`.

    After RFC 9162, 2.1.4.2.
    """
    if not 0 <= old <= new:
        return False
    if old == new:
        return not proof and old_root == new_root
    if old == 0:
        return not proof and old_root == EMPTY
    path = [*proof] if old & (old - 1) else [old_root, *proof]
    if not path:
        return False
    at, last = old - 1, new - 1
    while at & 1:
        at, last = at >> 1, last >> 1
    first = second = path[0]
    for beside in path[1:]:
        if last == 0:
            return False
        if at & 1 or at == last:
            first, second = node_hash(beside, first), node_hash(beside, second)
            while not at & 1 and at:
                at, last = at >> 1, last >> 1
        else:
            second = node_hash(second, beside)
        at, last = at >> 1, last >> 1
    return last == 0 and first == old_root and second == new_root
