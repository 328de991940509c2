"""Whether an effect wears off: by the time since the exposure, and between early and late entrants."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

import numpy as np

from journeylab.clock import microseconds
from journeylab.display import Shown, plain_rows
from journeylab.errors import DataError
from journeylab.experiments.effect import effects_table
from journeylab.experiments.exposure.eventvalues import EventValues
from journeylab.experiments.exposure.windows import DAY_US
from journeylab.experiments.metrics import Mean, Quantile, Revenue, TimeToEvent
from journeylab.language import again, formatted, later, say
from journeylab.resulttables import Tables

from .differences import differences

if TYPE_CHECKING:
    import pandas as pd

    from journeylab.experiments.effect import Effect
    from journeylab.experiments.exposure.outcomes import OutcomeTable
    from journeylab.experiments.exposure.windows import Bools, Floats
    from journeylab.experiments.metrics import Metric

__all__ = ["Novelty", "novelty"]

_ENTRANTS = "entrants"
_US = timedelta(microseconds=1)


_OF_ENTRANTS = {
    "early": later(
        "{name}: the effect of {arm!r} on {metric} is not the same for early and late entrants: early ones have the "
        "lesser (p = {p})."
    ),
    "late": later(
        "{name}: the effect of {arm!r} on {metric} is not the same for early and late entrants: late ones have the "
        "lesser (p = {p})."
    ),
}


@dataclass(frozen=True, eq=False)
class Novelty(Tables, Shown):
    """How effects change with the time since the exposure, and with when units entered.

    Attributes:
        table: a row for each metric, arm and part of the window: `metric, arm` (text), `from_day`, `to_day` (float,
            days since the exposure), `effect` (of what happened in that part), `low`, `high`, `mean_control`. The
            intervals of a metric and arm hold the truth together (Bonferroni).
        trend: a row for each metric and arm: `effect` (the mean over the parts), `slope` (how much a part's effect
            changes in a day), `standard_error`, `low`, `high` of the slope, `p_value` (of no slope).
        entrants: whether the effect differs between early and late entrants, halves by exposure; see
            `differences.differences`.
        by_entrants: the effects of the halves; see `effect.effects_table`.
        alpha: the error of all trends together, and of all differences between halves.
        name: what messages call the experiment.
        notes: what to know, in sentences.
    """

    _table_names: ClassVar = ("table", "trend", "entrants", "by_entrants")

    table: pd.DataFrame
    trend: pd.DataFrame
    entrants: pd.DataFrame
    by_entrants: pd.DataFrame
    alpha: float
    name: str
    notes: tuple[str, ...] = ()

    @property
    def passed(self) -> bool:
        """Whether nothing says that an effect changes."""
        return not (self._changing(self.trend).any() or self._changing(self.entrants).any())

    def _changing(self, table: pd.DataFrame) -> pd.Series:
        return table["p_value"] < self.alpha / max(len(table), 1)

    def sentences(self) -> list[str]:
        """How effects change, in plain words."""
        said = []
        for one, is_changing in zip(self.trend.itertuples(), self._changing(self.trend), strict=True):
            mine = self.table[(self.table["metric"] == one.metric) & (self.table["arm"] == one.arm)]
            first, last = mine.iloc[0], mine.iloc[-1]
            of = {"arm": one.arm, "metric": one.metric}
            if not is_changing:
                said.append(
                    say(
                        "Nothing says that the effect of {arm!r} on {metric} changes with the days since the exposure.",
                        **of,
                    )
                )
                continue
            parts = say(
                "{first} in days {first_from} to {first_to}, {last} in days {last_from} to {last_to}, while the "
                "control went from {before} to {after}",
                first=formatted(first["effect"], ".4g"),
                first_from=formatted(first["from_day"], ".3g"),
                first_to=formatted(first["to_day"], ".3g"),
                last=formatted(last["effect"], ".4g"),
                last_from=formatted(last["from_day"], ".3g"),
                last_to=formatted(last["to_day"], ".3g"),
                before=formatted(first["mean_control"], ".4g"),
                after=formatted(last["mean_control"], ".4g"),
            )
            values = {"name": self.name, "parts": parts, "p": formatted(one.p_value, ".2g"), **of}
            if abs(last["effect"]) < abs(first["effect"]):
                said.append(
                    say(
                        "{name}: the effect of {arm!r} on {metric} wears off: {parts} (p = {p}). In the long run it "
                        "may be less.",
                        **values,
                    )
                )
            else:
                said.append(
                    say(
                        "{name}: the effect of {arm!r} on {metric} grows: {parts} (p = {p}). In the long run it may be "
                        "more.",
                        **values,
                    )
                )
        said += [
            say(
                _OF_ENTRANTS[one.least], name=self.name, arm=one.arm, metric=one.metric, p=formatted(one.p_value, ".2g")
            )
            for one, is_changing in zip(self.entrants.itertuples(), self._changing(self.entrants), strict=True)
            if is_changing
        ]
        return [*said, *(again(note) for note in self.notes)]

    def to_dict(self) -> dict[str, Any]:
        """The result as plain data for JSON."""
        tables = {name: plain_rows(getattr(self, name)) for name in ("table", "trend", "entrants")}
        return {"passed": self.passed, "sentences": self.sentences(), **tables}

    def __repr__(self) -> str:
        return f"Novelty({self.name}: {'nothing changes' if self.passed else 'effects change'} beyond chance)"


def novelty(
    units: OutcomeTable, metrics: Sequence[Metric] | None = None, *, n_parts: int = 7, alpha: float = 0.05
) -> Novelty:
    """The effects by days since the exposure and by order of exposure, on the units that have matured.

    While an arm has no matured unit the tables are empty, and a note says so.

    The window is cut into parts of equal length, and each metric is taken of each part, for the same units. Parts of
    one unit depend on each other, so the trend is tested by one number for each unit: with c_k the part's place less
    the mean place, s = sum of c_k y_k over sum of c_k². The arms' difference in the mean of s, in days, is the slope;
    its error is Welch's. Of a ratio, y_k is what the unit adds to it (delta method). With clusters their sums take the
    place of units. An effect in a metric's unit also falls where the metric falls in all arms: see the control.

    Args:
        units: the experiment's units, from a log.
        metrics: by default those of `units` of which parts can be taken; quantiles and times to an event have none.
        n_parts: how many parts.
        alpha: the error of all intervals of a metric and arm together, and of all trends together.

    Raises:
        DataError: for fewer than two parts, or when a metric that was asked for has none.

    >>> from journeylab import datasets, replay
    >>> from journeylab.experiments.exposure.exposures import split_exposures
    >>> from journeylab.experiments.metrics import Count
    >>> from journeylab.experiments.exposure.outcomes import unit_table
    >>> exposures = split_exposures(replay(datasets.shop_history(), datasets.shop()), "patience", "akacja_winback")
    >>> novelty(unit_table(exposures, [Count("visit")], window="14d")).sentences()[0]
    "Nothing says that the effect of 'ten_days' on visit changes with the days since the exposure."
    """
    if n_parts < 2:
        raise DataError(f"a trend needs at least two parts of the window, got n_parts={n_parts}")
    exposures = units.exposures
    wanted, notes = _with_parts(units, metrics)
    is_matured = exposures.at_us + units.window // _US <= microseconds(units.until)
    there = {*exposures.frame.loc[is_matured, "arm"]}
    if missing := sorted({*exposures.shares} - there):
        notes.append(
            say(
                "{name}: no unit of arm {arm!r} has matured yet, so that nothing can be said.",
                name=exposures.name,
                arm=missing[0],
            )
        )
        wanted = []
    table, trend = _by_part(units, wanted, n_parts, is_matured, alpha)
    by_entrants = _by_entrants(units, wanted, is_matured, alpha)
    return Novelty(
        table=table,
        trend=trend,
        entrants=differences(by_entrants),
        by_entrants=effects_table(by_entrants),
        alpha=alpha,
        name=exposures.name,
        notes=tuple(notes),
    )


def _with_parts(units: OutcomeTable, metrics: Sequence[Metric] | None) -> tuple[list[Metric], list[str]]:
    """The metrics of which parts can be taken, and a note on those of which they cannot."""
    wanted = list(units.metrics if metrics is None else metrics)
    whole = [one.name for one in wanted if isinstance(one, Quantile | TimeToEvent)]
    if whole and metrics is not None:
        raise DataError(f"{whole[0]!r} is not made up of parts of the window; ask for a mean, count, share or ratio")
    notes = (
        [say("{metrics}: not made up of parts of the window, and not looked at.", metrics=", ".join(whole))]
        if whole
        else []
    )
    return [one for one in wanted if one.name not in whole], notes


def _by_part(
    units: OutcomeTable, metrics: Sequence[Metric], n_parts: int, is_matured: Bools, alpha: float
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The effects in each part of the window, and their trends."""
    import pandas as pd

    from journeylab.experiments.estimation.effects import effects

    exposures = units.exposures
    edges = np.linspace(0, units.window // _US, n_parts + 1).astype(np.int64)
    parts = {metric.name: [_part(metric, k) for k in range(n_parts)] for metric in metrics}
    found = EventValues(exposures.log, machines=units.machines)
    columns: dict[str, Floats] = {}
    for metric in metrics:
        for k, part in enumerate(parts[metric.name]):
            start, end = exposures.at_us + edges[k], exposures.at_us + edges[k + 1]
            for value in part.columns():
                columns[value.column] = found.between(value, metric.where, exposures.contact, start, end)
    table = units.with_columns(columns).narrowed("is_matured")
    frame = exposures.frame[is_matured]
    arms = frame["arm"].to_numpy(object)
    clusters = frame["cluster"].to_numpy(object) if "cluster" in frame else None
    rows, trends, days = [], [], edges / DAY_US
    for metric in metrics:
        values = [[columns[value.column][is_matured] for value in part.columns()] for part in parts[metric.name]]
        by_arm: dict[str, list[Effect]] = {}
        for effect in effects(table, parts[metric.name], alpha=alpha / n_parts, adjust="none"):
            by_arm.setdefault(effect.arm, []).append(effect)
        for arm, several in by_arm.items():
            rows += [
                (metric.name, arm, days[k], days[k + 1], one.effect, one.low, one.high, one.mean_control)
                for k, one in enumerate(several)
            ]
            both = [_Arm.of(values, arms == one, clusters) for one in (arm, units.control)]
            mean = float(np.mean([one.effect for one in several]))
            trends.append((metric.name, arm, mean, *_slope(both[0], both[1], days[1], alpha)))
    return (
        pd.DataFrame(rows, columns=["metric", "arm", "from_day", "to_day", "effect", "low", "high", "mean_control"]),
        pd.DataFrame(trends, columns=["metric", "arm", "effect", "slope", "standard_error", "low", "high", "p_value"]),
    )


def _by_entrants(units: OutcomeTable, metrics: Sequence[Metric], is_matured: Bools, alpha: float) -> list[Effect]:
    """The effects among the first and the second half of the units; none where an arm is not in both."""
    import pandas as pd

    from journeylab.experiments.estimation.effects import effects

    if not metrics:
        return []
    at, frame = units.exposures.at_us, units.exposures.frame
    half = pd.array(np.where(at <= np.median(at[is_matured]), "early", "late"), dtype="str")
    n_there = frame.assign(half=half)[is_matured].groupby("arm")["half"].nunique()
    if (n_there < 2).any():
        return []
    return effects(units.with_columns({_ENTRANTS: half}).narrowed("is_matured"), metrics, by=_ENTRANTS, alpha=alpha)


def _part(metric: Metric, k: int) -> Metric:
    """The metric of one part of the window."""
    called = f"{metric.name}|part {k + 1}"
    if isinstance(metric, Revenue):
        return Mean(mean=metric.value, called=called, where=metric.where, better=metric.better)
    return metric.model_copy(update={"called": called, "covariate": None})


class _Arm(NamedTuple):
    """The slope of an arm's metric over the parts: its value, the variance of that, and the units behind it."""

    slope: float
    variance: float
    n: int

    @classmethod
    def of(cls, values: list[list[Floats]], mine: Bools, clusters: Any) -> _Arm:
        """The slope a part; `values` has a column for each part, and after it a ratio's denominator."""
        place = np.arange(len(values)) - (len(values) - 1) / 2
        slope = 0.0
        own: Floats = np.zeros(int(mine.sum()))
        for (above, *below), weight in zip(values, place / (place @ place), strict=True):
            per = below[0][mine] if below else np.ones(len(own))
            level = above[mine].mean() / per.mean() if per.any() else math.nan
            slope += weight * level
            own = own + weight * (above[mine] - level * per) / per.mean()
        n_units = len(own)
        if clusters is not None:
            own = np.asarray(np.bincount(np.unique(clusters[mine].astype(str), return_inverse=True)[1], own), float)
        n = len(own)
        return cls(float(slope), float(own @ own) * n / max(n - 1, 1) / n_units**2, n)


def _slope(arm: _Arm, control: _Arm, days: float, alpha: float) -> tuple[float, float, float, float, float]:
    """The slope of the effect a day, its standard error, low, high, and p value, by Welch's test."""
    from scipy import stats

    slope, variance = (arm.slope - control.slope) / days, (arm.variance + control.variance) / days**2
    if not variance > 0 or min(arm.n, control.n) < 2:
        return slope, math.nan, math.nan, math.nan, math.nan
    error = math.sqrt(variance)
    freedom = variance**2 * days**4 / sum(one.variance**2 / (one.n - 1) for one in (arm, control))
    half = float(stats.t.ppf(1 - alpha / 2, freedom)) * error
    return slope, error, slope - half, slope + half, float(2 * stats.t.sf(abs(slope) / error, freedom))
