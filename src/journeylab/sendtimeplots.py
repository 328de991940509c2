"""The tables behind pictures of send times: hours of the week, expected gains, and predicted against observed.

`sendtimecharts` draws them with plotly for notebooks, `sendtimedrawing` as static SVG for pages. None names a contact.
"""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import replace
from difflib import get_close_matches
from hashlib import sha256
from statistics import NormalDist
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from .display import plain
from .drawing import share_text
from .errors import DataError, known
from .sendtimes import LEVELS, WEEK, SendTimes
from .visits import wilson_interval

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from .sendtime.estimator import SendTimeEstimator
    from .sendtime.sends import SendTable

__all__ = [
    "DAYS", "answered_hours", "are_chances", "calibration_table", "gain_table", "hour_text", "level_table", "pseudonym",
    "recorded", "row_of_contact", "row_of_segment", "score_text", "week_table",
]  # fmt: skip

DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_CELLS = 48  # hours of the day, on weekdays and at weekends: so many are looked at for a mark
_BEYOND_NOISE = NormalDist().inv_cdf(1 - 0.05 / 2 / _CELLS)
_LEAST_DUE = 5.0  # answers expected in an hour, without which it has no mark
_MARKS = "-.+"
_BESIDE = 2_000


def hour_text(hour_of_week: int) -> str:
    """An hour of the week in words.

    >>> hour_text(0), hour_text(167)
    ('Mon 00:00', 'Sun 23:00')
    """
    return f"{DAYS[hour_of_week // 24]} {hour_of_week % 24:02d}:00"


def pseudonym(contact: Any) -> str:
    """A label for a contact that is always the same and does not show who it is to whoever has no list of contacts.

    >>> pseudonym("ada")
    'contact fdee430d'
    """
    return f"contact {sha256(str(contact).encode()).hexdigest()[:8]}"


def are_chances(about: dict[str, Any]) -> bool:
    """Whether scores are chances of an answer, as `SendTimes.about` tells: those of rules of thumb only order hours."""
    is_rule = bool(about.get("levels")) and not about.get("is_causal") and "assumed" not in about
    return about.get("outcome") is not None and not is_rule


def score_text(score: float, about: dict[str, Any]) -> str:
    """A score as a percentage where it is a chance, otherwise as a number.

    >>> score_text(0.25, {"outcome": "opened"}), score_text(0.25, {})
    ('25.0%', '0.25')
    """
    return share_text(score) if are_chances(about) or score != score else f"{score:.3g}"


def row_of_contact(times: SendTimes, contact: Any) -> int:
    """The place of a contact among those of the send times.

    Raises:
        DataError: for one that they do not know, with the nearest name.
    """
    names = [str(name) for name in times.contacts.to_pylist()]
    wanted = str(contact)
    if wanted in names:
        return names.index(wanted)
    names.sort()
    place = bisect_left(names, wanted)
    # Of a million names the nearest is looked for among those beside it, as comparing with all takes minutes.
    near = get_close_matches(wanted, names[max(0, place - _BESIDE) : place + _BESIDE], n=1)
    guess = f"; did you mean {near[0]!r}?" if near else ""
    raise DataError(f"contact {wanted!r} is not among the {len(names):,} contacts of these send times{guess}")


def row_of_segment(times: SendTimes, segment: str) -> int:
    """The row of `times.scores` that holds for a segment.

    Raises:
        DataError: when they have no segments' scores, or none of that name.
    """
    names = times.about.get("segments", [])
    if "segment" not in times.about.get("levels", []) or not names:
        levels = ", ".join(times.about.get("levels", [])) or "none"
        raise DataError(
            f"segment {segment!r}: these send times have no hours of segments (levels: {levels}); they are "
            "learned where `segment` names an attribute, and used where the log bears them out"
        )
    if segment not in names:
        raise DataError(f"segment {segment!r}: {known(segment, names, 'segments')}")
    return 1 + list(names).index(segment)


