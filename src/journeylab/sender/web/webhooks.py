"""Events, contacts and reports that come in by signed webhooks (Standard Webhooks), or with a service's token.

The signature is of the bytes as they came, at most five minutes ago. An event has its source's `id`, or the webhook's
id and its place: what comes twice is taken once and answered like the first time. With a token (`bearers`) nothing else
keeps a request from being sent again, so that an event without either is refused.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any, Final, TypeVar

from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from journeylab.errors import DataError, known
from journeylab.jsontext import data_of
from journeylab.sender.consent.mailed import take_unsubscription
from journeylab.sender.consent.reports import take_report
from journeylab.sender.declarations import Declarations
from journeylab.sender.live.intake import Incoming, Person, Received, Refused, receive, receive_people
from journeylab.sender.live.ownership import Owners
from journeylab.sender.sending.timeline import Timeline
from journeylab.sender.settings import Settings

from .bearers import bearer_of, service_of
from .site import body_of, network_in, site_of

__all__ = ["bounces", "contacts", "events", "unsubscriptions", "webhook_of"]

MOST_BYTES: Final = 1024 * 1024
_LONGEST_ID: Final = 200
_EVENT: Final = ("contact", "event", "occurred_at", "properties", "id")
_PERSON: Final = ("contact", "address", "attributes")
_YEARS: Final = range(1900, 2201)
_T = TypeVar("_T")


def webhook_of(settings: Settings) -> Any:
    """What verifies signatures by the settings' secret; None where there is none, and nothing is taken.

    Raises:
        DataError: when the secret is none of Standard Webhooks.
    """
    if settings.webhook_secret is None:
        return None
    from standardwebhooks import Webhook

    value = settings.secret(settings.webhook_secret)
    try:
        verifier = Webhook(value)
    except (ValueError, RuntimeError):
        verifier = None
    if verifier is None or len(value) < 24:
        raise DataError(
            f"the secret {settings.webhook_secret} is none for webhooks: whsec_ and at least 18 bytes in base 64; "
            'make one with: python -c "import base64, secrets; '
            "print('whsec_' + base64.b64encode(secrets.token_bytes(32)).decode())\""
        )
    return verifier


async def events(request: Request) -> Response:
    """POST: one event or a list of them, as JSON."""
    raw, known_by, source = await _proven(request, "POST /events")
    good, refused = _read(raw, lambda one, place: _incoming(one, None if known_by is None else f"{known_by}/{place}"))
    return await _taken(request, good, refused, receive, source)


async def contacts(request: Request) -> Response:
    """POST: one contact or a list of them, as JSON."""
    raw, _, source = await _proven(request, "POST /contacts")
    good, refused = _read(raw, lambda one, _: _person(one))
    return await _taken(request, good, refused, receive_people, source)


async def bounces(request: Request) -> Response:
    """POST: a mail that came to a return path, as it came; `?recipient=` names the address of the envelope."""
    raw, *_ = await _proven(request, "POST /bounces")
    site, recipient = site_of(request), request.query_params.get("recipient")

    def taken() -> Any:
        with site.store.writing() as connection:
            timeline = Timeline.of(site.settings)
            return take_report(connection, raw, site.store.now(connection), recipient=recipient, timeline=timeline)

    found = await run_in_threadpool(taken)
    said = {"kind": found.kind, "reason": found.reason, "taken": found.is_taken, "repeated": found.is_repeated}
    return JSONResponse(said, 200 if found.is_taken else 202)


async def unsubscriptions(request: Request) -> Response:
    """POST: a mail that came to the mailbox for unsubscribing, as it came."""
    raw, *_ = await _proven(request, "POST /unsubscriptions")
    site = site_of(request)

    def taken() -> Any:
        with site.store.writing() as connection:
            return take_unsubscription(connection, raw, site.store.now(connection))

    found = await run_in_threadpool(taken)
    if found is None:
        return JSONResponse({"taken": False, "reason": "its subject is no token that one of our messages has"}, 202)
    return JSONResponse({"taken": True, "repeated": found.is_repeated})


async def _proven(request: Request, route: str) -> tuple[bytes, str | None, str]:
    """The body of a request whose token or signature holds, what its events are known by, and the source that it is.

    A token may say nothing by which events are known.

    Raises:
        HTTPException: when it does not.
    """
    shown = bearer_of(request)
    if shown is None:
        return *await _signed(request), "webhook"
    service = await service_of(request, shown, route)
    given = request.headers.get("webhook-id", "")
    if len(given) > _LONGEST_ID:
        raise HTTPException(400, f"the header webhook-id has more than {_LONGEST_ID} characters")
    return await body_of(request, MOST_BYTES), f"{service.actor}/{given}" if given else None, service.name


async def _signed(request: Request) -> tuple[bytes, str]:
    """The body of a request whose signature holds, and the webhook's id.

    Raises:
        HTTPException: when it does not.
    """
    from standardwebhooks.webhooks import WebhookVerificationError

    verifier = request.app.state.webhook
    if verifier is None:
        raise HTTPException(404, "nothing is taken here but with a token: the settings have no webhook_secret")
    raw = await body_of(request, MOST_BYTES)
    try:
        text = raw.decode()
    except UnicodeDecodeError:
        raise HTTPException(
            400, "the body is no UTF-8, of which signatures are made; a mail in another one goes through the pipe"
        ) from None
    headers = dict(request.headers)
    try:
        verifier.verify(text, headers, json_parse=False)
    except (WebhookVerificationError, ValueError) as problem:
        if not site_of(request).unproven.take(network_in(request)):
            raise HTTPException(
                429, "too many requests without a valid signature; wait a minute", {"Retry-After": "60"}
            ) from None
        why = str(problem) if isinstance(problem, WebhookVerificationError) else "it is malformed"
        raise HTTPException(
            401, f"the signature does not hold ({why}); sign the bytes that are sent, with webhook_secret and the time"
        ) from None
    return raw, headers["webhook-id"]


def _read(raw: bytes, made: Callable[[Any, int], _T]) -> tuple[dict[int, _T], list[Refused]]:
    """What a body has, by place, and what of it is refused.

    Raises:
        HTTPException: 400, when it is no JSON, or neither an object nor a list.
    """
    try:
        found = data_of(raw, halves=True)
    except ValueError as problem:
        raise HTTPException(400, f"the body is no JSON: {str(problem)[:200]}") from None
    if not isinstance(found, dict | list):
        raise HTTPException(400, "the body is neither an object nor a list of objects")
    good: dict[int, _T] = {}
    refused: list[Refused] = []
    for place, one in enumerate([found] if isinstance(found, dict) else found):
        try:
            good[place] = made(one, place)
        except ValueError as problem:
            refused.append(Refused(place, str(problem)))
    return good, refused


def _checked(one: Any, keys: Sequence[str], inner: str) -> dict[str, Any]:
    """An object with no other keys, and texts that a database can hold."""
    if not isinstance(one, dict):
        raise ValueError("it is no object")
    unknown = next((key for key in one if key not in keys), None)
    if unknown is not None:
        raise ValueError(f"unknown key {unknown[:40]!r}; {known(unknown, keys, 'keys')}")
    if not isinstance(one.get(inner) or {}, dict):
        raise ValueError(f"`{inner}` is no object")
    try:
        json.dumps(one, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        raise ValueError("it has half of a surrogate pair in it, which is no text") from None
    if any("\x00" in str(value) for key, value in one.items() if key != inner):
        raise ValueError("it has a NUL in it")
    return one


def _incoming(one: Any, source_id: str | None) -> Incoming:
    found = _checked(one, _EVENT, "properties")
    given_id = found.get("id")
    if given_id is not None and not (isinstance(given_id, str) and 0 < len(given_id) <= _LONGEST_ID):
        raise ValueError(f"`id` is no text of at most {_LONGEST_ID} characters")
    if given_id is None and source_id is None:
        raise ValueError("`id` is missing, by which it is taken once; or give the request a header webhook-id")
    occurred_at = _instant(found.get("occurred_at"))
    return Incoming(
        found.get("contact", ""), found.get("event", ""), occurred_at, found.get("properties") or {},
        given_id or source_id,
    )  # fmt: skip


def _instant(value: Any) -> datetime | None:
    if value is None:
        return None
    try:
        found = datetime.fromisoformat(value)
    except (TypeError, ValueError):
        raise ValueError("`occurred_at` is no instant as in ISO 8601, such as 2026-03-02T09:00:00Z") from None
    if found.year not in _YEARS:
        raise ValueError(f"`occurred_at` is not between {_YEARS[0]} and {_YEARS[-1]}")
    return found


def _person(one: Any) -> Person:
    found = _checked(one, _PERSON, "attributes")
    address = found.get("address")
    if address is not None and not isinstance(address, str):
        raise ValueError("`address` is no text")
    return Person(found.get("contact", ""), address, found.get("attributes") or {})


async def _taken(
    request: Request, good: Mapping[int, _T], refused: list[Refused],
    take: Callable[[Any, list[_T], datetime, Declarations | None, Owners | None], Received], source: str,
) -> Response:  # fmt: skip
    """The answer to what was sent, after it was taken."""
    store, settings = site_of(request).store, site_of(request).settings
    declared, owners = Declarations.of(settings), Owners.of(settings, source)
    places = [*good]

    def taken() -> Received:
        with store.writing() as connection:
            return take(connection, [*good.values()], store.now(connection), declared, owners)

    found = await run_in_threadpool(taken) if good else Received(0, 0)
    all_refused = sorted([*refused, *(Refused(places[one.place], one.reason) for one in found.refused)])
    said: dict[str, Any] = {
        "n_new": found.n_new,
        "n_repeated": found.n_repeated,
        "refused": [{"place": one.place, "reason": one.reason} for one in all_refused],
    }
    if found.left_out:
        said["left_out"] = dict(found.left_out)
    if found.conflicts:
        said["conflicts"] = dict(found.conflicts)
    is_nothing = bool(all_refused) and found.n_new == found.n_repeated == 0
    if is_nothing:
        said["error"] = "nothing was taken; `refused` says why"
    return JSONResponse(said, 400 if is_nothing else 200)
