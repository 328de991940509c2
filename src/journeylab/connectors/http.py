"""One HTTP call to a system outside: encrypted, never redirected, never waited for long, whatever the other side does.

TLS is 1.3 unless the server's description lowers it, and nothing in a private network is called unless that says so: a
name is looked up once, every address that it has must be a public one, and that address is what is connected to, so
that a name which answers otherwise the next time (DNS rebinding) leads nowhere else.

A call goes to the server that it is for and nowhere else: a link that the other side gives is followed only where its
scheme, host and port are the server's own.
"""

from __future__ import annotations

import json
import re
import socket
import ssl
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cache
from hashlib import blake2b
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, Any, Final, TypeVar
from urllib.parse import urlencode, urlsplit

from journeylab.errors import DataError
from journeylab.jsontext import data_of
from journeylab.references import LOOPBACK

if TYPE_CHECKING:
    from urllib3 import BaseHTTPResponse, HTTPConnectionPool, PoolManager

__all__ = ["AT_ONCE", "LONGEST_REPLY", "Call", "Reply", "Server", "beside", "exchange", "wait_after"]

AT_ONCE: Final = 16
"""How many calls are made beside each other."""
LONGEST_REPLY: Final = 64 * 1024
"""How many bytes of a reply are read, where nothing else is said."""
_CONNECT_SECONDS: Final = 10.0
_READ_SECONDS: Final = 20.0
_LONGEST_RETRY_AFTER: Final = timedelta(days=1)
_FIRST_WAIT: Final = timedelta(seconds=5)
_LONGEST_WAIT: Final = timedelta(hours=12)
_TARGET: Final = re.compile(r"[!-~]*")
_HEADER_NAME: Final = re.compile(r"[A-Za-z0-9-]+")
_HEADER_VALUE: Final = re.compile(r"[\t -~]*")
_NAT64: Final = IPv6Network("64:ff9b::/96")
_Item = TypeVar("_Item")
_Result = TypeVar("_Result")


@dataclass(frozen=True)
class Server:
    """Where calls go.

    Attributes:
        url: scheme, host, port and the beginning of all paths, without query.
        ca: a PEM file of authorities, instead of the system's.
        tls_minimum: the least version of TLS, `1.2` or `1.3`.
        internal: whether it stands in a private network, where nothing is called unless this says so.
    """

    url: str
    ca: Path | None = None
    tls_minimum: str = "1.3"
    internal: bool = False


@dataclass(frozen=True)
class Call:
    """One call.

    Attributes:
        method: `GET`, `POST` and so on.
        path: comes after the server's URL; or a whole URL of that server, such as a link to the next page.
        headers: what goes with it; credentials are among them.
        body: the bytes that are sent.
        query: goes behind the path; a list gives its name several times.
    """

    method: str
    path: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes | None = field(default=None, repr=False)
    query: Mapping[str, str | int | Iterable[str]] | None = None

    @classmethod
    def of_json(
        cls,
        method: str,
        path: str,
        data: Any,
        headers: Mapping[str, str] | None = None,
        query: Mapping[str, str | int | Iterable[str]] | None = None,
    ) -> Call:
        """A call whose body is plain data as JSON (RFC 8259, UTF-8, keys in their order).

        >>> Call.of_json("POST", "/x", {"b": 1, "a": "é"}).body.decode()
        '{"a":"é","b":1}'
        """
        body = json.dumps(data, ensure_ascii=False, sort_keys=True, separators=(",", ":"), allow_nan=False).encode()
        return cls(method, path, {"content-type": "application/json", **(headers or {})}, body, query)


@dataclass(frozen=True)
class Reply:
    """What came back.

    Attributes:
        status: the HTTP status, None where there was no reply.
        text: it in words, without what the other side wrote.
        retry_after: how long the other side asks to be left alone, at most a day.
        said: the reply's JSON, an object or a list as a rule; None where it has none that can be read.
        headers: the reply's, with names in small letters.
        is_hopeless: whether nothing but a change by a person helps.
        fault: what is wrong with JSON that could not be read, or not to its end.
    """

    status: int | None
    text: str
    retry_after: timedelta | None = None
    said: Any = field(default=None, repr=False)
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    is_hopeless: bool = False
    fault: str | None = None

    @property
    def is_taken(self) -> bool:
        """Whether the other side has it."""
        return self.status is not None and 200 <= self.status < 300

    @property
    def is_gone(self) -> bool:
        """Whether the other side wants no more calls, ever (410)."""
        return self.status == 410


def exchange(server: Server, call: Call, at: datetime, *, longest_reply: int = LONGEST_REPLY) -> Reply:
    """The reply to a call; whatever the other side does is one, and raises nothing.

    Args:
        server: where it goes.
        call: what is sent.
        at: the instant by which a `Retry-After` that is a date is reckoned.
        longest_reply: how many bytes of JSON are read; of more there is a `fault`.
    """
    from urllib3.exceptions import ConnectTimeoutError, HTTPError, NewConnectionError, ReadTimeoutError, SSLError

    try:
        target = _target(server, call)
        _check_headers(call.headers)
    except _NotCalled as problem:
        return Reply(None, str(problem), is_hopeless=True)
    try:
        pool, host = _connection(server)
    except (DataError, _NotCalled) as problem:
        return Reply(None, str(problem))
    headers = {"user-agent": "journeylab", **call.headers, "host": host}
    try:
        response = pool.urlopen(
            call.method,
            target,
            body=call.body,
            headers=headers,
            redirect=False,
            preload_content=False,
            decode_content=False,  # none was asked for, and what is small may become large
        )
        try:
            return _read(response, at, longest_reply)
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


