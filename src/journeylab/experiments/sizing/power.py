"""How many units an experiment needs, what it can find with those there are, and how surely.

Effects are found by comparing the arms' means with their errors, so that all of it hangs on one number: how many
standard errors an effect must measure to be found (`errors_needed`), given the stopping rule.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal

from journeylab.display import Shown, counted
from journeylab.errors import DataError

from .baseline import Baseline
from .design import Design, Rule, StoppingRule, chance_by_errors, errors_needed

__all__ = [
    "Baseline",
    "Design",
    "Planned",
    "Rule",
    "StoppingRule",
    "errors_needed",
    "minimum_effect",
    "power_of",
    "units_needed",
]

_FEW_SUCCESSES = 10
_FEW_UNITS = 50


@dataclass(frozen=True, slots=True)
class Planned(Shown):
    """What a number of units finds, and how surely.

    Attributes:
        baseline: the metric.
        design: how arms are compared.
        n_units: units of all arms together; with planned looks, at the last.
        effect: the difference of an arm to the control, in the metric's unit; for a guardrail the margin.
        power: the chance to find it, or to show that the harm is below the margin where there is none; of several arms
            that of the one with the least share.
    """

    baseline: Baseline
    design: Design
    n_units: int
    effect: float
    power: float

    @property
    def relative_effect(self) -> float:
        """The effect over the control's value; missing (NaN) where that is 0."""
        return self.effect / abs(self.baseline.value) if self.baseline.value else math.nan

    @property
    def n_by_arm(self) -> dict[str, int]:
        """About how many units each arm has."""
        return {arm: math.ceil(self.n_units * float(share) - 1e-9) for arm, share in self.design.shares.items()}

    @property
    def n_clusters(self) -> int:
        """How many clusters these units are; the units where there are none."""
        return math.ceil(self.n_units / self.baseline.cluster_size)

    @property
    def notes(self) -> list[str]:
        """What to know before trusting it, in sentences."""
        fewest = min(self.n_by_arm.values())
        rate = self.baseline.value
        if self.baseline.kind == "proportion" and fewest * min(rate, 1 - rate) < _FEW_SUCCESSES:
            return [
                f"An arm of {fewest:,} units has fewer than {_FEW_SUCCESSES} with, or without, what is counted: the "
                "normal distribution is rough there."
            ]
        if fewest < _FEW_UNITS:
            return [f"An arm has only {fewest} units: the normal distribution is rough there."]
        return []

    @property
    def sentence(self) -> str:
        """The plan in plain words."""
        units = counted(self.n_units, "unit")
        if self.baseline.cluster_size > 1:
            units += f" ({counted(self.n_clusters, 'cluster')})"
        relative = (
            "" if math.isnan(self.relative_effect) else f", {self.relative_effect:+.1%} of {self.baseline.value:.4g},"
        )
        if self.design.test == "non_inferiority":
            said = f"{units} in all arms rule out a harm of {self.effect:.4g}{relative} where there is none"
        else:
            said = f"{units} in all arms find a difference of {self.effect:.4g}{relative}"
        return f"{said} with a power of {self.power:.1%} ({self.design})."

    def to_dict(self) -> dict[str, Any]:
        """The plan as plain data for JSON; None for a relative effect that there is not."""
        return {
            "n_units": self.n_units,
            "n_by_arm": self.n_by_arm,
            "n_clusters": self.n_clusters,
            "effect": self.effect,
            "relative_effect": None if math.isnan(self.relative_effect) else self.relative_effect,
            "power": self.power,
            "alpha": self.design.alpha,
            "test": self.design.test,
            "rule": self.design.stopping.rule,
            "sentence": self.sentence,
            "notes": self.notes,
        }

    def __repr__(self) -> str:
        return f"Planned({self.sentence})"


