"""Whether arms have their shares: against scipy, sums by hand, and simulations of right and wrong splits."""

from __future__ import annotations

import json
import math
import time
from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from scipy.special import gammaln
from statsmodels.stats.multitest import multipletests

from journeylab.errors import DataError
from journeylab.experiments.ratio.multinomial import exact_p, log_bayes_factor, log_bayes_factors
from journeylab.experiments.ratio.sampleratio import SampleRatio, sample_ratio

SHARES = {"plain": 0.4, "discount": 0.4, "holdout": 0.2}
START = pd.Timestamp("2026-03-02T00:00Z")


def drawn(n: int, seed: int, shares: dict[str, float] = SHARES, *, minutes: float = 5) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    return pd.DataFrame(
        {
            "arm": rng.choice(list(shares), n, p=list(shares.values())),
            "exposed_at": START + pd.to_timedelta(np.arange(n) * minutes, "min"),
            "node": rng.choice(["offer", "reminder"], n),
        }
    )


def test_the_joint_test_is_scipys_over_all_arms() -> None:
    table = drawn(3000, 1)
    found = sample_ratio(table, SHARES)
    counts = table["arm"].value_counts()
    expected = stats.chisquare([counts[arm] for arm in SHARES], [3000 * share for share in SHARES.values()])
    assert found.p_value == pytest.approx(expected.pvalue, rel=1e-12)
    assert found.n == {arm: counts[arm] for arm in SHARES}
    assert found.expected == pytest.approx({arm: 3000 * share for arm, share in SHARES.items()})
    assert found.passed is True
    assert found.sentences() == [f"The arms have their shares of 3,000 units (p = {expected.pvalue:.3g})."]


def test_counts_alone_say_the_same() -> None:
    table = drawn(3000, 1)
    of_rows = sample_ratio(table, SHARES)
    of_counts = SampleRatio.from_counts(table["arm"].value_counts().to_dict(), SHARES)
    assert of_counts.p_value == of_rows.p_value
    assert of_counts.n == of_rows.n
    end = math.exp(-max(log_bayes_factor(np.array(list(of_rows.n.values())), np.array(list(SHARES.values()))), 0))
    assert of_counts.sequential_p_value == pytest.approx(end)
    assert of_rows.sequential_p_value <= end + 1e-12


def test_an_arm_that_nobody_got_counts() -> None:
    table = drawn(400, 2, {"plain": 0.5, "discount": 0.5})
    found = sample_ratio(table, SHARES)
    assert found.n["holdout"] == 0
    assert found.passed is False
    assert "'holdout' lacks 80." in found.sentences()[0]
    assert SampleRatio.from_counts({"plain": 200, "discount": 200}, SHARES).passed is False


@pytest.mark.data
def test_hillstroms_three_mails_are_in_balance(shared_data: Path) -> None:
    table = pd.read_csv(shared_data / "hillstrom" / "hillstrom.csv.gz").rename(columns={"segment": "arm"})
    found = sample_ratio(table, dict.fromkeys(table["arm"].unique(), 1 / 3))
    assert found.p_value == pytest.approx(stats.chisquare(table["arm"].value_counts()).pvalue)
    assert found.passed


# Where and when


def test_nodes_and_days_are_tested_each_with_holms_correction() -> None:
    table = drawn(4000, 3)
    found = sample_ratio(table, SHARES)
    assert list(found.by_node["node"]) == ["offer", "reminder"]
    for row in found.by_node.itertuples():
        counts = table[table["node"] == row.node]["arm"].value_counts()
        expected = stats.chisquare([counts[arm] for arm in SHARES], [counts.sum() * one for one in SHARES.values()])
        assert row.p_value == pytest.approx(expected.pvalue)
    holm = multipletests(found.by_day["p_value"], method="holm")[1]
    assert found.by_day["holm_p_value"].to_numpy() == pytest.approx(holm)
    assert found.by_day["n_units"].sum() == 4000


def test_a_bad_day_and_its_arm_are_named() -> None:
    table = drawn(288 * 10, 4)
    is_bad = (table["exposed_at"] >= "2026-03-07T00:00Z") & (table["exposed_at"] < "2026-03-08T00:00Z")
    table.loc[is_bad & (table["arm"] == "holdout"), "arm"] = "discount"
    found = sample_ratio(table, SHARES)
    failed = found.by_day[~found.by_day["passed"]]
    assert list(failed["day"]) == [pd.Timestamp("2026-03-07")]
    assert any(
        "1 day of 10 without the right shares, 2026-03-07: 'holdout' has 0 of 288" in s for s in found.sentences()
    )


