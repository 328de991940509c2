"""What an SMTP oracle accepted: one line of JSON each, on disk before the sender hears of it."""

from __future__ import annotations

import dataclasses
import json
import os
from collections import Counter
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Record:
    """One accepted message: a line of the ledger. `content` is there if the server keeps it."""

    at: str
    message_id: str
    x_journeylab_message: str
    rcpt: list[str]
    mail_from: str
    sha256: str
    size: int
    queue_id: str
    tls: str | None
    content: str | None = None

    @property
    def message(self) -> bytes:
        """The content as it came over the wire, dots unstuffed."""
        assert self.content is not None, "the server was not told to keep what it accepts"
        return self.content.encode("latin-1")


class Ledger:
    """A file to which accepted messages are only ever added; each is on disk when `append` returns."""

    def __init__(self, path: Path, *, fsync: bool = True) -> None:
        self._fsync = fsync
        self._file = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o644)
        # What a kill left half written was never answered; the next line must not be joined to it.
        whole = path.read_bytes().rpartition(b"\n")
        os.ftruncate(self._file, len(whole[0] + whole[1]))

    def append(self, record: Record) -> None:
        line = memoryview(json.dumps(dataclasses.asdict(record)).encode() + b"\n")
        while line:
            line = line[os.write(self._file, line) :]
        if self._fsync:
            os.fsync(self._file)

    def close(self) -> None:
        os.close(self._file)

    @staticmethod
    def read(path: Path) -> list[Record]:
        """The messages accepted so far, in order; a line half written is none."""
        lines = path.read_bytes().split(b"\n")[:-1] if path.exists() else []
        return [Record(**json.loads(line)) for line in lines]

    @staticmethod
    def counts(path: Path) -> Counter[str]:
        """How often each `X-JourneyLab-Message` was accepted."""
        return Counter(record.x_journeylab_message for record in Ledger.read(path))
