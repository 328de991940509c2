"""What must hold after a crash, a restart and a drain; each fault is named with its message."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, NamedTuple

from journeylab.sender.sending.states import FINAL

from .points import WINDOW

ENDED = (*FINAL, "ambiguous")


class Violation(NamedTuple):
    """A fault: `duplicate`, `loss`, `stuck`, `ambiguous`, `consent`, `event` or `run`, and what it is."""

    kind: str
    text: str


@dataclass(frozen=True)
class Withdrawal:
    """When a contact withdrew, and which messages the receipt named; None where there was no receipt."""

    contact: str
    at: datetime
    named: tuple[str, ...] | None


@dataclass
class Found:
    """What there is after a drain.

    Attributes:
        expected: the messages that each contact is to get without any crash, in their order.
        rows: the messages in the database by key.
        counts: how often the relay has taken each: the truth.
        n_sent: how many `sent` events each message has.
        traced: the last step of each message that a process has seen which was killed.
        n_crashes: how many processes were killed.
        n_lanes: how many messages each of them had on its way at most.
        waiting: contacts for whom something is due, or who are held.
        withdrawals: who withdrew.
        may_end: states in which an expected message may end beside `accepted`.
        n_unanswered: how many messages the relay left without a reply to their end.
    """

    expected: Mapping[str, Sequence[str]]
    rows: Mapping[str, Any]
    counts: Counter[str]
    n_sent: Mapping[str, int]
    traced: Mapping[str, set[str]] = field(default_factory=dict)
    n_crashes: int = 0
    n_lanes: int = 1
    waiting: Sequence[str] = ()
    withdrawals: Sequence[Withdrawal] = ()
    may_end: tuple[str, ...] = ()
    n_unanswered: int = 0

    @property
    def ambiguous(self) -> list[str]:
        return [key for key, row in self.rows.items() if row.state == "ambiguous"]


def violations(found: Found) -> list[Violation]:
    """All faults, in the order of the invariants I1 to I8 of the design."""
    made: list[Violation] = []

    def note(kind: str, text: str) -> None:
        made.append(Violation(kind, text))

    for key, n in found.counts.items():
        if n > 1:
            note("duplicate", f"{key} was taken {n} times")  # I1
    for key, row in found.rows.items():
        n = found.counts.get(key, 0)
        if row.state == "accepted" and n == 0:
            note("loss", f"{key} is accepted, and nobody has taken it")  # I2
        if n and row.state not in ("accepted", "ambiguous"):
            note("duplicate", f"{key} is {row.state} although it was taken")  # I3
        if row.state not in ENDED:
            note("stuck", f"{key} is {row.state}")  # I4
        if row.state == "accepted" and found.n_sent.get(key, 0) != 1:
            note("event", f"{key} is accepted with {found.n_sent.get(key, 0)} events")  # I8
    for key in found.counts.keys() - found.rows.keys():
        note("duplicate", f"{key} was taken and is not in the database")  # I3
    for one in found.waiting:
        note("stuck", f"{one} waits to be advanced")  # I4
    _ambiguous(found, note)
    _withdrawn(found, note)
    _lost(found, note)
    return made


def _ambiguous(found: Found, note: Any) -> None:
    """I5: no more than were on their way in processes that were killed, each of them past the gate."""
    if len(found.ambiguous) > found.n_crashes * found.n_lanes + found.n_unanswered:
        note("ambiguous", f"{len(found.ambiguous)} after {found.n_crashes} crashes")
    for key in found.ambiguous if not found.n_unanswered else ():
        if not found.traced.get(key, set()) & {*WINDOW}:
            seen = ", ".join(sorted(found.traced.get(key, set()))) or "nowhere"
            note("ambiguous", f"{key} is ambiguous, but was last seen {seen}")


def _withdrawn(found: Found, note: Any) -> None:
    """I6: what passed the gate did so before, and what was still on its way is named."""
    for one in found.withdrawals:
        for key in found.expected[one.contact]:
            row = found.rows.get(key)
            if not found.counts.get(key):
                continue
            if row is None or row.gated_at is None or row.gated_at >= one.at:
                note("consent", f"{key} was sent after its withdrawal")
            elif one.named is not None and key not in one.named and row.settled_at >= one.at:
                note("consent", f"{key} was on its way and the receipt does not name it")


def _lost(found: Found, note: Any) -> None:
    """Every message that a run without a crash sends is accepted, or ambiguous, or waits behind an ambiguous one."""
    gone = {one.contact for one in found.withdrawals}
    for contact, keys in found.expected.items():
        for key in keys:
            row = found.rows.get(key)
            state = None if row is None else row.state
            if state == "ambiguous":
                break
            if state not in ("accepted", *found.may_end) and contact not in gone:
                note("loss", f"{key} is {state or 'not there'}")
