"""What comes back of a message is read for what it says: from each mail system's shape of report, and from any bytes.

The reports are made up, in the forms of RFC 3464, RFC 5965, RFC 6533 and of the systems that write them.
"""

import base64
import re
import smtplib
import ssl
import time

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from journeylab.sender.keys import Keys
from journeylab.sender.mail.bounces import Report, read_report, return_path, returned_to
from journeylab.sender.mail.statuscodes import bounce_type_of, status_in

KEYS = Keys(bytes(range(32)))
KEY = bytes(range(100, 116))
ANNA = "anna.nowak@rcpt.example"
PATH = return_path(KEY, KEYS, "bounces.shop.example")
ID = base64.b32encode(KEY).decode().rstrip("=").lower()
HEADERS = f"""\
Return-Path: <{PATH}>
From: Our Shop <hello@shop.example>
To: {ANNA}
Subject: Welcome
Message-ID: <{ID}@shop.example>
"""


def report(kind, machine, *, to=PATH, sender="MAILER-DAEMON@mx.example", returned=HEADERS, type_=None):
    """A multipart/report (RFC 6522) with its three parts."""
    type_ = type_ or ("message/feedback-report" if kind == "feedback-report" else f"message/{kind}")
    return f"""\
Return-Path: <>
From: Mail Delivery System <{sender}>
To: {to}
Subject: About your mail
Auto-Submitted: auto-replied
MIME-Version: 1.0
Content-Type: multipart/report; report-type={kind}; boundary="AAA"

This is a MIME-encapsulated message.

--AAA
Content-Type: text/plain; charset=us-ascii

Something about {ANNA} that people may read. 250 2.0.0 Ok

--AAA
Content-Type: {type_}

{machine}
--AAA
Content-Type: message/rfc822

{returned}
Hello Anna
--AAA--
""".encode()


def status(*blocks, **options):
    return report("delivery-status", "Reporting-MTA: dns; mx.example\n\n" + "\n".join(blocks), **options)


def block(action="failed", code="5.1.1", words="smtp; 550 5.1.1 no such user", address=ANNA):
    return f"""\
Final-Recipient: rfc822; {address}
Action: {action}
Status: {code}
Remote-MTA: dns; mx.rcpt.example
Diagnostic-Code: {words}
"""


