"""A simulation against single replays: `python -m benchmarks.simulate --events 1000000 --draws 1000`.

The nine-node journey of `benchmarks.replay`, which was never sent: every send is the model's. The model is fitted to a
small log of the same messages, of which 9.1 % are opened. Printed are the time of one replay, that of all draws, and
how many replays the draws cost beside the model's own predictions.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd

import journeylab as jl
from benchmarks.replay import make_journey, make_log, timed

MESSAGES = ("offer_deal", "offer_plain", "reminder", "welcome_1")
FEATURES = ['count("visit", "30d")', 'since("visit")', 'count("opened", "30d")', "local_hour()"]


def make_sends(n_contacts: int = 20_000) -> jl.EventLog:
    """A log of sends to learn from: one of each message to each contact, a week apart, in an order by chance."""
    rng = np.random.default_rng(3)
    start = np.datetime64("2025-01-06", "us").astype(np.int64)
    parts = []
    for k in range(len(MESSAGES)):
        contact = np.arange(n_contacts)
        message = np.array(MESSAGES)[(contact + k) % len(MESSAGES)]
        at = start + k * 7 * 86_400_000_000 + rng.integers(0, 86_400_000_000, n_contacts)
        parts.append(pd.DataFrame({"contact": contact, "event": "sent", "at": at, "message": message}))
        opens = rng.random(n_contacts) < 0.091
        after = (rng.weibull(0.433, n_contacts) * 15.16 * 3_600_000_000).astype(np.int64).clip(1, 6 * 86_400_000_000)
        parts.append(parts[-1][opens].assign(event="opened", at=(at + after)[opens]))
        visit = pd.DataFrame({"contact": contact, "event": "visit", "at": at - 3_600_000_000})
        buys = rng.random(n_contacts) < 0.03
        parts += [visit, visit[buys].assign(event="purchase", at=(at + 86_400_000_000)[buys])]
    frame = pd.concat(parts, ignore_index=True)
    frame["occurred_at"] = pd.to_datetime(frame.pop("at"), unit="us", utc=True).dt.as_unit("us")
    return jl.EventLog.read(frame.astype({"message": "str"}))


def main() -> None:
    """Prints what draws cost."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--events", type=int, default=1_000_000)
    parser.add_argument("--draws", type=int, default=1000)
    arguments = parser.parse_args()
    model = jl.fit_responses(make_sends(), converts="purchase", features=FEATURES)
    predicting = [0.0]

    class Timed:
        """The model, which notes how long it predicts."""

        def __getattr__(self, name: str):
            return getattr(model, name)

        def predict(self, features, message):
            start = time.perf_counter()
            predicted = model.predict(features, message)
            predicting[0] += time.perf_counter() - start
            return predicted

    with tempfile.TemporaryDirectory() as folder:
        log = jl.EventLog.read(make_log(arguments.events, Path(folder), "int"), cache=False)
        journey = make_journey()
        (single,) = timed(5, lambda: jl.replay(journey, log))
        jl.simulate(journey, log, responses=Timed(), draws=2)
        predicting[0], start = 0.0, time.perf_counter()
        result = jl.simulate(journey, log, responses=Timed(), draws=arguments.draws)
        taken = time.perf_counter() - start
        print(f"{arguments.events:,} events, {log.n_contacts:,} contacts, {result.n_entries:,} entries")
        print(f"one replay {single * 1000:8.1f} ms")
        print(f"{arguments.draws} draws {taken:8.1f} s")
        print(f"predicting {predicting[0]:8.1f} s of it, {result.answering.n_predicted:,} sends")
        print(f"beside the predictions {(taken - predicting[0]) / single:6.0f} replays")


if __name__ == "__main__":
    main()
