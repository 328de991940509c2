"""What an experiment can find, how long it takes and how often it would be wrong: planned on history, by replay.

The journeys are replayed over the log one has: who would have been exposed, how fast they came, and how their values
are spread. Arms are drawn anew for it, so that what is measured is the error of a difference where there is none.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Final

from journeylab.display import block, counted, plain, plain_rows, table
from journeylab.errors import DataError
from journeylab.jsontext import data_of
from journeylab.language import formatted, plural, say
from journeylab.progress import Progress, shown
from journeylab.resulttables import Tables
from journeylab.visits import wilson_interval

from .comparison import at_any_time
from .estimation.effects import effects
from .exposed import exposed_units
from .exposure.comparedjourneys import arms_of
from .record import write_once
from .sizing.design import errors_needed
from .sizing.recruiting import Recruiting, duration
from .unittable import UnitTable

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    import pandas as pd
    from numpy.typing import NDArray

    from journeylab.advice import SendTimesGiven

    from .effect import Effect
    from .experiment import Experiment
    from .metrics import Metric

__all__ = ["Plan", "false_alarms", "plan_experiment", "read_declaration"]

_WEEK: Final = timedelta(days=7)
_FORMAT: Final = 1
_RECENT: Final = 4
"""The weeks by which it is foretold how fast units come: what came long before tells less of what will."""


@dataclass(frozen=True, eq=False, repr=False)
class Plan(Tables):
    """What an experiment can find and how long it takes.

    Attributes:
        experiment: what is asked.
        n_units: units of history on which it was planned: matured, and of the control only where the experiment ran.
        weekly: exposures by whole week of history: `week` (UTC, its start), `n_units` (int); without rows for a table
            that does not say when.
        metrics: one row for each metric: `metric` (text), `role` (primary, secondary or guardrail), `mean_control`,
            `standard_error` (of an arm's effect with the planned units), `minimum_effect` (the least effect that is
            found with the wanted power; for a guardrail the least margin within which no harm is shown),
            `units_needed` (in all arms, for the experiment's minimum effect or the margin; missing where none is
            declared), `variance_reduction_share` (what the covariate saves).
        alarms: the A/A experiments on history: `metric`, `n_runs`, `n_alarms`, `alarm_share`, `low`, `high` (its 95 %
            interval).
        recruiting: how long it takes; missing (None) where history has no whole week.
        declared_at: when the plan was declared; missing (None) where it was not.
    """

    _table_names: ClassVar = ("metrics", "alarms", "weekly")

    experiment: Experiment
    n_units: int
    weekly: pd.DataFrame
    metrics: pd.DataFrame
    alarms: pd.DataFrame
    recruiting: Recruiting | None
    declared_at: datetime | None = None

    @property
    def per_week(self) -> float:
        """Exposures in each of the last whole weeks, at most four; missing (NaN) where history has none."""
        return float(self.weekly["n_units"].tail(_RECENT).mean()) if len(self.weekly) else math.nan

    def declared(self, at: datetime) -> Plan:
        """The same plan, declared at an aware instant."""
        return replace(self, declared_at=at.astimezone(UTC))

    def sentences(self) -> list[str]:
        """The plan in plain words."""
        experiment, planned_n = self.experiment, self.experiment.stopping.planned_n
        first = self.metrics.iloc[0]
        of = {"experiment": experiment.experiment, "metric": first["metric"]}
        if math.isnan(first["minimum_effect"]):
            said = [
                plural(
                    "{experiment}: {n} unit in all arms; what they find of {metric} is not known, as history has too "
                    "little of it.",
                    "{experiment}: {n} units in all arms; what they find of {metric} is not known, as history has too "
                    "little of it.",
                    planned_n,
                    **of,
                )
            ]
        else:
            said = [
                plural(
                    "{experiment}: {n} unit in all arms; they find an effect of {effect} on {metric} (now {now}) with "
                    "a probability of {power}.",
                    "{experiment}: {n} units in all arms; they find an effect of {effect} on {metric} (now {now}) with "
                    "a probability of {power}.",
                    planned_n,
                    effect=formatted(first["minimum_effect"], ".4g"),
                    now=formatted(first["mean_control"], ".4g"),
                    power=formatted(experiment.power, ".0%"),
                    **of,
                )
            ]
        if not math.isnan(first["units_needed"]):
            wanted = formatted(experiment.minimum_effect or math.nan, ".4g")
            needed = plural("{n} unit", "{n} units", int(first["units_needed"]))
            if first["units_needed"] <= planned_n:
                said.append(
                    say("The wanted effect of {effect} needs {units}: they are planned.", effect=wanted, units=needed)
                )
            else:
                said.append(
                    say(
                        "The wanted effect of {effect} needs {units}: more than are planned.",
                        effect=wanted,
                        units=needed,
                    )
                )
        if self.recruiting is not None:
            said.append(
                plural(
                    "In the last {n} whole week of history {units} units a week were exposed.",
                    "In the last {n} whole weeks of history {units} units a week were exposed.",
                    min(len(self.weekly), _RECENT),
                    units=formatted(self.per_week, ",.0f"),
                )
            )
            said.append(self.recruiting.sentence)
        elif not experiment.is_of_table:
            said.append(say("History has no whole week of exposures: how long it takes cannot be told."))
        for row in self.alarms.itertuples():
            alarmed = plural(
                "A/A on history: {alarms} of {n} run found a difference in {metric} where there is none ({share}, "
                "{low} to {high}; at most {alpha} should).",
                "A/A on history: {alarms} of {n} runs found a difference in {metric} where there is none ({share}, "
                "{low} to {high}; at most {alpha} should).",
                row.n_runs,
                alarms=formatted(row.n_alarms),
                metric=row.metric,
                share=formatted(row.alarm_share, ".1%"),
                low=formatted(row.low, ".1%"),
                high=formatted(row.high, ".1%"),
                alpha=formatted(experiment.alpha, ".0%"),
            )
            bad = say("Its errors are too small: units belong together that are taken to be their own.")
            said.append(f"{alarmed} {bad}" if row.low > experiment.alpha else alarmed)
        said += [
            say("{metric}: history has too little of it to say what will be found.", metric=row.metric)
            for row in self.metrics.iloc[1:].itertuples()
            if math.isnan(row.standard_error)
        ]
        said += [
            plural(
                "Guardrail {metric}: to show that its margin holds needs {n} unit; with those planned it will often "
                "stay undecided.",
                "Guardrail {metric}: to show that its margin holds needs {n} units; with those planned it will often "
                "stay undecided.",
                int(row.units_needed),
                metric=row.metric,
            )
            for row in self.metrics.itertuples()
            if row.role == "guardrail" and row.units_needed > planned_n
        ]
        return said

    def to_dict(self) -> dict[str, Any]:
        """The plan as plain data; what `analyze --plan` holds an analysis to is `version` and `declared_at`."""
        return {
            "plan": _FORMAT,
            "experiment": self.experiment.experiment,
            "version": self.experiment.version,
            "versions": self.experiment.versions,
            "declared_at": None if self.declared_at is None else self.declared_at.isoformat(),
            "declaration": self.experiment.canonical(),
            "planned_n": self.experiment.stopping.planned_n,
            "n_units": self.n_units,
            "per_week": plain(self.per_week),
            "recruiting": None if self.recruiting is None else self.recruiting.to_dict(),
            "metrics": plain_rows(self.metrics),
            "alarms": plain_rows(self.alarms),
            "weekly": [{"week": row.week.isoformat(), "n_units": int(row.n_units)} for row in self.weekly.itertuples()],
        }

    def write(self, path: str | Path) -> Path:
        """Writes the declared plan as JSON and gives the path.

        Raises:
            DataError: when it was not declared, or there is a file already.
        """
        if self.declared_at is None:
            raise DataError("a plan is written when it is declared: plan.declared(at).write(path)")
        return write_once(path, self.to_dict(), "there is a plan already; what was declared is not written over")

    def __repr__(self) -> str:
        return f"Plan({self.sentences()[0]})"

    def _repr_html_(self) -> str:
        rows = [
            [
                row.metric, row.role, f"{row.mean_control:.4g}", f"{row.standard_error:.3g}",
                f"{row.minimum_effect:.4g}",
                "" if math.isnan(row.units_needed) else f"{row.units_needed:,.0f}",
            ]
            for row in self.metrics.itertuples()
        ]  # fmt: skip
        head = ["metric", "role", "control's", "error", "least effect", "units needed"]
        return block(" ".join(self.sentences()), table(head, rows))


def read_declaration(path: str | Path) -> dict[str, Any]:
    """What a plan's file declares: `version`, `declared_at` and the rest of `Plan.to_dict`.

    Raises:
        DataError: when the file is no declared plan.
    """
    path = Path(path)
    try:
        data = data_of(path.read_bytes())
    except OSError as problem:
        raise DataError(f"{path}: the declared plan cannot be read: {problem.strerror}") from None
    except ValueError:
        data = None
    if not isinstance(data, dict) or data.get("plan") != _FORMAT or not data.get("declared_at"):
        raise DataError(f"{path}: no declared plan; `journeylab experiment plan --out` writes one")
    return data


def plan_experiment(
    experiment: Experiment,
    source: Any,
    *,
    until: datetime | str | None = None,
    send_times: SendTimesGiven | None = None,
    aa_runs: int = 200,
    seed: int = 0,
    progress: Progress = None,
) -> Plan:
    """What an experiment can find, how long it takes, and how often it would be wrong on the data one has.

    Args:
        experiment: what is asked.
        source: the event log, or the plain table, of a time before the experiment.
        until: the horizon of the log.
        send_times: what `at: best` asks; see `replay`.
        aa_runs: how many A/A experiments are run on history.
        seed: of the arms that are drawn for them.
        progress: `True` for a bar of each stage, the replays and the A/A runs; or what to call with how much is done of
            a stage and how much there is in all; see `journeylab.progress`.

    Raises:
        DataError: when history has too few units to plan on, or the data do not fit.
        DefinitionError: when a journey does not fit the log.
    """
    import pandas as pd

    history = experiment.model_copy(update={"start_at": None})  # which is before the start
    exposed = exposed_units(history, source, until=until, send_times=send_times, progress=progress)
    weekly = _weekly(exposed.units if exposed.units.has("exposed_at") else None)
    units = exposed.units
    if units.has("is_matured"):
        units = units.narrowed("is_matured")
    if exposed.has_run and exposed.exposures is not None:
        units = units.narrowed(f"arm = '{units.control.replace(chr(39), chr(39) * 2)}'")
    n_units = sum(units.counts().values())
    if n_units < 20 * len(units.arms):
        raise DataError(
            f"{units.name}: {counted(n_units, 'matured unit')} of history are too few to plan on; "
            "give a longer log, or a shorter window"
        )
    drawn = _Drawn.of(units)
    found = effects(drawn.with_arms(f"plan/{seed}"), alpha=experiment.alpha)
    rows = [
        (*_planned(experiment, metric, role, found, n_units),)
        for metric, role in zip(experiment.metrics, _roles(experiment), strict=True)
    ]
    names = [
        "metric", "role", "mean_control", "standard_error", "minimum_effect", "units_needed",
        "variance_reduction_share",
    ]  # fmt: skip
    alarms = false_alarms(
        units, experiment.metrics[:1], n_runs=aa_runs, seed=seed, alpha=experiment.alpha,
        planned_n=experiment.stopping.planned_n if experiment.stopping.rule == "always_valid" else None,
        progress=progress,
    )  # fmt: skip
    found_plan = Plan(experiment, n_units, weekly, pd.DataFrame(rows, columns=names), alarms, None)
    if not found_plan.per_week > 0:
        return found_plan
    window = experiment.window or timedelta()
    return replace(found_plan, recruiting=duration(experiment.stopping.planned_n, found_plan.per_week, window))


def _roles(experiment: Experiment) -> list[str]:
    return ["primary", *["secondary"] * len(experiment.secondary), *["guardrail"] * len(experiment.guardrails)]


def _planned(
    experiment: Experiment, metric: Metric, role: str, found: Sequence[Effect], n_units: int
) -> tuple[Any, ...]:
    """One row of `Plan.metrics`: errors shrink with the root of the units, so that history's scale to the planned ones.

    Of several arms the one with the largest error counts.
    """
    mine = [
        effect
        for effect in found
        if effect.metric == metric.name and effect.kind != "winsorised" and math.isfinite(effect.standard_error)
    ]
    if not mine:
        return metric.name, role, *[math.nan] * 5
    n_others = len({effect.arm for effect in found})
    worst = max(mine, key=lambda effect: effect.standard_error)
    stopping, error = experiment.stopping, worst.standard_error * math.sqrt(n_units / experiment.stopping.planned_n)
    wanted: float | None
    if role == "guardrail":
        wanted = next(one.margin for one in experiment.guardrails if one.metric.name == metric.name)
        errors = errors_needed(stopping, experiment.alpha, experiment.power, sides=1)
    else:
        wanted = experiment.minimum_effect if role == "primary" else None
        # Holm's first step, which the smallest p value of several arms has to pass.
        errors = errors_needed(stopping, experiment.alpha / n_others, experiment.power)
    needed = math.nan if wanted is None else math.ceil(stopping.planned_n * (errors * error / wanted) ** 2)
    return metric.name, role, worst.mean_control, error, errors * error, needed, worst.variance_reduction_share


def false_alarms(
    units: UnitTable,
    metrics: Sequence[Metric] | None = None,
    *,
    n_runs: int = 200,
    seed: int = 0,
    alpha: float = 0.05,
    planned_n: int | None = None,
    progress: Progress = None,
) -> pd.DataFrame:
    """How often an experiment without any difference finds one, by A/A runs on the units one has.

    In each run the arms are drawn anew by a keyed hash, and the whole analysis is made. What comes out above `alpha` is
    a metric whose errors are too small, mostly because units belong together that were taken to be their own.

    Args:
        units: the units; their arms do not matter.
        metrics: by default all of the table.
        n_runs: how many runs.
        seed: of the arms.
        alpha: the error that is allowed.
        planned_n: for intervals that are valid at any time, the units they are tuned to; by default one look is taken.
        progress: `True` for a bar, or what to call with the runs done and in all; see `journeylab.progress`.

    Returns:
        A frame with a row for each metric: `metric` (text), `n_runs`, `n_alarms` (int; a run with an alarm in any arm),
        `alarm_share`, `low`, `high` (0..1, Wilson's 95 % interval).
    """
    import pandas as pd

    metrics = list(units.metrics if metrics is None else metrics)
    drawn = _Drawn.of(units)
    n_arms, n = len(units.arms) - 1, sum(units.counts().values())
    n_alarms = dict.fromkeys((metric.name for metric in metrics), 0)
    with shown(progress, "running A/A experiments") as tell:
        for run in range(n_runs):
            alarmed = set()
            for effect in effects(drawn.with_arms(f"aa/{seed}/{run}"), metrics, alpha=alpha):
                seen = effect if planned_n is None else at_any_time(effect, n, planned_n)
                if effect.kind != "winsorised" and seen.p_value < alpha / n_arms:
                    alarmed.add(effect.metric)
            for name in alarmed:
                n_alarms[name] += 1
            tell(run + 1, n_runs)
    rows = [
        (name, n_runs, alarms, alarms / n_runs, *map(float, wilson_interval(alarms, n_runs)))
        for name, alarms in n_alarms.items()
        if n_runs
    ]
    return pd.DataFrame(rows, columns=["metric", "n_runs", "n_alarms", "alarm_share", "low", "high"])


@dataclass(frozen=True)
class _Drawn:
    """Units whose arms are drawn anew: those together that got theirs together."""

    table: UnitTable
    frame: pd.DataFrame
    owners: pd.Index
    place: NDArray[np.int64]

    @classmethod
    def of(cls, units: UnitTable) -> _Drawn:
        import pandas as pd

        owner = next((name for name in ("assigned_unit", "cluster", "unit") if units.has(name)), None)
        values = [name for name in units.columns if name == "cluster" or _is_of(name, units.metrics)]
        frame = units.frame(list(dict.fromkeys([*values, *([] if owner is None else [owner])])))
        place, owners = pd.factorize(pd.Series(range(len(frame))) if owner is None else frame[owner])
        frame = frame[values].assign(arm=units.control)
        table = UnitTable.of_frame(frame, units.metrics, control=units.control, shares=units.shares, name=units.name)
        return cls(table, frame, owners.astype(str), place)

    def with_arms(self, salt: str) -> UnitTable:
        """The units with arms by a keyed hash of who owns them; the one before is no longer to be used."""
        arms = arms_of(self.owners, salt, self.table.shares)[self.place]
        self.table.connection.register("given", self.frame.assign(arm=arms))
        return replace(self.table, kept={})


def _is_of(column: str, metrics: Sequence[Metric]) -> bool:
    """Whether a column has values of one of the metrics."""
    return any(column == metric.name or column.startswith(f"{metric.name}|") for metric in metrics)


def _weekly(units: UnitTable | None) -> pd.DataFrame:
    """Exposures by week from the first on, the last, broken one left out."""
    import pandas as pd

    if units is None:
        return pd.DataFrame({"week": pd.DatetimeIndex([], tz="UTC"), "n_units": []})
    at = units.frame(["exposed_at"])["exposed_at"]
    start, n_weeks = at.min(), int((at.max() - at.min()) // _WEEK) if len(at) else 0
    week = (at - start) // _WEEK
    n_units = week[week < n_weeks].value_counts().reindex(range(n_weeks), fill_value=0).sort_index()
    return pd.DataFrame({"week": start + n_units.index.to_numpy() * _WEEK, "n_units": n_units.to_numpy()})
