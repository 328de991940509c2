"""Instructions of the machine and of the hand-specialised kernel: `python -m benchmarks.instructions --events 300000`.

Times tell how noisy a machine is; instructions do not. The program runs itself under valgrind's callgrind, which
counts only while the work is done: nothing of imports, compilation, and the preparation of the log. Printed are
the instructions for each event of the kernel of `benchmarks.kernel`, of the machine that counts, and of the machine
that records visits. Starting under valgrind takes minutes.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

import journeylab as jl
from benchmarks import kernel
from benchmarks.replay import make_journey, make_log
from journeylab.execution import run
from journeylab.worlds import prepared


def work(path: str) -> None:
    """Does each work once, told apart by a dump of callgrind's counts after it."""
    log = jl.EventLog.read(path, cache=False)
    ready = prepared(make_journey(), log)
    streams = kernel.streams(log)

    def advance(*, record: bool) -> None:
        run(ready.compiled.program, ready.world, len(ready.compiled.exits), log.n_contacts, record=record)

    works = {
        "kernel": lambda: kernel.counts(streams, log),
        "counts": lambda: advance(record=False),
        "visits": lambda: advance(record=True),
    }
    for one in works.values():
        one()
    for name, one in works.items():
        control("--instr=on")
        one()
        control("--instr=off")
        control(f"--dump={name}")


def control(request: str) -> None:
    """Asks the callgrind in which this process runs."""
    subprocess.run(["callgrind_control", request, str(os.getpid())], check=True, capture_output=True)


def counted(path: Path, folder: Path) -> dict[str, int]:
    """The instructions of each work."""
    out = folder / "callgrind.out"
    valgrind = ["valgrind", "--tool=callgrind", "--instr-atstart=no", f"--callgrind-out-file={out}"]
    code = "import sys; from benchmarks.instructions import work; work(sys.argv[1])"
    subprocess.run([sys.executable, "-c", code, str(path)], check=True, capture_output=True)  # compiles
    subprocess.run([*valgrind, sys.executable, "-c", code, str(path)], check=True, capture_output=True)
    found = {}
    for dump in folder.glob("callgrind.out.*"):
        text = dump.read_text()
        name = re.findall(r"^desc: Trigger: .*?--?dump=?\s*(\w+)|^desc: Trigger: (\w+)", text, re.MULTILINE)
        total = re.findall(r"^(?:totals|summary): (\d+)", text, re.MULTILINE)
        found[str(name)] = int(total[-1])
    return found


def main() -> None:
    """Counts and prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--events", type=int, default=300_000)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        path = make_log(options.events, Path(folder), "int")
        found = counted(path, Path(folder))
    for name, n in found.items():
        print(f"{name}: {n / options.events:8.1f} instructions an event, {n / found['kernel']:6.2f} times the kernel")


if __name__ == "__main__":
    main()
