"""What cases share: the databases as they are before, the relay that writes down the truth, and a warm start."""

from __future__ import annotations

import itertools
import multiprocessing
import os
import re
import shutil
import smtplib
import sqlite3
import tempfile
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from copy import copy
from multiprocessing import forkserver
from multiprocessing.context import ForkServerContext
from pathlib import Path
from typing import Any, Protocol

import psycopg

from servers.certificates import Authority
from servers.postfix import Postfix
from servers.postgres import Postgres
from servers.smtp import Ledger, OracleProcess, Rule

from .world import promoted

ONE_AT_A_TIME = threading.Lock()
"""Held by whoever makes, drops or starts something of a PostgreSQL: the wheel's own lock is none between threads."""
TESTS = Path(__file__).resolve().parent.parent


class Truth(Protocol):
    """A relay that knows what it took."""

    host: str
    port: int

    def counts(self) -> Counter[str]:
        """How often each message was taken so far, all connections that have ended included."""

    def relay(self) -> dict[str, Any]:
        """The relay in the settings."""


class Oracle:
    """The SMTP oracle as a process: its ledger is on disk before it answers."""

    def __init__(self, ledger: Path, rules: tuple[Rule, ...] = ()) -> None:
        self._process = OracleProcess(ledger, rules=rules)
        self._process.start()
        self.host, self.port = self._process.host, self._process.port

    def counts(self) -> Counter[str]:
        with suppress(smtplib.SMTPException), smtplib.SMTP(self.host, self.port, timeout=60) as client:
            client.noop()  # what came before this is dealt with now
        return Ledger.counts(self._process.ledger)

    def relay(self) -> dict[str, Any]:
        return {"name": "main", "host": self.host, "port": self.port, "tls": "none"}

    def close(self) -> None:
        self._process.__exit__()


class Mailbox:
    """A real Postfix: what it took is in its queue, and then in its mailbox."""

    _KEY = re.compile(rb"^X-JourneyLab-Message: *(\S+)", re.MULTILINE)

    def __init__(self, folder: Path, postfix: Postfix | None = None, authority: Authority | None = None) -> None:
        self._is_own = postfix is None
        self._authority = authority or Authority(folder)
        self._postfix = postfix or Postfix(self._authority, rejecting_port=1)
        if self._is_own:
            self._postfix.start()
        self.host, self.port = self._postfix.host, self._postfix.port

    def counts(self) -> Counter[str]:
        deadline = threading.Event()
        for _ in range(600):
            if self._postfix.queue_is_empty():
                break
            deadline.wait(0.05)
        inbox = self._postfix.folder / "mail" / "inbox" / "new"
        found = (self._KEY.search(path.read_bytes()) for path in inbox.glob("*"))
        return Counter(one[1].decode() for one in found if one is not None)

    def relay(self) -> dict[str, Any]:
        ca = str(self._authority.file)
        return {"name": "main", "host": "localhost", "port": self.port, "tls": "starttls", "ca": ca}

    def close(self) -> None:
        if self._is_own:
            self._postfix.stop()


class Files:
    """SQLite: each case has a copy of one file."""

    name = "sqlite"

    def __init__(self, folder: Path) -> None:
        self._template = folder / "template.db"
        promoted(f"sqlite:///{self._template}").close()

    def create(self, folder: Path, *, is_empty: bool = False) -> str:
        if not is_empty:
            shutil.copy(self._template, folder / "sender.db")
        return f"sqlite:///{folder / 'sender.db'}"

    def keep(self, url: str) -> None:
        """Keeps a copy of the database as it is, as a backup would."""
        path = _path(url)
        with sqlite3.connect(path) as source, sqlite3.connect(path.with_suffix(".kept")) as target:
            source.backup(target)
        source.close()
        target.close()

    def put_back(self, url: str) -> None:
        path = _path(url)
        for suffix in ("-wal", "-shm"):
            path.with_name(path.name + suffix).unlink(missing_ok=True)
        shutil.copy(path.with_suffix(".kept"), path)

    def drop(self, url: str) -> None:
        """Nothing: the folder goes as a whole."""


