"""An effect: how far an arm's metric lies from the control's, and how sure that is."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

from journeylab.display import Shown, plain

if TYPE_CHECKING:
    from collections.abc import Iterable

    import pandas as pd

__all__ = ["Effect", "effects_table"]


@dataclass(frozen=True, kw_only=True)
class Effect(Shown):
    """The difference of one metric between an arm and the control, both over the units that have been looked at.

    Attributes:
        metric: the metric's name.
        kind: what was compared: a key of `metrics.KINDS`, or `winsorised` for revenue beside its raw amount.
        arm: the arm.
        control: the arm that it is held against.
        group: the part of the units, such as a segment or a day; missing (None) for all of them.
        n_arm: units in the arm.
        n_control: units in the control.
        mean_arm: the metric of the arm, adjusted for the covariate where there is one, so that the effect is the
            difference of the two.
        mean_control: the same of the control.
        effect: arm minus control, in the metric's unit.
        standard_error: of the effect; missing (NaN) where it cannot be told.
        degrees_of_freedom: of the t distribution that the fixed interval is from; infinite for the normal.
        low: the start of the interval of the effect.
        high: its end.
        p_value: of no effect, two-sided, not corrected for other comparisons.
        level: the share of such intervals that hold the truth.
        interval: the kind of interval: `fixed`, `always-valid` or `group-sequential`.
        relative_effect: the effect as a share of the control's metric; missing where that is 0.
        unadjusted_effect: without the covariate; equal to `effect` where there is none.
        unadjusted_standard_error: its standard error.
        n_clusters: clusters in both arms; missing (None) where units are their own.
        notes: what to know of this comparison, in sentences.
    """

    metric: str
    kind: str
    arm: str
    control: str
    group: str | None = None
    n_arm: int
    n_control: int
    mean_arm: float
    mean_control: float
    effect: float
    standard_error: float
    degrees_of_freedom: float = math.inf
    low: float
    high: float
    p_value: float
    level: float = 0.95
    interval: str = "fixed"
    relative_effect: float = math.nan
    unadjusted_effect: float
    unadjusted_standard_error: float
    n_clusters: int | None = None
    notes: tuple[str, ...] = ()

    @property
    def variance_reduction_share(self) -> float:
        """How much of the effect's variance the covariate saves, 0 without one: 1 - (adjusted / unadjusted error)²."""
        if self.standard_error == self.unadjusted_standard_error:
            return 0.0
        return 1 - (self.standard_error / self.unadjusted_standard_error) ** 2

    def to_dict(self) -> dict[str, Any]:
        """The effect as plain data for JSON, the interval as a pair; what is missing is `None`."""
        flat = {
            one.name: plain(value) if isinstance(value := getattr(self, one.name), float) else value
            for one in fields(self)
        }
        if math.isinf(self.degrees_of_freedom):
            flat["degrees_of_freedom"] = None
        kind, low, high = flat.pop("interval"), flat.pop("low"), flat.pop("high")
        return {
            **flat,
            "notes": list(self.notes),
            "interval": [low, high],
            "interval_kind": kind,
            "variance_reduction_share": plain(self.variance_reduction_share),
        }

    def __repr__(self) -> str:
        of = "" if self.group is None else f" in {self.group}"
        span = f"{self.effect:+.4g}, {self.level:.0%} {self.low:+.4g} to {self.high:+.4g}"
        return f"Effect({self.metric}: {self.arm} less {self.control}{of} {span}, {self.interval})"


def effects_table(effects: Iterable[Effect]) -> pd.DataFrame:
    """One row for each effect: its attributes but for the notes, and `variance_reduction_share` (float).

    >>> effects_table([]).columns[:4].tolist()
    ['metric', 'kind', 'arm', 'control']
    """
    import pandas as pd

    names = [one.name for one in fields(Effect) if one.name != "notes"] + ["variance_reduction_share"]
    return pd.DataFrame([[getattr(effect, name) for name in names] for effect in effects], columns=names)
