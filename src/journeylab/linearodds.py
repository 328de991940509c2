"""The part of a response's log-odds that is linear in its features.

A logistic fit has a property that trees lack: over the rows that it was fitted to, what it predicts adds up to what
happened for every column of its design; so the levels of whole groups of contacts are right before trees look for what
is not linear. The penalty is that of a ridge (le Cessie and van Houwelingen (1992), Ridge estimators in logistic
regression, Applied Statistics 41, 191-201), its steps are Newton's.
"""

from __future__ import annotations

from itertools import combinations
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Derivative = Callable[[Floats, Floats, Floats], Floats]

__all__ = ["LinearOdds"]

_RIDGE = 25.0
"""The prior standard deviation of a coefficient is .2 in log-odds, of columns with a standard deviation of one."""
_MOST_STEPS, _ENOUGH = 25, 1e-4
_RARE = 0.005
_AT_ONCE, _MOST_KEPT = 1 << 16, 4
_TAIL, _WIDE, _N_STRONGEST = 0.01, 100.0, 8


class LinearOdds:
    """Coefficients of features and groups, fitted by `fit`.

    Attributes:
        coefficients_: float64 by column of the design.
    """

    def __init__(self, n_groups: int) -> None:
        self.n_groups = n_groups

    def fit(
        self,
        features: Floats,
        group: NDArray[np.int64],
        happened: Floats,
        exposure: Floats,
        start: Floats,
        *,
        scores: Callable[[Floats, Floats, Floats], Floats],
        information: Callable[[Floats, Floats], Floats],
    ) -> LinearOdds:
        """The fit, starting from log-odds that are already known.

        Args:
            features: float64 (row, feature), NaN where missing.
            group: the code of each row's group, from 0.
            happened: 0 or 1 by row.
            exposure: the share of what happens that would have been seen of each row.
            start: log-odds by row, to which the linear part is added.
            scores: the derivative of the log-likelihood by the log-odds, of (log-odds, happened, exposure).
            information: its expected negative second derivative, of (log-odds, exposure).
        """
        self._look_at(features)
        self._pairs: list[tuple[int, int]] = []
        self._climb(features, group, happened, exposure, start, scores, information)
        # What counts most by itself is what other things depend on: those columns' products come in, too.
        strongest = np.argsort(-np.abs(self.coefficients_[self.n_groups :]), kind="stable")[:_N_STRONGEST]
        self._pairs = [(int(a), int(b)) for a, b in combinations(sorted(strongest + self.n_groups), 2)]
        self._climb(features, group, happened, exposure, start, scores, information)
        return self

    def _climb(
        self,
        features: Floats,
        group: NDArray[np.int64],
        happened: Floats,
        exposure: Floats,
        start: Floats,
        scores: Callable[[Floats, Floats, Floats], Floats],
        information: Callable[[Floats, Floats], Floats],
    ) -> None:
        """Newton's steps to the coefficients of the present columns."""
        n_columns = self.n_groups + len(self._columns) + len(self._pairs)
        coefficients, penalty = np.zeros(n_columns), np.full(n_columns, _RIDGE)
        parts = self._parts(len(happened))
        # Kept as long as it is small; of a large log the design is made anew in every step.
        kept = self.design(features, group) if len(parts) <= _MOST_KEPT else None
        for _ in range(_MOST_STEPS):
            gradient, hessian = -penalty * coefficients, np.diag(penalty)
            for rows in parts:
                design = self.design(features[rows], group[rows]) if kept is None else kept[rows]
                z = start[rows] + design @ coefficients
                gradient += design.T @ scores(z, happened[rows], exposure[rows])
                hessian += (design * information(z, exposure[rows])[:, None]).T @ design
            step = np.linalg.solve(hessian, gradient)
            # No coefficient leaps: a rare column's first step could overshoot.
            step *= min(1.0, 2.0 / max(1e-12, float(np.abs(step).max())))
            coefficients += step
            if np.abs(step).max() < _ENOUGH:
                break
        self.coefficients_ = coefficients

    @staticmethod
    def _parts(n: int) -> list[slice]:
        return [slice(start, min(start + _AT_ONCE, n)) for start in range(0, n, _AT_ONCE)]

    def _look_at(self, features: Floats) -> None:
        """Decides on the columns: a feature's value, and where it says something, whether it is zero or missing."""
        self._columns: list[tuple[int, str]] = []
        n_features = features.shape[1]
        self._centre, self._width = np.zeros(n_features), np.ones(n_features)
        self._least, self._most = np.zeros(n_features), np.zeros(n_features)
        self._is_wide = np.zeros(n_features, bool)
        for j in range(n_features):
            values = features[:, j]
            values = values[~np.isnan(values)]
            if not len(values):
                continue
            self._is_wide[j] = np.abs(values).max() > _WIDE
            values = self._narrowed(values, j)
            self._least[j], self._most[j] = np.quantile(values, [_TAIL, 1 - _TAIL])
            values = np.clip(values, self._least[j], self._most[j])
            self._centre[j], width = float(values.mean()), float(values.std())
            if width > 0:
                self._width[j] = width
                self._columns.append((j, "value"))
            is_many = len(np.unique(values[:1000])) > 2
            if is_many and _RARE < float((features[:, j] == 0).mean()) < 1 - _RARE:
                self._columns.append((j, "zero"))
            if _RARE < float(np.isnan(features[:, j]).mean()) < 1 - _RARE:
                self._columns.append((j, "missing"))

    def _narrowed(self, values: Floats, j: int) -> Floats:
        """Durations and amounts by their logarithm."""
        return np.sign(values) * np.log1p(np.abs(values)) if self._is_wide[j] else values

    def design(self, features: Floats, group: NDArray[np.int64]) -> Floats:
        """The columns of rows: one for each group, then those of the features; none of an unknown group (-1)."""
        n_single = self.n_groups + len(self._columns)
        made = np.zeros((len(features), n_single + len(self._pairs)))
        is_known = (group >= 0) & (group < self.n_groups)
        made[np.flatnonzero(is_known), group[is_known]] = 1.0
        for k, (j, what) in enumerate(self._columns, start=self.n_groups):
            values = features[:, j]
            if what == "value":
                # Beyond what was seen nothing is known: there the value counts as the farthest that was.
                within = np.clip(self._narrowed(values, j), self._least[j], self._most[j])
                made[:, k] = np.nan_to_num((within - self._centre[j]) / self._width[j])
            else:
                made[:, k] = values == 0 if what == "zero" else np.isnan(values)
        for k, (a, b) in enumerate(self._pairs, start=n_single):
            made[:, k] = made[:, a] * made[:, b]
        return made

    def log_odds(self, features: Floats, group: NDArray[np.int64]) -> Floats:
        """What the linear part adds to the log-odds of rows."""
        odds = np.empty(len(features))
        for rows in self._parts(len(features)):
            odds[rows] = self.design(features[rows], group[rows]) @ self.coefficients_
        return odds
