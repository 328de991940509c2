"""Which of a system's tables some rows are: by their columns, and where several have the same by a file's name."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from journeylab.errors import DataError, known, listed
from journeylab.tablesource import repeated

from .adapter import Adapter, Table
from .unfolding import TABLE

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["as_known", "known_name", "table_named", "table_names", "table_of", "table_of_row"]


def table_of_row(adapter: Adapter, row: Mapping[str, Any]) -> Table | None:
    """The table that a row of JSON is of, by its keys or its word; None where there is none."""
    if isinstance(said := row.get(TABLE), str):
        return table_named(adapter, said)
    has = {column.lower() for column in row}
    return next((one for one in adapter.tables if _fits(one, has)), None)


def _fits(table: Table, has: set[str]) -> bool:
    """Whether columns (in small letters) are those of a table."""
    theirs = {alias.lower(): name.lower() for alias, name in table.aliases.items()}
    found = {theirs.get(column, column) for column in has}
    return all(name.lower() in found for name in table.needs) and not any(one.lower() in found for one in table.lacks)


def table_named(adapter: Adapter, name: str) -> Table:
    """The table of a name, in any case.

    Raises:
        DataError: when the system has none of that name.
    """
    for table in adapter.tables:
        if table.name.lower() == name.lower():
            return table
    raise DataError(f"{adapter.title} has no table {name!r}; {known(name, table_names(adapter), 'tables')}")


def table_names(adapter: Adapter) -> list[str]:
    return [table.name for table in adapter.tables]


def table_of(adapter: Adapter, columns: Iterable[str], label: str) -> Table:
    """The table that has such columns; of several with the same the one that a file's name says.

    Raises:
        DataError: when there is none, or neither columns nor name tell.
    """
    has = {column.lower() for column in columns}
    fitting = [table for table in adapter.tables if _fits(table, has)]
    if not fitting:
        nearest = max(adapter.tables, key=lambda table: sum(name.lower() in has for name in table.needs))
        missing = [name for name in nearest.needs if name.lower() not in has]
        raise DataError(
            f"{label} has the columns of no table of {adapter.title}; for {nearest.name}, the nearest, it lacks "
            f"{listed(missing)}. `journeylab events systems {adapter.name}` lists all"
        )
    named = _by_words(fitting, Path(label).name)
    if named is not None:
        return named
    most = max(len(table.needs) for table in fitting)
    full = [table for table in fitting if len(table.needs) == most]
    if len(full) == 1:
        return full[0]
    raise DataError(
        f"{label} may be {' or '.join(table.name for table in full)}, which have the same columns; name the file after "
        f"one of them, or say which: {full[0].name}={label}"
    )


def _by_words(tables: Sequence[Table], file: str) -> Table | None:
    """The table that a file's name speaks of: of several the one whose word is the longest."""
    parts = [one.lower() for one in re.findall(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])", file.partition(".")[0])]
    words = {"".join(parts[i:j]) for i in range(len(parts)) for j in range(i + 1, len(parts) + 1)}
    said = sorted(
        ((max(len(word) for word in spoken), table.name) for table in tables if (spoken := words & {*table.words})),
        reverse=True,
    )
    if not said or (len(said) > 1 and said[0][0] == said[1][0]):
        return None
    return next(table for table in tables if table.name == said[0][1])


def known_name(table: Table, column: str) -> str:
    """The name that a table's map has for a column, whatever its case; the column's own where the map has none."""
    if column in table.known_columns:
        return column
    for name in table.known_columns:
        if name.lower() == column.lower():
            return name
    return next((name for alias, name in table.aliases.items() if alias.lower() == column.lower()), column)


def as_known(table: Table, rows: pa.Table, label: str) -> pa.Table:
    """Rows with their columns under the names that the table's map has, whatever their case.

    Raises:
        DataError: when two columns would have one name, or one has bytes.
    """
    import pyarrow as pa

    names = [known_name(table, column) for column in rows.column_names]
    if twice := repeated(names):
        raise DataError(f"{label}: there is more than one column {listed(twice)}, by this or another of its names")
    for one in rows.schema:
        if (
            pa.types.is_binary(one.type)
            or pa.types.is_large_binary(one.type)
            or pa.types.is_fixed_size_binary(one.type)
        ):
            raise DataError(f"{label}: column {one.name!r} has bytes; make texts of them, or leave it out")
    return rows.rename_columns(names)
