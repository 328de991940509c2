"""An event log is the same wherever it comes from, and is indexed by kind, contact, instant and row."""

import gzip
import json
from datetime import UTC, date, datetime, timedelta

import duckdb
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.feather
import pyarrow.parquet as pq
import pytest
import sqlalchemy as sa
from hypothesis import given
from hypothesis import strategies as st

from journeylab import logcache
from journeylab.errors import DataError
from journeylab.eventlog import EventLog

START = datetime(2026, 3, 1, tzinfo=UTC)
EVENTS = [
    {"contact": 7, "event": "signup", "occurred_at": START, "plan": "trial", "amount": None, "paid": None},
    {"contact": 3, "event": "signup", "occurred_at": START, "plan": "paid", "amount": None, "paid": None},
    {
        "contact": 7,
        "event": "purchase",
        "occurred_at": START + timedelta(2),
        "plan": None,
        "amount": 12.5,
        "paid": True,
    },
    {
        "contact": 7,
        "event": "purchase",
        "occurred_at": START + timedelta(1),
        "plan": None,
        "amount": 8.0,
        "paid": False,
    },
    {
        "contact": 3,
        "event": "visit",
        "occurred_at": START + timedelta(1, 0, 1),
        "plan": None,
        "amount": None,
        "paid": None,
    },
]


def _at(*days: float) -> list[int]:
    return [int((START + timedelta(day)).timestamp() * 1e6) for day in days]


def _sources(folder) -> dict[str, dict]:
    """The same events in every kind of source, with the arguments to read them."""
    frame = pd.DataFrame(EVENTS)
    frame["paid"] = frame["paid"].astype("boolean")
    table = pa.table(frame)
    pq.write_table(table, folder / "events.parquet")
    pq.write_table(table, folder / "parts.parquet", row_group_size=2)
    (folder / "folder").mkdir()
    pq.write_table(table.slice(0, 2), folder / "folder" / "1.parquet")
    pq.write_table(table.slice(2), folder / "folder" / "2.parquet")
    pa.feather.write_feather(table, folder / "events.feather")
    frame.to_csv(folder / "events.csv", index=False)
    frame.to_csv(folder / "events.csv.gz", index=False)
    frame.to_csv(folder / "semicolons.csv", index=False, sep=";")
    lines = "".join(json.dumps(row, default=datetime.isoformat) + "\n" for row in EVENTS)
    (folder / "events.jsonl").write_text(lines)
    (folder / "events.ndjson.gz").write_bytes(gzip.compress(lines.encode()))
    (folder / "blank_lines.jsonl").write_text("\n" + lines.replace("\n", "\n\n"))
    engine = sa.create_engine(f"sqlite:///{folder / 'events.db'}")
    with engine.begin() as connection:
        connection.execute(
            sa.text("create table e (contact int, event text, occurred_at text, plan text, amount real)")
        )
        for row in EVENTS:
            row = {**row, "occurred_at": row["occurred_at"].isoformat()}
            connection.execute(sa.text("insert into e values (:contact, :event, :occurred_at, :plan, :amount)"), row)
    everything = "select * from e"
    connection = duckdb.connect()
    connection.register("e", table)
    return {
        "rows": {"source": EVENTS},
        "pandas": {"source": frame},
        "pandas objects": {"source": pd.DataFrame(EVENTS, dtype=object)},
        "polars": {"source": pl.DataFrame(EVENTS)},
        "arrow": {"source": table},
        "arrow dictionaries": {"source": table.set_column(1, "event", table["event"].dictionary_encode())},
        **{path.name: {"source": path} for path in folder.iterdir() if path.suffix != ".db"},
        "text path": {"source": str(folder / "events.csv")},
        "file url": {"source": (folder / "events.parquet").as_uri()},
        "duckdb relation": {"source": connection.sql(everything)},
        "duckdb connection": {"source": connection, "query": everything},
        "engine": {"source": engine, "query": everything},
        "connection": {"source": engine.connect(), "query": everything},
        "database url": {"source": str(engine.url), "query": everything},
    }


