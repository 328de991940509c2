"""Tables from anywhere: files, URLs, data frames, Arrow and databases, all as one `Source` of Arrow columns.

What a column means is not decided here; only malformed files and columns of mixed types are.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .columnvalues import as_text
from .errors import DataError
from .logfiles import open_file
from .rejects import Rejects
from .tablesource import Source, as_arrow, is_table, of_columns, of_table, repeated

if TYPE_CHECKING:
    import pyarrow as pa
    from sqlalchemy import Executable

    Query = str | Executable

__all__ = ["database_parts", "open_source"]

_TAKEN = (
    "a path or URL of a Parquet, CSV, JSON Lines or Arrow file, a pandas or polars DataFrame, an Arrow table or "
    "reader, a DuckDB relation, or a database with a query"
)
_PARTITION = 50_000


def open_source(source: Any, query: Query | None = None, *, what: str = "events") -> Source:
    """The source behind a path, URL, frame, table or database; `what` names it where it has no name of its own.

    A query is SQL, or for SQLAlchemy one of its own statements.

    Raises:
        DataError: when there is no such file, it cannot be read, or nothing of the kind is known.
    """
    if isinstance(source, str) and query is not None and "://" in source:
        return _from_sql(source, query, what)
    if _is_alchemy(source):
        return _from_sql(source, _needed(query, what), what)
    if type(source).__name__ == "DuckDBPyConnection":
        return _from_duckdb(source, _needed(query, what), what)
    if query is not None:
        raise DataError(f"the {what} come with a query, but a query needs a database: an SQLAlchemy or DuckDB one")
    if isinstance(source, str | Path):
        return open_file(source)
    if type(source).__module__.partition(".")[0] == "pandas" and type(source).__name__ == "DataFrame":
        return _from_pandas(source, what)
    if isinstance(source, list | tuple) and all(isinstance(row, dict) for row in source):
        return _from_dicts(source, what)
    return _from_arrow(source, what)


def _needed(query: Query | None, what: str) -> Any:
    if query is None:
        raise DataError(f'the {what} come from a database; say which rows with query="SELECT ..."')
    return query


def _from_dicts(rows: Sequence[dict[str, Any]], what: str) -> Source:
    names = list(dict.fromkeys(name for row in rows for name in row))
    columns = {name: [row.get(name) for row in rows] for name in names}
    return of_columns(f"the {what}", columns, Rejects(f"the {what}"))


def _from_pandas(frame: Any, what: str) -> Source:
    import pyarrow as pa

    name = f"the {what} DataFrame"
    if not frame.columns.is_unique:
        twice = sorted({str(column) for column in frame.columns[frame.columns.duplicated()]})
        raise DataError(f"{name}: two columns are named {', '.join(map(repr, twice))}; rename one")

    def column(label: Any) -> Any:
        series = frame[label]
        if series.dtype == object:
            return [None if gone else value for value, gone in zip(series.tolist(), series.isna(), strict=True)]
        return pa.chunked_array(pa.array(series, from_pandas=True))

    return of_columns(name, {str(label): column(label) for label in frame.columns}, Rejects(name))


def _from_arrow(source: Any, what: str) -> Source:
    if not is_table(source):
        taken = "a collected frame, by collect()" if type(source).__name__ == "LazyFrame" else _TAKEN
        raise DataError(f"the {what} are a {type(source).__name__}, which cannot be read; give {taken}")
    name = f"the {what} table"
    return of_table(name, as_arrow(source, name), Rejects(name))


def database_parts(source: Any, query: Query | None, what: str) -> Iterator[pa.Table | None] | None:
    """What a query gives, as Arrow, some rows at a time; None where the source is no database.

    A column is of each part's own type; a part in which one has values of several types is None.

    Raises:
        DataError: when the query is missing or fails.
    """
    if type(source).__name__ == "DuckDBPyConnection":
        return _duckdb_parts(source, _needed(query, what), what)
    if (isinstance(source, str) and query is not None and "://" in source) or _is_alchemy(source):
        return _sql_tables(source, _needed(query, what), what)
    return None


def _is_alchemy(source: Any) -> bool:
    return type(source).__module__.partition(".")[0] == "sqlalchemy"


def _sql_tables(database: Any, query: Query, what: str) -> Iterator[pa.Table | None]:
    for names, rows in _sql_parts(database, query, what):
        columns = {name: [row[place] for row in rows] for place, name in enumerate(names)}
        if {"name", "value"} <= {*names}:  # the new value of whichever attribute changed is of any type
            columns["value"] = [None if value is None else as_text(value) for value in columns["value"]]
        rejects = Rejects("a part")
        table = of_columns("a part", columns, rejects).read(names)
        yield None if rejects else table


def _duckdb_parts(connection: Any, query: str, what: str) -> Iterator[pa.Table]:
    import duckdb
    import pyarrow as pa

    name = f"the query for {what}"
    try:
        relation = connection.sql(query)
        if relation is None:
            raise DataError(f"{name} gives no rows; it must be a SELECT")
        reader = relation.to_arrow_reader(_PARTITION)
        twice = repeated(reader.schema.names)
        if twice:
            raise DataError(f"{name}: two columns are named {', '.join(map(repr, twice))}; rename one")
        n = 0
        for batch in reader:
            n += 1
            yield pa.Table.from_batches([batch])
        if not n:
            yield reader.schema.empty_table()
    except duckdb.Error as error:
        raise DataError(f"{name} failed: {str(error).splitlines()[0]}") from None


def _from_duckdb(connection: Any, query: str, what: str) -> Source:
    import pyarrow as pa

    name = f"the query for {what}"
    return of_table(name, pa.concat_tables(_duckdb_parts(connection, query, what)), Rejects(name))


def _from_sql(database: Any, query: Query, what: str) -> Source:
    names: list[str] = []
    values: list[list[Any]] = []
    for names, rows in _sql_parts(database, query, what):
        values = values or [[] for _ in names]
        for into, column in zip(values, zip(*rows, strict=True), strict=False):
            into.extend(column)
    return of_columns(f"the query for {what}", dict(zip(names, values, strict=True)), Rejects(f"the query for {what}"))


def _sql_parts(database: Any, query: Query, what: str) -> Iterator[tuple[list[str], Sequence[Any]]]:
    """The names of a query's columns, and some rows at a time; once without rows where there are none."""
    import sqlalchemy as sa

    name = f"the query for {what}"
    engine: Any = None
    try:
        engine = sa.create_engine(database) if isinstance(database, str) else database
        connection = engine.connect() if hasattr(engine, "connect") else engine
        try:
            statement = sa.text(query) if isinstance(query, str) else query
            result = connection.execute(statement.execution_options(stream_results=True))
            names, n = list(result.keys()), 0
            twice = repeated(names)
            if twice:
                raise DataError(f"{name}: two columns are named {', '.join(map(repr, twice))}; rename one with AS")
            for rows in result.partitions(_PARTITION):
                n += 1
                yield names, rows
            if not n:
                yield names, []
        finally:
            if connection is not database:
                connection.close()
    except (sa.exc.SQLAlchemyError, ImportError) as error:
        raise DataError(f"{name} failed: {str(error).splitlines()[0]}") from None
    finally:
        if engine is not database and engine is not None:
            engine.dispose()
