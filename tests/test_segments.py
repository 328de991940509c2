"""Who is in a segment as of when, and weights that are fitted without looking ahead."""

from datetime import UTC, datetime, timedelta

import numpy as np
import pandas as pd
import pytest

import journeylab as jl
from journeylab.journey import Evidence

SPRING = datetime(2026, 3, 2, tzinfo=UTC)
FREQUENT = 'count("visit", "30d") >= 2'


def at(days: float) -> datetime:
    return SPRING + timedelta(days=days)


def event(contact: str, name: str, day: float, **properties: object) -> dict[str, object]:
    return {"contact": contact, "event": name, "occurred_at": at(day), **properties}


@pytest.fixture(scope="module")
def log() -> jl.EventLog:
    events = [
        event("cy", "visit", 0),
        event("ada", "visit", 1),
        event("ada", "visit", 3),
        event("bo", "purchase", 10, amount=40),
        event("cy", "visit", 30),
    ]
    people = [
        {"contact": "ada", "country": "PL", "timezone": "Asia/Tokyo"},
        {"contact": "bo", "country": "DE", "timezone": None},
        {"contact": "dee", "country": "PL", "timezone": None},
    ]
    return jl.EventLog.from_rows(events, people)


@pytest.fixture(scope="module")
def habits() -> jl.EventLog:
    """Contacts who visit often buy often, for 120 days."""
    rng = np.random.default_rng(7)
    events = []
    for i in range(300):
        events.append(event(f"c{i:03d}", "visit", 0))
        is_keen = i % 3 == 0
        for week in range(17):
            if rng.random() < (0.8 if is_keen else 0.15):
                events.append(event(f"c{i:03d}", "visit", week * 7 + rng.random()))
            if rng.random() < (0.15 if is_keen else 0.01):
                events.append(event(f"c{i:03d}", "purchase", week * 7 + 3 + rng.random()))
    return jl.EventLog.from_rows([*events, event("c000", "visit", 120)])


def evidence(*conditions: str) -> jl.Segment:
    return jl.Segment(weights=[Evidence(when=one, weight=0) for one in conditions])


# Who is in it


def test_an_audience_is_sorted_by_contact_and_says_the_membership(log: jl.EventLog) -> None:
    found = jl.audience(log, 'did("visit")', at(30))
    assert found.to_dict("list") == {"contact": ["ada", "cy"], "membership": [1.0, 1.0]}


def test_events_after_the_instant_are_not_seen(log: jl.EventLog) -> None:
    assert jl.audience(log, FREQUENT, at(2.5))["contact"].tolist() == []
    assert jl.audience(log, FREQUENT, at(3))["contact"].tolist() == ["ada"]


def test_contacts_exist_from_their_first_event_on(log: jl.EventLog) -> None:
    everybody = "missing(country) or not missing(country)"
    assert jl.audience(log, everybody, at(5))["contact"].tolist() == ["ada", "cy", "dee"]
    assert jl.audience(log, everybody)["contact"].tolist() == ["ada", "bo", "cy", "dee"]


def test_weighted_evidence_gives_the_logistic_of_what_applies(log: jl.EventLog) -> None:
    segment = jl.Segment(weights=[Evidence(when='country == "PL"', weight=2)], bias=-1)
    found = jl.membership(log, segment).set_index("contact")["segment"]
    assert found["ada"] == pytest.approx(1 / (1 + np.exp(-1)))
    assert found["bo"] == pytest.approx(1 / (1 + np.exp(1)))
    assert jl.audience(log, segment, at_least=0.2)["contact"].tolist() == ["ada", "bo", "cy", "dee"]


def test_segments_may_rest_on_each_other(log: jl.EventLog) -> None:
    found = jl.membership(log, {"polish": 'country == "PL"', "quiet": 'segment("polish") >= 0.5 and not did("visit")'})
    assert found["quiet"].tolist() == [0, 0, 0, 1]


def test_local_time_is_the_contacts_else_the_journeys(log: jl.EventLog) -> None:
    nodes = {"wait": jl.Wait(wait="1d", next="end"), "end": jl.Exit(exit="done")}
    journey = jl.Journey(
        journey="hello", timezone="America/New_York", trigger=jl.Trigger(event="visit"), nodes=nodes,
        segments={"hour_19": "local_hour() == 19", "hour_9": "local_hour() == 9"},
    )  # fmt: skip
    found = jl.membership(log, journey, at(5)).set_index("contact")
    assert found.loc["ada"].tolist() == [0, 1]
    assert found.loc["dee"].tolist() == [1, 0]


