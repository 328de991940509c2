"""The rules of bulk mail: a good message breaks none, and each rule finds what breaks it."""

from dataclasses import replace
from datetime import UTC, datetime

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from journeylab.datasets import fixtures
from journeylab.sender.mail.compose import Envelope, compose
from journeylab.sender.mail.dkim import DkimKey, signed
from journeylab.sender.mail.lint import lint
from journeylab.sender.mail.messages import Message, Messages
from journeylab.sender.mail.previews import sample
from journeylab.sender.mail.rendering import Rendered, Renderer
from journeylab.sender.settings import Settings

DATE = datetime(2026, 3, 2, 9, tzinfo=UTC)
URL = "https://mail.shop.example/unsubscribe/abc"
HTML = (
    '<html lang="en"><body><p>Hello</p><img src="https://shop.example/a.png" alt=""><a href="https://shop.example/">Shop'
    f'</a><p><a href="{URL}">Unsubscribe</a></p><p>Our Shop, 1 Road</p></body></html>'
)
TEXT = f"Hello\n\nShop https://shop.example/\n\nUnsubscribe: {URL}\nOur Shop,\n1 Road\n"
GOOD = Rendered("Hello from the shop", HTML, TEXT)
MARKETING = Message(message="hello", subject="x", templates={"hello.html": "x"})
OWED = Message(message="hello", subject="x", transactional=True, templates={"hello.html": "x"})
ENVELOPE = Envelope(
    "<a@shop.example>",
    "hello@shop.example",
    "ala@mail.example",
    DATE,
    list_id="news.shop.example",
    unsubscribe_url=URL,
)


