"""The value of policies over logged tables: estimates, refusals, bounds, experiments, and the command."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pandas as pd
import pytest
from scipy import optimize, stats

from journeylab.cli import main
from journeylab.errors import DataError
from journeylab.policy import PolicyValue, estimate_propensities, policy_value, sequential_policy_value

LOGGED = {"action": "sent", "reward": "bought", "propensity": "chance"}
# What an action is worth to a contact of a plan, and how often it was sent.
WORTH = {("free", "a"): 0.10, ("free", "b"): 0.20, ("free", "c"): 0.05,
         ("paid", "a"): 0.30, ("paid", "b"): 0.10, ("paid", "c"): 0.20}  # fmt: skip
SHARES = {"free": [0.6, 0.3, 0.1], "paid": [0.2, 0.3, 0.5]}
BEST = {"free": "b", "paid": "a"}
BEST_VALUE = 0.25


def sends(n: int = 3000, seed: int = 1) -> pd.DataFrame:
    """A log of randomised sends; the policy `best` is worth 0.25."""
    rng = np.random.default_rng(seed)
    plan = rng.choice(["free", "paid"], n)
    shares = np.array([SHARES[one] for one in plan])
    code = (rng.random(n)[:, None] > shares.cumsum(axis=1)).sum(axis=1)
    sent = np.array(["a", "b", "c"])[code]
    worth = np.array([WORTH[key] for key in zip(plan, sent, strict=True)])
    best = np.array([BEST[one] for one in plan])
    return pd.DataFrame(
        {
            "plan": plan,
            "sent": sent,
            "chance": shares[np.arange(n), code],
            "bought": (rng.random(n) < worth).astype(int),
            "before": (rng.random(n) < 0.2 + 0.3 * (plan == "paid")).astype(int),
            "best": best,
            "best_chance": (best == sent).astype(float),
            "mixed_chance": np.where(best == sent, 0.8, 0.1),
        }
    )


def value(table: pd.DataFrame, **more: Any) -> PolicyValue:
    return policy_value(table, **{**LOGGED, **({"target": "best"} if "target_propensity" not in more else {}), **more})


def of(found: PolicyValue, estimator: str) -> pd.Series:
    return found.estimates.set_index("estimator").loc[estimator]


# Estimates


def test_estimates_are_those_written_in_sql():
    log = sends()
    found = value(log)
    sql = """
    WITH weighted AS (SELECT *, CASE WHEN sent = best THEN 1 / chance ELSE 0 END AS w, bought AS r FROM log),
    snips AS (SELECT sum(w * r) / sum(w) AS value FROM weighted),
    of_action AS (SELECT sent, avg(r) AS q FROM weighted GROUP BY sent)
    SELECT avg(w * r), stddev_samp(w * r) / sqrt(count(*)),
      any_value(value), sqrt(sum(w * w * (r - value) ** 2)) / sum(w),
      (SELECT avg(q) FROM weighted JOIN of_action ON best = of_action.sent)
    FROM weighted, snips
    """
    ((ips, ips_error, snips, snips_error, dm),) = duckdb.sql(sql).fetchall()
    assert of(found, "ips")[["value", "standard_error"]].tolist() == pytest.approx([ips, ips_error])
    assert of(found, "snips")[["value", "standard_error"]].tolist() == pytest.approx([snips, snips_error])
    assert of(found, "dm")["value"] == pytest.approx(dm)
    assert found.observed["value"] == log["bought"].mean()


@pytest.mark.long
@pytest.mark.parametrize("context", [[], ["plan"]])
@pytest.mark.parametrize("columns", [{"target": "best"}, {"target_propensity": "best_chance"}])
def test_intervals_hold_the_truth_as_often_as_they_say(context, columns):
    n_runs = 200
    held = dict.fromkeys(("ips", "snips", "dm", "dr"), 0)
    values = []
    for seed in range(n_runs):
        found = value(sends(1000, seed), context=context, **columns)
        table = found.estimates.set_index("estimator")
        for name in held:
            held[name] += table.loc[name, "low"] <= BEST_VALUE <= table.loc[name, "high"]
        values.append(table["value"])
    if not context and "target" in columns:
        del held["dm"]  # it cannot see that the plan matters, which its error does not tell
    assert {name: 0.86 <= n / n_runs <= 0.94 for name, n in held.items()} == dict.fromkeys(held, True), held
    table = pd.DataFrame(values)
    error = table["dr"].std() / math.sqrt(n_runs)
    assert table["dr"].mean() == pytest.approx(BEST_VALUE, abs=3 * error)
    if context:
        assert table["dr"].std() <= table["ips"].std()


def test_conservative_intervals_are_wider():
    found = value(sends())
    width = found.intervals.assign(width=found.intervals["high"] - found.intervals["low"])
    width = width.pivot_table("width", "estimator", "interval")
    assert (width["anytime"] > width["normal"]).all()
    assert width.loc["ips", "empirical_bernstein"] > width.loc["ips", "normal"]
    assert np.isnan(width.loc["snips", "empirical_bernstein"])
    assert of(value(sends(), interval="anytime"), "dr")["high"] > of(found, "dr")["high"]
    assert value(sends(), interval="empirical_bernstein").to_dict()["estimates"][1]["interval"] is None  # snips


@pytest.mark.parametrize("more", [{}, {"context": ["plan"]}, {"unit": "contact"}, {"interval": "anytime"}])
def test_logged_policy_is_worth_exactly_what_was_observed(more):
    log = sends(999).assign(contact=np.arange(999) // 3)
    found = value(log, target_propensity="chance", **more)
    assert found.estimates["value"].tolist() == [log["bought"].mean()] * 4
    assert found.contrast[["difference", "standard_error"]].to_numpy().tolist() == [[0, 0]] * 4
    assert "the one that was logged" in found.notes[0]


def test_deterministic_history_is_worth_what_was_observed_and_nothing_else():
    log = sends(400).assign(sent="a", chance=1.0, same="a")
    found = value(log, target="same")
    assert set(found.estimates["value"]) == {log["bought"].mean()}
    assert any("left nothing to chance" in note for note in found.notes)
    assert value(log).refused is not None


def test_placebo_makes_no_difference():
    n_runs, n_held = 150, 0
    for seed in range(n_runs):
        found = value(sends(600, seed), reward="before").contrast.set_index("estimator").loc["snips"]
        n_held += found["low"] <= 0 <= found["high"]
    assert 0.86 <= n_held / n_runs <= 0.95


def test_contrast_is_paired():
    found = value(sends())
    done, snips = found.observed["standard_error"], of(found, "snips")["standard_error"]
    contrast = found.contrast.set_index("estimator").loc["snips"]
    assert contrast["difference"] == pytest.approx(of(found, "snips")["value"] - found.observed["value"])
    assert contrast["standard_error"] < math.hypot(done, snips)


def test_two_policies_on_one_log_are_compared_paired():
    log = sends(seed=2).assign(all_a="a")
    best, plain = value(log, context=["plan"]), value(log, target="all_a", context=["plan"])
    found = best.minus(plain).set_index("estimator")
    assert found.loc["dr", "difference"] == pytest.approx(of(best, "dr")["value"] - of(plain, "dr")["value"])
    assert found.loc["dr", "low"] < 0.25 - 0.20 < found.loc["dr", "high"]
    with pytest.raises(DataError, match="not of the same log"):
        best.minus(value(sends(2999), context=["plan"]))
    with pytest.raises(DataError, match="nobody was refused"):
        best.minus(value(log.assign(nobody="d"), target="nobody"))


def test_units_widen_the_error_of_rows_that_say_the_same():
    log = sends(1000)
    twice = pd.concat([log, log]).assign(contact=np.tile(np.arange(1000), 2)).reset_index(drop=True)
    one, two = value(log), value(twice, unit="contact")
    for name in ("ips", "snips"):
        assert of(two, name)["value"] == pytest.approx(of(one, name)["value"])
        assert of(two, name)["standard_error"] == pytest.approx(of(one, name)["standard_error"], rel=2e-3)
    assert of(value(twice), "ips")["standard_error"] < 0.75 * of(one, "ips")["standard_error"]


def test_few_units_are_said_to_be_few():
    log = sends(1000).assign(contact=np.arange(1000) % 10)
    assert "only 10 units" in value(log, unit="contact").notes[-1]


def test_probabilities_of_a_policy_and_its_actions_give_the_same():
    log = sends()
    by_action = value(log, context=["plan"])
    by_share = value(log, target_propensity="best_chance", context=["plan"])
    assert by_share.estimates["value"].tolist() == pytest.approx(by_action.estimates["value"].tolist())


def test_stochastic_policy_is_valued():
    truth = 0.8 * BEST_VALUE + 0.1 * np.mean([0.10 + 0.05, 0.10 + 0.20])
    found = value(sends(20_000), target_propensity="mixed_chance", context=["plan"])
    assert found.refused is None
    assert ((found.estimates["low"] - 0.01 < truth) & (truth < found.estimates["high"] + 0.01)).all()


def test_a_context_of_numbers_sharpens_the_doubly_robust_estimate():
    rng = np.random.default_rng(3)
    n = 4000
    spend = rng.normal(size=n)
    is_sent = rng.random(n) < 0.5
    log = pd.DataFrame({"spend": spend, "sent": is_sent, "chance": 0.5, "all": True})
    log["bought"] = 2 * spend + is_sent + rng.normal(size=n)
    log.loc[:50, "spend"] = np.nan
    found = value(log, target="all", context=["spend"])
    assert of(found, "dr")["standard_error"] < 0.8 * of(found, "ips")["standard_error"]
    assert of(found, "dr")["value"] == pytest.approx(1.0, abs=4 * of(found, "dr")["standard_error"])


@pytest.mark.filterwarnings("ignore:X does not have valid feature names")
def test_model_of_ones_own_is_used():
    from lightgbm import LGBMRegressor

    model = LGBMRegressor(n_estimators=20, verbose=-1, n_jobs=1)
    found = value(sends(), context=["plan"], model=model)
    assert of(found, "dr")["value"] == pytest.approx(of(value(sends(), context=["plan"]), "dr")["value"], abs=0.01)
    assert found.to_dict()["estimates"][2]["standard_error"] is None
    by_share = value(sends(), context=["plan"], model=model, target_propensity="mixed_chance")
    assert by_share.refused is None


def test_folds_depend_on_the_seed_alone():
    log = sends()
    assert value(log).estimates.equals(value(log).estimates)
    assert of(value(log, rng=1), "dr")["value"] != of(value(log, rng=2), "dr")["value"]
    assert value(log, rng=np.random.default_rng(1)).estimates.equals(value(log, rng=1).estimates)


# Refusals


def refused(found: PolicyValue, *reasons: str) -> PolicyValue:
    assert found.reasons == list(reasons)
    assert found.refused
    assert found.bounds is not None
    assert found.randomisation is not None
    assert not len(found.estimates)
    assert not len(found.contrast)
    assert found.to_dict()["estimates"] == []
    return found


def test_action_that_never_occurs_is_unsupported():
    found = refused(value(sends().assign(best="d")), "unsupported_share", "effective_n")
    assert found.diagnostics.unsupported_share == 1
    assert "could not have done 100.0%" in found.refused
    assert found.bounds == (0, 1)
    assert any("d (100.0%)" in note for note in found.notes)


def test_action_that_never_occurs_to_some_is_unsupported_there():
    log = sends()
    some = log[(log["plan"] == "paid") | (log["sent"] != "b")].reset_index(drop=True)
    share = (some["plan"] == "free").mean()
    found = refused(value(some, context=["plan"]), "unsupported_share")
    assert found.diagnostics.unsupported_share == pytest.approx(share)
    assert found.diagnostics.expected_weight == pytest.approx(1 - share)
    # Without the context only the mean weight can show it.
    refused(value(some), "mean_weight")


def test_action_missing_by_chance_is_supported():
    rng = np.random.default_rng(4)
    n = 2000
    log = pd.DataFrame({"cell": rng.integers(0, 100, n), "sent": rng.choice(list("abcdefghij"), n), "chance": 0.1})
    log["bought"], log["best"] = rng.random(n) < 0.1, "a"
    assert (log[log["sent"] == "a"]["cell"].nunique()) < 100
    assert value(log, context=["cell"]).diagnostics.unsupported_share == 0


def test_certain_rows_are_unsupported_and_bounded_by_hand():
    log = sends(4000)
    is_certain = log.index < 1000
    log.loc[is_certain, ["sent", "chance"]] = "c", 1.0
    found = refused(value(log, reward_range=(0, 2)), "unsupported_share")
    assert found.diagnostics.unsupported_share == 0.25
    weights = np.where((log["sent"] == log["best"]) & ~is_certain, 1 / log["chance"], 0)
    known = 0.75 * np.average(log["bought"], weights=weights)
    assert found.bounds == pytest.approx((known, known + 0.25 * 2))
    assert found.bounds_interval.low < found.bounds[0]


def test_wholly_deterministic_history_is_bounded_exactly():
    log = sends(1000).assign(chance=1.0)
    found = refused(value(log), "unsupported_share")
    share = (log["sent"] != log["best"]).mean()
    known = (log["bought"] * (log["sent"] == log["best"])).mean()
    assert found.bounds == pytest.approx((known, known + share))
    assert "left nothing to chance" in " ".join(found.notes)


def test_little_that_is_unsupported_is_left_out_and_said():
    log = sends(20_000)
    is_certain = log.index < 600
    log.loc[is_certain, ["sent", "chance"]] = "c", 1.0
    found = value(log, context=["plan"])
    assert found.refused is None
    assert found.diagnostics.unsupported_share == 0.03
    rest = value(log[~is_certain])
    assert of(found, "ips")["value"] == pytest.approx(of(rest, "ips")["value"])
    assert found.bounds is not None
    assert any("all but 3.0%" in note for note in found.notes)


def test_missing_probabilities_are_unsupported():
    log = sends()
    log.loc[log.index < 300, "chance"] = np.nan
    found = refused(value(log), "unsupported_share")
    assert found.diagnostics.unsupported_share == 0.1
    assert any("On 300 rows the log has no probability" in note for note in found.notes)


def test_few_rows_are_refused():
    found = refused(value(sends(60)), "effective_n")
    assert "60 decisions tell only as much as" in found.refused


def test_small_share_of_many_rows_is_refused():
    # 1 in 250 is sent the rare message: 160 rows of 40,000.
    n = 40_000
    rare = np.arange(n) % 250 == 0
    log = pd.DataFrame({"sent": np.where(rare, "rare", "usual"), "chance": np.where(rare, 0.004, 0.996)})
    log["bought"], log["best"] = np.random.default_rng(5).random(n) < 0.1, "rare"
    found = refused(value(log), "effective_n")
    assert "at least 1%, 400" in found.refused


def test_one_heavy_row_is_refused():
    log = sends(2000)
    log.loc[0, ["sent", "best", "chance"]] = "a", "a", 1e-3
    # Whoever has a tenth of the weight leaves less than a hundred to tell.
    found = refused(value(log), "effective_n", "max_weight_share")
    assert "one decision has" in found.refused


def test_wrong_probabilities_are_refused_and_not_used():
    log = sends().assign(chance=0.2)
    found = refused(value(log), "mean_weight")
    match = log["sent"] == log["best"]
    known = (log["bought"] * match).mean()
    assert found.bounds == pytest.approx((known, known + 1 - match.mean()))


def test_policy_that_looks_at_what_was_drawn_is_refused():
    found = refused(value(sends(), target="sent"), "mean_weight")
    assert any("looks at what was drawn" in note for note in found.notes)


def test_one_and_the_same_action_is_not_random_whatever_the_log_says():
    log = sends(500).assign(sent="a", chance=0.5)
    refused(value(log, target="sent"), "mean_weight")
    refused(value(log, context=["plan"]), "unsupported_share", "mean_weight")


def test_mass_on_actions_that_are_not_there_is_seen_in_the_probabilities():
    log = sends()
    table = value(log.assign(to=0.2), target_propensity="to")
    assert table.diagnostics.unsupported_share == pytest.approx(0.4)
    refused(table, "unsupported_share")
    # Probabilities that vary with something the table does not have: only the mean weight tells.
    rng = np.random.default_rng(6)
    varying = value(log.assign(to=0.2 * rng.uniform(0.5, 1.5, len(log))), target_propensity="to")
    refused(varying, "unsupported_share", "mean_weight")
    assert varying.diagnostics.unsupported_share == pytest.approx(0.4, abs=0.05)


def test_all_reasons_are_given_at_once():
    log = sends(50)
    log.loc[0, ["sent", "best", "chance"]] = "a", "a", 1e-3
    log.loc[1:9, "chance"] = np.nan
    found = value(log)
    assert {"unsupported_share", "effective_n", "max_weight_share"} <= set(found.reasons)
    assert found.refused.count(";") == len(found.reasons) - 1


def test_single_row_is_refused():
    found = value(sends(1))
    assert found.refused
    data = found.to_dict()
    assert data["diagnostics"]["mean_weight_standard_error"] is None
    json.dumps(data, allow_nan=False)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("what", ["certain", "wrong", "heavy", "few"])
def test_bounds_hold_the_truth(what, seed):
    log = sends(80 if what == "few" else 4000, seed)
    if what == "certain":
        log.loc[log["plan"] == "paid", "best"] = "d"
    elif what == "wrong":
        log["chance"] = log["chance"] ** 2
    elif what == "heavy":
        log.loc[0, ["sent", "best", "chance"]] = "a", "a", 1e-4
    found = value(log)
    assert found.refused
    low, high = found.bounds_interval
    if what == "certain":  # (0.20 + x) / 2
        assert low <= 0.1 < 0.6 <= high
    else:
        assert low <= BEST_VALUE <= high
    assert found.bounds[0] >= low
    assert found.bounds[1] <= high


def test_range_of_rewards():
    log = sends(50)
    assert value(log.assign(bought=3.5)).bounds_interval.low >= 0
    assert "between 0 and 3.5" in value(log.assign(bought=3.5)).notes[-1]
    assert value(log.assign(best="d", bought=-2.0)).bounds == (-2, 0)
    assert value(log.assign(best="d"), reward_range=(-1, 5)).bounds == (-1, 5)
    with pytest.raises(DataError, match=r"outside the reward_range of 0 to 0\.5"):
        value(log, reward_range=(0, 0.5))


# The experiment that would answer


@pytest.mark.parametrize("half_width", [None, 0.03])
def test_experiment_that_is_named_answers_the_question(half_width):
    log = sends(5000).assign(best="d")
    found = value(log, half_width=half_width)
    plan = found.randomisation
    assert sum(plan.arms.values()) == pytest.approx(1)
    assert plan.arms["d"] == plan.share
    rng = np.random.default_rng(7)
    is_drawn = rng.random(plan.n) < plan.share
    run = pd.DataFrame(
        {"sent": np.where(is_drawn, "d", "a"), "chance": np.where(is_drawn, plan.share, 1 - plan.share), "best": "d"}
    )
    run["bought"] = rng.random(plan.n) < 0.15
    answer = value(run)
    assert answer.refused is None
    half = (of(answer, "snips")["high"] - of(answer, "snips")["low"]) / 2
    assert half == pytest.approx(plan.half_width, rel=0.25)
    assert plan.half_width <= (half_width or 0.25 * log["bought"].mean()) + 1e-9


def test_experiment_takes_more_rows_where_the_log_has_too_few():
    plan = value(sends(60).assign(best="d"), half_width=0.01).randomisation
    assert plan.share == 0.5
    assert plan.n > 60
    assert plan.half_width <= 0.01 + 1e-9


def test_experiment_counts_what_the_log_supports_already():
    log = sends(5000)
    half = log.assign(best=np.where(log["plan"] == "free", "d", log["best"]))
    assert value(half).randomisation.share <= value(log.assign(best="d")).randomisation.share
    assert list(value(half).randomisation.arms) == ["d", "as before"]


# Estimated probabilities


def confounded(n: int = 4000, seed: int = 1) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    spend = rng.normal(size=n)
    sent = rng.random(n) < 1 / (1 + np.exp(-spend))
    bought = rng.random(n) < 0.2 + 0.1 * sent + 0.15 * (spend > 0)
    return pd.DataFrame({"spend": spend, "sent": sent, "bought": bought, "best": True, "plan": "free"})


def estimated(log: pd.DataFrame, context: list[str], **more: Any) -> PolicyValue:
    chances = estimate_propensities(log, action="sent", context=context)
    return policy_value(log, action="sent", reward="bought", propensity=chances, target="best", **more)


def test_estimated_probabilities_take_away_confounding_and_print_the_assumption():
    log = confounded(20_000)
    found = estimated(log, ["spend"])
    truth = 0.2 + 0.1 + 0.075
    assert of(found, "snips")["low"] < truth < of(found, "snips")["high"]
    assert abs(log[log["sent"]]["bought"].mean() - truth) > 0.015  # the naive figure
    assert "assumes no unmeasured confounding given spend" in found.notes[0]
    assert any("odds are wrong by a factor of" in note for note in found.notes)


def test_estimated_probabilities_are_calibrated():
    log = confounded(20_000)
    chances = estimate_propensities(log, action="sent", context=["spend"])
    assert chances.probabilities.sum(axis=1).to_numpy() == pytest.approx(1)
    truth = 1 / (1 + np.exp(-log["spend"]))
    assert chances.probabilities["true"].to_numpy() == pytest.approx(truth.to_numpy(), abs=0.03)
    gap = (chances.calibration["predicted_share"] - chances.calibration["observed_share"]).abs()
    assert gap.max() < 0.03


def test_history_that_follows_a_rule_is_not_estimated_away():
    log = confounded()
    log["sent"] = log["spend"] > 0
    found = estimated(log, ["spend"])
    assert "unsupported_share" in found.reasons
    assert found.diagnostics.unsupported_share > 0.3
    only = log.assign(sent=True)
    assert set(estimated(only, ["spend"]).estimates["value"]) == {only["bought"].mean()}


def test_sensitivity_bounds_are_those_of_a_linear_program():
    log = confounded(400)
    chances = estimate_propensities(log, action="sent", context=["spend"])
    found = policy_value(log, action="sent", reward="bought", propensity=chances, target="best")
    row = found.sensitivity.set_index("gamma").loc[2.0]
    is_used = log["sent"].to_numpy()
    odds = 1 / chances.propensity.to_numpy()[is_used] - 1
    rewards = log["bought"].to_numpy(dtype=float)[is_used]
    # Charnes and Cooper: the weighted mean is linear in weights that add up to one, with a free scale.
    n = len(odds)
    upper = np.hstack([np.eye(n), -(1 + 2 * odds)[:, None]])
    lower = np.hstack([-np.eye(n), (1 + odds / 2)[:, None]])
    ends = [
        optimize.linprog(
            sign * np.append(rewards, 0), A_ub=np.vstack([upper, lower]), b_ub=np.zeros(2 * n),
            A_eq=np.append(np.ones(n), 0)[None], b_eq=[1],
        ).fun * sign
        for sign in (1, -1)
    ]  # fmt: skip
    half = stats.norm.ppf(0.95) * of(found, "snips")["standard_error"]
    assert [row["low"] + half, row["high"] - half] == pytest.approx(ends, abs=1e-6)
    plain = found.sensitivity.set_index("gamma").loc[1.0]
    assert [plain["low"], plain["high"]] == pytest.approx(of(found, "snips")[["low", "high"]].tolist())


def test_probabilities_of_other_rows_are_refused():
    chances = estimate_propensities(confounded(), action="sent", context=["spend"])
    with pytest.raises(DataError, match="estimated on other rows"):
        policy_value(confounded(3999), action="sent", reward="bought", propensity=chances, target="best")


# Several decisions


def two_steps(n: int, seed: int) -> pd.DataFrame:
    """The toy of two steps: the policy sends A and always reminds, and is worth .0510."""
    rng = np.random.default_rng(seed)
    is_a, is_reminded = rng.random(n) < 0.5, rng.random(n) < 0.5
    opened = rng.random(n) < np.where(is_a, 0.30, 0.25)
    bought = rng.random(n) < np.where(opened, 0.10, np.where(is_reminded, 0.03, 0.01))
    contact = np.arange(n)
    first = pd.DataFrame({"contact": contact, "step": 1, "node": "subject", "did": np.where(is_a, "A", "B")})
    second = pd.DataFrame({"contact": contact, "step": 2, "node": "remind", "did": np.where(is_reminded, "yes", "no")})
    log = pd.concat([first.assign(to="A"), second[~opened].assign(to="yes")], ignore_index=True)
    log = log.assign(chance=0.5, to_chance=(log["did"] == log["to"]).astype(float), bought=bought[log["contact"]])
    log["step_reward"] = np.where(log["step"] == np.where(opened[log["contact"]], 1, 2), log["bought"], 0.0)
    return log.sample(frac=1, random_state=seed)


STEPS = {"unit": "contact", "step": "step", "action": "did", "propensity": "chance", "node": "node"}


def test_sequential_estimates_hold_the_truth():
    found = sequential_policy_value(two_steps(20_000, 1), **STEPS, target="to", unit_reward="bought")
    assert found.refused is None
    assert found.n == 20_000
    assert found.estimates["estimator"].tolist() == ["is", "wis", "pdis", "wpdis", "dm", "dr"]
    assert found.estimates["standard_error"].tolist() == pytest.approx([0.0027] * 6, abs=0.0003)
    assert ((found.estimates["value"] - 0.0510).abs() < 3 * found.estimates["standard_error"]).all()
    assert found.nodes["node"].tolist() == ["subject", "remind"]
    assert found.nodes["unsupported_share"].tolist() == [0, 0]


def test_sequential_columns_give_the_same_whichever_way_they_are_given():
    log = two_steps(2000, 2)
    by_unit = sequential_policy_value(log, **STEPS, target="to", unit_reward="bought")
    by_step = sequential_policy_value(log, **STEPS, target="to", reward="step_reward")
    by_share = sequential_policy_value(log, **STEPS, target_propensity="to_chance", reward="step_reward")
    assert by_step.estimates.equals(by_unit.estimates)
    assert by_share.estimates["value"].tolist()[:4] == pytest.approx(by_unit.estimates["value"].tolist()[:4])
    assert by_share.estimates["value"].tolist() == pytest.approx(by_unit.estimates["value"].tolist(), rel=0.1)


def test_sequential_logged_policy_is_worth_exactly_what_was_observed():
    log = two_steps(1500, 3)
    found = sequential_policy_value(log, **STEPS, target_propensity="chance", unit_reward="bought")
    assert set(found.estimates["value"]) == {log.groupby("contact")["bought"].first().mean()}


def test_sequential_support_is_told_by_node():
    log = two_steps(4000, 4)
    log.loc[log["node"] == "remind", ["did", "chance"]] = "no", 1.0
    found = sequential_policy_value(log, **STEPS, target="to", unit_reward="bought")
    refused(found, "unsupported_share")
    assert found.nodes.set_index("node")["unsupported_share"].to_dict() == {"subject": 0, "remind": 1}
    assert found.diagnostics.unsupported_share == pytest.approx(0.7, abs=0.05)
    assert any("At remind the log could not have done 100.0%" in note for note in found.notes)
    assert found.bounds[0] <= 0.0510 <= found.bounds[1]


def test_sequential_decisions_without_a_probability_are_unsupported():
    log = two_steps(4000, 6)
    log.loc[log["contact"] < 40, "chance"] = np.nan
    found = sequential_policy_value(log, **STEPS, target="to", unit_reward="bought")
    assert found.diagnostics.unsupported_share == pytest.approx(0.01)
    assert found.refused is None
    assert found.bounds is not None


def test_sequential_state_sharpens_the_doubly_robust_estimate():
    rng = np.random.default_rng(5)
    n = 3000
    segment = rng.integers(0, 4, n)
    log = pd.DataFrame(
        {"contact": np.repeat(np.arange(n), 2), "step": np.tile([1, 2], n), "did": rng.choice(["x", "y"], 2 * n)}
    ).assign(chance=0.5, to="x", segment=np.repeat(segment, 2))
    log["earned"] = np.where(log["step"] == 2, 10.0 * log["segment"], 0) + (log["did"] == "x") + rng.normal(size=2 * n)
    more = {"unit": "contact", "step": "step", "action": "did", "propensity": "chance", "target": "to"}
    plain = sequential_policy_value(log, **more, reward="earned")
    sharp = sequential_policy_value(log, **more, reward="earned", state=["segment"])
    assert of(sharp, "dr")["standard_error"] < 0.6 * of(plain, "dr")["standard_error"]
    truth = 10 * segment.mean() + 2
    assert of(sharp, "dr")["value"] == pytest.approx(truth, abs=4 * of(sharp, "dr")["standard_error"])


def test_sequential_faults_are_named_at_once():
    log = pd.DataFrame(
        {
            "contact": [1, 1, 2],
            "step": [1, 1, 1],
            "did": ["a", None, "a"],
            "chance": [0.5, 0, 1],
            "to": "a",
            "won": [0, 1, 2],
        }
    )
    with pytest.raises(DataError) as caught:
        sequential_policy_value(
            log, unit="contact", step="step", action="did", propensity="chance", target="to", unit_reward="won"
        )
    message = str(caught.value)
    assert "column 'step' must differ between the decisions of a unit (row 1: 1)" in message
    assert "column 'won' must be the same in all rows of a unit (row 1: 1.0)" in message
    assert "column 'did' must name an action in every row (row 1: missing)" in message
    assert "column 'chance' must lie above 0 and up to 1" in message


# Faults of the table


def faults(log: pd.DataFrame, **more: Any) -> str:
    with pytest.raises(DataError) as caught:
        value(log, **more)
    return str(caught.value)


def test_unknown_columns_are_named_with_the_nearest():
    message = faults(sends(), reward="bougt", context=["pln"])
    assert "reward: no column 'bougt'; did you mean 'bought'?" in message
    assert "context: no column 'pln'; did you mean 'plan'?" in message


def test_bad_rows_are_named_with_their_values():
    log = sends(10).astype({"chance": object, "bought": object})
    log.loc[3, "chance"], log.loc[4, "chance"], log.loc[5, "bought"] = 0.0, 1.5, None
    log.loc[6, "sent"], log.loc[7, "bought"] = None, "lots"
    message = faults(log)
    assert "column 'chance' must lie above 0 and up to 1, as what was done had a probability (row 3: 0.0" in message
    assert "row 4: 1.5" in message
    assert "column 'bought' must give a reward in every row; say 0 where nothing came of it (row 5: missing)" in message
    assert "column 'bought' must hold finite numbers (row 7: 'lots')" in message
    assert "column 'sent' must name an action in every row (row 6: missing)" in message


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"level": 90}, "level lies between 0 and 1"),
        ({"interval": "exact"}, "interval is one of"),
        ({"n_folds": 1}, "at least two folds"),
        ({"half_width": 0}, "half_width is greater than zero"),
        ({"reward_range": (1, 1)}, "from a lesser to a greater"),
        ({"target": None}, "got neither"),
        ({"target_propensity": "best_chance", "target": "best"}, "got both"),
    ],
)
def test_options_out_of_range_are_named(more, said):
    assert said in faults(sends(), **more)


def test_tables_that_are_none_are_refused():
    assert "no rows" in faults(sends(5).iloc[:0])
    assert "a dict is no table" in faults({"sent": []})
    assert "two columns are named 'plan'" in faults(pd.concat([sends(5), sends(5)[["plan"]]], axis=1))
    assert "only one unit" in faults(sends(10).assign(contact=1), unit="contact")


def test_table_may_be_arrow():
    import pyarrow as pa

    log = sends(300)
    assert value(pa.Table.from_pandas(log)).estimates.equals(value(log).estimates)


@pytest.mark.parametrize(
    ("sent", "best"),
    [
        ([True, False], True),
        ([1, 0], 1.0),
        (["1", "0"], 1),
        (["1.0", "0.0"], 1),
        (["True", "False"], True),
        ([True, False], 1),
        (["yes", "no"], "yes"),
    ],
)
def test_actions_may_be_of_any_type(sent, best):
    rng = np.random.default_rng(8)
    log = pd.DataFrame({"sent": [sent[i] for i in rng.integers(0, 2, 400)], "chance": 0.5, "bought": 1.5, "best": best})
    found = value(log)
    assert found.refused is None
    assert found.diagnostics.n_matched == (log["sent"] == sent[0]).sum()
    assert set(found.estimates.set_index("estimator").loc[["snips", "dm"], "value"].round(9)) == {1.5}


# How it shows itself


def test_result_is_one_honest_line_and_a_static_table():
    good, bad = value(sends()), value(sends().assign(best="<d>"))
    assert repr(good).startswith("PolicyValue(best, 3,000 decisions: snips 0.")
    assert repr(bad) == "PolicyValue(best, 3,000 decisions: refused (unsupported_share, effective_n); between 0 and 1)"
    html = bad._repr_html_()
    assert "&lt;d&gt;" in html
    assert "<script" not in html
    assert "what would answer it" in html
    assert "doubly robust (dr)" in good._repr_html_()
    assert "no unmeasured confounding" in estimated(confounded(400), ["spend"])._repr_html_()
    assert "calibration" not in estimate_propensities(confounded(400), action="sent", context=["spend"])._repr_html_()


# Real data


@pytest.mark.data
def test_hillstrom_is_worth_what_each_arm_earned(shared_data):
    log = pd.read_csv(shared_data / "hillstrom" / "hillstrom.csv.gz")
    log = log.assign(chance=1 / 3, women="Womens E-Mail")
    for reward in ("visit", "spend"):
        arm = log.loc[log["segment"] == "Womens E-Mail", reward]
        found = policy_value(
            log, action="segment", reward=reward, propensity="chance", target="women", context=["channel", "recency"]
        )
        assert of(found, "snips")["value"] == pytest.approx(arm.mean())
        assert of(found, "snips")["standard_error"] == pytest.approx(stats.sem(arm), rel=1e-3)
        assert of(found, "dr")["value"] == pytest.approx(arm.mean(), abs=stats.sem(arm) / 4)
        # A placebo: what they had spent in the year before.
        before = policy_value(log, action="segment", reward="history", propensity="chance", target="women")
        assert (before.contrast["low"].max() < 0) & (before.contrast["high"].min() > 0)
    plain = policy_value(log, action="segment", reward="visit", propensity="chance", target="women")
    arm = log.loc[log["segment"] == "Womens E-Mail", "visit"]
    assert of(plain, "dm")["value"] == pytest.approx(arm.mean())
    assert of(plain, "dm")["standard_error"] == pytest.approx(stats.sem(arm), rel=1e-3)


@pytest.mark.data
@pytest.mark.parametrize("campaign", ["all", "men", "women"])
@pytest.mark.parametrize("context", [[], ["position"]])
def test_open_bandit_policies_are_valued_from_each_others_logs(shared_data, campaign, context):
    folder = shared_data / "open_bandit_small"
    shares = pd.read_csv(folder / "bts_action_dist.csv.gz").query("campaign == @campaign")
    random = pd.read_parquet(folder / f"random_{campaign}.parquet").merge(shares, on=["item_id", "position"])
    bts = pd.read_parquet(folder / f"bts_{campaign}.parquet")
    bts["uniform"] = 1 / random["item_id"].nunique()
    columns = {"action": "item_id", "reward": "click", "propensity": "propensity_score", "context": context}
    of_bts = policy_value(random, **columns, target_propensity="bts_prob")
    of_random = policy_value(bts, **columns, target_propensity="uniform")
    for found, other in ((of_bts, bts), (of_random, random)):
        assert found.diagnostics.unsupported_share == 0
        clicks = other["click"]
        if found.refused is not None:
            assert found.bounds[0] <= clicks.mean() <= found.bounds[1]
            continue
        for name in ("ips", "snips", "dr"):
            one = of(found, name)
            error = math.hypot(one["standard_error"], stats.sem(clicks))
            assert abs(one["value"] - clicks.mean()) < stats.norm.ppf(0.95) * error
    # One item was shown with a chance of 1 in a million; the log cannot carry the uniform policy.
    assert of_bts.refused is None
    assert of_random.reasons == (["effective_n", "max_weight_share"] if campaign == "women" else [])


# The command

Run = Callable[..., Any]


@pytest.fixture
def run(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs the command on a file and gives (status, stdout, stderr)."""
    monkeypatch.chdir(tmp_path)
    sends(2000).to_csv("sends.csv", index=False)

    def run(*arguments: str, name: str = "sends.csv", logged: tuple[str, ...] = ()) -> tuple[int, str, str]:
        columns = logged or ("--action", "sent", "--reward", "bought", "--propensity", "chance")
        with pytest.raises(SystemExit) as exit_info:
            main(["policy", name, *columns, *arguments])
        out, err = capsys.readouterr()
        code = exit_info.value.code
        if isinstance(code, str):
            code, err = 1, err + code
        assert "Traceback" not in out + err
        return int(code or 0), out, err

    return run


