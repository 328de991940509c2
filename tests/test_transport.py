"""SMTP in phases over real sockets: nothing is sent before the dot, and what came of the dot is told truly."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from time import sleep
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from journeylab.errors import DataError
from journeylab.sender.sending import transport
from journeylab.sender.sending.transport import Connection, Outcome, Unreached, trusted
from journeylab.sender.settings import Relay
from sendworld import make_settings
from servers.certificates import Authority
from servers.faults import Fault, FaultProxy
from servers.smtp import Rule, SmtpOracle

BODY = b"Subject: Hello\r\nX-JourneyLab-Message: k\r\n\r\n.Hello\r\n..\r\n.\r\nend\r\n"
FROM, TO = "bounce+k@bounces.shop.example", "ada@mail.example"


def relay_of(port: int, **changed: Any) -> Relay:
    return Relay(name="main", host="localhost", port=port, tls="none", timeout=timedelta(seconds=5)).model_copy(
        update=changed
    )


_opened: list[Connection] = []


@pytest.fixture(autouse=True)
def _closed() -> Iterator[None]:
    yield
    while _opened:
        _opened.pop().withdraw()


def connect(port: int, **changed: Any) -> Connection:
    _opened.append(Connection(relay_of(port, **changed), "shop.example", None))
    return _opened[-1]


@contextmanager
def oracle(folder: Path, *rules: Rule, **options: Any) -> Iterator[SmtpOracle]:
    with SmtpOracle(folder / "ledger", rules=rules, keep=True, fsync=False, **options) as running:
        try:
            yield running
        finally:  # a server that waits for a client's goodbye cannot end
            while _opened:
                _opened.pop().withdraw()


def send(connection: Connection, body: bytes = BODY) -> Outcome:
    return connection.offer(FROM, TO, body) or connection.finish()


def test_messages_go_one_after_another_as_they_are(tmp_path: Path) -> None:
    with oracle(tmp_path) as relay:
        connection = connect(relay.port)
        outcomes = [send(connection) for _ in range(3)]
        connection.leave()
        assert [one.kind for one in outcomes] == ["accepted"] * 3
        assert [one.queue_id for one in outcomes] == [record.queue_id for record in relay.records()]
        assert {(record.mail_from, *record.rcpt, record.message) for record in relay.records()} == {(FROM, TO, BODY)}


def test_without_pipelining_it_goes_the_same(tmp_path: Path) -> None:
    with oracle(tmp_path, Rule(at="ehlo", hide=("PIPELINING", "SIZE"))) as relay:
        connection = connect(relay.port)
        assert [send(connection).kind for _ in range(2)] == ["accepted"] * 2
        assert len(relay.records()) == 2


def test_steps_are_told_in_their_order(tmp_path: Path) -> None:
    with oracle(tmp_path) as relay:
        connection = connect(relay.port)
        steps: list[str] = []
        assert connection.offer(FROM, TO, BODY, steps.append) is None
        assert relay.records() == []
        connection.finish(steps.append)
        assert steps == ["after_rcpt", "after_354", "mid_body", "after_dot"]


def test_what_is_taken_back_before_the_dot_was_not_sent(tmp_path: Path) -> None:
    with oracle(tmp_path) as relay:
        connection = connect(relay.port)
        assert connection.offer(FROM, TO, BODY) is None
        assert connection.withdraw().kind == "withdrawn"
        assert not connection.is_open
        assert connection.finish().kind == "withdrawn"
        assert send(connect(relay.port)).kind == "accepted"
        assert len(relay.records()) == 1


@pytest.mark.parametrize(
    ("rule", "kind", "stage", "code", "enhanced"),
    [
        (Rule(at="mail", reply="451 4.3.0 later", nth=(1,)), "temporary", "mail", 451, "4.3.0"),
        (Rule(at="mail", reply="550 5.7.1 not you", nth=(1,)), "rejected", "mail", 550, "5.7.1"),
        (Rule(at="rcpt", reply="550 5.1.1 <ada@mail.example>: nobody", nth=(1,)), "rejected", "rcpt", 550, "5.1.1"),
        (Rule(at="rcpt", reply="450 4.2.0 greylisted", nth=(1,)), "temporary", "rcpt", 450, "4.2.0"),
        (Rule(at="rcpt", reply="550 5.7.1 one\r\n550-no", nth=(9,)), "accepted", "dot", 250, "2.0.0"),
        (Rule(at="data", reply="554 no", nth=(1,)), "rejected", "data", 554, None),
        (Rule(at="data", reply="421 4.3.2 going", nth=(1,)), "temporary", "data", 421, "4.3.2"),
        (Rule(at="dot", reply="554 5.7.1 spam", nth=(1,)), "rejected", "dot", 554, "5.7.1"),
        (Rule(at="dot", reply="452 4.3.1 full", nth=(1,)), "temporary", "dot", 452, "4.3.1"),
        (Rule(at="dot", reply="421 4.3.2 going", nth=(1,), record=False), "temporary", "dot", 421, "4.3.2"),
        (Rule(at="mail", close=True, nth=(1,)), "temporary", "mail", None, None),
        (Rule(at="rcpt", close=True, nth=(1,)), "temporary", "rcpt", None, None),
        (Rule(at="dot", close=True, nth=(1,)), "unknown", "dot", None, None),
        (Rule(at="dot", close=True, record=True, nth=(1,)), "unknown", "dot", None, None),
        (Rule(at="dot", half=True, nth=(1,)), "unknown", "dot", None, None),
        (Rule(at="dot", reply="354 what", nth=(1,)), "unknown", "dot", 354, None),
    ],
)
@pytest.mark.parametrize("hide", [(), ("PIPELINING",)])
def test_replies_are_told_apart(
    tmp_path: Path, rule: Rule, kind: str, stage: str, code: int | None, enhanced: str | None, hide: tuple[str, ...]
) -> None:
    with oracle(tmp_path, rule, Rule(at="ehlo", hide=hide)) as relay:
        connection = connect(relay.port)
        outcome = send(connection)
        assert (outcome.kind, outcome.stage, outcome.code, outcome.enhanced) == (kind, stage, code, enhanced)
        assert "@" not in outcome.text
        if not connection.is_open:
            connection = connect(relay.port)
        assert send(connection).kind == "accepted"  # what was refused does not spoil what follows


def test_a_relay_that_waits_for_a_message_to_nobody_gets_none(tmp_path: Path) -> None:
    """RFC 2920 lets a pipelining server answer 354 though no recipient was good."""
    listener = socket.create_server(("127.0.0.1", 0))
    got: list[bytes] = []

    def serve() -> None:
        client, _ = listener.accept()
        client.sendall(b"220 hi\r\n")
        client.recv(1000)
        client.sendall(b"250-hi\r\n250 PIPELINING\r\n")
        client.recv(1000)
        client.sendall(b"250 ok\r\n550 5.1.1 no\r\n354 go on\r\n")
        while data := client.recv(1000):
            got.append(data)
        client.close()

    thread = threading.Thread(target=serve)
    thread.start()
    connection = connect(listener.getsockname()[1], host="127.0.0.1")
    outcome = send(connection)
    thread.join()
    listener.close()
    assert (outcome.kind, outcome.stage, outcome.enhanced) == ("rejected", "rcpt", "5.1.1")
    assert got == []
    assert not connection.is_open


def test_a_reply_to_the_dot_is_awaited_longer_than_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert transport.REPLY_TO_THE_DOT == 600
    with oracle(tmp_path, Rule(at="dot", delay=0.6)) as relay:
        connection = connect(relay.port, timeout=timedelta(seconds=0.3))
        assert send(connection).kind == "accepted"
        monkeypatch.setattr(transport, "REPLY_TO_THE_DOT", 0.2)
        assert send(connection).kind == "unknown"
        assert not connection.is_open


def test_any_other_reply_is_awaited_shortly(tmp_path: Path) -> None:
    with oracle(tmp_path, Rule(at="data", delay=1)) as relay:
        outcome = send(connect(relay.port, timeout=timedelta(seconds=0.2)))
        assert (outcome.kind, outcome.stage, outcome.code) == ("temporary", "data", None)


@pytest.mark.parametrize(
    ("fault", "kind"),
    [
        (Fault("up", after=b"X-JourneyLab"), "temporary"),
        (Fault("up", after=b"\r\n.\r\n"), "unknown"),
        (Fault("down", after=b"354"), "temporary"),
    ],
)
def test_a_network_that_breaks_is_told_by_when_it_broke(tmp_path: Path, fault: Fault, kind: str) -> None:
    long = BODY + b"x" * 70 + b"\r\n"
    with oracle(tmp_path) as relay, FaultProxy(relay.port, [fault]) as proxy:
        connection = connect(proxy.port)
        outcome = connection.offer(FROM, TO, long)
        if outcome is None:
            outcome = connection.finish()
        # A cut in the body may only be noticed at the dot, which then may have gone anywhere.
        assert outcome.kind in (kind, "unknown")
        if kind == "temporary":
            assert relay.records() == []


def test_a_connection_can_be_cut_from_another_thread(tmp_path: Path) -> None:
    with oracle(tmp_path, Rule(at="data", delay=5)) as relay:
        connection = connect(relay.port, timeout=timedelta(seconds=30))
        threading.Timer(0.2, connection.cut).start()
        assert send(connection).kind == "temporary"
        assert relay.records() == []


@pytest.mark.parametrize(
    ("changed", "what"),
    [
        ({"data": b"a\nb\r\n"}, "line breaks"),
        ({"data": b"a\rb\r\n"}, "line breaks"),
        ({"data": "zażółć\r\n".encode()}, "ASCII"),
        ({"data": b"a\0\r\n"}, "ASCII"),
        ({"address": "a@b.example> RCPT TO:<evil@x.example"}, "envelope"),
        ({"address": "a@b.example\r\nRCPT TO:<evil@x.example>"}, "envelope"),
        ({"address": ""}, "envelope"),
        ({"return_path": "a b@c.example"}, "envelope"),
    ],
)
def test_what_would_break_out_is_not_offered(tmp_path: Path, changed: dict[str, Any], what: str) -> None:
    with oracle(tmp_path) as relay:
        connection = connect(relay.port)
        outcome = connection.offer(**({"return_path": FROM, "address": TO, "data": BODY} | changed))
        assert outcome is not None
        assert (outcome.kind, outcome.code) == ("rejected", None)
        assert what in outcome.text
        assert send(connection).kind == "accepted"


@given(st.lists(st.text("ab.", max_size=5), max_size=8))
def test_dots_are_doubled_and_come_back(lines: list[str]) -> None:
    data = "".join(line + "\r\n" for line in lines).encode() + b"end"
    stuffed = transport._stuffed(data)
    assert stuffed.endswith(b"\r\n")
    assert b"\r\n.\r\n" not in b"\r\n" + stuffed
    unstuffed = [line[1:] if line.startswith(b".") else line for line in stuffed.split(b"\r\n")]
    assert b"\r\n".join(unstuffed) == data + b"\r\n"


@pytest.mark.parametrize(
    ("text", "queue_id"),
    [
        ("2.0.0 Ok: queued as 4F1GxY2", "4F1GxY2"),
        ("OK id=1r5aBc-0001Ab-2x", "1r5aBc-0001Ab-2x"),
        ("2.0.0 3AQ1abcd012345 Message accepted for delivery", "3AQ1abcd012345"),
        ("thanks", None),
    ],
)
def test_queue_ids_are_read_as_relays_write_them(tmp_path: Path, text: str, queue_id: str | None) -> None:
    with oracle(tmp_path, Rule(at="dot", reply=f"250 {text}")) as relay:
        assert send(connect(relay.port)).queue_id == queue_id


# Who we talk to.


def secured(folder: Path, authority: Authority, **options: Any) -> Any:
    return oracle(folder, certificate=options.pop("certificate", None) or authority.certificate(), **options)


def connect_safely(
    port: int, authority: Authority, folder: Path, password: str | None = None, **changed: Any
) -> Connection:
    relay = relay_of(port, **{"tls": "starttls", "ca": str(authority.file), **changed})
    _opened.append(Connection(relay, "shop.example", trusted(relay, make_settings(folder)), password))
    return _opened[-1]


@pytest.mark.parametrize("tls", ["starttls", "implicit"])
def test_messages_go_over_tls_1_3(tmp_path: Path, authority: Authority, tls: Any) -> None:
    with secured(tmp_path, authority, tls=tls, auth="shop:secret") as relay:
        connection = connect_safely(relay.port, authority, tmp_path, "secret", tls=tls, user="shop")
        assert send(connection).kind == "accepted"
        assert [record.tls for record in relay.records()] == ["TLSv1.3"]


@pytest.mark.parametrize(
    ("options", "changed", "trouble"),
    [
        ({"newest_tls": "1.2"}, {}, "connection"),  # it hangs up in the middle of the handshake
        ({"names": ("other.example",)}, {}, "tls"),
        ({"expired": True}, {}, "tls"),
        ({}, {"ca": None}, "tls"),
        ({"rules": [Rule(at="ehlo", hide=("STARTTLS",))]}, {}, "tls"),
        ({"rules": [Rule(at="starttls", reply="502 no")]}, {}, "tls"),
        ({"rules": [Rule(at="starttls", reply="454 not now")]}, {}, "connection"),
        ({"auth": "shop:other"}, {"user": "shop"}, "auth"),
        ({}, {"user": "shop"}, "auth"),
        ({"rules": [Rule(at="connect", reply="421 busy")]}, {}, "connection"),
        ({"rules": [Rule(at="connect", close=True)]}, {}, "connection"),
        ({"rules": [Rule(at="ehlo", close=True)]}, {}, "connection"),
        ({"auth": "shop:secret", "rules": [Rule(at="auth", reply="454 4.7.0 later")]}, {"user": "shop"}, "connection"),
    ],
)
def test_who_is_not_trusted_gets_nothing(
    tmp_path: Path, authority: Authority, options: dict[str, Any], changed: dict[str, Any], trouble: str
) -> None:
    options = dict(options)
    rules = options.pop("rules", ())
    certificate = authority.certificate(*options.pop("names", ()), expired=options.pop("expired", False))
    with oracle(tmp_path, *rules, certificate=certificate, **options) as relay:
        with pytest.raises(Unreached) as refused:
            connect_safely(relay.port, authority, tmp_path, "secret", **changed)
        sleep(0.05)  # the server closes its side of a handshake that failed when its loop comes round to it
    assert refused.value.trouble == trouble
    assert "secret" not in str(refused.value)


def test_an_older_tls_is_spoken_only_where_it_is_said(tmp_path: Path, authority: Authority) -> None:
    with secured(tmp_path, authority, newest_tls="1.2") as relay:
        assert send(connect_safely(relay.port, authority, tmp_path, tls_minimum="1.2")).kind == "accepted"


def test_nobody_there_is_no_connection() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    with pytest.raises(Unreached) as refused:
        connect(port)
    assert refused.value.trouble == "connection"


def test_authorities_that_cannot_be_read_are_an_error(tmp_path: Path) -> None:
    relay = relay_of(25, tls="implicit", ca="nowhere.pem")
    with pytest.raises(DataError, match=r"relay main.*nowhere\.pem"):
        trusted(relay, make_settings(tmp_path))
