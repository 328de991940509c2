"""A replay against hand-written DuckDB SQL, over a log of any size: `python -m benchmarks.replay --events 10000000`.

Both give the same counts (checked), on the same processors. Printed are medians of several runs, taken in turn, and
their ratios: prepared (the log is in memory and prepared; DuckDB has it as a table in memory), cold (from Parquet to
counts), ten variants of the journey on one prepared log against ten single replays, and the peak memory of the cold
run in a process of its own, against the log's columns in memory. Then, as the log grows, the time for each event, and
how many times that of the kernel of `benchmarks.kernel`, which is this one journey by hand and counts alone, it is:
for a replay, for its walk with every visit recorded, for that with the visits in the order of their table, and for the
table itself.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

import journeylab as jl
from benchmarks import kernel
from journeylab.execution import rooms, run
from journeylab.records import in_order
from journeylab.worlds import prepared

SQL = Path(__file__).with_suffix(".sql").read_text(encoding="utf-8")
DAY = 86_400_000_000
KINDS = ["clicked", "opened", "purchase", "signup", "visit"]


def make_log(n_events: int, folder: Path, ids: str) -> Path:
    """A log of ten events a contact over a year, in the order of time, as Parquet."""
    rng = np.random.default_rng(7)
    n_contacts = n_events // 10
    contact = np.concatenate([np.arange(n_contacts), rng.integers(0, n_contacts, n_events - n_contacts)])
    kind = np.concatenate(
        [np.full(n_contacts, 3), rng.choice([0, 1, 2, 4], n_events - n_contacts, p=[0.08, 0.27, 0.15, 0.5])]
    )
    start = np.datetime64("2025-01-01", "us").astype(np.int64)
    signup = start + rng.integers(0, 300 * DAY, n_contacts)
    at = signup[contact] + np.where(kind == 3, 0, rng.integers(-20 * DAY, 60 * DAY, n_events))
    at = np.where(kind == 1, signup[contact] + rng.integers(0, 6 * DAY, n_events), at)
    order = np.argsort(at, kind="stable")
    contact, kind, at = contact[order], kind[order], at[order]
    message = pa.DictionaryArray.from_arrays(
        pa.array(rng.integers(0, 3, n_events), mask=kind > 1), ["welcome_1", "offer_deal", "reminder"]
    )
    plan = pa.DictionaryArray.from_arrays(pa.array(rng.integers(0, 2, n_events), mask=kind != 3), ["trial", "paid"])
    table = pa.table(
        {
            "contact": pa.array(contact) if ids == "int" else pa.array(np.char.mod("c%07d", contact)),
            "event": pa.DictionaryArray.from_arrays(pa.array(kind.astype(np.int8)), KINDS),
            "occurred_at": pa.array(at.astype("datetime64[us]")).cast(pa.timestamp("us", "UTC")),
            "message": message,
            "plan": plan,
        }
    )
    path = folder / f"events-{n_events}-{ids}.parquet"
    pq.write_table(table, path)
    return path


def make_journey(wait: str = "3d") -> jl.Journey:
    """The nine-node journey: sends, waits for events, a decision on a window, a wait, an exit."""
    return jl.Journey.from_data(
        {
            "journey": "nine",
            "trigger": {"event": "signup", "where": 'plan == "trial"'},
            "nodes": {
                "hello": {"send": "welcome_1", "next": "read"},
                "read": {"wait_for": "opened(hello)", "within": wait, "then": "offer", "else": "nudge"},
                "offer": {"decide": [{"if": 'count("visit", "30d") >= 3', "go": "deal"}], "else": "plain"},
                "deal": {"send": "offer_deal", "next": "bought"},
                "plain": {"send": "offer_plain", "next": "bought"},
                "nudge": {"wait": "2d", "next": "remind"},
                "remind": {"send": "reminder", "next": "bought"},
                "bought": {"wait_for": "purchase", "within": "7d", "then": "done", "else": "done"},
                "done": {"exit": "finished"},
            },
        }
    )


def branch_counts(result: jl.Replay) -> dict[str, int]:
    """The counts under the names of the SQL's columns."""
    nodes = result.summary()["nodes"]
    wanted = (
        "hello_next",
        "read_then",
        "read_else",
        "offer_deal",
        "offer_plain",
        "nudge_next",
        "bought_then",
        "bought_else",
    )
    return {name: nodes[name.split("_")[0]]["branches"].get(name.split("_")[1], 0) for name in wanted}


def by_sql(connection: duckdb.DuckDBPyConnection) -> dict[str, int]:
    """The counts by SQL."""
    row = connection.execute(SQL).fetchone()
    assert row is not None
    assert connection.description is not None
    return dict(zip((column[0] for column in connection.description), row, strict=True))


def timed(n_runs: int, *works: Callable[[], Any]) -> list[float]:
    """The median seconds of each work, done in turn after one run that does not count, so that all meet one weather."""
    seconds: list[list[float]] = [[] for _ in works]
    for turn in range(n_runs + 1):
        for work, taken in zip(works, seconds, strict=True):
            start = time.perf_counter()
            work()
            if turn:
                taken.append(time.perf_counter() - start)
    return [statistics.median(taken) for taken in seconds]


def peak_memory(path: Path) -> tuple[int, int]:
    """The bytes that a cold replay adds to a process at its peak, and the bytes of the log's columns."""
    code = "import sys; from benchmarks.replay import measure_peak; measure_peak(sys.argv[1])"
    out = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=True)
    peak, columns = json.loads(out.stdout.splitlines()[-1])
    return int(peak), int(columns)


