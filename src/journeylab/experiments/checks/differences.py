"""Whether an effect is the same in several groups of units."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd

    from journeylab.experiments.effect import Effect

__all__ = ["differences"]


def differences(effects: Iterable[Effect]) -> pd.DataFrame:
    """A row for each metric and arm with effects in several groups, and whether the groups differ.

    Cochran's Q (Cochran, 1954): the squares of the groups' effects about their precision-weighted mean, each divided by
    its variance, held against a chi-square with one degree of freedom less than there are groups.

    Args:
        effects: of groups that share no unit. Those without a standard error are left out.

    Returns:
        Columns `metric, kind, arm` (text), `n_groups` (int), `statistic` (float), `p_value` (0..1, of no difference;
        missing with fewer than two groups), `least`, `most` (text, the groups with the least and the greatest effect).
    """
    import pandas as pd
    from scipy import stats

    by: dict[tuple[str, str, str], list[Effect]] = {}
    for effect in effects:
        if effect.group is not None:
            by.setdefault((effect.metric, effect.kind, effect.arm), []).append(effect)
    rows = []
    for key, found in by.items():
        usable = [one for one in found if math.isfinite(one.standard_error) and one.standard_error > 0]
        statistic = p_value = math.nan
        least = most = None
        if len(usable) > 1:
            weights = [one.standard_error**-2 for one in usable]
            mean = sum(w * one.effect for w, one in zip(weights, usable, strict=True)) / sum(weights)
            statistic = sum(w * (one.effect - mean) ** 2 for w, one in zip(weights, usable, strict=True))
            p_value = float(stats.chi2.sf(statistic, len(usable) - 1))
            ordered = sorted(usable, key=lambda one: one.effect)
            least, most = ordered[0].group, ordered[-1].group
        rows.append((*key, len(usable), statistic, p_value, least, most))
    columns = ["metric", "kind", "arm", "n_groups", "statistic", "p_value", "least", "most"]
    return pd.DataFrame(rows, columns=columns)
