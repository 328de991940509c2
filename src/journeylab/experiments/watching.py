"""An experiment while it runs: the effect with its interval, and the arms' ratio, as units came in."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Final

from journeylab.display import block, plain_rows
from journeylab.errors import DataError, known
from journeylab.language import formatted, plural, say
from journeylab.progress import Progress, shown
from journeylab.resulttables import Tables

from .comparison import at_any_time, sample_ratio_of
from .estimation.effects import effects

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    import pandas as pd

    from .experiment import Stopping
    from .metrics import Metric
    from .ratio.sampleratio import SampleRatio
    from .unittable import UnitTable

__all__ = ["Watch", "watch"]

_FIRST: Final = 100
"""Units with which looking begins: intervals that are valid at any time are so for many units."""


@dataclass(frozen=True, eq=False, repr=False)
class Watch(Tables):
    """How the effect and the arms' ratio came to be what they are.

    Attributes:
        path: one row for each look, metric and arm: `looked_at` (UTC, exposure of the last unit), `n_units` (int),
            `metric`, `arm` (text), `effect`, `low`, `high` (valid at any time), `fixed_low`, `fixed_high` (what a
            single look would say, which misleads whoever looks again), `p_value` (valid at any time).
        ratio: the check of the arms' ratio, its path over time in it.
        stopping: when the experiment is over.
        alpha: the error.
    """

    _table_names: ClassVar = ("path", "crossings")

    path: pd.DataFrame
    ratio: SampleRatio
    stopping: Stopping
    alpha: float

    @property
    def alarms(self) -> list[str]:
        """What someone should act on now, in sentences: a ratio that fails, and effects that are beyond chance."""
        if self.ratio.passed is False:
            return self.ratio.sentences()
        last = self.path.groupby(["metric", "arm"], sort=False).tail(1)
        return [
            say(
                "{metric}: {arm} differs by {effect} ({low} to {high}), whenever one looks.", metric=row.metric,
                arm=row.arm, effect=formatted(row.effect, "+.4g"), low=formatted(row.low, "+.4g"),
                high=formatted(row.high, "+.4g"),
            )
            for row in last.itertuples()
            if row.low > 0 or row.high < 0
        ]  # fmt: skip

    @property
    def crossings(self) -> pd.DataFrame:
        """The first look at which each effect was beyond chance: the rows of `path`."""
        beyond = self.path[(self.path["low"] > 0) | (self.path["high"] < 0)]
        return beyond.groupby(["metric", "arm"], sort=False).head(1).reset_index(drop=True)

    def sentences(self) -> list[str]:
        """What is seen, in plain words."""
        n, planned_n = int(self.path["n_units"].max()) if len(self.path) else 0, self.stopping.planned_n
        done = say(
            "{n} of the planned {planned} are in ({share}).",
            n=formatted(n),
            planned=plural("{n} unit", "{n} units", planned_n),
            share=formatted(n / planned_n, ".0%"),
        )
        quiet = say("Nothing is beyond chance so far; looking again costs nothing.")
        if n >= planned_n:
            quiet = say("The planned end is reached, and nothing is beyond chance.")
        return [done, *(self.alarms or [quiet])]

    def to_dict(self) -> dict[str, Any]:
        """The watch as plain data for JSON."""
        path = self.path.assign(looked_at=[at.isoformat() for at in self.path["looked_at"]])
        return {
            "path": plain_rows(path),
            "sample_ratio": self.ratio.to_dict(),
            "alarms": self.alarms,
            "planned_n": self.stopping.planned_n,
        }

    def __repr__(self) -> str:
        return f"Watch({' '.join(self.sentences())})"

    def _repr_html_(self) -> str:
        return block(" ".join(self.sentences()))


def watch(
    units: UnitTable,
    metrics: Sequence[Metric] | None = None,
    *,
    stopping: Stopping,
    alpha: float = 0.05,
    looks: int = 40,
    progress: Progress = None,
) -> Watch:
    """The effect of each arm as units came in, by the order of their exposure.

    Args:
        units: the units with `exposed_at`; those not matured count for the ratio only.
        metrics: by default the first of the table, which is the primary one.
        stopping: when the experiment is over; its planned units tune the intervals.
        alpha: the error of each effect over all looks.
        looks: how many, at equal numbers of units.
        progress: `True` for a bar, or what to call with the looks done and in all; see `journeylab.progress`.

    Raises:
        DataError: when the table has no `exposed_at`.
    """
    import pandas as pd

    if not units.has("exposed_at"):
        there = known("exposed_at", units.columns, "columns")
        raise DataError(f"{units.name}: watching needs to know when units were exposed; {there}")
    metrics = units.metrics[:1] if metrics is None else metrics
    ratio = sample_ratio_of(units)
    if units.has("is_matured"):
        units = units.narrowed("is_matured")
    total = sum(units.counts().values()) if ratio.passed is not False else 0
    at = [max(_FIRST, total * look // looks) for look in range(1, looks + 1)]
    rows: list[tuple[Any, ...]] = []
    looked = _looked(units, [n for n in dict.fromkeys(at) if n <= total])
    with shown(progress, "looking") as tell:
        for done, (last, n_units) in enumerate(looked):
            until = units.narrowed(f"exposed_at <= TIMESTAMPTZ '{last.isoformat()}'")
            for once in effects(until, metrics, alpha=alpha):
                valid = at_any_time(once, n_units, stopping.planned_n)
                rows.append((
                    last, n_units, once.metric, once.arm, once.effect, valid.low, valid.high, once.low, once.high,
                    valid.p_value,
                ))  # fmt: skip
            tell(done + 1, len(looked))
    names = ["looked_at", "n_units", "metric", "arm", "effect", "low", "high", "fixed_low", "fixed_high", "p_value"]
    return Watch(pd.DataFrame(rows, columns=names), ratio, stopping, alpha)


def _looked(units: UnitTable, places: Sequence[int]) -> list[tuple[datetime, int]]:
    """When the units at some places, by exposure from 1, were exposed, and how many were by then."""
    if not places:
        return []
    counted = "row_number() OVER (ORDER BY exposed_at) AS place, count(*) OVER (ORDER BY exposed_at) AS n"
    sql = f"SELECT exposed_at, n FROM (SELECT exposed_at, {counted} FROM {units.view}) WHERE place IN "
    found = units.connection.execute(f"{sql} ({', '.join(map(str, places))}) ORDER BY place").fetchall()
    return [(at, int(n)) for at, n in found]
