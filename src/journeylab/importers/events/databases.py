"""Databases that are read in batches, as Arrow: through SQLAlchemy, through ADBC, and DuckDB by itself."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress
from importlib import import_module
from typing import TYPE_CHECKING, Any, Final, Protocol
from urllib.parse import unquote, urlsplit

from journeylab.errors import DataError, known

from .values import of_values

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["Database", "database_of"]

_BATCH: Final = 50_000
_FILES: Final = ("http", "https", "file", "s3", "gs", "gcs", "abfs", "abfss", "hdfs")
_ADBC: Final = {
    "postgresql": "adbc_driver_postgresql", "sqlite": "adbc_driver_sqlite", "snowflake": "adbc_driver_snowflake",
    "bigquery": "adbc_driver_bigquery",
}  # fmt: skip
_PACKAGES: Final = {
    "postgresql": "journeylab[postgresql]", "mysql": "pymysql", "mariadb": "pymysql",
    "snowflake": "snowflake-sqlalchemy",
    "bigquery": "sqlalchemy-bigquery", "databricks": "databricks-sqlalchemy", "clickhouse": "clickhouse-sqlalchemy",
}  # fmt: skip


class Database(Protocol):
    """A database that can be asked.

    Attributes:
        label: what messages call it, without any secret.
    """

    label: str

    def tables(self) -> list[str]:
        """The names of its tables and views."""

    def quoted(self, name: str) -> str:
        """A name as its SQL writes it."""

    def batches(self, sql: str) -> Iterator[pa.Table]:
        """The rows of a query, some at a time, as they come from the server; at least one table, for its columns."""

    def close(self) -> None:
        """Gives back what was opened here."""


def database_of(source: Any) -> Database | None:
    """The database behind a URL or a connection; None where it is no database.

    Args:
        source: a URL (`postgresql://…`, `duckdb:///FILE`, `adbc+snowflake://…` and what else SQLAlchemy knows), an
            SQLAlchemy engine or connection, a DuckDB connection, or an ADBC connection.

    Raises:
        DataError: when it cannot be reached, or its driver is not installed.
    """
    modules = {kind.__module__.partition(".")[0] for kind in type(source).__mro__}
    if "sqlalchemy" in modules:
        return _Alchemy(source, source.engine.dialect.name, is_own=False)
    if type(source).__name__ == "DuckDBPyConnection":
        return _Duck(source, "the DuckDB connection", is_own=False)
    if "adbc_driver_manager" in modules:
        return _Adbc(source, "the ADBC connection", '"', is_own=False)
    if not isinstance(source, str) or "://" not in source or urlsplit(source).scheme in _FILES:
        return None
    scheme = urlsplit(source).scheme
    if scheme == "duckdb":
        return _duck(source)
    if scheme.startswith("adbc+"):
        return _adbc(source, scheme.removeprefix("adbc+"))
    return _alchemy(source, scheme)


def _label(url: str) -> str:
    """A URL without who calls and with what password.

    >>> _label("postgresql://ewa:secret@db.example/shop?sslmode=require")
    'postgresql://db.example/shop'
    """
    parts = urlsplit(url)
    host = (parts.hostname or "") + (f":{parts.port}" if parts.port else "")
    return f"{parts.scheme}://{host}{parts.path}"


def _missing(scheme: str, package: str) -> DataError:
    return DataError(f"{scheme}:// needs the package {package}, which is not installed: pip install {package!r}")


def _first_line(problem: Exception) -> str:
    return str(problem).strip().splitlines()[0] if str(problem).strip() else type(problem).__name__


def _duck(url: str) -> Database:
    import duckdb

    path = unquote(url.removeprefix("duckdb://").removeprefix("/")) if "///" in url else url.removeprefix("duckdb://")
    try:
        return _Duck(duckdb.connect(path, read_only=True), f"duckdb:///{path}", is_own=True)
    except duckdb.Error as problem:
        raise DataError(f"duckdb:///{path} cannot be opened: {_first_line(problem)}") from None


class _Duck:
    def __init__(self, connection: Any, label: str, *, is_own: bool) -> None:
        self.label, self._connection, self._is_own = label, connection, is_own

    def tables(self) -> list[str]:
        rows = self._connection.execute("SELECT table_name FROM information_schema.tables").fetchall()
        return [name for (name,) in rows]

    def quoted(self, name: str) -> str:
        return _quoted(name, '"')

    def batches(self, sql: str) -> Iterator[pa.Table]:
        import duckdb
        import pyarrow as pa

        try:
            reader = self._connection.sql(sql).to_arrow_reader(_BATCH)
            yield from _tables(reader)
        except (duckdb.Error, pa.ArrowException) as problem:
            raise DataError(f"{self.label}: the query failed: {_first_line(problem)}") from None

    def close(self) -> None:
        if self._is_own:
            self._connection.close()


def _quoted(name: str, mark: str) -> str:
    return f"{mark}{name.replace(mark, mark * 2)}{mark}"


def _tables(reader: Any) -> Iterator[pa.Table]:
    """The batches of a reader as tables; an empty one where there is none."""
    import pyarrow as pa

    n = 0
    for batch in reader:
        n += 1
        yield pa.Table.from_batches([batch])
    if not n:
        yield reader.schema.empty_table()


def _adbc(url: str, kind: str) -> Database:
    """A connection by ADBC: each driver has its own way of naming a database."""
    if kind not in _ADBC:
        raise DataError(f"adbc+{kind}:// is not known; {known(kind, _ADBC, 'ADBC drivers')}")
    module = _ADBC[kind]
    try:
        driver = import_module(f"{module}.dbapi")
    except ImportError:
        raise _missing(f"adbc+{kind}", module.replace("_", "-")) from None
    plain = url.removeprefix("adbc+")
    parts = urlsplit(plain)
    label = _label(url)
    try:
        if kind == "postgresql":
            connection = driver.connect(plain)
        elif kind == "sqlite":
            connection = driver.connect(f"file:{unquote(parts.path.removeprefix('/'))}?mode=ro")
        elif kind == "snowflake":  # its driver takes the address without a scheme
            connection = driver.connect(plain.removeprefix("snowflake://"))
        else:
            project, dataset = parts.hostname or "", parts.path.strip("/")
            said = {"adbc.bigquery.sql.project_id": project}
            connection = driver.connect(db_kwargs=said | ({"adbc.bigquery.sql.dataset_id": dataset} if dataset else {}))
    except Exception as problem:
        raise DataError(f"{label} cannot be opened: {_first_line(problem)}") from None
    return _Adbc(connection, label, "`" if kind == "bigquery" else '"', is_own=True)


class _Adbc:
    def __init__(self, connection: Any, label: str, mark: str, *, is_own: bool) -> None:
        self.label, self._connection, self._mark, self._is_own = label, connection, mark, is_own

    def tables(self) -> list[str]:
        found = self._connection.adbc_get_objects(depth="tables").read_all().to_pylist()
        schemas = [schema for catalog in found for schema in catalog["catalog_db_schemas"] or ()]
        return [table["table_name"] for schema in schemas for table in schema["db_schema_tables"] or ()]

    def quoted(self, name: str) -> str:
        return _quoted(name, self._mark)

    def batches(self, sql: str) -> Iterator[pa.Table]:
        import pyarrow as pa

        try:
            with self._connection.cursor() as cursor:
                cursor.execute(sql)
                yield from _tables(cursor.fetch_record_batch())
        except (self._connection.Error, pa.ArrowException) as problem:
            raise DataError(f"{self.label}: the query failed: {_first_line(problem)}") from None

    def close(self) -> None:
        if self._is_own:
            self._connection.close()


def _alchemy(url: str, scheme: str) -> Database:
    import sqlalchemy as sa

    try:
        engine = sa.create_engine(url)
    except (sa.exc.NoSuchModuleError, ImportError):
        dialect = scheme.partition("+")[0]
        if dialect not in _PACKAGES:
            raise DataError(
                f"{scheme}:// is no database that is known; {known(dialect, _PACKAGES, 'databases')}"
            ) from None
        raise _missing(scheme, _PACKAGES[dialect]) from None
    except sa.exc.ArgumentError as problem:
        raise DataError(f"{_label(url)} is no URL of a database: {_first_line(problem)}") from None
    return _Alchemy(engine, _label(url), is_own=True)


class _Alchemy:
    def __init__(self, engine: Any, label: str, *, is_own: bool) -> None:
        self.label, self._engine, self._is_own = label, engine, is_own

    def tables(self) -> list[str]:
        import sqlalchemy as sa

        try:
            inspector = sa.inspect(self._engine)
            return [*inspector.get_table_names(), *inspector.get_view_names()]
        except sa.exc.SQLAlchemyError as problem:
            raise DataError(f"{self.label} cannot be reached: {_first_line(problem)}") from None

    def quoted(self, name: str) -> str:
        return str(self._engine.dialect.identifier_preparer.quote_identifier(name))

    def batches(self, sql: str) -> Iterator[pa.Table]:
        import sqlalchemy as sa

        connection = None
        try:
            connection = self._engine.connect() if hasattr(self._engine, "connect") else self._engine
            options = {"stream_results": True, "max_row_buffer": _BATCH}
            result = connection.execute(sa.text(sql.replace(":", r"\:")).execution_options(**options))
            names, n = list(result.keys()), 0
            for rows in result.partitions(_BATCH):
                n += 1
                yield _of_rows(names, rows)
            if not n:
                yield _of_rows(names, [])
        except sa.exc.SQLAlchemyError as problem:
            raise DataError(f"{self.label}: the query failed: {_first_line(problem)}") from None
        finally:
            if connection is not None and connection is not self._engine:
                connection.close()

    def close(self) -> None:
        if self._is_own:
            with suppress(Exception):  # what was read is read
                self._engine.dispose()


def _of_rows(names: Sequence[str], rows: Sequence[Sequence[Any]]) -> pa.Table:
    """A batch of a driver's values as Arrow; values of several types in a column as texts."""
    import pyarrow as pa

    columns = list(zip(*rows, strict=True)) if rows else [() for _ in names]
    made = []
    for values in columns:
        try:
            made.append(pa.chunked_array([pa.array(values, from_pandas=True)]))
        except (pa.ArrowException, OverflowError):
            made.append(of_values(values))
    return pa.table(made, names=list(names))
