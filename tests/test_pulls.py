"""Pulling: nothing is lost and nothing is doubled, whatever fails and wherever the process ends, on both databases."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import select

from databases import DATABASES
from journeylab.errors import DataError
from journeylab.sender.live import pulledrows
from journeylab.sender.live.intake import Person, attributes_of, properties_of, receive_people
from journeylab.sender.live.pulls import LEASE, Puller, reset, standing
from journeylab.sender.persons.erasure import erase
from journeylab.sender.process import WhatRuns
from journeylab.sender.settings import Settings
from journeylab.sender.store import Store
from journeylab.sender.store import tables as t
from pulling import ORDERS, PEOPLE, Crash, connector, wired
from sendworld import Clock, make_settings, opened
from vendors.shopify import Shopify
from vendors.system import FAULTS

MINUTE = timedelta(minutes=1)
HOUR = timedelta(hours=1)


@pytest.fixture(scope="module")
def database(postgres_server: Any) -> Iterator[str]:
    name = postgres_server.create()
    yield postgres_server.url(name)
    postgres_server.drop(name)


@pytest.fixture(params=DATABASES)
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path / 'sender.db'}" if request.param == "sqlite" else request.getfixturevalue("database")


class Pulling:
    """A sender that pulls a shop: orders as events, and customers as contacts."""

    def __init__(self, url: str, folder: Path, shop: Shopify, **changed: Any) -> None:
        self.clock, self.shop = Clock(), shop
        self.store: Store = opened(url, self.clock)
        given = {"connectors": {"shop": connector(shop, orders=ORDERS, people=PEOPLE)}} | changed
        self.settings: Settings = make_settings(folder, **given)
        self.puller = Puller(self.store, self.settings, "w1")

    def pull(self, by: timedelta = timedelta(0)) -> int:
        self.clock.pass_by(by)
        return self.puller.pull_due()

    def purchases(self) -> list[tuple[str, Any]]:
        with self.store.reading() as connection:
            rows = connection.execute(select(t.events).where(t.events.c.event == "purchase")).all()
            found = properties_of(connection, rows)
        return sorted((row.source_id.rpartition("/")[2], one["amount"]) for row, one in zip(rows, found, strict=True))

    def plans(self) -> dict[str, Any]:
        with self.store.reading() as connection:
            known = [*connection.scalars(select(t.contacts.c.contact))]
            return {contact: said.get("plan") for contact, said in attributes_of(connection, known).items()}

    def standing(self, stream: str = "orders") -> Any:
        with self.store.reading() as connection:
            return next(one for one in standing(connection, self.settings) if one.stream == stream)

    def alerts(self) -> dict[str, str]:
        with self.store.reading() as connection:
            asked = select(t.alerts.c.cause, t.alerts.c.text).where(t.alerts.c.resolved_at.is_(None))
            return {one.cause: one.text for one in connection.execute(asked)}

    def refused(self) -> dict[tuple[str, str], str]:
        with self.store.reading() as connection:
            rows = connection.execute(select(t.pulled).where(t.pulled.c.refused_because.is_not(None))).all()
        return {(row.kind, row.item): row.refused_because for row in rows}


@pytest.fixture
def shop() -> Iterator[Shopify]:
    with Shopify() as made, wired(made):
        yield made


@pytest.fixture
def one(url: str, tmp_path: Path, shop: Shopify) -> Iterator[Pulling]:
    made = Pulling(url, tmp_path, shop)
    yield made
    made.store.close()


def put(shop: Shopify, number: int, total: float = 10, plan: str | None = "trial", **more: Any) -> None:
    shop.put(number, customer=f"c{number}", mail=f"c{number}@mail.example", total=total, plan=plan, **more)


def test_what_is_due_is_pulled_page_by_page(one: Pulling) -> None:
    for number in range(5):
        put(one.shop, number)
    assert one.pull() == 6  # three pages of each stream
    assert one.purchases() == [(str(number), 10) for number in range(5)]
    assert one.plans() == dict.fromkeys((f"c{number}" for number in range(5)), "trial")
    assert one.standing().complete_at == one.clock.now
    assert one.pull() == 0
    assert one.pull(5 * MINUTE) == 2


def test_changes_come_with_the_next_pull_and_what_came_before_is_known(one: Pulling) -> None:
    put(one.shop, 1)
    one.pull()
    put(one.shop, 1, total=99, plan="paid")
    put(one.shop, 2)
    one.pull(5 * MINUTE)
    assert one.purchases() == [("1", 10), ("2", 10)]  # an event stays what it was
    assert one.plans() == {"c1": "paid", "c2": "trial"}


def test_a_value_that_a_source_has_no_more_is_gone_here_too(one: Pulling) -> None:
    put(one.shop, 1)
    one.pull()
    put(one.shop, 1, plan=None)
    one.pull(5 * MINUTE)
    assert one.plans() == {"c1": None}


def test_the_older_of_two_versions_changes_nothing(one: Pulling) -> None:
    put(one.shop, 1, plan="paid")
    one.pull()
    one.shop.orders[1] |= {"plan": "trial", "updated_at": "2026-03-02T09:00:00.500000+00:00"}
    one.pull(5 * MINUTE)
    assert one.plans() == {"c1": "paid"}


def test_a_row_that_is_refused_is_kept_with_its_reason_until_it_is_mended(one: Pulling) -> None:
    put(one.shop, 1, total=10)
    put(one.shop, 2, total="ten")
    one.pull()
    assert one.purchases() == [("1", 10)]
    assert one.refused() == {("event", "2"): "amount is a number, got 'ten'"}
    assert "1 row of orders of shop refused" in one.alerts()["connector/shop/orders/rows"]
    assert one.standing().n_refused == 1
    put(one.shop, 2, total=20)
    one.pull(5 * MINUTE)
    assert one.purchases() == [("1", 10), ("2", 20)]
    assert (one.refused(), one.alerts()) == ({}, {})


def test_rows_that_are_none_are_refused_and_the_others_taken(one: Pulling) -> None:
    put(one.shop, 1)
    one.shop.put(2, customer=None, total=5)
    one.shop.put(3, customer="c3", mail="no address", total=5, created_at="yesterday")
    one.shop.put(4, customer="c\x004", total=5)
    one.pull()
    assert one.purchases() == [("1", 10)]
    reasons = sorted(reason for (kind, _), reason in one.refused().items() if kind == "event")
    assert [reason.partition(" ")[0] for reason in reasons] == ["`contact`", "`contact`", "`occurred_at`"]
    assert len(one.refused()) == 6


def test_whoever_asks_to_be_left_alone_is_in_all_its_streams(one: Pulling) -> None:
    put(one.shop, 1)
    one.shop.busy = lambda: _busy(600)  # type: ignore[method-assign]
    one.shop.fail("busy")
    assert one.pull() == 0
    assert len(one.shop.calls) == 1
    assert one.pull(9 * MINUTE) == 0
    assert len(one.shop.calls) == 1
    assert one.pull(MINUTE) == 2


def _busy(seconds: int) -> Any:
    from vendors.system import Answer

    return Answer(429, {}, {"retry-after": str(seconds)})


def test_faults_are_waited_out_longer_each_time_and_somebody_is_told(one: Pulling) -> None:
    put(one.shop, 1)
    one.shop.fail(*["broken"] * 100)
    waits = []
    for number in range(5):
        one.pull()
        waits.append(one.standing().next_at - one.clock.now)
        assert ("connector/shop/orders" in one.alerts()) == (number >= 3)
        one.clock.now = max(one.standing().next_at, one.standing("people").next_at)
    assert waits == sorted(waits)
    one.shop.faults.clear()
    one.pull()
    assert one.alerts() == {}
    assert one.purchases() == [("1", 10)]


def test_whoever_is_not_let_in_is_told_at_once(one: Pulling, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SHOP", "wrong")
    one.pull()
    assert one.alerts()["connector/shop/orders"] == (
        "orders of shop cannot be pulled, and is tried again by itself: 401"
    )
    monkeypatch.delenv("SHOP")
    one.puller = Puller(one.store, one.settings, "w1")
    one.pull(HOUR)
    assert "the secret env:SHOP is not set" in one.alerts()["connector/shop/orders"]


def test_a_connector_that_fails_by_itself_is_a_fault_like_others(one: Pulling, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("journeylab.connectors.rest._row", lambda *_: 1 / 0)
    put(one.shop, 1)
    one.pull()
    assert "not understood (ZeroDivisionError at test_pulls.py" in one.alerts()["connector/shop/orders"]


def test_one_process_pulls_a_connector_at_a_time(one: Pulling) -> None:
    put(one.shop, 1)
    other = Puller(one.store, one.settings, "w2")
    n_of_the_other = []
    one.shop.while_reading.append(lambda: n_of_the_other.append(other.pull_due()))
    assert one.pull() == 2
    assert n_of_the_other == [0]


def test_who_has_lost_the_stream_meanwhile_takes_nothing(one: Pulling, monkeypatch: pytest.MonkeyPatch) -> None:
    put(one.shop, 1)
    other, page = Puller(one.store, one.settings, "w2"), one.puller._page

    def slowly(*given: Any) -> Any:
        found = page(*given)
        one.clock.pass_by(LEASE + MINUTE)
        put(one.shop, 1, plan="paid")
        other.pull_due()
        return found

    monkeypatch.setattr(one.puller, "_page", slowly)
    one.pull()
    assert one.plans() == {"c1": "paid"}
    assert one.purchases() == [("1", 10)]


def test_calls_are_no_more_than_the_settings_say(url: str, tmp_path: Path, shop: Shopify) -> None:
    slow = connector(shop, orders=ORDERS) | {"at_most": "30/m"}
    one = Pulling(url, tmp_path, shop, connectors={"shop": slow})
    waited: list[float] = []

    def wait(seconds: float) -> None:
        waited.append(seconds)
        one.clock.pass_by(timedelta(seconds=seconds))

    one.puller._connections._wait = wait
    for number in range(8):
        put(shop, number)
    one.pull()
    assert waited == [2, 2, 2]  # four calls
    other = Puller(one.store, one.settings, "w2")
    other._connections._wait = wait
    one.clock.pass_by(5 * MINUTE)
    other.pull_due()
    assert waited == [2, 2, 2]
    one.store.close()


def test_a_turn_that_is_far_away_is_waited_for_elsewhere(url: str, tmp_path: Path, shop: Shopify) -> None:
    one = Pulling(url, tmp_path, shop, connectors={"shop": connector(shop, orders=ORDERS) | {"at_most": "1/h"}})
    for number in range(3):
        put(shop, number)
    assert one.pull() == 1
    assert one.standing().next_at == one.clock.now + HOUR
    assert one.pull(HOUR) == 1
    assert len(one.purchases()) == 3
    one.store.close()


def test_after_a_reset_all_comes_again_and_is_known(one: Pulling) -> None:
    for number in range(3):
        put(one.shop, number)
    one.pull()
    with one.store.writing() as connection:
        reset(connection, one.settings, "shop", "orders", "jan", one.clock.now)
    assert one.standing().complete_at is None
    one.shop.calls.clear()
    assert one.pull() == 2
    assert "updated_at_min" not in one.shop.calls[0].query
    assert len(one.purchases()) == 3
    with one.store.writing() as connection:
        for wrong in (("shp", "orders"), ("shop", "order")):
            with pytest.raises(DataError, match="did you mean"):
                reset(connection, one.settings, *wrong, "jan", one.clock.now)


def test_who_was_erased_is_brought_back_by_no_pull(one: Pulling) -> None:
    put(one.shop, 1)
    put(one.shop, 2)
    one.pull()
    running = WhatRuns(one.settings)
    erase(one.store, one.settings, running, "c1", reason="asked for", actor="dpo")
    with one.store.reading() as connection:
        assert not connection.execute(select(t.pulled).where(t.pulled.c.item == "c1")).all()
    put(one.shop, 1, plan="paid")
    one.pull(5 * MINUTE)
    assert one.plans() == {"c2": "trial"} | {name: None for name in one.plans() if name.startswith("erased-")}
    with one.store.writing() as connection:
        receive_people(connection, [Person("c1", "c1@mail.example")], one.clock.now)
    put(one.shop, 1, plan="gold")
    one.pull(5 * MINUTE)
    assert one.plans()["c1"] == "gold"


def test_a_stream_that_becomes_an_owner_is_pulled_anew(url: str, tmp_path: Path, shop: Shopify) -> None:
    one = Pulling(url, tmp_path, shop)
    put(shop, 1)
    one.pull()
    plan = {"source": "shop", "stream": "people", "max_age": "1h"}
    one.settings = one.settings.model_validate(
        one.settings.data() | {"connectors": one.settings.connectors, "attributes": {"plan": plan}}
    )
    one.puller = Puller(one.store, one.settings, "w1")
    shop.calls.clear()
    one.pull(5 * MINUTE)
    assert ["updated_at_min" in call.query for call in shop.calls] == [True, False]
    one.store.close()


# Whatever happens, in any order


ACTIONS = ("order", "change", "pull", "other", "crash", "later", "much later", *FAULTS[:4])


def _crashing(one: Pulling, at: int) -> None:
    """Ends the process at one of the steps of a page."""
    with pytest.MonkeyPatch.context() as patch:
        if at == 0:
            patch.setattr(Puller, "_page", _ended)
        elif at == 1:
            patch.setattr(Puller, "_take", _ended)
        elif at in (2, 3):
            patch.setattr(pulledrows.Taking, ("events", "finish")[at - 2], _ended)
        else:
            take = Puller._take

            def taken(self: Puller, *given: Any) -> bool:
                take(self, *given)
                raise Crash

            patch.setattr(Puller, "_take", taken)
        try:
            one.pull()
        except Crash:
            return


def _ended(*_: Any) -> Any:
    raise Crash


@given(st.lists(st.tuples(st.sampled_from(ACTIONS), st.integers(0, 4)), max_size=25))
@settings(max_examples=6, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_nothing_is_lost_and_nothing_doubled(url: str, tmp_path: Path, actions: list[tuple[str, int]]) -> None:
    for file in tmp_path.glob("sender.db*"):
        file.unlink()
    with Shopify() as shop, wired(shop):
        one = Pulling(url, tmp_path, shop)
        other = Puller(one.store, one.settings, "w2")
        first: dict[str, set[float]] = {}

        def ordered(number: int) -> None:
            total = int(shop.now.timestamp())
            put(shop, number, total=total, plan=f"plan{total}")
            first.setdefault(str(number), set()).add(total)

        for action, number in actions:
            if action == "order":
                ordered(number + 10 * len(first))
            elif action == "change" and shop.orders:
                changed = sorted(shop.orders)[number % len(shop.orders)]
                shop.while_reading.append(lambda changed=changed: ordered(changed))
            elif action == "pull":
                one.pull(5 * MINUTE)
            elif action == "other":
                one.clock.pass_by(5 * MINUTE)
                other.pull_due()
            elif action == "crash":
                _crashing(one, number)
            elif action in ("later", "much later"):
                one.clock.pass_by(MINUTE if action == "later" else LEASE)
            elif action in FAULTS:
                shop.fail(action)
        shop.faults.clear()
        shop.while_reading.clear()
        one.clock.pass_by(HOUR)
        for _ in range(2):
            one.pull(2 * HOUR)
        latest = {one["customer"]: one["plan"] for one in shop.orders.values()}
        assert one.plans() == latest
        assert [number for number, _ in one.purchases()] == sorted(first)
        assert all(total in first[number] for number, total in one.purchases())
        assert one.refused() == {}
        one.store.close()
