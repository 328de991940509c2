"""Calls to other systems: signed (Standard Webhooks), repeated under one id, never redirected, never waited for long.

The receiver knows a repeated call by `webhook-id`, which is the same at every attempt, and its author by
`webhook-signature`. Only a reply of 200 to 299 counts as taken.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cache
from hashlib import blake2b
from time import monotonic
from typing import TYPE_CHECKING, Any, Final

from journeylab.errors import DataError
from journeylab.sender.settings import Alerts, Outgoing, Settings

if TYPE_CHECKING:
    from urllib3 import BaseHTTPResponse, PoolManager

__all__ = ["AT_ONCE", "LEASE", "LONGEST_BODY", "Reply", "Request", "post_all", "wait_after"]

AT_ONCE: Final = 16
"""How many calls are claimed, and made beside each other."""
LEASE: Final = timedelta(minutes=3)
"""How long claimed calls belong to who claimed them: longer than the slowest of them takes."""
LONGEST_BODY: Final = 20_000
_CONNECT_SECONDS: Final = 10.0
_READ_SECONDS: Final = 20.0
_MOST_OF_REPLY: Final = 64 * 1024
_LONGEST_RETRY_AFTER: Final = timedelta(days=1)
_FIRST_WAIT: Final = timedelta(seconds=5)
_LONGEST_WAIT: Final = timedelta(hours=12)


@dataclass(frozen=True)
class Request:
    """A call to be made.

    Attributes:
        to: where, and with whose secret; None where the settings do not say.
        name: who that is, in messages.
        webhook_id: the same at every attempt.
        body: plain data.
        at: the instant that it says to be of, from the store's clock.
        headers: further ones.
    """

    to: Outgoing | Alerts | None
    name: str
    webhook_id: str
    body: Mapping[str, Any]
    at: datetime
    headers: Mapping[str, str] = field(default_factory=dict)

    @property
    def data(self) -> bytes:
        """The bytes that are sent and signed."""
        return json.dumps(self.body, ensure_ascii=False, sort_keys=True, separators=(",", ":")).encode()


@dataclass(frozen=True)
class Reply:
    """What came back.

    Attributes:
        status: the HTTP status, None where there was no reply.
        text: it in words, without what the other side wrote.
        retry_after: how long the other side asks to be left alone.
        said: the reply's JSON, where it is an object.
        is_hopeless: whether nothing but a change by a person helps.
    """

    status: int | None
    text: str
    retry_after: timedelta | None = None
    said: Mapping[str, Any] = field(default_factory=dict)
    is_hopeless: bool = False

    @property
    def is_taken(self) -> bool:
        """Whether the other side has it."""
        return self.status is not None and 200 <= self.status < 300

    @property
    def is_gone(self) -> bool:
        """Whether the other side wants no more calls, ever (410)."""
        return self.status == 410


def wait_after(attempt: int, key: str) -> timedelta:
    """How long to wait after a failed attempt, from 1: 5 s, then three times as long each, up to 12 hours.

    It is shortened by up to a half, by the key and the attempt, so that what failed together does not come back
    together; twelve attempts take about a day, sixteen three days.

    >>> [round(wait_after(n, "a").total_seconds()) for n in (1, 2, 3)]
    [3, 12, 40]
    """
    whole = min(_FIRST_WAIT * 3.0 ** min(attempt - 1, 20), _LONGEST_WAIT)
    drawn = int.from_bytes(blake2b(f"{key}/{attempt}".encode(), digest_size=8).digest(), "big") / 2**64
    return whole * (1 - drawn / 2)


def post_all(requests: Sequence[Request], settings: Settings) -> list[Reply]:
    """The replies to some calls, made beside each other, in their order."""
    if not requests:
        return []
    with ThreadPoolExecutor(min(len(requests), AT_ONCE), "calls") as threads:
        return [*threads.map(lambda request: _posted(request, settings), requests)]


@cache
def _pool() -> PoolManager:
    import urllib3

    return urllib3.PoolManager(
        num_pools=AT_ONCE,
        maxsize=AT_ONCE,
        retries=False,  # neither again nor to another address
        timeout=urllib3.Timeout(connect=_CONNECT_SECONDS, read=_READ_SECONDS),
    )


def _posted(request: Request, settings: Settings) -> Reply:
    from urllib3.exceptions import ConnectTimeoutError, HTTPError, NewConnectionError, ReadTimeoutError, SSLError

    if request.to is None:
        return Reply(None, f"the settings say no address for {request.name}", is_hopeless=True)
    data = request.data
    if len(data) >= LONGEST_BODY:
        return Reply(None, f"it has {len(data):,} bytes, and may have {LONGEST_BODY:,}", is_hopeless=True)
    try:
        headers = _signed(request, data, settings)
    except DataError as problem:
        return Reply(None, str(problem))
    try:
        response = _pool().request(
            "POST", request.to.url, body=data, headers=headers, redirect=False, preload_content=False
        )
        try:
            return _read(response, request.at)
        finally:
            response.close()
    except NewConnectionError:
        return Reply(None, "it cannot be reached")
    except ConnectTimeoutError:
        return Reply(None, f"no connection within {_CONNECT_SECONDS:.0f} seconds")
    except ReadTimeoutError:
        return Reply(None, f"no reply within {_READ_SECONDS:.0f} seconds")
    except SSLError:
        return Reply(None, "its certificate cannot be trusted, or its TLS is too old")
    except (HTTPError, OSError) as problem:
        return Reply(None, f"it broke off ({type(problem).__name__})")


def _signed(request: Request, data: bytes, settings: Settings) -> dict[str, str]:
    headers = {
        **request.headers,
        "content-type": "application/json",
        "user-agent": "journeylab",
        "webhook-id": request.webhook_id,
        "webhook-timestamp": str(int(request.at.timestamp())),
    }
    reference = request.to.secret if request.to is not None else None
    if reference is None:
        return headers
    from standardwebhooks.webhooks import EmptyWebhookSecretError, Webhook

    try:
        webhook = Webhook(settings.secret(reference))
    except (ValueError, EmptyWebhookSecretError):  # what it does not understand may be the secret: it is not shown
        raise DataError(f"the secret {reference} is none of a webhook: it is `whsec_` and base 64") from None
    return headers | {"webhook-signature": webhook.sign(request.webhook_id, request.at, data.decode())}


def _read(response: BaseHTTPResponse, at: datetime) -> Reply:
    status = response.status
    after = _retry_after(response.headers.get("retry-after"), at)
    if 300 <= status < 400:
        return Reply(status, f"{status}: it points elsewhere, which is not followed; write the address it has now")
    said: object = None
    if 200 <= status < 300 and "json" in response.headers.get("content-type", ""):
        try:
            said = json.loads(_body(response))
        except ValueError:
            said = None
    return Reply(status, str(status), after, said if isinstance(said, dict) else {})


def _body(response: BaseHTTPResponse) -> bytes:
    """The first bytes of a body, which may come drop by drop, but not for ever."""
    from urllib3.exceptions import ReadTimeoutError

    until, found = monotonic() + _READ_SECONDS, b""
    while len(found) < _MOST_OF_REPLY and (part := response.read1(_MOST_OF_REPLY)):
        found += part
        if monotonic() > until:
            raise ReadTimeoutError(None, "", "the body took too long")  # type: ignore[arg-type]
    return found


def _retry_after(value: str | None, at: datetime) -> timedelta | None:
    """What the header asks for (RFC 9110, 10.2.3: seconds or a date), at most a day."""
    if value is None:
        return None
    from email.utils import parsedate_to_datetime

    try:
        wait = timedelta(seconds=int(value)) if value.strip().isdigit() else _aware(parsedate_to_datetime(value)) - at
    except (ValueError, OverflowError):
        return None
    return min(max(wait, timedelta(0)), _LONGEST_RETRY_AFTER)


def _aware(instant: datetime) -> datetime:
    return instant if instant.tzinfo is not None else instant.replace(tzinfo=UTC)
