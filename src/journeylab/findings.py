"""What a replay found, as sentences; each is made from numbers that the tables show as well."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta

import pandas as pd

from .drawing import count_text, share_text
from .visits import exits_table, funnel, wilson_interval

__all__ = ["duration_words", "found", "observed_share"]

# The verbs whose outcome rests on a response, a score or an outside answer (rules 31 and 33).
_ASKING = ("send", "wait_for", "decide", "call")


def duration_words(duration: timedelta) -> str:
    """A duration for people, in the unit that suits it.

    >>> duration_words(timedelta(days=4)), duration_words(timedelta(hours=30)), duration_words(timedelta(minutes=1))
    ('4 days', '30 hours', '60 s')
    """
    seconds = pd.Timedelta(duration).total_seconds()
    if seconds == 86_400:
        return "1 day"
    for unit, size, digits in (("days", 86_400, 1), ("hours", 3_600, 1), ("min", 60, 0)):
        if seconds >= 2 * size:
            number = f"{seconds / size:.{digits}f}".removesuffix(".0")
            return f"{number} {unit}"
    return f"{seconds:.0f} s"


def observed_share(counts: pd.DataFrame) -> float | None:
    """The share, in 0..1, of closed visits that asked the log something and found the answer there; None of none.

    It counts the visits of `send`, `wait_for`, `decide` and `call`; the others do not depend on an answer.
    """
    asking = counts[counts["verb"].isin(_ASKING)]
    n_visits = int(asking["n_visits"].sum())
    if not n_visits:
        return None
    return 1 - int(asking["n_assumed"].sum() + asking["n_predicted"].sum()) / n_visits


def found(
    counts: pd.DataFrame,
    visits: pd.DataFrame,
    entries: pd.DataFrame,
    curve: pd.DataFrame | None,
    until: datetime,
    smallest: int,
) -> list[str]:
    """The findings on one journey, most important first.

    Args:
        counts: the journey's closed visits by branch.
        visits: its visits.
        entries: its entries.
        curve: its time to convert, from `time_to_exit`; None where it has no goal.
        until: the horizon.
        smallest: numbers below this are not given.
    """
    if entries.empty:
        return ["Nobody entered: no event of the log made an entry. Look at the trigger, its condition and consent."]
    if len(entries) < smallest:
        return [f"{count_text(len(entries), smallest)} entries: too few to say more without pointing at people."]
    return [
        *_entered(entries, until, smallest),
        *_converted(entries, curve, smallest),
        *_path(visits, smallest),
        *_left(entries, smallest),
        *_inside(visits, entries, smallest),
        *_observed(counts),
    ]


def _entered(entries: pd.DataFrame, until: datetime, smallest: int) -> Iterator[str]:
    n_contacts, n_entries = entries["contact"].nunique(), len(entries)
    days = [pd.Timestamp(at).tz_convert("UTC").strftime("%Y-%m-%d") for at in (entries["entered_at"].min(), until)]
    times = "once each" if n_contacts == n_entries else f"{count_text(n_entries, smallest)} times"
    text = f"{count_text(n_contacts, smallest)} contacts entered {times} between {days[0]} and {days[1]}."
    n_held_out = int(entries["held_out"].sum())
    if n_held_out >= smallest:
        text += f" {count_text(n_held_out)} of the entries ({share_text(n_held_out / n_entries)}) are held out."
    yield text


def _converted(entries: pd.DataFrame, curve: pd.DataFrame | None, smallest: int) -> Iterator[str]:
    if curve is None:
        yield "The journey names no goal, so nothing counts as converted."
        return
    n, of = int(entries["converted"].sum()), len(entries)
    if n < smallest:
        yield f"{count_text(n, smallest)} entries converted: too few to say more."
        return
    low, high = wilson_interval(n, of)
    lasted = (entries["left_at"] - entries["entered_at"])[entries["converted"].astype(bool)]
    yield (
        f"{count_text(n)} entries converted by the horizon: {share_text(n / of)} "
        f"(95% interval {share_text(float(low))} to {share_text(float(high))}); "
        f"half of them within {duration_words(lasted.median())} of entering."
    )


def _path(visits: pd.DataFrame, smallest: int) -> Iterator[str]:
    steps = funnel(visits)
    shown = steps[steps["n_entries"] >= smallest]
    if len(shown) > 1:
        last = shown.iloc[-1]
        yield (
            f"The most travelled path is {' → '.join(shown['node'])}; "
            f"{share_text(last.reached_share)} of the entries came through all of it."
        )


def _left(entries: pd.DataFrame, smallest: int) -> Iterator[str]:
    exits = exits_table(entries)
    left = exits[exits["exit"].notna() & (exits["n_entries"] >= smallest)]
    if len(left):
        first = left.iloc[0]
        yield f"The most frequent exit is “{first.exit}”, with {share_text(first.exit_share)} of the entries."


def _inside(visits: pd.DataFrame, entries: pd.DataFrame, smallest: int) -> Iterator[str]:
    n = int(entries["left_at"].isna().sum())
    if not n:
        yield "Nobody is still inside."
        return
    text = f"{count_text(n, smallest)} entries are still inside at the horizon"
    at = visits.loc[visits["left_at"].isna(), "node"].value_counts()
    most = (
        ""
        if at.empty or at.iloc[0] < smallest
        else f", the largest group at “{at.index[0]}” ({count_text(at.iloc[0])})"
    )
    yield f"{text}{most}: what becomes of them is not known yet."


def _observed(counts: pd.DataFrame) -> Iterator[str]:
    share = observed_share(counts)
    if share == 1:
        yield "Every outcome is in the log; nothing had to be assumed."
    elif share is not None:
        yield (
            f"{share_text(share)} of the sends, waits for events, decisions and calls are observed in the log; "
            "the rest is assumed or predicted, and marked."
        )
