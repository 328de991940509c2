"""What each purpose may use of contacts, as the settings declare it, and what comes in beyond that.

```yaml
purposes:
  marketing:
    title: {en: News and offers}
    attributes: [plan, country]
    properties: {purchase: [amount, product]}
```

Where one purpose declares what it uses, all that are used must. A journey whose purpose does not declare what it reads
is refused, and of what comes in only what some purpose declares is kept. What the log's contract names needs no
declaration (`message`, `purpose`, `is_machine` and their like), nor do the attributes `timezone` and `language`, by
which the sender itself chooses hours and words.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final, TypeVar

from sqlalchemy import Connection, select

from journeylab.sender.live.intake import Incoming, Person, contract_properties, plain_properties
from journeylab.sender.live.kinds import is_name
from journeylab.sender.store import tables as t
from journeylab.sender.store.bulk import insert_into

if TYPE_CHECKING:
    from journeylab.reads import Read
    from journeylab.sender.settings import Settings

__all__ = ["OF_THE_SENDER", "OTHERS", "Declarations", "named"]

OF_THE_SENDER: Final = ("language", "timezone")
"""The attributes that the sender itself reads."""
OTHERS: Final = "(others)"
"""What stands for names in `left_out` beyond the first hundred, and for what is no name."""
_CHANGED: Final = "attribute_changed"
_MOST: Final = 100
_T = TypeVar("_T", Incoming, Person)


@dataclass(frozen=True)
class Declarations:
    """What purposes declare.

    Attributes:
        attributes: by purpose, the attributes that it may use.
        properties: by purpose and event, the properties.
    """

    attributes: Mapping[str, frozenset[str]]
    properties: Mapping[str, Mapping[str, frozenset[str]]]

    @classmethod
    def of(cls, settings: Settings) -> Declarations | None:
        """Those of the settings; None where no purpose declares anything, and everything is kept."""
        found = {name: one for name, one in settings.purposes.items() if one.declares}
        if not found:
            return None
        properties = {
            name: {event: frozenset(names) for event, names in (one.properties or {}).items()}
            for name, one in found.items()
        }
        return cls({name: frozenset(one.attributes or ()) for name, one in found.items()}, properties)

    def allows(self, purpose: str, read: Read) -> bool:
        """Whether a purpose may read something."""
        is_attribute = read.event is None or read.or_attribute
        if is_attribute and read.name in (*OF_THE_SENDER, *self.attributes.get(purpose, ())):
            return True
        if read.event is None:
            return False
        declared = self.properties.get(purpose, {}).get(read.event, frozenset())
        return read.name in declared | contract_properties(read.event)

    def declaring(self, read: Read) -> list[str]:
        """The purposes that may read something, sorted."""
        return sorted(purpose for purpose in self.attributes if self.allows(purpose, read))

    @cached_property
    def kept(self) -> frozenset[str]:
        """The attributes that are kept: those that any purpose declares, and those that the sender itself reads."""
        return frozenset(OF_THE_SENDER).union(*self.attributes.values())

    def kept_of(self, event: str) -> frozenset[str]:
        """The properties of an event that are kept."""
        declared = (of.get(event, frozenset()) for of in self.properties.values())
        return contract_properties(event).union(*declared)

    @cached_property
    def kept_anywhere(self) -> frozenset[str]:
        """The properties that are kept of any event."""
        declared = (names for of in self.properties.values() for names in of.values())
        return frozenset(("name", "value", *plain_properties())).union(*declared)

    # What comes in

    def of_events(self, incoming: Sequence[Incoming]) -> tuple[list[tuple[int, Incoming]], Counter[str]]:
        """Events with what is kept of them and their places, and how many values of each name are left out.

        A change of an attribute that is not kept is left out as a whole; of other events something is always kept:
        that they happened, and when. A property is named `event.property`, an attribute by its name.
        """
        kept: list[tuple[int, Incoming]] = []
        left: Counter[str] = Counter()
        kept_of = {event: self.kept_of(event) for event in {one.event for one in incoming}}
        for place, one in enumerate(incoming):
            changed = one.properties.get("name") if one.event == _CHANGED else None
            if isinstance(changed, str) and changed not in self.kept:
                left[named(changed)] += 1
                continue
            more = one.properties.keys() - kept_of[one.event]
            left.update(named(one.event, name) for name in more)
            kept.append((place, _without(one, "properties", more)))
        return kept, left

    def of_people(self, people: Sequence[Person]) -> tuple[list[Person], Counter[str]]:
        """Contacts with the attributes that are kept, and how many values of each other attribute are left out."""
        more = [one.attributes.keys() - self.kept for one in people]
        left = Counter(named(name) for names in more for name in names)
        return [_without(one, "attributes", names) for one, names in zip(people, more, strict=True)], left

    def note(self, connection: Connection, left: Mapping[str, int], now: datetime) -> None:
        """Adds to the counts of what was left out, in the transaction in which the rest is kept.

        Only a hundred names are noted, so that nobody who sends makes the table grow; the rest is noted as `(others)`.
        """
        if not left:
            return
        c = t.left_out.c
        known = {*connection.scalars(select(c.name))}
        room = _MOST - len(known)
        counts: Counter[str] = Counter()
        for name in sorted(left):
            is_new = name not in known and name != OTHERS
            counts[OTHERS if is_new and room <= 0 else name] += left[name]
            room -= is_new
        made = insert_into(connection, t.left_out)
        adding = {"n_values": c.n_values + made.excluded.n_values, "last_at": made.excluded.last_at}
        rows = [{"name": name, "n_values": n, "last_at": now} for name, n in sorted(counts.items())]
        connection.execute(made.on_conflict_do_update(index_elements=["name"], set_=adding), rows)


def _without(one: _T, field: str, names: Collection[str]) -> _T:
    """An event or a contact without some of its values."""
    if not names:
        return one
    kept = {name: value for name, value in getattr(one, field).items() if name not in names}
    return replace(one, **{field: kept})  # type: ignore[arg-type]


def named(*names: Any) -> str:
    """What the values of an attribute, or of an event and its property, are counted under."""
    return ".".join(names) if all(map(is_name, names)) else OTHERS
