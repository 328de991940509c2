"""Many waiting contacts: the benchmark's are what the sender writes, and what runs again and again is indexed."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from typing import Any, ClassVar

import psycopg
import pytest
from benchmarks.scale.filling import fill, name_of
from benchmarks.scale.measuring import visits_of
from benchmarks.scale.place import Clock, Place, came_in, place
from benchmarks.sender import sink
from sqlalchemy import event, select

from journeylab.sender.live.intake import receive
from journeylab.sender.live.productionlog import verify
from journeylab.sender.process import Sender, WhatRuns
from journeylab.sender.settings import Settings
from journeylab.sender.store import Store
from journeylab.sender.store import tables as t
from journeylab.sender.store.seals import seal_of

pytestmark = pytest.mark.long
N = 20_000
TABLES = (t.contacts, t.events, t.entries, t.visits, t.audit)
_OTHERWISE = {"event_id", "seq", "sealed_key", "salt", "commitment", "leaf_hash"}
"""Columns in which no two contacts are alike."""


@pytest.fixture(scope="module")
def shop() -> Iterator[Place]:
    """A sender with contacts who wait, and what a busy one has beside: messages, calls, what others were told."""
    with place() as one:
        fill(one, N)
        one.execute(
            "insert into sends (message_key, journey, contact, entry, node, visit, release_id, message, purpose, "
            "transactional, state, planned_at, not_before, not_after, attempts, fence, gated_at, settled_at, relay) "
            "select md5(contact), 'scale', contact, 9, 'nudge', 1, 1, 'nudge', 'marketing', false, 'accepted', at, at, "
            "at, 1, 1, at, at, 'main' from contacts, lateral (select created_at - interval '1 year' as at) as it"
        )
        one.execute(
            "insert into renderings (message_key, address, address_digest, body, hash, links, rendered_at) "
            "select message_key, '', '', '', '', '', planned_at from sends"
        )
        one.execute(
            "insert into outbox (target, webhook_id, body, created_at, spread_at, attempts, delivered_at) "
            "select 'crm', contact, '{}', created_at, created_at, 1, created_at from contacts"
        )
        one.execute(
            "insert into calls (call_key, journey, contact, entry, node, visit, release_id, service, state, "
            "planned_at, attempts, settled_at) select contact, 'scale', contact, 9, 'call', 1, 1, 'crm', 'succeeded', "
            "created_at, 1, created_at from contacts"
        )
        one.execute("insert into hits (message_key, kind, method, at, settled_at) select message_key, 'open', 'GET', "
                    "now(), now() from sends")  # fmt: skip
        one.execute("insert into inbox (contact, event, taken_at) select contact, 'visit', created_at from contacts")
        one.execute("vacuum analyze")
        yield one


def rows_of(store: Store, contact: str) -> dict[str, list[dict[str, Any]]]:
    """What the store has of a contact: opened, its name left out, and instants as what they are after it came in."""
    columns = {"address": "contacts.address", "attributes": "contacts.attributes", "sealed": "events.sealed"}
    found: dict[str, list[dict[str, Any]]] = {}
    with store.reading() as connection:
        seal = seal_of(connection, contact)
        came = connection.scalar(select(t.contacts.c.created_at).where(t.contacts.c.contact == contact))
        assert came is not None

        def plain(name: str, value: Any) -> Any:
            if name in columns and value is not None:
                value = seal.open(columns[name], value)
            if name == "address_digest":
                return value == store.keys.address_digest(f"{contact}@mail.example")
            if isinstance(value, datetime):
                return value - came
            return json.loads(json.dumps(value).replace(contact, "NAME"))

        for table in TABLES:
            order = [one for one in (table.c.get("event_id"), table.c.get("seq")) if one is not None]
            rows = connection.execute(select(table).where(table.c.contact == contact).order_by(*order))
            found[table.name] = [
                {name: plain(name, value) for name, value in row._mapping.items() if name not in _OTHERWISE}
                for row in rows
            ]
    return found


def test_a_contact_that_is_filled_in_is_as_intake_and_a_tick_write_it(shop: Place) -> None:
    with closing(shop.store(Clock(datetime.now(UTC) - timedelta(days=2)))) as store:
        came_in(shop, store, ["somebody"])
        wanted = rows_of(store, "somebody")
        assert {name: len(rows) for name, rows in wanted.items()} == {
            "contacts": 1, "events": 3, "entries": 1, "visits": 1, "audit": 1
        }  # fmt: skip
        for i in (0, 7, N - 1):
            assert rows_of(store, name_of(i)) == wanted


def test_the_machine_finds_them_recorded_as_it_would_decide(shop: Place) -> None:
    with closing(shop.store()) as store:
        found = verify(store, WhatRuns(Settings.read(shop.settings())))
        assert found.n_contacts > N
        assert found.differences.empty


class Explained(psycopg.Cursor[Any]):
    """A cursor that first asks how the database will go about a statement."""

    plans: ClassVar[list[tuple[str, Any]]] = []

    def execute(self, query: Any, params: Any = None, **others: Any) -> Any:
        self._explain(query, params)
        return super().execute(query, params, **others)

    def executemany(self, query: Any, params_seq: Any, **others: Any) -> None:
        rows = [*params_seq]
        if rows:
            self._explain(query, rows[0])
        super().executemany(query, rows, **others)

    def _explain(self, query: Any, params: Any) -> None:
        if str(query).lower().lstrip().startswith(("select", "insert", "update", "delete")):
            with psycopg.Cursor(self.connection) as cursor:
                plan = cursor.execute(f"explain (format json) {query}", params).fetchone()
            assert plan is not None
            self.plans.append((str(query), plan[0][0]["Plan"]))


def gone_through(plan: Any) -> Iterator[str]:
    """The tables of which a plan goes through all rows."""
    if plan["Node Type"] == "Seq Scan":
        yield plan["Relation Name"]
    for inner in plan.get("Plans", ()):
        yield from gone_through(inner)


def test_what_runs_again_and_again_goes_through_no_table_of_many_rows(shop: Place) -> None:
    large = {row[0] for row in shop.execute("select relname from pg_class where relkind = 'r' and reltuples >= 10000")}
    large -= {one for one in large if one.startswith(("pg_", "sql_"))}
    assert large == {
        "contacts", "events", "entries", "visits", "audit", "sends", "renderings", "outbox", "calls", "hits", "inbox"
    }  # fmt: skip
    with sink() as port, closing(shop.store()) as store:
        event.listen(store.engine.pool, "connect", lambda made, _: setattr(made, "cursor_factory", Explained))
        store.engine.dispose()
        for of, name in ((1, "visit"), (300, "visit"), (20, "ask")):
            with store.writing() as connection:
                receive(connection, visits_of(of, N, name), store.now(connection))
        shop.execute("insert into inbox (contact, event) values ('c00000010', 'visit')")
        with Sender(store, Settings.read(shop.settings("w1", port)), "w1") as sender:
            assert sender.run_once() == {"accepted": 20}
    scans = {(name, query) for query, plan in Explained.plans for name in gone_through(plan) if name in large}
    assert len({query for query, _ in Explained.plans}) > 80
    assert not scans


def test_rows_that_change_have_room_in_their_page(shop: Place) -> None:
    options = dict(shop.execute("select relname, reloptions from pg_class where reloptions is not null"))
    for table in ("contacts", "entries", "visits", "sends"):
        assert {*options[table]} == {"fillfactor=85", "autovacuum_vacuum_scale_factor=0.05"}
