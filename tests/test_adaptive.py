"""Adaptive splits: what is drawn, what is written down of it, and what can be told from the log."""

from fractions import Fraction

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import integrate, stats

from journeylab.errors import DataError
from journeylab.experiments.adaptive.adaptivelog import adaptive_means
from journeylab.experiments.adaptive.splitcomparison import compare_splits, shop_outcomes
from journeylab.experiments.adaptive.thompson import ThompsonSplit, best_chances, floored
from journeylab.journey import Exit, Journey, Send, Split, Trigger, WaitFor
from journeylab.keyedhash import arm_of
from journeylab.shop import Shop

# The split


def split(*arms: str, **more: float) -> ThompsonSplit:
    return ThompsonSplit(arms or ("plain", "discount"), salt="welcome/offer", **more)


JOURNEY = Journey(
    journey="welcome",
    trigger=Trigger(event="signup"),
    nodes={
        "offer": Split(split={"plain": Fraction(1, 2), "discount": Fraction(1, 2)}),
        "plain": Exit(exit="plain"),
        "discount": Exit(exit="discount"),
    },
)


@given(
    st.lists(st.tuples(st.integers(0, 50), st.integers(0, 500)), min_size=2, max_size=2), st.sampled_from([0.05, 0.1])
)
def test_the_next_version_of_a_journey_has_the_shares_and_keeps_the_floor(outcomes, floor):
    drawn = split(floor=floor)
    drawn.update({arm: [1] * yes + [0] * no for arm, (yes, no) in zip(drawn.arms, outcomes, strict=True)})
    shares = drawn.applied(JOURNEY, "offer").nodes["offer"].split
    assert sum(shares.values()) == 1
    assert min(shares.values()) >= Fraction(str(floor))
    assert {arm: float(share) for arm, share in shares.items()} == pytest.approx(drawn.propensities(), abs=1e-3)


def test_contacts_keep_their_arms_but_for_those_the_shares_move():
    drawn = split()
    drawn.update({"plain": [0] * 95 + [1] * 5, "discount": [0] * 90 + [1] * 10})
    shares = [JOURNEY.nodes["offer"].split, drawn.applied(JOURNEY, "offer").nodes["offer"].split]
    before, after = ([arm_of(n, "welcome/offer", one) for n in range(2000)] for one in shares)
    moved = [(old, new) for old, new in zip(before, after, strict=True) if old != new]
    assert {*moved} == {("plain", "discount")}
    assert len(moved) / 2000 == pytest.approx(float(shares[0]["plain"] - shares[1]["plain"]), abs=0.03)


def test_shares_go_to_the_split_that_draws_them_only():
    with pytest.raises(DataError, match="no split 'ofer'; did you mean 'offer'"):
        split().applied(JOURNEY, "ofer")
    with pytest.raises(DataError, match="the arms discount, plain and the salt 'welcome/offer'"):
        split("plain", "gift").applied(JOURNEY, "offer")
    with pytest.raises(DataError, match="by 'other/offer'"):
        ThompsonSplit(["plain", "discount"], salt="other/offer").applied(JOURNEY, "offer")


@pytest.mark.parametrize(
    ("successes", "failures"),
    [([10, 20], [90, 80]), ([0, 0, 0], [0, 5, 50]), ([200, 3, 0], [1800, 20, 2]), ([5000, 5100], [45_000, 44_900])],
)
def test_chances_to_be_best_are_the_integrals(successes, failures):
    posteriors = [stats.beta(a + 1, b + 1) for a, b in zip(successes, failures, strict=True)]
    middles = [one.mean() for one in posteriors]
    for arm, found in enumerate(best_chances(successes, failures)):
        others = [one for place, one in enumerate(posteriors) if place != arm]

        def density(x, arm=arm, others=others):
            return posteriors[arm].pdf(x) * np.prod([one.cdf(x) for one in others])

        truth, _ = integrate.quad(density, 0, 1, points=middles, limit=500)
        assert found == pytest.approx(truth, abs=0.003)


