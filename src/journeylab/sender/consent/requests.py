"""Double opt-in: asking for consent, confirming it, and giving it, each with its proof (GDPR Art. 7(1)).

A request is put down with the wording that was shown, and a message goes out that asks to confirm; only the person
who reads that mailbox can. A request holds for seven days and is used once. A withdrawal makes every request void that
was made before it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from hashlib import sha256
from typing import Any, Final, Literal, TypeAlias

from sqlalchemy import Connection, insert, select, update

from journeylab.errors import DataError
from journeylab.sender.live.intake import record
from journeylab.sender.sending.notices import tell
from journeylab.sender.sending.states import WAITING
from journeylab.sender.store import act, insert_missing, lock_contacts
from journeylab.sender.store import tables as t
from journeylab.sender.store.seals import seals_of

from .evidence import sealed_evidence
from .standing import consent_events, folded

__all__ = [
    "AGAIN_AFTER", "HOLDS", "JOURNEY", "NODE", "Confirmed", "Given", "Outcome", "Request", "ask", "confirm", "give",
    "request_of", "webhook_id_of",
]  # fmt: skip

JOURNEY: Final = "(consent)"
"""The journey of messages that ask to confirm; their node is `NODE`, their entry the request's number."""
NODE: Final = "confirm"
HOLDS: Final = timedelta(days=7)
"""How long a request can be confirmed."""
AGAIN_AFTER: Final = timedelta(days=1)
"""How long after a request the same one is given for another one: so nobody's mailbox is filled by a form."""

Outcome: TypeAlias = Literal["given", "repeated", "expired", "void", "unknown"]


@dataclass(frozen=True, slots=True)
class Request:
    """A request for consent.

    Attributes:
        request_key: 16 bytes that name it in the link (`Urls.confirm`); the key of its message, too.
        contact, purpose: whose it is, and for what.
        wording: the text that was shown, in `language`.
        asked_at, expires_at: from when until when it can be confirmed.
        is_new: whether it was made now.
    """

    request_key: bytes
    contact: str
    purpose: str
    wording: str
    language: str
    asked_at: datetime
    expires_at: datetime
    is_new: bool = False

    @property
    def message_key(self) -> str:
        """The key of the message that asks to confirm it, as in `sends`."""
        return self.request_key.hex()


@dataclass(frozen=True, slots=True)
class Given:
    """Consent that was given: when, and the id under which the CRM is told."""

    at: datetime
    webhook_id: str


@dataclass(frozen=True, slots=True)
class Confirmed:
    """What became of a click that confirms.

    Attributes:
        outcome: `given`; `repeated`, when this request had given it and it still stands; `expired`; `void`, when
            consent was withdrawn after the request; `unknown`, when there is no such request.
        request: the request, unless it is unknown.
        at: when consent was given.
    """

    outcome: Outcome
    request: Request | None = None
    at: datetime | None = None


def ask(
    connection: Connection, contact: str, purpose: str, wording: str, language: str, route: str,
    evidence: Mapping[str, Any], now: datetime, *,
    message: str = "confirm_subscription", actor: str = "contact",
) -> Request:  # fmt: skip
    """The request for a contact's consent, whose message is ready to go.

    Within a day of the last request for the purpose, while its message waits or has gone, that one is given again.

    Args:
        connection: a writing transaction.
        contact: a contact that is known, with an address.
        purpose: what for.
        wording: the text that was shown, word for word.
        language: its language, such as `en`.
        route: the form or page on which it was asked for.
        evidence: see `evidence_of`.
        now: the store's instant.
        message: the message that asks to confirm.
        actor: who asks, for the audit log.

    Raises:
        DataError: when there is no such contact, it has no address, or the purpose or wording is empty.
    """
    if not purpose.strip() or not wording.strip():
        raise DataError("consent is asked for with a purpose and the wording that was shown; one of them is empty")
    at = _locked(connection, contact, now)
    digest = connection.scalar(select(t.contacts.c.address_digest).where(t.contacts.c.contact == contact))
    if digest is None:
        raise DataError(f"the contact {contact!r} has no address to which a request could go; bring one first")
    open_one = _open_request(connection, contact, purpose, now)
    if open_one is not None:
        return open_one
    row = {
        "contact": contact,
        "purpose": purpose,
        "what": "requested",
        "at": at,
        "route": route,
        "wording": _kept(connection, wording, language),
        "expires_at": at + HOLDS,
        "evidence": sealed_evidence(connection, contact, evidence),
    }
    number = connection.scalar(insert(t.consents).returning(t.consents.c.consent_id), row)
    key = seals_of(connection).keys.message_key(JOURNEY, contact, number, NODE, 1)
    connection.execute(
        update(t.consents).where(t.consents.c.consent_id == number).values(request_key=key, message_key=key)
    )
    send = {
        "message_key": key,
        "journey": JOURNEY,
        "contact": contact,
        "entry": number,
        "node": NODE,
        "visit": 1,
        "message": message,
        "purpose": purpose,
        "transactional": True,
        "state": "ready",
        "planned_at": at,
        "not_before": at,
        "not_after": at + HOLDS,
        "attempts": 0,
        "fence": 0,
    }
    connection.execute(insert(t.sends), send)
    connection.execute(update(t.contacts).where(t.contacts.c.contact == contact).values(last_at=at))
    act(connection, at, actor, "consent_requested", "consent", contact=contact, purpose=purpose, route=route)
    return Request(bytes.fromhex(key), contact, purpose, wording, language, at, at + HOLDS, is_new=True)


