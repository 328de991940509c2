"""How often something comes of a send, by what is known of the send, where every contact has a level of its own.

A contact's rate at a send is its level times exp(what is known of the send); levels are spread as a gamma distribution
of mean 1, and something comes with probability 1 - exp(-rate). The likelihood of a contact's sends, in their order, is
integrated over its level. So whatever came of earlier sends may decide whether and when more is sent: a volume that
follows engagement, or ends with an unsubscribe, leaves the estimate as it is. A conditional (fixed effects) model has
not that property: it takes the sends to come as given, and so finds a fall where readers are sent more.

Hausman, J., Hall, B. H. and Griliches, Z. (1984). Econometric models for count data with an application to the
patents-R&D relationship. Econometrica 52, 909-938, for gamma levels; Rubin, D. B. (1976). Inference and missing data.
Biometrika 63, 581-592, for what may be ignored. With x the rate, log(1 - exp(-x)) is taken as log x - x / 2, which is
off by x² / 24: the integral then has a closed form, and hundreds of thousands of sends take a second.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

import numpy as np
from scipy.sparse import csr_matrix
from scipy.special import digamma, gammaln, polygamma

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats: TypeAlias = NDArray[np.float64]
    Ints: TypeAlias = NDArray[np.int64]
    Bools: TypeAlias = NDArray[np.bool_]

__all__ = ["RateFit", "Standardised", "fit_rates", "level_before", "standardised"]

_MOST_STEPS, _MOST_HALVINGS, _DONE = 60, 30, 1e-9
_LEAST_SHAPE, _MOST_SHAPE = np.log(0.02), np.log(500.0)
_ALLOWANCE = 1.1
_GREATEST = 30.0  # of the log of a rate, for exp to stay finite on the way


@dataclass(frozen=True, eq=False)
class RateFit:
    """Coefficients on the log of the rate, and what each contact's sends say of its level.

    Attributes:
        coefficients: float64 by column of the design.
        shape: of the gamma distribution of levels, whose variance is its inverse; infinite where all have level 1.
        came: float64 by contact, of how many sends something came.
        expected: float64 by contact, how much would have, at level 1.
        weighted: sparse (contact, column), the derivative of `expected`.
        score: sparse (contact, column), of the log-likelihood by the coefficients.
        shape_score: float64 by contact, by the log of the shape.
        inverse: float64 (parameter, parameter), of the information; the log of the shape is the last parameter.
    """

    coefficients: Floats
    shape: float
    came: Floats
    expected: Floats
    weighted: Any
    score: Any
    shape_score: Floats
    inverse: Floats

    def influence(self, gradient: Floats) -> Floats:
        """The influence of each contact on a figure, given the figure's derivative by the parameters.

        Its sum of squares is the figure's variance, contacts being the clusters. It is widened by the share of the
        contacts of whom something came that the parameters use up, and by a tenth for what the model leaves out: by so
        much the figures lay further from the truth in simulated shops.
        """
        n_telling = int(np.count_nonzero(self.came))
        towards = self.inverse @ gradient
        found = self.score @ towards[:-1] + self.shape_score * towards[-1]
        free = max(n_telling - len(self.coefficients), 1)
        widened: Floats = found * _ALLOWANCE * np.sqrt(max(n_telling, 1) / free)
        return widened


def fit_rates(
    came: Bools, opportunity: Floats, design: Any, contact: Ints, penalty: Floats, *, has_levels: bool = True
) -> RateFit:
    """The coefficients at which the sends are most likely, with the gamma levels of contacts integrated out.

    Args:
        came: by send, whether something came of it.
        opportunity: by send, which share of what comes would have come by when one stopped looking, 0..1; it matters
            where nothing came.
        design: sparse (send, column), what is known of each send; the first column is the constant.
        contact: by send, 0 up, without gaps.
        penalty: by column, the precision with which its coefficient is taken to be 0 beforehand.
        has_levels: whether contacts differ in their level beyond the design.

    >>> rng = np.random.default_rng(1)
    >>> who, x = np.repeat(np.arange(2000), 10), rng.integers(0, 2, 20_000)
    >>> came = rng.random(20_000) < -np.expm1(-0.1 * rng.gamma(1.5, 1 / 1.5, 2000)[who] * np.exp(-0.5 * x))
    >>> design = csr_matrix(np.column_stack([np.ones(20_000), x]))
    >>> found = fit_rates(came, np.ones(20_000), design, who, np.zeros(2))
    >>> found.coefficients.round(1), round(found.shape, 1)
    (array([-2.4, -0.5]), 1.5)
    """
    known = _Likelihood.of(came, opportunity, design, contact, penalty, has_levels=has_levels)
    exposure = float(known.exposure.sum())
    start = np.zeros(design.shape[1] + 1)
    start[0] = np.log(max(float(known.came.sum()), 0.5) / max(exposure, 0.5))
    point = _climbed(known, start)
    found = known.derivatives(point)
    values, vectors = _curved(found.information)
    return RateFit(
        coefficients=point[:-1],
        shape=float(np.exp(point[-1])) if has_levels else np.inf,
        came=known.came,
        expected=found.expected,
        weighted=found.weighted,
        score=found.score,
        shape_score=found.shape_score,
        inverse=(vectors / values) @ vectors.T,
    )


def level_before(fit: RateFit, came: Bools, opportunity: Floats, design: Any, contact: Ints) -> Floats:
    """The level that a contact is taken to have before each send, by what came of those before: float64, mean about 1.

    Args:
        fit: of the same sends, with levels; they are contact by contact, in order of time.
        came: by send.
        opportunity: by send.
        design: by send.
        contact: by send.
    """
    rate = _rate(design, fit.coefficients) * np.where(came, 0.5, opportunity)
    first = np.searchsorted(contact, contact, side="left")
    n_came, expected = (np.cumsum(one) - one for one in (came.astype(np.float64), rate))
    level: Floats = (fit.shape + n_came - n_came[first]) / (fit.shape + expected - expected[first])
    return level


def _rate(design: Any, coefficients: Floats) -> Floats:
    rate: Floats = np.exp(np.minimum(design @ coefficients, _GREATEST))
    return rate


def _scaled(rows: Any, factors: Floats) -> Any:
    """A sparse matrix with each of its rows times a factor."""
    lengths = np.diff(rows.indptr)
    return csr_matrix((rows.data * np.repeat(factors, lengths), rows.indices, rows.indptr), shape=rows.shape)


class _Derivatives(NamedTuple):
    score: Any
    shape_score: Floats
    information: Floats
    expected: Floats
    weighted: Any


@dataclass(frozen=True, eq=False)
class _Likelihood:
    """The log-likelihood of the sends by the coefficients and, last, the log of the shape."""

    exposure: Floats
    design: Any
    transposed: Any
    of_contact: Any
    came: Floats
    came_by: Any
    penalty: Floats
    has_levels: bool

    @classmethod
    def of(
        cls, came: Bools, opportunity: Floats, design: Any, contact: Ints, penalty: Floats, *, has_levels: bool
    ) -> _Likelihood:
        y = came.astype(np.float64)
        places = contact, np.arange(len(y))
        of_contact = csr_matrix((np.ones(len(y)), places), shape=(int(contact.max()) + 1, len(y)))
        # The half is that of log(1 - exp(-x)) = log x - x / 2.
        exposure = np.where(came, 0.5, opportunity)
        came_by = of_contact @ _scaled(design, y)
        return cls(exposure, design, design.T.tocsr(), of_contact, of_contact @ y, came_by, penalty, has_levels)

    def value(self, at: Floats) -> float:
        expected = self.of_contact @ (_rate(self.design, at[:-1]) * self.exposure)
        linear = float((self.came_by @ at[:-1]).sum() - 0.5 * (self.penalty @ at[:-1] ** 2))
        if not self.has_levels:
            return linear - float(expected.sum())
        shape = np.exp(at[-1])
        levels = gammaln(shape + self.came) - gammaln(shape) + shape * np.log(shape)
        return linear + float((levels - (shape + self.came) * np.log(shape + expected)).sum())

    def derivatives(self, at: Floats) -> _Derivatives:
        rate = _rate(self.design, at[:-1]) * self.exposure
        expected = self.of_contact @ rate
        weighted = (self.of_contact @ _scaled(self.design, rate)).tocsr()
        if not self.has_levels:
            information = np.diag(np.append(self.penalty, 1.0))
            information[:-1, :-1] += (self.transposed @ _scaled(self.design, rate)).toarray()
            return _Derivatives(self.came_by - weighted, np.zeros(len(expected)), information, expected, weighted)
        shape = np.exp(at[-1])
        count, scale = shape + self.came, shape + expected
        level = count / scale
        by_shape = digamma(count) - digamma(shape) + np.log(shape / scale) + 1 - level
        twice = polygamma(1, count) - polygamma(1, shape) + 1 / shape - 2 / scale + level / scale
        information = np.diag(np.append(self.penalty, -float((shape**2 * twice + shape * by_shape).sum())))
        per_send = rate * (self.of_contact.T @ level)
        information[:-1, :-1] += (self.transposed @ _scaled(self.design, per_send)).toarray()
        information[:-1, :-1] -= (weighted.T @ _scaled(weighted, level / scale)).toarray()
        information[:-1, -1] = information[-1, :-1] = weighted.T @ (shape * (expected - self.came) / scale**2)
        score = self.came_by - _scaled(weighted, level)
        return _Derivatives(score, shape * by_shape, information, expected, weighted)


def _climbed(known: _Likelihood, point: Floats) -> Floats:
    """The point of greatest likelihood, by Newton's steps, each halved until it leads up."""
    best = known.value(point)
    for _ in range(_MOST_STEPS):
        found = known.derivatives(point)
        slope = np.append(np.asarray(found.score.sum(axis=0)).ravel() - known.penalty * point[:-1],
                          found.shape_score.sum())  # fmt: skip
        values, vectors = _curved(found.information)
        step = vectors @ ((vectors.T @ slope) / values)
        before = best
        for halving in range(_MOST_HALVINGS):
            moved = point + step * 0.5**halving
            moved[-1] = np.clip(moved[-1], _LEAST_SHAPE, _MOST_SHAPE)
            reached = known.value(moved)
            if reached >= best:
                point, best = moved, reached
                break
        if best - before <= _DONE * (1 + abs(best)):
            break
    return point


