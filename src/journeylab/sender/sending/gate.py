"""The gate: the last transaction before the dot, in which all that speaks against a message is asked once more.

A relay has the whole message but for the dot that ends it. Whatever was decided up to the instant a at which the gate
stands counts: who withdraws before a gets nothing, and a withdrawal after a finds the message `transmitting` and names
it. The contact's row is held meanwhile, so that nothing is received or decided for the contact at the same time.

| clause | refused when | then |
|---|---|---|
| `state`, `fence`, `lease` | the message is not, or no more, this worker's | nothing changes |
| `repeat` | the relay may have forgotten that it has seen the message | nothing changes |
| `due`, `held` | the machine has to advance the contact first; it cannot | `ready` |
| `address`, `early` | the contact has another address now; it is not time yet | `ready` |
| `left` | the entry has ended | `cancelled` |
| `suppression` | rule 17; the address is suppressed, whichever contact has it | `suppressed` |
| `consent`, `pause`, `late`, `quiet_hours`, `cap`, `policy_cap` | rules 14, 17 to 19, 28 | `planned` |
| `outdated` | what it depends on is too old and nothing newer is waited for, or decided about it wrongly | `expired` |
| `stale` | what it depends on is too old; it is asked again once that was said anew | `ready` |
| `changed` | its bytes are made of what is known otherwise since; they are made anew | `ready` |

With `planned` goes the event `postponed`: the machine asks all gates again as of a, and sends later or skips. Of
addresses and of ages the machine knows nothing, so that it would let such a message pass again and again: there the
gate decides, and `not_sent` tells the machine (`freshness`).

Confirmation mail (`CONFIRMATION`) has no entry and asks for the consent that it does not have yet. A message that is
`ambiguous` and is repeated (see `states`) stays so when it is refused.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Final, NamedTuple

from sqlalchemy import Connection, and_, bindparam, delete, or_, select, update

from journeylab.sender.consent.standing import EVENTS, ConsentEvent, folded
from journeylab.sender.dependences import stale_reason
from journeylab.sender.live.intake import OwnEvent, record_all
from journeylab.sender.settings import Relay, Settings
from journeylab.sender.store import TICK, lock_contacts
from journeylab.sender.store import tables as t
from journeylab.sender.store.bulk import Bulk, held
from journeylab.sender.store.lookup import Lookup

from .freshness import NOTHING, Freshness, freshness, raise_age
from .states import move_all

__all__ = [
    "CLAUSES", "CONFIRMATION", "REPEATED", "SENT", "TRANSMITTING_LEASE", "Case", "Passed", "Refused", "Request",
    "identity", "let_pass", "repeated_until",
]  # fmt: skip

CONFIRMATION: Final = "(consent)"
"""The journey of mail that asks for consent."""
SENT: Final = ("transmitting", "ambiguous", "accepted", "rejected")
"""The states of a message that counts as sent for a cap."""
TRANSMITTING_LEASE: Final = timedelta(minutes=11)
"""How long a message may be on its way before it is ambiguous: longer than a reply is waited for."""
REPEATED: Final = "repeated"
"""The reason of a message that was ambiguous and is offered again to a relay that drops repeated ones."""
_REPEAT_AFTER: Final = timedelta(minutes=10)
_HELD_FOR: Final = timedelta(hours=1)
"""How long a message waits at most before it is asked again whether what it depends on is still too old."""


@dataclass(frozen=True, slots=True)
class Request:
    """A message that a relay has but for its end: its key, the fence of its claim, its contact, and the relay.

    One without bytes was not made, as what it depends on is too old; it never passes.
    """

    message_key: str
    fence: int
    contact: str
    relay: str
    has_bytes: bool = True


@dataclass(frozen=True, slots=True)
class Passed:
    """The message is `transmitting`, and may be ended."""

    gated_at: datetime


@dataclass(frozen=True, slots=True)
class Refused:
    """The message must not be ended; the reason is the clause's name."""

    reason: str


