"""When no point estimate is given, what is said instead: bounds, and the cheapest experiment that would answer."""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import NormalDist
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from journeylab.display import counted
from journeylab.intervals import Interval
from journeylab.offpolicy import diagnose

if TYPE_CHECKING:
    from journeylab.offpolicy import Diagnostics, Floats

__all__ = ["Bounds", "Randomisation", "Reason", "bounds_of", "cheapest_randomisation", "reasons_to_refuse"]

_MOST_UNSUPPORTED = 0.05
_LEAST_EFFECTIVE = 100
_LEAST_EFFECTIVE_SHARE = 0.01
_MOST_ONE_SHARE = 0.10
_MOST_ERRORS = 4
_SHARES = (0.01, 0.02, 0.03, 0.04, 0.05, 0.075, 0.1, 0.15, 0.2, 0.25, 0.3, 0.4, 0.5)


class Reason(NamedTuple):
    """Why a point estimate is refused: the diagnostic that rules it out, and a sentence with its figures."""

    diagnostic: str
    text: str


def reasons_to_refuse(found: Diagnostics, row: str = "row") -> list[Reason]:
    """Every reason against a point estimate; none when the log carries it.

    >>> from journeylab.offpolicy import diagnose
    >>> [reason.diagnostic for reason in reasons_to_refuse(diagnose(np.ones(50)))]
    ['effective_n']
    """
    reasons = []
    if found.unsupported_share > _MOST_UNSUPPORTED:
        text = f"the log could not have done {found.unsupported_share:.1%} of what the policy does (at most 5%)"
        reasons.append(Reason("unsupported_share", text))
    if found.effective_n < _LEAST_EFFECTIVE or found.effective_n < _LEAST_EFFECTIVE_SHARE * found.n:
        least = f"at least {_LEAST_EFFECTIVE}"
        if found.effective_n >= _LEAST_EFFECTIVE:
            least = f"at least 1%, {math.ceil(_LEAST_EFFECTIVE_SHARE * found.n):,}"
        text = f"{counted(found.n, row)} tell only as much as {found.effective_n:,.1f} equally weighted ones ({least})"
        reasons.append(Reason("effective_n", text))
    if found.max_weight_share > _MOST_ONE_SHARE:
        text = f"one {row} has {found.max_weight_share:.1%} of all weight (at most 10%)"
        reasons.append(Reason("max_weight_share", text))
    error = found.mean_weight_standard_error
    away = abs(found.mean_weight - found.expected_weight)
    if away > _MOST_ERRORS * error + 1e-9:
        n_errors = f"{away / error:,.1f} errors" if error else "without any spread"
        is_low = found.mean_weight < found.expected_weight
        why = "the policy does what the log could not do" if is_low else "the policy looks at what was drawn"
        text = (
            f"the mean weight is {found.mean_weight:.3f} and should be {found.expected_weight:.3g}, {n_errors} away "
            f"(at most {_MOST_ERRORS}): {why}, or the log's probabilities are not those with which was acted"
        )
        reasons.append(Reason("mean_weight", text))
    return reasons


class Bounds(NamedTuple):
    """Between which figures the value lies: but for chance (where weights were cut down, with it), and with chance."""

    low: float
    high: float
    interval: Interval


def bounds_of(
    weights: Floats,
    rewards: Floats,
    by_policy: Floats,
    found: Diagnostics,
    reasons: list[Reason],
    reward_range: tuple[float, float],
    level: float,
    *,
    trusts_log: bool,
) -> Bounds:
    """The bounds on the value when nothing is assumed of what the log does not know but that rewards have a range.

    Manski, C. F. (1990). Nonparametric bounds on treatment effects. American Economic Review 80, 319-323: what is
    known, plus the unknown mass times the least and the greatest reward. Where weights are too uneven they are cut
    down until they pass, and what is cut off counts as unknown; where the probabilities are contradicted, they are
    not used at all: rows count for as much as the policy agrees with them.

    Args:
        weights: by row.
        rewards: by row.
        by_policy: the policy's probability of what was done.
        found: the diagnostics.
        reasons: why the estimate is refused, if it is.
        reward_range: the least and the greatest reward there can be.
        level: of the interval with chance.
        trusts_log: whether the logged probabilities may be used.
    """
    refused = {reason.diagnostic for reason in reasons}
    if not trusts_log:
        kept, unknown = by_policy, 1 - float(by_policy.mean())
    elif refused & {"effective_n", "max_weight_share"}:
        kept = _cut_down(weights, by_policy)
        unknown = max(1 - float(kept.mean()), found.unsupported_share)
    else:
        kept, unknown = weights, found.unsupported_share
    least, most = reward_range
    total = float(kept.sum())
    known_part = (1 - unknown) * float((kept * rewards).sum()) / total if total else 0.0
    unknown = unknown if total else 1.0
    low, high = known_part + unknown * least, known_part + unknown * most
    z, root = NormalDist().inv_cdf(0.5 + level / 2), math.sqrt(len(weights))
    ddof = min(1, len(weights) - 1)
    below, above = (float((kept * (rewards - end)).std(ddof=ddof)) * z / root for end in reward_range)
    interval = Interval(max(low - below, least), min(high + above, most))
    # Weights that had to be cut down leave so much to chance that bounds without it would say too much.
    return Bounds(*interval, interval) if kept is not weights and trusts_log else Bounds(low, high, interval)


