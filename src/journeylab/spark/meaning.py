"""What the columns of a log in Spark mean in every bucket: with it, a bucket's tables are an event log."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from journeylab.bucketed.kinds import Written, attribute_kinds, with_kinds
from journeylab.columnvalues import is_text_type, marked_texts
from journeylab.errors import DataError
from journeylab.eventlog import EventLog, WholeLog
from journeylab.logreading import FIXED
from journeylab.rejects import Rejects
from journeylab.tablesource import of_table

if TYPE_CHECKING:
    import pyarrow as pa

    from .seen import Seen

__all__ = ["BUCKET", "CONTACTS", "EVENTS", "Meaning", "texts_of"]

EVENTS: Final = "the events DataFrame"
CONTACTS: Final = "the contacts DataFrame"
"""What messages call them."""
BUCKET: Final = "(bucket)"
"""The column that says which bucket a row is in."""


def texts_of(schema: pa.Schema, what: str) -> list[str]:
    """The properties, or the attributes, whose values are texts."""
    return [name for name in _beside_fixed(schema, what) if is_text_type(schema.field(name).type)]


@dataclass(frozen=True)
class Meaning:
    """What the tables of a bucket mean in the whole: all that an executor knows of a log.

    Attributes:
        properties: how each property of events is read.
        attributes: how each attribute of contacts is read.
        kinds: contacts without rows that say what attributes are, also those known from changes only.
        whole: what a part knows of the whole.
        zone: that of times that do not say theirs.
    """

    properties: list[Written]
    attributes: list[Written]
    kinds: pa.Table
    whole: WholeLog
    zone: str | None

    @classmethod
    def of(cls, schemas: tuple[pa.Schema, pa.Schema], events: Seen, contacts: Seen, zone: str | None) -> Meaning:
        """The meaning of tables with these columns, of which so much was seen.

        Raises:
            DataError: when there are no events.
        """
        if events.whole.span is None:
            raise DataError(f"{EVENTS}: there are no events that say what they are and when")
        properties = _written(schemas[0], EVENTS, events, ("name", "value") if events.changes else ())
        attributes = _written(schemas[1], CONTACTS, contacts)
        types = dict(zip(schemas[1].names, schemas[1].types, strict=True))
        kinds = attribute_kinds(attributes, types, events.changes)
        return cls(properties, attributes, kinds, events.whole.whole(), zone)

    def log(self, events: pa.Table, contacts: pa.Table) -> EventLog:
        """The events and contacts of a bucket as a part of the log; columns that they do not have are left out.

        Raises:
            DataError: when rows are bad.
        """
        people = with_kinds(self._as_meant(contacts, self.attributes), self.kinds)
        return EventLog.part_in(
            of_table(EVENTS, self._as_meant(events, self.properties), Rejects(EVENTS)),
            of_table(CONTACTS, people, Rejects(CONTACTS)),
            self.whole, timezone=self.zone,
        )  # fmt: skip

    def _as_meant(self, table: pa.Table, columns: Iterable[Written]) -> pa.Table:
        """A table whose columns are what they are in the whole; their texts were looked at, so that none is bad."""
        import pyarrow as pa

        mine = [one for one in columns if one.name in table.column_names]
        read = {one.name: one.column(table[one.name], self.zone, Rejects("a bucket")) for one in mine}
        made = pa.table({name: read.get(name, table[name]) for name in table.column_names if name != BUCKET})
        return marked_texts(made, [one.name for one in mine if one.is_marked])


def _written(schema: pa.Schema, what: str, seen: Seen, as_texts: Collection[str] = ()) -> list[Written]:
    """How each property, or each attribute, is read."""
    found = {one.name: one for one in seen.texts.written(tuple(as_texts))}
    return [found.get(name, Written(name, None)) for name in _beside_fixed(schema, what)]


def _beside_fixed(schema: pa.Schema, what: str) -> list[str]:
    return [name for name in schema.names if name not in (FIXED if what == EVENTS else ("contact",))]
