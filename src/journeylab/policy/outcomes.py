"""The model of rewards that the direct and the doubly robust estimator use: a ridge regression, or one of your own.

Without a context it is the mean reward of each action. With one it adds the context, and where there are rows enough,
lets it matter differently for each action. Where the policy's probabilities are known only of what was done, actions
cannot be told apart: the model is then of the policy's reward given the context, fitted with the weights.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from journeylab.errors import JourneyLabError
from journeylab.offpolicy import Estimate

if TYPE_CHECKING:
    from collections.abc import Iterator

    from journeylab.offpolicy import Bools, Floats, Ints

    from .context import Context
    from .decisions import Decisions
    from .support import Support

__all__ = ["OutcomeModel"]

_FEW_ROWS = 10
_ROWS_TO_A_COEFFICIENT = 20
_MOST_COEFFICIENTS = 300
_BLOCK = 50_000
_TINY = 1e-9


@dataclass(frozen=True, eq=False)
class _Fit:
    """A fitted ridge regression: the mean it starts from, its coefficients, and the inverse of its matrix."""

    mean: float
    coefficients: Floats
    inverse: Floats


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
        self._decisions, self._support, self._rewards, self._model = decisions, support, rewards, model
        self._features = context.features
        knows_actions = decisions.targets is not None or support.table is not None
        n_rows = np.bincount(decisions.actions, minlength=len(decisions.labels))
        # Actions of few rows share one mean.
        group_of, self._n_groups = np.zeros(len(n_rows), np.int64), 1
        if knows_actions:
            is_frequent = n_rows >= _FEW_ROWS
            group_of[is_frequent] = np.arange(is_frequent.sum())
            group_of[~is_frequent] = is_frequent.sum()
            self._n_groups = int(is_frequent.sum()) + int(not is_frequent.all())
        self._group_of = group_of
        n_features = self._features.shape[1]
        n_coefficients = self._n_groups * (1 + n_features) + n_features
        most = min(_MOST_COEFFICIENTS, len(rewards) / _ROWS_TO_A_COEFFICIENT)
        self._interacts = self._n_groups > 1 and n_features > 0 and n_coefficients <= most
        self._fit_weights = np.ones(len(rewards)) if knows_actions else decisions.weights

    def predictions(self, fitted_on: Bools) -> tuple[Floats, Floats]:
        """Predicted rewards of what was done, and of the supported part of what the policy does."""
        if self._model is not None:
            return self._by_own_model(fitted_on)
        fit = self._fitted(fitted_on)
        logged = self._predicted(fit, self._decisions.actions)
        by_policy = np.zeros(len(logged))
        for codes, share in self._choices():
            by_policy += share * self._predicted(fit, codes)
        return logged, by_policy

    def direct(self) -> Estimate:
        """The value by the model alone, fitted on all rows.

        The error is that of fitting, not of the model's being wrong; it is missing (NaN) for a model of one's own.
        """
        everything = np.ones(len(self._rewards), np.bool_)
        supported = 1 - self._support.unsupported
        logged, by_policy = self.predictions(everything)
        value = float(by_policy.sum() / supported.sum())
        influence = value + (by_policy - value * supported) / supported.mean()
        if self._model is not None:
            return Estimate("dm", value, influence, math.nan)
        fit = self._fitted(everything)
        n = len(self._rewards)
        wanted = np.zeros(len(fit.coefficients))
        for codes, share in self._choices():
            for rows, block in self._blocks(codes):
                wanted += block.T @ share[rows]
        pull = fit.inverse @ (wanted / supported.sum())
        residual = n * self._fit_weights * (self._rewards - logged)
        for rows, block in self._blocks(self._decisions.actions):
            influence[rows] += residual[rows] * (block @ pull)
        return Estimate("dm", value, influence, float(influence.std(ddof=1)) / math.sqrt(n) if n > 1 else math.nan)

    def _choices(self) -> Iterator[tuple[Ints, Floats]]:
        """What the policy does: actions by row, each with its probability on supported ones."""
        supported = 1 - self._support.unsupported
        table, targets = self._support.table, self._decisions.targets
        if targets is not None:
            yield targets, supported
        elif table is None:
            yield self._decisions.actions, supported
        else:
            shares = table.shares / table.shares.sum(axis=1, keepdims=True)
            for code in range(len(self._decisions.labels)):
                if shares[:, code].any():
                    yield np.full(len(supported), code), shares[table.groups, code] * supported

    def _blocks(self, codes: Ints) -> Iterator[tuple[slice, Floats]]:
        """The design of some actions, block by block: the action's group, the context, and their products."""
        n_features = self._features.shape[1]
        for start in range(0, len(codes), _BLOCK):
            rows = slice(start, start + _BLOCK)
            features, groups = self._features[rows], self._group_of[codes[rows]]
            one_hot = np.zeros((len(groups), self._n_groups))
            one_hot[np.arange(len(groups)), groups] = 1
            parts = [one_hot, features]
            if self._interacts:
                parts.append((one_hot[:, :, None] * features[:, None, :]).reshape(-1, self._n_groups * n_features))
            yield rows, np.hstack(parts)

    def _fitted(self, fitted_on: Bools) -> _Fit:
        weights = self._fit_weights * fitted_on
        if not weights.any():
            weights = fitted_on.astype(float)
        mean = float((weights * self._rewards).sum() / weights.sum())
        matrix: Any = 0.0
        vector: Any = 0.0
        for rows, block in self._blocks(self._decisions.actions):
            weighted = block * weights[rows, None]
            matrix = matrix + weighted.T @ block
            vector = vector + weighted.T @ (self._rewards[rows] - mean)
        # Only the context is shrunk; what never occurs is predicted as the mean.
        penalty = np.ones(len(vector))
        penalty[: self._n_groups] = _TINY
        inverse = np.linalg.inv(matrix + np.diag(penalty))
        return _Fit(mean, inverse @ vector, inverse)

    def _predicted(self, fit: _Fit, codes: Ints) -> Floats:
        found = np.empty(len(codes))
        for rows, block in self._blocks(codes):
            found[rows] = fit.mean + block @ fit.coefficients
        return found

    def _by_own_model(self, fitted_on: Bools) -> tuple[Floats, Floats]:
        try:
            from sklearn.base import clone
        except ImportError:
            raise JourneyLabError('a model of your own needs scikit-learn: pip install "journeylab[models]"') from None
        design = np.vstack([block for _, block in self._blocks(self._decisions.actions)])
        weights = {} if self._fit_weights.min() == 1 else {"sample_weight": self._fit_weights[fitted_on]}
        fitted = clone(self._model).fit(design[fitted_on], self._rewards[fitted_on], **weights)
        by_policy = np.zeros(len(design))
        for codes, share in self._choices():
            rows = np.vstack([block for _, block in self._blocks(codes)])
            by_policy += share * np.asarray(fitted.predict(rows), dtype=float)
        return np.asarray(fitted.predict(design), dtype=float), by_policy
