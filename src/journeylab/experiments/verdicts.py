"""What may be decided on an arm: a verdict with its reason, and whether there were units enough for it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeAlias

from journeylab.display import Shown
from journeylab.language import formatted, plural, say, sentences_text

from .comparison import effect_sentence

if TYPE_CHECKING:
    from .comparison import Comparison
    from .estimation.guardrails import GuardrailResult
    from .experiment import Experiment

__all__ = ["Decision", "Maturity", "Verdict", "verdict_on"]

Decision: TypeAlias = Literal["ship", "keep control", "go on", "undecided", "blocked"]
"""What the data say of an arm: ship it; keep the control; go on; ended without an answer; or nothing can be said."""


@dataclass(frozen=True)
class Maturity(Shown):
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
        n = {"n": formatted(self.n_matured), "planned": formatted(self.planned_n)}
        if self.is_over:
            said = say("{n} of the {planned} planned units have matured, it is over", **n)
        else:
            said = say("{n} of the {planned} planned units have matured, it is not over", **n)
        if not waiting:
            return f"{said}."
        rest = plural(
            "{n} unit not yet looked at for the whole window does not count",
            "{n} units not yet looked at for the whole window do not count",
            waiting,
        )
        return f"{said}; {rest}."

    def __repr__(self) -> str:
        return f"Maturity({self.sentence})"


@dataclass(frozen=True)
class Verdict(Shown):
    """What the data say of one arm, and why, in a sentence."""

    arm: str
    decision: Decision
    reason: str


def verdict_on(experiment: Experiment, arm: str, primary: Comparison, held: tuple[GuardrailResult, ...]) -> Verdict:
    """What the data say of one arm, by the primary metric and the guardrails.

    Args:
        experiment: what was asked.
        arm: the arm, not the control.
        primary: the comparison of the primary metric.
        held: the guardrails, valid whenever one looks.
    """
    if primary.ratio.passed is False:
        return Verdict(arm, "blocked", say("The arms do not have the units that they should."))
    if primary.refused:
        return Verdict(arm, "go on", primary.refused[0])
    metric, alpha = experiment.primary, experiment.alpha
    effect, p_value = primary.of(metric.name, arm)
    of_arm = [result for result in held if result.arm == arm]
    if violated := [result for result in of_arm if result.verdict == "violated"]:
        return Verdict(arm, "keep control", sentences_text([result.sentence for result in violated]))
    gain = effect.effect if metric.better == "higher" else -effect.effect
    says = effect_sentence(effect, p_value)
    if experiment.stopping.rule == "fixed" and not primary.has_ended:
        return Verdict(arm, "go on", say("It was declared to be decided at the end only: {says}.", says=says))
    is_beyond_chance = p_value < alpha
    if effect.interval == "group-sequential":
        said = primary.sequential.get((metric.name, arm))
        is_beyond_chance = said is not None and said.stopped_at is not None
    if is_beyond_chance and gain < 0:
        return Verdict(arm, "keep control", say("It is worse: {says}.", says=says))
    undecided = [result for result in of_arm if result.verdict == "undecided"]
    if is_beyond_chance and undecided and not primary.has_ended:
        why = say("It is better ({says}), but not yet sure: {why}", says=says, why=undecided[0].sentence)
        return Verdict(arm, "go on", why)
    if is_beyond_chance and undecided:
        why = say("It is better ({says}), but harm is not ruled out: {why}", says=says, why=undecided[0].sentence)
        return Verdict(arm, "undecided", why)
    if is_beyond_chance:
        return Verdict(arm, "ship", say("It is better: {says}.", says=says))
    if math.isnan(effect.low):
        decision: Decision = "undecided" if primary.has_ended else "go on"
        return Verdict(arm, decision, say("Nothing can be told: {says}.", says=says))
    if not primary.has_ended:
        return Verdict(arm, "go on", say("Nothing is beyond chance yet: {says}.", says=says))
    why = say(
        "No difference was found. What is ruled out is an effect above {high} or below {low}: {says}.",
        high=formatted(effect.high, "+.4g"),
        low=formatted(effect.low, "+.4g"),
        says=says,
    )
    return Verdict(arm, "undecided", why)
