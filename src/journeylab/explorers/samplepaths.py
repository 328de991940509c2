"""What a few members of a segment did last, under pseudonyms."""

from __future__ import annotations

import base64
import hashlib
import secrets
from functools import cache
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from journeylab.segments import instant_in

from .contrasts import members
from .views import SMALLEST

if TYPE_CHECKING:
    from datetime import datetime

    from numpy.typing import NDArray

    from journeylab.eventlog import EventLog
    from journeylab.segments import Segments

__all__ = ["paths_of", "pseudonym", "sample_paths"]

_LEAST_CONTACTS = SMALLEST


@cache
def _session_key() -> bytes:
    """A key that nobody has after this process: with it, pseudonyms cannot be led back to contacts."""
    return secrets.token_bytes(16)


def pseudonym(contact: object) -> str:
    """A name for a contact that holds for this session: a keyed hash (BLAKE2b) under a key made for it, never the id.

    >>> pseudonym("ada") == pseudonym("ada"), "ada" in pseudonym("ada")
    (True, False)
    """
    digest = hashlib.blake2b(str(contact).encode(), key=_session_key(), digest_size=5).digest()
    return base64.b32encode(digest).decode()


def sample_paths(
    log: EventLog,
    segments: Segments,
    of: str | None = None,
    as_of: datetime | str | None = None,
    *,
    n: int = 6,
    n_events: int = 20,
    seed: int = 0,
) -> pd.DataFrame:
    """The last events of some members of a segment, drawn at random: `contact` (a pseudonym), `event`, `occurred_at`.

    Args:
        log: the event log.
        segments: segments as for `journeylab.membership`.
        of: the name of the one that is looked at; it may be left out where there is only one.
        as_of: an aware instant or ISO text within the log; by default the log's end. Later events are not shown.
        n: how many members.
        n_events: how many events of each, at the most.
        seed: of the draw.

    Returns:
        A frame sorted by contact as drawn and then by time (UTC); empty where the segment has fewer than ten members,
        as a path could tell who of so few it is.

    Raises:
        DefinitionError: when a segment is at fault or does not fit the log.
        DataError: when there is no such segment, or `as_of` lies outside the log.

    >>> from journeylab import EventLog
    >>> at = "2026-03-01T09:00:00Z"
    >>> log = EventLog.from_rows([{"contact": n, "event": "visit", "occurred_at": at} for n in range(12)])
    >>> len(sample_paths(log, 'did("visit")', n=3))
    3
    """
    inside, _ = members(log, segments, of, as_of)
    return paths_of(log, inside, instant_in(log, as_of, "as_of"), n=n, n_events=n_events, seed=seed)


def paths_of(
    log: EventLog, inside: NDArray[np.bool_], at_us: int, *, n: int = 6, n_events: int = 20, seed: int = 0
) -> pd.DataFrame:
    """As `sample_paths`, of members who are known already: among all contacts sorted by id."""
    codes = np.argsort(log.rank)[inside]
    drawn: list[int] = []
    if len(codes) >= _LEAST_CONTACTS:
        drawn = np.random.default_rng(seed).choice(codes, min(n, len(codes)), replace=False).tolist()
    names, kinds, instants = list[str](), list[str](), list[int]()
    for code in drawn:
        found: list[tuple[int, str]] = []
        for event in log.event_names:
            stream = log.stream(event)
            at = stream.at[stream.offsets[code] : stream.offsets[code + 1]]
            found += [(one, event) for one in at[at <= at_us][-n_events:].tolist()]
        last = sorted(found)[-n_events:]
        names += [pseudonym(log.contact_ids[code].as_py())] * len(last)
        kinds += [event for _, event in last]
        instants += [one for one, _ in last]
    return pd.DataFrame(
        {
            "contact": pd.array(names, dtype="str"),
            "event": pd.array(kinds, dtype="str"),
            "occurred_at": pd.to_datetime(np.array(instants, "datetime64[us]"), utc=True),
        }
    )
