"""Settling: what a relay made of a message becomes its state, and an event of its contact.

| outcome | state | event |
|---|---|---|
| accepted | `accepted` | `sent`, with the instant of the gate as `actual_at` |
| refused for good | `rejected` | `not_sent` (rejected) |
| refused because the address is at fault | `rejected` | the same, and `bounced` (hard); the address is suppressed |
| refused for now | `ready`, later, with exponential backoff | |
| refused for now, too often or until it was too late | `failed` | `not_sent` (failed) |
| no relay was reached | `ready`, a little later; it does not count as tried | |
| taken back before the dot | `ready` | |
| the message cannot be made (alerted), or must not go there in staging | `failed` | `not_sent` (failed) |
| no reply to the dot | `ambiguous`, with an alert | |

A message whose next try would come after `not_after` has failed: were it asked for again, the machine would let it go
at once, against a relay that has just put it off. A reply is the truth whatever else was decided since: see `states`.
A second acceptance of one message is a duplicate and raises an alert; nothing hides it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from hashlib import sha256
from typing import Any, Final, NamedTuple

from sqlalchemy import Connection, bindparam, select, update

from journeylab.language import say
from journeylab.sender.live.intake import OwnEvent, record_all
from journeylab.sender.settings import Settings
from journeylab.sender.store import TICK, insert_missing, lock_contacts
from journeylab.sender.store import tables as t
from journeylab.sender.store.lookup import Lookup

from . import breaker
from .alerts import raise_alert
from .gate import REPEATED, identity
from .notices import tell
from .states import FINAL, move_all
from .timeline import Timeline
from .transport import Outcome

__all__ = ["AMBIGUOUS", "Settled", "alert_ambiguous", "later", "settle"]

AMBIGUOUS: Final = "sends/ambiguous"
"""The alert's cause while messages are ambiguous."""
_FIRST_WAIT: Final = timedelta(minutes=1)
_LONGEST_WAIT: Final = timedelta(hours=4)
_UNREACHED_WAIT: Final = timedelta(seconds=30)
_BAD_ADDRESS: Final = frozenset({"5.1.1", "5.1.2", "5.1.3", "5.1.6", "5.1.10"})
"""Enhanced statuses that say that the recipient's address takes no mail (RFC 3463, RFC 7505); others of 5.1 are of
the sender's address, or say nothing certain."""


class Settled(NamedTuple):
    """What became of a message.

    Attributes:
        message_key: the message.
        fence: the fence of the claim under which it was offered.
        contact: whose it is.
        outcome: what the relay said.
        relay: which relay; None where none was reached.
        gated_at: when it passed the gate; None before it.
        noted: what else the breakers have to know: relays, and what they made of it.
    """

    message_key: str
    fence: int
    contact: str
    outcome: Outcome
    relay: str | None = None
    gated_at: datetime | None = None
    noted: tuple[tuple[str, str], ...] = ()


def settle(
    connection: Connection, settled: Sequence[Settled], now: datetime, settings: Settings
) -> None:  # fmt: skip
    """Writes what became of messages: states, events, suppressions, breakers; all in the caller's transaction.

    What another worker or a person has taken over meanwhile stays as it is, but for an acceptance, which is the truth.

    Args:
        connection: a writing transaction.
        settled: the messages, in the order in which the replies came.
        now: the store's instant.
        settings: the sender's settings.
    """
    rest = list(settled)
    while rest:
        batch: dict[str, Settled] = {}
        again = [one for one in rest if batch.setdefault(one.message_key, one) is not one]
        _Settling(connection, now, settings).write([*batch.values()])
        rest = again


def later(message_key: str, attempt: int, base: timedelta = _FIRST_WAIT) -> timedelta:
    """How long to wait after an attempt, counted from 1: twice as long each time, by half more or less.

    The part of chance comes from the message's key, so that messages put off together do not come back together.

    >>> later("00", 1) < later("00", 3) <= timedelta(minutes=6)
    True
    """
    drawn = int.from_bytes(sha256(f"{message_key}/{attempt}".encode()).digest()[:8], "big") / 2**64
    wait: timedelta = base * 2 ** min(attempt - 1, 20)
    return min(wait, _LONGEST_WAIT) * (0.5 + drawn)


def alert_ambiguous(connection: Connection, n: int, now: datetime) -> None:
    """Says that messages have become ambiguous."""
    raise_alert(
        connection, AMBIGUOUS, "error",
        say("{n} more messages may or may not have been sent, as the relay's reply to their end is not known; "
            "`journeylab sends --state ambiguous` lists them, `sends resolve` decides", n=n), now,
    )  # fmt: skip


