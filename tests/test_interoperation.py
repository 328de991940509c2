"""Mail through a real Postfix with TLS 1.3, read by programs that share no code with ours."""

from __future__ import annotations

import base64
import re
import shutil
import subprocess
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import httpx
import pytest
from hypothesis import Phase, example, given, settings
from hypothesis import strategies as st

import perlmail
from journeylab.datasets import fixtures
from journeylab.journey import Journey
from journeylab.sender.consent.reports import take_report
from journeylab.sender.consent.requests import ask
from journeylab.sender.keys import key_ring
from journeylab.sender.live.intake import Incoming, Person, declare, receive, receive_people
from journeylab.sender.mail.compose import Envelope, HeaderError, compose
from journeylab.sender.mail.dkim import DkimKey
from journeylab.sender.mail.messages import Message, Messages
from journeylab.sender.mail.rendering import Context, Renderer, RenderError
from journeylab.sender.process import Sender
from journeylab.sender.promotion.promoting import promote
from journeylab.sender.sending.claims import rows_of as rows_of_messages
from journeylab.sender.settings import Settings
from journeylab.sender.store import Store
from journeylab.sender.store import tables as t
from journeylab.sender.web.app import application
from promotable import write_key
from servers.certificates import Authority
from servers.postfix import BOUNCING, Postfix
from stores import START, rows_of
from webclient import served, settings_for

pytestmark = pytest.mark.long

BUNDLED = fixtures() / "messages"
RELAYS_OWN = ("Return-Path", "X-Original-To", "Delivered-To", "Received")
OWED = [
    "DKIM-Signature", "From", "To", "Subject", "Date", "Message-ID", "MIME-Version", "Auto-Submitted", "Feedback-ID",
    "X-JourneyLab-Message", "Content-Type",
]  # fmt: skip
MARKETING = [*OWED[:7], "List-Id", "List-Unsubscribe", "List-Unsubscribe-Post", *OWED[7:]]
FROM = ("Akacja", "hello@shop.example")


class Shop:
    """A sender whose relay is a real Postfix: the store, the settings, and what came of it."""

    def __init__(self, folder: Path, postfix: Postfix, authority: Authority, messages: Path = BUNDLED) -> None:
        self.postfix = postfix
        write_key(folder / "dkim.pem")
        relay = {"name": "main", "host": postfix.host, "port": postfix.port, "ca": str(authority.file)}
        self.settings: Settings = settings_for(
            folder, relays=[relay], dkim={"domain": "shop.example", "selector": "s1", "key": "dkim.pem"},
            store=f"sqlite:///{folder}/journeylab.db", messages=str(messages), unsubscribe="leave@shop.example",
            postal_address="Akacja, ul. Prosta 1, 00-001 Warszawa", **{"from": {"name": FROM[0], "address": FROM[1]}},
        )  # fmt: skip
        self.keys = key_ring(self.settings, create=True)
        self.store = Store.open(self.settings.store, self.keys, create=True)

    def people(self, addresses: Mapping[str, str], **attributes: Mapping[str, Any]) -> dict[int, str]:
        """Brings contacts who consent, by name; the reasons for which any were refused, by their place."""
        rows = [Person(one, address, attributes.get(one, {})) for one, address in addresses.items()]
        with self.store.writing() as connection:
            refused = receive_people(connection, rows, self.store.now(connection)).refused
        self.receive("consent_given", *addresses, purpose="marketing")
        return {one.place: one.reason for one in refused}

    def declare(self, **kinds: str) -> None:
        with self.store.writing() as connection:
            declare(connection, "contact", kinds)

    def receive(self, event: str, *contacts: str, **properties: Any) -> None:
        rows = [Incoming(one, event, None, properties) for one in contacts]
        with self.store.writing() as connection:
            assert not receive(connection, rows, self.store.now(connection)).refused

    def promote(self, nodes: dict[str, Any]) -> None:
        journey = Journey.model_validate(
            {"journey": "letters", "trigger": {"event": "signup"}, "purpose": "marketing", "nodes": nodes}
        )
        done = promote(journey, settings=self.settings, without_forecast="only its mail is looked at")
        assert done.has_changed

    def run(self) -> dict[str, int]:
        with Sender(self.store, self.settings, "worker") as sender:
            return dict(sender.run_once())

    def sends(self, **values: Any) -> list[Any]:
        return rows_of(self.store, t.sends, **values)

    def body(self, key: str) -> bytes:
        with self.store.reading() as connection:
            (row,) = rows_of_messages(connection, [key])
            return bytes(row.body)


