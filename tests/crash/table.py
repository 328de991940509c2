"""The crash table: every case is run, and what became of them is printed, and written into the documents.

`make crash`, or in `tests`: `python -m crash.table --date 2026-03-02 --write ../docs/crash-table.md`.
"""

from __future__ import annotations

import argparse
import itertools
import sys
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from servers.postfix import why_not

from .bench import Bench, Mailbox
from .faults import DATABASES, POSTFIX, faults, to_postfix
from .matrix import Database, Outcome, killed, kills
from .points import AMBIGUOUS, BESIDE, POINTS

WORKERS: Final = (1, 2, 4)
NAMES: Final[dict[Database, str]] = {"sqlite": "SQLite", "postgresql": "PostgreSQL"}
_TEXT: Final = """\
# Crash table

What became of mail when the sender was struck, made by `make crash` on {date} and written here from its own output.
In {n_runs} runs, each on a fresh database, {n_messages} messages were to be sent, and {n_kills} processes were killed.
The truth about deliveries is an SMTP server that has each message on disk before it says so, and a real Postfix.

A cell is `duplicates/losses/stuck/ambiguous`, summed over its runs:

- **duplicates**: a message that the relay took twice, or took and the database does not know of;
- **losses**: a message that a run without a crash sends and this one did not, or one held to be accepted that the relay
  has never taken;
- **stuck**: a message or contact that nothing moves any more after all leases are over, or a process that does not end;
- **ambiguous**: a message of which nobody can know whether the relay has it, because the process died between the dot
  that ends it and the reply on disk (RFC 1047). It is never sent again by itself. In each run a person then decided
  with the relay's ledger in hand, and everything had arrived exactly once.

## Killed at every point (SIGKILL)

Each worker is a process with one connection to the relay. One process is killed at the point, with four workers two
are; a process that died is started again. The points stand in the order in which a message passes them; it can become
ambiguous at {n_window} of them: {window}.
At {beside} it is settled, but the next one may have passed the gate in the same transaction.

{points}

## Other faults

A process stops itself at a point, so that the fault strikes there; each line is over several points or kinds.

{faults}

## With a real Postfix

Messages as they are, over TLS, to a Postfix, by a process that is killed at the point.

{postfix}

## Faults found

{found}
"""


@dataclass(frozen=True)
class Job:
    """A run of the table: its row and column."""

    part: str
    row: str
    column: str
    run: Callable[[Bench], Outcome]


def jobs(mailbox: Mailbox | None) -> list[Job]:
    """All runs, in the table's order."""
    made = [
        Job("points", point, f"{NAMES[database]}, {n} worker{'s' * (n > 1)}", _killing(point, database, n))
        for point in POINTS for database in DATABASES for n in WORKERS
    ]  # fmt: skip
    made += [Job("faults", one.name, NAMES[one.database], one.run) for one in faults()]
    if mailbox is not None:
        made += [
            Job("postfix", point, NAMES[database], _posting(point, database, mailbox))
            for point in POSTFIX for database in DATABASES
        ]  # fmt: skip
    return made


def _killing(point: str, database: Database, n: int) -> Callable[[Bench], Outcome]:
    return lambda bench: killed(bench, kills(point, database, n))


def _posting(point: str, database: Database, mailbox: Mailbox) -> Callable[[Bench], Outcome]:
    return lambda bench: to_postfix(bench, database, point, mailbox)


def cell(outcomes: Iterable[Outcome]) -> str:
    """What stands in a cell.

    >>> cell([Outcome([], 12, 1, 1), Outcome([], 12, 0, 1)])
    '0/0/0/1'
    """
    found = [*outcomes]
    n = [sum(one.n(kind) for one in found) for kind in ("duplicate", "loss", "stuck")]
    return "/".join(map(str, [*n, sum(one.n_ambiguous for one in found)]))


def table(done: Sequence[tuple[Job, Outcome]], part: str, first: str) -> str:
    """A part of the table in Markdown: a line of each row, with the number of its runs where they are many."""
    cells: dict[str, dict[str, list[Outcome]]] = defaultdict(lambda: defaultdict(list))
    for job, outcome in done:
        if job.part == part:
            cells[job.row][job.column].append(outcome)
    columns = [*dict.fromkeys(job.column for job, _ in done if job.part == part)]
    has_runs = part == "faults"
    head = [first, *(["runs"] if has_runs else []), *columns]
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    for row, by in cells.items():
        n = [str(sum(map(len, by.values())))] if has_runs else []
        shown = [cell(by[column]) if column in by else "" for column in columns]
        name = row.replace("_", " ") if part == "faults" else f"`{row}`"
        lines.append("| " + " | ".join([name, *n, *shown]) + " |")
    return "\n".join(lines)


def text(done: Sequence[tuple[Job, Outcome]], date: str) -> str:
    """The document."""
    found = [
        f"- {job.row}, {job.column}: {fault.kind}: {fault.text}"
        for job, outcome in done
        for fault in outcome.violations
    ]
    has_postfix = any(job.part == "postfix" for job, _ in done)
    return _TEXT.format(
        date=date,
        n_runs=len(done),
        n_messages=sum(outcome.n_expected for _, outcome in done),
        n_kills=sum(outcome.n_crashes for _, outcome in done),
        n_window=len(AMBIGUOUS),
        window=", ".join(f"`{point}`" for point in AMBIGUOUS),
        beside=", ".join(f"`{point}`" for point in BESIDE),
        points=table(done, "points", "killed at"),
        faults=table(done, "faults", "fault"),
        postfix=table(done, "postfix", "killed at") if has_postfix else "There was none on this machine.",
        found="\n".join(found) or "None.",
    )


def main() -> int:
    """Runs everything; the status is 1 where a fault was found."""
    parser = argparse.ArgumentParser(description="Runs all crashes and prints what became of the mail.")
    parser.add_argument("--date", required=True, help="the day that the table shows")
    parser.add_argument("--write", type=Path, help="a file that gets the table, too")
    parser.add_argument("--jobs", type=int, default=2, help="how many runs go on at once")
    parser.add_argument("--only", default="", help="only rows with this in their name")
    chosen = parser.parse_args()
    counter = itertools.count(1)
    with Bench() as bench:
        mailbox = None if why_not() else Mailbox(bench.folder)
        wanted = [job for job in jobs(mailbox) if chosen.only in job.row]

        def tried(job: Job) -> tuple[Job, Outcome]:
            outcome = job.run(bench)
            faults = "".join(f"\n  {fault.kind}: {fault.text}" for fault in outcome.violations)
            progress = f"{next(counter)}/{len(wanted)} {job.row} {job.column}: {cell([outcome])}{faults}"
            print(progress, file=sys.stderr, flush=True)  # noqa: T201
            return job, outcome

        try:
            with ThreadPoolExecutor(chosen.jobs) as pool:
                done = [*pool.map(tried, wanted)]
        finally:
            if mailbox is not None:
                mailbox.close()
    made = text(done, chosen.date)
    print(made)  # noqa: T201
    if chosen.write is not None:
        chosen.write.write_text(made)
    return int(any(outcome.violations for _, outcome in done))


if __name__ == "__main__":
    sys.exit(main())
