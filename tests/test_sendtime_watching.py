"""Send times watched over time: no alarms where nothing changes, alarms where it does, and which ones are kept."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import datetime
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from drawnsends import BEGINS, daily, drawn_sends, times_of
from journeylab.clock import instant, microseconds
from journeylab.errors import DataError
from journeylab.journey import Journey
from journeylab.sendtime.drift import calibration_of, gives_chances, psi, reliability_of
from journeylab.sendtime.evaluation import evaluate, known_by
from journeylab.sendtime.habit import HabitModel
from journeylab.sendtime.modelcard import card
from journeylab.sendtime.sends import HOUR_US, SendTable, send_table
from journeylab.sendtime.watching import Watch, watch
from journeylab.sendtimes import WEEK, SendTimes
from journeylab.shop import Shop

FITTED = BEGINS + 12 * WEEK * HOUR_US
TWO_DAYS = np.array([9, 20])


def habits(shift: int = 0, factor: float = 1.0) -> Any:
    """Contacts whose number is odd answer around 9, the others around 20."""

    def chance(contact: Any, hour: Any) -> Any:
        away = np.abs((hour % 24 - TWO_DAYS[1 - contact % 2] - shift + 12) % 24 - 12)
        return factor * (0.02 + 0.3 * np.exp(-away / 2))

    return chance


def truth_of(chance: Any = None, *, until: int = FITTED, n: int = 300) -> SendTimes:
    """Send times whose scores are the true chances."""
    chance = chance or habits()
    rows = np.array([chance(np.full(WEEK, one), np.arange(WEEK)) for one in (0, 1)])
    return times_of(
        np.vstack([rows.mean(axis=0), rows]), range(n), 1 + np.arange(n) % 2, outcome="opened", is_causal=True,
        until=instant(until).isoformat(), levels=["person"],
    )  # fmt: skip


def world(seed: int, later: Any = None, n: int = 9000) -> SendTable:
    """A log of 22 weeks in which people are as they were, or from the 12th week on as `later` says."""
    sends = drawn_sends(seed, habits(), n, n_contacts=300, weeks=22)
    if later is None:
        return sends
    other = drawn_sends(seed, later, n, n_contacts=300, weeks=22)
    after = np.where(sends.at < FITTED, sends.after["opened"], other.after["opened"])
    return replace(sends, after={"opened": after})


def names(found: Watch) -> set[str]:
    return {alarm.name for alarm in found.alarms}


# Alarms -------------------------------------------------------------------------------------------------------------


def test_a_steady_world_raises_next_to_no_alarm() -> None:
    raised = [seed for seed in range(20) if watch(truth_of(), world(seed)).alarms]
    assert len(raised) <= 2, raised


@pytest.mark.parametrize(
    ("later", "expected"),
    [(habits(factor=0.5), "calibration"), (habits(factor=1.7), "calibration"), (habits(shift=6), "answer_hours")],
)
@pytest.mark.parametrize("seed", [1, 2])
def test_people_who_changed_raise_one(later: Any, expected: str, seed: int) -> None:
    assert expected in names(watch(truth_of(), world(seed, later)))


def test_a_change_of_the_latest_weeks_is_not_hidden_by_those_before() -> None:
    sends = world(3, n=16_000)
    latest = sends.at > BEGINS + 18 * WEEK * HOUR_US
    gone = latest & (np.arange(len(sends)) % 5 < 2)
    after = np.where(gone, 2**62, sends.after["opened"])
    found = watch(truth_of(), replace(sends, after={"opened": after}))
    rows = found.calibration.set_index("period")
    assert rows.loc["latest", "ratio"] < rows.loc["all", "ratio"] < 1
    assert [alarm.sentence for alarm in found.alarms if "in the latest 4 weeks" in alarm.sentence]


def test_other_hours_of_sending_contacts_and_machines_raise_one_each() -> None:
    sends, champion = world(4), truth_of()
    since = sends.at >= FITTED
    own = replace(sends, slot_set=np.full(len(sends), -1), propensity=np.full(len(sends), np.nan))
    assert names(watch(champion, own)) == set()
    moved = np.where(since, sends.hour // 24 * 24 + sends.hour % 24 / 3 + 8, sends.hour)
    assert "send_hours" in names(watch(champion, replace(own, hour=moved)))
    few = SendTimes(
        champion.contacts[:30], champion.profile[:30], champion.scores, 0, champion.level[:30], champion.gain[:30],
        champion.about,
    )  # fmt: skip
    assert "unknown_contacts" in names(watch(few, sends))
    assert "machine_answers" in names(watch(champion, replace(sends, by_machine=since & (sends.at % 3 == 0))))


def test_send_times_that_do_harm_raise_one() -> None:
    wrong = truth_of(habits(shift=12))
    found = watch(replace(wrong, about={**wrong.about, "outcome": "opened"}), world(5))
    assert "gain" in names(found)
    flat = replace(wrong, scores=np.full_like(wrong.scores, 0.1))
    assert "gain" not in names(watch(flat, world(5)))  # it claims nothing


def test_a_shop_whose_people_open_less_is_noticed_with_a_fitted_model() -> None:
    nodes: dict[str, Any] = {"done": {"exit": "done"}}
    at = {"best": "m", "within": "2d", "explore": "100%"}
    for i in range(24):
        nodes[f"s{i}"] = {"send": f"news_{i % 4}", "at": at, "next": f"w{i}"}
        nodes[f"w{i}"] = {"wait": "2d", "next": f"s{i + 1}" if i < 23 else "done"}
    journey = Journey.model_validate({"journey": "news", "trigger": {"event": "signup"}, "start": "s0", "nodes": nodes})
    at_once = SendTimes.of_hours(pd.DataFrame({"contact": ["nobody"], "hour_of_week": [1]}))
    at_once = replace(at_once, scores=np.ones((1, WEEK), np.float32), fallback=0)
    cut = "2026-04-05T00:00:00+00:00"
    shop = Shop(900, seed=3, days=100, drift_at=cut, drift=0.35)
    sends = send_table(shop.run(journey, send_times=at_once).log, outcome="opened")
    early = known_by(sends, microseconds(datetime.fromisoformat(cut)))
    assert "calibration" in names(watch(HabitModel(n_steps=3).fit(early).send_times(), sends))


# Champion and challenger --------------------------------------------------------------------------------------------


def test_a_champion_is_kept_until_another_one_is_better_beyond_noise() -> None:
    sends = world(6)
    twin = watch(truth_of(), sends, challenger=truth_of())
    assert twin.decision == "keep"
    worse = watch(truth_of(), sends, challenger=truth_of(habits(shift=12)))
    assert worse.decision == "keep"
    assert "worse beyond noise" in worse.reason
    better = watch(truth_of(habits(shift=12)), sends, challenger=truth_of())
    assert better.decision == "replace"
    assert better.comparison is not None
    assert better.comparison.gain_of("challenger")["low"] > 0


def test_a_champion_that_fails_gives_way_to_one_that_is_not_worse() -> None:
    sends = world(7, habits(factor=0.5))
    found = watch(truth_of(), sends, challenger=truth_of(habits(factor=0.5)))
    assert found.decision == "replace"
    assert "calibration" in found.reason
    assert watch(truth_of(), sends, challenger=truth_of(habits(shift=12))).decision == "keep"


def test_a_challenger_is_judged_on_sends_that_neither_had_seen() -> None:
    later = FITTED + 4 * WEEK * HOUR_US
    found = watch(truth_of(), world(8), challenger=truth_of(until=later))
    assert found.comparison is not None
    assert found.comparison.since == instant(later)
    assert found.comparison.seen == ()
    ends = BEGINS + 24 * WEEK * HOUR_US
    unjudged = watch(truth_of(), world(8), challenger=truth_of(until=ends))
    assert unjudged.decision == "keep"
    assert "Nothing causal" in unjudged.reason


# Figures ------------------------------------------------------------------------------------------------------------


def test_the_stability_index_is_that_of_its_formula_and_about_its_noise() -> None:
    counts = np.array([30, 50, 20]), np.array([60, 100, 40])
    assert psi(*counts) == pytest.approx(0, abs=1e-3)
    rng, n = np.random.default_rng(1), 800
    drawn = [psi(*rng.multinomial(n, np.full(8, 1 / 8), 2)) for _ in range(400)]
    assert np.mean(drawn) == pytest.approx(7 * 2 / n, rel=0.15)


def test_calibration_holds_the_true_ratio_as_often_as_it_says() -> None:
    holds = []
    for seed in range(150):
        sends = drawn_sends(seed, habits(factor=0.8), 2500, n_contacts=300)
        found = calibration_of(habits()(sends.contact, sends.hour.astype(int)), sends, 0.9)
        holds.append(found["low"] <= 0.8 <= found["high"])
    assert 0.84 <= np.mean(holds) <= 0.96


def test_reliability_is_by_week() -> None:
    sends = drawn_sends(1, habits(), 5000, n_contacts=300, weeks=6)
    table = reliability_of(habits()(sends.contact, sends.hour.astype(int)), sends, BEGINS, 0.9)
    assert table["n_sends"].sum() == 5000
    assert table["week"].diff().dropna().unique().tolist() == [pd.Timedelta(days=7)]
    assert ((table["low"] <= table["observed_rate"]) & (table["observed_rate"] <= table["high"])).all()
    found = watch(truth_of(), world(1))
    assert list(found.reliability.columns) == list(table.columns)
    assert found.reliability["week"].iloc[0] == pd.Timestamp(instant(FITTED))


def test_messages_that_are_opened_more_do_not_look_like_a_failure() -> None:
    """Later all sends are of the message that people answer twice as often, as it was before."""
    sends = world(9, n=14_000)
    rng = np.random.default_rng(1)
    message = np.where(sends.at >= FITTED, 1, rng.integers(0, 2, len(sends)))
    lost = (message == 0) & (rng.random(len(sends)) < 0.5)
    after = np.where(lost, 2**62, sends.after["opened"])
    mixed = replace(sends, message=message, messages=("dull", "lively"), after={"opened": after})
    three_quarters = truth_of(habits(factor=0.75))
    assert "calibration" not in names(watch(three_quarters, mixed))
    without = replace(mixed, message=np.where(sends.at >= FITTED, 1, 0))
    assert "calibration" in names(watch(three_quarters, without))


def test_scores_that_are_no_chances_are_not_held_against_answers() -> None:
    assert gives_chances(truth_of())
    assert not gives_chances(times_of(daily(9)))
    rule = truth_of()
    rule = replace(rule, about={**rule.about, "is_causal": False})
    assert not gives_chances(rule)
    found = watch(rule, world(1))
    assert not len(found.calibration)
    assert not len(found.reliability)
    assert "no chances" in " ".join(found.notes)


def test_without_drawn_hours_drift_and_calibration_are_told_and_no_gain() -> None:
    sends = world(1)
    own = replace(sends, slot_set=np.full(len(sends), -1), propensity=np.full(len(sends), np.nan))
    found = watch(truth_of(), own, challenger=truth_of())
    assert "Nothing causal" in found.gain.verdict
    assert len(found.calibration) == 2
    assert found.decision == "keep"


def test_it_shows_itself_without_scripts_and_as_plain_data() -> None:
    found = watch(truth_of(), world(2, habits(factor=0.5)), challenger=truth_of())
    assert "<script" not in found._repr_html_()
    assert "alarms: calibration" in repr(found)
    data = json.loads(json.dumps(found.to_dict(), allow_nan=False))
    assert data["reliability"][0]["week"].startswith("2026-05-25")
    assert data["alarms"][0]["name"] == "calibration"
    assert data["comparison"]["baseline"] == "champion"


def test_what_cannot_be_watched_is_refused() -> None:
    with pytest.raises(DataError, match="give since="):
        watch(times_of(daily(9)), world(1))
    with pytest.raises(DataError, match="no send since"):
        watch(truth_of(until=BEGINS + 90 * WEEK * HOUR_US), world(1))
    found = watch(truth_of(), world(1), since=instant(BEGINS - HOUR_US))
    assert "no sends from before" in " ".join(found.notes)
    assert not found.alarms


# The card -----------------------------------------------------------------------------------------------------------


def test_the_card_says_what_it_rests_on_and_names_nobody() -> None:
    sends = world(2)
    evidence = [
        {"level": "everyone", "n_answers": 812, "z": 5.2, "p_value": 1e-7, "lift": 0.9, "is_used": True},
        {"level": "person", "n_answers": 812, "z": float("nan"), "p_value": None, "lift": 0.1, "is_used": False},
    ]
    contacts = [f"someone-{i}" for i in range(300)]
    times = truth_of()
    gain = np.tile(np.array([0.02, 0.01, 0.03], np.float32), (300, 1))
    about = {
        **times.about, "model": "HabitModel", "machine_rules": "flag-instant-burst/1", "n_sends": 5000, "n_random": 400,
        "evidence": evidence, "notes": ["The advice stops at contacts."], "parameters": {"n_steps": 15},
    }  # fmt: skip
    named = SendTimes(pa.array(contacts), times.profile, times.scores, 0, times.level, gain, about)
    value = evaluate(sends, {"habit": times}, since=instant(FITTED))
    text = card(named, value, watch(times, sends, challenger=truth_of()), data="the shop, to May")
    for said in (
        "HabitModel", named.version, "the shop, to May", "400 of them at hours that were drawn", "flag-instant-burst/1",
        "| everyone | 812 | 5.20 | 1e-07 | 0.90 | yes |", "| person | 812 | - | - | 0.10 | no |",
        "+20.0 answers per 1,000", "must not be used for", value.sentences[0], "keep: ", "times as often as the scores",
    ):  # fmt: skip
        assert said in text, said
    assert "someone-" not in text
    assert "Not evaluated." in card(times)
    assert "Nothing can be said." in card(times_of(daily(9)))
