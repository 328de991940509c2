"""What comes back of a message: bounces, complaints, delays and automatic replies, and of which message they speak.

Every message has a return path of its own, `bounce+TOKEN@` the bounces' domain, so that a report needs no help to say
which one it means; the mailbox's server must take addresses with a `+` (`recipient_delimiter` of Postfix). Reports are
read whatever they are: delivery status (RFC 3464, RFC 6533), feedback of complaints (RFC 5965), receipts (RFC 8098),
the plain texts of qmail and Exim, automatic replies (RFC 3834), or nothing that is known.

Anybody may send anything to a return path, so nothing here fails, and nothing takes long: of a report the first half
megabyte is read, of a header two thousand characters (the parser of the standard library takes the square of the time
for longer ones).
"""

from __future__ import annotations

import base64
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from email import message_from_bytes
from email.message import Message as Mail
from email.parser import HeaderParser
from email.policy import Compat32
from typing import Final, Literal, TypeAlias

from journeylab.sender.keys import Keys

from .statuscodes import BounceType, bounce_type_of, status_in

__all__ = ["Report", "ReportKind", "read_report", "return_path", "returned_to"]

ReportKind: TypeAlias = Literal["bounced", "complained", "delayed", "delivered", "auto_reply", "unknown"]

_MOST_BYTES: Final = 512 * 1024
_MOST_LINES: Final = 10_000
_MOST_IN_HEADER: Final = 2_000
_MOST_RECIPIENTS: Final = 50
_LONGEST_DIAGNOSTIC: Final = 300

_RETURN_PATH: Final = re.compile(r"bounce\+([a-z2-7]{52})@", re.IGNORECASE | re.ASCII)
_MESSAGE_ID: Final = re.compile(
    r"^(?:X-JourneyLab-Message:\s{0,20}(?P<hex>[0-9a-f]{32})"
    r"|(?:X-JourneyLab-Message|Message-ID|In-Reply-To|References):\s{0,20}<?(?P<letters>[a-z2-7]{26}))(?=[@>\s]|\Z)",
    re.IGNORECASE | re.MULTILINE | re.ASCII,
)
_ADDRESS: Final = re.compile(r"[^\s<>()\[\],;:\"']{1,128}(?:@|%40|=40)[^\s<>()\[\],;:\"']+")
_COPY: Final = re.compile(
    r"^--[^\n]{0,100}?(?:copy of|below this line|original message|returned message)", re.IGNORECASE | re.MULTILINE
)
_QMAIL: Final = "This is the qmail-send program"
_QMAIL_RECIPIENT: Final = re.compile(r"^<([^<>\n]{3,320})>:$", re.MULTILINE)
_LATE: Final = re.compile(
    r"not yet been delivered|will (?:keep|continue) (?:trying|to try)|no action is required", re.IGNORECASE
)
_AUTOMATIC: Final = re.compile(r"(?:auto(?:matic)?[- ]?(?:reply|response)|out of (?:the )?office)\b", re.IGNORECASE)
_STATUS_PARTS: Final = ("message/delivery-status", "message/global-delivery-status")
_NO_COMPLAINT: Final = {
    "not-spam": "somebody says that the message is no spam",  # RFC 6430
    "auth-failure": "it is of authentication, no person's complaint",  # RFC 6591
    "dmarc": "it is of authentication, no person's complaint",
}


@dataclass(frozen=True, slots=True)
class Report:
    """What a report says, without anybody's address in what is shown of it.

    Attributes:
        kind: `bounced` and `complained` are what the log gets; `delayed` changes nothing, the relay goes on trying.
        reason: why it is of this kind and, of a bounce, why it is hard or soft, in plain words.
        message_key: the message it is of, None where nothing in it says so. Named by a return path, its token proves
            it; named by a Message-ID, it is as the report says, and counts only where the sender has such a message.
        found_by: `return_path` or `message_id`.
        bounce_type: of a bounce, `hard` (no mail will ever arrive) or `soft`.
        status: the code of RFC 3463, the most exact that the report has.
        action: RFC 3464's: `failed`, `delayed`, `delivered`, `relayed` or `expanded`.
        diagnostic: the relay's words, cut, addresses left out.
        recipients: the addresses that it names; not shown, for `is_of` alone.
    """

    kind: ReportKind
    reason: str
    message_key: bytes | None = None
    found_by: Literal["return_path", "message_id"] | None = None
    bounce_type: BounceType | None = None
    status: str | None = None
    action: str | None = None
    diagnostic: str = ""
    recipients: tuple[str, ...] = field(default=(), repr=False)

    def is_of(self, address_digest: str, keys: Keys) -> bool | None:
        """Whether the report names an address, given its digest; None where it names none.

        Forwarding makes it name another one.
        """
        named = {keys.address_digest(one) for one in self.recipients}
        return address_digest in named if named else None


