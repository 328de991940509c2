"""`journeylab messages`: what is at fault, what contacts would get, the key and its record; and MJML."""

from __future__ import annotations

import json
import shutil
import socket
import threading
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import dns.flags
import dns.message
import dns.rcode
import dns.resolver
import dns.rrset
import pytest

from journeylab.cli import main
from journeylab.datasets import fixtures
from journeylab.sender.mail.dkim import DkimKey
from journeylab.sender.mail.lookup import lookup
from journeylab.sender.settings import Settings
from promotable import SETTINGS, write_key, write_promotable

Run = Callable[..., str]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A sender with the bundled messages and a key."""
    shutil.copytree(fixtures() / "messages", tmp_path / "messages")
    (tmp_path / "sender.yaml").write_text(SETTINGS)
    write_key(tmp_path / "dkim.pem")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def run(run: Run) -> Run:
    return partial(run, "messages")


# A server that answers as its zone says

ZONE = {
    ("bounces.akacja.example.", "TXT"): ['"v=spf1 ip4:192.0.2.1" " -all"'],
    ("bounces.akacja.example.", "MX"): ["10 mx.akacja.example."],
    ("_dmarc.akacja.example.", "TXT"): ['"v=DMARC1; p=none"'],
}


@pytest.fixture
def served(monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[tuple[str, str], list[str]]]:
    """The zone of a DNS server on loopback, which this machine's resolver asks; `fails` in it makes it refuse."""
    zone = dict(ZONE)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind(("127.0.0.1", 0))

        def answer() -> None:
            while True:
                try:
                    data, client = server.recvfrom(4096)
                except OSError:
                    return
                asked = dns.message.from_wire(data)
                if not asked.question:
                    return
                made, question = dns.message.make_response(asked), asked.question[0]
                kind = dns.rdatatype.to_text(question.rdtype)
                texts = zone.get((question.name.to_text(), kind))
                if texts is not None:
                    made.answer.append(dns.rrset.from_text(question.name, 60, "IN", kind, *texts))
                elif all(name != question.name.to_text() for name, _ in zone):
                    made.set_rcode(dns.rcode.NXDOMAIN)
                if "fails" in (name for name, _ in zone):
                    made.set_rcode(dns.rcode.SERVFAIL)
                server.sendto(made.to_wire(), client)

        thread = threading.Thread(target=answer, daemon=True)
        thread.start()
        resolver = dns.resolver.Resolver(configure=False)
        resolver.nameservers, resolver.port = ["127.0.0.1"], server.getsockname()[1]
        monkeypatch.setattr("dns.resolver.Resolver", lambda: resolver)
        monkeypatch.setattr("journeylab.sender.mail.lookup.SECONDS", 0.2)
        yield zone
        server.sendto(dns.message.Message().to_wire(), server.getsockname())
        thread.join(5)


def test_bundled_messages_are_sound(folder: Path, run: Run) -> None:
    assert "8 messages are sound" in run("check")
    said = json.loads(run("check", "messages", "--json"))
    assert (said["sound"], said["faults"], len(said["messages"])) == (True, [], 8)
    (finding,) = said["findings"]
    assert (finding["rule"], finding["severity"], len(finding["messages"])) == ("dns", "warning", 8)


def test_faults_of_files_and_of_rules_end_with_status_1(folder: Path, run: Run) -> None:
    (folder / "messages" / "layout.html").write_text("<p>{{ preheader }}{% block main %}{% endblock %}</p>")
    said = run("check", status=1)
    assert "unsubscribe-link: The HTML shows no link to unsubscribe" in said
    assert "faults" in said
    (folder / "messages" / "reminder.html").write_text("{{ plan }}")
    said = run("check", status=1)
    assert "reminder.html:1: plan is not declared" in said
    data = run("check", "--json", status=1)
    parsed = json.loads(data[: data.rindex("}") + 1])
    assert parsed["sound"] is False
    assert any("plan is not declared" in one for one in parsed["faults"])
    assert "no such folder of messages" in run("check", "nowhere", status=1)
    assert "sender.yaml" in run("check", "--settings", "none/sender.yaml", status=1)


