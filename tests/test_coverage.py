"""Whether predictions hold in worlds whose truth is known: coverage of intervals, and whether a drift is noticed.

Each world is a simulated shop. One policy that leaves everything to chance writes its log; a model learns from it; what
it says of other journeys is held against what these truly do in the same shop. `make nightly` runs this.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest

import journeylab as jl
from journeylab.backtest import backtest
from journeylab.responses import fit_responses
from journeylab.shop import Shop
from journeylab.simulate import simulate

pytestmark = pytest.mark.long

pytest.importorskip("lightgbm")

OFFERS = ("offer_discount", "offer_free_month", "reminder")
N_WORLDS, N_CONTACTS, FEWEST = 6, 4000, 15
N_DRIFTING = 6000


def _shared_out(name: str, ways: dict[str, Any]) -> dict[str, Any]:
    """A split with equal shares, and the nodes that it leads to."""
    share = 100 // len(ways)
    shares = [100 - share * (len(ways) - 1), *[share] * (len(ways) - 1)]
    return {name: {"split": {way: f"{n}%" for way, n in zip(ways, shares, strict=True)}}, **ways}


def _then(prefix: str, sent: str) -> dict[str, Any]:
    """After a message: fixed waits, or as soon as it is opened or clicked; or nothing more."""
    return _shared_out(
        f"{prefix}_next",
        {
            f"{prefix}_f1": {"wait": "1d", "next": "last"},
            f"{prefix}_f3": {"wait": "3d", "next": "last"},
            f"{prefix}_r2": {"wait_for": f"opened({sent})", "within": "2d", "then": "last", "else": "last"},
            f"{prefix}_r4": {"wait_for": f"opened({sent})", "within": "4d", "then": "last", "else": "last"},
            f"{prefix}_k3": {"wait_for": f"clicked({sent})", "within": "3d", "then": "last", "else": "last"},
            f"{prefix}_x": {"wait": "1m", "next": "done"},
        },
    )


def exploring() -> jl.Journey:
    """The policy that writes the log: when to welcome, how long to wait, what to send next, and when."""
    nodes = _shared_out(
        "start", {f"s{k}": {"wait": wait, "next": "hello"} for k, wait in enumerate(("1m", "1d", "2d"))}
    )
    nodes["hello"] = {"send": "welcome_1", "next": "patience"}
    nodes |= _shared_out(
        "patience",
        {
            f"p{k}": {"wait_for": "opened(hello)", "within": f"{k}d", "then": "read_gap", "else": "unread_gap"}
            for k in (1, 2, 3)
        },
    )
    for of, gaps in (("read", ("1m", "1d")), ("unread", ("1m", "1d", "3d"))):
        nodes |= _shared_out(f"{of}_gap", {f"{of}_{gap}": {"wait": gap, "next": of} for gap in gaps})
        nodes |= _shared_out(of, {f"{of}_{one}": {"send": one, "next": f"{of}_{one}_next"} for one in OFFERS})
        for one in OFFERS:
            nodes |= _then(f"{of}_{one}", f"{of}_{one}")
    last = {f"last_{one}": {"send": one, "next": "done"} for one in OFFERS}
    nodes |= _shared_out("last", {**last, "last_none": {"wait": "1m", "next": "done"}})
    return _journey("exploring", {**nodes, "done": {"exit": "done"}}, goal=False)


def _journey(name: str, nodes: dict[str, Any], *, goal: bool = True) -> jl.Journey:
    exits: list[dict[str, Any]] = [{"event": "account_closed"}]
    return jl.Journey.from_data(
        {
            "journey": name,
            "timezone": "Europe/Warsaw",
            "trigger": {"event": "signup"},
            "quiet_hours": {"from": "21:00", "to": "08:00"},
            "exit_when": [{"event": "purchase", "goal": True}, *exits] if goal else exits,
            "nodes": nodes,
        }
    )


def _waits_for(what: str, within: str, then: str, other: str) -> dict[str, Any]:
    return {"wait_for": what, "within": within, "then": then, "else": other}


ENDS = {name: {"exit": name} for name in ("fan", "warm", "cold")}
PATIENT = _journey(
    "patient",
    {
        "start": {"wait": "1m", "next": "hello"},
        "hello": {"send": "welcome_1", "next": "read"},
        "read": _waits_for("opened(hello)", "2d", "offer", "pause"),
        "offer": {"send": "offer_discount", "next": "took"},
        "took": _waits_for("clicked(offer)", "3d", "fan", "cold"),
        "pause": {"wait": "3d", "next": "nudge"},
        "nudge": {"send": "reminder", "next": "heard"},
        "heard": _waits_for("opened(nudge)", "4d", "warm", "cold"),
        **ENDS,
    },
)
DOUBLE = _journey(
    "double",
    {
        "start": {"wait": "1d", "next": "hello"},
        "hello": {"send": "welcome_1", "next": "read"},
        "read": _waits_for("opened(hello)", "1d", "free", "again"),
        "again": {"send": "reminder", "next": "read_again"},
        "read_again": _waits_for("opened(again)", "3d", "free", "cold"),
        "free": {"send": "offer_free_month", "next": "look"},
        "look": _waits_for("opened(free)", "5d", "fan", "cold"),
        **{name: ENDS[name] for name in ("fan", "cold")},
    },
)
PUSHY = _journey(
    "pushy",
    {
        "start": {"wait": "1m", "next": "hello"},
        "hello": {"send": "welcome_1", "next": "read"},
        "read": _waits_for("opened(hello)", "1d", "one", "two"),
        "one": {"send": "offer_free_month", "next": "seen_one"},
        "seen_one": _waits_for("clicked(one)", "2d", "fan", "three"),
        "two": {"send": "offer_discount", "next": "seen_two"},
        "seen_two": _waits_for("opened(two)", "2d", "warm", "three"),
        "three": {"send": "reminder", "next": "seen_three"},
        "seen_three": _waits_for("opened(three)", "3d", "warm", "cold"),
        **ENDS,
    },
)


def cases_of(seed: int, n_contacts: int) -> pd.DataFrame:
    """A row for each branch of a wait and each exit of the three journeys in one world: interval, truth and naive."""
    shop = Shop(n_contacts, seed=seed)
    log = shop.run(exploring()).log
    model = fit_responses(log, converts="purchase", rng=seed)
    rows = []
    for journey in (PATIENT, DOUBLE, PUSHY):
        # A model may fail its own validation by chance; here it is held against the truth all the same.
        result = simulate(journey, log, responses=model, rng=seed, replaces=model.messages, override="a study")
        truth = shop.run(journey)
        true_share = truth.branches.astype({"branch": object}).set_index(["node", "branch"])["branch_share"]
        for row in result.branches[result.branches["verb"] == "wait_for"].itertuples():
            if isinstance(row.branch, str) and row.n_visits >= FEWEST:
                rows.append(  # noqa: PERF401
                    (seed, journey.journey, row.node, row.branch, row.branch_share_low, row.branch_share_high,
                     true_share[row.node, row.branch], row.naive_share)
                )  # fmt: skip
        exits = truth.entries["exit"].astype(object)
        for row in result.outcomes[result.outcomes["n_entries"] >= FEWEST].itertuples():
            if row.exit != "account_closed":
                n_true = int((exits == row.exit).sum()) if isinstance(row.exit, str) else int(exits.isna().sum())
                exit_ = row.exit if isinstance(row.exit, str) else "inside"
                rows.append(
                    (seed, journey.journey, "exit", exit_, row.n_entries_low, row.n_entries_high, n_true,
                     row.naive_share * result.n_entries)
                )  # fmt: skip
    return pd.DataFrame(rows, columns=["seed", "journey", "node", "branch", "low", "high", "truth", "naive"])


def drift_cases_of(seed: int, drift: float) -> pd.DataFrame:
    """A row for each wait of a journey that really ran: how far its branch moved at the cutoff, and the verdict."""
    cutoff = "2026-04-01"
    shop = Shop(N_DRIFTING, seed=seed, drift_at=f"{cutoff}T00:00:00+00:00", drift=drift)
    result = backtest(PATIENT, shop.run(PATIENT).log, cutoff=cutoff, rng=seed)
    steady = backtest_truth(Shop(N_DRIFTING, seed=seed), cutoff)
    drifted = backtest_truth(shop, cutoff)
    verdict = result.nodes.set_index("node")["verdict"]
    nodes = ("read", "took", "heard")
    moved = [abs(drifted[node] - steady[node]) for node in nodes]
    return pd.DataFrame({"seed": seed, "node": nodes, "moved": moved, "verdict": [verdict[node] for node in nodes]})


def backtest_truth(shop: Shop, cutoff: str) -> dict[str, float]:
    """The true share of `then` of each wait among the entries that came after the cutoff."""
    run = shop.run(PATIENT)
    late = run.entries[run.entries["entered_at"] >= pd.Timestamp(cutoff, tz="UTC")][["contact", "entry"]]
    visits = run.visits.merge(late, on=["contact", "entry"])
    closed = visits[visits["left_at"].notna()].astype({"branch": object, "node": object})
    return (closed["branch"] == "then").groupby(closed["node"]).mean().to_dict()


@pytest.mark.nightly
def test_intervals_contain_the_truth_as_often_as_they_say() -> None:
    cases = pd.concat([cases_of(seed, N_CONTACTS) for seed in range(N_WORLDS)], ignore_index=True)
    is_in = (cases["low"] <= cases["truth"]) & (cases["truth"] <= cases["high"])
    naive_in = (cases["low"] <= cases["naive"]) & (cases["naive"] <= cases["high"])
    assert len(cases) >= 200
    assert 0.86 <= is_in.mean() <= 0.94
    assert naive_in.mean() < 0.3


@pytest.mark.nightly
def test_a_drift_is_noticed_and_none_is_seen_where_there_is_none() -> None:
    drifted = pd.concat([drift_cases_of(seed, 0.25) for seed in range(10)], ignore_index=True)
    moved = drifted[drifted["moved"] >= 0.05]
    noticed = (moved["verdict"] == "biased").mean()
    steady = pd.concat([drift_cases_of(seed, 1.0) for seed in range(10, 20)], ignore_index=True)
    alarms = (steady["verdict"] == "biased").mean()
    assert len(moved) >= 10
    assert noticed >= 0.8
    assert alarms <= 0.2


def test_one_world_is_predicted_and_the_naive_figure_misses() -> None:
    cases = cases_of(3, 1500)
    is_in = (cases["low"] <= cases["truth"]) & (cases["truth"] <= cases["high"])
    assert is_in.mean() > 0.7
    far = (cases["naive"] - cases["truth"]).abs() > np.maximum(cases["high"] - cases["low"], 0.02)
    assert far[cases["node"] != "exit"].mean() > 0.4