POSTFIX = status(
    """\
X-Postfix-Queue-ID: 4XyZ0123
X-Postfix-Sender: rfc822; hello@shop.example
Arrival-Date: Thu, 26 Nov 2026 03:00:00 +0000 (UTC)
""",
    f"""\
Final-Recipient: rfc822; {ANNA}
Original-Recipient: rfc822;{ANNA}
Action: failed
Status: 5.1.1
Remote-MTA: dns; mx.rcpt.example
Diagnostic-Code: smtp; 550 5.1.1 <{ANNA}>: Recipient address rejected: User
    unknown in virtual mailbox table
""",
)
EXCHANGE = status(
    f"""\
Final-Recipient: rfc822;{ANNA}
Action: failed
Status: 5.1.10
Diagnostic-Code: smtp;550 5.1.10 RESOLVER.ADR.RecipientNotFound; Recipient {ANNA} not found by SMTP address lookup
"""
)
EXCHANGE_EDGE = status(block(code="5.4.1", words="smtp;550 5.4.1 Recipient address rejected: Access denied."))
GMAIL_FULL = status(
    f"""\
Final-Recipient: rfc822; {ANNA}
Action: failed
Status: 5.2.2
Remote-MTA: dns; mx.mail.example. (192.0.2.7, the server for the domain rcpt.example.)
Diagnostic-Code: smtp; 552-5.2.2 The recipient's inbox is out of storage space.
 552-5.2.2 Please direct the recipient to
 552 5.2.2  https://support.example/mail/?p=OverQuotaPerm - gsmtp
Last-Attempt-Date: Thu, 26 Nov 2026 03:00:00 -0800 (PST)
""",
    sender="mailer-daemon@mail.example",
)
QMAIL = f"""\
Return-Path: <>
From: MAILER-DAEMON@mx.example
To: {PATH}
Subject: failure notice

Hi. This is the qmail-send program at mx.example.
I'm afraid I wasn't able to deliver your message to the following addresses.
This is a permanent error; I've given up. Sorry it didn't work out.

<{ANNA}>:
Sorry, no mailbox here by that name. (#5.1.1)

--- Below this line is a copy of the message.

{HEADERS}
250 2.0.0 Hello
""".encode()
QMAIL_REMOTE = QMAIL.replace(
    b"Sorry, no mailbox here by that name. (#5.1.1)",
    b"192.0.2.7 does not like recipient.\nRemote host said: 550 Unknown user\nGiving up on 192.0.2.7.",
)
EXIM = f"""\
Return-path: <>
X-Failed-Recipients: {ANNA}
Auto-Submitted: auto-replied
From: Mail Delivery System <Mailer-Daemon@mx.example>
To: {PATH}
Subject: Mail delivery failed: returning message to sender

This message was created automatically by mail delivery software (Exim 4.94.2).

A message that you sent could not be delivered to one or more of its
recipients. This is a permanent error. The following address(es) failed:

  {ANNA}
    host mx.rcpt.example [192.0.2.7]
    SMTP error from remote mail server after RCPT TO:<{ANNA}>:
    550 5.7.1 Message refused by policy

------ This is a copy of the message, including all the headers. ------

{HEADERS}
550 5.1.1 Hello
""".encode()
EXIM_LATE = f"""\
Return-path: <>
Auto-Submitted: auto-replied
From: Mail Delivery System <Mailer-Daemon@mx.example>
To: {PATH}
Subject: Warning: message 1abcDE-000000-00 delayed 24 hours

A message that you sent has not yet been delivered to one or more of its
recipients after more than 24 hours on the queue on mx.example.
  {ANNA}
    Delay reason: 451 4.7.1 greylisted
No action is required on your part.
""".encode()
COMPLAINT = report(
    "feedback-report",
    f"""\
Feedback-Type: abuse
User-Agent: ExampleLoop/1.0
Version: 1
Original-Mail-From: <{PATH}>
Original-Rcpt-To: {ANNA}
Arrival-Date: Thu, 26 Nov 2026 03:00:00 +0000
Source-IP: 192.0.2.9
Reported-Domain: shop.example
""",
    to="fbl@shop.example",
)
VACATION = f"""\
From: Anna Nowak <{ANNA}>
To: {PATH}
Subject: Automatic reply: Welcome
In-Reply-To: <{ID}@shop.example>
Auto-Submitted: auto-replied (vacation)

I am away until Monday. My number is 550 5.1.1 by the way.
""".encode()


@pytest.mark.parametrize(
    ("raw", "kind", "bounce_type", "code", "words"),
    [
        (POSTFIX, "bounced", "hard", "5.1.1", "User unknown in virtual"),
        (EXCHANGE, "bounced", "hard", "5.1.10", "RESOLVER.ADR.RecipientNotFound"),
        (EXCHANGE_EDGE, "bounced", "hard", "5.4.1", "Access denied"),
        (GMAIL_FULL, "bounced", "soft", "5.2.2", "out of storage space"),
        (QMAIL, "bounced", "hard", "5.1.1", "no mailbox here"),
        (QMAIL_REMOTE, "bounced", "hard", "5.0.0", "Unknown user"),
        (EXIM, "bounced", "soft", "5.7.1", "refused by policy"),
        (EXIM_LATE, "delayed", None, None, ""),
        (COMPLAINT, "complained", None, None, ""),
        (VACATION, "auto_reply", None, None, ""),
    ],
    ids=[
        "postfix",
        "exchange",
        "exchange edge",
        "gmail",
        "qmail",
        "qmail remote",
        "exim",
        "exim late",
        "arf",
        "vacation",
    ],
)
def test_reports_of_each_system_are_read(raw, kind, bounce_type, code, words):
    for form in (raw, raw.replace(b"\n", b"\r\n")):
        found = read_report(form, KEYS)
        assert (found.kind, found.bounce_type, found.status) == (kind, bounce_type, code)
        assert words in found.diagnostic
        assert found.reason
        assert (found.message_key, found.found_by) == (KEY, "return_path")
        if found.recipients:
            assert found.is_of(KEYS.address_digest(ANNA.upper()), KEYS)
            assert not found.is_of(KEYS.address_digest("jan@rcpt.example"), KEYS)
        shown = f"{found!r}{found.diagnostic}{found.reason}".lower()
        assert not re.search(r"anna|nowak|@|bounce\+", shown)