def test_days_are_those_of_the_time_zone() -> None:
    table = pd.DataFrame(
        {
            "arm": ["a", "b"] * 20,
            "exposed_at": [pd.Timestamp("2026-03-28T22:30Z")] * 20 + [pd.Timestamp("2026-03-28T23:30Z")] * 20,
        }
    )
    shares = {"a": 0.5, "b": 0.5}
    assert len(sample_ratio(table, shares).by_day) == 1
    warsaw = sample_ratio(table, shares, timezone="Europe/Warsaw").by_day
    assert list(warsaw["day"]) == [pd.Timestamp("2026-03-28"), pd.Timestamp("2026-03-29")]


def test_the_sentence_says_when_it_began_to_show() -> None:
    table = drawn(4000, 5)
    late = table.index >= 2000
    rng = np.random.default_rng(6)
    lost = late & (table["arm"] == "discount") & (rng.random(4000) < 0.4)
    found = sample_ratio(table[~lost], SHARES)
    assert found.passed is False
    assert found.found_at is not None
    assert START + pd.Timedelta(minutes=5 * 2000) < found.found_at
    at = found.path.set_index("exposed_at")["p_value"]
    assert at[found.found_at] < 0.001
    assert at[at.index < found.found_at].min() >= 0.001
    assert f"failed first at {found.found_at:%Y-%m-%d %H:%M} UTC" in found.sentences()[1]
    assert "'discount' lacks" in found.sentences()[0]


def test_what_was_wrong_for_a_while_stays_wrong() -> None:
    arms = ["a"] * 100 + ["b"] * 100
    at = START + pd.to_timedelta(np.arange(200), "min")
    found = sample_ratio(pd.DataFrame({"arm": arms, "exposed_at": at}), {"a": 0.5, "b": 0.5})
    assert (found.p_value, found.passed) == (1.0, False)
    assert found.found_at is not None
    assert found.found_at < at[50]
    assert found.sentences()[0].endswith("units (p = 1), on the way they had not.")


# Few units


def test_few_units_are_tested_exactly() -> None:
    for counts, shares in (((0, 5), (0.5, 0.5)), ((1, 9), (0.3, 0.7)), ((3, 0), (0.9, 0.1))):
        found = SampleRatio.from_counts(dict(zip("ab", counts, strict=True)), dict(zip("ab", shares, strict=True)))
        n = sum(counts)
        k = np.arange(n + 1)
        far = np.abs(k - n * shares[0]) >= abs(counts[0] - n * shares[0]) - 1e-9
        assert found.p_value == pytest.approx(stats.binom.pmf(k, n, shares[0])[far].sum())


def test_the_exact_test_is_that_over_all_sequences() -> None:
    shares = np.array([0.5, 0.3, 0.2])
    observed = np.array([0, 2, 3])
    total = 0.0
    for sequence in product(range(3), repeat=5):
        counts = np.bincount(sequence, minlength=3)
        off = ((counts - 5 * shares) ** 2 / shares).sum() - ((observed - 5 * shares) ** 2 / shares).sum()
        total += float(np.prod(shares[list(sequence)])) if off > -1e-9 else 0.0
    assert exact_p(observed, shares) == pytest.approx(total)


def test_too_many_outcomes_are_drawn_with_a_seed_and_say_so() -> None:
    shares = {"a": 0.4, "b": 0.4, "c": 0.196, "d": 0.004}
    counts = {"a": 400, "b": 398, "c": 200, "d": 2}
    found = SampleRatio.from_counts(counts, shares, seed=3)
    assert found.p_value == SampleRatio.from_counts(counts, shares, seed=3).p_value
    assert found.p_value == pytest.approx(
        stats.chisquare(list(counts.values()), list(found.expected.values())).pvalue, abs=0.02
    )
    assert "100,000 draws with seed 3" in found.sentences()[-1]


# Each unit with its own probabilities


def adaptive(n: int, seed: int) -> tuple[pd.DataFrame, np.ndarray]:
    rng = np.random.default_rng(seed)
    chances = rng.dirichlet([4.0, 2.0, 1.0], n)
    codes = (rng.random(n)[:, None] > np.cumsum(chances, axis=1)[:, :2]).sum(axis=1)
    at = START + pd.to_timedelta(np.arange(n), "min")
    return pd.DataFrame({"arm": np.array(["a", "b", "c"])[codes], "exposed_at": at}), chances


def test_equal_probabilities_are_shares() -> None:
    table = drawn(1500, 7)
    chances = pd.DataFrame([SHARES] * 1500)
    of_rows, of_shares = sample_ratio(table, probabilities=chances), sample_ratio(table, SHARES)
    assert of_rows.p_value == pytest.approx(of_shares.p_value, rel=1e-9)
    assert of_rows.sequential_p_value == pytest.approx(of_shares.sequential_p_value)
    assert of_rows.by_day["p_value"].to_numpy() == pytest.approx(of_shares.by_day["p_value"].to_numpy())
    assert of_rows.shares["expected_share"].to_numpy() == pytest.approx(of_shares.shares["expected_share"].to_numpy())


