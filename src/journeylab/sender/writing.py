"""Writing: a message's bytes, made once from its release's templates, its contact, and the sender's settings.

What is made is frozen by the caller, so that every attempt sends the same bytes. The Message-ID and all links come from
the message's key alone (rule 30); nothing but what the message declares of a contact reaches its templates.
"""

from __future__ import annotations

import base64
from collections.abc import Collection, Mapping, Sequence
from datetime import datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import Connection, Row, select

from journeylab import extensions
from journeylab.errors import DataError, DefinitionError
from journeylab.sender.consent.mailed import mailto
from journeylab.sender.live.catalogue import products_of
from journeylab.sender.live.contexts import Context, contexts_of
from journeylab.sender.live.intake import properties_of
from journeylab.sender.live.running import Running
from journeylab.sender.mail.compose import Envelope, HeaderError, compose
from journeylab.sender.mail.dkim import DkimKey, signed
from journeylab.sender.mail.links import Links, Urls
from journeylab.sender.mail.messages import Message, Messages
from journeylab.sender.mail.recommend import BoughtTogether, Recommender, of_catalogue
from journeylab.sender.mail.rendering import Context as RenderContext
from journeylab.sender.mail.rendering import Renderer, RenderError
from journeylab.sender.sending.gate import CONFIRMATION
from journeylab.sender.sending.preparing import Fault, Made
from journeylab.sender.settings import Settings
from journeylab.sender.store import Store
from journeylab.sender.store import tables as t

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Writer"]

_FRESH: Final = timedelta(hours=1)
"""How long what is bought together is held to be what it was."""


