"""The pages on which contacts decide: unsubscribing (also by RFC 8058's one click), preferences, confirming.

Looking at a page changes nothing, whoever looks: programs that check mail follow every link. Only a POST acts, and it
acts at once, without a login, a cookie or a redirect, for as long as the sender keeps its key.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from email import message_from_bytes
from email.policy import SMTP
from typing import Any, Final, NamedTuple
from urllib.parse import parse_qs

from sqlalchemy import Connection, Row, select
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

from journeylab.errors import DataError
from journeylab.language import instant_text, say, using
from journeylab.sender.consent.requests import confirm, give, request_of
from journeylab.sender.consent.standing import State, state_of
from journeylab.sender.consent.withdrawals import OnItsWay, withdraw
from journeylab.sender.sending.claims import rows_of
from journeylab.sender.store import tables as t

from .site import NOBODY, Site, body_of, evidence_in, language_for, network_in, site_of
from .words import Language, language_in

__all__ = ["confirming", "preferences", "unsubscribe"]

_MOST_BYTES: Final = 64 * 1024
_OWED: Final = ("contract", "legal_obligation", "vital_interest")
"""The legal bases of what comes in any case; to what rests on a legitimate interest one may object."""


class _Choice(NamedTuple):
    """A purpose that one may choose, and the words by which consent to it is given."""

    purpose: str
    title: str
    wording: str
    stands: bool


async def unsubscribe(request: Request) -> Response:
    """GET and HEAD: a page with a button. POST: the contact's consent to what the message was for is withdrawn."""
    site = site_of(request)
    hit = site.named_by(request)
    key = hit.message_key if hit else NOBODY
    if request.method != "POST":
        if not site.may_look(request, hit):
            return site.busy(language_for(None, None, request))
        language, _ = await run_in_threadpool(_reader, site, key, request)
        with using(language):
            text = say(
                "{sender} will send you no more messages of this kind. What you need, such as receipts, still comes.",
                sender=site.sender,
            )
            return site.page(say("Stop these messages?"), language, [text], button=say("Unsubscribe"))
    body = await body_of(request, _MOST_BYTES)
    if refused := _refused(request, key, is_proven=hit is not None):
        return refused
    return await run_in_threadpool(_unsubscribed, site, key, request, "page" if b"by=page" in body else "one_click")


async def preferences(request: Request) -> Response:
    """GET and HEAD: what the contact may be sent, by purpose. POST: what it chose of what it was shown."""
    site = site_of(request)
    hit = site.named_by(request)
    key = hit.message_key if hit else NOBODY
    if request.method != "POST":
        if not site.may_look(request, hit):
            return site.busy(language_for(None, None, request))
        return await run_in_threadpool(_shown, site, key, request)
    form = _fields(await body_of(request, _MOST_BYTES))
    if refused := _refused(request, key, is_proven=hit is not None):
        return refused
    return await run_in_threadpool(_chosen, site, key, request, form)


async def confirming(request: Request) -> Response:
    """GET and HEAD: the wording that was asked about, and a button. POST: consent is given."""
    site = site_of(request)
    hit = site.named_by(request)
    key = hit.message_key if hit else NOBODY
    if request.method != "POST":
        if not site.may_look(request, hit):
            return site.busy(language_for(None, None, request))
        return await run_in_threadpool(_asked, site, key, request)
    await body_of(request, _MOST_BYTES)
    if refused := _refused(request, key, is_proven=hit is not None):
        return refused
    return await run_in_threadpool(_confirmed, site, key, request)


def _refused(request: Request, key: bytes, *, is_proven: bool) -> Response | None:
    """The answer to who posts too often; a link that is proven is never refused because of its neighbours."""
    site = site_of(request)
    is_within = site.proven.take(key) if is_proven else site.unproven.take(network_in(request))
    return None if is_within else site.busy(language_for(None, None, request))  # which costs the database nothing


def _send_of(connection: Connection, key: bytes) -> Row[Any] | None:
    return connection.execute(select(t.sends).where(t.sends.c.message_key == key.hex())).one_or_none()


def _reader(site: Site, key: bytes, request: Request) -> tuple[Language, Row[Any] | None]:
    with site.store.reading() as connection:
        send = _send_of(connection, key)
        return language_for(connection, send.contact if send else None, request), send


def _unsubscribed(site: Site, key: bytes, request: Request, route: str) -> HTMLResponse:
    language, send = _reader(site, key, request)
    if send is None:
        return site.unknown(language)
    try:
        with site.store.writing() as connection:
            receipt = withdraw(
                connection, send.contact, send.purpose, route, evidence_in(request), site.store.now(connection),
                message_key=send.message_key,
            )  # fmt: skip
            left = _subjects(connection, receipt.on_its_way, language)
    except DataError:  # the contact is not there any more
        return site.unknown(language)
    title = site.title_of(send.purpose, language)
    link = site.urls.preferences(key)
    with using(language):
        text = say(
            "Since {at}, {sender} sends you no more messages of this kind: {title}.", sender=site.sender, title=title,
            at=instant_text(receipt.at, is_long=True),
        )  # fmt: skip
        return site.page(say("You are unsubscribed"), language, [text], on_its_way=left, link=link)


