"""Tables in files: Parquet, CSV, JSON Lines and Arrow, on this machine or at a URL, plain or with `.gz`."""

from __future__ import annotations

import codecs
import csv
import io
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit
from urllib.request import urlopen

import numpy as np

from .errors import DataError, known
from .jsontext import DEEPEST, data_of
from .rejects import Rejects
from .tablesource import Source, of_columns, of_table, repeated

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["open_file", "opened"]

_FORMATS = {
    ".parquet": "parquet",
    ".pq": "parquet",
    ".csv": "csv",
    ".tsv": "csv",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".arrow": "arrow",
    ".feather": "arrow",
    ".ipc": "arrow",
}
_LINE_END, _RETURN = ord("\n"), ord("\r")
_WINDOW = 1 << 25
"""How many bytes of JSON Lines are looked at at once."""
_SCHEMES = ("http", "https", "s3", "gs", "gcs", "abfs", "abfss", "hdfs")
_REPETITIVE_BYTES = 4


def open_file(place: str | Path) -> Source:
    """The source in a file or at a URL, by its ending."""
    text = str(place)
    url = urlsplit(text) if "://" in text else None
    if url is not None and url.scheme == "file":
        return open_file(Path(unquote(url.path)))
    if url is not None and url.scheme not in _SCHEMES:
        raise DataError(f'{url.scheme}:// is a database; say which rows with query="SELECT ...", or give a file\'s URL')
    path = Path(unquote(url.path)) if url is not None else Path(text).expanduser()
    suffixes = [suffix.lower() for suffix in path.suffixes if suffix.lower() != ".gz"]
    kind = _FORMATS.get(suffixes[-1] if suffixes else "")
    if url is None:
        if not path.exists():
            beside = [one.name for one in path.parent.iterdir()] if path.parent.is_dir() else []
            hint = known(path.name, beside, "files there") if beside else "The folder does not exist either."
            raise DataError(f"there is no file {text}; {hint}")
        if path.is_dir():
            kind = "parquet"
    if kind is None:
        raise DataError(
            f"{text}: the ending does not say what is in it; known are {', '.join(_FORMATS)}, or .gz of these"
        )
    data: Any = path if url is None else _downloaded(text, url.scheme)
    if url is not None and text.lower().endswith(".gz"):
        import gzip

        data = gzip.decompress(data)
    return opened(path.name if url is not None else text, kind, data, _files(path) if url is None else ())


def _files(path: Path) -> tuple[Path, ...]:
    return tuple(sorted(path.rglob("*.parquet"))) if path.is_dir() else (path,)


def _downloaded(url: str, scheme: str) -> bytes:
    import pyarrow as pa
    from pyarrow import fs

    try:
        if scheme in ("http", "https"):
            with urlopen(url, timeout=60) as response:
                body: bytes = response.read()
                return body
        system, path = fs.FileSystem.from_uri(url)
        with system.open_input_file(path) as file:
            content: bytes = file.read()
            return content
    except (OSError, ValueError, pa.ArrowException) as error:
        raise DataError(f"{url} cannot be read: {error}") from None


def opened(name: str, kind: str, data: Path | bytes, paths: tuple[Path, ...]) -> Source:
    """The source in a file, or in the bytes of one, that is `parquet`, `csv`, `jsonl` or `arrow`.

    Raises:
        DataError: when it cannot be read as that.
    """
    import pyarrow as pa

    opener = {"parquet": _from_parquet, "csv": _from_csv, "jsonl": _from_json_lines, "arrow": _from_ipc}[kind]
    try:
        return opener(name, data, paths)
    except UnicodeDecodeError:
        raise DataError(f"{name} cannot be read: a name in it is no UTF-8 text") from None
    except (pa.ArrowException, OSError, EOFError, zlib.error) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        label = {"parquet": "Parquet", "csv": "CSV", "jsonl": "JSON Lines", "arrow": "Arrow"}[kind]
        remedy = "; save it as UTF-8 (Excel: CSV UTF-8)" if "UTF8" in reason else ""
        raise DataError(f"{name} cannot be read as {label}: {reason}{remedy}") from None


def _buffer(data: Path | bytes) -> Any:
    """What Arrow reads from: the file, decompressed where its name ends in .gz, or the bytes."""
    import pyarrow as pa

    return pa.input_stream(str(data) if isinstance(data, Path) else pa.BufferReader(data))


