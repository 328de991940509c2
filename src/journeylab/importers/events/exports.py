"""Exports as files: CSV in any of the usual encodings, JSON and JSON Lines, Parquet and Arrow, plain, `.gz` or `.zip`.

What a file's rows are is told by its columns, and where several tables have the same ones by its name.
"""

from __future__ import annotations

import gzip
import re
import zipfile
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from journeylab.errors import DataError, known, listed
from journeylab.jsontext import data_of
from journeylab.logfiles import opened
from journeylab.rejects import Rejects
from journeylab.tablesource import as_arrow, is_table, repeated

from .adapter import Adapter, Table
from .unfolding import TABLE, json_text
from .values import of_values

if TYPE_CHECKING:
    import pyarrow as pa

    from journeylab.tablesource import Source

__all__ = ["Export", "as_known", "exports_in", "known_name", "table_named", "table_of", "unfolded_table"]

_TEXTS: Final = (".csv", ".tsv", ".tab", ".txt", ".dat", ".psv")
_COLUMNAR: Final = {".parquet": "parquet", ".pq": "parquet", ".arrow": "arrow", ".feather": "arrow", ".ipc": "arrow"}
_JSON: Final = (".json", ".jsonl", ".ndjson")
_LARGEST: Final = 1 << 33
_LARGEST_RATIO: Final = 250
_FREE_BYTES: Final = 1 << 24
_BOMS: Final = ((b"\xef\xbb\xbf", "utf-8-sig"), (b"\xff\xfe", "utf-16"), (b"\xfe\xff", "utf-16"))


@dataclass
class Export:
    """Rows of one table.

    Attributes:
        table: which one.
        rows: under the system's names.
        rejects: of these rows; how they are numbered, and which cannot be read.
        mark: under which it is remembered up to where they were read; empty where that is not asked.
    """

    table: Table
    rows: pa.Table
    rejects: Rejects
    mark: str = ""


def exports_in(adapter: Adapter, source: Any, name: str | None = None) -> Iterator[Export]:
    """The tables in a file, a folder, a table in memory, or a list of JSON objects.

    Args:
        adapter: the system's.
        source: a path; a pandas or polars frame, an Arrow table, or a list of dicts.
        name: of its table, where neither columns nor names tell.

    Raises:
        DataError: when there is no such file, it cannot be read, or nobody can tell which table it is.
    """
    table = None if name is None else table_named(adapter, name)
    if isinstance(source, str | Path):
        for label, data in _files(Path(source).expanduser()):
            yield from _exports_of(adapter, table, label, data)
    elif isinstance(source, list | tuple) and all(isinstance(row, Mapping) for row in source):
        rejects = Rejects("the rows")
        yield from _from_rows(adapter, table, "the rows", _unfolded(adapter, enumerate(source), rejects), rejects)
    elif is_table(source) or type(source).__name__ == "DataFrame":
        made = _arrow(source)
        yield from _from_table(adapter, table, "the table", made, Rejects("the table"))
    else:
        raise DataError(
            f"a {type(source).__name__} is no export; give a file, a folder, a frame, a list of dicts, or a database"
        )


def _arrow(source: Any) -> pa.Table:
    import pyarrow as pa

    if type(source).__module__.partition(".")[0] == "pandas":
        return pa.Table.from_pandas(source, preserve_index=False).replace_schema_metadata(None)
    return as_arrow(source, "the table")


# Files


def _files(path: Path) -> Iterator[tuple[str, bytes | Path]]:
    """The files at a path with their names: of a folder all, by name; of an archive all that are in it."""
    if path.is_dir():
        inside = [one for one in sorted(path.iterdir()) if one.is_file() and not one.name.startswith(".")]
        if not inside:
            raise DataError(f"{path}: there are no files in this folder")
        for one in inside:
            yield from _files(one)
        return
    if not path.exists():
        beside = [one.name for one in path.parent.iterdir()] if path.parent.is_dir() else []
        hint = known(path.name, beside, "files there") if beside else "The folder does not exist either."
        raise DataError(f"there is no file {path}; {hint}")
    if path.suffix.lower() != ".zip":
        yield str(path), path
        return
    try:
        with zipfile.ZipFile(path) as archive:
            for part in sorted(archive.infolist(), key=lambda part: part.filename):
                if not part.is_dir() and not part.filename.startswith("__MACOSX/"):
                    yield f"{path}/{part.filename}", _unzipped(archive, part, path)
    except (
        zipfile.BadZipFile,
        zlib.error,
        EOFError,
        NotImplementedError,
        RuntimeError,
        OSError,
        ValueError,
    ) as problem:
        raise DataError(f"{path} cannot be read as a zip archive: {str(problem) or type(problem).__name__}") from None


