"""What other systems put down for the sender: events in the table `inbox`, and files of events and of contacts.

Nothing put down is lost or passed over in silence: a row is taken, or refused with the reason, and an alert stands as
long as anything refused is there. A crash repeats nothing. A row of the table is received in the transaction that marks
it. A row of a file is known by its column `id`, or else by the hash of the file and its number, so that a file taken
half is taken again from its beginning, and what was received is found to be there.
"""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Callable, Collection, Iterator, Sequence
from datetime import datetime, timedelta
from hashlib import file_digest
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import Connection, bindparam, delete, func, select, text, update

from journeylab.clock import instant
from journeylab.errors import DataError
from journeylab.instants import instants
from journeylab.jsontext import data_of
from journeylab.language import plural, say
from journeylab.logsource import open_source
from journeylab.rejects import Rejects
from journeylab.sender.declarations import Declarations
from journeylab.sender.logs import logger
from journeylab.sender.sending.alerts import raise_alert, resolve
from journeylab.sender.settings import Settings
from journeylab.sender.store import Store
from journeylab.sender.store import tables as t
from journeylab.sender.store.bulk import among

from .arrivals import AT_ONCE, Reading, read_contacts, read_events, take
from .intake import Incoming, Refused, receive
from .kinds import known_names, property_kinds
from .ownership import Owners

if TYPE_CHECKING:
    from journeylab.tablesource import Source

__all__ = [
    "FOLDERS",
    "KEPT",
    "files_naming",
    "open_table",
    "take_files",
    "take_inbox",
    "take_table",
    "taken_files",
    "write_refused",
]

FOLDERS: Final = ("contacts", "events")
"""The folders of files, in the order in which they are looked at: whose attributes are there when events come."""
KEPT: Final = timedelta(days=7)
"""How long a row of the table is kept after it was taken; one that was refused, until a person does something."""
_UNFINISHED: Final = (".part", ".tmp", ".filepart", ".crdownload")
_SETTLED: Final = 5.0
_LOCK: Final = 0x6A6C_696E
_REFUSED_ROWS: Final = "inbox/rows"
MOST_BYTES: Final = 2 * 1024**3
"""How much a file may have once it is unpacked."""
_MOST_BEGUN: Final = 5
_REFUSED_FILES: Final = "inbox/files"
_UNREADABLE: Final = "inbox/folder"


def files_naming(settings: Settings, contact: str) -> Iterator[Path]:
    """The files in the folders `taken` and `refused` of the inbox in whose column `contact` one is named.

    A file that cannot be read is given where its bytes have the name.
    """
    for folder in ("taken", "refused"):
        yield from (path for path in _put_aside(settings, folder) if _names(path, contact))


def taken_files(settings: Settings) -> list[Path]:
    """The files in the folders `taken` of the inbox."""
    return [*_put_aside(settings, "taken")]


def _put_aside(settings: Settings, folder: str) -> Iterator[Path]:
    if settings.inbox.folder is None:
        return
    for name in FOLDERS:
        place = settings.path(settings.inbox.folder) / name / folder
        yield from sorted(place.iterdir()) if place.is_dir() else ()


def _names(path: Path, contact: str) -> bool:
    import pyarrow.compute as pc

    try:
        source = open_table(path)
        column = source.read(["contact"])["contact"] if "contact" in source.columns else None
    except DataError:
        column = None
    if column is None:
        return contact.encode() in path.read_bytes()
    return bool(pc.any(pc.equal(pc.cast(column, "string"), contact)).as_py())


# The table


def take_table(store: Store, settings: Settings) -> int:
    """How many rows of the table were taken or refused: all that wait."""
    i, total = t.inbox.c, 0
    while True:
        with store.reading() as connection:
            waits = connection.scalar(select(i.inbox_id).where(i.taken_at.is_(None)).limit(1)) is not None
            is_over = _is_open(connection, _REFUSED_ROWS) and not _n_refused(connection)
        if not waits and not is_over:
            return total
        with store.writing() as connection:
            now = store.now(connection)
            if is_over:
                resolve(connection, _REFUSED_ROWS, now)
            n = take_inbox(
                connection,
                now,
                zone=settings.inbox.timezone,
                declared=Declarations.of(settings),
                owners=Owners.of(settings, "inbox"),
            )
        if not n:
            return total
        total += n


