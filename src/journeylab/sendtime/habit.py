"""The habit model: when each contact is at it, learned from everyone's answers, and what that does to their chances.

Every contact has one of a number of habits: an hour of the day at which they are busiest, and one of a few kinds of
week. What a habit looks like (the day's shape around its busiest hour, the hours at which everyone is awake, what each
kind of week is worth by day), how common each is, overall and by segment, how long answers take when time is counted
by the contact's own activity, how lively contacts are, and how the activity at the hour of sending moves the chance of
an answer, are all learned from the log: an empirical Bayes model (Robbins 1956; Efron and Morris, JASA 70, 1975),
fitted by EM (Dempster, Laird and Rubin, JRSS B 39, 1977) with the habits' shares smoothed over neighbouring hours at
every step (EMS; Silverman et al., JRSS B 52, 1990). A contact's own sends then weigh the habits: whether each was
answered, and when. So contacts of few sends are drawn to their segment, segments of few contacts to everyone, and every
hour to its neighbours, across midnight and the week's end.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pandas as pd
from scipy.special import gammaln

from journeylab.errors import DataError
from journeylab.sendtimes import WEEK

from .estimator import SendTimeEstimator
from .habitpass import LOG_STEP, LOG_TIME, N_TIMES, Answers, Curves, Sums, posterior, sums
from .sends import HOUR_US, SendTable

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["HabitModel"]

_DAY = 24
_HOURS, _DAYS = np.arange(WEEK) % _DAY, np.arange(WEEK) // _DAY
_SPAN = 2 * WEEK  # hours over which answers are expected
_FEW = 20.0  # answers that a shape is drawn back by
_LEVELS_X = np.log([0.05, 0.1, 0.2, 0.35, 0.6, 1.0, 1.6, 2.4, 3.4, 4.6, 6.5])
# Weekends are worth little, as much as other days, or more: where the kinds of week start from.
_WEEKENDS = ((0.0, -1.0), (0.0, 0.0), (-0.2, 0.7))
_TIME_SD = 0.6  # of the logarithm of own time until an answer: no law of it is sharper
_LEAST_SPREAD = 1.5  # of the logarithm of delays, as a standard deviation: a Weibull of shape 0.85 has it
_FACTORS = np.array([0.7, 0.9, 1.0, 1.1, 1.4])


class _Shape(NamedTuple):
    """What habits are made of, in logarithms: by hour of the day, by hours from the busiest, and by day of the week."""

    awake: NDArray[np.float64]
    around: NDArray[np.float64]
    days: NDArray[np.float64]  # (kind of week, 7)

    def activity(self) -> NDArray[np.float64]:
        """How much contacts of each habit are at it: (168, habit), mean 1; habit 24 * kind + busiest hour."""
        rows = [
            self.awake[_HOURS] + self.around[(_HOURS - busiest) % _DAY] + days[_DAYS]
            for days in self.days
            for busiest in range(_DAY)
        ]
        weights = np.exp(np.array(rows)).T
        return np.ascontiguousarray(weights / weights.mean(axis=0))


class HabitModel(SendTimeEstimator):
    """Learns when each contact is at it, and what a send at those hours gains: empirical Bayes over habits.

    Args:
        n_steps: of the fit; more hardly change it.
        smoothing: over how many hours neighbouring habits share, as the standard deviation of a normal curve.
        day_sd: by how much days of one kind (Monday to Friday; Saturday and Sunday) differ, on a log scale, before the
            data have spoken; 0.001 or more.
        segment_weight: how many contacts' weight draws a segment's habits to everyone's.

    Attributes, once fitted (beside those of `SendTimeEstimator`):
        activity_: float64 (168, habit), mean 1; habit 24 * kind of week + busiest hour.
        share_: float64 (habit,), how common each is among contacts, sums to 1.
        effect_: table with `activity` (1 is the contact's mean hour) and `relative_rate`: what it does to the chance.
        is_timed_: whether it went by when answers came, beside that they came; not where all take about as long.
        likeness_: the shape of the gamma distribution of contacts' liveliness; small where they differ much.

    >>> import numpy as np, pandas as pd
    >>> from journeylab import EventLog
    >>> rng = np.random.default_rng(3)
    >>> at = pd.Timestamp("2026-03-02", tz="UTC") + pd.to_timedelta(rng.integers(0, 28 * 24, 4000), unit="h")
    >>> sent = pd.DataFrame({"contact": rng.integers(0, 400, 4000), "event": "sent", "occurred_at": at, "message": "m",
    ...     "slot_propensity": 1 / 168})
    >>> likes = np.where(sent["contact"] % 2, 9, 20)
    >>> far = np.abs((sent["occurred_at"].dt.hour - likes + 12) % 24 - 12)
    >>> opened = sent[rng.random(4000) < 0.6 * np.exp(-far / 3)].assign(event="opened", slot_propensity=np.nan)
    >>> opened["occurred_at"] += pd.Timedelta(minutes=10)
    >>> model = HabitModel().fit(EventLog.read(pd.concat([sent, opened])))
    >>> model.evidence_[["level", "is_used"]]
          level  is_used
    0  everyone     True
    1   segment    False
    2    person     True
    >>> (model.send_times().table()["hour_of_week"] % 24).groupby(lambda contact: contact % 2).median().tolist()
    [20.0, 9.0]
    """

    def __init__(
        self, n_steps: int = 15, smoothing: float = 1.2, day_sd: float = 0.03, segment_weight: float = 200.0
    ) -> None:
        self.n_steps, self.smoothing, self.day_sd, self.segment_weight = n_steps, smoothing, day_sd, segment_weight

    # Learning

    _learned: tuple[_Shape, NDArray[np.float64], NDArray[np.float64], NDArray[np.float64], float, float]

    def _learn(self, sends: SendTable) -> None:
        least = {"n_steps": 1, "smoothing": 0, "day_sd": 1e-3, "segment_weight": 0}
        for name, bound in least.items():
            if not getattr(self, name) >= bound:
                raise DataError(f"HabitModel: {name} is {bound} or more, got {getattr(self, name)}")
        answers = _answers(sends)
        if not len(answers.sent):
            raise DataError("no send was answered, so there are no habits to learn")
        early, n_steps = self._early, self.n_steps
        if isinstance(early, HabitModel):
            shape, share, density, effect, likeness, scale = early._learned
            n_steps = max(2, n_steps // 2)
        else:
            shape, share, density, effect = self._start(answers)
            likeness, scale = 1.0, float(sends.answered.sum() / max(answers.exposure.sum(), 1e-12))
        is_timed = self._times_tell(answers)
        n_segments = len(self.segments_) + 1
        by_segment = np.tile(share, (n_segments, 1))
        n_of = np.diff(answers.answer_first)
        for step in range(n_steps):
            activity = shape.activity()
            curves = _curves(activity, by_segment, density, effect if is_timed else None, scale, likeness)
            found = sums(answers, curves)
            if step == n_steps - 1:
                break
            share = self._smoothed(found.share.sum(axis=0))
            by_segment = (found.share + self.segment_weight * share) / (
                found.share.sum(axis=1, keepdims=True) + self.segment_weight
            )
            if is_timed:
                shape = self._reshaped(shape, found.answered, _expected_hours(found.sent, curves))
                density = 0.5 * (density + _spread_out(found.times))
                effect = _effect(effect, activity, found, scale)
            else:
                shape = self._reshaped(shape, found.sent, found.expected * curves.rate)
            scale *= found.sent.sum() / (found.expected * curves.rate).sum()
            likeness = _likeness(likeness, n_of, found.exposure)
        self._curves, self._answers = curves, answers
        self.is_timed_ = is_timed
        self._learned = shape, share, density, effect, likeness, scale
        self.activity_, self.share_, self.likeness_ = activity, share, likeness
        relative = effect / np.interp(0, _LEVELS_X, effect) if is_timed else np.exp(_LEVELS_X)
        self.effect_ = pd.DataFrame({"activity": np.exp(_LEVELS_X), "relative_rate": relative})
        self._exposure = float(_exposure(sends).mean())  # of a mean send, which scores are for
        self._n_answers = n_of
        self._posterior: tuple[NDArray[np.float32], NDArray[np.float32]] | None = None

    def _start(self, answers: Answers) -> tuple[_Shape, NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
        """Where the fit starts: habits as common as answers at their busiest hours."""
        by_hour = np.bincount(answers.answered.astype(np.int64) % _DAY, minlength=_DAY) + _FEW
        by_hour = np.log(by_hour / by_hour.mean())
        days = np.repeat(np.array(_WEEKENDS), [5, 2], axis=1)
        shape = _Shape(0.3 * by_hour, np.cos(2 * np.pi * np.arange(_DAY) / _DAY), days)
        share = np.tile(np.exp(0.7 * by_hour), len(days))
        delay = answers.answered - answers.sent + WEEK * answers.weeks
        at = np.clip((np.log(np.maximum(delay, 1e-9)) - LOG_TIME) / LOG_STEP, 0, N_TIMES - 1).astype(np.int64)
        density = _spread_out(np.bincount(at, minlength=N_TIMES))
        effect = 0.6 + 0.4 * np.minimum(np.exp(_LEVELS_X), 3)
        return shape, share / share.sum(), density, effect

    def _times_tell(self, answers: Answers) -> bool:
        """Whether answers come after so different times that when they come tells of the contact's hours.

        Where all take about the same, an answer's hour is that of its send, and only that it came tells anything.
        """
        delay = answers.answered - answers.sent + WEEK * answers.weeks
        return bool(np.log(np.maximum(delay, 1 / 3600)).std() >= _LEAST_SPREAD)

    def _smoothed(self, share: NDArray[np.float64]) -> NDArray[np.float64]:
        by_kind = (share + 1).reshape(-1, _DAY)
        if self.smoothing > 0:
            away = np.minimum(np.arange(_DAY), _DAY - np.arange(_DAY))
            kernel = np.exp(-0.5 * (away / self.smoothing) ** 2)
            turned = np.fft.rfft(by_kind, axis=1) * np.fft.rfft(kernel / kernel.sum())
            by_kind = np.maximum(np.fft.irfft(turned, _DAY, axis=1), 1e-9)
        return np.asarray(by_kind.ravel() / by_kind.sum())

    def _reshaped(self, shape: _Shape, seen_at: NDArray[np.float64], expected: NDArray[np.float64]) -> _Shape:
        """The shapes moved towards where the answers' hours and those expected under the shapes are the same."""
        speed = 1.5  # beyond 1 for EM's small steps
        turned = (_HOURS[:, None] - np.tile(np.arange(_DAY), len(shape.days))) % _DAY
        around = shape.around + speed * _log_ratio(turned, seen_at, expected, _DAY)
        around = 0.5 * (around + around[-np.arange(_DAY) % _DAY])
        awake = shape.awake + speed * _log_ratio(
            np.repeat(_HOURS[:, None], turned.shape[1], axis=1), seen_at, expected, _DAY
        )
        days = shape.days.copy()
        pull = 1 / self.day_sd**2
        for kind in range(len(days)):
            mine = slice(_DAY * kind, _DAY * (kind + 1))
            seen, due = (np.bincount(_DAYS, one[:, mine].sum(axis=1), 7) for one in (seen_at, expected))
            for group in (slice(0, 5), slice(5, 7)):
                level = np.log((seen[group].sum() + _FEW) / (due[group].sum() + _FEW))
                middle = np.average(days[kind, group], weights=seen[group] + 1)
                due_then = due[group] * np.exp(level)
                move = (seen[group] - due_then - pull * (days[kind, group] - middle)) / (due_then + pull)
                days[kind, group] += speed * (level + np.clip(move, -0.3, 0.3))
            days[kind] -= days[kind].mean()
        return _Shape(awake - awake.mean(), around - around.mean(), days)

    # What it knows

    def _everyone(self) -> NDArray[np.float32]:
        return self._chance(self._curves.rate @ self.share_)

    def _of_segments(self) -> NDArray[np.float32] | None:
        if not self.segments_:
            return None
        return self._chance(np.exp(self._curves.log_share[:-1]) @ self._curves.rate.T)

    def _of_contacts(self, contact: NDArray[np.int64]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        weight, lively = self._weights(contact)
        rate = self._curves.rate.T.astype(np.float32)
        n = self._n_answers[contact][:, None]
        mean = (weight * lively) @ rate
        # The square of a gamma's mean times (1 + 1 / shape).
        square = (weight * lively**2 * (1 + 1 / (self.likeness_ + n)).astype(np.float32)) @ rate**2
        chance = self._chance(mean)
        error = np.sqrt(np.maximum(square - mean**2, 0)) * (self._exposure * (1 - chance))
        return chance, error.astype(np.float32)

    def _difference(
        self, contact: NDArray[np.int64], hour: NDArray[np.int64], other: NDArray[np.int64]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        weight, lively = (one.astype(float) for one in self._weights(contact))
        rates = self._curves.rate[hour], self._curves.rate[other]
        chances = [self._chance((weight * lively * rate).sum(axis=1)).astype(float) for rate in rates]
        apart = (rates[0] - rates[1]) * self._exposure * (1 - (chances[0] + chances[1])[:, None] / 2)
        n = self._n_answers[contact][:, None]
        mean = (weight * lively * apart).sum(axis=1)
        square = (weight * lively**2 * (1 + 1 / (self.likeness_ + n)) * apart**2).sum(axis=1)
        return chances[0] - chances[1], np.sqrt(np.maximum(square - mean**2, 0))

    def _chance(self, rate: NDArray[Any]) -> NDArray[np.float32]:
        return np.asarray(-np.expm1(-rate * self._exposure), np.float32)

    def _weights(self, contact: NDArray[np.int64]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        if self._posterior is None:
            self._posterior = posterior(self._answers, self._curves)
        return self._posterior[0][contact], self._posterior[1][contact]


def _answers(sends: SendTable) -> Answers:
    """The sends as the fit takes them, by contact."""
    answered = np.flatnonzero(sends.answered)
    exposure = _exposure(sends)
    exposure[answered] /= 2  # 1 - exp(-x) is x exp(-x / 2), to the third order
    n = len(sends.contacts) + 1
    delay = sends.after[sends.outcome][answered] / HOUR_US
    sent = sends.hour[answered]
    ends = sent + delay
    weeks = np.floor(ends / WEEK)
    return Answers(
        np.searchsorted(sends.contact, np.arange(n)), sends.hour_of_week, exposure,
        np.searchsorted(sends.contact[answered], np.arange(n)), sent, np.minimum(ends - weeks * WEEK, WEEK - 1e-9),
        weeks.astype(np.int64), np.where(sends.segment < 0, len(sends.segments), sends.segment),
    )  # fmt: skip


def _exposure(sends: SendTable) -> NDArray[np.float64]:
    """How likely an answer to each send is of anybody at a mean hour: by message, week and time that one looked."""
    answered = sends.answered
    rate = answered.mean()

    def shrunk(code: NDArray[np.int64]) -> NDArray[np.float64]:
        n = np.bincount(code)
        return np.asarray((np.bincount(code, answered) + _FEW) / (n + _FEW / rate) / rate)

    week = (sends.at - sends.at.min()) // (WEEK * HOUR_US)
    after = np.sort(sends.after[sends.outcome][answered])
    share_by_then = np.searchsorted(after, sends.looked) / max(len(after), 1)
    limit = np.where(sends.is_matured, 1.0, np.clip(share_by_then, 0.01, 1.0))
    return np.asarray(rate * shrunk(sends.message + 1)[sends.message + 1] * shrunk(week)[week] * limit)


def _curves(
    activity: NDArray[np.float64], share: NDArray[np.float64], density: NDArray[np.float64],
    effect: NDArray[np.float64] | None, scale: float, likeness: float,
) -> Curves:  # fmt: skip
    own_time = np.concatenate([np.zeros((1, activity.shape[1])), np.cumsum(activity, axis=0)])
    edges = np.exp(LOG_TIME + LOG_STEP * np.arange(N_TIMES + 1))
    rate = scale * (activity if effect is None else np.interp(np.log(activity), _LEVELS_X, effect))
    return Curves(
        np.log(share), rate, activity, own_time, np.log(density / np.diff(edges)), likeness, effect is not None
    )


def _spread_out(times: NDArray[Any]) -> NDArray[np.float64]:
    """The share of answers by own time, smoothed over time's logarithm.

    People who all answer after the same few minutes are not each at it as much as any other.
    """
    steps = np.arange(N_TIMES)
    kernel = np.exp(-0.5 * ((steps[:, None] - steps) * LOG_STEP / _TIME_SD) ** 2)
    spread = (kernel / kernel.sum(axis=0)) @ (times + 0.5)
    return np.asarray(spread / spread.sum())


def _expected_hours(sent: NDArray[np.float64], curves: Curves) -> NDArray[np.float64]:
    """At which hours answers are due: (168, habit), given when those that came were sent, each in the hour's middle."""
    edges = LOG_TIME + LOG_STEP * np.arange(N_TIMES + 1)
    share = np.concatenate([[0.0], np.cumsum(np.exp(curves.log_density) * np.diff(np.exp(edges)))])
    due = np.zeros_like(sent)
    start = curves.own_time[:-1] + 0.5 * curves.activity
    before = np.zeros_like(sent)
    came = np.empty((_SPAN, *sent.shape))
    for hours in range(_SPAN):
        end = np.roll(curves.own_time[1:], -hours, axis=0) - start
        end += WEEK * ((np.arange(WEEK) + hours) // WEEK)[:, None]
        by_then = np.interp(np.log(end), edges, share)
        came[hours], before = by_then - before, by_then
    came *= sent / before
    for hours in range(_SPAN):
        due += np.roll(came[hours], hours, axis=0)
    return due


def _log_ratio(
    place: NDArray[np.int64], seen: NDArray[np.float64], due: NDArray[np.float64], size: int
) -> NDArray[np.float64]:
    """The logarithm of seen over due, added up by place; both a little more, so that few answers say little."""
    both = (np.bincount(place.ravel(), one.ravel(), size) + _FEW for one in (seen, due))
    numerator, denominator = both
    return np.asarray(np.log(numerator / denominator))


def _effect(
    effect: NDArray[np.float64], activity: NDArray[np.float64], found: Sums, scale: float
) -> NDArray[np.float64]:
    """What the activity at the hour of sending does to the chance: a line through levels that never falls."""
    from sklearn.isotonic import isotonic_regression

    x = np.log(activity)
    left = np.clip(np.searchsorted(_LEVELS_X, x) - 1, 0, len(_LEVELS_X) - 2)
    share = np.clip((x - _LEVELS_X[left]) / (_LEVELS_X[left + 1] - _LEVELS_X[left]), 0, 1)
    due = found.expected * scale * np.interp(x, _LEVELS_X, effect)
    seen, expected = (
        np.bincount(left.ravel(), (one * (1 - share)).ravel(), len(_LEVELS_X))
        + np.bincount((left + 1).ravel(), (one * share).ravel(), len(_LEVELS_X))
        for one in (found.sent, due)
    )
    moved = effect * (seen + 1.5 * _FEW) / (expected + 1.5 * _FEW)
    return np.asarray(isotonic_regression(moved, sample_weight=expected + 1))


def _likeness(likeness: float, n_answers: NDArray[np.int64], exposure: NDArray[np.float64]) -> float:
    """The gamma shape, of those near the last one, under which contacts' counts of answers are most likely."""
    most = int(n_answers.max())

    def fit(a: float) -> float:
        by_count = gammaln(a + np.arange(most + 1)) - gammaln(a) + a * np.log(a)
        return float((by_count[n_answers] - (a + n_answers) * np.log(a + exposure)).sum())

    tried = np.clip(likeness * _FACTORS, 0.05, 50.0)
    return float(max(tried, key=fit))
