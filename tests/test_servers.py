"""The foreign servers that the sender is held against do what its tests take for granted."""

from __future__ import annotations

import json
import re
import smtplib
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from email import message_from_bytes
from pathlib import Path
from uuid import uuid4

import pytest
import sqlalchemy as sa

from servers.certificates import Authority
from servers.faults import Fault, FaultProxy
from servers.postfix import Postfix
from servers.postgres import Postgres
from servers.smtp import Ledger, OracleProcess, Rule, SmtpOracle

SENDER = "bounce+1@bounces.shop.example"


def mail(key: str, text: str = "Hello") -> bytes:
    return f"Message-ID:\r\n <{key}@shop.example>\r\nX-JourneyLab-Message: {key}\r\n\r\n{text}\r\n".encode()


def send(server: SmtpOracle | OracleProcess | FaultProxy, key: str, recipient: str = "kim@rcpt.test") -> None:
    with client(server.port) as connection:
        connection.sendmail(SENDER, [recipient], mail(key))


@contextmanager
def client(port: int, timeout: float = 10) -> Iterator[smtplib.SMTP]:
    """Closed as a crash would close it where QUIT was not said."""
    connection = smtplib.SMTP("127.0.0.1", port, timeout=timeout)
    try:
        yield connection
    finally:
        connection.close()


def trusting(authority: Authority) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=str(authority.file))


def settled(file: Path) -> list[str]:
    """The keys in the ledger once connections that were closed have been noticed."""
    time.sleep(0.1)
    return [record.x_journeylab_message for record in Ledger.read(file)]


class TestLedger:
    def test_names_what_was_accepted(self, tmp_path: Path) -> None:
        with SmtpOracle(tmp_path / "ledger", keep=True) as oracle:
            with client(oracle.port) as connection:
                assert connection.sendmail(SENDER, ["a@rcpt.test", "b@rcpt.test"], mail("k1", ".dot\r\n..two")) == {}
            send(oracle, "k1")
            first, second = oracle.records()
        assert first.message_id == "<k1@shop.example>"
        assert first.rcpt == ["a@rcpt.test", "b@rcpt.test"]
        assert first.mail_from == SENDER
        assert first.message == mail("k1", ".dot\r\n..two")
        assert first.size == len(first.message)
        assert first.tls is None
        assert first.queue_id != second.queue_id
        assert oracle.counts() == {"k1": 2}

    def test_outlives_kill_9(self, tmp_path: Path) -> None:
        with OracleProcess(tmp_path / "ledger") as oracle:
            answered = []

            def go_on() -> None:
                with suppress(smtplib.SMTPServerDisconnected, OSError), client(oracle.port) as connection:
                    for number in range(10**6):
                        connection.sendmail(SENDER, ["kim@rcpt.test"], mail(f"k{number}"))
                        answered.append(f"k{number}")

            going = threading.Thread(target=go_on)
            going.start()
            while len(answered) < 20:
                time.sleep(0.001)
            oracle.kill()
            going.join()
            recorded = [record.x_journeylab_message for record in oracle.records()]
            assert recorded[: len(answered)] == answered
            assert len(recorded) <= len(answered) + 1
            with (tmp_path / "ledger").open("ab") as file:
                file.write(b'{"at": "torn')
            oracle.start()
            send(oracle, "afterwards")
            assert [record.x_journeylab_message for record in oracle.records()] == [*recorded, "afterwards"]

    def test_has_no_message_whose_dot_never_came(self, tmp_path: Path) -> None:
        with SmtpOracle(tmp_path / "ledger", chunking=True) as oracle:
            with client(oracle.port) as connection:
                connection.ehlo()
                connection.mail(SENDER)
                connection.rcpt("kim@rcpt.test")
                assert connection.docmd("DATA")[0] == 354
                connection.send(mail("data"))
            with client(oracle.port) as connection:
                connection.ehlo()
                connection.mail(SENDER)
                connection.rcpt("kim@rcpt.test")
                connection.send(b"BDAT %d\r\n" % len(mail("bdat")) + mail("bdat"))
                assert connection.getreply()[0] == 250
                assert connection.docmd("RSET")[0] == 250
                connection.mail(SENDER)
                connection.rcpt("kim@rcpt.test")
                connection.send(b"BDAT %d\r\n" % len(mail("last")) + mail("last") + b"BDAT 0 LAST\r\n")
                assert [connection.getreply()[0], connection.getreply()[0]] == [250, 250]
            assert settled(oracle.ledger) == ["last"]


