"""Counts, means and covariances of each arm: all that the comparison of means needs, in one query."""

from __future__ import annotations

import math
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import TYPE_CHECKING, Final

import numpy as np

from journeylab.experiments.unittable import quoted

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from journeylab.experiments.unittable import UnitTable

__all__ = ["Columns", "Key", "Moments", "look", "read_moments"]

_LOOKED_AT: Final = 10_000
_SIZE: Final = quoted("|size")
_ROUNDING: Final = 1e-12


@dataclass(frozen=True)
class Columns:
    """The columns of one comparison as SQL over a table of units, each a number.

    Attributes:
        values: the value, or a ratio's numerator and denominator; never missing.
        covariates: what was known before the exposure; where it is missing it counts as a constant.
        unknown: those of the covariates that are missing for some units: whether they are is a covariate itself.
        with_skewness: whether the skewness of the value is wanted.
    """

    values: tuple[str, ...]
    covariates: tuple[str, ...] = ()
    unknown: tuple[str, ...] = ()
    with_skewness: bool = False

    @property
    def all(self) -> tuple[str, ...]:
        """The columns in the order of the moments."""
        return (*self.values, *self.covariates, *(f"({name} IS NULL)::DOUBLE" for name in self.unknown))

    @property
    def n_covariates(self) -> int:
        """How many of the columns are covariates."""
        return len(self.covariates) + len(self.unknown)


@dataclass(frozen=True)
class Moments:
    """What one arm's rows have in common: of its units, or of its clusters' sums, with their sizes as a last column.

    Attributes:
        n: rows.
        n_units: units, the same as rows unless there are clusters.
        mean: of each column (float).
        covariance: of each pair of columns, with n - 1 below (float); missing (NaN) for fewer than two rows.
        skewness: of the first column; missing where it was not asked for, or nothing varies.
        of: the columns.
        is_clustered: whether rows are clusters.
    """

    n: int
    n_units: int
    mean: NDArray[np.float64]
    covariance: NDArray[np.float64]
    skewness: float
    of: Columns
    is_clustered: bool = False

    def __add__(self, other: Moments) -> Moments:
        """The moments of both arms' rows together."""
        n = self.n + other.n
        apart = self.mean - other.mean
        squares = (self.n - 1) * self.covariance + (other.n - 1) * other.covariance
        squares = squares + np.outer(apart, apart) * (self.n * other.n / n)
        mean = (self.n * self.mean + other.n * other.mean) / n
        return replace(self, n=n, n_units=self.n_units + other.n_units, mean=mean, covariance=squares / (n - 1))


Key = tuple[str | None, str]


def read_moments(units: UnitTable, wanted: Sequence[Columns], *, by: str | None = None) -> dict[Key, list[Moments]]:
    """The moments of each arm, by group and arm, in the order of what was wanted; arms without units are not there.

    Sums of squares are taken around the mean of the first rows, so that they do not cancel when a column's mean is
    large against its spread. With a column `cluster` the rows are the clusters' sums. What was read is kept.
    """
    todo = [one for one in dict.fromkeys(wanted) if (by, one) not in units.kept]
    if todo:
        look(units, todo, by=by)
    keys = units.kept[by, wanted[0]] if wanted else {}
    return {key: [units.kept[by, one][key] for one in wanted] for key in keys}


def look(units: UnitTable, wanted: Sequence[Columns], *, by: str | None = None, more: Sequence[str] = ()) -> list[bool]:
    """Reads moments to be kept, and tells in the same scan which of some more aggregates (SQL) hold for any arm."""
    is_clustered = units.has("cluster")
    table, names = _clustered(units, wanted, by) if is_clustered else (units.view, {})
    shifts = _shifts(units, table, wanted, names)
    sizes = [shifts[_SIZE]] if is_clustered else []
    columns = [[*(shifts[names.get(sql, sql)] for sql in one.all), *sizes] for one in wanted]
    covariates = list(dict.fromkeys(sql for one in wanted for sql in one.covariates))
    terms = [
        *(f"coalesce({sql}, false)" for sql in more),
        *("count(*)", f"sum({_SIZE})" if is_clustered else "count(*)"),
        *(f"sum({names[_known(sql)]})" if is_clustered else _known(sql) for sql in covariates),
        *(term for one, some in zip(wanted, columns, strict=True) for term in _sums(one, [sql for sql, _ in some])),
    ]
    group = "NULL" if by is None else _group(by, is_read=is_clustered)
    rows = units.connection.execute(f"SELECT {group}, arm, {', '.join(terms)} FROM {table} GROUP BY ALL").fetchall()
    alarms, unknown = [False] * len(more), set()
    for one in wanted:
        units.kept[by, one] = {}
    for name, arm, *values in rows:  # as `terms` are
        rest = iter(values)
        alarms = [a or b for a, b in zip(alarms, islice(rest, len(more)), strict=True)]
        n, n_units = int(next(rest)), int(next(rest))
        unknown |= {
            sql for sql, n_known in zip(covariates, islice(rest, len(covariates)), strict=True) if n_known < n_units
        }
        for one, some in zip(wanted, columns, strict=True):
            mean, covariance, skewness = _read(rest, n, [shift for _, shift in some], with_skewness=one.with_skewness)
            units.kept[by, one][name, arm] = Moments(n, n_units, mean, covariance, skewness, one, is_clustered)
    again = {one: replace(one, unknown=lost) for one in wanted if (lost := _among(one, unknown)) and not one.unknown}
    if again:
        look(units, [*again.values()], by=by)
        units.kept.update({(by, one): units.kept[by, asked] for one, asked in again.items()})
    return alarms


