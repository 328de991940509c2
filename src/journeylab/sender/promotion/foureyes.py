"""Large promotions, which a second person approves (`four_eyes`): how many contacts they reach, asking and approving.

What is asked for is frozen and kept as a release that takes no entries, so that who approves sees what it is. Other
content has another hash, and is asked for anew.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime
from math import ceil
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import Connection, func, select

from journeylab.definitiondiff import as_text, diff
from journeylab.errors import DataError, known
from journeylab.sender.acting import acting
from journeylab.sender.approvals import Approval, Wanted, approve, approved_or_asked, waiting
from journeylab.sender.store import Store
from journeylab.sender.store import tables as t

from .frozen import Frozen
from .releases import Done, open_fully, release_of
from .standing import frozen_release, running, share_text

if TYPE_CHECKING:
    from journeylab.sender.acting import Acting
    from journeylab.sender.settings import Settings

__all__ = [
    "approve_release",
    "asked",
    "asked_or_approved",
    "changes_of",
    "open_in_full",
    "reach",
    "request_of",
    "unapproved",
]

_RELEASE: Final = re.compile(r"(.+)/([0-9a-f]{12,64})")


def reach(connection: Connection, share: float, forecast: Mapping[str, Any] | None) -> int:
    """How many contacts a release can reach at a share: of those in the store or those of its forecast, of the more."""
    there = connection.scalar(select(func.count(t.contacts.c.contact))) or 0
    expected: float = (forecast or {}).get("n_entries", 0)
    return ceil(share * max(there, expected))


def asked_or_approved(
    connection: Connection, settings: Settings, who: Acting, frozen: Frozen, share: float, now: datetime, *, actor: str
) -> Approval | None:  # fmt: skip
    """What a second person has said, or is asked now, of a release at a share; None where it takes none.

    Args:
        connection: of `Store.writing`.
        settings: the sender's.
        who: who promotes.
        frozen: the release.
        share: of which share of contacts it is to take entries.
        now: the store's instant.
        actor: as whom they promote.
    """
    limit = None if settings.four_eyes is None else settings.four_eyes.promotions_over
    if settings.four_eyes is None or limit is None:
        return None
    taking = [one.share for one in running(connection) if one.hash == frozen.hash]
    n = reach(connection, share, frozen.forecast)
    before = _lately(connection, frozen.hash, now - settings.four_eyes.valid_for)
    if n + before <= limit or any(start == 0 and end >= share for start, end in taking):
        return None
    release_of(connection, frozen, now, actor)
    purpose = f"takes entries of {share_text(share)} of contacts, up to {n:,} of them"
    if n <= limit:
        purpose += f", after {before:,} by what was promoted lately"
    wanted = Wanted("promotion", f"{frozen.journey.journey}/{frozen.hash}", purpose, share)
    return approved_or_asked(connection, settings, who, wanted, now, actor=actor)


def _lately(connection: Connection, hash_: str, since: datetime) -> int:
    """How many contacts other releases can reach that were promoted since an instant, and that nobody approved.

    Otherwise whoever makes many small ones of a large one, under other names or versions, would need no second person.
    """
    columns = (t.releases.c.journey, t.releases.c.hash, t.releases.c.forecast)
    opened = select(*columns).join(t.spans).where(t.spans.c.from_at > since, t.releases.c.hash != hash_).distinct()
    releases = {f"{row.journey}/{row.hash[:12]}": row.forecast for row in connection.execute(opened)}
    a = t.audit.c
    done = select(a.object, a.action, a.details).where(
        a.object.in_([*releases]), a.action.in_(("promote", "full")), a.at > since
    )
    shares: dict[str, float] = {}
    for row in connection.execute(done):
        if "approved_by" not in row.details:
            share = float(row.details.get("share", "100%").removesuffix("%")) / 100
            shares[row.object] = max(share, shares.get(row.object, 0.0))
    return sum(reach(connection, share, releases[one]) for one, share in shares.items())


def asked(frozen: Frozen, share: float, request: Approval, now: datetime) -> Done:
    """What became of a promotion for which a second person is asked."""
    name, version = frozen.journey.journey, frozen.journey.version
    said = (
        f"{name} {version} {request.purpose}: that takes a second person. It is asked for until "
        f"{request.expires_at:%Y-%m-%d %H:%M} UTC; once somebody else has given "
        f"`journeylab release approve {name}/{frozen.hash[:12]}`, do this again"
    )
    return Done(name, "ask", request.asked_at == now, None, version, frozen.hash, share, now, said)


def open_in_full(store: Store, settings: Settings, journey: str, *, actor: str | None = None) -> Done:
    """Opens the canary of a journey for all contacts, or asks for the approval that it takes; see `open_fully`.

    Raises:
        DataError: when who acts may not, or no release of the journey takes entries.
    """
    who = acting(settings)
    who.require("promote")
    actor, request = who.named(actor), None
    with store.writing() as connection:
        now = store.now(connection)
        canary = next((one for one in running(connection) if one.journey == journey), None)
        if canary is not None:
            frozen = frozen_release(connection, canary.release_id)
            request = asked_or_approved(connection, settings, who, frozen, 1.0, now, actor=actor)
    if request is not None and not request.holds(settings):
        return asked(frozen, 1.0, request, now)
    return open_fully(store, journey, actor=actor, approved_by=request and request.approved_by)


def request_of(connection: Connection, release: str, now: datetime) -> tuple[Approval, Frozen]:
    """The request that a release JOURNEY/HASH waits with, and the release.

    Raises:
        DataError: when it waits with none.
    """
    parts = _RELEASE.fullmatch(release)
    if parts is None:
        raise DataError(f"{release!r} names no release; write JOURNEY/HASH, with at least 12 digits of the hash")
    there = waiting(connection, now, ["promotion"])
    mine = next((one for one in there if one.object.startswith(release) and one.object.count("/") == 1), None)
    if mine is None:
        names = [one.object[: one.object.index("/") + 13] for one in there]
        raise DataError(f"{release} waits for nobody's approval; {known(release, names, 'releases that wait')}")
    row = select(t.releases.c.release_id).where(t.releases.c.hash == mine.object.partition("/")[2])
    return mine, frozen_release(connection, connection.scalars(row).one())


def changes_of(connection: Connection, frozen: Frozen) -> list[str]:
    """What differs between a release and the one of its journey that takes entries, a line each."""
    there = [one.release_id for one in running(connection) if one.journey == frozen.journey.journey]
    if not there:
        return ["no release of it takes entries yet"]
    former = frozen_release(connection, there[-1])
    return [
        *(as_text(found).splitlines() if (found := diff(former.journey, frozen.journey)) else ()),
        *(
            f"message {name!r} is another one"
            for name in sorted({*former.messages, *frozen.messages})
            if name not in former.messages
            or name not in frozen.messages
            or former.messages[name].hash != frozen.messages[name].hash
        ),
    ] or ["no difference"]


def approve_release(store: Store, settings: Settings, release: str) -> Approval:
    """Approves what somebody else wants to promote; who does is the account of this process, under no other name.

    Args:
        store: the sender's database.
        settings: the sender's.
        release: JOURNEY/HASH, with at least 12 digits of the hash.

    Raises:
        DataError: as `approvals.approve`, and when nothing waits under that name.
    """
    who = acting(settings)
    with store.writing() as connection:
        now = store.now(connection)
        request, _ = request_of(connection, release, now)
        return approve(connection, settings, who, request.approval_id, now)


def unapproved(connection: Connection, settings: Settings) -> list[str]:
    """The journeys whose release reaches more contacts by now than one person may reach, and nobody approved it."""
    limit = None if settings.four_eyes is None else settings.four_eyes.promotions_over
    if limit is None:
        return []
    a = t.approvals.c
    found = []
    for one in running(connection):
        of = (a.kind == "promotion", a.object == f"{one.journey}/{one.hash}", a.approved_by.is_not(None))
        approved = connection.scalar(select(func.max(a.share)).where(*of)) or 0.0
        forecast = connection.scalar(select(t.releases.c.forecast).where(t.releases.c.release_id == one.release_id))
        share = one.share[1] - one.share[0]
        if share > approved and reach(connection, share, forecast) > limit:
            found.append(one.journey)
    return found
