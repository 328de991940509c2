"""What the commands of experiments say, as lines."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING

from journeylab.display import counted

from .screen import table_lines

if TYPE_CHECKING:
    from journeylab.experiments.analysis import Analysis
    from journeylab.experiments.comparison import Comparison
    from journeylab.experiments.effect import Effect
    from journeylab.experiments.planning import Plan
    from journeylab.experiments.watching import Watch

__all__ = ["analysis_lines", "comparison_lines", "plan_lines", "watch_lines"]

_INTERVALS = {
    "fixed": "{level} intervals, for one look",
    "always-valid": "{level} intervals that hold whenever one looks",
    "group-sequential": "{level} intervals over all planned looks",
}


def _number(value: float, sign: str = "") -> str:
    return "-" if math.isnan(value) else f"{value:{sign},.4g}"


def _effect_rows(effects: tuple[Effect, ...], p_values: tuple[float, ...]) -> list[list[str]]:
    return [
        [
            f"{effect.metric}, winsorised" if effect.kind == "winsorised" else effect.metric,
            effect.arm, _number(effect.mean_control), _number(effect.mean_arm), _number(effect.effect, "+"),
            f"{_number(effect.low, '+')} to {_number(effect.high, '+')}",
            "-" if math.isnan(effect.relative_effect) else f"{effect.relative_effect:+.1%}",
            "-" if math.isnan(p_value) else f"{p_value:.3g}",
        ]
        for effect, p_value in zip(effects, p_values, strict=True)
    ]  # fmt: skip


def comparison_lines(found: Comparison) -> Iterator[str]:
    """A comparison as a table, with what it rests on."""
    yield from found.ratio.sentences()
    if found.refused:
        yield from (sentence for sentence in found.refused if sentence not in found.ratio.sentences())
        return
    if not found.effects:
        return
    first = found.effects[0]
    interval = _INTERVALS[first.interval].format(level=f"{first.level * 100:.12g} %")
    corrected = {"holm": "Holm", "fdr_bh": "Benjamini-Hochberg"}.get(found.correction)
    p_values = f"p corrected by {corrected}" if corrected and len(found.effects) > 1 else "p not corrected"
    yield ""
    yield f"against {first.control}; {interval}; {p_values}"
    head = ["metric", "arm", "control's", "arm's", "effect", "interval", "relative", "p"]
    yield from table_lines(head, _effect_rows(found.effects, found.p_values), right="control's arm's effect relative p")
    if found.warnings:
        yield ""
        yield from found.warnings


def analysis_lines(found: Analysis) -> Iterator[str]:
    """What an experiment found: verdicts, effects, guardrails, segments, checks."""
    experiment = found.experiment
    yield f"{experiment.experiment}, version {experiment.version}"
    if experiment.question:
        yield experiment.question
    yield ""
    for verdict in found.verdicts:
        yield f"{verdict.arm}: {verdict.decision.upper()}"
        yield f"  {verdict.reason}"
    yield ""
    yield found.maturity.sentence
    yield from comparison_lines(found.primary)
    if found.secondary is not None and found.secondary.effects:
        yield ""
        yield "secondary metrics, looked at besides (p corrected by Benjamini-Hochberg)"
        head = ["metric", "arm", "control's", "arm's", "effect", "interval", "relative", "p"]
        rows = _effect_rows(found.secondary.effects, found.secondary.p_values)
        yield from table_lines(head, rows, right="control's arm's effect relative p")
    if found.guardrails:
        yield ""
        yield "guardrails"
        yield from (f"  {result.sentence}" for result in found.guardrails)
    if said := found.likely():
        yield ""
        yield from said
    if said := found.who.sentences():
        yield ""
        yield "for whom"
        yield from (f"  {sentence}" for sentence in said)
    if found.bayesian is not None:
        yield ""
        yield "beside, not instead: the probability to be best, and the expected loss of choosing it"
        rows = [
            [str(row.arm), f"{row.best_probability:.1%}", _number(row.expected_loss)]
            for row in found.bayesian.itertuples()
        ]
        yield from table_lines(["arm", "best", "loss"], rows, right="best loss")
    others = [check for check in found.checks.values() if check.passed]
    if others or found.warnings:
        yield ""
        yield from (sentence for check in others for sentence in check.sentences())
        yield from (sentence for sentence in found.warnings if sentence not in found.primary.warnings)


def plan_lines(plan: Plan) -> Iterator[str]:
    """A plan: what can be found, in how many weeks, and how often it would be wrong."""
    yield from plan.sentences()
    yield ""
    yield "error: of an effect at the end; least: the least effect that is found; units: for the wanted effect"
    head = ["metric", "role", "control's", "error", "least", "units"]
    rows = [
        [
            str(row.metric), str(row.role), _number(row.mean_control), _number(row.standard_error),
            _number(row.minimum_effect), "-" if math.isnan(row.units_needed) else f"{row.units_needed:,.0f}",
        ]
        for row in plan.metrics.itertuples()
    ]  # fmt: skip
    yield from table_lines(head, rows, right="control's error least units")


def watch_lines(found: Watch) -> Iterator[str]:
    """An experiment while it runs."""
    yield from found.sentences()
    last = found.path.groupby(["metric", "arm"], sort=False).tail(1)
    if len(last):
        yield ""
        head = ["metric", "arm", "units", "effect", "interval, whenever one looks", "a single look would say"]
        rows = [
            [
                str(row.metric), str(row.arm), f"{row.n_units:,}", _number(row.effect, "+"),
                f"{_number(row.low, '+')} to {_number(row.high, '+')}",
                f"{_number(row.fixed_low, '+')} to {_number(row.fixed_high, '+')}",
            ]
            for row in last.itertuples()
        ]  # fmt: skip
        yield from table_lines(head, rows, right="units effect")
    yield f"{counted(len(found.path), 'row')} of the path in --json"
