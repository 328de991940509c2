"""Reports for readers outside of the analysts' zone: what was asked, what the answer is, how sure it is, what to do.

`report` makes a `Report` of a replay, simulation, backtest, experiment, send times or release; all its numbers go
through the gate (`disclosure`). A `Report` writes itself as HTML or PDF. Pages for analysts, with all numbers, are made
by `replaypage`, `experimentpage` and `sendtimepage`. docs/reports.md is the guide.
"""

from .making import report
from .page import Report
from .releases import Released, released

__all__ = ["Released", "Report", "released", "report"]
