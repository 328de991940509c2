"""Intake, ticks, sends and vacuum beside millions of waiting contacts: `python -m benchmarks.scale`.

Each size has a PostgreSQL of its own, filled with contacts who wait, and gone afterwards unless `--folder` keeps it.
Then workers, real processes of `journeylab run`, share a backlog, and keep up with events at a rate for a while.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from .filling import fill
from .measuring import batches, looks, pasts, polls, sizes, ticks
from .place import Place, place
from .sharing import COUNTED, drain, idle, soak
from .simulation import MEASURED, most, simulated

_EXACT = 1_000_000
"""Up to so many contacts all can be opened; beyond, nine of ten are twins (see `filling`)."""


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--contacts", type=int, nargs="+", default=[10_000, 100_000, 1_000_000])
    parser.add_argument("--folder", type=Path, help="where the store of the last size is, or is to stay")
    parser.add_argument("--steps", nargs="+", default=["measure", "drain", "soak"], help="measure, drain, soak, model")
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2, 4])
    parser.add_argument("--backlog", type=int, default=5_000)
    parser.add_argument(
        "--rate", type=float, default=278, help="events a second in the soak; 278 are a million an hour"
    )
    parser.add_argument("--seconds", type=float, default=300)
    parser.add_argument("--asks", type=float, default=0.05, help="the share of events after which a message goes")
    parser.add_argument("--cores", type=float, nargs=2, default=[1, 1], help="of the workers, and of PostgreSQL: model")
    options = parser.parse_args()
    if options.steps == ["model"]:
        model(options.rate, options.asks, tuple(options.cores))
        return
    for n in options.contacts:
        with place(options.folder if n == options.contacts[-1] else None) as one:
            n_twins = 9 if n > _EXACT else 0
            n_own = n // (n_twins + 1)
            print(f"\n{n:,} waiting contacts: filled in {fill(one, n_own, n_twins):,.0f} s", flush=True)
            if "measure" in options.steps:
                measure(one, n_own)
            is_last = n == options.contacts[-1]
            for n_workers in options.workers if is_last and "drain" in options.steps else ():
                share(one, n_own, n_workers, options.backlog)
            if is_last and "soak" in options.steps:
                keep_up(one, n_own, options.workers[-1], options.rate, options.seconds, options.asks)


def measure(one: Place, n: int) -> None:
    """What single steps take."""
    store = one.store()
    batches(one, store, n, 100, 3)
    ticks(one, store, n, 10, 2)  # compiled, and in memory
    for of, times in ((1, 200), (10, 50), (100, 10), (1000, 3)):
        spent = batches(one, store, n, of, times)
        print(
            f"intake by {of}: {1 / spent.wall:,.0f} events a second; an event takes {spent.wall * 1e6:,.0f} us, "
            f"{spent.python * 1e6:,.0f} us of Python and {spent.postgres * 1e6:,.0f} us of PostgreSQL", flush=True,
        )  # fmt: skip
    for n_due, times in ((0, 9), (1, 9), (100, 9), (1000, 5), (5000, 3)):
        if n_due <= n:
            spent = ticks(one, store, n, n_due, times)
            print(
                f"a tick with {n_due:,} due: {spent.wall * 1e3:,.1f} ms, {spent.python * 1e3:,.1f} ms of Python and "
                f"{spent.postgres * 1e3:,.1f} ms of PostgreSQL", flush=True,
            )  # fmt: skip
    print(f"a poll for messages that finds none: {polls(store, 20):.1f} ms")
    n_events = 0
    for more in (0, 90, 900):
        n_events += more
        print(f"a contact who has some {n_events:,} events, in a tick of 100: {pasts(store, one, n, more):.2f} ms")
    for what, took in looks(one, store).items():
        print(f"a look at {what}: {took:,.0f} ms", flush=True)
    store.close()
    for name, (n_rows, table, indexes) in sizes(one).items():
        if n_rows > 0:
            print(f"{name}: {n_rows:,} rows, {table / n_rows:,.0f} + {indexes / n_rows:,.0f} bytes each with indexes")


def share(one: Place, n: int, n_workers: int, n_messages: int) -> None:
    """How workers share a backlog."""
    store = one.store()
    alone, rest = drain(one, store, n, n_workers, 1), idle(one, n_workers, 20)
    done = drain(one, store, n, n_workers, n_messages)
    print(
        f"{n_workers} workers: {done.n / done.seconds:,.0f} messages a second from event to the end; each takes "
        f"{done.spent.python * 1e3:.2f} ms of Python and {done.spent.postgres * 1e3:.2f} ms of PostgreSQL; one alone "
        f"takes {alone.seconds:.1f} s; a worker at rest {rest.python * 1e3:.0f} ms a second of Python and "
        f"{rest.postgres * 1e3:.0f} ms of PostgreSQL", flush=True,
    )  # fmt: skip
    store.close()


def keep_up(one: Place, n: int, n_workers: int, rate: float, seconds: float, asks: float) -> None:
    """Whether workers keep up with a rate, and what becomes of tables and indexes."""
    store = one.store()
    found = soak(one, store, n, n_workers, rate, seconds, asks)
    store.close()
    spent, n_received = found.spent, found.looks[-1].n_received
    print(
        f"{n_workers} workers, {n_received / seconds:,.0f} events a second for {seconds:,.0f} s, {len(found.lags):,} "
        f"messages: processors {spent.python / spent.wall:.2f} of workers and {spent.postgres / spent.wall:.2f} of "
        f"PostgreSQL; {found.wal / n_received:,.0f} bytes of WAL an event"
    )
    for what, place_ in (("its tick", 0), ("its message is accepted", 1)):
        values = np.percentile([one[place_] for one in found.lags], (50, 95, 99))
        print(f"from an event until {what}: " + _shown(dict(zip((50, 95, 99), values, strict=True))))
    print(f"most that were due at once: {max(look.n_due for look in found.looks):,}")
    for name in sorted(found.after):
        pairs = zip(COUNTED, found.before[name], found.after[name], strict=True)
        print(
            f"{name}: {', '.join(f'{what} {now - was:+,}' for what, was, now in pairs)}; dead {found.after[name][1]:,}"
        )


def _shown(percentiles: dict[int, float]) -> str:
    return ", ".join(f"{share} % {value:.1f} s" for share, value in percentiles.items())


def model(rate: float, asks: float, cores: tuple[float, float]) -> None:
    """Lags by rate and number of workers, and the most events that go, by the costs measured."""
    for n_workers in (1, 2, 4, 8):
        limit = most(MEASURED, asks, n_workers, cores)
        print(f"{n_workers} workers: {limit:,.0f} events a second ({limit * 3600:,.0f} an hour) take 70 % of a side")
        for one in (rate, *(limit * share for share in (0.5, 1.0, 1.25))):
            if one <= limit * 1.3:
                lags = simulated(MEASURED, one, asks, n_workers, cores)
                print(
                    f"  {one:,.0f} a second: until the tick {_shown(lags.advanced)}; until acceptance "
                    f"{_shown(lags.accepted)}; at work {lags.used[0]:.0%} and {lags.used[1]:.0%}"
                )


if __name__ == "__main__":
    main()
