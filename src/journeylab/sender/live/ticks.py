"""Ticks: those for whom something is due are advanced to now, and what the machine decides is written down.

A tick is one transaction. It takes contacts who are due and locks their rows, replays all that was received of them up
to the store's instant, with what became of their own sends (rule 29), and writes entries, visits, the messages that
are planned or ready, the calls to make, and when each contact is due next. The machine is that of `replay`; nothing of
what a journey means is said here. Since a contact's past is computed anew each time, a tick that is cut off leaves
nothing behind, and one that runs twice writes the same.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final, NamedTuple
from weakref import WeakKeyDictionary

import numpy as np
import pandas as pd
from sqlalchemy import Connection, bindparam, delete, func, insert, select, update

from journeylab import layout as o
from journeylab.clock import NEVER, instant, microseconds
from journeylab.eventlog import EventLog
from journeylab.execution import due, run
from journeylab.journey import Call, Send
from journeylab.ownsends import reason_code
from journeylab.records import tables
from journeylab.sender.keys import Keys
from journeylab.sender.sending.alerts import raise_alert
from journeylab.sender.sending.gate import CONFIRMATION
from journeylab.sender.sending.states import FINAL, IN_FLIGHT, WAITING
from journeylab.sender.store import Store
from journeylab.sender.store import tables as t
from journeylab.sender.store.bulk import among
from journeylab.worlds import Ready, prepared

from .pending import open_until
from .running import Running, Version
from .storelog import log_of

__all__ = ["HELD", "Ticked", "advanced", "entries_of", "log_of", "plain_rows", "tick"]

_HEARD: WeakKeyDictionary[Running, frozenset[str]] = WeakKeyDictionary()
_OWN_COLUMNS: Final = ["contact", "journey", "entry", "node", "visit", "kind", "value", "at"]
_NO_OWN: Final = pd.DataFrame([], columns=_OWN_COLUMNS)
_US: Final = timedelta(microseconds=1)
_MOST_POSTPONED: Final = 20
HELD: Final = "contacts/held"
"""The alert's cause while contacts are held for a person."""
_CHOICE: Final = ("send_times", "advice", "slots", "slot_propensity")
_EXPIRED: Final = frozenset({"late", "pause", "at", "quiet_hours"})
Key = tuple[str, str, int, str, int]
"""A message's identity: journey, contact, entry, node, visit (rule 30)."""


class Ticked(NamedTuple):
    """What a tick did: how many contacts it advanced, and how many messages became ready."""

    n_contacts: int
    n_ready: int


def tick(store: Store, running: Callable[[Connection], Running], keys: Keys, *, most: int = 5000) -> Ticked:
    """Advances up to `most` contacts who are due; see the module's text.

    Args:
        store: the sender's database.
        running: gives what runs, read in the connection's own transaction.
        keys: the sender's keys.
        most: how many contacts are advanced at once.
    """
    with store.writing() as connection:
        runs = running(connection)
        now = store.now(connection)
        wanted = (
            select(t.contacts.c.contact)
            .where(t.contacts.c.next_at <= now, t.contacts.c.last_at <= now, t.contacts.c.held_because.is_(None))
            .order_by(t.contacts.c.next_at, t.contacts.c.contact)
            .limit(most)
            .with_for_update(skip_locked=True)
        )
        contacts = sorted(connection.scalars(wanted))
        if not contacts:
            return Ticked(0, 0)
        return Ticked(len(contacts), _Advance(connection, runs, keys, now, contacts).done())


def entries_of(connection: Connection, contacts: Sequence[str]) -> Sequence[Any]:
    """The entries that contacts have, with version and end."""
    of = t.entries.c
    asked = select(of.contact, of.journey, of.entry, of.version, of.left_at, of.exit)
    return connection.execute(asked.where(among(connection, of.contact, contacts))).all()


def advanced(
    connection: Connection, running: Running, contacts: Sequence[str], now: datetime, entered: Sequence[Any]
) -> tuple[Ready, list[Any]] | None:
    """The machine run over all that the store knows of contacts up to an instant; None where no release matters.

    Args:
        connection: any transaction.
        running: what runs.
        contacts: those who are advanced, sorted.
        now: the instant.
        entered: with `journey` and `version`, the entries that they have.
    """
    versions = running.needed(now, {(one.journey, one.version) for one in entered})
    if not versions:
        return None
    releases = [span for version in versions for span in version.spans]
    log = log_of(connection, contacts, now, _heard(connection, running, contacts[0], now))
    own = _own(connection, contacts, log)
    ready = prepared(releases, log, until=now, live=True, own=own, **running.arguments())
    return ready, run(ready.compiled.program, ready.world, len(ready.compiled.exits), log.n_contacts, record=True)


