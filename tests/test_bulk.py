"""Statements for many rows do what SQLAlchemy does with each, on both databases."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from sqlalchemy import Boolean, Column, Integer, LargeBinary, MetaData, Table, Text, delete, select, update
from sqlalchemy.exc import IntegrityError

from journeylab.sender.store import Store, insert_missing
from journeylab.sender.store.bulk import Bulk
from journeylab.sender.store.lookup import Lookup
from journeylab.sender.store.tables import Instant

ODD = Table(
    "odd", MetaData(),
    Column("name", Text, primary_key=True), Column("number", Integer), Column("at", Instant), Column("flag", Boolean),
    Column("data", LargeBinary),
)  # fmt: skip
NAMES = tuple(column.name for column in ODD.c)
AT = datetime(2026, 3, 29, 1, 30, 0, 1, tzinfo=UTC)
WARSAW = timezone(timedelta(hours=2))
ROWS: list[tuple[Any, ...]] = [
    ("", None, None, None, None),
    ('it\'s "quoted" ?, :x %s $[0]', 0, AT, True, b""),
    ("zażółć 🙂\n\t\\u0000", -(2**31), AT.astimezone(WARSAW), False, bytes(range(256))),
    *((f"n{i}", i, AT + timedelta(microseconds=i), i % 2 == 0, b"x" * i) for i in range(500)),
]
INSERTING = Bulk(lambda given: given.into(ODD, *NAMES), *NAMES)
FINDING = Lookup(lambda among: select(ODD).where(among(ODD.c.name)).order_by(ODD.c.name))
WITHOUT_DATA = Lookup(lambda among: select(*[c for c in ODD.c if c.name != "data"]).where(among(ODD.c.name)))


@pytest.fixture
def odd(store: Store) -> Iterator[Store]:
    with store.writing() as connection:
        ODD.create(connection)
        assert INSERTING.run(connection, ROWS) == len(ROWS)
    yield store
    with store.writing() as connection:
        ODD.drop(connection)


def plain(store: Store) -> dict[str, tuple[Any, ...]]:
    with store.reading() as connection:
        return {row.name: tuple(row) for row in connection.execute(select(ODD))}


def test_rows_are_written_as_they_are_and_found_again(odd: Store) -> None:
    assert plain(odd) == {row[0]: row for row in ROWS}
    names = [row[0] for row in ROWS]
    with odd.reading() as connection:
        assert {row.name: tuple(row) for row in FINDING.rows(connection, names)} == plain(odd)
        assert {tuple(row) for row in WITHOUT_DATA.rows(connection, names)} == {row[:4] for row in plain(odd).values()}
        assert FINDING.rows(connection, []) == FINDING.rows(connection, ["nobody"]) == []


def test_each_row_is_changed_by_its_own_values(odd: Store) -> None:
    changing = Bulk(
        lambda given: (
            update(ODD)
            .where(ODD.c.name == given("of"), ODD.c.number == given("was"))
            .values(number=given("number"), at=given("at"), flag=given("flag"))
        ),
        *("of", "was", "number", "at", "flag"),
    )
    rows = [(row[0], row[1], -1, AT - timedelta(days=i), None) for i, row in enumerate(ROWS)]
    with odd.writing() as connection:
        assert (
            changing.run(connection, [*rows, ("nobody", 1, 1, None, None), ("n7", 8, 1, None, None)]) == len(ROWS) - 1
        )
        assert changing.run(connection, []) == 0
    expected = {row[0]: (row[0], -1, AT - timedelta(days=i), None, row[4]) for i, row in enumerate(ROWS) if i}
    assert plain(odd) == expected | {"": ROWS[0]}  # nothing equals NULL


def test_rows_are_deleted_and_kept(odd: Store) -> None:
    deleting = Bulk(
        lambda given: delete(ODD).where(ODD.c.name == given("of"), ODD.c.flag == given("flag")), "of", "flag"
    )
    keeping = Bulk(lambda given: given.into(ODD, *NAMES).on_conflict_do_nothing(), *NAMES)
    with odd.writing() as connection:
        assert deleting.run(connection, [("n1", False), ("n2", False)]) == 1
        assert keeping.run(connection, [("n1", 9, None, None, None), ("n2", 9, None, None, None)]) == 1
    assert [plain(odd)[name][1] for name in ("n1", "n2")] == [9, 2]


def test_a_refusal_is_sqlalchemys_and_names_no_value(odd: Store) -> None:
    with pytest.raises(IntegrityError) as refused, odd.writing() as connection:
        INSERTING.run(connection, [("new", 77123, None, None, None), ("n1", 77123, None, None, None)])
    assert "77123" not in str(refused.value).replace(str(refused.value.orig), "")
    assert "new" not in plain(odd)
    with pytest.raises(ValueError, match="has no time zone"), odd.writing() as connection:
        INSERTING.run(connection, [("later", 1, datetime(2026, 3, 1), None, None)])  # noqa: DTZ001


def test_an_instant_without_a_zone_is_a_fault_on_either_database() -> None:
    with pytest.raises(ValueError, match="has no time zone"):
        Instant().process_bind_param(datetime(2026, 3, 1), None)  # type: ignore[arg-type]  # noqa: DTZ001


def test_rows_whose_key_is_there_stay_and_no_rows_are_nothing(odd: Store) -> None:
    before = plain(odd)
    with odd.writing() as connection:
        insert_missing(connection, ODD, [], ["name"])
    assert plain(odd) == before
    with odd.writing() as connection:
        insert_missing(connection, ODD, [{"name": "n1", "number": -1}, {"name": "new", "number": 1}], ["name"])
    assert plain(odd) == before | {"new": ("new", 1, None, None, None)}
