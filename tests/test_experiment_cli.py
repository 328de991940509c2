"""The commands of experiments: their JSON, their words, and what they say of input that is at fault."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from journeylab.cli import main
from journeylab.datasets import fixtures
from journeylab.experiments.record import DecisionRecord

Run = Callable[..., str]
FILE = str(fixtures() / "experiments" / "offer_test.yaml")
LOG = (
    "--events", str(fixtures() / "shop" / "events.parquet"),
    "--contacts", str(fixtures() / "shop" / "contacts.parquet"),
)  # fmt: skip


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    def call(*arguments: object, status: int = 0) -> str:
        with pytest.raises(SystemExit) as exited:
            main([str(argument) for argument in arguments])
        streams = capsys.readouterr()
        code = exited.value.code
        assert (code if isinstance(code, int) else 1) == status, streams.err
        return streams.out if status == 0 else f"{streams.out}{streams.err}{code}"

    return call


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    rng = np.random.default_rng(3)
    n = 6000
    arm = np.array(["none", "a", "b"])[np.arange(n) % 3]
    history = rng.gamma(2, 50, n)
    visit = rng.random(n) < 0.1 + 0.05 * (arm == "a") + history / 600
    frame = pd.DataFrame(
        {
            "group": arm,
            "history": history,
            "visit": visit.astype(int),
            "spend": np.round(visit * rng.gamma(2, 10, n), 2),
            "household": np.arange(n) // 6,
            "channel": rng.choice(["web", "phone"], n),
        }
    )
    path = tmp_path_factory.mktemp("units") / "units.csv"
    frame.to_csv(path, index=False)
    return path


ARMS = ("--arm", "group", "--control", "none")


def analyzed(run: Run, table: Path, *more: object) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(run("experiment", "analyze", table, *ARMS, *more, "--json"))
    return found


def test_the_json_of_a_table_has_all_that_was_promised(run: Run, table: Path) -> None:
    found = analyzed(run, table, "--metric", "visit", "--metric", "spend", "--ratio", "spend/visit")
    assert found["sample_ratio"]["n"] == {"none": 2000, "a": 2000, "b": 2000}
    assert found["sample_ratio"]["p_value"] == 1
    assert [(one["metric"], one["arm"]) for one in found["results"]] == [
        ("visit", "a"), ("visit", "b"), ("spend", "a"), ("spend", "b"), ("spend/visit", "a"), ("spend/visit", "b"),
    ]  # fmt: skip
    frame = pd.read_csv(table).groupby("group")[["visit", "spend"]].mean()
    first, *_, last = found["results"]
    assert first["control"] == "none"
    assert first["mean_arm"] == pytest.approx(frame.loc["a", "visit"])
    assert first["effect"] == pytest.approx(frame.loc["a", "visit"] - frame.loc["none", "visit"])
    assert first["interval"][0] < first["effect"] < first["interval"][1]
    assert first["variance_reduction_share"] == 0
    assert last["mean_arm"] == pytest.approx(frame.loc["b", "spend"] / frame.loc["b", "visit"])
    assert {"standard_error", "p_value"} <= first.keys()
    assert isinstance(found["warnings"], list)


def test_a_covariate_narrows_and_one_that_does_not_is_no_gain(run: Run, table: Path) -> None:
    plain, adjusted = (
        analyzed(run, table, "--metric", "spend", *more)["results"][0] for more in ((), ("--covariate", "history"))
    )
    assert adjusted["variance_reduction_share"] > 0.02
    assert adjusted["standard_error"] < plain["standard_error"]
    assert adjusted["unadjusted_effect"] == pytest.approx(plain["effect"])
    useless = analyzed(run, table, "--metric", "visit", "--covariate", "household")
    assert any("no gain" in warning for warning in useless["warnings"]), useless["warnings"]


def test_sequential_intervals_are_wider_and_say_so(run: Run, table: Path) -> None:
    fixed = analyzed(run, table, "--metric", "visit")["results"][0]
    valid = analyzed(run, table, "--metric", "visit", "--sequential", "--planned-n", 6000)["results"][0]
    assert valid["interval"][0] < fixed["interval"][0]
    assert valid["interval"][1] > fixed["interval"][1]
    assert (fixed["interval_kind"], valid["interval_kind"]) == ("fixed", "always-valid")
    said = run("experiment", "analyze", table, *ARMS, "--metric", "visit", "--sequential", "--planned-n", 6000)
    assert "that hold whenever one looks" in said


def test_clusters_widen_intervals(run: Run, tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    house = np.arange(3000) // 6
    frame = pd.DataFrame(
        {"group": np.where(house % 2 == 0, "none", "a"), "house": house, "visit": (rng.random(500) < 0.2)[house] * 1}
    )
    frame.to_parquet(tmp_path / "units.parquet")
    apart, together = (
        analyzed(run, tmp_path / "units.parquet", "--metric", "visit", *more)["results"][0]
        for more in ((), ("--cluster", "house"))
    )
    assert together["standard_error"] == pytest.approx(apart["standard_error"] * np.sqrt(6), rel=0.02)
    assert together["n_clusters"] == 500
    frame.assign(half=np.arange(3000) // 1500).to_parquet(tmp_path / "units.parquet")
    parted = analyzed(run, tmp_path / "units.parquet", "--metric", "visit", "--cluster", "half")
    assert parted["sample_ratio"]["n"] == {"none": 1500, "a": 1500}


def test_arms_without_their_units_give_no_effects(run: Run, table: Path) -> None:
    found = analyzed(run, table, "--metric", "visit", "--shares", "none=50%,a=25%,b=25%")
    assert found["sample_ratio"]["p_value"] < 1e-6
    assert found["results"] == []
    assert "No effect is given." in found["refused"]
    assert "No effect is given" in run(
        "experiment", "analyze", table, *ARMS, "--metric", "visit", "--shares", "none=50%,a=25%,b=25%"
    )


def test_segments_and_features_say_for_whom(run: Run, table: Path) -> None:
    found = analyzed(run, table, "--metric", "visit", "--segment", "channel", "--feature", "history")
    assert {(one["segment"], one["arm"]) for one in found["segments"]} == {("channel", "a"), ("channel", "b")}
    assert {one["arm"] for one in found["rankings"]} == {"a", "b"}
    assert found["recommendation"]["choice"] == "a"


@pytest.mark.parametrize(
    ("more", "status", "says"),
    [
        (("--arm", "grup", "--control", "none", "--metric", "visit"), 1, "did you mean 'group'?"),
        (("--arm", "group", "--control", "nobody", "--metric", "visit"), 1, "nobody"),
        (("--arm", "group", "--control", "none", "--metric", "vist"), 1, "did you mean 'visit'?"),
        (("--arm", "group", "--control", "none", "--metric", "channel"), 1, "channel"),
        (("--arm", "group", "--control", "none"), 2, "--metric or"),
        (("--arm", "group", "--control", "none", "--metric", "visit", "--unit", "household"), 1, "household"),
        (("--arm", "group", "--metric", "visit"), 2, "--control"),
        (("--arm", "group", "--control", "none", "--metric", "visit", "--sequential"), 2, "--planned-n"),
        (("--arm", "group", "--control", "none", "--ratio", "spend"), 2, "write it as spend/visit"),
        (("--arm", "group", "--control", "none", "--metric", "visit", "--shares", "a"), 2, "control=50%,mail=50%"),
        (("--arm", "group", "--control", "none", "--metric", "visit", "--correction", "hol"), 2, "holm, fdr_bh"),
    ],
)
def test_input_at_fault_is_named(run: Run, table: Path, more: tuple[str, ...], status: int, says: str) -> None:
    said = run("experiment", "analyze", table, *more, status=status)
    assert says in said
    assert "Traceback" not in said


def test_an_experiment_goes_from_its_plan_to_its_record(run: Run, tmp_path: Path) -> None:
    plan, record = tmp_path / "plan.json", tmp_path / "record.json"
    planned = json.loads(run("experiment", "plan", FILE, *LOG, "--aa-runs", 5, "--out", plan, "--json"))
    assert planned["experiment"] == "offer_test"
    assert planned["recruiting"]["n_weeks"] > 0
    assert json.loads(plan.read_text())["version"] == planned["version"]
    said = run(
        "experiment", "analyze", FILE, *LOG, "--plan", plan, "--record", record, "--by", "growth", "--reason", "no gain"
    )
    assert "UNDECIDED" in said
    kept = DecisionRecord.read(record)
    assert kept.asked["declared_version"] == planned["version"]
    assert kept.decided["arm"] is None
    assert "no arm was decided on" in kept.refusals()
    found = json.loads(run("experiment", "analyze", FILE, *LOG, "--json"))
    assert found["version"] == planned["version"]
    assert {verdict["arm"] for verdict in found["verdicts"]} == {"discount", "free_month"}


def test_experiments_are_checked_with_journeys(run: Run, tmp_path: Path) -> None:
    journey = fixtures() / "journeys" / "cdnow_winback.yaml"
    assert run("check", FILE, journey).splitlines()[-2:] == ["1 journey is sound", "1 experiment is sound"]
    found = json.loads(run("check", FILE, "--json"))
    assert [one["experiment"] for one in found["experiments"]] == ["offer_test"]
    wrong = tmp_path / "wrong.yaml"
    wrong.write_text("experiment: wrong\ncontrol: a\n")
    assert "an experiment needs `primary`" in run("check", wrong, status=1)


def test_watching_shows_the_path(run: Run, tmp_path: Path) -> None:
    page = tmp_path / "watch.html"
    found = json.loads(run("experiment", "watch", FILE, *LOG, "--looks", 5, "--html", page, "--json"))
    assert len(found["path"]) == 10
    assert found["alarms"] == []
    assert "<svg" in page.read_text()


@pytest.mark.parametrize(
    ("arguments", "status", "says"),
    [
        (("plan", FILE), 2, "--events"),
        (("plan", "nowhere.yaml", *LOG), 1, "no such file"),
        (("analyze", FILE, *LOG, "--metric", "visit"), 2, "says so already"),
        (("analyze", FILE, *LOG, "--record", "r.json"), 2, "--by and --reason"),
        (("analyze", FILE, *LOG, "--decide", "plain"), 2, "it goes with --record"),
        (("analyze", FILE, *LOG, "--sequential"), 2, "says so already"),
        (("analyze", FILE), 2, "name the log"),
        (
            ("analyze", "t.csv", "--arm", "a", "--control", "b", "--metric", "c", "--plan", "p.json"),
            2,
            "file, which this",
        ),
        (("analyze", FILE, *LOG, "--plan", FILE), 1, "no declared plan"),
    ],
)
def test_wrong_use_is_explained(run: Run, arguments: tuple[str, ...], status: int, says: str) -> None:
    said = run("experiment", *arguments, status=status)
    assert says in said
    assert "Traceback" not in said
