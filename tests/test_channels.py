"""Messages that go out by a channel of an installed package: none lost, none repeated, whatever the channel does."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from pydantic import ValidationError
from sqlalchemy import select

from installed import install
from journeylab.errors import DataError
from journeylab.sender.health import health_of
from journeylab.sender.sending.onemail import NotTaken, hand_over
from journeylab.sender.sending.worker import Worker
from journeylab.sender.settings import Relay
from journeylab.sender.store import tables as t
from sendworld import MINUTE, START, World, body_of, rendered, world

POINTS = "[journeylab.channels]\nacme = scripted_channel:Scripted\n"
SCRIPTED = """
from journeylab.sender.sending.channels import Answer

sent, does = [], []

class Scripted:
    def __init__(self, *, options, secrets, timeout):
        if "regoin" in options:
            raise ValueError("no option 'regoin'; did you mean 'region'?")
        self.told = options, secrets, timeout

    def send(self, letter):
        sent.append((letter, self.told))
        act = does.pop(0) if does else lambda one: Answer("accepted", "queued", f"acme-{len(sent)}")
        return act(letter)

    def close(self):
        sent.append("closed")
"""


@pytest.fixture
def acme(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    folder = install(tmp_path / "packages", "acme", {"scripted_channel.py": SCRIPTED}, POINTS)
    monkeypatch.syspath_prepend(str(folder))
    monkeypatch.delitem(sys.modules, "scripted_channel", raising=False)
    return importlib.import_module("scripted_channel")


@contextmanager
def sending(folder: Path, **relay: Any) -> Iterator[World]:
    given = {"name": "acme", "channel": "acme", **relay}
    with world(f"sqlite:///{folder / 'sender.db'}", folder, Relay.model_validate(given)) as one:
        yield one


def run(one: World, name: str = "w1", **given: Any) -> dict[str, int]:
    return dict(Worker(one.store, one.settings, name, rendered, **given).run(until_idle=True))


def answers(**given: Any) -> Callable[[Any], Any]:
    def answer(_: Any) -> Any:
        from journeylab.sender.sending.channels import Answer

        return Answer(**given)

    return answer


def letters(acme: ModuleType) -> list[Any]:
    return [one[0] for one in acme.sent if one != "closed"]


def test_what_is_ready_goes_out_once_with_its_key_and_bytes(
    acme: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ACME", "s3cret")
    more = {"options": {"region": "eu"}, "secrets": {"token": "env:ACME"}, "connections": 3, "timeout": "5s"}
    with sending(tmp_path, **more) as one:
        keys = [one.add(f"c{i}") for i in range(20)]
        assert run(one) == {"accepted": 20}
        assert sorted(letter.key for letter in letters(acme)) == sorted(keys)
        assert {letter.address for letter in letters(acme)} == {f"c{i}@mail.example" for i in range(20)}
        assert all(letter.data == body_of(letter.key) for letter in letters(acme))
        assert all(letter.return_path.endswith("@bounces.shop.example") for letter in letters(acme))
        assert acme.sent[0][1] == ({"region": "eu"}, {"token": "s3cret"}, 5.0)
        assert (one.row(keys[0]).relay, one.row(keys[0]).state) == ("acme", "accepted")
        assert one.row(keys[0]).queue_id.startswith("acme-")
        assert len(one.events("sent")) == 20
        assert "closed" in acme.sent
        assert run(one) == {}


def test_nobody_is_told_of_a_message_that_the_gate_refuses(acme: ModuleType, tmp_path: Path) -> None:
    with sending(tmp_path) as one:
        key = one.add()

        def withdraw(step: str, _: str) -> None:
            if step == "before_gate":
                one.receive("consent_withdrawn", purpose="marketing")

        assert run(one, observe=withdraw) == {"withdrawn": 1}
        assert (one.row(key).state, one.row(key).reason) == ("planned", "consent")
        assert letters(acme) == []


def test_what_is_refused_for_now_is_tried_again_with_the_same_bytes(acme: ModuleType, tmp_path: Path) -> None:
    acme.does += [answers(said="later", text="too many a second, ada@mail.example")]
    with sending(tmp_path) as one:
        key = one.add()
        assert run(one) == {"temporary": 1}
        row = one.row(key)
        assert (row.state, row.attempts, row.gated_at) == ("ready", 1, None)
        assert "too many a second" in row.reply
        assert "ada@" not in row.reply
        assert run(one) == {}
        one.clock.pass_by(5 * MINUTE)
        assert run(one) == {"accepted": 1}
        first, second = letters(acme)
        assert first == second


def test_what_is_refused_for_good_is_over_and_a_bad_address_is_suppressed(acme: ModuleType, tmp_path: Path) -> None:
    acme.does += [answers(said="refused", text="spam"), answers(said="refused", text="nobody", is_address_bad=True)]
    with sending(tmp_path) as one:
        for who in ("ada", "bob"):
            one.add(who)
        assert run(one) == {"rejected": 2}
        assert {*one.states().values()} == {"rejected"}
        assert [row.contact for row in one.events("bounced")] == [one.events("not_sent")[1].contact]
        with one.store.reading() as connection:
            assert len(connection.execute(select(t.suppressions)).all()) == 1


def raises(_: Any) -> Any:
    raise ConnectionResetError("the connection was cut for ada@mail.example")


@pytest.mark.parametrize(
    "act", [raises, answers(said="unknown"), lambda _: None, lambda _: sys.exit(3), answers(said="sent")]
)
def test_what_nobody_knows_is_ambiguous_and_not_sent_again(
    acme: ModuleType, tmp_path: Path, act: Callable[[Any], Any]
) -> None:
    acme.does += [act]
    with sending(tmp_path) as one:
        unknown, fine = one.add("ada"), one.add("bob")
        assert run(one) == {"unknown": 1, "accepted": 1}
        assert sorted(one.states().values()) == ["accepted", "ambiguous"]
        assert "sends/ambiguous" in one.alerts()
        assert "ada@" not in str([one.row(key).reply for key in (unknown, fine)])
        one.clock.pass_by(timedelta(hours=3))
        assert run(one) == {}
        assert len(letters(acme)) == 2


def test_a_channel_that_does_not_answer_in_time_holds_nobody_up(acme: ModuleType, tmp_path: Path) -> None:
    import threading

    never = threading.Event()
    acme.does += [lambda _: never.wait(30)]
    with sending(tmp_path, timeout="300ms") as one:
        keys = [one.add(f"c{i}") for i in range(3)]
        assert run(one) == {"unknown": 1, "accepted": 2}
        assert sorted(one.row(key).state for key in keys) == ["accepted", "accepted", "ambiguous"]
        never.set()


def test_where_the_provider_drops_what_it_knows_it_is_asked_again(acme: ModuleType, tmp_path: Path) -> None:
    acme.does += [raises]
    with sending(tmp_path, idempotency_for="24h") as one:
        key = one.add()
        assert run(one) == {"unknown": 1, "accepted": 1}
        assert (one.row(key).state, one.row(key).gated_at) == ("accepted", START)
        first, second = letters(acme)
        assert first == second
        assert first.key == key


class Died(BaseException):
    pass


@pytest.mark.parametrize(
    ("step", "n_told"),
    [("after_claim", 0), ("after_render", 0), ("after_journal_before_commit", 1), ("settle_before_commit", 1)],
)
def test_a_crash_before_the_gate_or_after_the_answer_loses_and_repeats_nothing(
    acme: ModuleType, tmp_path: Path, step: str, n_told: int
) -> None:
    with sending(tmp_path) as one:
        key = one.add()

        def die(now: str, _: str) -> None:
            if now == step:
                raise Died

        with pytest.raises(Died):
            run(one, observe=die)
        assert len(letters(acme)) == n_told
        one.clock.pass_by(timedelta(minutes=15))
        run(one, "w2")
        assert one.row(key).state == "accepted"
        assert len(letters(acme)) == 1


@pytest.mark.parametrize(("promise", "state"), [({}, "ambiguous"), ({"idempotency_for": "24h"}, "accepted")])
def test_a_crash_while_the_channel_is_asked_is_ambiguous(
    acme: ModuleType, tmp_path: Path, promise: dict[str, Any], state: str
) -> None:
    with sending(tmp_path, **promise) as one:
        key = one.claimed(state="transmitting", gated_at=START, relay="acme").message_key
        one.clock.pass_by(timedelta(minutes=15))
        run(one, "w2")
        assert one.row(key).state == state
        assert [letter.key for letter in letters(acme)] == [key] * bool(promise)


def test_a_channel_that_cannot_be_made_is_left_alone_and_the_next_relay_takes_over(
    acme: ModuleType, tmp_path: Path
) -> None:
    broken = Relay.model_validate({"name": "broken", "channel": "acme", "options": {"regoin": "eu"}})
    with sending(tmp_path) as one:
        one.settings = one.settings.model_copy(update={"relays": (broken, *one.settings.relays)})
        keys = [one.add(f"c{i}") for i in range(8)]
        assert run(one) == {"accepted": 8}
        assert {one.row(key).relay for key in keys} == {"acme"}
        assert "relay/broken" in one.alerts()


def test_a_provider_that_refuses_everything_is_left_alone(acme: ModuleType, tmp_path: Path) -> None:
    acme.does += [answers(said="refused", text="account closed")] * 200
    with sending(tmp_path) as one:
        for i in range(140):
            one.add(f"c{i}")
        assert 10 <= run(one)["rejected"] <= 128  # those that were claimed before it was known
        assert "relay/acme" in one.alerts()


def test_a_channel_that_nobody_brings_stops_the_worker_before_anything_is_claimed(tmp_path: Path) -> None:
    with sending(tmp_path, channel="nowhere") as one:
        key = one.add()
        with pytest.raises(DataError, match="no installed package brings the message channel 'nowhere'"):
            run(one)
        assert one.row(key).state == "ready"


def test_reports_and_checkpoints_go_by_a_channel_too(acme: ModuleType, tmp_path: Path) -> None:
    acme.does += [answers(said="accepted"), answers(said="refused", text="no"), answers(said="unknown")]
    with sending(tmp_path) as one:
        hand_over(b"Subject: a report\r\n\r\n", "ops@shop.example", one.settings)
        for _ in range(2):
            with pytest.raises(NotTaken, match="the relay acme has not taken it"):
                hand_over(b"Subject: a report\r\n\r\n", "ops@shop.example", one.settings)
        assert len({letter.key for letter in letters(acme)}) == 1


SETTINGS = """
sender: shop
domain: shop.example
from: {{address: hello@shop.example}}
list_id: news.shop.example
bounces: bounces.shop.example
public_url: https://mail.shop.example
relays: [{{name: acme, channel: acme, options: {{{option}: eu}}, secrets: {{token: "env:NOT_SET_ANYWHERE"}}}}]
"""


@pytest.mark.parametrize(
    ("option", "said"),
    [("region", "the channel acme is ready; its provider was not asked"), ("regoin", "mean 'region'")],
)
def test_doctor_makes_the_channel_and_calls_nobody(
    acme: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, option: str, said: str
) -> None:
    (tmp_path / "sender.yaml").write_text(SETTINGS.format(option=option))
    found = {one.what: one for one in health_of(tmp_path / "sender.yaml", lambda: START)}
    assert "NOT_SET_ANYWHERE" in found["secrets"].text
    monkeypatch.setenv("NOT_SET_ANYWHERE", "s3cret")
    relay = next(one for one in health_of(tmp_path / "sender.yaml", lambda: START) if one.what == "relay acme")
    assert said in relay.text
    assert relay.is_well == (option == "region")
    assert letters(acme) == []


@pytest.mark.parametrize(
    ("relay", "said"),
    [
        ({}, "needs `host`, or the `channel`"),
        ({"channel": "acme", "host": "smtp.example"}, "has no `host`, which is of SMTP"),
        ({"channel": "acme", "tls": "none"}, "has no `tls`"),
        ({"channel": "acme", "timeout": "11m"}, "at most 10 minutes"),
        ({"channel": "acme", "secrets": {"token": "s3cret"}}, "a secret is written"),
        ({"host": "smtp.example", "options": {"region": "eu"}}, "`options` is for a relay with a `channel`"),
    ],
)
def test_relays_that_cannot_be_meant_are_refused(relay: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError, match=said) as caught:
        Relay.model_validate(relay)
    assert "s3cret" not in str([one["msg"] for one in caught.value.errors()])
