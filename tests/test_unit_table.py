"""Plain tables as units: what is read, under which names, and every fault at once."""

from __future__ import annotations

import datetime
import gzip
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from journeylab.errors import DataError
from journeylab.experiments.estimation.effects import effects
from journeylab.experiments.metrics import Count, Mean, Metric, Proportion, Ratio, Revenue, TimeToEvent
from journeylab.experiments.plaintable import read_units

FRAME = pd.DataFrame(
    {
        "mail": ["none", "offer", "offer", "none", "other", "offer"],
        "visit": [0, 1, 0, 1, 1, 0],
        "spend": [0.0, 12.5, 0.0, 3.0, 1.0, 0.0],
        "history": [1.0, 2.0, None, 4.0, 5.0, 6.0],
        "country": ["PL", "DE", "PL", "DE", "PL", None],
        "person": ["a", "b", "c", "d", "e", "f"],
    }
)
METRICS: tuple[Metric, ...] = (Proportion("visit", covariate="history"), Mean("spend"), Ratio("spend / visit"))


def faults_of(frame: Any, metrics: tuple[Metric, ...] = METRICS, **more: Any) -> str:
    with pytest.raises(DataError) as caught:
        read_units(frame, **{"arm": "mail", "control": "none", "metrics": metrics, **more})
    return str(caught.value)


def test_columns_have_the_names_that_metrics_need() -> None:
    units = read_units(FRAME, arm="mail", control="offer", metrics=METRICS, unit="person", keep=["country"])
    assert units.columns == (
        "arm", "unit", "visit", "visit|before", "spend", "spend/visit", "spend/visit|per", "country",
    )  # fmt: skip
    assert units.arms == ("offer", "none", "other")
    assert units.counts() == {"offer": 3, "none": 2, "other": 1}
    assert units.shares == pytest.approx({"offer": 1 / 3, "none": 1 / 3, "other": 1 / 3})
    frame = units.frame(units.columns)
    assert frame["visit|before"].isna().tolist() == [False, False, True, False, False, False]
    assert frame["spend/visit|per"].tolist() == FRAME["visit"].tolist()
    assert frame["country"].isna().sum() == 1


@pytest.mark.parametrize("kind", ["parquet", "folder", "csv", "csv.gz", "jsonl", "arrow table", "dicts", "duckdb"])
def test_every_source_gives_the_same_units(kind: str, tmp_path: Path) -> None:
    more: dict[str, Any] = {}
    source: Any = tmp_path / f"units.{kind}"
    table = pa.Table.from_pandas(FRAME, preserve_index=False)
    if kind == "parquet":
        pq.write_table(table, source)
    elif kind == "folder":
        source.mkdir()
        pq.write_table(table.slice(0, 2), source / "a.parquet")
        pq.write_table(table.slice(2), source / "b.parquet")
    elif kind == "csv":
        FRAME.to_csv(source, index=False, sep=";")
    elif kind == "csv.gz":
        source.write_bytes(gzip.compress(FRAME.to_csv(index=False).encode()))
    elif kind == "jsonl":
        FRAME.to_json(source, orient="records", lines=True)
    elif kind == "arrow table":
        source = table
    elif kind == "dicts":
        source = FRAME.astype(object).where(FRAME.notna(), None).to_dict("records")
    else:
        import duckdb

        source = duckdb.connect()
        source.register("frame", FRAME)
        more["query"] = "SELECT * FROM frame"
    units = read_units(source, arm="mail", control="none", metrics=METRICS, keep=["country"], **more)
    expected = read_units(FRAME, arm="mail", control="none", metrics=METRICS, keep=["country"])
    pd.testing.assert_frame_equal(units.frame(units.columns), expected.frame(expected.columns))


def test_arms_that_are_numbers_or_flags_become_texts() -> None:
    for arms, control, names in (
        ([0, 1, 1], 0, ("0", "1")),
        ([0.0, 1.0, 1.5], 1.0, ("1", "0", "1.5")),
        ([True, False, True], False, ("false", "true")),
    ):
        frame = pd.DataFrame({"mail": arms, "visit": [True, False, True]})
        units = read_units(frame, arm="mail", control=control, metrics=[Proportion("visit")])
        assert units.arms == names
        assert units.frame(["visit"])["visit"].tolist() == [1.0, 0.0, 1.0]


def test_flags_in_csv_may_be_words(tmp_path: Path) -> None:
    (tmp_path / "units.csv").write_text("mail,visit\nnone,True\noffer,false\n")
    units = read_units(tmp_path / "units.csv", arm="mail", control="none", metrics=[Proportion("visit")])
    assert units.frame(["visit"])["visit"].tolist() == [1.0, 0.0]


def test_shares_may_name_an_arm_that_nobody_got() -> None:
    shares = {"none": 0.25, "offer": 0.25, "other": 0.25, "never": 0.25}
    units = read_units(FRAME, arm="mail", control="none", metrics=METRICS, shares=shares)
    assert units.arms == ("none", "never", "offer", "other")
    assert units.counts()["never"] == 0
    assert "never has no units" in next(one for one in effects(units) if one.arm == "never").notes