def beside(work: Callable[[_Item], _Result], items: Iterable[_Item]) -> list[_Result]:
    """What some work gives for each of some items, in their order; done for `AT_ONCE` of them beside each other."""
    all_items = [*items]
    if not all_items:
        return []
    with ThreadPoolExecutor(min(len(all_items), AT_ONCE), "calls") as threads:
        return [*threads.map(work, all_items)]


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


class _NotCalled(Exception):
    """Why nothing is connected to."""


def _target(server: Server, call: Call) -> str:
    """The path and query that are asked for.

    Raises:
        _NotCalled: when it leads to another server, or cannot be asked for.
    """
    base = urlsplit(server.url)
    if "://" in call.path.partition("?")[0]:
        try:
            parts = urlsplit(call.path)
            is_own = _origin(parts.scheme, parts.hostname, parts.port) == _origin(base.scheme, base.hostname, base.port)
        except ValueError:
            is_own = False
        if not is_own or "@" in parts.netloc:
            raise _NotCalled("a link leads to another server, which is not followed")
        path, query = parts.path, parts.query
    else:
        path, _, query = call.path.partition("?")
        path = base.path if not path else f"{base.path.rstrip('/')}/{path.lstrip('/')}"
    more = urlencode({name: _plain(value) for name, value in (call.query or {}).items()}, doseq=True)
    query = "&".join(one for one in (query, more) if one)
    target = (path or "/") + (f"?{query}" if query else "")
    if not _TARGET.fullmatch(target) or "#" in target:
        raise _NotCalled("a path has characters that no address has")
    return target


def _plain(value: str | int | Iterable[str]) -> str | list[str]:
    return str(value) if isinstance(value, str | int) else [*value]


def _origin(scheme: str, host: str | None, port: int | None) -> tuple[str, str | None, int]:
    return scheme, host, port or (443 if scheme == "https" else 80)


def _check_headers(headers: Mapping[str, str]) -> None:
    """Raises where a header cannot be sent; its value may be a secret and is not told."""
    for name, value in headers.items():
        if not _HEADER_NAME.fullmatch(name) or not _HEADER_VALUE.fullmatch(value):
            raise _NotCalled(f"the header {name!r} has characters that no header has")


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


def _address(server: Server, host: str, port: int) -> str:
    """The IP address to connect to.

    Raises:
        _NotCalled: when the name has none, or leads into a private network of which the server's description is silent.
    """
    try:
        found = [str(one[4][0]) for one in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)]
    except (OSError, UnicodeError):
        raise _NotCalled(f"nobody knows an address of {host}") from None
    if host not in LOOPBACK and not server.internal and not all(map(_public, found)):
        raise _NotCalled(f"{host} leads into a private network; if it stands there, write `internal: true`")
    return found[0]


def _connection(server: Server) -> tuple[HTTPConnectionPool, str]:
    """Where to connect, and the value of `Host`.

    Raises:
        _NotCalled: as `_address`.
        DataError: when the file of certificates cannot be read.
    """
    parts = urlsplit(server.url)
    host = parts.hostname or ""
    port = parts.port or (443 if parts.scheme == "https" else 80)
    address = _address(server, host, port)
    if parts.scheme == "http":
        return _pool().connection_from_host(address, port, "http"), parts.netloc
    context = _trust(None if server.ca is None else str(server.ca), server.tls_minimum)
    kwargs = {"ssl_context": context, "server_hostname": host, "assert_hostname": host}
    return _pool().connection_from_host(address, port, "https", pool_kwargs=kwargs), parts.netloc


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


def _read(response: BaseHTTPResponse, at: datetime, longest: int) -> Reply:
    from urllib3.exceptions import HTTPError

    status = response.status
    headers = {name.lower(): value for name, value in response.headers.items()}
    after = _retry_after(headers.get("retry-after"), at)
    if 300 <= status < 400:
        text = f"{status}: it points elsewhere, which is not followed; write the address it has now"
        return Reply(status, text, headers=headers)
    said, fault = None, None
    if "json" in headers.get("content-type", ""):
        try:
            said, fault = _said(_body(response, longest + 1), longest)
        except (HTTPError, OSError):
            if 200 <= status < 300:
                raise
            fault = "its text broke off"
    return Reply(status, str(status), after, said, headers, fault=fault)


def _said(body: bytes, longest: int) -> tuple[Any, str | None]:
    if not body:
        return None, None
    if len(body) > longest:
        return None, f"its text has more than {longest:,} bytes"
    try:
        return data_of(body), None
    except ValueError as problem:
        return None, f"its text is no JSON that can be read: {problem}"


def _body(response: BaseHTTPResponse, most: int) -> bytes:
    """The first bytes of a body, which may come drop by drop, but not for ever."""
    from urllib3.exceptions import ReadTimeoutError

    until, found = monotonic() + _READ_SECONDS, bytearray()
    while len(found) < most and (part := response.read1(most - len(found))):
        found += part
        if monotonic() > until:
            raise ReadTimeoutError(None, "", "the body took too long")  # type: ignore[arg-type]
    return bytes(found)


def _retry_after(value: str | None, at: datetime) -> timedelta | None:
    """What the header asks for (RFC 9110, 10.2.3: seconds, of which some write parts, or a date), at most a day."""
    if value is None:
        return None
    from email.utils import parsedate_to_datetime

    try:
        is_number = re.fullmatch(r"\s*\d+(\.\d+)?\s*", value, re.ASCII) is not None
        wait = timedelta(seconds=float(value)) if is_number else _aware(parsedate_to_datetime(value)) - at
    except (ValueError, OverflowError):
        return None
    return min(max(wait, timedelta(0)), _LONGEST_RETRY_AFTER)


def _aware(instant: datetime) -> datetime:
    return instant if instant.tzinfo is not None else instant.replace(tzinfo=UTC)
