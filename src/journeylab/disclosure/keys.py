"""The keys of disclosure: one of the ledger, and one of each report with pseudonyms, destroyed when it expires."""

from __future__ import annotations

import hmac
import json
import os
import secrets
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from journeylab.derivedkeys import LENGTH, derived
from journeylab.errors import DataError, known
from journeylab.jsontext import data_of
from journeylab.keyfiles import read_private, write_private

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["LedgerKey", "PseudonymKeys"]


@dataclass(frozen=True, slots=True)
class LedgerKey:
    """The key of a ledger: 256 bits, kept apart from it. Without it the ledger tells nothing of anybody.

    >>> key = LedgerKey(bytes(32))
    >>> key.ids(["ada", "bob"]).dtype, key.of("noise") == key.of("seal")
    (dtype('uint64'), False)
    >>> key
    LedgerKey()
    """

    root: bytes = field(repr=False)

    def __post_init__(self) -> None:
        if len(self.root) != LENGTH:
            raise DataError(f"a ledger's key has {8 * LENGTH} bits; this one has {8 * len(self.root)}")

    @classmethod
    def make(cls, path: Path | str) -> LedgerKey:
        """A new key in a file that only its owner may read.

        Raises:
            DataError: when there is such a file already, or it cannot be written.
        """
        key = cls(secrets.token_bytes(LENGTH))
        text = json.dumps({"ledger": key.root.hex()})
        write_private(Path(path), text.encode(), "a ledger is read only by the key it began with")
        return key

    @classmethod
    def read(cls, path: Path | str) -> LedgerKey:
        """The key in a file.

        Raises:
            DataError: when there is none, it is no key file, or others may read it.
        """
        path = Path(path)
        held = read_private(path, "LedgerKey.make(path) makes one for a new ledger")
        try:
            return cls(bytes.fromhex(data_of(held)["ledger"]))
        except (KeyError, TypeError, ValueError):
            raise DataError(f"{path}: no key of a ledger; take it from where keys are kept") from None

    def of(self, use: str) -> bytes:
        """The key of a use."""
        return derived(self.root, f"journeylab/disclosure/{use}/v1".encode())

    def ids(self, people: Sequence[str]) -> NDArray[np.uint64]:
        """The keyed ids of people: the first 64 bits of HMAC-SHA256."""
        key, digest = self.of("people"), hmac.digest
        joined = b"".join(digest(key, one.encode(), sha256)[:8] for one in people)
        return np.frombuffer(joined, dtype=">u8").astype(np.uint64)


@dataclass(frozen=True, slots=True)
class PseudonymKeys:
    """The keys of reports with pseudonyms, in one file that only its owner may read.

    Each report and epoch has a root of its own, made at random. A key that came of one lasting root could be made
    again after it was destroyed.
    """

    path: Path

    def of(self, report: str, epoch: str, *, expires_at: datetime, now: datetime) -> bytes:
        """The key of a report in an epoch, made when it is first asked for; keys that have expired are destroyed.

        Raises:
            DataError: when the report's key has expired, or would at once; or the file cannot be used.
        """
        self.destroy_expired(now)
        name = json.dumps([report, epoch])
        with self._opened() as kept:
            if name in kept["destroyed"]:
                raise DataError(
                    f"the key of report {report!r}, epoch {epoch!r}, expired at {kept['destroyed'][name]} and is "
                    "destroyed; its pseudonyms cannot be made again: begin a new epoch"
                )
            if name not in kept["keys"]:
                if expires_at <= now:
                    raise DataError(f"the key would expire at {expires_at.isoformat()}, which is over")
                root = secrets.token_bytes(LENGTH).hex()
                kept["keys"][name] = {"root": root, "expires_at": expires_at.isoformat()}
            found = bytes.fromhex(kept["keys"][name]["root"])
        return derived(found, b"report-pseudonym/v1" + name.encode())

    def destroy_expired(self, now: datetime) -> int:
        """Destroys the keys that have expired; how many."""
        with self._opened() as kept:
            over = [name for name, one in kept["keys"].items() if datetime.fromisoformat(one["expires_at"]) <= now]
            for name in over:
                kept["destroyed"][name] = kept["keys"].pop(name)["expires_at"]
            return len(over)

    def destroy(self, report: str, epoch: str, *, now: datetime) -> None:
        """Destroys a report's key before its time.

        Raises:
            DataError: when there is no such key.
        """
        with self._opened() as kept:
            name = json.dumps([report, epoch])
            if name not in kept["keys"]:
                there = [json.loads(one)[0] for one in kept["keys"]]
                raise DataError(f"no key of report {report!r}, epoch {epoch!r}; {known(report, there, 'reports')}")
            del kept["keys"][name]
            kept["destroyed"][name] = now.isoformat()

    @contextmanager
    def _opened(self) -> Iterator[dict[str, Any]]:
        """What the file keeps, to be changed; nobody else has it meanwhile.

        It is written over in place, so that the bytes of a key do not stay behind in a file that was put aside. Were
        the machine to stop half-way, the keys would be lost: pseudonyms that were given out stay as they are.
        """
        import fcntl

        try:
            handle = os.open(self.path, os.O_RDWR | os.O_CREAT, 0o600)
        except OSError as problem:
            raise DataError(f"{self.path}: the keys cannot be used: {problem.strerror}") from None
        with os.fdopen(handle, "r+b") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            if os.fstat(file.fileno()).st_mode & 0o077:
                raise DataError(f"{self.path}: others may read the keys; chmod 600 {self.path}")
            before = file.read()
            try:
                kept = data_of(before.rstrip(b" ")) if before else {"keys": {}, "destroyed": {}}
                if {*map(type, kept["destroyed"].values())} - {str}:
                    raise ValueError
                for one in kept["keys"].values():
                    if (
                        len(bytes.fromhex(one["root"])) != LENGTH
                        or not datetime.fromisoformat(one["expires_at"]).tzinfo
                    ):
                        raise ValueError
                for name in kept["keys"]:
                    report, epoch = data_of(name)
                    if not isinstance(report, str) or not isinstance(epoch, str):
                        raise ValueError
            except (KeyError, TypeError, ValueError, AttributeError):
                raise DataError(f"{self.path}: no file of pseudonyms' keys; take it from where keys are kept") from None
            yield kept
            after = json.dumps(kept).encode()
            if after == before:
                return
            file.seek(0)
            file.write(after.ljust(len(before)))
            file.flush()
            os.fsync(file.fileno())
            file.truncate(len(after))
            os.fsync(file.fileno())


def _check(kept: Any) -> None:
    """Sees to it that a file has what is written into it.

    Raises:
        ValueError, KeyError, TypeError, AttributeError: when it has something else.
    """
    if any(not isinstance(one, str) for one in kept["destroyed"].values()):
        raise ValueError
    for name, one in kept["keys"].items():
        report, epoch = data_of(name)
        expires_at = datetime.fromisoformat(one["expires_at"])
        if not isinstance(report, str) or not isinstance(epoch, str) or expires_at.tzinfo is None:
            raise ValueError
        if len(bytes.fromhex(one["root"])) != LENGTH:
            raise ValueError
