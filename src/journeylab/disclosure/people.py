"""Tables of people: who stands behind every number, before any number is shown."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import reduce
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

import numpy as np
import pandas as pd

from journeylab.display import counted
from journeylab.errors import DataError, known, listed

from .addresses import has_address

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Codes: TypeAlias = NDArray[np.int64]
    Floats: TypeAlias = NDArray[np.float64]

__all__ = ["Amount", "Cells", "Members", "cells"]

_TAKEN = ("n_contacts", "n_within", "contact_share", "status")


class Members(NamedTuple):
    """The people of many sets: those of set `i` are `codes[starts[i]:starts[i + 1]]`, each once, in order."""

    starts: Codes
    codes: Codes

    def __getitem__(self, place: int) -> Codes:  # type: ignore[override]
        return self.codes[self.starts[place] : self.starts[place + 1]]

    @property
    def sizes(self) -> Codes:
        return np.diff(self.starts)

    def each(self) -> Iterator[Codes]:
        return (self[place] for place in range(len(self.starts) - 1))


class Amount(NamedTuple):
    """A further figure of each cell: what every member contributes to it, in the order of the members.

    `kind` is "count" (of rows), "sum" or "quantile", and `at` the quantile's place in 0..1.
    """

    name: str
    kind: str
    contributions: Floats
    at: float = 0.5


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Cells:
    """A table of people, to be disclosed: `cells` makes it from a frame.

    Attributes:
        table: its name, which is part of what each number is.
        by: the columns whose values make a cell.
        within: those of them whose values make the group that a cell is a share of; none: all people of the table.
        keys: a row for each cell, with the columns of `by`.
        groups: a row for each group, with the columns of `within`.
        group_of: the group of each cell, as a row of `groups`.
        people: the ids; members are places in it.
        members: the people of each cell, and `group_members` those of each group, the cells' people among them.
        amounts: the further figures.
        is_listed: whether the cells were named beforehand, so that also those of few people are listed.
        span: the first and last instant of the rows, or None.
    """

    table: str
    by: tuple[str, ...]
    within: tuple[str, ...]
    keys: pd.DataFrame
    groups: pd.DataFrame
    group_of: Codes
    people: Sequence[str]
    members: Members
    group_members: Members
    amounts: tuple[Amount, ...] = ()
    is_listed: bool = False
    span: tuple[datetime, datetime] | None = None

    def __len__(self) -> int:
        return len(self.keys)

    def __repr__(self) -> str:
        # How many people there are is not for a line that a saved notebook may hold.
        return f"Cells({self.table!r}, by {', '.join(self.by) or 'nothing'})"

    def cell_name(self, place: int) -> str:
        """What a cell is, as a text that is the same in every run."""
        return _name(self.table, "cell", self.keys, place)

    def group_name(self, place: int) -> str:
        """What a group is, likewise."""
        return _name(self.table, "group", self.groups, place)


def _name(table: str, kind: str, keys: pd.DataFrame, place: int) -> str:
    key = {str(name): str(keys[name].iloc[place]) for name in keys.columns}
    return json.dumps([table, kind, key], ensure_ascii=False, sort_keys=True)


def cells(
    frame: pd.DataFrame,
    *,
    table: str,
    by: Sequence[str],
    within: Sequence[str] = (),
    contact: str = "contact",
    population: Sequence[str] | None = None,
    levels: pd.DataFrame | Mapping[str, Sequence[object]] | None = None,
    at: str | None = None,
    counts: str | None = None,
    sums: Mapping[str, str] | None = None,
    quantiles: Mapping[str, tuple[str, float]] | None = None,
) -> Cells:
    """The people behind each cell of a table, from a frame with any number of rows for each of them.

    A cell is a combination of values of `by`; its people are the contacts with such a row, each once. The group that it
    is a share of is made of the contacts with the same values of `within`, in whatever cell: with `by=["node",
    "branch"], within=["node"]` the branches of a node are shares of those who came to the node.

    Args:
        frame: the rows; the columns that are named here have no missing values.
        table: the name of the table. Two tables of the same name are taken for the same question in every disclosure.
        by: columns whose values make a cell; with none the table has one cell, the people of `frame`, and it wants
            a `population`.
        within: some of `by`.
        contact: the column of the people's ids (text).
        population: the ids of all people that the table's total counts, where `within` is empty and people without
            a row belong to it: who was sent the mail, when the rows are clicks.
        levels: the values that exist whoever has them, by column (all combinations), or a row for each combination.
            Cells with few people or none are then listed as hidden, and the only cell of a group is not taken for all
            having chosen it. Without it cells with few are left out: their very names might come from one person.
        at: the column of the rows' instants, aware: `disclose` then refuses rows outside of its period.
        counts: the name of a further column, such as "n_visits": the rows of the cell.
        sums: further columns by name: the sums of these columns, which are not negative.
        quantiles: further columns by name: of each person's mean of a column the quantile, 0.5 being the median.

    Raises:
        DataError: when a column is not there, has missing values or is negative, `within` is not of `by`, someone is
            not of `population`, a row's combination is not in `levels`, or a value holds an address.

    >>> visits = pd.DataFrame({"contact": list("aabc"), "node": "read", "branch": ["then", "else", "then", "then"]})
    >>> table = cells(visits, table="branches", by=["node", "branch"], within=["node"], counts="n_visits")
    >>> table.keys["branch"].tolist(), table.members.sizes.tolist(), table.group_members.sizes.tolist()
    (['else', 'then'], [1, 3], [3])
    """
    sums, quantiles = dict(sums or {}), dict(quantiles or {})
    by, within = tuple(by), tuple(within)
    _check(frame, table, by, within, contact, counts, sums, quantiles)
    span = None if at is None else _span(frame, table, at)
    if not by and population is None:
        raise DataError(f"table {table!r} without `by` is one number; say of which population it is a share")
    if within and population is not None:
        raise DataError(f"table {table!r}: the people of each group come from `within`; leave out population")
    person, ids = pd.factorize(frame[contact].astype(str))
    people = list(ids)
    if population is not None:
        all_of_them = pd.Index(pd.unique(pd.Series([str(one) for one in population], dtype=object)))
        if strangers := int((~pd.Index(people, dtype=object).isin(all_of_them)).sum()):
            raise DataError(f"table {table!r}: {counted(strangers, 'contact')} of the rows are not in population")
        people += list(all_of_them[~all_of_them.isin(people)])
    keys, cell = _keyed(frame, by)
    keys, cell, is_listed = _levelled(keys, cell, by, levels, table)
    if addressed := [name for name in by if any(has_address(str(one)) for one in pd.unique(keys[name]))]:
        raise DataError(f"table {table!r}: {listed(addressed)} has e-mail addresses among its values; take them out")
    starts, codes, row_pair = _pairs(cell, person, len(keys), len(people))
    if within:
        groups, group_of = _keyed(keys, within)
        group_starts, group_codes, _ = _pairs(group_of[cell], person, len(groups), len(people))
    else:
        groups, group_of = pd.DataFrame(index=[0]), np.zeros(len(keys), dtype=np.int64)
        group_starts, group_codes = np.array([0, len(people)]), np.arange(len(people), dtype=np.int64)
    n_rows = np.bincount(row_pair, minlength=len(codes)).astype(float)
    amounts = [] if counts is None else [Amount(counts, "count", n_rows)]
    for name, column in sums.items():
        amounts.append(
            Amount(name, "sum", np.bincount(row_pair, frame[column].to_numpy(float), len(codes)).astype(float))
        )
    for name, (column, place) in quantiles.items():
        mean = np.bincount(row_pair, frame[column].to_numpy(float), len(codes)) / np.maximum(n_rows, 1)
        amounts.append(Amount(name, "quantile", mean, place))
    return Cells(
        table=table, by=by, within=within, keys=keys, groups=groups, group_of=group_of, people=people,
        members=Members(starts, codes), group_members=Members(group_starts, group_codes), amounts=tuple(amounts),
        is_listed=is_listed, span=span,
    )  # fmt: skip


def _check(
    frame: pd.DataFrame, table: str, by: tuple[str, ...], within: tuple[str, ...], contact: str, counts: str | None,
    sums: Mapping[str, str], quantiles: Mapping[str, tuple[str, float]],
) -> None:  # fmt: skip
    """Nothing, when the frame can be made a table of people of; else a DataError."""
    values = [*sums.values(), *(column for column, _ in quantiles.values())]
    for column in (contact, *by, *values):
        if column not in frame.columns:
            raise DataError(f"table {table!r}: no column {column!r}; {known(column, frame.columns, 'columns')}")
        if n := int(frame[column].isna().sum()):
            raise DataError(
                f"table {table!r}: {column} is missing in {counted(n, 'row')}; say what stands for missing, or take "
                "those rows out"
            )
    if contact in by:
        raise DataError(f"table {table!r}: a cell for each {contact} is a list of people; see pseudonymised")
    if strange := [column for column in within if column not in by]:
        raise DataError(f"table {table!r}: within has {listed(strange)}, which is not among by: {listed(by)}")
    for column in sums.values():
        if (frame[column] < 0).any():
            raise DataError(
                f"table {table!r}: {column} has negative values; by sums of both signs it cannot be told who dominates"
            )
    for name, (_, place) in quantiles.items():
        if not 0 < place < 1:
            raise DataError(
                f"table {table!r}: {name} is the quantile at {place}, which is one person's value; ask for one between"
            )
    names = [*by, *sums, *quantiles, *([] if counts is None else [counts])]
    if twice := {name for name in names if names.count(name) > 1 or name in _TAKEN}:
        raise DataError(f"table {table!r}: {listed(twice)} would name two columns; take other names")


def _span(frame: pd.DataFrame, table: str, at: str) -> tuple[datetime, datetime] | None:
    """The first and last instant of the rows."""
    if at not in frame.columns:
        raise DataError(f"table {table!r}: no column {at!r}; {known(at, frame.columns, 'columns')}")
    if not isinstance(frame[at].dtype, pd.DatetimeTZDtype) or frame[at].isna().any():
        raise DataError(f"table {table!r}: {at} is not an aware instant in every row; take those without one out")
    return (frame[at].min().to_pydatetime(), frame[at].max().to_pydatetime()) if len(frame) else None


def _keyed(frame: pd.DataFrame, by: tuple[str, ...]) -> tuple[pd.DataFrame, Codes]:
    """The combinations of values in order, and that of each row."""
    if not by:
        return pd.DataFrame(index=[0]), np.zeros(len(frame), dtype=np.int64)
    coded = [pd.factorize(frame[column], sort=True) for column in by]
    joint = reduce(lambda code, one: code * max(len(one[1]), 1) + one[0], coded, np.zeros(len(frame), dtype=np.int64))
    found, place = _distinct(joint)
    first = np.zeros(len(found), dtype=np.int64)
    first[place[::-1]] = np.arange(len(frame) - 1, -1, -1)
    return frame[list(by)].iloc[first].astype(object).reset_index(drop=True), place


def _distinct(codes: Codes) -> tuple[Codes, Codes]:
    """The different codes in order, and which of them each is: by counting where there are not many more than rows."""
    if not len(codes) or codes.max() > 32 * len(codes):
        found, place = np.unique(codes, return_inverse=True)
        return found, place.astype(np.int64)
    is_there = np.zeros(codes.max() + 1, dtype=bool)
    is_there[codes] = True
    return np.flatnonzero(is_there), (np.cumsum(is_there) - 1)[codes]


def _levelled(
    keys: pd.DataFrame, cell: Codes, by: tuple[str, ...], levels: pd.DataFrame | Mapping[str, Any] | None, table: str
) -> tuple[pd.DataFrame, Codes, bool]:
    """The cells that exist by their levels, with those of the rows found among them."""
    if not by:
        return keys, cell, True
    if levels is None:
        return keys, cell, False
    if missing := [column for column in by if column not in levels]:
        raise DataError(f"table {table!r}: levels do not say the values of {listed(missing)}")
    if isinstance(levels, pd.DataFrame):
        all_keys = levels[list(by)].drop_duplicates().astype(object).reset_index(drop=True)
    else:
        all_keys = pd.MultiIndex.from_product([list(levels[column]) for column in by], names=by).to_frame(index=False)
        all_keys = all_keys.drop_duplicates().astype(object).reset_index(drop=True)
    if all_keys.isna().to_numpy().any():
        raise DataError(f"table {table!r}: levels have missing values; say what stands for missing, or leave them out")
    place = {tuple(row): at for at, row in enumerate(all_keys.itertuples(index=False))}
    found = [place.get(tuple(row), -1) for row in keys.itertuples(index=False)]
    place_of = np.asarray(found, dtype=np.int64)
    if (strange := (place_of[cell] < 0)).any():
        # The value itself may be somebody's, and messages end up in logs.
        raise DataError(
            f"table {table!r}: {counted(int(strange.sum()), 'row')} have values of {listed(by)} that are not among its "
            "levels; add them, or take those rows out"
        )
    return all_keys, place_of[cell], True


def _pairs(key: Codes, person: Codes, n_keys: int, n_people: int) -> tuple[Codes, Codes, Codes]:
    """Each person once for each key: where a key's people start, the people, and the pair of each row."""
    pair, row_pair = _distinct(key * max(n_people, 1) + person)
    owner, codes = np.divmod(pair, max(n_people, 1))
    starts = np.concatenate([[0], np.cumsum(np.bincount(owner, minlength=n_keys))]).astype(np.int64)
    return starts, codes.astype(np.int64), row_pair