def _unzipped(archive: zipfile.ZipFile, one: zipfile.ZipInfo, path: Path) -> bytes:
    most = min(_LARGEST, max(_FREE_BYTES, _LARGEST_RATIO * one.compress_size))
    with archive.open(one) as file:
        data = file.read(most + 1)
    if len(data) > most:
        raise DataError(
            f"{path}: {one.filename} unpacks to more than {most:,} bytes, far more than it is packed in; unpack it "
            "yourself if you trust it"
        )
    return data


def _bytes(label: str, data: bytes | Path) -> bytes:
    """The bytes of a file, without `.gz`."""
    try:
        body = data.read_bytes() if isinstance(data, Path) else data
        if not label.lower().endswith(".gz"):
            return body
        most = min(_LARGEST, max(_FREE_BYTES, _LARGEST_RATIO * len(body)))
        import io

        with gzip.open(io.BytesIO(body)) as file:
            unpacked = file.read(most + 1)
    except (OSError, EOFError, zlib.error) as problem:
        raise DataError(f"{label} cannot be read: {str(problem) or type(problem).__name__}") from None
    if len(unpacked) > most:
        raise DataError(
            f"{label} unpacks to more than {most:,} bytes, far more than it is packed in; unpack it yourself"
        )
    return unpacked


def _exports_of(adapter: Adapter, table: Table | None, label: str, data: bytes | Path) -> Iterator[Export]:
    suffixes = [one.lower() for one in Path(label).suffixes if one.lower() != ".gz"]
    suffix = suffixes[-1] if suffixes else ""
    if suffix in _COLUMNAR:
        source = opened(label, _COLUMNAR[suffix], _bytes(label, data), ())
        yield from _from_source(adapter, table, label, source)
    elif suffix in _JSON:
        rejects = Rejects(label, first_row=1)
        rows = _json_rows(adapter, label, _text(label, _bytes(label, data)), suffix, rejects)
        yield from _from_rows(adapter, table, label, rows, rejects)
    elif suffix in _TEXTS:
        source = opened(label, "csv", _text(label, _bytes(label, data)).encode(), ())
        yield from _from_source(adapter, table, label, source)
    elif suffix == ".avro":
        raise DataError(f"{label}: Avro is not read; make JSON Lines of it, such as with `fastavro {label}`")
    else:
        raise DataError(
            f"{label}: the ending does not say what is in it; known are {', '.join((*_TEXTS, *_JSON, *_COLUMNAR))}, "
            ".gz of these, and .zip"
        )


def _text(label: str, body: bytes) -> str:
    """A text in UTF-8 or UTF-16, by its mark, or where it has none by its zeros.

    >>> _text("a.csv", "a,ż".encode("utf-16-le")), _text("a.csv", "a".encode("utf-8-sig"))
    ('a,ż', 'a')
    """
    encoding = next((name for mark, name in _BOMS if body.startswith(mark)), None)
    if encoding is None:
        head = body[:2000]
        even, odd = head[::2].count(0), head[1::2].count(0)
        encoding = (
            "utf-16-le" if odd > len(head) // 4 > even else "utf-16-be" if even > len(head) // 4 > odd else "utf-8"
        )
    try:
        return body.decode(encoding)
    except UnicodeDecodeError:
        raise DataError(
            f"{label} is neither UTF-8 nor UTF-16 text; save it as UTF-8, such as with `iconv -f WINDOWS-1252 -t UTF-8`"
        ) from None


# JSON


def _json_rows(
    adapter: Adapter, label: str, text: str, suffix: str, rejects: Rejects
) -> list[tuple[int, Mapping[str, Any]]]:
    """The flat rows of a text with the numbers of their lines, or in a document their own."""
    if not text.strip():
        raise DataError(f"{label} is empty; JSON is expected")
    if suffix == ".json":
        try:
            document = data_of(text)
        except ValueError as problem:
            if not _is_lines(text):
                raise DataError(f"{label} cannot be read as JSON: {problem}") from None
        else:
            rejects.first_row = 0
            try:
                return list(enumerate(adapter.unfold(document)))
            except ValueError as problem:
                raise DataError(f"{label}: it {problem}; {adapter.title} exports {listed(_tables(adapter))}") from None
    values: list[tuple[int, Any]] = []
    faults: dict[int, tuple[str, str]] = {}
    for number, line in enumerate(text.split("\n"), start=1):
        if line.strip():
            try:
                values.append((number, data_of(line)))
            except ValueError:
                faults[number] = line, "is no JSON"
    _reject_lines(rejects, faults)
    return _unfolded(adapter, values, rejects)


