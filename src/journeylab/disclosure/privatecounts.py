"""Counts with differential privacy, by OpenDP, within a budget that each population has once."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from journeylab.errors import DataError, JourneyLabError

from .likeness import tokens
from .people import Cells

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from .ledger import Ledger

__all__ = ["Budget", "PrivateCounts", "private_counts"]

_LEVEL = 0.95


@dataclass(frozen=True, slots=True)
class Budget:
    """How much may ever be told of a population: the sum of epsilon over all its private counts.

    Attributes:
        population: its name, the same in every use; all tables about these people draw on it.
        epsilon: the whole of it; fixed when it is first used.
        ledger: where what is spent is kept.
    """

    population: str
    epsilon: float
    ledger: Ledger


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class PrivateCounts:
    """Counts with noise, and how far off they may be.

    Attributes:
        table: the columns of the key; `n_contacts` (int, with noise, may be negative), and `low` and `high`, between
            which the true count lies with a probability of 95 % for each cell.
        epsilon: what these counts cost.
        spent: what the population has spent, with them.
        budget: what it may spend.
        scale: the noise: discrete Laplace with this scale.
    """

    table: pd.DataFrame
    epsilon: float
    spent: float
    budget: float
    scale: float

    def __repr__(self) -> str:
        return (
            f"PrivateCounts({len(self.table)} cells, epsilon {self.epsilon:g}, {self.spent:g} of {self.budget:g} spent)"
        )


def private_counts(table: Cells, *, of: str, epsilon: float, budget: Budget, most_cells: int) -> PrivateCounts:
    """The people of each cell with noise: whether somebody is there changes no answer's odds by more than e^epsilon.

    Nothing is hidden: the noise alone protects, also against who knows everybody else. It is fresh noise of the
    operating system, not of a seed; asking the same again gives the same answer and costs nothing. Where people change
    between two questions each costs its epsilon, and beyond the budget there is no answer: a report for each week uses
    it up soon.

    Args:
        table: by `cells` with levels: which cells there are must not depend on who is there.
        of: what and when the table is about; with its name it is the question.
        epsilon: what the answer may cost, greater than 0; 1 is common.
        budget: of the population.
        most_cells: in how many cells a person counts at most: the noise grows with it. Of a person in more cells, those
            are kept that come first by a keyed hash of person and cell.

    Raises:
        DataError: when the table has no levels, an argument is at fault, or the budget does not suffice.
        JourneyLabError: when OpenDP is not installed.

    Dwork, C., McSherry, F., Nissim, K. and Smith, A. (2006). Calibrating noise to sensitivity in private data
    analysis. TCC 2006, 265-284.
    """
    if not table.is_listed:
        raise DataError(
            f"table {table.table!r} has no levels, so that its very cells tell who is there; give them to cells"
        )
    if not 0 < epsilon < math.inf:
        raise DataError(f"epsilon is greater than 0; got {epsilon!r}")
    if not 0 < budget.epsilon < math.inf:
        raise DataError(f"the budget of {budget.population!r} is greater than 0; got {budget.epsilon!r}")
    if most_cells < 1:
        raise DataError(f"a person counts in at least one cell; got most_cells={most_cells}")
    question = [budget.population, of, epsilon, most_cells, *(table.cell_name(at) for at in range(len(table)))]
    with budget.ledger.writing() as writing:
        name, account = writing.name(json.dumps(question).encode()), writing.name(budget.population.encode())
        kept = writing.kept("budgets", account)
        state: dict[str, float] = json.loads(kept) if kept else {"epsilon": budget.epsilon, "spent": 0.0}
        if state["epsilon"] != budget.epsilon:
            raise DataError(
                f"the budget of {budget.population!r} was fixed at {state['epsilon']:g} when it was first used"
            )
        scale = most_cells / epsilon
        if (before := writing.kept("answers", name)) is not None:
            answer = json.loads(before)
        else:
            left = state["epsilon"] - state["spent"]
            if epsilon > left + 1e-9:
                raise DataError(
                    f"the answer would cost {epsilon:g}, and of the budget of {budget.population!r} {left:g} is left; "
                    "ask for less often, or with a smaller epsilon and more noise"
                )
            answer = _with_noise(
                _counts(table, most_cells, budget.ledger.key.ids(table.people)), scale, most_cells, epsilon
            )
            state["spent"] += epsilon
            writing.keep("budgets", account, json.dumps(state).encode())
            writing.keep("answers", name, json.dumps(answer).encode())
    frame = table.keys.copy().infer_objects()
    n, half = np.array(answer["n"], dtype=np.int64), answer["half"]
    frame["n_contacts"], frame["low"], frame["high"] = n, n - half, n + half
    return PrivateCounts(frame, epsilon, state["spent"], state["epsilon"], scale)


def _counts(table: Cells, most_cells: int, ids: NDArray[np.uint64]) -> list[int]:
    """The people of each cell, each in so many cells at most."""
    cell = np.repeat(np.arange(len(table)), table.members.sizes)
    person = table.members.codes
    order = np.lexsort((tokens(ids[person], cell.astype(float)), person))
    person, cell = person[order], cell[order]
    rank = np.arange(len(person)) - np.searchsorted(person, person)
    counts: list[int] = np.bincount(cell[rank < most_cells], minlength=len(table)).tolist()
    return counts


def _with_noise(counts: list[int], scale: float, most_cells: int, epsilon: float) -> dict[str, Any]:
    """The counts with noise, and how far it goes in 95 of 100 cells."""
    try:
        import opendp.prelude as dp
    except ImportError:
        raise JourneyLabError('opendp is not installed: pip install "journeylab[dp]"') from None
    dp.enable_features("contrib")
    laplace: Any = dp.m.make_laplace(dp.vector_domain(dp.atom_domain(T=int)), dp.l1_distance(T=int), scale=scale)
    if laplace.map(most_cells) > epsilon * (1 + 1e-9):
        raise AssertionError("the noise does not give the epsilon that was asked for")
    half = math.ceil(dp.discrete_laplacian_scale_to_accuracy(scale, 1 - _LEVEL))
    return {"n": [int(one) for one in laplace(counts)], "half": half}