def test_instants_need_a_zone() -> None:
    naive = FRAME.assign(at=pd.Timestamp("2026-03-01 12:00"))
    assert "without a zone" in faults_of(naive, exposed_at="at")
    units = read_units(naive, arm="mail", control="none", metrics=METRICS, exposed_at="at", timezone="Europe/Warsaw")
    assert units.rows("min(exposed_at)") == [(datetime.datetime(2026, 3, 1, 11, tzinfo=datetime.UTC),)]
    for text, hour in (("2026-03-01T12:00:00Z", 12), ("2026-03-01T12:00:00+02:00", 10)):
        units = read_units(FRAME.assign(at=text), arm="mail", control="none", metrics=METRICS, exposed_at="at")
        assert units.rows("min(exposed_at)") == [(datetime.datetime(2026, 3, 1, hour, tzinfo=datetime.UTC),)]
    assert "Europe/Warsaw" in faults_of(naive, exposed_at="at", timezone="Europe/Warzaw")
    assert "no instant in 6 rows (0, 1, 2, 3, 4, …)" in faults_of(FRAME.assign(at="soon"), exposed_at="at")


def test_all_unknown_columns_are_named_at_once_with_the_nearest() -> None:
    said = faults_of(FRAME, (Proportion("visits"), Mean("spent")), arm="mial")
    assert said.count("no column") == 3
    assert "'visits'; did you mean 'visit'" in said
    assert "'mial'; did you mean 'mail'" in said


def test_all_bad_values_are_named_at_once() -> None:
    bad = FRAME.assign(
        mail=["none", None, "offer", "none", "other", "offer"],
        visit=[0, 1, 2, 1, 1, 0],
        spend=[0.0, np.inf, None, 3.0, 1.0, 0.0],
    )
    said = faults_of(bad)
    assert "column 'mail': no value in 1 row (1)" in said
    assert "column 'visit': neither 0 nor 1 in 1 row (2)" in said
    assert "column 'spend': no value in 1 row (2); a unit to whom nothing happened has 0" in said
    assert "column 'spend': no finite number in 1 row (1)" in said


def test_not_a_number_is_missing_in_a_covariate_and_a_fault_in_a_metric() -> None:
    table = pa.table({"mail": ["none", "offer"], "spend": [1.0, 2.0], "old": pa.array([float("nan"), 3.0])})
    units = read_units(table, arm="mail", control="none", metrics=[Mean("spend", covariate="old")])
    assert units.rows('count("spend|before")') == [(1,)]
    assert "no finite number in 1 row (0)" in faults_of(table, (Mean("old"),))


def test_lines_of_a_csv_are_numbered_as_an_editor_does(tmp_path: Path) -> None:
    path = tmp_path / "units.csv"
    path.write_text("mail,spend\nnone,1\n\noffer,much\noffer,2\nnone,3,4\n")
    said = faults_of(path, (Mean("spend"),))
    assert "no number in 1 line (4)" in said
    assert "line 6 has 3 values, the header names 2" in said


def test_texts_are_no_metric() -> None:
    assert "column 'country' has texts, where numbers are needed" in faults_of(FRAME, (Mean("country"),))


def test_counts_are_whole() -> None:
    assert "no count in 2 rows (1, 5); a count is whole" in faults_of(
        FRAME.assign(n=[1.0, 0.5, 2.0, 0.0, 0.0, -1.0]), (Count("n"),)
    )


def test_the_control_is_an_arm_and_every_arm_has_a_share() -> None:
    assert "the control 'nnoe' is no arm in column 'mail'; did you mean 'none'" in faults_of(FRAME, control="nnoe")
    assert "arm 'other' has no share" in faults_of(FRAME, shares={"none": 0.5, "offer": 0.5})
    assert "they add up to 0.9" in faults_of(FRAME, shares={"none": 0.5, "offer": 0.2, "other": 0.2})
    assert "has the arm 'none' only" in faults_of(FRAME[FRAME["mail"] == "none"])
    assert "there are no units" in faults_of(FRAME[:0])


def test_names_are_used_once() -> None:
    assert 'called="..."' in faults_of(FRAME, (Mean("spend"), Revenue("spend")))
    assert "which SQL takes for one" in faults_of(FRAME, (Mean("spend"), Mean("visit", called="SPEND")))
    assert "say unit='unit'" in faults_of(FRAME.assign(unit=1), keep=["unit"])
    assert "'Cluster' has a meaning of its own" in faults_of(FRAME, (Mean("spend", called="Cluster"),))
    assert "the columns SPEND, spend differ in case only" in faults_of(FRAME.assign(SPEND=1), (Mean("spend"),))
    assert "filters events of a log" in faults_of(FRAME, (Proportion("visit", where="page == 1"),))


def test_a_unit_has_one_row() -> None:
    said = faults_of(FRAME.assign(person=["a", "a", "b", "b", "c", "d"]), unit="person")
    assert "'a' in 2 rows and 2 arms" in said


def test_times_are_not_known_beyond_the_last_look() -> None:
    frame = FRAME.assign(days=[1.0, None, 9.0, 2.0, 3.0, -1.0], followed=5.0)
    said = faults_of(frame, (TimeToEvent("days"),))
    assert "column 'days': a time below 0 in 1 row (5)" in said
    assert "column 'followed': a shorter time than that of days in 1 row (2)" in said
    good = frame.assign(days=[1.0, None, 4.0, 2.0, 3.0, 1.0])
    assert read_units(good, arm="mail", control="none", metrics=[TimeToEvent("days")]).has("days|followed")


def test_narrowed_units_are_compared_anew() -> None:
    units = read_units(FRAME, arm="mail", control="none", metrics=[Mean("spend")], keep=["country"])
    whole = effects(units)[0]
    part = effects(units.narrowed("country = 'DE'"))[0]
    assert (whole.n_arm, part.n_arm) == (3, 1)
    assert part.mean_arm == 12.5
