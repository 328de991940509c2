"""Whether the arms have the units that they should: over all arms, by node and day, and while exposures come in."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from html import escape
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple, TypeAlias

import numpy as np
import pandas as pd

from journeylab.display import block, counted, plain, plain_rows
from journeylab.display import table as html_table
from journeylab.durations import MICROSECOND_UNITS
from journeylab.errors import DataError, known
from journeylab.experiments.estimation.corrections import holm
from journeylab.instants import check_zone
from journeylab.language import again, date_text, formatted, instant_text, plural, say
from journeylab.resulttables import Tables
from journeylab.tablesource import Table, as_frame

from .assigned import arm_codes, chances_of, check_arms, instants_of, shares_of
from .multinomial import Groups, grouped, log_bayes_factor, log_bayes_factors, p_values, with_shares

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats: TypeAlias = NDArray[np.float64]
    Ints: TypeAlias = NDArray[np.int64]

__all__ = ["SampleRatio", "sample_ratio"]

_PATH_ROWS = 400
_GROUPINGS = ("node", "day")


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class SampleRatio(Tables):
    """Whether the arms have the units that they should.

    Attributes:
        n: how many units each arm has, 0 for one that nobody got.
        expected: how many it should have.
        p_value: that the counts agree with the shares, all arms jointly, looked at once; NaN when nothing can be said.
        sequential_p_value: the same while units come in, looked at as often as one likes: the least so far.
        alpha: below it a check fails, 0..1.
        by_node: a row for each node: `node` (text), `n_units`, `p_value`, `holm_p_value` (over the nodes),
            `passed` (bool; True where nothing can be said), and the arm that is farthest off with its counts:
            `arm`, `n_assigned`, `expected`. Without rows where the table has no nodes.
        by_day: the same by `day` (datetime64, midnight without a zone) of `timezone`, Holm over the days.
        path: the sequential check over time, at most about 400 rows: `exposed_at` (aware UTC, missing when the table
            has no instants), `n_units`, `p_value`.
        shares: each arm at the same instants: `exposed_at`, `n_units`, `arm`, `n_assigned`, `share`, `expected_share`.
        found_at: when the sequential check first fell below alpha (aware UTC); None when it did not, or without
            instants.
        timezone: whose days are meant.
        notes: what to know before trusting the check, in sentences.
    """

    _table_names: ClassVar = ("by_node", "by_day", "path", "shares")

    n: dict[str, int]
    expected: dict[str, float]
    p_value: float
    sequential_p_value: float
    alpha: float
    by_node: pd.DataFrame
    by_day: pd.DataFrame
    path: pd.DataFrame
    shares: pd.DataFrame
    found_at: datetime | None
    timezone: str
    notes: list[str]

    @classmethod
    def from_counts(
        cls, counts: Mapping[str, int], shares: Mapping[str, float], *, alpha: float = 0.001, seed: int = 0
    ) -> SampleRatio:
        """The check of counts alone: jointly, and by the sequential test at this one look.

        Args:
            counts: units by arm; an arm that is left out has none.
            shares: what each arm should have, each more than 0, adding up to 1.
            alpha: below it the check fails.
            seed: of the draws where few are to be expected and there are too many outcomes for an exact test.

        Raises:
            DataError: when an arm has no share, shares do not add up, or there are no units.

        >>> SampleRatio.from_counts({"a": 5200, "b": 4800}, {"a": 0.5, "b": 0.5}).sentences()[0]
        "The arms do not have their shares of 10,000 units (p = 6.33e-05): 'a' has 200 more than it should, 'b' lacks
        200."
        """
        arms, theta = shares_of(shares)
        _check_alpha(alpha)
        check_arms([str(arm) for arm in counts], arms)
        by_name = {str(arm): n for arm, n in counts.items()}
        for arm, n in by_name.items():
            if n < 0 or n != int(n):
                raise DataError(f"arm {arm!r} has a count of {n!r}; counts are whole numbers from 0")
        observed = with_shares(np.array([[int(by_name.get(arm, 0)) for arm in arms]]), theta)
        if not observed.counts.sum():
            raise DataError("no arm has units; there is nothing to check")
        return _assembled(observed, arms, alpha, seed, _one_look(observed, arms))

    @property
    def passed(self) -> bool | None:
        """Whether both checks of all arms, at once and sequential, are at or above alpha; None when neither can say.

        Nodes and days have a say of their own in `sentences()` and in their tables.
        """
        if self.sequential_p_value < self.alpha:
            return False
        return None if math.isnan(self.p_value) else self.p_value >= self.alpha

    def sentences(self) -> list[str]:
        """What the check says, in plain words: which arms are off, by how many, where, and since when."""
        total = sum(self.n.values())
        if self.passed is None:
            said = [say("There are too few units, {n}, to say whether the arms have their shares.", n=formatted(total))]
        elif self.passed:
            said = [
                plural(
                    "The arms have their shares of {n} unit (p = {p}).",
                    "The arms have their shares of {n} units (p = {p}).",
                    total,
                    p=formatted(self.p_value, ".3g"),
                )
            ]
        else:
            said = [self._failure(total)]
            if self.sequential_p_value < self.alpha:
                p = formatted(self.sequential_p_value, ".3g")
                if self.found_at is None:
                    said.append(say("The check while units came in failed (sequential p = {p}).", p=p))
                else:
                    said.append(
                        say(
                            "The check while units came in failed first at {at} (sequential p = {p}).",
                            at=instant_text(self.found_at),
                            p=p,
                        )
                    )
            said.append(say("Find out why before reading any result: units are missing or got into the wrong arm."))
        said += [_by_node(self.by_node), _by_day(self.by_day)]
        return [one for one in said if one] + [again(note) for note in self.notes]

    def _failure(self, total: int) -> str:
        if not self.p_value < self.alpha:
            units = plural("{n} unit", "{n} units", total)
            if math.isnan(self.p_value):
                return say(
                    "In the end the arms may have their shares of {units}, on the way they had not.", units=units
                )
            return say(
                "In the end the arms may have their shares of {units} (p = {p}), on the way they had not.",
                units=units,
                p=formatted(self.p_value, ".3g"),
            )
        away = {arm: self.n[arm] - self.expected[arm] for arm in self.n}
        most, least = max(away, key=lambda arm: away[arm]), min(away, key=lambda arm: away[arm])
        return plural(
            "The arms do not have their shares of {n} unit (p = {p}): {most!r} has {more} more than it should, "
            "{least!r} lacks {fewer}.",
            "The arms do not have their shares of {n} units (p = {p}): {most!r} has {more} more than it should, "
            "{least!r} lacks {fewer}.",
            total,
            p=formatted(self.p_value, ".3g"),
            most=most,
            more=formatted(away[most], ",.0f"),
            least=least,
            fewer=formatted(-away[least], ",.0f"),
        )

    def to_dict(self) -> dict[str, Any]:
        """The result as plain data for JSON, without the paths; None for what is missing."""
        return {
            "p_value": plain(self.p_value),
            "sequential_p_value": plain(self.sequential_p_value),
            "passed": self.passed,
            "alpha": self.alpha,
            "n": self.n,
            "expected": self.expected,
            "found_at": None if self.found_at is None else self.found_at.isoformat(),
            "timezone": self.timezone,
            "by_node": plain_rows(self.by_node),
            "by_day": plain_rows(self.by_day.assign(day=self.by_day["day"].astype(str))),
            "notes": self.notes,
        }

    def __repr__(self) -> str:
        return f"SampleRatio({self.sentences()[0]})"

    def _repr_html_(self) -> str:
        rows = [
            [arm, f"{n:,}", f"{self.expected[arm]:,.1f}", f"{n - self.expected[arm]:+,.1f}"]
            for arm, n in self.n.items()
        ]
        said = "".join(f"<p>{escape(one)}</p>" for one in self.sentences()[1:])
        return block(self.sentences()[0], html_table(["arm", "units", "expected", "difference"], rows), said)


def _by_node(table: pd.DataFrame) -> str:
    """Which nodes are off, in a sentence; nothing when none is."""
    failed = table[~table["passed"].astype(bool)]
    if failed.empty:
        return ""
    first = failed.iloc[0]
    values = {"of": formatted(len(table)), "name": first["node"], **_off(first)}
    if len(failed) == 1:
        return say(
            "1 node of {of} without the right shares, {name!r}: {arm!r} has {assigned} of {units} units where "
            "{expected} were to be expected.",
            **values,
        )
    return plural(
        "{n} node of {of} without the right shares, such as {name!r}: {arm!r} has {assigned} of {units} units where "
        "{expected} were to be expected.",
        "{n} nodes of {of} without the right shares, such as {name!r}: {arm!r} has {assigned} of {units} units where "
        "{expected} were to be expected.",
        len(failed),
        **values,
    )


def _by_day(table: pd.DataFrame) -> str:
    """Which days are off, in a sentence; nothing when none is."""
    failed = table[~table["passed"].astype(bool)]
    if failed.empty:
        return ""
    first = failed.iloc[0]
    values = {"of": formatted(len(table)), "name": date_text(first["day"]), **_off(first)}
    if len(failed) == 1:
        return say(
            "1 day of {of} without the right shares, {name}: {arm!r} has {assigned} of {units} units where {expected} "
            "were to be expected.",
            **values,
        )
    return plural(
        "{n} day of {of} without the right shares, beginning with {name}: {arm!r} has {assigned} of {units} units "
        "where {expected} were to be expected.",
        "{n} days of {of} without the right shares, beginning with {name}: {arm!r} has {assigned} of {units} units "
        "where {expected} were to be expected.",
        len(failed),
        **values,
    )


def _off(row: pd.Series) -> dict[str, str]:
    return {
        "arm": row["arm"],
        "assigned": formatted(row["n_assigned"]),
        "units": formatted(row["n_units"]),
        "expected": formatted(row["expected"], ",.1f"),
    }


def sample_ratio(
    assignments: Table,
    shares: Mapping[str, float] | None = None,
    *,
    probabilities: Table | Floats | None = None,
    arms: Sequence[str] | None = None,
    by: Sequence[str] = _GROUPINGS,
    alpha: float = 0.001,
    timezone: str = "UTC",
    seed: int = 0,
) -> SampleRatio:
    """Whether the arms have the units that they should, over all arms jointly.

    Looked at once: Pearson's chi-square, exact where few are to be expected; with probabilities of each unit the
    quadratic form of observed less expected. While units come in: the Dirichlet-multinomial Bayes factor of
    Lindon, M. and Malek, A. (2022), Anytime-valid inference for multinomial count data, after each instant at which
    units came; its sequential p value is 1 over the greatest so far. Nodes and days: the same as the first, with p
    values adjusted by Holm's method.

    Args:
        assignments: a row for each exposed unit: `arm` (text), and where there are `exposed_at` (aware UTC) and `node`
            (text). None of them may be missing in a row. Without `exposed_at` the sequential check has one look.
        shares: what each arm should have, each more than 0, adding up to 1. An arm that nobody got must be there.
        probabilities: instead of shares, the probability with which each row could get each arm (row, arm), each row
            adding up to 1, as of an adaptive split.
        arms: the names of the columns of `probabilities` where it is a bare array.
        by: the further checks: "node", "day", both or none; left out where the table has no such column.
        alpha: below it a check fails.
        timezone: whose days are meant.
        seed: of the draws where few units are to be expected and an exact test has too many outcomes.

    Raises:
        DataError: when a column, a value or an arm's share is missing or wrong; the message says which.

    >>> rng = np.random.default_rng(5)
    >>> exposed_at = pd.Timestamp("2026-03-02T08:00Z") + pd.to_timedelta(np.arange(9000), "min")
    >>> arm = rng.choice(["plain", "discount", "holdout"], 9000, p=[0.45, 0.45, 0.1])
    >>> found = sample_ratio(
    ...     pd.DataFrame({"arm": arm, "exposed_at": exposed_at}), {"plain": 0.45, "discount": 0.45, "holdout": 0.1}
    ... )
    >>> found
    SampleRatio(The arms have their shares of 9,000 units (p = 0.8).)
    >>> len(found.by_day), round(found.sequential_p_value, 3)
    (7, 0.514)
    """
    _check_alpha(alpha)
    check_zone(timezone)
    for one in by:
        if one not in _GROUPINGS:
            raise DataError(f"by={one!r}: {known(one, _GROUPINGS, 'groupings')}")
    assignments = as_frame(assignments, "assignments")
    if "arm" not in assignments.columns:
        raise DataError(f"assignments: no column 'arm'; {known('arm', assignments.columns, 'columns')}")
    if not len(assignments):
        raise DataError("assignments has no rows; there is nothing to check")
    names, chances = chances_of(shares, probabilities, arms, len(assignments))
    codes = arm_codes(assignments["arm"], names)
    if chances.ndim == 2:
        impossible = np.flatnonzero(chances[np.arange(len(codes)), codes] <= 0)
        if len(impossible):
            row = int(impossible[0])
            raise DataError(
                f"row {row} of assignments is in arm {names[codes[row]]!r}, which it could not get: its probability is "
                f"0 there ({counted(len(impossible), 'such row')})"
            )
    whole = grouped(codes, np.zeros(len(codes), np.int64), 1, chances)
    instants = instants_of(assignments)
    looked = _one_look(whole, names) if instants is None else _looks(instants, codes, chances, names, alpha)
    tables = {}
    if "node" in by and "node" in assignments.columns:
        node_codes, nodes = pd.factorize(assignments["node"], sort=True)
        if (node_codes < 0).any():
            raise DataError(f"row {int(np.argmin(node_codes))} of assignments names no node")
        groups = grouped(codes, node_codes.astype(np.int64), len(nodes), chances)
        tables["node"] = _group_table("node", nodes, groups, names, alpha, seed)
    if "day" in by and instants is not None:
        local = instants.tz_convert(timezone).tz_localize(None).as_unit("us").asi8 // MICROSECOND_UNITS["d"]
        first = int(local.min())
        counts = np.bincount(local - first)
        place = np.cumsum(counts > 0) - 1  # days without units are no group
        days = pd.DatetimeIndex((np.flatnonzero(counts) + first).astype("M8[D]").astype("M8[us]"))
        groups = grouped(codes, place[local - first], len(days), chances)
        tables["day"] = _group_table("day", days, groups, names, alpha, seed)
    return _assembled(whole, names, alpha, seed, looked, tables, timezone)


class _Looked(NamedTuple):
    """What the sequential check saw."""

    p_value: float
    path: pd.DataFrame
    shares: pd.DataFrame
    found_at: datetime | None = None


def _assembled(
    whole: Groups,
    arms: Sequence[str],
    alpha: float,
    seed: int,
    looked: _Looked,
    tables: Mapping[str, tuple[pd.DataFrame, list[str]]] = MappingProxyType({}),
    timezone: str = "UTC",
) -> SampleRatio:
    tested = p_values(whole, seed)
    notes = [*tested.notes, *(note for _, of_table in tables.values() for note in of_table)]
    return SampleRatio(
        n=dict(zip(arms, whole.counts[0].tolist(), strict=True)),
        expected=dict(zip(arms, whole.expected[0].tolist(), strict=True)),
        p_value=float(tested.p_values[0]),
        sequential_p_value=looked.p_value,
        alpha=alpha,
        by_node=tables["node"][0] if "node" in tables else _no_groups("node"),
        by_day=tables["day"][0] if "day" in tables else _no_groups("day"),
        path=looked.path,
        shares=looked.shares,
        found_at=looked.found_at,
        timezone=timezone,
        notes=list(dict.fromkeys(notes)),
    )


def _one_look(whole: Groups, arms: Sequence[str]) -> _Looked:
    """The sequential check at the end only; units with probabilities of their own that came all at once say nothing."""
    factor = 0.0 if whole.shares is None else log_bayes_factor(whole.counts[0], whole.shares)
    p_value = math.exp(-max(factor, 0.0))
    at = pd.DatetimeIndex([None], tz="UTC").as_unit("us")
    path = pd.DataFrame({"exposed_at": at, "n_units": whole.counts.sum(), "p_value": p_value})
    return _Looked(p_value, path, _shares_table(path, whole.counts, whole.expected, arms))


def _looks(at: pd.DatetimeIndex, codes: Ints, chances: Floats, arms: Sequence[str], alpha: float) -> _Looked:
    """The sequential check after each instant at which units came."""
    moments, first = at.as_unit("us").asi8, int(at.as_unit("us").asi8.min())
    if chances.ndim == 1:
        # Units of one instant are one batch, so that their order does not matter: numbers are sorted, not places.
        keys = np.sort((moments - first) * len(arms) + codes)
        moments, codes = keys // len(arms) + first, keys % len(arms)
    else:
        order = np.argsort(moments, kind="stable")
        moments, codes, chances = moments[order], codes[order], chances[order]
    ends = np.append(np.flatnonzero(moments[1:] != moments[:-1]), len(moments) - 1)
    most = np.maximum.accumulate(np.maximum(log_bayes_factors(codes, chances, ends), 0.0))
    so_far = np.exp(-most)
    failed = np.flatnonzero(so_far < alpha)
    kept = np.linspace(0, len(ends) - 1, min(len(ends), _PATH_ROWS)).astype(np.int64)
    kept = np.unique(np.append(kept, failed[:1]))
    shown = pd.DatetimeIndex(moments[ends[kept]].astype("M8[us]"), tz="UTC")
    path = pd.DataFrame({"exposed_at": shown, "n_units": ends[kept] + 1, "p_value": so_far[kept]})
    counts = np.column_stack([np.cumsum(codes == arm)[ends[kept]] for arm in range(len(arms))])
    if chances.ndim == 1:
        expected = path["n_units"].to_numpy()[:, None] * chances
    else:
        expected = np.cumsum(chances, axis=0)[ends[kept]]
    found_at = None if not len(failed) else shown[np.searchsorted(kept, failed[0])].to_pydatetime()
    return _Looked(float(so_far[-1]), path, _shares_table(path, counts, expected, arms), found_at)


def _shares_table(path: pd.DataFrame, counts: Ints, expected: Floats, arms: Sequence[str]) -> pd.DataFrame:
    table = path[["exposed_at", "n_units"]].loc[np.repeat(path.index, len(arms))].reset_index(drop=True)
    table["arm"] = list(arms) * len(path)
    table["n_assigned"] = counts.ravel()
    table["share"] = counts.ravel() / table["n_units"]
    table["expected_share"] = expected.ravel() / table["n_units"]
    return table


def _group_table(
    what: str, names: pd.Index, groups: Groups, arms: Sequence[str], alpha: float, seed: int
) -> tuple[pd.DataFrame, list[str]]:
    tested = p_values(groups, seed)
    adjusted = holm(tested.p_values)
    far = np.abs(groups.counts - groups.expected) / np.sqrt(np.maximum(groups.expected, 1e-12))
    worst, rows = far.argmax(axis=1), np.arange(len(names))
    table = pd.DataFrame(
        {
            what: names,
            "n_units": groups.counts.sum(axis=1),
            "p_value": tested.p_values,
            "holm_p_value": adjusted,
            "passed": ~(adjusted < alpha),
            "arm": np.asarray(arms, dtype=object)[worst],
            "n_assigned": groups.counts[rows, worst],
            "expected": groups.expected[rows, worst],
        }
    )
    return table.astype({"arm": "str"}), tested.notes


def _no_groups(what: str) -> pd.DataFrame:
    kinds = {"n_units": "int64", "p_value": "float64", "holm_p_value": "float64", "passed": "bool", "arm": "str"}
    kinds = {what: "str" if what == "node" else "datetime64[us]", **kinds, "n_assigned": "int64", "expected": "float64"}
    return pd.DataFrame({name: pd.Series(dtype=kind) for name, kind in kinds.items()})


def _check_alpha(alpha: float) -> None:
    if not 0 < alpha < 1:
        raise DataError(f"alpha lies between 0 and 1, such as 0.001; got {alpha!r}")
