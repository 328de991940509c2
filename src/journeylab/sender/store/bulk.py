"""Statements for many rows, compiled once for each kind of database and executed by its driver without more ado.

SQLAlchemy looks at every parameter of every row, and prepares a result, each time; where a message costs a handful of
such rows that is most of what it costs. Values are given as the database holds them: instants through `held`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from datetime import datetime
from functools import lru_cache
from typing import Any, Final

from sqlalchemy import Connection, Dialect, Executable, func, select
from sqlalchemy.exc import DBAPIError

from .tables import Instant

__all__ = ["Bulk", "among", "driven", "held"]

_INSTANT: Final = Instant()


def driven(connection: Connection, text: str, given: Any, *, is_many: bool = False) -> Any:
    """The driver's cursor after a statement, in the connection's transaction.

    Raises:
        DBAPIError: as SQLAlchemy has it, without the values.
    """
    cursor = connection.connection.cursor()
    try:
        (cursor.executemany if is_many else cursor.execute)(text, given)
    except connection.dialect.loaded_dbapi.Error as problem:
        base = connection.dialect.loaded_dbapi.Error
        raise DBAPIError.instance(  # type: ignore[misc]
            text, None, problem, base, hide_parameters=True, dialect=connection.dialect
        ) from problem
    return cursor


class Bulk:
    """A statement that is executed for many rows at once.

    Args:
        statement: of SQLAlchemy Core, what differs from row to row named by `bindparam`.
        names: these names, in the order in which rows give their values.
    """

    def __init__(self, statement: Executable, *names: str) -> None:
        self._statement, self._names = statement, names
        self._compiled: dict[str, tuple[str, Callable[[tuple[Any, ...]], Any]]] = {}

    def run(self, connection: Connection, rows: Sequence[tuple[Any, ...]]) -> int:
        """How many rows the statement has changed."""
        if not rows:
            return 0
        text, given = self._compiled.get(connection.dialect.name) or self._compile(connection.dialect)
        cursor = driven(connection, text, [given(row) for row in rows], is_many=True)
        n: int = cursor.rowcount
        cursor.close()
        return n

    def _compile(self, dialect: Dialect) -> tuple[str, Callable[[tuple[Any, ...]], Any]]:
        compiled: Any = self._statement.compile(dialect=dialect)  # type: ignore[attr-defined]
        constants = {name: value for name, value in compiled.params.items() if name not in self._names}
        if compiled.positional:
            order = [(self._names.index(name), None) if name in self._names else (None, constants[name])
                     for name in compiled.positiontup]  # fmt: skip

            def given(row: tuple[Any, ...]) -> Any:
                return tuple([constant if place is None else row[place] for place, constant in order])
        else:

            def given(row: tuple[Any, ...]) -> Any:
                return {**constants, **dict(zip(self._names, row, strict=True))}

        found = self._compiled[dialect.name] = str(compiled), given
        return found


@lru_cache(4096)
def _text(at: datetime, dialect: Dialect) -> Any:
    return _INSTANT.process_bind_param(at, dialect)


def held(connection: Connection, at: datetime | None) -> Any:
    """An instant as the database of a connection holds it."""
    return _text(at, connection.dialect) if at is not None and connection.dialect.name == "sqlite" else at


def among(connection: Connection, column: Any, values: Sequence[Any]) -> Any:
    """The condition that a column of texts or numbers has one of many values, as one parameter."""
    if connection.dialect.name == "sqlite":
        return column.in_(select(func.json_each(json.dumps(list(values))).table_valued("value").c.value))
    return column == func.any(list(values))
