"""Whether counts by arm agree with the chances by which arms were drawn: once, in groups, and at every look."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import combinations
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats: TypeAlias = NDArray[np.float64]
    Ints: TypeAlias = NDArray[np.int64]

__all__ = [
    "Groups",
    "Verdicts",
    "exact_p",
    "grouped",
    "log_bayes_factor",
    "log_bayes_factors",
    "p_values",
    "with_shares",
]

_LEAST_EXPECTED = 5
_ROUNDING = 1e-9
_MOST_OUTCOMES = 200_000
_N_DRAWS = 100_000


@dataclass(frozen=True, eq=False)
class Groups:
    """Counts and what was to be expected, by group and arm.

    Attributes:
        counts: (group, arm), whole numbers.
        expected: (group, arm).
        shares: of each arm, where they are the same for all units; otherwise None.
        covariance: (group, arm, arm), that of the counts, where they are not; otherwise None.
    """

    counts: Ints
    expected: Floats
    shares: Floats | None
    covariance: Floats | None


def with_shares(counts: Ints, shares: Floats) -> Groups:
    """Counts by group and arm where all units have the same shares."""
    return Groups(counts.astype(np.int64), counts.sum(axis=1, keepdims=True) * shares, shares, None)


def grouped(codes: Ints, groups: Ints, n_groups: int, probabilities: Floats) -> Groups:
    """The counts of each group, and what its units' probabilities let expect.

    Args:
        codes: the arm of each unit, 0 up.
        groups: the group of each unit, 0 up.
        n_groups: how many groups there are.
        probabilities: of each arm (arm,), or of each unit and arm (unit, arm).

    >>> found = grouped(np.array([0, 1, 1]), np.array([0, 0, 1]), 2, np.array([0.5, 0.5]))
    >>> found.counts.tolist(), found.expected.tolist()
    ([[1, 1], [0, 1]], [[1.0, 1.0], [0.5, 0.5]])
    """
    n_arms = probabilities.shape[-1]
    counts = np.bincount(groups * n_arms + codes, minlength=n_groups * n_arms).reshape(n_groups, n_arms)
    if probabilities.ndim == 1:
        return with_shares(counts, probabilities)

    def added(weights: Floats) -> Floats:
        sums: Floats = np.bincount(groups, weights, minlength=n_groups).astype(float)
        return sums

    columns = probabilities.T
    expected = np.column_stack([added(one) for one in columns])
    covariance = np.zeros((n_groups, n_arms, n_arms))
    for i in range(n_arms):
        covariance[:, i, i] = expected[:, i]
        for j in range(i, n_arms):
            product = added(columns[i] * columns[j])
            covariance[:, i, j] -= product
            covariance[:, j, i] -= product if i != j else 0.0
    return Groups(counts, expected, None, covariance)


class Verdicts(NamedTuple):
    """A p value for each group, NaN where none can be had, and how they were had: in sentences."""

    p_values: Floats
    notes: list[str]


def p_values(groups: Groups, seed: int) -> Verdicts:
    """A p value for each group: that its counts agree with the probabilities, all arms jointly.

    With shares that are the same for all: Pearson's chi-square; where fewer than 5 units are expected in an arm, the
    exact multinomial test (all outcomes that are as far off by the chi-square or farther), or 100,000 seeded draws
    where there are too many outcomes. With probabilities of each unit: d' C⁻ d, d being observed less expected and C
    the covariance of the counts, against the chi-square distribution with as many degrees of freedom as C has; missing
    where fewer than 5 are expected in an arm.

    Args:
        groups: counts by group.
        seed: of the draws.
    """
    from scipy.stats import chi2, chisquare

    found = np.full(len(groups.counts), np.nan)
    notes = []
    small = ((groups.expected > 0) & (groups.expected < _LEAST_EXPECTED)).any(axis=1)
    if groups.covariance is None:
        assert groups.shares is not None
        found[~small] = chisquare(groups.counts[~small], groups.expected[~small], axis=1).pvalue
        rng = np.random.default_rng(seed)
        tested = [_small_p(groups.counts[place], groups.shares, rng) for place in np.flatnonzero(small)]
        found[small] = [p for p, _ in tested]
        if not all(is_exact for _, is_exact in tested):
            notes.append(
                f"Where few units are to be expected in an arm, p values come from {_N_DRAWS:,} draws with seed {seed}."
            )
        return Verdicts(found, notes)
    for place in np.flatnonzero(~small):
        away, covariance = groups.counts[place] - groups.expected[place], groups.covariance[place]
        values, vectors = np.linalg.eigh(covariance)
        is_free = values > _ROUNDING * values.max()  # the counts add up to n, so that one direction at least is not
        freedom = int(is_free.sum()) if values.max() > 0 else 0
        statistic = ((away @ vectors[:, is_free]) ** 2 / values[is_free]).sum()
        found[place] = chi2.sf(statistic, freedom) if freedom else 1.0
    if small.any():
        notes.append(
            f"Where the units' own probabilities let expect fewer than {_LEAST_EXPECTED} in an arm, nothing is tested."
        )
    return Verdicts(found, notes)


def _small_p(counts: Ints, shares: Floats, rng: np.random.Generator) -> tuple[float, bool]:
    """The p value of counts that are too small for the chi-square, and whether it is exact."""
    n = int(counts.sum())
    if math.comb(n + len(counts) - 1, len(counts) - 1) <= _MOST_OUTCOMES:
        return exact_p(counts, shares), True
    drawn = rng.multinomial(n, shares, size=_N_DRAWS)
    n_as_far = int((_far_off(drawn, shares) >= _far_off(counts, shares) * (1 - 1e-9)).sum())
    return (n_as_far + 1) / (_N_DRAWS + 1), False


def _far_off(counts: Ints, shares: Floats) -> Floats:
    """Pearson's statistic, but for n: how far counts are off."""
    found: Floats = ((counts - counts.sum(axis=-1, keepdims=True) * shares) ** 2 / shares).sum(axis=-1)
    return found