@pytest.fixture(scope="module")
def settings(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sender")
    pem = rsa.generate_private_key(65537, 2048).private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    (folder / "dkim.pem").write_bytes(pem)
    (folder / "dkim.pem").chmod(0o600)
    (folder / "sender.yaml").write_text(
        "sender: shop\ndomain: shop.example\nfrom: {name: Our Shop, address: hello@shop.example}\n"
        "list_id: news.shop.example\nbounces: bounces.shop.example\nunsubscribe: leave@shop.example\n"
        "public_url: https://mail.shop.example\npostal_address: Our Shop, 1 Road\n"
        "dkim: {domain: shop.example, selector: s1, key: dkim.pem}\nrelays: [{host: smtp.example}]\n"
    )
    return Settings.read(folder / "sender.yaml")


@pytest.fixture(scope="module")
def key(settings):
    return DkimKey.read(settings)


@pytest.fixture(scope="module")
def zone(key):
    """What a well-kept DNS says."""
    return {
        ("bounces.shop.example", "TXT"): ["something else", "v=spf1 ip4:192.0.2.1 -all"],
        ("bounces.shop.example", "MX"): ["10 mx.shop.example."],
        ("s1._domainkey.shop.example", "TXT"): [f"v=DKIM1; k=rsa; p={key.public}"],
        ("_dmarc.shop.example", "TXT"): ["v=DMARC1; p=none; rua=mailto:dmarc@shop.example"],
    }


@pytest.fixture
def found(settings, key, zone):
    """The findings on a message that differs from a good one as told: (rule, severity) pairs."""

    def look(rendered=GOOD, message=MARKETING, key=key, data=None, settings=settings, dns=None, envelope=ENVELOPE):
        if data is None:
            data = compose(rendered, envelope).data
            data = signed(data, key) if key else data
        records = zone if dns is None else zone | dns
        findings = lint(message, data, settings, dns=lambda name, kind: records.get((name, kind), []))
        return [(finding.rule, finding.severity) for finding in findings]

    return look


def test_a_good_message_breaks_no_rule(found):
    assert found() == []


def test_bundled_messages_break_no_rule(settings, key, zone):
    messages = Messages.read(fixtures() / "messages")
    with Renderer(messages) as renderer:
        for name, message in messages.items():
            data = sample(renderer, name, settings, key, DATE)
            assert lint(message, data, settings, dns=lambda name, kind: zone.get((name, kind), [])) == []


def test_what_was_not_asked_of_dns_is_said(settings, key):
    [finding] = lint(MARKETING, signed(compose(GOOD, ENVELOPE).data, key), settings)
    assert (finding.rule, finding.severity) == ("dns", "warning")
    assert "not checked" in str(finding)


def test_mail_that_is_owed_needs_no_way_to_unsubscribe(found, settings):
    owed = Envelope("<a@shop.example>", "hello@shop.example", "ala@mail.example", DATE)
    plain = replace(GOOD, html='<html lang="en"><body><p>Hi</p></body></html>', text="Hi\n")
    bare = settings.model_copy(update={"postal_address": ""})
    assert found(plain, OWED, envelope=owed, settings=bare) == []
    rules = [rule for rule, _ in found(plain, envelope=owed, settings=bare)]
    assert rules == ["one-click", "one-click", "list-id", "postal-address"]


def test_unsigned_mail_is_refused_unless_it_is_owed(found):
    assert ("dkim", "error") in found(key=None)
    assert ("dkim", "warning") in found(message=OWED, key=None)


@pytest.mark.parametrize(
    ("domain", "is_aligned"), [("shop.example", True), ("mail.shop.example", True), ("other.example", False)]
)
def test_the_signature_is_of_the_domain_of_from_or_one_above_or_below(found, key, domain, is_aligned):
    rules = found(key=replace(key, domain=domain))
    assert (("alignment", "error") not in rules) is is_aligned
    assert ("dkim-record", "error") in rules or domain == "shop.example"


def test_headers_added_after_signing_are_not_covered(found, key):
    bare = replace(ENVELOPE, one_click=False)
    data = signed(compose(GOOD, bare).data, key)
    cut = data.replace(b"list-unsubscribe-post", b"x-nothing").replace(
        b"MIME-Version:", b"List-Unsubscribe-Post: List-Unsubscribe=One-Click\r\nMIME-Version:"
    )
    assert found(data=data) == [("one-click", "error")]
    assert found(data=cut) == [("dkim-covers", "error")]


def changed(old, new, part="html"):
    text = getattr(GOOD, part)
    assert old in text
    return replace(GOOD, **{part: text.replace(old, new)})


@pytest.mark.parametrize(
    ("rendered", "rule"),
    [
        (changed(f'<a href="{URL}">', f'<a href="{URL}" style="display:none">'), ("unsubscribe-link", "error")),
        (changed(">Unsubscribe<", "><"), ("unsubscribe-link", "error")),
        (changed(URL, "https://mail.shop.example/", "text"), ("unsubscribe-link", "error")),
        (changed("1 Road", "2 Road"), ("postal-address", "error")),
        (changed("1 Road", "2 Road", "text"), ("postal-address", "error")),
        (changed(' alt=""', ""), ("alt", "error")),
        (changed("https://shop.example/a.png", "http://shop.example/a.png"), ("links", "error")),
        (changed('href="https://shop.example/"', 'href="javascript:x"'), ("links", "error")),
        (changed('href="https://shop.example/"', 'href="http://shop.example/"'), ("links", "error")),
        (changed('href="https://shop.example/"', 'href=""'), ("links", "error")),
        (changed("https://shop.example/", "the shop", "text"), ("text-part", "error")),
        (replace(GOOD, text="\n"), ("text-part", "error")),
        (replace(GOOD, html=" "), ("html", "error")),
        (changed("<body>", "<style>@import url(https://cdn.example/a.css);</style><body>"), ("styles", "error")),
        (changed("<body>", '<link rel="stylesheet" href="https://cdn.example/a.css"><body>'), ("styles", "error")),
        (changed("<p>Hello", "<script>1</script><p>Hello"), ("active", "error")),
        (changed("<p>Hello", '<p onclick="x">Hello'), ("active", "error")),
        (changed("<p>Hello", "<p>" + "Hello" * 21_000), ("size", "warning")),
        (changed(' lang="en"', ""), ("language", "warning")),
        (replace(GOOD, subject="Re: your order"), ("subject", "error")),
        (replace(GOOD, subject="word " * 20), ("subject", "warning")),
    ],
)
def test_each_rule_finds_what_breaks_it(found, rendered, rule):
    assert rule in found(rendered)


@pytest.mark.parametrize(
    ("old", "new", "rule"),
    [
        (b"\r\nTo: ala@mail.example", b"\r\nTo: ala@mail.example, bob@mail.example", "headers"),
        (b"\r\nTo: ala@mail.example", b"\r\nTo: ala@mail.example\r\nTo: bob@mail.example", "headers"),
        (b"\r\nTo: ala@mail.example", b"\r\nTo: ala@mail.example\r\nBcc: bob@mail.example", "headers"),
        (b"\r\nMessage-ID: <a@shop.example>", b"", "headers"),
        (b"\r\nDate: Mon, 02 Mar 2026 09:00:00 +0000", b"", "headers"),
        (b"\r\nSubject: Hello from the shop", b"\r\nSubject: ", "subject"),
        (b"\r\nList-Id: <news.shop.example>", b"\r\nList-Id: news", "list-id"),
        (b"=One-Click", b"=1", "one-click"),
        (b"<https://mail.shop.example/unsubscribe/abc>", b"<http://mail.shop.example/unsubscribe/abc>", "one-click"),
        (b"Hello\r\n", b"Hello\n", "lines"),
        (b"Hello\r\n", b"H" * 999 + b"\r\n", "lines"),
    ],
)
def test_rules_of_bytes(found, key, old, new, rule):
    data = signed(compose(GOOD, ENVELOPE).data, key)
    assert old in data
    assert (rule, "error") in found(data=data.replace(old, new, 1))


BOUNCES = "bounces.shop.example"


@pytest.mark.parametrize(
    ("dns", "rule"),
    [
        ({(BOUNCES, "TXT"): []}, "spf"),
        ({(BOUNCES, "TXT"): ["v=spf1 -all", "v=spf1 ~all"]}, "spf"),
        ({(BOUNCES, "TXT"): ["v=spf1 a +all"]}, "spf"),
        ({(BOUNCES, "MX"): []}, "bounces"),
        ({("s1._domainkey.shop.example", "TXT"): []}, "dkim-record"),
        ({("s1._domainkey.shop.example", "TXT"): ["v=DKIM1; k=rsa; p=AAAA"]}, "dkim-record"),
        ({("_dmarc.shop.example", "TXT"): []}, "dmarc"),
        ({("_dmarc.shop.example", "TXT"): ["v=DMARC1; p=nothing"]}, "dmarc"),
        ({("_dmarc.shop.example", "TXT"): ["v=DMARC1; p=none", "v=DMARC1; p=none"]}, "dmarc"),
    ],
)
def test_rules_of_dns(found, dns, rule):
    assert found(dns=dns) == [(rule, "error")]


def test_dmarc_may_ask_for_the_very_domain(found, key, zone):
    strict = {("_dmarc.shop.example", "TXT"): ["v=DMARC1; p=reject; adkim=s"]}
    below = {("s1._domainkey.mail.shop.example", "TXT"): zone["s1._domainkey.shop.example", "TXT"]}
    assert found(dns=strict) == []
    assert found(key=replace(key, domain="mail.shop.example"), dns=below) == []
    assert found(key=replace(key, domain="mail.shop.example"), dns=strict | below) == [("alignment", "error")]


def test_a_record_above_the_domain_of_from_counts(found, settings):
    below = replace(ENVELOPE, from_address="hello@news.shop.example")
    assert found(envelope=below) == []


def test_dns_that_does_not_answer_is_a_warning(settings, key):
    def silent(name, kind):
        raise TimeoutError

    findings = lint(MARKETING, signed(compose(GOOD, ENVELOPE).data, key), settings, dns=silent)
    assert {finding.severity for finding in findings} == {"warning"}
    assert len(findings) == 4


def test_errors_come_first_and_every_finding_says_whose_rule_it_is(settings):
    data = compose(changed(' lang="en"', ""), ENVELOPE).data
    findings = lint(MARKETING, data, settings)
    assert [finding.severity for finding in findings] == ["error", "warning", "warning"]
    assert all(finding.source and finding.sentence.endswith(".") for finding in findings)
