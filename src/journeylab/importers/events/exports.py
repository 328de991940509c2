"""Exports as files: CSV in any of the usual encodings, JSON and JSON Lines, Parquet and Arrow, plain, `.gz` or `.zip`.

What a file's rows are is told by its columns, and where several tables have the same ones by its name.
"""

from __future__ import annotations

import gzip
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
from journeylab.tablesource import as_arrow, is_table

from .adapter import Adapter, Table
from .recognition import as_known, table_named, table_names, table_of, table_of_row
from .unfolding import TABLE, json_text
from .values import of_values

if TYPE_CHECKING:
    import pyarrow as pa

    from journeylab.tablesource import Source

__all__ = ["Export", "exports_in", "unfolded_table"]

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
                raise DataError(
                    f"{label}: it {problem}; {adapter.title} exports {listed(table_names(adapter))}"
                ) from None
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
                seen[columns] = table_of_row(adapter, row)
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
