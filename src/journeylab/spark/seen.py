"""What a partition of a log says of the whole: its kinds of events, its span, and what its texts are."""

from __future__ import annotations

import pickle
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from journeylab.attributes import as_texts
from journeylab.bucketed.kinds import ColumnsSeen, changes_in, plain
from journeylab.columnvalues import TextsSeen
from journeylab.errors import DataError
from journeylab.instants import instants
from journeylab.rejects import Rejects

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["SEEN", "Seen", "looking", "read_seen"]

SEEN: Final = "seen binary"
"""The columns of what `looking` gives."""
_CONSENT: Final = ("consent_given", "consent_withdrawn")


@dataclass
class Seen:
    """What some rows of events or contacts say.

    Attributes:
        texts: what the columns of texts are.
        n_by_event: how many events there are of each kind.
        span: the first and the last instant; None without events.
        consent: the purposes of events about consent, None among them for those about all.
        changes: what the texts of each attribute's changes are.
        problem: why the rows cannot be read.
    """

    texts: ColumnsSeen
    n_by_event: Counter[str] = field(default_factory=Counter)
    span: tuple[int, int] | None = None
    consent: set[str | None] = field(default_factory=set)
    changes: dict[str, TextsSeen] = field(default_factory=dict)
    problem: str | None = None

    def add_events(self, part: pa.Table, source: str, zone: str | None) -> None:
        """Looks at events; what is bad in them is named by whoever replays them.

        Raises:
            DataError: when their instants cannot be understood.
        """
        import pyarrow as pa
        import pyarrow.compute as pc

        at = instants(part["occurred_at"], "occurred_at", zone, Rejects(source))
        rows = part.set_column(part.column_names.index("occurred_at"), "occurred_at", at)
        rows = rows.filter(pc.and_(rows["occurred_at"].is_valid(), rows["event"].is_valid()))
        if not len(rows):
            return
        self.n_by_event.update({one["values"]: one["counts"] for one in pc.value_counts(rows["event"]).to_pylist()})
        ends = pc.min_max(rows["occurred_at"]).as_py()
        self._widen((ends["min"], ends["max"]))
        about = rows.filter(pc.is_in(rows["event"], pa.array(_CONSENT, rows["event"].type)))
        if len(about):
            purposes = as_texts(about["purpose"]).unique().to_pylist() if "purpose" in rows.column_names else [None]
            self.consent |= {*purposes}
        for name, texts in changes_in(rows, None):
            self.changes.setdefault(name, TextsSeen()).add(texts.unique())

    def _widen(self, span: tuple[int, int]) -> None:
        low, high = self.span or span
        self.span = min(low, span[0]), max(high, span[1])

    def join(self, others: Seen) -> None:
        """Takes in what other rows say."""
        self.texts.join(others.texts)
        self.n_by_event.update(others.n_by_event)
        if others.span is not None:
            self._widen(others.span)
        self.consent |= others.consent
        for name, texts in others.changes.items():
            self.changes.setdefault(name, TextsSeen()).join(texts)
        self.problem = self.problem or others.problem


def looking(
    texts: Sequence[str], zone: str | None, source: str, *, at_events: bool
) -> Callable[[Iterable[pa.RecordBatch]], Iterator[pa.RecordBatch]]:
    """What looks at the batches of a partition, and gives what it saw as one row."""

    def look(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        import pyarrow as pa

        seen = Seen(ColumnsSeen(texts, zone))
        try:
            for batch in batches:
                part = pa.table({name: plain(pa.chunked_array([batch[name]])) for name in batch.schema.names})
                seen.texts.add(part)
                if at_events:
                    seen.add_events(part, source, zone)
        except DataError as problem:
            seen.problem = str(problem)
        yield pa.record_batch({"seen": pa.array([pickle.dumps(seen)], pa.binary())})

    return look


def read_seen(rows: Iterable[Any], texts: Sequence[str], zone: str | None) -> Seen:
    """What all partitions saw together.

    Raises:
        DataError: when the rows of one cannot be read.
    """
    whole = Seen(ColumnsSeen(texts, zone))
    for row in rows:
        whole.join(pickle.loads(bytes(row[0])))
    if whole.problem is not None:
        raise DataError(whole.problem)
    return whole
