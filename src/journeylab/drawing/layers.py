"""Where the boxes and edges of a layered drawing go, after Sugiyama.

Four steps: edges that close a cycle are set aside; boxes are ranked by their longest path from the start; within ranks
they are ordered by barycentres to avoid crossings; and x is the weighted mean of their neighbours' as far as the order
and the widths allow. An edge that passes ranks, and one that returns, gets a lane of its own through each of them.

Sugiyama, K., Tagawa, S. & Toda, M. (1981). Methods for visual understanding of hierarchical system structures. IEEE
Transactions on Systems, Man, and Cybernetics 11, 109-125.
"""

from __future__ import annotations

from bisect import bisect_right, insort
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from math import inf
from typing import TypeAlias

__all__ = ["Box", "Placement", "place"]

Key: TypeAlias = Hashable
_LANE = 10.0
_BETWEEN_BOXES, _BETWEEN_LANES = 30.0, 14.0
_ORDERING_SWEEPS, _PLACING_SWEEPS = 16, 48
# How much an edge pulls: lanes are kept straight before boxes are centred over each other.
_PULL = {2: 12.0, 1: 1.0, 0: 1.0}


@dataclass(frozen=True, slots=True)
class Box:
    """A box to place; `below` is the height of what is written under it."""

    width: float
    height: float
    below: float = 0.0


@dataclass(frozen=True, slots=True)
class Placement:
    """Where everything goes, in pixels from the upper left.

    `boxes` has the centre x and the top y of each box. `lanes` has, for each edge in their order, the spans
    (x, from y, to y) that it passes vertically between its ends: downwards, or upwards for an edge that returns.
    `rows` has, for each rank, its top and its bottom; edges run freely between the bottom of one row and the next top.
    """

    boxes: dict[str, tuple[float, float]]
    lanes: list[list[tuple[float, float, float]]]
    ranks: dict[str, int]
    rows: list[tuple[float, float]]
    width: float
    height: float


def place(boxes: Mapping[str, Box], edges: Sequence[tuple[str, str]], margin: float = 16.0) -> Placement:
    """The placement of boxes, all edges leading from one row to a later one except those that close a cycle.

    >>> placement = place({"a": Box(80, 40), "b": Box(80, 40)}, [("a", "b"), ("b", "a")])
    >>> placement.ranks, [len(spans) for spans in placement.lanes]
    ({'a': 0, 'b': 1}, [0, 2])
    """
    returning = _returning(list(boxes), edges)
    ranks = _ranks(list(boxes), [edge for number, edge in enumerate(edges) if number not in returning])
    graph = _Graph({name: box.width for name, box in boxes.items()}, [[] for _ in range(max(ranks.values()) + 1)])
    for name, rank in ranks.items():
        graph.rows[rank].append(name)
    chains = [_chain(graph, number, edge, ranks, number in returning) for number, edge in enumerate(edges)]
    _order(graph)
    x = _columns(graph)
    _straighten(graph, x, [[key for key, _ in chain] for chain in chains])
    left = min(x[key] - graph.widths[key] / 2 for row in graph.rows for key in row) - margin
    right = max(x[key] + graph.widths[key] / 2 for row in graph.rows for key in row) + margin
    turns = [{ranks[edges[number][end]] for number in returning} for end in (0, 1)]
    rows = _rows(graph, boxes, x, margin, turns[0], turns[1])
    spans = [
        [(x[key] - left, *(rows[rank] if number not in returning else rows[rank][::-1])) for key, rank in chain]
        for number, chain in enumerate(chains)
    ]
    at = {name: (x[name] - left, rows[ranks[name]][0]) for name in boxes}
    return Placement(at, spans, ranks, rows, right - left, rows[-1][1] + margin + _turn(len(rows) - 1, turns[0]))


