"""A worker over real sockets: what is ready arrives once, whatever a relay answers and whenever a worker stops."""

from __future__ import annotations

import itertools
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select, update
from sqlalchemy.exc import OperationalError

from journeylab.errors import DataError
from journeylab.sender.live.intake import Person, receive_people
from journeylab.sender.persons.erasure import erase
from journeylab.sender.sending import worker as worker_module
from journeylab.sender.sending.preparing import Fault, Made
from journeylab.sender.sending.worker import STEPS, Worker
from journeylab.sender.settings import Relay
from journeylab.sender.store import tables as t
from sendworld import KEYS, MINUTE, START, World, body_of, rendered, world
from servers.smtp import Rule, SmtpOracle

HOUR = timedelta(hours=1)


def relay_of(port: int, **changed: Any) -> Relay:
    given = Relay(name="main", host="127.0.0.1", port=port, tls="none", timeout=timedelta(seconds=10))
    return given.model_copy(update=changed)


@contextmanager
def sending(folder: Path, *rules: Rule, relay: dict[str, Any] | None = None, **settings: Any) -> Iterator[Any]:
    """A store and the relay that its settings name."""
    with (
        SmtpOracle(folder / "ledger", rules=rules, keep=True, fsync=False) as oracle,
        world(f"sqlite:///{folder / 'sender.db'}", folder, relay_of(oracle.port, **(relay or {})), **settings) as one,
    ):
        yield one, oracle


def run(one: World, name: str = "w1", render: Any = rendered, **given: Any) -> dict[str, int]:
    return dict(Worker(one.store, one.settings, name, render, **given).run(until_idle=True))


def closed_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def test_who_is_erased_after_the_claim_gets_nothing_and_others_do(tmp_path: Path) -> None:
    with sending(tmp_path) as (one, oracle):
        claimed, other = one.add("ada"), one.add("bob")

        def ended(_: object) -> Any:
            raise LookupError

        def observe(step: str, key: str) -> None:
            if (step, key) == ("after_claim", claimed):
                erase(one.store, one.settings, ended, "ada", reason="asked for", actor="kim")

        assert run(one, observe=observe) == {"accepted": 1}
        assert oracle.counts() == {other: 1}
        with one.store.reading() as connection:
            assert connection.scalars(select(t.renderings.c.message_key)).all() == [other]
            assert sorted(connection.scalars(select(t.sends.c.state))) == ["accepted", "cancelled"]


def test_what_is_ready_arrives_once(tmp_path: Path) -> None:
    with sending(tmp_path, relay={"connections": 3}) as (one, oracle):
        keys = [one.add(f"c{i}") for i in range(20)]
        one.add("later", not_before=START + MINUTE)
        one.add("due")
        one.receive("purchase", "due", is_advanced=False)
        steps: list[tuple[str, str]] = []
        assert run(one, observe=lambda step, key: steps.append((step, key))) == {"accepted": 20}
        assert set(oracle.counts().items()) == {(key, 1) for key in keys}
        assert [step for step, key in steps if key == keys[0]] == [step for step in STEPS if step != "in_reaper"]
        sent = one.events("sent")
        assert {(row.contact, row.occurred_at) for row in sent} == {(f"c{i}", START) for i in range(20)}
        assert all(row.received_at > START for row in sent)
        assert sent[0].properties["actual_at"] == START.isoformat()
        row = one.row(keys[0])
        assert (row.state, row.relay, row.worker, row.lease_until) == ("accepted", "main", None, None)
        assert row.queue_id == next(one for one in oracle.records() if one.x_journeylab_message == keys[0]).queue_id
        assert run(one) == {}


def test_on_postgresql_two_workers_share_the_work(tmp_path: Path, postgresql: str) -> None:
    with (
        SmtpOracle(tmp_path / "ledger", fsync=False) as oracle,
        world(postgresql, tmp_path, relay_of(oracle.port, connections=2)) as one,
    ):
        keys = [one.add(f"c{i}") for i in range(60)]
        found: list[dict[str, int]] = []
        threads = [threading.Thread(target=lambda name=name: found.append(run(one, name))) for name in ("w1", "w2")]  # type: ignore[misc]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sum(one.get("accepted", 0) for one in found) == 60
        assert set(oracle.counts().items()) == {(key, 1) for key in keys}


