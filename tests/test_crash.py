"""Senders that are killed and starved lose nothing and repeat nothing; `make crash` tries far more of it than this."""

from __future__ import annotations

import re
import select
import signal
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from crash.bench import Bench, Mailbox
from crash.faults import DATABASES, POSTFIX, Fault, faults, to_postfix
from crash.matrix import Case, Database, Outcome, killed, kills
from crash.points import AMBIGUOUS, BESIDE, POINTS
from crash.table import WORKERS, jobs
from journeylab.sender.sending import outbox
from journeylab.sender.sending.alerts import raise_alert
from journeylab.sender.sending.transport import Connection
from journeylab.sender.sending.worker import Worker
from journeylab.sender.settings import Relay
from sendworld import rendered, world
from servers.smtp import Rule, SmtpOracle

DOCUMENT = Path(__file__).resolve().parent.parent / "docs" / "crash-table.md"
_TURNS: tuple[tuple[Database, int], ...] = (
    ("sqlite", 1), ("postgresql", 1), ("sqlite", 2), ("postgresql", 2), ("sqlite", 1), ("postgresql", 4), ("sqlite", 4),
)  # fmt: skip
KILLS = {
    f"{point}-{database}-{n}": kills(point, database, n)
    for i, point in enumerate(POINTS)
    for database, n in [_TURNS[i % len(_TURNS)]]
}
"""Each point once; databases and numbers of workers take turns."""
_RELAYS = ("takes_and_closes", "half_a_reply", "5xx_at_rcpt", "421_at_mail")


def chosen() -> list[Fault]:
    """One of each kind of fault, on either database in turn."""
    by_name: dict[str, list[Fault]] = {}
    for one in faults():
        by_name.setdefault(one.name, []).append(one)
    found = []
    for i, (name, of) in enumerate(by_name.items()):
        if name == "relay that errs":
            continue
        mine = [one for one in of if one.database == DATABASES[i % 2]] or of
        found.append(mine[i % len(mine)])
    for i, place in enumerate(_RELAYS):
        found += [one for one in faults() if one.place == place and one.database == DATABASES[i % 2]]
    return found


FAULTS = {one.id: one for one in chosen()}


@pytest.fixture(scope="module")
def bench(postgres_server: Any) -> Iterator[Bench]:
    with Bench(postgres_server) as made:
        yield made


@pytest.fixture(scope="module")
def outcomes(bench: Bench) -> Iterator[dict[str, Future[Outcome]]]:
    """All runs of this file, two at once."""
    with ThreadPoolExecutor(2) as pool:
        started = {name: pool.submit(killed, bench, case) for name, case in KILLS.items()}
        yield started | {name: pool.submit(fault.run, bench) for name, fault in FAULTS.items()}


@pytest.mark.long
@pytest.mark.parametrize("name", KILLS)
def test_a_kill_repeats_nothing_and_loses_nothing(outcomes: dict[str, Future[Outcome]], name: str) -> None:
    outcome = outcomes[name].result()
    assert outcome.violations == []
    assert outcome.n_crashes >= 1
    point = KILLS[name].strikes[-1].point
    least, most = int(point in AMBIGUOUS), int(point in (*AMBIGUOUS, *BESIDE))
    assert least * outcome.n_crashes <= outcome.n_ambiguous <= most * outcome.n_crashes


@pytest.mark.long
@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_repeats_nothing_and_loses_nothing(outcomes: dict[str, Future[Outcome]], name: str) -> None:
    assert outcomes[name].result().violations == []


def test_several_messages_on_their_way_at_once_are_each_kept_apart(bench: Bench) -> None:
    outcome = killed(bench, kills("after_dot", "sqlite", 1, n_lanes=3))
    assert outcome.violations == []
    assert 1 <= outcome.n_ambiguous <= 3


def test_without_a_crash_nothing_is_ambiguous(bench: Bench) -> None:
    outcome = killed(bench, Case("postgresql", n_workers=2))
    assert (outcome.violations, outcome.n_ambiguous, outcome.n_expected) == ([], 0, 16)


@pytest.mark.long
def test_a_real_postfix_has_each_message_once(
    bench: Bench, postfix: Any, authority: Any, tmp_path: Path
) -> None:  # fmt: skip
    mailbox = Mailbox(tmp_path, postfix, authority)
    outcome = to_postfix(bench, "sqlite", "after_dot", mailbox)
    assert (outcome.violations, outcome.n_ambiguous) == ([], 1)