def _among(one: Columns, names: Container[str]) -> tuple[str, ...]:
    return tuple(sql for sql in one.covariates if sql in names)


def _group(by: str, *, is_read: bool) -> str:
    return '"|group"' if is_read else f"coalesce({quoted(by)}::VARCHAR, '(missing)')"


def _known(sql: str) -> str:
    return f"count({sql})"


def _clustered(units: UnitTable, wanted: Iterable[Columns], by: str | None) -> tuple[str, dict[str, str]]:
    """A table of the clusters' sums, and the names of its columns by what they are sums of."""
    sums = {sql: f"sum({sql})" for one in wanted for sql in one.all}
    sums |= {_known(sql): _known(sql) for one in wanted for sql in one.covariates}
    names = {sql: f"c{i}" for i, sql in enumerate(sums)}
    made = ", ".join(f"coalesce({sums[sql]}, 0)::DOUBLE AS {name}" for sql, name in names.items())
    group = "" if by is None else f"{_group(by, is_read=False)} AS {_group(by, is_read=True)}, "
    units.connection.execute(
        f"CREATE OR REPLACE TEMP TABLE clusters AS SELECT {group}arm, cluster, count(*)::DOUBLE AS {_SIZE}, {made} "
        f"FROM {units.view} GROUP BY {'' if by is None else '1, '}arm, cluster"
    )
    return "clusters", names


def _shifts(
    units: UnitTable, table: str, wanted: Iterable[Columns], names: Mapping[str, str]
) -> dict[str, tuple[str, float]]:
    """By column: the column less its mean in the first rows, as SQL, and that mean."""
    columns = list(dict.fromkeys(names.get(sql, sql) for one in wanted for sql in one.all)) + [_SIZE] * bool(names)
    means = ", ".join(f"avg({sql})" for sql in columns) or "NULL"
    row = units.connection.execute(f"SELECT {means} FROM (FROM {table} LIMIT {_LOOKED_AT})").fetchall()[0]
    shifts = [0.0 if mean is None or not math.isfinite(mean) else float(f"{mean:.3g}") for mean in row]
    return {sql: (f"({sql} - {shift!r})" if shift else sql, shift) for sql, shift in zip(columns, shifts, strict=False)}


def _sums(one: Columns, columns: Sequence[str]) -> list[str]:
    """The sums of the columns, of their products by pair, and of the value's third power where it is wanted."""
    pairs = [f"sum({a} * {b})" for i, a in enumerate(columns) for b in columns[i:]]
    cubes = [f"sum({columns[0]} * {columns[0]} * {columns[0]})"] if one.with_skewness else []
    return [*(f"sum({sql})" for sql in columns), *pairs, *cubes]


def _read(
    sums: Iterator[float | None], n: int, shifts: Sequence[float], *, with_skewness: bool
) -> tuple[NDArray[np.float64], NDArray[np.float64], float]:
    """Means, covariances and skewness from what `_sums` asked for; sums of nothing are 0."""
    k = len(shifts)
    upper = np.triu_indices(k)
    first = np.array([value or 0.0 for value in islice(sums, k)])
    products = np.zeros((k, k))
    products[upper] = [value or 0.0 for value in islice(sums, len(upper[0]))]
    products = products + np.triu(products, 1).T
    cubes = next(sums) or 0.0 if with_skewness else math.nan
    with np.errstate(invalid="ignore", over="ignore"):  # whether values are finite is asked elsewhere
        covariance = (products - np.outer(first, first) / n) / (n - 1) if n > 1 else np.full((k, k), np.nan)
        skewness = _skewness(n, first[0], products[0, 0], cubes)
        # What rounding leaves of a column that does not vary would pass for an error next to none.
        is_constant = np.diag(covariance) <= _ROUNDING * np.diag(products) / n
    covariance[is_constant] = covariance[:, is_constant] = 0.0
    mean = first / n + np.array(shifts)
    return np.where(np.abs(mean) <= _ROUNDING * np.abs(shifts), 0.0, mean), covariance, skewness


def _skewness(n: int, total: float, squares: float, cubes: float) -> float:
    mean = total / n
    variance = squares / n - mean**2
    if not variance > _ROUNDING * squares / n:
        return np.nan
    return float((cubes / n - 3 * mean * squares / n + 2 * mean**3) / variance**1.5)
