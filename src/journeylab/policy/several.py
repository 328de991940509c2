"""The value of a policy that decides several times about each contact, as a journey does."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from journeylab.errors import DataError
from journeylab.offpolicy import (
    Estimate,
    Trajectories,
    before,
    diagnose,
    fitted_values,
    folds,
    ips,
    observed,
    per_decision,
    sequential_doubly_robust,
    snips,
    trajectory_weights,
    unsupported_mass,
    weighted_per_decision,
)
from journeylab.tablesource import Table

from .assembly import IntervalKind, Options, Weighed, assembled
from .context import as_numbers
from .decisions import CERTAIN, Decisions, Faults, codes_of, frame_of, numbers, read_decisions, require
from .single import check_targets
from .support import Support, find_support

if TYPE_CHECKING:
    from journeylab.offpolicy import Bools, Floats, Ints

    from .result import PolicyValue

__all__ = ["sequential_policy_value"]


def sequential_policy_value(
    table: Table,
    *,
    unit: str,
    step: str,
    action: str,
    propensity: str,
    target: str | None = None,
    target_propensity: str | None = None,
    reward: str | None = None,
    unit_reward: str | None = None,
    node: str | None = None,
    state: Sequence[str] = (),
    level: float = 0.9,
    interval: IntervalKind = "normal",
    reward_range: tuple[float, float] | None = None,
    half_width: float | None = None,
    n_folds: int = 5,
    rng: int | np.random.Generator = 0,
) -> PolicyValue:
    """What a policy of several decisions would have earned by unit, as a `PolicyValue`, or why the log cannot say.

    By importance sampling of whole trajectories (is, and self-normalised wis) and per decision (pdis, and
    self-normalised wpdis), by a model alone (dm) and doubly robust with cross-fitting (dr); see `journeylab.offpolicy`
    for their sources. It is refused for the reasons of `policy_value`, with units for rows; `nodes` says where support
    is lacking. The value is for the units that have a decision in the log.

    Args:
        table: a pandas, polars, Arrow or DuckDB table with a row for each decision.
        unit: the column of whom a decision is about; none missing.
        step: the column that orders the decisions of a unit: numbers or instants, none twice.
        action: the column of what was done; none missing.
        propensity: the column of the probability with which it was done, above 0 and up to 1; where it is missing, the
            decision counts as unsupported.
        target: the column of what the policy would do there; none missing. Give this or
        target_propensity: the column of the policy's probability of what was done, 0..1; none missing.
        reward: the column of what a unit earned after this decision and before the next; none missing. Give this or
        unit_reward: the column of what it earned in all, the same in all of its rows.
        node: the column of where the decision was made, for `nodes`; by default the step.
        state: columns of few values of what was known, for dm and dr.
        level: of all intervals.
        interval: which kind `estimates` shows, as for `policy_value`; empirical Bernstein for is, pdis and dr.
        reward_range: the least and greatest a unit can earn in all; by default as for `policy_value`.
        half_width: how sure the experiment that is named upon a refusal should make one, as for `policy_value`.
        n_folds: in how many parts the units are cut for cross-fitting, two or more.
        rng: a seed or generator, for the folds alone.

    Raises:
        DataError: with everything that is wrong with the table.

    >>> rng = np.random.default_rng(1)
    >>> log = pd.DataFrame({
    ...     "contact": np.repeat(np.arange(1000), 2), "step": np.tile([1, 2], 1000), "plan": "yes", "chance": 0.5,
    ...     "mailed": rng.choice(["yes", "no"], 2000)})
    >>> n_mails = (log["mailed"] == "yes").groupby(log["contact"]).transform("sum")
    >>> log["bought"] = (rng.random(1000) < 0.1 + 0.1 * n_mails[::2]).repeat(2).to_numpy()
    >>> sequential_policy_value(log, unit="contact", step="step", action="mailed", propensity="chance", target="plan",
    ...     unit_reward="bought")
    PolicyValue(plan, 1,000 units: wpdis 0.2745, 90% 0.2285 to 0.3205; done 0.192)
    """
    options = Options(level, interval, reward_range, half_width, n_folds, rng)
    frame = frame_of(table)
    check_targets(target, target_propensity)
    if (reward is None) == (unit_reward is None):
        given = "neither" if reward is None else "both"
        raise DataError(f"give reward, what was earned after each decision, or unit_reward, all of it; got {given}")
    state = (state,) if isinstance(state, str) else tuple(state)
    named = [("unit", unit), ("step", step), ("action", action), ("propensity", propensity), ("target", target)]
    named += [("target_propensity", target_propensity), ("reward", reward), ("unit_reward", unit_reward)]
    named += [("node", node), *(("state", name) for name in state)]
    require(frame, [(what, name) for what, name in named if name is not None])
    faults = Faults(frame)
    options.check(faults)
    for what, name in (("a unit", unit), ("a step", step)):
        faults.rows(name, frame[name].isna().to_numpy(), frame[name].to_numpy(), f"must name {what} in every row")
    twice = frame.duplicated([unit, step], keep="first").to_numpy()
    faults.rows(step, twice, frame[step].to_numpy(), "must differ between the decisions of a unit")
    column = str(reward if reward is not None else unit_reward)
    earned = numbers(frame, column, faults, missing="must give a reward in every row; say 0 where nothing came of it")
    units = codes_of(frame[unit])
    if unit_reward is not None:
        first = earned[np.unique(units, return_index=True)[1]][units]
        faults.rows(column, earned != first, earned, "must be the same in all rows of a unit")
    decisions = read_decisions(
        frame, faults, action=action, propensity=propensity, target=target, target_propensity=target_propensity
    )
    faults.raise_if_any()
    if not units.any():
        raise DataError(f"column {unit!r} has only one unit; an error needs at least two")

    layout = _Layout(units, frame[step])
    if unit_reward is not None:
        earned = np.where(layout.is_last, earned, 0.0)
    nodes = frame[step if node is None else node]
    cells = frame.groupby([nodes, *(frame[name] for name in state)], sort=False, dropna=False).ngroup()
    support = find_support(decisions, [cells.to_numpy(dtype=np.int64), codes_of(nodes)])
    of = layout.trajectories(decisions, support, cells.to_numpy(dtype=np.int64), earned)
    weighed = _weighed(of, layout, decisions, support, str(target if target is not None else target_propensity))
    by_node = _by_node(layout, nodes, decisions, support, trajectory_weights(of.ratios))
    weighed.notes.extend(_notes(by_node, support))

    def estimate() -> tuple[Estimate, list[Estimate]]:
        return _estimates(of, weighed, options)

    return assembled(weighed, options, estimate, nodes=by_node)


class _Layout:
    """Where the decisions of a long table lie in an array of (unit, decision)."""

    def __init__(self, units: Ints, steps: pd.Series) -> None:
        order = np.lexsort([_codes_in_order(steps), units])
        n_before = np.empty(len(units), np.int64)
        starts = np.flatnonzero(np.diff(units[order], prepend=-1))
        n_before[order] = np.arange(len(units)) - np.repeat(starts, np.diff(starts, append=len(units)))
        self.units, self.places = units, n_before
        self.shape = int(units.max()) + 1, int(n_before.max()) + 1
        self.is_last: Bools = n_before == np.bincount(units)[units] - 1

    def array(self, values: Any, empty: float) -> Any:
        """The values in (unit, decision), with something else where there is no decision."""
        made = np.full(self.shape, empty, dtype=np.asarray(values).dtype)
        made[self.units, self.places] = values
        return made

    def trajectories(self, decisions: Decisions, support: Support, cells: Ints, earned: Floats) -> Trajectories:
        """The decisions by unit."""
        ratios = np.where(support.unsupported == 1, 0.0, decisions.weights)
        targets = decisions.targets
        return Trajectories(
            is_made=self.array(np.ones(len(cells), np.bool_), 0),
            ratios=self.array(ratios, 1.0),
            rewards=self.array(earned, 0.0),
            unsupported=self.array(support.unsupported, 0.0),
            cells=self.array(cells, 0),
            actions=self.array(decisions.actions, 0),
            targets=None if targets is None else self.array(targets, 0),
        )


def _codes_in_order(values: pd.Series) -> Ints:
    """A code for each value, in their order.

    Raises:
        DataError: when they have none, as texts and numbers together.
    """
    try:
        codes: Ints = pd.factorize(as_numbers(values), sort=True)[0].astype(np.int64)
    except TypeError:
        raise DataError(f"column {values.name!r} holds values of several types, which have no order") from None
    return codes


def _weighed(of: Trajectories, layout: _Layout, decisions: Decisions, support: Support, policy: str) -> Weighed:
    weights = trajectory_weights(of.ratios)[:, -1]
    share = float(unsupported_mass(of).sum())
    if support.from_weights:
        share = max(share, 1 - float(weights.mean()))
    notes = []
    if (of.ratios == 1).all():
        notes.append("The policy is the one that was logged: its value is what was observed.")
    if (decisions.propensities >= CERTAIN).all():
        notes.append("The log left nothing to chance: it tells only of what it always did.")
    return Weighed(
        policy=policy,
        row="unit",
        weights=weights,
        rewards=of.rewards.sum(axis=1),
        by_policy=layout.array(decisions.target_propensities, 1.0).prod(axis=1),
        propensities=layout.array(decisions.propensities, 1.0).prod(axis=1),
        unsupported_share=min(share, 1.0),
        from_weights=support.from_weights,
        arms={"the policy's at every decision": 1.0},
        notes=notes,
    )


def _estimates(of: Trajectories, weighed: Weighed, options: Options) -> tuple[Estimate, list[Estimate]]:
    done = observed(weighed.rewards)
    if weighed.is_logged:
        return done, [done._replace(estimator=name) for name in ("is", "wis", "pdis", "wpdis", "dm", "dr")]
    n = len(weighed.weights)
    supported = 1 - (before(trajectory_weights(of.ratios)) * of.unsupported).sum(axis=1)
    fold = folds(np.arange(n), min(options.n_folds, n), np.random.default_rng(options.rng))
    in_sample = fitted_values(of, np.zeros(n, np.int64))
    # The means of cells are what the weights estimate, so that their errors are those of the doubly robust estimate.
    like = sequential_doubly_robust(of, *in_sample)
    direct = float(in_sample[1][:, 0].mean())
    return done, [
        ips(weighed.weights, weighed.rewards, supported)._replace(estimator="is"),
        snips(weighed.weights, weighed.rewards)._replace(estimator="wis"),
        per_decision(of),
        weighted_per_decision(of),
        like._replace(estimator="dm", value=direct, influence=like.influence - like.value + direct),
        sequential_doubly_robust(of, *fitted_values(of, fold)),
    ]


def _by_node(
    layout: _Layout, nodes: pd.Series, decisions: Decisions, support: Support, weights: Floats
) -> pd.DataFrame:
    """Support by node, in order of the first decision there."""
    reaching = before(weights)[layout.units, layout.places]
    codes, names = pd.factorize(nodes, use_na_sentinel=False)
    rows = []
    for code, name in enumerate(names):
        at = codes == code
        found = diagnose(decisions.weights[at])
        reached, propensities = reaching[at], decisions.propensities[at]
        lost = float((reached * support.unsupported[at]).sum())
        rows.append(
            {
                "node": str(name),
                "n": found.n,
                "n_matched": found.n_matched,
                "effective_n": diagnose(weights[layout.units, layout.places][at]).effective_n,
                "mean_weight": found.mean_weight,
                "mean_weight_standard_error": found.mean_weight_standard_error,
                "propensity_min": float(np.nanmin(propensities)) if not np.isnan(propensities).all() else np.nan,
                "propensity_max": float(np.nanmax(propensities)) if not np.isnan(propensities).all() else np.nan,
                "unsupported_share": lost / float(reached.sum()) if reached.any() else np.nan,
                "first": layout.places[at].min(),
            }
        )
    return pd.DataFrame(rows).sort_values("first", kind="stable", ignore_index=True).drop(columns="first")


def _notes(by_node: pd.DataFrame, support: Support) -> list[str]:
    lacking = by_node[by_node["unsupported_share"] > 0]
    notes = [
        f"At {one.node} the log could not have done {one.unsupported_share:.1%} of what the policy does there."
        for one in lacking.itertuples()
    ]
    if support.from_weights:
        notes.append("How much is unsupported is what the mean weight lacks, if the log's probabilities are right.")
    return notes
