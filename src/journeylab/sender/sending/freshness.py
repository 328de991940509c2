"""How old what a message depends on is, as the gate asks: nothing is sent on what is older than the settings say.

A message depends on attributes and on the catalogue (`dependences`). Three things speak against it:

- What it depends on is too old now. It waits for what is newer, or is skipped, as the settings say for the attribute.
- A condition on its way was decided when what it read was too old, and as turned out, wrong (`outdated`). Nothing
  mends that: the message is skipped.
- Its bytes were made of what is known to be otherwise since. They are made anew.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from sqlalchemy import Connection, bindparam, func, select

from journeylab.language import say
from journeylab.sender.dependences import CATALOGUE, Dependences, stale_reason
from journeylab.sender.live.ownership import as_of
from journeylab.sender.mail.messages import Messages
from journeylab.sender.promotion.frozen import journey_of
from journeylab.sender.sending.alerts import raise_alert, resolve
from journeylab.sender.settings import Settings
from journeylab.sender.store import tables as t
from journeylab.sender.store.bulk import held
from journeylab.sender.store.lookup import Lookup

__all__ = [
    "NOTHING", "Freshness", "catalogue_as_of", "changes_of", "freshness", "may_be_too_old", "raise_age",
    "watch_ages",
]  # fmt: skip


@dataclass(frozen=True)
class Freshness:
    """How old what a message depends on is.

    Attributes:
        as_of: of which instant each attribute is that it depends on, and the catalogue; None where nobody has said it.
        most: how old each may be.
        skips: those for whose sake it is skipped at once.
        decided_wrongly: an attribute by which something was decided on its way that was too old and wrong.
        is_anew: whether its bytes were made of what is known to be otherwise since.
    """

    as_of: Mapping[str, datetime | None] = field(default_factory=dict)
    most: Mapping[str, timedelta] = field(default_factory=dict)
    skips: frozenset[str] = frozenset()
    decided_wrongly: str | None = None
    is_anew: bool = False

    def too_old(self, at: datetime) -> list[str]:
        """What is too old at an instant: first what the message is skipped for, then by name."""
        old = [name for name, of in self.as_of.items() if of is None or at - of > self.most[name]]
        return sorted(old, key=lambda name: (name not in self.skips, name))


NOTHING: Final = Freshness()
"""Of a message that depends on nothing that may be too old."""


def may_be_too_old(settings: Settings) -> bool:
    """Whether the settings set a limit on the age of anything."""
    return bool(settings.limited) or (settings.catalogue is not None and settings.catalogue.max_age is not None)


def freshness(connection: Connection, rows: Sequence[Any], settings: Settings) -> dict[str, Freshness]:
    """How old what messages depend on is, by their keys; those that depend on nothing are left out.

    Args:
        connection: a transaction that holds the contacts' rows.
        rows: of `sends`, with `message_key`, `contact`, `journey`, `entry`, `message`, `release_id`, and of renderings
            `n_changes` and `catalogue_at`.
        settings: the sender's settings.
    """
    limits, catalogue = settings.limited, settings.catalogue
    most = None if catalogue is None else catalogue.max_age
    asked = [row for row in rows if row.release_id is not None]
    if not asked or not may_be_too_old(settings):
        return {}
    of = _dependences(connection, {row.release_id for row in asked})
    visits = _visits(connection, asked) if limits else {}
    needs: dict[str, tuple[Any, frozenset[str], frozenset[str]]] = {}
    for row in asked:
        mine, been = of[row.release_id], visits.get((row.contact, row.journey, row.entry), [])
        shown = mine.messages.get(row.message, frozenset()) & limits.keys()
        read = mine.on_the_way([one.node for one in been]) & limits.keys()
        if shown or read or (most is not None and row.message in mine.recommending):
            needs[row.message_key] = row, shown, read
    contacts = sorted({row.contact for row, *_ in needs.values()})
    names = {name for _, shown, read in needs.values() for name in (*shown, *read)}
    known = as_of(connection, settings, contacts, names)
    spans = _outdated(connection, contacts) if names else {}
    changes = changes_of(connection, contacts)
    shelf = catalogue_as_of(connection, settings) if most is not None else None
    found = {}
    for key, (row, shown, read) in needs.items():
        mine, been = of[row.release_id], visits.get((row.contact, row.journey, row.entry), [])
        ages = {name: known[row.contact, name] for name in sorted(shown | read)}
        longest = {name: limits[name].max_age or timedelta.max for name in ages}
        skips = {name for name in ages if limits[name].stale == "skip"}
        is_anew = bool(shown) and row.n_changes != changes.get(row.contact, 0)
        if most is not None and catalogue is not None and row.message in mine.recommending:
            ages[CATALOGUE], longest[CATALOGUE] = shelf, most
            skips |= {CATALOGUE} if catalogue.stale == "skip" else set()
            is_anew |= row.catalogue_at != shelf
        wrong = _decided_wrongly(mine, been, spans.get(row.contact, []), read)
        found[key] = Freshness(ages, longest, frozenset(skips), wrong, is_anew)
    return found


def _decided_wrongly(of: Dependences, been: Sequence[Any], spans: Sequence[Any], read: frozenset[str]) -> str | None:
    """An attribute by which something was decided while it was too old and wrong, if any."""
    if not spans or not been:
        return None
    entered = min(one.arrived_at for one in been)
    for span in spans:
        if span.name not in read:
            continue
        if span.name in of.throughout and entered < span.until_at:
            return str(span.name)
        if span.name in of.beginning and span.from_at <= entered < span.until_at:
            return str(span.name)
        for one in been:
            is_within = one.arrived_at < span.until_at and (one.left_at is None or one.left_at >= span.from_at)
            if span.name in of.nodes.get(one.node, ()) and is_within:
                return str(span.name)
    return None


_KNOWN: Final[dict[str, Dependences]] = {}
_MOST_KNOWN: Final = 1000


def _dependences(connection: Connection, releases: set[int]) -> dict[int, Dependences]:
    """What the messages of releases depend on; a release's hash tells of what it is made."""
    r = t.releases.c
    hashes = {
        row.release_id: row.hash
        for row in connection.execute(select(r.release_id, r.hash).where(r.release_id.in_(releases)))
    }
    missing = [release for release, one in hashes.items() if one not in _KNOWN]
    if missing:
        if len(_KNOWN) > _MOST_KNOWN:
            _KNOWN.clear()
        asked = select(r.hash, r.definition, r.messages).where(r.release_id.in_(missing))
        for row in connection.execute(asked):
            _KNOWN[row.hash] = Dependences.of(journey_of(row.definition), Messages.from_dict(row.messages))
    return {release: _KNOWN[one] for release, one in hashes.items()}


