"""How long responses take: their distribution from delays that were cut off by the log's end, and tables to draw from.

A delay is on record only where it is shorter than the time that one has looked. The product limit taken backwards in
time puts that right: Lynden-Bell, D. (1971), A method of allowing for known observational selection in small samples,
Monthly Notices of the Royal Astronomical Society 155, 95-118; Lagakos, Barraj and De Gruttola (1988), Nonparametric
analysis of truncated survival data, with application to AIDS, Biometrika 75, 515-523.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = [
    "DelayDistribution", "DelayTable", "DelaysByMessage", "delay_distribution", "delay_table", "delays_by_message",
]  # fmt: skip

N_QUANTILES = 256
_N_POINTS = 1024
_OWN_SHARE_AT = 100
"""A message or slot with so many responders is drawn half from its own delays, half from those of all."""


class DelayDistribution(NamedTuple):
    """The delays that occur, ascending int64 microseconds, and the share of all responders up to each (0..1)."""

    delays: NDArray[np.int64]
    up_to: NDArray[np.float64]

    def share(self, looked: NDArray[np.int64]) -> NDArray[np.float64]:
        """The share of responses that come no later than so long after: 0..1."""
        place = np.searchsorted(self.delays, looked, side="right")
        return np.concatenate(([0.0], self.up_to))[place]


def delay_distribution(after: NDArray[np.int64], looked: NDArray[np.int64]) -> DelayDistribution:
    """The distribution of delays, given those that were seen and how long one looked for each.

    >>> seen = delay_distribution(np.array([1, 1, 4]), np.array([2, 9, 9]))
    >>> seen.delays.tolist(), seen.up_to.round(3).tolist()
    ([1, 4], [0.5, 1.0])
    """
    delays, n_at = np.unique(after, return_counts=True)
    # At risk at a delay are those which came by then and for which one would have looked as long.
    at_risk = np.cumsum(n_at) - np.searchsorted(np.sort(looked), delays, side="left")
    stays = 1 - n_at[1:] / np.maximum(at_risk[1:], n_at[1:])
    up_to = np.append(np.cumprod(stays[::-1])[::-1], 1.0)[-len(delays) :] if len(delays) else np.empty(0)
    return DelayDistribution(delays, up_to)


class DelaysByMessage(NamedTuple):
    """How long responses to each message take; one with few responses borrows from all.

    `delays` are ascending int64 microseconds, `up_to` float64 (message, delay) the share of a message's responders up
    to each; the last row is that of all messages, and of any that is not known (-1).
    """

    delays: NDArray[np.int64]
    up_to: NDArray[np.float64]

    def share(self, message: NDArray[np.int64], looked: NDArray[np.int64]) -> NDArray[np.float64]:
        """The share of the responses to each message that come no later than so long after: 0..1."""
        shares = np.empty(len(looked), np.float64)
        for one in np.unique(message):
            mine = message == one
            shares[mine] = np.interp(looked[mine], np.append(0, self.delays), np.append(0.0, self.up_to[one]))
        return shares


def delays_by_message(
    after: NDArray[np.int64],
    looked: NDArray[np.int64],
    message: NDArray[np.int64],
    n_messages: int,
    within_us: int,
    own_share_at: float = _OWN_SHARE_AT,
) -> DelaysByMessage:
    """The distribution of delays for each message; where nobody responded, every delay is as likely as any other."""
    if not len(after):
        even = np.maximum(np.linspace(0, within_us, N_QUANTILES).astype(np.int64), 1)
        return DelaysByMessage(even, np.tile(np.linspace(0, 1, N_QUANTILES), (n_messages + 1, 1)))
    whole = delay_distribution(after, looked)
    places = np.searchsorted(whole.up_to, np.linspace(0, 1, _N_POINTS) * (1 - 1e-12))
    delays = np.unique(whole.delays[np.minimum(places, len(whole.delays) - 1)])
    up_to = np.tile(whole.share(delays), (n_messages + 1, 1))
    for one in range(n_messages):
        mine = message == one
        share = mine.sum() / (mine.sum() + own_share_at)
        if share:
            up_to[one] = (1 - share) * up_to[-1] + share * delay_distribution(after[mine], looked[mine]).share(delays)
    return DelaysByMessage(delays, up_to)


@dataclass(frozen=True, eq=False)
class DelayTable:
    """The quantiles of a response's delay, by message and slot of the send.

    Attributes:
        quantiles: int64 (message, slot, quantile), microseconds, ascending: at 0, 1/255, …, 1; the last message stands
            for all, and for any that is not known (-1).
        n_responders: int64 by slot, how many delays were seen there.
    """

    quantiles: NDArray[np.int64]
    n_responders: NDArray[np.int64]

    def draw(self, message: NDArray[np.int64], slot: NDArray[np.int64], u: NDArray[np.float64]) -> NDArray[np.int64]:
        """The delay at each share `u` of 0..1, straight between two quantiles in the logarithm of time."""
        _, n_slots, n = self.quantiles.shape
        place = np.clip(np.asarray(u, np.float64), 0, 1) * (n - 1)
        low = np.minimum(place.astype(np.int64), n - 2)
        of, row = np.asarray(message, np.int64), np.minimum(np.asarray(slot, np.int64), n_slots - 1)
        left, right = np.log(self.quantiles[of, row, low]), np.log(self.quantiles[of, row, low + 1])
        drawn = np.rint(np.exp(left + (place - low) * (right - left))).astype(np.int64)
        delay: NDArray[np.int64] = np.clip(drawn, self.quantiles[of, row, 0], self.quantiles[of, row, -1])
        return delay


def delay_table(
    after: NDArray[np.int64],
    looked: NDArray[np.int64],
    message: NDArray[np.int64],
    slot: NDArray[np.int64],
    n_messages: int,
    n_slots: int,
    within_us: int,
    own_share_at: float = _OWN_SHARE_AT,
) -> DelayTable:
    """The delays of those who responded, by message and slot; few of either borrow from all.

    A slot moves the delays of every message alike: by how those of its own responders differ from those of all.
    """
    known = delays_by_message(after, looked, message, n_messages, within_us, own_share_at)
    n_in = np.bincount(slot, minlength=n_slots)
    tables = np.empty((n_messages + 1, n_slots, N_QUANTILES), np.int64)
    for one in range(n_slots):
        moved = np.zeros(len(known.delays))
        if n_slots > 1 and n_in[one]:
            mine = slot == one
            own = delay_distribution(after[mine], looked[mine]).share(known.delays)
            moved = n_in[one] / (n_in[one] + _OWN_SHARE_AT) * (own - known.up_to[-1])
        for of in range(n_messages + 1):
            up_to = np.maximum.accumulate(np.clip(known.up_to[of] + moved, 0, 1))
            tables[of, one] = _quantiles(known.delays, up_to, within_us)
    return DelayTable(tables, n_in.astype(np.int64))


def _quantiles(delays: NDArray[np.int64], up_to: NDArray[np.float64], within_us: int) -> NDArray[np.int64]:
    place = np.searchsorted(up_to, np.linspace(0, 1, N_QUANTILES) * up_to[-1] * (1 - 1e-12))
    quantiles: NDArray[np.int64] = np.clip(delays[np.minimum(place, len(delays) - 1)], 1, within_us)
    return quantiles
