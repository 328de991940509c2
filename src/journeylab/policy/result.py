"""The value of a policy as it is shown: a table, bounds and words, and the same as plain data."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, TypeAlias

import pandas as pd

from journeylab.display import block, counted
from journeylab.display import table as html_table
from journeylab.errors import DataError
from journeylab.intervals import normal_interval
from journeylab.resulttables import Tables

if TYPE_CHECKING:
    from journeylab.intervals import Interval
    from journeylab.offpolicy import Diagnostics, Estimate

    from .refusal import Randomisation

__all__ = ["PolicyValue", "value_text"]

_NAMES = {
    "ips": "inverse propensity (ips)",
    "snips": "self-normalised (snips)",
    "dm": "model alone (dm)",
    "dr": "doubly robust (dr)",
    "is": "whole trajectories (is)",
    "wis": "self-normalised (wis)",
    "pdis": "per decision (pdis)",
    "wpdis": "self-normalised (wpdis)",
}
_PREFERRED = ("snips", "wpdis")

Rows: TypeAlias = tuple[Sequence[str], list[Sequence[str]]]
"""The heads of a table, and its rows."""


def value_text(value: float) -> str:
    """A value with four significant digits; an en dash when it is missing.

    >>> value_text(0.05096), value_text(1234.56), value_text(float("nan")) == "\N{EN DASH}"
    ('0.05096', '1235', True)
    """
    return "\N{EN DASH}" if math.isnan(value) else f"{value:.4g}"


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class PolicyValue(Tables):
    """What a policy would have earned by a log of what another one did, or why the log cannot say.

    Attributes:
        policy: what the policy is called: the column it was read from.
        n: how many decisions, or units where each makes several.
        estimates: a row for each estimator: `estimator` (text), `value` (mean reward), `standard_error`, and the
            interval `low` and `high`; without rows when refused. The error of "dm" is missing for a model of one's own.
        intervals: a row for each estimator and kind of interval: `estimator`, `interval` ("normal",
            "empirical_bernstein" where the weights have a bound, "anytime"), `low`, `high`.
        contrast: the value less what was done, paired over the log: `estimator`, `difference`, `standard_error`,
            `low`, `high`; without rows when refused.
        observed: the mean reward of what was done, with its standard error and interval.
        diagnostics: how much of the log carries the value.
        refused: why no estimate is given, in a sentence; None when it is.
        reasons: the diagnostics that rule it out, by name.
        bounds: between which figures the value lies, but for chance; None when all of the policy is supported.
        bounds_interval: the same with chance.
        randomisation: the cheapest experiment that would answer; None when not refused.
        nodes: support by node where units make several decisions, otherwise None.
        sensitivity: where probabilities were estimated, what the value may be if they are wrong by a factor:
            `gamma`, `low`, `high`, `difference_low`, `difference_high`; otherwise None.
        notes: what to know before using the figures, in sentences.
        level: of all intervals, 0..1.
        row: what is counted: "decision" or "unit".
    """

    _table_names: ClassVar = ("estimates", "intervals", "contrast", "nodes", "sensitivity")

    policy: str
    n: int
    estimates: pd.DataFrame
    intervals: pd.DataFrame
    contrast: pd.DataFrame
    observed: dict[str, float]
    diagnostics: Diagnostics
    refused: str | None
    reasons: list[str]
    bounds: tuple[float, float] | None
    bounds_interval: Interval | None
    randomisation: Randomisation | None
    notes: list[str]
    level: float
    row: str = "decision"
    nodes: pd.DataFrame | None = None
    sensitivity: pd.DataFrame | None = None
    _influence: dict[str, Estimate] = field(default_factory=dict)

    def minus(self, other: PolicyValue) -> pd.DataFrame:
        """The value less that of another policy on the same log, paired: the columns of `contrast`.

        Raises:
            DataError: when either was refused, or they are not of the same log.
        """
        for one in (self, other):
            if one.refused is not None:
                raise DataError(f"{one.policy} was refused, so it has no difference to another: {one.refused}")
        names = [name for name in self._influence if name in other._influence]
        sizes = {len(one._influence[name].influence) for one in (self, other) for name in names}
        if len(sizes) != 1 or self.observed != other.observed:
            raise DataError("the two values are not of the same log; evaluate both policies on one table")
        differences = [self._influence[name].minus(other._influence[name]) for name in names]
        return contrast_table(differences, self.level)

    def to_dict(self) -> dict[str, Any]:
        """The result as plain data for JSON, with None for what is missing.

        Keys: `n`, `estimates` (list of `estimator`, `value`, `standard_error`, `interval`, `intervals`),
        `diagnostics`, `refused`, `bounds`, and `policy`, `row`, `level`, `observed`, `contrast`, `reasons`,
        `bounds_interval`, `randomisation`, `nodes`, `sensitivity`, `notes`.
        """
        kinds: dict[str, dict[str, Any]] = {}
        for one in self.intervals.itertuples():
            kinds.setdefault(one.estimator, {})[one.interval] = [one.low, one.high]
        data = {
            "n": self.n,
            "estimates": [
                {
                    "estimator": one.estimator,
                    "value": one.value,
                    "standard_error": one.standard_error,
                    "interval": _pair(one.low, one.high),
                    "intervals": kinds[one.estimator],
                }
                for one in self.estimates.itertuples()
            ],
            "diagnostics": asdict(self.diagnostics),
            "refused": self.refused,
            "bounds": None if self.bounds is None else list(self.bounds),
            "policy": self.policy,
            "row": self.row,
            "level": self.level,
            "observed": self.observed,
            "contrast": self.contrast.to_dict(orient="records"),
            "reasons": self.reasons,
            "bounds_interval": None if self.bounds_interval is None else list(self.bounds_interval),
            "randomisation": None if self.randomisation is None else asdict(self.randomisation),
            "nodes": None if self.nodes is None else self.nodes.to_dict(orient="records"),
            "sensitivity": None if self.sensitivity is None else self.sensitivity.to_dict(orient="records"),
            "notes": self.notes,
        }
        plain: dict[str, Any] = _plain(data)
        return plain

    def __repr__(self) -> str:
        return f"PolicyValue({self.policy}, {counted(self.n, self.row)}: {self._verdict()})"

    def _verdict(self) -> str:
        if self.refused is None:
            names = list(self.estimates["estimator"])
            main = self.estimates.iloc[next((i for i, name in enumerate(names) if name in _PREFERRED), 0)]
            interval = f"{self.level:.0%} {value_text(main['low'])} to {value_text(main['high'])}"
            done = value_text(self.observed["value"])
            return f"{main['estimator']} {value_text(main['value'])}, {interval}; done {done}"
        between = "" if self.bounds is None else f"; between {' and '.join(map(value_text, self.bounds))}"
        return f"refused ({', '.join(self.reasons)}){between}"

    def _repr_html_(self) -> str:
        parts = []
        if self.refused is None:
            parts.append(html_table(*self.estimate_rows()))
            parts.append(html_table(*self.contrast_rows()))
        if self.sensitivity is not None:
            parts.append(html_table(*self.sensitivity_rows()))
        parts.append(html_table(("diagnostic", "figure"), self.diagnostic_rows()))
        parts.append(html_table(("what it says",), [(sentence,) for sentence in self.sentences()]))
        return block(repr(self), *parts)

    def estimate_rows(self) -> Rows:
        """The heads and the rows of the table of estimates, what was done first, as texts."""
        rows: list[Sequence[str]] = [("what was done", *_texts(self.observed))]
        rows += [(_NAMES.get(one["estimator"], one["estimator"]), *_texts(one)) for _, one in self.estimates.iterrows()]
        return ("estimate", "value", "error", f"{self.level:.0%} interval"), rows

    def contrast_rows(self) -> Rows:
        """The heads and the rows of the table of differences to what was done, as texts."""
        rows: list[Sequence[str]] = [
            (_NAMES.get(one["estimator"], one["estimator"]), *_texts({**one, "value": one["difference"]}))
            for _, one in self.contrast.iterrows()
        ]
        return ("less what was done", "difference", "error", f"{self.level:.0%} interval"), rows

    def sensitivity_rows(self) -> Rows:
        """The heads and the rows of the table of sensitivity, as texts.

        Raises:
            DataError: when no probability was estimated.
        """
        if self.sensitivity is None:
            raise DataError("the probabilities were logged, so that there is no sensitivity to their being wrong")
        rows: list[Sequence[str]] = [
            (
                f"a factor of {one.gamma:g}",
                f"{value_text(one.low)} to {value_text(one.high)}",
                f"{value_text(one.difference_low)} to {value_text(one.difference_high)}",
            )
            for one in self.sensitivity.itertuples()
        ]
        return ("if the odds are wrong by up to", "value", "difference"), rows

    def diagnostic_rows(self) -> list[tuple[str, str]]:
        """The diagnostics in words, as (what, figure)."""
        found = self.diagnostics
        error = value_text(found.mean_weight_standard_error)
        return [
            (f"{self.row}s", f"{found.n:,}"),
            (f"{self.row}s that count", f"{found.n_matched:,}"),
            ("tell as much as", f"{found.effective_n:,.1f} equally weighted"),
            ("mean weight", f"{found.mean_weight:.4f} (error {error}; should be {found.expected_weight:.4g})"),
            ("largest share of one", f"{found.max_weight_share:.2%}"),
            ("share of the top 1%", f"{found.top_1_percent_share:.2%}"),
            ("not supported by the log", f"{found.unsupported_share:.2%}"),
        ]

    def sentences(self) -> Iterator[str]:
        """What it comes to: the refusal with its bounds and its remedy, then the notes."""
        if self.refused is not None:
            yield f"refused: {self.refused}"
        if self.bounds is not None and self.bounds_interval is not None:
            low, high = map(value_text, self.bounds)
            chance = " to ".join(map(value_text, self.bounds_interval))
            yield f"bounds: the value lies between {low} and {high} (with {self.level:.0%} for chance, {chance})"
        if self.randomisation is not None:
            yield f"what would answer it: {self.randomisation.text(self.row)}"
        yield from (f"note: {note}" for note in self.notes)


def contrast_table(differences: list[Estimate], level: float) -> pd.DataFrame:
    """Differences as a frame: `estimator`, `difference`, `standard_error`, and the normal interval `low`, `high`."""
    rows = [
        (one.estimator, one.value, one.standard_error, *normal_interval(one.value, one.standard_error, level))
        for one in differences
    ]
    return pd.DataFrame(rows, columns=["estimator", "difference", "standard_error", "low", "high"])


def _texts(row: Any) -> tuple[str, str, str]:
    low, high = value_text(row["low"]), value_text(row["high"])
    return value_text(row["value"]), value_text(row["standard_error"]), f"{low} to {high}"


def _pair(low: float, high: float) -> list[float] | None:
    return [low, high] if math.isfinite(low) and math.isfinite(high) else None


def _plain(data: Any) -> Any:
    """The data without anything that JSON does not know: no NaN, no infinity, no numpy."""
    if isinstance(data, dict):
        return {str(key): _plain(value) for key, value in data.items()}
    if isinstance(data, list | tuple):
        return [_plain(value) for value in data]
    if hasattr(data, "item"):
        data = data.item()
    return None if isinstance(data, float) and not math.isfinite(data) else data
