"""Whether sends are still like those that send times were fitted to, and answers as frequent as their scores say."""

from __future__ import annotations

import math
from statistics import NormalDist
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from journeylab.clock import NEVER
from journeylab.sendtimes import WEEK, SendTimes

from .arms import DAY_HOURS, rows_of
from .sends import HOUR_US, SendTable

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = [
    "ALARM_LEVEL", "LATEST", "LEAST_ANSWERS", "LEAST_SENDS", "MACHINE_MOST", "PSI_MOST", "RATIO_MOST", "UNKNOWN_MOST",
    "calibration_of", "chances_of", "drift_of", "gives_chances", "psi", "reliability_of",
]  # fmt: skip

PSI_MOST = 0.25
"""The population stability index above which, by more than chance, hours or days count as others than before."""
UNKNOWN_MOST = 0.5
"""The share of sends to contacts that the model does not know above which it advises too few."""
MACHINE_MOST = 0.10
"""By how much the share of sends that machines opened or clicked may move, as a difference of shares."""
RATIO_MOST = 1.25
"""The factor by which answers may be more or fewer than the scores say before it counts, beyond noise."""
ALARM_LEVEL = 0.99
"""The level of the intervals that alarms are raised by: each test alone is wrong about once in a hundred times."""
LEAST_SENDS = 200
"""Sends, before and since, without which nothing is said of their hours."""
LEAST_ANSWERS = 50
"""Answers, before and since, without which nothing is said of their hours or of calibration."""
LATEST = 4
"""The weeks that calibration is looked at by themselves, so that an old success does not hide a new failure."""
_HOURS_A_BIN = 3
_MESSAGE_WEIGHT = 20.0  # answers' weight that draws the factor of a message to that of all
DRIFT_COLUMNS = ("name", "n_before", "n_since", "before", "since", "psi", "threshold", "is_alarm")
RELIABILITY_COLUMNS = ("week", "n_sends", "predicted_rate", "observed_rate", "low", "high")


def psi(before: NDArray[Any], since: NDArray[Any]) -> float:
    """The population stability index of two tables of counts, over the same bins.

    sum (p - q) ln(p / q) over shares p and q, the symmetric divergence of Kullback and Leibler (Annals of Mathematical
    Statistics 22, 1951), with half a count more in each bin. Between samples of one population it is about
    (1/n + 1/m) times a chi-square variable with one degree of freedom less than there are bins (Yurdakul, 2018).

    >>> round(psi(np.array([50, 50]), np.array([80, 20])), 3)
    0.406
    """
    p, q = ((counts + 0.5) / (counts + 0.5).sum() for counts in (before, since))
    return float(((p - q) * np.log(p / q)).sum())


