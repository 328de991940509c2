"""The exposed units of an experiment with their values: by replays of its journeys over a log, or from its table."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from journeylab.bucketed import BucketedLog
from journeylab.errors import DataError
from journeylab.eventlog import EventLog
from journeylab.progress import Progress

from .experiment import HOLDOUT, POLICY_HOLDOUT

if TYPE_CHECKING:
    from journeylab.advice import SendTimesGiven
    from journeylab.replay import Replay

    from .experiment import Experiment
    from .exposure.exposures import Exposures
    from .exposure.outcomes import OutcomeTable
    from .unittable import UnitTable

__all__ = ["Exposed", "exposed_units"]


@dataclass(frozen=True)
class Exposed:
    """The exposed units of an experiment, and where they come from.

    Attributes:
        experiment: what was asked.
        units: the units with their values; those of a log that have not matured among them, and without the opens and
            clicks that machines made.
        exposures: who was exposed when, and whether the experiment ran; missing (None) for a plain table.
        portfolio: the replay of all journeys that ran together; missing (None) where there was only the one.
    """

    experiment: Experiment
    units: UnitTable
    exposures: Exposures | None
    portfolio: Replay | None = None

    @property
    def has_run(self) -> bool:
        """Whether the experiment really ran: always so for a table."""
        return self.exposures is None or self.exposures.has_run

    def as_of(self, until: datetime) -> OutcomeTable:
        """The units as they were known at an earlier instant: what `exposed_units` gives with that horizon.

        What a replay does up to an instant rests on nothing later (rule 27), so the exposures by then are those of a
        replay until then, and what followed them is looked at no further.

        Args:
            until: an aware instant, no later than the horizon of the replay.

        Raises:
            DataError: for a plain table; when nobody was exposed by then, or the instant lies after the horizon.
        """
        if self.exposures is None:
            raise DataError("a table has its values; what was known of them earlier cannot be told from it")
        units = _units_of(self.experiment, self.exposures, machines=False, until=until)
        if not len(units.exposures):
            raise DataError(f"{self.exposures.name}: nobody was exposed by {until.isoformat()}; take a later instant")
        return units

    def with_machines(self) -> OutcomeTable:
        """The same units with the opens and clicks that machines made.

        Raises:
            DataError: for a plain table, whose values are given.
        """
        if self.exposures is None:
            raise DataError("a table has its values; what machines did cannot be told from them")
        return _units_of(self.experiment, self.exposures, machines=True)


def exposed_units(
    experiment: Experiment,
    source: Any,
    *,
    until: datetime | str | None = None,
    send_times: SendTimesGiven | None = None,
    query: str | None = None,
    progress: Progress = None,
) -> Exposed:
    """The exposed units of an experiment.

    Args:
        experiment: what was asked.
        source: the event log in which it ran (or, for a plan, will run), in memory or in buckets, of which then those
            who enter are brought into memory; or the plain table of an experiment on one.
        until: for a log the horizon: what came later is not looked at.
        send_times: for a log what `at: best` asks; see `replay`.
        query: for a table in a database.
        progress: for a log of each replay; see `journeylab.progress`.

    Raises:
        DataError: when a log is given for a table or the other way round, or the data do not fit.
        DefinitionError: when a journey does not fit the log.
    """
    if experiment.is_of_table:
        if isinstance(source, EventLog | BucketedLog):
            raise DataError(f"{experiment.experiment} is an experiment on a table, and this is an event log")
        return Exposed(experiment, _table_of(experiment, source, query), None)
    if not isinstance(source, EventLog | BucketedLog):
        raise DataError(f"{experiment.experiment} is an experiment on journeys: it needs an event log")
    given: dict[str, Any] = {"until": until, "send_times": send_times, "progress": progress}
    log = _log_of_exposed(experiment, source, **given) if isinstance(source, BucketedLog) else source
    exposures, run = _exposures_of(experiment, log, **given)
    if experiment.start_at is not None:
        exposures = exposures.since(experiment.start_at)
    units = _units_of(experiment, exposures, machines=False)
    is_together = run is not None and not {*run.compiled.groups} <= {*exposures.journeys}
    return Exposed(experiment, units, exposures, run if is_together else None)


def _log_of_exposed(experiment: Experiment, log: BucketedLog, **given: Any) -> EventLog:
    """The log of all contacts who enter a journey of the experiment, in memory; of others nothing counts."""
    import pyarrow as pa

    from journeylab.replay import replay

    together = experiment.portfolio or next(iter(experiment.definitions.values()))
    apart = experiment.journey is None
    runs = [replay(one, log, **given) for one in ([*experiment.definitions.values()] if apart else [together])]
    everybody = pa.chunked_array([run.entrants for run in runs])
    return log.of(everybody.unique())


def _table_of(experiment: Experiment, source: Any, query: str | None) -> UnitTable:
    from .plaintable import read_units

    return read_units(
        source, arm=str(experiment.arm), control=experiment.control, metrics=experiment.metrics,
        cluster=experiment.cluster, shares=experiment.arms or None, exposed_at=experiment.exposed_at,
        keep=[*dict.fromkeys([*experiment.segments, *experiment.features])], query=query,
    )  # fmt: skip


def _exposures_of(experiment: Experiment, log: EventLog, **given: Any) -> tuple[Exposures, Replay | None]:
    """Who was exposed, and the replay that says so, where there is one for all arms."""
    from journeylab.replay import replay

    from .exposure.comparedjourneys import journey_exposures
    from .exposure.exposures import holdout_exposures, split_exposures

    if experiment.journey is None:
        replays = {arm: replay(journey, log, **given) for arm, journey in experiment.definitions.items()}
        found = journey_exposures(replays, experiment.arms, salt=experiment.experiment, control=experiment.control)
        return found, None
    journey, *others = experiment.definitions.values()
    run = replay(experiment.portfolio or journey, log, **given)
    if experiment.split == POLICY_HOLDOUT:
        only = None if others else journey.journey
        return holdout_exposures(run, only, holdout="policy", control=experiment.control), run
    if experiment.split == HOLDOUT:
        return holdout_exposures(run, journey.journey, control=experiment.control), run
    return split_exposures(run, str(experiment.split), journey.journey, control=experiment.control), run


def _units_of(
    experiment: Experiment, exposures: Exposures, *, machines: bool, until: datetime | None = None
) -> OutcomeTable:
    from .exposure.outcomes import unit_table

    assert experiment.window is not None
    declared = {name for journey in experiment.definitions.values() for name in journey.known_segments}
    return unit_table(
        exposures, experiment.metrics, window=experiment.window,
        segments={
            name: journey.known_segments[name]
            for journey in experiment.definitions.values()
            for name in experiment.segments
            if name in journey.known_segments
        },
        attributes=[
            name
            for name in dict.fromkeys([*experiment.segments, *experiment.features])
            if name not in declared
        ],
        machines=machines, until=until,
    )  # fmt: skip
