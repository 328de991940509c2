"""Effects of an experiment against the same sums by hand-written DuckDB SQL: `python -m benchmarks.experiments`.

Ten million exposed units in three arms, ten metrics of all kinds of means, each with a covariate of its own, in one
Parquet file. The SQL takes the counts, sums, squares and products by arm that the comparison needs; reading the table
with all its checks and comparing the arms may take twice as long. Both are warm, take turns, and use all processors.
"""

from __future__ import annotations

import argparse
import os
import tempfile
from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from journeylab.experiments.effect import Effect
from journeylab.experiments.estimation.effects import effects
from journeylab.experiments.metrics import Count, Mean, Metric, Proportion, Ratio
from journeylab.experiments.plaintable import read_units

from .compared import Compared, compare, shown

ARMS = ["control", "discount", "reminder"]
MOST = 2.0


def make_units(n: int, folder: Path) -> Path:
    """A row for each unit: its arm, four flags, three counts, three amounts, and ten values from before."""
    rng = np.random.default_rng(7)
    arm = pa.DictionaryArray.from_arrays(pa.array(rng.integers(0, 3, n).astype(np.int8)), ARMS)
    columns: dict[str, object] = {"arm": arm}
    for i in range(10):
        before = rng.gamma(2.0, 50.0, n).round(2)
        columns[f"before_{i}"] = before
        if i < 4:
            columns[f"flag_{i}"] = (rng.random(n) < 0.05 + before / 2000).astype(np.int8)
        elif i < 7:
            columns[f"count_{i}"] = rng.poisson(before / 80).astype(np.int32)
        else:
            columns[f"amount_{i}"] = np.where(rng.random(n) < 0.1, before * rng.random(n), 0.0).round(2)
    path = folder / f"units-{n}.parquet"
    pq.write_table(pa.table(columns), path)
    return path


def make_metrics() -> list[Metric]:
    """Ten metrics, each with its covariate."""
    return [
        *(Proportion(f"flag_{i}", covariate=f"before_{i}") for i in range(4)),
        *(Count(f"count_{i}", covariate=f"before_{i}") for i in range(4, 7)),
        *(Mean(f"amount_{i}", covariate=f"before_{i}") for i in (7, 8)),
        Ratio("amount_9/count_6", covariate="before_9"),
    ]


def sums() -> str:
    """The sums by hand: of each metric's columns and covariate, with squares and products."""
    terms = ["count(*)"]
    for metric in make_metrics():
        names = [*metric.values, str(metric.covariate)]
        terms += [f"sum({name})" for name in names]
        terms += [f"sum({a}::DOUBLE * {b})" for i, a in enumerate(names) for b in names[i:]]
    return ", ".join(terms)


def compared(n: int, n_runs: int, folder: Path) -> list[Compared]:
    """The effects of a table of one size against the sums by hand."""
    path = make_units(n, folder)
    with duckdb.connect(config={"threads": os.cpu_count() or 1}) as connection:
        sql = f"SELECT arm, {sums()} FROM read_parquet('{path}') GROUP BY arm"

        def by_hand() -> list[tuple[float, ...]]:
            return connection.execute(sql).fetchall()

        def by_effects() -> list[Effect]:
            return effects(read_units(path, arm="arm", control="control", metrics=make_metrics()))

        rows = {row[0]: row for row in by_hand()}
        first = by_effects()[0]
        control, arm = rows[first.control], rows[first.arm]
        assert np.isclose(first.unadjusted_effect, arm[2] / arm[1] - control[2] / control[1], rtol=1e-9)
        return compare(
            "effects, three arms, ten metrics with covariates", f"{n:,} units", n_runs, by_effects,
            {"DuckDB, the sums alone": by_hand},
        )  # fmt: skip


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--units", type=int, default=10_000_000)
    parser.add_argument("--runs", type=int, default=5)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        (row,) = compared(options.units, options.runs, Path(folder))
    print(shown([row]))
    if row.ratio < 1 / MOST:
        raise SystemExit(f"effects may take {MOST:g} times as long as the sums by hand")


if __name__ == "__main__":
    main()
