"""Services that show a token (RFC 6750) instead of a signature or the dashboard's secret.

A token is no signature: who sees a request can send it again, and others. So a token is taken over https alone, or from
this machine, and what it brings in is taken once by its id. Every refusal says the same: whether a token is unknown,
over or revoked, nobody is told.
"""

from __future__ import annotations

from ipaddress import ip_address
from typing import Final

from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request

from journeylab.sender.permissions import ROUTES
from journeylab.sender.tokens import Token, valid

from .site import network_in, site_of

__all__ = ["bearer_of", "service_of"]

_REFUSED: Final = "this token does not open this"


def bearer_of(request: Request) -> str | None:
    """The bearer's token that a request shows, whatever it is; None where it shows none."""
    scheme, _, value = request.headers.get("authorization", "").partition(" ")
    return value.strip() if scheme.lower() == "bearer" else None


async def service_of(request: Request, text: str, route: str) -> Token:
    """The service whose token a text is, if its scope opens a route of `ROUTES`.

    Raises:
        HTTPException: 401 where it is no token that is valid, 403 where it is for something else or comes in the clear,
            429 where its network has tried too often.
    """
    site = site_of(request)
    if not _is_private(request):
        raise HTTPException(
            403, "a token is taken over https alone, and this one may have been seen: revoke it. Behind a proxy on "
            "another machine, --proxies names it, and it sets X-Forwarded-Proto"
        )  # fmt: skip

    def found() -> Token | None:
        with site.store.reading() as connection:
            return valid(connection, site.settings, text, site.store.now(connection))

    token = await run_in_threadpool(found)
    if token is None:
        if not site.unproven.take(("token", network_in(request))):
            raise HTTPException(429, "too many requests without a valid token; wait a minute", {"Retry-After": "60"})
        raise HTTPException(401, _REFUSED, {"WWW-Authenticate": "Bearer"})
    if ROUTES[route].permission not in token.scope:
        raise HTTPException(403, _REFUSED)
    return token


def _is_private(request: Request) -> bool:
    """Whether nobody between could read the request: it came by TLS, or from this machine."""
    host = request.client.host if request.client else ""
    try:
        return request.url.scheme == "https" or not host or ip_address(host).is_loopback
    except ValueError:
        return False
