"""What comes in is kept where some purpose declares it, whichever way it comes; the rest is counted by name."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import func, insert, select

from journeylab.errors import DataError
from journeylab.reads import Read
from journeylab.sender.declarations import OTHERS, Declarations
from journeylab.sender.live.arrivals import receive_tables
from journeylab.sender.live.drops import take_files, take_table
from journeylab.sender.live.intake import Incoming, Person, attributes_of, properties_of, receive, receive_people
from journeylab.sender.settings import Settings
from journeylab.sender.store import Store
from journeylab.sender.store import tables as t
from journeylab.sender.web.app import application
from journeylab.sender.web.metrics import Measures
from liverun import SETTINGS
from stores import rows_of
from webclient import Client, settings_for

SAID: dict[str, Any] = {
    "marketing": {"title": {"en": "News"}, "attributes": ["plan"], "properties": {"purchase": ["amount"]}},
    "service": {"title": {"en": "Service"}, "attributes": ["country"]},
    "other": {"title": {"en": "Undeclared"}},
}
AT = datetime(2026, 3, 2, 9, tzinfo=UTC)
TOKEN = "Xq7neverAsked"


def declaring(purposes: dict[str, Any] = SAID, **more: Any) -> Settings:
    plain = SETTINGS.model_dump(mode="json", by_alias=True, exclude_defaults=True)
    return Settings.model_validate(plain | {"purposes": purposes} | more)


DECLARED = Declarations.of(declaring())
assert DECLARED is not None


def test_without_declarations_everything_is_kept() -> None:
    assert Declarations.of(SETTINGS) is None
    assert Declarations.of(declaring({"other": SAID["other"]})) is None


def test_to_declare_nothing_is_a_declaration() -> None:
    none = Declarations.of(declaring({"marketing": {"title": {"en": "News"}, "attributes": []}}))
    assert none is not None
    assert none.kept == {"language", "timezone"}


@pytest.mark.parametrize(
    ("read", "purposes"),
    [
        (Read((), "plan"), ["marketing"]),
        (Read((), "country"), ["service"]),
        (Read((), "amount", "purchase"), ["marketing"]),
        (Read((), "amount", "refund"), []),
        (Read((), "amount"), []),
        (Read((), "plan", "signup"), []),
        (Read((), "plan", "signup", or_attribute=True), ["marketing"]),
        (Read((), "timezone"), ["marketing", "service"]),
        (Read((), "message", "opened"), ["marketing", "service"]),
        (Read((), "product", "opened"), []),
    ],
)
def test_a_purpose_may_read_what_it_declares(read: Read, purposes: list[str]) -> None:
    assert DECLARED is not None
    assert DECLARED.declaring(read) == purposes


Run = Callable[..., str]
Door = Callable[[Store, Settings, Path], Counter[str]]
EVENTS = [
    {"contact": "ada", "event": "purchase", "amount": 5.0, "product": TOKEN, "shoe": {"size": [1]}},
    {"contact": "bo", "event": "visit", "amount": 6.0, "product": TOKEN},
]
PEOPLE = [
    {"contact": "ada", "address": "ada@rcpt.test", "plan": "pro", "country": "PL", "shoe": TOKEN},
    {"contact": "bo", "plan": "free", "timezone": "Europe/Warsaw"},
]
LEFT = {"shoe": 1, "purchase.product": 1, "purchase.shoe": 1, "visit.product": 1, "visit.amount": 1}


def by_python(store: Store, settings: Settings, _: Path) -> Counter[str]:
    events, contacts = receive_tables(store, EVENTS, PEOPLE, settings=settings)
    assert (events.n_new, contacts.n_new, events.refused, contacts.refused) == (2, 2, (), ())
    return Counter(events.left_out) + Counter(contacts.left_out)


def by_files(store: Store, settings: Settings, folder: Path) -> Counter[str]:
    for name, rows in (("contacts", PEOPLE), ("events", EVENTS)):
        file = folder / "inbox" / name / "all.json"
        file.parent.mkdir(parents=True)
        file.write_text(json.dumps(rows))
        os.utime(file, (1e9, 1e9))
    settings = settings.model_copy(update={"folder": folder, "inbox": declaring(inbox={"folder": "inbox"}).inbox})
    assert take_files(store, settings) == 2
    assert not [*folder.rglob("*.refused.csv")]
    return Counter({one.name: one.n_values for one in rows_of(store, t.left_out)})


def by_table(store: Store, settings: Settings, _: Path) -> Counter[str]:
    with store.writing() as connection:
        got = receive_people(connection, people(), store.now(connection), Declarations.of(settings))
        for one in EVENTS:
            properties = {k: v for k, v in one.items() if k not in ("contact", "event")}
            row = {"contact": one["contact"], "event": one["event"], "properties": json.dumps(properties)}
            connection.execute(insert(t.inbox), row)
    assert take_table(store, settings) == 2
    assert {one.refused_because for one in rows_of(store, t.inbox)} == {None}
    with store.writing() as connection:
        connection.execute(t.inbox.delete())
    assert got.refused == ()
    return Counter({one.name: one.n_values for one in rows_of(store, t.left_out)})


def people() -> list[Person]:
    return [
        Person(
            str(one["contact"]), one.get("address"), {k: v for k, v in one.items() if k not in ("contact", "address")}
        )
        for one in PEOPLE
    ]


def by_webhook(store: Store, settings: Settings, folder: Path) -> Counter[str]:
    own = settings_for(folder, purposes=settings.model_dump()["purposes"])
    client = Client(application(store, own, clock=lambda: 0.0))
    inside = {"contacts": ("contact", "address"), "events": ("contact", "event")}
    found: Counter[str] = Counter()
    for what, rows in (("contacts", PEOPLE), ("events", EVENTS)):
        inner = {"contacts": "attributes", "events": "properties"}[what]
        body = [
            {k: v for k, v in one.items() if k in inside[what]}
            | {inner: {k: v for k, v in one.items() if k not in inside[what]}}
            for one in rows
        ]
        said = client.signed(f"/{what}", body).json()
        assert (said["n_new"], said["refused"]) == (2, [])
        found.update(said["left_out"])
    measured = Measures(store, own, lambda: 0.0).text().decode()
    assert 'journeylab_left_out{name="purchase.product"} 1.0' in measured
    return found


def test_without_the_guard_what_cannot_be_kept_is_refused(store: Store) -> None:
    with pytest.raises(DataError, match="column 'shoe' is of type struct"):
        receive_tables(store, EVENTS, PEOPLE, settings=SETTINGS)


@pytest.mark.parametrize("door", [by_python, by_files, by_table, by_webhook])
def test_at_every_door_what_nobody_declares_is_left_out_and_counted(store: Store, door: Door, tmp_path: Path) -> None:
    assert door(store, declaring(), tmp_path) == LEFT
    with store.reading() as connection:
        kept = attributes_of(connection, ["ada", "bo"])
        events = connection.execute(select(t.events).where(t.events.c.event.in_(("purchase", "visit")))).all()
        properties = dict(zip((one.event for one in events), properties_of(connection, events), strict=True))
        names = {*connection.scalars(select(t.names.c.name))}
    assert kept == {"ada": {"plan": "pro", "country": "PL"}, "bo": {"plan": "free", "timezone": "Europe/Warsaw"}}
    assert properties == {"purchase": {"amount": 5.0}, "visit": {}}
    assert not names & {"shoe", "product"}


def test_without_the_guard_what_nobody_declares_is_kept(store: Store) -> None:
    events = [{k: v for k, v in one.items() if k != "shoe"} for one in EVENTS]
    receive_tables(store, events, PEOPLE, settings=SETTINGS)
    with store.reading() as connection:
        assert attributes_of(connection, ["ada"])["ada"]["shoe"] == TOKEN


def test_a_change_of_what_nobody_declares_is_left_out_as_a_whole(store: Store) -> None:
    def change(name: Any) -> Incoming:
        return Incoming("ada", "attribute_changed", AT, {"name": name, "value": "x", "why": TOKEN})

    with store.writing() as connection:
        got = receive(connection, [change("shoe"), change("plan"), change(None)], AT, DECLARED)
        (row,) = connection.execute(select(t.events)).all()
        assert properties_of(connection, [row]) == [{"name": "plan", "value": "x"}]
    assert (got.n_new, [one.place for one in got.refused]) == (1, [2])
    assert got.left_out == {"shoe": 1, "attribute_changed.why": 2}


def test_consent_and_what_the_contract_names_are_kept(store: Store) -> None:
    given = Incoming("ada", "consent_given", AT, {"purpose": "marketing", "form": "f"})
    opened = Incoming("ada", "opened", AT, {"message": "m", "is_machine": True, "device": TOKEN})
    with store.writing() as connection:
        got = receive(connection, [given, opened], AT, DECLARED)
        rows = connection.execute(select(t.events).order_by(t.events.c.event_id)).all()
        kept = properties_of(connection, rows)
    assert kept == [{"purpose": "marketing"}, {"message": "m", "is_machine": True}]
    assert got.left_out == {"consent_given.form": 1, "opened.device": 1}


def test_counts_add_up_and_nobody_makes_the_table_grow(store: Store) -> None:
    assert DECLARED is not None
    for _ in range(2):
        with store.writing() as connection:
            people = [Person("ada", None, {f"n{i}": 1 for i in range(150)} | {"no name": 1, "x" * 300: 1})]
            receive_people(connection, people, AT, DECLARED)
    rows = {one.name: one.n_values for one in rows_of(store, t.left_out)}
    assert len(rows) == 101
    assert sum(rows.values()) == 2 * 152
    assert rows[OTHERS] == 2 * 52
    with store.reading() as connection:
        assert connection.scalar(select(func.count()).select_from(t.names)) == 0


def test_the_command_line_says_what_is_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, run: Run) -> None:
    monkeypatch.chdir(tmp_path)
    plain = SETTINGS.model_dump(mode="json", by_alias=True, exclude_defaults=True)
    Path("sender.json").write_text(json.dumps(plain | {"purposes": SAID}))
    Path("people.csv").write_text(f"contact,plan,shoe\nada,pro,{TOKEN}\nbo,free,\n")
    said = run("contacts", "import", "people.csv", "--settings", "sender.json", "--json")
    assert json.loads(said) == {"n_new": 2, "n_repeated": 0, "refused": [], "left_out": {"shoe": 1}}
    Path("bought.csv").write_text(f"contact,event,amount,product\nada,purchase,5,{TOKEN}\n")
    assert "1 event new" in run("contacts", "events", "bought.csv", "--settings", "sender.json")
    said = run("contacts", "export", "--events", "e.csv", "--contacts", "c.csv", "--settings", "sender.json", "--json")
    assert json.loads(said)["n_contacts"] == 2
    made = [one for one in tmp_path.rglob("*") if one.is_file() and one.name not in ("people.csv", "bought.csv")]
    assert len(made) > 3
    assert not [one.name for one in made if TOKEN.encode() in one.read_bytes()]
