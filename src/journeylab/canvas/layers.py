"""What is laid over a drawn journey: numbers on its lines, what the log can tell, what another version has otherwise.

A layer is plain data. `edges` maps `NODE|SLOT` to a `text` (lines), a `title` that says it in words, a `tone` that
decides colour and pattern, and a `width` in 0..1; `nodes` maps names to a `text` and a `tone`; nodes of a part have the
name of their `run` node before their own. A slot is a node's way out as it is drawn; see `slots`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from journeylab.definitiondiff import diff
from journeylab.drawing.facts import node_facts
from journeylab.journey import Call, Decide, Journey, Node, Run, Send, Split, WaitFor
from journeylab.language import count_text, say, share_text
from journeylab.visits import wilson_interval

if TYPE_CHECKING:
    from journeylab.replay import Replay
    from journeylab.simulation import Simulation
    from journeylab.supportmap import SupportMap

__all__ = [
    "Over", "counts_layer", "difference_layer", "forecast_layer", "laid", "slots", "support_layer",
    "waiting_layer",
]  # fmt: skip

Layer: TypeAlias = dict[str, Any]
Over: TypeAlias = "Replay | Simulation | SupportMap | Journey"
_TO = "\N{EN DASH}"
_TONES = {"identified": "identified", "weak": "weak", "not identified": "unidentified"}


def laid(journey: Journey, over: Iterable[Over]) -> dict[str, Layer]:
    """The layers that results on a journey make, by name: `counts`, `forecast`, `support`, `difference`.

    Args:
        journey: the journey that is drawn.
        over: replays, simulations, support maps, or another version of the journey.
    """
    from journeylab.replay import Replay
    from journeylab.simulation import Simulation
    from journeylab.supportmap import SupportMap

    layers = {}
    for one in over:
        match one:
            case Replay():
                layers["counts"] = counts_layer(journey, one)
            case Simulation():
                layers["forecast"] = forecast_layer(journey, one)
            case SupportMap():
                layers["support"] = support_layer(one)
            case Journey():
                layers["difference"] = difference_layer(one, journey)
    return layers


def slots(node: Node) -> Iterator[tuple[str, list[str]]]:
    """The ways out of a node as they are drawn, each with the branches that go that way.

    >>> from journeylab.journey import Send, Split
    >>> list(slots(Send(send="hello", next="done"))), list(slots(Split(split={"a": "50%", "b": "50%"})))
    ([('next', ['next', 'skipped'])], [('split.a', ['a']), ('split.b', ['b'])])
    """
    match node:
        case Send() | Call():
            other = "skipped" if isinstance(node, Send) else "failed"
            is_drawn = getattr(node, other) is not None
            yield "next", ["next"] if is_drawn else ["next", other]
            if is_drawn:
                yield other, [other]
        case Decide():
            seen: set[str] = set()
            for i, clause in enumerate(node.decide):
                yield f"decide.{i}", [] if clause.go in seen else [clause.go]
                seen.add(clause.go)
            yield "else", [] if node.otherwise in seen else [node.otherwise]
        case Split():
            yield from ((f"split.{arm}", [arm]) for arm in node.split)
        case WaitFor() if not isinstance(node.wait_for, str):
            taken: set[str] = set()
            for i, one in enumerate(node.wait_for):
                yield f"wait_for.{i}", [] if one.go in taken else [one.go]
                taken.add(one.go)
            yield "else", ["else"]
        case _:
            yield from ((branch, [branch]) for branch, _, _ in node.branches())


def _all_slots(journey: Journey, prefix: str = "") -> Iterator[tuple[str, str, list[str]]]:
    """Every slot of a journey and its parts, as (node, slot, branches)."""
    for name, node in journey.nodes.items():
        for slot, branches in slots(node):
            yield prefix + name, slot, branches
        if isinstance(node, Run) and node.run in journey.parts:
            yield from _all_slots(journey.parts[node.run], f"{prefix}{name}.")


def _evidence_legend(*, predicted: bool) -> list[dict[str, str]]:
    rows = [("observed", say("observed")), ("assumed", say("at least half assumed"))]
    return [
        {"tone": tone, "text": text}
        for tone, text in [*rows, *([("predicted", say("predicted"))] if predicted else [])]
    ]


def _tone(n: int, n_assumed: int, n_predicted: int) -> str:
    if n and n_assumed * 2 >= n:
        return "assumed"
    return "predicted" if n and n_predicted * 2 >= n else "observed"


def counts_layer(journey: Journey, replay: Replay) -> Layer:
    """What a replay counted: visits and share of each line with its 95 % interval (Wilson), and what it rests on."""
    counts = replay.counts[replay.counts["journey"] == journey.journey]
    columns = ["n_visits", "n_assumed", "n_predicted"]
    by_branch = counts.groupby(["node", "branch"], observed=True)[columns].sum()
    closed = counts.groupby("node", observed=True)["n_visits"].sum()
    edges: dict[str, Any] = {}
    for node, slot, branches in _all_slots(journey):
        found = [by_branch.loc[(node, branch)] for branch in branches if (node, branch) in by_branch.index]
        n, n_assumed, n_predicted = (int(sum(row[column] for row in found)) for column in columns)
        of = int(closed.get(node, 0))
        if not branches or not of:
            continue
        low, high = (float(bound) for bound in wilson_interval(n, of))
        edges[f"{node}|{slot}"] = _edge(count_text(n), n / of, low, high, _tone(n, n_assumed, n_predicted))
    visits = replay.nodes[replay.nodes["journey"] == journey.journey]
    nodes = {}
    for row in visits.itertuples():
        n_visits = count_text(int(row.n_visits))
        nodes[row.node] = {"text": n_visits, "title": say("{n} visits", n=n_visits)}
    nodes["trigger:"] = {
        "text": count_text(replay.n_entries),
        "title": say("{n} entries", n=count_text(replay.n_entries)),
    }
    return {
        "title": say("Replay"),
        "legend": _evidence_legend(predicted=bool(counts["n_predicted"].sum())),
        "edges": edges,
        "nodes": nodes,
        "summary": _entries(replay.n_entries, _converted(replay)),
    }


def waiting_layer() -> Layer:
    """The layer in the place of a replay's counts while the drawing has faults."""
    return {"title": say("Replay"), "legend": [], "edges": {}, "nodes": {},
            "summary": say("the replay waits until no fault is left")}  # fmt: skip


