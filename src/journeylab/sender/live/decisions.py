"""What the machine decided, written down: entries, visits, messages, calls, and when each contact is due next.

Whatever was decided of a contact before is decided again by each tick; only what differs is written.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import numpy as np
import pandas as pd
from sqlalchemy import Connection, delete, func, select, update

from journeylab.clock import NEVER, instant, microseconds
from journeylab.eventlog import EventLog
from journeylab.execution import due
from journeylab.journey import Call, Send
from journeylab.language import say
from journeylab.machine import Out
from journeylab.records import drawn, in_order, tables
from journeylab.sender.sending.alerts import raise_alert
from journeylab.sender.sending.gate import CONFIRMATION
from journeylab.sender.sending.states import FINAL, WAITING, move_all
from journeylab.sender.store import tables as t
from journeylab.sender.store.bulk import Bulk, Given, among
from journeylab.sender.store.lookup import Lookup
from journeylab.sender.store.seals import seals_of
from journeylab.worlds import Ready

from .pending import open_until
from .running import Running, Version

__all__ = ["HELD", "Decisions", "entries_of", "plain_rows"]

_US: Final = timedelta(microseconds=1)
_MOST_POSTPONED: Final = 20
HELD: Final = "contacts/held"
"""The alert's cause while contacts are held for a person."""
_CHOICE: Final = ("send_times", "advice", "slots", "slot_propensity")
_EXPIRED: Final = frozenset({"late", "pause", "at", "quiet_hours"})
Key = tuple[str, str, int, str, int]
"""A message's identity: journey, contact, entry, node, visit (rule 30)."""
Entry = tuple[str, str, int]
"""An entry's identity: contact, journey, entry."""


