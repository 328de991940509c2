"""The bytes of messages: the same for the same message, and no value in them can begin a header or add a recipient."""

import asyncio
import re
import smtplib
import socket
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from email import message_from_bytes, policy

import pytest
from aiosmtpd.controller import Controller
from hypothesis import given
from hypothesis import strategies as st

from journeylab.sender.mail.compose import Envelope, HeaderError, compose, mailbox
from journeylab.sender.mail.rendering import Rendered

ENVELOPE = Envelope(
    message_id="<mfrggzdfmztwq2lk@shop.example>",
    from_address="hello@shop.example",
    from_name="Our Shop",
    to_address="ala@mail.example",
    date=datetime(2026, 3, 2, 9, 30, 15, 250_000, tzinfo=UTC),
    reply_to="help@shop.example",
    list_id="news.shop.example",
    unsubscribe_url="https://mail.shop.example/u/" + "a" * 52,
    unsubscribe_mailto="leave@shop.example?subject=leave",
    feedback_id="hello:shop",
    send_key="ab" * 16,
)
HELLO = Rendered("Hello", '<p style="color: #123">Żółw</p>', "Żółw\n")
NAMES = [
    "From", "To", "Subject", "Date", "Message-ID", "MIME-Version", "Reply-To", "List-Id", "List-Unsubscribe",
    "List-Unsubscribe-Post", "Auto-Submitted", "Feedback-ID", "X-JourneyLab-Message", "Content-Type",
]  # fmt: skip


def read(data):
    return message_from_bytes(data, policy=policy.default)


def split(data):
    """The header lines, by hand: name and unfolded value."""
    head = data.partition(b"\r\n\r\n")[0].decode("ascii")
    return [tuple(line.split(": ", 1)) for line in re.sub(r"\r\n[ \t]", " ", head).split("\r\n")]


def test_headers_are_those_of_the_envelope_in_their_order():
    made = read(compose(HELLO, ENVELOPE).data)
    assert made.keys() == NAMES
    assert made["From"] == "Our Shop <hello@shop.example>"
    assert made["To"] == "ala@mail.example"
    assert made["Date"] == "Mon, 02 Mar 2026 09:30:15 +0000"
    assert made["List-Id"] == "<news.shop.example>"
    assert made["List-Unsubscribe-Post"] == "List-Unsubscribe=One-Click"
    assert made["Auto-Submitted"] == "auto-generated"
    ways = dict(split(compose(HELLO, ENVELOPE).data))["List-Unsubscribe"]
    assert ways == f"<{ENVELOPE.unsubscribe_url}>, <mailto:leave@shop.example?subject=leave>"


def test_owed_mail_has_no_list_headers():
    plain = Envelope("<a@shop.example>", "a@shop.example", "b@mail.example", ENVELOPE.date)
    assert read(compose(HELLO, plain).data).keys() == [
        "From", "To", "Subject", "Date", "Message-ID", "MIME-Version", "Auto-Submitted", "Content-Type",
    ]  # fmt: skip


def test_the_same_inputs_give_the_same_bytes_whatever_zone_the_date_is_in():
    made = compose(HELLO, ENVELOPE)
    assert compose(HELLO, ENVELOPE) == made
    assert len(made.hash) == 64
    assert made.recipient == "ala@mail.example"
    abroad = replace(ENVELOPE, date=ENVELOPE.date.astimezone(timezone(timedelta(hours=5, minutes=45))))
    assert compose(HELLO, abroad) == made
    assert compose(HELLO, replace(ENVELOPE, message_id="<b@shop.example>")).hash != made.hash


def test_both_parts_are_read_back():
    text = "Dear Ala,\n\n.\nFrom here on, trailing blanks  \nand = signs\n" + "long " * 400
    html = "<p>" + "żółw " * 3_000 + "\r\nnext\rnext</p>"
    made = read(compose(Rendered("Hello", html, text), ENVELOPE).data)
    assert made.get_content_type() == "multipart/alternative"
    plain, rich = made.iter_parts()
    assert plain.get_content_type() == "text/plain"
    assert plain.get_content().splitlines() == text.splitlines()
    assert rich.get_content().splitlines() == html.splitlines()