@pytest.mark.parametrize("rule", [Rule(at="rcpt", reply="450 4.2.0 later"), Rule(at="dot", reply="452 4.3.1 full")])
def test_what_is_put_off_is_tried_later_with_the_same_bytes(tmp_path: Path, rule: Rule) -> None:
    with sending(tmp_path, rule) as (one, oracle):
        key = one.add()
        assert run(one) == {"temporary": 1}
        row = one.row(key)
        assert (row.state, row.attempts, row.gated_at) == ("ready", 1, None)
        assert START + MINUTE / 2 <= row.not_before <= START + 2 * MINUTE
        assert run(one) == {}
        with one.store.writing() as connection:
            receive_people(connection, [Person("ada", None, {"name": "Ada"})], one.clock.now)
        one.advanced()
        one.clock.pass_by(5 * MINUTE)
        oracle.rules = ()
        assert run(one, render=None) == {"accepted": 1}  # nothing is rendered a second time
        assert [record.message for record in oracle.records()] == [body_of(key)]


def test_what_is_put_off_too_often_or_too_long_has_failed(tmp_path: Path) -> None:
    with sending(tmp_path, Rule(at="data", reply="451 no"), attempts=3) as (one, _):
        key = one.add()
        short = one.add("bob", not_after=START + timedelta(seconds=20))
        for _ in range(4):
            run(one)
            one.clock.pass_by(HOUR)
        assert (one.row(key).state, one.row(key).attempts, one.row(key).reason) == ("failed", 3, "failed")
        assert (one.row(short).state, one.row(short).attempts) == ("failed", 1)
        assert [row.properties["reason"] for row in one.events("not_sent")] == ["failed", "failed"]


def test_an_address_at_fault_bounces_and_is_suppressed(tmp_path: Path) -> None:
    rules = [
        Rule(at="rcpt", recipient="bad@*", reply="550 5.1.1 nobody"),
        Rule(at="rcpt", recipient="no@*", reply="550 no"),
    ]
    with sending(tmp_path, *rules) as (one, oracle):
        bad, no = one.add("bad"), one.add("no")
        assert run(one) == {"rejected": 2}
        assert (one.row(bad).state, one.row(no).state) == ("rejected", "rejected")
        assert [(row.event, row.contact) for row in one.events("not_sent", "bounced")] in (
            [("not_sent", "bad"), ("bounced", "bad"), ("not_sent", "no")],
            [("not_sent", "no"), ("not_sent", "bad"), ("bounced", "bad")],
        )
        (bounced,) = one.events("bounced")
        assert (bounced.properties["bounce_type"], bounced.properties["node"]) == ("hard", "hello")
        with one.store.reading() as connection:
            suppressed = connection.execute(select(t.suppressions)).one()
            told = connection.execute(select(t.outbox)).one()
        assert suppressed.address_digest == KEYS.address_digest("bad@mail.example")
        assert (told.target, told.body["data"]["contact"]) == ("crm", "bad")
        assert oracle.records() == []


def test_no_reply_to_the_dot_is_ambiguous_and_not_sent_again(tmp_path: Path) -> None:
    with sending(tmp_path, Rule(at="dot", close=True, record=True, nth=(1,))) as (one, oracle):
        key = one.add()
        assert run(one) == {"unknown": 1}
        assert one.row(key).state == "ambiguous"
        assert "sends/ambiguous" in one.alerts()
        one.clock.pass_by(HOUR)
        assert run(one) == {}
        assert oracle.counts() == {key: 1}


def test_a_relay_that_drops_what_it_knows_is_asked_again(tmp_path: Path) -> None:
    relay = {"idempotency_header": "Idempotency-Key", "idempotency_for": timedelta(hours=24)}
    with sending(tmp_path, Rule(at="dot", close=True, nth=(1,)), relay=relay) as (one, _):
        key = one.add()
        assert run(one) == {"unknown": 1, "accepted": 1}
        assert (one.row(key).state, one.row(key).gated_at) == ("accepted", START)


