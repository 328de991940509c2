"""Attacks on what was disclosed: they gain nothing, and each succeeds as soon as the rule against it is switched off.

The attacker here shares no code with the gate. Everybody but the victims is known to him, and so is how the sets lie to
each other; he reads the tables, and solves for what they leave open, literally.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import linprog

from journeylab.disclosure import (
    Cells,
    Disclosed,
    Ledger,
    LedgerKey,
    audit,
    cells,
    disclose,
    likeness,
    perturbation,
    thresholds,
    windows,
)
from journeylab.disclosure.ledger import Writing
from journeylab.errors import DataError

K = 10
MONDAY = datetime(2026, 3, 2, tzinfo=UTC)
DAY = timedelta(days=1)
Rows = Sequence[tuple[str, str]]  # contact, group


def people(first: int, last: int) -> list[str]:
    return [f"c{n:05}" for n in range(first, last)]


def rows(**sets: Sequence[str]) -> list[tuple[str, str]]:
    return [(one, group) for group, its in sets.items() for one in its]


def groups(found: Rows, name: str = "groups", everyone: Sequence[str] | None = None, levels: str = "abcde") -> Cells:
    return cells(
        pd.DataFrame(found, columns=["contact", "group"]), table=name, by=["group"], population=everyone,
        levels={"group": list(levels)},
    )  # fmt: skip


class Fact(NamedTuple):
    """A set of people that was counted, and between what the count lies; the rest of `whole` where that is given."""

    its: frozenset[str]
    low: int
    high: int
    whole: frozenset[str] | None = None

    def may_have_one_more_of(self, group: frozenset[str]) -> bool:
        """Whether somebody of whom only the group is known would be in the set."""
        if self.whole is None:
            return group <= self.its
        return group <= self.whole and not group <= self.whole - self.its


@dataclass
class Reader:
    """Reads one artefact after another; `hidden` are the sets whose counts he was not shown.

    He knows which sets overlap, but not that nobody is in a hidden cell: `doubts` are the groups of those that are
    empty.
    """

    ledger: Ledger
    slack: int = 2
    facts: list[Fact] = field(default_factory=list)
    hidden: list[frozenset[str]] = field(default_factory=list)
    doubts: set[frozenset[str]] = field(default_factory=set)
    last: dict[tuple[str, ...], int] = field(default_factory=dict)

    def disclose(self, *tables: Cells, until: datetime = MONDAY + DAY, **options: Any) -> Disclosed:
        given = {"of": "all", "period": (MONDAY, until), "data_until": until, "ledger": self.ledger}
        found = disclose(tables, **given | options)
        for one in tables:
            if one.table in found.tables:
                self._read(one, found.tables[one.table], str(until))
        return found

    def _read(self, one: Cells, frame: pd.DataFrame, until: str) -> None:
        ids = np.array(one.people, dtype=object)
        place = {tuple(map(str, key)): at for at, key in enumerate(one.keys.itertuples(index=False))}
        for row in frame.itertuples(index=False):
            key = tuple(str(getattr(row, name)) for name in one.by)
            members = frozenset(ids[one.members[place[key]]])
            whole = frozenset(ids[one.group_members[int(one.group_of[place[key]])]])
            for told, its, what in ((row.n_contacts, members, key), (row.n_within, whole, ("within", *key))):
                if pd.isna(told):
                    self.hidden.append(its)
                    continue
                # A number that was read before under the same name says nothing new.
                name = (one.table, until, *what)
                if self.last.get(name) != told:
                    self.facts.append(Fact(its, int(told) - self.slack, int(told) + self.slack))
                self.last[name] = int(told)
            if pd.isna(row.n_contacts) and not members:
                self.doubts.add(whole)
            elif not pd.isna(row.n_contacts) and whole != members:
                self.facts.append(Fact(whole - members, 0, 10**6, whole))

    def open_between(self, targets: Iterable[frozenset[str]]) -> list[tuple[int, float, float]]:
        """Each target's size, and between what it lies after all that was read."""
        targets = list(targets)
        everyone = sorted(set().union(*targets, *(one.its for one in self.facts)))
        sets = [*targets, *(one.its for one in self.facts)]
        atoms = {tuple(one in its for its in sets) for one in everyone}
        atoms |= {
            (*[False] * len(targets), *(one.may_have_one_more_of(its) for one in self.facts)) for its in self.doubts
        }
        matrix = np.array(sorted(atoms), dtype=float).T
        inside, known = matrix[: len(targets)], matrix[len(targets) :]
        limits = np.array([[one.high, -one.low] for one in self.facts]).T.ravel()
        found = []
        for target, weights in zip(targets, inside, strict=True):
            ends = []
            for sign in (1, -1):
                one = linprog(sign * weights, A_ub=np.vstack([known, -known]), b_ub=limits)
                assert one.status in (0, 3), "what was read contradicts itself"
                ends.append(sign * one.fun if one.status == 0 else np.inf)
                if ends == [np.inf] or ends[-1] == np.inf:
                    break
            found.append((len(target), np.ceil(ends[0] - 1e-6), np.floor(ends[-1] + 1e-6)))
        return found

    def knows_few(self) -> list[tuple[int, float, float]]:
        """The sets of 1 to 9 people that are known to within less than ten, of all put together from two, and atoms."""
        sets = sorted({one.its for one in self.facts} | set(self.hidden), key=sorted)
        pairs = {one - other for one, other in itertools.permutations(sets, 2)} | set(sets)
        signature = {one: tuple(one in its for its in sets) for one in set().union(*sets)}
        atoms = {frozenset(one for one in signature if signature[one] == mark) for mark in set(signature.values())}
        few = sorted((one for one in pairs | atoms if 0 < len(one) < K), key=sorted)
        return [one for one in self.open_between(few) if one[2] - one[1] < K] if self.facts else []


