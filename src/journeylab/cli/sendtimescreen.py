"""What the commands of send times say: facts, values and the hours of the week, as lines and as plain data."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from journeylab.display import counted, plain

from .screen import table_lines

if TYPE_CHECKING:
    import pandas as pd

    from journeylab.sendtime.evaluation import SendTimeValue
    from journeylab.sendtimes import SendTimes

__all__ = ["fact_lines", "facts_of", "shown", "shown_lines", "value_lines"]


def facts_of(times: SendTimes) -> dict[str, Any]:
    """What send times say of themselves, as plain data."""
    from journeylab.sendtimeplots import level_table

    about = times.about
    levels = level_table(times)
    return {
        "version": times.version,
        **{name: about.get(name) for name in ("model", "until", "outcome", "within", "n_sends", "n_random")},
        "n_contacts": len(times.contacts),
        "is_causal": bool(about.get("is_causal", False)),
        "assumed": about.get("assumed"),
        "evidence": about.get("evidence", []),
        "levels": {row.level: int(row.n_contacts) for row in levels.itertuples()},
        "gain": _gain(times),
        "notes": list(about.get("notes", [])),
    }


def _gain(times: SendTimes) -> dict[str, Any] | None:
    """The mean expected gain of contacts with its interval, and how many contacts' intervals lie above 0."""
    table = times.table().dropna(subset=["gain"])
    if table.empty:
        return None
    means = {name: plain(float(table[name].mean())) for name in ("gain", "low", "high")}
    return {**means, "n_contacts": len(table), "n_above": int((table["low"] > 0).sum())}


def fact_lines(times: SendTimes) -> Iterator[str]:
    """What send times say of themselves, for people."""
    facts = facts_of(times)
    if facts["n_sends"] is not None:
        yield (
            f"{facts['model']}: {counted(facts['n_sends'], 'send')}, {facts['n_random']:,} of them at drawn hours, "
            f"until {str(facts['until'])[:10]}; an answer is {facts['outcome']} within {facts['within']}"
        )
    else:
        yield f"{facts['model']}: {counted(facts['n_contacts'], 'contact')}"
    yield ""
    if facts["evidence"]:
        rows = [
            (
                row["level"],
                f"{row['n_answers']:,}",
                _number(row["z"], ".1f"),
                _number(row["p_value"], ".2g"),
                _number(row["lift"], ".2f"),
                "used" if row["is_used"] else "not used" if row["n_answers"] else "none",
                f"{facts['levels'][row['level']]:,}",
            )
            for row in facts["evidence"]
        ]
        rows.append(("fallback", "", "", "", "", "", f"{facts['levels']['fallback']:,}"))
        head = ("level", "answers", "z", "p", "lift", "evidence", "contacts")
        yield from table_lines(head, rows, right="answers z p lift contacts")
    else:
        counts = [(level, f"{n:,}") for level, n in facts["levels"].items()]
        yield from table_lines(("level", "contacts"), counts, right="contacts")
    yield ""
    gain = facts["gain"]
    if gain is None:
        yield "expected gain: nothing can be said"
    elif not gain["low"] and not gain["high"]:
        yield "expected gain: none, as every contact has the hour that is best for everyone"
    else:
        yield (
            f"expected gain of a contact's best hour over everyone's: {_points(gain)}, means over contacts; "
            f"above 0 beyond noise for {gain['n_above']:,} of {counted(gain['n_contacts'], 'contact')}"
        )
    if facts["assumed"]:
        yield f"assumed: {facts['assumed']}"
    yield from (f"note: {note}" for note in facts["notes"])


def _number(value: float | None, form: str) -> str:
    return "" if value is None or value != value else format(value, form)


def _points(gain: dict[str, Any]) -> str:
    """A difference of chances in percentage points with its interval."""
    return f"{100 * gain['gain']:+.2f} points ({100 * gain['low']:+.2f} to {100 * gain['high']:+.2f})"


def value_lines(value: SendTimeValue) -> Iterator[str]:
    """What send times are worth, for people."""
    since = "" if value.since is None else f" from {value.since:%Y-%m-%d} on"
    yield (
        f"{counted(value.n_random, 'send')} at drawn hours to {counted(value.n_contacts, 'contact')}{since}; "
        f"an answer is {value.outcome}"
    )
    yield ""
    if len(value.values):
        interval = f"{value.level:.0%} interval"
        values = [
            (one.arm, f"{one.n_matched:,}", f"{one.effective_n:,.0f}", _share(one.value),
             _span(one.low, one.high, _share))
            for one in value.values.itertuples()
        ]  # fmt: skip
        head = ("arm", "sends that count", "tell as much as", "answers to a send", interval)
        yield from _right(head, values)
        yield ""
        gains = [
            (f"{one.arm} over {one.against}", _signed(one.per_thousand),
             _span(one.per_thousand_low, one.per_thousand_high, _signed), _signed(one.per_contact),
             _span(one.per_contact_low, one.per_contact_high, _signed))
            for one in value.gains.itertuples()
        ]  # fmt: skip
        head = ("gain in answers", "per 1,000 sends", interval, "per contact", " " + interval)
        yield from _right(head, gains)
        yield ""
        needed = [
            (one.arm, f"{one.lift:.0%}", "" if one.n_needed != one.n_needed else f"{one.n_needed:,.0f}")
            for one in value.needed.itertuples()
        ]
        yield from _right(("to be seen", "relative lift", "takes sends at drawn hours"), needed)
        yield ""
    yield from value.sentences
    for note in value.notes:
        note = note.replace("Give since=", "Give --since").replace("(`evaluate_out_of_time`)", "(--model)")
        yield f"note: {note}"


