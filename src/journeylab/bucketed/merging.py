"""Tables that were made bucket by bucket, as one in the order of contacts, without any of them in memory as a whole."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, Final, NamedTuple

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

__all__ = ["Part", "gathered", "merged", "part_file", "write_part"]

_ROWS: Final = 1 << 17


class Part(NamedTuple):
    """A bucket's part of a table, in a file of its own.

    Attributes:
        path: the file.
        n_rows: how many rows it has.
        like: the part without its rows; types and categories are those of every part.
    """

    path: Path
    n_rows: int
    like: pd.DataFrame


def part_file(folder: Path, k: int) -> Path:
    """The file of a bucket's part."""
    return folder / f"part-{k:04}.parquet"


def write_part(frame: pd.DataFrame, folder: Path, k: int) -> Part:
    """Writes a bucket's part of a table, which is in the order of contacts."""
    path = part_file(folder, k)
    frame.to_parquet(path, index=False)
    return Part(path, len(frame), frame.iloc[:0].copy())


def gathered(parts: Sequence[Part]) -> pd.DataFrame:
    """The parts of all buckets as one table in memory, contacts ascending, each contact's rows as they are."""
    import pandas as pd

    kinds = parts[0].like.dtypes
    frame = pd.concat([pd.read_parquet(one.path).astype(kinds) for one in parts], ignore_index=True)
    return frame.sort_values("contact", kind="stable", ignore_index=True)


def merged(parts: Sequence[Part], path: Path, memory: int) -> int:
    """Writes the parts' rows to a Parquet or CSV file as one table, as `gathered` orders them; how many there are.

    What does not fit into half of the budget is sorted on disk, beside the file.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    path.parent.mkdir(parents=True, exist_ok=True)
    like = parts[0].like
    schema = pa.Schema.from_pandas(like, preserve_index=False)
    new = path.with_name(f".{path.name}.new")
    tables = (_like(batch, like, schema) for batch in _sorted(parts, path.parent, memory))
    try:
        if path.suffix == ".csv":
            like.to_csv(new, index=False)
            for table in tables:
                table.to_pandas().to_csv(new, index=False, header=False, mode="a")
        else:
            with pq.ParquetWriter(new, schema) as file:
                for table in tables:
                    file.write_table(table)
        new.replace(path)
    finally:
        new.unlink(missing_ok=True)
    return sum(one.n_rows for one in parts)


def _sorted(parts: Sequence[Part], beside: Path, memory: int) -> Iterator[pa.RecordBatch]:
    """The rows of all parts in batches."""
    import duckdb

    files = [str(one.path) for one in parts if one.n_rows]
    if not files:
        return
    with TemporaryDirectory(prefix=".journeylab-", dir=beside) as spill, duckdb.connect() as connection:
        connection.execute(f"SET memory_limit = '{memory // 2}B'")
        connection.execute("SET temp_directory = ?", [spill])
        connection.execute("SET TimeZone = 'UTC'")
        relation = connection.sql(
            "SELECT * EXCLUDE (file_row_number) FROM read_parquet($parts, file_row_number = true) "
            "ORDER BY contact, file_row_number",
            params={"parts": files},
        )
        yield from relation.to_arrow_reader(_ROWS)


def _like(batch: pa.RecordBatch, like: pd.DataFrame, schema: pa.Schema) -> pa.Table:
    """A batch in the schema of the parts, the categories of names included."""
    import pyarrow as pa

    return pa.table([_column(batch.column(one.name), like[one.name], one.type) for one in schema], schema=schema)


def _column(column: pa.Array, like: pd.Series, kind: pa.DataType) -> Any:
    import pyarrow as pa
    import pyarrow.compute as pc

    if not pa.types.is_dictionary(kind):
        return column.cast(kind)
    categories = pa.array(like.cat.categories, kind.value_type)
    places = pc.index_in(column.cast(kind.value_type), categories).cast(kind.index_type)
    return pa.DictionaryArray.from_arrays(places, categories, ordered=kind.ordered)
