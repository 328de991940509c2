"""What replays are measured against gives what replays give."""

from pathlib import Path

import duckdb
import polars as pl
import pyarrow.parquet as pq
import pytest
from benchmarks import kernel
from benchmarks.alternatives import by_loop, by_polars, timelines
from benchmarks.compared import Compared, compare, of_rates, shown
from benchmarks.growth import make_pieces
from benchmarks.replay import branch_counts, by_sql, make_journey, make_log

import journeylab as jl


@pytest.fixture(scope="module")
def path(tmp_path_factory) -> Path:
    return make_log(30_000, tmp_path_factory.mktemp("log"), "int")


def test_a_replay_counts_what_sql_polars_a_loop_and_a_kernel_by_hand_count(path):
    log = jl.EventLog.read(path, cache=False)
    expected = branch_counts(jl.replay(make_journey(), log))
    assert all(n > 0 for n in expected.values())
    with duckdb.connect() as connection:
        connection.execute(f"create view events as select * from read_parquet('{path}')")
        assert by_sql(connection) == expected
    assert by_polars(pl.scan_parquet(path)) == expected
    assert by_loop(timelines(pq.read_table(path)), log.end_us) == expected
    assert kernel.counts(kernel.streams(log), log) == expected


def test_a_log_in_pieces_has_other_contacts_in_each(tmp_path, monkeypatch):
    monkeypatch.setattr("benchmarks.growth.PIECE", 1000)
    log = jl.EventLog.read(make_pieces(2500, tmp_path), cache=False)
    assert (log.n_events, log.n_contacts) == (2500, 250)


def test_ratios_are_of_each_turn_and_told_with_their_extremes():
    rows = of_rates("mail", "10 mails", 10, [5.0, 10.0, 2.0], {"bare": [10.0, 10.0, 10.0]})
    assert rows == [Compared("mail", "10 mails", 2.0, "bare", [0.5, 1.0, 0.2])]
    assert shown(rows).splitlines()[-1] == "| mail | 10 mails | 2 s | bare | 0.50 | 0.20 .. 1.00 |"
    turns: list[str] = []
    compare("x", "y", 2, lambda: turns.append("ours"), {"other": lambda: turns.append("other")})
    assert turns == ["ours", "other"] * 3
