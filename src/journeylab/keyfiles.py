"""Files that hold a key, which only their owner may read."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from .errors import DataError

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["read_private", "write_private"]


def read_private(path: Path, missing: str) -> bytes:
    """What a file holds that only its owner may read.

    Args:
        path: the file.
        missing: what to do where there is none.

    Raises:
        DataError: when there is none, others may read it, or it cannot be read.
    """
    try:
        if path.stat().st_mode & 0o077:
            raise DataError(f"{path}: others may read the key; chmod 600 {path}")
        return path.read_bytes()
    except FileNotFoundError:
        raise DataError(f"{path}: there is no key; {missing}") from None
    except OSError as problem:
        raise DataError(f"{path}: the key cannot be read: {problem.strerror}") from None


def write_private(path: Path, data: bytes, taken: str) -> None:
    """Writes a new file that only its owner may read, and that outlives a crash of the machine.

    Args:
        path: the file.
        data: what it holds.
        taken: what to do where there is one already, which stays as it is.

    Raises:
        DataError: when there is one already, or it cannot be written.
    """
    try:
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
    except FileExistsError:
        raise DataError(f"{path}: there is a key already; {taken}") from None
    except OSError as problem:
        raise DataError(f"{path}: the key cannot be written: {problem.strerror}") from None
