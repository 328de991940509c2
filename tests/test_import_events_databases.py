"""Exports in databases: PostgreSQL by SQLAlchemy and by ADBC, DuckDB, SQLite; the second time only what is new."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import duckdb
import pandas as pd
import pytest
import sqlalchemy as sa

from journeylab.errors import DataError
from journeylab.importers.events import import_events
from journeylab.importers.events.databases import database_of

EXPORTS = Path(__file__).parent / "exports"
_MAUTIC = {
    "email_stats": "id bigint, email_id int, lead_id bigint, date_sent timestamp, is_read bool, date_read timestamp, "
    "source text",
    "emails": "id int, name text, email_type text",
    "leads": "id bigint, date_identified timestamp, date_modified timestamp, timezone text, plan text",
}
SENT = [
    "(1, 3, 51, '2026-03-01 08:00:00', false, null, 'campaign')",
    "(2, 3, 52, '2026-03-10 08:00:00', false, null, 'campaign')",
]


def fill(execute) -> None:
    for table, columns in _MAUTIC.items():
        execute(f"create table mautic_{table} ({columns})")
    execute("insert into mautic_emails values (3, 'Welcome', 'template')")
    execute("insert into mautic_leads values (51, null, '2026-03-01 08:00:00', 'Europe/Warsaw', 'trial')")
    for row in SENT:
        execute(f"insert into mautic_email_stats values {row}")


def later(execute) -> None:
    """The first is read now, of which only `date_read` tells; and a third is sent."""
    execute("update mautic_email_stats set is_read = true, date_read = '2026-03-11 09:00:00' where id = 1")
    execute("insert into mautic_email_stats values (3, 3, 51, '2026-03-12 08:00:00', false, null, 'campaign')")


@pytest.fixture
def mautic(postgresql: str) -> Iterator[tuple[str, sa.Engine]]:
    """The URL and the engine of a PostgreSQL with some of Mautic's tables."""
    engine = sa.create_engine(postgresql)
    with engine.begin() as connection:
        fill(lambda sql: connection.execute(sa.text(sql)))
    yield postgresql, engine
    engine.dispose()


def _events(log: Path) -> list[tuple[str, str, str, str]]:
    rows = pd.read_parquet(log)
    return [(one.contact, one.event, f"{one.occurred_at:%Y-%m-%d %H:%M}", one.message) for one in rows.itertuples()]


FIRST = [("51", "sent", "2026-03-01 08:00", "Welcome"), ("52", "sent", "2026-03-10 08:00", "Welcome")]
THEN = [*FIRST, ("51", "opened", "2026-03-11 09:00", "Welcome"), ("51", "sent", "2026-03-12 08:00", "Welcome")]


@pytest.mark.parametrize("way", ["sqlalchemy", "adbc"])
def test_postgresql_is_asked_for_new_rows_only(mautic, tmp_path, way):
    url, engine = mautic
    source = url if way == "sqlalchemy" else url.replace("postgresql+psycopg://", "adbc+postgresql://")
    log, contacts = tmp_path / "log.parquet", tmp_path / "contacts.parquet"
    first = import_events("mautic", source, log, contacts=contacts)
    assert (first.n_rows, first.n_new) == (4, 2)
    assert _events(log) == FIRST
    assert first.contacts.to_pylist()[0]["plan"] == "trial"
    with engine.begin() as connection:
        later(lambda sql: connection.execute(sa.text(sql)))
    second = import_events("mautic", source, log, contacts=contacts)
    assert _events(log) == THEN
    # Of email_stats all three rows but none that neither was sent nor read since March 7.
    assert (second.n_new, second.n_repeated) == (2, 2)
    asked = next(said for said in second.asked if said.startswith("email_stats"))
    assert asked == (
        "email_stats: rows of which date_sent or date_read is after 2026-03-07 08:00 UTC, 3 days before the latest "
        "that was read"
    )  # fmt: skip
    before = log.read_bytes()
    third = import_events("mautic", source, log, contacts=contacts)
    assert (third.n_new, log.read_bytes()) == (0, before)


def test_engines_connections_and_queries_will_do(mautic, tmp_path):
    url, engine = mautic
    query = (
        "select lead_id as contact, 'mailed' as event, date_sent at time zone 'UTC' as occurred_at, id, "
        "'10:15 ' || source as note, id::text as number from mautic_email_stats;"
    )
    by_engine = import_events("warehouse", engine, query=query)
    assert by_engine.events["note"].to_pylist() == ["10:15 campaign"] * 2
    with engine.connect() as connection:
        assert import_events("warehouse", connection, query=query).events.equals(by_engine.events)
    import adbc_driver_postgresql.dbapi

    with adbc_driver_postgresql.dbapi.connect(url.replace("+psycopg", "")) as connection:
        assert import_events("warehouse", connection, query=query).events.equals(by_engine.events)
    log = tmp_path / "log.parquet"
    import_events("warehouse", engine, log, query=query)
    again = import_events("warehouse", engine, log, query=query)
    assert (again.n_rows, again.n_new) == (1, 0)  # the other is older than the overlap
    one = import_events("mautic", f"emails={url}")
    assert (one.n_rows, len(one.events)) == (1, 0)


def test_each_query_and_each_database_is_read_up_to_a_point_of_its_own(mautic, tmp_path):
    log = tmp_path / "log.parquet"
    import_events("mautic", EXPORTS / "mautic", log)  # files say nothing of what a database was asked for
    got = import_events("mautic", f"email_stats={mautic[0]}", log, name="other")
    assert got.n_rows == 2
    for event, n in (("late", 1), ("early", 1), ("late", 1)):
        sign = ">" if event == "late" else "<"
        query = (
            f"select lead_id as contact, '{event}' as event, date_sent at time zone 'UTC' as occurred_at, id "
            f"from mautic_email_stats where date_sent {sign} '2026-03-05'"
        )
        assert import_events("warehouse", mautic[1], log, query=query).n_rows == n


