"""Two-hour slots of the week by contact, of which one is drawn by how likely it is the best: Thompson sampling."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import numpy as np

from journeylab.durations import duration_text
from journeylab.errors import DataError
from journeylab.fitted import require_fitted
from journeylab.sendhistory import positive
from journeylab.sendtimes import LEVELS, WEEK, SendTimes

from .estimator import SendTimeEstimator

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from .sends import SendTable

__all__ = ["ThompsonSlots"]

_SLOT = 2  # hours
_N_SLOTS = WEEK // _SLOT
_BLOCK = 20_000


class ThompsonSlots(SendTimeEstimator):
    """Learns each contact's chance of an answer in each of the week's 84 two-hour slots, every one by itself.

    The chance in a slot has a beta posterior: the contact's own sends there, answered or not, and a prior of everyone's
    rate in that slot that is worth `prior_sends` sends. `scores` has its mean and standard deviation. `draw` advises
    what Thompson sampling does (Thompson, Biometrika 25, 1933; Chapelle and Li, NIPS 2011): it draws once from every
    posterior and takes the highest, so that slots are tried as often as they are likely to be the best. Slots know
    nothing of their neighbours, so most contacts have far fewer sends than a slot of their own would need.

    Sends that were not looked at for all of `within` do not count.

    Args:
        prior_sends: how many sends everyone's rate in a slot counts for; that rate is itself drawn to the rate of all
            slots by as many.
        within: only answers that come so soon after the send count; by default those that the log's table has.

    >>> import pandas as pd
    >>> from journeylab import EventLog
    >>> rng = np.random.default_rng(3)
    >>> at = pd.Timestamp("2026-03-02", tz="UTC") + pd.to_timedelta(2 * rng.integers(0, 28 * 12, 4000), unit="h")
    >>> sent = pd.DataFrame({"contact": rng.integers(0, 10, 4000), "event": "sent", "occurred_at": at, "message": "m"})
    >>> opened = sent[at.hour == 20].assign(event="opened")
    >>> opened["occurred_at"] += pd.Timedelta(minutes=10)
    >>> model = ThompsonSlots(within="1d").fit(EventLog.read(pd.concat([sent, opened])))
    >>> model.draw(rng=1).table()["hour_of_week"].mod(24).unique().tolist()
    [20]
    """

    def __init__(self, prior_sends: float = 10.0, within: timedelta | str | None = None) -> None:
        self.prior_sends, self.within = prior_sends, within

    def _learn(self, sends: SendTable) -> None:
        from scipy.sparse import csr_matrix

        if not self.prior_sends > 0:
            raise DataError(f"prior_sends={self.prior_sends}: it is a number of sends above 0")
        within_us = sends.within // timedelta(microseconds=1)
        if self.within is not None:
            if positive(self.within) > within_us:
                raise DataError(
                    f"within={self.within!r} is longer than the log's table looks for answers ({sends.within}); "
                    "make it with send_table(log, within=…)"
                )
            within_us = positive(self.within)
        sends = sends.rows(sends.looked >= within_us)
        if not len(sends):
            raise DataError(
                f"no send was looked at for all of {duration_text(timedelta(microseconds=within_us))}; bring a longer "
                "log, or ask for a shorter within"
            )
        answered = sends.after[sends.outcome] <= within_us
        slot = np.minimum(sends.hour.astype(np.int64) // _SLOT, _N_SLOTS - 1)
        shape = len(sends.contacts), _N_SLOTS
        # By contact and slot, without the empty ones: a dense table of counts is mostly zeros.
        self._sent, self._answered = (
            csr_matrix((value.astype(np.float32), (sends.contact, slot)), shape) for value in (answered >= 0, answered)
        )
        n, k = np.bincount(slot, minlength=_N_SLOTS), np.bincount(slot, answered, _N_SLOTS)
        rate = (k.sum() + 0.5) / (n.sum() + 1)
        self.slot_rate_ = (k + self.prior_sends * rate) / (n + self.prior_sends)

    def _posterior(self, contact: NDArray[np.int64]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """The two parameters of the beta posteriors of contacts (places among the log's): float32 (contact, 84)."""
        answered = self._answered[contact].toarray()
        a = answered + (self.prior_sends * self.slot_rate_).astype(np.float32)
        b = self._sent[contact].toarray() - answered + (self.prior_sends * (1 - self.slot_rate_)).astype(np.float32)
        return a, b

    def _everyone(self) -> NDArray[np.float32]:
        return np.repeat(self.slot_rate_, _SLOT).astype(np.float32)

    def _of_contacts(self, contact: NDArray[np.int64]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        a, b = self._posterior(contact)
        mean, total = a / (a + b), a + b
        error = np.sqrt(mean * (1 - mean) / (total + 1))
        return np.repeat(mean, _SLOT, axis=1), np.repeat(error, _SLOT, axis=1)

    def _difference(
        self, contact: NDArray[np.int64], hour: NDArray[np.int64], other: NDArray[np.int64]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        mean, error = super()._difference(contact, hour, other)
        return mean, np.where(hour // _SLOT == other // _SLOT, 0.0, error)

    def send_times(self, *, assume_causal: bool = False, rng: np.random.Generator | int | None = None) -> SendTimes:
        """What the model advises every contact, as `SendTimes` for `at: best`; by `draw` where `rng` is given.

        Args:
            assume_causal: as for other models; has no effect on a draw, which is a trial anyway.
            rng: a generator, or a seed. Without one, the posteriors' means are held against the evidence, as in any
                other model, and nothing is tried.
        """
        return super().send_times(assume_causal=assume_causal) if rng is None else self.draw(rng)

    def draw(self, rng: np.random.Generator | int) -> SendTimes:
        """A slot for every contact, the highest of one draw from each of its posteriors, as `SendTimes`.

        Whoever is not known has everyone's rates. Another draw advises otherwise: make a new one for each day or
        mailing. The log of such sends has no `slot_propensity`, so that only those of `explore` tell what hours change.

        Args:
            rng: a generator, or a seed.

        Raises:
            NotFitted: before `fit`.
        """
        require_fitted(self)
        rng = np.random.default_rng(rng)
        scores = np.empty((self.n_contacts_ + 1, WEEK), np.float32)
        scores[0] = self._everyone()
        for first in range(0, self.n_contacts_, _BLOCK):
            codes = self._known[first : first + _BLOCK]
            scores[1 + first : 1 + first + len(codes)] = np.repeat(rng.beta(*self._posterior(codes)), _SLOT, axis=1)
        about = self._about({"person"}, assume_causal=False) | {
            "drawn": "once from every posterior; another draw advises otherwise"
        }
        about["is_causal"] = "person" in self._used
        n = self.n_contacts_
        return SendTimes(
            self._contacts.take(self._known), np.arange(1, n + 1, dtype=np.int32), scores, 0,
            np.full(n, LEVELS.index("person"), np.int8), np.full((n, 3), np.nan, np.float32), about,
        )  # fmt: skip
