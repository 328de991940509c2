"""The tree is RFC 6962's: by published hashes, by a foreign implementation, and by its own definition."""

from __future__ import annotations

import base64
import importlib.util
from collections.abc import Sequence
from datetime import UTC, datetime
from hashlib import sha256

import pytest
from hypothesis import given
from hypothesis import strategies as st

from journeylab.errors import DataError
from journeylab.sender.audit.checkpoints import Checkpoint, PublicKey, Signer, notes_in, opened
from journeylab.sender.audit.entries import canonical
from journeylab.sender.audit.tree import EMPTY, Frontier, Tree, is_consistent, is_included, leaf_hash

# The eight leaves and the roots by which Certificate Transparency's implementations are tested.
INPUTS = ["", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f"]
ROOTS = [
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
]
LEAVES = [leaf_hash(bytes.fromhex(one)) for one in INPUTS]
MANY = [leaf_hash(bytes([n])) for n in range(200)]


def defined(leaves: Sequence[bytes]) -> bytes:
    """MTH as RFC 6962, 2.1 defines it."""
    if not leaves:
        return sha256().digest()
    if len(leaves) == 1:
        return leaves[0]
    k = max(2**e for e in range(9) if 2**e < len(leaves))
    return sha256(b"\x01" + defined(leaves[:k]) + defined(leaves[k:])).digest()


def subproof(m: int, leaves: Sequence[bytes], *, is_whole: bool = True) -> list[bytes]:
    """SUBPROOF as RFC 6962, 2.1.2 defines it."""
    n = len(leaves)
    if m == n:
        return [] if is_whole else [defined(leaves)]
    k = max(2**e for e in range(9) if 2**e < n)
    if m <= k:
        return [*subproof(m, leaves[:k], is_whole=is_whole), defined(leaves[k:])]
    return [*subproof(m - k, leaves[k:], is_whole=False), defined(leaves[:k])]


def test_consistency_proofs_are_as_they_are_defined() -> None:
    tree = Tree(MANY)
    for n in (1, 2, 3, 6, 7, 8, 9, 31, 64, 200):
        for m in range(1, n + 1, 1 + n // 20):
            assert tree.consistency(m, n) == subproof(m, MANY[:n])


def test_published_roots() -> None:
    tree, frontier = Tree(LEAVES), Frontier()
    assert tree.root(0) == frontier.root == EMPTY == sha256(b"").digest()
    for n, root in enumerate(ROOTS, 1):
        frontier = frontier.grown([LEAVES[n - 1]])
        assert tree.root(n).hex() == frontier.root.hex() == root


def test_published_proofs() -> None:
    tree = Tree(LEAVES)
    assert [one.hex() for one in tree.inclusion(0, 8)] == [
        "96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7",
        "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
        "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4",
    ]
    assert [one.hex() for one in tree.consistency(6, 8)] == [
        "0ebc5d3437fbe2db158b9f126a1d118e308181031d0a949f8dededebc558ef6a",
        "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
        "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    ]


def test_every_size_is_as_it_is_defined() -> None:
    tree, frontier = Tree(MANY), Frontier()
    for n in range(201):
        assert tree.root(n) == frontier.root == defined(MANY[:n])
        assert len(frontier.hashes) == n.bit_count()
        if n < 200:
            frontier = frontier.grown([MANY[n]])


def test_a_foreign_implementation_gives_the_same() -> None:
    if importlib.util.find_spec("pymerkle") is None:
        pytest.skip("there is no pymerkle here")
    from pymerkle import InmemoryTree

    theirs = InmemoryTree(algorithm="sha256")
    for n in range(200):
        theirs.append_entry(bytes([n]))
    tree = Tree(MANY)
    for n in range(1, 201, 3):
        assert theirs.get_root(n) == tree.root(n)
        for index in range(0, n, 7):
            path = theirs.prove_inclusion(index + 1, n).serialize()["path"]
            assert path[1:] == [one.hex() for one in tree.inclusion(index, n)]  # theirs begins with the leaf


@given(st.integers(1, 200), st.data())
def test_proofs_prove_what_they_are_of_and_nothing_else(n: int, data: st.DataObject) -> None:
    tree = Tree(MANY)
    index, other = data.draw(st.integers(0, n - 1)), data.draw(st.integers(0, n - 1))
    proof = tree.inclusion(index, n)
    assert is_included(MANY[index], index, n, proof, tree.root(n))
    assert is_included(MANY[other], index, n, proof, tree.root(n)) is (index == other)
    assert is_included(MANY[index], other, n, proof, tree.root(n)) is (index == other)
    assert not is_included(MANY[index], index, n, [*proof, MANY[0]], tree.root(n))
    assert not is_included(MANY[index], index, n, proof, tree.root(n - 1))
    assert not proof or not is_included(MANY[index], index, n, proof[:-1], tree.root(n))
    old = data.draw(st.integers(0, n))
    path = tree.consistency(old, n)
    assert is_consistent(old, n, tree.root(old), tree.root(n), path)
    if 0 < old < n:
        assert not is_consistent(old, n, tree.root(old - 1), tree.root(n), path)
        assert not is_consistent(old, n, tree.root(old), tree.root(n - 1), path)
        assert not is_consistent(old, n, tree.root(old), tree.root(n), path[:-1])
        assert not is_consistent(old, n, tree.root(old), tree.root(n), [*path, MANY[0]])
        forged = Tree([*MANY[: old - 1], MANY[199], *MANY[old:]])
        assert not is_consistent(old, n, tree.root(old), forged.root(n), forged.consistency(old, n))


def test_leaves_that_are_not_there_have_no_proof() -> None:
    tree = Tree(MANY[:5])
    for wrong in (lambda: tree.inclusion(5, 5), lambda: tree.inclusion(0, 6), lambda: tree.consistency(3, 6),
                  lambda: tree.consistency(4, 3), lambda: tree.root(6)):  # fmt: skip
        with pytest.raises(ValueError, match="no such leaves"):
            wrong()
    assert not is_included(MANY[0], 3, 3, [], MANY[0])
    assert not is_consistent(4, 3, MANY[0], MANY[0], [])


plain = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53) + 1, 2**53 - 1) | st.text(),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(st.characters(codec="ascii")), inner, max_size=4)
    ),
)


