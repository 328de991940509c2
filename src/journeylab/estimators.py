"""Two estimators of whether something happens, on scikit-learn's conventions: shrunken rates, and trees on top of them.

Both take `exposure`: the share of all that ever happens which would have been seen by now (0..1). A row that was
looked at for a part of the time only is then no evidence that nothing happens: with p the probability and F the
exposure, it is seen with probability F p, and that is the likelihood here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.special import expit, logit
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils.multiclass import check_classification_targets, type_of_target
from sklearn.utils.validation import check_is_fitted, validate_data

from .linearodds import LinearOdds

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from sklearn.utils import Tags

__all__ = ["BoostedResponses", "ShrunkenRates", "information", "log_losses", "recalibrated", "scores"]

_SMALLEST_SPREAD = 0.1
"""In log-odds: groups that look the same may still differ by so much, so that a large one keeps its own rate."""
_ROUNDS_UNTESTED = 60
_MOST_BINS = 63


def scores(z: NDArray[np.float64], y: NDArray[np.float64], exposure: NDArray[np.float64]) -> NDArray[np.float64]:
    """The derivative of each row's log likelihood by its log-odds; y - p where the exposure is 1."""
    p = expit(z)
    seen = exposure * p
    score: NDArray[np.float64] = (y - seen) * (1 - p) / np.maximum(1 - seen, 1e-12)
    return score


def information(z: NDArray[np.float64], exposure: NDArray[np.float64]) -> NDArray[np.float64]:
    """The information of each row about its log-odds; p (1 - p) where the exposure is 1."""
    p = expit(z)
    known: NDArray[np.float64] = exposure * p * (1 - p) ** 2 / np.maximum(1 - exposure * p, 1e-12)
    return known


def log_losses(z: NDArray[np.float64], y: NDArray[np.float64], exposure: NDArray[np.float64]) -> NDArray[np.float64]:
    """The log loss of each row, of what was seen of it."""
    seen = np.clip(exposure * expit(z), 1e-12, 1 - 1e-12)
    losses: NDArray[np.float64] = -np.where(y > 0, np.log(seen), np.log1p(-seen))
    return losses


def recalibrated(
    z: NDArray[np.float64],
    y: NDArray[np.float64],
    exposure: NDArray[np.float64],
    *,
    slope: bool = False,
    spread: float = np.inf,
) -> tuple[float, float]:
    """The (intercept, slope) by which log-odds are to be corrected; without `slope` that is 1.

    `spread` is how far the intercept is thought to lie from 0, as a standard deviation: little data keeps it there.
    """
    beta = np.array([0.0, 1.0])
    design = np.column_stack([np.ones(len(z)), z])[:, : 1 + slope]
    prior = np.array([spread**-2, 0.0])[: 1 + slope]
    for _ in range(50):
        now = beta[0] + beta[1] * z
        gradient = design.T @ scores(now, y, exposure) - prior * beta[: 1 + slope]
        hessian = (design * information(now, exposure)[:, None]).T @ design + np.diag(prior + 1e-9)
        step = np.clip(np.linalg.solve(hessian, gradient), -1, 1)
        beta[: 1 + slope] += step
        if np.abs(step).max() < 1e-9:
            break
    return float(beta[0]), float(beta[1])


class _Estimator(ClassifierMixin, BaseEstimator):  # type: ignore[misc]
    """What both share: two classes, of which the greater one happens; rows that miss values are welcome."""

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = True
        tags.classifier_tags.multi_class = False
        return tags

    def _checked(self, X: Any, y: Any, exposure: Any) -> tuple[Any, NDArray[np.float64], NDArray[np.float64]]:  # noqa: N803
        X, y = validate_data(self, X, y, dtype=np.float64, ensure_all_finite="allow-nan")  # noqa: N806
        check_classification_targets(y)
        kind = type_of_target(y)
        self.classes_, codes = np.unique(y, return_inverse=True)
        if kind not in ("binary",) or len(self.classes_) > 2:
            raise ValueError(f"Only binary classification is supported. The type of the target is {kind}.")
        if exposure is None:
            seen = np.ones(len(codes))
        else:
            seen = np.asarray(exposure, np.float64)
            if seen.shape != codes.shape or not ((seen > 0) & (seen <= 1)).all():
                raise ValueError("exposure is a share for each row, above 0 and at most 1")
        # One class alone: it is what happens, or what does not, where it says so itself.
        happened = codes.astype(np.float64) if len(self.classes_) > 1 else np.full(len(codes), bool(self.classes_[0]))
        return X, happened.astype(np.float64), seen

    def _taken(self, X: Any) -> NDArray[np.float64]:  # noqa: N803
        check_is_fitted(self)
        taken: NDArray[np.float64] = validate_data(
            self, X, dtype=np.float64, ensure_all_finite="allow-nan", reset=False
        )
        return taken

    def decision_function(self, X: Any) -> NDArray[np.float64]:  # noqa: N803
        """The log-odds of the greater class: float64 by row."""
        return self._log_odds(self._taken(X))

    def predict_proba(self, X: Any) -> NDArray[np.float64]:  # noqa: N803
        """The probabilities of the classes in the order of `classes_`: float64 (row, class)."""
        check_is_fitted(self)
        p = expit(self.decision_function(X))
        if len(self.classes_) == 1:
            return np.ones((len(p), 1))
        return np.column_stack([1 - p, p])

    def predict(self, X: Any) -> NDArray[Any]:  # noqa: N803
        """The likelier class of each row."""
        check_is_fitted(self)
        if len(self.classes_) == 1:
            return np.repeat(self.classes_, len(self._taken(X)))
        likely: NDArray[Any] = self.classes_[(self.decision_function(X) > 0).astype(int)]
        return likely

    def _log_odds(self, X: NDArray[np.float64]) -> NDArray[np.float64]:  # noqa: N803
        raise NotImplementedError


