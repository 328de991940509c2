"""A simulation against single replays: `python -m benchmarks.simulate --events 1000000 --draws 1000`.

The nine-node journey of `benchmarks.replay`, once never sent, so that every send is the model's, and once with all its
sends on record and one decision changed. The model is fitted to a small log of the same messages, of which 9.1 % are
opened. Draws are compared with as many single replays as they may cost, and one draw with one by SimPy, in which each
contact is a process.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from statistics import median

import numpy as np
import pandas as pd
import pyarrow.parquet as pq

import journeylab as jl

from .alternatives import by_simpy, timelines
from .compared import Compared, seconds, shown
from .replay import make_journey, make_log

MESSAGES = ("offer_deal", "offer_plain", "reminder", "welcome_1")
FEATURES = ['count("visit", "30d")', 'since("visit")', 'count("opened", "30d")', "local_hour()"]
OPENS = 0.091
REPLAYS = 60


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
        opens = rng.random(n_contacts) < OPENS
        after = (rng.weibull(0.433, n_contacts) * 15.16 * 3_600_000_000).astype(np.int64).clip(1, 6 * 86_400_000_000)
        parts.append(parts[-1][opens].assign(event="opened", at=(at + after)[opens]))
        visit = pd.DataFrame({"contact": contact, "event": "visit", "at": at - 3_600_000_000})
        buys = rng.random(n_contacts) < 0.03
        parts += [visit, visit[buys].assign(event="purchase", at=(at + 86_400_000_000)[buys])]
    frame = pd.concat(parts, ignore_index=True)
    frame["occurred_at"] = pd.to_datetime(frame.pop("at"), unit="us", utc=True).dt.as_unit("us")
    return jl.EventLog.read(frame.astype({"message": "str"}))


def as_sent(log: jl.EventLog, path: Path) -> jl.EventLog:
    """The log with the journey's own sends on record."""
    sends = jl.replay(make_journey(), log).sends
    made = sends[sends["is_sent"]]
    sent = pd.DataFrame({"contact": made["contact"], "event": "sent", "occurred_at": made["decided_at"]})
    sent["message"] = made["message"].astype("str")
    events = pd.read_parquet(path).astype({"event": "str", "message": "str", "plan": "str"})
    return jl.EventLog.read(pd.concat([events, sent], ignore_index=True))


def compared(n_events: int, draws: int, n_runs: int, folder: Path) -> list[Compared]:
    """Draws against as many replays as they may cost, and one of them against SimPy's."""
    model, path = (
        jl.fit_responses(make_sends(), converts="purchase", features=FEATURES),
        make_log(n_events, folder, "int"),
    )
    log = jl.EventLog.read(path, cache=False)
    each: list[float] = []
    rows = []
    for what, journey, of in (
        ("sends on record, one decision changed", make_journey(n_visits=6), as_sent(log, path)),
        ("every send is the model's", make_journey(), log),
    ):
        jl.simulate(journey, of, responses=model, draws=2)
        single, taken = seconds(
            n_runs,
            lambda journey=journey, of=of: jl.replay(journey, of),
            lambda journey=journey, of=of: jl.simulate(journey, of, responses=model, draws=draws),
        )
        size = f"{of.n_contacts:,} contacts, {draws:,} draws"
        ratios = [REPLAYS * a / b for a, b in zip(single, taken, strict=True)]
        rows.append(Compared(f"simulation: {what}", size, median(taken), f"{REPLAYS} single replays", ratios))
        each = [one / draws for one in taken]
    found, rng = timelines(pq.read_table(path)), np.random.default_rng(5)
    welcome = np.full(10_000, model.messages.index("welcome_1"))
    delays = model.draw_delays("opened", welcome, np.zeros_like(welcome), rng.random(len(welcome)))
    drawn = by_simpy(found, log.end_us, rng, OPENS, delays)
    branches = jl.simulate(make_journey(), log, responses=model, draws=20).branches.set_index(["node", "branch"])
    assert abs(drawn["read_then"] / drawn["hello_next"] - branches.loc[("read", "then"), "branch_share"]) < 0.02
    (by_other,) = seconds(n_runs, lambda: by_simpy(found, log.end_us, rng, OPENS, delays))
    ratios = [b / a for a, b in zip(each, by_other, strict=True)]
    return [
        *rows,
        Compared("simulation: one draw of these", f"{log.n_contacts:,} contacts", median(each), "SimPy", ratios),
    ]


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--events", type=int, default=1_000_000)
    parser.add_argument("--draws", type=int, default=1000)
    parser.add_argument("--runs", type=int, default=1)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        print(shown(compared(options.events, options.draws, options.runs, Path(folder))))


if __name__ == "__main__":
    main()
