"""What a partition of a log says of the whole: its kinds of events, its span, and what its texts are."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from journeylab.bucketed.kinds import ColumnsSeen, changes_in, plain
from journeylab.bucketed.whole import WholeSeen
from journeylab.columnvalues import TextsSeen
from journeylab.errors import DataError
from journeylab.instants import instants
from journeylab.rejects import Rejects

from .meaning import EVENTS

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["SEEN", "Seen", "looking", "read_seen"]

SEEN: Final = "seen string"
"""The columns of what `looking` gives."""


@dataclass
class Seen:
    """What some rows of events or contacts say.

    Attributes:
        texts: what the columns of texts are.
        whole: which kinds of events there are, from when to when, and for which purposes there is consent.
        changes: what the texts of each attribute's changes are.
        problem: why the rows cannot be read.
    """

    texts: ColumnsSeen
    whole: WholeSeen = field(default_factory=WholeSeen)
    changes: dict[str, TextsSeen] = field(default_factory=dict)
    problem: str | None = None

    def add_events(self, part: pa.Table, zone: str | None) -> None:
        """Looks at events; what is bad in them is named by whoever replays them.

        Raises:
            DataError: when their instants cannot be understood.
        """
        import pyarrow.compute as pc

        at = instants(part["occurred_at"], "occurred_at", zone, Rejects(EVENTS))
        rows = part.set_column(part.column_names.index("occurred_at"), "occurred_at", at)
        rows = rows.filter(pc.and_(rows["occurred_at"].is_valid(), rows["event"].is_valid()))
        self.whole.add(rows)
        for name, texts in changes_in(rows, None):
            self.changes.setdefault(name, TextsSeen()).add(texts.unique())

    def plain(self) -> Any:
        """What the rows say, as JSON for `join`."""
        changes = {name: texts.plain() for name, texts in self.changes.items()}
        return [self.texts.plain(), self.whole.plain(), changes, self.problem]

    def join(self, plain: Any) -> None:
        """Takes in what other rows say."""
        texts, whole, changes, problem = plain
        self.texts.join(texts)
        self.whole.join(whole)
        for name, seen in changes.items():
            self.changes.setdefault(name, TextsSeen()).join(seen)
        self.problem = self.problem or problem


def looking(
    texts: Sequence[str], zone: str | None, source: str
) -> Callable[[Iterable[pa.RecordBatch]], Iterator[pa.RecordBatch]]:
    """What looks at the batches of a partition of `EVENTS` or `CONTACTS`, and gives what it saw as one row."""

    def look(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        import pyarrow as pa

        seen = Seen(ColumnsSeen(texts, zone))
        try:
            for batch in batches:
                part = pa.table({name: plain(pa.chunked_array([batch[name]])) for name in batch.schema.names})
                seen.texts.add(part)
                if source == EVENTS:
                    seen.add_events(part, zone)
        except DataError as problem:
            seen.problem = str(problem)
        yield pa.record_batch({"seen": [json.dumps(seen.plain())]})

    return look


def read_seen(rows: Iterable[Any], texts: Sequence[str], zone: str | None) -> Seen:
    """What all partitions saw together.

    Raises:
        DataError: when the rows of one cannot be read.
    """
    whole = Seen(ColumnsSeen(texts, zone))
    for row in rows:
        whole.join(json.loads(row[0]))
    if whole.problem is not None:
        raise DataError(whole.problem)
    return whole
