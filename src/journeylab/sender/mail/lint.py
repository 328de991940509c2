"""The rules of those who take bulk mail, checked on a sample of a message before it is promoted.

They are what Gmail, Yahoo and Outlook ask of senders since 2024 and 2025, the RFCs behind them, and what a person
needs to read a mail and to be left alone. An `error` blocks promotion. Mail that is owed (`transactional`) is exempt
from what concerns unsubscribing.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from email import message_from_bytes
from email.header import decode_header, make_header
from email.message import Message as Mail
from email.utils import getaddresses
from html.parser import HTMLParser
from typing import Final, Literal

from journeylab.errors import DataError
from journeylab.sender.settings import Settings

from .compose import MOST_IN_LINE
from .dkim import DkimKey
from .messages import Message
from .textpart import text_of

__all__ = ["Dns", "Finding", "lint"]

Dns = Callable[[str, str], list[str]]
"""A look-up: the texts of the records of a name and a type (`TXT`, `MX`); empty where there are none, OSError where it
cannot be known."""

CLIPPED: Final = 102 * 1024
"""From how many bytes of HTML on Gmail hides the rest, the unsubscribe link most likely in it."""
LONG_SUBJECT: Final = 78
_GMAIL: Final = "Gmail's and Yahoo's rules for senders"
_ACTIVE: Final = ("script", "iframe", "object", "embed", "form", "base", "video", "audio")


@dataclass(frozen=True)
class Finding:
    """A rule that a message breaks: its name, how bad it is, what to do in a sentence, and whose rule it is."""

    rule: str
    severity: Literal["error", "warning"]
    sentence: str
    source: str

    def __str__(self) -> str:
        return f"{self.severity}: {self.rule}: {self.sentence} ({self.source})"


@dataclass
class _Html(HTMLParser):
    """What stands in the HTML."""

    links: list[str] = field(default_factory=list)
    images: list[dict[str, str | None]] = field(default_factory=list)
    active: set[str] = field(default_factory=set)
    language: str = ""
    has_stylesheet: bool = False
    styles: str = ""

    def __post_init__(self) -> None:
        super().__init__()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        if tag in ("a", "area"):
            self.links.append((values.get("href") or "").strip())
        elif tag == "img":
            self.images.append(values)
        elif tag == "html":
            self.language = values.get("lang") or ""
        elif tag == "link" and "stylesheet" in (values.get("rel") or ""):
            self.has_stylesheet = True
        elif tag in _ACTIVE:
            self.active.add(tag)
        self.styles += values.get("style") or ""
        if any(name.startswith("on") for name in values):
            self.active.add("script")

    def handle_data(self, data: str) -> None:
        if self.lasttag == "style":
            self.styles += data


@dataclass
class _Sample:
    """A message as a receiver sees it."""

    message: Message
    data: bytes
    settings: Settings

    def __post_init__(self) -> None:
        self.mail: Mail = message_from_bytes(self.data)
        self.html_source = self._part("text/html")
        self.text = self._part("text/plain")
        self.html = _Html()
        self.html.feed(self.html_source)
        self.shown = text_of(self.html_source, width=10**9)

    def _part(self, kind: str) -> str:
        for part in self.mail.walk():
            payload = part.get_payload(decode=True)
            if part.get_content_type() == kind and isinstance(payload, bytes):
                return payload.decode("utf-8", "replace")
        return ""

    def header(self, name: str) -> str:
        """A header's value on one line, decoded; empty where there is none."""
        return str(make_header(decode_header(re.sub(r"\s*\r?\n\s+", " ", str(self.mail.get(name, "")))))).strip()

    @property
    def is_marketing(self) -> bool:
        return not self.message.transactional

    @property
    def from_domain(self) -> str:
        addresses = [address for _, address in getaddresses([self.header("From")])]
        return addresses[0].rpartition("@")[2].lower() if len(addresses) == 1 else ""

    @property
    def signature(self) -> dict[str, str]:
        """The tags of the first DKIM-Signature."""
        return _tags(self.header("DKIM-Signature"))

    @property
    def unsubscribe_url(self) -> str:
        """The web address in List-Unsubscribe."""
        found = re.findall(r"<(https?:[^>\s]+)>", self.header("List-Unsubscribe"))
        return str(found[0]) if found else ""


