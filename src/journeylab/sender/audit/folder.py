"""A folder of checkpoints that is only added to, where the database's administrator cannot edit it.

Each checkpoint is a file of its own, in a folder for its day; beside it are the hashes of the leaves that came since
the checkpoint before, by which a fault is located to the entry. Nothing about a person is in either: leaves hide what
they commit to.

```
2026-03-02/20260302T090500.000000Z-1234.checkpoint      the signed note
2026-03-02/20260302T090500.000000Z-1234.leaves          the number of the first leaf, then a hash a line
```
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Final, NamedTuple

from journeylab.errors import DataError

from .checkpoints import Checkpoint, PublicKey, notes_in, opened
from .mailing import text_in
from .tree import SIZE

__all__ = ["Outside", "newest_in", "outside", "put"]

_NOTE, _LEAVES, _MAIL = ".checkpoint", ".leaves", ".eml"
_RECORD: Final = re.compile(r'seq=\\?"(?P<seq>\d{1,18})\\?" leaf=\\?"(?P<leaf>[0-9a-f]{64})\\?"')
"""The structured data of an entry's record, also where a log has escaped its quotes."""


class Outside(NamedTuple):
    """A checkpoint from outside of the database.

    Attributes:
        source: the file.
        checkpoint: what it states; None where it is no checkpoint of the log.
        fault: what is wrong with it, or None.
        first: the number of the first entry whose leaf is known beside it.
        leaves: the hashes of leaves from there on, up to the checkpoint's size.
    """

    source: str
    checkpoint: Checkpoint | None
    fault: str | None = None
    first: int = 1
    leaves: tuple[bytes, ...] = ()


def _name(checkpoint: Checkpoint) -> str:
    return f"{checkpoint.at:%Y-%m-%d}/{checkpoint.at:%Y%m%dT%H%M%S.%f}Z-{checkpoint.size}"


def newest_in(folder: Path, key: PublicKey) -> Checkpoint | None:
    """The newest checkpoint in a folder, or None where there is none.

    Raises:
        DataError: when it is not what the key has signed.
        OSError: when the folder cannot be read.
    """
    for day in sorted((one for one in folder.iterdir() if one.is_dir()), reverse=True):
        files = sorted(day.glob(f"*{_NOTE}"))
        if files:
            try:
                return opened(files[-1].read_text(encoding="utf-8"), key)
            except (DataError, UnicodeDecodeError) as problem:
                raise DataError(f"{files[-1]}: {problem}") from None
    return None


def put(folder: Path, note: str, checkpoint: Checkpoint, first: int, leaves: Sequence[bytes]) -> None:
    """Adds a checkpoint, and the leaves from `first` on up to its size, beside it; what is there stays.

    Once this returns, both outlive a crash of the machine.

    Raises:
        OSError: when they cannot be written.
    """
    path = folder / _name(checkpoint)
    path.parent.mkdir(exist_ok=True)
    text = "".join(f"{one}\n" for one in (first, *(leaf.hex() for leaf in leaves)))
    for suffix, content in ((_LEAVES, text), (_NOTE, note)):
        file = path.with_name(path.name + suffix)
        try:
            descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
        except FileExistsError:
            if file.read_text(encoding="utf-8") == content:
                continue
            raise
        with os.fdopen(descriptor, "w", encoding="utf-8") as opened_file:
            opened_file.write(content)
            opened_file.flush()
            os.fsync(opened_file.fileno())
    for one in (path.parent, folder):
        descriptor = os.open(one, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def outside(path: Path, key: PublicKey) -> list[Outside]:
    """The checkpoints in a folder, or in a file: a note, several, a syslog server's log, or mails (`.eml`).

    Raises:
        DataError: when there are none.
    """
    if not path.exists():
        raise DataError(f"{path}: there is no such file or folder")
    files = sorted(path.rglob(f"*{_NOTE}")) if path.is_dir() else [path]
    mails = [file for file in (sorted(path.rglob(f"*{_MAIL}")) if path.is_dir() else files) if file.suffix == _MAIL]
    found = [one for file in files if file not in mails for one in _in_file(file, key)] + _in_mails(mails, key)
    if not found:
        raise DataError(f"{path}: there is no checkpoint in it")
    return found


def _in_file(file: Path, key: PublicKey) -> list[Outside]:
    text = file.read_text(encoding="utf-8", errors="replace")
    if file.suffix != _NOTE:
        return _with_leaves([_opened(str(file), note, key) for note in notes_in(text)], text)
    one = _opened(str(file), text, key)
    if one.checkpoint is None:
        return [one]
    if _name(one.checkpoint).rpartition("/")[2] + _NOTE != file.name:
        when = f"{one.checkpoint.at:%Y-%m-%d %H:%M:%S} UTC"
        return [one._replace(fault=f"it is the checkpoint of {when}, put there again")]
    beside = file.with_name(file.name.removesuffix(_NOTE) + _LEAVES)
    if not beside.exists():
        return [one]
    try:
        first, *lines = beside.read_text(encoding="utf-8").split()
        leaves = tuple(bytes.fromhex(line) for line in lines)
        if int(first) + len(leaves) - 1 != one.checkpoint.size or any(len(leaf) != SIZE for leaf in leaves):
            raise ValueError
    except ValueError:
        return [one, Outside(str(beside), None, "it has not the leaves of its checkpoint")]
    return [one._replace(first=int(first), leaves=leaves)]


def _in_mails(files: Sequence[Path], key: PublicKey) -> list[Outside]:
    """The checkpoints in mails that were saved, one a file; a mail without any is another one."""
    texts = {str(file): text_in(file.read_bytes()) for file in files}
    found = [_opened(source, note, key) for source, text in texts.items() for note in notes_in(text)]
    return _with_leaves(found, "\n".join(texts.values()))


def _with_leaves(found: list[Outside], text: str) -> list[Outside]:
    """Checkpoints with the leaves that records of entries in the same log have, as far as none is missing."""
    told = {
        int(match["seq"]): bytes.fromhex(match["leaf"])
        for line in text.splitlines()
        if not notes_in(line)
        for match in _RECORD.finditer(line)
    }
    made, last = [], 0
    for one in sorted(found, key=lambda one: one.checkpoint.size if one.checkpoint else -1):
        size = one.checkpoint.size if one.checkpoint else 0
        new = range(last + 1, size + 1)
        if all(seq in told for seq in new):
            made.append(one._replace(first=last + 1, leaves=tuple(told[seq] for seq in new)))
            last = max(last, size)
        else:
            made.append(one)
    return made


def _opened(source: str, note: str, key: PublicKey) -> Outside:
    try:
        return Outside(source, opened(note, key))
    except DataError as problem:
        return Outside(source, None, str(problem))