def test_a_repeated_message_that_is_refused_stays_ambiguous(tmp_path: Path) -> None:
    relay = {"idempotency_header": "Idempotency-Key", "idempotency_for": timedelta(hours=24)}
    rules = [Rule(at="dot", close=True, nth=(1,)), Rule(at="dot", reply="550 no")]
    with sending(tmp_path, *rules, relay=relay) as (one, _):
        key = one.add()
        assert run(one) == {"unknown": 1, "rejected": 1}
        row = one.row(key)
        assert (row.state, row.attempts, row.not_before > START) == ("ambiguous", 1, True)
        one.clock.pass_by(timedelta(hours=23))
        assert run(one) == {}


def test_who_withdraws_before_the_gate_gets_nothing(tmp_path: Path) -> None:
    with sending(tmp_path) as (one, oracle):
        key = one.add()

        def withdraw(step: str, _: str) -> None:
            if step == "before_gate":
                one.receive("consent_withdrawn", purpose="marketing")

        assert run(one, observe=withdraw) == {"withdrawn": 1}
        assert (one.row(key).state, one.row(key).reason) == ("planned", "consent")
        assert oracle.records() == []


def test_the_next_relay_takes_what_the_first_does_not(tmp_path: Path) -> None:
    with sending(tmp_path) as (one, oracle):
        dead = relay_of(closed_port(), name="dead")
        one.settings = one.settings.model_copy(update={"relays": (dead, *one.settings.relays)})
        keys = [one.add(f"c{i}") for i in range(8)]
        assert run(one) == {"accepted": 8}
        assert len(oracle.counts()) == 8
        assert {one.row(key).relay for key in keys} == {"main"}
        assert "relay/dead" in one.alerts()


def test_without_any_relay_messages_wait_and_are_not_used_up(tmp_path: Path) -> None:
    with sending(tmp_path) as (one, oracle):
        good = one.settings
        one.settings = good.model_copy(update={"relays": (relay_of(closed_port()),)})
        keys = [one.add(f"c{i}") for i in range(10)]
        assert run(one)["unreached"] >= 5
        assert {one.row(key).state for key in keys} == {"ready"}
        assert {one.row(key).attempts for key in keys} == {0}
        assert one.alerts() == ["relay/main"]
        one.settings = good
        assert run(one) == {}  # the breaker is open
        one.clock.pass_by(2 * MINUTE)
        assert run(one) == {"accepted": 10}
        assert len(oracle.counts()) == 10
        assert one.alerts() == []


def test_a_connection_that_was_ended_meanwhile_is_made_anew(tmp_path: Path) -> None:
    rules = [Rule(at="mail", nth=(3,), reply="421 4.4.2 too long idle"), Rule(at="mail", nth=(5,), close=True)]
    with sending(tmp_path, *rules) as (one, oracle):
        for i in range(6):
            one.add(f"c{i}")
        assert run(one) == {"accepted": 6}
        assert len(oracle.counts()) == 6


def test_what_cannot_be_made_fails_with_its_reason(tmp_path: Path) -> None:
    def render(connection: Any, rows: Any) -> list[Made | Fault]:
        made = rendered(connection, rows)
        return [Fault("hello.html: `name` is missing") if row.contact == "bob" else one
                for row, one in zip(rows, made, strict=True)]  # fmt: skip

    with sending(tmp_path) as (one, oracle):
        good, bad = one.add(), one.add("bob")
        assert run(one, render=render) == {"accepted": 1, "failed": 1}
        assert (one.row(bad).state, one.row(bad).reply) == ("failed", "hello.html: `name` is missing")
        assert one.alerts() == ["messages/welcome/hello"]
        assert oracle.counts() == {good: 1}
        assert [row.contact for row in one.events("not_sent")] == ["bob"]


def test_in_staging_nothing_leaves_for_other_domains(tmp_path: Path) -> None:
    with sending(tmp_path, staging={"domains": ["test.example"]}) as (one, oracle):
        key = one.add()
        assert run(one) == {"failed": 1}
        assert one.row(key).state == "failed"
        assert oracle.records() == []