@settings(max_examples=30)
@given(st.lists(st.tuples(st.integers(0, 500), st.integers(0, 500)), min_size=2, max_size=5), st.floats(0.01, 0.2))
def test_probabilities_add_up_and_keep_the_floor(counts, floor):
    successes, failures = np.array(counts).T
    chances = best_chances(successes, failures)
    shares = floored(chances, floor)
    assert shares.sum() == pytest.approx(1)
    assert shares.min() >= floor - 1e-12
    assert best_chances(successes[::-1], failures[::-1]) == pytest.approx(chances[::-1], abs=1e-9)
    many = best_chances(np.tile(successes, (3, 1)), np.tile(failures, (3, 1)))
    assert many == pytest.approx(np.tile(chances, (3, 1)))


def test_better_arms_are_drawn_more_often_and_bad_ones_still():
    one = split(floor=0.05)
    assert one.propensities() == pytest.approx({"plain": 0.5, "discount": 0.5})
    one.update({"plain": [0] * 900 + [1] * 100, "discount": [0] * 800 + [1] * 200})
    assert one.propensities() == pytest.approx({"plain": 0.05, "discount": 0.95}, abs=0.001)
    assert repr(one) == "ThompsonSplit(plain 5%, discount 95%; batch 1)"


def test_units_have_arms_as_often_as_is_written_down():
    one = split("a", "b", "c")
    one.update({"a": [1, 0, 0, 0, 0], "b": [1, 1, 0, 0, 0], "c": [0] * 5})
    drawn = one.assign(range(30_000))
    assert drawn["batch"].eq(1).all()
    shares = one.propensities()
    assert drawn["probability"].to_numpy() == pytest.approx(drawn["arm"].map(shares).to_numpy())
    counts = drawn["arm"].value_counts().reindex(list(shares))
    assert stats.chisquare(counts, 30_000 * np.array(list(shares.values()))).pvalue > 0.001


def test_before_anything_is_known_it_is_the_split_of_rule_22():
    units = [f"contact-{n}" for n in range(500)]
    shares = {"plain": Fraction(1, 2), "discount": Fraction(1, 2)}
    expected = [arm_of(unit, "welcome/offer", shares) for unit in units]
    assert split().assign(units)["arm"].tolist() == expected


def test_assignment_knows_the_unit_alone():
    one = split()
    one.update({"plain": [1, 0, 0], "discount": [0, 0]})
    whole = one.assign(range(100)).set_index("unit")["arm"]
    part = one.assign(["7", 93, 12]).set_index("unit")["arm"]
    assert part.equals(whole.loc[["7", "93", "12"]])
    assert len(one.assign([])) == 0


def test_state_survives_being_written_down():
    import json

    one = split(floor=0.2)
    one.update({"plain": [1, 0, 0, 1], "discount": [False, True]})
    other = ThompsonSplit.from_dict(json.loads(json.dumps(one.to_dict())))
    pd.testing.assert_frame_equal(other.assign(range(50)), one.assign(range(50)))
    other.update({"plain": [1]})
    assert (one.batch, other.batch) == (1, 2)
    with pytest.raises(DataError, match="no state of a split"):
        ThompsonSplit.from_dict({"arms": ["a", "b"]})


def test_bad_splits_and_outcomes_are_refused():
    for arms, words in ((["a"], "two or more arms"), (["a", "a"], "different names")):
        with pytest.raises(DataError, match=words):
            ThompsonSplit(arms, salt="s")
    for floor in (0.0, 0.6):
        with pytest.raises(DataError, match=r"more than 0 and at most 0\.5"):
            split(floor=floor)
    one = split()
    with pytest.raises(DataError, match="did you mean 'plain'"):
        one.update({"discount": [1], "plan": [1]})
    with pytest.raises(DataError, match="outcome 1 of arm 'plain' is 2"):
        one.update({"discount": [1], "plain": [0, 2]})
    with pytest.raises(DataError, match="unit 1 of 2 has no id"):
        one.assign(["a", None])
    assert one.batch == 0
    assert one.propensities() == pytest.approx({"plain": 0.5, "discount": 0.5})


