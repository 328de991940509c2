"""A rule is recommended where it beats one arm for all, and nowhere else."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from journeylab.errors import DataError
from journeylab.experiments.heterogeneity.targeting import BY_CONTACT, recommend

pytestmark = pytest.mark.long

COLUMNS = {"features": ["city", "spent"], "control": "none", "outcome": "visit"}
FEATURES = ["recency", "history", "mens", "womens", "zip_code", "newbie", "channel"]


def trial(
    n: int, seed: int, gdynia: float, lublin: float, arms: tuple[str, ...] = ("none", "short", "long")
) -> pd.DataFrame:
    """Visits of 30 %, which any mail changes by so much in Gdynia and in Lublin; the long one is 3 points better."""
    rng = np.random.default_rng(seed)
    frame = pd.DataFrame({
        "city": rng.choice(["Gdynia", "Lublin"], n), "spent": rng.exponential(50, n), "arm": rng.choice(arms, n),
    })  # fmt: skip
    frame["in_gdynia"] = frame["city"] == "Gdynia"
    lift = np.where(frame["in_gdynia"], gdynia, lublin) + 0.03 * (frame["arm"] == "long")
    return frame.assign(visit=rng.random(n) < 0.3 + lift * (frame["arm"] != "none"))


def value_of(found, policy):
    return found.values.set_index("policy").loc[policy]


def test_strong_differences_are_a_rule():
    found = recommend(trial(12_000, 1, 0.2, -0.2), **COLUMNS, n_parts=3)
    assert found.is_rule
    assert found.choice == BY_CONTACT
    assert "it beats every arm for all" in found.sentence
    one = value_of(found, BY_CONTACT)
    assert one["low"] < (0.53 + 0.3) / 2 < one["high"] + 0.02
    assert one["share of none"] == pytest.approx(0.5, abs=0.05)
    assert (found.contrasts.query("policy == @BY_CONTACT")["low"] > 0).all()


def test_what_works_for_all_alike_goes_to_all():
    found = recommend(trial(12_000, 2, 0.1, 0.1), **COLUMNS, n_parts=3)
    assert not found.is_rule
    assert found.choice == "long"
    assert found.sentence.startswith("Send 'long' to all: better than 'none'")
    assert "by contact" in found.sentence


def test_what_does_nothing_is_given_to_nobody():
    found = recommend(trial(6000, 3, 0, 0, arms=("none", "short")), **COLUMNS, n_parts=3)
    assert (found.choice, found.is_rule) == ("none", False)
    assert "no other arm is shown to be better" in found.sentence


def test_differences_in_size_alone_are_no_rule_until_a_mail_costs():
    """A mail that does a little in one city and much in the other goes to both, unless it costs more than a little."""
    frame = trial(12_000, 4, 0.25, 0.05, arms=("none", "short"))
    free = recommend(frame, **COLUMNS, n_parts=3)
    assert (free.choice, free.is_rule) == ("short", False)
    dear = recommend(frame, **COLUMNS, n_parts=3, cost={"short": 0.15})
    assert dear.is_rule
    assert value_of(dear, "short")["value"] == pytest.approx(value_of(free, "short")["value"] - 0.15)
    assert value_of(dear, "none")["value"] == pytest.approx(value_of(free, "none")["value"])


def test_a_declared_rule_that_is_as_good_is_preferred():
    found = recommend(trial(9000, 5, 0.2, -0.2), **COLUMNS, n_parts=3, rules={"in_gdynia": "long"})
    assert (found.choice, found.is_rule) == ("in_gdynia", True)
    pairs = set(zip(found.contrasts["policy"], found.contrasts["against"], strict=True))
    assert (BY_CONTACT, "in_gdynia") in pairs
    bad = recommend(trial(9000, 5, -0.2, 0.2), **COLUMNS, n_parts=3, rules={"in_gdynia": "long"})
    assert bad.choice == BY_CONTACT


def test_lower_is_better_where_it_is_said():
    frame = trial(9000, 6, -0.1, -0.1, arms=("none", "short"))
    found = recommend(frame, **COLUMNS, n_parts=3, better="lower")
    assert found.choice == "short"
    assert value_of(found, "short")["value"] == pytest.approx(0.2, abs=0.03)
    dear = recommend(frame, **COLUMNS, n_parts=3, better="lower", cost={"short": 0.2})
    assert dear.choice == "none"
    assert value_of(dear, "short")["value"] == pytest.approx(0.4, abs=0.03)


def test_values_of_arms_are_their_means_and_unequal_chances_are_taken_into_account():
    rng = np.random.default_rng(7)
    n = 9000
    is_new = rng.random(n) < 0.5
    chance = np.where(is_new, 0.8, 0.2)
    mailed = rng.random(n) < chance
    frame = pd.DataFrame({
        "spent": rng.exponential(50, n), "arm": np.where(mailed, "mail", "none"), "p": chance, "q": 1 - chance,
        "visit": rng.random(n) < 0.1 + 0.3 * is_new + 0.1 * mailed,
    })  # fmt: skip
    columns = {"features": ["spent"], "control": "none", "outcome": "visit", "n_parts": 2}
    found = recommend(frame, **columns, propensities={"mail": "p", "none": "q"})
    for arm, truth in (("mail", 0.35), ("none", 0.25)):
        one = value_of(found, arm)
        assert one["low"] < truth < one["high"]
    naive = value_of(recommend(frame, **columns), "mail")
    assert naive["low"] > 0.36
    arms = frame.groupby("arm")["visit"]
    assert naive["value"] == pytest.approx(arms.mean()["mail"], abs=0.02)
    assert naive["standard_error"] == pytest.approx(np.sqrt(2) * arms.sem()["mail"], rel=0.1)


def test_arms_may_be_numbers():
    frame = trial(3000, 8, 0.1, 0.1, arms=("none", "short"))
    frame["arm"] = (frame["arm"] == "short").astype(int)
    found = recommend(frame, **COLUMNS | {"control": "0"}, n_parts=2, learner="t")
    assert "Send '1' to all: better than '0'" in found.sentence


def test_it_says_the_same_again_and_as_data():
    frame = trial(3000, 8, 0.1, 0.0)
    one, two = (recommend(frame, **COLUMNS, n_parts=2, learner="t") for _ in range(2))
    assert one.to_dict() == two.to_dict()
    told = one.to_dict()
    assert {row["policy"] for row in told["values"]} == {"none", "short", "long", BY_CONTACT}
    assert "<table>" in one._repr_html_()
    assert "judged on 1,500 contacts" in repr(one)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"control": "non"}, "did you mean 'none'"),
        ({"cost": {"lang": 1}}, "cost: no arm 'lang'; did you mean 'long'"),
        ({"rules": {"in_gdansk": "long"}}, "did you mean 'in_gdynia'"),
        ({"rules": {"in_gdynia": "mail"}}, "rules: no arm 'mail'"),
        ({"rules": {"spent": "long"}}, "must hold flags"),
        ({"arms": []}, "needs another arm"),
        ({"better": "less"}, "'higher' or 'lower'"),
        ({"propensities": {"none": 0.5, "long": 0.5}}, "none for arm 'short'"),
        ({"propensities": {"none": 0.5, "long": 0.5, "short": 0.5}}, "add up to 1; in row 0 they make 1.5"),
        ({"propensities": {"none": 0.5, "long": 0.5, "short": 0}}, "must lie above 0"),
        ({"n_parts": 1}, "one to learn from and one to judge on"),
        ({"n_parts": 9}, "675 are the least in 9 parts"),
    ],
)
def test_what_cannot_be_recommended_from(change, words):
    with pytest.raises(DataError, match=words):
        recommend(trial(1200, 9, 0, 0), **{**COLUMNS, **change})


@pytest.mark.nightly
def test_rules_are_claimed_of_nothing_as_rarely_as_the_level_says():
    """The hardest case: mails that do nothing at all, so that every rule is worth as much as every arm."""
    claimed = []
    for seed in range(80):
        found = recommend(trial(1500, seed, 0, 0, arms=("none", "short")), **COLUMNS, learner="t", seed=seed)
        claimed.append(found.is_rule)
    assert np.mean(claimed) < 0.07


@pytest.mark.nightly
def test_the_intervals_of_differences_hold_the_truth():
    """In Gdynia a mail gains 5 points and in Lublin it loses 5: what a rule is worth is told by whom it mails."""
    held = []
    for seed in range(80):
        frame = trial(2000, seed, 0.05, -0.05, arms=("none", "short"))
        found = recommend(frame, **COLUMNS, learner="t", seed=seed, rules={"in_gdynia": "short"})
        one = found.contrasts.query("policy == 'in_gdynia' and against == 'none'").iloc[0]
        z = stats.norm.ppf(0.975) * one["standard_error"]
        held.append(abs(one["difference"] - 0.025) < z)
    assert np.mean(held) == pytest.approx(0.95, abs=0.06)


@pytest.mark.data
def test_hillstrom_has_no_rule_that_beats_the_best_mail(shared_data):
    frame = pd.read_csv(shared_data / "hillstrom" / "hillstrom.csv.gz").assign(is_hers=lambda rows: rows["womens"] == 1)
    columns = {"features": FEATURES, "control": "No E-Mail", "outcome": "visit", "arm": "segment", "n_parts": 2}
    columns["learner"] = "t"
    found = recommend(frame, **columns, rules={"is_hers": "Womens E-Mail"})
    assert (found.choice, found.is_rule) == ("Mens E-Mail", False)
    assert "The rule 'by contact' is not shown to beat 'Mens E-Mail' for all" in found.sentence
    assert value_of(found, "Mens E-Mail")["value"] == pytest.approx(0.1828, abs=0.003)


@pytest.mark.data
def test_hillstrom_mens_mail_goes_to_all(shared_data):
    frame = pd.read_csv(shared_data / "hillstrom" / "hillstrom.csv.gz")
    columns = {"features": FEATURES, "control": "No E-Mail", "outcome": "visit", "arm": "segment", "n_parts": 2}
    columns["learner"] = "x"
    found = recommend(frame, **columns, arms=["No E-Mail", "Mens E-Mail"])
    assert found.sentence.startswith("Send 'Mens E-Mail' to all")
    assert not found.is_rule