class ShrunkenRates(_Estimator):
    """A rate for each group, drawn towards the mean of all groups by as much as groups are alike.

    Empirical Bayes with a beta prior whose mean and variance are those between groups, by moments (DerSimonian and
    Laird (1986), Meta-analysis in clinical trials, Controlled Clinical Trials 7, 177-188; here on rates). No rate is
    ever 0 or 1. Rows of no known group have the mean.

    Args:
        group_column: the column whose values are the groups.

    Attributes:
        groups_: the groups, ascending. `rates_`: their rates, float64. `mean_rate_`: that of an unknown group.
        strength_: how many rows the mean counts for. `spread_`: the standard deviation between groups in log-odds.

    >>> X = np.repeat([[0.0], [1.0]], 200, axis=0)
    >>> y = np.r_[np.arange(200) < 20, np.arange(200) < 60]
    >>> ShrunkenRates().fit(X, y).rates_.round(2)
    array([0.1, 0.3])
    """

    def __init__(self, group_column: int = 0) -> None:
        self.group_column = group_column

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.classifier_tags.poor_score = True
        return tags

    def fit(self, X: Any, y: Any, exposure: Any = None) -> ShrunkenRates:  # noqa: N803
        """The estimator, with a rate for each group.

        Raises:
            ValueError: for what scikit-learn refuses, more than two classes, or exposures outside of (0, 1].
        """
        X, happened, seen = self._checked(X, y, exposure)  # noqa: N806
        self.groups_, group = np.unique(X[:, self.group_column], return_inverse=True)
        n, k = np.bincount(group, seen), np.bincount(group, happened)
        rate = (k.sum() + 0.5) / (n.sum() + 1)
        within = rate * (1 - rate)
        spare = n.sum() - (n**2).sum() / n.sum()
        excess = (n * (k / n - rate) ** 2).sum() - (len(n) - 1) * within
        between = max(0.0, excess / spare) if spare > 0 else 0.0
        between = min(max(between, (_SMALLEST_SPREAD * within) ** 2), 0.9 * within)
        weight = 1 / (between + within / n)
        self.mean_rate_ = float((weight * (k + rate) / (n + 1)).sum() / weight.sum())
        within = self.mean_rate_ * (1 - self.mean_rate_)
        self.strength_ = float(max(within / between - 1, 1e-3))
        self.spread_ = float(np.sqrt(between) / within)
        self.rates_ = np.clip((k + self.strength_ * self.mean_rate_) / (n + self.strength_), 1e-9, 1 - 1e-9)
        return self

    def place(self, group: NDArray[np.float64]) -> NDArray[np.int64]:
        """The place of each row's group among those of the fit, -1 for another."""
        group = group[:, 0]
        place = np.minimum(np.searchsorted(self.groups_, group), len(self.groups_) - 1)
        same = (self.groups_[place] == group) | (np.isnan(group) & np.isnan(self.groups_[place]))
        return np.where(same, place, -1)

    def _log_odds(self, X: NDArray[np.float64]) -> NDArray[np.float64]:  # noqa: N803
        place = self.place(X[:, [self.group_column]])
        odds: NDArray[np.float64] = logit(np.where(place >= 0, self.rates_[place], self.mean_rate_))
        return odds


