"""The values of metrics in a log after exposures: against SQL, and case by case."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta
from typing import Any

import duckdb
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from exposed import exposed
from journeylab.errors import DataError, DefinitionError
from journeylab.eventlog import EventLog
from journeylab.experiments.exposure.outcomes import OutcomeTable, unit_table
from journeylab.experiments.metrics import (
    Count,
    Mean,
    Metric,
    Proportion,
    Quantile,
    Ratio,
    Revenue,
    TimeToEvent,
)

START = datetime(2026, 3, 1, tzinfo=UTC)
DAY = timedelta(days=1)


def at(hours: float) -> datetime:
    return START + timedelta(hours=hours)


def event(contact: str, name: str, hours: float, **properties: Any) -> dict[str, Any]:
    return {"contact": contact, "event": name, "occurred_at": at(hours), **properties}


def log_of(*events: dict[str, Any], hours: float = 24 * 40, contacts: Any = ()) -> EventLog:
    """A log that begins with March and whose end is known."""
    edges = [event("edge", "begin", 0), event("edge", "end", hours)]
    return EventLog.from_rows([*edges, *events], contacts)


def values(table: OutcomeTable, column: str) -> list[Any]:
    rows = table.rows(f'"{column}"', "ORDER BY unit, exposed_at")
    return [row[0] for row in rows]


# Against SQL

KINDS: list[Metric] = [
    Proportion("buy", called="did", covariate="before"),
    Count("buy", called="n", covariate="before"),
    Mean("buy.amount", called="total", covariate="before"),
    Proportion("buy", called="big", where="amount > 10"),
    Mean("buy.amount", called="of_shop", where="shop == 'x' or missing(shop)"),
    Count("sent", called="mails", covariate="before"),
    TimeToEvent("buy", called="time"),
    Ratio("buy.amount / buy", called="basket", covariate="before"),
]
SQL = """
WITH exposure AS (
    SELECT *, row_number() OVER () AS n FROM exposures WHERE exposed_at <= getvariable('until')
),
window_of AS (
    SELECT *, least(exposed_at + getvariable('width'), getvariable('until')) AS ends_at,
        exposed_at - getvariable('width') AS begins_at FROM exposure
),
first AS (SELECT contact, min(occurred_at) AS first_at FROM events GROUP BY contact),
after AS (
    SELECT n, event, amount, shop, occurred_at, exposed_at FROM window_of JOIN events USING (contact) WHERE CASE event
        WHEN 'sent' THEN occurred_at >= exposed_at AND occurred_at < ends_at
        ELSE occurred_at > exposed_at AND occurred_at <= ends_at END
),
before AS (
    SELECT n, event, amount, shop FROM window_of JOIN events USING (contact) WHERE CASE event
        WHEN 'sent' THEN occurred_at >= begins_at AND occurred_at < exposed_at
        ELSE occurred_at > begins_at AND occurred_at <= exposed_at END
)
SELECT
    (SELECT count(*) FROM after a WHERE a.n = w.n AND event = 'buy') AS n,
    (SELECT coalesce(sum(amount), 0) FROM after a WHERE a.n = w.n AND event = 'buy') AS total,
    (SELECT count(*) > 0 FROM after a WHERE a.n = w.n AND event = 'buy' AND amount > 10)::INT AS big,
    (SELECT coalesce(sum(amount), 0) FROM after a
        WHERE a.n = w.n AND event = 'buy' AND (shop = 'x' OR shop IS NULL)) AS of_shop,
    (SELECT count(*) FROM after a WHERE a.n = w.n AND event = 'sent') AS mails,
    (SELECT epoch_us(min(occurred_at)) - epoch_us(any_value(a.exposed_at)) FROM after a
        WHERE a.n = w.n AND event = 'buy') / 86400e6 AS time,
    (epoch_us(ends_at) - epoch_us(exposed_at)) / 86400e6 AS "time|followed",
    CASE WHEN begins_at >= getvariable('start') AND coalesce(first_at, getvariable('start')) <= begins_at THEN
        (SELECT count(*) FROM before b WHERE b.n = w.n AND event = 'buy') END AS "n|before",
    CASE WHEN begins_at >= getvariable('start') AND coalesce(first_at, getvariable('start')) <= begins_at THEN
        (SELECT coalesce(sum(amount), 0) FROM before b WHERE b.n = w.n AND event = 'buy') END AS "total|before",
    CASE WHEN begins_at >= getvariable('start') AND coalesce(first_at, getvariable('start')) <= begins_at THEN
        (SELECT count(*) FROM before b WHERE b.n = w.n AND event = 'sent') END AS "mails|before",
    (exposed_at + getvariable('width') <= getvariable('until'))::INT AS is_matured
