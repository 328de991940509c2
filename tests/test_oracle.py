"""The oracle against cases worked by hand from docs/semantics.md; numbers in parentheses are its rules."""

from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings

from oracle import DAY, MICROSECOND, Result, arm_of, interpret, local_instant, siphash, uniform, unit_of
from strategies import World, worlds

START = datetime(2026, 3, 2, 9, tzinfo=UTC)  # a Monday
HOUR = timedelta(hours=1)
DONE = {"done": {"exit": "finished"}}
HELLO = {"hello": {"send": "m1", "next": "done"}, **DONE}
Row = dict[str, Any]


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def journey(nodes: Row, name: str = "j", event: str = "signup", trigger: Row | None = None, **more: Any) -> Row:
    return {"journey": name, "trigger": {"event": event, **(trigger or {})}, "nodes": nodes, **more}


def event(name: str, occurred_at: datetime, contact: str = "ada", /, **properties: Any) -> Row:
    return {"contact": contact, "event": name, "occurred_at": occurred_at, "properties": properties}


def steps(result: Result) -> list[tuple[Any, ...]]:
    """Node, branch and how long each visit took."""
    return [(v.node, v.branch, v.left_at - v.arrived_at if v.left_at else None) for v in result.visits]


def sent_at(result: Result) -> list[datetime | None]:
    return [send.sent_at for send in result.sends]


# Time


@pytest.mark.parametrize(
    ("zone", "day", "hours", "instant"),
    [
        ("Europe/Warsaw", date(2026, 3, 29), 2.5, "2026-03-29 01:00"),  # in the gap: the first instant after it
        ("Europe/Warsaw", date(2025, 10, 26), 2.5, "2025-10-26 00:30"),  # twice: the first
        ("America/Santiago", date(2025, 9, 7), 0, "2025-09-07 04:00"),  # midnight in the gap
        ("America/Santiago", date(2025, 4, 5), 24, "2025-04-06 04:00"),  # 23:00 comes twice before it
        ("Atlantic/Azores", date(2025, 3, 30), 0, "2025-03-30 01:00"),
        ("Atlantic/Azores", date(2025, 10, 26), 0, "2025-10-26 00:00"),
        ("Pacific/Auckland", date(2025, 9, 28), 2, "2025-09-27 14:00"),
    ],
)
def test_a_local_time_is_the_first_instant_that_shows_it_or_a_later_one(
    zone: str, day: date, hours: float, instant: str
) -> None:
    assert local_instant(day, hours * HOUR, zone) == at(instant)


@pytest.mark.parametrize(
    ("between", "arrived", "leaves"),
    [
        (["02:00", "03:00"], "2026-03-28 23:30", "2026-03-30 00:00"),  # swallowed whole on the 29th
        (["02:30", "03:30"], "2026-03-28 23:30", "2026-03-29 01:00"),  # what is left of it
        (["02:30", "03:30"], "2026-03-29 01:30", "2026-03-30 00:30"),  # the end is excluded
        (["02:30", "02:45"], "2025-10-26 01:30", "2025-10-27 01:30"),  # the second 02:30 is outside
        (["02:30", "03:00"], "2025-10-26 01:30", "2025-10-26 01:30"),  # the span lasts until the clock shows 03:00
        (["23:00", "01:00"], "2026-03-07 23:30", "2026-03-07 23:30"),  # the day after, but Saturday's window
    ],
)
def test_a_window_is_the_span_between_the_instants_of_its_start_and_its_end(
    between: list[str], arrived: str, leaves: str
) -> None:
    days = {"days": ["sat"]} if between[0] == "23:00" else {}
    nodes = {"pause": {"wait_until": {"between": between, **days}, "next": "done"}, **DONE}
    log = [event("signup", at(arrived)), event("visit", at(arrived) + 3 * DAY)]
    visit = interpret([journey(nodes, timezone="Europe/Warsaw")], log, []).visits[0]
    assert visit.left_at == at(leaves)


