"""The hazard of an answer after a send, hour by hour, by boosted trees on what was known then."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

import numpy as np

from journeylab.errors import DataError, JourneyLabError
from journeylab.sendtimes import WEEK

from .features import CONTACT_COLUMNS, ContactCurves, contact_features
from .sends import HOUR_US, SendTable
from .treegrid import MOST_LEAVES, TreeGrid

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["TIME_COLUMNS", "HazardModel", "period_rows"]

TIME_COLUMNS = (
    "sent_hour", "sent_day", "sent_sin", "sent_cos", "bin", "bin_hour", "bin_day", "bin_sin", "bin_cos",
)  # fmt: skip
"""When a send went and where one is in the time after it: local hour and day, at the send and at the bin's start."""
_DAY = 24
_BLOCK = 1_000  # contacts


class HazardModel(ContactCurves):
    """Learns, hour by hour after a send, the chance that it is answered now if it was not before: a discrete hazard.

    Every send is a row for each bin of the time after it, up to its answer (Allison, Sociological Methodology 13, 1982;
    Singer and Willett, Journal of Educational Statistics 18, 1993). LightGBM learns from them whether it was answered
    in the bin, by `features.contact_features` as of the send and the local hours of the send and of the bin's start.
    Bins that were not looked at to their end do not count. The chance of a send at an hour is 1 less the product, over
    bins, of 1 less the hazard, for contacts as they were known at the last send and the rate of all messages for the
    message's. What its curves may claim is tested as with any other model (`evidence_`); whatever hours were chosen
    for is only held apart as far as the features tell it.

    Where there would be more than `most_rows` rows, sends without any answer are drawn, and their rows count for those
    that were not, by weight, so that hazards stay what they are.

    Errors are not known of trees: the intervals of `scores` and of gains are NaN.

    Args:
        bins: where bins end, in whole hours after the send; those from `within` on are replaced by it.
        n_trees, n_leaves, learning_rate, min_child_samples: of the trees, as in LightGBM; at most 32 leaves.
        most_rows: how many rows to learn from at the most, but for those of answered sends.
        n_jobs: how many threads LightGBM may use; more than are idle make it slower.
        rng: a seed, or a generator to draw one from. A generator moves on at each fit.

    Attributes, once fitted (beside those of `SendTimeEstimator`):
        booster_: the LightGBM booster.
        bin_starts_, bin_ends_: int64, hours after the send.

    Raises:
        JourneyLabError: when LightGBM, or the OpenMP library that it needs, is not installed; by `fit`.

    >>> from journeylab import datasets
    >>> from journeylab.sendtime.sends import send_table
    >>> model = HazardModel(n_trees=20).fit(send_table(datasets.shop(), outcome="opened"))
    >>> model.scores().chance.shape[1], model.bin_ends_.tolist()
    (168, [1, 3, 6, 12, 24, 48, 336])
    """

    def __init__(
        self,
        bins: tuple[int, ...] = (1, 3, 6, 12, 24, 48),
        *,
        n_trees: int = 100,
        n_leaves: int = 24,
        learning_rate: float = 0.1,
        min_child_samples: int = 100,
        most_rows: int = 1_000_000,
        n_jobs: int = 1,
        rng: np.random.Generator | int = 0,
    ) -> None:
        self.bins = bins
        self.n_trees = n_trees
        self.n_leaves = n_leaves
        self.learning_rate = learning_rate
        self.min_child_samples = min_child_samples
        self.most_rows = most_rows
        self.n_jobs = n_jobs
        self.rng = rng

    def _fit_learner(self, sends: SendTable) -> None:
        lightgbm = _lightgbm()
        if not 2 <= self.n_leaves <= MOST_LEAVES:
            raise DataError(f"n_leaves={self.n_leaves}: a tree has from 2 to {MOST_LEAVES} leaves here")
        rng = np.random.default_rng(self.rng)
        seed = int(rng.integers(2**31))
        starts, ends = _bins(self.bins, sends.within)
        row, number, answered = period_rows(sends, ends)
        weight = np.ones(len(row))
        if len(row) > self.most_rows:
            kept, weight_of = _drawn(sends.answered, np.bincount(row, minlength=len(sends)), self.most_rows, rng)
            mine = kept[row]
            row, number, answered = row[mine], number[mine], answered[mine]
            weight = weight_of[row]
        hour = sends.hour_of_week
        known = contact_features(sends, sends.contact, sends.at, sends.message).astype(np.float32)
        design = np.hstack([known[row], _times(hour[row], number, starts).astype(np.float32)])
        data = lightgbm.Dataset(
            design, answered.astype(np.float64), weight=weight, feature_name=[*CONTACT_COLUMNS, *TIME_COLUMNS],
            free_raw_data=True,
        )  # fmt: skip
        parameters = {
            "objective": "binary", "num_leaves": self.n_leaves, "learning_rate": self.learning_rate,
            "min_data_in_leaf": self.min_child_samples, "lambda_l2": 1.0, "use_missing": False, "seed": seed,
            "num_threads": self.n_jobs, "deterministic": True, "force_row_wise": True, "verbosity": -1,
        }  # fmt: skip
        self.booster_ = lightgbm.train(parameters, data, self.n_trees)
        self.bin_starts_, self.bin_ends_ = starts, ends
        cells = np.repeat(np.arange(WEEK), len(ends)), np.tile(np.arange(len(ends)), WEEK)
        self._grid = TreeGrid(self.booster_, _times(*cells, starts).astype(np.float32))

    def _chances_of(self, known: NDArray[np.float64], near: NDArray[np.float32]) -> NDArray[np.float32]:  # noqa: ARG002
        chance = np.empty((len(known), WEEK), np.float32)
        for first in range(0, len(known), _BLOCK):
            odds = self._grid.raw_scores(known[first : first + _BLOCK])
            # log(1 - hazard) is -log(1 + exp(log-odds)), and adds up over bins.
            survived = -np.logaddexp(0, odds).reshape(len(odds), WEEK, -1).sum(axis=2)
            chance[first : first + _BLOCK] = -np.expm1(survived)
        return chance

    def _about(self, used: set[str], assume_causal: bool) -> dict[str, Any]:
        about = super()._about(used, assume_causal)
        if isinstance(self.rng, np.random.Generator):  # its text would have a place in memory
            about["parameters"]["rng"] = "a generator"
        return about


