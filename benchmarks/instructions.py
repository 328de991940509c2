"""Instructions of the machine and of the hand-specialised kernel: `python -m benchmarks.instructions --events 300000`.

Times tell how noisy a machine is; instructions do not. The program runs itself under valgrind's callgrind, which
counts only while the work is done: nothing of imports, compilation, and the preparation of the log. Printed are the
instructions for each event of the kernel of `benchmarks.kernel`, of the machine's walk that counts, and of the one that
records visits. Starting under valgrind takes minutes.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import benchmarks.replay
import journeylab as jl
from benchmarks.replay import make_journey, make_log

EVENTS = 300_000


def works(path: str) -> dict[str, Callable[[], Any]]:
    """The works, each done once: compiled, and with the log prepared."""
    kernel, _, walk, visits, *_ = benchmarks.replay.works(make_journey(), jl.EventLog.read(path, cache=False))
    found = {"kernel": kernel, "walk": walk, "visits": visits}
    for one in found.values():
        one()
    return found


def compile_all(path: str) -> None:
    """Leaves what is compiled on disk."""
    works(path)


def work(path: str) -> None:
    """Does each work once, told apart by a dump of callgrind's counts after it."""
    for name, one in works(path).items():
        control("--instr=on")
        one()
        control("--instr=off")
        control(f"--dump={name}")


def control(request: str) -> None:
    """Asks the callgrind in which this process runs."""
    subprocess.run(["callgrind_control", request, str(os.getpid())], check=True, capture_output=True)


def counted(path: Path, folder: Path) -> dict[str, int]:
    """The instructions of each work."""
    # Under valgrind the processor looks another one: compiled code is kept for one that both can be.
    environment = {**os.environ, "NUMBA_CPU_NAME": "generic", "NUMBA_CPU_FEATURES": ""}
    valgrind = ["valgrind", "--tool=callgrind", "--instr-atstart=no", f"--callgrind-out-file={folder}/callgrind.out"]
    for tool, what in (([], "compile_all"), (valgrind, "work")):
        code = f"import sys; from benchmarks import instructions; instructions.{what}(sys.argv[1])"
        command = [*tool, sys.executable, "-c", code, str(path)]
        subprocess.run(command, check=True, capture_output=True, env=environment)
    found = {}
    for dump in folder.glob("callgrind.out.*"):
        text = dump.read_text()
        (name,) = re.findall(r"^desc: Trigger: dump (\w+)$", text, re.MULTILINE) or [""]
        found[name] = int(re.findall(r"^totals: (\d+)$", text, re.MULTILINE)[-1])
    return {name: found[name] for name in ("kernel", "walk", "visits")}


def table(n_events: int) -> str:
    """The instructions for each event of each work, and how many times the kernel's they are."""
    with tempfile.TemporaryDirectory() as folder:
        found = counted(make_log(n_events, Path(folder), "int"), Path(folder))
    rows = [f"| {name} | {n / n_events:.1f} | {n / found['kernel']:.1f} |" for name, n in found.items()]
    return "\n".join(["| what | instructions an event | times the kernel |", "|---|---|---|", *rows])


def main() -> None:
    """Counts and prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--events", type=int, default=EVENTS)
    print(table(parser.parse_args().events))


if __name__ == "__main__":
    main()
