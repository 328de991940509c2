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

from markupsafe import Markup

from .durations import length_text
from .experimentdrawing import forest_svg, guardrail_svg, overlap_svg, segment_svg
from .experimentlines import novelty_svg, power_svg, ratio_svg, shares_svg, uplift_svg, watch_svg
from .experimentplots import Better, is_beyond_chance, number_text
from .experiments.checks.novelty import Novelty
from .experiments.checks.overlap import Overlap
from .experimentwords import power_table
from .language import (
    again,
    count_text,
    current,
    date_text,
    formatted,
    instant_text,
    later,
    plural,
    say,
    say_in,
    share_text,
    using,
)
from .pages import template

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
_CORRECTIONS = {
    "holm": later("Arms less {control}; p values are corrected for each other (Holm)."),
    "fdr_bh": later("Arms less {control}; p values are corrected as explorations (Benjamini-Hochberg)."),
    "none": later("Arms less {control}; p values are not corrected for each other."),
}
_RULES = {
    "always_valid": later("one may look at any time, and stop"), "fixed": later("one looks once, at the end"),
    "group_sequential": later("one looks at the planned looks"),
}  # fmt: skip
_ROLES = {"primary": later("primary"), "secondary": later("secondary"), "guardrail": later("guardrail")}
_DECISIONS = {
    "ship": later("ship."), "keep control": later("keep control."), "go on": later("go on."),
    "undecided": later("undecided."), "blocked": later("blocked."),
}  # fmt: skip
_LOOKS = {
    "go on": later("go on"), "stop: difference": later("stop: difference"), "end": later("end"),
}  # fmt: skip
_CHECKS = {
    "calendar": later("calendar"), "overlap": later("overlap"), "machines": later("machines"),
    "novelty": later("novelty"),
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


def comparison_page(comparison: Comparison, who: ForWhom | None = None, *, language: str | None = None) -> str:
    """The page of a comparison, as HTML.

    Args:
        comparison: the effects, or why there are none.
        who: for whom they are.
        language: the language of its words, "en" or "pl"; by default the current one of `language`.

    Raises:
        DataError: when there is no such language.
    """
    with using(language or current()):
        return _comparison(comparison, who)


def _comparison(comparison: Comparison, who: ForWhom | None) -> str:
    arms = [*comparison.ratio.n]
    refused, warnings = [again(one) for one in comparison.refused], [again(one) for one in comparison.warnings]
    verdicts = [_Verdict("", say("No effect is given."), " ".join(refused), is_good=False)]
    if comparison.refused:
        sections = [*_ratio(comparison.ratio)]
    else:
        sections = [_Section(say("What to know"), sentences=warnings)] if warnings else []
        sections += [*_effects(comparison, say("Effects")), *_looks(comparison), *(_for_whom(who) if who else ())]
        sections += _ratio(comparison.ratio)
    control = comparison.effects[0].control if comparison.effects else None
    others = ", ".join(arm for arm in arms if arm != control)
    return _page(
        say("Arms compared") if control is None else say("{arm} against {control}", arm=others, control=control),
        say("{units} in {arms}.", units=_units(comparison.n), arms=plural("{n} arm", "{n} arms", len(arms))),
        sections,
        verdicts=verdicts if comparison.refused else [],
        figures=[(formatted(n), say("units in {arm}", arm=arm)) for arm, n in comparison.ratio.n.items()],
    )


def analysis_page(analysis: Analysis, *, language: str | None = None) -> str:
    """The page of an analysed experiment, as HTML: the verdicts first, what is not known last.

    Args:
        analysis: the analysis.
        language: the language of its words, "en" or "pl"; by default the current one of `language`.

    Raises:
        DataError: when there is no such language.
    """
    with using(language or current()):
        return _analysis(analysis)


def _analysis(analysis: Analysis) -> str:
    experiment, maturity = analysis.experiment, analysis.maturity
    better = {metric.name: metric.better for metric in experiment.metrics}
    warnings = list(dict.fromkeys(again(one) for one in analysis.warnings))
    sections = [] if not warnings else [_Section(say("What to know"), sentences=warnings)]
    sections += _effects(analysis.primary, say("What decides: {metric}", metric=experiment.primary.name), better)
    if analysis.secondary is not None:
        sections += _effects(analysis.secondary, say("What is looked at besides"), better)
    if analysis.likely():
        sections.append(_Section(say("What is likely of it"), sentences=analysis.likely()))
    sections += [*_looks(analysis.primary), *_guardrails(analysis), *_for_whom(analysis.who), *_bayesian(analysis)]
    sections += _ratio(analysis.primary.ratio)
    sections += [_check(name, check) for name, check in analysis.checks.items()]
    sections += [_Section(say("What cannot be known from this"), sentences=[*_unknown(analysis)]), _asked(experiment)]
    verdicts = [
        _Verdict(one.arm, say(_DECISIONS[one.decision]), again(one.reason), one.decision == "ship")
        for one in analysis.verdicts
    ]
    return _page(
        experiment.experiment,
        experiment.question or say("Version {version}.", version=experiment.version),
        sections,
        verdicts=verdicts,
        figures=[
            (formatted(maturity.n_matured), say("matured units")),
            (formatted(maturity.planned_n), say("planned units")),
            (formatted(maturity.n_exposed), say("exposed units")),
            (say("yes") if maturity.is_over else say("no"), say("is it over?")),
        ],
    )  # fmt: skip


def _check(name: str, check: Check) -> _Section:
    """One check, with its picture where it has one."""
    drawings = []
    if isinstance(check, Novelty):
        drawings = [Markup(novelty_svg(check.table, check.trend, check.alpha))]
    elif isinstance(check, Overlap) and len(check.matrix):
        drawings = [Markup(overlap_svg(check.matrix))]
    name = say(_CHECKS.get(name, name))
    title = say("Check: {name}", name=name) if check.passed else say("Check: {name} (not passed)", name=name)
    return _Section(title, sentences=check.sentences(), drawings=drawings)


def watch_page(watch: Watch, *, language: str | None = None) -> str:
    """The page of an experiment while it runs, as HTML: alarms, the effects as units came in, the arms' ratio.

    Args:
        watch: the watched experiment.
        language: the language of its words, "en" or "pl"; by default the current one of `language`.

    Raises:
        DataError: when there is no such language.
    """
    with using(language or current()):
        return _watch(watch)


def _watch(watch: Watch) -> str:
    n = int(watch.path["n_units"].max()) if len(watch.path) else 0
    planned = watch.stopping.planned_n
    rows = [
        [
            formatted(row.n_units), instant_text(row.looked_at), str(row.metric), str(row.arm),
            *(number_text(one) for one in (row.effect, row.low, row.high, row.fixed_low, row.fixed_high)),
            _p_text(row.p_value),
        ]
        for row in watch.path.itertuples()
    ]  # fmt: skip
    head = [
        say("units"), say("last exposure"), say("metric"), say("arm"), say("effect"), _low(), _high(),
        say("single low"), say("single high"), "p",
    ]  # fmt: skip
    sections = [
        _Section(
            say("The effect as units came in"),
            say("The interval holds whenever one looks, with an error of {alpha} over all looks. What a single look "
                "would say is there as a warning: whoever looks again until it leaves 0 is wrong far more often.",
                alpha=formatted(watch.alpha, "g")),
            sentences=watch.sentences()[:1], drawings=[Markup(watch_svg(watch.path, planned))] if rows else [],
            head=head, rows=rows,
        ),
        *_ratio(watch.ratio),
    ]  # fmt: skip
    alarms = [_Verdict("", say("Act:"), alarm, is_good=False) for alarm in watch.alarms]
    is_over = n >= planned
    what = say("It is over.") if is_over else say("Go on.")
    nothing = [_Verdict("", what, watch.sentences()[-1], is_good=not is_over)]
    return _page(
        say("An experiment while it runs"),
        say("{n} of the planned {planned} are in.", n=formatted(n), planned=_units(planned)),
        sections,
        verdicts=alarms or nothing,
        figures=[
            (formatted(n), say("units looked at")), (formatted(planned), say("planned units")),
            (formatted(n / planned, ".0%"), say("done")),
        ],
    )  # fmt: skip


def plan_page(plan: Plan, *, language: str | None = None) -> str:
    """The page of a plan, as HTML: what can be found, in how many weeks, and how often it would be wrong.

    Args:
        plan: the plan.
        language: the language of its words, "en" or "pl"; by default the current one of `language`.

    Raises:
        DataError: when there is no such language.
    """
    with using(language or current()):
        return _plan(plan)


def _plan(plan: Plan) -> str:
    experiment = plan.experiment
    first = plan.metrics.iloc[0]
    head = [
        say("metric"), say("role"), say("control's mean"), say("error at the end"), say("least effect"),
        say("units needed"), say("variance saved"),
    ]  # fmt: skip
    rows = [
        [
            str(row.metric), say(_ROLES[row.role]), number_text(row.mean_control, ".4g"),
            number_text(row.standard_error, ".3g"), number_text(row.minimum_effect, ".4g"),
            number_text(row.units_needed, ",.0f"), share_text(row.variance_reduction_share),
        ]
        for row in plan.metrics.itertuples()
    ]  # fmt: skip
    sections = [
        _Section(
            say("What can be found"),
            say("The least effect on each metric that is found with a probability of {power} by the planned units; for "
                "a guardrail the least margin within which it can be shown to hold.",
                power=formatted(experiment.power, ".0%")),
            head=head, rows=rows,
        )
    ]  # fmt: skip
    table = power_table(plan)
    if plan.recruiting is not None and not math.isnan(first["minimum_effect"]):
        drawing = power_svg(table, str(first["metric"]), plan.recruiting.n_weeks, experiment.minimum_effect)
        sections.append(
            _Section(
                say("Weeks against the least effect"),
                say("History's exposures a week, and errors that shrink with the root of the units."),
                drawings=[Markup(drawing)], head=[say("weeks"), say("units"), say("least effect")],
                rows=[[f"{row.week}", formatted(row.n_units, ",.0f"), number_text(row.minimum_effect, ".4g")]
                      for row in table.itertuples()],
            )
        )  # fmt: skip
    if len(plan.weekly):
        weeks = [[date_text(row.week), formatted(row.n_units)] for row in plan.weekly.itertuples()]
        head = [say("week from (UTC)"), say("units")]
        sections.append(_Section(say("Exposures by week of history"), head=head, rows=weeks))
    if len(plan.alarms):
        sections.append(
            _Section(
                say("A/A on history"),
                say("How often a difference was found where there is none; at most {alpha} should.",
                    alpha=formatted(experiment.alpha, ".0%")),
                head=[say("metric"), say("runs"), say("alarms"), say("share"), _low(), _high()],
                rows=[[str(row.metric), formatted(row.n_runs), formatted(row.n_alarms),
                       *(share_text(one) for one in (row.alarm_share, row.low, row.high))]
                      for row in plan.alarms.itertuples()],
            )
        )  # fmt: skip
    days = "\N{EN DASH}"
    if plan.recruiting is not None:
        days = plural("{n} day", "{n} days", math.ceil(plan.recruiting.takes / timedelta(days=1)))
    declared = say("Not declared yet.")
    if plan.declared_at is not None:
        declared = say("Declared {at}.", at=instant_text(plan.declared_at))
    question = experiment.question or say("Version {version}.", version=experiment.version)
    return _page(
        say("Plan: {experiment}", experiment=experiment.experiment),
        f"{question} {declared}",
        [_Section(say("In words"), sentences=plan.sentences()), *sections, _asked(experiment)],
        figures=[
            (formatted(experiment.stopping.planned_n), say("planned units")),
            (number_text(first["minimum_effect"], ".4g"), say("least effect on {metric}", metric=first["metric"])),
            (days, say("until the last has been watched")),
        ],
    )  # fmt: skip


def _page(
    title: str, lead: str, sections: Iterable[_Section], *, figures: Sequence[tuple[str, str]] = (),
    verdicts: Sequence[_Verdict] = (),
) -> str:  # fmt: skip
    return template("experiment.html.j2").render(
        title=title, lead=lead, sections=[*sections], figures=figures, verdicts=verdicts
    )


def _units(n: int) -> str:
    return plural("{n} unit", "{n} units", n)


def _low() -> str:
    return say_in("of an interval", "low")


def _high() -> str:
    return say_in("of an interval", "high")


def _p_text(p_value: float) -> str:
    return number_text(p_value, ".3g")


def _effects(comparison: Comparison, heading: str, better: Better | None = None) -> list[_Section]:
    """The effects of a comparison as a forest plot, or why there are none."""
    if not comparison.effects:
        refused = [again(one) for one in comparison.refused]
        return [_Section(heading, sentences=refused)] if refused else []
    pairs = zip(comparison.effects, comparison.p_values, strict=True)
    head = [
        say("metric"), say("arm"), say("arm's mean"), say("control's mean"), say("effect"), say("error"), _low(),
        _high(), say("relative"), "p", say("p corrected"), say("variance saved"),
    ]  # fmt: skip
    return [
        _Section(
            heading, say(_CORRECTIONS[comparison.correction], control=comparison.effects[0].control),
            drawings=[Markup(forest_svg(comparison.table, better))], head=head,
            rows=[_effect_row(effect, p_value) for effect, p_value in pairs],
        )
    ]  # fmt: skip


def _effect_row(effect: Effect, p_value: float) -> list[str]:
    return [
        _metric(effect), effect.arm,
        number_text(effect.mean_arm, ".4g"), number_text(effect.mean_control, ".4g"), number_text(effect.effect),
        number_text(effect.standard_error, ".3g"), number_text(effect.low), number_text(effect.high),
        number_text(effect.relative_effect, "+.1%"), _p_text(effect.p_value), _p_text(p_value),
        share_text(effect.variance_reduction_share),
    ]  # fmt: skip


def _metric(effect: Effect) -> str:
    return say("{metric}, winsorised", metric=effect.metric) if effect.kind == "winsorised" else effect.metric


def _ratio(ratio: SampleRatio) -> Iterator[_Section]:
    """Whether the arms have their units, at the end and while they came in."""
    drawings = []
    if len(ratio.path) > 1:
        drawings = [Markup(ratio_svg(ratio.path, ratio.alpha)), Markup(shares_svg(ratio.shares))]
    yield _Section(
        say("Whether the arms have the units that they should"), sentences=ratio.sentences(), drawings=drawings,
        head=[say("arm"), say("units"), say("expected"), say("difference")],
        rows=[[arm, formatted(n), formatted(ratio.expected[arm], ",.1f"), number_text(n - ratio.expected[arm], "+,.1f")]
              for arm, n in ratio.n.items()],
    )  # fmt: skip


def _guardrails(analysis: Analysis) -> Iterator[_Section]:
    from .experiments.estimation.guardrails import guardrails_table

    if not analysis.guardrails:
        return
    table = guardrails_table(analysis.guardrails)
    yield _Section(
        say("What may not get worse"),
        say("A guardrail holds when harm beyond its margin is ruled out, not when none was seen."),
        [result.sentence for result in analysis.guardrails], [Markup(guardrail_svg(table))],
        [say("metric"), say("arm"), say("harm"), _low(), _high(), say("margin"), "p", say("verdict")],
        [[str(row.metric), str(row.arm), *(number_text(one) for one in (row.harm, row.low, row.high)),
          formatted(row.margin, ".4g"), _p_text(row.p_value), say(row.verdict)] for row in table.itertuples()],
    )  # fmt: skip


def _for_whom(who: ForWhom) -> Iterator[_Section]:
    """For whom it works: declared segments, rankings, and whom to send what."""
    for (segment, arm), found in who.segments.items():
        yield _segment(say("For whom: {arm} by {segment}", arm=arm, segment=segment), found)
    for arm, ranking in who.rankings.items():
        yield _Section(
            say("For whom: a learned ranking for {arm}", arm=arm), say("Judged on contacts that it had not seen."),
            [ranking.sentence],
            [Markup(uplift_svg(ranking.curve, ranking.autoc, ranking.qini))],
            [say_in("of contacts", "first"), say("effect"), _low(), _high(), say("at random")],
            [[formatted(row.share, ".0%"), *(number_text(one) for one in (row.uplift, row.low, row.high, row.random))]
             for row in ranking.curve.itertuples()],
        )  # fmt: skip
    if who.recommendation is not None:
        values = who.recommendation.values
        yield _Section(
            say("Whom to send what"), say("What each arm for all, and each rule, is worth: mean outcome less costs."),
            [who.recommendation.sentence], head=[say("policy"), say("value"), say("error"), _low(), _high()],
            rows=[[str(row.policy), *(number_text(one, ".4g") for one in
                                      (row.value, row.standard_error, row.low, row.high))]
                  for row in values.itertuples()],
        )  # fmt: skip


def _segment(heading: str, found: SubgroupEffects) -> _Section:
    """The effects by segment, raw and shrunken."""
    names = ["effect", "low", "high", "shrunken_effect", "shrunken_low", "shrunken_high"]
    counts = {"n_arm": say("units"), "n_control": say("control's units")}
    heads = [say("effect"), _low(), _high(), say("shrunken effect"), say("shrunken low"), say("shrunken high")]
    there = [name for name in counts if name in found.table]
    return _Section(
        heading, say("The best of several raw effects is too good to be true; decide by the shrunken ones."),
        [found.sentence], [Markup(segment_svg(found.table, differs=found.differs))],
        [say("segment"), *(counts[name] for name in there), *heads, say("p adjusted")],
        [[str(row["segment"]), *(count_text(int(row[name]), _SMALLEST) for name in there),
          *(number_text(row[name]) for name in names),
          _p_text(row["p_value_adjusted"])] for row in found.table.to_dict("records")],
    )  # fmt: skip


def _looks(comparison: Comparison) -> Iterator[_Section]:
    """What planned looks said, for each effect."""
    for (metric, arm), found in comparison.sequential.items():
        yield _Section(
            say("Planned looks: {arm} on {metric}", arm=arm, metric=metric), sentences=found.sentences(),
            head=[say("look"), say("information"), say("effect"), _low(), _high(), "z", say("bound"),
                  say("error spent"), say("decision")],
            rows=[[f"{one.look}", formatted(one.information, ".0%"),
                   *(number_text(x) for x in (one.effect, one.low, one.high)),
                   number_text(one.z, "+.3f"), formatted(one.bound, ".3f"), formatted(one.spent_alpha, ".4g"),
                   say(_LOOKS[one.decision])]
                  for one in found.looks],
        )  # fmt: skip


def _bayesian(analysis: Analysis) -> Iterator[_Section]:
    if analysis.bayesian is None:
        return
    yield _Section(
        say("Beside the decision, never instead: the Bayesian view"),
        say("Of {metric}. It holds for one look and knows of no other metric.",
            metric=analysis.experiment.primary.name),
        head=[say("arm"), say("mean"), _low(), _high(), say("probability to be best"), say("expected loss")],
        rows=[[str(row.arm), *(number_text(one, ".4g") for one in (row.posterior_mean, row.low, row.high)),
               share_text(row.best_probability), number_text(row.expected_loss, ".4g")]
              for row in analysis.bayesian.itertuples()],
    )  # fmt: skip


def _unknown(analysis: Analysis) -> Iterator[str]:
    """What the data do not say, in sentences."""
    experiment, maturity = analysis.experiment, analysis.maturity
    if experiment.window is not None:
        yield say(
            "What happens later than {length} after the exposure was not looked at.",
            length=length_text(experiment.window),
        )
    waiting = maturity.n_exposed - maturity.n_matured
    if waiting:
        yield plural(
            "{n} exposed unit had not been looked at for the whole window, and does not count.",
            "{n} exposed units had not been looked at for the whole window, and do not count.",
            waiting,
        )
    comparisons = [one for one in (analysis.primary, analysis.secondary) if one is not None]
    for comparison in comparisons:
        for effect, p_value in zip(comparison.effects, comparison.p_values, strict=True):
            name = _metric(effect)
            if math.isnan(effect.standard_error):
                yield say("How sure the effect of {arm} on {metric} is cannot be told.", arm=effect.arm, metric=name)
            elif not is_beyond_chance(p_value, effect.low, effect.high, effect.level):
                yield say(
                    "That {arm} does nothing to {metric} is not shown: {low} to {high} is possible.", arm=effect.arm,
                    metric=name, low=number_text(effect.low), high=number_text(effect.high),
                )  # fmt: skip
    for result in analysis.guardrails:
        if result.verdict == "undecided":
            yield say("Whether {arm} keeps the margin of {metric} is undecided.", arm=result.arm, metric=result.metric)
    if not experiment.guardrails:
        yield say("Whether something got worse was not asked: no guardrails were declared.")


def _asked(experiment: Experiment) -> _Section:
    """What was asked, as it was declared."""
    stopping = experiment.stopping
    arms = ", ".join(f"{arm} {share_text(share)}" for arm, share in experiment.arms.items())
    rails = ", ".join(
        say("{metric} by {margin}", metric=one.metric.name, margin=formatted(one.margin, "g"))
        for one in experiment.guardrails
    )
    none = say_in("of guardrails or segments", "none")
    rows = [
        [say("version"), experiment.version],
        *([say("version of {name}", name=name), version] for name, version in experiment.versions.items()),
        [say("arms"), arms or say("of the table")],
        [say("control"), experiment.control],
        [say("what decides"), experiment.primary.name],
        [say("besides"), ", ".join(metric.name for metric in experiment.secondary) or say("nothing")],
        [say("guardrails"), rails or none],
        [say("segments"), ", ".join(experiment.segments) or none],
        [say("window"), say("of the table") if experiment.window is None else length_text(experiment.window)],
        [say("over at"), f"{_units(stopping.planned_n)}; {say(_RULES[stopping.rule])}"],
        [say("error and power"), f"{formatted(experiment.alpha, 'g')}, {formatted(experiment.power, '.0%')}"],
    ]
    return _Section(say("What was asked"), rows=rows)
