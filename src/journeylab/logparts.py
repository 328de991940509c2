"""Sources of any size, read in parts: what a file or a query has, some rows at a time, and as often as one likes.

A part has the columns of the whole, each of the type that it has in the whole. Where only the whole tells what a column
is (lines of JSON that differ in type, values of a database that do), the source is read as a whole, as `open_source`
does.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from .logfiles import (
    all_missing,
    csv_columns,
    csv_options,
    is_plain_json,
    json_table,
    kind_of_file,
    readable,
    refuse_other_texts,
    too_short_or_long,
)  # fmt: skip
from .logsource import database_parts, open_source
from .rejects import Rejects
from .tablesource import Source

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["open_in_parts"]

_BLOCK: Final = 1 << 25
"""How many bytes of a text file are looked at at once."""


def open_in_parts(source: Any, spill: Path, query: str | None = None, *, what: str = "events") -> Source:
    """The source behind whatever `open_source` takes, whose `parts` are never in memory together where that can be.

    What a database gives is kept in the folder `spill` meanwhile, for it is asked once.

    Raises:
        DataError: as `open_source`.
    """
    parts = database_parts(source, query, what)
    if parts is not None:
        return _spilled(parts, spill / what, what) or open_source(source, query, what=what)
    kind = kind_of_file(source) if query is None and isinstance(source, str | Path) else None
    if kind == "csv":
        return _csv(str(source), Path(source).expanduser())
    if kind == "jsonl":
        return _json_lines(str(source), Path(source).expanduser()) or open_source(source, what=what)
    return open_source(source, query, what=what)


def _source(name: str, columns: list[str], stream: Any, rejects: Rejects, **more: Any) -> Source:
    def read(wanted: Sequence[str]) -> pa.Table:
        import pyarrow as pa

        return pa.concat_tables(stream(wanted, _BLOCK))

    return Source(name, columns, read, rejects, is_lazy=True, stream=stream, **more)


def _at_most(table: pa.Table, n_rows: int) -> Iterator[pa.Table]:
    for start in range(0, len(table), n_rows):
        yield table.slice(start, n_rows)


# CSV


def _csv(name: str, path: Path) -> Source:
    """CSV as `logfiles` reads it; which lines are no rows is known when the parts were read once."""
    columns, delimiter = csv_columns(name, path)
    rejects = Rejects(name, first_row=2)

    def stream(wanted: Sequence[str], n_rows: int) -> Iterator[pa.Table]:
        import pyarrow as pa
        from pyarrow import csv as arrow_csv

        malformed: list[Any] = []
        blank, n = list[np.ndarray[Any, Any]](), 0
        if rejects.passed is None:
            refuse_other_texts(name, path)
        with readable(name, "csv"), pa.input_stream(str(path)) as file:
            for batch in arrow_csv.open_csv(file, **csv_options(columns, delimiter, malformed)):
                table = pa.Table.from_batches([batch])
                missing = all_missing(table)
                blank.append(n + np.flatnonzero(missing))
                n += len(table)
                table = table.filter(pa.array(~missing)) if missing.any() else table
                yield from _at_most(table.select(list(wanted)), n_rows)
        if rejects.passed is None:
            rejects.pass_over(np.array([row.number for row in malformed], np.int64))
            rejects.add_lines(*too_short_or_long(malformed, len(columns)))
            rejects.pass_over(rejects.number(np.concatenate(blank or [np.empty(0, np.int64)])))

    return _source(name, columns, stream, rejects, paths=(path,), is_text=True)


# JSON Lines


def _json_lines(name: str, path: Path) -> Source | None:
    """JSON Lines whose every line is an object and whose columns are each of one type; else None."""
    import pyarrow as pa

    texts: set[str] = set()
    schemas: list[pa.Schema] = []
    try:
        for block in _blocks(path):
            if not is_plain_json(block):
                return None
            schemas.append(json_table(block, texts).schema)
        whole = _unified(schemas, texts)
    except (pa.ArrowException, OSError, EOFError):
        return None  # read as a whole it says what is wrong
    if whole is None:
        return None

    def stream(wanted: Sequence[str], n_rows: int) -> Iterator[pa.Table]:
        with readable(name, "jsonl"):
            for block in _blocks(path):
                table = json_table(block, texts, whole)
                yield from _at_most(table.select(list(wanted)), n_rows)

    return _source(name, whole.names, stream, Rejects(name, first_row=1), paths=(path,))


def _blocks(path: Path) -> Iterator[bytes]:
    """Whole lines of a file, many at a time, without white space around the file."""
    import pyarrow as pa

    rest = b""
    with pa.input_stream(str(path)) as file:
        while data := file.read(_BLOCK):
            rest += data
            end = rest.rstrip().rfind(b"\n") + 1
            if end:
                block, rest = rest[:end], rest[end:]
                if block := block.lstrip() if not block[:1].strip() else block:
                    yield block.rstrip(b"\n")
    if rest := rest.strip():
        yield rest


def _unified(schemas: Sequence[pa.Schema], texts: set[str]) -> pa.Schema | None:
    """The schema that all parts fit into, in which some columns are texts; None without one."""
    import pyarrow as pa

    kinds: dict[str, set[pa.DataType]] = {}
    for schema in schemas:
        for one in schema:
            kinds.setdefault(one.name, set()).add(pa.string() if one.name in texts else one.type)
    whole = {name: _common(found - {pa.null()}) for name, found in kinds.items()}
    return None if None in whole.values() else pa.schema(whole)


def _common(kinds: set[pa.DataType]) -> pa.DataType | None:
    """The one type of a column's parts: numbers with and without fractions are such with, and all others alike."""
    import pyarrow as pa

    if len(kinds) <= 1:
        return next(iter(kinds), pa.null())
    are_numbers = all(pa.types.is_integer(kind) or pa.types.is_floating(kind) for kind in kinds)
    return pa.float64() if are_numbers else None


# Databases


def _spilled(parts: Iterator[pa.Table | None], folder: Path, what: str) -> Source | None:
    """What a database gives, kept on disk; None where a column has values of several types."""
    import pyarrow as pa

    folder.mkdir(parents=True)
    schemas: list[pa.Schema] = []
    files: list[Path] = []
    for table in parts:
        if table is None:
            return None
        schemas.append(table.schema)
        files.append(folder / f"{len(files)}.arrow")
        with pa.OSFile(str(files[-1]), "wb") as file, pa.ipc.new_file(file, table.schema) as writer:
            writer.write_table(table)
    whole = _unified(schemas, set())
    if whole is None:
        return None

    def stream(wanted: Sequence[str], n_rows: int) -> Iterator[pa.Table]:
        schema = pa.schema([whole.field(name) for name in wanted])
        for path in files:
            with pa.memory_map(str(path)) as file:
                table = pa.ipc.open_file(file).read_all().select(list(wanted)).cast(schema)
                yield from _at_most(table, n_rows)

    name = f"the query for {what}"
    return _source(name, whole.names, stream, Rejects(name))
