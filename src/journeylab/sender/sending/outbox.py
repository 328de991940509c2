"""Delivers what somebody outside has to be told: at least once, under one id, for days; then it is a dead letter.

A row is delivered when the other side replies 200 to 299. Any other reply, or none, is tried again after a wait that
grows (see `wait_after`), not before a `Retry-After`; after `MOST_ATTEMPTS`, some four days, it is a dead letter, which
stays with its reason until `try_again`. A side that replies 410 is told nothing more until `try_again`; what is to be
told waits. What is told can arrive twice and in another order: the id and the instants in the body tell.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any, Final, NamedTuple

from sqlalchemy import Connection, Row, select, update

from journeylab.connectors.http import AT_ONCE, Reply, wait_after
from journeylab.language import say
from journeylab.sender.logs import logger, trace
from journeylab.sender.settings import Alerts, Outgoing, Settings
from journeylab.sender.store import Store, act
from journeylab.sender.store import tables as t

from .alerts import raise_alert, resolve
from .webhooks import LEASE, MOST_AT_A_TIME, WORRYING, Request, post_all

__all__ = ["MOST_ATTEMPTS", "Delivered", "dead_letters", "deliver", "try_again"]

MOST_ATTEMPTS: Final = 16


class Delivered(NamedTuple):
    """How many rows were delivered (or recorded, in staging), how many are tried again, and how many are dead now."""

    n_delivered: int
    n_retried: int
    n_dead: int


def deliver(store: Store, settings: Settings, now: datetime) -> Delivered:
    """Delivers the rows that are due as of an instant, and gives how many came to which end.

    Several workers may do so at once. After a failure the rest for the same target is left for the next time, so that
    one that does not reply holds up nobody for longer than a single time-out.

    Args:
        store: the database.
        settings: say where targets are, with which secrets, and whether this is staging.
        now: rows due up to this instant are taken.
    """
    failed: set[str] = set()
    counts = dict.fromkeys(Delivered._fields, 0)
    if not settings.is_staging:
        with store.writing() as connection:
            _set_aside(connection, settings, store.now(connection))
    for _ in range(MOST_AT_A_TIME // AT_ONCE):
        with store.writing() as connection:
            rows = _claimed(connection, settings, failed, now, store.now(connection))
            at = store.now(connection)
        if not rows:
            break
        with trace("deliver", n=len(rows)):
            replies = _replies(rows, settings, at)
        with store.writing() as connection:
            at = store.now(connection)
            for row, reply in zip(rows, replies, strict=True):
                counts[_settled(connection, row, reply, at)] += 1
                if not reply.is_taken:
                    failed.add(row.target)
            for row, reply in zip(rows, replies, strict=True):
                if reply.retry_after and not reply.is_taken:
                    _put_off(connection, row.target, at + reply.retry_after)
    return Delivered(**counts)


def _replies(rows: list[Row[Any]], settings: Settings, at: datetime) -> list[Reply]:
    if settings.is_staging:
        return [Reply(200, "staging: recorded, not sent") for _ in rows]
    to = _targets(settings)
    return post_all([Request(to[row.target], row.target, row.webhook_id, row.body, at) for row in rows], settings)


def _targets(settings: Settings) -> dict[str, Outgoing | Alerts]:
    known = (("crm", settings.crm), ("alerts", settings.alerts), ("audit", settings.audit.webhook))
    return {name: to for name, to in known if to is not None}


def _set_aside(connection: Connection, settings: Settings, at: datetime) -> None:
    """What nobody is there for is kept as dead letters, until there is an address and somebody tries them again."""
    waiting = t.outbox.c.delivered_at.is_(None) & t.outbox.c.dead_at.is_(None)
    nowhere = t.outbox.c.target.not_in([*_targets(settings)])
    values = {"dead_at": at, "next_attempt_at": None, "reply": "the settings say no address for " + t.outbox.c.target}
    connection.execute(update(t.outbox).where(waiting, nowhere).values(values))


def _claimed(
    connection: Connection, settings: Settings, failed: set[str], due: datetime, at: datetime
) -> list[Row[Any]]:  # fmt: skip
    """Rows that nobody else is delivering, of targets that are not gone; theirs for a while who claims them.

    What nobody is there for may have come since such was set aside; it waits for the next time.
    """
    gone = select(t.alerts.c.cause).where(t.alerts.c.resolved_at.is_(None))
    is_due = (
        t.outbox.c.delivered_at.is_(None)
        & t.outbox.c.dead_at.is_(None)
        & (t.outbox.c.next_attempt_at <= due)
        & (t.outbox.c.lease_until.is_(None) | (t.outbox.c.lease_until <= at))
        & t.outbox.c.target.not_in(failed)
        & _gone(t.outbox.c.target).not_in(gone)
    )
    if not settings.is_staging:
        is_due &= t.outbox.c.target.in_([*_targets(settings)])
    order = (t.outbox.c.next_attempt_at, t.outbox.c.outbox_id)
    wanted = select(t.outbox.c.outbox_id).where(is_due).order_by(*order).limit(AT_ONCE)
    ids = connection.scalars(wanted.with_for_update(skip_locked=True)).all()
    claim = update(t.outbox).where(t.outbox.c.outbox_id.in_(ids))
    claim = claim.values(attempts=t.outbox.c.attempts + 1, lease_until=at + LEASE)
    return sorted(connection.execute(claim.returning(t.outbox)), key=lambda row: ids.index(row.outbox_id))


def _gone(target: Any) -> Any:
    """The cause of the alert that stops a target: as long as it is open, nothing is sent there."""
    return "outbox/" + target + "/gone"


def _settled(connection: Connection, row: Row[Any], reply: Reply, at: datetime) -> str:
    """Notes a reply, and gives what it counts as."""
    steps = logger("outbox").bind(webhook_id=row.webhook_id, target=row.target, attempt=row.attempts, reply=reply.text)
    this = t.outbox.c.outbox_id == row.outbox_id
    if reply.is_taken:
        steps.info("delivered")
        values: dict[str, Any] = {"delivered_at": at, "dead_at": None, "next_attempt_at": None}
        values |= {"body": {}}  # nobody needs it any more, and it names a contact
        values |= {"reply": reply.text, "lease_until": None}
        connection.execute(update(t.outbox).where(this, t.outbox.c.delivered_at.is_(None)).values(values))
        resolve(connection, f"outbox/{row.target}", at)
        return "n_delivered"
    # A worker whose lease lapsed does not undo what the next one is doing.
    mine = this & (t.outbox.c.attempts == row.attempts) & t.outbox.c.delivered_at.is_(None)
    is_dead = reply.is_hopeless or (row.attempts >= MOST_ATTEMPTS and not reply.is_gone)
    next_at = at + wait_after(row.attempts, row.webhook_id)
    values = {"reply": reply.text, "lease_until": None, "next_attempt_at": next_at}
    if is_dead:
        values |= {"dead_at": at, "next_attempt_at": None}
    connection.execute(update(t.outbox).where(mine).values(values))
    _warn(connection, row, reply, at, is_dead=is_dead)
    steps.warning("dead letter" if is_dead else "to be tried again")
    return "n_dead" if is_dead else "n_retried"


def _put_off(connection: Connection, target: str, until: datetime) -> None:
    """A target that asks to be left alone for a while is told nothing of all that it is to be told."""
    waiting = t.outbox.c.delivered_at.is_(None) & t.outbox.c.dead_at.is_(None) & (t.outbox.c.target == target)
    early = t.outbox.c.next_attempt_at < until
    connection.execute(update(t.outbox).where(waiting, early).values(next_attempt_at=until))


def _warn(connection: Connection, row: Row[Any], reply: Reply, at: datetime, *, is_dead: bool) -> None:
    name, again = row.target, f"`journeylab sends retry {row.target}`"
    if reply.is_gone:
        said = say(
            "{name} wants to be told nothing more (410); write its new address into the settings, then {command}",
            name=name,
            command=again,
        )
        raise_alert(connection, f"outbox/{name}/gone", "error", said, at)
    elif is_dead:
        said = say(
            "something could not be told to {name} in {n} attempts: {reply}; mend it, then {command}",
            name=name,
            n=row.attempts,
            reply=reply.text,
            command=again,
        )
        raise_alert(connection, f"outbox/{name}/dead", "error", said, at)
    elif row.attempts >= WORRYING:
        said = say(
            "{name} is not told what it should be, and is tried again by itself: {reply}", name=name, reply=reply.text
        )
        raise_alert(connection, f"outbox/{name}", "warning", said, at)


def dead_letters(connection: Connection, target: str | None = None) -> list[Row[Any]]:
    """The rows that are not tried any more, with the reason in `reply`; the oldest first."""
    wanted = select(t.outbox).where(t.outbox.c.dead_at.is_not(None)).order_by(t.outbox.c.outbox_id)
    return [*connection.execute(wanted if target is None else wanted.where(t.outbox.c.target == target))]


def try_again(connection: Connection, target: str, actor: str, now: datetime, *, webhook_id: str | None = None) -> int:
    """How many dead letters of a target are due again; the target is told things again where it had replied 410.

    Args:
        connection: a writing transaction.
        target: `crm`, `alerts` or `audit`.
        actor: who wants it.
        now: the store's instant.
        webhook_id: of one row alone; without it, of all.
    """
    wanted = t.outbox.c.dead_at.is_not(None) & (t.outbox.c.target == target)
    if webhook_id is not None:
        wanted &= t.outbox.c.webhook_id == webhook_id
    values = {"dead_at": None, "attempts": 0, "next_attempt_at": now, "lease_until": None}
    n_again = connection.execute(update(t.outbox).where(wanted).values(values)).rowcount
    act(connection, now, actor, "retry", f"outbox/{target}", n=n_again, webhook_id=webhook_id)
    resolve(connection, f"outbox/{target}/gone", now)
    if not dead_letters(connection, target):
        resolve(connection, f"outbox/{target}/dead", now)
    return n_again
