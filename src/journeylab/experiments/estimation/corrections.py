"""P-values of several comparisons, corrected for their number."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from journeylab.experiments.effect import Effect

__all__ = ["corrected"]


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
    from statsmodels.stats.multitest import multipletests

    new = iter(multipletests(there, method=method)[1].tolist())
    return [p if math.isnan(p) else next(new) for p in p_values]
