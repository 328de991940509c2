"""What troubles experiments on journeys: overlap, effects that wear off, the calendar, machines."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from exposed import exposed
from journeylab.errors import DataError
from journeylab.eventlog import EventLog
from journeylab.experiments.checks.calendarbalance import calendar_balance
from journeylab.experiments.checks.differences import differences
from journeylab.experiments.checks.machineopens import with_and_without_machines
from journeylab.experiments.checks.novelty import novelty
from journeylab.experiments.checks.overlap import OVERLAPS, overlap
from journeylab.experiments.effect import Effect
from journeylab.experiments.estimation.effects import effects
from journeylab.experiments.exposure.exposures import Exposures, split_exposures
from journeylab.experiments.exposure.outcomes import OutcomeTable, unit_table
from journeylab.experiments.metrics import Count, Mean, Proportion, Quantile, Ratio, Revenue
from journeylab.journey import Journey, Policy, Portfolio
from journeylab.replay import Replay, replay

START = pd.Timestamp("2026-03-02T00:00:00Z")  # a Monday
N = 1_200


def days(values: Any) -> Any:
    return pd.to_timedelta(values, unit="D")


def effect(**changes: Any) -> Effect:
    given = {
        "metric": "m", "kind": "mean", "arm": "b", "control": "a", "n_arm": 100, "n_control": 100, "mean_arm": 1.0,
        "mean_control": 0.0, "effect": 1.0, "standard_error": 0.5, "low": 0.0, "high": 2.0, "p_value": 0.05,
        "unadjusted_effect": 1.0, "unadjusted_standard_error": 0.5,
    }  # fmt: skip
    return Effect(**{**given, **changes})


def arms(rng: np.random.Generator, n: int = N) -> np.ndarray[Any, Any]:
    return rng.permutation(np.repeat(["a", "b"], n // 2))


def visits_log(rate: Any, seed: int = 1, n: int = N) -> tuple[EventLog, Exposures]:
    """Contacts exposed one after the other over 20 days, who visit `rate(arm, day, contact)` times on 14 days after."""
    rng = np.random.default_rng(seed)
    arm, when = arms(rng, n), START + days(np.sort(rng.uniform(0, 20, n)))
    day = np.tile(np.arange(14), (n, 1))
    n_visits = rng.poisson(np.broadcast_to(rate(arm[:, None], day, np.arange(n)[:, None]), day.shape))
    who, on = np.repeat(np.repeat(np.arange(n), 14), n_visits.ravel()), np.repeat(day.ravel(), n_visits.ravel())
    visits = pd.DataFrame(
        {
            "contact": who,
            "event": "visit",
            "occurred_at": when[who] + days(on + rng.uniform(0.01, 0.99, len(who))),
            "worth": rng.lognormal(size=len(who)),
        }
    )
    edge = pd.DataFrame({"contact": -1, "event": "edge", "occurred_at": [START, START + days(60)]})
    log = EventLog.read(pd.concat([edge, visits], ignore_index=True), contacts=pd.DataFrame({"contact": range(-1, n)}))
    rows = pd.DataFrame({"contact": np.arange(n), "arm": arm, "exposed_at": when})
    return log, exposed(log, rows)


# Groups that differ


def test_whether_groups_differ_is_cochrans_q():
    found = differences(
        [effect(group="x", effect=1.0, standard_error=0.5), effect(group="y", effect=3.0, standard_error=1.0),
         effect(group="z", effect=float("nan"), standard_error=float("nan")), effect()]
    ).iloc[0]  # fmt: skip
    z = (3.0 - 1.0) / np.hypot(0.5, 1.0)
    assert found["statistic"] == pytest.approx(z**2)
    assert found["p_value"] == pytest.approx(2 * stats.norm.sf(z))
    assert (found["n_groups"], found["least"], found["most"]) == (2, "x", "y")
    assert differences([effect(group="x")])["p_value"].isna().all()


# Novelty


def fading(arm: Any, day: Any, contact: Any) -> Any:
    return 0.2 + 0.4 * (arm == "b") * np.exp(-day / 2)


def lasting(arm: Any, day: Any, contact: Any) -> Any:
    return 0.2 + 0.1 * (arm == "b") + 0 * day


def test_an_effect_that_wears_off_is_told():
    _, rows = visits_log(fading)
    found = novelty(unit_table(rows, [Count("visit")], window="14d"))
    assert not found.passed
    assert "wears off" in found.sentences()[0]
    assert "while the control went from" in found.sentences()[0]
    assert found.trend["slope"].iloc[0] < 0
    assert found.table["effect"].iloc[0] > found.table["effect"].iloc[-1]
    assert json.loads(json.dumps(found.to_dict()))["passed"] is False


def test_an_effect_that_grows_is_told():
    _, rows = visits_log(lambda arm, day, contact: 0.2 + 0.03 * (arm == "b") * day)
    assert "grows" in novelty(unit_table(rows, [Count("visit")], window="14d")).sentences()[0]


def test_an_effect_that_lasts_passes():
    _, rows = visits_log(lasting)
    found = novelty(unit_table(rows, [Count("visit"), Mean("visit.worth")], window="14d"))
    assert found.passed
    assert all(sentence.startswith("Nothing says") for sentence in found.sentences())
    assert not found.by_entrants.empty


def test_parts_add_up_and_their_trend_is_the_difference_of_slopes():
    """The slope of every unit by numpy, and the arms' slopes compared by scipy's Welch test."""
    log, rows = visits_log(fading, n=300)
    table = unit_table(rows, [Count("visit"), Revenue("visit.worth")], window="14d")
    found = novelty(table, n_parts=7)
    total = effects(table, adjust="none")[0]
    parts = found.table[found.table["metric"] == "visit"]
    assert parts["effect"].sum() == pytest.approx(total.effect)
    assert found.trend["effect"].iloc[0] == pytest.approx(total.effect / 7)
    stream, at = log.stream("visit"), rows.at_us
    code = np.repeat(np.arange(log.n_contacts), np.diff(stream.offsets))
    row = pd.Series(np.arange(len(rows)), rows.contact)[code].to_numpy()
    part = ((stream.at - at[row]) // (2 * 86_400_000_000)).astype(int)
    counts = np.zeros((len(rows), 7))
    np.add.at(counts, (row, part), 1)
    slopes = np.polyfit(2.0 * np.arange(7), counts.T, 1)[0]
    arm = rows.frame["arm"].to_numpy()
    expected = stats.ttest_ind(slopes[arm == "b"], slopes[arm == "a"], equal_var=False)
    trend = found.trend.iloc[0]
    assert trend["slope"] == pytest.approx(slopes[arm == "b"].mean() - slopes[arm == "a"].mean())
    assert trend["p_value"] == pytest.approx(expected.pvalue)
    assert [trend["low"], trend["high"]] == pytest.approx([*expected.confidence_interval(0.95)])


def test_a_constant_denominator_makes_a_ratio_a_mean():
    rng = np.random.default_rng(3)
    log, rows = visits_log(fading, n=300)
    contact = np.repeat(np.arange(300), 7)
    exposed_at = rows.frame.set_index("contact")["exposed_at"].loc[contact].reset_index(drop=True)
    later = days(np.tile(2.0 * np.arange(7) + rng.uniform(0.1, 1.9), 300))
    once = pd.DataFrame({"contact": contact, "event": "day", "occurred_at": exposed_at + later})
    both = EventLog.read(pd.concat([log.events(), once], ignore_index=True), contacts=log.contacts())
    table = unit_table(replace(rows, log=both), [Count("visit"), Ratio("visit / day")], window="14d")
    mean, ratio = (row for _, row in novelty(table).trend.iterrows())
    columns = ["slope", "standard_error", "p_value"]
    assert ratio[columns].tolist() == pytest.approx(mean[columns].tolist())


def test_clusters_widen_the_trend():
    rng = np.random.default_rng(8)
    n = 600
    tilt = np.repeat(rng.normal(0, 0.05, n // 10), 10)  # what the members of a household share

    def shared(arm: Any, day: Any, contact: Any) -> Any:
        return np.maximum(0.4 + tilt[contact] * (day - 6.5), 0)

    _, rows = visits_log(shared, n=n)
    home = np.arange(n) // 10
    arm = np.where(rng.permutation(n // 10) % 2, "a", "b")[home]
    homes = {"arm": pd.array(arm, dtype="str"), "cluster": pd.array(home.astype(str), dtype="str")}
    together = replace(rows, frame=rows.frame.assign(**homes))
    alone = replace(rows, frame=together.frame.drop(columns="cluster"))
    tables = [unit_table(one, [Count("visit")], window="14d") for one in (together, alone)]
    errors = [novelty(one).trend["standard_error"].iloc[0] for one in tables]
    assert errors[0] > 1.5 * errors[1]


def test_late_entrants_for_whom_nothing_happens_are_told():
    _, rows = visits_log(lambda arm, day, contact: 0.2 + 0.2 * (arm == "b") * (contact < N / 2) + 0 * day)
    found = novelty(unit_table(rows, [Count("visit")], window="14d"))
    assert found.entrants["most"].iloc[0] == "early"
    by = found.by_entrants.set_index("group")
    assert by["n_arm"].sum() == N / 2
    assert by.loc["early", "effect"] > 2
    assert abs(by.loc["late", "effect"]) < 0.5
    assert "not the same for early and late entrants: late ones have the lesser" in " ".join(found.sentences())


def test_metrics_without_parts_are_refused_or_said():
    _, rows = visits_log(lasting, n=100)
    table = unit_table(rows, [Count("visit"), Quantile("visit", called="median")], window="14d")
    assert "median: not made up of parts" in novelty(table).notes[0]
    with pytest.raises(DataError, match="'median' is not made up of parts"):
        novelty(table, [Quantile("visit", called="median")])
    with pytest.raises(DataError, match="at least two parts"):
        novelty(table, n_parts=1)
    young = unit_table(rows.since((START + days(5)).to_pydatetime()), [Count("visit")], window="59d")
    nothing = novelty(young)
    assert nothing.passed
    assert nothing.trend.empty
    assert "has matured yet, so that nothing can be said" in nothing.sentences()[0]


@pytest.mark.nightly
def test_an_effect_that_lasts_is_seldom_called_fading():
    """Contacts differ, and so their parts depend on each other: alarms stay near 5 % all the same."""
    rng = np.random.default_rng(12)
    n, n_runs = 400, 300
    alarms = 0
    for seed in range(n_runs):
        lively = rng.gamma(1, 1, n)

        def rate(arm: Any, day: Any, contact: Any, lively: Any = lively) -> Any:
            return lively[contact] * (0.2 + 0.1 * (arm == "b")) * (1 - 0.04 * day)

        _, rows = visits_log(rate, seed=seed, n=n)
        found = novelty(unit_table(rows, [Ratio("visit.worth / visit")], window="14d"))
        alarms += int(found.trend["p_value"].iloc[0] < 0.05)
    assert stats.binomtest(alarms, n_runs, 0.05).pvalue > 0.001


# Overlap


OTHER = {
    "journey": "other",
    "trigger": {"event": "order", "reentry": "always"},
    "nodes": {
        "rest": {"wait": "5d", "next": "letter"},
        "letter": {"send": "news", "next": "done"},
        "done": {"exit": "x"},
    },
}
MINE = {
    "journey": "mine",
    "trigger": {"event": "signup"},
    "nodes": {
        "split": {"split": {"a": "50%", "b": "50%"}},
        "a": {"send": "m_a", "next": "done"},
        "b": {"send": "m_b", "next": "b2"},
        "b2": {"send": "m_b2", "next": "done", "when_capped": "skip"},
        "done": {"exit": "finished"},
    },
}


def portfolio_log(n: int = 600) -> EventLog:
    """Signups; every second contact ordered two days before and is in the other journey, of whom b visit more."""
    rng = np.random.default_rng(4)
    who, signup = np.arange(n), START + days(rng.uniform(5, 20, n))
    frames = [
        pd.DataFrame({"contact": who, "event": "signup", "occurred_at": signup}),
        pd.DataFrame({"contact": who[::2], "event": "order", "occurred_at": signup[::2] - days(2)}),
        pd.DataFrame({"contact": [0], "event": "edge", "occurred_at": [START + days(60)]}),
    ]
    return EventLog.read(pd.concat(frames, ignore_index=True))


@pytest.fixture(scope="module")
def portfolio() -> Replay:
    journeys = tuple(Journey.from_data(one) for one in (MINE, OTHER))
    log = portfolio_log()
    plain = replay(Portfolio(journeys=journeys, policy=Policy(cap={"sends": 1, "within": "7d"})), log)
    arm = split_exposures(plain, "split", "mine").frame.set_index("contact")
    rng = np.random.default_rng(5)
    inside = arm.index.to_numpy() % 2 == 0
    n_visits = rng.poisson(0.5 + 1.0 * inside * (arm["arm"] == "b").to_numpy())
    exposed_at = arm["exposed_at"].repeat(n_visits).reset_index()
    later = days(rng.uniform(0.1, 2, len(exposed_at)))
    visits = pd.DataFrame(
        {"contact": exposed_at["contact"], "event": "visit", "occurred_at": exposed_at["exposed_at"] + later}
    )
    whole = EventLog.read(pd.concat([log.events(), visits], ignore_index=True))
    return replay(Portfolio(journeys=journeys, policy=Policy(cap={"sends": 1, "within": "7d"})), whole)


@pytest.fixture(scope="module")
def overlapping(portfolio: Replay) -> OutcomeTable:
    return unit_table(split_exposures(portfolio, "split", "mine"), [Count("visit")], window="7d")


def test_who_is_in_other_journeys_is_counted_by_arm(portfolio: Replay, overlapping: OutcomeTable):
    found = overlap(overlapping, portfolio)
    matrix = found.matrix.set_index("arm")
    frame = overlapping.exposures.frame
    for arm in ("a", "b"):
        mine = frame[frame["arm"] == arm]
        assert matrix.loc[arm, "n_units"] == len(mine)
        assert matrix.loc[arm, "n_inside_at_exposure"] == (mine["contact"] % 2 == 0).sum()
        assert matrix.loc[arm, "n_inside"] == matrix.loc[arm, "n_inside_at_exposure"]
    inside = pd.crosstab(frame["arm"], frame["contact"] % 2 == 0)
    assert matrix["p_value"].iloc[0] == pytest.approx(stats.chi2_contingency(inside, correction=False).pvalue)


def test_caps_that_fall_on_one_arm_are_told(portfolio: Replay, overlapping: OutcomeTable):
    found = overlap(overlapping, portfolio, metrics=[])
    caps = found.caps.set_index("arm")
    assert caps.loc["a", "n_capped"] == 0
    assert caps.loc["b", "capped_share"] > 0.95
    assert not found.passed
    assert "a cap skipped sends" in " ".join(found.sentences())
    assert found.effects.empty


def test_an_effect_that_depends_on_overlap_is_told(portfolio: Replay, overlapping: OutcomeTable):
    found = overlap(overlapping, portfolio)
    by = found.effects.set_index("group")["effect"]
    assert by["in another journey"] > 0.7
    assert abs(by["in no other journey"]) < 0.3
    assert found.difference["p_value"].iloc[0] < 0.001
    assert "not the same in no other journey (less) and in another journey (more)" in " ".join(found.sentences())
    json.dumps(found.to_dict())


def test_without_a_replay_sends_tell_of_other_journeys(overlapping: OutcomeTable):
    exposures = overlapping.exposures
    frame = exposures.frame[exposures.frame["contact"] < 100]
    sends = pd.DataFrame(
        {"contact": frame["contact"], "event": "sent", "occurred_at": frame["exposed_at"] + days(1), "journey": "third"}
    )
    mine = sends.assign(journey="mine", occurred_at=frame["exposed_at"])
    log = EventLog.read(pd.concat([exposures.log.events(), sends, mine], ignore_index=True))
    table = unit_table(replace(exposures, log=log), [Count("visit")], window="7d")
    found = overlap(table)
    assert found.matrix["journey"].unique().tolist() == ["third"]
    assert found.matrix["n_inside"].sum() == 100
    assert found.matrix["n_inside_at_exposure"].sum() == 0
    assert "known from what they sent only" in " ".join(found.sentences())
    assert "nothing is known of other journeys" in " ".join(overlap(overlapping).sentences())


def test_a_portfolio_alone_says_nothing_and_over_another_log_is_refused(overlapping: OutcomeTable):
    log = overlapping.exposures.log
    alone = overlap(overlapping, replay(Journey.from_data(MINE), log))
    assert alone.matrix.empty
    assert "nothing is known of other journeys" in alone.notes[0]
    with pytest.raises(DataError, match="another log"):
        overlap(overlapping, replay(Journey.from_data(MINE), portfolio_log(20)))
    assert not overlapping.has(OVERLAPS)


# Calendar


def calendar(shift: Any, seed: int = 2) -> Exposures:
    """Two arms exposed over four weeks; each unit is sent something `shift(arm, exposed_at)` later."""
    rng = np.random.default_rng(seed)
    arm, when = arms(rng), START + days(rng.uniform(0, 28, N))
    events = pd.DataFrame({"contact": np.arange(N), "event": "signup", "occurred_at": START})
    log = EventLog.read(events, contacts=pd.DataFrame({"contact": np.arange(N), "timezone": "Europe/Warsaw"}))
    sends = pd.DataFrame(
        {"row": np.arange(N), "arm": arm, "message": "m", "decided_at": when + shift(arm, when), "is_sent": True,
         "reason": None, "is_observed": True}
    )  # fmt: skip
    return exposed(log, pd.DataFrame({"contact": np.arange(N), "arm": arm, "exposed_at": when}), sends=sends)


def test_arms_that_share_the_calendar_pass():
    found = calendar_balance(calendar(lambda arm, when: days(0.5 + 0 * when.day)))
    assert found.passed
    assert len(found.sentences()) == 1
    assert found.table.shape[0] == 6


def test_an_arm_that_avoids_weekends_is_told_unless_time_is_the_treatment():
    def to_monday(arm: Any, when: Any) -> Any:
        weekday = when.day_of_week.to_numpy()
        return days(np.where((arm == "b") & (weekday >= 5), 7 - weekday, 0))

    rows = calendar(to_monday)
    found = calendar_balance(rows)
    assert not found.passed
    assert "first sends of the arms differ by weekday" in " ".join(found.sentences())
    row = found.table.query("of == 'first sends' and calendar == 'weekday'").iloc[0]
    assert row["place"] == "mon"
    assert row["largest_difference"] > 0.1
    assert calendar_balance(rows, is_time_treatment=True).passed
    json.dumps(found.to_dict())


def test_exposures_are_tested_by_chi_square_over_local_hours():
    rows = calendar(lambda arm, when: days(0.0 * when.day))
    found = calendar_balance(rows).table.query("of == 'exposures' and calendar == 'hour'").iloc[0]
    hour = rows.frame["exposed_at"].dt.tz_convert("Europe/Warsaw").dt.hour
    expected = stats.chi2_contingency(pd.crosstab(rows.frame["arm"], hour), correction=False)
    assert found["statistic"] == pytest.approx(expected.statistic)
    assert found["p_value"] == pytest.approx(expected.pvalue)


def test_nobody_has_no_calendar():
    rows = calendar(lambda arm, when: days(0.0 * when.day))
    with pytest.raises(DataError, match="nobody was exposed"):
        calendar_balance(rows.where(np.zeros(N, bool)))


# Machines


def test_a_finding_that_machines_make_is_fragile():
    rng = np.random.default_rng(6)
    arm = arms(rng)
    opened = rng.random(N) < 0.1
    by_machine = (arm == "b") & (rng.random(N) < 0.3)
    who = np.concatenate([np.flatnonzero(opened), np.flatnonzero(by_machine)])
    events = pd.DataFrame(
        {
            "contact": who,
            "event": "opened",
            "occurred_at": START + days(2),
            "is_machine": np.repeat([False, True], [opened.sum(), by_machine.sum()]),
        }
    )
    edge = pd.DataFrame({"contact": [0, 0], "event": "visit", "occurred_at": [START, START + days(20)]})
    log = EventLog.read(pd.concat([events, edge], ignore_index=True), contacts=pd.DataFrame({"contact": np.arange(N)}))
    rows = exposed(log, pd.DataFrame({"contact": np.arange(N), "arm": arm, "exposed_at": START + days(1)}))
    metrics = [Proportion("opened"), Count("visit")]
    people, everything = (unit_table(rows, metrics, window="7d", machines=one) for one in (False, True))
    found = with_and_without_machines(effects, people, everything)
    assert found.fragile == ["opened"]
    assert not found.passed
    assert found.sentences()[0].startswith("Fragile: opened of 'b' is undecided by people alone")
    assert json.loads(json.dumps(found.to_dict()))["effects"][0]["finding_with_machines"] == "more"
    same = with_and_without_machines(effects, people, people)
    assert same.passed
    assert same.sentences() == ["No finding changes with what machines opened and clicked."]
    with pytest.raises(DataError, match="not the same comparisons"):
        with_and_without_machines(lambda one: effects(one)[: 1 if one is people else 2], people, everything)
