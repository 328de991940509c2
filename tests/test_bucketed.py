"""A log in buckets on disk: the same contacts, events and meaning as the log in memory, whatever the buckets."""

import json
from unittest.mock import patch

import duckdb
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import sqlalchemy
from hypothesis import HealthCheck, Phase, assume, given, settings
from hypothesis import strategies as st

import journeylab as jl
from journeylab import datasets, logparts, logsource
from journeylab.bucketed import BucketedLog, bucket_log, writing
from journeylab.replayruns import TABLES
from strategies import worlds
from worlds import log_of, replay_of, tables_of

# Worlds are many values: making a failing one small would take longer than all tests together.
_PHASES = [Phase.explicit, Phase.generate]
few, many = (settings(max_examples=n, suppress_health_check=[*HealthCheck], phases=_PHASES) for n in (12, 400))
AT = "2026-03-01T09:00:00Z"


def kinds(log):
    """What each property and attribute is, or why it is none."""

    def of(read, name):
        try:
            return read(name).kind
        except jl.DataError as problem:
            return str(problem)

    # What changes say stays the text that it is, and a bucket without any has none to look at.
    names = {*log.property_names} - {"name", "value"}
    return {name: of(log.property, name) for name in names} | {
        f"contact.{name}": of(log.attribute, name) for name in log.attribute_names
    }


def plainly(table):
    """The rows of a table as Python has them, without what changes say, which attributes have."""
    values = table.drop(columns=["name", "value"], errors="ignore").astype(object)
    return values.where(values.notna(), None).to_dict("records")


def same(bucketed, whole):
    """The buckets are the log's own parts."""
    assert (bucketed.n_events, bucketed.n_contacts) == (whole.n_events, whole.n_contacts)
    assert (bucketed.start_at, bucketed.end_at) == (whole.start_at, whole.end_at)
    assert bucketed.event_names == whole.event_names
    expected = kinds(whole)
    for k, one in enumerate(bucketed.buckets()):
        part = whole.partition(k, bucketed.n_buckets)
        assert set(one.contact_ids.to_pylist()) == set(part.contact_ids.to_pylist())
        assert (one.start_us, one.end_us) == (part.start_us, part.end_us)
        assert kinds(one) == expected
        first = dict(zip(one.contact_ids.to_pylist(), one.first_at.tolist(), strict=True))
        assert first == dict(zip(part.contact_ids.to_pylist(), part.first_at.tolist(), strict=True))
        assert plainly(one.events()) == plainly(part.events())
        assert plainly(one.contacts()) == plainly(part.contacts())


@pytest.mark.parametrize("n_buckets", [3, *(pytest.param(n, marks=pytest.mark.long) for n in (1, 16))])
def test_the_shop_in_buckets_is_the_shop(n_buckets, tmp_path):
    folder = datasets.fixtures() / "shop"
    bucketed = bucket_log(
        folder / "events.parquet", tmp_path / "log", contacts=folder / "contacts.parquet", n_buckets=n_buckets
    )
    same(bucketed, datasets.shop())


EVENT = st.fixed_dictionaries(
    {
        "contact": st.sampled_from(["ada", "bo", "cy", "di", "ed"]),
        "event": st.sampled_from(["signup", "visit", "purchase"]),
        "occurred_at": st.sampled_from([AT, "2026-03-02T09:00:00Z", "2026-03-03 10:00:00+01:00"]),
    },
    optional={
        "amount": st.one_of(st.integers(0, 9), st.floats(0, 9).map(lambda value: round(value, 2))),
        "plan": st.sampled_from(["trial", "paid", "007", ""]),
        "on": st.sampled_from(["2026-03-01", "2026-02-30"]),
        "day": st.sampled_from(["2026-03-01", "2026-03-31"]),
        "until": st.sampled_from([AT, "2026-03-09T00:00:00+01:00"]),
        "is_new": st.booleans(),
    },
)
CHANGE = st.fixed_dictionaries(
    {
        "contact": st.sampled_from(["ada", "bo", "cy"]),
        "event": st.just("attribute_changed"),
        "occurred_at": st.sampled_from([AT, "2026-03-02T09:00:00Z"]),
    }
).flatmap(
    lambda row: st.sampled_from(
        [("age", "31"), ("age", "4.5"), ("country", "PL"), ("country", "12"), ("since", "2026-03-01"), ("vip", "true"),
         ("code", "007"), ("code", "8")]
    ).map(lambda pair: {**row, "name": pair[0], "value": pair[1]})
)  # fmt: skip
PEOPLE = st.lists(
    st.fixed_dictionaries(
        {"contact": st.sampled_from(["ada", "bo", "cy", "zed"])},
        optional={"country": st.sampled_from(["PL", "DE"]), "age": st.integers(18, 99), "born": st.just("2001-02-03")},
    ),
    max_size=4,
    unique_by=lambda row: row["contact"],
)