# The log


def adaptive_log(rates: dict[str, list[float]], n: int, seed: int, floor: float = 0.1) -> pd.DataFrame:
    """A log of a split whose arms have such rates in each batch of `n` units."""
    one = ThompsonSplit(list(rates), salt=f"run {seed}", floor=floor)
    rng, batches = np.random.default_rng(seed), []
    for batch in range(len(next(iter(rates.values())))):
        log = one.assign(range(batch * n, (batch + 1) * n))
        chance = log["arm"].map({arm: of[batch] for arm, of in rates.items()})
        log["outcome"] = (rng.random(n) < chance).astype(int)
        one.update(dict(list(log.groupby("arm")["outcome"])))
        batches.append(log)
    return pd.concat(batches, ignore_index=True)


def test_with_constant_probabilities_it_is_the_plain_comparison():
    log = adaptive_log({"a": [0.2], "b": [0.3]}, 4000, 1)
    found = adaptive_means(log, control="a")
    a, b = (log.loc[log["arm"] == arm, "outcome"] for arm in "ab")
    assert found.effects["effect"].iloc[0] == pytest.approx(b.mean() - a.mean())
    welch = stats.ttest_ind(b, a, equal_var=False)
    assert found.effects["effect"].iloc[0] / found.effects["standard_error"].iloc[0] == pytest.approx(welch.statistic)
    assert found.arms["standard_error"].to_numpy() == pytest.approx([stats.sem(a), stats.sem(b)])
    assert found.effects["p_value"].iloc[0] == pytest.approx(welch.pvalue, rel=0.01)


def test_batches_are_weighed_by_all_of_their_units():
    log = adaptive_log({"a": [0.1, 0.3, 0.5], "b": [0.2, 0.4, 0.6]}, 1000, 2)
    found = adaptive_means(log, control="a")
    by_batch = log.groupby(["arm", "batch"])["outcome"].mean().groupby("arm").mean()
    assert found.arms.set_index("arm")["mean"].to_dict() == pytest.approx(by_batch.to_dict())
    text = log.assign(batch=log["batch"].map({0: "mon", 1: "tue", 2: "wed"})).sample(frac=1, random_state=1)
    assert adaptive_means(text, control="a").effects["effect"].iloc[0] == pytest.approx(found.effects["effect"].iloc[0])


def test_probabilities_may_differ_within_a_batch():
    rng = np.random.default_rng(3)
    n = 40_000
    is_new = rng.random(n) < 0.5
    share = np.where(is_new, 0.8, 0.2)  # of b
    is_b = rng.random(n) < share
    log = pd.DataFrame({
        "arm": np.where(is_b, "b", "a"), "probability": np.where(is_b, share, 1 - share), "batch": 0,
        "outcome": rng.random(n) < 0.1 + 0.4 * is_new,
    })  # fmt: skip
    found = adaptive_means(log, control="a")
    assert found.effects["low"].iloc[0] < 0 < found.effects["high"].iloc[0]
    assert found.arms["mean"].to_numpy() == pytest.approx([0.3, 0.3], abs=0.02)
    assert found.arms["plain_mean"].to_numpy() == pytest.approx([0.18, 0.42], abs=0.02)


