"""Every function that takes a table takes it as pandas, polars, Arrow and DuckDB, with the same result."""

from collections.abc import Callable
from functools import cache
from typing import Any

import duckdb
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

import journeylab as jl
import publicobjects
from journeylab import experiments
from journeylab.experiments.sizing.recruiting import duration
from journeylab.experiments.unittable import UnitTable
from journeylab.tablesource import as_frame, is_table


def relation(frame: pd.DataFrame) -> Any:
    connection = duckdb.connect()
    connection.execute("SET TimeZone = 'UTC'")
    connection.register("given", frame)
    return connection.sql("SELECT * FROM given")


class Foreign:
    """A table of a library that nobody here has heard of."""

    def __init__(self, frame: pd.DataFrame) -> None:
        self._table = pa.Table.from_pandas(frame, preserve_index=False)

    def __arrow_c_stream__(self, requested_schema: object = None) -> object:
        return self._table.__arrow_c_stream__(requested_schema)


KINDS: dict[str, Callable[[pd.DataFrame], Any]] = {
    "polars": pl.from_pandas,
    "arrow": lambda frame: pa.Table.from_pandas(frame, preserve_index=False),
    "reader": lambda frame: pa.Table.from_pandas(frame, preserve_index=False).to_reader(),
    "duckdb": relation,
    "foreign": Foreign,
}

EVENTS = pd.DataFrame(
    {
        "contact": ["ada", "bo", "ada", "bo", "ada"],
        "event": ["signup", "signup", "visit", "visit", "purchase"],
        "occurred_at": pd.to_datetime([f"2026-03-0{day}T09:00:00Z" for day in (1, 2, 3, 4, 5)]).as_unit("us"),
        "amount": [np.nan, np.nan, np.nan, np.nan, 30.0],
    }
)
CONTACTS = pd.DataFrame({"contact": ["ada", "bo"], "country": ["PL", "DE"]})
AS_OF = pd.Timestamp("2026-03-01T00:00:00Z").as_unit("us")
SCORES = pd.DataFrame({"contact": ["ada", "bo"], "score": [0.9, 0.1], "as_of": [AS_OF, AS_OF]})
HOURS = pd.DataFrame({"contact": ["ada", "bo"], "hour_of_week": [9, 42]})
ASKS = jl.Journey(
    journey="asks",
    trigger=jl.Trigger(event="signup"),
    nodes={
        "ask": jl.Decide(decide=[{"if": 'score("keen") >= 0.5', "go": "mail"}], otherwise="done"),
        "mail": jl.Send(send="hello", at="best", expires="7d", next="done"),
        "done": jl.Exit(exit="finished"),
    },
)


def _log() -> jl.EventLog:
    return jl.EventLog.read(EVENTS, contacts=CONTACTS)


def _visits(scores: Any, hours: Any) -> pd.DataFrame:
    return jl.replay(ASKS, _log(), scores={"keen": scores}, send_times=hours).visits


def _decisions() -> pd.DataFrame:
    return publicobjects.decisions()


