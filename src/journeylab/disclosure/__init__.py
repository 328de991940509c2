"""What may leave the analysts' zone: numbers that tell of nobody, through one gate, and rows only by permission.

`cells` makes a table of people and `disclose` shows what of it may be shown, as `Disclosed`, held to five rules: enough
people (`thresholds`), an audit of all numbers together (`audit`), rounding or noise (`perturbation`), nothing that
differs by few from what was shown before (`likeness`, and the `Ledger`), closed periods (`windows`). `with_estimates`
puts what models say beside it; `pseudonymised` lets rows out for a purpose, `private_counts` counts with differential
privacy, and `check_notebook` looks for people in a saved notebook. docs/disclosure.md is the guide,
docs/decisions/0016-one-gate-for-what-leaves.md says why.
"""

from .disclosed import Disclosed
from .estimates import coarse, with_estimates
from .gate import disclose
from .keys import LedgerKey, PseudonymKeys
from .ledger import Ledger
from .notebooks import Finding, check_notebook
from .people import Cells, cells
from .privatecounts import Budget, PrivateCounts, private_counts
from .pseudonyms import Grant, pseudonymised

__all__ = [
    "Budget", "Cells", "Disclosed", "Finding", "Grant", "Ledger", "LedgerKey", "PrivateCounts", "PseudonymKeys",
    "cells", "check_notebook", "coarse", "disclose", "private_counts", "pseudonymised",
    "with_estimates",
]  # fmt: skip