def _from_parquet(name: str, data: Path | bytes, paths: tuple[Path, ...]) -> Source:
    """Parquet, of which only the columns asked for are read, each time anew; a folder's files in order of name."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    def state() -> list[tuple[int, int]]:
        return [(path.stat().st_size, path.stat().st_mtime_ns) for path in paths]

    at_first = state()
    if isinstance(data, Path) and not paths:
        raise DataError(f"{name}: there are no Parquet files in this folder")
    places = list(paths) or [pa.BufferReader(data)]
    few = _repetitive(pq.read_metadata(places[0]))
    files = [pq.ParquetFile(place, read_dictionary=few, pre_buffer=False) for place in places]

    def read(columns: Sequence[str]) -> pa.Table:
        try:
            if state() == at_first:
                tables = [file.read(list(columns)) for file in files]
                return _sound(tables[0] if len(tables) == 1 else pa.concat_tables(tables))
        except (pa.ArrowException, OSError) as error:
            raise DataError(f"{name} cannot be read as Parquet: {str(error).splitlines()[0]}") from None
        raise DataError(f"{name} has changed since it was read; read it again")

    def stream(columns: Sequence[str], n_rows: int) -> Iterator[pa.Table]:
        try:
            for file in files:
                for batch in file.iter_batches(n_rows, columns=list(columns)):
                    yield _sound(pa.Table.from_batches([batch]))
        except (pa.ArrowException, OSError) as error:
            raise DataError(f"{name} cannot be read as Parquet: {str(error).splitlines()[0]}") from None
        if state() != at_first:
            raise DataError(f"{name} has changed since it was read; read it again")

    return Source(name, files[0].schema_arrow.names, read, Rejects(name), paths, is_lazy=True, stream=stream)


def _repetitive(metadata: Any) -> list[str]:
    """The text columns that take few bytes a value, as their dictionaries are small: Arrow may keep them encoded."""
    names = []
    for i in range(metadata.num_columns):
        chunks = [metadata.row_group(group).column(i) for group in range(metadata.num_row_groups)]
        is_text = bool(chunks) and chunks[0].physical_type == "BYTE_ARRAY" and chunks[0].has_dictionary_page
        n_bytes, n_values = (
            sum(getattr(one, key) for one in chunks) for key in ("total_uncompressed_size", "num_values")
        )
        if is_text and n_bytes < _REPETITIVE_BYTES * n_values:
            names.append(chunks[0].path_in_schema)
    return names


def _from_ipc(name: str, data: Path | bytes, paths: tuple[Path, ...]) -> Source:
    from pyarrow import feather

    table = feather.read_table(str(data) if isinstance(data, Path) else io.BytesIO(data))
    return of_table(name, _sound(table), Rejects(name), paths=paths)


def _sound(table: pa.Table) -> pa.Table:
    """The table, whose texts are UTF-8 and whose codes and offsets lie within: Arrow looks at neither when it reads.

    Raises:
        pyarrow.ArrowInvalid: when anything in it is not.
    """
    table.validate(full=True)
    return table


def _from_csv(name: str, data: Path | bytes, paths: tuple[Path, ...]) -> Source:
    """CSV with a header: every value a text, empty ones missing; the separator is the header's most frequent one."""
    import pyarrow as pa

    with _buffer(data) as stream:
        header = stream.read(1 << 16).decode("utf-8-sig", errors="replace").partition("\n")[0].rstrip("\r")
    if not header:
        raise DataError(f"{name} is empty; the first line names the columns")
    delimiter = max(",;\t|", key=header.count)
    try:
        columns = next(csv.reader([header], delimiter=delimiter))
    except csv.Error as error:
        raise DataError(f"{name} cannot be read as CSV: the first line, which names the columns: {error}") from None
    twice = repeated(columns)
    if twice:
        raise DataError(f"{name}: two columns are named {', '.join(map(repr, twice))}; rename one")
    malformed: list[Any] = []
    try:
        table = _csv_table(data, columns, delimiter)
    except pa.ArrowInvalid:  # only without threads does the reader know the numbers of lines
        _refuse_other_texts(name, data)
        table = _csv_table(data, columns, delimiter, malformed)
    rejects = Rejects(name, first_row=2)
    rejects.numbers = np.setdiff1d(
        np.arange(2, 2 + len(table) + len(malformed)), [row.number for row in malformed], assume_unique=True
    )
    rejects.add_lines(
        np.array([row.number for row in malformed], np.int64),
        pa.array([row.text for row in malformed], pa.string()),
        pa.array(
            [f"has {row.actual_columns} values, the header names {len(columns)}" for row in malformed], pa.string()
        ),
    )
    blank = _all_missing(table)
    if blank.any():
        table, rejects.numbers = table.filter(pa.array(~blank)), rejects.numbers[~blank]
    return of_table(name, table, rejects, paths=paths, is_text=True)


def _refuse_other_texts(name: str, data: Path | bytes) -> None:
    """Refuses what is no UTF-8, before Arrow shows lines of it to Python."""
    decoder = codecs.getincrementaldecoder("utf-8")()
    with _buffer(data) as stream:
        try:
            while block := stream.read(1 << 20):
                decoder.decode(block)
            decoder.decode(b"", final=True)
        except UnicodeDecodeError:
            remedy = "save it as UTF-8 (Excel: CSV UTF-8)"
            raise DataError(f"{name} cannot be read as CSV: it is no UTF-8 text; {remedy}") from None


