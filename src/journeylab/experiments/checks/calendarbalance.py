"""Whether arms share days and hours: where they do not, an effect may be the calendar's."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal, TypeAlias

import numpy as np

from journeylab.display import Shown, plain_rows
from journeylab.errors import DataError
from journeylab.experiments.exposure.windows import DAY_US, microseconds_of
from journeylab.journey import WEEKDAYS
from journeylab.language import formatted, later, say
from journeylab.resulttables import Tables
from journeylab.sendhistory import Features

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import NDArray

    from journeylab.experiments.exposure.exposuretable import Exposures
    from journeylab.experiments.exposure.windows import Ints

__all__ = ["CalendarBalance", "calendar_balance"]

_ALPHA = 0.001
_LEAST_EXPECTED = 5
_WHAT = {"exposures": later("exposures"), "first sends": later("first sends")}
_CALENDARS = {"day": later("day"), "weekday": later("weekday"), "hour": later("hour")}
Of: TypeAlias = Literal["exposures", "first sends"]


@dataclass(frozen=True, eq=False)
class CalendarBalance(Tables, Shown):
    """How arms lie over the calendar.

    Attributes:
        table: a row for `exposures` and for `first sends` (the first send to each unit after its exposure) by each
            `calendar`: `day` (the UTC date), `weekday` and `hour` (local, rule 3). Columns: `of`, `calendar` (text),
            `n_units` (int), `statistic`, `degrees_of_freedom` and `p_value` of the chi-square test that the arms share
            them (missing where there are too few), `largest_difference` (0..1: the greatest distance between the share
            of an arm's units in one place of the calendar and that of all units), `arm` and `place` (text) where it is.
        is_time_treatment: whether arms were meant to differ in when they send.
        name: what messages call the experiment.
        alpha: the p value below which arms are said to differ, divided by the number of tests.
    """

    _table_names: ClassVar = ("table",)

    table: pd.DataFrame
    is_time_treatment: bool
    name: str
    alpha: float

    @property
    def unequal(self) -> pd.DataFrame:
        """The rows in which arms differ though they were not meant to."""
        differ = self.table["p_value"] < self.alpha / max(len(self.table), 1)
        meant = self.is_time_treatment & (self.table["of"] == "first sends")
        return self.table[differ & ~meant]

    @property
    def passed(self) -> bool:
        """Whether arms share the calendar, as far as they were meant to."""
        return bool(self.unequal.empty)

    def sentences(self) -> list[str]:
        """What the arms do not share, in plain words."""
        said = [
            say(
                "{name}: the {what} of the arms differ by {calendar}: {arm!r} has {points} percentage points more or "
                "less than all on {place} (p = {p}). An effect may be the calendar's and not the arm's.",
                name=self.name,
                what=say(_WHAT.get(one.of, one.of)),
                calendar=say(_CALENDARS.get(one.calendar, one.calendar)),
                arm=one.arm,
                points=formatted(100 * one.largest_difference, ".1f"),
                place=one.place,
                p=formatted(one.p_value, ".2g"),
            )
            for one in self.unequal.itertuples()
        ]
        if said:
            return said
        if self.is_time_treatment:
            quiet = say(
                "{name}: nothing says that the arms' exposures differ in days, weekdays or hours.", name=self.name
            )
        else:
            quiet = say(
                "{name}: nothing says that the arms' exposures and first sends differ in days, weekdays or hours.",
                name=self.name,
            )
        return [quiet]

    def to_dict(self) -> dict[str, Any]:
        """The balance as plain data for JSON."""
        return {"passed": self.passed, "sentences": self.sentences(), "balance": plain_rows(self.table)}

    def __repr__(self) -> str:
        return f"CalendarBalance({self.name}: {'shared' if self.passed else 'not shared'} by the arms)"


def calendar_balance(
    exposures: Exposures, *, is_time_treatment: bool = False, timezone: str = "UTC", alpha: float = _ALPHA
) -> CalendarBalance:
    """Whether the arms' exposures, and their first sends after it, share days, local weekdays and local hours.

    Pearson's chi-square over arms and places of the calendar; places are merged with the next until at least five units
    are expected in each arm. Of units that got their arm together, as those of a household, the first counts.

    Args:
        exposures: who was exposed when.
        is_time_treatment: whether arms were meant to differ in when they send; first sends are then shown, not judged.
        timezone: the zone of contacts without one of their own.
        alpha: the p value below which arms are said to differ, over all tests together.

    Raises:
        DataError: when nobody was exposed.

    >>> from journeylab import datasets, replay
    >>> from journeylab.experiments.exposure.exposures import split_exposures
    >>> exposures = split_exposures(replay(datasets.shop_history(), datasets.shop()), "offer", "akacja_welcome")
    >>> calendar_balance(exposures).passed
    True
    """
    import pandas as pd

    if not len(exposures):
        raise DataError(f"{exposures.name}: nobody was exposed, so there is no calendar to look at")
    exposures = exposures.where(exposures.is_first)
    local = Features(exposures.log, ["weekday()", "local_hour()"], timezone)
    arms = exposures.frame["arm"].to_numpy(object)
    sent = exposures.sends[exposures.sends["is_sent"]].drop_duplicates("row")
    row = sent["row"].to_numpy()
    looked_at: list[tuple[Of, NDArray[np.object_], Ints, Ints]] = [
        ("exposures", arms, exposures.contact, exposures.at_us),
        ("first sends", arms[row], exposures.contact[row], microseconds_of(sent["decided_at"])),
    ]
    rows = []
    for of, arm, contact, at in looked_at:
        weekday, hour = local.values(contact, at).astype(np.int64).T if len(at) else (at, at)
        for calendar, place in (("day", at // DAY_US), ("weekday", weekday), ("hour", hour)):
            rows.append({"of": of, "calendar": calendar, "n_units": len(at), **_test(arm, place, calendar)})
    return CalendarBalance(pd.DataFrame(rows), is_time_treatment, exposures.name, alpha)


def _test(arm: NDArray[np.object_], place: Ints, calendar: str) -> dict[str, Any]:
    from scipy import stats

    nothing = {
        "statistic": math.nan, "degrees_of_freedom": 0, "p_value": math.nan, "largest_difference": math.nan,
        "arm": None, "place": None,
    }  # fmt: skip
    arms, arm_code = np.unique(arm.astype(str), return_inverse=True)
    places, place_code = np.unique(place, return_inverse=True)
    counts = np.zeros((len(arms), len(places)), np.int64)
    np.add.at(counts, (arm_code, place_code), 1)
    if len(arms) < 2:
        return nothing
    share = counts / counts.sum(axis=1, keepdims=True)
    distance = np.abs(share - counts.sum(axis=0) / counts.sum())
    i, j = np.unravel_index(np.argmax(distance), distance.shape)
    found = nothing | {
        "largest_difference": float(distance[i, j]), "arm": str(arms[i]), "place": _said(int(places[j]), calendar)
    }  # fmt: skip
    merged = _merged(counts)
    if merged.shape[1] < 2:
        return found
    test = stats.chi2_contingency(merged, correction=False)
    return found | {
        "statistic": float(test.statistic), "degrees_of_freedom": int(test.dof), "p_value": float(test.pvalue)
    }  # fmt: skip


def _merged(counts: NDArray[np.int64]) -> NDArray[np.int64]:
    """Neighbouring places put together until enough units are expected in each of them in the smallest arm."""
    least = _LEAST_EXPECTED * counts.sum() / counts.sum(axis=1).min()
    parts, waiting = [], np.zeros(len(counts), np.int64)
    for column in counts.T:
        waiting = waiting + column
        if waiting.sum() >= least:
            parts.append(waiting)
            waiting = np.zeros(len(counts), np.int64)
    if waiting.any() and parts:
        parts[-1] = parts[-1] + waiting
    return np.array(parts, np.int64).reshape(len(parts), len(counts)).T


def _said(place: int, calendar: str) -> str:
    if calendar == "day":
        return str(np.datetime64(place, "D"))
    return WEEKDAYS[place] if calendar == "weekday" else f"{place:02d}:00 to {place:02d}:59"