def test_quiet_hours_that_follow_on_one_another_hold_to_the_end_of_the_last() -> None:
    # On 29 March 02:00 does not exist, so the quiet hours that end then meet those that start at 03:00.
    quiet = {"from": "03:00", "to": "02:00"}
    log = [event("signup", at("2026-03-28 12:00")), event("visit", at("2026-04-02 00:00"))]
    spec = journey(HELLO, timezone="Europe/Warsaw", quiet_hours=quiet)
    assert sent_at(interpret([spec], log, [])) == [at("2026-03-30 00:00")]


def test_the_time_zone_is_the_contacts_as_of_the_instant() -> None:
    nodes = {"pause": {"wait_until": {"time": "12:00"}, "next": "again"}, "again": {"wait": "1h", "next": "noon"}}
    nodes |= {"noon": {"wait_until": {"time": "15:00"}, "next": "done"}, **DONE}
    log = [
        event("signup", START),
        event("attribute_changed", START + HOUR, name="timezone", value="Asia/Kolkata"),
        event("visit", START + 3 * DAY),
    ]
    contacts = [{"contact": "ada", "timezone": "Europe/Warsaw"}]
    left = [visit.left_at for visit in interpret([journey(nodes)], log, contacts).visits]
    # Noon was aimed at on arrival, in Warsaw; three in the afternoon is Kolkata's, of the day after.
    assert left[:3] == [at("2026-03-02 11:00"), at("2026-03-02 12:00"), at("2026-03-03 09:30")]


# Conditions


@pytest.mark.parametrize(
    ("condition", "holds"),
    [
        ("points != 1", False),  # missing
        ("points not in [1]", False),
        ("not (points == 1)", True),
        ("missing(points + 1) and missing(age / (age - 30))", True),
        ("vip or not vip", True),  # a missing flag is false
        ('count("visit", "2h") == 1 and count("visit") == 2', True),  # (t - 2h, t]
        ('sum("purchase.amount") == 0 and missing(mean("purchase.amount"))', True),
        ('since("visit") == "0s" and since_first("visit") == "2h"', True),
        ('missing(last("visit.page")) and min("visit.n") == 2', True),  # the last visit has neither
        ('did("visit", where="page == \'home\' and missing(age)")', True),  # age is no property
        ('weekday() == "mon" and local_hour() == 14 and weekday() in [0, "tue"]', True),
        ('born < "2000-01-01" and 20 < age <= 30', True),
        ('segment("warm") > 0.5 and segment("warm") < 0.74', True),  # the logistic of 1
        ('entry.plan == "trial" and missing(entry.page)', True),
        ('score("churn") > 0.1', False),
    ],
)
def test_conditions_see_what_rules_6_and_7_let_them(condition: str, holds: bool) -> None:
    nodes = {"ask": {"decide": [{"if": condition, "go": "yes_exit"}], "else": "done"}, "yes_exit": {"exit": "held"}}
    log = [
        event("visit", START - HOUR, page="home", n=2),
        event("signup", START - HOUR, plan="trial"),
        event("visit", START + HOUR),
        event("later", START + HOUR + MICROSECOND),
    ]
    contacts = [{"contact": "ada", "attributes": {"age": 30, "born": date(1995, 5, 5)}, "timezone": "Asia/Dubai"}]
    spec = journey({"pause": {"wait": "2h", "next": "ask"}, **nodes, **DONE})
    segments = {
        "warm": {"weights": [{"when": "age == 30", "weight": 3}, {"when": "points > 0", "weight": 9}], "bias": -2}
    }
    result = interpret([spec], log, contacts, segments=segments)
    assert result.entries[0].exit == ("held" if holds else "finished")


def test_a_bare_name_in_where_is_the_events_property_else_the_attribute() -> None:
    spec = journey(DONE, trigger={"where": 'plan == "trial"', "reentry": "always"})
    log = [
        event("signup", START, plan="pro"),
        event("signup", START + HOUR),
        event("attribute_changed", START + 2 * HOUR, name="plan", value="pro"),
        event("signup", START + 2 * HOUR),
        event("signup", START + 3 * HOUR, plan="trial"),
    ]
    contacts = [{"contact": "ada", "attributes": {"plan": "trial"}}]
    entered = [entry.entered_at for entry in interpret([spec], log, contacts).entries]
    assert entered == [START + HOUR, START + 3 * HOUR]


