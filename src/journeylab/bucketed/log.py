"""A log in buckets on disk: what is known of the whole, and each bucket as an event log."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from journeylab.clock import instant
from journeylab.display import block, counted, table
from journeylab.errors import DataError
from journeylab.eventlog import EventLog, WholeLog
from journeylab.execution import n_processors
from journeylab.interning import intern
from journeylab.keyedhash import unit_hashes
from journeylab.rejects import no_rejects

from .budget import PROCESS, budget_of, needed, said

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["CONTACTS", "EVENTS", "FORMAT", "META", "REJECTS", "BucketedLog", "bucket_file"]

FORMAT: Final = 1

META: Final = "log.json"
EVENTS: Final = "events"
CONTACTS: Final = "contacts"
REJECTS: Final = "rejects.parquet"


def bucket_file(folder: Path, k: int) -> Path:
    """The file of a bucket."""
    return folder / f"bucket-{k:04}.parquet"


class BucketedLog:
    """An event log on disk in buckets of contacts; each is an event log with the span and meaning of the whole.

    Made by `bucket_log`; contacts belong to buckets by a hash of their ids, as in `EventLog.partition`. `replay`,
    `simulate`, `backtest`, audiences and experiments take it in place of an `EventLog`, with equal results.

    Attributes:
        folder: where it is.
        memory: how many bytes work on it may take, all processes together.
        n_buckets: how many buckets there are.
        n_by_event: how many events there are of each kind.
        start_us, end_us: the first and the last event's instant, microseconds since 1970-01-01T00:00Z.
    """

    def __init__(self, folder: Path, meta: dict[str, Any], memory: int) -> None:
        self.folder, self.memory = folder, memory
        self.n_buckets: int = meta["n_buckets"]
        self.n_by_event: dict[str, int] = meta["n_by_event"]
        self.start_us, self.end_us = meta["span"]
        self._meta = meta

    @classmethod
    def open(cls, folder: str | Path, *, memory: str | int | None = None) -> BucketedLog:
        """The log in a folder.

        Args:
            folder: where `bucket_log` has put it.
            memory: how much work on it may take, such as "4GiB"; by default half of the machine's memory.

        Raises:
            DataError: when there is none, or `memory` is no size.
        """
        folder, budget = Path(folder), budget_of(memory)
        try:
            meta = json.loads((folder / META).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            raise DataError(f"{folder}: there is no log in buckets here; bucket_log makes one") from None
        if meta.get("format") != FORMAT:
            raise DataError(f"{folder}: this log in buckets was written by another version; write it anew")
        return cls(folder, meta, budget)

    @staticmethod
    def is_in(folder: str | Path) -> bool:
        """Whether a folder has a log in buckets."""
        return (Path(folder) / META).is_file()

    @property
    def identity(self) -> list[Any]:
        """What is equal only for the same log as it is now, as JSON."""
        files = [bucket_file(self.folder / EVENTS, k).stat() for k in range(self.n_buckets)]
        return [str(self.folder.resolve()), self._meta, [[one.st_size, one.st_mtime_ns] for one in files]]

    def n_processes(self) -> int:
        """How many processes may work on buckets at once: one to a processor, as many as the budget holds.

        Raises:
            DataError: when it does not hold one.
        """
        bucket = needed(max(self._meta["n_events"]), len(self._meta["properties"]))
        if bucket > self.memory:
            raise DataError(
                f"{self.folder}: its largest bucket has {max(self._meta['n_events']):,} events and needs about "
                f"{said(bucket)}, more than the budget of {said(self.memory)}; give more memory, or write the log in "
                f"more buckets than {self.n_buckets}"
            )
        # With more than one, this process waits beside them.
        return max(1, min(n_processors(), (self.memory - PROCESS) // bucket))

    @property
    def whole(self) -> WholeLog:
        """What each bucket knows of the whole."""
        span = self.start_us, self.end_us
        return WholeLog(span, frozenset(self.n_by_event), frozenset(self._meta["consent"]))

    @property
    def n_events(self) -> int:
        """How many events there are."""
        return sum(self.n_by_event.values())

    @property
    def n_contacts(self) -> int:
        """How many contacts there are, those without events included."""
        return sum(self._meta["n_contacts"])

    @property
    def event_names(self) -> list[str]:
        """The kinds of events, sorted."""
        return list(self.n_by_event)

    @property
    def known_events(self) -> list[str]:
        """The kinds of events, sorted; as an event log has them."""
        return self.event_names

    @property
    def start_at(self) -> datetime:
        """The instant of the first event."""
        return instant(self.start_us)

    @property
    def end_at(self) -> datetime:
        """The instant of the last event."""
        return instant(self.end_us)

    @property
    def rejects(self) -> pa.Table:
        """Arrow table of what was set aside: source, row, column, value, reason."""
        import pyarrow.parquet as pq

        path = self.folder / REJECTS
        return pq.read_table(path) if path.exists() else no_rejects()

    def bucket(self, k: int) -> EventLog:
        """One bucket, read now.

        Raises:
            ValueError: when there is no such bucket.
        """
        if not 0 <= k < self.n_buckets:
            raise ValueError(f"bucket {k} of {self.n_buckets} does not exist; buckets count from 0")
        return EventLog.part_in(
            bucket_file(self.folder / EVENTS, k), bucket_file(self.folder / CONTACTS, k),
            self.whole, timezone=self._meta["timezone"],
        )  # fmt: skip

    def nobody(self) -> EventLog:
        """The log of no contact: what events, properties and attributes there are, and the span."""
        import pyarrow.parquet as pq

        events, people = (pq.read_schema(bucket_file(self.folder / one, 0)) for one in (EVENTS, CONTACTS))
        return EventLog.part_in(events.empty_table(), people.empty_table(), self.whole, timezone=self._meta["timezone"])

    def buckets(self) -> Iterator[EventLog]:
        """Each bucket in turn; whoever keeps none of them needs the memory of one."""
        return map(self.bucket, range(self.n_buckets))

    def of(self, contacts: Any) -> EventLog:
        """The log of some contacts in memory, with the span of the whole.

        Args:
            contacts: their ids, in any order, as the log has them.

        Raises:
            DataError: when the log does not have one of them, or the budget of memory does not hold them.
        """
        import pyarrow as pa
        import pyarrow.compute as pc

        wanted = pc.unique(pa.array(contacts))

        def keep(ids: pa.ChunkedArray) -> pa.ChunkedArray:
            try:
                return pc.is_in(ids, wanted.cast(ids.type))
            except pa.ArrowInvalid as problem:
                raise DataError(f"{self.folder}: the contacts are not like those of the log ({problem})") from None

        log = self._in_memory(keep)
        if log.n_contacts < len(wanted):
            strange = wanted.filter(pc.invert(pc.is_in(wanted.cast(log.contact_ids.type), log.contact_ids)))
            raise DataError(
                f"{self.folder}: {counted(len(strange), 'contact')} are not in the log, the first of them "
                f"{strange[0].as_py()!r}"
            )
        return log

    def sample(self, share: float) -> EventLog:
        """The log of a share of the contacts in memory, whom their unit hashes choose, whatever the buckets.

        >>> import tempfile
        >>> from journeylab.bucketed import bucket_log
        >>> rows = [{"contact": n, "event": "visit", "occurred_at": "2026-03-01T00:00:00Z"} for n in range(50)]
        >>> with tempfile.TemporaryDirectory() as here:
        ...     bucket_log(rows, f"{here}/log").sample(0.1)
        EventLog(7 events of 7 contacts, 1 kind, 2026-03-01 to 2026-03-01)

        Raises:
            DataError: when the share lies outside 0..1, chooses nobody, or the budget of memory does not hold it.
        """
        import pyarrow as pa

        if not 0 < share <= 1:
            raise DataError(f"a share of contacts lies in 0..1, got {share}")

        def keep(ids: pa.ChunkedArray) -> pa.Array:
            codes, distinct = intern(ids)
            return pa.array(((unit_hashes(distinct) >> np.uint64(11)) * 2.0**-53 < share)[codes])

        return self._in_memory(keep)

    def share_in_memory(self) -> float:
        """The share of contacts that fits into half of the budget of memory, for what looks at many at once; at most 1.

        It is 1, a half, a quarter and so on, so that little changes with the budget.
        """
        share = 1.0
        while needed(int(self.n_events * share), len(self._meta["properties"])) * 2 > self.memory:
            share /= 2
        return share

    def largest_sample(self) -> EventLog:
        """The log of as many contacts as `share_in_memory` says: what models are fitted to."""
        return self.sample(self.share_in_memory())

    def _in_memory(self, keep: Callable[[pa.ChunkedArray], Any]) -> EventLog:
        """The log of the contacts that `keep` picks from a column of ids, read bucket by bucket."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        events, people, n = list[pa.Table](), list[pa.Table](), 0
        for k in range(self.n_buckets):
            for folder, into in ((EVENTS, events), (CONTACTS, people)):
                table = pq.read_table(bucket_file(self.folder / folder, k))
                into.append(table.filter(keep(table["contact"])))
            n += len(events[-1])
            need = needed(n, len(self._meta["properties"]))
            if need > self.memory:
                raise DataError(
                    f"{self.folder}: {n:,} events of the contacts asked for need {said(need)}, more than the budget of "
                    f"{said(self.memory)}; ask for fewer contacts, or give more memory"
                )
        if not n:
            raise DataError(f"{self.folder}: the contacts asked for have no events")
        return EventLog.part_in(
            pa.concat_tables(events), pa.concat_tables(people),
            self.whole, timezone=self._meta["timezone"],
        )  # fmt: skip

    def __repr__(self) -> str:
        return (
            f"BucketedLog({counted(self.n_events, 'event')} of {counted(self.n_contacts, 'contact')} in "
            f"{counted(self.n_buckets, 'bucket')}, {counted(len(self.n_by_event), 'kind')}, "
            f"{self.start_at:%Y-%m-%d} to {self.end_at:%Y-%m-%d})"
        )

    def _repr_html_(self) -> str:
        return block(repr(self), table(("event", "events"), [(name, f"{n:,}") for name, n in self.n_by_event.items()]))
