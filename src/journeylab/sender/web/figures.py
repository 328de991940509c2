"""What the dashboard and the metrics say of the sender, read from its store: counts and times, and nobody's name.

All of it is asked for by index. Counts of all messages and of a week's opens still take a second or so for half a
million of them: who shows figures keeps them for a while (`kept`).
"""

from __future__ import annotations

from collections import Counter, defaultdict
from datetime import datetime, timedelta
from typing import Any, Final, NamedTuple

from sqlalchemy import Connection, Row, func, select

from journeylab.sender.sending.freshness import catalogue_as_of
from journeylab.sender.settings import Settings
from journeylab.sender.store import tables as t

__all__ = [
    "LATENCY_WITHIN", "SEEN_WITHIN", "Deliveries", "Seen", "ambiguous_sends", "calls_by_service", "latencies",
    "oldest_ready", "outbox_by_target", "seen_by_journey", "sends_by_hour", "sends_by_state", "spoken_of",
    "workers_seen",
]  # fmt: skip

LATENCY_WITHIN: Final = timedelta(hours=1)
SEEN_WITHIN: Final = timedelta(days=7)
_MOST_LATENCIES: Final = 5_000


class Deliveries(NamedTuple):
    """What a target is still to be told: how many rows wait, of these failed before, are dead, and since when."""

    n_waiting: int
    n_failing: int
    n_dead: int
    oldest_at: datetime | None


class Seen(NamedTuple):
    """How many messages a journey sent, and how many of them people, and only machines, opened and clicked."""

    n_sent: int
    n_opened: int
    n_clicked: int
    n_opened_by_machines: int
    n_clicked_by_machines: int


def sends_by_state(connection: Connection) -> dict[tuple[str, str], int]:
    """The number of messages by journey and state."""
    found: dict[tuple[str, str], int] = {}
    for state in t.STATES:  # one by one, which an index answers alone
        of_state = select(t.sends.c.journey, func.count()).where(t.sends.c.state == state)
        found |= {(row[0], state): row[1] for row in connection.execute(of_state.group_by(t.sends.c.journey))}
    return found


def oldest_ready(connection: Connection, now: datetime) -> datetime | None:
    """Since when the message that has waited longest could have gone; None where none waits."""
    found = [
        connection.scalar(select(func.min(t.sends.c.not_before)).where(t.sends.c.state == state))
        for state in ("ready", "claimed")
    ]
    at_once = t.sends.c.state.in_(("ready", "claimed")) & t.sends.c.not_before.is_(None)
    found.append(connection.scalar(select(func.min(t.sends.c.planned_at)).where(at_once)))
    return min((at for at in found if at is not None and at <= now), default=None)


def latencies(connection: Connection, now: datetime) -> dict[str, list[timedelta]]:
    """By journey, how long the messages accepted in the last hour took from when they could go: the latest 5,000."""
    accepted = (
        select(t.sends.c.journey, t.sends.c.not_before, t.sends.c.planned_at, t.sends.c.settled_at)
        .where(t.sends.c.gated_at > now - LATENCY_WITHIN, t.state_beside == "accepted")
        .order_by(t.sends.c.gated_at.desc())
        .limit(_MOST_LATENCIES)
    )
    found: defaultdict[str, list[timedelta]] = defaultdict(list)
    for row in connection.execute(accepted):
        if row.settled_at is not None:
            took = row.settled_at - max(row.not_before or row.planned_at, row.planned_at)
            found[row.journey].append(max(took, timedelta(0)))
    return dict(found)


def sends_by_hour(connection: Connection, now: datetime, hours: int = 24) -> list[tuple[datetime, int]]:
    """The number of messages that passed the gate in each of the last hours, the present one last."""
    start = now.replace(minute=0, second=0, microsecond=0) - timedelta(hours=hours - 1)
    begin = [start + timedelta(hours=hour) for hour in range(hours)]
    counted = []
    for at in begin:
        within = (t.sends.c.gated_at >= at) & (t.sends.c.gated_at < at + timedelta(hours=1))
        counted.append((at, connection.scalar(select(func.count()).select_from(t.sends).where(within)) or 0))
    return counted


def ambiguous_sends(connection: Connection, most: int = 50) -> list[Row[Any]]:
    """The messages of which nobody knows whether they went, the oldest first, up to so many."""
    columns = ("message_key", "journey", "node", "relay", "gated_at")
    rows = select(*(t.sends.c[name] for name in columns)).where(t.sends.c.state == "ambiguous")
    return [*connection.execute(rows.order_by(t.sends.c.gated_at, t.sends.c.message_key).limit(most))]