def test_lines_are_short_ascii_and_end_with_crlf():
    made = compose(Rendered("ż" * 300, "<p>" + "ż" * 5_000 + "x" * 5_000, "x" * 5_000 + "\n\n."), ENVELOPE).data
    assert made.isascii()
    assert b"\n" not in made.replace(b"\r\n", b"")
    lines = [line for line in made.split(b"\r\n") if not line.startswith(b"List-Unsubscribe")]
    assert max(map(len, lines)) <= 78
    assert b"\0" not in compose(Rendered("a", "<p>\0</p>", "\0"), ENVELOPE).data


@pytest.mark.parametrize(
    "subject",
    ["=?utf-8?q?hi=0D=0ABcc=3A_evil=40x.test?=", "a\r\nBcc: evil@x.test", "a\nb", "a\rb", "a\0b", "a\x85b", "a\u2028b",
     "a\x0bb", "\ud800", "", "   "],
)  # fmt: skip
def test_subjects_that_could_be_more_than_a_subject_are_refused(subject):
    with pytest.raises(HeaderError, match="Subject") as caught:
        compose(replace(HELLO, subject=subject), ENVELOPE)
    assert "evil" not in str(caught.value)


@pytest.mark.parametrize(
    "address",
    ["", "ala", "ala@mail.example, evil@x.test", "ala@mail.example\r\nBcc: evil@x.test", "Ala <ala@mail.example>",
     "<ala@mail.example>", "ala@mail.example>", '"a b"@mail.example', "a@b@mail.example",
     "ala@mail.example evil@x.test",
     "żółw@mail.example", "ala@localhost", "ala@[192.0.2.1]", "undisclosed:ala@mail.example;", "ala@mail.example;"],
)  # fmt: skip
def test_what_is_not_one_mailbox_is_refused(address):
    with pytest.raises(HeaderError, match="To") as caught:
        compose(HELLO, replace(ENVELOPE, to_address=address))
    assert "x.test" not in str(caught.value)


def test_domains_of_other_alphabets_are_written_in_ascii():
    assert mailbox("Ala@Żółw.example") == "Ala@xn--w-uga1v8h.example"
    assert compose(HELLO, replace(ENVELOPE, to_address="ala@żółw.example")).recipient == "ala@xn--w-uga1v8h.example"


@pytest.mark.parametrize(
    ("changes", "header"),
    [
        ({"message_id": "<a b@shop.example>"}, "Message-ID"),
        ({"message_id": "<a@shop.example>\r\nBcc: a@x.test"}, "Message-ID"),
        ({"date": datetime(2026, 3, 2)}, "Date"),  # noqa: DTZ001 - which is the fault
        ({"list_id": "news shop"}, "List-Id"),
        ({"unsubscribe_url": "https://a.example/>,<https://evil.test/"}, "List-Unsubscribe"),
        ({"unsubscribe_url": "https://a.example/" + "a" * 1000}, "List-Unsubscribe"),
        ({"unsubscribe_mailto": "nobody"}, "List-Unsubscribe"),
        ({"feedback_id": "a\r\nb"}, "Feedback-ID"),
        ({"send_key": "=?utf-8?q?a?="}, "X-JourneyLab-Message"),
        ({"send_key": ""}, "X-JourneyLab-Message"),
        ({"from_name": "a\nb"}, "From"),
        ({"reply_to": "a"}, "Reply-To"),
        ({"idempotency": ("Bcc", "evil@x.test")}, "idempotency"),
        ({"idempotency": ("subject", "x")}, "idempotency"),
        ({"idempotency": ("A:b", "x")}, "idempotency"),
        ({"idempotency": ("X-Key", "a\r\nb")}, "X-Key"),
    ],
)
def test_other_values_that_could_be_more_are_refused(changes, header):
    with pytest.raises(HeaderError, match=header):
        compose(HELLO, replace(ENVELOPE, **changes))


