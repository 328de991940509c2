"""Tables that were made bucket by bucket, as one in the order of contacts, without any of them in memory as a whole."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

__all__ = ["gathered", "merged", "write_part"]

_ROWS: Final = 1 << 17


def _part_file(folder: Path, k: int) -> Path:
    """The file of a bucket's part of a table."""
    return folder / f"part-{k:04}.parquet"


def write_part(frame: pd.DataFrame, folder: Path, k: int) -> int:
    """Writes a bucket's part of a table, which is in the order of contacts; how many rows it has."""
    frame.to_parquet(_part_file(folder, k), index=False)
    return len(frame)


def gathered(folder: Path, n_buckets: int) -> pd.DataFrame:
    """The parts of all buckets as one table in memory, contacts ascending, each contact's rows as they are."""
    import pandas as pd

    frames = [pd.read_parquet(_part_file(folder, k)) for k in range(n_buckets)]
    frame = pd.concat(frames, ignore_index=True).astype(frames[0].dtypes)
    return frame.sort_values("contact", kind="stable", ignore_index=True)


def merged(folder: Path, n_buckets: int, path: Path, memory: int) -> None:
    """Writes the parts' rows to a Parquet or CSV file as one table, contacts ascending, each contact's as they are.

    What does not fit into half of the budget is sorted on disk, beside the file.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    path.parent.mkdir(parents=True, exist_ok=True)
    parts = [_part_file(folder, k) for k in range(n_buckets)]
    like = pq.read_table(parts[0])
    new = path.with_name(f".{path.name}.new")
    batches = (_like(batch, like) for batch in _sorted(parts, path.parent, memory))
    try:
        if path.suffix == ".csv":
            for i, batch in enumerate(batches):
                frame = pa.Table.from_batches([batch]).to_pandas()
                frame.to_csv(new, index=False, header=i == 0, mode="a" if i else "w")
        else:
            with pq.ParquetWriter(new, like.schema) as file:
                for batch in batches:
                    file.write_batch(batch)
        new.replace(path)
    finally:
        new.unlink(missing_ok=True)


def _sorted(parts: Sequence[Path], beside: Path, memory: int) -> Iterator[pa.RecordBatch]:
    """The rows of all parts in batches, at least one."""
    import duckdb

    with TemporaryDirectory(prefix=".journeylab-", dir=beside) as spill, duckdb.connect() as connection:
        connection.execute(f"SET memory_limit = '{memory // 2}B'")
        connection.execute("SET temp_directory = ?", [spill])
        connection.execute("SET TimeZone = 'UTC'")
        relation = connection.sql(
            "SELECT * EXCLUDE (file_row_number) FROM read_parquet($parts, file_row_number = true) "
            "ORDER BY contact, file_row_number",
            params={"parts": [str(one) for one in parts]},
        )
        reader = relation.to_arrow_reader(_ROWS)
        n = 0
        for batch in reader:
            n += 1
            yield batch
        if not n:
            yield _empty(reader.schema)


def _empty(schema: pa.Schema) -> pa.RecordBatch:
    import pyarrow as pa

    return pa.RecordBatch.from_arrays([pa.array([], field.type) for field in schema], schema=schema)


def _like(batch: pa.RecordBatch, like: pa.Table) -> pa.RecordBatch:
    """A batch in the schema of the parts, the categories of names included."""
    import pyarrow as pa

    columns = [_column(batch.column(name), like[name]) for name in like.column_names]
    return pa.RecordBatch.from_arrays(columns, schema=like.schema)


def _column(column: pa.Array, like: pa.ChunkedArray) -> Any:
    import pyarrow as pa
    import pyarrow.compute as pc

    if not pa.types.is_dictionary(like.type):
        return column.cast(like.type)
    categories = like.combine_chunks().dictionary if like.num_chunks else pa.array([], like.type.value_type)
    places = pc.index_in(column.cast(categories.type), categories).cast(like.type.index_type)
    return pa.DictionaryArray.from_arrays(places, categories, ordered=like.type.ordered)
