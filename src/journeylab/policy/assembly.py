"""From weights, rewards and support to a result: the same for one decision and for several."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, TypeAlias, get_args

import numpy as np
import pandas as pd

from journeylab.errors import DataError, listed
from journeylab.intervals import Interval, anytime_interval, empirical_bernstein, normal_interval
from journeylab.offpolicy import Estimate, by_unit, diagnose, observed

from .refusal import bounds_of, cheapest_randomisation, reasons_to_refuse
from .result import PolicyValue, contrast_table

if TYPE_CHECKING:
    from journeylab.offpolicy import Floats, Ints

    from .decisions import Faults
    from .propensities import Sensitivity

__all__ = ["IntervalKind", "Options", "Weighed", "assembled", "range_of"]

IntervalKind: TypeAlias = Literal["normal", "empirical_bernstein", "anytime"]
"""Which interval the table of estimates shows."""

_ERRORS_APART = 4
_PLANNED_N = 10_000  # the same at every look, whatever the log has by then
_FEW_UNITS = 50
_WANTED_SHARE = 0.25
_WANTED_OF_RANGE = 0.01


@dataclass(frozen=True)
class Options:
    """How a value is asked for; see `policy_value`."""

    level: float = 0.9
    interval: IntervalKind = "normal"
    reward_range: tuple[float, float] | None = None
    half_width: float | None = None
    n_folds: int = 5
    rng: int | np.random.Generator = 0

    def check(self, faults: Faults) -> None:
        """Takes note of what is no sensible option."""
        if not 0 < self.level < 1:
            faults.add(f"level lies between 0 and 1, such as 0.9; got {self.level!r}")
        if self.interval not in get_args(IntervalKind):
            faults.add(f"interval is one of {listed(get_args(IntervalKind))}; got {self.interval!r}")
        if self.half_width is not None and not 0 < self.half_width < math.inf:
            faults.add(f"half_width is greater than zero; got {self.half_width!r}")
        if self.n_folds < 2:
            faults.add(f"cross-fitting needs at least two folds; got n_folds={self.n_folds}")
        if self.reward_range is not None and not self.reward_range[0] < self.reward_range[1]:
            faults.add(f"reward_range goes from a lesser to a greater reward; got {self.reward_range!r}")


@dataclass(frozen=True, eq=False)
class Weighed:
    """What is known once every row, or unit, has its weight.

    Attributes:
        policy: what it is called.
        row: what is counted.
        weights: by row.
        rewards: by row.
        by_policy: the policy's probability of what was done.
        propensities: the log's; NaN where it does not say.
        unsupported_share: 0..1.
        from_weights: whether that could only be told from the weights.
        arms: the share of each action in what the policy does.
        units: a code for the unit of each row, where one has several.
        notes: sentences.
    """

    policy: str
    row: str
    weights: Floats
    rewards: Floats
    by_policy: Floats
    propensities: Floats
    unsupported_share: float
    from_weights: bool
    arms: dict[str, float]
    units: Ints | None = None
    notes: list[str] = field(default_factory=list)

    @property
    def is_logged(self) -> bool:
        """Whether the policy is the logged one, so that nothing has to be corrected."""
        return bool((self.weights == 1).all()) and self.unsupported_share == 0


def range_of(rewards: Floats, given: tuple[float, float] | None) -> tuple[float, float]:
    """The least and the greatest reward there can be: as given, else 0 to 1 for flags, else those seen and 0.

    Raises:
        DataError: when a reward lies outside the range given.
    """
    least, most = float(rewards.min()), float(rewards.max())
    if given is None:
        return (0.0, 1.0) if np.isin(rewards, (0, 1)).all() else (min(least, 0.0), max(most, 0.0))
    if least < given[0] or most > given[1]:
        raise DataError(
            f"rewards go from {least:g} to {most:g}, outside the reward_range of {given[0]:g} to {given[1]:g}"
        )
    return given


def assembled(
    weighed: Weighed,
    options: Options,
    estimate: Callable[[], tuple[Estimate, list[Estimate]]],
    nodes: pd.DataFrame | None = None,
    sensitivity: Callable[[list[Estimate], Estimate], Sensitivity] | None = None,
) -> PolicyValue:
    """The result; nothing is estimated when it is to be refused.

    Args:
        weighed: what is known.
        options: how it is asked for.
        estimate: gives what was done, and the value by each estimator.
        nodes: support by node.
        sensitivity: gives it from the estimates and what was done.
    """
    expected = 1.0 if weighed.from_weights else None
    found = diagnose(weighed.weights, weighed.unsupported_share, expected_weight=expected, units=weighed.units)
    reasons = reasons_to_refuse(found, weighed.row)
    names = [reason.diagnostic for reason in reasons]
    trusts_log = "mean_weight" not in names or weighed.from_weights
    least_and_most = range_of(weighed.rewards, options.reward_range)
    notes = list(weighed.notes)
    bounds = None
    if reasons or found.unsupported_share:
        bounds = bounds_of(
            weighed.weights, weighed.rewards, weighed.by_policy, found, reasons, least_and_most, options.level,
            trusts_log=trusts_log,
        )  # fmt: skip
        if options.reward_range is None and least_and_most != (0, 1):
            low, high = least_and_most
            notes.append(
                f"The bounds take rewards to lie between {low:g} and {high:g}; give their range if they do not."
            )
    if found.unsupported_share and not reasons:
        notes.append(
            f"The log supports all but {found.unsupported_share:.1%} of the policy: the estimates are for that part, "
            "the bounds for all of it."
        )
    done, estimates = (observed(weighed.rewards), []) if reasons else estimate()
    if weighed.units is not None:
        done, estimates = by_unit(done, weighed.units), [by_unit(one, weighed.units) for one in estimates]
    sensitive = None if sensitivity is None or reasons else sensitivity(estimates, done)
    notes += [] if sensitive is None else [sensitive.note]
    if not reasons:
        notes += _disagreement(estimates)
    if weighed.units is not None and weighed.units.max() + 1 < _FEW_UNITS:
        notes.append(f"There are only {int(weighed.units.max()) + 1} units: the intervals are too narrow.")
    randomisation = None
    if reasons:
        randomisation = cheapest_randomisation(
            weighed.weights, weighed.by_policy, weighed.propensities, found,
            trusts_log=trusts_log, deviation=float(weighed.rewards.std()), level=options.level, arms=weighed.arms,
            half_width=options.half_width or _wanted(weighed.rewards, least_and_most),
        )  # fmt: skip
    table, intervals = _tables(estimates, weighed, least_and_most, options)
    return PolicyValue(
        policy=weighed.policy,
        n=found.n,
        estimates=table,
        intervals=intervals,
        contrast=contrast_table([one.minus(done) for one in estimates], options.level),
        observed=_observed(done, options.level),
        diagnostics=found,
        refused="; ".join(reason.text for reason in reasons) or None,
        reasons=names,
        bounds=None if bounds is None else (bounds.low, bounds.high),
        bounds_interval=None if bounds is None else bounds.interval,
        randomisation=randomisation,
        notes=notes,
        level=options.level,
        row=weighed.row,
        nodes=nodes,
        sensitivity=None if sensitive is None else sensitive.table,
        _influence={one.estimator: one for one in estimates},
    )


def _observed(done: Estimate, level: float) -> dict[str, float]:
    low, high = normal_interval(done.value, done.standard_error, level)
    return {"value": done.value, "standard_error": done.standard_error, "low": low, "high": high}


def _wanted(rewards: Floats, least_and_most: tuple[float, float]) -> float:
    """The half-width that an experiment is to reach when none was asked for: a quarter of the mean reward."""
    mean = abs(float(rewards.mean()))
    return _WANTED_SHARE * mean if mean else _WANTED_OF_RANGE * (least_and_most[1] - least_and_most[0])


def _disagreement(estimates: list[Estimate]) -> list[str]:
    """A warning where the doubly robust estimate and the weighted mean lie further apart than chance puts them."""
    by_name = {one.estimator: one for one in estimates}
    weighted = by_name.get("snips") or by_name.get("wpdis")
    if weighted is None or "dr" not in by_name:
        return []
    apart = by_name["dr"].minus(weighted)
    if not abs(apart.value) > _ERRORS_APART * apart.standard_error:
        return []
    return [f"The estimators {weighted.estimator} and dr lie further apart than chance puts them: trust neither."]


def _tables(
    estimates: list[Estimate], weighed: Weighed, least_and_most: tuple[float, float], options: Options
) -> tuple[pd.DataFrame, pd.DataFrame]:
    rows, kinds = [], []
    for one in estimates:
        found = _intervals(one, weighed, least_and_most, options.level)
        kinds += [(one.estimator, kind, *interval) for kind, interval in found.items()]
        shown = found.get(options.interval, Interval(math.nan, math.nan))
        rows.append((one.estimator, one.value, one.standard_error, *shown))
    columns = ["estimator", "value", "standard_error", "low", "high"]
    return pd.DataFrame(rows, columns=columns), pd.DataFrame(kinds, columns=["estimator", "interval", "low", "high"])


def _intervals(
    one: Estimate, weighed: Weighed, least_and_most: tuple[float, float], level: float
) -> dict[IntervalKind, Interval]:
    n = len(one.influence)
    found: dict[IntervalKind, Interval] = {"normal": normal_interval(one.value, one.standard_error, level)}
    if one.estimator in ("ips", "is", "pdis", "dr"):
        least, most = least_and_most
        largest = float(weighed.weights.max())
        width = largest * (max(most, 0.0) - min(least, 0.0)) + (most - least if one.estimator == "dr" else 0.0)
        # Several rows of one unit add up.
        width = max(width * len(weighed.weights) / n, float(np.ptp(one.influence)))
        found["empirical_bernstein"] = empirical_bernstein(one.influence, width, level)
    found["anytime"] = anytime_interval(one.value, one.standard_error, n, level, _PLANNED_N)
    return found
