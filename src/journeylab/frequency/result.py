"""The curve of mails a week as it is shown, and the cap that follows from it."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from datetime import timedelta
from html import escape
from statistics import NormalDist
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

import numpy as np
import pandas as pd

from journeylab.display import block, counted, plain
from journeylab.display import table as html_table
from journeylab.durations import duration_text
from journeylab.errors import DataError
from journeylab.intervals import normal_interval
from journeylab.journey import Cap
from journeylab.resulttables import Tables

if TYPE_CHECKING:
    from collections.abc import Sequence

    from plotly.graph_objects import Figure

    from .rates import Floats

__all__ = ["MailFrequency", "Rates", "curve_of", "first_fall", "seen_note"]

_DRAWS = 20_000
_WEEK = timedelta(days=7)


class Rates(NamedTuple):
    """What comes of a mail by how many a week there are: the mails (mean), the rates, and each contact's influence."""

    mails: Floats
    rate: Floats
    influence: Floats

    def figure(self, weights: Floats) -> tuple[float, float]:
        """A weighted sum of the rates, with its standard error."""
        return float(weights @ self.rate), math.sqrt(float(((self.influence @ weights) ** 2).sum()))

    def adds(self, place: int) -> Floats:
        """The weights with which the rates give what a mail a week more brings, the one at this place being the last.

        >>> Rates(np.array([1.0, 2.0]), np.array([0.3, 0.2]), np.zeros((1, 2))).adds(1)
        array([-1.,  2.])
        """
        weights, before = np.zeros(len(self.rate)), 0.0
        if place:
            before = self.mails[place - 1]
            weights[place - 1] = -before
        weights[place] = self.mails[place]
        added: Floats = weights / (self.mails[place] - before)
        return added


def curve_of(
    rates: Rates, harms: Rates | None, naive: Floats, naive_harm: Floats, counts: pd.DataFrame, level: float
) -> pd.DataFrame:
    """The table of `MailFrequency.curve`; `counts` has its first columns."""
    n = len(rates.rate)
    curve = counts.copy()
    curve[["outcome_rate", "low", "high"]] = _with_intervals(rates, level)
    curve[["harm_rate", "harm_low", "harm_high"]] = np.nan if harms is None else _with_intervals(harms, level)
    curve["naive_rate"], curve["naive_harm_rate"] = naive, naive_harm
    per_week = curve[["outcome_rate", "low", "high"]].to_numpy() * rates.mails[:, None]
    curve[["outcomes_per_week", "outcomes_per_week_low", "outcomes_per_week_high"]] = per_week
    added = [rates.figure(rates.adds(place)) for place in range(n)]
    curve["marginal_outcomes"] = [value for value, _ in added]
    curve[["marginal_low", "marginal_high"]] = [normal_interval(*one, level) for one in added]
    curve["marginal_harm"] = np.nan if harms is None else [harms.figure(harms.adds(place))[0] for place in range(n)]
    return curve


def _with_intervals(rates: Rates, level: float) -> Floats:
    """Each rate with its interval, which is one of its logarithm and so stays above 0."""
    error = np.sqrt((rates.influence**2).sum(axis=0)) / rates.rate
    half = NormalDist().inv_cdf(0.5 + level / 2) * error
    return np.column_stack([rates.rate, rates.rate * np.exp(-half), np.minimum(rates.rate * np.exp(half), 1.0)])


def _log_ratios(rates: Rates) -> tuple[Floats, Floats]:
    """The logarithm of each rate from two mails on over that at one, and each contact's influence on it."""
    by_rate = rates.influence / rates.rate
    return np.log(rates.rate[1:] / rates.rate[0]), by_rate[:, 1:] - by_rate[:, :1]


