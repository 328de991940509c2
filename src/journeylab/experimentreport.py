"""Pages of experiments: what was compared, what it found, how it came to be, and what is planned.

Each is one HTML file that opens without a network, reads without scripts and names nobody, as `report`. What is decided
comes first, then the numbers with their pictures, then the checks, then what cannot be known. Numbers are those of the
tables.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, NamedTuple

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from .display import counted
from .drawing import share_text
from .durations import duration_text
from .experimentdrawing import forest_svg, guardrail_svg, overlap_svg, segment_svg
from .experimentlines import novelty_svg, power_svg, ratio_svg, shares_svg, uplift_svg, watch_svg
from .experimentplots import Better, is_beyond_chance, number_text
from .experiments.checks.novelty import Novelty
from .experiments.checks.overlap import Overlap
from .experimentwords import power_table

if TYPE_CHECKING:
    from .experiments.analysis import Analysis
    from .experiments.checks.journeychecks import Check
    from .experiments.comparison import Comparison
    from .experiments.effect import Effect
    from .experiments.experiment import Experiment
    from .experiments.heterogeneity.forwhom import ForWhom
    from .experiments.heterogeneity.subgroups import SubgroupEffects
    from .experiments.planning import Plan
    from .experiments.ratio.sampleratio import SampleRatio
    from .experiments.watching import Watch

__all__ = ["analysis_page", "comparison_page", "plan_page", "watch_page"]

_SMALLEST = 5
_CORRECTIONS = {"holm": "corrected for each other (Holm)", "fdr_bh": "corrected as explorations (Benjamini-Hochberg)",
                "none": "not corrected for each other"}  # fmt: skip
_RULES = {
    "always_valid": "one may look at any time, and stop", "fixed": "one looks once, at the end",
    "group_sequential": "one looks at the planned looks",
}  # fmt: skip


class _Section(NamedTuple):
    """A part of a page: sentences, pictures, and the table of their numbers, heads and rows of text."""

    heading: str
    note: str = ""
    sentences: Sequence[str] = ()
    drawings: Sequence[Markup] = ()
    head: Sequence[str] = ()
    rows: Sequence[Sequence[str]] = ()


class _Verdict(NamedTuple):
    """What is decided on whom, and why."""

    who: str
    what: str
    why: str
    is_good: bool


def comparison_page(comparison: Comparison, who: ForWhom | None = None) -> str:
    """The page of a comparison, as HTML.

    Args:
        comparison: the effects, or why there are none.
        who: for whom they are.
    """
    arms = [*comparison.ratio.n]
    verdicts = [_Verdict("", "No effect is given.", " ".join(comparison.refused), is_good=False)]
    if comparison.refused:
        sections = [*_ratio(comparison.ratio)]
    else:
        sections = [_Section("What to know", sentences=comparison.warnings)] if comparison.warnings else []
        sections += [*_effects(comparison, "Effects"), *_looks(comparison), *(_for_whom(who) if who else ())]
        sections += _ratio(comparison.ratio)
    control = comparison.effects[0].control if comparison.effects else None
    others = ", ".join(arm for arm in arms if arm != control)
    return _page(
        "Arms compared" if control is None else f"{others} against {control}",
        f"{counted(comparison.n, 'unit')} in {counted(len(arms), 'arm')}.",
        sections,
        verdicts=verdicts if comparison.refused else [],
        figures=[(f"{n:,}", f"units in {arm}") for arm, n in comparison.ratio.n.items()],
    )


def analysis_page(analysis: Analysis) -> str:
    """The page of an analysed experiment, as HTML: the verdicts first, what is not known last."""
    experiment, maturity = analysis.experiment, analysis.maturity
    better = {metric.name: metric.better for metric in experiment.metrics}
    sections = [] if not analysis.warnings else [_Section("What to know", sentences=analysis.warnings)]
    sections += _effects(analysis.primary, f"What decides: {experiment.primary.name}", better)
    if analysis.secondary is not None:
        sections += _effects(analysis.secondary, "What is looked at besides", better)
    if analysis.likely():
        sections.append(_Section("What is likely of it", sentences=analysis.likely()))
    sections += [*_looks(analysis.primary), *_guardrails(analysis), *_for_whom(analysis.who), *_bayesian(analysis)]
    sections += _ratio(analysis.primary.ratio)
    sections += [_check(name, check) for name, check in analysis.checks.items()]
    sections += [_Section("What cannot be known from this", sentences=[*_unknown(analysis)]), _asked(experiment)]
    verdicts = [_Verdict(one.arm, f"{one.decision}.", one.reason, one.decision == "ship") for one in analysis.verdicts]
    return _page(
        experiment.experiment,
        experiment.question or f"Version {experiment.version}.",
        sections,
        verdicts=verdicts,
        figures=[
            (f"{maturity.n_matured:,}", "matured units"), (f"{maturity.planned_n:,}", "planned units"),
            (f"{maturity.n_exposed:,}", "exposed units"), ("yes" if maturity.is_over else "no", "is it over?"),
        ],
    )  # fmt: skip


def _check(name: str, check: Check) -> _Section:
    """One check, with its picture where it has one."""
    drawings = []
    if isinstance(check, Novelty):
        drawings = [Markup(novelty_svg(check.table, check.trend, check.alpha))]
    elif isinstance(check, Overlap) and len(check.matrix):
        drawings = [Markup(overlap_svg(check.matrix))]
    title = f"Check: {name}{'' if check.passed else ' (not passed)'}"
    return _Section(title, sentences=check.sentences(), drawings=drawings)


def watch_page(watch: Watch) -> str:
    """The page of an experiment while it runs, as HTML: alarms, the effects as units came in, the arms' ratio."""
    n = int(watch.path["n_units"].max()) if len(watch.path) else 0
    planned = watch.stopping.planned_n
    rows = [
        [
            f"{row.n_units:,}", f"{row.looked_at:%Y-%m-%d %H:%M}", str(row.metric), str(row.arm),
            *(number_text(one) for one in (row.effect, row.low, row.high, row.fixed_low, row.fixed_high)),
            _p_text(row.p_value),
        ]
        for row in watch.path.itertuples()
    ]  # fmt: skip
    head = ["units", "last exposure (UTC)", "metric", "arm", "effect", "low", "high", "single low", "single high", "p"]
    sections = [
        _Section(
            "The effect as units came in",
            f"The interval holds whenever one looks, with an error of {watch.alpha:g} over all looks. What a single "
            "look would say is there as a warning: whoever looks again until it leaves 0 is wrong far more often.",
            sentences=watch.sentences()[:1], drawings=[Markup(watch_svg(watch.path, planned))] if rows else [],
            head=head, rows=rows,
        ),
        *_ratio(watch.ratio),
    ]  # fmt: skip
    alarms = [_Verdict("", "Act:", alarm, is_good=False) for alarm in watch.alarms]
    is_over = n >= planned
    nothing = [_Verdict("", "It is over." if is_over else "Go on.", watch.sentences()[-1], is_good=not is_over)]
    return _page(
        "An experiment while it runs",
        f"{n:,} of the planned {counted(planned, 'unit')} are in.",
        sections,
        verdicts=alarms or nothing,
        figures=[(f"{n:,}", "units looked at"), (f"{planned:,}", "planned units"), (f"{n / planned:.0%}", "done")],
    )


