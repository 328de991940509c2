"""Whose word counts: each attribute is true by one source, and may be no older than it says.

```yaml
attributes:
  plan: {source: crm, conflict: refuse, max_age: 24h, stale: hold}
```

A source is a connector by its name, a token by its own, `webhook` (signed), `inbox` (table and folder) or `import` (by
hand, and from Python). A token that has a connector's name speaks for it. What another than the owner says is left out
and counted (`refuse`), taken (`accept`), or taken where nothing is known (`fill`).

A value is as of the last instant at which it was said of this contact, that there is none included. Where that was its
owner, it is as of the begin of the owner's last pull that was complete, if that is later: a pull that is silent about a
contact says that nothing has changed. But a row of the owner that was refused says that something has, and nobody knows
what: until a row of that contact is taken, pulls say nothing of it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import Connection, delete, func, select, update

from journeylab.language import say
from journeylab.sender.dependences import stale_reason
from journeylab.sender.sending.alerts import raise_alert, resolve
from journeylab.sender.store import insert_missing
from journeylab.sender.store import tables as t
from journeylab.sender.store.bulk import Bulk, Given, among, insert_into

if TYPE_CHECKING:
    from journeylab.sender.settings import Settings

    from .intake import Incoming, Person

__all__ = ["CONFLICTS", "Owners", "as_of", "forget_outdated", "wake", "watch_conflicts"]

CONFLICTS: Final = "attributes/conflicts"
"""The alert's cause while others than owners speak of attributes."""
_NEVER: Final = datetime(1900, 1, 1, tzinfo=UTC)
_CHANGED: Final = "attribute_changed"


@dataclass(frozen=True)
class Owners:
    """Whose word counts, as one source speaks.

    Attributes:
        settings: the sender's.
        source: who speaks.
        as_of: the instant of which what is said is, where it was asked for; None where it comes by itself.
    """

    settings: Settings
    source: str
    as_of: datetime | None = None

    @classmethod
    def of(cls, settings: Settings, source: str, as_of: datetime | None = None) -> Owners | None:
        """Those of the settings; None where no attribute has an owner."""
        return cls(settings, source, as_of) if settings.attributes else None

    def _conflict(self, name: object) -> str | None:
        """What becomes of what the source says of an attribute; None where it may speak."""
        one = self.settings.attributes.get(name) if isinstance(name, str) else None
        return None if one is None or one.source == self.source else one.conflict

    # What is refused whoever the contact is, before anything is learnt of it: not even of which kind it is.

    def of_people(self, people: Sequence[Person]) -> tuple[list[Person], Counter[str]]:
        """Contacts with the attributes of which the source may speak, and how many values of each other are left."""
        kept, left = [], Counter[str]()
        for one in people:
            names = {*one.attributes, *one.cleared}
            refused = {name for name in names if self._conflict(name) == "refuse"}
            left.update(refused)
            kept.append(_without(one, refused) if refused else one)
        return kept, left

    def of_events(self, incoming: Iterable[tuple[int, Incoming]]) -> tuple[list[tuple[int, Incoming]], Counter[str]]:
        """Events, with their places, but for changes of attributes of which the source may not speak; their counts."""
        kept, left = [], Counter[str]()
        for place, one in incoming:
            name = one.properties.get("name") if one.event == _CHANGED else None
            if self._conflict(name) == "refuse":
                left[str(name)] += 1
            else:
                kept.append((place, one))
        return kept, left

    def fills(self, name: str, known: Mapping[str, Any], value: Any) -> bool:
        """Whether a value may be taken beside what is known of a contact."""
        return self._conflict(name) != "fill" or (known.get(name) is None and value is not None)

    def filled(self, connection: Connection, contacts: Collection[str]) -> set[tuple[str, str]]:
        """The gaps that others have filled: contacts with attributes. That their owner has no value opens none."""
        own = [
            name for name, one in self.settings.attributes.items()
            if one.conflict == "fill" and one.source == self.source
        ]  # fmt: skip
        if not own:
            return set()
        s = t.said.c
        others = (s.source != self.source) & s.name.in_(own)
        return {
            (contact, name)
            for contact, name in connection.execute(
                select(s.contact, s.name).where(others, among(connection, s.contact, [*contacts]))
            )
        }

    @property
    def filling(self) -> frozenset[str]:
        """The attributes of which the source may only fill gaps."""
        return frozenset(name for name in self.settings.attributes if self._conflict(name) == "fill")

    # What is noted

    def note_left(self, connection: Connection, left: Mapping[str, int], now: datetime) -> None:
        """Counts what was left out, by attribute and source, and raises one alert."""
        if not left:
            return
        c = t.conflicts.c
        made = insert_into(connection, t.conflicts)
        adding = {"n_values": c.n_values + made.excluded.n_values, "last_at": made.excluded.last_at}
        rows = [
            {"name": name, "source": self.source, "n_values": n, "last_at": now} for name, n in sorted(left.items())
        ]
        connection.execute(made.on_conflict_do_update(index_elements=["name", "source"], set_=adding), rows)
        said = say(
            "{source} speaks of attributes that are true by another source, and is not heard: {names}; have it leave "
            "them out, or say with `conflict:` in the settings that it may speak",
            source=self.source,
            names=", ".join(f"{name} ({self.settings.attributes[name].source})" for name in sorted(left)),
        )
        raise_alert(connection, CONFLICTS, "warning", said, now)

    def note_said(
        self,
        connection: Connection,
        said: Mapping[tuple[str, str], datetime],
        changed: Mapping[tuple[str, str], datetime],
        now: datetime,
    ) -> None:
        """Notes who has said what may be too old, and when what was known before was too old and wrong.

        Args:
            connection: a writing transaction that holds the contacts' rows, before what is said is stored.
            said: by contact and attribute, as of when it is said.
            changed: of those that are not as they were known, when that was received.
            now: the store's instant.
        """
        limits = self.settings.limited
        kept = {*limits, *(name for name, one in self.settings.attributes.items() if one.conflict == "fill")}
        rows = [(*key, self.source, at) for key, at in said.items() if key[1] in kept]
        if not rows:
            return
        wrong = {key: at for key, at in changed.items() if key[1] in limits}
        if wrong:
            known = as_of(connection, self.settings, {contact for contact, _ in wrong}, {name for _, name in wrong})
            spans = []
            for (contact, name), received_at in wrong.items():
                before, most = known[contact, name], limits[name].max_age
                assert most is not None, name  # it has a limit
                from_at = _NEVER if before is None else before + most
                if from_at < received_at:
                    spans.append({"contact": contact, "name": name, "from_at": from_at, "until_at": received_at})
            insert_missing(connection, t.outdated, spans, ["contact", "name", "from_at"])
        _SAYING.run(connection, rows)
        for name in sorted({name for _, name in said} & limits.keys()):
            contacts = [contact for contact, other in said if other == name]
            wake(connection, name, now, among(connection, t.sends.c.contact, contacts))