def crlf(data: bytes) -> bytes:
    """What lay in the Maildir with the line ends that went over the wire."""
    return data.replace(b"\n", b"\r\n")


@dataclass(frozen=True)
class Arrived:
    """A bundled message that was delivered: the row of its send, its address, and the file in the Maildir."""

    row: Any
    address: str
    data: bytes

    @property
    def own(self) -> bytes:
        """The part below Postfix's own headers, as it went over the wire."""
        return crlf(self.data[self.data.index(b"DKIM-Signature: ") :])


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory, postfix: Postfix, authority: Authority) -> Iterator[Shop]:
    made = Shop(tmp_path_factory.mktemp("shop"), postfix, authority)
    yield made
    made.store.close()


@pytest.fixture(scope="module")
def arrived(shop: Shop) -> dict[str, Arrived]:
    """Every bundled message, promoted, sent and delivered to a contact of its own."""
    names = [*Messages.read(BUNDLED)]
    letters = [name for name in names if name != "confirm_subscription"]
    addresses = {name: f"bundled.{name}@rcpt.test" for name in names}
    attributes = {name: {"wants": name, "trial_ends_on": "2026-04-01", "language": "pl"} for name in names}
    shop.declare(wants="text", trial_ends_on="date", language="text")
    assert not shop.people(addresses, **attributes)
    nodes: dict[str, Any] = {name: {"send": name, "next": "done"} for name in letters}
    choices = [{"if": f'wants == "{name}"', "go": name} for name in letters]
    shop.promote({"which": {"decide": choices, "else": "done"}, **nodes, "done": {"exit": "finished"}})
    shop.receive("signup", *letters)
    with shop.store.writing() as connection:
        now, name = shop.store.now(connection), "confirm_subscription"
        ask(connection, name, "marketing", "Tak, piszcie.", "pl", "form", {}, now, message=name)
    assert shop.run() == {"accepted": len(names)}
    found = {}
    for row in shop.sends():
        (data,) = shop.postfix.wait_for(addresses[row.contact])
        found[row.message] = Arrived(row, addresses[row.contact], data)
    assert [*found] != []
    assert {*found} == {*names}
    return found


@pytest.fixture(scope="module")
def reader() -> Iterator[perlmail.Reader]:
    perlmail.require("Email::MIME")
    with perlmail.Reader() as opened:
        yield opened


@pytest.fixture(scope="module")
def key(shop: Shop) -> DkimKey:
    perlmail.require("Mail::DKIM")
    made = DkimKey.read(shop.settings)
    assert made is not None
    return made


def test_mail_arrives_byte_by_byte_as_it_was_frozen_over_tls_1_3(shop: Shop, arrived: dict[str, Arrived]) -> None:
    for one in arrived.values():
        assert one.own == shop.body(one.row.message_key)
        assert b"(Postfix) with ESMTPS id " in one.data.partition(b"DKIM-Signature: ")[0]
    established = re.findall(r"TLS connection established from .*?: (\S+) with", shop.postfix.log())
    assert {*established} == {"TLSv1.3"}
    trouble = re.compile(r"to=<bundled\..*status=(deferred|bounced)")
    assert [line for line in shop.postfix.log().splitlines() if trouble.search(line)] == []


def test_another_library_reads_exactly_the_headers_that_were_meant(
    shop: Shop, arrived: dict[str, Arrived], reader: perlmail.Reader
) -> None:
    for name, one in arrived.items():
        read, row = reader.read(crlf(one.data)), one.row
        owed = name == "confirm_subscription"
        assert read.without(RELAYS_OWN) == (OWED if owed else MARKETING)
        assert (read.from_, read.to) == ([FROM], [("", one.address)])
        assert row.message_key == shop.keys.message_key(row.journey, row.contact, row.entry, row.node, row.visit)
        of_key = base64.b32encode(bytes.fromhex(row.message_key)).decode().rstrip("=").lower()
        assert read["Message-ID"] == f"<{of_key}@shop.example>"
        assert read["X-JourneyLab-Message"] == row.message_key
        assert read["Delivered-To"] == one.address
        assert re.fullmatch(r"<bounce\+[a-z2-7]{52}@bounces\.shop\.example>", read["Return-Path"])
        assert [kind for kind, _ in read.parts] == ["text/plain; charset=utf-8", "text/html; charset=utf-8"]
        text, html = (part for _, part in read.parts)
        assert "Akacja, ul. Prosta 1, 00-001 Warszawa" in text
        assert html.startswith("<!DOCTYPE html>")
        title = {"confirm_subscription": "Potwierdź swój adres", "reminder": "Your trial is open until 1 April 2026"}
        assert read["Subject"] == title.get(name, read["Subject"])
        if not owed:
            by_web, by_mail = read["List-Unsubscribe"].split(", ")
            assert by_web.removeprefix("<").removesuffix(">") in text
            assert by_mail.startswith("<mailto:leave@shop.example?subject=")
            assert read["List-Unsubscribe-Post"] == "List-Unsubscribe=One-Click"
            assert read["List-Id"] == "<news.shop.example>"