def _own(connection: Connection, contacts: Sequence[str], log: EventLog) -> pd.DataFrame:
    """What became of the contacts' sends and calls so far, as `ownsends.own_of` gives it."""
    code = {contact: i for i, contact in enumerate(log.contact_ids.to_pylist())}
    s, c, rows = t.sends.c, t.calls.c, []
    asked = select(s.contact, s.journey, s.entry, s.node, s.visit, s.state, s.gated_at, s.settled_at, s.reason)
    wanted = (*IN_FLIGHT, "accepted", "rejected", "failed")
    for one in connection.execute(asked.where(among(connection, s.contact, contacts), s.state.in_(wanted))):
        at = one.gated_at or one.settled_at
        value = float(o.ON_ITS_WAY if one.state in IN_FLIGHT else 0)
        if one.state in ("rejected", "failed"):
            value = float(reason_code(one.reason or one.state))
        rows.append((code[one.contact], *one[1:5], int(o.ACTUAL), value, microseconds(at)))
    again = select(t.events.c.contact, t.events.c.received_at, t.events.c.properties).where(
        among(connection, t.events.c.contact, contacts), t.events.c.event == "postponed"
    )
    for contact, at, given in connection.execute(again.order_by(t.events.c.event_id)):
        identity = given["journey"], given["entry"], given["node"], given["visit"]
        rows.append((code[contact], *identity, int(o.AGAIN), 0.0, microseconds(at)))
    called = select(c.contact, c.journey, c.entry, c.node, c.visit, c.state, c.settled_at)
    for made in connection.execute(
        called.where(among(connection, c.contact, contacts), c.state.in_(("succeeded", "failed")))
    ):
        value = float(made.state == "succeeded")
        rows.append((code[made.contact], *made[1:5], int(o.ACTUAL), value, microseconds(made.settled_at)))
    return pd.DataFrame(rows, columns=_OWN_COLUMNS)