def _lightgbm() -> Any:
    try:
        import lightgbm
    except ImportError:
        raise JourneyLabError('HazardModel needs LightGBM: pip install "journeylab[models]"') from None
    except OSError as problem:
        raise JourneyLabError(
            f"LightGBM finds no OpenMP library ({problem}): install it, on Debian as the package libgomp1"
        ) from None
    return lightgbm


def _bins(ends: tuple[int, ...], within: timedelta) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Where the bins start and end, in hours; the last one ends with `within`."""
    hours = np.asarray(ends)
    if hours.ndim != 1 or not (np.diff(hours, prepend=0) >= 1).all() or (hours % 1 != 0).any():
        raise DataError(f"bins={ends!r}: they are whole hours that rise, such as (1, 3, 6, 12, 24, 48)")
    last = -(-within // timedelta(hours=1))
    found = np.append(hours[hours < last], last).astype(np.int64)
    return np.append(0, found[:-1]), found


def period_rows(
    sends: SendTable, ends: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.bool_]]:
    """A row for each send and bin in which it could still be answered, as (send, bin, whether it was), in that order.

    Args:
        sends: the sends.
        ends: int64, where bins end, in hours after the send; a bin has its end and not its start.
    """
    until = np.minimum(ends * HOUR_US, sends.within // timedelta(microseconds=1))
    after = sends.after[sends.outcome]
    n_seen = np.searchsorted(until, sends.looked, side="right")  # bins that were looked at to their end
    at = np.searchsorted(until, after)  # the bin of the answer; beyond the last where there was none
    n_rows = np.minimum(n_seen, at + 1)
    row = np.repeat(np.arange(len(sends)), n_rows)
    number = np.arange(len(row)) - np.repeat(np.cumsum(n_rows) - n_rows, n_rows)
    return row, number, number == at[row]


def _drawn(
    answered: NDArray[np.bool_], n_rows: NDArray[np.int64], most: int, rng: np.random.Generator
) -> tuple[NDArray[np.bool_], NDArray[np.float64]]:
    """Which sends are kept, all of the answered ones, and what a row of each weighs."""
    of_others = int(n_rows[~answered].sum())
    share = min(max((most - int(n_rows[answered].sum())) / max(of_others, 1), 0.02), 1.0)
    kept = answered | (rng.random(len(answered)) < share)
    return kept, np.where(answered, 1.0, 1 / share)


def _times(hour: NDArray[np.int64], number: NDArray[np.int64], starts: NDArray[np.int64]) -> NDArray[np.float64]:
    """`TIME_COLUMNS` of sends at local hours of the week and bins after them: float64 (row, 9)."""
    then = (hour + starts[number]) % WEEK
    columns = []
    for one in (hour, then):
        turn = 2 * np.pi * (one + 0.5) / _DAY
        columns.append([one % _DAY, one // _DAY, np.sin(turn), np.cos(turn)])
    return np.column_stack([*columns[0], number, *columns[1]]).astype(np.float64)
