"""A journey's nodes as a graph: what leads where, what can be reached, and which loops take no time (rule 24)."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Set
from typing import TYPE_CHECKING, NamedTuple

from .journey import Decide, Exit, Journey, Node, Run, WaitFor

if TYPE_CHECKING:
    from .yamlsource import Path

__all__ = ["Place", "edges_of", "instant_cycles", "leading_to", "places", "reachable", "targets"]

Edges = Mapping[str, Collection[str]]


class Place(NamedTuple):
    """A node under the name that it has in visits, the journey or part that it is of, and where its branches lead."""

    name: str
    node: Node
    owner: Journey
    branches: tuple[tuple[str, str], ...]


def places(journey: Journey, prefix: str = "") -> Iterator[Place]:
    """All nodes of a journey, those of a part after the node that runs it."""
    for name, node in journey.nodes.items():
        branches = tuple((branch, prefix + target) for branch, target, _ in node.branches())
        yield Place(prefix + name, node, journey, branches)
        part = journey.parts.get(node.run) if isinstance(node, Run) else None
        if part is not None:
            yield from places(part, f"{prefix}{name}.")


def targets(journey: Journey) -> Iterator[tuple[str, Path, str]]:
    """Every place that names a node to go to, as (node, path of the place, target); a place is listed once."""
    for name, node in journey.nodes.items():
        seen: set[Path] = set()
        for _, target, key in node.branches():
            place: Path = ("nodes", name, key)
            if key == "split":
                place = (*place, target)
            elif (isinstance(node, Decide) and key == "decide") or (isinstance(node, WaitFor) and key == "wait_for"):
                place = (*place, sum(other[:3] == place for other in seen), "go")
            if place not in seen:
                seen.add(place)
                yield name, place, target


def reachable(start: Iterable[str], edges: Edges) -> set[str]:
    """The nodes that can be reached from `start`, those included.

    >>> sorted(reachable(["a"], {"a": ["b"], "b": [], "c": ["a"]}))
    ['a', 'b']
    """
    found: set[str] = set()
    waiting = list(start)
    while waiting:
        node = waiting.pop()
        if node not in found:
            found.add(node)
            waiting.extend(edges.get(node, ()))
    return found


def edges_of(journey: Journey) -> dict[str, list[str]]:
    """The targets of each node that exist."""
    edges: dict[str, list[str]] = {name: [] for name in journey.nodes}
    for node, _, target in journey.edges():
        if target in edges and target not in edges[node]:
            edges[node].append(target)
    return edges


def leading_to(nodes: Iterable[str], journey: Journey) -> set[str]:
    """The nodes from which one of `nodes` can be reached, those included."""
    backwards: dict[str, list[str]] = {name: [] for name in journey.nodes}
    for node, following in edges_of(journey).items():
        for target in following:
            backwards[target].append(node)
    return reachable(nodes, backwards)


def is_instant(journey: Journey, name: str) -> bool:
    """Whether a node can be passed without time: no wait, and no part that always waits."""
    node = journey.nodes[name]
    part = journey.parts.get(node.run) if isinstance(node, Run) else None
    if part is None:
        return not node.takes_time
    passed = _instant_edges(part)
    ends = {inner for inner, inside in part.nodes.items() if isinstance(inside, Exit)}
    return part.first in passed and bool(ends & reachable([part.first], passed))


def instant_cycles(journey: Journey) -> list[list[str]]:
    """The loops in which no node takes time, each as its nodes in order; of loops that share nodes, one."""
    edges = _instant_edges(journey)
    cycles: list[list[str]] = []
    taken: set[str] = set()
    for name in edges:
        if name not in taken and (cycle := _way_back(name, edges)):
            cycles.append(cycle)
            taken |= reachable([name], edges) & _ancestors(name, edges)
    return cycles


def _instant_edges(journey: Journey) -> dict[str, list[str]]:
    instant = {name for name in journey.nodes if is_instant(journey, name)}
    return {
        node: [to for to in following if to in instant]
        for node, following in edges_of(journey).items()
        if node in instant
    }


def _ancestors(name: str, edges: Edges) -> Set[str]:
    return {other for other in edges if name in reachable([other], edges)}


def _way_back(name: str, edges: Edges) -> list[str]:
    """The shortest way from a node back to itself, or an empty list."""
    ways = [[target] for target in edges[name]]
    seen: set[str] = set()
    while ways:
        way = ways.pop(0)
        if way[-1] == name:
            return [name, *way]
        if way[-1] not in seen:
            seen.add(way[-1])
            ways.extend([*way, target] for target in edges[way[-1]])
    return []