def test_who_moves_gets_mail_at_the_new_address(tmp_path: Path) -> None:
    with sending(tmp_path, Rule(at="rcpt", reply="450 4.2.0 later", nth=(1,))) as (one, oracle):
        one.add()
        run(one)
        one.moves("ada", "ada@new.example")
        one.clock.pass_by(5 * MINUTE)
        assert run(one) == {"accepted": 1}
        assert [record.rcpt for record in oracle.records()] == [["ada@new.example"]]


# What others left behind.


def test_leases_that_are_over_are_taken_over(tmp_path: Path) -> None:
    with sending(tmp_path) as (one, oracle):
        left = one.claimed("left").message_key
        sent = one.claimed("sent", state="transmitting", gated_at=START, relay="main").message_key
        mine = one.claimed("mine", lease_until=START + HOUR).message_key
        one.clock.pass_by(2 * MINUTE)
        steps: list[tuple[str, str]] = []
        assert run(one, observe=lambda step, key: steps.append((step, key))) == {"accepted": 1}
        assert {key for step, key in steps if step == "in_reaper"} == {left, sent}
        assert (one.row(left).state, one.row(left).fence) == ("accepted", 3)
        assert one.row(sent).state == "ambiguous"
        assert one.row(mine).state == "claimed"
        assert one.alerts() == ["sends/ambiguous"]
        assert oracle.counts() == {left: 1}


def test_a_lease_that_is_held_is_prolonged(tmp_path: Path) -> None:
    with sending(tmp_path) as (one, oracle):
        key = one.add()
        worker: Worker

        def sleep(step: str, _: str) -> None:
            if step == "before_gate":
                for _ in range(3):
                    one.clock.pass_by(one.settings.lease * 0.9)
                    worker._look_after()

        worker = Worker(one.store, one.settings, "w1", rendered, sleep)
        assert worker.run(until_idle=True) == {"accepted": 1}
        assert oracle.counts() == {key: 1}


def test_a_worker_that_slept_too_long_sends_nothing(tmp_path: Path) -> None:
    with sending(tmp_path) as (one, oracle):
        key = one.add()
        worker: Worker

        def sleep(step: str, _: str) -> None:
            if step == "before_gate":
                worker.stop()
                one.clock.pass_by(HOUR)
                assert run(one, "w2") == {"accepted": 1}

        worker = Worker(one.store, one.settings, "w1", rendered, sleep)
        assert worker.run() == {"withdrawn": 1}
        assert oracle.counts() == {key: 1}
        assert one.row(key).state == "accepted"


def test_receipts_are_settled_at_the_next_start(tmp_path: Path) -> None:
    """A worker that dies after the receipt and before the commit leaves nothing unknown."""
    with sending(tmp_path) as (one, oracle):
        key = one.add()

        class Died(BaseException):
            pass

        def die(step: str, _: str) -> None:
            if step == "after_journal_before_commit":
                raise Died

        with pytest.raises(Died):
            run(one, observe=die)
        assert one.row(key).state == "transmitting"
        assert run(one, "w2") == {}
        assert one.row(key).state == "accepted"
        assert oracle.counts() == {key: 1}


def test_a_database_that_fails_at_the_gate_sends_nothing_twice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with sending(tmp_path, relay={"connections": 2}) as (one, oracle):
        keys = [one.add(f"c{i}") for i in range(10)]
        n = itertools.count()  # however often a busy machine lets it try
        real_pass, real_settle = worker_module.let_pass, worker_module.settle

        def let_pass(*given: Any) -> Any:
            found = real_pass(*given)
            if next(n) % 3 == 1:
                raise OperationalError("insert", {}, Exception("gone"))
            return found

        def settle(*given: Any) -> Any:
            real_settle(*given)
            if next(n) % 5 == 2:
                raise OperationalError("insert", {}, Exception("gone"))

        monkeypatch.setattr(worker_module, "let_pass", let_pass)
        monkeypatch.setattr(worker_module, "settle", settle)
        monkeypatch.setattr(worker_module, "_RETRY", 0.01)
        found = run(one)
        assert found["accepted"] == 10
        assert set(oracle.counts().items()) == {(key, 1) for key in keys}
        assert {*one.states().values()} == {"accepted"}