def _curved(information: Floats) -> tuple[Floats, Floats]:
    """The eigenvalues and -vectors of the information; far from the top some curve the wrong way, and are turned."""
    values, vectors = np.linalg.eigh(information)
    return np.maximum(np.abs(values), 1e-9 * max(float(values.max()), 1e-9)), vectors


class Standardised(NamedTuple):
    """The mean probability over contacts, and each contact's influence on it (its sum of squares is the variance)."""

    mean: float
    influence: Floats


def standardised(fit: RateFit, design: Any, contact: Ints) -> Standardised:
    """What would come of sends on average, each contact counting the same, with what its own sends say of its level.

    Args:
        fit: by `fit_rates`.
        design: sparse (send, column), what is to be known of some of its sends instead.
        contact: of each of these; every contact of the fit need not have one.
    """
    n = np.bincount(contact, minlength=len(fit.came))
    n_contacts, share = int(np.count_nonzero(n)), 1 / n[contact]
    rate = _rate(design, fit.coefficients)
    if np.isinf(fit.shape):
        come = -np.expm1(-rate)
        gradient = np.append(design.T @ (np.exp(-rate) * rate * share), 0.0)
    else:
        count, scale = (fit.shape + fit.came)[contact], (fit.shape + fit.expected)[contact]
        silent = (1 + rate / scale) ** -count
        come = 1 - silent
        by_rate = count / scale * silent / (1 + rate / scale) * rate * share
        by_expected = np.bincount(contact, by_rate / scale, len(fit.came))
        by_shape = fit.shape * float((silent * np.log1p(rate / scale) * share).sum() - by_expected.sum())
        gradient = np.append(design.T @ by_rate - fit.weighted.T @ by_expected, by_shape)
    mean_of = np.bincount(contact, come * share, len(fit.came))
    mean = float(mean_of.sum()) / n_contacts
    own = np.where(n > 0, mean_of - mean, 0.0)
    return Standardised(mean, (own + fit.influence(gradient)) / n_contacts)