def test_a_segment_trigger_takes_exactly_the_audience() -> None:
    shop = jl.datasets.shop()
    segment = jl.Segment(condition='since("visit") > "30d" and not did("erased")')
    journey = jl.Journey(
        journey="winback",
        purpose="service",
        trigger=jl.Trigger(segment="away", every="7d"),
        nodes={"wait": jl.Wait(wait="1d", next="end"), "end": jl.Exit(exit="done")},
        segments={"away": segment},
    )
    mondays = [datetime(2026, 3, 16, tzinfo=UTC) - timedelta(weeks=weeks) for weeks in range(8)]
    entries = jl.replay(journey, shop, until=mondays[0]).entries
    seen = {contact for monday in mondays for contact in jl.audience(shop, segment, monday)["contact"]}
    assert set(entries["contact"]) == seen


# Over time, and together


def test_sizes_are_taken_on_mondays_and_count_who_exists(log: jl.EventLog) -> None:
    found = jl.sizes(log, {"frequent": FREQUENT, "buyers": 'did("purchase")'}, "7d", until=at(14))
    assert found["segment"].tolist() == ["frequent"] * 3 + ["buyers"] * 3
    assert found["as_of"].tolist() == [at(0), at(7), at(14)] * 2
    assert found["n_contacts"].tolist() == [0, 1, 1, 0, 0, 1]
    assert found["n_known"].tolist() == [2, 3, 4] * 2
    assert found["audience_share"].tolist() == pytest.approx([0, 1 / 3, 1 / 4, 0, 0, 1 / 4])


def test_overlap_counts_every_combination_once(log: jl.EventLog) -> None:
    found = jl.overlap(log, {"visitors": 'did("visit")', "polish": 'country == "PL"'})
    counts = found.set_index(["visitors", "polish"])["n_contacts"].to_dict()
    assert counts == {(True, True): 1, (True, False): 1, (False, True): 1, (False, False): 1}


def test_a_portfolios_segments_are_those_of_its_journeys() -> None:
    from journeylab import journeyfile

    portfolio = journeyfile.read(jl.datasets.journey_file("shop_portfolio"))
    shop = jl.datasets.shop()
    assert jl.membership(shop, portfolio).columns.tolist() == ["contact", "dormant", "away"]


# What is refused


@pytest.mark.parametrize(
    ("segments", "said"),
    [
        ({"a": 'sinze("visit") > "1d"', "b": "contry == 1"}, "did you mean 'since'"),
        ({"a": "contry == 1", "b": "contry == 2"}, "segments.b: no attribute 'contry'; did you mean 'country'"),
        ({"a": 'segment("a") > 0.5'}, "rests on itself"),
        ({"a": 'score("churn") > 0.5'}, "scores are given to a replay"),
        ({"a": 3}, "segments.a"),
    ],
)
def test_a_segment_at_fault_is_refused_by_name(log: jl.EventLog, segments: dict[str, str], said: str) -> None:
    with pytest.raises(jl.DefinitionError) as refused:
        jl.membership(log, segments)
    assert said in str(refused.value)


@pytest.mark.parametrize(
    ("as_of", "said"),
    [
        (at(-1), "outside the log, which is from 2026-03-02T00:00:00+00:00 to 2026-04-01T00:00:00+00:00"),
        ("2026-03-05", "has no time zone"),
        ("soon", "write it as"),
    ],
)
def test_an_instant_that_the_log_cannot_answer_is_refused(log: jl.EventLog, as_of: object, said: str) -> None:
    with pytest.raises(jl.DataError, match=said.replace("+", r"\+")):
        jl.audience(log, FREQUENT, as_of)  # type: ignore[arg-type]


def test_no_segments_and_names_of_columns_are_refused(log: jl.EventLog) -> None:
    with pytest.raises(jl.DataError, match="there are no segments"):
        jl.membership(log, {})
    with pytest.raises(jl.DataError, match="cannot be called contact"):
        jl.membership(log, {"contact": FREQUENT})
    with pytest.raises(jl.DataError, match="shorter `every`"):
        jl.sizes(log, FREQUENT, "7d", start=at(1), until=at(2))


