"""Waits for an instant that the export names, such as the 1st of December at nine.

A journey waits for dates of contacts, not for one of its own (rule 5), so that the instant is an attribute that every
contact has to have.
"""

from __future__ import annotations

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

from .draft import Draft
from .export import Part
from .outcomes import Verdict

__all__ = ["instant_in", "wait_until_instant"]


def instant_in(part: Part, key: str, zone: str | None) -> datetime:
    """The instant in a text of ISO 8601 or in a number of seconds since 1970, which exports write both as texts.

    Args:
        part: the part of the export.
        key: where it is in there.
        zone: the zone of an instant that does not say its own; None means UTC.

    Raises:
        Malformed: when there is none.
    """
    text = part.text(key)
    try:
        if text.lstrip("-").isdecimal():
            return datetime.fromtimestamp(int(text), UTC)
        found = datetime.fromisoformat(text)
        return (found if found.tzinfo else found.replace(tzinfo=ZoneInfo(zone or "UTC"))).astimezone(UTC)
    except (ValueError, OverflowError, OSError):
        raise part.malformed(f"{text!r} is no instant such as 2026-12-01T09:00:00+01:00", key) from None


def wait_until_instant(draft: Draft, name: str, part: Part, at: datetime, onward: str) -> str:
    """Writes a node that waits for an instant, and says of which attribute it is the value; gives the node's name.

    Contacts without the attribute leave: at once is what nobody wants who has named a date.
    """
    attribute = f"on_{at:%Y_%m_%d_%H_%M}"
    draft.node(name, part, wait_until={"date": attribute}, next=onward, otherwise=draft.exit("no date"))
    note = (
        f"a journey waits for dates of contacts (rule 5): give all contacts the attribute {attribute} with the value "
        f"{at:%Y-%m-%dT%H:%M:%SZ}; who has none leaves with the exit 'no date'"
    )
    draft.note(part, f"date {at:%Y-%m-%d %H:%M} UTC", Verdict.approximated, name, attribute, note=note)
    return name
