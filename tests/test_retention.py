"""Retention: what is over goes, each after its own time, and nothing else does."""

from __future__ import annotations

import os
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import insert, select

from journeylab.sender.persons.retention import Retained, retain
from journeylab.sender.settings import Inbox, Retention
from journeylab.sender.store import Store
from journeylab.sender.store import tables as t
from stores import rows_of
from test_erasure import CONTACT, Shop

DAY = timedelta(days=1)


@pytest.fixture
def shop(store: Store, tmp_path: Path) -> Shop:
    return Shop(store, tmp_path)


def retained(shop: Shop, **kept: timedelta) -> Retained:
    settings = shop.settings.model_copy(update={"retention": Retention(**kept)})
    return retain(shop.store, settings, lambda _: shop.run.running, shop.clock.at)


def test_who_was_heard_of_or_is_inside_stays(shop: Shop) -> None:
    shop.clock.at += 400 * DAY
    assert retained(shop, inactive=365 * DAY).n_erased == 0  # their journey's second mail is due
    shop.run.run([], shop.clock.at)
    assert retained(shop, inactive=365 * DAY).n_erased == 0  # and went just now
    shop.clock.at += 300 * DAY
    shop.run.run([{"contact": "bob", "event": "bought", "occurred_at": shop.clock.at}], shop.clock.at)
    shop.clock.at += 100 * DAY
    assert retained(shop, inactive=365 * DAY).n_erased == 1
    assert shop.named_in() == []
    assert [one.contact for one in rows_of(shop.store, t.contacts) if one.sealed_key] == ["bob"]
    assert retained(shop, inactive=365 * DAY).n_erased == 0


def test_nobody_is_inactive_unless_somebody_says_how_long(shop: Shop) -> None:
    shop.clock.at += 40_000 * DAY
    shop.run.run([], shop.clock.at)
    shop.clock.at += 40_000 * DAY
    assert retained(shop).n_erased == 0
    assert CONTACT in {one.contact for one in rows_of(shop.store, t.contacts)}


def test_hits_and_what_was_told_go_when_they_are_over(shop: Shop) -> None:
    at = shop.clock.at
    with shop.store.writing() as connection:
        key = connection.scalar(select(t.sends.c.message_key))
        hit = {"message_key": key, "kind": "open", "method": "GET", "at": at}
        connection.execute(insert(t.hits), [hit | {"settled_at": at - n * DAY} for n in (10, 31, 40)])
        body = {"target": "crm", "body": {}, "created_at": at, "attempts": 1}
        told = [body | {"webhook_id": str(n), "delivered_at": at - n * DAY} for n in (1, 20, 31)]
        connection.execute(insert(t.outbox), [*told, body | {"webhook_id": "waits", "delivered_at": None}])
    n_waiting = len([one for one in rows_of(shop.store, t.outbox) if one.delivered_at is None])
    assert retained(shop)[1:3] == (2, 1)
    assert retained(shop, hits=5 * DAY, told=10 * DAY)[1:3] == (1, 1)
    left = rows_of(shop.store, t.outbox)
    assert len([one for one in left if one.delivered_at is None]) == n_waiting
    assert len(rows_of(shop.store, t.hits)) == 1  # nobody has looked at it yet


def test_files_that_were_taken_go_and_refused_ones_wait_for_a_person(shop: Shop, tmp_path: Path) -> None:
    shop.settings = shop.settings.model_copy(update={"inbox": Inbox(folder="inbox")})
    for name in ("taken", "refused"):
        folder = tmp_path / "inbox" / "contacts" / name
        folder.mkdir(parents=True)
        for age in (1, 8):
            file = folder / f"{age}.csv"
            file.write_text("contact\n")
            at = (shop.clock.at - age * DAY).timestamp()
            os.utime(file, (at, at))
    assert retained(shop).n_files == 1
    left = sorted(f"{one.parent.name}/{one.name}" for one in (tmp_path / "inbox").rglob("*.csv"))
    assert left == ["refused/1.csv", "refused/8.csv", "taken/1.csv"]
