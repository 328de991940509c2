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
_ROUNDING = 0.005
_COMPLETE = 0.02
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
    """A group of rows against its actions."""

    n_rows: Ints
    counts: Ints
    unseen: Floats


def find_support(
    decisions: Decisions, groupings: Sequence[Ints], probabilities_of_target: Floats | None = None
) -> Support:
    """What the log supports of the policy.

    Args:
        decisions: what was logged.
        groupings: a code for each row by each grouping; the last is the whole.
        probabilities_of_target: where probabilities were estimated, that of the policy's action; below 1 % it counts
            as unsupported.
    """
    is_known = ~np.isnan(decisions.propensities)
    if decisions.targets is not None:
        return _of_targets(decisions, decisions.targets, groupings, is_known, probabilities_of_target)
    return _of_probabilities(decisions, groupings, is_known)


def _cells(decisions: Decisions, groups: Ints, is_known: Bools) -> _Cells | None:
    """What each group of rows has of each action, and the probability that the log had for those it lacks.

    The probability of an action in a group is the harmonic mean of those logged with it, which is right where they
    vary with what the group does not tell.
    """
    n_groups, n_actions = int(groups.max()) + 1, len(decisions.labels)
    if n_groups * n_actions > _MOST_CELLS:
        return None
    keys = groups[is_known] * n_actions + decisions.actions[is_known]
    counts = np.bincount(keys, minlength=n_groups * n_actions).reshape(n_groups, n_actions)
    inverse = np.bincount(keys, 1 / decisions.propensities[is_known], minlength=n_groups * n_actions)
    seen = np.divide(counts.ravel(), inverse, out=np.zeros(len(inverse)), where=inverse > 0)
    unseen = np.clip(1 - seen.reshape(n_groups, n_actions).sum(axis=1), 0, 1)
    return _Cells(counts.sum(axis=1), counts, unseen)


def _is_no_chance(cells: _Cells) -> Bools:
    """Whether what a group lacks, it lacks by more than chance."""
    by_chance = (1 - cells.unseen) ** cells.n_rows
    no_chance: Bools = (cells.n_rows >= _LEAST_ROWS) & ((cells.unseen <= _ROUNDING) | (by_chance < _CHANCE))
    return no_chance


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
    for groups in groupings:
        cells = _cells(decisions, groups, is_known)
        if cells is not None:
            no_chance = _is_no_chance(cells) if groups.any() else np.ones(1, np.bool_)
            lacks |= no_chance[groups] & (cells.counts[groups, targets] == 0)
    n_by_action = np.bincount(targets[lacks], minlength=len(decisions.labels))
    order = [code for code in np.argsort(-n_by_action, kind="stable") if n_by_action[code]]
    by_action = {decisions.labels[code]: float(n_by_action[code]) / len(targets) for code in order}
    return Support(lacks.astype(float), float(lacks.mean()), by_action=by_action)


def _of_probabilities(decisions: Decisions, groupings: Sequence[Ints], is_known: Bools) -> Support:
    by_policy = decisions.target_propensities
    lost = np.where(decisions.propensities >= CERTAIN, 1 - by_policy, 0.0)
    lost = np.where(is_known, lost, 1.0)
    for groups in groupings:
        cells = _cells(decisions, groups, is_known)
        shares = None if cells is None else _shares(decisions, groups, is_known)
        if cells is None or shares is None:
            continue
        large = cells.n_rows >= _LEAST_ROWS
        total = shares.sum(axis=1)
        if (total[large] > 1 + _COMPLETE).any():
            break
        missing = np.where(_is_no_chance(cells) & (total < 1 - _ROUNDING), 1 - total, 0.0)
        lost = np.maximum(lost, np.where(is_known, missing[groups], 1.0))
        is_complete = large.all() and (total + missing > 1 - _COMPLETE).all()
        return Support(lost, float(lost.mean()), table=PolicyTable(groups, shares) if is_complete else None)
    weights = decisions.weights
    error = float(weights.std(ddof=1)) / len(weights) ** 0.5 if len(weights) > 1 else np.inf
    known_lost, lacking = float(lost.mean()), 1 - float(weights.mean())
    if lacking - known_lost > 4 * error:
        return Support(lost, lacking, from_weights=True)
    return Support(lost, known_lost)


def _shares(decisions: Decisions, groups: Ints, is_known: Bools) -> Floats | None:
    """The policy's probability of each action in each group; None where it varies within a group."""
    shape = int(groups.max()) + 1, len(decisions.labels)
    at = groups[is_known], decisions.actions[is_known]
    values = decisions.target_propensities[is_known]
    least, most = np.full(shape, np.inf), np.zeros(shape)
    np.minimum.at(least, at, values)
    np.maximum.at(most, at, values)
    return most if (most - least <= 1e-6).all(where=np.isfinite(least)) else None
