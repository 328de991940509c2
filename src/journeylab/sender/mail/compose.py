"""From a rendered message to the bytes that are sent: MIME by RFC 5322 and 2045, the same for the same message.

Values from data stand in headers (names, subjects). Python's own serialisation can be made to write further headers by
encoded words with line breaks in them (the class of CVE-2024-6923), so headers are written here, what could end one is
refused, and the bytes are parsed again and compared before anybody sends them.
"""

from __future__ import annotations

import binascii
import re
import unicodedata
from base64 import b64encode
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from email import message_from_bytes
from email.header import decode_header, make_header
from email.utils import format_datetime, getaddresses
from functools import lru_cache
from hashlib import sha256
from typing import Final

from journeylab.errors import JourneyLabError

from .rendering import Rendered

__all__ = ["MOST_IN_LINE", "Composed", "Envelope", "HeaderError", "compose", "mailbox"]

MOST_IN_LINE: Final = 998
"""The letters of a line without its end that RFC 5322 allows (2.1.1)."""
_WIDTH: Final = 76
_FORBIDDEN: Final = ("Cc", "Cs", "Zl", "Zp")
_MESSAGE_ID = re.compile(r"<[A-Za-z0-9._+-]{1,64}@[a-z0-9.-]{1,255}>")
_TOKEN = re.compile(r"[A-Za-z0-9][A-Za-z0-9-]*")
_VISIBLE = re.compile(r"[\x21-\x7e]+")
_ATOMS = re.compile(r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+( [A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+)*")


class HeaderError(JourneyLabError):
    """A header cannot be written: the text names the header and what is wrong with its value, not the value.

    Attributes:
        header: the name of the header, or of the part of the envelope.
    """

    def __init__(self, header: str, reason: str) -> None:
        super().__init__(f"{header}: {reason}")
        self.header = header


@dataclass(frozen=True)
class Envelope:
    """Whom a message is from and to, and what its headers say; the return path is of SMTP and not here.

    Attributes:
        message_id: `<…@domain>`, with its brackets.
        from_address, from_name: who writes.
        to_address, to_name: the one recipient.
        date: aware; the header has it in UTC, in whole seconds.
        list_id: RFC 2919's identity without brackets; None for mail that is of no list.
        unsubscribe_url, unsubscribe_mailto: for List-Unsubscribe (RFC 2369); None where one cannot unsubscribe.
        one_click: whether a POST to `unsubscribe_url` unsubscribes without a question (RFC 8058).
        feedback_id: Gmail's Feedback-ID, at most four parts between colons; nothing of a person.
        send_key: the value of X-JourneyLab-Message, by which the message is found again.
        idempotency: the name and the value of the header by which the relay drops a repeated message.
    """

    message_id: str
    from_address: str
    to_address: str
    date: datetime
    from_name: str = ""
    to_name: str = ""
    reply_to: str | None = None
    list_id: str | None = None
    unsubscribe_url: str | None = None
    unsubscribe_mailto: str | None = None
    one_click: bool = True
    feedback_id: str | None = None
    send_key: str | None = None
    idempotency: tuple[str, str] | None = None


@dataclass(frozen=True)
class Composed:
    """A message as it goes over the wire, without DKIM: its bytes, their SHA-256 in hexadecimal, its one recipient."""

    data: bytes
    hash: str
    recipient: str


@lru_cache(256)  # most of a message's addresses are its sender's
def mailbox(value: str, header: str = "To") -> str:
    """An address as SMTP carries it: one mailbox, the domain in ASCII.

    Raises:
        HeaderError: when it is none, or more than one.

    >>> mailbox("ala@żółw.example")
    'ala@xn--w-uga1v8h.example'
    """
    from email_validator import EmailNotValidError, validate_email

    try:
        checked = validate_email(value, check_deliverability=False, test_environment=True, allow_smtputf8=False)
    except EmailNotValidError:
        raise HeaderError(
            header, "the address is no mailbox that every server takes, such as ala@shop.example"
        ) from None
    if checked.ascii_email is None:
        raise HeaderError(header, "the address cannot be written in ASCII")
    return checked.ascii_email


def compose(rendered: Rendered, envelope: Envelope) -> Composed:
    r"""The bytes of a message: a text part and an HTML part, lines of 76 letters where they can be, CRLF at their ends.

    Raises:
        HeaderError: when a value cannot be a header, or the bytes read back are not what was meant.

    >>> envelope = Envelope("<abc@shop.example>", "hello@shop.example", "ala@mail.example",
    ...                     datetime(2026, 3, 2, 9, tzinfo=UTC), from_name="Our Shop")
    >>> made = compose(Rendered("Zażółć", "<p>Hi</p>", "Hi\n"), envelope)
    >>> print("\n".join(made.data.decode().splitlines()[:4]))
    From: Our Shop <hello@shop.example>
    To: ala@mail.example
    Subject: =?utf-8?b?WmHFvMOzxYLEhw==?=
    Date: Mon, 02 Mar 2026 09:00:00 +0000
    """
    headers = _headers(rendered, envelope)
    boundary = f"=_{sha256(envelope.message_id.encode()).hexdigest()[:32]}"
    parts = (("text/plain", rendered.text), ("text/html", rendered.html))
    lines = [f"{name}: {value}" for name, (value, _) in headers.items()]
    lines += ["Content-Type: multipart/alternative;", f' boundary="{boundary}"', ""]
    for kind, text in parts:
        encoding, body = _encoded(text)
        lines += [
            f"--{boundary}",
            f"Content-Type: {kind}; charset=utf-8",
            f"Content-Transfer-Encoding: {encoding}",
            "",
            body,
        ]
    data = "\r\n".join([*lines, f"--{boundary}--", ""]).encode("ascii")
    recipient = mailbox(envelope.to_address)
    _read_back(data, {name: meant for name, (_, meant) in headers.items()}, [text for _, text in parts])
    return Composed(data, sha256(data).hexdigest(), recipient)


Meant = str | tuple[str, str]
"""What a header means once it is read: a text, or the name and the address of a mailbox."""


def _headers(rendered: Rendered, envelope: Envelope) -> dict[str, tuple[str, Meant]]:
    """The headers in their order: as written, and as they are to be read."""
    found: dict[str, tuple[str, Meant]] = {
        "From": _mailbox("From", envelope.from_name, envelope.from_address),
        "To": _mailbox("To", envelope.to_name, envelope.to_address),
    }

    def add(name: str, value: str) -> None:
        if not re.fullmatch(r"[\x20-\x7e]+", value) or "=?" in value or len(value) + len(name) > MOST_IN_LINE - 2:
            raise HeaderError(name, "its value is empty, not ASCII, or longer than a line may be")
        found[name] = (value, value)

    subject = _safe("Subject", rendered.subject)
    if not subject.strip():
        raise HeaderError("Subject", "it is empty")
    found["Subject"] = (_words(subject, "Subject"), subject)
    if envelope.date.tzinfo is None:
        raise HeaderError("Date", "its instant has no time zone")
    add("Date", format_datetime(envelope.date.astimezone(UTC)))
    if not _MESSAGE_ID.fullmatch(envelope.message_id):
        raise HeaderError("Message-ID", "it is not written <letters@domain>")
    add("Message-ID", envelope.message_id)
    add("MIME-Version", "1.0")
    if envelope.reply_to is not None:
        found["Reply-To"] = _mailbox("Reply-To", "", envelope.reply_to)
    if envelope.list_id is not None:
        add("List-Id", f"<{_address('List-Id', envelope.list_id)}>")
    ways = []
    if envelope.unsubscribe_url is not None:
        ways.append(f"<{_address('List-Unsubscribe', envelope.unsubscribe_url)}>")
    if envelope.unsubscribe_mailto is not None:
        address = mailbox(envelope.unsubscribe_mailto.partition("?")[0], "List-Unsubscribe")
        _, mark, rest = envelope.unsubscribe_mailto.partition("?")
        ways.append(f"<mailto:{address}{mark}{_address('List-Unsubscribe', rest) if mark else ''}>")
    if ways:
        add("List-Unsubscribe", ", ".join(ways))
        found["List-Unsubscribe"] = (",\r\n ".join(ways), ", ".join(ways))
    if envelope.unsubscribe_url is not None and envelope.one_click:
        add("List-Unsubscribe-Post", "List-Unsubscribe=One-Click")
    add("Auto-Submitted", "auto-generated")
    if envelope.feedback_id is not None:
        add("Feedback-ID", envelope.feedback_id)
    if envelope.send_key is not None:
        add("X-JourneyLab-Message", envelope.send_key)
    if envelope.idempotency is not None:
        name, value = envelope.idempotency
        taken = {one.lower() for one in (*found, "Content-Type", "Bcc", "Cc", "Sender", "Return-Path")}
        if not _TOKEN.fullmatch(name) or name.lower() in taken:
            raise HeaderError("idempotency", "its header has a name that no header may have, or that another has")
        add(name, value)
    return found


def _safe(header: str, value: str) -> str:
    """The value, if nothing in it can end a header or be taken for something encoded."""
    if any(unicodedata.category(letter) in _FORBIDDEN for letter in value):
        raise HeaderError(header, "its value has a line break or another control character")
    if "=?" in value:
        raise HeaderError(header, "its value has =?, with which encoded words begin")
    return value


def _address(header: str, value: str) -> str:
    """A value that stands between angle brackets."""
    if not _VISIBLE.fullmatch(value) or "<" in value or ">" in value or "," in value:
        raise HeaderError(header, "its value has blanks, brackets, commas, or letters that are not ASCII")
    return value


def _mailbox(header: str, name: str, address: str) -> tuple[str, tuple[str, str]]:
    """A mailbox as written, and its name and address."""
    address = mailbox(address, header)
    name = _safe(header, name)
    if not name:
        return address, (name, address)
    if _ATOMS.fullmatch(name) and len(name) <= _WIDTH - len(header) - 2:
        return f"{name}{_gap(name + header, address)}<{address}>", (name, address)
    words = _encoded_words(name, len(header) + 2)
    return f"{words}\r\n <{address}>", (name, address)


def _gap(before: str, after: str) -> str:
    return " " if len(before) + len(after) + 5 <= _WIDTH else "\r\n "


def _words(value: str, header: str) -> str:
    """A text as a header's value: as it is where it is plain ASCII, else in encoded words (RFC 2047)."""
    words = value.split(" ")
    if not value.isascii() or "" in words or max(map(len, words)) > _WIDTH - len(header) - 2:
        return _encoded_words(value, len(header) + 2)
    lines = [f"{header}:"]
    for word in words:
        if len(lines[-1]) + len(word) < _WIDTH:
            lines[-1] += f" {word}"
        else:
            lines.append(f" {word}")
    return "\r\n".join(lines).removeprefix(f"{header}: ")


def _encoded_words(value: str, used: int) -> str:
    """Encoded words in base 64, each of at most 75 letters and of whole letters, on lines of their own."""
    chunks: list[bytes] = [b""]
    most = (_WIDTH - used - len("=?utf-8?b??=")) // 4 * 3
    for letter in value:
        data = letter.encode()
        if len(chunks[-1]) + len(data) > most:
            chunks.append(b"")
            most = 45
        chunks[-1] += data
    return "\r\n ".join(f"=?utf-8?b?{b64encode(chunk).decode()}?=" for chunk in chunks)


def _encoded(text: str) -> tuple[str, str]:
    """The transfer encoding of a part and its body, whichever is shorter, in lines of at most 76 letters."""
    try:
        data = _with_crlf(text).encode()
    except UnicodeEncodeError:
        raise HeaderError("message", "its text has half of a pair of surrogates, which is no letter") from None
    quoted = binascii.b2a_qp(data.replace(b"\r\n", b"\n"), istext=True).replace(b"\n", b"\r\n").decode()
    if len(quoted) <= len(data) * 1.4 + 10:
        return "quoted-printable", quoted
    whole = b64encode(data).decode()
    return "base64", "\r\n".join(whole[i : i + _WIDTH] for i in range(0, len(whole), _WIDTH))


def _with_crlf(text: str) -> str:
    """The text with CRLF between its lines; the last one's end belongs to the boundary that follows."""
    return re.sub(r"\r\n|\r", "\n", text).removesuffix("\n").replace("\n", "\r\n")


def _read_back(data: bytes, meant: dict[str, Meant], texts: list[str]) -> None:
    """Parses the bytes as a receiver does and compares with what was meant.

    Raises:
        HeaderError: when a header, the recipient or a part is not what it was meant to be.
    """
    if any(len(line) > MOST_IN_LINE for line in data.split(b"\r\n")) or re.search(rb"\r(?!\n)|(?<!\r)\n|\0", data):
        raise HeaderError("message", "a line is too long or ends in a way that mail does not know")
    read = message_from_bytes(data)
    if read.keys() != [*meant, "Content-Type"]:
        raise HeaderError("message", "read back, it has other headers than it was given")
    for name, value in meant.items():
        raw = re.sub(r"\r?\n(?=[ \t])", "", str(read[name]))
        decode: Callable[[str], str] = lambda text: str(make_header(decode_header(text)))  # noqa: E731
        if isinstance(value, str):
            found: object = [decode(raw)]
        else:
            found = [(decode(shown), address) for shown, address in getaddresses([raw])]
        if found != [value]:
            raise HeaderError(name, "read back, its value is not what it was given")
    parts = read.get_payload()
    bodies = [part.get_payload(decode=True) for part in parts if not isinstance(part, str)]
    if bodies != [_with_crlf(text).encode() for text in texts]:
        raise HeaderError("message", "read back, its parts are not what they were given")
