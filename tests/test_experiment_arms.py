"""Each way to get arms, from the question to the record, in shops whose truth is known."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from journeylab import datasets
from journeylab.cli import main
from journeylab.errors import DataError, DefinitionError
from journeylab.eventlog import EventLog
from journeylab.experiments import Experiment, Proportion, Stopping
from journeylab.experiments.analysis import Analysis
from journeylab.experiments.checks.calendarbalance import calendar_balance
from journeylab.experiments.checks.overlap import Overlap, overlap
from journeylab.experiments.comparison import sample_ratio_of
from journeylab.experiments.estimation.effects import effects
from journeylab.experiments.exposed import exposed_units
from journeylab.experiments.exposure.comparedjourneys import arms_of
from journeylab.experiments.exposure.exposures import split_exposures
from journeylab.experiments.exposure.outcomes import OutcomeTable, unit_table
from journeylab.experiments.ratio.sampleratio import SampleRatio
from journeylab.experiments.record import DecisionRecord
from journeylab.experiments.unittable import UnitTable
from journeylab.journey import Journey, Policy, Portfolio
from journeylab.journeyfile import save
from journeylab.replay import replay
from journeylab.shop import Shop

pytestmark = pytest.mark.long

OPENS = {"letter_new": 0.5, "letter_old": 0.15}
OPENED = Proportion("opened", where="message in ['letter_old', 'letter_new']")
DONE = {"done": {"exit": "finished"}}
SPLIT: dict[str, Any] = {
    "which": {"split": {"new": "50%", "old": "50%"}},
    "new": {"send": "letter_new", "next": "done"},
    "old": {"send": "letter_old", "next": "done"},
    **DONE,
}


def journey(nodes: dict[str, Any], name: str = "letters", **more: Any) -> Journey:
    return Journey.from_data({"journey": name, "trigger": {"event": "signup"}, "nodes": nodes, **more})


def one_letter(message: str, **more: Any) -> Journey:
    return journey({"go": {"send": message, "next": "done"}, **DONE}, **more)


def declared(planned_n: int = 1000, **more: Any) -> dict[str, Any]:
    return {
        "experiment": "test", "window": "7d", "primary": OPENED, "stopping": Stopping(planned_n=planned_n), **more
    }  # fmt: skip


def drawn(seed: int = 5, n: int = 1_500, **more: Any) -> Shop:
    return Shop(n, seed=seed, days=60, opens=OPENS, **more)


@pytest.fixture(scope="module")
def shop() -> Shop:
    return drawn()


def share(log: EventLog, of: Experiment) -> float:
    """The share of all contacts of a log for whom the primary metric is 1, all being exposed at their signup."""
    everybody = exposed_units(of, log).units.narrowed("is_matured")
    return float(everybody.rows(f"avg({of.primary.name})")[0][0])


@pytest.fixture(scope="module")
def truth(shop: Shop) -> float:
    """What the new letter truly brings: the shop answers a send to a contact alike in every run."""
    of = Experiment.of_split(journey(SPLIT), "which", control="old", **declared())
    new, old = (share(shop.run(one_letter(f"letter_{arm}")).log, of) for arm in ("new", "old"))
    return new - old


def holds(found: Analysis, truth: float) -> bool:
    [effect] = found.primary.effects
    return effect.low <= truth <= effect.high


# Two journeys compared


@pytest.fixture(scope="module")
def old_and_new(shop: Shop) -> dict[str, pd.DataFrame]:
    return {arm: shop.run(one_letter(f"letter_{arm}")).events for arm in ("old", "new")}


@pytest.fixture(scope="module")
def compared(shop: Shop, old_and_new: dict[str, pd.DataFrame]) -> pd.DataFrame:
    """The events of a shop in which each contact got the journey of its arm; the experiment's name is the salt."""
    arm = dict(zip(shop.names, arms_of(shop.names, "old_or_new", {"old": 0.5, "new": 0.5}), strict=True))
    return pd.concat(
        [events[events["contact"].map(arm) == one] for one, events in old_and_new.items()], ignore_index=True
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, shop: Shop, compared: pd.DataFrame) -> Path:
    path = tmp_path_factory.mktemp("compared")
    for arm in ("old", "new"):
        save(one_letter(f"letter_{arm}"), path / f"{arm}.yaml")
    compared.to_parquet(path / "events.parquet")
    shop.contacts.to_parquet(path / "contacts.parquet")
    (path / "old_or_new.yaml").write_text(
        """
experiment: old_or_new
journeys: {old: old.yaml, new: new.yaml}
control: old
window: 7d
primary: {proportion: opened, where: "message in ['letter_old', 'letter_new']"}
guardrails:
  - {guardrail: unsubscribed, margin: 0.05}
stopping: {planned_n: 1000}
"""
    )
    return path