def lint(message: Message, sample: bytes, settings: Settings, *, dns: Dns | None = None) -> list[Finding]:
    """The rules that a message breaks, errors first; empty when it may be sent to many.

    Args:
        message: the message.
        sample: its bytes for some contact, composed and signed; see `previews.sample`.
        settings: of the sender.
        dns: how to look up what DNS says of the domains; without it a warning says that nobody has.

    Senders count as aligned when the domain of From is the signature's or either is part of the other. DMARC compares
    organisations by the Public Suffix List, which is not at hand here: siblings such as news.shop.example and
    mail.shop.example, which DMARC takes for one organisation, are refused.
    """
    found = _Sample(message, sample, settings)
    rules = (_authentication, _unsubscribing, _headers, _subject, _body, _text, _links)
    findings = [finding for rule in rules for finding in rule(found)]
    findings += _dns(found, dns) if dns is not None else [_NOT_ASKED]
    return sorted(findings, key=lambda finding: finding.severity)


_NOT_ASKED: Final = Finding(
    "dns",
    "warning",
    "SPF, the DKIM record and DMARC were not checked; look them up before the first release.",
    _GMAIL,
)


def _tags(text: str) -> dict[str, str]:
    """The tags of a DKIM or DMARC text, blanks left out."""
    tags = (tag.partition("=") for tag in text.split(";"))
    return {name.strip(): re.sub(r"\s", "", value) for name, _, value in tags if name.strip()}


def _error(rule: str, sentence: str, source: str) -> Finding:
    return Finding(rule, "error", sentence, source)


def _warning(rule: str, sentence: str, source: str) -> Finding:
    return Finding(rule, "warning", sentence, source)


def _aligned(domain: str, other: str) -> bool:
    return bool(domain) and (domain == other or domain.endswith("." + other) or other.endswith("." + domain))


def _authentication(sample: _Sample) -> Iterator[Finding]:
    signature = sample.signature
    if not signature.get("b"):
        make = _error if sample.is_marketing else _warning
        yield make("dkim", "The message is not signed; give the settings a `dkim` key.", f"RFC 6376; {_GMAIL}")
        return
    domain = signature.get("d", "")
    if not _aligned(sample.from_domain, domain):
        yield _error(
            "alignment",
            f"From is at {sample.from_domain or 'no one domain'}, but the signature is of {domain}; sign as the domain "
            "of From or the one above it.",
            f"RFC 7489, 3.1; {_GMAIL}",
        )
    covered = signature.get("h", "").lower().split(":")
    needed = ["From", "Subject", "Date", "To"]
    needed += [name for name in ("List-Unsubscribe", "List-Unsubscribe-Post") if name in sample.mail]
    open_names = [name for name in needed if name.lower() not in covered]
    if open_names:
        yield _error("dkim-covers", f"The signature does not cover {', '.join(open_names)}.", "RFC 8058, 4")


def _unsubscribing(sample: _Sample) -> Iterator[Finding]:
    if not sample.is_marketing:
        return
    url = sample.unsubscribe_url
    if not url.startswith(("https://", sample.settings.public_url + "/")):
        yield _error("one-click", "List-Unsubscribe has no https address.", "RFC 8058, 3.1")
    if sample.header("List-Unsubscribe-Post") != "List-Unsubscribe=One-Click":
        yield _error(
            "one-click", "The header List-Unsubscribe-Post: List-Unsubscribe=One-Click is missing.", "RFC 8058"
        )
    if url and not re.search(rf"[^\s<>] <{re.escape(url)}>", sample.shown):
        remedy = 'put <a href="{{ unsubscribe_url }}">Unsubscribe</a> where it is seen'
        yield _error(
            "unsubscribe-link", f"The HTML shows no link to unsubscribe; {remedy}.", f"GDPR Art. 7(3); {_GMAIL}"
        )
    if url and url not in sample.text:
        remedy = "write {{ unsubscribe_url }} there"
        yield _error("unsubscribe-link", f"The text part has no link to unsubscribe; {remedy}.", "GDPR Art. 7(3)")
    if not re.fullmatch(r"(.* )?<[^<>\s]+>", sample.header("List-Id")):
        yield _error("list-id", "The header List-Id is missing or has no <identity>.", "RFC 2919")
    where = sample.settings.postal_address
    if not where.strip():
        yield _error("postal-address", "The settings have no postal_address.", "CAN-SPAM Act, 15 U.S.C. 7704(a)(5)")
    elif any(_flat(where) not in _flat(part) for part in (sample.shown, sample.text)):
        remedy = "write {{ postal_address }} in the HTML and the text part"
        yield _error(
            "postal-address", f"The postal address is not shown; {remedy}.", "CAN-SPAM Act, 15 U.S.C. 7704(a)(5)"
        )