class _Bounded(Compat32):
    """The standard library's lenient policy, with headers cut."""

    def header_source_parse(self, sourcelines: list[str]) -> tuple[str, str]:
        name, value = super().header_source_parse(sourcelines)
        return name[:_MOST_IN_HEADER], value[:_MOST_IN_HEADER]


_POLICY: Final = _Bounded()


def return_path(message_key: bytes, keys: Keys, domain: str) -> str:
    """The address to which a message comes back: its local part has 59 characters, of 64 that RFC 5321 allows.

    >>> keys = Keys(bytes(32))
    >>> address = return_path(bytes(16), keys, "bounces.shop.example")
    >>> len(address.partition("@")[0]), returned_to(address, keys) == bytes(16)
    (59, True)
    """
    return f"bounce+{keys.token('bounce', message_key)}@{domain}"


def returned_to(address: str, keys: Keys) -> bytes | None:
    """The message whose return path an address is, or None; the domain is not looked at, the token is the proof."""
    found = _RETURN_PATH.match(address.strip().lstrip("<"))
    return keys.named_by("bounce", found[1]) if found else None


def read_report(raw: bytes, keys: Keys, recipient: str | None = None) -> Report:
    r"""What a mail says that came to a return path, whatever it is; it never fails.

    Args:
        raw: the mail as it came.
        keys: the sender's, whose tokens name messages.
        recipient: the address to which it came, by the envelope; without it, the mail's own text is searched.

    >>> keys = Keys(bytes(32))
    >>> plain = b"From: MAILER-DAEMON@mx.example\n\n550 5.1.1 <anna@mx.example>: no such user"
    >>> read_report(plain, keys, return_path(bytes(16), keys, "bounces.shop.example"))
    ... # doctest: +NORMALIZE_WHITESPACE
    Report(kind='bounced', reason='there is no such address',
        message_key=b'\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00',
        found_by='return_path', bounce_type='hard', status='5.1.1', action=None,
        diagnostic='550 5.1.1 <…>: no such user')
    """
    lines = raw[:_MOST_BYTES].replace(b"\r\n", b"\n").replace(b"\r", b"\n").split(b"\n", _MOST_LINES)[:_MOST_LINES]
    source = b"\n".join(lines)
    try:
        mail = message_from_bytes(source, policy=_POLICY)
        parts = [*_parts(mail)]
        report = _said(mail, parts)
        texts = [_text(part) for part in parts if part.get("Content-Transfer-Encoding")]
    except Exception as problem:
        report, texts = Report("unknown", f"it is too malformed to be read ({type(problem).__name__})"), []
    return _of_message(report, keys, [recipient or "", source.decode("latin-1"), *texts])


def _of_message(report: Report, keys: Keys, texts: list[str]) -> Report:
    for text in texts:
        for found in _RETURN_PATH.finditer(text):
            if key := keys.named_by("bounce", found[1]):
                return replace(report, message_key=key, found_by="return_path")
    for text in texts[1:]:
        for found in _MESSAGE_ID.finditer(text):
            if key := bytes.fromhex(found["hex"] or "") or _key_of(found["letters"]):
                return replace(report, message_key=key, found_by="message_id")
    return report


def _key_of(text: str) -> bytes | None:
    try:
        key = base64.b32decode(text.upper() + "======")
    except ValueError:
        return None
    return key if base64.b32encode(key).decode().rstrip("=") == text.upper() else None