@pytest.fixture
def reader(tmp_path: Path) -> Reader:
    return Reader(Ledger(tmp_path / "ledger.db", LedgerKey(bytes(range(32)))))


def _off(rule: int, patch: pytest.MonkeyPatch) -> None:
    """Switches one rule off."""
    if rule == 1:
        patch.setattr(thresholds, "few", lambda n, of: np.zeros(len(n), dtype=bool))
    if rule == 2:
        patch.setattr(audit, "protect", lambda family: None)
    if rule == 3:
        patch.setattr(perturbation, "shown_count", lambda n, how, key, identity: n)
    if rule == 4:
        patch.setattr(likeness, "differs_by_few", lambda *_: False)
        patch.setattr(likeness, "n_apart", lambda *_: K)
        patch.setattr(Writing, "shown", lambda self: [])
    if rule == 5:
        patch.setattr(windows, "closed", lambda first, last, **_: windows.Period(first, last))


# The attacks: each returns whether it succeeded.


def reads_of_none_or_all(reader: Reader) -> bool:
    """Looks for what nobody of a group has, or everybody."""
    found = reader.disclose(groups(rows(a=people(0, 120), b=[]), everyone=people(0, 120), levels="ab"))
    return bool(found.tables) and bool(found.tables["groups"]["contact_share"].isin([0, 1]).any())


def subtracts_the_shown_from_the_total(reader: Reader) -> bool:
    reader.disclose(groups(rows(a=people(0, 3), b=people(100, 143), c=people(200, 263)), levels="abc"))
    return bool(reader.knows_few())


def counts_all_but_one(reader: Reader) -> bool:
    """Knows every row but the victim's, and compares the table with what it would be without the victim and with."""
    told = 0
    for n in range(30, 40):
        crowd, others, victim = people(0, n), people(100, 140), "victim"
        read = []
        for inside in (False, True):
            with TemporaryDirectory() as folder:
                ledger = Ledger(Path(folder) / "ledger", LedgerKey(bytes(32)))
                a, b = ([*crowd, victim], others) if inside else (crowd, [*others, victim])
                found = Reader(ledger).disclose(groups(rows(a=a, b=b), levels="ab"))
                read.append(found.tables["groups"]["n_contacts"][0])
        told += read[0] != read[1]
    return told > 2  # of ten counts two lie where the rounding steps


def _twice(before: Rows, after: Rows, *, later: bool) -> Callable[[Reader], bool]:
    def attack(reader: Reader) -> bool:
        everyone = people(0, 500)
        reader.disclose(groups(before, everyone=everyone))
        reader.disclose(groups(after, everyone=everyone), until=MONDAY + (2 if later else 1) * DAY)
        return bool(reader.knows_few())

    return attack


