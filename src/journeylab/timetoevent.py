"""How long it takes: the share of entries that have left by an exit, or reached a node, by the time since they entered.

An entry that is still inside tells only that it has not happened yet; one that left another way, that it never will.
The curves take both into account.
"""

from __future__ import annotations

from datetime import datetime
from statistics import NormalDist
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from .errors import DataError, known
from .visits import require_columns

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

__all__ = ["cumulative_incidence", "time_to_exit", "time_to_node"]

_Z = NormalDist().inv_cdf(0.975)
_CENSORED, _EVENT, _COMPETING = range(3)


def time_to_exit(entries: pd.DataFrame, until: datetime, exit: str | None = None) -> pd.DataFrame:  # noqa: A002
    """The share of entries that have left by an exit, by the time since they entered; by any goal when none is named.

    Entries that are still inside at `until` are censored; those that left by another exit can no longer leave by this
    one and compete with it. See `cumulative_incidence`.

    Args:
        entries: `journey, entered_at, left_at, exit, converted`.
        until: the horizon: the instant up to which the entries were followed; later exits are not looked at.
        exit: an exit's text, such as "goal:purchase" or "finished".

    Returns:
        The columns of `cumulative_incidence` after `journey`.

    Raises:
        DataError: when a column is missing, the exit is unknown, or an entry begins after `until`.

    >>> entered_at = pd.to_datetime(["2026-03-01T00:00Z"] * 3)
    >>> left_at = pd.to_datetime(["2026-03-03T00:00Z", "2026-03-04T00:00Z", None])
    >>> entries = pd.DataFrame({"journey": "trial", "entered_at": entered_at, "left_at": left_at,
    ...                         "exit": ["goal:purchase", "finished", None], "converted": [True, False, False]})
    >>> curve = time_to_exit(entries, pd.Timestamp("2026-03-08T00:00Z"))
    >>> curve[["journey", "after", "n_at_risk", "n_events"]]
      journey  after  n_at_risk  n_events
    0   trial 0 days          3         0
    1   trial 2 days          3         1
    2   trial 7 days          1         0
    """
    require_columns(entries, ["journey", "entered_at", "left_at", "exit", "converted"], "entries")
    if exit is not None and not (entries["exit"] == exit).any():
        raise DataError(f"no entry left by {exit!r}; {known(exit, entries['exit'].dropna().unique(), 'exits')}")
    hit = entries["converted"].astype(bool) if exit is None else (entries["exit"] == exit).fillna(value=False)
    return _incidence_by_journey(entries, entries["left_at"].where(hit), until)


def time_to_node(visits: pd.DataFrame, entries: pd.DataFrame, node: str, until: datetime) -> pd.DataFrame:
    """The share of entries that have arrived at a node, by the time since they entered.

    Entries still inside at `until` that have not arrived are censored; those that left before they arrived compete.
    Only journeys that visited the node are counted.

    Args:
        visits: `journey, contact, entry, node, arrived_at`.
        entries: `journey, contact, entry, entered_at, left_at`.
        node: the node's name; its first visit in an entry counts.
        until: the horizon: the instant up to which the entries were followed.

    Returns:
        The columns of `cumulative_incidence` after `journey`.

    Raises:
        DataError: when a column is missing, nobody visited the node, or an entry begins after `until`.

    >>> at = pd.to_datetime(["2026-03-01T00:00Z", "2026-03-04T00:00Z"])
    >>> visits = pd.DataFrame({"journey": "trial", "contact": "ada", "entry": 1, "node": ["hello", "offer"],
    ...                        "arrived_at": at})
    >>> entries = pd.DataFrame({"journey": "trial", "contact": ["ada"], "entry": 1, "entered_at": at[:1],
    ...                         "left_at": pd.to_datetime([None], utc=True)})
    >>> time_to_node(visits, entries, "offer", pd.Timestamp("2026-03-08T00:00Z"))[["after", "n_events"]]
       after  n_events
    0 0 days         0
    1 3 days         1
    """
    key = ["journey", "contact", "entry"]
    require_columns(visits, [*key, "node", "arrived_at"], "visits")
    require_columns(entries, [*key, "entered_at", "left_at"], "entries")
    there = visits[visits["node"] == node]
    if there.empty:
        raise DataError(f"nobody visited {node!r}; {known(node, visits['node'].unique(), 'nodes')}")
    first = there.groupby(key, observed=True)["arrived_at"].min().rename("reached_at").reset_index()
    of_journey = entries[entries["journey"].isin(there["journey"].unique())]
    joined = of_journey[[*key, "entered_at", "left_at"]].merge(first, on=key, how="left")
    return _incidence_by_journey(joined, joined["reached_at"], until)


