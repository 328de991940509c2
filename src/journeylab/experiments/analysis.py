"""What an experiment found, and what may be decided on it."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, ClassVar

from journeylab.display import block, plain_rows, said
from journeylab.errors import DataError, known
from journeylab.language import say
from journeylab.progress import Progress
from journeylab.resulttables import Tables

from .checks.journeychecks import Check, journey_checks
from .comparison import Comparison, compare, effect_sentence, sample_ratio_of
from .estimation.guardrails import at_any_time, guardrails
from .exposed import exposed_units
from .heterogeneity.forwhom import ForWhom, for_whom
from .heterogeneity.shrinkage import ShrunkenEffect, shrunken
from .metrics import Count, Mean, Proportion, Revenue
from .record import DecisionRecord
from .unittable import quoted
from .verdicts import Maturity, Verdict, verdict_on

if TYPE_CHECKING:
    from collections.abc import Iterable

    import pandas as pd

    from journeylab.advice import SendTimesGiven

    from .estimation.guardrails import GuardrailResult
    from .experiment import Experiment
    from .unittable import UnitTable

__all__ = ["Analysis", "analyze_experiment", "analyze_units"]


@dataclass(frozen=True, eq=False, repr=False)
class Analysis(Tables):
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

    _table_names: ClassVar = ("table", "bayesian")

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
            say("{arm}: {sentence}", arm=arm, sentence=found.sentence)
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
            "bayesian": None if self.bayesian is None else plain_rows(self.bayesian),
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
        return block(repr(self), self.primary._repr_html_(), said(self.sentences()))


def analyze_units(
    experiment: Experiment,
    units: UnitTable,
    *,
    checks: dict[str, Check] | None = None,
    past: Iterable[DecisionRecord] = (),
    notes: tuple[str, ...] = (),
    progress: Progress = None,
) -> Analysis:
    """What an experiment found on a table of exposed units; those not matured are left out and counted.

    Args:
        experiment: what was asked; its metrics are the table's.
        units: the exposed units.
        checks: what else was looked at.
        past: the records of past experiments, all and not only those that found something; effects on a metric of the
            primary one's name are held beside this one's.
        notes: what to know of the data.
        progress: with features, of what is learned of them.
    """
    stopping, alpha = experiment.stopping, experiment.alpha
    n_exposed = sum(units.counts().values())
    ratio = sample_ratio_of(units)  # of all who were exposed: who has matured is a matter of time
    exposed = units
    if units.has("is_matured"):
        units = units.narrowed("is_matured")
    n_matured = sum(units.counts().values())
    given: dict[str, Any] = {"stopping": stopping, "alpha": alpha, "ratio": ratio, "exposed": exposed}
    primary = compare(units, [experiment.primary], **given)
    secondary = None
    if experiment.secondary:
        secondary = compare(units, experiment.secondary, correction="fdr_bh", **given)
    is_given = not primary.refused
    held = _guardrails(experiment, units) if is_given else ()
    verdicts = tuple(verdict_on(experiment, arm, primary, held) for arm in units.arms[1:])
    is_over = primary.has_ended or not any(verdict.decision in ("go on", "blocked") for verdict in verdicts)
    return Analysis(
        experiment,
        units,
        primary,
        secondary,
        held,
        shrunken=_shrunken(experiment, primary, past),
        who=_for_whom(experiment, units, progress) if is_given else ForWhom(),
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
    progress: Progress = None,
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
        progress: `True` for a bar of each stage, the replays and, with features, what is learned of them; or what to
            call with how much is done of a stage and how much there is in all; see `journeylab.progress`.

    Raises:
        DataError: when the log does not have the experiment's sends, so that it cannot have run there; when the data
            do not fit.
        DefinitionError: when a journey does not fit the log.
    """
    exposed = exposed_units(experiment, source, until=until, send_times=send_times, query=query, progress=progress)
    exposures = exposed.exposures
    if exposures is None:
        return analyze_units(experiment, exposed.units, past=past, progress=progress)
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
    found = analyze_units(experiment, exposed.units, past=past, notes=notes, progress=progress)
    return replace(found, checks=journey_checks(exposed))


def _guardrails(experiment: Experiment, units: UnitTable) -> tuple[GuardrailResult, ...]:
    """The guardrails; valid at any time but at the end of a rule that is looked at once."""
    stopping, n = experiment.stopping, sum(units.counts().values())
    found = guardrails(units, experiment.guardrails, alpha=experiment.alpha)
    if stopping.rule == "fixed" and n >= stopping.planned_n:
        return tuple(found)
    return tuple(at_any_time(result, n, stopping.planned_n) for result in found)


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


def _for_whom(experiment: Experiment, units: UnitTable, progress: Progress) -> ForWhom:
    return for_whom(
        units, experiment.primary, segments=experiment.segments, features=experiment.features, alpha=experiment.alpha,
        progress=progress,
    )  # fmt: skip


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