def _flat(text: str) -> str:
    return " ".join(text.split())


def _headers(sample: _Sample) -> Iterator[Finding]:
    for name in ("From", "To", "Subject", "Date", "Message-ID"):
        n = len(sample.mail.get_all(name, []))
        if n != 1:
            yield _error("headers", f"The header {name} is there {n} times, not once.", "RFC 5322, 3.6")
    for name in ("From", "To"):
        n = len(getaddresses([sample.header(name)]))
        if name in sample.mail and n != 1:
            yield _error("headers", f"{name} has {n} addresses; it must have one.", "RFC 5322, 3.6.2")
    for name in ("Cc", "Bcc"):
        if name in sample.mail:
            yield _error("headers", f"The header {name} is there; a message goes to one contact.", "RFC 5322, 3.6.3")
    longest = max(map(len, sample.data.split(b"\r\n")))
    if longest > MOST_IN_LINE:
        yield _error("lines", f"A line has {longest} letters, and {MOST_IN_LINE} are allowed.", "RFC 5322, 2.1.1")
    if re.search(rb"\r(?!\n)|(?<!\r)\n", sample.data):
        yield _error("lines", "A line does not end with CRLF.", "RFC 5321, 2.3.8")


def _subject(sample: _Sample) -> Iterator[Finding]:
    subject = sample.header("Subject")
    if not subject:
        yield _error("subject", "The subject is empty.", "RFC 5322, 3.6.5")
    if len(subject) > LONG_SUBJECT:
        yield _warning("subject", f"The subject has {len(subject)} letters; inboxes cut it, many at 60.", "practice")
    if re.match(r"(re|fwd?|odp|aw|wg)\s*:", subject, re.IGNORECASE):
        yield _error("subject", "The subject pretends to be an answer or to be forwarded.", _GMAIL)


def _body(sample: _Sample) -> Iterator[Finding]:
    html = sample.html
    if not sample.html_source.strip():
        yield _error("html", "There is no HTML part.", "RFC 2046, 5.1.4")
        return
    size = len(sample.html_source.encode())
    if size > CLIPPED:
        sentence = f"The HTML has {size / 1024:.0f} kB; Gmail hides what is beyond 102 kB, the link to unsubscribe too."
        yield _warning("size", sentence, "Gmail's clipping")
    n_silent = sum("alt" not in image for image in html.images)
    if n_silent:
        sentence = f'{n_silent} of {len(html.images)} pictures have no alt text; write what they show, or alt="".'
        yield _error("alt", sentence, "WCAG 2.2, 1.1.1")
    if html.has_stylesheet or "@import" in html.styles:
        yield _error("styles", "Styles are fetched from elsewhere; write them in <style>.", "what mail programs show")
    if html.active:
        names = ", ".join(sorted(html.active))
        yield _error(
            "active", f"The HTML has {names}, which mail programs remove or warn of.", "what mail programs show"
        )
    if not html.language.strip():
        yield _warning("language", 'The HTML names no language; write <html lang="en">.', "WCAG 2.2, 3.1.1")


def _text(sample: _Sample) -> Iterator[Finding]:
    if not sample.text.strip():
        yield _error("text-part", "There is no text part.", "RFC 2046, 5.1.4")
        return
    shown = [link for link in dict.fromkeys(sample.html.links) if f"<{link.removeprefix('mailto:')}>" in sample.shown]
    lost = [link for link in shown if link.removeprefix("mailto:") not in sample.text]
    if lost:
        sentence = f"The text part lacks {len(lost)} of {len(shown)} links of the HTML, the first {lost[0]!r}."
        yield _error("text-part", f"{sentence} Write them in {sample.message.text or 'the HTML'}.", "RFC 2046, 5.1.4")