def test_another_program_finds_the_signature_sound_after_the_journey(arrived: dict[str, Arrived], key: DkimKey) -> None:
    for one in arrived.values():
        assert perlmail.dkim_result(crlf(one.data), key) == "pass"
    data = crlf(arrived["welcome_1"].data)
    for old, new in (
        (b"List-Unsubscribe=One-Click", b"List-Unsubscribe=Two-Click"),
        (b"List-Unsubscribe: <https://mail.", b"List-Unsubscribe: <https://evil."),
        (b"Subject: ", b"Subject: Re: "),
        (b"List-Id: ", b"Reply-To: evil@x.test\r\nList-Id: "),
    ):
        assert data.count(old) == 1
        assert perlmail.dkim_result(data.replace(old, new), key).startswith("fail")


def test_a_spam_filter_lets_all_bundled_messages_pass(arrived: dict[str, Arrived], tmp_path: Path) -> None:
    if shutil.which("spamassassin") is None:
        pytest.skip("there is no SpamAssassin here")
    mails = {name: one.data for name, one in arrived.items()}
    spam = b"XJS*C4JDBQADN1.NSBN3*2IDNEN*GTUBE-STANDARD-ANTI-UBE-TEST-EMAIL*C.34X"  # which all such filters know
    mails["spam"] = b"From: a@shop.example\nTo: b@mail.example\nSubject: Hi\n\n" + spam + b"\n"
    files = [tmp_path / f"{name}.eml" for name in mails]
    for file, data in zip(files, mails.values(), strict=True):
        file.write_bytes(data)
    command = ["spamassassin", "-L", "-t", "-p", "/dev/null", *map(str, files)]
    said = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120).stdout
    found = re.findall(r"^X-Spam-Status: .*?score=(-?[\d.]+).*?tests=(.*?)\s*(?:autolearn|version)=", said, re.M | re.S)
    scores = {name: (float(score), re.sub(r"\s", "", rules)) for name, (score, rules) in zip(mails, found, strict=True)}
    assert scores.pop("spam")[0] > 100
    # That it comes from this machine counts a point in its favour, which is taken off.
    bad = {name: one for name, one in scores.items() if one[0] + ("ALL_TRUSTED" in one[1]) >= 1}
    assert bad == {}


# What comes back

TWO_LETTERS = {
    "first": {"send": "reminder", "next": "read"},
    "read": {"wait_for": "asked_for_more", "within": "30d", "then": "second", "else": "done"},
    "second": {"send": "offer_plain", "next": "done"},
    "done": {"exit": "finished"},
}


@pytest.fixture
def two_letters(tmp_path: Path, postfix: Postfix, authority: Authority) -> Iterator[Shop]:
    """A journey of two messages, the second on demand, in which three contacts have been sent the first."""
    shop = Shop(tmp_path, postfix, authority)
    shop.declare(trial_ends_on="date")
    addresses = {
        "ida": f"ida.{tmp_path.name}@rcpt.test", "eve": f"eve.{tmp_path.name}@rcpt.test", "bob": f"nobody@{BOUNCING}"
    }  # fmt: skip
    shop.people(addresses)
    shop.promote(TWO_LETTERS)
    shop.receive("signup", *addresses)
    assert shop.run() == {"accepted": 3}
    yield shop
    shop.store.close()


