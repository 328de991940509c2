"""What Spark's executors do, without Spark: partitions are looked at, buckets replayed, and their results added up."""

import json
from datetime import UTC, datetime
from zlib import crc32

import cloudpickle
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import journeylab as jl
from journeylab import datasets, execution
from journeylab.logfacts import LogFacts, facts_of
from journeylab.spark.log import SparkLog
from journeylab.spark.meaning import BUCKET, CONTACTS, EVENTS, Meaning, texts_of
from journeylab.spark.parts import COUNTS, FACTS, columns_of, counts_of, facts_in, plainly, refuse, rows_of
from journeylab.spark.seen import looking, read_seen
from journeylab.worlds import prepared

SHOP = datasets.fixtures() / "shop"
AT = "2026-03-01T09:00:00Z"


def seen(table, what, zone=None, n=3):
    """What some partitions of a table say, the last of which is empty."""
    texts = texts_of(table.schema, what)
    size = -(-len(table) // n)
    parts = [table.slice(k * size, size) for k in range(n + 1)]
    rows = [row for part in parts for batch in looking(texts, zone, what)(part.to_batches()) for row in batch["seen"]]
    return read_seen([[row.as_py()] for row in rows], texts, zone)


def meaning_of(events, contacts, zone=None):
    looked = seen(events, EVENTS, zone), seen(contacts, CONTACTS, zone)
    return Meaning.of((events.schema, contacts.schema), *looked, zone)


def in_buckets(events, contacts, n=3):
    """Both tables of each bucket, contacts by any rule, as Spark hands them over."""

    def bucket(table, k):
        mine = table.filter(pa.array([crc32(str(who).encode()) % n == k for who in table["contact"].to_pylist()]))
        return mine.append_column(BUCKET, pa.array([k] * len(mine), pa.int32()))

    return [(bucket(events, k), bucket(contacts, k)) for k in range(n)]


def table_of(rows):
    names = list(dict.fromkeys(name for row in rows for name in row))
    return pa.Table.from_pylist([{name: row.get(name) for name in names} for row in rows])


def nothing(log):
    return np.zeros(1, np.int64)


def refused(events, contacts, work, made=counts_of):
    meaning = meaning_of(events, contacts)
    found = pa.concat_tables([made(meaning, work, *one) for one in in_buckets(events, contacts)])
    refuse(found.filter(found["problem"].is_valid()))


@pytest.fixture(scope="module")
def tables():
    return tuple(pq.read_table(SHOP / name) for name in ("events.parquet", "contacts.parquet"))


@pytest.fixture(scope="module")
def meaning(tables):
    # What executors get has been pickled.
    return cloudpickle.loads(cloudpickle.dumps(meaning_of(*tables)))


def test_the_log_of_nobody_knows_the_whole(meaning, tables):
    nobody, shop = meaning.log(*(one.schema.empty_table() for one in tables)), datasets.shop()
    assert (nobody.n_contacts, nobody.n_events) == (0, 0)
    assert (nobody.start_us, nobody.end_us, nobody.known_events) == (shop.start_us, shop.end_us, shop.event_names)
    assert (nobody.property_names, nobody.attribute_names) == (shop.property_names, shop.attribute_names)
    for name in shop.attribute_names:
        assert nobody.attribute(name).kind == shop.attribute(name).kind, name
    for name in shop.property_names:
        assert nobody.property(name).kind == shop.property(name).kind, name
    assert nobody.part_of.has_consent("marketing")


def test_counts_of_buckets_add_up_and_rows_are_those_of_the_log(meaning, tables):
    journey = jl.Journey.read(datasets.journey_file("trial_welcome"))
    whole = jl.replay(journey, datasets.shop())
    like = plainly(whole.visits.head(0)).schema
    assert columns_of(like).startswith("contact string, journey string, version string, entry int, ")
    total, rows = np.zeros(whole.tally.n_by_edge.size, np.int64), []
    for events, contacts in in_buckets(*tables):
        counts = counts_of(
            meaning, lambda log: jl.replay(journey, log).tally.n_by_edge.ravel(), events, contacts
        ).to_pydict()
        assert ", ".join(f"{one} {'string' if one in ('problem', 'contact') else 'bigint'}" for one in counts) == COUNTS
        total[counts["place"]] += counts["n"]
        rows.append(rows_of(like, meaning, lambda log: jl.replay(journey, log).visits, events, contacts))
    assert total.tolist() == whole.tally.n_by_edge.ravel().tolist()
    found = pa.concat_tables(rows).to_pandas().sort_values("contact", kind="stable", ignore_index=True)
    pd.testing.assert_frame_equal(found.astype(whole.visits.dtypes), whole.visits)


def test_facts_of_buckets_are_those_of_the_log(meaning, tables):
    before = datetime(2026, 4, 1, tzinfo=UTC)
    found = [facts_in(meaning, lambda log: facts_of(log, "purchase", before), *one) for one in in_buckets(*tables)]
    assert [name.split()[0] for name in FACTS.split(", ")] == found[0].column_names
    facts = LogFacts.sum(LogFacts.made(json.loads(one["facts"][0].as_py())) for one in found)
    assert facts == facts_of(datasets.shop(), "purchase", before)


def test_bad_rows_of_any_bucket_are_named_by_what_is_bad_and_whose_it_is():
    rows = [{"contact": n, "event": "visit", "occurred_at": AT, "name": None, "value": None} for n in range(9)]
    people = [{"contact": n, "age": 30, "timezone": "Europe/Warsaw"} for n in range(9)]
    changed = {"event": "attribute_changed", "name": "age", "value": "old"}
    for events, contacts, says in [
        ([*rows, {**rows[7], "occurred_at": "soon"}], people,
         "the events DataFrame, column occurred_at: 'soon' is no time in ISO 8601 (of contact 7)"),
        ([*rows, *({**rows[n], **changed} for n in (4, 5, 6))], people,
         "the events DataFrame, column value: 'old' is no number (3 times, such as contact 4)"),
        ([*rows, {**rows[0], "contact": None}], people, "the events DataFrame, column contact: is missing"),
        (rows, [*people, people[3]], "the contacts DataFrame, column contact: '3' is there more than once"),
        (rows, [{**one, "timezone": "Mars"} for one in people],
         "the contacts DataFrame, column timezone: 'Mars' is no time zone (9 times, such as contact 0)"),
    ]:  # fmt: skip
        for made, work in ((counts_of, nothing), (facts_in, lambda log: facts_of(log, None, None))):
            with pytest.raises(jl.DataError) as refusal:
                refused(table_of(events), table_of(contacts), work, made)
            assert str(refusal.value).splitlines() == [
                "the log in Spark has bad rows:", f"  {says}", "Correct them, or leave them out."
            ]  # fmt: skip


def test_many_kinds_of_bad_rows_are_cut_short():
    rows = [{"contact": n, "event": "visit", "occurred_at": AT if n else f"soon {n}"} for n in range(3)]
    rows += [{"contact": n, "event": "visit", "occurred_at": f"soon {n}"} for n in range(40)]
    with pytest.raises(jl.DataError) as refusal:
        refused(table_of(rows), table_of([{"contact": 1}]), nothing)
    assert len(str(refusal.value).splitlines()) == 8
    assert "  and others" in str(refusal.value)


def test_what_else_is_wrong_with_a_bucket_comes_before_bad_rows():
    events = table_of([{"contact": n, "event": "visit", "occurred_at": AT, "n": 2**60} for n in range(4)])
    with pytest.raises(jl.DataError, match=r"the events DataFrame: column 'n' has whole numbers beyond 2\*\*53"):
        refused(events, table_of([{"contact": 1}]), work=lambda log: np.full(1, len(log.property("n").values)))


def test_what_cannot_be_understood_of_a_partition_is_said_at_once():
    events = table_of([{"contact": n, "event": "visit", "occurred_at": "2026-03-01 09:00:00"} for n in range(4)])
    with pytest.raises(jl.DataError, match="the events DataFrame: column 'occurred_at' has times without a time zone"):
        seen(events, EVENTS)
    assert seen(events, EVENTS, "Europe/Warsaw").whole.n_by_event == {"visit": 4}
    with pytest.raises(jl.DataError, match="there are no events that say what they are and when"):
        meaning_of(events.slice(0, 0), table_of([{"contact": 1}]), "UTC")


def test_an_attribute_may_have_the_name_of_a_column_of_events():
    people = table_of([{"contact": 0, "event": "2026-03-01"}, {"contact": 1, "event": "ball"}])
    events = table_of([{"contact": n, "event": "visit", "occurred_at": AT} for n in range(2)])
    meaning = meaning_of(events, people)
    assert [meaning.log(*one).attribute("event").kind for one in in_buckets(events, people, 2)] == ["text", "text"]


def test_a_bucket_with_the_columns_alone_that_are_read_of_nobody_gives_the_same_counts(meaning, tables):
    journey = jl.Journey.read(datasets.journey_file("trial_welcome"))
    nobody = meaning.log(*(one.schema.empty_table() for one in tables))
    prepared(journey, nobody)
    properties, attributes = nobody.names_read
    assert properties == {"plan", "country", "page", "message", "bounce_type"}
    assert attributes == {"plan", "country", "timezone"}
    bucket = in_buckets(*tables)[0]
    kept = {"contact", "event", "occurred_at", "name", "value"}
    narrow = (one.select([name for name in one.column_names if name in {*names, *kept}]) for one, names in
              zip(bucket, nobody.names_read, strict=True))  # fmt: skip
    assert jl.replay(journey, meaning.log(*narrow)).summary() == jl.replay(journey, meaning.log(*bucket)).summary()


def test_a_process_that_shares_its_machine_runs_as_many_threads_as_it_was_given(monkeypatch):
    monkeypatch.setattr(execution, "_allotted", None)
    execution.use_processors(3)
    assert execution.n_processors() == 3


def test_what_a_log_in_spark_is_not_for_says_what_to_do():
    log = object.__new__(SparkLog)
    for ask in (
        lambda: jl.audience(log, 'count("visit") > 0'),
        lambda: jl.backtest("", log, cutoff="2026-03-01"),
        lambda: jl.fit_responses(log),
    ):
        with pytest.raises(jl.DataError, match="replayed and simulated; everything else takes"):
            ask()
    assert not hasattr(log, "rank")