def test_receipts_that_cannot_be_written_stop_the_worker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with sending(tmp_path) as (one, oracle):
        keys = [one.add(f"c{i}") for i in range(20)]
        worker = Worker(one.store, one.settings, "w1", rendered)

        def write(_: Any) -> None:
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(worker._journal, "write", write)
        with pytest.raises(DataError, match=r"sending has stopped.*No space left"):
            worker.run(until_idle=True)
        states = one.states()
        assert {*states.values()} == {"accepted", "ready"}
        assert {*oracle.counts()} == {key for key in keys if states[key] == "accepted"}
        assert one.alerts() == ["workers/w1"]


# Stopping.


def test_a_worker_that_is_stopped_finishes_what_is_on_its_way(tmp_path: Path) -> None:
    with sending(tmp_path, relay={"connections": 2}) as (one, oracle):
        keys = [one.add(f"c{i}") for i in range(30)]
        worker: Worker

        def stop(step: str, _: str) -> None:
            if step == "after_354":
                worker.stop()

        worker = Worker(one.store, one.settings, "w1", rendered, stop)
        found = worker.run()
        states = [one.row(key).state for key in keys]
        assert set(states) == {"accepted", "ready"}
        assert 1 <= found["accepted"] <= 4
        assert len(oracle.counts()) == found["accepted"]
        with one.store.reading() as connection:
            assert connection.execute(select(t.workers.c.stopped_at)).scalar_one() is not None


def test_a_second_signal_takes_back_what_has_not_passed_the_gate(tmp_path: Path) -> None:
    with sending(tmp_path, Rule(at="data", delay=30, nth=(2,))) as (one, oracle):
        for i in range(5):
            one.add(f"c{i}")
        worker: Worker
        n_offered = iter(range(10))

        def stop(step: str, _: str) -> None:
            if step == "after_rcpt" and next(n_offered) == 1:
                worker.on_signal(15, None)
                threading.Timer(0.2, worker.on_signal, (15, None)).start()

        worker = Worker(one.store, one.settings, "w1", rendered, stop)
        found = worker.run()
        assert found["accepted"] == 1
        assert len(oracle.counts()) == 1
        assert sorted(one.states().values()) == ["accepted", *["ready"] * 4]


def test_who_aborts_without_a_database_still_keeps_what_relays_say(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rules = [Rule(at="dot", delay=1, nth=(1,)), Rule(at="dot", delay=2, nth=(2, 3))]
    with sending(tmp_path, *rules, relay={"connections": 3}) as (one, oracle):
        keys = [one.add(f"c{i}") for i in range(3)]
        worker = Worker(one.store, one.settings, "w1", rendered)
        real = worker_module.settle

        def settle(*given: Any) -> None:
            if given[1]:
                worker.abort()
                raise OperationalError("update", {}, Exception("gone"))

        monkeypatch.setattr(worker_module, "settle", settle)
        worker.run()
        assert oracle.counts() == dict.fromkeys(keys, 1)
        assert {*one.states().values()} == {"transmitting"}
        monkeypatch.setattr(worker_module, "settle", real)
        assert run(one, "w2") == {}
        assert {*one.states().values()} == {"accepted"}


def test_it_waits_for_messages_until_it_is_stopped(tmp_path: Path) -> None:
    with sending(tmp_path) as (one, oracle):
        worker = Worker(one.store, one.settings, "w1", rendered)
        thread = threading.Thread(target=worker.run)
        thread.start()
        key = one.add()
        while one.row(key).state != "accepted":
            pass
        worker.stop()
        thread.join(10)
        assert not thread.is_alive()
        assert oracle.counts() == {key: 1}


def test_a_contact_that_is_held_is_left_alone(tmp_path: Path) -> None:
    with sending(tmp_path) as (one, _):
        key = one.add()
        with one.store.writing() as connection:
            connection.execute(update(t.contacts).values(held_because="a fault"))
        assert run(one) == {}
        assert one.row(key).state == "ready"
