"""P-values of several comparisons, corrected for their number."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import TYPE_CHECKING, Literal

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from journeylab.experiments.effect import Effect

__all__ = ["corrected", "holm"]


def corrected(effects: Iterable[Effect], method: Literal["holm", "fdr_bh", "none"] = "holm") -> list[float]:
    """The p-values of the effects, corrected for the number of them, in the same order.

    An effect below 0.05 after `holm` is a false alarm in at most 5 % of experiments without any effect (Holm 1979,
    Scandinavian Journal of Statistics 6, 65-70); of those below 0.05 after `fdr_bh` at most 5 % are false alarms on
    average (Benjamini and Hochberg 1995, Journal of the Royal Statistical Society B 57, 289-300). What is missing (NaN)
    stays missing and is not counted.

    Raises:
        ValueError: when the method is not known.
    """
    p_values = [effect.p_value for effect in effects]
    if method not in ("holm", "fdr_bh", "none"):
        raise ValueError(f"a correction is holm, fdr_bh or none; got {method!r}")
    there = [p for p in p_values if not math.isnan(p)]
    if method == "none" or not there:
        return p_values
    if method == "holm":
        corrected_p: list[float] = holm(np.array(p_values)).tolist()
        return corrected_p
    from statsmodels.stats.multitest import multipletests

    new = iter(multipletests(there, method=method)[1].tolist())
    return [p if math.isnan(p) else next(new) for p in p_values]


def holm(p_values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Holm's adjusted p values; missing ones stay so and are not counted.

    statsmodels collects all garbage of the process at each such call, which takes longer than everything else here.

    >>> holm(np.array([0.01, np.nan, 0.04]))
    array([0.02,  nan, 0.04])
    """
    adjusted = np.full(len(p_values), np.nan)
    order = np.argsort(p_values)[: int((~np.isnan(p_values)).sum())]
    adjusted[order] = np.minimum(np.maximum.accumulate(p_values[order] * np.arange(len(order), 0, -1)), 1.0)
    return adjusted