def drift_of(before: SendTable, since: SendTable, times: SendTimes) -> pd.DataFrame:
    """How sends and answers differ from those before.

    Hours and days are those of sends at drawn hours and of answers to them, where there are enough on both sides: the
    send times move the others themselves. Hours are in bins of three.

    Returns:
        A table with `name` (`send_hours`, `send_days`, `answer_hours`, `answer_days`, `unknown_contacts`,
        `machine_answers`), `n_before`, `n_since`, `before`, `since` (shares, 0..1), `psi`, `threshold`, `is_alarm`;
        missing where it does not apply.
    """
    rows: list[tuple[Any, ...]] = []
    sides = [side.rows(side.is_matured) for side in (before, since)]
    for what, least, hours_of in (
        ("send", LEAST_SENDS, lambda side: side.hour_of_week),
        ("answer", LEAST_ANSWERS, _hours_answered),
    ):
        drawn = [hours_of(side.rows(side.is_random)) for side in sides]
        hours = drawn if min(map(len, drawn)) >= least else [hours_of(side) for side in sides]
        for part, n_bins, width in (("hours", DAY_HOURS // _HOURS_A_BIN, _HOURS_A_BIN), ("days", 7, DAY_HOURS)):
            counts = [np.bincount(one // width % n_bins, minlength=n_bins) for one in hours]
            rows.append(_psi_row(f"{what}_{part}", counts, least))
    known = [(times.places_of(side.contacts) >= 0)[side.contact] for side in (before, since)]
    shares = [1 - float(one.mean()) if len(one) else math.nan for one in known]
    is_alarm = len(since) >= LEAST_SENDS and len(times.contacts) > 0 and shares[1] > UNKNOWN_MOST
    rows.append(("unknown_contacts", len(before), len(since), *shares, math.nan, UNKNOWN_MOST, is_alarm))
    rows.append(_machine_row(before, since))
    return pd.DataFrame(rows, columns=list(DRIFT_COLUMNS))


def _hours_answered(sends: SendTable) -> NDArray[np.int64]:
    after = sends.after[sends.outcome]
    mine = after < NEVER
    return ((sends.hour[mine] + after[mine] / HOUR_US) % WEEK).astype(np.int64) % WEEK


def _psi_row(name: str, counts: list[NDArray[Any]], least: int) -> tuple[Any, ...]:
    from scipy.stats import chi2

    n, m = (int(one.sum()) for one in counts)
    if min(n, m) < least:
        return (name, n, m, math.nan, math.nan, math.nan, math.nan, False)
    found = psi(*counts)
    most = PSI_MOST + float(chi2.ppf(ALARM_LEVEL, len(counts[0]) - 1)) * (1 / n + 1 / m)
    return (name, n, m, math.nan, math.nan, found, most, found > most)


def _machine_row(before: SendTable, since: SendTable) -> tuple[Any, ...]:
    shares, errors = [math.nan, math.nan], [math.nan, math.nan]
    for i, side in enumerate((before, since)):
        if len(side):
            shares[i] = float(side.by_machine.mean())
            of_contact = np.bincount(side.contact, side.by_machine - shares[i])
            errors[i] = math.sqrt(float((of_contact**2).sum())) / len(side)
    noise = NormalDist().inv_cdf((1 + ALARM_LEVEL) / 2) * math.hypot(*errors)
    most = MACHINE_MOST + noise
    is_alarm = min(len(before), len(since)) >= LEAST_SENDS and abs(shares[1] - shares[0]) > most
    return ("machine_answers", len(before), len(since), *shares, math.nan, most, is_alarm)


def gives_chances(times: SendTimes) -> bool:
    """Whether scores are chances of an answer, so that they can be held against what came; rules of thumb give none."""
    about = times.about
    is_rule = bool(about.get("levels")) and not about.get("is_causal") and "assumed" not in about
    finite = times.scores[np.isfinite(times.scores)]
    is_chance = bool(len(finite)) and float(finite.min()) >= 0 and float(finite.max()) <= 1
    return "outcome" in about and is_chance and not is_rule


def chances_of(times: SendTimes, sends: SendTable, before: SendTable) -> NDArray[np.float64]:
    """The chance of an answer to each send that the scores give it at the hour it went at, NaN without a score.

    Scores are of a mean send; so each chance is multiplied by how much more often than they say its message was
    answered before, drawn to 1 by the weight of 20 answers.
    """
    chance = _scores(times, sends)
    if not len(before):
        return chance
    of_before = _scores(times, before)
    mine = ~np.isnan(of_before) & before.is_matured
    n = len(sends.messages) + 1
    seen, due = (
        np.bincount(before.message[mine] + 1, one[mine], n) for one in (before.answered.astype(float), of_before)
    )
    factor = (seen + _MESSAGE_WEIGHT) / (due + _MESSAGE_WEIGHT)
    return np.asarray(chance * factor[sends.message + 1])


def _scores(times: SendTimes, sends: SendTable) -> NDArray[np.float64]:
    row = rows_of(times, sends.contacts)[sends.contact]
    return np.where(row >= 0, times.scores[row, sends.hour_of_week].astype(float), np.nan)


def calibration_of(chance: NDArray[np.float64], sends: SendTable, level: float) -> dict[str, Any]:
    """Answers held against the chances: `n_sends`, `n_answers`, the two rates, `ratio` and `intercept` with intervals.

    `ratio` is answers over those expected, its interval that of its logarithm with contacts as units; `intercept` is
    the difference of the two rates' log-odds.
    """
    answered, n, z = sends.answered, len(sends), NormalDist().inv_cdf((1 + level) / 2)
    seen, due = float(answered.sum()), float(chance.sum())
    found = {"n_sends": n, "n_answers": int(seen), "predicted_rate": due / n if n else math.nan,
             "observed_rate": seen / n if n else math.nan}  # fmt: skip
    if not (seen and due):
        nothing = ("ratio", "low", "high", "intercept", "intercept_low", "intercept_high", "error")
        return found | dict.fromkeys(nothing, math.nan)
    ratio = seen / due
    of_contact = np.bincount(sends.contact, answered - ratio * chance)
    error = math.sqrt(float((of_contact**2).sum())) / seen
    odds = [math.log(rate / (1 - rate)) if 0 < rate < 1 else math.nan for rate in (seen / n, due / n)]
    apart, wider = odds[0] - odds[1], error / (1 - seen / n) if seen < n else math.nan
    return found | {
        "ratio": ratio, "low": ratio * math.exp(-z * error), "high": ratio * math.exp(z * error), "intercept": apart,
        "intercept_low": apart - z * wider, "intercept_high": apart + z * wider, "error": error,
    }  # fmt: skip


def reliability_of(chance: NDArray[np.float64], sends: SendTable, since_us: int, level: float) -> pd.DataFrame:
    """Answers held against the chances, by week.

    Returns:
        A table with `week` (UTC, when it began, counted from `since_us`), `n_sends`, `predicted_rate`, `observed_rate`
        and the interval of the latter, `low` and `high` (Wilson, JASA 22, 1927).
    """
    week = (sends.at - since_us) // (WEEK * HOUR_US)
    z = NormalDist().inv_cdf((1 + level) / 2)
    rows = []
    for one in np.unique(week):
        mine = week == one
        n, rate = int(mine.sum()), float(sends.answered[mine].mean())
        middle, half = (rate + z * z / (2 * n)), z * math.sqrt(rate * (1 - rate) / n + z * z / (4 * n * n))
        low, high = ((middle + sign * half) / (1 + z * z / n) for sign in (-1, 1))
        began = pd.Timestamp(since_us + int(one) * WEEK * HOUR_US, unit="us", tz="UTC")
        rows.append((began, n, float(chance[mine].mean()), rate, max(low, 0.0), min(high, 1.0)))
    return pd.DataFrame(rows, columns=list(RELIABILITY_COLUMNS))
