"""What a log says of send times: a row for each send, with its local hour of the week and what followed."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from journeylab.clock import NEVER, instant, zones
from journeylab.display import block, said, table
from journeylab.durations import duration_text
from journeylab.errors import DataError, known
from journeylab.language import formatted, say
from journeylab.resulttables import Tables
from journeylab.sendhistory import cut, next_at, positive
from journeylab.sendtimes import WEEK

from .machines import MACHINE_RULES, is_by_machine

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa
    from numpy.typing import NDArray

    from journeylab.eventlog import EventLog

__all__ = ["HOUR_US", "OUTCOMES", "SendTable", "hours_of_slots", "local_hours", "send_table"]

HOUR_US = 3_600_000_000
OUTCOMES = ("clicked", "converted", "opened")
"""What may count as an answer to a send, the most telling first."""
_LEAST_ANSWERS = 1_000
_WEEK_BEGAN = 96  # 1970-01-01 was a Thursday: hours from then to the Monday after
_HEX_DIGITS = WEEK // 4


@dataclass(frozen=True, eq=False, repr=False)
class SendTable(Tables):
    """The sends of a log, by contact and then instant, and what people did about them.

    Attributes:
        contacts: Arrow array, the contacts of the log; `contact` are places in it.
        contact: int64.
        at: int64, microseconds since 1970-01-01T00:00Z.
        hour: float64, the contact's local hour of the week with its fraction, 0 (Monday 00:00) up to 168.
        message: int64, places in `messages`; -1 where the log does not say.
        messages: texts.
        after: by outcome (`OUTCOMES`; those that occur), int64 microseconds from the send to the first such response
            of a person, NEVER where none came within `within` and before the message was sent again.
        by_machine: bool, whether a machine opened or clicked it.
        looked: int64 microseconds, for how long the log could tell of a response.
        within: how long a response is looked for.
        propensity: float64, the probability with which the hour was drawn among `slots`; NaN where nothing was drawn.
        slot_set: int64, the row of `slot_sets` with the hours it was drawn from; -1 where nothing was drawn.
        slot_sets: bool (set, 168).
        outcome: the response that counts as an answer.
        segment: int64 by contact of the log, places in `segments`; -1 where missing.
        segments: texts.
        until: the instant up to which the log was looked at, aware UTC.
        machine_rules: name and version of the rules that tell machines from people.
        notes: what to know of the data, in sentences.
    """

    _table_names: ClassVar = ("table",)

    contacts: pa.Array
    contact: NDArray[np.int64]
    at: NDArray[np.int64]
    hour: NDArray[np.float64]
    message: NDArray[np.int64]
    messages: tuple[str, ...]
    after: dict[str, NDArray[np.int64]]
    by_machine: NDArray[np.bool_]
    looked: NDArray[np.int64]
    within: timedelta
    propensity: NDArray[np.float64]
    slot_set: NDArray[np.int64]
    slot_sets: NDArray[np.bool_]
    outcome: str
    segment: NDArray[np.int64]
    segments: tuple[str, ...]
    until: datetime
    machine_rules: str = MACHINE_RULES
    notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.at)

    def __repr__(self) -> str:
        return (
            f"SendTable({len(self):,} sends to {len(np.unique(self.contact)):,} contacts until {self.until:%Y-%m-%d}, "
            f"{int(self.answered.sum()):,} {self.outcome} within {duration_text(self.within)}, "
            f"{int(self.is_random.sum()):,} at drawn hours)"
        )

    @property
    def answered(self) -> NDArray[np.bool_]:
        """Whether each send was answered by a person."""
        return np.asarray(self.after[self.outcome] < NEVER)

    @property
    def hour_of_week(self) -> NDArray[np.int64]:
        """The whole local hour of the week of each send, 0 to 167."""
        # A float just below 168 is rounded to it.
        return np.minimum(self.hour.astype(np.int64), WEEK - 1)

    @property
    def is_random(self) -> NDArray[np.bool_]:
        """Whether the hour of each send was drawn with a known probability, of several."""
        return np.asarray(self.slot_set >= 0)

    @property
    def is_matured(self) -> NDArray[np.bool_]:
        """Whether each send was looked at for all of `within`."""
        return np.asarray(self.looked >= self.within // timedelta(microseconds=1))

    def rows(self, which: NDArray[np.bool_]) -> SendTable:
        """The table of some sends, of the same contacts."""
        return replace(
            self,
            contact=self.contact[which], at=self.at[which], hour=self.hour[which], message=self.message[which],
            after={name: after[which] for name, after in self.after.items()}, by_machine=self.by_machine[which],
            looked=self.looked[which], propensity=self.propensity[which], slot_set=self.slot_set[which],
        )  # fmt: skip

    def table(self) -> pd.DataFrame:
        """One row for each send, for people.

        Columns: `contact`, `sent_at` (UTC), `hour_of_week` (int), `message`, `clicked_after`, `converted_after`,
        `opened_after` (timedelta, missing where no person did within `within`; those that occur), `by_machine`
        (whether a machine opened or clicked it), `slot_propensity` (float, missing where the hour was not drawn),
        `segment`.
        """
        import pandas as pd

        texts, segments = np.array([*self.messages, None], object), np.array([*self.segments, None], object)
        after = {
            f"{name}_after": pd.to_timedelta(pd.Series(one).where(one < NEVER), unit="us")
            for name, one in self.after.items()
        }
        return pd.DataFrame(
            {
                "contact": self.contacts.take(self.contact).to_pandas(),
                "sent_at": pd.to_datetime(self.at, unit="us", utc=True),
                "hour_of_week": self.hour_of_week,
                "message": texts[self.message],
                **after,
                "by_machine": self.by_machine,
                "slot_propensity": self.propensity,
                "segment": segments[self.segment[self.contact]],
            }
        )

    def _repr_html_(self) -> str:
        answers = [(name, f"{int((after < NEVER).sum()):,}") for name, after in self.after.items()]
        return block(repr(self), table(("what people did", "sends"), answers), said(self.notes))


def send_table(
    log: EventLog,
    *,
    outcome: str | None = None,
    converts: str | None = None,
    within: timedelta | str = "14d",
    segment: str | None = None,
    until: datetime | str | None = None,
    timezone: str = "UTC",
) -> SendTable:
    """The sends of a log with the local hour of the week of each and what followed, as a `SendTable`.

    Args:
        log: the event log, with `sent` events and responses that carry their `message`. `slot_propensity` on `sent`
            events is the probability with which the send's hour was drawn, and `slots` the hours it was drawn from
            (168 bits as 42 hexadecimal digits, bit h for hour h of the week); without `slots`, all hours that were
            ever drawn, if they are as many as the probability says.
        outcome: what counts as an answer, `clicked`, `converted` or `opened`; by default clicks where people made at
            least 1,000, otherwise opens.
        converts: the event that is a conversion: the contact's next one after the send counts.
        within: how long after a send an answer is looked for.
        segment: an attribute of contacts (as of their first send) whose values are segments.
        until: nothing later is looked at: aware, or ISO text; by default the log's end.
        timezone: the zone of contacts without one of their own (rule 3).

    Raises:
        DataError: when there are no sends, an argument does not fit the log, or slots cannot be read.

    >>> from journeylab import datasets
    >>> send_table(datasets.shop(), outcome="opened")
    SendTable(19,459 sends to 6,521 contacts until 2026-05-25, 1,694 opened within 2w, 0 at drawn hours)
    """
    log, within_us = cut(log, until), positive(within)
    sent = log.stream("sent")
    if not len(sent.at):
        raise DataError(f"no `sent` events in this log; {known('sent', log.event_names, 'events')}")
    if segment is not None and segment not in log.attribute_names:
        raise DataError(f"segment={segment!r}: {known(segment, log.attribute_names, 'attributes of contacts')}")
    contact = np.repeat(np.arange(log.n_contacts), np.diff(sent.offsets))
    held = _messages(log)
    message, messages = held[0][sent.row], held[1]
    after, by_machine = _answers(log, contact, sent.at, message, held, within_us)
    if converts is not None:
        stream = log.stream(converts)
        owner = np.repeat(np.arange(log.n_contacts), np.diff(stream.offsets))
        after["converted"] = _within(next_at(owner, stream.at, contact, sent.at) - sent.at, within_us)
    n_answers = {name: int((one < NEVER).sum()) for name, one in after.items()}
    if outcome is None:
        outcome = "clicked" if n_answers.get("clicked", 0) >= _LEAST_ANSWERS else "opened"
    if not n_answers.get(outcome):
        there = ", ".join(f"{name} ({n:,})" for name, n in n_answers.items() if n) or "none at all"
        raise DataError(f"outcome={outcome!r}: no person answered so; what people did: {there}")
    propensity, slot_set, slot_sets, notes = _slots(
        log, sent.row, local := local_hours(log, contact, sent.at, timezone)
    )
    codes, names = _segments(log, segment, contact, sent.at)
    n_machine = int(by_machine.sum())
    if n_machine:
        notes.append(
            say(
                "Machines opened or clicked {n} of {of} sends ({rules}); they do not count.",
                n=formatted(n_machine),
                of=formatted(len(contact)),
                rules=MACHINE_RULES,
            )
        )
    return SendTable(
        log.contact_ids, contact, sent.at, local, message, messages, after, by_machine, log.end_us - sent.at,
        timedelta(microseconds=within_us), propensity, slot_set, slot_sets, outcome, codes, names,
        instant(log.end_us), notes=tuple(notes),
    )  # fmt: skip


def local_hours(
    log: EventLog, contact: NDArray[np.int64], at: NDArray[np.int64], timezone: str = "UTC"
) -> NDArray[np.float64]:
    """The local hours of the week, fractions and all, of contacts at instants: float64, 0 (Monday 00:00) up to 168."""
    names, zone = [timezone], np.zeros(len(at), np.int64)
    if "timezone" in log.attribute_names:
        values = _as_of(log, "timezone", contact, at)
        categories = log.attribute("timezone").categories or []
        names += categories
        zone = np.where(np.isnan(values), 0, np.nan_to_num(values) + 1).astype(np.int64)
    used = np.unique(zone)
    tables = zones([names[code] for code in used], instant(int(at.min())), instant(int(at.max())))
    wall = at.copy()
    for place, code in enumerate(used):
        here, mine = zone == code, slice(tables.first[place], tables.first[place + 1])
        wall[here] += tables.offset[mine][np.searchsorted(tables.at[mine], at[here], side="right") - 1]
    return np.asarray((wall / HOUR_US - _WEEK_BEGAN) % WEEK)


def _as_of(log: EventLog, name: str, contact: NDArray[np.int64], at: NDArray[np.int64]) -> NDArray[np.float64]:
    """The value of an attribute of each contact as of an instant (rule 7)."""
    found = log.attribute(name)
    values = found.base[contact]
    owner = np.repeat(np.arange(log.n_contacts), np.diff(found.offsets))
    order = np.lexsort((found.row, found.at, owner))
    for who, changed_at, value in zip(owner[order], found.at[order], found.value[order], strict=True):
        first, last = np.searchsorted(contact, [who, who + 1])
        values[first:last][at[first:last] >= changed_at] = value
    return values


def _messages(log: EventLog) -> tuple[NDArray[np.int64], tuple[str, ...]]:
    """The message of each row of the log as a code, and the texts; every row has the code -1 where none is named."""
    if "message" not in log.property_names:
        return np.full(log.n_events, -1), ()
    column = log.property("message")
    if column.categories is None:
        raise DataError("the property `message` says what was sent and is a text; map one with columns=")
    return column.held.astype(np.int64), tuple(column.categories)


def _answers(
    log: EventLog, contact: NDArray[np.int64], at: NDArray[np.int64], message: NDArray[np.int64],
    held: tuple[NDArray[np.int64], tuple[str, ...]], within_us: int,
) -> tuple[dict[str, NDArray[np.int64]], NDArray[np.bool_]]:  # fmt: skip
    """After how long a person opened and clicked each send, and whether a machine did."""
    width = len(held[1]) + 1
    key = contact * width + message
    again = np.minimum(within_us, next_at(key, at, key, at) - at)
    after, by_machine = {}, np.zeros(len(at), np.bool_)
    for event in ("clicked", "opened"):
        stream = log.stream(event)
        owner = np.repeat(np.arange(log.n_contacts), np.diff(stream.offsets)) * width + held[0][stream.row]
        rule = is_by_machine(log, event)
        mine = rule < 0
        after[event] = _within(next_at(owner[mine], stream.at[mine], key, at) - at, again)
        by_machine |= _within(next_at(owner[~mine], stream.at[~mine], key, at) - at, again) < NEVER
    # A click is an open that no picture told of.
    after["opened"] = np.minimum(after["opened"], after["clicked"])
    return {name: one for name, one in after.items() if (one < NEVER).any()}, by_machine


def _within(after: NDArray[np.int64], limit: NDArray[np.int64] | int) -> NDArray[np.int64]:
    return np.where(after <= limit, after, NEVER)


def hours_of_slots(text: str) -> NDArray[np.bool_]:
    """The hours of the week that 42 hexadecimal digits stand for: bool (168,), from the lowest bit on.

    Raises:
        ValueError: for anything else.

    >>> hours_of_slots(f"{1 << 9 | 1 << 167:042x}").nonzero()[0].tolist()
    [9, 167]
    """
    if len(text) != _HEX_DIGITS:
        raise ValueError(f"{text!r} has {len(text)} digits and not {_HEX_DIGITS}")
    bits = np.frombuffer(int(text, 16).to_bytes(WEEK // 8, "little"), np.uint8)
    return np.unpackbits(bits, bitorder="little").astype(np.bool_)


def _slots(
    log: EventLog, rows: NDArray[np.int64], hour: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.int64], NDArray[np.bool_], list[str]]:
    """The probability with which each send's hour was drawn, from which set of hours, and what does not fit."""
    n, notes = len(rows), list[str]()
    propensity, slot_set = np.full(n, np.nan), np.full(n, -1)
    if "slot_propensity" not in log.property_names:
        return propensity, slot_set, np.zeros((0, WEEK), np.bool_), notes
    propensity = log.property("slot_propensity").values[rows]
    wrong = propensity[~np.isnan(propensity) & ~((propensity > 0) & (propensity <= 1))]
    if len(wrong):
        raise DataError(f"{len(wrong):,} sends have a slot_propensity outside of 0 to 1, such as {wrong[0]}")
    drawn = propensity < 1
    if "slots" in log.property_names:
        column = log.property("slots")
        codes, texts = column.held[rows].astype(np.int64), column.categories or []
        try:
            sets = np.array([hours_of_slots(text) for text in texts], np.bool_).reshape(-1, WEEK)
        except ValueError as problem:
            raise DataError(f"slots of a send: {problem}; they are 168 bits in hexadecimal") from None
        slot_set[drawn] = codes[drawn]
    else:
        sets = np.zeros((1, WEEK), np.bool_)
        sets[0, hour[drawn].astype(np.int64)] = True
        slot_set[drawn] = 0
    fits = np.zeros(n, np.bool_)
    mine = np.flatnonzero(slot_set >= 0)
    one = sets[slot_set[mine]]
    n_hours = one.sum(axis=1)
    fits[mine] = one[np.arange(len(mine)), hour[mine].astype(np.int64)]
    fits[mine] &= (n_hours > 1) & (np.abs(propensity[mine] * n_hours - 1) < 0.05)
    n_wrong = int((drawn & ~fits).sum())
    if n_wrong:
        notes.append(
            say(
                "{n} of {of} sends with a slot_propensity went at an hour, or with a probability, that their slots do "
                "not have; they count as not drawn.",
                n=formatted(n_wrong),
                of=formatted(int(drawn.sum())),
            )
        )
    slot_set[~fits], propensity[~fits] = -1, np.nan
    return propensity, slot_set, sets, notes


def _segments(
    log: EventLog, segment: str | None, contact: NDArray[np.int64], at: NDArray[np.int64]
) -> tuple[NDArray[np.int64], tuple[str, ...]]:
    if segment is None:
        return np.full(log.n_contacts, -1), ()
    found = log.attribute(segment)
    who, first = np.unique(contact, return_index=True)
    values = np.full(log.n_contacts, np.nan)
    values[who] = _as_of(log, segment, contact[first], at[first])
    if found.categories is not None:
        return np.where(np.isnan(values), -1, np.nan_to_num(values)).astype(np.int64), tuple(found.categories)
    distinct = np.unique(values[~np.isnan(values)])
    if len(distinct) > 50:
        raise DataError(f"segment={segment!r} has {len(distinct):,} different values; segments are few, such as texts")
    return np.where(np.isnan(values), -1, np.searchsorted(distinct, values)), tuple(f"{one:g}" for one in distinct)