def test_set_follows_the_log_at_its_instant_and_yields_to_later_changes() -> None:
    ask = {"decide": [{"if": 'plan == "vip"', "go": "vip"}], "else": "done"}
    nodes = {"make": {"set": {"plan": "vip"}, "next": "first"}, "first": {**ask, "else": "gone"}, **DONE}
    nodes |= {"gone": {"exit": "lost"}, "vip": {"wait": "1h", "next": "second"}, "second": {**ask, "else": "done"}}
    changed = {"name": "plan", "value": "pro"}
    log = [event("signup", START), event("attribute_changed", START, **changed)]
    log.append(event("attribute_changed", START + HOUR, **changed))
    assert [v.node for v in interpret([journey(nodes)], log, []).visits] == ["make", "first", "vip", "second", "done"]


# Waiting


@pytest.mark.parametrize(
    ("offset", "branch"), [(timedelta(0), "else"), (MICROSECOND, "then"), (DAY, "then"), (DAY + MICROSECOND, "else")]
)
def test_an_awaited_event_is_later_than_the_arrival_and_no_later_than_the_deadline(
    offset: timedelta, branch: str
) -> None:
    nodes = {"look": {"wait_for": "visit", "within": "1d", "then": "done", "else": "done"}, **DONE}
    log = [event("signup", START), event("visit", START + offset), event("end", START + 2 * DAY)]
    visit = interpret([journey(nodes)], log, []).visits[0]
    assert (visit.branch, visit.left_at) == (branch, START + (offset if branch == "then" else DAY))


@pytest.mark.parametrize(
    ("since", "branch", "took"), [(None, "else", DAY), ("entry", "then", 0 * DAY), ("pause", "else", DAY)]
)
def test_since_opens_the_window_earlier_and_passes_at_once(since: str | None, branch: str, took: timedelta) -> None:
    # The visit is after the entry and before the arrival at the second pause, which is the last one.
    nodes = {
        "first": {"wait": "2h", "next": "pause"},
        "pause": {"wait": "1h", "next": "look"},
        "look": {"wait_for": "visit", "within": "1d", "then": "done", "else": "done"}
        | ({"since": since} if since else {}),
    }
    log = [event("visit", START), event("signup", START), event("visit", START + HOUR), event("end", START + 3 * DAY)]
    visit = interpret([journey({**nodes, **DONE})], log, []).visits[2]
    assert (visit.node, visit.branch, visit.left_at) == ("look", branch, visit.arrived_at + took)


def test_an_open_during_an_earlier_wait_is_not_lost_and_one_before_the_send_is_not_counted() -> None:
    nodes = {
        "hello": {"send": "m1", "next": "pause"},
        "pause": {"wait": "3h", "next": "read"},
        "read": {"wait_for": "opened(hello)", "within": "1d", "then": "done", "else": "done"},
    }
    spec = journey({**nodes, **DONE})
    before, during = event("opened", START, message="m1"), event("opened", START + HOUR, message="m1")
    signup, end = event("signup", START), event("end", START + 3 * DAY)
    assert steps(interpret([spec], [signup, before, during, end], []))[2] == ("read", "then", 0 * DAY)
    assert steps(interpret([spec], [signup, before, end], []))[2] == ("read", "else", DAY)


@pytest.mark.parametrize(("visit_after", "goes"), [(2 * HOUR, "bought"), (HOUR, "visited")])
def test_the_earliest_awaited_wins_and_of_one_instant_the_one_listed_first(visit_after: timedelta, goes: str) -> None:
    awaited = [{"await": "purchase", "go": "bought"}, {"await": "event('visit', where='not bot')", "go": "visited"}]
    nodes = {"look": {"wait_for": awaited, "within": "1d", "else": "bought"}}
    nodes |= {"bought": {"exit": "bought"}, "visited": {"exit": "visited"}}
    log = [event("signup", START), event("visit", START + timedelta(minutes=5), bot=True)]
    log += [event("visit", START + visit_after), event("purchase", START + 2 * HOUR)]
    assert interpret([journey(nodes)], log, []).visits[0].branch == goes


