"""From a plan to a verdict and its record: experiments whose truth is known, on tables and in the bundled shop."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from journeylab import datasets
from journeylab.errors import DataError
from journeylab.eventlog import EventLog
from journeylab.experimentplots import segment_words
from journeylab.experiments import Experiment, Guardrail, Mean, Proportion, Stopping, TimeToEvent
from journeylab.experiments.analysis import Analysis, analyze_experiment, analyze_units
from journeylab.experiments.comparison import compare
from journeylab.experiments.planning import false_alarms, plan_experiment, read_declaration
from journeylab.experiments.unittable import UnitTable
from journeylab.experiments.watching import watch
from journeylab.intervals import anytime_interval
from journeylab.shop import Shop

START = pd.Timestamp("2026-03-01", tz="UTC")
SHARES = {"plain": 0.5, "discount": 0.5}


def units_of(n: int = 4000, lift: float = 0.0, left: float = 0.0, seed: int = 1, **columns: Any) -> UnitTable:
    """Units that came a minute after each other; 10 % buy, `lift` more of those with the discount."""
    rng = np.random.default_rng(seed)
    is_treated = rng.permutation(n) % 2 == 0
    frame = pd.DataFrame(
        {
            "arm": np.where(is_treated, "discount", "plain"),
            "unit": [f"unit-{number}" for number in range(n)],
            "exposed_at": START + pd.to_timedelta(np.arange(n), unit="min"),
            "bought": (rng.random(n) < 0.1 + lift * is_treated).astype(float),
            "unsubscribed": (rng.random(n) < 0.02 + left * is_treated).astype(float),
            "country": rng.choice(["DE", "PL"], n),
            **columns,
        }
    )
    metrics = [Proportion("bought"), Proportion("unsubscribed", better="lower")]
    return UnitTable.of_frame(frame, metrics, control="plain", shares=SHARES)


def experiment(planned_n: int = 4000, rule: str = "always_valid", looks: Any = (), **declared: Any) -> Experiment:
    return Experiment.of_table(
        "arm",
        experiment="offer",
        control="plain",
        shares={"plain": "50%", "discount": "50%"},
        primary=Proportion("bought"),
        guardrails=[Guardrail("unsubscribed", margin=0.03)],
        stopping=Stopping(planned_n=planned_n, rule=rule, looks=looks),  # type: ignore[arg-type]
        **declared,
    )


def decision(found: Analysis) -> str:
    [verdict] = found.verdicts
    return verdict.decision


def test_a_better_arm_without_harm_is_to_be_shipped() -> None:
    found = analyze_units(experiment(segments=["country"]), units_of(lift=0.06))
    assert decision(found) == "ship"
    assert [result.verdict for result in found.guardrails] == ["held"]
    assert found.bayesian is not None
    assert found.bayesian.set_index("arm")["best_probability"]["discount"] > 0.99
    assert {*found.who.segments} == {("country", "discount")}


def test_an_effect_that_won_is_held_against_those_of_the_past() -> None:
    at = datetime(2026, 4, 1, tzinfo=UTC)
    small = [
        analyze_units(experiment(), units_of(lift=0.0, seed=seed)).record(None, by="us", reason="none", decided_at=at)
        for seed in range(2, 7)
    ]
    alone, beside = (analyze_units(experiment(), units_of(lift=0.06), past=past) for past in ((), small))
    effect = alone.primary.effects[0].effect
    assert 0 < beside.shrunken["discount"].shrunken_effect < alone.shrunken["discount"].shrunken_effect < effect
    assert beside.shrunken["discount"].n_past == 5
    assert "held against 5 past effects" in beside.likely()[0]
    assert analyze_units(experiment(), units_of()).likely() == []


def test_a_worse_arm_is_not() -> None:
    assert decision(analyze_units(experiment(), units_of(lift=-0.06))) == "keep control"


def test_a_better_arm_that_drives_contacts_away_is_not() -> None:
    found = analyze_units(experiment(), units_of(lift=0.06, left=0.1))
    assert decision(found) == "keep control"
    assert found.guardrails[0].verdict == "violated"


def test_a_better_arm_of_which_harm_is_not_ruled_out_is_undecided() -> None:
    units = units_of(800, lift=0.2, left=0.02)
    found = analyze_units(experiment(planned_n=800), units)
    assert found.guardrails[0].verdict == "undecided"
    assert decision(found) == "undecided"


def test_without_a_difference_one_goes_on_until_the_end() -> None:
    units = units_of()
    assert decision(analyze_units(experiment(planned_n=8000), units)) == "go on"
    ended = analyze_units(experiment(planned_n=4000), units)
    assert decision(ended) == "undecided"
    assert "is ruled out" in ended.verdicts[0].reason


def test_missing_units_block_every_result() -> None:
    units = units_of(lift=0.06)
    lost = units.narrowed("arm = 'plain' OR bought = 1 OR hash(unit) % 4 > 0")
    found = analyze_units(experiment(secondary=[Proportion("unsubscribed", called="left")]), lost)
    assert decision(found) == "blocked"
    assert found.primary.effects == ()
    assert found.secondary is not None
    assert found.secondary.effects == ()
    assert (found.guardrails, found.bayesian, found.who.segments) == ((), None, {})
    record = found.record("discount", by="somebody", reason="hope", decided_at=datetime(2026, 4, 1, tzinfo=UTC))
    assert len(record.refusals()) >= 2
    assert not record.checked["ratio"]["passed"]


def test_units_not_looked_at_for_the_whole_window_do_not_count() -> None:
    n = 4000
    units = units_of(n, lift=0.06, is_matured=np.arange(n) < 3000)
    found = analyze_units(experiment(planned_n=3000), units)
    assert (found.maturity.n_exposed, found.maturity.n_matured) == (4000, 3000)
    assert "1,000 units not yet looked at" in found.maturity.sentence
    assert found.primary.effects[0].n_arm + found.primary.effects[0].n_control == 3000


def test_units_that_have_not_matured_are_censored_where_times_are_compared() -> None:
    """With the discount all buy after a day, else after two; half the units were looked at for one day and a half."""
    n = 2000
    units = units_of(n)
    frame = units.frame(["arm", "unit", "exposed_at", "bought", "unsubscribed"])
    days = np.where(frame["arm"] == "discount", 1.0, 2.0)
    followed = np.where(np.arange(n) % 4 < 2, 1.5, 14.0)
    frame["days"] = np.where(days <= followed, days, np.nan)
    frame["days|followed"], frame["is_matured"] = followed, followed == 14
    metrics = [*units.metrics, TimeToEvent("days")]
    timed = UnitTable.of_frame(frame, metrics, control="plain", shares=SHARES)
    found = analyze_units(experiment(planned_n=1000, secondary=[TimeToEvent("days")]), timed)
    assert found.secondary is not None
    [effect] = found.secondary.effects
    assert effect.n_arm + effect.n_control == n
    assert found.primary.effects[0].n_arm + found.primary.effects[0].n_control == n / 2
    assert effect.effect == pytest.approx(-1)


def test_before_its_end_a_fixed_rule_gives_only_what_is_valid_at_any_time() -> None:
    units = units_of(lift=0.02)
    early, end = (compare(units, stopping=Stopping(planned_n=n, rule="fixed")) for n in (8000, 4000))
    assert {effect.interval for effect in early.effects} == {"always-valid"}
    assert any("4,000 of the 8,000 planned units" in warning for warning in early.warnings)
    assert {effect.interval for effect in end.effects} == {"fixed"}
    assert early.effects[0].low < end.effects[0].low
    assert early.effects[0].high > end.effects[0].high


def test_before_its_end_a_fixed_rule_ships_nothing() -> None:
    units = units_of(lift=0.08)
    assert decision(analyze_units(experiment(planned_n=8000), units)) == "ship"
    assert decision(analyze_units(experiment(planned_n=8000, rule="fixed"), units)) == "go on"
    assert decision(analyze_units(experiment(planned_n=4000, rule="fixed"), units)) == "ship"


def test_always_valid_intervals_are_those_of_the_formula() -> None:
    units = units_of(lift=0.02)
    [fixed, _] = compare(units).effects
    [valid, _] = compare(units, stopping=Stopping(planned_n=6000)).effects
    assert (valid.low, valid.high) == pytest.approx(
        anytime_interval(fixed.effect, fixed.standard_error, 4000, 0.95, 6000), rel=1e-3
    )
    assert valid.p_value > fixed.p_value


def test_the_interval_of_few_events_is_no_narrower_at_any_time_than_at_one_look() -> None:
    n = 400
    nobody = np.zeros(n)
    nobody[:1] = 1
    units = units_of(n, unsubscribed=nobody)
    once = compare(units, units.metrics[1:]).effects[0]
    valid = compare(units, units.metrics[1:], stopping=Stopping(planned_n=n)).effects[0]
    assert valid.low < once.low
    assert valid.high > once.high


def test_no_event_in_either_arm_is_no_proof_of_no_difference() -> None:
    units = units_of(400, unsubscribed=np.zeros(400))
    once = compare(units, units.metrics[1:]).effects[0]
    valid = compare(units, units.metrics[1:], stopping=Stopping(planned_n=400)).effects[0]
    assert valid.low < once.low < 0 < once.high < valid.high
    found = analyze_units(experiment(planned_n=8000), units)
    assert -0.2 < found.guardrails[0].low < -0.001
    assert 0.001 < found.guardrails[0].high < 0.2


def test_values_that_do_not_vary_are_told_and_decide_nothing() -> None:
    declared = experiment(planned_n=400).model_copy(update={"primary": Mean("bought"), "guardrails": ()})
    units = units_of(400, bought=np.full(400, 0.3))
    found = analyze_units(declared, UnitTable.of_frame(units.table(), [Mean("bought")], control="plain", shares=SHARES))
    assert decision(found) == "undecided"
    assert "cannot be told" in found.verdicts[0].reason
    assert "nan" not in " ".join(found.sentences())


def test_planned_looks_are_made_of_the_first_units_whenever_one_looks() -> None:
    units = units_of(4000, lift=0.06)
    stopping = Stopping(planned_n=4000, rule="group_sequential", looks=4)
    late = compare(units, stopping=stopping)
    early = compare(units.narrowed(f"exposed_at < TIMESTAMPTZ '{START + timedelta(minutes=2500)}'"), stopping=stopping)
    said = late.sequential["bought", "discount"]
    assert [look.information for look in said.looks] == [0.25, 0.5, 0.75, 1]
    assert [look.bound for look in said.looks] == pytest.approx([4.333, 2.963, 2.359, 2.014], abs=2e-3)
    assert early.n == 2000
    assert early.sequential["bought", "discount"].looks == said.looks[:2]
    assert decision(analyze_units(experiment(rule="group_sequential", looks=4), units)) == "ship"


def test_a_look_on_which_next_to_nothing_is_spent_has_no_end_of_its_interval() -> None:
    declared = experiment(planned_n=40_000, rule="group_sequential", looks=["1%", "100%"])
    found = analyze_units(declared, units_of(400))
    assert np.isinf(found.primary.effects[0].high)
    assert json.loads(json.dumps(found.to_dict(), allow_nan=False))["results"][0]["interval"] == [None, None]
    assert decision(found) == "go on"


def test_before_the_first_planned_look_nothing_is_given() -> None:
    found = compare(units_of(500), stopping=Stopping(planned_n=4000, rule="group_sequential", looks=4))
    assert found.effects == ()
    assert "The first look is at 1,000 units" in found.refused[0]


def test_several_comparisons_are_corrected_for_each_other() -> None:
    units = units_of(lift=0.02)
    holm, none = compare(units), compare(units, correction="none")
    raw = sorted(none.p_values)
    assert sorted(holm.p_values) == pytest.approx([min(1, 2 * raw[0]), max(min(1, 2 * raw[0]), raw[1])])


# Watching


def test_watching_finds_what_comes_and_keeps_quiet_where_nothing_does() -> None:
    found = watch(units_of(lift=0.08), stopping=Stopping(planned_n=4000), looks=20)
    assert len(found.path) == 20
    assert (found.path["high"] - found.path["low"] > found.path["fixed_high"] - found.path["fixed_low"]).all()
    assert len(found.alarms) == 1
    assert 200 <= found.crossings["n_units"].iloc[0] < 4000
    assert watch(units_of(), stopping=Stopping(planned_n=4000), looks=20).alarms == []


def test_watching_a_ratio_that_fails_shows_no_effect() -> None:
    lost = units_of(lift=0.06).narrowed("arm = 'plain' OR hash(unit) % 4 > 0")
    found = watch(lost, stopping=Stopping(planned_n=4000))
    assert found.path.empty
    assert "do not have their shares" in found.alarms[0]


# Planning


def test_a_a_runs_find_as_many_differences_as_are_allowed() -> None:
    alarms = false_alarms(units_of(1000), [Proportion("bought")], n_runs=100, seed=1)
    assert alarms["low"].item() < 0.05 < alarms["high"].item()


def test_a_a_runs_show_that_units_belong_together() -> None:
    """Households of eight that buy alike: drawn by household, but taken for units of their own."""
    household = np.arange(1600) // 8
    bought = np.repeat(np.random.default_rng(1).random(200) < 0.1, 8).astype(float)
    apart = units_of(1600, bought=bought, unit=household.astype(str))
    together = units_of(1600, bought=bought, cluster=household.astype(str))
    wrong = false_alarms(apart, [Proportion("bought")], n_runs=50)
    right = false_alarms(together, [Proportion("bought")], n_runs=50)
    assert wrong["low"].item() > 0.2
    assert right["low"].item() < 0.05 < right["high"].item()


def frame_of(units: UnitTable) -> pd.DataFrame:
    return units.frame(["arm", "exposed_at", "bought", "unsubscribed"])


def test_a_plan_finds_what_its_units_can(tmp_path: Path) -> None:
    """The least effect found of a proportion, against the formula: (z + z) sqrt(p q 4 / n)."""
    declared = experiment(planned_n=20_000, rule="fixed", minimum_effect=0.02)
    plan = plan_experiment(declared, frame_of(units_of(10_000)), aa_runs=20)
    row = plan.metrics.set_index("metric").loc["bought"]
    rate = row["mean_control"]
    expected = (1.959964 + 0.841621) * np.sqrt(rate * (1 - rate) * 4 / 20_000)
    assert row["minimum_effect"] == pytest.approx(expected, rel=0.02)
    assert row["units_needed"] == pytest.approx(20_000 * (expected / 0.02) ** 2, rel=0.05)
    assert plan.recruiting is None
    assert len(plan.weekly) == 0
    path = plan.declared(datetime(2026, 2, 1, tzinfo=UTC)).write(tmp_path / "plan.json")
    assert read_declaration(path)["version"] == declared.version
    with pytest.raises(DataError, match="there is a plan already"):
        plan.declared(datetime(2026, 2, 1, tzinfo=UTC)).write(path)
    with pytest.raises(DataError, match="when it is declared"):
        plan.write(tmp_path / "other.json")


def test_rules_that_allow_looking_need_more_units() -> None:
    frame = frame_of(units_of(10_000))
    fixed, looks, always = (
        plan_experiment(experiment(20_000, rule, n, minimum_effect=0.02), frame, aa_runs=0).metrics["units_needed"][0]
        for rule, n in (("fixed", ()), ("group_sequential", 5), ("always_valid", ()))
    )
    assert fixed < looks < 1.06 * fixed
    assert 1.2 * fixed < always


def test_a_table_that_says_when_tells_how_long_it_takes() -> None:
    """A unit a minute is 10,080 a week."""
    frame = frame_of(units_of(30_000))
    plan = plan_experiment(experiment(planned_n=25_000, exposed_at="exposed_at"), frame, aa_runs=0)
    assert plan.weekly["n_units"].tolist() == [10_080, 10_080]
    assert plan.recruiting is not None
    assert plan.recruiting.n_weeks == 3


def test_too_little_history_is_refused() -> None:
    with pytest.raises(DataError, match="too few to plan on"):
        plan_experiment(experiment(), frame_of(units_of(30)))


# In the bundled shop


@cache
def bundled() -> Experiment:
    return Experiment.read(datasets.fixtures() / "experiments" / "offer_test.yaml")


def test_what_ran_in_the_shop_is_found_in_its_log() -> None:
    found = analyze_experiment(bundled(), datasets.shop())
    [discount, free_month] = found.primary.effects
    counts = found.units.counts()
    log = datasets.shop().events()
    offers = log[(log["event"] == "sent") & log["message"].isin(["offer_discount", "offer_free_month", "offer_plain"])]
    assert discount.n_arm == counts["discount"] <= (offers["message"] == "offer_discount").sum()
    assert found.primary.ratio.passed
    assert {*found.checks} == {"calendar", "overlap", "machines", "novelty"}
    assert {verdict.decision for verdict in found.verdicts} == {"undecided"}
    assert free_month.interval == "always-valid"
    json.dumps(found.to_dict(), allow_nan=False)


@cache
def early_log() -> EventLog:
    """A shop in which few come to the offers at first."""
    return Shop(3_500, seed=3, days=80).run(datasets.shop_history()).log


def as_of_day(day: int) -> Analysis:
    log = early_log()
    return analyze_experiment(bundled(), log, until=log.start_at + timedelta(days=day))


def test_a_segment_that_cannot_be_estimated_is_told_and_the_rest_stands() -> None:
    found = as_of_day(40)
    frame = found.units.frame(["arm", "country", "purchase"])
    for arm in ("discount", "free_month"):
        by = found.who.segments["country", arm]
        sides = frame[frame["arm"].isin([arm, "plain"])].groupby(["country", "arm"])["purchase"]
        spread = sides.var().unstack().reindex(sorted(frame["country"].unique()))
        is_told = spread.notna().all(axis=1) & (spread.sum(axis=1) > 0)
        assert by.table["segment"].tolist() == spread.index[is_told].tolist()
        assert [*by.untold] == spread.index[~is_told].tolist()
        means = sides.mean().unstack().loc[by.table["segment"]]
        assert by.table["effect"].to_numpy() == pytest.approx((means[arm] - means["plain"]).to_numpy())
        assert all(f"{segment} cannot be estimated: " in by.sentence for segment in by.untold)
    assert found.who.segments["country", "free_month"].untold
    assert {one.decision for one in found.verdicts} == {"go on"}
    assert len(found.primary.effects) == 2
    assert found.bayesian is not None
    assert "nan" not in " ".join(found.sentences())
    json.dumps(found.to_dict(), allow_nan=False)


def test_the_first_matured_units_give_no_effect_that_they_do_not_have() -> None:
    found = as_of_day(15)
    assert 0 < found.maturity.n_matured < 30
    for by in found.who.segments.values():
        assert by.table.empty
        assert by.sentence.startswith("Fewer than two segments can be estimated")
        assert "discount has no units" in by.sentence or "plain has no units" in by.sentence
        assert not by.differs
        assert "Too few segments" in segment_words(by.table, differs=by.differs).title
    assert "nan" not in " ".join(found.sentences())
    assert "purchase.amount: discount 0 against plain 0; how far that may be chance cannot be told" in found.sentences()
    assert any(said.startswith("mails of discount: undecided, as the values do not vary") for said in found.sentences())
    json.dumps(found.to_dict(), allow_nan=False)


def test_while_no_unit_has_matured_that_is_all_there_is_to_say() -> None:
    found = as_of_day(8)
    assert found.maturity.n_matured == 0 < found.maturity.n_exposed
    assert {one.decision for one in found.verdicts} == {"go on"}
    assert found.verdicts[0].reason == "No unit has been looked at for its whole window yet: no effect is given."
    assert found.table.empty
    assert (found.guardrails, found.shrunken, found.bayesian, found.who.segments) == ((), {}, None, {})
    assert sum(found.primary.ratio.n.values()) == found.maturity.n_exposed
    assert found.checks["machines"].passed
    assert "cannot" not in " ".join(found.sentences())
    json.dumps(found.to_dict(), allow_nan=False)
    assert found.record(None, by="us", reason="too early", decided_at=datetime(2026, 4, 1, tzinfo=UTC)).refusals()


def test_a_change_that_never_ran_in_the_log_is_not_analysed() -> None:
    journey = bundled().definitions[str(bundled().journey)]
    nodes = dict(journey.nodes)
    for arm in ("discount", "free_month", "plain"):
        nodes[arm] = nodes[arm].model_copy(update={"send": f"other_{arm}"})
    other = Experiment.of_split(
        journey.model_copy(update={"nodes": nodes}), "offer", experiment="never_ran", control="plain", window="14d",
        primary=Proportion("purchase"), stopping=Stopping(planned_n=100),
    )  # fmt: skip
    with pytest.raises(DataError, match="never_ran did not run in this log"):
        analyze_experiment(other, datasets.shop())
    plan = plan_experiment(other, datasets.shop(), aa_runs=0)
    assert plan.n_units > 1000
    assert plan.recruiting is not None
    assert plan.recruiting.n_weeks * plan.per_week >= 100


def test_a_table_and_a_log_are_not_taken_for_each_other() -> None:
    with pytest.raises(DataError, match="needs an event log"):
        analyze_experiment(bundled(), pd.DataFrame({"arm": ["a"]}))
    with pytest.raises(DataError, match="is an experiment on a table"):
        analyze_experiment(experiment(), datasets.shop())


def test_the_mean_of_a_column_may_be_the_primary_metric() -> None:
    units = units_of()
    frame = frame_of(units).assign(spend=lambda rows: rows["bought"] * 30)
    declared = experiment().model_copy(update={"primary": Mean("spend"), "guardrails": ()})
    found = analyze_experiment(declared, frame)
    assert found.primary.effects[0].effect == pytest.approx(30 * compare(units).effects[0].effect)
