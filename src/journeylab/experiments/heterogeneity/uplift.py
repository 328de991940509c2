"""To whom a treatment does more: uplift by contact from a randomised experiment, and what that is worth on others."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Literal, NamedTuple, TypeAlias

import numpy as np
import pandas as pd
from sklearn.base import BaseEstimator, clone

from journeylab.display import block, counted, facts
from journeylab.errors import DataError, known
from journeylab.fitted import require_fitted
from journeylab.offpolicy import folds
from journeylab.policy.decisions import Faults, frame_of, numbers, require
from journeylab.progress import Progress, shown
from journeylab.tablesource import Table, as_frame

from .ranking import JudgedRanking, doubly_robust_scores, judge_ranking, shares_within
from .treefeatures import CautiousTrees, TreeFeatures, lightgbm

if TYPE_CHECKING:
    from journeylab.offpolicy import Bools, Floats, Ints

__all__ = ["UpliftModel", "judge_uplift", "later_parts", "rows_of"]

Learner: TypeAlias = Literal["t", "x", "dr"]

_LEARNERS = ("dr", "t", "x")
_FEWEST = 50
"""So many rows of each arm are the least that a model is fitted on."""
_FEWEST_TO_A_PART = 75
"""So many are in a part on average, so that hardly any has fewer than that."""


class _Trial(NamedTuple):
    """The rows of two arms."""

    X: Floats
    is_treated: Bools
    outcome: Floats
    propensity: Floats


class _Fitted(NamedTuple):
    """The outcome models of both arms, and the effect's with their weights where it has some of its own."""

    features: TreeFeatures
    treated: CautiousTrees
    control: CautiousTrees
    effect: list[tuple[float, CautiousTrees]]


