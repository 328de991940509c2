"""The sender's database: SQLite in one file, or PostgreSQL for several workers; its time, and what it must not forget.

`Store.open` refuses a database that can lose what it has confirmed: SQLite below `synchronous=FULL`, PostgreSQL without
`fsync`, `full_page_writes` or `synchronous_commit`. A message whose passing of the gate is forgotten would be sent
twice.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import Connection, Engine, Table, create_engine, event, select, text
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, DatabaseError, OperationalError

from journeylab.errors import DataError
from journeylab.references import LOOPBACK

from . import tables as t
from .bulk import driven, insert_into
from .encrypted import encrypted_engine, is_encrypted, why_unreadable
from .lookup import Lookup
from .recording import recorded
from .seals import Seals, seals_of, with_seals

if TYPE_CHECKING:
    from journeylab.sender.keys import Keys

__all__ = ["TICK", "Clock", "Store", "insert_missing", "lock_contacts"]

TICK: Final = timedelta(microseconds=1)
Clock = Callable[[Connection], datetime]
"""The instant that it is, aware UTC, as the database of a connection knows it."""
_WAIT_MS: Final = 30_000


def _database_clock(connection: Connection) -> datetime:
    """The database's own time: PostgreSQL's server, or this machine's where the database is a file."""
    if connection.dialect.name == "sqlite":
        (now,) = driven(connection, "select strftime('%Y-%m-%d %H:%M:%f', 'now')", ()).fetchone()
        return datetime.fromisoformat(now).replace(tzinfo=UTC)
    (found,) = driven(connection, "select clock_timestamp()", ()).fetchone()
    return found.astimezone(UTC)  # type: ignore[no-any-return]


@dataclass(frozen=True, eq=False)
class Store:
    """A sender's database.

    Attributes:
        engine: SQLAlchemy's engine.
        clock: the time that it goes by, the database's own unless another is given.
    """

    engine: Engine
    clock: Clock = field(default=_database_clock)
    _writer: Any = field(default_factory=threading.RLock, repr=False)

    @classmethod
    def open(
        cls,
        url: str,
        keys: Keys | None = None,
        *,
        file_key: bytes | None = None,
        clock: Clock | None = None,
        create: bool = False,
    ) -> Store:
        """The store at a URL, such as `sqlite:///journeylab.db` or `postgresql+psycopg://user@host/database`.

        Args:
            url: where it is, as SQLAlchemy writes it; see `encrypted` for a file that is encrypted as a whole.
            keys: the sender's; without them nothing that is known of persons can be read or written.
            file_key: the key of a file that is encrypted, where it is opened without `keys`.
            clock: another clock than the database's, to run a journey at another time.
            create: whether to make the tables where there are none, and to bring older ones up to date.

        Raises:
            DataError: when it cannot be reached, has no tables or those of another version, or can forget.
        """
        try:
            engine = with_seals(_engine(url, file_key if keys is None else keys.of("file")), keys)
            store = cls(engine, clock or _database_clock)
            store.refuse_forgetful()
        except (ArgumentError, ModuleNotFoundError) as problem:
            raise DataError(f"the store {_shown(url)} cannot be used: {problem}") from None
        except OperationalError as problem:
            raise DataError(f"the store {_shown(url)} cannot be reached: {str(problem.orig).strip()}") from None
        except DatabaseError as problem:
            if "not a database" not in str(problem.orig):
                raise
            raise DataError(f"the store {why_unreadable(make_url(url))}") from None
        from . import migrations

        if create:
            migrations.upgrade(engine)
        migrations.refuse_other_version(engine, _shown(url))
        return store

    def with_keys(self, keys: Keys) -> Store:
        """The same store, which opens personal data with these keys."""
        return replace(self, engine=with_seals(self.engine, keys))

    @property
    def keys(self) -> Keys:
        """The keys by which it opens personal data.

        Raises:
            DataError: when it was opened without them.
        """
        return self.seals.keys

    @property
    def seals(self) -> Seals:
        """What opens and closes personal data.

        Raises:
            DataError: when it was opened without keys.
        """
        return seals_of(self.engine)

    @property
    def is_sqlite(self) -> bool:
        """Whether it is one file, with one writer at a time."""
        return self.engine.dialect.name == "sqlite"

    @property
    def cipher_version(self) -> str | None:
        """The version of SQLCipher by which the whole file is encrypted; None where it is not, or is no file."""
        if not self.is_sqlite:
            return None
        with self.engine.connect() as connection:
            found = connection.exec_driver_sql("pragma cipher_version")
            return found.scalar() if found.returns_rows else None

    @cached_property
    def _writing(self) -> Engine:
        return self.engine.execution_options(is_writing=True)

    @contextmanager
    def writing(self) -> Iterator[Connection]:
        """A transaction that writes: all of it, or nothing; on SQLite the only one of its time."""
        # SQLite itself would let threads ask for the file again and again instead of taking turns.
        turn = self._writer if self.is_sqlite else nullcontext()
        with turn, self._writing.connect() as connection, connection.begin(), recorded(connection):
            yield connection

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """A transaction that only reads, with a picture of one instant on SQLite."""
        with self.engine.connect() as connection, connection.begin():
            yield connection

    @contextmanager
    def snapshot(self) -> Iterator[Connection]:
        """A transaction that reads, all of it as of one instant on either database."""
        engine = self.engine if self.is_sqlite else self.engine.execution_options(isolation_level="REPEATABLE READ")
        with engine.connect() as connection, connection.begin():
            yield connection

    def now(self, connection: Connection) -> datetime:
        """The instant that it is, by the store's clock."""
        return self.clock(connection)

    def close(self) -> None:
        """Closes all connections."""
        self.engine.dispose()

    def refuse_forgetful(self) -> None:
        """Raises DataError where the database can lose what it has confirmed."""
        with self.engine.connect() as connection:
            wanted: dict[str, tuple[str, ...]]
            if self.is_sqlite:
                settings = {"synchronous": str(connection.exec_driver_sql("pragma synchronous").scalar_one())}
                wanted = {"synchronous": ("2", "3")}
            else:
                wanted = {"fsync": ("on",), "full_page_writes": ("on",), "synchronous_commit": ("on", "remote_apply")}
                settings = {name: str(connection.execute(text(f"show {name}")).scalar_one()) for name in wanted}
        for name, value in settings.items():
            if value not in wanted[name]:
                raise DataError(
                    f"the store can forget what it has confirmed ({name} is {value}), and mail would be sent twice; "
                    f"set {name} = {wanted[name][0]}"
                )


