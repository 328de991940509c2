"""What each arm changed against the control, metric by metric, with fixed intervals.

Fixed intervals hold when they are looked at once, at the planned end.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Final

from journeylab.errors import DataError, known
from journeylab.experiments.effect import Effect
from journeylab.experiments.metrics import Metric
from journeylab.experiments.unittable import quoted
from journeylab.language import plural, say

from .adjustment import Adjust
from .moments import Key
from .pairs import Pairing, pairings

if TYPE_CHECKING:
    from journeylab.experiments.unittable import UnitTable

__all__ = ["effects"]

_FEW_CLUSTERS: Final = 30


def effects(
    units: UnitTable,
    metrics: Iterable[Metric] | None = None,
    *,
    by: str | None = None,
    alpha: float = 0.05,
    adjust: Adjust = "cuped",
    covariates: Sequence[str] = (),
    seed: int = 0,
) -> list[Effect]:
    """Each arm's effect on each metric against the control, with fixed intervals and p-values that are not corrected.

    - Proportions and counts are means of their values, and so is revenue, which comes a second time as `winsorised`:
      amounts above the metric's quantile, over all arms together, count as that quantile.
    - Where a proportion has fewer than 10 units in an arm with the event, or without it, its interval is Newcombe's
      (1998, Statistics in Medicine 17, 873-890, method 10) and its p-value Fisher's, without covariates.
    - Where a mean has a longer tail than its units can carry, a note says so, with a bootstrap interval.
    - Where the table has a column `cluster`, errors are those between clusters.
    - Quantiles and times to an event are not adjusted for covariates.

    Args:
        units: the table of units.
        metrics: which of its metrics; by default all.
        by: a column of the table by whose values the units are parted, such as a segment or a day.
        alpha: one minus the level of the intervals.
        adjust: how metrics with a covariate are adjusted; see `adjustment.difference`.
        covariates: columns of numbers from before the exposure that adjust every metric, beside its own.
        seed: of the bootstrap.

    Returns:
        The effects in order of group, metric and arm. Where a standard error cannot be told it is missing (NaN), and
        so are interval and p-value, with a note that says why.

    Raises:
        DataError: when `by` or a covariate is no column of the table, or a covariate is no number.

    >>> import pandas as pd
    >>> from journeylab.experiments.metrics import Mean
    >>> from journeylab.experiments.plaintable import read_units
    >>> frame = pd.DataFrame({"arm": ["a", "b"] * 50, "spend": range(100)})
    >>> units = read_units(frame, arm="arm", control="a", metrics=[Mean("spend")])
    >>> [(one.arm, one.mean_control, one.effect, round(one.p_value, 3)) for one in effects(units)]
    [('b', 49.0, 1.0, 0.864)]
    """
    chosen = units.metrics if metrics is None else tuple(metrics)
    if not 0 < alpha < 1:
        raise ValueError(f"alpha lies between 0 and 1, such as 0.05; got {alpha!r}")
    if adjust not in ("cuped", "regression", "none"):
        raise ValueError(f"adjust is cuped, regression or none; got {adjust!r}")
    _check_columns(units, by, covariates)
    counts = _counts(units, by)
    compared = pairings(units, chosen, by, adjust, covariates, seed)
    split = _split_note(units)
    pairs = [
        ((group, arm), (group, units.control))
        for group in sorted({group for group, _ in counts}, key=lambda name: name or "")
        for arm in units.arms[1:]
    ]
    return [
        _effect(one, sides, alpha, split)
        if all(key in counts for key in sides)
        else _nothing(one, sides, counts, alpha)
        for group in dict.fromkeys(key[0] for key, _ in pairs)
        for one in compared
        for sides in pairs
        if sides[0][0] == group
    ]


def _effect(one: Pairing, sides: tuple[Key, Key], alpha: float, split: str) -> Effect:
    from scipy import stats

    compared = one.compare(*sides, alpha)
    found, plain = compared.found, compared.plain
    low_high_p = compared.exact
    if low_high_p is None:
        half = float(stats.t.ppf(1 - alpha / 2, found.degrees_of_freedom)) * found.standard_error
        p_value = 2 * float(stats.t.sf(abs(found.effect / found.standard_error), found.degrees_of_freedom))
        low_high_p = found.effect - half, found.effect + half, p_value
    low, high, p_value = low_high_p
    return Effect(
        metric=one.metric.name,
        kind=one.kind,
        arm=sides[0][1],
        control=sides[1][1],
        group=sides[0][0],
        n_arm=compared.n_arm,
        n_control=compared.n_control,
        mean_arm=found.mean_arm,
        mean_control=found.mean_control,
        effect=found.effect,
        standard_error=found.standard_error,
        degrees_of_freedom=found.degrees_of_freedom,
        low=low,
        high=high,
        p_value=p_value,
        level=1 - alpha,
        relative_effect=found.effect / found.mean_control if found.mean_control else math.nan,
        unadjusted_effect=plain.effect,
        unadjusted_standard_error=plain.standard_error,
        n_clusters=compared.n_clusters,
        notes=(*compared.notes, *_cluster_notes(compared.n_clusters, split)),
    )


def _cluster_notes(n_clusters: int | None, split: str) -> list[str]:
    notes = [split] if split else []
    if n_clusters is not None and n_clusters < 2 * _FEW_CLUSTERS:
        notes.append(
            plural(
                "{n} cluster in both arms: below about 30 in each the interval is too narrow",
                "{n} clusters in both arms: below about 30 in each the interval is too narrow",
                n_clusters,
            )
        )
    return notes


def _nothing(one: Pairing, sides: tuple[Key, Key], counts: dict[Key, int], alpha: float) -> Effect:
    """What there is to say when one of the arms has no units."""
    empty = next(arm for group, arm in sides if (group, arm) not in counts)
    return Effect(
        metric=one.metric.name,
        kind=one.kind,
        arm=sides[0][1],
        control=sides[1][1],
        group=sides[0][0],
        n_arm=counts.get(sides[0], 0),
        n_control=counts.get(sides[1], 0),
        mean_arm=math.nan,
        mean_control=math.nan,
        effect=math.nan,
        standard_error=math.nan,
        low=math.nan,
        high=math.nan,
        p_value=math.nan,
        level=1 - alpha,
        unadjusted_effect=math.nan,
        unadjusted_standard_error=math.nan,
        notes=(say("{arm} has no units", arm=empty),),
    )


def _counts(units: UnitTable, by: str | None) -> dict[Key, int]:
    group = "NULL" if by is None else f"coalesce({quoted(by)}::VARCHAR, '(missing)')"
    return {(group, arm): n for group, arm, n in units.rows(f"{group}, arm, count(*)", "GROUP BY ALL")}


def _split_note(units: UnitTable) -> str:
    if not units.has("cluster") or units.has("assigned_unit"):  # entries that were given arms each
        return ""
    n = units.connection.execute(
        f"SELECT count(*) FROM (SELECT cluster FROM {units.view} GROUP BY cluster HAVING count(DISTINCT arm) > 1)"
    ).fetchall()[0][0]
    if not n:
        return ""
    return plural(
        "{n} cluster with units in several arms: if clusters were given the arms, that went wrong; if units were, "
        "leave out the cluster, with which the interval is rather too wide",
        "{n} clusters with units in several arms: if clusters were given the arms, that went wrong; if units were, "
        "leave out the cluster, with which the interval is rather too wide",
        n,
    )


def _check_columns(units: UnitTable, by: str | None, covariates: Sequence[str]) -> None:
    for name in (*(() if by is None else (by,)), *covariates):
        if not units.has(name):
            raise DataError(f"{units.name}: no column {name!r}; {known(name, units.columns, 'columns')}")
    if not covariates:
        return
    kinds = {row[0]: str(row[1]) for row in units.connection.execute(f"DESCRIBE {units.view}").fetchall()}
    for name in covariates:
        if kinds[name] in ("VARCHAR", "DATE") or kinds[name].startswith(("TIMESTAMP", "ENUM")):
            raise DataError(f"{units.name}: the covariate {name!r} has {kinds[name]}; give a column of numbers")
