"""What becomes of each number of a disclosure: shown, hidden or refused, in the order of the rules."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import TYPE_CHECKING

import numpy as np

from . import audit, likeness, perturbation, thresholds
from .audit import Family, Number, Past
from .ledger import Entry, Outcome, Writing
from .people import Cells

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from .people import Codes
    from .perturbation import Perturbation

    Ids = NDArray[np.uint64]

__all__ = ["Question", "decide", "question"]

_KIND = "people"


@dataclass(slots=True)
class Question:
    """The numbers of some tables, and those that were shown before.

    Attributes:
        numbers: table by table its groups, then its cells.
        starts: where each table's groups and its cells begin, and after the last table the end.
        all_ids: the keyed ids of all people, in order; numbers have places in it.
        ids: those of each table's people.
        past: the numbers of people that were shown before.
        entries: everything that was shown before.
    """

    numbers: list[Number]
    starts: list[tuple[int, int]]
    all_ids: Ids
    ids: Sequence[Ids]
    past: list[Past]
    entries: list[Entry]

    def groups(self, table: int) -> list[Number]:
        """The numbers of a table's groups."""
        first, cells = self.starts[table]
        return self.numbers[first:cells]

    def cells(self, table: int) -> list[Number]:
        """The numbers of its cells."""
        return self.numbers[self.starts[table][1] : self.starts[table + 1][0]]

    def is_refused(self, table: int) -> bool:
        """Whether nothing of a table is shown."""
        return any(number.state == "refused" for number in self.cells(table))


def question(tables: Sequence[Cells], ids: Sequence[Ids], entries: list[Entry], about: str) -> Question:
    """The numbers of the tables, still undecided; `about` says of what and when they are."""
    before = [entry for entry in entries if entry.kind == _KIND]
    different = {id(entry.ids): entry.ids for entry in before}
    all_ids = np.unique(np.concatenate([np.zeros(0, dtype=np.uint64), *ids, *different.values()]))
    codes = {name: np.searchsorted(all_ids, one) for name, one in different.items()}
    past = [Past(codes[id(entry.ids)], int(entry.value), entry.slack) for entry in before]
    numbers: list[Number] = []
    starts: list[tuple[int, int]] = []
    for place, table in enumerate(tables):
        code = np.searchsorted(all_ids, ids[place])
        first = len(numbers)
        for at, people in enumerate(table.group_members.each()):
            numbers.append(Number(place, f"{about} {table.group_name(at)}".encode(), np.sort(code[people]), None))
        starts.append((first, len(numbers)))
        # Where it is known that nothing else is possible, to be in the only cell of a group tells nothing.
        is_only = table.is_listed & (np.bincount(table.group_of)[table.group_of] == 1) & bool(table.within)
        for at, people in enumerate(table.members.each()):
            identity = f"{about} {table.cell_name(at)}".encode()
            group = None if is_only[at] else first + int(table.group_of[at])
            numbers.append(Number(place, identity, np.sort(code[people]), group))
    starts.append((len(numbers), len(numbers)))
    return Question(numbers, starts, all_ids, ids, past, entries)


def decide(asked: Question, writing: Writing, how: Perturbation, key: bytes) -> None:
    """Decides on every number and writes it down."""
    numbers = asked.numbers
    for number in numbers:
        _hold(number, asked.all_ids[number.people], writing)
    _refuse_whole(asked)
    _hide_few(numbers)
    _hide_alike(asked)
    for number in numbers:
        if number.state == "shown" and not number.is_held:
            whom = sha256(asked.all_ids[number.people].astype(">u8").tobytes()).digest()
            number.value = perturbation.shown_count(len(number.people), how, key, whom)
    audit.protect(Family(numbers, asked.past, len(asked.all_ids), perturbation.slack(how)))
    _refuse_whole(asked)
    for number in numbers:
        if not number.is_held:
            value = number.value if number.state == "shown" else 0
            outcome = Outcome(number.state, value, asked.all_ids[number.people])
            writing.decide(number.identity, outcome, _KIND, perturbation.slack(how))


def _hold(number: Number, ids: Ids, writing: Writing) -> None:
    """Takes what was decided of the number before, unless ten people or more are others since."""
    before = writing.outcome(number.identity)
    if before is not None and likeness.n_apart(ids, before.ids) < thresholds.FEWEST:
        number.state, number.value, number.is_held = before.state, int(before.value), True  # type: ignore[assignment]


def _hide_few(numbers: Sequence[Number]) -> None:
    """The first rule. A group must be large enough by itself; what it is a share of is all that there is."""
    groups = [number if number.group is None else numbers[number.group] for number in numbers]
    of = np.array([len(group.people) for group in groups], dtype=np.int64)
    n = np.array([len(number.people) for number in numbers], dtype=np.int64)
    is_group = np.array([number.group is None for number in numbers])
    are_few = thresholds.few(n, np.where(is_group, n + thresholds.FEWEST, of))
    for number, is_few in zip(numbers, are_few, strict=True):
        if is_few and number.state == "shown" and not number.is_held:
            number.state = "few"


def _hide_alike(asked: Question) -> None:
    """The fourth rule, for numbers that would differ by few people from one that is shown; the larger ones stay."""
    shown: list[Codes] = [one.people for one in asked.past]
    for number in sorted(asked.numbers, key=lambda one: -len(one.people)):
        if number.state != "shown" or number.is_held:
            continue
        if likeness.differs_by_few(number.people, shown, len(asked.all_ids)):
            number.state = "protects"
        else:
            shown.append(number.people)


def _refuse_whole(asked: Question) -> None:
    """A table of which a number is refused, or no cell is shown, is refused as a whole."""
    for place in range(len(asked.ids)):
        cells = asked.cells(place)
        if asked.is_refused(place) or not any(number.state == "shown" for number in cells):
            for number in (*asked.groups(place), *cells):
                number.state = "refused"