def test_only_what_names_addresses_says_whose_it_is():
    assert read_report(POSTFIX, KEYS).is_of(KEYS.address_digest(ANNA), KEYS)
    assert read_report(VACATION, KEYS).is_of(KEYS.address_digest(ANNA), KEYS) is None


@pytest.mark.parametrize(
    ("code", "words", "bounce_type"),
    [
        ("5.1.1", "", "hard"), ("5.1.2", "", "hard"), ("5.1.3", "", "hard"), ("5.1.6", "", "hard"),
        ("5.1.10", "", "hard"), ("5.1.0", "550 address rejected", "hard"), ("5.2.1", "", "hard"),
        ("5.4.310", "", "hard"), ("5.7.17", "", "hard"),
        ("5.1.7", "", "soft"), ("5.1.8", "", "soft"), ("5.1.0", "550 5.1.0 sender rejected", "soft"),
        ("5.2.2", "user unknown", "soft"), ("5.2.3", "", "soft"), ("5.3.4", "", "soft"), ("5.6.1", "", "soft"),
        ("5.7.1", "550 5.7.1 SPF record of the domain does not exist", "soft"), ("5.7.26", "", "soft"),
        ("5.4.7", "", "soft"), ("5.5.0", "", "soft"), ("5.0.0", "", "soft"), ("5.0.0", "554 rejected as spam", "soft"),
        ("5.0.0", "550 User unknown", "hard"), ("5.5.0", "550 mailbox unavailable", "hard"),
        ("5.4.4", "Host or domain name not found", "hard"), ("5.4.4", "no route", "soft"),
        ("5.3.0", "553 no such user here", "hard"), ("5.0.0", "550 account is disabled", "hard"),
        ("4.1.1", "user unknown", "soft"), ("4.2.2", "", "soft"), ("4.4.1", "", "soft"), ("4.7.1", "", "soft"),
    ],
)  # fmt: skip
def test_only_what_speaks_of_the_address_is_hard(code, words, bounce_type):
    found, why = bounce_type_of(code, words)
    assert found == bounce_type
    assert why
    read = read_report(status(block(code=code, words=f"smtp; {words or 'refused'}")), KEYS)
    assert (read.kind, read.bounce_type, read.reason) == ("bounced", bounce_type, why)


@given(st.integers(0, 7), st.integers(0, 999), st.text(max_size=30))
def test_passing_failures_are_never_hard(subject, detail, words):
    assert bounce_type_of(f"4.{subject}.{detail}", words)[0] == "soft"


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("550 5.1.1 no", "5.1.1"), ("(#5.1.1)", "5.1.1"), ("552-5.2.2 full. 552 5.2.2 x", "5.2.2"),
        ("5.1.1 (bad mailbox)", "5.1.1"), ("550 no such user", "5.0.0"), ("said: 451-later", "4.0.0"),
        ("2.0.0", "2.0.0"),
        ("from 5.1.1.2 at 14.2.2.1", None), ("Exim 4.94.2", None), ("15.1.1", None), ("5550 x", None), ("", None),
        ("550", None), ("٥.١.١", None),
    ],
)  # fmt: skip
def test_status_codes_are_found_in_words(text, code):
    assert status_in(text) == code


@pytest.mark.parametrize(
    ("blocks", "kind", "bounce_type"),
    [
        ([block("delayed", "4.4.1")], "delayed", None),
        ([block("delayed", "5.1.1")], "delayed", None),
        ([block("relayed", "2.1.9")], "unknown", None),
        ([block("expanded", "2.1.5")], "delivered", None),
        ([block("delivered", "2.1.5")], "delivered", None),
        ([block("Failed (gave up)", "5.1.1 (bad mailbox)")], "bounced", "hard"),
        ([block("failed", "4.4.7")], "bounced", "soft"),
        ([block("", "5.1.1")], "bounced", "hard"),
        ([block("", "4.4.1")], "delayed", None),
        ([block("", "2.0.0")], "delivered", None),
        ([block("sideways", "")], "bounced", "hard"),
        ([block("", "", "")], "unknown", None),
        ([block("failed", "", "")], "bounced", "soft"),
        ([], "unknown", None),
        ([block(), block(address="b@rcpt.example")], "bounced", "hard"),
        ([block(), block(code="5.2.2", address="b@rcpt.example")], "bounced", "soft"),
        ([block("delivered", "2.0.0"), block(address="b@rcpt.example")], "bounced", "soft"),
        ([block(), block("delayed", "4.0.0", address="b@rcpt.example")], "bounced", "soft"),
    ],
)
def test_actions_come_before_codes_and_one_lost_copy_is_no_lost_address(blocks, kind, bounce_type):
    found = read_report(status(*blocks), KEYS)
    assert (found.kind, found.bounce_type) == (kind, bounce_type)


