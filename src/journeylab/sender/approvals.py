"""Four eyes: what one person asks for and another one approves before it is done.

| kind | bound to | approved by | good for |
|---|---|---|---|
| `promotion` | the hash of all that a release is made of, a share | who may promote | a time |
| `reveal`, `copy` | a contact, a purpose and who asked | who may reveal, or copy | one time |
| `export` | a purpose and who asked | who may export the log | one time |

A request waits for as long as the settings' `four_eyes` says, and so does an approval for its use. Nobody approves what
they asked for: by the account of the process, by whose token it was, and by whom they named as the actor. Whoever asks
and whoever approves must still have the permission when it is done. Requests and approvals stand in the audit log.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple

from sqlalchemy import ColumnElement, Connection, Row, insert, select, update

from journeylab.errors import DataError
from journeylab.sender.store import act
from journeylab.sender.store import tables as t

from .permissions import Permission, allowed

if TYPE_CHECKING:
    from .acting import Acting
    from .settings import Settings

__all__ = ["NEEDED", "Approval", "Kind", "Wanted", "approve", "approved_or_asked", "found", "waiting"]

Kind = Literal["promotion", "reveal", "copy", "export"]
NEEDED: Final[Mapping[Kind, Permission]] = {
    "promotion": "promote",
    "reveal": "reveal",
    "copy": "copy_person",
    "export": "export_log",
}
"""What who asks must have the permission for, and who approves."""


class Wanted(NamedTuple):
    """What somebody wants to do.

    Attributes:
        kind: what.
        object: JOURNEY/HASH of a release; `contact` or `production log` otherwise.
        purpose: what for, as who approves reads it; None for that of the approval.
        share: of which share of contacts a release is to take entries.
        contact: whose data.
    """

    kind: Kind
    object: str
    purpose: str | None
    share: float | None = None
    contact: str | None = None


class Approval(NamedTuple):
    """A request, and its approval once there is one; instants are aware UTC.

    Attributes:
        people: everybody who is behind the one who asked.
    """

    approval_id: int
    kind: Kind
    object: str
    share: float | None
    contact: str | None
    purpose: str
    asked_at: datetime
    asked_by: str
    people: frozenset[str]
    expires_at: datetime
    approved_at: datetime | None
    approved_by: str | None
    used_at: datetime | None

    def holds(self, settings: Settings) -> bool:
        """Whether it was approved, by somebody else who still may."""
        by = self.approved_by
        return by is not None and by not in self.people and NEEDED[self.kind] in allowed(settings, by)


def approved_or_asked(
    connection: Connection, settings: Settings, who: Acting, wanted: Wanted, now: datetime, *, actor: str
) -> Approval:
    """The approval of what somebody wants (`holds`), or their request for it, which is written down where it is new.

    Args:
        connection: of `Store.writing`.
        settings: the sender's, with `four_eyes`.
        who: who wants it.
        wanted: what.
        now: the store's instant.
        actor: as whom they want it.

    Raises:
        DataError: when who wants it may not, or no purpose is said.
    """
    who.require(NEEDED[wanted.kind])
    assert settings.four_eyes is not None
    a = t.approvals.c
    same: list[ColumnElement[bool]] = [
        a.kind == wanted.kind,
        a.object == wanted.object,
        a.expires_at > now,
        a.used_at.is_(None),
    ]
    is_own = wanted.kind != "promotion"
    if is_own:
        same += [a.contact.is_not_distinct_from(wanted.contact), a.asked_by == actor]
    if is_own and wanted.purpose is not None:
        same.append(a.purpose == wanted.purpose)
    if wanted.share is not None:
        same.append(a.share >= wanted.share)
    there = [
        one
        for one in _read(connection, *same, is_locked=True)
        if not is_own or who.people <= one.people  # of nobody else who bears that name
    ]
    for one in there:
        if one.holds(settings):
            if is_own:
                connection.execute(update(t.approvals).where(a.approval_id == one.approval_id).values(used_at=now))
            return one
    for one in there:
        if one.approved_by is None:
            return one
    if not (wanted.purpose or "").strip():
        raise DataError("another person has to approve this, who wants to know what it is for: say it with --purpose")
    row = {
        **wanted._asdict(), "asked_at": now, "asked_by": actor, "people": sorted({*who.people, actor}),
        "expires_at": now + settings.four_eyes.valid_for,
    }  # fmt: skip
    number = connection.scalars(insert(t.approvals).returning(a.approval_id), row).one()
    _note(connection, now, actor, "approval_asked", number, wanted)
    (made,) = _read(connection, a.approval_id == number)
    return made


def approve(connection: Connection, settings: Settings, who: Acting, number: int, now: datetime) -> Approval:
    """Approves what somebody else has asked for.

    Args:
        connection: of `Store.writing`.
        settings: the sender's, with `four_eyes`.
        who: who approves: the account of the process, under no other name.
        number: the request's.
        now: the store's instant.

    Raises:
        DataError: when there is no such request, it is over, who approves has asked for it or may not do it themselves,
            or is no person.
    """
    if who.is_service:
        raise DataError(f"{who.name} is a service and nobody's second person; unset its token and approve as yourself")
    if settings.four_eyes is None:
        raise DataError("the settings have no `four_eyes`, so that nothing waits for approval")
    one = found(connection, number)
    who.require(NEEDED[one.kind])
    if who.people & one.people:
        raise DataError(f"{who.name} is behind this request of {one.asked_by}; somebody else has to approve it")
    if one.approved_by is not None:
        raise DataError(f"request {number} was approved by {one.approved_by} already")
    if one.expires_at <= now:
        raise DataError(f"request {number} was good until {one.expires_at:%Y-%m-%d %H:%M} UTC; it is to be asked anew")
    values: dict[str, Any] = {
        "approved_at": now,
        "approved_by": who.name,
        "expires_at": now + settings.four_eyes.valid_for,
    }
    connection.execute(update(t.approvals).where(t.approvals.c.approval_id == number).values(**values))
    _note(connection, now, who.name, "approval_given", number, one, asked_by=one.asked_by)
    return one._replace(**values)


def found(connection: Connection, number: int) -> Approval:
    """The request of a number.

    Raises:
        DataError: when there is none.
    """
    there = _read(connection, t.approvals.c.approval_id == number)
    if not there:
        raise DataError(f"there is no request {number}")
    return there[0]


def waiting(connection: Connection, now: datetime, kinds: Sequence[Kind]) -> list[Approval]:
    """The requests of some kinds that wait for somebody, the newest first."""
    a = t.approvals.c
    return _read(connection, a.kind.in_(kinds), a.approved_by.is_(None), a.expires_at > now)


def _read(connection: Connection, *where: ColumnElement[bool], is_locked: bool = False) -> list[Approval]:
    query = select(t.approvals).where(*where).order_by(t.approvals.c.approval_id.desc())
    return [_approval(row) for row in connection.execute(query.with_for_update() if is_locked else query)]


def _approval(row: Row[Any]) -> Approval:
    return Approval(**{**row._asdict(), "people": frozenset(row.people)})


def _note(
    connection: Connection, now: datetime, actor: str, action: str, number: int, of: Wanted | Approval, **more: str
) -> None:  # fmt: skip
    release = {"release": of.object} if of.kind == "promotion" else {}
    act(
        connection, now, actor, action, f"approval/{number}", contact=of.contact, kind=of.kind, purpose=of.purpose,
        **release, **more,
    )  # fmt: skip