def _unfolded(
    adapter: Adapter, values: Iterable[tuple[int, Any]], rejects: Rejects
) -> list[tuple[int, Mapping[str, Any]]]:
    """The flat rows of JSON values, with the numbers of these."""
    rows: list[tuple[int, Mapping[str, Any]]] = []
    faults: dict[int, tuple[str, str]] = {}
    for number, value in values:
        try:
            rows += [(number, row) for row in adapter.unfold(value)]
        except ValueError as problem:
            faults[number] = json_text(value), str(problem)
    _reject_lines(rejects, faults)
    return rows


def _is_lines(text: str) -> bool:
    first, _, rest = text.strip().partition("\n")
    try:
        data_of(first)
    except ValueError:
        return False
    return bool(rest.strip())


def _reject_lines(rejects: Rejects, faults: Mapping[int, tuple[str, str]]) -> None:
    import pyarrow as pa

    values = pa.array([line for line, _ in faults.values()], pa.string())
    rejects.add_lines(
        np.array(list(faults), np.int64), values, pa.array([why for _, why in faults.values()], pa.string())
    )


def _from_rows(
    adapter: Adapter, table: Table | None, label: str, rows: Sequence[tuple[int, Mapping[str, Any]]], rejects: Rejects
) -> Iterator[Export]:
    """Rows of JSON, sorted by the table that each is of."""
    by_table: dict[str, list[tuple[int, Mapping[str, Any]]]] = {}
    faults: dict[int, tuple[str, str]] = {}
    seen: dict[tuple[str, ...], Table | None] = {}
    for number, row in rows:
        one = table
        if one is None:
            columns = (*row, str(row.get(TABLE)))
            if columns not in seen:
                seen[columns] = _table_of_row(adapter, row)
            one = seen[columns]
        if one is None:
            faults[number] = ", ".join(row), f"has the columns of no table of {adapter.title}"
            continue
        by_table.setdefault(one.name, []).append((number, row))
    _reject_lines(rejects, faults)
    if rejects:
        yield Export(adapter.tables[0], _nothing(), rejects)
    for name, mine in by_table.items():
        own = Rejects(label, first_row=rejects.first_row)
        own.numbers = np.array([number for number, _ in mine], np.int64)
        names = dict.fromkeys(column for _, row in mine for column in row if column != TABLE)
        made = {column: of_values([row.get(column) for _, row in mine]) for column in names}
        one = table_named(adapter, name)
        yield Export(one, as_known(one, _table(made), label), own)


def _table(columns: Mapping[str, Any]) -> pa.Table:
    import pyarrow as pa

    return pa.table(dict(columns))


def _nothing() -> pa.Table:
    return _table({})


def _table_of_row(adapter: Adapter, row: Mapping[str, Any]) -> Table | None:
    if isinstance(said := row.get(TABLE), str):
        return table_named(adapter, said)
    has = {column.lower() for column in row}
    return next((one for one in adapter.tables if _fits(one, has)), None)


# Tables


def _from_source(adapter: Adapter, table: Table | None, label: str, source: Source) -> Iterator[Export]:
    yield from _from_table(adapter, table, label, source.read(source.columns), source.rejects)


def _from_table(
    adapter: Adapter, table: Table | None, label: str, rows: pa.Table, rejects: Rejects
) -> Iterator[Export]:
    import pyarrow as pa

    if any(pa.types.is_nested(field.type) for field in rows.schema):
        yield from unfolded_table(adapter, table, label, rows, rejects)
        return
    one = table or table_of(adapter, rows.column_names, label)
    yield Export(one, as_known(one, rows, label), rejects)


def unfolded_table(
    adapter: Adapter, table: Table | None, label: str, rows: pa.Table, rejects: Rejects
) -> Iterator[Export]:
    """The rows of a table with objects or lists in it, as those of JSON."""
    numbers = rejects.number(np.arange(len(rows))).tolist()
    flat = _unfolded(adapter, zip(numbers, rows.to_pylist(), strict=True), rejects)
    yield from _from_rows(adapter, table, label, flat, rejects)


def _fits(table: Table, has: set[str]) -> bool:
    """Whether columns (in small letters) are those of a table."""
    theirs = {alias.lower(): name.lower() for alias, name in table.aliases.items()}
    found = {theirs.get(column, column) for column in has}
    return all(name.lower() in found for name in table.needs)


def table_named(adapter: Adapter, name: str) -> Table:
    """The table of a name, in any case.

    Raises:
        DataError: when the system has none of that name.
    """
    for table in adapter.tables:
        if table.name.lower() == name.lower():
            return table
    raise DataError(f"{adapter.title} has no table {name!r}; {known(name, _tables(adapter), 'tables')}")


def _tables(adapter: Adapter) -> list[str]:
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