def take_inbox(
    connection: Connection,
    now: datetime,
    *,
    zone: str | None = None,
    most: int = AT_ONCE,
    declared: Declarations | None = None,
    owners: Owners | None = None,
) -> int:
    """How many rows of the table were taken or refused, in the order of their numbers.

    Of several processes one takes at a time: two would tell what happened to a contact in another order.

    Args:
        connection: a writing transaction.
        now: the store's instant.
        zone: of times that do not say theirs.
        most: how many rows at most.
        declared: what is kept of them; by default everything.
        owners: of which attributes the inbox may speak; by default of all.
    """
    if connection.dialect.name == "postgresql":
        mine = connection.execute(text("select pg_try_advisory_xact_lock(:lock)"), {"lock": _LOCK}).scalar_one()
        if not mine:
            return 0
    i = t.inbox.c
    rows = connection.execute(select(t.inbox).where(i.taken_at.is_(None)).order_by(i.inbox_id).limit(most)).all()
    if rows:
        refused = _taken(connection, rows, now, zone, declared, owners)
        taken = update(t.inbox).where(among(connection, i.inbox_id, [one.inbox_id for one in rows]))
        connection.execute(taken.values(taken_at=now))
        if refused:
            because = update(t.inbox).where(i.inbox_id == bindparam("of")).values(refused_because=bindparam("why"))
            connection.execute(because, [{"of": number, "why": why} for number, why in refused.items()])
            said = plural(
                "{n} row of the table inbox refused; `refused_because` says why. Correct a row and set taken_at and "
                "refused_because to null, so that it is taken, or delete it",
                "{n} rows of the table inbox refused; `refused_because` says why. Correct a row and set taken_at and "
                "refused_because to null, so that it is taken, or delete it",
                _n_refused(connection),
            )
            raise_alert(connection, _REFUSED_ROWS, "warning", said, now)
    old = select(i.inbox_id).where(i.taken_at < now - KEPT, i.refused_because.is_(None)).limit(most)
    connection.execute(delete(t.inbox).where(i.inbox_id.in_(old.scalar_subquery())))
    return len(rows)


def _taken(
    connection: Connection,
    rows: Sequence[Any],
    now: datetime,
    zone: str | None,
    declared: Declarations | None,
    owners: Owners | None,
) -> dict[int, str]:
    """Receives rows; why the others are refused, by their numbers."""
    refused: dict[int, str] = {}
    numbers, incoming = [], []
    for row in rows:
        try:
            occurred_at, properties = _instant(row.occurred_at, zone), _object(row.properties)
            incoming.append(Incoming(row.contact, row.event, occurred_at, properties, row.source_id))
            numbers.append(row.inbox_id)
        except ValueError as problem:
            refused[row.inbox_id] = str(problem)
    got = receive(connection, incoming, now, declared, owners)
    if got.left_out:
        logger("inbox").info("table", left_out=dict(got.left_out))
    return refused | {numbers[one.place]: one.reason for one in got.refused}


def _instant(given: str | None, zone: str | None) -> datetime | None:
    """The instant that a text says.

    Raises:
        ValueError: when it says none, or not in which zone.
    """
    import pyarrow as pa

    if given is None:
        return None
    try:
        at = datetime.fromisoformat(given)
    except ValueError:
        raise ValueError(
            f"`occurred_at` {given[:40]!r} is no instant as in ISO 8601, such as 2026-03-02T09:00:00Z"
        ) from None
    if at.tzinfo is not None:
        return at
    if zone is None:
        raise ValueError(f"`occurred_at` {given!r} has no time zone; write it, or set `inbox: {{timezone: ...}}`")
    found = instants(pa.chunked_array([[at]]), "occurred_at", zone, Rejects("the inbox"))
    return instant(found[0].as_py())


def _object(properties: str | None) -> dict[str, Any]:
    if properties is None:
        return {}

    try:
        found = data_of(properties)
    except ValueError as problem:
        raise ValueError(f"`properties` is no JSON: {problem}") from None
    if not isinstance(found, dict):
        raise ValueError("`properties` is no JSON object")
    return found


