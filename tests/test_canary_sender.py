"""A person whose every field is a token goes through a sender's processes, and through its troubles.

Nothing that leaves the machine, but the mail to the person itself, has one of the tokens: no log, metric, dashboard,
alert, record for a SIEM, report, or word of a command that shows no personal data. What tells of a contact by its id
(the CRM, commands for who may see contacts) has the id and nothing else.
"""

from __future__ import annotations

import io
import json
import subprocess
from collections.abc import Iterator
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any

import httpx
import pytest
from pytest_httpserver import HTTPServer
from werkzeug import Request, Response

from journeylab.disclosure.addresses import holding
from promotable import SETTINGS, write_key, write_messages
from servers.smtp import Rule, SmtpOracle
from test_cli_sending import PATIENCE, answers, command, free_port, told, until
from webclient import SECRET

pytestmark = pytest.mark.long

ID, ADDRESS, NAME = "crm-Zx7idQ41", "Zx7addressQ42@mail.example", "Zx7nameQ43"
PERSONAL = {"address": "Zx7addressQ42", "name": NAME, "plan": "Zx7planQ44", "product": "Zx7productQ45",
            "agent": "Zx7agentQ46", "page": "Zx7pageQ47"}  # fmt: skip
EVERYTHING = [ID, *PERSONAL.values()]
JOURNEY = """\
journey: hello
trigger: {event: signup}
nodes:
  greet: {send: welcome_1, next: ask}
  ask: {call: stock, next: again, failed: again}
  again: {send: broken_1, next: done}
  done: {exit: finished}
"""
BROKEN = """\
<!doctype html><html lang="en"><head><title>{{ subject }}</title></head><body>
<p>Hello {{ first_name }}, {{ (first_name|length) // (first_name|length - 10) }} and {{ plan }}</p>
<p>{{ postal_address }} <a href="{{ unsubscribe_url }}">Unsubscribe</a></p></body></html>
"""


class Outside:
    """Whoever is told: the CRM, who takes alerts, and a service that answers with what it was asked."""

    def __init__(self, server: HTTPServer) -> None:
        self.server = server
        self.bodies: dict[str, list[str]] = {"crm": [], "alerts": [], "stock": []}
        for name in self.bodies:
            server.expect_request(f"/{name}").respond_with_handler(self._taking(name))

    def _taking(self, name: str) -> Any:
        def take(request: Request) -> Response:
            self.bodies[name].append(request.get_data(as_text=True))
            echo = f"no such person: {ADDRESS} {NAME} {ID}"
            return Response(echo, status=400) if name == "stock" else Response(status=204)

        return take


