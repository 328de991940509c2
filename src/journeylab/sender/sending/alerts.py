"""Alerts: one for each cause, from when it came until it is over, told outside when it begins, gets worse, and ends.

A cause names the thing and its trouble, such as `relay/main` or `journey/welcome/bounces`; while its alert is open,
whoever notices it again only counts. An alert that somebody has acknowledged is open anew when it gets worse. Addresses
are taken out of texts: an alert leaves for other systems.
"""

from __future__ import annotations

from datetime import datetime
from typing import Final

from sqlalchemy import ColumnElement, Connection, Row, case, null, select, update

from journeylab.connectors.incidents import SEVERITIES
from journeylab.errors import DataError, known
from journeylab.sender.logs import without_addresses
from journeylab.sender.store import act
from journeylab.sender.store import tables as t
from journeylab.sender.store.bulk import insert_into

from .notices import tell

__all__ = ["SEVERITIES", "acknowledge", "open_alerts", "raise_alert", "resolve"]

_LONGEST: Final = 1000


def raise_alert(connection: Connection, cause: str, severity: str, text: str, now: datetime) -> bool:
    """Whether an alert is new: its cause had no open one.

    Otherwise the open one has been seen once more, with the newest text, and the worst severity that it ever had. Of
    several that raise a cause at once, on whatever hosts, one hears that it is new.

    Args:
        connection: a writing transaction.
        cause: what is told apart from other causes (the key by which other systems drop repeats).
        severity: one of `SEVERITIES`.
        text: what is wrong, and what to do about it, for a person.
        now: the store's instant.
    """
    if severity not in SEVERITIES:
        raise ValueError(f"{severity!r} is no severity; {known(severity, SEVERITIES, 'severities')}")
    cause, summary = without_addresses(cause), without_addresses(text)[:_LONGEST]
    a = t.alerts.c
    before = connection.scalar(select(a.severity).where(_is_open(cause)))
    row = {"cause": cause, "severity": severity, "text": summary, "started_at": now, "seen_at": now, "n_seen": 1}
    wanted = insert_into(connection, t.alerts).values(row)
    latest = case((a.seen_at > now, a.seen_at), else_=now)
    gets_worse = _badness() > SEVERITIES.index(severity)
    again = wanted.on_conflict_do_update(
        index_elements=["cause"],
        index_where=a.resolved_at.is_(None),
        set_={
            "n_seen": a.n_seen + 1,
            "seen_at": latest,
            "text": summary,
            "severity": case((gets_worse, severity), else_=a.severity),
            "acknowledged_at": case((gets_worse, null()), else_=a.acknowledged_at),
            "acknowledged_by": case((gets_worse, null()), else_=a.acknowledged_by),
        },
    )
    found = connection.execute(again.returning(t.alerts)).one()
    if found.severity != before:  # who saw an older one tells the same again, which is told once
        _tell(connection, found, "raised", f"raised_{found.severity}", now)
    return bool(found.n_seen == 1)


def acknowledge(connection: Connection, cause: str, actor: str, now: datetime) -> bool:
    """Whether an open alert is acknowledged that was not yet: somebody looks after it.

    Args:
        connection: a writing transaction.
        cause: of the alert.
        actor: who looks after it; nobody outside is told the name.
        now: the store's instant.

    Raises:
        DataError: when no alert of the cause is open, naming those that are.
    """
    causes = [str(one.cause) for one in open_alerts(connection)]
    if cause not in causes:
        raise DataError(f"no alert of the cause {cause!r} is open; {known(cause, causes, 'causes')}")
    values = {"acknowledged_at": now, "acknowledged_by": actor}
    wanted = update(t.alerts).where(_is_open(cause), t.alerts.c.acknowledged_at.is_(None)).values(values)
    found = connection.execute(wanted.returning(t.alerts)).one_or_none()
    if found is None:
        return False
    act(connection, now, actor, "acknowledge", f"alert/{cause}")
    _tell(connection, found, "acknowledged", f"acknowledged_{now:%Y%m%dT%H%M%S%f}", now)
    return True


def resolve(connection: Connection, cause: str, now: datetime) -> bool:
    """Whether an alert was open of a cause, which is over now."""
    is_cause = _is_open(without_addresses(cause))
    ended = update(t.alerts).where(is_cause).values(resolved_at=now).returning(t.alerts)
    found = connection.execute(ended).one_or_none()
    if found is None:
        return False
    _tell(connection, found, "resolved", "resolved", now)
    return True


def open_alerts(connection: Connection) -> list[Row[tuple[object, ...]]]:
    """The open alerts, the worst first, then the oldest: rows of `alerts`."""
    rows = select(t.alerts).where(t.alerts.c.resolved_at.is_(None))
    return [*connection.execute(rows.order_by(_badness(), t.alerts.c.started_at, t.alerts.c.alert_id))]


def _is_open(cause: str) -> ColumnElement[bool]:
    return (t.alerts.c.cause == cause) & t.alerts.c.resolved_at.is_(None)


def _badness() -> ColumnElement[int]:
    """The place of an alert's severity, 0 for the worst."""
    return case({one: place for place, one in enumerate(SEVERITIES)}, value=t.alerts.c.severity)


def _tell(connection: Connection, alert: Row[tuple[object, ...]], status: str, step: str, now: datetime) -> None:
    # With its instant: a database that was restored from a backup counts alerts up again from an earlier number.
    about = f"alert_{alert.alert_id}_{alert.started_at:%Y%m%dT%H%M%S%f}"
    data = {
        "dedup_key": alert.cause,
        "severity": alert.severity,
        "summary": alert.text,
        "started_at": alert.started_at.isoformat(),
        "acknowledged_at": alert.acknowledged_at and alert.acknowledged_at.isoformat(),
        "resolved_at": alert.resolved_at and alert.resolved_at.isoformat(),
        "status": status,
    }
    tell(connection, "alerts", f"{about}_{step}", f"alert.{status}", data, now, about=about)