def _n_refused(connection: Connection) -> int:
    return connection.scalar(select(func.count()).where(t.inbox.c.refused_because.is_not(None))) or 0


def _is_open(connection: Connection, cause: str) -> bool:
    asked = select(t.alerts.c.alert_id).where(t.alerts.c.cause == cause, t.alerts.c.resolved_at.is_(None))
    return connection.scalar(asked) is not None


# The folders


def take_files(store: Store, settings: Settings, is_stopping: Callable[[], bool] = lambda: False) -> int:
    """How many files were taken or refused: all that are complete, in the order of their names, contacts first.

    A file is complete when its name neither begins with a dot nor ends in `.part` or the like, and it was not changed
    for five seconds. It goes to `taken` beside it, or where nothing of it could be read to `refused`; rows that were
    refused are written to `refused/NAME.refused.csv`.

    Args:
        store: the sender's database.
        settings: the sender's, whose `inbox` names the folder; without it there are no files.
        is_stopping: whether to end before the next part of a file.
    """
    if settings.inbox.folder is None:
        return 0
    n = 0
    try:
        folders = [settings.path(settings.inbox.folder) / name for name in FOLDERS]
        for folder in folders:
            folder.mkdir(parents=True, exist_ok=True)
            for path in _complete(folder):
                if is_stopping():
                    return n
                n += _take_file(store, settings, path, is_stopping)
        n_refused = sum(
            1 for folder in folders if (folder / "refused").is_dir() for _ in (folder / "refused").iterdir()
        )
    except OSError as problem:
        said = say(
            "the inbox's folder cannot be used: {problem}: {file}", problem=problem.strerror, file=problem.filename
        )
        with store.writing() as connection:
            raise_alert(connection, _UNREADABLE, "error", said, store.now(connection))
        logger("inbox").error("folder", problem=type(problem).__name__)
        return n
    _say_files(store, n_refused)
    return n


def _complete(folder: Path) -> Iterator[Path]:
    """The files that nobody writes any more."""
    found = sorted(
        path
        for path in folder.iterdir()
        if not path.name.startswith(".") and not path.name.lower().endswith(_UNFINISHED) and path.is_file()
    )
    if not found:
        return
    clock = folder / ".clock"  # the file system's own time, which may be another host's
    clock.touch()
    now = clock.stat().st_mtime
    for path in found:
        try:
            if path.stat().st_mtime <= now - _SETTLED:
                yield path
        except FileNotFoundError:
            continue  # another process has taken it


def _take_file(store: Store, settings: Settings, path: Path, is_stopping: Callable[[], bool]) -> bool:
    """Whether a file was taken or refused; not where it has changed meanwhile, or it was stopped.

    How often it was begun is noted beside it until it is done: a file at which the process itself ends, as one may that
    was made for it, would end each that comes after, too.
    """
    begun = path.with_name(f".{path.name}.begun")
    try:
        before = _state(path)
        with path.open("rb") as file:
            digest = file_digest(file, "sha256").hexdigest()
        refused: Collection[Refused]
        try:
            _note_begun(begun, path)
            reading = _read(store, settings, path, digest)
        except DataError as problem:
            reading, refused = None, (Refused(0, str(problem)),)
        if _state(path) != before:
            return False
        if reading is not None:
            got = take(store, reading, is_stopping, Declarations.of(settings), Owners.of(settings, "inbox"))
            if got is None:
                return False
            refused = got.refused
            n = {"n_new": got.n_new, "n_repeated": got.n_repeated, "n_refused": len(refused)}
            logger("inbox").info("file", folder=path.parent.name, **n, left_out=dict(got.left_out))
        if refused:
            _write_refused(path, reading, refused)
        _move(path, "refused" if reading is None else "taken", digest)
    except FileNotFoundError:
        return False  # another process has taken it
    finally:
        begun.unlink(missing_ok=True)
    return True


def _note_begun(begun: Path, path: Path) -> None:
    """Notes that a file is begun.

    Raises:
        DataError: when nobody has come to its end several times.
    """
    n = begun.stat().st_size if begun.exists() else 0
    if n >= _MOST_BEGUN:
        raise DataError(f"{path}: the sender ended {n} times while it read this; see what is in it")
    with begun.open("ab") as file:
        file.write(b".")


