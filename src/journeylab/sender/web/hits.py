"""Opens and clicks: noted as they come, and made events of their contact once it is known who made them.

What others do within ten seconds may show that a hit was a machine's (`mail.machines`), and an event never changes. So
a hit waits so long in `hits`; `settle_hits` then stores the event, at the instant of its settling, with the instant of
the hit as `occurred_at`. The page is answered at once.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final

from sqlalchemy import Connection, Row, insert, select, update
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from journeylab.sender.live.intake import OwnEvent, record_all
from journeylab.sender.mail.links import Hit, Link, Links
from journeylab.sender.mail.machines import SETTLED_AFTER, Fetch, OtherClick, classify
from journeylab.sender.store import lock_contacts
from journeylab.sender.store import tables as t
from journeylab.sender.store.seals import Seal, seals_by_contact

from .site import NOBODY, Site, language_for, site_of

__all__ = ["click", "picture", "settle_hits"]

_LONGEST_AGENT: Final = 1000
_AGENT: Final = "hits.agent"
_LINKS: Final = "renderings.links"
_EVENTS: Final = {"open": "opened", "click": "clicked"}
_PICTURE: Final = bytes.fromhex(
    "47494638396101000100800000000000ffffff21f90401000000002c00000000010001000002024401003b"
)
"""A GIF of one transparent pixel."""


async def click(request: Request) -> Response:
    """GET and HEAD: leads on to the link of the release's table, and notes that somebody followed it."""
    site = site_of(request)
    hit = site.named_by(request)
    if not site.may_look(request, hit):
        return site.busy(language_for(None, None, request))
    link = await run_in_threadpool(_noted, site, hit, request)
    if link is None:
        return site.unknown(language_for(None, None, request))
    return RedirectResponse(link.url, 302)


async def picture(request: Request) -> Response:
    """GET and HEAD: the picture, whatever the address names; an open is noted where it names a message."""
    site = site_of(request)
    hit = site.named_by(request)
    if site.may_look(request, hit):
        await run_in_threadpool(_noted, site, hit, request)
    # A mail is read on another site, which has to be let show it.
    return Response(_PICTURE, media_type="image/gif", headers={"Cross-Origin-Resource-Policy": "cross-origin"})


def _noted(site: Site, hit: Hit | None, request: Request) -> Link | None:
    key = hit.message_key if hit else NOBODY
    with site.store.reading() as connection:
        send = connection.execute(
            select(t.sends.c.contact, t.sends.c.message, t.renderings.c.links)
            .join(t.renderings, t.renderings.c.message_key == t.sends.c.message_key)
            .where(t.sends.c.message_key == key.hex())
        ).one_or_none()
        seal = None if send is None else seals_by_contact(connection, [send.contact]).get(send.contact)
    if hit is None or send is None or seal is None:
        return None
    links = seal.open_json(_LINKS, send.links)
    link = None if hit.index is None else Links({send.message: links}).target_of(send.message, hit.index)
    tracking = site.settings.tracking
    is_noted = tracking.opens if hit.use == "open" else tracking.clicks and link is not None
    if is_noted and site.proven.take((hit.use, key)):
        agent = (request.headers.get("user-agent") or "")[:_LONGEST_AGENT]
        row = {
            "message_key": key.hex(),
            "kind": hit.use,
            "link": link.name if link else None,
            "method": request.method,
            "agent": seal.seal(_AGENT, agent) if agent else None,
        }
        with site.store.writing() as connection:
            connection.execute(insert(t.hits), row | {"at": site.store.now(connection)})
    return link


def settle_hits(connection: Connection, now: datetime, most: int = 500) -> int:
    """How many hits became events: `opened` and `clicked`, with who made them and by which rule.

    Each event has `message`, `link` (of a click), `is_machine`, `actor`, `rule` and `rules` (the rules' version), and
    the message's `journey`, `entry`, `node` and `visit`.

    Args:
        connection: a writing transaction.
        now: the store's instant; hits of the last ten seconds wait.
        most: how many at once.
    """
    waiting = (
        select(t.hits)
        .where(t.hits.c.settled_at.is_(None), t.hits.c.at < now - SETTLED_AFTER)
        .order_by(t.hits.c.at, t.hits.c.hit_id)
        .limit(most)
        .with_for_update(skip_locked=True)
    )
    rows = connection.execute(waiting).all()
    if not rows:
        return 0
    keys = [*{row.message_key for row in rows}]
    sends = {row.message_key: row for row in connection.execute(
        select(t.sends, t.renderings.c.links).outerjoin(t.renderings).where(t.sends.c.message_key.in_(keys))
    )}  # fmt: skip
    clicks: defaultdict[str, list[Any]] = defaultdict(list)
    found = select(t.hits.c.hit_id, t.hits.c.message_key, t.hits.c.link, t.hits.c.at).where(
        t.hits.c.message_key.in_(keys), t.hits.c.kind == "click"
    )
    for one in connection.execute(found):
        clicks[one.message_key].append(one)
    at = lock_contacts(connection, [send.contact for send in sends.values()], now)
    seals = seals_by_contact(connection, [*at])
    events = [
        _event(row, send, clicks[row.message_key], at[send.contact], seals[send.contact])
        for row in rows
        if (send := sends[row.message_key]).contact in seals
    ]
    if events:
        record_all(connection, events)
    done = update(t.hits).where(t.hits.c.hit_id.in_([row.hit_id for row in rows]))
    connection.execute(done.values(settled_at=now))
    return len(events)


def _event(hit: Row[Any], send: Row[Any], clicks: Sequence[Any], at: datetime, seal: Seal) -> OwnEvent:
    links: Mapping[str, str] = {} if send.links is None else seal.open_json(_LINKS, send.links)
    fetch = Fetch(
        hit.kind,
        hit.method,
        None if hit.agent is None else seal.open(_AGENT, hit.agent),
        after_accepted=hit.at - send.settled_at if send.state == "accepted" and send.settled_at else None,
        link=hit.link,
        n_links=sum(url.startswith("https:") for url in links.values()),
        others=tuple(
            OtherClick(one.link, one.at - hit.at)
            for one in clicks
            if one.hit_id != hit.hit_id and abs(one.at - hit.at) <= SETTLED_AFTER
        ),
    )
    who = classify(fetch)
    about = {name: getattr(send, name) for name in ("message", "journey", "entry", "node", "visit")}
    said = {"is_machine": who.is_machine, "actor": who.actor, "rule": who.rule, "rules": who.version}
    return OwnEvent(send.contact, _EVENTS[hit.kind], at, {**about, "link": hit.link, **said}, hit.at)
