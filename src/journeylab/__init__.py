"""JourneyLab replays e-mail journeys over the event log you already have, before anybody is sent anything.

The map, in the order of the work:

- The data: `EventLog` reads what contacts did; `import_events` makes such a log of other systems' exports, and adds
  what is new; `bucket_log` writes one that is larger than memory, as a `BucketedLog`; `read_for` reads of a database
  what journeys look at; `datasets` brings two logs to try things on.
- Who: a `Segment` is a named `condition` or weighted evidence; `audience` and `membership` say who is in it as of an
  instant, `sizes` how it grows, `overlap` what it shares with others, `fit` learns its weights from an outcome.
- The journey: a `Journey` has a `Trigger`, nodes (`Send`, `Wait`, `WaitUntil`, `WaitFor`, `Decide`, `Split`, `Run`,
  `Set`, `Emit`, `Call`, `Exit`) and what holds in all of them (`ExitWhen`, `QuietHours`, `Cap`; a `Window` limits one
  send, `Best` sends at each contact's best hour). Several that run together are a `Portfolio` with a `Policy`; `diff`
  says what differs between two of them. `import_journeys` makes journeys of what another system exports, and gives an
  `Imported` with what became of each part; `export_journey` goes the other way and gives an `Exported`.
- What would have happened: `replay` gives a `Replay`, whose tables hold every visit, send and exit. A `Release` is a
  version of a journey that takes entries for a time.
- What would have happened otherwise: `fit_responses` learns from a log how sends are answered, as a `ResponseModel`;
  `simulate` lets it answer the sends that the log does not have and gives a `Simulation` with prediction intervals.
- Whether to believe it: `backtest` predicts a journey that really ran and gives a `Backtest` with a verdict for every
  node; `support_map` gives a `SupportMap`, which marks each branch with what the log can tell of it.
- What another choice would have earned: `policy_value` gives a `PolicyValue` from logged probabilities, or refuses;
  `sequential_policy_value` does so for several choices, `estimate_propensities` where no probability was logged.
- How much to send: `mail_frequency` gives a `MailFrequency`, from how many mails a week on opens fall and unsubscribes
  rise, and the `Cap` that follows, or refuses.
- What of it is true: an `Experiment` holds arms of a split, journeys, or a table's groups against each other; `plan`
  says what it can find, `watch` looks while it runs, `analyze` gives a verdict; `experiments` has its metrics.
- When to send: `sendtime` learns from a log at which hours each contact answers, as `SendTimes` for `at: best`.
- What runs: `promote` checks a journey with all that it needs and releases it to the sender, for a share of contacts
  or for all.
- How to draw: `canvas` has the journey as a picture that is edited in a notebook (`journey.edit()`), and as a page.
- What to show: `charts` draws any of these tables, `report` makes a page or PDF for readers; `explorers` are
  widgets for notebooks that look at all this by moving controls.
- What may leave: `disclosure` shows counts of people so that they tell of nobody, and keeps what was shown.
- What went wrong: every error is a `JourneyLabError`; a `DefinitionError` is for whoever wrote the journey, a
  `DataError` for whoever brought the data.

What a journey means is said by the 35 rules of docs/semantics.md. Everything here is loaded when it is first used.

>>> import journeylab as jl
>>> log = jl.EventLog.from_rows([
...     {"contact": "ada", "event": "signup", "occurred_at": "2026-03-01T09:00:00Z"},
...     {"contact": "ada", "event": "purchase", "occurred_at": "2026-03-04T18:30:00Z"},
... ])
>>> journey = jl.Journey(
...     journey="hello",
...     trigger=jl.Trigger(event="signup"),
...     exit_when=[jl.ExitWhen(event="purchase", goal=True)],
...     nodes={
...         "welcome": jl.Send(send="welcome_1", next="pause"),
...         "pause": jl.Wait(wait="7d", next="done"),
...         "done": jl.Exit(exit="finished"),
...     },
... )
>>> jl.replay(journey, log).exits[["exit", "n_entries"]]
            exit  n_entries
0  goal:purchase          1
"""

from __future__ import annotations