class Writer:
    """Makes messages; what a `Worker` calls as its `render`. Use it in `with`, or `close` it.

    Args:
        store: the sender's database, opened with its keys.
        settings: the sender's.
        running: gives what runs, as of now.
        recommender: one's own, in place of that of the settings and of `BoughtTogether`.
    """

    def __init__(
        self,
        store: Store,
        settings: Settings,
        running: Callable[[Connection], Running],
        recommender: Recommender | None = None,
    ) -> None:
        self.store, self.settings, self.running = store, settings, running
        self.urls = Urls(store.keys, settings.public_url)
        self.dkim = DkimKey.read(settings)
        self._recommender = recommender or _own_recommender(settings)
        self._bought: tuple[datetime, Recommender] | None = None
        self._renderers: dict[int | None, Renderer] = {}

    def __enter__(self) -> Writer:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Ends the processes in which templates are rendered."""
        for one in self._renderers.values():
            one.close()
        self._renderers.clear()

    def __call__(self, connection: Connection, rows: Sequence[Row[Any]]) -> list[Made | Fault]:
        """The bytes of each message, or why they cannot be made; see `preparing.Renders`."""
        now, running = self.store.now(connection), self.running(connection)
        contexts = contexts_of(connection, rows, running, now)
        return [self._made(connection, row, one, now) for row, one in zip(rows, contexts, strict=True)]

    def _made(self, connection: Connection, row: Row[Any], context: Context, now: datetime) -> Made | Fault:
        if context.address is None:
            return Fault("the contact has no address")
        try:
            renderer = self._renderer(connection, row.release_id)
            message = renderer.messages[row.message]
            links = Links({row.message: message.links})
            given = self._context(connection, row, message, links, context, now)
            rendered = renderer.render(row.message, given)
            composed = compose(rendered, self._envelope(row, message, context.address, given.links, now))
            data = composed.data if self.dkim is None else signed(composed.data, self.dkim)
        except (RenderError, HeaderError, DefinitionError, DataError) as problem:
            return Fault(str(problem))
        return Made(composed.recipient, data, links.data()[row.message])

    def _renderer(self, connection: Connection, release_id: int | None) -> Renderer:
        """The renderer of a release's messages; of those in the settings' folder where mail belongs to no release."""
        if release_id not in self._renderers:
            if release_id is None:
                messages = Messages.read(self.settings.path(self.settings.messages))
            else:
                found = select(t.releases.c.messages).where(t.releases.c.release_id == release_id)
                messages = Messages.from_dict(connection.execute(found).scalar_one())
            self._renderers[release_id] = Renderer(messages)
        return self._renderers[release_id]

    def _context(
        self, connection: Connection, row: Row[Any], message: Message, links: Links, context: Context, now: datetime
    ) -> RenderContext:
        key, pages = bytes.fromhex(row.message_key), {}
        if row.journey == CONFIRMATION:
            pages["confirm_url"] = self.urls.confirm(key)
        elif not message.transactional:
            pages = {"unsubscribe_url": self.urls.unsubscribe(key), "preferences_url": self.urls.preferences(key)}
        tracking = self.settings.tracking
        tracked = {}
        if tracking.clicks and row.journey != CONFIRMATION:
            tracked = {
                one.name: self.urls.tracked(key, links, row.message, one.name)
                for one in links.of(row.message)
                if one.url.startswith("https:")
            }
        return RenderContext(
            attributes=_only(context.attributes, message.attributes),
            entry=_only(context.entry, message.entry),
            links=pages,
            postal_address=self.settings.postal_address,
            recommended=self._recommended(connection, row.contact, message.recommend or 0, now),
            link_url=tracked,
            picture_url=self.urls.picture(key) if tracking.opens and row.journey != CONFIRMATION else "",
        )

    def _envelope(
        self, row: Row[Any], message: Message, address: str, pages: Mapping[str, str], now: datetime
    ) -> Envelope:
        settings, sender = self.settings, message.from_ or self.settings.from_
        is_list = "unsubscribe_url" in pages
        header = next((one.idempotency_header for one in settings.relays if one.idempotency_header), None)
        by_mail = settings.unsubscribe if is_list else None
        name = base64.b32encode(bytes.fromhex(row.message_key)).decode().rstrip("=").lower()
        return Envelope(
            message_id=f"<{name}@{settings.domain}>",
            from_address=sender.address,
            from_name=sender.name,
            to_address=address,
            date=now,
            reply_to=message.reply_to or settings.reply_to,
            list_id=settings.list_id if is_list else None,
            unsubscribe_url=pages.get("unsubscribe_url"),
            unsubscribe_mailto=by_mail and mailto(by_mail, self.store.keys, bytes.fromhex(row.message_key)),
            one_click=is_list,
            feedback_id=f"{row.message}:{row.journey.strip('()')}:{settings.sender}",
            send_key=row.message_key,
            idempotency=None if header is None else (header, row.message_key),
        )

    def _recommended(self, connection: Connection, contact: str, n: int, now: datetime) -> Sequence[Any]:
        """The products that go into a message; only what was bought up to now counts."""
        if n == 0:
            return ()
        terms = self.settings.recommend
        recommender = self._recommender
        if recommender is None:
            if self._bought is None or now - self._bought[0] > _FRESH:
                self._bought = now, BoughtTogether(_purchases(connection, terms.event, terms.item, None, now))
            recommender = self._bought[1]
        bought = [item for _, item, _ in _purchases(connection, terms.event, terms.item, contact, now)]
        if self.settings.catalogue is None:
            return recommender.recommend(contact, bought, now, n)
        return of_catalogue(recommender, partial(products_of, connection), contact, bought, now, n)


def _only(values: Mapping[str, Any], names: Collection[str]) -> dict[str, Any]:
    return {name: values.get(name) for name in names}


def _purchases(
    connection: Connection, event: str, item: str, contact: str | None, until: datetime
) -> list[tuple[str, str, datetime]]:
    """What was bought, by whom and when."""
    e = t.events.c
    asked = select(e.contact, e.properties, e.sealed, e.received_at).where(e.event == event, e.received_at <= until)
    if contact is not None:
        asked = asked.where(e.contact == contact)
    rows = connection.execute(asked.order_by(e.received_at, e.event_id)).all()
    found = zip(rows, properties_of(connection, rows), strict=True)
    return [(one.contact, str(given[item]), one.received_at) for one, given in found if given.get(item) is not None]


def _own_recommender(settings: Settings) -> Recommender | None:
    """The recommender of an installed package that the settings name, if they do."""
    name = settings.recommend.hook
    if name is None:
        return None
    recommender: Recommender = extensions.made("recommenders", name, methods=["recommend"])
    return recommender