def _steps() -> pd.DataFrame:
    frame = _decisions().assign(unit=np.arange(2000) // 2, step=np.arange(2000) % 2)
    return frame.assign(plan=frame["sent"])


def _assigned() -> pd.DataFrame:
    trial = publicobjects.trial()
    return trial[["arm"]].assign(exposed_at=trial["at"])


LIFT = {"features": ["city"], "control": "none", "outcome": "visit"}
TABLES: dict[str, tuple[Callable[[], pd.DataFrame], Callable[[Any], Any]]] = {
    "EventLog.read events": (lambda: EVENTS, lambda one: jl.EventLog.read(one, contacts=CONTACTS).events()),
    "EventLog.read contacts": (lambda: CONTACTS, lambda one: jl.EventLog.read(EVENTS, contacts=one).contacts()),
    "replay scores": (lambda: SCORES, lambda one: _visits(one, HOURS)),
    "replay send_times": (lambda: HOURS, lambda one: _visits(SCORES, one)),
    "replay send_times by name": (lambda: HOURS, lambda one: _visits(SCORES, {"best": one})),
    "SendTimes.of_hours": (lambda: HOURS, lambda one: jl.SendTimes.of_hours(one).table()),
    "policy_value": (_decisions, lambda one: publicobjects.value_of(one, propensity="chance").estimates),
    "sequential_policy_value": (
        _steps,
        lambda one: jl.sequential_policy_value(
            one, unit="unit", step="step", action="sent", propensity="chance", target="plan", reward="bought"
        ).estimates,
    ),
    "estimate_propensities": (
        _decisions, lambda one: jl.estimate_propensities(one, action="sent", context=["spend"]).calibration
    ),
    "experiment.analyze": (publicobjects.trial, lambda one: _experiment().analyze(one).table),
    "experiment.plan": (publicobjects.trial, lambda one: _experiment().plan(one, aa_runs=2).metrics),
    "experiment.watch": (publicobjects.trial, lambda one: _experiment().watch(one, looks=3).path),
    "read_units": (publicobjects.trial, lambda one: _units(one).table().value_counts().to_dict()),
    "UnitTable.of_frame": (
        lambda: publicobjects.trial()[["arm", "visit"]].astype({"visit": int}),
        lambda one: UnitTable.of_frame(
            one, [experiments.Proportion("visit")], control="none", shares={"none": 0.5, "mail": 0.5}
        ).counts(),
    ),
    "UpliftModel.fit": (publicobjects.trial, lambda one: _uplift(one).predict(publicobjects.trial()).to_list()),
    "UpliftModel.predict": (publicobjects.trial, lambda one: _uplift(publicobjects.trial()).predict(one).to_list()),
    "UpliftModel.outcomes": (publicobjects.trial, lambda one: _uplift(publicobjects.trial()).outcomes(one)),
    "judge_uplift": (
        publicobjects.trial,
        lambda one: experiments.judge_uplift(experiments.UpliftModel("t"), one, treated="mail", n_parts=2, **LIFT).top,
    ),
    "recommend": (publicobjects.trial, lambda one: experiments.recommend(one, n_parts=2, learner="t", **LIFT).values),
    "sample_ratio": (_assigned, lambda one: experiments.sample_ratio(one, {"mail": 0.5, "none": 0.5}).by_day),
    "sample_ratio probabilities": (
        lambda: pd.DataFrame({"mail": np.full(3000, 0.5), "none": 0.5}),
        lambda one: experiments.sample_ratio(_assigned(), probabilities=one).by_day,
    ),
    "subgroup_effects": (
        lambda: pd.DataFrame({"segment": ["new", "old"], "effect": [0.05, 0.01], "standard_error": [0.02, 0.02]}),
        lambda one: experiments.subgroup_effects(one).table,
    ),
    "bayesian_view": (
        lambda: pd.DataFrame({"arm": ["a", "b"], "n": [1000, 1000], "n_successes": [100, 125]}),
        experiments.bayesian_view,
    ),
    "adaptive_means": (publicobjects.split_batches, lambda one: experiments.adaptive_means(one, control="plain").arms),
    "compare_splits": (
        lambda: pd.DataFrame({"a": np.arange(4000) % 10 == 0, "b": np.arange(4000) % 8 == 0}).astype(int),
        lambda one: experiments.compare_splits(one, control="a", n_runs=5).table,
    ),
    "duration": (
        lambda: pd.DataFrame({"n_units": [400, 300, 300]}), lambda one: duration(900, one, "14d").to_dict()
    ),
}  # fmt: skip


def _experiment() -> jl.Experiment:
    return publicobjects.experiment().model_copy(update={"features": (), "segments": ()})


def _units(one: Any) -> UnitTable:
    return experiments.read_units(one, arm="arm", control="none", metrics=[experiments.Proportion("visit")])


def _uplift(one: Any) -> experiments.UpliftModel:
    return experiments.UpliftModel("t").fit(one, treated="mail", **LIFT)


@cache
def of_pandas(door: str) -> Any:
    """What comes out of a door where a pandas frame goes in."""
    make, through = TABLES[door]
    return through(make())


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("door", TABLES)
def test_every_door_takes_every_kind_of_table(door, kind):
    make, through = TABLES[door]
    expected, found = of_pandas(door), through(KINDS[kind](make()))
    if isinstance(expected, pd.DataFrame):
        pd.testing.assert_frame_equal(found, expected, check_dtype=False, check_categorical=False)
    else:
        assert found == expected


@pytest.mark.parametrize("given", [pd.Series([1]), pl.Series([1]), [1], pa.chunked_array([[1]]), None])
def test_what_is_no_table_is_refused(given):
    assert not is_table(given)
    with pytest.raises(jl.DataError, match="is no table; give a pandas or polars DataFrame"):
        as_frame(given)


def test_a_lazy_frame_is_to_be_collected():
    lazy = pl.from_pandas(EVENTS).lazy()
    with pytest.raises(jl.DataError, match=r"the table: a LazyFrame is no table; collect\(\) it"):
        as_frame(lazy)
    with pytest.raises(jl.DataError, match="LazyFrame, which cannot be read; give a collected frame"):
        jl.EventLog.read(lazy)


def test_a_score_that_is_neither_table_nor_function_is_refused():
    with pytest.raises(jl.DataError, match="score 'keen': a float is no table"):
        jl.replay(ASKS, _log(), scores={"keen": 0.5}, send_times=HOURS)
