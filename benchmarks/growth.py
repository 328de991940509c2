"""What an event costs as the log grows beyond memory: `python -m benchmarks.growth --events 1000000 300000000`.

The log of `benchmarks.replay` is made as a folder of Parquet files, written into buckets, and replayed from them, each
in a process of its own with one budget of memory for all sizes. Printed are seconds, what each event costs, and the
peak memory of the process with its children, pages that they share counted once.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import psutil

import journeylab as jl

from .replay import make_journey, make_log

PIECE = 3_000_000
MEMORY = "2GiB"


class Cost(NamedTuple):
    """What a step took."""

    seconds: float
    peak_bytes: int


def make_pieces(n_events: int, folder: Path) -> Path:
    """A log as a folder of Parquet files, no piece of which takes much memory; its contacts are in one piece each."""
    for place, first in enumerate(range(0, n_events, PIECE)):
        n = min(PIECE, n_events - first)
        make_log(n, folder, "int", first_contact=first // 10, seed=7 + place)
        (folder / f"events-{n}-int.parquet").rename(folder / f"piece-{place:04}.parquet")
    return folder


def write(source: str, buckets: str, memory: str) -> None:
    """Writes a log into buckets."""
    jl.bucket_log(source, buckets, memory=memory)


def replay(source: str, buckets: str, memory: str) -> None:  # noqa: ARG001
    """Counts the branches of the nine-node journey over a log in buckets."""
    assert jl.replay(make_journey(), jl.BucketedLog.open(buckets, memory=memory)).n_entries


def cost(step: str, source: Path, buckets: Path, memory: str) -> Cost:
    """What a step takes in a process of its own."""
    code = f"import sys; from benchmarks import growth; growth.{step}(*sys.argv[1:])"
    start = time.perf_counter()
    with subprocess.Popen([sys.executable, "-c", code, str(source), str(buckets), memory]) as process:
        peak = 0
        while process.poll() is None:
            peak = max(peak, _used(process.pid))
            time.sleep(0.2)
    if process.returncode:
        raise SystemExit(process.returncode)
    return Cost(time.perf_counter() - start, peak)


def _used(pid: int) -> int:
    try:
        parent = psutil.Process(pid)
        everybody = [parent, *parent.children(recursive=True)]
        return sum(int(one.memory_full_info().pss) for one in everybody)
    except psutil.NoSuchProcess:
        return 0


def grow(sizes: Sequence[int], memory: str, folder: Path | None) -> str:
    """What writing and replaying cost in logs of several sizes, as a table."""
    lines = [
        "| events | written, s | us an event | peak MiB | replayed, s | us an event | peak MiB |",
        "|---|---|---|---|---|---|---|",
    ]  # fmt: skip
    for n in sizes:
        with tempfile.TemporaryDirectory(dir=folder) as name:
            source, buckets = Path(name) / "log", Path(name) / "buckets"
            source.mkdir()
            make_pieces(n, source)
            shown = [f"{n:,}"]
            for step in ("write", "replay"):
                taken = cost(step, source, buckets, memory)
                shown += [f"{taken.seconds:.1f}", f"{taken.seconds / n * 1e6:.2f}", f"{taken.peak_bytes / 2**20:,.0f}"]
            lines.append("| " + " | ".join(shown) + " |")
            print(lines[-1], file=sys.stderr, flush=True)
    return "\n".join(lines)


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--events", type=int, nargs="+", default=[1_000_000, 10_000_000, 100_000_000])
    parser.add_argument("--memory", default=MEMORY)
    parser.add_argument("--folder", type=Path, help="where logs are written meanwhile: 35 bytes an event")
    options = parser.parse_args()
    print(grow(options.events, options.memory, options.folder))


if __name__ == "__main__":
    main()
