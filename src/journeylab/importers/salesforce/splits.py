"""Splits: by a filter, by what contacts did with a message, by Einstein's scores, by chance.

Sources: "Multi Criteria Decision (DecisionSplit) Format", "Engagement Split Format", "Random Split Format" and "Path
Optimizer Format" in the vendor's guide, "Journey Builder Split and Join Activities" in its help, and public exports for
what Einstein's splits look like.
"""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction
from typing import Final

from journeylab.errors import known
from journeylab.expressions import Attribute, Compare, MessageEvent, MessageKind, Or, Text, Tree
from journeylab.importers.unsaid import quiet

from .steps import Step, Steps

__all__ = ["STATISTICS", "decision", "engagement", "frequency", "random"]

STATISTICS: Final[dict[int, MessageKind]] = {2: "opened", 3: "clicked", 6: "bounced"}
"""What an engagement split asks, by its `statsTypeId`."""
_FREQUENCIES: Final = ("saturated", "almostsaturated", "ontarget", "undersaturated")
_FREQUENCY: Final = "einstein_engagement_frequency"


def decision(steps: Steps, step: Step) -> None:
    """The paths of a decision split in their order, each with its filter; the remainder has none."""
    settings = step.settings
    settings.skip("schemaVersionId")
    filters, clauses, rest = settings.optional_part("criteria"), [], []
    for outcome, target in steps.ways(step):
        key = outcome.text("key", "")
        text = "" if filters is None else filters.text(key, "")
        said = None if filters is None else steps.filters.condition(text, filters, key)
        if said is None:
            rest.append((key, target))
        else:
            clauses.append(steps.clause(said, target, step.part))
    if len(rest) > 1:
        unsaid = " and ".join(repr(key) for key, _ in rest)
        raise settings.malformed(f"{unsaid} have no filter, and only one path is that of the remainder", "criteria")
    steps.decide(step, clauses, rest[0][1] if rest else None)
    steps.did(step, step.name)


def frequency(steps: Steps, step: Step) -> None:
    """The paths of how saturated with messages Einstein thinks a contact."""
    quiet(step.settings)
    clauses, rest = [], None
    for outcome, target in steps.ways(step):
        said = str(steps.argument(outcome, "splitResult") or "remainder").lower()
        if said in _FREQUENCIES:
            asked = Compare("==", Attribute(_FREQUENCY), Text(said))
            clauses.append(steps.clause(asked, target, step.part))
        elif said == "remainder" and rest is None:
            rest = target
        else:
            raise outcome.malformed(f"{said!r} is no frequency; {known(said, _FREQUENCIES, 'frequencies')}")
    steps.decide(step, clauses, rest)
    steps.did(step, step.name, but=f"it is the text {_FREQUENCY}: {', '.join(_FREQUENCIES)}")


def engagement(steps: Steps, step: Step) -> None:
    """Whether a message was opened or clicked, or has bounced, by now."""
    settings = step.settings
    settings.skip("statsUrlId", "statusUrlId", "triggeredSendId", "triggeredSendKey", "engagementUrls")
    statistic, key = settings.whole("statsTypeId"), settings.text("refActivityCustomerKey")
    if statistic not in STATISTICS:
        there = ", ".join(f"{number} ({what})" for number, what in STATISTICS.items())
        raise settings.malformed(f"there is no statistic {statistic}; known are {there}", "statsTypeId")
    if key not in steps.by_key:
        there = known(key, list(steps.by_key), "activities")
        raise settings.malformed(f"there is no activity {key!r}; {there}", "refActivityCustomerKey")
    of, what, but = steps.by_key[key], STATISTICS[statistic], ""
    asked: Tree
    if of.kind == "EMAILV2":
        events: list[Tree] = [MessageEvent(what, of.name, link) for link in _links(step) if what == "clicked"]
        if what == "opened":  # The help says that a click counts as an open.
            events = [MessageEvent("opened", of.name), MessageEvent("clicked", of.name)]
        asked = Or(tuple(events)) if len(events) > 1 else events[0] if events else MessageEvent(what, of.name)
    else:
        asked = Attribute(f"{what}_{of.name}")
        but = f"{key} is no e-mail; it asks the flag attribute {what}_{of.name}"
    yes, no = steps.yes_and_no(step)
    steps.decide(step, [steps.clause(asked, yes, step.part)], no)
    steps.did(step, step.name, but=but)


def _links(step: Step) -> list[str]:
    """The links that a split asks for; none stands for any."""
    urls = step.settings.optional_part("engagementUrls")
    listed = [] if urls is None else urls.raw("urls", [])
    if urls is not None and not isinstance(listed, list):
        raise urls.malformed("there must be a list of links here", "urls")
    found = [one.get("url") or one.get("alias") if isinstance(one, Mapping) else one for one in listed]
    return [one for one in found if isinstance(one, str) and one]


def random(steps: Steps, step: Step) -> None:
    """Paths by chance; of a path optimizer, by the shares of its test."""
    settings, but, arms = step.settings, "", []
    settings.skip("winnerEvaluationType", "engagementPeriod", "engagementPeriodUnits", "engagementWinnerMetric")
    if held := settings.number("holdBackPercentage", 0) or settings.number("holdbackPercentage", 0):
        but = f"{held:g} % of contacts wait there for the winner, and take an arm at once here"
    for outcome, target in steps.ways(step):
        said = outcome.part("arguments")
        said.skip("branchResult")
        share = Fraction(str(said.number("percentage"))) / 100
        if not 0 <= share <= 1:
            raise said.malformed(f"a share lies between 0 and 100 %, not at {float(share * 100):g}", "percentage")
        arms.append((steps.label(outcome), share, target))
    steps.draft.arms(step.name, step.part, arms)
    steps.did(step, step.name, but=but)
