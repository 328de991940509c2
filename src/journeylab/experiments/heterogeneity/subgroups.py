"""Whether an effect differs between declared segments, and what is likely of it in each."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from statistics import NormalDist
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import pandas as pd

from journeylab.display import block, plain, plain_rows
from journeylab.display import table as html_table
from journeylab.errors import DataError
from journeylab.experiments.effect import effects_table
from journeylab.language import again, formatted, say, sentences_text
from journeylab.policy.decisions import Faults, frame_of, numbers, require
from journeylab.resulttables import Tables
from journeylab.tablesource import Table

from .shrinkage import read_effects, shrink

if TYPE_CHECKING:
    from journeylab.experiments.effect import Effect
    from journeylab.offpolicy import Floats

__all__ = ["SubgroupEffects", "segment_effects", "subgroup_effects"]

_MOST_ROWS = 60
_FIGURES = (
    "effect", "standard_error", "low", "high", "shrunken_effect", "shrunken_standard_error", "shrunken_low",
    "shrunken_high", "p_value", "p_value_differs", "p_value_adjusted", "p_value_differs_adjusted",
)  # fmt: skip
_NOTHING = pd.DataFrame({"segment": pd.Series(dtype="str"), **{one: pd.Series(dtype="float64") for one in _FIGURES}})


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class SubgroupEffects(Tables):
    """The effect in each segment, as measured and as it is likely to be.

    Attributes:
        table: a row for each segment: `segment`, `n_arm`, `n_control` (where they were given), `effect`,
            `standard_error`, `low`, `high` (as measured); `shrunken_effect`, `shrunken_standard_error`,
            `shrunken_low`, `shrunken_high` (drawn to the mean of the segments, see `shrinkage`); `p_value` (that there
            is no effect in the segment) and `p_value_adjusted`; `p_value_differs` (that it is that of the other
            segments) and `p_value_differs_adjusted`. Adjusted ones hold the share of false claims among all claims
            (Benjamini and Hochberg, 1995, JRSS B 57, 289-300). It has no rows where fewer than two segments have an
            effect with an error; all other figures are missing (NaN) then.
        q, p_value: Cochran's statistic and its p value, that the effect is the same everywhere (Cochran, W. G. (1954),
            The combination of estimates from different experiments, Biometrics 10, 101-129).
        between, between_low, between_high: the standard deviation between true effects, and its interval.
        mean, mean_error: the mean of the effects over segments, each weighted by how well it is known.
        level: of all intervals; 1 less it is the share of false claims.
        untold: the segments whose effect or its error cannot be told, which are no part of the rest, and why not.
    """

    _table_names: ClassVar = ("table",)

    table: pd.DataFrame
    q: float
    p_value: float
    between: float
    between_low: float
    between_high: float
    mean: float
    mean_error: float
    level: float
    untold: dict[str, str] = field(default_factory=dict)

    @property
    def differs(self) -> bool:
        """Whether the effect differs between segments beyond chance."""
        return self.p_value < 1 - self.level

    @property
    def sentence(self) -> str:
        """What the segments tell, in words, and of which nothing can be told."""
        untold = [
            say("{segment} cannot be estimated: {why}.", segment=segment, why=again(why))
            for segment, why in self.untold.items()
        ]
        return sentences_text([self._told(), *untold])

    def _told(self) -> str:
        if self.table.empty:
            return say("Fewer than two segments can be estimated, so that none can be held against another.")
        tested = {"q": formatted(self.q, ".3g"), "p": _p_text(self.p_value)}
        if not self.differs:
            return say(
                "Nothing says that the effect differs between segments (Cochran's Q {q}, p {p}): take the shrunken "
                "effects, which lie around {mean}.",
                mean=formatted(self.mean, ".4g"),
                **tested,
            )
        others = self.table[self.table["p_value_differs_adjusted"] < 1 - self.level]
        said = "; ".join(
            say(
                "{segment}: {effect} ({low} to {high})",
                segment=row.segment,
                effect=formatted(row.shrunken_effect, ".4g"),
                low=formatted(row.shrunken_low, ".4g"),
                high=formatted(row.shrunken_high, ".4g"),
            )
            for row in others.itertuples()
        )
        which = say("Which ones stand apart cannot be told.")
        if said:
            which = say("Apart from the others stand {segments}.", segments=said)
        differs = say("The effect differs between segments (Cochran's Q {q}, p {p}).", **tested)
        return sentences_text([differs, which])

    def __repr__(self) -> str:
        return (
            f"SubgroupEffects({len(self.table)} segments, {'they differ' if self.differs else 'no difference shown'})"
        )

    def _repr_html_(self) -> str:
        names = ["segment", "effect", "low", "high", "shrunken_effect", "shrunken_low", "shrunken_high"]
        rows = [
            [segment, *(f"{one:.4g}" for one in rest)] for segment, *rest in self.table[names].itertuples(index=False)
        ]
        return block(self.sentence, html_table([name.replace("_", " ") for name in names], rows, _MOST_ROWS))

    def to_dict(self) -> dict[str, Any]:
        """The same as plain data."""
        figures = {name: plain(getattr(self, name)) for name in self.__slots__ if name not in ("table", "untold")}
        return {
            "sentence": self.sentence,
            "differs": self.differs,
            **figures,
            "segments": plain_rows(self.table),
            "untold": [{"segment": segment, "why": why} for segment, why in self.untold.items()],
        }


def subgroup_effects(table: Table, *, level: float = 0.95) -> SubgroupEffects:
    """The effect in each of the declared segments, shrunken, and whether it differs, as `SubgroupEffects`.

    Segments are to be declared before the results are seen, and not to overlap.

    Args:
        table: a row for each segment: `segment` (a name, each once), `effect`, `standard_error` (above 0), and
            optionally `n_arm` and `n_control`.
        level: of all intervals.

    Raises:
        DataError: for missing columns, segments named twice, fewer than two of them, or bad numbers.

    >>> found = subgroup_effects(pd.DataFrame({
    ...     "segment": ["new", "regular", "lapsed"], "effect": [0.05, 0.01, 0.03], "standard_error": 0.02}))
    >>> found.sentence
    "Nothing says that the effect differs between segments (Cochran's Q 2, p 0.37): take the shrunken effects, ...
    >>> found.table[["segment", "effect", "shrunken_effect"]].round(3)
       segment  effect  shrunken_effect
    0      new    0.05             0.04
    1  regular    0.01             0.02
    2   lapsed    0.03             0.03
    """
    from scipy import stats
    from statsmodels.stats.multitest import multipletests

    frame = frame_of(table)
    require(frame, [("segments", "segment")])
    effect, error = read_effects(frame)
    faults = Faults(frame)
    segments = frame["segment"]
    faults.rows("segment", segments.isna().to_numpy(), segments.to_numpy(), "must name a segment in every row")
    faults.rows("segment", segments.duplicated().to_numpy(), segments.to_numpy(), "must name each segment once")
    counts = {
        name: numbers(frame, name, faults, missing="must count in every row")
        for name in ("n_arm", "n_control")
        if name in frame.columns
    }
    faults.raise_if_any()
    if len(frame) < 2:
        raise DataError("one segment has no other to differ from; give two or more")
    found = shrink(effect, error, level=level)
    weight = 1 / error**2
    common = float((weight * effect).sum() / weight.sum())
    q = float((weight * (effect - common) ** 2).sum())
    apart, apart_error = _from_the_others(effect, weight)
    half = NormalDist().inv_cdf(0.5 + level / 2) * error
    p_values = {"p_value": 2 * stats.norm.sf(np.abs(effect / error))}
    p_values["p_value_differs"] = 2 * stats.norm.sf(np.abs(apart / apart_error))
    adjusted = {f"{name}_adjusted": multipletests(values, method="fdr_bh")[1] for name, values in p_values.items()}
    columns = {
        "segment": segments.astype(str).to_numpy(),
        **{name: values.astype(np.int64) for name, values in counts.items()},
        "effect": effect, "standard_error": error, "low": effect - half, "high": effect + half,
        "shrunken_effect": found.effect, "shrunken_standard_error": found.standard_error,
        "shrunken_low": found.low, "shrunken_high": found.high, **p_values, **adjusted,
    }  # fmt: skip
    return SubgroupEffects(
        pd.DataFrame(columns), q, float(stats.chi2.sf(q, len(frame) - 1)), found.between, found.between_low,
        found.between_high, found.mean, found.mean_error, level,
    )  # fmt: skip


def segment_effects(effects: Iterable[Effect], *, level: float = 0.95) -> SubgroupEffects:
    """What the effects of one arm in several segments say, as `SubgroupEffects`.

    A segment in which an arm has no units, or where values do not vary, has no effect or no error: it is told as such,
    and is no part of what is said of the others.

    Args:
        effects: of one metric and arm, a group each, as `estimation.effects.effects` gives them with `by`.
        level: of all intervals.
    """
    told: list[Effect] = []
    untold: dict[str, str] = {}
    for effect in effects:
        if math.isfinite(effect.effect) and 0 < effect.standard_error < math.inf:
            told.append(effect)
        else:
            untold[str(effect.group)] = _why_untold(effect)
    if len(told) < 2:
        no = math.nan
        return SubgroupEffects(_NOTHING.copy(), no, no, no, no, no, no, no, level, untold)
    found = subgroup_effects(effects_table(told).rename(columns={"group": "segment"}), level=level)
    return replace(found, untold=untold)


def _why_untold(effect: Effect) -> str:
    """Why a segment's effect, or its error, cannot be told."""
    if math.isfinite(effect.effect) or not effect.notes:
        return say("the values do not vary, or there are too few: the error cannot be told")
    return effect.notes[0]


def _from_the_others(effect: Floats, weight: Floats) -> tuple[Floats, Floats]:
    """Each effect less the weighted mean of the others, with its error."""
    rest = weight.sum() - weight
    others = ((weight * effect).sum() - weight * effect) / rest
    return effect - others, np.sqrt(1 / weight + 1 / rest)


def _p_text(value: float) -> str:
    if value < 1e-4:
        return say("under {p}", p=formatted(0.0001, "g"))
    return formatted(value, ".2g")