def answered_hours(sends: SendTable, segment: str | None = None) -> pd.DataFrame:
    """Which hours answered sends went at, and at which they would have if hours did not matter.

    It rests on nothing but that hours were drawn: if they do not matter, an answered send went at each of the hours it
    could have had with the same probability. Neighbouring hours are added up, Monday to Friday as one and the weekend
    as one, as single hours of the week have few answers.

    Args:
        sends: the sends.
        segment: of contacts of one segment only.

    Returns:
        A row for each hour of the week: `hour_of_week` (int), `n_answers` (int, within an hour of it on days of its
        kind), `n_expected` (float), `ratio` (of both, missing without any expected), `z`, `mark` ("+" more, "-" fewer
        beyond noise over all hours together, else ".").

    Raises:
        DataError: for an unknown segment.
    """
    mine = sends.is_random & sends.answered
    if segment is not None:
        if segment not in sends.segments:
            raise DataError(f"segment {segment!r}: {known(segment, sends.segments, 'segments')}")
        mine &= sends.segment[sends.contact] == sends.segments.index(segment)
    near = _near()
    hours = np.minimum(sends.hour[mine].astype(np.int64), WEEK - 1)
    used, n_of = np.unique(sends.slot_set[mine], return_counts=True)
    expected, variance = np.zeros(WEEK), np.zeros(WEEK)
    for first in range(0, len(used), 20_000):
        some = slice(first, first + 20_000)
        slots = sends.slot_sets[used[some]].astype(float)
        due = (slots / slots.sum(axis=1, keepdims=True)) @ near
        expected += n_of[some] @ due
        variance += n_of[some] @ (due * (1 - due))
    seen = np.bincount(hours, minlength=WEEK) @ near
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = np.where(expected > 0, seen / expected, np.nan)
        z = np.where(variance > 1e-9, (seen - expected) / np.sqrt(variance), 0.0)
    sign = np.where((np.abs(z) > _BEYOND_NOISE) & (expected >= _LEAST_DUE), np.sign(z), 0).astype(int)
    return pd.DataFrame(
        {
            "hour_of_week": np.arange(WEEK), "n_answers": seen.astype(np.int64), "n_expected": expected,
            "ratio": ratio, "z": z, "mark": [_MARKS[one + 1] for one in sign],
        }
    )  # fmt: skip


def _near() -> NDArray[np.float64]:
    """Which hours of the week are added up: float64 (168, 168), 1 within an hour on days of one kind."""
    hour, weekend = np.arange(WEEK) % 24, np.arange(WEEK) // 24 >= 5
    apart = np.abs(hour[:, None] - hour[None])
    return np.asarray((np.minimum(apart, 24 - apart) <= 1) & (weekend[:, None] == weekend[None]), np.float64)


def recorded(times: SendTimes, model: SendTimeEstimator, sends: SendTable) -> SendTimes:
    """The send times with what their pictures need and only the log knows, in `about`.

    That is `within`, `evidence` (a list of the rows of `model.evidence_`), `segments` (names) and `marks` (168
    characters, as in `answered_hours`, for "everyone" and each segment). Whatever `about` has already stays.
    """
    from .durations import duration_text

    rows = [
        {str(name): plain(value) if isinstance(value, float) else value for name, value in row.items()}
        for row in model.evidence_.astype({"n_answers": object, "is_used": object}).to_dict("records")
    ]
    marks = {"everyone": "".join(answered_hours(sends)["mark"])}
    marks |= {name: "".join(answered_hours(sends, name)["mark"]) for name in sends.segments if name != "everyone"}
    more = {
        "within": duration_text(sends.within), "evidence": rows, "segments": list(sends.segments), "marks": marks,
    }  # fmt: skip
    return replace(times, about={**more, **times.about})


