"""Releases: which version of a journey takes entries from whom and since when, and the ways to change that.

A release is opened for a share of contacts (the canary) while the former one keeps the rest, or for all. Taking it
back stops its entries and gives them to the former release; entries that there are stay on their version (rule 26).
What is done again changes nothing and says so, so that a pipeline may run twice.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy import Connection, Row, insert, select, text, update

from journeylab.errors import DataError, known
from journeylab.sender.store import Store, act
from journeylab.sender.store import tables as t

from .frozen import Frozen
from .standing import RunningRelease, machine_releases, pauses, releases, running, share_text, taking

__all__ = [
    "Done", "RunningRelease", "machine_releases", "open_fully", "pause", "pauses", "promote", "release_of", "resume",
    "roll_back", "running", "withdraw",
]  # fmt: skip

_CHUNK = 5_000


@dataclass(frozen=True, slots=True)
class Done:
    """What became of an action.

    Attributes:
        journey: whose.
        action: `promote`, `full`, `roll_back`, `withdraw`, `pause`, `resume`, or `ask`: for a second person's approval.
        has_changed: whether anything is otherwise than before.
        release_id: the release that takes entries now, the new one first; None where none does.
        version, hash: of it.
        share: of which share of contacts it takes entries.
        at: the store's instant.
        sentence: all of it for a person.
    """

    journey: str
    action: str
    has_changed: bool
    release_id: int | None
    version: str | None
    hash: str | None
    share: float | None
    at: datetime
    sentence: str

    def to_dict(self) -> dict[str, Any]:
        """The same as plain data for JSON."""
        return {
            "journey": self.journey, "action": self.action, "changed": self.has_changed, "release": self.release_id,
            "version": self.version, "hash": self.hash, "share": self.share, "at": self.at.isoformat(),
            "text": self.sentence,
        }  # fmt: skip


class _Span(NamedTuple):
    span_id: int
    release_id: int
    from_at: datetime
    until_at: datetime | None
    share_from: float
    share_to: float
    version: str
    hash: str

    @property
    def is_full(self) -> bool:
        return self.share_from == 0 and self.share_to == 1


def promote(
    store: Store, frozen: Frozen, *, share: float = 1.0, actor: str, again: bool = False, approved_by: str | None = None
) -> Done:
    """Opens a release for a share of contacts, or for all; the former release keeps the rest, or ends.

    The contacts of a canary stay in it when its share grows. Promoting what is open already changes nothing.

    Args:
        store: the sender's database.
        frozen: what the release is made of; `checks.checked` says whether it may be promoted.
        share: the share of contacts of whom it takes entries, above 0 and up to 1.
        actor: who does it.
        again: promote a release although it was rolled back.
        approved_by: who has approved it, where it took a second person (`approvals`).

    Raises:
        DataError: when the share is none, the release takes all entries already, or it was rolled back.
    """
    if not 0 < share <= 1:
        raise DataError(f"a canary is a share of contacts above 0% and up to 100%, got {share_text(share)}")
    name, version = frozen.journey.journey, frozen.journey.version
    with _deciding(store, name) as (connection, now):
        release_id, is_new = release_of(connection, frozen, now, actor)
        spans = _open_spans(connection, name)
        mine = next((span for span in spans if span.release_id == release_id), None)
        object_ = _object(name, frozen.hash)
        if mine is not None and mine.share_from == 0 and mine.share_to == share:
            said = f"{name} {version} takes the entries of {share_text(share)} of contacts already; nothing has changed"
            return _done(name, "promote", now, said, mine, has_changed=False)
        if mine is not None and mine.share_to == 1 and share < 1:
            raise DataError(
                f"{name} {version} takes entries already; `journeylab release rollback {name}` takes it back"
            )
        last = None if is_new else _last_action(connection, object_)
        if last is not None and last.action == "roll_back" and not again:
            raise DataError(
                f"{name} {version} was rolled back at {last.at:%Y-%m-%d %H:%M} UTC by {last.actor} "
                f"({last.details.get('reason')}); promote it with --again if what was wrong is not in it"
            )
        base = next((span for span in spans if span.share_to == 1 and span.release_id != release_id), None)
        _close(connection, spans, now)
        _open(connection, release_id, now, (0.0, share), version)
        if base is not None and share < 1:
            _open(connection, base.release_id, now, (share, 1.0), version)
        act(
            connection, now, actor, "promote", object_, release_id=release_id, share=share_text(share),
            **_second(approved_by),
        )  # fmt: skip
        said = f"{name} {version} takes the entries of {share_text(share)} of contacts from {_shown(now)} on"
        if base is not None:
            rest = "keeps the rest" if share < 1 else "takes no more; its entries stay with it"
            said += f"; {base.version} {rest}"
    if frozen.journey.trigger.event is None:
        _wake(store, None)
    return Done(
        name,
        "promote",
        has_changed=True,
        release_id=release_id,
        version=version,
        hash=frozen.hash,
        share=share,
        at=now,
        sentence=said,
    )


def open_fully(store: Store, journey: str, *, actor: str, approved_by: str | None = None) -> Done:
    """Opens the canary of a journey for all contacts; nothing changes where there is none.

    Args:
        store: the sender's database.
        journey: whose canary.
        actor: who does it.
        approved_by: who has approved it, where it took a second person (`approvals`).

    Raises:
        DataError: when no release of the journey takes entries.
    """
    with _deciding(store, journey) as (connection, now):
        spans = _some_open(connection, journey)
        new, *rest = spans
        if new.is_full:
            said = f"{journey} {new.version} takes all entries already; nothing has changed"
            return _done(journey, "full", now, said, new, has_changed=False)
        _close(connection, spans, now)
        _open(connection, new.release_id, now, (0.0, 1.0), new.version)
        act(
            connection, now, actor, "full", _object(journey, new.hash), release_id=new.release_id,
            **_second(approved_by),
        )  # fmt: skip
    said = f"{journey} {new.version} takes all entries from {_shown(now)} on"
    said += "".join(f"; {one.version} takes no more, its entries stay with it" for one in rest)
    _wake_if_scheduled(store, journey)
    return _done(journey, "full", now, said, new._replace(share_to=1.0))


def roll_back(store: Store, journey: str, *, reason: str, actor: str, version: str | None = None) -> Done:
    """Stops the entries of the newest release of a journey; the former one takes them again, where there was one.

    Entries stay on their version (rule 26): those of the release that is taken back go on with it, unless the journey
    is paused.

    Args:
        store: the sender's database.
        journey: whose release.
        reason: why, for those who come later.
        actor: who does it.
        version: what is taken back; where that takes no entries any more, nothing changes, so that it may be asked for
            twice.

    Raises:
        DataError: when there is no such journey or version, or no release takes entries and no version is named.
    """
    with _deciding(store, journey) as (connection, now):
        _known(connection, journey)
        spans = _open_spans(connection, journey)
        if version is not None and not any(span.version == version for span in spans[:1]):
            versions = {row.version for row in releases(connection, journey)}
            if version not in versions:
                raise DataError(f"{journey} has no version {version!r}; {known(version, versions, 'versions')}")
            said = f"{journey} {version} is not the newest that takes entries; nothing has changed"
            return _done(journey, "roll_back", now, said, spans[0] if spans else None, has_changed=False)
        if not spans:
            raise DataError(f"no release of {journey} takes entries; there is nothing to take back")
        current, *rest = spans
        back = rest[0] if rest else _former(connection, journey, current)
        _close(connection, spans, now)
        if back is not None:
            _open(connection, back.release_id, now, (0.0, 1.0), back.version)
        act(
            connection, now, actor, "roll_back", _object(journey, current.hash), reason=reason,
            release_id=current.release_id, to=back and back.release_id,
        )  # fmt: skip
    said = f"{journey} {current.version} takes no entries from {_shown(now)} on; its entries stay with it"
    if back is None:
        said += ". There was no release before it: nobody enters"
        return _done(journey, "roll_back", now, said)
    _wake_if_scheduled(store, journey)
    said += f". {back.version} takes all entries"
    return _done(journey, "roll_back", now, said, back._replace(share_from=0.0, share_to=1.0))


def withdraw(store: Store, journey: str, *, reason: str, actor: str) -> Done:
    """Stops all entries into a journey; those that there are go on.

    Raises:
        DataError: when there is no such journey.
    """
    with _deciding(store, journey) as (connection, now):
        _known(connection, journey)
        spans = _open_spans(connection, journey)
        if not spans:
            return _done(journey, "withdraw", now, f"{journey} takes no entries already", has_changed=False)
        _close(connection, spans, now)
        for span in spans:
            act(connection, now, actor, "withdraw", _object(journey, span.hash), reason=reason)
    said = f"{journey} takes no entries from {_shown(now)} on; those that there are go on"
    return _done(journey, "withdraw", now, said)


def pause(store: Store, journey: str, *, reason: str, actor: str) -> Done:
    """Stops a journey: it advances nobody, nobody enters it, and nothing of it is sent (rule 28).

    Raises:
        DataError: when there is no such journey.
    """
    with _deciding(store, journey) as (connection, now):
        _known(connection, journey)
        there = next((one for one in pauses(connection) if one.journey == journey), None)
        if there is not None:
            said = f"{journey} is paused already, since {_shown(there.started_at)} ({there.reason})"
            return _done(journey, "pause", now, said, has_changed=False)
        row = {"journey": journey, "started_at": now, "reason": reason, "started_by": actor}
        connection.execute(insert(t.pauses), row)
        act(connection, now, actor, "pause", journey, reason=reason)
    said = f"{journey} stands still from {_shown(now)} on; what leaves it still leaves (rule 28)"
    return _done(journey, "pause", now, said)


def resume(store: Store, journey: str, *, actor: str) -> Done:
    """Lets a paused journey go on; triggers during the pause are lost, and sends that waited too long are skipped.

    Raises:
        DataError: when there is no such journey.
    """
    with _deciding(store, journey) as (connection, now):
        _known(connection, journey)
        is_open = (t.pauses.c.journey == journey) & t.pauses.c.ended_at.is_(None)
        ended = connection.execute(update(t.pauses).where(is_open).values(ended_at=now, ended_by=actor))
        if ended.rowcount:
            act(connection, now, actor, "resume", journey)
    _wake(store, journey)  # also where it goes on already: whoever resumed it may have crashed before this
    said = f"{journey} goes on from {_shown(now)} on" if ended.rowcount else f"{journey} is not paused"
    return _done(journey, "resume", now, said, has_changed=bool(ended.rowcount))


@contextmanager
def _deciding(store: Store, journey: str) -> Iterator[tuple[Connection, datetime]]:
    """A transaction that changes what takes entries or stands still, and its instant.

    A gate holds its release (shared) until its message may go, and whoever advances contacts reads spans and pauses in
    its transaction: this one waits until all these are done, and has its instant after that, so that it changes nothing
    that was decided already.
    """
    with store.writing() as connection:
        if not store.is_sqlite:
            mine = select(t.releases.c.release_id).where(t.releases.c.journey == journey)
            connection.execute(mine.order_by(t.releases.c.release_id).with_for_update()).all()
            connection.execute(text("lock table spans, pauses in access exclusive mode"))
        yield connection, store.now(connection)


def _shown(at: datetime) -> str:
    return f"{at:%Y-%m-%d %H:%M:%S} UTC"


def _done(
    journey: str, action: str, now: datetime, sentence: str, span: _Span | None = None, *, has_changed: bool = True
) -> Done:
    if span is None:
        return Done(journey, action, has_changed, None, None, None, None, now, sentence)
    share = span.share_to - span.share_from
    return Done(journey, action, has_changed, span.release_id, span.version, span.hash, share, now, sentence)


def _second(approved_by: str | None) -> dict[str, str]:
    return {} if approved_by is None else {"approved_by": approved_by}


def _object(journey: str, hash_: str) -> str:
    return f"{journey}/{hash_[:12]}"


def _last_action(connection: Connection, object_: str) -> Row[Any] | None:
    query = select(*(t.audit.c[name] for name in ("at", "actor", "action", "details")))
    query = query.where(t.audit.c.object == object_).order_by(t.audit.c.seq.desc()).limit(1)
    return connection.execute(query).one_or_none()


def release_of(connection: Connection, frozen: Frozen, now: datetime, actor: str) -> tuple[int, bool]:
    """The release of that hash, which is made where there is none; and whether it is new."""
    found = connection.scalars(select(t.releases.c.release_id).where(t.releases.c.hash == frozen.hash)).one_or_none()
    if found is not None:
        return int(found), False
    row = {**frozen.row(), "created_at": now, "created_by": actor}
    made = connection.scalars(insert(t.releases).returning(t.releases.c.release_id), row).one()
    return int(made), True


def _spans(connection: Connection, journey: str) -> list[_Span]:
    query = select(t.spans, t.releases.c.version, t.releases.c.hash).join(t.releases)
    query = query.where(t.releases.c.journey == journey).order_by(t.spans.c.span_id)
    return [
        _Span(
            row.span_id, row.release_id, row.from_at, row.until_at, row.share_from, row.share_to, row.version, row.hash
        )
        for row in connection.execute(query)
    ]


def _open_spans(connection: Connection, journey: str) -> list[_Span]:
    """Those that take entries, the canary first."""
    return sorted(
        (span for span in _spans(connection, journey) if span.until_at is None), key=lambda span: span.share_from
    )


def _some_open(connection: Connection, journey: str) -> list[_Span]:
    _known(connection, journey)
    spans = _open_spans(connection, journey)
    if not spans:
        raise DataError(f"no release of {journey} takes entries; promote one")
    return spans


def _known(connection: Connection, journey: str) -> None:
    names = {*connection.scalars(select(t.releases.c.journey).distinct())}
    if journey not in names:
        raise DataError(f"no journey {journey!r} was ever promoted; {known(journey, names, 'journeys')}")


def _close(connection: Connection, spans: Sequence[_Span], now: datetime) -> None:
    ids = [span.span_id for span in spans]
    connection.execute(update(t.spans).where(t.spans.c.span_id.in_(ids)).values(until_at=now))


def _open(connection: Connection, release_id: int, now: datetime, share: tuple[float, float], salt: str) -> None:
    row = {"release_id": release_id, "from_at": now, "share_from": share[0], "share_to": share[1], "share_salt": salt}
    connection.execute(insert(t.spans), row)


def _former(connection: Connection, journey: str, current: _Span) -> _Span | None:
    """What took entries until a release that takes them now was promoted the last time."""
    spans = _spans(connection, journey)
    mine = [one for one in spans if one.release_id == current.release_id]
    promoted = (t.audit.c.object == _object(journey, current.hash)) & (t.audit.c.action == "promote")
    start = connection.scalars(select(t.audit.c.at).where(promoted).order_by(t.audit.c.seq.desc()).limit(1)).one()
    while True:  # back over the shares that it had one after the other
        earlier = next((one.from_at for one in mine if one.until_at == start and one.from_at < start), None)
        if earlier is None:
            break
        start = earlier
    then = [
        one for one in spans
        if one.release_id != current.release_id and one.from_at < start <= (one.until_at or start)
    ]  # fmt: skip
    return max(then, key=lambda one: (one.share_to, one.from_at), default=None)


def _wake_if_scheduled(store: Store, journey: str) -> None:
    with store.reading() as connection:
        is_scheduled = any(
            one.release.journey.trigger.event is None and one.release.until_at is None
            for one in taking(connection, [journey])
        )
    if is_scheduled:
        _wake(store, None)


def _wake(store: Store, journey: str | None) -> None:
    """Makes contacts due now: those with a running entry of a journey, or all of them, some at a time.

    A segment or a date lets contacts enter to whom nothing happens, and a pause may have held what they waited for.
    """
    last = ""
    while True:
        with store.writing() as connection:
            query = select(t.contacts.c.contact).where(t.contacts.c.contact > last)
            if journey is not None:
                inside = (t.entries.c.journey == journey) & t.entries.c.left_at.is_(None)
                query = query.where(t.contacts.c.contact.in_(select(t.entries.c.contact).where(inside)))
            query = query.order_by(t.contacts.c.contact).limit(_CHUNK).with_for_update()
            found = [*connection.scalars(query)]
            if not found:
                return
            now = store.now(connection)
            is_later = t.contacts.c.next_at.is_(None) | (t.contacts.c.next_at > now)
            of = t.contacts.c.contact.between(found[0], found[-1]) & t.contacts.c.contact.in_(found)
            connection.execute(update(t.contacts).where(of & is_later).values(next_at=now))
            last = found[-1]