@given(plain)
def test_details_are_written_as_rfc_8785_says(data: object) -> None:
    rfc8785 = pytest.importorskip("rfc8785")
    assert canonical(data) == rfc8785.dumps(data)


@pytest.mark.parametrize("data", [0.5, 2**53, {"é": 1}, {1: 2}, datetime(2026, 3, 2, tzinfo=UTC), b"x", "\ud800"])
def test_what_has_no_one_form_is_refused(data: object) -> None:
    with pytest.raises(ValueError, match=r".+"):
        canonical(data)


# Signed notes

NOTE_KEY = "example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k"
SIGNATURE = "Uw2QOkn8srV1yJGh2VYRlL1Tnagv1YEq6TfXppzi2ONncAlTgK7Ztg1ERYNZXsYjOBH3mFXmRKuwHjG1Yu72IneyaQM="


def test_a_published_note_is_signed_by_its_key() -> None:
    key = PublicKey.parsed(NOTE_KEY)
    data = base64.b64decode(SIGNATURE)
    assert str(key) == NOTE_KEY
    assert data[:4] == key.hash
    assert key.has_signed("This is an example message.\n", data[4:])
    assert not key.has_signed("This is another message.\n", data[4:])


SIGNER = Signer("shop", bytes(range(32)))
MADE = Checkpoint("shop", 8, bytes.fromhex(ROOTS[-1]), datetime(2026, 3, 2, 9, 5, 0, 1, tzinfo=UTC))


def test_a_checkpoint_reads_back_and_is_found_in_a_log() -> None:
    note = MADE.signed(SIGNER)
    assert opened(note, SIGNER.key) == MADE
    assert note.splitlines()[:5] == [
        "shop", "8", "XcnaeacGWamtVZy3Ad7ZoqudgjqtL0lgz+Nw7/RgQyg=", "time 2026-03-02T09:05:00.000001Z", "",
    ]  # fmt: skip
    encoded = base64.b64encode(note.encode()).decode()
    log = f'<109>1 - - - - - [journeylab@32473 seq="8" note="{encoded}"] checkpoint\nanother line\n{note}\n{note}'
    assert [opened(one, SIGNER.key) for one in notes_in(log)] == [MADE] * 3
    assert repr(SIGNER) == "Signer('shop')"


@pytest.mark.parametrize(
    ("old", "new"),
    [("\n8\n", "\n9\n"), ("XcnaeacG", "YcnaeacG"), ("09:05", "09:06"), ("shop\n8", "shop2\n8"), ("\n— ", "\nmore\n— ")],
)
def test_a_changed_checkpoint_is_none(old: str, new: str) -> None:
    with pytest.raises(DataError, match=r"is no checkpoint|signature is not|not signed by"):
        opened(MADE.signed(SIGNER).replace(old, new, 1), SIGNER.key)


def test_a_checkpoint_of_another_key_or_log_is_none() -> None:
    with pytest.raises(DataError, match="not signed by the key"):
        opened(MADE.signed(Signer("shop", bytes(32))), SIGNER.key)
    with pytest.raises(DataError, match="no checkpoint of the log shop"):
        opened(SIGNER.note(MADE.text.replace("shop\n", "other\n")), SIGNER.key)
    for text in ("", "shop", NOTE_KEY[:-4], NOTE_KEY.replace("530d", "530e"), "a+b"):
        with pytest.raises(DataError, match="no public key"):
            PublicKey.parsed(text)


@given(st.text())
def test_no_text_is_a_checkpoint_by_accident(text: str) -> None:
    with pytest.raises(DataError):
        opened(text, SIGNER.key)
    assert notes_in(text) == []
