"""Effects against tea-tasting, statsmodels, scipy and SQL, and in simulations whose truth is known."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pandas as pd
import pytest
import statsmodels.api as sm
import tea_tasting as tt
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from statsmodels.duration.survfunc import SurvfuncRight, survdiff
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.proportion import confint_proportions_2indep

from journeylab.errors import DataError
from journeylab.experiments.effect import Effect, effects_table
from journeylab.experiments.estimation.adjustment import Adjust, difference
from journeylab.experiments.estimation.corrections import corrected
from journeylab.experiments.estimation.effects import effects
from journeylab.experiments.estimation.guardrails import guardrails, guardrails_table
from journeylab.experiments.estimation.moments import Columns, Moments
from journeylab.experiments.estimation.quantiles import quantile_and_error
from journeylab.experiments.estimation.skewed import bootstrap_interval, resampled
from journeylab.experiments.estimation.survival import restricted_mean
from journeylab.experiments.metrics import (
    Count,
    Guardrail,
    Mean,
    Metric,
    Proportion,
    Quantile,
    Ratio,
    Revenue,
    TimeToEvent,
)
from journeylab.experiments.plaintable import read_units

Floats = np.ndarray[Any, np.dtype[np.float64]]


def made(n: int = 3000, seed: int = 1) -> pd.DataFrame:
    """Units whose values follow what came before, with an effect of the new arm; some of the past is missing."""
    rng = np.random.default_rng(seed)
    before = rng.gamma(2, 10, n)
    is_new = rng.random(n) < 0.4
    sent = rng.poisson(3, n) + 1
    return pd.DataFrame(
        {
            "arm": np.where(is_new, "new", "old"),
            "spend": before * (1 + 0.2 * is_new) + rng.normal(0, 8, n) + 5,
            "opened": rng.binomial(sent, np.where(is_new, 0.3, 0.25)),
            "sent": sent,
            "bought": rng.random(n) < 0.1 + before / 400,
            "before": before,
            "age": rng.normal(40, 10, n),
            "patchy": np.where(rng.random(n) < 0.3, np.nan, before),
            "part": rng.choice(["a", "b"], n),
            "household": rng.integers(0, n // 4, n),
        }
    )


def of(frame: pd.DataFrame, *metrics: Metric, cluster: str | None = None, **more: Any) -> list[Effect]:
    keep = ["age", "patchy", "part"]
    units = read_units(frame, arm="arm", control="old", metrics=metrics, cluster=cluster, keep=keep)
    return effects(units, **more)


def sides(frame: pd.DataFrame, column: str) -> tuple[pd.Series, pd.Series]:
    return frame.loc[frame["arm"] == "new", column], frame.loc[frame["arm"] == "old", column]


@pytest.mark.parametrize("offset", [0.0, 1e6, -1e8])
def test_means_far_from_zero_lose_no_digits(offset: float) -> None:
    frame = made().assign(spend=lambda f: f["spend"] + offset)
    [found] = of(frame, Mean("spend", covariate="before"))
    oracle = tt.Mean("spend", "before").analyze(frame, "old", "new", "arm")
    assert found.low == pytest.approx(oracle.effect_size_ci_lower, rel=1e-6)
    assert found.p_value == pytest.approx(oracle.pvalue, rel=1e-5)


def test_a_control_near_zero_is_no_trouble() -> None:
    rng = np.random.default_rng(3)
    frame = pd.DataFrame({"arm": ["old", "new"] * 50, "spend": rng.normal(0, 1, 100)})
    frame["spend"] -= frame.loc[frame["arm"] == "old", "spend"].mean()
    [found] = effects(read_units(frame, arm="arm", control="old", metrics=[Mean("spend")]))
    oracle = stats.ttest_ind(*sides(frame, "spend"), equal_var=False)
    assert found.p_value == pytest.approx(oracle.pvalue)


def test_a_group_without_the_event_has_no_error_whatever_the_others_have() -> None:
    """What rounding leaves around the mean of all units is no error: as one it would outweigh every other group."""
    frame = made().assign(part=lambda rows: np.where(rows.index % 10 == 0, "none", "some"))
    for share in (0.0, 1.0):
        values = np.where(frame["part"] == "none", share, np.arange(len(frame)) % 7 == 0)
        found = of(frame.assign(happened=values), Mean("happened"), by="part")
        none, some = found
        assert (none.mean_arm, none.mean_control) == pytest.approx((share, share), rel=1e-12, abs=0)
        assert np.isnan([none.standard_error, none.low, none.high, none.p_value]).all()
        assert some.standard_error > 0.001


def test_several_covariates_save_what_their_regression_explains() -> None:
    frame = made()
    [found] = of(frame, Mean("spend", covariate="before"), covariates=["age"])
    theta = sm.OLS(frame["spend"], sm.add_constant(frame[["before", "age"]])).fit().params[["before", "age"]]
    adjusted = frame.assign(spend=frame["spend"] - frame[["before", "age"]] @ theta)
    oracle = stats.ttest_ind(*sides(adjusted, "spend"), equal_var=False)
    assert found.effect == pytest.approx(sides(adjusted, "spend")[0].mean() - sides(adjusted, "spend")[1].mean())
    assert found.p_value == pytest.approx(oracle.pvalue, rel=1e-6)
    assert found.variance_reduction_share > 0.5
    assert not found.notes


def test_a_covariate_twice_or_constant_changes_nothing() -> None:
    frame = made().assign(age=lambda f: f["before"], patchy=7.0)
    [once] = of(frame, Mean("spend", covariate="before"))
    for adjust in ("cuped", "regression"):
        [again] = of(frame, Mean("spend", covariate="before"), covariates=["age", "patchy"], adjust=adjust)
        [single] = of(frame, Mean("spend", covariate="before"), adjust=adjust)
        assert again.effect == pytest.approx(single.effect, rel=1e-6)
        assert again.standard_error == pytest.approx(single.standard_error, rel=1e-6)
    assert once.variance_reduction_share > 0.5


@pytest.mark.parametrize("names", [["before"], ["before", "age"]])
def test_regression_is_the_interacted_one(names: list[str]) -> None:
    frame = made()
    [found] = of(frame, Mean("spend", covariate="before"), adjust="regression", covariates=names[1:])
    centred = frame[names] - frame[names].mean()
    is_new = (frame["arm"] == "new").astype(float)
    design = pd.concat([pd.Series(1.0, frame.index), is_new, centred, centred.mul(is_new, axis=0)], axis=1)
    fit = sm.OLS(frame["spend"].to_numpy(), design.to_numpy()).fit(cov_type="HC2")
    assert found.effect == pytest.approx(fit.params[1], rel=1e-9)
    own = [
        sm.OLS(part["spend"], sm.add_constant(part[names])).fit()
        for part in (frame[frame["arm"] == "new"], frame[frame["arm"] == "old"])
    ]
    at = np.array([[1.0, *frame[names].mean()]])
    of_lines = sum(one.get_prediction(at).se_mean[0] ** 2 for one in own)
    apart = (own[0].params - own[1].params)[names].to_numpy()
    of_mean = apart @ np.atleast_2d(np.cov(frame[names].T)) @ apart / len(frame)
    assert found.standard_error == pytest.approx(math.sqrt(of_lines + of_mean), rel=1e-9)
    assert math.sqrt(of_lines) == pytest.approx(fit.bse[1], rel=0.03)


def test_a_missing_past_is_a_covariate_itself() -> None:
    frame = made()
    [found] = of(frame, Mean("spend", covariate="patchy"))
    filled = frame.assign(patchy=frame["patchy"].fillna(0), is_missing=frame["patchy"].isna().astype(float))
    names = ["patchy", "is_missing"]
    theta = sm.OLS(filled["spend"], sm.add_constant(filled[names])).fit().params[names]
    adjusted = filled.assign(spend=filled["spend"] - filled[names] @ theta)
    oracle = stats.ttest_ind(*sides(adjusted, "spend"), equal_var=False)
    assert found.p_value == pytest.approx(oracle.pvalue, rel=1e-6)
    assert f"patchy is missing for {frame['patchy'].isna().mean():.1%} of the units" in found.notes[0]


@pytest.mark.parametrize("cluster", [None, "household"])
def test_ratios_with_a_covariate(cluster: str | None) -> None:
    frame = made()
    [found] = of(frame, Ratio("opened/sent", covariate="before"), cluster=cluster)
    if cluster is not None:
        sums = {"opened": "sum", "sent": "sum", "before": "sum", "age": "size"}
        frame = frame.groupby(["arm", cluster], as_index=False).agg(sums)
    oracle = tt.RatioOfMeans("opened", "sent", "before", "age" if cluster else None).analyze(frame, "old", "new", "arm")
    assert found.effect == pytest.approx(oracle.effect_size, rel=1e-6)
    assert found.high == pytest.approx(oracle.effect_size_ci_upper, rel=1e-6)


def by_household(n: int = 4000, seed: int = 5) -> pd.DataFrame:
    """Households of unequal size that share their luck and their arm."""
    rng = np.random.default_rng(seed)
    frame = pd.DataFrame({"household": np.sort(rng.integers(0, n // 5, n))})
    luck = rng.normal(0, 1, n // 5)[frame["household"]]
    frame["arm"] = np.where(frame["household"] % 2, "new", "old")
    frame["spend"] = 10 + luck + rng.normal(0, 1, n)
    frame["bought"] = (luck + rng.normal(0, 1, n) > 1).astype(int)
    return frame.assign(age=1.0, patchy=1.0, part="a")


@pytest.mark.parametrize("name", ["spend", "bought"])
def test_clusters_are_ratios_of_their_sums(name: str) -> None:
    frame = by_household()
    [found] = of(frame, Mean(name), cluster="household")
    table = frame.groupby(["arm", "household"], as_index=False).agg(total=(name, "sum"), size=(name, "size"))
    oracle = tt.RatioOfMeans("total", "size").analyze(table, "old", "new", "arm")
    assert found.effect == pytest.approx(oracle.effect_size, rel=1e-8)
    assert (found.low, found.high) == pytest.approx(
        (oracle.effect_size_ci_lower, oracle.effect_size_ci_upper), rel=1e-7
    )
    assert found.n_clusters == len(table)
    assert found.n_arm == (frame["arm"] == "new").sum()
    is_new = sm.add_constant((frame["arm"] == "new").astype(float))
    fit = sm.OLS(frame[name], is_new).fit(cov_type="cluster", cov_kwds={"groups": frame["household"]})
    assert found.standard_error == pytest.approx(fit.bse["arm"], rel=0.01)
    [alone] = of(frame, Mean(name))
    assert alone.standard_error < 0.8 * found.standard_error


def test_few_and_split_clusters_are_told_of() -> None:
    [few] = of(by_household(150), Mean("spend"), cluster="household")
    assert "below about 30 in each" in few.notes[-1]
    [split] = of(made(), Mean("spend"), cluster="household")
    assert "clusters with units in several arms" in split.notes[-1]


@pytest.mark.parametrize(("few", "many"), [(0, 4), (3, 12), (9, 30)])
def test_rare_events_have_exact_intervals(few: int, many: int) -> None:
    n = 500
    frame = pd.DataFrame(
        {"arm": ["new"] * n + ["old"] * n, "left": [1] * few + [0] * (n - few) + [1] * many + [0] * (n - many)}
    )
    [found] = effects(read_units(frame, arm="arm", control="old", metrics=[Proportion("left")]))
    assert found.p_value == pytest.approx(stats.fisher_exact([[few, n - few], [many, n - many]]).pvalue)
    oracle = confint_proportions_2indep(few, n, many, n, method="newcomb", compare="diff")
    assert (found.low, found.high) == pytest.approx(oracle)
    assert found.effect == pytest.approx((few - many) / n)
    assert "too few for the normal" in found.notes[0]


def test_proportions_and_counts_are_means() -> None:
    frame = made()
    found = of(frame, Proportion("bought"), Count("sent"))
    for one, name in zip(found, ["bought", "sent"], strict=True):
        oracle = tt.Mean(name).analyze(frame.assign(bought=frame["bought"].astype(int)), "old", "new", "arm")
        assert one.p_value == pytest.approx(oracle.pvalue, rel=1e-8)


def test_nothing_is_said_where_nothing_varies() -> None:
    frame = made().assign(spend=1.0)
    [found] = of(frame, Mean("spend", covariate="before"))
    assert found.effect == 0
    assert math.isnan(found.standard_error)
    assert math.isnan(found.low)
    assert math.isnan(found.p_value)
    assert "the error cannot be told" in found.notes[-1]
    assert found.to_dict()["p_value"] is None
    [ratio] = of(made().assign(sent=0), Ratio("opened/sent"))
    assert "there is no ratio" in ratio.notes[0]


@settings(max_examples=12)
@given(st.lists(st.tuples(st.booleans(), st.integers(-5, 5), st.integers(-3, 3)), min_size=4, max_size=40))
def test_any_data_give_what_scipy_gives_or_nothing(rows: list[tuple[bool, int, int]]) -> None:
    frame = pd.DataFrame(rows, columns=["is_new", "spend", "past"])
    frame["arm"] = np.where(frame["is_new"], "new", "old")
    if frame["arm"].nunique() < 2:
        return
    units = read_units(frame, arm="arm", control="old", metrics=[Mean("spend", covariate="past")])
    [found] = effects(units, adjust="none")
    new, old = sides(frame, "spend")
    assert found.effect == pytest.approx(new.mean() - old.mean())
    if min(len(new), len(old)) > 1 and new.var() + old.var() > 0:
        assert found.p_value == pytest.approx(stats.ttest_ind(new, old, equal_var=False).pvalue)
    else:
        assert math.isnan(found.p_value)
    for adjust in ("cuped", "regression"):
        [adjusted] = effects(units, adjust=adjust)
        assert adjusted.unadjusted_effect == pytest.approx(found.effect)


def test_the_sign_turns_with_the_control() -> None:
    frame = made()
    there, back = (
        effects(read_units(frame, arm="arm", control=control, metrics=[Mean("spend", covariate="before")]))[0]
        for control in ("old", "new")
    )
    assert there.effect == pytest.approx(-back.effect)
    assert (there.low, there.high) == pytest.approx((-back.high, -back.low))


def test_unknown_columns_and_texts_are_refused() -> None:
    with pytest.raises(DataError, match="no column 'prat'; did you mean 'part'"):
        of(made(), Mean("spend"), by="prat")
    with pytest.raises(DataError, match="the covariate 'part' has VARCHAR"):
        of(made(), Mean("spend"), covariates=["part"])


def test_a_table_of_effects_has_a_row_each() -> None:
    table = effects_table(of(made(), Mean("spend"), Revenue("spend", called="revenue"), by="part"))
    assert table[["group", "metric", "kind"]].to_numpy().tolist() == [
        [part, *kind]
        for part in ("a", "b")
        for kind in (("spend", "mean"), ("revenue", "revenue"), ("revenue", "winsorised"))
    ]


def test_covariates_may_be_flags_and_large_whole_numbers() -> None:
    frame = made().assign(age=lambda f: f["before"] > 20, patchy=lambda f: (f["before"] * 1e15).astype(np.int64))
    [found] = of(frame, Mean("spend"), covariates=["age", "patchy"])
    names = ["flag", "large"]
    past = frame.assign(flag=frame["age"].astype(float), large=frame["patchy"] / 1e15)
    theta = sm.OLS(past["spend"], sm.add_constant(past[names])).fit().params[names]
    new, old = sides(past.assign(spend=past["spend"] - past[names] @ theta), "spend")
    assert found.p_value == pytest.approx(stats.ttest_ind(new, old, equal_var=False).pvalue, rel=1e-6)


# Quantiles and times


@pytest.mark.parametrize("at", [0.5, 0.9])
def test_quantiles_agree_with_the_bootstrap(at: float) -> None:
    frame = made()
    [found] = of(frame, Quantile("spend", at=at))
    oracle = tt.Quantile("spend", at, n_resamples=1500, method="percentile", rng=1).analyze(frame, "old", "new", "arm")
    assert found.effect == pytest.approx(oracle.effect_size, rel=1e-9)
    assert found.high - found.low == pytest.approx(oracle.effect_size_ci_upper - oracle.effect_size_ci_lower, rel=0.15)


def test_the_error_of_a_quantile_of_known_values() -> None:
    values = stats.norm.ppf((np.arange(20_000) + 0.5) / 20_000)
    for at in (0.1, 0.5, 0.95):
        error = math.sqrt(at * (1 - at) / len(values)) / stats.norm.pdf(stats.norm.ppf(at))
        assert quantile_and_error(values, at).standard_error == pytest.approx(error, rel=0.02)
    alone = quantile_and_error(values, 0.5, np.arange(len(values)))
    assert alone.standard_error == pytest.approx(quantile_and_error(values, 0.5).standard_error, rel=0.01)
    twins = quantile_and_error(np.repeat(values, 2), 0.5, np.repeat(np.arange(len(values)), 2))
    assert twins.standard_error == pytest.approx(alone.standard_error, rel=0.01)


def test_quantiles_say_when_they_cannot_tell() -> None:
    assert "too few" in quantile_and_error(np.arange(5.0), 0.9).note
    ties = quantile_and_error(np.array([0.0] * 900 + [1.0] * 100), 0.5)
    assert math.isnan(ties.standard_error)
    assert "have the value 0" in ties.note
    [found] = of(made().assign(spend=0.0), Quantile("spend", covariate="before"))
    assert math.isnan(found.p_value)
    assert "not adjusted for" in found.notes[-1]


def times(n: int = 800, seed: int = 2) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    is_new = rng.random(n) < 0.5
    days = np.ceil(rng.exponential(np.where(is_new, 12, 16), n))
    followed = rng.integers(10, 31, n).astype(float)
    frame = pd.DataFrame({"arm": np.where(is_new, "new", "old"), "followed": followed})
    return frame.assign(days=np.where(days <= followed, days, np.nan), age=1.0, patchy=1.0, part="a")


def test_times_agree_with_kaplan_meier_and_the_log_rank_test() -> None:
    frame = times()
    [found] = of(frame, TimeToEvent("days"))
    frame["time"], frame["happened"] = frame["days"].fillna(frame["followed"]), frame["days"].notna().astype(int)
    means = []
    for arm in ("new", "old"):
        part = frame[frame["arm"] == arm]
        curve = SurvfuncRight(part["time"], part["happened"])
        at = np.append(np.append(0.0, curve.surv_times), 30.0)
        means.append(float(np.append(1.0, curve.surv_prob) @ np.diff(at)))
    assert (found.mean_arm, found.mean_control) == pytest.approx(tuple(means))
    assert found.effect == pytest.approx(means[0] - means[1])
    _, p_value = survdiff(frame["time"], frame["happened"], frame["arm"])
    assert any(f"p = {p_value:.3g}" in note for note in found.notes)
    assert any("within the first 30 days" in note for note in found.notes)


@pytest.mark.parametrize("cluster", [None, "household"])
def test_groups_are_compared_by_themselves(cluster: str | None) -> None:
    frame = times().assign(household=lambda f: np.arange(len(f)) // 3, part=lambda f: np.where(f.index % 2, "b", "a"))
    metrics: list[Metric] = [
        TimeToEvent("days"),
        Quantile("followed", called="median"),
        Mean("followed", called="mean"),
    ]
    together = of(frame, *metrics, cluster=cluster, by="part")
    assert [(one.group, one.metric) for one in together] == [(g, m) for g in "ab" for m in ("days", "median", "mean")]
    for one in together:
        part = frame[frame["part"] == one.group]
        [alone] = [other for other in of(part, *metrics, cluster=cluster) if other.metric == one.metric]
        assert (one.effect, one.standard_error) == pytest.approx((alone.effect, alone.standard_error))
        assert one.n_clusters == alone.n_clusters


def test_the_error_of_a_restricted_mean() -> None:
    frame = times(seed=3)
    at, happened = frame["days"].fillna(frame["followed"]).to_numpy(), frame["days"].notna().to_numpy()
    found = restricted_mean(at, happened, 30.0)
    curve = SurvfuncRight(at, happened.astype(int))
    areas = curve.surv_prob * np.diff(np.append(curve.surv_times, 30.0))
    after = np.cumsum(areas[::-1])[::-1]
    n, d = curve.n_risk, curve.n_events
    greenwood = np.sum(np.where(n > d, after**2 * d / (n * np.maximum(n - d, 1)), 0))
    assert found.standard_error == pytest.approx(math.sqrt(greenwood), rel=1e-9)
    rng = np.random.default_rng(1)
    draws = [restricted_mean(at[i], happened[i], 30.0).value for i in rng.integers(0, len(at), (400, len(at)))]
    assert found.standard_error == pytest.approx(np.std(draws), rel=0.12)
    twins = restricted_mean(np.repeat(at, 2), np.repeat(happened, 2), 30.0, np.repeat(np.arange(len(at)), 2))
    assert twins.value == pytest.approx(found.value)
    assert twins.standard_error == pytest.approx(found.standard_error, rel=0.01)


def test_without_censoring_the_restricted_mean_is_the_mean() -> None:
    at = np.random.default_rng(1).exponential(5, 300)
    found = restricted_mean(at, np.ones(300, bool), 8.0)
    assert found.value == pytest.approx(np.minimum(at, 8).mean())
    assert found.standard_error == pytest.approx(np.minimum(at, 8).std() / math.sqrt(300), rel=1e-6)


# Skewed amounts, guardrails, corrections


def test_the_bootstrap_agrees_with_scipys() -> None:
    rng = np.random.default_rng(4)
    new, old = rng.lognormal(0, 1, 400).round(2), rng.lognormal(0, 1, 500).round(2)
    samples = [
        resampled(*np.unique(side, return_counts=True), np.random.default_rng(i)) for i, side in enumerate((new, old))
    ]
    assert samples[0] is not None
    assert samples[1] is not None
    found = bootstrap_interval(samples[0], samples[1], 0.05)
    oracle = stats.bootstrap(
        (new, old), lambda a, b, axis: a.mean(axis) - b.mean(axis), n_resamples=3000, rng=1
    ).confidence_interval
    assert found == pytest.approx(tuple(oracle), abs=0.06)


def rail_of(left_new: int, left_old: int, margin: float, n: int = 5000, better: str = "lower") -> Any:
    flags = [1] * left_new + [0] * (n - left_new) + [1] * left_old + [0] * (n - left_old)
    frame = pd.DataFrame({"arm": ["new"] * n + ["old"] * n, "left": flags})
    rail = Guardrail(Proportion("left", better=better), margin=margin)
    [found] = guardrails(read_units(frame, arm="arm", control="old", metrics=[rail.metric]), [rail])
    return found


def test_a_guardrail_is_held_violated_or_undecided() -> None:
    held, violated, undecided = rail_of(20, 20, 0.01), rail_of(150, 20, 0.01), rail_of(60, 20, 0.01)
    assert [one.verdict for one in (held, violated, undecided)] == ["held", "violated", "undecided"]
    assert held.p_value < 0.05
    assert violated.p_value > 0.95
    assert 0.05 < undecided.p_value < 0.95
    assert "at least" in violated.sentence
    assert rail_of(20, 20, 0.01, better="higher").verdict == "held"
    assert rail_of(20, 150, 0.01, better="higher").verdict == "violated"


def test_a_guardrail_without_events_is_held_only_with_enough_units() -> None:
    assert rail_of(0, 0, 0.002, n=5000).verdict == "held"
    assert rail_of(0, 0, 0.002, n=300).verdict == "undecided"


@pytest.mark.parametrize(("n", "share"), [(500, 0.01), (2000, 0.002), (5000, 0.001)])
def test_an_arm_worse_by_its_margin_passes_as_often_as_agreed(n: int, share: float) -> None:
    counts = np.arange(n + 1)
    new, old = stats.binom.pmf(counts, n, 2 * share), stats.binom.pmf(counts, n, share)
    passed = 0.0
    for k in counts[new > 1e-6]:
        some = counts[old > 1e-6]
        _, high = confint_proportions_2indep(
            np.full(len(some), k), n, some, n, method="newcomb", compare="diff", alpha=0.1
        )
        passed += new[k] * old[some[high < share]].sum()
    assert 0.03 < passed < 0.055
    assert rail_of(2, 1, share, n=n).high == pytest.approx(
        confint_proportions_2indep(2, n, 1, n, method="newcomb", compare="diff", alpha=0.1)[1]
    )


@pytest.mark.parametrize(("new", "old"), [(0, 3), (12, 10), (80, 40)])
def test_bounds_of_guardrails_are_newcombes_and_agree_with_p(new: int, old: int) -> None:
    found = rail_of(new, old, 0.004)
    oracle = confint_proportions_2indep(new, 5000, old, 5000, method="newcomb", compare="diff", alpha=0.1)
    assert (found.low, found.high) == pytest.approx(oracle)
    assert (found.p_value < 0.05) == (found.verdict == "held")


def test_guardrails_of_means_are_one_sided_t_tests() -> None:
    frame = made()
    rail = Guardrail(Mean("sent", better="lower"), margin=0.2)
    results = guardrails(read_units(frame, arm="arm", control="old", metrics=[rail.metric]), [rail])
    new, old = sides(frame, "sent")
    oracle = stats.ttest_ind(new, old + 0.2, equal_var=False, alternative="less")
    assert results[0].p_value == pytest.approx(oracle.pvalue)
    assert results[0].high == pytest.approx(oracle.confidence_interval().high + 0.2)
    assert guardrails_table(results).loc[0, "verdict"] == results[0].verdict


@pytest.mark.long
def test_corrected_p_values_are_statsmodels() -> None:
    frame = made().assign(flat=1.0)
    found = of(frame, Mean("spend"), Mean("age"), Mean("flat"), Proportion("bought"))
    there = [one.p_value for one in found if one.metric != "flat"]
    for method in ("holm", "fdr_bh"):
        new = corrected(found, method)
        assert math.isnan(new[2])
        assert [p for p in new if not math.isnan(p)] == pytest.approx(multipletests(there, method=method)[1].tolist())
    assert corrected(found[:2], "none") == there[:2]


# Coverage in simulation, by the moments that the query gives


def of_arrays(columns: list[Floats], n_values: int, *, is_clustered: bool = False) -> Moments:
    data = np.stack(columns)
    names = tuple(f"c{i}" for i in range(len(columns)))
    n_covariates = len(columns) - n_values - is_clustered
    shape = Columns(names[:n_values], names[n_values : n_values + n_covariates])
    return Moments(data.shape[1], data.shape[1], data.mean(axis=1), np.cov(data), math.nan, shape, is_clustered)


def covers(new: Moments, old: Moments, truth: float, adjust: Adjust = "none") -> bool:
    found = difference(new, old, adjust)
    half = stats.t.ppf(0.975, found.degrees_of_freedom) * found.standard_error
    return bool(abs(found.effect - truth) <= half)


@pytest.mark.nightly
@pytest.mark.parametrize("kind", ["mean", "proportion", "ratio", "cuped", "regression"])
def test_fixed_intervals_hold_the_truth_as_often_as_they_say(kind: str) -> None:
    rng = np.random.default_rng(11)
    n, n_runs = 2000, 6000
    hits = 0
    for _ in range(n_runs):
        arms = []
        for is_new in (True, False):
            past = rng.gamma(2, 1, n)
            if kind == "mean":
                arms.append(of_arrays([rng.exponential(1 + 0.1 * is_new, n), past], 1))
            elif kind == "proportion":
                arms.append(of_arrays([(rng.random(n) < 0.05 + 0.01 * is_new).astype(float), past], 1))
            elif kind == "ratio":
                sent = rng.poisson(3 * past) + 1.0
                arms.append(of_arrays([rng.binomial(sent.astype(int), 0.2 + 0.02 * is_new).astype(float), sent], 2))
            else:
                arms.append(of_arrays([past * (1 + 0.1 * is_new) + rng.normal(0, 1, n), past], 1))
        truth = {"mean": 0.1, "proportion": 0.01, "ratio": 0.02, "cuped": 0.2, "regression": 0.2}[kind]
        adjust: Adjust = "cuped" if kind == "cuped" else "regression" if kind == "regression" else "none"
        hits += covers(arms[0], arms[1], truth, adjust)
    assert hits / n_runs == pytest.approx(0.95, abs=0.01)


@pytest.mark.nightly
def test_arms_given_to_clusters_need_clusters() -> None:
    rng = np.random.default_rng(12)
    n_clusters, n_runs = 200, 4000
    with_clusters = without = 0
    for _ in range(n_runs):
        by_unit, by_cluster = [], []
        for is_new in (1, 0):
            sizes = rng.poisson(4, n_clusters) + 1
            luck = np.repeat(rng.normal(0, 1, n_clusters), sizes)
            values = luck + rng.normal(0, 1, sizes.sum()) + 0.3 * is_new
            sums = np.add.reduceat(values, np.append(0, np.cumsum(sizes)[:-1]))
            by_unit.append(of_arrays([values, values], 1))
            by_cluster.append(of_arrays([sums, sizes.astype(float)], 1, is_clustered=True))
        without += covers(by_unit[0], by_unit[1], 0.3)
        with_clusters += covers(by_cluster[0], by_cluster[1], 0.3)
    assert without / n_runs < 0.8
    assert with_clusters / n_runs == pytest.approx(0.95, abs=0.012)


def test_revenue_where_nobody_spent_anything_is_compared_all_the_same() -> None:
    table = pd.DataFrame({"group": ["a", "b"] * 50, "spend": [0.0] * 100})
    units = read_units(table, arm="group", control="a", metrics=[Revenue("spend")])
    found = effects_table(effects(units))
    assert found["kind"].tolist() == ["revenue", "winsorised"]
    assert found["effect"].tolist() == [0.0, 0.0]
