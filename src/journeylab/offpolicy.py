"""Estimators of what a policy would have earned, from a log of what another one did, and how much the log carries.

Everything here takes arrays and returns arrays; tables, words and refusals are those of `policy`. A weight is the
probability of the logged action under the policy divided by its probability when it was logged. `supported` is the
share of each decision's probability that the policy puts on actions the log could take: 1 where it could take them
all. Estimates are for that part.

>>> weights, rewards = np.array([2.0, 0.0, 2.0, 0.0]), np.array([1.0, 1.0, 0.0, 0.0])
>>> ips(weights, rewards).value, snips(weights, rewards).value
(0.5, 0.5)
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats: TypeAlias = NDArray[np.float64]
    Ints: TypeAlias = NDArray[np.int64]
    Bools: TypeAlias = NDArray[np.bool_]

__all__ = [
    "Diagnostics", "Estimate", "Trajectories", "before", "by_unit", "cross_fitted", "diagnose", "doubly_robust",
    "fitted_values", "folds", "ips", "observed", "per_decision", "sequential_doubly_robust", "snips",
    "trajectory_weights", "unsupported_mass", "weighted_per_decision",
]  # fmt: skip


class Estimate(NamedTuple):
    """The value by one estimator.

    Attributes:
        estimator: its name.
        value: the mean reward.
        influence: one number for each unit, whose mean is the value and whose spread is that of the value; differences
            of two estimates over the same units are paired through them.
        standard_error: of the value; missing (NaN) for fewer than two units.
    """

    estimator: str
    value: float
    influence: Floats
    standard_error: float

    def minus(self, other: Estimate) -> Estimate:
        """The difference to another estimate over the same units, paired."""
        return _estimate(self.estimator, self.value - other.value, self.influence - other.influence)


def _estimate(estimator: str, value: float, influence: Floats, ddof: int = 1) -> Estimate:
    n = len(influence)
    error = float(influence.std(ddof=ddof)) / math.sqrt(n) if n > 1 else math.nan
    return Estimate(estimator, value, influence, error)


def _per_supported(estimator: str, values: Floats, supported: Floats) -> Estimate:
    """The sum of the values for each supported decision."""
    share = float(supported.mean())
    if share == 1:
        return _estimate(estimator, float(values.mean()), values)
    value = float(values.sum() / supported.sum())
    return _estimate(estimator, value, value + (values - value * supported) / share)


def observed(rewards: Floats, supported: Floats | None = None) -> Estimate:
    """The mean reward of what was done, over the supported decisions.

    >>> observed(np.array([1.0, 0.0])).value
    0.5
    """
    if supported is None or supported.min() == 1:
        return _estimate("observed", float(rewards.mean()), rewards)
    return _per_supported("observed", rewards * supported, supported)


def ips(weights: Floats, rewards: Floats, supported: Floats | None = None) -> Estimate:
    """The mean of weight times reward: unbiased when the logged probabilities are right.

    Horvitz, D. G. and Thompson, D. J. (1952). A generalization of sampling without replacement from a finite universe.
    JASA 47, 663-685.

    >>> ips(np.array([2.0, 0.0]), np.array([3.0, 1.0])).value
    3.0
    """
    return _per_supported("ips", weights * rewards, np.ones_like(weights) if supported is None else supported)


def snips(weights: Floats, rewards: Floats, *, estimator: str = "snips") -> Estimate:
    """The weighted mean of the rewards: a little biased in small logs, but never outside the rewards seen.

    Swaminathan, A. and Joachims, T. (2015). The self-normalized estimator for counterfactual learning. NeurIPS 28.
    Its error is sqrt(sum w² (r - V)²) / sum w.

    >>> snips(np.array([1.0, 3.0]), np.array([1.0, 0.0])).value
    0.25
    """
    total = float(weights.sum())
    value = float((weights * rewards).sum() / total)
    return _estimate(estimator, value, value + weights * (rewards - value) * len(weights) / total, ddof=0)


def doubly_robust(
    weights: Floats,
    rewards: Floats,
    predicted: Floats,
    policy_predicted: Floats,
    supported: Floats | None = None,
) -> Estimate:
    """What a model predicts of the policy, corrected by the weighted errors it makes on the log.

    Right when the probabilities or the model are. Dudik, M., Langford, J. and Li, L. (2011). Doubly robust policy
    evaluation and learning. ICML. The model must not have seen the rows it predicts: fit it on other `folds`.

    Args:
        weights: by row.
        rewards: by row.
        predicted: the model's reward of the logged action.
        policy_predicted: the model's mean reward over the policy's supported actions, weighted by their probabilities.
        supported: by row; by default 1.

    >>> half = np.full(2, 0.5)
    >>> doubly_robust(np.array([2.0, 0.0]), np.array([1.0, 1.0]), half, half).value
    1.0
    """
    values = policy_predicted + weights * (rewards - predicted)
    return _per_supported("dr", values, np.ones_like(weights) if supported is None else supported)


def by_unit(estimate: Estimate, units: Ints) -> Estimate:
    """The same value with its error taken over units, such as contacts, of which each has several rows.

    Args:
        estimate: with one influence for each row.
        units: a code from 0 for the unit of each row; every code occurs.

    >>> rows = observed(np.array([1.0, 1.0, 0.0, 0.0]))
    >>> by_unit(rows, np.array([0, 0, 1, 1])).standard_error
    0.5
    """
    n_units = int(units.max()) + 1
    sums = np.bincount(units, estimate.influence - estimate.value, minlength=n_units)
    return _estimate(estimate.estimator, estimate.value, estimate.value + sums * n_units / len(units))


def folds(units: Ints, n_folds: int, rng: np.random.Generator) -> Ints:
    """A fold for each row, 0 up to `n_folds`, equal for all rows of a unit and nearly equal in numbers of units.

    >>> folds(np.array([0, 0, 1, 2]), 3, np.random.default_rng(1))
    array([0, 0, 1, 2])
    """
    n_units = int(units.max(initial=-1)) + 1
    of_unit: Ints = rng.permutation(n_units) % n_folds
    return of_unit[units]


@dataclass(frozen=True, slots=True)
class Diagnostics:
    """How much of a log carries a policy's value.

    Attributes:
        n: rows, or units where each makes several decisions.
        n_matched: those with a weight above zero.
        effective_n: (sum w)² / sum w²: how many equally weighted ones would tell as much.
        mean_weight: 1 up to chance when the logged probabilities are right and nothing is unsupported.
        mean_weight_standard_error: missing (NaN) for fewer than two.
        max_weight: the largest weight.
        max_weight_share: its share of all weight, 0..1.
        top_1_percent_share: the share of all weight on the largest hundredth of the weights, at least one.
        unsupported_share: the share of the policy's probability on what the log could not do, 0..1.
        expected_weight: what the mean weight would be but for chance.
    """

    n: int
    n_matched: int
    effective_n: float
    mean_weight: float
    mean_weight_standard_error: float
    max_weight: float
    max_weight_share: float
    top_1_percent_share: float
    unsupported_share: float
    expected_weight: float = 1.0


def diagnose(
    weights: Floats,
    unsupported_share: float = 0.0,
    *,
    expected_weight: float | None = None,
    units: Ints | None = None,
) -> Diagnostics:
    """The diagnostics of the weights of a log.

    Kong, A. (1992). A note on importance sampling using standardized weights, for the effective number.

    Args:
        weights: by row, or by unit.
        unsupported_share: the share of the policy's probability on what the log could not do.
        expected_weight: what the mean weight would be but for chance; by default 1 less the unsupported share.
        units: a code from 0 for the unit of each row, over which the error of the mean weight is then taken.

    >>> found = diagnose(np.array([2.0, 0.0, 2.0, 0.0]))
    >>> found.effective_n, found.mean_weight, found.max_weight_share
    (2.0, 1.0, 0.5)
    """
    n = len(weights)
    total, squares = float(weights.sum()), float((weights**2).sum())
    mean = observed(weights)
    top = np.partition(weights, n - _hundredth(n))[n - _hundredth(n) :]
    return Diagnostics(
        n=n,
        n_matched=int((weights > 0).sum()),
        effective_n=total**2 / squares if squares else 0.0,
        mean_weight=total / n,
        mean_weight_standard_error=(mean if units is None else by_unit(mean, units)).standard_error,
        max_weight=float(weights.max()),
        max_weight_share=float(weights.max()) / total if total else 0.0,
        top_1_percent_share=float(top.sum()) / total if total else 0.0,
        unsupported_share=unsupported_share,
        expected_weight=1 - unsupported_share if expected_weight is None else expected_weight,
    )


def _hundredth(n: int) -> int:
    return max(1, n // 100)


@dataclass(frozen=True, eq=False)
class Trajectories:
    """Several decisions of each unit: arrays of (unit, decision), in the order in which they were made.

    Attributes:
        is_made: whether the unit made that many decisions; false entries come last.
        ratios: the weight of each decision by itself; 1 where none was made.
        rewards: what was earned after it and before the next; 0 where none was made.
        unsupported: the share of the policy's probability there on actions that the log could not take.
        cells: a code for what was known at each decision (where it was made and in which state).
        actions: a code of the logged action.
        targets: a code of the policy's action; None when only its probability of the logged one is known.
    """

    is_made: Bools
    ratios: Floats
    rewards: Floats
    unsupported: Floats
    cells: Ints
    actions: Ints
    targets: Ints | None = None


def trajectory_weights(ratios: Floats) -> Floats:
    """The product of the ratios up to each decision, by (unit, decision).

    >>> trajectory_weights(np.array([[2.0, 0.5], [0.0, 2.0]]))
    array([[2., 1.],
           [0., 0.]])
    """
    weights: Floats = np.cumprod(ratios, axis=1, dtype=np.float64)
    return weights


def unsupported_mass(of: Trajectories) -> Floats:
    """The share of the policy's probability lost at each decision: by (decision), adding up to the share lost.

    >>> none = np.zeros((2, 1), np.int64)
    >>> of = Trajectories(none == 0, np.array([[1.0], [0.0]]), none * 1.0, np.array([[0.0], [1.0]]), none, none)
    >>> unsupported_mass(of)
    array([0.5])
    """
    mass: Floats = (before(trajectory_weights(of.ratios)) * of.unsupported).mean(axis=0)
    return mass


def before(weights: Floats) -> Floats:
    """The weights with which a unit came to each decision: those of the decision before it, and 1 at the first."""
    return np.column_stack([np.ones(len(weights)), weights[:, :-1]])


def _still_supported(of: Trajectories) -> Floats:
    # Where almost all is lost, the sums are over next to nothing and the estimate is refused anyway.
    return np.maximum(1 - np.cumsum(unsupported_mass(of)), 1e-12)


def per_decision(of: Trajectories) -> Estimate:
    """The value by per-decision importance sampling: each reward is weighted by the decisions before it only.

    Precup, D., Sutton, R. S. and Singh, S. (2000). Eligibility traces for off-policy policy evaluation. ICML.
    """
    influence = (trajectory_weights(of.ratios) * of.rewards / _still_supported(of)).sum(axis=1)
    return _estimate("pdis", float(influence.mean()), influence)


def weighted_per_decision(of: Trajectories) -> Estimate:
    """The value by per-decision importance sampling with weights that are made to add up at each decision.

    Precup et al. (2000), as for `per_decision`; a little biased in small logs. A unit without a further decision keeps
    its weight.
    """
    weights = trajectory_weights(of.ratios)
    mean = weights.mean(axis=0)
    with np.errstate(divide="ignore", invalid="ignore"):
        normalised = np.where(mean > 0, weights / mean, 0.0)
    by_step = (normalised * of.rewards).mean(axis=0)
    value = float(by_step.sum())
    influence = value + (normalised * (of.rewards - by_step)).sum(axis=1)
    return _estimate("wpdis", value, influence, ddof=0)


def sequential_doubly_robust(of: Trajectories, predicted: Floats, policy_predicted: Floats) -> Estimate:
    """The value by the doubly robust estimator over several decisions.

    Jiang, N. and Li, L. (2016). Doubly robust off-policy value evaluation for reinforcement learning. ICML.

    Args:
        of: what was done.
        predicted: what a model predicts for the rewards from each decision on, given the logged action.
        policy_predicted: the same, given the policy, over its supported actions; see `fitted_values`.
    """
    weights = trajectory_weights(of.ratios)
    supported = np.where(of.is_made, 1 - of.unsupported, 0.0)
    terms = before(weights) * supported * policy_predicted + weights * (of.rewards - of.is_made * predicted)
    influence = (terms / _still_supported(of)).sum(axis=1)
    return _estimate("dr", float(influence.mean()), influence)


def fitted_values(of: Trajectories, fold: Ints) -> tuple[Floats, Floats]:
    """What is predicted for the rewards from each decision on: (given the logged action, given the policy).

    Means by cell and action, from the last decision back to the first, drawn a little to the mean of the action there.
    Each unit's are fitted on the units of the other folds; with one fold, on all. Where only the probability of the
    logged action is known, both are the weighted mean of the cell.

    Args:
        of: what was done.
        fold: a fold for each unit.
    """
    predicted, policy_predicted = np.zeros_like(of.ratios), np.zeros_like(of.ratios)
    n_folds = int(fold.max()) + 1
    for one in range(n_folds):
        held_out = fold == one
        fitted_on = ~held_out if n_folds > 1 else held_out
        following = np.zeros(len(fold))
        for step in reversed(range(of.ratios.shape[1])):
            made = of.is_made[:, step]
            logged, by_policy = _step_values(of, step, np.flatnonzero(made & fitted_on), following)
            for table, values in ((predicted, logged), (policy_predicted, by_policy)):
                table[:, step] = np.where(held_out & made, values, table[:, step])
            following = np.where(made, by_policy, 0.0)
    return predicted, policy_predicted


def _step_values(of: Trajectories, step: int, rows: Ints, following: Floats) -> tuple[Floats, Floats]:
    """Predictions for one decision, for all units, fitted on some rows."""
    cells, actions, earned = of.cells[:, step], of.actions[:, step], of.rewards[:, step] + following
    size = int(max(cells.max(), 0)) + 1
    if of.targets is None:
        value_of = _shrunk(cells[rows], earned[rows], of.ratios[rows, step], size, np.zeros(size, np.int64))
        return value_of[cells], value_of[cells]
    targets = of.targets[:, step]
    n_actions = int(max(actions.max(), targets.max())) + 1
    keys = cells * n_actions + actions
    of_action = np.tile(np.arange(n_actions), size)
    value_of = _shrunk(keys[rows], earned[rows], np.ones(len(rows)), size * n_actions, of_action)
    return value_of[keys], value_of[cells * n_actions + targets]


def _shrunk(keys: Ints, values: Floats, weights: Floats, size: int, group_of: Ints) -> Floats:
    """The weighted mean of each key, drawn with the weight of one row to that of its group, and that to the whole."""
    one_row = float(weights.mean()) if len(weights) and weights.any() else 1.0
    overall = float((values * weights).sum() / weights.sum()) if weights.any() else 0.0
    n, total = (np.bincount(keys, one, minlength=size) for one in (weights, weights * values))
    n_group, total_group = (np.bincount(group_of, one) for one in (n, total))
    of_group = (total_group + one_row * overall) / (n_group + one_row)
    means: Floats = (total + one_row * of_group[group_of]) / (n + one_row)
    return means


Fitter: TypeAlias = "Callable[[Bools], tuple[Floats, Floats]]"


def cross_fitted(fit: Fitter, fold: Ints) -> tuple[Floats, Floats]:
    """Two predictions for each row by a model that was fitted on the rows of the other folds.

    Args:
        fit: given which rows to fit on, predicts for all rows.
        fold: a fold for each row.
    """
    first, second = np.zeros(len(fold)), np.zeros(len(fold))
    for one in range(int(fold.max()) + 1):
        held_out = fold == one
        predictions = fit(~held_out)
        first[held_out], second[held_out] = (values[held_out] for values in predictions)
    return first, second