@dataclass(slots=True)
class _Graph:
    """Boxes and lanes by rank, and which of them are joined; a lane's key is (edge number, rank)."""

    widths: dict[Key, float]
    rows: list[list[Key]]
    above: dict[Key, list[Key]] = field(default_factory=dict)
    below: dict[Key, list[Key]] = field(default_factory=dict)

    def join(self, upper: Key, lower: Key) -> None:
        self.below.setdefault(upper, []).append(lower)
        self.above.setdefault(lower, []).append(upper)

    def gap(self, left: Key, right: Key) -> float:
        both_boxes = isinstance(left, str) and isinstance(right, str)
        return (self.widths[left] + self.widths[right]) / 2 + (_BETWEEN_BOXES if both_boxes else _BETWEEN_LANES)


def _returning(names: Sequence[str], edges: Sequence[tuple[str, str]]) -> set[int]:
    """The numbers of the edges that lead back to a box on the way to them, found depth first."""
    leaving: dict[str, list[int]] = {name: [] for name in names}
    for number, (node, _) in enumerate(edges):
        leaving[node].append(number)
    found: set[int] = set()
    done: set[str] = set()
    for start in names:
        path: dict[str, list[int]] = {} if start in done else {start: leaving[start][::-1]}
        while path:
            name, left = next(reversed(path.items()))
            if not left:
                done.add(name)
                del path[name]
                continue
            number = left.pop()
            target = edges[number][1]
            if target in path:
                found.add(number)
            elif target not in done:
                path[target] = leaving[target][::-1]
    return found


def _ranks(names: Sequence[str], edges: Sequence[tuple[str, str]]) -> dict[str, int]:
    """The length of the longest path to each box."""
    waiting_for = dict.fromkeys(names, 0)
    after: dict[str, list[str]] = {name: [] for name in names}
    for node, target in edges:
        waiting_for[target] += 1
        after[node].append(target)
    ranks = dict.fromkeys(names, 0)
    ready = [name for name in names if not waiting_for[name]]
    for name in ready:
        for target in after[name]:
            ranks[target] = max(ranks[target], ranks[name] + 1)
            waiting_for[target] -= 1
            if not waiting_for[target]:
                ready.append(target)
    return ranks


def _chain(
    graph: _Graph, number: int, edge: tuple[str, str], ranks: Mapping[str, int], returns: bool
) -> list[tuple[Key, int]]:
    """The lanes of one edge, made in the graph and joined, in the order in which the edge passes them."""
    node, target = edge
    upper, lower = (target, node) if returns else (node, target)
    passed = range(ranks[upper], ranks[lower] + 1) if returns else range(ranks[upper] + 1, ranks[lower])
    lanes: list[tuple[Key, int]] = [((number, rank), rank) for rank in passed]
    for key, rank in lanes:
        graph.widths[key] = _LANE
        graph.rows[rank].append(key)
    stops: list[Key] = [key for key, _ in lanes] if returns else [upper, *(key for key, _ in lanes), lower]
    for one, other in pairwise(stops):
        graph.join(one, other)
    return lanes[::-1] if returns else lanes


def _order(graph: _Graph) -> None:
    """The rows sorted by the mean place of their neighbours, down and up in turn; the order with fewest crossings."""
    best, fewest = [list(row) for row in graph.rows], _crossings(graph)
    for sweep in range(_ORDERING_SWEEPS):
        downwards = sweep % 2 == 0
        numbers = range(1, len(graph.rows)) if downwards else range(len(graph.rows) - 2, -1, -1)
        for number in numbers:
            fixed = {key: place for place, key in enumerate(graph.rows[number - 1 if downwards else number + 1])}
            neighbours = graph.above if downwards else graph.below
            means = {}
            for place, key in enumerate(graph.rows[number]):
                places = [fixed[other] for other in neighbours.get(key, [])]
                means[key] = sum(places) / len(places) if places else float(place)
            graph.rows[number].sort(key=means.__getitem__)
        crossings = _crossings(graph)
        if crossings < fewest:
            best, fewest = [list(row) for row in graph.rows], crossings
    graph.rows[:] = best


def _crossings(graph: _Graph) -> int:
    total = 0
    for upper, lower in pairwise(graph.rows):
        places = {key: place for place, key in enumerate(lower)}
        seen: list[int] = []
        for key in upper:
            ends = sorted(places[other] for other in graph.below.get(key, []))
            total += sum(len(seen) - bisect_right(seen, end) for end in ends)
            for end in ends:
                insort(seen, end)
    return total


