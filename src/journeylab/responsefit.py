"""One response's model: validated by time against the shrunken rates, used only where it beats them, and its error.

The error of a level is that of the intercept which a message would need: the sandwich of scores summed by contact
(Liang and Zeger (1986), Longitudinal data analysis using generalized linear models, Biometrika 73, 13-22); and, where
levels moved by more than that, the variance between the weeks of a message (DerSimonian and Laird (1986),
Meta-analysis in clinical trials, Controlled Clinical Trials 7, 177-188), or by how far the validation's sends were off.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pandas as pd
from scipy.special import expit
from scipy.stats import chi2

from .clock import DAY
from .delays import DelaysByMessage, DelayTable, delay_table, delays_by_message
from .estimators import BoostedResponses, ShrunkenRates, information, log_losses, recalibrated, scores
from .visits import wilson_interval

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from .sendhistory import Seen, Sends

__all__ = ["N_SLOTS", "FittedResponse", "fit_response"]

N_SLOTS, N_TENURES, N_CELLS = 6, 6, 8
_LEAST_EXPOSURE = 0.02
_LEAST_RESPONSES, _LEAST_TESTED = 20, 50
_N_BINS = 10
_UNKNOWN_SPREAD, _UNTOLD_SPREAD = 0.5, 0.3
_ALPHA, _FEW = 0.05, 20.0


@dataclass(frozen=True, eq=False)
class FittedResponse:
    """One response's estimator, its delays, its error in log-odds, and what it was worth out of time."""

    estimator: BoostedResponses | ShrunkenRates
    delays: DelayTable
    shift_sd: NDArray[np.float64]
    unseen_sd: float
    cell_edges: NDArray[np.float64]
    cell_sd: NDArray[np.float64]
    validation: dict[str, Any]
    calibration: pd.DataFrame

    def log_odds(self, design: NDArray[np.float64]) -> NDArray[np.float64]:
        """The log-odds of the response for rows of features with the message behind them."""
        return self.estimator._log_odds(design)


class _Rows(NamedTuple):
    """What a response is fitted to: the rows of the sends, what was seen of them, and who they were sent to."""

    rows: NDArray[np.int64]
    design: NDArray[np.float64]
    came: NDArray[np.float64]
    exposure: NDArray[np.float64]
    contact: NDArray[np.int64]


def fit_response(
    sends: Sends,
    response: str,
    design: NDArray[np.float64],
    clusters: NDArray[np.int64],
    slots: NDArray[np.int64],
    tenures: NDArray[np.int64],
    cut_us: int,
    seed: int,
    n_jobs: int,
) -> FittedResponse:
    """The model of one response, validated on the sends from `cut_us` on and fitted to all.

    `design` has the features of every send and its message in the last column; `clusters` a number for each send that
    is the same for the same contact in every log; `slots` the slot of each send, and `tenures` that of how long the
    contact was known. How soon a conversion comes depends on that: who has just come buys at once or later.
    """
    kinds = _Kinds(tenures, N_TENURES, _FEW) if response == "converted" else _Kinds(sends.message, len(sends.messages))
    end_us = sends.log.end_us
    group = design.shape[1] - 1
    early = sends.seen(response, cut_us)
    distribution = _distribution(early, kinds, sends)
    before = _rows(early, distribution, kinds, design, clusters)
    boosted = BoostedResponses(group, n_jobs=n_jobs, random_state=seed)
    n_came = int(before.came.sum())
    is_worth_trying = min(n_came, len(before.came) - n_came) >= _LEAST_RESPONSES
    after = _tested(sends, response, distribution, kinds, design, clusters, cut_us)
    baseline = trees = None
    if len(before.came):
        baseline = ShrunkenRates(group).fit(before.design, before.came, before.exposure)
        if is_worth_trying:
            trees = boosted.fit(before.design, before.came, before.exposure, before.contact)
    validation, calibration = _validated(response, baseline, trees, after, len(before.came))
    seen = sends.seen(response, end_us)
    whole = _distribution(seen, kinds, sends)
    rows = _rows(seen, whole, kinds, design, clusters)
    estimator: BoostedResponses | ShrunkenRates = ShrunkenRates(group)
    if validation["used"] == "boosted" and trees is not None:
        estimator = BoostedResponses(group, n_jobs=n_jobs, random_state=seed)
        estimator.fit(rows.design, rows.came, rows.exposure, rows.contact, trees.n_rounds_)
        z, rates = estimator.out_of_fold_, estimator.baseline_
    else:
        estimator = rates = ShrunkenRates(group).fit(rows.design, rows.came, rows.exposure)
        z = estimator._log_odds(rows.design)
    shift_sd, unseen_sd = _errors(z, rows, sends, rates, _drift(validation))
    edges = np.full(N_CELLS - 1, np.inf)
    if isinstance(estimator, BoostedResponses):
        edges = np.quantile(z, np.linspace(0, 1, N_CELLS + 1)[1:-1])
    cell_sd = _errors_by_cell(z, rows, sends, edges)
    if not isinstance(estimator, BoostedResponses):
        # Rates know nothing of whom a journey reaches, who may be far from the mean of all who were sent to.
        cell_sd = np.sqrt(cell_sd**2 + _UNTOLD_SPREAD**2)
    came = seen.rows[seen.came]
    n_slots = N_SLOTS if response not in ("clicked", "converted") else 1
    table = delay_table(
        seen.after[seen.came], seen.looked[seen.came], kinds.of[came],
        slots[came] if n_slots > 1 else np.zeros(len(came), np.int64), kinds.n, n_slots, sends.within_us,
        kinds.own_share_at,
    )  # fmt: skip
    return FittedResponse(
        estimator,
        table,
        shift_sd,
        unseen_sd,
        edges,
        cell_sd,
        validation,
        calibration,
    )


