"""The support map: chance with a known probability identifies, rules and silence do not."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

import journeylab as jl
from journeylab.supportmap import support_map

START = pd.Timestamp("2026-03-02T09:00:00Z")


def journey(**changes):
    data = {
        "journey": "welcome",
        "trigger": {"event": "signup"},
        "nodes": {
            "pause": {"wait": "1h", "next": "hello"},
            "hello": {"send": "welcome_1", "next": "read"},
            "read": {"wait_for": "opened(hello)", "within": "2d", "then": "fan", "else": "cold"},
            "fan": {"exit": "fan"},
            "cold": {"exit": "cold"},
        },
    }
    return jl.Journey.from_data(data | changes)


def log_of(n=1000, sent=lambda k, u: u < 0.25, propensity=0.25, late=None):
    rng, rows = np.random.default_rng(5), []
    for k in range(n):
        at, u = START + pd.Timedelta(minutes=k), rng.random()
        rows.append({"contact": k, "event": "signup", "occurred_at": at})
        if sent(k, u):
            mail = {"contact": k, "message": "welcome_1"}
            sent_at = at + pd.Timedelta(hours=1) + (late or pd.Timedelta(0))
            rows.append({**mail, "event": "sent", "occurred_at": sent_at, "propensity": propensity})
            if rng.random() < 0.5:
                rows.append({**mail, "event": "opened", "occurred_at": sent_at + pd.Timedelta(hours=2)})
    rows.append({"contact": 0, "event": "visit", "occurred_at": START + pd.Timedelta(days=30)})
    frame = pd.DataFrame(rows).reindex(columns=["contact", "event", "occurred_at", "message", "propensity"])
    return jl.EventLog.read(frame.astype({"message": "str", "propensity": "float64"}))


def status(found):
    return {(row.node, row.branch): row.status for row in found.edges.itertuples()}


def test_chance_with_a_known_probability_identifies():
    found = support_map(journey(), log_of())
    assert status(found) == {
        ("pause", "next"): "identified",
        ("hello", "next"): "identified",
        ("hello", "skipped"): "not identified",  # nobody comes there
        ("read", "then"): "identified",
        ("read", "else"): "identified",
    }
    read = found.edges.query("node == 'read' and branch == 'then'").iloc[0]
    assert read["n_on_record"] == read["effective_n"]  # all equally likely
    assert read["propensity_low"] == read["propensity_high"] == 0.25


def test_what_lies_before_any_send_is_on_record_for_everybody():
    row = support_map(journey(), log_of(sent=lambda k, u: False)).edges.query("node == 'pause'").iloc[0]
    assert (row["status"], row["n_on_record"], row["propensity_low"]) == ("identified", 1000, 1.0)


def test_a_send_to_everybody_needs_no_chance():
    found = support_map(journey(), log_of(sent=lambda k, u: True, propensity=np.nan))
    assert status(found)["read", "then"] == "identified"


@pytest.mark.parametrize(
    ("log", "expected", "why"),
    [
        ({"sent": lambda k, u: False}, "not identified", "the log never made this send"),
        ({"sent": lambda k, u: k % 4 == 0, "propensity": np.nan}, "not identified", "not on record"),
        # A rule decided, and the log calls it certain: deterministic history is not chance.
        ({"sent": lambda k, u: k % 4 == 0, "propensity": 1.0}, "not identified", "chance left out 75"),
        ({"sent": lambda k, u: u < 0.03, "propensity": 0.03}, "weak", "equally weighted"),
        ({"late": pd.Timedelta(hours=3)}, "not identified", "the log never made this send"),
    ],
)
def test_what_the_log_cannot_tell_is_said_and_why(log, expected, why):
    found = support_map(journey(), log_of(**log))
    assert found.nodes.loc[0, "status"] == expected
    assert why in found.nodes.loc[0, "why"]
    assert status(found)["hello", "next"] == expected


def test_what_lies_behind_two_sends_needs_both():
    nodes = {
        "hello": {"send": "welcome_1", "next": "again"},
        "again": {"send": "reminder", "next": "fan"},
        "fan": {"exit": "fan"},
    }
    found = support_map(journey(nodes=nodes), log_of(late=pd.Timedelta(minutes=-60)))
    assert status(found)["hello", "next"] == "identified"
    assert status(found)["again", "next"] == "not identified"


def test_the_map_is_drawn_with_status_number_and_propensity_on_every_edge():
    found = support_map(journey(), log_of())
    picture = found.draw()
    assert picture.count(">identified<") == 4
    assert picture.count(">not identified<") == 0  # the skipped send goes the way of the others
    assert ">p 0.25<" in picture
    assert "stroke:#1a8f4c" in picture
    assert repr(found) == "SupportMap(welcome: 4 identified, 0 weak, 1 not identified)"
    assert "<script" not in found._repr_html_()