class BoostedResponses(_Estimator):
    """Shrunken rates of groups, corrected by boosted trees, and brought back to each group's level.

    The trees (LightGBM) start from the rates' log-odds. How many there are is found on the last fifth of the rows,
    which are to be in order of time; none, where they help nothing there. Then every group's log-odds are moved so
    that predictions made for folds of clusters that the trees did not see add up to what happened.

    Args:
        group_column: the column of groups, whole numbers from 0, which the trees see as categories; without one all
            rows are one group.
        max_rounds, learning_rate, n_leaves, min_child_samples, l2: of the trees, as in LightGBM.
        n_folds: into how many folds clusters are divided.
        n_jobs: how many threads LightGBM may use.
        random_state: the seed; the fit is the same for the same seed.

    Attributes:
        baseline_: the `ShrunkenRates`. `n_rounds_`: how many trees there are.
        shifts_: by how much each group's log-odds were moved, in the order of `baseline_.groups_`.
        out_of_fold_: the log-odds of the rows of the fit by trees that did not see their cluster.

    >>> rng = np.random.default_rng(1)
    >>> X = np.column_stack([np.zeros(9000), rng.normal(size=9000)])
    >>> y = rng.random(9000) < 0.2 + 0.5 * (X[:, 1] > 1)
    >>> BoostedResponses(group_column=0).fit(X, y).predict_proba([[0, 0], [0, 2]])[:, 1].round(1)
    array([0.2, 0.6])
    """

    def __init__(
        self,
        group_column: int | None = None,
        *,
        max_rounds: int = 600,
        learning_rate: float = 0.05,
        n_leaves: int = 31,
        min_child_samples: int = 50,
        l2: float = 1.0,
        n_folds: int = 3,
        n_jobs: int = 1,
        random_state: int = 0,
    ) -> None:
        self.group_column = group_column
        self.max_rounds = max_rounds
        self.learning_rate = learning_rate
        self.n_leaves = n_leaves
        self.min_child_samples = min_child_samples
        self.l2 = l2
        self.n_folds = n_folds
        self.n_jobs = n_jobs
        self.random_state = random_state

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.classifier_tags.poor_score = True
        return tags

    def fit(
        self,
        X: Any,  # noqa: N803
        y: Any,
        exposure: Any = None,
        clusters: NDArray[np.integer[Any]] | None = None,
        n_rounds: int | None = None,
    ) -> BoostedResponses:
        """The estimator, fitted.

        Args:
            X: columns of numbers, NaN where missing; rows in order of time.
            y: two classes, of which the greater one happens.
            exposure: the share of what happens that would have been seen of each row; 1 without.
            clusters: whole numbers that say which rows belong together (the contact); each row alone without.
            n_rounds: how many trees, where that is known; otherwise it is found.

        Raises:
            ValueError: for what scikit-learn refuses, more than two classes, or exposures outside of (0, 1].
        """
        X, happened, seen = self._checked(X, y, exposure)  # noqa: N806
        group, features = self._groups(X), X
        n = len(happened)
        fold = (np.arange(n) if clusters is None else np.asarray(clusters)) % self.n_folds
        self.baseline_ = ShrunkenRates().fit(group, happened, seen)
        self.linear_, start = self._linear(group, features, happened, seen, self.baseline_)
        self.n_rounds_ = self._rounds(group, features, happened, seen) if n_rounds is None else n_rounds
        data = self._data(features, happened, start)
        self.booster_ = self._trained(data, seen, self.n_rounds_)
        self.out_of_fold_ = np.empty(n)
        for k in range(self.n_folds):
            out, rest = np.flatnonzero(fold == k), np.flatnonzero(fold != k)
            if not len(out):
                continue
            if not len(rest):
                rest = out
            apart = ShrunkenRates().fit(group[rest], happened[rest], seen[rest])
            linear, start = self._linear(group[rest], features[rest], happened[rest], seen[rest], apart)
            part = self._data(features[rest], happened[rest], start, like=data)
            trees = self._raw(self._trained(part, seen[rest], self.n_rounds_), features[out])
            self.out_of_fold_[out] = self._before_trees(apart, linear, X[out]) + trees
        place = np.searchsorted(self.baseline_.groups_, group[:, 0])
        self.shifts_ = np.zeros(len(self.baseline_.groups_))
        for g in range(len(self.shifts_)):
            mine = place == g
            self.shifts_[g], _ = recalibrated(
                self.out_of_fold_[mine], happened[mine], seen[mine], spread=max(self.baseline_.spread_, 0.25)
            )
        self.out_of_fold_ += self.shifts_[place]
        return self

    def _linear(
        self,
        group: NDArray[np.float64],
        features: NDArray[np.float64],
        happened: NDArray[np.float64],
        seen: NDArray[np.float64],
        rates: ShrunkenRates,
    ) -> tuple[LinearOdds, NDArray[np.float64]]:
        """The linear part, and the log-odds from which the trees start."""
        place, start = rates.place(group), rates._log_odds(group)
        values = self._features(features)
        linear = LinearOdds(len(rates.groups_)).fit(
            values, place, happened, seen, start, scores=scores, information=information
        )
        return linear, start + linear.log_odds(values, place)

    def _before_trees(
        self,
        rates: ShrunkenRates,
        linear: LinearOdds,
        X: NDArray[np.float64],  # noqa: N803
    ) -> NDArray[np.float64]:
        group = self._groups(X)
        values = self._features(X)
        odds: NDArray[np.float64] = rates._log_odds(group) + linear.log_odds(values, rates.place(group))
        return odds

    def _features(self, X: NDArray[np.float64]) -> NDArray[np.float64]:  # noqa: N803
        return X if self.group_column is None else np.delete(X, self.group_column, axis=1)

    def _groups(self, X: NDArray[np.float64]) -> NDArray[np.float64]:  # noqa: N803
        return np.zeros((len(X), 1)) if self.group_column is None else X[:, [self.group_column]]

    def _log_odds(self, X: NDArray[np.float64]) -> NDArray[np.float64]:  # noqa: N803
        group = self._groups(X)
        place = self.baseline_.place(group)
        shift = np.where(place >= 0, self.shifts_[place], 0.0)
        return self._before_trees(self.baseline_, self.linear_, X) + shift + self._raw(self.booster_, X)

    def _rounds(
        self,
        group: NDArray[np.float64],
        features: NDArray[np.float64],
        happened: NDArray[np.float64],
        seen: NDArray[np.float64],
    ) -> int:
        """How many trees do best on the last fifth of the rows."""
        import lightgbm

        early = 4 * len(happened) // 5
        late = slice(early, None)
        if early < 2 or min(happened[:early].sum(), happened[late].sum()) < 10:
            return min(_ROUNDS_UNTESTED, self.max_rounds)
        apart = ShrunkenRates().fit(group[:early], happened[:early], seen[:early])
        linear, start = self._linear(group[:early], features[:early], happened[:early], seen[:early], apart)
        data = self._data(features[:early], happened[:early], start)
        start = self._before_trees(apart, linear, features[late])
        test = self._data(features[late], happened[late], start, like=data)

        objective = _objective(seen[:early])

        def loss(told: NDArray[np.float64], _: Any) -> tuple[str, float, bool]:
            z = logit(np.clip(told, 1e-15, 1 - 1e-15)) if objective == "binary" else told  # LightGBM tells what it can
            return "loss", float(log_losses(z, happened[late], seen[late]).mean()), False

        stop = lightgbm.early_stopping(30, verbose=False)
        booster = lightgbm.train(
            {**self._parameters(), "metric": "none", "objective": objective}, data, self.max_rounds,
            valid_sets=[test], feval=loss, callbacks=[stop],
        )  # fmt: skip
        helped = booster.best_score["valid_0"]["loss"] < log_losses(start, happened[late], seen[late]).mean()
        return int(booster.best_iteration) if helped else 0

    def _parameters(self) -> dict[str, Any]:
        return {
            "learning_rate": self.learning_rate,
            "num_leaves": self.n_leaves,
            "min_data_in_leaf": self.min_child_samples,
            "min_sum_hessian_in_leaf": 1e-3,
            "feature_pre_filter": False,
            "lambda_l2": self.l2,
            "max_bin": _MOST_BINS,
            "num_threads": self.n_jobs,
            "seed": self.random_state,
            "deterministic": True,
            "force_row_wise": True,
            "verbosity": -1,
        }

    def _data(
        self,
        features: NDArray[np.float64],
        happened: NDArray[np.float64],
        start: NDArray[np.float64],
        like: Any = None,
    ) -> Any:
        import lightgbm

        return lightgbm.Dataset(
            features, happened, init_score=start, reference=like, params=self._parameters(), free_raw_data=False,
            categorical_feature=[] if self.group_column is None else [self.group_column],
        )  # fmt: skip

    def _trained(self, data: Any, seen: NDArray[np.float64], n_rounds: int) -> Any:
        import lightgbm

        if n_rounds == 0:
            return None
        return lightgbm.train({**self._parameters(), "objective": _objective(seen)}, data, n_rounds)

    def _raw(self, booster: Any, features: NDArray[np.float64]) -> NDArray[np.float64]:
        """What the trees add to the log-odds."""
        if booster is None:
            return np.zeros(len(features))
        raw: NDArray[np.float64] = booster.predict(features, raw_score=True, num_threads=self.n_jobs)
        return raw


def _objective(seen: NDArray[np.float64]) -> Any:
    """The likelihood that LightGBM climbs: its own where all was seen."""
    if (seen == 1).all():
        return "binary"

    partly = np.flatnonzero(seen < 1)

    def derivatives(z: NDArray[np.float64], rows: Any) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        happened, p = rows.get_label(), expit(z)
        slope, curvature = p - happened, p * (1 - p)
        slope[partly] = -scores(z[partly], happened[partly], seen[partly])
        curvature[partly] = information(z[partly], seen[partly])
        return slope, np.maximum(curvature, 1e-9)

    return derivatives
