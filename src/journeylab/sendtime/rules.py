"""Two models that know little: one best hour for everyone, and the rule of thumb that most senders use today."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from journeylab.clock import NEVER
from journeylab.errors import DataError
from journeylab.sendtimes import WEEK

from .estimator import HourScores, SendTimeEstimator
from .sends import HOUR_US, SendTable

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

__all__ = ["BestGlobalHour", "MedianOfOpens"]

_DAY = 24
_BLOCK = 50_000  # contacts
_N_ROUNDS = 10  # of fitting strata and hours in turn, after which nothing moves
_DISTANCE = np.abs((np.arange(_DAY)[:, None] - np.arange(_DAY) + _DAY // 2) % _DAY - _DAY // 2)  # on the clock's face
_MONDAY, _TUESDAY, _THURSDAY = 0, 1, 3


class BestGlobalHour(SendTimeEstimator):
    """Learns one curve for everyone: what each hour of the week does to the chance of an answer.

    It is learned from the sends at drawn hours, where there are any, otherwise from all. Answers of an hour are held
    against those that were due there, if hours made no difference, of sends of the same message whose hour was drawn
    from the same hours; both are smoothed over neighbouring hours, across midnight and the week's end. The ratio is
    then drawn to 1 by as much as hours differ beyond noise (empirical Bayes, the spread by moments: DerSimonian and
    Laird, Controlled Clinical Trials 7, 1986). Sends that were not looked at for all of `within` count by the share of
    answers that come so soon.

    Args:
        smoothing: over how many hours neighbours share, as the standard deviation of a normal curve; 0 for not at all.

    Attributes, once fitted (beside those of `SendTimeEstimator`):
        hours_: table by hour of the week: `hour_of_week`, `n_sends`, `n_answers` (of the sends it was learned from),
            `ratio` (what the hour does to the chance, shrunken and smoothed), `ratio_sd`.
        spread_: the standard deviation of hours' true ratios; 0 where they differ by no more than noise.

    >>> import pandas as pd
    >>> from journeylab import EventLog
    >>> rng = np.random.default_rng(3)
    >>> at = pd.Timestamp("2026-03-02", tz="UTC") + pd.to_timedelta(rng.integers(0, 28 * 24, 4000), unit="h")
    >>> sent = pd.DataFrame({"contact": np.arange(4000), "event": "sent", "occurred_at": at, "message": "m",
    ...     "slot_propensity": 1 / 168})
    >>> likely = 0.1 + 0.2 * (abs(sent["occurred_at"].dt.hour - 20) <= 1)
    >>> opened = sent[rng.random(4000) < likely].assign(event="opened", slot_propensity=np.nan)
    >>> opened["occurred_at"] += pd.Timedelta(minutes=10)
    >>> model = BestGlobalHour().fit(EventLog.read(pd.concat([sent, opened])))
    >>> int(model.scores().chance[0].argmax() % 24)
    20
    """

    def __init__(self, smoothing: float = 1.5) -> None:
        self.smoothing = smoothing

    def _learn(self, sends: SendTable) -> None:
        if not self.smoothing >= 0:
            raise DataError(f"smoothing={self.smoothing}: it is a number of hours, 0 or more")
        if (sends.is_random & sends.answered).any():
            sends = sends.rows(sends.is_random)
        hour, answered = sends.hour_of_week, sends.answered
        key = (sends.slot_set + 1) * (len(sends.messages) + 1) + sends.message + 1
        _, stratum = np.unique(key, return_inverse=True)
        n = int(stratum.max()) + 1
        exposure = np.bincount(stratum * WEEK + hour, _share_seen(sends), n * WEEK).reshape(n, WEEK)
        of_stratum = np.bincount(stratum, answered, n)
        came = np.bincount(hour, answered, WEEK).astype(np.float64)
        kernel = self._kernel()
        ratio, error, spread = np.ones(WEEK), np.zeros(WEEK), 0.0
        for _ in range(_N_ROUNDS):
            due = (of_stratum / np.maximum(exposure @ ratio, 1e-12)) @ exposure
            ratio, error, spread = _shrunken(came, due, kernel)
        self.hours_ = pd.DataFrame(
            {
                "hour_of_week": np.arange(WEEK),
                "n_sends": np.bincount(hour, minlength=WEEK),
                "n_answers": came.astype(np.int64),
                "ratio": ratio,
                "ratio_sd": error,
            }
        )
        self.spread_ = spread
        self._rate = float(answered.sum() / (exposure @ ratio).sum())

    def _kernel(self) -> NDArray[np.float64]:
        """What each hour takes from each: float64 (168, 168), rows sum to 1."""
        away = np.abs((np.arange(WEEK)[:, None] - np.arange(WEEK) + WEEK // 2) % WEEK - WEEK // 2)
        weight = np.exp(-0.5 * (away / self.smoothing) ** 2) if self.smoothing > 0 else (away == 0).astype(float)
        return np.asarray(weight / weight.sum(axis=1, keepdims=True))

    def _everyone(self) -> NDArray[np.float32]:
        return np.asarray(np.clip(self._rate * self.hours_["ratio"], 1e-9, 1), np.float32)

    def _everyone_error(self) -> NDArray[np.float32]:
        return np.asarray(self._rate * self.hours_["ratio_sd"], np.float32)


def _share_seen(sends: SendTable) -> NDArray[np.float64]:
    """The share of all answers that would have come by now, by send."""
    after = np.sort(sends.after[sends.outcome][sends.answered])
    by_now = np.searchsorted(after, sends.looked, side="right") / max(len(after), 1)
    return np.where(sends.is_matured, 1.0, np.clip(by_now, 0.01, 1.0))


def _shrunken(
    came: NDArray[np.float64], due: NDArray[np.float64], kernel: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64], float]:
    """The ratio of what came to what was due, smoothed and drawn to 1, its posterior sd, and the ratios' spread."""
    smooth, expected = kernel @ came, np.maximum(kernel @ due, 1e-12)
    noise = kernel**2 @ due / expected**2  # the variance of the smoothed ratio if it were 1: answers are Poisson
    excess = (expected**2 * ((smooth / expected - 1) ** 2 - noise)).sum() / (expected**2).sum()
    if excess <= 0:
        return np.ones(len(came)), np.zeros(len(came)), 0.0
    own = excess / (excess + noise)
    return np.maximum(1 + own * (smooth / expected - 1), 1e-3), np.sqrt(own * noise), float(excess**0.5)


