"""Uplift by contact, and what rankings by it are worth: on made-up trials whose truth is known, and on Hillstrom's."""

import sys

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from journeylab.errors import DataError, JourneyLabError
from journeylab.experiments.heterogeneity.ranking import (
    doubly_robust_scores,
    judge_ranking,
    rate,
    shares_within,
    uplift_at,
    uplift_curve,
)
from journeylab.experiments.heterogeneity.treefeatures import TreeFeatures
from journeylab.experiments.heterogeneity.uplift import UpliftModel, judge_uplift, later_parts

FEATURES = ["recency", "history", "mens", "womens", "zip_code", "newbie", "channel"]
ARMS = {"treated": "mail", "control": "none", "outcome": "visit"}


def trial(n: int, seed: int, lift: float = 0.2, **more: object) -> pd.DataFrame:
    """A trial of a mail that lifts visits from 10 % by `lift` in Gdynia and not in Lublin."""
    rng = np.random.default_rng(seed)
    frame = pd.DataFrame({
        "city": rng.choice(["Gdynia", "Lublin"], n),
        "spent": rng.exponential(50, n),
        "is_new": rng.random(n) < 0.3,
        "arm": rng.choice(["mail", "none"], n),
    })  # fmt: skip
    lifted = (frame["city"] == "Gdynia") & (frame["arm"] == "mail")
    return frame.assign(visit=rng.random(n) < 0.1 + lift * lifted, **more)


# The worth of a ranking


def by_hand(scores: np.ndarray, weighting: str) -> float:
    """The RATE as it is defined, for rows in order of priority without ties."""
    n = len(scores)
    toc = [scores[:k].mean() - scores.mean() for k in range(1, n + 1)]
    return float(np.mean([one * (k / n if weighting == "qini" else 1) for k, one in enumerate(toc, start=1)]))


@pytest.mark.parametrize("weighting", ["autoc", "qini"])
def test_rate_is_what_its_definition_says(weighting):
    scores = np.random.default_rng(3).normal(size=57)
    assert rate(scores, -np.arange(57), weighting).value == pytest.approx(by_hand(scores, weighting))


@pytest.mark.parametrize("weighting", ["autoc", "qini"])
def test_rate_of_ties_is_the_mean_over_their_orders(weighting):
    rng = np.random.default_rng(4)
    scores, priorities = rng.normal(size=40), np.repeat([3.0, 2.0, 1.0], [10, 25, 5])
    drawn = [by_hand(scores[np.lexsort((rng.random(40), -priorities))], weighting) for _ in range(500)]
    assert rate(scores, priorities, weighting).value == pytest.approx(np.mean(drawn), abs=4 * stats.sem(drawn))


@settings(max_examples=40)
@given(st.integers(0, 10_000), st.sampled_from(["autoc", "qini"]), st.booleans())
def test_rate_knows_order_alone(seed, weighting, few):
    rng = np.random.default_rng(seed)
    scores, priorities = rng.normal(size=80), rng.integers(0, 5 if few else 1000, 80).astype(float)
    first = rate(scores, priorities, weighting)
    shuffled = rng.permutation(80)
    for other in (
        rate(scores[shuffled], 2 * priorities[shuffled] - 7, weighting),
        rate(scores + 3, priorities, weighting),
    ):
        assert other.value == pytest.approx(first.value, abs=1e-9)
    assert rate(2 * scores, priorities, weighting).standard_error == pytest.approx(2 * first.standard_error)
    assert rate(scores, np.zeros(80), weighting).value == pytest.approx(0, abs=1e-9)
    assert first.influence.mean() == pytest.approx(first.value)


def test_rate_of_a_known_effect():
    """With effects spread evenly over 0..1 and the true order, TOC(u) is (1 - u) / 2."""
    truth = (np.arange(20_000) + 0.5) / 20_000
    assert rate(truth, truth, "autoc").value == pytest.approx(1 / 4, abs=1e-3)
    assert rate(truth, truth, "qini").value == pytest.approx(1 / 12, abs=1e-3)
    assert uplift_at(truth, truth, 0.2)["uplift"] == pytest.approx(0.9, abs=1e-3)