import sys
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from . import canvas, charts, datasets, disclosure, experiments, explorers, sendtime
    from .backtest import Backtest, backtest
    from .bucketed import BucketedLog, bucket_log
    from .conditions import condition
    from .definitiondiff import diff
    from .errors import DataError, DefinitionError, JourneyLabError
    from .eventlog import EventLog
    from .experiments import Experiment
    from .frequency import MailFrequency, mail_frequency
    from .importers import Exported, Imported, export_journey, import_journeys
    from .importers.events import import_events
    from .journey import (
        Best,
        Call,
        Cap,
        Decide,
        Emit,
        Exit,
        ExitWhen,
        Journey,
        Policy,
        Portfolio,
        QuietHours,
        Run,
        Segment,
        Send,
        Set,
        Split,
        Trigger,
        Wait,
        WaitFor,
        WaitUntil,
        Window,
    )
    from .policy import PolicyValue, estimate_propensities, policy_value, sequential_policy_value
    from .program import Release
    from .pushdown import read_for
    from .replay import Replay, replay
    from .reports import report
    from .responses import ResponseModel, fit_responses
    from .segmentfit import fit
    from .segments import audience, membership, overlap, sizes
    from .sender.promotion.promoting import promote
    from .sendtimes import SendTimes
    from .simulate import simulate
    from .simulation import Simulation
    from .supportmap import SupportMap, support_map

__all__ = [
    "Backtest", "Best", "BucketedLog", "Call", "Cap", "DataError", "Decide", "DefinitionError", "Emit", "EventLog",
    "Exit", "ExitWhen", "Experiment", "Exported", "Imported", "Journey", "JourneyLabError", "MailFrequency", "Policy",
    "PolicyValue", "Portfolio", "QuietHours", "Release", "Replay", "ResponseModel", "Run", "Segment", "Send",
    "SendTimes", "Set", "Simulation", "Split", "SupportMap", "Trigger", "Wait", "WaitFor", "WaitUntil", "Window",
    "audience", "backtest", "bucket_log", "canvas", "charts", "condition", "datasets", "diff", "disclosure",
    "estimate_propensities", "experiments", "explorers", "export_journey", "fit", "fit_responses", "import_events",
    "import_journeys", "mail_frequency", "membership", "overlap", "policy_value", "promote", "read_for", "replay",
    "report", "sendtime", "sequential_policy_value", "simulate", "sizes", "support_map",
]  # fmt: skip

_NAMES_BY_MODULE = {
    "backtest": ["Backtest", "backtest"],
    "bucketed": ["BucketedLog", "bucket_log"],
    "conditions": ["condition"],
    "definitiondiff": ["diff"],
    "errors": ["DataError", "DefinitionError", "JourneyLabError"],
    "eventlog": ["EventLog"],
    "experiments": ["Experiment"],
    "frequency": ["MailFrequency", "mail_frequency"],
    "importers": ["Exported", "Imported", "export_journey", "import_journeys"],
    "importers.events": ["import_events"],
    "journey": [
        "Best", "Call", "Cap", "Decide", "Emit", "Exit", "ExitWhen", "Journey", "Policy", "Portfolio", "QuietHours",
        "Run", "Segment", "Send", "Set", "Split", "Trigger", "Wait", "WaitFor", "WaitUntil", "Window",
    ],
    "policy": ["PolicyValue", "estimate_propensities", "policy_value", "sequential_policy_value"],
    "program": ["Release"],
    "pushdown": ["read_for"],
    "replay": ["Replay", "replay"],
    "reports": ["report"],
    "responses": ["ResponseModel", "fit_responses"],
    "segmentfit": ["fit"],
    "segments": ["audience", "membership", "overlap", "sizes"],
    "sender.promotion.promoting": ["promote"],
    "sendtimes": ["SendTimes"],
    "simulate": ["simulate"],
    "simulation": ["Simulation"],
    "supportmap": ["SupportMap", "support_map"],
}  # fmt: skip
_MODULE_OF = {name: module for module, names in _NAMES_BY_MODULE.items() for name in names}
_MODULES = ("canvas", "charts", "datasets", "disclosure", "experiments", "explorers", "sendtime")


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return import_module(f".{name}", __name__)
    if name not in _MODULE_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f".{_MODULE_OF[name]}", __name__), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*__all__, *(name for name in globals() if name.startswith("__"))})


class _Package(ModuleType):
    """Keeps `journeylab.replay` the function: Python would put the module of that name in its place on import."""

    def __setattr__(self, name: str, value: Any) -> None:
        if isinstance(value, ModuleType) and _MODULE_OF.get(name) == name:
            value = getattr(value, name)
        super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Package
