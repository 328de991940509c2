"""Results give their tables by name as pandas frames, as Arrow tables and as polars frames, with the same values."""

import sys
from typing import Any

import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

import journeylab as jl
import publicobjects
from journeylab.resulttables import Tables, arrow_of

WITH_TABLES = [name for name in publicobjects.EXAMPLES if name not in ("ResultTables", "Shop", "ShopRun")]


def all_kinds(kind: type) -> set[type]:
    return {kind} | {sub for one in kind.__subclasses__() for sub in all_kinds(one)}


@pytest.mark.long
@pytest.mark.parametrize("name", WITH_TABLES)
def test_every_table_has_its_values_in_arrow_and_polars(name):
    result = publicobjects.EXAMPLES[name]()
    if not isinstance(result, Tables):
        return
    assert len(result.tables) > 0
    for table, frame in result.tables.items():
        assert isinstance(frame, pd.DataFrame)
        assert isinstance(frame.columns, pd.Index)
        arrow, polars = result.to_arrow(table), result.to_polars(table)
        assert isinstance(arrow, pa.Table)
        assert arrow.schema.metadata is None
        assert len(arrow) == len(frame) == len(polars)
        assert arrow.column_names == polars.columns
        assert [column for column in arrow.column_names if column in frame] == [str(one) for one in frame]
        assert not any(column.startswith("__index") for column in arrow.column_names)
        for field in arrow.schema:
            if pa.types.is_timestamp(field.type):
                assert field.type.unit == "us"
            if pa.types.is_duration(field.type):
                assert field.type == pa.duration("us")
            if field.name.endswith("_at"):
                assert field.type == pa.timestamp("us", "UTC"), (table, field)
            assert field.name not in frame or polars[field.name].null_count() == frame[field.name].isna().sum()
            assert not isinstance(polars[field.name].dtype, pl.Object)


def test_every_result_with_tables_has_an_example():
    shown = {type(make()) for name, make in publicobjects.EXAMPLES.items() if name in WITH_TABLES}
    # Explorers are widgets over results; tests/test_explorers.py has their tables.
    kinds = {
        kind
        for kind in all_kinds(Tables) - {Tables}
        if kind.__module__.startswith("journeylab.") and not kind.__module__.startswith("journeylab.explorers.")
    }
    assert {kind.__qualname__ for kind in kinds} == {one.__qualname__ for one in shown if issubclass(one, Tables)}


def test_visits_keep_their_types_by_way_of_arrow():
    visits = publicobjects.replayed().to_arrow("visits")
    assert visits.schema.field("arrived_at").type == pa.timestamp("us", "UTC")
    assert pa.types.is_dictionary(visits.schema.field("node").type)
    polars = publicobjects.replayed().to_polars("visits")
    assert polars["arrived_at"].dtype == pl.Datetime("us", "UTC")
    back = polars.to_pandas()
    assert back["node"].astype(str).tolist() == publicobjects.replayed().visits["node"].astype(str).tolist()


def test_a_duration_is_a_duration():
    [after] = [name for name in publicobjects.sends().to_arrow().column_names if name.endswith("_after")]
    assert publicobjects.sends().to_arrow().schema.field(after).type == pa.duration("us")


def test_tables_are_looked_up_by_name_and_an_unknown_one_names_the_nearest():
    tables = publicobjects.replayed().tables
    assert list(tables)[:3] == ["branches", "nodes", "exits"]
    assert "visits" in tables
    assert "visit" not in tables
    assert tables.get("visit") is None
    assert tables._ipython_key_completions_() == list(tables)
    with pytest.raises(jl.DataError, match="no table 'visit' in a Replay; did you mean 'visits'"):
        publicobjects.replayed().to_arrow("visit")
    with pytest.raises(KeyError):
        tables["visit"]
    with pytest.raises(jl.DataError, match="a Replay has several tables; name one of them: branches, nodes"):
        publicobjects.replayed().to_polars()


def test_the_only_table_needs_no_name():
    assert publicobjects.frequency().to_arrow().column_names == list(publicobjects.frequency().curve)


def test_what_is_not_there_is_no_table():
    assert "sensitivity" not in publicobjects.EXAMPLES["PolicyValue"]().tables
    assert "sensitivity" in publicobjects.EXAMPLES["PolicyValue estimated"]().tables


def test_without_polars_it_is_said_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "polars", None)
    with pytest.raises(jl.JourneyLabError, match=r'pip install "journeylab\[polars\]"'):
        publicobjects.frequency().to_polars()


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        (pd.Series(["a", None], dtype="str"), pa.string()),
        (pd.Series(["a", None], dtype="category"), pa.dictionary(pa.int8(), pa.string())),
        (pd.Series(pd.to_datetime(["2026-03-01"], utc=True)).dt.as_unit("ns"), pa.timestamp("us", "UTC")),
        (pd.Series(pd.to_timedelta([1], unit="s")).dt.as_unit("ns"), pa.duration("us")),
        (pd.Series([True, None], dtype="boolean"), pa.bool_()),
        (pd.Series([1, 2]), pa.int64()),
    ],
)
def test_types_are_arrows_own(values: Any, kind: pa.DataType):
    assert arrow_of(pd.DataFrame({"one": values})).schema.field("one").type == kind
