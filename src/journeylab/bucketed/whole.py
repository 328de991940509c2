"""What is known of a log as a whole, seen in its parts: its kinds of events, its span, and consent."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from journeylab.attributes import as_texts
from journeylab.eventlog import WholeLog

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["WholeSeen"]

_CONSENT: Final = ("consent_given", "consent_withdrawn")


@dataclass
class WholeSeen:
    """What some rows of a log say of it.

    Attributes:
        n_by_event: how many events there are of each kind.
        span: the first and the last instant, microseconds since 1970-01-01T00:00Z; None without events.
        consent: the purposes of events about consent, None among them for those that name none.
    """

    n_by_event: Counter[str] = field(default_factory=Counter)
    span: tuple[int, int] | None = None
    consent: set[str | None] = field(default_factory=set)

    def add(self, rows: pa.Table) -> None:
        """Looks at good rows: `event` (texts), `occurred_at` (instants, or microseconds), and `purpose`, if any."""
        import pyarrow as pa
        import pyarrow.compute as pc

        if not len(rows):
            return
        self.n_by_event.update({one["values"]: one["counts"] for one in pc.value_counts(rows["event"]).to_pylist()})
        ends = pc.min_max(rows["occurred_at"].cast(pa.int64())).as_py()
        self._widen((ends["min"], ends["max"]))
        about = rows.filter(pc.is_in(rows["event"], pa.array(_CONSENT, rows["event"].type)))
        if len(about):
            named = "purpose" in rows.column_names
            self.consent |= {*as_texts(about["purpose"]).unique().to_pylist()} if named else {None}

    def plain(self) -> Any:
        """What the rows say, as JSON for `join`."""
        return [self.n_by_event, self.span, sorted(self.consent, key=str)]

    def join(self, plain: Any) -> None:
        """Takes in what other rows say."""
        n_by_event, span, consent = plain
        self.n_by_event.update(n_by_event)
        if span is not None:
            self._widen(span)
        self.consent.update(consent)

    def whole(self) -> WholeLog:
        """What a part has to know; there are events."""
        assert self.span is not None
        return WholeLog(self.span, frozenset(self.n_by_event), frozenset(self.consent))

    def _widen(self, span: tuple[int, int]) -> None:
        low, high = self.span or span
        self.span = min(low, span[0]), max(high, span[1])