@pytest.mark.parametrize("weighting", ["autoc", "qini"])
@pytest.mark.parametrize("strength", [0.0, 2.0])
def test_influence_agrees_with_the_half_sample_bootstrap(weighting, strength):
    rng = np.random.default_rng(5)
    n = 4000
    priorities = rng.normal(size=n).round(1)
    scores = strength * priorities + rng.normal(size=n) * (1 + 0.3 * np.abs(priorities))
    halves = (rng.permutation(n)[: n // 2] for _ in range(400))
    drawn = [rate(scores[half], priorities[half], weighting).value for half in halves]
    found = rate(scores, priorities, weighting)
    # The spread of halves of a sample around the whole is that of the whole around the truth.
    assert np.std(drawn) == pytest.approx(found.standard_error, rel=0.12)


@pytest.mark.nightly
@pytest.mark.parametrize("weighting", ["autoc", "qini"])
@pytest.mark.parametrize("strength", [0.0, 0.2, 2.0])
def test_intervals_hold_the_truth(weighting, strength):
    """With normal effects the truth is strength times E[S w(share above S)]: 0.8063 and 0.2821."""
    rng = np.random.default_rng(6)
    many = rng.normal(size=400_000)
    truth, first = rate(strength * many, many, weighting).value, strength * stats.norm.pdf(stats.norm.ppf(0.7)) / 0.3
    held = []
    for _ in range(1500):
        priorities = rng.normal(size=1500)
        scores = strength * priorities + 2 * rng.normal(size=1500)
        found, top = rate(scores, priorities, weighting), uplift_at(scores, priorities, 0.3)
        held.append((found.low <= truth <= found.high, top["low"] <= first <= top["high"]))
    assert np.mean(held, axis=0) == pytest.approx([0.95, 0.95], abs=0.02)


@pytest.mark.nightly
def test_the_band_holds_whole_curves():
    rng = np.random.default_rng(7)
    shares = np.arange(1, 21) / 20
    truth = np.append(0.5 * stats.norm.pdf(stats.norm.ppf(1 - shares[:-1])) / shares[:-1], 0)
    held, pointwise = [], []
    for seed in range(400):
        priorities = rng.normal(size=2000)
        scores = 0.5 * priorities + rng.normal(size=2000)
        for found, band in ((held, "simultaneous"), (pointwise, "pointwise")):
            curve = uplift_curve(scores, priorities, band=band, seed=seed)
            found.append(bool(((curve["low"] <= truth) & (truth <= curve["high"])).all()))
    assert np.mean(held) == pytest.approx(0.95, abs=0.035)
    assert np.mean(pointwise) < 0.9


def test_curve_ends_in_the_mean_and_shows_what_chance_gives():
    rng = np.random.default_rng(8)
    scores, priorities = rng.normal(size=1000), rng.normal(size=1000)
    curve = uplift_curve(scores, priorities)
    last = curve.iloc[-1]
    assert last["uplift"] == pytest.approx(scores.mean())
    assert last["standard_error"] == pytest.approx(stats.sem(scores))
    assert last["random_low"] == last["random"] == last["random_high"]
    wide = uplift_curve(scores, priorities, band="pointwise")
    assert (curve["high"] - curve["low"] > wide["high"] - wide["low"]).all()
    drawn = [scores[rng.permutation(1000)[:100]].mean() for _ in range(3000)]
    tenth = curve[curve["share"] == 0.1].iloc[0]
    assert np.quantile(drawn, [0.025, 0.975]) == pytest.approx([tenth["random_low"], tenth["random_high"]], abs=0.02)


def test_uplift_at_counts_ties_at_the_edge_in_part():
    scores = np.repeat([1.0, 4.0], [30, 30])
    assert uplift_at(scores, np.repeat([2.0, 1.0], 30), 0.75)["uplift"] == pytest.approx((30 + 4 * 15) / 45)
    assert uplift_at(scores, np.zeros(60), 0.1)["uplift"] == pytest.approx(2.5)


def test_a_model_that_tells_nobody_apart_ranks_nobody():
    part = np.repeat([0, 1], 500)
    scores = np.random.default_rng(9).normal(size=1000) - part
    constant = np.where(part == 0, 0.3, 0.1)
    assert rate(scores, constant).value > 0.1
    found = rate(scores, shares_within(constant, part))
    assert (found.value, found.low, found.p_value) == (0, 0, 1)


def test_judgement_in_words():
    rng = np.random.default_rng(10)
    noise, priorities = stats.zscore(rng.normal(size=4000)), rng.random(4000)
    assert "send to all" in judge_ranking(0.3 + noise, priorities).sentence
    assert "send to nobody" in judge_ranking(noise - 0.3, priorities).sentence
    assert "not shown to do anything" in judge_ranking(noise, priorities).sentence
    apart = judge_ranking(2 * priorities - 1 + noise, priorities)
    assert apart.tells_apart
    assert "are harmed: leave them out" in apart.sentence
    assert "send to all, unless a message costs more" in judge_ranking(1 + priorities + noise, priorities).sentence
    told = apart.to_dict()
    assert told["autoc"]["value"] == apart.autoc.value
    assert len(told["curve"]) == 20
    assert "<table>" in apart._repr_html_()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (([1.0] * 30, [1.0] * 29), "one length"),
        (([1.0] * 5, [1.0] * 5), "20 rows or more, got 5"),
        (([np.nan] + [1.0] * 29, [1.0] * 30), "scores must be finite numbers; row 0"),
        (([1.0] * 30, [1.0] * 29 + [np.inf]), "priorities must be finite numbers; row 29"),
        (([1.0] * 30, [1.0] * 30, "quini"), "did you mean 'qini'"),
    ],
)
def test_rankings_that_cannot_be_judged(arguments, words):
    with pytest.raises(DataError, match=words):
        rate(*arguments)


