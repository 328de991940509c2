"""Delivers what somebody outside has to be told: at least once, under one id, for days; then it is a dead letter.

Alerts, and what the CRM is told, are spread first: each system for incidents and each connector that the settings name
for it has a row of its own, which fails, waits and dies by itself.

A row is delivered when the other side replies 200 to 299. Any other reply, or none, is tried again after a wait that
grows (see `wait_after`), not before a `Retry-After`; after `MOST_ATTEMPTS`, some four days, it is a dead letter, which
stays with its reason until `try_again`. A side that replies 410 is told nothing more until `try_again`; what is to be
told waits. What is told can arrive twice: the id tells. It can arrive in another order, too, and the instants in the
body tell; but rows that are of one thing (`about`) wait for each other: the end of an alert is told after its beginning
is, or is given up. A system for incidents or a connector is not told later what no longer holds: a dead letter ends
where what came after it says more.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from functools import partial
from typing import Any, Final, NamedTuple

from sqlalchemy import Connection, Row, exists, select, update

from journeylab.connectors.http import AT_ONCE, Reply, beside, wait_after
from journeylab.language import say
from journeylab.sender.logs import logger, trace
from journeylab.sender.settings import Settings
from journeylab.sender.store import Store, act
from journeylab.sender.store import tables as t
from journeylab.sender.store.bulk import insert_into

from .alerts import raise_alert, resolve
from .notices import thing_of
from .recipients import Recipients
from .webhooks import LEASE, MOST_AT_A_TIME, WORRYING

__all__ = ["MOST_ATTEMPTS", "Delivered", "dead_letters", "deliver", "try_again"]

MOST_ATTEMPTS: Final = 16
_MOST_SPREAD: Final = 500
_DONE: Final[dict[str, Any]] = {"next_attempt_at": None, "body": {}, "about": None}
"""What a row has lost that is told: nobody needs it any more, and it names a contact."""


class Delivered(NamedTuple):
    """How many rows were delivered (or recorded, in staging), how many are tried again, and how many are dead now."""

    n_delivered: int
    n_retried: int
    n_dead: int


def deliver(
    store: Store, settings: Settings, now: datetime, recipients: Recipients | None = None
) -> Delivered:  # fmt: skip
    """Delivers the rows that are due as of an instant, and gives how many came to which end.

    Several workers may do so at once. After a failure the rest for the same target is left for the next time, so that
    one that does not reply holds up nobody for longer than a single time-out.

    Args:
        store: the database.
        settings: say where targets are, with which secrets, and whether this is staging.
        now: rows due up to this instant are taken.
        recipients: those who are told, with the tokens that they have given already; by default made anew.
    """
    failed: set[str] = set()
    counts = dict.fromkeys(Delivered._fields, 0)
    if recipients is None:
        recipients = Recipients(store, settings)
    _spread(store, recipients)
    if not settings.is_staging:
        with store.writing() as connection:
            _set_aside(connection, recipients, store.now(connection))
    for _ in range(MOST_AT_A_TIME // AT_ONCE):
        with store.writing() as connection:
            rows = _claimed(connection, recipients, failed, now, store.now(connection), settings.is_staging)
            at = store.now(connection)
        if not rows:
            break
        with trace("deliver", n=len(rows)):
            if settings.is_staging:
                replies = [Reply(200, "staging: recorded, not sent") for _ in rows]
            else:
                replies = beside(partial(recipients.reply, at=at), rows)
        with store.writing() as connection:
            at = store.now(connection)
            for row, reply in zip(rows, replies, strict=True):
                counts[_settled(connection, recipients, row, reply, at)] += 1
                if not reply.is_taken:
                    failed.add(row.target)
            for row, reply in zip(rows, replies, strict=True):
                if reply.retry_after and not reply.is_taken:
                    _put_off(connection, row.target, at + reply.retry_after)
    return Delivered(**counts)


def _spread(store: Store, recipients: Recipients) -> None:
    """Gives each who is told the same as a webhook a row of its own, once.

    Whoever spreads at the same time waits, so that rows of one thing keep their order.
    """
    o, n = t.outbox.c, _MOST_SPREAD
    with store.reading() as connection:
        if connection.scalar(select(o.outbox_id).where(o.spread_at.is_(None)).limit(1)) is None:
            return
    while n == _MOST_SPREAD:
        with store.writing() as connection:
            at = store.now(connection)
            wanted = select(t.outbox).where(o.spread_at.is_(None)).order_by(o.outbox_id).limit(_MOST_SPREAD)
            rows = connection.execute(wanted.with_for_update()).all()
            n = len(rows)
            copies, ids = [], []
            for row in rows:
                names = recipients.beside(row.body)
                copies += [_copy(row, name, at) for name in names]
                if names and row.target not in recipients.names:
                    values = _DONE | {"delivered_at": at, "spread_at": at, "reply": f"put down for {', '.join(names)}"}
                    connection.execute(update(t.outbox).where(o.outbox_id == row.outbox_id).values(values))
                else:
                    ids.append(row.outbox_id)
            if copies:
                made = insert_into(connection, t.outbox)
                connection.execute(made.on_conflict_do_nothing(index_elements=["target", "webhook_id"]), copies)
            if ids:
                connection.execute(update(t.outbox).where(o.outbox_id.in_(ids)).values(spread_at=at))


def _copy(row: Row[Any], name: str, at: datetime) -> dict[str, Any]:
    return {
        "target": name,
        "webhook_id": row.webhook_id,
        "about": row.about or thing_of(name, row.body["data"]),
        "body": row.body,
        "created_at": row.created_at,
        "spread_at": at,
        "attempts": 0,
        "next_attempt_at": row.next_attempt_at,
    }


def _set_aside(connection: Connection, recipients: Recipients, at: datetime) -> None:
    """What nobody is there for is kept as dead letters, until there is an address and somebody tries them again."""
    waiting = t.outbox.c.delivered_at.is_(None) & t.outbox.c.dead_at.is_(None) & t.outbox.c.spread_at.is_not(None)
    nowhere = t.outbox.c.target.not_in(recipients.names)
    values = {"dead_at": at, "next_attempt_at": None, "reply": "the settings say no address for " + t.outbox.c.target}
    connection.execute(update(t.outbox).where(waiting, nowhere).values(values))


def _claimed(
    connection: Connection,
    recipients: Recipients,
    failed: set[str],
    due: datetime,
    at: datetime,
    is_staging: bool,
) -> list[Row[Any]]:
    """Rows that nobody else is delivering, of targets that are not gone; theirs for a while who claims them.

    What nobody is there for may have come since such was set aside; it waits for the next time.
    """
    gone = select(t.alerts.c.cause).where(t.alerts.c.resolved_at.is_(None))
    before = t.outbox.alias()
    is_held = exists().where(
        before.c.target == t.outbox.c.target,
        before.c.about == t.outbox.c.about,
        before.c.outbox_id < t.outbox.c.outbox_id,
        before.c.delivered_at.is_(None),
        before.c.dead_at.is_(None),
    )
    is_due = (
        t.outbox.c.delivered_at.is_(None)
        & t.outbox.c.dead_at.is_(None)
        & t.outbox.c.spread_at.is_not(None)
        & (t.outbox.c.next_attempt_at <= due)
        & (t.outbox.c.lease_until.is_(None) | (t.outbox.c.lease_until <= at))
        & t.outbox.c.target.not_in(failed)
        & _gone(t.outbox.c.target).not_in(gone)
        & ~is_held
    )
    if not is_staging:
        is_due &= t.outbox.c.target.in_(recipients.names)
    order = (t.outbox.c.next_attempt_at, t.outbox.c.outbox_id)
    wanted = select(t.outbox.c.outbox_id).where(is_due).order_by(*order).limit(AT_ONCE)
    ids = connection.scalars(wanted.with_for_update(skip_locked=True)).all()
    claim = update(t.outbox).where(t.outbox.c.outbox_id.in_(ids))
    claim = claim.values(attempts=t.outbox.c.attempts + 1, lease_until=at + LEASE)
    return sorted(connection.execute(claim.returning(t.outbox)), key=lambda row: ids.index(row.outbox_id))


def _gone(target: Any) -> Any:
    """The cause of the alert that stops a target: as long as it is open, nothing is sent there."""
    return "outbox/" + target + "/gone"


def _settled(connection: Connection, recipients: Recipients, row: Row[Any], reply: Reply, at: datetime) -> str:
    """Notes a reply, and gives what it counts as."""
    steps = logger("outbox").bind(webhook_id=row.webhook_id, target=row.target, attempt=row.attempts, reply=reply.text)
    this = t.outbox.c.outbox_id == row.outbox_id
    if reply.is_taken:
        steps.info("delivered")
        values = _DONE | {"delivered_at": at, "dead_at": None, "lease_until": None, "reply": reply.text}
        connection.execute(update(t.outbox).where(this, t.outbox.c.delivered_at.is_(None)).values(values))
        if row.about is not None and not recipients.is_webhook(row.target):
            _overtake(connection, row, at)
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


def _overtake(connection: Connection, row: Row[Any], at: datetime) -> None:
    """Ends dead letters that no longer hold after what was told now, lest they be told after it."""
    o = t.outbox.c
    of_thing = (o.target == row.target) & (o.about == row.about) & (o.outbox_id < row.outbox_id)
    dead = connection.execute(select(o.outbox_id, o.body).where(of_thing, o.dead_at.is_not(None))).all()
    ids = [one.outbox_id for one in dead if _replaces(row.body, one.body)]
    if not ids:
        return
    values = _DONE | {"delivered_at": at, "dead_at": None, "reply": "what came after it says more"}
    connection.execute(update(t.outbox).where(o.outbox_id.in_(ids)).values(values))
    if not dead_letters(connection, row.target):
        resolve(connection, f"outbox/{row.target}/dead", at)


def _replaces(later: Mapping[str, Any], earlier: Mapping[str, Any]) -> bool:
    """Whether what was put down later about a thing says all that counts of what was put down earlier."""
    kind, family = str(later["type"]), str(earlier["type"]).partition(".")[0]
    if kind.startswith("alert."):
        return family == "alert"
    if kind.startswith("consent."):
        return family == "consent" and later["data"].get("purpose") in (None, earlier["data"].get("purpose"))
    return kind == "contact.erased"


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
        target: its name in the outbox; see `journeylab.sender.sending.recipients`.
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
