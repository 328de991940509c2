"""Ages: nothing is sent on what is older than the settings allow, and the log of it says so, on both databases."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from aging import HOUR, MINUTE, OWNED, START, Aging, journey
from databases import DATABASES
from journeylab.replay import replay
from journeylab.sender.live.intake import Incoming, Person, attributes_of, receive, receive_people
from journeylab.sender.live.ownership import Owners
from journeylab.sender.sending.freshness import watch_ages
from journeylab.sender.store import Store
from journeylab.sender.store import tables as t
from liverun import StillClock, plain
from pulling import wired
from stores import KEYS, opened_on
from vendors.shopify import Shopify

HELLO = journey({"hello": {"send": "m1", "expires": "1d", "next": "done"}, "done": {"exit": "finished"}})
OFFER = journey(
    {
        "look": {"decide": [{"if": 'plan == "paid"', "go": "done"}], "else": "offer"},
        "offer": {"send": "m1", "next": "done"},
        "done": {"exit": "finished"},
    }
)


@pytest.fixture
def crm() -> Iterator[Shopify]:
    with Shopify() as made, wired(made):
        yield made


@pytest.fixture(params=DATABASES)
def live(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    yield from opened_on(request, tmp_path, StillClock(START))


def reproduces(run: Aging) -> None:
    """The production log replayed by receipt makes the same visits (rule 29)."""
    again = replay(run.releases, run.log(), until=run.clock.at, live=True, assumed_consent=frozenset({"marketing"}))
    pd.testing.assert_frame_equal(run.visits(), plain(again.visits), check_dtype=False)


@pytest.fixture
def hello(live: Store, tmp_path: Path, crm: Shopify) -> Aging:
    return Aging(live, tmp_path, crm, HELLO, {"m1": ["plan"]})


def test_a_message_goes_while_what_it_depends_on_is_young_enough(hello: Aging) -> None:
    hello.says("ada", "trial")
    hello.step()
    hello.signs_up()
    hello.step(5 * MINUTE)
    assert [(contact, message, plan) for contact, message, _, plan in hello.told] == [("ada", "m1", "trial")]
    reproduces(hello)


def test_a_pull_that_is_silent_about_a_contact_confirms_what_is_known(hello: Aging) -> None:
    hello.says("ada", "trial")
    hello.pass_by(5 * HOUR)
    hello.signs_up()
    hello.step()
    assert hello.states() == {"hello": ("accepted", None)}


def test_a_message_waits_for_what_is_too_old_and_goes_with_what_is_new(hello: Aging) -> None:
    hello.says("ada", "trial")
    hello.step()
    hello.crm.fail(*["lost"] * 1000)
    hello.pass_by(70 * MINUTE)
    hello.signs_up()
    hello.step()
    assert hello.states() == {"hello": ("ready", "stale:plan")}
    assert "attributes/plan/age" in hello.alerts()
    hello.says("ada", "paid")
    hello.pass_by(5 * HOUR)
    assert hello.told == []
    hello.crm.faults.clear()
    hello.pass_by(HOUR)
    assert [(contact, plan) for contact, _, _, plan in hello.told] == [("ada", "paid")]
    reproduces(hello)


def test_whoever_waits_too_long_is_skipped(hello: Aging) -> None:
    hello.says("ada", "trial")
    hello.step()
    hello.crm.fail(*["lost"] * 1000)
    hello.pass_by(70 * MINUTE)
    hello.signs_up()
    hello.pass_by(25 * HOUR, HOUR)
    assert hello.told == []
    assert hello.states() == {"hello": ("expired", "stale:plan")}
    assert hello.visits()["branch"].tolist() == [None, "skipped"]
    reproduces(hello)


def test_whoever_is_not_waited_for_is_skipped_at_once(live: Store, tmp_path: Path, crm: Shopify) -> None:
    run = Aging(live, tmp_path, crm, HELLO, {"m1": ["plan"]}, plan={**OWNED, "stale": "skip"})
    run.says("ada", "trial")
    run.step()
    crm.fail(*["lost"] * 1000)
    run.pass_by(2 * HOUR)
    run.signs_up()
    run.step()
    assert run.states() == {"hello": ("expired", "stale:plan")}
    told = run.log().events()
    assert told.loc[told["event"] == "not_sent", "reason"].tolist() == ["stale:plan"]
    sends = replay(run.releases, run.log(), until=run.clock.at, live=True, assumed_consent=frozenset({"marketing"}))
    assert sends.sends["reason"].tolist() == ["stale"]
    reproduces(run)


def test_of_whom_the_owner_has_said_nothing_nothing_is_known(hello: Aging) -> None:
    hello.step()
    hello.signs_up()
    hello.pass_by(2 * HOUR)
    assert hello.states() == {"hello": ("ready", "stale:plan")}
    hello.says("ada", None)
    hello.pass_by(10 * MINUTE)
    assert hello.told[0][3] == "None"


def test_a_row_of_the_owner_that_was_refused_says_that_nothing_is_known(hello: Aging) -> None:
    hello.says("ada", "trial")
    hello.step()
    hello.says("ada", 7)  # type: ignore[arg-type]
    hello.pass_by(2 * HOUR)
    hello.signs_up()
    hello.step()
    assert hello.states() == {"hello": ("ready", "stale:plan")}
    hello.says("ada", "paid")
    hello.pass_by(20 * MINUTE)
    assert hello.told[0][3] == "paid"


def test_what_changed_since_it_was_made_is_made_anew(hello: Aging) -> None:
    hello.says("ada", "trial")
    hello.step()
    hello.signs_up()
    hello.is_relay_down = True
    hello.step()
    assert (hello.told, hello.states()) == ([], {"hello": ("ready", None)})
    hello.says("ada", "paid")
    hello.pass_by(20 * MINUTE)
    hello.is_relay_down = False
    hello.step()
    assert hello.told[0][3] == "paid"
    reproduces(hello)


def test_an_attribute_without_a_limit_may_be_of_any_age(live: Store, tmp_path: Path, crm: Shopify) -> None:
    run = Aging(live, tmp_path, crm, HELLO, {"m1": ["plan"]}, plan={"source": "crm"})
    run.signs_up()
    run.step()
    assert run.states() == {"hello": ("accepted", None)}


def test_what_no_message_and_no_condition_uses_may_be_of_any_age(live: Store, tmp_path: Path, crm: Shopify) -> None:
    run = Aging(live, tmp_path, crm, HELLO, {"m1": []})
    run.signs_up()
    run.step()
    assert run.states() == {"hello": ("accepted", None)}


# Decisions on the way


@pytest.fixture
def offer(live: Store, tmp_path: Path, crm: Shopify) -> Aging:
    return Aging(live, tmp_path, crm, OFFER, {"m1": []})


def decided_on_old(run: Aging, later: str) -> None:
    """Ada signs up while the CRM is away, and it is back with a plan before the message is given up."""
    run.says("ada", "trial")
    run.step()
    run.crm.fail(*["lost"] * 1000)
    run.pass_by(2 * HOUR)
    run.signs_up()
    run.step()
    assert run.states() == {"offer": ("ready", "stale:plan")}
    run.says("ada", later)
    run.crm.faults.clear()
    run.pass_by(2 * HOUR)


def test_what_was_decided_on_what_was_too_old_and_wrong_is_not_sent(offer: Aging) -> None:
    decided_on_old(offer, "paid")
    assert offer.told == []
    assert offer.states() == {"offer": ("expired", "stale:plan")}
    reproduces(offer)


def test_what_was_decided_on_what_was_too_old_and_right_is_sent(offer: Aging) -> None:
    decided_on_old(offer, "trial")
    assert len(offer.told) == 1
    reproduces(offer)


def test_what_changes_after_a_decision_on_what_was_young_does_not_matter(
    live: Store, tmp_path: Path, crm: Shopify
) -> None:
    nodes = {
        "look": {"decide": [{"if": 'plan == "paid"', "go": "done"}], "else": "pause"},
        "pause": {"wait": "3h", "next": "offer"},
        "offer": {"send": "m1", "next": "done"},
        "done": {"exit": "finished"},
    }
    run = Aging(live, tmp_path, crm, journey(nodes), {"m1": []})
    run.says("ada", "trial")
    run.step()
    run.signs_up()
    run.step()
    run.says("ada", "paid")
    run.pass_by(4 * HOUR)
    assert len(run.told) == 1


def test_a_condition_that_is_still_to_come_is_no_matter(live: Store, tmp_path: Path, crm: Shopify) -> None:
    nodes = {
        "hello": {"send": "m1", "next": "look"},
        "look": {"decide": [{"if": 'plan == "paid"', "go": "done"}], "else": "offer"},
        "offer": {"send": "m2", "next": "done"},
        "done": {"exit": "finished"},
    }
    run = Aging(live, tmp_path, crm, journey(nodes), {"m1": [], "m2": []})
    run.signs_up()
    run.step()
    assert run.states() == {"hello": ("accepted", None), "offer": ("ready", "stale:plan")}


@pytest.mark.parametrize(
    "trigger",
    [
        {"event": "signup", "where": 'plan == "trial" or missing(plan)'},
        {"event": "signup", "where": 'segment("trying") >= 0'},
    ],
)
def test_what_the_trigger_reads_counts_and_so_do_segments(
    live: Store, tmp_path: Path, crm: Shopify, trigger: dict[str, Any]
) -> None:
    nodes = {"hello": {"send": "m1", "next": "done"}, "done": {"exit": "finished"}}
    segments = {"trying": {"weights": [{"when": 'plan == "trial"', "weight": 1.0}]}}
    run = Aging(live, tmp_path, crm, journey(nodes, trigger=trigger, segments=segments), {"m1": []})
    run.signs_up()
    run.step()
    assert run.states() == {"hello": ("ready", "stale:plan")}


# Owners that push


def pushed(run: Aging, source: str, what: Person | Incoming, at: datetime | None = None) -> Any:
    with run.store.writing() as connection:
        owners = Owners.of(run.sender, source)
        if isinstance(what, Person):
            return receive_people(connection, [what], at or run.clock.at, None, owners)
        return receive(connection, [what], at or run.clock.at, None, owners)


def changed(plan: str | None, occurred_at: datetime | None = None, contact: str = "ada") -> Incoming:
    return Incoming(contact, "attribute_changed", occurred_at, {"name": "plan", "value": plan})


def pushing(live: Store, folder: Path, crm: Shopify, **more: Any) -> Aging:
    return Aging(live, folder, crm, HELLO, {"m1": ["plan"]}, plan={"source": "billing", "max_age": "1h", **more})


def test_what_its_owner_pushes_is_as_of_when_it_occurred(live: Store, tmp_path: Path, crm: Shopify) -> None:
    run = pushing(live, tmp_path, crm)
    run.people([{"contact": "ada"}])
    pushed(run, "billing", changed("trial", START - 2 * HOUR))
    run.signs_up()
    run.step()
    assert run.states() == {"hello": ("ready", "stale:plan")}
    pushed(run, "billing", changed("trial", START - MINUTE))
    run.pass_by(2 * MINUTE, MINUTE)
    assert run.told[0][3] == "trial"


def test_an_owner_says_the_same_again_and_it_is_young(live: Store, tmp_path: Path, crm: Shopify) -> None:
    run = pushing(live, tmp_path, crm)
    run.people([{"contact": "ada"}])
    for _ in range(5):
        pushed(run, "billing", Person("ada", attributes={"plan": "trial"}))
        run.pass_by(50 * MINUTE, 50 * MINUTE)
    run.signs_up()
    run.step()
    assert run.states() == {"hello": ("accepted", None)}


@pytest.mark.parametrize("what", [changed("paid"), Person("ada", attributes={"plan": "paid"})])
@pytest.mark.parametrize(
    ("conflict", "before", "expected"),
    [
        ("refuse", "trial", "trial"), ("refuse", None, None), ("accept", "trial", "paid"), ("fill", "trial", "trial"),
        ("fill", None, "paid"),
    ],
)  # fmt: skip
def test_what_another_says_is_refused_taken_or_fills_a_gap(
    live: Store, tmp_path: Path, crm: Shopify, what: Any, conflict: str, before: str | None, expected: str | None
) -> None:
    run = pushing(live, tmp_path, crm, conflict=conflict)
    run.people([{"contact": "ada"}])
    if before is not None:
        pushed(run, "billing", changed(before))
    got = pushed(run, "webhook", what)
    is_left = before == expected
    assert dict(got.conflicts) == ({"plan": 1} if is_left else {})
    assert ("attributes/conflicts" in run.alerts()) == is_left
    found = run.table(t.conflicts)[["name", "source", "n_values"]].to_dict("records")
    assert found == ([{"name": "plan", "source": "webhook", "n_values": 1}] if is_left else [])
    with run.store.reading() as connection:
        assert attributes_of(connection, ["ada"])["ada"].get("plan") == expected


def test_what_another_is_not_let_say_does_not_even_say_of_which_kind_it_is(
    live: Store, tmp_path: Path, crm: Shopify
) -> None:
    run = pushing(live, tmp_path, crm)
    pushed(run, "import", Person("ada", attributes={"plan": 7}))
    pushed(run, "import", changed("7"))
    assert pushed(run, "billing", Person("ada", attributes={"plan": "trial"})).refused == ()


def test_what_another_was_let_say_is_not_confirmed_by_the_owners_silence(
    live: Store, tmp_path: Path, crm: Shopify
) -> None:
    run = Aging(live, tmp_path, crm, HELLO, {"m1": ["plan"]}, plan={**OWNED, "conflict": "accept"})
    run.says("ada", "trial")
    run.step()
    pushed(run, "import", Person("ada", attributes={"plan": "paid"}))
    run.pass_by(2 * HOUR)
    run.signs_up()
    run.step()
    assert run.states() == {"hello": ("ready", "stale:plan")}


def test_the_alert_is_over_when_nothing_waits_any_more(hello: Aging) -> None:
    hello.signs_up()
    hello.step()
    assert "attributes/plan/age" in hello.alerts()
    hello.says("ada", "trial")
    hello.pass_by(30 * MINUTE)
    with hello.store.writing() as connection:
        watch_ages(connection, hello.sender, hello.clock.at)
    assert "attributes/plan/age" not in hello.alerts()


# Whatever happens, in any order


PLANS = ("as before", "as before", "trial", "paid", None)
STEP = st.tuples(st.sampled_from(PLANS), st.booleans(), st.booleans(), st.booleans(), st.sampled_from((20, 60, 120)))


STEPS = st.lists(STEP, min_size=4, max_size=12)
SLOW = [HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
AGAIN = "as before"


@given(STEPS)
@example([("trial", False, False, False, 20), ("paid", True, False, False, 120), (AGAIN, True, False, True, 20)])
@example([("trial", False, False, False, 20), (AGAIN, False, True, True, 60), ("paid", False, True, False, 60)])
@settings(max_examples=1, suppress_health_check=SLOW)
def test_nothing_is_ever_sent_on_what_is_too_old(sqlite_store_file: Path, tmp_path: Path, steps: list[Any]) -> None:
    nothing_is_too_old(sqlite_store_file, tmp_path, steps)


@pytest.mark.nightly
@given(STEPS)
@settings(max_examples=300, suppress_health_check=SLOW)
def test_nothing_is_ever_sent_on_what_is_too_old_whatever_happens(
    sqlite_store_file: Path, tmp_path: Path, steps: list[Any]
) -> None:
    nothing_is_too_old(sqlite_store_file, tmp_path, steps)


def nothing_is_too_old(sqlite_store_file: Path, tmp_path: Path, steps: list[Any]) -> None:
    """Runs a journey through changes, a CRM and a relay that are away at times, and looks at all that was sent."""
    for file in tmp_path.glob("live.db*"):
        file.unlink()
    shutil.copy(sqlite_store_file, tmp_path / "live.db")
    opened = Store.open(f"sqlite:///{tmp_path / 'live.db'}", KEYS, clock=StillClock(START))
    nodes = {
        "look": {"decide": [{"if": 'plan == "paid"', "go": "thanks"}], "else": "pause"},
        "thanks": {"send": "m2", "expires": "6h", "next": "done"},
        "pause": {"wait": "40m", "next": "offer"},
        "offer": {"send": "m1", "expires": "6h", "next": "done"},
        "done": {"exit": "finished"},
    }
    with Shopify() as crm, wired(crm):
        trigger = {"event": "signup", "reentry": "after_exit"}
        run = Aging(opened, tmp_path, crm, journey(nodes, trigger=trigger), {"m1": ["plan"], "m2": []})
        true: list[tuple[datetime, str | None]] = [(START, None)]
        for plan, is_away, is_relay_down, signs_up, minutes in steps:
            if plan != "as before":
                run.says("ada", plan)
                true.append((crm.now, plan))
            crm.faults[:] = ["lost"] * 1000 if is_away else []
            run.is_relay_down = is_relay_down
            if signs_up:
                run.signs_up()
                run.step()
            run.pass_by(minutes * MINUTE)
        crm.faults.clear()
        run.is_relay_down = False
        run.pass_by(8 * HOUR)

        def was(plan: str | None, since: datetime, until: datetime) -> bool:
            """Whether she had a plan at some instant of a time."""
            ends = [*(at for at, _ in true[1:]), datetime.max.replace(tzinfo=UTC)]
            spans = zip(true, ends, strict=True)
            return any(one == plan and begin <= until and end > since for (begin, one), end in spans)

        visits = run.visits()
        for _, message, at, plan in run.told:
            assert message == "m2" or was(None if plan == "None" else plan, at - HOUR, at), (at, plan)
            decided = visits[(visits["node"] == "look") & (visits["arrived_at"] <= at)]
            look = decided.iloc[-1]["arrived_at"].to_pydatetime()
            known = ("paid",) if message == "m2" else ("trial", None)
            assert any(was(one, look - HOUR, at) for one in known), (message, look, at)
        if len(visits):
            reproduces(run)
        run.store.close()
