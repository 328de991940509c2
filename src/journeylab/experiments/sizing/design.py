"""How arms are compared, and how many standard errors an effect must measure to be found that way."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeAlias, get_args

from journeylab.display import Shown, counted
from journeylab.errors import DataError, known
from journeylab.experiments.looks.spending import Spending, boundaries, crossing_probabilities
from journeylab.intervals import anytime_interval

if TYPE_CHECKING:
    from .baseline import Baseline

__all__ = ["Design", "Rule", "StoppingRule", "chance_by_errors", "errors_needed"]

RuleName: TypeAlias = Literal["fixed", "group_sequential", "always_valid"]
_FAR = 60.0


class StoppingRule(Protocol):
    """When an experiment is over: a `Rule`, or the `Stopping` of an experiment."""

    @property
    def rule(self) -> RuleName:
        """Looked at once, at planned looks, or whenever one likes."""

    @property
    def looks(self) -> Sequence[Any]:
        """The planned looks as shares of all units, the last being 1."""

    @property
    def spending(self) -> Spending:
        """How alpha is spent over them."""


@dataclass(frozen=True, slots=True)
class Rule:
    """A stopping rule while the number of units is still to be found.

    Attributes:
        rule: "fixed", "group_sequential" or "always_valid".
        looks: of a group-sequential rule the shares of the units at which one looks, the last being 1.
        spending: how alpha is spent over the looks.

    Raises:
        DataError: when there is no such rule, or looks and rule do not go together.
    """

    rule: RuleName = "fixed"
    looks: tuple[float, ...] = ()
    spending: Spending = "obrien_fleming"

    def __post_init__(self) -> None:
        if self.rule not in get_args(RuleName):
            raise DataError(f"no stopping rule {self.rule!r}; {known(self.rule, get_args(RuleName), 'rules')}")
        if (self.rule == "group_sequential") != bool(self.looks) or (self.looks and self.looks[-1] != 1):
            raise DataError(
                f"looks go with rule='group_sequential' and end with 1; got {self.looks!r} of {self.rule!r}"
            )


@dataclass(frozen=True)
class Design(Shown):
    """How arms are compared with the control.

    Attributes:
        shares: of each arm, adding up to 1.
        control: the arm that the others are compared with.
        alpha: the chance of a false alarm.
        test: "difference" in either direction; or "non_inferiority" of a guardrail, one-sided, where an effect is the
            margin of harm that is to be ruled out (less what harm there truly is).
        n_comparisons: among how many alpha is shared (Bonferroni's share, which is the first step of Holm's method);
            None: the arms other than the control for a difference, 1 for a guardrail.
        stopping: when it is over.

    Raises:
        DataError: when shares do not add up, the control has none, or alpha is none.
    """

    shares: Mapping[str, float] = field(default_factory=lambda: {"control": 0.5, "treatment": 0.5})
    control: str = "control"
    alpha: float = 0.05
    test: Literal["difference", "non_inferiority"] = "difference"
    n_comparisons: int | None = None
    stopping: StoppingRule = field(default_factory=Rule)

    def __post_init__(self) -> None:
        if self.control not in self.shares:
            raise DataError(f"the control {self.control!r} has no share; {known(self.control, self.shares, 'arms')}")
        shares = [float(share) for share in self.shares.values()]
        if len(shares) < 2 or not min(shares) > 0 or abs(sum(shares) - 1) > 1e-6:
            raise DataError(f"two arms or more have shares above 0 that add up to 1; got {dict(self.shares)}")
        if not 0 < self.alpha < 1:
            raise DataError(f"alpha lies between 0 and 1, such as 0.05; got {self.alpha!r}")
        if self.test not in ("difference", "non_inferiority"):
            raise DataError(f"no test {self.test!r}; {known(self.test, ('difference', 'non_inferiority'), 'tests')}")
        if self.n_comparisons is not None and self.n_comparisons < 1:
            raise DataError(f"alpha is shared by 1 comparison or more; got {self.n_comparisons!r}")

    @property
    def sides(self) -> int:
        """2 for a difference, 1 for non-inferiority."""
        return 2 if self.test == "difference" else 1

    @property
    def sharing(self) -> int:
        """Among how many comparisons alpha is shared."""
        if self.n_comparisons is not None:
            return self.n_comparisons
        return len(self.shares) - 1 if self.test == "difference" else 1

    def unit_variance(self, baseline: Baseline, effect: float) -> float:
        """The squared error of the difference, times all units: of the arm with the least share against the control."""
        arm = min(float(share) for name, share in self.shares.items() if name != self.control)
        treated = baseline.variance_with(effect if self.test == "difference" else 0.0)
        return baseline.variance_with(0.0) / float(self.shares[self.control]) + treated / arm

    def __str__(self) -> str:
        shared = f" shared by {self.sharing} comparisons" if self.sharing > 1 else ""
        if self.stopping.rule == "group_sequential":
            kind = "O'Brien-Fleming" if self.stopping.spending == "obrien_fleming" else "Pocock"
            rule = f"{counted(len(self.stopping.looks), 'planned look')}, {kind} type"
        else:
            rule = "one look at the end" if self.stopping.rule == "fixed" else "looked at any time"
        return f"alpha {self.alpha:g}{shared}; {rule}"

    def __repr__(self) -> str:
        shares = ", ".join(f"{arm} {float(share):.0%}" for arm, share in self.shares.items())
        return f"Design({self.test} to {self.control}; {shares}; {self})"


def chance_by_errors(stopping: StoppingRule, alpha: float, sides: int) -> Callable[[float], float]:
    """The power by how many errors the effect measures at the end."""
    from scipy.special import ndtr, ndtri

    if stopping.rule == "group_sequential":
        looks = [float(look) for look in stopping.looks]
        bounds = boundaries(looks, alpha, stopping.spending, sides)
        return lambda drift: sum(float(one.sum()) for one in crossing_probabilities(bounds, looks, drift, sides))
    bound = float(-ndtri(alpha / sides))
    if stopping.rule == "always_valid":
        bound = anytime_interval(0.0, 1.0, 1, 1 - alpha).high
    if sides == 1:
        return lambda drift: float(ndtr(drift - bound))
    return lambda drift: float(ndtr(drift - bound) + ndtr(-drift - bound))


def errors_needed(stopping: StoppingRule, alpha: float, power: float, sides: int = 2) -> float:
    """How many standard errors, as they are with all units, an effect must measure to be found with this power.

    Of a fixed design that is about z(1 - alpha / sides) + z(power). Of planned looks it is found by the integration of
    `crossing_probabilities`. Of intervals that are valid at any time their width at the planned units takes the place
    of z, as if one looked at the end only; looking before adds a little power, which is not counted. One-sided, theirs
    is the two-sided width: what it spends on the other side is not had back.

    Args:
        stopping: the rule.
        alpha: the chance of a false alarm, that of one comparison.
        power: the wanted chance to find it, above alpha and below 1.
        sides: 2 or 1.

    Raises:
        DataError: when alpha or power are none.

    >>> round(errors_needed(Rule(), 0.05, 0.8), 3), round(errors_needed(Rule("always_valid"), 0.05, 0.8), 3)
    (2.802, 3.877)
    """
    from scipy.optimize import brentq

    if not 0 < alpha < 1:
        raise DataError(f"alpha lies between 0 and 1, such as 0.05; got {alpha!r}")
    chance = chance_by_errors(stopping, alpha, sides)
    if not alpha < power < 1:
        raise DataError(f"a power lies between alpha, {alpha:g}, and 1, such as 0.8; got {power!r}")
    return float(brentq(lambda drift: chance(drift) - power, 0.0, _FAR, xtol=1e-10))
