"""What send times are worth, as it is shown: tables, sentences, and the same as plain data."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from datetime import datetime
from statistics import NormalDist
from typing import TYPE_CHECKING, Any, ClassVar

import pandas as pd

from journeylab.display import block
from journeylab.display import table as html_table
from journeylab.errors import DataError
from journeylab.policy.result import value_text
from journeylab.resulttables import Tables

if TYPE_CHECKING:
    from journeylab.policy import PolicyValue

__all__ = ["ALPHA", "LIFTS", "POWER", "SendTimeValue", "plain_rows", "sends_needed"]

LIFTS = (0.02, 0.05, 0.10)
"""Relative lifts over the baseline for which the number of sends is told that it takes to see them."""
POWER, ALPHA = 0.8, 0.05
"""How surely such a lift is to be seen, and how often at the most one is seen where there is none (two-sided)."""
VALUE_COLUMNS = ("arm", "n_random", "n_matched", "effective_n", "value", "low", "high", "refused")
GAIN_COLUMNS = (
    "arm", "against", "gain", "low", "high", "per_contact", "per_contact_low", "per_contact_high", "per_thousand",
    "per_thousand_low", "per_thousand_high", "is_told",
)  # fmt: skip
NEEDED_COLUMNS = ("arm", "lift", "n_two_proportions", "n_paired", "n_needed")


def sends_needed(
    rate: float, lift: float, share: float = 1.0, *, variance: float | None = None, power: float = POWER,
    alpha: float = ALPHA,
) -> float:  # fmt: skip
    """How many sends at drawn hours it takes to see a relative lift over a rate.

    By the normal approximation for two proportions (Fleiss, Levin and Paik, Statistical Methods for Rates and
    Proportions, 3rd ed. 2003, ch. 4, without the continuity correction):
    n = (z(1 - alpha/2) + z(power))² (p q + p' q') / (p' - p)², p' = p (1 + lift), for each of two arms, divided by the
    share of sends that tell of an arm. With `variance`, that of the difference per send at a drawn hour, it stands for
    (p q + p' q') / share.

    Returns:
        A number of sends, not rounded; missing (NaN) where rate, share or variance is 0.

    >>> round(sends_needed(0.10, 0.05)), round(sends_needed(0.10, 0.05, 1 / 24))
    (57760, 1386238)
    """
    better = min(rate * (1 + lift), 1.0)
    apart = better - rate
    spread = rate * (1 - rate) + better * (1 - better) if variance is None else variance * share
    if not (apart > 0 and share > 0 and spread > 0):
        return math.nan
    z = NormalDist().inv_cdf(1 - alpha / 2) + NormalDist().inv_cdf(power)
    return z**2 * spread / (apart**2 * share)


@dataclass(frozen=True, eq=False, repr=False)
class SendTimeValue(Tables):
    """What sends at the advised hours would have earned, by the sends of a log whose hours were drawn at random.

    Attributes:
        values: a row for each arm, the first what was drawn and the second the baseline: `arm`, `n_random` (sends at
            drawn hours), `n_matched` (those at the arm's hour), `effective_n`, `value` (chance of an answer to a send,
            0..1), `low`, `high`, `refused` (why there is none, otherwise missing).
        gains: a row for each arm against the baseline and against what was drawn (`drawn`): `arm`, `against`, `gain`
            (answers for each send), `per_contact` (in the period, at `sends_per_contact`), `per_thousand` (sends), each
            with its interval, and `is_told`, whether the interval of the gain leaves out 0. Missing where refused.
        needed: for each arm, how many sends at drawn hours it takes to see a relative lift over the baseline at 80 %
            power and 5 %, two-sided: `arm`, `lift`, `n_two_proportions`, `n_paired` (by the variance of this
            evaluation's contrast; missing where refused), `n_needed` (the second, otherwise the first). See
            `sends_needed`.
        sentences: what it comes to, arm by arm.
        notes: what to know before using the figures, in sentences.
        baseline: the arm that gains are over.
        outcome: what counts as an answer.
        since, until: the sends are from then on, and what came of them was looked at until then; aware UTC.
        n_random: sends at drawn hours that were judged.
        n_contacts: whom they went to.
        sends_per_contact: all sends of the period, for each contact that had any.
        slot_hours: how many hours a block has within which a send counts as one at the advised hour.
        estimator: by which estimator of `journeylab.policy`, "snips" or "dr".
        level: of all intervals, 0..1; contacts are the units.
        seen: the arms that were fitted to sends that they are judged on.
        by_arm: the `PolicyValue` of each arm.
    """

    _table_names: ClassVar = ("values", "gains", "needed")

    values: pd.DataFrame
    gains: pd.DataFrame
    needed: pd.DataFrame
    sentences: tuple[str, ...]
    notes: tuple[str, ...]
    baseline: str
    outcome: str
    since: datetime | None
    until: datetime
    n_random: int
    n_contacts: int
    sends_per_contact: float
    slot_hours: int
    estimator: str
    level: float
    seen: tuple[str, ...] = ()
    by_arm: dict[str, PolicyValue] = field(default_factory=dict)

    @property
    def verdict(self) -> str:
        """What it comes to, in plain words."""
        return " ".join(self.sentences)

    def gain_of(self, arm: str, against: str | None = None) -> pd.Series[Any]:
        """The row of `gains` of an arm, against the baseline or another one.

        Raises:
            DataError: when there is no such row.
        """
        against = self.baseline if against is None else against
        found = self.gains[(self.gains["arm"] == arm) & (self.gains["against"] == against)]
        if not len(found):
            there = ", ".join(f"{one.arm} against {one.against}" for one in self.gains.itertuples()) or "none"
            raise DataError(f"there is no gain of {arm!r} against {against!r}; there are: {there}")
        return found.iloc[0]

    def __repr__(self) -> str:
        n = f"{self.n_random:,} sends at drawn hours"
        if not len(self.values):
            return f"SendTimeValue({n}: nothing causal can be learned)"
        told = []
        for one in self.gains[self.gains["against"] == self.baseline].itertuples():
            figures = f"{one.per_thousand:+.3g} per 1,000 ({one.per_thousand_low:+.3g} to {one.per_thousand_high:+.3g})"
            if math.isnan(one.gain):
                told.append(f"{one.arm} cannot be told")
            else:
                told.append(f"{one.arm} {figures}" + ("" if one.is_told else ", cannot be told from 0"))
        in_sample = "; judged on what they were fitted to" if self.seen else ""
        return f"SendTimeValue({n}, over {self.baseline}: {'; '.join(told) or 'no other arm'}{in_sample})"

    def _repr_html_(self) -> str:
        parts = []
        if len(self.values):
            interval = f"{self.level:.0%} interval"
            rows: list[tuple[str, ...]] = [
                (
                    one.arm,
                    f"{one.n_matched:,}",
                    f"{one.effective_n:,.0f}",
                    value_text(one.value),
                    _span(one.low, one.high),
                )
                for one in self.values.itertuples()
            ]
            parts.append(
                html_table(("arm", "sends that count", "tell as much as", "answers to a send", interval), rows)
            )
            rows = [
                (f"{one.arm} over {one.against}", value_text(one.per_thousand),
                 _span(one.per_thousand_low, one.per_thousand_high), value_text(one.per_contact),
                 _span(one.per_contact_low, one.per_contact_high))
                for one in self.gains.itertuples()
            ]  # fmt: skip
            parts.append(html_table(("gain", "per 1,000 sends", interval, "per contact", interval), rows))
            rows = [
                (one.arm, f"{one.lift:.0%}", "\N{EN DASH}" if math.isnan(one.n_needed) else f"{one.n_needed:,.0f}")
                for one in self.needed.itertuples()
            ]
            parts.append(html_table(("to be seen", "relative lift", "takes sends at drawn hours"), rows))
        said = [(one,) for one in (*self.sentences, *self.notes)]
        return block(repr(self), *parts, html_table(("what it says",), said))

    def to_dict(self) -> dict[str, Any]:
        """The result as plain data for JSON, with None for what is missing; keys are those of the attributes."""
        return {
            **{name: plain_rows(getattr(self, name)) for name in ("values", "gains", "needed")},
            "verdict": self.verdict, "sentences": list(self.sentences), "notes": list(self.notes),
            "baseline": self.baseline, "outcome": self.outcome,
            "since": None if self.since is None else self.since.isoformat(), "until": self.until.isoformat(),
            "n_random": self.n_random, "n_contacts": self.n_contacts,
            "sends_per_contact": None if math.isnan(self.sends_per_contact) else self.sends_per_contact,
            "slot_hours": self.slot_hours, "estimator": self.estimator, "level": self.level, "seen": list(self.seen),
            "by_arm": {name: one.to_dict() for name, one in self.by_arm.items()},
        }  # fmt: skip


def _span(low: float, high: float) -> str:
    return f"{value_text(low)} to {value_text(high)}"


def plain_rows(table: pd.DataFrame) -> list[dict[str, Any]]:
    """The rows of a table as plain data for JSON: instants as ISO text, None for what is missing."""
    return [{str(name): _plain(value) for name, value in row.items()} for row in table.to_dict(orient="records")]


def _plain(value: Any) -> Any:
    if isinstance(value, datetime):
        return None if pd.isna(value) else value.isoformat()
    value = value.item() if hasattr(value, "item") else value
    return None if isinstance(value, float) and not math.isfinite(value) else value
