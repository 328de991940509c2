"""What JourneyLab does, by other means, each as somebody would write it who knows the tool well.

The nine-node journey of `benchmarks.replay` by polars and by a loop in Python, one draw of its simulation by SimPy, and
its paths by pm4py. All give the same as JourneyLab, which the benchmarks check before they measure.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter, defaultdict
from collections.abc import Generator, Sequence
from datetime import timedelta
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
from numpy.typing import NDArray

from .kernel import BRANCHES

DAY = 86_400_000_000


def by_polars(events: pl.LazyFrame) -> dict[str, int]:
    """The counts of the journey's branches by polars."""
    until = events.select(pl.col("occurred_at").max()).collect().item()
    entered = (
        events.filter((pl.col("event") == "signup") & (pl.col("plan") == "trial"))
        .group_by("contact")
        .agg(pl.col("occurred_at").min().alias("entered_at"))
    )

    def of(event: str) -> pl.LazyFrame:
        return events.filter(pl.col("event") == event)

    at, days = pl.col("occurred_at"), timedelta
    opened = (
        of("opened")
        .filter(pl.col("message") == "welcome_1")
        .join(entered, on="contact")
        .filter((at > pl.col("entered_at")) & (at <= pl.col("entered_at") + days(3)))
        .group_by("contact")
        .agg(at.min().alias("opened_at"))
    )
    visited = (
        of("visit")
        .join(opened, on="contact")
        .filter((at > pl.col("opened_at") - days(30)) & (at <= pl.col("opened_at")))
        .group_by("contact")
        .agg(pl.len().alias("n_visits"))
    )
    is_open = pl.col("opened_at").is_not_null()
    sent = (
        entered.join(opened, on="contact", how="left")
        .join(visited, on="contact", how="left")
        .with_columns(
            is_open=is_open,
            is_deal=pl.col("n_visits").fill_null(0) >= 3,
            sent_at=pl.coalesce("opened_at", pl.col("entered_at") + days(5)),
        )
    )
    bought = (
        of("purchase")
        .join(sent.select("contact", "sent_at"), on="contact")
        .filter((at > pl.col("sent_at")) & (at <= pl.col("sent_at") + days(7)))
        .select("contact")
        .unique()
        .with_columns(is_bought=pl.lit(True))  # noqa: FBT003
    )
    is_open, is_deal, sent_at = pl.col("is_open"), pl.col("is_deal"), pl.col("sent_at")
    is_bought = pl.col("is_bought").is_not_null()
    found = (
        sent.join(bought, on="contact", how="left")
        .select(
            hello_next=pl.len(),
            read_then=is_open.sum(),
            read_else=(~is_open & (sent_at - days(2) <= until)).sum(),
            offer_deal=(is_open & is_deal).sum(),
            offer_plain=(is_open & ~is_deal).sum(),
            nudge_next=(~is_open & (sent_at <= until)).sum(),
            bought_then=is_bought.sum(),
            bought_else=(~is_bought & (sent_at + days(7) <= until)).sum(),
        )
        .collect()
    )
    return {name: int(value) for name, value in found.row(0, named=True).items()}


Timelines = dict[int, dict[str, list[int]]]


def timelines(table: pa.Table) -> Timelines:
    """By contact the instants of trials, opens of the hello, visits and purchases, ascending."""
    found: Timelines = defaultdict(lambda: {"signup": [], "opened": [], "clicked": [], "visit": [], "purchase": []})
    columns = [table[name] for name in ("contact", "event", "message", "plan")]
    rows = zip(*(one.to_pylist() for one in columns), table["occurred_at"].cast(pa.int64()).to_pylist(), strict=True)
    for contact, event, message, plan, at in rows:
        if event in ("visit", "purchase") or message == "welcome_1" or (event == "signup" and plan == "trial"):
            found[contact][event].append(at)
    return found


def by_loop(found: Timelines, until: int) -> dict[str, int]:
    """The counts by a loop over contacts, given their instants in order."""
    counts = dict.fromkeys(BRANCHES, 0)
    for of in found.values():
        if not of["signup"]:
            continue
        at = of["signup"][0]
        counts["hello_next"] += 1
        i = bisect_right(of["opened"], at)
        if i < len(of["opened"]) and of["opened"][i] <= at + 3 * DAY:
            at = of["opened"][i]
            counts["read_then"] += 1
            n = bisect_right(of["visit"], at) - bisect_right(of["visit"], at - 30 * DAY)
            counts["offer_deal" if n >= 3 else "offer_plain"] += 1
        else:
            if at + 3 * DAY > until:
                continue
            counts["read_else"] += 1
            at += 5 * DAY
            if at > until:
                continue
            counts["nudge_next"] += 1
        i = bisect_right(of["purchase"], at)
        if i < len(of["purchase"]) and of["purchase"][i] <= at + 7 * DAY:
            counts["bought_then"] += 1
        elif at + 7 * DAY <= until:
            counts["bought_else"] += 1
    return counts


def by_simpy(
    found: Timelines, until: int, rng: np.random.Generator, opens: float, delays: NDArray[np.int64]
) -> dict[str, int]:
    """The counts of one draw in which a share opens each message and later, by chance: a process for each contact."""
    import simpy

    counts: Counter[str] = Counter()

    def life(environment: simpy.Environment, of: dict[str, list[int]]) -> Generator[Any, Any, None]:
        yield environment.timeout(of["signup"][0] - environment.now)
        counts["hello_next"] += 1
        delay = int(rng.choice(delays)) if rng.random() < opens else 4 * DAY
        yield environment.timeout(min(delay, 3 * DAY))
        if delay <= 3 * DAY:
            counts["read_then"] += 1
            now = environment.now
            n = bisect_right(of["visit"], now) - bisect_right(of["visit"], now - 30 * DAY)
            counts["offer_deal" if n >= 3 else "offer_plain"] += 1
        else:
            counts["read_else"] += 1
            yield environment.timeout(2 * DAY)
            counts["nudge_next"] += 1
        now = environment.now
        i = bisect_right(of["purchase"], now)
        is_bought = i < len(of["purchase"]) and of["purchase"][i] <= now + 7 * DAY
        yield environment.timeout(of["purchase"][i] - now if is_bought else 7 * DAY)
        counts["bought_then" if is_bought else "bought_else"] += 1

    who = [of for of in found.values() if of["signup"]]
    environment = simpy.Environment(min(of["signup"][0] for of in who))
    for of in who:
        environment.process(life(environment, of))
    environment.run(until + 1)
    return dict(counts)


def by_pm4py(visits: pd.DataFrame) -> dict[Sequence[str], int]:
    """How many entries took each sequence of nodes, by pm4py; an entry is a case, named by contact and entry."""
    import pm4py

    log = pd.DataFrame(
        {
            "case:concept:name": visits["contact"].astype(str) + "/" + visits["entry"].astype(str),
            "concept:name": visits["node"].astype(str),
            "time:timestamp": visits["arrived_at"],
        }
    )
    found: dict[Sequence[str], int] = pm4py.get_variants(log)
    return {tuple(path): int(n) for path, n in found.items()}