def plan_page(plan: Plan) -> str:
    """The page of a plan, as HTML: what can be found, in how many weeks, and how often it would be wrong."""
    experiment = plan.experiment
    first = plan.metrics.iloc[0]
    head = ["metric", "role", "control's mean", "error at the end", "least effect", "units needed", "variance saved"]
    rows = [
        [
            str(row.metric), str(row.role), number_text(row.mean_control, ".4g"),
            number_text(row.standard_error, ".3g"), number_text(row.minimum_effect, ".4g"),
            number_text(row.units_needed, ",.0f"), share_text(row.variance_reduction_share),
        ]
        for row in plan.metrics.itertuples()
    ]  # fmt: skip
    sections = [
        _Section(
            "What can be found",
            f"The least effect on each metric that is found with a probability of {experiment.power:.0%} by the "
            "planned units; for a guardrail the least margin within which it can be shown to hold.",
            head=head, rows=rows,
        )
    ]  # fmt: skip
    table = power_table(plan)
    if plan.recruiting is not None and not math.isnan(first["minimum_effect"]):
        drawing = power_svg(table, str(first["metric"]), plan.recruiting.n_weeks, experiment.minimum_effect)
        sections.append(
            _Section(
                "Weeks against the least effect",
                "History's exposures a week, and errors that shrink with the root of the units.",
                drawings=[Markup(drawing)], head=["weeks", "units", "least effect"],
                rows=[[f"{row.week}", f"{row.n_units:,.0f}", number_text(row.minimum_effect, ".4g")]
                      for row in table.itertuples()],
            )
        )  # fmt: skip
    if len(plan.weekly):
        weeks = [[f"{row.week:%Y-%m-%d}", f"{row.n_units:,}"] for row in plan.weekly.itertuples()]
        sections.append(_Section("Exposures by week of history", head=["week from (UTC)", "units"], rows=weeks))
    if len(plan.alarms):
        sections.append(
            _Section(
                "A/A on history",
                f"How often a difference was found where there is none; at most {experiment.alpha:.0%} should.",
                head=["metric", "runs", "alarms", "share", "low", "high"],
                rows=[[str(row.metric), f"{row.n_runs:,}", f"{row.n_alarms:,}",
                       *(share_text(one) for one in (row.alarm_share, row.low, row.high))]
                      for row in plan.alarms.itertuples()],
            )
        )  # fmt: skip
    days = "\N{EN DASH}"
    if plan.recruiting is not None:
        days = counted(math.ceil(plan.recruiting.takes / timedelta(days=1)), "day")
    declared = "Not declared yet." if plan.declared_at is None else f"Declared {plan.declared_at:%Y-%m-%d %H:%M} UTC."
    return _page(
        f"Plan: {experiment.experiment}",
        f"{experiment.question or f'Version {experiment.version}.'} {declared}",
        [_Section("In words", sentences=plan.sentences()), *sections, _asked(experiment)],
        figures=[
            (f"{experiment.stopping.planned_n:,}", "planned units"),
            (number_text(first["minimum_effect"], ".4g"), f"least effect on {first['metric']}"),
            (days, "until the last has been watched"),
        ],
    )  # fmt: skip