def _right(head: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """An aligned table whose columns of figures stand on the right, whatever words their heads have."""
    widths = [max(len(row[i]) for row in (head, *rows)) for i in range(len(head))]
    figures = [name for name in head[1:] if "interval" not in name]
    shifted = [
        tuple(
            cell.rjust(width) if name in figures else cell for name, cell, width in zip(head, row, widths, strict=True)
        )
        for row in (head, *rows)
    ]
    yield from table_lines(shifted[0], shifted[1:])


def _share(value: float) -> str:
    return "" if value != value else f"{value:.2%}"


def _signed(value: float) -> str:
    return "" if value != value else f"{value:+.3g}"


def _span(low: float, high: float, form: Callable[[float], str]) -> str:
    return "" if low != low else f"{form(low)} to {form(high)}"


def shown(times: SendTimes, week: pd.DataFrame | None, contact: str | None, segment: str | None) -> dict[str, Any]:
    """The hours of the week as plain data, with the best one and, for a contact, its level and gain."""
    from journeylab.sendtimeplots import hour_text, row_of_contact
    from journeylab.sendtimes import LEVELS

    about: dict[str, Any] = {"version": times.version, "contact": contact, "segment": segment}
    if contact is not None:
        row = row_of_contact(times, contact)
        gain = {name: plain(float(times.gain[row, i])) for i, name in enumerate(("gain", "low", "high"))}
        about |= {"level": LEVELS[times.level[row]], "gain": None if gain["gain"] is None else gain}
    else:
        about |= {key: value for key, value in facts_of(times).items() if key != "version"}
    if week is None or week["chance"].isna().all():
        return {**about, "best": None, "best_hour": None, "hours": []}
    best = int(week["chance"].idxmax())
    is_flat = week["chance"].nunique() == 1 and week["chance"].notna().all()
    hours = [
        {name: plain(value) if isinstance(value, float) else value for name, value in row.items()}
        for row in week.astype({"hour_of_week": object, "hour": object}).to_dict("records")
    ]
    return {
        **about, "best": None if is_flat else hour_text(best), "best_hour": None if is_flat else best, "hours": hours,
    }  # fmt: skip


def shown_lines(times: SendTimes, week: pd.DataFrame | None, facts: dict[str, Any]) -> Iterator[str]:
    """The hours of the week, for people."""
    name = facts["contact"] or facts["segment"] or "everyone"
    yield f"{name}: {times!r}"
    if facts["contact"] is None and facts["segment"] is None:
        yield from fact_lines(times)
    if week is None:
        yield "There is nothing for everyone in these send times; ask for a contact with --contact ID."
        return
    yield ""
    yield from _map_lines(week, times.about)
    yield ""
    if not facts["hours"]:
        yield "No hour is ever chosen."
    elif facts["best"] is None:
        yield "All hours are alike: a send goes at once."
    else:
        yield f"best: {facts['best']}"
    if facts["contact"] is not None:
        yield f"level: {facts['level']}"
        gain = facts["gain"]
        yield (
            "expected gain: nothing can be said"
            if gain is None
            else f"expected gain over the hour that is best for everyone: {_points(gain)}"
        )


_SHADES = " \N{LIGHT SHADE}\N{MEDIUM SHADE}\N{DARK SHADE}\N{FULL BLOCK}"


def _map_lines(week: pd.DataFrame, about: dict[str, Any]) -> Iterator[str]:
    """The hours of the week as seven rows of 24 shades, each two characters wide, with what they mean below."""
    import numpy as np

    from journeylab.sendtimeplots import DAYS, score_text

    chance = week["chance"].to_numpy(float)
    yield "      " + "".join(f"{hour:02d}    " for hour in range(0, 24, 3)).rstrip()
    if np.isnan(chance).all():
        chance_text, shade = "", np.zeros(len(chance), int)
    else:
        low, high = float(np.nanmin(chance)), float(np.nanmax(chance))
        span = high - low
        shade = np.nan_to_num((chance - low) / span * 3 + 1.5 if span > 0 else np.where(chance == high, 2, 0.0))
        shade = np.where(np.isnan(chance), 0, np.clip(shade, 1, 4)).astype(int)
        chance_text = f"{_SHADES[2]} {score_text(high, about)}"
        if span > 0:
            chance_text = f"{_SHADES[1]} {score_text(low, about)} to {_SHADES[4]} {score_text(high, about)}"
    cells = [
        one + (mark if mark in ("+", "-") else one)
        for one, mark in zip((_SHADES[place] for place in shade), week["mark"], strict=True)
    ]
    for day, name in enumerate(DAYS):
        yield f"  {name} " + "".join(cells[24 * day : 24 * day + 24]).rstrip()
    parts = [chance_text] if chance_text else []
    if np.isnan(chance).any():
        parts.append("blank: never chosen")
    if week["mark"].isin(["+", "-"]).any():
        parts.append("+ - beyond noise")
    elif (week["mark"] == ".").any():
        parts.append("no hour differs beyond noise")
    yield "      " + "; ".join(parts)
