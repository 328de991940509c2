"""What each planned look at an experiment says: go on, stop with a difference, or end without one."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, ClassVar, Literal, NamedTuple, TypeAlias

import pandas as pd

from journeylab.display import Shown, block, plain, plain_rows
from journeylab.display import table as html_table
from journeylab.errors import DataError
from journeylab.language import formatted, say
from journeylab.resulttables import Tables

from .spending import Spending, boundaries, crossing_probabilities, spent_alpha

__all__ = ["Adjusted", "Decision", "GroupSequential", "Look", "group_sequential"]

Decision: TypeAlias = Literal["stop: difference", "go on", "end"]
"""What a look says: there is a difference, wait for the next look, or all looks are done without one."""


class Adjusted(NamedTuple):
    """What the last look says with all looks allowed for: estimate, interval and p value."""

    estimate: float
    low: float
    high: float
    p_value: float


@dataclass(frozen=True, slots=True)
class Look(Shown):
    """What one look says.

    Attributes:
        look: its number, from 1.
        information: as a share of that planned.
        effect: the estimate at the look.
        standard_error: its error.
        z: effect over error.
        bound: what z had to reach, on either side with two sides.
        spent_alpha: what has been spent up to and with this look.
        low: the repeated confidence interval, effect - bound · error; those of all looks hold the truth together.
        high: its upper end; without end with one side.
        decision: "stop: difference", "go on" or "end".
    """

    look: int
    information: float
    effect: float
    standard_error: float
    z: float
    bound: float
    spent_alpha: float
    low: float
    high: float
    decision: Decision

    def __repr__(self) -> str:
        return f"Look({self.look}: z {self.z:.3g}, bound {self.bound:.3g}; {self.decision})"


@dataclass(frozen=True, slots=True, repr=False)
class GroupSequential(Tables):
    """What the looks of a group-sequential experiment say.

    Attributes:
        looks: each look so far.
        alpha: the chance of a false alarm over all looks.
        spending: how it is spent.
        sides: 2, or 1 for an effect above zero only.
        adjusted: once it has stopped or ended, the median-unbiased estimate with its interval and p value; None before.
    """

    _table_names: ClassVar = ("table",)

    looks: tuple[Look, ...]
    alpha: float
    spending: Spending
    sides: int
    adjusted: Adjusted | None

    @property
    def decision(self) -> str:  # a Literal stops jedi, which notebooks complete by
        """What the last look says. A difference, once found, stands."""
        return self.looks[-1].decision

    @property
    def stopped_at(self) -> int | None:
        """The number of the first look that found a difference; None when none did."""
        return next((one.look for one in self.looks if one.decision == "stop: difference"), None)

    @property
    def table(self) -> pd.DataFrame:
        """The looks, a row each, with the attributes of `Look` as columns."""
        return pd.DataFrame([asdict(one) for one in self.looks])

    def sentences(self) -> list[str]:
        """What was found, in plain words."""
        last = self.looks[-1]
        if self.stopped_at is not None:
            first = self.looks[self.stopped_at - 1]
            said = say(
                "Look {look} found a difference: z = {z}, bound {bound}.",
                look=first.look,
                z=formatted(first.z, ".2f"),
                bound=formatted(first.bound, ".2f"),
            )
        elif last.decision == "end":
            said = say(
                "The last look found no difference: z = {z}, bound {bound}.",
                z=formatted(last.z, ".2f"),
                bound=formatted(last.bound, ".2f"),
            )
        else:
            said = say(
                "No difference so far at look {look} with {share} of the information planned: z = {z}, bound {bound}. "
                "Go on.",
                look=last.look,
                share=formatted(last.information, ".0%"),
                z=formatted(last.z, ".2f"),
                bound=formatted(last.bound, ".2f"),
            )
        if self.adjusted is None:
            return [said]
        estimate, low, high, p_value = self.adjusted
        values = {
            "effect": formatted(estimate, ".4g"),
            "low": formatted(low, ".4g"),
            "high": formatted(high, ".4g"),
            "p": formatted(p_value, ".3g"),
        }
        if self.sides == 1:
            return [said, say("With all looks allowed for: effect {effect} (at least {low}), p = {p}.", **values)]
        return [said, say("With all looks allowed for: effect {effect} ({low} to {high}), p = {p}.", **values)]

    def to_dict(self) -> dict[str, Any]:
        """The result as plain data for JSON, with None for what is missing or without end."""
        adjusted = None if self.adjusted is None else {name: plain(x) for name, x in self.adjusted._asdict().items()}
        return {
            "alpha": self.alpha,
            "spending": self.spending,
            "sides": self.sides,
            "decision": self.decision,
            "stopped_at": self.stopped_at,
            "looks": plain_rows(self.table),
            "adjusted": adjusted,
        }

    def __repr__(self) -> str:
        return f"GroupSequential({' '.join(self.sentences())})"

    def _repr_html_(self) -> str:
        head = ["look", "information", "effect", "z", "bound", "low", "high", "decision"]
        rows = [
            [
                one.look,
                f"{one.information:.0%}",
                *(f"{x:.4g}" for x in (one.effect, one.z, one.bound, one.low, one.high)),
                one.decision,
            ]
            for one in self.looks
        ]
        return block(" ".join(self.sentences()), html_table(head, rows))


def group_sequential(
    information: Sequence[float],
    effects: Sequence[float],
    standard_errors: Sequence[float],
    *,
    alpha: float = 0.05,
    spending: Spending = "obrien_fleming",
    sides: int = 2,
    is_end: bool = False,
) -> GroupSequential:
    """What the looks so far say, each against the boundary that its information allows.

    A look stops the experiment when z reaches its bound; no bound asks to give up early. Intervals at the looks are
    repeated ones, effect ± bound · error (Jennison and Turnbull 1989, Journal of the Royal Statistical Society B 51,
    305-361): they hold whether or not the rule to stop was followed. At the stop or the end the estimate is
    also had from the stage-wise order of results, in which an earlier stop is stronger (Fairbanks and Madsen 1982,
    Biometrika 69, 69-74; Tsiatis, Rosner and Mehta 1984, Biometrics 40, 797-803): its median is the truth, where
    the effect as it is seen at a stop is on average too large.

    Args:
        information: of each look so far, as a share of that planned; see `boundaries`.
        effects: the estimate at each look, from all units until then.
        standard_errors: their errors, greater than zero.
        alpha: the chance of a false alarm over all looks.
        spending: "obrien_fleming" or "pocock".
        sides: 2, or 1 for an effect above zero only.
        is_end: whether the last look is the end although less information came than was planned.

    Raises:
        DataError: as `boundaries`; when there are not as many effects and errors as looks, or one is no number.

    >>> found = group_sequential([0.2, 0.4], [0.031, 0.03], [0.012, 0.0085])
    >>> found.decision, [round(one.bound, 2) for one in found.looks]
    ('stop: difference', [4.88, 3.36])
    """
    if not len(information) == len(effects) == len(standard_errors):
        raise DataError(
            f"each look has an information, an effect and an error; got {len(information)}, {len(effects)} and "
            f"{len(standard_errors)}"
        )
    for place, (effect, error) in enumerate(zip(effects, standard_errors, strict=True), 1):
        if not (math.isfinite(effect) and 0 < error < math.inf):
            raise DataError(f"look {place} has no effect with an error greater than zero: {effect!r} and {error!r}")
    bounds = boundaries(information, alpha, spending, sides, is_end=is_end)
    looks: list[Look] = []
    decision: Decision = "go on"
    for place, (now, effect, error, bound) in enumerate(
        zip(map(float, information), effects, standard_errors, bounds, strict=True), 1
    ):
        is_last = place == len(bounds) and (is_end or now >= 1)
        z = effect / error
        if (abs(z) if sides == 2 else z) >= bound:
            decision = "stop: difference"
        elif is_last and decision == "go on":
            decision = "end"
        spent = alpha if is_last else spent_alpha(now, alpha, spending, sides)
        high = effect + bound * error if sides == 2 else math.inf
        looks.append(Look(place, now, effect, error, z, bound, spent, effect - bound * error, high, decision))
    done = next((one for one in looks if one.decision != "go on"), None)
    adjusted = None if done is None else _adjusted(looks[: done.look], alpha, sides)
    return GroupSequential(tuple(looks), alpha, spending, sides, adjusted)


def _adjusted(looks: Sequence[Look], alpha: float, sides: int) -> Adjusted:
    """Estimate, interval and p value by the stage-wise order, of looks of which the last stopped or ended."""
    from scipy.optimize import brentq

    last = looks[-1]
    information = [one.information for one in looks]
    sign = -1.0 if sides == 2 and last.z < 0 else 1.0  # turned so that it lies above
    bounds = [*(one.bound for one in looks[:-1]), sign * last.z]  # beyond the last lies what is stronger at that look

    def stronger(drift: float) -> float:
        return float(crossing_probabilities(bounds, information, drift, sides).above.sum())

    def effect_with(chance: float) -> float:
        middle, width = sign * last.z / math.sqrt(last.information), 8 / math.sqrt(information[0])
        found = brentq(lambda drift: stronger(drift) - chance, middle - width, middle + width)
        return sign * float(found) * last.standard_error * math.sqrt(last.information)

    p_value = min(1.0, stronger(0.0) * sides)
    ends = sorted(effect_with(chance) for chance in (alpha / sides, 1 - alpha / sides))
    return Adjusted(effect_with(0.5), ends[0], ends[1] if sides == 2 else math.inf, p_value)