def test_every_source_gives_the_same_log(tmp_path):
    sources = _sources(tmp_path)
    for name, arguments in sources.items():
        log = EventLog.read(**arguments)
        assert repr(log) == "EventLog(5 events of 2 contacts, 3 kinds, 2026-03-01 to 2026-03-03)", name
        assert log.contact_ids.to_pylist() == [3, 7], name
        purchases = log.stream("purchase")
        assert [part.tolist() for part in purchases] == [[0, 0, 2], _at(1, 2), [3, 2]], name
        amount, plan = log.property("amount"), log.property("plan")
        np.testing.assert_array_equal(amount.values, [np.nan, np.nan, 12.5, 8, np.nan], name)
        assert (amount.kind, plan.kind) == ("number", "text"), name
        assert [plan.categories[int(code)] for code in plan.values[:2]] == ["trial", "paid"], name
        if "paid" in log.property_names:
            assert log.property("paid").kind == "flag", name
            np.testing.assert_array_equal(log.property("paid").values, [np.nan, np.nan, 1, 0, np.nan], name)
    sources["connection"]["source"].close()
    sources["engine"]["source"].dispose()


def test_an_http_url_is_read(tmp_path):
    import threading
    from functools import partial
    from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *_):
            pass

    pd.DataFrame(EVENTS).to_csv(tmp_path / "events.csv.gz", index=False)
    pq.write_table(pa.Table.from_pylist(EVENTS), tmp_path / "events.parquet")
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(tmp_path))) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        place = f"http://127.0.0.1:{server.server_port}"
        try:
            logs = [EventLog.read(f"{place}/{name}") for name in ("events.csv.gz", "events.parquet")]
            assert [log.n_events for log in logs] == [5, 5]
            with pytest.raises(DataError, match=r"nothing\.csv cannot be read: HTTP Error 404"):
                EventLog.read(f"{place}/nothing.csv")
        finally:
            server.shutdown()


def test_a_contact_is_a_number_or_a_text_as_in_the_source():
    row = {"event": "visit", "occurred_at": START}
    assert EventLog.from_rows([{"contact": 12, **row}]).contact_ids.to_pylist() == [12]
    assert EventLog.from_rows([{"contact": "12", **row}]).contact_ids.to_pylist() == ["12"]


def test_ids_with_leading_zeros_in_csv_stay_texts(tmp_path):
    path = tmp_path / "events.csv"
    path.write_text("contact,event,occurred_at\n007,visit,2026-03-01T00:00:00Z\n12,visit,2026-03-01T00:00:00Z\n")
    assert EventLog.read(path).contact_ids.to_pylist() == ["007", "12"]


def test_scattered_numbers_are_ids_too():
    ids = [2**62, -5, 10**15, -5]
    log = EventLog.from_rows([{"contact": one, "event": "visit", "occurred_at": START} for one in ids])
    assert log.contact_ids.to_pylist() == [2**62, -5, 10**15]
    assert np.diff(log.stream("visit").offsets).tolist() == [1, 2, 1]
    assert log.rank.tolist() == [2, 0, 1]


def test_columns_are_mapped_and_a_single_kind_of_event_is_named():
    frame = pd.DataFrame({"customer_id": [1, 2], "date": [date(1997, 1, 1), date(1997, 1, 18)], "price": [11.77, 12]})
    columns = {"customer_id": "contact", "date": "occurred_at"}
    log = EventLog.read(frame, columns=columns, event="purchase", timezone="UTC")
    assert repr(log) == "EventLog(2 events of 2 contacts, 1 kind, 1997-01-01 to 1997-01-18)"
    assert (log.event_names, log.property_names) == (["purchase"], ["price"])