def test_more_exact_code_of_the_diagnostic_is_taken():
    found = read_report(status(block(code="5.0.0", words="smtp; 550-5.1.1 gone 550 5.1.1 gone")), KEYS)
    assert (found.status, found.bounce_type) == ("5.1.1", "hard")
    found = read_report(status(block(code="5.0.0", words="smtp; 452 4.2.2 full")), KEYS)
    assert (found.status, found.bounce_type) == ("4.2.2", "soft")


@pytest.mark.parametrize(
    ("feedback", "kind"),
    [("abuse", "complained"), ("Fraud", "complained"), ("virus", "complained"), ("other", "complained"),
     ("opt-out", "complained"), ("of-the-future", "complained"), ("not-spam", "unknown"), ("auth-failure", "unknown"),
     ("", "unknown")],
)  # fmt: skip
def test_complaints_are_what_persons_say(feedback, kind):
    raw = COMPLAINT.replace(b"Feedback-Type: abuse", b"Feedback-Type: " + feedback.encode())
    found = read_report(raw, KEYS)
    assert (found.kind, found.message_key) == (kind, KEY)


def test_message_is_found_by_whatever_names_it():
    other = return_path(bytes(16), KEYS, "bounces.shop.example")
    assert read_report(POSTFIX, KEYS, other).message_key == bytes(16)
    redacted = COMPLAINT.replace(PATH.encode(), b"redacted@shop.example")
    assert (read_report(redacted, KEYS).message_key, read_report(redacted, KEYS).found_by) == (KEY, "message_id")
    ours = redacted.replace(b"Message-ID: ", b"Message-ID: <x@relay.example>\nX-JourneyLab-Message: ").replace(
        f"<{ID}@shop.example>".encode(), ID.upper().encode()
    )
    assert read_report(ours, KEYS).message_key == KEY
    assert read_report(ours.replace(ID.upper().encode(), KEY.hex().encode()), KEYS).message_key == KEY
    folded = redacted.replace(b"Message-ID: ", b"Message-ID:\n ")
    assert read_report(folded, KEYS).message_key == KEY
    reply = VACATION.replace(PATH.encode(), b"hello@shop.example")
    assert read_report(reply, KEYS).found_by == "message_id"
    assert read_report(reply.replace(ID.encode(), b"somebody-elses"), KEYS).message_key is None


def test_return_path_of_another_sender_or_use_names_nothing():
    for token in (Keys(bytes(32)).token("bounce", KEY), KEYS.token("unsubscribe", KEY)):
        raw = status(block(), to=f"bounce+{token}@bounces.shop.example", returned="Subject: x\n")
        assert read_report(raw, KEYS).message_key is None


@given(st.binary(min_size=16, max_size=16))
def test_return_paths_are_short_enough_and_come_back_from_careless_mail_systems(key):
    address = return_path(key, KEYS, "bounces.shop.example")
    assert len(address.partition("@")[0]) == 59
    for form in (address, address.upper(), f"<{address}>", f" {address}\n"):
        assert returned_to(form, KEYS) == key
    for form in (address[1:], address.replace("+", "-"), "", "bounce+@x", address[:-30], f"a{address}"):
        assert returned_to(form, KEYS) is None