def test_a_drift_does_not_fool_the_weighted_means():
    """Rates rise for both arms alike, and the better is drawn ever more often: plain means make it twice as good."""
    rates = {"a": list(np.linspace(0.10, 0.40, 10)), "b": list(np.linspace(0.13, 0.43, 10))}
    log = adaptive_log(rates, 2000, 4)
    found = adaptive_means(log, control="a")
    one = found.effects.iloc[0]
    assert one["low"] < 0.03 < one["high"]
    plain = found.arms.set_index("arm")["plain_mean"]
    assert plain["b"] - plain["a"] > 0.06
    assert "Plain means would not do" in found.sentence
    assert found.to_dict()["effects"][0]["effect"] == pytest.approx(one["effect"])
    assert "<table>" in found._repr_html_()
    wide = adaptive_means(log, control="a", interval="anytime").effects.iloc[0]
    assert wide["low"] < one["low"] < one["high"] < wide["high"]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"arm": ["a"] * 8}, "only arm 'a' is there"),
        ({"batch": [0] * 7 + [1]}, "batch 1 has 0 units of arm 'a'"),
        ({"probability": [0.5] * 7 + [0.0]}, "must lie above 0 and up to 1"),
        ({"outcome": [1.0] * 7 + [np.nan]}, "must give an outcome in every row"),
        ({"arm": [None] * 8}, "must be there in every row"),
    ],
)
def test_logs_that_cannot_be_evaluated(change, words):
    log = pd.DataFrame({"arm": list("aabbaabb"), "batch": 0, "probability": 0.5, "outcome": [0, 1] * 4})
    with pytest.raises(DataError, match=words):
        adaptive_means(log.assign(**change), control="a")
    with pytest.raises(DataError, match="no arm 'c'"):
        adaptive_means(log, control="c")
    with pytest.raises(DataError, match="Known intervals"):
        adaptive_means(log, control="a", interval="fixed")


def test_few_units_are_noted():
    log = pd.DataFrame({"arm": list("aabbaabb"), "batch": 0, "probability": 0.5, "outcome": [0, 1] * 4})
    (note,) = adaptive_means(log, control="a").notes
    assert "as few as 4 units" in note


# Beside a fixed split


def rows_of(found):
    return (row for _, row in found.table.iterrows())


def test_an_adaptive_split_loses_less_and_tells_less():
    found = compare_splits({"plain": 0.1, "short": 0.11, "discount": 0.13}, control="plain", n_units=6000)
    fixed, adaptive = rows_of(found)
    assert fixed["n_lost"] == pytest.approx(6000 * (0.03 + 0.02) / 3, rel=0.02)
    assert adaptive["n_lost"] < 0.75 * fixed["n_lost"]
    assert adaptive["power_share"] < fixed["power_share"]
    assert fixed["best_share"] == pytest.approx(1 / 3, abs=0.01)
    assert adaptive["best_share"] > 0.5
    assert adaptive["plain_bias"] < -0.0005
    assert found.best == "discount"
    assert "the fixed split loses 100 answers" in found.sentence
    assert found.to_dict()["splits"][1]["split"] == "adaptive"
    assert "<table>" in found._repr_html_()


def test_in_a_drift_plain_means_are_wrong_and_weighted_ones_right():
    rates = {"a": np.linspace(0.10, 0.30, 10), "b": np.linspace(0.12, 0.32, 10)}
    fixed, adaptive = rows_of(compare_splits(rates, control="a", n_units=8000, n_runs=1000))
    assert adaptive["plain_coverage_share"] < 0.2
    assert adaptive["coverage_share"] > 0.925
    assert fixed["plain_coverage_share"] > 0.92


def test_units_whose_outcomes_are_known_are_a_world():
    rng = np.random.default_rng(5)
    world = pd.DataFrame({"a": rng.random(3000) < 0.2, "b": rng.random(3000) < 0.3}).astype(int)
    fixed, adaptive = rows_of(compare_splits(world, control="a", n_batches=5, n_runs=40))
    lost = 3000 * (world["b"].mean() - world["a"].mean())
    assert fixed["n_lost"] == pytest.approx(lost / 2, rel=0.05)
    assert adaptive["n_lost"] < fixed["n_lost"] / 2
    assert fixed["coverage_share"] > 0.85


def probe(message: str) -> Journey:
    nodes = {
        "mail": Send(send=message, next="wait"),
        "wait": WaitFor(wait_for="clicked(mail)", within="7d", then="hit", otherwise="miss"),
        "hit": Exit(exit="clicked"), "miss": Exit(exit="ignored"),
    }  # fmt: skip
    return Journey(journey="probe", trigger=Trigger(event="signup"), nodes=nodes)