class _Advance:
    """One tick's work on the contacts that it has locked."""

    def __init__(
        self, connection: Connection, running: Running, keys: Keys, now: datetime, contacts: Sequence[str]
    ) -> None:
        self.connection, self.running, self.keys, self.now, self.contacts = connection, running, keys, now, contacts
        self.n_ready = 0

    def done(self) -> int:
        """Advances the contacts and writes it down; how many messages became ready."""
        entered = entries_of(self.connection, self.contacts)
        found = advanced(self.connection, self.running, self.contacts, self.now, entered)
        if found is None:
            self._note_next(np.full(len(self.contacts), NEVER))
            return 0
        ready, outs = found
        visits, entries, sends = tables(ready.compiled, ready.log, outs, ready.advice)
        # The log has contacts in its own order.
        next_at = np.full(len(self.contacts), NEVER)
        next_at[np.searchsorted(self.contacts, ready.log.contact_ids.to_pylist())] = np.concatenate(
            [out.next_at for out in outs]
        )
        closed = {
            (one.contact, one.journey, one.entry): (one.left_at, one.exit) for one in entered if one.left_at is not None
        }
        changed = self._write_entries(entries, closed)
        self._write_visits(visits, changed)
        self._write_sends(ready, visits, entries, sends, changed, _by_contact(ready, due(outs)))
        self._note_next(next_at)
        if self.n_ready:
            self._hold_the_disputed()
        return self.n_ready

    def _hold_the_disputed(self) -> None:
        """Sets contacts aside about whom gate and machine do not agree, as where two processes differ in settings."""
        e, c = t.events.c, t.contacts.c
        asked = (
            select(e.contact)
            .where(among(self.connection, e.contact, self.contacts), e.event == "postponed")
            .group_by(e.contact, e.properties)
            .having(func.count() > _MOST_POSTPONED)
        )
        disputed = [*self.connection.scalars(asked)]
        if disputed:
            why = f"a message was let pass by the machine and refused by the gate more than {_MOST_POSTPONED} times"
            held = update(t.contacts).where(among(self.connection, c.contact, disputed))
            self.connection.execute(held.values(held_because=f"{why}; do all processes have the same settings?"))
            said = "a contact cannot be advanced and is held; `journeylab contacts list --held` shows why"
            raise_alert(self.connection, HELD, "error", said, self.now)

    # Writing

    def _write_entries(self, entries: pd.DataFrame, closed: dict[Any, Any]) -> set[tuple[str, str, int]]:
        """Writes the entries that are new or not what is written; which they are."""
        rows, changed = [], set()
        for one in plain_rows(entries):
            key = one["contact"], one["journey"], one["entry"]
            if key in closed and closed[key] == (one["left_at"], one["exit"]):
                continue
            changed.add(key)
            rows.append(one)
        _upsert(self.connection, t.entries, rows)
        return changed

    def _write_visits(self, visits: pd.DataFrame, changed: set[tuple[str, str, int]]) -> None:
        rows = [one for one in plain_rows(visits) if (one["contact"], one["journey"], one["entry"]) in changed]
        of = t.visits.c
        if changed:
            self.connection.execute(
                delete(t.visits).where(
                    of.contact == bindparam("c"), of.journey == bindparam("j"), of.entry == bindparam("e")
                ),
                [{"c": contact, "j": journey, "e": entry} for contact, journey, entry in changed],
            )
        if rows:
            self.connection.execute(insert(t.visits), rows)

    def _write_sends(
        self,
        ready: Ready,
        visits: pd.DataFrame,
        entries: pd.DataFrame,
        sends: pd.DataFrame,
        changed: set[tuple[str, str, int]],
        waiting: dict[Key, tuple[int, int]],
    ) -> None:
        """Plans messages and calls, makes them ready, and takes back those whose visit has ended."""
        nodes = ready.compiled.nodes
        version = {(one["journey"], one["contact"], one["entry"]): one["version"] for one in plain_rows(entries)}
        arrived = {_key(one): one["arrived_at"] for one in plain_rows(visits[visits["left_at"].isna()])}
        is_call = {key: isinstance(nodes[index].node, Call) for key, (index, _) in waiting.items()}
        self._write_calls({key: one for key, one in waiting.items() if is_call[key]}, nodes, version)
        known = self._known(t.sends)
        zones = _Zones(ready.log)
        skipped = {
            _key(one): one for one in plain_rows(sends[~sends["is_sent"]])
            if (one["contact"], one["journey"], one["entry"]) in changed
        }  # fmt: skip
        new, moved = [], []
        for key, (index, at_us) in waiting.items():
            if is_call[key]:
                continue
            row = known.get(key)
            node, running = nodes[index].node, self.running.of(key[0], version[key[0], key[1], key[2]])
            assert isinstance(node, Send), node  # the machine says so of sends and calls alone
            at = None if at_us >= NEVER else instant(at_us)
            is_ready = at is not None and at <= self.now
            state = "ready" if is_ready else "planned"
            if row is None:
                row = self._row(key, running, node, arrived[key])
                opens = self._open_until(running, node, key[1], at, zones)
                new.append(row | {"state": state, "not_before": at, "open_until": opens})
                self.n_ready += is_ready
            elif row.state in ("planned", "ready") and (row.state != state or row.not_before is None):
                opens = self._open_until(running, node, key[1], at, zones)
                changes: dict[str, Any] = {"not_before": at, "open_until": opens, "reason": None}
                moved.append((row, state, changes))
                self.n_ready += is_ready
            elif row.state == "planned" and row.not_before != at:
                moved.append((row, state, {"not_before": at}))
        for key, row in known.items():
            if key in waiting or row.state not in WAITING:
                continue
            if key in skipped:
                reason = skipped[key]["reason"]
                moved.append((row, "expired" if reason in _EXPIRED else "suppressed", {"reason": reason}))
            else:
                moved.append((row, "cancelled", {"reason": "left"}))
        for key, one in skipped.items():
            if key not in known and one["reason"] != "holdout":
                new.append(self._skipped_row(key, one, version))
        if new:
            self.connection.execute(insert(t.sends), new)
        self._move(moved)
        self._note_choices(sends, changed)

    def _note_choices(self, sends: pd.DataFrame, changed: set[tuple[str, str, int]]) -> None:
        """Keeps with each message that went at its best hour what the choice was made from (rule 17)."""
        chosen = plain_rows(sends[sends["is_sent"] & sends["advice"].notna()])
        rows = [
            {"k": self.keys.message_key(*_key(one)), "choice": {name: one[name] for name in _CHOICE}}
            for one in chosen
            if (one["contact"], one["journey"], one["entry"]) in changed
        ]
        if rows:
            statement = update(t.sends).where(t.sends.c.message_key == bindparam("k"), t.sends.c.choice.is_(None))
            self.connection.execute(statement.values(choice=bindparam("choice")), rows)

    def _known(self, table: Any) -> dict[Key, Any]:
        """The rows of the contacts by identity, without what asks for consent, on which no journey decides."""
        asked = select(table).where(among(self.connection, table.c.contact, self.contacts))
        rows = self.connection.execute(asked.where(table.c.journey != CONFIRMATION))
        return {(row.journey, row.contact, row.entry, row.node, row.visit): row for row in rows}

    def _open_until(
        self, running: Version, node: Send, contact: str, at: datetime | None, zones: _Zones
    ) -> datetime | None:
        if at is None:
            return None
        journey = running.spans[0].journey
        return open_until(journey, node, at, zones.of(contact, at, journey.timezone))

    def _row(self, key: Key, running: Version, node: Send, arrived: datetime) -> dict[str, Any]:
        """A message that is planned for the first time."""
        cap, policy = running.spans[0].journey.cap, self.running.policy.cap
        return self._base(key, running, node.send) | {
            "not_after": arrived + node.expires,
            "cap_sends": cap and cap.sends,
            "cap_within_us": cap and cap.within // _US,
            "policy_cap_sends": policy and policy.sends,
            "policy_cap_within_us": policy and policy.within // _US,
        }

    def _base(self, key: Key, running: Version, message: str) -> dict[str, Any]:
        journey, contact, entry, node, visit = key
        return {
            "message_key": self.keys.message_key(*key),
            "journey": journey,
            "contact": contact,
            "entry": entry,
            "node": node,
            "visit": visit,
            "release_id": running.release_id,
            "message": message,
            "purpose": running.spans[0].journey.purpose,
            "transactional": message in running.transactional,
            "planned_at": self.now,
            "attempts": 0,
            "fence": 0,
            "reason": None,
            "not_before": None,
            "open_until": None,
            "cap_sends": None,
            "cap_within_us": None,
            "policy_cap_sends": None,
            "policy_cap_within_us": None,
            "settled_at": None,
        }

    def _skipped_row(self, key: Key, one: dict[str, Any], version: dict[Any, str]) -> dict[str, Any]:
        """A message that was never planned: skipped as soon as its node was reached."""
        running = self.running.of(key[0], version[key[0], key[1], key[2]])
        state = "expired" if one["reason"] in _EXPIRED else "suppressed"
        decided = one["decided_at"]
        return self._base(key, running, one["message"]) | {
            "state": state, "reason": one["reason"], "not_after": decided, "settled_at": decided,
        }  # fmt: skip

    def _write_calls(self, waiting: dict[Key, tuple[int, int]], nodes: Any, version: dict[Any, str]) -> None:
        known = self._known(t.calls)
        rows = []
        for key, (index, at_us) in waiting.items():
            if key in known or at_us > microseconds(self.now):
                continue
            journey, contact, entry, node, visit = key
            rows.append(
                {
                    "call_key": self.keys.message_key(*key),
                    "journey": journey,
                    "contact": contact,
                    "entry": entry,
                    "node": node,
                    "visit": visit,
                    "release_id": self.running.of(journey, version[journey, contact, entry]).release_id,
                    "service": nodes[index].node.call,
                    "state": "ready",
                    "planned_at": self.now,
                    "not_before": instant(at_us),
                    "attempts": 0,
                }
            )
        if rows:
            self.connection.execute(insert(t.calls), rows)
        gone = [row.call_key for key, row in known.items() if key not in waiting and row.state in ("planned", "ready")]
        if gone:
            self.connection.execute(
                update(t.calls)
                .where(among(self.connection, t.calls.c.call_key, gone), t.calls.c.state.in_(("planned", "ready")))
                .values(state="cancelled", settled_at=self.now)
            )

    def _move(self, moved: Sequence[tuple[Any, str, dict[str, Any]]]) -> None:
        """Changes states, each only from the one that was read."""
        groups: dict[tuple[str, tuple[str, ...]], list[dict[str, Any]]] = defaultdict(list)
        for row, state, values in moved:
            values = {**values, "settled_at": self.now} if state in FINAL else values
            groups[state, tuple(sorted(values))].append(
                {"k": row.message_key, "was": row.state, **{f"v_{name}": value for name, value in values.items()}}
            )
        for (state, columns), rows in groups.items():
            statement = update(t.sends).where(
                t.sends.c.message_key == bindparam("k"), t.sends.c.state == bindparam("was")
            )
            self.connection.execute(
                statement.values(state=state, **{name: bindparam(f"v_{name}") for name in columns}), rows
            )

    def _note_next(self, next_at: np.ndarray) -> None:
        rows = [
            {"c": contact, "at": None if at >= NEVER else instant(at)}
            for contact, at in zip(self.contacts, next_at.tolist(), strict=True)
        ]
        self.connection.execute(
            update(t.contacts)
            .where(t.contacts.c.contact == bindparam("c"))
            .values(next_at=bindparam("at"), last_at=self.now),
            rows,
        )