def test_status_in_another_encoding_or_form_is_read():
    coded = base64.encodebytes(f"Reporting-MTA: dns; mx.example\r\n\r\n{block()}".encode()).decode()
    for kind in ("message/delivery-status", "message/global-delivery-status"):
        for raw in (
            report("delivery-status", f"Reporting-MTA: dns; mx.example\n\n\n{block()}", type_=kind),
            report("delivery-status", coded, type_=f"{kind}\nContent-Transfer-Encoding: base64"),
            report("delivery-status", f"Reporting-MTA: dns; mx.example\n \n{block()}".replace("=", "=3D"),
                   type_=f"{kind}\nContent-Transfer-Encoding: quoted-printable"),
            report("delivery-status", f"Reporting-MTA: dns; m\u017c.example\n\n{block()}", type_=kind),
        ):  # fmt: skip
            found = read_report(raw, KEYS)
            assert (found.kind, found.status) == ("bounced", "5.1.1")
            assert found.is_of(KEYS.address_digest(ANNA), KEYS)


def test_report_inside_of_other_multiparts_is_read_and_one_inside_of_a_returned_message_is_not():
    outer = b'From: a@mx.example\nContent-Type: multipart/mixed; boundary="BBB"\n\n--BBB\n'
    wrapped = outer + POSTFIX[POSTFIX.index(b"MIME-Version") :] + b"\n--BBB--\n"
    assert read_report(wrapped, KEYS).status == "5.1.1"
    inner = outer + b"Content-Type: message/rfc822\n\n" + POSTFIX + b"\n--BBB--\n"
    assert read_report(inner, KEYS).kind == "unknown"


@pytest.mark.parametrize("charset", ["x-none", "utf-16", "idna", "unicode_escape", "hex", "rot13", "punycode", "\x00"])
def test_wrong_charsets_do_no_harm(charset):
    raw = QMAIL.replace(b"Subject:", f"Content-Type: text/plain; charset={charset}\nSubject:".encode())
    assert read_report(raw, KEYS).status == "5.1.1"


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        (b"", "empty"),
        (b"\n\n", "empty"),
        (b"From: jan@rcpt.example\n\nHello, 550 5.1.1", "no report of a known form"),
        (b"From: MAILER-DAEMON@mx.example\n\nSorry.", "has no status"),
        (b"From: MAILER-DAEMON@mx.example\n\n250 2.0.0 Ok", "has no status"),
        (report("delivery-status", "nonsense"), "names no recipient"),
        (report("feedback-report", "nonsense"), "does not say of what type"),
        (b"Content-Type: multipart/report; boundary=x\n\n--x\n", "empty"),
    ],
)
def test_what_is_not_understood_is_unknown_with_a_reason(raw, reason):
    found = read_report(raw, KEYS)
    assert found.kind == "unknown"
    assert reason in found.reason


@pytest.mark.parametrize(
    "header",
    ["Auto-Submitted: auto-generated", "X-Autoreply: yes", "Precedence: auto_reply", "Subject: Out of office: x",
     "Subject: Autoreply", "X-Autorespond: x"],
)  # fmt: skip
def test_automatic_replies_are_no_bounces(header):
    assert read_report(f"From: {ANNA}\n{header}\n\n550 5.1.1 away".encode(), KEYS, PATH).kind == "auto_reply"
    assert read_report(f"From: {ANNA}\nAuto-Submitted: no\n\nHello".encode(), KEYS).kind == "unknown"


def test_receipts_of_reading_are_automatic():
    raw = report(
        "disposition-notification", f"Final-Recipient: rfc822; {ANNA}\nDisposition: manual-action/x; displayed"
    )
    assert read_report(raw, KEYS).kind == "auto_reply"


SAMPLES = [POSTFIX, EXCHANGE, GMAIL_FULL, QMAIL, EXIM, EXIM_LATE, COMPLAINT, VACATION]


@given(st.binary() | st.text().map(str.encode))
@example(b"Content-Type: multipart/report; boundary=\xff\n\n--\xff\n")
@example(b"Content-Type: text/plain; name*0*=x''%zz; name*1*=\n\n")
@example(b"Content-Type: message/delivery-status; charset*=\n\nStatus: \n")
def test_any_bytes_are_read(raw):
    assert isinstance(read_report(raw, KEYS), Report)