def _page(
    title: str, lead: str, sections: Iterable[_Section], *, figures: Sequence[tuple[str, str]] = (),
    verdicts: Sequence[_Verdict] = (),
) -> str:  # fmt: skip
    environment = Environment(
        loader=PackageLoader("journeylab"), autoescape=True, undefined=StrictUndefined, trim_blocks=True,
        lstrip_blocks=True,
    )  # fmt: skip
    template = environment.get_template("experiment.html.j2")
    return template.render(title=title, lead=lead, sections=[*sections], figures=figures, verdicts=verdicts)


def _p_text(p_value: float) -> str:
    return number_text(p_value, ".3g")


def _few(n: int) -> str:
    return f"<{_SMALLEST}" if 0 < n < _SMALLEST else f"{n:,}"


def _effects(comparison: Comparison, heading: str, better: Better | None = None) -> list[_Section]:
    """The effects of a comparison as a forest plot, or why there are none."""
    if not comparison.effects:
        return [_Section(heading, sentences=comparison.refused)] if comparison.refused else []
    pairs = zip(comparison.effects, comparison.p_values, strict=True)
    head = ["metric", "arm", "arm's mean", "control's mean", "effect", "error", "low", "high", "relative",
            "p", "p corrected", "variance saved"]  # fmt: skip
    return [
        _Section(
            heading, f"Arms less {comparison.effects[0].control}; p values are {_CORRECTIONS[comparison.correction]}.",
            drawings=[Markup(forest_svg(comparison.table, better))], head=head,
            rows=[_effect_row(effect, p_value) for effect, p_value in pairs],
        )
    ]  # fmt: skip


