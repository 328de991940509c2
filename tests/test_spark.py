"""Replays and simulations in Spark, on a real standalone cluster: equal to what the log in memory says."""

import time
import warnings

import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, Phase, assume, given, settings
from hypothesis import strategies as st

import journeylab as jl
from constantmodel import ConstantModel
from journeylab import datasets
from journeylab.replayruns import TABLES
from servers.spark import Cluster, ended_after, why_not
from strategies import worlds
from worlds import replay_of, tables_of

pytestmark = [
    pytest.mark.nightly,
    pytest.mark.skipif(why_not() is not None, reason=str(why_not())),
    # PySpark warns of pandas 3, none of whose frames it is given here, and leaves sockets to the collector.
    pytest.mark.filterwarnings("ignore:PySpark does not yet fully support pandas:FutureWarning"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]

SHOP = datasets.fixtures() / "shop"
AT = "2026-03-01T09:00:00Z"
equal = pd.testing.assert_frame_equal


@pytest.fixture(scope="module")
def session():
    cluster = Cluster()
    try:
        yield cluster.session(2)
    finally:
        cluster.stop()


@pytest.fixture(autouse=True)
def bounded(session):
    """No test waits for a job that hangs."""
    with ended_after(session, 300):
        yield


@pytest.fixture(scope="module")
def frames(session):
    return tuple(session.read.parquet(str(SHOP / name)) for name in ("events.parquet", "contacts.parquet"))


@pytest.fixture(scope="module")
def log(frames):
    from journeylab.spark import SparkLog

    return SparkLog.of(*frames, n_buckets=3)


@pytest.fixture(scope="module")
def journey():
    return jl.Journey.read(datasets.journey_file("trial_welcome"))


@pytest.fixture(scope="module")
def replayed(journey, log):
    return jl.replay(journey, log)


@pytest.fixture(scope="module")
def whole(journey):
    return jl.replay(journey, datasets.shop())


def of(session, events, contacts=None, **given):
    from journeylab.spark import SparkLog

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        tables = [None if one is None else session.createDataFrame(pa.Table.from_pylist(one)) for one in
                  (events, contacts)]  # fmt: skip
    return SparkLog.of(*tables, **{"n_buckets": 2, **given})


def test_a_replay_is_the_replay(replayed, whole):
    assert replayed.summary() == whole.summary()
    assert (repr(replayed), replayed.log_summary) == (repr(whole), whole.log_summary)
    for name in TABLES:
        equal(replayed.tables[name], whole.tables[name])
    assert replayed.entrants.equals(whole.entrants)
    assert repr(replayed.log) in replayed.log._repr_html_()
    until = "2026-04-01T00:00:00Z"
    assert replayed.advance(until).summary() == whole.advance(until).summary()


@pytest.mark.parametrize("name", TABLES)
def test_a_table_is_written_by_the_cluster(session, replayed, whole, tmp_path, name):
    from journeylab.spark import frame

    frame(replayed, name).write.parquet(str(tmp_path / name))
    frame(replayed, name).createOrReplaceTempView(name)
    expected = getattr(whole, name)
    found = session.read.parquet(str(tmp_path / name)).toArrow().to_pandas().astype(expected.dtypes)
    # Rows that one key sorts alike are of one contact and stand together, in their order.
    equal(found.sort_values("contact", kind="stable", ignore_index=True), expected)
    assert session.sql(f"select count(*) from {name}").first()[0] == len(expected)


def test_a_file_is_written_as_any_replay_writes_it(replayed, whole, tmp_path):
    assert replayed.write(tmp_path / "a.csv", "entries") == whole.write(tmp_path / "b.csv", "entries")
    assert (tmp_path / "a.csv").read_text() == (tmp_path / "b.csv").read_text()


def test_a_portfolio_with_splits_and_holdouts_is_that_of_the_log(log):
    portfolio = datasets.shop_history()
    found, expected = jl.replay(portfolio, log), jl.replay(portfolio, datasets.shop())
    assert all(found.summary(name) == expected.summary(name) for name in expected.compiled.groups)
    equal(found.assignments, expected.assignments)


def test_a_simulation_is_that_of_the_log(log, journey):
    from journeylab.spark import frame

    sent = [one.send for one in journey.nodes.values() if isinstance(one, jl.Send)]
    model = ConstantModel(sent, converts="purchase", sd=0.3, delivered=0.98, opened=0.4, clicked=0.2, converted=0.05)
    asked = {"responses": model, "draws": 5, "rng": 3}
    found, expected = jl.simulate(journey, log, **asked), jl.simulate(journey, datasets.shop(), **asked)
    assert found.summary() == expected.summary()
    equal(found.branches, expected.branches)
    equal(found.visits(2), expected.visits(2))
    assert frame(found, "entries", 4).count() == len(expected.entries(4))
    with pytest.raises(jl.DataError, match="draw 5 does not exist; draws count from 0 to 4"):
        frame(found, "visits", 5)
    with pytest.raises(jl.DataError, match="no table 'sends'"):
        frame(found, "sends")
    with pytest.raises(jl.DataError, match="replaces: no message 'helo' in the log"):
        jl.simulate(journey, log, replaces=["helo"], **asked)


# Worlds are many values, and a cluster takes seconds for each: few of them, and none made small.
@settings(max_examples=8, suppress_health_check=[*HealthCheck], phases=[Phase.explicit, Phase.generate], deadline=None)
@given(worlds(), st.integers(1, 3))
def test_worlds_in_spark_are_the_worlds(session, world, n_buckets):
    from journeylab.spark import SparkLog

    assume(world.events)
    tables = tables_of(world)
    found = replay_of(world, SparkLog.of(*map(session.createDataFrame, tables), n_buckets=n_buckets))
    expected = replay_of(world)
    assert found.assumed_consent == expected.assumed_consent
    for name in expected.compiled.groups:
        assert found.summary(name) == expected.summary(name)
    for name in TABLES:
        equal(found.tables[name], expected.tables[name])


def test_contacts_may_be_texts_and_columns_have_other_names(journey, frames):
    from pyspark.sql import functions as f

    from journeylab.spark import SparkLog

    events, contacts = (
        one.withColumn("customer_id", f.concat(f.lit("c"), "contact")).drop("contact") for one in frames
    )
    events = events.withColumn("occurred_at", f.date_format("occurred_at", "yyyy-MM-dd'T'HH:mm:ss.SSSSSSXXX"))
    found = jl.replay(journey, SparkLog.of(events, contacts, columns={"customer_id": "contact"}, n_buckets=2))
    tables = [pd.read_parquet(SHOP / name) for name in ("events.parquet", "contacts.parquet")]
    for one in tables:
        one["contact"] = "c" + one["contact"].astype(str)
    expected = jl.replay(journey, jl.EventLog.read(tables[0], contacts=tables[1], cache=False))
    assert found.summary() == expected.summary()
    equal(found.visits, expected.visits)


def test_whole_numbers_of_any_size_are_the_same_contacts(session):
    from journeylab.spark import SparkLog

    at = pd.Timestamp(AT)
    ids = pa.array([*range(20)])
    events = pa.table({"contact": ids, "event": ["signup"] * 20, "occurred_at": [at] * 20})
    people = pa.table({"contact": ids.cast(pa.int16()), "age": [*range(20)]})
    hello = jl.Journey.from_data(
        {"journey": "hello", "trigger": {"event": "signup"},
         "nodes": {"old": {"decide": [{"if": "age >= 5", "go": "over"}], "else": "under"},
                   "over": {"exit": "old"}, "under": {"exit": "young"}}}
    )  # fmt: skip
    log = SparkLog.of(session.createDataFrame(events), session.createDataFrame(people), n_buckets=4)
    assert log.n_contacts == 20
    assert jl.replay(hello, log).summary()["exits"] == {"old": 15, "young": 5}


def test_changes_mean_in_each_bucket_what_they_mean_in_the_whole(session):
    changes = [("ada", "code", "007"), ("bo", "code", "8"), ("cy", "age", "31"), ("di", "age", "4.5")]
    rows = [
        {"contact": who, "event": "attribute_changed", "occurred_at": AT, "name": name, "value": value}
        for who, name, value in changes
    ]
    rows += [{"contact": who, "event": "signup", "occurred_at": "2026-03-02T09:00:00Z"} for who, *_ in changes]
    journey = jl.Journey.from_data(
        {
            "journey": "kinds", "trigger": {"event": "signup"},
            "nodes": {
                "which": {"decide": [{"if": 'code == "8"', "go": "eight"}, {"if": "age > 30", "go": "old"}],
                          "else": "other"},
                "eight": {"exit": "eight"}, "old": {"exit": "old"}, "other": {"exit": "other"},
            },
        }
    )  # fmt: skip
    columns = ["contact", "event", "occurred_at", "name", "value"]
    rows = [{name: row.get(name) for name in columns} for row in rows]
    log = of(session, rows, n_buckets=8)
    assert jl.replay(journey, log).summary()["exits"] == {"eight": 1, "old": 1, "other": 2}


def test_what_a_column_is_not_is_said_as_for_any_log(session, frames, journey):
    from journeylab.spark import SparkLog, frame

    rows = [{"contact": n, "event": "visit", "occurred_at": AT} for n in range(4)]
    for refused, says in [
        (lambda: of(session, [{"who": 1, "event": "visit", "occurred_at": AT}]), "there is no column 'contact'"),
        (lambda: of(session, rows, columns={"customer": "contact"}), "columns= names 'customer', which is not there"),
        (lambda: of(session, [{**row, "occurred_at": "2026-03-01 09:00:00"} for row in rows]), "without a time zone"),
        (lambda: of(session, rows, [{"contact": "ada"}]), "contacts are whole numbers in the events, but texts"),
        (lambda: of(session, [{**row, "contact": 1.5} for row in rows]), "contacts are whole numbers or texts"),
        (lambda: of(session, [{**row, "event": 3} for row in rows]), "events are named by texts"),
        (lambda: of(session, [{**row, "occurred_at": "soon"} for row in rows]), "there are no events that say"),
        (lambda: of(session, rows, n_buckets=0), "there is at least one bucket"),
        (lambda: SparkLog.of(frames[0], timezone="Mars"), "is no time zone"),
        (lambda: frame(jl.replay(journey, datasets.shop())), "a DataFrame of Spark is made of results over a SparkLog"),
    ]:
        with pytest.raises(jl.DataError, match=says):
            refused()


def test_bad_rows_are_named_by_the_first_work_on_them(session):
    hello = jl.Journey.from_data(
        {"journey": "hello", "trigger": {"event": "visit"}, "nodes": {"done": {"exit": "finished"}}}
    )
    rows = [{"contact": n, "event": "visit", "occurred_at": AT} for n in range(9)]
    people = [{"contact": n, "timezone": "Europe/Warsaw"} for n in range(9)]
    with pytest.raises(jl.DataError, match=r"column occurred_at: 'soon' is no time.* \(2 times, such as contact 1\)"):
        jl.replay(hello, of(session, [*rows, *({**rows[n], "occurred_at": "soon"} for n in (1, 2))], people))
    with pytest.raises(jl.DataError, match="column contact: '3' is there more than once"):
        jl.replay(hello, of(session, rows, [*people, people[3]]))
    with pytest.raises(jl.DataError, match="column timezone: 'Mars' is no time zone"):
        jl.replay(hello, of(session, rows, [{**one, "timezone": "Mars"} for one in people]))
    with pytest.raises(jl.DataError, match="column contact: is missing"):
        jl.replay(hello, of(session, [*rows, {**rows[0], "contact": None}], people))
    soon = of(session, [*rows, {**rows[3], "occurred_at": "soon"}], people)
    with pytest.raises(jl.DataError, match=r"column occurred_at: 'soon' is no time in ISO 8601 \(of contact 3\)"):
        jl.simulate(hello, soon, responses=ConstantModel(["hello"], opened=0.4), draws=2)


def test_a_definition_that_does_not_fit_is_refused_before_the_cluster_works(log):
    strange = jl.Journey.from_data(
        {"journey": "hello", "trigger": {"event": "signup", "where": "nothing == 1"},
         "nodes": {"done": {"exit": "finished"}}}
    )  # fmt: skip
    with pytest.raises(jl.DefinitionError, match="nothing"):
        jl.replay(strange, log)


def test_what_looks_at_events_says_where_the_log_is(replayed):
    from journeylab.spark import frame

    with pytest.raises(jl.DataError, match="the log is in Spark; read those contacts whom it is about into memory"):
        _ = replayed.log_in_memory
    with pytest.raises(jl.DataError, match="no table 'visit'"):
        frame(replayed, "visit")


def test_only_what_is_asked_for_is_brought_together(frames, journey, whole):
    from pyspark.sql import functions as f

    from journeylab.spark import SparkLog

    # Whoever computes this column fails.
    dear = frames[0].withColumn("dear", f.raise_error("computed").cast("double"))
    log = SparkLog.of(dear, frames[1], n_buckets=2)
    assert jl.replay(journey, log).summary() == whole.summary()


def test_a_job_that_hangs_is_ended(session):
    def hang(batches):
        time.sleep(600)
        yield from batches

    start = time.monotonic()
    with ended_after(session, 5), pytest.raises(Exception, match="cancelled"):
        session.range(1).mapInArrow(hang, "id bigint").collect()
    assert time.monotonic() - start < 60
    assert session.range(3).count() == 3