class _Zones:
    """The time zone of each contact as of an instant, where contacts have one (rule 3)."""

    def __init__(self, log: EventLog) -> None:
        self.log = log
        self.code = {contact: i for i, contact in enumerate(log.contact_ids.to_pylist())}
        self.zone = log.attribute("timezone") if "timezone" in log.attribute_names else None

    def of(self, contact: str, at: datetime, otherwise: str) -> str:
        found, code = self.zone, self.code[contact]
        if found is None or not found.categories:
            return otherwise
        value = found.base[code]
        if len(found.value):
            mine = slice(int(found.offsets[code]), int(found.offsets[code + 1]))
            changes = found.value[mine][found.at[mine] <= microseconds(at)]
            value = changes[-1] if len(changes) else value
        return otherwise if np.isnan(value) else found.categories[int(value)]


def _heard(connection: Connection, running: Running, contact: str, now: datetime) -> frozenset[str]:
    """The events that any of the journeys asks for, by their programs; looked up once for what runs."""
    if running not in _HEARD:
        releases = [span for version in running.versions for span in version.spans]
        log = log_of(connection, [contact], now)
        ready = prepared(releases, log, until=now, live=True, own=_NO_OWN, **running.arguments())
        _HEARD[running] = frozenset(ready.names.event_names) | {"attribute_changed"}
    return _HEARD[running]


