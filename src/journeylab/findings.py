"""What a replay found, as sentences; each is made from numbers that the tables show as well."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime

import pandas as pd

from .language import count_text, date_text, duration_words, plural, say, share_text
from .visits import exits_table, funnel, wilson_interval

__all__ = ["found", "observed_share"]

# The verbs whose outcome rests on a response, a score or an outside answer (rules 31 and 33).
_ASKING = ("send", "wait_for", "decide", "call")


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
        return [
            say("Nobody entered: no event of the log made an entry. Look at the trigger, its condition and consent.")
        ]
    if len(entries) < smallest:
        n = count_text(len(entries), smallest)
        return [say("{n} entries: too few to say more without pointing at people.", n=n)]
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
    span = {"start": date_text(entries["entered_at"].min()), "end": date_text(until)}
    n = count_text(n_contacts, smallest)
    if n_contacts == n_entries:
        text = plural(
            "{n} contact entered once between {start} and {end}.",
            "{n} contacts entered once each between {start} and {end}.",
            n_contacts,
            n=n,
            **span,
        )
    else:
        text = plural(
            "{n} contact entered {times} times between {start} and {end}.",
            "{n} contacts entered {times} times between {start} and {end}.",
            n_contacts,
            n=n,
            times=count_text(n_entries, smallest),
            **span,
        )
    n_held_out = int(entries["held_out"].sum())
    if n_held_out >= smallest:
        share = share_text(n_held_out / n_entries)
        text += " " + plural(
            "{n} of the entries ({share}) is held out.", "{n} of the entries ({share}) are held out.", n_held_out,
            share=share,
        )  # fmt: skip
    yield text


def _converted(entries: pd.DataFrame, curve: pd.DataFrame | None, smallest: int) -> Iterator[str]:
    if curve is None:
        yield say("The journey names no goal, so nothing counts as converted.")
        return
    n, of = int(entries["converted"].sum()), len(entries)
    if n < smallest:
        yield say("{n} entries converted: too few to say more.", n=count_text(n, smallest))
        return
    low, high = wilson_interval(n, of)
    lasted = (entries["left_at"] - entries["entered_at"])[entries["converted"].astype(bool)]
    yield plural(
        "{n} entry converted by the horizon: {share} (95% interval {low} to {high}); half of them within {length} of "
        "entering.",
        "{n} entries converted by the horizon: {share} (95% interval {low} to {high}); half of them within {length} of "
        "entering.",
        n,
        share=share_text(n / of),
        low=share_text(float(low)),
        high=share_text(float(high)),
        length=duration_words(lasted.median()),
    )


def _path(visits: pd.DataFrame, smallest: int) -> Iterator[str]:
    steps = funnel(visits)
    shown = steps[steps["n_entries"] >= smallest]
    if len(shown) > 1:
        last = shown.iloc[-1]
        yield say(
            "The most travelled path is {path}; {share} of the entries came through all of it.",
            path=" → ".join(shown["node"]),
            share=share_text(last.reached_share),
        )


def _left(entries: pd.DataFrame, smallest: int) -> Iterator[str]:
    exits = exits_table(entries)
    left = exits[exits["exit"].notna() & (exits["n_entries"] >= smallest)]
    if len(left):
        first = left.iloc[0]
        yield say(
            "The most frequent exit is “{exit}”, with {share} of the entries.",
            exit=first.exit,
            share=share_text(first.exit_share),
        )


def _inside(visits: pd.DataFrame, entries: pd.DataFrame, smallest: int) -> Iterator[str]:
    n = int(entries["left_at"].isna().sum())
    if not n:
        yield say("Nobody is still inside.")
        return
    at = visits.loc[visits["left_at"].isna(), "node"].value_counts()
    inside = count_text(n, smallest)
    if at.empty or at.iloc[0] < smallest:
        yield plural(
            "{n} entry is still inside at the horizon: what becomes of it is not known yet.",
            "{n} entries are still inside at the horizon: what becomes of them is not known yet.",
            n,
            n=inside,
        )
        return
    yield plural(
        "{n} entry is still inside at the horizon, the largest group at “{node}” ({most}): what becomes of it is not "
        "known yet.",
        "{n} entries are still inside at the horizon, the largest group at “{node}” ({most}): what becomes of them is "
        "not known yet.",
        n,
        n=inside,
        node=at.index[0],
        most=count_text(int(at.iloc[0])),
    )


def _observed(counts: pd.DataFrame) -> Iterator[str]:
    share = observed_share(counts)
    if share == 1:
        yield say("Every outcome is in the log; nothing had to be assumed.")
    elif share is not None:
        yield say(
            "{share} of the sends, waits for events, decisions and calls are observed in the log; the rest is assumed "
            "or predicted, and marked.",
            share=share_text(share),
        )