def test_the_quadratic_form_has_its_distribution_where_the_split_adapts() -> None:
    table, chances = adaptive(300 * 300, 20)
    table = table.assign(node=np.repeat(np.arange(300), 300).astype(str))
    p_values = sample_ratio(table, probabilities=chances, arms=list("abc"), by=("node",)).by_node["p_value"]
    assert stats.kstest(p_values, "uniform").pvalue > 0.01


def test_a_wrong_adaptive_split_is_found() -> None:
    table, chances = adaptive(4000, 8)
    assert sample_ratio(table, probabilities=chances, arms=list("abc")).passed
    lost = (table["arm"] == "b") & (np.random.default_rng(1).random(4000) < 0.3)
    found = sample_ratio(table[~lost], probabilities=chances[~lost], arms=list("abc"))
    assert found.passed is False
    assert found.sequential_p_value < 0.001


def test_an_arm_out_of_reach_for_some_is_no_arm_for_them() -> None:
    rng = np.random.default_rng(9)
    both = rng.random(2000) < 0.5
    chances = np.where(both[:, None], [0.25, 0.25, 0.5], [0.5, 0.5, 0.0])
    codes = (rng.random(2000)[:, None] > np.cumsum(chances, axis=1)[:, :2]).sum(axis=1)
    table = pd.DataFrame({"arm": np.array(["a", "b", "c"])[codes]})
    assert sample_ratio(table, probabilities=chances, arms=list("abc")).passed
    table.loc[int(np.argmin(both)), "arm"] = "c"
    with pytest.raises(DataError, match="in arm 'c', which it could not get"):
        sample_ratio(table, probabilities=chances, arms=list("abc"))


def test_few_units_with_their_own_probabilities_say_nothing() -> None:
    table, chances = adaptive(6, 10)
    found = sample_ratio(table, probabilities=chances, arms=list("abc"))
    assert found.passed is None
    assert math.isnan(found.p_value)
    assert "too few units, 6" in found.sentences()[0]
    assert found.by_day["passed"].all()
    assert found.to_dict()["p_value"] is None


# While units come in


def factor_by_hand(counts: list[int], theta: np.ndarray) -> float:
    """As the paper writes it."""
    c, a = np.array(counts), len(theta) * theta
    log = (
        gammaln(a.sum()) - gammaln(a.sum() + c.sum()) + (gammaln(a + c) - gammaln(a)).sum() - (c * np.log(theta)).sum()
    )
    return float(log)


@given(st.lists(st.integers(0, 2), min_size=1, max_size=40), st.data())
def test_the_factor_after_each_batch_is_the_papers(codes: list[int], data: st.DataObject) -> None:
    theta = np.array([0.5, 0.3, 0.2])
    breaks = data.draw(st.sets(st.integers(0, len(codes) - 1)))
    ends = np.array(sorted(breaks | {len(codes) - 1}))
    found = log_bayes_factors(np.array(codes), theta, ends)
    assert found == pytest.approx(
        [factor_by_hand(list(np.bincount(codes[: end + 1], minlength=3)), theta) for end in ends]
    )


def test_units_of_one_instant_are_one_batch_in_any_order() -> None:
    table = drawn(2000, 11).assign(exposed_at=lambda t: t["exposed_at"].dt.floor("D"))
    by_arm = table.sort_values(["exposed_at", "arm"])
    first, second = sample_ratio(table, SHARES), sample_ratio(by_arm, SHARES)
    assert first.sequential_p_value == pytest.approx(second.sequential_p_value)
    assert len(first.path) == table["exposed_at"].nunique()
    mixed = sample_ratio(table.sample(frac=1, random_state=1), SHARES)
    pd.testing.assert_frame_equal(mixed.path, first.path)


def test_paths_are_tables_for_pictures() -> None:
    found = sample_ratio(drawn(2000, 12), SHARES)
    assert list(found.path.columns) == ["exposed_at", "n_units", "p_value"]
    assert len(found.path) <= 401
    assert found.path["n_units"].iloc[-1] == 2000
    assert (found.path["p_value"].diff().dropna() <= 0).all()
    assert str(found.path["exposed_at"].dt.tz) == "UTC"
    last = found.shares.tail(3).set_index("arm")
    assert last["n_assigned"].to_dict() == found.n
    assert last["expected_share"].to_dict() == pytest.approx(SHARES)
    assert found.shares["share"].between(0, 1).all()


