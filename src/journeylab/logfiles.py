"""Tables in files: Parquet, CSV, JSON Lines and Arrow, on this machine or at a URL, plain or with `.gz`."""

from __future__ import annotations

import codecs
import csv
import io
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
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

__all__ = [
    "all_missing", "csv_columns", "csv_options", "is_plain_json", "json_table", "kind_of_file", "open_file", "opened",
    "readable", "refuse_other_texts", "too_short_or_long",
]  # fmt: skip

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


def kind_of_file(place: str | Path) -> str | None:
    """What a file on this machine is, by its ending: `parquet`, `csv`, `jsonl` or `arrow`; None for any other place."""
    path = Path(place).expanduser()
    if "://" in str(place) or not path.is_file():
        return None
    suffixes = [suffix.lower() for suffix in path.suffixes if suffix.lower() != ".gz"]
    return _FORMATS.get(suffixes[-1] if suffixes else "")


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
    opener = {"parquet": _from_parquet, "csv": _from_csv, "jsonl": _from_json_lines, "arrow": _from_ipc}[kind]
    with readable(name, kind):
        return opener(name, data, paths)


@contextmanager
def readable(name: str, kind: str) -> Iterator[None]:
    """Where a file is read that is `parquet`, `csv`, `jsonl` or `arrow`.

    Raises:
        DataError: when it cannot be read as that.
    """
    import pyarrow as pa

    try:
        yield
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


def csv_columns(name: str, data: Path | bytes) -> tuple[list[str], str]:
    """The columns that a CSV's header names, and its separator, which is the header's most frequent one.

    Raises:
        DataError: when there is no header, or it names a column twice.
    """
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
    return columns, delimiter


def _from_csv(name: str, data: Path | bytes, paths: tuple[Path, ...]) -> Source:
    """CSV with a header: every value a text, empty ones missing."""
    import pyarrow as pa

    columns, delimiter = csv_columns(name, data)
    malformed: list[Any] = []
    try:
        table = _csv_table(data, columns, delimiter)
    except pa.ArrowInvalid:  # only without threads does the reader know the numbers of lines
        refuse_other_texts(name, data)
        table = _csv_table(data, columns, delimiter, malformed)
    rejects = Rejects(name, first_row=2)
    rejects.pass_over(np.array([row.number for row in malformed], np.int64))
    rejects.add_lines(*too_short_or_long(malformed, len(columns)))
    blank = all_missing(table)
    if blank.any():
        rejects.pass_over(rejects.number(np.flatnonzero(blank)))
        table = table.filter(pa.array(~blank))
    return of_table(name, table, rejects, paths=paths, is_text=True)


def too_short_or_long(malformed: Sequence[Any], n_columns: int) -> tuple[Any, Any, Any]:
    """The numbers of lines that have too few or too many values, their texts, and what is wrong with each."""
    import pyarrow as pa

    says = [f"has {row.actual_columns} values, the header names {n_columns}" for row in malformed]
    texts = pa.array([row.text for row in malformed], pa.string())
    return np.array([row.number for row in malformed], np.int64), texts, pa.array(says, pa.string())


def refuse_other_texts(name: str, data: Path | bytes) -> None:
    """Refuses what is no UTF-8, before Arrow shows lines of it to Python.

    Raises:
        DataError: when it is none.
    """
    decoder = codecs.getincrementaldecoder("utf-8")()
    with _buffer(data) as stream:
        try:
            while block := stream.read(1 << 20):
                decoder.decode(block)
            decoder.decode(b"", final=True)
        except UnicodeDecodeError:
            remedy = "save it as UTF-8 (Excel: CSV UTF-8)"
            raise DataError(f"{name} cannot be read as CSV: it is no UTF-8 text; {remedy}") from None


def csv_options(columns: Sequence[str], delimiter: str, malformed: list[Any] | None = None) -> dict[str, Any]:
    """How Arrow reads all values as texts; lines that have too few or too many go to `malformed`, or are refused."""
    import pyarrow as pa
    from pyarrow import csv as arrow_csv

    def skip(row: Any) -> str:
        assert malformed is not None
        malformed.append(row)
        return "skip"

    return {
        "read_options": arrow_csv.ReadOptions(use_threads=malformed is None),
        "parse_options": arrow_csv.ParseOptions(
            delimiter=delimiter, newlines_in_values=True, ignore_empty_lines=False,
            invalid_row_handler=None if malformed is None else skip,
        ),
        "convert_options": arrow_csv.ConvertOptions(
            column_types=dict.fromkeys(columns, pa.string()), null_values=[""], strings_can_be_null=True
        ),
    }  # fmt: skip


def _csv_table(
    data: Path | bytes, columns: Sequence[str], delimiter: str, malformed: list[Any] | None = None
) -> pa.Table:
    from pyarrow import csv as arrow_csv

    with _buffer(data) as stream:
        return arrow_csv.read_csv(stream, **csv_options(columns, delimiter, malformed))


def all_missing(table: pa.Table) -> Any:
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

    with _buffer(data) as stream:
        body = stream.read().strip()
    if not body:
        raise DataError(f"{name} is empty; one JSON object is expected on each line")
    if is_plain_json(body):
        with suppress(pa.ArrowInvalid):
            return of_table(name, json_table(body, set()), Rejects(name, first_row=1), paths=paths)
    try:
        text = body.decode()
    except UnicodeDecodeError:
        raise DataError(f"{name} cannot be read as JSON Lines: it is no UTF-8 text; save it as such") from None
    return _from_each_line(name, text, paths)


def json_table(body: bytes, texts: set[str], schema: pa.Schema | None = None) -> pa.Table:
    """Lines of JSON as a table, those of a schema where one is given; columns that look like times join the `texts`.

    Raises:
        pyarrow.ArrowInvalid: when a line is not what the others are.
    """
    import pyarrow as pa
    from pyarrow import json as arrow_json

    while True:
        wanted = schema or pa.schema([pa.field(name, pa.string()) for name in sorted(texts)])
        options = arrow_json.ParseOptions(explicit_schema=wanted)
        table = _sound(arrow_json.read_json(pa.BufferReader(body), parse_options=options))
        # Arrow takes texts for times whether or not they have a zone, and does not tell which.
        times = [field.name for field in table.schema if pa.types.is_timestamp(field.type)]
        if not times:
            return table
        texts.update(times)


def is_plain_json(body: bytes) -> bool:
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
    rejects.pass_over(np.setdiff1d(np.arange(1, 1 + max(numbers, default=0)), numbers))
    values = pa.array(malformed.values(), pa.string())
    rejects.add_lines(np.array(list(malformed), np.int64), values, "is no JSON object; one is expected on each line")
    names = list(dict.fromkeys(column for row in rows for column in row))
    columns = {column: [row.get(column) for row in rows] for column in names}
    return of_columns(name, columns, rejects, paths=paths)
