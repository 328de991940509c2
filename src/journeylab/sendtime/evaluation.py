"""What send times are worth, by sends whose hours were drawn at random: never by when people open."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from datetime import datetime
from typing import TYPE_CHECKING, Literal, TypeAlias

import numpy as np
import pandas as pd

from journeylab.clock import NEVER, instant, microseconds
from journeylab.errors import DataError, known
from journeylab.language import formatted, plural, say
from journeylab.progress import Progress
from journeylab.sendtimes import SendTimes

from .arms import DayChoices, day_choices, hours_for_everyone
from .judging import DRAWN, EVERYONE, Found, judged
from .sends import SendTable, send_table
from .value import GAIN_COLUMNS, NEEDED_COLUMNS, VALUE_COLUMNS, SendTimeValue, sends_needed

if TYPE_CHECKING:
    from journeylab.eventlog import EventLog

    from .estimator import SendTimeEstimator

__all__ = [
    "DRAWN", "EVERYONE", "SendTimeValue", "evaluate", "evaluate_out_of_time", "known_by", "microseconds_of",
    "sends_needed",
]  # fmt: skip

Advice: TypeAlias = "SendTimes | SendTimeEstimator"


def evaluate(
    sends: SendTable | EventLog,
    advice: Mapping[str, Advice],
    *,
    since: datetime | str | None = None,
    baseline: str = EVERYONE,
    slot_hours: int = 1,
    estimator: Literal["snips", "dr"] = "snips",
    level: float = 0.9,
    rng: int | np.random.Generator = 0,
    progress: Progress = None,
) -> SendTimeValue:
    """What sends at the advised hours would have earned, as a `SendTimeValue`, or why the log cannot say.

    Only sends at drawn hours count, once looked at for as long as an answer is awaited. Each keeps its local calendar
    day, so that days on which people answer more gain nobody anything: an arm takes the hour of that day with its
    highest score, of those the send could have had, of equals the earliest; where it prefers none, the send keeps the
    hour that was drawn. A send counts for an arm where that is the hour it went at, by its probability given the day;
    values, refusals and their sources are those of `journeylab.policy.policy_value`. Differences are taken over the
    same sends, with contacts as units.

    With whole hours a send in 24 counts, and a value is one of what the arm does. Blocks of `slot_hours` count more of
    them, and the value is then one of sends evenly over the hours of the block that the advised hour is in: less
    variance, for a bias, mostly towards no gain. The default is the hour, as only that is what `at: best` does.

    Args:
        sends: a `send_table`, or the log it is made of as the arms' outcome says.
        advice: send times, or fitted models, by the names of arms.
        since: only sends from then on: aware, or ISO text. Give the instant up to which models were fitted; a note says
            so where they have seen the sends they are judged on.
        baseline: the arm that gains are over: a name in `advice`, or "everyone" for the best hour for everyone. That is
            the arm of this name; else the fallback of the first arm whose fallback prefers an hour; else the hour of
            the day most answered before `since`, or over all sends, where a note says so.
        slot_hours: 1, 2 or 3.
        estimator: "snips", or "dr" with the mean of each hour as its model.
        level: of all intervals.
        rng: a seed or generator, for the folds of "dr" alone.
        progress: `True` for a bar, or what to call with the arms done and in all; see `journeylab.progress`.

    Raises:
        DataError: when an argument or an arm does not fit.

    >>> rng = np.random.default_rng(4)
    >>> at = pd.Timestamp("2026-03-02", tz="UTC") + pd.to_timedelta(rng.integers(0, 28 * 24, 20_000), unit="h")
    >>> sent = pd.DataFrame({"contact": rng.integers(0, 900, 20_000), "event": "sent", "occurred_at": at,
    ...     "message": "m", "slot_propensity": 1 / 168})
    >>> opened = sent[rng.random(20_000) < np.where(at.hour == 9, 0.3, 0.1)].assign(event="opened")
    >>> opened["occurred_at"] += pd.Timedelta(minutes=10)
    >>> from journeylab import EventLog
    >>> log = EventLog.read(pd.concat([sent, opened.assign(slot_propensity=np.nan)]))
    >>> def always_at(hour):
    ...     table = pd.DataFrame({"contact": [0], "hour_of_week": [hour]})
    ...     return replace(SendTimes.of_hours(table), scores=np.arange(168)[None] % 24 == hour, fallback=0)
    >>> value = evaluate(log, {"at 9": always_at(9), "at 20": always_at(20)}, baseline="at 20")
    >>> value
    SendTimeValue(10,033 sends at drawn hours, over at 20: at 9 +235 per 1,000 (+189 to +281))
    >>> print(value.verdict)
    at 9 over at 20: 235.1 more answers per 1,000 sends (90% +189.3 to +280.9), by 10,033 sends at drawn hours.
    """
    _check(advice, baseline, estimator, level)
    arms = {name: one if isinstance(one, SendTimes) else one.send_times() for name, one in advice.items()}
    table = sends if isinstance(sends, SendTable) else send_table(sends, outcome=_outcome_of(arms.values()))
    since_us = None if since is None else microseconds_of(since, "since")
    period = table if since_us is None else table.rows(table.at >= since_us)
    choices = day_choices(period.rows(period.is_matured), slot_hours)
    notes = [*_notes(table, period, choices)]
    if baseline == EVERYONE and EVERYONE not in arms:
        everyone, note = _everyone(arms, table, since_us, choices)
        arms = {EVERYONE: everyone, **arms}
        notes.append(note)
    else:
        arms = {baseline: arms[baseline], **arms}
    seen = tuple(name for name in arms if _has_seen(arms[name], choices.sends))
    if seen:
        notes.append(
            say(
                "Judged on what it was fitted to, which is optimistic: {arms}. Give since=, or evaluate out of time "
                "(`evaluate_out_of_time`).",
                arms=", ".join(seen),
            )
        )
    notes += [
        say(
            "{name} was fitted to `{outcome}` and is judged by `{other}`.",
            name=name, outcome=one.about["outcome"], other=table.outcome,
        )
        for name, one in arms.items() if one.about.get("outcome", table.outcome) != table.outcome
    ]  # fmt: skip
    found = Found((), (), (), (_nothing(table, period, choices),), {}, ())
    if len(np.unique(choices.sends.contact)) > 1:
        found = judged(choices, arms, baseline, _per_contact(period), estimator, level, rng, progress)
    return SendTimeValue(
        pd.DataFrame(found.values, columns=list(VALUE_COLUMNS)), pd.DataFrame(found.gains, columns=list(GAIN_COLUMNS)),
        pd.DataFrame(found.needed, columns=list(NEEDED_COLUMNS)), found.sentences, (*notes, *found.notes), baseline,
        table.outcome, None if since_us is None else instant(since_us), table.until, len(choices),
        len(np.unique(choices.sends.contact)), _per_contact(period), slot_hours, estimator, level, seen, found.by_arm,
    )  # fmt: skip


def evaluate_out_of_time(
    log: SendTable | EventLog,
    models: Mapping[str, Advice],
    *,
    share: float = 0.7,
    baseline: str = EVERYONE,
    slot_hours: int = 1,
    estimator: Literal["snips", "dr"] = "snips",
    level: float = 0.9,
    rng: int | np.random.Generator = 0,
    progress: Progress = None,
) -> SendTimeValue:
    """What models are worth on sends that came after those they were fitted to, as a `SendTimeValue`.

    The log is cut at the instant by which `share` of the sends at drawn hours (of all sends without any) were made.
    Each model is cloned and fitted to what was known by then, answers included; `evaluate` asks it about the rest.

    Args:
        log: as for `evaluate`; a log is read with the default options of `send_table`.
        models: estimators, fitted or not, by the names of arms; `SendTimes` are taken as they are.
        share: of the sends, to fit to, within 0..1.
        baseline: as for `evaluate`, as are
        slot_hours: 1, 2 or 3;
        estimator: "snips" or "dr";
        level: of all intervals;
        rng: for the folds of "dr".
        progress: `True` for a bar of each fit and of the judging, or what to call with how much is done of each and
            how much there is in all; see `journeylab.progress`.

    Raises:
        DataError: when an argument does not fit, or there is nothing to fit to.
    """
    from sklearn.base import clone

    if not 0 < share < 1:
        raise DataError(f"share lies between 0 and 1, such as 0.7; got {share!r}")
    _check(models, baseline, estimator, level)
    table = log if isinstance(log, SendTable) else send_table(log)
    at = table.at[table.is_random] if table.is_random.any() else table.at
    cut = int(np.quantile(at, share, method="higher"))
    early = known_by(table, cut)
    if not early.answered.any():
        raise DataError(f"no send before {instant(cut).isoformat()} was answered by then; a greater share has more")
    fitted = {
        name: one if isinstance(one, SendTimes) else clone(one).fit(early, progress=progress)
        for name, one in models.items()
    }
    return evaluate(
        table, fitted, since=instant(cut), baseline=baseline, slot_hours=slot_hours, estimator=estimator, level=level,
        rng=rng, progress=progress,
    )  # fmt: skip


def known_by(sends: SendTable, cut: int) -> SendTable:
    """The sends before an instant (microseconds), with the answers that had come by then."""
    early = sends.rows(sends.at < cut)
    looked = cut - early.at
    after = {name: np.where(one <= looked, one, NEVER) for name, one in early.after.items()}
    return replace(early, after=after, looked=looked, until=instant(cut))


def microseconds_of(when: datetime | str, name: str) -> int:
    """The instant as microseconds since 1970-01-01T00:00Z.

    Raises:
        DataError: for a text that is no instant, or one without a time zone.
    """
    try:
        return microseconds(datetime.fromisoformat(when) if isinstance(when, str) else when)
    except ValueError as problem:
        raise DataError(f"{name}: {problem}; write it as 2026-03-29T12:00:00+00:00") from None


def _check(advice: Mapping[str, Advice], baseline: str, estimator: str, level: float) -> None:
    if not advice:
        raise DataError("advice names no arm; give send times or models by name, such as {'habit': model}")
    if DRAWN in advice:
        raise DataError(f"advice: {DRAWN!r} is what was drawn; give the arm another name")
    if baseline != EVERYONE and baseline not in advice:
        raise DataError(f"baseline={baseline!r}: {known(baseline, [*advice, EVERYONE], 'arms')}")
    if estimator not in ("snips", "dr"):
        raise DataError(f"estimator is 'snips' or 'dr'; got {estimator!r}")
    if not 0 < level < 1:
        raise DataError(f"level lies between 0 and 1, such as 0.9; got {level!r}")


def _outcome_of(arms: Iterable[SendTimes]) -> str | None:
    outcomes = {one.about.get("outcome") for one in arms} - {None}
    return outcomes.pop() if len(outcomes) == 1 else None


def _has_seen(times: SendTimes, sends: SendTable) -> bool:
    until = times.about.get("until")
    return until is not None and bool((sends.at < microseconds_of(until, "until")).any())


def _per_contact(period: SendTable) -> float:
    return len(period) / len(np.unique(period.contact)) if len(period) else math.nan


def _notes(table: SendTable, period: SendTable, choices: DayChoices) -> Iterator[str]:
    yield from table.notes
    n_young = int((period.is_random & ~period.is_matured).sum())
    if n_young:
        yield plural(
            "{n} send at drawn hours can still be answered and does not count yet.",
            "{n} sends at drawn hours can still be answered and do not count yet.",
            n_young,
        )
    if choices.n_certain:
        yield plural(
            "{n} send at drawn hours had no other hour on its day and tells nothing of hours.",
            "{n} sends at drawn hours had no other hour on their day and tell nothing of hours.",
            choices.n_certain,
        )
    if choices.slot_hours > 1:
        yield say(
            "Hours count in blocks of {n}: values are of sends evenly over the hours of the block that the advised "
            "hour is in, which mostly understates what hours gain.",
            n=formatted(choices.slot_hours),
        )


def _everyone(
    arms: dict[str, SendTimes], table: SendTable, since_us: int | None, choices: DayChoices
) -> tuple[SendTimes, str]:
    for name, one in arms.items():
        row = one.scores[one.fallback] if one.fallback >= 0 else np.full(1, np.nan)
        if len(np.unique(row[~np.isnan(row)])) > 1:
            return (
                replace(
                    one, contacts=one.contacts[:0], profile=one.profile[:0], level=one.level[:0], gain=one.gain[:0]
                ),
                say("The best hour for everyone is that of {name}.", name=name),
            )
    before = known_by(table, since_us) if since_us is not None else table.rows(np.zeros(len(table), np.bool_))
    if before.answered.any():
        return hours_for_everyone(before), say("The best hour for everyone is the one most answered before.")
    return (
        hours_for_everyone(choices.sends),
        say(
            "The best hour for everyone is read off the sends it is judged on: its value is optimistic, and gains "
            "over it are too low."
        ),
    )


def _nothing(table: SendTable, period: SendTable, choices: DayChoices) -> str:
    if not table.is_random.any():
        why = say("no send of this log went at an hour that was drawn at random")
    elif not len(choices):
        why = say(
            "of {n_drawn} sends at drawn hours {n_period} are of this period, and none of them can be judged yet or "
            "had another hour on its day",
            n_drawn=formatted(int(table.is_random.sum())), n_period=formatted(int(period.is_random.sum())),
        )  # fmt: skip
    else:
        why = say("all sends at drawn hours went to one contact")
    return say(
        "Nothing causal can be learned: {why}. Let a share of the sends explore (`at: {{best: …, explore: 5%}}`) and "
        "ask again.",
        why=why,
    )
