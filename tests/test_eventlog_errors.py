"""Bad input is one clear error that says where, what and what to do, or is set aside on request; never a traceback."""

import gzip
import re
import time
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import duckdb
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from journeylab.errors import DataError
from journeylab.eventlog import EventLog

START = datetime(2026, 3, 1, tzinfo=UTC)
GOOD = {"contact": 1, "event": "visit", "occurred_at": START}


def _message(*arguments, **options) -> str:
    with pytest.raises(DataError) as caught:
        EventLog.read(*arguments, **options)
    return str(caught.value)


def _csv(folder, *lines, head="contact,event,occurred_at,amount") -> Path:
    path = folder / "events.csv"
    path.write_text("\n".join([head, *lines]) + "\n")
    return path


def test_a_missing_file_names_its_neighbours(tmp_path):
    (tmp_path / "events.parquet").touch()
    message = _message(tmp_path / "event.parquet")
    assert "there is no file" in message
    assert "did you mean 'events.parquet'?" in message
    assert "The folder does not exist either." in _message(tmp_path / "nowhere" / "x.csv")


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("events.parquet", b"contact,event\n1,visit\n", "cannot be read as Parquet: "),
        ("events.feather", b"contact,event\n1,visit\n", "cannot be read as Arrow: "),
        ("events.csv", b"", "is empty; the first line names the columns"),
        ("events.csv", b"contact,event\n1,caf\xe9\n", "cannot be read as CSV: .*UTF-?8"),
        ("events.csv.gz", b"contact,event\n1,visit\n", "cannot be read as CSV: "),
        ("events.csv", b"contact,event,event\n1,a,b\n", "two columns are named 'event'; rename one"),
        ("events.jsonl", b"  \n", "is empty; one JSON object is expected on each line"),
        ("events.jsonl.gz", gzip.compress(b"{}", mtime=0)[:-9], "cannot be read as JSON Lines: "),
        ("events.xlsx", b"", r"the ending does not say what is in it; known are \.parquet, .*\.csv"),
    ],
)
def test_a_file_that_is_not_what_it_says_is_named(tmp_path, name, content, expected):
    (tmp_path / name).write_bytes(content)
    assert re.search(f"{name}.*{expected}", _message(tmp_path / name))


def test_missing_columns_are_named_all_at_once_with_the_likeliest_ones():
    frame = pd.DataFrame({"customer_id": [1], "kind": ["visit"], "timestamp": [START]})
    message = _message(frame)
    assert 'there is no column \'contact\'; map it with columns={"customer_id": "contact"}' in message
    assert "there is no column 'event'" in message
    assert 'or name the one kind of event with event="purchase"' in message
    assert 'columns={"timestamp": "occurred_at"}' in message
    assert "Known columns: customer_id, kind, timestamp." in message


def test_a_mapping_of_an_unknown_column_names_the_nearest():
    frame = pd.DataFrame([GOOD])
    message = _message(frame.rename(columns={"contact": "customer"}), columns={"custmer": "contact"})
    assert "the events DataFrame: columns= names 'custmer', which is not there; did you mean 'customer'?" in message


def test_a_mapping_that_only_the_contacts_have_leaves_the_column_missing_in_the_events():
    frame = pd.DataFrame([GOOD]).rename(columns={"contact": "customer"})
    message = _message(frame, contacts=pd.DataFrame({"id": [1]}), columns={"id": "contact"})
    assert "the events DataFrame: there is no column 'contact'; map it" in message


def test_a_mapping_of_a_column_that_nobody_has_is_refused_even_when_nothing_is_missing():
    assert "columns= names 'customer_id', which is not there" in _message([GOOD], columns={"customer_id": "contact"})


def test_a_mapping_that_makes_two_columns_one_is_refused():
    message = _message([{**GOOD, "customer": 5}], columns={"customer": "contact"})
    assert "two columns would be named contact" in message


def test_an_event_argument_beside_an_event_column_is_refused():
    assert "there is a column 'event' already; leave out event='purchase'" in _message([GOOD], event="purchase")


