"""Quantiles of each arm with the error that the order of its values tells."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from journeylab.experiments.unittable import quoted
from journeylab.language import formatted, say

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from journeylab.experiments.metrics import Quantile
    from journeylab.experiments.unittable import UnitTable

    from .moments import Key

    Floats = NDArray[np.float64]

__all__ = ["Estimate", "arm_quantiles", "quantile_and_error", "within_arms"]

_Z = 1.96


class Estimate(NamedTuple):
    """One arm's figure with its standard error, which is missing (NaN) where it cannot be told."""

    value: float
    standard_error: float
    n_units: int
    n_clusters: int | None = None
    note: str = ""


def quantile_and_error(values: Floats, at: float, clusters: NDArray[np.int64] | None = None) -> Estimate:
    """A quantile of the values with its standard error.

    The share of units below the quantile has a known error: the binomial one, or with clusters the delta method's. The
    values at that share plus and minus 1.96 of its errors are 2 · 1.96 standard errors of the quantile apart (Woodruff
    1952, Journal of the American Statistical Association 47, 635-646; with clusters Deng, Knoblich and Lu 2018, KDD,
    section 4.3). The quantile itself lies between the two nearest values, as numpy's default has it.

    Args:
        values: a number for each unit (float), one or more.
        at: which quantile, between 0 and 1.
        clusters: the cluster of each unit (int from 0); by default each unit is its own.

    >>> quantile_and_error(np.arange(1001.0), 0.5)
    Estimate(value=500.0, standard_error=15.8..., n_units=1001, n_clusters=None, note='')
    """
    order = np.sort(values)
    n = len(order)
    value = float(np.quantile(order, at))
    if clusters is None:
        n_clusters, share_error = None, math.sqrt(at * (1 - at) / n)
    else:
        below = (values <= value).astype(float)
        apart = np.bincount(clusters, below - below.mean())
        n_clusters = len(apart)
        share_error = math.sqrt(float(apart @ apart) * n_clusters / max(n_clusters - 1, 1)) / n
    low, high = at - _Z * share_error, at + _Z * share_error
    if low <= 0 or high >= 1:
        note = say(
            "{n} units are too few for the error of their {quantile} quantile",
            n=formatted(n),
            quantile=formatted(at, ".0%"),
        )
        return Estimate(value, math.nan, n, n_clusters, note)
    error = float(np.quantile(order, high) - np.quantile(order, low)) / (2 * _Z)
    if not error:
        note = say(
            "so many units have the value {value} that their order does not tell the error of the {quantile} quantile",
            value=formatted(value, "g"),
            quantile=formatted(at, ".0%"),
        )
        return Estimate(value, math.nan, n, n_clusters, note)
    return Estimate(value, error, n, n_clusters)


def within_arms(units: UnitTable, columns: str, by: str | None) -> dict[Key, dict[str, NDArray[np.float64]]]:
    """Some columns (SQL) of each group's and arm's units as arrays, and with clusters `cluster` (int from 0)."""
    found = {}
    group = "NULL" if by is None else f"coalesce({quoted(by)}::VARCHAR, '(missing)')"
    cluster = ", dense_rank() OVER (ORDER BY cluster) - 1 AS cluster" if units.has("cluster") else ""
    for key in units.rows(f"DISTINCT {group}, arm"):
        sql = f"SELECT {columns}{cluster} FROM {units.view} WHERE arm = ? AND {group} IS NOT DISTINCT FROM ?"
        arrays = units.connection.execute(sql, [key[1], key[0]]).fetchnumpy()
        found[key] = {name: np.ma.filled(array.astype(float), np.nan) for name, array in arrays.items()}
    return found


def arm_quantiles(units: UnitTable, metric: Quantile, by: str | None = None) -> dict[Key, Estimate]:
    """The metric's quantile in each arm, by group and arm."""
    return {
        key: quantile_and_error(
            arrays["value"], float(metric.at), arrays["cluster"].astype(np.int64) if "cluster" in arrays else None
        )
        for key, arrays in within_arms(units, f"{quoted(metric.name)} AS value", by).items()
    }
