"""What is forgotten by itself: bytes of messages some days after their end, and spans of age that nobody asks for."""

from __future__ import annotations

from datetime import timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from sqlalchemy import insert, select, update

from journeylab.sender.live.ownership import forget_outdated
from journeylab.sender.process import Sender
from journeylab.sender.sending import forgetting
from journeylab.sender.sending.forgetting import KEPT, forget_bytes
from journeylab.sender.sending.preparing import Made
from journeylab.sender.store import Store
from journeylab.sender.store import tables as t
from liverun import SETTINGS
from stores import MovedClock, a_send, freeze, people

HOUR = timedelta(hours=1)


def sent(store: Store, contact: str, **values: Any) -> str:
    """The key of a message of a new contact, with its bytes."""
    people(store, contact)
    key = a_send(store, contact, **values)
    with store.writing() as connection:
        row = SimpleNamespace(message_key=key, contact=contact)
        freeze(
            connection,
            [(row, Made(f"{contact}@rcpt.test", b"bytes", {"a": "https://shop.example"}))],
            store.now(connection),
        )
    return key


def test_bytes_go_a_week_after_the_end_and_in_as_many_transactions_as_it_takes(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(forgetting, "_AT_ONCE", 2)
    clock = store.clock
    assert isinstance(clock, MovedClock)
    ended = [sent(store, f"c{i}", state="accepted", settled_at=clock.at + HOUR) for i in range(5)]
    late = sent(store, "late", state="rejected", settled_at=clock.at + 2 * HOUR)
    waits = sent(store, "waits", state="ready")
    assert forget_bytes(store, clock.at + KEPT) == 0
    assert forget_bytes(store, clock.at + KEPT + 1.5 * HOUR, most=3) == 4
    assert forget_bytes(store, clock.at + KEPT + 1.5 * HOUR) == 1
    r = t.renderings.c
    with store.reading() as connection:
        assert {*connection.scalars(select(r.message_key).where(r.body == b"", r.address == b""))} == {*ended}
        assert {*connection.scalars(select(r.message_key).where(r.body != b""))} == {late, waits}
        assert all(connection.scalars(select(r.links)))


def test_a_span_of_age_stays_as_long_as_an_entry_of_its_contact_may_be_decided_by_it(store: Store) -> None:
    people(store, "inside", "later", "gone", "due")
    with store.writing() as connection:
        now = store.now(connection)
        connection.execute(update(t.contacts).values(next_at=None))
        connection.execute(update(t.contacts).where(t.contacts.c.contact == "due").values(next_at=now))
        entry = {"journey": "welcome", "entry": 1, "version": "v1", "converted": False, "held_out": False}
        at = {"inside": (now - 3 * HOUR, None), "later": (now - HOUR, None), "gone": (now - 3 * HOUR, now - 2 * HOUR)}
        connection.execute(
            insert(t.entries),
            [entry | {"contact": one, "entered_at": a, "left_at": b} for one, (a, b) in at.items()],
        )
        spans = {"name": "plan", "from_at": now - 4 * HOUR, "until_at": now - 2 * HOUR}
        connection.execute(insert(t.outdated), [spans | {"contact": one} for one in ("due", *at)])
        assert forget_outdated(connection, now) == 2
        assert sorted(connection.scalars(select(t.outdated.c.contact))) == ["due", "inside"]


def test_a_look_that_takes_long_is_taken_less_often(
    store: Store, monkeypatch: pytest.MonkeyPatch, tmp_path: Any
) -> None:
    clock = store.clock
    assert isinstance(clock, MovedClock)
    looked: list[Any] = []
    seconds = iter([0.0, 0.0, 0.0, 90.0, *[100.0] * 100])
    monkeypatch.setattr("journeylab.sender.process.monotonic", lambda: next(seconds))
    monkeypatch.setattr(Sender, "_watch", lambda _, now: looked.append("short"))
    monkeypatch.setattr(Sender, "_watch_rates", lambda _, now: looked.append("long"))
    for name in ("_watch_forecasts", "_forget"):
        monkeypatch.setattr(Sender, name, lambda *_: None)
    with Sender(store, SETTINGS.model_copy(update={"folder": tmp_path}), "w1") as sender:
        for minutes in (0, 2, 27, 2):
            clock.move(minutes=minutes)
            sender._chores()
    assert looked == ["short", "long", "short", "short", "short", "long"]