def log_of(events: pd.DataFrame, shop: Shop) -> EventLog:
    return EventLog.read(events, contacts=shop.contacts, cache=False).truncated(shop.ends_at)


def test_two_journeys_are_compared_from_the_plan_to_the_record(
    folder: Path, shop: Shop, compared: pd.DataFrame, truth: float, tmp_path: Path
) -> None:
    log, experiment = log_of(compared, shop), Experiment.read(folder / "old_or_new.yaml")
    found = experiment.analyze(log)
    assert holds(found, truth)
    assert [verdict.decision for verdict in found.verdicts] == ["ship"]
    assert found.primary.ratio.passed
    assert found.checks["calendar"].passed
    watched = experiment.watch(log, looks=10)
    assert "opened: new differs" in watched.alarms[0]
    assert watched.ratio.passed


def test_one_of_the_journeys_that_ran_alone_is_history_to_plan_on(
    folder: Path, shop: Shop, old_and_new: dict[str, pd.DataFrame]
) -> None:
    log, experiment = log_of(old_and_new["old"], shop), Experiment.read(folder / "old_or_new.yaml")
    with pytest.raises(DataError, match="old_or_new did not run in this log"):
        experiment.analyze(log)
    plan = experiment.plan(log, aa_runs=20)
    assert plan.n_units > 1_000
    assert plan.recruiting is not None
    assert plan.alarms["low"].item() < 0.05
    of = Experiment.of_split(journey(SPLIT), "which", control="old", **declared())
    assert plan.metrics["mean_control"][0] == pytest.approx(share(log, of), abs=0.03)


