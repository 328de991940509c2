"""Records to a SIEM by syslog over TLS (RFC 5425), each at least once.

Syslog has no replies. Records go in batches, a connection each; a batch counts as told once the SIEM has ended the
connection in order after all of it. If that fails the batch goes again, so that a record may come twice under its
number; what is missing shows as a gap between numbers. What a SIEM loses after it has read it nobody can see from here.
"""

from __future__ import annotations

import socket
import ssl
from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Final

from sqlalchemy import Connection, select

from journeylab.errors import DataError, JourneyLabError
from journeylab.sender.settings import Settings, Syslog
from journeylab.sender.store import Store
from journeylab.sender.store import tables as t
from journeylab.sender.store.bulk import insert_into

from .formats import Event, Source, event_of, framed
from .reading import Unreadable, entries_of

__all__ = ["Unsent", "events_after", "position_of", "send", "ship", "source_of", "target_of"]

_BATCH: Final = 500
_NEVER: Final = datetime(1970, 1, 1, tzinfo=UTC)


class Unsent(JourneyLabError):
    """A SIEM has not taken what it was told; the text says why."""


def source_of(settings: Settings) -> Source:
    """Where a sender's records come from."""
    return Source(settings.sender, settings.domain, version("journeylab"))


def target_of(siem: Syslog) -> str:
    """The name under which a SIEM's position is kept."""
    return f"tls://{siem.host}:{siem.port}"


def send(records: Sequence[bytes], siem: Syslog, folder: Path) -> None:
    """Sends records, each with its length before it, and returns once the SIEM has ended the connection after them.

    Args:
        records: see `formats.framed`.
        siem: to whom.
        folder: to which the file of authorities is relative.

    Raises:
        DataError: when the file of authorities cannot be read.
        Unsent: when it has not taken them, as far as can be known.
    """
    try:
        context = ssl.create_default_context(cafile=None if siem.ca is None else str(folder / siem.ca))
    except OSError as problem:
        raise DataError(f"audit: syslog: its authorities {siem.ca} cannot be read: {problem}") from None
    context.minimum_version = ssl.TLSVersion.TLSv1_3 if siem.tls_minimum == "1.3" else ssl.TLSVersion.TLSv1_2
    seconds = siem.timeout.total_seconds()
    try:
        with (
            socket.create_connection((siem.host, siem.port), seconds) as plain,
            context.wrap_socket(plain, server_hostname=siem.host) as secure,
        ):
            secure.sendall(b"".join(records))
            with suppress(ssl.SSLEOFError, ssl.SSLZeroReturnError):  # it ends by TCP's end, which comes after all, too
                secure.unwrap()
    except (OSError, ValueError) as problem:
        raise Unsent(f"{target_of(siem)} has not taken what it was told: {problem}") from None


def position_of(connection: Connection, target: str) -> int:
    """The number of the last entry that a target was told, 0 where there is none."""
    return connection.scalar(select(t.audit_positions.c.seq).where(t.audit_positions.c.target == target)) or 0


def events_after(connection: Connection, seq: int, most: int | None = None) -> list[Event]:
    """What there is to tell of the entries after a number."""
    return [
        Event(one.seq, "", _NEVER, "audit", "unreadable", "", one.why) if isinstance(one, Unreadable) else event_of(one)
        for one in entries_of(connection, after=seq, most=most)
    ]


def ship(store: Store, settings: Settings, siem: Syslog, after: int | None = None) -> int:
    """How many entries a SIEM was told that it had not been told before, or all after a number.

    Raises:
        DataError, Unsent: as `send`; the batches before are told and noted.
    """
    source, target, n = source_of(settings), target_of(siem), 0
    while True:
        with store.reading() as connection:
            start = position_of(connection, target) if after is None else after
            events = events_after(connection, start, _BATCH)
        if not events:
            return n
        send([framed(one, source, siem.format) for one in events], siem, settings.folder)
        last = events[-1].seq
        with store.writing() as connection:
            row = {"target": target, "seq": last, "at": store.now(connection)}
            noted = insert_into(connection, t.audit_positions).values(row)
            latest = noted.on_conflict_do_update(
                index_elements=["target"], set_=row, where=t.audit_positions.c.seq < last
            )
            connection.execute(latest)
        n += len(events)
        after = None if after is None else last
