"""Withdrawals against the gate, at once: what passes has passed before, and stands in the receipt (rules 11, 14)."""

from __future__ import annotations

import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from sqlalchemy import insert, update

from journeylab.sender.consent.requests import give
from journeylab.sender.consent.withdrawals import Receipt, withdraw
from journeylab.sender.sending.gate import Passed, Refused, Request, let_pass
from journeylab.sender.sending.preparing import Made
from journeylab.sender.store import Store
from journeylab.sender.store import tables as t
from stores import freeze, people, rows_of, send_row
from webclient import settings_for

N_THREADS = 8
N_MESSAGES = 3


@dataclass
class Trial:
    """One contact with messages that a worker has claimed."""

    contact: str
    keys: list[str]


def prepared(store: Store, n: int) -> list[Trial]:
    trials = []
    people(store, *(f"c{number}" for number in range(n)))
    with store.writing() as connection:
        now = store.now(connection)
        claim = {"state": "claimed", "fence": 1, "worker": "w", "lease_until": now + timedelta(hours=1)}
        for contact in (f"c{number}" for number in range(n)):
            give(connection, contact, "marketing", "Yes", "en", "form", {}, now)
            sends = [send_row(contact, "hello", now, entry=entry, **claim) for entry in range(1, N_MESSAGES + 1)]
            keys = [row["message_key"] for row in sends]
            entered = {"version": "v", "entered_at": now, "converted": False, "held_out": False}
            connection.execute(insert(t.sends), sends)
            connection.execute(
                insert(t.entries),
                [{name: row[name] for name in ("contact", "journey", "entry")} | entered for row in sends],
            )
            rows = [SimpleNamespace(message_key=key, contact=contact) for key in keys]
            freeze(connection, [(row, Made(f"{contact}@rcpt.test", b"Hello", {})) for row in rows], now)
            trials.append(Trial(contact, keys))
        connection.execute(update(t.contacts).values(next_at=None))  # the machine has advanced everybody
    return trials


def raced(store: Store, tmp_path: Path, n: int) -> Counter[str]:
    """What became of n contacts' messages, after the promise was checked for each."""
    store = Store(store.engine)  # by the database's own clock
    trials = prepared(store, n)
    settings = settings_for(tmp_path)
    receipts: dict[str, Receipt] = {}
    answers: dict[str, Passed | Refused] = {}
    order = np.random.default_rng(20260302)

    def gate(trial: Trial, key: str) -> None:
        with store.writing() as connection:
            request = Request(key, 1, trial.contact, "relay")
            answers[key] = let_pass(connection, [request], store.now(connection), settings)[key]

    def withdrawal(trial: Trial) -> None:
        with store.writing() as connection:
            receipts[trial.contact] = withdraw(
                connection, trial.contact, "marketing", "one_click", {}, store.now(connection)
            )

    barrier = threading.Barrier(N_THREADS)
    with ThreadPoolExecutor(N_THREADS, initializer=barrier.wait) as pool:
        done = []
        for trial in trials:
            tasks = [(gate, trial, key) for key in trial.keys] + [(withdrawal, trial)]
            done += [pool.submit(*tasks[place]) for place in order.permutation(len(tasks))]
        for one in done:
            one.result()

    counts: Counter[str] = Counter()
    sends = {row.message_key: row for row in rows_of(store, t.sends)}
    for trial in trials:
        receipt = receipts[trial.contact]
        named = {one.message_key: one for one in receipt.on_its_way}
        for key in trial.keys:
            send, answer = sends[key], answers[key]
            if isinstance(answer, Passed):
                counts["passed"] += 1
                assert send.state == "transmitting"
                assert send.gated_at < receipt.at
                assert named[key].gated_at == send.gated_at
            else:
                counts[answer.reason] += 1
                assert send.state == "cancelled"
                assert send.gated_at is None
                assert key in receipt.cancelled
        assert {*named} | {*receipt.cancelled} == {*trial.keys}
    return counts


def test_no_message_passes_after_its_withdrawal(store: Store, tmp_path: Path) -> None:
    n = 100  # on each database
    counts = raced(store, tmp_path, n)
    assert counts.total() == n * N_MESSAGES
    assert min(counts["passed"], counts["state"]) > n * N_MESSAGES / 10  # both happened, or the test shows nothing


@pytest.mark.nightly
def test_no_message_passes_after_any_of_a_thousand_withdrawals(store: Store, tmp_path: Path) -> None:
    counts = raced(store, tmp_path, 1000)
    assert min(counts["passed"], counts["state"]) > 300