@pytest.mark.parametrize(
    ("column", "value", "expected"),
    [
        ("contact", 1.5, "column 'contact' is of type double; contacts are whole numbers or texts"),
        ("contact", True, "column 'contact' is of type bool"),
        ("event", 3, "column 'event' is of type int64; events are named by texts"),
        ("occurred_at", True, "column 'occurred_at' is of type bool, not times"),
        ("occurred_at", 1767225600000, "holds numbers such as 1767225600000, which do not say what they count"),
        ("occurred_at", 1767225600.5, r"pandas.to_datetime(..., unit=\"ms\", utc=True)".replace("\\", "")),
        ("occurred_at", "1767225600", "holds numbers such as 1767225600"),
        (
            "occurred_at",
            START.replace(tzinfo=None),
            'times without a time zone; say which zone they are in with timezone="UTC"',
        ),
        ("occurred_at", "2026-03-01 10:00", "column 'occurred_at' has times without a time zone"),
        ("occurred_at", "2026-03-01", "a date without a time is its midnight there"),
        ("occurred_at", date(2026, 3, 1), "column 'occurred_at' has times without a time zone"),
        ("received_at", "2026-03-01 10:00", "column 'received_at' has times without a time zone"),
    ],
)
@pytest.mark.parametrize("rejects", ["error", "set_aside"])
def test_a_column_of_the_wrong_type_is_an_error_in_any_case(column, value, expected, rejects):
    assert expected in _message([{**GOOD, column: value}], rejects=rejects)


def test_fractions_for_contacts_hint_at_missing_ones_in_pandas():
    frame = pd.DataFrame([{**GOOD, "contact": 1}, {**GOOD, "contact": None}])
    assert "where some are missing, pandas makes fractions of whole numbers" in _message(frame)


def test_an_unknown_zone_names_the_nearest():
    message = _message([GOOD], timezone="Europe/Warsav")
    assert "timezone='Europe/Warsav' is no time zone; did you mean 'Europe/Warsaw'?" in message


def test_an_empty_log_is_refused():
    assert "there are no events" in _message(pd.DataFrame([GOOD]).iloc[:0])
    assert "there is no column 'contact'" in _message([])


BAD = [
    ({"contact": None}, "contact: is missing"),
    ({"event": None}, "event: is missing"),
    ({"occurred_at": None}, "occurred_at: is missing"),
    (
        {"occurred_at": datetime(9999, 12, 31, tzinfo=UTC)},
        "occurred_at: '9999-12-31 .*Z' lies outside of the years 1900 to 2199",
    ),
    ({"received_at": datetime(1, 1, 1, tzinfo=UTC)}, "received_at: .* lies outside of the years"),
    ({"amount": "12,50"}, "amount: '12,50' is a text, most of the column is a number"),
]


@pytest.mark.parametrize(("wrong", "expected"), BAD)
def test_a_bad_row_is_named_by_row_column_and_value(wrong, expected):
    good = {"received_at": START, "amount": 3.5, **GOOD}
    rows = [good, {**good, **wrong}, good]
    with pytest.raises(DataError, match=f"the events: 1 of 3 rows is bad:\n  row 1, column {expected}") as caught:
        EventLog.from_rows(rows)
    assert 'set bad rows aside with rejects="set_aside"' in str(caught.value)
    assert caught.value.rejects["row"].to_pylist() == [1]
    log = EventLog.from_rows(rows, rejects="set_aside")
    assert log.rejects.drop_columns(["value", "reason"]).to_pylist() == [
        {"source": "the events", "row": 1, "column": next(iter(wrong))}
    ]
    assert log.n_events == 2
    assert log.property("amount").values.tolist() == [3.5, 3.5]
    assert "1 row set aside" in repr(log)


@pytest.mark.parametrize(
    "text",
    [
        "soon",
        "2026-02-30T00:00:00Z",
        "2026-13-01T00:00:00Z",
        "2026-03-01T25:00:00Z",
        "03/01/2026",
        "99999-01-01T00:00Z",
    ],
)
def test_texts_that_are_no_times_are_bad_rows(text):
    rows = [{**GOOD, "occurred_at": one} for one in ("2026-02-28T00:00:00Z", text, "2026-03-31T00:00:00Z")]
    with pytest.raises(DataError, match=f"row 1, column occurred_at: {text!r} is no time in ISO 8601"):
        EventLog.from_rows(rows)
    assert EventLog.from_rows(rows, rejects="set_aside").n_events == 2


