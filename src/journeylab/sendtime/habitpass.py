"""One pass of the habit model over all contacts: how likely each habit is of each, and the sums that the fit needs."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numba import njit, prange

from journeylab.sendtimes import WEEK

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["LOG_STEP", "LOG_TIME", "N_TIMES", "Answers", "Curves", "Sums", "posterior", "sums"]

# Own time, in hours, is kept by its logarithm: N_TIMES steps from LOG_TIME on.
N_TIMES = 48
LOG_TIME = float(np.log(0.01))
LOG_STEP = float((np.log(2500.0) - LOG_TIME) / N_TIMES)
_N_PARTS = 8  # of the contacts, for threads; sums are added in this order, whatever the number of threads


class Answers(NamedTuple):
    """Sends by contact, and those of them that were answered.

    Attributes:
        first: int64, one more than there are contacts: contact c's sends are those from `first[c]` up to the next.
        hour: int64 by send, the local hour of the week.
        exposure: float64 by send, how likely an answer is of anybody, relative; by half where one came.
        answer_first: int64, the same as `first` for answered sends.
        sent: float64 by answered send, the local hour of the week at which it was sent, with its fraction.
        answered: float64, that at which it was answered.
        weeks: int64, how many whole weeks lie between the two's weeks.
        segment: int64 by contact, the row of `Curves.log_share`.
    """

    first: NDArray[np.int64]
    hour: NDArray[np.int64]
    exposure: NDArray[np.float64]
    answer_first: NDArray[np.int64]
    sent: NDArray[np.float64]
    answered: NDArray[np.float64]
    weeks: NDArray[np.int64]
    segment: NDArray[np.int64]


class Curves(NamedTuple):
    """The habits.

    Attributes:
        log_share: float64 (segment, habit), the logarithm of how many contacts have each.
        rate: float64 (168, habit), the chance of an answer by the hour of sending, relative to the exposure.
        activity: float64 (168, habit), how much the contact is at it, mean 1.
        own_time: float64 (169, habit), activity added up from the week's start: 168 at its end.
        log_density: float64 (N_TIMES,), of the own time until an answer.
        likeness: how alike contacts are in how much they answer: the shape of their gamma distribution.
        is_timed: whether when an answer came tells of the habit, beside that it came.
    """

    log_share: NDArray[np.float64]
    rate: NDArray[np.float64]
    activity: NDArray[np.float64]
    own_time: NDArray[np.float64]
    log_density: NDArray[np.float64]
    likeness: float
    is_timed: bool


class Sums(NamedTuple):
    """Over all contacts, weighted by how likely each habit is.

    Attributes:
        share: float64 (segment, habit), contacts.
        sent: float64 (168, habit), answered sends by the hour of sending.
        answered: float64 (168, habit), the same by the hour of the answer.
        expected: float64 (168, habit), exposure times the contact's liveliness, by the hour of sending.
        times: float64 (N_TIMES,), answers by own time.
        exposure: float64 by contact, the rates of its sends added up.
        log_likelihood: of everything, but for constants.
    """

    share: NDArray[np.float64]
    sent: NDArray[np.float64]
    answered: NDArray[np.float64]
    expected: NDArray[np.float64]
    times: NDArray[np.float64]
    exposure: NDArray[np.float64]
    log_likelihood: float


@njit(cache=True, inline="always")
def _time_between(own_time, activity, k, sent, answered, weeks):  # type: ignore[no-untyped-def]
    i, j = int(sent), int(answered)
    start = own_time[i, k] + (sent - i) * activity[i, k]
    return own_time[j, k] + (answered - j) * activity[j, k] - start + weeks * WEEK


@njit(cache=True, error_model="numpy", fastmath={"contract", "arcp"})
def _of_contact(a, r, log_rate, log_activity, c, n_habits, p, total):  # type: ignore[no-untyped-def]
    """Fills in how likely each habit is and the exposure under each; returns the logarithm of what was divided by."""
    n = a.answer_first[c + 1] - a.answer_first[c]
    for k in range(n_habits):
        total[k] = 0.0
        p[k] = r.log_share[a.segment[c], k]
    for i in range(a.first[c], a.first[c + 1]):
        hour, exposure = a.hour[i], a.exposure[i]
        for k in range(n_habits):
            total[k] += exposure * r.rate[hour, k]
    for i in range(a.answer_first[c], a.answer_first[c + 1]):
        sent_hour, hour = int(a.sent[i]), int(a.answered[i])
        for k in range(n_habits):
            p[k] += log_rate[sent_hour, k]
        if not r.is_timed:
            continue
        for k in range(n_habits):
            time = _time_between(r.own_time, r.activity, k, a.sent[i], a.answered[i], a.weeks[i])
            x = (np.log(max(time, 1e-9)) - LOG_TIME) / LOG_STEP - 0.5
            x = min(max(x, 0.0), N_TIMES - 1.001)
            j = int(x)
            density = r.log_density[j] + (x - j) * (r.log_density[j + 1] - r.log_density[j])
            p[k] += density + log_activity[hour, k]
    most = -np.inf
    for k in range(n_habits):
        p[k] -= (r.likeness + n) * np.log(r.likeness + total[k])
        most = max(most, p[k])
    whole = 0.0
    for k in range(n_habits):
        p[k] = np.exp(p[k] - most)
        whole += p[k]
    for k in range(n_habits):
        p[k] /= whole
    return most + np.log(whole)


@njit(cache=True, parallel=True, error_model="numpy", fastmath={"contract", "arcp"})
def _sums(a, r, share, sent, answered, expected, times, exposure, likelihood):  # type: ignore[no-untyped-def]
    n_contacts, n_habits = len(a.first) - 1, r.rate.shape[1]
    log_rate, log_activity = np.log(r.rate), np.log(r.activity)
    for part in prange(_N_PARTS):
        p, total = np.empty(n_habits), np.empty(n_habits)
        for c in range(part * n_contacts // _N_PARTS, (part + 1) * n_contacts // _N_PARTS):
            likelihood[part] += _of_contact(a, r, log_rate, log_activity, c, n_habits, p, total)
            n = a.answer_first[c + 1] - a.answer_first[c]
            for k in range(n_habits):
                share[part, a.segment[c], k] += p[k]
                exposure[c] += p[k] * total[k]
                total[k] = p[k] * (r.likeness + n) / (r.likeness + total[k])
            for i in range(a.first[c], a.first[c + 1]):
                for k in range(n_habits):
                    expected[part, a.hour[i], k] += a.exposure[i] * total[k]
            for i in range(a.answer_first[c], a.answer_first[c + 1]):
                sent_hour, hour = int(a.sent[i]), int(a.answered[i])
                for k in range(n_habits):
                    sent[part, sent_hour, k] += p[k]
                    answered[part, hour, k] += p[k]
                    time = _time_between(r.own_time, r.activity, k, a.sent[i], a.answered[i], a.weeks[i])
                    j = int((np.log(max(time, 1e-9)) - LOG_TIME) / LOG_STEP)
                    times[part, min(max(j, 0), N_TIMES - 1)] += p[k]


def sums(answers: Answers, curves: Curves) -> Sums:
    """What the fit needs of all contacts, given the habits; the same whatever the number of threads."""
    n_segments, n_habits = curves.log_share.shape
    share = np.zeros((_N_PARTS, n_segments, n_habits))
    sent, answered, expected = (np.zeros((_N_PARTS, WEEK, n_habits)) for _ in range(3))
    times, likelihood = np.zeros((_N_PARTS, N_TIMES)), np.zeros(_N_PARTS)
    exposure = np.zeros(len(answers.first) - 1)
    _sums(answers, curves, share, sent, answered, expected, times, exposure, likelihood)
    return Sums(
        share.sum(axis=0), sent.sum(axis=0), answered.sum(axis=0), expected.sum(axis=0), times.sum(axis=0),
        exposure, float(likelihood.sum()),
    )  # fmt: skip


@njit(cache=True, parallel=True)
def _posterior(a, r, chance, liveliness):  # type: ignore[no-untyped-def]
    n_contacts, n_habits = len(a.first) - 1, r.rate.shape[1]
    log_rate, log_activity = np.log(r.rate), np.log(r.activity)
    for part in prange(_N_PARTS):
        p, total = np.empty(n_habits), np.empty(n_habits)
        for c in range(part * n_contacts // _N_PARTS, (part + 1) * n_contacts // _N_PARTS):
            _of_contact(a, r, log_rate, log_activity, c, n_habits, p, total)
            n = a.answer_first[c + 1] - a.answer_first[c]
            for k in range(n_habits):
                chance[c, k] = p[k]
                liveliness[c, k] = (r.likeness + n) / (r.likeness + total[k])


def posterior(answers: Answers, curves: Curves) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """How likely each habit is of each contact, and how lively the contact is if it has it: float32 (contact, habit).

    Liveliness is relative, 1 for the mean contact.
    """
    shape = (len(answers.first) - 1, curves.rate.shape[1])
    chance, liveliness = np.empty(shape, np.float32), np.empty(shape, np.float32)
    _posterior(answers, curves, chance, liveliness)
    return chance, liveliness
