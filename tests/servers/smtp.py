"""An SMTP server that writes down what it accepts before it says so: the tests' truth about deliveries.

In the test's own process (rules can be changed while it runs), or as a process that can be killed::

    with SmtpOracle(folder / "ledger", rules=[Rule(at="dot", nth=(2,), close=True)]) as oracle: ...
    with OracleProcess(folder / "ledger", chunking=True) as oracle: oracle.kill(); oracle.start()

By hand, `python -m tests.servers.smtp LEDGER --rules RULES.json` prints the address and serves until it is ended.
It has no other imports than the standard library's, so that it starts quickly.
"""

from __future__ import annotations

import argparse
import asyncio
import dataclasses
import json
import os
import signal
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from . import LOOPBACK
from .ledger import Ledger, Record
from .smtpsession import Options, Rule, Server

__all__ = ["Ledger", "OracleProcess", "Record", "Rule", "SmtpOracle"]


class SmtpOracle:
    """The server in a thread of this process.

    Args:
        ledger: the file to which accepted messages are added.
        **options: the fields of `Options`.

    Attributes:
        host, port: where it listens, from entry on.
        rules: may be set while it runs; occurrences are then counted anew.
    """

    host = LOOPBACK

    def __init__(self, ledger: Path, **options: Any) -> None:
        self.ledger = ledger
        self._options = Options(**options)

    def __enter__(self) -> SmtpOracle:
        self._server = Server(self.ledger, self._options)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="smtp-oracle", daemon=True)
        self._thread.start()
        self.port = asyncio.run_coroutine_threadsafe(self._server.start(), self._loop).result(10)
        return self

    def __exit__(self, *exception: object) -> None:
        asyncio.run_coroutine_threadsafe(self._server.stop(), self._loop).result(10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    @property
    def rules(self) -> Sequence[Rule]:
        return self._server.rules

    @rules.setter
    def rules(self, rules: Sequence[Rule]) -> None:
        self._server.rules = rules

    def records(self) -> list[Record]:
        return Ledger.read(self.ledger)

    def counts(self) -> Counter[str]:
        return Ledger.counts(self.ledger)


class OracleProcess:
    """The server as a process of its own, which `kill` ends as a crash would and `start` starts again.

    Args:
        ledger: the file to which accepted messages are added, over all starts.
        **options: the fields of `Options`; the port stays the same over all starts.
    """

    host = LOOPBACK

    def __init__(self, ledger: Path, **options: Any) -> None:
        self.ledger = ledger
        self._options = Options(**options)
        self.port = self._options.port

    def start(self) -> None:
        options = self._options
        rules = self.ledger.with_name(self.ledger.name + ".rules.json")
        rules.write_text(json.dumps([dataclasses.asdict(rule) for rule in options.rules]))
        command = [sys.executable, "-P", "-m", "servers.smtp", str(self.ledger), "--rules", str(rules), "--with-parent"]
        command += ["--port", str(self.port), "--tls", options.tls, "--newest-tls", options.newest_tls]
        command += [f"--certificate={options.certificate}"] if options.certificate else []
        command += [f"--auth={options.auth}"] if options.auth else []
        command += [] if options.fsync else ["--no-fsync"]
        command += [f"--{name}" for name in ("keep", "chunking") if getattr(options, name)]
        environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parent.parent)}
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment)
        assert self.process.stdout is not None
        address = self.process.stdout.readline()
        if not address:
            self._end()
            raise RuntimeError("the SMTP oracle did not start")
        self.port = int(address.split()[1])

    def kill(self) -> None:
        """Ends it with SIGKILL."""
        self.process.kill()
        self._end()

    def _end(self) -> None:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.close()
        self.process.stdout.close()
        self.process.wait()

    def __enter__(self) -> OracleProcess:
        self.start()
        return self

    def __exit__(self, *exception: object) -> None:
        if self.process.returncode is None:
            self.process.terminate()
            self._end()

    def records(self) -> list[Record]:
        return Ledger.read(self.ledger)

    def counts(self) -> Counter[str]:
        return Ledger.counts(self.ledger)


async def _serve(ledger: Path, options: Options, *, with_parent: bool) -> None:
    server, loop, ended = Server(ledger, options), asyncio.get_running_loop(), asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, ended.set)
    if with_parent:
        loop.add_reader(sys.stdin, ended.set)  # nothing is ever written there: it can only end
    print(LOOPBACK, await server.start(), flush=True)  # noqa: T201
    await ended.wait()
    await server.stop()


def main() -> None:
    parser = argparse.ArgumentParser(description="An SMTP server on loopback with a ledger of what it accepted.")
    parser.add_argument("ledger", type=Path)
    parser.add_argument(
        "--rules",
        type=lambda path: Rule.read(Path(path)),
        default=(),
        help="JSON: a list of objects with the fields of Rule",
    )
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--no-fsync", dest="fsync", action="store_false", help="for benchmarks")
    parser.add_argument("--keep", action="store_true", help="write the messages themselves to the ledger")
    parser.add_argument("--chunking", action="store_true")
    parser.add_argument("--certificate", type=Path, help="PEM: key and chain")
    parser.add_argument("--tls", choices=("starttls", "implicit"), default="starttls")
    parser.add_argument("--newest-tls", choices=("1.2", "1.3"), default="1.3")
    parser.add_argument("--auth", metavar="USER:PASSWORD")
    parser.add_argument("--with-parent", action="store_true", help="end when standard input does")
    chosen = vars(parser.parse_args())
    ledger, with_parent = chosen.pop("ledger"), chosen.pop("with_parent")
    asyncio.run(_serve(ledger, Options(**chosen), with_parent=with_parent))


if __name__ == "__main__":
    main()