@pytest.fixture
def folder(tmp_path: Path, httpserver: HTTPServer, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A shop's folder with a journey that goes wrong wherever it can."""
    monkeypatch.chdir(tmp_path)
    rules = [Rule("rcpt", recipient="*", nth=(1,), reply=f"550 5.1.1 <{ADDRESS}>: {NAME} ({ID}) is unknown here")]
    with SmtpOracle(tmp_path / "ledger", keep=True, rules=rules) as oracle:
        url = httpserver.url_for("/").rstrip("/")
        Path("hello.yaml").write_text(JOURNEY)
        Path("sender.yaml").write_text(
            SETTINGS.replace("port: 2525", f"port: {oracle.port}")
            + "webhook_secret: file:webhook.secret\ndashboard: file:dashboard.secret\n"
            f"crm: {{url: {url}/crm, secret: file:webhook.secret}}\n"
            f"alerts: {{url: {url}/alerts}}\n"
            f"calls: {{stock: {{url: {url}/stock, secret: file:webhook.secret}}}}\n"
            "inbox: {folder: inbox, timezone: UTC}\n"
            "reports: [{journey: hello, every: day}]\n"
        )
        Path("webhook.secret").write_text(SECRET)
        Path("dashboard.secret").write_text("let-me-look-at-it-please\n")
        for one in Path().glob("*.secret"):
            one.chmod(0o600)
        write_messages(tmp_path / "messages", "welcome_1")
        Path("messages/broken_1.html").write_text(BROKEN)
        Path("messages/broken_1.yaml").write_text(
            "message: broken_1\nsubject: News\nattributes: [plan, first_name]\n"
            "example: {plan: trial, first_name: Ada}\n"
        )
        write_key(tmp_path / "dkim.pem")
        Path("people.csv").write_text(
            f"contact,address,plan,first_name\n{ID},{ADDRESS},{PERSONAL['plan']},{NAME}\n"
            f"crm-2,{ADDRESS.replace('42', '48')},{PERSONAL['plan']},{NAME}\n"
        )
        yield tmp_path


def all_of(*arguments: object) -> str:
    """All that a command says, whatever its end; in this process."""
    from journeylab.cli import main

    with redirect_stdout(io.StringIO()) as out, redirect_stderr(io.StringIO()) as err:
        try:
            main([str(one) for one in arguments])
        except SystemExit as end:
            err.write(end.code if isinstance(end.code, str) else "")
    return out.getvalue() + err.getvalue()


def test_nothing_of_the_person_leaves_but_the_mail_to_them(folder: Path, httpserver: HTTPServer) -> None:
    outside = Outside(httpserver)
    said: dict[str, str] = {}
    said["import"] = all_of("contacts", "import", "people.csv")
    said["promote"] = all_of("promote", "hello.yaml", "--without-forecast", "the first", "--yes")
    port = free_port()
    address = f"http://127.0.0.1:{port}"
    with subprocess.Popen(command("serve", "--port", port), stderr=subprocess.PIPE, text=True) as serving:
        until(lambda: answers(address), "serve does not answer")
        agent = {"User-Agent": PERSONAL["agent"]}
        for number, (event, properties) in enumerate(
            [("consent_given", {"purpose": "marketing"}), ("signup", {}), ("bought", {"product": PERSONAL["product"]})]
        ):
            for contact in (ID, "crm-2"):
                assert told(address, contact, event, f"msg_{contact}_{number}", **properties).is_success
        # What cannot be taken: by webhook, by file, and pages that do not exist.
        told(address, ID, "signup", "msg_bad", occurred_at=NAME)
        httpx.post(f"{address}/events", content=f'{{"contact": "{ID}", "event": "{NAME}"'.encode(), headers=agent)
        httpx.get(f"{address}/u/{NAME}", headers=agent)
        httpx.get(f"{address}/{PERSONAL['page']}?a={ADDRESS}", headers=agent)
        for kind, text in (
            ("events", f"contact,event,occurred_at\n{ID},visit,{NAME}\n"),
            ("contacts", f"contact,address,plan\n{ID},not an address {NAME},{PERSONAL['plan']}\n"),
        ):
            Path("inbox", kind).mkdir(parents=True, exist_ok=True)
            Path("inbox", kind, "new.csv").write_text(text)
        logs = [
            subprocess.run(
                command("run", "--once", "--verbose", "--worker", f"w{n}"), capture_output=True, text=True,
                timeout=PATIENCE, check=False,
            )
            for n in range(2)
        ]  # fmt: skip
        said["run"] = "".join(one.stdout + one.stderr for one in logs)
        assert all(one.returncode == 0 for one in logs), said["run"]
        let_in = {"Authorization": "Bearer let-me-look-at-it-please"}
        basic = httpx.BasicAuth("", "let-me-look-at-it-please")
        for page in ("metrics", "dashboard", "health"):
            answer = httpx.get(f"{address}/{page}", headers=let_in, timeout=30)
            if answer.status_code in (401, 403):
                answer = httpx.get(f"{address}/{page}", auth=basic, timeout=30)
            assert answer.status_code == 200, (page, answer.status_code)
            said[page] = answer.text
        serving.terminate()
        said["serve"] = serving.communicate(timeout=PATIENCE)[1]
    for name in ("rfc5424", "ecs", "cef", "ocsf"):
        said[f"audit {name}"] = all_of("audit", "export", "--format", name)
    said["release list"] = all_of("release", "list", "--json")
    said["release show"] = all_of("release", "show", "hello", "--json")
    said["release watch"] = all_of("release", "watch", "hello")
    said["doctor"] = all_of("doctor", "--settings", "sender.yaml")
    said["report"] = all_of("report", "release", "hello", "--out", "r.html")
    by_id = {
        "sends": all_of("sends", "list", "--json"), "contacts": all_of("contacts", "list", "--json"),
        "contact": all_of("contacts", "show", ID), "crm": "".join(outside.bodies["crm"]),
        "audit list": all_of("audit", "list", "--json"),
    }  # fmt: skip
    said["alerts"] = "".join(outside.bodies["alerts"])

    # The troubles came, and were told.
    states = json.loads(by_id["sends"])["counts"]
    assert states.get("accepted", 0) >= 1
    assert states.get("rejected", 0) + states.get("failed", 0) >= 1, states
    assert outside.bodies["stock"], "the service was called"
    assert outside.bodies["alerts"], "somebody was told"
    assert ID in by_id["contact"] + by_id["sends"]

    assert {name: holding(text, EVERYTHING) for name, text in said.items() if holding(text, EVERYTHING)} == {}
    tokens = [*PERSONAL.values()]
    assert {name: holding(text, tokens) for name, text in by_id.items() if holding(text, tokens)} == {}


def test_who_may_reveal_sees_it_so_the_search_would_have_found_it(folder: Path) -> None:
    all_of("contacts", "import", "people.csv")
    all_of("promote", "hello.yaml", "--without-forecast", "the first", "--yes")
    all_of("contacts", "import", "people.csv")
    assert set(holding(all_of("contacts", "show", ID, "--reveal"), EVERYTHING)) >= {ID, PERSONAL["address"], NAME}


def test_guards_of_alerts_and_logs_are_what_keeps_addresses_in(monkeypatch: pytest.MonkeyPatch) -> None:
    """With the pattern off that takes addresses out, an alert and a log have them."""
    import re

    from journeylab.sender import logs

    text = f"550 5.1.1 <{ADDRESS}>: unknown"
    assert not holding(logs.without_addresses(text), [PERSONAL["address"]])
    monkeypatch.setattr(logs, "_ADDRESS", re.compile("(?!)"))
    assert holding(logs.without_addresses(text), [PERSONAL["address"]])