def test_rows_of_databases_are_numbered_over_their_batches(mautic):
    query = "select lead_id as contact, 'x' as event, 'soon' as occurred_at, id from mautic_email_stats order by id"
    with pytest.raises(DataError) as raised:
        import_events("warehouse", mautic[1], query=query)
    assert "row 0, column occurred_at: 'soon' is no time in ISO 8601" in str(raised.value)
    assert raised.value.rejects["row"].to_pylist() == [0, 1]


def test_duckdb_is_asked_for_new_rows_only(tmp_path):
    file, log = tmp_path / "mautic.duckdb", tmp_path / "log.parquet"
    with duckdb.connect(str(file)) as connection:
        fill(connection.execute)
    assert import_events("mautic", f"duckdb:///{file}", log).n_rows == 4
    assert _events(log) == FIRST
    with duckdb.connect(str(file)) as connection:
        later(connection.execute)
    second = import_events("mautic", f"duckdb:///{file}", log)
    assert _events(log) == THEN
    assert any(said.startswith("email_stats: rows of which date_sent or date_read is after") for said in second.asked)
    with duckdb.connect() as connection:
        connection.execute(
            "create table t as select 'ada' contact, 'buy' event, timestamptz '2026-03-01 09:00+01' occurred_at, 1 id"
        )
        got = import_events("warehouse", connection, query="select *, [1, 2] as goods from t")
        assert got.events["goods"].to_pylist() == ["[1,2]"]


@pytest.mark.parametrize("way", ["sqlite:///", "adbc+sqlite:///"])
def test_where_instants_are_texts_all_rows_are_asked_for(tmp_path, way):
    file, log = tmp_path / "mautic.db", tmp_path / "log.parquet"
    engine = sa.create_engine(f"sqlite:///{file}")
    with engine.begin() as connection:
        fill(lambda sql: connection.execute(sa.text(sql)))
    assert import_events("mautic", f"{way}{file}", log).n_new == 2
    with engine.begin() as connection:
        later(lambda sql: connection.execute(sa.text(sql)))
    second = import_events("mautic", f"{way}{file}", log)
    engine.dispose()
    assert _events(log) == THEN
    assert "email_stats: all rows, as date_sent is kept as a text there" in second.asked


def test_epochs_of_databases_are_compared_as_numbers(tmp_path):
    log = tmp_path / "log.parquet"
    with duckdb.connect() as connection:
        connection.execute(
            "create table currents as select 'b-1' id, 'users.messages.email.Send' event_type, "
            "1772355600::bigint as time, 'c-1' external_user_id, 'News' campaign_name"
        )
        import_events("braze", connection, log)
        connection.execute(
            "insert into currents values ('b-2', 'users.messages.email.Open', 1773355600, 'c-1', 'News'),"
            "('b-0', 'users.messages.email.Send', 1770000000, 'c-1', 'News')"
        )
        got = import_events("braze", connection, log)
    assert got.n_rows == 2  # b-1 again, which is within the overlap, and b-2; b-0 came too late
    assert got.events["event"].to_pylist() == ["sent", "opened"]


@pytest.mark.parametrize(
    ("url", "said"),
    [
        (
            "snowflake://u:secret@account/db",
            "needs the package snowflake-sqlalchemy, which is not installed: pip install",
        ),
        ("databricks://token:secret@host", "needs the package databricks-sqlalchemy"),
        ("adbc+snowflake://u:secret@account/db", "needs the package adbc-driver-snowflake"),
        ("adbc+bigquery://project/dataset", "needs the package adbc-driver-bigquery"),
        ("adbc+oracle://u:secret@host", "adbc+oracle:// is not known"),
        ("postgre://u:secret@host/db", "did you mean 'postgresql'"),
        ("postgresql+psycopg://u:secret@127.0.0.1:1/db", "cannot be reached"),
        ("adbc+postgresql://u:secret@127.0.0.1:1/db", "cannot be opened"),
        ("duckdb:///nothing/there.duckdb", "cannot be opened"),
    ],
)
def test_databases_that_cannot_be_read_say_what_to_do_and_no_secret(url, said):
    with pytest.raises(DataError) as raised:
        import_events("mautic", url)
    assert said in str(raised.value)
    assert "secret" not in str(raised.value)


def test_a_database_without_such_tables_says_what_is_there(tmp_path):
    file = tmp_path / "shop.duckdb"
    with duckdb.connect(str(file)) as connection:
        connection.execute("create table orders as select 1 as id")
    with pytest.raises(
        DataError, match=r"has no table .*email_stats.* of Mautic; there are orders. Say which rows with query="
    ):
        import_events("mautic", f"duckdb:///{file}")
    with pytest.raises(DataError, match="the query failed"):
        import_events("mautic", f"duckdb:///{file}", query="select nothing")
    with pytest.raises(DataError, match="column 'occurred_at' has bytes"):
        import_events(
            "warehouse", f"duckdb:///{file}", query="select 'a' contact, 'b' event, 'x'::blob occurred_at, 1 id"
        )


def test_what_is_no_database_is_left_to_others(tmp_path):
    assert database_of("events.csv") is None
    assert database_of(tmp_path) is None
    assert database_of("https://shop.example/events.csv") is None
