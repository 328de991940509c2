"""Statements for many rows, compiled once for each kind of database and executed by its driver without more ado.

SQLAlchemy looks at every parameter of every row, and prepares a result, each time; where a message costs a handful of
such rows that is most of what it costs. Values are plain: texts, numbers, flags, bytes, aware instants, and None.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from datetime import datetime
from functools import lru_cache
from typing import Any, Final

from sqlalchemy import (
    JSON,
    Connection,
    Dialect,
    Insert,
    Table,
    Text,
    Update,
    bindparam,
    cast,
    func,
    literal_column,
    select,
    type_coerce,
)
from sqlalchemy.exc import DBAPIError

from .tables import as_text, aware

__all__ = ["Bulk", "Given", "among", "driven", "held", "insert_into", "member"]

_MOST_VALUES: Final = 900
"""SQLite takes 999 or more in one statement."""


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
        raise DBAPIError.instance(
            text, None, problem, base, hide_parameters=True, dialect=connection.dialect
        ) from problem
    return cursor


class Given:
    """What a statement for many rows is made from: `given(name)` is a row's value of a name.

    Args:
        dialect: the database's kind.
        value: makes the expression of a name.
    """

    def __init__(self, dialect: str, value: Callable[[str], Any]) -> None:
        self._dialect, self._value = dialect, value

    def __call__(self, name: str) -> Any:
        """A row's value."""
        return self._value(name)

    def into(self, table: Table, *names: str) -> Any:
        """An INSERT of rows with these columns, which knows `on_conflict_do_nothing` and `on_conflict_do_update`."""
        return _insert(self._dialect, table).values({name: self(name) for name in names})


def insert_into(connection: Connection, table: Table) -> Any:
    """An INSERT of a table which knows `on_conflict_do_nothing` and `on_conflict_do_update` in the database's words."""
    return _insert(connection.dialect.name, table)


def _insert(dialect: str, table: Table) -> Any:
    if dialect == "sqlite":
        from sqlalchemy.dialects.sqlite import insert
    else:
        from sqlalchemy.dialects.postgresql import insert  # type: ignore[assignment]
    return insert(table)


class Bulk:
    """A statement that is executed for many rows.

    On SQLite all of them are one step of one statement: between two steps its driver lets other threads have their
    turn, and these would keep a worker from its work.

    Args:
        statement: makes the INSERT, UPDATE or DELETE of SQLAlchemy Core from what gives a row's value of a name.
        names: the names, in the order in which rows give their values.
    """

    def __init__(self, statement: Callable[[Given], Any], *names: str) -> None:
        self._statement, self._names = statement, names
        self._compiled: dict[str, Callable[[Connection, Sequence[tuple[Any, ...]]], int]] = {}

    def run(self, connection: Connection, rows: Sequence[tuple[Any, ...]]) -> int:
        """How many rows the statement has changed.

        Raises:
            ValueError: for an instant without a time zone: a fault of the program.
        """
        if not rows:
            return 0
        run = self._compiled.get(connection.dialect.name) or self._compile(connection.dialect)
        hold = _text if connection.dialect.name == "sqlite" else aware
        return run(
            connection, [tuple([hold(cell) if type(cell) is datetime else cell for cell in row]) for row in rows]
        )

    def _compile(self, dialect: Dialect) -> Callable[[Connection, Sequence[tuple[Any, ...]]], int]:
        statement = self._statement(Given(dialect.name, bindparam))
        if dialect.name == "sqlite" and isinstance(statement, Insert):
            run = self._as_values(statement.compile(dialect=dialect))
        elif dialect.name == "sqlite" and isinstance(statement, Update):
            rows = func.json_each(bindparam("rows", None)).table_valued("value")
            places: dict[str, Any] = {name: literal_column(f"'$[{place}]'") for place, name in enumerate(self._names)}
            given = Given(dialect.name, lambda name: func.json_extract(rows.c.value, places[name]))
            run = self._as_json(self._statement(given).compile(dialect=dialect))
        else:
            run = self._one_by_one(statement.compile(dialect=dialect))
        self._compiled[dialect.name] = run
        return run

    def _one_by_one(self, compiled: Any) -> Callable[[Connection, Sequence[tuple[Any, ...]]], int]:
        text, constants = str(compiled), compiled.params
        order = compiled.positiontup if compiled.positional else None

        def run(connection: Connection, rows: Sequence[tuple[Any, ...]]) -> int:
            given: list[Any] = [{**constants, **dict(zip(self._names, row, strict=True))} for row in rows]
            if order is not None:
                given = [[values[name] for name in order] for values in given]
            return _changed(driven(connection, text, given, is_many=True))

        return run

    def _as_values(self, compiled: Any) -> Callable[[Connection, Sequence[tuple[Any, ...]]], int]:
        text, constants = str(compiled), compiled.params
        order = [(self._names.index(name), None) if name in self._names else (None, constants[name])
                 for name in compiled.positiontup]  # fmt: skip
        one = "(" + ", ".join("?" * len(order)) + ")"
        before, _, after = text.partition(one)

        def run(connection: Connection, rows: Sequence[tuple[Any, ...]]) -> int:
            n = 0
            for start in range(0, len(rows), _MOST_VALUES // len(order)):
                some = rows[start : start + _MOST_VALUES // len(order)]
                values = [constant if place is None else row[place] for row in some for place, constant in order]
                n += _changed(driven(connection, before + ", ".join([one] * len(some)) + after, values))
            return n

        return run

    def _as_json(self, compiled: Any) -> Callable[[Connection, Sequence[tuple[Any, ...]]], int]:
        text, constants, names = str(compiled), compiled.params, compiled.positiontup

        def run(connection: Connection, rows: Sequence[tuple[Any, ...]]) -> int:
            values = constants | {"rows": json.dumps(rows)}
            return _changed(driven(connection, text, [values[name] for name in names]))

        return run


def _changed(cursor: Any) -> int:
    n: int = cursor.rowcount
    cursor.close()
    return n


@lru_cache(4096)
def _text(at: datetime) -> str:
    return as_text(at)


def held(connection: Connection, at: datetime) -> Any:
    """An instant as the database of a connection holds it."""
    return _text(at) if connection.dialect.name == "sqlite" else at


def among(connection: Connection, column: Any, values: Sequence[Any]) -> Any:
    """The condition that a column of texts or numbers has one of many values, as one parameter."""
    if connection.dialect.name == "sqlite":
        return column.in_(select(func.json_each(json.dumps(list(values))).table_valued("value").c.value))
    return column == func.any(list(values))


def member(connection: Connection, column: Any, name: str) -> Any:
    """The text that a column of JSON objects has under a name; null where it has none."""
    plain = type_coerce(column, Text)
    if connection.dialect.name == "sqlite":
        return func.json_extract(plain, f"$.{name}")
    return func.json_extract_path_text(cast(plain, JSON), name)