def _by_contact(ready: Ready, requests: Sequence[Any]) -> dict[Key, tuple[int, int]]:
    """The sends and calls that wait by identity: the node's index and the instant."""
    ids, nodes = ready.log.contact_ids.to_pylist(), ready.compiled.nodes
    found = {}
    for one in requests:
        info = nodes[one.name]
        journey = ready.compiled.releases[info.journey].journey.journey
        found[journey, ids[one.contact], one.entry, info.name, one.visit] = one.name, one.at
    return found


def _key(row: dict[str, Any]) -> Key:
    return row["journey"], row["contact"], row["entry"], row["node"], row["visit"]


def plain_rows(table: pd.DataFrame) -> Iterator[dict[str, Any]]:
    """The rows of a table as plain values, None where missing, instants as aware datetimes."""
    columns: dict[str, list[Any]] = {}
    for name in table.columns:
        column = table[name]
        if isinstance(column.dtype, pd.DatetimeTZDtype):
            at = column.to_numpy("datetime64[us]").tolist()  # naive datetimes in UTC, None where missing
            columns[name] = [None if one is None else one.replace(tzinfo=UTC) for one in at]
        elif isinstance(column.dtype, pd.CategoricalDtype):
            names = [*column.cat.categories, None]
            columns[name] = [names[code] for code in column.cat.codes.tolist()]
        else:
            columns[name] = [None if one != one else one for one in column.tolist()]
    for values in zip(*columns.values(), strict=True):
        yield dict(zip(columns, values, strict=True))


def _upsert(connection: Connection, table: Any, rows: Sequence[dict[str, Any]]) -> None:
    """Inserts rows, or replaces those with the same key."""
    if not rows:
        return
    if connection.dialect.name == "sqlite":
        from sqlalchemy.dialects.sqlite import insert as insert_or
    else:
        from sqlalchemy.dialects.postgresql import insert as insert_or  # type: ignore[assignment]
    statement = insert_or(table)
    key = [column.name for column in table.primary_key]
    changed = {name: statement.excluded[name] for name in rows[0] if name not in key}
    connection.execute(statement.on_conflict_do_update(index_elements=key, set_=changed), list(rows))
