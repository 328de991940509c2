"""Boosted trees over a grid: for many rows of some columns, each beside every cell of a grid of the others.

Asking a booster for all pairs would pass each through every tree. Here every row and every cell says once, by a bit for
each leaf, which leaves of a tree it leaves open; the one that both leave open is the pair's leaf (after QuickScorer:
Lucchese et al., SIGIR 2015). The results are the booster's own.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numba import njit

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["MOST_LEAVES", "TreeGrid"]

MOST_LEAVES = 32
"""Of a tree: one bit each."""
_DE_BRUIJN = np.uint32(0x077CB531)  # times a power of two, its five highest bits tell the powers apart
_TOP = np.uint32(27)


class TreeGrid:
    """The trees of a LightGBM booster, made ready for a grid.

    Args:
        booster: a LightGBM booster of at most 32 leaves a tree, without categories or missing values.
        grid: float64 (cell, column), the last columns of what the booster was trained on.
    """

    def __init__(self, booster: Any, grid: NDArray[np.float64]) -> None:
        self._n_columns = booster.num_feature() - grid.shape[1]
        trees = [tree["tree_structure"] for tree in booster.dump_model()["tree_info"]]
        nodes: list[tuple[int, int, float, int, int]] = []
        self._value = np.zeros((len(trees), MOST_LEAVES))
        n_leaves = [_leaves(tree, number, 0, nodes, self._value[number]) for number, tree in enumerate(trees)]
        self._leaves = np.array([(1 << n) - 1 for n in n_leaves], np.uint32)
        table = sorted(nodes, key=lambda node: node[0])
        tree_of, column, threshold, low, high = zip(*table, strict=True) if table else [()] * 5
        self._first = np.searchsorted(np.array(tree_of, np.int64), np.arange(len(trees) + 1))
        self._column, self._threshold = np.array(column, np.int64), np.array(threshold, np.float64)
        self._low, self._high = np.array(low, np.uint32), np.array(high, np.uint32)
        self._cells = self._open(np.asarray(grid, np.float64), self._n_columns)

    def _open(self, values: NDArray[np.float64], offset: int) -> NDArray[np.uint32]:
        """The leaves that rows leave open: uint32 (tree, row); `offset` is the place of their first column."""
        found = np.empty((len(self._value), len(values)), np.uint32)
        _opened(values, offset, self._leaves, self._first, self._column, self._threshold, self._low, self._high, found)
        return found

    def raw_scores(self, rows: NDArray[np.float64]) -> NDArray[np.float64]:
        """The booster's raw scores: float64 (row, cell); `rows` are the columns before those of the grid."""
        found = np.zeros((len(rows), self._cells.shape[1]))
        _added(self._open(np.asarray(rows, np.float64), 0), self._cells, self._value, found)
        return found


def _leaves(
    node: dict[str, Any], tree: int, first: int, nodes: list[tuple[int, int, float, int, int]],
    value: NDArray[np.float64],
) -> int:  # fmt: skip
    """Numbers the leaves under a node from `first` on; returns how many there are."""
    if "leaf_value" in node:
        bit = np.uint32(1 << first)
        with np.errstate(over="ignore"):
            value[(bit * _DE_BRUIJN) >> _TOP] = node["leaf_value"]
        return 1
    n_low = _leaves(node["left_child"], tree, first, nodes, value)
    n_high = _leaves(node["right_child"], tree, first + n_low, nodes, value)
    every = (1 << MOST_LEAVES) - 1
    low, high = ((1 << n_low) - 1) << first, ((1 << n_high) - 1) << (first + n_low)
    # At or below the threshold the leaves of the higher side are closed, above it those of the lower one.
    nodes.append((tree, node["split_feature"], node["threshold"], every & ~high, every & ~low))
    return n_low + n_high


@njit(cache=True)
def _opened(values, offset, leaves, first, column, threshold, low, high, found):  # type: ignore[no-untyped-def]
    for tree in range(len(leaves)):
        for row in range(len(values)):
            mask = leaves[tree]
            for node in range(first[tree], first[tree + 1]):
                place = column[node] - offset
                if 0 <= place < values.shape[1]:
                    mask &= low[node] if values[row, place] <= threshold[node] else high[node]
            found[tree, row] = mask


@njit(cache=True)
def _added(rows, cells, value, found):  # type: ignore[no-untyped-def]
    for row in range(rows.shape[1]):
        for tree in range(rows.shape[0]):
            mine = rows[tree, row]
            for cell in range(cells.shape[1]):
                leaf = np.uint32(np.uint32(mine & cells[tree, cell]) * _DE_BRUIJN) >> _TOP
                found[row, cell] += value[tree, leaf]
