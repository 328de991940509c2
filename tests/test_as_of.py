"""What was known of an experiment at an earlier instant, without another replay: the same as a replay until then."""

from __future__ import annotations

from datetime import timedelta
from functools import cache
from typing import Any

import pandas as pd
import pytest

from journeylab import datasets
from journeylab.errors import DataError
from journeylab.experiments import Experiment, Proportion, Revenue, Stopping, TimeToEvent
from journeylab.experiments.exposed import Exposed, exposed_units
from journeylab.experiments.watching import watch
from journeylab.journey import Journey, Wait

DECLARED: dict[str, Any] = {
    "window": "14d",
    "primary": Proportion("purchase", covariate="before"),
    "secondary": [Revenue("purchase.amount"), TimeToEvent("purchase", called="days")],
    "stopping": Stopping(planned_n=1250),
}


def later(journey: Journey) -> Journey:
    """The same journey with longer waits."""
    nodes = {
        name: node.model_copy(update={"wait": node.wait + timedelta(days=1)}) if isinstance(node, Wait) else node
        for name, node in journey.nodes.items()
    }
    return journey.model_copy(update={"nodes": nodes})


@cache
def experiment(of: str) -> Experiment:
    history = datasets.shop_history()
    welcome, winback = history.one("akacja_welcome"), history.one("akacja_winback")
    if of == "split":
        return Experiment.read(datasets.fixtures() / "experiments" / "offer_test.yaml")
    if of == "split_behind_a_holdout":
        return Experiment.of_split(winback, "patience", experiment=of, control="ten_days", **DECLARED)
    if of == "holdout":
        return Experiment.of_split(winback, "holdout", experiment=of, control="holdout", segments=["country"],
                                   start_at="2026-02-20T00:00:00Z", **DECLARED)  # fmt: skip
    return Experiment.of_journeys({"old": welcome, "new": later(welcome)}, experiment=of, control="old", **DECLARED)


@cache
def whole(of: str) -> Exposed:
    return exposed_units(experiment(of), datasets.shop())


@pytest.mark.parametrize("of", ["split", "split_behind_a_holdout", "holdout", "journeys"])
def test_units_as_of_an_instant_are_those_of_a_replay_until_then(of: str) -> None:
    exposures = whole(of).exposures
    assert exposures is not None
    some = exposures.frame["exposed_at"].iloc[[20, len(exposures) * 3 // 4]]
    for until in [some.iloc[0], some.iloc[0] - timedelta(microseconds=1), some.iloc[1]]:
        at = pd.Timestamp(until).to_pydatetime()
        found, replayed = whole(of).as_of(at), exposed_units(experiment(of), datasets.shop(), until=at).units
        pd.testing.assert_frame_equal(found.table(), replayed.table())
        assert (found.shares, found.arms, found.control) == (replayed.shares, replayed.arms, replayed.control)
    is_matured = whole(of).as_of(some.iloc[1].to_pydatetime()).table()["is_matured"]
    assert 0 < is_matured.sum() < len(is_matured)


def test_what_is_watched_as_of_a_day_is_what_a_replay_until_then_shows() -> None:
    declared, log = experiment("split"), datasets.shop()
    at = log.end_at - timedelta(days=50)
    replayed = declared.watch(log, looks=5, until=at)
    found = watch(whole("split").as_of(at), stopping=declared.stopping, looks=5)
    pd.testing.assert_frame_equal(found.path, replayed.path)
    assert found.ratio.to_dict() == replayed.ratio.to_dict()
    pd.testing.assert_frame_equal(found.ratio.path, replayed.ratio.path)
    assert found.sentences() == replayed.sentences()


def test_an_instant_at_which_nothing_is_known_is_refused() -> None:
    log = datasets.shop()
    with pytest.raises(DataError, match="nobody was exposed by"):
        whole("split").as_of(log.start_at)
    with pytest.raises(DataError, match="lies after"):
        whole("split").as_of(log.end_at + timedelta(days=1))
    table = pd.DataFrame({"arm": ["a", "b"] * 5, "visit": [True, False] * 5})
    plain = Experiment.of_table("arm", experiment="spring", control="a", primary=Proportion("visit"),
                                shares={"a": "50%", "b": "50%"}, stopping=Stopping(planned_n=10))  # fmt: skip
    with pytest.raises(DataError, match="a table has its values"):
        exposed_units(plain, table).as_of(log.end_at)
