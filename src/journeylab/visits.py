"""What visits and entries add up to: branch shares, flow, funnels, waiting times, exits and paths.

Every function takes frames as a replay, a simulation or the sender returns them, changes nothing, and returns a frame
with one row for each thing counted. All are counted within a journey, so the frames of a portfolio can be passed whole.

Intervals are 95 % and treat what is counted as independent: where one contact has many entries they are too narrow.
They say how sure a number is for the contacts in the log, not what sending the journey would have caused (rule 32).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from statistics import NormalDist
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pandas as pd

from .durations import parse_duration
from .errors import DataError, known, listed

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

__all__ = [
    "branch_table", "exits_table", "flow", "funnel", "paths", "require_columns", "waiting_times", "wilson_interval",
]  # fmt: skip

_Z = NormalDist().inv_cdf(0.975)
_MONDAY = pd.Timestamp("1970-01-05", tz="UTC")


def wilson_interval(n: ArrayLike, of: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The 95 % score interval of each share `n / of`, as (low, high) in 0..1; missing where `of` is 0.

    Wilson, E. B. (1927). Probable inference, the law of succession, and statistical inference. JASA 22, 209-212.

    >>> low, high = wilson_interval([8, 0], [10, 0])
    >>> low.round(3), high.round(3)
    (array([0.49, nan]), array([0.943, nan]))
    """
    count, total = np.asarray(n, dtype=float), np.asarray(of, dtype=float)
    with np.errstate(divide="ignore", invalid="ignore"):
        share = count / total
        centre = (share + _Z**2 / (2 * total)) / (1 + _Z**2 / total)
        half = _Z / (1 + _Z**2 / total) * np.sqrt(share * (1 - share) / total + _Z**2 / (4 * total**2))
    # At the ends the bounds are exactly 0 and 1, which rounding would miss.
    low, high = np.where(count == 0, 0.0, centre - half), np.where(count == total, 1.0, centre + half)
    return np.where(total > 0, np.clip(low, 0, 1), np.nan), np.where(total > 0, np.clip(high, 0, 1), np.nan)


def require_columns(frame: pd.DataFrame, columns: Sequence[str], what: str) -> None:
    """Nothing, when the frame has the columns; otherwise a DataError that names those missing and those there."""
    missing = [column for column in columns if column not in frame.columns]
    if missing:
        raise DataError(f"{what} without {', '.join(missing)}; the columns here are {listed(frame.columns, most=20)}")


def branch_table(counts: pd.DataFrame) -> pd.DataFrame:
    """How many visits took each branch of each node, and their share of the node's closed visits.

    Args:
        counts: closed visits by branch: `journey, node, verb, branch, target, n_visits, n_assumed, n_predicted`; the
            branch is missing for visits that an exit of the whole entry closed (rule 14).

    Returns:
        A frame in the order of `counts`, without exit nodes and with one row for each branch, versions added up:
        `journey, node, verb, branch, target` (text; branch and target missing for visits that left the journey there),
        `n_visits` (int), `branch_share` with its Wilson interval `low` and `high` (0..1, missing for a node that no
        visit has left), `n_assumed, n_predicted` (int).

    Raises:
        DataError: when a column is missing.

    >>> counts = pd.DataFrame({
    ...     "journey": "trial", "node": "read", "verb": "wait_for", "branch": ["then", "else"],
    ...     "target": ["offer", "pause"], "n_visits": [30, 70], "n_assumed": [0, 40], "n_predicted": 0})
    >>> branch_table(counts)[["branch", "n_visits", "branch_share", "low", "high", "n_assumed"]].round(3)
      branch  n_visits  branch_share    low   high  n_assumed
    0   then        30           0.3  0.219  0.396          0
    1   else        70           0.7  0.604  0.781         40
    """
    columns = ["journey", "node", "verb", "branch", "target", "n_visits", "n_assumed", "n_predicted"]
    require_columns(counts, columns, "counts")
    table = counts.loc[counts["verb"] != "exit", columns]
    table = table.groupby(columns[:5], sort=False, observed=True, dropna=False).sum().reset_index()
    total = table.groupby(["journey", "node"], observed=True)["n_visits"].transform("sum")
    share = ["branch_share", "low", "high"]
    return _with_share(table, "branch_share", total)[[*columns[:6], *share, *columns[6:]]]