ABOUT_100 = people(0, 100)
REST = people(200, 250)
subtracts_yesterday = _twice(rows(a=ABOUT_100, b=REST), rows(a=people(0, 103), b=REST), later=True)
subtracts_who_was_erased = _twice(rows(a=people(0, 103), b=REST), rows(a=people(1, 103), b=REST), later=False)
subtracts_who_came_late = _twice(rows(a=ABOUT_100, b=REST), rows(a=people(0, 109), b=REST), later=False)


def subtracts_a_segment_less_one(reader: Reader) -> bool:
    everyone = people(0, 500)
    reader.disclose(groups(rows(a=ABOUT_100, b=REST), everyone=everyone))
    reader.disclose(groups(rows(a=ABOUT_100[:-1], b=REST), "without", everyone=everyone))
    return bool(reader.knows_few())


def subtracts_funnel_steps(reader: Reader) -> bool:
    reader.disclose(groups(rows(a=people(0, 100), b=people(0, 96), c=people(0, 50)), everyone=people(0, 500)))
    return bool(reader.knows_few())


def subtracts_arms_from_all(reader: Reader) -> bool:
    everyone = people(0, 500)
    reader.disclose(groups(rows(a=people(0, 103), b=people(103, 206)), everyone=everyone))
    reader.disclose(groups(rows(a=people(0, 208), b=people(300, 350)), "exposed", everyone=everyone))
    return bool(reader.knows_few())


def subtracts_days_from_a_week(reader: Reader) -> bool:
    everyone = people(0, 900)
    for day in range(3):
        reader.disclose(groups(rows(a=people(103 * day, 103 * day + 103)), f"day {day}", everyone=everyone))
    reader.disclose(groups(rows(a=people(0, 313)), "week", everyone=everyone))
    return bool(reader.knows_few())


def reads_an_open_day_twice(reader: Reader) -> bool:
    """Looks again before the day is over: who came in between is told of a span that is on no grid."""
    everyone, read = people(0, 500), []
    for n, hour in ((100, 10), (125, 11)):
        at = MONDAY + timedelta(hours=hour)
        try:
            found = reader.disclose(
                groups(rows(a=people(0, n), b=REST), everyone=everyone), until=MONDAY + DAY, data_until=at
            )
        except DataError:
            return False
        read.append(found.tables["groups"]["n_contacts"][0])
    return read[0] != read[1]


ATTACKS: dict[Callable[[Reader], bool], int] = {
    reads_of_none_or_all: 1,
    subtracts_the_shown_from_the_total: 2,
    counts_all_but_one: 3,
    subtracts_yesterday: 4,
    subtracts_who_was_erased: 4,
    subtracts_who_came_late: 4,
    subtracts_a_segment_less_one: 4,
    subtracts_arms_from_all: 4,
    subtracts_days_from_a_week: 4,
    reads_an_open_day_twice: 5,
}
NAMES = [
    "none_or_all", "total", "all_but_one", "yesterday", "erased", "late", "less_one", "arms", "days", "open_day",
]  # fmt: skip


@pytest.mark.parametrize("attack", ATTACKS, ids=NAMES)
def test_an_attack_gains_nothing(attack: Callable[[Reader], bool], reader: Reader) -> None:
    assert not attack(reader)


@pytest.mark.parametrize(("attack", "rule"), ATTACKS.items(), ids=NAMES)
def test_it_succeeds_without_the_rule(
    attack: Callable[[Reader], bool], rule: int, reader: Reader, monkeypatch: pytest.MonkeyPatch
) -> None:
    _off(rule, monkeypatch)
    if rule == 3:
        reader.slack = 0
    assert attack(reader)


def test_steps_of_a_funnel_are_not_told_apart_by_few(reader: Reader) -> None:
    assert not subtracts_funnel_steps(reader)


def test_steps_of_a_funnel_are_told_apart_without_the_rules(reader: Reader, monkeypatch: pytest.MonkeyPatch) -> None:
    _off(2, monkeypatch)
    _off(4, monkeypatch)
    assert subtracts_funnel_steps(reader)