def _subjects(connection: Connection, left: tuple[OnItsWay, ...], language: Language) -> list[dict[str, str]]:
    """Messages as their reader knows them: by subject and when they left."""
    rows = rows_of(connection, [one.message_key for one in left])
    subjects = {row.message_key: str(message_from_bytes(row.body or b"", policy=SMTP)["Subject"] or "") for row in rows}
    with using(language):
        return [
            {"subject": subjects.get(one.message_key) or one.message, "at": instant_text(one.gated_at, is_long=True)}
            for one in left
        ]


def _fields(body: bytes) -> dict[str, list[str]]:
    """The fields of a form; none where it cannot be read."""
    try:
        return parse_qs(body.decode(), keep_blank_values=True, max_num_fields=500)
    except ValueError:
        return {}


def _states(site: Site, connection: Connection, send: Row[Any]) -> dict[str, State]:
    purposes = {*site.settings.purposes, send.purpose}
    return state_of(connection, send.contact, purposes, site.settings.basis)


def _choices(site: Site, states: Mapping[str, State], language: Language) -> list[_Choice]:
    """What one may choose: all but what is owed and stands."""
    return [
        _Choice(purpose, site.title_of(purpose, language), _wording(site, purpose, language), state.stands)
        for purpose, state in states.items()
        if not _is_owed(site, state)
    ]


def _is_owed(site: Site, state: State) -> bool:
    return site.settings.basis.get(state.purpose) in _OWED and state.stands


def _wording(site: Site, purpose: str, language: Language) -> str:
    known = site.settings.purposes.get(purpose)
    own = known.wording.get(language) if known else None
    title = site.title_of(purpose, language)
    with using(language):
        return own or say("Yes, {sender} may send me this by e-mail: {title}.", sender=site.sender, title=title)


def _preferences_page(
    site: Site, states: Mapping[str, State], language: Language, *, left: list[dict[str, str]], is_saved: bool
) -> HTMLResponse:  # fmt: skip
    always = [site.title_of(name, language) for name, state in states.items() if _is_owed(site, state)]
    with using(language):
        text = say("Choose what {sender} may send you by e-mail. You can change it at any time.", sender=site.sender)
        return site.page(
            say("What would you like to get?"), language, [text], choices=_choices(site, states, language),
            always=always, button=say("Save"), on_its_way=left,
            status=say("Your choice is saved.") if is_saved else None,
        )  # fmt: skip


def _shown(site: Site, key: bytes, request: Request) -> HTMLResponse:
    with site.store.reading() as connection:
        send = _send_of(connection, key)
        language = language_for(connection, send.contact if send else None, request)
        if send is None:
            return site.unknown(language)
        states = _states(site, connection, send)
    return _preferences_page(site, states, language, left=[], is_saved=False)


def _chosen(site: Site, key: bytes, request: Request, form: Mapping[str, list[str]]) -> HTMLResponse:
    """Saves what differs of what was shown: a field that is missing withdraws nothing that its page did not show."""
    language, send = _reader(site, key, request)
    if send is None:
        return site.unknown(language)
    shown, wanted = {*form.get("shown", [])}, {*form.get("wanted", [])}
    evidence = evidence_in(request)
    left: list[OnItsWay] = []
    try:
        with site.store.writing() as connection:
            now = site.store.now(connection)
            for one in _choices(site, _states(site, connection, send), language):
                if one.purpose in shown and one.purpose not in wanted and one.stands:
                    receipt = withdraw(
                        connection, send.contact, one.purpose, "preferences", evidence, now,
                        message_key=send.message_key,
                    )  # fmt: skip
                    left += receipt.on_its_way
                elif one.purpose in shown & wanted and not one.stands:
                    give(
                        connection, send.contact, one.purpose, one.wording, language, "preferences", evidence, now,
                        message_key=send.message_key,
                    )  # fmt: skip
            states = _states(site, connection, send)
            named = _subjects(connection, tuple(left), language)
    except DataError:  # the contact is not there any more
        return site.unknown(language)
    return _preferences_page(site, states, language, left=named, is_saved=True)


def _asked(site: Site, key: bytes, request: Request) -> HTMLResponse:
    with site.store.reading() as connection:
        asked = request_of(connection, key)
        now = site.store.now(connection)
        if asked is None:
            return site.unknown(language_for(None, None, request))
        language = language_in(asked.language) or language_for(connection, asked.contact, request)
    if now > asked.expires_at:
        return _outcome(site, "expired", asked.expires_at, language)
    with using(language):
        after = say("If you did not ask for this, close the page. Without your confirmation nothing comes.")
        return site.page(
            say("Please confirm"), language, [say("With the button you agree to this:")], wording=asked.wording,
            wording_language=asked.language, button=say("Yes, I agree"), after=after,
        )  # fmt: skip


def _confirmed(site: Site, key: bytes, request: Request) -> HTMLResponse:
    with site.store.writing() as connection:
        done = confirm(connection, key, evidence_in(request), site.store.now(connection))
        asked = done.request
        if asked is None:
            return site.unknown(language_for(None, None, request))
        language = language_in(asked.language) or language_for(connection, asked.contact, request)
    if done.outcome in ("given", "repeated"):
        return _outcome(site, "given", done.at or asked.asked_at, language)
    if done.outcome == "unknown":
        return site.unknown(language)
    return _outcome(site, done.outcome, asked.expires_at, language)


def _outcome(site: Site, outcome: str, at: datetime, language: Language) -> HTMLResponse:
    """The page on what became of a request; an old link is answered, so it is no error."""
    with using(language):
        return site.notice(outcome, language, at=instant_text(at, is_long=True))
