"""What was known of contacts, as numbers for trees, and trees that stop where they no longer help."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from journeylab.errors import DataError, JourneyLabError
from journeylab.policy.decisions import Faults, numbers, require
from journeylab.tablesource import Table, as_frame

if TYPE_CHECKING:
    from journeylab.offpolicy import Floats

__all__ = ["CautiousTrees", "TreeFeatures", "lightgbm"]

_MOST_LEVELS = 50
_PATIENCE = 20
_TUNING_FOLDS = 3


@dataclass(frozen=True, slots=True)
class TreeFeatures:
    """How columns become numbers: numbers and flags as they are, texts by the places of their values.

    Attributes:
        columns: the names, in order.
        levels: for each column of texts its values, the most frequent first, up to 50; None for numbers. A value that
            is rarer, or was not there when this was made, is as if missing, for which trees have a side of their own.
    """

    columns: tuple[str, ...]
    levels: tuple[tuple[str, ...] | None, ...]

    @classmethod
    def of(cls, frame: pd.DataFrame, columns: Sequence[str]) -> TreeFeatures:
        """The features in some columns of a table.

        Raises:
            DataError: for no columns, unknown ones, or instants.

        >>> TreeFeatures.of(pd.DataFrame({"spent": [1.5], "city": ["Gdynia"]}), ["spent", "city"]).levels
        (None, ('Gdynia',))
        """
        if isinstance(columns, str) or not len(columns):
            raise DataError(f"features is a list of one or more columns, got {columns!r}")
        require(frame, [("features", name) for name in columns])
        return cls(tuple(columns), tuple(_levels(frame[name]) for name in columns))

    @property
    def categories(self) -> list[int]:
        """The places of the columns of texts."""
        return [place for place, levels in enumerate(self.levels) if levels is not None]

    def matrix(self, frame: Table) -> Floats:
        """The features of each row, float64 (row, column); missing values are NaN.

        Raises:
            DataError: for columns that are not there, and for texts or infinities where there were numbers.

        >>> known = TreeFeatures.of(pd.DataFrame({"city": ["Gdynia", "Gdynia", "Lublin"]}), ["city"])
        >>> known.matrix(pd.DataFrame({"city": ["Lublin", "Radom"]}))
        array([[ 1.],
               [nan]])
        """
        frame = as_frame(frame)
        require(frame, [("features", name) for name in self.columns])
        faults = Faults(frame)
        found = []
        for name, levels in zip(self.columns, self.levels, strict=True):
            if levels is None:
                found.append(numbers(frame, name, faults))
            else:
                codes = pd.Index(levels).get_indexer(pd.Index(_texts(frame[name])))
                found.append(np.where(codes < 0, np.nan, codes))
        faults.raise_if_any()
        return np.column_stack(found).astype(np.float64)


def _levels(values: pd.Series) -> tuple[str, ...] | None:
    kind = values.dtype
    if pd.api.types.is_datetime64_any_dtype(kind) or pd.api.types.is_timedelta64_dtype(kind):
        raise DataError(f"column {values.name!r} holds instants or durations; give hours or days as numbers")
    if pd.api.types.is_numeric_dtype(kind):
        return None
    counts = _texts(values).value_counts(sort=False)
    order = sorted(counts.index, key=lambda level: (-counts[level], level))
    return tuple(order[:_MOST_LEVELS])


def _texts(values: pd.Series) -> pd.Series:
    return values.astype(object).map(str, na_action="ignore")


class CautiousTrees:
    """Boosted trees (LightGBM) for a mean; there are as many as help on rows they did not see, or none at all.

    How many is found by threefold cross-validation of the squared error, in which the mean of all, with no tree, takes
    part. Trees are few-leaved and slow, so that what differs little between contacts is told apart little.

    Args:
        categories: the places of columns whose numbers are names.
        seed: of the folds; the fit is the same for the same seed and rows.
        max_rounds, learning_rate, n_leaves, l2: of the trees, as in LightGBM.
        min_child_share: the least share of the rows in a leaf, which is never under 20 rows.
        n_threads: how many threads LightGBM may use; the fit does not depend on it.

    Attributes:
        n_rounds_: how many trees there are.
    """

    def __init__(
        self,
        categories: Sequence[int] = (),
        *,
        seed: int = 0,
        max_rounds: int = 300,
        learning_rate: float = 0.05,
        n_leaves: int = 6,
        min_child_share: float = 0.01,
        l2: float = 10.0,
        n_threads: int = 1,
    ) -> None:
        self.categories, self.seed, self.max_rounds = list(categories), seed, max_rounds
        self.learning_rate, self.n_leaves, self.l2 = learning_rate, n_leaves, l2
        self.min_child_share, self.n_threads = min_child_share, n_threads

    def fit(self, X: Floats, y: Floats, n_rounds: int | None = None) -> CautiousTrees:  # noqa: N803
        """The trees, fitted to `y`.

        Args:
            X: float64 (row, column), NaN where missing.
            y: float64 by row.
            n_rounds: how many trees, where that is known; otherwise it is found.
        """
        self.mean_ = float(y.mean())
        self.n_rounds_ = self._rounds(X, y) if n_rounds is None else n_rounds
        self.booster_ = None
        if self.n_rounds_:
            self.booster_ = lightgbm().train(self._parameters(len(y)), self._data(X, y), self.n_rounds_)
        return self

    def predict(self, X: Floats) -> Floats:  # noqa: N803
        """The mean expected of each row, float64."""
        if self.booster_ is None:
            return np.full(len(X), self.mean_)
        added: Floats = self.booster_.predict(X, num_threads=self.n_threads)
        return self.mean_ + added

    def _rounds(self, X: Floats, y: Floats) -> int:  # noqa: N803
        if len(y) < 10 * _TUNING_FOLDS or y.min() == y.max():
            return 0
        fold = np.random.default_rng(self.seed).permutation(len(y)) % _TUNING_FOLDS
        folds = [(np.flatnonzero(fold != k), np.flatnonzero(fold == k)) for k in range(_TUNING_FOLDS)]
        found = lightgbm().cv(
            {**self._parameters(len(y)), "metric": "l2"}, self._data(X, y), self.max_rounds, folds=folds,
            callbacks=[lightgbm().early_stopping(_PATIENCE, verbose=False)],
        )  # fmt: skip
        errors = found["valid l2-mean"]
        without = float(np.mean([((y[out] - self.mean_) ** 2).mean() for _, out in folds]))
        return len(errors) if min(errors) < without else 0

    def _parameters(self, n: int) -> dict[str, Any]:
        return {
            "objective": "regression",
            "boost_from_average": False,
            "learning_rate": self.learning_rate,
            "num_leaves": self.n_leaves,
            "min_data_in_leaf": max(20, round(self.min_child_share * n)),
            "min_data_in_bin": 3,
            "feature_pre_filter": False,
            "lambda_l2": self.l2,
            "num_threads": self.n_threads,
            "seed": self.seed,
            "deterministic": True,
            "force_row_wise": True,
            "verbosity": -1,
        }

    def _data(self, X: Floats, y: Floats) -> Any:  # noqa: N803
        return lightgbm().Dataset(
            X, y - self.mean_, params=self._parameters(len(y)), categorical_feature=self.categories, free_raw_data=False
        )


def lightgbm() -> Any:
    """LightGBM, imported.

    Raises:
        JourneyLabError: where it is missing, with what to install.
    """
    try:
        import lightgbm
    except ImportError:
        raise JourneyLabError('uplift models need LightGBM: pip install "journeylab[models]"') from None
    except OSError as problem:
        raise JourneyLabError(
            f"LightGBM finds no OpenMP library ({problem}): install it, on Debian as the package libgomp1"
        ) from None
    return lightgbm
