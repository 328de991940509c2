"""What a ranking of contacts by expected uplift is worth on contacts it has not seen, with its error.

A score is one contact's noisy, unbiased measure of what the treatment does to it (`doubly_robust_scores`); a priority
is whom a model would treat first. There is no number called "Qini" here: packages mean different things by it. The
two weightings of the RATE are those of Yadlowsky, S., Fleming, S., Shah, N., Brunskill, E. and Wager, S. (2021),
Evaluating treatment prioritization rules via rank-weighted average treatment effects, arXiv 2111.07966.

>>> rng = np.random.default_rng(1)
>>> truth = rng.random(4000)
>>> rate(truth + rng.normal(size=4000), truth)
Rate(autoc 0.2586, 95% 0.2276 to 0.2896)
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from statistics import NormalDist
from typing import TYPE_CHECKING, Any, ClassVar, Literal, TypeAlias

import numpy as np
import pandas as pd

from journeylab.display import block, counted, facts, plain, plain_rows
from journeylab.display import table as html_table
from journeylab.errors import DataError, known
from journeylab.intervals import mean_and_error, normal_interval
from journeylab.language import formatted, say
from journeylab.resulttables import Tables

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

    from journeylab.offpolicy import Bools, Floats, Ints

__all__ = [
    "JudgedRanking", "Rate", "doubly_robust_scores", "judge_ranking", "rate", "shares_within", "uplift_at",
    "uplift_curve",
]  # fmt: skip

Weighting: TypeAlias = Literal["autoc", "qini"]

_WEIGHTINGS = ("autoc", "qini")
_GRID = tuple(round(0.05 * step, 2) for step in range(1, 21))
_NEAR = 0.1
"""Over so many ranks, as a share of all, the effect at the edge of a top share is averaged."""
_LAST = 0.3
_DRAWS = 5_000
_FEWEST = 20


def doubly_robust_scores(
    outcome: ArrayLike,
    is_treated: Bools,
    propensity: ArrayLike,
    treated_mean: ArrayLike = 0.0,
    control_mean: ArrayLike = 0.0,
) -> Floats:
    """Each contact's score, float64: its mean, over any group of contacts, is the effect on that group but for chance.

    The treated mean less the control mean, corrected by the error on what was seen over the probability of it (Robins,
    Rotnitzky and Zhao, 1994, JASA 89, 846-866). Without the means it is the outcome weighted by inverse propensity,
    which is as unbiased and noisier. The means must come from models that did not see the row.

    Args:
        outcome: by row.
        is_treated: by row, whether it was the treatment and not the control.
        propensity: the probability of the treatment rather than the control, by row or one for all, within 0..1.
        treated_mean: what a model expects of the row with the treatment.
        control_mean: what it expects with the control.

    >>> doubly_robust_scores([1.0, 0.0], np.array([True, False]), 0.5)
    array([2., 0.])
    """
    y = np.asarray(outcome, dtype=float)
    p, one, zero = (np.broadcast_to(np.asarray(v, float), y.shape) for v in (propensity, treated_mean, control_mean))
    scores: Floats = one - zero + np.where(is_treated, (y - one) / p, (zero - y) / (1 - p))
    return scores


def shares_within(priorities: ArrayLike, part: Ints) -> Floats:
    """Priorities as places within their part, 0..1 and the higher the sooner; equal ones share their mean place.

    Models fitted on different rows are not on one scale: their priorities are comparable within a part only, and a
    model that tells nobody apart must not rank its part above another.

    Args:
        priorities: by row.
        part: a code for each row's part.

    >>> shares_within([5.0, 7.0, 1.0, 1.0], np.array([0, 0, 1, 1]))
    array([0.25, 0.75, 0.5 , 0.5 ])
    """
    grouped = pd.Series(np.asarray(priorities, float)).groupby(np.asarray(part))
    places: Floats = ((grouped.rank() - 0.5) / grouped.transform("size")).to_numpy()
    return places


@dataclass(frozen=True, slots=True)
class _Order:
    """Rows from the first to be treated to the last; rows of equal priority are one group.

    `group` says which group each row is in, `ends` at which rank each group ends.
    """

    group: Ints
    ends: Ints

    @classmethod
    def of(cls, priorities: Floats) -> _Order:
        _, group, n = np.unique(-priorities, return_inverse=True, return_counts=True)
        return cls(group.astype(np.int64), np.cumsum(n).astype(np.int64))

    @property
    def starts(self) -> Ints:
        return np.append(0, self.ends[:-1]).astype(np.int64)

    def spread(self, by_rank: Floats) -> Floats:
        """The mean over each group of values by rank, by group."""
        added = np.append(0.0, np.cumsum(by_rank))
        means: Floats = (added[self.ends] - added[self.starts]) / (self.ends - self.starts)
        return means


@dataclass(frozen=True, slots=True, eq=False)
class Rate:
    """A rank-weighted average treatment effect: 0 when the ranking is no better than a random one.

    Attributes:
        weighting: "autoc" or "qini".
        value: in units of the outcome.
        standard_error, low, high: by the influence of each row, normal interval.
        p_value: two-sided, that the value is 0.
        n: rows.
        level: of the interval.
        influence: one number for each row, whose mean is the value.
    """

    weighting: Weighting
    value: float
    standard_error: float
    low: float
    high: float
    p_value: float
    n: int
    level: float
    influence: Floats = field(repr=False)

    def __repr__(self) -> str:
        return f"Rate({self.weighting} {self.value:.4g}, {self.level:.0%} {self.low:.4g} to {self.high:.4g})"

    def to_dict(self) -> dict[str, Any]:
        """The figures as plain data."""
        names = ("value", "standard_error", "low", "high", "p_value")
        figures = {name: plain(getattr(self, name)) for name in names}
        return {"weighting": self.weighting, **figures, "n": self.n, "level": self.level}

    def _repr_html_(self) -> str:
        names = ("weighting", "value", "standard_error", "low", "high", "p_value", "n")
        return block(repr(self), facts((name, getattr(self, name)) for name in names))


def rate(scores: ArrayLike, priorities: ArrayLike, weighting: Weighting = "autoc", level: float = 0.95) -> Rate:
    """How much more the treatment does to whom the ranking puts first, as a `Rate`.

    With TOC(u) the mean score of the first share u less that of all, "autoc" is the mean of TOC(u) over u, which looks
    hard at the very first; "qini" is the mean of u TOC(u), which weighs contacts alike. Rows of equal priority share
    their mean score. The error is that of the influence function, which has what the ranks themselves owe to chance
    (Yadlowsky et al. 2021, section 3).

    Args:
        scores: by row, see `doubly_robust_scores`.
        priorities: by row, the greatest first, from a model that did not see the row.
        weighting: "autoc" or "qini".
        level: of the interval.

    Raises:
        DataError: for an unknown weighting, unequal lengths, fewer than 20 rows, or numbers that are not finite.
    """
    if weighting not in _WEIGHTINGS:
        raise DataError(f"no weighting {weighting!r}; {known(str(weighting), _WEIGHTINGS, 'weightings')}")
    gamma, order = _read(scores, priorities)
    n = len(gamma)
    if len(order.ends) == 1:  # nobody is told apart: exactly 0, and not what rounding leaves
        return _rate(weighting, np.zeros(n), level)
    rank = np.arange(1, n + 1)
    if weighting == "autoc":
        by_rank, slope = np.cumsum(1 / rank[::-1])[::-1] - 1, -n / rank
    else:
        by_rank, slope = (n - rank + 1) / n - (n + 1) / (2 * n), np.full(n, -1.0)
    # A row moves those after it down by one rank: what their weights lose by that is its part in the ranks' chance.
    pushed = np.bincount(order.group, gamma) * order.spread(slope) / n
    after = pushed.sum() - np.cumsum(pushed) + pushed / 2
    own = order.spread(by_rank)[order.group] * gamma
    moved = after[order.group]
    return _rate(weighting, own + moved - moved.mean(), level)


def _rate(weighting: Weighting, influence: Floats, level: float) -> Rate:
    value, error = mean_and_error(influence)
    low, high = normal_interval(value, error, level)
    p_value = 2 * NormalDist().cdf(-abs(value) / error) if error > 0 else 1.0
    return Rate(weighting, value, error, low, high, p_value, len(influence), level, influence)


def _read(scores: ArrayLike, priorities: ArrayLike) -> tuple[Floats, _Order]:
    gamma, first = np.asarray(scores, dtype=float), np.asarray(priorities, dtype=float)
    if gamma.ndim != 1 or gamma.shape != first.shape:
        raise DataError(f"scores and priorities are two columns of one length, got {gamma.shape} and {first.shape}")
    if len(gamma) < _FEWEST:
        raise DataError(f"a ranking is judged on {_FEWEST} rows or more, got {len(gamma)}")
    for what, values in (("scores", gamma), ("priorities", first)):
        bad = np.flatnonzero(~np.isfinite(values))
        if len(bad):
            raise DataError(f"{what} must be finite numbers; row {bad[0]} has {values[bad[0]]}")
    return gamma, _Order.of(first)


def uplift_at(scores: ArrayLike, priorities: ArrayLike, share: float, level: float = 0.95) -> dict[str, float]:
    """The mean effect on the first share of the ranking: `share`, `uplift`, `standard_error`, `low`, `high`.

    Its error has what the edge of the share owes to chance. At equal priorities across the edge the rows of that
    priority count in part.

    Raises:
        DataError: as for `rate`, and for a share outside of (0, 1].

    >>> uplift_at(np.repeat([3.0, 1.0], 50), np.repeat([1.0, 0.0], 50), 0.5)["uplift"]
    3.0
    """
    gamma, order = _read(scores, priorities)
    value, error = mean_and_error(_top(gamma, order, share))
    low, high = normal_interval(value, error, level)
    return {"share": share, "uplift": value, "standard_error": error, "low": low, "high": high}


def _top(gamma: Floats, order: _Order, share: float) -> Floats:
    """The influence of each row on the mean score of the first share."""
    if not 0 < share <= 1:
        raise DataError(f"a share lies above 0 and up to 1, got {share}")
    n = len(gamma)
    n_first = max(share * n, 1.0)
    inside = np.clip((n_first - order.starts) / (order.ends - order.starts), 0, 1)[order.group]
    value = float((inside * gamma).sum() / n_first)
    if share == 1:
        return gamma
    place = (order.starts + order.ends)[order.group] / 2
    near = np.abs(place - n_first) <= _NEAR * n / 2
    edge = float(gamma[near].mean()) if near.any() else value
    own = inside * (gamma - edge) * n / n_first
    influence: Floats = own - own.mean() + value
    return influence


def uplift_curve(
    scores: ArrayLike,
    priorities: ArrayLike,
    *,
    shares: Sequence[float] = _GRID,
    level: float = 0.95,
    band: Literal["simultaneous", "pointwise"] = "simultaneous",
    seed: int = 0,
) -> pd.DataFrame:
    """The mean effect on the first share of the ranking, for each share, with a band and what a random ranking gives.

    Columns, float64 in units of the outcome but `share`: `share`, `uplift`, `standard_error`, `low`, `high`, `random`
    (the mean effect on all, which is what a random ranking has at every share), `random_low` and `random_high` (between
    which a random ranking of these very rows lies, at each share by itself).

    Args:
        scores: as for `rate`.
        priorities: as for `rate`.
        shares: rising, above 0 and up to 1.
        level: of the band.
        band: "simultaneous" holds the whole curve at once (Hothorn, Bretz and Westfall, 2008, Biometrical Journal 50,
            346-363: the quantile of the greatest of the correlated errors); "pointwise" each share by itself.
        seed: of the draws from which that quantile is taken.

    Raises:
        DataError: as for `uplift_at`, or for an unknown band.
    """
    if band not in ("simultaneous", "pointwise"):
        raise DataError(f"no band {band!r}; {known(str(band), ('simultaneous', 'pointwise'), 'bands')}")
    gamma, order = _read(scores, priorities)
    n = len(gamma)
    influence = np.column_stack([_top(gamma, order, share) for share in shares])
    covariance = np.cov(influence, rowvar=False, ddof=1).reshape(len(shares), len(shares)) / n
    error = np.sqrt(np.diag(covariance))
    z = NormalDist().inv_cdf(0.5 + level / 2)
    greatest = z
    if band == "simultaneous":
        rng = np.random.default_rng(seed)
        drawn = rng.multivariate_normal(np.zeros(len(error)), covariance, _DRAWS, method="eigh")
        greatest = float(np.quantile((np.abs(drawn) / np.where(error > 0, error, 1.0)).max(axis=1), level))
    share = np.array(shares, dtype=float)
    uplift = influence.mean(axis=0)
    chance = z * gamma.std(ddof=1) * np.sqrt((1 - share) / (share * n))
    return pd.DataFrame({
        "share": share, "uplift": uplift, "standard_error": error,
        "low": uplift - greatest * error, "high": uplift + greatest * error,
        "random": gamma.mean(), "random_low": gamma.mean() - chance, "random_high": gamma.mean() + chance,
    })  # fmt: skip


def _with_interval(found: Mapping[str, float]) -> str:
    return say(
        "{effect} ({low} to {high})",
        effect=formatted(found["uplift"], ".4g"),
        low=formatted(found["low"], ".4g"),
        high=formatted(found["high"], ".4g"),
    )


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class JudgedRanking(Tables):
    """What a ranking is worth, and whether it is worth anything.

    Attributes:
        average: the mean effect on all: `uplift`, `standard_error`, `low`, `high`.
        autoc, qini: the two `Rate`s. `tells_apart` goes by `autoc` alone, so that nothing is chosen after the fact.
        top: uplift at some shares: `share`, `uplift`, `standard_error`, `low`, `high`, each interval by itself.
        last: the same of the last 30 % of the ranking, who would be left out first.
        curve: as `uplift_curve`.
        n: rows it was judged on.
        level: of all intervals.
    """

    _table_names: ClassVar = ("top", "curve")

    average: dict[str, float]
    autoc: Rate
    qini: Rate
    top: pd.DataFrame
    last: dict[str, float]
    curve: pd.DataFrame
    n: int
    level: float

    @property
    def tells_apart(self) -> bool:
        """Whether the ranking finds, beyond noise, contacts to whom the treatment does more than to others."""
        return self.autoc.low > 0

    @property
    def sentence(self) -> str:
        """What follows, in words."""
        low, high = self.average["low"], self.average["high"]
        figures = {
            "mean": _with_interval(self.average),
            "autoc": formatted(self.autoc.value, ".4g"),
            "low": formatted(self.autoc.low, ".4g"),
            "high": formatted(self.autoc.high, ".4g"),
            "level": formatted(self.level, ".0%"),
        }
        if low > 0:
            everybody = say("send to all")
        elif high < 0:
            everybody = say("send to nobody")
        else:
            everybody = say("the treatment is not shown to do anything to contacts on average")
        if not self.tells_apart:
            return say(
                "The ranking is not shown to be better than a random one (AUTOC {autoc}, {low} to {high}, {level}): "
                "{everybody}; the mean effect is {mean}.",
                everybody=everybody,
                **figures,
            )
        first, last = self.top.iloc[-1], self.last
        if last["low"] > 0:
            rest = say("who gain, too: send to all, unless a message costs more than that")
        elif last["high"] < 0:
            rest = say("who are harmed: leave them out")
        else:
            rest = say("who are not shown to gain or to lose")
        return say(
            "The ranking finds contacts to whom the treatment does more (AUTOC {autoc}, {low} to {high}, {level}): "
            "{first} for the first {first_share}, where the mean effect is {mean}, and {last} for the last "
            "{last_share}, {rest}.",
            first=formatted(first["uplift"], ".4g"),
            first_share=formatted(first["share"], ".0%"),
            last=_with_interval(last),
            last_share=formatted(last["share"], ".0%"),
            rest=rest,
            **figures,
        )

    def __repr__(self) -> str:
        return f"JudgedRanking({counted(self.n, 'row')}: {self.autoc!r}, {self.qini!r})"

    def _repr_html_(self) -> str:
        rows = [[f"{share:.0%}", *(f"{one:.4g}" for one in rest)] for share, *rest in self.top.itertuples(index=False)]
        return block(self.sentence, html_table(["first", "uplift", "standard error", "low", "high"], rows))

    def to_dict(self) -> dict[str, Any]:
        """The figures as plain data."""
        return {
            "n": self.n, "level": self.level, "tells_apart": self.tells_apart, "sentence": self.sentence,
            "average": {name: plain(value) for name, value in self.average.items()},
            "autoc": self.autoc.to_dict(), "qini": self.qini.to_dict(),
            "top": plain_rows(self.top), "last": {name: plain(value) for name, value in self.last.items()},
            "curve": plain_rows(self.curve),
        }  # fmt: skip


def judge_ranking(
    scores: ArrayLike, priorities: ArrayLike, *, top: Sequence[float] = (0.1, 0.2, 0.3), level: float = 0.95
) -> JudgedRanking:
    """What a ranking of contacts is worth on contacts it has not seen, as a `JudgedRanking`.

    Args:
        scores: as for `rate`.
        priorities: as for `rate`.
        top: the shares at which uplift is shown.
        level: of all intervals.

    Raises:
        DataError: as for `rate` and `uplift_at`.

    >>> rng = np.random.default_rng(1)
    >>> judge_ranking(0.05 + rng.normal(size=4000), rng.random(4000)).sentence
    'The ranking is not shown to be better than a random one (AUTOC ... send to all; the mean effect is ...
    """
    gamma = np.asarray(scores, dtype=float)
    rates = {weighting: rate(gamma, priorities, weighting, level) for weighting in ("autoc", "qini")}
    mean, error = mean_and_error(gamma)
    low, high = normal_interval(mean, error, level)
    return JudgedRanking(
        average={"uplift": mean, "standard_error": error, "low": low, "high": high},
        autoc=rates["autoc"],
        qini=rates["qini"],
        top=pd.DataFrame([uplift_at(gamma, priorities, share, level) for share in top]),
        last=uplift_at(gamma, -np.asarray(priorities, dtype=float), _LAST, level),
        curve=uplift_curve(gamma, priorities, level=level),
        n=len(gamma),
        level=level,
    )