class UpliftModel(BaseEstimator):  # type: ignore[misc]
    """Learns what a treatment does to each contact, beyond what it does on average, by LightGBM.

    - "t" fits the outcome of each arm by itself and takes the difference.
    - "x" fits what each contact's outcome differs by from what the other arm's model expects of it, in both arms, and
      takes their mean weighted by propensity (Künzel, S. R., Sekhon, J. S., Bickel, P. J. and Yu, B. (2019),
      Metalearners for estimating heterogeneous treatment effects using machine learning, PNAS 116, 4156-4165).
    - "dr" fits doubly robust scores whose outcome models did not see the row (Kennedy, E. H. (2023), Towards optimal
      doubly robust estimation of heterogeneous causal effects, Electronic Journal of Statistics 17, 3008-3049).

    "x" and "dr" fit the effect itself by `CautiousTrees`, so that where nothing tells contacts apart beyond noise,
    everybody is told the mean effect. The arms must have been drawn by chance, with the probability given. Fits are
    the same for the same seed and rows in the same order.

    Args:
        learner: "dr", "t" or "x".
        n_folds: for "dr", in how many folds its outcome models are fitted; two or more.
        n_threads: how many threads LightGBM may use.
        seed: of all folds.

    Attributes, once fitted:
        treated_, control_: the arms.
        feature_names_in_: the features, in order; `n_features_in_` is how many.

    >>> rng = np.random.default_rng(1)
    >>> city, arm = rng.choice(["Gdynia", "Lublin"], 4000), rng.choice(["mail", "none"], 4000)
    >>> trial = pd.DataFrame({"city": city, "arm": arm})
    >>> lifted = (trial["city"] == "Gdynia") & (trial["arm"] == "mail")
    >>> trial["visit"] = rng.random(4000) < np.where(lifted, 0.3, 0.1)
    >>> model = UpliftModel().fit(trial, features=["city"], treated="mail", control="none", outcome="visit")
    >>> model.predict(pd.DataFrame({"city": ["Gdynia", "Lublin"]})).round(1).abs().tolist()
    [0.2, 0.0]
    """

    def __init__(self, learner: Learner = "dr", *, n_folds: int = 5, n_threads: int = 1, seed: int = 0) -> None:
        self.learner, self.n_folds, self.n_threads, self.seed = learner, n_folds, n_threads, seed

    def __repr__(self) -> str:
        state = f"{self.treated_} against {self.control_}" if hasattr(self, "treated_") else "not fitted"
        return f"UpliftModel({self.learner}, {state})"

    def fit(
        self,
        frame: Table,
        *,
        features: Sequence[str],
        treated: str,
        control: str,
        outcome: str,
        arm: str = "arm",
        propensity: float | str | None = None,
    ) -> UpliftModel:
        """The model, fitted on the rows of two arms; rows of other arms are none of its business.

        Args:
            frame: a table with a row for each contact, or whatever else arms were drawn for.
            features: columns of what was known of contacts before: numbers, flags or texts; may be missing.
            treated: an arm.
            control: another one, with which it is compared.
            outcome: the column of what came of it: numbers or flags; none missing.
            arm: the column of arms; numbers are named by their text.
            propensity: the probability of `treated` rather than `control`: a number, or a column of them; by default
                the share of the treated among the two, which is right where all had the same chance.

        Raises:
            DataError: for a learner or a number of folds that is none, unknown columns or arms, missing outcomes,
                probabilities outside of (0, 1), or fewer than 50 rows of an arm.
            JourneyLabError: when LightGBM is missing.
        """
        if self.learner not in _LEARNERS:
            raise DataError(f"no learner {self.learner!r}; {known(str(self.learner), _LEARNERS, 'learners')}")
        if self.n_folds < 2:
            raise DataError(f"n_folds={self.n_folds}: outcome models that did not see a row need two folds or more")
        frame = frame_of(frame)
        known_as = TreeFeatures.of(frame, features)
        trial = _trial(frame, known_as, arm, treated, control, outcome, propensity)
        self._fitted = self._learned(known_as, trial)
        self.treated_, self.control_ = treated, control
        self.feature_names_in_ = np.array(known_as.columns, object)
        self.n_features_in_ = len(known_as.columns)
        return self

    def _learned(self, features: TreeFeatures, trial: _Trial) -> _Fitted:
        lightgbm()
        X, w, y, p = trial  # noqa: N806

        def trees() -> CautiousTrees:
            return CautiousTrees(features.categories, seed=self.seed, n_threads=self.n_threads)

        one, zero = trees().fit(X[w], y[w]), trees().fit(X[~w], y[~w])
        effect = []
        if self.learner == "x":
            share = float(p.mean())
            effect = [
                (1 - share, trees().fit(X[w], y[w] - zero.predict(X[w]))),
                (share, trees().fit(X[~w], one.predict(X[~w]) - y[~w])),
            ]
        elif self.learner == "dr":
            fold = folds(np.arange(len(y)), self.n_folds, np.random.default_rng(self.seed))
            scores = np.empty(len(y))
            for k in range(self.n_folds):
                out, rest = fold == k, fold != k
                means = [
                    trees().fit(X[rows], y[rows], arm.n_rounds_).predict(X[out])
                    for rows, arm in ((rest & w, one), (rest & ~w, zero))
                ]
                scores[out] = doubly_robust_scores(y[out], w[out], p[out], *means)
            effect = [(1.0, trees().fit(X, scores))]
        return _Fitted(features, one, zero, effect)

    def _ready(self) -> _Fitted:
        require_fitted(self)
        return self._fitted

    def predict(self, frame: Table) -> pd.Series:
        """The effect expected on each row, float64 in units of the outcome, named `uplift`, indexed as the table.

        Raises:
            DataError: for columns that are not there or are of another kind than those of the fit.
            NotFitted: before `fit`.
        """
        fitted, frame = self._ready(), as_frame(frame)
        X = fitted.features.matrix(frame)  # noqa: N806
        weighted = fitted.effect or [(1.0, fitted.treated), (-1.0, fitted.control)]
        values = np.sum([weight * trees.predict(X) for weight, trees in weighted], axis=0)
        return pd.Series(values, index=frame.index, name="uplift", dtype=float)

    def outcomes(self, frame: Table) -> pd.DataFrame:
        """The outcome expected of each row with the `treated` and with the `control`: two columns of float64.

        Raises:
            DataError, NotFitted: as for `predict`.
        """
        fitted, frame = self._ready(), as_frame(frame)
        X = fitted.features.matrix(frame)  # noqa: N806
        return pd.DataFrame(
            {"treated": fitted.treated.predict(X), "control": fitted.control.predict(X)}, index=frame.index
        )

    # scikit-learn's own picture of a model has scripts.
    _repr_mimebundle_ = None

    def _repr_html_(self) -> str:
        given = [(name, getattr(self, name)) for name in ("learner", "n_folds", "n_threads", "seed")]
        return block(repr(self), facts(given))


def _trial(
    frame: pd.DataFrame,
    features: TreeFeatures,
    arm: str,
    treated: str,
    control: str,
    outcome: str,
    propensity: float | str | None,
) -> _Trial:
    """The rows of the two arms as arrays, with every fault of the table named at once."""
    two = rows_of(frame, arm, [treated, control])
    require(two, [("outcome", outcome), *([("propensity", propensity)] if isinstance(propensity, str) else [])])
    faults = Faults(two)
    y = numbers(two, outcome, faults, missing="must give an outcome in every row; say 0 where nothing came of it")
    is_treated = (two[arm] == treated).to_numpy(dtype=bool)
    if isinstance(propensity, str):
        p = numbers(two, propensity, faults, missing="must give a probability in every row")
        faults.rows(propensity, (p <= 0) | (p >= 1), p, "must lie above 0 and below 1, as chance drew the arm")
    else:
        share = is_treated.mean() if propensity is None else propensity
        if not 0 < share < 1:
            raise DataError(f"propensity={share}: the probability of the treatment lies above 0 and below 1")
        p = np.full(len(two), float(share))
    faults.raise_if_any()
    return _Trial(features.matrix(two), is_treated, y, p)


