"""Who may see what is not for everybody: who has the secret, as a bearer's token or any user's password; or a token."""

from __future__ import annotations

import base64
import hmac
from collections.abc import Awaitable, Callable
from typing import Final

from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response

from journeylab.errors import DataError
from journeylab.sender.settings import Settings
from journeylab.sender.tokens import looks_like_one

from .bearers import bearer_of, service_of
from .site import network_in, site_of

__all__ = ["opened"]

Endpoint = Callable[[Request], Awaitable[Response]]
_SHORTEST: Final = 16


def opened(settings: Settings, endpoint: Endpoint, route: str) -> Endpoint:
    """An endpoint that answers only whoever shows the dashboard's secret, or a token that opens its route.

    A network that guesses is soon left waiting.

    Raises:
        DataError: when the secret is missing, or short enough to be guessed.
    """
    if settings.dashboard is None:
        raise DataError("the settings have no `dashboard`; write the secret that opens it as env:NAME or file:PATH")
    secret = settings.secret(settings.dashboard)
    if len(secret) < _SHORTEST:
        raise DataError(f"the secret {settings.dashboard} can be guessed; give it at least {_SHORTEST} characters")

    async def answer(request: Request) -> Response:
        bearer = bearer_of(request)
        if bearer is not None and looks_like_one(bearer):
            await service_of(request, bearer, route)
            return await endpoint(request)
        shown = _shown(request.headers.get("authorization", "")) if bearer is None else bearer
        guesses, guesser = site_of(request).unproven, ("dashboard", network_in(request))
        # Asked before the secret is compared: else whoever goes on guessing would be told when it is right.
        is_left = shown is None or guesses.has(guesser)
        if is_left and shown is not None and hmac.compare_digest(shown.encode(), secret.encode()):
            return await endpoint(request)
        if not is_left or (shown is not None and not guesses.take(guesser)):
            return PlainTextResponse("too many attempts; come back in a minute", 429, {"Retry-After": "60"})
        asked = {"WWW-Authenticate": 'Basic realm="JourneyLab", charset="UTF-8"'}
        return PlainTextResponse("the secret of the dashboard opens this", 401, asked)

    return answer


def _shown(authorization: str) -> str | None:
    """The secret that a request shows as a password, if any."""
    scheme, _, value = authorization.partition(" ")
    if scheme.lower() != "basic":
        return None
    try:
        return base64.b64decode(value.strip(), validate=True).decode().partition(":")[2]
    except ValueError:
        return ""
