"""What the answers share: the store and the settings, how a page is written, and what a request says of who sent it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from importlib.resources import files
from typing import Any, Final

from markupsafe import Markup
from sqlalchemy import Connection
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse

from journeylab.language import later, say, using
from journeylab.pages import template
from journeylab.sender.consent.evidence import evidence_of, network_of
from journeylab.sender.live.intake import attributes_of
from journeylab.sender.mail.links import Hit, Urls
from journeylab.sender.settings import Settings
from journeylab.sender.store import Store

from .limits import Buckets
from .words import Language, language_in, preferred

__all__ = ["Site", "body_of", "evidence_in", "language_for", "network_in", "path_of", "site_of"]

PATIENCE: Final = 30.0
"""How many seconds a body may take to come."""
NOBODY: Final = bytes(16)
"""The identity for which is asked where a link names none, so that both take the same time."""
_CONTEXT: Final[dict[str, Any]] = dict.fromkeys(
    ("status", "wording", "wording_language", "on_its_way", "button", "choices", "always", "after", "link")
)

_NOTICES: Final = {
    "expired": (
        later("This link has expired"),
        later("It could be used until {at}. Sign up once more, and a new one comes."),
    ),
    "void": (
        later("This link is not valid any more"),
        later("You unsubscribed after it was sent. If you have changed your mind, sign up once more."),
    ),
    "given": (
        later("Thank you, it is confirmed"),
        later("You agreed on {at}. You can change your mind at any time, by a link in every message."),
    ),
    "unknown": (
        later("This link does not work"),
        later(
            "Nothing was changed. The link is not complete, or what it stood for is no longer there. Copy the whole "
            "link from the message, or write to {mailbox}."
        ),
    ),
    "busy": (later("Too many requests"), later("Nothing was changed. Please wait a minute and try again.")),
    "trouble": (later("This did not work"), later("Nothing was changed. Please try again in a few minutes.")),
}
"""What each page that says one thing is called, and says."""


@dataclass(frozen=True)
class Site:
    """The store, opened with its keys, and the settings, with what is made from them once.

    Attributes:
        unproven: how often a network may come with what proves nothing.
        proven: how often one link may be used.
        looked: how often a network may look at what no link names, or one link be looked at, which changes nothing.
    """

    store: Store
    settings: Settings
    unproven: Buckets
    proven: Buckets
    looked: Buckets

    @classmethod
    def made(cls, store: Store, settings: Settings, clock: Callable[[], float]) -> Site:
        """A site whose limits go by a clock in seconds."""
        return cls(store, settings, Buckets(30, 0.5, clock), Buckets(30, 0.5, clock), Buckets(300, 10.0, clock))

    def may_look(self, request: Request, hit: Hit | None) -> bool:
        """Whether a page or a picture may be asked for: a link's neighbours take nothing from it."""
        return self.looked.take(network_in(request) if hit is None else (hit.use, hit.message_key))

    @cached_property
    def urls(self) -> Urls:
        """The addresses in messages."""
        return Urls(self.store.keys, self.settings.public_url)

    @cached_property
    def css(self) -> str:
        """The style of the pages."""
        return files("journeylab.sender.web").joinpath("templates/page.css").read_text(encoding="utf-8")

    @cached_property
    def sender(self) -> str:
        """Who the messages are from, as readers know it."""
        return self.settings.from_.name or self.settings.domain

    def named_by(self, request: Request) -> Hit | None:
        """What the address of a request names; its use is that of the route that it came to."""
        return self.urls.named_by(path_of(request))

    def title_of(self, purpose: str, language: Language) -> str:
        """What a purpose is called."""
        known = self.settings.purposes.get(purpose)
        if known is None:
            return purpose.replace("_", " ").capitalize()
        return known.title.get(language) or next(iter(known.title.values()))

    def page(
        self, title: str, language: Language, texts: list[str], status_code: int = 200, **more: Any
    ) -> HTMLResponse:
        """A page; `more` as in its template."""
        given = {"title": title, "texts": texts, "sender": self.sender, "css": Markup(self.css)}
        with using(language):
            written = template("page.html.j2", "journeylab.sender.web").render(_CONTEXT | given | more)
        return HTMLResponse(written, status_code, {"Content-Language": language})

    def notice(self, what: str, language: Language, status_code: int = 200, **values: str) -> HTMLResponse:
        """A page that says one thing."""
        title, text = _NOTICES[what]
        with using(language):
            return self.page(say(title), language, [say(text, **values)], status_code)

    def unknown(self, language: Language) -> HTMLResponse:
        """The page for a link that names nothing."""
        mailbox = self.settings.reply_to or self.settings.from_.address
        return self.notice("unknown", language, 404, mailbox=mailbox)

    def busy(self, language: Language) -> HTMLResponse:
        """The page for who asks too often."""
        answer = self.notice("busy", language, 429)
        answer.headers["Retry-After"] = "60"
        return answer


def site_of(request: Request) -> Site:
    """The site that a request came to."""
    found: Site = request.app.state.site
    return found


def path_of(request: Request) -> str:
    """The path of a request as it came, behind where the site begins."""
    raw: bytes = request.scope.get("raw_path") or request.scope["path"].encode()
    path = raw.partition(b"?")[0].decode("latin-1")
    return path.removeprefix(request.scope.get("root_path", "")) or "/"


async def body_of(request: Request, most: int) -> bytes:
    """The body of a request.

    Raises:
        HTTPException: 413, when it is longer than `most` bytes; 408, when it does not come in half a minute.
    """
    body = bytearray()
    try:
        async with asyncio.timeout(PATIENCE):
            async for chunk in request.stream():
                body += chunk
                if len(body) > most:
                    raise HTTPException(413, f"the body has more than {most:,} bytes; send it in parts")
    except TimeoutError:
        raise HTTPException(
            408, f"the body did not come in {PATIENCE:g} seconds; send it again", {"Connection": "close"}
        ) from None
    return bytes(body)


def network_in(request: Request) -> str:
    """The network that a request came from."""
    return network_of(request.client.host if request.client else None) or "unknown"


def evidence_in(request: Request) -> dict[str, Any]:
    """What is kept of a request as evidence."""
    return evidence_of(request.client.host if request.client else None, request.headers.get("user-agent"))


def language_for(connection: Connection | None, contact: str | None, request: Request) -> Language:
    """The language of a page: the contact's attribute `language`, else the browser's, else the settings'."""
    found = None if connection is None or contact is None else language_in(_attribute(connection, contact, "language"))
    accepted = preferred(request.headers.get("accept-language", ""))
    return found or accepted or site_of(request).settings.language


def _attribute(connection: Connection, contact: str, name: str) -> Any:
    """The value of an attribute as it is now."""
    return attributes_of(connection, [contact]).get(contact, {}).get(name)