def flow(visits: pd.DataFrame, every: str = "7d") -> pd.DataFrame:
    """How many visits took each branch in each period; a visit counts in the period in which it was left.

    Args:
        visits: `journey, node, left_at, branch`; visits without a branch (open ones, exits) are not counted here.
        every: the length of a period, such as "1d"; periods are counted from a Monday, 00:00 UTC.

    Returns:
        A frame sorted by its first four columns: `journey, node, branch` (text), `period_at` (UTC, the period's start),
        `n_visits` (int). Periods in which nobody took a branch are left out.

    Raises:
        DataError: when a column is missing.
        ValueError: when `every` is no duration longer than zero.

    >>> left_at = pd.to_datetime(["2026-03-04T10:00Z", "2026-03-05T10:00Z", "2026-03-09T00:00Z"])
    >>> flow(pd.DataFrame({"journey": "trial", "node": "hello", "left_at": left_at, "branch": "next"}))
      journey   node branch                 period_at  n_visits
    0   trial  hello   next 2026-03-02 00:00:00+00:00         2
    1   trial  hello   next 2026-03-09 00:00:00+00:00         1
    """
    require_columns(visits, ["journey", "node", "left_at", "branch"], "visits")
    period = pd.Timedelta(parse_duration(every))
    if period <= pd.Timedelta(0):
        raise ValueError(f"a period must be longer than zero, got {every!r}")
    taken = visits[visits["branch"].notna()]
    period_at = _MONDAY + (taken["left_at"] - _MONDAY) // period * period
    keys = [taken["journey"], taken["node"], taken["branch"], period_at.rename("period_at")]
    return taken.groupby(keys, observed=True).size().reset_index(name="n_visits")


def funnel(visits: pd.DataFrame, steps: Sequence[str] | None = None) -> pd.DataFrame:
    """How many entries came as far as each step; a step counts the entries that visited all steps up to it, in order.

    Args:
        visits: `journey, contact, entry, node`, in the order in which each entry made its visits.
        steps: nodes of one journey; other nodes may be visited between them. Left out, they are the most travelled
            path of each journey: its most common first node, then after each node the one to which most of those
            that came this way went next, until most of them ended there or a node comes up again.

    Returns:
        A frame with one row a step: `journey` (text), `step` (int, from 1), `node` (text), `n_entries` (int),
        `reached_share` of all entries of the journey with its Wilson interval `low` and `high` (0..1).

    Raises:
        DataError: when a column is missing, a step is no node of the visits, or steps are named for several journeys.

    >>> visits = pd.DataFrame({"journey": "trial", "contact": ["ada", "ada", "bob", "bob", "bob"], "entry": 1,
    ...                        "node": ["hello", "read", "hello", "read", "offer"]})
    >>> funnel(visits, ["hello", "offer"]).round(3)
      journey  step   node  n_entries  reached_share    low   high
    0   trial     1  hello          2            1.0  0.342  1.000
    1   trial     2  offer          1            0.5  0.095  0.905
    """
    require_columns(visits, ["journey", "contact", "entry", "node"], "visits")
    if steps is not None:
        _check_steps(visits, steps)
    rows: list[tuple[str, int, str, int, int]] = []
    for journey, walks in _walks(visits):
        names = walks.most_travelled() if steps is None else list(steps)
        at = walks.starts - 1
        for step, name in enumerate(names, start=1):
            at = walks.next_visit(at, name)
            n_entries = int((at < walks.ends).sum())
            rows.append((journey, step, name, n_entries, len(walks.starts)))
    table = pd.DataFrame(rows, columns=["journey", "step", "node", "n_entries", "of"])
    table = table.astype({"step": "int64", "n_entries": "int64", "of": "int64"})
    return _with_share(table, "reached_share", table.pop("of"), count="n_entries")