def _links(sample: _Sample) -> Iterator[Finding]:
    base = sample.settings.public_url
    images = [(image.get("src") or "").strip() for image in sample.html.images]
    for kind, found in (("A link leads to", sample.html.links), ("A picture comes from", images)):
        for address in dict.fromkeys(found):
            is_known = address.startswith(("https://", "mailto:", "tel:", "cid:", "#", base + "/"))
            if not is_known:
                yield _error("links", f"{kind} {address[:80]!r}; write https://….", "what mail programs follow")


def _dns(sample: _Sample, dns: Dns) -> list[Finding]:
    """What DNS says of the domains."""
    findings: list[Finding] = []
    for check in (_spf, _dkim_record, _dmarc, _bounces):
        try:
            findings += check(sample, dns)
        except OSError as problem:
            sentence = (
                f"{check.__name__.strip('_').upper()} could not be looked up ({type(problem).__name__}); try again."
            )
            findings.append(_warning("dns", sentence, _GMAIL))
    return findings


def _spf(sample: _Sample, dns: Dns) -> Iterator[Finding]:
    domain = sample.settings.bounces
    records = [text for text in dns(domain, "TXT") if text.lower().split(" ")[0] == "v=spf1"]
    if len(records) != 1:
        remedy = 'publish one TXT record there, such as "v=spf1 ip4:192.0.2.1 -all" with the relay\'s addresses'
        yield _error(
            "spf", f"{domain}, the domain of return paths, has {len(records)} SPF records; {remedy}.", "RFC 7208"
        )
    elif re.search(r"(^|\s)\+?all(\s|$)", records[0].lower()):
        yield _error("spf", f"The SPF record of {domain} lets everybody send (all); end it with -all.", "RFC 7208, 5.1")


def _dkim_record(sample: _Sample, dns: Dns) -> Iterator[Finding]:
    signature = sample.signature
    if not signature.get("b"):
        return
    name = f"{signature.get('s')}._domainkey.{signature.get('d')}"
    try:
        key = DkimKey.read(sample.settings)
    except DataError as problem:
        yield _error("dkim-record", f"The key cannot be read: {problem}.", "RFC 6376")
        return
    records = [_tags(text) for text in dns(name, "TXT")]
    published = [record["p"] for record in records if "p" in record]
    if len(published) != 1:
        sentence = f"{name} has {len(published)} DKIM records; publish one, as `mail.dkim.dns_record` writes it."
        yield _error("dkim-record", sentence, "RFC 6376, 3.6.2")
    elif key is not None and published[0] != key.public:
        yield _error("dkim-record", f"The key published at {name} is not the one that signs.", "RFC 6376, 3.6.1")


def _dmarc(sample: _Sample, dns: Dns) -> Iterator[Finding]:
    labels = sample.from_domain.split(".")
    for i in range(len(labels) - 1):
        name = "_dmarc." + ".".join(labels[i:])
        records = [text for text in dns(name, "TXT") if re.match(r"v\s*=\s*DMARC1", text)]
        if records:
            break
    else:
        sentence = f'_dmarc.{sample.from_domain} has no DMARC record; publish "v=DMARC1; p=none" at least.'
        yield _error("dmarc", sentence, f"RFC 7489; {_GMAIL}")
        return
    tags = _tags(records[0])
    if len(records) > 1 or tags.get("p") not in ("none", "quarantine", "reject"):
        yield _error(
            "dmarc", f"The DMARC record of {name} is not one record with p=none, quarantine or reject.", "RFC 7489"
        )
    domain = sample.signature.get("d", "")
    if tags.get("adkim") == "s" and domain != sample.from_domain:
        sentence = f"DMARC asks for the very domain of From (adkim=s), and the signature is of {domain}."
        yield _error("alignment", sentence, "RFC 7489, 3.1.1")


def _bounces(sample: _Sample, dns: Dns) -> Iterator[Finding]:
    domain = sample.settings.bounces
    if not dns(domain, "MX"):
        sentence = f"{domain} has no MX record, so what cannot be delivered is not heard of; publish one."
        yield _error("bounces", sentence, "RFC 5321, 5.1")