def test_a_contact_whose_only_row_is_bad_is_not_in_the_log():
    log = EventLog.from_rows([GOOD, {"contact": 2, "event": "late", "occurred_at": None}], rejects="set_aside")
    assert (log.contact_ids.to_pylist(), log.event_names) == ([1], ["visit"])


def test_a_log_of_bad_rows_only_is_an_error_even_when_they_may_be_set_aside():
    assert "there are no events left, all rows are bad" in _message([{**GOOD, "event": None}], rejects="set_aside")


def test_csv_values_of_another_type_than_most_are_named_by_line(tmp_path):
    lines = ["1,visit,2026-03-01T00:00Z,3", '2,visit,2026-03-01T00:00Z,"12,50"', "3,visit,2026-03-01T00:00Z,", ""]
    lines += ["4,visit,2026-03-01T00:00Z,n/a", "5,visit,2026-03-01T00:00Z,4.5", "6,visit,2026-03-01T00:00Z,-1e3"]
    path = _csv(tmp_path, *lines)
    message = _message(path)
    assert "events.csv: 2 of 6 lines are bad:" in message
    assert "line 3, column amount: '12,50' is no number" in message
    assert "line 6, column amount: 'n/a' is no number" in message
    log = EventLog.read(path, rejects="set_aside")
    assert log.contact_ids.to_pylist() == [1, 3, 5, 6]
    np.testing.assert_array_equal(log.property("amount").values, [3, np.nan, 4.5, -1000])


def test_csv_lines_with_too_many_or_too_few_values_are_named(tmp_path):
    path = _csv(
        tmp_path,
        "1,visit,2026-03-01T00:00Z,3",
        "2,visit",
        "3,visit,2026-03-01T00:00Z,3,4",
        "4,visit,2026-03-01T00:00Z,x",
    )
    path.write_text(path.read_text() + "5,visit,2026-03-01T00:00Z,3\n")
    message = _message(path)
    assert "line 3, column (line): '2,visit' has 2 values, the header names 4" in message
    assert "line 4, column (line): '3,visit,2026-03-01T00:00Z,3,4' has 5 values" in message
    assert "line 5, column amount: 'x' is no number" in message
    assert EventLog.read(path, rejects="set_aside").contact_ids.to_pylist() == [1, 5]


def test_csv_dates_and_flags_of_another_form_are_named(tmp_path):
    lines = ["1,a,2026-03-01T00:00Z,true,2026-03-01", "1,a,2026-03-01T00:00Z,yes,01.03.2026"]
    lines += ["1,a,2026-03-01T00:00Z,FALSE,2026-02-28", "1,a,2026-03-01T00:00Z,true,2026-02-29"]
    message = _message(_csv(tmp_path, *lines, head="contact,event,occurred_at,paid,due"))
    assert "line 3, column paid: 'yes' is neither true nor false" in message
    assert "line 3, column due: '01.03.2026' is no date" in message
    assert "line 5, column due: '2026-02-29' is no date" in message


def test_json_lines_of_mixed_types_and_broken_lines_are_named(tmp_path):
    path = tmp_path / "events.jsonl"
    rest = '"contact": 1, "event": "visit", "occurred_at": "2026-03-01T00:00:00Z"}'
    lines = ['{"amount": 3, ' + rest, '{"amount": "n/a", ' + rest, "not json", "", "[1, 2]"]
    path.write_text("\n".join([*lines, '{"amount": 4, ' + rest, '{"event": "x", ' + rest]))
    message = _message(path)
    assert "line 2, column amount: 'n/a' is a text, most of the column is a number" in message
    assert "line 3, column (line): 'not json' is no JSON object" in message
    assert "line 5, column (line): '[1, 2]' is no JSON object" in message
    assert "line 7, column (line)" in message
    assert EventLog.read(path, rejects="set_aside").property("amount").values.tolist() == [3, 4]


def test_mixed_types_in_a_data_frame_are_named():
    frame = pd.DataFrame([{**GOOD, "amount": amount} for amount in (1, "2", 3.5)])
    assert "row 1, column amount: '2' is a text, most of the column is a number" in _message(frame)


