"""What is looked at besides the effects of an experiment on journeys, before they are believed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

from journeylab.experiments.estimation.effects import effects
from journeylab.experiments.exposure.outcomes import OutcomeTable
from journeylab.experiments.metrics import Count, Mean, Proportion, Ratio, Revenue

from .calendarbalance import calendar_balance
from .machineopens import with_and_without_machines
from .novelty import novelty
from .overlap import overlap

if TYPE_CHECKING:
    from journeylab.experiments.exposed import Exposed

__all__ = ["Check", "journey_checks"]


class Check(Protocol):
    """What every check of an experiment says of itself."""

    @property
    def passed(self) -> bool:
        """Whether nothing speaks against believing the effects."""

    def sentences(self) -> list[str]:
        """What was seen, in plain words."""

    def to_dict(self) -> dict[str, Any]:
        """Its numbers as plain data."""


def journey_checks(exposed: Exposed) -> dict[str, Check]:
    """What else is looked at in the log of an experiment on journeys, by name.

    `calendar`, `overlap`, `machines`, and `novelty` where the primary metric is a mean or a ratio of means.
    """
    experiment, units, exposures = exposed.experiment, exposed.units, exposed.exposures
    assert isinstance(units, OutcomeTable)
    assert exposures is not None
    alpha, primary = experiment.alpha, [experiment.primary]
    is_mean = isinstance(experiment.primary, Mean | Proportion | Count | Revenue | Ratio)
    found: dict[str, Check] = {
        "calendar": calendar_balance(exposures, is_time_treatment=experiment.varies_time),
        "overlap": overlap(units, exposed.portfolio, metrics=primary, alpha=alpha),
        "machines": with_and_without_machines(
            lambda table: effects(table.narrowed("is_matured"), primary, alpha=alpha), units, exposed.with_machines()
        ),
    }
    if is_mean:
        found["novelty"] = novelty(units, primary, alpha=alpha)
    return found