def _effect_row(effect: Effect, p_value: float) -> list[str]:
    return [
        f"{effect.metric}, winsorised" if effect.kind == "winsorised" else effect.metric, effect.arm,
        number_text(effect.mean_arm, ".4g"), number_text(effect.mean_control, ".4g"), number_text(effect.effect),
        number_text(effect.standard_error, ".3g"), number_text(effect.low), number_text(effect.high),
        number_text(effect.relative_effect, "+.1%"), _p_text(effect.p_value), _p_text(p_value),
        share_text(effect.variance_reduction_share),
    ]  # fmt: skip


def _ratio(ratio: SampleRatio) -> Iterator[_Section]:
    """Whether the arms have their units, at the end and while they came in."""
    drawings = []
    if len(ratio.path) > 1:
        drawings = [Markup(ratio_svg(ratio.path, ratio.alpha)), Markup(shares_svg(ratio.shares))]
    yield _Section(
        "Whether the arms have the units that they should", sentences=ratio.sentences(), drawings=drawings,
        head=["arm", "units", "expected", "difference"],
        rows=[[arm, f"{n:,}", f"{ratio.expected[arm]:,.1f}", number_text(n - ratio.expected[arm], "+,.1f")]
              for arm, n in ratio.n.items()],
    )  # fmt: skip


def _guardrails(analysis: Analysis) -> Iterator[_Section]:
    from .experiments.estimation.guardrails import guardrails_table

    if not analysis.guardrails:
        return
    table = guardrails_table(analysis.guardrails)
    yield _Section(
        "What may not get worse", "A guardrail holds when harm beyond its margin is ruled out, not when none was seen.",
        [result.sentence for result in analysis.guardrails], [Markup(guardrail_svg(table))],
        ["metric", "arm", "harm", "low", "high", "margin", "p", "verdict"],
        [[str(row.metric), str(row.arm), *(number_text(one) for one in (row.harm, row.low, row.high)),
          f"{row.margin:.4g}", _p_text(row.p_value), str(row.verdict)] for row in table.itertuples()],
    )  # fmt: skip


def _for_whom(who: ForWhom) -> Iterator[_Section]:
    """For whom it works: declared segments, rankings, and whom to send what."""
    for (segment, arm), found in who.segments.items():
        yield _segment(f"For whom: {arm} by {segment}", found)
    for arm, ranking in who.rankings.items():
        yield _Section(
            f"For whom: a learned ranking for {arm}", "Judged on contacts that it had not seen.", [ranking.sentence],
            [Markup(uplift_svg(ranking.curve, ranking.autoc, ranking.qini))],
            ["first", "effect", "low", "high", "at random"],
            [[f"{row.share:.0%}", *(number_text(one) for one in (row.uplift, row.low, row.high, row.random))]
             for row in ranking.curve.itertuples()],
        )  # fmt: skip
    if who.recommendation is not None:
        values = who.recommendation.values
        yield _Section(
            "Whom to send what", "What each arm for all, and each rule, is worth: mean outcome less costs.",
            [who.recommendation.sentence], head=["policy", "value", "error", "low", "high"],
            rows=[[str(row.policy), *(number_text(one, ".4g") for one in
                                      (row.value, row.standard_error, row.low, row.high))]
                  for row in values.itertuples()],
        )  # fmt: skip


def _segment(heading: str, found: SubgroupEffects) -> _Section:
    """The effects by segment, raw and shrunken."""
    names = ["effect", "low", "high", "shrunken_effect", "shrunken_low", "shrunken_high"]
    counts = {"n_arm": "units", "n_control": "control's units"}
    there = [name for name in counts if name in found.table]
    return _Section(
        heading, "The best of several raw effects is too good to be true; decide by the shrunken ones.",
        [found.sentence], [Markup(segment_svg(found.table, differs=found.differs))],
        ["segment", *(counts[name] for name in there), *(name.replace("_", " ") for name in names), "p adjusted"],
        [[str(row["segment"]), *(_few(int(row[name])) for name in there), *(number_text(row[name]) for name in names),
          _p_text(row["p_value_adjusted"])] for row in found.table.to_dict("records")],
    )  # fmt: skip