def _visits(connection: Connection, rows: Sequence[Any]) -> dict[tuple[str, str, int], list[Any]]:
    """The visits of the entries that messages are of."""
    wanted = {(row.contact, row.journey, row.entry) for row in rows}
    found: dict[tuple[str, str, int], list[Any]] = defaultdict(list)
    for one in _VISITS.rows(connection, sorted({contact for contact, *_ in wanted})):
        if (key := (one.contact, one.journey, one.entry)) in wanted:
            found[key].append(one)
    return found


def _outdated(connection: Connection, contacts: Sequence[str]) -> dict[str, list[Any]]:
    found: dict[str, list[Any]] = defaultdict(list)
    for one in _OUTDATED.rows(connection, contacts):
        found[one.contact].append(one)
    return found


def changes_of(connection: Connection, contacts: Sequence[str], until: datetime | None = None) -> dict[str, int]:
    """How many changes of attributes were received of contacts, or up to an instant; without any they are left out."""
    last = datetime.max.replace(tzinfo=UTC) if until is None else until
    return {one.contact: one.n for one in _CHANGES.rows(connection, contacts, until=held(connection, last))}


def catalogue_as_of(connection: Connection, settings: Settings) -> datetime | None:
    """Of which instant the catalogue is: when its last complete pull began; None where there was none."""
    if settings.catalogue is None:
        return None
    p, of = t.pulls.c, (settings.catalogue.source, settings.stream_of(settings.catalogue))
    at: datetime | None = connection.scalar(select(p.complete_at).where(p.connector == of[0], p.stream == of[1]))
    return at


def raise_age(connection: Connection, name: str, now: datetime) -> None:
    """Raises the alert that messages wait or are skipped as an attribute, or the catalogue, is too old."""
    said = say(
        "messages wait or are skipped, as what they depend on is older than the settings allow, or was when they were "
        "decided on: {name}; see `journeylab connectors list` for why nothing newer comes",
        name=name,
    )
    raise_alert(connection, _cause(name), "warning", said, now)


def watch_ages(connection: Connection, settings: Settings, now: datetime) -> None:
    """Resolves the alerts of what no message has waited for, or was skipped for, for ten minutes."""
    a, s = t.alerts.c, t.sends.c
    for name in (*settings.limited, CATALOGUE):
        is_open = (a.cause == _cause(name)) & a.resolved_at.is_(None)
        seen_at = connection.scalar(select(a.seen_at).where(is_open))
        if seen_at is None or now - seen_at < _OVER_AFTER:
            continue
        waits = select(s.message_key).where(s.state == "ready", s.reason == stale_reason(name)).limit(1)
        if connection.scalar(waits) is None:
            resolve(connection, _cause(name), now)


def _cause(name: str) -> str:
    return f"attributes/{name}/age"


_OVER_AFTER: Final = timedelta(minutes=10)
_VISITS: Final = Lookup(
    lambda among: select(
        *(t.visits.c[name] for name in ("contact", "journey", "entry", "node", "arrived_at", "left_at"))
    ).where(among(t.visits.c.contact))
)
_OUTDATED: Final = Lookup(
    lambda among: (
        select(*(t.outdated.c[name] for name in ("contact", "name", "from_at", "until_at")))
        .where(among(t.outdated.c.contact))
        .order_by(t.outdated.c.name, t.outdated.c.from_at)
    )
)
_CHANGES: Final = Lookup(
    lambda among: (
        select(t.events.c.contact, func.count().label("n"))
        .where(
            among(t.events.c.contact),
            t.events.c.event == "attribute_changed",
            t.events.c.received_at <= bindparam("until", None),
        )
        .group_by(t.events.c.contact)
    )
)
