"""A sender without one of its guards: the invariants notice each; so they would notice its loss."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from crash.bench import Bench
from crash.faults import overtaken, put_back_unguarded, withdrawn
from crash.invariants import Found, violations
from crash.matrix import Outcome, Run, killed, kills
from crash.mutants import MUTANTS, no_state_at_a_decision
from journeylab.errors import DataError
from journeylab.sender.sending import reconcile
from journeylab.sender.sending.reconcile import resolve
from journeylab.sender.sending.settling import Settled, settle
from journeylab.sender.sending.transport import Outcome as Reply
from sendworld import World, world

pytestmark = pytest.mark.long


@pytest.fixture(scope="module")
def bench(postgres_server: Any) -> Iterator[Bench]:
    with Bench(postgres_server) as made:
        yield made


def kinds(outcome: Outcome) -> set[str]:
    return {one.kind for one in outcome.violations}


def killed_at(bench: Bench, point: str, mutant: str) -> set[str]:
    return kinds(killed(bench, kills(point, "sqlite", 1, mutant=mutant)))


def test_one_that_was_overtaken_changes_nothing(bench: Bench) -> None:
    assert overtaken(bench).violations == []


def test_without_the_fence_it_has_the_message_sent_twice(bench: Bench) -> None:
    assert "duplicate" in kinds(overtaken(bench, "no_fence"))


def test_without_an_end_to_leases_messages_are_stuck(bench: Bench) -> None:
    with Run(bench, kills("after_claim", "sqlite", 1, mutant="no_lease")) as run:
        run.feed()
        run.start_all()
        run.wait_until(lambda: run._start_again() or run.killed, "nobody was killed")
        run.drain(at_most=8)
        found = violations(run.found())
    assert {"stuck", "loss"} <= {one.kind for one in found}


def test_without_consent_at_the_gate_mail_goes_to_those_who_have_withdrawn(bench: Bench) -> None:
    outcome = withdrawn(bench, "sqlite", "before_gate", "unheard", is_killed=False, mutant="no_consent")
    assert "consent" in kinds(outcome)


def test_without_the_gate_before_the_dot_messages_go_twice(bench: Bench) -> None:
    assert "duplicate" in killed_at(bench, "after_dot", "no_gate")


@pytest.mark.parametrize("mutant", ["resends", "no_state"])
def test_what_was_on_its_way_and_is_sent_again_arrives_twice(bench: Bench, mutant: str) -> None:
    assert "duplicate" in killed_at(bench, "after_dot", mutant)


def test_without_a_look_at_receipts_known_replies_are_ambiguous(bench: Bench) -> None:
    assert "ambiguous" in killed_at(bench, "after_journal_before_commit", "no_replay")


def test_without_the_guard_of_copies_everything_goes_again(bench: Bench) -> None:
    assert "duplicate" in kinds(put_back_unguarded(bench, "sqlite", "no_restore_guard"))


# A person's decision, while the reply comes in after all


def decided(one: World) -> tuple[str, set[str]]:
    """What is answered to the one who has an ambiguous message sent again just when its reply is settled."""
    key = one.claimed(
        state="ambiguous", gated_at=one.clock.now, lease_until=None, worker=None, relay="main"
    ).message_key
    is_settled, answers = threading.Event(), []

    def decide() -> None:
        is_settled.wait()
        try:
            resolve(one.store, key, "resend", "kim")
        except DataError as problem:
            answers.append(str(problem))

    person = threading.Thread(target=decide)
    person.start()
    with one.store.writing() as connection:
        reply = Settled(key, 1, "ada", Reply("accepted", "dot", 250, text="ok"), "main", one.clock.now)
        settle(connection, [reply], one.clock.now, one.settings)
        is_settled.set()
        waits = text("select count(*) from pg_locks where not granted")
        while person.is_alive() and not connection.execute(waits).scalar_one():
            pass
    person.join()
    rows = {key: one.row(key)}
    sent = Counter({key: len(one.events("sent"))})
    found = violations(Found({"ada": [key]}, rows, Counter({key: 1}), sent))
    return "".join(answers), {fault.kind for fault in found}


@pytest.fixture
def one(postgresql: str, tmp_path: Path) -> Iterator[World]:
    with world(postgresql, tmp_path) as made:
        made.clock.pass_by(timedelta(minutes=1))
        yield made


def test_a_decision_that_comes_too_late_changes_nothing(one: World) -> None:
    answer, faults = decided(one)
    assert "is being settled just now" in answer
    assert faults == set()


def test_without_the_state_guard_it_would(one: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reconcile, "move", reconcile.move)
    no_state_at_a_decision()
    assert {"duplicate", "stuck"} <= decided(one)[1]


def test_all_mutants_are_tried() -> None:
    text = Path(__file__).read_text()
    assert all(f'"{name}"' in text or f"{name}()" in text for name in MUTANTS)