def _looks(comparison: Comparison) -> Iterator[_Section]:
    """What planned looks said, for each effect."""
    for (metric, arm), found in comparison.sequential.items():
        yield _Section(
            f"Planned looks: {arm} on {metric}", sentences=found.sentences(),
            head=["look", "information", "effect", "low", "high", "z", "bound", "error spent", "decision"],
            rows=[[f"{one.look}", f"{one.information:.0%}", *(number_text(x) for x in (one.effect, one.low, one.high)),
                   number_text(one.z, "+.3f"), f"{one.bound:.3f}", f"{one.spent_alpha:.4g}", one.decision]
                  for one in found.looks],
        )  # fmt: skip


def _bayesian(analysis: Analysis) -> Iterator[_Section]:
    if analysis.bayesian is None:
        return
    yield _Section(
        "Beside the decision, never instead: the Bayesian view",
        f"Of {analysis.experiment.primary.name}. It holds for one look and knows of no other metric.",
        head=["arm", "mean", "low", "high", "probability to be best", "expected loss"],
        rows=[[str(row.arm), *(number_text(one, ".4g") for one in (row.posterior_mean, row.low, row.high)),
               share_text(row.best_probability), number_text(row.expected_loss, ".4g")]
              for row in analysis.bayesian.itertuples()],
    )  # fmt: skip


def _unknown(analysis: Analysis) -> Iterator[str]:
    """What the data do not say, in sentences."""
    experiment, maturity = analysis.experiment, analysis.maturity
    if experiment.window is not None:
        yield f"What happens later than {duration_text(experiment.window)} after the exposure was not looked at."
    waiting = maturity.n_exposed - maturity.n_matured
    if waiting:
        yield f"{counted(waiting, 'exposed unit')} had not been looked at for the whole window, and do not count."
    comparisons = [one for one in (analysis.primary, analysis.secondary) if one is not None]
    for comparison in comparisons:
        for effect, p_value in zip(comparison.effects, comparison.p_values, strict=True):
            name = f"{effect.metric}, winsorised," if effect.kind == "winsorised" else effect.metric
            if math.isnan(effect.standard_error):
                yield f"How sure the effect of {effect.arm} on {name} is cannot be told."
            elif not is_beyond_chance(p_value, effect.low, effect.high, effect.level):
                low, high = number_text(effect.low), number_text(effect.high)
                yield f"That {effect.arm} does nothing to {name} is not shown: {low} to {high} is possible."
    for result in analysis.guardrails:
        if result.verdict == "undecided":
            yield f"Whether {result.arm} keeps the margin of {result.metric} is undecided."
    if not experiment.guardrails:
        yield "Whether something got worse was not asked: no guardrails were declared."


def _asked(experiment: Experiment) -> _Section:
    """What was asked, as it was declared."""
    stopping = experiment.stopping
    rows = [
        ["version", experiment.version],
        *([f"version of {name}", version] for name, version in experiment.versions.items()),
        ["arms", ", ".join(f"{arm} {share_text(share)}" for arm, share in experiment.arms.items()) or "of the table"],
        ["control", experiment.control],
        ["what decides", experiment.primary.name],
        ["besides", ", ".join(metric.name for metric in experiment.secondary) or "nothing"],
        ["guardrails", ", ".join(f"{one.metric.name} by {one.margin:g}" for one in experiment.guardrails) or "none"],
        ["segments", ", ".join(experiment.segments) or "none"],
        ["window", "of the table" if experiment.window is None else duration_text(experiment.window)],
        ["over at", f"{counted(stopping.planned_n, 'unit')}; {_RULES[stopping.rule]}"],
        ["error and power", f"{experiment.alpha:g}, {experiment.power:.0%}"],
    ]
    return _Section("What was asked", rows=rows)
