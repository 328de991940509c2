"""What a replay gives: tables that agree, a summary, notes, and answers to requests; numbers are rules."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from journeylab import journeyfile
from journeylab.datasets import journey_file, shop
from journeylab.errors import DataError, DefinitionError
from journeylab.eventlog import EventLog
from journeylab.journey import Emit, Exit, ExitWhen, Journey, Policy, Run, Send, Trigger
from journeylab.program import Release
from journeylab.replay import Replay, replay

START = datetime(2026, 3, 2, 9, tzinfo=UTC)  # a Monday
HOUR, DAY = timedelta(hours=1), timedelta(days=1)
HELLO = {"hello": {"send": "m1", "next": "done"}, "done": {"exit": "finished"}}
KEY = ["contact", "journey", "entry", "node", "visit"]
Row = dict[str, Any]


def journey(nodes: Row = HELLO, name: str = "j", **more: Any) -> Journey:
    return Journey.from_data({"journey": name, "trigger": {"event": "signup"}, "nodes": nodes, **more})


def event(name: str, at: datetime, contact: str = "ada", /, **properties: Any) -> Row:
    return {"contact": contact, "event": name, "occurred_at": at, **properties}


def log_of(*events: Row, contacts: Sequence[Row] = ()) -> EventLog:
    return EventLog.from_rows(events, contacts)


@cache
def shop_log() -> EventLog:
    return shop()


@cache
def shop_replay() -> Replay:
    return replay(journeyfile.read(journey_file("shop_portfolio")), shop_log())


def comparable(table: pd.DataFrame) -> pd.DataFrame:
    """The table without what depends on which categories its other rows have."""
    return table.astype({name: "str" for name in table.columns if isinstance(table[name].dtype, pd.CategoricalDtype)})


def assert_same_visits(one: pd.DataFrame, other: pd.DataFrame) -> None:
    pd.testing.assert_frame_equal(comparable(one), comparable(other))


# Tables and summary


def test_the_counts_are_those_of_the_visits() -> None:
    result = shop_replay()
    closed = comparable(result.visits.dropna(subset="branch"))
    of_visits = closed.groupby(["journey", "node", "branch"]).size()
    counts = comparable(result.counts).dropna(subset="branch")
    counted = counts.groupby(["journey", "node", "branch"])["n_visits"].sum()
    assert counted[counted > 0].to_dict() == of_visits.to_dict()
    assumed = closed[closed["evidence"] == "assumed"].groupby(["journey", "node", "branch"]).size()
    counted_as_assumed = counts.groupby(["journey", "node", "branch"])["n_assumed"].sum()
    assert counted_as_assumed[counted_as_assumed > 0].to_dict() == assumed.to_dict()


def test_the_nodes_are_those_of_the_visits() -> None:
    result = shop_replay()
    visits = comparable(result.visits)
    nodes = result.nodes[result.nodes["n_visits"] > 0].set_index(["journey", "node"])
    grouped = visits.groupby(["journey", "node"])
    assert nodes["n_visits"].to_dict() == grouped.size().to_dict()
    assert nodes["n_inside"].to_dict() == grouped["left_at"].agg(lambda left: left.isna().sum()).to_dict()


@pytest.mark.parametrize("name", ["trial_welcome", "winback"])
def test_the_summary_adds_up(name: str) -> None:
    result = shop_replay()
    summary, entries = result.summary(name), comparable(result.entries)
    mine = entries[entries["journey"] == name]
    assert summary["journey"] == name
    assert summary["version"] == next(one.version for one in result.journeys if one.journey == name)
    assert (summary["n_entries"], summary["n_contacts"]) == (len(mine), mine["contact"].nunique())
    assert summary["exits"] == mine["exit"].value_counts().to_dict()
    assert summary["still_inside"] == mine["exit"].isna().sum()
    assert summary["n_entries"] == sum(summary["exits"].values()) + summary["still_inside"]
    assert summary["n_held_out"] == mine["held_out"].sum()
    assert summary["until"] == result.until.isoformat()


def test_the_branches_of_a_summary_are_named_after_branches_only() -> None:
    summary = replay(journey(), log_of(event("signup", START))).summary()
    assert {name: list(node["branches"]) for name, node in summary["nodes"].items()} == {
        "hello": ["next", "skipped"],
        "done": [],
    }


def test_every_send_is_a_visit_and_what_was_skipped_says_why() -> None:
    result = shop_replay()
    sends, visits = comparable(result.sends), comparable(result.visits)
    assert not sends.duplicated(KEY).any()
    joined = sends.merge(visits, on=KEY, how="left", validate="one_to_one")
    assert (joined["decided_at"] == joined["left_at"]).all()
    assert ((joined["branch"] == "next") == joined["is_sent"]).all()
    assert (joined["reason"].isna() == joined["is_sent"]).all()


def test_exits_are_the_entries_by_their_exit() -> None:
    exits = comparable(shop_replay().exits)
    assert exits["n_entries"].sum() == shop_replay().n_entries


def test_visits_are_sorted_and_have_the_promised_columns() -> None:
    visits = shop_replay().visits
    assert list(visits.columns) == [
        *("contact", "journey", "version", "entry", "node", "visit", "arrived_at", "left_at", "branch", "evidence")
    ]
    assert visits["arrived_at"].dtype == "datetime64[us, UTC]"
    order = visits[["contact", "entry", "arrived_at"]]
    assert order.equals(order.sort_values(["contact", "entry", "arrived_at"], kind="stable"))


def test_a_journey_of_a_portfolio_must_be_named() -> None:
    with pytest.raises(DataError, match=r"did you mean 'winback'.*trial_welcome, winback"):
        shop_replay().summary("winbak")


# Assignments


def test_every_assignment_is_recorded_with_its_probability() -> None:
    assigned = comparable(shop_replay().assignments)
    offers = assigned[assigned["node"] == "offer"].groupby("arm")["probability"].unique()
    assert {arm: list(p) for arm, p in offers.items()} == {"discount": [0.4], "free_month": [0.4], "plain": [0.2]}
    held = assigned[assigned["node"] == "holdout"].groupby("arm")["probability"].unique()
    assert {arm: list(p) for arm, p in held.items()} == {"holdout": [0.05], "treated": [0.95]}


def arms(shares: Row, n: int = 2_000, **more: Any) -> dict[str, str]:
    """The arm of each contact."""
    nodes = {"test": {"split": shares, **more}, **{arm: {"exit": arm} for arm in shares}}
    log = log_of(*(event("signup", START, f"contact-{i}") for i in range(n)))
    entries = replay(journey(nodes), log).entries
    return dict(zip(entries["contact"], entries["exit"].astype(str), strict=True))


def test_a_raised_share_loses_nobody_and_wins_only_as_many_as_the_raise_demands() -> None:  # 22
    before, after = arms({"a": "20%", "b": "40%", "c": "40%"}), arms({"a": "40%", "b": "30%", "c": "30%"})
    moves = [(before[contact], after[contact]) for contact in before if before[contact] != after[contact]]
    assert set(moves) == {("b", "a"), ("c", "a")}
    n_sent = {arm: sum(one == arm for one in before.values()) for arm in "abc"}
    # Four standard deviations of a share of 20 % and of 40 % among 2,000.
    assert n_sent["a"] == pytest.approx(400, abs=72)
    assert n_sent["b"] == pytest.approx(800, abs=88)
    assert len(moves) == pytest.approx(400, abs=72)


def test_the_order_of_arms_and_the_name_of_the_journey_do_not_matter_where_the_salt_is_given() -> None:  # 22
    assert arms({"a": "50%", "b": "50%"}, 200, salt="x") == arms({"b": "50%", "a": "50%"}, 200, salt="x")
    assert arms({"a": "50%", "b": "50%"}, 200, salt="x") != arms({"a": "50%", "b": "50%"}, 200, salt="y")


@pytest.mark.parametrize(("per", "n_arms"), [("contact", 1), ("entry", 2)])
def test_an_arm_stays_at_re_entry_unless_it_is_drawn_per_entry(per: str, n_arms: int) -> None:  # 22
    nodes = {"test": {"split": {"a": "50%", "b": "50%"}, "per": per}, "a": {"exit": "a"}, "b": {"exit": "b"}}
    again = journey(nodes, trigger={"event": "signup", "reentry": "always"})
    entries = replay(again, log_of(*(event("signup", START + i * HOUR) for i in range(20)))).entries
    assert entries["exit"].nunique() == n_arms


def test_a_raised_holdout_keeps_who_was_in_it() -> None:  # 23
    log = log_of(*(event("signup", START, f"contact-{i}") for i in range(500)))

    def held(share: str) -> set[str]:
        entries = replay(journey(holdout=share), log).entries
        return set(entries.loc[entries["held_out"], "contact"])

    assert held("0%") < held("10%") < held("30%") < held("100%")


# Units

HALVES = {"test": {"split": {"a": "50%", "b": "50%"}}, "a": {"exit": "a"}, "b": {"exit": "b"}}


def in_households(n: int, household: Callable[[int], Any], of: int = 3) -> EventLog:
    """Contacts that sign up, so many to each household."""
    names = [f"contact-{i}" for i in range(n)]
    contacts = [{"contact": name, "household": household(i // of)} for i, name in enumerate(names)]
    return log_of(*(event("signup", START, name) for name in names), contacts=contacts)


def test_contacts_of_a_household_share_arms_and_holdouts_of_the_shares_that_are_asked_for() -> None:  # 22, 23
    by_household = journey(HALVES, unit="household", holdout="20%")
    assigned = comparable(replay(by_household, in_households(3_000, lambda k: f"h{k}")).assignments)
    arms = assigned.groupby(["node", "unit"])["arm"].agg(["nunique", "size", "first"])
    assert (arms["nunique"] == 1).all()
    assert (arms["size"] == 3).all()
    taken, held = arms.loc["test", "first"], arms.loc["holdout", "first"]
    # Four standard deviations of shares of 50 % and 20 % among 1,000 households.
    assert (taken == "a").sum() == pytest.approx(500, abs=64)
    assert (held == "holdout").sum() == pytest.approx(200, abs=51)
    assert ((taken == "a") & (held == "holdout")).sum() == pytest.approx(100, abs=38)


def test_units_are_alike_as_texts_and_as_whole_numbers_in_logs_and_in_journeys() -> None:  # 22
    texts, numbers = in_households(300, str), in_households(300, int)
    split = journey(HALVES, unit="household")
    assert_same_visits(replay(split, texts).visits, replay(split, numbers).visits)
    assert replay(split, texts).assignments["unit"].tolist() == replay(split, numbers).assignments["unit"].tolist()
    again = {"trigger": {"event": "signup", "reentry": "after_exit"}, "unit": "household"}
    twice = log_of(*(event("signup", START + i * HOUR) for i in range(2)), contacts=[{"contact": "ada", "plan": "x"}])

    def moved(to: int | str) -> list[str]:
        nodes = {"move": {"set": {"household": to}, "next": "test"}, **HALVES}
        return replay(journey(nodes, **again), twice).assignments["unit"].tolist()

    assert moved(17) == moved("17") == ["ada", "17"]


def test_the_unit_of_a_contact_without_one_is_its_id_as_text() -> None:  # 22
    log = EventLog.from_rows([{"contact": i, "event": "signup", "occurred_at": START} for i in range(3)])
    assert replay(journey(HALVES), log).assignments["unit"].tolist() == ["0", "1", "2"]


def test_an_entry_keeps_the_unit_and_the_shares_of_the_version_it_entered() -> None:  # 22, 23, 26
    contact = {"contact": "ada", "household": "h1"}
    log = log_of(*(event("signup", START + i * HOUR) for i in range(3)), contacts=[contact])
    nodes = {
        "pause": {"wait": "2h", "next": "test"},
        **HALVES,
        "end": {"exit": "x"},
        "b": {"wait": "1h", "next": "end"},
    }
    trigger = {"event": "signup", "reentry": "always"}
    old = journey(nodes, trigger=trigger, holdout="40%")
    new = journey(nodes, trigger=trigger, holdout="10%", unit="household")
    releases = [
        Release(journey=old, until_at=START + HOUR),
        Release(journey=new, from_at=START + HOUR, until_at=START + 2 * HOUR),
        Release(journey=old, from_at=START + 2 * HOUR),
    ]
    assigned = replay(releases, log, until=START + DAY).assignments
    rows = assigned.sort_values(["entry", "node"])[["entry", "node", "unit", "probability"]].values.tolist()
    assert rows == [
        [1, "holdout", "ada", 0.6], [1, "test", "ada", 0.5],
        [2, "holdout", "h1", 0.9], [2, "test", "h1", 0.5],
        [3, "holdout", "ada", 0.6], [3, "test", "ada", 0.5],
    ]  # fmt: skip


# The policy's holdout


def test_the_policy_holds_the_same_contacts_out_of_all_journeys_beside_their_own_holdouts() -> None:  # 23
    log = log_of(*(event("signup", START, f"contact-{i}") for i in range(2_000)))
    journeys = [journey(), journey(name="policy", holdout="50%"), journey(name="bills", purpose="bills")]
    result = replay(journeys, log, policy=Policy(holdout="20%"))
    assigned = comparable(result.assignments).set_index(["node", "journey", "contact"])
    held = assigned["arm"] == "holdout"
    by_policy = held["policy_holdout"].unstack("journey")
    assert by_policy.columns.tolist() == ["j", "policy"]
    assert (by_policy["j"] == by_policy["policy"]).all()
    # Four standard deviations of shares of 20 % and, by both, of 10 % among 2,000.
    assert by_policy["j"].sum() == pytest.approx(400, abs=72)
    own = held["holdout"]["policy"]
    assert (own & by_policy["j"]).sum() == pytest.approx(200, abs=54)
    entries = comparable(result.entries).set_index(["journey", "contact"])["held_out"]
    pd.testing.assert_series_equal(entries["j"], by_policy["j"], check_names=False)
    pd.testing.assert_series_equal(entries["policy"], own | by_policy["j"], check_names=False)
    assert not entries["bills"].any()
    assert result.summary("policy")["n_held_out"] == (own | by_policy["j"]).sum()
    probability = assigned.loc["policy_holdout"].groupby("arm")["probability"].unique()
    assert {arm: list(p) for arm, p in probability.items()} == {"holdout": [0.2], "treated": [0.8]}


def test_a_raised_holdout_of_the_policy_keeps_who_was_in_it_and_a_new_salt_draws_others() -> None:  # 23
    log = log_of(*(event("signup", START, f"contact-{i}") for i in range(500)))

    def held(**policy: Any) -> set[str]:
        entries = replay(journey(), log, policy=Policy(**policy)).entries
        return set(entries.loc[entries["held_out"], "contact"])

    assert held(holdout="0%") < held(holdout="10%") < held(holdout="30%") < held(holdout="100%")
    first, second = held(holdout="30%"), held(holdout="30%", salt="spring")
    # Four standard deviations of 9 % among 500.
    assert len(first & second) == pytest.approx(45, abs=26)


# Prefix and independence


def test_advancing_gives_what_a_replay_to_that_horizon_gives() -> None:  # 27
    whole = shop_replay()
    middle = whole.log.start_at + (whole.log.end_at - whole.log.start_at) / 2
    portfolio = journeyfile.read(journey_file("shop_portfolio"))
    early = replay(portfolio, whole.log, until=middle)
    assert_same_visits(whole.advance(middle).visits, early.visits)
    assert_same_visits(early.advance(whole.until).visits, whole.visits)
    assert early.advance(whole.until).summary("winback") == whole.summary("winback")


def test_a_replay_does_not_look_beyond_its_horizon() -> None:  # 27
    log = shop_log()
    middle = log.start_at + (log.end_at - log.start_at) / 2
    portfolio = journeyfile.read(journey_file("shop_portfolio"))
    cut = replay(portfolio, log.truncated(middle))
    whole = replay(portfolio, log, until=middle)
    # Whether a send is in the log is looked up on either side of it (33); all else is the same.
    assert_same_visits(cut.visits.drop(columns="evidence"), whole.visits.drop(columns="evidence"))
    settled = whole.visits["left_at"] < middle - DAY
    decided = settled & whole.visits["node"].isin(["hello", "first", "second", "nudge", "plain"])
    assert_same_visits(cut.visits[decided], whole.visits[decided])


def test_results_do_not_depend_on_how_contacts_are_partitioned() -> None:  # 27
    log = shop_log()
    portfolio = journeyfile.read(journey_file("shop_portfolio"))
    parts = [comparable(replay(portfolio, log.partition(k, 3)).visits) for k in range(3)]
    together = pd.concat(parts).sort_values(["contact", "entry", "arrived_at"], kind="stable", ignore_index=True)
    assert_same_visits(together, shop_replay().visits)


def test_results_do_not_depend_on_the_order_of_rows_of_different_instants() -> None:  # 1, 27
    log = shop_log()
    events = log.events().drop_duplicates(["contact", "occurred_at"])  # rows order what happens at one instant
    portfolio = journeyfile.read(journey_file("shop_portfolio"))
    shuffled = events.sample(frac=1, random_state=np.random.default_rng(7))
    one, other = (
        replay(portfolio, EventLog.read(table, contacts=log.contacts(log.start_at))).visits
        for table in (events, shuffled)
    )
    assert_same_visits(one, other)


# Notes


def notes(result: Replay) -> str:
    return " ".join(result.notes)


def test_assumed_consent_is_said_and_required_consent_is_not() -> None:  # 34
    assert "consent is assumed for everybody" in notes(replay(journey(), log_of(event("signup", START))))
    given = replay(journey(), log_of(event("consent_given", START), event("signup", START)))
    assert "consent is assumed" not in notes(given)


def test_triggers_without_consent_are_counted() -> None:  # 11
    log = log_of(event("consent_given", START), event("signup", START), event("signup", START, "ben"))
    assert "1 triggers made no entry because consent did not stand" in notes(replay(journey(), log))


def test_an_event_that_never_occurs_is_said_with_the_nearest_that_does() -> None:
    look = {"look": {"wait_for": "purchas", "within": "1d", "then": "done", "else": "done"}, "done": {"exit": "x"}}
    result = replay(journey(look), log_of(event("signup", START), event("purchase", START)))
    assert "'purchas' never occurs in the log; did you mean 'purchase'?" in notes(result)


def test_assumed_sends_calls_times_and_what_comes_after_the_log_are_said() -> None:  # 33, 35
    nodes = {"hello": {"send": "m1", "at": "best", "next": "tell"}, "tell": {"call": "crm", "next": "done"}}
    result = replay(journey({**nodes, "done": {"exit": "x"}}), log_of(event("signup", START)), until=START + DAY)
    said = notes(result)
    assert "1 of 1 sends have no `sent` of that message in the log within 1d" in said
    assert "Calls of crm are assumed to succeed" in said
    assert "`at: best` is assumed to be any time" in said
    assert "The log ends on 2026-03-02 09:00 UTC" in said


def test_that_nothing_causal_is_learned_where_no_send_explores_is_said() -> None:  # 17
    def said(explore: str) -> str:
        at = {"best": "habits", "explore": explore}
        nodes = {"hello": {"send": "m1", "at": at, "next": "done"}, "done": {"exit": "x"}}
        return notes(replay(journey(nodes), log_of(event("signup", START))))

    assert "No send of hello explores" in said("0%")
    assert "explores" not in said("5%")


def test_unsubscriptions_that_end_nothing_are_said() -> None:
    log = log_of(event("signup", START), event("unsubscribed", START + HOUR, message="m1"))
    assert "does not end these journeys unless exit_when lists it" in notes(replay(journey(), log))


# Requests


ASK = {"ask": {"decide": [{"if": 'score("churn") >= 0.5', "go": "high"}], "else": "low"}}
ASK |= {"high": {"exit": "high"}, "low": {"exit": "low"}}


def test_a_score_is_the_one_of_its_table_as_of_the_instant() -> None:
    late = journey({"pause": {"wait": "1d", "next": "ask"}, **ASK})
    log = log_of(*(event("signup", START, name) for name in ("ada", "ben", "cyd")), event("later", START + 2 * DAY))
    scores = pd.DataFrame(
        {
            "contact": ["ada", "ben", "ada", "ben", "nobody"],
            "score": [0.9, 0.9, 0.1, 0.1, 0.9],
            "as_of": [START, START, START + DAY, START + DAY + timedelta(microseconds=1), START],
        }
    )
    result = replay(late, log, scores={"churn": scores})
    assert result.entries["exit"].tolist() == ["low", "high", "low"]  # cyd has none
    assert set(result.visits.loc[result.visits["node"] == "ask", "evidence"]) == {"predicted"}


def test_a_score_may_be_a_function_of_contacts_and_instants() -> None:
    asked: list[tuple[object, datetime]] = []

    def churn(contacts: Sequence[object], instants: Sequence[datetime]) -> Sequence[float]:
        asked.extend(zip(contacts, instants, strict=True))
        return [0.9 if contact == "ada" else 0.1 for contact in contacts]

    log = log_of(event("signup", START), event("signup", START + HOUR, "ben"))
    result = replay(journey(ASK), log, scores={"churn": churn})
    assert result.entries["exit"].tolist() == ["high", "low"]
    assert sorted(asked, key=str) == [("ada", START), ("ben", START + HOUR)]


def test_calls_are_answered_for_each_contact_and_instant() -> None:
    nodes = {
        "tell": {"call": "crm", "next": "done", "failed": "gone"},
        "done": {"exit": "told"},
        "gone": {"exit": "not"},
    }
    log = log_of(event("signup", START), event("signup", START + HOUR, "ben"))
    fails_early: Callable[[object, datetime], bool] = lambda _contact, at: at > START  # noqa: E731
    result = replay(journey(nodes), log, calls={"crm": fails_early})
    assert result.entries["exit"].tolist() == ["not", "told"]
    assert "crm" not in notes(result)


def test_a_send_time_is_an_hour_of_the_local_week() -> None:
    best = journey({**HELLO, "hello": {**HELLO["hello"], "at": "best"}}, timezone="Europe/Warsaw")
    log = log_of(event("signup", START), event("signup", START, "ben"), event("later", START + 2 * DAY))
    times = pd.DataFrame({"contact": ["ada"], "hour_of_week": [24 + 8]})
    sends = replay(best, log, send_times=times).sends
    assert sends["decided_at"].tolist() == [datetime(2026, 3, 3, 7, tzinfo=UTC), START]


# Portfolios, releases, pauses


def test_a_policy_counts_the_sends_of_all_journeys() -> None:  # 18
    skip = {**HELLO, "hello": {**HELLO["hello"], "when_capped": "skip"}}
    both = [journey(skip, "a"), journey(skip, "b", priority=1)]
    policy = Policy.model_validate({"cap": {"sends": 1, "within": "1d"}})
    sends = replay(both, log_of(event("signup", START)), policy=policy).sends.set_index("journey")
    assert sends["is_sent"].to_dict() == {"a": False, "b": True}
    assert sends.loc["a", "reason"] == "policy_cap"


def test_an_entry_stays_on_its_version_and_numbering_goes_on() -> None:  # 26, 30
    again = {"event": "signup", "reentry": "always"}
    versions = [
        journey({"pause": {"wait": wait, "next": "done"}, "done": {"exit": "x"}}, trigger=again)
        for wait in ("1d", "2d")
    ]
    change = START + 2 * HOUR
    releases = [Release(journey=versions[0], until_at=change), Release(journey=versions[1], from_at=change)]
    log = log_of(event("signup", START), event("signup", change), event("later", START + 9 * DAY))
    entries = replay(releases, log).entries
    assert entries["entry"].tolist() == [1, 2]
    assert entries["version"].tolist() == [one.version for one in versions]
    assert entries["left_at"].tolist() == [START + DAY, change + 2 * DAY]


def test_a_pause_leaves_no_burst_of_expired_sends() -> None:  # 28
    waiting = {"pause": {"wait": "1d", "next": "hello"}, **HELLO}
    resumed_at = START + 4 * DAY
    release = Release(journey=journey(waiting), pauses=((START + 25 * HOUR, resumed_at),))
    log = log_of(
        *(event("signup", START + i * HOUR, f"contact-{i}") for i in range(4)), event("later", START + 9 * DAY)
    )
    result = replay([release], log)
    assert result.sends["decided_at"].tolist() == [START + DAY, resumed_at, resumed_at, resumed_at]
    assert result.sends["is_sent"].tolist() == [True, True, True, True]  # they arrive at the send at the resumption


# A release's own log


def with_own_sends(log: EventLog, result: Replay) -> EventLog:
    """The log as the release leaves it: its sends with their journey, entry, node, visit and actual instant."""
    own = comparable(result.sends[result.sends["is_sent"]]).rename(columns={"decided_at": "occurred_at"})
    sent = own[["contact", "occurred_at", "message", "journey", "entry", "node", "visit"]].assign(event="sent")
    events = log.events()
    return EventLog.read(pd.concat([events, sent], ignore_index=True), contacts=log.contacts(log.start_at))


def test_replaying_a_releases_own_log_reproduces_every_visit() -> None:  # 29
    portfolio = journeyfile.read(journey_file("shop_portfolio"))
    events = shop_log().events()
    log = EventLog.read(events[events["event"] != "sent"], contacts=shop_log().contacts(shop_log().start_at))
    result = replay(portfolio, log)
    again = replay(portfolio, with_own_sends(log, result), live=True, until=result.until)
    assert_same_visits(again.visits.drop(columns="evidence"), result.visits.drop(columns="evidence"))


def test_a_releases_own_send_answers_for_its_actual_instant() -> None:  # 20, 29
    nodes = {**HELLO, "hello": {**HELLO["hello"], "next": "pause"}, "pause": {"wait": "1d", "next": "done"}}
    late = START + 3 * HOUR
    own = event("sent", late, message="m1", journey="j", entry=1, node="hello", visit=1)
    result = replay(journey(nodes), log_of(event("signup", START), own, event("later", START + 2 * DAY)), live=True)
    assert result.sends["decided_at"].tolist() == [late]
    assert result.visits.set_index("node").loc["pause", "left_at"] == late + DAY


def test_a_live_log_must_say_which_node_its_sends_are_of() -> None:  # 29
    log = log_of(event("signup", START), event("sent", START, message="m1"))
    with pytest.raises(DataError, match="journey, entry, node, visit on its sent events; missing: journey, entry"):
        replay(journey(), log, live=True)


# Errors


def test_an_unknown_attribute_is_refused_with_the_nearest() -> None:
    asking = journey(
        {"ask": {"decide": [{"if": 'plann == "pro"', "go": "done"}], "else": "done"}, "done": {"exit": "x"}}
    )
    log = log_of(event("signup", START), contacts=[{"contact": "ada", "plan": "pro"}])
    with pytest.raises(DefinitionError, match=r"plann.*did you mean 'plan'"):
        replay(asking, log)


def test_a_horizon_without_a_time_zone_is_refused() -> None:
    for horizon in ("2026-03-05T09:00", datetime(2026, 3, 5, 9), "next week"):  # noqa: DTZ001
        with pytest.raises(DataError, match="horizon"):
            replay(journey(), log_of(event("signup", START)), until=horizon)


def test_a_score_that_was_not_given_is_refused() -> None:
    scores = {"chrun": pd.DataFrame({"contact": ["ada"], "score": [0.5]})}
    with pytest.raises(DataError, match="no score 'churn' was given; did you mean 'chrun'"):
        replay(journey(ASK), log_of(event("signup", START)), scores=scores)


@pytest.mark.parametrize(
    ("times", "fault"),
    [
        (pd.DataFrame({"contact": ["ada"], "hour": [3]}), "needs a column 'hour_of_week'"),
        (pd.DataFrame({"contact": ["ada"], "hour_of_week": [168]}), "from 0 to 167, got 168"),
        (pd.DataFrame({"contact": ["ada"], "hour_of_week": [1.5]}), "from 0 to 167, got 1.5"),
    ],
)
def test_send_times_that_are_no_hours_of_the_week_are_refused(times: pd.DataFrame, fault: str) -> None:
    with pytest.raises(DataError, match=fault):
        replay(journey(), log_of(event("signup", START)), send_times=times)


def test_nothing_to_replay_is_refused() -> None:
    with pytest.raises(DataError, match="no journey to replay"):
        replay([], log_of(event("signup", START)))


def test_what_a_part_emits_ends_an_entry_whatever_else_the_log_has_properties_of() -> None:
    """Properties that only conditions of streams read were not counted when emitted values were laid out."""
    at = pa.array([datetime(2026, 3, 1, tzinfo=UTC)] * 2, pa.timestamp("us", "UTC"))
    nothing = pa.nulls(2, pa.string())
    events = pa.table(
        {"contact": ["dee", "dee"], "event": ["consent_given", "signup"], "occurred_at": at, "bounce_type": nothing}
    )
    part = Journey(
        journey="care",
        trigger=Trigger(event="signup"),
        nodes={
            "tell": Emit(emit={"event": "visit", "with": {"amount": 1, "page": "home"}}, next="end"),
            "end": Exit(exit=""),
        },
    )
    journey = Journey(
        journey="welcome",
        trigger=Trigger(event="signup"),
        exit_when=[ExitWhen(event="visit", where='page == "home" or plan == "trial"')],
        nodes={
            "care": Run(run="care", next="letter"),
            "letter": Send(send="letter", next="done"),
            "done": Exit(exit="finished"),
        },
        parts={"care": part},
    )
    log = EventLog.read(events, contacts=pa.table({"contact": ["dee"], "plan": pa.nulls(1, pa.string())}))
    assert replay(journey, log).entries["exit"].tolist() == ["visit"]
