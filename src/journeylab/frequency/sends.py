"""The sends of a log with how many came before each to the same contact, and what people did with them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from journeylab.clock import NEVER
from journeylab.delays import delay_distribution
from journeylab.durations import duration_text
from journeylab.errors import DataError
from journeylab.sendhistory import NOT_ORGANIC, sends_in

if TYPE_CHECKING:
    from datetime import datetime, timedelta

    from numpy.typing import NDArray

    from journeylab.eventlog import EventLog
    from journeylab.sendhistory import Sends

    from .rates import Bools, Floats, Ints

__all__ = ["DAY", "HARMS", "OUTCOMES", "WEEKS_BEFORE", "Came", "SendTable", "people_only"]

OUTCOMES, HARMS = ("opened", "clicked"), ("unsubscribed", "complained")
DAY = 86_400_000_000
_WEEK, _MONTH = 7 * DAY, 30 * DAY
WEEKS_BEFORE = 23 / 7
"""How many weeks the rest of the month is that lies before the week before a send."""
# A contact's first send stands alone; then these days since it are where a contact begins to count as another one.
_TENURES = np.array([1, 2, 3, 4, 5, 6, 7, 14, 30, 60]) * DAY


class Came(NamedTuple):
    """What came of sends: whether it came, and of what would come, the share by when one stopped looking (0..1)."""

    came: Bools
    opportunity: Floats


def people_only(log: EventLog) -> tuple[EventLog, bool]:
    """The log without what machines opened and clicked, and whether it says which events those are.

    Raises:
        DataError: when `is_machine` is neither true nor false.
    """
    if "is_machine" not in log.property_names:
        return log, False
    column = log.property("is_machine")
    if column.kind not in ("flag", "number", "unknown"):
        raise DataError(f"`is_machine` is true or false for opens and clicks, but a {column.kind} in this log")
    is_machine = column.values == 1

    def hidden(event: str, _contact: NDArray[np.int32], _at: Ints, row: NDArray[np.integer[Any]]) -> Bools:
        found: Bools = is_machine[row] & (event in OUTCOMES)
        return found

    return log.hiding(hidden), True


@dataclass(frozen=True, eq=False)
class SendTable:
    """The sends that one has looked at for all of `within`, contact by contact, in order of time.

    Attributes:
        sends: all sends of the log, with what came of them.
        rows: of each send of the table, its row there.
        contact: 0 up, without gaps.
        message: a place in `sends.messages`.
        at: microseconds since 1970-01-01T00:00Z.
        week: how many mails a week the contact got: those less than seven days before, and this one.
        rest: how many mails a week it got in the rest of the thirty days before.
        is_known: whether all of the week before lies in the log.
        tenure: 0 for a contact's first send, then 1 to 11, the longer ago that was.
        own: (send, 4), how much the contact did on its own: the logarithm of its events in the month before, and of
            those by day since its first event, in units of their spread, and the squares of both.
    """

    sends: Sends
    rows: Ints
    contact: Ints
    message: Ints
    at: Ints
    week: Ints
    rest: Floats
    is_known: Bools
    tenure: Ints
    own: Floats

    @classmethod
    def of(cls, log: EventLog, within: timedelta | str, until: datetime | str | None) -> SendTable:
        """The table of a log up to an instant.

        Raises:
            DataError: when there are no sends, they do not say their message, or none was looked at for so long.
        """
        sends = sends_in(log, None, within, until)
        rows = np.lexsort((sends.at, sends.contact))
        contact, at = sends.contact[rows], sends.at[rows]
        place, first = np.arange(len(rows)), np.searchsorted(contact, contact, side="left")
        week_ago, month_ago = (_n_until(contact, at, contact, at - ago) for ago in (_WEEK, _MONTH))
        tenure = np.where(place == first, 0, 1 + np.searchsorted(_TENURES, at - at[first], side="right"))
        kept = at <= sends.log.end_us - sends.within_us
        if not kept.any():
            raise DataError(
                f"none of {len(sends):,} sends was looked at for all of {duration_text(sends.within)}; bring a longer "
                "log, or ask for a shorter within"
            )
        return cls(
            sends=sends,
            rows=rows[kept],
            contact=np.unique(contact[kept], return_inverse=True)[1],
            message=sends.message[rows[kept]],
            at=at[kept],
            week=(place - week_ago + 1)[kept],
            rest=(week_ago - month_ago)[kept] / WEEKS_BEFORE,
            is_known=at[kept] - _WEEK >= sends.log.start_us,
            tenure=tenure[kept],
            own=_own(sends.log, contact[kept], at[kept]),
        )

    def came(self, response: str) -> Came | None:
        """What came of each send by way of a response, within `within` and before the message was sent again.

        A harm that does not say its message is laid to the contact's last send before it. None where nothing came.
        """
        limit, after = self._limit, np.full(len(self.sends), NEVER)
        if response in self.sends.came:
            one = self.sends.came[response]
            after = np.where(one.after < NEVER, one.start + one.after - self.sends.at, NEVER)
        if response in HARMS:
            after = np.minimum(after, self._after_last_send(response))
        came = after <= limit
        if not came[self.rows].any():
            return None
        share = delay_distribution(after[came], limit[came]).share(limit)
        return Came(came[self.rows], share[self.rows])

    def _after_last_send(self, event: str) -> Ints:
        """How long after each send, being the contact's last by then, an event came that names no message."""
        log, found = self.sends.log, np.full(len(self.sends), NEVER)
        codes = log.property("message").held
        stream = log.stream_where(event, lambda row: codes[row] < 0)
        contact, at = np.repeat(np.arange(log.n_contacts), np.diff(stream.offsets)), stream.at
        order = np.lexsort((self.sends.at, self.sends.contact))
        last = _n_until(self.sends.contact, self.sends.at, contact, at - 1) - 1
        has_one = (last >= 0) & (self.sends.contact[order[last]] == contact)
        send = order[last[has_one]]
        np.minimum.at(found, send, at[has_one] - self.sends.at[send])
        return found

    @property
    def cut_share(self) -> float:
        """Which share of the sends were made again, with the same message, before one had looked for long enough."""
        return float((self._limit[self.rows] < self.sends.within_us).mean())

    @property
    def _limit(self) -> Ints:
        # A click is looked for from its open on; all others from the send, and alike.
        limits = [one.limit for name, one in self.sends.came.items() if name != "clicked"]
        return limits[0] if limits else np.full(len(self.sends), self.sends.within_us)


