"""The value of a policy of single decisions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from journeylab.errors import DataError
from journeylab.offpolicy import cross_fitted, doubly_robust, folds, ips, observed, snips
from journeylab.tablesource import Table

from .assembly import IntervalKind, Options, Weighed, assembled
from .context import read_context
from .decisions import CERTAIN, Decisions, Faults, codes_of, frame_of, numbers, read_decisions, require
from .outcomes import OutcomeModel
from .propensities import EstimatedPropensities, Sensitivity, sensitivity_table
from .support import Support, find_support

if TYPE_CHECKING:
    from journeylab.offpolicy import Estimate, Floats

    from .context import Context
    from .result import PolicyValue

__all__ = ["check_targets", "policy_value"]


def policy_value(
    table: Table,
    *,
    action: str,
    reward: str,
    propensity: str | EstimatedPropensities,
    target: str | None = None,
    target_propensity: str | None = None,
    context: Sequence[str] = (),
    unit: str | None = None,
    level: float = 0.9,
    interval: IntervalKind = "normal",
    reward_range: tuple[float, float] | None = None,
    half_width: float | None = None,
    model: Any = None,
    n_folds: int = 5,
    rng: int | np.random.Generator = 0,
) -> PolicyValue:
    """What another policy would have earned by a log of decisions, as a `PolicyValue`, or why the log cannot say.

    By inverse propensity (ips), self-normalised (snips), by a model of the rewards alone (dm) and doubly robust with
    cross-fitting (dr); see `journeylab.offpolicy` for their sources. A point estimate is refused when over 5 % of what
    the policy does is something the log could not do, when the weights tell only as much as under 100 rows or under
    1 % of them, when one row has over 10 % of all weight, or when the mean weight is over 4 errors from what it should
    be. The value of the logged policy itself is the observed mean.

    Args:
        table: a pandas, polars, Arrow or DuckDB table with a row for each decision.
        action: the column of what was done: texts, numbers or flags; none missing.
        reward: the column of what came of it: numbers or flags; none missing.
        propensity: the column of the probability with which it was done, above 0 and up to 1. Rows on which it is
            missing count as unsupported. Where the log has none, `estimate_propensities`.
        target: the column of what the policy would do; none missing. Give this or
        target_propensity: the column of the policy's probability of what was done, 0..1; none missing.
        context: columns of what was known before: they sharpen dm and dr, and show where an action never occurs.
        unit: the column of whom a decision is about, where one has several; errors are then taken over units.
        level: of all intervals.
        interval: which kind `estimates` shows: "normal", "empirical_bernstein" (for ips and dr), "anytime".
        reward_range: the least and the greatest reward there can be; by default 0 to 1 for flags, otherwise the least
            and greatest seen, and 0.
        half_width: how sure the experiment that is named upon a refusal should make one; by default a quarter of the
            mean reward.
        model: a scikit-learn regressor of the reward in place of a ridge regression, such as `LGBMRegressor()`.
        n_folds: in how many parts the log is cut for cross-fitting, two or more.
        rng: a seed or generator, for the folds alone.

    Raises:
        DataError: with everything that is wrong with the table: unknown columns with the nearest name, or rows.

    >>> rng = np.random.default_rng(1)
    >>> sent = rng.choice(["short", "long"], size=2000, p=[0.8, 0.2])
    >>> log = pd.DataFrame({
    ...     "sent": sent, "chance": np.where(sent == "long", 0.2, 0.8), "plan": "long",
    ...     "bought": rng.random(2000) < np.where(sent == "long", 0.15, 0.10)})
    >>> value = policy_value(log, action="sent", reward="bought", propensity="chance", target="plan")
    >>> value
    PolicyValue(plan, 2,000 decisions: snips 0.1675, 90% 0.137 to 0.198; done 0.1185)
    >>> value.contrast[["estimator", "difference", "low", "high"]].round(3)
      estimator  difference    low   high
    0       ips       0.052  0.022  0.081
    1     snips       0.049  0.023  0.075
    2        dm       0.049  0.023  0.075
    3        dr       0.050  0.023  0.077
    """
    options = Options(level, interval, reward_range, half_width, n_folds, rng)
    frame = frame_of(table)
    check_targets(target, target_propensity)
    context = (context,) if isinstance(context, str) else tuple(context)
    named = [("action", action), ("reward", reward), ("target", target), ("target_propensity", target_propensity)]
    named += [("propensity", propensity)] if isinstance(propensity, str) else []
    named += [("unit", unit), *(("context", name) for name in context)]
    require(frame, [(what, name) for what, name in named if name is not None])
    faults = Faults(frame)
    options.check(faults)
    rewards = numbers(frame, reward, faults, missing="must give a reward in every row; say 0 where nothing came of it")
    decisions = read_decisions(
        frame, faults, action=action, propensity=_logged(propensity, frame, faults), target=target,
        target_propensity=target_propensity,
    )  # fmt: skip
    if unit is not None:
        faults.rows(unit, frame[unit].isna().to_numpy(), frame[unit].to_numpy(), "must name a unit in every row")
    faults.raise_if_any()
    units = None if unit is None else codes_of(frame[unit])
    if units is not None and not units.any():
        raise DataError(f"column {unit!r} has only one unit; an error needs at least two")

    estimated = propensity if isinstance(propensity, EstimatedPropensities) else None
    known = read_context(frame, context)
    support = find_support(
        decisions, known.groups, None if estimated is None else estimated.of(decisions.labels, decisions.targets)
    )
    weighed = Weighed(
        policy=str(target if target is not None else target_propensity),
        row="decision",
        weights=np.where(support.unsupported == 1, 0.0, decisions.weights),
        rewards=rewards,
        by_policy=decisions.target_propensities,
        propensities=decisions.propensities,
        unsupported_share=support.share,
        from_weights=support.from_weights,
        arms=_arms(decisions, support),
        units=units,
        notes=_notes(decisions, support, estimated),
    )

    def estimate() -> tuple[Estimate, list[Estimate]]:
        return _estimates(weighed, decisions, known, support, options, model)

    def sensitivity(estimates: list[Estimate], done: Estimate) -> Sensitivity:
        return sensitivity_table(weighed, estimates, done, options.level)

    return assembled(weighed, options, estimate, sensitivity=None if estimated is None else sensitivity)


def check_targets(target: str | None, target_propensity: str | None) -> None:
    if (target is None) == (target_propensity is None):
        given = "neither" if target is None else "both"
        raise DataError(f"give target, what the policy would do, or target_propensity, its probability; got {given}")


def _logged(propensity: str | EstimatedPropensities, frame: pd.DataFrame, faults: Faults) -> str | Floats:
    if isinstance(propensity, str):
        return propensity
    if not propensity.propensity.index.equals(frame.index):
        faults.add("the probabilities were estimated on other rows; estimate them on this table")
        return np.ones(len(frame))
    estimated: Floats = propensity.propensity.to_numpy()
    return estimated


def _estimates(
    weighed: Weighed,
    decisions: Decisions,
    known: Context,
    support: Support,
    options: Options,
    model: Any,
) -> tuple[Estimate, list[Estimate]]:
    """What was done, and the value by each estimator."""
    weights, rewards, supported = weighed.weights, weighed.rewards, 1 - support.unsupported
    done = observed(rewards, supported)
    if weighed.is_logged:
        return done, [done._replace(estimator=name) for name in ("ips", "snips", "dm", "dr")]
    outcomes = OutcomeModel(decisions, known, support, rewards, model)
    of = np.arange(len(rewards)) if weighed.units is None else weighed.units
    fold = folds(of, min(options.n_folds, int(of.max()) + 1), np.random.default_rng(options.rng))
    predictions = cross_fitted(outcomes.predictions, fold)
    return done, [
        ips(weights, rewards, supported),
        snips(weights, rewards),
        outcomes.direct(),
        doubly_robust(weights, rewards, *predictions, supported),
    ]


def _arms(decisions: Decisions, support: Support) -> dict[str, float]:
    """The share of each action in what the policy does where the log does not support it, or else everywhere."""
    if decisions.targets is not None:
        of = support.unsupported if support.unsupported.any() else np.ones(len(decisions.targets))
        shares = np.bincount(decisions.targets, of, minlength=len(decisions.labels))
    elif support.table is not None:
        shares = support.table.shares[support.table.groups].sum(axis=0)
    else:
        return {"the policy's": 1.0}
    order = [code for code in np.argsort(-shares, kind="stable") if shares[code] > 0]
    return {decisions.labels[code]: float(shares[code] / shares.sum()) for code in order}


def _notes(decisions: Decisions, support: Support, estimated: EstimatedPropensities | None) -> list[str]:
    notes = [] if estimated is None else list(estimated.notes)
    if (decisions.weights == 1).all():
        notes.append("The policy is the one that was logged: its value is what was observed.")
    elif decisions.targets is not None and (decisions.targets == decisions.actions).all():
        notes.append(
            "The policy does in every row what was done, so it looks at what was drawn; the logged policy itself is "
            "asked for by its probability, as target_propensity."
        )
    if (decisions.propensities >= CERTAIN).all():
        notes.append("The log left nothing to chance: it tells only of what it always did.")
    n_unknown = int(np.isnan(decisions.propensities).sum())
    if n_unknown:
        notes.append(f"On {n_unknown:,} rows the log has no probability; they count as unsupported.")
    if support.by_action and support.share > 0:
        named = ", ".join(f"{name} ({share:.1%})" for name, share in list(support.by_action.items())[:5])
        notes.append(f"Not supported, by action and share of decisions: {named}.")
    if support.from_weights:
        notes.append("How much is unsupported is what the mean weight lacks, if the log's probabilities are right.")
    return notes