class TestRules:
    @pytest.mark.parametrize("stage", ["connect", "ehlo", "auth", "mail", "rcpt", "data", "dot"])
    def test_refuse_at_every_stage(self, tmp_path: Path, stage: str) -> None:
        refusal = Rule(at=stage, reply="451 4.3.0 later", nth=(1, 2))  # smtplib tries HELO after EHLO
        with SmtpOracle(tmp_path / "ledger", rules=[refusal], auth="kim:secret") as oracle:

            def try_once() -> None:
                with client(oracle.port) as connection:
                    connection.login("kim", "secret")
                    connection.sendmail(SENDER, ["kim@rcpt.test"], mail("k1"))

            with pytest.raises(smtplib.SMTPException, match=r"451|suitable authentication"):
                try_once()
            oracle.rules = []
            try_once()
            assert settled(oracle.ledger) == ["k1"]

    def test_choose_by_message_and_by_recipient(self, tmp_path: Path) -> None:
        rules = [
            Rule(at="dot", nth=(2,), reply="550 5.7.1 no"),
            Rule(at="rcpt", recipient="*@gone.test", reply="550 no"),
        ]
        with SmtpOracle(tmp_path / "ledger", rules=rules) as oracle:
            send(oracle, "first")
            with pytest.raises(smtplib.SMTPDataError):
                send(oracle, "second")
            with pytest.raises(smtplib.SMTPRecipientsRefused):
                send(oracle, "gone", "kim@gone.test")
            send(oracle, "third")
            assert settled(oracle.ledger) == ["first", "third"]

    @pytest.mark.parametrize(
        ("rule", "is_recorded"),
        [
            (Rule(at="dot", close=True), False),
            (Rule(at="dot", close=True, record=True), True),
            (Rule(at="body", close=True, after=10), False),
        ],
        ids=["not recorded", "recorded", "in the body"],
    )
    def test_leave_the_sender_without_a_reply(self, tmp_path: Path, rule: Rule, is_recorded: bool) -> None:
        with SmtpOracle(tmp_path / "ledger", rules=[rule]) as oracle:
            with pytest.raises((smtplib.SMTPServerDisconnected, smtplib.SMTPResponseException, OSError)):
                send(oracle, "k1")
            assert settled(oracle.ledger) == ["k1"] * is_recorded

    def test_break_a_reply_off(self, tmp_path: Path) -> None:
        with (
            SmtpOracle(tmp_path / "ledger", rules=[Rule(at="dot", half=True)]) as oracle,
            socket.create_connection(("127.0.0.1", oracle.port), timeout=10) as connection,
        ):
            commands = b"EHLO x\r\nMAIL FROM:<%s>\r\nRCPT TO:<kim@rcpt.test>\r\nDATA\r\n" % SENDER.encode()
            connection.sendall(commands + mail("k1") + b".\r\n")
            with connection.makefile("rb") as replies:
                *_, last = replies
            assert last.startswith(b"250 2.0.0 Ok")
            assert not last.endswith(b"\n")
            assert settled(oracle.ledger) == ["k1"]

    def test_delay_the_reply_to_what_is_recorded(self, tmp_path: Path) -> None:
        with SmtpOracle(tmp_path / "ledger", rules=[Rule(at="dot", delay=1.0)]) as oracle:
            with pytest.raises((smtplib.SMTPServerDisconnected, TimeoutError)), client(oracle.port, 0.2) as connection:
                connection.sendmail(SENDER, ["kim@rcpt.test"], mail("k1"))
            assert settled(oracle.ledger) == ["k1"]

    def test_read_a_body_slowly(self, tmp_path: Path) -> None:
        with SmtpOracle(tmp_path / "ledger", rules=[Rule(at="body", delay=0.02)]) as oracle:
            started = time.monotonic()
            with client(oracle.port) as connection:
                connection.sendmail(SENDER, ["kim@rcpt.test"], mail("k1", "x" * 10_000))
            assert time.monotonic() - started > 0.15

    def test_come_from_a_file(self, tmp_path: Path) -> None:
        file = tmp_path / "rules.json"
        file.write_text(json.dumps([{"at": "ehlo", "hide": ["SIZE"], "nth": 1}, {"at": "dot", "nth": [2, 3]}]))
        assert Rule.read(file) == [Rule(at="ehlo", hide=("SIZE",), nth=(1,)), Rule(at="dot", nth=(2, 3))]
        with OracleProcess(tmp_path / "ledger", rules=Rule.read(file)) as oracle, client(oracle.port) as connection:
            connection.ehlo()
            assert not connection.has_extn("size")
            connection.ehlo()
            assert connection.has_extn("size")

    def test_name_stages_that_exist(self) -> None:
        with pytest.raises(ValueError, match="'dott' is no stage"):
            Rule(at="dott")


