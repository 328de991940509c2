"""Statistics that others are told on schedule: what became of messages in the period that is over, and of alerts.

| `data` has | is |
|---|---|
| `from_at`, `until_at` | the period: from the end of the last that was told to the latest whole multiple of `every` |
| `fewest` | the least number of people of whom a count is told; of fewer it is None |
| `journeys` | by journey: `n_entries`; messages by their end (`n_accepted`, `n_rejected`, `n_failed`, `n_suppressed`, \
`n_cancelled`, `n_expired`); `n_bounced` for good and `n_complained`; `bounce_rate` and `complaint_rate` |
| `n_journeys_left_out` | how many more there were, with fewer messages |
| `alerts` | `n_opened`, `n_resolved`, `n_open` at its end |

Rates are of the accepted messages of the period; a bounce can be of a message of an earlier one. The dashboard and
`/metrics` show exact counts to whoever has their secret; what is told leaves for others, so the least number of the
release gate (`disclosure.thresholds`) holds here, and there are no sums from which the rest could be worked out. It is
not the gate itself: there is no ledger.
"""

from __future__ import annotations

from collections import defaultdict
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from sqlalchemy import Connection, func, select

from journeylab.disclosure.thresholds import FEWEST
from journeylab.sender.settings import Settings
from journeylab.sender.store import Store
from journeylab.sender.store import tables as t
from journeylab.sender.store.bulk import insert_into

from .notices import tell
from .states import FINAL

__all__ = ["counted", "tell_statistics"]

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MOST_JOURNEYS: Final = 40
_RETURNED: Final = {"bounced": "n_bounced", "complained": "n_complained"}


def tell_statistics(store: Store, settings: Settings, now: datetime) -> bool:
    """Whether the statistics of a period were put down for those who are told; each period's are, once.

    Args:
        store: the sender's database.
        settings: say how often, and to whom.
        now: the store's instant.
    """
    wanted = settings.statistics
    if wanted is None:
        return False
    until = period_end(now, wanted.every)
    with store.reading() as connection:
        last = connection.scalar(select(func.max(t.statistics.c.until_at)))
        if last is not None and last >= until:
            return False
        since = until - wanted.every if last is None else last
        data = counted(connection, since, until)
    with store.writing() as connection:
        row = {"until_at": until, "from_at": since, "told_at": now}
        made = insert_into(connection, t.statistics).values(row).on_conflict_do_nothing(index_elements=["until_at"])
        if connection.execute(made.returning(t.statistics.c.until_at)).one_or_none() is None:
            return False  # another process was first
        for target in settings.told_statistics():
            tell(connection, target, f"statistics_{until:%Y%m%dT%H%M%S%f}", "statistics", data, now)
    return True


def period_end(now: datetime, every: timedelta) -> datetime:
    """The end of the latest period that is over; periods are counted from 1970-01-01 UTC.

    >>> period_end(datetime(2026, 3, 2, 9, tzinfo=UTC), timedelta(days=1)).isoformat()
    '2026-03-02T00:00:00+00:00'
    """
    return _EPOCH + (now - _EPOCH) // every * every


def counted(connection: Connection, since: datetime, until: datetime) -> dict[str, Any]:
    """The statistics from an instant until another; see the module's table."""
    counts: defaultdict[str, dict[str, int | None]] = defaultdict(dict)
    s, e, v = t.sends.c, t.entries.c, t.events.c
    ended = select(s.journey, s.state, func.count(), func.count(s.contact.distinct())).where(
        s.settled_at >= since, s.settled_at < until, s.state.in_(FINAL)
    )
    n_by_journey: defaultdict[str, int] = defaultdict(int)
    for journey, state, n, n_people in connection.execute(ended.group_by(s.journey, s.state)):
        counts[journey][f"n_{state}"] = _told(n, n_people)
        n_by_journey[journey] += n
    entered = select(e.journey, func.count(), func.count(e.contact.distinct())).where(
        e.entered_at >= since, e.entered_at < until, e.held_out.is_(False)
    )
    for journey, n, n_people in connection.execute(entered.group_by(e.journey)):
        counts[journey]["n_entries"] = _told(n, n_people)
    back: defaultdict[tuple[str, str], list[str]] = defaultdict(list)
    came = select(v.event, v.contact, v.properties).where(t.RETURNED, v.received_at >= since, v.received_at < until)
    for event, contact, properties in connection.execute(came):
        if properties.get("bounce_type") != "soft" and "journey" in properties:
            back[properties["journey"], _RETURNED[event]].append(contact)
    for (journey, name), contacts in back.items():
        counts[journey][name] = _told(len(contacts), len({*contacts}))
    shown = sorted(counts, key=lambda journey: (-n_by_journey[journey], journey))[:_MOST_JOURNEYS]
    return {
        "from_at": since.isoformat(),
        "until_at": until.isoformat(),
        "fewest": FEWEST,
        "journeys": {journey: _whole(counts[journey]) for journey in sorted(shown)},
        "n_journeys_left_out": len(counts) - len(shown),
        "alerts": _alerts(connection, since, until),
    }


def _told(n: int, n_people: int) -> int | None:
    return n if n_people >= FEWEST else None


def _whole(counts: dict[str, int | None]) -> dict[str, float | int | None]:
    """All counts of a journey in their order, and its rates; what there is nothing of is of few people, too."""
    names = ("n_entries", *(f"n_{state}" for state in FINAL), *_RETURNED.values())
    accepted = counts.get("n_accepted")
    whole: dict[str, float | int | None] = {name: counts.get(name) for name in names}
    for name, rate in (("n_bounced", "bounce_rate"), ("n_complained", "complaint_rate")):
        n = counts.get(name)
        whole[rate] = None if accepted is None or n is None else n / accepted
    return whole


def _alerts(connection: Connection, since: datetime, until: datetime) -> dict[str, int]:
    a = t.alerts.c
    still = a.resolved_at.is_(None) | (a.resolved_at >= until)
    wanted = {
        "n_opened": (a.started_at >= since) & (a.started_at < until),
        "n_resolved": (a.resolved_at >= since) & (a.resolved_at < until),
        "n_open": (a.started_at < until) & still,
    }
    return {
        name: connection.scalar(select(func.count()).select_from(t.alerts).where(which)) or 0
        for name, which in wanted.items()
    }