def waiting_times(visits: pd.DataFrame) -> pd.DataFrame:
    """How long visits lasted, by node and branch: the median, and the tenth and ninetieth percentiles.

    Args:
        visits: `journey, node, branch, arrived_at, left_at`; open visits are not counted, so that near the horizon
            long waits are underrepresented.

    Returns:
        A frame sorted by `journey, node, branch` (text; the branch is missing for visits that ended the entry), with
        `n_visits` (int), `median`, `p10`, `p90` (timedelta).

    Raises:
        DataError: when a column is missing.

    >>> at = pd.Timestamp("2026-03-01T00:00Z")
    >>> visits = pd.DataFrame({"journey": "trial", "node": "read", "branch": "then", "arrived_at": at,
    ...                        "left_at": [at + pd.Timedelta(hours=h) for h in (1, 2, 12)]})
    >>> waiting_times(visits)[["n_visits", "median"]]
       n_visits          median
    0         3 0 days 02:00:00
    """
    keys = ["journey", "node", "branch"]
    require_columns(visits, [*keys, "arrived_at", "left_at"], "visits")
    closed = visits[visits["left_at"].notna()]
    lasted = (closed["left_at"] - closed["arrived_at"]).dt.as_unit("us").rename("lasted")
    groups = lasted.groupby([closed[key] for key in keys], observed=True, dropna=False)
    table = groups.size().rename("n_visits").to_frame()
    for column, quantile in (("median", 0.5), ("p10", 0.1), ("p90", 0.9)):
        table[column] = groups.quantile(quantile)
    return table.reset_index()


def exits_table(entries: pd.DataFrame) -> pd.DataFrame:
    """How many entries left by each exit, and how many are still inside.

    Args:
        entries: `journey, exit, converted`; the exit is missing for entries that are still inside.

    Returns:
        A frame by journey, most frequent exit first: `journey` (text), `exit` (text; missing for those still inside),
        `converted` (bool), `n_entries` (int), `exit_share` of all entries of the journey with its Wilson interval
        `low` and `high` (0..1).

    Raises:
        DataError: when a column is missing.

    >>> entries = pd.DataFrame({"journey": "trial", "exit": ["goal:purchase", "finished", "finished", None],
    ...                         "converted": [True, False, False, False]})
    >>> exits_table(entries)[["exit", "converted", "n_entries", "exit_share"]]
                exit  converted  n_entries  exit_share
    0       finished      False          2        0.50
    1  goal:purchase       True          1        0.25
    2            NaN      False          1        0.25
    """
    require_columns(entries, ["journey", "exit", "converted"], "entries")
    groups = entries.groupby(["journey", "exit", "converted"], observed=True, dropna=False)
    table = groups.size().reset_index(name="n_entries")
    table = table.sort_values(["journey", "n_entries"], ascending=[True, False], kind="stable", ignore_index=True)
    total = table.groupby("journey", observed=True)["n_entries"].transform("sum")
    return _with_share(table, "exit_share", total, count="n_entries")


def paths(visits: pd.DataFrame, most: int = 10) -> pd.DataFrame:
    """The most common sequences of nodes that entries took; for entries still inside, up to where they are.

    Args:
        visits: `journey, contact, entry, node`, in the order in which each entry made its visits.
        most: how many paths of each journey.

    Returns:
        A frame by journey, most common first: `journey` (text), `path` (text, nodes joined by " > "), `n_entries`
        (int), `path_share` of all entries of the journey with its Wilson interval `low` and `high` (0..1).

    Raises:
        DataError: when a column is missing.

    >>> visits = pd.DataFrame({"journey": "trial", "contact": ["ada", "ada", "bob", "eve"], "entry": 1,
    ...                        "node": ["hello", "done", "hello", "hello"]})
    >>> paths(visits)[["path", "n_entries"]]
               path  n_entries
    0         hello          2
    1  hello > done          1
    """
    require_columns(visits, ["journey", "contact", "entry", "node"], "visits")
    rows = [
        (journey, path, n_entries, len(walks.starts))
        for journey, walks in _walks(visits)
        for path, n_entries in walks.most_common(most)
    ]
    table = pd.DataFrame(rows, columns=["journey", "path", "n_entries", "of"])
    table = table.astype({"n_entries": "int64", "of": "int64"})
    return _with_share(table, "path_share", table.pop("of"), count="n_entries")