class TestTls:
    def test_by_starttls_and_from_the_first_byte(self, tmp_path: Path, authority: Authority) -> None:
        certificate = authority.certificate()
        with OracleProcess(tmp_path / "1", certificate=certificate, auth="kim:secret") as oracle:
            with client(oracle.port) as connection:
                connection.ehlo()
                assert not connection.has_extn("auth")
                connection.starttls(context=trusting(authority))
                connection.login("kim", "secret")
                connection.sendmail(SENDER, ["kim@rcpt.test"], mail("k1"))
            assert [record.tls for record in oracle.records()] == ["TLSv1.3"]
        with SmtpOracle(tmp_path / "2", certificate=certificate, tls="implicit") as oracle:
            with smtplib.SMTP_SSL("127.0.0.1", oracle.port, context=trusting(authority)) as connection:
                connection.sendmail(SENDER, ["kim@rcpt.test"], mail("k1"))
            assert [record.tls for record in oracle.records()] == ["TLSv1.3"]

    def test_that_a_careful_client_refuses(self, tmp_path: Path, authority: Authority) -> None:
        wrong = {
            "hostname|IP address": {"certificate": authority.certificate("other.example")},
            "expired": {"certificate": authority.certificate(expired=True)},
            "(?i)version|EOF": {"certificate": authority.certificate(), "newest_tls": "1.2"},
        }
        context = trusting(authority)
        context.minimum_version = ssl.TLSVersion.TLSv1_3
        for number, (reason, options) in enumerate(wrong.items()):
            with (
                SmtpOracle(tmp_path / str(number), **options) as oracle,
                client(oracle.port) as connection,
                pytest.raises(ssl.SSLError, match=reason),
            ):
                connection.starttls(context=context)

    def test_can_be_withheld(self, tmp_path: Path, authority: Authority) -> None:
        rules = [Rule(at="ehlo", hide=("STARTTLS",), nth=(1,)), Rule(at="starttls", reply="454 4.7.0 not now")]
        with SmtpOracle(tmp_path / "ledger", certificate=authority.certificate(), rules=rules) as oracle:
            with client(oracle.port) as connection, pytest.raises(smtplib.SMTPNotSupportedError):
                connection.starttls()
            with client(oracle.port) as connection, pytest.raises(smtplib.SMTPResponseException, match="454"):
                connection.starttls()


class TestFaults:
    def test_pass_all_on_where_there_are_none(self, tmp_path: Path) -> None:
        with SmtpOracle(tmp_path / "ledger") as oracle, FaultProxy(oracle.port) as proxy:
            send(proxy, "k1")
            assert settled(oracle.ledger) == ["k1"]

    @pytest.mark.parametrize(
        ("fault", "arrives"),
        [
            (Fault("up", after=b"\r\n.\r\n"), True),
            (Fault("up", after=b"data\r\n"), False),
            (Fault("up", after=20), False),
            (Fault("down", after=b"354"), False),
            (Fault("up", "half-close", after=b"data\r\n"), False),
            (Fault("down", "black-hole", after=b"354 end with a dot\r\n"), True),
            (Fault("up", "black-hole", after=b"data\r\n"), False),
        ],
        ids=lambda value: str(value) if isinstance(value, bool) else f"{value.direction}-{value.effect}-{value.after}",
    )
    def test_befall_the_connections_they_name(self, tmp_path: Path, fault: Fault, arrives: bool) -> None:
        fault = Fault(fault.direction, fault.effect, fault.after, connections=(1,))
        with SmtpOracle(tmp_path / "ledger") as oracle, FaultProxy(oracle.port, [fault]) as proxy:
            with (
                pytest.raises((smtplib.SMTPServerDisconnected, smtplib.SMTPResponseException, OSError)),
                client(proxy.port, timeout=0.3) as connection,
            ):
                connection.sendmail(SENDER, ["kim@rcpt.test"], mail("first"))
            assert settled(oracle.ledger) == ["first"] * arrives
            send(proxy, "second")
            assert settled(oracle.ledger)[-1] == "second"

    def test_hold_replies_back(self, tmp_path: Path) -> None:
        slow = Fault("down", "delay", delay=0.2, after=b"354")
        with SmtpOracle(tmp_path / "ledger") as oracle, FaultProxy(oracle.port, [slow]) as proxy:
            started = time.monotonic()
            send(proxy, "k1")
            assert time.monotonic() - started >= 0.2


