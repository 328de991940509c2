"""Experiments on journeys, from the plan to a decision that stands."""

from .experiment import Experiment, Stopping
from .metrics import Count, Guardrail, Mean, Metric, Proportion, Quantile, Ratio, Revenue, TimeToEvent

__all__ = [
    "Count", "Experiment", "Guardrail", "Mean", "Metric", "Proportion", "Quantile", "Ratio", "Revenue", "Stopping",
    "TimeToEvent",
]  # fmt: skip