class _Kinds(NamedTuple):
    """The kind of each send by which its delays are told apart, and how many responses make a kind half its own."""

    of: NDArray[np.int64]
    n: int
    own_share_at: float = 100.0


def _distribution(seen: Seen, kinds: _Kinds, sends: Sends) -> DelaysByMessage:
    of = kinds.of[seen.rows[seen.came]]
    after, looked = seen.after[seen.came], seen.looked[seen.came]
    return delays_by_message(after, looked, of, kinds.n, sends.within_us, kinds.own_share_at)


def _exposure(distribution: DelaysByMessage, seen: Seen, kinds: _Kinds) -> NDArray[np.float64]:
    """How much of what comes one would have seen of each send."""
    return np.clip(distribution.share(kinds.of[seen.rows], seen.looked), 0.0, 1.0)


def _rows(
    seen: Seen,
    distribution: DelaysByMessage,
    kinds: _Kinds,
    design: NDArray[np.float64],
    clusters: NDArray[np.int64],
) -> _Rows:
    """What is learned from: sends one has hardly looked at yet say nothing and are left out, whatever came of them."""
    exposure = _exposure(distribution, seen, kinds)
    kept = exposure >= _LEAST_EXPOSURE
    rows = seen.rows[kept]
    taken = design if len(rows) == len(design) else design[rows]
    return _Rows(rows, taken, seen.came[kept].astype(np.float64), exposure[kept], clusters[rows])


def _tested(
    sends: Sends,
    response: str,
    distribution: DelaysByMessage,
    kinds: _Kinds,
    design: NDArray[np.float64],
    clusters: NDArray[np.int64],
    cut_us: int,
) -> _Rows:
    """The sends from the cut on whose outcome is known by the log's end."""
    seen = sends.seen(response, sends.log.end_us)
    start = sends.came[response].start[seen.rows]
    late = (sends.at[seen.rows] >= cut_us) & (start <= sends.log.end_us - sends.within_us)
    exposure = _exposure(distribution, seen, kinds)
    kept = late & (exposure >= _LEAST_EXPOSURE)
    rows = seen.rows[kept]
    return _Rows(rows, design[rows], seen.came[kept].astype(np.float64), exposure[kept], clusters[rows])