def _csv_table(
    data: Path | bytes, columns: Sequence[str], delimiter: str, malformed: list[Any] | None = None
) -> pa.Table:
    """All values as texts; lines that have too few or too many go to `malformed`, without which there may be none."""
    import pyarrow as pa
    from pyarrow import csv as arrow_csv

    def skip(row: Any) -> str:
        assert malformed is not None
        malformed.append(row)
        return "skip"

    with _buffer(data) as stream:
        return arrow_csv.read_csv(
            stream,
            read_options=arrow_csv.ReadOptions(use_threads=malformed is None),
            parse_options=arrow_csv.ParseOptions(
                delimiter=delimiter, newlines_in_values=True, ignore_empty_lines=False,
                invalid_row_handler=None if malformed is None else skip,
            ),
            convert_options=arrow_csv.ConvertOptions(
                column_types=dict.fromkeys(columns, pa.string()), null_values=[""], strings_can_be_null=True
            ),
        )  # fmt: skip


def _all_missing(table: pa.Table) -> Any:
    """The rows without a single value, which are blank lines."""
    blank = np.ones(len(table), np.bool_)
    for column in table.columns:
        if not column.null_count:
            return np.zeros(len(table), np.bool_)
        blank &= column.is_null().to_numpy()
    return blank


def _from_json_lines(name: str, data: Path | bytes, paths: tuple[Path, ...]) -> Source:
    """JSON Lines: texts stay texts, whatever they look like; line by line where a line or a column is not uniform."""
    import pyarrow as pa
    from pyarrow import json as arrow_json

    with _buffer(data) as stream:
        body = stream.read().strip()
    if not body:
        raise DataError(f"{name} is empty; one JSON object is expected on each line")
    hints: dict[str, Any] = {}
    while _is_plain(body):
        options = arrow_json.ParseOptions(explicit_schema=pa.schema(list(hints.items())))
        try:
            table = _sound(arrow_json.read_json(pa.BufferReader(body), parse_options=options))
        except pa.ArrowInvalid:
            break
        times = [field.name for field in table.schema if pa.types.is_timestamp(field.type)]
        if not times:
            return of_table(name, table, Rejects(name, first_row=1), paths=paths)
        # Arrow takes texts for times whether or not they have a zone, and does not tell which.
        hints |= dict.fromkeys(times, pa.string())
    try:
        text = body.decode()
    except UnicodeDecodeError:
        raise DataError(f"{name} cannot be read as JSON Lines: it is no UTF-8 text; save it as such") from None
    return _from_each_line(name, text, paths)


def _is_plain(body: bytes) -> bool:
    """Whether each line has an object, and none many lists and objects in each other.

    A text of nothing but `null`, and one that is nested some thousand levels deep, end the whole process in Arrow's
    reader (26.0); and a line that has no object is a row to it, so that the rows after it would be numbered otherwise.
    """
    start = 0
    while start < len(body):
        end = len(body) if len(body) - start <= _WINDOW else body.find(b"\n", start + _WINDOW) + 1 or len(body)
        part = np.frombuffer(body, np.uint8, end - start, start)
        part = part[: len(part) - (part[-1] == _LINE_END)]
        ends = np.append(np.flatnonzero(part == _LINE_END), len(part))
        starts = np.append(0, ends[:-1] + 1)
        lasts = ends - 1 - (part[np.maximum(ends - 1, 0)] == _RETURN)
        if (ends == starts).any() or (part[starts] != ord("{")).any() or (part[np.maximum(lasts, 0)] != ord("}")).any():
            return False
        n_open = np.add.reduceat((part == ord("{")) | (part == ord("[")), starts, dtype=np.int64)
        if (n_open > DEEPEST).any():
            return False
        start = end
    return True


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    row = dict(pairs)
    if len(row) < len(pairs):
        raise ValueError("a key occurs twice")
    return row


def _from_each_line(name: str, body: str, paths: tuple[Path, ...]) -> Source:
    import pyarrow as pa

    rejects = Rejects(name, first_row=1)
    rows: list[dict[str, Any]] = []
    numbers: list[int] = []
    malformed: dict[int, str] = {}
    for number, line in enumerate(body.split("\n"), start=1):
        if not line.strip():
            continue
        try:
            row = data_of(line, made=_object)
        except ValueError:
            row = None
        if isinstance(row, dict):
            rows.append(row)
            numbers.append(number)
        else:
            malformed[number] = line
    rejects.numbers = np.array(numbers, np.int64)
    values = pa.array(malformed.values(), pa.string())
    rejects.add_lines(np.array(list(malformed), np.int64), values, "is no JSON object; one is expected on each line")
    names = list(dict.fromkeys(column for row in rows for column in row))
    columns = {column: [row.get(column) for row in rows] for column in names}
    return of_columns(name, columns, rejects, paths=paths)
