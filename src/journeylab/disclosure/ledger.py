"""The fourth rule's memory: who was behind every number that was disclosed, under keyed ids, encrypted, in one file."""

from __future__ import annotations

import hmac
import json
import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np

from journeylab.errors import DataError

from .keys import LedgerKey

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Ids = NDArray[np.uint64]

__all__ = ["Entry", "Ledger", "Outcome", "Writing"]

_TABLES: Final = """
create table if not exists about (name text primary key, sealed blob not null) strict;
create table if not exists sets (name blob primary key, sealed blob not null) strict;
create table if not exists outcomes (name blob primary key, sealed blob not null) strict;
create table if not exists shown (place integer primary key, sealed blob not null) strict;
create table if not exists cohorts (name blob primary key, sealed blob not null) strict;
create table if not exists budgets (name blob primary key, sealed blob not null) strict;
create table if not exists answers (name blob primary key, sealed blob not null) strict;
"""
_CHECK: Final = b"a ledger of disclosures"
_NONCE: Final = 12
_PATIENCE_S: Final = 60


class Outcome(NamedTuple):
    """What became of a number: its state and value, and who was behind it."""

    state: str
    value: float
    ids: Ids


class Entry(NamedTuple):
    """A number that was shown: what kind of figure it is, its value, and how far the truth may lie from it."""

    kind: str
    value: float
    slack: int
    ids: Ids


@dataclass(frozen=True, slots=True)
class Ledger:
    """What was disclosed, in a SQLite file that is made when it is first used.

    It has no names of people, tables or values that could be read without the key: names are keyed hashes, and all else
    is encrypted (AES-256-GCM, each row bound to its place). All that one audience can read belongs in one ledger.

    Args:
        path: the file.
        key: the key it began with.
    """

    path: Path | str
    key: LedgerKey = field(repr=False)

    @contextmanager
    def writing(self) -> Iterator[Writing]:
        """The ledger in one transaction, which nobody else writes to meanwhile; committed when the block ends well.

        Raises:
            DataError: when the file is no ledger, is not of this key, or is busy for a minute.
        """
        path = Path(self.path)
        if path.exists() and path.stat().st_mode & 0o077:
            raise DataError(f"{path}: others may read the ledger; chmod 600 {path}")
        try:
            os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
            with closing(sqlite3.connect(path, timeout=_PATIENCE_S, isolation_level=None)) as connection:
                connection.execute("pragma secure_delete = on")
                connection.execute("pragma synchronous = full")
                connection.execute("begin immediate")
                for statement in _TABLES.strip().splitlines():
                    connection.execute(statement)
                writing = Writing(connection, self.key, str(path))
                writing.check()
                yield writing
                connection.execute("commit")
        except OSError as problem:
            raise DataError(f"{path}: the ledger cannot be used: {problem.strerror}") from None
        except sqlite3.DatabaseError as problem:
            raise DataError(f"{path}: the ledger cannot be used: {problem}") from None
        except UnicodeDecodeError:  # in what SQLite says of a schema that was changed
            raise DataError(f"{path}: the ledger cannot be used: names in it are no text") from None


