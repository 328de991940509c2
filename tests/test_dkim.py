"""DKIM: signatures that two foreign verifiers accept, and that no change survives."""

from base64 import b64decode, b64encode
from dataclasses import replace
from datetime import UTC, datetime

import dkim
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

import perlmail
from journeylab.errors import DataError
from journeylab.sender.mail.compose import Envelope, compose
from journeylab.sender.mail.dkim import SIGNED, DkimKey, dns_record, signed
from journeylab.sender.mail.rendering import Rendered
from journeylab.sender.settings import Settings


def pem(key):
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


@pytest.fixture(scope="module")
def rsa_key():
    return rsa.generate_private_key(65537, 2048)


@pytest.fixture(scope="module")
def key(rsa_key):
    return DkimKey.from_pem(pem(rsa_key), "shop.example", "s1")


@pytest.fixture(scope="module")
def composed():
    envelope = Envelope(
        "<mfrggzdf@shop.example>",
        "hello@shop.example",
        "ala@mail.example",
        datetime(2026, 3, 2, 9, 30, tzinfo=UTC),
        from_name="Sklep Żółw",
        to_name="Ala",
        list_id="news.shop.example",
        unsubscribe_url="https://mail.shop.example/u/" + "a" * 52,
        feedback_id="hello:shop",
    )
    return compose(Rendered("Zażółć " * 20, "<p>Hello</p>\n" * 200, "Hello\n\n\n  .\n"), envelope).data


def record(key):
    return f"v=DKIM1; k={key.algorithm}; p={key.public}"


def is_valid(data, key):
    names = []

    def dns(name, timeout=5):
        names.append(name)
        return record(key).encode()

    result = dkim.verify(data, dnsfunc=dns, minkey=2048)
    assert names in ([b"s1._domainkey.shop.example."], [])
    return result


def changed(data, old, new):
    assert old in data
    return data.replace(old, new, 1)


def test_dkimpy_accepts_the_signature(composed, key):
    made = signed(composed, key)
    assert made.endswith(composed)
    assert is_valid(made, key)
    assert max(map(len, made.partition(b"\r\nFrom")[0].split(b"\r\n"))) <= 78


CHANGES = [
    (b"One-Click", b"Two-Clicks"),
    (b"\r\nFrom: ", b"\r\nFrom: evil@x.test\r\nFrom: "),
    (b"\r\nTo: ", b"\r\nTo: evil@x.test\r\nTo: "),
    (b"\r\nMIME-Version: ", b"\r\nReply-To: evil@x.test\r\nMIME-Version: "),
    (b"\r\nMIME-Version: ", b"\r\nList-Unsubscribe: <https://evil.test>\r\nMIME-Version: "),
    (b"Feedback-ID: hello", b"Feedback-ID: hallo"),
    (b"Hello", b"Hallo"),
    (b"09:30", b"09:31"),
]


@pytest.mark.parametrize(("old", "new"), CHANGES)
def test_no_change_survives(composed, key, old, new):
    assert not is_valid(changed(signed(composed, key), old, new), key)


def test_blanks_that_relays_change_do(composed, key):
    made = signed(composed, key)
    assert is_valid(changed(made, b"Subject: ", b"subject:   "), key)
    assert is_valid(made.rstrip(b"\r\n") + b"\r\n\r\n\r\n", key)


def test_signing_twice_gives_the_same_bytes_with_the_time_of_the_date(composed, key):
    assert signed(composed, key) == signed(composed, key)
    assert b" t=1772443800;" in signed(composed, key)


def test_every_header_is_signed_once_more_than_it_is_there(composed, key):
    made = signed(composed, key).partition(b"\r\nFrom")[0].replace(b"\r\n ", b"").replace(b" ", b"").decode()
    names = made.partition("h=")[2].partition(";")[0].split(":")
    there = composed.partition(b"\r\n\r\n")[0].decode().lower()
    for name in SIGNED:
        assert names.count(name.lower()) == 1 + there.count(f"\n{name.lower()}: ") + (name == "From")