def test_an_example_that_cannot_be_sent_is_told(folder: Path, run: Run) -> None:
    page = folder / "messages" / "reminder.html"
    page.write_text(page.read_text().replace("{%- if trial_ends_on %}", "").replace("{% endif %}", ""))
    (folder / "messages" / "reminder.yaml").write_text(
        "message: reminder\nsubject: Still open\npreheader: What\nattributes: [trial_ends_on]\n"
    )
    said = run("check", status=1)
    assert "error: reminder: example: It cannot be sent: parts.html:" in said
    assert "trial_ends_on has no value" in said


def test_dns_is_looked_up(folder: Path, run: Run, served: dict[tuple[str, str], list[str]]) -> None:
    said = run("check", "--dns", status=1)
    assert "dkim-record: s1._domainkey.akacja.example has 0 DKIM records" in said
    key = DkimKey.read(Settings.read("sender.yaml"))
    assert key is not None
    strings = run("dkim").partition("( ")[2].removesuffix(" )\n")
    served["s1._domainkey.akacja.example.", "TXT"] = [strings]
    assert run("check", "--dns") == "8 messages are sound\n"
    served["bounces.akacja.example.", "TXT"] = ['"v=spf1 +all"']
    assert "lets everybody send" in run("check", "--dns", status=1)
    served["fails", ""] = []
    assert "could not be looked up" in run("check", "--dns")


def test_promote_looks_dns_up_where_it_is_told_to(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], served: dict[tuple[str, str], list[str]]
) -> None:
    file, settings = write_promotable(tmp_path), tmp_path / "sender.yaml"
    given = ["promote", str(file), "--settings", str(settings), "--without-forecast", "new", "--check-only", "--json"]
    for more, n_found in ((), 0), (("--dns",), 1):
        with pytest.raises(SystemExit):
            main([*given, *more])
        found = json.loads(capsys.readouterr().out)["findings"]
        assert sum("dkim-record" in one["message"] for one in found) == n_found


def test_looking_up_joins_texts_and_tells_nothing_from_no_answer(served: dict[tuple[str, str], list[str]]) -> None:
    ask = lookup()
    assert ask("bounces.akacja.example", "TXT") == ["v=spf1 ip4:192.0.2.1 -all"]
    assert ask("bounces.akacja.example", "MX") == ["10 mx.akacja.example."]
    assert ask("akacja.example", "TXT") == ask("_dmarc.akacja.example", "MX") == []
    served["fails", ""] = []
    assert ask("akacja.example", "TXT") == []
    with pytest.raises(OSError, match=r"other\.example TXT"):
        ask("other.example", "TXT")


def test_previews_of_the_example_and_of_chosen_contacts(folder: Path, run: Run) -> None:
    said = run("preview", "reminder")
    assert "Subject: Your trial is open until 1 April 2026" in said
    assert "Go on with your trial <https://akacja.example/shop>" in said
    (folder / "contacts.csv").write_text("contact,trial_ends_on,secret\nada,2026-05-06,x\nbo,,y\ncy,2026-07-08,z\n")
    page = folder / "out" / "page.html"
    several = ("preview", "reminder", "--contacts", "contacts.csv", "--contact", "bo", "--contact", "ada")
    assert "2 previews of reminder" in run(*several, "--html", page)
    assert page.read_text().index("<h2>bo</h2>") < page.read_text().index("<h2>ada</h2>")
    made = json.loads(run(*several, "--json"))["previews"]
    assert [(one["for"], one["subject"]) for one in made] == [
        ("bo", "Your trial is still open"), ("ada", "Your trial is open until 6 May 2026")
    ]  # fmt: skip
    assert len(json.loads(run("preview", "reminder", "--contacts", "contacts.csv", "--json"))["previews"]) == 3