def test_the_relays_idempotency_header_is_written():
    made = compose(HELLO, replace(ENVELOPE, idempotency=("Resend-Idempotency-Key", "abc")))
    assert read(made.data)["Resend-Idempotency-Key"] == "abc"


@pytest.mark.parametrize(
    "name", ["Ala", "Łucja", 'Doe, John "Jack" <evil@x.test>', "a@b.example,", "(comment)", "  two  blanks ", "ż" * 200]
)
def test_names_are_names_whatever_they_look_like(name):
    made = read(compose(HELLO, replace(ENVELOPE, to_name=name, from_name=name)).data)
    for header, address in (("To", "ala@mail.example"), ("From", "hello@shop.example")):
        [one] = made[header].addresses
        assert one.addr_spec == address
    assert made.keys() == NAMES


TEXT = st.text(max_size=80) | st.text(st.sampled_from('\r\n\t ,;:<>@"()\\=?_.abżB=C0DA\u2028\0'), max_size=60)


@given(subject=TEXT, name=TEXT, to=TEXT | st.emails(), body=TEXT)
def test_any_text_gives_one_recipient_and_the_headers_that_were_meant_or_an_error(subject, name, to, body):
    envelope = replace(ENVELOPE, to_name=name, from_name=name, to_address=to)
    try:
        made = compose(Rendered(subject, f"<p>{body}</p>", body), envelope)
    except HeaderError:
        return
    assert [header for header, _ in split(made.data)] == NAMES
    by_hand = dict(split(made.data))
    assert by_hand["To"].endswith(made.recipient) or by_hand["To"].endswith(f"<{made.recipient}>")
    parsed = read(made.data)
    assert parsed.keys() == NAMES
    assert [one.addr_spec for one in parsed["To"].addresses] == [made.recipient]
    assert [one.addr_spec for one in parsed["From"].addresses] == ["hello@shop.example"]
    assert not any(part.defects for part in parsed.walk())
    assert made.data.isascii()


@pytest.mark.parametrize(
    "subject", ["Hello", "Zażółć", "a" * 500, "word " * 60 + "end", " x  y ", "100% = ?", "😀" * 40]
)
def test_subjects_are_read_back_as_they_were(subject):
    assert read(compose(replace(HELLO, subject=subject), ENVELOPE).data)["Subject"] == subject


def test_an_smtp_server_sees_one_recipient_and_the_same_bytes():
    seen = []

    class Handler:
        async def handle_DATA(self, server, session, envelope):  # noqa: N802 - as aiosmtpd names it
            seen.append((envelope.rcpt_tos, envelope.original_content))
            await asyncio.sleep(0)
            return "250 kept"

    made = compose(replace(HELLO, text=".\n..\nx\n"), replace(ENVELOPE, to_name='Doe, John <evil@x.test>"'))
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    controller = Controller(Handler(), hostname="127.0.0.1", port=port)
    controller.start()
    try:
        with smtplib.SMTP("127.0.0.1", port) as client:
            client.sendmail("bounces@shop.example", [made.recipient], made.data)
    finally:
        controller.stop()
    assert seen == [(["ala@mail.example"], made.data)]


@pytest.mark.parametrize(
    "subject",
    ["a\r\nBcc: evil@x.test", "a\r\n\r\nbody", "a\r\nTo: evil@x.test", "a\r\n b", "=?utf-8?q?hi=0D=0ABcc=3A_e?="],
)
def test_reading_back_finds_what_the_guard_would_let_through(monkeypatch, subject):
    from journeylab.sender.mail import compose as composing

    monkeypatch.setattr(composing, "_safe", lambda header, value: value)
    monkeypatch.setattr(composing, "_words", lambda value, header: value)
    with pytest.raises(HeaderError, match="read back"):
        compose(replace(HELLO, subject=subject), ENVELOPE)
