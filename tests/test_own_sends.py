"""A release's own sends and calls answer for themselves, and a canary takes the entries of a share (rules 26 to 30)."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pandas as pd
import pytest

from journeylab.eventlog import EventLog
from journeylab.journey import Journey
from journeylab.layout import REASONS
from journeylab.ownsends import OWN_EVENTS, own_of, reason_code
from journeylab.program import Release
from journeylab.replay import Replay, replay

START = datetime(2026, 3, 2, 9, tzinfo=UTC)  # a Monday
HOUR, DAY = timedelta(hours=1), timedelta(days=1)
HELLO = {
    "hello": {"send": "m1", "next": "pause", "skipped": "unsent"},
    "pause": {"wait": "1d", "next": "done"},
    "done": {"exit": "finished"},
    "unsent": {"exit": "unsent"},
}


def journey(nodes: dict[str, Any] = HELLO, name: str = "j", **more: Any) -> Journey:
    return Journey.from_data({"journey": name, "trigger": {"event": "signup"}, "nodes": nodes, **more})


def event(name: str, at: datetime, contact: str = "ada", /, **properties: Any) -> dict[str, Any]:
    return {"contact": contact, "event": name, "occurred_at": at, **properties}


def own(name: str, at: datetime, node: str = "hello", /, **more: Any) -> dict[str, Any]:
    return event(name, at, journey="j", entry=1, node=node, visit=1, **more)


def live(*events: dict[str, Any], of: Journey | None = None, until: datetime = START + 5 * DAY, **more: Any) -> Replay:
    rows = [event("signup", START), *events]
    releases = [Release(journey=of or journey(), pauses=more.pop("pauses", ()))]
    return replay(releases, EventLog.from_rows(rows), live=True, until=until, **more)


def left(result: Replay, node: str = "hello") -> tuple[datetime | None, str | None]:
    row = result.visits.set_index("node").loc[node]
    at = None if pd.isna(row["left_at"]) else row["left_at"].to_pydatetime()
    return at, row["branch"] if isinstance(row["branch"], str) else None


def test_a_send_of_which_nothing_is_known_holds_its_entry() -> None:  # 29
    assert left(live()) == (None, None)


def test_an_entry_leaves_while_its_send_is_waited_for() -> None:  # 14, 29
    result = live(event("bought", START + HOUR), of=journey(exit_when=[{"event": "bought"}]))
    assert left(result) == (START + HOUR, None)
    assert result.entries["exit"].tolist() == ["bought"]


def test_what_follows_counts_from_the_actual_instant_whenever_it_became_known() -> None:  # 20, 29
    result = live(own("sent", START + 9 * HOUR, message="m1", actual_at=(START + 2 * HOUR)))
    assert left(result) == (START + 2 * HOUR, "next")
    assert left(result, "pause") == (START + DAY + 2 * HOUR, "next")


@pytest.mark.parametrize("reason", ["failed", "rejected", "abandoned", "suppression", "stale:plan"])
def test_a_send_that_never_will_be_leaves_by_skipped(reason: str) -> None:  # 29
    result = live(own("not_sent", START + HOUR, reason=reason))
    assert left(result) == (START + HOUR, "skipped")
    assert result.sends[["is_sent", "reason"]].to_numpy().tolist() == [[False, reason.partition(":")[0]]]


def test_gates_are_asked_again_where_one_refused_after_all() -> None:  # 17, 29
    quiet = journey(quiet_hours={"from": "09:30", "to": "12:00"})
    held = live(own("postponed", START + HOUR), own("sent", START + 3 * HOUR, message="m1"), of=quiet)
    assert left(held) == (START + 3 * HOUR, "next")
    refused = live(
        event("consent_given", START - DAY, purpose="marketing"),
        event("bounced", START + HOUR),
        own("postponed", START + 2 * HOUR),
    )
    assert refused.sends["reason"].tolist() == ["suppression"]
    assert left(refused) == (START + 2 * HOUR, "skipped")


def test_asked_again_too_late_it_is_skipped() -> None:  # 19, 29
    short = {**HELLO, "hello": {**HELLO["hello"], "expires": "2h"}}
    late = live(own("postponed", START + 3 * HOUR), of=journey(short))
    assert (late.sends["reason"].tolist(), left(late)) == (["late"], (START + 3 * HOUR, "skipped"))
    paused = live(own("postponed", START + 3 * HOUR), of=journey(short), pauses=((START + HOUR, START + 2 * HOUR),))
    assert paused.sends["reason"].tolist() == ["pause"]


def test_an_open_pause_holds_without_an_end() -> None:  # 28
    result = live(of=journey({"wait": {"wait": "1h", "next": "done"}, "done": {"exit": "finished"}}),
                  pauses=((START + HOUR / 2, None),))  # fmt: skip
    assert left(result, "wait") == (None, None)


@pytest.mark.parametrize(("event_name", "more", "counts"), [
    ("sent", {"message": "m1"}, True), ("not_sent", {"reason": "rejected"}, True),
    ("not_sent", {"reason": "abandoned"}, True), ("not_sent", {"reason": "failed"}, False),
    ("not_sent", {"reason": "suppression"}, False), ("not_sent", {"reason": "stale:plan"}, False),
])  # fmt: skip
def test_what_a_relay_has_seen_counts_for_caps(event_name: str, more: dict[str, Any], counts: bool) -> None:  # 18, 29
    nodes = {
        "hello": {"send": "m1", "next": "again"},
        "again": {"send": "m2", "when_capped": "skip", "next": "done"},
        "done": {"exit": "finished"},
    }
    result = live(
        own(event_name, START, **more), own("sent", START + HOUR, "again", message="m2"),
        of=journey(nodes, cap={"sends": 1, "within": "2d"}), until=START,
    )  # fmt: skip
    waiting = live(own(event_name, START, **more), of=journey(nodes, cap={"sends": 1, "within": "2d"}))
    assert left(waiting, "again") == ((START, "skipped") if counts else (None, None))
    assert left(result, "again") == (None, None)  # its actual instant is still to come


def test_a_call_is_waited_for_and_answers_for_itself() -> None:  # 29
    nodes = {
        "crm": {"call": "crm", "next": "done", "failed": "unsent"},
        "done": {"exit": "finished"},
        "unsent": {"exit": "unsent"},
    }
    assert left(live(of=journey(nodes)), "crm") == (None, None)
    for succeeded, branch in ((True, "next"), (False, "failed")):
        result = live(own("called", START + HOUR, "crm", succeeded=succeeded), of=journey(nodes))
        assert left(result, "crm") == (START + HOUR, branch)


def test_what_a_log_says_of_its_own_sends_is_read_in_order() -> None:
    log = EventLog.from_rows(
        [
            own("sent", START, message="m1"),
            own("not_sent", START + HOUR, "other", reason="failed"),
            own("postponed", START + 2 * HOUR, "third"),
            event("sent", START, "bo", message="m9"),  # another system's
        ]
    )
    found = own_of(log)
    assert found["node"].tolist() == ["hello", "other", "third"]
    assert found["value"].tolist() == [0.0, float(reason_code("failed")), 0.0]
    assert len(own_of(EventLog.from_rows([event("visit", START)]))) == 0
    assert {REASONS[reason_code(one)] for one in ("failed", "rejected", "abandoned")} == {
        "failed", "rejected", "abandoned"
    }  # fmt: skip
    assert OWN_EVENTS == ("sent", "not_sent", "postponed", "called")


# Canaries (rule 26)


def canary(share: float, n: int = 400) -> Replay:
    old, new = journey(), journey({**HELLO, "pause": {"wait": "2d", "next": "done"}})
    at = START + DAY
    releases = [
        Release(journey=old, until_at=at),
        Release(journey=old, from_at=at, share=(share, 1.0), share_salt=new.version),
        Release(journey=new, from_at=at, share=(0.0, share), share_salt=new.version),
    ]
    rows = [event("signup", START + timedelta(hours=i), f"c{i % n}") for i in range(2 * n)]
    return replay(releases, EventLog.from_rows(rows))


def test_a_canary_and_the_former_release_share_all_contacts_between_them() -> None:
    entries = canary(0.25).entries
    before = entries[entries["entered_at"] < START + DAY]
    assert before["version"].nunique() == 1
    after = entries[entries["entered_at"] >= START + DAY]
    assert after["contact"].is_unique
    assert len(entries) == 400
    share = (after["version"].astype(str) != str(before["version"].iloc[0])).mean()
    assert 0.18 < share < 0.32


def test_contacts_of_a_canary_stay_in_it_when_it_grows() -> None:
    def of(share: float) -> set[str]:
        entries = canary(share).entries
        return {
            *entries[entries["version"] == journey({**HELLO, "pause": {"wait": "2d", "next": "done"}}).version][
                "contact"
            ]
        }

    small, large = of(0.1), of(0.5)
    assert small
    assert small < large