class Decisions:
    """What the machine decided of some contacts up to an instant, to be written in a transaction.

    Args:
        connection: a writing transaction, which has the contacts' rows locked.
        running: what runs.
        now: the instant.
        contacts: those who were advanced, sorted.
    """

    def __init__(self, connection: Connection, running: Running, now: datetime, contacts: Sequence[str]) -> None:
        self.connection, self.running, self.now, self.contacts = connection, running, now, contacts
        self.keys = seals_of(connection).keys
        self.n_ready = 0

    def write(self, ready: Ready, outs: Sequence[Out], entered: Sequence[Any]) -> int:
        """Writes all of it; how many messages became ready.

        Args:
            ready: what was run.
            outs: what came of it.
            entered: the entries that were written before.
        """
        ordered = in_order(ready.log, outs)
        visits, entries, sends = tables(ready.compiled, ready.log, ordered, outs, ready.advice)
        # The log has contacts in its own order.
        next_at = np.full(len(self.contacts), NEVER)
        next_at[np.searchsorted(self.contacts, ready.log.contact_ids.to_pylist())] = np.concatenate(
            [out.next_at for out in outs]
        )
        changed = self._write_entries(entries, entered)
        self._write_visits(visits, changed, entered)
        spans = [ready.compiled.releases[index] for index in drawn(ordered).release.tolist()]
        by_entry = zip(_rows(entries, ("journey", "contact", "entry")), spans, strict=True)
        releases = {entry: self.running.of(span) for entry, span in by_entry}
        self._write_sends(ready, visits, releases, sends, changed, _by_contact(ready, due(outs)))
        self.note_next(next_at)
        if self.n_ready:
            self._hold_the_disputed()
        return self.n_ready

    def note_next(self, next_at: np.ndarray) -> None:
        """Notes when each contact is due, in microseconds of UTC; `NEVER` for those for whom only events matter."""
        due_at = [None if at >= NEVER else instant(at) for at in next_at.tolist()]
        _NEXT.run(
            self.connection, [(one, at, self.now) for one, at in zip(self.contacts, due_at, strict=True)]
        )  # fmt: skip

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
            said = say("a contact cannot be advanced and is held; `journeylab contacts list --held` shows why")
            raise_alert(self.connection, HELD, "error", said, self.now)

    def _write_entries(self, entries: pd.DataFrame, entered: Sequence[Any]) -> set[Entry]:
        """Writes the entries that are new or not what is written; which are, or may be as they have not ended."""
        known = {(one.contact, one.journey, one.entry): (one.left_at, one.exit) for one in entered}
        rows, changed = [], set()
        for row in _rows(entries, _ENTRY):
            key, end = row[:3], row[5:7]
            is_written = key in known and known[key] == end
            if not is_written:
                rows.append(row)
                if self.running.timeline.targets:
                    self._tell(dict(zip(_ENTRY, row, strict=True)), is_new=key not in known)
            if not is_written or end[0] is None:
                changed.add(key)
        _ENTRIES.run(self.connection, rows)
        return changed

    def _tell(self, entry: Mapping[str, Any], *, is_new: bool) -> None:
        """Puts down what became of an entry, for those who are told."""
        if entry["held_out"]:
            return
        tell, key = (
            self.running.timeline.tell,
            self.keys.message_key(entry["journey"], entry["contact"], entry["entry"], "", 0),
        )
        about = {name: entry[name] for name in ("contact", "journey", "version")}
        if is_new:
            tell(self.connection, "journey.entered", key, about, entry["entered_at"])
        if entry["converted"]:
            tell(self.connection, "journey.converted", key, about, entry["left_at"] or self.now)
        if entry["left_at"] is not None:
            tell(self.connection, "journey.left", key, about | {"exit": entry["exit"]}, entry["left_at"])

    def _write_visits(self, visits: pd.DataFrame, changed: set[Entry], entered: Sequence[Any]) -> None:
        before = {(one.contact, one.journey, one.entry) for one in entered} & changed
        found = _KNOWN_VISITS.rows(self.connection, sorted({contact for contact, *_ in before}))
        known = {row[:5]: row for row in found if row[:3] in before}
        rows = {row[:5]: row for row in _rows(visits, _VISIT) if row[:3] in changed}
        _UNVISITING.run(self.connection, sorted(known.keys() - rows.keys()))
        _VISITS.run(self.connection, [row for key, row in rows.items() if known.get(key) != row])

    def _write_sends(
        self, ready: Ready, visits: pd.DataFrame, releases: Mapping[Any, Version], sends: pd.DataFrame,
        changed: set[Entry], waiting: dict[Key, tuple[int, int]],
    ) -> None:  # fmt: skip
        """Plans messages and calls, makes them ready, and takes back those whose visit has ended."""
        nodes = ready.compiled.nodes
        arrived = {row[:5]: row[5] for row in _rows(visits[visits["left_at"].isna()], (*_KEY, "arrived_at"))}
        calls = {key: one for key, one in waiting.items() if isinstance(nodes[one[0]].node, Call)}
        self._write_calls(calls, nodes, releases)
        known = {_key(row): row for row in _SENDS.rows(self.connection, self.contacts)}
        zones = _Zones(ready.log)
        skipped = {
            _key(one): one
            for one in plain_rows(sends[~sends["is_sent"]])
            if (one["contact"], one["journey"], one["entry"]) in changed
        }
        new: list[tuple[Any, ...]] = []
        moved: list[tuple[Any, str, dict[str, Any]]] = []
        for key, (index, at_us) in waiting.items():
            if key in calls:
                continue
            row = known.get(key)
            node, running = nodes[index].node, releases[key[:3]]
            assert isinstance(node, Send), node  # the machine says so of sends and calls alone
            at = None if at_us >= NEVER else instant(at_us)
            is_ready = at is not None and at <= self.now
            state = "ready" if is_ready else "planned"
            if row is None:
                opens = self._open_until(running, node, key[1], at, zones)
                new.append(self._planned(key, running, node, arrived[key], state, at, opens))
                self.n_ready += is_ready
            elif row.state in ("planned", "ready") and (row.state != state or row.not_before is None):
                opens = self._open_until(running, node, key[1], at, zones)
                moved.append((row, state, {"not_before": at, "open_until": opens, "reason": None}))
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
                new.append(self._skipped(key, one, releases[key[:3]]))
        _SENDING.run(self.connection, new)
        self._move(moved)
        self._note_choices(sends, changed)

    def _note_choices(self, sends: pd.DataFrame, changed: set[Entry]) -> None:
        """Keeps with each message that went at its best hour what the choice was made from (rule 17)."""
        chosen = plain_rows(sends[sends["is_sent"] & sends["advice"].notna()])
        rows = [
            (self.keys.message_key(*_key(one)), json.dumps({name: one[name] for name in sorted(_CHOICE)}))
            for one in chosen
            if (one["contact"], one["journey"], one["entry"]) in changed
        ]
        _CHOOSING.run(self.connection, rows)

    def _open_until(
        self, running: Version, node: Send, contact: str, at: datetime | None, zones: _Zones
    ) -> datetime | None:
        if at is None:
            return None
        journey = running.spans[0].journey
        return open_until(journey, node, at, zones.of(contact, at, journey.timezone))

    def _planned(
        self, key: Key, running: Version, node: Send, arrived: datetime, state: str, not_before: datetime | None,
        opens: datetime | None,
    ) -> tuple[Any, ...]:  # fmt: skip
        """The row of a message that is planned for the first time."""
        span = running.spans[0]
        cap, policy = span.journey.cap, None if span.policy is None else span.policy.cap
        limits = [
            *((None, None) if cap is None else (cap.sends, cap.within // _US)),
            *((None, None) if policy is None else (policy.sends, policy.within // _US)),
        ]
        return (
            *self._of(key, running, node.send), state, None, self.now, not_before, arrived + node.expires, opens,
            *limits, None,
        )  # fmt: skip

    def _skipped(self, key: Key, one: dict[str, Any], running: Version) -> tuple[Any, ...]:
        """The row of a message that was never planned: skipped as soon as its node was reached."""
        state = "expired" if one["reason"] in _EXPIRED else "suppressed"
        decided = one["decided_at"]
        return (
            *self._of(key, running, one["message"]), state, one["reason"], self.now, None, decided, None,
            None, None, None, None, decided,
        )  # fmt: skip

    def _of(self, key: Key, running: Version, message: str) -> tuple[Any, ...]:
        purpose, is_transactional = running.spans[0].journey.purpose, message in running.transactional
        return self.keys.message_key(*key), *key, running.release_id, message, purpose, is_transactional, 0, 0

    def _write_calls(self, waiting: dict[Key, tuple[int, int]], nodes: Any, releases: Mapping[Any, Version]) -> None:
        known = {_key(row): row for row in _CALLS.rows(self.connection, self.contacts)}
        now = microseconds(self.now)
        _CALLING.run(
            self.connection,
            [
                (
                    self.keys.message_key(*key), *key, releases[key[:3]].release_id,
                    nodes[index].node.call, "ready", self.now, instant(at), 0,
                )
                for key, (index, at) in waiting.items()
                if key not in known and at <= now
            ],
        )  # fmt: skip
        gone = [row.call_key for key, row in known.items() if key not in waiting and row.state in ("planned", "ready")]
        if gone:
            self.connection.execute(
                update(t.calls)
                .where(among(self.connection, t.calls.c.call_key, gone), t.calls.c.state.in_(("planned", "ready")))
                .values(state="cancelled", settled_at=self.now)
            )

    def _move(self, moved: Sequence[tuple[Any, str, dict[str, Any]]]) -> None:
        """Changes states, each only from the one that was read."""
        groups: dict[tuple[str, str, tuple[str, ...]], list[dict[str, Any]]] = defaultdict(list)
        for row, state, given in moved:
            values = {**given, "settled_at": self.now} if state in FINAL else given
            key = {"message_key": row.message_key, "fence": row.fence}
            groups[row.state, state, tuple(sorted(values))].append(key | values)
        for (was, state, _), rows in groups.items():
            move_all(self.connection, was, state, rows)


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


def _by_contact(ready: Ready, requests: Sequence[Any]) -> dict[Key, tuple[int, int]]:
    """The sends and calls that wait by identity: the node's index and the instant."""
    ids, nodes = ready.log.contact_ids.to_pylist(), ready.compiled.nodes
    found = {}
    for one in requests:
        info = nodes[one.name]
        journey = ready.compiled.releases[info.journey].journey.journey
        found[journey, ids[one.contact], one.entry, info.name, one.visit] = one.name, one.at
    return found


def _key(row: Any) -> Key:
    if isinstance(row, dict):
        return row["journey"], row["contact"], row["entry"], row["node"], row["visit"]
    return row.journey, row.contact, row.entry, row.node, row.visit


def entries_of(connection: Connection, contacts: Sequence[str]) -> Sequence[Any]:
    """The entries that contacts have, with version and end."""
    return _ENTERED.rows(connection, contacts)


def plain_rows(table: pd.DataFrame) -> Iterator[dict[str, Any]]:
    """The rows of a table as plain values, None where missing, instants as aware datetimes."""
    names = [*table.columns]
    for values in _rows(table, names):
        yield dict(zip(names, values, strict=True))


def _rows(table: pd.DataFrame, names: Sequence[str]) -> Iterator[tuple[Any, ...]]:
    """The rows of some columns as plain values."""
    return zip(*(_plain(table[name]) for name in names), strict=True)


def _plain(column: pd.Series) -> list[Any]:
    if isinstance(column.dtype, pd.DatetimeTZDtype):
        at = column.to_numpy("datetime64[us]").tolist()  # naive datetimes in UTC, None where missing
        return [None if one is None else one.replace(tzinfo=UTC) for one in at]
    if isinstance(column.dtype, pd.CategoricalDtype):
        names = [*column.cat.categories, None]
        return [names[code] for code in column.cat.codes.tolist()]
    values: list[Any] = column.tolist()
    return values if column.dtype.kind in "biu" else [None if one != one else one for one in values]


_KEY: Final = ("journey", "contact", "entry", "node", "visit")
_ENTRY: Final = tuple(column.name for column in t.entries.c)
_VISIT: Final = tuple(column.name for column in t.visits.c)
_SEND: Final = (
    "message_key", *_KEY, "release_id", "message", "purpose", "transactional", "attempts", "fence", "state", "reason",
    "planned_at", "not_before", "not_after", "open_until", "cap_sends", "cap_within_us", "policy_cap_sends",
    "policy_cap_within_us", "settled_at",
)  # fmt: skip
_CALL: Final = (
    "call_key", *_KEY, "release_id", "service", "state", "planned_at", "not_before", "attempts"
)  # fmt: skip
_ENTERED: Final = Lookup(
    lambda among: select(
        *(t.entries.c[name] for name in ("contact", "journey", "entry", "version", "left_at", "exit"))
    ).where(among(t.entries.c.contact))
)
_SENDS: Final = Lookup(
    lambda among: select(*(t.sends.c[name] for name in ("message_key", *_KEY, "state", "fence", "not_before"))).where(
        among(t.sends.c.contact), t.sends.c.journey != CONFIRMATION
    )
)
"""Without what asks for consent, on which no journey decides."""
_CALLS: Final = Lookup(
    lambda among: select(*(t.calls.c[name] for name in ("call_key", *_KEY, "state"))).where(among(t.calls.c.contact))
)


def _writing(table: Any, names: Sequence[str], n_key: int) -> Bulk:
    """Inserts rows, or replaces those with the same key, which is the first names."""

    def writing(given: Given) -> Any:
        made = given.into(table, *names)
        changing = {name: made.excluded[name] for name in names[n_key:]}
        return made.on_conflict_do_update(index_elements=[*names[:n_key]], set_=changing)

    return Bulk(writing, *names)


_ENTRIES: Final = _writing(t.entries, _ENTRY, 3)
_VISITS: Final = _writing(t.visits, _VISIT, 5)
_UNVISITING: Final = Bulk(
    lambda given: delete(t.visits).where(*(t.visits.c[name] == given(name) for name in _VISIT[:5])), *_VISIT[:5]
)
_KNOWN_VISITS: Final = Lookup(lambda among: select(*t.visits.c).where(among(t.visits.c.contact)))
_SENDING: Final = Bulk(lambda given: given.into(t.sends, *_SEND), *_SEND)
_CALLING: Final = Bulk(lambda given: given.into(t.calls, *_CALL), *_CALL)
_CHOOSING: Final = Bulk(
    lambda given: (
        update(t.sends)
        .where(t.sends.c.message_key == given("key"), t.sends.c.choice.is_(None))
        .values(choice=given("choice"))
    ),
    *("key", "choice"),
)
_NEXT: Final = Bulk(
    lambda given: (
        update(t.contacts).where(t.contacts.c.contact == given("of")).values(next_at=given("at"), last_at=given("now"))
    ),
    *("of", "at", "now"),
)