any_log = given(
    st.lists(st.one_of(EVENT, CHANGE), min_size=1, max_size=30), PEOPLE, st.integers(1, 4),
    st.sampled_from(["rows", "csv", "csv.gz", "jsonl", "sqlite", "duckdb"]),
)  # fmt: skip


@few
@any_log
def test_any_log_in_buckets_is_the_log(tmp_path_factory, rows, people, n_buckets, kind):
    is_the_log(tmp_path_factory, rows, people, n_buckets, kind)


@pytest.mark.nightly
@many
@any_log
def test_any_of_many_logs_in_buckets_is_the_log(tmp_path_factory, rows, people, n_buckets, kind):
    is_the_log(tmp_path_factory, rows, people, n_buckets, kind)


def source_of(rows, kind, here, what):
    """Where rows are, and the query that gives them."""
    if kind == "rows":
        return rows, None
    path, frame = here / f"{what}.{kind}", pd.DataFrame(rows)
    if kind.startswith("csv"):
        frame.to_csv(path, index=False)
    elif kind == "jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    elif kind == "sqlite":
        engine = sqlalchemy.create_engine(f"sqlite:///{path}")
        frame.to_sql(what, engine, index=False)
        return engine, f"SELECT * FROM {what}"
    else:
        connection = duckdb.connect()
        connection.register("given", pa.Table.from_pandas(frame))
        connection.execute(f"CREATE TABLE {what} AS FROM given")
        return connection, f"SELECT * FROM {what}"
    return path, None


def is_the_log(tmp_path_factory, rows, people, n_buckets, kind):
    here = tmp_path_factory.mktemp("any")
    events, query = source_of(rows, kind, here, "events")
    contacts = people or None
    if people and kind in ("csv", "csv.gz", "jsonl"):
        contacts, _ = source_of(people, kind, here, "contacts")
    said, whole, bucketed = [], None, None
    try:
        whole = jl.EventLog.read(events, contacts=contacts, query=query, cache=False)
    except jl.DataError as problem:
        said.append(str(problem))
    try:
        with (
            patch.object(writing, "_ROWS", 4),
            patch.object(logparts, "_BLOCK", 300),
            patch.object(logsource, "_PARTITION", 3),
        ):
            bucketed = bucket_log(events, here / "log", contacts=contacts, query=query, n_buckets=n_buckets)
    except jl.DataError as problem:
        said.append(str(problem))
    if whole is None or bucketed is None:
        assert len(said) == 2
        assert said[0] == said[1]
    else:
        same(bucketed, whole)


@few
@given(worlds(), st.integers(1, 4))
def test_worlds_in_buckets_are_the_worlds(tmp_path_factory, world, n_buckets):
    is_the_world(tmp_path_factory, world, n_buckets)


@pytest.mark.nightly
@many
@given(worlds(), st.integers(1, 4))
def test_many_worlds_in_buckets_are_the_worlds(tmp_path_factory, world, n_buckets):
    is_the_world(tmp_path_factory, world, n_buckets)


def is_the_world(tmp_path_factory, world, n_buckets):
    assume(world.events)
    events, contacts = tables_of(world)
    bucketed = bucket_log(events, tmp_path_factory.mktemp("world") / "log", contacts=contacts, n_buckets=n_buckets)
    log = log_of(world)
    same(bucketed, log)
    whole = replay_of(world, log)
    found = replay_of(world, bucketed)
    assert found.assumed_consent == whole.assumed_consent
    for name in found.compiled.groups:
        assert found.summary(name) == whole.summary(name)
    for name in TABLES:
        pd.testing.assert_frame_equal(found.tables[name], whole.tables[name])


def test_lines_that_are_no_rows_are_numbered_in_whatever_part_they_are(tmp_path):
    lines = [f"c{n % 9},visit,{AT},{n}" if n % 30_011 != 5 else f"c{n % 9},visit" for n in range(100_000)]
    lines = ["" if n % 40_009 == 7 else line for n, line in enumerate(lines)]
    lines[77_777] = "c1,visit,soon,1"
    (tmp_path / "events.csv").write_text("\n".join(["contact,event,occurred_at,n", *lines]) + "\n")
    whole = jl.EventLog.read(tmp_path / "events.csv", cache=False, rejects="set_aside")
    found = bucket_log(tmp_path / "events.csv", tmp_path / "log", n_buckets=2, rejects="set_aside")
    assert whole.rejects.column("row").to_pylist() == [7, 30018, 60029, 77779, 90040]
    assert found.rejects.to_pylist() == whole.rejects.to_pylist()
    assert (found.n_events, found.n_by_event) == (whole.n_events, {"visit": whole.n_events})


