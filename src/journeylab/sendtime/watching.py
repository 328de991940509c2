"""Whether send times in use still hold, and whether newly fitted ones should take their place."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from statistics import NormalDist
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

import numpy as np
import pandas as pd

from journeylab.clock import instant
from journeylab.display import block
from journeylab.display import table as html_table
from journeylab.errors import DataError
from journeylab.policy.result import value_text
from journeylab.progress import Progress
from journeylab.resulttables import Tables
from journeylab.sendtimes import WEEK, SendTimes

from . import drift
from .evaluation import evaluate, microseconds_of
from .sends import HOUR_US, SendTable, send_table
from .value import SendTimeValue, plain_rows

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from journeylab.eventlog import EventLog

__all__ = ["Alarm", "Watch", "watch"]

CHAMPION, CHALLENGER = "champion", "challenger"
_WHAT = {
    "send_hours": "hours of the day at which sends went",
    "send_days": "days of the week on which sends went",
    "answer_hours": "hours of the day at which people answer",
    "answer_days": "days of the week on which people answer",
}


class Alarm(NamedTuple):
    """What is wrong: `name` is that of a row of `drift`, `calibration` or `gain`; `sentence` says it with figures."""

    name: str
    sentence: str


@dataclass(frozen=True, eq=False, repr=False)
class Watch(Tables):
    """What became of send times since they were fitted.

    Attributes:
        version: of the champion, the send times in use.
        challenger: the version of those that may take their place; None without any.
        fitted_until: up to when the champion knew the log; None where it does not say.
        since, until: the sends looked at are from then on, and what came of them until then; aware UTC.
        drift: how sends and answers differ from those before; see `drift.drift_of`.
        calibration: answers against the scores' chances, `period` "all" and the "latest" four weeks: `n_sends`,
            `n_answers`, `predicted_rate`, `observed_rate`, `ratio`, `low`, `high`, `intercept`, `intercept_low`,
            `intercept_high`; without rows where scores are no chances.
        reliability: the same by week, for a chart: `week` (UTC), `n_sends`, `predicted_rate`, `observed_rate`, `low`,
            `high`.
        gain: what the champion gained over the best hour for everyone, on sends at drawn hours since.
        comparison: the challenger against the champion, on those that neither had seen; None without a challenger.
        alarms: what is wrong; empty when nothing is.
        decision: "keep" or "replace" the champion; None without a challenger.
        reason: why, in a sentence; empty without a challenger.
        notes: what to know before using the figures, in sentences.
        level: of all intervals shown, 0..1; alarms have a level of their own, 99 %.
    """

    _table_names: ClassVar = ("drift", "calibration", "reliability")

    version: str
    challenger: str | None
    fitted_until: datetime | None
    since: datetime
    until: datetime
    drift: pd.DataFrame
    calibration: pd.DataFrame
    reliability: pd.DataFrame
    gain: SendTimeValue
    comparison: SendTimeValue | None
    alarms: tuple[Alarm, ...]
    decision: str | None
    reason: str
    notes: tuple[str, ...]
    level: float

    def __repr__(self) -> str:
        names = ", ".join(alarm.name for alarm in self.alarms)
        found = f"alarms: {names}" if names else "no alarm"
        decided = "" if self.decision is None else f"; {self.decision} the champion"
        return f"Watch({self.version} since {self.since:%Y-%m-%d}: {found}{decided})"

    def sentences(self) -> Iterator[str]:
        """What it comes to: alarms, the gain, the decision, then notes."""
        yield from (f"alarm: {alarm.sentence}" for alarm in self.alarms)
        yield from self.gain.sentences
        if self.decision is not None:
            yield f"{self.decision} the champion: {self.reason}"
        yield from (f"note: {note}" for note in self.notes)

    def _repr_html_(self) -> str:
        rows: list[tuple[str, ...]] = [
            (one.name, f"{one.n_before:,}", f"{one.n_since:,}", *map(value_text, (one.before, one.since, one.psi)),
             value_text(one.threshold), "alarm" if one.is_alarm else "")
            for one in self.drift.itertuples()
        ]  # fmt: skip
        parts = [html_table(("drift", "n before", "n since", "before", "since", "PSI", "at most", ""), rows)]
        if len(self.reliability):
            rows = [
                (f"{one.week:%Y-%m-%d}", f"{one.n_sends:,}", value_text(one.predicted_rate),
                 value_text(one.observed_rate), f"{value_text(one.low)} to {value_text(one.high)}")
                for one in self.reliability.itertuples()
            ]  # fmt: skip
            parts.append(html_table(("week from", "sends", "expected", "answered", f"{self.level:.0%} interval"), rows))
        parts.append(html_table(("what it says",), [(one,) for one in self.sentences()]))
        return block(repr(self), *parts)

    def to_dict(self) -> dict[str, Any]:
        """The result as plain data for JSON, with None for what is missing; keys are those of the attributes."""
        return {
            "version": self.version, "challenger": self.challenger,
            "fitted_until": None if self.fitted_until is None else self.fitted_until.isoformat(),
            "since": self.since.isoformat(), "until": self.until.isoformat(),
            **{name: plain_rows(getattr(self, name)) for name in ("drift", "calibration", "reliability")},
            "gain": self.gain.to_dict(),
            "comparison": None if self.comparison is None else self.comparison.to_dict(),
            "alarms": [alarm._asdict() for alarm in self.alarms], "decision": self.decision, "reason": self.reason,
            "notes": list(self.notes), "level": self.level,
        }  # fmt: skip


def watch(
    champion: SendTimes,
    log: SendTable | EventLog,
    *,
    challenger: SendTimes | None = None,
    since: datetime | str | None = None,
    slot_hours: int = 1,
    level: float = 0.9,
    rng: int | np.random.Generator = 0,
    progress: Progress = None,
) -> Watch:
    """Whether send times still hold for the sends since they were fitted, and what to do, as a `Watch`.

    Looked at are drift (hours and days of sends and answers against those before by the population stability index,
    contacts that are not known, answers by machines), calibration (answers against the scores' chances, in all and in
    the latest four weeks), and the gain over the best hour for everyone on sends at drawn hours (`evaluate`). An alarm
    is raised where a figure is beyond its threshold by more than noise at 99 %; thresholds are the constants of
    `journeylab.sendtime.drift`.

    The champion is kept, unless the challenger is better beyond noise on sends that neither had seen; or the champion
    has an alarm and the challenger is not worse beyond noise.

    Args:
        champion: the send times in use.
        log: a log with the sends before, that the champion was fitted to, and since; or its `send_table`.
        challenger: send times that may take the champion's place.
        since: from when on sends are looked at: aware, or ISO text; by default from when the champion was fitted.
        slot_hours: as for `evaluate`.
        level: of the intervals that are shown.
        rng: as for `evaluate`, as is
        progress: for each of what is judged.

    Raises:
        DataError: when it is not said since when, there are no sends since, or an argument does not fit.
    """
    fitted = champion.about.get("until")
    begin = fitted if since is None else since
    if begin is None:
        raise DataError("these send times do not say until when they knew the log; give since=")
    since_us = microseconds_of(begin, "since")
    fitted_us = since_us if fitted is None else microseconds_of(fitted, "until")
    sends = log if isinstance(log, SendTable) else send_table(log, outcome=champion.about.get("outcome"))
    before, recent = sends.rows(sends.at < min(fitted_us, since_us)), sends.rows(sends.at >= since_us)
    if not len(recent):
        raise DataError(
            f"there is no send since {instant(since_us).isoformat()}; the log ends {sends.until.isoformat()}"
        )
    notes = []
    if not len(before):
        notes.append("The log has no sends from before, so there is nothing to tell drift by.")
    drifted = drift.drift_of(before, recent, champion)
    calibration, reliability, said = _calibrated(champion, recent, before, since_us, level)
    given: dict[str, Any] = {"slot_hours": slot_hours, "level": level, "rng": rng, "progress": progress}
    gain = evaluate(sends, {CHAMPION: champion}, since=instant(since_us), **given)
    alarms = (*_drift_alarms(drifted), *_calibration_alarms(calibration), *_gain_alarms(champion, gain))
    comparison, decision, reason = None, None, ""
    if challenger is not None:
        seen = [microseconds_of(one.about["until"], "until") for one in (champion, challenger) if "until" in one.about]
        arms = {CHAMPION: champion, CHALLENGER: challenger}
        begin = instant(max(since_us, *seen) if seen else since_us)
        comparison = evaluate(sends, arms, since=begin, baseline=CHAMPION, **given)
        decision, reason = _decided(comparison, alarms)
    return Watch(
        champion.version, None if challenger is None else challenger.version,
        None if fitted is None else instant(fitted_us), instant(since_us), sends.until, drifted,
        calibration.drop(columns="error"), reliability, gain, comparison, alarms, decision, reason,
        (*notes, *said, *gain.notes), level,
    )  # fmt: skip


def _calibrated(
    times: SendTimes, recent: SendTable, before: SendTable, since_us: int, level: float
) -> tuple[pd.DataFrame, pd.DataFrame, list[str]]:
    columns = ["period", *drift.calibration_of(np.zeros(0), recent.rows(np.zeros(len(recent), np.bool_)), level)]
    nothing = pd.DataFrame(columns=columns), pd.DataFrame(columns=list(drift.RELIABILITY_COLUMNS))
    if not drift.gives_chances(times):
        return *nothing, ["The scores are no chances of an answer, so there is no calibration."]
    if times.about["outcome"] != recent.outcome:
        return *nothing, [f"The scores are chances of `{times.about['outcome']}`, not of `{recent.outcome}`."]
    chance: NDArray[np.float64] = drift.chances_of(times, recent, before)
    mine = recent.is_matured & ~np.isnan(chance)
    if not mine.any():
        return *nothing, ["No send since can be judged yet, so there is no calibration."]
    sends, chance = recent.rows(mine), chance[mine]
    latest = sends.at > sends.at.max() - drift.LATEST * WEEK * HOUR_US
    rows = [
        {"period": name, **drift.calibration_of(chance[which], sends.rows(which), level)}
        for name, which in (("all", np.ones(len(chance), np.bool_)), ("latest", latest))
    ]
    return pd.DataFrame(rows, columns=columns), drift.reliability_of(chance, sends, since_us, level), []


def _drift_alarms(found: pd.DataFrame) -> Iterator[Alarm]:
    for one in found[found["is_alarm"]].itertuples():
        if one.name in _WHAT:
            text = f"The {_WHAT[one.name]} are others than before (PSI {one.psi:.2f}, at most {one.threshold:.2f})."
        elif one.name == "unknown_contacts":
            text = f"{one.since:.0%} of sends go to contacts that are not known (at most {one.threshold:.0%})."
        else:
            text = (
                f"Machines opened or clicked {one.since:.0%} of sends, {one.before:.0%} before (at most "
                f"{one.threshold:.0%} apart)."
            )
        yield Alarm(one.name, text)


def _calibration_alarms(found: pd.DataFrame) -> Iterator[Alarm]:
    z = NormalDist().inv_cdf((1 + drift.ALARM_LEVEL) / 2)
    for one in found.itertuples():
        # Without answers there are fewer than expected, which a ratio has no error for.
        due = one.predicted_rate * one.n_sends
        if max(due, one.n_answers) < drift.LEAST_ANSWERS:
            continue
        is_off = math.isnan(one.ratio) or abs(math.log(one.ratio)) - z * one.error > math.log(drift.RATIO_MOST)
        if is_off:
            when = "" if one.period == "all" else f" in the latest {drift.LATEST} weeks"
            yield Alarm(
                "calibration",
                f"People answered {one.observed_rate:.2%} of sends{when}, where the scores say "
                f"{one.predicted_rate:.2%}: {one.n_answers / due:.2f} times as often (at most {drift.RATIO_MOST} times "
                "more or less, beyond noise).",
            )
            return


def _gain_alarms(times: SendTimes, value: SendTimeValue) -> Iterator[Alarm]:
    # Send times that prefer no hour claim nothing that could fail.
    if not len(value.gains) or len(np.unique(times.scores[np.isfinite(times.scores)])) < 2:
        return
    row = value.gain_of(CHAMPION)
    wider = NormalDist().inv_cdf((1 + drift.ALARM_LEVEL) / 2) / NormalDist().inv_cdf((1 + value.level) / 2)
    if row["gain"] + wider * (row["high"] - row["gain"]) < 0:
        yield Alarm(
            "gain",
            f"Sends at the advised hours are answered less often than at the best hour for everyone, by "
            f"{-row['per_thousand']:.1f} per 1,000 (beyond noise at {drift.ALARM_LEVEL:.0%}).",
        )


def _decided(comparison: SendTimeValue, alarms: tuple[Alarm, ...]) -> tuple[str, str]:
    """What to do with the champion, and why."""
    told = " ".join(comparison.sentences)
    row = comparison.gain_of(CHALLENGER) if len(comparison.gains) else None
    is_better, is_worse = (row is not None and bool(row["is_told"]) and sign * row["gain"] > 0 for sign in (1, -1))
    if is_better:
        return "replace", f"the challenger is better beyond noise. {told}"
    if is_worse:
        return "keep", f"the challenger is worse beyond noise. {told}"
    if alarms:
        names = ", ".join(alarm.name for alarm in alarms)
        return "replace", f"it has alarms ({names}), and the challenger is not worse beyond noise. {told}"
    return "keep", f"it has no alarm, and the challenger is not better beyond noise. {told}"