def exact_p(counts: Ints, shares: Floats) -> float:
    """The chance of counts that are as far off as these or farther by Pearson's statistic, by looking at all of them.

    >>> round(exact_p(np.array([0, 5]), np.array([0.5, 0.5])), 4)
    0.0625
    """
    from scipy.stats import multinomial

    n, n_arms = int(counts.sum()), len(counts)
    bars = np.array(list(combinations(range(n + n_arms - 1), n_arms - 1)), dtype=np.int64).reshape(-1, n_arms - 1)
    edges = np.column_stack([np.full(len(bars), -1), bars, np.full(len(bars), n + n_arms - 1)])
    outcomes = np.diff(edges, axis=1) - 1
    as_far = _far_off(outcomes, shares) >= _far_off(counts, shares) * (1 - 1e-9)
    return min(1.0, float(multinomial.pmf(outcomes[as_far], n, shares).sum()))


def log_bayes_factor(counts: Ints, shares: Floats) -> float:
    """The logarithm of the Bayes factor for other shares than these, by a Dirichlet prior with a = k · shares.

    Lindon, M. and Malek, A. (2022). Anytime-valid inference for multinomial count data. Advances in Neural Information
    Processing Systems 35.

    >>> round(log_bayes_factor(np.array([40, 60]), np.array([0.5, 0.5])), 3)
    -0.091
    """
    from scipy.special import gammaln

    prior = len(shares) * shares
    total = gammaln(prior.sum()) - gammaln(prior.sum() + counts.sum())
    return float(total + (gammaln(prior + counts) - gammaln(prior)).sum() - (counts * np.log(shares)).sum())


def log_bayes_factors(codes: Ints, probabilities: Floats, ends: Ints) -> Floats:
    """The logarithm of the Bayes factor at the end of each batch of units that came at once.

    With the same shares for all units it is that of `log_bayes_factor` on the counts so far. Otherwise each unit's
    arm is predicted by its own probabilities, each times (a + count) / (a + expected) of its arm before the batch, and
    rescaled to 1; the product of what was predicted over the probabilities is again a martingale with mean 1, and
    is the same thing where all probabilities are alike and units come one by one.

    Args:
        codes: the arm of each unit, 0 up, in the order in which they came.
        probabilities: (arm,), or (unit, arm) in the same order.
        ends: the place of the last unit of each batch, increasing; the last is the last unit.
    """
    n, n_arms = len(codes), probabilities.shape[-1]
    steps: Floats
    if probabilities.ndim == 1:
        before = np.empty(n)
        for arm in range(n_arms):
            of_arm = np.flatnonzero(codes == arm)
            before[of_arm] = np.arange(len(of_arm))
        before += (n_arms * probabilities)[codes]
        before /= np.arange(n_arms, n + n_arms)
        steps = np.log(before, out=before) - np.log(probabilities)[codes]
    else:
        starts = np.append(0, ends[:-1] + 1)
        batches = np.repeat(np.arange(len(ends)), np.diff(np.append(starts, n)))
        predicted, total = np.empty(n), np.zeros(n)
        for arm, column in enumerate(probabilities.T):
            prior = n_arms * column[0] or 1.0
            n_before = np.append(0, np.cumsum(codes == arm))[starts]
            expected = np.append(0, np.cumsum(column))[starts]
            factor = ((prior + n_before) / (prior + expected))[batches]
            predicted[codes == arm] = factor[codes == arm]
            total += column * factor
        steps = np.log(predicted / total)
    factors: Floats = np.cumsum(steps)[ends]
    return factors