def test_naive_times_among_aware_ones_are_named():
    rows = [GOOD, GOOD, {**GOOD, "occurred_at": START.replace(tzinfo=None)}]
    assert "is a time without a time zone, most of the column is a time with a time zone" in _message(rows)


@pytest.mark.long
def test_a_million_bad_rows_are_counted_and_the_first_shown(tmp_path):
    n = 1_000_000
    n_rows = n + 100_000
    at = pa.array(np.full(n_rows, 1_770_000_000_000_000)).cast(pa.timestamp("us", "UTC"))
    event = pa.array(["visit"] * 100_000 + [None] * n)
    pq.write_table(
        pa.table({"contact": np.arange(n_rows), "event": event, "occurred_at": at}), tmp_path / "events.parquet"
    )
    begun = time.perf_counter()
    message = _message(tmp_path / "events.parquet", cache=False)
    log = EventLog.read(tmp_path / "events.parquet", rejects="set_aside", cache=False)
    assert time.perf_counter() - begun < 20
    assert "1,000,000 of 1,100,000 rows are bad:" in message
    assert "row 100000, column event: is missing" in message
    assert "and 999,995 more" in message
    assert len(message) < 1000
    assert (log.n_events, len(log.rejects)) == (100_000, n)
    assert "1,000,000 rows set aside" in repr(log)


def test_long_values_are_shown_short():
    with pytest.raises(DataError) as caught:
        EventLog.from_rows([{**GOOD, "occurred_at": one} for one in ("2026-03-01T00:00Z", "x" * 10_000)])
    assert len(str(caught.value)) < 500


CONTACT = {"contact": 1, "plan": "trial", "age": 31, "timezone": "Europe/Warsaw"}


def test_a_contact_that_appears_twice_is_named_with_both_rows():
    contacts = [CONTACT, {**CONTACT, "contact": 2}, {**CONTACT, "plan": "paid"}]
    message = _message([GOOD], contacts=contacts)
    assert "the contacts: 1 of 3 rows is bad:\n  row 2, column contact: '1' is also on row 0" in message
    log = EventLog.read([GOOD], contacts=contacts, rejects="set_aside")
    assert log.attribute("plan").categories == ["trial"]
    assert log.rejects["source"].to_pylist() == ["the contacts"]


def test_unknown_zones_of_contacts_are_named_all_at_once_with_the_nearest():
    zones = ["Europe/Warsav", "Europe/Warsaw", None, "Asia/Kalkutta"]
    contacts = [{**CONTACT, "contact": n, "timezone": zone} for n, zone in enumerate(zones)]
    message = _message([GOOD], contacts=contacts)
    assert "row 0, column timezone: 'Europe/Warsav' is no time zone; did you mean 'Europe/Warsaw'?" in message
    assert "row 3, column timezone: 'Asia/Kalkutta' is no time zone; did you mean 'Asia/Calcutta'?" in message
    log = EventLog.read([GOOD], contacts=contacts, rejects="set_aside")
    assert log.attribute("timezone").categories == ["Europe/Warsaw"]


def test_faults_of_events_and_contacts_come_in_one_error():
    message = _message([GOOD, {**GOOD, "event": None}], contacts=[CONTACT, CONTACT])
    assert "the events: 1 of 2 rows is bad" in message
    assert "the contacts: 1 of 2 rows is bad" in message


def test_contacts_without_a_contact_column_are_refused():
    message = _message([GOOD], contacts=pd.DataFrame({"user_id": [1]}))
    assert (
        'the contacts DataFrame: there is no column \'contact\'; map it with columns={"user_id": "contact"}' in message
    )


def test_ids_of_two_types_are_refused():
    message = _message([GOOD], contacts=[{**CONTACT, "contact": "1"}])
    assert "contacts are whole numbers in the events, but texts in the contacts table" in message


def _changed(name, value):
    return {**GOOD, "event": "attribute_changed", "name": name, "value": value}


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("age", "old", "column value: 'old' is no number"),
        ("timezone", "Mars", "column value: 'Mars' is no time zone"),
        (None, "x", "column name: is missing"),
    ],
)
def test_a_new_value_that_does_not_fit_its_attribute_is_a_bad_row(name, value, expected):
    rows = [GOOD, _changed("age", "32"), _changed(name, value)]
    assert f"row 2, {expected}" in _message(rows, contacts=[CONTACT])
    log = EventLog.read(rows, contacts=[CONTACT], rejects="set_aside")
    assert log.attribute("age").value.tolist() == [32]