def power_of(baseline: Baseline, effect: float, n_units: int, design: Design | None = None) -> Planned:
    """The chance that so many units find an effect.

    Args:
        baseline: the metric without the treatment.
        effect: the difference of an arm to the control, in the metric's unit, other than 0; or a guardrail's margin.
        n_units: of all arms together, 2 or more.
        design: how arms are compared; by default two halves, looked at once.

    Raises:
        DataError: when an argument makes no sense.

    >>> found = power_of(Baseline.of_proportion(0.1), 0.01, 20_000)
    >>> found.sentence.partition(" (")[0]
    '20,000 units in all arms find a difference of 0.01, +10.0% of 0.1, with a power of 63.6%'
    """
    design = design or Design()
    _check_effect(effect, design)
    error = math.sqrt(design.unit_variance(baseline, effect) / _checked_n(n_units))
    chance = chance_by_errors(design.stopping, design.alpha / design.sharing, design.sides)
    return Planned(baseline, design, n_units, effect, chance(abs(effect) / error))


def units_needed(baseline: Baseline, effect: float, design: Design | None = None, *, power: float = 0.8) -> Planned:
    """How many units, of all arms together, find an effect with the wanted power.

    Args:
        baseline: the metric without the treatment.
        effect: the difference that is to be found, other than 0; or a guardrail's margin.
        design: how arms are compared; by default two halves, looked at once.
        power: the wanted power, of the comparison with the arm of the least share.

    Raises:
        DataError: when an argument makes no sense.

    >>> units_needed(Baseline.of_proportion(0.1), 0.01).n_units
    29497
    """
    design = design or Design()
    _check_effect(effect, design)
    errors = errors_needed(design.stopping, design.alpha / design.sharing, power, design.sides)
    n_units = max(2, math.ceil(errors**2 * design.unit_variance(baseline, effect) / effect**2))
    return power_of(baseline, effect, n_units, design)


def minimum_effect(
    baseline: Baseline,
    n_units: int,
    design: Design | None = None,
    *,
    power: float = 0.8,
    direction: Literal["more", "less"] = "more",
) -> Planned:
    """The least effect that so many units find with the wanted power; for a guardrail the least margin.

    Args:
        baseline: the metric without the treatment.
        n_units: of all arms together, 2 or more.
        design: how arms are compared; by default two halves, looked at once.
        power: the wanted power.
        direction: whether the arm has more or less of it, which matters for proportions.

    Raises:
        DataError: when an argument makes no sense, or no proportion is far enough from the control's.

    >>> round(minimum_effect(Baseline.of_proportion(0.1), 29_497).effect, 5)
    0.01
    """
    from scipy.optimize import brentq

    design = design or Design()
    if direction not in ("more", "less"):
        raise DataError(f"direction is 'more' or 'less'; got {direction!r}")
    errors, n = errors_needed(design.stopping, design.alpha / design.sharing, power, design.sides), _checked_n(n_units)
    sign = 1.0 if direction == "more" or design.test == "non_inferiority" else -1.0

    def lacking(size: float) -> float:
        return errors * math.sqrt(design.unit_variance(baseline, sign * size) / n) - size

    size = lacking(0.0)
    if baseline.kind == "proportion" and design.test == "difference":
        most = (1 - baseline.value if sign > 0 else baseline.value) * (1 - 1e-9)
        if lacking(most) > 0:
            raise DataError(
                f"{n:,} units cannot find that a proportion is {direction} than {baseline.value:g} with a power of "
                f"{power:g}, whatever it is; take more units"
            )
        size = float(brentq(lacking, 0.0, most, xtol=1e-12))
    return power_of(baseline, sign * size, n_units, design)


def _check_effect(effect: float, design: Design) -> None:
    if not math.isfinite(effect) or effect == 0:
        raise DataError(f"an effect that is to be found is other than 0; got {effect!r}")
    if design.test == "non_inferiority" and effect < 0:
        raise DataError(f"a margin is more than 0; got {effect!r}")


def _checked_n(n_units: int) -> int:
    if n_units < 2:
        raise DataError(f"two arms have 2 units or more; got {n_units!r}")
    return n_units