def test_in_the_shop_the_adaptive_split_finds_the_better_mail():
    shop = Shop(4000, seed=7, machine_share=0, opens={"plain": 0.2, "discount": 0.4})
    world = shop_outcomes(shop, {"plain": probe("plain"), "discount": probe("discount")}, exit="clicked")
    assert world.index.is_unique
    assert 3000 < len(world) <= 4000
    truth = shop.run(probe("discount")).entries
    assert world["discount"].sum() <= (truth["exit"] == "clicked").sum()
    found = compare_splits(world, control="plain", n_batches=8, n_runs=60)
    fixed, adaptive = rows_of(found)
    assert found.best == "discount"
    assert adaptive["n_lost"] < fixed["n_lost"]
    assert adaptive["best_found_share"] > 0.9
    other = probe("plain").model_copy(update={"trigger": Trigger(event="purchase")})
    with pytest.raises(DataError, match="is entered by others"):
        shop_outcomes(shop, {"plain": probe("plain"), "discount": other}, exit="clicked")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"world": {"a": 0.1}}, "two or more arms"),
        ({"world": {"a": 0.1, "b": 1.2}}, "between 0 and 1"),
        ({"world": {"a": [0.1, 0.2], "b": 0.1}}, "has 2 rates, and there are 10 batches"),
        ({"control": "c"}, "no arm 'c'"),
        ({"n_units": None}, "how many units"),
        ({"n_units": 500}, "fewer batches, more units"),
        ({"floor": 0.7}, r"at most 0\.5"),
        ({"n_batches": 0}, "at least one"),
        ({"world": pd.DataFrame({"a": [0, 2], "b": [1, 1]}), "n_units": None}, "must hold 0 and 1"),
        ({"world": pd.DataFrame({"a": [0, 1], "b": [1, 1]})}, "give none to take all"),
    ],
)
def test_worlds_that_cannot_be_compared_in(arguments, words):
    with pytest.raises(DataError, match=words):
        compare_splits(**{"world": {"a": 0.1, "b": 0.2}, "control": "a", "n_units": 4000, **arguments})


@pytest.mark.nightly
@pytest.mark.parametrize("n_arms", [2, 4])
@pytest.mark.parametrize("best", [0.1, 0.13])
def test_weighted_intervals_hold_the_truth(n_arms, best):
    rates = {f"arm {n}": 0.1 for n in range(n_arms - 1)} | {"last": best}
    found = compare_splits(rates, control="arm 0", n_units=2500 * n_arms, n_runs=4000)
    fixed, adaptive = rows_of(found)
    assert fixed["coverage_share"] == pytest.approx(0.95, abs=0.015)
    assert adaptive["coverage_share"] == pytest.approx(0.95, abs=0.02)
    assert abs(fixed["plain_bias"]) < 0.0005
    if best == 0.1:
        assert adaptive["plain_bias"] < -0.0008
        assert adaptive["power_share"] < 0.065


@pytest.mark.nightly
def test_the_comparison_does_what_the_split_and_its_evaluation_do():
    """The same world run through the split itself, unit by unit."""
    rates = {"a": [0.2] * 4, "b": [0.24] * 4}
    effects, shares = [], []
    for seed in range(300):
        log = adaptive_log(rates, 500, seed)
        effects.append(adaptive_means(log, control="a").effects.iloc[0])
        shares.append((log["arm"] == "b").mean())
    table = pd.DataFrame(effects)
    _, adaptive = rows_of(compare_splits({"a": 0.2, "b": 0.24}, control="a", n_units=2000, n_batches=4, n_runs=4000))
    held = (table["low"] <= 0.04) & (table["high"] >= 0.04)
    assert held.mean() == pytest.approx(adaptive["coverage_share"], abs=0.04)
    assert (table["low"] > 0).mean() == pytest.approx(adaptive["power_share"], abs=0.08)
    assert np.mean(shares) == pytest.approx(adaptive["best_share"], abs=0.03)
    assert table["effect"].mean() == pytest.approx(0.04, abs=4 * table["effect"].sem())
