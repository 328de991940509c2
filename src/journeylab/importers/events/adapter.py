"""What is known of a system's exports: its tables, what their columns are here, and how it writes instants.

An `Adapter` is data, from which rows are read and the tables of docs/importing-events.md are written. Only where a
row is no flat table (JSON that is nested) it has a function that unfolds one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Final, Literal, TypeAlias

from .unfolding import unfolding

__all__ = ["MARKETING", "Adapter", "Clock", "Event", "Names", "Table", "Unfold", "opted_out"]

MARKETING: Final = "marketing"
Unfold: TypeAlias = Callable[[Any], Iterable[Mapping[str, Any]]]
"""Makes flat rows of one JSON value: a line, or a document."""
Values: TypeAlias = tuple[str, ...]
_OF_MESSAGES: Final = ("sent", "delivered", "opened", "clicked", "bounced", "complained", "unsubscribed")


@dataclass(frozen=True)
class Clock:
    """How instants are written.

    Attributes:
        form: `text` for ISO 8601 and M/D/YYYY h:mm:ss AM/PM, timestamps of databases among it; `s`, `ms` or `us` for
            numbers since 1970-01-01T00:00Z.
        zone: of texts that do not say theirs; None where the format does not fix it.
        told: what the documentation says of it, for people.
    """

    form: Literal["text", "s", "ms", "us"]
    zone: str | None
    told: str


@dataclass(frozen=True)
class Event:
    """An event that a row is.

    Attributes:
        name: what it is here; empty where a column names it (`Table.named_by`).
        at: the column of its instant.
        when: columns and the values (as texts, in any case) of which each must have one; none: any row. `""` is a
            missing value, and `4*` whatever begins with 4.
        unless: columns and the values of which none may be there.
        said: properties that follow from what it is.
        is_consent: whether it is about consent, and has the `purpose` that the import is told.
        of_message: whether it tells of the row's message; by default, what messages leave does.
    """

    name: str
    at: str
    when: Mapping[str, Values] = field(default_factory=dict)
    unless: Mapping[str, Values] = field(default_factory=dict)
    said: Mapping[str, str] = field(default_factory=dict)
    is_consent: bool = False
    of_message: bool | None = None

    @property
    def has_message(self) -> bool:
        """Whether it tells of the row's message."""
        return self.name in _OF_MESSAGES if self.of_message is None else self.of_message


def opted_out(at: str, when: Mapping[str, Values] | None = None, of_message: bool | None = None) -> tuple[Event, Event]:
    """The two events of an opt-out: that it was made, and what it means for consent."""
    return (
        Event("unsubscribed", at, when or {}, of_message=of_message),
        Event("consent_withdrawn", at, when or {}, is_consent=True),
    )


@dataclass(frozen=True)
class Table:
    """A table of an export.

    Attributes:
        name: what the system calls it.
        needs: columns that it has, by which it is recognised.
        lacks: columns that it has not, by which another table is.
        contact: columns of the contact's id, the first that has a value.
        key: columns that tell a row from all others of the table.
        events: what its rows are; those that are none of them are faults, unless `passed_over` or `named_by`.
        words: words in the names of files that tell it from tables with the same columns.
        aliases: other names under which columns are found, to the ones used here.
        skipped: why nothing of it is taken; empty where something is.
        clock: how its instants are written; by default the adapter's.
        named_by: the column that names the event of rows that are none of `events`.
        passed_over: the values, of the column `sorted_by`, of rows that are left out, and why; `users.*` is all that
            begin so and are nothing else.
        sorted_by: that column.
        message: columns of the message, the first that has a value.
        received_at: the column of the instant at which the system received it.
        since: columns of the instants by which new rows are asked of a database; by default those of the events.
        properties: their names to ours; several of theirs may be one of ours, which is the first that has a value.
        inside: beginnings of names that say nothing, such as `properties.`; columns not named here lose them.
        flags: our names that are true or false.
        numbers: our names that are numbers.
        left_out: columns that are not taken, and why; `context.*` is all that begin so.
        anonymous: why rows without a contact are left out; empty where such a row is a fault.
        is_contacts: whether its rows are contacts, with properties for attributes.
        has_traits: whether its further columns are attributes that were set then: each is an event of its own.
        modified_at: of contacts, the column of the instant as of which the row is.
        names: whether its rows name messages.
        differs: what is only approximately what it is here, for people.
    """

    name: str
    needs: tuple[str, ...]
    lacks: tuple[str, ...] = ()
    contact: tuple[str, ...] = ()
    key: tuple[str, ...] = ()
    events: tuple[Event, ...] = ()
    words: tuple[str, ...] = ()
    aliases: Mapping[str, str] = field(default_factory=dict)
    skipped: str = ""
    clock: Clock | None = None
    named_by: str = ""
    passed_over: Mapping[str, str] = field(default_factory=dict)
    sorted_by: str = ""
    message: tuple[str, ...] = ()
    received_at: str = ""
    since: tuple[str, ...] = ()
    properties: Mapping[str, str] = field(default_factory=dict)
    inside: tuple[str, ...] = ()
    flags: frozenset[str] = frozenset({"is_machine"})
    numbers: frozenset[str] = frozenset()
    left_out: Mapping[str, str] = field(default_factory=dict)
    anonymous: str = ""
    is_contacts: bool = False
    has_traits: bool = False
    modified_at: str = ""
    names: Names | None = None
    differs: str = ""

    @cached_property
    def known_columns(self) -> tuple[str, ...]:
        """All columns that the map speaks of, each once, in the order of the map."""
        tests = [column for event in self.events for column in (event.at, *event.when, *event.unless)]
        asked = (
            *self.needs, *self.contact, *self.key, *tests, self.named_by, self.sorted_by, *self.message,
            self.received_at, *self.since, *self.properties, *self.left_out, self.modified_at,
            *((self.names.key, self.names.name) if self.names else ()),
        )  # fmt: skip
        return tuple(dict.fromkeys(column for column in asked if column))

    @property
    def cursors(self) -> tuple[str, ...]:
        """The columns of instants by which new rows are asked of a database."""
        at = self.since or tuple(event.at for event in self.events) or (self.modified_at,)
        return tuple(dict.fromkeys(column for column in at if column))


@dataclass(frozen=True)
class Names:
    """That rows of a table name messages which others call by an id.

    Attributes:
        key: the column of the id.
        name: the column of the name.
    """

    key: str
    name: str


@dataclass(frozen=True)
class Adapter:
    """What is known of the exports of a system.

    Attributes:
        name: by which it is asked for.
        title: for people.
        documented: titles of the public pages that it follows.
        clock: how its instants are written.
        tables: in the order in which they are tried.
        unfold: makes flat rows of JSON; where its answers have lists of rows, it knows a row from an answer.
        overlap: how far back a database is asked again, in days: as long as rows may come late.
        steps: how to get an export, and import it, for people.
        limits: what to know of it, for people.
    """

    name: str
    title: str
    documented: Sequence[str]
    clock: Clock
    tables: tuple[Table, ...]
    unfold: Unfold = field(default_factory=unfolding)
    overlap: int = 3
    steps: str = ""
    limits: Sequence[str] = ()

    def clock_of(self, table: Table) -> Clock:
        """How the instants of a table are written."""
        return table.clock or self.clock