@pytest.mark.parametrize("share", [0, 1.1, -0.2])
def test_shares_are_within_bounds(share):
    with pytest.raises(DataError, match="up to 1"):
        uplift_at([1.0] * 30, [1.0] * 30, share)


def test_scores_are_unbiased_whatever_the_means():
    rng = np.random.default_rng(11)
    n, p = 200_000, 0.3
    treated = rng.random(n) < p
    y = rng.normal(1 + 0.5 * treated)
    for means in ((0.0, 0.0), (1.5, 1.0), (-3.0, 4.0)):
        scores = doubly_robust_scores(y, treated, p, *means)
        assert scores.mean() == pytest.approx(0.5, abs=4 * stats.sem(scores))


# Models


@pytest.mark.parametrize("learner", ["t", "x", "dr"])
def test_models_find_whom_it_works_for(learner):
    model = UpliftModel(learner).fit(trial(6000, 1), features=["city", "spent", "is_new"], **ARMS)
    new = pd.DataFrame({"city": ["Gdynia", "Lublin", "Radom", None], "spent": [50, 50, 50, np.nan], "is_new": False})
    found = model.predict(new)
    assert found.name == "uplift"
    assert found.iloc[:2].to_numpy() == pytest.approx([0.2, 0.0], abs=0.06)
    assert found.notna().all()
    means = model.outcomes(new)
    assert means.loc[0].to_numpy() == pytest.approx([0.3, 0.1], abs=0.05)


@pytest.mark.parametrize("learner", ["x", "dr"])
def test_models_of_nothing_tell_nobody_apart(learner):
    found = UpliftModel(learner).fit(trial(4000, 2, lift=0), features=["city", "spent"], **ARMS).predict(trial(500, 3))
    assert found.std() < 0.01
    assert found.abs().max() < 0.05