def test_commands_compare_two_journeys(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = ["--events", str(folder / "events.parquet"), "--contacts", str(folder / "contacts.parquet")]
    plan, record = str(tmp_path / "plan.json"), str(tmp_path / "record.json")
    said = {}
    for command, *more in (
        ("plan", "--aa-runs", "0", "--out", plan),
        ("watch", "--looks", "5"),
        ("analyze", "--plan", plan, "--record", record, "--decide", "new", "--by", "test", "--reason", "more opens"),
    ):
        with pytest.raises(SystemExit) as ended:
            main(["experiment", command, str(folder / "old_or_new.yaml"), *data, *more, "--json"])
        assert not ended.value.code, capsys.readouterr().err
        said[command] = json.loads(capsys.readouterr().out)
    assert said["plan"]["versions"].keys() == {"old", "new"}
    assert said["watch"]["alarms"]
    assert said["analyze"]["verdicts"][0]["decision"] == "ship"
    kept = DecisionRecord.read(record)
    assert kept.asked["declared_version"] == kept.experiment["version"]
    assert kept.refusals() == []


def test_compared_journeys_whose_file_has_a_policy_are_refused(folder: Path, tmp_path: Path) -> None:
    for path in ("old.yaml", "new.yaml", "old_or_new.yaml"):
        (tmp_path / path).write_text((folder / path).read_text())
    files = {"policy": {"holdout": "5%"}, "journeys": [one_letter("letter_new").data()]}
    (tmp_path / "new.yaml").write_text(json.dumps(files))
    with pytest.raises(DefinitionError, match="has a policy, and compared journeys are replayed without one"):
        Experiment.read(tmp_path / "old_or_new.yaml")


# Households that share their arm


@pytest.fixture(scope="module")
def housed() -> Shop:
    """A shop whose contacts live in households of four, but for some who live alone."""
    shop = drawn(seed=8, n=1_000)
    house = [f"house-{number // 4}" if number < 900 else None for number in range(1_000)]
    shop.contacts = shop.contacts.assign(household=house)
    return shop


def test_a_household_shares_its_arm_its_errors_and_its_place_in_the_ratio(housed: Shop) -> None:
    by_house = journey(SPLIT, unit="household")
    of = Experiment.of_split(by_house, "which", control="old", **declared())
    found = of.analyze(housed.run(by_house).log)
    assert isinstance(found.units, OutcomeTable)
    frame = found.units.exposures.frame
    house = frame["contact"].map(housed.contacts.set_index("contact")["household"])
    assert (frame["cluster"] == house.fillna(frame["contact"])).all()
    assert frame.groupby("cluster")["arm"].nunique().max() == 1
    n_houses = frame["cluster"].nunique()
    [effect] = found.primary.effects
    assert effect.n_clusters is not None
    assert effect.n_clusters <= n_houses
    assert sum(found.primary.ratio.n.values()) == n_houses
    assert f"got their arms together with others, in {n_houses} groups" in " ".join(found.sentences())
    plain = Experiment.of_split(journey(SPLIT), "which", control="old", **declared())
    truth = [share(housed.run(one_letter(f"letter_{arm}")).log, plain) for arm in ("new", "old")]
    assert holds(found, truth[0] - truth[1])


def together(n_runs: int, n_groups: int = 300) -> UnitTable:
    """Units of groups of one to eight, whose arms are given to groups, in A/A experiments numbered by `run`."""
    rng, shares = np.random.default_rng(3), {"a": 0.3, "b": 0.7}
    group = np.arange(n_runs * n_groups).repeat(rng.integers(1, 9, n_runs * n_groups))
    frame = pd.DataFrame({"arm": arms_of(group.astype(str), "aa", shares), "cluster": group.astype(str), "seen": 1.0})
    return UnitTable.of_frame(
        frame.assign(run=group // n_groups), [Proportion("seen")], control="a", shares=shares
    )  # fmt: skip


def test_the_ratio_of_households_alarms_as_often_as_it_may() -> None:
    """50 experiments with the right shares; counted by the unit, five times as many p values as may are below 5 %."""
    whole = together(50)
    tables = [whole.narrowed(f"run = {run}") for run in range(50)]
    found = [sample_ratio_of(table) for table in tables]
    assert np.mean([one.p_value < 0.05 for one in found]) < 0.16
    assert sum(one.passed is False for one in found) <= 1
    by_unit = [SampleRatio.from_counts(table.counts(), table.shares) for table in tables]
    assert np.mean([one.p_value < 0.05 for one in by_unit]) > 0.25


def test_households_that_went_missing_are_found() -> None:
    lost = together(1, 2_000).narrowed("arm = 'a' OR hash(cluster) % 5 > 0")
    assert sample_ratio_of(lost).passed is False


def test_households_that_come_together_are_no_matter_of_the_calendar_nor_of_other_journeys() -> None:
    """A/A: all four of a household sign up at one instant, and the log has only some households' news."""
    rng = np.random.default_rng(1)
    at = pd.Timestamp("2026-03-01T00:00Z") + pd.to_timedelta(rng.integers(0, 480, 400), unit="h")
    events = [
        {"contact": n, "event": event, "occurred_at": at[n // 4] + pd.Timedelta(days=day)}
        for n in range(1_600)
        for event, day in (("signup", 0), ("visit", 1))
        if event == "signup" or n % 8 < 4
    ]
    events.append({"contact": 1, "event": "visit", "occurred_at": pd.Timestamp("2026-04-20T00:00Z")})
    log = EventLog.from_rows(events, [{"contact": n, "household": f"house-{n // 4}"} for n in range(1_600)])
    passed = []
    for salt in range(5):
        salted = journey({**SPLIT, "which": {**SPLIT["which"], "salt": f"aa/{salt}"}}, unit="household")
        both = Portfolio(journeys=(salted, one_letter("news", name="news", trigger={"event": "visit"})))
        run = replay(both, log)
        exposures = split_exposures(run, "which", "letters")
        units = unit_table(exposures, [Proportion("visit")], window="7d")
        together = overlap(units, run, metrics=[])
        assert together.matrix["n_inside"].sum() == 800
        passed.append((calendar_balance(exposures).passed, together.passed))
    assert sum(calendar for calendar, _ in passed) >= 4
    assert sum(alone for _, alone in passed) >= 4


AGAIN: dict[str, Any] = {"trigger": {"event": "visit", "reentry": "1d"}}


def test_of_entries_with_arms_of_their_own_each_counts(housed: Shop) -> None:
    """Contacts are clusters of their entries, which are what arms are given to; in a household those of one number."""
    nodes = {**SPLIT, "which": {**SPLIT["which"], "per": "entry"}}
    counted = {}
    for name, more in {"alone": {}, "housed": {"unit": "household"}, "held": {"holdout": "20%"}}.items():
        one = journey(nodes, **AGAIN, **more)
        of = Experiment.of_split(one, "which", control="old", **declared())
        units = exposed_units(of, housed.run(one).log).units
        counted[name] = sample_ratio_of(units), units.frame(["unit", "contact", "cluster", "arm"])
    ratio, frame = counted["alone"]
    assert sum(ratio.n.values()) == len(frame)
    assert frame["contact"].duplicated().any()
    ratio, frame = counted["housed"]
    assert frame["cluster"].nunique() < frame["contact"].nunique()
    assert frame["cluster"].nunique() < sum(ratio.n.values()) < len(frame)
    same = frame.assign(number=frame["unit"].str.split("#").str[1]).groupby(["cluster", "number"])["arm"].nunique()
    assert same.max() == 1
    ratio, frame = counted["held"]
    assert {*frame["arm"]} == {"new", "old"}
    assert sum(ratio.n.values()) == len(frame)
    assert all(one.passed for one, _ in counted.values())


def test_entries_with_arms_of_their_own_are_no_clusters_that_went_wrong(shop: Shop) -> None:
    one = journey({**SPLIT, "which": {**SPLIT["which"], "per": "entry"}}, **AGAIN)
    of = Experiment.of_split(one, "which", control="old", **declared())
    [effect] = effects(exposed_units(of, shop.run(one).log).units.narrowed("is_matured"))
    assert effect.n_clusters is not None
    assert not any("in several arms" in note for note in effect.notes)


@pytest.mark.nightly
def test_the_ratio_of_a_journeys_households_alarms_as_often_as_it_may(housed: Shop) -> None:
    """A/A: the same log under many salts, so that nothing but the draw of the arms is left to chance."""
    log, n_below = housed.organic, {"household": 0, "entries of households": 0}
    for name, per in (("household", "contact"), ("entries of households", "entry")):
        for salt in range(60):
            which = {**SPLIT["which"], "salt": f"aa/{salt}", "per": per}
            one = journey({**SPLIT, "which": which}, unit="household", **(AGAIN if per == "entry" else {}))
            of = Experiment.of_split(one, "which", control="old", **declared(primary=Proportion("visit")))
            n_below[name] += sample_ratio_of(exposed_units(of, log).units).p_value < 0.05
    assert max(n_below.values()) <= 8, n_below


# A journey, or all of them, against a holdout

SELLING = {"letter_new": 0.7}
BOUGHT = Proportion("purchase")


@pytest.fixture(scope="module")
def selling() -> Shop:
    return drawn(seed=11, sells=SELLING)


def without_and_with(shop: Shop, journeys: Any, of: Experiment) -> float:
    """What journeys truly bring: everybody gets them, against nobody."""
    nobody, everybody = shop.organic, shop.run(journeys).log
    return share(everybody, of) - share(nobody, of)


def test_a_journey_is_held_against_its_holdout(selling: Shop) -> None:
    held = one_letter("letter_new", holdout="40%")
    of = Experiment.of_split(held, "holdout", control="holdout", **declared(primary=BOUGHT, window="14d"))
    found = of.analyze(selling.run(held).log)
    truth = without_and_with(selling, one_letter("letter_new"), of)
    assert truth > 0.03
    assert holds(found, truth)
    assert [verdict.arm for verdict in found.verdicts] == ["treated"]
    assert found.verdicts[0].decision == "ship"
    assert found.primary.ratio.passed
    with pytest.raises(DataError, match="did not run"):
        of.analyze(selling.organic)


def test_a_journey_of_the_bundled_shop_is_held_against_its_holdout(tmp_path: Path) -> None:
    history = datasets.fixtures() / "shop" / "history.yaml"
    (tmp_path / "winback.yaml").write_text(
        f"""
experiment: winback
journey: {history}#akacja_winback
split: holdout
control: holdout
window: 21d
primary: {{proportion: visit}}
guardrails:
  - {{guardrail: unsubscribed, margin: 0.02}}
stopping: {{planned_n: 4000}}
"""
    )
    of = Experiment.read(tmp_path / "winback.yaml")
    assert of.arms == pytest.approx({"holdout": 0.1, "treated": 0.9})
    found = of.analyze(datasets.shop())
    assert found.primary.ratio.passed
    overlap = found.checks["overlap"]
    assert isinstance(overlap, Overlap)
    assert {*overlap.matrix["journey"]} == {"akacja_welcome"}
    assert found.checks["calendar"].passed
    assert found.verdicts[0].decision != "blocked"


NEWS = one_letter("news", name="news")
SERVICE = one_letter("receipt", name="receipts", purpose="service")


def all_held(holdout: str | None = "30%") -> Portfolio:
    policy = Policy(holdout=holdout) if holdout else Policy()
    return Portfolio(journeys=(one_letter("letter_new"), NEWS, SERVICE), policy=policy)


def test_all_that_a_policy_may_hold_out_of_is_held_against_its_holdout(selling: Shop) -> None:
    of = Experiment.of_policy(all_held(), control="holdout", **declared(primary=BOUGHT, window="14d"))
    assert of.arms == pytest.approx({"holdout": 0.3, "treated": 0.7})
    assert {*of.versions} == {"letters", "news", "receipts"}
    log = selling.run(all_held()).log
    found = of.analyze(log)
    nobody = share(selling.run(SERVICE).log, of)
    assert holds(found, share(selling.run(all_held(None)).log, of) - nobody)
    assert found.primary.ratio.passed
    overlap = found.checks["overlap"]
    assert isinstance(overlap, Overlap)
    assert {*overlap.matrix["journey"]} == {"receipts"}
    one = Experiment.of_split(
        all_held().one("news"), "policy_holdout", portfolio=all_held(), control="holdout", **declared()
    )
    exposures = exposed_units(one, log).exposures
    assert exposures is not None
    assert exposures.journeys == ("news",)
    assert one.version != of.version


@pytest.fixture
def held_file(tmp_path: Path) -> Path:
    written = {"journeys": [one.data() for one in all_held().journeys], "policy": {"holdout": "30%"}}
    (tmp_path / "all.json").write_text(json.dumps(written))
    return tmp_path / "all.json"


def of_file(file: Path, journey: str, split: str = "policy_holdout", control: str = "holdout") -> Experiment:
    (file.parent / "test.json").write_text(
        json.dumps(
            {
                "experiment": "test", "journey": journey, "split": split, "control": control, "window": "7d",
                "primary": {"proportion": "purchase"}, "stopping": {"planned_n": 1000},
            }
        )
    )  # fmt: skip
    return Experiment.read(file.parent / "test.json")


def test_a_policys_holdout_is_declared_by_the_file_of_its_journeys(held_file: Path) -> None:
    every, one = of_file(held_file, "all.json"), of_file(held_file, "all.json#news")
    assert (
        every.version == Experiment.of_policy(all_held(), control="holdout", **declared(1000, primary=BOUGHT)).version
    )
    assert ({*every.versions}, {*one.versions}) == ({"letters", "news", "receipts"}, {"news"})
    assert one.arms == every.arms


def test_a_policy_that_holds_nobody_out_is_a_fault(held_file: Path) -> None:
    with pytest.raises(DefinitionError, match="the policy holds nobody out of receipts; give it a holdout"):
        of_file(held_file, "all.json#receipts")
    with pytest.raises(DefinitionError, match="did you mean 'policy_holdout'"):
        of_file(held_file, "all.json#news", split="policy_holdot")
    with pytest.raises(DefinitionError, match="did you mean 'treated'"):
        of_file(held_file, "all.json", control="treatd")
    held_file.write_text(held_file.read_text().replace("30%", "0%"))
    with pytest.raises(DefinitionError, match="the policy holds nobody out of letters, news, receipts"):
        of_file(held_file, "all.json")


# When it sends, since when it counts, and what else there was


def test_arms_that_send_at_other_hours_may_do_so_where_it_is_said() -> None:
    history = datasets.shop_history()
    of = Experiment.of_split(
        history.one("akacja_welcome"), "hour", portfolio=history, control="hello", varies_time=True,
        **declared(primary=Proportion("opened", where="message == 'welcome_1'")),
    )  # fmt: skip
    found = of.analyze(datasets.shop())
    assert found.primary.ratio.passed
    assert found.checks["calendar"].passed
    assert isinstance(found.units, OutcomeTable)
    unsaid = calendar_balance(found.units.exposures)
    assert not unsaid.passed
    assert "first sends of the arms differ by hour" in " ".join(unsaid.sentences())


def test_exposures_before_the_start_do_not_count_nor_do_those_after_the_horizon(shop: Shop) -> None:
    again = journey(SPLIT, trigger={"event": "visit", "reentry": "7d"})
    log, start = shop.run(again).log, pd.Timestamp("2026-02-20T00:00Z")
    of = Experiment.of_split(again, "which", control="old", **declared())
    late = Experiment.of_split(again, "which", control="old", **declared(start_at=start.to_pydatetime()))
    frame = exposed_units(of, log).units.frame(["contact", "exposed_at"])
    before = {*frame.loc[frame["exposed_at"] < start, "contact"]}
    found = exposed_units(late, log).units.frame(["contact", "exposed_at"])
    assert {*found["contact"]} == {*frame["contact"]} - before
    assert found["exposed_at"].min() >= start
    until = pd.Timestamp("2026-03-10T00:00Z")
    told = late.analyze(log, until=until.to_pydatetime())
    n_until, n_matured = (int((found["exposed_at"] <= at).sum()) for at in (until, until - pd.Timedelta("7D")))
    assert (told.maturity.n_exposed, told.maturity.n_matured) == (n_until, n_matured)
    assert late.version != of.version


def test_a_start_that_is_still_to_come_does_not_keep_from_planning(shop: Shop) -> None:
    later = pd.Timestamp("2027-01-01T00:00Z").to_pydatetime()
    of = Experiment.of_split(journey(SPLIT), "which", control="old", **declared(primary=BOUGHT, start_at=later))
    plan = of.plan(shop.organic, aa_runs=0)
    assert plan.n_units > 1_000
    assert plan.to_dict()["version"] == of.version


@pytest.mark.parametrize(("wait", "is_alike"), [("1h", True), ("20d", False)])
def test_a_shared_cap_that_falls_on_arms_unequally_is_seen(wait: str, is_alike: bool) -> None:
    """The news come first and take the week's only send: an arm that waits longer is spared."""
    nodes = {
        **SPLIT,
        "new": {"send": "letter_new", "when_capped": "skip", "next": "done"},
        "old": {"wait": wait, "next": "late"},
        "late": {"send": "letter_old", "when_capped": "skip", "next": "done"},
        "first": {"wait": "1h", "next": "which"},
    }
    mine = journey({"first": nodes.pop("first"), **nodes})
    portfolio = Portfolio(
        journeys=(NEWS, mine), policy=Policy.model_validate({"cap": {"sends": 1, "within": "7d"}})
    )  # fmt: skip
    shop = drawn(seed=3, n=600)
    of = Experiment.of_split(mine, "which", portfolio=portfolio, control="old", **declared(600, window="30d"))
    exposed = exposed_units(of, shop.run(portfolio).log)
    assert isinstance(exposed.units, OutcomeTable)
    found = overlap(exposed.units, exposed.portfolio, metrics=[])
    capped = found.caps.set_index("arm")["capped_share"]
    assert capped["new"] > 0.9
    assert (capped["old"] > 0.9) == is_alike
    assert found.passed == is_alike
    assert {*found.matrix["journey"]} == {"news"}


def test_a_policy_counts_although_its_journey_is_alone_in_the_file(tmp_path: Path, shop: Shop) -> None:
    """Without it, a replay would make sends that a cap had skipped, and the experiment would not have run."""
    twice = {
        **SPLIT,
        "new": {"send": "letter_new", "when_capped": "skip", "next": "more"},
        "old": {"send": "letter_old", "when_capped": "skip", "next": "more"},
        "more": {"wait": "1h", "next": "again"},
        "again": {"send": "reminder", "when_capped": "skip", "next": "done"},
    }
    written = {"journeys": [journey(twice).data()], "policy": {"cap": {"sends": 1, "within": "7d"}}}
    (tmp_path / "one.json").write_text(json.dumps(written))
    of = of_file(tmp_path / "one.json", "one.json", "which", "old")
    assert of.portfolio is not None
    exposed = exposed_units(of, shop.run(of.portfolio).log)
    assert exposed.exposures is not None
    assert {*exposed.exposures.confirmed["message"]} == {"letter_new", "letter_old"}
    assert exposed.portfolio is None


def test_a_split_in_a_part_is_an_experiment_of_the_journey_that_runs_it(tmp_path: Path) -> None:
    part = journey(SPLIT, "care")
    whole = journey({"care": {"run": "care", "next": "done"}, **DONE}, "whole")
    save(part, tmp_path / "care.yaml")
    save(whole, tmp_path / "whole.yaml")
    of = of_file(tmp_path / "whole.yaml", "whole.yaml", "care.which", "care.old")
    assert of.arms == {"care.old": 0.5, "care.new": 0.5}
    shop = drawn(n=800)
    [effect] = of.analyze(shop.run(of.definitions["whole.yaml"]).log).primary.effects
    assert effect.arm == "care.new"
    with pytest.raises(DefinitionError, match=r"did you mean 'care\.which'"):
        of_file(tmp_path / "whole.yaml", "whole.yaml", "care.wich", "care.old")
    with pytest.raises(DefinitionError, match=r"Known arms: care\.new, care\.old"):
        of_file(tmp_path / "whole.yaml", "whole.yaml", "care.which", "old")