@dataclass(frozen=True, slots=True)
class _Facts:
    """What is known of a group's contacts, journeys and addresses; of what is sent in the group itself, too."""

    consents: Mapping[str, Sequence[ConsentEvent]]
    returned: frozenset[str]
    suppressed: frozenset[str]
    pauses: Mapping[str, Sequence[tuple[datetime, datetime | None]]]
    sent: dict[str, list[tuple[str, str, datetime]]]
    fresh: Mapping[str, Freshness]
    due: set[str] = field(default_factory=set)


class Case(NamedTuple):
    """A message at the gate: its row with its contact's and entry's, the instant a, the clock, and what is known."""

    request: Request
    row: Any
    at: datetime
    now: datetime
    facts: _Facts
    settings: Settings

    @property
    def freshness(self) -> Freshness:
        """How old what it depends on is."""
        return self.facts.fresh.get(self.row.message_key, NOTHING)

    @property
    def outdated(self) -> str | None:
        """For the sake of what it is never sent, if for anything."""
        found = self.freshness
        old = found.too_old(self.at)
        if old and (old[0] in found.skips or not _late(self)):
            return old[0]
        return found.decided_wrongly

    @property
    def is_confirmation(self) -> bool:
        """Whether it asks for consent."""
        return bool(self.row.journey == CONFIRMATION)


# What must hold, each a clause of its own so that a test can take it away.


def _state(case: Case) -> bool:
    return case.row.state == "claimed" or (case.row.state == "ambiguous" and case.row.lease_until is not None)


def _fence(case: Case) -> bool:
    return bool(case.row.fence == case.request.fence)


def _lease(case: Case) -> bool:
    return case.row.lease_until is not None and case.row.lease_until > case.now


def _repeat(case: Case) -> bool:
    return case.row.state == "claimed" or any(
        relay.name == case.row.relay == case.request.relay and case.now < repeated_until(case.row.gated_at, relay)
        for relay in case.settings.relays
    )


def _due(case: Case) -> bool:
    is_due = case.row.next_at is not None and case.row.next_at <= case.at
    return not is_due and case.row.contact not in case.facts.due


def _held(case: Case) -> bool:
    return case.row.held_because is None


def _address(case: Case) -> bool:
    is_same = case.row.address_digest is not None and case.row.address_digest == case.row.written_digest
    return is_same or not case.request.has_bytes


def _early(case: Case) -> bool:
    return case.row.not_before is None or case.row.not_before <= case.at


def _left(case: Case) -> bool:
    return case.is_confirmation or (case.row.entry_of is not None and case.row.left_at is None)


def _consent(case: Case) -> bool:
    # All consent events count: a is later than whatever was received of the contact.
    events = case.facts.consents.get(case.row.contact, ())
    if case.is_confirmation:
        return not any(one.event == "erased" and one.received_at > case.row.planned_at for one in events)
    return folded(events, [case.row.purpose], case.settings.basis)[case.row.purpose].stands


def _suppression(case: Case) -> bool:
    return case.row.contact not in case.facts.returned and case.row.written_digest not in case.facts.suppressed


def _pause(case: Case) -> bool:
    spans = case.facts.pauses.get(case.row.journey, ())
    return not any(start <= case.at and (end is None or case.at < end) for start, end in spans)


def _late(case: Case) -> bool:
    return bool(case.at <= case.row.not_after)


def _outdated(case: Case) -> bool:
    return case.outdated is None


def _stale(case: Case) -> bool:
    return not case.freshness.too_old(case.at)


def _changed(case: Case) -> bool:
    return case.request.has_bytes and not case.freshness.is_anew


def _quiet_hours(case: Case) -> bool:
    return case.row.open_until is None or case.at < case.row.open_until


def _cap(case: Case) -> bool:
    row = case.row
    return row.cap_sends is None or _n_sent(case, row.cap_within_us, row.journey) < row.cap_sends


def _policy_cap(case: Case) -> bool:
    row = case.row
    return row.policy_cap_sends is None or _n_sent(case, row.policy_cap_within_us, None) < row.policy_cap_sends


def _n_sent(case: Case, within_us: int, journey: str | None) -> int:
    """How many messages the contact was sent within the time up to now, this one apart."""
    since = case.at - timedelta(microseconds=within_us)
    return sum(
        since < gated_at and key != case.row.message_key and journey in (None, of)
        for key, of, gated_at in case.facts.sent.get(case.row.contact, ())
    )


