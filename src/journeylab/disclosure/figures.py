"""Further figures of cells that are shown: rows, sums and quantiles, as long as nobody stands out in them."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from . import likeness, perturbation, thresholds
from .ledger import Entry, Outcome, Writing

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from .decision import Question
    from .people import Amount, Cells, Floats

__all__ = ["further_figures"]


class _Figure(NamedTuple):
    """One figure of one cell: what it is, what its people contribute, and the same as a set of tokens."""

    identity: bytes
    kind: str
    contributions: Floats
    tokens: NDArray[np.uint64]


def further_figures(tables: Sequence[Cells], asked: Question, writing: Writing) -> list[dict[str, Floats]]:
    """The further columns of each table, missing in cells that are hidden, and written down.

    A column is shown in all cells that are shown or in none, and in all tables or in none: what one cell lacks, the
    others and a total would give away.
    """
    names = dict.fromkeys(amount.name for table in tables for amount in table.amounts)
    columns = {name: _column(name, tables, asked, writing) for name in names}
    return [
        {
            amount.name: values[place]
            for amount in table.amounts
            if (values := columns[amount.name]) is not None and not asked.is_refused(place)
        }
        for place, table in enumerate(tables)
    ]


def _column(name: str, tables: Sequence[Cells], asked: Question, writing: Writing) -> dict[int, Floats] | None:
    """A column's values by table and cell; None where it is withheld."""
    found: dict[int, Floats] = {}
    to_decide: list[tuple[_Figure, float]] = []
    is_withheld = False
    for place, table in enumerate(tables):
        for amount in (one for one in table.amounts if one.name == name):
            if asked.is_refused(place):
                continue
            found[place] = np.full(len(table), np.nan)
            for at, figure in _figures(place, table, amount, asked):
                before = writing.outcome(figure.identity)
                if before is not None and _is_alike(figure, before.ids):
                    found[place][at] = before.value
                    is_withheld |= before.state != "shown"
                    continue
                to_decide.append((figure, found[place][at]))
                is_withheld |= _stands_out(figure.contributions, amount) or _is_close(figure, asked.entries)
                found[place][at] = np.nan if is_withheld else _shown(figure.contributions, amount)
                to_decide[-1] = (figure, found[place][at])
            is_withheld |= _rest_stands_out(place, table, amount, asked)
    for figure, value in to_decide:
        state = "protects" if is_withheld else "shown"
        writing.decide(
            figure.identity, Outcome(state, 0.0 if is_withheld else float(value), figure.tokens), figure.kind, 0
        )
    return None if is_withheld else found


def _figures(place: int, table: Cells, amount: Amount, asked: Question) -> Iterator[tuple[int, _Figure]]:
    """The figures of the cells that are shown."""
    kind = json.dumps([amount.kind, amount.name, amount.at])
    for at, number in enumerate(asked.cells(place)):
        if number.state == "shown":
            contributions = amount.contributions[table.members.starts[at] : table.members.starts[at + 1]]
            tokens = np.sort(likeness.tokens(asked.ids[place][table.members[at]], contributions))
            yield at, _Figure(number.identity + kind.encode(), kind, contributions, tokens)


def _is_alike(figure: _Figure, before: NDArray[np.uint64]) -> bool:
    """Whether fewer than ten people contribute otherwise; each of them is up to two tokens apart."""
    return likeness.n_apart(figure.tokens, before, 2 * thresholds.FEWEST) < 2 * thresholds.FEWEST


def _is_close(figure: _Figure, entries: Sequence[Entry]) -> bool:
    """Whether such a figure was shown of people who contribute the same but for few."""
    enough = 2 * thresholds.FEWEST
    apart = (likeness.n_apart(figure.tokens, one.ids, enough) for one in entries if one.kind == figure.kind)
    return any(0 < n < enough for n in apart)


def _stands_out(contributions: Floats, amount: Amount) -> bool:
    if amount.kind == "quantile":
        return thresholds.few_beside(len(contributions), amount.at)
    return thresholds.dominated(contributions)


def _rest_stands_out(place: int, table: Cells, amount: Amount, asked: Question) -> bool:
    """Whether somebody stands out in what a group's total, less a cell or less all that are shown, would be."""
    if amount.kind == "quantile":
        return False
    owner = np.repeat(np.arange(len(table)), table.members.sizes)
    is_shown = np.array([number.state == "shown" for number in asked.cells(place)])
    for group in np.unique(table.group_of[is_shown]):
        cells = np.flatnonzero(table.group_of == group)
        lots = [cells[cells != one] for one in cells[is_shown[cells]]] + [cells[~is_shown[cells]]]
        for lot in lots:
            taken = np.isin(owner, lot)
            each = np.bincount(table.members.codes[taken], amount.contributions[taken], len(table.people)).astype(float)
            if each.any() and thresholds.dominated(each[each > 0]):
                return True
    return False


def _shown(contributions: Floats, amount: Amount) -> float:
    if amount.kind == "quantile":
        return perturbation.shown_quantile(contributions, amount.at, thresholds.FEWEST)
    return perturbation.shown_sum(contributions)
