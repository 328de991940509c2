"""Circuit breakers: a relay that fails is left alone, and a journey whose mail comes back is paused.

A relay's breaker is `closed` (mail goes), `open` (none goes) or `half_open` (one message is being tried). It opens

- at once when the relay does not let us in (`auth`) or its TLS cannot be trusted (`tls`),
- after `FAILURES` failures in a row (`connection`, `temporary`), or `REJECTIONS` messages in a row that were refused
  for good (`permanent`), each of which is lost,
- when too many messages get no reply to their end (`ambiguous`), as each of these needs a person.

After a wait that doubles with each opening one message is tried; when the relay takes it, or refuses that message
alone, the breaker closes. It is alerted once, from the first opening to the closing.

A journey is paused by `watch_rates` when more of its messages come back, are complained about, or are left without a
reply than any sound list gives; only a person resumes it. The rates are judged by the lower end of their 95 % Wilson
interval, so that a small number does not look like a large share; as they are looked at over and over, a sound journey
can be paused by chance now and then, which is the safe side.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any, Final, NamedTuple

from sqlalchemy import Connection, Row, case, delete, func, literal, select, update

from journeylab.errors import known
from journeylab.language import formatted, later, say
from journeylab.sender.promotion.releases import pause
from journeylab.sender.settings import Settings
from journeylab.sender.store import Store, act
from journeylab.sender.store import tables as t
from journeylab.sender.store.bulk import insert_into
from journeylab.sender.store.lookup import Lookup

from .alerts import raise_alert, resolve

__all__ = ["FAILURES", "OUTCOMES", "RATES", "REJECTIONS", "Rate", "allows", "note", "watch_rates"]

OUTCOMES: Final = ("accepted", "temporary", "permanent", "connection", "tls", "auth", "ambiguous", "unused")
"""What a relay made of a message; `unused`: it was allowed to be tried, and the relay was not asked after all."""
FAILURES: Final = 5
REJECTIONS: Final = 10
_FIRST_WAIT: Final = timedelta(minutes=1)
_LONGEST_WAIT: Final = timedelta(minutes=30)
_PROBE: Final = timedelta(minutes=15)
"""How long one message is waited for: longer than the 10 minutes that RFC 5321 gives the reply to its end."""
_WINDOW: Final = timedelta(hours=24)
_RELAY_WINDOW: Final = timedelta(hours=1)
_LEFT: Final = ("accepted", "rejected", "ambiguous")
_SAID: Final = {
    "auth": (
        "critical",
        later("the relay {relay} does not take user and password; check them, and whether the account is locked"),
    ),
    "tls": (
        "critical",
        later(
            "the relay {relay} cannot be trusted: its TLS or certificate is not what is asked for; check host, ca and "
            "date"
        ),
    ),
    "connection": ("error", later("the relay {relay} cannot be reached; it is tried again by itself")),
    "temporary": ("error", later("the relay {relay} puts all messages off; it is tried again by itself")),
    "permanent": (
        "critical",
        later("the relay {relay} refuses message after message for good; see the replies in `journeylab sends`"),
    ),
    "ambiguous": (
        "critical",
        later("the relay {relay} takes messages without a reply; whether these went is settled by `journeylab sends`"),
    ),
}


class Rate(NamedTuple):
    """A share of a journey's messages that must not be exceeded.

    Attributes:
        most: the share itself.
        least: the number of such messages below which nothing is judged.
        least_of: the number of all messages below which nothing is judged.
    """

    most: float
    least: int
    least_of: int

    def is_exceeded(self, n: int, of: int) -> bool:
        """Whether n of so many are more than may be by chance."""
        if n < self.least or of < self.least_of or n <= self.most * of:
            return False
        from journeylab.visits import wilson_interval

        low, _ = wilson_interval([n], [of])
        return bool(low[0] > self.most)


RATES: Final = {
    "bounces": Rate(0.05, 5, 50),
    "complaints": Rate(0.001, 2, 100),
    "ambiguous": Rate(0.01, 3, 3),
}
"""The rates at which a journey is paused: bounces above 5 %, complaints above 0.1 %, ambiguous above 1 %."""


def allows(connection: Connection, relay: str, now: datetime) -> bool:
    """Whether a message may go to a relay; where its breaker is not closed, True makes this message the one tried.

    Ask when the message is about to be sent, and tell `note` what became of it: until then, or for a quarter of an
    hour, no other is let through. Of several that ask at once one is.
    """
    row = connection.execute(select(t.relays).where(t.relays.c.relay == relay)).one_or_none()
    if row is None or row.state == "closed":
        return True
    if row.try_at > now:
        return False
    taken = (t.relays.c.relay == relay) & (t.relays.c.state == row.state) & (t.relays.c.try_at == row.try_at)
    changed = connection.execute(update(t.relays).where(taken).values(state="half_open", try_at=now + _PROBE))
    return bool(changed.rowcount)


def note(connection: Connection, relay: str, outcome: str, now: datetime) -> None:
    """Notes what a relay made of a message, which opens or closes its breaker.

    Args:
        connection: a writing transaction; for `ambiguous`, with the message already in that state, or before it.
        relay: its name.
        outcome: one of `OUTCOMES`: `temporary` and `permanent` for 4xx and 5xx replies to a message, `connection` for
            a relay that cannot be reached or breaks off before the end of the message, `tls` and `auth` for what it
            says to these, `ambiguous` for an end of a message without a reply.
        now: the store's instant.
    """
    if outcome not in OUTCOMES:
        raise ValueError(f"{outcome!r} is no outcome; {known(outcome, OUTCOMES, 'outcomes')}")
    seen = _STATE.rows(connection, [relay])
    if outcome in ("accepted", "unused") and all(one == ("closed", 0, 0) for one in seen):
        return  # without a lock, as this is so nearly always
    row = _locked(connection, relay) if seen else _made(connection, relay)
    if outcome == "unused":
        if row.state == "half_open":
            _set(connection, relay, state="open", try_at=now)
    elif outcome == "accepted":
        _answered(connection, row, now, n_rejected=0)
    elif outcome == "permanent":
        n_rejected = row.n_rejected + 1
        if n_rejected < REJECTIONS:
            _answered(connection, row, now, n_rejected=n_rejected)
        else:
            _failed(connection, row, outcome, now, opens=True, n_rejected=n_rejected)
    elif outcome == "ambiguous":
        _failed(connection, row, outcome, now, opens=_is_often_ambiguous(connection, relay, now))
    else:
        opens = outcome in ("auth", "tls") or row.n_failures + 1 >= FAILURES
        _failed(connection, row, outcome, now, opens=opens, n_failures=row.n_failures + 1)


def _made(connection: Connection, relay: str) -> Row[Any]:
    row = {"relay": relay, "state": "closed", "n_failures": 0, "n_rejected": 0, "n_openings": 0}
    connection.execute(insert_into(connection, t.relays).values(row).on_conflict_do_nothing(index_elements=["relay"]))
    return _locked(connection, relay)


def _locked(connection: Connection, relay: str) -> Row[Any]:
    return connection.execute(select(t.relays).where(t.relays.c.relay == relay).with_for_update()).one()


def _set(connection: Connection, relay: str, **values: Any) -> None:
    connection.execute(update(t.relays).where(t.relays.c.relay == relay).values(**values))


def _answered(connection: Connection, row: Row[Any], now: datetime, *, n_rejected: int) -> None:
    """The relay answers. What was sent before an opening and is answered after it does not close the breaker."""
    if row.state == "half_open":
        _set(
            connection, row.relay, state="closed", n_failures=0, n_rejected=n_rejected, n_openings=0, opened_at=None,
            try_at=None, reason=None,
        )  # fmt: skip
        act(connection, now, "breaker", "close", f"relay/{row.relay}")
        resolve(connection, f"relay/{row.relay}", now)
    elif row.state == "closed" and (row.n_failures, row.n_rejected) != (0, n_rejected):
        _set(connection, row.relay, n_failures=0, n_rejected=n_rejected)


def _failed(
    connection: Connection, row: Row[Any], outcome: str, now: datetime, *, opens: bool, **counts: int
) -> None:  # fmt: skip
    if row.state == "open":
        return
    if row.state == "closed" and not opens:
        if counts:
            _set(connection, row.relay, **counts)
        return
    wait = min(_FIRST_WAIT * 2 ** min(row.n_openings, 10), _LONGEST_WAIT)
    _set(
        connection, row.relay, state="open", opened_at=row.opened_at or now, try_at=now + wait, reason=outcome,
        n_openings=row.n_openings + 1, **counts,
    )  # fmt: skip
    if row.state == "closed":
        act(connection, now, "breaker", "open", f"relay/{row.relay}", reason=outcome)
    severity, what = _SAID[outcome]
    raise_alert(connection, f"relay/{row.relay}", severity, say(what, relay=row.relay), now)


def _is_often_ambiguous(connection: Connection, relay: str, now: datetime) -> bool:
    rows = connection.execute(
        select(t.sends.c.state, func.count())
        .where(t.sends.c.gated_at > now - _RELAY_WINDOW, t.sends.c.relay == relay, t.state_beside.in_(_LEFT))
        .group_by(t.sends.c.state)
    )
    counts = {row[0]: row[1] for row in rows}
    return RATES["ambiguous"].is_exceeded(counts.get("ambiguous", 0), sum(counts.values()))


def watch_rates(store: Store, settings: Settings, now: datetime) -> list[str]:
    """Pauses the journeys whose recent messages come back too often, and gives their names.

    Looked at are the messages that passed the gate in the last 24 hours, and after the journey was last resumed: so
    that who resumes one is not overruled at once by what came before. Alerts of journeys that run are resolved.
    Breakers of relays that the settings do not name any more are forgotten.

    Args:
        store: the database.
        settings: the sender's settings.
        now: the store's instant.
    """
    reasons: dict[str, str] = {}
    with store.writing() as connection:
        _forget_others(connection, [relay.name for relay in settings.relays], now)
        for journey, (of, bad) in sorted(_counts(connection, _running(connection, now), now).items()):
            exceeded = [name for name, rate in RATES.items() if rate.is_exceeded(bad[name], of)]
            for name in RATES:
                if name in exceeded:
                    _warn(connection, journey, name, bad[name], of, now)
                elif not exceeded:
                    resolve(connection, f"journey/{journey}/{name}", now)
            if exceeded:
                reasons[journey] = ", ".join(
                    f"{name}: {bad[name]} of {of} messages, more than {RATES[name].most:.1%}" for name in exceeded
                )
    # After the alert: who crashes in between is followed by one who still finds the journey running.
    return [
        journey
        for journey, reason in reasons.items()
        if pause(store, journey, reason=reason, actor="breaker").has_changed
    ]


def _warn(connection: Connection, journey: str, name: str, n: int, of: int, now: datetime) -> None:
    text = say(
        "the journey {journey} is paused: {n} of {of} messages of 24 hours count as {name}, more than {most}; find out "
        "why, then `journeylab release resume {journey}`",
        journey=journey,
        n=n,
        of=of,
        name=name,
        most=formatted(RATES[name].most, ".1%"),
    )
    raise_alert(connection, f"journey/{journey}/{name}", "critical", text, now)


def _forget_others(connection: Connection, relays: Sequence[str], now: datetime) -> None:
    gone = connection.scalars(select(t.relays.c.relay).where(t.relays.c.relay.not_in(relays))).all()
    for relay in gone:
        resolve(connection, f"relay/{relay}", now)
    if gone:
        connection.execute(delete(t.relays).where(t.relays.c.relay.in_(gone)))


def _running(connection: Connection, now: datetime) -> dict[str, datetime]:
    """The journeys with a release that are not paused, with the instant after which their messages are looked at."""
    open_pauses = select(t.pauses.c.journey).where(t.pauses.c.ended_at.is_(None))
    names = connection.scalars(select(t.releases.c.journey).distinct().where(t.releases.c.journey.not_in(open_pauses)))
    resumed = select(t.pauses.c.journey, func.max(t.pauses.c.ended_at)).where(t.pauses.c.ended_at > now - _WINDOW)
    later = {row[0]: row[1] for row in connection.execute(resumed.group_by(t.pauses.c.journey))}
    return {name: later.get(name, now - _WINDOW) for name in names}


def _counts(
    connection: Connection, since: dict[str, datetime], now: datetime
) -> dict[str, tuple[int, dict[str, int]]]:  # fmt: skip
    """By journey, how many recent messages there were, and how many of them came to each bad end."""
    starts = {journey: literal(begin, t.Instant()) for journey, begin in since.items()}
    start = case(starts, value=t.sends.c.journey, else_=literal(now, t.Instant())) if since else now
    rows = connection.execute(
        select(t.sends.c.journey, t.sends.c.state, func.count())
        .where(t.sends.c.gated_at > now - _WINDOW, t.sends.c.gated_at > start, t.state_beside.in_(_LEFT))
        .group_by(t.sends.c.journey, t.sends.c.state)
    )
    states = {(journey, state): n for journey, state, n in rows}
    found: dict[str, tuple[int, dict[str, int]]] = {}
    returned = _returned(connection, now)
    for journey, begin in since.items():
        came = {
            what: sum(of == journey and gated_at > begin for (of, _), gated_at in keys.items())
            for what, keys in returned.items()
        }
        bad = {
            "bounces": states.get((journey, "rejected"), 0) + came["bounced"],
            "complaints": came["complained"],
            "ambiguous": states.get((journey, "ambiguous"), 0),
        }
        found[journey] = sum(states.get((journey, state), 0) for state in _LEFT), bad
    return found


def _returned(connection: Connection, now: datetime) -> dict[str, dict[tuple[str, str], datetime]]:
    """The messages that bounced for good or were complained about lately: (journey, message key) and when sent."""
    found: dict[str, dict[tuple[str, str], datetime]] = {"bounced": {}, "complained": {}}
    window = t.sends.c.gated_at > now - _WINDOW
    by_event = (
        select(t.events.c.event, t.events.c.properties, t.events.c.received_at, t.sends)
        .join(t.sends, t.sends.c.contact == t.events.c.contact)
        .where(t.RETURNED, t.events.c.received_at > now - _WINDOW, window)
        .where(t.sends.c.gated_at <= t.events.c.received_at, t.state_beside == "accepted")
        .order_by(t.sends.c.gated_at)
    )
    last: dict[tuple[str, str, datetime], Row[Any]] = {}
    for row in connection.execute(by_event):
        if _is_of(row.properties, row):
            last[row.event, row.contact, row.received_at] = row
    for (event, _, _), row in last.items():
        found[event][row.journey, row.message_key] = row.gated_at
    by_key = select(t.suppressions.c.reason, t.sends.c.journey, t.sends.c.message_key, t.sends.c.gated_at).join(
        t.sends, t.sends.c.message_key == t.suppressions.c.message_key
    )
    wanted = (t.suppressions.c.at > now - _WINDOW) & window & (t.state_beside == "accepted")
    for reason, journey, key, gated_at in connection.execute(by_key.where(wanted)):
        if reason in found:
            found[reason][journey, key] = gated_at
    return found


def _is_of(properties: dict[str, Any], send: Row[Any]) -> bool:
    """Whether an event can be about a send, by what it says of it; the last send of which that holds is taken."""
    if properties.get("bounce_type") == "soft":
        return False
    said: Sequence[str] = [name for name in ("journey", "entry", "node", "visit", "message") if name in properties]
    return all(properties[name] == send._mapping[name] for name in said)


_STATE: Final = Lookup(
    lambda among: select(t.relays.c.state, t.relays.c.n_failures, t.relays.c.n_rejected).where(among(t.relays.c.relay))
)
