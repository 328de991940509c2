"""Send times: what a log says of them, models that learn them, what they are worth, and whether they still hold.

- The data: `send_table` has a row for each send with its local hour, what followed, and whether its hour was drawn;
  `machine_responses` says which opens and clicks machines made.
- The models, all with `fit`, `scores`, `best` and `send_times`: `HabitModel`, `BestGlobalHour`, `MedianOfOpens`,
  `ThompsonSlots`, `HazardModel`, and `FromClassifier` for a scikit-learn classifier of one's own; any other is a
  `SendTimeEstimator`.
- What they are worth: `evaluate` and `evaluate_out_of_time` give a `SendTimeValue`.
- In use: `watch` gives a `Watch` with its alarms, `challenged` lets a new model challenge the old one, `card` describes
  one.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from journeylab.errors import JourneyLabError

if TYPE_CHECKING:
    from .estimator import HourScores, SendTimeEstimator
    from .evaluation import evaluate, evaluate_out_of_time
    from .habit import HabitModel
    from .hazard import HazardModel
    from .machines import machine_responses
    from .modelcard import card
    from .own import FromClassifier
    from .retraining import challenged
    from .rules import BestGlobalHour, MedianOfOpens
    from .sends import SendTable, send_table
    from .thompson import ThompsonSlots
    from .value import SendTimeValue
    from .watching import Watch, watch

__all__ = [
    "BestGlobalHour", "FromClassifier", "HabitModel", "HazardModel", "HourScores", "MedianOfOpens", "SendTable",
    "SendTimeEstimator", "SendTimeValue", "ThompsonSlots", "Watch", "card", "challenged", "evaluate",
    "evaluate_out_of_time", "machine_responses", "send_table", "watch",
]  # fmt: skip

_NAMES_BY_MODULE = {
    "modelcard": ["card"],
    "estimator": ["HourScores", "SendTimeEstimator"],
    "evaluation": ["evaluate", "evaluate_out_of_time"],
    "habit": ["HabitModel"],
    "hazard": ["HazardModel"],
    "machines": ["machine_responses"],
    "own": ["FromClassifier"],
    "retraining": ["challenged"],
    "rules": ["BestGlobalHour", "MedianOfOpens"],
    "sends": ["SendTable", "send_table"],
    "thompson": ["ThompsonSlots"],
    "value": ["SendTimeValue"],
    "watching": ["Watch", "watch"],
}
_MODULE_OF = {name: module for module, names in _NAMES_BY_MODULE.items() for name in names}


def __getattr__(name: str) -> Any:
    if name not in _MODULE_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        value = getattr(import_module(f".{_MODULE_OF[name]}", __name__), name)
    except ModuleNotFoundError as problem:
        if (problem.name or "").split(".")[0] not in ("sklearn", "scipy", "lightgbm"):
            raise
        raise JourneyLabError(
            'send-time models need scikit-learn and LightGBM: pip install "journeylab[models]"'
        ) from None
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*__all__, *(name for name in globals() if name.startswith("__"))})
