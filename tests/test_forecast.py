"""The forecast of a release: a simulation's shares, as wide as they must be for contacts who come later."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import journeylab as jl
from constantmodel import ConstantModel
from journeylab import layout as o
from journeylab.errors import DataError
from journeylab.sender.promotion.forecast import EXITS, Forecast, _Making
from journeylab.simulate import simulate
from journeylab.simulation import Simulation
from journeylab.visits import wilson_interval

START = pd.Timestamp("2026-03-02T09:00:00Z")
CARE = {"journey": "care", "trigger": {"event": "visit"}, "nodes": {
    "help": {"send": "offer_1", "next": "helped"}, "helped": {"exit": "helped"},
}}  # fmt: skip


def journey(**changes: Any) -> jl.Journey:
    data = {
        "journey": "welcome",
        "trigger": {"event": "signup"},
        "exit_when": [{"event": "purchase", "goal": True}],
        "nodes": {
            "hello": {"send": "welcome_1", "next": "read"},
            "read": {"wait_for": "opened(hello)", "within": "2d", "then": "arms", "else": "cold"},
            "arms": {"split": {"warm": "70%", "care": "30%"}},
            "warm": {"wait": "1d", "next": "fan"},
            "care": {"run": "care", "next": "fan"},
            "fan": {"exit": "fan"},
            "cold": {"exit": "cold"},
        },
    }
    made = jl.Journey.from_data(data | changes)
    return made.model_copy(update={"parts": {"care": jl.Journey.from_data(CARE)}})


def log(n: int = 600, *, days: float = 40, again: bool = False) -> jl.EventLog:
    rows = []
    for k in range(n):
        at = START + pd.Timedelta(minutes=k)
        rows.append({"contact": f"c{k:04d}", "event": "consent_given", "occurred_at": at, "purpose": "marketing"})
        rows.append({"contact": f"c{k:04d}", "event": "signup", "occurred_at": at})
        if again:
            later = at + pd.Timedelta(days=10)
            rows.append({"contact": f"c{k:04d}", "event": "signup", "occurred_at": later})
    rows.append({"contact": "zz", "event": "visit", "occurred_at": START + pd.Timedelta(days=days)})
    frame = pd.DataFrame(rows).reindex(columns=["contact", "event", "occurred_at", "purpose", "message"])
    return jl.EventLog.read(frame.astype({"purpose": "str", "message": "str"}))


def simulated(one: jl.Journey, over: jl.EventLog, *, opened: float = 0.3) -> Simulation:
    model = ConstantModel(("welcome_1", "offer_1"), opened=opened)
    return simulate(one, over, responses=model, draws=40)


@pytest.fixture(scope="module")
def plain() -> tuple[jl.Journey, Simulation]:
    one = journey()
    return one, simulated(one, log())


def rows(forecast: Forecast) -> dict[tuple[str, str], Any]:
    return {(row.node, row.outcome): row for row in forecast.expected}


def test_shares_are_the_simulations_and_at_least_as_wide_as_a_sample_of_the_logs_size(
    plain: tuple[jl.Journey, Simulation],
) -> None:
    one, simulation = plain
    found = rows(Forecast.of(simulation, one))
    then, branch = found["read", "then"], simulation.summary()["nodes"]["read"]["branches"]["then"]
    low, high = wilson_interval([branch["share"] * 600], [600])
    assert then.share == branch["share"]
    assert then.low <= min(branch["interval"][0], low[0])
    assert then.high >= max(branch["interval"][1], high[0])
    assert then.low < 0.3 < then.high


def test_the_shares_of_a_split_are_known(plain: tuple[jl.Journey, Simulation]) -> None:
    one, simulation = plain
    found = rows(Forecast.of(simulation, one))
    assert (found["arms", "warm"].low, found["arms", "warm"].high) == (0.7, 0.7)
    assert found["arms", "care"].share == 0.3


def test_parts_are_forecast_under_their_names_and_exits_among_entries(plain: tuple[jl.Journey, Simulation]) -> None:
    one, simulation = plain
    forecast = Forecast.of(simulation, one)
    found = rows(forecast)
    assert ("care.help", "next") in found
    assert found[EXITS, "fan"].share == pytest.approx(found["read", "then"].share)
    assert found[EXITS, "fan"].share + found[EXITS, "cold"].share == pytest.approx(1)
    assert forecast.n_entries == pytest.approx(600)
    assert forecast.unwatched == ()


def test_what_was_open_at_the_end_of_the_log_may_end_in_any_way() -> None:
    one = journey()
    simulation = simulated(one, log(2000, days=2.7))  # more than half have not waited for two days
    made = _Making(simulation.summary(), one, None)
    arrived = made._arrived()
    for i, info in enumerate(simulation.compiled.nodes):
        n_open = simulation.tally.n_by_node[:, i, o.INSIDE].mean()
        closed = simulation.summary()["nodes"].get(info.name)
        if closed is not None:
            assert arrived[info.name] == pytest.approx(closed["n_visits"] + n_open)
    naive = simulation.summary()["nodes"]["read"]["branches"]["then"]
    found = rows(Forecast.of(simulation, one))["read", "then"]
    assert naive["interval"][0] > 0.31  # what ended was opened sooner than what did not
    assert found.low < 0.3 < found.high


def test_where_contacts_come_back_first_visits_are_told_apart_or_nothing_is_said() -> None:
    one = journey(trigger={"event": "signup", "reentry": "after_exit"})
    simulation = simulated(one, log(again=True))
    by_file = Forecast.of_summary(simulation.summary(), one)
    assert {row.node for row in by_file.expected} == {"arms"}
    assert any(line.startswith("read: contacts come back here") for line in by_file.unwatched)
    whole = Forecast.of(simulation, one)
    visits = simulation.visits(0)
    first = visits[(visits["entry"] == 1) & (visits["node"] == "read")]["branch"].eq("then").mean()
    every = visits[visits["node"] == "read"]["branch"].eq("then").mean()
    mean = simulation.summary()["nodes"]["read"]["branches"]["then"]["share"]
    assert rows(whole)["read", "then"].share == pytest.approx(mean + first - every)
    assert whole.unwatched == ()


def test_arms_that_are_shared_or_drawn_anew_are_left_to_experiments() -> None:
    nodes = journey().data()["nodes"]
    shared = journey(unit="household")
    data: dict[str, Any] = simulated(journey(), log()).summary() | {"version": shared.version}
    found = Forecast.of_summary(data, shared)
    assert any("contacts of one household share an arm" in line for line in found.unwatched)
    assert ("arms", "warm") not in rows(found)
    anew = journey(
        trigger={"event": "signup", "reentry": "always"}, nodes={**nodes, "arms": {**nodes["arms"], "per": "entry"}}
    )
    found = Forecast.of_summary({**data, "version": anew.version}, anew)
    assert any("draws an arm at each entry" in line for line in found.unwatched)


def test_a_forecast_of_another_version_or_of_nothing_is_refused(
    plain: tuple[jl.Journey, Simulation], tmp_path: Path
) -> None:
    one, simulation = plain
    file = tmp_path / "forecast.json"
    file.write_text(json.dumps(simulation.summary()))
    assert Forecast.read(file, one).to_dict()["version"] == one.version
    file.write_text(json.dumps({"journeys": [simulation.summary()]}))
    assert Forecast.read(file, one).expected == Forecast.of_summary(simulation.summary(), one).expected
    with pytest.raises(DataError, match=r"forecast.json: the forecast is of version .* simulate this one"):
        Forecast.read(file, journey(holdout="5%"))
    for text, message in (("{", "cannot be read"), ("{}", "no forecast of welcome"), ("[]", "no forecast of welcome")):
        file.write_text(text)
        with pytest.raises(DataError, match=message):
            Forecast.read(file, one)
    with pytest.raises(DataError, match="cannot be read"):
        Forecast.read(tmp_path / "none.json", one)


def test_a_forecast_survives_json(plain: tuple[jl.Journey, Simulation]) -> None:
    one, simulation = plain
    forecast = Forecast.of(simulation, one)
    again = Forecast.from_dict(json.loads(json.dumps(forecast.to_dict())))
    assert again == forecast
    assert again.table.shape == (len(forecast.expected), 7)
    assert repr(again) == f"Forecast(welcome {one.version}: {len(forecast.expected)} shares at level 0.9)"


def test_opens_and_clicks_are_those_of_the_logs_first_sends() -> None:
    rng = np.random.default_rng(1)
    opens = rng.random(500) < 0.4
    given = []
    for k in range(500):
        at = START + pd.Timedelta(minutes=k)
        given.append({"contact": f"c{k}", "event": "sent", "occurred_at": at, "message": "welcome_1"})
        later = at + pd.Timedelta(hours=5)
        given += [{"contact": f"c{k}", "event": "opened", "occurred_at": later, "message": "welcome_1"}] * bool(
            opens[k]
        )
    late = START + pd.Timedelta(days=20)
    given.append({"contact": "zz", "event": "sent", "occurred_at": late, "message": "welcome_1"})  # too young
    over = jl.EventLog.read(pd.DataFrame(given))
    one = journey()
    base = Forecast("welcome", one.version, 0.9, 1.0, ())
    (found,) = base.with_responses(over, one).expected
    low, high = wilson_interval([opens.sum()], [500])
    assert (found.kind, found.node, found.outcome) == ("response", "welcome_1", "opened")
    assert (found.share, found.low, found.high) == pytest.approx((opens.mean(), low[0], high[0]))
    assert base.with_responses(over, one, kinds=()).expected == ()
    assert base.with_responses(log(5), one).expected == ()
