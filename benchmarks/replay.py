"""A replay against the same by other means, over a log of any size: `python -m benchmarks.replay --events 10000000`.

All give the same counts (checked), on the same processors: SQL written by hand for DuckDB, polars, a loop in Python,
and `benchmarks.kernel`, which is this one journey compiled by hand and counts alone. Cold is from Parquet to counts;
prepared is with the log in memory, as a table where it is DuckDB's and as a frame where it is polars'. Then ten
variants of the journey on one prepared log against ten single replays, the paths of all entries against pm4py, and the
peak memory of a cold run in a process of its own, against the log's columns in memory. Then, as the log grows, the time
for each event, and how many times the kernel's it is: for a replay, for its walk alone, for the walk with every visit
recorded, for that with the visits in the order of their table, and for the table itself.
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
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

import journeylab as jl
from journeylab.execution import rooms, run
from journeylab.records import in_order
from journeylab.worlds import prepared

from . import kernel
from .alternatives import by_loop, by_pm4py, by_polars, timelines
from .compared import Compared, compare, seconds, shown

SQL = Path(__file__).with_suffix(".sql").read_text(encoding="utf-8")
DAY = 86_400_000_000
KINDS = ["clicked", "opened", "purchase", "signup", "visit"]


def make_log(n_events: int, folder: Path, ids: str, *, first_contact: int = 0, seed: int = 7) -> Path:
    """A log of ten events a contact over a year, in the order of time, as Parquet."""
    rng = np.random.default_rng(seed)
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
    contact, kind, at = first_contact + contact[order], kind[order], at[order]
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


def make_journey(wait: str = "3d", n_visits: int = 3) -> jl.Journey:
    """The nine-node journey: sends, waits for events, a decision on a window, a wait, an exit."""
    return jl.Journey.from_data(
        {
            "journey": "nine",
            "trigger": {"event": "signup", "where": 'plan == "trial"'},
            "nodes": {
                "hello": {"send": "welcome_1", "next": "read"},
                "read": {"wait_for": "opened(hello)", "within": wait, "then": "offer", "else": "nudge"},
                "offer": {"decide": [{"if": f'count("visit", "30d") >= {n_visits}', "go": "deal"}], "else": "plain"},
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


def compared(n_events: int, ids: str, n_runs: int, folder: Path) -> list[Compared]:
    """A replay from Parquet and on a prepared log against the alternatives, its table, and ten variants at once."""
    path, journey, threads = make_log(n_events, folder, ids), make_journey(), {"threads": os.cpu_count() or 1}
    size = f"{n_events:,} events"

    def cold_sql() -> dict[str, int]:
        with duckdb.connect(config=threads) as fresh:
            fresh.execute(f"create view events as select * from read_parquet('{path}')")
            return by_sql(fresh)

    def cold_replay() -> jl.Replay:
        return jl.replay(journey, jl.EventLog.read(path, cache=False))

    def cold_polars() -> dict[str, int]:
        return by_polars(pl.scan_parquet(path))

    expected = branch_counts(cold_replay())
    for alternative in (cold_sql, cold_polars):
        assert alternative() == expected, (alternative(), expected)
    rows = compare("replay, from Parquet", size, n_runs, cold_replay, {"DuckDB, SQL": cold_sql, "polars": cold_polars})
    log, frame = jl.EventLog.read(path, cache=False), pl.read_parquet(path)
    streams = kernel.streams(log)
    assert kernel.counts(streams, log) == expected
    with duckdb.connect(config=threads) as connection:
        connection.execute("create table events as select * from read_parquet(?)", [str(path)])
        rows += compare(
            "replay, log prepared", size, n_runs, lambda: jl.replay(journey, log),
            {
                "DuckDB, SQL": lambda: by_sql(connection),
                "polars": lambda: by_polars(frame.lazy()),
                "kernel by hand": lambda: kernel.counts(streams, log),
            },
        )  # fmt: skip
    by_hand = {"kernel by hand, counts alone": lambda: kernel.counts(streams, log)}
    rows += compare("every visit as a table", size, n_runs, lambda: jl.replay(journey, log).visits, by_hand)
    variants = [make_journey(f"{days}d") for days in range(1, 11)]
    return rows + compare(
        "ten variants", size, n_runs, lambda: [jl.replay(one, log) for one in variants],
        {"ten replays of one": lambda: [jl.replay(journey, log) for _ in range(10)]},
    )  # fmt: skip


def compared_small(n_events: int, n_runs: int, folder: Path) -> list[Compared]:
    """A replay against a loop in Python, and its paths against pm4py: both too slow for more events."""
    path, journey, size = make_log(n_events, folder, "int"), make_journey(), f"{n_events:,} events"
    log, found = jl.EventLog.read(path, cache=False), timelines(pq.read_table(path))
    result = jl.replay(journey, log)
    assert by_loop(found, log.end_us) == branch_counts(result)
    loop = {"loop in Python, rows grouped": lambda: by_loop(found, log.end_us)}
    rows = compare("replay, log prepared", size, n_runs, lambda: jl.replay(journey, log), loop)
    visits = result.visits
    ours = {tuple(path.split(" > ")): n for path, n in result.paths(100).set_index("path")["n_entries"].items()}
    assert by_pm4py(visits) == ours
    few = f"{len(visits):,} visits"
    return rows + compare("paths", few, n_runs, lambda: result.paths(100), {"pm4py": lambda: by_pm4py(visits)})


def grow(sizes: list[int], ids: str, n_runs: int, folder: Path) -> str:
    """What each event costs in logs of several sizes, and how many times the kernel's that is, as a table."""
    journey = make_journey()
    lines = ["| events | " + " | ".join(("cold", "kernel", *WORKS)) + " |", "|---" * (3 + len(WORKS)) + "|"]
    for n_events in sizes:
        path = make_log(n_events, folder, ids)
        ((*cold,),) = seconds(n_runs, lambda path=path: jl.replay(journey, jl.EventLog.read(path, cache=False)))
        taken = seconds(n_runs, *works(journey, jl.EventLog.read(path, cache=False)))
        least = statistics.median(taken[0])
        shown = [f"{one / n_events * 1e9:.2f}" for one in (statistics.median(cold), least)]
        shown += [
            f"{one / n_events * 1e9:.1f} ({one / least:.1f})"
            for one in (statistics.median(turns) for turns in taken[1:])
        ]
        lines.append(f"| {n_events:,} | " + " | ".join(shown) + " |")
        path.unlink()
    return "\n".join(lines)


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
        "--growth", type=int, nargs="*", default=[10_000, 100_000, 1_000_000, 10_000_000, 30_000_000], metavar="EVENTS"
    )
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        rows = compared(options.events, options.ids, options.runs, folder)
        print(shown([*rows, *compared_small(min(options.events, 1_000_000), options.runs, folder)]))
        peak, columns = peak_memory(folder / f"events-{options.events}-{options.ids}.parquet")
        print(
            f"\npeak memory: {peak / 1e6:.0f} MB, {peak / columns:.2f} times the log's columns ({columns / 1e6:.0f} MB)"
        )
        print("\nns an event, and times the kernel\n\n" + grow(options.growth, options.ids, options.runs, folder))


if __name__ == "__main__":
    main()
