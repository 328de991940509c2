"""The second rule: what the shown numbers tell of the hidden ones, by linear programming, and what else to hide.

People who are in the same sets are one atom. Whoever reads the numbers knows how the sets lie to each other and that
each shown count is the sum of its atoms to within the rounding; that what is shown, or hidden to protect another, is of
ten people or more and leaves out ten or more of its group; and what was disclosed before. Between the least and the
greatest that an atom or set can be under all this is what the reader cannot tell.

Asked is that every hidden set can be at least ten more than at least, and that every atom of 1 to 9 people can be 19
or more. It follows that no set of 1 to 9 people, whatever it is put together from, is known to within less than ten:
if it were, it could be at most 9 + 9, and no atom of it could be more.

Fischetti, M. and Salazar, J. J. (2001). Solving the cell suppression problem on tabular data with linear constraints.
Management Science 47, 1008-1027: the attacker's problem. What to hide is chosen greedily, not at the least loss.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Final, Literal, NamedTuple, TypeAlias

import numpy as np

from .thresholds import FEWEST

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from scipy.sparse import csr_array

    from .people import Codes, Floats

__all__ = ["Bound", "Family", "Number", "Past", "State", "protect"]

State: TypeAlias = Literal["shown", "few", "protects", "refused"]
_ENOUGH: Final = 2 * FEWEST - 1
_EXACT: Final = 1e-6
_MOST_PAST: Final = 200
_MOVED: Final = 1_000
_TRIED: Final = 200
_MOST_TRIED: Final = 50_000
_AT_ONCE: Final = 10_000


@dataclass(slots=True)
class Number:
    """A count of people on its way to be shown.

    `identity` is what it is a count of; `people` are codes, in order; `group` is the place of the number that it is a
    share of; a `held` one shows what was disclosed of the same before, and is not decided anew.
    """

    table: int
    identity: bytes
    people: Codes
    group: int | None
    state: State = "shown"
    value: int = 0
    is_held: bool = False


class Past(NamedTuple):
    """A count that was shown before: its people, what was shown, and how far the truth may lie from it."""

    people: Codes
    value: int
    slack: int


class Bound(NamedTuple):
    """That a combination of atoms is from `low` to `high`; `owner` is the number that it comes from, or None."""

    weights: csr_array
    low: float
    high: float
    owner: int | None
    is_shown: bool


def _atoms(sets: Sequence[Codes], n_people: int) -> tuple[csr_array, Codes]:
    """Which atoms each set has (rows are sets), and how many people each atom."""
    from scipy.sparse import csr_array

    # The sum of random numbers of a person's sets tells the combinations apart.
    mark = np.random.default_rng(0).integers(1, 2**63, len(sets), dtype=np.uint64)
    signature = np.zeros(n_people, dtype=np.uint64)
    for place, people in enumerate(sets):
        signature[people] += mark[place]
    _, atom, sizes = np.unique(signature, return_inverse=True, return_counts=True)
    columns = [np.unique(atom[people]) for people in sets]
    starts = np.concatenate([[0], np.cumsum([len(one) for one in columns])])
    has = csr_array(
        (np.ones(starts[-1]), np.concatenate([*columns, np.zeros(0, int)]), starts), (len(sets), len(sizes))
    )
    is_in_any = np.asarray(has.sum(axis=0)).ravel() > 0
    return has[:, is_in_any], sizes[is_in_any].astype(np.int64)


@dataclass
class Family:
    """Numbers that are shown together, after those of the past, and what they tell of each other."""

    numbers: Sequence[Number]
    past: Sequence[Past]
    n_people: int
    slack: int
    has: csr_array = field(init=False)
    sizes: Codes = field(init=False)
    _rows: dict[int, csr_array] = field(init=False, default_factory=dict)
    _rests: dict[tuple[int, int], csr_array] = field(init=False, default_factory=dict)

    def __post_init__(self) -> None:
        self.past = self._most_alike(_MOST_PAST)
        sets = [*(one.people for one in self.numbers), *(one.people for one in self.past)]
        self.has, self.sizes = _atoms(sets, self.n_people)
        self._add_empty_atoms()

    def _most_alike(self, most: int) -> list[Past]:
        """The numbers of the past whose people are most those of a number now, where there are too many."""
        if len(self.past) <= most:
            return list(self.past)
        sides = [[one.people for one in self.numbers], [one.people for one in self.past]]
        new, old = (_matrix(side, self.n_people) for side in sides)
        both = (old @ new.T).toarray()
        of_new, of_old = (np.array([len(people) for people in side]) for side in sides)
        likeness = (both / np.maximum(of_new[None, :] + of_old[:, None] - both, 1)).max(axis=1)
        return [self.past[place] for place in np.argsort(-likeness, kind="stable")[:most]]

    def _add_empty_atoms(self) -> None:
        """Atoms of nobody, where somebody could be: of a cell that none of its group is in, and outside of one of all.

        Readers do not know that it is none or all, so they must be able to think of someone there.
        """
        from scipy.sparse import csr_array, hstack

        columns = set()
        for place, number in enumerate(self.numbers):
            if number.group is None:
                continue
            group = self.numbers[number.group].people
            if len(number.people) not in (0, len(group)):
                continue
            row = self.has[[number.group], :]
            holds = np.asarray((self.has @ row.T).todense()).ravel() == row.nnz if len(group) else np.zeros(0, bool)
            owners = set(np.flatnonzero(holds)) | {number.group}
            owners = owners | {place} if not len(number.people) else owners - {place}
            columns.add(tuple(sorted(int(one) for one in owners)))
        if columns:
            added = sorted(columns)
            rows = np.concatenate([np.array(one) for one in added])
            at = np.repeat(np.arange(len(added)), [len(one) for one in added])
            new = csr_array((np.ones(len(rows)), (rows, at)), (self.has.shape[0], len(added)))
            self.has = csr_array(hstack([self.has, new], format="csr"))
            self.sizes = np.concatenate([self.sizes, np.zeros(len(added), dtype=np.int64)])

    def alike(self, places: Iterable[int]) -> list[list[Number]]:
        """Those numbers, each with all others that are shown of the same people and can still be hidden."""
        classes: dict[bytes, list[Number]] = {}
        for number in self.numbers:
            if number.state == "shown" and not number.is_held:
                classes.setdefault(number.people.tobytes(), []).append(number)
        wanted = dict.fromkeys(self.numbers[place].people.tobytes() for place in sorted(places))
        return [classes[people] for people in wanted]

    def _bounds(self) -> Iterator[Bound]:
        """All that readers know."""
        n = len(self.numbers)
        for place, number in enumerate(self.numbers):
            if number.is_held or number.state not in ("shown", "protects"):
                continue
            is_shown = number.state == "shown"
            low = max(FEWEST, number.value - self.slack) if is_shown else FEWEST
            high = number.value + self.slack if is_shown else np.inf
            yield Bound(self._row(place), low, high, place, is_shown)
            if number.group is not None:
                yield Bound(self._rest(place, number.group), FEWEST, np.inf, place, is_shown=False)
        for place, one in enumerate(self.past):
            low, high = max(FEWEST, one.value - one.slack), one.value + one.slack
            yield Bound(self._row(n + place), low, high, None, is_shown=False)

    def _row(self, place: int) -> csr_array:
        if place not in self._rows:
            self._rows[place] = self.has[[place], :]
        return self._rows[place]

    def _rest(self, place: int, group: int) -> csr_array:
        """The atoms of a group without those of a set in it."""
        if (place, group) not in self._rests:
            self._rests[place, group] = self._row(group) - self._row(place)
        return self._rests[place, group]

    def knowledge(self) -> Knowledge:
        """What readers can tell, as things stand."""
        return Knowledge(list(self._bounds()), self.sizes)


def _matrix(sets: Sequence[Codes], n_people: int) -> csr_array:
    from scipy.sparse import csr_array

    starts = np.concatenate([[0], np.cumsum([len(one) for one in sets])])
    return csr_array((np.ones(starts[-1]), np.concatenate([*sets, np.zeros(0, int)]), starts), (len(sets), n_people))


class Knowledge:
    """Inequalities on the sizes of atoms, and the least and greatest that they leave.

    Atoms that readers know the same of are one lot. Where there are many lots, first only the largest are moved and
    the others left as they are: what is possible then is possible.
    """

    def __init__(self, bounds: list[Bound], sizes: Codes) -> None:
        from scipy.sparse import csc_array, csr_array, vstack

        signs = [(1.0, one.high, one) for one in bounds if np.isfinite(one.high)]
        self.n_above = len(signs)
        signs += [(-1.0, -one.low, one) for one in bounds]
        self.bounds = [one for *_, one in signs]
        self.limits = np.array([limit for _, limit, _ in signs])
        rows = [one.weights * sign for sign, _, one in signs]
        every = csr_array(vstack(rows, format="csr")) if rows else csr_array((0, len(sizes)))
        mark = np.random.default_rng(1).integers(1, 2**40, every.shape[0]).astype(float)
        _, first, self.lot = np.unique(every.T @ mark, return_index=True, return_inverse=True)
        self.matrix = csc_array(every[:, first])
        self.sizes = np.bincount(self.lot, sizes, len(first))
        self.by_size = np.argsort(-self.sizes, kind="stable")

    def _greatest_among(self, weights: Floats, lots: Codes) -> tuple[float, list[Bound]]:
        """The greatest that a combination of lots can be when only some are moved, and what keeps it there."""
        from scipy.optimize import linprog

        kept = self.sizes.copy()
        kept[lots] = 0
        found = linprog(
            -weights[lots],
            A_ub=self.matrix[:, lots],
            b_ub=self.limits - self.matrix @ kept,
            bounds=(0, None),
            method="highs",
        )
        if found.status == 3:
            return np.inf, []
        if found.status != 0:
            # What cannot be solved shows nothing to be possible but what is.
            return float(weights @ self.sizes), self.bounds
        binding = np.flatnonzero(np.abs(found.ineqlin.marginals) > _EXACT)
        greatest = float(weights @ kept) - found.fun
        return float(np.floor(greatest + _EXACT)), [self.bounds[place] for place in binding]

    def greatest(self, weights: Floats, enough: float) -> tuple[float, list[Bound]]:
        """The greatest that a combination of lots can be, or enough; and what keeps it from being more."""
        if not len(self.bounds):
            return np.inf, []
        if len(self.sizes) > 2 * _MOVED:
            own = np.flatnonzero(weights)[:_MOVED]
            high, _ = self._greatest_among(weights, np.union1d(self.by_size[:_MOVED], own))
            if high >= enough:
                return high, []
        return self._greatest_among(weights, np.arange(len(self.sizes)))

    def width(self, atoms: Floats) -> tuple[float, list[Bound]]:
        """How far the least and greatest of a set of atoms (1 for each that it has) are apart, and what keeps them."""
        # Of a lot that the set has only a part of, all may be in the part, or none.
        most, least = np.zeros(len(self.sizes)), np.ones(len(self.sizes))
        np.maximum.at(most, self.lot, atoms)
        np.minimum.at(least, self.lot, atoms)
        high, above = self.greatest(most, float(most @ self.sizes) + FEWEST)
        if high - float(least @ self.sizes) >= FEWEST:
            return np.inf, []
        low, below = self.greatest(-least, FEWEST - high)
        return high - max(0.0, -low), above + below

    def atom(self, atom: int) -> tuple[float, list[Bound]]:
        """The greatest that an atom can be, or enough, and what keeps it from being more."""
        weights = np.zeros(len(self.sizes))
        weights[self.lot[atom]] = 1.0
        return self.greatest(weights, _ENOUGH)

    def doubtful(self, atoms: Codes) -> Codes:
        """Those of the atoms for which it does not show at once that they can be enough people.

        It does where the people that are added can be made up for by moving others between lots, each in proportion to
        its size (least squares), without any becoming negative or any inequality failing; else where many atoms can be
        enough people together, which one linear program finds for all of them.
        """
        left = np.unique(self.lot[atoms]) if len(self.bounds) else atoms[:0]
        filled = self.by_size[self.sizes[self.by_size] > 0]
        for most, is_exact in ((_MOST_TRIED, False), (_TRIED, True)):
            if len(left):
                left = left[~self._can_be_made_up_for(left, filled[:most], is_exact=is_exact)]
        left = self._not_together(left)
        return atoms[np.isin(self.lot[atoms], left)]

    def _not_together(self, lots: Codes) -> Codes:
        """Those of the lots that are not enough people in any of some sizes of all lots that readers hold possible."""
        from scipy.optimize import linprog

        while len(lots):
            upper = np.full(len(self.sizes), np.inf)
            upper[lots] = np.maximum(_ENOUGH, self.sizes[lots])
            cost = np.zeros(len(self.sizes))
            cost[lots] = -1.0
            bounds = np.column_stack([np.zeros(len(upper)), upper])
            found = linprog(cost, A_ub=self.matrix, b_ub=self.limits, bounds=bounds, method="highs")
            are_enough = found.x[lots] >= _ENOUGH - _EXACT if found.status == 0 else np.zeros(len(lots), dtype=bool)
            if not are_enough.any():
                break
            lots = lots[~are_enough]
        return lots

    def _can_be_made_up_for(self, lots: Codes, moved: Codes, *, is_exact: bool) -> NDArray[np.bool_]:
        """Whether enough people more in a lot can be made up for; when not exact, by a bound that is quick."""
        above = self.matrix[: self.n_above, :].tocsr()
        some, sizes = above[:, moved], self.sizes[moved].astype(float)
        inverse = np.linalg.pinv((some * sizes**2 @ some.T).toarray(), rcond=1e-10, hermitian=True)
        undo = sizes[:, None] * (some.T @ inverse)  # by the share of a lot that is moved
        changed = self.matrix[:, moved] @ (sizes[:, None] * undo)
        margins = self.limits - self.matrix @ self.sizes + _EXACT
        can = np.zeros(len(lots), dtype=bool)
        for first in range(0, len(lots), _AT_ONCE):
            these = lots[first : first + _AT_ONCE]
            added = _ENOUGH * above[:, these].toarray()
            change = _ENOUGH * self.matrix[:, these].toarray() - changed @ added
            share = (undo @ added).max(axis=0) if is_exact else undo.max(axis=0).clip(min=0) @ added
            can[first : first + _AT_ONCE] = (share <= 1) & (change <= margins[:, None]).all(axis=0)
        return can


def protect(family: Family) -> None:
    """Hides numbers of the family until readers can tell nothing of few people; refuses tables where that fails.

    What is hidden only ever widens what remains possible, so that nothing found wide enough is looked at again.
    """
    knowledge = family.knowledge()
    atoms = knowledge.doubtful(np.flatnonzero((family.sizes > 0) & (family.sizes < FEWEST)))
    while len(atoms):
        atom = int(atoms[0])
        high, binding = knowledge.atom(atom)
        if high >= _ENOUGH:
            atoms = atoms[knowledge.lot[atoms] != knowledge.lot[atom]]
        elif (wider := _hide(family, binding, None, partial(_beyond_enough, atom))) is not None:
            knowledge = wider
            atoms = knowledge.doubtful(atoms)
        else:
            atoms = atoms[1:]  # the past alone tells it
    wide: set[int] = set()
    while left := [
        place
        for place, number in enumerate(family.numbers)
        if number.state in ("few", "protects") and place not in wide
    ]:
        sets = _sets_of(family, left[0])
        width, binding = min((knowledge.width(one) for one in sets), key=lambda found: found[0])
        if width >= FEWEST:
            wide.add(left[0])
            continue
        wider = _hide(family, binding, family.numbers[left[0]].table, partial(_beyond_fewest, sets))
        knowledge = knowledge if wider is None else wider


def _beyond_enough(atom: int, knowledge: Knowledge) -> float:
    return knowledge.atom(atom)[0] - _ENOUGH


def _beyond_fewest(sets: Sequence[Floats], knowledge: Knowledge) -> float:
    return min(knowledge.width(one)[0] for one in sets) - FEWEST


def _sets_of(family: Family, place: int) -> list[Floats]:
    """The atoms of a number, and those of the rest of its group."""
    number = family.numbers[place]
    own: Floats = family.has[[place], :].toarray().ravel()
    if number.group is None:
        return [own]
    return [own, family.has[[number.group], :].toarray().ravel() - own]


def _hide(
    family: Family, binding: Sequence[Bound], table: int | None, excess: Callable[[Knowledge], float]
) -> Knowledge | None:
    """Hides the number that costs least of those that make `excess` not negative, or else make it the greatest.

    Of the same people there may be several numbers (who took a branch, and who came to where it leads); hiding one of
    them alone hides nothing.

    Where none that is shown keeps it low, the tables that do are refused. What readers then know; None if nothing did.
    """
    owners = {bound.owner for bound in binding if bound.owner is not None}
    shown = {bound.owner for bound in binding if bound.owner is not None and bound.is_shown}
    best: tuple[float, list[Number], Knowledge] | None = None
    for numbers in sorted(family.alike(shown), key=lambda one: _loss(one[0])):
        _mark(numbers, "protects")
        knowledge = family.knowledge()
        gained = min(excess(knowledge), 0.0)
        _mark(numbers, "shown")
        if best is None or gained > best[0]:
            best = gained, numbers, knowledge
        if gained == 0:
            break
    if best is not None:
        _mark(best[1], "protects")
        return best[2]
    blamed = {family.numbers[owner].table for owner in owners} | ({table} if table is not None else set())
    refused = [number for number in family.numbers if number.table in blamed and number.state != "refused"]
    for number in refused:
        number.state = "refused"
    return family.knowledge() if refused else None


def _mark(numbers: Sequence[Number], state: State) -> None:
    for number in numbers:
        number.state = state


def _loss(number: Number) -> tuple[bool, int, bool, int, bytes]:
    """What hiding a number loses: totals last, later tables first, else the fewest who hide enough."""
    return number.group is None, -number.table, len(number.people) < 2 * FEWEST, len(number.people), number.identity