def test_a_wait_for_a_date_that_is_missing_takes_else_and_one_that_has_passed_goes_on() -> None:
    until = {"date": "renewal", "offset": "-1d", "time": "09:00"}
    nodes = {"pause": {"wait_until": until, "next": "done", "else": "gone"}, **DONE, "gone": {"exit": "dateless"}}
    log = [event("signup", START, name) for name in ("ada", "ben", "cyd")] + [event("end", START + 9 * DAY)]
    dates = {"ada": date(2026, 3, 5), "ben": date(2026, 3, 3), "cyd": None}
    contacts = [{"contact": name, "attributes": {"renewal": day}} for name, day in dates.items()]
    left = [(v.left_at, v.branch) for v in interpret([journey(nodes)], log, contacts).visits if v.node == "pause"]
    assert left == [(at("2026-03-04 09:00"), "next"), (START, "next"), (START, "else")]


# Entering and leaving


@pytest.mark.parametrize(
    ("reentry", "days"), [("never", [0]), ("always", [0, 1, 2, 3]), ("after_exit", [0, 2]), ("3d", [0, 3])]
)
def test_reentry_is_allowed_by_rule_12(reentry: str, days: list[int]) -> None:
    spec = journey({"pause": {"wait": "36h", "next": "done"}, **DONE}, trigger={"reentry": reentry})
    log = [event("signup", START + n * DAY) for n in range(4)]
    assert [entry.entered_at for entry in interpret([spec], log, []).entries] == [START + n * DAY for n in days]


def test_an_event_that_ends_one_entry_begins_the_next_and_stops_what_was_due_with_it() -> None:
    nodes = {"pause": {"wait": "1d", "next": "hello"}, **HELLO}
    spec = journey(nodes, trigger={"reentry": "after_exit"}, exit_when=[{"event": "signup", "goal": True}])
    log = [event("signup", START), event("signup", START + DAY)]
    result = interpret([spec], log, [])
    assert [(e.exit, e.converted, e.left_at) for e in result.entries] == [
        ("goal:signup", True, START + DAY),
        (None, False, None),
    ]
    assert [(v.node, v.branch) for v in result.visits] == [("pause", None), ("pause", None)]
    assert result.sends == []


def test_only_what_follows_the_trigger_in_the_contacts_order_ends_the_entry() -> None:
    spec = journey({"pause": {"wait": "1d", "next": "done"}, **DONE}, exit_when=[{"event": "purchase"}])
    before, after = (
        [event("purchase", START), event("signup", START)],
        [event("signup", START), event("purchase", START)],
    )
    assert interpret([spec], before, []).entries[0].exit is None
    assert interpret([spec], after, []).entries[0].left_at == START


def test_consent_is_the_latest_word_on_the_purpose_and_assumed_where_the_log_has_none() -> None:
    spec = journey(DONE, trigger={"reentry": "always"})
    signups = [event("signup", START + n * DAY) for n in range(4)]
    words = [
        event("consent_given", START + DAY, purpose="marketing"),
        event("consent_withdrawn", START + 2 * DAY, purpose="news"),
        event("consent_withdrawn", START + 3 * DAY),
    ]

    def entered(log: list[Row]) -> list[datetime]:
        return [entry.entered_at for entry in interpret([spec], log, []).entries]

    assert entered([*signups, *words]) == [START + DAY, START + 2 * DAY]
    assert entered([*signups, words[1]]) == [one["occurred_at"] for one in signups]
    assert entered([*signups, event("erased", START + DAY)]) == [START]


def test_a_weekly_segment_takes_the_contacts_that_exist_on_mondays() -> None:
    spec = journey(DONE) | {"trigger": {"segment": "all_of_them", "every": "1w", "reentry": "always"}}
    log = [event("visit", START), event("visit", START + 8 * DAY, "ben"), event("end", START + 14 * DAY)]
    result = interpret([spec], log, [{"contact": "cyd"}], segments={"all_of_them": 'not did("purchase")'})
    mondays = [at("2026-03-09 00:00"), at("2026-03-16 00:00")]
    assert [(e.contact, e.entered_at) for e in result.entries] == [
        ("ada", mondays[0]),
        ("ada", mondays[1]),
        ("ben", mondays[1]),
        ("cyd", mondays[0]),
        ("cyd", mondays[1]),
    ]


