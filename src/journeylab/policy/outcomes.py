"""The model of rewards that the direct and the doubly robust estimator use: a ridge regression, or one of your own.

Without a context it is the mean reward of each action. With one it adds the context, and where there are rows enough,
lets it matter differently for each action. Where the policy's probabilities are known only of what was done, actions
cannot be told apart: the model is then of the policy's reward given the context, fitted with the weights.
"""

from __future__ import annotations

import math
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from journeylab.errors import JourneyLabError
from journeylab.offpolicy import Estimate

if TYPE_CHECKING:
    from journeylab.offpolicy import Bools, Floats, Ints

    from .context import Context
    from .decisions import Decisions
    from .support import Support

__all__ = ["OutcomeModel"]

_FEW_ROWS = 10
_ROWS_TO_A_COEFFICIENT = 20
_MOST_COEFFICIENTS = 100
_BLOCK = 1_000  # so small that BLAS does not start threads for it
_TINY, _HUGE = 1e-9, 1e9


class _Moments(NamedTuple):
    """Weighted sums over the rows of each group of actions, of one and the features.

    Attributes:
        squares: their products with each other: (group, 1 + feature, 1 + feature).
        products: their products with the rewards: (group, 1 + feature).
    """

    squares: Floats
    products: Floats


class _Coefficients(NamedTuple):
    """One number for each group of actions, each feature, and each feature in each group (without interaction, 0)."""

    by_group: Floats
    by_feature: Floats
    by_both: Floats


class _Fit(NamedTuple):
    """A fitted ridge regression: the mean it starts from, its coefficients, and the inverse of its matrix."""

    mean: float
    coefficients: _Coefficients
    inverse: Floats


class _Mix(NamedTuple):
    """Probabilities of groups of actions: some mixtures of them, (mixture, group), and which of them each row has."""

    shares: Floats
    of_row: Ints