_NOTHING, _AGAIN, _GONE, _NEVER, _ASKED = "nothing", "ready", "cancelled", "suppressed", "planned"
_SKIPPED, _HELD, _ANEW = "expired", "held", "anew"
CLAUSES: Final[dict[str, tuple[Callable[[Case], bool], str]]] = {
    "state": (_state, _NOTHING),
    "fence": (_fence, _NOTHING),
    "lease": (_lease, _NOTHING),
    "repeat": (_repeat, _NOTHING),
    "due": (_due, _AGAIN),
    "held": (_held, _AGAIN),
    "address": (_address, _AGAIN),
    "early": (_early, _AGAIN),
    "left": (_left, _GONE),
    "consent": (_consent, _ASKED),
    "suppression": (_suppression, _NEVER),
    "pause": (_pause, _ASKED),
    "outdated": (_outdated, _SKIPPED),
    "stale": (_stale, _HELD),
    "late": (_late, _ASKED),
    "quiet_hours": (_quiet_hours, _ASKED),
    "cap": (_cap, _ASKED),
    "policy_cap": (_policy_cap, _ASKED),
    "changed": (_changed, _ANEW),
}
"""The clauses in the order in which they are asked, by the reason of a refusal, and what a refusal leads to."""


def repeated_until(gated_at: datetime, relay: Relay) -> datetime:
    """Until when a relay surely drops a message that it has seen: what it promises, less a margin for its clock."""
    if not relay.drops_repeats:
        return gated_at
    return gated_at + relay.idempotency_for - max(TRANSMITTING_LEASE, relay.idempotency_for / 10)


def let_pass(
    connection: Connection, requests: Sequence[Request], now: datetime, settings: Settings
) -> dict[str, Passed | Refused]:
    """Of each message by its key, whether it passes; all of them in the caller's transaction, whose commit lets them.

    What passes is `transmitting` from then on. Messages of one contact are asked in the order given, each after what
    became of the one before. On PostgreSQL contacts are locked first, then messages, each in one order. Who pauses a
    journey locks the table of pauses before it takes its instant, so that a pause that had begun by a is seen.

    Args:
        connection: a writing transaction.
        requests: the messages, each once.
        now: the store's instant.
        settings: the sender's settings.
    """
    if not requests:
        return {}
    at = lock_contacts(connection, (one.contact for one in requests), now)
    rows = {row.message_key: row for row in _ROWS.rows(connection, [one.message_key for one in requests])}
    facts = _known(connection, [*rows.values()], now, settings)
    answers: dict[str, Passed | Refused] = {}
    moves = _Moves()
    for one in requests:
        row = rows.get(one.message_key)
        if row is None or row.contact not in at:
            answers[one.message_key] = Refused("state")
            continue
        case = Case(one, row, at[row.contact], now, facts, settings)
        answers[one.message_key] = moves.note(case, _refusal(case))
        at[row.contact] = case.at + TICK
    moves.write(connection, now)
    return answers


def _refusal(case: Case) -> tuple[str, str] | None:
    for name, (holds, then) in CLAUSES.items():
        if not holds(case):
            return name, then
    return None


