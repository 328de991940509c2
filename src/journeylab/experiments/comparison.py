"""Arms held against the control: the effects with intervals that hold however one looks, or why there are none.

The ratio of the arms is looked at first. Where it fails, units went missing or were counted twice in some arms, and
no difference between them can be told from that: the comparison has no effects then.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar, Literal, NamedTuple, TypeAlias

from journeylab.display import block, counted, plain, said, table
from journeylab.errors import DataError
from journeylab.intervals import always_valid_p, anytime_interval, widest_error
from journeylab.language import formatted, later, plural, say
from journeylab.resulttables import Tables

from .effect import Effect, effects_table
from .estimation.corrections import corrected
from .estimation.effects import effects
from .metrics import TimeToEvent
from .ratio.sampleratio import SampleRatio, sample_ratio

if TYPE_CHECKING:
    import pandas as pd

    from .estimation.adjustment import Adjust
    from .experiment import Stopping
    from .looks.sequential import GroupSequential
    from .metrics import Metric
    from .unittable import UnitTable

__all__ = ["Comparison", "Correction", "at_any_time", "compare", "effect_sentence", "sample_ratio_of"]

Correction: TypeAlias = Literal["holm", "fdr_bh", "none"]
"""How p values are corrected for each other: Holm (1979), Benjamini and Hochberg (1995), or not at all."""

_WORDS = {
    "holm": "corrected for each other (Holm)",
    "fdr_bh": "corrected as explorations (Benjamini-Hochberg)",
    "none": "not corrected for each other",
}


_MOST_ROWS = 40


@dataclass(frozen=True, eq=False, repr=False)
class Comparison(Tables):
    """The effects of each arm against the control on each metric, and what they rest on.

    Attributes:
        ratio: whether the arms have the units that they should.
        effects: arm by metric; none where `refused` says why.
        p_values: of the effects, corrected; missing (NaN) where an effect has none.
        correction: how they were corrected.
        stopping: when the experiment is over; missing (None) where it was not said.
        n: units that were looked at, in all arms; of a group-sequential rule those of the last look.
        sequential: of a group-sequential rule what its looks say, by (metric, arm).
        refused: why there are no effects, in sentences.
        warnings: what to know before one believes them, in sentences.
    """

    _table_names: ClassVar = ("table",)

    ratio: SampleRatio
    effects: tuple[Effect, ...]
    p_values: tuple[float, ...]
    correction: Correction
    stopping: Stopping | None
    n: int
    sequential: dict[tuple[str, str], GroupSequential]
    refused: tuple[str, ...]
    warnings: tuple[str, ...]

    @property
    def has_ended(self) -> bool:
        """Whether the planned end is reached."""
        return self.stopping is None or self.n >= self.stopping.planned_n

    @property
    def table(self) -> pd.DataFrame:
        """The effects as `effect.effects_table`, and `p_value_corrected`."""
        return effects_table(self.effects).assign(p_value_corrected=list(self.p_values))

    def of(self, metric: str, arm: str) -> tuple[Effect, float]:
        """The effect of an arm on a metric, and its corrected p value.

        Raises:
            KeyError: when it was not compared.
        """
        for effect, p_value in zip(self.effects, self.p_values, strict=True):
            if (effect.metric, effect.arm) == (metric, arm):
                return effect, p_value
        raise KeyError((metric, arm))

    def to_dict(self) -> dict[str, Any]:
        """The comparison as plain data: the contract of `journeylab experiment analyze --json`."""
        return {
            "sample_ratio": self.ratio.to_dict(),
            "results": [
                {**effect.to_dict(), "p_value_corrected": plain(p_value)}
                for effect, p_value in zip(self.effects, self.p_values, strict=True)
            ],
            "correction": self.correction,
            "n_looked_at": self.n,
            "refused": list(self.refused),
            "warnings": list(self.warnings),
        }

    def sentences(self) -> list[str]:
        """What was found, in plain words."""
        if self.refused:
            return [*self.refused]
        said = [effect_sentence(effect, p_value) for effect, p_value in zip(self.effects, self.p_values, strict=True)]
        return [*self.ratio.sentences(), *said, *self.warnings]

    def __repr__(self) -> str:
        if self.refused:
            return f"Comparison(refused: {self.refused[0]})"
        effects = f"{counted(len(self.effects), 'effect')} of {counted(self.n, 'unit')}"
        return f"Comparison({effects}, {_WORDS[self.correction]})"

    def _repr_html_(self) -> str:
        head = ["metric", "arm", "control", "mean of arm", "mean of control", "effect", "interval", "p"]
        rows = [
            [
                effect.metric if effect.kind != "winsorised" else f"{effect.metric}, winsorised",
                effect.arm, effect.control, f"{effect.mean_arm:.4g}", f"{effect.mean_control:.4g}",
                f"{effect.effect:+.4g}", f"{effect.low:+.4g} to {effect.high:+.4g}", f"{p_value:.3g}",
            ]
            for effect, p_value in zip(self.effects, self.p_values, strict=True)
        ]  # fmt: skip
        return block(repr(self), table(head, rows, _MOST_ROWS) if rows else "", said((*self.refused, *self.warnings)))


_SENTENCES = {
    "fixed": later(
        "{metric}: {arm} {mean_arm} against {control} {mean_control}, {effect} ({level} % interval {low} to {high}; "
        "{p})"
    ),
    "always-valid": later(
        "{metric}: {arm} {mean_arm} against {control} {mean_control}, {effect} (at any time {low} to {high}; {p})"
    ),
    "group-sequential": later(
        "{metric}: {arm} {mean_arm} against {control} {mean_control}, {effect} (over all looks {low} to {high}; {p})"
    ),
}


def effect_sentence(effect: Effect, p_value: float) -> str:
    """One effect in words; `p_value` is the corrected one."""
    metric = effect.metric
    if effect.kind == "winsorised":
        metric = say("{metric} (winsorised)", metric=effect.metric)
    if math.isnan(effect.effect):
        return say("{metric}: {arm} and {control} cannot be compared", metric=metric, arm=effect.arm,
                   control=effect.control)  # fmt: skip
    if math.isnan(effect.low):
        return say(
            "{metric}: {arm} {mean_arm} against {control} {mean_control}; how far that may be chance cannot be told",
            metric=metric, arm=effect.arm, mean_arm=formatted(effect.mean_arm, ".4g"), control=effect.control,
            mean_control=formatted(effect.mean_control, ".4g"),
        )  # fmt: skip
    p_text = say("p not yet known") if math.isnan(p_value) else say("p = {p}", p=formatted(p_value, ".3g"))
    return say(
        _SENTENCES[effect.interval], metric=metric, arm=effect.arm, mean_arm=formatted(effect.mean_arm, ".4g"),
        control=effect.control, mean_control=formatted(effect.mean_control, ".4g"),
        effect=formatted(effect.effect, "+.4g"), level=formatted(effect.level * 100, ".12g"),
        low=formatted(effect.low, "+.4g"), high=formatted(effect.high, "+.4g"), p=p_text,
    )  # fmt: skip


def compare(
    units: UnitTable,
    metrics: Sequence[Metric] | None = None,
    *,
    stopping: Stopping | None = None,
    alpha: float = 0.05,
    correction: Correction = "holm",
    adjust: Adjust = "cuped",
    covariates: Sequence[str] = (),
    ratio: SampleRatio | None = None,
    exposed: UnitTable | None = None,
) -> Comparison:
    """Each arm against the control on each metric, with intervals that hold under the rule of stopping.

    Without a rule, and under a `fixed` one at its end, intervals and p values are those of one look. Before the end of
    a fixed rule, and under `always_valid`, they are valid at any time (`intervals.anytime_interval`, tuned to the
    planned units). Under a `group_sequential` rule the first units by exposure are looked at that the last look reached
    has, and each look before is made again, so that nothing depends on when one really looked.

    Args:
        units: the units; those not matured are to be left out before.
        metrics: by default all metrics of the table.
        stopping: when the experiment is over.
        alpha: the error of each comparison.
        correction: how the p values are corrected for each other.
        adjust: how covariates are used; see `effects`.
        covariates: further columns that adjust every metric.
        ratio: the check of the arms' ratio where it was made already; it decides whether there are effects.
        exposed: all exposed units, of which times to an event are taken, unless looks were planned: those that have not
            matured are censored.

    Raises:
        DataError: when the units of looks cannot be told because the table has no `exposed_at`.
    """
    metrics = list(units.metrics if metrics is None else metrics)
    if ratio is None:
        ratio = sample_ratio_of(units)
    looks = list(_looks(units, stopping))
    n = sum(units.counts().values()) if not looks else looks[-1].n
    warnings: list[str] = []
    if ratio.passed is False:
        refused: tuple[str, ...] = (*ratio.sentences(), say("No effect is given."))
        return Comparison(ratio, (), (), correction, stopping, n, {}, refused, ())
    if n == 0:
        refused = (say("No unit has been looked at for its whole window yet: no effect is given."),)
        return Comparison(ratio, (), (), correction, stopping, n, {}, refused, ())
    if stopping is not None and stopping.rule == "group_sequential" and not looks:
        first = math.ceil(stopping.looks[0] * stopping.planned_n)
        refused = (
            say(
                "The first look is at {first} units, and there are {n}: nothing is given before.",
                first=formatted(first),
                n=formatted(n),
            ),
        )
        return Comparison(ratio, (), (), correction, stopping, n, {}, refused, ())
    sequential: dict[tuple[str, str], GroupSequential] = {}
    if looks:
        assert stopping is not None
        found, sequential = _over_looks(looks, metrics, stopping, alpha, adjust, covariates)
    else:
        times = [] if exposed is None else [metric for metric in metrics if isinstance(metric, TimeToEvent)]
        others = [metric for metric in metrics if metric not in times]
        found = effects(units, others, alpha=alpha, adjust=adjust, covariates=covariates)
        if exposed is not None and times:
            names = [metric.name for metric in metrics]
            found += effects(exposed, times, alpha=alpha, adjust=adjust, covariates=covariates)
            found.sort(key=lambda effect: names.index(effect.metric))
        if stopping is not None and (stopping.rule == "always_valid" or n < stopping.planned_n):
            found = [at_any_time(effect, n, stopping.planned_n) for effect in found]
            if stopping.rule == "fixed":
                warnings.append(
                    say(
                        "{n} of the {planned} planned units are in: until the end only intervals that are valid at any "
                        "time are given.",
                        n=formatted(n),
                        planned=formatted(stopping.planned_n),
                    )
                )
    warnings += _notes(found)
    p_values = _corrected(found, correction)
    return Comparison(ratio, tuple(found), p_values, correction, stopping, n, sequential, (), tuple(warnings))


def _corrected(found: Sequence[Effect], correction: Correction) -> tuple[float, ...]:
    """The corrected p values; winsorised amounts stand beside the raw ones and are no comparisons more."""
    parts = ([one for one in found if (one.kind == "winsorised") is beside] for beside in (False, True))
    raw, beside = (iter(corrected(part, correction)) for part in parts)
    return tuple(next(beside if one.kind == "winsorised" else raw) for one in found)


def _notes(found: Sequence[Effect]) -> Iterator[str]:
    """What to know of each effect, said once for all arms of which it holds."""
    arms: dict[tuple[str, str], list[str]] = {}
    for effect in found:
        for note in effect.notes:
            arms.setdefault((effect.metric, note), []).append(effect.arm)
    every = list(dict.fromkeys(effect.arm for effect in found))
    for (metric, note), of in arms.items():
        if list(dict.fromkeys(of)) == every:
            yield say("{metric}: {note}.", metric=metric, note=note)
        else:
            arms_of = ", ".join(dict.fromkeys(of))
            yield say("{metric} of {arms}: {note}.", metric=metric, arms=arms_of, note=note)


def at_any_time(effect: Effect, n: int, planned_n: int) -> Effect:
    """The effect with the interval and the p value that hold at every look, of which the given are those of one.

    Where the interval of one look is wider than its error says, as that of a few events is, so is this one.

    Args:
        effect: with a fixed interval.
        n: the units of all arms together.
        planned_n: those that are planned; the interval is narrowest there.
    """
    alpha = 1 - effect.level
    error = widest_error(effect.effect, effect.low, effect.high, effect.standard_error, effect.level)
    low, high = anytime_interval(effect.effect, error, n, effect.level, planned_n)
    p_value = always_valid_p(effect.effect, error, n, alpha=alpha, planned_n=planned_n)
    return replace(effect, low=low, high=high, p_value=p_value, interval="always-valid")


class _Look(NamedTuple):
    """The units of one look, how many they are, and the share of the planned ones."""

    units: UnitTable
    n: int
    information: float


def _looks(units: UnitTable, stopping: Stopping | None) -> Iterator[_Look]:
    """The looks of a group-sequential rule that have been reached, each with its first units by exposure."""
    if stopping is None or stopping.rule != "group_sequential":
        return
    if not units.has("exposed_at"):
        raise DataError(
            f"{units.name}: planned looks need `exposed_at`, to know which units came first; name its column"
        )
    total = sum(units.counts().values())
    for share in stopping.looks:
        n = math.ceil(share * stopping.planned_n)
        if n > total:
            return
        [(last,)] = units.rows("exposed_at", f"ORDER BY exposed_at LIMIT 1 OFFSET {n - 1}")
        look = units.narrowed(f"exposed_at <= TIMESTAMPTZ '{last.isoformat()}'")
        yield _Look(look, sum(look.counts().values()), float(share))


def _over_looks(
    looks: Sequence[_Look], metrics: Sequence[Metric], stopping: Stopping, alpha: float, adjust: Adjust,
    covariates: Sequence[str],
) -> tuple[list[Effect], dict[tuple[str, str], GroupSequential]]:  # fmt: skip
    """The effects at the last look with what all looks so far say; arms share the error among them."""
    from .looks.sequential import group_sequential

    each = alpha / (len(looks[0].units.arms) - 1)
    by_look = [effects(look.units, metrics, alpha=alpha, adjust=adjust, covariates=covariates) for look in looks]
    found: list[Effect] = []
    sequential: dict[tuple[str, str], GroupSequential] = {}
    for place, last in enumerate(by_look[-1]):
        so_far = [by[place] for by in by_look]
        if any(not 0 < one.standard_error < math.inf for one in so_far):
            found.append(replace(last, notes=(*last.notes, say("at one of the looks the error cannot be told"))))
            continue
        said = group_sequential(
            [look.information for look in looks], [one.effect for one in so_far],
            [one.standard_error for one in so_far], alpha=each, spending=stopping.spending,
        )  # fmt: skip
        sequential.setdefault((last.metric, last.arm), said)  # of revenue the raw amount, which comes first
        now = said.looks[-1]
        p_value = math.nan if said.adjusted is None else said.adjusted.p_value
        found.append(replace(last, low=now.low, high=now.high, p_value=p_value, interval="group-sequential"))
    return found, sequential


def sample_ratio_of(units: UnitTable) -> SampleRatio:
    """The check of the arms' ratio of a table of units: by node and day, and in time, where these are known.

    What counts is what arms were given to: of units that got their arm together (`assigned_unit`, else `cluster`) the
    first that was exposed. Those of a household come into an arm together; counted each, they would alarm too often.
    """
    known = [name for name in ("node", "exposed_at") if units.has(name)]
    together = next((name for name in ("assigned_unit", "cluster") if units.has(name)), None)
    if together is None and not known:
        return SampleRatio.from_counts(units.counts(), units.shares)
    frame = units.frame(["arm", *known, *([together] if together is not None else [])])
    if together is None:
        return sample_ratio(frame, units.shares)
    firsts = frame.drop_duplicates(together)  # in order of exposure, where that is known
    if together == "cluster" and _are_parted(frame):
        return sample_ratio(frame, units.shares)
    found = sample_ratio(firsts, units.shares)
    if len(firsts) == len(frame):
        return found
    note = say(
        "{units} got their arms together with others, in {groups}; the ratio is that of the first unit of each.",
        units=plural("{n} unit", "{n} units", len(frame)),
        groups=plural("{n} group", "{n} groups", len(firsts)),
    )
    return replace(found, notes=[*found.notes, note])


def _are_parted(frame: pd.DataFrame) -> bool:
    """Whether most clusters of several units have units in several arms, so that it was not clusters that got them."""
    by_cluster = frame.groupby("cluster")["arm"].agg(["size", "nunique"])
    several = by_cluster[by_cluster["size"] > 1]
    return bool((several["nunique"] > 1).mean() > 0.5) if len(several) else False
