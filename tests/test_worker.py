"""A worker over real sockets: what is ready arrives once, whatever a relay answers and whenever a worker stops."""

from __future__ import annotations

from pathlib import Path

from journeylab.sender.sending.worker import STEPS, Worker
from journeylab.sender.settings import Relay
from sendworld import World, rendered, world
from servers.smtp import SmtpOracle


def relay_of(oracle: SmtpOracle, **changed: object) -> Relay:
    return Relay(name="main", host="127.0.0.1", port=oracle.port, tls="none").model_copy(update=changed)


def url(folder: Path) -> str:
    return f"sqlite:///{folder / 'sender.db'}"


def run(one: World, name: str = "w1", **given: object) -> dict[str, int]:
    return dict(Worker(one.store, one.settings, one.keys, name, rendered, **given).run(until_idle=True))


def test_what_is_ready_arrives_once(tmp_path: Path) -> None:
    with (
        SmtpOracle(tmp_path / "ledger", keep=True) as oracle,
        world(url(tmp_path), tmp_path, relay_of(oracle, connections=3)) as one,
    ):
        keys = [one.add(f"c{i}") for i in range(20)]
        steps: list[tuple[str, str]] = []
        assert run(one, observe=lambda step, key: steps.append((step, key))) == {"accepted": 20}
        assert set(oracle.counts().items()) == {(key, 1) for key in keys}
        assert {*one.states().values()} == {"accepted"}
        assert [step for step, key in steps if key == keys[0]] == [step for step in STEPS if step != "in_reaper"]
        sent = one.events("sent")
        assert len(sent) == 20
        assert run(one) == {}