def test_one_click_at_the_address_in_the_mails_own_header_ends_the_entry(
    two_letters: Shop, reader: perlmail.Reader, tmp_path: Path
) -> None:
    shop = two_letters
    (data,) = shop.postfix.wait_for(f"ida.{tmp_path.name}@rcpt.test")
    read = reader.read(crlf(data))
    url = read["List-Unsubscribe"].partition(">")[0].removeprefix("<")
    field, value = read["List-Unsubscribe-Post"].split("=")
    with served(application(shop.store, shop.settings)) as address:
        here = url.replace(shop.settings.public_url, address)
        assert here != url
        assert httpx.get(here).status_code == 200
        assert rows_of(shop.store, t.entries, contact="ida")[0].left_at is None
        answer = httpx.post(here, data={field: value})
    assert (answer.status_code, answer.history) == (200, [])
    shop.receive("asked_for_more", "ida", "eve")
    assert shop.run() == {"accepted": 1}
    (entry,) = rows_of(shop.store, t.entries, contact="ida")
    assert entry.exit == "consent_withdrawn"
    assert [(one.message, one.state) for one in shop.sends(contact="ida")] == [("reminder", "accepted")]
    assert len(shop.postfix.wait_for(f"eve.{tmp_path.name}@rcpt.test", 2)) == 2
    assert len(shop.postfix.messages(f"ida.{tmp_path.name}@rcpt.test")) == 1


def test_a_real_bounce_suppresses_its_address(two_letters: Shop) -> None:
    shop = two_letters
    (send,) = shop.sends(contact="bob")
    returned = _returned(shop, send.message_key)
    with shop.store.writing() as connection:
        taken = take_report(connection, returned, shop.store.now(connection))
    assert (taken.kind, taken.contact, taken.message_key) == ("bounced", "bob", send.message_key)
    assert taken.suppressed
    (suppression,) = rows_of(shop.store, t.suppressions)
    assert suppression.address_digest == shop.keys.address_digest(f"nobody@{BOUNCING}")
    shop.receive("asked_for_more", "bob", "eve")
    assert shop.run().get("accepted") == 1
    states = {one.message: one.state for one in shop.sends(contact="bob")}
    assert states == {"reminder": "accepted", "offer_plain": "suppressed"}


def _returned(shop: Shop, key: str) -> bytes:
    """The notice that came to the message's own return path."""
    from journeylab.sender.mail.bounces import return_path

    (mail,) = shop.postfix.wait_for(return_path(bytes.fromhex(key), shop.keys, shop.settings.bounces))
    assert b"multipart/report" in mail
    return mail


# Injection

PIECES = (
    "\r\n", "\n", "\r", "\n\n", "\x00", "\x0b", "\x0c", "\x85", "\u2028", "\u202e", "\ufeff", "\t", " ", "  ", "ż",
    "\r\nBcc: evil@rcpt.test\r\n", "=?utf-8?q?hi=0D=0ABcc=3A_evil=40rcpt.test?=", "=?", "?=", "=0D=0A", "%0d%0a", ",",
    "<", ">", '"', "\\", "(", ")", "@", ":", ";", ".", "\r\n.\r\n", "漢字", "😀", "A" * 90, "{{ 7 * 7 }}", "{% raw %}",
    "evil@rcpt.test", "<evil@rcpt.test>", '" onclick="x', "<script>", "javascript:", "https://shop.example/", "&amp;",
    "Bcc: evil@rcpt.test", "'",
)  # fmt: skip
LOCALS = (
    "a b", "a,b", "a;b", "a@b", "<a", "a>", '"a b"', '"a\\"b"', "a\r\nRCPT TO:<evil@rcpt.test>\r\n", "a\x00", "ż",
    "a\nBcc: evil@rcpt.test\n", "a%b", "a!b", "|a", "a..b", "a+b", "$(a)", "(a)", "=?utf-8?q?a?=", "'a'", "A.B",
)  # fmt: skip
TEXT = st.lists(st.sampled_from(PIECES), min_size=1, max_size=5).map("".join) | st.text(
    st.characters(exclude_categories=["Cs"]), max_size=60
)
SUBJECT = "For {{ word|default('you') }}"
HTML = """<!doctype html><html lang="en"><head><title>{{ subject }}</title></head><body><p>{{ word|default('you') }}</p>
<p><a href="{{ site|default('https://shop.example/') }}">On</a></p>
{% for one in recommend(2) %}<p>{{ one }}</p>{% endfor %}
<p>{{ postal_address }} <a href="{{ unsubscribe_url }}">Unsubscribe</a></p></body></html>"""


@pytest.fixture(scope="module")
def renderer() -> Iterator[Renderer]:
    hello = Message(
        message="hello", subject=SUBJECT, attributes=("site", "word"), recommend=2, templates={"hello.html": HTML}
    )
    with Renderer(Messages({"hello": hello})) as opened:
        yield opened