def _validated(
    response: str, baseline: ShrunkenRates | None, trees: BoostedResponses | None, test: _Rows, n_before: int
) -> tuple[dict[str, Any], pd.DataFrame]:
    """What both models were worth out of time, as a row of the validation, and the bins of their calibration."""
    n, n_came = len(test.came), int(test.came.sum())
    row: dict[str, Any] = {
        "n_sends": n, "n_responses": n_came, "rate": n_came / n if n else np.nan,
        **dict.fromkeys(("log_loss", "baseline_log_loss", "brier", "baseline_brier", "gain", "gain_se"), np.nan),
        "used": "baseline",
        **dict.fromkeys(("calibration_intercept", "calibration_intercept_se", "calibration_slope"), np.nan),
    }  # fmt: skip
    if not n or baseline is None:
        return row, _bins(response, "baseline", np.empty(0), np.empty(0))
    z = {"baseline": baseline._log_odds(test.design)}
    losses = {"baseline": log_losses(z["baseline"], test.came, test.exposure)}
    row["baseline_log_loss"] = float(losses["baseline"].mean())
    row["baseline_brier"] = float(((test.exposure * expit(z["baseline"]) - test.came) ** 2).mean())
    if trees is not None:
        z["boosted"] = trees._log_odds(test.design)
        losses["boosted"] = log_losses(z["boosted"], test.came, test.exposure)
        row["log_loss"] = float(losses["boosted"].mean())
        row["brier"] = float(((test.exposure * expit(z["boosted"]) - test.came) ** 2).mean())
        row["gain"], row["gain_se"] = _mean_by_contact(losses["baseline"] - losses["boosted"], test.contact)
        if row["gain"] > row["gain_se"] and n >= _LEAST_TESTED:
            row["used"] = "boosted"
    used = z[row["used"]]
    if 0 < n_came < n:
        moved = row["calibration_intercept"] = recalibrated(used, test.came, test.exposure)[0]
        error = _error(used + moved, test)
        row["calibration_intercept_se"] = error * (1 + n / n_before) ** 0.5  # the fit erred as well
        if np.ptp(used) > 1e-6:
            row["calibration_slope"] = recalibrated(used, test.came, test.exposure, slope=True)[1]
    bins = [_bins(response, model, test.exposure * expit(one), test.came) for model, one in z.items()]
    return row, pd.concat(bins, ignore_index=True)


def _mean_by_contact(values: NDArray[np.float64], contact: NDArray[np.int64]) -> tuple[float, float]:
    """A mean and its standard error, a contact's values taken together."""
    mean = float(values.mean())
    _, place = np.unique(contact, return_inverse=True)
    sums = np.bincount(place, values - mean)
    return mean, float(np.sqrt((sums**2).sum()) / len(values))


def _bins(response: str, model: str, predicted: NDArray[np.float64], came: NDArray[np.float64]) -> pd.DataFrame:
    """Predicted against observed rates in bins of about as many sends each; equal predictions share a bin."""
    edges = np.unique(np.quantile(predicted, np.linspace(0, 1, _N_BINS + 1)[1:-1])) if len(predicted) else predicted
    place = np.unique(np.searchsorted(edges, predicted, side="left"), return_inverse=True)[1]
    n = np.bincount(place)
    n_came = np.bincount(place, came)
    low, high = wilson_interval(n_came, n)
    return pd.DataFrame(
        {
            "response": response,
            "model": model,
            "bin": np.arange(len(n)),
            "n_sends": n,
            "predicted_rate": np.bincount(place, predicted) / n,
            "observed_rate": n_came / n,
            "low": low,
            "high": high,
        }
    )


def _error(z: NDArray[np.float64], rows: _Rows) -> float:
    """The standard error of an intercept, a contact's rows taken together."""
    _, place = np.unique(rows.contact, return_inverse=True)
    squares = float((np.bincount(place, scores(z, rows.came, rows.exposure)) ** 2).sum())
    known = float(information(z, rows.exposure).sum())
    return float((max(squares / known, 1.0) / known) ** 0.5)


def _drift(validation: dict[str, Any]) -> float:
    """The variance by which the level of later sends was missed in the validation, beyond what chance explains."""
    missed, error = (validation[name] for name in ("calibration_intercept", "calibration_intercept_se"))
    return float(np.nan_to_num(max(0.0, missed**2 - error**2)))