def wake(connection: Connection, name: str, now: datetime, condition: Any) -> None:
    """Lets messages be asked again that wait for an attribute, or for the catalogue."""
    s = t.sends.c
    waits = (s.state == "ready") & (s.reason == stale_reason(name)) & (s.not_before > now)
    connection.execute(update(t.sends).where(waits, condition).values(not_before=now))


def as_of(
    connection: Connection, settings: Settings, contacts: Collection[str], names: Collection[str]
) -> dict[tuple[str, str], datetime | None]:
    """Of which instant each of some attributes is, by contact and name; None where nobody has ever said it.

    Args:
        connection: any transaction.
        settings: the sender's, which have these attributes.
        contacts: whose.
        names: of the attributes.
    """
    s, p, q = t.said.c, t.pulls.c, t.pulled.c
    if not contacts or not names:
        return {}
    owner = {name: (settings.attributes[name].source, settings.stream_of(settings.attributes[name])) for name in names}
    known = {
        (one.contact, one.name): one
        for one in connection.execute(
            select(t.said).where(among(connection, s.contact, [*contacts]), s.name.in_([*names]))
        )
    }
    whole = {
        (one.connector, one.stream): one.complete_at
        for one in connection.execute(select(p.connector, p.stream, p.complete_at))
    }
    is_refused = (q.kind == "contact") & q.refused_because.is_not(None)
    refused = {
        (one.connector, one.stream, one.item)
        for one in connection.execute(
            select(q.connector, q.stream, q.item).where(is_refused, among(connection, q.item, [*contacts]))
        )
    }
    found: dict[tuple[str, str], datetime | None] = {}
    for contact in contacts:
        for name in names:
            one = known.get((contact, name))
            found[contact, name] = None if one is None else one.said_at
            if one is not None and one.source == owner[name][0] and (*owner[name], contact) not in refused:
                found[contact, name] = max(one.said_at, whole.get(owner[name]) or one.said_at)
    return found


def forget_outdated(connection: Connection, now: datetime) -> int:
    """How many rows of `outdated` went that ended before any entry of their contact began that still runs.

    Those of contacts for whom something is due stay: an entry may begin in the past that is still to be decided.
    """
    o, e, c = t.outdated.c, t.entries.c, t.contacts.c
    runs = select(e.contact).where(e.contact == o.contact, e.left_at.is_(None), e.entered_at <= o.until_at)
    is_due = select(c.contact).where(c.contact == o.contact, c.next_at <= now)
    return connection.execute(delete(t.outdated).where(~runs.exists(), ~is_due.exists())).rowcount


def watch_conflicts(connection: Connection, now: datetime) -> None:
    """Resolves the alert once no other than an owner has spoken of an attribute for a day."""
    last_at = connection.scalar(select(func.max(t.conflicts.c.last_at)))
    if last_at is None or now - last_at >= _OVER_AFTER:
        resolve(connection, CONFLICTS, now)


_OVER_AFTER: Final = timedelta(days=1)


def _without(one: Person, names: Collection[str]) -> Person:
    kept = {name: value for name, value in one.attributes.items() if name not in names}
    return replace(one, attributes=kept, cleared=tuple(name for name in one.cleared if name not in names))


_SAID: Final = ("contact", "name", "source", "said_at")


def _saying(given: Given) -> Any:
    made = given.into(t.said, *_SAID)
    latest = {name: made.excluded[name] for name in ("source", "said_at")}
    return made.on_conflict_do_update(index_elements=["contact", "name"], set_=latest)


_SAYING: Final = Bulk(_saying, *_SAID)
