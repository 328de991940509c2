"""The values of metrics in a log: what contacts did between two instants, for many contacts at once."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import numpy as np

from journeylab import conditions as c
from journeylab.binding import LogNames, bare_program
from journeylab.conditions import ConditionError
from journeylab.errors import DataError, known
from journeylab.language import formatted, plural, say
from journeylab.machine import new_out, new_state, select_events
from journeylab.postfix import Postfix
from journeylab.sendtime.machines import is_by_machine

from .windows import DAY_US, upto

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from journeylab.eventindex import Stream
    from journeylab.eventlog import EventLog
    from journeylab.experiments.metrics import Metric, Value

    from .windows import Floats, Ints

__all__ = ["EventValues", "check_sources"]

_MAY_BE_NONE = ("bounced", "complained", "unsubscribed")
_OF_MACHINES = ("opened", "clicked")
_SENT = "sent"


class EventValues:
    """Looks up the values of metrics in a log; without `machines`, opens and clicks of machines do not count.

    Attributes:
        log: the log.
        notes: what to know of the values looked up so far, in sentences.
    """

    def __init__(self, log: EventLog, *, machines: bool) -> None:
        self.log, self.notes = log, list[str]()
        self._machines = machines
        self._streams: dict[tuple[str, str | None], Stream] = {}

    def between(self, value: Value, where: str | None, contact: Ints, start: Ints, end: Ints) -> Floats:
        """A value of each contact over its events strictly after `start` and no later than `end` (microseconds).

        Flags are 0 and 1, times are days; a time is missing (NaN) where nothing came. Of `sent` events the ones at
        `start` count, and those at `end` do not.

        Raises:
            DataError: when a condition is at fault, or a sum is of no numbers.
        """
        event, prop = source_of(value.source, self.log)
        stream = self._stream(event, where)
        earlier = 1 if event == _SENT else 0
        begin = upto(stream, contact, start - earlier)
        if value.how == "after":
            return self._after(stream, contact, begin, start, end - earlier)
        stop = np.maximum(upto(stream, contact, end - earlier), begin)
        if value.how == "sum":
            return self._sum(stream, value.source, str(prop), begin, stop)
        n = stop - begin
        return np.asarray(n if value.how == "count" else n > 0, np.float64)

    @staticmethod
    def counted(stream: Stream, contact: Ints, start: Ints, end: Ints) -> Ints:
        """How many occurrences each contact has strictly after `start` and no later than `end`."""
        return np.asarray(upto(stream, contact, end) - upto(stream, contact, start))

    @staticmethod
    def _after(stream: Stream, contact: Ints, begin: Ints, start: Ints, end: Ints) -> Floats:
        is_there = begin < stream.offsets[contact + 1]
        at = np.append(stream.at, 0)[np.where(is_there, begin, -1)]
        return np.where(is_there & (at <= end), (at - start) / DAY_US, np.nan)

    def _sum(self, stream: Stream, source: str, prop: str, begin: Ints, stop: Ints) -> Floats:
        column = self.log.property(prop)
        if column.kind not in ("number", "flag", "unknown"):
            raise DataError(f"{source!r} is a {column.kind} in this log; only numbers add up")
        amounts = np.append(np.nan_to_num(column.values[stream.row], nan=0.0), 0.0)
        # In the order of the stream, so that what lies between two units is added up once at the most.
        order = np.argsort(begin, kind="stable")
        edges = np.column_stack([begin[order], stop[order]]).ravel()
        sums = np.empty(len(begin))
        if len(edges):
            sums[order] = np.add.reduceat(amounts, edges)[::2]
        return np.where(stop > begin, sums, 0.0)

    def _stream(self, event: str, where: str | None) -> Stream:
        """The events of a name that count."""
        if (event, where) not in self._streams:
            stream = self.log.stream(event)
            if not self._machines and event in _OF_MACHINES:
                by_machine = is_by_machine(self.log, event) >= 0
                if by_machine.any():
                    note = plural(
                        "{n} `{event}` event of {of} were made by machines and do not count.",
                        "{n} `{event}` events of {of} were made by machines and do not count.",
                        int(by_machine.sum()),
                        event=event,
                        of=formatted(len(by_machine)),
                    )
                    self.notes.append(note)
                stream = stream.where(~by_machine)
            if not self.log.occurs(event):
                self.notes.append(say("There is no `{event}` in this log: every value of it is 0.", event=event))
            elif where is not None:
                stream = stream.where(_meeting(self.log, where, stream.row))
            self._streams[event, where] = stream
        return self._streams[event, where]


def source_of(source: str, log: EventLog) -> tuple[str, str | None]:
    """The event and the property that a source names; an event of that very name, dots included, comes first."""
    if "." not in source or source in log.event_names or log.occurs(source):
        return source, None
    event, _, prop = source.rpartition(".")
    return event, prop


def check_sources(log: EventLog, metrics: Iterable[Metric]) -> None:
    """Refuses metrics of what the log does not have, with the nearest names; all faults at once.

    Raises:
        DataError: when an event never occurs or has no such property, or a property is asked of where an event counts.
    """
    there = [name for name in log.event_names if log.occurs(name)]
    faults = []
    for metric in metrics:
        for value in metric.columns():
            event, prop = source_of(value.source, log)
            place = f"metric {metric.name!r}"
            if not log.occurs(event) and event not in _MAY_BE_NONE:
                faults.append(f"{place}: no event {event!r} in this log; {known(event, there, 'events')}")
            elif value.how == "sum" and prop is None:
                faults.append(f"{place}: {value.source!r} is an event and has no sum; write event.property")
            elif value.how != "sum" and prop is not None:
                faults.append(f"{place}: it counts events; write {event!r}, and where= for a condition on {prop!r}")
            elif prop is not None and prop not in log.property_names:
                faults.append(f"{place}: no property {prop!r}; {known(prop, log.property_names, 'properties')}")
    if faults:
        raise DataError("\n".join(faults))


def _meeting(log: EventLog, where: str, rows: Ints) -> NDArray[np.bool_]:
    """Which events, by their rows, meet a condition on their properties, judged by the machine (rule 7).

    Raises:
        DataError: when the condition is at fault or does not fit the log.
    """
    try:
        tree = c.parse(where, scope="past").tree
    except ConditionError as problem:
        raise DataError(f"where={where!r}: {problem}") from None
    names = LogNames(log)
    postfix = Postfix(names, past=True)
    condition = postfix.condition(tree, (), {}, {})
    if postfix.faults:
        raise DataError(f"where={where!r}: " + "; ".join(fault.message for fault in postfix.faults))
    program = bare_program(postfix)
    world, kept = names.world(program.code, until_us=log.end_us, match_us=0, scores={})
    keep = np.zeros(len(rows), np.bool_)
    select_events(
        program, world, new_state(program, 1), new_out(program, 0), condition, np.ascontiguousarray(rows), keep
    )
    del kept  # alive until here, for the world holds addresses
    return keep