def _shown(url: str) -> str:
    try:
        return make_url(url).render_as_string(hide_password=True)
    except ArgumentError:
        return repr(url)


def _encrypted(url: URL) -> dict[str, str]:
    """How a PostgreSQL on another host is reached: by TLS 1.3 with its certificate verified, unless the URL says else.

    libpq takes `sslmode`, `sslrootcert` and `ssl_min_protocol_version` from the URL or its environment.
    """
    host = str(url.host or url.query.get("host") or os.environ.get("PGHOST") or "")
    if not host or host.startswith("/") or host in LOOPBACK:
        return {}
    wanted = {"sslmode": "verify-full", "sslrootcert": "system", "ssl_min_protocol_version": "TLSv1.3"}
    said = {
        "sslmode": "PGSSLMODE", "sslrootcert": "PGSSLROOTCERT", "ssl_min_protocol_version": "PGSSLMINPROTOCOLVERSION"
    }  # fmt: skip
    return {name: value for name, value in wanted.items() if name not in url.query and said[name] not in os.environ}


def _engine(url: str, file_key: bytes | None) -> Engine:
    parsed = make_url(url)
    if parsed.get_backend_name() == "postgresql":
        parsed = parsed.set(drivername="postgresql+psycopg")
        return create_engine(parsed, pool_pre_ping=True, pool_size=5, connect_args=_encrypted(parsed))
    if parsed.get_backend_name() != "sqlite":
        raise DataError(f"the store {_shown(url)} is neither SQLite nor PostgreSQL")
    if not parsed.database or parsed.database == ":memory:":
        raise DataError("a store in memory forgets everything; name a file, such as sqlite:///journeylab.db")
    if not Path(parsed.database).parent.is_dir():
        raise DataError(f"the store {_shown(url)} cannot be made: there is no folder {Path(parsed.database).parent}")
    waits = {"timeout": _WAIT_MS / 1000}
    if is_encrypted(parsed):
        engine = encrypted_engine(parsed, file_key, connect_args=waits)
    else:
        engine = create_engine(parsed, connect_args=waits)

    @event.listens_for(engine, "connect")
    def _connected(connection: Any, _record: Any) -> None:
        connection.isolation_level = None  # transactions are begun below, and not by the driver's own rules
        durable = ("journal_mode = wal", "synchronous = full", "secure_delete = on")
        for pragma in (*durable, "foreign_keys = on", f"busy_timeout = {_WAIT_MS}"):
            connection.execute(f"pragma {pragma}")

    @event.listens_for(engine, "begin")
    def _begun(connection: Connection) -> None:
        is_writing = connection.get_execution_options().get("is_writing")
        connection.exec_driver_sql("begin immediate" if is_writing else "begin")

    return engine


def lock_contacts(connection: Connection, contacts: Iterable[str], now: datetime) -> dict[str, datetime]:
    """Locks contacts' rows, in one order, and gives each the first instant that may follow all that was decided for it.

    That is `now`, or later where the contact is ahead of the clock; contacts that there are none of are left out. The
    caller notes the instant that it used in `last_at`.
    """
    rows = _LAST.rows(connection, sorted({*contacts}))
    return {contact: max(now, last_at + TICK) for contact, last_at in rows}


_LAST: Final = Lookup(
    lambda among: (
        select(t.contacts.c.contact, t.contacts.c.last_at)
        .where(among(t.contacts.c.contact))
        .order_by(t.contacts.c.contact)
        .with_for_update()
    )
)


def insert_missing(connection: Connection, table: Table, rows: Sequence[Mapping[str, Any]], key: Sequence[str]) -> None:
    """Inserts the rows whose keys are not there; without rows nothing is done."""
    if not rows:
        return
    wanted = insert_into(connection, table).on_conflict_do_nothing(index_elements=[*key])
    connection.execute(wanted, [dict(row) for row in rows])