@pytest.mark.parametrize(
    ("text", "zone", "expected"),
    [
        ("2026-03-01T12:00:00Z", None, "2026-03-01T12:00:00+00:00"),
        ("2026-03-01 12:00:00.25+02:00", None, "2026-03-01T10:00:00.250000+00:00"),
        ("2026-03-01 12:00 UTC", None, "2026-03-01T12:00:00+00:00"),
        ("2026-03-01T12:00:00.1234567Z", None, "2026-03-01T12:00:00.123456+00:00"),
        ("2026-03-01 12:00:00", "Europe/Warsaw", "2026-03-01T11:00:00+00:00"),
        ("2026-03-29 02:30", "Europe/Warsaw", "2026-03-29T01:00:00+00:00"),
        ("2026-10-25 02:30", "Europe/Warsaw", "2026-10-25T00:30:00+00:00"),
        ("2026-03-01", "Europe/Warsaw", "2026-02-28T23:00:00+00:00"),
        ("20260301", "UTC", "2026-03-01T00:00:00+00:00"),
    ],
)
def test_times_as_texts_are_iso_8601_and_local_ones_follow_rule_3(text, zone, expected):
    log = EventLog.from_rows([{"contact": 1, "event": "visit", "occurred_at": text}], timezone=zone)
    assert log.start_at == datetime.fromisoformat(expected)


@pytest.mark.parametrize("unit", ["s", "ms", "us", "ns"])
def test_timestamps_of_every_unit_are_instants(unit):
    at = pa.array([datetime(2026, 3, 29, 2, 30, tzinfo=UTC).replace(tzinfo=None)]).cast(pa.timestamp(unit))
    table = pa.table({"contact": [1], "event": ["visit"], "occurred_at": at})
    assert EventLog.read(table, timezone="Europe/Warsaw").start_at == datetime(2026, 3, 29, 1, tzinfo=UTC)
    aware = table.set_column(2, "occurred_at", at.cast(pa.timestamp(unit, "UTC")))
    assert EventLog.read(aware).start_at == datetime(2026, 3, 29, 2, 30, tzinfo=UTC)


def test_dates_and_instants_are_properties_whether_typed_or_texts():
    rows = [
        {"contact": 1, "event": "e", "occurred_at": START, "due": "2026-03-05", "seen": "2026-03-05T01:00:00+01:00"}
    ]
    typed = [{**rows[0], "due": date(2026, 3, 5), "seen": datetime(2026, 3, 5, tzinfo=UTC)}]
    for log in (EventLog.from_rows(rows), EventLog.from_rows(typed)):
        due, seen = log.property("due"), log.property("seen")
        assert (due.kind, due.values.tolist()) == (
            "date",
            [date(2026, 3, 5).toordinal() - date(1970, 1, 1).toordinal()],
        )
        assert (seen.kind, seen.values.tolist()) == ("instant", _at(4))


def test_a_column_without_values_is_of_unknown_kind():
    log = EventLog.from_rows([{"contact": 1, "event": "e", "occurred_at": START, "note": None}])
    assert log.property("note").kind == "unknown"
    assert np.isnan(log.property("note").values).all()


def test_numbers_that_a_text_column_holds_stay_texts():
    log = EventLog.from_rows([{"contact": 1, "event": "e", "occurred_at": START, "code": "12"}])
    assert (log.property("code").kind, log.property("code").categories) == ("text", ["12"])


def test_postal_codes_in_csv_stay_texts(tmp_path):
    path = tmp_path / "events.csv"
    path.write_text("contact,event,occurred_at,zip\n1,e,2026-03-01T00:00Z,01234\n1,e,2026-03-01T00:00Z,12345\n")
    assert EventLog.read(path).property("zip").categories == ["01234", "12345"]


def test_events_of_one_instant_keep_the_order_of_rows():
    rows = [{"contact": n % 3, "event": "visit", "occurred_at": START} for n in range(300)]
    stream = EventLog.from_rows(rows).stream("visit")
    assert stream.row.tolist() == [*range(0, 300, 3), *range(1, 300, 3), *range(2, 300, 3)]


def test_an_unknown_kind_has_an_empty_stream():
    log = EventLog.from_rows(EVENTS)
    assert [part.tolist() for part in log.stream("clicked")] == [[0, 0, 0], [], []]