def test_command_has_examples(capsys):
    with pytest.raises(SystemExit):
        main(["policy", "--help"])
    assert "\n    journeylab policy" in capsys.readouterr().out.partition("Examples:")[2]


def test_json_has_what_is_agreed(run):
    status, out, _ = run("--target", "best", "--context", "plan", "--json")
    found = json.loads(out, parse_constant=pytest.fail)
    assert status == 0
    assert found == value(sends(2000), context=["plan"]).to_dict()
    assert (found["n"], found["refused"], found["bounds"]) == (2000, None, None)
    assert [one["estimator"] for one in found["estimates"]] == ["ips", "snips", "dm", "dr"]
    for one in found["estimates"]:
        assert one["interval"][0] < one["value"] < one["interval"][1]
        assert one["standard_error"] > 0
    assert {"effective_n", "max_weight_share", "mean_weight", "unsupported_share"} <= set(found["diagnostics"])


def test_refusal_is_an_answer(run):
    sends(2000).assign(best="d").to_parquet("new.parquet")
    status, out, _ = run("--target", "best", "--json", name="new.parquet")
    found = json.loads(out, parse_constant=pytest.fail)
    assert status == 0
    assert found["estimates"] == []
    assert found["bounds"] == [0, 1]
    assert "could not have done 100.0%" in found["refused"]
    assert found["randomisation"]["arms"].keys() == {"d", "as before"}
    status, out, _ = run("--target", "best", name="new.parquet")
    assert status == 0
    assert "refused: the log could not have done" in out
    assert "bounds: the value lies between 0 and 1" in out
    assert "what would answer it: of " in out
    assert "doubly robust" not in out


