"""What visits and entries add up to, against hand counts, plain Python and scipy."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime, timedelta

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from journeylab.errors import DataError
from journeylab.timetoevent import cumulative_incidence, time_to_exit, time_to_node
from journeylab.visits import (
    branch_table,
    exits_table,
    flow,
    funnel,
    paths,
    waiting_times,
    wilson_interval,
)

START = pd.Timestamp("2026-03-02T00:00Z")
UNTIL = datetime(2026, 3, 30, tzinfo=UTC)
HORIZON = pd.Timestamp(UNTIL)


def as_replayed(frame: pd.DataFrame) -> pd.DataFrame:
    """The frame with names as categories, as a replay returns them."""
    names = [name for name in ("journey", "version", "node", "branch", "evidence", "exit") if name in frame]
    return frame.astype(dict.fromkeys(names, "category"))


def walks(*nodes: str, journey: str = "trial") -> pd.DataFrame:
    """Visits of one contact after another, each a text such as "hello read"; every visit at the same instant."""
    rows = [(journey, f"c{number}", 1, node) for number, walk in enumerate(nodes) for node in walk.split()]
    return as_replayed(pd.DataFrame(rows, columns=["journey", "contact", "entry", "node"]))


def random_walks(seed: int, n: int = 200) -> list[str]:
    rng = np.random.default_rng(seed)
    return [" ".join(rng.choice(list("abcd"), size=rng.integers(1, 7))) for _ in range(n)]


def entries_of(*days_and_exits: tuple[float | None, str | None]) -> pd.DataFrame:
    frame = pd.DataFrame(
        {
            "journey": "trial",
            "contact": [f"c{number}" for number in range(len(days_and_exits))],
            "entry": 1,
            "entered_at": START,
            "left_at": [pd.NaT if days is None else START + pd.Timedelta(days=days) for days, _ in days_and_exits],
            "exit": [text for _, text in days_and_exits],
            "converted": [bool(text and text.startswith("goal:")) for _, text in days_and_exits],
        }
    )
    return as_replayed(frame.astype({"left_at": "datetime64[us, UTC]"}))


@pytest.mark.parametrize(("n", "of"), [(0, 7), (3, 10), (10, 10), (412, 1999)])
def test_wilson_interval_is_scipys(n: int, of: int) -> None:
    low, high = wilson_interval(n, of)
    expected = stats.binomtest(n, of).proportion_ci(method="wilson")
    assert (float(low), float(high)) == pytest.approx((expected.low, expected.high))


def test_branch_shares_of_a_node_add_up_with_those_that_left_there() -> None:
    counts = pd.DataFrame(
        {
            "journey": "trial",
            "node": ["read", "read", "read", "done"],
            "verb": ["wait_for"] * 3 + ["exit"],
            "branch": ["then", "else", None, None],
            "target": ["offer", "done", None, None],
            "n_visits": [30, 60, 10, 60],
            "n_assumed": [0, 20, 0, 0],
            "n_predicted": 0,
        }
    )
    table = branch_table(counts)
    assert table["node"].unique().tolist() == ["read"]  # an exit has no branches
    assert table["branch_share"].tolist() == [0.3, 0.6, 0.1]
    assert (table["low"] < table["branch_share"]).all()
    assert (table["branch_share"] < table["high"]).all()


def test_versions_of_a_journey_are_added_up() -> None:
    one = {
        "journey": "t",
        "node": "a",
        "verb": "send",
        "branch": "next",
        "target": "b",
        "n_assumed": 1,
        "n_predicted": 0,
    }
    table = branch_table(pd.DataFrame([one | {"n_visits": 4}, one | {"n_visits": 6}]))
    assert table[["n_visits", "branch_share", "n_assumed"]].to_numpy().tolist() == [[10, 1.0, 2]]


def test_a_missing_column_is_named_with_those_that_are_there() -> None:
    with pytest.raises(DataError, match=r"counts without verb, branch.*columns here are journey, n_visits, node"):
        branch_table(pd.DataFrame({"journey": ["t"], "node": ["a"], "target": ["b"], "n_visits": [1]}))


def test_flow_counts_a_visit_in_the_week_it_was_left_and_weeks_begin_on_monday() -> None:
    left_at = [START - pd.Timedelta(microseconds=1), START, START + pd.Timedelta(days=6), None]
    visits = as_replayed(
        pd.DataFrame({"journey": "t", "node": "a", "left_at": left_at, "branch": ["next"] * 3 + [None]})
    )
    result = flow(visits)
    assert result["period_at"].tolist() == [START - pd.Timedelta(days=7), START]
    assert result["n_visits"].tolist() == [1, 2]
    assert flow(visits, every="1d")["n_visits"].tolist() == [1, 1, 1]


def test_a_funnel_step_needs_all_steps_before_it_in_order() -> None:
    visits = walks("hello read offer", "offer hello read", "hello offer", "hello read")
    result = funnel(visits, ["hello", "read", "offer"])
    assert result["n_entries"].tolist() == [4, 3, 1]
    assert result["reached_share"].tolist() == [1.0, 0.75, 0.25]


def test_a_funnel_follows_the_most_travelled_path_by_default() -> None:
    visits = walks(*["a b d"] * 3, *["a c d"] * 2)
    result = funnel(visits)
    assert result["node"].tolist() == ["a", "b", "d"]
    assert result["n_entries"].tolist() == [5, 3, 3]


def test_a_funnel_ends_where_the_path_returns_or_most_of_it_ends() -> None:
    assert funnel(walks("a b a b a"))["node"].tolist() == ["a", "b"]
    assert funnel(walks("a", "a", "a b"))["node"].tolist() == ["a"]


@pytest.mark.parametrize("seed", range(5))
def test_a_funnel_counts_what_a_plain_walk_counts(seed: int) -> None:
    made, steps = random_walks(seed), ["b", "a", "c"]

    def reached(walk: str) -> int:
        nodes = iter(walk.split())
        n = 0
        for step in steps:
            if step not in nodes:
                break
            n += 1
        return n

    expected = [sum(reached(walk) > step for walk in made) for step in range(len(steps))]
    assert funnel(walks(*made), steps)["n_entries"].tolist() == expected


def test_a_funnel_names_unknown_steps_and_the_nearest_node() -> None:
    with pytest.raises(DataError, match=r"nobody visited 'helo'; did you mean 'hello'"):
        funnel(walks("hello read"), ["helo"])


def test_steps_for_several_journeys_are_refused_with_a_remedy() -> None:
    both = pd.concat([walks("a", journey="one"), walks("a", journey="two")])
    with pytest.raises(DataError, match=r"steps belong to one journey.*one, two.*keep one"):
        funnel(both, ["a"])


@pytest.mark.parametrize("seed", range(5))
def test_paths_count_whole_sequences(seed: int) -> None:
    made = random_walks(seed)
    result = paths(walks(*made), most=1000)
    found = dict(zip(result["path"], result["n_entries"], strict=True))
    assert found == Counter(walk.replace(" ", " > ") for walk in made)
    assert result["path_share"].sum() == pytest.approx(1)


def test_visits_of_entries_may_be_interleaved() -> None:
    visits = pd.DataFrame(
        {"journey": "t", "contact": ["x", "y", "x", "y"], "entry": 1, "node": ["a", "a", "b", "c"]}
    )  # as in a portfolio, sorted by instant only
    assert paths(visits)["path"].tolist() == ["a > b", "a > c"]


def test_waiting_times_leave_out_open_visits() -> None:
    hours = [1, 2, 3, None]
    visits = pd.DataFrame(
        {
            "journey": "t",
            "node": "read",
            "branch": ["then", "then", "then", None],
            "arrived_at": START,
            "left_at": [None if hour is None else START + pd.Timedelta(hours=hour) for hour in hours],
        }
    )
    result = waiting_times(visits)
    assert result["n_visits"].tolist() == [3]
    assert result["median"].tolist() == [pd.Timedelta(hours=2)]


def test_exits_and_those_still_inside_add_up_to_all_entries() -> None:
    result = exits_table(entries_of((1, "goal:purchase"), (2, "finished"), (3, "finished"), (None, None)))
    assert result["n_entries"].tolist() == [2, 1, 1]
    assert result["exit"].isna().tolist() == [False, False, True]
    assert result["exit_share"].sum() == 1


def made_up_outcomes(seed: int, kinds: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    days = np.ceil(rng.exponential(10, 300)).astype("timedelta64[D]")  # whole days, so that there are ties
    return days, rng.integers(0, kinds, 300)


def test_without_competing_outcomes_it_is_one_minus_scipys_kaplan_meier() -> None:
    days, outcome = made_up_outcomes(3, kinds=2)
    curve = cumulative_incidence(days, outcome)
    numbers = days.astype(float)
    data = stats.CensoredData(uncensored=numbers[outcome == 1], right=numbers[outcome == 0])
    survival = stats.ecdf(data).sf
    band = survival.confidence_interval(method="log-log")
    at = (curve["after"] / timedelta(days=1)).to_numpy()
    places = np.searchsorted(survival.quantiles, at[1:], side="right") - 1
    assert curve["reached_share"].to_numpy()[1:] == pytest.approx(1 - survival.probabilities[places])
    inside = (curve["reached_share"] < 1).to_numpy()[1:]
    assert curve["low"].to_numpy()[1:][inside] == pytest.approx(1 - band.high.probabilities[places][inside], abs=1e-9)
    assert curve["high"].to_numpy()[1:][inside] == pytest.approx(1 - band.low.probabilities[places][inside], abs=1e-9)


def test_without_censoring_it_is_the_plain_share() -> None:
    days, outcome = made_up_outcomes(4, kinds=2)
    curve = cumulative_incidence(days, outcome + 1)
    plain = [((days <= after) & (outcome == 0)).mean() for after in curve["after"].to_numpy()]
    assert curve["reached_share"].to_numpy() == pytest.approx(plain)


def test_competing_outcomes_never_add_up_to_more_than_one_and_censoring_them_overstates() -> None:
    days, outcome = made_up_outcomes(5, kinds=3)
    swapped = np.array([0, 2, 1])[outcome]
    one, other = (cumulative_incidence(days, kind)["reached_share"].iloc[-1] for kind in (outcome, swapped))
    assert one + other <= 1 + 1e-12
    assert cumulative_incidence(days, np.where(outcome == 2, 0, outcome))["reached_share"].iloc[-1] > one


def test_the_interval_covers_the_truth_about_as_often_as_it_says() -> None:
    rng = np.random.default_rng(11)
    after_day_five = (1 - np.exp(-5 * 0.15)) * 0.1 / 0.15  # hazards 0.1 for the event, 0.05 for its rival
    covered = 0
    for _ in range(400):
        event, rival, censored = (rng.exponential(1 / hazard, 150) for hazard in (0.1, 0.05, 0.04))
        first = np.minimum(np.minimum(event, rival), censored)
        outcome = np.select([first == event, first == rival], [1, 2], 0)
        curve = cumulative_incidence((first * 86_400e6).astype("timedelta64[us]"), outcome)
        last = curve[curve["after"] <= timedelta(days=5)].iloc[-1]
        covered += last["low"] <= after_day_five <= last["high"]
    assert 0.92 <= covered / 400 <= 0.98


def test_time_to_exit_counts_goals_when_no_exit_is_named() -> None:
    entries = entries_of((2, "goal:purchase"), (3, "finished"), (4, "goal:purchase"), (None, None))
    by_goal = time_to_exit(entries, UNTIL)
    assert by_goal["reached_share"].tolist() == [0.0, 0.25, 0.5, 0.5]
    assert by_goal["after"].iloc[-1] == HORIZON - START
    assert time_to_exit(entries, UNTIL, "finished")["n_events"].sum() == 1


def test_exits_after_the_horizon_are_not_looked_at() -> None:
    curve = time_to_exit(entries_of((2, "goal:purchase"), (9, "goal:purchase")), START + pd.Timedelta(days=5))
    assert curve["n_events"].sum() == 1


def test_time_to_node_counts_those_that_left_before_as_lost() -> None:
    entries = entries_of((5, "finished"), (1, "account_closed"), (None, None))
    visits = pd.DataFrame(
        {
            "journey": "trial",
            "contact": ["c0", "c0"],
            "entry": 1,
            "node": "offer",
            "arrived_at": [START + pd.Timedelta(days=2), START + pd.Timedelta(days=4)],
        }
    )
    curve = time_to_node(visits, entries, "offer", UNTIL)
    assert curve["n_events"].sum() == 1  # the first visit counts, the second does not
    assert curve["reached_share"].iloc[-1] == pytest.approx(1 / 3)


def test_times_refuse_unknown_exits_naive_horizons_and_entries_after_the_horizon() -> None:
    entries = entries_of((2, "goal:purchase"))
    with pytest.raises(DataError, match=r"no entry left by 'goal:purchse'; did you mean 'goal:purchase'"):
        time_to_exit(entries, UNTIL, "goal:purchse")
    with pytest.raises(DataError, match="no time zone"):
        time_to_exit(entries, UNTIL.replace(tzinfo=None))
    with pytest.raises(DataError, match="1 entries begin after until"):
        time_to_exit(entries, START - pd.Timedelta(days=1))


@pytest.mark.parametrize("analysis", [exits_table, waiting_times, flow, funnel, paths])
def test_no_rows_give_an_empty_table(analysis: object) -> None:
    empty = pd.DataFrame(
        {
            "journey": pd.Series(dtype="str"),
            "contact": pd.Series(dtype="str"),
            "entry": pd.Series(dtype="int64"),
            "node": pd.Series(dtype="str"),
            "branch": pd.Series(dtype="str"),
            "arrived_at": pd.Series(dtype="datetime64[us, UTC]"),
            "left_at": pd.Series(dtype="datetime64[us, UTC]"),
            "exit": pd.Series(dtype="str"),
            "converted": pd.Series(dtype="bool"),
        }
    )
    assert analysis(empty).empty  # type: ignore[operator]