class TestPostfix:
    def deliver(self, postfix: Postfix, authority: Authority, sender: str, recipient: str, content: bytes) -> None:
        with client(postfix.port) as connection:
            connection.starttls(context=trusting(authority))
            assert connection.sock is not None
            assert connection.sock.version() == "TLSv1.3"
            connection.sendmail(sender, [recipient], content)

    def test_takes_mail_over_tls_1_3_and_gives_it_back(self, postfix: Postfix, authority: Authority) -> None:
        recipient = f"kim+{uuid4().hex}@rcpt.test"
        content = b"Subject: Hi\r\nFrom: a@shop.example\r\nMessage-ID: <1@shop.example>\r\nDate: x\r\n\r\n.One\r\n"
        self.deliver(postfix, authority, SENDER, recipient, content)
        (stored,) = postfix.wait_for(recipient)
        assert stored.endswith(content.replace(b"\r\n", b"\n"))
        assert stored.startswith(f"Return-Path: <{SENDER}>\n".encode())
        assert postfix.messages("another@rcpt.test") == []

    def test_refuses_tls_1_2_and_plain_text(self, postfix: Postfix, authority: Authority) -> None:
        with client(postfix.port) as connection, pytest.raises(smtplib.SMTPSenderRefused, match="STARTTLS"):
            connection.sendmail(SENDER, ["kim@rcpt.test"], mail("k1"))
        context = trusting(authority)
        context.maximum_version = ssl.TLSVersion.TLSv1_2
        with client(postfix.port) as connection, pytest.raises(ssl.SSLError, match=r"(?i)version"):
            connection.starttls(context=context)

    def test_bounces_to_the_return_path(self, postfix: Postfix, authority: Authority) -> None:
        return_path = f"bounce+{uuid4().hex}@bounces.shop.example"
        self.deliver(postfix, authority, return_path, "kim@bounce.test", mail("k1"))
        (stored,) = postfix.wait_for(return_path)
        report = message_from_bytes(stored)
        assert report.get_content_type() == "multipart/report"
        (status,) = (part for part in report.walk() if part.get_content_type() == "message/delivery-status")
        _, recipient = status.get_payload()
        assert recipient["Final-Recipient"] == "rfc822; kim@bounce.test"
        assert recipient["Status"] == "5.1.1"
        assert recipient["Diagnostic-Code"] == "smtp; 550 5.1.1 no such user here"

    def test_forgets_what_had_no_dot_but_logs_its_message_id(self, postfix: Postfix, authority: Authority) -> None:
        key = uuid4().hex
        with client(postfix.port) as connection:
            connection.starttls(context=trusting(authority))
            connection.ehlo()
            connection.mail(SENDER)
            connection.rcpt(f"{key}@rcpt.test")
            assert connection.docmd("DATA")[0] == 354
            connection.send(mail(key))
        while (found := re.search(rf"cleanup\[\d+\]: (\w+): message-id=<{key}@shop.example>", postfix.log())) is None:
            time.sleep(0.01)
        assert f"{found[1]}: from=" not in postfix.log()
        assert postfix.messages(f"{key}@rcpt.test") == []

    def test_knows_when_its_queue_is_empty(self, postfix: Postfix, authority: Authority) -> None:
        key = uuid4().hex
        self.deliver(postfix, authority, SENDER, f"{key}@rcpt.test", mail(key))
        deadline = time.monotonic() + 10
        while not postfix.queue_is_empty():
            assert time.monotonic() < deadline
        assert len(postfix.messages(f"{key}@rcpt.test")) == 1
        self.deliver(postfix, authority, SENDER, f"{key}@defer.test", mail(key))
        while f"to=<{key}@defer.test>" not in postfix.log():
            assert time.monotonic() < deadline
        assert not postfix.queue_is_empty()


class TestPostgres:
    def test_gives_each_test_an_empty_database(self, postgres_server: Postgres, postgresql: str) -> None:
        another = postgres_server.create()
        for url in (postgresql, postgres_server.url(another)):
            engine = sa.create_engine(url)
            with engine.begin() as connection:
                connection.execute(sa.text("CREATE TABLE one (x integer)"))
            engine.dispose()
        postgres_server.drop(another)

    def test_keeps_what_was_committed_over_kill_9(self, postgres_server: Postgres, postgresql: str) -> None:
        engine = sa.create_engine(postgresql)
        with engine.begin() as connection:
            for setting in ("fsync", "synchronous_commit", "full_page_writes"):
                assert connection.execute(sa.text(f"SHOW {setting}")).scalar() == "on"
            connection.execute(sa.text("CREATE TABLE sends (x text)"))
            connection.execute(sa.text("INSERT INTO sends VALUES ('committed')"))
        with engine.connect() as connection:
            connection.execute(sa.text("INSERT INTO sends VALUES ('open')"))
            postgres_server.crash()
            with pytest.raises(sa.exc.OperationalError):
                connection.execute(sa.text("SELECT 1"))
            with pytest.raises(sa.exc.OperationalError):
                engine.connect()
            postgres_server.start()
        with engine.begin() as connection:
            assert connection.execute(sa.text("SELECT x FROM sends")).scalars().all() == ["committed"]
        engine.dispose()