def test_people_read_a_table(run):
    status, out, err = run("--target-propensity", "best_chance", "--context", "plan")
    assert status == 0
    lines = out.splitlines()
    assert lines[0] == "the policy 'best_chance' over 2,000 decisions of sends.csv"
    assert lines[2].split() == ["estimate", "value", "error", "90%", "interval"]
    assert any(line.startswith("  doubly robust (dr)") for line in lines)
    assert "less what was done" in out
    assert "not supported by the log" in out
    assert "valued the policy over 2,000 decisions" in err


def test_estimated_probabilities_print_their_assumption(run):
    logged = ("--action", "sent", "--reward", "bought", "--estimate-propensity")
    status, out, _ = run("--target", "best", "--context", "plan", logged=logged)
    assert status == 0
    assert "note: The probabilities are estimated. This assumes no unmeasured confounding given plan" in out
    assert "a factor of 1.5" in out


def test_options_reach_the_value(run):
    more = ["--target", "best", "--level", "0.5", "--interval", "empirical-bernstein", "--reward-range", "0,2"]
    status, out, _ = run(*more, "--half-width", "0.1", "--json")
    expected = value(sends(2000), level=0.5, interval="empirical_bernstein", reward_range=(0, 2), half_width=0.1)
    assert status == 0
    assert json.loads(out) == expected.to_dict()