# Sequences of disclosures of data that change, and of data that differ in one person.

SIZES = st.lists(st.sampled_from([0, 1, 3, 9, 10, 12, 13, 25, 40, 77]), min_size=2, max_size=4)


@st.composite
def histories(draw: st.DrawFn) -> list[tuple[str, int, list[tuple[str, str]]]]:
    """Two to five tables one after another: another span, table or day, some people more, some fewer, some moved."""
    sizes = draw(SIZES)
    numbers = itertools.count()
    sets = {group: [f"c{next(numbers):05}" for _ in range(n)] for group, n in zip("abcd", sizes, strict=False)}
    steps = []
    for _ in range(draw(st.integers(2, 5))):
        steps.append((draw(st.sampled_from(["one", "other"])), draw(st.integers(1, 2)), rows(**sets)))
        sets = {group: its[draw(st.integers(0, 2)) :] for group, its in sets.items()}
        for group in sets:
            sets[group] = sets[group] + [f"c{next(numbers):05}" for _ in range(draw(st.sampled_from([0, 0, 1, 4, 30])))]
        if draw(st.booleans()):
            first, last = min(sets), max(sets)
            sets[last] = sets[last] + sets[first][:3]  # who is in both
    return steps


def _told(reader: Reader, steps: Sequence[tuple[str, int, Rows]]) -> list[dict[str, Any]]:
    return [
        reader.disclose(groups(found, name, levels="abcd"), until=MONDAY + days * DAY).to_dict()
        for name, days, found in steps
        if found
    ]


def _sequence_tells_nothing(steps: Sequence[tuple[str, int, Rows]]) -> None:
    with TemporaryDirectory() as folder:
        reader = Reader(Ledger(Path(folder) / "ledger", LedgerKey(bytes(32))))
        told = _told(reader, steps)
        assert not reader.knows_few()
        if told:
            last = [step for step in steps if step[2]][-1]
            assert _told(reader, [last]) == told[-1:]


@settings(max_examples=6)
@given(histories())
def test_no_sequence_tells_of_few(steps: list[tuple[str, int, list[tuple[str, str]]]]) -> None:
    _sequence_tells_nothing(steps)


@st.composite
def crossings(draw: st.DrawFn) -> list[list[tuple[str, str, str]]]:
    """People by two attributes, and the same some time later."""
    sizes = draw(st.lists(st.sampled_from([0, 2, 9, 11, 23, 48, 60]), min_size=6, max_size=6))
    numbers = itertools.count()
    cells_of = list(itertools.product("xyz", "te"))
    before = [(f"c{next(numbers):05}", *key) for key, n in zip(cells_of, sizes, strict=True) for _ in range(n)]
    gone = draw(st.integers(0, 3))
    more = [(f"c{next(numbers):05}", *key) for key in cells_of for _ in range(draw(st.sampled_from([0, 0, 3, 40])))]
    return [one for one in (before, before[gone:] + more) if one]


def _crossing_tells_nothing(steps: list[list[tuple[str, str, str]]]) -> None:
    with TemporaryDirectory() as folder:
        reader = Reader(Ledger(Path(folder) / "ledger", LedgerKey(bytes(32))))
        for n, found in enumerate(steps, 1):
            frame = pd.DataFrame(found, columns=["contact", "row", "column"])
            tables = [cells(frame, table="+".join(by), by=by) for by in (["row", "column"], ["row"], ["column"])]
            tables.append(cells(frame, table="within", by=["row", "column"], within=["row"]))
            reader.disclose(*tables, until=MONDAY + n * DAY)
        assert not reader.knows_few()


@settings(max_examples=4)
@given(crossings())
def test_no_crossing_tells_of_few(steps: list[list[tuple[str, str, str]]]) -> None:
    _crossing_tells_nothing(steps)


@pytest.mark.nightly
@settings(max_examples=300)
@given(crossings())
def test_no_crossing_tells_of_few_at_length(steps: list[list[tuple[str, str, str]]]) -> None:
    _crossing_tells_nothing(steps)


@pytest.mark.nightly
@settings(max_examples=400)
@given(histories())
def test_no_sequence_tells_of_few_at_length(steps: list[tuple[str, int, list[tuple[str, str]]]]) -> None:
    _sequence_tells_nothing(steps)