def test_a_date_trigger_takes_the_date_that_the_attribute_has_then() -> None:
    spec = journey(DONE) | {"trigger": {"date": "renewal", "offset": "-1d", "reentry": "always"}}
    log = [
        event("visit", START),
        event("attribute_changed", at("2026-03-05 12:00"), name="renewal", value="2026-03-10"),
        event("attribute_changed", at("2026-03-09 12:00"), name="renewal", value="2026-03-08"),
        event("end", at("2026-03-20 00:00")),
    ]
    contacts = [{"contact": "ada", "attributes": {"renewal": date(2026, 3, 7)}}]
    assert [e.entered_at for e in interpret([spec], log, contacts).entries] == [at("2026-03-09 00:00")]


# Sending


@pytest.mark.parametrize(
    ("pause", "sent_after"),
    [("1d", DAY), ("23h59m59s999999us", DAY), ("1d1us", DAY + MICROSECOND)],
)
def test_a_cap_counts_the_sends_after_t_minus_within(pause: str, sent_after: timedelta) -> None:
    nodes = {"hello": {"send": "m1", "next": "pause"}, "pause": {"wait": pause, "next": "again"}}
    spec = journey({**nodes, "again": {"send": "m2", "next": "done"}, **DONE}, cap={"sends": 1, "within": "1d"})
    log = [event("signup", START), event("end", START + 4 * DAY)]
    assert sent_at(interpret([spec], log, [])) == [START, START + sent_after]


@pytest.mark.parametrize(("expires", "sent"), [("5h", True), ("4h59m59s", False)])
def test_a_send_is_skipped_at_the_asking_when_a_gate_answers_later_than_its_expiry(expires: str, sent: bool) -> None:
    nodes = {"hello": {"send": "m1", "next": "done", "skipped": "gone", "expires": expires}, "gone": {"exit": "late"}}
    spec = journey({**nodes, **DONE}, quiet_hours={"from": "08:00", "to": "14:00"})
    (send,) = interpret([spec], [event("signup", START), event("end", START + DAY)], []).sends
    assert (send.sent_at, send.reason) == ((START + 5 * HOUR, None) if sent else (None, "quiet_hours"))


def test_a_policy_counts_the_sends_of_all_journeys_and_the_higher_priority_sends_first() -> None:
    low = journey({"hello": {"send": "m1", "next": "done", "when_capped": "skip"}, **DONE}, "a_low")
    high = journey(HELLO, "z_high", priority=1)
    result = interpret([low, high], [event("signup", START)], [], policy={"cap": {"sends": 1, "within": "1d"}})
    assert [(s.journey, s.sent_at, s.reason) for s in result.sends] == [
        ("a_low", None, "policy_cap"),
        ("z_high", START, None),
    ]


@pytest.mark.parametrize(("bounce_type", "reason"), [("soft", None), ("hard", "suppression"), (None, "suppression")])
def test_a_bounce_that_is_not_soft_suppresses(bounce_type: str | None, reason: str | None) -> None:
    log = [event("bounced", START, message="m9", bounce_type=bounce_type), event("signup", START)]
    assert [send.reason for send in interpret([journey(HELLO)], log, []).sends] == [reason]


def test_a_pause_ends_waits_at_the_resumption_and_skips_what_has_expired() -> None:
    nodes = {"pause": {"wait": "1d", "next": "hello"}, "hello": {"send": "m1", "next": "done", "expires": "1h"}, **DONE}
    spec = journey({**nodes, "hello": {**nodes["hello"], "at": {"between": ["10:00", "11:00"]}}})
    log = [event("signup", START), event("signup", START + 3 * DAY, "ben"), event("end", START + 5 * DAY)]
    resumed_at = START + 4 * DAY
    early = interpret([spec], log, [], pauses={"j": [(START + HOUR, resumed_at)]})
    assert [(v.contact, v.node, v.left_at) for v in early.visits[:2]] == [
        ("ada", "pause", resumed_at),
        ("ada", "hello", resumed_at + HOUR),
    ]
    late = interpret([spec], log, [], pauses={"j": [(START + DAY + HOUR, resumed_at + HOUR)]})
    assert [(s.contact, s.sent_at, s.reason) for s in late.sends] == [("ada", None, "pause")]


