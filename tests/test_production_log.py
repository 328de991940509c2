"""A production log, exported and replayed, gives every decision again; and what was tampered with shows."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from sqlalchemy import delete, insert, update

from journeylab.errors import DataError
from journeylab.eventlog import EventLog
from journeylab.journey import Journey, Policy
from journeylab.ownsends import OWN_EVENTS
from journeylab.program import Release
from journeylab.replay import replay
from journeylab.sender.live.productionlog import export, production_log, verify
from journeylab.sender.live.ticks import tick
from journeylab.sender.sending.transport import Outcome
from journeylab.sender.store import Store
from journeylab.sender.store import tables as t
from liverun import LiveRun, StillClock, plain
from stores import KEYS

START = datetime(2026, 3, 2, 9, tzinfo=UTC)
HOUR, DAY = timedelta(hours=1), timedelta(days=1)
_N = 8
POLICY = Policy.model_validate({"cap": {"sends": 3, "within": "4d"}})


@pytest.fixture
def live(store: Store) -> Store:
    return Store(store.engine, StillClock(START))


def welcome(message: str) -> Journey:
    """A journey with everything whose outcome only a production log knows; `message` makes another version of it."""
    nodes = {
        "hello": {"send": message, "next": "crm"},
        "crm": {"call": "crm", "next": "wait", "failed": "excuse"},
        "excuse": {"send": "sorry", "next": "wait"},
        "wait": {"wait": "20h", "next": "plan"},
        "plan": {"decide": [{"if": "plan == 'pro'", "go": "thanks"}], "else": "offer"},
        "thanks": {"send": "thanks", "next": "late"},
        "offer": {"send": "offer", "at": {"between": ["08:00", "20:00"]}, "next": "late"},
        "late": {"wait": "1d", "next": "more"},
        "more": {"send": "more", "next": "done"},
        "done": {"exit": "done"},
    }
    return Journey.model_validate(
        {"journey": "welcome", "trigger": {"event": "signup"}, "cap": {"sends": 2, "within": "30h"}, "nodes": nodes}
    )


def relay(row: Any) -> Outcome:
    """Refuses some messages for good, some for now, and takes the rest."""
    n = int(row.contact[1:])
    if row.node == "hello" and n % 5 == 1:
        return Outcome("rejected", "dot", 550, text="no")
    if row.node == "hello" and n % 5 == 2:
        return Outcome("failed", "render", text="it cannot be made")
    return Outcome("accepted", "dot", 250, text="ok")


def a_run(store: Store) -> LiveRun:
    """Contacts who sign up over a day, in a release and then its canary and the rest, with a pause."""
    old, new = welcome("hello_1"), welcome("hello_2")
    pause = ((START + 22 * HOUR, START + 26 * HOUR),)
    change = START + 7 * HOUR
    releases = [
        Release(journey=old, from_at=START, until_at=change, pauses=pause),
        Release(journey=new, from_at=change, share=(0.0, 0.5), share_salt="x", pauses=pause),
        Release(journey=old, from_at=change, share=(0.5, 1.0), share_salt="x", pauses=pause),
    ]
    run = LiveRun(store, releases, calls={"crm": lambda contact, _: int(contact[1:]) % 3 != 0}, relay=relay,
                  policy=POLICY, basis=["transactional"])  # fmt: skip
    run.people({"contact": f"c{i}", "plan": "pro" if i % 4 == 0 else "trial", "vip": i % 2 == 0} for i in range(_N))
    events: list[dict[str, Any]] = []
    for i in range(_N):
        at = START + 2 * i * HOUR
        contact = f"c{i}"
        events += [
            {"contact": contact, "event": "consent_given", "occurred_at": at, "properties": {"purpose": "marketing"}},
            {"contact": contact, "event": "signup", "occurred_at": at + timedelta(seconds=1), "properties": {"n": i}},
        ]
        if i % 3 == 0:
            changed = {"name": "plan", "value": "trial" if i % 4 == 0 else "pro"}
            events.append({"contact": contact, "event": "attribute_changed", "occurred_at": at + 5 * HOUR,
                           "properties": changed})  # fmt: skip
        if i % 6 == 5:
            events.append({"contact": contact, "event": "consent_withdrawn", "occurred_at": at + 21 * HOUR,
                           "properties": {"purpose": "marketing"}})  # fmt: skip
    run.run(events, START + 2.5 * DAY)
    return run


def assert_reproduced(run: LiveRun, folder: Path, basis: list[str]) -> None:
    """The log exported, and the log as it is, replayed by receipt, give the visits; and so does what the store has."""
    events, people = folder / "events.parquet", folder / "contacts.parquet"
    export(run.store, events, people)
    for log in (EventLog.read(events, contacts=people).by_received(), production_log(run.store)):
        again = replay(run.releases, log, until=run.clock.at, live=True, assumed_consent=frozenset(basis))
        pd.testing.assert_frame_equal(run.visits(), plain(again.visits), check_dtype=False)
    assert verify(run.store, lambda _: run.running).differences.empty


def assert_known_until(run: LiveRun, half: datetime) -> None:
    log = production_log(run.store, half)
    assert log.end_at == half
    received = run.table(t.events)["received_at"]
    assert log.n_events == (received <= half).sum() < len(received)


def assert_tampering_is_found(live: Store, run: LiveRun) -> None:
    assert verify(live, lambda _: run.running, most=3).n_contacts == _N
    v, n = t.visits.c, t.entries.c
    with live.writing() as connection:
        connection.execute(update(t.visits).where(v.contact == "c0", v.node == "plan").values(branch="thanks"))
        connection.execute(delete(t.visits).where(v.contact == "c1", v.node == "hello"))
        connection.execute(update(t.entries).where(n.contact == "c2").values(converted=True))
        row = {"contact": "c4", "journey": "welcome", "entry": 2, "version": "x", "entered_at": START, "left_at": None,
               "exit": None, "converted": False, "held_out": False}  # fmt: skip
        connection.execute(insert(t.entries), row)
        connection.execute(update(t.contacts).where(t.contacts.c.contact == "c5").values(held_because="a test"))
        connection.execute(update(t.contacts).where(t.contacts.c.contact == "c6").values(next_at=START))
    found = verify(live, lambda _: run.running)
    assert (found.n_contacts, found.n_due, found.n_held) == (_N - 2, 1, 1)
    shown = [
        (one.contact, one.what, one.recorded, one.replayed) for one in found.differences.astype(object).itertuples()
    ]
    assert [one[:2] for one in shown] == [("c2", "converted"), ("c4", "row"), ("c0", "branch"), ("c1", "row")]
    assert shown[0][2:] == ("True", "False")
    assert shown[1][2] == "there"
    assert shown[2][2:] == ("thanks", "offer")
    assert shown[3][3] == "there"


def test_an_exported_log_reproduces_every_decision_and_tampering_shows(live: Store, tmp_path: Path) -> None:
    run = a_run(live)
    late = [{"contact": "c3", "event": "signup", "occurred_at": START - DAY, "properties": {"n": 1.5}}]
    run.receive(late)
    run.settle()
    kinds = set(run.log().event_names)
    assert {"sent", "not_sent", "called", "attribute_changed", "consent_withdrawn"} <= kinds
    states = run.sends()["state"].value_counts()
    assert {"accepted", "rejected", "failed", "planned"} <= {*states.index}, states
    done = export(live, tmp_path / "events.parquet", tmp_path / "contacts.parquet")
    assert (done.n_events, done.n_contacts, done.n_on_their_way) == (len(run.table(t.events)), _N, 0)
    written = pd.read_parquet(tmp_path / "events.parquet")
    assert written["received_at"].is_monotonic_increasing
    assert (written["occurred_at"] < written["received_at"]).any()
    people = pd.read_parquet(tmp_path / "contacts.parquet")
    assert [*people.columns] == ["contact", "plan", "vip"]
    assert "@" not in written.to_csv() + people.to_csv()
    assert_reproduced(run, tmp_path, ["transactional"])
    assert_known_until(run, START + DAY)
    assert_tampering_is_found(live, run)


def test_what_a_gate_has_put_off_is_decided_again_as_it_was(live: Store, tmp_path: Path) -> None:
    journey = Journey.model_validate(
        {"journey": "j", "trigger": {"event": "signup"}, "purpose": "transactional", "nodes": {
            "hello": {"send": "hello", "at": {"between": ["08:00", "20:00"]}, "next": "done"}, "done": {"exit": "done"},
        }}
    )  # fmt: skip
    run = LiveRun(live, [Release(journey=journey)], basis=["transactional"])
    run.people([{"contact": "ada"}])
    run.clock.at = START.replace(hour=19, minute=59)
    run.receive([{"contact": "ada", "event": "signup", "occurred_at": run.clock.at}])
    tick(live, lambda _: run.running)
    assert run.sends()["state"].tolist() == ["ready"]
    run.clock.at += HOUR  # the worker was away until the window had closed
    run.settle()
    assert run.sends()["state"].tolist() == ["planned"]
    run.run([], START + DAY)
    assert run.log().summary().set_index("event")["n_events"].filter(OWN_EVENTS).to_dict() == {
        "sent": 1, "postponed": 1,
    }  # fmt: skip
    assert_reproduced(run, tmp_path, ["transactional"])


def test_what_went_to_no_suppressed_address_is_skipped_as_it_was(live: Store, tmp_path: Path) -> None:
    nodes = {
        "hello": {"send": "hello", "next": "pause", "skipped": "told"},
        "pause": {"wait": "1d", "next": "again"},
        "again": {"send": "again", "next": "done"},
        "told": {"wait": "1h", "next": "again"},
        "done": {"exit": "done"},
    }
    cap = {"sends": 1, "within": "20h"}
    journey = Journey.model_validate(
        {"journey": "j", "trigger": {"event": "signup"}, "purpose": "transactional", "nodes": nodes, "cap": cap}
    )
    run = LiveRun(live, [Release(journey=journey)], basis=["transactional"])
    run.people([{"contact": "ada"}, {"contact": "bob"}])
    with live.writing() as connection:
        digest = KEYS.address_digest("ada@rcpt.test")
        connection.execute(
            insert(t.suppressions), {"address_digest": digest, "reason": "erased", "at": START, "message_key": None}
        )
    signups = [{"contact": one, "event": "signup", "occurred_at": START} for one in ("ada", "bob")]
    run.run(signups, START + HOUR / 2)
    with live.writing() as connection:  # and anew: nothing of the first message counts for the cap
        connection.execute(delete(t.suppressions))
    run.run([], START + 3 * DAY)
    ends = run.sends().set_index(["contact", "node"])["state"]
    assert ends.to_dict() == {
        ("ada", "hello"): "suppressed", ("ada", "again"): "accepted",
        ("bob", "hello"): "accepted", ("bob", "again"): "accepted",
    }  # fmt: skip
    again = run.visits().set_index(["contact", "node"])["left_at"]["ada", "again"]
    assert START + HOUR < again < START + HOUR + timedelta(seconds=1)
    assert run.table(t.contacts)["held_because"].isna().all()
    assert run.log().summary().set_index("event")["n_events"].filter(OWN_EVENTS).to_dict() == {
        "sent": 3, "not_sent": 1,
    }  # fmt: skip
    assert_reproduced(run, tmp_path, ["transactional"])


def test_a_message_on_its_way_is_counted_and_verified(live: Store, tmp_path: Path) -> None:
    journey = Journey.model_validate(
        {"journey": "j", "trigger": {"event": "signup"}, "purpose": "transactional", "nodes": {
            "hello": {"send": "hello", "next": "again"}, "again": {"send": "again", "next": "done"},
            "done": {"exit": "done"},
        }}
    )  # fmt: skip

    def broken(_: Any) -> Outcome:
        raise ConnectionError

    run = LiveRun(live, [Release(journey=journey)], basis=["transactional"], relay=broken)
    run.people([{"contact": "ada"}])
    run.receive([{"contact": "ada", "event": "signup", "occurred_at": START}])
    with pytest.raises(ConnectionError):
        run.settle()
    assert run.sends()["state"].tolist() == ["transmitting"]
    run.clock.at += HOUR
    done = export(live, tmp_path / "events.parquet", tmp_path / "contacts.parquet")
    assert done.n_on_their_way == 1
    assert verify(live, lambda _: run.running).differences.empty
    assert_reproduced(run, tmp_path, ["transactional"])


def test_a_log_of_nothing_is_none(live: Store, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="nothing was received until"):
        production_log(live)
    done = export(live, tmp_path / "e.parquet", tmp_path / "c.parquet")
    assert (done.n_events, done.n_contacts) == (0, 0)
    assert pd.read_parquet(tmp_path / "e.parquet").empty
