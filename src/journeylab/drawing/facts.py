"""What a drawing says: the facts of each node, and the branches as edges with their numbers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from journeylab.durations import duration_text, length_text
from journeylab.errors import DataError, listed
from journeylab.journey import (
    WEEKDAYS,
    Best,
    Call,
    Decide,
    Emit,
    Exit,
    Journey,
    Node,
    Run,
    Send,
    Set,
    Split,
    Trigger,
    Until,
    Wait,
    WaitFor,
    WaitUntil,
    Window,
)
from journeylab.language import current, formatted, plural, say, weekday_text

if TYPE_CHECKING:
    import pandas as pd

__all__ = [
    "Edge", "draw_table", "edges_of", "exits_text", "left_here", "limits_text", "node_facts",
    "trigger_facts",
]  # fmt: skip

_COUNTED = ("journey", "node", "branch", "n_visits", "n_assumed", "n_predicted")


@dataclass(frozen=True, slots=True)
class Edge:
    """All branches from one node to one target, drawn as one: their label, and their numbers when there are any."""

    node: str
    target: str
    branches: tuple[str, ...]
    label: str
    n_visits: int | None = None
    branch_share: float = math.nan
    n_assumed: int = 0
    n_predicted: int = 0


def node_facts(node: Node) -> list[str]:
    """The key facts of a node, one short line each.

    >>> node_facts(Wait(wait="4d", next="done"))
    ['wait 4d']
    """
    match node:
        case Send():
            return [f"send {node.send}", *_send_terms(node)]
        case Wait():
            return [f"wait {duration_text(node.wait)}"]
        case WaitUntil():
            return [say("wait until {when}", when=_until_text(node.wait_until))]
        case WaitFor():
            return _wait_for_facts(node)
        case Decide():
            numbers = [""] if len(node.decide) == 1 else [f" {number}" for number in range(1, len(node.decide) + 1)]
            return [f"if{number}: {one.condition}" for number, one in zip(numbers, node.decide, strict=True)]
        case Split():
            return [say("split each {what} {n} ways", what=node.per, n=len(node.split))]
        case Run():
            return [f"run {node.run}"]
        case Set():
            return [f"set {name} = {value}" for name, value in node.set.items()]
        case Emit():
            properties = [f"{name} = {value}" for name, value in node.emitted.properties.items()]
            return [f"emit {node.emitted.event}", *properties]
        case Call():
            return [f"call {node.call}"]
        case Exit():
            return [f"exit {node.exit}"]
    return [node.verb]


def trigger_facts(trigger: Trigger) -> list[str]:
    """What makes an entry, one short line each, the kind of trigger first.

    >>> trigger_facts(Trigger(date="renewal", offset="-2w", time="09:00", reentry="30d"))
    ['on date renewal - 2w at 09:00', 'again after 30d']
    """
    if trigger.event is not None:
        first = say("on event {event}", event=trigger.event)
    elif trigger.segment is not None and trigger.every is not None:
        every = f"{length_text(trigger.every)}{_offset_text(trigger.offset)}"
        first = say("every {length} in segment {segment}", length=every, segment=trigger.segment)
    else:
        date = f"{trigger.date}{_offset_text(trigger.offset)}"
        first = say("on date {date} at {time}", date=date, time=trigger.time)
    match trigger.reentry:
        case "never":
            again = say("once for each contact")
        case "after_exit":
            again = say("again after each exit")
        case "always":
            again = say("each time anew")
        case length:
            again = say("again after {length}", length=length_text(length))
    return [first, *([say("where {condition}", condition=trigger.where)] if trigger.where else []), again]


def exits_text(journey: Journey) -> str:
    """The events at which an entry leaves from wherever it is; empty when there are none."""
    exits = []
    for one in journey.exit_when:
        event = say("{event} (goal)", event=one.event) if one.goal else one.event
        exits.append(say("{event} where {condition}", event=event, condition=one.where) if one.where else event)
    return say("Leaves at once on: {exits}", exits=" · ".join(exits)) if exits else ""


def limits_text(journey: Journey) -> str:
    """What holds in all nodes: quiet hours, cap and holdout; empty when there is none of them."""
    limits = []
    if journey.quiet_hours is not None:
        limits.append(say("quiet hours {start} to {end}", start=journey.quiet_hours.start, end=journey.quiet_hours.end))
    if journey.cap is not None:
        within = length_text(journey.cap.within)
        limits.append(
            plural("at most {n} send within {length}", "at most {n} sends within {length}", journey.cap.sends,
                   length=within)
        )  # fmt: skip
    if journey.holdout:
        limits.append(say("{share} held out", share=_percent(journey.holdout)))
    return say("All sends: {limits}", limits=" · ".join(limits)) if limits else ""


def edges_of(journey: Journey, counts: pd.DataFrame | None = None) -> list[Edge]:
    """The edges in the order of the definition; branches of a node that lead to the same target are one edge.

    Raises:
        DataError: when `counts` lacks a column or has nothing of this journey.
    """
    numbers = None if counts is None else _numbers(journey, counts)
    edges = []
    for name, node in journey.nodes.items():
        labels = _branch_labels(node)
        merged: dict[str, list[str]] = {}
        shown: dict[str, list[str]] = {}
        for (branch, target, _), label in zip(node.branches(), labels, strict=True):
            merged.setdefault(target, []).append(branch)
            shown.setdefault(target, []).append(label)
        for target, branches in merged.items():
            label = ", ".join(shown[target]) if len(merged) > 1 else ""
            edge = Edge(name, target, tuple(dict.fromkeys(branches)), label)
            edges.append(edge if numbers is None else _counted(edge, numbers))
    return edges


def left_here(journey: Journey, counts: pd.DataFrame) -> dict[str, int]:
    """How many visits of each node ended because their entry left the journey there (rule 14)."""
    gone = counts[(counts["journey"] == journey.journey) & counts["branch"].isna()]
    by_node = gone.groupby("node", observed=True)["n_visits"].sum()
    return {name: int(n) for name, n in by_node.items() if n and not isinstance(journey.nodes.get(name), Exit)}


def draw_table(journey: Journey, counts: pd.DataFrame | None = None) -> pd.DataFrame:
    """What a drawing of the journey shows, as a table with one row for each branch and one for each exit node.

    Args:
        journey: the journey.
        counts: closed visits by branch, as a replay returns them; without it, the table has no numbers.

    Returns:
        A frame in the order of the definition: `node`, `verb`, `summary` (text), `branch`, `target` (text, missing for
        exit nodes) and, with `counts`, `n_visits` (int) and `branch_share` (0..1, of the visits
        that left the node; missing when none did).

    Raises:
        DataError: when `counts` lacks a column or has nothing of this journey.

    >>> journey = Journey(journey="hello", trigger=Trigger(event="signup"),
    ...                   nodes={"greet": Send(send="hi", next="done"), "done": Exit(exit="finished")})
    >>> draw_table(journey)
        node  verb        summary   branch target
    0  greet  send        send hi     next   done
    1  greet  send        send hi  skipped   done
    2   done  exit  exit finished      NaN    NaN
    """
    import pandas as pd

    numbers = None if counts is None else _numbers(journey, counts)
    rows: list[dict[str, object]] = []
    for name, node in journey.nodes.items():
        about = {"node": name, "verb": node.verb, "summary": "; ".join(node_facts(node))}
        branches = dict.fromkeys((branch, target) for branch, target, _ in node.branches())
        for branch, target in branches or [(None, None)]:
            row: dict[str, object] = {**about, "branch": branch, "target": target}
            if numbers is not None:
                n, of = (numbers.get(key, (0, 0, 0))[0] for key in ((name, branch), (name, None)))
                row |= {"n_visits": n, "branch_share": n / of if of and branch else math.nan}
            rows.append(row)
    return pd.DataFrame(rows)


def _numbers(journey: Journey, counts: pd.DataFrame) -> dict[tuple[str, str | None], tuple[int, int, int]]:
    """(n_visits, n_assumed, n_predicted) of each (node, branch), and of each node under (node, None)."""
    missing = [column for column in _COUNTED if column not in counts.columns]
    if missing:
        raise DataError(f"counts without {', '.join(missing)}; the columns here are {listed(counts.columns, most=20)}")
    own = counts[counts["journey"] == journey.journey]
    if own.empty and not counts.empty:
        raise DataError(f"no counts of journey {journey.journey!r}; these are of {listed(counts['journey'].unique())}")
    numbers: dict[tuple[str, str | None], tuple[int, int, int]] = {}
    for row in own[list(_COUNTED)].itertuples(index=False):
        these = (int(row.n_visits), int(row.n_assumed), int(row.n_predicted))
        keys: list[tuple[str, str | None]] = [(str(row.node), None)]
        if isinstance(row.branch, str):
            keys.append((str(row.node), row.branch))
        for key in keys:
            before = numbers.get(key, (0, 0, 0))
            numbers[key] = (before[0] + these[0], before[1] + these[1], before[2] + these[2])
    return numbers


def _counted(edge: Edge, numbers: dict[tuple[str, str | None], tuple[int, int, int]]) -> Edge:
    found = [numbers.get((edge.node, branch), (0, 0, 0)) for branch in edge.branches]
    n_visits, n_assumed, n_predicted = (sum(column) for column in zip(*found, strict=True))
    of = numbers.get((edge.node, None), (0, 0, 0))[0]
    share = n_visits / of if of else math.nan
    return Edge(edge.node, edge.target, edge.branches, edge.label, n_visits, share, n_assumed, n_predicted)


def _branch_labels(node: Node) -> list[str]:
    """What to write on each branch: for arms their share, for clauses their number, for a list what is awaited."""
    match node:
        case Split():
            return [_percent(share) for share in node.split.values()]
        case Decide():
            count = len(node.decide)
            return [*(["if"] if count == 1 else [f"if {number}" for number in range(1, count + 1)]), "else"]
        case WaitFor() if not isinstance(node.wait_for, str):
            return [*node.awaited, "else"]
    return [branch for branch, _, _ in node.branches()]


def _wait_for_facts(node: WaitFor) -> list[str]:
    awaited = ", ".join(node.awaited)
    if isinstance(node.wait_for, str):
        first = say("wait for {awaited}", awaited=awaited)
    else:
        first = say("wait for the first of {awaited}", awaited=awaited)
    within = length_text(node.within)
    if node.since:
        return [first, say("within {length}, since {since}", length=within, since=node.since)]
    return [first, say("within {length}", length=within)]


def _percent(share: Any) -> str:
    return f"{formatted(float(share * 100), '.4g')}%"


def _send_terms(node: Send) -> list[str]:
    terms = []
    if node.best is not None:
        terms += _best_terms(node.best)
    elif isinstance(node.at, Window):
        terms.append(_window_text(node.at.between, node.at.days))
    if "expires" in node.model_fields_set:
        terms.append(say("expires after {length}", length=length_text(node.expires)))
    if node.when_capped == "skip":
        terms.append(say("skipped when capped"))
    return terms


def _best_terms(best: Best) -> list[str]:
    if best.best == "best":
        terms = [say("at the contact's best time")]
    else:
        terms = [say("at the contact's best time by {model}", model=best.best)]
    if best.between is not None:
        terms.append(_window_text(best.between, best.days))
    elif best.window is not None:
        terms.append(_days_text(best.days).removeprefix(", "))
    if best.within is not None:
        terms.append(say("within {length}", length=length_text(best.within)))
    if "explore" in best.model_fields_set:
        terms.append(say("{share} explored", share=_percent(best.explore)))
    return terms


def _until_text(until: Until) -> str:
    if until.date is not None:
        date = f"{until.date}{_offset_text(until.offset)}"
        return say("{date} at {time}", date=date, time=until.time) if until.time else date
    if until.between is not None:
        return _window_text(until.between, until.days)
    return f"{until.time}{_days_text(until.days)}"


def _window_text(between: tuple[str, str], days: Sequence[str]) -> str:
    return say("{start} to {end}", start=between[0], end=between[1]) + _days_text(days)


def _days_text(days: Sequence[str]) -> str:
    places = sorted(WEEKDAYS.index(day) for day in days)
    if len(places) == len(WEEKDAYS):
        return ""
    if len(places) > 2 and places == list(range(places[0], places[-1] + 1)):
        return ", " + say("{start} to {end}", start=_day_text(places[0]), end=_day_text(places[-1]))
    return ", " + " ".join(_day_text(place) for place in places)


def _day_text(place: int) -> str:
    return WEEKDAYS[place] if current() == "en" else weekday_text(place)


def _offset_text(offset: timedelta) -> str:
    if not offset:
        return ""
    return f" - {length_text(-offset)}" if offset < timedelta(0) else f" + {length_text(offset)}"
