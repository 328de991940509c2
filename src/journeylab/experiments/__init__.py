"""Experiments on journeys, from the plan to a decision that stands.

- The question: an `Experiment`, declared before the start and hashed with its journeys' versions, has a primary metric
  (`Mean`, `Proportion`, `Count`, `Revenue`, `Ratio`, `Quantile`, `TimeToEvent`), a `Guardrail` for each thing that may
  not get worse, and a rule for when it is over (`Stopping`).
- The answer: `Experiment.plan`, `watch` and `analyze` give a `Plan`, a `Watch` and an `Analysis` with a verdict on each
  arm; what is decided on it is a `DecisionRecord`.
- Plain tables: `read_units` reads any table with a row for each unit, `compare` holds its arms against each other,
  `sample_ratio` looks whether they have the units that they should.
- Plans by hand: `units_needed`, `minimum_effect` and `power_of` of a `Baseline` in a `Design`, `boundaries` for planned
  looks, `false_alarms` of A/A runs.
- For whom: `subgroup_effects` of declared segments; an `UpliftModel`, judged by `judge_uplift`; `recommend` says
  whether a rule for whom to send what beats one arm for all.
- `ThompsonSplit` moves shares to the better arms while it goes on; `adaptive_means` says what its log tells of them,
  `compare_splits` what it costs and brings beside a fixed split.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from journeylab.errors import JourneyLabError

from .experiment import Experiment, Stopping
from .metrics import Count, Guardrail, Mean, Metric, Proportion, Quantile, Ratio, Revenue, TimeToEvent

if TYPE_CHECKING:
    from .adaptive.adaptivelog import adaptive_means
    from .adaptive.splitcomparison import compare_splits
    from .adaptive.thompson import ThompsonSplit
    from .analysis import Analysis
    from .comparison import Comparison, compare
    from .estimation.bayes import bayesian_view
    from .heterogeneity.subgroups import subgroup_effects
    from .heterogeneity.targeting import Recommendation, recommend
    from .heterogeneity.uplift import UpliftModel, judge_uplift
    from .looks.spending import boundaries
    from .plaintable import read_units
    from .planning import Plan, false_alarms
    from .ratio.sampleratio import SampleRatio, sample_ratio
    from .record import DecisionRecord
    from .sizing.baseline import Baseline
    from .sizing.design import Design
    from .sizing.power import minimum_effect, power_of, units_needed
    from .unittable import UnitTable
    from .watching import Watch

__all__ = [
    "Analysis", "Baseline", "Comparison", "Count", "DecisionRecord", "Design", "Experiment", "Guardrail", "Mean",
    "Metric", "Plan", "Proportion", "Quantile", "Ratio", "Recommendation", "Revenue", "SampleRatio", "Stopping",
    "ThompsonSplit", "TimeToEvent", "UnitTable", "UpliftModel", "Watch", "adaptive_means", "bayesian_view",
    "boundaries", "compare", "compare_splits", "false_alarms", "judge_uplift", "minimum_effect", "power_of",
    "read_units", "recommend", "sample_ratio", "subgroup_effects", "units_needed",
]  # fmt: skip

_NAMES_BY_MODULE = {
    "adaptive.adaptivelog": ["adaptive_means"],
    "adaptive.splitcomparison": ["compare_splits"],
    "adaptive.thompson": ["ThompsonSplit"],
    "analysis": ["Analysis"],
    "sizing.baseline": ["Baseline"],
    "estimation.bayes": ["bayesian_view"],
    "comparison": ["Comparison", "compare"],
    "sizing.design": ["Design"],
    "plaintable": ["read_units"],
    "planning": ["Plan", "false_alarms"],
    "sizing.power": ["minimum_effect", "power_of", "units_needed"],
    "record": ["DecisionRecord"],
    "ratio.sampleratio": ["SampleRatio", "sample_ratio"],
    "looks.spending": ["boundaries"],
    "heterogeneity.subgroups": ["subgroup_effects"],
    "heterogeneity.targeting": ["Recommendation", "recommend"],
    "unittable": ["UnitTable"],
    "heterogeneity.uplift": ["UpliftModel", "judge_uplift"],
    "watching": ["Watch"],
}
_MODULE_OF = {name: module for module, names in _NAMES_BY_MODULE.items() for name in names}


def __getattr__(name: str) -> Any:
    if name not in _MODULE_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        value = getattr(import_module(f".{_MODULE_OF[name]}", __name__), name)
    except ModuleNotFoundError as problem:
        if (problem.name or "").split(".")[0] != "sklearn":
            raise
        raise JourneyLabError(
            'uplift models need scikit-learn and LightGBM: pip install "journeylab[models]"'
        ) from None
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*__all__, *(name for name in globals() if name.startswith("__"))})
