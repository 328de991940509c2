"""Which part of a policy the log can speak of: what it never did, it knows nothing about (rule 32).

A row's unsupported mass is the policy's probability, there, of actions that the log could not take. It is known
exactly where the logged action had probability one; where an action is missing from a group of rows by more than
chance; and where the log gives no probability at all.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from .decisions import CERTAIN, Decisions

if TYPE_CHECKING:
    from collections.abc import Sequence

    from journeylab.offpolicy import Bools, Floats, Ints

__all__ = ["PolicyTable", "Support", "find_support"]

_CHANCE = 1e-3
_LEAST_ROWS = 20
_ROUNDING = 0.01
_SAME = 1e-6
_ERRORS = 4
_MOST_CELLS = 20_000_000
_LEAST_ESTIMATED = 0.01


class PolicyTable(NamedTuple):
    """The policy's probability of every action in each group of rows, (group, action), and each row's group."""

    groups: Ints
    shares: Floats


@dataclass(frozen=True, eq=False)
class Support:
    """What of the policy the log supports.

    Attributes:
        unsupported: by row, the policy's probability of what the log could not do, 0..1.
        share: the mean of it; or, `from_weights`, what the mean weight lacks.
        from_weights: whether the share could only be told from the weights.
        table: the policy's probabilities of all actions, where they are known.
        by_action: the share of all rows in which an action that the policy takes is unsupported, largest first.
    """

    unsupported: Floats
    share: float
    from_weights: bool = False
    table: PolicyTable | None = None
    by_action: dict[str, float] = field(default_factory=dict)


class _Cells(NamedTuple):
    """Groups of rows against actions.

    Attributes:
        counts: how many rows each group has of each action.
        no_chance: whether a group that lacks an action, lacks it by more than chance.
    """

    counts: Ints
    no_chance: Bools


def find_support(
    decisions: Decisions, groupings: Sequence[Ints], probabilities_of_target: Floats | None = None
) -> Support:
    """What the log supports of the policy.

    Args:
        decisions: what was logged.
        groupings: a code for each row by each grouping; what is missing from a group of the last, the coarsest, never
            counts as missing by chance.
        probabilities_of_target: where probabilities were estimated, that of the policy's action; below 1 % it counts
            as unsupported.
    """
    is_known = ~np.isnan(decisions.propensities)
    if decisions.targets is not None:
        return _of_targets(decisions, decisions.targets, groupings, is_known, probabilities_of_target)
    return _of_probabilities(decisions, groupings, is_known)


def _cells(decisions: Decisions, groups: Ints, is_known: Bools) -> _Cells | None:
    """What each group of rows has of each action, and whether it lacks others by more than chance.

    It does when the probabilities of those it has add up to one, or when it has so many rows that the least probability
    that the action has anywhere would have shown it.
    """
    n_groups, n_actions = int(groups.max()) + 1, len(decisions.labels)
    if n_groups * n_actions > _MOST_CELLS:
        return None
    at = groups[is_known], decisions.actions[is_known]
    counts = np.zeros((n_groups, n_actions), np.int64)
    np.add.at(counts, at, 1)
    least, most = _extremes((n_groups, n_actions), at, decisions.propensities[is_known])
    is_constant = (most - least <= _SAME).all(axis=1, where=counts > 0)
    is_whole = is_constant & (np.where(counts > 0, least, 0).sum(axis=1) >= 1 - _SAME)
    n_rows = counts.sum(axis=1)
    anywhere = least.min(axis=0)
    with np.errstate(divide="ignore"):
        log_chance = n_rows[:, None] * np.log1p(-np.minimum(anywhere, CERTAIN))
    no_chance = (n_rows >= _LEAST_ROWS)[:, None] & (is_whole[:, None] | (log_chance < np.log(_CHANCE)))
    return _Cells(counts, no_chance)


def _extremes(shape: tuple[int, int], at: tuple[Ints, Ints], values: Floats) -> tuple[Floats, Floats]:
    """The least and the greatest value in each cell; infinity and 0 in empty ones."""
    least, most = np.full(shape, np.inf), np.zeros(shape)
    np.minimum.at(least, at, values)
    np.maximum.at(most, at, values)
    return least, most


def _of_targets(
    decisions: Decisions,
    targets: Ints,
    groupings: Sequence[Ints],
    is_known: Bools,
    probabilities_of_target: Floats | None,
) -> Support:
    lacks = ~is_known | ((decisions.propensities >= CERTAIN) & (targets != decisions.actions))
    if probabilities_of_target is not None:
        lacks |= (probabilities_of_target < _LEAST_ESTIMATED) & (targets != decisions.actions)
    for number, groups in enumerate(groupings, start=1):
        cells = _cells(decisions, groups, is_known)
        if cells is not None:
            is_last = number == len(groupings)
            lacks |= (is_last | cells.no_chance[groups, targets]) & (cells.counts[groups, targets] == 0)
    n_by_action = np.bincount(targets[lacks], minlength=len(decisions.labels))
    order = [code for code in np.argsort(-n_by_action, kind="stable") if n_by_action[code]]
    by_action = {decisions.labels[code]: float(n_by_action[code]) / len(targets) for code in order}
    return Support(lacks.astype(float), float(lacks.mean()), by_action=by_action)


def _of_probabilities(decisions: Decisions, groupings: Sequence[Ints], is_known: Bools) -> Support:
    by_policy, weights = decisions.target_propensities, decisions.weights
    certain = np.where(decisions.propensities >= CERTAIN, 1 - by_policy, 0.0)
    lost = np.where(is_known, certain, 1.0)
    has_table = False
    for groups in groupings:
        cells = _cells(decisions, groups, is_known)
        shares = None if cells is None else _shares(decisions, groups, is_known)
        if cells is None or shares is None:
            continue
        total = shares.sum(axis=1)
        if (total > 1 + _ROUNDING).any():
            break
        # Actions that are missing by chance may have what is missing of the policy.
        no_chance = (cells.no_chance | (cells.counts > 0)).all(axis=1) & (cells.counts.sum(axis=1) >= _LEAST_ROWS)
        missing = np.where(no_chance & (total < 1 - _ROUNDING), 1 - total, 0.0)
        lost = np.maximum(lost, np.where(is_known, missing[groups], 1.0))
        has_table = True
        if (total + missing > 1 - _ROUNDING).all() and total.min() > 0:
            return Support(lost, float(lost.mean()), table=PolicyTable(groups, shares))
    share = float(lost.mean())
    lacking = 1 - float(weights.mean())
    error = float(weights.std(ddof=1)) / len(weights) ** 0.5 if len(weights) > 1 else np.inf
    if not has_table and lacking - share > _ERRORS * error:
        return Support(lost, lacking, from_weights=True)
    return Support(lost, share)


def _shares(decisions: Decisions, groups: Ints, is_known: Bools) -> Floats | None:
    """The policy's probability of each action in each group; None where it varies within a group."""
    shape = int(groups.max()) + 1, len(decisions.labels)
    at = groups[is_known], decisions.actions[is_known]
    least, most = _extremes(shape, at, decisions.target_propensities[is_known])
    return most if (most - least <= _SAME).all(where=np.isfinite(least)) else None
