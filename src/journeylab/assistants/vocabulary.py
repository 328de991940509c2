"""The names of a log that may be said to an assistant: those that at least ten people have.

A name may itself be somebody's: an event that one person has, a value that nobody else has. Journeys may ask for the
names here, and errors list them and no others. So it makes no difference to anything an assistant hears whether a rarer
name is in the log or not.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pandas as pd

from journeylab.clock import microseconds
from journeylab.conditions import Score, texts_in, tree_of
from journeylab.disclosure.addresses import has_address
from journeylab.disclosure.thresholds import FEWEST
from journeylab.errors import DataError, Fault, known
from journeylab.expressions import walk
from journeylab.journey import Emit, Journey, Set
from journeylab.reads import Read, events_read, reads_of

from .quoting import quoted

if TYPE_CHECKING:
    from datetime import datetime

    from numpy.typing import NDArray

    from journeylab.eventlog import EventLog

__all__ = ["Vocabulary", "messages_of", "whole"]

_CONTRACT: Final = frozenset(
    {"sent", "delivered", "opened", "clicked", "bounced", "complained", "unsubscribed", "consent_given",
     "consent_withdrawn", "erased", "attribute_changed"}
)  # fmt: skip
_MOST_VALUES: Final = 30


@dataclass(frozen=True, eq=False, repr=False)
class Vocabulary:
    """The names of a log that at least ten people have.

    Args:
        log: the log.
    """

    log: EventLog
    _properties: dict[str, bool] = field(default_factory=dict)

    @cached_property
    def events(self) -> list[str]:
        """The kinds of events."""
        return [one for one in self.log.event_names if _may_be_said(one) and self._n_with(one) >= FEWEST]

    def who(self, since: datetime, until: datetime) -> pd.DataFrame:
        """Who has events of each kind within a time: `contact`, `event`, each once."""
        parts = []
        for event in self.events:
            stream = self.log.stream(event)
            is_then = (stream.at >= microseconds(since)) & (stream.at < microseconds(until))
            codes = np.unique(_owners(stream.offsets)[is_then])
            parts.append(pd.DataFrame({"contact": self.log.contact_ids.take(codes).to_pandas(), "event": event}))
        return pd.concat(parts, ignore_index=True)

    def _n_with(self, event: str) -> int:
        return int(np.count_nonzero(np.diff(self.log.stream(event).offsets)))

    @cached_property
    def attributes(self) -> list[str]:
        """The attributes of contacts."""
        return [one for one in self.log.attribute_names if _may_be_said(one) and self._n_known(one) >= FEWEST]

    def _n_known(self, name: str) -> int:
        try:
            one = self.log.attribute(name)
        except DataError:  # it has values of several kinds, and no journey can ask for it
            return 0
        has = ~np.isnan(one.base)
        has[_owners(one.offsets)[~np.isnan(one.value)]] = True
        return int(has.sum())

    def has_property(self, name: str) -> bool:
        """Whether events of at least ten people have a property."""
        if name not in self._properties:
            self._properties[name] = name in self.log.property_names and self._n_having(name) >= FEWEST
        return self._properties[name]

    def _n_having(self, name: str) -> int:
        try:
            values = self.log.property(name).values
        except DataError:
            return 0
        has = np.zeros(self.log.n_contacts, bool)
        for event in self.log.event_names:
            stream = self.log.stream(event)
            has[_owners(stream.offsets)[~np.isnan(values[stream.row])]] = True
        return int(has.sum())

    @cached_property
    def properties(self) -> list[str]:
        """The properties of events."""
        return [one for one in self.log.property_names if _may_be_said(one) and self.has_property(one)]

    @cached_property
    def messages(self) -> list[str]:
        """The messages that were sent."""
        return messages_of(self.log)

    @cached_property
    def purposes(self) -> list[str]:
        """The purposes for which consent was given."""
        return _values_of(self.log, "consent_given", "purpose")

    @cached_property
    def kinds(self) -> dict[str, dict[str, Any]]:
        """What the values of each attribute are: `kind`, and of texts the `values`, up to thirty of them."""
        found: dict[str, dict[str, Any]] = {}
        for name in self.attributes:
            one = self.log.attribute(name)
            found[name] = {"kind": one.kind}
            if one.categories is not None:
                n = np.bincount(one.base[~np.isnan(one.base)].astype(np.int64), minlength=len(one.categories))
                values = [one.categories[code] for code in np.flatnonzero(n >= FEWEST)]
                found[name]["values"] = sorted(filter(_may_be_said, values))[:_MOST_VALUES]
        return found

    def faults(self, journeys: Sequence[Journey]) -> list[Fault]:
        """Each name that journeys ask for, that they do not make themselves, and that is none of these."""
        made = [node for one in journeys for part in whole(one) for node in part.nodes.values()]
        emitted = [one.emitted for one in made if isinstance(one, Emit)]
        own_events = {one.event for one in emitted}
        own_properties = {name for one in emitted for name in one.properties}
        own_attributes = {name for one in made if isinstance(one, Set) for name in one.set}
        faults = []
        for journey in journeys:
            at = (journey.journey,) if len(journeys) > 1 else ()
            unknown = sorted(events_read(journey) - _CONTRACT - own_events - {*self.events})
            faults += [Fault(at, _unknown("event", "events", one, self.events)) for one in unknown]
            for one in reads_of(journey):
                is_attribute = one.event is None or one.or_attribute
                if one.name in own_attributes or (is_attribute and one.name in self.attributes):
                    continue
                if one.event is not None and (one.name in own_properties or self.has_property(one.name)):
                    continue
                if is_attribute and one.name == "timezone":  # which contacts may lack
                    continue
                faults.append(Fault((*at, *one.path), self._unknown_read(one)))
            for path, name in _scores(journey):
                faults.append(Fault((*at, *path), f"the score {quoted(name)!r} is of a model, and there are none here"))
        return list(dict.fromkeys(faults))

    def _unknown_read(self, one: Read) -> str:
        if one.event is None:
            return _unknown("attribute", "attributes", one.name, self.attributes)
        if one.or_attribute:
            both = {*self.properties, *self.attributes}
            return _unknown("property or attribute", "properties and attributes", one.name, both)
        return _unknown("property", "properties", one.name, self.properties)

    def assumed_consent(self, journeys: Sequence[Journey]) -> frozenset[str]:
        """The purposes of journeys for which fewer than ten people gave consent, so that it is assumed (rule 34)."""
        return frozenset(one.purpose for one in journeys) - {*self.purposes}

    def to_dict(self) -> dict[str, Any]:
        """The names as plain data."""
        return {
            "events": [*map(quoted, self.events)],
            "properties_of_events": [*map(quoted, self.properties)],
            "attributes": {
                quoted(name): {what: said if what == "kind" else [*map(quoted, said)] for what, said in one.items()}
                for name, one in self.kinds.items()
            },
            "messages": [*map(quoted, self.messages)],
            "purposes_with_consent": [*map(quoted, self.purposes)],
        }  # fmt: skip


def messages_of(log: EventLog) -> list[str]:
    """The messages that at least ten people of a log were sent, sorted."""
    return _values_of(log, "sent", "message")


def _unknown(what: str, plural: str, name: str, names: Collection[str]) -> str:
    near = known(quoted(name), map(quoted, names), plural)
    return f"{quoted(name)!r} is no {what} that at least {FEWEST} people have; {near}"


def _may_be_said(name: str) -> bool:
    return not has_address(name)


def _owners(offsets: NDArray[np.int64]) -> NDArray[np.int64]:
    """The contact of each place of a stream."""
    return np.repeat(np.arange(len(offsets) - 1), np.diff(offsets))


def _values_of(log: EventLog, event: str, name: str) -> list[str]:
    """The texts of a property that events of one kind of at least ten people have, sorted."""
    if event not in log.event_names or name not in log.property_names:
        return []
    column, stream = log.property(name), log.stream(event)
    if column.categories is None:
        return []
    codes = column.values[stream.row]
    is_there = ~np.isnan(codes)
    owners, codes = _owners(stream.offsets)[is_there], codes[is_there].astype(np.int64)
    pairs = np.unique(owners * len(column.categories) + codes)
    n = np.bincount(pairs % len(column.categories), minlength=len(column.categories))
    return sorted(one for code, one in enumerate(column.categories) if n[code] >= FEWEST and _may_be_said(one))


def whole(journey: Journey) -> Iterator[Journey]:
    """A journey, with the parts that it runs."""
    yield journey
    for part in journey.parts.values():
        yield from whole(part)


def _scores(journey: Journey) -> Iterator[tuple[tuple[str | int, ...], str]]:
    """The scores of models that conditions ask for, with their places."""
    for part in whole(journey):
        for text in texts_in(part):
            tree = tree_of(text)
            for one in () if tree is None else walk(tree):
                if isinstance(one, Score):
                    yield text.path, one.name
