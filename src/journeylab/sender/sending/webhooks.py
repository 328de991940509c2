"""Calls to other systems: signed (Standard Webhooks), repeated under one id, never redirected, never waited for long.

TLS is 1.3 unless the settings lower it, and nothing in a private network is called unless they say that it stands
there: a name is looked up once, every address that it has must be a public one, and that address is what is connected
to, so that a name which answers otherwise the next time (DNS rebinding) leads nowhere else.

The receiver knows a repeated call by `webhook-id`, which is the same at every attempt, and its author by
`webhook-signature`. Only a reply of 200 to 299 counts as taken.
"""

from __future__ import annotations

import json
import socket
import ssl
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cache
from hashlib import blake2b
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address
from time import monotonic
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

from journeylab.errors import DataError
from journeylab.jsontext import data_of
from journeylab.references import LOOPBACK
from journeylab.sender.settings import Alerts, Outgoing, Settings

if TYPE_CHECKING:
    from urllib3 import BaseHTTPResponse, HTTPConnectionPool, PoolManager

__all__ = [
    "AT_ONCE", "LEASE", "LONGEST_BODY", "MOST_AT_A_TIME", "WORRYING", "Reply", "Request", "post_all", "wait_after",
]  # fmt: skip

AT_ONCE: Final = 16
"""How many calls are claimed, and made beside each other."""
LEASE: Final = timedelta(minutes=3)
"""How long claimed calls belong to who claimed them: longer than the slowest of them takes."""
MOST_AT_A_TIME: Final = 480
"""How many calls are made before a process looks after something else."""
WORRYING: Final = 4
"""After how many failed attempts of one call, about 3 minutes, somebody is told."""
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


class _NotCalled(Exception):
    """Why an address of the settings is not connected to."""


def _public(text: str) -> bool:
    """Whether an address is of the public internet, and so is the IPv4 address that it has inside, where it has one."""
    address = ip_address(text)
    if isinstance(address, IPv6Address):
        inner = address.ipv4_mapped or address.sixtofour or (address.teredo or (None, None))[1]
        if inner is None and address in _NAT64:
            inner = IPv4Address(int(address) & 0xFFFFFFFF)
        if inner is not None:
            return _public(str(inner))
    return address.is_global and not address.is_multicast


_NAT64: Final = IPv6Network("64:ff9b::/96")


def _address(to: Alerts, host: str, port: int) -> str:
    """The IP address to connect to.

    Raises:
        _NotCalled: when the name has none, or leads into a private network that the settings do not speak of.
    """
    try:
        found = [str(one[4][0]) for one in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)]
    except (OSError, UnicodeError):
        raise _NotCalled(f"nobody knows an address of {host}") from None
    if host not in LOOPBACK and not to.internal and not all(map(_public, found)):
        raise _NotCalled(f"{host} leads into a private network; if it stands there, write `internal: true`")
    return found[0]


def _connection(to: Alerts, settings: Settings) -> tuple[HTTPConnectionPool, str, str]:
    """Where to connect, the path to ask for, and the value of `Host`.

    Raises:
        _NotCalled: as `_address`.
        DataError: when the file of certificates cannot be read.
    """
    parts = urlsplit(to.url)
    host = parts.hostname or ""
    port = parts.port or (443 if parts.scheme == "https" else 80)
    address, path = _address(to, host, port), parts.path or "/"
    if parts.scheme == "http":
        return _pool().connection_from_host(address, port, "http"), path, parts.netloc
    ca = None if to.ca is None else str(settings.path(to.ca))
    kwargs = {"ssl_context": _trust(ca, to.tls_minimum), "server_hostname": host, "assert_hostname": host}
    return _pool().connection_from_host(address, port, "https", pool_kwargs=kwargs), path, parts.netloc


@cache
def _trust(ca: str | None, minimum: str) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(cafile=ca)
    except OSError as problem:
        raise DataError(f"the certificates in {ca} cannot be read: {problem}") from None
    context.minimum_version = ssl.TLSVersion.TLSv1_3 if minimum == "1.3" else ssl.TLSVersion.TLSv1_2
    return context


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
        pool, path, host = _connection(request.to, settings)
    except (DataError, _NotCalled) as problem:
        return Reply(None, str(problem))
    try:
        response = pool.urlopen(
            "POST", path, body=data, headers=headers | {"host": host}, redirect=False, preload_content=False
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
            said = data_of(_body(response))
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