class Writing:
    """A ledger while it is written to."""

    def __init__(self, connection: sqlite3.Connection, key: LedgerKey, path: str) -> None:
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM

        self._connection, self._path = connection, path
        self._cipher = AESGCM(key.of("seal"))
        self._names = key.of("names")

    def check(self) -> None:
        """Sees to it that the key is the ledger's.

        Raises:
            DataError: when it is not.
        """
        if self.kept("about", b"check") is None:
            self.keep("about", b"check", _CHECK)

    def name(self, what: bytes) -> bytes:
        """A keyed hash that stands for a thing."""
        return hmac.digest(self._names, what, sha256)

    def _sealed(self, data: bytes, place: bytes) -> bytes:
        nonce = os.urandom(_NONCE)
        return nonce + self._cipher.encrypt(nonce, data, place)

    def _opened(self, sealed: bytes, place: bytes) -> bytes:
        from cryptography.exceptions import InvalidTag

        try:
            return self._cipher.decrypt(sealed[:_NONCE], sealed[_NONCE:], place)
        except (InvalidTag, TypeError, ValueError):  # not of this key, no bytes, or too few of them
            raise DataError(
                f"{self._path}: the ledger is not of this key, or was changed; bring the key that it began with"
            ) from None

    def kept(self, table: str, name: bytes) -> bytes | None:
        """What a table keeps under a name."""
        at = name if table != "about" else name.decode()
        row = self._connection.execute(f"select sealed from {table} where name = ?", (at,)).fetchone()
        return None if row is None else self._opened(row[0], table.encode() + name)

    def keep(self, table: str, name: bytes, data: bytes) -> None:
        """Keeps something under a name, in place of what was there."""
        at = name if table != "about" else name.decode()
        sealed = self._sealed(data, table.encode() + name)
        self._connection.execute(f"insert or replace into {table} values (?, ?)", (at, sealed))

    def _keep_set(self, ids: Ids) -> bytes:
        data = np.sort(ids).astype(">u8").tobytes()
        name = self.name(b"set" + data)
        if self._connection.execute("select 1 from sets where name = ?", (name,)).fetchone() is None:
            self.keep("sets", name, data)
        return name

    def _set(self, name: bytes) -> Ids:
        data = self.kept("sets", name)
        if data is None:
            raise DataError(f"{self._path}: the ledger lacks people it refers to; restore it from its last copy")
        return np.frombuffer(data, dtype=">u8").astype(np.uint64)

    def outcome(self, identity: bytes) -> Outcome | None:
        """What became of a number when it was last decided on; None for a new one."""
        data = self.kept("outcomes", self.name(identity))
        if data is None:
            return None
        one = json.loads(data)
        return Outcome(one["state"], one["value"], self._set(bytes.fromhex(one["set"])))

    def decide(self, identity: bytes, outcome: Outcome, kind: str, slack: int) -> None:
        """Writes down what became of a number, and what was shown where it is."""
        of = self._keep_set(outcome.ids).hex()
        about: dict[str, Any] = {"state": outcome.state, "value": outcome.value, "set": of}
        self.keep("outcomes", self.name(identity), json.dumps(about).encode())
        if outcome.state == "shown":
            place = self._connection.execute("select coalesce(max(place), 0) + 1 from shown").fetchone()[0]
            data = json.dumps({"kind": kind, "value": outcome.value, "slack": slack, "set": of}).encode()
            sealed = self._sealed(data, b"shown%d" % place)
            self._connection.execute("insert into shown values (?, ?)", (place, sealed))

    def shown(self) -> list[Entry]:
        """All numbers that were ever shown, in order; what was shown alike of the same people, once."""
        opened: dict[str, Ids] = {}
        entries: dict[tuple[str, float, int, str], Entry] = {}
        for place, sealed in self._connection.execute("select place, sealed from shown order by place").fetchall():
            one = json.loads(self._opened(sealed, b"shown%d" % place))
            of = one["set"]
            if of not in opened:
                opened[of] = self._set(bytes.fromhex(of))
            told = (one["kind"], one["value"], one["slack"], of)
            entries.setdefault(told, Entry(one["kind"], one["value"], one["slack"], opened[of]))
        return list(entries.values())

    def freeze(self, cohort: str, ids: Ids) -> Ids:
        """Freezes who belongs to a cohort when it is first named; then as it was frozen."""
        name = self.name(b"cohort" + cohort.encode())
        data = self.kept("cohorts", name)
        if data is None:
            self.keep("cohorts", name, np.sort(ids).astype(">u8").tobytes())
            return ids
        return np.frombuffer(data, dtype=">u8").astype(np.uint64)
