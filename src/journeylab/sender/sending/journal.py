"""Receipts: what relays said of messages, on this machine's disk before it is in the database.

A receipt is written as soon as a reply to a message's end was read, and before the transaction that settles it. So a
crash between the two leaves nothing unknown: at the next start the receipts are settled. And a database that does not
know the newest receipts was restored from an older copy, in which messages that were sent are not; sending from it
would send them again, so it is refused until a person lets the receipts be written into it (`adopt`).

A worker writes to files of its own in a folder, `receipts/WORKER/000001.jsonl` and on: one line of JSON for each
receipt. A file that is full is followed by the next; files older than `KEPT_FOR` are deleted when one is begun. Thus
a backup older than that cannot be adopted without loss, and says so.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from operator import attrgetter
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from sqlalchemy import bindparam, func, insert, select

from journeylab.display import counted
from journeylab.errors import DataError, listed
from journeylab.jsontext import data_of
from journeylab.sender.live.intake import OwnEvent, make_contacts, record_all
from journeylab.sender.store import TICK, Store, act, lock_contacts
from journeylab.sender.store import tables as t

from .gate import identity
from .settling import Settled, settle
from .states import FINAL, IN_FLIGHT, move
from .transport import Outcome

if TYPE_CHECKING:
    from journeylab.sender.settings import Settings

__all__ = ["KEPT_FOR", "Adopted", "Journal", "Receipt", "adopt", "newest", "refuse_older_copy", "replay"]

KEPT_FOR: Final = timedelta(days=40)
"""How long receipts are kept, by their own instants."""
_FULL: Final = 16 * 2**20
_CHUNK: Final = 1000
_WORKER: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
_KINDS: Final = ("accepted", "rejected", "temporary")
_AS_JSON: Final = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode


@dataclass(frozen=True, slots=True)
class Receipt:
    """A reply to the end of a message: of which message, under which claim, and what it said.

    Attributes:
        message_key, journey, contact, entry, node, visit: the message.
        message, purpose, transactional, release_id: what the database has of it beside.
        fence: the fence of the claim.
        gated_at: when it passed the gate.
        relay: who replied.
        kind: `accepted`, `rejected` or `temporary`.
        code, enhanced, reply, queue_id: the reply; see `Outcome`.
        at: the store's instant after it was read.
    """

    message_key: str
    journey: str
    contact: str
    entry: int
    node: str
    visit: int
    message: str
    purpose: str
    transactional: bool
    release_id: int | None
    fence: int
    gated_at: datetime
    relay: str
    kind: str
    code: int | None
    enhanced: str | None
    reply: str
    queue_id: str | None
    at: datetime

    @property
    def settled(self) -> Settled:
        """The same as what is to be settled."""
        outcome = Outcome(self.kind, "dot", self.code, self.enhanced, self.reply, self.queue_id)  # type: ignore[arg-type]
        return Settled(self.message_key, self.fence, self.contact, outcome, self.relay, self.gated_at)

    def line(self) -> bytes:
        """The receipt as a line of a file."""
        fields = dict(zip(self.__slots__, _FIELDS(self), strict=True))
        fields |= {"gated_at": self.gated_at.isoformat(), "at": self.at.isoformat()}
        return _AS_JSON(fields).encode() + b"\n"

    @classmethod
    def read(cls, line: bytes) -> Receipt:
        """The receipt of a line.

        Raises:
            ValueError: when it is none.
        """
        fields = data_of(line)
        try:
            made = cls(**fields | {name: datetime.fromisoformat(fields[name]) for name in ("gated_at", "at")})
        except (TypeError, KeyError) as problem:
            raise ValueError(str(problem)) from None
        if made.kind not in _KINDS or made.gated_at.tzinfo is None or made.at.tzinfo is None:
            raise ValueError("its kind or its instants are none")
        return made


_FIELDS: Final = attrgetter(*Receipt.__slots__)


class Journal:
    """A worker's own receipts, to which it adds.

    Args:
        folder: the folder of all receipts of this machine, such as `settings.path(settings.state) / "receipts"`.
        worker: the worker's name, of letters, digits, dots and dashes.

    Raises:
        DataError: when the folder cannot be made or written to, or a file of it is damaged.
    """

    def __init__(self, folder: Path, worker: str) -> None:
        if not _WORKER.fullmatch(worker):
            raise DataError(f"{worker!r} is no worker's name: letters, digits, dots and dashes")
        self._folder = folder / worker
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            files = _files(self._folder)
            self._open(files[-1] if files else self._folder / "000001.jsonl")
        except OSError as problem:
            raise DataError(f"{self._folder}: receipts cannot be written there: {problem.strerror}") from None

    def _open(self, path: Path) -> None:
        self._path = path
        self._file = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o600)
        # What a crash left half written was never relied on; the next line must not be joined to it.
        data = path.read_bytes()
        os.ftruncate(self._file, data.rfind(b"\n") + 1)
        self._size = os.fstat(self._file).st_size
        for made in (path.parent, path.parent.parent):
            _fsync_folder(made)

    def write(self, receipts: Sequence[Receipt]) -> None:
        """Adds receipts; they are on disk when this returns.

        Raises:
            OSError: when the disk is full or broken; the receipts may be there or not.
        """
        if not receipts:
            return
        if self._size >= _FULL:
            self._next(receipts[0].at)
        data = memoryview(b"".join(receipt.line() for receipt in receipts))
        start = self._size
        try:
            while data:
                n = os.write(self._file, data)
                self._size += n
                data = data[n:]
            os.fdatasync(self._file)
        except OSError:
            self._size = start
            os.ftruncate(self._file, start)  # half a line would spoil the next one
            raise

    def _next(self, now: datetime) -> None:
        os.close(self._file)
        self._open(self._folder / f"{int(self._path.stem) + 1:06d}.jsonl")
        for path in _files(self._folder)[:-1]:
            last = _read(path)[-1:]
            if not last or last[0].at < now - KEPT_FOR:
                path.unlink()

    def close(self) -> None:
        """Closes the file."""
        os.close(self._file)


def _fsync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _files(folder: Path) -> list[Path]:
    return sorted(folder.glob("[0-9]*.jsonl"), key=lambda path: int(path.stem))


def _read(path: Path) -> list[Receipt]:
    """The receipts of a file; a last line without its end is none yet.

    Raises:
        DataError: when another line is no receipt.
    """
    receipts = []
    for number, line in enumerate(path.read_bytes().split(b"\n")[:-1], start=1):
        try:
            receipts.append(Receipt.read(line))
        except (ValueError, UnicodeDecodeError) as problem:
            raise DataError(
                f"{path}:{number}: no receipt ({problem}); messages whose receipts are damaged may be sent twice: "
                "restore the file, or remove the line once its message is known to be settled"
            ) from None
    return receipts


def newest(folder: Path, *, everything: bool = False) -> list[Receipt]:
    """The receipts of all workers of this machine in their order: of the two newest files of each, or all.

    Raises:
        DataError: when a line is damaged, naming it.
    """
    paths = [
        path
        for worker in sorted(folder.iterdir() if folder.is_dir() else ())
        if worker.is_dir()
        for path in (_files(worker) if everything else _files(worker)[-2:])
    ]
    return sorted((receipt for path in paths for receipt in _read(path)), key=lambda receipt: receipt.at)


def replay(store: Store, receipts: Sequence[Receipt], settings: Settings) -> int:
    """How many receipts there were whose messages were not settled yet; they are now."""
    n = 0
    for some in _chunks(receipts):
        with store.writing() as connection:
            rows = _rows(connection, some)
            open_ = [one for one in some if (row := rows.get(one.message_key)) and row.state not in FINAL]
            settle(connection, [one.settled for one in open_], store.now(connection), settings)
            n += len(open_)
    return n


def refuse_older_copy(store: Store, receipts: Sequence[Receipt]) -> None:
    """Refuses a database that does not know what this machine has sent.

    Raises:
        DataError: when there is an acceptance of a message that the database has not let pass, or not so far.
    """
    with store.reading() as connection:
        erased_at = _last_erasure(connection)
        unknown = [
            one
            for some in _chunks(receipts)
            for rows in [_rows(connection, some)]
            for one in some
            if not _is_known(one, rows.get(one.message_key), erased_at)
        ]
    if unknown:
        raise DataError(
            "the database was restored from an older copy: it does not know of "
            f"{counted(len(unknown), 'message')} that this machine has sent, the first at "
            f"{unknown[0].gated_at.isoformat()}, and would send them again; restore a newer copy, or write what this "
            "machine knows into this one with `journeylab sends adopt` "
            f"(messages {listed(one.message_key for one in unknown[:3])})"
        )


def _last_erasure(connection: Any) -> datetime | None:
    """When a person's messages last lost the names by which receipts know them.

    A database that tells of it knew all that was sent before: a message that it then does not know was an erased
    person's, and is nobody's any more.
    """
    found: datetime | None = connection.scalar(select(func.max(t.erasures.c.finished_at)))
    return found


def _is_known(receipt: Receipt, row: Any, erased_at: datetime | None) -> bool:
    if receipt.kind != "accepted":
        return True  # what a relay refused may be offered again
    if row is None:
        return erased_at is not None and receipt.at < erased_at
    if row.state == "accepted":
        return True
    return row.fence > receipt.fence or (row.fence == receipt.fence and row.state in (*IN_FLIGHT, *FINAL))


def _rows(connection: Any, receipts: Iterable[Receipt]) -> dict[str, Any]:
    found = connection.execute(_STATES, {"of": [one.message_key for one in receipts]})
    return {row.message_key: row for row in found}


def _chunks(receipts: Sequence[Receipt]) -> Iterable[Sequence[Receipt]]:
    return (receipts[start : start + _CHUNK] for start in range(0, len(receipts), _CHUNK))


class Adopted(NamedTuple):
    """What adopting changed.

    Attributes:
        n_receipts: the acceptances that this machine has receipts of.
        n_written: those that the database did not know, and does now.
        is_complete: whether the receipts reach back to before the database's last instant: otherwise messages that
            were sent between may be sent again.
        since: the first receipt's instant; None where there is none.
    """

    n_receipts: int
    n_written: int
    is_complete: bool
    since: datetime | None


def adopt(store: Store, folder: Path, actor: str) -> Adopted:
    """Writes into a restored database what this machine's receipts know, so that nothing is sent again; audited.

    Messages that were accepted become `accepted`, planned or not, and have their `sent` events.

    Raises:
        DataError: when receipts are damaged.
    """
    receipts = [one for one in newest(folder, everything=True) if one.kind == "accepted"]
    n_written = 0
    with store.writing() as connection:
        now = store.now(connection)
        last = connection.execute(select(func.max(t.events.c.received_at))).scalar_one_or_none()
        erased_at = _last_erasure(connection)
        for some in _chunks(receipts):
            n_written += _adopt(connection, some, now, erased_at)
        since = receipts[0].at if receipts else None
        is_complete = last is None or (since is not None and since <= last)
        made = Adopted(len(receipts), n_written, is_complete, since)
        act(
            connection, now, actor, "adopt", "receipts", n_receipts=made.n_receipts, n_written=n_written,
            is_complete=is_complete,
        )  # fmt: skip
    return made


def _adopt(connection: Any, receipts: Sequence[Receipt], now: datetime, erased_at: datetime | None) -> int:
    rows = _rows(connection, receipts)
    if erased_at is not None:  # those of erased persons would bring them back
        receipts = [one for one in receipts if one.message_key in rows or one.at >= erased_at]
    contacts = sorted({receipt.contact for receipt in receipts})
    make_contacts(connection, ((one, None, {}) for one in contacts), now, now - TICK)
    at = lock_contacts(connection, (one.contact for one in receipts), now)
    releases = {*connection.scalars(select(t.releases.c.release_id))}
    sent: list[OwnEvent] = []
    for one in {receipt.message_key: receipt for receipt in receipts}.values():
        row, instant = rows.get(one.message_key), at[one.contact]
        reply = f"{one.code} {one.reply}"
        known: dict[str, Any] = {
            "gated_at": one.gated_at, "settled_at": instant, "relay": one.relay, "queue_id": one.queue_id,
            "reply": reply, "reason": None, "worker": None, "lease_until": None,
        }  # fmt: skip
        if row is None:
            release = one.release_id if one.release_id in releases else None
            own = {
                "message_key": one.message_key, "contact": one.contact, "message": one.message,
                "purpose": one.purpose, "transactional": one.transactional, "release_id": release,
                "state": "accepted", "planned_at": one.gated_at, "not_after": one.gated_at, "attempts": 0,
                "fence": one.fence,
            }  # fmt: skip
            connection.execute(insert(t.sends), own | identity(one) | known)
        elif row.state in FINAL or not move(connection, one.message_key, row.state, "accepted", **known):
            continue
        said = identity(one) | {"message": one.message, "actual_at": one.gated_at}
        sent.append(OwnEvent(one.contact, "sent", instant, said, one.gated_at))
        at[one.contact] = instant + TICK
    if sent:
        record_all(connection, sent)
    return len(sent)


_STATES: Final = select(t.sends.c.message_key, t.sends.c.state, t.sends.c.fence).where(
    t.sends.c.message_key.in_(bindparam("of", expanding=True))
)
