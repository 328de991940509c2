"""The table that every analysis of an experiment reads: one row for each unit that was exposed."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import count
from typing import TYPE_CHECKING, Any, ClassVar

from journeylab.display import block, facts, figure, table
from journeylab.errors import DataError, known
from journeylab.resulttables import Tables
from journeylab.tablesource import as_arrow

if TYPE_CHECKING:
    import pandas as pd

    from .metrics import Metric

__all__ = ["ROLES", "UnitTable", "quoted"]

ROLES = frozenset({"unit", "arm", "cluster", "assigned_unit", "probability", "exposed_at", "node", "is_matured"})
"""The columns that mean the same in every table of units, so that no metric has the name of one."""


_MOST_ARMS = 20
_NUMBERS = count()


def quoted(name: str) -> str:
    """A column's name as SQL.

    >>> quoted('the "net" spend')
    '"the ""net"" spend"'
    """
    return '"' + name.replace('"', '""') + '"'


@dataclass(frozen=True, eq=False, repr=False)
class UnitTable(Tables):
    """The exposed units of an experiment with their arms and values, as a view of an in-memory database.

    The view `view` of `connection` has the columns:

    - `arm` (text), never missing.
    - Of each metric the columns of `Metric.columns()` (number): its name, and `NAME|per` for a ratio's denominator.
      `TimeToEvent` has days there, missing where it did not happen, and `NAME|followed`, the days of looking.
    - For a metric with a covariate `NAME|before` (number, and `NAME|per|before` for a denominator from a log), missing
      where nothing is known of the time before the exposure.
    - Those of `unit` (text), `cluster` (text), `assigned_unit` (text, what got its arm together, where that is not
      the cluster), `probability` (0..1, of the unit's own arm), `exposed_at` (UTC), `node` (text) and `is_matured`
      (bool) that are known.
    - Further columns as they were given: segments and features.

    Attributes:
        connection: a DuckDB connection.
        view: the name of the view.
        name: what messages call the table.
        metrics: the metrics whose values it has.
        arms: the arms, the control first, the others in order of their names; those without units included.
        shares: the probability of each arm, adding up to one; only where it was the same for all units.
        columns: the columns of the view.
        kept: what has been read of the view already, by what it is; see `moments.read_moments`.
    """

    _table_names: ClassVar = ("table",)

    connection: Any
    view: str
    name: str
    metrics: tuple[Metric, ...]
    arms: tuple[str, ...]
    shares: Mapping[str, float]
    columns: tuple[str, ...]
    kept: dict[Any, Any] = field(default_factory=dict)

    @property
    def control(self) -> str:
        """The arm that the others are held against."""
        return self.arms[0]

    def has(self, *columns: str) -> bool:
        """Whether the view has all of the columns."""
        return {*columns} <= {*self.columns}

    def rows(self, select: str, more: str = "") -> list[tuple[Any, ...]]:
        """The rows of a query over the view: `SELECT {select} FROM view {more}`."""
        fetched: list[tuple[Any, ...]] = self.connection.execute(f"SELECT {select} FROM {self.view} {more}").fetchall()
        return fetched

    def frame(self, columns: Sequence[str], where: str = "true") -> pd.DataFrame:
        """Some columns as a frame; in order of `exposed_at` and `unit` where they are known."""
        order = [name for name in ("exposed_at", "unit") if self.has(name)]
        sql = f"SELECT {', '.join(map(quoted, columns))} FROM {self.view} WHERE {where}"
        return self.connection.execute(sql + (f" ORDER BY {', '.join(order)}" if order else "")).df()

    def table(self) -> pd.DataFrame:
        """All columns and units as a frame."""
        return self.frame(self.columns)

    def narrowed(self, where: str) -> UnitTable:
        """The same table with those units only for which a condition in SQL holds."""
        view = self.another_view()
        self.connection.execute(f"CREATE VIEW {view} AS SELECT * FROM {self.view} WHERE {where}")
        return replace(self, view=view, kept={})

    def another_view(self) -> str:
        """A name for a view upon this one that no other has."""
        return f"units_{next(_NUMBERS)}"

    def counts(self) -> dict[str, int]:
        """How many units each arm has, 0 for an arm without any."""
        found = dict(self.rows("arm, count(*)", "GROUP BY arm"))
        return {arm: found.get(arm, 0) for arm in self.arms}

    def __repr__(self) -> str:
        n = ", ".join(f"{arm} {count:,}" for arm, count in self.counts().items())
        return f"{type(self).__name__}({self.name}: {n})"

    @classmethod
    def of_frame(
        cls,
        frame: Any,
        metrics: Iterable[Metric],
        *,
        control: str,
        shares: Mapping[str, float],
        name: str = "the units",
    ) -> UnitTable:
        """The table in a pandas frame or Arrow table that has the columns already under the names of the view.

        Raises:
            DataError: when a column is missing, or an arm has no share.
        """
        import duckdb

        connection = duckdb.connect()
        connection.execute("SET TimeZone = 'UTC'")
        connection.register("given", frame if hasattr(frame, "itertuples") else as_arrow(frame, name))
        columns = tuple(row[0] for row in connection.execute("DESCRIBE given").fetchall())
        metrics = tuple(metrics)
        needed = ["arm", *(value.column for metric in metrics for value in metric.columns())]
        if missing := [column for column in needed if column not in columns]:
            raise DataError(f"{name}: no column {missing[0]!r}; {known(missing[0], columns, 'columns')}")
        arms = tuple(sorted(shares, key=lambda arm: (arm != control, arm)))
        if control not in shares or not math.isclose(sum(shares.values()), 1, abs_tol=1e-9):
            raise DataError(f"{name}: the shares of the arms add up to one and have the control {control!r}")
        there = [row[0] for row in connection.execute("SELECT DISTINCT arm FROM given").fetchall()]
        if strange := [arm for arm in there if arm not in shares]:
            raise DataError(f"{name}: arm {strange[0]!r} has no share; {known(str(strange[0]), shares, 'arms')}")
        connection.execute("CREATE VIEW units AS SELECT * FROM given")
        return cls(connection, "units", name, metrics, arms, dict(shares), columns)

    def _repr_html_(self) -> str:
        rows = [(arm, figure(self.shares.get(arm)), f"{n:,}") for arm, n in self.counts().items()]
        measured = facts([("metrics", [metric.name for metric in self.metrics]), ("columns", list(self.columns))])
        return block(repr(self), table(("arm", "share", "units"), rows, _MOST_ARMS), measured)
