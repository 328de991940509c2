"""What an experiment found, and what may be decided on it."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeAlias

from journeylab.display import block, counted
from journeylab.errors import DataError, known
from journeylab.intervals import anytime_interval

from .comparison import Comparison, compare, effect_sentence, sample_ratio_of, widest_error
from .estimation.effects import effects
from .estimation.guardrails import guardrails
from .exposed import Exposed, exposed_units
from .exposure.outcomes import OutcomeTable
from .heterogeneity.forwhom import ForWhom, for_whom
from .heterogeneity.shrinkage import ShrunkenEffect, shrunken
from .metrics import Count, Mean, Proportion, Ratio, Revenue
from .record import DecisionRecord
from .unittable import quoted

if TYPE_CHECKING:
    from collections.abc import Iterable

    import pandas as pd

    from journeylab.advice import SendTimesGiven

    from .estimation.guardrails import GuardrailResult
    from .experiment import Experiment
    from .unittable import UnitTable

__all__ = ["Analysis", "Maturity", "Verdict", "analyze_experiment", "analyze_units"]

Decision: TypeAlias = Literal["ship", "keep control", "go on", "undecided", "blocked"]
"""What the data say of an arm: ship it; keep the control; go on; ended without an answer; or nothing can be said."""


class Check(Protocol):
    """What every check of an experiment says of itself."""

    @property
    def passed(self) -> bool:
        """Whether nothing speaks against believing the effects."""

    def sentences(self) -> list[str]:
        """What was seen, in plain words."""

    def to_dict(self) -> dict[str, Any]:
        """Its numbers as plain data."""


@dataclass(frozen=True)
class Maturity:
    """How many of the exposed units were looked at for the whole window.

    Attributes:
        n_exposed: units that were exposed.
        n_matured: those of them that count.
        planned_n: units with which the experiment is over.
        is_over: whether it is: the planned end is reached, or a rule that allows it has stopped before.
    """

    n_exposed: int
    n_matured: int
    planned_n: int
    is_over: bool

    @property
    def sentence(self) -> str:
        """How mature it is, in plain words."""
        waiting = self.n_exposed - self.n_matured
        rest = f"; {counted(waiting, 'unit')} not yet looked at for the whole window do not count" if waiting else ""
        end = "it is over" if self.is_over else "it is not over"
        return f"{self.n_matured:,} of the {self.planned_n:,} planned units have matured, {end}{rest}."


@dataclass(frozen=True)
class Verdict:
    """What the data say of one arm, and why, in a sentence."""

    arm: str
    decision: Decision
    reason: str


@dataclass(frozen=True, eq=False, repr=False)
class Analysis:
    """What an experiment found: effects, guardrails, checks, and a verdict on each arm.

    Attributes:
        experiment: what was asked.
        units: the matured units.
        primary: the comparison that decides.
        secondary: the other metrics, corrected as explorations.
        guardrails: what may not get worse.
        shrunken: the primary metric's effect of each arm beside what is likely of it: a winner's is too large on
            average.
        who: for whom it works, by the primary metric.
        bayesian: `bayes.bayesian_view` of the primary metric, beside the decision and never instead.
        maturity: how many units count.
        checks: what else was looked at, by name: `calendar`, `overlap`, `machines`, `novelty`; none for a table.
        verdicts: one for each arm but the control.
        notes: what to know of the data, in sentences.
    """

    experiment: Experiment
    units: UnitTable
    primary: Comparison
    secondary: Comparison | None
    guardrails: tuple[GuardrailResult, ...]
    shrunken: dict[str, ShrunkenEffect]
    who: ForWhom
    bayesian: pd.DataFrame | None
    maturity: Maturity
    checks: dict[str, Check]
    verdicts: tuple[Verdict, ...]
    notes: tuple[str, ...] = ()

    @property
    def table(self) -> pd.DataFrame:
        """The effects of all metrics: `effect.effects_table`, `p_value_corrected`, and `role` (primary, secondary)."""
        import pandas as pd

        parts = [self.primary.table.assign(role="primary")]
        if self.secondary is not None:
            parts.append(self.secondary.table.assign(role="secondary"))
        return pd.concat([part for part in parts if len(part)] or parts[:1], ignore_index=True)

    @property
    def warnings(self) -> tuple[str, ...]:
        """What to know before one believes the effects, in sentences."""
        found = [*self.notes, *self.primary.warnings, *(self.secondary.warnings if self.secondary is not None else ())]
        found += [sentence for check in self.checks.values() if not check.passed for sentence in check.sentences()]
        return tuple(dict.fromkeys(found))

    def likely(self) -> list[str]:
        """What is likely of the effects that are beyond chance, in sentences."""
        return [
            f"{arm}: {found.sentence}"
            for arm, found in self.shrunken.items()
            if self.primary.of(self.experiment.primary.name, arm)[1] < self.experiment.alpha
        ]

    def sentences(self) -> list[str]:
        """What was found, in plain words, the verdicts first."""
        said = [f"{verdict.arm}: {verdict.decision}. {verdict.reason}" for verdict in self.verdicts]
        said += [self.maturity.sentence, *self.primary.ratio.sentences()]
        for comparison in (self.primary, self.secondary):
            if comparison is not None:
                said += [
                    effect_sentence(effect, p_value)
                    for effect, p_value in zip(comparison.effects, comparison.p_values, strict=True)
                ]
        said += [result.sentence for result in self.guardrails]
        said += self.likely()
        said += self.who.sentences()
        return [*said, *self.warnings]

    def to_dict(self) -> dict[str, Any]:
        """The analysis as plain data for JSON; the contract of `journeylab experiment analyze --json` and more."""
        results = self.primary.to_dict()
        secondary = [] if self.secondary is None else self.secondary.to_dict()["results"]
        return {
            "experiment": self.experiment.experiment,
            "version": self.experiment.version,
            "sample_ratio": results["sample_ratio"],
            "results": results["results"],
            "secondary": secondary,
            "guardrails": [result.to_dict() for result in self.guardrails],
            "shrunken": [{"arm": arm, **found.to_dict()} for arm, found in self.shrunken.items()],
            **self.who.to_dict(),
            "bayesian": None if self.bayesian is None else self.bayesian.to_dict("records"),
            "maturity": {**vars(self.maturity), "sentence": self.maturity.sentence},
            "checks": {
                name: {"passed": bool(check.passed), "sentences": check.sentences(), **check.to_dict()}
                for name, check in self.checks.items()
            },
            "verdicts": [vars(verdict) for verdict in self.verdicts],
            "refused": results["refused"],
            "warnings": list(self.warnings),
        }

    def record(
        self,
        arm: str | None,
        *,
        by: str,
        reason: str,
        decided_at: datetime,
        declared_at: str | None = None,
        declared_version: str | None = None,
    ) -> DecisionRecord:
        """The decision record: what was asked, found, checked, tried and decided.

        Args:
            arm: what is shipped; missing (None) where nothing is.
            by: who decided, a role or a pseudonym.
            reason: why, in a sentence.
            decided_at: when, an aware instant.
            declared_at: when the experiment was declared, as the plan has it; missing where it was not beforehand.
            declared_version: the version that was declared.

        Raises:
            DataError: when there is no such arm, or the instant is naive.
        """
        if arm is not None and arm not in self.units.arms:
            raise DataError(f"no arm {arm!r} to decide for; {known(arm, self.units.arms, 'arms')}")
        if decided_at.tzinfo is None:
            raise DataError("decided_at has no time zone; give an aware instant")
        said = self.to_dict()
        ratio, maturity = self.primary.ratio, self.maturity
        # An arm that is better beyond chance may be shipped although others are still looked at.
        is_mature = maturity.is_over or any(one.arm == arm and one.decision == "ship" for one in self.verdicts)
        of_arm = [result for result in self.guardrails if result.arm == arm]
        broken = [result for result in of_arm if result.verdict != "held"]
        guardrails = {
            "passed": not broken and not self.primary.refused,
            "sentence": " ".join(result.sentence for result in (broken or of_arm)) or "No guardrails were declared.",
        }
        checked = {
            "ratio": {"passed": bool(ratio.passed), "sentence": " ".join(ratio.sentences())},
            "maturity": {"passed": is_mature, "sentence": maturity.sentence},
            "guardrails": guardrails,
            **said["checks"],
        }
        names = (
            "results",
            "secondary",
            "guardrails",
            "segments",
            "rankings",
            "recommendation",
            "bayesian",
            "verdicts",
            "warnings",
        )
        looks = len(next(iter(self.primary.sequential.values())).looks) if self.primary.sequential else None
        return DecisionRecord(
            experiment={
                "name": self.experiment.experiment,
                "version": self.experiment.version,
                "versions": self.experiment.versions,
                "arms": dict(self.units.shares),
            },
            asked={
                **self.experiment.canonical(),
                "question": self.experiment.question,
                "declared_at": declared_at,
                "declared_version": declared_version,
            },
            found={name: said[name] for name in names},
            checked=checked,
            tried={
                "n_arms": len(self.units.arms) - 1,
                "n_metrics": len(self.experiment.metrics),
                "n_segments": len(self.experiment.segments),
                "n_comparisons": len(self.primary.effects) + len(said["secondary"]) + len(self.guardrails),
                "rule": self.experiment.stopping.rule,
                "n_looks": looks,
            },
            decided={
                "arm": arm,
                "by": by,
                "reason": reason,
                "decided_at": decided_at.astimezone(UTC).isoformat(),
            },
        )

    def __repr__(self) -> str:
        said = "; ".join(f"{verdict.arm}: {verdict.decision}" for verdict in self.verdicts)
        return f"Analysis({self.experiment.experiment}: {said})"

    def _repr_html_(self) -> str:
        said = "".join(block(sentence) for sentence in self.sentences())
        return block(repr(self), self.primary._repr_html_(), said)


def analyze_units(
    experiment: Experiment,
    units: UnitTable,
    *,
    checks: dict[str, Check] | None = None,
    past: Iterable[DecisionRecord] = (),
    notes: tuple[str, ...] = (),
) -> Analysis:
    """What an experiment found on a table of exposed units; those not matured are left out and counted.

    Args:
        experiment: what was asked; its metrics are the table's.
        units: the exposed units.
        checks: what else was looked at.
        past: the records of past experiments, all and not only those that found something; effects on a metric of the
            primary one's name are held beside this one's.
        notes: what to know of the data.
    """
    stopping, alpha = experiment.stopping, experiment.alpha
    n_exposed = sum(units.counts().values())
    ratio = sample_ratio_of(units)  # of all who were exposed: who has matured is a matter of time
    if units.has("is_matured"):
        units = units.narrowed("is_matured")
    n_matured = sum(units.counts().values())
    primary = compare(units, [experiment.primary], stopping=stopping, alpha=alpha, ratio=ratio)
    secondary = None
    if experiment.secondary:
        secondary = compare(
            units, experiment.secondary, stopping=stopping, alpha=alpha, correction="fdr_bh", ratio=ratio
        )
    is_given = not primary.refused
    held = _guardrails(experiment, units) if is_given else ()
    verdicts = tuple(_verdict(experiment, arm, primary, held) for arm in units.arms[1:])
    is_over = primary.has_ended or not any(verdict.decision in ("go on", "blocked") for verdict in verdicts)
    return Analysis(
        experiment,
        units,
        primary,
        secondary,
        held,
        shrunken=_shrunken(experiment, primary, past),
        who=_for_whom(experiment, units) if is_given else ForWhom(),
        bayesian=_bayesian(experiment, units) if is_given else None,
        maturity=Maturity(n_exposed, n_matured, stopping.planned_n, is_over),
        checks=checks or {},
        verdicts=verdicts,
        notes=notes,
    )


def analyze_experiment(
    experiment: Experiment,
    source: Any,
    *,
    until: datetime | str | None = None,
    send_times: SendTimesGiven | None = None,
    query: str | None = None,
    past: Iterable[DecisionRecord] = (),
) -> Analysis:
    """What an experiment found in the log in which it ran, or in its table.

    For a log it is looked at besides whether arms share days and hours, whether the effect wears off, whether units
    were in other journeys at the same time, and whether the answer hangs on what machines opened.

    Args:
        experiment: what was asked.
        source: the event log, or the table.
        until: for a log the horizon.
        send_times: for a log what `at: best` asked.
        query: for a table in a database.
        past: the records of past experiments; see `analyze_units`.

    Raises:
        DataError: when the log does not have the experiment's sends, so that it cannot have run there; when the data
            do not fit.
        DefinitionError: when a journey does not fit the log.
    """
    exposed = exposed_units(experiment, source, until=until, send_times=send_times, query=query)
    exposures = exposed.exposures
    if exposures is None:
        return analyze_units(experiment, exposed.units, past=past)
    if not exposures.has_run:
        raise DataError(
            "\n".join(
                [
                    *exposures.sentences(),
                    f"{experiment.experiment} did not run in this log, so that nothing in it tells the arms apart; "
                    "`experiment plan` says what it could find",
                ]
            )
        )
    notes = (*exposures.sentences(), *getattr(exposed.units, "notes", ()))
    return replace(analyze_units(experiment, exposed.units, past=past, notes=notes), checks=_checks(exposed))


def _checks(exposed: Exposed) -> dict[str, Check]:
    """What else was looked at in a log: each with `passed`, its `sentences` and its numbers."""
    from .checks.calendarbalance import calendar_balance
    from .checks.machineopens import with_and_without_machines
    from .checks.novelty import novelty
    from .checks.overlap import overlap

    experiment, units, exposures = exposed.experiment, exposed.units, exposed.exposures
    assert isinstance(units, OutcomeTable)
    assert exposures is not None
    alpha, primary = experiment.alpha, [experiment.primary]
    is_mean = isinstance(experiment.primary, Mean | Proportion | Count | Revenue | Ratio)
    found: dict[str, Check] = {
        "calendar": calendar_balance(exposures, is_time_treatment=experiment.varies_time),
        "overlap": overlap(units, exposed.portfolio, metrics=primary, alpha=alpha),
        "machines": with_and_without_machines(
            lambda table: effects(table.narrowed("is_matured"), primary, alpha=alpha), units, exposed.with_machines()
        ),
    }
    if is_mean:
        found["novelty"] = novelty(units, primary, alpha=alpha)
    return found


def _guardrails(experiment: Experiment, units: UnitTable) -> tuple[GuardrailResult, ...]:
    """The guardrails; valid at any time but at the end of a rule that is looked at once."""
    stopping, n = experiment.stopping, sum(units.counts().values())
    found = guardrails(units, experiment.guardrails, alpha=experiment.alpha)
    if stopping.rule == "fixed" and n >= stopping.planned_n:
        return tuple(found)
    return tuple(_held_at_any_time(result, n, stopping.planned_n) for result in found)


def _held_at_any_time(result: GuardrailResult, n: int, planned_n: int) -> GuardrailResult:
    """A guardrail with bounds that hold at every look; two of them at the level are one interval of a lower one."""
    both = 2 * result.level - 1
    error = widest_error(result.harm, result.low, result.high, result.standard_error, both)
    low, high = anytime_interval(result.harm, error, n, both, planned_n)
    verdict: Literal["held", "violated", "undecided"] = "undecided"
    if high < result.margin:
        verdict = "held"
    elif low > result.margin:
        verdict = "violated"
    return replace(result, low=low, high=high, verdict=verdict)


def _shrunken(experiment: Experiment, primary: Comparison, past: Iterable[DecisionRecord]) -> dict[str, ShrunkenEffect]:
    import pandas as pd

    metric = experiment.primary.name
    rows = [
        (result["effect"], result["standard_error"])
        for record in past
        for result in record.found.get("results", ())
        if result["metric"] == metric and result["kind"] != "winsorised" and result["standard_error"]
    ]
    before = pd.DataFrame(rows, columns=["effect", "standard_error"]) if rows else None
    return {
        effect.arm: shrunken(effect.effect, effect.standard_error, before, level=effect.level)
        for effect in primary.effects
        if effect.kind != "winsorised" and effect.standard_error > 0
    }


def _for_whom(experiment: Experiment, units: UnitTable) -> ForWhom:
    return for_whom(
        units, experiment.primary, segments=experiment.segments, features=experiment.features, alpha=experiment.alpha
    )


def _bayesian(experiment: Experiment, units: UnitTable) -> pd.DataFrame | None:
    """The Bayesian view of the primary metric, where it is a mean of units that are their own."""
    import pandas as pd

    from .estimation.bayes import bayesian_view

    metric = experiment.primary
    if units.has("cluster") or not isinstance(metric, Mean | Proportion | Count | Revenue):
        return None
    value = quoted(metric.name)
    found = units.rows(f"arm, count(*), sum({value})::DOUBLE, var_samp({value}::DOUBLE)", "GROUP BY arm")
    rows = [next(row for row in found if row[0] == arm) for arm in units.arms if arm in {row[0] for row in found}]
    if len(rows) < 2 or any(n < 2 or not variance for _, n, _, variance in rows):
        return None
    arms = pd.DataFrame(
        {
            "arm": [arm for arm, *_ in rows],
            "mean": [total / n for _, n, total, _ in rows],
            "standard_error": [math.sqrt(variance / n) for _, n, _, variance in rows],
        }
    )
    if isinstance(metric, Proportion):
        arms = arms.assign(n=[n for _, n, *_ in rows], n_successes=[round(total) for _, _, total, _ in rows])
    return bayesian_view(arms, metric.better)


def _verdict(experiment: Experiment, arm: str, primary: Comparison, held: tuple[GuardrailResult, ...]) -> Verdict:
    """What the data say of one arm."""
    if primary.ratio.passed is False:
        return Verdict(arm, "blocked", "The arms do not have the units that they should.")
    if primary.refused:
        return Verdict(arm, "go on", primary.refused[0])
    metric, alpha = experiment.primary, experiment.alpha
    effect, p_value = primary.of(metric.name, arm)
    of_arm = [result for result in held if result.arm == arm]
    if violated := [result for result in of_arm if result.verdict == "violated"]:
        return Verdict(arm, "keep control", " ".join(result.sentence for result in violated))
    gain = effect.effect if metric.better == "higher" else -effect.effect
    says = effect_sentence(effect, p_value)
    is_beyond_chance = p_value < alpha
    if effect.interval == "group-sequential":
        said = primary.sequential[metric.name, arm]
        is_beyond_chance = said.stopped_at is not None
    if is_beyond_chance and gain < 0:
        return Verdict(arm, "keep control", f"It is worse: {says}.")
    undecided = [result for result in of_arm if result.verdict == "undecided"]
    if is_beyond_chance and undecided and not primary.has_ended:
        return Verdict(arm, "go on", f"It is better ({says}), but not yet sure: {undecided[0].sentence}")
    if is_beyond_chance and undecided:
        return Verdict(arm, "undecided", f"It is better ({says}), but harm is not ruled out: {undecided[0].sentence}")
    if is_beyond_chance:
        return Verdict(arm, "ship", f"It is better: {says}.")
    if not primary.has_ended:
        return Verdict(arm, "go on", f"Nothing is beyond chance yet: {says}.")
    ruled_out = f"What is ruled out is an effect above {effect.high:+.4g} or below {effect.low:+.4g}"
    return Verdict(arm, "undecided", f"No difference was found. {ruled_out}: {says}.")
