"""Queries for the rows of many keys, compiled once for each kind of database and read without more ado."""

from __future__ import annotations

import json
from collections import namedtuple
from collections.abc import Callable, Sequence
from typing import Any

from sqlalchemy import Connection, Dialect, LargeBinary, Select, bindparam, func, select

from .bulk import driven
from .tables import Instant, as_instant

__all__ = ["Lookup"]

Among = Callable[[Any], Any]
"""The condition that a text column has one of the keys that are looked for."""


class Lookup:
    """A query for the rows of many keys.

    Args:
        statement: makes the query from the condition that a column is among the keys; its other parameters are named
            by `bindparam` with the value None, and given as the database holds them: instants through `held`.
    """

    def __init__(self, statement: Callable[[Among], Select[Any]]) -> None:
        self._statement = statement
        self._compiled: dict[str, Callable[[Connection, Sequence[str], dict[str, Any]], list[Any]]] = {}

    def rows(self, connection: Connection, keys: Sequence[str], **given: Any) -> list[Any]:
        """The rows of some keys, as tuples with names; none for no keys."""
        if not keys:
            return []
        read = self._compiled.get(connection.dialect.name) or self._compile(connection.dialect)
        return read(connection, keys, given)

    def _compile(self, dialect: Dialect) -> Callable[[Connection, Sequence[str], dict[str, Any]], list[Any]]:
        is_sqlite = dialect.name == "sqlite"

        def among(column: Any) -> Any:
            if is_sqlite:
                return column.in_(select(func.json_each(bindparam("of", None)).table_valued("value").c.value))
            return column == func.any(bindparam("of", None))

        statement = self._statement(among)
        compiled: Any = statement.compile(dialect=dialect, compile_kwargs={"render_postcompile": True})
        text, constants = str(compiled), dict(compiled.params)
        columns = [*statement.selected_columns]
        if is_sqlite:  # one row: its driver lets other threads have their turn between two
            names = [f"c{i}" for i in range(len(columns))]
            cells = [_plain(name, column.type) for name, column in zip(names, columns, strict=True)]
            whole = f"select json_group_array(json_array({', '.join(cells)})) from found"
            text = f"with found ({', '.join(names)}) as ({text}) {whole}"
        places = compiled.positiontup if compiled.positional else None
        made: Any = namedtuple("Found", [column.key for column in columns])  # type: ignore[misc]
        processors = [
            (place, process)
            for place, column in enumerate(columns)
            if (process := _processor(column.type, dialect)) is not None
        ]

        def read(connection: Connection, keys: Sequence[str], given: dict[str, Any]) -> list[Any]:
            values = constants | given | {"of": json.dumps(keys) if is_sqlite else list(keys)}
            parameters: Any = values if places is None else tuple([values[name] for name in places])
            cursor = driven(connection, text, parameters)
            found = []
            rows = json.loads(cursor.fetchone()[0]) if is_sqlite else cursor.fetchall()
            for row in rows:
                cells = [*row]
                for place, process in processors:
                    if cells[place] is not None:
                        cells[place] = process(cells[place])
                found.append(made._make(cells))
            cursor.close()
            return found

        self._compiled[dialect.name] = read
        return read


def _plain(name: str, kind: Any) -> str:
    """A column as JSON can have it: bytes as hexadecimal digits."""
    return f"iif({name} is null, null, hex({name}))" if isinstance(kind, LargeBinary) else name


def _processor(kind: Any, dialect: Dialect) -> Callable[[Any], Any] | None:
    """What makes of a value of the database, where it is not None, a value of the column's type; None: it is one."""
    if isinstance(kind, Instant):
        return as_instant
    if dialect.name == "sqlite" and isinstance(kind, LargeBinary):
        return bytes.fromhex
    found: Callable[[Any], Any] | None = kind.dialect_impl(dialect).result_processor(dialect, None)
    return found
