"""Send times ready for use: for every contact a score of each hour of the week, which `at: best` asks for.

Whatever model they come from, this is all that a replay, a simulation and the sender need of it: a file of its own that
is read without any library of machine learning, and a version that is the hash of what it says.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from functools import cached_property
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import pandas as pd

from .errors import DataError, known
from .jsontext import data_of
from .resulttables import Tables
from .tablesource import Table, as_frame

if TYPE_CHECKING:
    import pyarrow as pa
    from numpy.typing import NDArray

__all__ = ["LEVELS", "WEEK", "SendTimes"]

WEEK = 168
"""Hours of a week; hour 0 is Monday 00:00 local."""
LEVELS = ("person", "segment", "everyone", "fallback")
"""Where an advice comes from: the contact's own habit, their segment's, everyone's, or no model at all."""
_META = b"journeylab.send_times"
_FORMAT = 1


@dataclass(frozen=True, eq=False, repr=False)
class SendTimes(Tables):
    """Scores of the 168 local hours of the week, by contact.

    Attributes:
        contacts: an Arrow array of the contacts that are known, each once.
        profile: int32 by contact, the row of `scores` that holds for it.
        scores: float32 (profile, 168): the higher the better; hour 0 is Monday 00:00 local; NaN for an hour that is
            never chosen.
        fallback: the row of `scores` for contacts that are not known; -1 without one.
        level: int8 by contact, the place in `LEVELS` of where the advice comes from.
        gain: float32 (contact, 3): by how much more likely a send at the contact's best hour is answered than one at
            the hour that is best for everyone, and the ends of its interval; NaN where nothing can be said.
        about: what they come from, as plain data for JSON: `model`, `until`, `outcome`, `is_causal`, and more.

    Raises:
        DataError: when the arrays do not fit each other, or a contact is there twice.

    >>> times = SendTimes.of_hours(pd.DataFrame({"contact": ["ada", "jan"], "hour_of_week": [9, 42]}))
    >>> times
    SendTimes(hours that were given: 2 contacts, 2 profiles, version 69d84c282d27)
    >>> times.table()[["contact", "hour_of_week", "level"]]
      contact  hour_of_week    level
    0     ada             9  fallback
    1     jan            42  fallback
    """

    _table_names: ClassVar = ("table",)

    contacts: pa.Array
    profile: NDArray[np.int32]
    scores: NDArray[np.float32]
    fallback: int
    level: NDArray[np.int8]
    gain: NDArray[np.float32]
    about: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        n = len(self.contacts)
        shapes = {
            "profile": (self.profile.shape, (n,)), "level": (self.level.shape, (n,)),
            "gain": (self.gain.shape, (n, 3)), "scores": (self.scores.shape, (len(self.scores), WEEK)),
        }  # fmt: skip
        for name, (shape, wanted) in shapes.items():
            if shape != wanted:
                raise DataError(f"send times: {name} has the shape {shape}, not {wanted}")
        rows = np.append(self.profile, self.fallback)
        if len(rows) and (rows.min() < -1 or rows.max() >= len(self.scores)):
            raise DataError(f"send times: a profile is a row of scores, 0 to {len(self.scores) - 1}")
        if self.contacts.null_count or len(self.contacts.unique()) != n:
            raise DataError("send times: every contact is there once, and none is missing")

    def __repr__(self) -> str:
        counts = f"{len(self.contacts):,} contacts, {len(self.scores):,} profiles"
        return f"SendTimes({self.about.get('model', 'scores')}: {counts}, version {self.version})"

    def _repr_html_(self) -> str:
        from .sendtimepage import shown

        return shown(self)

    @classmethod
    def of_hours(cls, table: Table) -> SendTimes:
        """Send times of one hour of the week for each contact, and none for others.

        Args:
            table: pandas, polars, Arrow or DuckDB, with `contact` and `hour_of_week` (0 is Monday 00:00 local, to 167).

        Raises:
            DataError: when a column is missing, an hour is not one of the week, or a contact is there twice.
        """
        import pyarrow as pa

        table = as_frame(table, "send_times")
        for column in ("contact", "hour_of_week"):
            if column not in table.columns:
                raise DataError(f"send_times needs a column {column!r}; {known(column, table.columns, 'columns')}")
        hours = np.asarray(table["hour_of_week"], np.float64)
        is_hour = np.isin(hours, np.arange(WEEK))
        if not is_hour.all():
            raise DataError(f"send_times: hour_of_week is a whole number from 0 to 167, got {hours[~is_hour][0]}")
        used, profile = np.unique(hours.astype(np.int64), return_inverse=True)
        scores = np.full((len(used), WEEK), np.nan, np.float32)
        scores[np.arange(len(used)), used] = 1
        n = len(table)
        return cls(
            pa.array(table["contact"]), profile.astype(np.int32), scores, -1,
            np.full(n, LEVELS.index("fallback"), np.int8), np.full((n, 3), np.nan, np.float32),
            {"model": "hours that were given"},
        )  # fmt: skip

    @cached_property
    def version(self) -> str:
        """The hash of what they say: 12 hexadecimal digits of SHA-256 over contacts, scores and what they come from."""
        digest = sha256(json.dumps(self.about, sort_keys=True, default=str).encode())
        for contact in self.contacts.to_pylist():
            digest.update(f"{contact}\n".encode())
        for array in (self.profile, self.scores, self.level):
            digest.update(np.ascontiguousarray(array).tobytes())
        digest.update(str(self.fallback).encode())
        return digest.hexdigest()[:12]

    def places_of(self, contacts: pa.Array) -> NDArray[np.int64]:
        """Where each of some contacts stands among those that are known: int64, -1 for one that is not.

        Raises:
            DataError: when the contacts are of another kind.
        """
        import pyarrow as pa
        import pyarrow.compute as pc

        try:
            ids = self.contacts.cast(contacts.type)
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as problem:
            raise DataError(f"send times: the contacts are not like those of the log ({problem})") from None
        return np.asarray(pc.fill_null(pc.index_in(contacts, ids), -1), np.int64)

    def table(self) -> pd.DataFrame:
        """The advice for each contact.

        Columns: `contact`, `hour_of_week` (int, the best; of equals the earliest), `level` (text), `gain`, `low`,
        `high` (float, 0..1, missing where nothing can be said).
        """
        best = np.array([np.nanargmax(row) if not np.isnan(row).all() else -1 for row in self.scores], np.int64)
        return pd.DataFrame(
            {
                "contact": self.contacts.to_pandas(),
                "hour_of_week": best[self.profile],
                "level": pd.Categorical.from_codes(self.level, list(LEVELS)),
                **{name: self.gain[:, i].astype(float) for i, name in enumerate(("gain", "low", "high"))},
            }
        )

    def write(self, path: str | Path) -> None:
        """Writes them into one Parquet file: a row for each contact, the profiles and the rest in its metadata."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        table = pa.table(
            {
                "contact": self.contacts, "profile": self.profile, "level": self.level,
                **{name: self.gain[:, i] for i, name in enumerate(("gain", "low", "high"))},
            }
        )  # fmt: skip
        meta = {"format": _FORMAT, "fallback": self.fallback, "about": self.about, "version": self.version}
        meta_bytes = json.dumps(meta, sort_keys=True, default=str).encode()
        scores = pa.FixedSizeListArray.from_arrays(pa.array(self.scores.ravel()), WEEK)
        n_rows = max(len(table), len(scores))
        # Profiles are the rows of a second column; the shorter of the two ends in missing values.
        columns = {
            name: pa.chunked_array([column.combine_chunks(), pa.nulls(n_rows - len(column), column.type)])
            for name, column in [*zip(table.column_names, table.columns, strict=True)]
        }
        columns["scores"] = pa.chunked_array([scores, pa.nulls(n_rows - len(scores), scores.type)])
        whole = pa.table(columns).replace_schema_metadata({_META: meta_bytes})
        pq.write_table(whole, Path(path), compression="zstd")

    @classmethod
    def read(cls, path: str | Path) -> SendTimes:
        """Send times from a file of `write`.

        Raises:
            DataError: when there is no such file, it is none of `write`, or its content is not what its version says.
        """
        import pyarrow as pa
        import pyarrow.parquet as pq

        try:
            table = pq.read_table(Path(path))
        except (OSError, ValueError, pa.ArrowException) as problem:
            raise DataError(f"send times {str(path)!r} cannot be read: {str(problem)[:300]}") from None
        meta = (table.schema.metadata or {}).get(_META)
        if meta is None:
            raise DataError(f"{str(path)!r} holds no send times; `journeylab sendtime fit` writes such files")
        try:
            times = cls._made(table, data_of(meta))
        except (LookupError, TypeError, ValueError, AttributeError, OverflowError, pa.ArrowException):
            raise DataError(f"{str(path)!r}: its content is none of send times; fit them anew") from None
        if times is None:
            raise DataError(f"{str(path)!r}: its content is not that of its version; fit it anew or fetch it again")
        return times

    @classmethod
    def _made(cls, table: pa.Table, facts: dict[str, Any]) -> SendTimes | None:
        """The send times of a file's table and metadata, or None where they are of another version.

        Raises:
            ValueError: when what points to a profile or a level points to none: nothing looks at that any more later.
        """
        mine = table.filter(table["contact"].is_valid()).combine_chunks()
        scores = table["scores"].combine_chunks().drop_null().flatten().to_numpy().reshape(-1, WEEK)
        times = cls(
            mine["contact"].combine_chunks(), mine["profile"].to_numpy().astype(np.int32), scores,
            int(facts["fallback"]), mine["level"].to_numpy().astype(np.int8),
            np.column_stack([mine[name].to_numpy() for name in ("gain", "low", "high")]).astype(np.float32),
            dict(facts["about"]),
        )  # fmt: skip
        is_within = (
            -1 <= times.fallback < len(scores)
            and bool(((times.profile >= 0) & (times.profile < len(scores))).all())
            and bool(((times.level >= 0) & (times.level < len(LEVELS))).all())
            and mine["profile"].null_count == mine["level"].null_count == 0
        )
        if not is_within:
            raise ValueError("it points beyond what it has")
        return times if times.version == facts["version"] else None