class MedianOfOpens(SendTimeEstimator):
    """The rule of thumb that most senders use: the median hour of a contact's last opens, otherwise a usual hour.

    Opens are those by people, the first of each send (a click is one); their hour is local. The median is that of the
    clock's face: the hour of the day from which the opens' hours are the fewest hours away in all, whichever way around
    (Fisher, Statistical Analysis of Circular Data, 1993, 2.3.2), of equals the one with the least sum of squares, then
    the earliest; so opens at 23:00 and 1:00 have their median at midnight and not at noon, as a plain median would say.
    Contacts of fewer opens are sent to on Tuesday, then Thursday, then Monday, from 9:00 to 12:00.

    It learns nothing of what another hour would change, and claims nothing.

    Args:
        n_last: of how many opens, the last ones, the median is taken.
        n_least: with fewer opens a contact has no median.

    >>> from journeylab import datasets
    >>> from journeylab.sendtime.sends import send_table
    >>> model = MedianOfOpens(n_least=2).fit(send_table(datasets.shop(), outcome="opened"))
    >>> table = model.send_times().table()
    >>> table["level"].unique().tolist()
    ['fallback', 'person']
    >>> table.loc[table["level"] == "fallback", "hour_of_week"].unique().tolist()
    [33]
    """

    is_rule = True

    def __init__(self, n_last: int = 25, n_least: int = 5) -> None:
        self.n_last, self.n_least = n_last, n_least

    def _learn(self, sends: SendTable) -> None:
        for name in ("n_last", "n_least"):
            if not getattr(self, name) >= 1:
                raise DataError(f"{name}={getattr(self, name)}: it is a number of opens, 1 or more")
        after = sends.after.get("opened", np.full(len(sends), NEVER))
        opened = np.flatnonzero(after < NEVER)
        contact, at = sends.contact[opened], sends.at[opened] + after[opened]
        hour = ((sends.hour[opened] + after[opened] / HOUR_US) % _DAY).astype(np.int64) % _DAY
        order = np.lexsort((at, contact))
        contact, hour = contact[order], hour[order]
        n_contacts = len(sends.contacts)
        ends = np.searchsorted(contact, np.arange(n_contacts), side="right")
        is_last = ends[contact] - np.arange(len(contact)) <= self.n_last
        key, n = np.unique(contact[is_last] * _DAY + hour[is_last], return_counts=True)
        self._median = np.full(n_contacts, -1, np.int8)
        whose = np.unique(key // _DAY)
        for first in range(0, len(whose), _BLOCK):
            some = whose[first : first + _BLOCK]
            mine = slice(*np.searchsorted(key, [some[0] * _DAY, (some[-1] + 1) * _DAY]))
            counts = np.zeros((len(some), _DAY), np.int64)
            counts[np.searchsorted(some, key[mine] // _DAY), key[mine] % _DAY] = n[mine]
            squares = counts @ _DISTANCE**2
            median = ((counts @ _DISTANCE) * (int(squares.max()) + 1) + squares).argmin(axis=1)
            self._median[some] = np.where(counts.sum(axis=1) >= self.n_least, median, -1)

    def scores(self, contacts: Sequence[Any] | None = None, *, level: float = 0.9) -> HourScores:
        """Ranks of the hours, not chances: 1 is best, as `HourScores` without intervals (`low` and `high` are NaN).

        For a contact with a median that hour is best on every day, and the nearer hours of the day are above those
        farther away; for others Tuesday from 9:00 to 12:00, then Thursday, then Monday, then all else alike.

        Args:
            contacts: of the log it was fitted to; by default all that were sent to, in the log's order.
            level: has no effect.

        Raises:
            DataError: for a contact that it does not know.
        """
        return super().scores(contacts, level=level)

    def _everyone(self) -> NDArray[np.float32]:
        return _USUAL

    def _of_contacts(self, contact: NDArray[np.int64]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        by_median = np.tile(1 - _DISTANCE / (_DAY // 2 + 1), WEEK // _DAY)
        rank = np.vstack([by_median, _USUAL]).astype(np.float32)[self._median[contact]]  # -1 is the usual hours
        return rank, np.full_like(rank, np.nan)

    def _takes_own(self, contact: NDArray[np.int64], *_: object) -> NDArray[np.bool_]:
        return np.asarray(self._median[contact] >= 0)


def _usual() -> NDArray[np.float32]:
    rank = np.full((WEEK // _DAY, _DAY), 0.25, np.float32)
    for day, one in ((_TUESDAY, 1.0), (_THURSDAY, 0.75), (_MONDAY, 0.5)):
        rank[day, 9:12] = one
    return rank.ravel()


_USUAL = _usual()
