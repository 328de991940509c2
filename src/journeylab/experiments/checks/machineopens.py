"""Whether a decision rests on opens and clicks that machines made."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal, TypeAlias

from journeylab.display import Shown, plain_rows
from journeylab.errors import DataError
from journeylab.language import formatted, later, say
from journeylab.resulttables import Tables

if TYPE_CHECKING:
    import pandas as pd

    from journeylab.experiments.effect import Effect
    from journeylab.experiments.unittable import UnitTable

__all__ = ["MachineCheck", "with_and_without_machines"]

Finding: TypeAlias = Literal["more", "less", "undecided"]


_FIGURES = ("effect", "low", "high", "finding")
_COLUMNS = ["metric", "kind", "arm", "group", *_FIGURES, *(f"{one}_with_machines" for one in _FIGURES), "is_fragile"]
_FINDINGS = {"more": later("more"), "less": later("less"), "undecided": later("undecided")}


@dataclass(frozen=True, eq=False)
class MachineCheck(Tables, Shown):
    """The same comparison without and with what machines opened and clicked.

    Attributes:
        table: a row for each effect, in the order of the comparison: `metric, kind, arm, group` (text), `effect`,
            `low`, `high`, `finding` of people alone, the same with `_with_machines` after the name, and `is_fragile`
            (bool). A finding is `more` or `less` where the interval lies above or below 0, else `undecided`.
    """

    _table_names: ClassVar = ("table",)

    table: pd.DataFrame

    @property
    def passed(self) -> bool:
        """Whether machines change no finding."""
        return not bool(self.table["is_fragile"].any())

    @property
    def fragile(self) -> list[str]:
        """The metrics of which a finding flips, in the order of the comparison."""
        return list(dict.fromkeys(self.table.loc[self.table["is_fragile"], "metric"]))

    def sentences(self) -> list[str]:
        """What machines change, in plain words."""
        said = [
            say(
                "Fragile: {metric} of {arm!r} is {finding} by people alone ({effect}, {low} to {high}) and "
                "{finding_with} with what machines opened and clicked ({effect_with}, {low_with} to {high_with}); do "
                "not decide on it.",
                metric=one.metric,
                arm=one.arm,
                finding=say(_FINDINGS[one.finding]),
                effect=formatted(one.effect, ".4g"),
                low=formatted(one.low, ".4g"),
                high=formatted(one.high, ".4g"),
                finding_with=say(_FINDINGS[one.finding_with_machines]),
                effect_with=formatted(one.effect_with_machines, ".4g"),
                low_with=formatted(one.low_with_machines, ".4g"),
                high_with=formatted(one.high_with_machines, ".4g"),
            )
            for one in self.table.itertuples()
            if one.is_fragile
        ]
        return said or [say("No finding changes with what machines opened and clicked.")]

    def to_dict(self) -> dict[str, Any]:
        """The check as plain data for JSON."""
        return {"passed": self.passed, "sentences": self.sentences(), "effects": plain_rows(self.table)}

    def __repr__(self) -> str:
        return f"MachineCheck({self.sentences()[0]})"


def with_and_without_machines(
    compare: Callable[[UnitTable], Iterable[Effect]], people: UnitTable, everything: UnitTable
) -> MachineCheck:
    """A comparison of people's responses alone beside the same with machines', and which findings flip.

    Args:
        compare: makes the effects of a table, such as `effects`.
        people: the units with `unit_table(..., machines=False)`.
        everything: the same units with `machines=True`.

    Raises:
        DataError: when the two tables do not give the same comparisons.

    >>> from journeylab import datasets, replay
    >>> from journeylab.experiments.estimation.effects import effects
    >>> from journeylab.experiments.exposure.exposures import split_exposures
    >>> from journeylab.experiments.metrics import Proportion
    >>> from journeylab.experiments.exposure.outcomes import unit_table
    >>> exposures = split_exposures(replay(datasets.shop_history(), datasets.shop()), "offer", "akacja_welcome")
    >>> tables = [unit_table(exposures, [Proportion("clicked")], window="7d", machines=one) for one in (False, True)]
    >>> with_and_without_machines(effects, *tables).sentences()
    ['No finding changes with what machines opened and clicked.']
    """
    import pandas as pd

    alone, both = list(compare(people)), list(compare(everything))
    if [_key(one) for one in alone] != [_key(one) for one in both]:
        raise DataError("with and without machines there are not the same comparisons; give the same units twice")
    rows = []
    for one, other in zip(alone, both, strict=True):
        findings = _finding(one), _finding(other)
        rows.append(
            {
                **dict(zip(("metric", "kind", "arm", "group"), _key(one), strict=True)),
                "effect": one.effect,
                "low": one.low,
                "high": one.high,
                "finding": findings[0],
                "effect_with_machines": other.effect,
                "low_with_machines": other.low,
                "high_with_machines": other.high,
                "finding_with_machines": findings[1],
                "is_fragile": findings[0] != findings[1],
            }
        )
    return MachineCheck(pd.DataFrame(rows, columns=_COLUMNS).astype({"is_fragile": bool}))


def _key(effect: Effect) -> tuple[str, str, str, str | None]:
    return effect.metric, effect.kind, effect.arm, effect.group


def _finding(effect: Effect) -> Finding:
    if effect.low > 0:
        return "more"
    return "less" if effect.high < 0 else "undecided"