def rows_of(frame: pd.DataFrame, arm: str, arms: Sequence[str], n_parts: int = 1) -> pd.DataFrame:
    """The rows of some arms, their names as texts, enough for a model to be fitted on each of so many parts.

    Raises:
        DataError: for an unknown column or arm, an arm named twice, a missing arm, or too few rows of one.
    """
    require(frame, [("arm", arm)])
    frame = frame.assign(**{arm: frame[arm].map(str, na_action="ignore")})
    counts = frame[arm].value_counts()
    if len(set(arms)) < len(arms):
        raise DataError(f"an arm is compared with others, not with itself: {', '.join(map(repr, arms))}")
    for one in arms:
        if one not in counts.index:
            raise DataError(f"no arm {one!r} in column {arm!r}; {known(str(one), counts.index, 'arms')}")
        least = _FEWEST if n_parts == 1 else _FEWEST_TO_A_PART * n_parts
        if counts[one] < least:
            of_parts = f" in {n_parts} parts" if n_parts > 1 else ""
            raise DataError(f"arm {one!r} has {counted(int(counts[one]), 'row')}; {least} are the least{of_parts}")
    faults = Faults(frame)
    faults.rows(arm, frame[arm].isna().to_numpy(), frame[arm].to_numpy(), "must name an arm in every row")
    faults.raise_if_any()
    return frame[frame[arm].isin(list(arms))]


def later_parts(n: int, n_parts: int, seed: int) -> Iterator[tuple[Ints, Ints]]:
    """For each part but the first: the rows of the parts before it, to learn from, and its own, to judge on.

    Judging each part by what was learned from all others would let every row be on both sides, and errors that take
    the parts for independent would be too small; in a sequence they add up as they should (Luedtke, A. R. and van der
    Laan, M. J. (2016), Statistical inference for the mean outcome under a possibly non-unique optimal treatment
    strategy, Annals of Statistics 44, 713-742).

    Args:
        n: rows.
        n_parts: two or more.
        seed: of who is in which part.

    Raises:
        DataError: for fewer than two parts.

    >>> [(len(before), len(now)) for before, now in later_parts(10, 5, seed=0)]
    [(2, 2), (4, 2), (6, 2), (8, 2)]
    """
    if n_parts < 2:
        raise DataError(f"n_parts={n_parts}: one to learn from and one to judge on are the least")
    part = folds(np.arange(n), n_parts, np.random.default_rng(seed))
    for k in range(1, n_parts):
        yield np.flatnonzero(part < k), np.flatnonzero(part == k)


def judge_uplift(
    model: UpliftModel,
    frame: Table,
    *,
    features: Sequence[str],
    treated: str,
    control: str,
    outcome: str,
    arm: str = "arm",
    propensity: float | str | None = None,
    n_parts: int = 5,
    top: Sequence[float] = (0.1, 0.2, 0.3),
    level: float = 0.95,
    progress: Progress = None,
) -> JudgedRanking:
    """What the model's ranking is worth on contacts it was not fitted on, as a `JudgedRanking`.

    The rows of the two arms are cut into parts by chance. Each but the first is ranked by a model fitted on the parts
    before it, and scored doubly robustly with that model's outcomes, so that the figures are of all parts but the
    first, and of models that knew somewhat less than one fitted on all.

    Args:
        model: says the learner and the seed; it is not changed.
        frame: as for `UpliftModel.fit`, as are the next six.
        features: columns.
        treated: an arm.
        control: another arm.
        outcome: a column.
        arm: a column.
        propensity: a number or a column.
        n_parts: two or more.
        top: the shares at which uplift is shown.
        level: of all intervals.
        progress: `True` for a bar, or what to call with the parts done and in all; see `journeylab.progress`.

    Raises:
        DataError, JourneyLabError: as for `UpliftModel.fit`, and for fewer than two parts.
    """
    two = rows_of(frame_of(frame), arm, [treated, control], n_parts).reset_index(drop=True)
    whole = _trial(two, TreeFeatures.of(two, features), arm, treated, control, outcome, propensity)
    scores, ranks = [], []
    with shown(progress, f"learning whom {treated} moves") as tell:
        for before, now in later_parts(len(two), n_parts, model.seed):
            fitted = clone(model).fit(
                two.iloc[before], features=features, treated=treated, control=control, outcome=outcome, arm=arm,
                propensity=propensity,
            )  # fmt: skip
            means, uplift = fitted.outcomes(two.iloc[now]), fitted.predict(two.iloc[now])
            scores.append(
                doubly_robust_scores(
                    whole.outcome[now], whole.is_treated[now], whole.propensity[now], means["treated"], means["control"]
                )
            )
            ranks.append(shares_within(uplift, np.zeros(len(now), np.int64)))
            tell(len(ranks), n_parts - 1)
    return judge_ranking(np.concatenate(scores), np.concatenate(ranks), top=top, level=level)
