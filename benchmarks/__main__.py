"""Every benchmark in one report: `python -m benchmarks --date 2026-11-27 --write docs/benchmarks.md`.

It takes a quarter of an hour on two cores, and wants them alone. With `--quick` all is small, to see that it runs; the
steps of the sender and the instructions are left out.
"""

from __future__ import annotations

import argparse
import logging
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from importlib.metadata import version
from pathlib import Path

import structlog

from . import experiments, growth, instructions, notebooks, replay, sender, sendtime, simulate, ticks
from .compared import Compared, shown

PACKAGES = (
    "numpy", "numba", "pandas", "pyarrow", "duckdb", "polars", "simpy", "pm4py", "lightgbm", "scikit-learn",
    "sqlalchemy",
)  # fmt: skip


def parts(folder: Path, *, quick: bool) -> dict[str, Callable[[], list[Compared]]]:
    """The parts of the report, by title."""
    by, runs = (100, 1) if quick else (1, 5)
    return {
        "Replay": lambda: [
            *replay.compared(10_000_000 // by, "int", runs, folder),
            *replay.compared_small(1_000_000 // by, runs, folder),
        ],
        "Simulation": lambda: simulate.compared(1_000_000 // by, 1000 // by, min(runs, 3), folder),
        "Send times": lambda: sendtime.speed(500_000 // by, 10),
        "Experiments": lambda: experiments.compared(10_000_000 // by, runs, folder),
        "Sending": lambda: [
            row for n in (1, 20, 50) for row in sender.compared(n, 5_000 // by, min(runs, 3), "sqlite")
        ],
        "Ticks": lambda: ticks.compared(20_000 // by, min(runs, 3)),
        "Notebooks": lambda: notebooks.compared(10_000_000 // by, folder),
    }  # fmt: skip


def machine() -> str:
    """The processor, the memory and the versions."""
    text = Path("/proc/cpuinfo").read_text(encoding="utf-8") if Path("/proc/cpuinfo").exists() else ""
    names = {line.split(":")[1].strip() for line in text.splitlines() if line.startswith("model name")}
    gib = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    found = ", ".join(f"{name} {version(name)}" for name in PACKAGES)
    return (
        f"{os.cpu_count()} processors ({', '.join(sorted(names)) or platform.machine()}), {gib:.0f} GiB of memory, "
        f"{platform.system()} {platform.release().split('-')[0]}, Python {platform.python_version()}; {found}"
    )


def report(date: str, folder: Path, *, quick: bool) -> Iterator[str]:
    """The report as Markdown, part by part."""
    yield f"# Benchmarks\n\n{INTRODUCTION}\n\nMeasured on {date}: {machine()}."
    for title, compared in parts(folder, quick=quick).items():
        yield f"## {title}\n\n{shown(compared())}"
    if not quick:
        command = ["-m", "benchmarks.scale", "--contacts", "10000", "100000", "--steps", "measure"]
        made = subprocess.run([sys.executable, *command], check=True, capture_output=True, text=True).stdout
        yield f"## Steps of the sender\n\n`python {' '.join(command)}`:\n\n```text\n{made.strip()}\n```"
    sizes = [1_000, 10_000, 100_000] if quick else [10_000, 100_000, 1_000_000, 10_000_000]
    buckets = [100_000, 1_000_000] if quick else [1_000_000, 10_000_000]
    yield f"## Growth\n\n{GROWTH}\n\n{replay.grow(sizes, 'int', 5, folder)}"
    if not quick:
        counted = instructions.table(instructions.EVENTS) if shutil.which("valgrind") else "valgrind was not there."
        yield f"{INSTRUCTIONS}\n\n{counted}"
    yield f"{BUCKETS}\n\n{growth.grow(buckets, growth.MEMORY, folder)}"


INTRODUCTION = """\
What JourneyLab does against other means of the same, in the same run and in turn. *Takes times as long* is the
alternative's time by ours, the median and the extremes of the turns: above 1, JourneyLab is the faster one. `make
bench` writes this page anew; what the alternatives are is in `benchmarks/alternatives.py`, `benchmarks/kernel.py` and
`benchmarks/replay.sql`. The sender in size is measured in [scale.md](scale.md), Spark in [spark.md](spark.md)."""

GROWTH = """\
What an event costs in memory, in nanoseconds, as the log grows over three decades; in brackets, how many times what
the kernel by hand takes, which counts the branches of this one journey. `cold` is from Parquet to counts, `replay` on a
prepared log, `walk` the machine alone, `visits` with every visit recorded, `in order` with the visits sorted, `table`
as a data frame."""

INSTRUCTIONS = f"""\
Beside the times, what does not depend on how busy a machine is: the instructions of some of these, counted by
callgrind over {instructions.EVENTS:,} events."""

BUCKETS = """\
The same in buckets, with one budget of memory for all sizes; [large-logs.md](large-logs.md) has 300 million events:"""


def main() -> None:
    """Measures, prints each part when it is there, and writes the report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--date", required=True, help="the day that the report tells")
    parser.add_argument("--write", type=Path, metavar="FILE")
    parser.add_argument("--quick", action="store_true")
    options = parser.parse_args()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))
    made = []
    with tempfile.TemporaryDirectory() as folder:
        for part in report(options.date, Path(folder), quick=options.quick):
            print(part + "\n", flush=True)
            made.append(part + "\n")
    if options.write:
        options.write.write_text("\n".join(made), encoding="utf-8")


if __name__ == "__main__":
    main()
