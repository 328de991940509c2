"""Sending with a gate, receipts and a durable database against a bare SMTP loop: `python -m benchmarks.sender`.

The bare loop has the same connections, pipelines as the sender does, and keeps nothing: it would lose or repeat what
a crash leaves. The sender claims, freezes, lets pass and settles each message in SQLite with `synchronous=FULL`, and
writes a receipt to disk before. Both carry the same bytes to the same sink in the same run, and take turns.
"""

from __future__ import annotations

import argparse
import logging
import os
import smtplib
import subprocess
import sys
import tempfile
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import structlog
from sqlalchemy import insert

from journeylab.sender.keys import Keys
from journeylab.sender.live.intake import make_contacts
from journeylab.sender.sending.preparing import Fault, Made
from journeylab.sender.sending.transport import Connection
from journeylab.sender.sending.worker import Worker
from journeylab.sender.settings import Relay, Settings
from journeylab.sender.store import Store
from journeylab.sender.store import tables as t

from .compared import Compared, of_rates, shown

LEAST = 0.6
KEYS = Keys(bytes(32))
_LINE = b"Something that shops write to those who asked for it, in a line of usual length.\r\n"
_BODY = b"From: Shop <hello@shop.example>\r\nTo: ada@mail.example\r\nSubject: Hello\r\n\r\n" + _LINE * 150


@contextmanager
def sink() -> Iterator[int]:
    """The port of a process that takes all mail and keeps none of it."""
    command = [sys.executable, "-m", "benchmarks.sink"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stdin=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdin is not None
        yield int(process.stdout.readline())
        process.stdin.close()


def bare(relay: Relay, n: int) -> float:
    """How many messages a second go with the same connections, and nothing else."""
    rest = deque(range(n))

    def carry() -> None:
        connection = Connection(relay, "shop.example", None)
        while True:
            try:
                i = rest.popleft()
            except IndexError:
                break
            assert connection.offer("bounce@shop.example", f"c{i}@mail.example", _BODY) is None
            assert connection.finish().kind == "accepted"
        connection.leave()

    return _timed(carry, relay, n)


def _timed(carry: Callable[[], None], relay: Relay, n: int) -> float:
    threads = [threading.Thread(target=carry) for _ in range(relay.connections)]
    start = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return n / (time.perf_counter() - start)


def plain(relay: Relay, n: int) -> float:
    """How many messages a second go by the standard library's `sendmail`, which does not pipeline."""
    rest = deque(range(n))

    def carry() -> None:
        with smtplib.SMTP(relay.host, relay.port, "shop.example") as connection:
            while True:
                try:
                    i = rest.popleft()
                except IndexError:
                    break
                connection.sendmail("bounce@shop.example", f"c{i}@mail.example", _BODY)

    return _timed(carry, relay, n)


def sent(relay: Relay, n: int, driver: str = "sqlite") -> float:
    """How many messages a second the sender carries."""

    def render(connection: Any, rows: Sequence[Any]) -> list[Made | Fault]:  # noqa: ARG001
        return [Made(row.address, _BODY, {}) for row in rows]

    with tempfile.TemporaryDirectory(dir=os.environ.get("BENCHMARK_FOLDER")) as name:
        folder = Path(name)
        store = Store.open(f"{driver}:///{folder / 'sender.db'}", KEYS, create=True)
        _fill(store, n)
        settings = Settings.model_validate(
            {
                "sender": "shop", "domain": "shop.example", "from": {"address": "hello@shop.example"},
                "list_id": "news.shop.example", "bounces": "bounces.shop.example",
                "public_url": "https://mail.shop.example", "relays": [relay],
            }
        ).model_copy(update={"folder": folder})  # fmt: skip
        worker = Worker(store, settings, "w1", render)
        start = time.perf_counter()
        counts = worker.run(until_idle=True)
        took = time.perf_counter() - start
        store.close()
        assert counts == {"accepted": n}
        return n / took


def _fill(store: Store, n: int) -> None:
    with store.writing() as connection:
        now = store.now(connection)
        before = now - timedelta(days=1)
        for start in range(0, n, 1000):
            names = [f"c{i}" for i in range(start, min(start + 1000, n))]
            make_contacts(connection, ((one, f"{one}@mail.example", {}) for one in names), before, before)
            event = {"event": "consent_given", "occurred_at": before, "received_at": before}
            given = [event | {"contact": one, "properties": {"purpose": "marketing"}} for one in names]
            connection.execute(insert(t.events), given)
            entry = {"journey": "welcome", "entry": 1, "version": "v1", "entered_at": before}
            entered = [entry | {"contact": one, "converted": False, "held_out": False} for one in names]
            connection.execute(insert(t.entries), entered)
            send = {
                "journey": "welcome", "entry": 1, "node": "hello", "visit": 1, "message": "hello",
                "purpose": "marketing", "transactional": False, "state": "ready", "planned_at": before,
                "not_before": before, "not_after": now + timedelta(days=2), "attempts": 0, "fence": 0,
                "cap_sends": 3, "cap_within_us": 7 * 24 * 3600 * 10**6,
            }  # fmt: skip
            keys = [KEYS.message_key("welcome", one, 1, "hello", 1) for one in names]
            rows = [send | {"contact": one, "message_key": key} for one, key in zip(names, keys, strict=True)]
            connection.execute(insert(t.sends), rows)


def compared(connections: int, n: int, n_runs: int, driver: str) -> list[Compared]:
    """The sender with so many connections against the loops."""
    with sink() as port:
        relay = Relay(name="main", host="127.0.0.1", port=port, tls="none", connections=connections)
        bare(relay, n // 10)
        runs = [(sent(relay, n, driver), bare(relay, n), plain(relay, n)) for _ in range(n_runs)]
    ours, loop, library = zip(*runs, strict=True)
    return of_rates(
        f"sending, {connections} connections", f"{n:,} mails of {len(_BODY) / 1000:.0f} kB", n, ours,
        {"bare pipelined SMTP that keeps nothing": loop, "smtplib.sendmail": library},
    )  # fmt: skip


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--messages", type=int, default=5_000)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--connections", type=int, nargs="*", default=[1, 20, 50, 100, 200])
    parser.add_argument("--driver", choices=["sqlite", "sqlite+pysqlcipher"], default="sqlite")
    options = parser.parse_args()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))
    rows = [row for one in options.connections for row in compared(one, options.messages, options.runs, options.driver)]
    print(shown(rows))
    if max(row.ratio for row in rows if row.alternative.startswith("bare")) < LEAST:
        print(f"short of {LEAST:.0%} of a bare loop")


if __name__ == "__main__":
    main()