def _parts(mail: Mail) -> Iterator[Mail]:
    """The parts that are no multiparts, in order; a message inside of the message is one part."""
    waiting = [mail]
    while waiting:
        part = waiting.pop()
        if part.get_content_maintype() == "multipart" and part.is_multipart():
            waiting += _inside(part)[::-1]
        else:
            yield part


def _said(mail: Mail, parts: list[Mail]) -> Report:
    types = [part.get_content_type() for part in parts]
    for part, kind in zip(parts, types, strict=True):
        if kind in _STATUS_PARTS:
            return _delivery(_fields(part))
        if kind == "message/feedback-report":
            return _feedback(_fields(part))
        if kind == "message/disposition-notification":
            return Report("auto_reply", "it is a receipt of reading")
    texts = [_text(part) for part, kind in zip(parts, types, strict=True) if kind.startswith("text/")]
    text = _COPY.split(texts[0], maxsplit=1)[0] if texts else ""
    if _QMAIL in text[:500]:
        return _plain(text, _QMAIL_RECIPIENT.findall(text))
    failed = _header(mail, "X-Failed-Recipients")
    sender = _header(mail, "From").lower()
    if failed or "mailer-daemon@" in sender or "postmaster@" in sender:
        if "delay" in _header(mail, "Subject").lower() or _LATE.search(text):
            return Report("delayed", "the relay goes on trying", recipients=_addresses([failed]))
        return _plain(text, failed.split(","))
    return _automatic(mail) or Report("unknown", "it is no report of a known form" if text.strip() else "it is empty")


def _automatic(mail: Mail) -> Report | None:
    submitted = _header(mail, "Auto-Submitted").lower()
    if submitted and not submitted.startswith("no"):
        return Report("auto_reply", "it says that it is automatic (Auto-Submitted)")
    for name in ("X-Autoreply", "X-Autorespond", "X-Autoresponder"):
        if _header(mail, name):
            return Report("auto_reply", f"it says that it is automatic ({name})")
    if _header(mail, "Precedence").lower() == "auto_reply" or _AUTOMATIC.match(_header(mail, "Subject")):
        return Report("auto_reply", "it calls itself an automatic reply")
    return None


def _delivery(blocks: list[dict[str, str]]) -> Report:
    """What the blocks of a delivery status come to, each of one recipient; we send to one, who may forward to more."""
    found = [one for block in blocks[: _MOST_RECIPIENTS + 1] if (one := _recipient(block))]
    recipients = tuple(address for one in found for address in one.recipients)
    for kind in ("bounced", "delayed", "delivered", "unknown"):
        same = [one for one in found if one.kind == kind]
        if not same:
            continue
        soft = [one for one in same if one.bounce_type == "soft"]
        report = (soft or same)[0]
        if report.bounce_type == "hard" and any(one.kind != "bounced" for one in found):
            report = replace(report, bounce_type="soft", reason="the address stands for several, and not all failed")
        return replace(report, recipients=recipients)
    return Report("unknown", "it is a delivery report that names no recipient's action or status")


def _recipient(block: dict[str, str]) -> Report | None:
    recipients = _addresses(block.get(name, "") for name in ("final-recipient", "original-recipient"))
    words = block.get("diagnostic-code", "")
    status = status_in(block.get("status", ""))
    if status in (None, "4.0.0", "5.0.0"):
        status = status_in(words) or status
    action = re.split("[^a-z]", block.get("action", "").lower(), maxsplit=1)[0]
    if action not in ("failed", "delayed", "delivered", "relayed", "expanded"):
        action = {"5": "failed", "4": "delayed", "2": "delivered"}.get((status or "")[:1], "")
    shown = _without_addresses(words, recipients)
    report = Report("unknown", "", status=status, action=action, diagnostic=shown, recipients=recipients)
    match action:
        case "failed":
            bounce_type, reason = bounce_type_of(status or "5.0.0", words)
            return replace(report, kind="bounced", bounce_type=bounce_type, reason=reason)
        case "delayed":
            return replace(report, kind="delayed", reason="the relay goes on trying")
        case "delivered" | "expanded":
            return replace(report, kind="delivered", reason="the relay says that it arrived")
        case "relayed":
            return replace(report, reason="it was passed on to a system that does not report")
    return None


