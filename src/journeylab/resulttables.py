"""The tables of a result, by name: as pandas frames, as Arrow tables and as polars frames."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cached_property
from pathlib import Path
from types import FunctionType
from typing import TYPE_CHECKING, Any, ClassVar

from .display import block, table
from .errors import DataError, JourneyLabError, known

if TYPE_CHECKING:
    import pandas as pd
    import polars as pl
    import pyarrow as pa

__all__ = ["ResultTables", "Tables", "UnknownTable", "arrow_of", "write_frame"]


class UnknownTable(DataError, KeyError):
    """There is no table of this name."""

    __str__ = Exception.__str__


class Tables:
    """What results with tables share: `tables`, `to_arrow` and `to_polars`.

    A class names its tables in `_table_names`: attributes or methods that give a frame; one that is None is not there.
    """

    __slots__ = ()
    _table_names: ClassVar[tuple[str, ...]] = ()

    @property
    def tables(self) -> ResultTables:
        """The tables by name, each made when it is asked for: `result.tables["visits"]` is a pandas frame."""
        return ResultTables(self, self._table_names)

    def to_arrow(self, table: str | None = None) -> pa.Table:
        """A table as Arrow, without the frame's index: instants in UTC and durations, both in microseconds.

        Args:
            table: a name of `tables`; it may be left out where there is only one.

        Raises:
            DataError: when there is no such table.
        """
        return arrow_of(self.tables.one(table))

    def to_polars(self, table: str | None = None) -> pl.DataFrame:
        """A table as a polars frame, by way of Arrow; see `to_arrow`.

        Raises:
            DataError: when there is no such table.
            JourneyLabError: when polars is not installed.
        """
        try:
            import polars as pl
        except ImportError:
            raise JourneyLabError('polars is not installed: pip install "journeylab[polars]"') from None
        frame = pl.from_arrow(self.to_arrow(table))
        assert isinstance(frame, pl.DataFrame)
        return frame


class ResultTables(Mapping[str, "pd.DataFrame"]):
    """The tables of one result by name, in the order in which it names them; none is made before it is asked for."""

    def __init__(self, result: object, names: tuple[str, ...]) -> None:
        self._result = result
        self._names = [name for name in names if self._is_made(name) or self._value(name) is not None]

    def _is_made(self, name: str) -> bool:
        """Whether the table is made when it is asked for, so that whether it is there need not be looked at."""
        return isinstance(getattr(type(self._result), name, None), property | cached_property | FunctionType)

    def _value(self, name: str) -> Any:
        return getattr(self._result, name)

    def __getitem__(self, name: str) -> pd.DataFrame:
        if name not in self._names:
            raise UnknownTable(f"no table {name!r} in a {type(self._result).__name__}; {known(name, self, 'tables')}")
        found = self._value(name)
        frame: pd.DataFrame = found() if callable(found) else found
        return frame.to_pandas() if hasattr(frame, "to_pandas") else frame

    def one(self, name: str | None) -> pd.DataFrame:
        """A table by its name, or the only one.

        Raises:
            UnknownTable: when there is none of this name, or it is not said which of several.
        """
        if name is None and len(self) == 1:
            [name] = self
        if name is None:
            there = ", ".join(self) or "none"
            raise UnknownTable(f"a {type(self._result).__name__} has several tables; name one of them: {there}")
        return self[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)

    def __contains__(self, name: object) -> bool:
        return name in self._names

    def _ipython_key_completions_(self) -> list[str]:
        return list(self)

    def __repr__(self) -> str:
        return f"ResultTables({type(self._result).__name__}: {', '.join(self) or 'none'})"

    def _repr_html_(self) -> str:
        return block(repr(self), table(("table",), [(name,) for name in self]))


def arrow_of(frame: pd.DataFrame) -> pa.Table:
    """A frame as an Arrow table; a named index becomes columns, any other is left out.

    >>> import pandas as pd
    >>> arrow_of(pd.DataFrame({"at": pd.to_datetime(["2026-03-01"], utc=True), "n": [1]})).schema
    at: timestamp[us, tz=UTC]
    n: int64
    """
    import pyarrow as pa

    if any(name is not None for name in frame.index.names):
        frame = frame.reset_index()
    table = pa.Table.from_pandas(frame, preserve_index=False).replace_schema_metadata(None)
    return table.cast(pa.schema([field.with_type(_plain(field.type)) for field in table.schema]))


def write_frame(frame: pd.DataFrame, path: Path) -> None:
    """Writes a frame without its index to a Parquet file, or to CSV where the name ends in that."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".csv":
        frame.to_csv(path, index=False)
    else:
        frame.to_parquet(path, index=False)


def _plain(kind: pa.DataType) -> pa.DataType:
    """The type without what only pandas meant by it: other units than microseconds, large offsets."""
    import pyarrow as pa

    if pa.types.is_timestamp(kind):
        return pa.timestamp("us", kind.tz)
    if pa.types.is_duration(kind):
        return pa.duration("us")
    if pa.types.is_large_string(kind):
        return pa.string()
    if pa.types.is_dictionary(kind) and pa.types.is_large_string(kind.value_type):
        return pa.dictionary(kind.index_type, pa.string(), kind.ordered)
    return kind
