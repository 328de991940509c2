"""What was known of contacts when they were sent to, as numbers for learners; nothing later is in it."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pandas as pd

from journeylab.sendtimes import WEEK

from .estimator import SendTimeEstimator
from .sends import HOUR_US, SendTable

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = [
    "CONTACT_COLUMNS", "HOUR_COLUMNS", "ContactCurves", "contact_features", "hour_features", "near_shares",
    "training_matrix",
]  # fmt: skip

CONTACT_COLUMNS = (
    "hours_since_send", "hours_since_answer", "sends_7d", "sends_30d", "n_sends", "n_answers", "answer_rate",
    "night_share", "morning_share", "afternoon_share", "evening_share", "weekend_share", "segment", "message_rate",
)  # fmt: skip
"""What is known of a contact as of an instant, in the order of `contact_features`."""
HOUR_COLUMNS = ("day_sin", "day_cos", "week_sin", "week_cos", "near_share")
"""The local hour of sending, as a place on the day's and on the week's circle, and how many answers came near it."""
_DAY = 24
_PART = 6  # hours
_LONG_AGO = 8_760.0  # hours: a year, which also stands for never
_CONTACT_WEIGHT, _GROUP_WEIGHT = 5.0, 20.0  # sends that the rate of all counts for
_NEAR = np.abs((np.arange(_DAY)[:, None] - np.arange(_DAY) + _DAY // 2) % _DAY - _DAY // 2) <= 2
_SAMPLE = 4_000  # contacts, of whom means are taken


class _Stream(NamedTuple):
    """Events of owners, by owner and then instant."""

    owner: NDArray[np.int64]
    at: NDArray[np.int64]

    @classmethod
    def of(cls, owner: NDArray[np.int64], at: NDArray[np.int64]) -> tuple[_Stream, NDArray[np.int64]]:
        """The stream, and the order in which it has the events."""
        order = np.lexsort((at, owner))
        return cls(owner[order], at[order]), order

    def place(self, owner: NDArray[np.int64], at: NDArray[np.int64]) -> NDArray[np.int64]:
        """The place of the first event of each owner at or after each instant: before it are the earlier ones."""
        times = np.unique(self.at)
        width = len(times) + 1  # keys times instants stay far below 2**63: both are counted, not measured
        events = self.owner * width + np.searchsorted(times, self.at)
        return np.asarray(np.searchsorted(events, owner * width + np.searchsorted(times, at)), np.int64)

    def first(self, owner: NDArray[np.int64]) -> NDArray[np.int64]:
        return np.asarray(np.searchsorted(self.owner, owner), np.int64)


def contact_features(
    sends: SendTable, contact: NDArray[np.int64], at: NDArray[np.int64], message: NDArray[np.int64] | None = None
) -> NDArray[np.float64]:
    """What was known of contacts strictly before instants: float64 (row, 14), all finite, by `CONTACT_COLUMNS`.

    `hours_since_send` and `hours_since_answer` are at most a year, which stands for never; `sends_7d` and `sends_30d`
    count sends; `n_sends` and `n_answers` are all so far. `answer_rate` is drawn to the rate of all contacts as of then
    by 5 sends. `night_share` to `evening_share` are the shares of the contact's answers from 0:00, 6:00, 12:00 and
    18:00 local, and `weekend_share` that on Saturdays and Sundays, drawn to even shares by one answer. `segment` is its
    place in `sends.segments`, -1 for none; `message_rate` the rate of the message as of then, drawn to that of all by
    20 sends. An answer counts from the instant at which it came.

    Args:
        sends: the sends whose past it is.
        contact: int64, places in `sends.contacts`.
        at: int64, microseconds since 1970-01-01T00:00Z.
        message: int64, places in `sends.messages`; without, `message_rate` is the rate of all.
    """
    answers, hour, answered, answer_at = _answers(sends)
    sent, _ = _Stream.of(sends.contact, sends.at)

    before, first = sent.place(contact, at), sent.first(contact)
    n_sends = before - first
    n_of = [before - sent.place(contact, at - days * _DAY * HOUR_US) for days in (7, 30)]
    answer_before, answer_first = answers.place(contact, at), answers.first(contact)
    n_answers = answer_before - answer_first

    kind = np.column_stack([hour % _DAY // _PART == part for part in range(_DAY // _PART)] + [hour >= 5 * _DAY])
    so_far = _added_up(kind)
    counts = so_far[answer_before] - so_far[answer_first]
    even = np.array([_PART / _DAY] * (_DAY // _PART) + [2 / 7])
    shares = (counts + even) / (n_answers + 1)[:, None]

    all_sent, all_answered = (np.searchsorted(np.sort(one), at) for one in (sends.at, answer_at))
    rate = (all_answered + 1) / (all_sent + _GROUP_WEIGHT)
    message_rate = rate
    if message is not None:
        by_message, _ = _Stream.of(sends.message + 1, sends.at)
        of_message, _ = _Stream.of(sends.message[answered] + 1, answer_at)
        key = message + 1
        n, k = (one.place(key, at) - one.first(key) for one in (by_message, of_message))
        message_rate = (k + _GROUP_WEIGHT * rate) / (n + _GROUP_WEIGHT)
    return np.column_stack(
        [
            _hours_since(sent, before, n_sends, at),
            _hours_since(answers, answer_before, n_answers, at),
            *n_of,
            n_sends,
            n_answers,
            (n_answers + _CONTACT_WEIGHT * rate) / (n_sends + _CONTACT_WEIGHT),
            shares,
            sends.segment[contact],
            message_rate,
        ]
    )


def near_shares(sends: SendTable, contact: NDArray[np.int64], at: NDArray[np.int64]) -> NDArray[np.float32]:
    """The share of contacts' answers strictly before instants within two hours of each hour of the day, of any day.

    float32 (row, 24), drawn to 5/24 by one answer; arguments as for `contact_features`.
    """
    answers, hour, *_ = _answers(sends)
    so_far = _added_up((hour[:, None] % _DAY).astype(np.int64) == np.arange(_DAY))
    before, first = answers.place(contact, at), answers.first(contact)
    counts = (so_far[before] - so_far[first]).astype(np.float32) @ _NEAR.astype(np.float32)
    return np.asarray((counts + _NEAR[0].mean()) / (before - first + 1)[:, None], np.float32)


def _answers(sends: SendTable) -> tuple[_Stream, NDArray[np.float64], NDArray[np.int64], NDArray[np.int64]]:
    """Answers by contact and instant with their local hours of the week; then the answered sends and the instants."""
    answered = np.flatnonzero(sends.answered)
    after = sends.after[sends.outcome][answered]
    answer_at = sends.at[answered] + after
    answers, order = _Stream.of(sends.contact[answered], answer_at)
    return answers, ((sends.hour[answered] + after / HOUR_US) % WEEK)[order], answered, answer_at


def _added_up(is_kind: NDArray[np.bool_]) -> NDArray[np.int32]:
    """How many rows before each place are of each kind: int32 (row + 1, kind)."""
    return np.vstack([np.zeros((1, is_kind.shape[1]), np.int32), np.cumsum(is_kind, axis=0, dtype=np.int32)])


def _hours_since(
    stream: _Stream, before: NDArray[np.int64], n: NDArray[np.int64], at: NDArray[np.int64]
) -> NDArray[np.float64]:
    if not len(stream.at):
        return np.full(len(at), _LONG_AGO)
    hours = (at - stream.at[np.maximum(before - 1, 0)]) / HOUR_US
    return np.where(n > 0, np.minimum(hours, _LONG_AGO), _LONG_AGO)


def hour_features(hour: NDArray[np.int64], near: NDArray[np.float32]) -> NDArray[np.float64]:
    """Local hours of the week as a learner takes them: float64 (row, 5), by `HOUR_COLUMNS`.

    An hour stands for its middle; `near` has the `near_shares` of each row's contact.
    """
    turns = 2 * np.pi * (np.asarray(hour) + 0.5)
    circles = [np.sin(turns / _DAY), np.cos(turns / _DAY), np.sin(turns / WEEK), np.cos(turns / WEEK)]
    return np.column_stack([*circles, near[np.arange(len(near)), np.asarray(hour) % _DAY]])


def training_matrix(sends: SendTable) -> pd.DataFrame:
    """The sends as a learner takes them: a row for each that was looked at for all of `within`; all, if none was.

    Columns: those of `contact_features` as of the send, of `hour_features` at its local hour (float64), and
    `is_answered` (bool). The index is the row of `sends`. A send's features depend on nothing at or after its instant.

    >>> from journeylab import datasets
    >>> from journeylab.sendtime.sends import send_table
    >>> matrix = training_matrix(send_table(datasets.shop(), outcome="opened"))
    >>> matrix.columns[-6:].tolist()
    ['day_sin', 'day_cos', 'week_sin', 'week_cos', 'near_share', 'is_answered']
    """
    rows = np.flatnonzero(sends.is_matured) if sends.is_matured.any() else np.arange(len(sends))
    contact, at = sends.contact[rows], sends.at[rows]
    hour = sends.hour_of_week[rows]
    hours = hour_features(hour, near_shares(sends, contact, at))
    matrix = np.column_stack([contact_features(sends, contact, at, sends.message[rows]), hours])
    table = pd.DataFrame(matrix, columns=[*CONTACT_COLUMNS, *HOUR_COLUMNS], index=rows)
    return table.assign(is_answered=sends.answered[rows])


class ContactCurves(SendTimeEstimator):
    """What models share that ask a learner: chances by hour of contacts as they were known at the last send.

    A model of one's own has `_fit_learner` and `_chances_of`. Learners say nothing of their errors: those are NaN.
    """

    def _fit_learner(self, sends: SendTable) -> None:
        raise NotImplementedError

    def _chances_of(self, known: NDArray[np.float64], near: NDArray[np.float32]) -> NDArray[np.float32]:
        """The chances of contacts: float32 (contact, 168), by their `contact_features` and `near_shares`."""
        raise NotImplementedError

    def _learn(self, sends: SendTable) -> None:
        self._fit_learner(sends)
        # As of the last send, and not of the log's end: sends whose last is long past are those the evidence is
        # learned from, and nobody is sent to so long after everything.
        contacts = np.arange(len(sends.contacts))
        last = np.full(len(contacts), int(sends.at.max()) + 1)
        self._features = contact_features(sends, contacts, last).astype(np.float32)
        self._near = near_shares(sends, contacts, last)
        self._last: tuple[NDArray[np.int64], NDArray[np.float32]] | None = None
        some = self._known[:: -(-len(self._known) // _SAMPLE)]
        chances = self._contact_chances(some)
        self._mean = chances.mean(axis=0)
        segment = sends.segment[some]
        self._by_segment = np.array(
            [chances[segment == one].mean(axis=0) if (segment == one).any() else self._mean
             for one in range(len(sends.segments))], np.float32,
        )  # fmt: skip

    def _contact_chances(self, contact: NDArray[np.int64]) -> NDArray[np.float32]:
        # The same contacts are asked for several times in a row.
        if self._last is None or not np.array_equal(self._last[0], contact):
            codes, place = np.unique(contact, return_inverse=True)
            chance = self._chances_of(self._features[codes].astype(np.float64), self._near[codes])
            self._last = contact, np.maximum(chance, 1e-9)[place]
        return self._last[1]

    def _everyone(self) -> NDArray[np.float32]:
        return np.asarray(self._mean, np.float32)

    def _of_segments(self) -> NDArray[np.float32] | None:
        return self._by_segment if len(self._by_segment) else None

    def _of_contacts(self, contact: NDArray[np.int64]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        chance = self._contact_chances(contact)
        return chance, np.full_like(chance, np.nan)
