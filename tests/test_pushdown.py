"""Reading from a database what journeys need: no more than that, and the replay is that over the whole log."""

import duckdb
import pandas as pd
import pyarrow as pa
import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, Phase, assume, given, settings
from hypothesis import strategies as st

import journeylab as jl
from journeylab import datasets
from journeylab.pushdown import needs_of, read_for
from journeylab.replayruns import TABLES
from strategies import worlds
from worlds import journey_of, log_of, replay_of, tables_of

AT = "2026-03-01T09:00:00Z"
_PHASES = [Phase.explicit, Phase.generate]
few, many = (settings(max_examples=n, suppress_health_check=[*HealthCheck], phases=_PHASES) for n in (12, 400))
SHOP = datasets.fixtures() / "shop"


def database(events, kind, folder):
    """The events in a database, and the query that gives them."""
    if kind == "duckdb":
        connection = duckdb.connect()
        connection.register("given", events)
        connection.execute("CREATE TABLE events AS FROM given")
        return connection
    engine = sa.create_engine(f"sqlite:///{folder}/events.db")
    frame = events.to_pandas()
    for name in frame.columns:
        if isinstance(frame[name].dtype, pd.DatetimeTZDtype):
            frame[name] = [None if pd.isna(one) else one.isoformat() for one in frame[name]]
    frame.to_sql("events", engine, index=False)
    return engine


def same(found, whole):
    assert (found.until, found.assumed_consent) == (whole.until, whole.assumed_consent)
    for name in found.compiled.groups:
        assert found.summary(name) == whole.summary(name)
    for name in TABLES:
        ours, theirs = found.tables[name], whole.tables[name]
        pd.testing.assert_frame_equal(ours, theirs)


@pytest.fixture(scope="module")
def shop():
    connection = duckdb.connect()
    connection.execute("SET TimeZone = 'UTC'")
    connection.execute(f"CREATE TABLE events AS FROM '{SHOP / 'events.parquet'}'")
    return connection


def test_a_journey_over_what_it_needs_is_that_over_the_shop(shop):
    journey = jl.Journey.read(datasets.journey_file("trial_welcome"))
    log = read_for(journey, shop, "SELECT * FROM events", contacts=SHOP / "contacts.parquet")
    whole = datasets.shop()
    assert log.n_events < whole.n_events
    assert (log.start_us, log.end_us, log.known_events) == (whole.start_us, whole.end_us, whole.event_names)
    same(jl.replay(journey, log), jl.replay(journey, whole))
    until = pd.Timestamp("2026-04-01T00:00Z").to_pydatetime()
    earlier = read_for(journey, shop, "SELECT * FROM events", contacts=SHOP / "contacts.parquet", until=until)
    assert earlier.n_events < log.n_events
    same(jl.replay(journey, earlier, until=until), jl.replay(journey, whole, until=until))


def rows(*given):
    return pa.Table.from_pylist(
        [
            {"contact": who, "event": event, "occurred_at": pd.Timestamp(AT) + pd.Timedelta(minutes=n), **more}
            for n, (who, event, more) in enumerate(given)
        ],
        pa.schema([("contact", pa.string()), ("event", pa.string()), ("occurred_at", pa.timestamp("us", "UTC")),
                   ("plan", pa.string()), ("page", pa.string()), ("amount", pa.float64())]),
    )  # fmt: skip


TRIAL = {
    "journey": "trial", "trigger": {"event": "signup", "where": 'plan == "trial"'},
    "nodes": {"look": {"wait_for": "event(\"visit\", where=\"page == 'pricing'\")", "within": "3d", "then": "done",
                       "else": "done"}, "done": {"exit": "seen"}},
}  # fmt: skip


@pytest.mark.parametrize("kind", ["duckdb", "sqlite"])
def test_only_what_is_looked_at_comes(tmp_path, kind):
    events = rows(
        ("ada", "signup", {"plan": "trial"}), ("ada", "visit", {"page": "pricing"}), ("ada", "visit", {"page": "home"}),
        ("ada", "purchase", {"amount": 3.0}), ("bo", "signup", {"plan": "paid"}), ("bo", "visit", {"page": "pricing"}),
        ("cy", "signup", {}), ("di", "visit", {"page": "pricing"}),
    )  # fmt: skip
    journey = jl.Journey.from_data(TRIAL)
    log = read_for(journey, database(events, kind, tmp_path), "SELECT * FROM events;")
    read = log.events()
    assert read[["contact", "event", "page"]].fillna("").to_numpy().tolist() == [
        ["ada", "signup", ""], ["ada", "visit", "pricing"]
    ]  # fmt: skip
    assert "amount" not in log.property_names
    assert jl.replay(journey, log).summary()["nodes"]["look"]["branches"]["then"] == 1


def test_needs_are_those_of_the_program():
    log = jl.EventLog.from_rows(
        [{"contact": 1, "event": "signup", "occurred_at": AT, "plan": "x", "page": "y", "amount": 1, "note": "z"}],
        [{"contact": 1, "country": "PL", "age": 30}],
    )
    data = TRIAL | {
        "exit_when": [{"event": "purchase", "where": "amount > 3"}],
        "nodes": TRIAL["nodes"]
        | {
            "look": {
                "decide": [{"if": 'sum("order.amount", "30d") > 5 and country == "PL"', "go": "hello"}],
                "else": "done",
            },
            "hello": {"send": "welcome", "next": "done"},
        },
    }
    needs = needs_of(jl.Journey.from_data(data), log)
    assert {"signup", "order", "purchase", "sent", "consent_given", "erased"} <= {*needs.streams}
    assert "visit" not in needs.streams
    assert needs.properties == {"plan", "amount"}
    assert needs.attributes == {"country", "timezone"}
    assert [event for event, _ in needs.triggers] == ["signup"]
    segment = data | {"trigger": {"segment": "keen", "every": "1d"}, "segments": {"keen": "age > 3"}}
    needs = needs_of(jl.Journey.from_data(segment), log)
    assert (needs.triggers, needs.needs_first) == (None, True)