def _columns(graph: _Graph) -> dict[Key, float]:
    """The centre x of every box and lane."""
    x: dict[Key, float] = {}
    for row in graph.rows:
        x.update(zip(row, _spread([0.0] * len(row), [1.0] * len(row), _gaps(graph, row)), strict=True))
    for sweep in range(_PLACING_SWEEPS):
        last = sweep >= _PLACING_SWEEPS // 2
        sides = [graph.above, graph.below] if last else [graph.above if sweep % 2 == 0 else graph.below]
        for row in graph.rows if sweep % 2 == 0 else graph.rows[::-1]:
            wanted, weights = [], []
            for key in row:
                pulls = [
                    (x[other], _PULL[(not isinstance(key, str)) + (not isinstance(other, str))])
                    for side in sides
                    for other in side.get(key, [])
                ]
                weight = sum(pull for _, pull in pulls)
                wanted.append(sum(at * pull for at, pull in pulls) / weight if pulls else x[key])
                weights.append(weight or 0.1)
            x.update(zip(row, _spread(wanted, weights, _gaps(graph, row)), strict=True))
    return x


def _gaps(graph: _Graph, row: Sequence[Key]) -> list[float]:
    return [graph.gap(left, right) for left, right in pairwise(row)]


def _spread(wanted: Sequence[float], weights: Sequence[float], gaps: Sequence[float]) -> list[float]:
    """The places nearest to those wanted (weighted least squares) that keep the order and the gaps.

    With the gaps taken off, this is isotonic regression, by pooling adjacent violators.

    >>> _spread([0, 0], [1, 1], [10])
    [-5.0, 5.0]
    """
    offsets = [0.0]
    for gap in gaps:
        offsets.append(offsets[-1] + gap)
    pools: list[tuple[float, float, int]] = []
    for want, weight, offset in zip(wanted, weights, offsets, strict=True):
        level, mass, size = want - offset, weight, 1
        while pools and pools[-1][0] > level:
            before, its_mass, its_size = pools.pop()
            level = (before * its_mass + level * mass) / (its_mass + mass)
            mass, size = mass + its_mass, size + its_size
        pools.append((level, mass, size))
    levels = [level for level, _, size in pools for _ in range(size)]
    return [level + offset for level, offset in zip(levels, offsets, strict=True)]


def _straighten(graph: _Graph, x: dict[Key, float], chains: Sequence[Sequence[Key]]) -> None:
    """Moves each lane under the one before it, then over the one after it, as far as its neighbours allow."""
    bounds: dict[Key, tuple[Key | None, Key | None]] = {}
    for row in graph.rows:
        for key, left, right in zip(row, [None, *row[:-1]], [*row[1:], None], strict=True):
            bounds[key] = left, right
    for chain in chains:
        for one, other in [*pairwise(chain), *pairwise(chain[::-1])]:
            left, right = bounds[other]
            least = x[left] + graph.gap(left, other) if left is not None else -inf
            most = x[right] - graph.gap(other, right) if right is not None else inf
            x[other] = max(least, min(most, x[one]))


def _turn(rank: int, ranks: set[int]) -> float:
    return 20.0 if rank in ranks else 0.0


def _rows(
    graph: _Graph,
    boxes: Mapping[str, Box],
    x: Mapping[Key, float],
    margin: float,
    turns_below: set[int],
    turns_above: set[int],
) -> list[tuple[float, float]]:
    """The top and bottom of each row; the wider its edges sweep to the next one, the more room below it."""
    rows: list[tuple[float, float]] = []
    top = margin + _turn(0, turns_above)
    for rank, row in enumerate(graph.rows):
        height = max((boxes[key].height + boxes[key].below for key in row if isinstance(key, str)), default=_LANE)
        rows.append((top, top + height))
        sweep = max((abs(x[key] - x[other]) for key in row for other in graph.below.get(key, [])), default=0.0)
        top += height + 26 + min(46.0, sweep / 9) + _turn(rank, turns_below) + _turn(rank + 1, turns_above)
    return rows
