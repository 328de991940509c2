"""Backtests: a true model is found calibrated, a drift is found, and what nobody can know is said to be unknowable."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

import journeylab as jl
from constantmodel import ConstantModel
from journeylab.backtest import backtest
from journeylab.errors import DataError

DAY, HOUR = pd.Timedelta(days=1), pd.Timedelta(hours=1)
START = pd.Timestamp("2026-03-02T09:00:00Z")
CUTOFF = "2026-03-12"
MESSAGES = ("welcome_1", "reminder")


NODES = {
    "hello": {"send": "welcome_1", "next": "read"},
    "read": {"wait_for": "opened(hello)", "within": "2d", "then": "fan", "else": "nudge"},
    "nudge": {"send": "reminder", "next": "heard"},
    "heard": {"wait_for": "opened(nudge)", "within": "2d", "then": "fan", "else": "cold"},
    "fan": {"exit": "fan"},
    "cold": {"exit": "cold"},
}


def journey(**changes):
    return jl.Journey.from_data({"journey": "welcome", "trigger": {"event": "signup"}, "nodes": NODES} | changes)


def log_of(before=0.3, after=0.3, n=1000, extra=lambda k, at: ()):
    """The journey as it really ran, twenty days long; opens come an hour after the send."""
    rng, rows = np.random.default_rng(11), []
    for k in range(n):
        contact, at = f"c{k:04d}", START + k * (20 * DAY / n)
        rate = before if at < pd.Timestamp(CUTOFF, tz="UTC") else after
        rows.append({"contact": contact, "event": "signup", "occurred_at": at})
        for message, delay in (("welcome_1", 0 * DAY), ("reminder", 2 * DAY)):
            rows.append({"contact": contact, "event": "sent", "occurred_at": at + delay, "message": message})
            if rng.random() < rate:
                rows.append({"contact": contact, "event": "opened", "occurred_at": at + delay + HOUR,
                             "message": message})  # fmt: skip
                break
        rows += [{"contact": contact, **one} for one in extra(k, at)]
    rows.append({"contact": "zz", "event": "visit", "occurred_at": START + 30 * DAY})
    frame = pd.DataFrame(rows).reindex(columns=["contact", "event", "occurred_at", "message", "amount"])
    return jl.EventLog.read(frame.astype({"message": "str"}))


def verdicts(result):
    return result.nodes.set_index("node")["verdict"].to_dict()


def test_a_true_model_is_calibrated():
    result = backtest(journey(), log_of(), cutoff=CUTOFF, responses=ConstantModel(MESSAGES, opened=0.3))
    assert verdicts(result) == dict.fromkeys(("hello", "read", "nudge", "heard"), "calibrated")
    assert result.failures == ()
    assert result.n_entries == 518  # the cutoff is at midnight, nine hours after a day of entries began
    row = result.branches.query("node == 'read' and branch == 'then'").iloc[0]
    assert row["low"] < row["came_share"] < row["high"]
    assert row["predicted_share"] == pytest.approx(0.3, abs=0.01)


def test_a_drift_is_biased_and_its_model_is_refused_for_scenarios():
    log, model = log_of(after=0.15), ConstantModel(MESSAGES, opened=0.3)
    result = backtest(journey(), log, cutoff=CUTOFF, responses=model)
    assert verdicts(result)["read"] == verdicts(result)["heard"] == "biased"
    assert result.failures[0].startswith("read: ")
    assert "was predicted" in result.failures[0]
    with pytest.raises(DataError, match="does not reproduce"):
        jl.simulate(journey(), log, responses=result.model, draws=2)
    printed = jl.simulate(journey(), log, responses=result.model, draws=2, override="before the relaunch")
    assert "OVERRIDDEN (before the relaunch)" in printed.notes[0]


def test_nothing_after_the_first_send_is_looked_at():
    model = ConstantModel(MESSAGES, opened=0.3)
    one = backtest(journey(), log_of(after=0.3), cutoff=CUTOFF, responses=model, draws=20)
    other = backtest(journey(), log_of(after=0.9), cutoff=CUTOFF, responses=model, draws=20)
    np.testing.assert_array_equal(one.predicted.tally.n_by_edge[:, -12:], other.predicted.tally.n_by_edge[:, -12:])
    assert (one.came.tally.n_by_edge != other.came.tally.n_by_edge).any()


def test_the_default_model_knows_nothing_later_than_the_cutoff():
    pytest.importorskip("lightgbm")
    one, other = (backtest(journey(), log_of(after=rate), cutoff=CUTOFF, draws=20) for rate in (0.3, 0.9))
    shares = [
        result.branches.query("node == 'read' and branch == 'then'")["predicted_share"].iloc[0]
        for result in (one, other)
    ]
    assert shares[0] == shares[1] == pytest.approx(0.3, abs=0.05)
    assert verdicts(one)["read"] == "calibrated"
    assert verdicts(other)["read"] == "biased"


def test_what_the_model_does_not_predict_is_unknowable():
    waiting = {
        "hello": {"send": "welcome_1", "next": "came"},
        "came": {"wait_for": "visit", "within": "2d", "then": "often", "else": "cold"},
        "often": {"decide": [{"if": 'count("visit", "30d") >= 2', "go": "fan"}], "else": "cold"},
        "fan": {"exit": "fan"},
        "cold": {"exit": "cold"},
    }

    def visits(k, at):
        return [{"event": "visit", "occurred_at": at + (1 + i) * HOUR} for i in range(k % 3)]

    model = ConstantModel(MESSAGES, opened=0.3)
    result = backtest(journey(nodes=waiting), log_of(extra=visits), cutoff=CUTOFF, responses=model)
    why = result.nodes.set_index("node")["why"]
    assert verdicts(result)["came"] == verdicts(result)["often"] == "unknowable"
    assert why["came"] == "it awaits 'visit', which the model does not predict"


def test_a_condition_before_any_send_is_known_to_the_letter():
    deciding = {
        "often": {"decide": [{"if": 'count("signup", "30d") >= 2', "go": "cold"}], "else": "hello"},
        **NODES,
    }
    model = ConstantModel(MESSAGES, opened=0.3)
    result = backtest(journey(nodes=deciding), log_of(), cutoff=CUTOFF, responses=model)
    assert verdicts(result)["often"] == "calibrated"


def test_a_journey_that_never_ran_is_unknowable():
    never = {
        "hello": {"send": "offer_9", "next": "read"},
        "read": {"wait_for": "opened(hello)", "within": "2d", "then": "fan", "else": "cold"},
        "fan": {"exit": "fan"},
        "cold": {"exit": "cold"},
    }
    model = ConstantModel(("offer_9", *MESSAGES), opened=0.3)
    result = backtest(journey(nodes=never), log_of(), cutoff=CUTOFF, responses=model)
    assert verdicts(result)["read"] == "unknowable"
    assert "did not run like this" in result.nodes.set_index("node")["why"]["read"]


def test_too_few_decisions_are_unknowable():
    result = backtest(journey(), log_of(n=40), cutoff=CUTOFF, responses=ConstantModel(MESSAGES, opened=0.3))
    assert result.nodes.set_index("node")["why"]["read"] == "only 20 came after the cutoff; a verdict takes 30"


def test_exits_have_a_verdict_of_their_own():
    ends = [{"event": "account_closed"}]

    def closing(k, at):
        return [{"event": "account_closed", "occurred_at": at + 0.5 * HOUR}] if k % 4 == 0 else []

    model = ConstantModel(MESSAGES, opened=0.3)
    result = backtest(journey(exit_when=ends), log_of(extra=closing), cutoff=CUTOFF, responses=model)
    found = result.outcomes.set_index("exit")
    assert found.loc["account_closed", "verdict"] == "unknowable"
    assert found.loc["account_closed", "why"] == "the model does not predict 'account_closed'"


def test_the_summary_has_every_verdict_and_figure():
    result = backtest(journey(), log_of(), cutoff=CUTOFF, responses=ConstantModel(MESSAGES, opened=0.3), draws=30)
    summary = result.summary()
    assert summary["cutoff"] == "2026-03-12T00:00:00+00:00"
    assert summary["nodes"]["read"]["verdict"] == "calibrated"
    then = summary["nodes"]["read"]["branches"]["then"]
    assert then["interval"][0] <= then["predicted_share"] <= then["interval"][1]
    assert summary["exits"]["fan"]["verdict"] == "calibrated"
    assert repr(result) == (
        "Backtest(welcome: 518 entries from 2026-03-12 on; nodes: 4 calibrated, 0 biased, 0 unknowable)"
    )
    assert "calibrated" in result._repr_html_()


@pytest.mark.parametrize(
    ("cutoff", "message"),
    [
        ("2027-01-01", "has to lie within the log"),
        ("soon", "write it as 2026-03-01"),
        ("2026-03-12T09:00:00", "write it as 2026-03-01"),
        ("2026-03-30", "no contact entered"),
    ],
)
def test_a_cutoff_that_does_not_fit_is_refused(cutoff, message):
    with pytest.raises(DataError, match=message):
        backtest(journey(), log_of(n=60), cutoff=cutoff, responses=ConstantModel(MESSAGES, opened=0.3), draws=2)