def test_a_relay_that_has_hung_up_before_the_dot_has_taken_nothing(tmp_path: Path) -> None:
    with SmtpOracle(tmp_path / "ledger", rules=[Rule(at="body", nth=(1,), close=True, after=1)]) as oracle:
        relay = Relay(name="main", host=oracle.host, port=oracle.port, tls="none")
        connection = Connection(relay, "shop.example", None)
        assert connection.offer("a@shop.example", "b@rcpt.test", b"Subject: Hello\r\n\r\nHello\r\n") is None
        assert select.select([connection.sock], [], [], 60)[0]
        outcome = connection.finish()
        assert (outcome.kind, outcome.stage, connection.is_open) == ("temporary", "body", False)
        assert oracle.records() == []


def test_a_worker_in_a_library_writes_nothing_of_itself(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    with SmtpOracle(tmp_path / "ledger") as oracle:
        relay = Relay(name="main", host=oracle.host, port=oracle.port, tls="none")
        with world(f"sqlite:///{tmp_path / 'sender.db'}", tmp_path, relay) as one:
            one.add()
            assert Worker(one.store, one.settings, "w", rendered).run(until_idle=True) == {"accepted": 1}
    assert capfd.readouterr() == ("", "")


def test_a_worker_ends_also_when_its_signal_comes_at_a_bad_time(tmp_path: Path) -> None:
    """A signal's handler that outlasts a wait in CPython's `SimpleQueue.get` makes that wait for ever."""
    n_signals = 0

    def handle(number: int, frame: Any) -> None:
        nonlocal n_signals
        n_signals += 1
        if n_signals > 1:
            raise TimeoutError("it does not end")
        time.sleep(0.5)
        worker.on_signal(number, frame)
        signal.setitimer(signal.ITIMER_REAL, 30)

    with SmtpOracle(tmp_path / "ledger") as oracle:
        relay = Relay(name="main", host=oracle.host, port=oracle.port, tls="none")
        with world(f"sqlite:///{tmp_path / 'sender.db'}", tmp_path, relay) as one:
            worker = Worker(one.store, one.settings, "w", rendered)
            before = signal.signal(signal.SIGALRM, handle)
            signal.setitimer(signal.ITIMER_REAL, 0.5)
            try:
                assert worker.run() == {}
            finally:
                signal.setitimer(signal.ITIMER_REAL, 0)
                signal.signal(signal.SIGALRM, before)


def test_what_is_to_be_told_to_nobody_may_come_at_any_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = outbox._set_aside

    def set_aside(connection: Any, settings: Any, at: Any) -> None:
        real(connection, settings, at)
        raise_alert(connection, "sends/ambiguous", "error", "one more", at)

    monkeypatch.setattr(outbox, "_set_aside", set_aside)
    with world(f"sqlite:///{tmp_path / 'sender.db'}", tmp_path) as one:
        assert outbox.deliver(one.store, one.settings, one.clock.now) == (0, 0, 0)


# The document


def rows(part: str) -> dict[str, list[str]]:
    """The cells of a part's table by row."""
    text = DOCUMENT.read_text().partition(f"## {part}")[2].partition("\n## ")[0]
    lines = [line.strip("| ").split(" | ") for line in text.splitlines() if line.startswith("| ")]
    return {first.strip("`"): cells for first, *cells in lines[1:]}


def test_the_table_has_every_point_and_no_fault() -> None:
    points = rows("Killed at every point")
    assert [*points] == [*POINTS]
    assert all(len(cells) == len(DATABASES) * len(WORKERS) for cells in points.values())
    for point, cells in points.items():
        for one in cells:
            found = re.fullmatch(r"0/0/0/(\d+)", one)
            assert found is not None, (point, one)
            assert point in BESIDE or (int(found[1]) > 0) == (point in AMBIGUOUS), (point, one)
    others = rows("Other faults")
    assert {*others} == {one.name for one in faults()}
    postfix = rows("With a real Postfix")
    assert {*postfix} == {*POSTFIX}
    for cells in (*others.values(), *postfix.values()):
        assert all(re.fullmatch(r"|\d+|0/0/0/\d+", one.strip()) for one in cells), cells
    assert DOCUMENT.read_text().endswith("## Faults found\n\nNone.\n")


# The whole


@pytest.mark.nightly
@pytest.mark.parametrize("job", jobs(None), ids=lambda job: f"{job.row}-{job.column}")
def test_all_of_the_table(bench: Bench, job: Any) -> None:
    assert job.run(bench).violations == []