def _converted(replay: Replay) -> tuple[int, int] | None:
    if not any(one.goal for journey in replay.journeys for one in journey.exit_when):
        return None
    exits = replay.summary(replay.journeys[0].journey)["exits"]
    return sum(n for name, n in exits.items() if name.startswith("goal:")), replay.n_entries


def _entries(n: int, converted: tuple[int, int] | None) -> str:
    text = say("{n} entries", n=count_text(n))
    if converted is None or not converted[1]:
        return text
    low, high = (float(bound) for bound in wilson_interval(*converted))
    share = converted[0] / converted[1]
    return say("{entries}, {share} converted ({low} to {high})", entries=text, share=share_text(share),
               low=share_text(low), high=share_text(high))  # fmt: skip


def _edge(n: str, share: float, low: float, high: float, tone: str, level: str = "95%") -> dict[str, Any]:
    return {
        "text": f"{n} · {share_text(share)}\n{share_text(low)} {_TO} {share_text(high)}",
        "title": say("{n} visits, {share} of those that left; {level} interval {low} to {high}", n=n,
                     share=share_text(share), level=level, low=share_text(low), high=share_text(high)),
        "tone": tone,
        "width": 0.0 if np.isnan(share) else share,
    }  # fmt: skip


def forecast_layer(journey: Journey, simulation: Simulation) -> Layer:
    """What a simulation predicts: mean visits and share of each line with its prediction interval."""
    branches = simulation.branches[simulation.branches["journey"] == journey.journey]
    rows = {(row.node, row.branch): row for row in branches.itertuples()}
    level = share_text(simulation.level)
    edges: dict[str, Any] = {}
    for node, slot, names in _all_slots(journey):
        found = [rows[node, name] for name in names if (node, name) in rows]
        if not found:
            continue
        first = max(found, key=lambda row: row.n_visits)
        n = sum(row.n_visits for row in found)
        is_alone = len([row for row in found if row.n_visits]) < 2
        share = sum(row.branch_share for row in found)
        low, high = (first.branch_share_low, first.branch_share_high) if is_alone else (share, share)
        tone = "predicted" if first.observed_share < 0.5 else "observed"
        edges[f"{node}|{slot}"] = _edge(count_text(round(n)), share, low, high, tone, level)
    return {
        "title": say("Forecast"),
        "legend": [{"tone": "observed", "text": say("mostly on record")},
                   {"tone": "predicted", "text": say("mostly predicted")}],
        "edges": edges,
        "nodes": {},
        "summary": say("{n} entries", n=count_text(round(simulation.n_entries))),
    }  # fmt: skip