@given(st.sampled_from(SAMPLES), st.data())
def test_damaged_reports_are_read(raw, data):
    for _ in range(data.draw(st.integers(1, 5))):
        start = data.draw(st.integers(0, len(raw)))
        end = start + data.draw(st.integers(0, 80))
        raw = raw[:start] + data.draw(st.binary(max_size=20) | st.just(raw[start:end] * 3)) + raw[end:]
    found = read_report(raw, KEYS, PATH)
    assert found.message_key == KEY
    assert found.reason
    assert (found.bounce_type is not None) == (found.kind == "bounced")
    assert len(found.diagnostic) <= 300
    assert "@" not in found.diagnostic
    assert found.diagnostic.isprintable()


@given(st.sampled_from(["Content-Type", "Content-Transfer-Encoding", "From", "Subject", "Auto-Submitted"]), st.binary())
def test_any_header_is_read(name, value):
    raw = name.encode() + b": " + value.replace(b"\n", b" ") + b"\nMIME-Version: 1.0\n\n" + block().encode()
    assert isinstance(read_report(raw, KEYS), Report)


def nested(n):
    heads = "".join(f'Content-Type: multipart/mixed; boundary="b{i}"\n\n--b{i}\n' for i in range(n))
    return heads.encode() + b"\n" * 500_000


@pytest.mark.parametrize(
    "raw",
    [
        nested(100), nested(300), nested(5_000),
        b"Content-Type: message/rfc822\n\n" * 100_000,
        b"Content-Type: text/plain" + b';"' * 2_000_000 + b"\n\n",
        b"Content-Type: text/plain" + b"; a*0*=x''y" * 100_000 + b"\n\n",
        b"Content-Type: multipart/mixed;" + b"\n ;a=b" * 200_000 + b"\n\n",
        b"X: y\n" * 1_000_000,
        status(block(words="a" * 3_000_000)), status(block(words="@=40" * 500_000)),
        status(*[block(address=f"a{i}@rcpt.example", words="a" * 1_900) for i in range(3_000)]),
        b"From: MAILER-DAEMON@mx.example\n\n" + b"-" * 3_000_000,
        b"From: MAILER-DAEMON@mx.example\n\n" + b"--copy" * 500_000,
        b"From: MAILER-DAEMON@mx.example\n\n" + b"user is " * 300_000,
        b"From: MAILER-DAEMON@mx.example\n\n" + b"5.1." * 500_000,
        b"To: " + b"bounce+" * 500_000, b"bounce+" + b"a" * 3_000_000,
        b"".join(f"bounce+{KEYS.token('click', bytes([i % 256] * 16))}@\n".encode() for i in range(20_000)),
        b"Message-ID:" + b" \n" * 300_000, b"\x00" * 4_000_000,
        b"Content-Type: text/plain\nContent-Transfer-Encoding: base64\n\n" + b"A" * 4_000_000,
    ],
    ids=range(21),
)  # fmt: skip
def test_giant_and_hostile_reports_are_read_in_bounded_time(raw):
    begun = time.process_time()
    read_report(raw, KEYS)
    assert time.process_time() - begun < 3


def test_giant_returned_message_does_not_hide_the_report():
    raw = status(block(), returned=HEADERS + "\n" + "A" * 5_000_000)
    found = read_report(raw, KEYS)
    assert (found.kind, found.status, found.message_key) == ("bounced", "5.1.1", KEY)


def test_real_bounce_of_postfix_is_hard_and_names_its_message(postfix, authority):
    path = return_path(bytes(range(16)), KEYS, "bounces.shop.example")
    with smtplib.SMTP("127.0.0.1", postfix.port, timeout=10) as connection:
        connection.starttls(context=ssl.create_default_context(cafile=str(authority.file)))
        connection.sendmail(path, ["anna.nowak@bounce.test"], HEADERS.encode() + b"\r\nHello\r\n")
    [raw] = postfix.wait_for(path)
    found = read_report(raw, KEYS)
    assert (found.kind, found.bounce_type, found.status, found.action) == ("bounced", "hard", "5.1.1", "failed")
    assert (found.message_key, found.found_by) == (bytes(range(16)), "return_path")
    assert found.is_of(KEYS.address_digest("anna.nowak@bounce.test"), KEYS)
    assert "no such user here" in found.diagnostic
    assert "nowak" not in f"{found!r}"
