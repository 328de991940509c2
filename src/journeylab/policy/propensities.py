"""Probabilities of what was done where the log has none: estimated, with the assumption and what it costs if wrong."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

import numpy as np
import pandas as pd

from journeylab.display import block, counted
from journeylab.display import table as html_table
from journeylab.errors import DataError, JourneyLabError
from journeylab.intervals import normal_interval
from journeylab.offpolicy import folds
from journeylab.resulttables import Tables
from journeylab.tablesource import Table

from .context import read_context
from .decisions import Faults, action_names, codes_of, frame_of, require

if TYPE_CHECKING:
    from journeylab.offpolicy import Bools, Estimate, Floats, Ints

    from .assembly import Weighed

__all__ = ["EstimatedPropensities", "Sensitivity", "estimate_propensities", "sensitivity_table"]

_GAMMAS = (1.0, 1.25, 1.5, 2.0, 3.0)
_GREATEST_GAMMA = 100.0
_LEAST = 1e-4
_N_BINS = 10


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class EstimatedPropensities(Tables):
    """Probabilities of logged actions, estimated from what was known; for the `propensity` of `policy_value`.

    Attributes:
        propensity: by row of the table, the probability of what was done, above 0 and up to 1.
        probabilities: a column for each action.
        context: the columns they rest on.
        calibration: by tenths of the probabilities of all actions: `n`, `predicted_share` and `observed_share`.
    """

    _table_names: ClassVar = ("probabilities", "calibration")

    propensity: pd.Series
    probabilities: pd.DataFrame
    context: tuple[str, ...]
    calibration: pd.DataFrame

    @property
    def notes(self) -> list[str]:
        """The assumption, and how well the probabilities agree with what was done."""
        given = f"given {', '.join(self.context)}" if self.context else "at all: everybody had the same chances"
        off = float((self.calibration["predicted_share"] - self.calibration["observed_share"]).abs().max())
        return [
            f"The probabilities are estimated. This assumes no unmeasured confounding {given}: that nothing else that "
            "matters for the reward had a say in what was done. The log cannot show it; the sensitivity says what it "
            "costs if it is wrong.",
            f"The estimated probabilities are off by up to {off:.3f} in a tenth of them.",
        ]

    def of(self, labels: Sequence[str], codes: Ints | None) -> Floats | None:
        """The probability of an action in each row, 0 for actions that were never taken."""
        if codes is None:
            return None
        table = self.probabilities.reindex(columns=list(labels), fill_value=0.0).to_numpy(dtype=float)
        found: Floats = table[np.arange(len(codes)), codes]
        return found

    def __repr__(self) -> str:
        actions = counted(self.probabilities.shape[1], "action")
        on = ", ".join(self.context) or "nothing"
        return f"EstimatedPropensities({actions} given {on}, {counted(len(self.propensity), 'decision')})"

    def _repr_html_(self) -> str:
        rows = [
            (f"{one.n:,}", f"{one.predicted_share:.3f}", f"{one.observed_share:.3f}")
            for one in self.calibration.itertuples()
        ]
        notes = html_table(("what it assumes",), [(note,) for note in self.notes])
        return block(repr(self), html_table(("decisions and actions", "predicted", "observed"), rows), notes)


class Sensitivity(NamedTuple):
    """What a value may be if estimated probabilities are wrong.

    Attributes:
        table: `gamma`, the value's `low` and `high`, and those of its difference to what was done, `difference_low` and
            `difference_high`.
        note: at which gamma the difference may be nothing, in a sentence.
    """

    table: pd.DataFrame
    note: str


def estimate_propensities(
    table: Table,
    *,
    action: str,
    context: Sequence[str],
    unit: str | None = None,
    model: Any = None,
    n_folds: int = 5,
    rng: int | np.random.Generator = 0,
) -> EstimatedPropensities:
    """The probability of each logged action given what was known, by a multinomial logistic regression, cross-fitted.

    Only where no probability was logged: what a value then rests on is an assumption, which is printed with it, and a
    sensitivity bound. Each row's probability is estimated on other rows.

    Args:
        table: a pandas, polars, Arrow or DuckDB table with a row for each decision.
        action: the column of what was done; none missing.
        context: the columns of what was known when it was chosen; all that mattered for the choice.
        unit: the column of whom a decision is about; one unit's rows are estimated on other units.
        model: a scikit-learn classifier in place of the logistic regression, such as `LGBMClassifier()`.
        n_folds: in how many parts the log is cut, two or more.
        rng: a seed or generator, for the folds alone.

    Raises:
        DataError: when a column is unknown, an action is missing, or there are fewer rows than folds.
        JourneyLabError: when scikit-learn is not installed.

    >>> rng = np.random.default_rng(1)
    >>> spend = rng.normal(size=1000)
    >>> sent = rng.random(1000) < 1 / (1 + np.exp(-spend))
    >>> estimate_propensities(pd.DataFrame({"sent": sent, "spend": spend}), action="sent", context=["spend"])
    EstimatedPropensities(2 actions given spend, 1,000 decisions)
    """
    frame = frame_of(table)
    context = (context,) if isinstance(context, str) else tuple(context)
    more = [] if unit is None else [("unit", unit)]
    require(frame, [("action", action), *more, *(("context", name) for name in context)])
    faults = Faults(frame)
    if unit is not None:
        faults.rows(unit, frame[unit].isna().to_numpy(), frame[unit].to_numpy(), "must name a unit in every row")
    (names,) = action_names([(action, frame[action])], faults)
    if not 2 <= n_folds <= len(frame):
        faults.add(f"cross-fitting needs two folds or more, and a row for each; got n_folds={n_folds}")
    faults.raise_if_any()
    actions, labels = pd.factorize(names, sort=True)
    units = np.arange(len(frame)) if unit is None else codes_of(frame[unit])
    fold = folds(units, min(n_folds, int(units.max()) + 1), np.random.default_rng(rng))
    if len(labels) == 1:
        probabilities = np.ones((len(frame), 1))
    elif fold.max() == 0:
        raise DataError(f"column {unit!r} has only one unit; cross-fitting needs at least two")
    else:
        probabilities = _cross_fitted(read_context(frame, context).features, actions, len(labels), fold, model)
    of_logged = probabilities[np.arange(len(frame)), actions]
    return EstimatedPropensities(
        propensity=pd.Series(of_logged, index=frame.index, name="propensity"),
        probabilities=pd.DataFrame(probabilities, index=frame.index, columns=[str(label) for label in labels]),
        context=context,
        calibration=_calibration(probabilities, actions),
    )


def _cross_fitted(features: Floats, actions: Ints, n_actions: int, fold: Ints, model: Any) -> Floats:
    try:
        from sklearn.base import clone
        from sklearn.linear_model import LogisticRegression
    except ImportError:
        raise JourneyLabError('estimating needs scikit-learn: pip install "journeylab[models]"') from None
    chosen = LogisticRegression(max_iter=1000) if model is None else model
    probabilities = np.zeros((len(actions), n_actions))
    for one in range(int(fold.max()) + 1):
        held_out: Bools = fold == one
        shares = np.bincount(actions[~held_out], minlength=n_actions) / (~held_out).sum()
        seen = np.flatnonzero(shares)
        if features.shape[1] and len(seen) > 1:
            fitted = clone(chosen).fit(features[~held_out], actions[~held_out])
            part = np.zeros((held_out.sum(), n_actions))
            part[:, fitted.classes_] = fitted.predict_proba(features[held_out])
        else:
            part = np.tile(shares, (held_out.sum(), 1))
        probabilities[held_out] = part
    probabilities = np.maximum(probabilities, _LEAST)
    found: Floats = probabilities / probabilities.sum(axis=1, keepdims=True)
    return found


def _calibration(probabilities: Floats, actions: Ints) -> pd.DataFrame:
    """By tenths of all probabilities: how many there are, their mean, and how often the action was taken."""
    taken = np.zeros_like(probabilities)
    taken[np.arange(len(actions)), actions] = 1
    predicted, observed = probabilities.ravel(), taken.ravel()
    edges = np.unique(np.quantile(predicted, np.arange(1, _N_BINS) / _N_BINS))
    bins = np.searchsorted(edges, predicted, side="right")
    frame = pd.DataFrame({"bin": bins, "predicted_share": predicted, "observed_share": observed})
    groups = frame.groupby("bin")
    table = groups.mean()
    table.insert(0, "n", groups.size())
    return table.reset_index(drop=True)


def sensitivity_table(weighed: Weighed, estimates: list[Estimate], done: Estimate, level: float) -> Sensitivity:
    """What the self-normalised value may be when the odds of the probabilities are wrong by up to a factor gamma.

    Tan, Z. (2006). A distributional approach for causal inference using propensity scores. JASA 101, 1619-1637, for
    the model; Zhao, Q., Small, D. S. and Bhattacharya, B. B. (2019). Sensitivity analysis for inverse probability
    weighting estimators via the percentile bootstrap. JRSS B 81, 735-761, for the bounds. For chance they are widened
    by the half-widths of the estimate's own intervals.
    """
    snips = next(one for one in estimates if one.estimator == "snips")
    half, half_difference = (
        normal_interval(0.0, one.standard_error, level).high for one in (snips, snips.minus(done))
    )  # fmt: skip
    used = weighed.weights > 0
    odds = 1 / weighed.propensities[used] - 1
    by_policy, rewards = weighed.by_policy[used], weighed.rewards[used]

    def bounds(gamma: float) -> tuple[float, float]:
        least, most = by_policy * (1 + odds / gamma), by_policy * (1 + odds * gamma)
        return -_greatest_mean(-rewards, least, most), _greatest_mean(rewards, least, most)

    def may_be_nothing(gamma: float) -> bool:
        low, high = bounds(gamma)
        return low - half_difference <= done.value <= high + half_difference

    rows = []
    for gamma in _GAMMAS:
        low, high = bounds(gamma)
        difference = low - done.value - half_difference, high - done.value + half_difference
        rows.append((gamma, low - half, high + half, *difference))
    table = pd.DataFrame(rows, columns=["gamma", "low", "high", "difference_low", "difference_high"])
    return Sensitivity(table, _breaking_note(may_be_nothing))


def _breaking_note(may_be_nothing: Callable[[float], bool]) -> str:
    """At which gamma the difference to what was done can first be nothing."""
    low, high = 1.0, _GREATEST_GAMMA
    if may_be_nothing(low):
        return "The difference to what was done may be nothing even if the estimated probabilities are right."
    if not may_be_nothing(high):
        return f"The difference to what was done stands even if the odds are wrong by a factor of {high:g}."
    while high - low > 0.005:
        middle = (low + high) / 2
        low, high = (low, middle) if may_be_nothing(middle) else (middle, high)
    return f"The difference to what was done may be nothing if the odds are wrong by a factor of {high:.2f} or more."


def _greatest_mean(rewards: Floats, least: Floats, most: Floats) -> float:
    """The greatest weighted mean when each weight may lie anywhere between two figures.

    Above some reward all weights are at their most, below it at their least; the best place to change is found by
    trying all of them.
    """
    order = np.argsort(-rewards, kind="stable")
    rewards, least, most = rewards[order], least[order], most[order]
    weight = np.cumsum(most) + (least.sum() - np.cumsum(least))
    total = np.cumsum(most * rewards) + ((least * rewards).sum() - np.cumsum(least * rewards))
    return float((total / weight).max())