def _path(url: str) -> Path:
    return Path(url.removeprefix("sqlite:///"))


class Databases:
    """PostgreSQL: each case has a database of its own, made from one."""

    name = "postgresql"

    def __init__(self, server: Postgres | None = None) -> None:
        self._is_own = server is None
        with ONE_AT_A_TIME:
            self.server = server or Postgres()
            self._template = self.server.create()
        promoted(self.server.url(self._template)).close()

    def create(self, folder: Path, *, is_empty: bool = False) -> str:
        with ONE_AT_A_TIME:
            name = self.server.create()
            if not is_empty:
                self._remake(name, self._template)
        return self.server.url(name)

    def keep(self, url: str) -> None:
        with ONE_AT_A_TIME:
            self._execute(f"CREATE DATABASE {_name(url)}_kept TEMPLATE {_name(url)}")

    def put_back(self, url: str) -> None:
        with ONE_AT_A_TIME:
            self._remake(_name(url), f"{_name(url)}_kept")

    def drop(self, url: str) -> None:
        with ONE_AT_A_TIME:
            for name in (_name(url), f"{_name(url)}_kept"):
                self._execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")

    def _remake(self, name: str, template: str) -> None:
        self._execute(f"DROP DATABASE {name} WITH (FORCE)")
        self._execute(f"CREATE DATABASE {name} TEMPLATE {template}")

    def _execute(self, statement: str) -> None:
        address = self.server.url("postgres").replace("postgresql+psycopg://", "postgresql://")
        with psycopg.connect(address, autocommit=True) as connection:
            connection.execute(statement.encode())

    def close(self) -> None:
        with ONE_AT_A_TIME:
            if self._is_own:
                self.server.stop()
            else:
                self.server.drop(self._template)


def _name(url: str) -> str:
    found = re.match(r"postgresql\+psycopg://[^/]*/([a-z0-9_]+)", url)
    assert found is not None, url
    return found[1]


class Bench:
    """The shared things. Use it in `with`.

    Args:
        postgres: a server that runs already; without one it has its own.
    """

    def __init__(self, postgres: Postgres | None = None) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="journeylab-crash-"))
        self.files = Files(self.folder)
        self.databases = Databases(postgres)
        self.oracle = Oracle(self.folder / "ledger")
        self.context = _forking()
        first = self.context.Process(target=_nothing)
        first.start()
        first.join()
        self._numbers = itertools.count(1)
        self._crash_lock = threading.Lock()
        self._crashable: Databases | None = None

    def case_folder(self) -> Path:
        folder = self.folder / f"case-{next(self._numbers)}"
        folder.mkdir()
        return folder

    @contextmanager
    def crashing(self) -> Iterator[tuple[Bench, Postgres]]:
        """This bench with a server that may be crashed, which nobody else uses meanwhile."""
        with self._crash_lock:
            if self._crashable is None:
                self._crashable = Databases()
            own = copy(self)
            own.databases = self._crashable
            yield own, self._crashable.server

    def __enter__(self) -> Bench:
        return self

    def __exit__(self, *exception: object) -> None:
        self.oracle.close()
        for one in (self.databases, self._crashable):
            if one is not None:
                one.close()
        shutil.rmtree(self.folder)


def _nothing() -> None:
    """What a process does that is only to show that others can be started."""


def _forking() -> ForkServerContext:
    """Processes forked from one that is warm; it ends with this process."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["crash.warm"])
    # As few native threads as can be in a process that is forked.
    wanted = {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1", "ARROW_DEFAULT_MEMORY_POOL": "system"}
    wanted["PYTHONPATH"] = os.pathsep.join(filter(None, [str(TESTS), os.environ.get("PYTHONPATH")]))
    before = {name: os.environ.get(name) for name in wanted}
    os.environ.update(wanted)
    try:
        forkserver.ensure_running()
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
    return context