def request_of(connection: Connection, request_key: bytes) -> Request | None:
    """The request that a key names, whatever became of it."""
    return next(iter(_requests(connection, t.consents.c.request_key == request_key.hex())), None)


def confirm(connection: Connection, request_key: bytes, evidence: Mapping[str, Any], now: datetime) -> Confirmed:
    """What confirming a request comes to: once it gives consent, and a second click finds that it has.

    Args:
        connection: a writing transaction.
        request_key: names the request; the caller has proven it by its token.
        evidence: of who confirms; see `evidence_of`.
        now: the store's instant.
    """
    request = request_of(connection, request_key)
    at = lock_contacts(connection, [request.contact], now) if request else {}
    if request is None or request.contact not in at:
        return Confirmed("unknown")
    events = consent_events(connection, request.contact)
    state = folded(events, [request.purpose])[request.purpose]
    given_at = connection.scalar(
        select(t.consents.c.at).where(t.consents.c.request_key == request_key.hex(), t.consents.c.what == "given")
    )
    if given_at is not None:
        return Confirmed("repeated" if state.stands else "void", request, given_at)
    if any(
        one.event != "consent_given" and one.purpose in (None, request.purpose) and one.received_at > request.asked_at
        for one in events
    ):
        return Confirmed("void", request)
    if now > request.expires_at:
        return Confirmed("expired", request)
    given = give(
        connection, request.contact, request.purpose, request.wording, request.language, "confirmation", evidence, now,
        request_key=request_key, message_key=request.message_key,
    )  # fmt: skip
    return Confirmed("given", request, given.at)


def give(
    connection: Connection, contact: str, purpose: str, wording: str, language: str, route: str,
    evidence: Mapping[str, Any], now: datetime, *, request_key: bytes | None = None, message_key: str | None = None,
    actor: str = "contact",
) -> Given:  # fmt: skip
    """Puts down that consent was given, with its proof; the contact is due, and the CRM is told.

    Args:
        connection: a writing transaction.
        contact: a contact that is known.
        purpose: what for.
        wording: the text that was shown, word for word.
        language: its language.
        route: the page or form by which it was given.
        evidence: see `evidence_of`.
        now: the store's instant.
        request_key: of the request that is confirmed.
        message_key: of the message whose link led there.
        actor: who gives it, for the audit log: the contact, or somebody in its name.

    Raises:
        DataError: when there is no such contact.
    """
    at = _locked(connection, contact, now)
    row = {
        "contact": contact,
        "purpose": purpose,
        "what": "given",
        "at": at,
        "route": route,
        "wording": _kept(connection, wording, language),
        "request_key": request_key.hex() if request_key else None,
        "message_key": message_key,
        "evidence": sealed_evidence(connection, contact, evidence),
    }
    connection.execute(insert(t.consents), row)
    record(connection, contact, "consent_given", at, purpose=purpose)
    webhook_id = webhook_id_of(contact, "given", purpose, at)
    tell(connection, "crm", webhook_id, "consent.given", {"contact": contact, "purpose": purpose, "route": route}, at)
    act(connection, at, actor, "consent_given", "consent", contact=contact, purpose=purpose, route=route)
    return Given(at, webhook_id)


def webhook_id_of(contact: str, what: str, purpose: str | None, at: datetime) -> str:
    """The id under which the CRM is told of a change of consent, the same however often that is."""
    text = json.dumps([contact, what, purpose, at.isoformat()], ensure_ascii=False)
    return f"consent_{sha256(text.encode()).hexdigest()[:32]}"


def _locked(connection: Connection, contact: str, now: datetime) -> datetime:
    at = lock_contacts(connection, [contact], now).get(contact)
    if at is None:
        raise DataError(f"there is no contact {contact!r}; bring it in first")
    return at


def _kept(connection: Connection, text: str, language: str) -> str:
    """The hash under which a wording is kept: SHA-256 of its language, a line break and the text, in hexadecimal."""
    wording = sha256(f"{language}\n{text}".encode()).hexdigest()
    insert_missing(connection, t.wordings, [{"wording": wording, "language": language, "text": text}], ["wording"])
    return wording


def _requests(connection: Connection, condition: Any) -> list[Request]:
    c, w = t.consents.c, t.wordings.c
    rows = connection.execute(
        select(c.request_key, c.contact, c.purpose, w.text, w.language, c.at, c.expires_at)
        .select_from(t.consents)
        .join(t.wordings, w.wording == c.wording)
        .where(c.what == "requested", condition)
        .order_by(c.at.desc())
    )
    return [
        Request(
            bytes.fromhex(one.request_key), one.contact, one.purpose, one.text, one.language, one.at, one.expires_at
        )
        for one in rows
    ]


def _open_request(connection: Connection, contact: str, purpose: str, now: datetime) -> Request | None:
    """The request of the last day that nobody has confirmed yet, and whose message waits or has gone."""
    recent = (
        (t.consents.c.contact == contact) & (t.consents.c.purpose == purpose) & (t.consents.c.at > now - AGAIN_AFTER)
    )
    last = next(iter(_requests(connection, recent)), None)
    if last is None:
        return None
    used = select(t.consents.c.consent_id).where(
        t.consents.c.request_key == last.message_key, t.consents.c.what == "given"
    )
    state = connection.scalar(select(t.sends.c.state).where(t.sends.c.message_key == last.message_key))
    is_open = connection.scalar(used) is None and state in (*WAITING, "transmitting", "ambiguous", "accepted")
    return last if is_open else None