# The graph


def test_a_part_runs_under_the_name_of_its_node_and_its_exit_goes_on() -> None:
    ask = {"decide": [{"if": "sent(n)", "go": "end"}], "else": "lost"}
    inner = {"n": {"send": "m1", "next": "read"}, "read": ask, "end": {"exit": "cared"}, "lost": {"exit": "lost"}}
    parts = {"care": journey(inner, "care")}
    nodes: Row = {"vip": {"run": "care", "next": "ask"}, **DONE, "gone": {"exit": "gone"}}
    nodes["ask"] = {"decide": [{"if": "sent(vip.n)", "go": "done"}], "else": "gone"}
    result = interpret([journey(nodes)], [event("signup", START)], [], parts=parts)
    assert [(v.node, v.branch) for v in result.visits] == [
        ("vip", "next"),
        ("vip.n", "next"),
        ("vip.read", "vip.end"),
        ("vip.end", None),
        ("ask", "done"),
        ("done", None),
    ]
    assert result.entries[0].exit == "finished"


def test_the_arrival_that_would_be_one_too_many_ends_the_entry_and_is_no_visit() -> None:
    spec = journey({"pause": {"wait": "1h", "next": "pause"}}, max_visits=2)
    result = interpret([spec], [event("signup", START), event("end", START + DAY)], [])
    assert steps(result) == [("pause", "next", HOUR), ("pause", "next", HOUR)]
    assert (result.entries[0].exit, result.entries[0].left_at) == ("max_visits", START + 2 * HOUR)


def test_an_emitted_event_is_looked_at_before_the_next_step() -> None:
    first = journey({"tell": {"emit": {"event": "ping", "with": {"n": 1}}, "next": "hello"}, **HELLO}, "first")
    first["exit_when"] = [{"event": "ping", "where": "n == 1"}]
    second = journey(DONE, "second", "ping", trigger={"where": "n == 1"})
    result = interpret([first, second], [event("signup", START)], [])
    assert [(e.journey, e.exit) for e in result.entries] == [("first", "ping"), ("second", "finished")]
    assert [(v.node, v.branch) for v in result.visits if v.journey == "first"] == [("tell", "next"), ("hello", None)]


def test_siphash_gives_the_value_of_its_authors_test_vector() -> None:
    assert siphash(bytes(range(16)), bytes(range(15))) == 0xA129CA6149BE45E5


def test_a_raised_share_loses_nobody_and_wins_only_as_many_as_the_raise_demands() -> None:
    units = [unit_of(f"contact-{n}") for n in range(4000)]
    before = [arm_of(unit, "j/test", {"a": "20%", "b": "40%", "c": 0.4}) for unit in units]
    after = [arm_of(unit, "j/test", {"a": 0.4, "b": 0.3, "c": "30%"}) for unit in units]
    moves = {(x, y) for x, y in zip(before, after, strict=True) if x != y}
    assert moves == {("b", "a"), ("c", "a")}
    # Four standard deviations of a share among 4000 are 0.025 for 20% and 0.031 for 40%.
    assert abs(before.count("a") / len(units) - 0.2) < 0.025
    assert abs(after.count("a") / len(units) - 0.4) < 0.031


def test_arms_stay_at_reentry_unless_they_are_drawn_per_entry() -> None:
    def arms(per: str) -> set[str]:
        nodes = {"test": {"split": {"a": "50%", "b": "50%"}, "per": per}, "a": {"exit": "a"}, "b": {"exit": "b"}}
        spec = journey(nodes, trigger={"reentry": "always"})
        log = [event("signup", START + n * HOUR) for n in range(20)]
        return {str(entry.exit) for entry in interpret([spec], log, []).entries}

    assert len(arms("contact")) == 1
    assert len(arms("entry")) == 2


def test_a_holdout_advances_and_is_sent_nothing() -> None:
    contacts = [f"contact-{n}" for n in range(40)]
    log = [event("signup", START, contact) for contact in contacts]
    result = interpret([journey(HELLO, holdout="50%")], log, [])
    held_out = {contact for contact in contacts if uniform(unit_of(contact), "j/holdout") < 0.5}
    assert 0 < len(held_out) < 40
    assert {entry.contact for entry in result.entries if entry.held_out} == held_out
    assert {send.contact for send in result.sends if send.reason == "holdout"} == held_out
    assert all(entry.exit == "finished" for entry in result.entries)


