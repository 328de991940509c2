"""Time until an event, of units that were not all followed for as long: the mean time without it in a common window."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from journeylab.experiments.unittable import quoted
from journeylab.language import formatted, say

from .quantiles import Estimate, within_arms

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from journeylab.experiments.metrics import TimeToEvent
    from journeylab.experiments.unittable import UnitTable

    from .moments import Key

    Floats = NDArray[np.float64]

__all__ = ["arm_times", "log_rank_p", "restricted_mean"]


def restricted_mean(
    times: Floats, happened: NDArray[np.bool_], window: float, clusters: NDArray[np.int64] | None = None
) -> Estimate:
    """The mean time without the event within a window: the area under the Kaplan-Meier curve up to there.

    A unit that was followed for less than the window counts for as long as it was followed. The error is that of the
    sums over clusters of each unit's influence on the mean (Reid 1981, Annals of Statistics 9, 78-92). Without clusters
    that is Greenwood's: with A(t) the area from t on, the sum over times of A² d / (n (n - d)) (Klein and Moeschberger
    2003, Survival Analysis, section 4.5).

    Args:
        times: until the event, or until the unit was last looked at (float), one or more.
        happened: whether it was the event.
        window: until when; not longer than the longest time.
        clusters: the cluster of each unit (int from 0); by default each unit is its own.

    >>> restricted_mean(np.array([1.0, 2.0, 3.0, 4.0]), np.array([True, True, False, False]), 4.0).value
    2.75
    """
    counts = happened & (times <= window)
    at, place = np.unique(times[counts], return_inverse=True)
    n = len(times)
    n_events = np.bincount(place, minlength=len(at)).astype(float)
    n_at_risk = n - np.searchsorted(np.sort(times), at).astype(float)
    share = np.cumprod(1 - n_events / n_at_risk)
    areas = share * np.diff(np.append(at, window))
    after = np.cumsum(areas[::-1])[::-1]
    value = float((at[0] if len(at) else window) + areas.sum())
    stays = n_at_risk - n_events
    moved = np.divide(after * n, stays, out=np.zeros_like(after), where=stays > 0)
    influence = np.append(0.0, np.cumsum(moved * n_events / n_at_risk))[np.searchsorted(at, times, side="right")]
    influence[counts] -= moved[place]
    if clusters is None:
        return Estimate(value, math.sqrt(float(influence @ influence)) / n or math.nan, n)
    sums = np.bincount(clusters, influence)
    error = math.sqrt(float(sums @ sums) * len(sums) / max(len(sums) - 1, 1)) / n
    return Estimate(value, error or math.nan, n, len(sums))


def log_rank_p(arm: tuple[Floats, NDArray[np.bool_]], control: tuple[Floats, NDArray[np.bool_]]) -> float:
    """The p-value of the log-rank test that both arms have the event at the same pace; each has times and events."""
    from scipy import stats

    sides = [stats.CensoredData.right_censored(times, ~happened) for times, happened in (arm, control)]
    return float(stats.logrank(*sides).pvalue)


def arm_times(
    units: UnitTable, metric: TimeToEvent, by: str | None = None
) -> tuple[dict[Key, Estimate], dict[Key, tuple[Floats, NDArray[np.bool_]]]]:
    """The restricted mean of each arm by group and arm, and the times and events that it is of.

    The window of a group is the longest time for which every one of its arms was followed.
    """
    days, followed = quoted(metric.name), quoted(f"{metric.name}|followed")
    columns = f"least({days}, {followed}) AS time, ({days} IS NOT NULL)::DOUBLE AS happened, {followed} AS followed"
    read = within_arms(units, columns, by)
    windows: dict[str | None, float] = {}
    for (group, _), arrays in read.items():
        windows[group] = min(windows.get(group, math.inf), float(arrays["followed"].max()))
    estimates = {}
    for key, arrays in read.items():
        window = windows[key[0]]
        clusters = arrays["cluster"].astype(np.int64) if "cluster" in arrays else None
        estimate = restricted_mean(arrays["time"], arrays["happened"] > 0, window, clusters)
        estimates[key] = estimate._replace(
            note=say(
                "what is compared is the mean time without it, within the first {days} days",
                days=formatted(window, "g"),
            )
        )
    return estimates, {key: (arrays["time"], arrays["happened"] > 0) for key, arrays in read.items()}
