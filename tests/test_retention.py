"""Retention: what is over goes, each after its own time, counts of it stay, and nothing is decided otherwise."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import assume, given, settings
from sqlalchemy import insert, literal, select

from journeylab.journey import Journey
from journeylab.program import Release
from journeylab.sender.live.running import Running
from journeylab.sender.persons.erasure import erase
from journeylab.sender.persons.retention import Retained, retain
from journeylab.sender.promotion.deviation import counted_of
from journeylab.sender.settings import Inbox, Retention
from journeylab.sender.store import Store, act
from journeylab.sender.store import tables as t
from liverun import SETTINGS, LiveRun, StillClock
from stores import KEYS, rows_of
from strategies import World, worlds
from test_erasure import CONTACT, Shop
from test_live import SLOW, live_events, live_people, live_run

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


# What stays as counts

MIDDAY = datetime(2026, 3, 2, 12, tzinfo=UTC)


def many(store: Store, n: int, node: str = "hello", at: datetime = MIDDAY, version: str = "v1") -> list[str]:
    """Sends to contacts that there are, one to each; their keys."""
    names = [f"{node}-{i}" for i in range(n)]
    with store.writing() as connection:
        release = connection.scalar(select(t.releases.c.release_id).where(t.releases.c.version == version))
        if release is None:
            row = {
                "journey": "welcome",
                "version": version,
                "definition": {},
                "policy": {},
                "messages": {},
                "models": [],
            }
            connection.execute(insert(t.releases), row | {"hash": version, "created_at": at, "created_by": "a test"})
            release = connection.scalar(select(t.releases.c.release_id).where(t.releases.c.version == version))
        rows = [
            {"message_key": name, "journey": "welcome", "contact": name, "entry": 1, "node": node, "visit": 1,
             "release_id": release, "message": f"{node}_mail", "purpose": "marketing", "transactional": False,
             "state": "accepted", "planned_at": at, "not_after": at, "attempts": 1, "fence": 1, "gated_at": at,
             "settled_at": at}
            for name in names
        ]  # fmt: skip
        connection.execute(insert(t.sends), rows)
    return names


def hit(store: Store, keys: list[str], link: str | None, at: datetime, n: int = 1) -> None:
    kind = "open" if link is None else "click"
    row = {"kind": kind, "link": link, "method": "GET", "at": at, "settled_at": at}
    with store.writing() as connection:
        connection.execute(insert(t.hits), [row | {"message_key": key} for key in keys for _ in range(n)])


def tallies(store: Store) -> dict[tuple[str, ...], tuple[int, int]]:
    """What is counted, by what is said of it."""
    return {
        tuple(one for one in row[:7] if one): (row[7], row[8])
        for row in rows_of(store, t.tallies)
        if row[0] != "consents"
    }


def run_over(store: Store, at: datetime, **kept: timedelta) -> Retained:
    own = SETTINGS.model_copy(update={"retention": Retention(**kept)})
    return retain(store, own, lambda _: Running(()), at)


def test_of_hits_there_are_counts_by_message_link_and_day(store: Store) -> None:
    hello, again = many(store, 30), many(store, 12, "again")
    hit(store, hello[:15], None, MIDDAY, 2)
    hit(store, hello[:11], "shop", MIDDAY)
    hit(store, hello[:4], "help", MIDDAY)
    hit(store, hello[4:10], "terms", MIDDAY)
    hit(store, again[:9], None, MIDDAY)
    hit(store, hello, None, MIDDAY + DAY)
    assert run_over(store, MIDDAY + 31 * DAY).n_hits == 15 * 2 + 11 + 4 + 6 + 9
    about = ("2026-03-02", "welcome", "v1", "hello", "hello_mail")
    assert tallies(store) == {
        ("opens", *about): (30, 15),
        ("clicks", *about, "shop"): (11, 11),
        ("clicks", *about): (10, 10),
    }
    assert len(rows_of(store, t.hits)) == 30  # a day goes as a whole, once it is over for long enough
    assert run_over(store, MIDDAY + 31 * DAY).n_hits == 0
    assert run_over(store, MIDDAY + 31.4 * DAY).n_hits == 0
    assert run_over(store, MIDDAY + 31.6 * DAY).n_hits == 30
    assert tallies(store)["opens", "2026-03-03", *about[1:]] == (30, 30)
    said = [(one.action, one.object, one.details["day"], one.details["n_deleted"]) for one in rows_of(store, t.audit)]
    assert said == [("retained", "hits", "2026-03-02", 60), ("retained", "hits", "2026-03-03", 30)]


def test_a_run_that_is_cut_off_counts_nothing_twice_and_loses_nothing(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    hit(store, many(store, 12), None, MIDDAY)
    hit(store, many(store, 12, "again"), None, MIDDAY + DAY)
    dies_on: list[str] = []

    def dies(*given: Any, **details: Any) -> None:
        act(*given, **details)
        if details["day"] in dies_on:
            raise SystemExit

    monkeypatch.setattr("journeylab.sender.persons.retention.act", dies)
    for day, n_left, n_tallied in (("2026-03-02", 24, 0), ("2026-03-03", 12, 1)):
        dies_on[:] = [day]
        with pytest.raises(SystemExit):
            run_over(store, MIDDAY + 40 * DAY)
        assert (len(rows_of(store, t.hits)), len(tallies(store))) == (n_left, n_tallied)
    dies_on.clear()
    assert run_over(store, MIDDAY + 40 * DAY).n_hits == 12
    assert [*tallies(store).values()] == [(12, 12), (12, 12)]


# Stand-ins


def stand_ins(store: Store, n: int, erased_at: datetime = MIDDAY, version: str = "v1") -> list[str]:
    """What is left of erased persons who came through a journey; the third of them was held out."""
    names = [f"erased-{version}{erased_at:%m%d}{i}" for i in range(n)]
    with store.writing() as connection:
        for i, name in enumerate(names):
            of = {"contact": name, "journey": "welcome", "entry": 1, "version": version}
            entry = {"entered_at": erased_at, "left_at": erased_at, "exit": "finished", "converted": False}
            connection.execute(insert(t.contacts), {"contact": name, "created_at": erased_at, "last_at": erased_at})
            connection.execute(insert(t.entries), of | entry | {"held_out": i % 3 == 2})
            visit = {"arrived_at": erased_at, "left_at": erased_at, "visit": 1, "evidence": "observed"}
            for node, branch in (("ask", "then" if i % 2 else "else"), ("hello", "next")):
                connection.execute(insert(t.visits), of | visit | {"node": node, "branch": branch})
            erasure = {"stand_in": name, "erased_at": erased_at, "finished_at": erased_at, "reason": "asked for"}
            connection.execute(insert(t.erasures), erasure)
    return names


def test_of_stand_ins_there_are_counts_and_nothing_else(store: Store) -> None:
    names = stand_ins(store, 36)
    assert (
        run_over(store, MIDDAY + 40 * DAY, stand_ins=30 * DAY).n_stand_ins == 0
    )  # the month of their erasure goes at once
    assert run_over(store, MIDDAY + 61 * DAY, stand_ins=30 * DAY).n_stand_ins == 36
    about = ("2026-03-02", "welcome", "v1")
    assert tallies(store) == {
        ("entries", *about, "finished"): (24, 24),
        ("held_out_entries", *about, "finished"): (12, 12),
        ("visits", *about, "ask", "then"): (18, 18),
        ("visits", *about, "ask", "else"): (18, 18),
        ("visits", *about, "hello", "next"): (36, 36),
    }
    for table in (t.entries, t.visits, t.sends, t.calls, t.consents):
        assert rows_of(store, table) == []
    assert len(rows_of(store, t.contacts)) == len(names)  # all came at the instant at which the log begins
    assert {one.stand_in for one in rows_of(store, t.erasures) if one.tallied_at} == {*names}
    assert run_over(store, MIDDAY + 99 * DAY, stand_ins=30 * DAY).n_stand_ins == 0
    (said,) = rows_of(store, t.audit)
    assert (said.action, said.object, said.details["n_stand_ins"]) == ("retained", "stand_ins", 36)
    assert said.details["n_deleted"]["visits"] == 72


def test_few_stand_ins_leave_no_counts(store: Store) -> None:
    stand_ins(store, 9)
    assert run_over(store, MIDDAY + 400 * DAY, stand_ins=30 * DAY).n_stand_ins == 9
    assert rows_of(store, t.tallies) == []


def test_stand_ins_go_in_parts_none_of_which_is_small(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("journeylab.sender.persons.retention._STAND_INS", 20)
    stand_ins(store, 45)
    assert run_over(store, MIDDAY + 400 * DAY, stand_ins=30 * DAY).n_stand_ins == 45
    assert [one.details["n_stand_ins"] for one in rows_of(store, t.audit)] == [20, 25]
    assert tallies(store)["visits", "2026-03-02", "welcome", "v1", "hello", "next"] == (45, 45)


def a_release(store: Store, version: str) -> int:
    """A release with a forecast that takes entries."""
    many(store, 1, "other", version=version)
    with store.writing() as connection:
        of = t.releases.c.version == version
        release = connection.scalar(select(t.releases.c.release_id).where(of))
        forecast = {"journey": "welcome", "version": version, "level": 0.9, "n_entries": 1, "expected": []}
        connection.execute(t.releases.update().where(of).values(forecast=forecast))
        span = {"release_id": release, "from_at": MIDDAY - DAY, "share_from": 0.0, "share_to": 1.0, "share_salt": ""}
        connection.execute(insert(t.spans), span)
    assert release is not None
    return release


def test_what_is_held_against_a_forecast_stays_as_long_as_it_is(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    release = a_release(store, "v1")
    stand_ins(store, 20)
    stand_ins(store, 20, MIDDAY, "v0")
    later = MIDDAY + 400 * DAY

    def counted() -> Any:
        with store.reading() as connection:
            return counted_of(connection, release, later)

    before = counted()
    assert before["branch", "hello"] == {"next": 20}
    assert run_over(store, later, stand_ins=30 * DAY).n_stand_ins == 20  # those of the version that nobody enters
    assert counted() == before
    monkeypatch.setattr("journeylab.sender.persons.retention.running_releases", lambda _: [])
    assert run_over(store, later, stand_ins=30 * DAY).n_stand_ins == 20
    assert counted() != before  # without the guard


# Nothing is decided otherwise


@contextmanager
def alike(file: Path, folder: Path, at: datetime) -> Iterator[list[Store]]:
    stores = []
    for name in ("kept", "gone"):
        for one in folder.glob(f"{name}.db*"):
            one.unlink()
        shutil.copy(file, folder / f"{name}.db")
        stores.append(Store.open(f"sqlite:///{folder}/{name}.db", KEYS, clock=StillClock(at)))
    try:
        yield stores
    finally:
        for one in stores:
            one.close()


def lived(store: Store, world: World, folder: Path, *, retains: bool) -> dict[str, Any]:
    """A world run live, in which the first contact is erased in the middle, and comes again; what was decided."""
    run, _ = live_run(store, world)
    people = live_people(world)
    first = people[0]["contact"]
    run.people(people[:1])
    run.clock.at += DAY
    run.people(people[1:])
    start = run.clock.at
    events = [
        one | {"occurred_at": max(one["occurred_at"], start)} for one in live_events(world) if one["event"] != "erased"
    ]
    middle = sorted(one["occurred_at"] for one in events)[len(events) // 2]
    own = run.settings.model_copy(
        update={"folder": folder, "retention": Retention(hits=DAY, told=DAY, stand_ins=timedelta(microseconds=1))}
    )

    def over() -> None:
        if retains:
            retain(store, own, lambda _: run.running, run.clock.at + 70 * DAY)

    run.run([one for one in events if one["occurred_at"] <= middle], middle)
    with store.reading() as connection:
        is_there = connection.scalar(select(t.contacts.c.contact).where(t.contacts.c.contact == first))
    if is_there:
        erase(store, own, lambda _: run.running, first, reason="asked for", actor="ada")
        with store.writing() as connection:
            connection.execute(t.suppressions.delete())
    over()
    rest = [one for one in events if one["occurred_at"] > middle]
    for i in (0, 1):
        part = rest[i * len(rest) // 2 : (i + 1) * len(rest) // 2]
        run.run(part, max((one["occurred_at"] for one in part), default=run.clock.at))
        over()
    run.run([], run.clock.at + 3 * DAY)
    over()
    return decided(store)


def decided(store: Store) -> dict[str, Any]:
    """All that the store has of living contacts, and what is left of stand-ins."""
    with store.reading() as connection:
        found: dict[str, Any] = {"alerts": connection.execute(select(t.alerts.c.cause)).all()}
        for table in (t.entries, t.visits, t.sends, t.calls, t.events, t.contacts):
            names = [
                one for one in table.c if one.name not in ("event_id", "sealed", "sealed_key", "address", "attributes")
            ]
            rows = connection.execute(select(*names).where(table.c.contact.not_like("erased-%"))).all()
            found[table.name] = sorted(map(repr, rows))
        found["n_left"] = connection.execute(select(t.visits.c.node).where(t.visits.c.contact.like("erased-%"))).all()
    return found


@pytest.mark.nightly
@settings(max_examples=25, deadline=None, suppress_health_check=SLOW)
@given(world=worlds())
def test_with_and_without_retention_the_same_is_decided(world: World, sqlite_store_file: Path, tmp_path: Path) -> None:
    assume(len(world.events) > 3 and world.contacts)
    decides_the_same(world, sqlite_store_file, tmp_path)


def decides_the_same(world: World, file: Path, folder: Path) -> None:
    with alike(file, folder, min(one["occurred_at"] for one in world.events) - 2 * DAY) as stores:
        kept, gone = (lived(one, world, folder, retains=i == 1) for i, one in enumerate(stores))
        assert rows_of(stores[1], t.tallies) == []
    assert gone.pop("n_left") == []
    kept.pop("n_left")
    assert gone == kept


ONCE = Journey.model_validate(
    {
        "journey": "welcome",
        "trigger": {"event": "signup", "reentry": "60d"},
        "exit_when": [{"event": "bought", "goal": True}],
        "cap": {"sends": 2, "within": "90d"},
        "nodes": {
            "hello": {"send": "hello_mail", "next": "ask"},
            "ask": {"decide": [{"if": 'count("bought") > 1', "go": "pause"}], "else": "pause"},
            "pause": {"wait": "20d", "next": "again"},
            "again": {"send": "again_mail", "next": "done"},
            "done": {"exit": "finished"},
        },
    }
)
FOR_GOOD = ONCE.model_copy(
    update={"journey": "for_good", "trigger": ONCE.trigger.model_copy(update={"reentry": "never"})}
)


def a_year(store: Store, folder: Path, over: Any) -> dict[str, Any]:
    """Contacts who sign up every 50 days and buy now and then; two of them are erased, and one of these comes again."""
    own = SETTINGS.model_copy(update={"folder": folder})
    run = LiveRun(store, [Release(journey=one) for one in (ONCE, FOR_GOOD)], basis=("marketing",), settings=own)
    names = ("ada", "bo", "cy")
    run.people({"contact": one} for one in names)
    for round_ in range(3):
        start = MIDDAY + round_ * 50 * DAY
        events = [
            {"contact": one, "event": "signup", "occurred_at": start + i * DAY} for i, one in enumerate(names)
        ] + [{"contact": one, "event": "bought", "occurred_at": start + 12 * DAY} for one in names[round_ % 3 :: 3]]
        run.run([one for one in events if not (one["contact"] == "bo" and round_ > 1)], start + 49 * DAY)
        if round_ == 1:
            for one in ("ada", "bo"):
                erase(store, own, lambda _: run.running, one, reason="asked for", actor="kim")
            with store.writing() as connection:
                connection.execute(t.suppressions.delete())
        kept = Retention(hits=DAY, told=DAY, stand_ins=20 * DAY)
        over(store, own.model_copy(update={"retention": kept}), run)
    return decided(store)


def goes(store: Store, own: Any, run: LiveRun) -> None:
    retain(store, own, lambda _: run.running, run.clock.at)


def goes_too_far(store: Store, own: Any, run: LiveRun) -> None:
    """What is long over goes of living contacts, too, as it does in many a database."""
    goes(store, own, run)
    with store.writing() as connection:
        connection.execute(t.events.delete().where(t.events.c.received_at < run.clock.at - 40 * DAY))


@pytest.mark.long
def test_reentry_caps_and_exits_are_what_they_would_be(sqlite_store_file: Path, tmp_path: Path) -> None:
    with alike(sqlite_store_file, tmp_path, MIDDAY) as stores:
        kept, gone = a_year(stores[0], tmp_path, lambda *_: None), a_year(stores[1], tmp_path, goes)
        assert rows_of(stores[1], t.tallies) == []  # two people are few
    assert (len(kept.pop("n_left")) > 4, gone.pop("n_left")) == (True, [])
    assert gone == kept
    assert {"signup", "sent"} <= {one.split("'")[3] for one in kept["events"]}
    assert len(kept["entries"]) > 2
    with alike(sqlite_store_file, tmp_path, MIDDAY) as stores:
        far = a_year(stores[0], tmp_path, goes_too_far)
    assert far["entries"] != kept["entries"]


DATED = Journey.model_validate(
    {
        "journey": "birthday",
        "trigger": {"date": "born", "offset": "0d"},
        "nodes": {"hello": {"wait": "1d", "next": "done"}, "done": {"exit": "finished"}},
    }
)


@pytest.mark.parametrize("keeps_the_first", [True, False])
def test_the_log_begins_where_it_began(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, keeps_the_first: bool
) -> None:
    """A date between the first contact, who was erased, and the second makes an entry: the log had begun."""
    store = Store(store.engine, StillClock(MIDDAY))
    run = LiveRun(
        store, [Release(journey=DATED)], basis=("marketing",), settings=SETTINGS.model_copy(update={"folder": tmp_path})
    )
    run.declare("contact", {"born": "date"})
    run.people([{"contact": "ada", "born": "1990-01-01"}])
    run.clock.at += 10 * DAY
    erase(store, run.settings, lambda _: run.running, "ada", reason="asked for", actor="kim")
    if not keeps_the_first:
        early = literal(MIDDAY - DAY, t.Instant())
        monkeypatch.setattr("journeylab.sender.persons.retention._log_start", lambda: early)
    own = run.settings.model_copy(update={"retention": Retention(stand_ins=DAY)})
    assert retain(store, own, lambda _: run.running, run.clock.at + 60 * DAY).n_stand_ins == 1
    run.people([{"contact": "bob", "born": "2026-03-08"}])
    run.run([], run.clock.at + DAY)
    assert len(rows_of(store, t.entries, contact="bob")) == keeps_the_first