def test_without_instants_there_is_one_look() -> None:
    found = sample_ratio(drawn(500, 13)[["arm"]], SHARES)
    assert (len(found.path), len(found.by_day), len(found.by_node)) == (1, 0, 0)
    assert found.path["exposed_at"].isna().all()


def test_a_million_units_take_no_time() -> None:
    rng = np.random.default_rng(14)
    n = 1_000_000
    table = pd.DataFrame(
        {
            "arm": pd.Categorical.from_codes(rng.choice(3, n, p=list(SHARES.values())), list(SHARES)),
            "exposed_at": START + pd.to_timedelta(np.sort(rng.integers(0, 30 * 86_400, n)), "s"),
        }
    )
    begin = time.perf_counter()
    assert sample_ratio(table, SHARES).passed
    assert time.perf_counter() - begin < 3


# Faults


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"shares": {"plain": 0.5, "discount": 0.5}}, "arm 'holdout' has no share"),
        ({"shares": {**SHARES, "holdout": 0.3}}, "add up to 1.1, not to 1"),
        ({"shares": {"plain": 1.0}}, "at least two arms"),
        ({"shares": {**SHARES, "holdout": 0.0}}, "the share of arm 'holdout' is 0.0"),
        ({"shares": None}, "give either shares"),
        ({"by": ("hour",)}, "by='hour'"),
        ({"alpha": 1.5}, "alpha lies between 0 and 1"),
        ({"timezone": "Warsaw"}, "is no time zone"),
        ({"shares": None, "probabilities": np.full((50, 3), 1 / 3)}, "name the columns of probabilities"),
        (
            {"shares": None, "probabilities": np.full((9, 3), 1 / 3), "arms": list(SHARES)},
            "50 rows and 3 arms are needed",
        ),
        ({"shares": None, "probabilities": np.full((50, 3), 0.5), "arms": list(SHARES)}, "row 0 of probabilities"),
    ],
)
def test_what_is_wrong_is_said(change: dict, message: str) -> None:
    with pytest.raises(DataError, match=message):
        sample_ratio(drawn(50, 15), **{"shares": SHARES, **change})


def test_rows_that_lack_something_are_named() -> None:
    table = drawn(50, 16)
    for column, message in (
        ("arm", "row 7 .* no arm"),
        ("exposed_at", "row 7 .* no exposed_at"),
        ("node", "names no node"),
    ):
        with pytest.raises(DataError, match=message):
            sample_ratio(table.assign(**{column: table[column].where(table.index != 7)}), SHARES)
    with pytest.raises(DataError, match="instants with a time zone"):
        sample_ratio(table.assign(exposed_at=table["exposed_at"].dt.tz_localize(None)), SHARES)
    with pytest.raises(DataError, match="no column 'arm'"):
        sample_ratio(table.drop(columns="arm"), SHARES)
    with pytest.raises(DataError, match="nothing to check"):
        sample_ratio(table.iloc[:0], SHARES)
    with pytest.raises(DataError, match="nothing to check"):
        SampleRatio.from_counts({}, SHARES)
    with pytest.raises(DataError, match="counts are whole numbers"):
        SampleRatio.from_counts({"plain": -1}, SHARES)


def test_results_show_themselves_and_are_plain_data() -> None:
    found = sample_ratio(drawn(300, 17), SHARES)
    data = json.loads(json.dumps(found.to_dict(), allow_nan=False))
    assert data["n"] == found.n
    assert data["by_day"][0]["day"] == "2026-03-02"
    assert repr(found).startswith("SampleRatio(The arms have their shares")
    assert "holdout" in found._repr_html_()


# False alarms


@pytest.mark.nightly
def test_the_sequential_check_may_be_looked_at_after_every_unit() -> None:
    n_runs, n, theta = 1000, 10_000, np.array([0.5, 0.5])
    rng = np.random.default_rng(18)
    looks = np.arange(100, n + 1, 100)
    n_sequential = n_naive = 0
    for _ in range(n_runs):
        codes = rng.integers(0, 2, n)
        n_sequential += log_bayes_factors(codes, theta, np.arange(n)).max() >= math.log(1 / 0.05)
        counts = np.cumsum(codes)[looks - 1]
        n_naive += ((2 * counts - looks) ** 2 / looks > stats.chi2.isf(0.05, 1)).any()
    assert n_sequential / n_runs <= 0.05
    assert n_naive / n_runs > 0.3


@pytest.mark.nightly
def test_the_sequential_check_of_an_adaptive_split_keeps_its_level_too() -> None:
    n_alarms = 0
    for seed in range(400):
        table, chances = adaptive(1000, 1000 + seed)
        n_alarms += sample_ratio(table, probabilities=chances, arms=list("abc"), by=()).sequential_p_value < 0.05
    assert n_alarms / 400 <= 0.05
