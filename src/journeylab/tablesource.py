"""A table whose columns can be read, wherever it is: what files, frames and databases have in common.

Every function that takes a table takes it through `as_frame` or `as_arrow`: a pandas frame, or whatever gives itself as
an Arrow stream, as polars frames, Arrow tables and readers, and DuckDB relations do.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from .columnvalues import from_values
from .errors import DataError
from .rejects import Rejects

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

__all__ = [
    "Source", "Table", "as_arrow", "as_frame", "csv_frame", "is_table", "of_columns", "of_table", "parquet_frame",
    "repeated",
]  # fmt: skip

Table: TypeAlias = Any
"""A table of any kind: a pandas or polars DataFrame, an Arrow table or reader, a DuckDB relation."""
_MOST_COLUMNS = 1000
_KINDS = "a pandas or polars DataFrame, an Arrow table or reader, or a DuckDB relation"


def is_table(value: object) -> bool:
    """Whether a value is a table: a pandas frame, or one that gives itself as an Arrow stream.

    >>> import pandas as pd, pyarrow as pa
    >>> is_table(pd.DataFrame({"n": [1]})), is_table(pa.table({"n": [1]})), is_table([1])
    (True, True, False)
    """
    return hasattr(value, "__arrow_c_stream__") and not _is_column(value)


def _is_column(value: object) -> bool:
    return type(value).__name__ in ("Series", "ChunkedArray")


def as_arrow(table: Table, what: str) -> pa.Table:
    """A table as an Arrow table; `what` is what messages call it.

    Raises:
        DataError: when it is none.
    """
    import pyarrow as pa

    if isinstance(table, pa.Table):
        return table
    if not is_table(table):
        remedy = "collect() it" if type(table).__name__ == "LazyFrame" else f"give {_KINDS}"
        raise DataError(f"{what}: a {type(table).__name__} is no table; {remedy}")
    made = pa.table(table)
    # Arrow has hardly a function for texts as polars keeps them.
    schema = pa.schema([field.with_type(_without_views(field.type)) for field in made.schema])
    return made if schema.equals(made.schema) else made.cast(schema)


def _without_views(kind: pa.DataType) -> pa.DataType:
    import pyarrow as pa

    if pa.types.is_dictionary(kind):
        return pa.dictionary(kind.index_type, _without_views(kind.value_type), kind.ordered)
    return pa.string() if pa.types.is_string_view(kind) else kind


def as_frame(table: Table, what: str = "the table") -> pd.DataFrame:
    """A table as a pandas frame: a frame as it is, any other turned into one by way of Arrow.

    Raises:
        DataError: when it is no table.

    >>> import pyarrow as pa
    >>> as_frame(pa.table({"contact": ["ada"], "n": [1]})).dtypes.astype(str).tolist()
    ['str', 'int64']
    """
    import pandas as pd

    return table if isinstance(table, pd.DataFrame) else as_arrow(table, what).to_pandas()


def csv_frame(path: Path) -> pd.DataFrame:
    """The frame in a CSV file that has a few columns, for tables that are no log.

    Raises:
        ValueError: when it is none, or has over a thousand columns, which pandas reads in the square of their time.
        OSError: when it cannot be read.
    """
    import pandas as pd

    with path.open("rb") as file:
        if file.readline(1 << 20).count(b",") >= _MOST_COLUMNS:
            raise ValueError(f"it has more than {_MOST_COLUMNS:,} columns")
    return pd.read_csv(path)


def parquet_frame(path: Path) -> pd.DataFrame:
    """The frame in a Parquet file, for tables that are no log; what pandas has noted of it beside does not count.

    Raises:
        pyarrow.ArrowException, OSError: when it is none.
    """
    import pyarrow.parquet as pq

    table = pq.read_table(path)
    table.validate(full=True)
    return table.replace_schema_metadata(None).to_pandas()


@dataclass
class Source:
    """A table that can be read by column.

    Attributes:
        name: what messages call it.
        columns: the names of its columns.
        read: reads some columns as an Arrow table, always in the same order of rows.
        rejects: what was malformed already, and how rows are numbered.
        paths: the files it rests on, empty when it is no local file.
        is_text: whether every value is a text still to be understood, as in CSV.
        is_lazy: whether each read goes to the file again.
        stream: reads some columns anew, so many rows at a time, where that takes less memory than all at once.
    """

    name: str
    columns: list[str]
    read: Callable[[Sequence[str]], pa.Table]
    rejects: Rejects
    paths: tuple[Path, ...] = field(default=())
    is_text: bool = False
    is_lazy: bool = False
    stream: Callable[[Sequence[str], int], Iterator[pa.Table]] | None = None

    def parts(self, columns: Sequence[str], n_rows: int) -> Iterator[pa.Table]:
        """Some columns, at most so many rows at a time, in the order of `read`."""
        if self.stream is not None:
            yield from self.stream(columns, n_rows)
            return
        table = self.read(columns)
        for start in range(0, len(table), n_rows):
            yield table.slice(start, n_rows)


def repeated(names: Sequence[str]) -> list[str]:
    """The names that are there more than once, sorted.

    >>> repeated(["b", "a", "b"])
    ['b']
    """
    return sorted(name for name, n in Counter(names).items() if n > 1)


def of_table(name: str, table: pa.Table, rejects: Rejects, **more: Any) -> Source:
    twice = repeated(table.column_names)
    if twice:
        raise DataError(f"{name}: two columns are named {', '.join(map(repr, twice))}; rename one")
    return Source(name, table.column_names, lambda columns: table.select(list(columns)), rejects, **more)


def of_columns(name: str, columns: dict[str, Any], rejects: Rejects, **more: Any) -> Source:
    """A source from columns of Python values, or of Arrow arrays where they are that already."""
    import pyarrow as pa

    made = {
        # The new value of whichever attribute changed is of any type.
        column: from_values(column, values, rejects, mixed=column == "value" and "name" in columns)
        if isinstance(values, list)
        else values
        for column, values in columns.items()
    }
    return of_table(name, pa.table(made), rejects, **more)
