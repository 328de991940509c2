"""What other systems are told, and how one of them is told it.

| kind | `data` has | tells that |
|---|---|---|
| `consent.given`, `consent.withdrawn` | `contact`, `purpose` (None: all of them), `route` | a contact decided |
| `contact.suppressed` | `contact`, `reason`, where known `status` | nothing goes to the contact's address any more |
| `contact.erased` | `contact` | a person was erased here |
| `alert.raised` | `dedup_key`, `severity`, `summary`, `started_at`, `status` | something needs a person, or got worse |
| `alert.acknowledged` | the same, `acknowledged_at` | somebody looks after it |
| `alert.resolved` | the same, `resolved_at` | it is over |
| `statistics` | see `journeylab.sender.sending.statistics` | a period is over |
| `audit.checkpoint` | `note` | the audit log was signed |
| `message.sent`, `message.bounced` | see `journeylab.sender.sending.timeline` | a message left, or came back |
| `journey.entered`, `journey.left`, `journey.converted` | see there | what became of an entry |

A fact is put down once for each target, in the transaction in which it is decided, and told until the target has it.
Facts about one thing (one contact, one alert) are told to a target one after the other, in the order in which they came
about: the next one only when the one before is told, or given up.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Protocol

from .http import Call, Reply

__all__ = ["Fact", "Target", "passed_over"]


@dataclass(frozen=True)
class Fact:
    """Something that is to be told.

    Attributes:
        kind: what it is, such as `consent.withdrawn`; see the module's table.
        webhook_id: the same at every attempt, and no other fact's: the key by which a target drops repeats.
        occurred_at: when it came about, aware UTC.
        data: what there is to it, plain data with instants as ISO 8601 text.
    """

    kind: str
    webhook_id: str
    occurred_at: datetime
    data: Mapping[str, Any] = field(repr=False)


class Target(Protocol):
    """A system that is told facts, in its words. It keeps no state and reads no clock."""

    def tell(self, fact: Fact, reach: Callable[[Call], Reply]) -> Reply:
        """Tells a fact, by as many calls as that takes, and gives how it went.

        It is called again with the same fact until its reply `is_taken`, so whatever it does is to be the same when it
        is done twice: it may have been done to its end or to the middle before, by a call whose reply was lost. Where
        the other side has no key by which it drops repeats, look first, and then make or change.

        Give the reply that decides: the first that is not taken, or the last. One that `is_hopeless` is not tried
        again by itself (a person is told); any other is, not before its `retry_after`. An exception counts as a reply
        that is not taken, and its text is not shown.

        Args:
            fact: what to tell; of a kind that the other side has no notion of, give `passed_over`.
            reach: makes a call with credentials put on; it raises nothing for what the other side does.
        """
        ...


def passed_over(why: str) -> Reply:
    """The reply for a fact that there is nothing to do about: it counts as told, with the reason as its text.

    >>> passed_over("it has no notion of statistics").is_taken
    True
    """
    return Reply(204, why)
