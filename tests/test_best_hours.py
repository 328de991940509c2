"""`at: best` (rule 17): machine and oracle on many worlds, what chance does, and what send times may be given."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace as changed
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from hypothesis.strategies import DrawFn, composite
from scipy.stats import chi2

from journeylab.advice import ranked
from journeylab.errors import DataError
from journeylab.eventlog import EventLog
from journeylab.journey import Best, Exit, Journey, Send, Trigger
from journeylab.replay import Replay, replay
from journeylab.sendtimes import WEEK, SendTimes
from strategies import CHANGES, CONTACTS, DAYS, Around, Chooser, World, best, hour_scores, numbers, send_times, window
from test_properties import SLOW, agree
from worlds import log_of, replay_of, sends_of, visits_of

MONDAY = datetime(2026, 3, 2, tzinfo=UTC)
HOUR, DAY = timedelta(hours=1), timedelta(days=1)


def some(n: int) -> Any:
    return settings(max_examples=n, deadline=None, suppress_health_check=SLOW)


# Against the oracle -------------------------------------------------------------------------------------------------


@composite
def sending_worlds(draw: DrawFn) -> World:
    """One journey of sends at the best hour, entered now and again around a change of clocks; nothing else happens."""
    choose = Chooser(draw, Around(*CHANGES[draw(numbers(len(CHANGES)))]))
    names = CONTACTS[: 1 + choose.at_most(2)]

    def send(message: str, following: str) -> dict[str, Any]:
        node = choose.with_some(
            {"send": message, "next": following}, expires=("1d", "5d", "9d", "6h"), when_capped=("skip",)
        )
        terms = best(choose, node.get("expires", "2d"))
        if terms != "best" and choose.flag():
            terms["explore"] = choose.one(("100%", "50%"))
        return {**node, "at": terms}

    nodes = {"n0": send("m1", "n1"), "n1": {"wait": choose.one(("1h", "1d")), "next": "n2"}, "n2": send("m2", "done")}
    journey = choose.with_some(
        {"journey": "probe", "trigger": {"event": "signup", "reentry": "always"}},
        timezone=choose.around.zones,
        quiet_hours=lambda: dict(zip(("from", "to"), window(choose)["between"], strict=True)),
        cap=lambda: {"sends": 1, "within": choose.one(("6h", "1d", "3d"))},
    )
    events = [{"contact": name, "event": "signup", "occurred_at": choose.instant(8), "properties": {}}
              for name in names for _ in range(1 + choose.at_most(4))]  # fmt: skip
    for name in names:
        if choose.flag():
            moves = {"name": "timezone", "value": choose.one(choose.around.zones)}
            events.append(
                {"contact": name, "event": "attribute_changed", "occurred_at": choose.instant(9), "properties": moves}
            )
    known = send_times(choose, names)
    if choose.flag():
        known["opens"] |= {name: hour_scores(choose) for name in (*names, None)}
    pauses = {}
    if choose.one((False, False, True)):
        start = choose.instant(6)
        pauses["probe"] = [(start, start + choose.one((HOUR, DAY, 3 * DAY)))]
    return World(
        journeys=[{**journey, "nodes": {**nodes, "done": {"exit": "finished"}}}],
        events=events,
        contacts=[{"contact": name, "attributes": {}, "timezone": choose.one((None, *choose.around.zones))}
                  for name in names],
        until=choose.around.start_at + 24 * DAY,
        best=known,
        pauses=pauses,
    )  # fmt: skip


@some(40)
@given(sending_worlds())
def test_the_machine_sends_when_the_oracle_does(world: World) -> None:
    agree(world)


@pytest.mark.nightly
@some(3000)
@given(sending_worlds())
def test_the_machine_sends_when_the_oracle_does_in_many_worlds(world: World) -> None:
    agree(world)


@some(30)
@given(sending_worlds(), st.integers(1, 500))
def test_exploring_keeps_advancing_in_two_steps_equal_to_advancing_at_once(world: World, hours: int) -> None:
    log, until = log_of(world), world.until
    assert until is not None
    two_steps = replay_of(world, log, until=until - hours * HOUR).advance(until)
    assert visits_of(two_steps) == visits_of(replay_of(world, log, until=until))
    assert sends_of(two_steps) == sends_of(replay_of(world, log, until=until))


@some(30)
@given(sending_worlds(), st.sampled_from(["0%", "20%", "100%"]))
def test_another_share_changes_nothing_but_the_sends_that_are_explored(world: World, explore: str) -> None:
    """Of the first node; without a cap, by which a send changes later ones, and a pause, in which it may end."""
    assume("cap" not in world.journeys[0] and not world.pauses)

    def first_sends(share: str) -> dict[Any, Any]:
        journey = world.journeys[0]
        node = journey["nodes"]["n0"]
        terms = {"best": "best"} if node["at"] == "best" else node["at"]
        node = {**node, "at": {**terms, "explore": share}}
        one = changed(world, journeys=[{**journey, "nodes": {**journey["nodes"], "n0": node}}])
        return {row[:5]: row for row in sends_of(replay_of(one)) if row[3] == "n0"}

    without, explored = first_sends("0%"), first_sends(explore)
    assert without.keys() == explored.keys()
    assert [key for key in without if explored[key] != without[key] and explored[key][8] != "explored"] == []


# Chance -------------------------------------------------------------------------------------------------------------


def journey(at: Any, **more: Any) -> Journey:
    trigger = Trigger(event="signup", reentry="always")
    nodes = {"hello": Send(send="m1", at=at, next="done", **more), "done": Exit(exit="finished")}
    return Journey(journey="probe", trigger=trigger, nodes=nodes)


def signups(n_contacts: int, n_each: int = 1, *, at: datetime = MONDAY) -> EventLog:
    rows = [
        {"contact": f"c{i}", "event": "signup", "occurred_at": at + k * HOUR}
        for i in range(n_contacts)
        for k in range(n_each)
    ]
    return EventLog.from_rows([*rows, {"contact": "c0", "event": "end", "occurred_at": at + 9 * DAY}])


def of_everyone(scores: Any, **more: Any) -> SendTimes:
    """Send times that know nobody and have one fallback."""
    nobody = np.empty(0, np.int32)
    table = np.asarray(scores, np.float32).reshape(1, WEEK)
    return SendTimes(pa.array([], pa.string()), nobody, table, 0, nobody.astype(np.int8),
                     np.empty((0, 3), np.float32), more)  # fmt: skip


def test_as_many_visits_are_explored_as_the_share_says_and_evenly_over_a_contacts_sends() -> None:
    n_contacts, n_each, share = 2000, 12, 0.25
    result = replay(journey({"best": "opens", "explore": "25%"}), signups(n_contacts, n_each), send_times=of_everyone(
        np.arange(WEEK)))  # fmt: skip
    explored = result.sends.assign(is_explored=result.sends["advice"] == "explored")
    assert set(result.sends["advice"]) == {"explored", "fallback"}
    by_contact = explored.groupby("contact")["is_explored"].sum()
    assert set(by_contact) == {int(n_each * share)}  # every fourth, whichever comes first
    by_entry = explored.groupby("entry")["is_explored"].mean()
    # Four standard deviations of a share of a quarter among 2000.
    assert by_entry.between(share - 4 * math.sqrt(share * (1 - share) / n_contacts), 0.29).all()


def test_every_candidate_is_taken_as_often_as_any_other() -> None:
    n = 6000
    scores = np.full(WEEK, np.nan)
    scores[[1, 2, 5, 9, 20, 25, 26, 30]] = range(8)
    at = {"best": "opens", "days": ["mon", "tue"], "within": "28h", "explore": "100%"}
    sends = replay(journey(at), signups(n), send_times=of_everyone(scores)).sends
    hours = ((sends["decided_at"] - MONDAY) / HOUR).astype(int)
    counts = hours.value_counts()
    assert sorted(counts.index) == [1, 2, 5, 9, 20, 25, 26]
    assert set(sends["slots"]) == {f"{sum(1 << hour for hour in counts.index):042x}"}
    assert np.allclose(sends["slot_propensity"], 1 / 7)
    statistic = float(((counts - n / 7) ** 2 / (n / 7)).sum())
    assert statistic < chi2.ppf(0.999, 6)


def test_the_draws_of_a_contacts_visits_are_independent_of_each_other_and_of_who_is_explored() -> None:
    n, at = 3000, {"best": "opens", "within": "1h", "explore": "50%"}
    scores = np.zeros(WEEK)
    sends = replay(journey(at), signups(n, 3), send_times=of_everyone(scores)).sends
    sends = sends[sends["advice"] == "explored"]
    took_later = (sends["decided_at"] - MONDAY) / HOUR - (sends["entry"] - 1) == 1
    first, third = (took_later[sends["entry"] == k].set_axis(sends.loc[sends["entry"] == k, "contact"]) for k in (1, 3))
    both = pd.concat({"first": first, "third": third}, axis=1, join="inner")
    table = both.value_counts().to_numpy()
    assert len(both) > 1300
    assert len(table) == 4
    assert float(((table - len(both) / 4) ** 2 / (len(both) / 4)).sum()) < chi2.ppf(0.999, 3)


def test_an_hour_of_the_week_that_comes_twice_within_a_week_is_one_candidate() -> None:
    at = {"best": "opens", "explore": "100%"}
    log = signups(400, at=MONDAY + HOUR / 2)
    sends = replay(journey(at, expires="8d"), log, send_times=of_everyone(np.ones(WEEK))).sends
    assert set(sends["slots"]) == {"f" * 42}
    assert (sends["slot_propensity"] == 1 / WEEK).all()
    assert sends["decided_at"].max() == MONDAY + 167 * HOUR


def test_an_explored_send_that_a_pause_moves_out_of_its_hour_has_no_probability() -> None:
    from journeylab.program import Release

    at = {"best": "opens", "within": "2h", "explore": "100%"}
    paused = Release(journey=journey(at), pauses=((MONDAY + HOUR / 2, MONDAY + 5 * HOUR),))
    sends = replay([paused], signups(50), send_times=of_everyone(np.ones(WEEK))).sends
    late = sends["decided_at"] == MONDAY + 5 * HOUR
    assert set(sends["advice"]) == {"explored"}
    assert 0 < late.sum() < len(sends)
    assert sends.loc[late, "slot_propensity"].isna().all()
    assert (sends.loc[~late, "slot_propensity"] == 1 / 3).all()
    assert set(sends["slots"]) == {f"{0b111:042x}"}


# What is given ------------------------------------------------------------------------------------------------------


def sent_at(result: Replay) -> list[datetime]:
    return [at.to_pydatetime() for at in result.sends["decided_at"]]


FORMS: dict[str, Callable[[pd.DataFrame, Path], Any]] = {
    "a table": lambda table, _: table,
    "send times": lambda table, _: SendTimes.of_hours(table),
    "their file": lambda table, folder: _written(table, folder / "times.parquet"),
    "a table's file": lambda table, folder: _saved(table, folder / "hours.csv"),
    "names": lambda table, _: {"opens": table, "other": of_everyone(np.ones(WEEK))},
}


def _written(table: pd.DataFrame, path: Path) -> str:
    SendTimes.of_hours(table).write(path)
    return str(path)


def _saved(table: pd.DataFrame, path: Path) -> Path:
    table.to_csv(path, index=False)
    return path


@pytest.mark.parametrize("form", FORMS)
def test_send_times_are_given_in_any_form(form: str, tmp_path: Path) -> None:
    table = pd.DataFrame({"contact": ["c0", "c1"], "hour_of_week": [9, 33]})
    log = signups(3)
    result = replay(journey({"best": "opens", "explore": "100%"}), log, send_times=FORMS[form](table, tmp_path))
    assert sent_at(result) == [MONDAY + 9 * HOUR, MONDAY + 33 * HOUR, MONDAY]
    sends = result.sends
    assert sends["advice"].fillna("-").tolist() == ["known", "known", "-"]
    version = SendTimes.of_hours(table).version
    assert sends["send_times"].fillna("-").tolist() == [version, version, "-"]
    assert sends[["slots", "slot_propensity"]].isna().all().all()


def test_each_node_asks_the_send_times_of_its_name() -> None:
    early, late = np.zeros(WEEK), np.zeros(WEEK)
    early[3], late[7] = 1, 1
    nodes = {
        "one": Send(send="m1", at=Best(best="early", explore=0), next="two"),
        "two": Send(send="m2", at=Best(best="late", explore=0), next="done"),
        "done": Exit(exit="finished"),
    }
    both = Journey(journey="probe", trigger=Trigger(event="signup"), nodes=nodes)
    known = SendTimes(
        pa.array(["c0"]), np.zeros(1, np.int32), np.array([early], np.float32), -1, np.zeros(1, np.int8),
        np.full((1, 3), np.nan, np.float32),
    )  # fmt: skip
    times = {"late": of_everyone(late, model="late"), "early": known}
    result = replay(both, signups(2), send_times=times)
    assert [(at - MONDAY) / HOUR for at in sent_at(result)] == [3, 7, 0, 7]
    assert result.sends["send_times"].fillna("-").tolist() == [
        known.version, times["late"].version, "-", times["late"].version,
    ]  # fmt: skip
    assert "2 sends to 2 contacts that the send times do not know went by the fallback (rule 17)." in result.notes
    assert result.summary()["notes"] == result.notes


def test_sends_that_are_skipped_or_go_at_no_best_hour_have_no_advice() -> None:
    nodes = {"plain": Send(send="m0", next="hello"), **journey("best", expires="1h").nodes}
    both = Journey(journey="probe", trigger=Trigger(event="signup"), nodes=nodes)
    sends = replay(both, signups(1), send_times=pd.DataFrame({"contact": ["c0"], "hour_of_week": [9]})).sends
    assert sends["reason"].isna().tolist() == [True, False]
    assert sends[["send_times", "advice", "slots", "slot_propensity"]].isna().all().all()


def test_a_contact_is_found_whatever_type_its_id_has_in_the_table(tmp_path: Path) -> None:
    log = EventLog.from_rows([{"contact": "17", "event": "signup", "occurred_at": MONDAY},
                              {"contact": "17", "event": "end", "occurred_at": MONDAY + DAY}])  # fmt: skip
    path = _saved(pd.DataFrame({"contact": [17], "hour_of_week": [4]}), tmp_path / "hours.csv")
    assert sent_at(replay(journey("best"), log, send_times=path)) == [MONDAY + 4 * HOUR]
    numbered = EventLog.from_rows([{"contact": 17, "event": "signup", "occurred_at": MONDAY}])
    with pytest.raises(DataError, match="the contacts are not like those of the log"):
        replay(journey("best"), numbered, send_times=pd.DataFrame({"contact": ["ada"], "hour_of_week": [4]}))


@pytest.mark.parametrize(
    ("given_times", "fault"),
    [
        ({"open": of_everyone(np.ones(WEEK))}, "no send times 'opens' were given; did you mean 'open'"),
        ({}, "no send times 'opens' were given; There are no send times."),
        ({"opens": 7}, "or a mapping of names to such; got int"),
        ("nowhere.parquet", "there is no file 'nowhere.parquet'"),
    ],
)
def test_send_times_that_cannot_be_used_are_refused(given_times: Any, fault: str) -> None:
    with pytest.raises(DataError, match=fault):
        replay(journey({"best": "opens"}), signups(1), send_times=given_times)


def test_a_parquet_file_of_something_else_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "events.parquet"
    pd.DataFrame({"contact": ["ada"]}).to_parquet(path)
    with pytest.raises(DataError, match="holds no send times"):
        replay(journey("best"), signups(1), send_times=path)


def test_ranks_keep_the_order_of_scores_and_their_ties() -> None:
    rng = np.random.default_rng(4)
    scores = rng.integers(0, 60, (9000, WEEK)).astype(np.float32)
    scores[rng.random(scores.shape) < 0.2] = np.nan
    scores[5], scores[6], scores[7, :3] = np.nan, 1.0, [np.inf, -np.inf, -0.0]
    for row, ranks in zip(scores, ranked(scores), strict=True):
        is_scored = ~np.isnan(row)
        assert (ranks[~is_scored] == 255).all()
        _, expected = np.unique(-row[is_scored], return_inverse=True)
        assert (ranks[is_scored] == expected).all()


# In files -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "at",
    [
        "best",
        {"best": "opens"},
        {"best": "opens", "between": ["09:00", "20:00"], "days": ["mon", "tue"], "within": "1d", "explore": "7.5%"},
        {"best": "opens", "explore": "0%", "days": DAYS[1]},
    ],
)
def test_the_terms_are_written_as_they_are_read(at: Any) -> None:
    one = journey(at)
    assert one.data()["nodes"]["hello"]["at"] == at
    assert Journey.from_data(one.data()) == one
    assert Journey.from_data(one.data()).version == one.version


def test_the_plain_word_means_the_model_of_that_name() -> None:
    assert Send(send="m1", at="best", next="done").best == Best(best="best")
    assert journey("best").version != journey({"best": "opens"}).version
    log, times = signups(20, 5), {"best": of_everyone(np.arange(WEEK))}
    results = [replay(journey(at), log, send_times=times) for at in ("best", {"best": "best"})]
    pd.testing.assert_frame_equal(results[0].sends, results[1].sends)