def first_fall(rates: Rates, level: float) -> int | None:
    """The first number of mails at which the rate is below that at one, by bounds that hold for all numbers at once.

    Hothorn, T., Bretz, F. and Westfall, P. (2008). Simultaneous inference in general parametric models. Biometrical
    Journal 50, 346-363: the quantile of the greatest of the correlated differences, each over its error.
    """
    ratio, influence = _log_ratios(rates)
    covariance = influence.T @ influence
    error = np.sqrt(np.diag(covariance))
    drawn = np.random.default_rng(0).multivariate_normal(np.zeros(len(error)), covariance, _DRAWS, method="eigh")
    bound = float(np.quantile((drawn / error).max(axis=1), 0.5 + level / 2))
    fallen = np.flatnonzero(ratio + bound * error < 0)
    return int(fallen[0]) + 2 if len(fallen) else None


def seen_note(rates: Rates, outcome: str, level: float) -> list[str]:
    """Between which figures the rate at the most mails lies, of that at one."""
    ratio, influence = _log_ratios(rates)
    low, high = normal_interval(float(ratio[-1]), math.sqrt(float((influence[:, -1] ** 2).sum())), level)
    return [
        f"At {rates.mails[-1]:.3g} mails a week a mail is {outcome} {math.exp(low):.2f} to {math.exp(high):.2f} times "
        f"as often as at one ({level:.0%})."
    ]


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class MailFrequency(Tables):
    """What comes of a mail by how many the contact is sent a week, who is sent how many adjusted for.

    Attributes:
        curve: a row for each number of mails: `mails_per_week` (int; a send and those less than seven days before it),
            `and_more` (bool: the last row counts more mails, too; then `mean_mails` is their mean), `n_sends` and
            `n_contacts` it was seen at; `outcome_rate` (0..1, of a mail to the average contact) with `low` and `high`,
            `harm_rate` with `harm_low` and `harm_high` (missing where there is too little harm); `naive_rate` and
            `naive_harm_rate`, which are the shares of the sends on record, nothing adjusted for;
            `outcomes_per_week` (mails times rate) with `outcomes_per_week_low` and `_high`; `marginal_outcomes` (what
            the last of the mails a week adds) with `marginal_low` and `marginal_high`, and `marginal_harm`.
        falls_from: the first number of mails a week at which the rate is below that of one mail beyond noise, all
            numbers taken together; None where none is.
        outcome: "opened" or "clicked".
        harm: "unsubscribed" or "complained".
        within: how long after a send both were looked for.
        is_steady: whether the number is that of each week of a month, or of the last seven days alone.
        is_randomised: whether chance decided on the number; otherwise the figures rest on the adjustment.
        n_sends: how many sends were looked at for all of `within`.
        n_contacts: to how many contacts.
        level: of all intervals, 0..1.
        notes: what the figures rest on, in sentences.
    """

    _table_names: ClassVar = ("curve",)

    curve: pd.DataFrame
    falls_from: int | None
    outcome: str
    harm: str
    within: timedelta
    is_steady: bool
    is_randomised: bool
    n_sends: int
    n_contacts: int
    level: float
    notes: list[str]
    _rates: Rates = field(repr=False)
    _harms: Rates | None = field(repr=False)

    def cap(self, harm_per_outcome: float | None = None, *, most_harm: float | None = None) -> Cap:
        """The cap that the log speaks for: the most mails a week of which each still adds something beyond noise.

        Mails are added one a week at a time, as long as the interval of what the next one adds (`marginal_outcomes`)
        lies above 0 and harm stays within its limits. The last row's mails are a lower bound if it counts more, too,
        so no cap is made of it.

        Args:
            harm_per_outcome: how much harm an outcome is worth, such as 0.02 unsubscribes for a click; what a mail
                adds is then counted less the outcomes that its harm outweighs.
            most_harm: the harm rate of a mail (0..1) below which the whole interval must lie.

        Raises:
            DataError: when the log cannot tell: the next mail may add as much as the first or nothing, the most mails
                on record are still worth it, or harm is asked about and there is too little on record; or an argument
                is at fault, or already one mail a week does too much harm.
        """
        for name, value in (("harm_per_outcome", harm_per_outcome), ("most_harm", most_harm)):
            if value is not None and not 0 < value < math.inf:
                raise DataError(f"{name} is greater than zero; got {value!r}")
            if value is not None and self._harms is None:
                raise DataError(f"{name} cannot be held to: {self._too_little_harm()}")
        first = self._added(0, harm_per_outcome)[0]
        for place, row in enumerate(self.curve.itertuples()):
            number = row.mails_per_week
            if most_harm is not None and not row.harm_high < most_harm:
                if place:
                    return Cap(sends=number - 1, within=_WEEK)
                raise DataError(
                    f"at one mail a week {row.harm_low:.2%} to {row.harm_high:.2%} of the mails are {self.harm}: not "
                    f"below {most_harm:.2%}, so that no number of mails is"
                )
            value, low, high = self._added(place, harm_per_outcome)
            if low > 0:
                continue
            if high >= max(first, 0.0):
                raise DataError(
                    f"the log cannot tell: the {_ordinal(number)} mail a week adds {value:.3g} (from {low:.3g} to "
                    f"{high:.3g}), which may be as much as the first, {first:.3g}, or nothing; bring more sends, or "
                    "let chance decide on the number of mails"
                )
            if not place:
                raise DataError(f"already the first mail a week does more harm than {self.outcome} is worth")
            return Cap(sends=number - 1, within=_WEEK)
        most = self.curve["mails_per_week"].iloc[-1]
        raise DataError(
            f"the log cannot tell: up to {most} mails a week each adds something, and more than that were not sent "
            "often enough to say where it ends; let chance give some contacts more, or take a limit by most_harm"
        )

    def _added(self, place: int, harm_per_outcome: float | None) -> tuple[float, float, float]:
        """What a mail more is worth, in outcomes, with its interval."""
        weights = self._rates.adds(place)
        value, influence = float(weights @ self._rates.rate), self._rates.influence @ weights
        if harm_per_outcome is not None and self._harms is not None:
            value -= float(weights @ self._harms.rate) / harm_per_outcome
            influence = influence - self._harms.influence @ weights / harm_per_outcome
        return value, *normal_interval(value, math.sqrt(float((influence**2).sum())), self.level)

    def _too_little_harm(self) -> str:
        return f"too few sends of this log were {self.harm} to say how that goes with the number of mails"

    def to_dict(self) -> dict[str, Any]:
        """The result as plain data for JSON, with None for what is missing: `curve` as a list, and every attribute."""
        rows = [
            {str(name): plain(value) if isinstance(value, float) else value for name, value in row.items()}
            for row in self.curve.astype(object).to_dict(orient="records")
        ]
        return {
            "curve": rows,
            "falls_from": self.falls_from,
            "outcome": self.outcome,
            "harm": self.harm,
            "within": duration_text(self.within),
            "is_steady": self.is_steady,
            "is_randomised": self.is_randomised,
            "n_sends": self.n_sends,
            "n_contacts": self.n_contacts,
            "level": self.level,
            "notes": list(self.notes),
        }

    def __repr__(self) -> str:
        falls = "no fall beyond noise" if self.falls_from is None else f"falls from {self.falls_from} a week on"
        how = "randomised" if self.is_randomised else "adjusted, not randomised"
        return (
            f"MailFrequency({self.outcome} within {duration_text(self.within)}, {counted(self.n_sends, 'send')} to "
            f"{counted(self.n_contacts, 'contact')}: {falls}, up to {self._label(-1)}; {how})"
        )

    def _label(self, place: int) -> str:
        row = self.curve.iloc[place]
        return f"{row['mails_per_week']}{' or more' if row['and_more'] else ''}"

    def chart(self) -> Figure:
        """The rate and the harm by mails a week, with their intervals, as a plotly figure; `curve` is its table."""
        from journeylab.charts import frequency_chart

        return frequency_chart(self.curve, self.outcome, self.harm, self.level)

    def _repr_html_(self) -> str:
        interval = f"{self.level:.0%}"
        head = ("mails a week", "sends", "contacts", self.outcome, interval, "on record", "a week", "the last adds",
                interval, self.harm, interval)  # fmt: skip
        rows = [
            (
                self._label(place), f"{row.n_sends:,}", f"{row.n_contacts:,}",
                *_percent(row.outcome_rate, row.low, row.high), f"{row.naive_rate:.2%}",
                f"{row.outcomes_per_week:.3f}", f"{row.marginal_outcomes:.3f}",
                f"{row.marginal_low:.3f} to {row.marginal_high:.3f}",
                *_percent(row.harm_rate, row.harm_low, row.harm_high),
            )
            for place, row in enumerate(self.curve.itertuples())
        ]  # fmt: skip
        pictures = [_picture(self.curve, self.outcome, ("outcome_rate", "low", "high"), "naive_rate")]
        if self._harms is not None:
            columns = ("harm_rate", "harm_low", "harm_high")
            pictures.append(_picture(self.curve, self.harm, columns, "naive_harm_rate"))
        notes = html_table(("what it rests on",), [(note,) for note in self.notes])
        return block(repr(self), "".join(pictures), html_table(head, rows), notes)