# What is known


@pytest.mark.parametrize(
    ("logged", "expected"),
    [
        ([], ["assumed", "assumed", "assumed", "observed"]),
        ([event("sent", START - DAY, message="m1")], ["observed"] * 4),  # within `match`, on either side
        ([event("sent", START - DAY - MICROSECOND, message="m1")], ["assumed", "assumed", "assumed", "observed"]),
        ([event("sent", START, message="m2")], ["assumed", "assumed", "assumed", "observed"]),
        ([event("opened", START + HOUR, message="m1")], ["assumed", "observed", "observed", "observed"]),
    ],
)
def test_outcomes_that_rest_on_the_silence_of_a_message_the_log_does_not_have_are_assumed(
    logged: list[Row], expected: list[str]
) -> None:
    nodes = {
        "hello": {"send": "m1", "next": "read"},
        "read": {"wait_for": "opened(hello)", "within": "2h", "then": "ask", "else": "ask"},
        "ask": {"decide": [{"if": "opened(hello)", "go": "done"}], "else": "done"},
    }
    log = [*logged, event("signup", START), event("end", START + 2 * DAY)]
    assert [visit.evidence for visit in interpret([journey({**nodes, **DONE})], log, []).visits] == expected


def test_scores_make_a_decision_predicted_and_calls_are_assumed() -> None:
    clauses = [{"if": 'count("visit") > 5 and score("churn") > 0.5', "go": "done"}]
    nodes: Row = {"ask": {"decide": clauses, "else": "tell"}, "tell": {"call": "crm", "next": "done", "failed": "gone"}}
    spec = journey({**nodes, **DONE, "gone": {"exit": "unreached"}})
    result = interpret([spec], [event("signup", START)], [], scores={"churn": {}}, calls={"crm": lambda *_: False})
    assert [(v.node, v.branch, v.evidence) for v in result.visits] == [
        ("ask", "tell", "predicted"),
        ("tell", "failed", "assumed"),
        ("gone", None, "observed"),
    ]


def test_what_ends_after_the_logs_end_or_is_open_is_assumed() -> None:
    spec = journey({"pause": {"wait": "1d", "next": "long"}, "long": {"wait": "9d", "next": "done"}, **DONE})
    log = [event("signup", START)]
    assert [(v.left_at, v.evidence) for v in interpret([spec], log, []).visits] == [(None, "observed")]
    later = interpret([spec], log, [], until=START + DAY).visits
    assert [(v.left_at, v.evidence) for v in later] == [(START + DAY, "assumed"), (None, "assumed")]


def test_the_best_time_is_an_hour_of_the_local_week_and_any_time_without_a_model() -> None:
    spec = journey({"hello": {"send": "m1", "at": "best", "expires": "7d", "next": "done"}, **DONE})
    log = [event("signup", START, name) for name in ("ada", "ben")] + [event("end", START + 8 * DAY)]
    log.append(event("sent", START, "ben", message="m1"))
    contacts = [{"contact": name, "timezone": "Europe/Warsaw"} for name in ("ada", "ben")]
    tuesday_at_23 = 24 + 23
    result = interpret([spec], log, contacts, best={"best": {"ada": {tuesday_at_23: 1.0}}})
    assert sent_at(result) == [at("2026-03-03 22:00"), START]
    assert [v.evidence for v in result.visits if v.node == "hello"] == ["assumed", "assumed"]


@given(worlds())
@settings(max_examples=50)
def test_every_world_is_replayed_in_order_and_within_its_horizon(world: World) -> None:
    result = interpret(**world.inputs())
    order = [(v.contact, v.entry, v.arrived_at, v.journey) for v in result.visits]
    assert order == sorted(order)
    horizon = world.until or max((row["occurred_at"] for row in world.events), default=START)
    assert all(v.arrived_at <= (v.left_at or horizon) <= horizon for v in result.visits)
    assert len({(v.contact, v.journey, v.entry, v.node, v.visit) for v in result.visits}) == len(result.visits)
