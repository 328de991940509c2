"""What comes in from outside: nothing that a log could not hold, or that two systems tell at once, stops the sender."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from threading import Barrier
from typing import Any

import pytest
from email_validator import EmailNotValidError, validate_email
from hypothesis import example, given
from hypothesis import strategies as st

from journeylab.eventlog import EventLog
from journeylab.sender.live.intake import Incoming, Person, Received, attributes_of, receive, receive_people
from journeylab.sender.live.productionlog import export, production_log
from journeylab.sender.live.ticks import log_of
from journeylab.sender.store import Store
from journeylab.sender.store import tables as t
from stores import rows_of

AT = datetime(2026, 3, 1, tzinfo=UTC)


def came(store: Store, *events: Incoming) -> Received:
    with store.writing() as connection:
        return receive(connection, events, store.now(connection))


def came_in(store: Store, *people: Person) -> Received:
    with store.writing() as connection:
        return receive_people(connection, people, store.now(connection))


def changed(contact: str, name: Any, value: Any) -> Incoming:
    return Incoming(contact, "attribute_changed", None, {"name": name, "value": value})


@pytest.mark.parametrize(
    ("event", "reason"),
    [
        (Incoming("ada", "signup", None, {"contact": "bo"}), "'contact' is what an event itself has"),
        (Incoming("ada", "signup", None, {"received_at": "2026-03-01"}), "'received_at' is what an event itself has"),
        (Incoming("ada", "signup", None, {"id": 2**53 + 1}), "id: 9007199254740993 cannot be held exactly"),
        (Incoming("ada", "signup", None, {"title": "\ud800"}), "title: half of a surrogate pair"),
        (Incoming("a\x00", "signup"), "`contact` has a NUL"),
        (Incoming("ada", "signup", source_id="x" * 201), "`source_id` is longer than 200"),
        (Incoming("ada", "signup", datetime(2200, 1, 1, tzinfo=UTC)), "`occurred_at` is outside of the years 1900"),
        (Incoming("ada", "signup", datetime(2026, 3, 1)), "`occurred_at` has no time zone"),  # noqa: DTZ001
        (changed("ada", None, "x"), "`name` is missing"),
        (changed("ada", "timezone", "Europe/Warsw"), "did you mean 'Europe/Warsaw'?"),
        (changed("ada", "age", "old"), "age is a number, got 'old'"),
        (changed("ada", "since", "2026-02-30"), "since is a date, got '2026-02-30'"),
        (changed("ada", "contact", "bo"), "'contact' is what a contact itself has"),
    ],
)
def test_what_a_log_could_not_hold_is_refused_and_the_rest_is_taken(store: Store, event: Incoming, reason: str) -> None:
    came_in(store, Person("ada", None, {"age": 30, "since": AT.date()}))
    got = came(store, Incoming("bo", "signup"), event, Incoming("cy", "signup"))
    assert (got.n_new, [one.place for one in got.refused]) == (2, [1])
    assert reason in got.refused[0].reason


@pytest.mark.parametrize(
    ("attributes", "reason"),
    [
        ({"timezone": "Mars/Olympus"}, "'Mars/Olympus' is no time zone"),
        ({"contact": "x"}, "'contact' is what a contact itself has"),
        ({"number": 10**20}, "cannot be held exactly"),
    ],
)
def test_contacts_that_no_log_could_have_are_refused(store: Store, attributes: dict[str, Any], reason: str) -> None:
    got = came_in(store, Person("ada", None, attributes), Person("bo", None, {"age": 3}))
    assert got.n_new == 1
    assert reason in got.refused[0].reason


def test_changes_of_attributes_come_as_values_of_any_type(store: Store) -> None:
    came_in(store, Person("ada", None, {"age": 30, "vip": False, "timezone": "Europe/Warsaw"}))
    got = came(
        store, changed("ada", "age", 31), changed("ada", "vip", True), changed("ada", "seen", "2026-03-01T09:00Z"),
        changed("ada", "level", "3"), changed("bo", "level", 4), changed("ada", "timezone", "Asia/Tokyo"),
    )  # fmt: skip
    assert not got.refused
    with store.reading() as connection:
        found = attributes_of(connection, ["ada", "bo"])
    assert found["ada"] == {
        "age": 31, "vip": True, "timezone": "Asia/Tokyo", "seen": "2026-03-01T09:00:00+00:00", "level": 3,
    }  # fmt: skip
    assert found["bo"] == {"level": 4}
    log = production_log(store)
    assert {name: log.attribute(name).kind for name in log.attribute_names} == {
        "age": "number", "vip": "flag", "timezone": "text", "seen": "instant", "level": "number",
    }  # fmt: skip


def test_a_contact_that_comes_twice_at_once_is_the_later_one(store: Store) -> None:
    got = came_in(store, Person("ada", "ada@mail.example", {"a": 1}), Person("ada", None, {"b": 2}))
    assert (got.n_new, got.n_repeated) == (1, 0)
    with store.reading() as connection:
        assert attributes_of(connection, ["ada"])["ada"] == {"a": 1, "b": 2}
    assert rows_of(store, t.contacts)[0].address == "ada@mail.example"


def test_the_same_event_told_twice_at_once_is_one(store: Store) -> None:
    n, both = 40, Barrier(2)

    def tell(_: int) -> Received:
        both.wait()
        with store.writing() as connection:
            events = [Incoming(f"c{i % 7}", "signup", AT, {"n": i}, f"e{i}") for i in range(n)]
            return receive(connection, events, store.now(connection))

    with ThreadPoolExecutor(2) as threads:
        for _ in range(5):
            got = [*threads.map(tell, range(2))]
            assert sum(one.n_new for one in got) + sum(one.n_repeated for one in got) == 2 * n
    assert len(rows_of(store, t.events)) == n


def test_two_who_first_use_a_name_at_once_agree_on_its_kind(store: Store) -> None:
    both = Barrier(2)

    def tell(value: Any) -> bool:
        both.wait()
        got = came(store, Incoming(f"of {value}", "bought", AT, {"size": value}))
        return not got.refused

    with ThreadPoolExecutor(2) as threads:
        assert sorted(threads.map(tell, [3, "XL"])) == [False, True]
    (kind,) = rows_of(store, t.names, name="size")
    (event,) = rows_of(store, t.events)
    assert isinstance(event.properties["size"], str) == (kind.kind == "text")


ADDRESSES = st.builds(
    "{}@{}".format,
    st.text("aZ09.!#'+_-@\" é", max_size=70),
    st.sampled_from(["mail.example", "Mail.Example", "bücher.example", "-x.example", "x", "[192.0.2.1]", "a..example"]),
)


@given(address=ADDRESSES)
@example("Ada.Lovelace+news@Mail.Example")
@example(f"{'a' * 65}@mail.example")
def test_addresses_are_understood_as_the_validator_does(address: str) -> None:
    from journeylab.sender.live.intake import normal_address

    try:
        expected = validate_email(address, check_deliverability=False, test_environment=True).normalized
    except EmailNotValidError:
        expected = None
    assert normal_address(address) == expected


def test_each_event_is_received_after_all_that_was_decided_for_its_contact(store: Store) -> None:
    came(store, Incoming("ada", "signup", AT), Incoming("bo", "signup", AT))
    ahead = max(one.last_at for one in rows_of(store, t.contacts)) + timedelta(days=1)
    with store.writing() as connection:
        connection.execute(t.contacts.update().where(t.contacts.c.contact == "ada").values(last_at=ahead))
    came(store, Incoming("ada", "visit", AT), Incoming("bo", "visit", AT))
    received = {one.contact: one.received_at for one in rows_of(store, t.events, event="visit")}
    assert received["bo"] < ahead < received["ada"]


def test_a_text_stays_a_text_when_all_who_are_looked_at_have_dates_in_it(store: Store, tmp_path: Path) -> None:
    came_in(store, Person("ada", None, {"code": "x", "born": "2001-02-03"}), Person("bo", None, {"code": "2026-01-01"}))
    came(store, changed("bo", "code", "none"), Incoming("bo", "bought", AT, {"size": "XL"}),
         Incoming("bo", "bought", AT, {"size": "2026-01-01"}))  # fmt: skip
    with store.reading() as connection:
        log = log_of(connection, ["bo"], store.now(connection), {"attribute_changed"})
    assert (log.attribute("code").kind, log.attribute("code").categories) == ("text", ["2026-01-01", "none"])
    assert log.attribute("born").kind == "date"
    assert log.property("size").kind == "text"
    export(store, tmp_path / "e.parquet", tmp_path / "c.parquet")
    again = EventLog.read(tmp_path / "e.parquet", contacts=tmp_path / "c.parquet", cache=tmp_path)
    kept = EventLog.read(tmp_path / "e.parquet", contacts=tmp_path / "c.parquet", cache=tmp_path)
    for one in (again, kept, again.by_received()):
        assert (one.attribute("code").kind, one.property("size").kind) == ("text", "text")


def test_the_first_text_of_a_name_may_be_a_date_or_an_instant_and_all_others_then_are(store: Store) -> None:
    got = came_in(
        store, Person("ada", None, {"born": "2001-02-03", "seen": "2026-03-01T09:00:00Z", "code": "2026-02-30"})
    )
    assert not got.refused
    assert {one.name: one.kind for one in rows_of(store, t.names)} == {
        "born": "date",
        "seen": "instant",
        "code": "text",
    }
    got = came_in(store, Person("bo", None, {"born": "unknown"}))
    assert "born is a date, got 'unknown'" in got.refused[0].reason