class _Settling:
    """The settling of messages, each once, under locks on their contacts."""

    def __init__(self, connection: Connection, now: datetime, settings: Settings) -> None:
        self.connection, self.now, self.settings = connection, now, settings
        self.moves: dict[tuple[str, str, tuple[str, ...]], list[dict[str, Any]]] = defaultdict(list)
        self.kept: list[dict[str, Any]] = []
        self.events: list[OwnEvent] = []
        self.suppressed: list[dict[str, Any]] = []
        self.told: list[tuple[str, dict[str, Any]]] = []
        self.timeline = Timeline.of(settings)
        self.left: list[tuple[Any, datetime]] = []
        self.came_back: list[tuple[Any, datetime, str]] = []
        self.alerts: list[tuple[str, str, str]] = []
        self.n_ambiguous = 0

    def write(self, settled: Sequence[Settled]) -> None:
        self.at = lock_contacts(self.connection, (one.contact for one in settled), self.now)
        rows = {row.message_key: row for row in _ROWS.rows(self.connection, [one.message_key for one in settled])}
        for one in settled:
            row = rows.get(one.message_key)
            if row is not None and one.contact in self.at:
                self._decide(row, one)
        for (state, to, _), moved in self.moves.items():
            if move_all(self.connection, state, to, moved) != len(moved):  # the rows are locked, and were read so
                raise RuntimeError(f"messages that were {state} are not any more")
        if self.kept:
            self.connection.execute(_KEEPING, self.kept)
        if self.events:
            record_all(self.connection, self.events)
        if self.suppressed:
            insert_missing(self.connection, t.suppressions, self.suppressed, ["address_digest"])
        for webhook_id, about in self.told:
            tell(self.connection, "crm", webhook_id, "contact.suppressed", about, self.now)
        for row, at in self.left:
            self.timeline.tell_sent(self.connection, row, at)
        for row, at, status in self.came_back:
            self.timeline.tell_bounced(self.connection, row, at, "hard", status)
        if self.n_ambiguous:
            alert_ambiguous(self.connection, self.n_ambiguous, self.now)
        for cause, severity, text in self.alerts:
            raise_alert(self.connection, cause, severity, text, self.now)
        self._note(settled)

    def _decide(self, row: Any, one: Settled) -> None:
        kind = one.outcome.kind
        if kind == "accepted":
            self._accept(row, one)
            return
        is_mine = row.fence == one.fence and row.state in ("claimed", "transmitting", "ambiguous")
        if not is_mine:
            return
        if row.reason == REPEATED or (row.state == "ambiguous" and row.lease_until is not None):
            self._keep(row, one)
        elif kind == "unknown":
            if row.state == "transmitting":
                self._move(row, one, "ambiguous")
                self.n_ambiguous += 1
        elif kind == "rejected":
            self._reject(row, one)
        elif kind == "failed":
            self._fail(row, one)
        elif kind == "temporary":
            self._put_off(row, one)
        elif kind == "unreached":
            wait = later(row.message_key, 1, _UNREACHED_WAIT)
            self._move(row, one, "ready", not_before=self.now + wait, gated_at=None)
        else:  # withdrawn; what a reaper has made ambiguous meanwhile was not ended either
            self._move(row, one, "ready", gated_at=None)

    def _accept(self, row: Any, one: Settled) -> None:
        gated_at = one.gated_at or row.gated_at or self.now
        if row.state == "accepted":
            if (row.relay, row.gated_at) != (one.relay, gated_at):
                self.alerts.append(
                    (
                        "sends/duplicate_detected",
                        "critical",
                        say(
                            "the message {key} was accepted twice, by {relay} and by {other}",
                            key=row.message_key,
                            relay=row.relay,
                            other=one.relay,
                        ),
                    )
                )
        elif row.state in FINAL:
            self.alerts.append(
                (
                    "sends/accepted_after_all",
                    "error",
                    say(
                        "the message {key} is {state}, but {relay} has accepted it",
                        key=row.message_key,
                        state=row.state,
                        relay=one.relay,
                    ),
                )
            )
        else:
            at = self._next(row.contact)
            self._move(
                row, one, "accepted", gated_at=gated_at, settled_at=at, queue_id=one.outcome.queue_id, reason=None,
                relay=one.relay or row.relay,
            )  # fmt: skip
            said = identity(row) | {"message": row.message, "actual_at": gated_at}
            self.events.append(OwnEvent(row.contact, "sent", at, said, gated_at))
            self.left.append((row, gated_at))

    def _reject(self, row: Any, one: Settled) -> None:
        at = self._end(row, one, "rejected")
        outcome = one.outcome
        if outcome.stage == "rcpt" and outcome.enhanced in _BAD_ADDRESS:
            said = identity(row) | {"message": row.message, "bounce_type": "hard", "status": outcome.enhanced}
            self.events.append(OwnEvent(row.contact, "bounced", self._next(row.contact), said))
            self.came_back.append((row, at, outcome.enhanced))
            if row.written_digest is not None:
                of = {"address_digest": row.written_digest, "message_key": row.message_key}
                self.suppressed.append({**of, "reason": "bounced", "at": at})
                about = {"contact": row.contact, "reason": "bounced", "status": outcome.enhanced}
                self.told.append((f"bounced_{row.message_key}", about))

    def _fail(self, row: Any, one: Settled) -> None:
        self._end(row, one, "failed")
        if one.outcome.stage == "render":
            cause = f"messages/{row.journey}/{row.message}"
            text = say("the message {message} cannot be made: {why}", message=row.message, why=one.outcome.text)
            self.alerts.append((cause, "error", text))

    def _put_off(self, row: Any, one: Settled) -> None:
        attempts = row.attempts + 1
        again_at = self.now + later(row.message_key, attempts)
        if attempts >= self.settings.attempts or again_at > row.not_after:
            self._end(row, one, "failed", attempts=attempts)
        else:
            self._move(row, one, "ready", not_before=again_at, attempts=attempts, gated_at=None)

    def _end(self, row: Any, one: Settled, state: str, **values: Any) -> datetime:
        """Ends a message that was not sent, and says so at an instant."""
        at = self._next(row.contact)
        self._move(row, one, state, settled_at=at, reason=state, relay=one.relay, **values)
        said = identity(row) | {"message": row.message, "reason": state, "actual_at": row.gated_at}
        self.events.append(OwnEvent(row.contact, "not_sent", at, said))
        return at

    def _keep(self, row: Any, one: Settled) -> None:
        """Leaves a message ambiguous that was offered again: what a relay says now does not tell what it did before."""
        attempts = row.attempts + (one.outcome.kind not in ("unreached", "withdrawn"))
        wait = later(row.message_key, max(attempts, 1))
        values = {"not_before": self.now + wait, "attempts": attempts, "worker": None, "lease_until": None}
        if row.state == "transmitting":
            self._add(row, "ambiguous", values)
        else:
            self.kept.append({"of_key": row.message_key, "of_fence": row.fence, **values})

    def _move(self, row: Any, one: Settled, to: str, **values: Any) -> None:
        code = "" if one.outcome.code is None else f"{one.outcome.code} "
        said = {"worker": None, "lease_until": None, "reply": f"{code}{one.outcome.text}" or None}
        self._add(row, to, said | values)

    def _add(self, row: Any, to: str, values: Mapping[str, Any]) -> None:
        key = {"message_key": row.message_key, "fence": row.fence}
        self.moves[row.state, to, tuple(sorted(values))].append(key | dict(values))

    def _next(self, contact: str) -> datetime:
        at = self.at[contact]
        self.at[contact] = at + TICK
        return at

    def _note(self, settled: Sequence[Settled]) -> None:
        """Tells the breakers, of acceptances in a row only once."""
        last: dict[str, str] = {}
        for one in settled:
            own = _word(one.outcome)
            noted = (*one.noted, *([(one.relay, own)] if one.relay is not None and own is not None else ()))
            for relay, word in noted:
                if word not in ("accepted", "unused") or last.get(relay) != word:
                    breaker.note(self.connection, relay, word, self.now)
                last[relay] = word


