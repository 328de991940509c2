"""For whom an arm works: declared segments, rankings that were learned, and whether a rule beats one arm for all."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from journeylab.display import block, counted, rest
from journeylab.experiments.estimation.effects import effects
from journeylab.language import say
from journeylab.progress import Progress

if TYPE_CHECKING:
    from journeylab.experiments.metrics import Metric
    from journeylab.experiments.unittable import UnitTable

    from .ranking import JudgedRanking
    from .subgroups import SubgroupEffects
    from .targeting import Recommendation

__all__ = ["ForWhom", "for_whom"]


_MOST = 12  # that are shown


@dataclass(frozen=True)
class ForWhom:
    """For whom an arm works.

    Attributes:
        segments: the effects in the declared segments, drawn to each other, by (segment, arm).
        rankings: what a learned ranking of units by uplift is worth, by arm.
        recommendation: whether a rule for whom to send what beats one arm for all; missing (None) without features.
    """

    segments: dict[tuple[str, str], SubgroupEffects] = field(default_factory=dict)
    rankings: dict[str, JudgedRanking] = field(default_factory=dict)
    recommendation: Recommendation | None = None

    def sentences(self) -> list[str]:
        """What was found, in plain words."""
        said = [
            say("{segment}, {arm}: {sentence}", segment=segment, arm=arm, sentence=found.sentence)
            for (segment, arm), found in self.segments.items()
        ]
        said += [say("{arm}: {sentence}", arm=arm, sentence=found.sentence) for arm, found in self.rankings.items()]
        return said if self.recommendation is None else [*said, self.recommendation.sentence]

    def to_dict(self) -> dict[str, Any]:
        """What was found as plain data for JSON."""
        return {
            "segments": [
                {"segment": segment, "arm": arm, **found.to_dict()} for (segment, arm), found in self.segments.items()
            ],
            "rankings": [{"arm": arm, **found.to_dict()} for arm, found in self.rankings.items()],
            "recommendation": None if self.recommendation is None else self.recommendation.to_dict(),
        }

    def __repr__(self) -> str:
        segments, rankings = counted(len(self.segments), "segment effect"), counted(len(self.rankings), "ranking")
        return f"ForWhom({segments}, {rankings})"

    def _repr_html_(self) -> str:
        parts: list[Any] = [*self.segments.values(), *self.rankings.values()]
        parts += [] if self.recommendation is None else [self.recommendation]
        return block(repr(self), *(one._repr_html_() for one in parts[:_MOST]), rest(len(parts) - _MOST))


def for_whom(
    units: UnitTable,
    metric: Metric,
    *,
    segments: Sequence[str] = (),
    features: Sequence[str] = (),
    alpha: float = 0.05,
    seed: int = 0,
    progress: Progress = None,
) -> ForWhom:
    """For whom each arm works better or worse, by one metric.

    Args:
        units: the units; segments and features are among their columns.
        metric: what is compared; with features one that is a value of each unit.
        segments: declared before the results were seen.
        features: what a ranking and a rule may look at.
        alpha: one minus the level of intervals.
        seed: of the parts that are learned on and judged on.
        progress: with features, of each arm and of the rule; see `journeylab.progress`.

    Raises:
        DataError: when there are too few units to learn from, or a feature has nothing to tell.
        JourneyLabError: with features, when LightGBM is not installed.
    """
    by_segment = {
        (segment, arm): found for segment in segments for arm, found in _effects_of(units, metric, segment, alpha)
    }
    if not features:
        return ForWhom(by_segment)
    from .targeting import recommend
    from .uplift import UpliftModel, judge_uplift

    frame, control = units.frame(list(dict.fromkeys(["arm", metric.name, *features]))), units.control
    given: dict[str, Any] = {"features": features, "control": control, "outcome": metric.name, "progress": progress}
    rankings = {
        arm: judge_uplift(
            UpliftModel(seed=seed), frame, treated=arm, level=1 - alpha,
            propensity=units.shares[arm] / (units.shares[arm] + units.shares[control]), **given,
        )
        for arm in units.arms[1:]
    }  # fmt: skip
    recommendation = recommend(
        frame, propensities=units.shares, better=metric.better, level=1 - alpha, seed=seed, **given
    )
    return ForWhom(by_segment, rankings, recommendation)


def _effects_of(units: UnitTable, metric: Metric, segment: str, alpha: float) -> list[tuple[str, SubgroupEffects]]:
    from .subgroups import segment_effects

    found = [one for one in effects(units, [metric], by=segment, alpha=alpha) if one.kind != "winsorised"]
    return [(arm, segment_effects([one for one in found if one.arm == arm], level=1 - alpha)) for arm in units.arms[1:]]