def test_what_is_not_uniform_is_read_as_a_whole(tmp_path):
    (tmp_path / "events.jsonl").write_text(
        f'{{"contact": "a", "event": "visit", "occurred_at": "{AT}", "n": 1}}\n'
        f'{{"contact": "b", "event": "visit", "occurred_at": "{AT}", "n": "x"}}\n'
        f'{{"contact": "b", "event": "visit", "occurred_at": "{AT}", "n": "y"}}\n'
    )
    with patch.object(logparts, "_BLOCK", 70):
        found = bucket_log(tmp_path / "events.jsonl", tmp_path / "log", rejects="set_aside")
    whole = jl.EventLog.read(tmp_path / "events.jsonl", rejects="set_aside", cache=False)
    assert found.rejects.to_pylist() == whole.rejects.to_pylist()
    assert found.rejects.num_rows == 1
    assert not (tmp_path / "log" / "spill").exists()


def test_a_database_that_cannot_be_asked_says_so_and_leaves_nothing(tmp_path):
    with pytest.raises(jl.DataError, match="the query for events failed"):
        bucket_log(f"sqlite:///{tmp_path}/shop.db", tmp_path / "log", query="SELECT * FROM nothing")
    assert [one.name for one in tmp_path.iterdir()] in (["shop.db"], [])


def test_parts_of_a_file_make_no_difference(tmp_path, monkeypatch):
    rows = [
        {"contact": n % 7, "event": "visit", "occurred_at": pd.Timestamp(AT) + pd.Timedelta(minutes=n), "n": float(n)}
        for n in range(100)
    ]
    pq.write_table(pa.Table.from_pandas(pd.DataFrame(rows)), tmp_path / "events.parquet", row_group_size=9)
    monkeypatch.setattr(writing, "_ROWS", 10)
    monkeypatch.setattr(writing, "_BUFFERED", 100)
    same(
        bucket_log(tmp_path / "events.parquet", tmp_path / "log", n_buckets=3),
        jl.EventLog.read(tmp_path / "events.parquet", cache=False),
    )


def test_bad_rows_are_named_as_in_the_whole_or_set_aside(tmp_path, monkeypatch):
    monkeypatch.setattr(writing, "_ROWS", 3)
    lines = [f"c{n % 3},visit,{AT if n % 4 else 'soon'},{n if n != 5 else 'five'}" for n in range(12)]
    events, people = tmp_path / "events.csv", tmp_path / "contacts.csv"
    events.write_text("\n".join(["contact,event,occurred_at,n", *lines]))
    people.write_text("contact,timezone\nc0,Europe/Warsaw\nc1,Mars\nc0,UTC\nc9,UTC\n")
    with pytest.raises(jl.DataError) as whole:
        jl.EventLog.read(events, contacts=people, cache=False)
    with pytest.raises(jl.DataError) as bucketed:
        bucket_log(events, tmp_path / "log", contacts=people, n_buckets=2)
    assert str(bucketed.value) == str(whole.value)
    assert not (tmp_path / "log").exists()
    kept = jl.EventLog.read(events, contacts=people, cache=False, rejects="set_aside")
    found = bucket_log(events, tmp_path / "log", contacts=people, n_buckets=2, rejects="set_aside")
    same(found, kept)
    assert found.rejects.to_pylist() == kept.rejects.to_pylist()


@pytest.mark.parametrize("rejects", ["error", "set_aside"])
def test_where_every_row_is_bad_it_is_said_as_of_the_whole(tmp_path, rejects):
    (tmp_path / "events.csv").write_text(f"contact,event,occurred_at\nada,visit,soon\n,visit,{AT}\n")
    said = []
    for made in (
        lambda: jl.EventLog.read(tmp_path / "events.csv", cache=False, rejects=rejects),
        lambda: bucket_log(tmp_path / "events.csv", tmp_path / "log", rejects=rejects),
    ):
        with pytest.raises(jl.DataError) as refused:
            made()
        said.append(str(refused.value))
    assert said[0] == said[1]


def test_what_cannot_be_meant_is_refused(tmp_path):
    rows = [{"contact": 1, "event": "visit", "occurred_at": AT}]
    with pytest.raises(jl.DataError, match="there is no log in buckets here"):
        BucketedLog.open(tmp_path)
    with pytest.raises(jl.DataError, match="n_buckets=0: there are 1 to 512 buckets"):
        bucket_log(rows, tmp_path / "log", n_buckets=0)
    with pytest.raises(jl.DataError, match="there is no column 'contact'") as refused:
        bucket_log([{"who": 1, "event": "visit", "occurred_at": AT}], tmp_path / "log", contacts=[{"customer_id": 1}])
    assert str(refused.value).count("there is no column 'contact'") == 2
    assert not list(tmp_path.iterdir())
    made = bucket_log(rows, tmp_path / "log")
    assert (made.n_buckets, repr(BucketedLog.open(tmp_path / "log"))) == (1, repr(made))
    with pytest.raises(jl.DataError, match="is there already"):
        bucket_log(rows, tmp_path / "log")
    with pytest.raises(ValueError, match="bucket 1 of 1 does not exist"):
        made.bucket(1)
