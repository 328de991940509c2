"""Exports that lie in a database: all tables that a system's map knows, or a query; and of these only what is new."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from decimal import Decimal
from hashlib import sha256
from typing import TYPE_CHECKING, Any, Final
from zoneinfo import ZoneInfo

import numpy as np

from journeylab.clock import instant
from journeylab.errors import DataError, listed
from journeylab.rejects import Rejects

from .adapter import Adapter, Clock, Table
from .databases import Database
from .exports import Export, unfolded_table
from .mapping import Told
from .recognition import as_known, known_name, table_named, table_of

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["Asked", "exports_of"]

_PER_SECOND: Final = {"s": 1, "ms": 1_000, "us": 1_000_000}
_NAME: Final = "journeylab_rows"


@dataclass
class Asked:
    """What a database was asked for.

    Attributes:
        marks: for each table and query of a database, the latest instant up to which it was read, microseconds.
        said: what was asked for, for people.
    """

    marks: Mapping[str, int]
    said: list[str] = field(default_factory=list)


def exports_of(
    adapter: Adapter, database: Database, told: Told, asked: Asked, query: str | None = None, name: str | None = None
) -> Iterator[Export]:
    """The rows of a database, in batches.

    Args:
        adapter: the system's.
        database: where they lie.
        told: what whoever imports says.
        asked: up to where it was read before; what is asked for is noted there.
        query: the SQL query that gives them; by default all tables that the system's map knows.
        name: of the table that they are of, where columns do not tell; without a query, the one table that is read.

    Raises:
        DataError: when nothing is there that the map knows, or the database refuses.
    """
    if query is not None:
        yield from _from_query(adapter, database, told, asked, query.strip().rstrip(";"), name)
        return
    there = {_plain(one): one for one in database.tables()}
    wanted = [table_named(adapter, name)] if name is not None else list(adapter.tables)
    found = [(table, one) for table in wanted if (one := _table_there(table, there)) is not None]
    if not found:
        raise DataError(
            f"{database.label} has no table {' or '.join(table.name for table in wanted)} of {adapter.title}; there "
            f"are "
            f'{listed(there.values()) or "none"}. Say which rows with query="SELECT ..."'
        )
    for table, one in found:
        yield from _from_query(adapter, database, told, asked, f"SELECT * FROM {database.quoted(one)}", table.name)


def _plain(name: str) -> str:
    return name.lower().lstrip("_")


def _table_there(table: Table, there: Mapping[str, str]) -> str | None:
    """The database's name of a table, which may have a prefix before it, such as `mautic_`."""
    name = _plain(table.name)
    if name in there:
        return there[name]
    prefixed = [one for plain, one in there.items() if plain.endswith(f"_{name}")]
    return prefixed[0] if len(prefixed) == 1 else None


def _from_query(
    adapter: Adapter, database: Database, told: Told, asked: Asked, query: str, name: str | None
) -> Iterator[Export]:
    head = next(iter(database.batches(f"SELECT * FROM ({query}) AS {_NAME} WHERE 1 = 0")))
    label = f"{database.label}" if name is None else f"{database.label}: {name}"
    table = table_named(adapter, name) if name is not None else table_of(adapter, head.column_names, label)
    mark = f"{told.name}/{table.name}/{sha256(f'{database.label} {query}'.encode()).hexdigest()[:16]}"
    whole, where = query, _since(adapter, database, table, told, asked, query, head.column_names, mark)
    if where:
        whole = f"SELECT * FROM ({query}) AS {_NAME} WHERE {where}"
    n = 0
    for batch in database.batches(whole):
        rejects = Rejects(label)
        rejects.numbers = np.arange(n, n + len(batch))
        n += len(batch)
        for export in _exports(adapter, table, label, batch, rejects):
            export.mark = mark
            yield export


def _exports(adapter: Adapter, table: Table, label: str, batch: pa.Table, rejects: Rejects) -> Iterator[Export]:
    import pyarrow as pa

    if any(pa.types.is_nested(one.type) for one in batch.schema):
        yield from unfolded_table(adapter, table, label, batch, rejects)
    else:
        yield Export(table, as_known(table, batch, label), rejects)


def _since(
    adapter: Adapter,
    database: Database,
    table: Table,
    told: Told,
    asked: Asked,
    query: str,
    columns: list[str],
    mark: str,
) -> str:
    """The condition by which only new rows are asked for; empty where nothing was read before or nothing tells."""
    if not table.cursors:
        return ""
    at = asked.marks.get(mark)
    if at is None:
        asked.said.append(f"{table.name}: all rows, as none were read before")
        return ""
    since = instant(at) - timedelta(days=adapter.overlap)
    names = {known_name(table, column): column for column in columns}
    conditions = []
    for cursor in table.cursors:
        if cursor not in names:
            continue
        quoted = database.quoted(names[cursor])
        example = _example(database, query, quoted)
        if example is None:
            continue
        literal = _literal(since, example, adapter.clock_of(table), told.zone)
        if literal is None:
            asked.said.append(f"{table.name}: all rows, as {cursor} is kept as a text there")
            return ""
        conditions.append(f"{quoted} > {literal}")
    if not conditions:
        return ""
    asked.said.append(
        f"{table.name}: rows of which {' or '.join(one for one in table.cursors if one in names)} is after "
        f"{since:%Y-%m-%d %H:%M} UTC, {adapter.overlap} days before the latest that was read"
    )
    return " OR ".join(conditions)


def _example(database: Database, query: str, quoted: str) -> Any:
    """Any value of a column, which tells how the database keeps it; None where there is none."""
    sql = f"SELECT {quoted} FROM ({query}) AS {_NAME} WHERE {quoted} IS NOT NULL LIMIT 1"
    values = [value for batch in database.batches(sql) for value in batch.column(0).to_pylist()]
    return values[0] if values else None


def _literal(since: datetime, example: Any, clock: Clock, zone: str | None) -> str | None:
    """An instant as the SQL of any database writes it, to be compared with values such as an example.

    >>> from datetime import UTC
    >>> at = datetime(2026, 3, 1, 12, tzinfo=UTC)
    >>> _literal(at, 1772366400000, Clock("ms", None, ""), None), _literal(at, at, Clock("text", None, ""), None)
    ('1772366400000', "'2026-03-01 12:00:00.000000+00:00'")
    >>> _literal(at, datetime(2026, 1, 1), Clock("text", None, ""), "Europe/Warsaw")
    "'2026-03-01 13:00:00.000000'"
    """
    if isinstance(example, int | float | Decimal) and clock.form != "text":
        return str(int(since.timestamp() * _PER_SECOND[clock.form]))
    if isinstance(example, datetime):
        if example.tzinfo is not None:
            return f"'{since:%Y-%m-%d %H:%M:%S.%f}+00:00'"
        there = since.astimezone(ZoneInfo(zone or clock.zone or "UTC"))
        return f"'{there:%Y-%m-%d %H:%M:%S.%f}'"
    if isinstance(example, date):
        return f"'{since - timedelta(days=1):%Y-%m-%d}'"
    return None