def outbox_by_target(connection: Connection) -> dict[str, Deliveries]:
    """What each target is still to be told."""
    waiting = t.outbox.c.delivered_at.is_(None) & t.outbox.c.dead_at.is_(None)
    rows = select(
        t.outbox.c.target,
        func.count().filter(waiting),
        func.count().filter(waiting, t.outbox.c.attempts > 0),
        func.count().filter(t.outbox.c.dead_at.is_not(None)),
        func.min(t.outbox.c.created_at).filter(waiting),
    ).where(waiting | t.outbox.c.dead_at.is_not(None))
    grouped = connection.execute(rows.group_by(t.outbox.c.target).order_by(t.outbox.c.target))
    return {target: Deliveries(*rest) for target, *rest in grouped}


def spoken_of(connection: Connection, settings: Settings) -> dict[tuple[str, str], datetime]:
    """When the owner of what may be too old last spoke of it, by name and owner; left out where it never has.

    A stream that is pulled speaks of all its contacts, from when its last complete pull began; who pushes, of one.
    """
    found: dict[tuple[str, str], datetime | None] = {}
    s, p = t.said.c, t.pulls.c
    for name, one in settings.limited.items():
        stream = settings.stream_of(one)
        if stream is not None:
            asked = select(p.complete_at).where(p.connector == one.source, p.stream == stream)
        else:
            asked = select(func.max(s.said_at)).where(s.name == name, s.source == one.source)
        found[name, one.source] = connection.scalar(asked)
    if settings.catalogue is not None and settings.catalogue.max_age is not None:
        found["catalogue", settings.catalogue.source] = catalogue_as_of(connection, settings)
    return {key: at for key, at in found.items() if at is not None}


def calls_by_service(connection: Connection) -> dict[tuple[str, str], int]:
    """The number of outside calls by service and state."""
    rows = select(t.calls.c.service, t.calls.c.state, func.count()).group_by(t.calls.c.service, t.calls.c.state)
    return {(service, state): n for service, state, n in connection.execute(rows)}


def seen_by_journey(connection: Connection, now: datetime) -> dict[str, Seen]:
    """What became of the messages of the last 7 days, by journey; a message counts once, however often it is opened.

    A message that a person opened is one of `n_opened`; one that only machines did, such as scanners and the proxies
    that fetch all pictures, is one of `n_opened_by_machines` (see `mail.machines`). Clicks likewise.
    """
    since = now - SEEN_WITHIN
    sent = select(t.sends.c.journey, func.count()).where(t.sends.c.gated_at > since, t.state_beside == "accepted")
    n_sent = {row[0]: row[1] for row in connection.execute(sent.group_by(t.sends.c.journey))}
    identity = ("journey", "entry", "node", "visit")
    seen = (
        select(t.events.c.event, t.events.c.properties, *(t.sends.c[name] for name in ("message_key", *identity)))
        .join(t.sends, t.sends.c.contact == t.events.c.contact)
        .where(t.SEEN, t.events.c.received_at > since, t.sends.c.gated_at > since, t.state_beside == "accepted")
    )
    by: defaultdict[tuple[str, bool], dict[str, str]] = defaultdict(dict)
    for row in connection.execute(seen):
        if all(row.properties.get(name) == row._mapping[name] for name in identity):
            by[row.event, bool(row.properties.get("is_machine"))][row.message_key] = row.journey
    counts: dict[tuple[str, bool], Counter[str]] = {}
    for event in ("opened", "clicked"):
        people, machines = by[event, False], by[event, True]
        counts[event, False] = Counter(people.values())
        counts[event, True] = Counter(journey for key, journey in machines.items() if key not in people)
    return {
        journey: Seen(
            n,
            counts["opened", False][journey],
            counts["clicked", False][journey],
            counts["opened", True][journey],
            counts["clicked", True][journey],
        )
        for journey, n in sorted(n_sent.items())
    }


def workers_seen(connection: Connection, now: datetime) -> list[Row[Any]]:
    """The workers that have not stopped, and were seen in the last day: rows of `workers`."""
    running = t.workers.c.stopped_at.is_(None) & (t.workers.c.seen_at > now - timedelta(days=1))
    return [*connection.execute(select(t.workers).where(running).order_by(t.workers.c.worker))]