def test_changes_of_attributes_need_a_name_and_a_value():
    message = _message([{**GOOD, "event": "attribute_changed", "nam": "plan"}])
    assert "attribute_changed events need the columns 'name' and 'value'" in message
    assert "did you mean 'nam'?" in message


def test_unknown_properties_and_attributes_name_what_exists():
    log = EventLog.from_rows([{**GOOD, "amount": 1}], [CONTACT])
    with pytest.raises(DataError, match=r"events have no property 'amont'; did you mean 'amount'"):
        log.property("amont")
    with pytest.raises(DataError, match=r"contacts have no attribute 'pla'; did you mean 'plan'.*age, plan, timezone"):
        log.attribute("pla")


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (2**60, "whole numbers beyond 2\\*\\*53, .*make texts of them"),
        ([1, 2], "is of type list.*; a property is a number, flag, text, date or time"),
        ({"a": 1}, "is of type struct"),
        (START.replace(tzinfo=None), "times without a time zone"),
    ],
)
def test_a_property_that_cannot_be_one_is_an_error_only_when_it_is_used(value, expected):
    log = EventLog.from_rows([{**GOOD, "x": value}])
    with pytest.raises(DataError, match=f"the events: column 'x'.*{expected}"):
        log.property("x")


def test_a_log_without_received_at_cannot_go_by_it():
    with pytest.raises(DataError, match="there is no column 'received_at'"):
        EventLog.from_rows([GOOD]).by_received()


def test_naive_instants_are_refused():
    with pytest.raises(ValueError, match="has no time zone"):
        EventLog.from_rows([GOOD]).truncated(datetime(2026, 3, 1))  # noqa: DTZ001


def test_databases_need_a_query_that_works(tmp_path):
    assert 'say which rows with query="SELECT ..."' in _message(duckdb.connect())
    assert 'say which rows with query="SELECT ..."' in _message("sqlite:///x.db")
    assert "a query needs a database" in _message([GOOD], query="select 1")
    assert "the query for events failed: " in _message(duckdb.connect(), query="select * from nothing")
    assert "the query for events failed: " in _message(f"sqlite:///{tmp_path / 'x.db'}", query="select * from nothing")
    assert "two columns are named 'a'" in _message("sqlite://", query="select 1 as a, 2 as a")


def test_something_else_than_a_table_is_refused_with_what_is_taken():
    message = _message(42)
    assert "the events are a int, which cannot be read; give a path or URL of a Parquet, CSV" in message


def test_an_unknown_way_with_rejects_is_refused():
    assert 'rejects=\'drop\' is not known; it is "error" or "set_aside"' in _message([GOOD], rejects="drop")


def test_a_file_that_changed_since_it_was_read_is_not_mixed_with_the_new_one(tmp_path):
    path = tmp_path / "events.parquet"
    pq.write_table(pa.Table.from_pylist([{**GOOD, "amount": 1}]), path)
    log = EventLog.read(path)
    rows = [{**GOOD, "amount": n, "occurred_at": START + timedelta(n)} for n in range(3)]
    pq.write_table(pa.Table.from_pylist(rows), path)
    with pytest.raises(DataError, match=r"events\.parquet has changed since it was read; read it again"):
        log.property("amount")


@pytest.mark.parametrize("unit", ["s", "ms", "us", "ns"])
@pytest.mark.parametrize("count", [2**63 - 1, -(2**62)])
def test_times_are_out_of_range_whatever_their_size(unit, count):
    at = pa.array([1_770_000_000, count], pa.int64()).cast(pa.timestamp(unit, "UTC"))
    table = pa.table({"contact": [1, 1], "event": ["a", "a"], "occurred_at": at})
    with pytest.raises(DataError, match=r"row 1, column occurred_at: .* lies outside of the years 1900 to 2199"):
        EventLog.read(table)
    assert EventLog.read(table, rejects="set_aside").n_events == 1
