"""A replay on a Spark cluster with two executors against one: `python -m benchmarks.spark --events 10000000`.

A standalone master and two workers run on loopback, each worker on a processor of its own, as if on a machine of its
own: else one executor, whose Java and Python work side by side, would take a third of the other's. `--loose` leaves
them as they are. The job is a log of ten events a contact from Parquet, looked at, replayed, and its visits written as
Parquet; on one executor of one core it takes over a minute. Executors are new for
each run and have done a small replay before, so that starting Python and loading the machine is in none of them. Runs
are taken in turn; printed are the seconds of each, the processor time of each executor with its Python, that of other
programs meanwhile, which have to leave a processor free for each executor if seconds are to tell anything, and the
ratios of each pair: by the clock, and of the processor time of one executor to that of the busier of two. Counts and
visits are equal (checked).
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any, NamedTuple

import duckdb
import psutil
from tests.servers.spark import Cluster

import journeylab as jl
from benchmarks.replay import make_journey, make_log
from journeylab.spark import SparkLog, frame

HASHED = "select count(*), sum(hash(visit)::hugeint) from read_parquet('{}/*.parquet') as visit"


class Ran(NamedTuple):
    """What a run took, in seconds: by the clock, of each executor's processor time, and of others' meanwhile."""

    seconds: float
    worked: list[float]
    others: float
    results: Any


def job(session: Any, path: Path, into: Path, n_buckets: int) -> Any:
    """The summary of a replay whose visits are written, and what they are."""
    replayed = jl.replay(make_journey(), SparkLog.of(session.read.parquet(str(path)), n_buckets=n_buckets))
    frame(replayed, "visits").write.mode("overwrite").parquet(str(into))
    return replayed.summary(), into


def measured(cluster: Cluster, n_executors: int, paths: tuple[Path, Path], into: Path, n_buckets: int) -> Ran:
    """A run on so many executors."""
    session = cluster.session(n_executors, **{"spark.driver.memory": "1g", "spark.sql.shuffle.partitions": "32"})
    job(session, paths[0], into, 2 * n_executors)
    before, of_all, worked, start = own_time(), psutil.cpu_times(), cluster.seconds_worked(), time.perf_counter()
    summary, _ = job(session, paths[1], into, n_buckets)
    seconds = time.perf_counter() - start
    ours = [now - then for now, then in zip(cluster.seconds_worked(), worked, strict=True)]
    now = psutil.cpu_times()
    busy = sum(getattr(now, name) - getattr(of_all, name) for name in ("user", "nice", "system"))
    others = max(0.0, busy - sum(ours) - (own_time() - before))
    with duckdb.connect() as connection:
        row = connection.execute(HASHED.format(into)).fetchone()
    shutil.rmtree(into)
    return Ran(seconds, ours, others, (summary, row))


def own_time() -> float:
    """The processor time of this process and the driver's Java so far."""
    me = psutil.Process(os.getpid())
    drivers = [one for one in me.children() if "SparkSubmit" in " ".join(one.cmdline())]
    return sum(sum(one.cpu_times()[:2]) for one in (me, *drivers))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--events", type=int, default=10_000_000)
    parser.add_argument("--buckets", type=int, default=32)
    parser.add_argument("--pairs", type=int, default=3)
    parser.add_argument("--loose", action="store_true")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="journeylab-bench-") as name:
        folder = Path(name)
        paths = make_log(100_000, folder, "int"), make_log(given.events, folder, "int")
        cluster = Cluster(2, "3g")
        try:
            if not given.loose:
                cluster.pin()
            ratios, expected = [], None
            for _ in range(given.pairs):
                pair = [measured(cluster, n, paths, folder / "visits", given.buckets) for n in (1, 2)]
                for n, one in enumerate(pair, 1):
                    expected = expected or one.results
                    assert one.results == expected
                    worked = " and ".join(f"{seconds:.1f}" for seconds in one.worked if seconds > 1)
                    print(f"{n} executor(s): {one.seconds:6.1f} s, processor time {worked} s, "
                          f"others meanwhile {one.others:.1f} s", flush=True)  # fmt: skip
                ratios.append(pair[0].seconds / pair[1].seconds)
                by_work = max(pair[0].worked) / max(pair[1].worked)
                print(f"two are {ratios[-1]:.2f} times as fast as one; by processor time {by_work:.2f}", flush=True)
            print(f"{given.events:,} events, {given.buckets} buckets, {os.cpu_count()} processors; equal results; "
                  f"median {statistics.median(ratios):.2f}, best {max(ratios):.2f}")  # fmt: skip
        finally:
            cluster.stop()


if __name__ == "__main__":
    main()
