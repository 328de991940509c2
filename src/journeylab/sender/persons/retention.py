"""Retention: what nobody needs any more goes by itself, each kind after the time that the settings give it.

| what | after | by default | what is left |
|---|---|---|---|
| a person of whom nothing was heard and to whom nothing was sent | `inactive` | never: say how long | a stand-in |
| what is left of erased persons, under their stand-ins | `stand_ins` | 1095 days | tallies |
| loads of pictures and followed links, which are events since | `hits` | 30 days | tallies |
| what outside systems were told | `told` | 30 days | |
| files that were taken from the inbox | `files` | 7 days | |

The bytes of messages and rows of the table `inbox` go after seven days in any case. A person who goes is erased
(`erasure`). Whoever is inside of a journey is not inactive.

Nothing goes on which anything depends that is still to be decided:

- Of living contacts only hits go, which are events since. The machine works out a contact's whole past each time, so
  that entries, messages and events of living contacts are needed for re-entry, caps and exits, however old they are.
- Of a stand-in nothing is ever decided: it is due never, and no event reaches it. Its visits and messages are held
  against the forecast of their release, though, so they stay as long as that takes entries.
- The log begins when the first contact came, and dates and schedules make entries from then on alone (rule 11). So the
  earliest row of `contacts` stays, be it a stand-in's.
- `erasures` stays: it tells a restored database from one that knows of an erasure.

Rows that are tallied go by closed periods, so that a count is of all its people at once: hits by the day on which they
were settled, stand-ins by the month of their erasure. The tallies are added in the transaction in which the rows go.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from sqlalchemy import Connection, and_, delete, false, func, or_, select, update

from journeylab.sender.live.drops import taken_files
from journeylab.sender.promotion.standing import running as running_releases
from journeylab.sender.store import Store, act
from journeylab.sender.store import tables as t
from journeylab.sender.store.bulk import among

from .erasure import erase
from .tallies import BY_DAY, BY_YEAR, Cell, add, tallied

if TYPE_CHECKING:
    from journeylab.sender.live.running import Running
    from journeylab.sender.settings import Settings

__all__ = ["Retained", "retain"]

_BY: Final = "retention"
_DAY: Final = timedelta(days=1)
_ROWS: Final = 5000
_STAND_INS: Final = 1000
"""How many stand-ins go at once; up to twice as many, so that no small rest has to be left out."""
_LEFT: Final = (t.visits, t.entries, t.sends, t.calls, t.consents)


class Retained(NamedTuple):
    """How many persons were erased, and how many hits, told things and files were deleted, and how many stand-ins."""

    n_erased: int
    n_hits: int
    n_told: int
    n_files: int
    n_stand_ins: int = 0


def retain(
    store: Store,
    settings: Settings,
    running: Callable[[Connection], Running],
    now: datetime,
    *,
    most: int = 100,
) -> Retained:
    """What went, as its time was over; see the module's text. Each transaction that deleted is in the audit log.

    Args:
        store: the sender's database, opened with its keys.
        settings: the sender's, whose `retention` says how long.
        running: gives what runs.
        now: the store's instant.
        most: how many persons are erased at once.
    """
    kept = settings.retention
    n_hits = _hits(store, _midnight(now - kept.hits), now)
    n_told = _told(store, now - kept.told, now)
    with store.reading() as connection:
        inactive = [] if kept.inactive is None else _inactive(connection, now - kept.inactive, most)
    for contact in inactive:
        erase(store, settings, running, contact, reason="inactive", actor=_BY)
    n_files = 0
    for path in taken_files(settings):
        if path.stat().st_mtime < (now - kept.files).timestamp():
            path.unlink(missing_ok=True)
            n_files += 1
    if n_files:
        with store.writing() as connection:
            act(connection, now, _BY, "retained", "files", n_deleted=n_files)
    return Retained(len(inactive), n_hits, n_told, n_files, _stand_ins(store, _month(now - kept.stand_ins), now))


def _midnight(at: datetime) -> datetime:
    return at.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)


def _month(at: datetime) -> datetime:
    return _midnight(at).replace(day=1)


def _day(at: datetime) -> str:
    return at.date().isoformat()


def _inactive(connection: Connection, since: datetime, most: int) -> list[str]:
    c, n = t.contacts.c, t.entries.c
    is_inside = select(n.contact).where(n.contact == c.contact, n.left_at.is_(None)).exists()
    found = (
        select(c.contact)
        .where(c.last_at < since, c.next_at.is_(None), c.sealed_key.is_not(None), ~is_inside)
        .order_by(c.last_at)
        .limit(most)
    )
    return [*connection.scalars(found)]


def _told(store: Store, since: datetime, now: datetime) -> int:
    total, o = 0, t.outbox.c
    old = select(o.outbox_id).where(o.delivered_at < since).limit(_ROWS)
    while True:
        with store.writing() as connection:
            n = connection.execute(delete(t.outbox).where(o.outbox_id.in_(old.scalar_subquery()))).rowcount
            if n:
                act(connection, now, _BY, "retained", "outbox", n_deleted=n)
        total += n
        if n < _ROWS:
            return total


# Hits


def _hits(store: Store, until: datetime, now: datetime) -> int:
    """How many hits went that were settled before a day: those of one journey on one day at once."""
    h, total = t.hits.c, 0
    while True:
        with store.writing() as connection:
            first = connection.execute(
                select(h.settled_at, t.sends.c.journey)
                .join(t.sends, t.sends.c.message_key == h.message_key)
                .where(h.settled_at < until)
                .order_by(h.settled_at)
                .limit(1)
            ).one_or_none()
            if first is None:
                return total
            begin = _midnight(first.settled_at)
            rows = connection.execute(
                select(
                    h.hit_id, h.kind, h.link, t.sends.c.contact, t.sends.c.journey, t.sends.c.node, t.sends.c.message,
                    t.releases.c.version,
                )
                .join(t.sends, t.sends.c.message_key == h.message_key)
                .outerjoin(t.releases, t.releases.c.release_id == t.sends.c.release_id)
                .where(h.settled_at >= begin, h.settled_at < begin + _DAY, t.sends.c.journey == first.journey)
            ).all()  # fmt: skip
            day = _day(begin)
            cells = [
                (
                    row.contact,
                    Cell(f"{row.kind}s", day, row.journey, row.version or "", row.node, row.message, row.link or ""),
                )
                for row in rows
            ]
            add(connection, tallied(cells, BY_DAY))
            for some in _parts([row.hit_id for row in rows]):
                connection.execute(delete(t.hits).where(among(connection, h.hit_id, some)))
            act(connection, now, _BY, "retained", "hits", journey=first.journey, day=day, n_deleted=len(rows))
        total += len(rows)


def _parts(values: Sequence[Any]) -> Iterator[Sequence[Any]]:
    return (values[start : start + _ROWS] for start in range(0, len(values), _ROWS))


# Stand-ins


def _stand_ins(store: Store, until: datetime, now: datetime) -> int:
    """How many stand-ins of persons who were erased before a month went."""
    total = 0
    while True:
        with store.writing() as connection:
            due = _due(connection, until)
            if not due:
                return total
            stand_ins = due if len(due) < 2 * _STAND_INS else due[:_STAND_INS]
            add(connection, tallied(_cells(connection, stand_ins), BY_YEAR))
            n = {one.name: _deleted(connection, one, stand_ins) for one in _LEFT}
            c = t.contacts.c
            gone = delete(t.contacts).where(among(connection, c.contact, stand_ins), c.created_at > _log_start())
            connection.execute(gone)
            mine = update(t.erasures).where(among(connection, t.erasures.c.stand_in, stand_ins))
            connection.execute(mine.values(tallied_at=now))
            act(connection, now, _BY, "retained", "stand_ins", n_deleted=n, n_stand_ins=len(stand_ins))
        total += len(stand_ins)


def _log_start() -> Any:
    """When the first contact came, with whom the log begins."""
    return select(func.min(t.contacts.c.created_at)).scalar_subquery()


def _deleted(connection: Connection, table: Any, stand_ins: Sequence[str]) -> int:
    return connection.execute(delete(table).where(among(connection, table.c.contact, stand_ins))).rowcount


def _due(connection: Connection, until: datetime) -> list[str]:
    """The stand-ins that may go, in the order of their erasure."""
    e, n = t.erasures.c, t.entries.c
    watched = {(one.journey, one.version) for one in running_releases(connection) if one.has_forecast}
    of_watched = or_(
        false(), *(and_(n.journey == journey, n.version == version) for journey, version in sorted(watched))
    )
    found = select(e.stand_in).where(
        e.erased_at < until, e.finished_at < until, e.contact.is_(None), e.tallied_at.is_(None),
        ~select(n.contact).where(n.contact == e.stand_in, of_watched).exists(),
    )  # fmt: skip
    return [*connection.scalars(found.order_by(e.erased_at, e.stand_in).limit(2 * _STAND_INS))]


def _cells(connection: Connection, stand_ins: Sequence[str]) -> Iterator[tuple[str, Cell]]:
    """What the rows of stand-ins count for."""

    def rows(table: Any, *, of_release: bool = False) -> Sequence[Any]:
        asked = select(table, t.releases.c.version).outerjoin(t.releases) if of_release else select(table)
        return connection.execute(asked.where(among(connection, table.c.contact, stand_ins))).all()

    for row in rows(t.entries):
        what = "held_out_entries" if row.held_out else "entries"
        yield row.contact, Cell(what, _day(row.entered_at), row.journey, row.version, outcome=row.exit or "")
    for row in rows(t.visits):
        yield (
            row.contact,
            Cell("visits", _day(row.arrived_at), row.journey, row.version, row.node, outcome=row.branch or ""),
        )
    for row in rows(t.sends, of_release=True):
        day = _day(row.gated_at or row.settled_at or row.planned_at)
        yield row.contact, Cell("sends", day, row.journey, row.version or "", row.node, row.message, row.state)
    for row in rows(t.calls, of_release=True):
        day = _day(row.settled_at or row.planned_at)
        yield row.contact, Cell("calls", day, row.journey, row.version or "", row.node, row.service, row.state)
    for row in rows(t.consents):
        yield row.contact, Cell("consents", _day(row.at), name=row.purpose or "", outcome=f"{row.what} {row.route}")