@settings(max_examples=6)
@given(histories(), st.data())
def test_neighbours_in_one_ledger_are_told_alike(
    steps: list[tuple[str, int, list[tuple[str, str]]]], data: st.DataObject
) -> None:
    """Whoever is erased or comes late between two disclosures of the same, the artefacts are equal."""
    name, days, found = steps[0]
    if not found:
        return
    victim = data.draw(st.sampled_from(sorted({one for one, _ in found})))
    without = [(one, group) for one, group in found if one != victim]
    if not without:
        return
    for first, second in ((found, without), (without, found)):
        with TemporaryDirectory() as folder:
            reader = Reader(Ledger(Path(folder) / "ledger", LedgerKey(bytes(32))))
            assert _told(reader, [(name, days, first)]) == _told(reader, [(name, days, second)])


@pytest.mark.long
@settings(max_examples=6)
@given(histories(), st.data())
def test_neighbours_in_two_ledgers_differ_by_a_step_or_in_what_is_open(
    steps: list[tuple[str, int, list[tuple[str, str]]]], data: st.DataObject
) -> None:
    """Of two worlds that differ in one person a number is a step of the rounding apart, or hidden in one of them.

    Where it is hidden, what the reader can tell of it is ten people wide.
    """
    everybody = sorted({one for *_, found in steps for one, _ in found})
    if not everybody:
        return
    victim = data.draw(st.sampled_from(everybody))
    less = [(name, days, [pair for pair in found if pair[0] != victim]) for name, days, found in steps]
    if not all(found for *_, found in (*steps, *less)):
        return
    with TemporaryDirectory() as one, TemporaryDirectory() as other:
        readers = [Reader(Ledger(Path(folder) / "ledger", LedgerKey(bytes(32)))) for folder in (one, other)]
        told = [_told(reader, its) for reader, its in zip(readers, (steps, less), strict=True)]
        first, first_less = (dict(one[0]["tables"]).get(steps[0][0], []) for one in told)
        for row, row_less in zip(first, first_less, strict=False):
            if None not in (row["n_contacts"], row_less["n_contacts"]):
                assert abs(row["n_contacts"] - row_less["n_contacts"]) <= perturbation.BASE
        for reader in readers:
            if reader.facts:
                assert all(high - low >= K for _, low, high in reader.open_between(set(filter(None, reader.hidden))))


def test_noise_does_not_average_out(reader: Reader, tmp_path: Path) -> None:
    """The same question again and again has one answer; with noise drawn anew the mean tells the count."""
    table = groups(rows(a=people(0, 57), b=people(100, 160)), levels="ab")
    answers = {int(reader.disclose(table, perturbation="noisy").tables["groups"]["n_contacts"][0]) for _ in range(5)}
    fresh = []
    for seed in range(60):
        ledger = Ledger(tmp_path / f"{seed}.db", LedgerKey(bytes([seed]) * 32))
        fresh.append(int(Reader(ledger).disclose(table, perturbation="noisy").tables["groups"]["n_contacts"][0]))
    assert len(answers) == 1
    assert abs(np.mean(fresh) - 57) < 1.5
    assert {57 - one for one in fresh} == set(range(-5, 6))


def test_noise_is_the_same_under_another_name(reader: Reader) -> None:
    """Twenty names for the same people give one draw, not twenty and their mean."""
    told = {
        int(reader.disclose(groups(rows(a=people(0, 57), b=people(100, 160)), name, levels="ab"), perturbation="noisy")
            .tables[name]["n_contacts"][0])
        for name in "pqrstuvw"
    }  # fmt: skip
    assert len(told) == 1


def test_noise_is_the_same_from_another_ledger_of_the_same_key(tmp_path: Path) -> None:
    """A ledger that was lost gives no second draw."""
    table = groups(rows(a=people(0, 57), b=people(100, 160)), levels="ab")
    told = [
        Reader(Ledger(tmp_path / f"{n}.db", LedgerKey(bytes(32)))).disclose(table, perturbation="noisy").to_dict()
        for n in range(2)
    ]
    assert told[0] == told[1]
