"""A journey run live: events fed to a store on a moved clock, ticks, the real gate, a relay that takes all."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pandas as pd
from sqlalchemy import func, insert, select

from journeylab.eventlog import EventLog
from journeylab.ownsends import OWN_EVENTS
from journeylab.program import Release
from journeylab.sender.live.intake import Incoming, Person, addresses_of, declare, receive, receive_people, record
from journeylab.sender.live.running import Running, Version
from journeylab.sender.live.ticks import log_of, tick
from journeylab.sender.sending.claims import claim
from journeylab.sender.sending.gate import Passed, Request, let_pass
from journeylab.sender.sending.preparing import Made
from journeylab.sender.sending.settling import Settled, settle
from journeylab.sender.sending.transport import Outcome
from journeylab.sender.settings import Settings
from journeylab.sender.store import Store, lock_contacts
from journeylab.sender.store import tables as t
from stores import freeze

SETTINGS = Settings.model_validate(
    {
        "sender": "shop",
        "domain": "shop.example",
        "from": {"address": "hello@shop.example"},
        "list_id": "news.shop.example",
        "bounces": "bounces.shop.example",
        "public_url": "https://mail.shop.example",
        "relays": [{"host": "127.0.0.1", "tls": "none"}],
        "lease": "1h",
    }
)
VISIT = ["contact", "journey", "entry", "node", "visit", "arrived_at", "left_at", "branch"]
MOMENT = timedelta(microseconds=1)
_MOST_ROUNDS = 2_000


class StillClock:
    """A clock that stands until it is moved."""

    def __init__(self, at: datetime) -> None:
        self.at = at

    def __call__(self, connection: Any) -> datetime:
        return self.at


class LiveRun:
    """Releases run live; `calls` answers outside calls, `relay` says what becomes of a message."""

    def __init__(
        self,
        store: Store,
        releases: Sequence[Release],
        *,
        calls: Mapping[str, Callable[[str, datetime], bool]] | None = None,
        relay: Callable[[Any], Outcome] = lambda row: Outcome("accepted", "dot", 250, text="ok"),
        settings: Settings = SETTINGS,
        **running: Any,
    ) -> None:
        assert isinstance(store.clock, StillClock)
        self.store, self.clock, self.calls, self.relay = store, store.clock, calls or {}, relay
        policy = running.pop("policy", None)
        self.releases = releases = [replace(one, policy=policy) for one in releases]
        basis = dict.fromkeys(running.get("basis", ()), "contract")
        self.settings = settings.model_copy(update={"basis": basis})
        by_version: dict[tuple[str, str], list[Release]] = {}
        for one in releases:
            by_version.setdefault((one.journey.journey, one.journey.version), []).append(one)
        self.running = Running(
            tuple(Version(i, tuple(spans)) for i, spans in enumerate(by_version.values(), 1)), **running
        )
        with store.writing() as connection:
            for one in self.running.versions:
                connection.execute(
                    insert(t.releases),
                    {"journey": one.journey, "version": one.version, "definition": {}, "policy": {}, "messages": {},
                     "models": [], "hash": f"{one.journey}/{one.version}", "created_at": self.clock.at,
                     "created_by": "a test"},
                )  # fmt: skip

    def declare(self, scope: str, kinds: Mapping[str, str]) -> None:
        with self.store.writing() as connection:
            declare(connection, scope, kinds)

    def people(self, people: Iterable[Mapping[str, Any]]) -> None:
        rows = [
            Person(str(one["contact"]), f"{one['contact']}@rcpt.test", {k: v for k, v in one.items() if k != "contact"})
            for one in people
        ]
        with self.store.writing() as connection:
            got = receive_people(connection, rows, self.clock.at)
        assert not got.refused, got.refused

    def run(self, events: Sequence[Mapping[str, Any]], until: datetime) -> None:
        """Feeds events in their order, each at its instant, and lets happen what is due up to `until`."""
        waiting = sorted(events, key=lambda one: one["occurred_at"])
        while True:
            upcoming = [one["occurred_at"] for one in waiting[:1]] + self.due()
            if not upcoming or min(upcoming) > until:
                break
            self.clock.at = max(self.clock.at, min(upcoming))
            now, waiting = (
                [one for one in waiting if one["occurred_at"] <= self.clock.at],
                [one for one in waiting if one["occurred_at"] > self.clock.at],
            )
            if now:
                self.receive(now)
            self.settle()
        self.clock.at = max(self.clock.at, until)

    def receive(self, events: Iterable[Mapping[str, Any]]) -> None:
        rows = [Incoming(one["contact"], one["event"], one["occurred_at"], one.get("properties", {})) for one in events]
        with self.store.writing() as connection:
            got = receive(connection, rows, self.clock.at)
            nowhere = connection.scalars(select(t.contacts.c.contact).where(t.contacts.c.address.is_(None))).all()
            receive_people(connection, [Person(one, f"{one}@rcpt.test") for one in nowhere], self.clock.at)
        assert not got.refused, got.refused

    def due(self) -> list[datetime]:
        """The next instants at which something happens by itself."""
        ready, free = t.sends.c.state == "ready", t.contacts.c.held_because.is_(None)
        of = t.contacts.c.contact == t.sends.c.contact
        with self.store.reading() as connection:
            found = [
                connection.scalar(select(func.min(t.contacts.c.next_at)).where(free)),
                connection.scalar(select(func.min(t.sends.c.not_before)).join(t.contacts, of).where(ready, free)),
                connection.scalar(select(func.min(t.calls.c.not_before)).where(t.calls.c.state == "ready")),
            ]
        return [one for one in found if one is not None]

    def settle(self) -> None:
        """Ticks, sends and calls until nothing is due now; the clock moves by microseconds where contacts are ahead."""
        for _ in range(_MOST_ROUNDS):
            n = tick(self.store, lambda _: self.running).n_contacts
            n += self.send() + self.call()
            if n:
                continue
            with self.store.reading() as connection:
                due = (t.contacts.c.next_at.is_not(None)) & t.contacts.c.held_because.is_(None)
                ahead = connection.scalar(select(func.max(t.contacts.c.last_at)).where(due))
                nearest = connection.scalar(select(func.min(t.contacts.c.next_at)).where(due))
            if ahead is None or nearest is None or ahead <= self.clock.at or nearest > ahead:
                return
            self.clock.at = ahead
        raise AssertionError(f"something is still due after {_MOST_ROUNDS:,} rounds")

    def send(self) -> int:
        """Carries what may go to the relay: claims, the gate, what the relay says."""
        with self.store.writing() as connection:
            keys = claim(connection, "a worker", 1000, self.clock.at + timedelta(hours=1), self.clock.at)
            if not keys:
                return 0
            rows = [*connection.execute(select(t.sends).where(t.sends.c.message_key.in_(keys)))]
            addresses = addresses_of(connection, [row.contact for row in rows])
            freeze(connection, [(row, Made(addresses[row.contact], b"hello", {})) for row in rows], self.clock.at)
        n_passed = 0
        for row in rows:
            with self.store.writing() as connection:
                asked = Request(row.message_key, row.fence, row.contact, "relay")
                answer = let_pass(connection, [asked], self.clock.at, self.settings)[row.message_key]
            if isinstance(answer, Passed):
                n_passed += 1
                done = Settled(row.message_key, row.fence, row.contact, self.relay(row), "relay", answer.gated_at)
                with self.store.writing() as connection:
                    settle(connection, [done], self.clock.at, self.settings)
        return n_passed

    def call(self) -> int:
        """Makes the outside calls that wait."""
        with self.store.writing() as connection:
            rows = [*connection.execute(select(t.calls).where(t.calls.c.state == "ready"))]
            for row in rows:
                succeeds = self.calls[row.service](row.contact, self.clock.at)
                at = lock_contacts(connection, [row.contact], self.clock.at)[row.contact]
                state = "succeeded" if succeeds else "failed"
                connection.execute(
                    t.calls.update().where(t.calls.c.call_key == row.call_key).values(state=state, settled_at=at)
                )
                identity = {"journey": row.journey, "entry": row.entry, "node": row.node, "visit": row.visit}
                record(connection, row.contact, "called", at, succeeded=succeeds, **identity)
        return len(rows)

    # What it has come to

    def log(self) -> EventLog:
        """The production log, by the instants of receipt."""
        with self.store.reading() as connection:
            return log_of(connection, None, self.clock.at)

    def visits(self) -> pd.DataFrame:
        """The visits as the store has them."""
        return plain(self.table(t.visits))

    def sends(self) -> pd.DataFrame:
        return self.table(t.sends)

    def table(self, of: Any) -> pd.DataFrame:
        with self.store.reading() as connection:
            return pd.DataFrame(connection.execute(select(of)).mappings().all(), columns=[one.name for one in of.c])


def plain(visits: pd.DataFrame) -> pd.DataFrame:
    """Visits as both worlds give them, in one order."""
    found = visits[VISIT].copy()
    for name in ("contact", "journey", "node", "branch"):
        found[name] = found[name].astype(object).where(found[name].notna(), None)
    for name in ("arrived_at", "left_at"):
        found[name] = pd.to_datetime(found[name], utc=True).astype("datetime64[us, UTC]")
    return found.astype({"entry": int, "visit": int}).sort_values(VISIT[:5], ignore_index=True)


def events_of(log: EventLog, contacts: Collection[str]) -> list[dict[str, Any]]:
    """The contacts' events in a log but for those that a sender makes itself, as `LiveRun.run` takes them."""
    events, rows = log.events(), []
    for one in events[events["contact"].isin(contacts) & ~events["event"].isin(OWN_EVENTS)].to_dict("records"):
        given = {k: v for k, v in one.items() if k not in ("contact", "event", "occurred_at") and not pd.isna(v)}
        at = one["occurred_at"].to_pydatetime()
        rows.append({"contact": str(one["contact"]), "event": one["event"], "occurred_at": at, "properties": given})
    return rows
