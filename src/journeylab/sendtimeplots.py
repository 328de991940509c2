"""The tables behind pictures of send times: hours of the week, expected gains, and predicted against observed.

`sendtimecharts` draws them with plotly for notebooks, `sendtimedrawing` as static SVG for pages. None names a contact.
"""

from __future__ import annotations

from bisect import bisect_left
from difflib import get_close_matches
from hashlib import sha256
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from .errors import DataError, known
from .language import formatted, say, share_text, weekday_text
from .sendtimes import LEVELS, WEEK, SendTimes
from .visits import wilson_interval

if TYPE_CHECKING:
    from .sendtime.estimator import SendTimeEstimator
    from .sendtime.sends import SendTable

__all__ = [
    "DAYS", "are_chances", "calibration_table", "gain_table", "hour_text", "level_table", "pseudonym",
    "row_of_contact", "row_of_segment", "score_text", "week_table",
]  # fmt: skip

DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_BESIDE = 2_000


def hour_text(hour_of_week: int) -> str:
    """An hour of the week in words.

    >>> hour_text(0), hour_text(167)
    ('Mon 00:00', 'Sun 23:00')
    """
    return f"{weekday_text(hour_of_week // 24)} {hour_of_week % 24:02d}:00"


def pseudonym(contact: Any) -> str:
    """A label for a contact that is always the same and does not show who it is to whoever has no list of contacts.

    >>> pseudonym("ada")
    'contact fdee430d'
    """
    return say("contact {code}", code=sha256(str(contact).encode()).hexdigest()[:8])


def are_chances(about: dict[str, Any]) -> bool:
    """Whether scores are chances of an answer, as `SendTimes.about` tells: those of rules of thumb only order hours."""
    is_rule = bool(about.get("levels")) and not about.get("is_causal") and "assumed" not in about
    return about.get("outcome") is not None and not is_rule


def score_text(score: float, about: dict[str, Any]) -> str:
    """A score as a percentage where it is a chance, otherwise as a number.

    >>> score_text(0.25, {"outcome": "opened"}), score_text(0.25, {})
    ('25.0%', '0.25')
    """
    return share_text(score) if are_chances(about) or score != score else formatted(score, ".3g")


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
            marks = ["-.+"[1 + int(one)] for one in (low > chance.mean()).astype(int) - (high < chance.mean())]
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
