"""Hillstrom's trial of mails, against tea-tasting and formulas by hand; no gain is claimed that is not there."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import tea_tasting as tt
from scipy import stats

from journeylab.experiments.effect import Effect
from journeylab.experiments.estimation.adjustment import Adjust
from journeylab.experiments.estimation.effects import effects
from journeylab.experiments.metrics import Mean, Metric, Proportion, Ratio, Revenue
from journeylab.experiments.plaintable import read_units
from journeylab.experiments.unittable import UnitTable

pytestmark = pytest.mark.data

CONTROL = "No E-Mail"
ARMS = ["Mens E-Mail", "Womens E-Mail"]
RATIOS = ["spend/visit", "spend/conversion", "conversion/visit"]
METRICS: list[Metric] = [
    Proportion("visit", covariate="history"),
    Proportion("conversion", covariate="history"),
    Mean("spend", covariate="history"),
    *(Ratio(ratio, covariate="history") for ratio in RATIOS),
]


@pytest.fixture(scope="module")
def path(shared_data: Path) -> Path:
    return shared_data / "hillstrom" / "hillstrom.csv.gz"


@pytest.fixture(scope="module")
def frame(path: Path) -> pd.DataFrame:
    return pd.read_csv(path)


@pytest.fixture(scope="module")
def units(path: Path) -> UnitTable:
    return read_units(path, arm="segment", control=CONTROL, metrics=METRICS)


def one(units: UnitTable, metric: str, arm: str, adjust: Adjust, kind: str | None = None) -> Effect:
    metrics = [each for each in units.metrics if each.name == metric]
    found = [each for each in effects(units, metrics, adjust=adjust) if each.arm == arm and kind in (None, each.kind)]
    assert len(found) == 1
    return found[0]


def test_all_three_arms_are_there(units: UnitTable) -> None:
    assert units.counts() == {"No E-Mail": 21_306, "Mens E-Mail": 21_307, "Womens E-Mail": 21_387}
    assert {one.arm for one in effects(units)} == set(ARMS)


@pytest.mark.parametrize("arm", ARMS)
@pytest.mark.parametrize("metric", [metric.name for metric in METRICS])
@pytest.mark.parametrize("adjust", ["none", "cuped"])
def test_equal_to_tea_tasting(units: UnitTable, frame: pd.DataFrame, metric: str, arm: str, adjust: Adjust) -> None:
    numerator, _, denominator = metric.partition("/")
    covariate = "history" if adjust == "cuped" else None
    oracle = tt.RatioOfMeans(numerator, denominator or None, covariate).analyze(frame, CONTROL, arm, "segment")
    found = one(units, metric, arm, adjust)
    assert found.mean_control == pytest.approx(oracle.control, rel=1e-9)
    assert found.mean_arm == pytest.approx(oracle.treatment, rel=1e-9)
    assert found.effect == pytest.approx(oracle.effect_size, rel=1e-7)
    assert found.low == pytest.approx(oracle.effect_size_ci_lower, rel=1e-7)
    assert found.high == pytest.approx(oracle.effect_size_ci_upper, rel=1e-7)
    assert found.p_value == pytest.approx(oracle.pvalue, rel=1e-7)
    assert found.effect / found.standard_error == pytest.approx(oracle.statistic, rel=1e-7)
    assert found.relative_effect == pytest.approx(oracle.rel_effect_size, rel=1e-7)


@pytest.mark.parametrize("arm", ARMS)
@pytest.mark.parametrize("metric", ["visit", "conversion", "spend"])
def test_means_equal_welch_by_scipy(units: UnitTable, frame: pd.DataFrame, metric: str, arm: str) -> None:
    sides = [frame.loc[frame["segment"] == name, metric] for name in (arm, CONTROL)]
    oracle = stats.ttest_ind(*sides, equal_var=False)
    found = one(units, metric, arm, "none")
    assert found.p_value == pytest.approx(oracle.pvalue, rel=1e-8)
    assert found.degrees_of_freedom == pytest.approx(oracle.df, rel=1e-9)
    assert (found.low, found.high) == pytest.approx(tuple(oracle.confidence_interval()), rel=1e-8)


@pytest.mark.parametrize("arm", ARMS)
@pytest.mark.parametrize("metric", RATIOS)
def test_ratios_equal_the_delta_method_by_hand(units: UnitTable, frame: pd.DataFrame, metric: str, arm: str) -> None:
    y_name, d_name = metric.split("/")
    values, variances = [], []
    for name in (arm, CONTROL):
        side = frame[frame["segment"] == name]
        y, d = side[y_name].to_numpy(float), side[d_name].to_numpy(float)
        ratio = y.mean() / d.mean()
        (s_yy, s_yd), (_, s_dd) = np.cov(y, d)
        values.append(ratio)
        variances.append((s_yy - 2 * ratio * s_yd + ratio**2 * s_dd) / d.mean() ** 2 / len(side))
    found = one(units, metric, arm, "none")
    assert found.effect == pytest.approx(values[0] - values[1], rel=1e-9)
    assert found.standard_error == pytest.approx(math.sqrt(sum(variances)), rel=1e-9)


@pytest.mark.parametrize("arm", ARMS)
def test_cuped_equals_its_formula_by_hand(units: UnitTable, frame: pd.DataFrame, arm: str) -> None:
    both = frame[frame["segment"].isin([arm, CONTROL])]
    theta = np.cov(both["visit"], both["history"])[0, 1] / both["history"].var()
    adjusted = both["visit"] - theta * (both["history"] - both["history"].mean())
    sides = [adjusted[both["segment"] == name] for name in (arm, CONTROL)]
    oracle = stats.ttest_ind(*sides, equal_var=False)
    found = one(units, "visit", arm, "cuped")
    assert found.effect == pytest.approx(sides[0].mean() - sides[1].mean(), rel=1e-9)
    assert found.p_value == pytest.approx(oracle.pvalue, rel=1e-6)
    error = math.sqrt(sum(side.var() / len(side) for side in sides))
    plain = math.sqrt(sum(both.loc[both["segment"] == name, "visit"].var() / len(s) for name, s in
                          zip((arm, CONTROL), sides, strict=True)))  # fmt: skip
    assert found.standard_error == pytest.approx(error, rel=1e-9)
    assert found.variance_reduction_share == pytest.approx(1 - (error / plain) ** 2, rel=1e-6)


@pytest.mark.parametrize("adjust", ["cuped", "regression"])
def test_history_is_no_gain(units: UnitTable, adjust: Adjust) -> None:
    for found in effects(units, adjust=adjust):
        assert found.variance_reduction_share < 0.005
        assert any(note.endswith("saved by history: no gain") for note in found.notes)


def test_spend_is_too_skewed_for_the_normal(path: Path, frame: pd.DataFrame) -> None:
    units = read_units(path, arm="segment", control=CONTROL, metrics=[Revenue("spend")])
    raw, winsorised = (one(units, "spend", ARMS[0], "none", kind) for kind in ("revenue", "winsorised"))
    spent = frame.loc[frame["segment"] == ARMS[0], "spend"]
    needed = math.ceil(355 * stats.skew(spent) ** 2)
    assert f"needs {needed:,} units" in raw.notes[0]
    assert "by bootstrap" in raw.notes[0]
    cap = np.quantile(frame.loc[frame["spend"] > 0, "spend"], 0.99)
    oracle = tt.Mean("capped").analyze(frame.assign(capped=frame["spend"].clip(upper=cap)), CONTROL, ARMS[0], "segment")
    assert winsorised.effect == pytest.approx(oracle.effect_size, rel=1e-9)
    assert winsorised.high == pytest.approx(oracle.effect_size_ci_upper, rel=1e-9)
    assert f"the cap {cap:,.2f} is that of amounts above 0" in winsorised.notes[0]


def test_segments_equal_separate_analyses(path: Path, frame: pd.DataFrame) -> None:
    units = read_units(
        path, arm="segment", control=CONTROL, metrics=[Mean("visit", covariate="history")], keep=["channel"]
    )
    found = effects(units, by="channel")
    assert [(each.group, each.arm) for each in found] == [
        (channel, arm) for channel in ("Multichannel", "Phone", "Web") for arm in ARMS
    ]
    for each in found:
        part = frame[frame["channel"] == each.group]
        oracle = tt.Mean("visit", "history").analyze(part, CONTROL, each.arm, "segment")
        assert each.low == pytest.approx(oracle.effect_size_ci_lower, rel=1e-7)
        assert each.p_value == pytest.approx(oracle.pvalue, rel=1e-6)
