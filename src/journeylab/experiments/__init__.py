"""Experiments on journeys, from the plan to a decision that stands."""
