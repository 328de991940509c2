"""Whatever is done to an audit log before its last checkpoint is found, and at which entry; and only by its guards."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from functools import cache

import pytest

from auditlog import SIGNER, START, THIEF, Log, entry, frontier_of, located
from journeylab.sender.audit import verifying
from journeylab.sender.audit.checkpoints import Checkpoint, PublicKey
from journeylab.sender.audit.entries import Entry, sealed
from journeylab.sender.audit.folder import Outside
from journeylab.sender.audit.reading import Unreadable

Attack = Callable[[Log, int], tuple[Log, int]]
"""Of a log and a number from 1 to its size: what somebody makes of it, and the entry at which that is to be found."""


def put(log: Log, seq: int, **changed: object) -> list[Entry]:
    entries = [*log.entries]
    entries[seq - 1] = dataclasses.replace(entries[seq - 1], **changed)  # type: ignore[arg-type]
    return entries


def edited(log: Log, seq: int) -> tuple[Log, int]:
    return log.replaced(entries=put(log, seq, actor="eve")), seq


def details_edited(log: Log, seq: int) -> tuple[Log, int]:
    return log.replaced(entries=put(log, seq, details={"reason": "another"})), seq


def moved(log: Log, seq: int) -> tuple[Log, int]:
    return log.replaced(entries=put(log, seq, at=START)), seq


def given_to_another(log: Log, seq: int) -> tuple[Log, int]:
    return log.replaced(entries=put(log, seq, contact="zofia")), seq


def salt_erased(log: Log, seq: int) -> tuple[Log, int]:
    return log.replaced(entries=put(log, seq, salt=None)), seq


def deleted(log: Log, seq: int) -> tuple[Log, int]:
    return log.replaced(entries=[one for one in log.entries if one.seq != seq]), seq


def swapped(log: Log, seq: int) -> tuple[Log, int]:
    other = len(log.entries) if seq == 1 else 1
    entries = [*log.entries]
    first, second = sorted((seq, other))
    one, two = entries[first - 1], entries[second - 1]
    entries[first - 1] = dataclasses.replace(two, seq=first)
    entries[second - 1] = dataclasses.replace(one, seq=second)
    return log.replaced(entries=entries), first


def doubled(log: Log, seq: int) -> tuple[Log, int]:
    return log.replaced(entries=[*log.entries[:seq], log.entries[seq - 1], *log.entries[seq:]]), seq


def cut_off(log: Log, seq: int) -> tuple[Log, int]:
    return log.replaced(entries=log.entries[: seq - 1]), seq


ON_ROWS = (edited, details_edited, moved, given_to_another, salt_erased, deleted, swapped, doubled, cut_off)
"""By somebody who changes rows and leaves the rest."""


def edited_covered(log: Log, seq: int, *, key: bool = False) -> tuple[Log, int]:
    return log.covered([*log.entries[: seq - 1], entry(seq, "another"), *log.entries[seq:]], key=key), seq


def deleted_covered(log: Log, seq: int, *, key: bool = False) -> tuple[Log, int]:
    return log.covered([one for one in log.entries if one.seq != seq], key=key), seq


def inserted_covered(log: Log, seq: int, *, key: bool = False) -> tuple[Log, int]:
    return log.covered([*log.entries[: seq - 1], entry(seq, "new"), *log.entries[seq - 1 :]], key=key), seq


def swapped_covered(log: Log, seq: int, *, key: bool = False) -> tuple[Log, int]:
    other = len(log.entries) if seq == 1 else 1
    entries = [*log.entries]
    entries[seq - 1], entries[other - 1] = entries[other - 1], entries[seq - 1]
    return log.covered(entries, key=key), min(seq, other)


def cut_off_covered(log: Log, seq: int, *, key: bool = False) -> tuple[Log, int]:
    return log.covered(log.entries[: seq - 1], key=key), seq


def set_back_and_grown(log: Log, seq: int, *, key: bool = False) -> tuple[Log, int]:
    """Restored from a copy of `seq - 1` entries, and then others came."""
    grown = [*log.entries[: seq - 1], *(entry(one, "later") for one in range(seq, len(log.entries) + 4))]
    return log.covered(grown, key=key), seq


COVERED = (edited_covered, deleted_covered, inserted_covered, swapped_covered, cut_off_covered, set_back_and_grown)
"""By somebody who makes all that is in the database fit, without the key or with it."""


@cache
def whole(n: int) -> Log:
    return Log.of(n)


def places(every: int) -> Iterator[tuple[int, int]]:
    """Sizes from 1 to 200, of small ones all places, of the others one in turn."""
    for n in range(1, 201):
        if n in (1, 2, 3, 8, 9):
            yield from ((n, seq) for seq in range(1, n + 1))
        elif n % every == 0 or n == 200:
            yield n, 1 + n * 31 % 37 % n


def found_at(attack: Attack, n: int, seq: int, **how: bool) -> None:
    log, where = attack(whole(n), seq)
    if log.entries == whole(n).entries:
        return  # swapped with itself
    found = log.verified(**how)
    assert not found.is_well, (attack, n, seq)
    assert located(found) == where, (attack, n, seq, found.faults)


@pytest.mark.parametrize("attack", ON_ROWS)
def test_what_is_done_to_rows_is_found_at_its_entry_with_nothing_from_outside(attack: Attack) -> None:
    for n, seq in places(7):
        found_at(attack, n, seq, outside=False)


@pytest.mark.parametrize("key", [False, True])
@pytest.mark.parametrize("attack", COVERED)
def test_what_is_covered_up_is_found_at_its_entry_by_what_has_left(
    attack: Callable[..., tuple[Log, int]], key: bool
) -> None:
    for n, seq in places(9):
        found_at(lambda log, at: attack(log, at, key=key), n, seq)


@pytest.mark.nightly
@pytest.mark.parametrize("attack", [*ON_ROWS, *COVERED])
def test_every_place_of_every_size(attack: Attack, monkeypatch: pytest.MonkeyPatch) -> None:
    sound = {id(one) for one in whole(200).entries}  # looked at once, as they are the same in all logs
    look = Entry.fault.fget  # type: ignore[attr-defined]
    assert all(one.fault is None for one in whole(200).entries)
    monkeypatch.setattr(Entry, "fault", property(lambda self: None if id(self) in sound else look(self)))
    for n in range(1, 201):
        for seq in range(1, n + 1):
            found_at(attack, n, seq)


@pytest.mark.parametrize("attack", COVERED)
def test_by_notes_alone_it_is_found_between_two_of_them(attack: Attack) -> None:
    for n, seq in places(13):
        log, where = attack(whole(n), seq)
        if log.entries == whole(n).entries:
            continue
        found = log.verified(leaves=False)
        assert any(
            one.first is not None and one.last is not None and one.first <= where <= max(one.last, n)
            for one in found.faults
        ), (n, seq, found.faults)


@pytest.mark.parametrize("n", [0, 1, 2, 17, 64, 200])
def test_a_log_that_is_well_is_well(n: int) -> None:
    for log in (Log.of(n), Log.of(n, every=3), Log.of(n, every=500)):
        found = log.verified()
        assert found.faults == ()
        assert (found.n_entries, found.root) == (n, log.tree.root)
        assert "no later one" in found.limits[0]


def without_persons(n: int, *named: int) -> Log:
    """A log of n entries that are all erased, with one more that names some of them."""
    said = sealed(n + 1, START, "kim", "erased", "person", None, {"entries": [*named]}, bytes(32))
    log = Log.of(n + 1, entries=[*(entry(seq) for seq in range(1, n + 1)), said])
    log.entries = [*(one.without_person() for one in log.entries[:-1]), said]
    return log


def test_what_was_erased_by_order_is_well_and_anything_else_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    found = without_persons(5, 1, 2, 3, 4, 5).verified()
    assert (found.faults, found.n_erased) == ((), 5)
    secretly = without_persons(5, 1, 2, 5)
    assert [(one.what, one.first, one.last) for one in secretly.verified().faults] == [("erased", 3, 4)]
    # An entry that was edited to name them names none.
    forged = secretly.replaced(entries=put(secretly, 6, details={"entries": [1, 2, 3, 4, 5]}))
    assert {one.what for one in forged.verified().faults} == {"edited", "erased"}
    monkeypatch.setattr(Entry, "erases", property(lambda self: [3, 4, *range(1, 6)]))
    assert secretly.verified().is_well


def test_what_cannot_be_seen_is_said() -> None:
    log = Log.of(20)
    log.covered(log.entries[:10]).verified(outside=False)
    cut = log.covered(log.entries[:10], key=True)
    found = cut.verified(outside=False)
    assert found.is_well
    assert "cannot be seen" in found.limits[0]
    assert located(cut.verified()) == 11
    later = log.replaced(entries=[*log.entries, entry(21)])
    later.tree = frontier_of(later.entries)
    assert "the 1 entry after it rest on the database alone" in later.verified().limits[0]


def test_two_logs_of_one_key_part_at_their_entry() -> None:
    """The key's holder shows one log here and another one there."""
    for n in (2, 20, 50):
        for seq in range(1, n + 1, 1 + n // 10):
            log = whole(n)
            other, _ = set_back_and_grown(log, seq, key=True)
            shown = other.replaced(outside=[*other.left(other.sizes), *log.left(log.sizes)])
            found = shown.verified(leaves=False)
            assert "forked" in {one.what for one in found.faults} or "rewritten" in {one.what for one in found.faults}
            assert any(one.first is not None and one.first <= seq <= (one.last or 0) for one in found.faults)


def test_a_log_that_was_shorter_for_a_time_is_found_though_it_is_long_again() -> None:
    log = Log.of(40)
    at = log.stated(40).at
    short = Checkpoint("shop", 8, frontier_of(log.entries[:8]).root, at.replace(second=45))
    found = log.replaced(outside=[*log.outside, Outside("8.checkpoint", short)]).verified()
    assert [(one.what, one.first) for one in found.faults if one.first] == [("rolled_back", 9)]


@pytest.mark.parametrize("seq", [1, 16, 17, 40])
def test_a_checkpoint_that_is_put_again_or_signed_by_another_is_found(seq: int) -> None:
    log = Log.of(40)
    again = [*log.kept[:-1], log.kept[-1]._replace(note=log.kept[0].note)]
    assert "its note is another's" in log.replaced(kept=again).verified(outside=False).faults[0].text
    whole_row = [*log.kept, log.kept[1]._replace(checkpoint_id=99)]
    assert "not later" in log.replaced(kept=whole_row).verified(outside=False).faults[0].text
    stolen, _ = edited_covered(log, seq)
    stolen.kept = stolen.signed(stolen.sizes, THIEF)
    assert "not signed by the key" in stolen.verified(outside=False).faults[0].text
    fewer = log.replaced(kept=log.kept[:-1]).verified()
    assert [one.text for one in fewer.faults if "not in the database" in one.text]


def test_rows_that_cannot_be_read_and_a_tree_that_is_none_are_faults() -> None:
    log = Log.of(5)
    rows = [*log.entries[:2], Unreadable(3, "its row cannot be read"), *log.entries[3:]]
    found = verifying.verified(rows, None, log.kept, [], SIGNER.key)
    assert located(found) == 3
    assert {"edited", "tree"} <= {one.what for one in found.faults}
    far = dataclasses.replace(log.entries[4], seq=10**15)
    assert located(log.replaced(entries=[*log.entries, far]).verified()) == 10**15
    grown = log.replaced(tree=frontier_of([*log.entries, entry(6)])).verified(outside=False)
    assert located(grown) == 6


# Each guard is needed: without it an attack succeeds that it finds


def test_without_the_commitment_other_details_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    log, _ = details_edited(Log.of(9), 4)
    assert not log.verified().is_well
    monkeypatch.setattr("journeylab.sender.audit.entries._commitment", lambda salt, contact, details: b"same")
    original = Log.of(9).replaced(entries=[entry(seq, "committed to nothing") for seq in range(1, 10)])
    original.tree = frontier_of(original.entries)
    original.kept, original.outside = original.signed(original.sizes), original.left(original.sizes)
    assert details_edited(original, 4)[0].verified().is_well


def test_without_the_leaf_another_actor_passes(monkeypatch: pytest.MonkeyPatch) -> None:
    log, _ = edited(Log.of(9), 4)
    assert not log.verified().is_well
    monkeypatch.setattr("journeylab.sender.audit.entries._is", lambda hash_, made: True)
    assert log.verified().is_well


def test_without_checkpoints_and_leaves_a_covered_change_passes(monkeypatch: pytest.MonkeyPatch) -> None:
    log, _ = edited_covered(Log.of(9), 4)
    assert not log.verified().is_well
    monkeypatch.setattr(verifying, "_against_checkpoints", lambda *_: ())
    assert not log.verified().is_well
    monkeypatch.setattr(verifying, "_against", lambda *_: ())
    assert log.verified().is_well


def test_without_the_signature_a_thief_signs_what_he_likes(monkeypatch: pytest.MonkeyPatch) -> None:
    log, _ = edited_covered(Log.of(9), 4)
    stolen = Log.of(9)
    changed = stolen.covered(log.entries)
    forged = [
        one._replace(note=one.note.replace(one.note.splitlines()[-1], real.note.splitlines()[-1]))
        for one, real in zip(changed.signed(changed.sizes, THIEF), stolen.kept, strict=True)
    ]
    changed.kept = forged  # with the signatures of the true ones
    assert "its signature is not of what it says" in changed.verified(outside=False).faults[0].text
    monkeypatch.setattr(PublicKey, "has_signed", lambda *_: True)
    assert changed.verified(outside=False).is_well


def test_without_their_order_a_log_may_have_been_shorter(monkeypatch: pytest.MonkeyPatch) -> None:
    log = Log.of(40)
    short = Checkpoint("shop", 8, frontier_of(log.entries[:8]).root, log.stated(40).at.replace(second=45))
    shown = log.replaced(outside=[*log.outside, Outside("8.checkpoint", short)])
    monkeypatch.setattr(verifying, "_not_kept", lambda *_: ())
    assert not shown.verified().is_well
    monkeypatch.setattr(verifying, "_rolled_back", lambda *_: ())
    assert shown.verified().is_well


def test_without_the_tree_a_short_log_passes(monkeypatch: pytest.MonkeyPatch) -> None:
    log = Log.of(9)
    cut = log.replaced(entries=log.entries[:6], kept=[], outside=[])
    assert located(cut.verified()) == 7
    monkeypatch.setattr(verifying, "_against_tree", lambda *_: ())
    assert cut.verified().is_well