def test_context_may_be_several_columns_at_once(run):
    one = run("--target", "best", "--context", "plan", "before", "--json")
    two = run("--target", "best", "--context", "plan", "--context", "before", "--json")
    assert one[:2] == two[:2]


@pytest.mark.parametrize(
    "arguments",
    [
        (),
        ("--target", "best", "--target-propensity", "best_chance"),
        ("--target", "best", "more.csv"),
        ("--target", "best", "--level", "90"),
        ("--target", "best", "--interval", "exact"),
        ("--target", "best", "--reward-range", "5"),
        ("--target", "best", "--half-width", "0"),
        ("--target", "best", "--estimate-propensity"),
        ("--target", "best", "--what"),
    ],
)
def test_wrong_usage_is_status_2(run, arguments):
    status, out, err = run(*arguments)
    assert status == 2
    assert out == ""
    assert "Usage: journeylab policy" in err


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("sent,chance,bought,best\na,0.5,1,a\nb,0,1,a\n", "line 3: 0.0"),
        ("sent,chance,bought,best\na,0.5,1,a\nb,1.5,1,a\n", "line 3: 1.5"),
        ("sent,chance,bought,best\na,half,1,a\n", "column 'chance' must hold finite numbers (line 2: 'half')"),
        ("sent,chance,bought,best\na,0.5,,a\n", "column 'bought' must give a reward in every row"),
        ("sent,chance,bought,best\n,0.5,1,a\n", "column 'sent' must name an action in every row (line 2: missing)"),
        ("sent,chance,bought,best\na,0.5,1\n", "line 2: has 3 values, the header names 4"),
        ("sent,chance,bought,best\n", "the table has no rows"),
        ("sent,chance,bougt,best\na,0.5,1,a\n", "no column 'bought'; did you mean 'bougt'?"),
        ("", "is empty"),
    ],
)
def test_faults_of_the_table_are_status_1(run, text, said):
    Path("bad.csv").write_text(text)
    status, out, err = run("--target", "best", "--json", name="bad.csv")
    assert (status, out) == (1, "")
    assert said in err


def test_missing_file_is_named_with_the_nearest(run):
    status, _, err = run("--target", "best", name="send.csv")
    assert status == 1
    assert "there is no file send.csv; did you mean 'sends.csv'?" in err


def test_database_is_read_by_a_query(run):
    import sqlite3
    from contextlib import closing

    with closing(sqlite3.connect("sends.db")) as database, database:
        sends(500).to_sql("sends", database, index=False)
    more = ["--target", "best", "--query", "SELECT * FROM sends", "--json"]
    status, out, _ = run(*more, name="sqlite:///sends.db")
    assert status == 0
    assert json.loads(out)["n"] == 500