def fitted_again(frame: pd.DataFrame, *threads: int) -> list[pd.Series]:
    models = (UpliftModel(n_threads=one, seed=7) for one in threads)
    return [model.fit(frame, features=["city", "spent"], **ARMS).predict(frame) for model in models]


def test_fits_are_the_same_again():
    pd.testing.assert_series_equal(*fitted_again(trial(800, 4), 1, 1))


@pytest.mark.nightly
def test_fits_do_not_depend_on_threads():
    pd.testing.assert_series_equal(*fitted_again(trial(2000, 4), 1, 2))


def test_unequal_chances_are_taken_into_account():
    """Gdynia is mailed in 80 %, Lublin in 20 %, and visits more anyway: the plain difference is not the effect."""
    rng = np.random.default_rng(5)
    n = 20_000
    gdynia = rng.random(n) < 0.5
    chance = np.where(gdynia, 0.8, 0.2)
    mailed = rng.random(n) < chance
    frame = pd.DataFrame({
        "spent": rng.exponential(50, n), "arm": np.where(mailed, "mail", "none"), "chance": chance,
        "visit": rng.random(n) < 0.1 + 0.3 * gdynia + 0.1 * mailed,
    })  # fmt: skip
    known = UpliftModel().fit(frame, features=["spent"], propensity="chance", **ARMS).predict(frame)
    naive = UpliftModel().fit(frame, features=["spent"], **ARMS).predict(frame)
    assert known.mean() == pytest.approx(0.1, abs=0.02)
    assert naive.mean() > 0.2


def test_parts_are_judged_by_what_came_before():
    seen: set[int] = set()
    for before, now in later_parts(103, 4, seed=1):
        assert not set(before) & set(now)
        assert seen <= set(before)
        seen |= set(now) | set(before)
    assert seen == set(range(103))


def test_a_ranking_is_judged_on_rows_it_was_not_fitted_on():
    judged = judge_uplift(UpliftModel(), trial(6000, 6), features=["city", "spent"], **ARMS)
    assert judged.n == 4800
    assert judged.tells_apart
    assert judged.average["low"] < 0.1 < judged.average["high"]
    assert judged.top["uplift"].iloc[-1] == pytest.approx(0.2, abs=0.05)
    nothing = judge_uplift(UpliftModel("t"), trial(6000, 7, lift=0), features=["city", "spent"], **ARMS)
    assert not nothing.tells_apart


@pytest.mark.nightly
@pytest.mark.parametrize("learner", ["t", "dr"])
def test_heterogeneity_is_claimed_of_nothing_as_rarely_as_the_level_says(learner):
    claimed = []
    for seed in range(120):
        model = UpliftModel(learner, n_folds=2, seed=seed)
        judged = judge_uplift(model, trial(1500, seed, lift=0), features=["spent", "city"], **ARMS)
        claimed.append(judged.tells_apart)
    assert np.mean(claimed) < 0.06


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"features": ["citi"]}, "did you mean 'city'"),
        ({"features": []}, "one or more columns"),
        ({"treated": "male"}, "did you mean 'mail'"),
        ({"treated": "none"}, "not with itself"),
        ({"outcome": "visits"}, "did you mean 'visit'"),
        ({"outcome": "gone"}, "must give an outcome in every row"),
        ({"propensity": 1.0}, "above 0 and below 1"),
        ({"propensity": "certain"}, "as chance drew the arm"),
        ({"features": ["at"]}, "instants or durations"),
        ({"arm": "holes"}, "must name an arm in every row"),
    ],
)
def test_trials_that_cannot_be_learnt_from(change, words):
    frame = trial(400, 8, gone=np.nan, certain=1.0, at=pd.Timestamp("2026-03-01", tz="UTC"))
    frame["holes"] = frame["arm"].where(frame.index > 0)
    with pytest.raises(DataError, match=words):
        UpliftModel().fit(frame, **{"features": ["city"], **ARMS, **change})