def test_wrong_previews_say_what_there_is(folder: Path, run: Run) -> None:
    assert "did you mean 'reminder'?" in run("preview", "remindr", status=1)
    (folder / "contacts.csv").write_text("contact\nada\n")
    assert "there is no contact 'ad'; did you mean 'ada'?" in run(
        "preview", "reminder", "--contacts", "contacts.csv", "--contact", "ad", status=1
    )
    (folder / "contacts.csv").write_text("id\nada\n")
    assert "there is no column 'contact'" in run("preview", "reminder", "--contacts", "contacts.csv", status=1)
    assert "say where the contacts are" in run("preview", "reminder", "--contact", "ada", status=2)


def test_a_key_is_made_once_for_its_owner_alone(folder: Path, run: Run) -> None:
    (folder / "dkim.pem").unlink()
    assert "make it with --make-key" in run("dkim", status=1)
    record = run("dkim", "--make-key")
    assert record.startswith("s1._domainkey.akacja.example. IN TXT ( ")
    assert (folder / "dkim.pem").stat().st_mode & 0o777 == 0o600
    key = DkimKey.read(Settings.read("sender.yaml"))
    assert key is not None
    assert key.key.key_size == 2048  # type: ignore[union-attr]
    assert "".join(record.split('"')[1::2]) == f"v=DKIM1; k=rsa; p={key.public}"
    assert "there is a key already" in run("dkim", "--make-key", status=1)
    said = json.loads(run("dkim", "--json"))
    assert (said["name"], said["record"] + "\n", said["made"]) == (key.record_name, record, False)
    (folder / "sender.yaml").write_text(SETTINGS.replace("dkim: {", "# dkim: {"))
    assert "write dkim: {domain: akacja.example" in run("dkim", status=1)


MJML = """\
<mjml lang="en">
  <mj-head><mj-title>{{ subject }}</mj-title><mj-preview>{{ preheader }}</mj-preview>
    <mj-attributes><mj-all font-family="Georgia, serif" /></mj-attributes></mj-head>
  <mj-body background-color="#f4f1ea">
    <mj-section background-color="#ffffff">
      <mj-column>
        <mj-text font-size="27px">Hello {{ first_name|default("there") }}</mj-text>
        <mj-button background-color="#7a4b00" href="{{ link('shop', 'https://akacja.example/shop') }}">Shop</mj-button>
      </mj-column>
      <mj-column><mj-image src="https://akacja.example/tea.png" alt="A cup of tea" href="https://akacja.example/t" />
      </mj-column>
    </mj-section>
    <mj-section><mj-column><mj-text font-size="13px">
      <a href="{{ unsubscribe_url }}">Unsubscribe</a> {{ postal_address }}</mj-text></mj-column></mj-section>
  </mj-body>
</mjml>
"""


@pytest.fixture
def mjml(folder: Path) -> Path:
    """A folder with one message in MJML."""
    made = folder / "mjml"
    made.mkdir()
    (made / "news.mjml").write_text(MJML)
    (made / "news.yaml").write_text(
        "message: news\nsubject: News\npreheader: Tea is here\nattributes: [first_name]\nexample: {first_name: Ala}\n"
    )
    return made


def test_a_message_in_mjml_keeps_all_rules(mjml: Path, run: Run) -> None:
    pytest.importorskip("mjml")
    assert "1 message is sound" in run("check", mjml)
    (made,) = json.loads(run("preview", "news", "--messages", mjml, "--json"))["previews"]
    assert "<mj-" not in made["html"]
    assert 'href="https://akacja.example/shop"' in made["html"]
    assert "@media" in made["html"]
    text = made["text"]
    assert "Hello Ala" in text
    assert "Shop <https://akacja.example/shop>" in text
    assert "A cup of tea" in text
    assert "Tea is here" not in text


def test_without_its_library_mjml_says_what_to_install(mjml: Path, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("journeylab.sender.mail.rendering.find_spec", lambda name: None)
    said = run("check", mjml, status=1)
    assert "news.mjml is MJML, for which a library is missing: pip install 'journeylab[mjml]'" in said