def cumulative_incidence(after: ArrayLike, outcome: ArrayLike) -> pd.DataFrame:
    """The share that has had the event by each time, when other outcomes compete with it (Aalen-Johansen).

    What competes is not censored: an entry that left by another exit will never have the event, and treating it as if
    it still might (one minus Kaplan-Meier) overstates the share. Without competing outcomes the two are equal.

    The variance is the delta-method one (Marubini & Valsecchi 1995, Analysing Survival Data from Clinical Trials and
    Observational Studies, chapter 10); the 95 % interval is symmetric on the scale log(-log(1 - share)), so that
    it stays in 0..1. Aalen, O. & Johansen, S. (1978), Scandinavian Journal of Statistics 5, 141-150.

    Args:
        after: how long each was followed (timedelta64).
        outcome: how that ended: 0 censored, 1 the event, 2 something that rules the event out.

    Returns:
        A frame with one row for zero, for each time with an event, and for the longest time: `after` (timedelta),
        `n_at_risk` (int, just before), `n_events` (int), `reached_share`, `low`, `high` (0..1; the interval is missing
        while the share is 0 after time zero, and once it is 1). Empty when nobody was followed.

    >>> days = np.array([1, 2, 3, 4], dtype="timedelta64[D]")
    >>> cumulative_incidence(days, [1, 2, 1, 0])[["after", "n_at_risk", "n_events", "reached_share"]]
       after  n_at_risk  n_events  reached_share
    0 0 days          4         0           0.00
    1 1 days          4         1           0.25
    2 3 days          2         1           0.50
    3 4 days          1         0           0.50
    """
    followed = np.asarray(after, dtype="timedelta64[us]").astype(np.int64)
    ended = np.asarray(outcome)
    if not len(followed):
        empty = {"after": pd.to_timedelta([]).as_unit("us"), "n_at_risk": np.empty(0, np.int64)}
        return pd.DataFrame({**empty, "n_events": np.empty(0, np.int64)}).assign(reached_share=0.0, low=0.0, high=0.0)
    times = np.unique(np.append(followed, 0))
    place = np.searchsorted(times, followed)
    n_gone, n_events, n_competing = (
        np.bincount(place[mask], minlength=len(times))
        for mask in (np.ones(len(ended), bool), ended == _EVENT, ended == _COMPETING)
    )
    n_at_risk = len(followed) - np.concatenate([[0], np.cumsum(n_gone)[:-1]])
    n_any = n_events + n_competing
    survival = np.cumprod(1 - n_any / n_at_risk)
    before = np.concatenate([[1.0], survival[:-1]])
    share = np.cumsum(before * n_events / n_at_risk)
    low, high = _incidence_interval(share, before, n_at_risk, n_any, n_events)
    kept = (n_events > 0) | (np.arange(len(times)) % (len(times) - 1 or 1) == 0)
    columns = {"n_at_risk": n_at_risk, "n_events": n_events, "reached_share": share, "low": low, "high": high}
    frame = pd.DataFrame({"after": times.astype("timedelta64[us]"), **columns})
    return frame[kept].reset_index(drop=True)


def _incidence_by_journey(entries: pd.DataFrame, reached_at: pd.Series, until: datetime) -> pd.DataFrame:
    """The curves of `cumulative_incidence`, one for each journey, from the instant of each entry's event, if any."""
    horizon = pd.Timestamp(until)
    if horizon.tz is None:
        raise DataError(f'until {horizon} has no time zone; write it with one, such as "{horizon.isoformat()}+00:00"')
    late = int((entries["entered_at"] > horizon).sum())
    if late:
        raise DataError(
            f"{late} entries begin after until {horizon}; give the horizon of the replay, or leave them out"
        )
    event = (reached_at <= horizon).fillna(value=False)
    gone = (entries["left_at"] <= horizon).fillna(value=False) & ~event
    ended_at = reached_at.where(event, entries["left_at"].where(gone, horizon))
    outcome = np.select([event, gone], [_EVENT, _COMPETING], _CENSORED)
    after = (ended_at - entries["entered_at"]).dt.as_unit("us").to_numpy()
    curves = []
    for journey, places in entries.groupby("journey", observed=True).indices.items():
        curve = cumulative_incidence(after[places], outcome[places])
        curve.insert(0, "journey", journey)
        curves.append(curve)
    return pd.concat(curves, ignore_index=True) if curves else cumulative_incidence([], []).assign(journey="")


def _incidence_interval(
    share: NDArray[np.float64],
    before: NDArray[np.float64],
    n_at_risk: NDArray[np.int64],
    n_any: NDArray[np.int64],
    n_events: NDArray[np.int64],
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The interval of `cumulative_incidence`; its double sums over pairs of times are expanded to running sums."""
    n = n_at_risk.astype(float)
    stays = n - n_any
    # Where all remaining had an outcome at once, the share never moves again and the term is zero.
    greenwood = np.divide(n_any, n * stays, out=np.zeros_like(n), where=stays > 0)
    cross = before * n_events / n**2
    variance = share**2 * np.cumsum(greenwood) - 2 * share * np.cumsum(share * greenwood)
    variance += np.cumsum(share**2 * greenwood) + np.cumsum(before**2 * n_events * (n - n_events) / n**3)
    variance -= 2 * (share * np.cumsum(cross) - np.cumsum(share * cross))
    with np.errstate(divide="ignore", invalid="ignore"):
        log_rest = np.log1p(-share)
        half = _Z * np.sqrt(np.maximum(variance, 0)) / ((1 - share) * np.abs(log_rest))
        low, high = -np.expm1(log_rest * np.exp(-half)), -np.expm1(log_rest * np.exp(half))
    unknown = (share <= 0) | (share >= 1)
    low, high = np.where(unknown, np.nan, low), np.where(unknown, np.nan, high)
    if share[0] == 0:
        low[0] = high[0] = 0.0
    return low, high