def test_few_rows_and_unfitted_models_are_refused():
    with pytest.raises(DataError, match="50 are the least"):
        UpliftModel().fit(trial(60, 9), features=["city"], **ARMS)
    with pytest.raises(JourneyLabError, match="call fit first"):
        UpliftModel().predict(trial(60, 9))
    with pytest.raises(DataError, match="Known learners"):
        UpliftModel("s").fit(trial(400, 9), features=["city"], **ARMS)
    model = UpliftModel("t").fit(trial(400, 9), features=["spent"], **ARMS)
    with pytest.raises(DataError, match="finite numbers"):
        model.predict(pd.DataFrame({"spent": ["much"]}))


def test_what_to_install_is_said(monkeypatch):
    monkeypatch.setitem(sys.modules, "lightgbm", None)
    with pytest.raises(JourneyLabError, match=r'pip install "journeylab\[models\]"'):
        UpliftModel().fit(trial(400, 9), features=["city"], **ARMS)


def test_rare_and_new_values_are_as_if_missing():
    values = [f"c{n}" for n in range(60)] + ["c3"] * 5
    known = TreeFeatures.of(pd.DataFrame({"city": values}), ["city"])
    assert known.levels[0][0] == "c3"
    assert len(known.levels[0]) == 50
    found = known.matrix(pd.DataFrame({"city": ["c3", "nowhere", None]}))[:, 0]
    assert found[0] == 0
    assert np.isnan(found[1:]).all()


# Real data


def least_squares(frame: pd.DataFrame, treated: str) -> tuple[pd.DataFrame, np.ndarray, np.ndarray]:
    """Scores and priorities of every second row by the plainest T-learner, fitted on the others."""
    two = frame[frame["segment"].isin([treated, "No E-Mail"])].reset_index(drop=True)
    known = pd.get_dummies(two[FEATURES], drop_first=True).assign(one=1).to_numpy(dtype=float)
    w, y, test = (two["segment"] == treated).to_numpy(), two["visit"].to_numpy(dtype=float), two.index % 2 == 1
    one, zero = (known @ np.linalg.lstsq(known[rows & ~test], y[rows & ~test], rcond=None)[0] for rows in (w, ~w))
    return two[test], doubly_robust_scores(y, w, 0.5, one, zero)[test], (one - zero)[test]


@pytest.mark.data
def test_hillstrom_women_differ(shared_data):
    frame = pd.read_csv(shared_data / "hillstrom" / "hillstrom.csv.gz")
    _, scores, priorities = least_squares(frame, "Womens E-Mail")
    judged = judge_ranking(scores, priorities)
    assert judged.autoc.value == pytest.approx(0.0206, abs=0.0005)
    assert judged.autoc.standard_error == pytest.approx(0.0044, abs=0.0001)
    assert judged.qini.value == pytest.approx(0.0074, abs=0.0002)
    assert judged.qini.standard_error == pytest.approx(0.0013, abs=0.0001)
    assert judged.average["uplift"] == pytest.approx(0.0433, abs=0.0001)
    assert judged.top["uplift"].iloc[-1] == pytest.approx(0.0752, abs=0.003)
    assert judged.tells_apart


@pytest.mark.data
def test_hillstrom_mens_mail_goes_to_all(shared_data):
    frame = pd.read_csv(shared_data / "hillstrom" / "hillstrom.csv.gz")
    _, scores, priorities = least_squares(frame, "Mens E-Mail")
    judged = judge_ranking(scores, priorities)
    assert not judged.tells_apart
    assert "send to all" in judged.sentence


@pytest.mark.data
def test_hillstrom_by_trees(shared_data):
    frame = pd.read_csv(shared_data / "hillstrom" / "hillstrom.csv.gz")
    columns = {"features": FEATURES, "control": "No E-Mail", "outcome": "visit", "arm": "segment"}
    women = judge_uplift(UpliftModel(), frame, treated="Womens E-Mail", n_parts=2, **columns)
    assert women.autoc.value == pytest.approx(0.0206, abs=0.008)
    assert women.tells_apart