def _cut_down(weights: Floats, by_policy: Floats) -> Floats:
    """The weights, cut down to the greatest limit at which they are even enough; those of a certain log if none is."""
    limits = np.unique(weights[weights > 0])
    passing, failing = -1, len(limits)
    while failing - passing > 1:
        middle = (passing + failing) // 2
        found = diagnose(np.minimum(weights, limits[middle]))
        is_even = not {"effective_n", "max_weight_share"} & {one.diagnostic for one in reasons_to_refuse(found)}
        passing, failing = (middle, failing) if is_even else (passing, middle)
    return np.minimum(weights, limits[passing]) if passing >= 0 else by_policy


@dataclass(frozen=True)
class Randomisation:
    """The cheapest experiment that would answer: who is to be drawn, how many, and how sure one would be.

    Attributes:
        share: the share drawn at random to take the policy's action, the rest as before, 0..1.
        n: how many decisions (or units) it takes in all.
        n_drawn: how many of them are drawn.
        half_width: the half-width of the interval that it reaches.
        arms: the share of each of the policy's actions, and of "as before"; adding up to 1.
    """

    share: float
    n: int
    n_drawn: int
    half_width: float
    arms: dict[str, float]

    def text(self, row: str = "row") -> str:
        """What to do, in a sentence."""
        named = [f"{name} {share:.3g}" for name, share in list(self.arms.items())[:6]]
        more = f" and {len(self.arms) - 6} more" if len(self.arms) > 6 else ""
        return (
            f"of {counted(self.n, row)}, let {self.share:.3g} ({self.n_drawn:,}), drawn at random, do what the policy "
            f"does, leave the rest as it is, and log the probabilities (arms: {', '.join(named)}{more}); that gives "
            f"the value within ±{self.half_width:.3g}"
        )


def cheapest_randomisation(
    weights: Floats,
    by_policy: Floats,
    propensities: Floats,
    found: Diagnostics,
    *,
    trusts_log: bool,
    deviation: float,
    half_width: float,
    level: float,
    arms: dict[str, float],
) -> Randomisation:
    """The smallest share e, and number of rows, that would carry the estimate.

    With probability e a row takes the policy's action, otherwise it is as before, so that its probability becomes
    (1 - e) b + e p for b the logged and p the policy's. The mean squared weight is then u / e over the unsupported mass
    u, and over the rest the mean of w p / ((1 - e) b + e p) over the log; its inverse r is the effective share. The
    share is the smallest at which as many rows as the log has give r n of at least 100 and enough for the half-width,
    r of at least 1 %, and no row over 10 % of the weight. Where no share does, it takes more rows: half of them drawn.

    Args:
        weights: by row.
        by_policy: the policy's probability of what was done.
        propensities: that of the log; NaN where missing.
        found: the diagnostics.
        trusts_log: whether the logged probabilities may be used; otherwise the log counts as knowing nothing.
        deviation: the standard deviation of the rewards.
        half_width: the wanted half-width of the interval.
        level: of the interval.
        arms: the share of each action in what the policy does; adding up to 1.
    """
    z = NormalDist().inv_cdf(0.5 + level / 2)
    needed = max(float(_LEAST_EFFECTIVE), (z * deviation / half_width) ** 2 if half_width else 0.0)
    is_used = (weights > 0) & ~np.isnan(propensities)
    unsupported = found.unsupported_share if trusts_log else 1.0
    rows = (weights[is_used] * by_policy[is_used], propensities[is_used], by_policy[is_used])

    def effective_share(share: float) -> float:
        product, logged, policys = rows
        supported = float((product / ((1 - share) * logged + share * policys)).sum()) / len(weights)
        # The log's own mean weight is only near 1; what it lacks or has beyond is chance.
        scale = (1 - unsupported) / found.mean_weight if trusts_log and found.mean_weight else 0.0
        return 1 / (unsupported / share + supported * scale)

    def needed_n(share: float) -> int:
        return math.ceil(max(needed / effective_share(share), 1 / (share * _MOST_ONE_SHARE)) - 1e-9)

    enough = [
        one for one in _SHARES if needed_n(one) <= found.n and effective_share(one) >= _LEAST_EFFECTIVE_SHARE - 1e-12
    ]
    share = enough[0] if enough else _SHARES[-1]
    n = found.n if enough else needed_n(share)
    drawn = {name: share * part for name, part in arms.items()}
    return Randomisation(
        share=share,
        n=n,
        n_drawn=math.ceil(share * n - 1e-9),
        half_width=z * deviation / math.sqrt(n * effective_share(share)),
        arms={**drawn, "as before": 1 - share},
    )