class _Moves:
    """What a group's answers change, written at its end."""

    def __init__(self) -> None:
        self.rows: dict[tuple[str, str], list[dict[str, Any]]] = defaultdict(list)
        self.events: list[OwnEvent] = []
        self.last: dict[str, datetime] = {}
        self.kept: list[dict[str, Any]] = []
        self.anew: list[str] = []
        self.aged: dict[str, str] = {}

    def note(self, case: Case, refusal: tuple[str, str] | None) -> Passed | Refused:
        row = case.row
        key = {"message_key": row.message_key, "fence": row.fence}
        is_repeated = row.state == "ambiguous"
        if refusal is None:
            gated_at = row.gated_at if is_repeated else case.at
            values = {"gated_at": gated_at, "lease_until": case.now + TRANSMITTING_LEASE, "relay": case.request.relay}
            reason = REPEATED if is_repeated else None
            self.rows[row.state, "transmitting"].append(key | values | {"reason": reason})
            case.facts.sent.setdefault(row.contact, []).append((row.message_key, row.journey, case.at))
            self.last[row.contact] = case.at
            return Passed(gated_at)
        reason, then = refusal
        if is_repeated and reason not in ("fence", "lease"):
            self.kept.append(key | {"not_before": case.now + _REPEAT_AFTER})
        elif then in (_SKIPPED, _HELD, _ANEW):
            self._note_age(case, then, key)
        elif then != _NOTHING:
            values = {"worker": None, "lease_until": None, "reason": reason if then != _AGAIN else None}
            if then == _ASKED:
                values["not_before"] = None
                self._tell(case, "postponed")
            elif then == _NEVER:
                values["settled_at"] = case.at
                self._tell(case, "not_sent", message=row.message, reason=reason)
            elif then == _GONE:
                values["settled_at"] = case.at
            self.rows["claimed", then].append(key | values)
        return Refused(reason)

    def _note_age(self, case: Case, then: str, key: dict[str, Any]) -> None:
        """Skips a message, or lets it wait, or has it made anew, as what it depends on is too old."""
        row, values = case.row, {"worker": None, "lease_until": None}
        if then == _ANEW:
            self.anew.append(row.message_key)
            self.rows["claimed", _AGAIN].append(key | values | {"reason": None, "not_before": case.at})
            return
        name = case.outdated or case.freshness.too_old(case.at)[0]
        self.aged[name] = then
        reason = stale_reason(name)
        if then == _SKIPPED:
            self.rows["claimed", _SKIPPED].append(key | values | {"reason": reason, "settled_at": case.at})
            self._tell(case, "not_sent", message=row.message, reason=reason)
        else:
            again_at = min(case.now + _HELD_FOR, max(row.not_after, case.now) + TICK)
            self.rows["claimed", _AGAIN].append(key | values | {"reason": reason, "not_before": again_at})

    def _tell(self, case: Case, event: str, **said: Any) -> None:
        """Tells the machine, which advances the contact before anything else of it passes."""
        self.events.append(OwnEvent(case.row.contact, event, case.at, identity(case.row) | said))
        case.facts.due.add(case.row.contact)

    def write(self, connection: Connection, now: datetime) -> None:
        for (state, to), rows in self.rows.items():
            for some in _alike(rows):
                if move_all(connection, state, to, some) != len(some):  # the rows are locked, and were read so
                    raise RuntimeError(f"messages that were {state} are not any more")
        for name in sorted(self.aged):
            raise_age(connection, name, now)
        _UNFREEZING.run(connection, [(key,) for key in self.anew])
        if self.kept:
            _KEEPING.run(
                connection,
                [(row["message_key"], row["fence"], row["not_before"]) for row in self.kept],
            )
        if self.last:
            _DECIDED.run(connection, [*self.last.items()])
        if self.events:
            record_all(connection, self.events)


def _alike(rows: Sequence[dict[str, Any]]) -> list[list[dict[str, Any]]]:
    """Rows by the columns that they set."""
    found: dict[tuple[str, ...], list[dict[str, Any]]] = defaultdict(list)
    for row in rows:
        found[tuple(row)].append(row)
    return [*found.values()]


def identity(row: Any) -> dict[str, Any]:
    """The identity of a message but for its contact, as its own events have it."""
    return {"journey": row.journey, "entry": row.entry, "node": row.node, "visit": row.visit}