def _errors(
    z: NDArray[np.float64], rows: _Rows, sends: Sends, rates: ShrunkenRates, drift: float
) -> tuple[NDArray[np.float64], float]:
    """The standard deviation of each message's level in log-odds, and that of a message that was never sent."""
    n_messages = len(sends.messages)
    message = sends.message[rows.rows]
    score, known = scores(z, rows.came, rows.exposure), information(z, rows.exposure)
    total, inflation = _clustered(score, known, message, n_messages, rows, sends)
    week = (sends.at[rows.rows] - 4 * DAY) // (7 * DAY)  # from Mondays on
    unrest = max(_between_weeks(score, known, message, week, inflation), drift)
    # What is known of a message by itself, and, as rates are drawn together, by the mean and the likeness of all.
    spread = rates.spread_ if n_messages > 1 else _UNKNOWN_SPREAD
    with np.errstate(divide="ignore", invalid="ignore"):
        own = np.where(total > 0, inflation / total, np.inf)
        drawn = np.where(total > 0, own / (own + spread**2), 1.0)
        level = 1 / (1 / own + spread**-2) + drawn**2 / total.sum()
    unseen = np.sqrt(spread**2 * (1 + 1 / n_messages) + 1 / total.sum() + unrest)
    return np.where(total > 0, np.sqrt(level + unrest), unseen), float(unseen)


def _clustered(
    score: NDArray[np.float64],
    known: NDArray[np.float64],
    group: NDArray[np.int64],
    n_groups: int,
    rows: _Rows,
    sends: Sends,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The information of each group, and by how much the likeness of a contact's sends inflates its variance."""
    total: NDArray[np.float64] = np.bincount(group, known, n_groups).astype(np.float64)
    contact = sends.log.rank[sends.contact[rows.rows]]  # sums in the same order, whatever contacts' codes
    pairs, place = np.unique(group * sends.log.n_contacts + contact, return_inverse=True)
    squares = np.bincount(pairs // sends.log.n_contacts, np.bincount(place, score) ** 2, n_groups)
    with np.errstate(divide="ignore", invalid="ignore"):
        return total, np.maximum(squares / total, 1.0)


def _errors_by_cell(
    z: NDArray[np.float64], rows: _Rows, sends: Sends, edges: NDArray[np.float64]
) -> NDArray[np.float64]:
    """The standard deviation of the level's error in each cell of a message and a range of log-odds.

    A journey reaches other contacts than the log's sends did, and a model may be too low for some while it is too high
    for others. So each cell has the error that its own sends leave open, beside the message's.
    """
    cell = sends.message[rows.rows] * N_CELLS + np.searchsorted(edges, z, side="right")
    n_cells = len(sends.messages) * N_CELLS
    score, known = scores(z, rows.came, rows.exposure), information(z, rows.exposure)
    total, inflation = _clustered(score, known, cell, n_cells, rows, sends)
    with np.errstate(divide="ignore", invalid="ignore"):
        own = np.where(total > 0, inflation / total, np.inf)
    return np.sqrt(1 / (1 / own + _UNKNOWN_SPREAD**-2)).reshape(len(sends.messages), N_CELLS)


def _between_weeks(
    score: NDArray[np.float64],
    known: NDArray[np.float64],
    message: NDArray[np.int64],
    week: NDArray[np.int64],
    inflation: NDArray[np.float64],
) -> float:
    """The variance between the weeks of a message beyond chance; 0 where it may well be chance."""
    week = week - week.min()
    width = int(week.max()) + 1
    blocks, place = np.unique(message * width + week, return_inverse=True)
    of = blocks // width
    n_known = np.bincount(place, known)
    weight, shift = n_known / inflation[of], np.bincount(place, score) / n_known
    kept = n_known >= 1.0  # a block that says less is all noise, and not normal
    weight, shift, of = weight[kept], shift[kept], of[kept]
    if not len(of):
        return 0.0
    total, squares = np.bincount(of, weight), np.bincount(of, weight**2)
    mean = np.bincount(of, weight * shift) / np.where(total > 0, total, 1)
    q = float((weight * (shift - mean[of]) ** 2).sum())
    freedom = len(of) - int(np.count_nonzero(total))
    room = float((total - squares / np.where(total > 0, total, 1)).sum())
    if freedom < 1 or room <= 0 or q < chi2.ppf(1 - _ALPHA, freedom):
        return 0.0
    return max(0.0, (q - freedom) / room)