FROM window_of w LEFT JOIN first USING (contact) ORDER BY contact, exposed_at, n
"""
HOURS = st.integers(0, 20).map(lambda n: 6 * n)
EVENTS = st.lists(
    st.tuples(
        st.sampled_from("abc"), HOURS, st.sampled_from(["buy", "sent", "visit"]),
        st.sampled_from([None, 1.0, 10.0, 12.5]), st.sampled_from([None, "x", "y"]),
    ),
    max_size=25,
)  # fmt: skip


@settings(max_examples=30)
@given(
    EVENTS,
    st.lists(st.tuples(st.sampled_from("abc"), HOURS), min_size=1, max_size=5, unique=True),
    st.sampled_from([6, 24, 48]),
    HOURS,
)
def test_values_are_those_written_in_sql(happened: list[Any], exposures: list[Any], width: int, until: int) -> None:
    # Every kind of event occurs, so that none is unknown; and the log's end lies where the last exposure does or later.
    always = [event("edge", name, 0) for name in ("buy", "sent")]
    events = [event(who, name, hours, amount=amount, shop=shop) for who, hours, name, amount, shop in happened]
    log = EventLog.from_rows([*always, event("edge", "end", 120, amount=0.5, shop="z"), *events],
                             [{"contact": who} for who in "abc"])  # fmt: skip
    rows = pd.DataFrame(exposures, columns=["contact", "hours"]).sort_values(["contact", "hours"])
    rows = rows.assign(arm="a", exposed_at=[at(hours) for hours in rows["hours"]])
    if not (rows["hours"] <= until).any():
        return
    made = unit_table(exposed(log, rows), KINDS, window=timedelta(hours=width), until=at(until))
    connection = duckdb.connect()
    connection.execute("SET TimeZone = 'UTC'")
    frame = pd.DataFrame(events, columns=["contact", "event", "occurred_at", "amount", "shop"])
    frame = frame.astype({"contact": "str", "event": "str", "amount": float, "shop": "str"})
    frame["occurred_at"] = pd.to_datetime(frame["occurred_at"], utc=True)
    connection.register("events", frame[frame["occurred_at"] <= pd.Timestamp(at(until))])
    connection.register("exposures", rows[["contact", "exposed_at"]])
    for name, value in (("until", at(until)), ("start", at(0)), ("width", timedelta(hours=width))):
        connection.execute(f"SET VARIABLE {name} = ?", [value])
    # A contact's first event may come after what is looked at, and still tells that it was not there before.
    connection.register("whole", frame)
    expected = connection.execute(SQL.replace("FROM events GROUP BY", "FROM whole GROUP BY")).df()
    found = made.connection.execute(f"SELECT * FROM {made.view} ORDER BY contact, exposed_at").df()
    for name in expected.columns:
        both = (table[name].to_numpy(float, na_value=np.nan) for table in (found, expected))
        np.testing.assert_allclose(*both, rtol=1e-12, err_msg=name)
    assert (found["did"] == (found["n"] > 0)).all()
    assert (found["basket"] == found["total"]).all()
    assert (found["basket|per"] == found["n"]).all()


# Case by case


def test_an_event_counts_after_the_exposure_and_at_the_windows_end():
    log = log_of(*(event("a", "visit", hours) for hours in (10, 20, 34, 35)))
    table = unit_table(exposed(log, [("a", "a", at(10))]), [Count("visit")], window="1d")
    assert values(table, "visit") == [2]


def test_what_the_experiment_sends_at_once_comes_of_it():
    log = log_of(event("a", "sent", 10, message="x"), event("a", "opened", 10, message="x"))
    table = unit_table(
        exposed(log, [("a", "a", at(10))]),
        [Count("sent"), TimeToEvent("sent", called="t"), Count("opened")],
        window="1d",
    )
    assert values(table, "sent") == [1]
    assert values(table, "t") == [0]
    assert values(table, "opened") == [0]


def test_the_past_is_missing_where_the_log_or_the_contact_begins_later():
    log = log_of(event("old", "visit", 1), event("old", "visit", 30), event("new", "visit", 40))
    rows = [("new", "a", at(60)), ("old", "a", at(20)), ("old", "b", at(60))]
    table = unit_table(exposed(log, rows), [Count("visit", covariate="before")], window="1d")
    assert [value for (value,) in table.rows('"visit|before"', "ORDER BY contact, exposed_at")] == [None, None, 0]
    wider = unit_table(exposed(log, rows), [Count("visit", covariate="before")], window="1d", covariate_window="2d")
    assert [value for (value,) in wider.rows('"visit|before"', "ORDER BY contact, exposed_at")] == [None, None, 1]


def test_who_has_not_matured_is_kept_and_said():
    log = log_of(event("a", "visit", 20), event("b", "visit", 39), hours=40)
    table = unit_table(
        exposed(log, [("a", "a", at(10)), ("b", "b", at(30))]),
        [Count("visit"), TimeToEvent("visit", called="t")],
        window="1d",
    )
    assert table.rows("is_matured", "ORDER BY unit") == [(True,), (False,)]
    assert table.matured_share == 0.5
    assert values(table, "visit") == [1, 1]
    assert values(table, "t|followed") == pytest.approx([1, 10 / 24])
    assert "1 unit of 2 (50.0%) were not yet looked at" in table.notes[0]


def test_nothing_later_than_until_is_looked_at():
    log = log_of(event("a", "visit", 20), event("a", "visit", 30), event("b", "visit", 90))
    rows = exposed(log, [("a", "a", at(10)), ("b", "b", at(80))])
    table = unit_table(rows, [Count("visit")], window="2d", until=at(25).isoformat())
    assert values(table, "visit") == [1]
    assert "1 unit exposed after 2026-03-02T01:00:00+00:00" in table.notes[0]
    assert len(table.exposures) == 1


def test_erased_contacts_are_counted_and_said():
    log = log_of(event("a", "visit", 1), event("a", "erased", 20), event("b", "erased", 99))
    table = unit_table(exposed(log, [("a", "a", at(10)), ("b", "b", at(10))]), [Count("visit")], window="1d")
    assert any("1 unit asked to be erased" in note for note in table.notes)


def test_machines_do_not_count_unless_they_are_asked_for():
    log = log_of(
        event("a", "sent", 10, message="x", is_machine=None),
        event("a", "opened", 11, message="x", is_machine=True),
        event("a", "opened", 12, message="x", is_machine=False),
        event("a", "opened", 13, message="y", is_machine=True),
    )
    rows = exposed(log, [("a", "a", at(10))])
    metrics = [Count("opened"), Count("opened", called="of_x", where="message == 'x'")]
    people, everything = (unit_table(rows, metrics, window="1d", machines=one) for one in (False, True))
    assert [values(people, name) for name in ("opened", "of_x")] == [[1], [1]]
    assert [values(everything, name) for name in ("opened", "of_x")] == [[3], [2]]
    assert "2 `opened` events of 3 were made by machines and do not count." in people.notes
    assert not any("machines" in note for note in everything.notes)


def test_harms_that_never_came_are_none_and_other_events_that_never_came_are_faults():
    log = log_of(event("a", "visit", 20, page="x", amount=3))
    rows = exposed(log, [("a", "a", at(10))])
    table = unit_table(rows, [Proportion("unsubscribed"), Proportion("complained")], window="1d")
    assert values(table, "unsubscribed") == [0]
    assert "There is no `unsubscribed` in this log: every value of it is 0." in table.notes
    with pytest.raises(DataError) as faults:
        unit_table(
            rows, [Count("visits"), Mean("visit.amont"), Proportion("visit.amount"), Mean("opened.n")], window="1d"
        )
    text = str(faults.value)
    assert "no event 'visits' in this log; did you mean 'visit'" in text
    assert "no property 'amont'; did you mean 'amount'" in text
    assert "it counts events; write 'visit'" in text
    assert "no event 'opened'" in text


def test_events_whose_names_have_dots_are_found():
    log = log_of(event("a", "shop.visit", 20, amount=3), event("a", "shop.visit", 21, amount=4))
    table = unit_table(
        exposed(log, [("a", "a", at(10))]),
        [Count("shop.visit", called="n"), Mean("shop.visit.amount", called="sum")],
        window="1d",
    )
    assert [values(table, name) for name in ("n", "sum")] == [[2], [7]]


def test_attributes_and_segments_are_as_of_the_exposure():
    changes = [
        {**event("a", "attribute_changed", 15), "name": "plan", "value": "paid"},
        {**event("a", "attribute_changed", 15), "name": "age", "value": "31"},
    ]
    contacts = [
        {"contact": "a", "plan": "trial", "age": 30, "vip": True, "born_on": "1990-01-02"},
        {"contact": "b", "plan": None, "age": None, "vip": None, "born_on": None},
    ]
    log = log_of(event("a", "visit", 12), *changes, contacts=contacts)
    rows = exposed(log, [("a", "a", at(10)), ("a", "b", at(15)), ("b", "b", at(20))])
    table = unit_table(
        rows, [Count("visit")], window="1d", attributes=["plan", "age", "vip", "born_on"],
        segments={"payers": 'plan == "paid"', "visitors": 'did("visit")'},
    )  # fmt: skip
    found = table.rows("plan, age, vip, born_on, payers, visitors", "ORDER BY contact, exposed_at")
    assert [row[:3] for row in found] == [("trial", 30, 1), ("paid", 31, 1), (None, None, None)]
    assert [str(row[3])[:10] for row in found] == ["1990-01-02", "1990-01-02", "None"]
    assert [row[4:] for row in found] == [(False, False), (True, True), (False, False)]


def test_clusters_and_units_of_entries_are_there():
    log = log_of(event("a", "visit", 12), event("b", "visit", 12))
    rows = exposed(log, [("a", "a", at(1), "home"), ("b", "a", at(2), "home")])
    table = unit_table(rows, [Count("visit")], window="1d")
    assert table.rows("unit, cluster", "ORDER BY unit") == [("a", "home"), ("b", "home")]
    twice = unit_table(exposed(log, [("a", "a", at(1)), ("a", "b", at(20))]), [Count("visit")], window="1d")
    assert twice.rows("unit, visit", "ORDER BY unit") == [("a#1", 1), ("a#2", 0)]


def test_columns_that_are_added_follow_the_exposures():
    log = log_of(event("a", "visit", 12), event("b", "visit", 12))
    table = unit_table(exposed(log, [("b", "a", at(1)), ("a", "a", at(2))]), [Count("visit")], window="1d")
    more = (
        table.with_columns({"nth": np.array([1, 2])}).narrowed("nth > 1").with_columns({"half": np.array([0.1, 0.2])})
    )
    assert more.rows("unit, nth, half") == [("a", 2, 0.2)]
    assert more.has("nth", "half")
    assert not table.has("nth")


@pytest.mark.parametrize(
    ("metrics", "options", "match"),
    [
        ([Count("visit", where="pag == 'x'")], {}, "did you mean 'page'"),
        ([Count("visit", where="page = 'x'")], {}, "equality is written =="),
        ([Count("visit", where="page > 3")], {}, "page"),
        ([Mean("visit.page")], {}, "is a text in this log; only numbers add up"),
        ([Count("visit"), Mean("visit.n", called="visit")], {}, "two metrics are called 'visit'"),
        ([Count("visit", covariate="age")], {}, "it is 'before'"),
        ([TimeToEvent("visit", covariate="before")], {}, "takes no covariate"),
        ([Count("visit")], {"window": "0d"}, "longer than zero"),
        ([Count("visit")], {"window": "2 months"}, "window: "),
        ([Count("visit")], {"covariate_window": "x"}, "covariate_window: "),
        ([Count("visit")], {"until": "2027-01-01T00:00:00Z"}, "nothing is known of what came then"),
        ([Count("visit")], {"until": "2026-03-01"}, "until: "),
        ([Count("visit")], {"attributes": ["plans"]}, "did you mean 'plan'"),
        ([Count("visit", called="plan")], {"attributes": ["plan"]}, "two columns are called 'plan'"),
        ([Count("visit", called="arm")], {}, "two columns are called 'arm'"),
        ([Count("visit")], {"segments": 'did("visit")'}, "by their names"),
    ],
)
def test_what_does_not_fit_is_refused(metrics: list[Metric], options: dict[str, Any], match: str):
    log = log_of(event("a", "visit", 20, page="x", n=1), contacts=[{"contact": "a", "plan": "trial"}])
    rows = exposed(log, [("a", "a", at(10))])
    with pytest.raises(DataError, match=match):
        unit_table(rows, metrics, **{"window": "1d", **options})


def test_a_segment_at_fault_names_its_place():
    log = log_of(event("a", "visit", 20), contacts=[{"contact": "a", "plan": "trial"}])
    with pytest.raises(DefinitionError, match="no attribute 'plam'"):
        unit_table(exposed(log, [("a", "a", at(10))]), [Count("visit")], window="1d", segments={"s": "plam == 'x'"})


def test_other_metrics_have_their_columns():
    log = log_of(event("a", "buy", 20, amount=5))
    table = unit_table(
        exposed(log, [("a", "a", at(10))]),
        [Revenue("buy.amount", called="r"), Quantile("buy.amount", called="q")],
        window="1d",
    )
    assert [values(table, name) for name in ("r", "q")] == [[5], [5]]
    assert table.window == DAY
    assert math.isclose(table.shares["a"], 0.5)


@pytest.mark.nightly
def test_a_million_exposures_take_seconds():
    import time

    rng, n = np.random.default_rng(1), 1_000_000
    events = pd.DataFrame(
        {
            "contact": rng.integers(0, n, 5 * n),
            "event": rng.choice(["buy", "visit", "opened"], 5 * n),
            "occurred_at": pd.Timestamp(START) + pd.to_timedelta(rng.integers(0, 60 * 86_400, 5 * n), unit="s"),
            "amount": rng.lognormal(size=5 * n),
        }
    )
    log = EventLog.read(events, contacts=pd.DataFrame({"contact": np.arange(n)}), cache=False)
    when = pd.Timestamp(START) + pd.to_timedelta(rng.integers(20 * 86_400, 40 * 86_400, n), unit="s")
    rows = exposed(log, pd.DataFrame({"contact": np.arange(n), "arm": rng.choice(["a", "b"], n), "exposed_at": when}))
    metrics = [
        Proportion("buy", called="did"), Revenue("buy.amount", covariate="before"), Count("visit"),
        TimeToEvent("buy"), Ratio("buy.amount / visit"),
    ]  # fmt: skip
    begin = time.perf_counter()
    table = unit_table(rows, metrics, window="14d")
    assert table.counts()["a"] > 490_000
    assert time.perf_counter() - begin < 30
