"""How HubSpot is called and answers: paths, instants, and what its replies say of faults."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from .connector import Broken, Later
from .crm import part, rows_in, said_of
from .http import Reply

__all__ = [
    "CHANGED", "CONTACTS", "EVENTS", "ON_EMAIL", "RECORD", "STATUSES", "after_of", "batch_of", "code_of", "hurried",
    "properties_of", "text_of", "whole",
]  # fmt: skip

CONTACTS: Final = "/crm/v3/objects/contacts"
STATUSES: Final = "/communication-preferences/v4/statuses"
EVENTS: Final = "/events/v3"
RECORD: Final = "hs_object_id"
"""The property that has a record's own number."""
CHANGED: Final = "lastmodifieddate"
"""The property that has the instant of a contact's latest change."""
ON_EMAIL: Final = {"channel": "EMAIL"}
_WAITS: Final = {"SECONDLY": timedelta(seconds=1), "TEN_SECONDLY_ROLLING": timedelta(seconds=10)}


def hurried(reply: Reply) -> Reply:
    """The reply, with the wait that a limit's policy stands for where no header says one."""
    said = reply.said
    if reply.status != 429 or reply.retry_after is not None or not isinstance(said, Mapping):
        return reply
    return replace(reply, retry_after=_WAITS.get(str(said.get("policyName"))))


def code_of(said: object) -> object:
    """The code of a fault: that of its first detail, or its category."""
    if not isinstance(said, Mapping):
        return None
    details = said.get("errors")
    first = details[0] if isinstance(details, list) and details and isinstance(details[0], Mapping) else {}
    return first.get("code") or said.get("category") or said.get("policyName")


def batch_of(reply: Reply) -> list[Mapping[str, Any]]:
    """The results of a batch.

    Raises:
        Later: when it cannot be had now, or some are missing (207).
        Broken: when it cannot be read.
    """
    said = said_of(reply)
    if reply.status == 207 or said.get("numErrors"):
        raise Later("it does not know the subscriptions of every address that was asked for")
    return rows_in(said, "results")


def after_of(said: Mapping[str, Any]) -> str | None:
    """Where the next page begins, None after the last."""
    paging = said.get("paging")
    following = paging.get("next") if isinstance(paging, Mapping) else None
    return part(following, "after", str) if isinstance(following, Mapping) else None


def properties_of(row: Mapping[str, Any]) -> Mapping[str, str | None]:
    """The properties of a record or an event, which are texts.

    Raises:
        Broken: when they are anything else.
    """
    found: Mapping[str, str | None] = part(row, "properties", dict)
    if not all(value is None or isinstance(value, str) for value in found.values()):
        raise Broken("its reply has properties that are no texts")
    return found


def whole(at: datetime) -> datetime:
    """The millisecond in which an instant is, as HubSpot keeps no more of it."""
    return at.replace(microsecond=at.microsecond // 1000 * 1000)


def text_of(at: datetime) -> str:
    """An instant as HubSpot writes it.

    >>> text_of(datetime(2026, 3, 1, 9, tzinfo=UTC))
    '2026-03-01T09:00:00.000Z'
    """
    return at.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