def _feedback(blocks: list[dict[str, str]]) -> Report:
    fields = {name: value for block in reversed(blocks) for name, value in block.items()}
    feedback = fields.get("feedback-type", "").lower()
    recipients = _addresses(fields.get(name, "") for name in ("original-rcpt-to", "removal-recipient"))
    if not feedback:
        return Report("unknown", "it is a feedback report that does not say of what type", recipients=recipients)
    if feedback in _NO_COMPLAINT:
        return Report("unknown", _NO_COMPLAINT[feedback], recipients=recipients)
    known = feedback if feedback in ("abuse", "fraud", "virus", "opt-out") else "other"
    return Report("complained", f"the mailbox's provider reports {known}", recipients=recipients)


def _plain(text: str, recipients: Iterable[str]) -> Report:
    """What a report in plain words comes to: that of its first status code."""
    status = status_in(text)
    if status is None or status.startswith("2"):
        return Report("unknown", "it comes from a mail system, but has no status", recipients=_addresses(recipients))
    bounce_type, reason = bounce_type_of(status, text[:_MOST_IN_HEADER])
    line = next(line for line in text.splitlines() if status_in(line) == status)
    addresses = _addresses(recipients)
    return Report("bounced", reason, bounce_type=bounce_type, status=status, recipients=addresses,
                  diagnostic=_without_addresses(line, addresses))  # fmt: skip


def _header(mail: Mail, name: str) -> str:
    return " ".join(str(mail.get(name, "")).split())


def _text(part: Mail) -> str:
    """The text of a part, its transfer encoding undone; its charset may be wrong, what matters is ASCII."""
    if part.is_multipart():
        return "\n\n".join(_source(one) for one in _inside(part))
    data = part.get_payload(decode=True)
    return data.decode("utf-8", "replace") if isinstance(data, bytes) else ""


def _inside(part: Mail) -> list[Mail]:
    return [one for one in part.get_payload() if isinstance(one, Mail)]


def _source(mail: Mail) -> str:
    """The text of a message inside of a part: its headers and what comes after them."""
    rest = "" if mail.is_multipart() else _text(mail)
    return "".join(f"{name}: {value}\n" for name, value in mail.items()) + "\n" + rest


def _fields(part: Mail) -> list[dict[str, str]]:
    """The blocks of fields in a part, which blank lines part, by name in lower case; the last of a name wins."""
    text = _text(part)
    if str(part.get("Content-Transfer-Encoding", "")).strip().lower() in ("base64", "quoted-printable"):
        plain = Mail(_POLICY)
        plain["Content-Transfer-Encoding"] = str(part["Content-Transfer-Encoding"])
        plain.set_payload(text.encode("ascii", "replace").decode())
        text = _text(plain)
    blocks = []
    for block in re.split(r"\n[ \t]*\n", text.replace("\r", "")):
        if block.strip():
            headers = HeaderParser(policy=_POLICY).parsestr(block.lstrip("\n"))
            blocks.append({name.lower(): " ".join(str(value).split()) for name, value in headers.items()})
    return blocks


def _addresses(texts: Iterable[str]) -> tuple[str, ...]:
    """The addresses in fields such as `rfc822; anna@example`, in lower case."""
    found = (text.rpartition(";")[2].strip().strip("<>").lower() for text in texts)
    return tuple(dict.fromkeys(one for one in found if "@" in one))


def _without_addresses(text: str, recipients: tuple[str, ...]) -> str:
    """A relay's words in one line, cut, with neither addresses nor the names before their @."""
    text = _ADDRESS.sub("…", text[:_MOST_IN_HEADER])
    for recipient in recipients:
        name = re.escape(recipient.rpartition("@")[0])
        text = re.sub(rf"(?<!\w){name}(?!\w)", "…", text, flags=re.IGNORECASE)
    shown = "".join(letter if letter.isprintable() else " " for letter in text)
    return " ".join(shown.split())[:_LONGEST_DIAGNOSTIC]