def _state(path: Path) -> tuple[int, int]:
    found = path.stat()
    return found.st_size, found.st_mtime_ns


def _read(store: Store, settings: Settings, path: Path, digest: str) -> Reading:
    source, zone, declared = open_table(path), settings.inbox.timezone, Declarations.of(settings)
    with store.reading() as connection:
        if path.parent.name == "contacts":
            return read_contacts(source, known_names(connection, "contact"), zone, declared)
        return read_events(source, property_kinds(connection), zone, lambda row: f"file/{digest[:40]}/{row}", declared)


def open_table(path: Path) -> Source:
    """The table in a file, as `EventLog.read` takes it, or in a `.json` file: an object or a list of objects.

    Raises:
        DataError: when it cannot be read.
    """
    _refuse_giants(path)
    if path.suffix.lower() != ".json":
        return open_source(path)
    try:
        found = data_of(path.read_bytes())
    except ValueError as problem:
        raise DataError(f"{path} is no JSON: {str(problem)[:200]}") from None
    rows = found if isinstance(found, list) else [found]
    if not all(isinstance(one, dict) for one in rows):
        raise DataError(f"{path}: there is neither an object nor a list of objects")
    return open_source(rows, what=f"rows of {path}")


def _refuse_giants(path: Path) -> None:
    """Refuses a file that unpacks to more than the sender may take: a few kilobytes can stand for many gigabytes.

    Raises:
        DataError: when it does.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    size = path.stat().st_size
    try:
        if path.suffix.lower() == ".gz" and size <= MOST_BYTES:
            with gzip.open(path) as file:
                size = 0
                while size <= MOST_BYTES and (block := file.read(1 << 20)):
                    size += len(block)
        elif path.suffix.lower() in (".parquet", ".pq"):
            about = pq.read_metadata(path)
            size = max(size, sum(about.row_group(i).total_byte_size for i in range(about.num_row_groups)))
    except (OSError, EOFError, zlib.error, pa.ArrowException):
        return  # whoever reads it says what is wrong
    if size > MOST_BYTES:
        raise DataError(f"{path} has more than {MOST_BYTES // 2**20:,} MB, unpacked; send it in parts")


def _write_refused(path: Path, reading: Reading | None, refused: Collection[Refused]) -> None:
    """Writes what was refused, all at once, so that a crash leaves no half of it."""
    folder = path.parent / "refused"
    folder.mkdir(exist_ok=True)
    target = folder / f"{path.name}.refused.csv"
    half = folder / f".{target.name}"
    write_refused(half, reading, refused)
    half.replace(target)


def write_refused(path: Path, reading: Reading | None, refused: Collection[Refused]) -> None:
    """Writes rows that were refused as CSV: `row`, `reason`, and their cells; of a file that is none, the reason."""
    import pandas as pd

    said = pd.DataFrame({"reason": [one.reason for one in refused]})
    table = said if reading is None else reading.rows_of(refused).to_pandas()
    table.to_csv(path, index=False)


def _move(path: Path, folder: str, digest: str) -> None:
    """Moves a file into a folder beside it; one that is there under its name stays as it is."""
    target = path.parent / folder / path.name
    target.parent.mkdir(exist_ok=True)
    if target.exists():
        target = target.with_name(f"{digest[:8]}-{path.name}")
    path.replace(target)


def _say_files(store: Store, n: int) -> None:
    with store.reading() as connection:
        is_said, is_unreadable = (_is_open(connection, cause) for cause in (_REFUSED_FILES, _UNREADABLE))
    if bool(n) == is_said and not is_unreadable:
        return
    said = plural(
        "{n} file in the folders `refused` of the inbox, with what was refused and why; correct the rows and put them "
        "down again, then take these files away",
        "{n} files in the folders `refused` of the inbox, with what was refused and why; correct the rows and put them "
        "down again, then take these files away",
        n,
    )
    with store.writing() as connection:
        now = store.now(connection)
        resolve(connection, _UNREADABLE, now)
        if n and not is_said:
            raise_alert(connection, _REFUSED_FILES, "warning", said, now)
        elif not n:
            resolve(connection, _REFUSED_FILES, now)
