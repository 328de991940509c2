"""The application that `journeylab serve` runs: webhooks, the pages of consent, tracking, and its own health.

| path | who asks | changes |
|---|---|---|
| `POST /events`, `/contacts`, `/bounces`, `/unsubscriptions` | other systems, signed or with a token | what they tell |
| `GET /u/…`, `/p/…`, `/confirm/…` | people, and programs that check mail | nothing |
| `POST /u/…`, `/p/…`, `/confirm/…` | people; mailbox providers (RFC 8058) | consent |
| `GET /c/…`, `/o/….gif` | people and programs | a hit is noted, nothing else |
| `GET /health` | whoever watches | nothing |

Tokens stand in paths: a server's log of requests must not keep them.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from urllib.parse import urlsplit

from sqlalchemy.exc import SQLAlchemyError
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Mount, Route

from journeylab.errors import DataError
from journeylab.sender.acting import acting
from journeylab.sender.settings import Settings
from journeylab.sender.store import Store

from .choices import confirming, preferences, unsubscribe
from .headers import SecurityHeaders, security_headers
from .hits import click, picture
from .site import Site, language_for, network_in, path_of, site_of
from .webhooks import bounces, contacts, events, unsubscriptions, webhook_of

__all__ = ["application"]

_PAGES = ("/u/", "/p/", "/confirm/", "/c/", "/o/")


def application(store: Store, settings: Settings, *, clock: Callable[[], float] = time.monotonic) -> Starlette:
    """The application, for any ASGI server; routes may be added to it (`app.router.routes`).

    Args:
        store: the sender's store.
        settings: the sender's settings.
        clock: seconds that only ever grow, for the limits on requests.

    Raises:
        DataError: when who acts may not send, or the webhooks' secret is missing or none.
    """
    acting(settings).require("send")
    site = Site.made(store, settings, clock)
    headers = security_headers(site.css, is_https=settings.public_url.startswith("https:"))
    prefix = urlsplit(settings.public_url).path
    app = Starlette(
        routes=[*_routes(), *([Mount(prefix, routes=_routes())] if prefix else [])],
        middleware=[Middleware(SecurityHeaders, headers)],
        exception_handlers={HTTPException: _refused, SQLAlchemyError: _troubled, Exception: _failed},
    )
    app.router.redirect_slashes = False  # whose targets would be made of what the request calls its host
    app.state.site = site
    app.state.webhook = webhook_of(settings)
    app.state.headers = headers
    return app


def _routes() -> list[BaseRoute]:
    return [
        Route("/events", events, methods=["POST"]),
        Route("/contacts", contacts, methods=["POST"]),
        Route("/bounces", bounces, methods=["POST"]),
        Route("/unsubscriptions", unsubscriptions, methods=["POST"]),
        Route("/u/{rest:path}", unsubscribe, methods=["GET", "POST"]),
        Route("/p/{rest:path}", preferences, methods=["GET", "POST"]),
        Route("/confirm/{rest:path}", confirming, methods=["GET", "POST"]),
        Route("/c/{rest:path}", click, methods=["GET"]),
        Route("/o/{rest:path}", picture, methods=["GET"]),
        Route("/health", health, methods=["GET"]),
    ]


async def health(request: Request) -> Response:
    """GET: whether the database answers and keeps what it confirms; 503 where it does not."""
    if not site_of(request).looked.take(("health", network_in(request))):
        raise HTTPException(429, "it is asked more often than it changes; ask once a second", {"Retry-After": "60"})
    store = site_of(request).store

    def asked() -> str | None:
        try:
            with store.reading() as connection:
                store.now(connection)
            store.refuse_forgetful()
        except SQLAlchemyError:
            return "the database cannot be reached"
        except DataError as problem:
            return str(problem)
        return None

    trouble = await run_in_threadpool(asked)
    if trouble is not None:
        return JSONResponse({"is_well": False, "error": trouble}, 503)
    return JSONResponse({"is_well": True, "database": "reachable and durable"})


def _is_page(request: Request) -> bool:
    return path_of(request).startswith(_PAGES)


async def _refused(request: Request, problem: Exception) -> Response:
    """The answer to what cannot be taken: a sentence as JSON, or a page for people."""
    assert isinstance(problem, HTTPException)
    if _is_page(request):
        site, language = site_of(request), language_for(None, None, request)
        answer: Response = site.notice("trouble", language, problem.status_code)
    else:
        answer = JSONResponse({"error": problem.detail}, problem.status_code)
    answer.headers.update(problem.headers or {})
    return answer


async def _troubled(request: Request, problem: Exception) -> Response:  # noqa: ARG001
    """The answer while the database does not work: asked again later, so that nobody's withdrawal is lost."""
    refusal = HTTPException(503, "the database does not answer; send it again", {"Retry-After": "60"})
    return await _refused(request, refusal)


async def _failed(request: Request, problem: Exception) -> Response:  # noqa: ARG001
    """The answer to a fault of the program, which the server logs; the middleware does not see this one."""
    answer = await _refused(request, HTTPException(500, "something went wrong here; send it again later"))
    for name, value in request.app.state.headers.items():
        answer.headers.setdefault(name, value)
    return answer