def _own(log: EventLog, contact: Ints, at: Ints) -> Floats:
    streams = [log.stream(name) for name in log.event_names if name not in NOT_ORGANIC]
    everybody, nothing = np.arange(log.n_contacts), np.empty(0, np.int64)
    who = np.concatenate([nothing, *(np.repeat(everybody, np.diff(one.offsets)) for one in streams)])
    when = np.concatenate([nothing, *(one.at for one in streams)])

    def until(instants: Ints) -> Ints:
        return _n_until(who, when, contact, instants)

    first_at = log.first_at[contact]
    so_far, before = until(at), until(first_at - 1)
    per_day = (1 + so_far - before) / (1 + np.maximum(at - first_at, 0) / DAY)
    own = np.column_stack([np.log1p(so_far - until(at - _MONTH)), np.log(per_day)])
    spread = own.std(axis=0)
    own = (own - own.mean(axis=0)) / np.where(spread > 0, spread, 1.0)
    return np.hstack([own, own**2])


def _n_until(of_contact: Ints, of_at: Ints, contact: Ints, at: Ints) -> Ints:
    """How many events each contact had up to an instant, plus all those of the contacts before it.

    >>> _n_until(np.array([0, 0, 2]), np.array([5, 9, 7]), np.array([0, 0, 1, 2]), np.array([8, 9, 9, 7]))
    array([1, 2, 2, 3])
    """
    times = np.sort(of_at)
    width = len(times) + 2  # ranks in place of instants, whose products with contacts would not fit into 64 bits
    events = np.sort(of_contact * width + np.searchsorted(times, of_at, side="right"))
    found: Ints = np.searchsorted(events, contact * width + np.searchsorted(times, at, side="right"), side="right")
    return found
