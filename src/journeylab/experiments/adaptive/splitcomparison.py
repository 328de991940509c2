"""What an adaptive split gains and costs beside a fixed one, where it is known what each arm would have brought."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from statistics import NormalDist
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple, TypeAlias

import numpy as np
import pandas as pd

from journeylab.display import block, plain_rows
from journeylab.display import table as html_table
from journeylab.errors import DataError, known
from journeylab.policy.decisions import Faults, numbers
from journeylab.resulttables import Tables
from journeylab.tablesource import as_frame, is_table

from .thompson import best_chances, check_floor, floored

if TYPE_CHECKING:
    from collections.abc import Sequence

    from journeylab.journey import Journey
    from journeylab.offpolicy import Floats, Ints
    from journeylab.shop import Shop

    World: TypeAlias = "Mapping[str, float | Sequence[float]] | pd.DataFrame"

__all__ = ["SplitComparison", "compare_splits", "shop_outcomes"]

_FEWEST = 2


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class SplitComparison(Tables):
    """What a fixed split with equal shares and an adaptive one bring and tell, over many runs.

    Attributes:
        table: a row for each split, "fixed" and "adaptive": `split`; `n_lost`, how many answers fewer than the best arm
            for all would have brought, a mean over runs; `best_found_share` of runs in which the best arm has the
            highest weighted mean; `power_share` of runs in which the interval of the best arm less the control (or,
            where the control is the best, of the next arm less it) leaves out 0; `coverage_share` of the intervals of
            all arms less the control that hold the true difference; `plain_coverage_share`, the same of differences of
            plain means; `plain_bias`, by how much the plain mean of the worst arm is off; `best_share`, the share of
            units given the best arm.
        best: the best arm.
        control: the arm others are compared with.
        n_runs, n_units, n_batches: of each run.
        floor: the least probability of an arm in the adaptive split.
        level: of all intervals.
    """

    _table_names: ClassVar = ("table",)

    table: pd.DataFrame
    best: str
    control: str
    n_runs: int
    n_units: int
    n_batches: int
    floor: float
    level: float

    @property
    def sentence(self) -> str:
        """What is gained and what it costs, in words."""
        fixed, adaptive = (row for _, row in self.table.iterrows())
        return (
            f"Of {self.n_units:,} units, the fixed split loses {fixed['n_lost']:.0f} answers to the best arm "
            f"({self.best!r}) and the adaptive one {adaptive['n_lost']:.0f}. It has the best arm ahead at the end in "
            f"{adaptive['best_found_share']:.0%} of runs, the fixed one in {fixed['best_found_share']:.0%}; its "
            f"interval tells the best from the rest in {adaptive['power_share']:.0%}, that of the fixed in "
            f"{fixed['power_share']:.0%}. Weighted intervals at {self.level:.0%} hold {adaptive['coverage_share']:.1%} "
            f"of the true differences, those of plain means {adaptive['plain_coverage_share']:.1%}."
        )

    def __repr__(self) -> str:
        lost = ", ".join(f"{row.split} loses {row.n_lost:.1f}" for row in self.table.itertuples())
        return f"SplitComparison({self.n_runs} runs of {self.n_units:,} units: {lost})"

    def _repr_html_(self) -> str:
        names = ["split", "n_lost", "best_found_share", "power_share", "coverage_share", "plain_coverage_share"]
        rows = [[split, *(f"{one:.3g}" for one in rest)] for split, *rest in self.table[names].itertuples(index=False)]
        return block(self.sentence, html_table([name.replace("_", " ") for name in names], rows))

    def to_dict(self) -> dict[str, Any]:
        """The same as plain data."""
        figures = {name: getattr(self, name) for name in self.__slots__ if name != "table"}
        return {"sentence": self.sentence, **figures, "splits": plain_rows(self.table)}


class _Truth(NamedTuple):
    """What each arm brings in each batch: rates (batch, arm), or the outcome of every unit (unit, arm) beside them."""

    arms: list[str]
    rates: Floats
    sizes: Ints
    outcomes: Floats | None


class _Counts(NamedTuple):
    """Of each run, batch and arm: (run, batch, arm)."""

    n: Ints
    n_successes: Ints


def compare_splits(
    world: World,
    *,
    control: str,
    n_units: int | None = None,
    n_batches: int = 10,
    floor: float = 0.1,
    n_runs: int = 400,
    level: float = 0.95,
    seed: int = 0,
) -> SplitComparison:
    """A fixed split beside an adaptive one in a world where it is known what each arm brings, as a `SplitComparison`.

    Both are run many times over the same batches, the adaptive one as `ThompsonSplit` and with outcomes that have
    matured by the end of each batch, and evaluated as `adaptive_means` does.

    Args:
        world: for each arm its rate (0..1), or its rates by batch, which may drift; or a table with a column for each
            arm and a row for each unit in the order in which units come: 0 or 1, what would come of it with that arm,
            such as `shop_outcomes`.
        control: the arm others are compared with.
        n_units: how many units come, in batches of equal size; of a table, all.
        n_batches: how often probabilities change, plus one.
        floor: the least probability of an arm in the adaptive split.
        n_runs: how often both are run.
        level: of all intervals.
        seed: of all that is drawn.

    Raises:
        DataError: for fewer than two arms, an unknown control, rates that are none, or batches so small that an arm may
            have fewer than two units in one.

    >>> compare_splits({"plain": 0.1, "discount": 0.15}, control="plain", n_units=4000, n_runs=100)
    SplitComparison(100 runs of 4,000 units: fixed loses 100.0, adaptive loses 33.4)
    """
    truth = _read(world, n_units, n_batches)
    if control not in truth.arms:
        raise DataError(f"control: no arm {control!r}; {known(control, truth.arms, 'arms')}")
    check_floor(floor, len(truth.arms))
    if truth.sizes.min() * floor < 10 * _FEWEST:
        raise DataError(
            f"a batch of {truth.sizes.min()} units with a floor of {floor} may leave an arm with next to none; take "
            "fewer batches, more units or a higher floor"
        )
    rng = np.random.default_rng(seed)
    weight = truth.sizes / truth.sizes.sum()
    means = weight @ truth.rates
    best, worst, control_code = int(means.argmax()), int(means.argmin()), truth.arms.index(control)
    rows = []
    for split in ("fixed", "adaptive"):
        counts = _run(truth, n_runs, floor if split == "adaptive" else None, rng)
        rows.append({"split": split, **_judged(counts, truth, means, best, worst, control_code, level)})
    return SplitComparison(
        pd.DataFrame(rows), truth.arms[best], control, n_runs, int(truth.sizes.sum()), n_batches, floor, level
    )


def shop_outcomes(shop: Shop, journeys: Mapping[str, Journey], *, exit: str) -> pd.DataFrame:  # noqa: A002
    """What would come of every contact of a simulated shop with each arm, for `compare_splits`.

    Args:
        shop: the shop, which is run once for each arm.
        journeys: for each arm, the journey that gives it to all; they differ in nothing else.
        exit: the exit that counts as an answer.

    Returns:
        A column for each arm (1 where the contact left by that exit, otherwise 0), a row for each entry in the order of
        their instants, indexed by `contact`. Entries from the first on that was still under way with some arm at the
        shop's end are left out.

    Raises:
        DataError: for no journeys, or journeys that are not entered by the same contacts at the same instants.

    >>> from journeylab.journey import Exit, Journey, Send, Trigger, WaitFor
    >>> from journeylab.shop import Shop
    >>> def sending(message):
    ...     wait = WaitFor(wait_for="opened(mail)", within="3d", then="read", otherwise="unread")
    ...     nodes = {"mail": Send(send=message, next="wait"), "wait": wait, "read": Exit(exit="read")}
    ...     return Journey(
    ...         journey="probe", trigger=Trigger(event="signup"), nodes=nodes | {"unread": Exit(exit="unread")})
    >>> shop = Shop(300, seed=7, machine_share=0, opens={"short": 0.2, "long": 0.5})
    >>> shop_outcomes(shop, {"short": sending("short"), "long": sending("long")}, exit="read").mean().round(2)
    short    0.27
    long     0.44
    dtype: float64
    """
    if not journeys:
        raise DataError("give a journey for each arm")
    entries = {
        arm: shop.run(journey).entries.sort_values(["entered_at", "contact"], kind="stable", ignore_index=True)
        for arm, journey in journeys.items()
    }
    first = next(iter(entries.values()))
    keys = ["contact", "entered_at"]
    for arm, table in entries.items():
        if not table[keys].equals(first[keys]):
            raise DataError(
                f"the journey of arm {arm!r} is entered by others, or at other instants, than the first one"
            )
    under_way = np.column_stack([table["exit"].isna() for table in entries.values()]).any(axis=1)
    until = first.loc[under_way, "entered_at"].min() if under_way.any() else None
    done = np.ones(len(first), bool) if until is None else (first["entered_at"] < until).to_numpy()
    outcomes = {arm: (table["exit"] == exit).to_numpy(dtype=np.int64)[done] for arm, table in entries.items()}
    return pd.DataFrame(outcomes, index=pd.Index(first["contact"][done].astype(str), name="contact"))


def _read(world: World, n_units: int | None, n_batches: int) -> _Truth:
    if n_batches < 1:
        raise DataError(f"n_batches={n_batches}: there is at least one")
    if is_table(world):
        world = as_frame(world, "world")
        arms = [str(name) for name in world.columns]
        faults = Faults(world)
        missing = "must give what comes of every unit"
        outcomes = np.column_stack([numbers(world, name, faults, missing=missing) for name in world.columns])
        for name, values in zip(arms, outcomes.T, strict=True):
            faults.rows(name, ~np.isin(values, [0, 1]) & ~np.isnan(values), values, "must hold 0 and 1")
        faults.raise_if_any()
        if n_units is not None and n_units != len(world):
            raise DataError(f"n_units={n_units}, and the table has {len(world)} units; give none to take all of them")
        parts = np.array_split(outcomes, n_batches)
        rates, sizes = np.array([part.mean(axis=0) for part in parts]), np.array([len(part) for part in parts])
        truth = _Truth(arms, rates, sizes, outcomes)
    else:
        if n_units is None:
            raise DataError("n_units is missing: how many units come?")
        arms = [str(name) for name in world]
        for name, given in world.items():
            if np.ndim(given) and len(np.atleast_1d(given)) != n_batches:
                raise DataError(f"arm {name!r} has {np.size(given)} rates, and there are {n_batches} batches")
        rates = np.column_stack([np.broadcast_to(np.asarray(given, float), n_batches) for given in world.values()])
        if not ((rates >= 0) & (rates <= 1)).all():
            raise DataError("rates lie between 0 and 1")
        sizes = np.array([len(part) for part in np.array_split(np.empty(n_units), n_batches)])
        truth = _Truth(arms, rates, sizes, None)
    if len(truth.arms) < 2:
        raise DataError("a split has two or more arms")
    return truth


def _run(truth: _Truth, n_runs: int, floor: float | None, rng: np.random.Generator) -> _Counts:
    """Many runs of a split, with equal shares where there is no floor."""
    n_batches, n_arms = truth.rates.shape
    n, k = np.zeros((n_runs, n_batches, n_arms), np.int64), np.zeros((n_runs, n_batches, n_arms), np.int64)
    begin = np.append(0, np.cumsum(truth.sizes))
    for batch in range(n_batches):
        shares = np.full((n_runs, n_arms), 1 / n_arms)
        if floor is not None:
            so_far = k[:, :batch].sum(axis=1)
            shares = floored(best_chances(so_far, n[:, :batch].sum(axis=1) - so_far), floor)
        if truth.outcomes is None:
            n[:, batch] = rng.multinomial(truth.sizes[batch], shares)
            k[:, batch] = rng.binomial(n[:, batch], truth.rates[batch])
            continue
        mine = truth.outcomes[begin[batch] : begin[batch + 1]]
        for run in range(n_runs):
            given = rng.choice(n_arms, len(mine), p=shares[run])
            n[run, batch] = np.bincount(given, minlength=n_arms)
            k[run, batch] = np.bincount(given, mine[np.arange(len(mine)), given], minlength=n_arms)
    return _Counts(n, k)


def _judged(
    counts: _Counts, truth: _Truth, means: Floats, best: int, worst: int, control: int, level: float
) -> dict[str, float]:
    n, k = counts
    z = NormalDist().inv_cdf(0.5 + level / 2)
    weight = (truth.sizes / truth.sizes.sum())[:, None]
    # Within a batch all had the same probabilities, so weights are equal and the mean is the plain one there.
    rate = k / np.maximum(n, 1)
    mean = (weight * rate).sum(axis=1)
    variance = (weight**2 * rate * (1 - rate) / np.maximum(n - 1, 1)).sum(axis=1)
    plain_rate = k.sum(axis=1) / n.sum(axis=1)
    plain_variance = plain_rate * (1 - plain_rate) / (n.sum(axis=1) - 1)
    others = [arm for arm in range(len(means)) if arm != control]
    true = means[others] - means[control]

    def held(mean: Floats, variance: Floats) -> float:
        error = np.sqrt(variance[:, others] + variance[:, [control]])
        return float((np.abs(mean[:, others] - mean[:, [control]] - true) <= z * error).mean())

    first = best if best != control else max(others, key=means.__getitem__)
    told = np.abs(mean[:, first] - mean[:, control]) > z * np.sqrt(variance[:, first] + variance[:, control])
    lost = (n * (truth.rates[:, [best]] - truth.rates)).sum(axis=(1, 2))
    return {
        "n_lost": float(lost.mean()),
        "best_found_share": float((mean.argmax(axis=1) == best).mean()),
        "power_share": float(told.mean()),
        "coverage_share": held(mean, variance),
        "plain_coverage_share": held(plain_rate, plain_variance),
        "plain_bias": float((plain_rate[:, worst] - means[worst]).mean()),
        "best_share": float(n[:, :, best].sum() / n.sum()),
    }
