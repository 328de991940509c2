"""What a log says of every send: the features as of its instant, and what came of it and how long one has looked.

Features are values in the language of conditions, evaluated by the machine (rules 3, 6 and 7), so that a model is
asked about a simulated send with exactly what it was fitted on. What came of a send is what journeys see of it: the
contact's first such event with that message after the send (rule 9).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from . import conditions as c
from .attributes import CHANGED
from .binding import LogNames, bare_program
from .clock import NEVER, instant, microseconds
from .conditions import ConditionError
from .durations import duration_text, parse_duration
from .errors import DataError, DefinitionError, Fault, known
from .expressions import literal_text
from .machine import evaluate, new_out, new_state
from .postfix import Postfix
from .program import RESPONSES

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import NDArray

    from .eventlog import EventLog

__all__ = [
    "CONVERTED", "Came", "Features", "Seen", "Sends", "cut", "default_features", "next_at", "positive", "sends_in",
    "training_table",
]  # fmt: skip

CONVERTED = "converted"
_OF_MESSAGES = {"sent", *RESPONSES}
NOT_ORGANIC = {*_OF_MESSAGES, CHANGED, "consent_given", "consent_withdrawn", "erased"}
_UNLESS_BOUNCED = ("opened", "complained", "unsubscribed")
_MOST_EVENTS, _MOST_SUMS, _MOST_ATTRIBUTES, _MOST_VALUES, _LEAST_SHARE = 6, 3, 12, 5, 0.02
_US = timedelta(microseconds=1)


class Came(NamedTuple):
    """What came of each send by way of one response, all int64 microseconds: `after` its `start` (NEVER: nothing).

    `limit` is how long it is looked for at the most: not beyond `within`, nor beyond the send that takes over.
    """

    start: NDArray[np.int64]
    after: NDArray[np.int64]
    limit: NDArray[np.int64]


class Seen(NamedTuple):
    """One response as it is known at an instant: the rows of the sends that could have it, whether it came, when.

    `looked` is how long it was looked for, `after` how long it took where it came, in microseconds.
    """

    rows: NDArray[np.int64]
    came: NDArray[np.bool_]
    looked: NDArray[np.int64]
    after: NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Sends:
    """The sends of a log in order of instant, then contact, and what came of them.

    Attributes:
        log: the log up to the instant that was asked for.
        contact: int64, codes of contacts.
        at: int64, microseconds since 1970-01-01T00:00Z.
        message: int64, places in `messages`.
        messages: the messages that were sent, sorted.
        within_us: how long a response is looked for at the most.
        came: the responses that occur, in the order of `program.RESPONSES`, then `converted` if it was asked for.
    """

    log: EventLog
    contact: NDArray[np.int64]
    at: NDArray[np.int64]
    message: NDArray[np.int64]
    messages: tuple[str, ...]
    within_us: int
    came: dict[str, Came]

    def __len__(self) -> int:
        return len(self.at)

    @property
    def within(self) -> timedelta:
        """How long a response is looked for at the most."""
        return timedelta(microseconds=self.within_us)

    def seen(self, response: str, until_us: int) -> Seen:
        """One response as it is known at an instant: nothing of it looks later."""
        one = self.came[response]
        looked = np.minimum(one.limit, until_us - one.start)
        could = (self.at < until_us) & (looked > 0)
        if response in _UNLESS_BOUNCED and "bounced" in self.came:
            bounced = self.came["bounced"]
            could &= bounced.after > np.minimum(bounced.limit, until_us - self.at)
        rows = np.flatnonzero(could)
        return Seen(rows, one.after[rows] <= looked[rows], looked[rows], one.after[rows])

    def n_matured(self, until_us: int) -> int:
        """How many sends were looked at for the whole of `within`."""
        return int(np.count_nonzero(self.at <= until_us - self.within_us))


def sends_in(log: EventLog, converts: str | None, within: timedelta | str, until: datetime | str | None) -> Sends:
    """The sends of a log up to an instant, with what came of them by then.

    Raises:
        DataError: when there are no sends, they do not say their message, or an argument does not fit the log.
    """
    log, within_us = cut(log, until), positive(within)
    sent = log.stream("sent")
    if not len(sent.at):
        raise DataError(f"no `sent` events in this log; responses are learned from sends. {_events_there(log)}")
    if "message" not in log.property_names or log.property("message").categories is None:
        raise DataError('`sent` events need a text property "message" that says what was sent; map one with columns=')
    codes = log.property("message").held
    n_without = int(np.count_nonzero(codes[sent.row] < 0))
    if n_without:
        raise DataError(
            f"{n_without:,} of {len(sent.at):,} `sent` events have no `message`; say for each what was sent"
        )
    if converts is not None and (converts in _OF_MESSAGES or not len(log.stream(converts).at)):
        raise DataError(f"converts={converts!r}: no such event of a contact's own by then. {_events_there(log)}")
    texts = np.array(log.property("message").categories, object)
    used = np.unique(codes[sent.row])
    order = np.argsort(texts[used])
    place = np.full(len(texts) + 1, -1)
    place[used[order]] = np.arange(len(used))
    contact = np.repeat(np.arange(log.n_contacts), np.diff(sent.offsets))
    by_time = np.lexsort((sent.row, log.rank[contact], sent.at))
    contact, at, message = contact[by_time], sent.at[by_time], place[codes[sent.row[by_time]]]
    found = Sends(log, contact, at, message, tuple(texts[used[order]]), within_us, {})
    found.came.update(_responses(found, place[codes]))
    if converts is not None:
        stream = log.stream(converts)
        owner = np.repeat(np.arange(log.n_contacts), np.diff(stream.offsets))
        limit = np.minimum(within_us, next_at(contact, at, contact, at) - at)
        found.came[CONVERTED] = Came(at, _up_to(limit, next_at(owner, stream.at, contact, at) - at), limit)
    return found


def cut(log: EventLog, until: datetime | str | None) -> EventLog:
    if until is None:
        return log
    try:
        when = datetime.fromisoformat(until) if isinstance(until, str) else until
        at_us = microseconds(when)
    except ValueError as problem:
        raise DataError(f"until: {problem}; write it as 2026-03-29T12:00:00+00:00") from None
    if not log.start_us <= at_us <= log.end_us:
        span = f"from {log.start_at.isoformat()} to {log.end_at.isoformat()}"
        raise DataError(f"until {instant(at_us).isoformat()} lies outside the log, which is {span}")
    return log.truncated(when)


def positive(within: timedelta | str) -> int:
    try:
        length = parse_duration(within)
    except ValueError as problem:
        raise DataError(f"within: {problem}") from None
    if length <= timedelta(0):
        raise DataError(f"within must be longer than zero, got {duration_text(length)}")
    return length // _US


def _events_there(log: EventLog) -> str:
    there = [name for name in log.event_names if len(log.stream(name).at)]
    return known("", there, "events")


def next_at(
    of_key: NDArray[np.int64], of_at: NDArray[np.int64], key: NDArray[np.int64], at: NDArray[np.int64]
) -> NDArray[np.int64]:
    """The instant of the first event of the same key strictly after each instant; far away where there is none."""
    if not len(of_at):
        return np.full(len(at), NEVER)
    times = np.sort(np.concatenate((of_at, at)))
    times = times[np.append(True, times[1:] != times[:-1])]
    width = len(times) + 1  # keys times instants stay far below 2**63: both are counted, not measured
    events = np.sort(of_key * width + np.searchsorted(times, of_at))
    place = np.searchsorted(events, key * width + np.searchsorted(times, at), side="right")
    following = np.append(events, -1)[place]
    return np.where(following // width == key, times[np.minimum(following % width, width - 2)], NEVER)


def _responses(sends: Sends, place: NDArray[np.int64]) -> dict[str, Came]:
    """What came of each send by its own events; `place` is the message of each row of the log."""
    n, key = len(sends.messages), sends.contact * len(sends.messages) + sends.message
    again_at = next_at(key, sends.at, key, sends.at)
    limit = np.minimum(sends.within_us, again_at - sends.at)
    first_at = {}
    for name in RESPONSES:
        stream = sends.log.stream(name)
        message, owner = place[stream.row], np.repeat(np.arange(sends.log.n_contacts), np.diff(stream.offsets))
        mine = message >= 0
        first_at[name] = next_at(owner[mine] * n + message[mine], stream.at[mine], key, sends.at)
    clicked_at = first_at.pop("clicked")
    # A click is an open that no picture told of.
    opened_at = np.where(first_at["opened"] - sends.at <= limit, first_at["opened"], clicked_at)
    opened_at = np.where(opened_at - sends.at <= limit, opened_at, NEVER)
    first_at["opened"] = opened_at
    came = {name: Came(sends.at, _up_to(limit, at - sends.at), limit) for name, at in first_at.items()}
    # Who opened is looked at for a click as long as a send is, from the open on.
    click_limit = np.minimum(sends.within_us, again_at - opened_at)
    after = np.where(opened_at < NEVER, np.maximum(clicked_at - opened_at, 1), NEVER)
    came["clicked"] = Came(opened_at, _up_to(click_limit, after), click_limit)
    return {name: came[name] for name in RESPONSES if (came[name].after < NEVER).any()}


def _up_to(limit: NDArray[np.int64], after: NDArray[np.int64]) -> NDArray[np.int64]:
    return np.where(after <= limit, after, NEVER)


class Features:
    """Values in the language of conditions, evaluated for many contacts and instants at once.

    Raises:
        DefinitionError: when a text is no value, or does not fit the log, with all faults.
    """

    def __init__(self, log: EventLog, texts: Sequence[str], timezone: str = "UTC") -> None:
        names = LogNames(log)
        postfix = Postfix(names)
        self.texts, self._places = tuple(texts), []
        self._before = []
        for i, text in enumerate(self.texts):
            path = ("features", i)
            if text in self.texts[:i]:
                postfix.faults.append(Fault(path, f"{text} is there twice"))
            try:
                tree = c.parse_value(text)
            except ConditionError as problem:
                postfix.faults.append(Fault(path, str(problem)))
                continue
            self._places.append(postfix.value(tree, path))
            kind = _kind(tree, names) if self._places[-1] >= 0 else "number"
            if kind in ("text", "instant", "date"):
                remedy = 'compare it, such as country == "PL"' if kind == "text" else "compare it with one"
                postfix.faults.append(Fault(path, f"{text} is a {kind} in this log and no number; {remedy}"))
            # As of the instant of sending, as a journey's send is asked; only the send itself must not be seen.
            looks_at_sent = any(isinstance(part, c.Aggregate) and part.event == "sent" for part in c.walk(tree))
            self._before.append(1 if looks_at_sent else 0)
        scores = [Fault(("features",), f'score("{name}") has no value here') for name in names.score_names]
        if postfix.faults or scores:
            raise DefinitionError([*postfix.faults, *scores])
        self._program = bare_program(postfix, names.zone(timezone))
        self._world, self._kept = names.world(
            self._program.code,
            until_us=log.end_us,
            match_us=0,
            scores={},
            units=np.empty(0, np.uint64),
            first_at=np.empty(0, np.int64),
            asked_calls=np.empty(0, np.uint8),
        )
        self._state, self._out = new_state(self._program, 1), new_out(self._program, 0)

    def values(self, contact: NDArray[np.int64], at: NDArray[np.int64]) -> NDArray[np.float64]:
        """A row for each (contact, instant of sending), a column for each text: float64, NaN where missing.

        Flags are 0 and 1, durations microseconds, weekdays 0 (Monday) to 6.
        """
        table, column = np.empty((len(at), len(self.texts)), order="F"), np.empty(len(at))
        # Contact by contact, for their events to be in the processor's cache.
        order = np.lexsort((at, contact))
        contact, at = np.ascontiguousarray(contact[order], np.int64), np.ascontiguousarray(at[order], np.int64)
        for i, (place, before) in enumerate(zip(self._places, self._before, strict=True)):
            evaluate(self._program, self._world, self._state, self._out, place, contact, at - before, column)
            table[order, i] = column
        return table


def _kind(tree: c.Tree, names: LogNames) -> str:
    match tree:
        case c.Attribute(name):
            return names.attribute(name)[1]
        case c.Aggregate(fn="last", property=str(name)):
            return names.event_property(name)[1]
        case _:
            return c.kind_of(tree)


def default_features(sends: Sends, until_us: int) -> tuple[str, ...]:
    """The features that a log offers, chosen from what was known at an instant: most telling kinds first.

    How often and how long ago the contact was sent to, opened, clicked, and did the most frequent things of its own;
    sums of numbers over 90 days; attributes, texts by their most frequent values; the local hour and weekday.
    """
    log = sends.log.truncated(instant(until_us))
    count = {name: len(log.stream(name).at) for name in log.event_names}
    texts = ['count("sent", "7d")', 'count("sent", "30d")', 'count("sent")', 'since("sent")', 'since_first("sent")']
    for name, window in (("opened", "30d"), ("clicked", "90d")):
        if count.get(name):
            texts += [f'count("{name}", "{window}")', f'since("{name}")', f'count("{name}") / (count("sent") + 1)']
    own = sorted(
        (name for name in count if count[name] and name not in NOT_ORGANIC), key=lambda one: (-count[one], one)
    )
    for i, name in enumerate(own[:_MOST_EVENTS]):
        event = literal_text(name)
        texts += [f'count({event}, "30d")', f"since({event})", *([f"since_first({event})"] if i == 0 else [])]
    texts += _sums(log, own)
    for name in [one for one in log.attribute_names if one != "timezone"][:_MOST_ATTRIBUTES]:
        texts += _attribute_features(sends, log, name, until_us)
    texts += ["local_hour()", "weekday()"]
    return tuple(text for text in texts if _is_value(text))


def _sums(log: EventLog, own: Sequence[str]) -> list[str]:
    """The sums of the numbers that the most frequent events have."""
    found = []
    for name in own:
        rows = log.stream(name).row
        for prop in log.property_names:
            column = log.property(prop)
            if column.kind == "number" and not np.isnan(column.values[rows]).all():
                found.append(f'sum({literal_text(f"{name}.{prop}")}, "90d")')
    return found[:_MOST_SUMS]


def _attribute_features(sends: Sends, log: EventLog, name: str, until_us: int) -> list[str]:
    found = log.attribute(name)
    if found.kind in ("number", "flag"):
        return [name]
    if found.kind != "text" or found.categories is None:
        return []
    mine = np.unique(sends.contact[sends.at < until_us])
    values = found.base[mine]
    if np.isnan(values).all():  # known from changes alone
        values = found.value
    codes = values[~np.isnan(values)].astype(np.int64)
    n = np.bincount(codes, minlength=len(found.categories))
    frequent = np.flatnonzero(n >= max(_LEAST_SHARE * len(mine), 1))
    by_count = sorted((-int(n[code]), found.categories[code]) for code in frequent)
    return [f"{name} == {literal_text(text)}" for _, text in by_count[:_MOST_VALUES]]


def _is_value(text: str) -> bool:
    try:
        c.parse_value(text)
    except ConditionError:
        return False
    return True


def training_table(
    log: EventLog,
    until: datetime | str | None = None,
    converts: str | None = None,
    features: Sequence[str] | None = None,
    within: timedelta | str = "7d",
    timezone: str = "UTC",
) -> pd.DataFrame:
    """The sends of a log with their features and what came of them: what response models are fitted to.

    Args:
        log: the event log, with `sent` events and their `message`.
        until: nothing later is looked at: aware, or ISO text; by default the log's end.
        converts: the event that is a conversion, if any.
        features: values in the language of conditions; by default those that the log offers.
        within: how long a response is looked for.
        timezone: the zone of contacts without one of their own (rule 3).

    Returns:
        A frame in order of `sent_at`, then contact: `contact`, `message` (text), `sent_at` (UTC); a column named by
        each feature's text (float64, NaN where missing; flags 0 and 1, durations in microseconds, weekdays 0 to 6, as
        of the instant of sending, the send itself not seen); and for each response that occurs a nullable boolean (by
        then; missing where it could not come: `opened`, `complained` and `unsubscribed` of a bounced send, `clicked`
        of one not opened), `<response>_after` (timedelta, missing where it did not come; of `clicked` from the open,
        of all others from the send) and `<response>_looked` (timedelta, how long it was looked for: at most `within`,
        and no further than the same message's next send, for `converted` any next send).

    Raises:
        DataError: when there are no sends or they do not say their message.
        DefinitionError: when a feature is at fault or does not fit the log, with all faults.

    >>> from journeylab import EventLog
    >>> def row(event, at): return {"contact": "ada", "event": event, "occurred_at": at, "message": "hello"}
    >>> log = EventLog.from_rows([row("sent", "2026-03-01T09:00Z"), row("opened", "2026-03-01T11:00Z"),
    ...                           row("sent", "2026-03-09T10:00Z"), row("opened", "2026-03-19T11:00Z")])
    >>> training_table(log, features=['count("sent")', "local_hour()"]).iloc[:, 3:7]
       count("sent")  local_hour()  opened    opened_after
    0            0.0           9.0    True 0 days 02:00:00
    1            1.0          10.0   False             NaT
    """
    import pandas as pd

    sends = sends_in(log, converts, within, until)
    end_us = sends.log.end_us
    texts = default_features(sends, end_us) if features is None else tuple(features)
    values = Features(sends.log, texts, timezone).values(sends.contact, sends.at)
    columns = {
        "contact": sends.log.contact_ids.take(sends.contact).to_pandas(),
        "message": pd.array(np.array(sends.messages, object)[sends.message], dtype="str"),
        "sent_at": pd.Series(sends.at.astype("datetime64[us]")).dt.tz_localize("UTC"),
        **{text: values[:, i] for i, text in enumerate(texts)},
    }
    for name in sends.came:
        seen = sends.seen(name, end_us)
        came, could = np.zeros(len(sends), np.bool_), np.zeros(len(sends), np.bool_)
        after, looked = (np.full(len(sends), np.timedelta64("NaT"), "timedelta64[us]") for _ in range(2))
        came[seen.rows], could[seen.rows] = seen.came, True
        after[seen.rows[seen.came]] = seen.after[seen.came].astype("timedelta64[us]")
        looked[seen.rows] = seen.looked.astype("timedelta64[us]")
        columns |= {name: pd.arrays.BooleanArray(came, ~could), f"{name}_after": after, f"{name}_looked": looked}
    return pd.DataFrame(columns)