def measure_peak(path: str) -> None:
    """Prints the peak of a cold replay above the process that has all modules loaded, and the columns' size."""
    small = jl.EventLog.from_rows(
        [{"contact": "a", "event": "signup", "occurred_at": "2026-01-01T00:00:00Z", "plan": "trial", "message": "m"}]
    )
    jl.replay(make_journey(), small)
    before = resident_peak()
    jl.replay(make_journey(), jl.EventLog.read(path, cache=False))
    print(json.dumps([resident_peak() - before, pq.read_table(path).nbytes]))


def resident_peak() -> int:
    """The most bytes that this process has had in memory so far (Linux; getrusage would count the parent's, too)."""
    status = Path("/proc/self/status").read_text()
    return int(re.findall(r"VmHWM:\s+(\d+) kB", status)[0]) * 1024


def compare(n_events: int, ids: str, n_runs: int, folder: Path) -> None:
    """Prints all ratios for a log of one size."""
    path, journey, threads = make_log(n_events, folder, ids), make_journey(), {"threads": os.cpu_count() or 1}

    def cold_sql() -> dict[str, int]:
        with duckdb.connect(config=threads) as fresh:
            fresh.execute(f"create view events as select * from read_parquet('{path}')")
            return by_sql(fresh)

    def cold_replay() -> jl.Replay:
        return jl.replay(journey, jl.EventLog.read(path, cache=False))

    expected, result = cold_sql(), cold_replay()
    assert branch_counts(result) == expected, (branch_counts(result), expected)
    print(f"{n_events:,} events, {ids} ids, {os.cpu_count()} processors; {result.n_entries:,} entries")
    cold, sql_cold = timed(n_runs, cold_replay, cold_sql)
    print(f"cold      {cold * 1000:9.1f} ms   SQL {sql_cold * 1000:9.1f} ms   {sql_cold / cold:6.1f} times as fast")
    log = jl.EventLog.read(path, cache=False)
    variants = [make_journey(f"{days}d") for days in range(1, 11)]
    with duckdb.connect(config=threads) as connection:
        connection.execute("create table events as select * from read_parquet(?)", [str(path)])
        assert branch_counts(jl.replay(journey, log)) == by_sql(connection)
        prepared, ten, sql = timed(
            n_runs,
            lambda: [jl.replay(journey, log) for _ in range(10)],
            lambda: [jl.replay(one, log) for one in variants],
            lambda: by_sql(connection),
        )
    print(f"prepared  {prepared * 100:9.1f} ms   SQL {sql * 1000:9.1f} ms   {10 * sql / prepared:6.1f} times as fast")
    print(f"ten variants: {ten * 1000:8.1f} ms, {ten / prepared:.2f} times ten single replays")
    peak, columns = peak_memory(path)
    print(f"peak memory: {peak / 1e6:.0f} MB, {peak / columns:.2f} times the log's columns ({columns / 1e6:.0f} MB)")


def grow(sizes: list[int], ids: str, n_runs: int, folder: Path) -> None:
    """Prints what each event costs in logs of several sizes, and how many times the kernel's that is."""
    journey = make_journey()
    print("ns an event, and times the kernel")
    print(f"{'events':>12}" + "".join(f"{name:>16}" for name in ("cold", "kernel", *WORKS)))
    for n_events in sizes:
        path = make_log(n_events, folder, ids)
        (cold,) = timed(n_runs, lambda path=path: jl.replay(journey, jl.EventLog.read(path, cache=False)))
        least, *taken = timed(n_runs, *works(journey, jl.EventLog.read(path, cache=False)))
        shown = [f"{cold / n_events * 1e9:16.1f}{least / n_events * 1e9:16.2f}"]
        shown += [f"{one / n_events * 1e9:9.2f} {one / least:5.1f}x" for one in taken]
        print(f"{n_events:>12,}" + "".join(shown))
        path.unlink()


WORKS = ("replay", "walk", "visits", "in order", "table")


def works(journey: jl.Journey, log: jl.EventLog) -> list[Callable[[], Any]]:
    """The kernel, checked to count the same, and the WORKS on a prepared log."""
    ready, streams, result = prepared(journey, log), kernel.streams(log), jl.replay(journey, log)
    assert kernel.counts(streams, log) == branch_counts(result)
    walk = partial(run, ready.compiled.program, ready.world, len(ready.compiled.exits), log.n_contacts)
    counted = rooms(walk(record=False))
    return [
        lambda: kernel.counts(streams, log),
        lambda: jl.replay(journey, log),
        lambda: walk(record=False),
        lambda: walk(record=True, rooms=counted),
        lambda: in_order(log, walk(record=True, rooms=counted)),
        lambda: jl.replay(journey, log).visits,
    ]


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--events", type=int, default=10_000_000)
    parser.add_argument("--ids", choices=["int", "text"], default="int", help="the kind of the contacts' ids")
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument(
        "--growth", type=int, nargs="*", default=[1_000_000, 3_000_000, 10_000_000, 30_000_000], metavar="EVENTS"
    )
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        compare(options.events, options.ids, options.runs, Path(folder))
        grow(options.growth, options.ids, options.runs, Path(folder))


if __name__ == "__main__":
    main()