@settings(max_examples=200)
@given(word=TEXT, site=TEXT, product=TEXT, to=TEXT, by=TEXT)
def test_texts_from_data_stay_in_their_place_or_are_refused(
    word: str, site: str, product: str, to: str, by: str, renderer: Renderer, reader: perlmail.Reader
) -> None:
    page = "https://mail.shop.example/unsubscribe/x"
    context = Context({"word": word, "site": site}, links={"unsubscribe_url": page}, recommended=[product, "tea"],
                      postal_address="1 Road")  # fmt: skip
    envelope = Envelope(
        "<a@shop.example>", FROM[1], "ala@rcpt.test", START, from_name=by, to_name=to, list_id="news.shop.example",
        unsubscribe_url=page,
    )  # fmt: skip
    try:
        made = compose(renderer.render("hello", context), envelope)
    except (HeaderError, RenderError):
        return
    read = reader.read(made.data)
    assert made.recipient == "ala@rcpt.test"
    assert [address for _, address in read.to] == ["ala@rcpt.test"]
    assert [address for _, address in read.from_] == [FROM[1]]
    left_out = ("DKIM-Signature", "Feedback-ID", "X-JourneyLab-Message")
    assert read.names == [one for one in MARKETING if one not in left_out]
    assert read["Subject"] == f"For {word}".strip()
    assert len(read.parts) == 2
    _Tags().expect(read.parts[1][1], site)


class _Tags(HTMLParser):
    """The elements of a page."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []
        self.links: list[str | None] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append(tag)
        assert all(name in ("href", "lang") for name, _ in attrs)
        self.links += [value for name, value in attrs if name == "href"]

    def expect(self, html: str, site: str) -> None:
        self.feed(html)
        assert self.found == ["html", "head", "title", "body", "p", "p", "a", "p", "p", "p", "a"]
        assert "".join((self.links[0] or "").split()) == "".join(site.replace("\x00", "\ufffd").split())


@settings(max_examples=2, phases=(Phase.explicit, Phase.generate))
@example(texts=[(one, one) for one in PIECES])
@given(texts=st.lists(st.tuples(TEXT, TEXT), min_size=15, max_size=15))
def test_what_goes_through_a_real_relay_has_one_recipient_and_the_headers_that_were_meant(
    texts: list[tuple[str, str]], hostile: Path, postfix: Postfix, authority: Authority, reader: perlmail.Reader,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:  # fmt: skip
    folder = tmp_path_factory.mktemp("hostile")
    shop = Shop(folder, postfix, authority, hostile)
    try:
        shop.declare(word="text", site="text")
        values = {f"{folder.name}-{i}": {"word": word, "site": site} for i, (word, site) in enumerate(texts)}
        addresses = {one: f"{one}@rcpt.test" for one in values}
        for i, local in enumerate(LOCALS):
            addresses[f"{folder.name}-local-{i}"] = f"{local}{folder.name}@rcpt.test"
        refused = shop.people(addresses, **values)
        assert all(refused.values())
        taken = [one for i, one in enumerate(addresses) if i not in refused]
        shop.promote({"greet": {"send": "hello", "next": "done"}, "done": {"exit": "finished"}})
        shop.receive("signup", *taken)
        shop.run()
        sends = {one.contact: one for one in shop.sends()}
        assert sends.keys() == {*taken}
        alerts = rows_of(shop.store, t.alerts)
        states = Counter(one.state for one in sends.values())
        assert min(states["accepted"], states["failed"]) > 0
        for contact, send in sends.items():
            if send.state == "failed":
                assert send.reply
                assert alerts
                continue
            assert send.state == "accepted", send.reason
            (data,) = postfix.wait_for(addresses[contact])
            read = reader.read(crlf(data))
            assert read.without(RELAYS_OWN) == MARKETING
            assert [address for _, address in read.to] == [addresses[contact]]
            word = values.get(contact, {}).get("word", "you")
            assert read["Subject"] == f"For {word}".strip()
            assert read["X-JourneyLab-Message"] == send.message_key
        inbox = [one.read_bytes() for one in (postfix.folder / "mail" / "inbox" / "new").iterdir()]
        for send in sends.values():
            n = sum(f"X-JourneyLab-Message: {send.message_key}\n".encode() in one for one in inbox)
            assert n == (send.state == "accepted")
        assert postfix.messages("evil@rcpt.test") == []
    finally:
        shop.store.close()


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a message that writes what its contacts' attributes hold."""
    folder = tmp_path_factory.mktemp("messages")
    page = HTML.replace("{% for one in recommend(2) %}<p>{{ one }}</p>{% endfor %}\n", "")
    (folder / "hello.html").write_text(page)
    (folder / "hello.yaml").write_text(
        f'message: hello\nsubject: "{SUBJECT}"\nattributes: [word, site]\nexample: {{word: you}}\n'
    )
    return folder
