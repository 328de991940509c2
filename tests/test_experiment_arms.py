"""Each way to get arms, from the question to the record, in shops whose truth is known."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from journeylab.cli import main
from journeylab.errors import DataError, DefinitionError
from journeylab.eventlog import EventLog
from journeylab.experiments import Experiment, Proportion, Stopping
from journeylab.experiments.analysis import Analysis
from journeylab.experiments.comparedjourneys import arms_of
from journeylab.experiments.comparison import sample_ratio_of
from journeylab.experiments.exposed import exposed_units
from journeylab.experiments.record import DecisionRecord
from journeylab.experiments.sampleratio import SampleRatio
from journeylab.experiments.unittable import UnitTable
from journeylab.journey import Journey
from journeylab.journeyfile import save
from journeylab.shop import Shop

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


def declared(planned_n: int = 1500, **more: Any) -> dict[str, Any]:
    return {
        "experiment": "test", "window": "7d", "primary": OPENED, "stopping": Stopping(planned_n=planned_n), **more
    }  # fmt: skip


def drawn(seed: int = 5, n: int = 2_000, **more: Any) -> Shop:
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
stopping: {planned_n: 1500}
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
    shop = drawn(seed=8, n=1_600)
    house = [f"house-{number // 4}" if number < 1_400 else None for number in range(1_600)]
    shop.contacts = shop.contacts.assign(household=house)
    return shop


def test_a_household_shares_its_arm_its_errors_and_its_place_in_the_ratio(housed: Shop) -> None:
    by_house = journey(SPLIT, unit="household")
    of = Experiment.of_split(by_house, "which", control="old", **declared())
    found = of.analyze(housed.run(by_house).log)
    frame = exposed_units(of, housed.run(by_house).log).units.frame(["contact", "cluster", "arm"])
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
    assert len(of.watch(housed.run(by_house).log, looks=5).ratio.by_day) > 0
    assert of.plan(housed.run(by_house).log, aa_runs=0).n_units > 100


def together(n_runs: int, n_groups: int = 300) -> UnitTable:
    """Units of groups of one to eight, whose arms are given to groups, in A/A experiments numbered by `run`."""
    rng, shares = np.random.default_rng(3), {"a": 0.3, "b": 0.7}
    group = np.arange(n_runs * n_groups).repeat(rng.integers(1, 9, n_runs * n_groups))
    frame = pd.DataFrame({"arm": arms_of(group.astype(str), "aa", shares), "cluster": group.astype(str), "seen": 1.0})
    return UnitTable.of_frame(
        frame.assign(run=group // n_groups), [Proportion("seen")], control="a", shares=shares
    )  # fmt: skip


def test_the_ratio_of_households_alarms_as_often_as_it_may() -> None:
    """100 experiments with the right shares; counted by the unit, five times as many p values as may are below 5 %."""
    whole = together(100)
    tables = [whole.narrowed(f"run = {run}") for run in range(100)]
    found = [sample_ratio_of(table) for table in tables]
    assert np.mean([one.p_value < 0.05 for one in found]) < 0.11
    assert sum(one.passed is False for one in found) <= 2
    by_unit = [SampleRatio.from_counts(table.counts(), table.shares) for table in tables]
    assert np.mean([one.p_value < 0.05 for one in by_unit]) > 0.25


def test_households_that_went_missing_are_found() -> None:
    lost = together(1, 2_000).narrowed("arm = 'a' OR hash(cluster) % 5 > 0")
    assert sample_ratio_of(lost).passed is False


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