@pytest.fixture(scope="module")
def mail_dkim():
    perlmail.require("Mail::DKIM")
    return perlmail.dkim_result


def test_mail_dkim_accepts_the_signature(composed, key, mail_dkim):
    assert mail_dkim(signed(composed, key), key) == "pass"


@pytest.mark.parametrize(("old", "new"), CHANGES[:4])
def test_mail_dkim_refuses_changes(composed, key, mail_dkim, old, new):
    assert mail_dkim(changed(signed(composed, key), old, new), key).startswith("fail")


def test_ed25519_signs_the_digest_of_what_rsa_signs(composed, key):
    private = ed25519.Ed25519PrivateKey.generate()
    made = DkimKey.from_pem(pem(private), "shop.example", "s1")
    assert (made.algorithm, len(made.public)) == ("ed25519", 44)
    assert made.public == b64encode(private.public_key().public_bytes_raw()).decode()
    data = signed(composed, made)
    assert b"a=ed25519-sha256;" in data

    class Verifying:  # dkimpy asks PyNaCl, whose part the key plays
        def sign(self, digest):
            seen.append(digest)
            return b"x"

    seen = []
    signed(composed, replace(made, key=Verifying()))
    signature = data.partition(b" b=\r\n ")[2].partition(b"\r\nFrom")[0].replace(b"\r\n ", b"")
    private.public_key().verify(b64decode(signature), seen[0])


def settings(folder, more="dkim: {domain: shop.example, selector: s1, key: dkim.pem}"):
    (folder / "sender.yaml").write_text(
        "sender: shop\ndomain: shop.example\nfrom: {address: hello@shop.example}\nlist_id: news.shop.example\n"
        "bounces: bounces.shop.example\npublic_url: https://mail.shop.example\nrelays: [{host: smtp.example}]\n" + more
    )
    return Settings.read(folder / "sender.yaml")


def test_the_key_is_read_as_the_settings_say(tmp_path, rsa_key, key):
    assert DkimKey.read(settings(tmp_path, "")) is None
    path = tmp_path / "dkim.pem"
    with pytest.raises(DataError, match=r"there is no key; .*--make-key"):
        DkimKey.read(settings(tmp_path))
    path.write_bytes(pem(rsa_key))
    path.chmod(0o644)
    with pytest.raises(DataError, match="chmod 600"):
        DkimKey.read(settings(tmp_path))
    path.chmod(0o600)
    made = DkimKey.read(settings(tmp_path))
    assert (made.public, made.record_name) == (key.public, "s1._domainkey.shop.example")
    assert "PRIVATE" not in repr(made)


@pytest.mark.parametrize(
    ("data", "what"),
    [
        (b"nothing", "no private key in PEM"),
        (pem(rsa.generate_private_key(65537, 1024)), "1024 bits is too weak"),
        (pem(ec.generate_private_key(ec.SECP256R1())), "another kind of key"),
    ],
)
def test_keys_that_receivers_refuse_are_refused(data, what):
    with pytest.raises(DataError, match=what):
        DkimKey.from_pem(data, "shop.example", "s1")


def test_a_selector_is_a_name_in_dns(rsa_key):
    with pytest.raises(DataError, match="no DKIM selector"):
        DkimKey.from_pem(pem(rsa_key), "shop.example", "s 1")


def test_the_record_to_publish_has_strings_that_dns_can_carry(key):
    line = dns_record(key)
    assert line.startswith("s1._domainkey.shop.example. IN TXT ( ")
    strings = line.split('"')[1::2]
    assert max(map(len, strings)) <= 255
    assert "".join(strings) == record(key)


def test_what_has_no_date_cannot_be_signed(key):
    with pytest.raises(DataError, match="From and Date"):
        signed(b"From: a@shop.example\r\n\r\nHi", key)
