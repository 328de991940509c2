"""What another policy would have earned, by a log of what was done, or why the log cannot say.

`policy_value` is for single decisions, `sequential_policy_value` for several of each contact. Both need the probability
with which each logged action was taken; `estimate_propensities` makes them up from what was known, at the price of an
assumption that the result prints. docs/policy.md explains every label to an analyst.
"""

from .propensities import EstimatedPropensities, estimate_propensities
from .result import PolicyValue
from .several import sequential_policy_value
from .single import policy_value

__all__ = ["EstimatedPropensities", "PolicyValue", "estimate_propensities", "policy_value", "sequential_policy_value"]
