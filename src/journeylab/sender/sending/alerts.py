"""Alerts: one for each cause, from when it came until it is over, told outside when it begins and when it ends.

A cause names the thing and its trouble, such as `relay/main` or `journey/welcome/bounces`; while its alert is open,
whoever notices it again only counts. Addresses are taken out of texts: an alert leaves for other systems.
"""

from __future__ import annotations

from datetime import datetime
from typing import Final

from sqlalchemy import Connection, Row, case, select, update

from journeylab.errors import known
from journeylab.sender.logs import without_addresses
from journeylab.sender.store import tables as t
from journeylab.sender.store.bulk import insert_into

from .notices import tell

__all__ = ["SEVERITIES", "open_alerts", "raise_alert", "resolve"]

SEVERITIES: Final = ("critical", "error", "warning", "info")
"""From worst to least: mail stands still, something does not work, somebody should look, nothing to do."""
_LONGEST: Final = 1000


def raise_alert(connection: Connection, cause: str, severity: str, text: str, now: datetime) -> bool:
    """Whether an alert is new: its cause had no open one.

    Otherwise the open one has been seen once more, with the newest text and severity. Of several that raise a cause
    at once, on whatever hosts, one hears that it is new.

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
    row = {"cause": cause, "severity": severity, "text": summary, "started_at": now, "seen_at": now, "n_seen": 1}
    wanted = insert_into(connection, t.alerts).values(row)
    latest = case((t.alerts.c.seen_at > now, t.alerts.c.seen_at), else_=now)
    again = wanted.on_conflict_do_update(
        index_elements=["cause"],
        index_where=t.alerts.c.resolved_at.is_(None),
        set_={"n_seen": t.alerts.c.n_seen + 1, "seen_at": latest, "text": summary, "severity": severity},
    )
    found = connection.execute(again.returning(t.alerts)).one()
    if found.n_seen > 1:
        return False
    _tell(connection, found, "raised", now)
    return True


def resolve(connection: Connection, cause: str, now: datetime) -> bool:
    """Whether an alert was open of a cause, which is over now."""
    is_cause = (t.alerts.c.cause == without_addresses(cause)) & t.alerts.c.resolved_at.is_(None)
    ended = update(t.alerts).where(is_cause).values(resolved_at=now).returning(t.alerts)
    found = connection.execute(ended).one_or_none()
    if found is None:
        return False
    _tell(connection, found, "resolved", now)
    return True


def open_alerts(connection: Connection) -> list[Row[tuple[object, ...]]]:
    """The open alerts, the worst first, then the oldest: rows of `alerts`."""
    badness = case({one: place for place, one in enumerate(SEVERITIES)}, value=t.alerts.c.severity)
    rows = select(t.alerts).where(t.alerts.c.resolved_at.is_(None))
    return [*connection.execute(rows.order_by(badness, t.alerts.c.started_at, t.alerts.c.alert_id))]


def _tell(connection: Connection, alert: Row[tuple[object, ...]], what: str, now: datetime) -> None:
    # With its instant: a database that was restored from a backup counts alerts up again from an earlier number.
    webhook_id = f"alert_{alert.alert_id}_{alert.started_at:%Y%m%dT%H%M%S%f}_{what}"
    data = {
        "dedup_key": alert.cause,
        "severity": alert.severity,
        "summary": alert.text,
        "started_at": alert.started_at.isoformat(),
        "resolved_at": alert.resolved_at and alert.resolved_at.isoformat(),
        "status": what,
    }
    tell(connection, "alerts", webhook_id, f"alert.{what}", data, now)
