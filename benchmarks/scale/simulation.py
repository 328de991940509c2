"""How far behind a sender is, by simulation: events come, ticks take all who are due at once, messages wait for a lane.

A tick takes a fixed time and some for each contact, so that it is a server that takes bulks: the more are due, the
less each costs. Workers share processors with each other and with PostgreSQL: all times are as long as those measured
on a machine that did nothing else, times what the processors are short of (processor sharing).

| a worker | how |
|---|---|
| ticks | as soon as the last one is over if it found anybody, a second later if not; up to 5,000 contacts |
| sends | looks for messages once a second where none wait, and works on one after the other |
"""

from __future__ import annotations

import heapq
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

__all__ = ["MEASURED", "Costs", "Lags", "most", "simulated", "used"]

_POLL: Final = 1.0
_MOST: Final = 5000
_REQUESTS: Final = 5
"""How many requests a second bring the events, as in the soak."""


@dataclass(frozen=True)
class Costs:
    """Seconds of processors, measured: in the sender's processes, and in PostgreSQL.

    Attributes:
        event: of an event that comes in, in requests of so many as are usual.
        tick: of a tick, whoever is in it.
        contact: of each contact in it.
        message: of a message from its claim to its settled reply.
        idle: of a worker in a second in which it only looks.
        latency: of a message, by the clock, from its claim on, when nothing else waits.
    """

    event: tuple[float, float]
    tick: tuple[float, float]
    contact: tuple[float, float]
    message: tuple[float, float]
    idle: tuple[float, float]
    latency: float


MEASURED: Final = Costs(
    event=(126e-6, 590e-6),
    tick=(40e-3, 2e-3), contact=(83e-6, 142e-6), message=(5.6e-3, 2.6e-3), idle=(30e-3, 8e-3), latency=0.3
)  # fmt: skip
"""Of the machine in `docs/scale.md`, beside 10 million who wait; `--steps measure drain` gives those of another."""


@dataclass(frozen=True)
class Lags:
    """Seconds from an event until the tick that advances its contact, and until its message is accepted.

    `used` are the shares of the workers' and of PostgreSQL's processors that are at work.
    """

    advanced: dict[int, float]
    accepted: dict[int, float]
    used: tuple[float, float]


def used(costs: Costs, rate: float, asks: float, n_workers: int, cores: tuple[float, float]) -> tuple[float, float]:
    """The share of the sender's processors and of PostgreSQL's that a rate of events takes, by arithmetic alone.

    Each event advances its contact once, each message twice: when it is let go, and when it was accepted. Ticks come
    at most once a second from each worker while they keep up.
    """
    found = []
    for place in (0, 1):
        n_ticks = min(float(n_workers) / _POLL, rate * (1 + asks))
        work = rate * (costs.event[place] + (1 + asks) * costs.contact[place] + asks * costs.message[place])
        found.append((work + n_ticks * costs.tick[place] + n_workers * costs.idle[place]) / cores[place])
    return found[0], found[1]


def simulated(
    costs: Costs,
    rate: float,
    asks: float,
    n_workers: int,
    cores: tuple[float, float],
    seconds: float = 600,
    seed: int = 1,
) -> Lags:
    """The lags at a rate of events of which a share asks for a message, by an event-driven simulation.

    Args:
        costs: as measured.
        rate: events a second.
        asks: the share of events after which a message goes.
        n_workers: how many processes share the work.
        cores: the processors of the sender's processes and of PostgreSQL's; one machine for both has its cores halved.
        seconds: how long, of which the first tenth does not count.
        seed: of the arrivals.
    """
    rng = np.random.default_rng(seed)
    busy = used(costs, rate, asks, n_workers, cores)
    # A step takes as long as it has to wait for a processor: 1 / (1 - rho) of an M/M/1 with processor sharing.
    slow = tuple(1 / max(1 - one, 0.02) for one in busy)

    def clock(of: tuple[float, float]) -> float:
        return of[0] * slow[0] + of[1] * slow[1]

    requests = np.cumsum(rng.exponential(1 / _REQUESTS, int(_REQUESTS * seconds)))
    arrivals = np.repeat(requests, rng.poisson(rate / _REQUESTS, len(requests)))
    is_asking = rng.random(len(arrivals)) < asks
    due: list[tuple[float, float, int]] = [
        (at, at, int(asking)) for at, asking in zip(arrivals.tolist(), is_asking.tolist(), strict=True)
    ]
    heapq.heapify(due)  # when it is due, when its event came, and what it is: 0 nothing, 1 asks, 2 was sent
    free = [(w * _POLL / n_workers, w) for w in range(n_workers)]
    heapq.heapify(free)
    sending = [0.0] * n_workers
    advanced, accepted = [], []
    while free and due:
        at, worker = heapq.heappop(free)
        if at > seconds:
            break
        taken = []
        while due and due[0][0] <= at and len(taken) < _MOST:
            taken.append(heapq.heappop(due))
        if not taken:
            heapq.heappush(free, (at + _POLL, worker))
            continue
        done = at + clock(costs.tick) + len(taken) * clock(costs.contact)
        heapq.heappush(free, (done, worker))
        for _, came, what in taken:
            counts = came > seconds / 10
            if counts and what != 2:
                advanced.append(at - came)
            if what == 1:
                polled = max(done + rng.random() * _POLL / n_workers, heapq.heappop(sending))
                heapq.heappush(sending, polled + clock(costs.message))
                sent = polled + clock(costs.message) + costs.latency
                heapq.heappush(due, (sent, came, 2))
                if counts:
                    accepted.append(sent - came)
    return Lags(_percentiles(advanced), _percentiles(accepted), busy)


def _percentiles(values: list[float]) -> dict[int, float]:
    found: NDArray[np.float64] = np.percentile(values or [np.nan], (50, 95, 99))
    return dict(zip((50, 95, 99), found.tolist(), strict=True))


def most(costs: Costs, asks: float, n_workers: int, cores: tuple[float, float], share: float = 0.7) -> float:
    """The events a second at which the busier of the two sides is at work so much of the time."""
    low, high = 0.0, 1e6
    for _ in range(60):
        middle = (low + high) / 2
        if max(used(costs, middle, asks, n_workers, cores)) < share:
            low = middle
        else:
            high = middle
    return low
