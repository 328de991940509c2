"""What followed for the units of an experiment: the values of metrics within a window after each exposure, by the log.

Everything is counted alike in all arms, over events strictly after the exposure and no later than the window's end.
Only what is in the log counts: the replay says who was exposed, not what came of it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import numpy as np

from journeylab.clock import instant, microseconds
from journeylab.conditions import Condition
from journeylab.durations import duration_text, length_text, parse_duration
from journeylab.errors import DataError
from journeylab.experiments.unittable import UnitTable
from journeylab.journey import Journey, Segment
from journeylab.language import formatted, plural
from journeylab.segments import Evaluator
from journeylab.segments import Segments as SegmentsGiven

from .eventvalues import EventValues, check_sources
from .windows import DAY_US, attribute_column

if TYPE_CHECKING:
    from typing import Self

    import pyarrow as pa
    from numpy.typing import NDArray

    from journeylab.experiments.metrics import Metric

    from .exposures import Exposures
    from .windows import Floats, Ints

__all__ = ["OutcomeTable", "unit_table"]

BEFORE = "before"
_FOLLOWED = "followed"
_AT_LEAST = 0.5
_US = timedelta(microseconds=1)


@dataclass(frozen=True, eq=False, repr=False, kw_only=True)
class OutcomeTable(UnitTable):
    """A `UnitTable` that was made from a log, with what is to be known of how.

    Attributes:
        exposures: who was exposed by `until`.
        window: how long after its exposure a unit is looked at.
        until: the instant up to which anything was looked at (aware UTC).
        machines: whether opens and clicks by machines count.
        notes: what to know of the values, in sentences.
    """

    exposures: Exposures
    window: timedelta
    until: datetime
    machines: bool
    notes: tuple[str, ...] = ()

    def with_columns(self, columns: Mapping[str, Any]) -> Self:
        """The table with further columns, whose values are in the order of `exposures.frame`."""
        view = self.another_view()
        self.connection.register(f"more_{view}", _arrow({"unit": self.exposures.unit, **columns}))
        self.connection.execute(f"CREATE VIEW {view} AS SELECT * FROM {self.view} JOIN more_{view} USING (unit)")
        return replace(self, view=view, columns=(*self.columns, *columns), kept={})

    @property
    def matured_share(self) -> float:
        """The share of units that were looked at for the whole window, 0..1."""
        return float(self.rows("coalesce(avg(is_matured::INT), 0)")[0][0])


def unit_table(
    exposures: Exposures,
    metrics: Iterable[Metric],
    *,
    window: timedelta | str,
    until: datetime | str | None = None,
    covariate_window: timedelta | str | None = None,
    segments: SegmentsGiven | None = None,
    attributes: Sequence[str] = (),
    machines: bool = False,
) -> OutcomeTable:
    """The units with the values of metrics, each over its window after the exposure: a `UnitTable`.

    Its columns are `unit` (text), `contact`, `arm`, `probability`, `exposed_at`, `node`, `cluster` and `assigned_unit`
    (where the exposures have them), `is_matured` (whether the whole window lies before `until`; what has not matured
    has values so far), the columns of the metrics, and the segments and attributes asked for. An event at the window's
    very end counts. A `sent` at the very instant of the exposure comes of it and counts as after.

    Args:
        exposures: who was exposed, when, and in which arm.
        metrics: what is measured. Responses to messages (`opened`, `unsubscribed` and so on) count whatever the message
            is, unless `where="message == 'offer'"` says which. The only covariate in a log is `before`: the same value
            over the time before the exposure, missing where the log or the contact begins within that time.
        window: how long after its exposure a unit is looked at, such as "14d".
        until: nothing later is looked at, and who was exposed later is no part of it: aware, or ISO text; by default
            the replay's horizon.
        covariate_window: how long before the exposure is looked at for `before`; by default as long as `window`.
        segments: for columns of flags: whether the membership as of the exposure is at least 0.5.
        attributes: attributes as columns, as of the exposure.
        machines: whether opens and clicks by machines count (`sendtime.machines.MACHINE_RULES`); by default they do
            not.

    Raises:
        DataError: when an event never occurs (but `bounced`, `complained` and `unsubscribed`, of which there may be
            none), a property is no number, a condition is at fault, two metrics have one name, a column has the name of
            another, or an instant or duration does not fit.
        DefinitionError: when a segment is at fault.

    >>> from journeylab import datasets, replay
    >>> from journeylab.experiments.exposure.exposures import split_exposures
    >>> from journeylab.experiments.metrics import Proportion
    >>> run = replay(datasets.shop_history(), datasets.shop())
    >>> unit_table(split_exposures(run, "offer", "akacja_welcome"), [Proportion("purchase")], window="7d")
    OutcomeTable(akacja_welcome/offer: discount ..., free_month ..., plain ...)
    """
    metrics, log = tuple(metrics), exposures.log
    window_us, before_us = _length(window, "window"), _length(covariate_window or window, "covariate_window")
    until_us = _until(exposures, until)
    check_sources(log, metrics)
    n_exposed, exposures = len(exposures), exposures.where(exposures.at_us <= until_us)
    contact, at = exposures.contact, exposures.at_us
    columns: dict[str, Any] = {
        "unit": exposures.unit,
        **{name: exposures.frame[name] for name in exposures.frame.columns if name != "entry"},
        "is_matured": at + window_us <= until_us,
    }
    notes = list(_notes(exposures, window_us, until_us, n_exposed - len(exposures)))
    more = _segments(exposures, segments) | {name: attribute_column(log, name, contact, at) for name in attributes}
    found = EventValues(log, machines=machines)
    values = _values(found, metrics, contact, at, window_us, until_us, before_us)
    for name in (*more, *values):
        if name in columns or (name in more and name in values):
            raise DataError(f"{exposures.name}: two columns are called {name!r}; give the metric a name by called=")
    table = _arrow(columns | more | values)
    made = UnitTable.of_frame(table, metrics, control=exposures.control, shares=exposures.shares, name=exposures.name)
    given = {one.name: getattr(made, one.name) for one in fields(UnitTable)}
    notes = [*exposures.notes, *notes, *found.notes]
    return OutcomeTable(
        **given, exposures=exposures, window=window_us * _US, until=instant(until_us), machines=machines,
        notes=tuple(dict.fromkeys(notes)),
    )  # fmt: skip


def _values(
    found: EventValues,
    metrics: Sequence[Metric],
    contact: Ints,
    at: Ints,
    window_us: int,
    until_us: int,
    before_us: int,
) -> dict[str, Floats]:
    """The columns of all metrics."""
    values: dict[str, Floats] = {}
    has_past = (at - before_us >= found.log.start_us) & (found.log.first_at[contact] <= at - before_us)
    end = np.minimum(at + window_us, until_us)
    for metric in metrics:
        if metric.covariate not in (None, BEFORE):
            raise DataError(
                f"metric {metric.name!r}: covariate {metric.covariate!r} is not known of a log; it is 'before', the "
                "same value over the time before the exposure"
            )
        for value in metric.columns():
            if metric.covariate and value.how == "after":
                raise DataError(f"metric {metric.name!r}: a time to an event takes no covariate; leave it out")
            if value.column in values:
                raise DataError(f"two metrics are called {value.column!r}; give one of them another name by called=")
            values[value.column] = found.between(value, metric.where, contact, at, end)
            if value.how == "after":
                values[f"{value.column}|{_FOLLOWED}"] = (end - at) / DAY_US
            if metric.covariate:
                past = found.between(value, metric.where, contact, at - before_us, at)
                values[f"{value.column}|{BEFORE}"] = np.where(has_past, past, np.nan)
    return values


def _length(length: timedelta | str, what: str) -> int:
    try:
        found = parse_duration(length)
    except ValueError as problem:
        raise DataError(f"{what}: {problem}") from None
    if found <= timedelta(0):
        raise DataError(f"{what} must be longer than zero, got {duration_text(found)}")
    return found // _US


def _until(exposures: Exposures, until: datetime | str | None) -> int:
    latest = microseconds(exposures.until)
    if until is None:
        return latest
    try:
        asked = microseconds(datetime.fromisoformat(until) if isinstance(until, str) else until)
    except ValueError as problem:
        raise DataError(f"until: {problem}; write it as 2026-03-29T12:00:00+00:00") from None
    if asked > latest:
        raise DataError(
            f"until {instant(asked).isoformat()} lies after {exposures.until.isoformat()}, up to which the log was "
            "replayed; nothing is known of what came then"
        )
    return asked


def _notes(exposures: Exposures, window_us: int, until_us: int, n_later: int) -> Iterable[str]:
    name, log, at = exposures.name, exposures.log, exposures.at_us
    if n_later:
        yield plural(
            "{name}: {n} unit exposed after {at} are no part of it.",
            "{name}: {n} units exposed after {at} are no part of it.",
            n_later,
            name=name,
            at=instant(until_us).isoformat(),
        )
    waiting = int(np.count_nonzero(at + window_us > until_us))
    if waiting:
        yield plural(
            "{name}: {n} unit of {of} ({share}) were not yet looked at for the whole window of {length}.",
            "{name}: {n} units of {of} ({share}) were not yet looked at for the whole window of {length}.",
            waiting,
            name=name,
            of=formatted(len(at)),
            share=formatted(waiting / len(at), ".1%"),
            length=length_text(window_us * _US),
        )
    erased = log.stream("erased")
    gone = EventValues.counted(erased, exposures.contact, at, np.minimum(at + window_us, until_us)) > 0
    if gone.any():
        yield plural(
            "{name}: {n} unit asked to be erased within the window; what they would have done after that is not in the "
            "log and counts as nothing.",
            "{name}: {n} units asked to be erased within the window; what they would have done after that is not in "
            "the log and counts as nothing.",
            int(gone.sum()),
            name=name,
        )


class _AsOfExposure(Evaluator):
    """Evaluates segments for contacts, each as of an instant of its own."""

    def is_in(self, name: str, contact: Ints, at: Ints) -> NDArray[np.bool_]:
        from journeylab.machine import evaluate

        values = np.empty(len(at))
        evaluate(self._program, self._world, self._state, self._out, self.conditions[name], contact, at, values)
        return np.asarray(values >= _AT_LEAST)


def _segments(exposures: Exposures, segments: SegmentsGiven | None) -> dict[str, NDArray[np.bool_]]:
    if segments is None or segments == {}:
        return {}
    if isinstance(segments, Journey):
        named, zone = dict(segments.known_segments), segments.timezone
    elif isinstance(segments, Mapping):
        texts = {name: one.text if isinstance(one, Condition) else one for name, one in segments.items()}
        named, zone = {name: Segment.model_validate(one) for name, one in texts.items()}, "UTC"
    else:
        raise DataError("segments= takes a journey, or segments (or texts of conditions) by their names")
    evaluator = _AsOfExposure(exposures.log, named, zone)
    contact, at = np.ascontiguousarray(exposures.contact), np.ascontiguousarray(exposures.at_us)
    return {name: evaluator.is_in(name, contact, at) for name in named}


def _arrow(columns: Mapping[str, Any]) -> pa.Table:
    """The columns as an Arrow table, NaN as missing."""
    import pandas as pd
    import pyarrow as pa

    arrays = {}
    for name, column in columns.items():
        array = pa.array(column, from_pandas=True)
        is_text = isinstance(column, pd.Categorical) or isinstance(getattr(column, "dtype", None), pd.StringDtype)
        arrays[name] = array.cast(pa.string()) if is_text else array
    return pa.table(arrays)