def _word(outcome: Outcome) -> str | None:
    """What an outcome is to a breaker; None for what is not the relay's doing."""
    if outcome.code is None and outcome.kind == "temporary":
        return "connection"
    if outcome.code is None and outcome.kind == "rejected" and outcome.stage != "dot":
        return "unused"
    words = {"rejected": "permanent", "unknown": "ambiguous", "withdrawn": "unused", "unreached": None, "failed": None}
    return words.get(outcome.kind, outcome.kind)


_ROWS: Final = Lookup(
    lambda among: (
        select(
            *(t.sends.c[name] for name in (
                "message_key", "journey", "contact", "entry", "node", "visit", "message", "state", "reason", "fence",
                "attempts", "lease_until", "not_after", "gated_at", "relay",
            )),
            t.renderings.c.address_digest.label("written_digest"),
        )
        .outerjoin(t.renderings, t.renderings.c.message_key == t.sends.c.message_key)
        .where(among(t.sends.c.message_key))
        .order_by(t.sends.c.message_key)
        .with_for_update(of=t.sends)
    )
)  # fmt: skip
_KEEPING: Final = (
    update(t.sends)
    .where(
        t.sends.c.message_key == bindparam("of_key"),
        t.sends.c.fence == bindparam("of_fence"),
        t.sends.c.state == "ambiguous",
    )
    .values({name: bindparam(name) for name in ("not_before", "attempts", "worker", "lease_until")})
)