def week_table(
    times: SendTimes | SendTimeEstimator, *, contact: Any = None, segment: str | None = None, level: float = 0.9
) -> pd.DataFrame:
    """The score of each hour of the week, and whether it differs from the mean beyond noise.

    Args:
        times: send times, or a fitted model, which for a contact also gives the interval of each hour.
        contact: of this contact.
        segment: of this segment; without either, of everyone.
        level: of the intervals.

    Returns:
        168 rows: `hour_of_week` (int), `day` ("Mon"), `hour` (0..23), `chance` (0..1, or whatever the scores are;
        missing for hours that are never chosen), `low`, `high` (missing where no interval is known), `mark` ("+" above
        and "-" below the mean beyond noise, "." neither, "" where it is not known).

    Raises:
        DataError: for an unknown contact or segment, or send times without anything for everyone.

    >>> times = SendTimes.of_hours(pd.DataFrame({"contact": ["ada"], "hour_of_week": [33]}))
    >>> week = week_table(times, contact="ada")
    >>> week[week["chance"].notna()]
        hour_of_week  day  hour  chance  low  high mark
    33            33  Tue     9     1.0  NaN   NaN
    """
    if contact is not None and segment is not None:
        raise DataError("give a contact or a segment, not both")
    low = high = np.full(WEEK, np.nan)
    marks = [""] * WEEK
    model = None if isinstance(times, SendTimes) else times
    ready: SendTimes = times if isinstance(times, SendTimes) else times.send_times()
    if contact is not None:
        row = int(ready.profile[row_of_contact(ready, contact)])
        chance = ready.scores[row].astype(float) if row >= 0 else np.full(WEEK, np.nan)
        if model is not None and not model.is_rule:
            found = model.scores([contact], level=level)
            chance, low, high = found.chance[0], found.low[0], found.high[0]
            marks = [_MARKS[1 + int(one)] for one in (low > chance.mean()).astype(int) - (high < chance.mean())]
    else:
        row = ready.fallback if segment is None else row_of_segment(ready, segment)
        if row < 0:
            raise DataError("these send times have nothing for everyone; ask for a contact")
        chance = ready.scores[row].astype(float)
        marks = list(ready.about.get("marks", {}).get(segment or "everyone", "")) or marks
    hours = np.arange(WEEK)
    return pd.DataFrame(
        {
            "hour_of_week": hours, "day": np.array(DAYS, object)[hours // 24], "hour": hours % 24, "chance": chance,
            "low": low, "high": high, "mark": marks,
        }
    )  # fmt: skip


def gain_table(times: SendTimes, *, most: int = 100) -> pd.DataFrame:
    """The expected gain of contacts, those with the most first, in groups of five contacts or more.

    Returns:
        A row for each group, at most `most`: `contact_share` (0..1, of contacts with a gain, up to and with this
        group), `n_contacts`, `n_above` (int; those whose interval lies above 0), `gain`, `low`, `high` (means over the
        group; a difference of chances).
    """
    table = times.table().dropna(subset=["gain"]).sort_values("gain", ascending=False, kind="stable")
    n = len(table)
    n_groups = max(1, min(most, n // 5))
    group = (np.arange(n) * n_groups) // max(n, 1)
    found = table.groupby(group)[["gain", "low", "high"]].mean()
    found.insert(0, "n_above", np.bincount(group, table["low"] > 0, len(found))[: len(found)].astype(np.int64))
    found.insert(0, "n_contacts", np.bincount(group, minlength=len(found))[: len(found)])
    found.insert(0, "contact_share", found["n_contacts"].cumsum() / max(n, 1))
    return found.reset_index(drop=True)


def level_table(times: SendTimes) -> pd.DataFrame:
    """How many contacts have advice of each level: `level` (text), `n_contacts` (int), `contact_share` (0..1)."""
    n = np.bincount(times.level, minlength=len(LEVELS))
    return pd.DataFrame({"level": LEVELS, "n_contacts": n, "contact_share": n / max(int(n.sum()), 1)})


def calibration_table(
    times: SendTimes, sends: SendTable, *, before: SendTable | None = None, n_groups: int = 10
) -> pd.DataFrame:
    """The chance that send times give sends at their hours, against how many were answered.

    Sends that one could not yet look at for all of `within` are left out. Give sends from after `about["until"]`: of
    those that it was learned from, a model knows too much.

    Args:
        times: send times whose scores are chances.
        sends: the sends.
        before: earlier ones, which say how much more often than others a message is answered.
        n_groups: how many groups there are at the most.

    Returns:
        A row for each group of alike many sends, by what is predicted: `predicted`, `observed` (0..1), `low`, `high`
        (95 % Wilson interval), `n_sends`, `n_answered` (int). Groups of equal predictions are one.
    """
    from .sendtime.drift import chances_of

    sends = sends.rows(sends.is_matured)
    nothing = sends.rows(np.zeros(len(sends), np.bool_))
    chance = np.clip(chances_of(times, sends, nothing if before is None else before), 0, 1)
    kept = ~np.isnan(chance)
    chance, answered = chance[kept], sends.answered[kept]
    edges = np.unique(np.quantile(chance, np.linspace(0, 1, n_groups + 1)[1:-1])) if len(chance) else np.empty(0)
    group = np.searchsorted(edges, chance, side="right")
    frame = pd.DataFrame({"predicted": chance, "observed": answered.astype(float)}).groupby(group)
    table = frame.mean()
    table["n_sends"], table["n_answered"] = frame.size(), frame["observed"].sum().astype(np.int64)
    low, high = wilson_interval(table["n_answered"], table["n_sends"])
    table.insert(2, "low", low)
    table.insert(3, "high", high)
    return table.reset_index(drop=True)
