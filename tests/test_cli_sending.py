"""`journeylab serve`, `run` and `sends`, as processes of their own: from a webhook to mail, and back by its link."""

from __future__ import annotations

import io
import json
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import pytest
from sqlalchemy import insert, select

from journeylab.sender.keys import Keys
from journeylab.sender.live.intake import Person, receive_people
from journeylab.sender.sending.preparing import Made
from journeylab.sender.store import Store
from journeylab.sender.store import tables as t
from promotable import SETTINGS, write_key, write_messages
from servers.smtp import SmtpOracle
from stores import freeze, send_row
from webclient import SECRET, signature

pytestmark = pytest.mark.long

Run = Callable[..., str]
PATIENCE = 120
JOURNEY = """\
journey: hello
trigger: {event: signup}
nodes:
  greet: {send: welcome_1, next: done}
  done: {exit: finished}
"""


@pytest.fixture
def oracle(tmp_path: Path) -> Iterator[SmtpOracle]:
    with SmtpOracle(tmp_path / "ledger", keep=True) as one:
        yield one


@pytest.fixture
def folder(tmp_path: Path, oracle: SmtpOracle, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A shop's folder with a journey of one message, whose relay is the oracle."""
    monkeypatch.chdir(tmp_path)
    Path("hello.yaml").write_text(JOURNEY)
    settings = SETTINGS.replace("port: 2525", f"port: {oracle.port}")
    Path("sender.yaml").write_text(f"{settings}webhook_secret: file:webhook.secret\ndashboard: file:dashboard.secret\n")
    Path("webhook.secret").write_text(SECRET)
    Path("dashboard.secret").write_text("let-me-look-at-it-please\n")
    for one in Path().glob("*.secret"):
        one.chmod(0o600)
    write_messages(tmp_path / "messages", "welcome_1")
    write_key(tmp_path / "dkim.pem")
    Path("people.csv").write_text("contact,address,plan\nada,ada@mail.example,trial\n")
    return tmp_path


def command(*arguments: object) -> list[str]:
    return [sys.executable, "-c", "from journeylab.cli import main; main()", *map(str, arguments)]


def ran(*arguments: object, status: int = 0) -> str:
    """What a command prints in a process of its own."""
    done = subprocess.run(command(*arguments), capture_output=True, text=True, timeout=PATIENCE, check=False)
    assert done.returncode == status, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    return done.stdout if status == 0 else done.stdout + done.stderr


@contextmanager
def going(*arguments: object) -> Iterator[subprocess.Popen[str]]:
    """A command that goes on until it is told to end: `run` ends by itself, `serve` by the signal, once it is done."""
    with subprocess.Popen(command(*arguments), stderr=subprocess.PIPE, text=True) as process:
        try:
            yield process
            process.send_signal(signal.SIGTERM)
            _, said = process.communicate(timeout=PATIENCE)
            assert process.returncode == (-signal.SIGTERM if arguments[0] == "serve" else 0), said
            assert "Traceback" not in said
        finally:
            process.kill()


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


def until(holds: Callable[[], Any], what: str) -> Any:
    deadline = time.monotonic() + PATIENCE
    while not (found := holds()):
        assert time.monotonic() < deadline, what
        time.sleep(0.05)
    return found


def answers(address: str) -> bool:
    try:
        return httpx.get(f"{address}/healthz", timeout=5).status_code < 500
    except httpx.TransportError:
        return False


def told(address: str, contact: str, event: str, webhook_id: str, **properties: Any) -> httpx.Response:
    raw = json.dumps({"contact": contact, "event": event, "properties": properties}).encode()
    return httpx.post(f"{address}/events", content=raw, headers=signature(raw, webhook_id), timeout=30)


def test_from_a_webhook_to_mail_and_back_by_its_link(folder: Path, oracle: SmtpOracle, run: Run) -> None:
    run("contacts", "import", "people.csv")
    run("promote", "hello.yaml", "--without-forecast", "the first", "--yes")
    port = free_port()
    address = f"http://127.0.0.1:{port}"
    with going("serve", "--port", port):
        until(lambda: answers(address), "serve does not answer")
        assert told(address, "ada", "consent_given", "msg_1", purpose="marketing").is_success
        assert json.loads(ran("run", "--once", "--json", "--worker", "w1"))["messages"] == {}
        with going("run", "--worker", "w2"):
            for _ in range(2):  # whoever tells comes twice now and then
                assert told(address, "ada", "signup", "msg_2").is_success
            until(oracle.records, "no mail has come")
            time.sleep(0.5)
        (record,) = oracle.records()
        assert record.rcpt == ["ada@mail.example"]
        listed = json.loads(run("sends", "list", "--json"))
        assert listed["counts"] == {"accepted": 1}
        link = re.search(
            r"^List-Unsubscribe: <https://mail\.akacja\.example(/\S+)>", record.message.decode(), re.MULTILINE
        )
        assert link is not None, record.message
        assert httpx.get(address + link[1], timeout=30).is_success
        withdrawn = httpx.post(address + link[1], data={"List-Unsubscribe": "One-Click"}, timeout=30)
        assert withdrawn.is_success
        assert told(address, "ada", "signup", "msg_3").is_success
    assert json.loads(ran("run", "--once", "--json"))["messages"] == {}
    assert len(oracle.records()) == 1
    shown = run("contacts", "show", "ada")
    assert "withdrawn" in shown
    assert "ada@mail.example" not in shown


def test_a_database_restored_from_a_copy_is_refused_until_it_is_told(
    folder: Path, oracle: SmtpOracle, run: Run
) -> None:  # fmt: skip
    run("contacts", "import", "people.csv")
    run("promote", "hello.yaml", "--without-forecast", "the first", "--yes")
    Path("events.csv").write_text("contact,event,purpose\nada,consent_given,marketing\nada,signup,\n")
    run("contacts", "events", "events.csv")
    assert json.loads(ran("run", "--once", "--json"))["messages"] == {"accepted": 1}
    before = Path("before")
    before.mkdir()
    store = Store.open("sqlite:///journeylab.db")
    with store.writing() as connection:  # as a copy from before the message went has it
        connection.execute(t.sends.update().values(state="ready", gated_at=None, settled_at=None, fence=0))
        connection.execute(t.events.delete().where(t.events.c.event == "sent"))
    store.close()
    said = ran("run", "--once", status=1)
    assert "was restored from an older copy" in said
    assert "sends adopt" in said
    assert json.loads(ran("run", "--once", "--adopt", "--json"))["messages"] == {}
    assert "1 message that this machine has sent" in ran_stderr("sends", "adopt")
    assert len(oracle.records()) == 1


def ran_stderr(*arguments: object) -> str:
    return subprocess.run(command(*arguments), capture_output=True, text=True, timeout=PATIENCE, check=True).stderr


def test_what_nobody_knows_is_listed_shown_and_decided(
    folder: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:  # fmt: skip
    Store.open("sqlite:///journeylab.db", create=True).close()
    run("contacts", "import", "people.csv")
    store = Store.open("sqlite:///journeylab.db", Keys.read(Path("state/keys.json")))
    with store.writing() as connection:
        now = store.now(connection)
        receive_people(connection, [Person("ada", "ada@mail.example")], now)
        rows = [send_row("ada", node, now, state="ambiguous", relay="main") for node in ("one", "two", "three", "four")]
        connection.execute(insert(t.sends), rows)
        four = rows[3]["message_key"]
        body = f"Message-ID: <{four}@akacja.example>\r\n\r\nHello\r\n".encode()
        row = SimpleNamespace(message_key=four, contact="ada")
        freeze(connection, [(row, Made("ada@mail.example", body, {}))], now)
    assert "4 ambiguous" in run("sends", "list", "--state", "ambiguous")
    assert "did you mean 'ambiguous'" in run("sends", "list", "--state", "ambigous", status=2)
    assert run("sends", "list", "--journey", "none") == "there are no messages\n"
    one, two, three, _ = (row["message_key"] for row in rows)
    assert json.loads(run("sends", "show", one[:12], "--json"))["state"] == "ambiguous"
    assert "one_mail" in run("sends", "show", one)
    assert "is no message's key" in run("sends", "show", "xyz", status=1)
    assert "say one of" in run("sends", "resolve", one, status=2)
    assert run("sends", "resolve", one[:12], "--delivered", "--actor", "eve") == "noted as sent\n"
    assert run("sends", "resolve", two, "--resend") == "it will be sent again\n"
    assert run("sends", "resolve", three, "--abandon") == "it is not sent any more\n"
    assert "is accepted" in run("sends", "resolve", one, "--abandon", status=1)
    lines = (
        f"Mar  2 09:00:00 mail postfix/cleanup[9]: 4F1: message-id=<{four}@akacja.example>\n"
        "Mar  2 09:00:00 mail postfix/qmgr[9]: 4F1: from=<x@akacja.example>, size=731, nrcpt=1 (queue active)\n"
    )
    monkeypatch.setattr("sys.stdin", io.StringIO(lines))
    assert "1 found to be sent" in run("sends", "log", "-")
    with store.reading() as connection:
        states = {row.node: row.state for row in connection.execute(select(t.sends))}
    store.close()
    assert states == {"one": "accepted", "two": "ready", "three": "failed", "four": "accepted"}
    assert "0 things will be told to crm again" in run("sends", "retry", "crm")


def test_without_a_store_or_settings_commands_say_so(folder: Path, run: Run) -> None:
    assert "nothing was ever promoted" in run("sends", "list", status=1)
    assert "no such file" in run("run", "--settings", "none.yaml", status=1)
    assert "nothing was ever promoted" in run("serve", status=1)
