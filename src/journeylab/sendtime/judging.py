"""Arms held against each other over the same sends at drawn hours, by the values of policies."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

import numpy as np
import pandas as pd

from journeylab.language import formatted, plural, say, sentences_text
from journeylab.policy import PolicyValue, policy_value
from journeylab.progress import Progress, shown

from .arms import DAY_HOURS, DayChoices, hours_chosen
from .value import GAIN_COLUMNS, LIFTS, sends_needed

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from journeylab.sendtimes import SendTimes

__all__ = ["DRAWN", "EVERYONE", "Found", "judged"]

EVERYONE, DRAWN = "everyone", "drawn"
_MOST_LACKING = 0.05  # of an arm's sends at an hour that was never drawn, up to which they are left out
_SEEN_LIFT = 0.05

Row: TypeAlias = tuple[Any, ...]


class Found(NamedTuple):
    """What a judgement comes to: rows of three tables, sentences, values by arm and notes."""

    values: tuple[Row, ...]
    gains: tuple[Row, ...]
    needed: tuple[Row, ...]
    sentences: tuple[str, ...]
    by_arm: dict[str, PolicyValue]
    notes: tuple[str, ...]


def judged(
    choices: DayChoices, arms: dict[str, SendTimes], baseline: str, per_contact: float, estimator: str, level: float,
    rng: int | np.random.Generator, progress: Progress = None,
) -> Found:  # fmt: skip
    notes: list[str] = []
    targets: dict[str, NDArray[np.int64]] = {}
    leaves: dict[str, NDArray[np.bool_]] = {}
    for name, one in arms.items():
        chosen, leaves[name] = hours_chosen(one, choices)
        targets[name] = chosen // choices.slot_hours
        n_left = int(leaves[name].sum())
        if n_left:
            notes.append(
                plural(
                    "{name} prefers no hour for {n} send, which keeps the hour that was drawn.",
                    "{name} prefers no hour for {n} sends, which keep the hour that was drawn.",
                    n_left,
                    name=name,
                )
            )
    kept = _supported(choices, targets, leaves)
    if not kept.all():
        notes.append(
            plural(
                "{n} send is left out, as an arm takes an hour there that was never drawn.",
                "{n} sends are left out, as an arm takes an hour there that was never drawn.",
                int((~kept).sum()),
            )
        )
    sends, propensity = choices.sends.rows(kept), choices.propensity[kept]
    frame = pd.DataFrame(
        {"hour": choices.block[kept], "answered": sends.answered, "propensity": propensity, "contact": sends.contact}
    )
    by_arm = {}
    with shown(progress, "judging arms") as tell:
        for done_arms, (name, target) in enumerate(targets.items()):
            left = leaves[name][kept]
            by_policy = np.where(left, propensity, target[kept] == choices.block[kept])
            one_value = policy_value(
                frame.assign(target=target[kept], by_policy=by_policy),
                target=None if left.any() else "target",
                target_propensity="by_policy" if left.any() else None,
                action="hour", reward="answered",
                propensity="propensity", unit="contact", level=level, rng=rng,
            )  # fmt: skip
            by_arm[name] = replace(one_value, policy=name)
            tell(done_arms + 1, len(targets))
    done = by_arm[baseline].observed
    values: list[Row] = [
        (DRAWN, len(frame), len(frame), float(len(frame)), done["value"], done["low"], done["high"], None)
    ]
    values += [_value_row(name, one, estimator) for name, one in by_arm.items()]
    others = [name for name in by_arm if name != baseline]
    gains: list[Row] = []
    needed: list[Row] = []
    sentences: list[str] = []
    for name in others:
        contrast = _contrast(by_arm[name], by_arm[baseline], estimator)
        gains.append(_gain_row(name, baseline, contrast, per_contact))
        rows = _needed_rows(name, by_arm[name], by_arm[baseline], contrast, done["value"], estimator)
        needed += rows
        sentences.append(_sentence(name, by_arm, baseline, gains[-1], rows, level, len(frame)))
    gains += [_gain_row(name, DRAWN, _contrast(one, None, estimator), per_contact) for name, one in by_arm.items()]
    if not others:
        sentences.append(say("{name} is the only arm; give another one to hold against it.", name=baseline))
    if len(others) > 1:
        notes.append(say("Each arm's interval holds by itself: of many arms the best looks better than it is."))
    return Found(tuple(values), tuple(gains), tuple(needed), tuple(sentences), by_arm, tuple(notes))


def _supported(
    choices: DayChoices, targets: dict[str, NDArray[np.int64]], leaves: dict[str, NDArray[np.bool_]]
) -> NDArray[np.bool_]:
    """Which sends to keep: those at which no arm takes a block that chance never drew, for arms that rarely do."""
    n_drawn = np.bincount(choices.block, minlength=DAY_HOURS)
    kept = np.ones(len(choices), np.bool_)
    for name, target in targets.items():
        lacking = (n_drawn[target] == 0) & ~leaves[name]
        if lacking.mean() <= _MOST_LACKING:
            kept &= ~lacking
    return kept


def _row_of(table: pd.DataFrame, estimator: str) -> pd.Series:
    return table.iloc[list(table["estimator"]).index(estimator)]


def _value_row(name: str, one: PolicyValue, estimator: str) -> Row:
    found = one.diagnostics
    shown = (math.nan,) * 3
    if one.refused is None:
        row = _row_of(one.estimates, estimator)
        shown = (float(row["value"]), float(row["low"]), float(row["high"]))
    return (name, found.n, found.n_matched, found.effective_n, *shown, one.refused)


class _Contrast(NamedTuple):
    gain: float
    error: float
    low: float
    high: float


def _contrast(one: PolicyValue, other: PolicyValue | None, estimator: str) -> _Contrast:
    """The paired difference to another arm, or to what was drawn; missing where either was refused."""
    refused = one.refused is not None or (other is not None and other.refused is not None)
    if refused or (other is not None and one.observed != other.observed):
        return _Contrast(*(math.nan,) * 4)
    row = _row_of(one.contrast if other is None else one.minus(other), estimator)
    return _Contrast(*(float(row[name]) for name in ("difference", "standard_error", "low", "high")))


def _gain_row(name: str, against: str, contrast: _Contrast, per_contact: float) -> Row:
    span = (contrast.gain, contrast.low, contrast.high)
    is_told = contrast.low > 0 or contrast.high < 0
    return (
        name, against, *span, *(per_contact * one for one in span), *(1000 * one for one in span), is_told,
    )  # fmt: skip


def _needed_rows(
    name: str, one: PolicyValue, other: PolicyValue, contrast: _Contrast, observed: float, estimator: str
) -> list[Row]:
    share = (one.diagnostics.effective_n / one.n + other.diagnostics.effective_n / other.n) / 2
    rate = observed if other.refused is not None else float(_row_of(other.estimates, estimator)["value"])
    variance = contrast.error**2 * one.n
    rows: list[Row] = []
    for lift in LIFTS:
        apart, paired = sends_needed(rate, lift, share), math.nan
        if not math.isnan(variance):
            paired = sends_needed(rate, lift, variance=variance)
        rows.append((name, lift, apart, paired, apart if math.isnan(paired) else paired))
    return rows


def _sentence(
    name: str, by_arm: dict[str, PolicyValue], baseline: str, gain: Row, needed: list[Row], level: float, n: int
) -> str:  # fmt: skip
    row = dict(zip(GAIN_COLUMNS, gain, strict=True))
    figure, low, high = (row[key] for key in ("per_thousand", "per_thousand_low", "per_thousand_high"))
    over = say("the best hour for everyone") if baseline == EVERYONE else baseline
    takes = next(one[-1] for one in needed if one[1] == _SEEN_LIFT)
    many = "" if math.isnan(takes) else say(
        "To see a relative lift of {lift} takes about {takes} sends at drawn hours; there are {n}.",
        lift=formatted(_SEEN_LIFT, ".0%"), takes=formatted(takes, ",.0f"), n=formatted(n),
    )  # fmt: skip
    if math.isnan(figure):
        why = by_arm[name].refused or by_arm[baseline].refused or say("the arms cannot be held against each other")
        told = say("{name} over {over}: it cannot be told from this log: {why}.", name=name, over=over, why=why)
        return sentences_text([one for one in (told, many) if one])
    interval = say(
        "{level} {low} to {high}",
        level=formatted(level, ".0%"), low=formatted(low, "+.1f"), high=formatted(high, "+.1f"),
    )  # fmt: skip
    if not row["is_told"]:
        if low == high == 0:
            return say(
                "{name} over {over}: they take the same hours, or nobody answered; it cannot be told from this log.",
                name=name, over=over,
            )  # fmt: skip
        told = say(
            "{name} over {over}: whether it gains anything cannot be told from this log ({gain} answers per 1,000 "
            "sends, {interval}).",
            name=name, over=over, gain=formatted(figure, "+.1f"), interval=interval,
        )  # fmt: skip
        return sentences_text([one for one in (told, many) if one])
    given = {
        "name": name, "over": over, "gain": formatted(abs(figure), ".1f"), "interval": interval, "n": formatted(n),
    }  # fmt: skip
    if figure > 0:
        return say(
            "{name} over {over}: {gain} more answers per 1,000 sends ({interval}), by {n} sends at drawn hours.",
            **given,
        )
    return say(
        "{name} over {over}: {gain} fewer answers per 1,000 sends ({interval}), by {n} sends at drawn hours.", **given
    )