@given(
    st.lists(
        st.tuples(st.integers(0, 4), st.sampled_from(["a", "b", "ć"]), st.integers(0, 3)), min_size=1, max_size=80
    ),
    st.sampled_from([lambda n: n, lambda n: n * 10**14, lambda n: f"contact-{n:03}", lambda n: "x" * 9 * n]),
)
def test_streams_are_what_a_plain_sort_gives(drawn, id_of):
    rows = [
        {"contact": id_of(n + 1), "event": event, "occurred_at": START + timedelta(microseconds=at)}
        for n, event, at in drawn
    ]
    log = EventLog.from_rows(rows)
    for event in "abć":
        stream = log.stream(event)
        for code, contact in enumerate(log.contact_ids.to_pylist()):
            expected = sorted(
                (row["occurred_at"], n)
                for n, row in enumerate(rows)
                if (row["contact"], row["event"]) == (contact, event)
            )
            mine = slice(stream.offsets[code], stream.offsets[code + 1])
            assert stream.row[mine].tolist() == [n for _, n in expected]
            assert stream.at[mine].tolist() == [
                (at - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(0, 0, 1) for at, _ in expected
            ]


def test_a_long_log_in_any_order_is_indexed_like_a_plain_sort():
    rng = np.random.default_rng(5)
    n, n_contacts = 200_000, 20_000
    ids = np.char.add("contact-number-", rng.integers(0, n_contacts, n).astype(str))
    ids[:5000] = ids[0]
    at = rng.integers(0, 10**6, n) + 1_770_000_000_000_000
    kind = rng.choice(["open", "visit"], n)
    table = pa.table({"contact": ids, "event": kind, "occurred_at": pa.array(at).cast(pa.timestamp("us", "UTC"))})
    log = EventLog.read(pa.concat_tables([table.slice(0, n // 3), table.slice(n // 3)]))
    codes = pd.Index(log.contact_ids.to_pylist()).get_indexer(ids)
    for event in ("open", "visit"):
        rows = np.flatnonzero(kind == event)
        rows = rows[np.lexsort((rows, at[rows], codes[rows]))]
        stream = log.stream(event)
        np.testing.assert_array_equal(stream.row, rows)
        np.testing.assert_array_equal(stream.at, at[rows])
        np.testing.assert_array_equal(stream.offsets, np.searchsorted(codes[rows], np.arange(log.n_contacts + 1)))


CONTACTS = [
    {"contact": 7, "plan": "trial", "age": 31, "vip": False, "due": date(2026, 3, 9), "timezone": "Europe/Warsaw"},
    {"contact": 9, "plan": None, "age": None, "vip": None, "due": None, "timezone": None},
]


def _change(contact, day, name, value):
    at = START + timedelta(day)
    return {"contact": contact, "event": "attribute_changed", "occurred_at": at, "name": name, "value": value}


def test_contacts_without_events_are_in_the_log():
    log = EventLog.from_rows(EVENTS, CONTACTS)
    assert log.contact_ids.to_pylist() == [3, 7, 9]
    assert log.attribute("age").base.tolist()[1:2] == [31]
    assert np.isnan(log.attribute("age").base[[0, 2]]).all()


def test_attributes_have_the_value_they_had_as_of_an_instant():
    changes = [
        _change(7, 1, "plan", "paid"),
        _change(7, 3, "plan", None),
        _change(9, 2, "age", "40"),
        _change(9, 2, "vip", "true"),
        _change(3, 2, "due", "2026-04-01"),
        _change(3, 2, "timezone", "Asia/Kolkata"),
        _change(3, 2, "score", "2.5"),
        _change(7, 2, "score", "3"),
        _change(7, 2, "score", "4"),
    ]
    log = EventLog.from_rows(EVENTS + changes, CONTACTS)
    assert log.attribute_names == ["age", "due", "plan", "score", "timezone", "vip"]
    kinds = [log.attribute(name).kind for name in log.attribute_names]
    assert kinds == ["number", "date", "text", "number", "text", "flag"]
    before = log.contacts(START).set_index("contact")
    assert before.loc[7].to_dict() | {"score": None} == {
        "age": 31, "due": date(2026, 3, 9), "plan": "trial", "score": None, "timezone": "Europe/Warsaw", "vip": False
    }  # fmt: skip
    assert before.loc[[3, 9]].isna().all(axis=None)
    after = log.contacts(START + timedelta(2)).set_index("contact")
    assert (after.loc[7, "plan"], after.loc[7, "score"], after.loc[9, "age"]) == ("paid", 4, 40)
    assert (after.loc[3, "due"], after.loc[3, "timezone"]) == (date(2026, 4, 1), "Asia/Kolkata")
    assert bool(after.loc[9, "vip"]) is True
    assert pd.isna(log.contacts().set_index("contact").loc[7, "plan"])


def test_changes_of_an_attribute_are_sorted_by_contact_instant_and_row():
    changes = [
        _change(7, 2, "plan", "b"),
        _change(3, 1, "plan", "c"),
        _change(7, 1, "plan", "a"),
        _change(7, 2, "x", "1"),
    ]
    plan = EventLog.from_rows(EVENTS + changes).attribute("plan")
    assert (plan.offsets.tolist(), plan.at.tolist(), plan.row.tolist()) == ([0, 1, 3], _at(1, 1, 2), [6, 7, 5])
    assert [plan.categories[int(code)] for code in plan.value] == ["c", "a", "b"]


def test_new_values_of_several_types_are_read_as_their_attributes_kind():
    changes = [_change(7, 1, "age", 32), _change(7, 1, "vip", True), _change(7, 1, "plan", "paid")]
    log = EventLog.from_rows(EVENTS + changes, CONTACTS)
    assert log.attribute("age").value.tolist() == [32]
    assert log.attribute("vip").value.tolist() == [1]


def test_csv_contacts_join_events_of_any_type(tmp_path):
    (tmp_path / "contacts.csv").write_text("contact,plan,age\n7,trial,31\n9,,\n")
    for contact in (7, "7"):
        log = EventLog.from_rows([{**EVENTS[0], "contact": contact}])
        with_table = EventLog.read([{**EVENTS[0], "contact": contact}], contacts=tmp_path / "contacts.csv")
        assert with_table.n_contacts == log.n_contacts + 1
        assert with_table.attribute("age").base[0] == 31


def test_partitions_share_out_the_contacts_and_keep_the_span():
    rows = [
        {"contact": n, "event": kind, "occurred_at": START + timedelta(hours=n), "amount": n}
        for n in range(50)
        for kind in ("visit", "purchase")
    ]
    rows += [_change(n, 1, "plan", "paid" if n % 2 else "2026-01-01") for n in range(50)]
    log = EventLog.from_rows(rows, [{"contact": n, "age": n} for n in range(60)])
    parts = [log.partition(k, 3) for k in range(3)]
    assert sorted(one for part in parts for one in part.contact_ids.to_pylist()) == list(range(60))
    assert sum(part.n_events for part in parts) == log.n_events
    for part in parts:
        assert (part.start_us, part.end_us, part.event_names) == (log.start_us, log.end_us, log.event_names)
        ids, stream = part.contact_ids.to_pylist(), part.stream("purchase")
        owner = np.repeat(ids, np.diff(stream.offsets))
        assert part.property("amount").values[stream.row].tolist() == owner.tolist()
        assert part.attribute("age").base.tolist() == ids
        whole, plan = log.attribute("plan"), part.attribute("plan")
        owner = np.repeat(ids, np.diff(plan.offsets))
        assert (plan.kind, plan.categories) == ("text", whole.categories)
        assert [plan.categories[int(code)] for code in plan.value] == ["paid" if n % 2 else "2026-01-01" for n in owner]
    assert (
        parts[0]
        .partition(1, 2)
        .contacts()
        .equals(
            log.contacts()[
                log.contacts()["contact"].isin(parts[0].partition(1, 2).contact_ids.to_pylist())
            ].reset_index(drop=True)
        )
    )


def test_a_truncated_log_knows_nothing_later_but_keeps_contacts_and_start():
    log = EventLog.from_rows([*EVENTS, _change(7, 2, "plan", "paid")], CONTACTS)
    until = START + timedelta(1)
    known = log.truncated(until)
    assert (known.n_events, known.end_at, known.start_us) == (3, until, log.start_us)
    assert known.contact_ids.equals(log.contact_ids)
    assert known.stream("purchase").at.tolist() == _at(1)
    assert known.attribute("plan").value.tolist() == []


def test_a_log_by_received_orders_events_as_they_came_in():
    rows = [
        {"contact": 1, "event": "visit", "occurred_at": START, "received_at": START + timedelta(3)},
        {"contact": 1, "event": "visit", "occurred_at": START + timedelta(1), "received_at": None},
    ]
    log = EventLog.from_rows(rows)
    received = log.by_received()
    assert (received.stream("visit").row.tolist(), received.stream("visit").at.tolist()) == ([1, 0], _at(1, 3))
    assert (log.property_names, received.end_at) == ([], START + timedelta(3))
    assert log.events()["received_at"].tolist() == [pd.Timestamp(START + timedelta(3)), pd.NaT]


def test_a_prepared_log_comes_back_from_disk_as_it_was(tmp_path):
    rows = [*EVENTS, _change(7, 1, "plan", "paid")]
    pq.write_table(pa.table(pd.DataFrame(rows).astype({"paid": "boolean"})), tmp_path / "events.parquet")
    pd.DataFrame(EVENTS).to_csv(tmp_path / "events.csv", index=False)
    pd.DataFrame(CONTACTS).to_csv(tmp_path / "contacts.csv", index=False)
    for name in ("events.parquet", "events.csv"):
        arguments = {"contacts": tmp_path / "contacts.csv", "cache": tmp_path / "cache"}
        first = EventLog.read(tmp_path / name, **arguments)
        first_streams = [first.stream(event) for event in first.event_names]
        entries = {one.name for one in (tmp_path / "cache").iterdir()} if logcache.finish_writing() is None else set()
        second = EventLog.read(tmp_path / name, **arguments)
        for _ in range(2):  # the streams as computed, then as kept
            assert [[part.tolist() for part in second.stream(event)] for event in second.event_names] == [
                [part.tolist() for part in stream] for stream in first_streams
            ]
            second = EventLog.read(tmp_path / name, **arguments)
        assert repr(second) == repr(first)
        pd.testing.assert_frame_equal(second.events(), first.events())
        pd.testing.assert_frame_equal(second.contacts(), first.contacts())
        assert {one.name for one in (tmp_path / "cache").iterdir()} == entries


def test_a_changed_file_is_read_again(tmp_path):
    path, cache = tmp_path / "events.csv", tmp_path / "cache"
    head = "contact,event,occurred_at\n1,visit,2026-03-01T00:00:00Z\n"
    path.write_text(head)
    assert EventLog.read(path, cache=cache).n_events == 1
    path.write_text(head + "2,visit,2026-03-01T00:00:00Z\n")
    assert EventLog.read(path, cache=cache).n_events == 2


def test_what_was_set_aside_is_known_from_disk_too(tmp_path):
    path = tmp_path / "events.parquet"
    pq.write_table(pa.Table.from_pylist([{**EVENTS[0], "contact": None}, *EVENTS]), path)
    for _ in range(2):
        log = EventLog.read(path, rejects="set_aside", cache=tmp_path / "cache")
        assert log.rejects["row"].to_pylist() == [0]
        np.testing.assert_array_equal(log.property("amount").values, [np.nan, np.nan, 12.5, 8, np.nan])


def test_a_cache_that_cannot_be_written_is_no_error(tmp_path):
    (tmp_path / "file").write_text("not a folder")
    pd.DataFrame(EVENTS).to_csv(tmp_path / "events.csv", index=False)
    assert EventLog.read(tmp_path / "events.csv", cache=tmp_path / "file" / "cache").n_events == 5
    logcache.finish_writing()


def test_small_logs_and_cache_false_leave_nothing_on_disk(tmp_path, monkeypatch):
    monkeypatch.setenv("JOURNEYLAB_CACHE", str(tmp_path / "cache"))
    pd.DataFrame(EVENTS).to_csv(tmp_path / "events.csv", index=False)
    EventLog.read(tmp_path / "events.csv")
    EventLog.read(tmp_path / "events.csv", cache=False)
    logcache.finish_writing()
    assert not (tmp_path / "cache").exists()


def test_the_least_recently_used_entries_go_when_there_is_too_much(tmp_path, monkeypatch):
    monkeypatch.setattr(logcache, "_MOST_BYTES", 10_000)
    for n in range(4):
        path = tmp_path / f"{n}.csv"
        pd.DataFrame(EVENTS * 20).to_csv(path, index=False)
        EventLog.read(path, cache=tmp_path / "cache")
        logcache.finish_writing()
    assert 1 <= len(list((tmp_path / "cache").iterdir())) < 4


def test_the_summary_counts_each_kind():
    summary = EventLog.from_rows(EVENTS).summary()
    assert summary.columns.tolist() == ["event", "n_events", "n_contacts", "first_at", "last_at"]
    assert summary.iloc[0].tolist() == [
        "purchase",
        2,
        1,
        pd.Timestamp(START + timedelta(1)),
        pd.Timestamp(START + timedelta(2)),
    ]


def test_events_are_shown_by_contact_instant_and_row():
    events = EventLog.from_rows(EVENTS).events()
    assert events["contact"].tolist() == [3, 3, 7, 7, 7]
    assert events["amount"].tolist()[3:] == [8, 12.5]
    assert events["occurred_at"].dt.tz is not None


def test_the_html_of_a_log_is_a_static_table_with_names_escaped():
    html = EventLog.from_rows([{**EVENTS[0], "event": "<b>"}], CONTACTS)._repr_html_()
    assert "&lt;b&gt;" in html
    assert "<script" not in html
    assert "jl-display" in html
    assert "<td>age</td><td>number</td><td>50%</td>" in html


def test_unit_hashes_follow_the_ids():
    log = EventLog.from_rows(EVENTS)
    from journeylab.keyedhash import unit_hash

    assert log.unit_hashes.tolist() == [unit_hash(3), unit_hash(7)]


def test_progress_is_shown_when_asked_for(capsys):
    EventLog.from_rows(EVENTS, progress=True)
    assert capsys.readouterr().err.endswith("reading the event log: 3 of 3\n")


def test_a_dictionary_may_hold_values_that_no_row_has():
    ids = pa.array(["c", "a", None, "a"]).dictionary_encode()
    at = pa.array([START] * 4)
    table = pa.table({"contact": ids, "event": pa.array(["x", "y", "z", "y"]).dictionary_encode(), "occurred_at": at})
    log = EventLog.read(table.slice(1), rejects="set_aside")
    assert (log.contact_ids.to_pylist(), log.event_names, log.n_events) == (["a"], ["y"], 2)
    assert log.stream("y").row.tolist() == [0, 1]


@pytest.mark.parametrize("ids", [[1017, 1023, 1017, 1031, 1031], [-7, 2**62, 3, -7, 3], [5, 5, 5, 5, 6]])
@pytest.mark.parametrize("missing", [False, True])
def test_whole_numbers_with_gaps_are_interned_each_once(ids, missing):
    from journeylab.interning import intern

    given = [*ids, None] if missing else ids
    codes, values = intern(pa.chunked_array([pa.array(given[:2], pa.int64()), pa.array(given[2:], pa.int64())]))
    assert sorted(values.to_pylist()) == sorted(set(ids))
    assert [values[code].as_py() if code >= 0 else None for code in codes.tolist()] == given


def test_contacts_whose_numbers_have_gaps_are_counted_once():
    log = EventLog.from_rows({"contact": n, "event": "visit", "occurred_at": "2026-03-01T00:00Z"} for n in (17, 23, 17))
    assert log.contact_ids.to_pylist() == [17, 23]