class OutcomeModel:
    """Predicts rewards of decisions: of what was done, and of what the policy would do.

    Args:
        decisions: what was logged.
        context: what was known.
        support: what the log supports of the policy.
        rewards: by row.
        model: a scikit-learn regressor, to be used in place of the ridge regression.
    """

    def __init__(
        self, decisions: Decisions, context: Context, support: Support, rewards: Floats, model: Any = None
    ) -> None:
        self._rewards, self._model, self._features = rewards, model, context.features
        self._supported = 1 - support.unsupported
        knows_actions = decisions.targets is not None or support.table is not None
        n_rows = np.bincount(decisions.actions, minlength=len(decisions.labels))
        # Actions of few rows share one mean.
        group_of, self._n_groups = np.zeros(len(n_rows), np.int64), 1
        if knows_actions:
            is_frequent = n_rows >= _FEW_ROWS
            group_of[is_frequent] = np.arange(is_frequent.sum())
            group_of[~is_frequent] = is_frequent.sum()
            self._n_groups = int(is_frequent.sum()) + int(not is_frequent.all())
        each = np.eye(self._n_groups)
        self._logged = _Mix(each, group_of[decisions.actions])
        if decisions.targets is not None:
            self._by_policy = _Mix(each, group_of[decisions.targets])
        elif support.table is not None:
            shares = support.table.shares / support.table.shares.sum(axis=1, keepdims=True)
            self._by_policy = _Mix(shares @ each[group_of], support.table.groups)
        else:
            self._by_policy = self._logged
        n_features = self._features.shape[1]
        most = min(_MOST_COEFFICIENTS, len(rewards) / _ROWS_TO_A_COEFFICIENT)
        self._interacts = int(
            self._n_groups > 1 and n_features > 0 and self._n_groups * (1 + n_features) + n_features <= most
        )
        self._fit_weights = np.ones(len(rewards)) if knows_actions else decisions.weights

    def predictions(self, fitted_on: Bools) -> tuple[Floats, Floats]:
        """Predicted rewards of what was done, and of the supported part of what the policy does.

        The means of actions are drawn to the mean of all, the more so the less they differ beyond chance.
        """
        if self._model is not None:
            return self._by_own_model(fitted_on)
        fit = self._fitted(fitted_on, self._likeness(fitted_on))
        return self._predicted(fit, self._logged), self._supported * self._predicted(fit, self._by_policy)

    def direct(self) -> Estimate:
        """The value by the model alone, fitted on all rows; without a context, from the plain means of actions.

        The error is that of fitting, not of the model's being wrong; it is missing (NaN) for a model of one's own.
        """
        n = len(self._rewards)
        everything = np.ones(n, np.bool_)
        total = float(self._supported.sum())
        if self._model is not None:
            _, by_policy = self._by_own_model(everything)
            value = float(by_policy.sum()) / total
            return Estimate("dm", value, value + (by_policy - value * self._supported) * n / total, math.nan)
        fit = self._fitted(everything, _TINY)
        by_policy = self._supported * self._predicted(fit, self._by_policy)
        value = float(by_policy.sum()) / total
        influence = value + (by_policy - value * self._supported) * n / total
        pull = self._applied(self._split(fit.inverse @ (self._wanted() / total)), self._logged)
        influence += n * self._fit_weights * (self._rewards - self._predicted(fit, self._logged)) * pull
        return Estimate("dm", value, influence, float(influence.std(ddof=1)) / math.sqrt(n) if n > 1 else math.nan)

    def _likeness(self, rows: Bools) -> float:
        """How many rows' weight draws each action's mean to that of all: within over between variance, by moments."""
        groups, rewards = self._logged.of_row[rows], self._rewards[rows]
        n_rows = np.bincount(groups, minlength=self._n_groups).astype(float)
        n, n_groups = float(n_rows.sum()), int((n_rows > 0).sum())
        if n_groups < 2 or n <= n_groups:
            return _TINY
        means = np.bincount(groups, rewards, minlength=self._n_groups) / np.maximum(n_rows, 1)
        within = float(((rewards - means[groups]) ** 2).sum()) / (n - n_groups)
        between = float((n_rows * (means - rewards.mean()) ** 2).sum()) / (n_groups - 1)
        typical = (n - float((n_rows**2).sum()) / n) / (n_groups - 1)
        variance = (between - within) / typical
        return float(np.clip(within / variance, _TINY, _HUGE)) if variance > 0 else _HUGE

    def _predicted(self, fit: _Fit, mix: _Mix) -> Floats:
        return fit.mean + self._applied(fit.coefficients, mix)

    def _applied(self, to: _Coefficients, mix: _Mix) -> Floats:
        """The design of some mixtures of actions times coefficients, by row."""
        found: Floats = (mix.shares @ to.by_group)[mix.of_row] + self._features @ to.by_feature
        if self._interacts:
            found += np.einsum("ij,ij->i", self._features, (mix.shares @ to.by_both)[mix.of_row])
        return found

    def _split(self, coefficients: Floats) -> _Coefficients:
        n_groups, n_features = self._n_groups, self._features.shape[1]
        by_group, by_feature, both = np.split(coefficients, [n_groups, n_groups + n_features])
        return _Coefficients(by_group, by_feature, both.reshape(-1, n_features) if self._interacts else both)

    def _wanted(self) -> Floats:
        """The design of what the policy does, summed over the supported part of the rows."""
        mix, supported = self._by_policy, self._supported
        n_mixes = len(mix.shares)
        parts = [np.bincount(mix.of_row, supported, minlength=n_mixes) @ mix.shares, supported @ self._features]
        if self._interacts:
            sums = [
                np.bincount(mix.of_row, supported * feature, minlength=n_mixes) @ mix.shares
                for feature in self._features.T
            ]
            parts.append(np.column_stack(sums).ravel())
        return np.concatenate(parts)

    def _fitted(self, fitted_on: Bools, group_penalty: float) -> _Fit:
        left_out = self._moments(~fitted_on)
        squares, products = (whole - part for whole, part in zip(self._moments_of_all, left_out, strict=True))
        weight = float(squares[:, 0, 0].sum())
        # Without any weight there is nothing to fit: what was done on the whole is all that is known.
        mean = float(products[:, 0].sum()) / weight if weight > 0 else float(self._rewards[fitted_on].mean())
        products = products - mean * squares[:, 0]
        parts = [products[:, 0], products[:, 1:].sum(axis=0), *([products[:, 1:].ravel()] if self._interacts else [])]
        vector = np.concatenate(parts)
        penalty = np.ones(len(vector))
        penalty[: self._n_groups] = group_penalty
        inverse: Floats = np.linalg.inv(self._assembled(squares) + np.diag(penalty)).astype(np.float64)
        return _Fit(mean, self._split(inverse @ vector), inverse)

    def _assembled(self, squares: Floats) -> Floats:
        """The matrix of the whole design (groups, features, features in each group) from the sums by group."""
        n_groups, n_features = self._n_groups, self._features.shape[1]
        size = n_groups + n_features * (1 + n_groups * self._interacts)
        matrix = np.zeros((size, size))
        features = slice(n_groups, n_groups + n_features)
        matrix[:n_groups, :n_groups] = np.diag(squares[:, 0, 0])
        matrix[:n_groups, features] = squares[:, 0, 1:]
        matrix[features, features] = squares[:, 1:, 1:].sum(axis=0)
        for group in range(n_groups * self._interacts):
            both = slice(features.stop + group * n_features, features.stop + (group + 1) * n_features)
            matrix[group, both] = squares[group, 0, 1:]
            matrix[features, both] = matrix[both, both] = squares[group, 1:, 1:]
        return np.triu(matrix) + np.triu(matrix, 1).T

    @cached_property
    def _moments_of_all(self) -> _Moments:
        return self._moments(np.ones(len(self._rewards), np.bool_))

    def _moments(self, of: Bools) -> _Moments:
        size = 1 + self._features.shape[1]
        squares, products = np.zeros((self._n_groups, size, size)), np.zeros((self._n_groups, size))
        rows = np.flatnonzero(of)
        rows = rows[np.argsort(self._logged.of_row[rows], kind="stable")]
        groups = self._logged.of_row[rows]
        starts = np.flatnonzero(np.diff(groups, prepend=-1))
        for start, end in zip(starts, np.append(starts, len(rows))[1:], strict=True):
            for first in range(start, end, _BLOCK):
                some = rows[first : min(first + _BLOCK, end)]
                with_one = np.column_stack([np.ones(len(some)), self._features[some]])
                weighted = with_one * self._fit_weights[some, None]
                squares[groups[start]] += weighted.T @ with_one
                products[groups[start]] += self._rewards[some] @ weighted
        return _Moments(squares, products)

    def _by_own_model(self, fitted_on: Bools) -> tuple[Floats, Floats]:
        try:
            from sklearn.base import clone
        except ImportError:
            raise JourneyLabError('a model of your own needs scikit-learn: pip install "journeylab[models]"') from None
        each = np.eye(self._n_groups)
        weights = {} if self._fit_weights.min() == 1 else {"sample_weight": self._fit_weights[fitted_on]}
        design = np.hstack([each[self._logged.of_row], self._features])
        fitted = clone(self._model).fit(design[fitted_on], self._rewards[fitted_on], **weights)
        by_policy = np.zeros(len(design))
        for group in range(self._n_groups):
            share = self._by_policy.shares[self._by_policy.of_row, group]
            rows = np.flatnonzero(share)
            if len(rows):
                wanted = np.hstack([np.tile(each[group], (len(rows), 1)), self._features[rows]])
                by_policy[rows] += share[rows] * np.asarray(fitted.predict(wanted), dtype=float)
        return np.asarray(fitted.predict(design), dtype=float), self._supported * by_policy
