"""What a running sender does for its audit log: checkpoints that leave the machine, and a SIEM that is told.

A checkpoint is made every 5 minutes, also when nothing has happened (so that silence is a sign), or after 1,000
entries. It is made in a transaction that holds the tree's row, so that of several processes one makes it; then it is
given to whoever takes checkpoints, and again each minute to those who did not take the latest.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Final

from sqlalchemy import Connection, Row, select, update

from journeylab.errors import JourneyLabError
from journeylab.language import say
from journeylab.sender.keys import Keys
from journeylab.sender.logs import logger
from journeylab.sender.sending.alerts import raise_alert, resolve
from journeylab.sender.sending.notices import tell
from journeylab.sender.settings import Settings
from journeylab.sender.store import Store, act
from journeylab.sender.store import tables as t

from .checkpoints import Checkpoint, Signer, name_of, opened
from .folder import newest_in, put
from .formats import Event, framed
from .mailing import mail
from .reading import leaves_of, read_frontier, size_of
from .shipping import Unsent, send, ship, source_of

__all__ = ["EVERY", "MOST", "Keeper", "note_settings", "signer_of", "why_unheld"]

EVERY: Final = timedelta(minutes=5)
"""How long after a checkpoint the next one is made, whatever happens."""
MOST: Final = 1000
"""After how many entries one is made sooner."""
_AGAIN: Final = timedelta(minutes=1)
_CHECKPOINTS, _SIEM = "audit/checkpoints", "audit/siem"


def signer_of(settings: Settings, keys: Keys) -> Signer:
    """Who signs a sender's checkpoints."""
    return Signer(name_of(settings.sender), keys.of("audit"))


def note_settings(store: Store, settings: Settings, actor: str) -> None:
    """Notes in the audit log what is other than when a process started last: settings, access, policy, key.

    Each is noted once by whoever starts first with it, as hashes (of the key, the public one): `now`, `before`, and of
    the settings `changed`, the names of the parts that are other ones, and `parts`, the hash of each. `access` is the
    table of who may do what, `policy` what holds over the journeys that run.

    Args:
        store: the sender's store.
        settings: the sender's settings.
        actor: the process, which starts.
    """
    given = settings.model_dump(mode="json", by_alias=True)
    parts = {name: _hash(value) for name, value in given.items()}
    running = (
        select(t.releases.c.journey, t.releases.c.policy)
        .join(t.spans)
        .where(t.spans.c.until_at.is_(None))
        .order_by(t.releases.c.journey, t.releases.c.release_id)
    )
    with store.writing() as connection:
        connection.execute(select(t.audit_tree).with_for_update()).all()  # two that start at once note it once
        policy = [[row.journey, row.policy] for row in connection.execute(running)]
        for what, action, now_is, more in (
            ("settings", "settings_changed", _hash(given), parts),
            ("access", "access_changed", parts["access"], None),
            ("policy", "policy_changed", _hash(policy), None),
            ("audit key", "key_changed", str(signer_of(settings, store.keys).key), None),
        ):
            last = select(t.audit.c.details).where(t.audit.c.object == what).order_by(t.audit.c.seq.desc()).limit(1)
            then = connection.scalar(last) or {}
            if then.get("now") == now_is:
                continue
            details: dict[str, Any] = {"now": now_is, "before": then.get("now")}
            if more is not None:
                old = then.get("parts") or {}
                changed = sorted(name for name in {*more, *old} if more.get(name) != old.get(name))
                details |= {"changed": changed if old else None, "parts": more}
            act(connection, store.now(connection), actor, action, what, **details)