def support_layer(support: SupportMap) -> Layer:
    """What a log can tell of each line: identified, weak or not identified."""
    rows = {(row.node, row.branch): row for row in support.edges.itertuples()}
    why = {row.node: row.why for row in support.nodes.itertuples() if isinstance(row.why, str)}
    edges: dict[str, Any] = {}
    for node, slot, branches in _all_slots(support.journey):
        found = [rows[node, branch] for branch in branches if (node, branch) in rows]
        if found:
            worst = max(found, key=lambda row: list(_TONES).index(row.status))
            of, n = (sum(getattr(row, name) for row in found) for name in ("n_visits", "n_on_record"))
            text = say("{n} of {of} on record", n=count_text(n), of=count_text(of))
            edges[f"{node}|{slot}"] = {
                "text": text,
                "title": f"{say(worst.status)}; {text}",
                "tone": _TONES[worst.status],
            }
    return {
        "title": say("Support"),
        "legend": [{"tone": tone, "text": say(status)} for status, tone in _TONES.items()],
        "edges": edges,
        "nodes": {name: {"title": text} for name, text in why.items()},
        "summary": "",
    }  # fmt: skip


def difference_layer(before: Journey, after: Journey) -> Layer:
    """What `after` has otherwise than `before`: nodes and lines added, changed and removed."""
    changes = diff(before, after)
    renames = {str(change.before): str(change.after) for change in changes if change.kind == "renamed"}
    old = {(renames.get(node, node), slot): renames.get(target, target) for node, slot, target in _targets(before)}
    new = {(node, slot): target for node, slot, target in _targets(after)}
    gone = {name: node.data() for name, node in before.nodes.items() if name not in after.nodes and name not in renames}
    touched = {str(change.path[1]) for change in changes if len(change.path) > 1 and change.path[0] == "nodes"}
    nodes: dict[str, Any] = {}
    for name in after.nodes:
        if name not in before.nodes and name not in renames.values():
            nodes[name] = {"text": say("new"), "tone": "added", "title": say("added")}
        elif name in touched or name in renames.values():
            texts = [change.text for change in changes if name in map(str, (*change.path[1:2], change.after))]
            nodes[name] = {"text": say("changed"), "tone": "changed", "title": "; ".join(texts)}
    edges = {
        f"{node}|{slot}": {"tone": "added"} for (node, slot), target in new.items() if old.get((node, slot)) != target
    }
    lost = [
        [node, slot, target]
        for (node, slot), target in old.items()
        if new.get((node, slot)) != target and node in after.nodes and (target in after.nodes or target in gone)
    ]
    rest = [change.text for change in changes if change.path[0] not in ("nodes", "version", "layout")]
    if rest:
        nodes["trigger:"] = {"text": say("changed"), "tone": "changed", "title": "; ".join(rest)}
    return {
        "title": say("Difference"),
        "legend": [{"tone": "added", "text": say("added")}, {"tone": "changed", "text": say("changed")},
                   {"tone": "removed", "text": say("removed")}],
        "edges": edges,
        "nodes": nodes,
        "gone": {"nodes": gone, "edges": lost, "facts": {name: node_facts(before.nodes[name]) for name in gone}},
        "summary": say("no difference") if not changes else "",
    }  # fmt: skip


def _targets(journey: Journey) -> Iterator[tuple[str, str, str]]:
    """Every line of a journey without its parts, as (node, slot, target)."""
    for name, node in journey.nodes.items():
        leads: Mapping[str, str] = {branch: target for branch, target, _ in node.branches()}
        for slot, _ in slots(node):
            field, _, which = slot.partition(".")
            if isinstance(node, Decide):
                target = node.otherwise if field == "else" else node.decide[int(which)].go
            elif isinstance(node, WaitFor) and which:
                assert not isinstance(node.wait_for, str)
                target = node.wait_for[int(which)].go
            else:
                target = leads[which or field]
            yield name, slot, target