def _known(connection: Connection, rows: Sequence[Any], now: datetime, settings: Settings) -> _Facts:
    contacts = [*{row.contact for row in rows}]
    consents: dict[str, list[ConsentEvent]] = defaultdict(list)
    returned: set[str] = set()
    for one in _MARKS.rows(connection, contacts):
        if one.event in EVENTS:
            event = ConsentEvent(one.received_at, one.event_id, one.event, one.properties.get("purpose"))
            consents[one.contact].append(event)
        elif one.event == "complained" or one.properties.get("bounce_type") != "soft":
            returned.add(one.contact)
    digests = {row.written_digest for row in rows if row.written_digest is not None}
    suppressed = (one.address_digest for one in _SUPPRESSED.rows(connection, [*digests]))
    pauses: dict[str, list[tuple[datetime, datetime | None]]] = defaultdict(list)
    for journey, start, end in _PAUSES.rows(connection, [*{row.journey for row in rows}], now=held(connection, now)):
        pauses[journey].append((start, end))
    sent: dict[str, list[tuple[str, str, datetime]]] = defaultdict(list)
    longest = max((max(row.cap_within_us or 0, row.policy_cap_within_us or 0) for row in rows), default=0)
    if longest:
        since = now - timedelta(microseconds=longest)
        for contact, key, journey, gated_at, state in _SENT.rows(connection, contacts, since=held(connection, since)):
            if state in SENT:  # asked here, as SQLite would go through the states of all messages
                sent[contact].append((key, journey, gated_at))
    fresh = freshness(connection, rows, settings)
    return _Facts(consents, frozenset(returned), frozenset(suppressed), pauses, sent, fresh)


_ROWS: Final = Lookup(
    lambda among: (
        select(
            *(t.sends.c[name] for name in (
                "message_key", "journey", "contact", "entry", "node", "visit", "message", "purpose", "state", "fence",
                "lease_until", "planned_at", "not_before", "not_after", "open_until", "cap_sends", "cap_within_us",
                "policy_cap_sends", "policy_cap_within_us", "gated_at", "relay", "release_id",
            )),
            t.contacts.c.address_digest, t.contacts.c.next_at, t.contacts.c.held_because,
            t.entries.c.entry.label("entry_of"), t.entries.c.left_at,
            t.renderings.c.address_digest.label("written_digest"), t.renderings.c.n_changes,
            t.renderings.c.catalogue_at,
        )
        .join(t.contacts, t.contacts.c.contact == t.sends.c.contact)
        .outerjoin(
            t.entries,
            and_(
                t.entries.c.contact == t.sends.c.contact,
                t.entries.c.journey == t.sends.c.journey,
                t.entries.c.entry == t.sends.c.entry,
            ),
        )
        .outerjoin(t.renderings, t.renderings.c.message_key == t.sends.c.message_key)
        .where(among(t.sends.c.message_key))
        .order_by(t.sends.c.message_key)
        .with_for_update(of=t.sends)
    )
)  # fmt: skip
_MARKS: Final = Lookup(
    lambda among: select(
        *(t.events.c[name] for name in ("contact", "event", "received_at", "event_id", "properties"))
    ).where(among(t.events.c.contact), t.events.c.event.in_((*EVENTS, "complained", "bounced")))
)
_SUPPRESSED: Final = Lookup(
    lambda among: select(t.suppressions.c.address_digest).where(among(t.suppressions.c.address_digest))
)
_PAUSES: Final = Lookup(
    lambda among: select(t.pauses.c.journey, t.pauses.c.started_at, t.pauses.c.ended_at).where(
        among(t.pauses.c.journey), or_(t.pauses.c.ended_at.is_(None), t.pauses.c.ended_at > bindparam("now", None))
    )
)
_SENT: Final = Lookup(
    lambda among: select(
        *(t.sends.c[name] for name in ("contact", "message_key", "journey", "gated_at", "state"))
    ).where(among(t.sends.c.contact), t.sends.c.journey != CONFIRMATION, t.sends.c.gated_at > bindparam("since", None))
)
_DECIDED: Final = Bulk(
    lambda given: update(t.contacts).where(t.contacts.c.contact == given("of")).values(last_at=given("at")), "of", "at"
)
_UNFREEZING: Final = Bulk(
    lambda given: delete(t.renderings).where(t.renderings.c.message_key == given("of")), "of"
)  # fmt: skip
_KEEPING: Final = Bulk(
    lambda given: (
        update(t.sends)
        .where(t.sends.c.message_key == given("key"), t.sends.c.fence == given("of"), t.state_beside == "ambiguous")
        .values(worker=None, lease_until=None, not_before=given("at"))
    ),
    *("key", "of", "at"),
)