def _percent(rate: float, low: float, high: float) -> tuple[str, str]:
    return ("-", "-") if math.isnan(rate) else (f"{rate:.2%}", f"{low:.2%} to {high:.2%}")


def _ordinal(number: int) -> str:
    """The number in order, as in a sentence.

    >>> _ordinal(2), _ordinal(4)
    ('second', '4th')
    """
    return {1: "first", 2: "second", 3: "third"}.get(number, f"{number}th")


_WIDTH, _HEIGHT, _MARGIN = 240, 110, 34


def _picture(curve: pd.DataFrame, what: str, columns: Sequence[str], naive: str) -> str:
    """A rate by mails a week as SVG, with its band, and the naive rate dashed."""
    rate, low, high = (curve[name].to_numpy() for name in columns)
    mails = curve["mean_mails"].to_numpy()
    most = max(float(high.max()), float(curve[naive].max()))
    x = _MARGIN + _WIDTH * (mails - mails[0]) / (mails[-1] - mails[0])

    def path(values: Floats, across: Floats) -> str:
        y = _MARGIN + _HEIGHT * (1 - values / most)
        return "L".join(f"{at:.1f} {to:.1f}" for at, to in zip(across, y, strict=True))

    band = f"M{path(high, x)}L{path(low[::-1], x[::-1])}z"
    width, height = _WIDTH + 2 * _MARGIN, _HEIGHT + 2 * _MARGIN
    ticks = "".join(
        f'<text x="{at:.1f}" y="{_MARGIN + _HEIGHT + 14}" text-anchor="middle">{row.mails_per_week}'
        f"{'+' if row.and_more else ''}</text>"
        for at, row in zip(x, curve.itertuples(), strict=True)
    )
    return (
        f'<svg role="img" width="{width}" height="{height}" viewBox="0 0 {width} {height}" font-size="10" '
        f'font-family="system-ui,sans-serif" fill="currentColor"><title>{escape(what)} by mails a week</title>'
        f'<text x="{_MARGIN}" y="{_MARGIN - 14}" font-weight="600">{escape(what)}</text>'
        f'<text x="{_MARGIN - 4}" y="{_MARGIN + 4}" text-anchor="end">{most:.1%}</text>'
        f'<path d="{band}" fill="#1f6fb2" fill-opacity=".18"/>'
        f'<path d="M{path(rate, x)}" stroke="#1f6fb2" stroke-width="2" fill="none"/>'
        f'<path d="M{path(curve[naive].to_numpy(), x)}" stroke="#d97a00" stroke-dasharray="4 3" fill="none"/>'
        f'<path d="M{_MARGIN} {_MARGIN}V{_MARGIN + _HEIGHT}H{_MARGIN + _WIDTH}" stroke="currentColor" '
        f'stroke-opacity=".4" fill="none"/>{ticks}'
        f'<text x="{_MARGIN}" y="{height - 4}">mails a week; dashed: on record, not adjusted</text></svg>'
    )
