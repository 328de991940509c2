"""What every report is asked: of which closed period, for whom (whose ledger), in which language."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

from journeylab.disclosure import disclose
from journeylab.errors import DataError
from journeylab.language import say

if TYPE_CHECKING:
    from journeylab.disclosure import Cells, Disclosed, Ledger

__all__ = ["Asking", "joined", "last_midnight", "reading"]


@dataclass(frozen=True, kw_only=True)
class Asking:
    """How a report is made.

    Attributes:
        ledger: of the audience.
        since: where the period begins, a midnight; by default the one before the first that there is.
        until: no later than where it ends; by default as far as the data go.
        title: the heading; by default what is reported says it.
        data: what the data is.
        language: "en" or "pl".
    """

    ledger: Ledger
    since: datetime | None
    until: datetime | None
    title: str | None
    data: str
    language: str

    def period(self, first_at: datetime, until: datetime, zone: str) -> tuple[datetime, datetime]:
        """The closed period: from `since`, or the midnight before the first, up to the last midnight.

        Raises:
            DataError: when not even a day of it is over.
        """
        since = self.since or last_midnight(first_at, zone)
        end = last_midnight(until if self.until is None else min(until, self.until), zone)
        if not since < end:
            raise DataError(
                f"a report is of whole days that are over, and from {since.isoformat()} up to {until.isoformat()} none "
                f"is: say an earlier start, or wait until midnight in {zone}"
            )
        return since, end

    def disclosed(
        self, tables: Sequence[Cells], of: str, period: tuple[datetime, datetime], zone: str, data_until: datetime
    ) -> Disclosed:
        """What may be shown of the tables."""
        return disclose(tables, of=of, period=period, data_until=data_until, ledger=self.ledger, timezone=zone)


def last_midnight(at: datetime, zone: str) -> datetime:
    """The last midnight of a time zone that is not after an instant, in UTC.

    >>> last_midnight(datetime(2026, 3, 29, 12, tzinfo=UTC), "Europe/Warsaw").isoformat()
    '2026-03-28T23:00:00+00:00'
    """
    local = at.astimezone(ZoneInfo(zone))
    return local.replace(hour=0, minute=0, second=0, microsecond=0, fold=0).astimezone(UTC)


def reading(shown: Disclosed, *more: str) -> list[str]:
    """How to read the numbers: what held them, then what is said besides."""
    return [
        *shown.sentences(),
        say(
            "95% intervals say how far a share may lie from that of many contacts like these (Wilson's score "
            "interval); they treat contacts as independent."
        ),
        *more,
    ]


def joined(sentences: Iterable[str]) -> str:
    """Sentences as one paragraph."""
    return " ".join(one for one in sentences if one)