def _hash(data: Any) -> str:
    text = json.dumps(data, sort_keys=True, ensure_ascii=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


class Keeper:
    """Keeps a sender's audit log; one for each process.

    Args:
        store: the sender's, opened with its keys.
        settings: the sender's.
    """

    def __init__(self, store: Store, settings: Settings) -> None:
        self._store, self._settings = store, settings
        self._signer = signer_of(settings, store.keys)
        self._not_before: dict[str, datetime] = {}
        self._trouble: str | None = ""
        self._log = logger("audit")

    def keep(self, now: datetime) -> int:
        """How many things were done: checkpoints made and given, entries told.

        Args:
            now: the store's instant.
        """
        n = self._made(now) + self._given(now)
        self._judge(now)
        return n + self._told(now)

    def _made(self, now: datetime) -> int:
        with self._store.reading() as connection:
            if not _is_due(connection, now):
                return 0
        with self._store.writing() as connection:
            connection.execute(select(t.audit_tree).with_for_update()).all()
            now = self._store.now(connection)
            frontier = read_frontier(connection)
            if frontier is None or not _is_due(connection, now):
                return 0
            made = Checkpoint(self._signer.name, frontier.size, frontier.root, now)
            note = made.signed(self._signer)
            row = {"at": now, "size": made.size, "root": made.root.hex(), "note": note, "taken_by": []}
            connection.execute(t.checkpoints.insert(), row)
            if "webhook" in self._settings.audit.checkpoints:
                tell(connection, "audit", _webhook_id(now), "audit.checkpoint", {"note": note}, now)
        return 1

    def _given(self, now: datetime) -> int:
        """How many have taken the latest checkpoint now."""
        with self._store.reading() as connection:
            row = _latest(connection)
            if row is None:
                return 0
            waiting = [
                one for one in self._settings.audit.checkpoints
                if one not in row.taken_by and self._not_before.get(one, now) <= now
            ]  # fmt: skip
            of_audit = (t.outbox.c.target == "audit") & (t.outbox.c.webhook_id == _webhook_id(row.at))
            told = select(t.outbox.c.delivered_at).where(of_audit)
            is_told = "webhook" in waiting and connection.scalar(told) is not None
        taken = []
        for one in waiting:
            if one == "webhook":
                taken += [one] if is_told else []
                continue
            try:
                self._give(one, row)
            except (JourneyLabError, OSError) as problem:
                self._not_before[one] = now + _AGAIN
                self._log.warning("a checkpoint is not taken", by=one, problem=str(problem))
            else:
                taken.append(one)
        if taken:
            self._note_taken(row, taken)
        return len(taken)

    def _give(self, destination: str, row: Row[tuple[object, ...]]) -> None:
        made = opened(row.note, self._signer.key)
        if destination == "syslog":
            siem = self._settings.audit.syslog
            assert siem is not None  # the settings see to it
            note = base64.b64encode(row.note.encode()).decode()
            event = Event(made.size, made.root.hex(), made.at, "audit", "checkpoint", f"{made.size}", note=note)
            send([framed(event, source_of(self._settings), siem.format)], siem, self._settings.folder)
            return
        if destination == "mail":
            with self._store.reading() as connection:
                start = _last_mailed(connection, made.size)
                leaves = leaves_of(connection, start, made.size)
            mail(row.note, made, start + 1, leaves, self._settings)
            return
        folder = self._settings.path(destination.partition(":")[2])
        last = newest_in(folder, self._signer.key)
        if last is not None and (last.size > made.size or (last.size == made.size and last.root != made.root)):
            raise _SetBack(folder, last, made)
        start = 0 if last is None else last.size
        with self._store.reading() as connection:
            leaves = leaves_of(connection, start, made.size)
        put(folder, row.note, made, start + 1, leaves)

    def _note_taken(self, row: Row[tuple[object, ...]], taken: Sequence[str]) -> None:
        with self._store.writing() as connection:
            this = t.checkpoints.c.checkpoint_id == row.checkpoint_id
            known = connection.scalar(select(t.checkpoints.c.taken_by).where(this).with_for_update()) or []
            both = sorted({*known, *taken})
            connection.execute(update(t.checkpoints).where(this).values(taken_by=both))

    def _judge(self, now: datetime) -> None:
        """Raises an alert where the latest checkpoint has left to nobody, or resolves it."""
        with self._store.reading() as connection:
            trouble = why_unheld(connection, self._settings, now)
        if trouble == self._trouble:
            return
        self._trouble = trouble
        with self._store.writing() as connection:
            if trouble is None:
                resolve(connection, _CHECKPOINTS, now)
            else:
                raise_alert(connection, _CHECKPOINTS, "warning", trouble, now)

    def _told(self, now: datetime) -> int:
        """How many entries the SIEM was told."""
        siem = self._settings.audit.syslog
        if siem is None or self._not_before.get(_SIEM, now) > now:
            return 0
        try:
            n = ship(self._store, self._settings, siem)
        except JourneyLabError as problem:
            self._not_before[_SIEM] = now + _AGAIN
            said = say("the SIEM is not told of the audit log, and is tried again by itself: {why}", why=problem)
            with self._store.writing() as connection:
                raise_alert(connection, _SIEM, "warning", said, now)
            return 0
        if n or _SIEM in self._not_before:
            self._not_before.pop(_SIEM, None)
            with self._store.writing() as connection:
                resolve(connection, _SIEM, now)
        return n


class _SetBack(Unsent):
    def __init__(self, folder: Path, last: Checkpoint, made: Checkpoint) -> None:
        super().__init__(
            f"{folder} has a checkpoint of {last.size} entries of {last.at:%Y-%m-%d %H:%M:%S} UTC, and the log has "
            f"{made.size} now or others: it was set back; `journeylab audit verify --against {folder}` shows where"
        )


def _webhook_id(at: datetime) -> str:
    return f"checkpoint_{at:%Y%m%dT%H%M%S%f}"


def _latest(connection: Connection) -> Row[tuple[object, ...]] | None:
    last = select(t.checkpoints).order_by(t.checkpoints.c.checkpoint_id.desc()).limit(1)
    return connection.execute(last).one_or_none()


def _last_mailed(connection: Connection, size: int) -> int:
    """How many entries the last checkpoint had that was taken by mail; 0 where there is none."""
    c = t.checkpoints.c
    latest = select(c.size, c.taken_by).where(c.size <= size).order_by(c.checkpoint_id.desc())
    return next((row.size for row in connection.execute(latest) if "mail" in (row.taken_by or [])), 0)


def _is_due(connection: Connection, now: datetime) -> bool:
    last = _latest(connection)
    return last is None or now - last.at >= EVERY or size_of(connection) - last.size >= MOST


def why_unheld(connection: Connection, settings: Settings, now: datetime) -> str | None:
    """Why the latest checkpoint is held by nobody outside, and what to do; None where it is, or may be soon."""
    if not settings.audit.checkpoints:
        return say(
            "no checkpoint of the audit log leaves this machine, so that who can write to the database can change the "
            "log unseen; name who takes them in the settings, as `checkpoints` under `audit`"
        )
    last = _latest(connection)
    if last is None:
        return say("there is no checkpoint of the audit log yet; `journeylab run` makes them")
    if now - last.at >= 2 * EVERY:
        since = f"{last.at:%Y-%m-%d %H:%M} UTC"
        return say("the latest checkpoint of the audit log is of {at}; `journeylab run` makes them", at=since)
    if not last.taken_by and now - last.at >= _AGAIN:
        return say(
            "nobody has taken the latest checkpoint of the audit log: {who}", who=", ".join(settings.audit.checkpoints)
        )
    return None
