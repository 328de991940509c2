"""A table whose columns can be read, wherever it is: what files, frames and databases have in common."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .columnvalues import from_values
from .errors import DataError
from .rejects import Rejects

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["Source", "of_columns", "of_table"]


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
    """

    name: str
    columns: list[str]
    read: Callable[[Sequence[str]], pa.Table]
    rejects: Rejects
    paths: tuple[Path, ...] = field(default=())
    is_text: bool = False
    is_lazy: bool = False


def of_table(name: str, table: pa.Table, rejects: Rejects, **more: Any) -> Source:
    twice = sorted({column for column in table.column_names if table.column_names.count(column) > 1})
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