class _Walks(NamedTuple):
    """The visits of one journey, entry after entry: a code of its node for each visit, and where each entry lies."""

    names: list[str]
    codes: NDArray[np.int64]
    starts: NDArray[np.int64]
    ends: NDArray[np.int64]

    def next_visit(self, at: NDArray[np.int64], name: str) -> NDArray[np.int64]:
        """The place of each entry's first visit to a node after `at`; its end where there is none."""
        places = np.flatnonzero(self.codes == self.names.index(name))
        following: NDArray[np.int64] = np.append(places, len(self.codes))[np.searchsorted(places, at, side="right")]
        return np.minimum(following, self.ends)

    def most_travelled(self) -> list[str]:
        """The nodes of the path that is taken at each node by most of those that came this way."""
        at, ends = self.starts, self.ends
        path: list[int] = []
        while True:
            n_next = np.bincount(self.codes[at], minlength=len(self.names))
            top = int(n_next.argmax())
            if top in path:
                break
            path.append(top)
            came, ends = at[self.codes[at] == top] + 1, ends[self.codes[at] == top]
            goes_on = came < ends
            if goes_on.sum() * 2 < len(came):
                break
            at, ends = came[goes_on], ends[goes_on]
        return [self.names[code] for code in path]

    def most_common(self, most: int) -> list[tuple[str, int]]:
        """The most common whole sequences, each as (path, number of entries)."""
        # Every distinct sequence gets its own number, one more visit at a time, as in a trie.
        number = np.zeros(len(self.starts), np.int64)
        n_numbers = 1
        going = np.arange(len(self.starts))
        for step in range(int((self.ends - self.starts).max(initial=0))):
            going = going[self.starts[going] + step < self.ends[going]]
            longer = number[going] * len(self.names) + self.codes[self.starts[going] + step]
            distinct, places = np.unique(longer, return_inverse=True)
            number[going] = n_numbers + places
            n_numbers += len(distinct)
        _, examples, n_entries = np.unique(number, return_index=True, return_counts=True)
        found = [
            (" > ".join(self.names[code] for code in self.codes[self.starts[example] : self.ends[example]]), int(n))
            for example, n in sorted(zip(examples, n_entries, strict=True), key=lambda pair: -pair[1])[:most]
        ]
        return sorted(found, key=lambda pair: (-pair[1], pair[0]))


def _walks(visits: pd.DataFrame) -> Iterator[tuple[str, _Walks]]:
    for journey, part in visits.groupby("journey", observed=True):
        entry = part.groupby(["contact", "entry"], sort=False, observed=True).ngroup().to_numpy()
        order = np.argsort(entry, kind="stable")
        codes, names = pd.factorize(part["node"].iloc[order], sort=True)
        starts = np.flatnonzero(np.diff(entry[order], prepend=-1))
        yield journey, _Walks([str(name) for name in names], codes, starts, np.append(starts[1:], len(codes)))


def _check_steps(visits: pd.DataFrame, steps: Sequence[str]) -> None:
    journeys = visits["journey"].unique()
    if len(journeys) > 1:
        raise DataError(
            f"steps belong to one journey, and these visits are of {listed(journeys)}; "
            'keep one, such as visits[visits["journey"] == NAME]'
        )
    nodes = set(visits["node"].unique())
    faults = [f"nobody visited {step!r}; {known(step, nodes, 'nodes')}" for step in steps if step not in nodes]
    if faults:
        raise DataError("\n".join(faults))


def _with_share(table: pd.DataFrame, share: str, of: pd.Series, *, count: str = "n_visits") -> pd.DataFrame:
    low, high = wilson_interval(table[count], of)
    return table.assign(**{share: table[count] / of.where(of > 0), "low": low, "high": high})