def test_what_only_the_whole_log_tells_is_asked_of_the_whole(tmp_path):
    events = rows(("ada", "signup", {"plan": "trial"}), ("bo", "consent_given", {}), ("bo", "purchase", {}))
    journey = jl.Journey.from_data(TRIAL | {"exit_when": [{"event": "purchase"}, {"event": "buys"}]})
    log = read_for(journey, database(events, "duckdb", tmp_path), "SELECT * FROM events")
    found = jl.replay(journey, log)
    assert found.assumed_consent == set()  # bo's consent is in the whole log
    assert [note for note in found.notes if "buys" in note] == [
        "The event 'buys' never occurs in the log; Known events: consent_given, purchase, signup."
    ]


def test_what_a_database_does_not_have_is_refused(tmp_path):
    there = database(rows(("ada", "signup", {"plan": "trial"})), "duckdb", tmp_path)
    journey = jl.Journey.from_data(TRIAL)
    for query, says in [
        ("SELECT * FROM nothing", "the query for events failed"),
        ("SELECT event, occurred_at FROM events", "there is no column 'contact'"),
        ("SELECT * FROM events WHERE false", "there are no events"),
    ]:
        with pytest.raises(jl.DataError, match=says):
            read_for(journey, there, query)
    with pytest.raises(jl.DefinitionError, match="did you mean 'plan'"):
        read_for(jl.Journey.from_data(TRIAL | {"trigger": {"event": "signup", "where": 'plam == "x"'}}), there,
                 "SELECT * FROM events")  # fmt: skip
    with pytest.raises(jl.DataError, match="the events come from a database"):
        read_for(journey, tmp_path / "events.parquet", "SELECT * FROM events")


def test_a_query_is_asked_as_it_stands(tmp_path):
    there = database(rows(("50% :off", "signup", {"plan": "trial"}), ("ada", "signup", {})), "duckdb", tmp_path)
    journey = jl.Journey.from_data(TRIAL)
    for where in ("contact = '50% :off'", "7 % 2 = 1", "contact LIKE '50%'"):
        assert read_for(journey, there, f"SELECT * FROM events WHERE {where}").contact_ids.to_pylist() == ["50% :off"]


def test_instants_that_are_texts_are_compared_as_instants(tmp_path):
    engine = sa.create_engine(f"sqlite:///{tmp_path}/events.db")
    given = {
        "contact": ["late", "early", "late", "never"],
        "event": ["signup", "signup", "visit", "visit"],
        "occurred_at": ["2026-03-01T23:30:00-05:00", "2026-03-02T01:00:00+00:00", "2026-03-02 06:00:00+02:00",
                        "2026-03-03T00:00:00+14:00"],
    }  # fmt: skip
    pd.DataFrame(given).to_sql("events", engine, index=False)
    whole = jl.EventLog.read(engine, query="SELECT * FROM events")
    nodes = {"done": {"exit": "seen"}}
    segment = {"journey": "known", "trigger": {"segment": "all", "every": "1h"}, "segments": {"all": 'not did("bye")'}}
    for journey in (
        jl.Journey.from_data({"journey": "hello", "trigger": {"event": "signup"}, "nodes": nodes}),
        jl.Journey.from_data({**segment, "nodes": nodes}),
    ):
        log = read_for(journey, engine, "SELECT * FROM events")
        assert (log.start_us, log.end_us) == (whole.start_us, whole.end_us)
        same(jl.replay(journey, log), jl.replay(journey, whole))


def test_the_columns_and_the_span_are_asked_for_once(tmp_path):
    engine = database(rows(("ada", "signup", {"plan": "trial"}), ("ada", "consent_given", {})), "sqlite", tmp_path)
    asked = []
    sa.event.listen(engine, "before_cursor_execute", lambda *given: asked.append(given[2]))
    read_for(jl.Journey.from_data(TRIAL), engine, "SELECT * FROM events")
    assert len(asked) == len({*asked}) == 5  # columns, ends, instants since they are texts, kinds, rows


any_world = given(worlds(), st.sampled_from(["duckdb", "sqlite"]))


@few
@any_world
def test_worlds_over_what_they_need_are_the_worlds(tmp_path_factory, world, kind):
    is_the_world(tmp_path_factory, world, kind)


@pytest.mark.nightly
@many
@any_world
def test_many_worlds_over_what_they_need_are_the_worlds(tmp_path_factory, world, kind):
    is_the_world(tmp_path_factory, world, kind)


def is_the_world(tmp_path_factory, world, kind):
    assume(world.events)
    events, contacts = tables_of(world)
    journeys = [journey_of(world, data) for data in world.journeys]
    there = database(events, kind, tmp_path_factory.mktemp("world"))
    policy = jl.Policy.model_validate(world.policy or {})
    log = read_for(
        journeys, there, "SELECT * FROM events", contacts=contacts, until=world.until, match=world.match, policy=policy
    )
    same(replay_of(world, log), replay_of(world, log_of(world)))