# Fitted weights


def test_a_fit_finds_what_foretells_the_outcome_and_proves_it_later(habits: jl.EventLog) -> None:
    found = jl.fit(evidence(FREQUENT, 'count("visit") >= 40'), habits, outcome="purchase", as_of=at(42))
    frequent, rare = found.coefficients["weight"][:2]
    assert frequent > 1
    assert abs(rare) < 0.5
    assert found.coefficients["low"][0] > 0
    assert found.validation is not None
    assert not found.validation.no_gain
    assert found.validation.as_of == at(72)
    assert found.validation.brier < found.validation.base_brier


def test_fitted_membership_is_that_of_the_segment_in_a_journey(habits: jl.EventLog) -> None:
    found = jl.fit(evidence(FREQUENT), habits, outcome="purchase", as_of=at(42))
    weight, bias = found.coefficients["weight"]
    values = jl.membership(habits, found.segment, at(42))["segment"].unique()
    assert sorted(values) == pytest.approx(sorted(1 / (1 + np.exp(-np.array([bias, bias + weight])))))


def test_evidence_that_says_nothing_is_said_to_bring_no_gain(habits: jl.EventLog) -> None:
    found = jl.fit(evidence('since_first("visit") > "3650d"'), habits, outcome="purchase", as_of=at(42))
    assert found.validation is not None
    assert found.validation.no_gain
    assert "no gain" in repr(found)
    assert "do not use" in found.notes[0]


def test_the_weights_do_not_change_with_what_comes_after_the_outcome(habits: jl.EventLog) -> None:
    whole = jl.fit(evidence(FREQUENT), habits, outcome="purchase", as_of=at(42), within="20d")
    known = jl.fit(evidence(FREQUENT), habits.truncated(at(62)), outcome="purchase", as_of=at(42), within="20d")
    pd.testing.assert_frame_equal(whole.coefficients, known.coefficients)
    assert known.validation is None
    assert "Not validated" in known.notes[0]


def test_events_at_the_ends_of_the_window_count_as_it_says() -> None:
    purchases = [event(f"c{i}", "purchase", day) for i, day in enumerate((10, 20, 20.01))]
    events = [event(f"c{i}", "visit", day) for i in range(4) for day in (0, 30)]
    log = jl.EventLog.from_rows([*purchases, *events])
    found = jl.fit(evidence('did("visit")'), log, outcome="purchase", as_of=at(10), within="10d")
    assert found.outcome_rate == 1 / 4


def test_an_outcome_may_be_a_condition(habits: jl.EventLog) -> None:
    text = 'did("purchase", "10d")'
    named = jl.fit(evidence(FREQUENT), habits, outcome="purchase", as_of=at(42), within="10d")
    written = jl.fit(evidence(FREQUENT), habits, outcome=text, as_of=at(42), within="10d")
    pd.testing.assert_frame_equal(named.coefficients, written.coefficients)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"outcome": "purchse"}, "did you mean 'purchase'"),
        ({"as_of": at(100)}, "the latest as_of is 2026-05-31"),
        ({"validate_as_of": at(50)}, "at least 30d after as_of"),
        ({"validate_as_of": at(95)}, "too late for this log"),
        ({"within": "0d"}, "longer than zero"),
        ({"C": 0.0}, "C must be greater than zero"),
        ({"outcome": 'did("refund", "30d")'}, "nobody of"),
    ],
)
def test_what_cannot_be_fitted_is_refused(habits: jl.EventLog, options: dict[str, object], said: str) -> None:
    arguments = {"outcome": "purchase", "as_of": at(42), **options}
    with pytest.raises(jl.DataError, match=said):
        jl.fit(evidence(FREQUENT), habits, **arguments)  # type: ignore[arg-type]


def test_a_plain_condition_has_no_weights_to_fit(habits: jl.EventLog) -> None:
    with pytest.raises(jl.DefinitionError, match="no weights to fit"):
        jl.fit(jl.Segment(condition=FREQUENT), habits, outcome="purchase", as_of=at(42))
