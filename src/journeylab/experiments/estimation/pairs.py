"""How two arms are compared in each kind of metric, and what there is to say of it."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np

from journeylab.experiments.metrics import Count, Mean, Metric, Proportion, Quantile, Ratio, Revenue, TimeToEvent
from journeylab.experiments.unittable import quoted
from journeylab.language import formatted, say

from .adjustment import Adjust, Difference, difference
from .moments import Columns, Key, Moments, read_moments
from .quantiles import arm_quantiles
from .skewed import Resampled, bootstrap_interval, needed_for_normal, resampled, winsorising_cap
from .survival import arm_times, log_rank_p

if TYPE_CHECKING:
    from journeylab.experiments.unittable import UnitTable

__all__ = ["Compared", "Pairing", "mean_columns", "pairings"]

_FEW_EVENTS: Final = 10
_NO_GAIN: Final = 0.01


class Compared(NamedTuple):
    """What a comparison of two arms gave.

    Attributes:
        found: the difference.
        plain: the same without covariates.
        n_arm: units in the arm.
        n_control: units in the control.
        n_clusters: clusters in both.
        notes: what to know of it.
        exact: interval and p-value where they are not those of the difference's t distribution.
    """

    found: Difference
    plain: Difference
    n_arm: int
    n_control: int
    n_clusters: int | None
    notes: tuple[str, ...]
    exact: tuple[float, float, float] | None = None


class Pairing(NamedTuple):
    """A metric in one way of looking at it, and what compares an arm with the control there, at a level 1 - alpha."""

    metric: Metric
    kind: str
    compare: Callable[[Key, Key, float], Compared]


def pairings(
    units: UnitTable, metrics: Sequence[Metric], by: str | None, adjust: Adjust, covariates: Sequence[str], seed: int
) -> list[Pairing]:
    """The metrics in their order, ready to be compared; the data are read here, the moments of all metrics at once."""
    plans: list[_Plan | Pairing] = []
    for metric in metrics:
        if isinstance(metric, Quantile | TimeToEvent):
            plans.append(Pairing(metric, metric.verb, _by_estimates(units, metric, by)))
        else:
            plans += _plans(units, metric, adjust, covariates)
    wanted = [plan for plan in plans if isinstance(plan, _Plan)]
    moments = read_moments(units, [plan.columns for plan in wanted], by=by) if wanted else {}
    places = {id(plan): place for place, plan in enumerate(wanted)}

    def made(plan: _Plan) -> Pairing:
        of_arms = {key: some[places[id(plan)]] for key, some in moments.items()}
        has_draws = by is None and plan.columns.with_skewness and not units.has("cluster")
        draws = _draws(units, plan.columns.values[0], seed) if has_draws else None
        return Pairing(plan.metric, plan.kind, _by_moments(plan, of_arms, adjust, draws))

    return [made(plan) if isinstance(plan, _Plan) else plan for plan in plans]


class _Plan(NamedTuple):
    """A comparison of means before its moments are read."""

    metric: Metric
    kind: str
    columns: Columns
    covariates: str
    note: str = ""


def mean_columns(units: UnitTable, metric: Metric, covariates: Sequence[str] = ()) -> Columns:
    """The columns of a metric that is a mean or a ratio of means, with its own covariates and others."""
    values = tuple(quoted(value.column) for value in metric.columns())
    own = [quoted(name) for name in _own_covariates(units, metric)]
    others = [f"nullif({quoted(name)}::DOUBLE, 'nan'::DOUBLE)" for name in dict.fromkeys(covariates)]
    return Columns(values, (*own, *others), with_skewness=isinstance(metric, Mean | Count | Revenue))


def _own_covariates(units: UnitTable, metric: Metric) -> list[str]:
    return [name for value in metric.columns() if units.has(name := f"{value.column}|before")]


def _plans(units: UnitTable, metric: Metric, adjust: Adjust, covariates: Sequence[str]) -> list[_Plan]:
    columns = mean_columns(units, metric, covariates)
    own = "what came before" if metric.covariate in (None, "before") else str(metric.covariate)
    label = " and ".join([*([own] if _own_covariates(units, metric) else []), *covariates])
    if adjust == "none":
        columns = replace(columns, covariates=())
    plans = [_Plan(metric, metric.verb, columns, label)]
    if isinstance(metric, Revenue):
        (value,) = columns.values
        cap, note = winsorising_cap(units, value, float(metric.winsorised))
        capped = replace(columns, values=(f"least({value}, '{cap!r}'::DOUBLE)",), with_skewness=False)
        plans.append(_Plan(metric, "winsorised", capped, label, note))
    return plans


def _by_moments(
    plan: _Plan, moments: dict[Key, Moments], adjust: Adjust, draws: Callable[[str], Resampled | None] | None
) -> Callable[[Key, Key, float], Compared]:
    metric = plan.metric

    def compare(key: Key, control: Key, alpha: float) -> Compared:
        one, other = moments[key], moments[control]
        found, plain = (difference(one, other, how) for how in (adjust, "none"))
        n_clusters = one.n + other.n if one.is_clustered else None
        notes = [plan.note] if plan.note else []
        exact = None
        if isinstance(metric, Proportion) and (counts := _rare(one, other)) is not None:
            found = plain if n_clusters is None else found
            exact = None if n_clusters is not None else _by_counts(*counts, alpha)
            notes.append(_rare_note(*counts, is_exact=exact is not None))
        elif one.of.n_covariates:
            notes += _covariate_notes(plan, one + other, found, plain)
        if one.of.with_skewness:
            notes += _skewness_notes((key[1], one), (control[1], other), alpha, draws)
        if isinstance(metric, Ratio) and math.isnan(found.effect):
            notes.insert(
                0, say("{value} is 0 throughout one of the arms, so there is no ratio", value=metric.values[1])
            )
        elif math.isnan(found.standard_error) and exact is None:
            notes.append(say("the values do not vary, or there are too few: the error cannot be told"))
        return Compared(found, plain, one.n_units, other.n_units, n_clusters, tuple(notes), exact)

    return compare


def _rare(one: Moments, other: Moments) -> tuple[tuple[int, int], tuple[int, int]] | None:
    """The units with the event and all units of both arms, where few have it in one of them, or few have it not."""
    counts = [(round(float(side.mean[0]) * side.n), side.n_units) for side in (one, other)]
    return (counts[0], counts[1]) if min(min(k, n - k) for k, n in counts) < _FEW_EVENTS else None


def _by_counts(one: tuple[int, int], other: tuple[int, int], alpha: float) -> tuple[float, float, float]:
    """Newcombe's interval and Fisher's p-value."""
    from scipy import stats
    from statsmodels.stats.proportion import confint_proportions_2indep

    low, high = confint_proportions_2indep(*one, *other, method="newcomb", compare="diff", alpha=alpha)
    p_value = stats.fisher_exact([[k, n - k] for k, n in (one, other)]).pvalue
    return float(low), float(high), float(p_value)


def _rare_note(one: tuple[int, int], other: tuple[int, int], *, is_exact: bool) -> str:
    n = {
        "n": formatted(one[0]),
        "of": formatted(one[1]),
        "n_other": formatted(other[0]),
        "of_other": formatted(other[1]),
    }
    if is_exact:
        return say(
            "{n} of {of} units against {n_other} of {of_other} are too few for the normal: the interval is Newcombe's, "
            "the p-value Fisher's",
            **n,
        )
    return say(
        "{n} of {of} units against {n_other} of {of_other} are too few for the normal: the interval is rough", **n
    )


def _skewness_notes(
    one: tuple[str, Moments],
    other: tuple[str, Moments],
    alpha: float,
    draws: Callable[[str], Resampled | None] | None,
) -> list[str]:
    failing = [(arm, side.n, n) for arm, side in (one, other) if side.n < (n := needed_for_normal(side.skewness))]
    if not failing:
        return []
    arm, n, needed = failing[0]
    values = {"needed": formatted(math.ceil(needed)), "arm": arm, "n": formatted(n)}
    if one[1].is_clustered:
        said = say(
            "so skewed that its mean needs {needed} clusters in {arm} to be normal (355 times the skewness squared), "
            "and has {n}: the interval is rough",
            **values,
        )
    else:
        said = say(
            "so skewed that its mean needs {needed} units in {arm} to be normal (355 times the skewness squared), and "
            "has {n}: the interval is rough",
            **values,
        )
    if draws is None:
        return [said]
    samples = draws(one[0]), draws(other[0])
    if samples[0] is None or samples[1] is None:
        return [
            say("{said}, and there are too many different values, or too few units, for one by bootstrap", said=said)
        ]
    low, high = bootstrap_interval(samples[0], samples[1], alpha)
    return [
        say(
            "{said}; by bootstrap, without covariates, it is {low} to {high}", said=said, low=formatted(low, ".4g"),
            high=formatted(high, ".4g"),
        )
    ]  # fmt: skip


def _draws(units: UnitTable, value: str, seed: int) -> Callable[[str], Resampled | None]:
    kept: dict[str, Resampled | None] = {}

    def draw(arm: str) -> Resampled | None:
        if arm not in kept:
            sql = f"SELECT {value} AS value, count(*) AS n FROM {units.view} WHERE arm = ? GROUP BY 1 ORDER BY 1"
            found = units.connection.execute(sql, [arm]).fetchnumpy()
            rng = np.random.default_rng([seed, units.arms.index(arm)])
            kept[arm] = resampled(np.ma.filled(found["value"]).astype(float), np.ma.filled(found["n"]), rng)
        return kept[arm]

    return draw


def _covariate_notes(plan: _Plan, both: Moments, found: Difference, plain: Difference) -> list[str]:
    said = []
    saved = 1 - (found.standard_error / plain.standard_error) ** 2
    if saved < _NO_GAIN:
        said.append(
            say(
                "{share} of the variance is saved by {covariates}: no gain",
                share=formatted(max(saved, 0), ".1%"),
                covariates=plan.covariates,
            )
        )
    if both.of.unknown:
        place = len(both.of.values) + len(both.of.covariates)
        share = float(both.mean[place]) * both.n / both.n_units
        said.append(
            say(
                "{covariates} is missing for {share} of the units, which is adjusted for as well",
                covariates=plan.covariates,
                share=formatted(share, ".1%"),
            )
        )
    return said


def _by_estimates(units: UnitTable, metric: Metric, by: str | None) -> Callable[[Key, Key, float], Compared]:
    """The comparison of figures that have a standard error in each arm and no moments."""
    if isinstance(metric, TimeToEvent):
        estimates, times = arm_times(units, metric, by)
    else:
        assert isinstance(metric, Quantile)
        estimates, times = arm_quantiles(units, metric, by), {}

    def compare(key: Key, control: Key, _alpha: float) -> Compared:
        one, other = estimates[key], estimates[control]
        error = math.hypot(one.standard_error, other.standard_error)
        found = Difference(one.value, other.value, one.value - other.value, error, math.inf)
        notes = [*dict.fromkeys(side.note for side in (one, other) if side.note)]
        if times and one.n_clusters is None:
            notes.append(
                say(
                    "the log-rank test of the whole curves has p = {p}",
                    p=formatted(log_rank_p(times[key], times[control]), ".3g"),
                )
            )
        if metric.covariate is not None:
            notes.append(say("not adjusted for {covariate}: this kind of metric cannot be", covariate=metric.covariate))
        n_clusters = None if one.n_clusters is None else one.n_clusters + (other.n_clusters or 0)
        return Compared(found, found, one.n_units, other.n_units, n_clusters, tuple(notes))

    return compare
