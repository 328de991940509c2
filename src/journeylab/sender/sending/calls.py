"""Makes the outside calls of `call` nodes, each under one id, and tells the journey what became of them.

A call is a POST of who it is about (contact, journey, entry, node, visit: no attributes, no address) to the service's
address in the settings. The service knows a repeated call by `Idempotency-Key` and `webhook-id`, which are the call's
key. It has succeeded at a reply of 200 to 299 whose JSON, if there is any, does not say `"succeeded": false`. Any other
reply, or none, is tried again after a wait that grows, as often as the settings' `attempts` say; then it has failed,
and the journey goes on by `failed`.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from logging import INFO, WARNING
from typing import Any, NamedTuple

from sqlalchemy import Connection, Row, select, update

from journeylab.connectors.http import AT_ONCE, Reply, wait_after
from journeylab.language import later, say
from journeylab.sender.live.intake import record
from journeylab.sender.logs import logger, trace
from journeylab.sender.settings import Settings
from journeylab.sender.store import TICK, Store, lock_contacts
from journeylab.sender.store import tables as t

from .alerts import raise_alert, resolve
from .webhooks import LEASE, MOST_AT_A_TIME, WORRYING, Request, post_all

__all__ = ["Called", "make_calls"]

_PUT_OFF = later("a call of {service} is not taken, and is tried again by itself, after {n} attempts: {reply}")
_FAILED = later("a call of {service} has failed, and its journey has gone on, after {n} attempts: {reply}")


class Called(NamedTuple):
    """How many calls succeeded (or were recorded, in staging), how many are tried again, and how many have failed."""

    n_succeeded: int
    n_retried: int
    n_failed: int


def make_calls(store: Store, settings: Settings, now: datetime) -> Called:
    """Makes the calls that are ready as of an instant, and gives how many came to which end.

    Several workers may do so at once; a call whose worker is gone is made again by the next. Calls of a paused journey
    wait. After a failure the rest for the same service is left for the next time.

    Args:
        store: the database.
        settings: say where services are, with which secrets, how often to try, and whether this is staging.
        now: calls due up to this instant are made.
    """
    failed: set[str] = set()
    counts = dict.fromkeys(Called._fields, 0)
    for _ in range(MOST_AT_A_TIME // AT_ONCE):
        with store.writing() as connection:
            rows = _claimed(connection, failed, now, store.now(connection))
            at = store.now(connection)
        if not rows:
            break
        with trace("call", n=len(rows)):
            replies = _replies(rows, settings, at)
        with store.writing() as connection:
            instant = store.now(connection)
            free = lock_contacts(connection, (row.contact for row in rows), instant)
            for row, reply in zip(rows, replies, strict=True):
                counts[_settled(connection, settings, row, reply, free, instant)] += 1
                if not reply.is_taken:
                    failed.add(row.service)
    return Called(**counts)


def _replies(rows: Sequence[Row[Any]], settings: Settings, at: datetime) -> list[Reply]:
    if settings.is_staging:
        return [Reply(200, "staging: recorded, not called") for _ in rows]
    identity = ("contact", "journey", "entry", "node", "visit")
    requests = [
        Request(
            settings.calls.get(row.service),
            f"the service {row.service}",
            row.call_key,
            {
                "type": "call",
                "timestamp": row.planned_at.isoformat(),
                "data": {"service": row.service} | {name: row._mapping[name] for name in identity},
            },
            at,
            {"idempotency-key": row.call_key},
        )
        for row in rows
    ]
    return post_all(requests, settings)


def _claimed(connection: Connection, failed: set[str], due: datetime, at: datetime) -> list[Row[Any]]:
    paused = select(t.pauses.c.journey).where(t.pauses.c.ended_at.is_(None))
    is_ready = (t.calls.c.state == "ready") & (t.calls.c.not_before.is_(None) | (t.calls.c.not_before <= due))
    is_orphan = (t.calls.c.state == "claimed") & (t.calls.c.lease_until <= at)
    wanted = (
        select(t.calls.c.call_key)
        .where(is_ready | is_orphan, t.calls.c.service.not_in(failed), t.calls.c.journey.not_in(paused))
        .order_by(t.calls.c.planned_at, t.calls.c.call_key)
        .limit(AT_ONCE)
    )
    keys = connection.scalars(wanted.with_for_update(skip_locked=True)).all()
    claim = update(t.calls).where(t.calls.c.call_key.in_(keys))
    claim = claim.values(state="claimed", attempts=t.calls.c.attempts + 1, lease_until=at + LEASE)
    return sorted(connection.execute(claim.returning(t.calls)), key=lambda row: keys.index(row.call_key))


def _settled(
    connection: Connection,
    settings: Settings,
    row: Row[Any],
    reply: Reply,
    free: dict[str, datetime],
    now: datetime,
) -> str:
    """Notes a reply, and gives what it counts as; `free` is the instant that each contact's next event may have."""
    this = t.calls.c.call_key == row.call_key
    mine = this & (t.calls.c.state == "claimed") & (t.calls.c.attempts == row.attempts)
    # A late reply is still the truth, unless the journey was told another one.
    is_open = this & t.calls.c.state.in_(("ready", "claimed"))
    steps = logger("calls").bind(call_key=row.call_key, service=row.service, attempt=row.attempts, reply=reply.text)
    is_last = reply.is_gone or row.attempts >= settings.attempts
    if not reply.is_taken and not is_last:
        wait = max(wait_after(row.attempts, row.call_key), reply.retry_after or timedelta(0))
        values = {"state": "ready", "not_before": now + wait, "lease_until": None, "reply": reply.text}
        connection.execute(update(t.calls).where(mine).values(values))
        if row.attempts >= WORRYING or reply.is_hopeless:
            _warn(connection, row, reply, now, _PUT_OFF)
        steps.warning("to be tried again")
        return "n_retried"
    said = reply.said if isinstance(reply.said, dict) else {}
    succeeded = reply.is_taken and said.get("succeeded") is not False
    text = reply.text if succeeded or not reply.is_taken else f"{reply.text}: the service says that it failed"
    ended = update(t.calls).where(is_open if reply.is_taken else mine)
    values = {"state": "succeeded" if succeeded else "failed", "settled_at": now, "lease_until": None, "reply": text}
    if connection.execute(ended.values(values)).rowcount and row.contact in free:
        identity = {name: row._mapping[name] for name in ("journey", "entry", "node", "visit")}
        record(connection, row.contact, "called", free[row.contact], **identity, succeeded=succeeded)
        free[row.contact] += TICK
    if reply.is_taken:
        resolve(connection, f"calls/{row.service}", now)
    else:
        _warn(connection, row, reply, now, _FAILED)
    steps.log(INFO if succeeded else WARNING, "succeeded" if succeeded else "failed")
    return "n_succeeded" if succeeded else "n_failed"


def _warn(connection: Connection, row: Row[Any], reply: Reply, now: datetime, what: str) -> None:
    text = say(what, service=row.service, n=row.attempts, reply=reply.text)
    raise_alert(connection, f"calls/{row.service}", "error", text, now)
