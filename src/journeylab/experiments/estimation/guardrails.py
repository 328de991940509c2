"""Guardrails: whether an arm is worse than the control by more than was agreed to be bearable.

Each is a one-sided test of non-inferiority. It is not enough that no harm was seen: where there are too few units to
rule it out, the guardrail is undecided. The level of each is its own and not corrected for their number: what an arm
needs is that all of them hold, which several tests make less likely by chance, not more (Schultzberg, Ankargren and
Frånberg 2024, Risk-aware product decisions in A/B tests with multiple metrics).
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any, Literal

from journeylab.display import Shown, plain
from journeylab.experiments.metrics import Guardrail, Metric, Proportion
from journeylab.intervals import anytime_interval, widest_error
from journeylab.language import formatted, later, say

from .effects import effects

if TYPE_CHECKING:
    import pandas as pd

    from journeylab.experiments.effect import Effect
    from journeylab.experiments.unittable import UnitTable

    from .adjustment import Adjust

__all__ = ["GuardrailResult", "at_any_time", "guardrails", "guardrails_table"]

_LEAST = 1e-12
_SENTENCES = {
    "held": later("{metric} of {arm}: held, at most {high} worse, within the margin of {margin}"),
    "violated": later("{metric} of {arm}: violated, at least {low} worse, beyond the margin of {margin}"),
    "undecided": later(
        "{metric} of {arm}: undecided, somewhere between {low} and {high} worse, the margin is {margin}"
    ),
}


@dataclass(frozen=True, kw_only=True)
class GuardrailResult(Shown):
    """Whether a guardrail holds for an arm.

    Attributes:
        metric: the metric's name.
        arm: the arm.
        control: the arm that it is held against.
        n_arm: units in the arm.
        n_control: units in the control.
        mean_arm: the metric of the arm.
        mean_control: the same of the control.
        effect: arm minus control.
        standard_error: of the effect; missing (NaN) where it cannot be told.
        harm: the effect in the direction that is worse, so that more of it is worse.
        low: the harm is at least this, at the level.
        high: the harm is at most this, at the level.
        margin: how much harm was agreed to be bearable.
        p_value: of a harm as large as the margin, one-sided: small where the guardrail holds.
        level: of each of the two bounds.
        verdict: `held`, when the harm is less than the margin at the level; `violated`, when it is more than the margin
            at the level; otherwise `undecided`.
        notes: what to know of it, in sentences.
    """

    metric: str
    arm: str
    control: str
    n_arm: int
    n_control: int
    mean_arm: float
    mean_control: float
    effect: float
    standard_error: float
    harm: float
    low: float
    high: float
    margin: float
    p_value: float
    level: float
    verdict: Literal["held", "violated", "undecided"]
    notes: tuple[str, ...] = ()

    @property
    def sentence(self) -> str:
        """The verdict in words."""
        if math.isnan(self.harm):
            return say("{metric} of {arm}: undecided, as there is nothing to compare", metric=self.metric, arm=self.arm)
        if math.isnan(self.low):
            return say(
                "{metric} of {arm}: undecided, as the values do not vary, or there are too few", metric=self.metric,
                arm=self.arm,
            )  # fmt: skip
        return say(
            _SENTENCES[self.verdict], metric=self.metric, arm=self.arm, low=formatted(self.low, ".4g"),
            high=formatted(self.high, ".4g"), margin=formatted(self.margin, "g"),
        )  # fmt: skip

    def to_dict(self) -> dict[str, Any]:
        """The result as plain data for JSON; what is missing is `None`."""
        flat = {
            one.name: plain(value) if isinstance(value := getattr(self, one.name), float) else value
            for one in fields(self)
        }
        return {**flat, "notes": [*self.notes]}

    def __repr__(self) -> str:
        return f"GuardrailResult({self.sentence})"


def guardrails(units: UnitTable, rails: Iterable[Guardrail], *, alpha: float = 0.05) -> list[GuardrailResult]:
    """Whether each guardrail holds for each arm, in order of guardrail and arm.

    Of a proportion the bounds are Newcombe's (1998, Statistics in Medicine 17, 873-890, method 10), which hold for rare
    events, and for none at all, without covariates; with clusters, and of other metrics, those of the t distribution.

    Args:
        units: the table of units, with the guardrails' metrics among its own.
        rails: the guardrails.
        alpha: one minus the level of each bound; an arm that is worse by just the margin passes this often.

    >>> import pandas as pd
    >>> from journeylab.experiments.metrics import Guardrail, Proportion
    >>> from journeylab.experiments.plaintable import read_units
    >>> frame = pd.DataFrame({"arm": ["new", "old"] * 5000, "left": [1, 1] + [0, 0] * 4999})
    >>> rail = Guardrail(Proportion("left", better="lower"), margin=0.002)
    >>> [one] = guardrails(read_units(frame, arm="arm", control="old", metrics=[rail.metric]), [rail])
    >>> one.sentence
    'left of new: held, at most 0.0007131 worse, within the margin of 0.002'
    """
    return [_result(rail, effect, alpha) for rail in rails for effect in _effects(units, rail.metric, alpha)]


def _effects(units: UnitTable, metric: Metric, alpha: float) -> list[Effect]:
    adjust: Adjust = "none" if isinstance(metric, Proportion) and not units.has("cluster") else "cuped"
    return [one for one in effects(units, [metric], alpha=alpha, adjust=adjust) if one.kind != "winsorised"]


def guardrails_table(results: Iterable[GuardrailResult]) -> pd.DataFrame:
    """One row for each result: its attributes but for the notes."""
    import pandas as pd

    names = [one.name for one in fields(GuardrailResult) if one.name != "notes"]
    return pd.DataFrame([[getattr(result, name) for name in names] for result in results], columns=names)


def _result(rail: Guardrail, effect: Effect, alpha: float) -> GuardrailResult:
    sign = 1 if rail.metric.better == "lower" else -1
    harm = sign * effect.effect
    if isinstance(rail.metric, Proportion) and effect.n_clusters is None and effect.n_arm and effect.n_control:
        low, high, p_value = _of_counts(effect, sign, rail.margin, alpha)
    else:
        low, high, p_value = _of_t(effect, harm, rail.margin, alpha)
    return GuardrailResult(
        metric=effect.metric,
        arm=effect.arm,
        control=effect.control,
        n_arm=effect.n_arm,
        n_control=effect.n_control,
        mean_arm=effect.mean_arm,
        mean_control=effect.mean_control,
        effect=effect.effect,
        standard_error=effect.standard_error,
        harm=harm,
        low=low,
        high=high,
        margin=rail.margin,
        p_value=p_value,
        level=1 - alpha,
        verdict=_verdict(low, high, rail.margin),
        notes=tuple(note for note in effect.notes if "Newcombe" not in note),
    )


def _of_t(effect: Effect, harm: float, margin: float, alpha: float) -> tuple[float, float, float]:
    from scipy import stats

    free, error = effect.degrees_of_freedom, effect.standard_error
    half = float(stats.t.ppf(1 - alpha, free)) * error
    return harm - half, harm + half, float(stats.t.cdf((harm - margin) / error, free))


def _of_counts(effect: Effect, sign: int, margin: float, alpha: float) -> tuple[float, float, float]:
    """Newcombe's two one-sided bounds of the harm, and the alpha at which the upper one would be the margin."""
    from scipy.optimize import brentq
    from statsmodels.stats.proportion import confint_proportions_2indep

    counts = [
        (round(mean * n), n) for mean, n in ((effect.mean_arm, effect.n_arm), (effect.mean_control, effect.n_control))
    ]
    worse, better = counts if sign > 0 else [(n - k, n) for k, n in counts]

    def bounds(one_sided: float) -> tuple[float, float]:
        low, high = confint_proportions_2indep(*worse, *better, method="newcomb", compare="diff", alpha=2 * one_sided)
        return float(low), float(high)

    low, high = bounds(alpha)
    # The upper bound comes down as its alpha goes up; beyond a half it is a lower bound.
    if sign * effect.effect >= margin:
        p_value = 1.0 if bounds(_LEAST)[0] > margin else 1 - brentq(lambda one: bounds(one)[0] - margin, _LEAST, 0.5)
    else:
        p_value = 0.0 if bounds(_LEAST)[1] < margin else brentq(lambda one: bounds(one)[1] - margin, _LEAST, 0.5)
    return low, high, float(p_value)


def at_any_time(result: GuardrailResult, n: int, planned_n: int) -> GuardrailResult:
    """A guardrail with bounds that hold at every look, of which the given are those of one; two-sided they are valid.

    Args:
        result: of one look.
        n: the units of all arms together.
        planned_n: those that are planned.
    """
    both = 2 * result.level - 1  # two bounds at the level are one interval of a lower one
    error = widest_error(result.harm, result.low, result.high, result.standard_error, both)
    low, high = anytime_interval(result.harm, error, n, both, planned_n)
    return replace(result, low=low, high=high, verdict=_verdict(low, high, result.margin))


def _verdict(low: float, high: float, margin: float) -> Literal["held", "violated", "undecided"]:
    return "held" if high < margin else "violated" if low > margin else "undecided"
